package workflows

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
)

// clockReply is what a request about a clock got.
type clockReply struct {
	reply
	ticket registry.Ticket
}

// Complete implements testsuite.UpdateCallbacks.
func (r *clockReply) Complete(success any, err error) {
	r.reply.Complete(nil, err)
	r.ticket, _ = success.(registry.Ticket)
}

// setsAt is a request about the clock of a step's open task, in a scene of its own.
func (p *play) setsAt(when, step, kind, until string) *clockReply {
	out := &clockReply{}
	p.at(when, func() { p.sets(out, step, kind, until) })
	return out
}

func (p *play) sets(out *clockReply, step, kind, until string) ClockCommand {
	p.t.Helper()
	c := ClockCommand{RequestID: uuid.New(), Staff: uuid.New()}
	if until != "" {
		c.Until = clock(until)
	}
	p.mu.Lock()
	for _, task := range p.tasks {
		if task.q.Step == step && task.status == "open" {
			c.TaskID = task.TaskID
			p.clocks[c.RequestID] = clockAsk{task, kind, c.Until}
		}
	}
	p.mu.Unlock()
	p.env.UpdateWorkflow(clockUpdate, uuid.NewString(), out, c)
	return c
}

func TestMoreTimeMovesTheReminderAndTheWholeLadder(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	reply := p.setsAt("2026-03-05 09:00", remobilisation, registry.MoreTime, "2026-03-16 17:00")
	p.until("2026-05-01 00:00")
	require.Equal(t, "accepted", reply.code())
	require.Equal(t, clock("2026-03-16 17:00"), reply.ticket.Due.In(registry.Zone))
	require.Equal(t, []string{
		"2026-03-02 10:00 asks coordinator stemcell.remobilisation by 2026-03-09 17:00",
		"2026-03-05 09:00 gives coordinator stemcell.remobilisation more time, to 2026-03-16 17:00",
		"2026-03-13 17:00 reminds coordinator stemcell.remobilisation",
		"2026-03-17 17:00 escalates coordinator stemcell.remobilisation to rung 1",
		"2026-03-19 17:00 escalates coordinator stemcell.remobilisation to rung 2",
		"2026-03-24 17:00 escalates coordinator stemcell.remobilisation to rung 3",
	}, p.story)
}

func TestMoreTimeAfterTheFirstRungBeginsTheLadderAnew(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	p.setsAt("2026-03-11 09:00", remobilisation, registry.MoreTime, "2026-03-13 17:00")
	p.until("2026-03-17 00:00")
	require.Equal(t, []string{
		"2026-03-06 17:00 reminds coordinator stemcell.remobilisation",
		"2026-03-10 17:00 escalates coordinator stemcell.remobilisation to rung 1",
		"2026-03-12 17:00 reminds coordinator stemcell.remobilisation",
		"2026-03-16 17:00 escalates coordinator stemcell.remobilisation to rung 1",
	}, p.says("reminds", "escalates"))
}

func TestWhileTheClockStandsStillNobodyIsRemindedAndItRunsAgainByItself(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	p.setsAt("2026-03-05 09:00", remobilisation, registry.Pause, "2026-03-12 17:00")
	p.until("2026-03-17 12:00")
	require.Equal(t, []string{
		"2026-03-02 10:00 asks coordinator stemcell.remobilisation by 2026-03-09 17:00",
		"2026-03-05 09:00 stops the clock of coordinator stemcell.remobilisation until 2026-03-12 17:00",
		"2026-03-12 17:00 lets the clock of coordinator stemcell.remobilisation run, to 2026-03-16 17:00",
		"2026-03-13 17:00 reminds coordinator stemcell.remobilisation",
	}, p.story, "it stood for five working days, and the deadline lies five later")
}

func TestAClockRunsAgainWhenSomebodyLetsItAndAnAnswerMayComeWhileItStands(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	p.setsAt("2026-03-05 09:00", remobilisation, registry.Pause, "2026-03-18 17:00")
	p.setsAt("2026-03-06 09:00", remobilisation, registry.Resume, "")
	p.setsAt("2026-03-09 09:00", remobilisation, registry.Pause, "2026-03-18 17:00")
	answer := p.answersAt("2026-03-11 09:00", remobilisation, "", said("willing"))
	p.until("2026-03-12 00:00")
	require.Equal(t, "accepted", answer.code())
	require.Equal(t, []string{
		"2026-03-02 10:00 asks coordinator stemcell.remobilisation by 2026-03-09 17:00",
		"2026-03-05 09:00 stops the clock of coordinator stemcell.remobilisation until 2026-03-18 17:00",
		"2026-03-06 09:00 lets the clock of coordinator stemcell.remobilisation run, to 2026-03-10 17:00",
		"2026-03-09 09:00 stops the clock of coordinator stemcell.remobilisation until 2026-03-18 17:00",
		"2026-03-11 09:00 coordinator answers stemcell.remobilisation: willing",
		"2026-03-11 09:00 goes to stemcell.sample_booking",
		"2026-03-11 09:00 asks coordinator stemcell.sample_booking by 2026-03-25 17:00",
	}, p.story)
}

// A run that begins anew finds the pause and the moved deadline in the rows.
func TestANewRunKeepsThePauseAndTheDeadlineThatWasGiven(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	p.setsAt("2026-03-03 09:00", remobilisation, registry.MoreTime, "2026-03-11 17:00")
	p.setsAt("2026-03-05 09:00", remobilisation, registry.Pause, "2026-03-10 17:00")
	p.until("2026-03-06 09:00").until("2026-03-16 00:00")
	require.Equal(t, []string{
		"2026-03-02 10:00 asks coordinator stemcell.remobilisation by 2026-03-09 17:00",
		"2026-03-03 09:00 gives coordinator stemcell.remobilisation more time, to 2026-03-11 17:00",
		"2026-03-05 09:00 stops the clock of coordinator stemcell.remobilisation until 2026-03-10 17:00",
		"2026-03-10 17:00 lets the clock of coordinator stemcell.remobilisation run, to 2026-03-16 17:00",
		"2026-03-13 17:00 reminds coordinator stemcell.remobilisation",
	}, p.story)
}

func TestAClockIsNotSetOfWhatIsClosedOrBeyondTheEndOfTheReservation(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	p.answersAt("2026-03-03 09:00", remobilisation, "", said("willing"))
	var closed, beyond *clockReply
	p.at("2026-03-03 08:00", func() {
		beyond = &clockReply{}
		p.sets(beyond, remobilisation, registry.MoreTime, "2026-12-01 17:00")
	})
	p.at("2026-03-04 09:00", func() {
		closed = &clockReply{}
		p.env.UpdateWorkflow(clockUpdate, uuid.NewString(), closed, ClockCommand{RequestID: uuid.New(), TaskID: p.tasks[0].TaskID})
	})
	p.until("2026-03-05 00:00")
	require.Equal(t, "clock_beyond_limit", beyond.code())
	require.Equal(t, "task_closed", closed.code())
	require.True(t, beyond.rejected && closed.rejected, "neither enters the history")
	require.Zero(t, p.calls["SetClock"])
}

func TestARequestThatIsBroughtTwiceIsCarriedOutOnce(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	first, again := &clockReply{}, &clockReply{}
	p.at("2026-03-05 09:00", func() {
		c := p.sets(first, remobilisation, registry.MoreTime, "2026-03-16 17:00")
		p.env.UpdateWorkflow(clockUpdate, uuid.NewString(), again, c)
	})
	p.until("2026-03-05 12:00")
	require.Equal(t, "accepted", again.code())
	require.Equal(t, first.ticket.Due, again.ticket.Due)
	require.Len(t, p.says("more time"), 1)
	require.LessOrEqual(t, p.longest, 30*24*time.Hour)
}
