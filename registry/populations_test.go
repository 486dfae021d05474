package registry_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/match"
)

// Haplotypes made up for tests: two populations that share one of two.
const (
	hanHaplotypes = "A*02:01~C*01:02~B*46:01~DRB1*09:01~DQB1*03:03;0.6\nA*11:01~C*08:01~B*15:02~DRB1*12:02~DQB1*03:01;0.4\n"
	cauHaplotypes = "Haplo,Count,Freq\nA*01:01~C*07:01~B*08:01~DRB1*03:01~DQB1*02:01~DPB1*04:01,10,0.5\nA*01:01~C*07:01~B*08:01~DRB1*03:01~DQB1*02:01~DPB1*01:01,5,0.3\n" +
		"A*02:01~C*01:02~B*46:01~DRB1*09:01~DQB1*03:03~DPB1*04:01,4,0.2\n"
	atlasHaplotypes = `{"nomenclatureVersion":"3.57.0","ethn":["HUI"],"frequencies":[
		{"a":"01:01","c":"07:01","b":"08:01","drb1":"03:01","dqb1":"02:01","frequency":0.9}]}`
)

func cauMetadata() string {
	sum := md5.Sum([]byte(cauHaplotypes))
	return `{"metaData":{"nomenclatureUsed":{"version":"3.33.0"},"checkSum":"` + hex.EncodeToString(sum[:]) + `","cohortDescription":{"population":[{"name":"somewhere else"}],"cohortSize":1242}}}`
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var to bytes.Buffer
	z := gzip.NewWriter(&to)
	_, err := z.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return to.Bytes()
}

func provinceTable(lines string) map[string][]byte {
	return map[string][]byte{"provinces.csv": []byte(lines)}
}

func TestAPopulationIsKeptInWhicheverFormItComesAndOnlyIfTheRegisterCanCountWithIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	operator := registry.Operator("test")
	han := h.load(registry.ReferenceHaplotypes, "HAN", map[string][]byte{"han.freqs.gz": zipped(t, hanHaplotypes)})
	require.Equal(t, 2, han.Names)
	require.InDelta(t, 1, han.Metadata["sum"], 1e-9)
	require.NotContains(t, han.Metadata, "label")
	require.True(t, han.InUse)
	cau := h.load(registry.ReferenceHaplotypes, "CAU", map[string][]byte{"cau.csv": []byte(cauHaplotypes), "cau.json": []byte(cauMetadata())})
	require.Equal(t, map[string]any{"label": "somewhere else", "nomenclature": "3.33.0", "people": 1242.0, "sum": cau.Metadata["sum"], "loci": []any{"A", "C", "B", "DRB1", "DQB1", "DPB1"}}, cau.Metadata)
	require.Equal(t, 3, cau.Names)
	require.False(t, cau.InUse, "nobody has said who draws from which")
	hui := h.load(registry.ReferenceHaplotypes, "HUI", map[string][]byte{"hui.json": []byte(atlasHaplotypes)})
	require.Equal(t, "HUI", hui.Metadata["label"])
	require.InDelta(t, 0.9, hui.Metadata["sum"], 1e-9)
	_, fresh, err := h.Store.LoadReference(ctx, operator, registry.ReferenceHaplotypes, "HUI", map[string][]byte{"hui.json": []byte(atlasHaplotypes)}, nil)
	require.NoError(t, err)
	require.False(t, fresh)

	for what, c := range map[string]struct {
		name  string
		files map[string][]byte
		code  string
		says  string
		line  any
	}{
		"a line":              {"X", map[string][]byte{"x.freqs": []byte(hanHaplotypes + "rubbish\n")}, "reference_unreadable", `x.freqs, line 3: "rubbish" is not a haplotype`, 3},
		"another checksum":    {"X", map[string][]byte{"x.csv": []byte(hanHaplotypes), "x.json": []byte(cauMetadata())}, "reference_unreadable", "x.json, checkSum is not", nil},
		"a line beside":       {"X", map[string][]byte{"x.csv": []byte("x,y\n"), "x.json": []byte(cauMetadata())}, "reference_unreadable", "x.csv, line 1", 1},
		"no JSON":             {"X", map[string][]byte{"x.json": []byte("{")}, "reference_unreadable", "x.json, the file is not well-formed JSON", nil},
		"half a file":         {"X", map[string][]byte{"x.gz": zipped(t, hanHaplotypes)[:30]}, "reference_unreadable", "x.gz, ", nil},
		"a part":              {"X", map[string][]byte{"x.freqs": []byte("A*01:01~C*07:01~B*08:01~DRB1*03:01~DQB1*02:01;0.1\n")}, "reference_unreadable", "add up to 0.1000", nil},
		"three files":         {"X", map[string][]byte{"a": nil, "b": nil, "c.json": nil}, "reference_unreadable", "one file of haplotypes", nil},
		"two of metadata":     {"X", map[string][]byte{"a.json": nil, "b.json": nil}, "reference_unreadable", "one file of haplotypes", nil},
		"no name":             {"", map[string][]byte{"x.freqs": []byte(hanHaplotypes)}, "reference_unreadable", "no name", nil},
		"a name with a space": {"a name", map[string][]byte{"x.freqs": []byte(hanHaplotypes)}, "reference_unreadable", "the name must be", nil},
		"three loci":          {"X", map[string][]byte{"x.freqs": []byte("A*01:01~B*08:01~DRB1*03:01;1\n")}, "population_loci", "population_loci", nil},
	} {
		_, _, err := h.Store.LoadReference(ctx, operator, registry.ReferenceHaplotypes, c.name, c.files, nil)
		requireCode(t, err, registry.Invalid, c.code)
		require.ErrorContains(t, err, c.says, what)
		var e *registry.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, c.line, e.Args["Line"], what)
		if c.code == "population_loci" {
			require.Equal(t, "C, DQB1", e.Args["Loci"])
		}
	}
	require.Equal(t, 3, value[int](h, `SELECT count(*)::int FROM reference_data`))
}

func TestAProvinceDrawsFromThePopulationsThatTheMixtureSays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	operator := registry.Operator("test")
	other := h.open(registry.Options{})
	draw := func() func(uint8) *match.Frequencies {
		t.Helper()
		from, err := h.Store.Populations(ctx)
		require.NoError(t, err)
		elsewhere, err := other.Populations(ctx)
		require.NoError(t, err)
		require.Equal(t, from == nil, elsewhere == nil)
		return from
	}
	list := func() registry.PopulationList {
		t.Helper()
		out, err := h.Store.ListPopulations(ctx, operator)
		require.NoError(t, err)
		return out
	}
	inUse := func() (names []string) {
		t.Helper()
		references, err := h.Store.ListReferences(ctx, operator, "", [16]byte{}, 0)
		require.NoError(t, err)
		for _, r := range references {
			if r.InUse {
				names = append(names, r.Name)
			}
		}
		return names
	}
	require.Nil(t, draw())
	require.Empty(t, list().Populations)

	// With one everybody draws from it, at the five loci.
	h.load(registry.ReferenceHaplotypes, "CAU", map[string][]byte{"cau.csv": []byte(cauHaplotypes)})
	from := draw()
	require.Equal(t, []hla.Locus{hla.A, hla.C, hla.B, hla.DRB1, hla.DQB1}, from(0).Loci())
	require.Equal(t, 2, from(32).Haplotypes(), "those that differ at DPB1 alone are one")
	require.Same(t, from(0), from(65))
	h.load(registry.ReferenceRelease, "", releaseFiles("3.57.0"))
	require.Same(t, from(0), draw()(0), "a release changes nothing here, and nothing is read again")
	require.Equal(t, map[string]float64{"*": 1}, list().Populations[0].Provinces)
	require.Equal(t, []string{"CAU", "3.57.0"}, inUse())

	// With several somebody has to say who draws from which.
	h.load(registry.ReferenceHaplotypes, "HAN", map[string][]byte{"han.freqs": []byte(hanHaplotypes)})
	require.Nil(t, draw())
	require.True(t, list().Undecided)
	require.Equal(t, []string{"3.57.0"}, inUse())

	for what, c := range map[string]struct{ lines, says string }{
		"a population":   {"*,HAN,1\n65,HUI,1\n", `provinces.csv, line 2: the population "HUI" must be one of those`},
		"a province":     {"*,HAN,1\n17,CAU,1\n", `provinces.csv, line 2: the province "17" must be`},
		"a weight":       {"*,HAN,0\n", `provinces.csv, line 1: the weight "0" must be`},
		"another weight": {"*,HAN,-1\n", `the weight "-1" must be`},
		"a line":         {"*,HAN\n", `the line "*,HAN" must be`},
		"no others":      {"65,CAU,1\n", "must have a line with *"},
	} {
		_, _, err := h.Store.LoadReference(ctx, operator, registry.ReferenceMixture, "", provinceTable(c.lines), nil)
		requireCode(t, err, registry.Invalid, "reference_unreadable")
		require.ErrorContains(t, err, c.says, what)
	}
	_, _, err := h.Store.LoadReference(ctx, operator, registry.ReferenceMixture, "another", provinceTable("*,HAN,1\n"), nil)
	require.ErrorContains(t, err, "there is one mixture")
	_, _, err = h.Store.LoadReference(ctx, operator, registry.ReferenceMixture, "", map[string][]byte{"a": nil, "b": nil}, nil)
	require.ErrorContains(t, err, "a mixture is one file")
	require.Nil(t, draw())

	provinces := provinceTable("province,population,weight\n*,HAN,1\n65,HAN,9\n65,CAU,1\n11,CAU,1\n")
	mixture := h.load(registry.ReferenceMixture, "", provinces)
	require.Equal(t, registry.MixtureName, mixture.Name)
	require.Equal(t, 4, mixture.Names)
	from = draw()
	require.Equal(t, 2, from(0).Haplotypes())
	require.Equal(t, 3, from(65).Haplotypes())
	require.NotSame(t, from(0), from(11))
	for _, province := range []uint8{32, 7, 110, 255} {
		require.Same(t, from(0), from(province), province)
	}
	// A patient of one province is compared with a donor of another: their alleles are numbered alike.
	reading, err := hla.Reader{}.Read("A*02:01+A*02:01^C*01:02+C*01:02^B*46:01+B*46:01^DRB1*09:01+DRB1*09:01^DQB1*03:03+DQB1*03:03")
	require.NoError(t, err)
	var chances match.Chances
	explain := func(f *match.Frequencies) *match.Genotypes { return f.Explain(f.Phenotype(reading, nil)) }
	explain(from(65)).Against().With(explain(from(0)), &chances)
	require.InDelta(t, 1, chances.Ten, 1e-9)
	_, fresh, err := h.Store.LoadReference(ctx, operator, registry.ReferenceMixture, "", provinces, nil)
	require.NoError(t, err)
	require.False(t, fresh)
	use := list()
	require.False(t, use.Undecided)
	require.NotNil(t, use.MixedAt)
	require.Len(t, use.Populations, 2)
	require.Equal(t, "CAU", use.Populations[0].Name)
	require.InDelta(t, 0.1, use.Populations[0].Provinces["65"], 1e-12)
	require.Len(t, use.Populations[0].Provinces, 2)
	require.InDelta(t, 1, use.Populations[1].Provinces["*"], 1e-12)
	require.Equal(t, []string{"CAU", "3.57.0", "HAN", "mixture"}, inUse())

	// A population that is loaded anew is drawn from at once; one that no province names changes nothing.
	h.load(registry.ReferenceHaplotypes, "HAN", map[string][]byte{"han.freqs": []byte(hanHaplotypes + "A*30:01~C*06:02~B*13:02~DRB1*07:01~DQB1*02:02;0.001\n")})
	from = draw()
	require.Equal(t, 3, from(0).Haplotypes())
	h.load(registry.ReferenceHaplotypes, "HUI", map[string][]byte{"hui.json": []byte(atlasHaplotypes)})
	require.Same(t, from(0), draw()(0))

	// Together populations can have too many alleles.
	many := []byte(hanHaplotypes)
	for i := range 359 { // with the two of HAN 361, which it may have by itself
		many = append(many, []byte("A*77:"+string(rune('1'+i/100))+string(rune('0'+i/10%10))+string(rune('0'+i%10))+"~C*01:02~B*46:01~DRB1*09:01~DQB1*03:03;0.000001\n")...)
	}
	_, _, err = h.Store.LoadReference(ctx, operator, registry.ReferenceHaplotypes, "HAN", map[string][]byte{"han.freqs": many}, nil)
	requireCode(t, err, registry.Invalid, "reference_unreadable")
	require.ErrorContains(t, err, "more than 361 alleles at A together")
	require.Same(t, from(0), draw()(0))
}

func TestWhoLooksAfterTheWholeInstallationSaysWhoDrawsFromWhich(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	for who, by := range map[string]registry.Actor{"a registrar": h.Registrar, "an administrator of a province": h.Staff(t, "province", h.County, policy.SystemAdministrator, "320000")} {
		_, _, err := h.Store.LoadReference(ctx, by, registry.ReferenceHaplotypes, "HAN", map[string][]byte{"han.freqs": []byte(hanHaplotypes)}, nil)
		requireCode(t, err, registry.Denied, "denied")
		_, _, err = h.Store.LoadReference(ctx, by, registry.ReferenceMixture, "", provinceTable("*,HAN,1\n"), nil)
		require.Equal(t, registry.Denied, registry.KindOf(err), who)
	}
	nation := h.Staff(t, "nation", h.County, policy.SystemAdministrator, string(identity.Nation))
	_, _, err := h.Store.LoadReference(ctx, nation, registry.ReferenceHaplotypes, "HAN", map[string][]byte{"han.freqs": []byte(hanHaplotypes)}, nil)
	require.NoError(t, err)
	_, err = h.Store.ListPopulations(ctx, h.Registrar)
	require.NoError(t, err)
}

func TestManyWhoAskForPopulationsAtOnceReadThemOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(registry.ReferenceHaplotypes, "HAN", map[string][]byte{"han.freqs": []byte(hanHaplotypes)})
	h.load(registry.ReferenceHaplotypes, "CAU", map[string][]byte{"cau.csv": []byte(cauHaplotypes)})
	h.load(registry.ReferenceMixture, "", provinceTable("*,HAN,1\n65,CAU,1\n"))
	got := make([]*match.Frequencies, 8)
	var todo []func() error
	for i := range got {
		todo = append(todo, func() error {
			from, err := h.Store.Populations(context.Background())
			if err == nil {
				got[i] = from(65)
			}
			return err
		})
	}
	for _, err := range atOnce(todo...) {
		require.NoError(t, err)
	}
	for _, f := range got {
		require.Same(t, got[0], f)
	}
}
