package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
)

// A step is opened again by who carries the case. What it does is shown before it is done, by doing it and taking it back: there is
// no second account of it that could say something else. Once the answer is a day old, somebody of the office above has to agree.

// ReopenInput asks that a step be answered again.
type ReopenInput struct {
	CaseID  uuid.UUID       `json:"case"`
	Version int64           `json:"version"`
	Staff   uuid.UUID       `json:"staff"`
	Step    string          `json:"step"`
	Reason  string          `json:"reason"`
	At      time.Time       `json:"at"`
	Steps   []string        `json:"steps"` // the steps from the reopened one on, whose answers are struck through
	State   json.RawMessage `json:"state"`
}

// ReopenPlan is where a protocol would take a case if a step were opened again now: what it would hand to ReopenStep, and what it
// would ask then.
type ReopenPlan struct {
	ReopenInput
	Asks    []Question `json:"asks,omitempty"`
	Refused string     `json:"refused,omitempty"` // the code of the rule that stands against it
}

// struck is what opening a step again did.
type struck struct {
	answers   []uuid.UUID // tasks whose answers were struck through
	cancelled []uuid.UUID // tasks that were open
}

// ReopenStep takes a case back to a step: nothing is deleted, the answers since are struck through and open tasks
// cancelled.
//
// Errors: Refused when the answer is so old that somebody else has to agree, and nobody has.
func (s *Store) ReopenStep(ctx context.Context, actor Actor, in ReopenInput) (Moved, error) {
	var out Moved
	err := s.act(ctx, actor, "ReopenStep", policy.ForCase, func(ctx context.Context, a *act) error {
		a.at = in.At
		c, err := a.reopenable(ctx, in.CaseID)
		if err != nil {
			return err
		}
		out, err = remembered(ctx, a, fmt.Sprintf("reopen/%s/%d", in.CaseID, in.Version), func() (Moved, error) {
			if err := a.mayReopenAlone(ctx, c, in); err != nil {
				return Moved{}, err
			}
			moved, _, err := a.reopen(ctx, &c, in)
			return moved, err
		})
		return err
	})
	return out, err
}

// reopenable locks a case of which the actor may open steps again.
func (a *act) reopenable(ctx context.Context, id uuid.UUID) (caseRow, error) {
	c, err := a.readCase(ctx, id, true)
	if err != nil {
		return c, err
	}
	seats, err := a.seats(ctx, c.ID)
	if err != nil {
		return c, err
	}
	return c, a.permit(policy.Decide, policy.Case, c.record(seats))
}

func (a *act) reopen(ctx context.Context, c *caseRow, in ReopenInput) (Moved, struck, error) {
	var done struck
	var err error
	if done.cancelled, err = a.closed(ctx, c.ID, "cancelled"); err != nil {
		return Moved{}, done, err
	}
	rows, err := a.Query(ctx, `
		WITH struck AS (UPDATE tasks SET status = 'struck', version = version + 1 WHERE case_id = $1 AND step = ANY($2) AND status = 'done' RETURNING id),
			answered AS (UPDATE answers SET status = 'struck' WHERE task_id IN (SELECT id FROM struck) AND status = 'accepted')
		SELECT id FROM struck`, c.ID, in.Steps)
	if err != nil {
		return Moved{}, done, err
	}
	if done.answers, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID]); err != nil {
		return Moved{}, done, err
	}
	a.event(Event{Code: "case.reopened", CaseID: c.ID, Args: map[string]any{"Step": in.Step, "Reason": in.Reason}})
	moved, err := a.move(ctx, c, in.Version, Move{Step: in.Step, State: in.State})
	return moved, done, err
}

// aloneUntil is until when who carries a case may open a step again without anybody else: so long after it was answered last. It is
// zero for a step that has no answer.
func (a *act) aloneUntil(ctx context.Context, c caseRow, step string) (time.Time, error) {
	var answered *time.Time
	err := a.QueryRow(ctx, `SELECT max(closed_at) FROM tasks WHERE case_id = $1 AND step = $2 AND status = 'done'`, c.ID, step).Scan(&answered)
	if err != nil || answered == nil {
		return time.Time{}, err
	}
	return answered.Add(time.Duration(a.rules(c.Region).Span(rules.DeskReopen).Hours()) * time.Hour), nil
}

// mayReopenAlone refuses to open a step again whose answer is old, unless somebody agreed to just this.
func (a *act) mayReopenAlone(ctx context.Context, c caseRow, in ReopenInput) error {
	until, err := a.aloneUntil(ctx, c, in.Step)
	if err != nil || until.IsZero() || !a.at.After(until) {
		return err
	}
	var agreed bool
	err = a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM reopenings WHERE case_id = $1 AND case_version = $2 AND step = $3 AND verdict = 'approved')`, c.ID, c.Version, in.Step).Scan(&agreed)
	if err == nil && !agreed {
		return refused("reopening_needed", "Hours", a.rules(c.Region).Span(rules.DeskReopen).Hours())
	}
	return err
}

// ReopenReasons are the coded reasons for which a step is answered again.
func ReopenReasons() []string {
	return slices.Clone([]string{"wrong_entry", "new_information", "donor_changed_mind", "hospital_asked", "other"})
}

// ShowReopenable returns a case, as ShowCase does, to who may open steps of it again: before anybody asks its protocol.
func (r *Reader) ShowReopenable(ctx context.Context, actor Actor, id uuid.UUID) (CaseView, error) {
	return r.showCase(ctx, actor, "ShowReopenable", id, func(a *act, at *atTable) error { return a.permit(policy.Decide, policy.Case, at.rec) })
}

// ReopenPreview is what opening a step again would do.
type ReopenPreview struct {
	CaseID   uuid.UUID       `json:"case" class:"case" mask:"drop"`
	Step     string          `json:"step" class:"case" mask:"drop"`
	Strikes  []StruckAnswer  `json:"strikes" class:"case" mask:"drop" doc:"The answers that would be struck through. They stay in the timeline."`
	Cancels  []TaskView      `json:"cancels" class:"case" mask:"drop" doc:"The tasks that are open and would be no more."`
	Releases []string        `json:"releases" class:"case" mask:"drop" doc:"What would hold no more: window, agreed, cleared_until."`
	Tells    []PreviewNotice `json:"tells" class:"case" mask:"drop" doc:"The notices that would go out."`
	Stays    []RecordCount   `json:"stays" class:"case" mask:"drop" doc:"What the case has brought into the records, and an undo does not take back."`
	Alone    bool            `json:"alone" class:"case" mask:"drop" doc:"Nobody else has to agree."`
	Until    time.Time       `json:"until,omitzero" class:"case" mask:"drop" doc:"Until when nobody else has to."`
	Asked    string          `json:"asked,omitempty" class:"case" mask:"drop" doc:"Where somebody has to agree and was asked: waiting, approved or refused."`
	Version  int64           `json:"version" class:"open" mask:"none"`
}

// StruckAnswer is an answer that would be struck through.
type StruckAnswer struct {
	Step  string    `json:"step" class:"case" mask:"drop"`
	Title string    `json:"title" class:"case" mask:"drop"`
	Text  string    `json:"text" class:"case" mask:"drop" doc:"What was answered, in words."`
	At    time.Time `json:"at" class:"case" mask:"drop"`
}

// PreviewNotice is a notice that would go out.
type PreviewNotice struct {
	Text   string          `json:"text" class:"case" mask:"drop"`
	Role   string          `json:"role,omitempty" class:"case" mask:"drop"`
	Region identity.Region `json:"region,omitempty" class:"case" mask:"drop"`
	Side   Side            `json:"side,omitempty" class:"case" mask:"drop" doc:"Of the table, where it goes to a seat."`
	Due    time.Time       `json:"due,omitzero" class:"case" mask:"drop" doc:"When the answer to what is asked is due."`
}

// RecordCount is how many records of a kind there are.
type RecordCount struct {
	Kind  string `json:"kind" class:"case" mask:"drop" doc:"specimen, typing, consent or deferral."`
	Count int    `json:"count" class:"case" mask:"drop"`
}

// errTakenBack ends the part of an act that is only tried.
var errTakenBack = errors.New("registry: taken back")

// PreviewReopen tells what opening a step again would do: it does all that ReopenStep does, and what its protocol does next, and
// takes it back.
//
// Errors: Refused when a rule of the protocol stands against it; Stale when the case moved meanwhile.
func (s *Store) PreviewReopen(ctx context.Context, actor Actor, id uuid.UUID, plan ReopenPlan) (ReopenPreview, error) {
	var v ReopenPreview
	err := s.act(ctx, actor, "PreviewReopen", policy.ForCase, func(ctx context.Context, a *act) error {
		a.repeats = true // nothing is done, whatever form it is shown beside
		c, err := a.reopenable(ctx, id)
		if err != nil {
			return err
		}
		switch {
		case plan.Refused != "":
			return refused(plan.Refused)
		case plan.Version != c.Version:
			return stale("case")
		}
		v = ReopenPreview{CaseID: c.ID, Step: plan.Step, Strikes: []StruckAnswer{}, Cancels: []TaskView{}, Tells: []PreviewNotice{}, Releases: released(c.State, plan.State), Version: c.Version}
		seats, err := a.seats(ctx, id)
		if err != nil {
			return err
		}
		if v.Stays, err = a.recordsOf(ctx, id); err != nil {
			return err
		}
		if v.Until, err = a.aloneUntil(ctx, c, plan.Step); err != nil {
			return err
		}
		if v.Alone = v.Until.IsZero() || !a.at.After(v.Until); !v.Alone {
			asked, err := a.reopeningOf(ctx, c, plan.Step)
			if err != nil {
				return err
			}
			if asked != nil {
				v.Asked = asked.Status
			}
			v.Alone = v.Asked == "approved"
		}
		before, err := a.tasksOf(ctx, c, BothSides, seats)
		if err != nil {
			return err
		}
		var did struct {
			struck
			told []notice
			due  map[uuid.UUID]time.Time
		}
		err = a.tried(ctx, func() error {
			in := plan.ReopenInput
			in.CaseID, in.At, in.Version = c.ID, a.at, c.Version
			if _, did.struck, err = a.reopen(ctx, &c, in); err != nil {
				return err
			}
			did.due = map[uuid.UUID]time.Time{}
			for _, q := range plan.Asks {
				q.CaseID, q.At = c.ID, a.at
				ticket, err := a.openTask(ctx, c, q)
				if err != nil {
					return err
				}
				did.due[ticket.TaskID] = ticket.Due
			}
			did.told = slices.Clone(a.notices)
			return nil
		})
		if err != nil {
			return err
		}
		answers, err := a.answersTo(ctx, did.answers)
		if err != nil {
			return err
		}
		for _, t := range before {
			if slices.Contains(did.cancelled, t.ID) {
				v.Cancels = append(v.Cancels, t)
			}
			if w, ok := answers[t.ID]; ok {
				v.Strikes = append(v.Strikes, StruckAnswer{Step: t.Step, Title: t.Title, Text: actor.Locale.Say("event."+t.Step+"."+w.outcome.Code, eventArgs(w.outcome)), At: w.at})
			}
		}
		for _, n := range did.told {
			told := PreviewNotice{Text: actor.Locale.Say("notice."+n.code, n.args), Role: n.role, Region: n.region, Due: did.due[n.taskID]}
			for _, seat := range slices.Sorted(maps.Keys(seats)) {
				if seats[seat].Organisation == n.organisation {
					told.Side = Side(seats[seat].Side)
				}
			}
			if told.Side == PatientSide {
				told.Region = "" // where the hospital is, is the other side's
			}
			v.Tells = append(v.Tells, told)
		}
		return nil
	})
	if err != nil {
		return ReopenPreview{}, err
	}
	return v, nil
}

// tried does a part of an act and takes all of it back: its rows, its events and its notices.
func (a *act) tried(ctx context.Context, do func() error) error {
	outer, events, notices, tellers, entries := a.Tx, len(a.events), len(a.notices), len(a.tellers), len(a.entries)
	defer func() {
		a.Tx = outer
		a.events, a.notices, a.tellers, a.entries = a.events[:events], a.notices[:notices], a.tellers[:tellers], a.entries[:entries]
	}()
	err := pgx.BeginFunc(ctx, outer, func(tx pgx.Tx) error {
		a.Tx = tx
		if err := do(); err != nil {
			return err
		}
		return errTakenBack
	})
	if errors.Is(err, errTakenBack) {
		return nil
	}
	return err
}

// released are the facts of a case's state that hold no more after a move.
func released(before, after json.RawMessage) []string {
	held := func(state json.RawMessage) map[string]json.RawMessage {
		var out map[string]json.RawMessage
		_ = json.Unmarshal(state, &out) // a state is ours; one that cannot be read holds nothing that could be told
		return out
	}
	now := held(after)
	out := []string{}
	for _, fact := range slices.Sorted(maps.Keys(held(before))) {
		if slices.Contains(releasable, fact) && (now[fact] == nil || bytes.Equal(now[fact], []byte("null"))) {
			out = append(out, fact)
		}
	}
	return out
}

// releasable are the facts that people know of: the rest of a state is its protocol's.
var releasable = []string{"agreed", "cleared_until", "window"}

// recordsOf counts what a case has brought into the records.
func (a *act) recordsOf(ctx context.Context, id uuid.UUID) ([]RecordCount, error) {
	rows, err := a.Query(ctx, `
		SELECT kind, count(*)::int FROM (
			SELECT 'specimen' AS kind FROM specimens WHERE case_id = $1 UNION ALL SELECT 'typing' FROM typings WHERE case_id = $1
			UNION ALL SELECT 'consent' FROM consents WHERE case_id = $1 UNION ALL SELECT 'deferral' FROM deferrals WHERE case_id = $1) r
		GROUP BY kind ORDER BY kind`, id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[RecordCount])
}

// givenAnswer is what was answered to a task.
type givenAnswer struct {
	outcome forms.Outcome
	at      time.Time
}

func (a *act) answersTo(ctx context.Context, tasks []uuid.UUID) (map[uuid.UUID]givenAnswer, error) {
	rows, err := a.Query(ctx, `SELECT t.id, w.outcome, t.closed_at FROM tasks t JOIN answers w ON w.id = t.answer_id WHERE t.id = ANY($1)`, tasks)
	if err != nil {
		return nil, err
	}
	out := map[uuid.UUID]givenAnswer{}
	var id uuid.UUID
	var outcome []byte
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &outcome, &at}, func() error {
		w := givenAnswer{at: at}
		err := json.Unmarshal(outcome, &w.outcome)
		out[id] = w
		return err
	})
	return out, err
}

// ReopeningForm asks that a step be opened again although its answer is old.
type ReopeningForm struct {
	Step   string `json:"step" validate:"required,max=60"`
	Reason string `json:"reason" validate:"required,oneof=wrong_entry new_information donor_changed_mind hospital_asked other"`
}

// ReopeningVerdict is what somebody says to it.
type ReopeningVerdict struct {
	Verdict string `json:"verdict" validate:"required,oneof=approve refuse"`
}

// ReopeningView is a late undo that was asked for.
type ReopeningView struct {
	ID        uuid.UUID       `json:"id" class:"review" mask:"drop"`
	CaseID    uuid.UUID       `json:"case" class:"review" mask:"drop"`
	Number    string          `json:"number" class:"review" mask:"drop"`
	Region    identity.Region `json:"region" class:"review" mask:"drop"`
	Step      string          `json:"step" class:"review" mask:"drop"`
	Title     string          `json:"title" class:"review" mask:"drop"`
	Reason    string          `json:"reason" class:"review" mask:"drop"`
	By        string          `json:"by" class:"review" mask:"drop" doc:"The member of staff who asked."`
	AskedAt   time.Time       `json:"asked_at" class:"review" mask:"drop"`
	Status    string          `json:"status" class:"review" mask:"drop" doc:"waiting, approved, refused, or over: the case has moved since."`
	DecidedAt *time.Time      `json:"decided_at,omitempty" class:"review" mask:"drop"`
	Version   int64           `json:"version" class:"open" mask:"none"`
}

const reopeningColumns = `q.id, q.case_id, c.number, c.region, q.step, q.reason, coalesce((SELECT s.display_name FROM staff s WHERE s.id = q.asked_by), ''), q.asked_by, q.asked_at,
	CASE WHEN c.version <> q.case_version OR c.status <> 'open' THEN 'over' ELSE coalesce(q.verdict, 'waiting') END, q.decided_at, q.version`

type reopeningRow struct {
	ReopeningView
	asker uuid.UUID
}

func (a *act) scanReopening(row pgx.CollectableRow) (v reopeningRow, err error) {
	err = row.Scan(&v.ID, &v.CaseID, &v.Number, &v.Region, &v.Step, &v.Reason, &v.By, &v.asker, &v.AskedAt, &v.Status, &v.DecidedAt, &v.Version)
	v.Title = stepName(v.Step, a.actor.Locale)
	return v, err
}

func (v ReopeningView) record() record {
	return record{kind: "reopening", id: v.ID.String(), region: v.Region}
}

// reopeningOf is what was asked about a case as it stands, nil for nothing.
func (a *act) reopeningOf(ctx context.Context, c caseRow, step string) (*ReopeningView, error) {
	rows, err := a.Query(ctx, `SELECT `+reopeningColumns+` FROM reopenings q JOIN cases c ON c.id = q.case_id WHERE q.case_id = $1 AND q.case_version = $2 AND q.step = $3`, c.ID, c.Version, step)
	if err != nil {
		return nil, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, a.scanReopening)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &v.ReopeningView, err
}

// AskReopening asks the office above to agree that a step be opened again. Asking again for the same gives the first.
//
// Errors: Stale when the case moved meanwhile; Refused when nobody else has to agree.
func (s *Store) AskReopening(ctx context.Context, actor Actor, id uuid.UUID, version int64, f ReopeningForm) (ReopeningView, error) {
	var v ReopeningView
	err := s.act(ctx, actor, "AskReopening", policy.ForCase, func(ctx context.Context, a *act) error {
		c, err := a.reopenable(ctx, id)
		if err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if c.Version != version || c.Status != "open" {
			return stale("case")
		}
		until, err := a.aloneUntil(ctx, c, f.Step)
		switch {
		case err != nil:
			return err
		case until.IsZero():
			return refused("step_not_done")
		case !a.at.After(until):
			return refused("reopening_not_needed")
		}
		known, err := a.reopeningOf(ctx, c, f.Step)
		if err != nil {
			return err
		}
		if known != nil {
			v = *known
			return nil
		}
		v = ReopeningView{
			ID: newID(), CaseID: c.ID, Number: c.Number, Region: c.Region, Step: f.Step, Title: stepName(f.Step, actor.Locale), Reason: f.Reason, By: a.actor.Name,
			AskedAt: a.at.Truncate(time.Microsecond), Status: "waiting", Version: 1,
		}
		role, err := a.supervisors(ctx, c.Region, a.actor.staff)
		if err != nil {
			return err
		}
		args := map[string]any{"Step": f.Step, "Reason": f.Reason}
		a.event(Event{Code: "case.reopening_asked", CaseID: c.ID, Args: args})
		a.tell(notice{code: "reopening.asked", args: map[string]any{"Case": c.Number, "Step": f.Step}, role: role, region: c.Region, caseID: c.ID, dedupe: "reopening.asked/" + v.ID.String()})
		_, err = a.Exec(ctx, `INSERT INTO reopenings (id, case_id, case_version, step, reason, asked_by, asked_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			v.ID, c.ID, c.Version, f.Step, f.Reason, a.actor.staff, v.AskedAt)
		return err
	})
	if err != nil {
		return ReopeningView{}, err
	}
	return v, nil
}

// ListReopenings returns the late undos that wait for an answer, in the regions where the actor reviews, the oldest first.
func (r *Reader) ListReopenings(ctx context.Context, actor Actor, after uuid.UUID, limit int) ([]ReopeningView, error) {
	out := []ReopeningView{}
	err := r.act(ctx, actor, "ListReopenings", policy.ForCase, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Decide, policy.Review)
		rows, err := a.Query(ctx, `
			SELECT `+reopeningColumns+` FROM reopenings q JOIN cases c ON c.id = q.case_id
			WHERE q.id > $1 AND q.verdict IS NULL AND c.version = q.case_version AND c.status = 'open'
				AND EXISTS (SELECT FROM unnest($2::text[], $3::text[]) s(lo, hi) WHERE c.region >= lo AND c.region < hi)
			ORDER BY q.id LIMIT $4`, after, within.lo, within.hi, pageSize(limit))
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, a.scanReopening)
		if err != nil {
			return err
		}
		out = make([]ReopeningView, len(found))
		for i, v := range found {
			out[i] = v.ReopeningView
		}
		return a.permitList(policy.Review, within, "reopenings", idsOf(out, func(v ReopeningView) uuid.UUID { return v.ID }))
	})
	return out, err
}

// DecideReopening agrees that a step be opened again, or does not. Who asked opens it then. Nobody agrees with themselves.
//
// Errors: Refused when it was decided, or the case has moved since.
func (s *Store) DecideReopening(ctx context.Context, actor Actor, id uuid.UUID, version int64, f ReopeningVerdict) (ReopeningView, error) {
	var out ReopeningView
	err := s.act(ctx, actor, "DecideReopening", policy.ForCase, func(ctx context.Context, a *act) error {
		rows, err := a.Query(ctx, `SELECT `+reopeningColumns+` FROM reopenings q JOIN cases c ON c.id = q.case_id WHERE q.id = $1 FOR UPDATE OF q`, id)
		if err != nil {
			return err
		}
		v, err := pgx.CollectExactlyOneRow(rows, a.scanReopening)
		if errors.Is(err, pgx.ErrNoRows) {
			return a.absent("reopening", id)
		}
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Review, v.record()); err != nil {
			return err
		}
		if _, apart := policy.Separated(policy.AskReopening, policy.DecideReopening); apart && v.asker == a.actor.staff {
			return a.deny(&Error{Kind: Denied, Code: "reopening_own"})
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		switch {
		case version != 0 && version != v.Version:
			return stale("reopening")
		case v.Status != "waiting":
			return refused("reopening_settled", "Reopening", v.Status)
		}
		out = v.ReopeningView
		at := a.at.Truncate(time.Microsecond)
		out.Status = map[string]string{"approve": "approved", "refuse": "refused"}[f.Verdict]
		out.DecidedAt, out.Version = &at, v.Version+1
		happened, told := "case.reopening_refused", "reopening.refused"
		if out.Status == "approved" {
			happened, told = "case.reopening_approved", "reopening.approved"
		}
		a.event(Event{Code: happened, CaseID: v.CaseID, Args: map[string]any{"Step": v.Step}})
		a.tell(notice{code: told, args: map[string]any{"Case": v.Number, "Step": v.Step}, staff: v.asker, region: v.Region, caseID: v.CaseID, dedupe: "reopening.decided/" + id.String()})
		_, err = a.Exec(ctx, `UPDATE reopenings SET verdict = $2, decided_by = $3, decided_at = $4, version = version + 1 WHERE id = $1`, id, out.Status, a.actor.staff, at)
		return err
	})
	if err != nil {
		return ReopeningView{}, err
	}
	return out, nil
}

// stepName is a step in words.
func stepName(step string, l lang.Locale) string { return l.Say("step."+step, nil) }
