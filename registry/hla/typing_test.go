package hla_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
)

func mustTyping(t require.TestingT, gl string) hla.Typing {
	typing, err := hla.ParseTyping(gl)
	require.NoError(t, err)
	return typing
}

func oneCopy(locus hla.Locus) bool {
	return strings.HasPrefix(string(locus), "DRB") && locus != hla.DRB1
}

// genotypes draws, for some loci, the names of the copies.
func genotypes() *rapid.Generator[map[hla.Locus][]string] {
	return rapid.Custom(func(t *rapid.T) map[hla.Locus][]string {
		drawn := map[hla.Locus][]string{}
		for _, locus := range rapid.SliceOfNDistinct(anyLocus(), 1, -1, rapid.ID).Draw(t, "loci") {
			copies := 2
			if oneCopy(locus) {
				copies = rapid.IntRange(1, 2).Draw(t, "copies")
			}
			for range copies {
				drawn[locus] = append(drawn[locus], names(locus, true).Draw(t, "name"))
			}
		}
		return drawn
	})
}

// written draws one of the many ways to write the genotypes.
func written(t *rapid.T, genotypes map[hla.Locus][]string) string {
	space := rapid.SampledFrom([]string{"", "", " ", "  ", "\t", "　"})
	var order []hla.Locus
	for locus := range genotypes {
		order = append(order, locus)
	}
	slices.Sort(order)
	var parts []string
	for _, locus := range rapid.Permutation(order).Draw(t, "order") {
		var copies []string
		for _, name := range rapid.Permutation(genotypes[locus]).Draw(t, "copies") {
			prefix := rapid.SampledFrom([]string{"", "HLA-"}).Draw(t, "prefix")
			copies = append(copies, space.Draw(t, "space")+prefix+name+space.Draw(t, "space"))
		}
		parts = append(parts, strings.Join(copies, "+"))
	}
	return strings.Join(parts, "^")
}

func TestATypingIsPrintedInOneWayOnly(t *testing.T) {
	for _, c := range []struct{ written, canonical string }{
		{"A*02:01+A*01:01", "HLA-A*01:01+HLA-A*02:01"},
		{"B*07:02+B*07:02^HLA-A*01:01 + A*02:01", "HLA-A*01:01+HLA-A*02:01^HLA-B*07:02+HLA-B*07:02"},
		{"DRB1*15:01+DRB1*03:01 ^ B*08:01+B*07:02 ^ C*07:01+C*07:02", "HLA-C*07:01+HLA-C*07:02^HLA-B*07:02+HLA-B*08:01^HLA-DRB1*03:01+HLA-DRB1*15:01"},
		{"DRB5*01:01^DRB3*02:02+DRB3*01:01", "HLA-DRB3*01:01+HLA-DRB3*02:02^HLA-DRB5*01:01"},
		{"A*02:101+A*02:11", "HLA-A*02:11+HLA-A*02:101"},
		{"A*01:01:01+A*01:01", "HLA-A*01:01+HLA-A*01:01:01"},
		{"A*01:01N+A*01:01", "HLA-A*01:01+HLA-A*01:01N"},
	} {
		require.Equal(t, c.canonical, mustTyping(t, c.written).String())
	}
}

func TestATypingAnswersForItsLoci(t *testing.T) {
	typing := mustTyping(t, "DRB4*01:03^A*24:02+A*11:01^B*40:01+B*40:01")
	require.Equal(t, []hla.Locus{hla.A, hla.B, hla.DRB4}, typing.Loci())

	pair, ok := typing.At(hla.A)
	require.True(t, ok)
	require.Equal(t, [2]hla.Allele{mustAllele(t, "A*11:01"), mustAllele(t, "A*24:02")}, pair)
	pair, ok = typing.At(hla.B)
	require.True(t, ok)
	require.Equal(t, pair[0], pair[1])
	pair, ok = typing.At(hla.DRB4)
	require.True(t, ok)
	require.Equal(t, [2]hla.Allele{mustAllele(t, "DRB4*01:03"), {}}, pair)
	for _, locus := range []hla.Locus{hla.C, "F", ""} {
		pair, ok = typing.At(locus)
		require.False(t, ok)
		require.Zero(t, pair)
	}

	require.True(t, typing.Has())
	require.True(t, typing.Has(hla.A, hla.B))
	require.False(t, typing.Has(hla.A, hla.C))
	require.Equal(t, []hla.Locus{hla.DRB1, hla.C}, typing.Missing([]hla.Locus{hla.DRB1, hla.A, hla.C, hla.B}))
	require.Empty(t, typing.Missing([]hla.Locus{hla.B, hla.A}))
}

// refusals of a whole GL String; read is what the position points at.
var typingRefusals = []struct {
	text     string
	reason   hla.Reason
	locus    hla.Locus
	position int
	read     string
}{
	{"", hla.ReasonEmpty, "", 1, ""},
	{"  ", hla.ReasonEmpty, "", 1, ""},
	{"A*11:01+", hla.ReasonEmpty, "", 9, ""},
	{"A*11:01+A*24:02^", hla.ReasonEmpty, "", 17, ""},
	{"^A*11:01+A*24:02", hla.ReasonEmpty, "", 1, ""},
	{"A*11:01++A*24:02", hla.ReasonEmpty, "", 9, ""},
	{"A*11:01+A*24:02^^B*40:01+B*40:01", hla.ReasonEmpty, "", 17, ""},
	{"A*11:01/A*11:02+A*24:02", hla.ReasonAmbiguous, hla.A, 8, "/"},
	{"A*11:01 /11:02+A*24:02", hla.ReasonAmbiguous, hla.A, 9, "/"},
	{"A*11:01+A*24:02|A*11:02+A*24:03", hla.ReasonAmbiguous, hla.A, 16, "|"},
	{"A*11:01~B*40:01+A*24:02~B*51:01", hla.ReasonAmbiguous, hla.A, 8, "~"},
	{"DRB3*01:01?DRB4*01:03", hla.ReasonAmbiguous, hla.DRB3, 11, "?"},
	{"A*11:01+A*24:02^B*40:01 + B*51:01 / B*51:02", hla.ReasonAmbiguous, hla.B, 35, "/"},
	{"A*11:01", hla.ReasonSingle, hla.A, 1, "A*11:01"},
	{"A*11:01+A*24:02^ DRB1*09:01 ", hla.ReasonSingle, hla.DRB1, 18, "DRB1*09:01"},
	{"A*11:01+A*24:02+A*02:07", hla.ReasonCopies, hla.A, 17, "A*02:07"},
	{"DRB3*01:01+DRB3*02:02+DRB3*03:01", hla.ReasonCopies, hla.DRB3, 23, "DRB3*03:01"},
	{"A*11:01+B*40:01", hla.ReasonMixed, hla.B, 9, "B*40:01"},
	{"DRB3*01:01+DRB4*01:03", hla.ReasonMixed, hla.DRB4, 12, "DRB4*01:03"},
	{"A*11:01+A*24:02+B*40:01", hla.ReasonMixed, hla.B, 17, "B*40:01"},
	{"A*11:01+A*24:02^A*11:01+A*24:02", hla.ReasonDuplicate, hla.A, 17, "A*11:01"},
	{"DRB3*01:01^DRB3*02:02", hla.ReasonDuplicate, hla.DRB3, 12, "DRB3*02:02"},
	{"A*11:01+A*24:02^B*40:01+B*40:MUD", hla.ReasonMAC, hla.B, 25, "B*40:MUD"},
	{"A*11:01+A*24:02^　B*40:01+　B*51", hla.ReasonOneField, hla.B, 27, "B*51"},
	{"A*11:01+24:02", hla.ReasonMalformed, "", 9, "24:02"},
	{"A*11:01,A*24:02", hla.ReasonMalformed, hla.A, 1, "A*11:01,A*24:02"},
	{"A11,A24", hla.ReasonMalformed, "", 1, "A11,A24"},
	{"hla#3.52.0#A*11:01+A*24:02", hla.ReasonMalformed, "", 1, "hla#3.52.0#A*11:01"},
}

func TestAFaultyTypingIsRefusedWhereTheFirstFaultStands(t *testing.T) {
	for _, c := range typingRefusals {
		typing, err := hla.ParseTyping(c.text)
		require.Zero(t, typing)
		var refused *hla.Error
		require.ErrorAs(t, err, &refused, c.text)
		require.Equal(t, c.reason, refused.Reason, c.text)
		require.Equal(t, c.locus, refused.Locus, c.text)
		require.Equal(t, c.position, refused.Position, c.text)
		require.Equal(t, c.read, refused.Read, c.text)
	}
}

func TestAGLStringCodeGivesItsVersionAndItsTyping(t *testing.T) {
	for _, text := range []string{
		"hla#3.52.0#A*24:02+A*11:01",
		" hla # 3.52.0 # HLA-A*11:01 + HLA-A*24:02 ",
	} {
		version, typing, err := hla.ParseCode(text)
		require.NoError(t, err)
		require.Equal(t, "3.52.0", version)
		require.Equal(t, mustTyping(t, "A*11:01+A*24:02"), typing)
		require.Equal(t, "hla#3.52.0#HLA-A*11:01+HLA-A*24:02", typing.Code(version))
	}
}

func TestAFaultyGLStringCodeIsRefusedWhereTheFaultStands(t *testing.T) {
	for _, c := range []struct {
		text     string
		reason   hla.Reason
		position int
		read     string
	}{
		{"", hla.ReasonCode, 1, ""},
		{" A*11:01+A*24:02", hla.ReasonCode, 2, "A*11:01+A*24:02"},
		{"hla#A*11:01+A*24:02", hla.ReasonCode, 1, "hla#A*11:01+A*24:02"},
		{"kir#2.7.1#KIR2DL5A*001", hla.ReasonCode, 1, "kir"},
		{"HLA#3.52.0#A*11:01+A*24:02", hla.ReasonCode, 1, "HLA"},
		{"hla##A*11:01+A*24:02", hla.ReasonVersion, 5, ""},
		{"hla#3.52#A*11:01+A*24:02", hla.ReasonVersion, 5, "3.52"},
		{"hla# 2024-13-01#A*11:01+A*24:02", hla.ReasonVersion, 6, "2024-13-01"},
		{"hla#3.52.0#", hla.ReasonEmpty, 12, ""},
		{"hla#3.52.0#A*11:01+A*24", hla.ReasonOneField, 20, "A*24"},
		{"hla#3.52.0#A*11:01+A*24:02#", hla.ReasonMalformed, 20, "A*24:02#"},
		{"hla#3.52.0#A*11:01/A*11:02+A*24:02", hla.ReasonAmbiguous, 19, "/"},
	} {
		version, typing, err := hla.ParseCode(c.text)
		require.Empty(t, version)
		require.Zero(t, typing)
		var refused *hla.Error
		require.ErrorAs(t, err, &refused, c.text)
		require.Equal(t, c.reason, refused.Reason, c.text)
		require.Equal(t, c.position, refused.Position, c.text)
		require.Equal(t, c.read, refused.Read, c.text)
	}
}

func TestAVersionIsAWholeReleaseOrADate(t *testing.T) {
	for _, version := range []string{"3.52.0", "1.05.0", "3.33.0", "2018", "2018-06", "2018-03-01", "2024-02-29"} {
		require.True(t, hla.ValidVersion(version), version)
	}
	for _, version := range []string{"", "3", "3.52", "3.52.0.1", "v3.52.0", "3.52.0 ", "2023-02-29", "2018-6", "20180301", "latest", "3.52.0\n"} {
		require.False(t, hla.ValidVersion(version), version)
	}
}

func TestPrintingAndReadingATypingGivesItBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typing := mustTyping(t, written(t, genotypes().Draw(t, "genotypes")))
		require.Equal(t, typing, mustTyping(t, typing.String()))

		version, again, err := hla.ParseCode(typing.Code("3.52.0"))
		require.NoError(t, err)
		require.Equal(t, "3.52.0", version)
		require.True(t, typing == again)
	})
}

func TestTypingsAreEqualHoweverTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := genotypes().Draw(t, "genotypes")
		first, second := mustTyping(t, written(t, drawn)), mustTyping(t, written(t, drawn))
		require.True(t, first == second)
		require.Len(t, first.Loci(), len(drawn))
		for locus, copies := range drawn {
			pair, ok := first.At(locus)
			require.True(t, ok)
			var read []string
			for _, a := range pair[:len(copies)] {
				read = append(read, a.String())
			}
			require.ElementsMatch(t, copies, read)
		}
	})
}

func TestATypingTravelsThroughJSONEvenWhenNothingIsTyped(t *testing.T) {
	type record struct {
		Typing hla.Typing `json:"typing"`
	}
	for _, typing := range []hla.Typing{{}, mustTyping(t, "A*11:01+A*24:02^DRB3*01:01")} {
		encoded, err := json.Marshal(record{typing})
		require.NoError(t, err)
		decoded := record{mustTyping(t, "B*40:01+B*51:01")}
		require.NoError(t, json.Unmarshal(encoded, &decoded))
		require.Equal(t, typing, decoded.Typing)
	}
	decoded := record{mustTyping(t, "B*40:01+B*51:01")}
	var refused *hla.Error
	require.ErrorAs(t, json.Unmarshal([]byte(`{"typing":"A*11:01+A*24"}`), &decoded), &refused)
	require.Equal(t, hla.ReasonOneField, refused.Reason)
	require.Equal(t, "HLA-B*40:01+HLA-B*51:01", decoded.Typing.String())
}

// accepts is ParseTyping's language told by splitting.
func accepts(gl string) bool {
	seen := map[string]bool{}
	for part := range strings.SplitSeq(gl, "^") {
		var locus string
		copies := strings.Split(part, "+")
		for i, name := range copies {
			name = strings.TrimSpace(name)
			if !alleleForm.MatchString(name) {
				return false
			}
			at, _, _ := strings.Cut(strings.TrimPrefix(name, "HLA-"), "*")
			if i > 0 && at != locus {
				return false
			}
			locus = at
		}
		if seen[locus] || len(copies) > 2 || len(copies) < 2 && !oneCopy(hla.Locus(locus)) {
			return false
		}
		seen[locus] = true
	}
	return true
}

func FuzzParseTyping(f *testing.F) {
	for _, c := range typingRefusals {
		f.Add(c.text)
	}
	f.Add("A*11:01+A*24:02^C*07:02+C*07:02^B*40:01+B*51:01^DRB1*09:01+DRB1*15:01:01:01^DRB5*01:01N")
	f.Add("\x80\x80 A*11:01 + A*24:02")
	f.Fuzz(func(t *testing.T, text string) {
		typing, err := hla.ParseTyping(text)
		require.Equal(t, accepts(text), err == nil)
		if err != nil {
			require.Zero(t, typing)
			requireSound(t, text, err)
			return
		}
		require.Equal(t, typing, mustTyping(t, typing.String()))
	})
}

func FuzzParseCode(f *testing.F) {
	for _, text := range []string{
		"hla#3.52.0#HLA-A*11:01+HLA-A*24:02", "hla#2018-06#DRB3*01:01", "hla#3.52#A*11:01", "kir#2.3#x", "hla##", "#", "",
		" hla # 3.52.0 # A*11:01 + A*24:02 ",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		version, typing, err := hla.ParseCode(text)
		parts := strings.SplitN(text, "#", 3)
		want := len(parts) == 3 && strings.TrimSpace(parts[0]) == "hla" && hla.ValidVersion(strings.TrimSpace(parts[1])) && accepts(parts[2])
		require.Equal(t, want, err == nil)
		if err != nil {
			require.Empty(t, version)
			require.Zero(t, typing)
			requireSound(t, text, err)
			return
		}
		again, same, err := hla.ParseCode(typing.Code(version))
		require.NoError(t, err)
		require.Equal(t, version, again)
		require.Equal(t, typing, same)
	})
}
