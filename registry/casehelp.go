package registry

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
)

// What helps somebody with a step: what to see to before it is answered, what stands against it, what to say to the donor. Where the
// register knows the answer itself, it says so; the rest is for people to tick in their heads.

// caseFacts is what the register knows of a case that its steps go by.
type caseFacts struct {
	in              rules.Rules
	today           calendar.Date
	known           BothKnow
	attempts        int
	attemptDays     int
	attemptContacts int
	withdrawn       bool // the donor's registration
	consented       bool // to the donation
	fit             bool // the examination's answer stands
	compared        bool // the confirmatory typing with the patient's
	weighed         bool
	unsafe          bool            // a serious event is being reported
	releasedAt      *time.Time      // when the reservation ends
	signed          map[string]bool // steps and seats that the actor answered in the rounds at hand
}

// factsOf reads what a case's steps go by. Each side reads what it reaches: of the donor the patient's side learns nothing here.
func (a *act) factsOf(ctx context.Context, at *atTable) (caseFacts, error) {
	var b pgx.Batch
	f := a.queueFacts(&b, at.ID)
	b.Queue(`SELECT EXISTS (SELECT FROM events WHERE case_id = $1 AND code = $2)`, at.ID, comparedEvent).QueryRow(func(row pgx.Row) error { return row.Scan(&f.compared) })
	if err := a.SendBatch(ctx, &b).Close(); err != nil {
		return *f, err
	}
	return a.factsAt(at, f)
}

// comparedEvent is what happened when a donor's confirmatory typing was held against the patient's.
const comparedEvent = "stemcell.compared"

// queueFacts adds all of them but what the timeline tells.
func (a *act) queueFacts(b *pgx.Batch, id uuid.UUID) *caseFacts {
	f := &caseFacts{signed: map[string]bool{}}
	b.Queue(`
		SELECT tries.made, tries.on_days, tries.contacts, EXISTS (SELECT FROM consents WHERE case_id = $1 AND kind = 'stemcell.donation' AND withdrawn_at IS NULL),
			EXISTS (SELECT FROM tasks t JOIN answers w ON w.id = t.answer_id WHERE t.case_id = $1 AND t.step = 'stemcell.physical_examination' AND t.status = 'done' AND w.outcome->>'code' = 'fit'),
			EXISTS (SELECT FROM cases s WHERE s.protocol = 'safety' AND s.subject_id = $1 AND s.status = 'open'),
			(SELECT max(expires_at) FROM reservations WHERE case_id = $1 AND released_at IS NULL), coalesce(donor.withdrawn, false), coalesce(donor.weighed, false),
			ARRAY(SELECT t.step || t.seat FROM tasks t JOIN answers w ON w.id = t.answer_id WHERE t.case_id = $1 AND w.staff_id = $2 AND t.status = 'done'
				AND t.round = (SELECT max(o.round) FROM tasks o WHERE o.case_id = $1 AND o.step = t.step))
		FROM (SELECT count(*) AS made, count(DISTINCT (at AT TIME ZONE 'Asia/Shanghai')::date) AS on_days, count(*) FILTER (WHERE whom = 'contact') AS contacts FROM contact_attempts WHERE case_id = $1) tries
			LEFT JOIN (SELECT r.status = 'withdrawn' AS withdrawn, p.weight_kg > 0 AS weighed FROM registrations r JOIN persons p ON p.id = r.person_id
				WHERE r.id = (SELECT subject_id FROM cases WHERE id = $1)) donor ON true`, id, a.actor.staff).
		QueryRow(func(row pgx.Row) error {
			var signed []string
			err := row.Scan(&f.attempts, &f.attemptDays, &f.attemptContacts, &f.consented, &f.fit, &f.unsafe, &f.releasedAt, &f.withdrawn, &f.weighed, &signed)
			for _, step := range signed {
				f.signed[step] = true
			}
			return err
		})
	return f
}

// factsAt are the facts that were read, as far as they are the actor's side's, with the rules that they are held against.
func (a *act) factsAt(at *atTable, f *caseFacts) (caseFacts, error) {
	f.in, f.today = a.rules(at.Region), a.today()
	if at.side != DonorSide {
		f.withdrawn, f.weighed = false, false
	}
	return *f, json.Unmarshal(at.State, &f.known)
}

// check is a line of a step's checklist. done is nil where the register cannot know.
type check struct {
	key  string
	args func(caseFacts, taskRow) map[string]any
	done func(caseFacts, taskRow) bool
}

func reminders(keys ...string) []check {
	out := make([]check, len(keys))
	for i, key := range keys {
		out[i].key = key
	}
	return out
}

// The lines that more than one step has.
var (
	consentIsThere = check{key: "check.consent_signed", done: func(f caseFacts, _ taskRow) bool { return f.consented }}
	cleared        = check{key: "check.clearance_current", done: func(f caseFacts, _ taskRow) bool { return f.clearanceHolds() }}
	agreed         = check{key: "check.schedule_agreed", done: func(f caseFacts, _ taskRow) bool { return f.known.Agreed }}
	temperatures   = check{key: "check.box_temperature", args: func(f caseFacts, _ taskRow) map[string]any {
		return map[string]any{"Least": f.in.Amount(rules.StemCellTransportMin), "Most": f.in.Amount(rules.StemCellTransportMax)}
	}}
)

// checklists says for each step what to see to. A step that is not here needs nothing beside its form.
var checklists = map[string][]check{
	"stemcell.standby": {{key: "check.reservation"}},
	"stemcell.remobilisation": append(reminders("check.contact_current", "check.health_questions", "check.family_told", "check.free_to_say_no"),
		check{key: "check.attempts", done: func(f caseFacts, _ taskRow) bool {
			return f.attempts >= f.in.Count(rules.StemCellAttempts) && f.attemptDays >= f.in.Count(rules.StemCellAttemptDays) && f.attemptContacts > 0
		}, args: func(f caseFacts, _ taskRow) map[string]any {
			return map[string]any{"Made": f.attempts, "OnDays": f.attemptDays, "Needed": f.in.Count(rules.StemCellAttempts), "Days": f.in.Count(rules.StemCellAttemptDays)}
		}}),
	"stemcell.sample_booking": reminders("check.day_suits_donor", "check.laboratory_told", "check.what_to_bring"),
	"stemcell.confirmatory_sample": append(reminders("check.identity_bedside", "check.tube_labelled"),
		check{key: "check.sample_volume", args: func(f caseFacts, _ taskRow) map[string]any {
			return map[string]any{"Limit": f.in.Amount(rules.StemCellSampleMax)}
		}}),
	"stemcell.confirmatory_typing": reminders("check.tube_matches_request", "check.nomenclature_named"),
	"stemcell.hospital_decision":   {{key: "check.typing_compared", done: func(f caseFacts, _ taskRow) bool { return f.compared }}, {key: "check.reservation"}},
	"stemcell.physical_examination": append(reminders("check.identity_bedside", "check.findings_explained"),
		check{key: "check.weight_known", done: func(f caseFacts, _ taskRow) bool { return f.weighed }}),
	"stemcell.donation_consent": append([]check{{key: "check.examined_fit", done: func(f caseFacts, _ taskRow) bool { return f.fit }}},
		reminders("check.risks_explained", "check.family_told", "check.point_of_no_return_explained", "check.witness_present")...),
	"stemcell.clearance": append([]check{consentIsThere, {key: "check.examined_fit", done: func(f caseFacts, _ taskRow) bool { return f.fit }}}, reminders("check.two_people_sign")...),
	"stemcell.schedule": {
		{key: "check.window_proposed", done: func(f caseFacts, _ taskRow) bool { return f.known.Window != nil }}, {key: "check.all_four_agree", done: func(f caseFacts, _ taskRow) bool { return f.known.Agreed }},
		{key: "check.clearance_covers", done: func(f caseFacts, _ taskRow) bool {
			return f.known.Window != nil && !f.known.ClearedUntil.Before(f.known.Window.Collection)
		}},
	},
	"stemcell.conditioning": {agreed, cleared, consentIsThere, {key: "check.no_way_back"}},
	"stemcell.mobilisation": append(reminders("check.identity_bedside", "check.reactions_asked"), check{key: "check.weight_known", done: func(f caseFacts, _ taskRow) bool { return f.weighed }}),
	"stemcell.collection": append(reminders("check.identity_bedside", "check.reactions_asked"),
		check{key: "check.cells_needed", args: func(f caseFacts, _ taskRow) map[string]any {
			return map[string]any{"Target": f.in.Amount(rules.StemCellCD34)}
		}}),
	"stemcell.dispatch":   append(reminders("check.label_names_nobody", "check.courier_known"), temperatures),
	"stemcell.receipt":    append(reminders("check.bag_whole"), temperatures),
	"stemcell.quarantine": reminders("check.viability"),
	"stemcell.infusion":   reminders("check.bag_matches_patient"),
	"stemcell.thanks":     reminders("check.certificate_handed", "check.leave_letter_asked", "check.follow_up_explained"),
	"stemcell.emergency":  reminders("check.backup_asked", "check.donor_not_pressed"),
	"safety.report":       reminders("check.rapid_alert"),
	"care.follow_up":      reminders("check.flags_asked", "check.next_touch_told"),
}

// clearanceHolds tells whether the donor is cleared for the window, and today.
func (f caseFacts) clearanceHolds() bool {
	return !f.known.ClearedUntil.IsZero() && !f.known.ClearedUntil.Before(f.today) && (f.known.Window == nil || !f.known.ClearedUntil.Before(f.known.Window.Collection))
}

func checklistOf(t taskRow, f caseFacts, l lang.Locale) []CheckItem {
	out := []CheckItem{}
	for _, c := range checklists[t.Step] {
		item := CheckItem{Code: c.key}
		var args map[string]any
		if c.args != nil {
			args = c.args(f, t)
		}
		if c.key == "check.reservation" {
			if f.releasedAt == nil {
				continue
			}
			args = map[string]any{"Until": clockTime(*f.releasedAt)}
		}
		item.Text = l.Say(c.key, args)
		if c.done != nil {
			item.Done = new(c.done(f, t))
		}
		out = append(out, item)
	}
	return out
}

// blocks are what stands against a step now, as the rules that refuse its answer know it.
func (f caseFacts) blocks(t taskRow, l lang.Locale) []Block {
	out := []Block{}
	say := func(key string) { out = append(out, Block{key, l.Say(key, nil)}) }
	if f.withdrawn && !steps[t.Step].afterWithdrawal && t.Protocol == StemCellProtocol {
		say("blocked.withdrawn")
	}
	if t.Step == "stemcell.conditioning" {
		if !f.known.Agreed {
			say("blocked.schedule_not_agreed")
		}
		if !f.clearanceHolds() {
			say("blocked.clearance_not_current")
		}
		if !f.consented {
			say("blocked.consent_missing")
		}
	}
	if f.unsafe {
		say("blocked.safety_open")
	}
	return out
}

// scripts are what to say to the donor in a step, a line a breath.
var scripts = map[string]string{
	"enrolment.redraw":              "script.enrolment.redraw",
	"stemcell.remobilisation":       "script.stemcell.remobilisation",
	"stemcell.sample_booking":       "script.stemcell.sample_booking",
	"stemcell.confirmatory_sample":  "script.stemcell.confirmatory_sample",
	"stemcell.physical_examination": "script.stemcell.physical_examination",
	"stemcell.donation_consent":     "script.stemcell.donation_consent",
	"stemcell.schedule":             "script.stemcell.schedule",
	"stemcell.mobilisation":         "script.stemcell.mobilisation",
	"stemcell.collection":           "script.stemcell.collection",
	"stemcell.thanks":               "script.stemcell.thanks",
	"care.follow_up":                "script.care.follow_up",
}

// StepPage is one task as whoever is asked works on it, and nothing else of its case.
type StepPage struct {
	NextStep
	Ended       bool             `json:"ended" class:"case" mask:"drop"`
	Side        Side             `json:"side" class:"case" mask:"drop"`
	DonorID     *uuid.UUID       `json:"donor,omitempty" class:"registration" mask:"drop" doc:"For who meets the donor at the bedside and may ask who it is."`
	Attachments []AttachmentView `json:"attachments" class:"case" mask:"drop"`
}

// ShowStepPage returns a task of the actor's side with all that its page shows.
func (r *Reader) ShowStepPage(ctx context.Context, actor Actor, task uuid.UUID) (StepPage, error) {
	var v StepPage
	err := r.act(ctx, actor, "ShowStepPage", policy.ForCase, func(ctx context.Context, a *act) error {
		d, err := a.atDesk(ctx, uuid.Nil, task, false)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Case, d.rec); err != nil {
			return err
		}
		at := &atTable{caseRow: d.of, side: d.side}
		if at.seats, err = a.seats(ctx, d.of.ID); err != nil {
			return err
		}
		at.rec = at.record(at.seats)
		facts, err := a.factsOf(ctx, at)
		if err != nil {
			return err
		}
		signers, err := a.signersOf(ctx, d.of.ID)
		if err != nil {
			return err
		}
		all, err := a.taskRows(ctx, d.of.ID)
		if err != nil {
			return err
		}
		v = StepPage{Ended: d.of.Status == "ended", Side: d.side}
		if v.NextStep, err = a.nextStep(ctx, at, nil, *d.task, all, facts, signers); err != nil {
			return err
		}
		if v.Attachments, err = a.attachmentsAt(ctx, d); err != nil {
			return err
		}
		if d.side == DonorSide && d.of.Protocol == StemCellProtocol {
			v.DonorID = &d.of.Subject
		}
		show(a.mask(at.rec).Union(a.mask(d.rec)), &v)
		return nil
	})
	if err != nil {
		return StepPage{}, err
	}
	return v, nil
}
