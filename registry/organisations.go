package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// Organisation is an office, hospital, laboratory or host.
type Organisation struct {
	ID      uuid.UUID         `json:"id" class:"organisation" mask:"drop"`
	Kind    string            `json:"kind" class:"organisation" mask:"drop"`
	Name    string            `json:"name" class:"organisation" mask:"drop"`
	NameEN  string            `json:"name_en,omitempty" class:"organisation" mask:"drop"`
	Region  identity.Region   `json:"region" class:"organisation" mask:"drop"`
	Serves  []identity.Region `json:"serves" doc:"The regions that it serves beside its own." class:"organisation" mask:"drop"`
	Version int64             `json:"version" class:"open" mask:"none"`
}

const organisationColumns = `o.id, o.kind, o.name, o.name_en, o.region, ARRAY(SELECT a.region FROM service_areas a WHERE a.organisation_id = o.id ORDER BY a.region), o.version`

// OrganisationForm enters an organisation.
type OrganisationForm struct {
	Kind   string          `json:"kind" validate:"required,oneof=red_cross laboratory hospital blood_station host receiver"`
	Name   string          `json:"name" validate:"required,max=120"`
	NameEN string          `json:"name_en,omitempty" validate:"max=120"`
	Region identity.Region `json:"region" validate:"required,region"`
}

// AddOrganisation enters an organisation.
func (s *Store) AddOrganisation(ctx context.Context, actor Actor, f OrganisationForm) (Organisation, error) {
	out := Organisation{ID: newID(), Kind: f.Kind, Name: f.Name, NameEN: f.NameEN, Region: f.Region, Serves: []identity.Region{}, Version: 1}
	err := s.act(ctx, actor, "AddOrganisation", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Organisation, record{kind: "organisation", id: out.ID.String(), region: f.Region}); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		_, err := a.Exec(ctx, `INSERT INTO organisations (id, kind, name, name_en, region) VALUES ($1, $2, $3, $4, $5)`, out.ID, f.Kind, f.Name, f.NameEN, string(f.Region))
		return err
	})
	return out, err
}

// ListOrganisations returns active organisations of a kind (empty is all), in the order of their ids.
func (r *Reader) ListOrganisations(ctx context.Context, actor Actor, kind string, after uuid.UUID, limit int) ([]Organisation, error) {
	var out []Organisation
	err := r.act(ctx, actor, "ListOrganisations", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Read, policy.Organisation, record{kind: "organisations", id: kind}); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `
			SELECT `+organisationColumns+` FROM organisations o
			WHERE o.active AND ($1 = '' OR o.kind = $1) AND o.id > $2 ORDER BY o.id LIMIT $3`, kind, after, pageSize(limit))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Organisation])
		return err
	})
	return out, err
}

// OrganisationFilter narrows the list of organisations; the zero value is all.
type OrganisationFilter struct {
	Kind   string
	Name   string          // a part of it, in either language
	Region identity.Region // with all that lies in it
	After  uuid.UUID       // the last one of the part before
	Limit  int
}

// FindOrganisations returns active organisations as the regions lie in each other, those of one region in the order in which they
// were entered.
func (r *Reader) FindOrganisations(ctx context.Context, actor Actor, f OrganisationFilter) ([]Organisation, error) {
	var out []Organisation
	err := r.act(ctx, actor, "FindOrganisations", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Read, policy.Organisation, record{kind: "organisations", id: f.Kind}); err != nil {
			return err
		}
		within := identity.Nation
		if f.Region != "" {
			var err error
			if within, err = regionOf(f.Region); err != nil {
				return err
			}
		}
		lo, hi := within.Range()
		rows, err := a.Query(ctx, `
			SELECT `+organisationColumns+` FROM organisations o
			WHERE o.active AND ($1 = '' OR o.kind = $1) AND ($2 = '' OR strpos(lower(o.name), lower($2)) > 0 OR strpos(lower(o.name_en), lower($2)) > 0)
				AND o.region >= $3 AND o.region < $4 AND ($5 = '00000000-0000-0000-0000-000000000000'::uuid OR (o.region, o.id) > (SELECT l.region, l.id FROM organisations l WHERE l.id = $5))
			ORDER BY o.region, o.id LIMIT $6`, f.Kind, strings.TrimSpace(f.Name), lo, hi, f.After, pageSize(f.Limit))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Organisation])
		return err
	})
	return out, err
}

// ShowOrganisation returns an organisation.
func (r *Reader) ShowOrganisation(ctx context.Context, actor Actor, id uuid.UUID) (Organisation, error) {
	var out Organisation
	err := r.act(ctx, actor, "ShowOrganisation", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if out, err = a.organisation(ctx, id, ""); err != nil {
			return err
		}
		return a.permit(policy.Read, policy.Organisation, record{kind: "organisation", id: id.String(), region: out.Region})
	})
	return out, err
}

// organisation reads one; lock is FOR UPDATE where it is about to change.
func (a *act) organisation(ctx context.Context, id uuid.UUID, lock string) (Organisation, error) {
	rows, err := a.Query(ctx, `SELECT `+organisationColumns+` FROM organisations o WHERE o.id = $1 `+lock, id)
	if err != nil {
		return Organisation{}, err
	}
	out, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Organisation])
	if errors.Is(err, pgx.ErrNoRows) {
		a.decided = true // there is nothing to decide about
		return Organisation{}, missing("organisation")
	}
	return out, err
}

// OrganisationChange is how an organisation is called from now on. What it is and where it lies stay: cases, donors and drives are where
// they are because of it.
type OrganisationChange struct {
	Name   string `json:"name" validate:"required,max=120"`
	NameEN string `json:"name_en,omitempty" validate:"max=120"`
}

// ChangeOrganisation calls an organisation otherwise. version is that of the organisation as it was read; 0 is any.
func (s *Store) ChangeOrganisation(ctx context.Context, actor Actor, id uuid.UUID, version int64, f OrganisationChange) (Organisation, error) {
	var out Organisation
	err := s.act(ctx, actor, "ChangeOrganisation", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if out, err = a.organisation(ctx, id, "FOR UPDATE"); err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Organisation, record{kind: "organisation", id: id.String(), region: out.Region}); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if version != 0 && version != out.Version {
			return stale("organisation")
		}
		out.Name, out.NameEN = f.Name, f.NameEN
		out.Version++
		_, err = a.Exec(ctx, `UPDATE organisations SET name = $2, name_en = $3, version = $4 WHERE id = $1`, id, out.Name, out.NameEN, out.Version)
		return err
	})
	return out, err
}

// ServiceAreaForm is all that an organisation serves.
type ServiceAreaForm struct {
	Regions []identity.Region `json:"regions" validate:"required,max=500,unique,dive,region" doc:"The regions that it serves beside its own; none is an empty list. What is not among them is served no more."`
}

// SetServiceAreas says which regions an organisation serves beside its own: whose records its people reach as a role lets those who
// serve a region. It takes effect with the next act anywhere. Like a role it is given by who gives it in all the regions that are
// added or taken. version is the organisation's as it was read; 0 is any.
func (s *Store) SetServiceAreas(ctx context.Context, actor Actor, id uuid.UUID, version int64, f ServiceAreaForm) (Organisation, error) {
	var out Organisation
	err := s.act(ctx, actor, "SetServiceAreas", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if out, err = a.organisation(ctx, id, "FOR UPDATE"); err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Organisation, record{kind: "organisation", id: id.String(), region: out.Region}); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if version != 0 && version != out.Version {
			return stale("organisation")
		}
		before, after := out.Serves, slices.Sorted(slices.Values(f.Regions))
		if len(after) > 0 {
			var patients bool
			if err := a.QueryRow(ctx, `SELECT works_for_patients($1)`, id).Scan(&patients); err != nil {
				return err
			}
			if patients {
				return refused("areas_of_patients_side")
			}
		}
		a.entries[len(a.entries)-1].Fields = "before=" + joined(before) + " after=" + joined(after)
		for _, region := range slices.Concat(before, after) {
			if slices.Contains(before, region) && slices.Contains(after, region) {
				continue
			}
			if d, _ := a.may(policy.Decide, policy.Organisation, record{region: region}); !d.Allowed {
				return a.deny(&Error{Kind: Denied, Code: "area_not_held", Args: map[string]any{"Region": string(region)}})
			}
		}
		out.Serves = append([]identity.Region{}, after...)
		if slices.Equal(before, after) {
			return nil
		}
		out.Version++
		_, err = a.Exec(ctx, `
			WITH gone AS (DELETE FROM service_areas WHERE organisation_id = $1 AND region <> ALL ($2)),
				changed AS (UPDATE organisations SET version = $3 WHERE id = $1)
			INSERT INTO service_areas (organisation_id, region) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING`, id, out.Serves, out.Version)
		return err
	})
	return out, err
}

func joined(regions []identity.Region) string {
	out := make([]string, len(regions))
	for i, r := range regions {
		out[i] = string(r)
	}
	return strings.Join(out, ",")
}

// officeOf finds the Red Cross office that answers for a region: its own, else the nearest one up the tree.
func (a *act) officeOf(ctx context.Context, region identity.Region) (uuid.UUID, error) {
	var id uuid.UUID
	err := a.QueryRow(ctx, `
		SELECT o.id FROM unnest($1::text[]) WITH ORDINALITY up(region, rung) JOIN organisations o ON o.region = up.region
		WHERE o.kind = 'red_cross' AND o.active ORDER BY up.rung, o.id LIMIT 1`, regionPath(region)).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, refused("no_office", "Region", string(region))
	}
	return id, err
}

// StaffForm enters a member of staff.
type StaffForm struct {
	Login        string      `json:"login" validate:"required,min=3,max=60"`
	Name         string      `json:"name" validate:"required,max=60"`
	Organisation uuid.UUID   `json:"organisation" validate:"required"`
	Password     string      `json:"password" validate:"required,min=10,max=200"`
	Locale       lang.Locale `json:"locale,omitempty" validate:"omitempty,oneof=zh-CN en"`
	OneTime      bool        `json:"one_time,omitempty" doc:"The password has to be changed at the first sign-in."`
}

// AddStaff enters a member of staff. They can sign in at once, and may do nothing until a role is granted.
func (s *Store) AddStaff(ctx context.Context, actor Actor, f StaffForm) (uuid.UUID, error) {
	if problems := forms.Check(f); len(problems) > 0 {
		return uuid.Nil, invalid(problems)
	}
	if problems := passwordProblems("password", f.Login, f.Password); len(problems) > 0 {
		return uuid.Nil, invalid(problems)
	}
	hash, err := argon2id.CreateHash(f.Password, passwordParams)
	if err != nil {
		return uuid.Nil, err
	}
	if f.Locale == "" {
		f.Locale = lang.Chinese
	}
	id := newID()
	err = s.act(ctx, actor, "AddStaff", policy.ForAdministration, func(ctx context.Context, a *act) error {
		region, err := a.regionOfOrganisation(ctx, f.Organisation)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Staff, record{kind: "staff", id: id.String(), region: region}); err != nil {
			return err
		}
		_, err = a.Exec(ctx, `INSERT INTO staff (id, organisation_id, login, display_name, locale, password_hash, must_change_password) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			id, f.Organisation, f.Login, f.Name, string(f.Locale), hash, f.OneTime)
		return err
	})
	return id, err
}

// GrantForm grants a role in a region until a day.
type GrantForm struct {
	Login  string          `json:"login" validate:"required"`
	Role   policy.Role     `json:"role" validate:"required,oneof=station registrar county_office city_office provincial_office coordinator organ_coordinator opo_coordinator hospital_reporter collection_hospital transplant_hospital laboratory ethics_member receiver blood_importer family_liaison memorial_editor aid_reviewer bridge auditor system_administrator security_administrator audit_administrator"`
	Region identity.Region `json:"region" validate:"required,region"`
	Until  time.Time       `json:"until" validate:"required"`
}

// GrantRole makes a member of staff a role in a region until an instant. It takes effect with the next act anywhere. Nobody gives
// what they do not hold the giving of (policy/granting.csv), nobody gives to themselves, and nobody becomes what does not go
// with what they are (policy/separation.csv).
func (s *Store) GrantRole(ctx context.Context, actor Actor, f GrantForm) (uuid.UUID, error) {
	id := newID()
	err := s.act(ctx, actor, "GrantRole", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Granting, record{kind: "grant", id: id.String(), region: f.Region}); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if !f.Until.After(a.at) {
			return invalid(forms.Problems{{Code: "R139", Field: "until"}})
		}
		// Two grants at once could each be compatible with what was there before; the person's row lets one wait for the other.
		var staff uuid.UUID
		err := a.QueryRow(ctx, `SELECT id FROM staff WHERE lower(login) = lower($1) FOR UPDATE`, f.Login).Scan(&staff)
		if errors.Is(err, pgx.ErrNoRows) {
			return missing("staff")
		}
		if err != nil {
			return err
		}
		if err := a.mayGive(ctx, staff, f); err != nil {
			return err
		}
		_, err = a.Exec(ctx, `INSERT INTO role_grants (id, staff_id, role, region, granted_by, until) VALUES ($1, $2, $3, $4, $5, $6)`,
			id, staff, string(f.Role), string(f.Region), actor.subject, f.Until)
		return err
	})
	return id, err
}

// mayGive checks what the policy's tables say about giving.
func (a *act) mayGive(ctx context.Context, staff uuid.UUID, f GrantForm) error {
	switch {
	case staff == a.actor.staff:
		return a.deny(&Error{Kind: Denied, Code: "grant_to_oneself"})
	case !a.policy.MayGrant(a.actor.policySubject(), f.Role, regionPath(f.Region), f.Until):
		return a.deny(&Error{Kind: Denied, Code: "grant_not_held", Args: map[string]any{"Role": string(f.Role)}})
	}
	rows, err := a.Query(ctx, `SELECT DISTINCT role FROM role_grants WHERE staff_id = $1 AND revoked_at IS NULL AND until > $2`, staff, a.now())
	if err != nil {
		return err
	}
	held, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, other := range held {
		if _, apart := policy.Incompatible(f.Role, policy.Role(other)); apart {
			return refused("roles_apart", "Role", string(f.Role), "Other", other)
		}
	}
	return nil
}

// deny turns what was permitted by its class into a denial for a reason that lies in the case, and the audit says so.
func (a *act) deny(e *Error) error {
	last := &a.entries[len(a.entries)-1]
	last.Allowed, last.Rule = false, e.Code
	return e
}

// RevokeRole ends every grant of a role that a member of staff holds in a region. It takes effect with the next act
// anywhere.
func (s *Store) RevokeRole(ctx context.Context, actor Actor, login string, role policy.Role, region identity.Region) error {
	return s.act(ctx, actor, "RevokeRole", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Granting, record{kind: "grant", id: login, region: region}); err != nil {
			return err
		}
		if !a.policy.MayRevoke(a.actor.policySubject(), role, regionPath(region)) {
			return a.deny(&Error{Kind: Denied, Code: "grant_not_held", Args: map[string]any{"Role": string(role)}})
		}
		tag, err := a.Exec(ctx, `
			UPDATE role_grants g SET revoked_at = now(), revoked_by = $4 FROM staff s
			WHERE s.id = g.staff_id AND lower(s.login) = lower($1) AND g.role = $2 AND g.region = $3 AND g.revoked_at IS NULL`, login, string(role), string(region), actor.subject)
		if err == nil && tag.RowsAffected() == 0 {
			return missing("grant")
		}
		return err
	})
}

// GrantLine is a role that a member of staff holds.
type GrantLine struct {
	ID        uuid.UUID       `json:"id" class:"grant" mask:"drop"`
	Staff     uuid.UUID       `json:"staff" class:"grant" mask:"drop"`
	Login     string          `json:"login" class:"grant" mask:"drop"`
	Name      string          `json:"name" class:"grant" mask:"drop"`
	Role      policy.Role     `json:"role" class:"grant" mask:"drop"`
	Region    identity.Region `json:"region" class:"grant" mask:"drop"`
	Until     time.Time       `json:"until" class:"grant" mask:"drop"`
	GrantedBy string          `json:"granted_by" class:"grant" mask:"drop"`
	GivenBy   string          `json:"given_by,omitempty" doc:"Their name; empty for what was entered at the machine." class:"grant" mask:"drop"`
	GrantedAt time.Time       `json:"granted_at" class:"grant" mask:"drop"`
}

const grantColumns = `g.id, s.id, s.login, s.display_name, g.role, g.region, g.until, g.granted_by, coalesce((SELECT b.display_name FROM staff b WHERE g.granted_by = 'staff:' || b.id), ''), g.granted_at`

// ListGrants returns the grants in force within the actor's regions, in the order in which they were made; login narrows them to
// one person's.
func (r *Reader) ListGrants(ctx context.Context, actor Actor, login string, after uuid.UUID, limit int) ([]GrantLine, error) {
	var out []GrantLine
	err := r.act(ctx, actor, "ListGrants", policy.ForAdministration, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Granting)
		rows, err := a.Query(ctx, `
			SELECT `+grantColumns+` FROM role_grants g JOIN staff s ON s.id = g.staff_id
			WHERE g.id > $1 AND ($2 = '' OR lower(s.login) = lower($2)) AND g.revoked_at IS NULL AND g.until > $3
				AND EXISTS (SELECT FROM unnest($4::text[], $5::text[]) s(lo, hi) WHERE g.region >= lo AND g.region < hi)
			ORDER BY g.id LIMIT $6`, after, login, a.now(), within.lo, within.hi, pageSize(limit))
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[GrantLine]); err != nil {
			return err
		}
		return a.permitList(policy.Granting, within, "grants", idsOf(out, func(g GrantLine) uuid.UUID { return g.ID }), a.sought("login", strings.ToLower(login)))
	})
	return out, err
}
