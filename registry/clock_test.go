package registry_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
)

func (c *table) asks(by registry.Actor, task uuid.UUID, kind, reason string, until calendar.Date) (registry.ClockRequest, error) {
	c.t.Helper()
	return c.Store.AskClock(context.Background(), by, registry.ClockAsk{TaskID: task, Command: uuid.NewString(), Kind: kind, Reason: reason, Until: until})
}

// set carries a request out, as the desk does.
func (c *table) set(k registry.ClockRequest, at time.Time) (registry.Ticket, error) {
	c.t.Helper()
	who, err := c.Store.ActorOf(context.Background(), k.Decider)
	require.NoError(c.t, err)
	return c.Store.SetClock(context.Background(), who, registry.ClockChange{RequestID: k.ID, Staff: k.Decider, At: at})
}

func closing(d calendar.Date) time.Time { return d.Start(registry.Zone).Add(17 * time.Hour) }

func day(month time.Month, d int) calendar.Date { return calendar.Must(2026, month, d) }

func TestWhoAnswersGivesThemselvesMoreTimeTwiceAndThenASupervisorDecides(t *testing.T) {
	t.Parallel()
	c := newTable(t).at(wednesday)
	ctx := context.Background()
	supervisor := c.Staff(t, "countyoffice", c.County, policy.CountyOffice, "320106")
	task := c.due(7, closing(day(time.November, 20)))
	k, err := c.asks(c.Coordinator, task, registry.MoreTime, "waiting_donor", day(time.November, 25))
	require.NoError(t, err)
	require.Equal(t, "pending", k.Status)
	_, err = c.asks(c.Coordinator, task, registry.MoreTime, "waiting_donor", day(time.November, 26))
	requireCode(t, err, registry.Conflict, "clock_asked")
	ticket, err := c.set(k, wednesday)
	require.NoError(t, err)
	require.Equal(t, closing(day(time.November, 25)), ticket.Due.In(registry.Zone))
	again, err := c.set(k, wednesday.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, ticket.Due, again.Due, "it is done once")
	line := c.worklist(c.Coordinator, registry.WorkAll, func(f *registry.WorkFilter) { f.Step = "stemcell.remobilisation" })
	require.Equal(t, []any{5, 1, closing(day(time.November, 20))}, []any{line[len(line)-1].WorkingDays, line[len(line)-1].Extended, line[len(line)-1].RankAt.In(registry.Zone)})
	k, err = c.asks(c.CityCoordinator, task, registry.MoreTime, "workload", day(time.November, 27))
	require.NoError(t, err)
	_, err = c.set(k, wednesday)
	require.NoError(t, err)

	third, err := c.asks(c.Coordinator, task, registry.MoreTime, "waiting_family", day(time.November, 30))
	require.NoError(t, err)
	require.Equal(t, "waiting", third.Status)
	_, err = c.set(third, wednesday)
	requireCode(t, err, registry.Stale, "clock_changed")
	list, err := c.Store.ListClocks(ctx, supervisor, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM notices WHERE code = 'task.more_time_asked' AND role = 'county_office'`))
	for _, who := range []registry.Actor{c.Coordinator, c.CityCoordinator} {
		_, err = c.Store.DecideClock(ctx, who, third.ID, 0, registry.ClockVerdict{Verdict: "grant"})
		requireCode(t, err, registry.Denied, "task_not_supervised")
	}
	_, err = c.Store.DecideClock(ctx, c.OtherDoctor, third.ID, 0, registry.ClockVerdict{Verdict: "grant"})
	requireCode(t, err, registry.NotFound, "clock_not_found")
	granted, err := c.Store.DecideClock(ctx, supervisor, third.ID, third.Version, registry.ClockVerdict{Verdict: "grant"})
	require.NoError(t, err)
	require.Equal(t, []any{"pending", supervisor.Staff()}, []any{granted.Status, granted.Decider})
	ticket, err = c.set(granted, wednesday)
	require.NoError(t, err)
	require.Equal(t, closing(day(time.November, 30)), ticket.Due.In(registry.Zone))
	require.Equal(t, 3, c.events("task.more_time"))
	// Too far at once, and refused.
	fourth, err := c.asks(c.Coordinator, task, registry.MoreTime, "waiting_family", day(time.December, 30))
	require.NoError(t, err)
	refused, err := c.Store.DecideClock(ctx, supervisor, fourth.ID, 0, registry.ClockVerdict{Verdict: "refuse"})
	require.NoError(t, err)
	require.Equal(t, "refused", refused.Status)
	_, err = c.Store.DecideClock(ctx, supervisor, fourth.ID, 0, registry.ClockVerdict{Verdict: "grant"})
	requireCode(t, err, registry.Refused, "clock_decided")
	_, err = c.asks(c.Coordinator, task, registry.MoreTime, "workload", day(time.November, 30))
	requireCode(t, err, registry.Refused, "more_time_not_later")
	_, err = c.asks(c.CollectionDoctor, task, registry.MoreTime, "workload", day(time.December, 1))
	require.Error(t, err)
}

// More time than a week at once is not one's own to give, however often it was given before.
func TestMoreThanTheRuleGivesAtOnceIsTheSupervisors(t *testing.T) {
	t.Parallel()
	c := newTable(t).at(wednesday)
	for until, status := range map[calendar.Date]string{day(time.November, 27): "pending", day(time.November, 30): "waiting"} {
		task := c.due(10+until.Day(), closing(day(time.November, 20)))
		k, err := c.asks(c.Coordinator, task, registry.MoreTime, "workload", until)
		require.NoError(t, err)
		require.Equal(t, status, k.Status, "%s", until)
	}
}

func TestAPausedClockCountsForNothingAndTheDeadlineMovesByTheWorkingDaysThatItStood(t *testing.T) {
	t.Parallel()
	c := newTable(t).at(wednesday)
	ctx := context.Background()
	c.sql(`UPDATE tasks SET status = 'cancelled'`)
	task := c.due(7, closing(day(time.November, 19)))
	_, err := c.asks(c.Coordinator, task, registry.Resume, "", calendar.Date{})
	requireCode(t, err, registry.Refused, "task_not_paused")
	_, err = c.asks(c.Coordinator, task, registry.Pause, "waiting_donor", day(time.December, 30))
	requireCode(t, err, registry.Refused, "pause_too_long")
	_, err = c.asks(c.Coordinator, task, registry.Pause, "because", day(time.November, 25))
	requireCode(t, err, registry.Invalid, "form_invalid")
	k, err := c.asks(c.Coordinator, task, registry.Pause, "waiting_donor", day(time.November, 27))
	require.NoError(t, err)
	ticket, err := c.set(k, wednesday)
	require.NoError(t, err)
	require.Equal(t, closing(day(time.November, 27)), ticket.PausedUntil.In(registry.Zone))
	late := c.at(wednesday.Add(3 * 24 * time.Hour))
	require.Empty(t, late.worklist(c.Coordinator, registry.WorkOverdue), "its clock stands still")
	waits := late.worklist(c.Coordinator, registry.WorkWaiting)
	require.Len(t, waits, 1)
	require.Equal(t, []any{"waiting_donor", "resume", false}, []any{waits[0].Paused.Reason, waits[0].Quick, waits[0].Overdue})
	require.NoError(t, c.Store.NudgeTask(ctx, system, registry.Nudge{TaskID: task, Level: 1, At: wednesday.Add(4 * 24 * time.Hour)}))
	require.Equal(t, 0, c.events("task.escalated"))
	// It does not run before its time by itself, and a question that is asked again finds it standing.
	early, err := c.Store.ResumeTask(ctx, system, registry.TaskAt{TaskID: task, At: wednesday.Add(24 * time.Hour)})
	require.NoError(t, err)
	require.False(t, early.PausedUntil.IsZero())
	found := c.ask(registry.Question{CaseID: c.id, Step: "stemcell.remobilisation", Seat: registry.SeatCoordinator, Role: policy.Coordinator, Round: 7, At: wednesday})
	require.Equal(t, []any{task, ticket.PausedUntil.UTC()}, []any{found.TaskID, found.PausedUntil.UTC()})

	k, err = c.asks(c.CityCoordinator, task, registry.Resume, "", calendar.Date{})
	require.NoError(t, err)
	ticket, err = c.set(k, closing(day(time.November, 24)).Add(-time.Hour))
	require.NoError(t, err)
	require.Equal(t, closing(day(time.November, 25)), ticket.Due.In(registry.Zone), "it stood four working days")
	require.True(t, ticket.PausedUntil.IsZero())
	require.Equal(t, []int{1, 1}, []int{c.events("task.paused"), c.events("task.resumed")})
	// The second pause ends by itself, and there is no third.
	k, err = c.asks(c.Coordinator, task, registry.Pause, "waiting_hospital", day(time.November, 20))
	require.NoError(t, err)
	_, err = c.set(k, wednesday)
	require.NoError(t, err)
	ticket, err = c.Store.ResumeTask(ctx, system, registry.TaskAt{TaskID: task, At: closing(day(time.November, 20))})
	require.NoError(t, err)
	require.Equal(t, closing(day(time.November, 27)), ticket.Due.In(registry.Zone))
	_, err = c.asks(c.Coordinator, task, registry.Pause, "waiting_hospital", day(time.November, 20))
	requireCode(t, err, registry.Refused, "pause_too_often")
	// A supervisor may let it run, and asks for nothing else.
	supervisor := c.Staff(t, "countyoffice", c.County, policy.CountyOffice, "320106")
	_, err = c.asks(supervisor, task, registry.MoreTime, "workload", day(time.December, 1))
	require.Error(t, err)
	_, err = c.asks(supervisor, task, registry.Resume, "", calendar.Date{})
	requireCode(t, err, registry.Refused, "task_not_paused")
}

func TestTheSameCommandAsksOnceAndWhatTheDeskDidNotTakeIsBroughtAgain(t *testing.T) {
	t.Parallel()
	c := newTable(t).at(wednesday)
	ctx := context.Background()
	task := c.due(7, closing(day(time.November, 19)))
	in := registry.ClockAsk{TaskID: task, Command: "command", Kind: registry.MoreTime, Reason: "workload", Until: day(time.November, 20)}
	first, err := c.Store.AskClock(ctx, c.Coordinator, in)
	require.NoError(t, err)
	again, err := c.Store.AskClock(ctx, c.Coordinator, in)
	require.NoError(t, err)
	require.Equal(t, first, again)
	pending, err := c.Store.PendingClocks(ctx, 10, time.Minute)
	require.NoError(t, err)
	require.Empty(t, pending, "whoever asked brings it first")
	c.sql(`UPDATE clock_requests SET next_at = now()`)
	pending, err = c.Store.PendingClocks(ctx, 10, time.Minute)
	require.NoError(t, err)
	require.Equal(t, []registry.ClockRequest{first}, pending)
	pending, err = c.Store.PendingClocks(ctx, 10, time.Minute)
	require.NoError(t, err)
	require.Empty(t, pending, "one relay has it")
	require.NoError(t, c.Store.RefuseClock(ctx, first.ID, "clock_beyond_limit"))
	_, err = c.set(first, wednesday)
	requireCode(t, err, registry.Refused, "clock_beyond_limit")
	require.Equal(t, closing(day(time.November, 19)), value[time.Time](c.house, `SELECT due_at FROM tasks WHERE id = $1`, task).In(registry.Zone))
	// While a colleague is at the task its clock is theirs.
	_, err = c.Store.ClaimTask(ctx, c.CityCoordinator, task)
	require.NoError(t, err)
	_, err = c.asks(c.Coordinator, task, registry.MoreTime, "workload", day(time.November, 20))
	requireCode(t, err, registry.Conflict, "task_held")
}
