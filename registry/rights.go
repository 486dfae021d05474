package registry

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// What people ask about their own data (PIPL Arts. 15, 44-50): each request is a case with a clock. Who asks is proven,
// somebody else than who filed it decides, what was granted is done, and the person is told, with the reasons.

// asked is what a request is about, whoever asks: a relative's kin_copy is a copy.
func asked(kind string) string { return strings.TrimPrefix(kind, "kin_") }

// fetched tells whether a request is granted by handing a copy over.
func fetched(kind string) bool {
	return slices.Contains([]string{"access", "copy", "explanation"}, asked(kind))
}

// officeRole is who decides in a region: the office of its level.
func officeRole(region identity.Region) policy.Role {
	switch region.Level() {
	case identity.LevelNation, identity.LevelProvince:
		return policy.ProvincialOffice
	case identity.LevelCity:
		return policy.CityOffice
	default:
		return policy.CountyOffice
	}
}

// RightsView is a request as those who handle it see it.
type RightsView struct {
	ID          uuid.UUID       `json:"id" class:"rights" mask:"drop"` // also the case's
	Number      string          `json:"number" class:"rights" mask:"drop"`
	Kind        string          `json:"kind" class:"rights" mask:"drop"`
	Asker       string          `json:"asker" class:"rights" mask:"drop"`
	Relation    string          `json:"relation,omitempty" class:"rights" mask:"drop"`
	Via         string          `json:"via" class:"rights" mask:"drop"`
	Donor       uuid.UUID       `json:"donor" class:"rights" mask:"drop"`
	Region      identity.Region `json:"region" class:"rights" mask:"drop"`
	Office      uuid.UUID       `json:"office" doc:"The office that took the request." class:"rights" mask:"drop"`
	Note        seal.Masked     `json:"note" class:"rights" mask:"note"`
	FiledAt     time.Time       `json:"filed_at" class:"rights" mask:"drop"`
	FiledBy     uuid.UUID       `json:"filed_by" class:"rights" mask:"drop"`
	LastDay     calendar.Date   `json:"last_day" doc:"The last day on which it may be answered." class:"rights" mask:"drop"`
	Status      string          `json:"status" class:"rights" mask:"drop"`
	Step        string          `json:"step" class:"rights" mask:"drop"`
	Fields      []string        `json:"fields,omitempty" doc:"What a correction is about." class:"rights" mask:"drop"`
	Evidence    string          `json:"evidence,omitempty" class:"rights" mask:"drop"`
	Proven      string          `json:"proven,omitempty" doc:"Whether who asks is who they say." class:"rights" mask:"drop"`
	Proof       []string        `json:"proof,omitempty" class:"rights" mask:"drop"`
	Decision    string          `json:"decision,omitempty" class:"rights" mask:"drop"`
	Reason      string          `json:"reason,omitempty" class:"rights" mask:"drop"`
	Granted     []string        `json:"granted,omitempty" doc:"Of a correction that is granted in part: what is corrected." class:"rights" mask:"drop"`
	StaffNamed  bool            `json:"staff_named,omitempty" class:"rights" mask:"drop"`
	DecidedAt   *time.Time      `json:"decided_at,omitempty" class:"rights" mask:"drop"`
	DecidedBy   *uuid.UUID      `json:"decided_by,omitempty" class:"rights" mask:"drop"`
	Result      string          `json:"result,omitempty" class:"rights" mask:"drop"`
	Kept        []KeptLine      `json:"kept,omitempty" doc:"What erasure left, until when, and on what ground." class:"rights" mask:"drop"`
	CopyExpires *time.Time      `json:"copy_expires,omitempty" doc:"When the copy that was made cannot be fetched any more." class:"rights" mask:"drop"`
	CopyBy      *uuid.UUID      `json:"copy_by,omitempty" doc:"Who fetched it." class:"rights" mask:"drop"`
	ToldOn      *calendar.Date  `json:"told_on,omitempty" class:"rights" mask:"drop"`
	ToldVia     string          `json:"told_via,omitempty" class:"rights" mask:"drop"`
	Version     int64           `json:"version" class:"open" mask:"none"`
}

// KeptLine is a class of records that erasure left.
type KeptLine struct {
	Class  string        `json:"class" class:"rights" mask:"drop"`
	Says   string        `json:"says,omitempty" class:"rights" mask:"drop"`
	Rule   rules.Key     `json:"rule" class:"rights" mask:"drop"`
	Until  calendar.Date `json:"until" doc:"The last day." class:"rights" mask:"drop"`
	Ground string        `json:"ground,omitempty" class:"rights" mask:"drop"`
}

// rightsRow is a request inside a transaction.
type rightsRow struct {
	RightsView
	Person     uuid.UUID
	Correction []byte
	note       []byte
	wrapped    []byte // the person's key
}

const rightsColumns = `q.id, q.number, q.kind, q.asker, q.relation, q.via, q.registration_id, q.region, q.organisation_id, q.note_sealed, q.filed_at, q.filed_by, c.status, c.step,
	q.fields, q.evidence, q.proven, q.proof, q.decision, q.reason, q.granted, q.staff_named, q.decided_at, q.decided_by, q.result, q.kept, q.told_on, q.told_via, q.version, q.person_id, q.correction_sealed,
	(SELECT max(y.expires_at) FROM rights_copies y WHERE y.request_id = q.id), (SELECT y.made_by FROM rights_copies y WHERE y.request_id = q.id ORDER BY y.made_at DESC LIMIT 1),
	(SELECT p.key_wrapped FROM persons p WHERE p.id = q.person_id)`

func scanRights(row pgx.CollectableRow) (q rightsRow, err error) {
	var kept []byte
	err = row.Scan(&q.ID, &q.Number, &q.Kind, &q.Asker, &q.Relation, &q.Via, &q.Donor, &q.Region, &q.Office, &q.note, &q.FiledAt, &q.FiledBy, &q.Status, &q.Step,
		&q.Fields, &q.Evidence, &q.Proven, &q.Proof, &q.Decision, &q.Reason, &q.Granted, &q.StaffNamed, &q.DecidedAt, &q.DecidedBy, &q.Result, &kept, &q.ToldOn, &q.ToldVia, &q.Version, &q.Person, &q.Correction,
		&q.CopyExpires, &q.CopyBy, &q.wrapped)
	if err != nil {
		return q, err
	}
	return q, json.Unmarshal(kept, &q.Kept)
}

func (a *act) readRights(ctx context.Context, id uuid.UUID, lock bool) (rightsRow, error) {
	query := `SELECT ` + rightsColumns + ` FROM rights_requests q JOIN cases c ON c.id = q.id WHERE q.id = $1`
	if lock {
		query += ` FOR UPDATE OF q`
	}
	rows, err := a.Query(ctx, query, id)
	if err != nil {
		return rightsRow{}, err
	}
	q, err := pgx.CollectExactlyOneRow(rows, scanRights)
	if errors.Is(err, pgx.ErrNoRows) {
		return q, missing("request")
	}
	return q, err
}

func (q rightsRow) record() record {
	return record{kind: "request", id: q.ID.String(), region: q.Region}
}

// donor is the record of the person whom a request is about, for what touches their data.
func (q rightsRow) donor() record {
	return record{kind: "donor", id: q.Donor.String(), region: q.Region}
}

// permitRights asks the policy for the purpose of people's rights: a step's answer is given for the case's.
func (a *act) permitRights(action policy.Action, class policy.Class, rec record) error {
	purpose := a.purpose
	a.purpose = policy.ForRights
	defer func() { a.purpose = purpose }()
	return a.permit(action, class, rec)
}

// view is the request as it leaves the register.
func (a *act) rightsView(q rightsRow) (RightsView, error) {
	v := q.RightsView
	key, err := a.keys.Unwrap(keyCell(q.Person), q.wrapped)
	if err != nil {
		return v, err
	}
	note, err := key.OpenBytes(cell("rights_requests", "note", q.ID), q.note)
	if err != nil {
		return v, err
	}
	v.Note = seal.NoteOf(string(note)).Masked()
	in := a.book.For(q.Region, calendar.Of(q.FiledAt, Zone))
	v.LastDay = in.Span(rules.RightsMax).On(calendar.Of(q.FiledAt, Zone), nil)
	for i, k := range v.Kept {
		v.Kept[i].Says, v.Kept[i].Ground = a.actor.Locale.Say("kept."+k.Class, nil), in.Source(k.Rule)
	}
	return v, nil
}

// FileRights writes down what somebody asks about their own data, or a dead relative's, and starts its clock. command makes
// a retry harmless.
//
// Errors: NotFound, Denied, Invalid, Refused when the person's data was erased, Conflict when the same is asked already.
func (s *Store) FileRights(ctx context.Context, actor Actor, f forms.RightsRequest) (RightsView, error) {
	id := newID()
	err := s.act(ctx, actor, "FileRights", policy.ForRights, func(ctx context.Context, a *act) error {
		problems := f.Review()
		if f.Donor == uuid.Nil {
			a.decided = true
			return invalid(problems)
		}
		row, err := a.readRegistration(ctx, f.Donor, "FOR SHARE")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Rights, row.record()); err != nil {
			return err
		}
		if actor.staff == uuid.Nil {
			// A request has a member of staff who took it, so that another one decides.
			return a.deny(&Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(policy.Write), "Class": string(policy.Rights)}})
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		gone, err := a.restricted(ctx, row.Person, "erased")
		if err != nil {
			return err
		}
		if gone || row.ErasedAt != nil {
			return refused("person_erased")
		}
		number, err := a.number(ctx, "RQ")
		if err != nil {
			return err
		}
		key, err := a.keyOf(ctx, row.Person)
		if err != nil {
			return err
		}
		note, err := key.Seal(cell("rights_requests", "note", id), f.Note.Reveal())
		if err != nil {
			return sealed(err)
		}
		var correction []byte
		fields, evidence := []string{}, ""
		if f.Correction != nil {
			fields, evidence = f.Correction.Fields(), f.Correction.Evidence
			plain, err := json.Marshal(correctionOf(f.Correction))
			if err != nil {
				return err
			}
			if correction, err = key.SealBytes(cell("rights_requests", "correction", id), plain); err != nil {
				return sealed(err)
			}
		}
		err = a.openCase(ctx, caseRow{ID: id, Number: number, Protocol: RightsProtocol, Subject: row.Person, Region: row.Region, Organisation: actor.organisation, Step: "rights.identity"},
			map[string]seat{SeatOffice: {"office", actor.organisation}})
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `
			INSERT INTO rights_requests (id, number, person_id, registration_id, kind, asker, relation, via, region, organisation_id, note_sealed, correction_sealed, fields, evidence, filed_by, filed_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
			id, number, row.Person, row.ID, f.Kind, f.Asker, f.Relation, f.Via, string(row.Region), actor.organisation, note, correction, fields, evidence, actor.staff, a.at)
		if err != nil {
			return err
		}
		a.event(Event{Code: "rights.filed", CaseID: id, PersonID: row.Person, RegistrationID: row.ID, Args: map[string]any{"Number": number, "Kind": f.Kind, "Via": f.Via}})
		a.hear(string(RightsProtocol), "filed", id)
		return nil
	})
	if err != nil {
		return RightsView{}, err
	}
	return s.ShowRights(ctx, actor, id)
}

// ShowRights returns one request.
func (r *Reader) ShowRights(ctx context.Context, actor Actor, id uuid.UUID) (RightsView, error) {
	var v RightsView
	err := r.act(ctx, actor, "ShowRights", policy.ForRights, func(ctx context.Context, a *act) error {
		q, err := a.readRights(ctx, id, false)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Rights, q.record()); err != nil {
			return err
		}
		v, err = a.rightsView(q)
		return err
	})
	return v, err
}

// RightsFilter narrows a list of requests.
type RightsFilter struct {
	Kind   string
	Status string // open, ended, or empty for both
	Step   string
	Donor  uuid.UUID
	After  uuid.UUID // for the next page: requests after this one
	Limit  int
}

// ListRights returns the requests that the actor may read, in the order of their filing.
func (r *Reader) ListRights(ctx context.Context, actor Actor, f RightsFilter) ([]RightsView, error) {
	var out []RightsView
	err := r.act(ctx, actor, "ListRights", policy.ForRights, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Rights)
		rows, err := a.Query(ctx, `
			SELECT `+rightsColumns+` FROM rights_requests q JOIN cases c ON c.id = q.id
			WHERE q.id > $1 AND ($2 = '' OR q.kind = $2) AND ($3 = '' OR c.status = $3) AND ($4 = '' OR c.step = $4) AND ($5::uuid IS NULL OR q.registration_id = $5)
				AND EXISTS (SELECT FROM unnest($6::text[], $7::text[]) s(lo, hi) WHERE q.region >= lo AND q.region < hi)
			ORDER BY q.id LIMIT $8`,
			f.After, f.Kind, f.Status, f.Step, null(f.Donor), within.lo, within.hi, pageSize(f.Limit))
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, scanRights)
		if err != nil {
			return err
		}
		out = make([]RightsView, 0, len(found))
		for _, q := range found {
			v, err := a.rightsView(q)
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		return a.permitList(policy.Rights, within, "requests", idsOf(out, func(v RightsView) uuid.UUID { return v.ID }))
	})
	return out, err
}

// RightsFacts are the records that a request's protocol goes on from, and its clock at an instant.
type RightsFacts struct {
	Snapshot
	Kind     string      `json:"kind"`
	Decides  policy.Role `json:"decides"` // the role of the office that decides
	Identity time.Time   `json:"identity"`
	Decision time.Time   `json:"decision"`
	Carrying time.Time   `json:"carrying"`
	Telling  time.Time   `json:"telling"`
	// LastDay is when the law's time is over; no other deadline lies behind it.
	LastDay time.Time `json:"last_day"`
}

// LoadRights reads a request for its protocol. A step is due by its own rule, counted from at, and never later than the last
// day on which the request may be answered.
func (s *Store) LoadRights(ctx context.Context, actor Actor, id uuid.UUID, at time.Time) (RightsFacts, error) {
	var out RightsFacts
	err := s.act(ctx, actor, "LoadRights", policy.ForRights, func(ctx context.Context, a *act) (err error) {
		a.at = at
		if out.Snapshot, err = a.snapshot(ctx, id); err != nil {
			return err
		}
		var office identity.Region
		var opened time.Time
		err = a.QueryRow(ctx, `SELECT q.kind, o.region, q.filed_at FROM rights_requests q JOIN organisations o ON o.id = q.organisation_id WHERE q.id = $1`, id).Scan(&out.Kind, &office, &opened)
		if err != nil {
			return err
		}
		out.Decides = officeRole(office)
		cal, err := a.calendar(ctx, out.Region)
		if err != nil {
			return err
		}
		out.count(a.book.For(out.Region, calendar.Of(opened, Zone)), opened, at, cal)
		return nil
	})
	return out, err
}

// count sets the clock: the first two steps run from the filing, the others from when they begin.
func (f *RightsFacts) count(in rules.Rules, opened, at time.Time, cal *calendar.Calendar) {
	f.LastDay = in.Deadline(rules.RightsMax, opened, cal, Zone).Due
	by := func(k rules.Key, from time.Time) time.Time {
		if due := in.Deadline(k, from, cal, Zone).Due; due.Before(f.LastDay) {
			return due
		}
		return f.LastDay
	}
	f.Identity, f.Decision = by(rules.RightsIdentity, opened), by(rules.RightsAnswer, opened)
	f.Carrying, f.Telling = by(rules.RightsCarrying, at), by(rules.RightsTelling, at)
}

// Clock counts the deadlines of a request's steps, for whoever stands in for the register in a test.
func (f *RightsFacts) Clock(in rules.Rules, opened, at time.Time, cal *calendar.Calendar) {
	f.count(in, opened, at, cal)
}

// restricted tells whether a restriction lies on a person.
func (a *act) restricted(ctx context.Context, person uuid.UUID, kind string) (bool, error) {
	var is bool
	err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM restrictions WHERE person_id = $1 AND kind = $2)`, person, kind).Scan(&is)
	return is, err
}

// heldBack tells why a person's data is not shown any more: it is erased, or stored and nothing else. Who registers anew
// agrees anew, and a treatment under way goes first.
func (a *act) heldBack(ctx context.Context, person uuid.UUID) (string, error) {
	var kind string
	err := a.QueryRow(ctx, `
		SELECT coalesce(min(x.kind), '') FROM restrictions x WHERE x.person_id = $1 AND x.kind IN ('blocked', 'erased')
			AND NOT EXISTS (SELECT FROM registrations g WHERE g.person_id = x.person_id AND g.status NOT IN ('withdrawn', 'left', 'undone'))
			AND NOT EXISTS (SELECT FROM cases c JOIN registrations g ON g.id = c.subject_id WHERE g.person_id = x.person_id AND c.protocol = 'stemcell' AND c.status = 'open')`, person).Scan(&kind)
	return kind, err
}

// What has to be seen of whom before a request is taken as theirs.
var proofs = map[string][][]string{
	"person":   {{"identity_document"}},
	"guardian": {{"identity_document"}, {"guardianship"}},
	"relative": {{"identity_document"}, {"death_certificate"}, {"household_register", "marriage_certificate", "birth_certificate", "notarised_letter"}},
}

// enrichIdentity holds what was seen against what has to be seen.
func enrichIdentity(ctx context.Context, a *act, t taskRow, form forms.Form, o *forms.Outcome) error {
	f := form.(*forms.RightsIdentity)
	if o.Code != "confirmed" {
		return nil
	}
	q, err := a.readRights(ctx, t.CaseID, false)
	if err != nil {
		return err
	}
	for _, oneOf := range proofs[q.Asker] {
		if !slices.ContainsFunc(oneOf, func(p string) bool { return slices.Contains(f.Proof, p) }) {
			return invalid(forms.Problems{{Code: "R145", Field: "proof", Args: map[string]any{"Needed": strings.Join(oneOf, ", ")}}})
		}
	}
	if q.Asker != "relative" {
		return nil
	}
	if f.DiedOn.IsZero() || f.DiedOn.After(f.On) {
		return invalid(forms.Problems{{Code: "R101", Field: "died_on"}})
	}
	// What the person arranged in their lifetime goes before what relatives may ask (PIPL Art. 49).
	barred, err := a.restricted(ctx, q.Person, "no_kin")
	if err != nil {
		return err
	}
	if barred {
		return refused("rights_prearranged")
	}
	return nil
}

func recordIdentity(ctx context.Context, a *act, c caseRow, t taskRow, form forms.Form, o forms.Outcome) error {
	f := form.(*forms.RightsIdentity)
	if err := enrichIdentity(ctx, a, t, form, &o); err != nil {
		return err
	}
	q, err := a.readRights(ctx, c.ID, true)
	if err != nil {
		return err
	}
	if err := a.permitRights(policy.Write, policy.Rights, q.record()); err != nil {
		return err
	}
	proof := f.Proof
	if proof == nil {
		proof = []string{}
	}
	if _, err := a.Exec(ctx, `UPDATE rights_requests SET proven = $2, proof = $3, version = version + 1 WHERE id = $1`, q.ID, o.Code, proof); err != nil {
		return err
	}
	if o.Code == "confirmed" && q.Asker == "relative" {
		_, err = a.Exec(ctx, `UPDATE persons SET status = 'deceased', deceased_on = $2, version = version + 1, updated_at = now() WHERE id = $1 AND status = 'active'`, q.Person, f.DiedOn)
	}
	return err
}

// enrichDecision refuses a decision that the records speak against, and one by who filed the request.
func enrichDecision(ctx context.Context, a *act, t taskRow, form forms.Form, _ *forms.Outcome) error {
	q, err := a.readRights(ctx, t.CaseID, false)
	if err != nil {
		return err
	}
	return a.mayDecide(ctx, q, form.(*forms.RightsDecision))
}

func (a *act) mayDecide(ctx context.Context, q rightsRow, f *forms.RightsDecision) error {
	if err := a.permitRights(policy.Decide, policy.Rights, q.record()); err != nil {
		return err
	}
	if _, apart := policy.Separated(policy.AskRights, policy.DecideRights); apart && q.FiledBy == a.actor.staff {
		return a.deny(&Error{Kind: Denied, Code: "rights_own_request"})
	}
	if q.Proven != "confirmed" && f.Outcome != "refuse" {
		return refused("rights_not_proven")
	}
	kind := asked(q.Kind)
	if f.Outcome == "in_part" {
		switch {
		case kind == "correction" && (len(f.Fields) == 0 || slices.ContainsFunc(f.Fields, func(field string) bool { return !slices.Contains(q.Fields, field) })):
			return invalid(forms.Problems{{Code: "R114", Field: "fields", Args: map[string]any{"Allowed": strings.Join(q.Fields, ", ")}}})
		case kind != "correction" && kind != "deletion":
			return invalid(forms.Problems{{Code: "R114", Field: "outcome", Args: map[string]any{"Allowed": "grant, refuse"}}})
		}
	}
	if q.Proven == "prearranged" && f.Reason != "prearranged" {
		return invalid(forms.Problems{{Code: "R114", Field: "reason", Args: map[string]any{"Allowed": "prearranged"}}})
	}
	kept, err := a.keeps(ctx, q.Person)
	if err != nil {
		return err
	}
	switch {
	case kind != "deletion" && (f.Reason == "law_keeps" || f.Reason == "case_open"):
		return refused("rights_reason_untrue")
	case kind != "deletion":
		return nil
	case f.Outcome != "refuse" && kept.caseOpen:
		return refused("deletion_case_open")
	case f.Outcome == "grant" && kept.donated:
		return refused("deletion_law_keeps")
	case f.Outcome == "in_part" && !kept.donated, f.Reason == "law_keeps" && !kept.donated, f.Reason == "case_open" && !kept.caseOpen:
		return refused("rights_reason_untrue")
	}
	return nil
}

func recordRightsDecision(ctx context.Context, a *act, c caseRow, _ taskRow, form forms.Form, o forms.Outcome) error {
	f := form.(*forms.RightsDecision)
	q, err := a.readRights(ctx, c.ID, true)
	if err != nil {
		return err
	}
	if err := a.mayDecide(ctx, q, f); err != nil {
		return err
	}
	granted := []string{}
	switch {
	case asked(q.Kind) == "correction" && o.Code == "grant":
		granted = q.Fields
	case asked(q.Kind) == "correction" && o.Code == "in_part":
		granted = f.Fields
	}
	_, err = a.Exec(ctx, `
		UPDATE rights_requests SET decision = $2, reason = $3, granted = $4, staff_named = $5, decided_by = $6, decided_at = $7, version = version + 1 WHERE id = $1`,
		q.ID, o.Code, o.Reason, granted, f.StaffNamed, a.actor.staff, a.at)
	return err
}

// recordCarryingOut does what was decided.
func recordCarryingOut(ctx context.Context, a *act, c caseRow, _ taskRow, _ forms.Form, _ forms.Outcome) error {
	q, err := a.readRights(ctx, c.ID, true)
	if err != nil {
		return err
	}
	if err := a.permitRights(policy.Decide, policy.Rights, q.record()); err != nil {
		return err
	}
	result := map[string]string{"grant": "granted", "in_part": "in_part", "refuse": "refused"}[q.Decision]
	kept := []KeptLine{}
	switch kind := asked(q.Kind); {
	case fetched(q.Kind):
		if q.CopyBy == nil || *q.CopyBy != a.actor.staff {
			return refused("copy_not_fetched")
		}
	case kind == "correction":
		err = a.correct(ctx, q)
	case kind == "withdrawal":
		err = a.withdrawAll(ctx, q, []uuid.UUID{q.Donor})
	case kind == "arrangement":
		err = a.restrict(ctx, q, "no_kin")
	case kind == "deletion":
		result, kept, err = a.delete(ctx, q)
	}
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	_, err = a.Exec(ctx, `UPDATE rights_requests SET result = $2, kept = $3, done_at = $4, version = version + 1 WHERE id = $1`, q.ID, result, encoded, a.at)
	return err
}

func recordTelling(ctx context.Context, a *act, c caseRow, _ taskRow, form forms.Form, o forms.Outcome) error {
	f := form.(*forms.RightsTelling)
	q, err := a.readRights(ctx, c.ID, true)
	if err != nil {
		return err
	}
	if err := a.permitRights(policy.Write, policy.Rights, q.record()); err != nil {
		return err
	}
	if o.Code != "told" {
		return nil
	}
	_, err = a.Exec(ctx, `UPDATE rights_requests SET told_on = $2, told_via = $3, version = version + 1 WHERE id = $1`, q.ID, f.On, f.Channel)
	return err
}

// endRights closes a request. What the person said was right is in the register now, or was refused; of somebody who was
// erased the request's own words go too, and with the key whatever a backup still holds.
func endRights(ctx context.Context, a *act, c caseRow, _ Move) error {
	var person uuid.UUID
	err := a.QueryRow(ctx, `
		UPDATE rights_requests SET closed_at = $2, correction_sealed = NULL, result = CASE WHEN result = '' THEN 'refused' ELSE result END, version = version + 1
		WHERE id = $1 RETURNING person_id`, c.ID, a.at).Scan(&person)
	if err != nil {
		return err
	}
	gone, err := a.restricted(ctx, person, "erased")
	if err != nil || !gone {
		return err
	}
	all, err := a.withMerged(ctx, person)
	if err != nil {
		return err
	}
	if err := a.eraseWords(ctx, all, uuid.Nil); err != nil {
		return err
	}
	return a.erase(ctx, all)
}

// withdrawAll takes registrations back, on the word that a request brought.
func (a *act) withdrawAll(ctx context.Context, q rightsRow, registrations []uuid.UUID) error {
	via := q.Via
	if q.Asker == "relative" {
		via = "relative"
	}
	for _, id := range registrations {
		row, err := a.readRegistration(ctx, id, "FOR UPDATE")
		if err != nil {
			return err
		}
		if row.Status == "withdrawn" || row.Status == "undone" {
			continue
		}
		if err := a.permitRights(policy.Write, policy.Consent, q.donor()); err != nil {
			return err
		}
		if err := a.withdraw(ctx, row, WithdrawForm{Via: via}); err != nil {
			return err
		}
	}
	return nil
}

func (a *act) restrict(ctx context.Context, q rightsRow, kind string) error {
	_, err := a.Exec(ctx, `INSERT INTO restrictions (person_id, kind, request_id, since) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, q.Person, kind, q.ID, a.at)
	return err
}

// storedCorrection is what a person says is right, as it lies sealed in the request.
type storedCorrection struct {
	Name           string                `json:"name,omitempty"`
	DocumentKind   identity.DocumentKind `json:"document_kind,omitempty"`
	DocumentNumber string                `json:"document_number,omitempty"`
	Phone          string                `json:"phone,omitempty"`
	Email          string                `json:"email,omitempty"`
	Address        string                `json:"address,omitempty"`
	HeightCM       int                   `json:"height_cm,omitempty"`
	WeightKG       int                   `json:"weight_kg,omitempty"`
	ABO            identity.ABO          `json:"abo,omitempty"`
	Rh             identity.Rh           `json:"rh,omitempty"`
}

func correctionOf(c *forms.Correction) storedCorrection {
	return storedCorrection{c.Name.Reveal(), c.DocumentKind, c.DocumentNumber.Reveal(), c.Phone.Reveal(), c.Email.Reveal(), c.Address.Reveal(), c.HeightCM, c.WeightKG, c.ABO, c.Rh}
}

// classOfField is the class that a corrected field belongs to.
var classOfField = map[string]policy.Class{
	"name": policy.Identity, "document_number": policy.Identity, "phone": policy.Contact, "email": policy.Contact, "address": policy.Contact,
	"height_cm": policy.Demographics, "weight_kg": policy.Demographics, "abo": policy.Demographics, "rh": policy.Demographics,
}

// correct writes the granted fields of a correction. Its event says which fields, and never what they were or are.
func (a *act) correct(ctx context.Context, q rightsRow) error {
	key, err := a.keys.Unwrap(keyCell(q.Person), q.wrapped)
	if err != nil {
		return err
	}
	plain, err := key.OpenBytes(cell("rights_requests", "correction", q.ID), q.Correction)
	if err != nil {
		return err
	}
	if plain == nil {
		return refused("person_erased")
	}
	var s storedCorrection
	if err := json.Unmarshal(plain, &s); err != nil {
		return err
	}
	granted := func(field string) bool { return slices.Contains(q.Granted, field) }
	for _, class := range []policy.Class{policy.Identity, policy.Contact, policy.Demographics} {
		if slices.ContainsFunc(q.Granted, func(field string) bool { return classOfField[field] == class }) {
			if err := a.permitRights(policy.Write, class, q.donor()); err != nil {
				return err
			}
		}
	}
	if _, err := a.Exec(ctx, `SELECT FROM persons WHERE id = $1 FOR UPDATE`, q.Person); err != nil {
		return err
	}
	name, err := a.nameOf(ctx, q.Person)
	if err != nil {
		return err
	}
	phone, details, _, err := a.contactsOf(ctx, q.Person)
	if err != nil {
		return err
	}
	var birth calendar.Date
	var sex identity.Sex
	if err := a.QueryRow(ctx, `SELECT birth_date, sex FROM persons WHERE id = $1`, q.Person).Scan(&birth, &sex); err != nil {
		return err
	}
	f := &forms.Registration{Name: name, Phone: phone, Email: seal.EmailOf(details.Email), Address: seal.AddressOf(details.Address), BirthDate: birth, Sex: sex}
	if granted("name") {
		f.Name = seal.NameOf(s.Name)
	}
	if granted("phone") {
		f.Phone = seal.PhoneOf(s.Phone)
	}
	if granted("email") {
		details.Email = s.Email
	}
	if granted("address") {
		details.Address = s.Address
	}
	if granted("document_number") {
		f.DocumentKind, f.DocumentNumber = s.DocumentKind, seal.NumberOf(s.DocumentNumber)
		if doc, err := identity.ParseDocument(s.DocumentKind, s.DocumentNumber); err == nil {
			// A document that says when somebody was born is believed.
			if born, says := doc.Birth(); says {
				f.BirthDate = born
			}
			if of, says := doc.Sex(); says {
				f.Sex = of
			}
		}
		if err := a.correctDocument(ctx, key, q.Person, f); err != nil {
			return err
		}
	}
	sealedName, err := key.Seal(cell("persons", "name", q.Person), f.Name.Reveal())
	if err != nil {
		return err
	}
	sealedPhone, err := key.Seal(cell("persons", "phone", q.Person), f.Phone.Reveal())
	if err != nil {
		return err
	}
	var sealedProfile []byte
	if details.Email != "" || details.Address != "" || details.Workplace != "" || len(details.Contacts) > 0 {
		text, err := json.Marshal(details)
		if err != nil {
			return err
		}
		if sealedProfile, err = key.SealBytes(cell("persons", "profile", q.Person), text); err != nil {
			return err
		}
	}
	likeness, version := a.keys.Index("likeness", likenessKey(f.Name, f.BirthDate, f.Phone))
	byPhone := a.indexOf("phone", phoneKey(f.Phone, f.BirthDate))
	number := func(field string, n int) any {
		if granted(field) {
			return n
		}
		return nil
	}
	code := func(field, word string) any {
		if granted(field) {
			return word
		}
		return nil
	}
	_, err = a.Exec(ctx, `
		UPDATE persons SET name_sealed = $2, phone_sealed = $3, profile_sealed = $4, likeness_index = $5, index_version = $6, birth_date = $7, sex = $8,
			height_cm = coalesce($9, height_cm), weight_kg = coalesce($10, weight_kg), abo = coalesce($11, abo), rh = coalesce($12, rh), phone_index = $13, version = version + 1, updated_at = now()
		WHERE id = $1`,
		q.Person, sealedName, sealedPhone, sealedProfile, likeness[:], version, f.BirthDate, string(f.Sex),
		number("height_cm", s.HeightCM), number("weight_kg", s.WeightKG), code("abo", string(s.ABO)), code("rh", string(s.Rh)), byPhone)
	if err != nil {
		return err
	}
	if err := a.indexTails(ctx, key, q.Person, f.BirthDate); err != nil {
		return err
	}
	a.event(Event{Code: "rights.corrected", CaseID: q.ID, PersonID: q.Person, RegistrationID: q.Donor, Args: map[string]any{"Fields": strings.Join(q.Granted, ", "), "Evidence": q.Evidence}})
	return nil
}

// correctDocument puts a number in the place of the person's document of the same kind, else of the one they have.
func (a *act) correctDocument(ctx context.Context, key *seal.Key, person uuid.UUID, f *forms.Registration) error {
	var document uuid.UUID
	err := a.QueryRow(ctx, `SELECT id FROM person_documents WHERE person_id = $1 ORDER BY kind = $2 DESC, created_at, id LIMIT 1 FOR UPDATE`, person, string(f.DocumentKind)).Scan(&document)
	if errors.Is(err, pgx.ErrNoRows) {
		return missing("document")
	}
	if err != nil {
		return err
	}
	number, err := key.Seal(cell("person_documents", "number", document), f.DocumentNumber.Reveal())
	if err != nil {
		return err
	}
	index, version := a.keys.Index("document", documentKey(f.DocumentKind, f.DocumentNumber))
	_, err = a.Exec(ctx, `UPDATE person_documents SET kind = $2, number_sealed = $3, number_index = $4, index_version = $5 WHERE id = $1`,
		document, string(f.DocumentKind), number, index[:], version)
	return err
}

// indexTails gives a person's documents anew what they are found by with a birth date, which may be another now.
func (a *act) indexTails(ctx context.Context, key *seal.Key, person uuid.UUID, birth calendar.Date) error {
	rows, err := a.Query(ctx, `SELECT id, kind, number_sealed FROM person_documents WHERE person_id = $1 AND number_index IS NOT NULL`, person)
	if err != nil {
		return err
	}
	var id uuid.UUID
	var kind identity.DocumentKind
	var sealed []byte
	var b pgx.Batch
	if _, err := pgx.ForEachRow(rows, []any{&id, &kind, &sealed}, func() error {
		number, err := key.OpenNumber(cell("person_documents", "number", id), sealed)
		if err == nil {
			index, version := a.keys.Index("document", documentKey(kind, number)) // both are of one version
			b.Queue(`UPDATE person_documents SET number_index = $2, tail_index = $3, index_version = $4 WHERE id = $1`, id, index[:], a.indexOf("tail", tailKey(number, birth)), version)
		}
		return err
	}); err != nil {
		return err
	}
	return a.SendBatch(ctx, &b).Close()
}
