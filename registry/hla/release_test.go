package hla_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
)

const heading = "# file: x\n# version: IPD-IMGT/HLA 3.99.0\n"

// small is a release made up for tests: few alleles, one of each kind.
func small() map[string]string {
	return map[string]string{
		"Allele_status.txt": heading + "Allele,Cells,Groups\n" + strings.Join([]string{
			"A*02:01:01:01", "A*02:01:01:02L", "A*02:01:02", "A*02:01:99N", "A*02:06", "A*02:09", "A*02:15N", "A*03:01:01", "A*23:01", "A*24:02:01", "A*24:03", "B*08:01", "B*15:101", "C*07:02:01",
			"DRB1*03:01", "DRB1*03:02", "DRB4*01:01", "DPB1*04:01:01", "DPB1*09:01", "E*01:01", "MICA*001",
		}, ",1,1\n") + ",1,1\n",
		"wmda/hla_nom_p.txt":   heading + "A*;02:01:01:01/02:01:01:02L/02:01:02/02:09;02:01P\nA*;02:06;\nA*;24:02:01;\nA*;24:03;\nMICA*;001;\n",
		"wmda/hla_nom_g.txt":   heading + "A*;02:01:01:01/02:01:01:02L/02:09/02:15N;02:01:01G\nA*;02:01:02;\n",
		"wmda/rel_dna_ser.txt": heading + "A*;02:01:01:01;2;;;\nA*;02:01:02;;2;;\nA*;02:15N;0;;;\nA*;02:06;?;;2;\nA*;23:01;23;;;\nA*;24:02:01;24;;;\nA*;24:03;;2403/9;;\nDRB1*;03:01;17;;;\nDRB1*;03:02;18;;;\nDRB4*;01:01;53;;;\nC*;07:02:01;7;;;\n",
		"wmda/rel_ser_ser.txt": heading + "A;9;23/24;\nA;24;;2403\nDR;3;17/18;\nDw;1;2;\n",
		"tce/dpb_tce.csv":      heading + "Allele,Protein,V1,V2,Comment\nDPB1*04:01:01,DPB1*04:01,3,3,\nDPB1*09:01,DPB1*09:01,1,1,\n",
	}
}

func folder(files map[string]string) fs.FS {
	out := fstest.MapFS{}
	for name, content := range files {
		out[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return out
}

func mustRelease(t testing.TB) *hla.Release {
	t.Helper()
	r, err := hla.LoadRelease(folder(small()))
	require.NoError(t, err)
	return r
}

func codes(t testing.TB) *hla.Codes {
	t.Helper()
	c, err := hla.ReadCodes(strings.NewReader("LAST UPDATED: today\nCODE\tSUBTYPE\n\nAB\t01/06\n*\tMIX\t02:01/02:06/03:01\nOLD\t77/78\nNUL\t01/15N\n"))
	require.NoError(t, err)
	return c
}

func TestAReleaseKnowsItsNamesGroupsAntigensAndEpitopes(t *testing.T) {
	r := mustRelease(t)
	require.Equal(t, "3.99.0", r.Version())
	require.Equal(t, 20, r.Size(), "what is not kept is left out")
	for name, known := range map[string]bool{
		"A*02:01:01:01": true, "A*02:01:01": true, "A*02:01": true, "A*02:01:01:02L": true, "A*02:01:01:02": true, "A*02:01L": false, "A*02:01N": true, "A*02:01:99N": true, "A*02:01:77N": false, "A*02:01:01:77N": false, "A*02:15N": true, "A*02:15": false,
		"A*02:07": false, "A*02:01:03": false, "B*02:01": false, "E*01:01": true,
	} {
		require.Equal(t, known, r.Knows(mustAllele(t, name)), name)
	}
	require.False(t, r.Knows(hla.Allele{}))
	for name, unit := range map[string]string{
		"A*02:01:01:02L": "A*02:01", "A*02:09": "A*02:01", "A*02:06": "A*02:06", "A*02:15N": "A*02:15N", "A*03:01:01": "A*03:01", "B*77:77": "B*77:77",
	} {
		require.Equal(t, unit, r.Unit(mustAllele(t, name)).String(), name)
	}
	require.Equal(t, hla.Allele{}, r.Unit(hla.Allele{}))
	require.Equal(t, []int{3, 1, 0, 0}, []int{r.Epitope(mustAllele(t, "DPB1*04:01")), r.Epitope(mustAllele(t, "DPB1*09:01:01")), r.Epitope(mustAllele(t, "A*02:01")), r.Epitope(hla.Allele{})})
	require.Equal(t, []string{"2", "23", "24", "2403", "9"}, r.Antigens(hla.A))
	require.Nil(t, r.Antigens("F"))
	require.Equal(t, "[A*24:02 A*24:03]", fmt.Sprint(r.Proteins(hla.A, 24)))
	require.Nil(t, r.Proteins("F", 24))
}

func TestTheLayoutsOfBeforeAndSince2026AreBothRead(t *testing.T) {
	files := small()
	files["wmda/rel_dna_ser.txt"] = heading + "A*;02:01:01:01;;;;;2\nA*;24:03;2403;;;;2403\n"
	files["wmda/rel_ser_ser.txt"] = heading + "A;9;23/24;;\nA;24;;2403;\n"
	delete(files, "Allele_status.txt")
	files["Allelelist.txt"] = heading + "AlleleID,Allele\nHLA00005,A*02:01:01:01\nHLA00050,A*24:03\nHLA1,MICB*001\n"
	delete(files, "tce/dpb_tce.csv")
	delete(files, "wmda/hla_nom_g.txt")
	r, err := hla.LoadRelease(folder(files))
	require.NoError(t, err)
	read, err := hla.Reader{Release: r}.Read("A2+A2403")
	require.NoError(t, err)
	require.Equal(t, "[A*02:01] [A*24:03]", fmt.Sprint(read.At(hla.A).Pairs[0][0].Alleles, " ", read.At(hla.A).Pairs[0][1].Alleles))
}

func TestAReleaseThatCannotBeReadSaysWhichLineAndWhy(t *testing.T) {
	for what, c := range map[string]struct {
		file, content, says string
	}{
		"no list":            {"Allele_status.txt", "-", "neither Allele_status.txt nor Allelelist.txt"},
		"no groups":          {"wmda/hla_nom_p.txt", "-", "there is no hla_nom_p.txt"},
		"a name":             {"Allele_status.txt", heading + "A*02\n", `Allele_status.txt, line 3: "A*02" is no allele`},
		"not a name":         {"Allele_status.txt", heading + "rubbish\n", "is no allele"},
		"another release":    {"wmda/hla_nom_g.txt", "# version: IPD-IMGT/HLA 3.98.0\n", "is of another release than the files before it (3.99.0)"},
		"too few columns":    {"wmda/hla_nom_p.txt", heading + "A*;02:01\n", "does not have three columns"},
		"a member":           {"wmda/hla_nom_p.txt", heading + "A*;02:01/x;02:01P\n", "no allele"},
		"a name of no group": {"wmda/hla_nom_p.txt", heading + "A*;02:01;02:01G\n", "not that of a P group"},
		"two groups":         {"wmda/hla_nom_p.txt", heading + "A*;02:01;02:01P\nA*;02:01:02/02:06;02:06P\n", "another P group has too"},
		"a short line":       {"wmda/rel_dna_ser.txt", heading + "A*;02:01\n", "fewer than three"},
		"serology of what":   {"wmda/rel_dna_ser.txt", heading + "A*;02;2;;\n", "is about no allele"},
		"a short relation":   {"wmda/rel_ser_ser.txt", heading + "A;9\n", "fewer than four"},
		"a short epitope":    {"tce/dpb_tce.csv", heading + "DPB1*04:01,3\n", "fewer than four"},
		"an epitope of what": {"tce/dpb_tce.csv", heading + "x,DPB1*04,3,3\n", "about no allele of two fields"},
	} {
		files := small()
		files[c.file] = c.content
		if c.content == "-" {
			delete(files, c.file)
		}
		_, err := hla.LoadRelease(folder(files))
		require.ErrorContains(t, err, c.says, what)
	}
	files := small()
	for name, content := range files {
		files[name] = strings.ReplaceAll(content, "# version", "# edition of x")
		files[name] = strings.ReplaceAll(files[name], "IPD-IMGT/HLA", "")
	}
	_, err := hla.LoadRelease(folder(files))
	require.ErrorContains(t, err, "no file says which release")
}

func TestATableOfCodesThatCannotBeReadSaysWhichLine(t *testing.T) {
	for text, says := range map[string]string{
		"":                          "there is no code",
		"AB\t01/02\nCD\n":           `line 2: "CD"`,
		"AB\t01/02\nCD\t01/x\n":     "line 2",
		"CODE\tSUBTYPE\nAB\t1/02\n": "line 2",
	} {
		_, err := hla.ReadCodes(strings.NewReader(text))
		require.ErrorContains(t, err, says, text)
	}
	require.Equal(t, 4, codes(t).Size())
}

// described writes what a reading has, one locus a line.
func described(r *hla.Reading) string {
	var lines []string
	for _, locus := range r.Loci() {
		for _, pair := range r.At(locus).Pairs {
			line := string(locus)
			for _, c := range pair {
				line += fmt.Sprint(" ", c.Forms) + fmt.Sprint(c.Alleles)
			}
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func TestNamesOfEveryFormAreRead(t *testing.T) {
	by := hla.Reader{Release: mustRelease(t), Codes: codes(t)}
	for text, want := range map[string]string{
		"A*02:01+A*24:02":                 "A [allele][A*02:01] [allele][A*24:02]",
		"HLA-A*02:01:01:02L+A*02:01:02":   "A [allele][A*02:01] [allele][A*02:01]",
		"A*02:15N+A*02:01":                "A [allele][A*02:15N] [allele][A*02:01]",
		"A＊０２：０１　＋A*24:02":                "A [allele][A*02:01] [allele][A*24:02]",
		"A*0201+B*0801":                   "!mixed-loci 8",
		"A*02010102L+A*2402":              "A [allele][A*02:01] [allele][A*24:02]",
		"B*9501+B*0801":                   "B [allele][B*15:101] [allele][B*08:01]",
		"Cw*0702+C*07:02":                 "C [allele][C*07:02] [allele][C*07:02]",
		"A*24:XX+A*03":                    "A [xx][A*24:02 A*24:03] [xx][A*03:01]",
		"A*02:XX+A*03:01":                 "A [xx][A*02:01 A*02:01N A*02:06 A*02:09 A*02:15N] [allele][A*03:01]",
		"A*02:01:01G+A*24:02P":            "A [g][A*02:01 A*02:09] [p][A*24:02]",
		"A*02:01:01G+A*24:09P":            "!unknown 13",
		"A*02:01:01G+A*02:01P":            "A [g][A*02:01 A*02:09] [p][A*02:01 A*02:09]",
		"A*02:01g+A*02:06g":               "A [g][A*02:01 A*02:09] [g][A*02:06]",
		"A*02:AB+A*02:NUL":                "A [code][A*02:01 A*02:06] [code][A*02:01 A*02:15N]",
		"A*02:MIX+A*24:02":                "A [code][A*02:01 A*02:06 A*03:01] [allele][A*24:02]",
		"A2+A9":                           "A [antigen][A*02:01 A*02:06] [antigen][A*23:01 A*24:02 A*24:03]",
		"A23+A2403":                       "A [antigen][A*23:01 A*24:03] [antigen][A*24:02 A*24:03]",
		"DR17+DR3":                        "DRB1 [antigen][DRB1*03:01] [antigen][DRB1*03:01 DRB1*03:02]",
		"Cw7+C*07:02^DR53":                "C [antigen][C*07:02] [allele][C*07:02]\nDRB4 [antigen][DRB4*01:01] [absent][]",
		"DRB4*NNNN+DRB4*01:01":            "DRB4 [absent][] [allele][DRB4*01:01]",
		"A*02:01/06+A*24:02/A*24:03":      "A [allele allele][A*02:01 A*02:06] [allele allele][A*24:02 A*24:03]",
		"A*02:01/03:01+A*24:02":           "A [allele allele][A*02:01 A*03:01] [allele][A*24:02]",
		"A*02:01+A*24:02|A*02:06+A*24:03": "A [allele][A*02:01] [allele][A*24:02]\nA [allele][A*02:06] [allele][A*24:03]",
		"A*UUUU+A*UUUU^B*08:01+B*08:01":   "B [allele][B*08:01] [allele][B*08:01]",
		"A*02:01+A*XXXX":                  "A [allele][A*02:01] [unknown][]",
		"E*01:01+E*01:01":                 "E [allele][E*01:01] [allele][E*01:01]",

		"":                                "!empty 1",
		"A*02:01":                         "!single 1",
		"A*02:01+":                        "!empty 9",
		"A*02:01+A*24:02+A*03:01":         "!copies 17",
		"A*02:01+A*02:07":                 "!unknown 9",
		"A*77:XX+A*02:01":                 "!unknown 1",
		"A77+A2":                          "!unknown 1",
		"A*77:01G+A2":                     "!unknown 1",
		"A*02:ZZ+A2":                      "!mac 1",
		"A*03:MIX+A2":                     "!mac 1",
		"A*02:OLD+A2":                     "!mac 1",
		"A*02:01+A*24:02^A*02:01+A*24:02": "!duplicate 17",
		"A*02:01~B*08:01":                 "!ambiguous 8",
		"F*02:01+F*02:01":                 "!locus 1",
		"a*02:01+a*02:01":                 "!malformed 1",
		"A*2:1+A*24:02":                   "!malformed 1",
		"A*00:XX+A*24:02":                 "!malformed 1",
	} {
		t.Run(text, func(t *testing.T) {
			got, err := by.Read(text)
			if err != nil {
				var refused *hla.Error
				require.ErrorAs(t, err, &refused, text)
				says := fmt.Sprintf("!%s %d", refused.Reason, refused.Position)
				require.Equal(t, want, says, text)
				return
			}
			require.Equal(t, want, described(got))
		})
	}
}

func TestWithoutAReleaseNamesOfTwoFieldsAreReadAllTheSame(t *testing.T) {
	by := hla.Reader{}
	for text, want := range map[string]string{
		"A*02:01+A*77:77:01":                      "A [allele][A*02:01] [allele][A*77:77]",
		"A*02:01/A*02:06+A*24:02|A*03:01+A*24:02": "A [allele allele][A*02:01 A*02:06] [allele][A*24:02]\nA [allele][A*03:01] [allele][A*24:02]",
		"A*02:01:01G+A*24:02":                     "!release 1",
		"A2+A*24:02":                              "!release 1",
		"A*24:02+A*02:AB":                         "!release 9",
	} {
		got, err := by.Read(text)
		if err != nil {
			var refused *hla.Error
			require.ErrorAs(t, err, &refused, text)
			require.Equal(t, want, fmt.Sprintf("!%s %d", refused.Reason, refused.Position), text)
			continue
		}
		require.Equal(t, want, described(got), text)
	}
	got, err := by.Read("A*02:XX+A*24:02")
	require.NoError(t, err)
	first := got.At(hla.A).Pairs[0][0].Alleles[0]
	require.False(t, first.Whole(), "it stands for all that begin with 02")
	require.Equal(t, []string{"02"}, first.Fields())
	require.Nil(t, got.At("F"))
	require.Nil(t, got.At(hla.B))
}

// What ParseTyping takes, Read takes too, and reads the same alleles of it.
func TestAReadingAgreesWithATyping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []string
		for _, locus := range hla.Loci() {
			if rapid.Bool().Draw(t, "typed") {
				parts = append(parts, names(locus, false).Draw(t, "one")+"+"+names(locus, false).Draw(t, "other"))
			}
		}
		if parts == nil {
			return
		}
		gl := strings.Join(parts, "^")
		typing, err := hla.ParseTyping(gl)
		require.NoError(t, err)
		reading, err := hla.Reader{}.Read(gl)
		require.NoError(t, err)
		require.Equal(t, typing.Loci(), reading.Loci())
		for _, locus := range typing.Loci() {
			pair, _ := typing.At(locus)
			want := []hla.Allele{pair[0].TwoField(), pair[1].TwoField()}
			var got []hla.Allele
			for _, c := range reading.At(locus).Pairs[0] {
				require.Len(t, c.Alleles, 1)
				got = append(got, c.Alleles[0])
			}
			require.ElementsMatch(t, want, got)
		}
	})
}

func realRelease(t testing.TB) *hla.Release {
	t.Helper()
	data := os.Getenv("LIFERELAY_DATA")
	if data == "" {
		data = filepath.Join("..", "..", "..", "shared", "data")
	}
	dir := filepath.Join(data, "imgt-hla-3.33.0")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("imgt-hla-3.33.0 is not there; put the data described in CONTRIBUTING.md into a folder and name it in LIFERELAY_DATA")
	}
	r, err := hla.LoadRelease(os.DirFS(dir))
	require.NoError(t, err)
	return r
}

func TestAWholeReleaseIsRead(t *testing.T) {
	r := realRelease(t)
	require.Equal(t, "3.33.0", r.Version())
	require.Equal(t, 18_112, r.Size())
	by := hla.Reader{Release: r}
	for text, want := range map[string]int{"A*02:01P+A*02:01": 1, "A*01:01:01G+A*01:01": 1, "A*02:01:01:02L+A*02:01": 1} {
		got, err := by.Read(text)
		require.NoError(t, err, text)
		units := map[hla.Allele]bool{}
		for _, a := range got.At(hla.A).Pairs[0][0].Alleles {
			units[r.Unit(a)] = true
		}
		require.Len(t, units, want, "a group is of one unit: %s", text)
	}
	// What the notes on matching name: this antigen's alleles are of its splits.
	b70, err := by.Read("B70+B*08:01")
	require.NoError(t, err)
	b71, err := by.Read("B71+B*08:01")
	require.NoError(t, err)
	all := b70.At(hla.B).Pairs[0][0].Alleles
	for _, a := range b71.At(hla.B).Pairs[0][0].Alleles {
		require.True(t, slices.Contains(all, a), a)
	}
	require.Equal(t, 3, r.Epitope(mustAllele(t, "DPB1*04:01")))
	require.Equal(t, 1, r.Epitope(mustAllele(t, "DPB1*09:01")))
}

func FuzzRead(f *testing.F) {
	r, err := hla.LoadRelease(folder(small()))
	require.NoError(f, err)
	table, err := hla.ReadCodes(strings.NewReader("CODE\tSUBTYPE\nAB\t01/06\nMIX\t02:01/02:06/03:01\n"))
	require.NoError(f, err)
	for _, seed := range []string{"A*02:01/06+A*24:XX^DR17+DRB1*03:02|DR3+DR18", "A2+A9^B*08:01+B*9501", "HLA-A*02:01:01G+A*02:MIX^DRB4*NNNN+DR53", "A＊０２０１+A*UUUU", "A*02:01~B*08:01?x", "hla#3.99.0#A2+A*24:02", "hla#2024-10-15#A*0201+a*2:1", "hla#3.99#A2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, by := range []hla.Reader{{}, {Release: r, Codes: table}} {
			got, err := by.Read(text)
			if err != nil {
				requireMeant(t, by, text, err)
				continue
			}
			for _, locus := range got.Loci() {
				require.NotEmpty(t, got.At(locus).Pairs)
				for _, pair := range got.At(locus).Pairs {
					for _, c := range pair {
						require.True(t, slices.IsSortedFunc(c.Alleles, func(a, b hla.Allele) int { return strings.Compare(a.String(), b.String()) }) || by.Release == nil || len(c.Alleles) > 1)
						for _, a := range c.Alleles {
							require.Equal(t, locus, a.Locus())
						}
					}
				}
			}
		}
	})
}

func FuzzRelease(f *testing.F) {
	for name, content := range small() {
		f.Add(name, content)
	}
	f.Fuzz(func(t *testing.T, name, content string) {
		files := small()
		if _, known := files[name]; !known {
			return
		}
		files[name] = content
		r, err := hla.LoadRelease(folder(files))
		if err != nil {
			return
		}
		library := hla.NewLibrary(nil, mustRelease(t), r)
		for _, text := range []string{"A2+A*02:01:01G", "A*02:XX+A9", "A*02:01G+A*02:09P", "DRB1*17+DR3", "hla#3.99.0#A*24:20+A*02:01:01:99", "DPB1*04:01+DPB1*09:01"} {
			for _, by := range []hla.Reader{{Release: r}, library.Reader("3.99.0")} {
				_, err := by.Read(text)
				_, otherwise := by.Explain(text)
				require.Equal(t, err, otherwise)
				if err != nil {
					requireMeant(t, by, text, err)
				}
			}
		}
	})
}

func FuzzCodes(f *testing.F) {
	f.Add("CODE\tSUBTYPE\nAB\t01/02\n*\tMIX\t02:01/03:01N\n", "A*02:MIX+A*02:AB")
	f.Fuzz(func(t *testing.T, text, typing string) {
		table, err := hla.ReadCodes(strings.NewReader(text))
		if err != nil {
			return
		}
		by := hla.Reader{Codes: table}
		_, err = by.Read(typing)
		_, otherwise := by.Explain(typing)
		require.Equal(t, err, otherwise)
		if err != nil {
			requireMeant(t, by, typing, err)
		}
	})
}
