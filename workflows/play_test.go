package workflows

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
)

// play runs a protocol over a memory, through all its runs, while time skips from one thing that happens to the next.
// People act in scenes, each at its instant.
type play struct {
	*memory
	t        *testing.T
	protocol any
	scenes   []*scene
	now      time.Time
	env      *testsuite.TestWorkflowEnvironment // of the run at hand
	runs     []CaseInput                        // what each run was handed
	longest  time.Duration                      // the longest that a run slept
	slow     map[string]time.Duration           // acts that take their time
	stage    func(*testsuite.TestWorkflowEnvironment)
	err      error // what ended the last run, unless it was the curtain
}

// scene is what somebody does at an instant.
type scene struct {
	at     time.Time
	do     func()
	played bool
}

func newPlay(t *testing.T, protocol any, m *memory) *play {
	t.Parallel()
	return &play{memory: m, t: t, protocol: protocol, now: m.opened, slow: map[string]time.Duration{}}
}

// clock reads what the office's clock shows, such as 2026-03-02 10:00 or 2026-03-02 10:00:01.
func clock(text string) time.Time {
	layout := "2006-01-02 15:04"
	if strings.Count(text, ":") == 2 {
		layout += ":05"
	}
	at, err := time.ParseInLocation(layout, text, registry.Zone)
	if err != nil {
		panic(err)
	}
	return at
}

func day(text string) calendar.Date {
	d, err := calendar.Parse(text)
	if err != nil {
		panic(err)
	}
	return d
}

// at is a scene.
func (p *play) at(when string, do func()) {
	p.scenes = append(p.scenes, &scene{at: clock(when), do: do})
}

// until performs up to an instant, or to the case's end when that comes first. Performing on goes on where it stopped, in
// a new run from the rows, as after a restart of everything.
func (p *play) until(when string) *play {
	p.t.Helper()
	input := CaseInput{CaseID: p.row.ID}
	for {
		curtain := false
		p.runs = append(p.runs, input)
		var suite testsuite.WorkflowTestSuite
		suite.SetLogger(logger(nil))
		p.env = suite.NewTestWorkflowEnvironment()
		p.env.SetStartTime(p.now)
		p.env.SetTestTimeout(20 * time.Second)
		p.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: workflowID("case", p.row.ID.String())})
		p.env.RegisterWorkflow(p.protocol)
		p.env.RegisterActivity(p.memory)
		for act, length := range p.slow {
			p.env.OnActivity(act, mock.Anything, mock.Anything).After(length).Return(reflect.ValueOf(p.memory).MethodByName(act).Interface())
		}
		p.env.SetOnTimerScheduledListener(func(_ string, length time.Duration) { p.longest = max(p.longest, length) })
		if p.stage != nil {
			p.stage(p.env)
		}
		for _, s := range p.scenes {
			if !s.played {
				// Not before the run has begun: nobody can act on what is not there.
				p.env.RegisterDelayedCallback(func() { s.played = true; s.do() }, max(s.at.Sub(p.now), time.Millisecond))
			}
		}
		p.env.RegisterDelayedCallback(func() { curtain = true; p.env.CancelWorkflow() }, max(clock(when).Sub(p.now), time.Millisecond))
		p.env.ExecuteWorkflow(p.protocol, input)
		require.True(p.t, p.env.IsWorkflowCompleted())
		p.now = p.env.Now()
		p.err = p.env.GetWorkflowError()
		var next *workflow.ContinueAsNewError
		if !errors.As(p.err, &next) {
			if curtain {
				p.now, p.err = clock(when), nil
			}
			require.NoError(p.t, p.err, "the protocol failed after:\n%s", strings.Join(p.story, "\n"))
			return p
		}
		input = CaseInput{}
		require.NoError(p.t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &input))
	}
}

// reply is what an answer got.
type reply struct {
	moved    registry.Moved
	err      error
	got      bool
	rejected bool // before it entered the history
}

// Accept implements testsuite.UpdateCallbacks.
func (r *reply) Accept() {}

// Reject implements testsuite.UpdateCallbacks.
func (r *reply) Reject(err error) { r.got, r.rejected, r.err = true, true, translate(err) }

// Complete implements testsuite.UpdateCallbacks.
func (r *reply) Complete(success any, err error) {
	r.got, r.err = true, translate(err)
	if moved, ok := success.(registry.Moved); ok {
		r.moved = moved
	}
}

// code is the code of a refusal, "accepted", or "no reply".
func (r *reply) code() string {
	switch {
	case !r.got:
		return "no reply"
	case r.err == nil:
		return "accepted"
	default:
		return registry.CodeOf(r.err)
	}
}

// propose stores an answer to the open task of a step and seat, as the register does before the desk is asked. An empty
// seat is whoever was asked first.
func (p *play) propose(step, seat string, o forms.Outcome) AnswerCommand {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, task := range p.tasks {
		if task.q.Step == step && task.status == "open" && (seat == "" || task.q.Seat == seat) {
			c := AnswerCommand{AnswerID: uuid.New(), TaskID: task.TaskID, Outcome: o}
			p.proposed[c.AnswerID] = proposal{task, o}
			return c
		}
	}
	require.FailNow(p.t, "nobody is asked "+step+" "+seat, strings.Join(p.story, "\n"))
	return AnswerCommand{}
}

// answers brings the answer of a seat, now. An empty seat is whoever is asked.
func (p *play) answers(step, seat string, o forms.Outcome) *reply {
	return p.brings(p.propose(step, seat, o))
}

// brings delivers an answer that was proposed, once more if need be.
func (p *play) brings(c AnswerCommand) *reply {
	r := &reply{}
	p.env.UpdateWorkflow(answerUpdate, uuid.NewString(), r, c)
	return r
}

// reopens asks for a step to be opened again, now.
func (p *play) reopens(step string) *reply {
	r := &reply{}
	p.env.UpdateWorkflow(reopenUpdate, uuid.NewString(), r, ReopenCommand{Step: step, Reason: "wrong_entry", Staff: uuid.New()})
	return r
}

// changes lets the records say something else, and the case hear of it.
func (p *play) changes(how func(*memory)) {
	p.mu.Lock()
	how(p.memory)
	p.mu.Unlock()
	p.env.SignalWorkflow(factSignal, Fact{Kind: "changed"})
}

// answersAt is an answer in a scene of its own; the reply is there when the play is over.
func (p *play) answersAt(when, step, seat string, o forms.Outcome) *reply {
	out := &reply{}
	p.at(when, func() {
		p.env.UpdateWorkflow(answerUpdate, uuid.NewString(), out, p.propose(step, seat, o))
	})
	return out
}

// says picks the lines of the story that hold any of some words.
func (p *play) says(words ...string) []string {
	var out []string
	for _, line := range p.story {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) }) {
			out = append(out, line)
		}
	}
	return out
}

func said(code string) forms.Outcome { return forms.Outcome{Code: code} }

// The memory stands for the register: it knows every act, with the register's own types.
func TestTheMemoryHasEveryAct(t *testing.T) {
	t.Parallel()
	acts, memory := reflect.TypeFor[*activities.Records](), reflect.TypeFor[*memory]()
	require.Equal(t, acts.NumMethod(), memory.NumMethod())
	for i := range acts.NumMethod() {
		act := acts.Method(i)
		same, ok := memory.MethodByName(act.Name)
		require.True(t, ok, act.Name)
		require.Equal(t, shape(act.Type), shape(same.Type), act.Name)
	}
}

func shape(f reflect.Type) (out []string) {
	for i := range f.NumIn() - 1 {
		out = append(out, fmt.Sprint(f.In(i+1)))
	}
	for i := range f.NumOut() {
		out = append(out, fmt.Sprint(f.Out(i)))
	}
	return out
}
