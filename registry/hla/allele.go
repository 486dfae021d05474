package hla

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	prefix    = "HLA-"
	suffixes  = "NLSCAQ"
	maxFields = 4
)

// Allele is one HLA allele: a locus, two to four fields, and the suffix of its expression if it has one. Alleles
// compare with ==. The zero Allele is no allele: it stands for a copy that is absent.
//
// Names follow hla.alleles.org/nomenclature/naming.html: a field is a number of at least two digits, zero-padded to two.
type Allele struct {
	fields [maxFields]uint16 // 0 where the name has no such field
	place  uint8             // of the locus, plus one
	suffix byte              // one of suffixes, or 0
}

// ParseAllele reads a name such as "A*02:01", "HLA-A*02:01:01:01" or "A*02:01N". Space around it is ignored.
// Its error is an *Error.
func ParseAllele(text string) (Allele, error) {
	a, refused := readAllele(span{text, 0, len(text)})
	if refused != nil {
		return Allele{}, refused
	}
	return a, nil
}

func readAllele(s span) (Allele, *Error) {
	s = s.trim()
	locus, number, _ := strings.Cut(strings.TrimPrefix(s.text(), prefix), "*")
	a := Allele{place: uint8(Locus(locus).place() + 1)}
	if a.place == 0 || !a.readNumber(number) {
		return Allele{}, s.refuse(diagnose(s.text()))
	}
	return a, nil
}

// readNumber reads what follows the star of a name into the allele.
func (a *Allele) readNumber(number string) bool {
	if end := len(number) - 1; end >= 0 && strings.IndexByte(suffixes, number[end]) >= 0 {
		a.suffix, number = number[end], number[:end]
	}
	n := 0
	for more := true; more; n++ {
		if n == maxFields {
			return false
		}
		var field string
		field, number, more = strings.Cut(number, ":")
		value, ok := readField(field)
		if !ok {
			return false
		}
		a.fields[n] = value
	}
	return n >= 2
}

// readField takes 01 to 9999. A longer number with a leading zero would be a second spelling of the same allele, and 00
// is what some programs write for an absent gene.
func readField(field string) (uint16, bool) {
	if len(field) < 2 || len(field) > 4 || len(field) > 2 && field[0] == '0' {
		return 0, false
	}
	value := uint16(0)
	for _, digit := range []byte(field) {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		value = value*10 + uint16(digit-'0')
	}
	return value, value > 0
}

// numberForms are the forms of number that are no single allele of two fields or more; the first that fits decides.
var numberForms = []struct {
	form    *regexp.Regexp
	refusal refusal
}{
	{regexp.MustCompile(`^(UUUU|XXXX|NNNN|(\d{2,4}:)?NEW)$`), noAllele},
	{regexp.MustCompile(`^\d{2,4}:XX$`), xxCode},
	{regexp.MustCompile(`^\d{2,4}:[A-Z]{2,}$`), macCode},
	{regexp.MustCompile(`^\d{2,4}(:\d{2,4}){1,3}[Gg]$`), gGroup},
	{regexp.MustCompile(`^\d{2,4}(:\d{2,4}){1,3}P$`), pGroup},
	{regexp.MustCompile(`^\d{2,3}$`), oneField},
}

var (
	locusForm   = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	antigenForm = regexp.MustCompile(`^((?:[ABC]|D[RQP])w?)([1-9]\d{0,3})(?:\(\d+\))?$`)
)

// antigenLoci tells the locus of an antigen by its letters; DR51 to DR53 are the products of DRB5, DRB3 and DRB4
// (rel_dna_ser.txt).
var antigenLoci = map[string]Locus{
	"A": A, "B": B, "C": C, "DR": DRB1, "DQ": DQB1, "DP": DPB1,
	"DR51": DRB5, "DR52": DRB3, "DR53": DRB4,
}

// diagnose says why a text is not an allele, and at which locus it would be.
func diagnose(text string) (refusal, Locus) {
	if text == "" {
		return nothing, ""
	}
	locus, number, star := strings.Cut(strings.TrimPrefix(text, prefix), "*")
	if !star {
		parts := antigenForm.FindStringSubmatch(locus)
		if parts == nil {
			return malformed, ""
		}
		letters := strings.TrimSuffix(parts[1], "w")
		return antigen, cmp.Or(antigenLoci[letters+parts[2]], antigenLoci[letters])
	}
	if !Locus(locus).Valid() {
		if locusForm.MatchString(locus) {
			return otherLocus, ""
		}
		return malformed, ""
	}
	for _, n := range numberForms {
		if n.form.MatchString(number) {
			return n.refusal, Locus(locus)
		}
	}
	return malformed, Locus(locus)
}

// Locus returns the allele's locus, empty for the zero Allele.
func (a Allele) Locus() Locus {
	if a.place == 0 {
		return ""
	}
	return loci[a.place-1]
}

// Fields returns the two to four fields as they are written, such as "02", "01"; nil for the zero Allele.
func (a Allele) Fields() []string {
	var fields []string
	for _, field := range a.fields {
		if field > 0 {
			fields = append(fields, string(appendField(nil, field)))
		}
	}
	return fields
}

// Null reports whether the allele makes no protein (suffix N).
func (a Allele) Null() bool { return a.suffix == 'N' }

// TwoField returns the allele cut to its first two fields, which name the protein. N is kept, for a null allele makes
// none; L, S, C, A and Q are dropped, for they tell how much of the protein is made or where it goes, and hla_nom_p.txt
// keeps such an allele in the P group of its fully expressed sisters (A*24:02:01:02L in 24:02P).
func (a Allele) TwoField() Allele {
	two := Allele{place: a.place, fields: [maxFields]uint16{a.fields[0], a.fields[1]}}
	if a.Null() {
		two.suffix = a.suffix
	}
	return two
}

// cut returns the allele with its first n fields and no suffix.
func (a Allele) cut(n int) Allele {
	out := Allele{place: a.place}
	copy(out.fields[:n], a.fields[:n])
	return out
}

// String returns the canonical name without the prefix HLA-, empty for the zero Allele.
func (a Allele) String() string {
	if a.place == 0 {
		return ""
	}
	return string(a.append(nil))
}

func (a Allele) append(to []byte) []byte {
	return a.appendNumber(append(append(to, a.Locus()...), '*'))
}

// number is what stands behind the star.
func (a Allele) number() string { return string(a.appendNumber(nil)) }

func (a Allele) appendNumber(to []byte) []byte {
	separator := byte(0)
	for _, field := range a.fields {
		if field > 0 {
			if separator != 0 {
				to = append(to, separator)
			}
			to, separator = appendField(to, field), ':'
		}
	}
	if a.suffix != 0 {
		to = append(to, a.suffix)
	}
	return to
}

func appendField(to []byte, field uint16) []byte {
	if field < 10 {
		to = append(to, '0')
	}
	return strconv.AppendUint(to, uint64(field), 10)
}

// compare orders alleles of one locus by their numbers, then by suffix.
func (a Allele) compare(b Allele) int {
	return cmp.Or(slices.Compare(a.fields[:], b.fields[:]), cmp.Compare(a.suffix, b.suffix))
}
