package workflows

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/temporal"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// memory is a register in memory with one case in it: the acts that the protocols call, under their names. Deadlines are
// the rule packs', counted in the nation's published calendar. What happens to the case is told in its story, one line an
// act, in the office's time.
type memory struct {
	mu     sync.Mutex
	row    registry.Snapshot
	opened time.Time
	story  []string
	calls  map[string]int

	// What the records say beside the case itself.
	stemcell  registry.StemCellFacts
	enrolment registry.EnrolmentFacts
	drive     registry.DriveFacts
	search    registry.SearchFacts
	rights    registry.RightsFacts
	touches   []registry.TouchRow
	chunks    int    // of a batch, still to be done
	lastChunk func() // what happens while the last of them is looked at

	tasks    []*memoryTask
	proposed map[uuid.UUID]proposal
	clocks   map[uuid.UUID]clockAsk
	known    map[string]any // what each command did, by its key
	// trouble is what an act meets before it does anything: nil, or an error.
	trouble func(act string) error
}

type memoryTask struct {
	registry.Ticket
	q      registry.Question
	status string
	level  int

	pausedAt time.Time
}

// clockAsk is a request about a task's clock that the register keeps for the desk.
type clockAsk struct {
	task  *memoryTask
	kind  string
	until time.Time
}

// proposal is an answer that was stored, and waits for the desk.
type proposal struct {
	task    *memoryTask
	outcome forms.Outcome
}

const region = "320106"

func nationalCalendar() *calendar.Calendar {
	cal, err := calendar.Embedded("CN")
	if err != nil {
		panic(err)
	}
	return cal
}

func rulesOn(at time.Time) rules.Rules {
	return rules.Embedded().For(region, calendar.Of(at, registry.Zone))
}

func newMemory(opened time.Time, step string, state any) *memory {
	encoded, err := json.Marshal(state)
	if err != nil {
		panic(err)
	}
	return &memory{
		opened: opened, calls: map[string]int{}, proposed: map[uuid.UUID]proposal{}, known: map[string]any{}, clocks: map[uuid.UUID]clockAsk{},
		row: registry.Snapshot{ID: uuid.New(), Subject: uuid.New(), Region: region, Step: step, State: encoded, Version: 1},
	}
}

// begin is how every act begins.
func (m *memory) begin(act string) (done func(), err error) {
	m.mu.Lock()
	m.calls[act]++
	if m.trouble != nil {
		if err := m.trouble(act); err != nil {
			m.mu.Unlock()
			return nil, err
		}
	}
	return m.mu.Unlock, nil
}

func (m *memory) tell(at time.Time, format string, args ...any) {
	m.story = append(m.story, local(at)+" "+fmt.Sprintf(format, args...))
}

// local writes an instant as the office's clock shows it.
func local(at time.Time) string {
	at = at.In(registry.Zone)
	if at.Second() != 0 {
		return at.Format("2006-01-02 15:04:05")
	}
	return at.Format("2006-01-02 15:04")
}

// LoadStemCell stands for the register's.
func (m *memory) LoadStemCell(context.Context, uuid.UUID) (registry.StemCellFacts, error) {
	done, err := m.begin("LoadStemCell")
	if err != nil {
		return registry.StemCellFacts{}, err
	}
	defer done()
	facts := m.stemcell
	facts.Snapshot = m.row
	return facts, nil
}

// LoadEnrolment stands for the register's.
func (m *memory) LoadEnrolment(context.Context, uuid.UUID) (registry.EnrolmentFacts, error) {
	done, err := m.begin("LoadEnrolment")
	if err != nil {
		return registry.EnrolmentFacts{}, err
	}
	defer done()
	facts := m.enrolment
	facts.Snapshot = m.row
	return facts, nil
}

// LoadDrive stands for the register's.
func (m *memory) LoadDrive(context.Context, uuid.UUID) (registry.DriveFacts, error) {
	done, err := m.begin("LoadDrive")
	if err != nil {
		return registry.DriveFacts{}, err
	}
	defer done()
	facts := m.drive
	facts.Snapshot = m.row
	return facts, nil
}

// LoadSearch stands for the register's.
func (m *memory) LoadSearch(context.Context, uuid.UUID) (registry.SearchFacts, error) {
	done, err := m.begin("LoadSearch")
	if err != nil {
		return registry.SearchFacts{}, err
	}
	defer done()
	facts := m.search
	facts.Snapshot, facts.Requests = m.row, slices.Clone(m.search.Requests)
	return facts, nil
}

// LoadRights stands for the register's.
func (m *memory) LoadRights(_ context.Context, in activities.RulesFor) (registry.RightsFacts, error) {
	done, err := m.begin("LoadRights")
	if err != nil {
		return registry.RightsFacts{}, err
	}
	defer done()
	facts := m.rights
	facts.Snapshot = m.row
	facts.Clock(rulesOn(m.opened), m.opened, in.At, nationalCalendar())
	return facts, nil
}

// LoadCare stands for the register's.
func (m *memory) LoadCare(context.Context, uuid.UUID) (registry.CareFacts, error) {
	done, err := m.begin("LoadCare")
	if err != nil {
		return registry.CareFacts{}, err
	}
	defer done()
	return registry.CareFacts{Snapshot: m.row, Touches: slices.Clone(m.touches)}, nil
}

// LoadCase stands for the register's.
func (m *memory) LoadCase(context.Context, uuid.UUID) (registry.Snapshot, error) {
	done, err := m.begin("LoadCase")
	if err != nil {
		return registry.Snapshot{}, err
	}
	defer done()
	return m.row, nil
}

// LoadRules stands for the register's.
func (m *memory) LoadRules(_ context.Context, in activities.RulesFor) (registry.ProtocolRules, error) {
	done, err := m.begin("LoadRules")
	if err != nil {
		return registry.ProtocolRules{}, err
	}
	defer done()
	r, cal := rulesOn(in.At), nationalCalendar()
	due := func(k rules.Key, from time.Time) time.Time { return r.Deadline(k, from, cal, registry.Zone).Due }
	return registry.ProtocolRules{
		MobilisationMin: r.Count(rules.StemCellMobilisationMin), MobilisationMax: r.Count(rules.StemCellMobilisationMax),
		CollectionDays: r.Count(rules.StemCellCollectionDays), ClearanceSigners: r.Count(rules.StemCellClearanceSigners),
		NeedsTime: due(rules.StemCellNeedsTime, in.At).Sub(in.At), FollowUpWindow: due(rules.StemCellFollowUpWindow, in.At).Sub(in.At),
		Rerun:     time.Duration(r.Span(rules.StemCellRerun).Hours()) * time.Hour,
		SampleDue: due(rules.StemCellSampleDue, m.opened), TypingDue: due(rules.StemCellTypingDue, in.At), SendDue: due(rules.DriveSend, in.At),
	}, nil
}

// AskTask stands for the register's.
func (m *memory) AskTask(_ context.Context, q registry.Question) (registry.Ticket, error) {
	done, err := m.begin("AskTask")
	if err != nil {
		return registry.Ticket{}, err
	}
	defer done()
	if m.row.Ended {
		return registry.Ticket{}, refusal(registry.Stale, "case")
	}
	return m.open(q)
}

func (m *memory) open(q registry.Question) (registry.Ticket, error) {
	from := q.From
	if from.IsZero() {
		from = q.At
	}
	r, cal := rulesOn(q.At), nationalCalendar()
	var d rules.Deadline
	if q.DueAt.IsZero() {
		d = r.Deadline(q.Rule, from, cal, registry.Zone)
	} else {
		d = r.DeadlineAt(q.DueAt, from, cal, registry.Zone)
	}
	for _, t := range m.tasks {
		if t.q.Step != q.Step || t.q.Round != q.Round || t.q.Seat != q.Seat {
			continue
		}
		found := t.Ticket
		again := r.DeadlineAt(found.Due, q.At, cal, registry.Zone)
		found.Reminders, found.Escalations = again.Reminders, again.Escalations
		if t.status != "open" && t.status != "done" {
			return registry.Ticket{}, refusal(registry.Stale, "task")
		}
		return found, nil
	}
	t := &memoryTask{q: q, status: "open", Ticket: registry.Ticket{TaskID: uuid.New(), Due: d.Due, Reminders: d.Reminders, Escalations: d.Escalations}}
	m.tasks = append(m.tasks, t)
	m.tell(q.At, "asks %s %s by %s", q.Seat, q.Step, local(d.Due))
	return t.Ticket, nil
}

// NudgeTask stands for the register's.
func (m *memory) NudgeTask(_ context.Context, n registry.Nudge) (activities.Done, error) {
	done, err := m.begin("NudgeTask")
	if err != nil {
		return activities.Done{}, err
	}
	defer done()
	for _, t := range m.tasks {
		switch {
		case t.TaskID != n.TaskID || t.status != "open" || n.Level > 0 && t.level >= n.Level:
		case n.Level == 0:
			m.tell(n.At, "reminds %s %s", t.q.Seat, t.q.Step)
		default:
			t.level = n.Level
			m.tell(n.At, "escalates %s %s to rung %d", t.q.Seat, t.q.Step, n.Level)
		}
	}
	return activities.Done{}, nil
}

// SetClock stands for the register's: the request is in clocks, under its id.
func (m *memory) SetClock(_ context.Context, in registry.ClockChange) (registry.Ticket, error) {
	done, err := m.begin("SetClock")
	if err != nil {
		return registry.Ticket{}, err
	}
	defer done()
	return remember(m, "clock/"+in.RequestID.String(), func() (registry.Ticket, error) {
		k := m.clocks[in.RequestID]
		if k.task.status != "open" {
			return registry.Ticket{}, refusal(registry.Refused, "task_closed")
		}
		switch k.kind {
		case registry.Pause:
			k.task.PausedUntil, k.task.pausedAt = k.until, in.At
			m.tell(in.At, "stops the clock of %s %s until %s", k.task.q.Seat, k.task.q.Step, local(k.until))
		case registry.Resume:
			m.resume(k.task, in.At)
		default:
			k.task.Due, k.task.level = k.until, 0
			m.tell(in.At, "gives %s %s more time, to %s", k.task.q.Seat, k.task.q.Step, local(k.until))
		}
		return m.reticket(k.task, in.At), nil
	})
}

// ResumeTask stands for the register's.
func (m *memory) ResumeTask(_ context.Context, in registry.TaskAt) (registry.Ticket, error) {
	done, err := m.begin("ResumeTask")
	if err != nil {
		return registry.Ticket{}, err
	}
	defer done()
	for _, t := range m.tasks {
		if t.TaskID == in.TaskID {
			if t.status == "open" && !t.PausedUntil.IsZero() && !in.At.Before(t.PausedUntil) {
				m.resume(t, in.At)
			}
			return m.reticket(t, in.At), nil
		}
	}
	return registry.Ticket{}, refusal(registry.NotFound, "task_not_found")
}

func (m *memory) resume(t *memoryTask, at time.Time) {
	cal := nationalCalendar()
	stood := cal.WorkingDaysBetween(calendar.Of(t.pausedAt, registry.Zone), calendar.Of(at, registry.Zone))
	due := calendar.Of(t.Due, registry.Zone)
	t.Due = t.Due.AddDate(0, 0, cal.AddWorkingDays(due, stood).Sub(due))
	t.PausedUntil, t.pausedAt = time.Time{}, time.Time{}
	m.tell(at, "lets the clock of %s %s run, to %s", t.q.Seat, t.q.Step, local(t.Due))
}

// reticket is a task's ticket as its clock stands.
func (m *memory) reticket(t *memoryTask, at time.Time) registry.Ticket {
	again := rulesOn(at).DeadlineAt(t.Due, at, nationalCalendar(), registry.Zone)
	t.Reminders, t.Escalations = again.Reminders, again.Escalations
	out := t.Ticket
	out.Level = t.level
	return out
}

// SettleAnswer stands for the register's.
func (m *memory) SettleAnswer(_ context.Context, in registry.Settle) (registry.Settled, error) {
	done, err := m.begin("SettleAnswer")
	if err != nil {
		return registry.Settled{}, err
	}
	defer done()
	return remember(m, "settle/"+in.AnswerID.String(), func() (registry.Settled, error) {
		p := m.proposed[in.AnswerID]
		if p.task.status != "open" {
			return registry.Settled{}, refusal(registry.Refused, "task_closed")
		}
		if m.row.Version != in.Version || m.row.Ended {
			return registry.Settled{}, refusal(registry.Stale, "case")
		}
		m.tell(in.At, "%s answers %s: %s", p.task.q.Seat, p.task.q.Step, p.outcome.Code)
		m.record(p)
		p.task.status, p.task.Outcome = "done", &p.outcome
		if in.CloseAll {
			m.void("cancelled")
		}
		out := registry.Settled{Moved: m.move(in.At, in.Move)}
		for _, q := range in.Asks {
			ticket, err := m.open(q)
			if err != nil {
				return registry.Settled{}, err
			}
			out.Tickets = append(out.Tickets, ticket)
		}
		return out, nil
	})
}

// record is what the answers mean for the records that the protocols read.
func (m *memory) record(p proposal) {
	switch step, o := p.task.q.Step, p.outcome; {
	case step == confirmatorySample && o.Code == "drawn":
		m.stemcell.ReservedUntil = rulesOn(p.task.q.At).Deadline(rules.StemCellReservationSample, o.On.Start(registry.Zone), nationalCalendar(), registry.Zone).Due
	case step == redraw && o.Code == "redrawn":
		m.enrolment.Sample, m.enrolment.SampleCount = "drawn", m.enrolment.SampleCount+1
	case step == missingTube && o.Code == "found":
		m.drive.Missing, m.drive.Unsent = 0, m.drive.Missing
	case step == missingTube:
		m.drive.Missing = 0
	case step == followUp:
		m.touches = slices.DeleteFunc(m.touches, func(t registry.TouchRow) bool { return t.Position == p.task.q.Round })
	}
}

// remember does a command once, whatever happens to its replies.
func remember[T any](m *memory, key string, do func() (T, error)) (T, error) {
	if known, ok := m.known[key]; ok {
		return known.(T), nil
	}
	out, err := do()
	if err == nil {
		m.known[key] = out
	}
	return out, err
}

func (m *memory) void(how string) {
	for _, t := range m.tasks {
		if t.status == "open" {
			t.status = how
		}
	}
}

func (m *memory) move(at time.Time, to registry.Move) registry.Moved {
	if to.End {
		m.void("cancelled")
		m.tell(at, "ends: %s", strings.TrimSpace(to.Ending+" "+to.Reason))
	} else if to.Step != m.row.Step {
		m.tell(at, "goes to %s", to.Step)
	}
	m.row.Step, m.row.State, m.row.Ended, m.row.Version = to.Step, to.State, to.End, m.row.Version+1
	return registry.Moved{CaseID: m.row.ID, Step: to.Step, Ended: to.End, Ending: to.Ending, Version: m.row.Version}
}

// AdvanceCase stands for the register's.
func (m *memory) AdvanceCase(_ context.Context, in registry.Advance) (registry.Moved, error) {
	done, err := m.begin("AdvanceCase")
	if err != nil {
		return registry.Moved{}, err
	}
	defer done()
	return remember(m, fmt.Sprintf("advance/%d", in.Version), func() (registry.Moved, error) {
		if m.row.Version != in.Version || m.row.Ended {
			return registry.Moved{}, refusal(registry.Stale, "case")
		}
		if in.Expired {
			m.void("expired")
		}
		m.void("cancelled")
		return m.move(in.At, in.Move), nil
	})
}

// ReopenStep stands for the register's.
func (m *memory) ReopenStep(_ context.Context, in registry.ReopenInput) (registry.Moved, error) {
	done, err := m.begin("ReopenStep")
	if err != nil {
		return registry.Moved{}, err
	}
	defer done()
	return remember(m, fmt.Sprintf("reopen/%d", in.Version), func() (registry.Moved, error) {
		if m.row.Version != in.Version || m.row.Ended {
			return registry.Moved{}, refusal(registry.Stale, "case")
		}
		m.void("cancelled")
		for _, t := range m.tasks {
			if t.status == "done" && slices.Contains(in.Steps, t.q.Step) {
				t.status = "struck"
			}
		}
		m.tell(in.At, "is opened again at %s: %s", in.Step, in.Reason)
		return m.move(in.At, registry.Move{Step: in.Step, State: in.State}), nil
	})
}

// ListDonor stands for the register's.
func (m *memory) ListDonor(_ context.Context, in registry.Advance) (registry.Moved, error) {
	done, err := m.begin("ListDonor")
	if err != nil {
		return registry.Moved{}, err
	}
	defer done()
	return remember(m, "list", func() (registry.Moved, error) {
		if m.enrolment.Status == "withdrawn" {
			return registry.Moved{}, refusal(registry.Refused, "donor_withdrew")
		}
		return m.move(in.At, in.Move), nil
	})
}

// SetDriveStatus stands for the register's.
func (m *memory) SetDriveStatus(_ context.Context, in activities.DriveStatus) (activities.Done, error) {
	done, err := m.begin("SetDriveStatus")
	if err != nil {
		return activities.Done{}, err
	}
	defer done()
	if m.drive.Status != in.Status {
		m.drive.Status = in.Status
		m.tell(in.At, "is %s", in.Status)
	}
	return activities.Done{}, nil
}

// RunSearch stands for the register's.
func (m *memory) RunSearch(_ context.Context, in activities.Run) (registry.SearchRun, error) {
	done, err := m.begin("RunSearch")
	if err != nil {
		return registry.SearchRun{}, err
	}
	defer done()
	m.search.Run = in.Number
	m.tell(in.At, "compares, run %d", in.Number)
	return registry.SearchRun{Run: in.Number, Found: m.search.Candidates}, nil
}

// PromoteBackup stands for the register's.
func (m *memory) PromoteBackup(_ context.Context, in activities.Promotion) (activities.Done, error) {
	done, err := m.begin("PromoteBackup")
	if err != nil {
		return activities.Done{}, err
	}
	defer done()
	for i, r := range m.search.Requests {
		if r.CaseID == in.CaseID && !r.Promoted {
			m.search.Requests[i].Promoted = true
			m.tell(in.At, "promotes number %d", r.Rank)
		}
	}
	return activities.Done{}, nil
}

// OpenEmergency stands for the register's.
func (m *memory) OpenEmergency(_ context.Context, in registry.Emergency) (activities.Done, error) {
	done, err := m.begin("OpenEmergency")
	if err != nil {
		return activities.Done{}, err
	}
	defer done()
	m.tell(in.At, "alarms everybody: %s", in.Reason)
	return activities.Done{}, nil
}

// MissTouch stands for the register's.
func (m *memory) MissTouch(_ context.Context, in activities.Miss) (registry.Moved, error) {
	done, err := m.begin("MissTouch")
	if err != nil {
		return registry.Moved{}, err
	}
	defer done()
	return remember(m, fmt.Sprintf("touch/%d", in.Position), func() (registry.Moved, error) {
		if m.row.Version != in.Advance.Version || m.row.Ended {
			return registry.Moved{}, refusal(registry.Stale, "case")
		}
		m.touches = slices.DeleteFunc(m.touches, func(t registry.TouchRow) bool { return t.Position == in.Position })
		m.void("expired")
		m.tell(in.Advance.At, "misses touch %d", in.Position)
		return m.move(in.Advance.At, in.Advance.Move), nil
	})
}

// ImportChunk stands for the register's.
func (m *memory) ImportChunk(context.Context, activities.Batch) (registry.Chunk, error) {
	done, err := m.begin("ImportChunk")
	if err != nil {
		return registry.Chunk{}, err
	}
	defer done()
	m.chunks--
	out := registry.Chunk{Finished: m.chunks <= 0}
	if out.Finished && m.lastChunk != nil {
		m.lastChunk()
	}
	return out, nil
}

// RotateChunk stands for the register's.
func (m *memory) RotateChunk(context.Context, activities.Rotation) (registry.Chunk, error) {
	done, err := m.begin("RotateChunk")
	if err != nil {
		return registry.Chunk{}, err
	}
	defer done()
	m.chunks--
	out := registry.Chunk{Done: 1, Total: 1 + max(m.chunks, 0), Finished: m.chunks <= 0}
	if out.Finished && m.lastChunk != nil {
		m.lastChunk()
	}
	return out, nil
}

// errAway is a database that does not answer: trying again may mend it.
var errAway = temporal.NewApplicationError("database_away", string(registry.Unavailable))
