package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/hla"
)

// release writes a release made up for tests into a folder: of before 2026, or since.
func (m *machine) release(name, version string, since bool) string {
	m.t.Helper()
	heading := "# version: IPD-IMGT/HLA " + version + "\n"
	files := map[string]string{
		"Allele_status.txt":    heading + "A*02:01:01,1,1\nA*02:05,1,1\nA*02:15N,1,1\nA*11:01,1,1\nDPB1*04:01,1,1\n",
		"wmda/hla_nom_p.txt":   heading + "A*;02:01:01/02:05;02:01P\nA*;11:01;\n",
		"wmda/hla_nom_g.txt":   heading + "A*;02:01:01/02:15N;02:01:01G\n",
		"wmda/rel_dna_ser.txt": heading + "A*;02:01:01;2;;;\n",
		"wmda/rel_ser_ser.txt": heading + "A;2;;203/210\n",
		"tce/dpb_tce.csv":      heading + "DPB1*04:01:01,DPB1*04:01,3,3,\n",
	}
	if since {
		delete(files, "Allele_status.txt")
		files["Allelelist.txt"] = heading + "AlleleID,Allele\nHLA1,A*02:01:01\nHLA2,A*11:01\n"
		files["wmda/hla_nom_p.txt"] = heading + "A*;02:01:01;\nA*;11:01;\n"
		files["wmda/rel_dna_ser.txt"] = heading + "A*;02:01:01;;;;;2\n"
		delete(files, "tce/dpb_tce.csv")
	}
	dir := filepath.Join(m.dir, name)
	for file, content := range files {
		require.NoError(m.t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700))
		require.NoError(m.t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600))
	}
	return dir
}

func TestAReadingIsExplainedInTheReadersLanguage(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	dir, codes := m.release("old", "3.57.0", false), m.file("codes.txt", "CODE\tSUBTYPE\nAB\t01/77\n")
	typing := "hla#3.57.0#A*02:01:01G+A*02AB^DPB1*0401+DPB1*04:01^B*UUUU+B*UUUU"
	said := m.run("hla", "explain", "--hla", dir, "--codes", codes, typing).exits(0)
	require.Equal(t, strings.Join([]string{
		"Read by IPD-IMGT/HLA 3.57.0.",
		"It says that it was made under 3.57.0.",
		"",
		"A  A*02:01:01G+A*02AB",
		"  A*02:01:01G is a G group (hla_nom_g.txt line 2): A*02:01",
		"    left out, because it makes no protein: A*02:15N",
		"    A*02:01: P group 02:01P (hla_nom_p.txt line 2); antigen A2 (rel_dna_ser.txt line 2)",
		"  A*02AB is a multiple-allele code, in full A*02:AB (table of codes line 2): A*02:01",
		"    left out, because the release does not have it: A*02:77",
		"    A*02:01: P group 02:01P (hla_nom_p.txt line 2); antigen A2 (rel_dna_ser.txt line 2)",
		"",
		"DPB1  DPB1*0401+DPB1*04:01",
		"  DPB1*0401 is an allele, in full DPB1*04:01 (Allele_status.txt line 6): DPB1*04:01",
		"    DPB1*04:01: of no P group that is known; TCE group 3 (dpb_tce.csv line 2)",
		"  DPB1*04:01 is an allele (Allele_status.txt line 6): DPB1*04:01",
		"    DPB1*04:01: of no P group that is known; TCE group 3 (dpb_tce.csv line 2)",
		"",
		"B  B*UUUU+B*UUUU",
		"  Nothing is known of either copy: the locus counts as not typed.",
		"  B*UUUU is the sign for an unknown allele",
		"    nothing is known of this copy: it may be any allele",
		"  B*UUUU is the sign for an unknown allele",
		"    nothing is known of this copy: it may be any allele",
		"",
	}, "\n"), said.out)
	require.Contains(t, m.with("LANG", "zh_CN.UTF-8").run("hla", "explain", "--hla", dir, "A2+A*02:15N").exits(0).out, strings.Join([]string{
		"A  A2+A*02:15N",
		"  A2 是血清学抗原（rel_ser_ser.txt 第 2 行）：A*02:01",
		"    A*02:01：P 组 02:01P（hla_nom_p.txt 第 2 行）; 抗原 A2（rel_dna_ser.txt 第 2 行）",
		"  A*02:15N 是等位基因（Allele_status.txt 第 4 行）：A*02:15N",
		"    A*02:15N：不表达蛋白，不属于任何 P 组",
		"    不表达蛋白，比对时视为另一拷贝的重复",
	}, "\n"))
	require.Contains(t, m.run("hla", "explain", "--hla", dir, "A*02:01+A*11:01|A*02:05+A*11:01").exits(0).out, "Pair 2 of 2, which the laboratory could not tell apart:")
	bare := m.run("hla", "explain", "A*02:XX+A*24:02^DRB4*01:01").exits(0).out
	require.Contains(t, bare, "Read without a release: names were not looked up.")
	require.Contains(t, bare, "A*02: any allele that begins with it, because no release says which there are")
	require.Contains(t, bare, "there is no such gene on this copy")

	told := result[hla.Explanation](m.run("hla", "explain", "--json", "--hla", dir, "A*02:XX+A*11:01").exits(0))
	require.Len(t, told.Loci[0].Pairs[0][0].Proteins, 3)
	require.Equal(t, hla.Source{Release: "3.57.0", File: "hla_nom_p.txt", Line: 2}, told.Loci[0].Pairs[0][0].Proteins[0].GroupBy)

	refused := m.run("hla", "explain", "--hla", dir, "A*02:01G+A*11:01").exits(1)
	require.Contains(t, refused.err, "The typing cannot be read: character 1, “A*02:01G”: The release that is loaded has nothing of this name.")
	require.Contains(t, refused.err, "Did you mean A*02:01:01G?")
	require.Contains(t, m.with("LANG", "zh_CN.UTF-8").run("hla", "explain", "A24:02+A*11:01").exits(1).err, "是否为 A*24:02？")
	require.Contains(t, m.run("hla", "explain", "A*02:01G+A*11:01").exits(1).err, "none is loaded")
	require.Contains(t, m.run("hla", "explain", "--hla", m.dir, "A*02:01+A*11:01").exits(3).err, "Allele_status.txt")
	m.run("hla", "explain").exits(80)
}

func TestAReleaseAndATableOfCodesAreLoadedIntoTheRegister(t *testing.T) {
	t.Parallel()
	i := install(t)
	old, since, codes := i.release("old", "3.57.0", false), i.release("since", "3.64.0", true), i.file("alpha.v3.gz", "CODE\tSUBTYPE\nAB\t01/05\n")
	require.Contains(t, i.run("hla", "load").exits(3).err, "--dir, --codes: name a folder")
	loaded := i.run("hla", "load", "--dir", old, "--codes", codes).exits(0)
	require.Contains(t, loaded.out, "IPD-IMGT/HLA 3.57.0: 5 alleles, 1 P group.")
	require.Contains(t, loaded.out, "Table of codes alpha.v3: 1 code.")
	require.Contains(t, loaded.out, "Of 0 different typings in the register 0 are read otherwise now")
	require.Contains(t, i.run("hla", "load", "--dir", old).exits(0).out, "and nothing has changed.")
	require.Contains(t, i.with("LANG", "zh_CN.UTF-8").run("hla", "load", "--dir", since).exits(0).out, "IPD-IMGT/HLA 3.64.0：2 个等位基因，0 个 P 组。")
	type line struct {
		registry.Reference
		Fresh   bool
		Typings *registry.TypingReview
	}
	again := result[line](i.run("hla", "load", "--json", "--dir", since).exits(0))
	require.False(t, again.Fresh)
	require.Nil(t, again.Typings)

	list := strings.Split(strings.TrimSpace(i.run("hla", "list").exits(0).out), "\n")
	require.Len(t, list, 3)
	for n, says := range []string{`^\* release +3\.57\.0 +5 `, `^\* codes +alpha\.v3 +1 `, `^\* release +3\.64\.0 +2 `} {
		require.Regexp(t, says, list[n])
	}
	// What was loaded is what explain reads by, where it is given nothing else.
	require.Contains(t, i.run("hla", "explain", "A*02:AB+A*11:01").exits(0).out, "left out, because the release does not have it: A*02:05")
	require.Contains(t, i.run("hla", "explain", "hla#3.57.0#A*02:05+A*11:01").exits(0).out, "read by release 3.57.0: the current one has no such name")
	require.Contains(t, i.run("hla", "explain", "--codes", i.file("own.txt", "XY\t01/05\n"), "A*02:XY+A*11:01").exits(0).out, "table of codes line 1")

	require.NoError(t, os.WriteFile(filepath.Join(old, "wmda", "hla_nom_p.txt"), []byte("A*;02:01\n"), 0o600))
	refused := i.run("hla", "load", "--dir", old).exits(1)
	require.Contains(t, refused.err, "The files cannot be read: hla_nom_p.txt, line 1:")
	require.Contains(t, refused.err, "Nothing was loaded.")
	require.Contains(t, i.run("hla", "load", "--dir", i.dir).exits(1).err, "there is no file")
	require.Len(t, strings.Split(strings.TrimSpace(i.run("hla", "list", "--json").exits(0).out), "\n"), 3)
}
