package registry

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
)

// SessionKind is what a token is for.
type SessionKind string

// A browser's token lives a working day, a bearer's as long as it is asked for. A program's has scopes, and is no session.
const (
	BrowserSession SessionKind = "browser"
	BearerSession  SessionKind = "bearer"
	ProgramToken   SessionKind = "token"
)

// seenEvery is how often it is written down that a token was used.
const seenEvery = time.Minute

// Caller is whom a token belongs to, and what it is good for.
type Caller struct {
	Actor
	Session uuid.UUID // or the program's token
	Kind    SessionKind
	Method  string   // how its owner signed in: password, oidc
	Factor  string   // the second factor: totp, recovery, provider; or none
	Next    string   // what its owner has to do before anything else, see NextPassword
	Scopes  []string // what a program's token is limited to
	Expires time.Time
	// Emergency is when the last of the caller's emergency access ends that runs now; zero when none does.
	Emergency time.Time
}

// Authenticate recognises the holder of a token. The error is Unsigned for every token that is not good now.
func (s *Store) Authenticate(ctx context.Context, token string) (Caller, error) {
	if token == "" {
		return Caller{}, &Error{Kind: Unsigned, Code: "not_signed_in"}
	}
	now := s.now()
	statement, args := s.holderOf(token, now)
	c, last, err := scanCaller(s.pool.QueryRow(ctx, statement, args...))
	if errors.Is(err, pgx.ErrNoRows) {
		return Caller{}, &Error{Kind: Unsigned, Code: "not_signed_in"}
	}
	if err != nil {
		return Caller{}, translate(err)
	}
	if now.Sub(last) >= seenEvery {
		seen := `UPDATE sessions SET last_seen_at = $2 WHERE id = $1 AND last_seen_at < $2`
		if c.Kind == ProgramToken {
			seen = `UPDATE api_tokens SET last_used_at = $2 WHERE id = $1`
		}
		if _, err := s.pool.Exec(ctx, seen, c.Session, now); err != nil {
			return Caller{}, translate(err)
		}
		last = now
	}
	if c.Kind == BrowserSession {
		s.known.keep(token, c, last)
	}
	return c, nil
}

// holderOf is the statement that tells whom a token belongs to, where it is good at an instant, for scanCaller.
func (r *Reader) holderOf(token string, now time.Time) (string, []any) {
	columns, from := `t.id, t.kind, t.method, t.factor, t.last_seen_at, t.expires_at, '{}'::text[],
		CASE WHEN s.must_change_password AND t.method = 'password' THEN 'password'
			WHEN t.factor = '' AND ('all' = ANY($3) OR EXISTS (
				SELECT FROM role_grants g WHERE g.staff_id = s.id AND g.role = ANY($3) AND g.revoked_at IS NULL AND g.until > $2)) THEN 'factor'
			ELSE '' END`,
		`FROM sessions t JOIN staff s ON s.id = t.staff_id JOIN organisations o ON o.id = s.organisation_id
		WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND s.active AND o.active AND (t.kind <> 'browser' OR t.last_seen_at > $4)`
	args := []any{tokenHash(token), now, r.factorFor, now.Add(-browserIdle)}
	if strings.HasPrefix(token, tokenPrefix) {
		columns = `t.id, 'token', '', '', coalesce(t.last_used_at, 'epoch'), t.expires_at, t.scopes, ''`
		from = `FROM api_tokens t JOIN staff s ON s.id = t.staff_id JOIN organisations o ON o.id = s.organisation_id
			WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND s.active AND o.active`
		args = args[:2]
	}
	return `SELECT s.id, s.display_name, s.locale, o.id, o.region,
			(SELECT max(e.until) FROM emergency_access e WHERE e.staff_id = s.id AND e.until > now() AND e.until > $2 AND e.closed_at IS NULL), ` + columns + ` ` + from, args
}

// scanCaller reads the row of holderOf, and when the token was last used.
func scanCaller(row pgx.Row) (c Caller, last time.Time, err error) {
	var emergency *time.Time
	err = row.Scan(&c.staff, &c.Name, &c.Locale, &c.organisation, &c.region, &emergency, &c.Session, &c.Kind, &c.Method, &c.Factor, &last, &c.Expires, &c.Scopes, &c.Next)
	c.subject = staffSubject(c.staff)
	if emergency != nil {
		c.Emergency = *emergency
	}
	return c, last, err
}

// SignOut revokes a session's token. Revoking one that is not good changes nothing.
func (s *Store) SignOut(ctx context.Context, token, request string) error {
	var c candidate
	var id uuid.UUID
	err := s.pool.QueryRow(ctx, `
		SELECT s.id, o.id, o.region, t.id FROM sessions t JOIN staff s ON s.id = t.staff_id JOIN organisations o ON o.id = s.organisation_id
		WHERE t.token_hash = $1 AND t.revoked_at IS NULL`, tokenHash(token)).Scan(&c.id, &c.organisation, &c.region, &id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return translate(err)
	}
	actor := c.actor()
	actor.Request = request
	return s.act(ctx, actor, "SignOut", policy.ForAdministration, func(ctx context.Context, a *act) error {
		a.noteAccount(policy.Write, c.record(), "", true)
		_, err := a.Exec(ctx, `UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL`, id, a.at)
		return err
	})
}

// SessionLine is one of a person's sessions, as they look through them.
type SessionLine struct {
	ID      uuid.UUID   `json:"id" class:"staff" mask:"drop"`
	Kind    SessionKind `json:"kind" doc:"browser or bearer" class:"staff" mask:"drop"`
	Method  string      `json:"method" doc:"How it was opened: password or oidc." class:"staff" mask:"drop"`
	Factor  string      `json:"factor,omitempty" doc:"The second factor: totp, recovery or provider." class:"staff" mask:"drop"`
	Opened  time.Time   `json:"opened" class:"staff" mask:"drop"`
	Seen    time.Time   `json:"seen" doc:"When it was last used, to the minute." class:"staff" mask:"drop"`
	Expires time.Time   `json:"expires" class:"staff" mask:"drop"`
	Agent   string      `json:"agent,omitempty" doc:"What the program calls itself." class:"staff" mask:"drop"`
	Address string      `json:"address,omitempty" doc:"The network address that it was opened from." class:"staff" mask:"drop"`
	Current bool        `json:"current" doc:"The one that asks." class:"staff" mask:"drop"`
}

// own notes that somebody looks at or changes their own account, which needs no role. Nobody but a member of staff has one.
func (a *act) own(action policy.Action) error {
	if a.actor.staff == uuid.Nil {
		return &Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(action), "Class": string(policy.Staff)}}
	}
	a.noteAccount(action, record{kind: "staff", id: a.actor.staff.String(), region: a.actor.region}, "", true)
	return nil
}

// OwnSessions lists the actor's sessions that are good now, the newest first.
func (s *Store) OwnSessions(ctx context.Context, caller Caller) ([]SessionLine, error) {
	var out []SessionLine
	err := s.act(ctx, caller.Actor, "OwnSessions", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.own(policy.Read); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `
			SELECT id, kind, method, factor, created_at, last_seen_at, expires_at, agent, address, id = $2 FROM sessions t
			WHERE staff_id = $1 AND revoked_at IS NULL AND expires_at > $3 AND (kind <> 'browser' OR last_seen_at > $4) ORDER BY created_at DESC, id DESC LIMIT 200`,
			a.actor.staff, caller.Session, a.at, a.at.Add(-browserIdle))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SessionLine])
		return err
	})
	return out, err
}

// EndOwnSession ends one of the actor's sessions.
func (s *Store) EndOwnSession(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.act(ctx, actor, "EndOwnSession", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.own(policy.Write); err != nil {
			return err
		}
		tag, err := a.Exec(ctx, `UPDATE sessions SET revoked_at = $3 WHERE id = $1 AND staff_id = $2 AND revoked_at IS NULL`, id, a.actor.staff, a.at)
		if err == nil && tag.RowsAffected() == 0 {
			return missing("session")
		}
		return err
	})
}

// EndOtherSessions ends all of the actor's sessions but the one that asks.
func (s *Store) EndOtherSessions(ctx context.Context, caller Caller) error {
	return s.act(ctx, caller.Actor, "EndOtherSessions", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.own(policy.Write); err != nil {
			return err
		}
		return a.endSessions(ctx, a.actor.staff, caller.Session)
	})
}

// EndSessions ends every session of somebody.
func (s *Store) EndSessions(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.act(ctx, actor, "EndSessions", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if _, err := a.manage(ctx, id, policy.Decide); err != nil {
			return err
		}
		return a.endSessions(ctx, id, uuid.Nil)
	})
}

// endSessions ends a person's sessions and half-done sign-ins, but for one.
func (a *act) endSessions(ctx context.Context, id, but uuid.UUID) error {
	_, err := a.Exec(ctx, `
		WITH half AS (DELETE FROM signins_half_done WHERE staff_id = $1)
		UPDATE sessions SET revoked_at = $3 WHERE staff_id = $1 AND id <> $2 AND revoked_at IS NULL`, id, but, a.at)
	return err
}
