package workflows

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// The desk does a protocol's waiting. A protocol asks, and gets an outcome; whether the answer came at once, after two
// reminders and an escalation, or not before the hard limit, is the desk's business. What the desk knows it can find
// again in the rows of the case, so a protocol may be started anew at any time.

// What ends a wait beside an answer.
var (
	errNews     = errors.New("a fact changed what the protocol has to do")
	errExpired  = errors.New("the hard limit passed")
	errRollOver = errors.New("the run goes on as a new one")
)

// errLeaving sends the bringer of an answer to the next run.
var errLeaving = temporal.NewApplicationError("case_rolling_over", string(registry.Unavailable))

// Names of what the outside sends a case.
const (
	factSignal   = "fact"
	answerUpdate = "answer"
	reopenUpdate = "reopen"
	reopenQuery  = "would-reopen"
	clockUpdate  = "clock"
)

// Fact tells a case that a record it goes on from has changed. It carries no news itself: whoever hears it looks again,
// so a fact heard twice, late or out of order does no harm.
type Fact struct {
	Kind string `json:"kind"`
}

// AnswerCommand brings a pending answer.
type AnswerCommand struct {
	AnswerID uuid.UUID     `json:"answer"`
	TaskID   uuid.UUID     `json:"task"`
	Outcome  forms.Outcome `json:"outcome"`
}

// ReopenCommand asks that a step be answered again.
type ReopenCommand struct {
	Step   string    `json:"step"`
	Reason string    `json:"reason"`
	Staff  uuid.UUID `json:"staff"`
}

// ClockCommand brings a request about a task's clock.
type ClockCommand struct {
	RequestID uuid.UUID `json:"request"`
	TaskID    uuid.UUID `json:"task"`
	Staff     uuid.UUID `json:"staff"`
	Until     time.Time `json:"until,omitzero"` // the deadline that is asked for, or when a pause ends
}

// place is the part of every protocol's state that says where the case stands. It is stored with the case, travels
// through continue-as-new, and only ever gains fields.
type place struct {
	Schema int            `json:"schema"`
	Step   string         `json:"step"`
	Rounds map[string]int `json:"rounds"` // how often each step was entered
}

// in is the place after entering a step.
func (p place) in(step string) place {
	rounds := make(map[string]int, len(p.Rounds)+1)
	for _, s := range workflow.DeterministicKeys(p.Rounds) {
		rounds[s] = p.Rounds[s]
	}
	rounds[step]++
	return place{Schema: stateSchema, Step: step, Rounds: rounds}
}

// same tells whether a case stands where it stood: at the step, and in the same round of it.
func (p place) same(as place) bool {
	return p.Step == as.Step && p.Rounds[p.Step] == as.Rounds[as.Step]
}

// stateSchema is the version of the states in the rows. A field may be added without a new one.
const stateSchema = 1

// move is where an outcome takes a case, and what the protocol remembers once the register has accepted it.
type move struct {
	registry.Move
	closeAll bool              // the case's other open tasks are void
	at       place             // where the case stands then
	asks     func() []question // what is asked there, where that is known beforehand: it is asked in the same transaction
	would    func() []question // what is asked there, as far as is known now: for who only wants to know
	adopt    func()            // takes the new state over
}

// question is what a protocol asks one seat.
type question struct {
	seat string
	role policy.Role
	rule rules.Key // how long there is
	from time.Time // from when that counts; now when zero
	due  time.Time // the deadline itself, when no rule counts it
	args map[string]any
	// next says where an outcome takes the case. It reads the protocol's state and changes nothing; an error refuses the
	// answer, and the question stays open.
	next func(forms.Outcome) (move, error)
}

// wait is how a protocol waits on its questions.
type wait struct {
	limit time.Time                            // when the wait ends without an answer; never when zero
	look  func(workflow.Context) (bool, error) // reads the records again after a fact; true ends the wait with errNews
	every time.Duration                        // how often tick runs meanwhile
	tick  func(workflow.Context) error
}

// open is a question that waits for its answer.
type open struct {
	question
	ticket  registry.Ticket
	outcome *forms.Outcome
	nudged  int // reminders sent
	level   int // rungs escalated
}

// desk is the waiting of one case in one run.
type desk struct {
	caseID  uuid.UUID
	version int64
	open    []*open
	asked   map[asked]registry.Ticket // tasks that a move has opened and the protocol has not come to yet
	settled []settledAnswer           // the last answers, for a command that comes again
	waits   bool                      // the protocol is waiting: what is open stays so until an answer or a fact comes
	leaving bool                      // the run is ending, and another goes on
	rollAt  time.Time                 // when the run goes on as a new one if nobody brings anything meanwhile; never when zero
	news    bool
	limit   time.Time // when the wait at hand ends without an answer; never when zero
	moved   bool      // a clock was set: what wakes the wait is another
	stale   bool      // somebody else has moved the case: the rows know better
	ended   bool
	rounds  func() place
	reopen  func(ctx workflow.Context, step string) (move, []string, error) // nil where no step can be opened again
	lock    workflow.Mutex
	timer   workflow.Future // the one timer that is set
	rings   time.Time       // when it rings
	unset   workflow.CancelFunc
}

// asked names a question: the place at which it is asked, and the seat.
type asked struct {
	step  string
	round int
	seat  string
}

// settledAnswer is an answer that was accepted, and the move it made.
type settledAnswer struct {
	AnswerID uuid.UUID      `json:"answer"`
	Moved    registry.Moved `json:"moved"`
}

// rememberedAnswers is how many settled answers a run carries on: a client that lost the reply asks again within minutes.
const rememberedAnswers = 16

// quiet is how long nobody must have brought anything before a run goes on as a new one: who answers three tasks in a row
// does not wait for it, and it never happens in the task that finishes an update, whose completion the server might apply
// again to the new run.
const quiet = 5 * time.Second

// longestSleep keeps a case from sleeping past a new version of its protocol.
const longestSleep = 30 * 24 * time.Hour

var records *activities.Records

// CaseInput starts a run of a case's protocol. What the protocol goes on from is in the case's row; what a run hands to
// the next is only the answers that it settled last, because the server forgets an update's id with its run.
type CaseInput struct {
	CaseID  uuid.UUID       `json:"case"`
	Settled []settledAnswer `json:"settled,omitempty"`
}

// newDesk sets a case's desk up, and must be called before the run first waits.
func newDesk(ctx workflow.Context, in CaseInput, where func() place) (*desk, error) {
	d := &desk{caseID: in.CaseID, asked: map[asked]registry.Ticket{}, settled: in.Settled, rounds: where, lock: workflow.NewMutex(ctx)}
	facts := workflow.GetSignalChannel(ctx, factSignal)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var f Fact
			if !facts.Receive(ctx, &f) {
				return
			}
			d.news = true
		}
	})
	err := workflow.SetUpdateHandlerWithOptions(ctx, answerUpdate, d.answer, workflow.UpdateHandlerOptions{
		Description: "Brings an answer to an open task.", Validator: d.mayAnswer,
	})
	if err != nil {
		return nil, err
	}
	err = workflow.SetQueryHandlerWithOptions(ctx, reopenQuery, func(step string) (registry.ReopenPlan, error) { return d.wouldReopen(ctx, step), nil }, workflow.QueryHandlerOptions{
		Description: "Tells where opening an earlier step again would lead.",
	})
	if err != nil {
		return nil, err
	}
	err = workflow.SetUpdateHandlerWithOptions(ctx, reopenUpdate, d.reopenStep, workflow.UpdateHandlerOptions{
		Description: "Opens an earlier step again.",
	})
	if err != nil {
		return nil, err
	}
	return d, workflow.SetUpdateHandlerWithOptions(ctx, clockUpdate, d.setClock, workflow.UpdateHandlerOptions{
		Description: "Gives an open task more time, or lets its clock stop or run.", Validator: d.maySetClock,
	})
}

// loaded takes over what a case's row says: where it stands, and the state that its protocol goes on from.
func (d *desk) loaded(row registry.Snapshot, state any) error {
	d.version, d.ended = row.Version, row.Ended
	return json.Unmarshal(row.State, state)
}

// answered counts the open questions that have their answer.
func (d *desk) answered() int {
	n := 0
	for _, o := range d.open {
		if o.outcome != nil {
			n++
		}
	}
	return n
}

// ask asks one seat and waits for the answer.
func (d *desk) ask(ctx workflow.Context, q question, w wait) (forms.Outcome, error) {
	outcomes, err := d.askAll(ctx, []question{q}, w)
	if err != nil {
		return forms.Outcome{}, err
	}
	return outcomes[0], nil
}

// askAll asks several seats and waits until each has answered, or an answer has taken the case elsewhere.
func (d *desk) askAll(ctx workflow.Context, questions []question, w wait) ([]forms.Outcome, error) {
	at := d.rounds()
	defer func() { d.open = nil }()
	waiting := make([]*open, 0, len(questions))
	for _, q := range questions {
		ticket, err := d.ticket(ctx, q, at)
		if err != nil {
			return nil, err
		}
		// The outcome is there when the question was answered before this run began.
		o := &open{question: q, ticket: ticket, outcome: ticket.Outcome}
		waiting = append(waiting, o)
		d.open = append(d.open, o)
	}
	moved := func() bool { return d.ended || !d.rounds().same(at) }
	err := d.await(ctx, w, func() bool {
		return moved() || !slices.ContainsFunc(waiting, func(o *open) bool { return o.outcome == nil })
	})
	if err != nil && !moved() {
		return nil, err
	}
	outcomes := make([]forms.Outcome, len(waiting))
	for i, o := range waiting {
		if o.outcome != nil {
			outcomes[i] = *o.outcome
		}
	}
	return outcomes, nil
}

// ticket is the task of a question: the one that the move here has opened, else one that is opened now.
func (d *desk) ticket(ctx workflow.Context, q question, at place) (registry.Ticket, error) {
	name := asked{at.Step, at.Rounds[at.Step], q.seat}
	if t, ok := d.asked[name]; ok {
		delete(d.asked, name)
		return t, nil
	}
	return do(ctx, records.AskTask, d.put(ctx, q, at))
}

// put is a question as the register takes it.
func (d *desk) put(ctx workflow.Context, q question, at place) registry.Question {
	return registry.Question{
		CaseID: d.caseID, Step: at.Step, Round: at.Rounds[at.Step], Seat: q.seat, Role: q.role, Rule: q.rule, From: q.from, DueAt: q.due, Args: q.args, At: workflow.Now(ctx),
	}
}

// pause waits without a question, until a fact ends it (errNews) or its limit passes (errExpired).
func (d *desk) pause(ctx workflow.Context, w wait) error {
	return d.await(ctx, w, func() bool { return false })
}

// await sleeps until done, and meanwhile reminds, escalates, ticks and listens. Every sleep is bounded, so that a case
// that waits for months sees a newer version of its protocol.
func (d *desk) await(ctx workflow.Context, w wait, done func() bool) error {
	nextTick := workflow.Now(ctx).Add(w.every)
	d.limit = w.limit
	for {
		d.moved = false
		if done() {
			return nil
		}
		if d.news {
			d.news = false
			if w.look != nil {
				leave, err := w.look(ctx)
				if err != nil {
					return err
				}
				if leave {
					return errNews
				}
			}
			continue
		}
		now := workflow.Now(ctx)
		if !w.limit.IsZero() && !now.Before(w.limit) {
			return errExpired
		}
		if info := workflow.GetInfo(ctx); d.stale || info.GetContinueAsNewSuggested() || info.GetTargetWorkerDeploymentVersionChanged() {
			d.stale = false
			d.rollOver(ctx)
		}
		if !d.rollAt.IsZero() && !now.Before(d.rollAt) {
			return errRollOver
		}
		if w.tick != nil && !now.Before(nextTick) {
			if err := w.tick(ctx); err != nil {
				return err
			}
			nextTick = workflow.Now(ctx).Add(w.every)
			continue
		}
		nudged, err := d.nudge(ctx, now)
		if err != nil {
			return err
		}
		if nudged {
			continue
		}
		resumed, err := d.resume(ctx, now)
		if err != nil {
			return err
		}
		if resumed {
			continue
		}
		until := now.Add(longestSleep)
		for _, at := range append(d.alarms(), w.limit, d.rollAt) {
			until = sooner(until, at)
		}
		if w.tick != nil {
			until = sooner(until, nextTick)
		}
		d.waits = true
		err = d.sleep(ctx, until, func() bool { return done() || d.news || d.stale || d.moved })
		d.waits = false
		if err != nil {
			return err
		}
	}
}

// sleep waits until an instant, or until somebody wakes it. A timer that is set already and rings sooner is kept, and
// whoever sleeps looks again when it does: that costs less than to take one timer back and to set another at every answer.
func (d *desk) sleep(ctx workflow.Context, until time.Time, woken func() bool) error {
	if d.timer == nil || d.timer.IsReady() || until.Before(d.rings) {
		if d.unset != nil {
			d.unset()
		}
		var set workflow.Context
		set, d.unset = workflow.WithCancel(ctx)
		d.rings, d.timer = until, workflow.NewTimer(set, max(until.Sub(workflow.Now(ctx)), time.Millisecond))
	}
	return workflow.Await(ctx, func() bool { return d.timer.IsReady() || woken() })
}

// rollOver lets the run go on as a new one as soon as it is quiet: at a new phase, under a new version, when the history
// has grown long.
func (d *desk) rollOver(ctx workflow.Context) {
	if d.rollAt.IsZero() {
		d.rollAt = workflow.Now(ctx).Add(quiet)
	}
}

func sooner(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// alarms are the next reminder and the next escalation of every open question, and the end of its pause.
func (d *desk) alarms() []time.Time {
	var out []time.Time
	for _, o := range d.open {
		if o.outcome != nil {
			continue
		}
		if o.paused() {
			out = append(out, o.ticket.PausedUntil)
			continue
		}
		if o.nudged < len(o.ticket.Reminders) {
			out = append(out, o.ticket.Reminders[o.nudged])
		}
		if o.level < len(o.ticket.Escalations) {
			out = append(out, o.ticket.Escalations[o.level])
		}
	}
	return out
}

// nudge sends what is due: one reminder or one rung at a time.
func (d *desk) nudge(ctx workflow.Context, now time.Time) (bool, error) {
	for _, o := range d.open {
		if o.outcome != nil || o.paused() {
			continue
		}
		if o.nudged < len(o.ticket.Reminders) && !now.Before(o.ticket.Reminders[o.nudged]) {
			o.nudged++
			_, err := do(ctx, records.NudgeTask, registry.Nudge{TaskID: o.ticket.TaskID, At: now})
			return true, err
		}
		if o.level < len(o.ticket.Escalations) && !now.Before(o.ticket.Escalations[o.level]) {
			o.level++
			_, err := do(ctx, records.NudgeTask, registry.Nudge{TaskID: o.ticket.TaskID, Level: o.level, At: now})
			return true, err
		}
	}
	return false, nil
}

// resume lets a clock run whose pause is over, one at a time.
func (d *desk) resume(ctx workflow.Context, now time.Time) (bool, error) {
	for _, o := range d.open {
		if o.outcome == nil && o.paused() && !now.Before(o.ticket.PausedUntil) {
			ticket, err := do(ctx, records.ResumeTask, registry.TaskAt{TaskID: o.ticket.TaskID, At: now})
			if err != nil {
				return false, err
			}
			o.reset(ticket)
			return true, nil
		}
	}
	return false, nil
}

// paused tells that the clock of a question stands still.
func (o *open) paused() bool { return !o.ticket.PausedUntil.IsZero() }

// reset takes another deadline over, with its reminders and its ladder.
func (o *open) reset(t registry.Ticket) {
	o.ticket.Due, o.ticket.Reminders, o.ticket.Escalations, o.ticket.PausedUntil = t.Due, t.Reminders, t.Escalations, t.PausedUntil
	o.nudged, o.level = 0, t.Level
}

// maySetClock refuses a request about a task that is not open, or beyond the end of the wait itself, before it enters the history.
func (d *desk) maySetClock(_ workflow.Context, c ClockCommand) error {
	if d.leaving && !d.ended {
		return errLeaving
	}
	if !d.waits || d.lock.IsLocked() {
		return nil
	}
	return d.clockStandsOpen(c)
}

func (d *desk) clockStandsOpen(c ClockCommand) error {
	if o := d.find(c.TaskID); o == nil || o.outcome != nil {
		return refusal(registry.Refused, "task_closed")
	}
	if !d.limit.IsZero() && c.Until.After(d.limit) {
		return refusal(registry.Refused, "clock_beyond_limit")
	}
	return nil
}

// setClock moves a question's deadline, or lets its clock stop or run: the register writes it, and then the desk's timers follow. Bringing
// the same request again finds it done.
func (d *desk) setClock(ctx workflow.Context, c ClockCommand) (registry.Ticket, error) {
	if err := d.turn(ctx); err != nil {
		return registry.Ticket{}, err
	}
	defer d.lock.Unlock()
	if err := d.clockStandsOpen(c); err != nil {
		return registry.Ticket{}, err
	}
	ticket, err := do(ctx, records.SetClock, registry.ClockChange{RequestID: c.RequestID, Staff: c.Staff, At: workflow.Now(ctx)})
	if err != nil {
		return registry.Ticket{}, err
	}
	if o := d.find(c.TaskID); o != nil {
		o.reset(ticket)
	}
	d.moved = true
	return ticket, nil
}

func (d *desk) find(task uuid.UUID) *open {
	for _, o := range d.open {
		if o.ticket.TaskID == task {
			return o
		}
	}
	return nil
}

func (d *desk) known(answer uuid.UUID) (registry.Moved, bool) {
	for _, s := range d.settled {
		if s.AnswerID == answer {
			return s.Moved, true
		}
	}
	return registry.Moved{}, false
}

// mayAnswer refuses an answer to a task that is not open, before it enters the history. Between two waits, and while
// another answer is being written, it lets the answer in: then answer finds out.
func (d *desk) mayAnswer(_ workflow.Context, c AnswerCommand) error {
	if d.leaving && !d.ended {
		return errLeaving
	}
	if _, again := d.known(c.AnswerID); again || !d.waits || d.lock.IsLocked() {
		return nil
	}
	if o := d.find(c.TaskID); o == nil || o.outcome != nil {
		return refusal(registry.Refused, "task_closed")
	}
	return nil
}

// answer accepts an answer: the protocol says where it leads, the register writes it all at once, and only then the
// protocol goes on.
func (d *desk) answer(ctx workflow.Context, c AnswerCommand) (registry.Moved, error) {
	if err := d.turn(ctx); err != nil {
		return registry.Moved{}, err
	}
	defer d.lock.Unlock()
	if moved, again := d.known(c.AnswerID); again {
		return moved, nil
	}
	o := d.find(c.TaskID)
	if o == nil || o.outcome != nil {
		return registry.Moved{}, refusal(registry.Refused, "task_closed")
	}
	m, err := o.next(c.Outcome)
	if err != nil {
		return registry.Moved{}, err
	}
	settle := registry.Settle{AnswerID: c.AnswerID, Version: d.version, At: workflow.Now(ctx), Move: m.Move, CloseAll: m.closeAll}
	var asks []question
	if m.asks != nil {
		asks = m.asks()
	}
	for _, q := range asks {
		settle.Asks = append(settle.Asks, d.put(ctx, q, m.at))
	}
	settled, err := do(ctx, records.SettleAnswer, settle)
	if err != nil {
		d.stale = kindOf(err) == registry.Stale
		return registry.Moved{}, err
	}
	for i, q := range asks {
		d.asked[asked{m.at.Step, m.at.Rounds[m.at.Step], q.seat}] = settled.Tickets[i]
	}
	d.adopt(m, settled.Moved)
	o.outcome = &c.Outcome
	d.settled = append(d.settled, settledAnswer{c.AnswerID, settled.Moved})
	d.settled = d.settled[max(0, len(d.settled)-rememberedAnswers):]
	if !d.rollAt.IsZero() {
		d.rollAt = workflow.Now(ctx).Add(quiet) // somebody is at work
	}
	return settled.Moved, nil
}

// turn waits until the protocol waits, and takes the lock: from then on the caller alone moves the case. Whoever gets the
// lock while the protocol is busy, such as with a reminder, waits until it asks again. A caller who comes while the run is
// ending is sent to the next one.
func (d *desk) turn(ctx workflow.Context) error {
	for {
		if err := workflow.Await(ctx, func() bool { return d.waits || d.leaving || d.ended }); err != nil {
			return err
		}
		if d.leaving && !d.ended {
			return errLeaving
		}
		if err := d.lock.Lock(ctx); err != nil {
			return err
		}
		if d.waits || d.ended {
			return nil
		}
		d.lock.Unlock()
	}
}

func (d *desk) adopt(m move, moved registry.Moved) {
	d.version, d.ended = moved.Version, moved.Ended
	if m.adopt != nil {
		m.adopt()
	}
}

// cause is why a case moves without an answer.
type cause struct {
	event   string // of the timeline
	args    map[string]any
	expired bool // open tasks ran out of time
}

// advance makes a move that no answer causes. Answers wait while it is made; where it leads is asked once they do.
func (d *desk) advance(ctx workflow.Context, because cause, where func() move) error {
	return d.moveBy(ctx, where, func(m move) (registry.Moved, error) {
		return do(ctx, records.AdvanceCase, d.advanceTo(ctx, m, because))
	})
}

func (d *desk) advanceTo(ctx workflow.Context, m move, because cause) registry.Advance {
	return registry.Advance{
		CaseID: d.caseID, Version: d.version, At: workflow.Now(ctx), Move: m.Move, Event: because.event, Args: because.args, Expired: because.expired,
	}
}

// moveBy makes a move by an act of its own, between answers. An answer that was being written when the move was decided
// on comes first, and when it takes the case elsewhere the move is not made: the protocol looks again.
func (d *desk) moveBy(ctx workflow.Context, where func() move, act func(move) (registry.Moved, error)) error {
	at := d.rounds()
	if err := d.lock.Lock(ctx); err != nil {
		return err
	}
	defer d.lock.Unlock()
	if d.ended || !d.rounds().same(at) {
		return nil
	}
	m := where()
	moved, err := act(m)
	if err != nil {
		return err
	}
	d.adopt(m, moved)
	return nil
}

// reopenStep takes the case back to an earlier step.
func (d *desk) reopenStep(ctx workflow.Context, c ReopenCommand) (registry.Moved, error) {
	if err := d.turn(ctx); err != nil {
		return registry.Moved{}, err
	}
	defer d.lock.Unlock()
	m, in, err := d.backTo(ctx, c.Step)
	if err != nil {
		return registry.Moved{}, err
	}
	in.Staff, in.Reason = c.Staff, c.Reason
	moved, err := do(ctx, records.ReopenStep, in)
	if err != nil {
		d.stale = kindOf(err) == registry.Stale
		return registry.Moved{}, err
	}
	d.adopt(m, moved)
	return moved, nil
}

// backTo is the way back to an earlier step, as the protocol knows it.
func (d *desk) backTo(ctx workflow.Context, step string) (move, registry.ReopenInput, error) {
	if d.reopen == nil || d.ended {
		return move{}, registry.ReopenInput{}, refusal(registry.Refused, "step_closed_for_good")
	}
	m, struck, err := d.reopen(ctx, step)
	return m, registry.ReopenInput{CaseID: d.caseID, Version: d.version, Step: step, At: workflow.Now(ctx), Steps: struck, State: m.State}, err
}

// wouldReopen tells where opening a step again would lead, and what would be asked there. It moves nothing.
func (d *desk) wouldReopen(ctx workflow.Context, step string) registry.ReopenPlan {
	m, in, err := d.backTo(ctx, step)
	if err != nil {
		return registry.ReopenPlan{Refused: codeOf(err)}
	}
	plan := registry.ReopenPlan{ReopenInput: in}
	for _, q := range m.would() {
		plan.Asks = append(plan.Asks, d.put(ctx, q, m.at))
	}
	return plan
}

// carry runs a protocol until its case has ended. next does the one thing that the case's place asks for; what keeps it
// from being done says how the run goes on.
func (d *desk) carry(ctx workflow.Context, protocol any, next func(workflow.Context) error) error {
	for !d.ended {
		err := next(ctx)
		switch {
		case err == nil, errors.Is(err, errNews):
		case errors.Is(err, errRollOver):
			return d.goOnAs(ctx, protocol)
		case kindOf(err) == registry.Stale:
			// Somebody else moved the case, such as a second cluster after a restore: the rows say where it is.
			if err := workflow.Sleep(ctx, time.Second); err != nil {
				return err
			}
			return d.goOnAs(ctx, protocol)
		case kindOf(err) == registry.NotFound:
			return nil // the batch that brought it was undone
		default:
			return err
		}
	}
	return d.finish(ctx)
}

// goOnAs ends the run and goes on as a new one of the protocol, under its newest version. The new run reads the records,
// so a fact that arrives in between is not lost with its signal.
func (d *desk) goOnAs(ctx workflow.Context, protocol any) error {
	d.leaving = true
	if err := d.finish(ctx); err != nil {
		return err
	}
	return workflow.NewContinueAsNewErrorWithOptions(ctx, workflow.ContinueAsNewErrorOptions{
		InitialVersioningBehavior: workflow.ContinueAsNewVersioningBehaviorAutoUpgrade,
	}, protocol, CaseInput{CaseID: d.caseID, Settled: d.settled})
}

// finish waits until everybody who brought an answer has their reply.
func (d *desk) finish(ctx workflow.Context) error {
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// refusal is an error that tells the caller of an update what stands against it.
func refusal(kind registry.Kind, code string) error {
	return temporal.NewNonRetryableApplicationError(code, string(kind), nil)
}

// do runs an act in a local activity, which costs a third of an ordinary one, and hands it to an ordinary one when the
// database stays away: then the retries are the server's, and a worker that dies loses none of them.
func do[In, Out any](ctx workflow.Context, act func(context.Context, In) (Out, error), in In) (Out, error) {
	var out Out
	local := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: 6 * time.Second, StartToCloseTimeout: 5 * time.Second,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 50 * time.Millisecond, BackoffCoefficient: 2, MaximumAttempts: 3},
	})
	err := workflow.ExecuteLocalActivity(local, act, in).Get(ctx, &out)
	if err == nil || isFinal(err) || temporal.IsCanceledError(err) {
		return out, unwrapped(err)
	}
	return far(ctx, time.Minute, act, in)
}

// far runs an act in an ordinary activity, for work that may take as long as limit.
func far[In, Out any](ctx workflow.Context, limit time.Duration, act func(context.Context, In) (Out, error), in In) (Out, error) {
	var out Out
	var heartbeat time.Duration
	if limit > time.Minute {
		heartbeat = activities.HeartbeatTimeout // a worker that dies is not waited for until the limit
	}
	ordinary := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: limit, HeartbeatTimeout: heartbeat,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute},
	})
	err := workflow.ExecuteActivity(ordinary, act, in).Get(ctx, &out)
	return out, unwrapped(err)
}

// isFinal tells whether an act failed in a way that trying again does not mend.
func isFinal(err error) bool {
	var app *temporal.ApplicationError
	return errors.As(err, &app) && app.NonRetryable()
}

// unwrapped is the act's own failure, without the activity around it: the caller of an update sees its kind and code.
func unwrapped(err error) error {
	var app *temporal.ApplicationError
	if errors.As(err, &app) && app.NonRetryable() {
		return app
	}
	return err
}

// kindOf is the registry's kind of a failed act.
func kindOf(err error) registry.Kind {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return registry.Kind(app.Type())
	}
	return ""
}

// codeOf is the code of a refusal.
func codeOf(err error) string {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return app.Message()
	}
	return ""
}

func encode(state any) json.RawMessage {
	out, err := json.Marshal(state)
	if err != nil {
		panic(err) // states are plain structs
	}
	return out
}
