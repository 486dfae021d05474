package hla

import (
	"regexp"
	"slices"
	"strings"
)

// Form is how a copy was written.
type Form string

const (
	FormAllele  Form = "allele"  // A*02:01, A*02:01:01:02L; also A*0201 as before 2010
	FormXX      Form = "xx"      // A*02:XX, or A*02: any allele of a first field
	FormG       Form = "g"       // A*02:01:01G, A*02:01g
	FormP       Form = "p"       // A*02:01P
	FormCode    Form = "code"    // A*02:AB
	FormAntigen Form = "antigen" // A2, DR17
	FormAbsent  Form = "absent"  // DRB4*NNNN, or no second copy of DRB3, DRB4 or DRB5
	FormUnknown Form = "unknown" // A*UUUU, A*XXXX, A*02:NEW: a copy of which nothing is known
)

// Copy is what one copy of a gene may be.
type Copy struct {
	Forms []Form   // of the names that were written, in their order
	Names []string // the same names in full, without the prefix: short ones and those of before 2010 as they are written since
	Text  string   // as it was written
	// Alleles that it may be, at two fields and null alleles apart, sorted. Of an absent copy there are none. One of a first field alone
	// (First) stands for every allele that begins with it, where no release was there to say which these are.
	Alleles []Allele
	Unknown bool // nothing is known of it: it may be any
	// Former is the version of the release that one of the names had to be read by, because the reader's own has it no more; empty
	// otherwise.
	Former string

	by      Source    // these are for Explain: the line that decided
	dropped []Dropped // what the name stands for, and was left out
	steps   []Name
}

// LocusReading is what a reading says of a locus: what its two copies may be. Where a laboratory could not tell which of several pairs it is (GL String: |)
// there are several.
type LocusReading struct {
	Text  string // as it was written
	Pairs [][2]Copy
}

// Reading is a typing with all that it leaves open. The zero Reading has no locus typed.
type Reading struct {
	version string
	at      [lociKept]*LocusReading
	steps   []LocusStep // for Explain
}

// Version is the nomenclature that the text says it was made under, when it was a GL String Code: a release such as "3.52.0", or a date.
// It is empty for a GL String.
func (r *Reading) Version() string { return r.version }

// At returns what a reading says of a locus, nil where it is not typed.
func (r *Reading) At(locus Locus) *LocusReading {
	place := locus.place()
	if place < 0 {
		return nil
	}
	return r.at[place]
}

// Loci returns the typed loci in the order of the package's Loci.
func (r *Reading) Loci() []Locus {
	var typed []Locus
	for place, at := range r.at {
		if at != nil {
			typed = append(typed, loci[place])
		}
	}
	return typed
}

// Whole tells whether the allele is one, and not a first field that stands for all that begin with it.
func (a Allele) Whole() bool { return a.fields[1] != 0 }

// Reader reads typings of every form, by a release and a table of codes. Either may be nil: without a release a name is not looked up, and
// groups and antigens are refused; without a table codes are.
//
// Former is the release under which a typing was made, where it is another: a name that Release has no more is read by it. A Library gives
// readers that have it.
type Reader struct {
	Release *Release
	Codes   *Codes
	Former  *Release

	library    *Library // whose releases a GL String Code may name
	explaining bool
	formOnly   bool // what only a release or a table can say counts as said
}

var (
	unknownAllele = refusal{ReasonUnknown, "is no allele of the release"}
	unknownGroup  = refusal{ReasonUnknown, "is no group of the release"}
	unknownFirst  = refusal{ReasonUnknown, "has a first field that no allele of the release has"}
	unknownSerum  = refusal{ReasonUnknown, "is no antigen of the release"}
	unknownCode   = refusal{ReasonMAC, "is a multiple-allele code that the table of codes does not have; load a newer table"}
	wrongCode     = refusal{ReasonMAC, "is a multiple-allele code of whole names, most of which begin with another first field; write the code behind that field"}
	emptyCode     = refusal{ReasonMAC, "is a multiple-allele code none of whose alleles is in the release"}
	needsRelease  = refusal{ReasonRelease, "can be read by a nomenclature release only, and none is loaded; load one, or write alleles of two fields"}
	needsCodes    = refusal{ReasonRelease, "is a multiple-allele code, and no table of codes is loaded; load one, or write the alleles with / between them"}
	phased        = refusal{ReasonAmbiguous, "joins a haplotype or a group of genes; join the copies of a locus by +, alternatives by / and |, and loci by ^"}
)

// Read reads a typing: a GL String or a GL String Code (glstring.org) of names of any form, with or without the prefix HLA-; the operators
// ~ and ? are refused. An allele string may leave out what the name before it has: "A*01:06/07" and "A*01:06/01:07". Full-width characters
// count as the narrow ones. A locus of which both copies are unknown is not typed. Its error is an *Error about the first fault from the
// left; positions count from the start of the text, in a code too.
func (by Reader) Read(text string) (*Reading, error) {
	r, refused := by.read(text)
	if refused != nil {
		return nil, refused
	}
	return r, nil
}

func (by Reader) read(text string) (*Reading, *Error) {
	r := &Reading{}
	rest := whole(narrow(text))
	if strings.Contains(rest.text(), "#") {
		version, gl, refused := cutCode(rest)
		if refused != nil {
			return nil, refused
		}
		r.version, rest, by = version, gl, by.under(version)
	}
	for more := true; more; {
		part, caret, after := rest.cut("^")
		if refused := by.readLocus(r, part); refused != nil {
			return nil, refused
		}
		more, rest = caret.text() != "", after
	}
	return r, nil
}

// CheckForm tells whether some release and some table of codes could read a text: it checks what Read does, but for what is in them. Its
// error is an *Error.
func CheckForm(text string) error {
	if _, refused := (Reader{formOnly: true}).read(text); refused != nil {
		return refused
	}
	return nil
}

func (by Reader) readLocus(r *Reading, part span) *Error {
	part = part.trim()
	if i := strings.IndexAny(part.text(), "~?"); i >= 0 {
		return part.sub(i, i+1).refuse(phased, "")
	}
	at := &LocusReading{Text: part.text()}
	var locus Locus
	unknown := true
	for more, rest := true, part; more; {
		alternative, bar, after := rest.cut("|")
		var pair [2]Copy
		n, first := 0, span{}
		for plus, copies := true, alternative; plus; n++ {
			text, sign, behind := copies.cut("+")
			text = text.trim()
			if n == len(pair) {
				return text.refuse(thirdCopy, locus)
			}
			c, where, refused := by.readCopy(text, locus)
			if refused != nil {
				return refused
			}
			if locus != "" && where != locus {
				return text.refuse(mixedLoci, where)
			}
			if n == 0 {
				first = text
			}
			locus, pair[n] = where, c
			unknown = unknown && c.Unknown
			plus, copies = sign.text() != "", behind
		}
		if n == 1 {
			if !locus.oneCopy() {
				return first.refuse(single, locus)
			}
			pair[1] = Copy{Forms: []Form{FormAbsent}}
		}
		at.Pairs = append(at.Pairs, pair)
		more, rest = bar.text() != "", after
	}
	if r.At(locus) != nil {
		return part.refuse(duplicate, locus)
	}
	if !unknown {
		r.at[locus.place()] = at
	}
	if by.explaining {
		r.steps = append(r.steps, by.locusStep(locus, at, unknown))
	}
	return nil
}

// readCopy reads the names of a copy, which stand with / between them. locus is that of what stands before, if anything does.
func (by Reader) readCopy(s span, locus Locus) (Copy, Locus, *Error) {
	out := Copy{Text: s.text()}
	prefixed := ""
	for more, rest := true, s; more; {
		name, slash, after := rest.cut("/")
		name = name.trim()
		c, where, refused := by.readName(name, locus, prefixed)
		if refused != nil {
			meant, at := by.meant(name.text(), refused, locus, prefixed)
			refused.Meant = meant
			switch {
			case refused.Locus != "":
			case meant != "":
				refused.Locus = at
			case refused.Reason == ReasonMalformed || refused.Reason == ReasonEmpty:
				refused.Locus = locus // it stands among the copies of this one
			}
			return Copy{}, "", refused
		}
		if locus != "" && where != locus {
			return Copy{}, "", name.refuse(mixedLoci, where)
		}
		locus = where
		if by.explaining {
			out.steps = append(out.steps, by.nameStep(name.text(), &c))
		}
		if c.Former != "" {
			out.Former = c.Former
		}
		out.Forms = append(out.Forms, c.Forms...)
		out.Names = append(out.Names, c.Names...)
		out.Alleles = append(out.Alleles, c.Alleles...)
		out.Unknown = out.Unknown || c.Unknown
		if number, is := numberOf(name.text()); is && prefixed == "" {
			prefixed = number
		}
		more, rest = slash.text() != "", after
	}
	slices.SortFunc(out.Alleles, Allele.compare)
	out.Alleles = slices.Compact(out.Alleles)
	if out.Unknown {
		out.Alleles = nil
	}
	return out, locus, nil
}

// numberOf is the first field of a name, which the names after it in an allele string may leave out.
func numberOf(name string) (string, bool) {
	_, number, star := strings.Cut(name, "*")
	first, _, more := strings.Cut(number, ":")
	return first, star && more
}

var (
	shortForm   = regexp.MustCompile(`^\d{2,4}(:\d{2,4}){0,3}[NLSCAQ]?$`)
	nameForm    = regexp.MustCompile(`^(?:HLA-)?([A-Z][A-Za-z0-9]*)\*(.*)$`)
	oldForm     = regexp.MustCompile(`^(\d\d)(\d\d)(\d\d)?(\d\d)?([NLSCAQ]?)$`)
	groupG      = regexp.MustCompile(`^\d{2,4}(:\d{2,4}){1,3}[Gg]$`)
	groupP      = regexp.MustCompile(`^\d{2,4}(:\d{2,4}){1,3}P$`)
	xxForm      = regexp.MustCompile(`^(\d{2,4})(:XX)?$`)
	codedForm   = regexp.MustCompile(`^(\d{2,4}):?([A-Z]{2,})$`)
	unknownForm = regexp.MustCompile(`^(UUUU|XXXX|NEW|\d{2,4}:NEW)$`)
)

// readName reads one name. In an allele string it may be short: locus and first are those of the names before it. What the reader's release
// does not have may be a name of the former one.
func (by Reader) readName(s span, locus Locus, first string) (Copy, Locus, *Error) {
	c, where, refused := by.readNow(s, locus, first)
	if refused == nil || !refused.lacking || by.Former == nil || by.Former == by.Release {
		return c, where, refused
	}
	former := by
	former.Release = by.Former
	c, where, older := former.readNow(s, locus, first)
	if older != nil {
		return Copy{}, "", refused
	}
	c.Former = by.Former.version
	return c, where, nil
}

func (by Reader) readNow(s span, locus Locus, first string) (Copy, Locus, *Error) {
	text := s.text()
	// Most names are alleles in full, and need none of the expressions below.
	if gene, number, star := strings.Cut(strings.TrimPrefix(text, prefix), "*"); star {
		a := Allele{place: uint8(Locus(gene).place() + 1)}
		if a.place > 0 && a.readNumber(number) {
			return by.readAllele(s, a, number)
		}
	}
	if first != "" && shortForm.MatchString(text) {
		if !strings.Contains(text, ":") {
			text = first + ":" + text
		}
		return by.readNumber(s, locus, text)
	}
	parts := nameForm.FindStringSubmatch(text)
	if parts == nil {
		if antigenForm.MatchString(strings.TrimPrefix(text, prefix)) {
			return by.readAntigen(s)
		}
		return Copy{}, "", s.refuse(diagnose(text))
	}
	gene := parts[1]
	if gene == "Cw" { // as before 2010
		gene = string(C)
	}
	if !Locus(gene).Valid() {
		return Copy{}, "", s.refuse(diagnose(text))
	}
	return by.readNumber(s, Locus(gene), parts[2])
}

// readNumber reads what stands behind the star.
func (by Reader) readNumber(s span, locus Locus, number string) (Copy, Locus, *Error) {
	if oldForm.MatchString(number) {
		number = renew(locus, number)
	}
	switch {
	case number == "NNNN":
		return copyOf(s, FormAbsent, locus, number, nil), locus, nil
	case unknownForm.MatchString(number):
		c := copyOf(s, FormUnknown, locus, number, nil)
		c.Unknown = true
		return c, locus, nil
	case groupG.MatchString(number), groupP.MatchString(number):
		return by.readGroup(s, locus, number)
	case xxForm.MatchString(number):
		return by.readXX(s, locus, number)
	case codedForm.MatchString(number):
		parts := codedForm.FindStringSubmatch(number)
		return by.readCode(s, locus, parts[1], parts[2])
	}
	a := Allele{place: uint8(locus.place() + 1)}
	if !a.readNumber(number) {
		return Copy{}, "", s.refuse(diagnose(string(locus) + "*" + number))
	}
	return by.readAllele(s, a, number)
}

// readAllele looks an allele up; number is how it is written behind the star.
func (by Reader) readAllele(s span, a Allele, number string) (Copy, Locus, *Error) {
	locus := a.Locus()
	if by.Release != nil && !by.Release.Knows(a) {
		return Copy{}, "", s.refuse(unknownAllele, locus)
	}
	c := copyOf(s, FormAllele, locus, number, []Allele{a.TwoField()})
	if by.explaining && by.Release != nil {
		c.by = by.Release.sourceOf(a)
	}
	return c, locus, nil
}

// copyOf is a copy of one name. Behind a locus the name is what stood there; where it stands in the text in full, no new text is made.
func copyOf(s span, form Form, locus Locus, number string, alleles []Allele) Copy {
	name := strings.TrimPrefix(s.text(), prefix)
	if locus != "" {
		if gene, behind, _ := strings.Cut(name, "*"); gene != string(locus) || behind != number {
			name = string(locus) + "*" + number
		}
	}
	return Copy{Forms: []Form{form}, Names: []string{name}, Text: s.text(), Alleles: alleles}
}

// renew writes a name of before 2010 as it is written since: A*02010102L as A*02:01:01:02L. Two digits were too few for the second field
// of A*02 and B*15, which went on as A*92 and B*95 (hla.alleles.org/nomenclature/naming_2010.html).
func renew(locus Locus, number string) string {
	parts := oldForm.FindStringSubmatch(number)
	first, second := parts[1], parts[2]
	switch {
	case locus == A && first == "92":
		first, second = "02", "1"+second
	case locus == B && first == "95":
		first, second = "15", "1"+second
	}
	out := first + ":" + second
	for _, field := range parts[3:5] {
		if field != "" {
			out += ":" + field
		}
	}
	return out + parts[5]
}

func (by Reader) readXX(s span, locus Locus, number string) (Copy, Locus, *Error) {
	first, ok := readField(xxForm.FindStringSubmatch(number)[1])
	if !ok {
		return Copy{}, "", s.refuse(malformed, locus)
	}
	out := copyOf(s, FormXX, locus, number, []Allele{{place: uint8(locus.place() + 1), fields: [maxFields]uint16{first}}})
	if by.Release != nil {
		if out.Alleles = by.Release.Proteins(locus, first); out.Alleles == nil {
			return Copy{}, "", s.refuse(unknownFirst, locus)
		}
		if by.explaining {
			out.by = by.Release.sourceOf(out.Alleles[0])
		}
	}
	return out, locus, nil
}

// readGroup reads a G or a P group. What makes no protein is in no P group, and is left out of a G group: who types a group says
// that what it names is expressed.
func (by Reader) readGroup(s span, locus Locus, number string) (Copy, Locus, *Error) {
	end := len(number) - 1
	a := Allele{place: uint8(locus.place() + 1)}
	if !a.readNumber(number[:end]) {
		return Copy{}, "", s.refuse(malformed, locus)
	}
	form := FormG
	if number[end] == 'P' {
		form = FormP
	}
	if by.formOnly {
		return copyOf(s, form, locus, number, nil), locus, nil
	}
	if by.Release == nil {
		return Copy{}, "", s.refuse(needsRelease, locus)
	}
	c := &by.Release.at[locus.place()]
	file := fileG
	g, known := c.gGroups[number]
	if form == FormP {
		file = fileP
		g, known = c.pGroups[number]
	} else if !known && number[end] == 'g' {
		// A small g is a P group with its null alleles, by the name of two fields.
		file = fileP
		g, known = c.pGroups[number[:end]+"P"]
	}
	out := copyOf(s, form, locus, number, nil)
	switch {
	case known:
		out.by = by.Release.source(file, g.line)
	case !by.Release.Knows(a) || c.named(a, number[end]) != "":
		return Copy{}, "", s.refuse(unknownGroup, locus)
	default: // a group of one allele has no name of its own: A*02:06g is A*02:06
		g = group{alleles: []Allele{a.TwoField()}}
		out.by = by.Release.sourceOf(a)
	}
	for _, member := range g.alleles {
		if member.Null() {
			out.dropped = append(out.dropped, Dropped{member.String(), DroppedNull})
		} else {
			out.Alleles = append(out.Alleles, member)
		}
	}
	if len(out.Alleles) == 0 {
		out.Alleles, out.dropped = slices.Clone(g.alleles), nil
	}
	return out, locus, nil
}

// named is the group that an allele is in by the name that the release gives it, as a G, g or P group; empty where it is alone in one.
func (c *catalogue) named(a Allele, kind byte) string {
	if kind == 'G' {
		return c.gOf[a.cut(3)]
	}
	unit := c.proteins[a.TwoField()].unit.number()
	if _, is := c.pGroups[unit+"P"]; !is {
		return ""
	}
	return unit + string(kind)
}

func (by Reader) readCode(s span, locus Locus, field, code string) (Copy, Locus, *Error) {
	first, ok := readField(field)
	if !ok {
		return Copy{}, "", s.refuse(malformed, locus)
	}
	out := copyOf(s, FormCode, locus, field+":"+code, nil)
	if by.formOnly {
		return out, locus, nil
	}
	if by.Codes == nil {
		return Copy{}, "", s.refuse(needsCodes, locus)
	}
	proteins, firsts, known := by.Codes.decode(locus, first, code)
	switch {
	case !known:
		return Copy{}, "", s.refuse(unknownCode, locus)
	case !slices.Contains(firsts, first):
		return Copy{}, "", s.refuse(wrongCode, locus)
	}
	for _, a := range proteins { // a code may be older or newer than the release
		if by.Release == nil || by.Release.Knows(a) {
			out.Alleles = append(out.Alleles, a)
		} else if by.explaining {
			out.dropped = append(out.dropped, Dropped{a.String(), DroppedRelease})
		}
	}
	if len(out.Alleles) == 0 {
		refused := s.refuse(emptyCode, locus)
		refused.lacking = true
		return Copy{}, "", refused
	}
	out.by = Source{File: fileCodes, Line: int(by.Codes.of[code].line)}
	return out, locus, nil
}

func (by Reader) readAntigen(s span) (Copy, Locus, *Error) {
	parts := antigenForm.FindStringSubmatch(strings.TrimPrefix(s.text(), prefix))
	_, locus := diagnose(s.text())
	if locus == "" {
		return Copy{}, "", s.refuse(malformed, "")
	}
	out := copyOf(s, FormAntigen, "", "", nil)
	if by.formOnly {
		return out, locus, nil
	}
	if by.Release == nil {
		return Copy{}, "", s.refuse(needsRelease, locus)
	}
	c := &by.Release.at[locus.place()]
	alleles, known := c.antigens[parts[2]]
	if !known || len(alleles) == 0 {
		return Copy{}, "", s.refuse(unknownSerum, locus)
	}
	out.Alleles = slices.Clone(alleles)
	if out.by = c.serology[parts[2]]; out.by.Line > 0 {
		out.by.Release = by.Release.version
	}
	return out, locus, nil
}

// Exact is what the reading says without a doubt: the loci at which each copy is one allele, the others not typed.
func (r *Reading) Exact() Typing {
	var t Typing
	for place, at := range r.at {
		if at == nil || len(at.Pairs) != 1 {
			continue
		}
		var pair [2]Allele
		whole := true
		for i, c := range at.Pairs[0] {
			absent := len(c.Alleles) == 0 && !c.Unknown && loci[place].oneCopy()
			if len(c.Alleles) == 1 && c.Alleles[0].Whole() {
				pair[i] = c.Alleles[0]
			} else if !absent {
				whole = false
			}
		}
		if pair[0] == (Allele{}) || pair[1] != (Allele{}) && pair[1].compare(pair[0]) < 0 {
			pair[0], pair[1] = pair[1], pair[0]
		}
		if whole {
			t.pairs[place] = pair
		}
	}
	return t
}

// String writes the reading as a GL String in one way only: the loci in the order of Loci, the names in full and in order, each with the prefix
// HLA-. Whoever reads it by the same releases reads the same, and of alleles alone it is what Typing writes.
func (r *Reading) String() string {
	var parts []string
	for _, locus := range r.Loci() {
		var pairs []string
		for _, pair := range r.at[locus.place()].Pairs {
			pairs = append(pairs, canonical(pair, locus))
		}
		slices.Sort(pairs)
		parts = append(parts, strings.Join(slices.Compact(pairs), "|"))
	}
	text := strings.Join(parts, "^")
	if t, err := ParseTyping(text); err == nil {
		return t.String()
	}
	return text
}

func canonical(pair [2]Copy, locus Locus) string {
	var copies []string
	for _, c := range pair {
		names := make([]string, len(c.Names))
		for i, name := range c.Names {
			names[i] = prefix + name
		}
		slices.Sort(names)
		if names = slices.Compact(names); len(names) > 0 {
			copies = append(copies, strings.Join(names, "/"))
		}
	}
	absent := prefix + string(locus) + "*NNNN"
	if locus.oneCopy() && len(copies) == 2 && copies[0] != copies[1] {
		copies = slices.DeleteFunc(copies, func(c string) bool { return c == absent })
	}
	slices.Sort(copies)
	return strings.Join(copies, "+")
}

// narrow writes the full-width characters of Chinese keyboards as what they stand for.
func narrow(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '！' && r <= '～':
			return r - '！' + '!'
		case r == '　':
			return ' '
		case r == '×' || r == '∗' || r == '﹡':
			return '*'
		}
		return r
	}, text)
}
