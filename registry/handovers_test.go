package registry_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

func (c *table) offers(by registry.Actor, f registry.HandoverForm) (registry.HandoverView, error) {
	c.t.Helper()
	if f.Reason == "" {
		f.Reason = "leave"
	}
	return c.Store.OfferHandover(context.Background(), by, c.id, f)
}

// officeIn opens a Red Cross office with a coordinator in a region.
func (c *table) officeIn(region identity.Region, name string) (registry.Organisation, registry.Actor) {
	c.t.Helper()
	o, err := c.Store.AddOrganisation(context.Background(), registry.Operator("test"), registry.OrganisationForm{Kind: "red_cross", Name: name, Region: region})
	require.NoError(c.t, err)
	return o, c.Staff(c.t, "of-"+string(region), o, policy.Coordinator, string(region))
}

func TestACaseGoesToAColleagueWhenTheySayYes(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.due(7, time.Now().Add(48*time.Hour))
	drawing := c.task("confirmatory_sample", registry.SeatCollection, 1)
	_, err := c.Store.ClaimTask(ctx, c.Coordinator, task)
	require.NoError(t, err)
	next := time.Now().Add(24 * time.Hour).Truncate(time.Second)
	h, err := c.offers(c.Coordinator, registry.HandoverForm{Staff: c.CityCoordinator.Staff(), Promises: seal.NoteOf("周五下午给捐献者母亲回电"), NextContact: next})
	require.NoError(t, err)
	require.Equal(t, []any{"offered", c.City.ID, false, false}, []any{h.Status, h.ToOffice, h.Elsewhere, h.Yours})
	require.NotContains(t, value[string](c.house, `SELECT promises_sealed::text FROM handovers`), "周五")
	_, err = c.offers(c.Coordinator, registry.HandoverForm{Staff: c.CityCoordinator.Staff()})
	requireCode(t, err, registry.Conflict, "handover_offered")
	_, err = c.Store.AcceptHandover(ctx, c.Coordinator, h.ID, 0)
	requireCode(t, err, registry.Denied, "handover_not_yours")
	_, err = c.Store.AcceptHandover(ctx, c.OtherDoctor, h.ID, 0)
	requireCode(t, err, registry.NotFound, "handover_not_found")
	require.Equal(t, c.County.ID, value[uuid.UUID](c.house, `SELECT organisation_id FROM case_parties WHERE case_id = $1 AND seat = 'coordinator'`, c.id), "until then it stays")

	note, err := c.Store.ShowHandover(ctx, c.CityCoordinator, h.ID)
	require.NoError(t, err)
	require.True(t, note.Yours)
	require.Equal(t, "周五下午给捐献者母亲回电", note.Promises)
	require.Equal(t, next.UTC(), note.NextContact.UTC())
	require.NotEmpty(t, note.Last)
	require.ElementsMatch(t, []uuid.UUID{task, drawing}, []uuid.UUID{note.Tasks[0].ID, note.Tasks[1].ID})
	for _, who := range []registry.Actor{c.TransplantDoctor, c.OtherDoctor} {
		_, err = c.Store.ShowHandover(ctx, who, h.ID)
		requireCode(t, err, registry.NotFound, "handover_not_found")
	}
	in, err := c.Store.ListHandovers(ctx, c.CityCoordinator, registry.HandoverFilter{Open: true})
	require.NoError(t, err)
	require.Len(t, in, 1)
	given, err := c.Store.ListHandovers(ctx, c.Coordinator, registry.HandoverFilter{Given: true})
	require.NoError(t, err)
	require.Len(t, given, 1)

	h, err = c.Store.AcceptHandover(ctx, c.CityCoordinator, h.ID, h.Version)
	require.NoError(t, err)
	require.Equal(t, "accepted", h.Status)
	require.Equal(t, c.City.ID, value[uuid.UUID](c.house, `SELECT organisation_id FROM case_parties WHERE case_id = $1 AND seat = 'coordinator'`, c.id))
	require.Equal(t, "320106", value[string](c.house, `SELECT region FROM cases WHERE id = $1`, c.id), "the city answers for its counties: the donor stays where they are")
	require.Equal(t, c.CityCoordinator.Staff(), value[uuid.UUID](c.house, `SELECT assignee_id FROM tasks WHERE id = $1`, task))
	require.True(t, value[bool](c.house, `SELECT assignee_id IS NULL AND organisation_id = $2 FROM tasks WHERE id = $1`, drawing, c.Collection.ID), "the hospital's task is the hospital's")
	require.Equal(t, 0, value[int](c.house, `SELECT count(*)::int FROM task_leases`))
	_, err = c.Store.AcceptHandover(ctx, c.CityCoordinator, h.ID, 0)
	requireCode(t, err, registry.Refused, "handover_decided")
	_, err = c.Store.ShowCase(ctx, c.Coordinator, c.id)
	require.NoError(t, err, "who gave it reads on")
	c.answer(c.CityCoordinator, task, fields{"outcome": "willing"}, to("stemcell.sample_booking"))
	seen, err := c.Store.ShowCase(ctx, c.TransplantDoctor, c.id)
	require.NoError(t, err)
	for _, line := range seen.Timeline {
		require.NotContains(t, line.Code, "handover", "the patient's side sees nothing of it")
	}
	require.Equal(t, []int{1, 1}, []int{c.events("handover.offered"), c.events("handover.accepted")})
}

func TestACaseThatGoesElsewhereTakesItsDonorAndTheOldOfficeReadsForAWeek(t *testing.T) {
	t.Parallel()
	clock := newClock()
	h := newHouse(t, registry.Options{Now: clock.now})
	c := &table{house: h, donor: h.listed(gl)[0], search: h.search(h.TransplantDoctor, "").ID}
	c.id = h.request(h.TransplantDoctor, c.search, c.donor)[0]
	h.book(c.id)
	ctx := context.Background()
	task := c.due(7, time.Now().Add(48*time.Hour))
	wuhan, theirs := c.officeIn("420106", "武昌区红十字会")
	_, err := c.Store.ShowCase(ctx, theirs, c.id)
	requireCode(t, err, registry.NotFound, "case_not_found")
	v, err := c.offers(c.Coordinator, registry.HandoverForm{Organisation: wuhan.ID, Reason: "moved", Promises: seal.NoteOf("下周送捐献证书")})
	require.NoError(t, err)
	require.True(t, v.Elsewhere)
	note, err := c.Store.ShowHandover(ctx, theirs, v.ID)
	require.NoError(t, err, "who is asked sees what they are asked to take")
	require.Equal(t, "下周送捐献证书", note.Promises)
	require.True(t, note.Yours)
	_, err = c.tryPropose(theirs, task, fields{"outcome": "willing"})
	require.Error(t, err, "but it is not theirs yet")
	_, err = c.Store.AcceptHandover(ctx, theirs, v.ID, v.Version)
	require.NoError(t, err)
	for table, id := range map[string]uuid.UUID{"cases": c.id, "registrations": c.donor, "tasks": task} {
		require.Equal(t, "420106", value[string](c.house, `SELECT region FROM `+table+` WHERE id = $1`, id), table)
	}
	require.Equal(t, wuhan.ID, value[uuid.UUID](c.house, `SELECT organisation_id FROM cases WHERE id = $1`, c.id))
	_, err = c.Store.ShowCase(ctx, c.Coordinator, c.id)
	require.NoError(t, err, "the office that gave it away reads on")
	_, err = c.tryPropose(c.Coordinator, task, fields{"outcome": "willing"})
	require.Error(t, err)
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM shares WHERE registration_id = $1 AND organisation_id = $2 AND reason = 'handover' AND ended_at IS NULL AND until <= now() + interval '8 days'`, c.donor, c.County.ID))
	require.Equal(t, 0, value[int](c.house, `SELECT count(*)::int FROM shares WHERE registration_id = $1 AND organisation_id = $2 AND ended_at IS NULL`, c.donor, wuhan.ID), "it needs no share of what is its own")
	c.answer(theirs, task, fields{"outcome": "willing"}, to("stemcell.sample_booking"))
	clock.pass(9 * 24 * time.Hour)
	c.sql(`UPDATE shares SET until = now() - interval '1 second' WHERE ended_at IS NULL`)
	_, err = c.Store.ShowCase(ctx, c.Coordinator, c.id)
	requireCode(t, err, registry.NotFound, "case_not_found")
	_, err = c.Store.ShowCase(ctx, c.TransplantDoctor, c.id)
	require.NoError(t, err)
}

func TestAHandoverIsDeclinedWithdrawnOrExpiresAndTheCaseStays(t *testing.T) {
	t.Parallel()
	clock := newClock()
	h := newHouse(t, registry.Options{Now: clock.now})
	c := &table{house: h, donor: h.listed(gl)[0], search: h.search(h.TransplantDoctor, "").ID}
	c.id = h.request(h.TransplantDoctor, c.search, c.donor)[0]
	ctx := context.Background()
	wuhan, theirs := c.officeIn("420106", "武昌区红十字会")
	shared := func() int {
		return value[int](h, `SELECT count(*)::int FROM shares WHERE organisation_id = $1 AND ended_at IS NULL AND until > now()`, wuhan.ID)
	}
	offer := registry.HandoverForm{Organisation: wuhan.ID, Reason: "moved"}

	v, err := c.offers(c.Coordinator, offer)
	require.NoError(t, err)
	require.Equal(t, 1, shared())
	_, err = c.Store.DeclineHandover(ctx, theirs, v.ID, 0, registry.DeclineForm{Reason: "because"})
	requireCode(t, err, registry.Invalid, "form_invalid")
	v, err = c.Store.DeclineHandover(ctx, theirs, v.ID, v.Version, registry.DeclineForm{Reason: "workload"})
	require.NoError(t, err)
	require.Equal(t, []any{"declined", "workload", 0}, []any{v.Status, v.DeclineReason, shared()})
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'handover.declined' AND staff_id = $1`, c.Coordinator.Staff()))

	v, err = c.offers(c.Coordinator, offer)
	require.NoError(t, err)
	_, err = c.Store.WithdrawHandover(ctx, theirs, v.ID, 0)
	require.Error(t, err, "who is asked declines")
	v, err = c.Store.WithdrawHandover(ctx, c.CityCoordinator, v.ID, v.Version)
	require.NoError(t, err)
	require.Equal(t, []any{"withdrawn", 0}, []any{v.Status, shared()})

	v, err = c.offers(c.Coordinator, offer)
	require.NoError(t, err)
	clock.pass(47 * time.Hour)
	require.NoError(t, c.Store.ExpireHandovers(ctx))
	require.Equal(t, "offered", value[string](h, `SELECT status FROM handovers WHERE id = $1`, v.ID))
	clock.pass(2 * time.Hour)
	_, err = c.Store.AcceptHandover(ctx, theirs, v.ID, 0)
	requireCode(t, err, registry.Refused, "handover_decided")
	require.NoError(t, c.Store.ExpireHandovers(ctx))
	require.NoError(t, c.Store.ExpireHandovers(ctx))
	require.Equal(t, "expired", value[string](h, `SELECT status FROM handovers WHERE id = $1`, v.ID))
	require.Equal(t, 0, shared())
	require.Equal(t, 1, c.events("handover.expired"))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'handover.expired' AND role = 'county_office' AND region = '320106'`))
	require.Equal(t, c.County.ID, value[uuid.UUID](h, `SELECT organisation_id FROM cases WHERE id = $1`, c.id))
}

func TestACaseIsOfferedOnlyToWhoCouldCarryIt(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	wuhan, _ := c.officeIn("420106", "武昌区红十字会")
	for _, wrong := range []struct {
		by   registry.Actor
		f    registry.HandoverForm
		kind registry.Kind
		code string
	}{
		{c.Coordinator, registry.HandoverForm{}, registry.Invalid, "form_invalid"},
		{c.Coordinator, registry.HandoverForm{Staff: c.Coordinator.Staff()}, registry.Refused, "handover_to_self"},
		{c.Coordinator, registry.HandoverForm{Organisation: c.County.ID}, registry.Refused, "handover_to_self"},
		{c.Coordinator, registry.HandoverForm{Staff: c.Registrar.Staff()}, registry.Refused, "colleague_cannot"},
		{c.Coordinator, registry.HandoverForm{Staff: c.TransplantDoctor.Staff()}, registry.Refused, "colleague_cannot"},
		{c.Coordinator, registry.HandoverForm{Staff: c.CityCoordinator.Staff(), Organisation: wuhan.ID}, registry.Refused, "colleague_cannot"},
		{c.Coordinator, registry.HandoverForm{Organisation: c.Transplant.ID}, registry.Refused, "share_not_office"},
		{c.Coordinator, registry.HandoverForm{Organisation: c.Laboratory.ID}, registry.Refused, "share_not_office"},
		{c.Coordinator, registry.HandoverForm{Organisation: uuid.New()}, registry.NotFound, "organisation_not_found"},
		{c.Coordinator, registry.HandoverForm{Organisation: wuhan.ID, NextContact: time.Now().Add(-time.Hour)}, registry.Invalid, "form_invalid"},
		{c.TransplantDoctor, registry.HandoverForm{Organisation: wuhan.ID}, registry.Denied, "denied"},
		{c.OtherDoctor, registry.HandoverForm{Organisation: wuhan.ID}, registry.NotFound, "case_not_found"},
	} {
		_, err := c.offers(wrong.by, wrong.f)
		requireCode(t, err, wrong.kind, wrong.code)
	}
	c.sql(`UPDATE staff SET active = false WHERE organisation_id = $1`, wuhan.ID)
	_, err := c.offers(c.Coordinator, registry.HandoverForm{Organisation: wuhan.ID})
	requireCode(t, err, registry.Refused, "handover_no_coordinator")
	// The office that supervises may offer it for a coordinator who is gone.
	supervisor := c.Staff(t, "cityoffice", c.City, policy.CityOffice, "320100")
	_, err = c.offers(supervisor, registry.HandoverForm{Staff: c.CityCoordinator.Staff()})
	require.NoError(t, err)
}
