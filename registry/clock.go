package registry

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// The clock of a task. Whoever answers it may give themselves more time, as often and as much as the rules say; beyond that a supervisor
// decides. While somebody else is waited for the clock may stand still: nobody is reminded, nothing goes up the ladder, and when it runs
// again the deadline lies as many working days later as it stood. It is asked for here and carried out by the desk, whose timers it
// moves: the request is kept until then, as an answer is.

// The kinds of what is asked of a clock.
const (
	MoreTime = "more_time"
	Pause    = "pause"
	Resume   = "resume"
)

// MoreTimeForm asks for a later deadline.
type MoreTimeForm struct {
	Reason string        `json:"reason" validate:"required,oneof=waiting_donor waiting_hospital waiting_laboratory waiting_family workload other"`
	Until  calendar.Date `json:"until" validate:"required" doc:"The day by whose end of office hours it will be answered."`
}

// PauseForm stops a clock.
type PauseForm struct {
	Reason string        `json:"reason" validate:"required,oneof=waiting_donor waiting_hospital waiting_laboratory waiting_family"`
	Until  calendar.Date `json:"until" validate:"required" doc:"When it runs again by itself, if nobody lets it run before."`
}

// ClockVerdict is what a supervisor says to a request for more time.
type ClockVerdict struct {
	Verdict string `json:"verdict" validate:"required,oneof=grant refuse"`
}

// ClockAsk is what somebody asks of a task's clock.
type ClockAsk struct {
	TaskID  uuid.UUID
	Version int64 // of the task as it was read; zero does not check
	Command string
	Kind    string
	Reason  string
	Until   calendar.Date
}

// ClockRequest is what was asked of a clock, and what became of it.
type ClockRequest struct {
	ID       uuid.UUID  `json:"id" class:"case" mask:"drop"`
	TaskID   uuid.UUID  `json:"task" class:"case" mask:"drop"`
	CaseID   uuid.UUID  `json:"case" class:"case" mask:"drop"`
	Number   string     `json:"case_number" class:"case" mask:"drop"`
	Protocol Protocol   `json:"protocol" class:"case" mask:"drop"`
	Step     string     `json:"step" class:"case" mask:"drop"`
	Kind     string     `json:"kind" doc:"more_time, pause or resume." class:"case" mask:"drop"`
	Reason   string     `json:"reason,omitempty" class:"case" mask:"drop"`
	Until    *time.Time `json:"until,omitempty" class:"case" mask:"drop"`
	Status   string     `json:"status" doc:"waiting for a supervisor, pending at the desk, done or refused." class:"case" mask:"drop"`
	Refused  string     `json:"refused,omitempty" doc:"The code of what stood against it." class:"case" mask:"drop"`
	AskedBy  uuid.UUID  `json:"asked_by" class:"case" mask:"drop"`
	Asker    string     `json:"asker" class:"case" mask:"drop"`
	AskedAt  time.Time  `json:"asked_at" class:"case" mask:"drop"`
	DueAt    time.Time  `json:"due_at" doc:"The task's deadline as it is." class:"case" mask:"drop"`
	Extended int        `json:"extended" doc:"How often more time was given before." class:"case" mask:"drop"`
	Version  int64      `json:"version" class:"open" mask:"none"`
	Decider  uuid.UUID  `json:"-"` // whose act it is at the desk
}

const clockColumns = `k.id, k.task_id, k.case_id, c.number, c.protocol, t.step, k.kind, k.reason, k.until, k.status, k.refused_code, k.asked_by, s.display_name, k.asked_at, t.due_at, t.extended, k.version,
	coalesce(k.decided_by, k.asked_by)`

const clockTables = ` FROM clock_requests k JOIN tasks t ON t.id = k.task_id JOIN cases c ON c.id = k.case_id JOIN staff s ON s.id = k.asked_by `

func scanClock(row pgx.CollectableRow) (k ClockRequest, err error) {
	return k, row.Scan(&k.ID, &k.TaskID, &k.CaseID, &k.Number, &k.Protocol, &k.Step, &k.Kind, &k.Reason, &k.Until, &k.Status, &k.Refused, &k.AskedBy, &k.Asker, &k.AskedAt, &k.DueAt, &k.Extended, &k.Version, &k.Decider)
}

// readClock reads a request; lock keeps others from deciding it.
func (a *act) readClock(ctx context.Context, id uuid.UUID, lock bool) (ClockRequest, error) {
	query := `SELECT ` + clockColumns + clockTables + `WHERE k.id = $1`
	if lock {
		query += ` FOR UPDATE OF k`
	}
	rows, err := a.Query(ctx, query, id)
	if err != nil {
		return ClockRequest{}, err
	}
	k, err := pgx.CollectExactlyOneRow(rows, scanClock)
	if errors.Is(err, pgx.ErrNoRows) {
		return k, a.absent("clock", id)
	}
	return k, err
}

// clockOf is how a task's clock stands.
type clockOf struct {
	urgency           string
	pausedAt, resumes *time.Time
	pauses, extended  int
}

func (a *act) clockOf(ctx context.Context, task uuid.UUID) (k clockOf, err error) {
	return k, a.QueryRow(ctx, `SELECT urgency, paused_at, resumes_at, pauses, extended FROM tasks WHERE id = $1`, task).Scan(&k.urgency, &k.pausedAt, &k.resumes, &k.pauses, &k.extended)
}

// AskClock asks for more time, a pause, or its end. What the rules leave to whoever answers the task waits for the desk only (pending);
// what goes beyond waits for a supervisor. The same command on the same task is the same request.
//
// Errors: Refused when the clock stands otherwise or a rule is against it, Conflict when something is asked of it already or somebody else
// is at the task.
func (s *Store) AskClock(ctx context.Context, actor Actor, in ClockAsk) (ClockRequest, error) {
	var out ClockRequest
	err := s.act(ctx, actor, "AskClock", policy.ForCase, func(ctx context.Context, a *act) error {
		a.repeats = true
		t, err := a.readTask(ctx, in.TaskID, true)
		if err != nil {
			return err
		}
		if in.Kind == Resume { // who supervises a task may let its clock run
			err = a.permitWork(t)
		} else if err = a.permit(policy.Decide, policy.Case, t.record()); err == nil {
			err = a.mayAnswer(t)
		}
		if err != nil {
			return err
		}
		a.entries[len(a.entries)-1].Reason = in.Reason
		var known uuid.UUID
		err = a.QueryRow(ctx, `SELECT id FROM clock_requests WHERE task_id = $1 AND asked_by = $2 AND command = $3`, in.TaskID, actor.staff, in.Command).Scan(&known)
		if err == nil {
			out, err = a.readClock(ctx, known, false)
			return err
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		switch {
		case in.Version != 0 && in.Version != t.Version:
			return stale("task")
		case t.Status != "open":
			return refused("task_closed", "Status", t.Status)
		}
		if err := a.notHeld(ctx, t.ID); err != nil {
			return err
		}
		until, status, err := a.clockAllows(ctx, t, in)
		if err != nil {
			return err
		}
		id := newID()
		_, err = a.Exec(ctx, `
			INSERT INTO clock_requests (id, task_id, case_id, kind, reason, until, asked_by, asked_at, command, status, purpose, next_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now() + interval '15 seconds')`,
			id, t.ID, t.CaseID, in.Kind, in.Reason, until, actor.staff, a.at, in.Command, status, string(a.purpose))
		if err != nil {
			return err
		}
		if status == "waiting" {
			args := map[string]any{"Step": t.Step, "Case": t.CaseNumber, "Until": calendar.Of(*until, Zone).String(), "Reason": in.Reason}
			a.event(Event{Code: "task.more_time_asked", CaseID: t.CaseID, Args: args})
			a.tell(notice{code: "task.more_time_asked", args: args, role: string(officeRole(t.Region)), region: t.Region, caseID: t.CaseID, taskID: t.ID, dedupe: "clock/" + id.String()})
		}
		out, err = a.readClock(ctx, id, false)
		return err
	})
	return out, err
}

// clockAllows holds a request against the rules: until when it goes, and whether a supervisor has to decide.
func (a *act) clockAllows(ctx context.Context, t taskRow, in ClockAsk) (until *time.Time, status string, err error) {
	k, err := a.clockOf(ctx, t.ID)
	if err != nil {
		return nil, "", err
	}
	if in.Kind == Resume {
		if k.pausedAt == nil {
			return nil, "", refused("task_not_paused")
		}
		return nil, "pending", nil
	}
	var problems forms.Problems
	if in.Kind == MoreTime {
		problems = forms.Check(MoreTimeForm{in.Reason, in.Until})
	} else {
		problems = forms.Check(PauseForm{in.Reason, in.Until})
	}
	if len(problems) == 0 && in.Until.Before(a.today()) {
		problems = forms.Problems{{Code: "R139", Field: "until"}}
	}
	if len(problems) > 0 {
		return nil, "", invalid(problems)
	}
	if k.pausedAt != nil {
		return nil, "", refused("task_paused")
	}
	cal, err := a.calendar(ctx, t.Region)
	if err != nil {
		return nil, "", err
	}
	r := a.rules(t.Region)
	at := r.Closing(in.Until, cal, Zone)
	if in.Kind == Pause {
		longest := r.Span(rules.DeskPause)
		switch times := r.Count(rules.DeskPauses); {
		case k.pauses >= times:
			return nil, "", refused("pause_too_often", "Times", times)
		case in.Until.After(longest.On(a.today(), cal)):
			return nil, "", refused("pause_too_long", "Days", longest.N)
		case !at.After(a.at):
			return nil, "", invalid(forms.Problems{{Code: "R139", Field: "until"}})
		}
		return &at, "pending", nil
	}
	day := calendar.Of(t.DueAt.Add(-time.Second), Zone)
	status = "pending"
	switch {
	case !at.After(t.DueAt) || !at.After(a.at):
		return nil, "", refused("more_time_not_later", "Due", clockTime(t.DueAt))
	case k.extended >= r.Count(rules.DeskMoreTimes), in.Until.After(r.Span(rules.DeskMoreTime).On(day, cal)):
		status = "waiting"
	}
	return &at, status, nil
}

// DecideClock grants more time beyond the rules, or refuses it. Nobody decides what they asked for themselves. What is granted waits for the
// desk.
func (s *Store) DecideClock(ctx context.Context, actor Actor, id uuid.UUID, version int64, f ClockVerdict) (ClockRequest, error) {
	var out ClockRequest
	err := s.act(ctx, actor, "DecideClock", policy.ForAdministration, func(ctx context.Context, a *act) error {
		k, err := a.readClock(ctx, id, true)
		if err != nil {
			return err
		}
		t, err := a.readTask(ctx, k.TaskID, false)
		if err != nil {
			return err
		}
		if err := a.permitSupervision(t); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		switch {
		case k.AskedBy == actor.staff:
			return refused("own_request")
		case version != 0 && version != k.Version:
			return stale("clock")
		case k.Status != "waiting":
			return refused("clock_decided", "Status", k.Status)
		}
		status, code := "pending", ""
		if f.Verdict == "refuse" {
			status, code = "refused", "supervisor_refused"
		}
		_, err = a.Exec(ctx, `UPDATE clock_requests SET status = $2, refused_code = $3, decided_by = $4, decided_at = $5, next_at = CASE WHEN $2 = 'pending' THEN now() + interval '15 seconds' END, version = version + 1 WHERE id = $1`,
			id, status, code, actor.staff, a.at)
		if err != nil {
			return err
		}
		args := map[string]any{"Step": t.Step, "Case": t.CaseNumber, "Until": calendar.Of(*k.Until, Zone).String()}
		told := "task.more_time_granted"
		if status == "refused" {
			told = "task.more_time_refused"
			a.event(Event{Code: "task.more_time_refused", CaseID: t.CaseID, Args: args})
		}
		a.tell(notice{code: told, args: args, staff: k.AskedBy, region: t.Region, caseID: t.CaseID, taskID: t.ID, dedupe: "clock/" + id.String() + "/" + status})
		out, err = a.readClock(ctx, id, false)
		return err
	})
	return out, err
}

// ListClocks lists what waits for a supervisor in the actor's regions, the oldest first.
func (r *Reader) ListClocks(ctx context.Context, actor Actor, after uuid.UUID, limit int) ([]ClockRequest, error) {
	var out []ClockRequest
	err := r.act(ctx, actor, "ListClocks", policy.ForAdministration, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Decide, policy.Case)
		rows, err := a.Query(ctx, `
			SELECT `+clockColumns+clockTables+`WHERE k.status = 'waiting' AND k.id > $1
				AND EXISTS (SELECT FROM unnest($2::text[], $3::text[]) s(lo, hi) WHERE t.region >= lo AND t.region < hi) ORDER BY k.id LIMIT $4`, after, within.lo, within.hi, pageSize(limit))
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, scanClock); err != nil {
			return err
		}
		return a.permitList(policy.Case, within, "clocks", idsOf(out, func(k ClockRequest) uuid.UUID { return k.ID }))
	})
	return out, err
}

// ClockChange is a request as the desk carries it out.
type ClockChange struct {
	RequestID uuid.UUID `json:"request"`
	Staff     uuid.UUID `json:"staff"` // whose act it is
	At        time.Time `json:"at"`
}

// SetClock carries a request out: in one transaction the task's deadline moves, or its clock stops or runs, with its line in the timeline.
// A retry finds it done. It is the act of whoever asked, or of the supervisor who granted it: what they may do is decided again.
func (s *Store) SetClock(ctx context.Context, actor Actor, in ClockChange) (Ticket, error) {
	var out Ticket
	err := s.act(ctx, actor, "SetClock", policy.ForCase, func(ctx context.Context, a *act) error {
		a.at = in.At
		k, err := a.readClock(ctx, in.RequestID, true)
		if err != nil {
			return err
		}
		t, err := a.readTask(ctx, k.TaskID, true)
		if err != nil {
			return err
		}
		if k.AskedBy == k.Decider && k.Kind != Resume {
			if err = a.permit(policy.Decide, policy.Case, t.record()); err == nil {
				err = a.mayAnswer(t)
			}
		} else {
			err = a.permitWork(t)
		}
		if err != nil {
			return err
		}
		switch {
		case k.Decider != actor.staff:
			return stale("clock")
		case k.Status == "done":
			out, err = a.ticketOf(ctx, t)
			return err
		case k.Status == "refused":
			return refused(k.Refused)
		case k.Status != "pending":
			return stale("clock")
		case t.Status != "open":
			return refused("task_closed", "Status", t.Status)
		}
		how, err := a.clockOf(ctx, t.ID)
		if err != nil {
			return err
		}
		switch {
		case k.Kind == Resume && how.pausedAt != nil:
			t, err = a.resume(ctx, t, how)
		case k.Kind == Resume: // it ran by itself meanwhile
		case how.pausedAt != nil:
			return refused("task_paused")
		case k.Kind == Pause:
			_, err = a.Exec(ctx, `UPDATE tasks SET paused_at = $2, paused_for = $3, resumes_at = $4, pauses = pauses + 1, version = version + 1 WHERE id = $1`, t.ID, a.at, k.Reason, *k.Until)
			a.event(Event{Code: "task.paused", CaseID: t.CaseID, Args: map[string]any{"Step": t.Step, "Reason": k.Reason, "Until": calendar.Of(*k.Until, Zone).String()}})
		default:
			t, err = a.moveDeadline(ctx, t, *k.Until, true)
			a.event(Event{Code: "task.more_time", CaseID: t.CaseID, Args: map[string]any{"Step": t.Step, "Reason": k.Reason, "Until": calendar.Of(*k.Until, Zone).String()}})
		}
		if err != nil {
			return err
		}
		if _, err := a.Exec(ctx, `UPDATE clock_requests SET status = 'done', next_at = NULL, version = version + 1 WHERE id = $1`, k.ID); err != nil {
			return err
		}
		a.moved()
		out, err = a.ticketOf(ctx, t)
		return err
	})
	return out, err
}

// TaskAt names a task at an instant.
type TaskAt struct {
	TaskID uuid.UUID `json:"task"`
	At     time.Time `json:"at"`
}

// ResumeTask lets a clock run whose pause is over. One that runs already stays as it is.
func (s *Store) ResumeTask(ctx context.Context, actor Actor, in TaskAt) (Ticket, error) {
	var out Ticket
	err := s.act(ctx, actor, "ResumeTask", policy.ForCase, func(ctx context.Context, a *act) error {
		a.at = in.At
		t, err := a.readTask(ctx, in.TaskID, true)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Case, t.record()); err != nil {
			return err
		}
		how, err := a.clockOf(ctx, t.ID)
		if err != nil {
			return err
		}
		if t.Status == "open" && how.pausedAt != nil && !a.at.Before(*how.resumes) {
			if t, err = a.resume(ctx, t, how); err != nil {
				return err
			}
			a.tell(notice{code: "task.resumed", args: map[string]any{"Step": t.Step}, role: string(t.Role), region: t.Region, organisation: t.Organisation, staff: t.Assignee, caseID: t.CaseID, taskID: t.ID,
				dedupe: "task.resumed/" + t.ID.String() + "/" + a.at.UTC().Format(time.RFC3339)})
		}
		out, err = a.ticketOf(ctx, t)
		return err
	})
	return out, err
}

// resume lets a clock run again: the deadline lies as much later as the clock stood, in working days where it is one of working days.
func (a *act) resume(ctx context.Context, t taskRow, how clockOf) (taskRow, error) {
	cal, err := a.calendar(ctx, t.Region)
	if err != nil {
		return t, err
	}
	due := shifted(t.DueAt, *how.pausedAt, a.at, a.rules(t.Region), cal)
	if t, err = a.moveDeadline(ctx, t, due, false); err != nil {
		return t, err
	}
	a.event(Event{Code: "task.resumed", CaseID: t.CaseID, Args: map[string]any{"Step": t.Step, "Until": clockTime(t.DueAt)}})
	return t, nil
}

// shifted is a deadline after its clock stood still from one instant to another. One at the end of office hours or of a day moves by whole
// working days; one that is counted in hours by the time itself.
func shifted(due, from, to time.Time, in rules.Rules, cal *calendar.Calendar) time.Time {
	day := calendar.Of(due.Add(-time.Second), Zone)
	ofDays := due.Equal(in.Closing(day, cal, Zone)) || due.Equal(day.AddDays(1).Start(Zone))
	if !ofDays {
		return due.Add(to.Sub(from))
	}
	stood := cal.WorkingDaysBetween(calendar.Of(from, Zone), calendar.Of(to, Zone))
	if stood <= 0 {
		return due
	}
	return due.AddDate(0, 0, cal.AddWorkingDays(day, stood).Sub(day))
}

// moveDeadline writes a task's new deadline with its place in the list, and lets its clock run. A deadline that lies ahead begins its ladder
// anew.
func (a *act) moveDeadline(ctx context.Context, t taskRow, due time.Time, more bool) (taskRow, error) {
	cal, err := a.calendar(ctx, t.Region)
	if err != nil {
		return t, err
	}
	r := a.rules(t.Region)
	at := rankOf(r, due, cal)
	t.DueAt, t.Provisional = due, cal.Provisional(calendar.Of(due.Add(-time.Second), Zone))
	if due.After(a.at) {
		t.Level = 0
	}
	t.Version++
	_, err = a.Exec(ctx, `
		UPDATE tasks SET due_at = $2, provisional = $3, level = $4, rank_at = `+ranked("urgency", "$2", "$5", "$6")+`, extended = extended + $7,
			paused_at = NULL, paused_for = '', resumes_at = NULL, version = version + 1 WHERE id = $1`, t.ID, due, t.Provisional, t.Level, at.urgent, at.critical, b2i(more))
	return t, err
}

// ticketOf is a task's ticket as its clock stands.
func (a *act) ticketOf(ctx context.Context, t taskRow) (Ticket, error) {
	cal, err := a.calendar(ctx, t.Region)
	if err != nil {
		return Ticket{}, err
	}
	var resumes *time.Time
	if err := a.QueryRow(ctx, `SELECT resumes_at FROM tasks WHERE id = $1`, t.ID).Scan(&resumes); err != nil {
		return Ticket{}, err
	}
	d := a.rules(t.Region).DeadlineAt(t.DueAt, a.at, cal, Zone)
	out := Ticket{TaskID: t.ID, Due: d.Due, Reminders: d.Reminders, Escalations: d.Escalations, Level: t.Level}
	if resumes != nil {
		out.PausedUntil = *resumes
	}
	return out, nil
}

// PendingClocks are requests that wait for a desk that did not answer when they were brought.
func (s *Store) PendingClocks(ctx context.Context, most int, lease time.Duration) ([]ClockRequest, error) {
	var out []ClockRequest
	err := s.internally(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			WITH taken AS (UPDATE clock_requests SET next_at = now() + make_interval(secs => $2)
				WHERE id IN (SELECT id FROM clock_requests WHERE status = 'pending' AND next_at <= now() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id)
			SELECT `+clockColumns+clockTables+`WHERE k.id IN (SELECT id FROM taken)`, most, lease.Seconds())
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scanClock)
		return err
	})
	return out, err
}

// RefuseClock marks a pending request that its protocol does not take, so that nobody brings it again.
func (s *Store) RefuseClock(ctx context.Context, id uuid.UUID, code string) error {
	return s.internally(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE clock_requests SET status = 'refused', refused_code = $2, decided_at = coalesce(decided_at, now()), next_at = NULL, version = version + 1 WHERE id = $1 AND status = 'pending'`, id, code)
		return err
	})
}
