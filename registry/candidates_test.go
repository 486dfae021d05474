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
)

// change is what a report says became of a donor, and what the run before had.
type change struct {
	donor  uuid.UUID
	change string
	before int // copies that matched then
}

func (h *house) changes(search uuid.UUID, f registry.CandidateFilter) []change {
	h.t.Helper()
	list, err := h.Store.ListCandidates(context.Background(), h.TransplantDoctor, search, f)
	require.NoError(h.t, err)
	out := []change{}
	for _, c := range list {
		was := 0
		if c.Before != nil {
			was = c.Before.Matched
		}
		out = append(out, change{c.ID, c.Change, was})
	}
	return out
}

func TestARunIsHeldAgainstTheRunBeforeAndNotAgainstWhatWasWrittenBetween(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, glNine, gl, glNine)
	search := h.search(h.TransplantDoctor, "").ID
	show := func() registry.SearchView {
		v, err := h.Store.ShowSearch(ctx, h.TransplantDoctor, search)
		require.NoError(t, err)
		return v
	}
	counts := func() []int { v := show(); return []int{v.Run, v.Candidates, v.New, v.Changed, v.Lost} }
	run := func(n int) {
		_, err := h.Store.RunSearch(ctx, system, search, n, time.Now())
		require.NoError(t, err)
	}
	standing := func() {
		// Another database's transaction on the same server may hold up what counts as over.
		require.Eventually(t, func() bool {
			return value[bool](h, `SELECT NOT EXISTS (SELECT FROM donor_changes WHERE by_xid >= pg_snapshot_xmin(pg_current_snapshot()))`)
		}, time.Minute, 20*time.Millisecond)
		_, err := h.Store.Standing(ctx)
		require.NoError(t, err)
	}
	require.Equal(t, []int{1, 4, 4, 0, 0}, counts(), "of a first run everybody is new")
	run(2)
	require.Equal(t, []int{2, 4, 0, 0, 0}, counts())

	// One leaves, one is typed better and fits better, one leaves and comes back, one is new: all of it between the runs.
	status := func(donor uuid.UUID, status string) {
		h.sql(`UPDATE registrations SET status = $2 WHERE id = $1`, donor, status)
		standing()
	}
	status(donors[0], "unavailable")
	status(donors[3], "unavailable")
	status(donors[3], "listed")
	h.sql(`UPDATE typings SET gl_string = $2 WHERE registration_id = $1`, donors[1], gl)
	h.sql(`INSERT INTO donor_changes (person_id) SELECT person_id FROM registrations WHERE id = $1`, donors[1])
	later := h.listedFrom(50, gl)[0]
	standing()
	expected := []change{{donors[1], "changed", 9}, {later, "new", 0}, {donors[0], "lost", 10}}
	require.ElementsMatch(t, expected, h.changes(search, registry.CandidateFilter{Change: "any"}), "a report that is written anew between runs is held against the same run")
	require.Equal(t, []int{2, 4, 1, 1, 1}, counts())
	require.ElementsMatch(t, []change{{donors[3], "same", 9}, {donors[2], "same", 10}}, h.changes(search, registry.CandidateFilter{Change: "same"}))

	run(3)
	require.Equal(t, []int{3, 4, 0, 0, 0}, counts(), "what was told of the run before is told no more")
	require.Empty(t, h.changes(search, registry.CandidateFilter{Change: "any"}))
	require.Len(t, h.changes(search, registry.CandidateFilter{}), 5, "who was lost stays in the report")
	status(donors[0], "listed")
	require.Equal(t, []change{{donors[0], "new", 0}}, h.changes(search, registry.CandidateFilter{Change: "new"}), "who was lost two runs ago is new")
	status(donors[0], "unavailable")
	require.Empty(t, h.changes(search, registry.CandidateFilter{Change: "any"}), "who came and went between two runs is no news")
}

func TestAReportIsNarrowedByWhatItShowsAndNoFiner(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, glNine, gl, gl)
	search := h.search(h.TransplantDoctor, "").ID
	person := func(donor uuid.UUID, set string) {
		h.sql(`UPDATE persons SET ` + set + ` WHERE id = (SELECT person_id FROM registrations WHERE id = '` + donor.String() + `')`)
	}
	born := func(age int) string { return "birth_date = '" + today().AddMonths(-12*age).AddDays(-40).String() + "'" }
	person(donors[0], born(23)+", sex = 'female', abo = 'O', rh = 'positive', weight_kg = 64")
	person(donors[1], born(31)+", sex = 'male', abo = 'A', rh = 'negative', weight_kg = NULL")
	person(donors[2], born(24)+", sex = 'male', abo = 'AB', rh = 'positive'")
	person(donors[3], born(45)+", sex = 'male', abo = 'B'")
	h.sql(`UPDATE registrations SET region = '310104' WHERE id = $1`, donors[0]) // the hospital's province
	h.sql(`UPDATE registrations SET region = '440106' WHERE id = $1`, donors[3])
	h.sql(`UPDATE link.candidates SET chance_10 = 0.4 WHERE registration_id = $1`, donors[1])
	h.request(h.OtherDoctor, h.search(h.OtherDoctor, "").ID, donors[2])
	for _, c := range []struct {
		name string
		f    registry.CandidateFilter
		want []uuid.UUID
	}{
		{"matched", registry.CandidateFilter{Matched: 10}, []uuid.UUID{donors[0], donors[2], donors[3]}},
		{"chance", registry.CandidateFilter{Chance: 0.3}, []uuid.UUID{donors[1]}},
		{"from an age, told by the band", registry.CandidateFilter{AgeFrom: 24}, donors},
		{"from the next band", registry.CandidateFilter{AgeFrom: 25}, []uuid.UUID{donors[1], donors[3]}},
		{"up to an age, told by the band", registry.CandidateFilter{AgeTo: 20}, []uuid.UUID{donors[0], donors[2]}},
		{"sex", registry.CandidateFilter{Sex: "female"}, []uuid.UUID{donors[0]}},
		{"group", registry.CandidateFilter{ABO: "AB", Rh: "positive"}, []uuid.UUID{donors[2]}},
		{"the same province", registry.CandidateFilter{Distance: "province"}, []uuid.UUID{donors[0]}},
		{"the same area", registry.CandidateFilter{Distance: "area"}, []uuid.UUID{donors[1], donors[2]}},
		{"far", registry.CandidateFilter{Distance: "far"}, []uuid.UUID{donors[3]}},
		{"available", registry.CandidateFilter{Available: true}, []uuid.UUID{donors[0], donors[1], donors[3]}},
		{"two to compare", registry.CandidateFilter{Donors: []uuid.UUID{donors[3], donors[1]}}, []uuid.UUID{donors[1], donors[3]}},
		{"all at once", registry.CandidateFilter{Matched: 10, Sex: "male", Distance: "far", Available: true, Change: "found"}, []uuid.UUID{donors[3]}},
	} {
		list, err := h.Store.ListCandidates(ctx, h.TransplantDoctor, search, c.f)
		require.NoError(t, err, c.name)
		got := []uuid.UUID{}
		for _, l := range list {
			got = append(got, l.ID)
		}
		require.ElementsMatch(t, c.want, got, c.name)
	}
	list, err := h.Store.ListCandidates(ctx, h.TransplantDoctor, search, registry.CandidateFilter{Donors: donors[:1]})
	require.NoError(t, err)
	require.Equal(t, []string{"20-24", "60-69", "province", "上海市"}, []string{list[0].AgeBand, list[0].WeightBand, list[0].Distance, list[0].Province})
	_, err = h.Store.ListCandidates(ctx, h.TransplantDoctor, search, registry.CandidateFilter{Sex: "x"})
	requireCode(t, err, registry.Invalid, "form_invalid")
	_, err = h.Store.ListCandidates(ctx, h.OtherDoctor, search, registry.CandidateFilter{Donors: donors})
	requireCode(t, err, registry.NotFound, "search_not_found")
}

func TestAHospitalListsItsOwnPatientsAndSearchesAndTheBridgeEverybodys(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.listed(gl)
	first, second := h.search(h.TransplantDoctor, ""), h.search(h.TransplantDoctor, "10/10")
	other := h.search(h.OtherDoctor, "")
	task := h.choice(first.ID)
	bridge := h.Staff(t, "bridge", h.City, policy.Bridge, string(identity.Nation))
	searches := func(by registry.Actor, f registry.SearchesFilter) (out []uuid.UUID) {
		list, err := h.Store.ListSearches(ctx, by, f)
		require.NoError(t, err)
		for _, l := range list {
			out = append(out, l.ID)
		}
		return out
	}
	require.Equal(t, []uuid.UUID{second.ID, first.ID}, searches(h.TransplantDoctor, registry.SearchesFilter{}), "the newest first")
	require.Equal(t, []uuid.UUID{first.ID}, searches(h.TransplantDoctor, registry.SearchesFilter{After: second.ID}))
	require.Equal(t, []uuid.UUID{second.ID}, searches(h.TransplantDoctor, registry.SearchesFilter{Limit: 1}))
	require.Equal(t, []uuid.UUID{second.ID}, searches(h.TransplantDoctor, registry.SearchesFilter{Number: second.Number}))
	require.Equal(t, []uuid.UUID{first.ID}, searches(h.TransplantDoctor, registry.SearchesFilter{Patient: first.Patient}))
	require.Empty(t, searches(h.TransplantDoctor, registry.SearchesFilter{Status: "closed"}))
	require.Empty(t, searches(h.TransplantDoctor, registry.SearchesFilter{Patient: other.Patient}), "another hospital's")
	require.Equal(t, []uuid.UUID{other.ID, second.ID, first.ID}, searches(bridge, registry.SearchesFilter{}))
	list, err := h.Store.ListSearches(ctx, h.TransplantDoctor, registry.SearchesFilter{Number: first.Number})
	require.NoError(t, err)
	require.Equal(t, task.TaskID, list[0].Choice.ID, "where the hospital chooses")
	require.Equal(t, []int{1, 1, 0}, []int{list[0].Candidates, list[0].New, list[0].Lost})
	shown, err := h.Store.ShowSearch(ctx, h.TransplantDoctor, first.ID)
	require.NoError(t, err)
	require.Equal(t, task.TaskID, shown.Choice.ID)

	patients := func(by registry.Actor, f registry.SearchesFilter) (out []uuid.UUID) {
		list, err := h.Store.ListPatients(ctx, by, f)
		require.NoError(t, err)
		for _, l := range list {
			require.Equal(t, 1, l.Searches)
			out = append(out, l.ID)
		}
		return out
	}
	require.Equal(t, []uuid.UUID{second.Patient, first.Patient}, patients(h.TransplantDoctor, registry.SearchesFilter{}))
	require.Equal(t, []uuid.UUID{other.Patient}, patients(h.OtherDoctor, registry.SearchesFilter{}))
	require.Equal(t, []uuid.UUID{other.Patient, second.Patient, first.Patient}, patients(bridge, registry.SearchesFilter{}))
	for _, by := range []registry.Actor{h.Coordinator, h.Registrar, h.Auditor, h.CollectionDoctor} {
		_, err := h.Store.ListSearches(ctx, by, registry.SearchesFilter{})
		requireCode(t, err, registry.Denied, "denied")
		_, err = h.Store.ListPatients(ctx, by, registry.SearchesFilter{})
		requireCode(t, err, registry.Denied, "denied")
	}
}
