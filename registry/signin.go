package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/identity"
)

const (
	// What is left of a working day; nobody's browser is signed in overnight.
	browserLife = 12 * time.Hour
	// A screen that somebody left, with donors on it. An hour is a meeting; more is an empty room.
	browserIdle = 60 * time.Minute
	// To find the telephone and read a code from it.
	halfDoneLife = 5 * time.Minute
	// A half-done sign-in takes so many wrong codes; the login's own count goes on beside it.
	codesToEnd = 5

	failuresToLock = 8
	firstLock      = 15 * time.Minute
	longestLock    = 24 * time.Hour
)

// passwordParams are argon2id's: 64 MiB and two passes: RFC 9106's second recommendation is three, and a small office's machine
// has several people signing in at once.
var passwordParams = &argon2id.Params{Memory: 64 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// A wrong login takes as long as a wrong password.
var noSuchPassword = func() string {
	h, err := argon2id.CreateHash("nobody has this password", passwordParams)
	if err != nil {
		panic(err)
	}
	return h
}()

// From is where a sign-in comes from, as its owner is shown it later.
type From struct {
	Address string // of the network
	Agent   string // what the program calls itself
	Request string // the request's id, for the audit
}

// clean cuts what a stranger sends down to what is kept.
func (f From) clean() From {
	f.Agent = strings.ReplaceAll(strings.ToValidUTF8(f.Agent, "?"), "\x00", "?")
	if letters := []rune(f.Agent); len(letters) > 120 {
		f.Agent = string(letters[:120])
	}
	return f
}

// What a session still has to do before it may do anything else.
const (
	NextCode     = "code"     // present a code of the second factor: there is no session yet
	NextPassword = "password" // change the password, which somebody else has seen
	NextFactor   = "factor"   // enrol a second factor
)

// Session is what signing in gives: a token, shown once and kept nowhere. While Next is NextCode it is no session's, and
// is good for SignInWithCode only.
type Session struct {
	Token   string
	Expires time.Time
	Kind    SessionKind
	Next    string
	Actor   Actor
}

// candidate is who a sign-in may turn out to be.
type candidate struct {
	id           uuid.UUID
	login        string
	hash         string
	organisation uuid.UUID
	region       identity.Region
	factor       bool // a second one is confirmed
}

func (c candidate) actor() Actor {
	return Actor{subject: staffSubject(c.id), staff: c.id, organisation: c.organisation, region: c.region}
}

func (c candidate) record() record {
	return record{kind: "staff", id: c.id.String(), region: c.region}
}

const candidates = `
	SELECT s.id, s.login, s.password_hash, o.id, o.region, s.totp_since IS NOT NULL
	FROM staff s JOIN organisations o ON o.id = s.organisation_id AND o.active AND s.active AND s.kind = 'person' `

func scanCandidate(row pgx.Row) (c candidate, known bool, err error) {
	err = row.Scan(&c.id, &c.login, &c.hash, &c.organisation, &c.region, &c.factor)
	if errors.Is(err, pgx.ErrNoRows) {
		return candidate{}, false, nil
	}
	return c, err == nil, err
}

// SignIn checks a login and its password. It opens a session, or, for somebody with a second factor, half of one. life
// limits a bearer's token; a browser's is fixed. After several failures in a row the login is locked for a while.
//
// Errors: Unsigned for a wrong login or password, alike; Locked, whether or not somebody has the login.
func (s *Store) SignIn(ctx context.Context, login, password string, kind SessionKind, life time.Duration, from From) (Session, error) {
	if err := s.locked(ctx, login, from); err != nil {
		return Session{}, err
	}
	c, known, err := scanCandidate(s.pool.QueryRow(ctx, candidates+`WHERE lower(s.login) = lower($1)`, login))
	if err != nil {
		return Session{}, translate(err)
	}
	if !known {
		c.hash, c.login = noSuchPassword, login
	}
	match, err := argon2id.ComparePasswordAndHash(password, c.hash)
	if err != nil {
		return Session{}, err
	}
	wrong := &Error{Kind: Unsigned, Code: "signin_failed"}
	if !known || !match {
		return Session{}, s.refuse(ctx, "SignIn", c, from, "password", wrong)
	}
	return s.enter(ctx, c, signingIn{kind: kind, life: life, method: "password", from: from})
}

// signingIn is how somebody came this far.
type signingIn struct {
	kind     SessionKind
	life     time.Duration
	method   string // password, oidc
	factor   string // the second one, when there was one
	provider []byte // see providerSession
	from     From
}

// enter opens a session for somebody who has shown who they are, or half of one when a second factor is to come.
func (s *Store) enter(ctx context.Context, c candidate, how signingIn) (Session, error) {
	if how.kind == BrowserSession || how.life <= 0 {
		how.life = browserLife
	}
	var out Session
	// What strangers did to the password's lock is no matter of a provider's, until a code is asked for here.
	byPassword := how.method == "password"
	err := s.attempt(ctx, "SignIn", c, how.from, byPassword, func(ctx context.Context, a *act) error {
		var err error
		if c.factor && how.factor == "" {
			a.noteAccount(policy.Write, c.record(), how.method, true)
			out, err = a.enterHalf(ctx, c, how)
			return err
		}
		if byPassword {
			if err := a.forgive(ctx, c.login); err != nil {
				return err
			}
		}
		a.noteAccount(policy.Write, c.record(), strings.TrimSuffix(how.method+" "+how.factor, " "), true)
		out, err = a.openSession(ctx, c.id, how)
		return err
	})
	if err != nil || out.Next == NextCode {
		return out, err
	}
	return s.opened(ctx, out)
}

// opened completes a session with who has it.
func (s *Store) opened(ctx context.Context, session Session) (Session, error) {
	caller, err := s.Authenticate(ctx, session.Token)
	session.Actor, session.Next = caller.Actor, caller.Next
	return session, err
}

func (a *act) enterHalf(ctx context.Context, c candidate, how signingIn) (Session, error) {
	out := Session{Token: newToken(halfPrefix), Expires: a.at.Add(halfDoneLife).Truncate(time.Second), Kind: how.kind, Next: NextCode}
	_, err := a.Exec(ctx, `
		INSERT INTO signins_half_done (token_hash, staff_id, kind, life, method, provider_session, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		tokenHash(out.Token), c.id, string(how.kind), how.life, how.method, how.provider, out.Expires)
	return out, err
}

func (a *act) openSession(ctx context.Context, id uuid.UUID, how signingIn) (Session, error) {
	from := how.from.clean()
	out := Session{Token: newToken(sessionPrefix), Expires: a.at.Add(how.life).Truncate(time.Second), Kind: how.kind}
	_, err := a.Exec(ctx, `
		INSERT INTO sessions (id, token_hash, staff_id, kind, created_at, last_seen_at, expires_at, method, factor, agent, address, provider_session)
		VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10, $11)`,
		newID(), tokenHash(out.Token), id, string(how.kind), a.at, out.Expires, how.method, how.factor, from.Agent, from.Address, how.provider)
	return out, err
}

// SignInWithCode ends a half-done sign-in with a code of the second factor, or one of the recovery codes. A code is good
// once.
//
// Errors: Unsigned when there is no such half, or when the code is wrong; Locked.
func (s *Store) SignInWithCode(ctx context.Context, token, code string, from From) (Session, error) {
	var c candidate
	how := signingIn{from: from}
	gone := &Error{Kind: Unsigned, Code: "signin_over"}
	err := s.pool.QueryRow(ctx, `
		SELECT s.id, s.login, o.id, o.region, h.kind, h.life, h.method, h.provider_session
		FROM signins_half_done h JOIN staff s ON s.id = h.staff_id JOIN organisations o ON o.id = s.organisation_id
		WHERE h.token_hash = $1 AND h.expires_at > $2 AND h.failed < $3 AND s.active AND o.active`, tokenHash(token), s.now(), codesToEnd).
		Scan(&c.id, &c.login, &c.organisation, &c.region, &how.kind, &how.life, &how.method, &how.provider)
	if errors.Is(err, pgx.ErrNoRows) {
		return Session{}, gone
	}
	if err != nil {
		return Session{}, translate(err)
	}
	var out Session
	matched := false
	err = s.attempt(ctx, "SignInWithCode", c, from, true, func(ctx context.Context, a *act) error {
		out, matched = Session{}, false
		// Of two who bring the same half at once, one finds it.
		tag, err := a.Exec(ctx, `UPDATE signins_half_done SET failed = failed + 1 WHERE token_hash = $1 AND failed < $2`, tokenHash(token), codesToEnd)
		if err != nil || tag.RowsAffected() == 0 {
			return errors.Join(err, gone)
		}
		if how.factor, err = a.takeCode(ctx, c.id, code); err != nil || how.factor == "" {
			a.decided = true // refused below
			return err
		}
		matched = true
		a.noteAccount(policy.Write, c.record(), how.method+" "+how.factor, true)
		if err := a.forgive(ctx, c.login); err != nil {
			return err
		}
		if _, err := a.Exec(ctx, `DELETE FROM signins_half_done WHERE token_hash = $1`, tokenHash(token)); err != nil {
			return err
		}
		out, err = a.openSession(ctx, c.id, how)
		return err
	})
	switch {
	case err != nil:
		return Session{}, err
	case !matched:
		return Session{}, s.refuse(ctx, "SignInWithCode", c, from, "code", &Error{Kind: Unsigned, Code: "code_wrong"})
	}
	return s.opened(ctx, out)
}

// The beginnings of tokens, so that whoever finds one knows what it is, and what to look for in a place where none may be.
const (
	tokenPrefix   = "llr_"  // of a program, see api_tokens
	sessionPrefix = "llrs_" // of a session
	halfPrefix    = "llrc_" // of a sign-in that waits for its code
)

var tokenPattern = regexp.MustCompile(`llr[sc]?_[\w-]{43}`)

// HasToken tells whether a text has a token of ours in it.
func HasToken(text string) bool { return tokenPattern.MatchString(text) }

func newToken(prefix string) string { return prefix + randomText() }

func randomText() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails, by its documentation
	return base64.RawURLEncoding.EncodeToString(raw)
}

func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// loginDigest stands for a login where the login itself must not lie: somebody may have typed a password there.
func (r *Reader) loginDigest(login string) []byte {
	d, _ := r.keys.Index("login", strings.ToLower(login))
	return d[:]
}

// stranger is the actor of an attempt to sign in, in the audit.
func (r *Reader) stranger(login string, from From) Actor {
	return Actor{subject: "login:" + hex.EncodeToString(r.loginDigest(login)[:16]), region: nation, Request: from.Request, Address: from.Address}
}

// noteAccount writes down what was decided without the policy: that somebody signed in or did not, and what people do with their
// own account.
func (a *act) noteAccount(action policy.Action, rec record, reason string, allowed bool) {
	relation := policy.None
	if a.actor.staff != uuid.Nil && rec.id == a.actor.staff.String() {
		relation = policy.Self
	}
	a.note(auditEntry{Action: action, Class: policy.Staff, Relation: relation, Region: rec.region, Target: rec.target(), Shown: 1, Reason: reason, Allowed: allowed})
}

// attempt does what follows from a sign-in that is right so far, unless the login has been locked meanwhile.
func (s *Store) attempt(ctx context.Context, name string, c candidate, from From, lockable bool, do func(context.Context, *act) error) error {
	actor := c.actor()
	actor.Request, actor.Address = from.Request, from.Address
	return s.act(ctx, actor, name, policy.ForAdministration, func(ctx context.Context, a *act) error {
		if !lockable {
			return do(ctx, a)
		}
		var until *time.Time
		err := a.QueryRow(ctx, `SELECT locked_until FROM signin_locks WHERE login_digest = $1 FOR UPDATE`, a.loginDigest(c.login)).Scan(&until)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if err := lockedUntil(until, a.at); err != nil {
			a.noteAccount(policy.Write, c.record(), "locked", false)
			return err
		}
		return do(ctx, a)
	})
}

func lockedUntil(until *time.Time, now time.Time) error {
	if until != nil && now.Before(*until) {
		return &Error{Kind: Locked, Code: "signin_locked", RetryAfter: until.Sub(now)}
	}
	return nil
}

// locked refuses a login that is locked before its password is looked at.
func (s *Store) locked(ctx context.Context, login string, from From) error {
	var until *time.Time
	err := s.pool.QueryRow(ctx, `SELECT locked_until FROM signin_locks WHERE login_digest = $1`, s.loginDigest(login)).Scan(&until)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return translate(err)
	}
	refusal := lockedUntil(until, s.now())
	if refusal == nil {
		return nil
	}
	err = s.act(ctx, s.stranger(login, from), "SignIn", policy.ForAdministration, func(_ context.Context, a *act) error {
		a.noteAccount(policy.Write, record{kind: "login", id: a.actor.subject[len("login:"):], region: nation}, "locked", false)
		return nil
	})
	return errors.Join(err, refusal)
}

// refuse counts a failure, locks the login when there were too many in a row, writes it down and returns why. Each lock is
// twice as long as the one before, until somebody signs in.
func (s *Store) refuse(ctx context.Context, name string, c candidate, from From, reason string, why *Error) error {
	err := s.act(ctx, s.stranger(c.login, from), name, policy.ForAdministration, func(ctx context.Context, a *act) error {
		digest := a.loginDigest(c.login)
		if _, err := a.Exec(ctx, `INSERT INTO signin_locks (login_digest, last_failed_at) VALUES ($1, $2) ON CONFLICT DO NOTHING`, digest, a.at); err != nil {
			return err
		}
		var failed, locks int
		if err := a.QueryRow(ctx, `SELECT failed, locks FROM signin_locks WHERE login_digest = $1 FOR UPDATE`, digest).Scan(&failed, &locks); err != nil {
			return err
		}
		rec := record{kind: "login", id: a.actor.subject[len("login:"):], region: nation}
		if c.id != uuid.Nil {
			rec = c.record()
		}
		a.noteAccount(policy.Write, rec, reason, false)
		failed++
		var until *time.Time
		if failed >= failuresToLock {
			lock := longestLock
			if locks < 7 { // 15 minutes seven times doubled are more than a day
				lock = min(firstLock<<locks, longestLock)
			}
			end := a.at.Add(lock)
			failed, locks, until = 0, locks+1, &end
			a.name = "LockLogin"
			a.noteAccount(policy.Write, rec, "failures", true)
			a.name = name
		}
		_, err := a.Exec(ctx, `UPDATE signin_locks SET failed = $2, locks = $3, locked_until = coalesce($4, locked_until), last_failed_at = $5 WHERE login_digest = $1`,
			digest, failed, locks, until, a.at)
		return err
	})
	if err != nil {
		return err
	}
	return why
}

// forgive forgets the failures of a login.
func (a *act) forgive(ctx context.Context, login string) error {
	_, err := a.Exec(ctx, `DELETE FROM signin_locks WHERE login_digest = $1`, a.loginDigest(login))
	return err
}
