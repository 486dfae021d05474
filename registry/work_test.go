package registry_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// worklist is what somebody's tab shows: the steps of its tasks, in order.
func (h *house) worklist(by registry.Actor, tab registry.WorkTab, narrow ...func(*registry.WorkFilter)) []registry.WorkLine {
	h.t.Helper()
	f := registry.WorkFilter{Tab: tab}
	for _, set := range narrow {
		set(&f)
	}
	lines, err := h.Store.Work(context.Background(), by, f)
	require.NoError(h.t, err)
	return lines
}

func tasksIn(lines []registry.WorkLine) []uuid.UUID {
	var out []uuid.UUID
	for _, l := range lines {
		out = append(out, l.ID)
	}
	return out
}

// due asks the coordinator a question of a round with a deadline.
func (c *table) due(round int, at time.Time) uuid.UUID {
	c.t.Helper()
	return c.ask(registry.Question{CaseID: c.id, Step: "stemcell.remobilisation", Seat: registry.SeatCoordinator, Role: policy.Coordinator, Round: round, DueAt: at}).TaskID
}

// Wednesday morning, so that the week has days before and after it.
var wednesday = time.Date(2026, time.November, 18, 10, 0, 0, 0, registry.Zone)

// at opens another store on the table's house with a clock of its own.
func (c *table) at(now time.Time) *table {
	clock := newClock()
	clock.at = now
	out := *c
	h := *c.house
	out.house = &h
	h.House = registrytest.OpenHouse(c.t, c.open(registry.Options{Now: clock.now}))
	return &out
}

func TestTheTabsShowWhatIsLateDueTodayThisWeekAndWhatOthersHaveToAnswer(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	c.sql(`UPDATE tasks SET status = 'cancelled'`)
	late := c.due(1, wednesday.Add(-time.Hour))
	today := c.due(2, wednesday.Add(7*time.Hour))
	friday := c.due(3, wednesday.Add(2*24*time.Hour))
	nextWeek := c.due(4, wednesday.Add(6*24*time.Hour))
	drawing := c.task("confirmatory_sample", registry.SeatCollection, 1)
	deciding := c.task("hospital_decision", registry.SeatTransplant, 1)
	now := c.at(wednesday)
	for tab, want := range map[registry.WorkTab][]uuid.UUID{
		registry.WorkOverdue: {late}, registry.WorkToday: {today}, registry.WorkWeek: {today, friday}, registry.WorkAll: {late, today, friday, nextWeek},
		registry.WorkUnassigned: {late, today, friday, nextWeek}, registry.WorkEscalated: nil,
	} {
		for _, who := range []registry.Actor{c.Coordinator, c.CityCoordinator} {
			require.Equal(t, want, tasksIn(now.worklist(who, tab)), "%s", tab)
		}
	}
	require.ElementsMatch(t, []uuid.UUID{drawing, deciding}, tasksIn(now.worklist(c.Coordinator, registry.WorkWaiting)))
	counts, err := now.Store.CountWork(context.Background(), c.Coordinator, registry.WorkFilter{})
	require.NoError(t, err)
	require.Equal(t, registry.WorkCounts{Overdue: 1, Today: 1, Week: 2, Waiting: 2, Unassigned: 4, All: 4}, counts)
	// Who draws sees their own; that the others are asked, they wait for. The patient's side sees its own and nothing of the donor's.
	require.Equal(t, []uuid.UUID{drawing}, tasksIn(now.worklist(c.CollectionDoctor, registry.WorkAll)))
	require.ElementsMatch(t, []uuid.UUID{late, today, friday, nextWeek, deciding}, tasksIn(now.worklist(c.CollectionDoctor, registry.WorkWaiting)))
	require.Equal(t, []uuid.UUID{deciding}, tasksIn(now.worklist(c.TransplantDoctor, registry.WorkAll)))
	require.Empty(t, now.worklist(c.TransplantDoctor, registry.WorkWaiting))
	for _, tab := range registry.WorkTabs() {
		require.Empty(t, now.worklist(c.OtherDoctor, tab))
	}
	_, err = now.Store.Work(context.Background(), c.Administrator, registry.WorkFilter{})
	requireCode(t, err, registry.Denied, "denied")
	for _, role := range policy.Roles() { // whatever somebody is, their list can be read and counted
		who := c.Staff(t, "as-"+string(role), c.County, role, "320106")
		for _, tab := range registry.WorkTabs() {
			if _, err := now.Store.Work(context.Background(), who, registry.WorkFilter{Tab: tab}); err != nil {
				requireCode(t, err, registry.Denied, "denied", string(role), string(tab))
			}
		}
		if _, err := now.Store.CountWork(context.Background(), who, registry.WorkFilter{}); err != nil {
			requireCode(t, err, registry.Denied, "denied", string(role))
		}
	}
	// What has gone up the ladder.
	require.NoError(t, c.Store.NudgeTask(context.Background(), system, registry.Nudge{TaskID: late, Level: 1, At: wednesday}))
	require.Equal(t, []uuid.UUID{late}, tasksIn(now.worklist(c.Coordinator, registry.WorkEscalated)))
	supervisor := c.Staff(t, "cityoffice", c.City, policy.CityOffice, "320100")
	require.Equal(t, []uuid.UUID{late}, tasksIn(now.worklist(supervisor, registry.WorkEscalated)))
	require.Empty(t, now.worklist(supervisor, registry.WorkAll), "what the office only supervises is not its own")
	require.Len(t, now.worklist(supervisor, registry.WorkWaiting), 6)
}

func TestALineSaysHowManyWorkingDaysAreLeftWhyItIsThereAndWhatHappenedSince(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	c.sql(`UPDATE tasks SET status = 'cancelled'`)
	id := c.due(1, calendar.Must(2026, time.November, 24).Start(registry.Zone).Add(17*time.Hour))
	now := c.at(wednesday)
	line := now.worklist(c.Coordinator, registry.WorkAll)[0]
	require.Equal(t, 4, line.WorkingDays, "Thursday, Friday, Monday, Tuesday")
	require.False(t, line.Overdue)
	require.Equal(t, "urgent", line.Urgency)
	require.Equal(t, calendar.Must(2026, time.November, 19).Start(registry.Zone).Add(17*time.Hour), line.RankAt.In(registry.Zone), "three working days before the deadline, for an urgent patient")
	require.Equal(t, "claim", line.Quick)
	require.Equal(t, registry.WorkWhy{Relation: policy.InRegion, Role: policy.Coordinator, Region: "320106", Text: line.Why.Text}, line.Why)
	require.Contains(t, line.Why.Text, "造血干细胞协调员")
	require.Contains(t, line.Why.Text, "鼓楼")
	require.False(t, line.Unread, "what happened last is what the reader did")
	require.NotNil(t, line.Last)
	require.NotContains(t, line.Last.Text, "<no value>")
	_, err := c.Store.LookAtCase(ctx, c.Coordinator, c.id)
	require.NoError(t, err)
	require.False(t, now.worklist(c.Coordinator, registry.WorkAll)[0].Unread)
	require.True(t, now.worklist(c.CityCoordinator, registry.WorkAll)[0].Unread)
	require.NoError(t, c.Store.NudgeTask(ctx, system, registry.Nudge{TaskID: id, At: time.Now()}))
	line = now.worklist(c.Coordinator, registry.WorkAll)[0]
	require.True(t, line.Unread, "something happened since")
	late := c.at(calendar.Must(2026, time.November, 27).Start(registry.Zone).Add(9*time.Hour)).worklist(c.Coordinator, registry.WorkOverdue)[0]
	require.Equal(t, -3, late.WorkingDays)
	require.True(t, late.Overdue)

	task := c.task("confirmatory_sample", registry.SeatCollection, 1)
	doctors := now.worklist(c.CollectionDoctor, registry.WorkAll)[0]
	require.Equal(t, task, doctors.ID)
	require.Empty(t, doctors.Urgency, "whoever must know nothing of the patient")
	require.Equal(t, doctors.DueAt, doctors.RankAt)
	require.Equal(t, policy.Assigned, doctors.Why.Relation)
	waiting := now.worklist(c.Coordinator, registry.WorkWaiting)[0]
	require.Equal(t, []any{"look", policy.InRegion}, []any{waiting.Quick, waiting.Why.Relation})
	c.task("hospital_decision", registry.SeatTransplant, 1)
	patients := now.worklist(c.TransplantDoctor, registry.WorkAll)[0]
	require.Equal(t, "urgent", patients.Urgency)
	require.EqualValues(t, "320000", patients.Region, "of where the donor lives, the province")
	require.NotEqual(t, "task.reminded", patients.Last.Code, "what the donor's side is reminded of is not the patient's side's")
}

func TestThePagesOfAListHaveEveryTaskOnceInTheOrderOfTheirRank(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	c.sql(`UPDATE tasks SET status = 'cancelled'`)
	var want []uuid.UUID
	for i := range 23 {
		id := c.due(i+1, wednesday.Add(time.Duration((i*7)%23/3)*24*time.Hour))
		want = append(want, id)
		if i%4 == 0 { // and the other sides of the union
			c.sql(`UPDATE tasks SET assignee_id = $2 WHERE id = $1`, id, c.Coordinator.Staff())
		}
	}
	now := c.at(wednesday)
	for _, size := range []int{1, 4, 23, 50} {
		var got []registry.WorkLine
		f := registry.WorkFilter{Limit: size}
		for {
			page, err := now.Store.Work(context.Background(), c.Coordinator, f)
			require.NoError(t, err)
			got = append(got, page...)
			if len(page) < size {
				break
			}
			f.After, f.AfterID = page[len(page)-1].RankAt, page[len(page)-1].ID
		}
		require.ElementsMatch(t, want, tasksIn(got), "pages of %d", size)
		require.True(t, slices.IsSortedFunc(got, func(x, y registry.WorkLine) int { return x.RankAt.Compare(y.RankAt) }))
	}
}

func TestAFilterNarrowsTheListAndItsCounts(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	c.sql(`UPDATE tasks SET status = 'cancelled'`)
	a, b := c.due(1, wednesday.Add(time.Hour)), c.task("sample_booking", registry.SeatCoordinator, 9)
	number := value[string](c.house, `SELECT number FROM cases WHERE id = $1`, c.id)
	now := c.at(wednesday)
	for _, f := range []struct {
		set  func(*registry.WorkFilter)
		want []uuid.UUID
	}{
		{func(f *registry.WorkFilter) { f.Step = "stemcell.remobilisation" }, []uuid.UUID{a}},
		{func(f *registry.WorkFilter) { f.Protocol = registry.StemCellProtocol }, []uuid.UUID{a, b}},
		{func(f *registry.WorkFilter) { f.Protocol = registry.CareProtocol }, nil},
		{func(f *registry.WorkFilter) { f.Region = "320106" }, []uuid.UUID{a, b}},
		{func(f *registry.WorkFilter) { f.Region = "320000" }, []uuid.UUID{a, b}},
		{func(f *registry.WorkFilter) { f.Region = "320102" }, nil},
		{func(f *registry.WorkFilter) { f.Number = number }, []uuid.UUID{a, b}},
		{func(f *registry.WorkFilter) { f.Number = number[len(number)-4:] }, []uuid.UUID{a, b}},
		{func(f *registry.WorkFilter) { f.Number = "SC-1999-000001" }, nil},
		{func(f *registry.WorkFilter) { f.Number = "%" }, nil},
		{func(f *registry.WorkFilter) { f.CaseID = c.id }, []uuid.UUID{a, b}},
	} {
		require.ElementsMatch(t, f.want, tasksIn(now.worklist(c.Coordinator, registry.WorkAll, f.set)))
		var filter registry.WorkFilter
		f.set(&filter)
		counts, err := now.Store.CountWork(context.Background(), c.Coordinator, filter)
		require.NoError(t, err)
		require.Equal(t, len(f.want), counts.All)
	}
}

// The numbers on the tabs are those of the lists behind them, whatever lies on the desk, and also where there is more than is looked through at once.
func TestTheTabsCountWhatIsOnThem(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	now := c.at(wednesday)
	colleague := c.Staff(t, "colleague", c.County, policy.Coordinator, "320106")
	readers := []registry.Actor{c.Coordinator, colleague, c.CityCoordinator, c.CollectionDoctor, c.TransplantDoctor, c.Staff(t, "cityoffice", c.City, policy.CityOffice, "320100"), c.OtherDoctor}
	for round, many := range []int{0, 20, 60, 600, 700} {
		c.sql(`DELETE FROM task_leases`)
		c.sql(`DELETE FROM tasks`)
		c.sql(`SELECT setseed($1)`, float64(round)/10)
		c.sql(`
			INSERT INTO tasks (id, case_id, step, round, seat, role, organisation_id, region, status, opened_at, due_at, level, assignee_id, paused_at, paused_for, resumes_at, args)
			SELECT uuid_v7(), $1, 'stemcell.remobilisation', n, 'coordinator', CASE WHEN kind < 0.75 THEN 'coordinator' WHEN kind < 0.85 THEN 'collection_hospital' ELSE 'transplant_hospital' END,
				CASE WHEN kind < 0.7 THEN NULL WHEN kind < 0.75 THEN $2::uuid WHEN kind < 0.85 THEN $3::uuid ELSE $4::uuid END, '320106', CASE WHEN x[2] < 0.05 THEN 'done' ELSE 'open' END, $5::timestamptz - interval '9 days',
				$5::timestamptz + (x[3] * 20 - 8) * interval '1 day', CASE WHEN x[4] < 0.2 THEN 1 ELSE 0 END, CASE WHEN x[5] < 0.15 THEN $6::uuid WHEN x[5] < 0.3 THEN $7::uuid END,
				CASE WHEN x[6] < 0.15 THEN $5::timestamptz END, CASE WHEN x[6] < 0.15 THEN 'waiting_donor' ELSE '' END, CASE WHEN x[6] < 0.15 THEN $5::timestamptz + interval '2 days' END, '{}'
			FROM (SELECT n, random() AS kind, ARRAY[random(), random(), random(), random(), random(), random()] AS x FROM generate_series(1, $8::int) n) r`,
			c.id, c.County.ID, c.Collection.ID, c.Transplant.ID, wednesday, c.Coordinator.Staff(), colleague.Staff(), many)
		c.sql(`INSERT INTO task_leases (task_id, staff_id, organisation_id, since, until) SELECT id, $1, $2, $3::timestamptz, $3::timestamptz + (random() - 0.3) * interval '1 hour' FROM tasks WHERE random() < 0.2`,
			colleague.Staff(), c.County.ID, wednesday)
		for _, who := range readers {
			counts, err := now.Store.CountWork(context.Background(), who, registry.WorkFilter{})
			require.NoError(t, err)
			for _, tab := range registry.WorkTabs() {
				listed := now.worklist(who, tab, func(f *registry.WorkFilter) { f.Limit = 200 })
				require.Equal(t, min(len(listed), registry.MostCounted), counts.Of(tab), "%s of %s, of %d tasks", tab, who.Name, many)
			}
		}
	}
}

func TestOfTwoWhoClaimATaskAtOnceOneGetsItAndTheOtherIsToldWho(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	for round := 1; round <= 8; round++ {
		task := c.due(round, time.Now().Add(48*time.Hour))
		claim := func(who registry.Actor) func() error {
			return func() error { _, err := c.Store.ClaimTask(ctx, who, task); return err }
		}
		people := []registry.Actor{c.Coordinator, c.CityCoordinator}
		errs := atOnce(claim(people[0]), claim(people[1]))
		lost := slices.IndexFunc(errs, func(err error) bool { return err != nil })
		require.GreaterOrEqual(t, lost, 0, "both got it")
		require.NoError(t, errs[1-lost])
		requireCode(t, errs[lost], registry.Conflict, "task_held")
		var told *registry.Error
		require.ErrorAs(t, errs[lost], &told)
		require.Equal(t, people[1-lost].Name, told.Args["Holder"])
		_, err := c.tryPropose(people[lost], task, fields{"outcome": "willing"})
		requireCode(t, err, registry.Conflict, "task_held")
	}
}

func TestALeaseIsRenewedGivenBackAndEndsByItself(t *testing.T) {
	t.Parallel()
	clock := newClock()
	h := newHouse(t, registry.Options{Now: clock.now})
	c := &table{house: h, donor: h.listed(gl)[0], search: h.search(h.TransplantDoctor, "").ID}
	c.id = h.request(h.TransplantDoctor, c.search, c.donor)[0]
	ctx := context.Background()
	task := c.due(7, time.Now().Add(48*time.Hour))
	first, err := c.Store.ClaimTask(ctx, c.Coordinator, task)
	require.NoError(t, err)
	require.WithinDuration(t, clock.now().Add(30*time.Minute), first.Until, time.Second)
	clock.pass(20 * time.Minute)
	second, err := c.Store.ClaimTask(ctx, c.Coordinator, task)
	require.NoError(t, err)
	require.WithinDuration(t, clock.now().Add(30*time.Minute), second.Until, time.Second)
	clock.pass(20 * time.Minute)
	_, err = c.Store.ClaimTask(ctx, c.CityCoordinator, task)
	requireCode(t, err, registry.Conflict, "task_held")
	line := c.worklist(c.CityCoordinator, registry.WorkAll, func(f *registry.WorkFilter) { f.Step = "stemcell.remobilisation" })
	require.Equal(t, []any{"look", "Test coordinator", false}, []any{line[len(line)-1].Quick, line[len(line)-1].Lease.Holder.Name, line[len(line)-1].Lease.Mine})
	require.NoError(t, c.Store.ReleaseTask(ctx, c.CityCoordinator, task), "giving back what one does not have changes nothing")
	_, err = c.Store.ClaimTask(ctx, c.CityCoordinator, task)
	requireCode(t, err, registry.Conflict, "task_held")
	require.NoError(t, c.Store.ReleaseTask(ctx, c.Coordinator, task))
	_, err = c.Store.ClaimTask(ctx, c.CityCoordinator, task)
	require.NoError(t, err)
	clock.pass(31 * time.Minute)
	_, err = c.Store.ClaimTask(ctx, c.Coordinator, task)
	require.NoError(t, err, "it ended by itself")
	_, err = c.Store.ClaimTask(ctx, c.CollectionDoctor, task)
	require.Error(t, err)
	// Whoever holds it answers, and then nobody does.
	c.answer(c.Coordinator, task, fields{"outcome": "willing"}, to("stemcell.sample_booking"))
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM task_leases WHERE task_id = $1`, task))
	_, err = c.Store.ClaimTask(ctx, c.Coordinator, task)
	requireCode(t, err, registry.Refused, "task_closed")
}

// Between the answer and the desk somebody may claim the task: what the desk brings then is refused, and says no name.
func TestAnAnswerThatTheDeskBringsWhileAColleagueHoldsTheTaskIsRefused(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.due(7, time.Now().Add(48*time.Hour))
	p := c.propose(c.Coordinator, task, fields{"outcome": "willing"})
	_, err := c.Store.ClaimTask(ctx, c.CityCoordinator, task)
	requireCode(t, err, registry.Refused, "task_being_answered")
	c.sql(`INSERT INTO task_leases (task_id, staff_id, organisation_id, since, until) VALUES ($1, $2, $3, now(), now() + interval '10 minutes')`, task, c.CityCoordinator.Staff(), c.City.ID)
	_, err = c.settle(p, to("stemcell.sample_booking"))
	requireCode(t, err, registry.Conflict, "task_held")
	var told *registry.Error
	require.ErrorAs(t, err, &told)
	require.Empty(t, told.Args)
	require.Equal(t, "open", value[string](c.house, `SELECT status FROM tasks WHERE id = $1`, task))
}

func TestATaskIsGivenOnlyToAColleagueWhoCanAnswerIt(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.due(7, time.Now().Add(48*time.Hour))
	far := c.Staff(t, "beijing", c.OtherTransplant, policy.Registrar, "110108")
	farCoordinator := c.Staff(t, "farcoordinator", c.College, policy.Coordinator, "110108")
	for _, who := range []registry.Actor{c.Registrar, c.CollectionDoctor, c.TransplantDoctor, far, farCoordinator} {
		_, err := c.Store.AssignTask(ctx, c.Coordinator, task, 0, registry.AssignForm{Staff: who.Staff()})
		requireCode(t, err, registry.Refused, "colleague_cannot", who.Name)
	}
	_, err := c.Store.AssignTask(ctx, c.Coordinator, task, 0, registry.AssignForm{Staff: uuid.New()})
	requireCode(t, err, registry.NotFound, "staff_not_found")
	names, err := c.Store.Colleagues(ctx, c.Coordinator, task)
	require.NoError(t, err)
	require.ElementsMatch(t, []registry.Coworker{{Staff: c.Coordinator.Staff(), Name: "Test coordinator", Me: true}, {Staff: c.CityCoordinator.Staff(), Name: "Test citycoordinator"}}, names)
	v, err := c.Store.AssignTask(ctx, c.Coordinator, task, 0, registry.AssignForm{Staff: c.CityCoordinator.Staff()})
	require.NoError(t, err)
	require.NotContains(t, tasksIn(c.worklist(c.Coordinator, registry.WorkAll)), task, "it is a colleague's now")
	require.Contains(t, tasksIn(c.worklist(c.Coordinator, registry.WorkWaiting)), task)
	mine := c.worklist(c.CityCoordinator, registry.WorkAll, func(f *registry.WorkFilter) { f.Step = "stemcell.remobilisation" })
	given := mine[slices.IndexFunc(mine, func(l registry.WorkLine) bool { return l.ID == task })]
	require.Equal(t, []any{"answer", true, policy.Assigned}, []any{given.Quick, given.Owner.Me, given.Why.Relation})
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM notices WHERE code = 'task.assigned' AND staff_id = $1`, c.CityCoordinator.Staff()))
	_, err = c.Store.ClaimTask(ctx, c.Coordinator, task)
	requireCode(t, err, registry.Refused, "task_assigned")
	_, err = c.Store.AssignTask(ctx, c.Coordinator, task, v.Version-1, registry.AssignForm{})
	requireCode(t, err, registry.Stale, "task_changed")
	_, err = c.Store.ClaimTask(ctx, c.CityCoordinator, task)
	require.NoError(t, err)
	_, err = c.Store.AssignTask(ctx, c.Coordinator, task, 0, registry.AssignForm{})
	requireCode(t, err, registry.Conflict, "task_held")
	_, err = c.Store.AssignTask(ctx, c.CityCoordinator, task, 0, registry.AssignForm{})
	require.NoError(t, err)
	require.Contains(t, tasksIn(c.worklist(c.Coordinator, registry.WorkAll)), task)
	c.answer(c.CityCoordinator, task, fields{"outcome": "willing"}, to("stemcell.sample_booking"))
}

func TestManyTasksAreGivenAtOnceEachWithItsOutcome(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	free, held := c.due(7, time.Now().Add(48*time.Hour)), c.due(8, time.Now().Add(48*time.Hour))
	drawing := c.task("confirmatory_sample", registry.SeatCollection, 1)
	_, err := c.Store.ClaimTask(ctx, c.CityCoordinator, held)
	require.NoError(t, err)
	stranger := uuid.New()
	done, err := c.Store.AssignTasks(ctx, c.Coordinator, registry.AssignManyForm{Staff: c.Coordinator.Staff(), Tasks: []uuid.UUID{free, held, drawing, stranger}})
	require.NoError(t, err)
	var codes []string
	for _, d := range done {
		codes = append(codes, fmt.Sprint(d.Done, d.Code))
		require.Equal(t, d.Done, d.Text == "")
	}
	require.Equal(t, []string{"true", "falsetask_held", "falsetask_not_yours", "falsetask_not_found"}, codes)
	many := make([]uuid.UUID, 101)
	for i := range many {
		many[i] = uuid.New()
	}
	_, err = c.Store.AssignTasks(ctx, c.Coordinator, registry.AssignManyForm{Tasks: many})
	requireCode(t, err, registry.Invalid, "form_invalid")
}

func TestASupervisorTakesATaskOverAndNobodyElseDoes(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	supervisor := c.Staff(t, "cityoffice", c.City, policy.CityOffice, "320100")
	elsewhere := c.Staff(t, "otheroffice", c.City, policy.CountyOffice, "320102")
	task := c.due(7, time.Now().Add(48*time.Hour))
	f := registry.LeaseForm{Reason: "absent"}
	_, err := c.Store.TakeOverTask(ctx, supervisor, task, f)
	requireCode(t, err, registry.Refused, "task_free")
	_, err = c.Store.ClaimTask(ctx, c.Coordinator, task)
	require.NoError(t, err)
	for _, who := range []registry.Actor{c.CityCoordinator, c.Coordinator} {
		_, err = c.Store.TakeOverTask(ctx, who, task, f)
		requireCode(t, err, registry.Denied, "task_not_supervised")
	}
	_, err = c.Store.TakeOverTask(ctx, elsewhere, task, f)
	requireCode(t, err, registry.NotFound, "task_not_found")
	_, err = c.Store.TakeOverTask(ctx, supervisor, task, registry.LeaseForm{})
	requireProblem(t, err, "R101", "reason")
	_, err = c.Store.TakeOverTask(ctx, supervisor, task, f)
	require.NoError(t, err)
	require.Equal(t, 1, c.events("task.taken_over"))
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM notices WHERE code = 'task.taken_over' AND staff_id = $1`, c.Coordinator.Staff()))
	_, err = c.Store.ClaimTask(ctx, c.CityCoordinator, task)
	require.NoError(t, err, "it is free again: the office does not answer what a coordinator is asked")
	_, err = c.Store.TakeOverTask(ctx, supervisor, task, registry.LeaseForm{Reason: "stuck", To: c.Coordinator.Staff()})
	require.NoError(t, err)
	_, err = c.Store.ClaimTask(ctx, c.Coordinator, task)
	require.NoError(t, err)
	// A supervisor decides about the Red Cross's work, not about a hospital's.
	drawing := c.task("confirmatory_sample", registry.SeatCollection, 1)
	_, err = c.Store.ClaimTask(ctx, c.CollectionDoctor, drawing)
	require.NoError(t, err)
	_, err = c.Store.TakeOverTask(ctx, supervisor, drawing, f)
	requireCode(t, err, registry.Denied, "task_not_supervised")
	_, err = c.tryPropose(supervisor, task, fields{"outcome": "willing"})
	require.Error(t, err, "and answers nothing itself")
}

// Whatever is claimed, given back, assigned and waited for: no two people ever hold a task, and an answer is only taken from its holder.
func TestNoTwoPeopleEverHoldATask(t *testing.T) {
	t.Parallel()
	clock := newClock()
	h := newHouse(t, registry.Options{Now: clock.now})
	c := &table{house: h, donor: h.listed(gl)[0], search: h.search(h.TransplantDoctor, "").ID}
	c.id = h.request(h.TransplantDoctor, c.search, c.donor)[0]
	ctx := context.Background()
	people := []registry.Actor{c.Coordinator, c.CityCoordinator, c.Staff(t, "third", c.County, policy.Coordinator, "320106")}
	round := 10
	rapid.Check(t, func(r *rapid.T) {
		round++
		task := c.due(round, clock.now().Add(48*time.Hour))
		holder, until := -1, time.Time{}
		for range rapid.IntRange(1, 8).Draw(r, "steps") {
			who := rapid.IntRange(0, 2).Draw(r, "who")
			live := holder >= 0 && clock.now().Before(until)
			switch rapid.IntRange(0, 2).Draw(r, "what") {
			case 0:
				l, err := c.Store.ClaimTask(ctx, people[who], task)
				if live && holder != who {
					require.Equal(r, "task_held", registry.CodeOf(err))
				} else {
					require.NoError(r, err)
					holder, until = who, l.Until
				}
			case 1:
				require.NoError(r, c.Store.ReleaseTask(ctx, people[who], task))
				if holder == who {
					holder = -1
				}
			default:
				clock.pass(time.Duration(rapid.IntRange(1, 40).Draw(r, "minutes")) * time.Minute)
			}
		}
		who := rapid.IntRange(0, 2).Draw(r, "answers")
		_, err := c.tryPropose(people[who], task, fields{"outcome": "willing"})
		if holder >= 0 && clock.now().Before(until) && holder != who {
			require.Equal(r, "task_held", registry.CodeOf(err))
		} else {
			require.NoError(r, err)
		}
	})
}

func TestAViewIsKeptUnderItsNameAndOneIsTheDefault(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	mine, err := h.Store.SaveView(ctx, h.Coordinator, registry.SavedViewForm{Name: "我的逾期", Query: registry.SavedQuery{Tab: registry.WorkOverdue}, Default: true})
	require.NoError(t, err)
	second, err := h.Store.SaveView(ctx, h.Coordinator, registry.SavedViewForm{Name: "Nanjing", Query: registry.SavedQuery{Tab: registry.WorkAll, Region: "320100"}, Default: true})
	require.NoError(t, err)
	changed, err := h.Store.SaveView(ctx, h.Coordinator, registry.SavedViewForm{Name: "NANJING", Query: registry.SavedQuery{Tab: registry.WorkToday}, Default: true})
	require.NoError(t, err)
	require.Equal(t, []any{second.ID, int64(2)}, []any{changed.ID, changed.Version})
	list, err := h.Store.ListViews(ctx, h.Coordinator)
	require.NoError(t, err)
	require.Len(t, list, 2)
	for _, v := range list {
		require.Equal(t, v.ID == changed.ID, v.Default)
	}
	_, err = h.Store.SaveView(ctx, h.Coordinator, registry.SavedViewForm{Name: "x", Query: registry.SavedQuery{Tab: "everything"}})
	requireCode(t, err, registry.Invalid, "form_invalid")
	theirs, err := h.Store.ListViews(ctx, h.CityCoordinator)
	require.NoError(t, err)
	require.Empty(t, theirs, "a colleague's views are their own")
	require.NoError(t, h.Store.DropView(ctx, h.CityCoordinator, mine.ID))
	require.NoError(t, h.Store.DropView(ctx, h.Coordinator, changed.ID))
	list, err = h.Store.ListViews(ctx, h.Coordinator)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, mine.ID, list[0].ID)
}
