package match_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

func mustFrequencies(t require.TestingT, text string) *match.Frequencies {
	f, err := match.ReadFrequencies(strings.NewReader(text))
	require.NoError(t, err)
	return f
}

func TestFrequenciesAreReadInEveryLayout(t *testing.T) {
	for what, text := range map[string]string{
		"WMDA": "A*01:01g~B*08:01g;0.5\nA*02:01g~B*07:02g;0.25\n",
		"HFX":  "\ufeffHaplo,Count,Freq\r\nA*01:01~B*08:01,10,0.5\r\nA*02:01~B*07:02,5,0.25\r\n",
		"DRB":  "# a comment\nHLA-A*02:01~DRB4*01:01~HLA-B*07:02\t0.25\n\nA*01:01~DRBX*NNNN~B*08:01\t0.2\nA*01:01~DRB3*01:01~B*08:01\t0.3\nA*03:01~DRB3*01:01~B*08:01\t0\n",
	} {
		f := mustFrequencies(t, text)
		require.Equal(t, []hla.Locus{hla.A, hla.B}, f.Loci(), what)
		require.Equal(t, 2, f.Haplotypes(), what)
		require.InDelta(t, 0.75, f.Sum(), 1e-12, what)
	}
}

func TestAFileOfFrequenciesThatCannotBeReadSaysWhereAndWhy(t *testing.T) {
	for text, says := range map[string]string{
		"":                                           "no haplotype",
		"Haplo,Count,Freq\n":                         "no haplotype",
		"A*01:01~B*08:01;0.5\nrubbish\n":             `line 2: "rubbish" is not a haplotype and its frequency`,
		"A*01:01~B*08:01;1.5\n":                      "line 1",
		"A*01:01~B*08:01;-0.5\n":                     "line 1",
		"A*01:01~B*08:01;NaN\n":                      "line 1",
		"A*01:01~B*08:01;x\n":                        "line 1",
		"A*01:01~A*08:01;0.5\n":                      "has already",
		"A*01:01~B*08:01;0.5\nA*01:01;0.5\n":         "does not have the loci",
		"A*01:01~B*08:01;0.5\nB*01:01~A*08:01;0.5\n": "not at the locus",
		"A*01:01~F*08:01;0.5\n":                      `"F*08:01" is not an allele of a locus that is kept`,
		"A~B*08:01;0.5\n":                            `"A" is not an allele`,
	} {
		_, err := match.ReadFrequencies(strings.NewReader(text))
		require.ErrorContains(t, err, says, text)
	}
}

// The reference goes through every pair of haplotypes and every pair of pairs, by the names of alleles.

type slowHaplotype struct {
	alleles   []string
	frequency float64
}

// slowCopies is what the two copies of each locus may be; nil where it is not typed.
type slowCopies [][2][]string

func slowNull(pair [2]string) [2]string {
	first, second := strings.HasSuffix(pair[0], "N"), strings.HasSuffix(pair[1], "N")
	switch {
	case first && !second:
		pair[0] = pair[1]
	case second && !first:
		pair[1] = pair[0]
	}
	if pair[1] < pair[0] {
		pair[0], pair[1] = pair[1], pair[0]
	}
	return pair
}

func slowPosterior(set []slowHaplotype, typed slowCopies) map[string]float64 {
	out, total := map[string]float64{}, 0.0
	for _, one := range set {
		for _, other := range set { // both orders, so that each pair counts as often as it should
			fits := true
			var genotype []string
			for l, copies := range typed {
				a, b := one.alleles[l], other.alleles[l]
				if copies[0] != nil && !(slices.Contains(copies[0], a) && slices.Contains(copies[1], b) || slices.Contains(copies[0], b) && slices.Contains(copies[1], a)) {
					fits = false
				}
				pair := slowNull([2]string{a, b})
				genotype = append(genotype, pair[0]+"+"+pair[1])
			}
			if fits {
				out[strings.Join(genotype, "^")] += one.frequency * other.frequency
				total += one.frequency * other.frequency
			}
		}
	}
	for genotype := range out {
		out[genotype] /= total
	}
	return out
}

func slowMatched(one, other string) int {
	x, y := strings.Split(one, "+"), strings.Split(other, "+")
	matched := 0
	for _, way := range [][2]int{{0, 1}, {1, 0}} {
		n := 0
		for i, j := range way {
			if x[i] == y[j] {
				n++
			}
		}
		matched = max(matched, n)
	}
	return matched
}

func slowChances(patient, donor map[string]float64, loci int) (locus []float64, ten, nine float64) {
	locus = make([]float64, loci)
	for p, chance := range patient {
		for d, other := range donor {
			both, lacking := chance*other, 0
			ps, ds := strings.Split(p, "^"), strings.Split(d, "^")
			for l := range ps {
				matched := slowMatched(ps[l], ds[l])
				if matched == 2 {
					locus[l] += both
				}
				lacking += 2 - matched
			}
			switch lacking {
			case 0:
				ten += both
			case 1:
				nine += both
			}
		}
	}
	return locus, ten, nine
}

// drawnSet draws haplotypes of three loci with few alleles, some of which make no protein.
func drawnSet(t *rapid.T) (set []slowHaplotype, text string) {
	names := []string{"01:01", "01:02", "01:03N", "02:01", "02:02"}
	for range rapid.IntRange(1, 12).Draw(t, "haplotypes") {
		h := slowHaplotype{frequency: float64(rapid.IntRange(1, 50).Draw(t, "frequency")) / 1000}
		for range 3 {
			h.alleles = append(h.alleles, rapid.SampledFrom(names).Draw(t, "allele"))
		}
		set = append(set, h)
		text += fmt.Sprintf("A*%s~B*%s~DRB1*%s;%g\n", h.alleles[0], h.alleles[1], h.alleles[2], h.frequency)
	}
	return set, text
}

// drawnTyping draws somebody whom the set can explain: two of its haplotypes, with other alleles beside theirs.
func drawnTyping(t *rapid.T, set []slowHaplotype) (typed slowCopies, gl string) {
	one, other := rapid.SampledFrom(set).Draw(t, "one"), rapid.SampledFrom(set).Draw(t, "other")
	var parts []string
	for l, locus := range []string{"A", "B", "DRB1"} {
		if rapid.IntRange(0, 4).Draw(t, "untyped") == 0 {
			typed = append(typed, [2][]string{})
			continue
		}
		var copies [2][]string
		for i, allele := range []string{one.alleles[l], other.alleles[l]} {
			copies[i] = append(rapid.SliceOfN(rapid.SampledFrom([]string{"01:01", "01:02", "01:03N", "02:01", "02:02", "09:09"}), 0, 3).Draw(t, "beside"), allele)
		}
		typed = append(typed, copies)
		part := func(alleles []string) string { return locus + "*" + strings.Join(alleles, "/"+locus+"*") }
		parts = append(parts, part(copies[0])+"+"+part(copies[1]))
	}
	return typed, strings.Join(parts, "^")
}

func TestChancesAreThoseOfGoingThroughEveryPair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, text := drawnSet(t)
		f := mustFrequencies(t, text)
		explain := func(gl string) *match.Genotypes {
			reading := &hla.Reading{}
			if gl != "" {
				var err error
				reading, err = hla.Reader{}.Read(gl)
				require.NoError(t, err)
			}
			return f.Explain(f.Phenotype(reading, nil))
		}
		patientTyped, patientGL := drawnTyping(t, set)
		donorTyped, donorGL := drawnTyping(t, set)
		patient, donor := explain(patientGL), explain(donorGL)
		slowPatient, slowDonor := slowPosterior(set, patientTyped), slowPosterior(set, donorTyped)
		require.Equal(t, len(slowPatient), patient.Len())
		require.Equal(t, len(slowDonor), donor.Len())
		locus, ten, nine := slowChances(slowPatient, slowDonor, 3)
		var got match.Chances
		patient.Against().With(donor, &got)
		for l := range locus {
			require.InDelta(t, locus[l], got.Locus[l], 1e-9)
			require.Equal(t, locus[l] > 0, got.Locus[l] > 0, "possible or not is no matter of rounding")
		}
		require.InDelta(t, ten, got.Ten, 1e-9)
		require.InDelta(t, nine, got.Nine, 1e-9)
		require.Equal(t, []bool{ten > 0, nine > 0}, []bool{got.Ten > 0, got.Nine > 0})
		// Whoever is called the patient.
		var other match.Chances
		donor.Against().With(patient, &other)
		require.InDelta(t, got.Ten, other.Ten, 1e-9)
		require.InDelta(t, got.Nine, other.Nine, 1e-9)
		require.False(t, math.IsNaN(got.Ten))
	})
}

func TestATypingThatNoTwoHaplotypesGiveIsNotExplained(t *testing.T) {
	f := mustFrequencies(t, "A*01:01~B*08:01;0.5\nA*02:01~B*07:02;0.5\n")
	for gl, explained := range map[string]bool{
		"A*01:01+A*02:01^B*07:02+B*08:01": true,
		"A*01:01+A*02:01":                 true,
		"A*01:01+A*02:01^B*07:02+B*07:02": false,
		"A*01:01+A*03:01":                 false, // an allele that the set does not have
		"A*01:XX+A*02:XX":                 true,
		"A*03:XX+A*02:XX":                 false,
		"C*01:02+C*01:02":                 true, // of a locus that the set does not have it says nothing
	} {
		reading, err := hla.Reader{}.Read(gl)
		require.NoError(t, err)
		require.Equal(t, explained, f.Explain(f.Phenotype(reading, nil)).Explained(), gl)
	}
}

// data finds the folder of validation files, or skips with a line that says what to put where.
func data(t testing.TB, path ...string) string {
	folder := os.Getenv("LIFERELAY_DATA")
	if folder == "" {
		folder = filepath.Join("..", "..", "..", "shared", "data")
	}
	name := filepath.Join(append([]string{folder}, path...)...)
	if _, err := os.Stat(name); err != nil {
		t.Skipf("%s is not there; put the data described in CONTRIBUTING.md into a folder and name it in LIFERELAY_DATA", filepath.Join(path...))
	}
	return name
}

func unzipped(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.Open(name)
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	z, err := gzip.NewReader(file)
	require.NoError(t, err)
	content, err := io.ReadAll(z)
	require.NoError(t, err)
	return content
}

// everybody reads a file of people, and leaves out those who cannot be read.
func everybody(t testing.TB, content []byte, by hla.Reader) (people []match.Person, left int) {
	t.Helper()
	for p, err := range match.ReadPeople(bytes.NewReader(content), by) {
		var cause *match.PersonError
		if err == nil {
			people = append(people, p)
			continue
		}
		require.ErrorAs(t, err, &cause)
		left++
	}
	return people, left
}

// TestTheConsensusOfTheWMDASetIsReproduced holds every line of the validation set's consensus against ours (Bochtler 2016, HLA
// 87:439-48), of donors by lists of alleles and by what the laboratories wrote.
func TestTheConsensusOfTheWMDASetIsReproduced(t *testing.T) {
	t.Parallel()
	consensus := unzipped(t, data(t, "wmda-set3", "consensus-P000001-P000002.txt.gz"))
	frequencies, err := os.Open(data(t, "wmda-set3", "freqs.txt"))
	require.NoError(t, err)
	defer func() { _ = frequencies.Close() }()
	f, err := match.ReadFrequencies(frequencies)
	require.NoError(t, err)
	patients, left := everybody(t, unzipped(t, data(t, "wmda-set3", "pat.gl.txt.gz")), hla.Reader{})
	require.Zero(t, left)
	patients = patients[:2]
	f.ExplainAll(patients, nil)

	donors, left := everybody(t, unzipped(t, data(t, "wmda-set3", "don.gl.txt.gz")), hla.Reader{})
	require.Zero(t, left)
	f.ExplainAll(donors, nil)
	var out bytes.Buffer
	require.NoError(t, f.WriteConsensus(context.Background(), &out, patients, donors))
	if !bytes.Equal(consensus, out.Bytes()) {
		requireSameLines(t, strings.Split(string(consensus), "\n"), strings.Split(out.String(), "\n"))
	}

	table, err := os.Open(data(t, "mac", "alpha.v3.sample.txt"))
	require.NoError(t, err)
	defer func() { _ = table.Close() }()
	codes, err := hla.ReadCodes(table)
	require.NoError(t, err)
	raw, err := os.ReadFile(data(t, "wmda-set3", "don.txt"))
	require.NoError(t, err)
	coded, left := everybody(t, raw, hla.Reader{Codes: codes})
	require.Equal(t, 10_000, len(coded)+left)
	require.Greater(t, len(coded), 6_000, "whose codes the sample has")
	f.ExplainAll(coded, nil)
	out.Reset()
	require.NoError(t, f.WriteConsensus(context.Background(), &out, patients, coded))
	want := map[string]bool{}
	for line := range strings.SplitSeq(string(consensus), "\n") {
		want[line] = true
	}
	for line := range strings.SplitSeq(strings.TrimSpace(out.String()), "\n") {
		require.True(t, want[line], line)
	}
}

func requireSameLines(t testing.TB, want, got []string) {
	t.Helper()
	require.Equal(t, len(want), len(got))
	for i := range want {
		require.Equal(t, want[i], got[i], "line %d", i+1)
	}
}

func TestSomebodyWhomTheFrequenciesDoNotExplainIsGradedByNames(t *testing.T) {
	f := mustFrequencies(t, "A*01:01~C*07:01~B*08:01~DRB1*03:01~DQB1*02:01;0.6\nA*02:01~C*07:02~B*07:02~DRB1*15:01~DQB1*06:02;0.4\n")
	people, left := everybody(t, []byte(`P1%A*01:01+A*02:01^C*07:01+C*07:02^B*08:01+B*07:02^DRB1*03:01+DRB1*15:01^DQB1*02:01+DQB1*06:02

D1%A*01:01+A*03:01^B*08:01/B*08:02+B*07:XX^C*07:02+C*07:01^DRB1*15:01+DRB1*03:01
nobody
D2%A*01:01+A*02:01^B*08:99:99:99:99+B*07:02
D3%A*01:01+A*02:01`), hla.Reader{})
	require.Equal(t, 2, left)
	f.ExplainAll(people, nil)
	var out bytes.Buffer
	require.NoError(t, f.WriteConsensus(context.Background(), &out, people[:1], people[1:]))
	require.Equal(t, "P1;D1;M;;A;;P;;A;;P;;;\nP1;D3;A;100;A;100;A;100;A;100;A;100;0;100\n", out.String())
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, f.WriteConsensus(cancelled, io.Discard, people, people), context.Canceled)
}

func FuzzFrequencies(f *testing.F) {
	f.Add("A*01:01g~B*08:01g;0.5\nA*02:01~B*07:02N;0.25\n")
	f.Add("Haplo,Count,Freq\nHLA-A*01:01~DRBX*NNNN,1,1e-9\n")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := match.ReadFrequencies(strings.NewReader(text))
		if err != nil {
			return
		}
		require.Positive(t, set.Haplotypes())
		require.NotEmpty(t, set.Loci())
		everyone := set.Explain(set.Phenotype(&hla.Reading{}, nil))
		require.True(t, everyone.Explained() || set.Sum() < 1e-150, "whoever is not typed may be any")
	})
}
