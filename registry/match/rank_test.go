package match_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/go-playground/validator/v10"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

// donor makes a donor of ten copies who differs from others in what is given.
func donor(change func(*match.Scored)) match.Scored {
	s := match.Scored{Count: match.Count{Least: 10, Most: 10, Of: 10}, Chance: match.Chance{Known: true, Ten: 0.5, Nine: 0.25}}
	s.ID[15] = 9
	change(&s)
	return s
}

func TestEachCriterionPutsTheBetterDonorFirst(t *testing.T) {
	t.Parallel()
	patient := match.Traits{Sex: match.Female, ABO: match.GroupA, CMV: match.Negative, WeightKG: 60}
	traits := func(of match.Traits) match.Scored { return donor(func(s *match.Scored) { s.Traits = of }) }
	count := func(least, most uint8) match.Scored {
		return donor(func(s *match.Scored) { s.Count = match.Count{Least: least, Most: most, Of: 10} })
	}
	chance := func(known bool, ten, nine float32) match.Scored {
		return donor(func(s *match.Scored) { s.Chance = match.Chance{Known: known, Ten: ten, Nine: nine} })
	}
	for criterion, order := range map[string][]match.Scored{
		"mismatches": {count(7, 10), count(9, 9), count(8, 8)},
		"least":      {count(9, 9), count(8, 10), count(0, 10)},
		"chance10":   {chance(true, 0.9, 0), chance(true, 0.2, 0.8), chance(true, 0, 0), chance(false, 1, 1)},
		"chance9":    {chance(true, 0.2, 0.8), chance(true, 0.9, 0), chance(true, 0, 0), chance(false, 1, 1)},
		"age":        {traits(match.Traits{BirthYear: 2004}), traits(match.Traits{BirthYear: 1980}), traits(match.Traits{})},
		"sex":        {traits(match.Traits{Sex: match.Male}), traits(match.Traits{Sex: match.Female}), traits(match.Traits{})},
		"same_sex":   {traits(match.Traits{Sex: match.Female}), traits(match.Traits{Sex: match.Male}), traits(match.Traits{})},
		"blood": {
			traits(match.Traits{ABO: match.GroupA}), traits(match.Traits{ABO: match.GroupO}), traits(match.Traits{ABO: match.GroupAB}), traits(match.Traits{ABO: match.GroupB}), traits(match.Traits{}),
		},
		"cmv":     {traits(match.Traits{CMV: match.Negative}), traits(match.Traits{CMV: match.Positive}), traits(match.Traits{})},
		"weight":  {traits(match.Traits{WeightKG: 60}), traits(match.Traits{WeightKG: 59}), traits(match.Traits{WeightKG: 45}), traits(match.Traits{})},
		"contact": {traits(match.Traits{LastContact: 20_000}), traits(match.Traits{LastContact: 19_000}), traits(match.Traits{})},
	} {
		ranking, err := match.ParseRanking([]string{criterion})
		require.NoError(t, err)
		before := ranking.For(patient)
		for i := range order {
			for j := range order {
				require.Equal(t, i < j, before(&order[i], &order[j]) < 0, "%s, %d and %d", criterion, i, j)
				require.Equal(t, i == j, before(&order[i], &order[j]) == 0, "%s, %d and %d", criterion, i, j)
			}
		}
		nobody := match.Ranking{match.Criterion(criterion)}.For(match.Traits{})
		switch criterion {
		case "same_sex", "blood", "cmv", "weight": // ask for something of the patient's
			for i := range order {
				require.Zero(t, nobody(&order[0], &order[i]), criterion)
			}
		default:
			require.Negative(t, nobody(&order[0], &order[1]))
		}
	}
	require.Len(t, match.Criteria(), 11)
	heavier := traits(match.Traits{WeightKG: 90})
	require.Zero(t, match.Ranking{match.ByWeight}.For(patient)(&heavier, pointer(traits(match.Traits{WeightKG: 60}))), "heavier than the patient is heavy enough")
	positive := match.Traits{CMV: match.Positive}
	require.Negative(t, match.Ranking{match.ByCMV}.For(positive)(pointer(traits(positive)), pointer(traits(match.Traits{CMV: match.Negative}))), "a positive donor for a positive patient")
}

func pointer[T any](v T) *T { return &v }

func TestARankingIsReadFromItsNames(t *testing.T) {
	t.Parallel()
	ranking, err := match.ParseRanking([]string{"age", "mismatches"})
	require.NoError(t, err)
	require.Equal(t, match.Ranking{match.ByAge, match.ByMismatches}, ranking)
	_, err = match.ParseRanking([]string{"age", "beauty"})
	require.ErrorContains(t, err, `"beauty" is nothing that donors are ranked by`)
	_, err = match.ParseRanking([]string{"age", "age"})
	require.ErrorContains(t, err, "already")
	for _, c := range match.DefaultRanking() {
		require.Contains(t, match.Criteria(), c)
	}
	near := donor(func(s *match.Scored) { s.Count, s.Traits.BirthYear = match.Count{Least: 9, Most: 9, Of: 10}, 2006 })
	full := donor(func(s *match.Scored) { s.Traits.BirthYear = 1970 })
	require.Negative(t, match.DefaultRanking().For(match.Traits{})(&full, &near), "the match comes before age")
	require.Positive(t, match.Ranking{match.ByAge}.For(match.Traits{})(&full, &near))
}

func drawnTraits(t *rapid.T) match.Traits {
	return match.Traits{
		BirthYear: rapid.SampledFrom([]uint16{0, 1980, 2000}).Draw(t, "born"), LastContact: rapid.SampledFrom([]uint16{0, 20_000}).Draw(t, "contact"),
		Sex: match.Sex(rapid.IntRange(0, 2).Draw(t, "sex")), ABO: match.ABO(rapid.IntRange(0, 4).Draw(t, "abo")), Rh: match.Sign(rapid.IntRange(0, 2).Draw(t, "rh")),
		CMV: match.Sign(rapid.IntRange(0, 2).Draw(t, "cmv")), WeightKG: rapid.SampledFrom([]uint8{0, 50, 60, 255}).Draw(t, "weight"), Province: rapid.SampledFrom([]uint8{0, 32, 82}).Draw(t, "province"),
	}
}

func TestTheOrderOfDonorsIsTheSameInWhicheverOrderTheyCome(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ranking := rapid.SliceOfNDistinct(rapid.SampledFrom(match.Criteria()), 0, -1, rapid.ID).Draw(t, "ranking")
		if rapid.IntRange(0, 3).Draw(t, "default") == 0 {
			ranking = match.DefaultRanking()
		}
		before := match.Ranking(ranking).For(drawnTraits(t))
		var donors []match.Scored
		for i := range rapid.IntRange(0, 12).Draw(t, "donors") {
			most := rapid.Uint8Range(8, 10).Draw(t, "most")
			s := match.Scored{
				Count:  match.Count{Least: rapid.Uint8Range(6, most).Draw(t, "least"), Most: most, Of: 10},
				Chance: match.Chance{Known: rapid.Bool().Draw(t, "known"), Ten: rapid.Float32Range(0, 1).Draw(t, "ten"), Nine: 0.1},
				Traits: drawnTraits(t),
			}
			s.ID[0] = byte(i)
			donors = append(donors, s)
		}
		sorted := func(from []match.Scored) []match.Scored {
			out := slices.Clone(from)
			slices.SortFunc(out, func(a, b match.Scored) int { return before(&a, &b) })
			return out
		}
		first := sorted(donors)
		require.Equal(t, first, sorted(rapid.Permutation(donors).Draw(t, "shuffled")))
		for i := range first {
			for j := range first {
				require.Equal(t, i < j, before(&first[i], &first[j]) < 0, "every one stands to every other as in the order")
			}
		}
	})
}

func TestBloodGroupsAreComparedByWhatAttacksWhat(t *testing.T) {
	t.Parallel()
	antigens := map[match.ABO]string{match.GroupO: "", match.GroupA: "A", match.GroupB: "B", match.GroupAB: "AB"}
	for patient, theirs := range antigens {
		for donor, brings := range antigens {
			lacks := func(person, other string) bool { // has antibodies against what the other has
				return strings.ContainsFunc(other, func(r rune) bool { return !strings.ContainsRune(person, r) })
			}
			major, minor := lacks(theirs, brings), lacks(brings, theirs)
			want := map[[2]bool]match.BloodMatch{{}: match.BloodIdentical, {false, true}: match.BloodMinor, {true, false}: match.BloodMajor, {true, true}: match.BloodBoth}[[2]bool{major, minor}]
			require.Equal(t, want, match.CompareABO(patient, donor), "%s from %s", patient, donor)
		}
		require.Equal(t, match.BloodUnknown, match.CompareABO(patient, 0))
		require.Equal(t, match.BloodUnknown, match.CompareABO(0, patient))
	}
}

func TestTraitsAreSmallAndReadBackWhatTheyWrite(t *testing.T) {
	t.Parallel()
	require.LessOrEqual(t, unsafe.Sizeof(match.Traits{}), uintptr(12))
	rapid.Check(t, func(t *rapid.T) {
		traits := drawnTraits(t)
		encoded, err := json.Marshal(traits)
		require.NoError(t, err)
		var back match.Traits
		require.NoError(t, json.Unmarshal(encoded, &back))
		require.Equal(t, traits, back)
	})
	encoded, err := json.Marshal(match.Traits{BirthYear: 1999, Sex: match.Female, ABO: match.GroupAB, Rh: match.Negative, CMV: match.Positive, WeightKG: 55, Province: 32})
	require.NoError(t, err)
	require.JSONEq(t, `{"birth_year": 1999, "sex": "female", "abo": "AB", "rh": "negative", "cmv": "positive", "weight_kg": 55, "province": 32}`, string(encoded))
	_, err = match.ParseABO("C")
	require.ErrorContains(t, err, `"C" is no blood group; write one of ["O" "A" "B" "AB"]`)
	require.Error(t, json.Unmarshal([]byte(`{"sex": "x"}`), &match.Traits{}))
	require.Error(t, json.Unmarshal([]byte(`{"rh": "+"}`), &match.Traits{}))
	require.Empty(t, match.Sex(9).String())
}

func TestAFilterKeepsWhatItAsksFor(t *testing.T) {
	t.Parallel()
	person := match.Traits{BirthYear: 1996, Sex: match.Male, ABO: match.GroupO, Rh: match.Positive, CMV: match.Negative, Province: 32}
	for _, c := range []struct {
		about  string
		filter match.Filter
		keeps  bool
		blank  bool // keeps somebody of whom nothing is known
	}{
		{"nothing", match.Filter{}, true, true},
		{"from 30", match.Filter{AgeFrom: 30}, true, false},
		{"from 31", match.Filter{AgeFrom: 31}, false, false},
		{"to 30", match.Filter{AgeTo: 30}, true, false},
		{"to 29", match.Filter{AgeTo: 29}, false, false},
		{"men", match.Filter{Sex: match.Male}, true, false},
		{"women", match.Filter{Sex: match.Female}, false, false},
		{"O or A", match.Filter{ABO: []match.ABO{match.GroupA, match.GroupO}}, true, false},
		{"B", match.Filter{ABO: []match.ABO{match.GroupB}}, false, false},
		{"Rh positive", match.Filter{Rh: match.Positive}, true, false},
		{"Rh negative", match.Filter{Rh: match.Negative}, false, false},
		{"CMV negative", match.Filter{CMV: match.Negative}, true, false},
		{"CMV positive", match.Filter{CMV: match.Positive}, false, false},
		{"Jiangsu or Anhui", match.Filter{Provinces: []int{32, 34}}, true, false},
		{"Anhui", match.Filter{Provinces: []int{34}}, false, false},
		{"what is of the match", match.Filter{Least: 10, Typed: tenLoci}, true, true},
	} {
		require.Equal(t, c.keeps, c.filter.Keeps(person, 2026), c.about)
		require.Equal(t, c.blank, c.filter.Keeps(match.Traits{}, 2026), c.about)
	}
	patient := mustRead(t, hla.Reader{}, "A*02:01+A*24:02^B*40:01+B*51:01^C*03:04+C*14:02")
	result := match.Rules{Loci: tenLoci[:3]}.Compare(patient, mustRead(t, hla.Reader{}, "A*02:01+A*24:02/A*24:03^B*40:02+B*52:01"))
	for about, c := range map[string]struct {
		filter match.Filter
		keeps  bool
	}{
		"nothing":                          {match.Filter{}, true},
		"what is certain":                  {match.Filter{Least: 1}, true},
		"more than is certain":             {match.Filter{Least: 2}, false},
		"two mismatches at B":              {match.Filter{Mismatches: map[hla.Locus]int{hla.B: 2}}, true},
		"one mismatch at B":                {match.Filter{Mismatches: map[hla.Locus]int{hla.A: 0, hla.B: 1}}, false},
		"no mismatch for certain":          {match.Filter{Mismatches: map[hla.Locus]int{hla.A: 0, hla.C: 0, hla.DRB1: 0}}, true},
		"typed at A and B":                 {match.Filter{Typed: []hla.Locus{hla.A, hla.B}}, true},
		"typed at C":                       {match.Filter{Typed: []hla.Locus{hla.C}}, false},
		"typed where nothing was compared": {match.Filter{Typed: []hla.Locus{hla.DRB1}}, false},
	} {
		require.Equal(t, c.keeps, c.filter.KeepsResult(result), about)
	}
	var filter match.Filter
	require.NoError(t, json.Unmarshal([]byte(`{"age_from": 18, "sex": "male", "abo": ["O", "A"], "provinces": [32], "mismatches": {"A": 1}, "typed": ["C"]}`), &filter))
	require.Equal(t, match.Filter{AgeFrom: 18, Sex: match.Male, ABO: []match.ABO{match.GroupO, match.GroupA}, Provinces: []int{32}, Mismatches: map[hla.Locus]int{hla.A: 1}, Typed: []hla.Locus{hla.C}}, filter)
	encoded, err := json.Marshal(filter)
	require.NoError(t, err)
	require.Contains(t, string(encoded), `"abo":["O","A"]`)
	check := validator.New()
	require.NoError(t, check.Struct(filter))
	require.Error(t, check.Struct(match.Filter{Mismatches: map[hla.Locus]int{hla.A: 3}}))
	require.Error(t, check.Struct(match.Filter{AgeFrom: -1}), "years below nought")
}
