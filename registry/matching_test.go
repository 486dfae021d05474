package registry_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// elsewhere opens the register as another process would.
func (h *house) elsewhere() *registry.Store {
	h.t.Helper()
	store, err := registry.Open(context.Background(), registry.Options{URL: h.url, Keys: registrytest.Keys(), MaxConnections: 4})
	require.NoError(h.t, err)
	h.t.Cleanup(store.Close)
	return store
}

func (h *house) run(s *registry.Store, search uuid.UUID, n int) registry.SearchRun {
	h.t.Helper()
	got, err := s.RunSearch(context.Background(), system, search, n, time.Now())
	require.NoError(h.t, err)
	return got
}

func TestEveryProcessSearchesTheDonorsAsTheyAre(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, glNine, gl)
	search := h.search(h.TransplantDoctor, "9/10").ID
	other := h.elsewhere()
	require.Equal(t, registry.SearchRun{Run: 2, Compared: 3, Found: 3}, h.run(other, search, 2), "both engines are loaded")

	// One process changes, the other searches.
	_, err := h.Store.Withdraw(ctx, h.Registrar, donors[0], 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	require.Equal(t, registry.SearchRun{Run: 3, Compared: 2, Found: 2, Lost: 1}, h.run(other, search, 3))
	h.sql(`UPDATE typings SET gl_string = $2 WHERE registration_id = $1`, donors[1], glEight)
	require.Equal(t, registry.SearchRun{Run: 4, Compared: 2, Found: 1, Lost: 1}, h.run(other, search, 4))
	h.sql(`UPDATE persons SET status = 'deceased' FROM registrations r WHERE r.person_id = persons.id AND r.id = $1`, donors[2])
	require.Equal(t, registry.SearchRun{Run: 5, Compared: 1, Lost: 1}, h.run(other, search, 5))
	h.sql(`UPDATE registrations SET status = 'listed' WHERE id = $1`, donors[0])
	require.Equal(t, registry.SearchRun{Run: 6, Compared: 2, Found: 1, New: 1}, h.run(other, search, 6))
	require.Equal(t, registry.SearchRun{Run: 7, Compared: 2, Found: 1}, h.run(h.Store, search, 7), "the first has followed, too")
}

// A transaction that began before an engine looked and ended after it is not missed.
func TestAChangeThatIsCommittedLateIsTakenIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, gl)
	search := h.search(h.TransplantDoctor, "10/10").ID
	h.takesIn()
	conn, err := pgx.Connect(ctx, registrytest.Past(t, h.url))
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	tx, err := conn.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `UPDATE registrations SET status = 'unavailable' WHERE id = $1`, donors[0])
	require.NoError(t, err)
	h.sql(`UPDATE registrations SET status = 'unavailable' WHERE id = $1`, donors[1]) // later, and over first
	require.Equal(t, registry.SearchRun{Run: 2, Compared: 1, Found: 1, Lost: 1}, h.run(h.Store, search, 2))
	require.Zero(t, h.standing(), "nothing is taken while an older transaction may still say something")
	require.NoError(t, tx.Commit(ctx))
	require.Equal(t, registry.SearchRun{Run: 3, Lost: 1}, h.run(h.Store, search, 3))
	h.takesIn()
}

func (h *house) standing() int {
	h.t.Helper()
	n, err := h.Store.Standing(context.Background())
	require.NoError(h.t, err)
	return n
}

// takesIn waits until changes were taken in: a transaction of another test's database may hold them up.
func (h *house) takesIn() {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return h.standing() > 0 }, 30*time.Second, 10*time.Millisecond)
	for h.standing() > 0 {
		continue
	}
}

func TestAnOpenSearchHearsOfADonorWhoFitsAndOfNoOther(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.listed(glNine)
	search := h.search(h.TransplantDoctor, "9/10").ID
	closed := h.search(h.TransplantDoctor, "9/10").ID
	_, err := h.Store.CloseSearch(ctx, h.TransplantDoctor, closed, 0, "other")
	require.NoError(t, err)
	h.takesIn()
	told := func() int {
		return value[int](h, `SELECT count(*)::int FROM outbox WHERE payload->>'fact' = 'candidates'`)
	}
	ran := func() time.Time {
		return value[time.Time](h, `SELECT last_run_at FROM searches WHERE id = $1`, search)
	}
	before := ran()

	donors := h.listedFrom(10, glEight, gl)
	h.takesIn()
	require.Equal(t, 1, told(), "one who fits")
	got := h.candidates(h.TransplantDoctor, search)
	require.Len(t, got, 2)
	require.Equal(t, ranked{donors[1], 10, "new"}, got[0])
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM link.candidates WHERE search_id = $1 AND registration_id = $2`, closed, donors[1]))
	notices, err := h.Store.ListNotices(ctx, h.TransplantDoctor, true, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Contains(t, noticeCodes(notices), "search.changed")
	require.True(t, ran().After(before))

	// One who does not fit changes nothing.
	before = ran()
	h.sql(`UPDATE persons SET weight_kg = 71 FROM registrations r WHERE r.person_id = persons.id AND r.id = $1`, donors[0])
	h.takesIn()
	require.Equal(t, 1, told())
	require.Equal(t, before, ran())

	// One who fits no longer.
	h.sql(`UPDATE typings SET gl_string = $2 WHERE registration_id = $1`, donors[1], glEight)
	h.takesIn()
	require.Equal(t, 2, told())
	require.Contains(t, h.candidates(h.TransplantDoctor, search), ranked{donors[1], 10, "lost"})
}

func TestOneProcessAtATimeHoldsSearchesAgainstChanges(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.listed(gl)
	conn, err := pgx.Connect(ctx, registrytest.Past(t, h.url))
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	tx, err := conn.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `SELECT FROM standing_position FOR UPDATE`)
	require.NoError(t, err)
	require.Zero(t, h.standing(), "another is at it")
	require.NoError(t, tx.Rollback(ctx))
	h.takesIn()
}

func TestAProcessKeepsTheReportsOfOpenSearchesAsTheDonorsAre(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.listed(glNine)
	search := h.search(h.TransplantDoctor, "9/10").ID
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Store.KeepDonors(ctx, true, func(err error) { h.t.Log(err) })
	}()
	defer func() {
		cancel()
		<-done
	}()
	donors := h.listedFrom(10, gl)
	require.Eventually(t, func() bool {
		return value[int](h, `SELECT count(*)::int FROM link.candidates WHERE search_id = $1 AND registration_id = $2`, search, donors[0]) == 1
	}, 30*time.Second, 20*time.Millisecond)
}

func TestAnotherReleaseIsInForceForTheNextSearch(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.listed("A*02:05+A*11:01" + rest())
	p, err := h.patientOf("A*02:01+A*11:01"+rest(), "3.57.0")
	require.NoError(t, err)
	s, err := h.Store.OpenSearch(context.Background(), h.TransplantDoctor, registry.SearchForm{Patient: p.ID, Policy: "10/10"})
	require.NoError(t, err)
	require.Equal(t, registry.SearchRun{Run: 1, Compared: 1}, h.run(h.Store, s.ID, 1), "by their names the two differ")
	h.load(registry.ReferenceRelease, "", releaseFiles("3.57.0"))
	require.Equal(t, registry.SearchRun{Run: 2, Compared: 1, Found: 1, New: 1}, h.run(h.Store, s.ID, 2), "they are of one P group")
	h.load(registry.ReferenceRelease, "", releaseFiles("3.58.0", "no 02:01P"))
	require.Equal(t, registry.SearchRun{Run: 3, Compared: 1, Lost: 1}, h.run(h.Store, s.ID, 3))
}

func TestWhoMayFitIsInTheReportBehindThoseWhoDo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(registry.ReferenceRelease, "", releaseFiles("3.57.0"))
	h.load(registry.ReferenceCodes, "alpha.v3", codeTable("AB\t01/05\n"))
	donors := h.listed("A*02:XX+A*11:01"+rest(), "A*02:01+A*11:01"+rest(), "A*02:01+A*11:01"+rest())
	h.sql(`UPDATE typings SET gl_string = 'A*02:QQQ+A*11:01' WHERE registration_id = $1`, donors[2])
	p, err := h.patientOf("A*02:01+A*11:01"+rest(), "3.57.0")
	require.NoError(t, err)
	s, err := h.Store.OpenSearch(context.Background(), h.TransplantDoctor, registry.SearchForm{Patient: p.ID, Policy: "10/10", Ranking: []string{"mismatches", "least"}})
	require.NoError(t, err)
	require.Equal(t, registry.SearchRun{Run: 1, Compared: 2, Found: 2, New: 2}, h.run(h.Store, s.ID, 1))
	list, err := h.Store.ListCandidates(context.Background(), h.TransplantDoctor, s.ID, registry.CandidateFilter{})
	require.NoError(t, err)
	require.Equal(t, []string{fmt.Sprint(donors[1], 10, 10), fmt.Sprint(donors[0], 9, 10)}, []string{
		fmt.Sprint(list[0].ID, list[0].Matched, list[0].Possible), fmt.Sprint(list[1].ID, list[1].Matched, list[1].Possible)})
	require.Equal(t, []registry.PositionGrade{{Grade: "potential", Patient: "A*02:01", Donor: "A*02:XX"}, {Grade: "allele", Patient: "A*11:01", Donor: "A*11:01"}}, sortedPositions(list[1].Grades[0]))
	s, err = h.Store.ShowSearch(context.Background(), h.TransplantDoctor, s.ID)
	require.NoError(t, err)
	require.Equal(t, 1, s.Unread, "one donor's typing cannot be read, and the report says so")
}

func sortedPositions(g registry.LocusGrade) []registry.PositionGrade {
	out := g.Positions
	if out[0].Patient > out[1].Patient {
		out[0], out[1] = out[1], out[0]
	}
	for i := range out {
		out[i].Patient, out[i].Donor = withoutPrefix(out[i].Patient), withoutPrefix(out[i].Donor)
	}
	return out
}

func withoutPrefix(name string) string {
	if len(name) > 4 && name[:4] == "HLA-" {
		return name[4:]
	}
	return name
}

func TestLociThatDoNotCountAreGradedBehindThoseThatDo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.listed(gl + "^DPB1*04:01+DPB1*05:01^DRB4*01:03")
	p, err := h.patientOf(gl+"^DPB1*04:01+DPB1*02:01", "3.57.0")
	require.NoError(t, err)
	s, err := h.Store.OpenSearch(context.Background(), h.TransplantDoctor, registry.SearchForm{Patient: p.ID, Policy: "10/10"})
	require.NoError(t, err)
	require.Equal(t, 1, h.run(h.Store, s.ID, 1).Found)
	list, err := h.Store.ListCandidates(context.Background(), h.TransplantDoctor, s.ID, registry.CandidateFilter{})
	require.NoError(t, err)
	var got []string
	for _, g := range list[0].Grades {
		got = append(got, fmt.Sprint(g.Locus, " ", g.Counts, " ", g.Matched, " ", g.Epitopes))
	}
	require.Equal(t, []string{"A true 2 ", "B true 2 ", "C true 2 ", "DRB1 true 2 ", "DQB1 true 2 ", "DPB1 false 1 unknown"}, got)
}

func TestAFilterNarrowsASearch(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	donors := h.listed(gl, gl)
	h.sql(`UPDATE persons SET sex = 'female', birth_date = '1990-01-01' FROM registrations r WHERE r.person_id = persons.id AND r.id = $1`, donors[0])
	h.sql(`UPDATE persons SET sex = 'male', birth_date = '2000-01-01', abo = 'AB' FROM registrations r WHERE r.person_id = persons.id AND r.id = $1`, donors[1])
	for name, c := range map[string]struct {
		filter registry.SearchFilter
		want   []uuid.UUID
	}{
		"sex":      {registry.SearchFilter{Sex: "female"}, donors[:1]},
		"age":      {registry.SearchFilter{AgeTo: time.Now().Year() - 1999}, donors[1:]},
		"blood":    {registry.SearchFilter{ABO: []string{"AB"}}, donors[1:]},
		"province": {registry.SearchFilter{Provinces: []string{"99"}}, nil},
		"nothing":  {registry.SearchFilter{}, []uuid.UUID{donors[1], donors[0]}},
	} {
		s, err := h.Store.OpenSearch(context.Background(), h.TransplantDoctor, registry.SearchForm{Patient: h.patient(h.TransplantDoctor).ID, Policy: "10/10", Filter: c.filter, Ranking: []string{"age"}})
		require.NoError(t, err, name)
		h.run(h.Store, s.ID, 1)
		var got []uuid.UUID
		for _, r := range h.candidates(h.TransplantDoctor, s.ID) {
			got = append(got, r.donor)
		}
		require.Equal(t, c.want, got, name)
	}
}
