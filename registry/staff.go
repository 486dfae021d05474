package registry

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// The kinds of staff. A machine has tokens and no password.
const (
	personStaff  = "person"
	machineStaff = "machine"
)

// StaffView is an account as those see it who look after accounts.
type StaffView struct {
	ID           uuid.UUID       `json:"id" class:"staff" mask:"drop"`
	Login        string          `json:"login" class:"staff" mask:"drop"`
	Name         string          `json:"name" class:"staff" mask:"drop"`
	Kind         string          `json:"kind" doc:"person or machine" class:"staff" mask:"drop"`
	Organisation uuid.UUID       `json:"organisation" class:"staff" mask:"drop"`
	Workplace    string          `json:"workplace" doc:"The organisation's name." class:"staff" mask:"drop"`
	Region       identity.Region `json:"region" doc:"Of the organisation." class:"staff" mask:"drop"`
	Locale       lang.Locale     `json:"locale" class:"staff" mask:"drop"`
	Active       bool            `json:"active" class:"staff" mask:"drop"`
	MustChange   bool            `json:"must_change_password" doc:"The password has to be changed at the next sign-in." class:"staff" mask:"drop"`
	Factor       bool            `json:"second_factor" doc:"A second factor is in use." class:"staff" mask:"drop"`
	LockedUntil  *time.Time      `json:"locked_until,omitempty" doc:"Too many sign-ins failed." class:"staff" mask:"drop"`
	Roles        []StaffRole     `json:"roles" class:"staff" mask:"drop"`
	Identities   []IdentityForm  `json:"identities" doc:"Who it is at a provider of single sign-on." class:"staff" mask:"drop"`
	Version      int64           `json:"version" class:"open" mask:"none"`
}

// StaffRole is a role that is in force.
type StaffRole struct {
	Role   policy.Role     `json:"role" class:"staff" mask:"drop"`
	Region identity.Region `json:"region" class:"staff" mask:"drop"`
	Until  time.Time       `json:"until" class:"staff" mask:"drop"`
}

const staffColumns = `
	SELECT s.id, s.login, s.display_name, s.kind, s.organisation_id, o.name, o.region, s.locale, s.active, s.must_change_password, s.totp_since IS NOT NULL, NULL::timestamptz,
		coalesce((SELECT jsonb_agg(jsonb_build_object('role', g.role, 'region', g.region, 'until', g.until) ORDER BY g.role, g.region, g.until)
			FROM role_grants g WHERE g.staff_id = s.id AND g.revoked_at IS NULL AND g.until > $1), '[]'),
		coalesce((SELECT jsonb_agg(jsonb_build_object('issuer', i.issuer, 'subject', i.subject) ORDER BY i.issuer, i.subject) FROM staff_identities i WHERE i.staff_id = s.id), '[]'),
		s.version
	FROM staff s JOIN organisations o ON o.id = s.organisation_id `

// locks fills in which of some accounts are locked.
func (a *act) locks(ctx context.Context, list []StaffView) error {
	digests := make([][]byte, len(list))
	for i, v := range list {
		digests[i] = a.loginDigest(v.Login)
	}
	rows, err := a.Query(ctx, `SELECT login_digest, locked_until FROM signin_locks WHERE login_digest = ANY($1) AND locked_until > $2`, digests, a.at)
	if err != nil {
		return err
	}
	found := map[string]time.Time{}
	var digest []byte
	var until time.Time
	if _, err := pgx.ForEachRow(rows, []any{&digest, &until}, func() error { found[hex.EncodeToString(digest)] = until; return nil }); err != nil {
		return err
	}
	for i := range list {
		if until, ok := found[hex.EncodeToString(digests[i])]; ok {
			list[i].LockedUntil = &until
		}
	}
	return nil
}

// StaffFilter narrows the list of accounts; the zero value is all.
type StaffFilter struct {
	Text         string      // a part of the login or the name
	Organisation uuid.UUID   // where they work
	Role         policy.Role // that they have now
	After        uuid.UUID   // the last one of the part before
	Limit        int
}

// ListStaff returns accounts in the actor's regions, in the order of their ids.
func (r *Reader) ListStaff(ctx context.Context, actor Actor, after uuid.UUID, limit int) ([]StaffView, error) {
	return r.SearchStaff(ctx, actor, StaffFilter{After: after, Limit: limit})
}

// SearchStaff is ListStaff for accounts of which something is known.
func (r *Reader) SearchStaff(ctx context.Context, actor Actor, f StaffFilter) ([]StaffView, error) {
	var out []StaffView
	f.Text = strings.ToLower(strings.TrimSpace(f.Text))
	err := r.act(ctx, actor, "ListStaff", policy.ForAdministration, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Staff)
		rows, err := a.Query(ctx, staffColumns+`
			WHERE s.id > $2 AND EXISTS (SELECT FROM unnest($3::text[], $4::text[]) r(lo, hi) WHERE o.region >= lo AND o.region < hi)
				AND ($6 = '' OR strpos(lower(s.login), $6) > 0 OR strpos(lower(s.display_name), $6) > 0) AND ($7 = '00000000-0000-0000-0000-000000000000'::uuid OR s.organisation_id = $7)
				AND ($8 = '' OR EXISTS (SELECT FROM role_grants g WHERE g.staff_id = s.id AND g.role = $8 AND g.revoked_at IS NULL AND g.until > $1))
			ORDER BY s.id LIMIT $5`,
			a.at, f.After, within.lo, within.hi, pageSize(f.Limit), f.Text, f.Organisation, string(f.Role))
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[StaffView]); err != nil {
			return err
		}
		if err := a.locks(ctx, out); err != nil {
			return err
		}
		return a.permitList(policy.Staff, within, "staff", idsOf(out, func(v StaffView) uuid.UUID { return v.ID }),
			a.sought("text", f.Text), a.narrowed("organisation", textOf(f.Organisation)), a.narrowed("role", string(f.Role)))
	})
	return out, err
}

// ShowStaff returns an account.
func (r *Reader) ShowStaff(ctx context.Context, actor Actor, id uuid.UUID) (StaffView, error) {
	return r.showStaff(ctx, actor, `WHERE s.id = $2`, id)
}

// FindStaff returns the account of a login.
func (r *Reader) FindStaff(ctx context.Context, actor Actor, login string) (StaffView, error) {
	return r.showStaff(ctx, actor, `WHERE lower(s.login) = lower($2)`, login)
}

func (r *Reader) showStaff(ctx context.Context, actor Actor, where string, by any) (StaffView, error) {
	var out StaffView
	err := r.act(ctx, actor, "ShowStaff", policy.ForAdministration, func(ctx context.Context, a *act) error {
		v, err := a.readStaff(ctx, where, by)
		if err != nil {
			return err
		}
		out = v
		return a.permit(policy.Read, policy.Staff, v.record())
	})
	return out, err
}

func (v StaffView) record() record {
	return record{kind: "staff", id: v.ID.String(), region: v.Region}
}

func (a *act) readStaff(ctx context.Context, where string, by any) (StaffView, error) {
	rows, err := a.Query(ctx, staffColumns+where, a.at, by)
	if err != nil {
		return StaffView{}, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[StaffView])
	if errors.Is(err, pgx.ErrNoRows) {
		return v, missing("staff")
	}
	if err != nil {
		return v, err
	}
	one := []StaffView{v}
	err = a.locks(ctx, one)
	return one[0], err
}

// manage permits an act on somebody else's account: where they work, and in every region in which they have a role. Entering and
// ending accounts is written by the system's administrators; what lets somebody into an account (a password, a factor, a token) is
// decided by those who give roles. Whoever can give somebody a password can be them: so nobody reaches rights that way that
// they could not grant.
func (a *act) manage(ctx context.Context, id uuid.UUID, action policy.Action) (StaffView, error) {
	if id == a.actor.staff {
		a.decided = true
		return StaffView{}, refused("own_account")
	}
	v, err := a.readStaff(ctx, `WHERE s.id = $2 FOR UPDATE OF s`, id)
	if err != nil {
		return v, err
	}
	if err := a.permit(action, policy.Staff, v.record()); err != nil {
		return v, err
	}
	for _, g := range v.Roles {
		if action == policy.Decide && !a.policy.MayRevoke(a.actor.policySubject(), g.Role, regionPath(g.Region)) {
			return v, a.deny(&Error{Kind: Denied, Code: "grant_not_held", Args: map[string]any{"Role": string(g.Role)}})
		}
		if v.Region.Contains(g.Region) {
			continue
		}
		if err := a.permit(action, policy.Staff, record{kind: "staff", id: id.String(), region: g.Region}); err != nil {
			return v, err
		}
	}
	return v, nil
}

// StaffChange is what changes of an account; what is left out stays.
type StaffChange struct {
	Name         string      `json:"name,omitempty" validate:"omitempty,max=60"`
	Organisation uuid.UUID   `json:"organisation,omitzero" doc:"Where the person works from now on. Roles stay as they are: revoke those that do not go with it."`
	Locale       lang.Locale `json:"locale,omitempty" validate:"omitempty,oneof=zh-CN en"`
}

// ChangeStaff changes an account that somebody read at a version.
func (s *Store) ChangeStaff(ctx context.Context, actor Actor, id uuid.UUID, version int64, f StaffChange) (StaffView, error) {
	var out StaffView
	err := s.act(ctx, actor, "ChangeStaff", policy.ForAdministration, func(ctx context.Context, a *act) error {
		v, err := a.manage(ctx, id, policy.Write)
		if err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if v.Version != version {
			return stale("staff")
		}
		if f.Organisation != uuid.Nil && f.Organisation != v.Organisation {
			region, err := a.regionOfOrganisation(ctx, f.Organisation)
			if err != nil {
				return err
			}
			if err := a.permit(policy.Write, policy.Staff, record{kind: "staff", id: id.String(), region: region}); err != nil {
				return err
			}
		} else {
			f.Organisation = v.Organisation
		}
		_, err = a.Exec(ctx, `
			UPDATE staff SET display_name = coalesce(nullif($2, ''), display_name), locale = coalesce(nullif($3, ''), locale), organisation_id = $4, version = version + 1 WHERE id = $1`,
			id, f.Name, string(f.Locale), f.Organisation)
		if err != nil {
			return err
		}
		out, err = a.readStaff(ctx, `WHERE s.id = $2`, id)
		return err
	})
	return out, err
}

// OwnAccount is somebody's account as they see it themselves.
type OwnAccount struct {
	Login        string          `json:"login" class:"staff" mask:"drop"`
	Name         string          `json:"name" class:"staff" mask:"drop"`
	Organisation string          `json:"organisation" class:"staff" mask:"drop"`
	Region       identity.Region `json:"region" doc:"Of the organisation." class:"staff" mask:"drop"`
	Factor       *time.Time      `json:"factor,omitempty" doc:"Since when a second factor is in use; absent when none is." class:"staff" mask:"drop"`
	Codes        int             `json:"codes" doc:"Recovery codes that are still good." class:"staff" mask:"drop"`
	Roles        []GrantLine     `json:"roles" class:"staff" mask:"drop"`
}

// ShowOwnAccount returns the actor's own account.
func (r *Reader) ShowOwnAccount(ctx context.Context, actor Actor) (OwnAccount, error) {
	var out OwnAccount
	err := r.act(ctx, actor, "ShowOwnAccount", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.own(policy.Read); err != nil {
			return err
		}
		err := a.QueryRow(ctx, `
			SELECT s.login, s.display_name, o.name, o.region, s.totp_since, (SELECT count(*) FROM recovery_codes c WHERE c.staff_id = s.id AND c.used_at IS NULL)
			FROM staff s JOIN organisations o ON o.id = s.organisation_id WHERE s.id = $1`, a.actor.staff).
			Scan(&out.Login, &out.Name, &out.Organisation, &out.Region, &out.Factor, &out.Codes)
		if err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT `+grantColumns+` FROM role_grants g JOIN staff s ON s.id = g.staff_id WHERE s.id = $1 AND g.revoked_at IS NULL AND g.until > $2 ORDER BY g.id`, a.actor.staff, a.at)
		if err != nil {
			return err
		}
		out.Roles, err = pgx.CollectRows(rows, pgx.RowToStructByPos[GrantLine])
		return err
	})
	return out, err
}

// ChangeOwnLocale changes the language that the actor reads.
func (s *Store) ChangeOwnLocale(ctx context.Context, actor Actor, locale lang.Locale) error {
	return s.act(ctx, actor, "ChangeOwnLocale", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.own(policy.Write); err != nil {
			return err
		}
		_, err := a.Exec(ctx, `UPDATE staff SET locale = $2, version = version + 1 WHERE id = $1`, a.actor.staff, string(locale))
		return err
	})
}

// DeactivateStaff ends an account: its sessions, tokens and roles count no more, everywhere and at once.
func (s *Store) DeactivateStaff(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.setActive(ctx, actor, "DeactivateStaff", id, false)
}

// ReactivateStaff lets somebody work here again, with the roles that have not been revoked or ended meanwhile. Their old
// sessions and tokens stay ended.
func (s *Store) ReactivateStaff(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.setActive(ctx, actor, "ReactivateStaff", id, true)
}

func (s *Store) setActive(ctx context.Context, actor Actor, name string, id uuid.UUID, active bool) error {
	return s.act(ctx, actor, name, policy.ForAdministration, func(ctx context.Context, a *act) error {
		v, err := a.manage(ctx, id, policy.Write)
		if err != nil || v.Active == active {
			return err
		}
		// A trigger makes every process read the grants again.
		_, err = a.Exec(ctx, `UPDATE staff SET active = $2, version = version + 1 WHERE id = $1`, id, active)
		if !active {
			a.forgetContacts(id)
		}
		return errors.Join(err, a.endSessions(ctx, id, uuid.Nil), a.revokeTokens(ctx, id))
	})
}

// UnlockStaff lets somebody sign in again whose login was locked after too many failures.
func (s *Store) UnlockStaff(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.act(ctx, actor, "UnlockStaff", policy.ForAdministration, func(ctx context.Context, a *act) error {
		v, err := a.manage(ctx, id, policy.Decide)
		if err != nil {
			return err
		}
		return a.forgive(ctx, v.Login)
	})
}

// MachineForm enters a machine: another system that works with the register by itself.
type MachineForm struct {
	Login        string    `json:"login" validate:"required,min=3,max=60"`
	Name         string    `json:"name" validate:"required,max=60"`
	Organisation uuid.UUID `json:"organisation" validate:"required"`
}

// AddMachine enters a machine. It has no password: it works with tokens, and with the roles that are granted to it.
func (s *Store) AddMachine(ctx context.Context, actor Actor, f MachineForm) (uuid.UUID, error) {
	id := newID()
	err := s.act(ctx, actor, "AddMachine", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		region, err := a.regionOfOrganisation(ctx, f.Organisation)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Staff, record{kind: "staff", id: id.String(), region: region}); err != nil {
			return err
		}
		_, err = a.Exec(ctx, `INSERT INTO staff (id, organisation_id, login, display_name, kind, password_hash) VALUES ($1, $2, $3, $4, 'machine', '')`,
			id, f.Organisation, f.Login, f.Name)
		return err
	})
	return id, err
}

func (a *act) regionOfOrganisation(ctx context.Context, id uuid.UUID) (identity.Region, error) {
	var region identity.Region
	err := a.QueryRow(ctx, `SELECT region FROM organisations WHERE id = $1 AND active`, id).Scan(&region)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", missing("organisation")
	}
	return region, err
}
