package hla_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
)

func mustAllele(t require.TestingT, text string) hla.Allele {
	a, err := hla.ParseAllele(text)
	require.NoError(t, err)
	return a
}

// alleleForm is the whole language of ParseAllele in one expression, to hold the reader against.
var alleleForm = regexp.MustCompile(
	`^(HLA-)?(A|C|B|DRB[1345]|DQA1|DQB1|DPA1|DPB1|E)\*(0[1-9]|[1-9][0-9]{1,3})(:(0[1-9]|[1-9][0-9]{1,3})){1,3}[NLSCAQ]?$`)

// names draws canonical allele names; from a small world when close is set, so that equal ones turn up.
func names(locus hla.Locus, close bool) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		limit := 9999
		if close {
			limit = 2
		}
		var fields []string
		for range rapid.IntRange(2, 4).Draw(t, "fields") {
			fields = append(fields, fmt.Sprintf("%02d", rapid.IntRange(1, limit).Draw(t, "field")))
		}
		suffix := rapid.SampledFrom([]string{"", "", "N", "L", "S", "C", "A", "Q"}).Draw(t, "suffix")
		return string(locus) + "*" + strings.Join(fields, ":") + suffix
	})
}

func anyLocus() *rapid.Generator[hla.Locus] { return rapid.SampledFrom(hla.Loci()) }

func TestTheOrderOfLociIsFixedAndCannotBeChangedByACaller(t *testing.T) {
	want := []hla.Locus{"A", "C", "B", "DRB1", "DRB3", "DRB4", "DRB5", "DQA1", "DQB1", "DPA1", "DPB1", "E"}
	require.Equal(t, want, hla.Loci())
	hla.Loci()[0] = "F"
	require.Equal(t, want, hla.Loci())
	for _, locus := range want {
		require.True(t, locus.Valid())
	}
	for _, locus := range []hla.Locus{"", "a", "F", "HLA-A", "DRB2"} {
		require.False(t, locus.Valid(), locus)
	}
}

func TestAnAlleleNameIsReadIntoItsParts(t *testing.T) {
	for _, c := range []struct {
		text, canonical string
		locus           hla.Locus
		fields          []string
		null            bool
		twoField        string
	}{
		{"A*02:01", "A*02:01", hla.A, []string{"02", "01"}, false, "A*02:01"},
		{"HLA-A*02:01:01:01", "A*02:01:01:01", hla.A, []string{"02", "01", "01", "01"}, false, "A*02:01"},
		{"B*15:1001:01", "B*15:1001:01", hla.B, []string{"15", "1001", "01"}, false, "B*15:1001"},
		{" DPB1*1001:01\t", "DPB1*1001:01", hla.DPB1, []string{"1001", "01"}, false, "DPB1*1001:01"},
		{"A*02:01N", "A*02:01N", hla.A, []string{"02", "01"}, true, "A*02:01N"},
		{"A*01:01:01:02N", "A*01:01:01:02N", hla.A, []string{"01", "01", "01", "02"}, true, "A*01:01N"},
		{"A*24:02:01:02L", "A*24:02:01:02L", hla.A, []string{"24", "02", "01", "02"}, false, "A*24:02"},
		{"B*44:02:01:02S", "B*44:02:01:02S", hla.B, []string{"44", "02", "01", "02"}, false, "B*44:02"},
		{"A*32:11Q", "A*32:11Q", hla.A, []string{"32", "11"}, false, "A*32:11"},
		{"C*01:121C", "C*01:121C", hla.C, []string{"01", "121"}, false, "C*01:121"},
		{"DQB1*02:01A", "DQB1*02:01A", hla.DQB1, []string{"02", "01"}, false, "DQB1*02:01"},
	} {
		a := mustAllele(t, c.text)
		require.Equal(t, c.canonical, a.String())
		require.Equal(t, c.locus, a.Locus())
		require.Equal(t, c.fields, a.Fields())
		require.Equal(t, c.null, a.Null(), c.text)
		require.Equal(t, c.twoField, a.TwoField().String())
	}
}

func TestTheZeroAlleleHasNoParts(t *testing.T) {
	var a hla.Allele
	require.Empty(t, a.String())
	require.Empty(t, a.Locus())
	require.Empty(t, a.Fields())
	require.False(t, a.Null())
	require.Equal(t, a, a.TwoField())
}

// refusals of one name; the position is that of the name itself.
var alleleRefusals = []struct {
	text   string
	reason hla.Reason
	locus  hla.Locus
}{
	{"", hla.ReasonEmpty, ""},
	{"A*24", hla.ReasonOneField, hla.A},
	{"DPB1*104", hla.ReasonOneField, hla.DPB1},
	{"HLA-DRB1*15:XX", hla.ReasonXX, hla.DRB1},
	{"A*24:02:01G", hla.ReasonGroup, hla.A},
	{"C*07:01g", hla.ReasonGroup, hla.C},
	{"HLA-A*24:02P", hla.ReasonGroup, hla.A},
	{"B*40:MUD", hla.ReasonMAC, hla.B},
	{"DRB1*13:FSWD", hla.ReasonMAC, hla.DRB1},
	{"A24", hla.ReasonSerology, hla.A},
	{"HLA-B51", hla.ReasonSerology, hla.B},
	{"Bw4", hla.ReasonSerology, hla.B},
	{"Cw7", hla.ReasonSerology, hla.C},
	{"A2403", hla.ReasonSerology, hla.A},
	{"DR17(3)", hla.ReasonSerology, hla.DRB1},
	{"DR51", hla.ReasonSerology, hla.DRB5},
	{"DR52", hla.ReasonSerology, hla.DRB3},
	{"DRw53", hla.ReasonSerology, hla.DRB4},
	{"DQ7", hla.ReasonSerology, hla.DQB1},
	{"DPw4", hla.ReasonSerology, hla.DPB1},
	{"C*UUUU", hla.ReasonNoAllele, hla.C},
	{"DRB3*XXXX", hla.ReasonNoAllele, hla.DRB3},
	{"DRB4*NNNN", hla.ReasonNoAllele, hla.DRB4},
	{"B*NEW", hla.ReasonNoAllele, hla.B},
	{"B*15:NEW", hla.ReasonNoAllele, hla.B},
	{"F*24:03", hla.ReasonLocus, ""},
	{"DRB2*24:03", hla.ReasonLocus, ""},
	{"Cw*07:02", hla.ReasonLocus, ""},
	{"DRB1", hla.ReasonMalformed, ""},
	{"*24:03", hla.ReasonMalformed, ""},
	{"hla-a*24:03", hla.ReasonMalformed, ""},
	{"A *24:03", hla.ReasonMalformed, ""},
	{"A0201", hla.ReasonMalformed, ""},
	{"A24:03", hla.ReasonMalformed, ""},
	{"HLA-HLA-A*24:03", hla.ReasonMalformed, ""},
	{"A*", hla.ReasonMalformed, hla.A},
	{"A*2403", hla.ReasonMalformed, hla.A},
	{"A*24:3", hla.ReasonMalformed, hla.A},
	{"A*24:003", hla.ReasonMalformed, hla.A},
	{"A*24:00", hla.ReasonMalformed, hla.A},
	{"A*24:10000", hla.ReasonMalformed, hla.A},
	{"A*24:03:", hla.ReasonMalformed, hla.A},
	{"A*24:03:01:01:01", hla.ReasonMalformed, hla.A},
	{"A*24:03X", hla.ReasonMalformed, hla.A},
	{"A*24:03n", hla.ReasonMalformed, hla.A},
	{"A*24:03NN", hla.ReasonMalformed, hla.A},
	{"A*24:N", hla.ReasonMalformed, hla.A},
	{"A*24N", hla.ReasonMalformed, hla.A},
	{"A*24: 03", hla.ReasonMalformed, hla.A},
	{"A*24：03", hla.ReasonMalformed, hla.A},
	{"A*２４:03", hla.ReasonMalformed, hla.A},
}

func TestWhatIsNoAlleleIsRefusedWithItsReasonItsLocusAndWhatWasRead(t *testing.T) {
	for _, c := range alleleRefusals {
		_, err := hla.ParseAllele("　 " + c.text + " ") // the ideographic space is one character of three bytes
		var refused *hla.Error
		require.ErrorAs(t, err, &refused, c.text)
		require.Equal(t, c.reason, refused.Reason, c.text)
		require.Equal(t, c.locus, refused.Locus, c.text)
		require.Equal(t, c.text, refused.Read)
		require.NotEmpty(t, refused.Text)
		if c.text != "" {
			require.Equal(t, 3, refused.Position, c.text)
		}
	}
}

func TestAGroupIsExplainedInPlainWords(t *testing.T) {
	_, err := hla.ParseAllele("A*24:02:01G")
	require.EqualError(t, err,
		"hla: the text at character 1, locus A, is a G group; this register takes alleles of two or more fields")
	_, err = hla.ParseAllele("A*24:02P")
	require.ErrorContains(t, err, "is a P group")
	_, err = hla.ParseAllele("F*01:03")
	for _, locus := range hla.Loci() {
		require.ErrorContains(t, err, string(locus))
	}
}

func TestWhatWasReadStaysOutOfTheErrorsText(t *testing.T) {
	for _, c := range alleleRefusals {
		_, err := hla.ParseAllele(c.text)
		if len(c.text) < 3 || c.text == "DRB1" { // the locus alone is named
			continue
		}
		for _, print := range []string{"%s", "%v", "%+v", "%q", "%#v"} {
			require.NotContains(t, fmt.Sprintf(print, err), c.text)
		}
		encoded, jsonErr := json.Marshal(err)
		require.NoError(t, jsonErr)
		require.NotContains(t, string(encoded), c.text)
	}
}

func TestPrintingAndReadingAnAlleleGivesItBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := names(anyLocus().Draw(t, "locus"), false).Draw(t, "name")
		a := mustAllele(t, name)
		require.Equal(t, name, a.String())
		require.Equal(t, a, mustAllele(t, "HLA-"+name))
		two := a.TwoField()
		require.Equal(t, two, two.TwoField())
		require.Equal(t, two, mustAllele(t, two.String()))
		require.Equal(t, a.Null(), two.Null())
	})
}

func TestTwoAllelesAreEqualExactlyWhenTheirNamesAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		locus := anyLocus().Draw(t, "locus")
		x, y := names(locus, true).Draw(t, "x"), names(locus, true).Draw(t, "y")
		require.Equal(t, x == y, mustAllele(t, x) == mustAllele(t, y))
	})
}

// requireSound checks what holds for every refusal: it is an *Error that points at what it read.
func requireSound(t *testing.T, text string, err error) {
	var refused *hla.Error
	require.ErrorAs(t, err, &refused)
	require.NotEmpty(t, refused.Reason)
	require.NotEmpty(t, refused.Text)
	if refused.Locus != "" {
		require.True(t, refused.Locus.Valid())
	}
	at := 0
	for range refused.Position - 1 {
		_, size := utf8.DecodeRuneInString(text[at:])
		at += size
	}
	require.True(t, strings.HasPrefix(text[at:], refused.Read))
	blind := *refused
	blind.Read = ""
	require.Equal(t, blind.Error(), refused.Error())
}

func FuzzParseAllele(f *testing.F) {
	for _, c := range alleleRefusals {
		f.Add(c.text)
	}
	for _, text := range []string{"A*02:01", "HLA-DRB1*15:01:01:01", " B*07:02 ", "A*01:01:01:02N", "C*01:121Q"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := hla.ParseAllele(text)
		trimmed := strings.TrimSpace(text)
		require.Equal(t, alleleForm.MatchString(trimmed), err == nil)
		if err != nil {
			require.Zero(t, a)
			requireSound(t, text, err)
			return
		}
		require.Equal(t, strings.TrimPrefix(trimmed, "HLA-"), a.String())
	})
}
