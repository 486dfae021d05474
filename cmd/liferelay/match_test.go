package main_test

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func (m *machine) file(name, content string) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if !strings.HasSuffix(name, ".gz") {
		require.NoError(m.t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	file, err := os.Create(path)
	require.NoError(m.t, err)
	z := gzip.NewWriter(file)
	_, err = z.Write([]byte(content))
	require.NoError(m.t, err)
	require.NoError(m.t, z.Close())
	require.NoError(m.t, file.Close())
	return path
}

func TestChancesAreWrittenAsTheConsensusFileHasThem(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	frequencies := m.file("freqs.txt", "A*01:01g~C*07:01~B*08:01~DRB1*03:01~DQB1*02:01;0.6\nA*02:01~C*07:02~B*07:02~DRB1*15:01~DQB1*06:02;0.4\n")
	patients := m.file("pat.txt.gz", "P1%A*01:01+A*02:01\nP2%A*01:XX+A*01:XX\nP3%A*02:AB+A*02:01\n")
	donors := m.file("don.txt", "D1%A*01:01+A*02:01\nD2%A*01:01+A*01:01^F*01:01+F*01:01\nD3%A*01:01+A*09:09\n")
	line := []string{"match", "wmda", "--patients", patients, "--donors", donors, "--frequencies", frequencies}

	all := m.run(line...).exits(2)
	require.Equal(t, strings.Join([]string{
		"P1;D1;A;100;A;100;A;100;A;100;A;100;0;100", "P1;D3;M;;P;;P;;P;;P;;;",
		"P2;D1;M;0;M;0;M;0;M;0;M;0;0;0", "P2;D3;M;;P;;P;;P;;P;;;", "",
	}, "\n"), all.out)
	require.Contains(t, all.err, "line 3, P3: character 1, “A*02:AB”: This can be read by a nomenclature release or a table of codes only")
	require.Contains(t, all.err, "line 2, D2: character 17, “F*01:01”: This locus is not kept")
	require.Contains(t, all.err, "1 person has a typing that no two haplotypes")
	require.Contains(t, all.err, "2 people could not be read")
	require.Contains(t, m.with("LANG", "zh_CN.UTF-8").run(line...).exits(2).err, "第 3 行，P3：第 1 个字符，“A*02:AB”：须有命名版本或码表才能读取")

	one := m.run("match", "wmda", "--patients", patients, "--patient", "P2", "--donors", m.file("one.txt", "D1%A*01:01+A*02:01\n"), "--frequencies", frequencies).exits(0)
	require.Equal(t, "P2;D1;M;0;M;0;M;0;M;0;M;0;0;0\n", one.out)
	coded := m.run(append(line, "--patient", "P3", "--codes", m.file("codes.txt", "LAST UPDATED\nCODE\tSUBTYPE\n\nAB\t01/02\n"))...).exits(2)
	require.Contains(t, coded.out, "P3;D1;M;0;")
	require.Contains(t, m.run(append(line, "--patient", "P9")...).exits(3).err, "there is no patient P9")
	require.NotContains(t, m.run(append(line, "--patient", "P3")...).exits(2).err, "there is no patient")
	require.Contains(t, m.run("match", "wmda", "--patients", patients, "--donors", donors, "--frequencies", donors).exits(3).err, "line 1")
	require.Contains(t, m.run(append(line, "--hla", m.dir)...).exits(3).err, "Allele_status.txt")
	m.run(append(line, "--codes", filepath.Join(m.dir, "nothing"))...).exits(80)
}
