package match_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

// The reference compares two GL strings by writing out every pair of alleles that each may be, and looking at all of them in both ways of standing
// beside each other. It knows a release by plain tables of names. Nothing in it is shared with what it checks.

// slowRelease is a release by names: "A*02:01" or, of what makes no protein, "A*02:01N".
type slowRelease struct {
	version  string
	alleles  []string
	group    map[string]string    // of an allele: the first of its P group's
	columns  map[string][4]string // rel_dna_ser.txt: unambiguous, possible, assumed, expert
	narrower map[string][]string  // rel_ser_ser.txt, by "A 9": splits and what is associated
	epitope  map[string]string    // dpb_tce.csv
}

// load writes the release's files and has them read.
func (r *slowRelease) load(t require.TestingT) *hla.Release {
	heading := "# version: IPD-IMGT/HLA " + r.version + "\n"
	status, groups, serology, broad, epitopes := heading, heading, heading, heading, heading
	members := map[string][]string{}
	for _, a := range r.alleles {
		status += a + ",1,1\n"
		locus, number, _ := strings.Cut(a, "*")
		if columns, ok := r.columns[a]; ok {
			serology += locus + "*;" + number + ";" + strings.Join(columns[:], ";") + "\n"
		}
		if g := r.group[a]; g != "" {
			members[g] = append(members[g], number)
		}
		if e, ok := r.epitope[a]; ok {
			epitopes += a + "," + a + "," + e + "," + e + ",\n"
		}
	}
	for _, g := range slices.Sorted(maps.Keys(members)) {
		locus, number, _ := strings.Cut(g, "*")
		name := ""
		if len(members[g]) > 1 {
			name = number + "P"
		}
		groups += locus + "*;" + strings.Join(members[g], "/") + ";" + name + "\n"
	}
	for _, antigen := range slices.Sorted(maps.Keys(r.narrower)) {
		broad += strings.Replace(antigen, " ", ";", 1) + ";" + strings.Join(r.narrower[antigen], "/") + ";\n"
	}
	release, err := hla.LoadRelease(fstest.MapFS{
		"Allele_status.txt": {Data: []byte(status)}, "hla_nom_p.txt": {Data: []byte(groups)}, "rel_dna_ser.txt": {Data: []byte(serology)},
		"rel_ser_ser.txt": {Data: []byte(broad)}, "dpb_tce.csv": {Data: []byte(epitopes)},
	})
	require.NoError(t, err)
	return release
}

// unit is what two alleles have to share. A null allele is its own.
func (r *slowRelease) unit(allele string) string {
	if r != nil && r.group[allele] != "" {
		return r.group[allele]
	}
	return allele
}

func isNull(allele string) bool { return allele == "" || strings.HasSuffix(allele, "N") }

func firstField(allele string) string {
	_, number, _ := strings.Cut(allele, "*")
	first, _, _ := strings.Cut(number, ":")
	return first
}

// serumLetters are the letters of antigens, by locus.
var serumLetters = map[string]string{"A": "A", "B": "B", "DRB1": "DR", "C": "Cw"}

func antigensIn(columns ...string) (out []string) {
	for _, antigen := range strings.Split(strings.Join(columns, "/"), "/") {
		if antigen != "" && antigen != "0" && antigen != "?" && !slices.Contains(out, antigen) {
			out = append(out, antigen)
		}
	}
	return out
}

// under lists an antigen's splits and associated ones, theirs, and so on.
func (r *slowRelease) under(locus, antigen string) (out []string) {
	for _, n := range r.narrower[serumLetters[locus]+" "+antigen] {
		out = append(append(out, n), r.under(locus, n)...)
	}
	return out
}

var sameOrNot = map[bool]string{true: "same", false: "different"}

// alike says whether two alleles make the same antigen: "same", "different" or "unknown".
func (r *slowRelease) alike(x, y string) string {
	if isNull(x) && isNull(y) || r == nil {
		return "unknown"
	}
	if isNull(x) || isNull(y) {
		return "different"
	}
	locus, _, _ := strings.Cut(x, "*")
	if locus == "DPB1" {
		return sameOrNot[r.unit(x) == r.unit(y)]
	}
	of := func(a string) []string {
		if locus == "C" && firstField(a) > "10" {
			return nil
		}
		columns := r.columns[a]
		if sure := antigensIn(columns[0]); len(sure) > 0 {
			return sure
		}
		return antigensIn(columns[1:]...)
	}
	xs, ys := of(x), of(y)
	if len(xs) == 0 || len(ys) == 0 {
		return sameOrNot[firstField(x) == firstField(y)]
	}
	seen := map[string]bool{}
	for _, n := range xs {
		for _, m := range ys {
			seen[sameOrNot[n == m || slices.Contains(r.under(locus, n), m) || slices.Contains(r.under(locus, m), n)]] = true
		}
	}
	return agreed(seen)
}

// agreed is the one thing that was seen, or unknown.
func agreed(seen map[string]bool) string {
	if len(seen) != 1 {
		return "unknown"
	}
	return slices.Collect(maps.Keys(seen))[0]
}

const unknownCopy = "?"

// slowCodes is the table of multiple-allele codes.
const slowCodes = "CODE\tSUBTYPE\nAB\t01/02\n"

// expand lists every allele that a copy may be, by its text. mentioned are the alleles that either typing names at the locus: without a release
// a first field stands for those of them that begin with it, and for some that nobody named.
func (r *slowRelease) expand(copyText string, mentioned []string) (out []string) {
	for _, name := range strings.Split(copyText, "/") {
		locus, number, star := strings.Cut(name, "*")
		switch {
		case !star: // an antigen: "A9", "DR17"
			letters := strings.TrimRight(name, "0123456789")
			antigen := name[len(letters):]
			gene := map[string]string{"A": "A", "B": "B", "DR": "DRB1"}[letters]
			may := append(r.under(gene, antigen), antigen)
			for broad, narrow := range r.narrower {
				if strings.HasPrefix(broad, letters+" ") && slices.Contains(narrow, antigen) {
					may = append(may, strings.TrimPrefix(broad, letters+" "))
				}
			}
			for _, a := range r.alleles {
				columns := r.columns[a]
				if strings.HasPrefix(a, gene+"*") && slices.ContainsFunc(antigensIn(columns[:]...), func(n string) bool { return slices.Contains(may, n) }) {
					out = append(out, a)
				}
			}
		case number == "NNNN":
			out = append(out, "")
		case number == "UUUU":
			return []string{unknownCopy}
		case strings.HasSuffix(number, ":XX"):
			known := mentioned
			if r != nil {
				known = r.alleles
			} else {
				out = append(out, name+"1", name+"2", name+"3", name+"4N")
			}
			for _, a := range known {
				if strings.HasPrefix(a, strings.TrimSuffix(name, "XX")) {
					out = append(out, a)
				}
			}
		case strings.HasSuffix(number, "P"):
			for _, a := range r.alleles {
				if r.group[a] != "" && r.group[a] == r.group[strings.TrimSuffix(name, "P")] {
					out = append(out, a)
				}
			}
		case strings.HasSuffix(number, ":AB"):
			for _, second := range []string{"01", "02"} { // as slowCodes has it
				if a := strings.TrimSuffix(name, "AB") + second; r == nil || slices.Contains(r.alleles, a) {
					out = append(out, a)
				}
			}
		default:
			fields := strings.SplitN(strings.TrimSuffix(number, "N"), ":", 3)
			a := locus + "*" + fields[0] + ":" + fields[1]
			if isNull(number) {
				a += "N"
			}
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ways lists every pair of alleles that a locus of a typing may be, after the rule for nulls; nothing where it is not typed.
func (r *slowRelease) ways(locusText string, mentioned []string) (out [][2]string) {
	if locusText == "" {
		return nil
	}
	for _, alternative := range strings.Split(locusText, "|") {
		copies := append(strings.Split(alternative, "+"), "DRB4*NNNN")[:2]
		first, second := r.expand(copies[0], mentioned), r.expand(copies[1], mentioned)
		if slices.Contains(first, unknownCopy) || slices.Contains(second, unknownCopy) {
			return nil
		}
		for _, x := range first {
			for _, y := range second {
				pair := [2]string{x, y}
				if isNull(x) && !isNull(y) {
					pair[0] = y
				} else if isNull(y) && !isNull(x) {
					pair[1] = x
				}
				out = append(out, pair)
			}
		}
	}
	return out
}

// slowLocus is what the reference says of a locus.
type slowLocus struct {
	typed            bool
	match            match.Range
	gvh, hvg         match.Range
	epitopes         string      // empty but at DPB1
	patients, donors [][2]string // every pair that each may be
}

// locusOf finds a locus of a GL string.
func locusOf(gl string, locus hla.Locus) string {
	for _, part := range strings.Split(gl, "^") {
		first, _, _ := strings.Cut(part, "+")
		gene, _, star := strings.Cut(first, "*")
		if !star {
			gene = map[string]string{"A": "A", "B": "B", "DR": "DRB1"}[strings.TrimRight(gene, "0123456789")]
		}
		if gene == string(locus) {
			return part
		}
	}
	return ""
}

// referenceCompare says how many copies match at each locus, at the least and at the most, how many of each one's the other lacks, and whether
// the epitopes of DPB1 can be borne. A nil release knows two fields only.
func referenceCompare(release *slowRelease, patientGL, donorGL string, loci []hla.Locus) []slowLocus {
	var out []slowLocus
	for _, locus := range loci {
		patient, donor := locusOf(patientGL, locus), locusOf(donorGL, locus)
		var mentioned []string
		for _, name := range strings.FieldsFunc(patient+"+"+donor, func(r rune) bool { return strings.ContainsRune("+/|", r) }) {
			if !strings.HasSuffix(name, "XX") {
				mentioned = append(mentioned, release.expand(name, nil)...)
			}
		}
		open := match.Range{Least: 0, Most: 2}
		l := slowLocus{match: open, gvh: open, hvg: open, epitopes: "unknown"}
		l.patients, l.donors = release.ways(patient, mentioned), release.ways(donor, mentioned)
		if l.typed = len(l.patients) > 0 && len(l.donors) > 0; l.typed {
			l.match, l.gvh, l.hvg = match.Range{Least: 2}, match.Range{Least: 2}, match.Range{Least: 2}
			seen := map[string]bool{}
			for _, p := range l.patients {
				for _, d := range l.donors {
					widen(&l.match, slowPairing(release, p, d))
					widen(&l.gvh, slowLacked(release, p, d))
					widen(&l.hvg, slowLacked(release, d, p))
					seen[slowEpitopes(release, p, d)] = true
				}
			}
			l.epitopes = agreed(seen)
		}
		if locus != hla.DPB1 {
			l.epitopes = ""
		}
		out = append(out, l)
	}
	return out
}

func widen(r *match.Range, n int) {
	r.Least, r.Most = min(r.Least, uint8(n)), max(r.Most, uint8(n))
}

func slowPairing(r *slowRelease, p, d [2]string) int {
	direct, crossed := 0, 0
	for i := range p {
		if r.unit(p[i]) == r.unit(d[i]) {
			direct++
		}
		if r.unit(p[i]) == r.unit(d[1-i]) {
			crossed++
		}
	}
	return max(direct, crossed)
}

func slowLacked(r *slowRelease, has, lacks [2]string) int {
	n := 0
	for _, a := range has {
		if !isNull(a) && r.unit(a) != r.unit(lacks[0]) && r.unit(a) != r.unit(lacks[1]) {
			n++
		}
	}
	return n
}

func slowEpitopes(r *slowRelease, p, d [2]string) string {
	if r == nil {
		return "unknown"
	}
	group := func(a string) string { return strings.TrimRight(r.epitope[a], "a$") }
	for _, a := range []string{p[0], p[1], d[0], d[1]} {
		if !slices.Contains([]string{"1", "2", "3"}, group(a)) {
			return "unknown"
		}
	}
	patient, donor := min(group(p[0]), group(p[1])), min(group(d[0]), group(d[1]))
	switch {
	case patient < donor:
		return "non_permissive_gvh"
	case donor < patient:
		return "non_permissive_hvg"
	}
	return "permissive"
}

// requirePositions checks what is said of single copies against every pair.
func requirePositions(t require.TestingT, release *slowRelease, want slowLocus, got match.LocusResult) {
	certain, possible := 0, 0
	for i, at := range got.Positions {
		j := i
		if got.Crossed {
			j = 1 - i
		}
		if !want.typed {
			require.Equal(t, match.Untyped, at.Grade)
			continue
		}
		always, ever, same, antigens := true, false, true, map[string]bool{}
		for _, p := range want.patients {
			for _, d := range want.donors {
				always = always && release.unit(p[i]) == release.unit(d[j])
				ever = ever || release.unit(p[i]) == release.unit(d[j])
				same = same && p[i] == d[j]
				antigens[release.alike(p[i], d[j])] = true
			}
		}
		switch at.Grade {
		case match.Allele, match.PGroup:
			certain++
			require.Equal(t, hla.SameAntigen, at.Antigen)
			if want.match.Least < 2 {
				require.True(t, always)
				require.Equal(t, same, at.Grade == match.Allele)
			}
		case match.Potential:
			possible++
			require.True(t, ever)
			require.Equal(t, agreed(antigens), string(at.Antigen))
		case match.AlleleMismatch, match.Mismatch:
			require.Equal(t, agreed(antigens), string(at.Antigen))
			require.Equal(t, at.Antigen == hla.SameAntigen, at.Grade == match.AlleleMismatch)
		default:
			require.Fail(t, "a grade that a typed locus cannot have", string(at.Grade))
		}
		require.Equal(t, map[match.Grade]string{match.Allele: "A", match.PGroup: "A", match.Potential: "P", match.AlleleMismatch: "L", match.Mismatch: "M"}[at.Grade], at.Letter)
	}
	if want.typed {
		require.LessOrEqual(t, certain, int(want.match.Least))
		require.Equal(t, int(want.match.Most), certain+possible)
	}
}

// What follows draws releases and typings.

var referenceLoci = []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DRB4, hla.DPB1}

// drawnRelease makes up a release. Two of them have most names in common and other groups, antigens and nulls.
func drawnRelease(t *rapid.T, version string) *slowRelease {
	r := &slowRelease{
		version: version, group: map[string]string{}, columns: map[string][4]string{}, epitope: map[string]string{},
		narrower: map[string][]string{"A 9": {"23", "24"}, "A 24": {"2403"}, "B 9": {"23", "24"}, "DR 9": {"23"}, "Cw 9": {"24"}},
	}
	draw := rapid.SampledFrom([]string{"", "0", "?", "9", "23", "24", "2403", "3", "9/3", "23/24"})
	for _, locus := range referenceLoci {
		var sisters []string // expressed ones of the locus
		for _, number := range []string{"01:01", "01:02", "01:03", "02:01", "02:02", "12:01"} {
			a := string(locus) + "*" + number
			if rapid.IntRange(0, 9).Draw(t, "null") == 0 && number != "01:01" {
				a += "N"
			}
			r.alleles = append(r.alleles, a)
			if strings.HasSuffix(a, "N") {
				r.columns[a] = [4]string{"0"}
				continue
			}
			// In the group of one before it, or the first of its own.
			sisters = append(sisters, a)
			if r.group[a] = r.group[rapid.SampledFrom(sisters).Draw(t, "group")]; r.group[a] == "" {
				r.group[a] = a
			}
			if rapid.IntRange(0, 5).Draw(t, "listed") > 0 {
				r.columns[a] = [4]string{draw.Draw(t, "unambiguous"), "", draw.Draw(t, "assumed"), draw.Draw(t, "expert")}
			}
			if locus == hla.DPB1 {
				r.epitope[a] = rapid.SampledFrom([]string{"1", "2", "3", "3", "3", "", "0", "3$", "2a"}).Draw(t, "epitope")
			}
		}
	}
	return r
}

// drawnGL draws a typing with names of every form that all of the releases can read.
func drawnGL(t *rapid.T, releases ...*slowRelease) string {
	all := func(holds func(*slowRelease) bool) bool {
		return !slices.ContainsFunc(releases, func(r *slowRelease) bool { return !holds(r) })
	}
	var parts []string
	for _, locus := range referenceLoci {
		if rapid.IntRange(0, 5).Draw(t, "untyped") == 0 {
			continue
		}
		prefix := string(locus) + "*"
		names, forms := []string{"01:01", "01:02", "01:03N", "02:01", "02:02"}, []string{"allele", "allele", "list", "xx", "code", "long", "unknown", "absent"}
		if len(releases) > 0 {
			names, forms = nil, append(forms, "p", "antigen")
			for _, a := range releases[0].alleles {
				if strings.HasPrefix(a, prefix) && all(func(r *slowRelease) bool { return slices.Contains(r.alleles, a) }) {
					names = append(names, strings.TrimPrefix(a, prefix))
				}
			}
		}
		one := func() string {
			name := rapid.SampledFrom(names).Draw(t, "name")
			switch form := rapid.SampledFrom(forms).Draw(t, "form"); {
			case form == "list":
				return prefix + strings.Join(rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID[string]).Draw(t, "list"), "/"+prefix)
			case form == "xx":
				return prefix + rapid.SampledFrom([]string{"01", "02"}).Draw(t, "first") + ":XX"
			case form == "code":
				code := prefix + rapid.SampledFrom([]string{"01", "02"}).Draw(t, "first") + ":AB"
				if all(func(r *slowRelease) bool { return len(r.expand(code, nil)) > 0 }) {
					return code
				}
			case form == "long" && len(releases) == 0: // no release has names of four fields here
				if strings.HasSuffix(name, "N") {
					return prefix + strings.TrimSuffix(name, "N") + ":01:02N"
				}
				return prefix + name + ":01:02" + rapid.SampledFrom([]string{"", "L", "Q"}).Draw(t, "suffix")
			case form == "unknown" && rapid.IntRange(0, 3).Draw(t, "really") == 0:
				return prefix + "UUUU"
			case form == "absent" && locus == hla.DRB4:
				return prefix + "NNNN"
			case form == "p" && all(func(r *slowRelease) bool { return r.group[prefix+name] == prefix+name }):
				return prefix + name + "P"
			case form == "antigen" && locus != hla.C && serumLetters[string(locus)] != "":
				antigen := serumLetters[string(locus)] + rapid.SampledFrom([]string{"9", "23", "24", "3"}).Draw(t, "antigen")
				if all(func(r *slowRelease) bool { return len(r.expand(antigen, nil)) > 0 }) {
					return antigen
				}
			}
			return prefix + name
		}
		pair := func() string {
			if locus == hla.DRB4 && rapid.IntRange(0, 3).Draw(t, "one") == 0 {
				return one()
			}
			return one() + "+" + one()
		}
		text := pair()
		if rapid.IntRange(0, 4).Draw(t, "alternatives") == 0 {
			text += "|" + pair()
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "^")
}

func mustRead(t require.TestingT, by hla.Reader, gl string) *hla.Reading {
	if gl == "" {
		return &hla.Reading{}
	}
	reading, err := by.Read(gl)
	require.NoError(t, err, gl)
	return reading
}

func mustCodes(t require.TestingT) *hla.Codes {
	codes, err := hla.ReadCodes(strings.NewReader(slowCodes))
	require.NoError(t, err)
	return codes
}

// flipped writes the copies of every locus the other way round, and a lone copy as it is.
func flipped(gl string) string {
	loci := strings.Split(gl, "^")
	for i, locus := range loci {
		alternatives := strings.Split(locus, "|")
		for j, alternative := range alternatives {
			if first, second, two := strings.Cut(alternative, "+"); two {
				alternatives[j] = second + "+" + first
			}
		}
		loci[i] = strings.Join(alternatives, "|")
	}
	return strings.Join(loci, "^")
}

func requireReference(t require.TestingT, slow *slowRelease, release *hla.Release, patientGL, donorGL string) {
	by, rules := hla.Reader{Release: release, Codes: mustCodes(t)}, match.Rules{Release: release, Loci: referenceLoci}
	got := rules.Compare(mustRead(t, by, patientGL), mustRead(t, by, donorGL))
	total, typed := match.Count{Of: uint8(2 * len(referenceLoci))}, 0
	for i, l := range referenceCompare(slow, patientGL, donorGL, referenceLoci) {
		about := fmt.Sprintf("%s\n%s\n%s", referenceLoci[i], patientGL, donorGL)
		require.Equal(t, l.typed, got.Loci[i].Typed, about)
		require.Equal(t, l.match, got.Loci[i].Range, about)
		require.Equal(t, l.gvh, got.Loci[i].GvH, about)
		require.Equal(t, l.hvg, got.Loci[i].HvG, about)
		require.Equal(t, l.epitopes, string(got.Loci[i].Epitopes), about)
		requirePositions(t, slow, l, got.Loci[i])
		total.Least, total.Most = total.Least+l.match.Least, total.Most+l.match.Most
		if l.typed {
			typed++
		}
	}
	require.Equal(t, total, got.Count)
	for mismatches := range match.MostMismatches + 1 {
		fits := int(total.Of-total.Most) <= mismatches && typed > 0
		require.Equal(t, fits && typed == len(referenceLoci), match.Accepts(match.Policy{Loci: referenceLoci, Mismatches: mismatches}, got))
		require.Equal(t, fits, match.Accepts(match.Policy{Loci: referenceLoci, Mismatches: mismatches, AllowUntyped: true}, got))
	}
}

func TestComparingIsThatOfGoingThroughEveryPair(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		older, newer := drawnRelease(t, "3.33.0"), drawnRelease(t, "3.34.0")
		patient, donor := drawnGL(t, older, newer), drawnGL(t, older, newer)
		for _, slow := range []*slowRelease{older, newer} {
			requireReference(t, slow, slow.load(t), patient, donor)
		}
	})
}

func TestWithoutAReleaseComparingIsThatOfGoingThroughEveryPairOfTwoFields(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		requireReference(t, nil, nil, drawnGL(t), drawnGL(t))
	})
}
