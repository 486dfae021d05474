package match_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/go-playground/validator/v10"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

var tenLoci = []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1}

func mustTyping(t require.TestingT, gl string) hla.Typing {
	if gl == "" {
		return hla.Typing{}
	}
	typing, err := hla.ParseTyping(gl)
	require.NoError(t, err)
	return typing
}

// A genotype is the names at each typed locus; "" is the absent copy of DRB3. Few names, so that people share some.
type genotype map[hla.Locus][2]string

var drawnLoci = []hla.Locus{hla.A, hla.B, hla.DRB1, hla.DRB3}

func name(locus hla.Locus) *rapid.Generator[string] {
	return rapid.Map(rapid.SampledFrom([]string{
		"01:01", "01:01:01", "01:02", "01:02:01:01", "02:01", "02:01:01:02L", "01:01N", "01:01:01:02N", "03:05N",
	}), func(number string) string { return string(locus) + "*" + number })
}

func genotypes(everyLocus bool) *rapid.Generator[genotype] {
	return rapid.Custom(func(t *rapid.T) genotype {
		g := genotype{}
		for _, locus := range drawnLoci {
			if !everyLocus && rapid.IntRange(0, 3).Draw(t, "untyped") == 0 {
				continue
			}
			pair := [2]string{name(locus).Draw(t, "first"), name(locus).Draw(t, "second")}
			if locus == hla.DRB3 && rapid.Bool().Draw(t, "absent") {
				pair[1] = ""
			}
			g[locus] = pair
		}
		return g
	})
}

// typing reads the genotype, with the copies written the other way round when crossed.
func (g genotype) typing(t require.TestingT, crossed bool) hla.Typing {
	var parts []string
	for _, locus := range drawnLoci {
		pair, ok := g[locus]
		if !ok {
			continue
		}
		if crossed {
			pair[0], pair[1] = pair[1], pair[0]
		}
		parts = append(parts, strings.Trim(pair[0]+"+"+pair[1], "+"))
	}
	return mustTyping(t, strings.Join(parts, "^"))
}

// The reference: matches at a locus by going through both pairings of strings.

func referenceTwoField(name string) string {
	if name == "" {
		return ""
	}
	null := strings.HasSuffix(name, "N")
	fields := strings.Split(strings.TrimRight(name, "NLSCAQ"), ":")
	short := fields[0] + ":" + fields[1]
	if null {
		short += "N"
	}
	return short
}

func referenceExpressed(pair [2]string) [2]string {
	x, y := referenceTwoField(pair[0]), referenceTwoField(pair[1])
	makesProtein := func(s string) bool { return s != "" && !strings.HasSuffix(s, "N") }
	if makesProtein(x) && !makesProtein(y) {
		return [2]string{x, x}
	}
	if makesProtein(y) && !makesProtein(x) {
		return [2]string{y, y}
	}
	return [2]string{x, y}
}

func referenceMatches(patient, donor [2]string) int {
	p, d := referenceExpressed(patient), referenceExpressed(donor)
	best := 0
	for _, pairing := range [][2]int{{0, 1}, {1, 0}} {
		matches := 0
		for i, j := range pairing {
			if p[i] == d[j] {
				matches++
			}
		}
		best = max(best, matches)
	}
	return best
}

func TestComparingAgreesWithGoingThroughBothPairings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patient, donor := genotypes(false).Draw(t, "patient"), genotypes(false).Draw(t, "donor")
		got := match.Compare(patient.typing(t, false), donor.typing(t, false), drawnLoci)
		matched, of, untyped := 0, 0, 0
		require.Len(t, got.Loci, len(drawnLoci))
		for i, locus := range drawnLoci {
			at := got.Loci[i]
			require.Equal(t, locus, at.Locus)
			p, patientTyped := patient[locus]
			d, donorTyped := donor[locus]
			if !patientTyped || !donorTyped {
				untyped++
				require.Equal(t, match.LocusResult{Locus: locus, Possible: 2, Positions: [2]match.Grade{match.Untyped, match.Untyped}}, at)
				continue
			}
			matches := referenceMatches(p, d)
			matched, of = matched+matches, of+2
			require.Equal(t, matches, at.Matched)
			require.Equal(t, matches, at.Possible)
			graded := 0
			for _, grade := range at.Positions {
				require.Contains(t, []match.Grade{match.Match, match.Mismatch}, grade)
				if grade == match.Match {
					graded++
				}
			}
			require.Equal(t, matches, graded)
		}
		require.Equal(t, matched, got.Matched)
		require.Equal(t, of, got.Of)
		require.Equal(t, matched+2*untyped, got.Potential)
	})
}

func TestPatientAndDonorCanChangePlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := genotypes(false).Draw(t, "x").typing(t, false), genotypes(false).Draw(t, "y").typing(t, false)
		there, back := match.Compare(x, y, drawnLoci), match.Compare(y, x, drawnLoci)
		require.Equal(t, []int{there.Matched, there.Of, there.Potential}, []int{back.Matched, back.Of, back.Potential})
		for i := range drawnLoci {
			require.Equal(t, there.Loci[i].Matched, back.Loci[i].Matched)
		}
	})
}

func TestTheOrderInWhichCopiesAreWrittenDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patient, donor := genotypes(false).Draw(t, "patient"), genotypes(false).Draw(t, "donor")
		require.Equal(t,
			match.Compare(patient.typing(t, false), donor.typing(t, false), drawnLoci),
			match.Compare(patient.typing(t, true), donor.typing(t, true), drawnLoci))
	})
}

func TestAPersonFitsThemselves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := genotypes(true).Draw(t, "x").typing(t, false)
		result := match.Compare(x, x, drawnLoci)
		require.Equal(t, 2*len(drawnLoci), result.Matched)
		require.Equal(t, 2*len(drawnLoci), result.Of)
	})
}

func TestAForeignAlleleNeverRaisesTheCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patient, donor := genotypes(true).Draw(t, "patient"), genotypes(true).Draw(t, "donor")
		before := match.Compare(patient.typing(t, false), donor.typing(t, false), drawnLoci)
		locus := rapid.SampledFrom(drawnLoci).Draw(t, "locus")
		pair := donor[locus]
		pair[rapid.IntRange(0, 1).Draw(t, "copy")] = string(locus) + "*99:99"
		donor[locus] = pair
		after := match.Compare(patient.typing(t, false), donor.typing(t, false), drawnLoci)
		require.LessOrEqual(t, after.Matched, before.Matched)
		require.Less(t, after.Matched, after.Of)
	})
}

func TestGradesStandAtThePatientsCopies(t *testing.T) {
	const yes, no, untyped = match.Match, match.Mismatch, match.Untyped
	for _, c := range []struct {
		about, patient, donor string
		locus                 hla.Locus
		grades                [2]match.Grade
	}{
		{"same pair", "A*02:01+A*24:02", "A*24:02+A*02:01", hla.A, [2]match.Grade{yes, yes}},
		{"first differs", "A*02:01+A*24:02", "A*03:01+A*24:02", hla.A, [2]match.Grade{no, yes}},
		{"second differs", "A*02:01+A*24:02", "A*02:01+A*68:01", hla.A, [2]match.Grade{yes, no}},
		{"only crossed fits, at the first", "A*02:01+A*24:02", "A*01:01+A*02:01", hla.A, [2]match.Grade{yes, no}},
		{"only crossed fits, at the second", "A*02:01+A*24:02", "A*24:02+A*68:01", hla.A, [2]match.Grade{no, yes}},
		{"nothing fits", "A*02:01+A*24:02", "A*01:01+A*03:01", hla.A, [2]match.Grade{no, no}},
		{"homozygous donor", "A*02:01+A*24:02", "A*24:02+A*24:02", hla.A, [2]match.Grade{no, yes}},
		{"homozygous patient, either pairing fits: direct", "A*24:02+A*24:02", "A*02:01+A*24:02", hla.A, [2]match.Grade{no, yes}},
		{"third and fourth fields do not count", "A*02:01:01:01+A*24:02:03", "A*02:01:02+A*24:02", hla.A, [2]match.Grade{yes, yes}},
		{"the second field counts", "A*02:01+A*24:02", "A*02:06+A*24:02", hla.A, [2]match.Grade{no, yes}},
		{"low expression does not count", "A*24:02+A*24:02", "A*24:02:01:02L+A*24:02", hla.A, [2]match.Grade{yes, yes}},
		{"a null is homozygous for its neighbour", "C*07:02+C*07:02", "C*05:07N+C*07:02", hla.C, [2]match.Grade{yes, yes}},
		{"on the patient's side too", "A*03:01+A*01:11N", "A*03:01+A*03:01", hla.A, [2]match.Grade{yes, yes}},
		{"two different nulls beside the same allele", "A*01:11N+A*03:01", "A*03:01+A*24:09N", hla.A, [2]match.Grade{yes, yes}},
		{"a null seen only in the fourth field", "A*01:01:01:02N+A*03:01", "A*03:01+A*03:01", hla.A, [2]match.Grade{yes, yes}},
		{"a null is not its expressed sister", "A*01:01:01:02N+A*03:01", "A*01:01+A*03:01", hla.A, [2]match.Grade{no, yes}},
		{"nulls alone are compared by name", "A*01:11N+A*24:09N", "A*24:09N+A*01:16N", hla.A, [2]match.Grade{no, yes}},
		{"an absent DRB3 is no protein", "DRB3*02:02", "DRB3*02:02+DRB3*02:02", hla.DRB3, [2]match.Grade{yes, yes}},
		{"an absent DRB3 beside another allele", "DRB3*02:02", "DRB3*01:01+DRB3*02:02", hla.DRB3, [2]match.Grade{no, yes}},
		{"donor untyped", "A*02:01+A*24:02", "", hla.A, [2]match.Grade{untyped, untyped}},
		{"patient untyped", "", "A*02:01+A*24:02", hla.A, [2]match.Grade{untyped, untyped}},
		{"a locus nobody keeps", "A*02:01+A*24:02", "A*02:01+A*24:02", "F", [2]match.Grade{untyped, untyped}},
	} {
		result := match.Compare(mustTyping(t, c.patient), mustTyping(t, c.donor), []hla.Locus{c.locus})
		require.Equal(t, c.grades, result.Loci[0].Positions, c.about)
	}
}

func TestAResultAddsUpItsLociInTheOrderAskedFor(t *testing.T) {
	patient := mustTyping(t, "A*02:01+A*24:02^B*40:01+B*51:01^DRB1*09:01+DRB1*15:01")
	donor := mustTyping(t, "A*02:01+A*11:01^DRB1*09:01+DRB1*15:01")
	encoded, err := json.Marshal(match.Compare(patient, donor, []hla.Locus{hla.DRB1, hla.A, hla.B}))
	require.NoError(t, err)
	require.JSONEq(t, `{"loci": [
		{"locus": "DRB1", "matched": 2, "possible": 2, "positions": ["match", "match"]},
		{"locus": "A", "matched": 1, "possible": 1, "positions": ["match", "mismatch"]},
		{"locus": "B", "matched": 0, "possible": 2, "positions": ["untyped", "untyped"]}
	], "matched": 3, "of": 4, "potential": 5}`, string(encoded))
}

func TestAPolicysNameSaysWhatItAllows(t *testing.T) {
	require.Equal(t, []string{"10/10", "9/10", "8/10", "6/6", "5/6"}, match.Names())
	for _, name := range match.Names() {
		policy, ok := match.Named(name)
		require.True(t, ok)
		var least, of int
		_, err := fmt.Sscanf(name, "%d/%d", &least, &of)
		require.NoError(t, err)
		require.Len(t, policy.Loci, of/2)
		require.Equal(t, of-least, policy.Mismatches)
		require.False(t, policy.AllowUntyped)
		require.Subset(t, policy.Loci, []hla.Locus{hla.A, hla.B, hla.DRB1})
	}
	ten, _ := match.Named("10/10")
	require.ElementsMatch(t, tenLoci, ten.Loci)
	ten.Loci[0] = hla.DPB1
	again, _ := match.Named("10/10")
	require.ElementsMatch(t, tenLoci, again.Loci)

	_, ok := match.Named("11/10")
	require.False(t, ok)
}

func TestAPolicysTagsTellGoodFromBad(t *testing.T) {
	check := validator.New()
	for _, name := range match.Names() {
		policy, _ := match.Named(name)
		require.NoError(t, check.Struct(policy), name)
	}
	require.NoError(t, check.Struct(match.Policy{Loci: hla.Loci(), Mismatches: 4, AllowUntyped: true}))
	for about, policy := range map[string]match.Policy{
		"no loci":             {},
		"empty loci":          {Loci: []hla.Locus{}},
		"a locus twice":       {Loci: []hla.Locus{hla.A, hla.A}},
		"an unknown locus":    {Loci: []hla.Locus{"F"}},
		"mismatches below 0":  {Loci: tenLoci, Mismatches: -1},
		"mismatches beyond 4": {Loci: tenLoci, Mismatches: 5},
	} {
		require.Error(t, check.Struct(policy), about)
	}
	var policy match.Policy
	require.NoError(t, json.Unmarshal([]byte(`{"loci":["A","B"],"mismatches":1,"allow_untyped":true}`), &policy))
	require.Equal(t, match.Policy{Loci: []hla.Locus{hla.A, hla.B}, Mismatches: 1, AllowUntyped: true}, policy)
}

func TestAPolicyCountsMismatchesAndUntypedLociAtItsOwnLoci(t *testing.T) {
	patient := mustTyping(t, "A*02:01+A*24:02^B*40:01+B*51:01^C*03:04+C*14:02^DRB1*09:01+DRB1*15:01")
	donor := mustTyping(t, "A*02:01+A*24:02^B*40:01+B*52:01^DRB1*09:01+DRB1*12:02")
	result := match.Compare(patient, donor, tenLoci[:4])
	for _, c := range []struct {
		about  string
		policy match.Policy
		want   bool
	}{
		{"as many mismatches as there are", match.Policy{Loci: []hla.Locus{hla.A, hla.B, hla.DRB1}, Mismatches: 2}, true},
		{"one fewer", match.Policy{Loci: []hla.Locus{hla.A, hla.B, hla.DRB1}, Mismatches: 1}, false},
		{"mismatches elsewhere", match.Policy{Loci: []hla.Locus{hla.A}}, true},
		{"an untyped locus", match.Policy{Loci: []hla.Locus{hla.A, hla.C}}, false},
		{"an untyped locus, allowed", match.Policy{Loci: []hla.Locus{hla.A, hla.C}, AllowUntyped: true}, true},
		{"mismatches with untyped allowed", match.Policy{Loci: []hla.Locus{hla.B, hla.C}, AllowUntyped: true}, false},
		{"a locus that was not compared", match.Policy{Loci: []hla.Locus{hla.A, hla.DQB1}}, false},
		{"a locus that was not compared, allowed", match.Policy{Loci: []hla.Locus{hla.A, hla.DQB1}, AllowUntyped: true}, true},
		{"nothing typed at all", match.Policy{Loci: []hla.Locus{hla.C}, AllowUntyped: true}, false},
		{"no loci", match.Policy{}, false},
		{"no loci, untyped allowed", match.Policy{AllowUntyped: true}, false},
	} {
		require.Equal(t, c.want, match.Accepts(c.policy, result), c.about)
	}
}

func list(donors ...match.Donor) iter.Seq2[match.Donor, error] {
	return func(yield func(match.Donor, error) bool) {
		for _, donor := range donors {
			if !yield(donor, nil) {
				return
			}
		}
	}
}

func ids(candidates []match.Candidate) []string {
	var ids []string
	for _, c := range candidates {
		ids = append(ids, c.Donor.ID)
	}
	return ids
}

func TestASearchRanksByMatchesThenAgeThenID(t *testing.T) {
	patient := mustTyping(t, "A*02:01+A*24:02^B*40:01+B*51:01^DRB1*09:01+DRB1*15:01")
	full := patient
	near := mustTyping(t, "A*02:01+A*11:01^B*40:01+B*51:01^DRB1*09:01+DRB1*15:01")
	far := mustTyping(t, "A*02:01+A*11:01^B*40:01+B*52:01^DRB1*09:01+DRB1*15:01")
	unknown := mustTyping(t, "A*02:01+A*24:02^B*40:01+B*51:01")
	donors := list(
		match.Donor{ID: "near-young", Typing: near, BirthYear: 2004},
		match.Donor{ID: "full-unknown", Typing: full},
		match.Donor{ID: "far", Typing: far, BirthYear: 2006},
		match.Donor{ID: "full-b", Typing: full, BirthYear: 1990},
		match.Donor{ID: "untyped", Typing: unknown, BirthYear: 1970},
		match.Donor{ID: "full-a", Typing: full, BirthYear: 1990},
		match.Donor{ID: "full-young", Typing: full, BirthYear: 1999},
	)
	policy, _ := match.Named("5/6")
	found, err := match.Search(patient, donors, policy)
	require.NoError(t, err)
	require.Equal(t, []string{"full-young", "full-a", "full-b", "full-unknown", "near-young"}, ids(found))
	require.Equal(t, match.Compare(patient, near, policy.Loci), found[4].Result)
	require.Equal(t, near, found[4].Donor.Typing)

	policy.AllowUntyped, policy.Mismatches = true, 2
	found, err = match.Search(patient, donors, policy)
	require.NoError(t, err)
	require.Equal(t, []string{"full-young", "full-a", "full-b", "full-unknown", "near-young", "untyped", "far"}, ids(found))
}

// drawnDonors draws donors with distinct IDs who are often alike in everything else.
func drawnDonors(t *rapid.T) []match.Donor {
	var donors []match.Donor
	for i, g := range rapid.SliceOfN(genotypes(false), 0, 12).Draw(t, "donors") {
		donors = append(donors, match.Donor{
			ID:        fmt.Sprintf("D%02d", i),
			Typing:    g.typing(t, false),
			BirthYear: rapid.SampledFrom([]int{0, 1980, 2000}).Draw(t, "born"),
		})
	}
	return donors
}

func drawnPolicy(t *rapid.T) match.Policy {
	return match.Policy{
		Loci:         rapid.SliceOfNDistinct(rapid.SampledFrom(drawnLoci), 1, -1, rapid.ID).Draw(t, "loci"),
		Mismatches:   rapid.IntRange(0, 4).Draw(t, "mismatches"),
		AllowUntyped: rapid.Bool().Draw(t, "allowUntyped"),
	}
}

func TestASearchKeepsWhomThePolicyAcceptsInATotalOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patient := genotypes(true).Draw(t, "patient").typing(t, false)
		donors, policy := drawnDonors(t), drawnPolicy(t)
		found, err := match.Search(patient, list(donors...), policy)
		require.NoError(t, err)

		again, err := match.Search(patient, list(rapid.Permutation(donors).Draw(t, "shuffled")...), policy)
		require.NoError(t, err)
		require.Equal(t, found, again)

		var accepted []string
		for _, donor := range donors {
			if match.Accepts(policy, match.Compare(patient, donor.Typing, policy.Loci)) {
				accepted = append(accepted, donor.ID)
			}
		}
		require.ElementsMatch(t, accepted, ids(found))

		place := func(c match.Candidate) string {
			return fmt.Sprintf("%02d %02d %04d %s", 99-c.Result.Matched, 99-c.Result.Potential, 9999-c.Donor.BirthYear, c.Donor.ID)
		}
		require.True(t, slices.IsSortedFunc(found, func(a, b match.Candidate) int { return cmp.Compare(place(a), place(b)) }))
	})
}

func TestAllowingMoreNeverLosesACandidate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patient := genotypes(true).Draw(t, "patient").typing(t, false)
		donors, policy := drawnDonors(t), drawnPolicy(t)
		strict, err := match.Search(patient, list(donors...), policy)
		require.NoError(t, err)
		policy.Mismatches++
		policy.AllowUntyped = true
		loose, err := match.Search(patient, list(donors...), policy)
		require.NoError(t, err)
		require.Subset(t, ids(loose), ids(strict))
	})
}

func TestAnErrorAmongTheDonorsEndsTheSearch(t *testing.T) {
	broken := errors.New("connection lost")
	patient := mustTyping(t, "A*02:01+A*24:02")
	read := 0
	donors := func(yield func(match.Donor, error) bool) {
		for _, err := range []error{nil, broken, nil} {
			read++
			if !yield(match.Donor{ID: fmt.Sprint(read), Typing: patient}, err) {
				return
			}
		}
	}
	found, err := match.Search(patient, donors, match.Policy{Loci: []hla.Locus{hla.A}})
	require.ErrorIs(t, err, broken)
	require.Nil(t, found)
	require.Equal(t, 2, read)
}

func TestAPatientWithoutTheLociOfThePolicyIsRefusedBeforeAnyDonorIsRead(t *testing.T) {
	patient := mustTyping(t, "A*02:01+A*24:02^DRB1*09:01+DRB1*15:01")
	unread := func(func(match.Donor, error) bool) { t.Error("a donor was read") }
	for _, policy := range []match.Policy{
		{Loci: tenLoci},
		{Loci: []hla.Locus{hla.B, hla.C, hla.DQB1}, AllowUntyped: true},
	} {
		_, err := match.Search(patient, unread, policy)
		var untyped *match.UntypedError
		require.ErrorAs(t, err, &untyped)
		require.Equal(t, []hla.Locus{hla.B, hla.C, hla.DQB1}, untyped.Loci)
		require.ErrorContains(t, err, "[B C DQB1]")
	}
	found, err := match.Search(patient, list(match.Donor{ID: "1", Typing: patient}), match.Policy{Loci: tenLoci, AllowUntyped: true})
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, ids(found))
}

func BenchmarkCompare(b *testing.B) {
	patient := mustTyping(b, "A*11:01+A*24:02^B*40:01+B*51:01^C*07:02+C*14:02^DRB1*09:01+DRB1*15:01^DQB1*03:03+DQB1*06:01")
	donor := mustTyping(b, "A*02:07+A*11:01^B*40:01+B*46:01^C*01:02+C*07:02^DRB1*09:01+DRB1*15:01^DQB1*03:03+DQB1*06:01")
	b.ReportAllocs()
	for b.Loop() {
		match.Compare(patient, donor, tenLoci)
	}
}
