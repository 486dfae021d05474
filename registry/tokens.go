package registry

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
)

// TokenForm makes a token for a program. Which scopes there are is the API's to know: a scope narrows what its owner may
// do, and never widens it.
type TokenForm struct {
	Name   string   `json:"name" validate:"required,max=60" doc:"What it is for."`
	Scopes []string `json:"scopes" validate:"required,min=1,max=60,unique,dive,required,max=60" doc:"What it is limited to, such as donors:read."`
	Days   int      `json:"days" validate:"required,min=1,max=366" doc:"How long it lives."`
}

// TokenLine is a token as its owner and administrators see it.
type TokenLine struct {
	ID       uuid.UUID  `json:"id" class:"staff" mask:"drop"`
	Name     string     `json:"name" class:"staff" mask:"drop"`
	Scopes   []string   `json:"scopes" class:"staff" mask:"drop"`
	Created  time.Time  `json:"created" class:"staff" mask:"drop"`
	By       string     `json:"by" doc:"Who made it." class:"staff" mask:"drop"`
	Expires  time.Time  `json:"expires" class:"staff" mask:"drop"`
	LastUsed *time.Time `json:"last_used,omitempty" doc:"To the minute." class:"staff" mask:"drop"`
	Revoked  *time.Time `json:"revoked,omitempty" class:"staff" mask:"drop"`
}

// NewToken is a token that was just made. Token is shown once and kept nowhere.
type NewToken struct {
	ID      uuid.UUID `json:"id" class:"staff" mask:"drop"`
	Token   string    `json:"token" doc:"Shown once." class:"staff" mask:"clear"`
	Expires time.Time `json:"expires" class:"staff" mask:"drop"`
}

// AddToken makes a token for oneself or, as an administrator, for a machine.
//
// Errors: Refused for another person's: whoever has it would be them.
func (s *Store) AddToken(ctx context.Context, actor Actor, owner uuid.UUID, f TokenForm) (NewToken, error) {
	var out NewToken
	err := s.act(ctx, actor, "AddToken", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.ofTokens(ctx, owner); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		out = NewToken{ID: newID(), Token: newToken(tokenPrefix), Expires: a.at.AddDate(0, 0, f.Days).Truncate(time.Second)}
		_, err := a.Exec(ctx, `
			INSERT INTO api_tokens (id, token_hash, staff_id, name, scopes, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			out.ID, tokenHash(out.Token), owner, f.Name, f.Scopes, actor.subject, a.at, out.Expires)
		return err
	})
	if err != nil {
		return NewToken{}, err
	}
	return out, nil
}

// ofTokens permits an act on somebody's tokens: one's own, or a machine's.
func (a *act) ofTokens(ctx context.Context, owner uuid.UUID) error {
	if owner == a.actor.staff {
		return a.own(policy.Write)
	}
	v, err := a.manage(ctx, owner, policy.Decide)
	if err == nil && v.Kind != machineStaff {
		return refused("token_of_another")
	}
	return err
}

// ListTokens lists somebody's tokens, the newest first; those that have ended are among them for a while.
func (s *Store) ListTokens(ctx context.Context, actor Actor, owner uuid.UUID) ([]TokenLine, error) {
	var out []TokenLine
	err := s.act(ctx, actor, "ListTokens", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if owner == a.actor.staff {
			if err := a.own(policy.Read); err != nil {
				return err
			}
		} else {
			v, err := a.readStaff(ctx, `WHERE s.id = $2`, owner)
			if err != nil {
				return err
			}
			if err := a.permit(policy.Read, policy.Staff, v.record()); err != nil {
				return err
			}
		}
		rows, err := a.Query(ctx, `
			SELECT id, name, scopes, created_at, created_by, expires_at, last_used_at, revoked_at FROM api_tokens
			WHERE staff_id = $1 AND expires_at > $2::timestamptz - interval '90 days' ORDER BY created_at DESC, id DESC LIMIT 200`, owner, a.at)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[TokenLine])
		return err
	})
	return out, err
}

// RevokeToken ends a token: one's own or, as an administrator, anybody's.
func (s *Store) RevokeToken(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.act(ctx, actor, "RevokeToken", policy.ForAdministration, func(ctx context.Context, a *act) error {
		var owner uuid.UUID
		err := a.QueryRow(ctx, `SELECT staff_id FROM api_tokens WHERE id = $1 AND revoked_at IS NULL`, id).Scan(&owner)
		if errors.Is(err, pgx.ErrNoRows) {
			return missing("token")
		}
		if err != nil {
			return err
		}
		if owner == actor.staff {
			err = a.own(policy.Write)
		} else if _, err = a.manage(ctx, owner, policy.Decide); CodeOf(err) == "staff_not_found" {
			return missing("token")
		}
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `UPDATE api_tokens SET revoked_at = $2, revoked_by = $3 WHERE id = $1 AND revoked_at IS NULL`, id, a.at, actor.subject)
		return err
	})
}

// revokeTokens ends every token of somebody.
func (a *act) revokeTokens(ctx context.Context, owner uuid.UUID) error {
	_, err := a.Exec(ctx, `UPDATE api_tokens SET revoked_at = $2, revoked_by = $3 WHERE staff_id = $1 AND revoked_at IS NULL`, owner, a.at, a.actor.subject)
	return err
}
