package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
)

// Protocol names what a case goes through.
type Protocol string

// The protocols. Each has a workflow of its own.
const (
	EnrolmentProtocol Protocol = "enrolment"
	DriveProtocol     Protocol = "drive"
	SearchProtocol    Protocol = "search"
	StemCellProtocol  Protocol = "stemcell"
	CareProtocol      Protocol = "care"
	SafetyProtocol    Protocol = "safety"
	RightsProtocol    Protocol = "rights"
	// ImportProtocol carries a batch's commit or undo; a batch is not a case and waits for nobody.
	ImportProtocol Protocol = "import"
	// RotationProtocol carries a rotation of keys, which is not a case either.
	RotationProtocol Protocol = "rotation"
)

// caseRow is a case inside a transaction.
type caseRow struct {
	ID           uuid.UUID
	Number       string
	Protocol     Protocol
	Subject      uuid.UUID
	Region       identity.Region
	Organisation uuid.UUID
	Status       string
	Step         string
	Ending       string
	Reason       string
	State        json.RawMessage
	Version      int64
	OpenedAt     time.Time
}

const caseColumns = `c.id, c.number, c.protocol, c.subject_id, c.region, c.organisation_id, c.status, c.step, c.ending, c.reason, c.state, c.version, c.opened_at`

func scanCase(row pgx.CollectableRow) (c caseRow, err error) {
	return c, row.Scan(&c.ID, &c.Number, &c.Protocol, &c.Subject, &c.Region, &c.Organisation, &c.Status, &c.Step, &c.Ending, &c.Reason, &c.State, &c.Version, &c.OpenedAt)
}

// readCase reads a case; lock keeps others from moving it until the transaction ends.
func (a *act) readCase(ctx context.Context, id uuid.UUID, lock bool) (caseRow, error) {
	query := `SELECT ` + caseColumns + ` FROM cases c WHERE c.id = $1`
	if lock {
		query += ` FOR UPDATE`
	}
	rows, err := a.Query(ctx, query, id)
	if err != nil {
		return caseRow{}, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, scanCase)
	if errors.Is(err, pgx.ErrNoRows) {
		return caseRow{}, a.absent("case", id)
	}
	return c, err
}

// seats reads which organisation sits on each seat of a case.
func (a *act) seats(ctx context.Context, id uuid.UUID) (out map[string]seat, err error) {
	var b pgx.Batch
	queueSeats(&b, id, &out)
	return out, a.SendBatch(ctx, &b).Close()
}

func queueSeats(b *pgx.Batch, id uuid.UUID, out *map[string]seat) {
	*out = map[string]seat{}
	var name string
	var s seat
	b.Queue(`SELECT seat, side, organisation_id FROM case_parties WHERE case_id = $1`, id).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&name, &s.Side, &s.Organisation}, func() error {
			(*out)[name] = s
			return nil
		})
		return err
	})
}

type seat struct {
	Side         string
	Organisation uuid.UUID
}

// record is what the policy is asked about for a case: its region, its office, and everybody at its table.
func (c caseRow) record(seats map[string]seat) record {
	rec := record{kind: "case", id: c.ID.String(), region: c.Region}
	for _, s := range seats {
		rec.sites = append(rec.sites, s.Organisation)
	}
	return rec
}

// openCase writes a new case and its seats.
func (a *act) openCase(ctx context.Context, c caseRow, seats map[string]seat) error {
	if len(c.State) == 0 {
		c.State = json.RawMessage("{}")
	}
	_, err := a.Exec(ctx, `
		INSERT INTO cases (id, number, protocol, subject_id, region, organisation_id, status, step, state, rules, opened_at)
		VALUES ($1, $2, $3, $4, $5, $6, 'open', $7, $8, $9, $10)`,
		c.ID, c.Number, string(c.Protocol), c.Subject, string(c.Region), c.Organisation, c.Step, c.State, a.rules(c.Region).Version(), a.at)
	if err != nil {
		return err
	}
	for name, s := range seats {
		if err := a.takeSeat(ctx, c.ID, name, s); err != nil {
			return err
		}
	}
	return nil
}

func (a *act) takeSeat(ctx context.Context, caseID uuid.UUID, name string, s seat) error {
	_, err := a.Exec(ctx, `
		INSERT INTO case_parties (case_id, seat, side, organisation_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (case_id, seat) DO UPDATE SET organisation_id = excluded.organisation_id`, caseID, name, s.Side, s.Organisation)
	return err
}

// number takes the next readable number of a kind for the act's year: SC-2026-000123.
func (a *act) number(ctx context.Context, kind string) (string, error) {
	year := a.now().In(Zone).Year()
	var n int64
	err := a.QueryRow(ctx, `SELECT next_number($1)`, fmt.Sprintf("%s-%d", kind, year)).Scan(&n)
	return fmt.Sprintf("%s-%d-%06d", kind, year, n), err
}

// Snapshot is a case as its protocol reads it: where it stands, and what it goes on from.
type Snapshot struct {
	ID      uuid.UUID       `json:"id"`
	Number  string          `json:"number"`
	Subject uuid.UUID       `json:"subject"`
	Region  identity.Region `json:"region"`
	Ended   bool            `json:"ended"`
	Step    string          `json:"step"`
	State   json.RawMessage `json:"state"`
	Version int64           `json:"version"`
}

// snapshot reads a case for its protocol and permits the reading.
func (a *act) snapshot(ctx context.Context, id uuid.UUID) (Snapshot, error) {
	c, err := a.readCase(ctx, id, false)
	if err != nil {
		return Snapshot{}, err
	}
	if err := a.permit(policy.Read, policy.Case, c.record(nil)); err != nil {
		return Snapshot{}, err
	}
	return Snapshot{c.ID, c.Number, c.Subject, c.Region, c.Status == "ended", c.Step, c.State, c.Version}, nil
}

// Move is where a case goes: to a step, or to its end.
type Move struct {
	Step   string          `json:"step"`
	End    bool            `json:"end,omitempty"`
	Ending string          `json:"ending,omitempty"`
	Reason string          `json:"reason,omitempty"`
	State  json.RawMessage `json:"state"` // what the protocol goes on from
}

// Moved is a case after a move.
type Moved struct {
	CaseID  uuid.UUID   `json:"case" class:"case" mask:"drop"`
	Step    string      `json:"step" class:"case" mask:"drop"`
	Ended   bool        `json:"ended" class:"case" mask:"drop"`
	Ending  string      `json:"ending,omitempty" class:"case" mask:"drop"`
	Version int64       `json:"version" class:"open" mask:"none"`
	Yours   []uuid.UUID `json:"yours,omitempty" doc:"Tasks that the move opened and that whoever made it may answer." class:"case" mask:"drop"`
}

// move takes a locked case to its next step with a version check, and lets the protocol's ending take effect.
// c has the office that answers for it afterwards.
func (a *act) move(ctx context.Context, c *caseRow, version int64, m Move) (Moved, error) {
	if c.Version != version || c.Status != "open" {
		return Moved{}, stale("case")
	}
	status, endedAt := "open", (*time.Time)(nil)
	if m.End {
		status, endedAt = "ended", &a.at
	}
	err := a.QueryRow(ctx, `
		UPDATE cases SET step = $2, status = $3, ending = $4, reason = $5, state = $6, rules = $7, version = version + 1, ended_at = $8 WHERE id = $1
		RETURNING region, organisation_id`,
		c.ID, m.Step, status, m.Ending, m.Reason, m.State, a.rules(c.Region).Version(), endedAt).Scan(&c.Region, &c.Organisation)
	if err != nil {
		return Moved{}, err
	}
	if m.End {
		if err := a.closeTasks(ctx, c.ID, "cancelled"); err != nil {
			return Moved{}, err
		}
		a.writes.Queue(`UPDATE handovers SET status = 'withdrawn', decided_at = $2, version = version + 1 WHERE case_id = $1 AND status = 'offered'`, c.ID, a.at)
		a.event(Event{Code: "case.ended", CaseID: c.ID, Args: map[string]any{"Ending": m.Ending, "Reason": m.Reason}})
		if end, ok := endings[c.Protocol]; ok {
			if err := end(ctx, a, *c, m); err != nil {
				return Moved{}, err
			}
		}
		if err := a.endSharesOfGone(ctx, c.Subject); err != nil {
			return Moved{}, err
		}
	}
	return Moved{CaseID: c.ID, Step: m.Step, Ended: m.End, Ending: m.Ending, Version: c.Version + 1}, nil
}

// endings are what the end of a case does to the records around it, in the same transaction.
var endings = map[Protocol]func(context.Context, *act, caseRow, Move) error{
	StemCellProtocol: endStemCell,
	SearchProtocol:   endSearch,
	CareProtocol:     endCare,
	RightsProtocol:   endRights,
}

// Advance is a move that nobody's answer causes: a deadline passed, a withdrawal came, the desk listed a donor.
type Advance struct {
	CaseID  uuid.UUID      `json:"case"`
	Version int64          `json:"version"`
	At      time.Time      `json:"at"`
	Move    Move           `json:"move"`
	Event   string         `json:"event,omitempty"` // the timeline's code for it, when it is more than an end
	Args    map[string]any `json:"args,omitempty"`
	Expired bool           `json:"expired,omitempty"` // open tasks ran out of time; else they are cancelled
}

// AdvanceCase makes a move that nobody's answer causes. A retry finds the first result.
func (s *Store) AdvanceCase(ctx context.Context, actor Actor, in Advance) (Moved, error) {
	var out Moved
	err := s.act(ctx, actor, "AdvanceCase", policy.ForCase, func(ctx context.Context, a *act) (err error) {
		a.at = in.At
		c, err := a.readCase(ctx, in.CaseID, true)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Case, c.record(nil)); err != nil {
			return err
		}
		out, err = remembered(ctx, a, fmt.Sprintf("advance/%s/%d", in.CaseID, in.Version), func() (Moved, error) {
			how := "cancelled"
			if in.Expired {
				how = "expired"
			}
			if err := a.closeTasks(ctx, c.ID, how); err != nil {
				return Moved{}, err
			}
			if in.Event != "" {
				a.event(Event{Code: in.Event, CaseID: c.ID, Args: in.Args})
			}
			return a.move(ctx, &c, in.Version, in.Move)
		})
		return err
	})
	return out, err
}

// CaseFilter narrows a list of cases.
type CaseFilter struct {
	Protocol Protocol
	Status   string // open, ended, or empty for both
	Step     string
	Number   string    // a part of the number
	After    uuid.UUID // for the next page: cases after this one
	Limit    int
}

// CaseLine is a case in a list.
type CaseLine struct {
	ID       uuid.UUID       `json:"id" class:"case" mask:"drop"`
	Number   string          `json:"number" class:"case" mask:"drop"`
	Protocol Protocol        `json:"protocol" class:"case" mask:"drop"`
	Region   identity.Region `json:"region" class:"case" mask:"drop"`
	Status   string          `json:"status" class:"case" mask:"drop"`
	Step     string          `json:"step" class:"case" mask:"drop"`
	Ending   string          `json:"ending,omitempty" class:"case" mask:"drop"`
	OpenedAt time.Time       `json:"opened_at" class:"case" mask:"drop"`
	Version  int64           `json:"version" class:"open" mask:"none"`
}

// ListCases returns the cases that the actor may read, in the order of their ids, which is that of their opening.
func (r *Reader) ListCases(ctx context.Context, actor Actor, f CaseFilter) ([]CaseLine, error) {
	var out []CaseLine
	err := r.act(ctx, actor, "ListCases", policy.ForCase, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Case)
		rows, err := a.Query(ctx, `
			SELECT `+caseColumns+` FROM cases c
			WHERE c.id > $1 AND ($2 = '' OR c.protocol = $2) AND ($3 = '' OR c.status = $3) AND ($4 = '' OR c.step = $4) AND strpos(upper(c.number), upper($10)) > 0
				AND (EXISTS (SELECT FROM unnest($5::text[], $6::text[]) s(lo, hi) WHERE c.region >= lo AND c.region < hi)
					OR ($7 AND EXISTS (SELECT FROM case_parties p WHERE p.case_id = c.id AND p.organisation_id = $8)))
			ORDER BY c.id LIMIT $9`,
			f.After, string(f.Protocol), f.Status, f.Step, within.lo, within.hi, within.site, within.organisation, pageSize(f.Limit), f.Number)
		if err != nil {
			return err
		}
		cases, err := pgx.CollectRows(rows, scanCase)
		if err != nil {
			return err
		}
		patients, err := a.onPatientsSide(ctx, cases)
		if err != nil {
			return err
		}
		out = make([]CaseLine, 0, len(cases))
		for _, c := range cases {
			side := DonorSide
			if slices.Contains(patients, c.ID) {
				side = PatientSide
			}
			out = append(out, c.line(side))
		}
		return a.permitList(policy.Case, within, "cases", idsOf(out, func(c CaseLine) uuid.UUID { return c.ID }),
			a.narrowed("protocol", string(f.Protocol)), a.narrowed("status", f.Status), a.narrowed("step", f.Step), a.narrowed("number", f.Number))
	})
	return out, err
}

// onPatientsSide finds those of the cases at whose table the actor sits on the patient's side.
func (a *act) onPatientsSide(ctx context.Context, cases []caseRow) ([]uuid.UUID, error) {
	ids := make([]uuid.UUID, len(cases))
	for i, c := range cases {
		ids[i] = c.ID
	}
	rows, err := a.Query(ctx, `SELECT case_id FROM case_parties WHERE case_id = ANY($1) AND organisation_id = $2 AND side = 'patient'`, ids, a.actor.organisation)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// line is the case in a list, as one side sees it. Of where the donor lives the patient's side sees the province.
func (c caseRow) line(side Side) CaseLine {
	if side == PatientSide && c.Protocol == StemCellProtocol {
		c.Region = provinceOf(c.Region)
	}
	return CaseLine{c.ID, c.Number, c.Protocol, c.Region, c.Status, c.Step, c.Ending, c.OpenedAt, c.Version}
}

// CaseView is a case as one side sees it.
type CaseView struct {
	CaseLine
	Side     Side            `json:"side" class:"case" mask:"drop"`
	Reason   string          `json:"reason,omitempty" class:"case" mask:"drop"`
	Tasks    []TaskView      `json:"tasks" class:"case" mask:"drop"`
	Timeline []TimelineEntry `json:"timeline" class:"case" mask:"drop"`
	// Known is what both sides of a stem-cell case go by.
	Known *BothKnow `json:"known,omitempty" class:"case" mask:"drop"`
	// DonorID is the registration, for the donor's side only; PatientNumber is for the patient's side only.
	DonorID       *uuid.UUID `json:"donor,omitempty" class:"registration" mask:"drop"`
	PatientNumber string     `json:"patient,omitempty" class:"patient" mask:"drop"`
	DonorNumber   string     `json:"donor_number,omitempty" class:"case" mask:"drop"`
}

// BothKnow are the facts of a stem-cell case's state that both sides need; the rest of it is its protocol's.
type BothKnow struct {
	Window       *forms.Window `json:"window,omitempty" doc:"The window that is asked about, or agreed." class:"case" mask:"drop"`
	Agreed       bool          `json:"agreed,omitempty" doc:"All four parties have confirmed the window." class:"case" mask:"drop"`
	ClearedUntil calendar.Date `json:"cleared_until,omitzero" class:"case" mask:"drop"`
	Conditioned  bool          `json:"conditioned,omitempty" doc:"The patient's conditioning has begun: there is no way back." class:"case" mask:"drop"`
}

// ShowCase returns a case with the tasks and the timeline of the actor's side.
func (r *Reader) ShowCase(ctx context.Context, actor Actor, id uuid.UUID) (CaseView, error) {
	return r.showCase(ctx, actor, "ShowCase", id, func(*act, *atTable) error { return nil })
}

func (r *Reader) showCase(ctx context.Context, actor Actor, name string, id uuid.UUID, also func(*act, *atTable) error) (CaseView, error) {
	var v CaseView
	var at *atTable
	first := func(a *act, b *pgx.Batch) {
		at = a.queueTable(b, id)
		at.queueView(b)
	}
	err := r.actFrom(ctx, actor, name, policy.ForCase, first, func(_ context.Context, a *act) (err error) {
		if err := a.permitTable(at); err != nil {
			return err
		}
		if err := also(a, at); err != nil {
			return err
		}
		v, err = a.caseView(at)
		show(a.mask(at.rec), &v)
		return err
	})
	if err != nil {
		return CaseView{}, err
	}
	return v, nil
}

// atTable is a case as its actor finds it: who sits at its table, and on which side the actor stands.
type atTable struct {
	caseRow
	id    uuid.UUID // that was asked for
	found []caseRow
	seats map[string]seat
	rec   record
	side  Side

	shared  []uuid.UUID
	tasks   []taskRow // these once its view was read
	signers map[uuid.UUID]signer
	events  []TimelineEntry
	numbers []blindNumbers
}

// blindNumbers are by what each side knows the two people of a stem-cell case.
type blindNumbers struct{ patient, donor string }

// queueTable adds what tells whether the actor may read a case.
func (a *act) queueTable(b *pgx.Batch, id uuid.UUID) *atTable {
	at := &atTable{id: id}
	b.Queue(`SELECT `+caseColumns+` FROM cases c WHERE c.id = $1`, id).Query(func(rows pgx.Rows) (err error) {
		at.found, err = pgx.CollectRows(rows, scanCase)
		return err
	})
	queueSeats(b, id, &at.seats)
	b.Queue(`SELECT `+strings.Replace(sharesOf, "$1", "(SELECT subject_id FROM cases WHERE id = $1)", 1), id, a.now()).QueryRow(func(row pgx.Row) error { return row.Scan(&at.shared) })
	return at
}

// permitTable permits the reading of a case that was read.
func (a *act) permitTable(at *atTable) error {
	if len(at.found) == 0 {
		return a.absent("case", at.id)
	}
	at.caseRow = at.found[0]
	at.rec, at.side = at.record(at.seats), a.sideAt(at.seats)
	at.rec.shared = at.shared
	return a.permit(policy.Read, policy.Case, at.rec)
}

// atTable reads a case and permits the reading, in one trip.
func (a *act) atTable(ctx context.Context, id uuid.UUID) (*atTable, error) {
	var b pgx.Batch
	at := a.queueTable(&b, id)
	if err := a.SendBatch(ctx, &b).Close(); err != nil {
		return at, err
	}
	return at, a.permitTable(at)
}

// queueView adds what a case's view shows.
func (at *atTable) queueView(b *pgx.Batch) {
	queueTimeline(b, at.id, &at.events)
	queueTasks(b, at.id, &at.tasks)
	queueSigners(b, at.id, &at.signers)
	// Of the other side's person the database gives no row here: each side reads the number that is its own to know.
	b.Queue(`
		SELECT coalesce(p.number, ''), coalesce(r.number, '') FROM link.requests q LEFT JOIN patients p ON p.id = q.patient_id LEFT JOIN registrations r ON r.id = q.registration_id
		WHERE q.case_id = $1`, at.id).Query(func(rows pgx.Rows) (err error) {
		at.numbers, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (n blindNumbers, err error) { return n, row.Scan(&n.patient, &n.donor) })
		return err
	})
}

// caseView is what a case's reader is shown, once that was read and permitted.
func (a *act) caseView(at *atTable) (CaseView, error) {
	v := CaseView{CaseLine: at.line(at.side), Side: at.side, Reason: toldTo(at.side, at.Reason)}
	v.Timeline = told(at.events, v.Side, a.actor.Locale)
	v.Tasks = a.taskViews(at.tasks, v.Side, at.seats)
	if at.Protocol != StemCellProtocol || len(at.numbers) == 0 {
		return v, nil
	}
	v.Known, v.DonorNumber = new(BothKnow), at.numbers[0].donor
	if v.Side == PatientSide {
		v.PatientNumber = at.numbers[0].patient
	} else {
		v.DonorID = &at.Subject
	}
	return v, json.Unmarshal(at.State, v.Known)
}

// onPatientSide is sideAt for a statement: the organisation $2 sits on the patient's side of the case $1.
const onPatientSide = `EXISTS (SELECT FROM case_parties p WHERE p.case_id = $1 AND p.organisation_id = $2 AND p.side = 'patient')`

// sideAt is the side of the table that the actor sits on: the patient's for the organisations there, the donor's for
// everybody else. Nobody sits on both.
func (a *act) sideAt(seats map[string]seat) Side {
	for _, s := range seats {
		if s.Organisation == a.actor.organisation && s.Side == "patient" {
			return PatientSide
		}
	}
	return DonorSide
}

// OpenCases lists every open case of a protocol for an operator who starts its workflows again.
func (s *Store) OpenCases(ctx context.Context, actor Actor) (map[Protocol][]uuid.UUID, error) {
	out := map[Protocol][]uuid.UUID{}
	err := s.act(ctx, actor, "OpenCases", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Decide, policy.Case, record{kind: "cases", id: "open", region: nation}); err != nil {
			return err
		}
		clear(out)
		rows, err := a.Query(ctx, `
			SELECT protocol, id FROM cases WHERE status = 'open'
			UNION ALL SELECT 'import', id FROM batches WHERE status IN ('committing', 'undoing')
			ORDER BY 2`)
		if err != nil {
			return err
		}
		var p Protocol
		var id uuid.UUID
		_, err = pgx.ForEachRow(rows, []any{&p, &id}, func() error {
			out[p] = append(out[p], id)
			return nil
		})
		return err
	})
	return out, err
}

// LoadCase reads a case for its protocol.
func (s *Store) LoadCase(ctx context.Context, actor Actor, id uuid.UUID) (Snapshot, error) {
	var out Snapshot
	err := s.act(ctx, actor, "LoadCase", policy.ForCase, func(ctx context.Context, a *act) (err error) {
		out, err = a.snapshot(ctx, id)
		return err
	})
	return out, err
}

// ProtocolRules are the numbers that protocols count with themselves, for the region of a case.
type ProtocolRules struct {
	MobilisationMin  int           `json:"mobilisation_min"` // days of the drug before collection
	MobilisationMax  int           `json:"mobilisation_max"`
	CollectionDays   int           `json:"collection_days"`
	ClearanceSigners int           `json:"clearance_signers"`
	NeedsTime        time.Duration `json:"needs_time"`
	FollowUpWindow   time.Duration `json:"follow_up_window"`
	Rerun            time.Duration `json:"rerun"`
	SampleDue        time.Time     `json:"sample_due"` // counted from the case's opening
	TypingDue        time.Time     `json:"typing_due"` // counted from At
	SendDue          time.Time     `json:"send_due"`   // counted from At
}

// LoadRules reads the numbers of a case's region at an instant.
func (s *Store) LoadRules(ctx context.Context, actor Actor, id uuid.UUID, at time.Time) (ProtocolRules, error) {
	var out ProtocolRules
	err := s.act(ctx, actor, "LoadRules", policy.ForCase, func(ctx context.Context, a *act) error {
		a.at = at
		c, err := a.readCase(ctx, id, false)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Case, c.record(nil)); err != nil {
			return err
		}
		cal, err := a.calendar(ctx, c.Region)
		if err != nil {
			return err
		}
		in := a.rules(c.Region)
		length := func(k rules.Key) time.Duration {
			return in.Deadline(k, at, cal, Zone).Due.Sub(at)
		}
		out = ProtocolRules{
			MobilisationMin: in.Count(rules.StemCellMobilisationMin), MobilisationMax: in.Count(rules.StemCellMobilisationMax),
			CollectionDays: in.Count(rules.StemCellCollectionDays), ClearanceSigners: in.Count(rules.StemCellClearanceSigners),
			NeedsTime: length(rules.StemCellNeedsTime), FollowUpWindow: length(rules.StemCellFollowUpWindow),
			Rerun:     time.Duration(in.Span(rules.StemCellRerun).Hours()) * time.Hour,
			SampleDue: in.Deadline(rules.StemCellSampleDue, c.OpenedAt, cal, Zone).Due, TypingDue: in.Deadline(rules.StemCellTypingDue, at, cal, Zone).Due,
			SendDue: in.Deadline(rules.DriveSend, at, cal, Zone).Due,
		}
		return nil
	})
	return out, err
}
