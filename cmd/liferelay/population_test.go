package main_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
)

func TestPopulationsAreLoadedAndItIsSaidWhoDrawsFromWhich(t *testing.T) {
	t.Parallel()
	i := install(t)
	const haplotypes = "A*01:01~C*07:01~B*08:01~DRB1*03:01~DQB1*02:01;0.6\nA*02:01~C*07:02~B*07:02~DRB1*15:01~DQB1*06:02;0.3\n"
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := z.Write([]byte(haplotypes))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	han := filepath.Join(i.dir, "han.csv.gz")
	require.NoError(t, os.WriteFile(han, zipped.Bytes(), 0o600))
	metadata := i.file("hfx.json", `{"metaData":{"nomenclatureUsed":{"version":"3.33.0"},"cohortDescription":{"population":{"description":"somewhere else"},"inputSize":1242}}}`)

	require.Equal(t, "No population is loaded: no chances are counted.\n", i.run("population", "list").exits(0).out)
	require.Equal(t, "Population HAN: 2 haplotypes, whose frequencies add up to 0.9000.\n", i.run("population", "load", "--name", "HAN", han).exits(0).out)
	require.Contains(t, i.run("population", "load", "--name", "HAN", han).exits(0).out, "and nothing has changed.")
	require.Regexp(t, `(?m)^HAN +2  0\.9000  \S+ \S+  \* +$`, i.run("population", "list").exits(0).out)

	second := i.run("population", "load", "--name", "CAU", i.file("cau.csv", haplotypes), "--metadata", metadata).exits(0)
	require.Contains(t, second.out, "2 populations are loaded, and nobody has said which provinces draw from which: no chances are counted.")
	require.Contains(t, i.with("LANG", "zh_CN.UTF-8").run("population", "list").exits(0).out, "已加载 2 个人群，但没有指定各省以哪个人群为准，不计算概率。")
	require.True(t, result[registry.PopulationList](i.run("population", "list", "--json").exits(0)).Undecided)

	require.Contains(t, i.run("population", "mixture", i.file("wrong.csv", "*,HAN,1\n65,HUI,1\n")).exits(1).err, `wrong.csv, line 2: the population "HUI" must be one of those that were read. Nothing was loaded.`)
	provinces := i.file("provinces.csv", "province,population,weight\n*,HAN,1\n65,HAN,0.9\n65,CAU,0.1\n")
	require.Equal(t, "Mixture of populations: 3 lines.\n", i.run("population", "mixture", provinces).exits(0).out)
	require.Contains(t, i.run("population", "mixture", provinces).exits(0).out, "and nothing has changed.")
	list := strings.Split(i.run("population", "list").exits(0).out, "\n")
	require.Regexp(t, `^CAU +2  0\.9000  \S+ \S+  65:0\.1 +somewhere else$`, list[0])
	require.Regexp(t, `^HAN +2  0\.9000  \S+ \S+  \*, 65:0\.9 +$`, list[1])
	require.Contains(t, i.run("population", "load", "--name", "HUI", han).exits(0).out, "No province draws from HUI")
	told := result[registry.PopulationList](i.run("population", "list", "--json").exits(0))
	require.Equal(t, "3.33.0", told.Populations[0].Version)
	require.Equal(t, 1242, told.Populations[0].People)
	all := strings.Split(strings.TrimSpace(i.run("hla", "list").exits(0).out), "\n")
	require.Len(t, all, 4)
	for n, says := range []string{`^\* haplotypes +HAN `, `^\* haplotypes +CAU `, `^\* mixture +mixture +3 `, `^  haplotypes +HUI `} {
		require.Regexp(t, says, all[n])
	}

	require.Contains(t, i.run("population", "load", "--name", "HAN", i.file("broken.csv", haplotypes+"rubbish\n")).exits(1).err, `broken.csv, line 3: "rubbish" is not a haplotype`)
	three := i.file("three.csv", "A*01:01~B*08:01~DRB1*03:01;1\n")
	require.Contains(t, i.run("population", "load", "--name", "HAN", three).exits(1).err, "The haplotypes have no C, DQB1.")
	require.Contains(t, i.with("LANG", "zh_CN.UTF-8").run("population", "load", "--name", "HAN", three).exits(1).err, "单倍型缺少 C, DQB1。")
	require.Contains(t, i.run("population", "load", "--name", "HAN", metadata, "--metadata", metadata).exits(3).err, "--metadata: the metadata have the name of the haplotypes")
	i.run("population", "load", han).exits(80)
}
