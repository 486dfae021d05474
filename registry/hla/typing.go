package hla

import (
	"regexp"
	"time"
)

// Typing is a person's alleles: for each typed locus an unordered pair, the same allele twice where homozygous. At DRB3,
// DRB4 and DRB5 the second copy may be absent. Typings compare with ==, and the zero Typing has no locus typed.
type Typing struct {
	pairs [lociKept][2]Allele // sorted; an absent copy is the zero Allele and comes second
}

// ParseTyping reads a GL String (Milius 2013, doi:10.1111/tan.12150; Mack 2023, doi:10.1111/tan.15126; glstring.org):
// ^ between loci, + between the two copies, in any order, with or without the prefix HLA- on each allele and with space
// around operators. The operators / | ~ ? of ambiguity and phase are refused. Its error is an *Error about the first
// fault from the left.
func ParseTyping(glString string) (Typing, error) {
	t, refused := readTyping(span{glString, 0, len(glString)})
	if refused != nil {
		return Typing{}, refused
	}
	return t, nil
}

func readTyping(s span) (Typing, *Error) {
	var t Typing
	for {
		part, caret, rest := s.cut("^")
		if refused := t.readPair(part); refused != nil {
			return Typing{}, refused
		}
		if caret.text() == "" {
			return t, nil
		}
		s = rest
	}
}

// readPair reads the copies of one locus, "A*01:01+A*02:01", into the typing.
func (t *Typing) readPair(part span) *Error {
	var (
		pair  [2]Allele
		first span
	)
	for n, more := 0, true; more; n++ {
		name, operator, rest := part.cut("+/|~?")
		name = name.trim()
		a, refused := readAllele(name)
		if refused != nil {
			return refused
		}
		switch {
		case n == 0 && t.Has(a.Locus()):
			return name.refuse(duplicate, a.Locus())
		case n == 0:
			first = name
		case a.place != pair[0].place:
			return name.refuse(mixedLoci, a.Locus())
		case n == len(pair):
			return name.refuse(thirdCopy, a.Locus())
		}
		more = operator.text() != ""
		if more && operator.text() != "+" {
			return operator.refuse(ambiguous, a.Locus())
		}
		pair[n], part = a, rest
	}
	locus, alone := pair[0].Locus(), pair[1] == Allele{}
	if alone && !locus.oneCopy() {
		return first.refuse(single, locus)
	}
	if !alone && pair[1].compare(pair[0]) < 0 {
		pair[0], pair[1] = pair[1], pair[0]
	}
	t.pairs[pair[0].place-1] = pair
	return nil
}

const namespace = "hla"

// ParseCode reads a GL String Code, "hla#3.52.0#HLA-A*01:01+HLA-A*02:01" (glstring.org, GLSC 1.0 syntax): the namespace,
// the nomenclature version (see ValidVersion) and a GL String as ParseTyping takes it. Positions in its *Error count
// from the start of the code.
func ParseCode(text string) (version string, t Typing, err error) {
	version, gl, refused := cutCode(whole(text))
	if refused == nil {
		t, refused = readTyping(gl)
	}
	if refused != nil {
		return "", Typing{}, refused
	}
	return version, t, nil
}

// cutCode cuts a GL String Code into its version and its GL String.
func cutCode(s span) (version string, gl span, refused *Error) {
	s = s.trim()
	space, _, rest := s.cut("#")
	release, hash, gl := rest.cut("#")
	if hash.text() == "" {
		return "", gl, s.refuse(notCode, "")
	}
	if space, release = space.trim(), release.trim(); space.text() != namespace {
		return "", gl, space.refuse(notCode, "")
	}
	if !ValidVersion(release.text()) {
		return "", gl, release.refuse(notVersion, "")
	}
	return release.text(), gl, nil
}

var releaseForm = regexp.MustCompile(`^\d{1,3}\.\d{1,3}\.\d{1,3}$`)

// ValidVersion reports whether a text may be the version of a GL String Code: a whole IPD-IMGT/HLA release such as
// "3.52.0", or, where the release is not known, the day, month or year of the typing such as "2024-10-15".
func ValidVersion(version string) bool {
	if releaseForm.MatchString(version) {
		return true
	}
	for _, layout := range []string{time.DateOnly, "2006-01", "2006"} {
		if _, err := time.Parse(layout, version); err == nil {
			return true
		}
	}
	return false
}

// Code returns the typing as a GL String Code under a version that ValidVersion accepts. ParseCode reads it back,
// unless the typing is zero.
func (t Typing) Code(version string) string { return namespace + "#" + version + "#" + t.String() }

// String returns the canonical GL String: loci in the order of Loci, the alleles of a pair sorted, each with the prefix
// HLA-, which the grammar wants because the genetic system is part of the name. It is empty for the zero Typing.
func (t Typing) String() string {
	var to []byte
	for _, pair := range t.pairs {
		separator := "^"
		for _, a := range pair {
			if a == (Allele{}) {
				continue
			}
			if len(to) > 0 {
				to = append(to, separator...)
			}
			to = a.append(append(to, prefix...))
			separator = "+"
		}
	}
	return string(to)
}

// At returns the two alleles of a locus in canonical order, and whether the locus is typed. The second allele is zero
// where one copy of DRB3, DRB4 or DRB5 is all there is.
func (t Typing) At(locus Locus) (pair [2]Allele, ok bool) {
	place := locus.place()
	if place < 0 {
		return pair, false
	}
	pair = t.pairs[place]
	return pair, pair != [2]Allele{}
}

// Has reports whether all of the wanted loci are typed.
func (t Typing) Has(wanted ...Locus) bool { return len(t.Missing(wanted)) == 0 }

// Loci returns the typed loci in the order of the package's Loci.
func (t Typing) Loci() []Locus {
	var typed []Locus
	for place, pair := range t.pairs {
		if pair != [2]Allele{} {
			typed = append(typed, loci[place])
		}
	}
	return typed
}

// Missing returns those of the required loci that are not typed, in the order given.
func (t Typing) Missing(required []Locus) []Locus {
	var missing []Locus
	for _, locus := range required {
		if _, ok := t.At(locus); !ok {
			missing = append(missing, locus)
		}
	}
	return missing
}

// MarshalText returns String.
func (t Typing) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what ParseTyping reads; an empty text gives the zero Typing, so that every typing comes back.
func (t *Typing) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*t = Typing{}
		return nil
	}
	read, err := ParseTyping(string(text))
	if err != nil {
		return err
	}
	*t = read
	return nil
}
