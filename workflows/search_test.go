package workflows

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

func aSearch(t *testing.T, step string, facts registry.SearchFacts) *play {
	m := newMemory(clock("2026-03-02 10:00"), step, struct{}{})
	m.search = facts
	return newPlay(t, Search, m)
}

// asked is the donors whom a hospital asked for, by rank; the first is worked on.
func requests(n int) (out []registry.RequestRow) {
	for i := range n {
		out = append(out, registry.RequestRow{CaseID: uuid.New(), Rank: i + 1, Open: true, Promoted: i == 0, Step: map[bool]string{true: remobilisation, false: standby}[i == 0]})
	}
	return out
}

// ends is the end of a requested donor's case.
func ends(rank int, ending string) func(*memory) {
	return func(m *memory) {
		r := &m.search.Requests[rank-1]
		r.Open, r.Ending = false, ending
	}
}

func TestASearchWithoutCandidatesIsRepeatedDaily(t *testing.T) {
	p := aSearch(t, searchRunning, registry.SearchFacts{Status: "open"})
	p.at("2026-03-04 12:00", func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.search.Candidates = 2 // a donor was listed in between
	})
	p.answersAt("2026-03-06 09:00", searchChoice, "", said("none"))
	p.until("2026-03-10 00:00")
	require.Equal(t, []string{
		"2026-03-02 10:00 compares, run 1",
		"2026-03-03 10:00 compares, run 2",
		"2026-03-04 10:00 compares, run 3",
		"2026-03-05 10:00 compares, run 4",
		"2026-03-05 10:00 goes to search.choice",
		"2026-03-05 10:00 asks transplant_hospital search.choice by 2026-03-19 17:00", // ten working days
		"2026-03-06 09:00 transplant_hospital answers search.choice: none",
		"2026-03-06 09:00 ends: none_chosen",
	}, p.story)
}

// A standing search goes on comparing beside the question, and its runs are numbered on through every restart.
func TestAStandingSearchIsRepeatedWhileTheHospitalThinks(t *testing.T) {
	p := aSearch(t, searchRunning, registry.SearchFacts{Status: "open", Candidates: 5})
	p.until("2026-03-03 12:00").until("2026-03-04 13:00")
	require.Equal(t, []string{
		"2026-03-02 10:00 compares, run 1",
		"2026-03-03 10:00 compares, run 2",
		"2026-03-04 12:00 compares, run 3", // a day after the new run began
	}, p.says("compares"))
	require.Len(t, p.says("asks"), 1)
}

func TestTheNextBackupIsPromotedWhenOneEndsWithoutGiving(t *testing.T) {
	p := aSearch(t, searchRequested, registry.SearchFacts{Status: "requested", Candidates: 5, Requests: requests(3)})
	p.at("2026-03-02 11:00", func() { p.changes(ends(3, "withdrawn")) }) // a backup who leaves promotes nobody
	p.at("2026-03-02 12:00", func() { p.changes(ends(1, "declined")) })
	p.at("2026-03-02 13:00", func() { p.changes(func(m *memory) { m.search.Requests[1].Step = remobilisation }) })
	p.at("2026-03-02 14:00", func() { p.changes(ends(2, "deferred")) })
	p.at("2026-03-02 14:30", func() { p.changes(func(m *memory) { m.search.Candidates = 4 }) })
	p.until("2026-03-02 15:00")
	require.Equal(t, []string{
		"2026-03-02 12:00 promotes number 2",
		"2026-03-02 14:00 goes to search.running",
		"2026-03-02 14:00 compares, run 1",
		"2026-03-02 14:00 goes to search.choice",
		"2026-03-02 14:00 asks transplant_hospital search.choice by 2026-03-16 17:00",
	}, p.says("promotes", "goes", "asks", "14:00 compares"))
}

func TestABackupIsPromotedWhileTheFirstDonorIsInTheEmergencyPath(t *testing.T) {
	p := aSearch(t, searchRequested, registry.SearchFacts{Status: "open", Requests: requests(3)})
	p.at("2026-03-02 12:00", func() { p.changes(func(m *memory) { m.search.Requests[0].Step = emergency }) })
	p.at("2026-03-02 13:00", func() { p.changes(func(m *memory) { m.search.Requests[1].Step = remobilisation }) })
	p.at("2026-03-02 14:00", func() { p.changes(ends(1, "failed_after_conditioning")) })
	p.until("2026-03-02 15:00")
	require.Equal(t, []string{"2026-03-02 12:00 promotes number 2"}, p.says("promotes", "goes", "ends"))
}

func TestASearchEndsWhenADonorHasGiven(t *testing.T) {
	for _, ending := range []string{"infused", "not_used"} {
		t.Run(ending, func(t *testing.T) {
			p := aSearch(t, searchRequested, registry.SearchFacts{Status: "requested", Requests: requests(3)})
			p.at("2026-03-02 12:00", func() { p.changes(ends(1, ending)) })
			p.until("2026-03-02 15:00")
			require.Equal(t, []string{"2026-03-02 12:00 ends: transplanted"}, p.says("promotes", "goes", "ends"))
		})
	}
}

func TestAClosedSearchEndsWhereverItStands(t *testing.T) {
	for _, step := range []string{searchRunning, searchChoice, searchRequested} {
		t.Run(step, func(t *testing.T) {
			p := aSearch(t, step, registry.SearchFacts{Status: "open", Requests: requests(2)})
			p.at("2026-03-02 12:00", func() { p.changes(func(m *memory) { m.search.Status = "closed" }) })
			p.until("2026-03-02 15:00")
			require.Equal(t, []string{"2026-03-02 12:00 ends: closed"}, p.says("ends"))
		})
	}
}

// The hospital's choice leads to the donors it asked for.
func TestAChoiceIsSeenThrough(t *testing.T) {
	p := aSearch(t, searchRunning, registry.SearchFacts{Status: "open", Candidates: 5})
	p.at("2026-03-03 09:00", func() {
		p.mu.Lock()
		p.search.Status, p.search.Requests = "requested", requests(2)
		p.mu.Unlock()
		p.answers(searchChoice, "", forms.Outcome{Code: "request"})
	})
	p.until("2026-03-03 09:30")
	require.Equal(t, searchRequested, p.row.Step)
	require.Empty(t, p.says("promotes"))
}

func TestWhomASearchTurnsToNext(t *testing.T) {
	t.Parallel()
	row := func(rank int, promoted bool, step, ending string) registry.RequestRow {
		return registry.RequestRow{Rank: rank, Open: ending == "", Promoted: promoted, Step: step, Ending: ending}
	}
	for name, c := range map[string]struct {
		rows []registry.RequestRow
		want string
	}{
		"the primary is worked on":             {[]registry.RequestRow{row(1, true, remobilisation, ""), row(2, false, standby, "")}, "nobody"},
		"the primary has ended":                {[]registry.RequestRow{row(1, true, remobilisation, "declined"), row(2, false, standby, ""), row(3, false, standby, "")}, "2"},
		"so has the first backup":              {[]registry.RequestRow{row(1, true, "", "declined"), row(2, false, "", "withdrawn"), row(3, false, standby, "")}, "3"},
		"a promoted backup is on the way":      {[]registry.RequestRow{row(1, true, "", "declined"), row(2, true, standby, ""), row(3, false, standby, "")}, "nobody"},
		"the primary is an emergency":          {[]registry.RequestRow{row(1, true, emergency, ""), row(2, false, standby, "")}, "2"},
		"an emergency without a backup":        {[]registry.RequestRow{row(1, true, emergency, "")}, "nobody"},
		"nobody is left":                       {[]registry.RequestRow{row(1, true, "", "declined"), row(2, true, "", "unfit")}, "exhausted"},
		"nobody was asked":                     {nil, "exhausted"},
		"somebody has given, in spite of rows": {[]registry.RequestRow{row(1, true, "", "infused"), row(2, false, standby, "")}, "given"},
	} {
		s := &search{facts: registry.SearchFacts{Requests: c.rows}}
		o := s.offer()
		got := "nobody"
		switch {
		case o.given:
			got = "given"
		case o.backup != nil:
			got = string(rune('0' + o.backup.Rank))
		case o.exhausted:
			got = "exhausted"
		}
		require.Equal(t, c.want, got, name)
	}
}
