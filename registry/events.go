package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// Side is a face of a case: a donor's people and a patient's people see different events.
type Side string

// The sides. Both sides see what both must know and what tells neither who the other is.
const (
	DonorSide   Side = "donor"
	PatientSide Side = "patient"
	BothSides   Side = "both"
)

// Event is one line of a timeline. Its sentence is lang's "event."+Code; its arguments are codes, days and numbers.
type Event struct {
	ID             uuid.UUID
	At             time.Time
	Code           string
	CaseID         uuid.UUID
	PersonID       uuid.UUID
	RegistrationID uuid.UUID
	DriveID        uuid.UUID
	SearchID       uuid.UUID
	Actor          string
	Args           map[string]any
}

// sideOf is the catalogue of events by who may see them; a code that is not in it is the donor's side's. Every event's
// sentence is written in both languages (a test compares the codes used with the sentences).
var sideOf = map[string]Side{
	"case.opened": BothSides, "case.ended": BothSides, "case.reopened": BothSides, "case.promoted": BothSides,
	"stemcell.remobilisation.willing": BothSides, "stemcell.confirmatory_sample.drawn": BothSides, "stemcell.confirmatory_typing.typed": BothSides,
	"stemcell.hospital_decision.use": BothSides, "stemcell.hospital_decision.hold": BothSides, "stemcell.hospital_decision.release": BothSides,
	"stemcell.donation_consent.signed": BothSides, "stemcell.clearance.cleared": BothSides, "stemcell.clearance.not_cleared": BothSides,
	"stemcell.schedule.confirm": BothSides, "stemcell.schedule.propose": BothSides, "stemcell.schedule.cannot": BothSides,
	"stemcell.conditioning.started": BothSides, "stemcell.conditioning.postponed": BothSides, "stemcell.conditioning.cancelled": BothSides,
	"stemcell.collection.collected": BothSides, "stemcell.dispatch.handed_over": BothSides, "stemcell.receipt.received": BothSides, "stemcell.receipt.lost": BothSides,
	"stemcell.quarantine.release": BothSides, "stemcell.quarantine.discard": BothSides,
	"stemcell.infusion.infused": BothSides, "stemcell.infusion.not_used": BothSides, "stemcell.emergency.opened": BothSides,
	"attachment.patient.added": PatientSide, "attachment.patient.removed": PatientSide,
	"search.opened": PatientSide, "search.run": PatientSide, "search.choice.request": PatientSide, "search.choice.none": PatientSide, "search.closed": PatientSide,
}

func seenBy(code string) Side {
	if side, ok := sideOf[code]; ok {
		return side
	}
	return DonorSide
}

// EventKind is what kind of thing a line of a timeline tells.
type EventKind string

// The kinds.
const (
	Milestone     EventKind = "milestone"     // the case has come somewhere
	Communication EventKind = "communication" // somebody spoke with the donor, or the sides with each other
	TaskEvent     EventKind = "task"          // somebody is asked, reminded, asks for an undo
	FileEvent     EventKind = "file"          // a paper came or went
	SystemEvent   EventKind = "system"        // the register did it by itself
)

// EventKinds lists them.
func EventKinds() []EventKind {
	return []EventKind{Milestone, Communication, TaskEvent, FileEvent, SystemEvent}
}

// kinds says what kind of line a code is. An answer to a step is a milestone, and is found by the step; every other code is here.
var kinds = map[string]EventKind{
	"case.opened": Milestone, "case.ended": Milestone, "case.promoted": Milestone, "case.reopened": TaskEvent,
	"case.reopening_asked": TaskEvent, "case.reopening_approved": TaskEvent, "case.reopening_refused": TaskEvent,
	"task.reminded": TaskEvent, "task.escalated": TaskEvent, "task.taken_over": TaskEvent, "task.more_time": TaskEvent, "task.more_time_asked": TaskEvent, "task.more_time_refused": TaskEvent,
	"task.paused": TaskEvent, "task.resumed": TaskEvent, "handover.offered": TaskEvent, "handover.accepted": Milestone, "handover.declined": TaskEvent, "handover.withdrawn": TaskEvent, "handover.expired": TaskEvent,
	"attachment.donor.added": FileEvent, "attachment.donor.removed": FileEvent, "attachment.patient.added": FileEvent, "attachment.patient.removed": FileEvent,
	"stemcell.attempt": Communication, "stemcell.compared": SystemEvent, "stemcell.certificate": FileEvent, "stemcell.withdrawn": Milestone, "stemcell.released": Milestone,
	"stemcell.reservation_expired": SystemEvent, "stemcell.standby.left": Milestone, "stemcell.emergency.entered": Milestone, "stemcell.emergency.opened": Milestone,
	"safety.opened": Milestone, "care.started": Milestone, "care.missed": TaskEvent, "care.alert": Communication,
	"search.opened": Milestone, "search.run": SystemEvent, "search.reopened": Milestone, "search.closed": Milestone,
}

func kindOf(code string) EventKind {
	if kind, ok := kinds[code]; ok {
		return kind
	}
	if cut := strings.LastIndexByte(code, '.'); cut > 0 {
		if _, isStep := steps[code[:cut]]; isStep {
			return Milestone
		}
	}
	return SystemEvent
}

// reasonsTold are the coded reasons that the patient's side may read: what it gave itself, and what it must act on. A
// donor's health and private grounds are not among them, and no reason is that is not written here.
var reasonsTold = map[string]bool{
	"better_donor": true, "mismatch": true, "patient_died": true, "patient_relapsed": true, "patient_better": true, "patient_infection": true,
	"patient_not_ready": true, "patient_unfit": true, "bed": true, "no_bed": true, "no_courier": true, "other_treatment": true, "other": true,
	"no_match": true, "related_donor": true, "search_closed": true, "transplanted": true,
	"product_lost": true, "product_unfit": true, "viability_tested": true, "within_stability": true, "no_alternative": true,
	"contaminated": true, "not_viable": true, "damaged": true,
	"donor_withdrew": true, "donor_unwell": true, "donor_returns": true, "backup": true, "rescue": true,
	"cord_blood": true, "haploidentical": true, "autologous": true, "frozen_product": true,
	"wrong_entry": true, "new_information": true, "hospital_asked": true,
}

// toldTo is a reason as a side reads it: to the patient's side, a donor who cannot or will not give is not available,
// whatever the ground.
func toldTo(side Side, reason string) string {
	if side != PatientSide || reason == "" || reasonsTold[reason] {
		return reason
	}
	return "donor_unavailable"
}

// event notes a line of the timeline, to be written with the act.
func (a *act) event(e Event) {
	if e.At.IsZero() {
		e.At = a.at
	}
	e.Actor = a.actor.subject
	a.events = append(a.events, e)
}

func queueEvents(b *pgx.Batch, events []Event) {
	for _, e := range events {
		b.Queue(`INSERT INTO events (id, at, code, case_id, person_id, registration_id, drive_id, search_id, actor, args) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			newID(), e.At, e.Code, null(e.CaseID), null(e.PersonID), null(e.RegistrationID), null(e.DriveID), null(e.SearchID), e.Actor, jsonArgs(e.Args))
	}
}

// lastTold is the newest event of a case, as the case's row has it for lists.
type lastTold struct {
	At   time.Time      `json:"at"`
	Code string         `json:"code"`
	Args map[string]any `json:"args"`
}

// queueNews keeps in each case's row the newest of its events that each side sees. Who causes an event need not reach the whole case.
func queueNews(b *pgx.Batch, events []Event) {
	type news struct{ donor, patient *Event }
	of := map[uuid.UUID]*news{}
	var cases []uuid.UUID
	for i := range events {
		e := &events[i]
		if e.CaseID == uuid.Nil {
			continue
		}
		n := of[e.CaseID]
		if n == nil {
			n = &news{}
			of[e.CaseID], cases = n, append(cases, e.CaseID)
		}
		side := seenBy(e.Code)
		if side != PatientSide && (n.donor == nil || !e.At.Before(n.donor.At)) {
			n.donor = e
		}
		if side != DonorSide && (n.patient == nil || !e.At.Before(n.patient.At)) {
			n.patient = e
		}
	}
	slices.SortFunc(cases, func(x, y uuid.UUID) int { return bytes.Compare(x[:], y[:]) }) // two acts on the same cases take them in one order
	for _, id := range cases {
		args := []any{id}
		for _, e := range []*Event{of[id].donor, of[id].patient} {
			if e == nil {
				args = append(args, nil, nil)
				continue
			}
			at := e.At.Truncate(time.Microsecond) // as the timeline has it
			args = append(args, at, map[string]any{"at": at, "code": e.Code, "actor": e.Actor, "args": json.RawMessage(jsonArgs(e.Args))})
		}
		b.Queue(`UPDATE cases SET
			last_donor = CASE WHEN $2::timestamptz < (last_donor->>'at')::timestamptz OR $2 IS NULL THEN last_donor ELSE $3::jsonb || jsonb_build_object('recorded_at', now()) END,
			last_patient = CASE WHEN $4::timestamptz < (last_patient->>'at')::timestamptz OR $4 IS NULL THEN last_patient ELSE $5::jsonb || jsonb_build_object('recorded_at', now()) END
			WHERE id = $1`, args...)
	}
}

// null stores the zero id as NULL.
func null(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

func jsonArgs(args map[string]any) []byte {
	if len(args) == 0 {
		return []byte("{}")
	}
	out, err := json.Marshal(args)
	if err != nil {
		panic(err) // codes, days and numbers marshal
	}
	return out
}

// TimelineEntry is an event as a reader sees it.
type TimelineEntry struct {
	At    time.Time      `json:"at" class:"case" mask:"drop"`
	Code  string         `json:"code" class:"case" mask:"drop"`
	Kind  EventKind      `json:"kind" class:"case" mask:"drop" doc:"milestone, communication, task, file or system."`
	Text  string         `json:"text" class:"case" mask:"drop"`
	Actor string         `json:"actor" class:"case" mask:"drop"`
	Args  map[string]any `json:"args,omitempty" class:"case" mask:"drop"`
}

// timeline reads the events of a case that a side may see, oldest first. The caller has permitted the reading.
func (a *act) timeline(ctx context.Context, caseID uuid.UUID, side Side, l lang.Locale) ([]TimelineEntry, error) {
	var b pgx.Batch
	var all []TimelineEntry
	queueTimeline(&b, caseID, &all)
	if err := a.SendBatch(ctx, &b).Close(); err != nil {
		return nil, err
	}
	return told(all, side, l), nil
}

func queueTimeline(b *pgx.Batch, caseID uuid.UUID, all *[]TimelineEntry) {
	b.Queue(`SELECT at, code, actor, args FROM events WHERE case_id = $1 ORDER BY at, recorded_at, id`, caseID).Query(func(rows pgx.Rows) (err error) {
		*all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e TimelineEntry, err error) {
			return e, row.Scan(&e.At, &e.Code, &e.Actor, &e.Args)
		})
		return err
	})
}

// told are the events that a side sees, in words.
func told(all []TimelineEntry, side Side, l lang.Locale) []TimelineEntry {
	out := make([]TimelineEntry, 0, len(all))
	for _, e := range all {
		if s := seenBy(e.Code); side != BothSides && s != BothSides && s != side {
			continue
		}
		if side != BothSides {
			e.Actor = "" // who of the other side acted is not told
		}
		if reason, ok := e.Args["Reason"].(string); ok {
			e.Args["Reason"] = toldTo(side, reason)
		}
		e.Text, e.Kind = l.Say("event."+e.Code, e.Args), kindOf(e.Code)
		out = append(out, e)
	}
	return out
}

// notice is what somebody should know: a member of staff, or everybody with a role in an organisation or else in a region.
type notice struct {
	code         string
	args         map[string]any
	organisation uuid.UUID
	role         string
	region       identity.Region
	staff        uuid.UUID
	caseID       uuid.UUID
	taskID       uuid.UUID
	urgent       bool
	dedupe       string // the same notice is written once
	at           time.Time
}

// tell notes a notice, to be written with the act. Telling the same thing twice writes it once.
func (a *act) tell(n notice) {
	if n.at.IsZero() {
		n.at = a.at
	}
	a.notices = append(a.notices, n)
}

func queueNotices(b *pgx.Batch, notices []notice) {
	for _, n := range notices {
		b.Queue(`
			INSERT INTO notices (id, code, args, organisation_id, role, region, staff_id, case_id, task_id, urgent, dedupe, at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (dedupe) DO NOTHING`,
			newID(), n.code, jsonArgs(n.args), null(n.organisation), n.role, string(n.region), null(n.staff), null(n.caseID), null(n.taskID), n.urgent, n.dedupe, n.at)
	}
}
