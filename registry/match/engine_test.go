package match_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

// whomASearchFinds finds with an engine whom a policy accepts.
func whomASearchFinds(t require.TestingT, e *match.Engine, q match.Query) map[uuid.UUID]match.Count {
	found := map[uuid.UUID]match.Count{}
	said, err := e.Search(context.Background(), q, func(hits []match.Hit) {
		for _, h := range hits {
			require.NotContains(t, found, h.ID, "a donor is found once")
			found[h.ID] = h.Count
		}
	})
	require.NoError(t, err)
	require.Equal(t, len(found), said.Hits)
	return found
}

// slowSearch goes through everybody with the reference.
func slowSearch(release *slowRelease, patient string, donors map[uuid.UUID]string, p match.Policy) map[uuid.UUID]match.Count {
	found := map[uuid.UUID]match.Count{}
	for id, gl := range donors {
		count, typed := match.Count{}, 0
		for _, l := range referenceCompare(release, patient, gl, p.Loci) {
			count.Of += 2
			count.Least += l.match.Least
			count.Most += l.match.Most
			if l.typed {
				typed++
			}
		}
		if int(count.Of-count.Most) <= p.Mismatches && typed > 0 && (typed == len(p.Loci) || p.AllowUntyped) {
			found[id] = count
		}
	}
	return found
}

func drawnPolicy(t *rapid.T) match.Policy {
	return match.Policy{
		Loci:       rapid.SliceOfNDistinct(rapid.SampledFrom(referenceLoci), 1, len(referenceLoci), rapid.ID[hla.Locus]).Draw(t, "loci"),
		Mismatches: rapid.IntRange(0, match.MostMismatches).Draw(t, "mismatches"), AllowUntyped: rapid.Bool().Draw(t, "untyped"),
	}
}

// requireSameFound holds a search of an engine against going through everybody.
func requireSameFound(t *rapid.T, e *match.Engine, slow *slowRelease, release *hla.Release, donors map[uuid.UUID]string, gl func(*rapid.T) string) {
	p, text := drawnPolicy(t), gl(t)
	patient := mustRead(t, hla.Reader{Release: release, Codes: mustCodes(t)}, text)
	typed := 0
	for _, locus := range p.Loci {
		if patient.At(locus) != nil {
			typed++
		}
	}
	if typed == 0 || typed < len(p.Loci) && !p.AllowUntyped {
		_, err := e.Search(context.Background(), match.Query{Patient: patient, Policy: p}, func([]match.Hit) {})
		var untyped *match.UntypedError
		require.ErrorAs(t, err, &untyped)
		require.Len(t, untyped.Loci, len(p.Loci)-typed)
		return
	}
	want := slowSearch(slow, text, donors, p)
	require.Equal(t, want, whomASearchFinds(t, e, match.Query{Patient: patient, Policy: p}), "%s\n%v\n%+v", text, donors, p)
}

func TestASearchFindsWhomGoingThroughEverybodyFinds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		older, newer := drawnRelease(t, "3.33.0"), drawnRelease(t, "3.34.0")
		gl := func(t *rapid.T) string { return somethingTyped(drawnGL(t, older, newer)) }
		releases := []*slowRelease{older, newer}
		loaded := []*hla.Release{older.load(t), newer.load(t)}
		at := 0
		readers := func() *hla.Library { return hla.NewLibrary(mustCodes(t), loaded[at]) }
		e := match.NewEngine(readers())
		donors, next := map[uuid.UUID]string{}, byte(0)
		entrant := func() match.Entrant {
			next++
			d := match.Entrant{ID: uuid.UUID{15: rapid.Byte().Draw(t, "id"), 14: next}, Typing: gl(t)}
			donors[d.ID] = d.Typing
			return d
		}
		var first []match.Entrant
		for range rapid.IntRange(0, 6).Draw(t, "donors") {
			first = append(first, entrant())
		}
		require.NoError(t, e.Load(func(yield func(match.Entrant, error) bool) {
			for _, d := range first {
				if !yield(d, nil) {
					return
				}
			}
		}))
		known := func() uuid.UUID {
			return rapid.SampledFrom(slices.SortedFunc(maps.Keys(donors), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })).Draw(t, "who")
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) { require.NoError(t, e.Put(entrant())) },
			"change": func(t *rapid.T) {
				if len(donors) == 0 {
					t.Skip("nobody")
				}
				id := known()
				donors[id] = gl(t)
				require.NoError(t, e.Put(match.Entrant{ID: id, Typing: donors[id]}))
			},
			"remove": func(t *rapid.T) {
				if len(donors) == 0 {
					t.Skip("nobody")
				}
				id := known()
				delete(donors, id)
				require.True(t, e.Remove(id))
				require.False(t, e.Remove(id), "they are gone")
			},
			"another release": func(t *rapid.T) {
				at = 1 - at
				e.Reread(readers())
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(donors), e.Len())
				requireSameFound(t, e, releases[at], loaded[at], donors, gl)
			},
		})
	})
}

func TestWithoutAReleaseASearchFindsWhomGoingThroughEverybodyFinds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		gl := func(t *rapid.T) string { return somethingTyped(drawnGL(t)) }
		e := match.NewEngine(hla.NewLibrary(mustCodes(t)))
		donors := map[uuid.UUID]string{}
		for n := range rapid.IntRange(1, 8).Draw(t, "donors") {
			id := uuid.UUID{15: byte(n)}
			donors[id] = gl(t)
			require.NoError(t, e.Put(match.Entrant{ID: id, Typing: donors[id]}))
		}
		requireSameFound(t, e, nil, nil, donors, gl)
	})
}

// somethingTyped is a typing that says something: nobody enters an empty one.
func somethingTyped(gl string) string { return cmp.Or(gl, "A*01:01+A*01:01") }

// many makes donors who are typed by two fields at A and B, enough for several segments.
func many(n int) []match.Entrant {
	out := make([]match.Entrant, n)
	for i := range out {
		out[i] = match.Entrant{
			ID: uuid.UUID{12: byte(i >> 16), 13: byte(i >> 8), 14: byte(i)}, Traits: match.Traits{BirthYear: uint16(1960 + i%45), Sex: match.Sex(1 + i%2)},
			Typing: fmt.Sprintf("A*%02d:01+A*%02d:01^B*%02d:01+B*%02d:01", 1+i%7, 1+i%5, 1+i%11, 1+i%3),
		}
	}
	return out
}

func engineOf(t require.TestingT, donors []match.Entrant) *match.Engine {
	e := match.NewEngine(nil)
	require.NoError(t, e.Load(func(yield func(match.Entrant, error) bool) {
		for _, d := range donors {
			if !yield(d, nil) {
				return
			}
		}
	}))
	return e
}

var twoLoci = match.Policy{Loci: []hla.Locus{hla.A, hla.B}, Mismatches: 1}

func TestAnEngineThatManyChangeAndManySearchStaysTrue(t *testing.T) {
	t.Parallel()
	donors := many(30_000)
	e := engineOf(t, donors)
	patient := mustRead(t, hla.Reader{}, donors[0].Typing)
	// Those who are not touched are found by every search; of the others each search sees them or not.
	stay, go_ := donors[:15_000], donors[15_000:]
	want := whomASearchFinds(t, engineOf(t, stay), match.Query{Patient: patient, Policy: twoLoci})
	var workers sync.WaitGroup
	for part := range 2 {
		workers.Go(func() {
			for i := part; i < len(go_); i += 2 {
				require.True(t, e.Remove(go_[i].ID))
				if i%3 == 0 {
					require.NoError(t, e.Put(go_[i]))
				}
			}
		})
		workers.Go(func() {
			for range 20 {
				found := whomASearchFinds(t, e, match.Query{Patient: patient, Policy: twoLoci})
				for id, count := range want {
					require.Equal(t, count, found[id])
				}
			}
		})
	}
	workers.Wait()
	var left []match.Entrant
	for i, d := range go_ {
		if i%3 == 0 {
			left = append(left, d)
		}
	}
	require.Equal(t, len(stay)+len(left), e.Len())
	require.Equal(t, whomASearchFinds(t, engineOf(t, slices.Concat(stay, left)), match.Query{Patient: patient, Policy: twoLoci}),
		whomASearchFinds(t, e, match.Query{Patient: patient, Policy: twoLoci}))
}

// Somebody whose weight is corrected fits all the while: no search may lose them, and none may find them twice.
func TestADonorWhoChangesIsFoundByEverySearch(t *testing.T) {
	t.Parallel()
	donors := many(3_000)
	e := engineOf(t, donors)
	q := match.Query{Patient: mustRead(t, hla.Reader{}, donors[0].Typing), Policy: twoLoci}
	want := whomASearchFinds(t, e, q)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for round := range 5 {
			for _, d := range donors {
				d.Traits.WeightKG = uint8(50 + round)
				_ = e.Put(d)
			}
		}
	}()
	for searching := true; searching; {
		select {
		case <-done:
			searching = false
		default:
		}
		require.Equal(t, want, whomASearchFinds(t, e, q))
	}
	require.Equal(t, len(donors), e.Len())
}

func TestDonorsWhoCannotBeReadAreToldAndNotFound(t *testing.T) {
	t.Parallel()
	donors := many(10)
	donors[3].Typing = "A*24:02:01G+A*01:01" // a group needs a release
	e := engineOf(t, donors)
	require.Equal(t, 9, e.Len())
	require.Equal(t, map[uuid.UUID]match.Unread{donors[3].ID: {Reason: hla.ReasonRelease, Locus: hla.A}}, e.Left())
	donors[3].Typing = "A*24:02+A*01:01"
	require.NoError(t, e.Put(donors[3]))
	require.Empty(t, e.Left())
	require.Equal(t, 10, e.Len())
	require.Error(t, e.Put(match.Entrant{ID: donors[3].ID, Typing: "A*24:02"}))
	require.Equal(t, 9, e.Len(), "what cannot be read does not leave what was read before")
}

func TestTheBestAreThoseThatAreFirstOfAllInOrder(t *testing.T) {
	t.Parallel()
	donors := many(25_000)
	e := engineOf(t, donors)
	patient := mustRead(t, hla.Reader{}, donors[0].Typing)
	q := match.Query{Patient: patient, Policy: twoLoci, Filter: match.Filter{AgeTo: 40, Sex: match.Male}, Year: 2026}
	ranking := match.Ranking{match.ByMismatches, match.ByAge}
	var all []match.Scored
	for id, count := range whomASearchFinds(t, e, match.Query{Patient: patient, Policy: twoLoci}) {
		n := int(id[12])<<16 | int(id[13])<<8 | int(id[14])
		if q.Filter.Keeps(donors[n].Traits, 2026) {
			all = append(all, match.Scored{ID: id, Count: count, Traits: donors[n].Traits})
		}
	}
	better := ranking.For(match.Traits{})
	slices.SortFunc(all, func(a, b match.Scored) int { return better(&a, &b) })
	require.Greater(t, len(all), 50)
	for _, limit := range []int{1, 7, 50, len(all), len(all) + 1} {
		report, err := e.Best(context.Background(), match.Request{Query: q, Ranking: ranking, Limit: limit})
		require.NoError(t, err)
		require.Equal(t, len(all), report.Accepted)
		require.Len(t, report.Candidates, min(limit, len(all)))
		for i, c := range report.Candidates {
			require.Equal(t, all[i], c.Scored, "%d of %d", i, limit)
			n := int(c.ID[12])<<16 | int(c.ID[13])<<8 | int(c.ID[14])
			require.Equal(t, c.Count, match.Rules{Loci: twoLoci.Loci}.Compare(patient, c.Typing).Count)
			require.Equal(t, c.Count, match.Rules{Loci: twoLoci.Loci}.Compare(patient, mustRead(t, hla.Reader{}, donors[n].Typing)).Count)
		}
	}
}

func TestASearchThatIsGivenUpEnds(t *testing.T) {
	t.Parallel()
	donors := many(60_000)
	e := engineOf(t, donors)
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	_, err := e.Search(ctx, match.Query{Patient: mustRead(t, hla.Reader{}, donors[0].Typing), Policy: twoLoci}, func([]match.Hit) {
		calls++
		cancel()
	})
	require.ErrorIs(t, err, context.Canceled)
	require.LessOrEqual(t, calls, 4)
}
