package match_test

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

const hfxCSV = "Haplo,Count,Freq\nA*01:01~C*07:01~B*08:01,10,0.6\nA*02:01~C*07:02~B*07:02,5,0.4\n"

func md5Of(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestAPopulationOfHFXIsReadAsItsSchemaAndAsItsExamplesHaveIt(t *testing.T) {
	for what, metadata := range map[string]string{
		"schema": `{"metaData":{"outputResolution":{"hla":[{"locus":"A","resolution":"g"},{"locus":"C","resolution":"g"},{"locus":"B","resolution":"G"},{"locus":"DRB3","resolution":"g"}]},
			"hfeMethod":{"method":"EM","parameters":[]},"cohortDescription":{"population":{"species":"Homo sapiens","description":"somewhere"},"inputSize":1277},
			"nomenclatureUsed":{"kind":"ipd","version":"3.33.0"},"frequencyLocation":"x.csv","checkSum":"` + strings.ToUpper(md5Of(hfxCSV)) + `"}}`,
		"example": `{"metadata":{"outputResolution":[{"locus":"HLA-A","resolution":"g"},{"locus":"B","resolution":"G"},{"locus":"C","resolution":"g"}],
			"cohortDescription":{"species":"Homo sapiens","population":[{"name":"somewhere","populationSize":199.3e6}],"cohortSize":1277},
			"nomenclatureUsed":{"database":"IPD-IMGT/HLA","version":"3.33.0"}}}`,
	} {
		p, err := match.ReadHFX("CAU", strings.NewReader(metadata), strings.NewReader(hfxCSV))
		require.NoError(t, err, what)
		require.Equal(t, "somewhere", p.Label)
		require.Equal(t, "3.33.0", p.NomenclatureVersion)
		require.Equal(t, 1277, p.CohortSize)
		require.Equal(t, map[hla.Locus]string{hla.A: "g", hla.C: "g", hla.B: "G"}, p.Resolution)
		require.Equal(t, 2, p.Frequencies.Haplotypes())
	}
	p, err := match.ReadHFX("CAU", strings.NewReader(`{"metaData":{"nomenclatureUsed":{"version":"1"}},"frequencyData":[{"haplotype":"A*01:01g~B*08:01","frequency":0.6},{"haplotype":"A*02:01~B*07:02","frequency":4e-1}]}`), nil)
	require.NoError(t, err)
	require.InDelta(t, 1, p.Frequencies.Sum(), 1e-12)
}

func TestAPopulationThatDoesNotAgreeWithItselfIsRefused(t *testing.T) {
	meta := func(more string) string {
		return `{"metaData":{"nomenclatureUsed":{"version":"3.33.0"}` + more + `}}`
	}
	for _, c := range []struct{ name, metadata, csv, says string }{
		{"CAU", "", hfxCSV, "well-formed"},
		{"CAU", "{}", hfxCSV, "nomenclatureUsed.version"},
		{"CAU", `{"metaData":7}`, hfxCSV, "another kind"},
		{"a name", meta(""), hfxCSV, "the name"},
		{"CAU", meta(`,"checkSum":"` + md5Of("else") + `"`), hfxCSV, "checkSum"},
		{"CAU", meta(`,"outputResolution":[{"locus":"A","resolution":"g"},{"locus":"B","resolution":"g"}]`), hfxCSV, "outputResolution must have the loci"},
		{"CAU", meta(`,"outputResolution":[{"locus":"A","resolution":"g"},{"locus":"C","resolution":"g"},{"locus":"DRB1","resolution":"g"}]`), hfxCSV, "outputResolution must have the loci"},
		{"CAU", meta(`,"outputResolution":[{"locus":"MICA","resolution":"g"}]`), hfxCSV, "not kept"},
		{"CAU", meta(`,"outputResolution":7`), hfxCSV, "list of loci"},
		{"CAU", meta(`,"cohortDescription":{"inputSize":-1}`), hfxCSV, "cohortDescription"},
		{"CAU", meta(""), "A*01:01~B*08:01;0.1\n", "add up to 0.1000"},
		{"CAU", meta(""), "A*01:01~B*08:01;0.9\nA*02:01~B*08:01;0.9\n", "add up to 1.8000"},
		{"CAU", meta(""), "rubbish\n", "line 1"},
	} {
		_, err := match.ReadHFX(c.name, strings.NewReader(c.metadata), strings.NewReader(c.csv))
		require.ErrorContains(t, err, c.says, c.metadata)
	}
	_, err := match.ReadHFX("CAU", strings.NewReader(`{"metaData":{"nomenclatureUsed":{"version":"1"}},"frequencyData":[{"haplotype":"A*01:01\nA*02:01","frequency":0.6}]}`), nil)
	require.ErrorContains(t, err, "is not a haplotype")
}

func TestASetOfAtlasIsRead(t *testing.T) {
	p, err := match.ReadHFSet("UK", strings.NewReader(`{"nomenclatureVersion":3330,"donPool":[6939,"x"],"ethn":["CAEU"],"populationId":4,"frequencies":[
		{"a":"01:01:01G","b":"*08:01g","c":"07:01:01","drb1":"03:01:01G","dqb1":"02:01","frequency":0.6},{"a":"24:09:01N","b":"08:01","c":"07:01","drb1":"03:01","dqb1":"02:01","frequency":0.3}]}`))
	require.NoError(t, err)
	require.Equal(t, "3330", p.NomenclatureVersion)
	require.Equal(t, []string{"6939", "x"}, p.Pools)
	require.Equal(t, []string{"CAEU"}, p.Ethnicities)
	require.InDelta(t, 0.6, p.Frequencies.FrequencyOf("01:01", "07:01", "08:01", "03:01", "02:01"), 1e-12)
	require.InDelta(t, 0.3, p.Frequencies.FrequencyOf("24:09N"), 1e-12)
	for _, text := range []string{"", `{"frequencies":[]}`, `{"nomenclatureVersion":1,"frequencies":[]}`, `{"nomenclatureVersion":1,"frequencies":[{"a":"01:01"}]}`, `{"nomenclatureVersion":1,"frequencies":[{"a":"01:01;","frequency":1}]}`} {
		_, err := match.ReadHFSet("UK", strings.NewReader(text))
		require.Error(t, err, text)
	}
}

// drawnSets are two sets that share some alleles.
func drawnSets(t *rapid.T) (sets [2][]slowHaplotype, read [2]*match.Frequencies) {
	for i := range sets {
		var text string
		sets[i], text = drawnSet(t)
		read[i] = mustFrequencies(t, text)
	}
	return sets, read
}

func chancesOf(t require.TestingT, of, other *match.Frequencies, patient, donor string) (bool, match.Chances) {
	explain := func(f *match.Frequencies, gl string) *match.Genotypes {
		reading := &hla.Reading{}
		if gl != "" {
			var err error
			reading, err = hla.Reader{}.Read(gl)
			require.NoError(t, err)
		}
		return f.Explain(f.Phenotype(reading, nil))
	}
	var c match.Chances
	p, d := explain(of, patient), explain(other, donor)
	if !p.Explained() || !d.Explained() {
		return false, c
	}
	p.Against().With(d, &c)
	return true, c
}

func requireSameChances(t require.TestingT, want, got match.Chances) {
	require.InDelta(t, want.Ten, got.Ten, 1e-9)
	require.InDelta(t, want.Nine, got.Nine, 1e-9)
	require.InDeltaSlice(t, want.Locus, got.Locus, 1e-9)
}

func TestAMixtureIsTheWeightedSumOfItsSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sets, read := drawnSets(t)
		w := float64(rapid.IntRange(0, 10).Draw(t, "weight")) / 10
		mixed, err := match.Mix(read[:], []float64{w, 1 - w})
		require.NoError(t, err)
		require.InDelta(t, w*read[0].Sum()+(1-w)*read[1].Sum(), mixed.Sum(), 1e-12)
		for _, h := range append(append([]slowHaplotype{}, sets[0]...), sets[1]...) {
			require.InDelta(t, w*read[0].FrequencyOf(h.alleles...)+(1-w)*read[1].FrequencyOf(h.alleles...), mixed.FrequencyOf(h.alleles...), 1e-12)
		}
		_, patient := drawnTyping(t, sets[0])
		_, donor := drawnTyping(t, sets[0])

		alone, err := match.Mix(read[:1], []float64{1})
		require.NoError(t, err)
		explained, want := chancesOf(t, read[0], read[0], patient, donor)
		_, got := chancesOf(t, alone, alone, patient, donor)
		require.True(t, explained)
		requireSameChances(t, want, got)

		turned, err := match.Mix([]*match.Frequencies{read[1], read[0]}, []float64{1 - w, w})
		require.NoError(t, err)
		explained, want = chancesOf(t, mixed, mixed, patient, donor)
		other, got := chancesOf(t, turned, turned, patient, donor)
		require.Equal(t, explained, other)
		if explained {
			requireSameChances(t, want, got)
		}
	})
}

func TestPeopleOfDifferentPopulationsAreCompared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sets [2][]slowHaplotype
		var populations []*match.Population
		for i := range sets {
			var text string
			sets[i], text = drawnSet(t)
			populations = append(populations, &match.Population{Name: fmt.Sprintf("P%d", i), Frequencies: mustFrequencies(t, text)})
		}
		m, err := match.ReadMixture(strings.NewReader("11,P0,1\n*,P1,3\n"), populations)
		require.NoError(t, err)
		patientTyped, patient := drawnTyping(t, sets[0])
		donorTyped, donor := drawnTyping(t, sets[1])
		north, name := m.For("110101")
		require.Equal(t, "P0", name)
		south, _ := m.For("44")
		explained, got := chancesOf(t, north, south, patient, donor)
		require.True(t, explained)
		locus, ten, nine := slowChances(slowPosterior(sets[0], patientTyped), slowPosterior(sets[1], donorTyped), 3)
		requireSameChances(t, match.Chances{Locus: []float64{locus[0], locus[1], locus[2]}, Ten: ten, Nine: nine}, got)
	})
}

func TestSetsOfDifferentLociAreMixedAtTheLociOfBoth(t *testing.T) {
	three := mustFrequencies(t, "DRB1*01:01~B*08:01~A*01:01;0.5\nDRB1*03:01~B*08:01~A*01:01;0.25\n")
	two := mustFrequencies(t, "A*01:01~B*08:01;0.5\nA*02:01~B*07:02;0.5\n")
	mixed, err := match.Mix([]*match.Frequencies{three, two}, []float64{0.5, 0.5})
	require.NoError(t, err)
	require.Equal(t, []hla.Locus{hla.A, hla.B}, mixed.Loci())
	require.Equal(t, 2, mixed.Haplotypes())
	require.InDelta(t, 0.625, mixed.FrequencyOf("01:01", "08:01"), 1e-12)

	_, err = match.Mix([]*match.Frequencies{three, mustFrequencies(t, "C*01:01;1\n")}, []float64{0.5, 0.5})
	require.ErrorContains(t, err, "no locus")
	for _, weights := range [][]float64{{}, {1}, {0, 0}, {1, 1}, {-1, 1}} {
		_, err = match.Mix([]*match.Frequencies{three, two}, weights)
		require.Error(t, err, "%v", weights)
	}
	var many [2]strings.Builder
	for i := range 400 {
		fmt.Fprintf(&many[i%2], "A*01:%02d;0.001\n", i+1)
	}
	_, err = match.Mix([]*match.Frequencies{mustFrequencies(t, many[0].String()), mustFrequencies(t, many[1].String())}, []float64{0.5, 0.5})
	require.ErrorContains(t, err, "more than 361 alleles at A")
}

// An allele that one population alone has stands for its P group in another, as it does where that population is read by itself.
func TestAnAlleleOfAnotherPopulationIsFoundByItsPGroup(t *testing.T) {
	release, err := hla.LoadRelease(os.DirFS(data(t, "imgt-hla-3.33.0")))
	require.NoError(t, err)
	north := mustFrequencies(t, "A*02:01~B*08:01;1\n")
	south := mustFrequencies(t, "A*02:09~B*08:01;1\n") // of the P group of 02:01
	populations := []*match.Population{{Name: "north", Frequencies: north}, {Name: "south", Frequencies: south}}
	m, err := match.ReadMixture(strings.NewReader("*,north,1\n44,south,1\n"), populations)
	require.NoError(t, err)
	reading, err := hla.Reader{Release: release}.Read("A*02:09+A*02:09")
	require.NoError(t, err)
	require.True(t, north.Explain(north.Phenotype(reading, release)).Explained())
	f, _ := m.For("11")
	require.True(t, f.Explain(f.Phenotype(reading, release)).Explained())
}

func TestAProvinceHasItsMixture(t *testing.T) {
	populations := []*match.Population{
		{Name: "han", Frequencies: mustFrequencies(t, "A*01:01~B*08:01;0.5\nA*02:01~B*07:02;0.5\n")},
		{Name: "hui", Frequencies: mustFrequencies(t, "A*03:01~B*08:01;1\n")},
	}
	m, err := match.ReadMixture(strings.NewReader("province,population,weight\n# the rest\n*, han, 1\n\n64,han,6\n64,hui,2\n65,hui,1\n65,han,3\n"), populations)
	require.NoError(t, err)
	for province, name := range map[string]string{"32": "han", "": "han", "1": "han", "64": "han:0.75+hui:0.25", "640100": "han:0.75+hui:0.25", "65": "han:0.75+hui:0.25"} {
		_, got := m.For(province)
		require.Equal(t, name, got, province)
	}
	one, _ := m.For("64")
	other, _ := m.For("65")
	require.Same(t, one, other, "a mixture is built once")
	require.InDelta(t, 0.25, one.FrequencyOf("03:01", "08:01"), 1e-12)
	require.InDelta(t, 1, one.Sum(), 1e-12)
	alone, _ := m.For("11")
	require.Zero(t, alone.FrequencyOf("03:01", "08:01"))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { m.For("64") })
	}
	all.Wait()

	for text, says := range map[string]string{
		"":                       "all others",
		"32,han,1\n":             "all others",
		"*,han\n":                "line 1: the line",
		"*,han,1\n3200,han,1\n":  "line 2: the province",
		"*,tibet,1\n":            "line 1: the population \"tibet\" must be one",
		"*,han,1\n17,han,1\n":    "line 2: the province \"17\" must be the two digits of its code in GB/T 2260",
		"*,han,-1\n":             "line 1: the weight",
		"*,han,0\n":              "line 1: the weight",
		"*,han,NaN\n":            "line 1: the weight",
		"*,han,1\n\n*,han,0.5\n": "line 3: the population \"han\" has a weight",
	} {
		_, err := match.ReadMixture(strings.NewReader(text), populations)
		require.ErrorContains(t, err, says, text)
	}
}

func TestAPopulationIsReadInWhicheverFormItComes(t *testing.T) {
	const (
		plain    = "A*01:01~B*08:01;0.6\nA*02:01~B*07:02;0.4\n"
		metadata = `{"metaData":{"nomenclatureUsed":{"version":"3.33.0"}}}`
		whole    = `{"metaData":{"nomenclatureUsed":{"version":"3.33.0"}},"frequencyData":[{"haplotype":"A*01:01~B*08:01","frequency":1}]}`
		atlas    = `{"nomenclatureVersion":3330,"frequencies":[{"a":"01:01:01G","b":"08:01","frequency":1}]}`
	)
	zipped := func(text string) string {
		var to bytes.Buffer
		z := gzip.NewWriter(&to)
		_, err := z.Write([]byte(text))
		require.NoError(t, err)
		require.NoError(t, z.Close())
		return to.String()
	}
	for what, c := range map[string]struct {
		haplotypes, metadata string
		version              string
		number               int
	}{
		"plain":             {plain, "", "", 2},
		"plain with a mark": {"\ufeff" + plain, "", "", 2},
		"CSV":               {hfxCSV, "", "", 2},
		"HFX":               {hfxCSV, metadata, "3.33.0", 2},
		"HFX in one":        {whole, "", "3.33.0", 1},
		"with a mark":       {"\ufeff \n" + whole, "", "3.33.0", 1},
		"Atlas":             {atlas, "", "3330", 1},
	} {
		for _, form := range []func(string) string{zipped, func(text string) string { return text }} {
			var beside io.Reader
			if c.metadata != "" {
				beside = strings.NewReader(form(c.metadata))
			}
			p, err := match.ReadPopulation("han", strings.NewReader(form(c.haplotypes)), beside)
			require.NoError(t, err, what)
			require.Equal(t, "han", p.Name)
			require.Equal(t, c.version, p.NomenclatureVersion, what)
			require.Equal(t, c.number, p.Frequencies.Haplotypes(), what)
		}
	}
	for text, says := range map[string]string{"": "no haplotype", "\x1f\x8b\x00": "population", "{": "well-formed", "{}": "nomenclatureVersion", "A*01:01;0.1\n": "add up to", "x\n": "line 1"} {
		_, err := match.ReadPopulation("han", strings.NewReader(text), nil)
		require.ErrorContains(t, err, says, "%q", text)
	}
	_, err := match.ReadPopulation("a name", strings.NewReader(plain), nil)
	require.ErrorContains(t, err, "the name")
}

func TestASetIsCutToSomeOfItsLoci(t *testing.T) {
	set := mustFrequencies(t, "A*01:01~B*08:01~DPB1*04:01;0.5\nA*01:01~B*08:01~DPB1*02:01;0.25\nA*02:01~B*08:01~DPB1*02:01;0.25\n")
	cut, err := set.At([]hla.Locus{hla.A, hla.B})
	require.NoError(t, err)
	require.Equal(t, []hla.Locus{hla.A, hla.B}, cut.Loci())
	require.Equal(t, 2, cut.Haplotypes())
	require.InDelta(t, 0.75, cut.FrequencyOf("01:01", "08:01"), 1e-12)
	_, err = set.At([]hla.Locus{hla.A, hla.C})
	require.ErrorContains(t, err, "do not have C")
}

func TestAPopulationThatNoProvinceDrawsFromDoesNotCount(t *testing.T) {
	populations := []*match.Population{
		{Name: "unused", Frequencies: mustFrequencies(t, "C*01:02;1\n")}, // which has no locus in common with the others
		{Name: "han", Frequencies: mustFrequencies(t, "A*01:01~B*08:01;1\n")},
		{Name: "hui", Frequencies: mustFrequencies(t, "A*03:01~B*08:01;1\n")},
	}
	m, err := match.ReadMixture(strings.NewReader("64,hui,1\n64,han,3\n*,han,2\n"), populations)
	require.NoError(t, err)
	require.Equal(t, map[string]map[string]float64{"*": {"han": 1}, "64": {"han": 0.75, "hui": 0.25}}, m.Shares())
	mixed, name := m.For("64")
	require.Equal(t, "han:0.75+hui:0.25", name)
	require.InDelta(t, 0.25, mixed.FrequencyOf("03:01", "08:01"), 1e-12)
	others, name := m.For("11")
	require.Equal(t, "han", name)
	require.InDelta(t, 1, others.FrequencyOf("01:01", "08:01"), 1e-12)
}

func TestPublishedPopulationsAreReadAndMixed(t *testing.T) {
	t.Parallel()
	open := func(name string) *os.File {
		file, err := os.Open(data(t, "haplotypes", name))
		require.NoError(t, err)
		t.Cleanup(func() { _ = file.Close() })
		return file
	}
	// The checksum is that of the metadata which HFX publishes beside the file.
	cau, err := match.ReadHFX("CAU", strings.NewReader(`{"metadata":{"nomenclatureUsed":{"version":"2.16.0"},"checkSum":"aaa61c62fbaa2de9d5f6064d2b635e5c","outputResolution":[
		{"locus":"A","resolution":"g"},{"locus":"B","resolution":"g"},{"locus":"C","resolution":"g"},{"locus":"DRB1","resolution":"g"},{"locus":"DQB1","resolution":"g"}]}}`), open("HEGL_CAU.csv"))
	require.NoError(t, err)
	chinese, err := match.ReadFrequencies(open("NCHI.ARS.freqs"))
	require.NoError(t, err)
	m, err := match.ReadMixture(strings.NewReader("*,NCHI,1\n65,NCHI,0.9\n65,CAU,0.1\n"), []*match.Population{cau, {Name: "NCHI", Frequencies: chinese}})
	require.NoError(t, err)
	mixed, name := m.For("65")
	require.Equal(t, "CAU:0.1+NCHI:0.9", name)
	require.InDelta(t, 0.9*chinese.Sum()+0.1*cau.Frequencies.Sum(), mixed.Sum(), 1e-9)
	same, _ := m.For("32")
	require.Equal(t, chinese.Haplotypes(), same.Haplotypes())
	const somebody = "A*02:07+A*30:01^C*01:02+C*06:02^B*46:01+B*13:02^DRB1*09:01+DRB1*07:01"
	_, want := chancesOf(t, chinese, chinese, somebody, somebody)
	_, got := chancesOf(t, same, same, somebody, somebody)
	require.InDelta(t, want.Ten, got.Ten, 1e-9)
	require.InDelta(t, want.Nine, got.Nine, 1e-9)
}

func FuzzHFX(f *testing.F) {
	f.Add(`{"metaData":{"nomenclatureUsed":{"version":"1"},"outputResolution":{"hla":[{"locus":"A","resolution":"g"}]},"cohortDescription":{"population":{"geoCode":"CN"},"inputSize":5}}}`, "Haplo,Count,Freq\nA*01:01,1,1\n")
	f.Add(`{"metaData":{"nomenclatureUsed":{"version":"1"},"outputResolution":[],"cohortDescription":{"population":[{}]}},"frequencyData":[{"haplotype":"A*01:01~B*08:01","frequency":1}]}`, "")
	f.Fuzz(func(t *testing.T, metadata, csv string) {
		p, err := match.ReadHFX("X", strings.NewReader(metadata), strings.NewReader(csv))
		if err == nil {
			require.Positive(t, p.Frequencies.Haplotypes())
		}
		if p, err = match.ReadHFX("X", strings.NewReader(metadata), nil); err == nil {
			require.InDelta(t, 1, p.Frequencies.Sum(), 0.5)
		}
	})
}

func FuzzHFSet(f *testing.F) {
	f.Add(`{"nomenclatureVersion":3330,"donPool":[6939],"ethn":null,"populationId":4,"frequencies":[{"a":"01:01:01G","b":"08:01","c":"07:01","drb1":"03:01","dqb1":"02:01","frequency":0.6}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := match.ReadHFSet("X", strings.NewReader(text))
		if err == nil {
			require.InDelta(t, 1, p.Frequencies.Sum(), 0.5)
		}
	})
}

func FuzzMixture(f *testing.F) {
	f.Add("province,population,weight\n*,han,1\n64,han,0.5\n64,hui,1e-3\n")
	populations := []*match.Population{{Name: "han", Frequencies: mustFrequencies(f, "A*01:01;1\n")}, {Name: "hui", Frequencies: mustFrequencies(f, "A*02:01;1\n")}}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := match.ReadMixture(strings.NewReader(text), populations)
		if err != nil {
			return
		}
		for _, province := range []string{"64", ""} {
			set, name := m.For(province)
			require.InDelta(t, 1, set.Sum(), 1e-9)
			require.NotEmpty(t, name)
		}
	})
}
