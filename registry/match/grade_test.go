package match_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/go-playground/validator/v10"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

var tenLoci = []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1}

// example is a release with what the tables below need, after IPD-IMGT/HLA 3.33.0.
func example(t testing.TB) *hla.Release {
	t.Helper()
	slow := &slowRelease{
		version: "3.33.0",
		alleles: []string{
			"A*01:01", "A*01:11N", "A*02:01", "A*02:03", "A*02:06", "A*02:09", "A*23:01", "A*24:02", "A*24:03", "A*24:09N", "A*25:01", "A*66:01",
			"B*15:01", "B*15:10", "B*15:140", "B*35:01", "C*07:01", "C*07:02", "C*12:02", "C*12:03", "C*14:02", "C*05:07N",
			"DPB1*01:01", "DPB1*02:01", "DPB1*03:01", "DPB1*04:01", "DPB1*09:01", "DPB1*17:01", "DPB1*61:01N", "DPB1*99:01", "DQA1*01:01", "DQA1*01:02", "DQA1*05:01",
		},
		group: map[string]string{"A*02:01": "A*02:01", "A*02:09": "A*02:01", "A*02:06": "A*02:06"},
		columns: map[string][4]string{
			"A*01:01": {"1"}, "A*02:01": {"2"}, "A*02:03": {"203"}, "A*02:06": {"2"}, "A*23:01": {"23"}, "A*24:02": {"24"}, "A*24:03": {"2403"}, "A*25:01": {"25"},
			"A*66:01": {"66", "", "", "26/34"}, "B*15:01": {"62"}, "B*15:10": {"71"}, "B*15:140": {"", "", "15/70"}, "B*35:01": {"35"},
			"C*07:01": {"7"}, "C*07:02": {"7"}, "C*12:02": {"?"}, "C*12:03": {"", "", "", "3"}, "C*14:02": {"?"},
		},
		narrower: map[string][]string{"A 9": {"23", "24"}, "A 24": {"2403"}, "A 2": {"203", "210"}, "A 10": {"25", "26", "34", "66"}, "B 15": {"62", "63"}, "B 70": {"71", "72"}},
		epitope: map[string]string{
			"DPB1*01:01": "3", "DPB1*02:01": "3", "DPB1*03:01": "2", "DPB1*04:01": "3$", "DPB1*09:01": "1", "DPB1*17:01": "1", "DPB1*99:01": "",
		},
	}
	return slow.load(t)
}

func TestCopiesAreGradedInTheBestPairing(t *testing.T) {
	t.Parallel()
	release := example(t)
	const unknown = hla.UnknownAntigen
	for about, c := range map[string]struct {
		patient, donor string
		grades         [2]match.Grade
		crossed        bool
		least, most    uint8
		antigens       [2]hla.Likeness
	}{
		"the same alleles":                          {"A*02:01+A*24:02", "A*02:01+A*24:02", [2]match.Grade{match.Allele, match.Allele}, false, 2, 2, [2]hla.Likeness{"same", "same"}},
		"the same, written the other way":           {"A*02:01+A*24:02", "A*24:02+A*02:01", [2]match.Grade{match.Allele, match.Allele}, true, 2, 2, [2]hla.Likeness{"same", "same"}},
		"one P group":                               {"A*02:01+A*24:02", "A*02:09+A*24:02", [2]match.Grade{match.PGroup, match.Allele}, false, 2, 2, [2]hla.Likeness{"same", "same"}},
		"a list within one P group":                 {"A*02:01/A*02:09+A*24:02", "A*02:01+A*24:02", [2]match.Grade{match.PGroup, match.Allele}, false, 2, 2, [2]hla.Likeness{"same", "same"}},
		"a list across P groups":                    {"A*02:01/A*02:06+A*24:02", "A*02:01+A*24:02", [2]match.Grade{match.Potential, match.Allele}, false, 1, 2, [2]hla.Likeness{"same", "same"}},
		"an antigen that the allele makes":          {"A*02:01+A*24:02", "A9+A2", [2]match.Grade{match.Potential, match.Potential}, true, 0, 2, [2]hla.Likeness{"same", unknown}},
		"another allele of one antigen":             {"A*02:01+A*24:02", "A*02:06+A*24:02", [2]match.Grade{match.AlleleMismatch, match.Allele}, false, 1, 1, [2]hla.Likeness{"same", "same"}},
		"associated antigens":                       {"A*02:01+A*24:02", "A*24:03+A*02:03", [2]match.Grade{match.AlleleMismatch, match.AlleleMismatch}, true, 0, 0, [2]hla.Likeness{"same", "same"}},
		"two splits of one antigen":                 {"A*23:01+A*02:01", "A*24:02+A*02:01", [2]match.Grade{match.Mismatch, match.Allele}, false, 1, 1, [2]hla.Likeness{"different", "same"}},
		"the unambiguous antigen before experts'":   {"A*66:01+A*02:01", "A*25:01+A*02:01", [2]match.Grade{match.Mismatch, match.Allele}, false, 1, 1, [2]hla.Likeness{"different", "same"}},
		"one first field, two antigens":             {"B*15:01+B*35:01", "B*15:10+B*35:01", [2]match.Grade{match.Mismatch, match.Allele}, false, 1, 1, [2]hla.Likeness{"different", "same"}},
		"assumed to make either of two":             {"B*15:01+B*35:01", "B*15:140+B*35:01", [2]match.Grade{match.Mismatch, match.Allele}, false, 1, 1, [2]hla.Likeness{unknown, "same"}},
		"no antigen known, one family":              {"C*12:02+C*07:02", "C*12:03+C*07:02", [2]match.Grade{match.AlleleMismatch, match.Allele}, false, 1, 1, [2]hla.Likeness{"same", "same"}},
		"no antigen known, two families":            {"C*12:02+C*07:02", "C*14:02+C*07:02", [2]match.Grade{match.Mismatch, match.Allele}, false, 1, 1, [2]hla.Likeness{"different", "same"}},
		"DQA1 has no antigens":                      {"DQA1*01:01+DQA1*05:01", "DQA1*01:02+DQA1*05:01", [2]match.Grade{match.AlleleMismatch, match.Allele}, false, 1, 1, [2]hla.Likeness{"same", "same"}},
		"at DPB1 every mismatch is one of antigen":  {"DPB1*01:01+DPB1*02:01", "DPB1*01:01+DPB1*04:01", [2]match.Grade{match.Allele, match.Mismatch}, false, 1, 1, [2]hla.Likeness{"same", "different"}},
		"a null counts as its neighbour":            {"C*05:07N+C*07:02", "C*07:02+C*07:02", [2]match.Grade{match.Allele, match.Allele}, false, 2, 2, [2]hla.Likeness{"same", "same"}},
		"two nulls beside the same allele":          {"A*01:11N+A*02:01", "A*02:01+A*24:09N", [2]match.Grade{match.Allele, match.Allele}, false, 2, 2, [2]hla.Likeness{"same", "same"}},
		"a null is not its expressed sister":        {"A*01:11N+A*02:01", "A*01:01+A*02:01", [2]match.Grade{match.Mismatch, match.Allele}, false, 1, 1, [2]hla.Likeness{"different", "same"}},
		"what may be null":                          {"A*01:01/A*01:11N+A*02:01", "A*02:01+A*02:01", [2]match.Grade{match.Potential, match.Allele}, false, 1, 2, [2]hla.Likeness{unknown, "same"}},
		"nulls alone are compared by name":          {"A*01:11N+A*24:09N", "A*24:09N+A*24:09N", [2]match.Grade{match.Mismatch, match.Allele}, false, 1, 1, [2]hla.Likeness{unknown, "same"}},
		"a pair that the laboratory could not tell": {"A*02:01+A*24:02|A*02:06+A*23:01", "A*02:01+A*23:01", [2]match.Grade{match.Potential, match.Mismatch}, false, 1, 1, [2]hla.Likeness{"same", unknown}},
		"two pairs that are one":                    {"A*02:01+A*24:02|A*24:02+A*02:01", "A*02:01+A*24:02", [2]match.Grade{match.Allele, match.Allele}, false, 2, 2, [2]hla.Likeness{"same", "same"}},
		"not typed":                                 {"A*02:01+A*24:02", "", [2]match.Grade{match.Untyped, match.Untyped}, false, 0, 2, [2]hla.Likeness{unknown, unknown}},
		"one copy of which nothing is known":        {"A*02:01+A*24:02", "A*02:01+A*UUUU", [2]match.Grade{match.Untyped, match.Untyped}, false, 0, 2, [2]hla.Likeness{unknown, unknown}},
	} {
		by := hla.Reader{Release: release}
		patient := mustRead(t, by, c.patient)
		locus := patient.Loci()[0]
		got := match.Rules{Release: release, Loci: []hla.Locus{locus}}.Compare(patient, mustRead(t, by, c.donor)).Loci[0]
		for i, position := range got.Positions {
			require.Equal(t, c.grades[i], position.Grade, about)
			require.Equal(t, c.antigens[i], position.Antigen, about)
		}
		require.Equal(t, c.crossed, got.Crossed, about)
		require.Equal(t, match.Range{Least: c.least, Most: c.most}, got.Range, about)
	}
}

func TestAFirstFieldAloneMayBeAnyAlleleThatBeginsWithIt(t *testing.T) {
	t.Parallel()
	for pair, want := range map[[2]string]match.Range{
		{"A*02:XX+A*02:XX", "A*02:XX+A*02:XX"}: {Least: 0, Most: 2},
		{"A*02:XX+A*24:02", "A*02:01+A*24:02"}: {Least: 1, Most: 2},
		{"A*02:XX+A*24:02", "A*24:02+A*24:02"}: {Least: 1, Most: 2}, // it may be null
		{"A*02:XX+A*24:02", "A*03:01+A*24:02"}: {Least: 1, Most: 1},
		{"A*02:XX+A*24:XX", "A*03:01+A*11:XX"}: {Least: 0, Most: 0},
	} {
		got := match.Rules{Loci: []hla.Locus{hla.A}}.Compare(mustRead(t, hla.Reader{}, pair[0]), mustRead(t, hla.Reader{}, pair[1]))
		require.Equal(t, want, got.Loci[0].Range, pair)
	}
}

func TestDirectionsAreThoseOfTheFramework(t *testing.T) {
	t.Parallel()
	// Of patient and donor, with A to D expressed and N and M null (Bochtler 2016, both copies of somebody homozygous count).
	names := map[byte]string{'A': "A*01:01", 'B': "A*02:01", 'C': "A*03:01", 'D': "A*11:01", 'N': "A*01:11N", 'M': "A*24:09N"}
	for pair, want := range map[string][3]uint8{ // GvH, HvG, matched
		"AA AA": {0, 0, 2}, "AA AB": {0, 1, 1}, "AA BB": {2, 2, 0}, "AA BC": {2, 2, 0}, "AB AA": {1, 0, 1}, "AB AB": {0, 0, 2}, "AB AC": {1, 1, 1}, "AB CC": {2, 2, 0}, "AB CD": {2, 2, 0},
		"AB BA": {0, 0, 2}, "AN AA": {0, 0, 2}, "AN AB": {0, 1, 1}, "AN AM": {0, 0, 2}, "AN BB": {2, 2, 0}, "AN NA": {0, 0, 2}, "AB AN": {1, 0, 1}, "NN AA": {0, 2, 0}, "AB NN": {2, 0, 0},
		"NM NM": {0, 0, 2}, "NN MM": {0, 0, 0}, "NM AB": {0, 2, 0},
	} {
		write := func(copies string) *hla.Reading {
			return mustRead(t, hla.Reader{}, names[copies[0]]+"+"+names[copies[1]])
		}
		got := match.Rules{Loci: []hla.Locus{hla.A}}.Compare(write(pair[:2]), write(pair[3:])).Loci[0]
		require.Equal(t, [3]match.Range{{Least: want[0], Most: want[0]}, {Least: want[1], Most: want[1]}, {Least: want[2], Most: want[2]}}, [3]match.Range{got.GvH, got.HvG, got.Range}, pair)
		if pair != "NN MM" { // who expresses nothing has no direction to be mismatched in
			require.Equal(t, 2-want[2], max(want[0], want[1]), "the count is that of the worse direction: %s", pair)
		}
	}
}

// slowEpitope is the rule in words: take the lowest group of each pair. Equal is permissive; if the donor's is lower, the patient's cells
// attack; if the patient's is lower, the donor's do.
func TestAll36PairsOfEpitopeGroupsAreJudged(t *testing.T) {
	t.Parallel()
	release := example(t)
	by, rules := hla.Reader{Release: release}, match.Rules{Release: release, Loci: []hla.Locus{hla.DPB1}}
	of := map[int]string{1: "DPB1*09:01", 2: "DPB1*03:01", 3: "DPB1*04:01"}
	pairs := [][2]int{{1, 1}, {1, 2}, {1, 3}, {2, 2}, {2, 3}, {3, 3}}
	judge := func(patient, donor string) match.Epitopes {
		return rules.Compare(mustRead(t, by, patient), mustRead(t, by, donor)).Loci[0].Epitopes
	}
	cells := 0
	for _, p := range pairs {
		for _, d := range pairs {
			lowest := func(pair [2]int) int {
				for group := 1; group <= 3; group++ {
					if pair[0] == group || pair[1] == group {
						return group
					}
				}
				return 0
			}
			want := match.Permissive
			if lowest(d) < lowest(p) {
				want = match.NonPermissiveHvG
			}
			if lowest(p) < lowest(d) {
				want = match.NonPermissiveGvH
			}
			require.Equal(t, want, judge(of[p[0]]+"+"+of[p[1]], of[d[1]]+"+"+of[d[0]]), "%v %v", p, d)
			cells++
		}
	}
	require.Equal(t, 36, cells)
	for about, c := range map[string]struct {
		patient, donor string
		want           match.Epitopes
	}{
		"a null has its neighbour's group":         {"DPB1*61:01N+DPB1*03:01", "DPB1*03:01+DPB1*04:01", match.Permissive},
		"no group is known":                        {"DPB1*99:01+DPB1*09:01", "DPB1*09:01+DPB1*04:01", match.EpitopesUnknown},
		"whichever it is, the outcome is the same": {"DPB1*09:01/DPB1*17:01+DPB1*04:01", "DPB1*04:01+DPB1*02:01", match.NonPermissiveGvH},
		"it depends on which it is":                {"DPB1*09:01/DPB1*02:01+DPB1*04:01", "DPB1*04:01+DPB1*02:01", match.EpitopesUnknown},
		"ambiguous beside what decides anyway":     {"DPB1*09:01+DPB1*03:01/DPB1*04:01", "DPB1*17:01+DPB1*04:01", match.Permissive},
		"not typed":                                {"DPB1*09:01+DPB1*04:01", "", match.EpitopesUnknown},
		"nothing is expressed":                     {"DPB1*61:01N+DPB1*61:01N", "DPB1*04:01+DPB1*04:01", match.EpitopesUnknown},
	} {
		require.Equal(t, c.want, judge(c.patient, c.donor), about)
	}
	require.Equal(t, match.EpitopesUnknown, match.Rules{Loci: []hla.Locus{hla.DPB1}}.Compare(mustRead(t, by, "DPB1*09:01+DPB1*04:01"), mustRead(t, by, "DPB1*09:01+DPB1*04:01")).Loci[0].Epitopes, "without a release")
}

func TestAComparisonCountsTheSameWhoeverIsThePatientAndHoweverCopiesAreWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		slow := drawnRelease(t, "3.33.0")
		release := slow.load(t)
		codes := mustCodes(t)
		one, other := drawnGL(t, slow), drawnGL(t, slow)
		compare := func(patient, donor string) match.Result {
			by := hla.Reader{Release: release, Codes: codes}
			return match.Rules{Release: release, Loci: referenceLoci}.Compare(mustRead(t, by, patient), mustRead(t, by, donor))
		}
		there, back, turned := compare(one, other), compare(other, one), compare(flipped(one), other)
		require.Equal(t, there.Count, back.Count)
		require.Equal(t, there.Count, turned.Count)
		for i, l := range there.Loci {
			require.Equal(t, [2]match.Range{l.GvH, l.HvG}, [2]match.Range{back.Loci[i].HvG, back.Loci[i].GvH})
			require.Equal(t, [2]match.Range{l.GvH, l.HvG}, [2]match.Range{turned.Loci[i].GvH, turned.Loci[i].HvG})
			require.Equal(t, l.Epitopes, turned.Loci[i].Epitopes)
		}
	})
}

func TestAResultAddsUpItsLociInTheOrderAskedFor(t *testing.T) {
	t.Parallel()
	patient := mustRead(t, hla.Reader{}, "A*02:01+A*24:02^B*40:01+B*51:01^DRB1*09:01+DRB1*15:01")
	donor := mustRead(t, hla.Reader{}, "A*24:02+A*11:01^DRB1*09:01+DRB1*15:01/DRB1*15:02")
	encoded, err := json.Marshal(match.Rules{Loci: []hla.Locus{hla.DRB1, hla.A, hla.B}}.Compare(patient, donor))
	require.NoError(t, err)
	require.JSONEq(t, `{"loci": [
		{"locus": "DRB1", "typed": true, "least": 1, "most": 2, "crossed": false, "gvh": {"least": 0, "most": 1}, "hvg": {"least": 0, "most": 1}, "positions": [
			{"grade": "allele", "letter": "A", "antigen": "same", "patient": "DRB1*09:01", "donor": "DRB1*09:01"},
			{"grade": "potential", "letter": "P", "antigen": "unknown", "patient": "DRB1*15:01", "donor": "DRB1*15:01/DRB1*15:02"}]},
		{"locus": "A", "typed": true, "least": 1, "most": 1, "crossed": true, "gvh": {"least": 1, "most": 1}, "hvg": {"least": 1, "most": 1}, "positions": [
			{"grade": "mismatch", "letter": "M", "antigen": "unknown", "patient": "A*02:01", "donor": "A*11:01"},
			{"grade": "allele", "letter": "A", "antigen": "same", "patient": "A*24:02", "donor": "A*24:02"}]},
		{"locus": "B", "typed": false, "least": 0, "most": 2, "crossed": false, "gvh": {"least": 0, "most": 2}, "hvg": {"least": 0, "most": 2}, "positions": [
			{"grade": "untyped", "letter": "P", "antigen": "unknown", "patient": "B*40:01", "donor": ""},
			{"grade": "untyped", "letter": "P", "antigen": "unknown", "patient": "B*51:01", "donor": ""}]}
	], "least": 2, "most": 5, "of": 6}`, string(encoded))
}

func TestAPolicysNameSaysWhatItAllows(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"10/10", "9/10", "8/10", "7/10", "6/10", "6/6", "5/6", "4/6", "3/6", "2/6", "8/8", "7/8", "6/8", "5/8", "4/8", "12/12", "11/12", "10/12", "9/12", "8/12",
	}, match.Names())
	check := validator.New()
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
		require.Equal(t, of >= 8, slices.Contains(policy.Loci, hla.C))
		require.Equal(t, of >= 10, slices.Contains(policy.Loci, hla.DQB1))
		require.Equal(t, of == 12, slices.Contains(policy.Loci, hla.DPB1))
		require.NoError(t, check.Struct(policy), name)
	}
	ten, _ := match.Named("10/10")
	ten.Loci[0] = hla.DPB1
	again, _ := match.Named("10/10")
	require.ElementsMatch(t, tenLoci, again.Loci)
	_, ok := match.Named("11/10")
	require.False(t, ok)
}

func TestAPolicysTagsTellGoodFromBad(t *testing.T) {
	t.Parallel()
	check := validator.New()
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
	t.Parallel()
	patient := mustRead(t, hla.Reader{}, "A*02:01+A*24:02^B*40:01+B*51:01^C*03:04+C*14:02^DRB1*09:01+DRB1*15:01")
	donor := mustRead(t, hla.Reader{}, "A*02:01+A*24:02^B*40:01+B*52:01^DRB1*09:01+DRB1*12:02/DRB1*12:03/DRB1*15:02")
	result := match.Rules{Loci: tenLoci[:4]}.Compare(patient, donor)
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

func BenchmarkCompare(b *testing.B) {
	patient := mustRead(b, hla.Reader{}, "A*11:01+A*24:02^B*40:01+B*51:01^C*07:02+C*14:02^DRB1*09:01+DRB1*15:01^DQB1*03:03+DQB1*06:01")
	donor := mustRead(b, hla.Reader{}, "A*02:07+A*11:01^B*40:01+B*46:01^C*01:02+C*07:02^DRB1*09:01+DRB1*15:01^DQB1*03:03+DQB1*06:01")
	rules := match.Rules{Loci: tenLoci}
	b.ReportAllocs()
	for b.Loop() {
		rules.Compare(patient, donor)
	}
}
