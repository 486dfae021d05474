package hla_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
)

// older is a release of before: A*24:09N was A*24:09 then, and A*02:05 was an allele.
func older(t testing.TB, version string) *hla.Release {
	t.Helper()
	files := small()
	for name, content := range files {
		files[name] = strings.ReplaceAll(content, "3.99.0", version)
	}
	files["Allele_status.txt"] += "A*02:05,1,1\nA*24:09,1,1\nA*31:01,1,1\n"
	files["wmda/hla_nom_p.txt"] += "A*;24:09/31:01;24:09P\n"
	r, err := hla.LoadRelease(folder(files))
	require.NoError(t, err)
	return r
}

func TestOfSeveralReleasesTheNewestIsCurrentByItsNumbers(t *testing.T) {
	library := hla.NewLibrary(codes(t), older(t, "3.9.0"), mustRelease(t), older(t, "3.100.0"), older(t, "3.9.0"))
	require.Equal(t, []string{"3.100.0", "3.99.0", "3.9.0"}, library.Versions())
	require.Equal(t, "3.100.0", library.Current().Version())
	require.Equal(t, "3.99.0", library.Release("3.99.0").Version())
	require.Nil(t, library.Release("3.98.0"))
	require.Equal(t, 4, library.Codes().Size())
	for _, empty := range []*hla.Library{nil, {}} {
		require.Nil(t, empty.Current())
		require.Nil(t, empty.Codes())
		require.Empty(t, empty.Versions())
		_, err := empty.Reader("3.99.0").Read("A*77:77+A*02:XX")
		require.NoError(t, err)
	}
}

func TestANameThatTheCurrentReleaseHasNoMoreIsReadByTheOneItWasWrittenUnder(t *testing.T) {
	library := hla.NewLibrary(codes(t), older(t, "3.9.0"), mustRelease(t))
	for _, text := range []string{"A*24:09+A*02:01", "A*24:09P+A*02:01", "A*31:XX+A*02:01", "A*02:05/06+A*02:01"} {
		_, err := library.Reader("").Read(text)
		require.Error(t, err, text)
		_, err = library.Reader("2019-03").Read(text)
		require.Error(t, err, text)
		got, err := library.Reader("3.9.0").Read(text)
		require.NoError(t, err, text)
		pair := got.At(hla.A).Pairs[0]
		require.Equal(t, "3.9.0", pair[0].Former, text)
		require.Empty(t, pair[1].Former, "the current release has it: %s", text)
		// A code says itself which release it is of, whatever the reader is for.
		for _, version := range []string{"", "3.99.0"} {
			coded, err := library.Reader(version).Read("hla#3.9.0#" + text)
			require.NoError(t, err)
			require.Equal(t, "3.9.0", coded.Version())
			require.Equal(t, described(got), described(coded))
		}
	}
	_, err := library.Reader("3.9.0").Read("hla#3.99.0#A*24:09+A*02:01")
	require.Error(t, err)
	explained, err := library.Reader("3.9.0").Explain("A*24:09P+A*02:01")
	require.NoError(t, err)
	first := explained.Loci[0].Pairs[0][0]
	require.Equal(t, "3.9.0", first.Names[0].Former)
	require.Equal(t, hla.Source{Release: "3.9.0", File: "hla_nom_p.txt", Line: 8}, first.Names[0].By)
	require.Equal(t, "3.9.0", first.Proteins[0].GroupBy.Release)
}

func TestAGLStringCodeIsReadWithItsVersion(t *testing.T) {
	by := hla.Reader{Release: mustRelease(t), Codes: codes(t)}
	for text, want := range map[string]string{
		"hla#3.52.0#HLA-A*02:01+HLA-A*24:XX":   "3.52.0 A [allele][A*02:01] [xx][A*24:02 A*24:03]",
		" hla # 2024-10-15 # A2+A*24:02":       "2024-10-15 A [antigen][A*02:01 A*02:06] [allele][A*24:02]",
		"ｈｌａ＃3.52.0＃A＊02:01＋A*24:02":           "3.52.0 A [allele][A*02:01] [allele][A*24:02]",
		"A*02:01+A*24:02":                      " A [allele][A*02:01] [allele][A*24:02]",
		"hla#A*02:01+A*24:02":                  "!code 1",
		"kir#3.52.0#A*02:01+A*24:02":           "!code 1",
		"hla#3.52#A*02:01+A*24:02":             "!version 5",
		"hla#3.52.0#":                          "!empty 12",
		"hla#3.52.0#A*02:01+A*02:07":           "!unknown 20",
		"hla#3.52.0#A*02:01+A*24:02#":          "!malformed 20",
		"hla#3.52.0#A*02:01+A*24:02^B*08:01+ ": "!empty 36",
	} {
		got, err := by.Read(text)
		if err != nil {
			var refused *hla.Error
			require.ErrorAs(t, err, &refused)
			require.Equal(t, want, fmt.Sprintf("!%s %d", refused.Reason, refused.Position), text)
			continue
		}
		require.Equal(t, want, got.Version()+" "+described(got), text)
	}
}

func TestWhatWasProbablyMeantIsFound(t *testing.T) {
	full := hla.Reader{Release: mustRelease(t), Codes: codes(t)}
	bare := hla.Reader{}
	for _, c := range []struct {
		by           hla.Reader
		text, wanted string
	}{
		{bare, "A24:02", "A*24:02"},
		{bare, "HLA-A02:01", "A*02:01"},
		{bare, "HLA A*02:01", "A*02:01"},
		{bare, "hla-a*02:01", "A*02:01"},
		{bare, "a*02:01", "A*02:01"},
		{bare, "A*2:1", "A*02:01"},
		{bare, "a2:1", "A*02:01"},
		{bare, "A0201", "A*02:01"},
		{bare, "DRB11501", "DRB1*15:01"},
		{bare, "DRB1:15:01", "DRB1*15:01"},
		{bare, "A*02.01", "A*02:01"},
		{bare, "A*02::01", "A*02:01"},
		{bare, "A-02-01", "A*02:01"},
		{bare, "A* 02:01", "A*02:01"},
		{bare, "A*O2:OI", "A*02:01"},
		{bare, "A*02:0l", "A*02:01"},
		{bare, "AO2:01", "A*02:01"},
		{bare, "A*002:001", "A*02:01"},
		{bare, "DRB*15:01", "DRB1*15:01"},
		{bare, "DQ*03:01", "DQB1*03:01"},
		{bare, "CW*07:02", "C*07:02"},
		{bare, "a*24:02:01:02l", "A*24:02:01:02L"},
		{bare, "A*02:01:01:01:01", "A*02:01:01:01"},
		{bare, "A*02:01g", ""}, // it is in order, and a release is missing
		{bare, "A2", ""},
		{bare, "A*02:AB", ""},
		{bare, "F*01:01", ""},
		{bare, "x", ""},
		{full, "A2402", "A*24:02"},
		{full, "A*201", "A*02:01"},
		{full, "a*02:ab", "A*02:AB"},
		{full, "a*02:01g", "A*02:01g"},
		{full, "A*02:01p", "A*02:01P"},
		{full, "dr17", "DR17"},
		{full, "cw7", "Cw7"},
		{full, "DRB17", "DR17"},
		{full, "DQ17", "DR17"},
		{full, "DRB1*17", "DR17"},
		{full, "B2403", "A2403"},
		{full, "A*02:01G", "A*02:01:01G"},
		{full, "A*02:09G", "A*02:01:01G"},
		{full, "A*02:01:01P", "A*02:01P"},
		{full, "A*02:09P", "A*02:01P"},
		{full, "A*02:01:01g", "A*02:01g"},
		{full, "A*03:MIX", "A*02:MIX"},
		{full, "A*02:15", "A*02:15N"},
		{full, "A*02:06N", "A*02:06"},
		{full, "A*24:20", "A*24:02"},
		{full, "A*02:01:77:01", "A*02:01"},
		{full, "A*02:01:01:77", "A*02:01:01"},
		{full, "A*32:01", "A*23:01"},
		{full, "C*08:02", "C*07:02"},
		{full, "A*24:09", ""}, // A*24:02 or A*24:03
		{full, "A*24:02:99G", ""},
		{full, "A77", ""},
	} {
		_, err := c.by.Read(c.text + "+" + c.text)
		var refused *hla.Error
		require.ErrorAs(t, err, &refused, c.text)
		require.Equal(t, c.wanted, refused.Meant, c.text)
		if c.wanted != "" {
			blind := *refused
			blind.Read, blind.Meant = "", ""
			require.Equal(t, fmt.Sprintf("%#v %v", &blind, &blind), fmt.Sprintf("%#v %v", refused, refused), "it is for who typed it only")
			encoded, _ := json.Marshal(refused)
			hidden, _ := json.Marshal(&blind)
			require.Equal(t, string(hidden), string(encoded))
		}
	}
	for text, wanted := range map[string]string{
		"A*02:01+24:02": "A*24:02", "A*02:01/6+A*24:02": "A*02:06", "A*02:01+*24:02": "A*24:02", "A*24:02+A*02:01/2:6": "A*02:06", "hla#3.99.0#A*02:01+a*24:02": "A*24:02",
	} {
		_, err := full.Read(text)
		var refused *hla.Error
		require.ErrorAs(t, err, &refused, text)
		require.Equal(t, wanted, refused.Meant, text)
		require.Equal(t, hla.A, refused.Locus, text)
	}
	for text, locus := range map[string]hla.Locus{"A*02:01+?!": "", "A*02:01+!": hla.A, "A*02:01+": hla.A, "A*02:01+F*01:01": "", "b*08:01+B*08:01": hla.B, "+A*02:01": ""} {
		_, err := full.Read(text)
		var refused *hla.Error
		require.ErrorAs(t, err, &refused, text)
		require.Equal(t, locus, refused.Locus, text)
	}
}

func TestWhatWasProbablyMeantIsFoundInAWholeRelease(t *testing.T) {
	by := hla.Reader{Release: realRelease(t)}
	for text, wanted := range map[string]string{
		"A*24:02G": "A*24:02:01G", "A*24:02:01P": "A*24:02P", "C*05:07": "C*05:07N", "DRB1*17": "DR17", "DRB117": "DR17", "A27": "B27", "B*46:10": "", "A*02:01:01:99": "A*02:01:01", "A*42:02": "A*24:02",
		"B*1501": "", "b1502": "B*15:02", "Cw*0102": "", "A*02:9999": "", "DPB1*04:01:01G": "",
	} {
		_, err := by.Read(text + "+" + text)
		var refused *hla.Error
		if err == nil {
			require.Empty(t, wanted, text)
			continue
		}
		require.ErrorAs(t, err, &refused)
		require.Equal(t, wanted, refused.Meant, text)
	}
}

func TestAGroupIsRefusedForLackOfAReleaseAndOnlyThen(t *testing.T) {
	for _, text := range []string{"A*24:02:01G", "A*24:02P", "A*24:02g"} {
		_, err := hla.Reader{}.Read(text + "+A*24:02")
		var refused *hla.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, hla.ReasonRelease, refused.Reason)
		require.ErrorContains(t, err, "nomenclature release")
	}
	// A group that is no group of the release is not taken for the one allele that it is named by.
	_, err := hla.Reader{Release: mustRelease(t)}.Read("A*02:01G+A*24:02")
	var refused *hla.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, hla.ReasonUnknown, refused.Reason)
}

// typos draws texts that are nearly typings.
func typos() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		seeds := []string{"A*02:01", "A*02:01:01G", "A*02:AB", "A*24:XX", "A2403", "DR17", "A*02:01P", "DRB1*03:01", "Cw7", "A*02:15N", "A*02:MIX", "A*02:01/06", "A*0201"}
		text := []rune(rapid.SampledFrom(seeds).Draw(t, "seed"))
		for range rapid.IntRange(0, 3).Draw(t, "slips") {
			at := rapid.IntRange(0, len(text)).Draw(t, "at")
			other := rapid.SampledFrom([]rune("0123456789OIl:*.-/ AaBDRQPGgNwX＊")).Draw(t, "other")
			switch rapid.SampledFrom([]string{"add", "drop", "change", "swap"}).Draw(t, "slip") {
			case "add":
				text = append(text[:at:at], append([]rune{other}, text[at:]...)...)
			case "drop":
				if at < len(text) {
					text = append(text[:at:at], text[at+1:]...)
				}
			case "change":
				if at < len(text) {
					text[at] = other
				}
			case "swap":
				if at+1 < len(text) {
					text[at], text[at+1] = text[at+1], text[at]
				}
			}
		}
		return string(text) + "+" + rapid.SampledFrom(seeds).Draw(t, "second")
	})
}

// requireMeant checks what holds of a refusal by a Reader: it points into the text, and what it says was meant can be read.
func requireMeant(t require.TestingT, by hla.Reader, text string, err error) {
	var refused *hla.Error
	require.ErrorAs(t, err, &refused)
	require.NotEmpty(t, refused.Reason)
	require.NotEmpty(t, refused.Text)
	require.Positive(t, refused.Position)
	require.LessOrEqual(t, refused.Position, len([]rune(text))+1)
	if refused.Meant != "" {
		require.NotEqual(t, refused.Read, refused.Meant)
		require.NotEqual(t, hla.ReasonRelease, refused.Reason)
		_, err := by.Read(refused.Meant + "+" + refused.Meant)
		require.NoError(t, err, "%q for %q", refused.Meant, text)
	}
}

func TestWhatIsSaidToBeMeantIsReadByTheSameReader(t *testing.T) {
	library := hla.NewLibrary(codes(t), mustRelease(t), older(t, "3.9.0"))
	readers := []hla.Reader{{}, {Release: mustRelease(t), Codes: codes(t)}, library.Reader("3.9.0")}
	rapid.Check(t, func(t *rapid.T) {
		text := typos().Draw(t, "text")
		for _, by := range readers {
			if _, err := by.Read(text); err != nil {
				requireMeant(t, by, text, err)
			}
		}
	})
}

func TestAReadingIsWrittenInOneWayOnlyAndReadBack(t *testing.T) {
	by := hla.Reader{Release: mustRelease(t), Codes: codes(t)}
	for text, want := range map[string]string{
		"A*0201+A*02:01:01:02L":                                 "HLA-A*02:01+HLA-A*02:01:01:02L",
		"B*08:01+B*9501^A2+A*02:06/01":                          "HLA-A*02:01/HLA-A*02:06+HLA-A2^HLA-B*08:01+HLA-B*15:101",
		"A*02:01+A*24:02|A*24:03+A*02:06":                       "HLA-A*02:01+HLA-A*24:02|HLA-A*02:06+HLA-A*24:03",
		"DRB4*NNNN+DRB4*01:01^Cw*0702+HLA-Cw7":                  "HLA-C*07:02+HLA-Cw7^HLA-DRB4*01:01",
		"hla#3.99.0#A*02:MIX+A*02:01g^B*UUUU+B*UUUU":            "HLA-A*02:01g+HLA-A*02:MIX",
		"DRB4*NNNN+DRB4*NNNN^A*02AB+A*24":                       "HLA-A*02:AB+HLA-A*24^HLA-DRB4*NNNN+HLA-DRB4*NNNN",
		"A*02:01/A*02:01+A*XXXX":                                "HLA-A*02:01+HLA-A*XXXX",
		"A*03:01+A*02:01|A*02:01+A*03:01^DPB1*04:01+DPB1*09:01": "HLA-A*02:01+HLA-A*03:01^HLA-DPB1*04:01+HLA-DPB1*09:01",
	} {
		got, err := by.Read(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got.String(), text)
		again, err := by.Read(want)
		require.NoError(t, err)
		require.Equal(t, want, again.String())
	}
}

func TestAFormIsCheckedWithoutARelease(t *testing.T) {
	for text, reason := range map[string]hla.Reason{
		"A*02:01:01G+A*24:02P^B*15:AHGX+B7^DR17+DR4": "", "hla#3.52.0#A*02:01+A*24:XX": "", "A*02:01/06+A*77:77|A*02:07+A*24:02": "", "DRB4*NNNN+DRB4*01:01": "",
		"A*02:01": hla.ReasonSingle, "A*02:1+A*02:01": hla.ReasonMalformed, "A*00:01G+A*02:01": hla.ReasonMalformed, "F*01:01+F*01:01": hla.ReasonLocus, "hla#x#A*02:01+A*02:01": hla.ReasonVersion, "": hla.ReasonEmpty,
	} {
		err := hla.CheckForm(text)
		var refused *hla.Error
		if reason == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorAs(t, err, &refused, text)
		require.Equal(t, reason, refused.Reason, text)
	}
}

func TestEveryStepOfAReadingIsTold(t *testing.T) {
	by := hla.Reader{Release: mustRelease(t), Codes: codes(t)}
	got, err := by.Explain("hla#3.99.0#A*02:01:01G+A*0206^DPB1*04:01+DPB1*09:01^DR3+DRB1*03:02^B*UUUU+B*UUUU^DRB4*01:01")
	require.NoError(t, err)
	require.Equal(t, "3.99.0", got.Version)
	require.Equal(t, "3.99.0", got.Release)
	require.Len(t, got.Loci, 5)
	at := func(file string, line int) hla.Source { return hla.Source{Release: "3.99.0", File: file, Line: line} }

	group := got.Loci[0].Pairs[0][0]
	require.Equal(t, hla.Name{Text: "A*02:01:01G", Form: hla.FormG, Alleles: []string{"A*02:01", "A*02:09"}, By: at("hla_nom_g.txt", 3), Dropped: []hla.Dropped{{Allele: "A*02:15N", Why: hla.DroppedNull}}}, group.Names[0])
	require.Equal(t, hla.Protein{
		Allele: "A*02:01", Unit: "A*02:01", Group: "02:01P", GroupBy: at("hla_nom_p.txt", 3), Antigens: []hla.AntigenSource{{Antigen: "A2", By: at("rel_dna_ser.txt", 3)}},
	}, group.Proteins[0])
	old := got.Loci[0].Pairs[0][1]
	require.Equal(t, hla.Name{Text: "A*0206", Form: hla.FormAllele, Whole: "A*02:06", Alleles: []string{"A*02:06"}, By: at("Allele_status.txt", 8)}, old.Names[0])
	require.Equal(t, "", old.Proteins[0].Group, "it is alone in its group")
	require.Equal(t, at("hla_nom_p.txt", 4), old.Proteins[0].GroupBy)

	epitopes := got.Loci[1].Pairs[0]
	require.Equal(t, []int{3, 1}, []int{epitopes[0].Proteins[0].Epitope, epitopes[1].Proteins[0].Epitope})
	require.Equal(t, at("dpb_tce.csv", 4), epitopes[0].Proteins[0].EpitopeBy)
	require.Equal(t, at("rel_ser_ser.txt", 5), got.Loci[2].Pairs[0][0].Names[0].By)
	require.Equal(t, hla.DRB1, got.Loci[2].Locus)
	require.True(t, got.Loci[3].Untyped)
	require.True(t, got.Loci[4].Pairs[0][1].Absent)
	require.True(t, got.Loci[4].Pairs[0][1].Silent)

	coded, err := by.Explain("A*02:NUL+A*02:15N")
	require.NoError(t, err)
	pair := coded.Loci[0].Pairs[0]
	require.Equal(t, hla.Source{File: "codes", Line: 7}, pair[0].Names[0].By)
	require.False(t, pair[0].Silent)
	require.True(t, pair[1].Silent)
	require.True(t, pair[1].Proteins[0].Null)

	missing, err := hla.Reader{Release: older(t, "3.9.0"), Codes: codes(t)}.Explain("A*24:OLD+A*02:AB")
	require.Error(t, err, "none of its alleles is in the release")
	require.Nil(t, missing)
	table, err := hla.ReadCodes(strings.NewReader("XY\t01/77\n"))
	require.NoError(t, err)
	part, err := hla.Reader{Release: mustRelease(t), Codes: table}.Explain("A*02:XY+A*02:XY")
	require.NoError(t, err)
	require.Equal(t, []hla.Dropped{{Allele: "A*02:77", Why: hla.DroppedRelease}}, part.Loci[0].Pairs[0][0].Names[0].Dropped)

	bare, err := hla.Reader{}.Explain("A*02:XX+A*02:01")
	require.NoError(t, err)
	require.True(t, bare.Loci[0].Pairs[0][0].Proteins[0].First)
	require.Empty(t, bare.Release)
	_, err = json.Marshal(bare)
	require.NoError(t, err)
}

func FuzzExplain(f *testing.F) {
	table := codes(f)
	library := hla.NewLibrary(table, mustRelease(f), older(f, "3.9.0"))
	for _, seed := range []string{
		"hla#3.9.0#A*24:09P+A*02:01^DR17+DRB1*03:02|DR3+DR18", "hla#2024-10#A2+A9", "A*02:01:01G+A*02:MIX^DRB4*NNNN+DR53", "A＊０２０１+A*UUUU", "hla##A", "A24:02+a*2:1", "A*02:01/6+24:02", "DRB1*17+DRB17",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, by := range []hla.Reader{{}, {Release: library.Current(), Codes: table}, library.Reader("3.9.0")} {
			read, err := by.Read(text)
			told, otherwise := by.Explain(text)
			require.Equal(t, err, otherwise)
			if err != nil {
				requireMeant(t, by, text, err)
				continue
			}
			require.Equal(t, read.Version(), told.Version)
			typed := 0
			for _, l := range told.Loci {
				if l.Untyped {
					continue
				}
				typed++
				pairs := read.At(l.Locus).Pairs
				require.Len(t, l.Pairs, len(pairs))
				for i := range pairs {
					for k, c := range l.Pairs[i] {
						require.Len(t, c.Proteins, len(pairs[i][k].Alleles))
						require.Len(t, c.Names, len(pairs[i][k].Names))
						for n, p := range c.Proteins {
							require.Equal(t, pairs[i][k].Alleles[n].String(), p.Allele)
						}
					}
				}
			}
			require.Len(t, read.Loci(), typed)
			require.NoError(t, hla.CheckForm(text), "what some release reads has the form")
			if typed > 0 {
				again, err := by.Read(read.String())
				require.NoError(t, err, read.String())
				require.Equal(t, read.String(), again.String())
			}
		}
	})
}
