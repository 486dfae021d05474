package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
)

// Single sign-on: somebody else, a provider, has looked at the password. Which provider, and how it is asked, is not known
// here.

// IdentityForm is who a member of staff is at a provider.
type IdentityForm struct {
	Issuer  string `json:"issuer" validate:"required,max=300" doc:"The provider's address, as it gives it in its tokens." class:"staff" mask:"drop"`
	Subject string `json:"subject" validate:"required,max=255" doc:"The provider's name for the person, which it never gives to another." class:"staff" mask:"drop"`
}

// signOnLife is how long a browser may be away at the provider: a password to be looked up, and a second factor there.
const signOnLife = 10 * time.Minute

// BeginSignOn notes that a browser goes to the provider. It gives the state that the provider brings back, and a secret
// that the browser keeps: only who has both goes on.
func (s *Store) BeginSignOn(ctx context.Context, returnTo string) (state, secret string, expires time.Time, err error) {
	state, secret, expires = randomText(), randomText(), s.now().Add(signOnLife)
	_, err = s.pool.Exec(ctx, `INSERT INTO signons_under_way (state_hash, browser_hash, return_to, expires_at) VALUES ($1, $2, $3, $4)`,
		tokenHash(state), tokenHash(secret), returnTo, expires)
	return state, secret, expires, translate(err)
}

// ReturnFromSignOn takes a browser back that went to the provider, once, and tells where it was going.
//
// Errors: Unsigned when no such browser is away.
func (s *Store) ReturnFromSignOn(ctx context.Context, state, secret string) (returnTo string, err error) {
	err = s.pool.QueryRow(ctx, `DELETE FROM signons_under_way WHERE state_hash = $1 AND browser_hash = $2 AND expires_at > $3 RETURNING return_to`,
		tokenHash(state), tokenHash(secret), s.now()).Scan(&returnTo)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", &Error{Kind: Unsigned, Code: "signon_over"}
	}
	return returnTo, translate(err)
}

// SignedOn is what a provider says of somebody.
type SignedOn struct {
	IdentityForm
	Login   string // whose account it may be linked with, when it is with none yet; nothing when nobody's
	Factor  bool   // the provider asked for a second factor
	Session string // the provider's own, for a sign-out that begins there
}

// SignInByProvider opens a browser's session for somebody whom a provider knows, or half of one when they have a second
// factor here that the provider did not ask for.
//
// Errors: Unsigned for somebody who is linked with no account, or with one that may not sign in.
func (s *Store) SignInByProvider(ctx context.Context, who SignedOn, from From) (Session, error) {
	how := signingIn{kind: BrowserSession, method: "oidc", from: from, provider: providerSession(who.Issuer, who.Session)}
	if who.Factor {
		how.factor = "provider"
	}
	c, known, err := scanCandidate(s.pool.QueryRow(ctx, candidates+`JOIN staff_identities i ON i.staff_id = s.id WHERE i.issuer = $1 AND i.subject = $2`, who.Issuer, who.Subject))
	if err != nil {
		return Session{}, translate(err)
	}
	if !known && who.Login != "" {
		if c, known, err = s.linkFirst(ctx, who, from); err != nil {
			return Session{}, err
		}
	}
	if !known {
		err := s.act(ctx, s.stranger(who.Issuer+" "+who.Subject, from), "SignIn", policy.ForAdministration, func(_ context.Context, a *act) error {
			a.noteAccount(policy.Write, record{kind: "login", id: a.actor.subject[len("login:"):], region: nation}, "oidc", false)
			return nil
		})
		return Session{}, errors.Join(err, &Error{Kind: Unsigned, Code: "signon_unknown"})
	}
	return s.enter(ctx, c, how)
}

// linkFirst links somebody with the account whose login the provider vouches for, when it is linked with nobody of that
// provider's yet.
func (s *Store) linkFirst(ctx context.Context, who SignedOn, from From) (candidate, bool, error) {
	c, known, err := scanCandidate(s.pool.QueryRow(ctx, candidates+`
		WHERE lower(s.login) = lower($1) AND NOT EXISTS (SELECT FROM staff_identities i WHERE i.issuer = $2 AND (i.staff_id = s.id OR i.subject = $3))`,
		who.Login, who.Issuer, who.Subject))
	if err != nil || !known {
		return c, false, translate(err)
	}
	actor := c.actor()
	actor.Request = from.Request
	err = s.act(ctx, actor, "LinkIdentity", policy.ForAdministration, func(ctx context.Context, a *act) error {
		a.noteAccount(policy.Write, c.record(), "first use", true)
		_, err := a.Exec(ctx, `INSERT INTO staff_identities (issuer, subject, staff_id, linked_by, linked_at) VALUES ($1, $2, $3, $4, $5)`,
			who.Issuer, who.Subject, c.id, actor.subject, a.at)
		return err
	})
	return c, err == nil, err
}

// providerSession stands for a provider's session, nothing for none.
func providerSession(issuer, session string) []byte {
	if session == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(issuer + "\x00" + session))
	return sum[:]
}

// SignOutByProvider ends what a provider says has ended: the sessions of one of its own or, when it names none, every one of
// a person's. What it says of somebody who is not known here changes nothing.
func (s *Store) SignOutByProvider(ctx context.Context, issuer, subject, session, request string) error {
	var c candidate
	err := s.pool.QueryRow(ctx, `
		SELECT s.id, o.id, o.region FROM staff s JOIN organisations o ON o.id = s.organisation_id
		WHERE $3 <> '' AND EXISTS (SELECT FROM staff_identities i WHERE i.staff_id = s.id AND i.issuer = $2 AND i.subject = $3)
			OR $3 = '' AND EXISTS (SELECT FROM sessions t WHERE t.staff_id = s.id AND t.provider_session = $1) LIMIT 1`,
		providerSession(issuer, session), issuer, subject).Scan(&c.id, &c.organisation, &c.region)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return translate(err)
	}
	actor := c.actor()
	actor.Request = request
	return s.act(ctx, actor, "SignOutByProvider", policy.ForAdministration, func(ctx context.Context, a *act) error {
		a.noteAccount(policy.Write, c.record(), "", true)
		if session == "" {
			return a.endSessions(ctx, c.id, uuid.Nil)
		}
		_, err := a.Exec(ctx, `
			WITH half AS (DELETE FROM signins_half_done WHERE staff_id = $1 AND provider_session = $2)
			UPDATE sessions SET revoked_at = $3 WHERE staff_id = $1 AND provider_session = $2 AND revoked_at IS NULL`, c.id, providerSession(issuer, session), a.at)
		return err
	})
}

// LinkIdentity says who a member of staff is at a provider: from now on they can sign in there.
//
// Errors: Conflict when that is somebody else already.
func (s *Store) LinkIdentity(ctx context.Context, actor Actor, id uuid.UUID, f IdentityForm) error {
	return s.act(ctx, actor, "LinkIdentity", policy.ForAdministration, func(ctx context.Context, a *act) error {
		v, err := a.manage(ctx, id, policy.Decide)
		if err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if v.Kind != personStaff {
			return refused("machine_account")
		}
		_, err = a.Exec(ctx, `INSERT INTO staff_identities (issuer, subject, staff_id, linked_by, linked_at) VALUES ($1, $2, $3, $4, $5)`, f.Issuer, f.Subject, id, actor.subject, a.at)
		return err
	})
}

// UnlinkIdentity takes that back, and ends the person's sessions.
func (s *Store) UnlinkIdentity(ctx context.Context, actor Actor, id uuid.UUID, f IdentityForm) error {
	return s.act(ctx, actor, "UnlinkIdentity", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if _, err := a.manage(ctx, id, policy.Decide); err != nil {
			return err
		}
		tag, err := a.Exec(ctx, `DELETE FROM staff_identities WHERE issuer = $1 AND subject = $2 AND staff_id = $3`, f.Issuer, f.Subject, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return missing("identity")
		}
		return a.endSessions(ctx, id, uuid.Nil)
	})
}
