package registry_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/rules"
)

// examined is a case whose examination was answered a while ago, with what its protocol would do to take it back.
func examined(t *testing.T) (*table, *clock, registry.ReopenPlan) {
	now := newClock()
	c := &table{house: newHouse(t, registry.Options{Now: now.now})}
	c.donor, c.search = c.listed(gl)[0], c.house.search(c.TransplantDoctor, "").ID
	c.id = c.request(c.TransplantDoctor, c.search, c.donor)[0]
	c.book(c.id)
	p := c.propose(c.CollectionDoctor, c.task("physical_examination", registry.SeatCollection, 1), fields{"outcome": "fit", "examined_on": today()})
	_, err := c.settle(p, registry.Move{Step: "stemcell.donation_consent", State: json.RawMessage(`{"step": "stemcell.donation_consent", "cleared_until": "2026-01-01", "day": 1}`)})
	require.NoError(t, err)
	c.task("donation_consent", registry.SeatCoordinator, 1)
	return c, now, registry.ReopenPlan{
		ReopenInput: registry.ReopenInput{
			CaseID: c.id, Version: c.version(c.id), Step: "stemcell.physical_examination", Reason: "wrong_entry", At: time.Now(), State: json.RawMessage(`{"step": "stemcell.physical_examination", "day": 1}`),
			Steps: []string{"stemcell.physical_examination", "stemcell.donation_consent"},
		},
		Asks: []registry.Question{{Step: "stemcell.physical_examination", Round: 2, Seat: registry.SeatCollection, Role: policy.CollectionHospital, Rule: rules.StemCellExamination}},
	}
}

// all is every row that an undo might touch.
func (c *table) all() string {
	c.t.Helper()
	return value[string](c.house, `SELECT string_agg(r, ' ') FROM (
		SELECT concat(t.id, t.status, t.version, t.closed_at) AS r FROM tasks t UNION ALL SELECT concat(id, status) FROM answers UNION ALL SELECT concat(id, version, state) FROM cases
		UNION ALL SELECT id::text FROM events UNION ALL SELECT id::text FROM notices UNION ALL SELECT key FROM command_log ORDER BY 1) x`)
}

func TestAPreviewTellsWhatAnUndoDoesAndDoesNothing(t *testing.T) {
	t.Parallel()
	c, _, plan := examined(t)
	ctx := context.Background()
	before := c.all()
	v, err := c.Store.PreviewReopen(ctx, c.Coordinator, c.id, plan)
	require.NoError(t, err)
	require.Equal(t, before, c.all(), "it was taken back")
	require.Len(t, v.Strikes, 1)
	require.Equal(t, "stemcell.physical_examination", v.Strikes[0].Step)
	require.Contains(t, v.Strikes[0].Text, "体检合格")
	require.Len(t, v.Cancels, 1)
	require.Equal(t, "stemcell.donation_consent", v.Cancels[0].Step)
	require.Equal(t, []string{"cleared_until"}, v.Releases)
	require.Len(t, v.Tells, 1)
	require.Equal(t, []any{string(policy.CollectionHospital), registry.DonorSide}, []any{v.Tells[0].Role, v.Tells[0].Side})
	require.Contains(t, v.Tells[0].Text, "体检")
	require.False(t, v.Tells[0].Due.IsZero())
	require.True(t, v.Alone)

	// What is done is what was told.
	_, err = c.Store.ReopenStep(ctx, c.Coordinator, plan.ReopenInput)
	require.NoError(t, err)
	require.Equal(t, len(v.Strikes), value[int](c.house, `SELECT count(*)::int FROM tasks WHERE status = 'struck'`))
	require.Equal(t, len(v.Cancels), value[int](c.house, `SELECT count(*)::int FROM tasks WHERE case_id = $1 AND status = 'cancelled'`, c.id))
	_, err = c.Store.PreviewReopen(ctx, c.Coordinator, c.id, plan)
	requireCode(t, err, registry.Stale, "case_changed")
}

func TestAPreviewIsForWhoMayUndoAndSaysWhatStandsAgainstIt(t *testing.T) {
	t.Parallel()
	c, _, plan := examined(t)
	ctx := context.Background()
	for by, want := range map[registry.Actor]struct { // and refused before its protocol is asked
		kind registry.Kind
		code string
	}{c.CollectionDoctor: {registry.Denied, "denied"}, c.OtherDoctor: {registry.NotFound, "case_not_found"}} {
		_, err := c.Store.ShowReopenable(ctx, by, c.id)
		requireCode(t, err, want.kind, want.code)
		_, err = c.Store.PreviewReopen(ctx, by, c.id, plan)
		requireCode(t, err, want.kind, want.code)
	}
	v, err := c.Store.ShowReopenable(ctx, c.Coordinator, c.id)
	require.NoError(t, err)
	require.Equal(t, plan.Version, v.Version)
	plan.Refused = "point_of_no_return"
	_, err = c.Store.PreviewReopen(ctx, c.Coordinator, c.id, plan)
	requireCode(t, err, registry.Refused, "point_of_no_return")
}

func TestALateUndoNeedsTwoPeople(t *testing.T) {
	t.Parallel()
	c, now, plan := examined(t)
	ctx := context.Background()
	office := c.Staff(t, "cityoffice", c.City, policy.CityOffice, "320100")
	county := c.Staff(t, "countyoffice", c.County, policy.CountyOffice, "320106")
	form := registry.ReopeningForm{Step: plan.Step, Reason: "wrong_entry"}
	version := c.version(c.id)
	_, err := c.Store.AskReopening(ctx, c.Coordinator, c.id, version, form)
	requireCode(t, err, registry.Refused, "reopening_not_needed")

	now.pass(25 * time.Hour)
	plan.At = now.now()
	_, err = c.Store.ReopenStep(ctx, c.Coordinator, plan.ReopenInput)
	requireCode(t, err, registry.Refused, "reopening_needed")
	v, err := c.Store.PreviewReopen(ctx, c.Coordinator, c.id, plan)
	require.NoError(t, err)
	require.False(t, v.Alone)
	require.Empty(t, v.Asked)
	for _, by := range []registry.Actor{c.CollectionDoctor, county} {
		_, err = c.Store.AskReopening(ctx, by, c.id, version, form)
		requireCode(t, err, registry.Denied, "denied")
	}
	_, err = c.Store.AskReopening(ctx, c.Coordinator, c.id, version-1, form)
	requireCode(t, err, registry.Stale, "case_changed")
	asked, err := c.Store.AskReopening(ctx, c.Coordinator, c.id, version, form)
	require.NoError(t, err)
	again, err := c.Store.AskReopening(ctx, c.Coordinator, c.id, version, form)
	require.NoError(t, err)
	require.Equal(t, asked.ID, again.ID)
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM notices WHERE code = 'reopening.asked' AND role = 'city_office'`))
	_, err = c.Store.ReopenStep(ctx, c.Coordinator, plan.ReopenInput)
	requireCode(t, err, registry.Refused, "reopening_needed")

	// Who reviews finds it and decides, and nobody decides their own.
	list, err := c.Store.ListReopenings(ctx, office, [16]byte{}, 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, asked.ID, list[0].ID)
	approve := registry.ReopeningVerdict{Verdict: "approve"}
	for _, by := range []registry.Actor{c.Coordinator, county} {
		_, err = c.Store.DecideReopening(ctx, by, asked.ID, 0, approve)
		require.Equal(t, registry.NotFound, registry.KindOf(err), "%v", err)
	}
	c.sql(`INSERT INTO role_grants (id, staff_id, role, region, until, granted_by) SELECT gen_random_uuid(), $1, 'city_office', '320100', now() + interval '9 days', granted_by FROM role_grants LIMIT 1`, c.Coordinator.Staff())
	_, err = c.Store.DecideReopening(ctx, c.Coordinator, asked.ID, 0, approve)
	requireCode(t, err, registry.Denied, "reopening_own")
	_, err = c.Store.DecideReopening(ctx, office, asked.ID, 7, approve)
	requireCode(t, err, registry.Stale, "reopening_changed")
	decided, err := c.Store.DecideReopening(ctx, office, asked.ID, 1, approve)
	require.NoError(t, err)
	require.Equal(t, "approved", decided.Status)
	_, err = c.Store.DecideReopening(ctx, office, asked.ID, 0, registry.ReopeningVerdict{Verdict: "refuse"})
	requireCode(t, err, registry.Refused, "reopening_settled")
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM notices WHERE code = 'reopening.approved' AND staff_id = $1`, c.Coordinator.Staff()))

	v, err = c.Store.PreviewReopen(ctx, c.Coordinator, c.id, plan)
	require.NoError(t, err)
	require.True(t, v.Alone)
	moved, err := c.Store.ReopenStep(ctx, c.Coordinator, plan.ReopenInput)
	require.NoError(t, err)
	same, err := c.Store.ReopenStep(ctx, c.Coordinator, plan.ReopenInput)
	require.NoError(t, err)
	require.Equal(t, moved, same, "a retry meets the first result, although the agreement is used up")
}

func TestAnAgreementIsAboutTheCaseAsItStood(t *testing.T) {
	t.Parallel()
	c, now, plan := examined(t)
	ctx := context.Background()
	office := c.Staff(t, "cityoffice", c.City, policy.CityOffice, "320100")
	now.pass(25 * time.Hour)
	plan.At = now.now()
	asked, err := c.Store.AskReopening(ctx, c.Coordinator, c.id, c.version(c.id), registry.ReopeningForm{Step: plan.Step, Reason: "other"})
	require.NoError(t, err)
	_, err = c.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: c.id, Version: plan.Version, At: now.now(), Move: to("stemcell.clearance")})
	require.NoError(t, err)
	_, err = c.Store.DecideReopening(ctx, office, asked.ID, 0, registry.ReopeningVerdict{Verdict: "approve"})
	requireCode(t, err, registry.Refused, "reopening_settled")
	list, err := c.Store.ListReopenings(ctx, office, [16]byte{}, 0)
	require.NoError(t, err)
	require.Empty(t, list)
	c.sql(`UPDATE reopenings SET verdict = 'approved'`)
	plan.Version = c.version(c.id)
	_, err = c.Store.ReopenStep(ctx, c.Coordinator, plan.ReopenInput)
	requireCode(t, err, registry.Refused, "reopening_needed")
}
