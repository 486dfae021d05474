package match_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

// reading is a typing, an empty one where nothing is typed.
func reading(t require.TestingT, gl string) *hla.Reading {
	if gl == "" {
		return &hla.Reading{}
	}
	r, err := hla.Reader{}.Read(gl)
	require.NoError(t, err, gl)
	return r
}

// requireAsCompared holds a prospect against listing everything that a donor can be.
func requireAsCompared(t require.TestingT, f *match.Frequencies, patient *match.Genotypes, prospect *match.Prospect, donor *hla.Reading, about string) {
	var want, got match.Chances
	explained := prospect.With(donor, &got)
	genotypes := f.Explain(f.Phenotype(donor, nil))
	require.Equal(t, genotypes.Explained(), explained, about)
	if !explained {
		return
	}
	patient.Against().With(genotypes, &want)
	for l := range want.Locus {
		require.InDelta(t, want.Locus[l], got.Locus[l], 1e-9, about)
	}
	for _, pair := range [][2]float64{{want.Ten, got.Ten}, {want.Nine, got.Nine}} {
		require.LessOrEqual(t, pair[1], pair[0]+1e-9, about)
		require.InDelta(t, pair[0], pair[1], match.Tolerance+1e-9, about)
	}
}

func TestAProspectGivesWhatComparingEveryGenotypeGives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set, text := drawnSet(t)
		f := mustFrequencies(t, text)
		_, patientGL := drawnTyping(t, set)
		patient := f.Explain(f.Phenotype(reading(t, patientGL), nil))
		prospect := patient.Prospect(f, nil)
		require.NotNil(t, prospect)
		for range 4 { // what the first asked for is remembered for the others
			_, gl := drawnTyping(t, set)
			if rapid.IntRange(0, 3).Draw(t, "genotypes") == 0 {
				if _, other := drawnTyping(t, set); strings.HasPrefix(gl, "A*") && strings.HasPrefix(other, "A*") {
					first, rest, _ := strings.Cut(gl, "^")
					second, _, _ := strings.Cut(other, "^")
					gl = strings.TrimSuffix(first+"|"+second+"^"+rest, "^")
				}
			}
			requireAsCompared(t, f, patient, prospect, reading(t, gl), patientGL+"\n"+gl+"\n"+text)
		}
	})
}

// Of a real set the patients are those of the validation set whose typings leave much open.
func TestProspectsOfTheWMDASetAreWhatItsComparisonsAre(t *testing.T) {
	t.Parallel()
	frequencies, err := os.Open(data(t, "wmda-set3", "freqs.txt"))
	require.NoError(t, err)
	defer func() { _ = frequencies.Close() }()
	f, err := match.ReadFrequencies(frequencies)
	require.NoError(t, err)
	patients, _ := everybody(t, unzipped(t, data(t, "wmda-set3", "pat.gl.txt.gz")), hla.Reader{})
	donors, _ := everybody(t, unzipped(t, data(t, "wmda-set3", "don.gl.txt.gz")), hla.Reader{})
	for n := 0; n < len(patients); n += 200 {
		patient := f.Explain(f.Phenotype(patients[n].Typing, nil))
		prospect := patient.Prospect(f, nil)
		for i := n % 7; i < len(donors); i += 251 {
			requireAsCompared(t, f, patient, prospect, donors[i].Typing, patients[n].ID+" "+donors[i].ID)
		}
	}
}

// BenchmarkValidationSet counts all pairs of the WMDA's third set, and some of them by the reference: five patients, with donors from all over the
// file. What the reference would take for all is put together from what a typing and what a pair took.
func BenchmarkValidationSet(b *testing.B) {
	content, err := os.ReadFile(data(b, "wmda-set3", "freqs.txt"))
	require.NoError(b, err)
	patientsFile, donorsFile := unzipped(b, data(b, "wmda-set3", "pat.gl.txt.gz")), unzipped(b, data(b, "wmda-set3", "don.gl.txt.gz"))
	for b.Loop() {
		began := time.Now()
		f, err := match.ReadFrequencies(bytes.NewReader(content))
		require.NoError(b, err)
		patients, _ := everybody(b, patientsFile, hla.Reader{})
		donors, _ := everybody(b, donorsFile, hla.Reader{})
		f.ExplainAll(patients, nil)
		f.ExplainAll(donors, nil)
		require.NoError(b, f.WriteConsensus(context.Background(), io.Discard, patients, donors))
		all := time.Since(began).Seconds()

		set := slowSet(string(content))
		const some = 5
		began = time.Now()
		var slowPatients, slowDonors []map[string]float64
		for _, p := range patients[:5] {
			slowPatients = append(slowPatients, slowPosterior(set, slowTyping(f.Loci(), p.Typing)))
		}
		for i := range some {
			slowDonors = append(slowDonors, slowPosterior(set, slowTyping(f.Loci(), donors[i*len(donors)/some].Typing)))
		}
		each := time.Since(began).Seconds() / (5 + some)
		began = time.Now()
		for _, p := range slowPatients {
			for _, d := range slowDonors {
				slowChances(p, d, len(f.Loci()))
			}
		}
		pair := time.Since(began).Seconds() / (5 * some)
		pairs := float64(len(patients) * len(donors))
		reference := each*float64(len(patients)+len(donors)) + pair*pairs
		b.ReportMetric(all, "s/all-pairs")
		b.ReportMetric(pairs/all, "pairs/s")
		b.ReportMetric(reference, "reference-s/all-pairs")
		b.ReportMetric(reference/all, "times-faster")
	}
}

func slowSet(text string) (set []slowHaplotype) {
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		names, frequency, _ := strings.Cut(strings.TrimSpace(line), ";")
		h := slowHaplotype{frequency: mustFloat(frequency)}
		for name := range strings.SplitSeq(names, "~") {
			_, number, _ := strings.Cut(name, "*")
			h.alleles = append(h.alleles, strings.TrimRight(number, "g"))
		}
		set = append(set, h)
	}
	return set
}

func slowTyping(loci []hla.Locus, r *hla.Reading) (typed slowCopies) {
	for _, locus := range loci {
		var copies [2][]string
		if at := r.At(locus); at != nil {
			for i, c := range at.Pairs[0] {
				for _, a := range c.Alleles {
					_, number, _ := strings.Cut(a.String(), "*")
					copies[i] = append(copies[i], number)
				}
				slices.Sort(copies[i])
			}
		}
		typed = append(typed, copies)
	}
	return typed
}

func mustFloat(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(err)
	}
	return f
}
