package registry

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
)

// Look is one time that somebody saw something of a donor, did something with it, or was refused it.
type Look struct {
	ID           uuid.UUID      `json:"id" class:"audit" mask:"drop"`
	At           time.Time      `json:"at" class:"audit" mask:"drop"`
	Donors       []uuid.UUID    `json:"donors" doc:"Which of the person's registrations." class:"audit" mask:"drop"`
	Organisation string         `json:"organisation,omitempty" doc:"Whose member of staff it was. Absent for the register itself, and for the patient's side of a case, whom the donor's side does not learn." class:"audit" mask:"drop"`
	Role         string         `json:"role" doc:"In which role it was allowed; system for the register itself and its operators. Empty when it was refused." class:"audit" mask:"drop"`
	Staff        string         `json:"staff,omitempty" doc:"Who it was, for readers who may know members of staff." class:"audit" mask:"drop"`
	Act          string         `json:"act" class:"audit" mask:"drop"`
	Action       policy.Action  `json:"action" class:"audit" mask:"drop"`
	Class        policy.Class   `json:"class" class:"audit" mask:"drop"`
	Fields       string         `json:"fields,omitempty" class:"audit" mask:"drop"`
	Purpose      policy.Purpose `json:"purpose" class:"audit" mask:"drop"`
	Reason       string         `json:"reason,omitempty" class:"audit" mask:"drop"`
	List         bool           `json:"list" doc:"The donor was one line of a list." class:"audit" mask:"drop"`
	Refused      bool           `json:"refused" class:"audit" mask:"drop"`
}

// LookFilter is a page of looks.
type LookFilter struct {
	WholePerson bool      // also at the same person's other registrations, where the actor may know as well
	Before      time.Time // for the next page: looks before this instant …
	BeforeID    uuid.UUID // … and, at it, before this one
	Limit       int
}

// patientSide are the classes that the patient's side of a case looks at donors through.
var patientSide = []policy.Class{policy.Patient, policy.Search, policy.Link}

// WhoLooked tells who looked at a donor, the newest first: what people are answered with who ask who saw their data. Who may read
// the audit there is told more than who answers people on their word: names, and which hospital looked from the patient's side.
func (r *Reader) WhoLooked(ctx context.Context, actor Actor, donor uuid.UUID, f LookFilter) ([]Look, error) {
	var out []Look
	err := r.act(ctx, actor, "WhoLooked", policy.ForRights, func(ctx context.Context, a *act) error {
		row, err := a.readRegistration(ctx, donor, "")
		if err != nil {
			return err
		}
		rec := row.record()
		if actor.Purpose == "" {
			a.purpose = policy.ForAudit // auditors have no other
		}
		class := policy.Audit
		audits, _ := a.may(policy.Read, policy.Audit, rec)
		if !audits.Allowed {
			class, a.purpose = policy.Rights, purposeOr(actor.Purpose, policy.ForRights)
		}
		if err := a.permit(policy.Read, class, rec); err != nil {
			return err
		}
		names, _ := a.may(policy.Read, policy.Staff, rec)
		ids, targets := []uuid.UUID{donor}, []string{rec.target()}
		if f.WholePerson {
			if ids, targets, err = a.registrationsOf(ctx, row.Person, class); err != nil {
				return err
			}
		}
		out, err = a.looksAt(ctx, ids, targets, f, audits.Allowed, audits.Allowed || names.Allowed)
		a.entries[len(a.entries)-1].Shown = len(out)
		return err
	})
	return out, err
}

func purposeOr(said, usual policy.Purpose) policy.Purpose {
	if said != "" {
		return said
	}
	return usual
}

// registrationsOf are a person's registrations at which the actor may know who looked, and what they and the person are called in
// the audit.
func (a *act) registrationsOf(ctx context.Context, person uuid.UUID, class policy.Class) (ids []uuid.UUID, targets []string, err error) {
	rows, err := a.Query(ctx, `SELECT id, region FROM registrations WHERE person_id = $1 ORDER BY id`, person)
	if err != nil {
		return nil, nil, err
	}
	rec := record{kind: "donor"}
	var id uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{&id, &rec.region}, func() error {
		rec.id = id.String()
		if d, _ := a.may(policy.Read, class, rec); d.Allowed {
			ids, targets = append(ids, id), append(targets, rec.target())
		}
		return nil
	})
	return ids, append(targets, record{kind: "person", id: person.String()}.target()), err
}

func (a *act) looksAt(ctx context.Context, ids []uuid.UUID, targets []string, f LookFilter, audits, names bool) ([]Look, error) {
	if f.Before.IsZero() {
		f.Before, f.BeforeID = a.at.Add(time.Hour), uuid.Max
	}
	// OFFSET 0 keeps PostgreSQL from walking the whole audit from its end until a page is full.
	rows, err := a.Query(ctx, `
		SELECT `+auditColumns+`, coalesce(o.name, ''), coalesce(o.kind, ''), coalesce(s.display_name, '') FROM (
			(SELECT * FROM (SELECT * FROM audit WHERE target = ANY ($1) OFFSET 0) record
				WHERE (recorded_at, id) < ($3, $4) ORDER BY recorded_at DESC, id DESC LIMIT $5)
			UNION ALL
			(SELECT * FROM (SELECT * FROM audit WHERE showed && $2 OFFSET 0) list
				WHERE (recorded_at, id) < ($3, $4) AND NOT target = ANY ($1) ORDER BY recorded_at DESC, id DESC LIMIT $5)) a
		LEFT JOIN organisations o ON o.id::text = a.organisation LEFT JOIN staff s ON 'staff:' || s.id = a.actor
		ORDER BY a.recorded_at DESC, a.id DESC LIMIT $5`, targets, ids, f.Before, f.BeforeID, pageSize(f.Limit))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Look, error) {
		e, organisation, kind, staff, err := scanLook(row)
		role, _, _ := strings.Cut(e.Rule, ",")
		if !e.Allowed {
			role = "" // the rule, if any, is the one that denied it
		}
		l := Look{ID: e.ID, At: e.At, Organisation: organisation, Role: role, Act: e.Act, Action: e.Action, Class: e.Class, Purpose: e.Purpose, Reason: e.Reason, Refused: !e.Allowed}
		l.List = !slices.Contains(targets, e.Target)
		for _, id := range ids {
			if slices.Contains(e.Showed, id) || e.Target == (record{kind: "donor", id: id.String()}).target() {
				l.Donors = append(l.Donors, id)
			}
		}
		if !l.List {
			l.Fields = e.Fields // a list's are what it was narrowed by
		}
		if names {
			l.Staff = staff
		}
		// A donor's side must not learn which hospital the patient is at: a hospital has a name only where it acts for donors.
		if !audits && (slices.Contains(patientSide, e.Class) || kind == "hospital" && !slices.Contains(donorRoles, policy.Role(role))) {
			l.Organisation, l.Staff = "", ""
		}
		return l, err
	})
}

// donorRoles are the roles in which a hospital is on the donor's side.
var donorRoles = []policy.Role{policy.CollectionHospital, policy.HospitalReporter, policy.OPOCoordinator}

// scanLook reads an audit row with what its organisation and its actor are called now.
func scanLook(row pgx.CollectableRow) (e auditEntry, organisation, kind, staff string, err error) {
	var place string
	err = row.Scan(&e.ID, &e.At, &e.Actor, &place, &e.Act, &e.Action, &e.Class, &e.Relation, &e.Region, &e.Target, &e.Shown, &e.Purpose,
		&e.Reason, &e.Allowed, &e.Rule, &e.Revision, &e.Request, &e.Showed, &e.Fields, &e.Address, &organisation, &kind, &staff)
	e.Organisation, _ = uuid.Parse(place)
	return e, organisation, kind, staff, err
}
