package registry

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
)

// Question is what a protocol asks one seat of a case.
type Question struct {
	CaseID uuid.UUID      `json:"case"`
	Step   string         `json:"step"`
	Round  int            `json:"round"`
	Seat   string         `json:"seat"` // name#n when several people of one seat are asked
	Role   policy.Role    `json:"role"`
	Rule   rules.Key      `json:"rule"`            // how long there is to answer
	From   time.Time      `json:"from,omitzero"`   // from when that counts; At when zero
	DueAt  time.Time      `json:"due_at,omitzero"` // the deadline itself, when no rule counts it
	Args   map[string]any `json:"args,omitempty"`
	At     time.Time      `json:"at"`
}

// Ticket is an opened task: its deadline, and the instants of its reminders and escalations.
type Ticket struct {
	TaskID      uuid.UUID   `json:"task"`
	Due         time.Time   `json:"due"`
	Reminders   []time.Time `json:"reminders,omitempty"`
	Escalations []time.Time `json:"escalations,omitempty"`
	PausedUntil time.Time   `json:"paused_until,omitzero"` // its clock stands still, until then at the latest
	Level       int         `json:"level,omitempty"`       // rungs escalated, of a ladder that was set anew
	// Outcome is the answer when the task has one already: a protocol that is started again from its rows meets it.
	Outcome *forms.Outcome `json:"outcome,omitempty"`

	asked taskRow // whom the question went to
}

// AskTask opens a task, or finds the one that was opened for the same case, step, round and seat, with the deadline it
// was opened with.
func (s *Store) AskTask(ctx context.Context, actor Actor, q Question) (Ticket, error) {
	var out Ticket
	err := s.act(ctx, actor, "AskTask", policy.ForCase, func(ctx context.Context, a *act) error {
		a.at = q.At
		c, err := a.readCase(ctx, q.CaseID, false)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Case, c.record(nil)); err != nil {
			return err
		}
		if c.Status != "open" {
			return stale("case")
		}
		out, err = a.openTask(ctx, c, q)
		return err
	})
	return out, err
}

func (a *act) openTask(ctx context.Context, c caseRow, q Question) (Ticket, error) {
	from := q.From
	if from.IsZero() {
		from = q.At
	}
	in := a.rules(c.Region)
	cal, err := a.calendar(ctx, c.Region)
	if err != nil {
		return Ticket{}, err
	}
	var d rules.Deadline
	if q.DueAt.IsZero() {
		d = in.Deadline(q.Rule, from, cal, Zone)
	} else {
		d = in.DeadlineAt(q.DueAt, from, cal, Zone)
	}
	ticket := Ticket{TaskID: newID(), Due: d.Due, Reminders: d.Reminders, Escalations: d.Escalations}
	rank := rankOf(in, d.Due, cal)
	name, _, _ := strings.Cut(q.Seat, "#")
	args := jsonArgs(q.Args)
	var office *uuid.UUID // an enrolment has no table: its office is the case's
	if name == SeatOffice {
		office = &c.Organisation
	}
	var inserted bool
	var status string
	var outcome []byte
	var organisation *uuid.UUID
	var resumes *time.Time
	err = a.QueryRow(ctx, `
		WITH opened AS (
			INSERT INTO tasks (id, case_id, step, round, seat, role, organisation_id, region, status, opened_at, due_at, provisional, args, urgency, rank_at)
			SELECT $1, $2, $3, $4, $5, $6,
				CASE WHEN $12 THEN NULL ELSE coalesce((SELECT organisation_id FROM case_parties WHERE case_id = $2 AND seat = $7), $14) END,
				$8, 'open', $9, $10, $11, $13, u.urgency, `+ranked("u.urgency", "$10", "$16", "$17")+`
			FROM (SELECT CASE WHEN $15 THEN urgency_of_case($2) ELSE '' END AS urgency) u
			ON CONFLICT (case_id, step, round, seat) DO NOTHING
			RETURNING id, due_at, status, answer_id, organisation_id, resumes_at, true AS fresh)
		SELECT t.id, t.due_at, t.status, t.fresh, w.outcome, t.organisation_id, t.resumes_at FROM (
			SELECT * FROM opened
			UNION ALL
			SELECT id, due_at, status, answer_id, organisation_id, resumes_at, false FROM tasks WHERE case_id = $2 AND step = $3 AND round = $4 AND seat = $5
		) t LEFT JOIN answers w ON w.id = t.answer_id LIMIT 1`,
		ticket.TaskID, c.ID, q.Step, q.Round, q.Seat, string(q.Role), name, string(c.Region), a.at, d.Due, d.Provisional, anyOffice(q.Role), args, office,
		c.Protocol == StemCellProtocol || c.Protocol == SearchProtocol, rank.urgent, rank.critical).
		Scan(&ticket.TaskID, &ticket.Due, &status, &inserted, &outcome, &organisation, &resumes)
	if err != nil {
		return Ticket{}, err
	}
	ticket.asked = taskRow{Role: q.Role, Region: c.Region}
	if organisation != nil {
		ticket.asked.Organisation = *organisation
	}
	if inserted {
		a.tell(notice{
			code: "task.opened", args: map[string]any{"Step": q.Step}, role: string(q.Role), region: c.Region, organisation: ticket.asked.Organisation,
			caseID: c.ID, taskID: ticket.TaskID, dedupe: "task.opened/" + ticket.TaskID.String(),
		})
		return ticket, nil
	}
	if resumes != nil {
		ticket.PausedUntil = *resumes
	}
	if !ticket.Due.Equal(d.Due) {
		again := in.DeadlineAt(ticket.Due, a.at, cal, Zone)
		ticket.Reminders, ticket.Escalations = again.Reminders, again.Escalations
	}
	if status == "done" && outcome != nil {
		ticket.Outcome = new(forms.Outcome)
		return ticket, json.Unmarshal(outcome, ticket.Outcome)
	}
	if status != "open" {
		return Ticket{}, stale("task")
	}
	return ticket, nil
}

// anyOffice tells that a role's tasks belong to every office of the region and not to one organisation: whoever
// coordinates there may take them.
func anyOffice(role policy.Role) bool { return role == policy.Coordinator }

// closeTasks ends every open task of a case without an answer.
func (a *act) closeTasks(ctx context.Context, caseID uuid.UUID, how string) error {
	_, err := a.closed(ctx, caseID, how)
	return err
}

// closed is closeTasks for who wants to know which they were.
func (a *act) closed(ctx context.Context, caseID uuid.UUID, how string) ([]uuid.UUID, error) {
	rows, err := a.Query(ctx, `UPDATE tasks SET status = $2, closed_at = $3, version = version + 1 WHERE case_id = $1 AND status = 'open' RETURNING id`, caseID, how, a.at)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// Nudge is a reminder or an escalation of a task. Level 0 reminds whoever was asked; level n tells the office n rungs up
// the region tree.
type Nudge struct {
	TaskID uuid.UUID `json:"task"`
	Level  int       `json:"level"`
	At     time.Time `json:"at"`
}

// NudgeTask writes a reminder or an escalation. Nudging a task that is closed, or the same level twice, changes nothing.
func (s *Store) NudgeTask(ctx context.Context, actor Actor, n Nudge) error {
	return s.act(ctx, actor, "NudgeTask", policy.ForCase, func(ctx context.Context, a *act) error {
		a.at = n.At
		t, err := a.readTask(ctx, n.TaskID, true)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Case, t.record()); err != nil {
			return err
		}
		if t.Status != "open" || t.Paused || n.Level > 0 && t.Level >= n.Level {
			return nil
		}
		heard := t.heard(n.Level)
		tell := notice{
			code: "task.reminder", args: map[string]any{"Step": t.Step}, role: heard.role, region: heard.region, organisation: heard.organisation,
			caseID: t.CaseID, taskID: t.ID, dedupe: "task.reminder/" + t.ID.String() + "/" + n.At.UTC().Format(time.RFC3339),
		}
		event := "task.reminded"
		args := map[string]any{"Step": t.Step}
		if n.Level > 0 {
			tell.code, tell.urgent = "task.escalated", n.Level > 1
			tell.dedupe = "task.escalated/" + t.ID.String() + "/" + string(rune('0'+n.Level))
			if t.Extended+t.Pauses > 0 { // the ladder of a later deadline tells again
				tell.dedupe += "/" + t.DueAt.UTC().Format(time.RFC3339)
			}
			event, args["Level"] = "task.escalated", n.Level
		}
		a.tell(tell)
		a.event(Event{Code: event, CaseID: t.CaseID, Args: args})
		_, err = a.Exec(ctx, `
			UPDATE tasks SET level = greatest(level, $2), reminded_at = CASE WHEN $2 = 0 THEN $3 ELSE reminded_at END, version = version + 1 WHERE id = $1`, t.ID, n.Level, a.at)
		return err
	})
}

// hearer is who is told of a task.
type hearer struct {
	role         string
	region       identity.Region
	organisation uuid.UUID
}

// heard is who is told of a task that waits: at level 0, which is a reminder, whoever was asked; at level n the office n rungs up the
// region tree.
func (t taskRow) heard(level int) hearer {
	if level == 0 {
		return hearer{string(t.Role), t.Region, t.Organisation}
	}
	region := t.Region
	for range level - 1 {
		region = region.Parent()
	}
	return hearer{role: escalatesTo(t.Role, region), region: region}
}

// escalatesTo is who is told when a role does not answer: registrars' work goes to registrars further up, an office's to
// the office of the region, everybody else's to the coordinators of the region, who chase.
func escalatesTo(role policy.Role, region identity.Region) string {
	switch role {
	case policy.Registrar:
		return string(policy.Registrar)
	case policy.CountyOffice, policy.CityOffice, policy.ProvincialOffice:
		return string(officeRole(region))
	default:
		return string(policy.Coordinator)
	}
}

type taskRow struct {
	ID           uuid.UUID
	CaseID       uuid.UUID
	CaseNumber   string
	Protocol     Protocol
	Step         string
	Round        int
	Seat         string
	Role         policy.Role
	Organisation uuid.UUID
	Region       identity.Region
	Assignee     uuid.UUID
	Status       string
	Level        int
	OpenedAt     time.Time
	DueAt        time.Time
	Provisional  bool
	Args         map[string]any
	Version      int64
	Paused       bool
	Extended     int
	Pauses       int
}

const taskColumns = `t.id, t.case_id, c.number, c.protocol, t.step, t.round, t.seat, t.role, coalesce(t.organisation_id, '00000000-0000-0000-0000-000000000000'),
	t.region, coalesce(t.assignee_id, '00000000-0000-0000-0000-000000000000'), t.status, t.level, t.opened_at, t.due_at, t.provisional, t.args, t.version, t.paused_at IS NOT NULL, t.extended, t.pauses`

func scanTask(row pgx.CollectableRow) (t taskRow, err error) {
	return t, row.Scan(&t.ID, &t.CaseID, &t.CaseNumber, &t.Protocol, &t.Step, &t.Round, &t.Seat, &t.Role, &t.Organisation, &t.Region, &t.Assignee,
		&t.Status, &t.Level, &t.OpenedAt, &t.DueAt, &t.Provisional, &t.Args, &t.Version, &t.Paused, &t.Extended, &t.Pauses)
}

func (a *act) readTask(ctx context.Context, id uuid.UUID, lock bool) (taskRow, error) {
	query := `SELECT ` + taskColumns + ` FROM tasks t JOIN cases c ON c.id = t.case_id WHERE t.id = $1`
	if lock {
		query += ` FOR UPDATE OF t`
	}
	rows, err := a.Query(ctx, query, id)
	if err != nil {
		return taskRow{}, err
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTask)
	if errors.Is(err, pgx.ErrNoRows) {
		return taskRow{}, a.absent("task", id)
	}
	return t, err
}

// record is what the policy is asked about for a task: it is assigned to its organisation, or open to the offices of
// its region.
func (t taskRow) record() record {
	return record{kind: "task", id: t.ID.String(), region: t.Region, office: t.Organisation, person: t.Assignee}
}

// TaskView is a task as whoever may answer it sees it.
type TaskView struct {
	ID          uuid.UUID       `json:"id" class:"case" mask:"drop"`
	CaseID      uuid.UUID       `json:"case" class:"case" mask:"drop"`
	CaseNumber  string          `json:"case_number" class:"case" mask:"drop"`
	Protocol    Protocol        `json:"protocol" class:"case" mask:"drop"`
	Step        string          `json:"step" class:"case" mask:"drop"`
	Title       string          `json:"title" class:"case" mask:"drop"`
	Round       int             `json:"round" class:"case" mask:"drop"`
	Seat        string          `json:"seat" class:"case" mask:"drop"`
	Role        policy.Role     `json:"role" class:"case" mask:"drop"`
	Region      identity.Region `json:"region" class:"case" mask:"drop"`
	Status      string          `json:"status" class:"case" mask:"drop"`
	Level       int             `json:"level" doc:"How many rungs up the region tree it was escalated." class:"case" mask:"drop"`
	OpenedAt    time.Time       `json:"opened_at" class:"case" mask:"drop"`
	DueAt       time.Time       `json:"due_at" class:"case" mask:"drop"`
	Provisional bool            `json:"provisional,omitempty" doc:"The deadline was counted over days whose calendar is not published yet." class:"case" mask:"drop"`
	Args        map[string]any  `json:"args,omitempty" class:"case" mask:"drop"`
	Mine        bool            `json:"mine" doc:"The reader may answer it." class:"case" mask:"drop"`
	Version     int64           `json:"version" class:"open" mask:"none"`
}

func (a *act) taskView(t taskRow, l lang.Locale) TaskView {
	region := t.Region
	if seat, _, _ := strings.Cut(t.Seat, "#"); seat == SeatTransplant && t.Protocol == StemCellProtocol {
		region = provinceOf(region) // the region is the donor's, and the task the patient's side's
	}
	return TaskView{
		ID: t.ID, CaseID: t.CaseID, CaseNumber: t.CaseNumber, Protocol: t.Protocol, Step: t.Step, Title: l.Say("step."+t.Step, nil), Round: t.Round, Seat: t.Seat,
		Role: t.Role, Region: region, Status: t.Status, Level: t.Level, OpenedAt: t.OpenedAt, DueAt: t.DueAt, Provisional: t.Provisional, Args: t.Args,
		Mine: t.Status == "open" && a.mayAnswer(t) == nil, Version: t.Version,
	}
}

// mayAnswer tells whether the actor may answer a task: the policy lets them decide, and they hold the very role that is
// asked, in the region it is asked in.
func (a *act) mayAnswer(t taskRow) error {
	d, st := a.may(policy.Decide, policy.Case, t.record())
	if !d.Allowed || !a.policy.Holds(a.actor.policySubject(), t.Role, regionPath(st.region)) {
		return &Error{Kind: Denied, Code: "task_not_yours", Args: map[string]any{"Role": string(t.Role)}}
	}
	return nil
}

// tasksOf lists the tasks of a case that a side may see.
func (a *act) tasksOf(ctx context.Context, c caseRow, side Side, seats map[string]seat) ([]TaskView, error) {
	rows, err := a.taskRows(ctx, c.ID)
	return a.taskViews(rows, side, seats), err
}

func (a *act) taskViews(rows []taskRow, side Side, seats map[string]seat) []TaskView {
	out := make([]TaskView, 0, len(rows))
	for _, t := range rows {
		if side == PatientSide && t.side(seats) != PatientSide {
			continue
		}
		out = append(out, a.taskView(t, a.actor.Locale))
	}
	return out
}

// taskRows reads every task of a case, in the order in which they were opened.
func (a *act) taskRows(ctx context.Context, caseID uuid.UUID) (out []taskRow, err error) {
	var b pgx.Batch
	queueTasks(&b, caseID, &out)
	return out, a.SendBatch(ctx, &b).Close()
}

func queueTasks(b *pgx.Batch, caseID uuid.UUID, out *[]taskRow) {
	b.Queue(`SELECT `+taskColumns+` FROM tasks t JOIN cases c ON c.id = t.case_id WHERE t.case_id = $1 ORDER BY t.opened_at, t.id`, caseID).Query(func(rows pgx.Rows) (err error) {
		*out, err = pgx.CollectRows(rows, scanTask)
		return err
	})
}

// side is the side of the table at which a task is asked; what nobody at the table is asked is the donor's side's.
func (t taskRow) side(seats map[string]seat) Side {
	name, _, _ := strings.Cut(t.Seat, "#")
	if Side(seats[name].Side) == PatientSide {
		return PatientSide
	}
	return DonorSide
}

// TaskFilter narrows the worklist.
type TaskFilter struct {
	Step     string
	Protocol Protocol
	CaseID   uuid.UUID
	DueTo    time.Time // tasks due before this instant
	After    time.Time // for the next page: tasks due at or after …
	AfterID  uuid.UUID // … this one
	Limit    int
}

// ListTasks returns the open tasks that the actor may answer, the most urgent first.
func (r *Reader) ListTasks(ctx context.Context, actor Actor, f TaskFilter) ([]TaskView, error) {
	var out []TaskView
	err := r.act(ctx, actor, "ListTasks", policy.ForCase, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Decide, policy.Case)
		if f.DueTo.IsZero() {
			f.DueTo = calendar.Must(9999, time.December, 31).Start(Zone)
		}
		rows, err := a.Query(ctx, `
			SELECT `+taskColumns+` FROM tasks t JOIN cases c ON c.id = t.case_id
			WHERE t.status = 'open' AND ($1 = '' OR t.step = $1) AND ($2 = '' OR c.protocol = $2) AND t.due_at < $3 AND (t.due_at, t.id) > ($4, $5)
				AND (($6 AND (t.organisation_id = $7 OR t.assignee_id = $8))
					OR EXISTS (SELECT FROM unnest($9::text[], $10::text[]) s(lo, hi) WHERE t.region >= lo AND t.region < hi))
				AND ($11::uuid IS NULL OR t.case_id = $11)
			ORDER BY t.due_at, t.id LIMIT $12`,
			f.Step, string(f.Protocol), f.DueTo, f.After, f.AfterID, within.office, within.organisation, a.actor.staff, within.lo, within.hi, null(f.CaseID), pageSize(f.Limit))
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, scanTask)
		if err != nil {
			return err
		}
		out = make([]TaskView, 0, len(found))
		for _, t := range found {
			out = append(out, a.taskView(t, actor.Locale))
		}
		return a.permitList(policy.Case, within, "tasks", idsOf(out, func(t TaskView) uuid.UUID { return t.ID }),
			a.narrowed("step", f.Step), a.narrowed("protocol", string(f.Protocol)), a.narrowed("case", textOf(f.CaseID)))
	})
	return out, err
}

// ShowTask returns one task.
func (r *Reader) ShowTask(ctx context.Context, actor Actor, id uuid.UUID) (TaskView, error) {
	var out TaskView
	err := r.act(ctx, actor, "ShowTask", policy.ForCase, func(ctx context.Context, a *act) error {
		t, err := a.readTask(ctx, id, false)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Case, t.record()); err != nil {
			return err
		}
		out = a.taskView(t, actor.Locale)
		return nil
	})
	return out, err
}
