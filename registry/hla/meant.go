package hla

import (
	"iter"
	"regexp"
	"slices"
	"strings"
)

// slip is a name that was refused, and where it stood.
type slip struct {
	text    string
	locus   Locus  // of the names before it, if any
	first   string // their first field
	refused *Error
}

// repairs are what slips of the pen are, the likeliest first. Each gives names that may have been meant. A repair of which just one name can be read
// is taken; of several nobody knows which.
var repairs = []struct {
	of func(Reader, slip) iter.Seq[string]
	// any: the first that can be read is taken.
	any bool
}{
	{Reader.tidied, true},
	{Reader.otherCode, true},
	{Reader.otherGroup, true},
	{Reader.antigenBehindStar, true},
	{Reader.antigenOfClass, true},
	{Reader.antigenOfClassTwo, false},
	{Reader.antigenElsewhere, false},
	{Reader.otherSuffix, true},
	{Reader.shorter, true},
	{Reader.swapped, false},
	{Reader.oneOther, false},
}

// meant finds what was probably meant by a name that was refused: another name which this reader reads. It finds nothing where the name is
// in order and only a release is missing.
func (by Reader) meant(text string, refused *Error, locus Locus, first string) (name string, at Locus) {
	if refused.Reason == ReasonRelease || text == "" || len(text) > 40 {
		return "", ""
	}
	s := slip{text, locus, first, refused}
	for _, repair := range repairs {
		found := 0
		for candidate := range repair.of(by, s) {
			c, where, bad := by.readName(whole(candidate), "", "")
			if bad != nil || c.Unknown || candidate == text || found > 0 && c.Names[0] == name {
				continue
			}
			name, at = c.Names[0], where
			if found++; repair.any || found > 1 {
				break
			}
		}
		if found == 1 {
			return name, at
		}
	}
	return "", ""
}

// each are the given texts.
func each(texts ...string) iter.Seq[string] { return slices.Values(texts) }

// edits put right how a name is written, one after the other; what comes out of each is tried.
var edits = []func(string, slip) string{
	withRegexp(`[\s\p{Zs}\x{200B}\x{FEFF}"'`+"`"+`]+`, ""),
	withRegexp(`(?i)^HLA[-_:*]*`, ""),
	// A small l for the digit that looks like it.
	withRegexp(`([*:])l(\d)`, "${1}1${2}"),
	withRegexp(`([*:][\doO])l(:|$)`, "${1}1${2}"),
	func(text string, _ slip) string { return raise(text) },
	digits,
	// No star, or another sign in its place.
	withRegexp(`^(DRB[1345]|D[QP][AB]1|D[QP][AB]|DRB|D[RQP]|CW|[ABCE])[*:_./-]*(\d\d.*|\d[:.,;_-].*)$`, "$1*$2"),
	// A locus as some write it.
	withTable(regexp.MustCompile(`^(CW|DRB?|DQB?|DPB?|DQA|DPA)(\*.*)$`), map[string]string{
		"CW": "C", "DR": "DRB1", "DRB": "DRB1", "DQ": "DQB1", "DQB": "DQB1", "DP": "DPB1", "DPB": "DPB1", "DQA": "DQA1", "DPA": "DPA1",
	}),
	// No locus where the name before it has one.
	func(text string, s slip) string {
		if s.locus == "" || text == "" || text[0] != '*' && (text[0] < '0' || text[0] > '9') {
			return text
		}
		text = strings.TrimPrefix(text, "*")
		if s.first != "" && !strings.ContainsAny(text, ":.,;-_") && len(text) < 4 {
			text = s.first + ":" + text
		}
		return string(s.locus) + "*" + text
	},
	// Another sign in the place of a colon, or too many.
	func(text string, _ slip) string {
		gene, number, star := strings.Cut(text, "*")
		if !star {
			return text
		}
		return gene + "*" + strings.Trim(separators.ReplaceAllString(number, ":"), ":")
	},
	// Fields without their zero, or with too many.
	func(text string, _ slip) string {
		gene, number, star := strings.Cut(text, "*")
		if !star {
			return text
		}
		fields := strings.Split(number, ":")
		for i, field := range fields {
			n := len(field) - len(strings.TrimLeft(field, "0123456789"))
			value := strings.TrimLeft(field[:n], "0")
			switch {
			case n == 0:
				continue
			case len(fields) == 1 && n >= 3: // as before 2010: 201 is 0201
				value = strings.Repeat("0", n%2) + field[:n]
			case len(value) < 2:
				value = strings.Repeat("0", 2-len(value)) + value
			}
			fields[i] = value + field[n:]
		}
		return gene + "*" + strings.Join(fields, ":")
	},
}

var separators = regexp.MustCompile(`[:.,;_-]+`)

func withRegexp(form, with string) func(string, slip) string {
	compiled := regexp.MustCompile(form)
	return func(text string, _ slip) string { return compiled.ReplaceAllString(text, with) }
}

// withTable writes the first group of a form as a table has it.
func withTable(form *regexp.Regexp, table map[string]string) func(string, slip) string {
	return func(text string, _ slip) string {
		parts := form.FindStringSubmatch(text)
		if parts == nil {
			return text
		}
		return table[parts[1]] + parts[2]
	}
}

// raise writes in capitals what is written in them: all but the g of a group and the w of an antigen.
func raise(text string) string {
	out := []byte(strings.ToUpper(text))
	if len(out) != len(text) {
		return text
	}
	if end := len(out) - 1; end > 0 && text[end] == 'g' && text[end-1] >= '0' && text[end-1] <= '9' {
		out[end] = 'g'
	}
	if w := strings.IndexByte(string(out), 'W'); w > 0 && !strings.Contains(text, "*") {
		out[w] = 'w'
	}
	return string(out)
}

var lettersForDigits = regexp.MustCompile(`([\d:*])[OI]|[OI]([\d:])`)

// digits writes O and I, for the digits that look like them, where a number stands. No locus has such a letter.
func digits(text string, _ slip) string {
	for range 3 { // what is put right may stand beside the next
		text = lettersForDigits.ReplaceAllStringFunc(text, func(part string) string { return strings.NewReplacer("O", "0", "I", "1").Replace(part) })
	}
	return text
}

func (by Reader) tidied(s slip) iter.Seq[string] {
	return func(yield func(string) bool) {
		text := s.text
		for _, edit := range edits {
			if after := edit(text, s); after != text {
				if text = after; !yield(text) {
					return
				}
			}
		}
	}
}

// split takes a name apart that is in order but for what is behind its star.
func (s slip) split() (locus Locus, number string, ok bool) {
	gene, number, star := strings.Cut(strings.TrimPrefix(s.text, prefix), "*")
	if gene == "Cw" {
		gene = string(C)
	}
	return Locus(gene), number, star && Locus(gene).Valid()
}

// otherCode: a code of whole names behind another first field than most of them have.
func (by Reader) otherCode(s slip) iter.Seq[string] {
	locus, number, ok := s.split()
	parts := codedForm.FindStringSubmatch(number)
	if !ok || parts == nil || by.Codes == nil {
		return each()
	}
	return func(yield func(string) bool) {
		first, _ := readField(parts[1])
		_, firsts, _ := by.Codes.decode(locus, first, parts[2])
		for _, field := range firsts {
			if !yield(string(locus) + "*" + string(appendField(nil, field)) + ":" + parts[2]) {
				return
			}
		}
	}
}

// otherGroup: a group that the release calls otherwise, such as A*02:01G, which is A*02:01:01G, and A*02:01:01P, which is A*02:01P.
func (by Reader) otherGroup(s slip) iter.Seq[string] {
	locus, number, ok := s.split()
	if !ok || by.Release == nil || !groupG.MatchString(number) && !groupP.MatchString(number) {
		return each()
	}
	end := len(number) - 1
	a := Allele{place: uint8(locus.place() + 1)}
	if !a.readNumber(number[:end]) {
		return each()
	}
	c := &by.Release.at[locus.place()]
	return func(yield func(string) bool) {
		for _, cut := range []Allele{a, a.cut(2)} {
			if named := c.named(cut, number[end]); named != "" && !yield(string(locus)+"*"+named) {
				return
			}
		}
	}
}

var firstOnly = regexp.MustCompile(`^0?(\d{1,4})(:XX)?$`)

// antigenBehindStar: DRB1*17 for DR17, an antigen and no first field.
func (by Reader) antigenBehindStar(s slip) iter.Seq[string] {
	locus, number, ok := s.split()
	parts := firstOnly.FindStringSubmatch(number)
	if !ok || parts == nil {
		return each()
	}
	return each(locus.Antigen(parts[1]))
}

var (
	classTwo = regexp.MustCompile(`^(D[RQP])[AB]?1?w?([1-9]\d{0,3})$`)
	anyClass = regexp.MustCompile(`^(?:D[RQP]|[ABC])[AB]?w?([1-9]\d{0,3})$`)
)

// antigenOfClass: the letters of a gene before the number of an antigen: DRB17 for DR17.
func (by Reader) antigenOfClass(s slip) iter.Seq[string] {
	parts := classTwo.FindStringSubmatch(strings.TrimPrefix(s.text, prefix))
	if parts == nil {
		return each()
	}
	return each(parts[1] + parts[2])
}

// antigenOfClassTwo: the letters of another gene of class II, where one of them has an antigen of that number: DQ17 for DR17.
func (by Reader) antigenOfClassTwo(s slip) iter.Seq[string] {
	parts := classTwo.FindStringSubmatch(strings.TrimPrefix(s.text, prefix))
	if parts == nil {
		return each()
	}
	return each("DR"+parts[2], "DQ"+parts[2], "DPw"+parts[2])
}

// antigenElsewhere: the letters of any other gene: A27 for B27.
func (by Reader) antigenElsewhere(s slip) iter.Seq[string] {
	parts := anyClass.FindStringSubmatch(strings.TrimPrefix(s.text, prefix))
	if parts == nil {
		return each()
	}
	return func(yield func(string) bool) {
		for _, letters := range []string{"A", "B", "Cw", "DR", "DQ", "DPw"} {
			if !yield(letters + parts[1]) {
				return
			}
		}
	}
}

// otherSuffix: a suffix too many or too few. A null allele must have its N.
func (by Reader) otherSuffix(s slip) iter.Seq[string] {
	if s.refused.Reason != ReasonUnknown {
		return each()
	}
	bare := strings.TrimRight(s.text, suffixes)
	return func(yield func(string) bool) {
		for _, suffix := range append([]string{""}, strings.Split(suffixes, "")...) {
			if !yield(bare + suffix) {
				return
			}
		}
	}
}

// shorter: fields that the release does not have, of an allele that it has.
func (by Reader) shorter(s slip) iter.Seq[string] {
	if s.refused.Reason != ReasonUnknown && strings.Count(s.text, ":") < maxFields || groupEnd.MatchString(s.text) {
		return each() // an allele is less than a group
	}
	return func(yield func(string) bool) {
		text := strings.TrimRight(s.text, suffixes)
		for strings.Count(text, ":") > 1 {
			if text = text[:strings.LastIndexByte(text, ':')]; !yield(text) {
				return
			}
		}
	}
}

var groupEnd = regexp.MustCompile(`[GgP]$`)

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// swapped: two digits in each other's place.
func (by Reader) swapped(s slip) iter.Seq[string] {
	if s.refused.Reason != ReasonUnknown {
		return each()
	}
	return func(yield func(string) bool) {
		for i := s.behind(); i+1 < len(s.text); i++ {
			if !isDigit(s.text[i]) || !isDigit(s.text[i+1]) || s.text[i] == s.text[i+1] {
				continue
			}
			if !yield(s.text[:i] + s.text[i+1:i+2] + s.text[i:i+1] + s.text[i+2:]) {
				return
			}
		}
	}
}

// oneOther: one digit is another, too many or missing.
func (by Reader) oneOther(s slip) iter.Seq[string] {
	if s.refused.Reason != ReasonUnknown {
		return each()
	}
	return func(yield func(string) bool) {
		for i := s.behind(); i <= len(s.text); i++ {
			before, after := s.text[:i], s.text[i:]
			if after != "" && isDigit(after[0]) && !yield(before+after[1:]) {
				return
			}
			for _, digit := range "0123456789" {
				if !yield(before + string(digit) + after) {
					return
				}
				if after != "" && isDigit(after[0]) && !yield(before+string(digit)+after[1:]) {
					return
				}
			}
		}
	}
}

// behind is where the number of a name begins.
func (s slip) behind() int { return strings.IndexByte(s.text, '*') + 1 }
