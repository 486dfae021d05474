package main_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const smallInventory = `<?xml version="1.0" encoding="UTF-8"?>
<INVENTORIES><INVENTORY LISTING_ORGANIZATION="2197" POOL="2197" CONTENT_TYPE="D" UPDATE_MODE="FULL" SNAPSHOT_TIME="2026-01-02T03:04:05Z" SCHEMA_VERSION="2.2">
<DONOR><ID>D1</ID><SEX>F</SEX><HLA><A><DNA><FIELD1>01:01</FIELD1><FIELD2>02:AB</FIELD2></DNA></A><B><SER><FIELD1>7</FIELD1><FIELD2>8</FIELD2></SER></B></HLA><KIR><X>1</X></KIR></DONOR>
<DONOR><ID>D2</ID><SEX>X` + "&#x9;" + `</SEX></DONOR>
<DONOR><ID>D3</ID><HLA><A><DNA><FIELD1>01:01</FIELD1></DNA></A></HLA></DONOR>
</INVENTORY></INVENTORIES>`

func TestDonorsAreConvertedFromFormatToFormat(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	file := m.file("inventory.xml.gz", smallInventory)
	for to, want := range map[string]string{
		"gl":         "D1%A*01:01+A*02:AB^B7+B8\nD3%A*01:01+A*01:01\n",
		"mv4-csv":    "DONOR_ID,A1,A2,B1,B2,C1,C2,DRB11,DRB12,DQB11,DQB12,DONOR_TYPE,HF_SET\nD1,01:01,02:AB,7,8,,,,,,,D,\nD3,01:01,01:01,,,,,,,,,D,\n",
		"atlas-json": `{"updateMode":"full","donors":[` + "\n" + `{"recordId":"D1","changeType":"NU","donorType":"D","donPool":"2197","ethn":null,"hla":{"a":{"dna":{"field1":"01:01","field2":"02:AB"},"ser":{"field1":null,"field2":null}},"b":{"dna":{"field1":null,"field2":null},"ser":{"field1":"7","field2":"8"}},"drb1":{"dna":{"field1":null,"field2":null},"ser":{"field1":null,"field2":null}}}},` + "\n",
	} {
		s := m.run("match", "convert", "--to", to, file).exits(2)
		require.True(t, strings.HasPrefix(s.out, want), s.out)
		require.Contains(t, s.err, "donor 2 D2: SEX “X”: This is none of the values")
		require.Contains(t, s.err, "1 person could not be read")
		require.Contains(t, s.err, "read over, because nothing here has a place for it: KIR (1).")
		require.Contains(t, s.err, "Not written, because "+to+" has no field for it:")
		require.Contains(t, s.err, "SEX (1)")
	}
	require.Contains(t, m.with("LANG", "zh_CN.UTF-8").run("match", "convert", "--to", "gl", file).exits(2).err, "第 2 名捐献者 D2：SEX “X”：该字段不能取这个值。")

	// There and back again.
	atlas := m.file("atlas.json", m.run("match", "convert", "--from", "wmda-xml", "--to", "atlas-json", file).exits(2).out)
	xml := m.file("again.xml", m.run("match", "convert", "--to", "wmda-xml", atlas).exits(0).out)
	require.Equal(t, "D1%A*01:01+A*02:AB^B7+B8\nD3%A*01:01+A*01:01\n", m.run("match", "convert", "--to", "gl", xml).exits(0).out)
}

func TestAConversionSaysWhatCannotBe(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	lists := m.file("people.txt", "D1%A*01:01+A*02:01\nD2%A*01:01+A*02:01|A*03:01+A*11:01\n")
	s := m.run("match", "convert", "--to", "mv4-csv", lists).exits(2)
	require.Contains(t, s.out, "\nD1,01:01,02:01,,,,,,,,,D,\n")
	require.NotContains(t, s.out, "D2")
	require.Contains(t, s.err, "donor 2 D2: HLA “A*01:01+A*02:01|A*03:01+A*11:01”: The format cannot hold such a typing")

	broken := m.file("broken.xml", strings.Replace(smallInventory, "</INVENTORY>", "", 1))
	s = m.run("match", "convert", "--to", "gl", broken).exits(1)
	require.Contains(t, s.err, "line 6: is not well-formed XML")
	require.Contains(t, s.out, "D3%", "who was read before is printed")
	m.run("match", "convert", "--to", "gl", "--from", "atlas-json", lists).exits(1)
	m.run("match", "convert", "--to", "word", lists).exits(80)
	check := m.file("check.json", `{"updateMode":"check","donors":[]}`)
	require.Contains(t, m.run("match", "convert", "--to", "wmda-xml", check).exits(3).err, "--to")
	empty := m.file("empty.txt", "")
	require.Equal(t, "DONOR_ID,A1,A2,B1,B2,C1,C2,DRB11,DRB12,DQB11,DQB12,DONOR_TYPE,HF_SET\n", m.run("match", "convert", "--to", "mv4-csv", empty).exits(0).out)
}
