package main_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDonorsOfOneFileAreSearchedForThePatientsOfAnother(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	frequencies := m.file("caucasian.txt", "A*01:01g~C*07:01~B*08:01~DRB1*03:01~DQB1*02:01;0.6\nA*02:01~C*07:02~B*07:02~DRB1*15:01~DQB1*06:02;0.4\n")
	patients := m.file("patients.csv", "PATIENT_ID,A1,A2,B1,B2,C1,C2,DRB11,DRB12,DQB11,DQB12,HF_SET\nP1,01:01,02:01,08:01,07:02,,,,,,,X\nP2,01:01,A2,,,,,,,,,X\n")
	donors := m.file("donors.json", `{"updateMode":"diff","donors":[
		{"recordId":"D1","changeType":"N","donorType":"D","donPool":null,"ethn":null,"hla":{"a":{"dna":{"field1":"01:01","field2":"02:01"}},"b":{"dna":{"field1":"08:01","field2":"07:02"}},"drb1":{"dna":{"field1":null}}}},
		{"recordId":"D2","changeType":"N","donorType":"D","donPool":null,"ethn":null,"hla":{"a":{"dna":{"field1":"01:01","field2":"02:XX"}},"b":{"dna":{"field1":"08:01","field2":null}},"drb1":{"dna":{"field1":null}}}},
		{"recordId":"D3","changeType":"N","donorType":"D","donPool":null,"ethn":null,"hla":{"a":{"dna":{"field1":"03:01","field2":"11:01"}},"b":{"dna":{"field1":"35:01","field2":null}},"drb1":{"dna":{"field1":null}}}},
		{"recordId":"D4","changeType":"D","donorType":"D","donPool":null,"ethn":null,"hla":{}},
		{"recordId":"D5","changeType":"N","donorType":"D","donPool":null,"ethn":null,"hla":{"a":{"dna":{"field1":"02:AB","field2":"11:01"}}}}]}`)
	head := "PATIENT_ID,DONOR_ID,A1,A2,B1,B2,C1,C2,DRB11,DRB12,DQB11,DQB12,Count_MM,P8_10,P9_10,P10_10,HF_SET_PATIENT,EXPLAINED_PATIENT,HF_SET_DONOR,EXPLAINED_DONOR"

	line := []string{"match", "search", "--patients", patients, "--donors", donors}
	s := m.run(append(line, "--frequencies", frequencies)...).exits(2)
	require.Equal(t, strings.Join([]string{
		head,
		"P1,D1,A,A,A,A,P,P,P,P,P,P,0,,0,100,caucasian,Y,caucasian,Y",
		"P1,D2,A,P,A,M,P,P,P,P,P,P,1,,,,caucasian,Y,caucasian,N", "",
	}, "\n"), s.out)
	require.Contains(t, s.err, "2 people have typings") // D2 and D3
	require.Contains(t, s.err, "donor 5 D5: character 1, “A*02:AB”")
	require.Contains(t, s.err, "donor 2 P2: A “01:01, A2”: The format cannot hold")

	s = m.run(line...).exits(2)
	require.Contains(t, s.out, "P1,D1,A,A,A,A,P,P,P,P,P,P,0,,,,X,N,,N\n")
	require.Contains(t, s.out, "P1,D2,A,P,A,M,P,P,P,P,P,P,1,,,,X,N,,N\n") // nobody has said what A*02:XX may be
	require.NotContains(t, m.run(append(line, "--policy", "10/10")...).exits(2).out, "D2")
	three := m.file("three.txt", "A*01:01~B*08:01~DRB1*03:01;1\n")
	require.Contains(t, m.run(append(line, "--frequencies", three)...).exits(3).err, "must be of A, B, C, DRB1 and DQB1")
	m.run(append(line, "--policy", "1/10")...).exits(80)
}

func TestEachCopyOfASearchHasItsGrade(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	release := m.release("old", "3.57.0", false)
	for file, more := range map[string]string{"Allele_status.txt": "A*02:06,1,1\n", "wmda/hla_nom_p.txt": "A*;02:06;\n", "wmda/rel_dna_ser.txt": "A*;02:06;2;;;\n"} {
		to, err := os.OpenFile(filepath.Join(release, file), os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = to.WriteString(more)
		require.NoError(t, err)
		require.NoError(t, to.Close())
	}
	patients := m.file("patients.txt", "P1%A*02:01+A*11:01\n")
	donors := m.file("donors.txt", strings.Join([]string{
		"same%A*11:01+A*02:01", "group%A*02:05+A*11:01", "perhaps%A*02:XX+A*11:01", "antigen%A2+A*11:01", "split%A*02:06+A*11:01", "null%A*02:15N+A*11:01", "other%A*11:01+A*11:01", "elsewhere%DPB1*04:01+DPB1*04:01",
	}, "\n"))
	lines := func(more ...string) (out []string) {
		said := m.run(append([]string{"match", "search", "--patients", patients, "--donors", donors}, more...)...).exits(0)
		for line := range strings.SplitSeq(strings.TrimSpace(said.out), "\n") {
			out = append(out, strings.Join(strings.Split(line, ",")[1:4], " "))
		}
		return out[1:]
	}
	// 02:01 and 02:05 are of one P group, 02:06 is of another and of the same antigen.
	fit := []string{"same A A", "group A A", "perhaps P A", "antigen P A"}
	require.Equal(t, append(fit, "split L A", "null M A", "other M A"), lines("--hla", release))
	require.Equal(t, fit, lines("--hla", release, "--policy", "10/10"))
}

// TestTheChancesOfASearchAreThoseOfTheWMDASet holds every line against the consensus of the WMDA's third set, and misses no donor who may fit.
func TestTheChancesOfASearchAreThoseOfTheWMDASet(t *testing.T) {
	t.Parallel()
	folder := os.Getenv("LIFERELAY_DATA")
	if folder == "" {
		folder = filepath.Join("..", "..", "..", "shared", "data")
	}
	set := func(name string) string {
		path, err := filepath.Abs(filepath.Join(folder, "wmda-set3", name))
		require.NoError(t, err)
		if _, err := os.Stat(path); err != nil {
			t.Skipf("wmda-set3/%s is not there; put the data described in CONTRIBUTING.md into a folder and name it in LIFERELAY_DATA", name)
		}
		return path
	}
	unzipped := func(name string) string {
		content, err := os.ReadFile(set(name))
		require.NoError(t, err)
		z, err := gzip.NewReader(bytes.NewReader(content))
		require.NoError(t, err)
		text, err := io.ReadAll(z)
		require.NoError(t, err)
		return string(text)
	}
	m := newMachine(t)
	two := m.file("patients.txt", strings.Join(strings.SplitAfterN(unzipped("pat.gl.txt.gz"), "\n", 3)[:2], ""))
	s := m.run("match", "search", "--patients", two, "--donors", set("don.gl.txt.gz"), "--frequencies", set("freqs.txt")).exits(0)
	rows, err := csv.NewReader(strings.NewReader(s.out)).ReadAll()
	require.NoError(t, err)
	found := map[string][]string{}
	for _, row := range rows[1:] {
		found[row[0]+";"+row[1]] = row
	}
	for line := range strings.SplitSeq(strings.TrimSpace(unzipped("consensus-P000001-P000002.txt.gz")), "\n") {
		want := strings.Split(line, ";")
		row, listed := found[want[0]+";"+want[1]]
		if listed {
			require.Equal(t, want[12:14], row[14:16], line)
		}
		require.True(t, listed || want[12] == "0" && want[13] == "0", line)
	}
	require.Len(t, found, 662)
}
