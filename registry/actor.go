package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// Actor is who calls: a signed-in member of staff, a protocol, or an operator at the machine. Only the registry makes
// one, so whoever holds an Actor has been recognised.
type Actor struct {
	subject      string // staff:<id>, system:<workflow>, operator:<account>
	organisation uuid.UUID
	region       identity.Region // of the organisation
	staff        uuid.UUID
	serves       string         // the regions that the organisation serves beside its own, with commas between
	Name         string         // how the person is shown to colleagues
	Locale       lang.Locale    // the language the person reads
	Purpose      policy.Purpose // why, when the caller says so; else each method's own purpose
	Request      string         // the request's id, for the audit
	Address      string         // the network address that the request came from, for the audit
	Command      string         // the request's idempotency key, when it has one: an act that wrote something marks it as done
}

// Subject names the actor in audit and events.
func (a Actor) Subject() string { return a.subject }

// Staff is the member of staff, or zero.
func (a Actor) Staff() uuid.UUID { return a.staff }

// Organisation is where the member of staff works, or zero.
func (a Actor) Organisation() uuid.UUID { return a.organisation }

// servesIn tells whether the actor's organisation serves the region in which a record lies.
func (a Actor) servesIn(region identity.Region) bool {
	for served := range strings.SplitSeq(a.serves, ",") {
		if served != "" && identity.Region(served).Contains(region) {
			return true
		}
	}
	return false
}

// policySubject is whom the grants speak of: one subject for every protocol.
func (a Actor) policySubject() string {
	if a.staff == uuid.Nil {
		return policy.System
	}
	return a.subject
}

const nation = identity.Nation

// System is the actor of a protocol: name says which, such as the workflow's id.
func System(name string) Actor {
	return Actor{subject: "system:" + name, region: nation, Locale: lang.Chinese}
}

// Operator is the actor of somebody who holds the installation's keys and works at its machine.
func Operator(account string) Actor {
	return Actor{subject: "operator:" + account, region: nation, Locale: lang.Chinese}
}

func staffSubject(id uuid.UUID) string { return "staff:" + id.String() }

// SessionKind is what a session's token is for.
type SessionKind string

// A browser's token lives a working day, a bearer's as long as it is asked for.
const (
	BrowserSession SessionKind = "browser"
	BearerSession  SessionKind = "bearer"
)

const (
	browserLife    = 12 * time.Hour
	failuresToLock = 8
	lockFor        = 15 * time.Minute
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

// Session is a signed-in token. Token is shown once and kept nowhere.
type Session struct {
	Token   string
	Expires time.Time
	Actor   Actor
}

// SignIn checks a login and its password and opens a session. life limits a bearer's token; a browser's is fixed. After
// several failures in a row the login is locked for a while.
//
// Errors: Unsigned for a wrong login or password, alike; Locked.
func (s *Store) SignIn(ctx context.Context, login, password string, kind SessionKind, life time.Duration) (Session, error) {
	var id uuid.UUID
	var hash string
	var failed int
	var lockedUntil *time.Time
	err := s.pool.QueryRow(ctx, `
		SELECT s.id, s.password_hash, s.failed_signins, s.locked_until
		FROM staff s JOIN organisations o ON o.id = s.organisation_id
		WHERE lower(s.login) = lower($1) AND s.active AND o.active`, login).Scan(&id, &hash, &failed, &lockedUntil)
	known := err == nil
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Session{}, translate(err)
	}
	if !known {
		hash = noSuchPassword
	}
	if lockedUntil != nil && s.now().Before(*lockedUntil) {
		return Session{}, &Error{Kind: Locked, Code: "signin_locked", RetryAfter: lockedUntil.Sub(s.now())}
	}
	match, err := argon2id.ComparePasswordAndHash(password, hash)
	if err != nil {
		return Session{}, err
	}
	if !known || !match {
		if known {
			if err := s.countFailure(ctx, id); err != nil {
				return Session{}, err
			}
		}
		return Session{}, &Error{Kind: Unsigned, Code: "signin_failed"}
	}
	if kind == BrowserSession || life <= 0 {
		life = browserLife
	}
	return s.openSession(ctx, id, kind, life)
}

func (s *Store) countFailure(ctx context.Context, id uuid.UUID) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE staff SET failed_signins = CASE WHEN failed_signins + 1 >= $2 THEN 0 ELSE failed_signins + 1 END,
			locked_until = CASE WHEN failed_signins + 1 >= $2 THEN $3::timestamptz ELSE locked_until END
		WHERE id = $1`, id, failuresToLock, s.now().Add(lockFor))
	return translate(err)
}

func (s *Store) openSession(ctx context.Context, id uuid.UUID, kind SessionKind, life time.Duration) (Session, error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails, by its documentation
	session := Session{Token: base64.RawURLEncoding.EncodeToString(raw), Expires: s.now().Add(life).UTC().Truncate(time.Second)}
	_, err := s.pool.Exec(ctx, `
		WITH cleared AS (UPDATE staff SET failed_signins = 0, locked_until = NULL WHERE id = $2 AND failed_signins > 0)
		INSERT INTO sessions (token_hash, staff_id, kind, expires_at) VALUES ($1, $2, $3, $4)`,
		tokenHash(session.Token), id, string(kind), session.Expires)
	if err != nil {
		return Session{}, translate(err)
	}
	session.Actor, err = s.Authenticate(ctx, session.Token)
	return session, err
}

func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// Authenticate recognises the holder of a session's token. The error is Unsigned for every token that is not good now.
func (r *Reader) Authenticate(ctx context.Context, token string) (Actor, error) {
	if token == "" {
		return Actor{}, &Error{Kind: Unsigned, Code: "not_signed_in"}
	}
	return r.recognise(ctx, `
		FROM sessions t JOIN staff s ON s.id = t.staff_id JOIN organisations o ON o.id = s.organisation_id
		WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND s.active AND o.active`, tokenHash(token), r.now())
}

// ActorOf recognises a member of staff on whose behalf a protocol goes on: who answered a task is who acts when the
// answer is accepted. The error is Unsigned when the person does not work here any more.
func (r *Reader) ActorOf(ctx context.Context, staff uuid.UUID) (Actor, error) {
	return r.recognise(ctx, `FROM staff s JOIN organisations o ON o.id = s.organisation_id WHERE s.id = $1 AND s.active AND o.active`, staff)
}

// ActorByLogin recognises a member of staff for a command at the machine, where holding the keys stands for a password.
func (r *Reader) ActorByLogin(ctx context.Context, login string) (Actor, error) {
	return r.recognise(ctx, `FROM staff s JOIN organisations o ON o.id = s.organisation_id WHERE lower(s.login) = lower($1) AND s.active AND o.active`, login)
}

func (r *Reader) recognise(ctx context.Context, from string, args ...any) (Actor, error) {
	var a Actor
	var region, locale string
	err := r.pool.QueryRow(ctx, `SELECT s.id, s.display_name, s.locale, o.id, o.region, (SELECT coalesce(string_agg(a.region, ','), '') FROM service_areas a WHERE a.organisation_id = o.id) `+from, args...).
		Scan(&a.staff, &a.Name, &locale, &a.organisation, &region, &a.serves)
	if errors.Is(err, pgx.ErrNoRows) {
		return Actor{}, &Error{Kind: Unsigned, Code: "not_signed_in"}
	}
	if err != nil {
		return Actor{}, translate(err)
	}
	a.subject, a.region, a.Locale = staffSubject(a.staff), identity.Region(region), lang.Locale(locale)
	return a, nil
}

// SignOut revokes a session's token. Revoking one that is not good changes nothing.
func (s *Store) SignOut(ctx context.Context, token string) error {
	_, err := s.pool.Exec(ctx, `UPDATE sessions SET revoked_at = $2 WHERE token_hash = $1 AND revoked_at IS NULL`, tokenHash(token), s.now())
	return translate(err)
}
