package registry_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// aMonday is a Monday without holidays near it, at noon of the office.
var aMonday = time.Date(2027, time.March, 8, 12, 0, 0, 0, registry.Zone)

// waits opens a search and asks its hospital, whose deadline is counted in working days, at an instant.
func (h *house) waits(at time.Time) registry.Ticket {
	h.t.Helper()
	s, err := h.Store.OpenSearch(context.Background(), h.TransplantDoctor, registry.SearchForm{Patient: h.patient(h.TransplantDoctor).ID})
	require.NoError(h.t, err)
	return h.ask(registry.Question{CaseID: s.ID, Step: "search.choice", Seat: registry.SeatTransplant, Role: policy.TransplantHospital, Rule: rules.StemCellChoice, At: at})
}

func TestADayThatARegionDeclaresCountsFromThenOnAndMovesNothingThatWaits(t *testing.T) {
	t.Parallel()
	clock := newClock()
	clock.at = aMonday
	h := newHouse(t, registry.Options{Now: clock.now})
	ctx := context.Background()
	before := h.waits(aMonday)
	free := registry.CalendarDayForm{Region: "310000", Day: calendar.Of(aMonday, registry.Zone).AddDays(2), Name: "全市停电", Source: "沪府发〔2027〕8 号"}

	effect, err := h.Store.PreviewCalendarDay(ctx, h.Administrator, free, false)
	require.NoError(t, err)
	require.Equal(t, 1, effect.Tasks)
	require.Equal(t, 1, effect.Later)
	require.Zero(t, effect.Earlier)
	require.Equal(t, "search.choice", effect.Steps[0].Step)
	require.Equal(t, calendar.Of(before.Due, registry.Zone), effect.Steps[0].Due)
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM calendar_days`), "a preview keeps nothing")
	elsewhere := free
	elsewhere.Region = "320100"
	effect, err = h.Store.PreviewCalendarDay(ctx, h.Administrator, elsewhere, false)
	require.NoError(t, err)
	require.Zero(t, effect.Tasks)

	set, err := h.Store.SetCalendarDay(ctx, h.Administrator, 0, free)
	require.NoError(t, err)
	require.Equal(t, int64(1), set.Version)
	require.Equal(t, before.Due.UTC(), value[time.Time](h, `SELECT due_at FROM tasks WHERE id = $1`, before.TaskID).UTC(), "what waits keeps its deadline")
	after := h.waits(aMonday)
	require.Equal(t, before.Due.AddDate(0, 0, 1), after.Due, "what is asked from then on is counted over the day")
	would := value[time.Time](h, `SELECT due_at FROM tasks WHERE id = $1`, after.TaskID)

	// The day is in the list of the county below, and not in that of another city.
	list, err := h.Store.CalendarDays(ctx, h.Coordinator, "310104", 2027)
	require.NoError(t, err)
	require.Contains(t, list, set)
	list, err = h.Store.CalendarDays(ctx, h.Coordinator, "320106", 2027)
	require.NoError(t, err)
	require.NotContains(t, list, set)

	// Taking it back previews the same the other way.
	effect, err = h.Store.PreviewCalendarDay(ctx, h.Administrator, registry.CalendarDayForm{Region: free.Region, Day: free.Day}, true)
	require.NoError(t, err)
	require.Equal(t, 1, effect.Earlier, "the second; the first was counted without it")
	require.Equal(t, calendar.Of(would, registry.Zone), effect.Steps[0].Due)
	_, err = h.Store.SetCalendarDay(ctx, h.Administrator, 0, free)
	requireCode(t, err, registry.Stale, "calendar_day_changed")
	err = h.Store.RemoveCalendarDay(ctx, h.Administrator, 7, free.Region, free.Day)
	requireCode(t, err, registry.Stale, "calendar_day_changed")
	require.NoError(t, h.Store.RemoveCalendarDay(ctx, h.Administrator, 1, free.Region, free.Day))
	require.Equal(t, before.Due, h.waits(aMonday).Due)

	past := free
	past.Day = calendar.Of(aMonday, registry.Zone).AddDays(-1)
	_, err = h.Store.SetCalendarDay(ctx, h.Administrator, 0, past)
	requireProblem(t, err, "R139", "day")
	local := h.Staff(t, "localadministrator", h.County, policy.SystemAdministrator, "320106")
	for who, actor := range map[string]registry.Actor{"a coordinator": h.Coordinator, "another region's administrator": local, "security": h.Security} {
		_, err = h.Store.SetCalendarDay(ctx, actor, 0, free)
		requireCode(t, err, registry.Denied, "denied", who)
		_, err = h.Store.PreviewCalendarDay(ctx, actor, free, false)
		requireCode(t, err, registry.Denied, "denied", who)
	}
}

func TestAnotherValueOfARuleIsCountedOnWhatWaitsAndChangesNothing(t *testing.T) {
	t.Parallel()
	clock := newClock()
	clock.at = aMonday
	h := newHouse(t, registry.Options{Now: clock.now})
	ctx := context.Background()
	h.waits(aMonday)
	odd := h.waits(aMonday.AddDate(0, 0, -1))
	h.sql(`UPDATE tasks SET due_at = due_at + interval '1 hour' WHERE id = $1`, odd.TaskID)
	try := func(key rules.Key, value string) registry.DryRun {
		out, err := h.Store.DryRunRule(ctx, h.Administrator, registry.DryRunForm{Region: nationRegion, Key: key, Value: value})
		require.NoError(t, err)
		return out
	}
	d := try(rules.StemCellChoice, "1 wd")
	require.Equal(t, registry.DryRun{Key: rules.StemCellChoice, Is: d.Is, Tried: "1 wd", Of: "tasks", Counted: 1, Others: 1, Earlier: 1}, d)
	require.Equal(t, 1, try(rules.StemCellChoice, "60 wd").Later)
	require.Zero(t, try(rules.StemCellChoice, d.Is).Earlier+try(rules.StemCellChoice, d.Is).Later)
	clock.pass(10 * 24 * time.Hour)
	require.Equal(t, 1, try(rules.StemCellChoice, "1 wd").Overdue+try(rules.StemCellChoice, "60 wd").Saved)

	// Donors by their age: born in 2000. A few are nobody's to know of.
	h.listed(gl, gl, gl, gl)
	d = try(rules.StemCellLeavesAt, "20 y")
	require.True(t, d.Few)
	require.Zero(t, d.Newly)
	h.listedFrom(5, gl)
	d = try(rules.StemCellLeavesAt, "20 y")
	require.Equal(t, 5, d.Newly)
	require.False(t, d.Few)
	require.Equal(t, "donors", d.Of)
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM registrations WHERE status = 'left'`))

	for value, want := range map[string]struct {
		key  rules.Key
		code string
	}{
		"5 ml": {rules.StemCellChoice, "rule_unit"}, "often": {rules.StemCellChoice, "rule_unit"}, "1 wd, 2 wd": {rules.StemCellChoice, "rule_one_value"}, "1 d": {"no.such.rule", "rule_not_found"},
		"99 y": {rules.StemCellLeavesAt, "rule_weaker"}, "2 h": {rules.AccessEmergency, "rule_not_tried"},
	} {
		_, err := h.Store.DryRunRule(ctx, h.Administrator, registry.DryRunForm{Region: "320100", Key: want.key, Value: value})
		require.Equal(t, want.code, registry.CodeOf(err), "%s: %v", value, err)
	}
	_, err := h.Store.DryRunRule(ctx, h.Coordinator, registry.DryRunForm{Key: rules.StemCellChoice, Value: "1 wd"})
	requireCode(t, err, registry.Denied, "denied")
	_, err = h.Store.DryRunRule(ctx, h.Staff(t, "localadministrator", h.County, policy.SystemAdministrator, "320106"), registry.DryRunForm{Region: nationRegion, Key: rules.StemCellChoice, Value: "1 wd"})
	requireCode(t, err, registry.Denied, "denied", "the nation's are not a county's to count")
}

const nationRegion = identity.Nation

func TestTheRulesOfAPlaceAreToldWithTheirSourceAndThoseThatDifferElsewhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	all, err := h.Store.ShowRules(ctx, h.Coordinator, registry.Place{}, nil)
	require.NoError(t, err)
	require.Greater(t, len(all), 60)
	for _, l := range all {
		require.NotEmpty(t, l.Value, l.Key)
		require.NotEmpty(t, l.Source, l.Key)
		require.NotEmpty(t, l.Pack, l.Key)
	}
	same, err := h.Store.ShowRules(ctx, h.Coordinator, registry.Place{Region: "320106"}, &registry.Place{Region: "310104"})
	require.NoError(t, err)
	require.Empty(t, same, "no region has a pack of its own here")
	packs, err := h.Store.ListPacks(ctx, h.Coordinator)
	require.NoError(t, err)
	require.NotEmpty(t, packs)
}

func TestWhatWaitsForAJudgementIsOneListWithItsClock(t *testing.T) {
	t.Parallel()
	clock := newClock()
	clock.at = aMonday
	h := newHouse(t, registry.Options{Now: clock.now})
	ctx := context.Background()
	donor := h.donor(1)
	lease := h.breakGlass(h.far(), donor, policy.Identity)
	asker := h.Staff(t, "asker", h.City, policy.ProvincialOffice, "320000")
	office := h.Staff(t, "office", h.City, policy.ProvincialOffice, "320000")
	export, err := h.Store.AskExport(ctx, asker, registry.ExportForm{Region: "320106", Classes: []policy.Class{policy.Identity}, Purpose: policy.ForFollowUp, Reason: seal.NoteOf("年度回访需要逐一打电话联系")})
	require.NoError(t, err)

	list := func(by registry.Actor, f registry.ReviewFilter) map[string]registry.Review {
		out := map[string]registry.Review{}
		all, err := h.Store.ListReviews(ctx, by, f)
		require.NoError(t, err)
		for _, v := range all {
			out[v.Kind] = v
		}
		return out
	}
	all := list(office, registry.ReviewFilter{})
	require.Len(t, all, 2)
	require.Equal(t, lease.ID, all["emergency"].ID)
	require.Equal(t, "patient_in_danger", all["emergency"].About)
	require.Equal(t, h.OtherTransplant.Name, all["emergency"].Office)
	require.Equal(t, 5, all["emergency"].DaysLeft)
	require.Equal(t, export.ID, all["export"].ID)
	require.False(t, all["export"].Own)
	require.True(t, list(asker, registry.ReviewFilter{})["export"].Own)
	require.Len(t, list(office, registry.ReviewFilter{Kind: "export"}), 1)
	require.Empty(t, list(office, registry.ReviewFilter{Overdue: true}))

	// A working day fewer each working day, and overdue behind the last.
	clock.pass(3 * 24 * time.Hour)
	require.Equal(t, 2, list(office, registry.ReviewFilter{})["emergency"].DaysLeft)
	clock.pass(5 * 24 * time.Hour)
	late := list(office, registry.ReviewFilter{Overdue: true})["emergency"]
	require.True(t, late.Overdue)
	require.Equal(t, -1, late.DaysLeft)
	counts, err := h.Store.CountEmergencies(ctx, office, aMonday.Add(-time.Hour), time.Time{})
	require.NoError(t, err)
	require.Equal(t, []registry.EmergencyCount{{Organisation: h.OtherTransplant.ID, Office: h.OtherTransplant.Name, Region: "110108", Opened: 1, Overdue: 1}}, counts)
	_, err = h.Store.ReviewEmergency(ctx, office, lease.ID, registry.ReviewForm{Verdict: "justified"})
	require.NoError(t, err)
	require.NotContains(t, list(office, registry.ReviewFilter{}), "emergency")
	counts, err = h.Store.CountEmergencies(ctx, office, aMonday.Add(-time.Hour), time.Time{})
	require.NoError(t, err)
	require.Equal(t, 1, counts[0].Justified)
	require.Zero(t, counts[0].Overdue)

	elsewhere := h.Staff(t, "elsewhere", h.Transplant, policy.CityOffice, "330100")
	require.Empty(t, list(elsewhere, registry.ReviewFilter{}))
	_, err = h.Store.ListReviews(ctx, h.Technician, registry.ReviewFilter{})
	requireCode(t, err, registry.Denied, "denied")
}

func TestTheHealthOfTheInstallationIsForWhoLooksAfterIt(t *testing.T) {
	t.Parallel()
	clock := newClock()
	h := newHouse(t, registry.Options{Now: clock.now})
	ctx := context.Background()
	h.donor(1)
	read := func() registry.Health {
		v, err := h.Store.ReadHealth(ctx, h.Administrator)
		require.NoError(t, err)
		return v
	}
	v := read()
	require.Equal(t, v.Wanted, v.Schema)
	require.Positive(t, v.Size)
	require.Positive(t, v.Seals.Waiting)
	require.NotNil(t, v.Seals.Oldest)
	require.Positive(t, v.Outbox.Waiting, "a registration's workflow must hear of it")
	require.GreaterOrEqual(t, v.Partitions, 12)
	require.False(t, v.Stray)
	require.True(t, v.Chores[0].Late, "nothing was ever done")
	h.sealAll(100)
	require.LessOrEqual(t, read().Seals.Waiting, int64(1))
	for _, chore := range []string{registry.ChoreReminders, registry.ChoreTidying, registry.ChoreUpkeep} {
		require.NoError(t, h.Store.NoteChore(ctx, chore, nil))
	}
	for _, c := range read().Chores {
		require.False(t, c.Late, c.Name)
		require.NotNil(t, c.DoneAt)
	}
	require.NoError(t, h.Store.NoteChore(ctx, registry.ChoreTidying, &registry.Error{Kind: registry.Unavailable, Code: "busy"}))
	clock.pass(2 * time.Hour)
	for _, c := range read().Chores {
		require.Equal(t, c.Name == registry.ChoreReminders, c.Late, c.Name)
		require.Equal(t, c.Name == registry.ChoreTidying, c.Failed == "busy", c.Name)
		require.NotNil(t, c.DoneAt, "when it was last done is still known")
	}
	for who, actor := range h.everybody() {
		if actor == h.Administrator || actor == system {
			continue
		}
		_, err := h.Store.ReadHealth(ctx, actor)
		requireCode(t, err, registry.Denied, "denied", who)
	}
}
