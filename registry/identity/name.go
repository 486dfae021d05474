package identity

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	maxName   = 50
	middleDot = '·' // U+00B7, as on identity cards
)

// ParseName reads a person's name, in Han or any other letters, and gives it in one form: without invisible characters and
// without spaces around it or between Han characters, one space elsewhere, the dot between the parts of a name always
// U+00B7, full-width letters half-width. A full stop between Han characters counts as that dot.
//
// Refused are names of more than 50 characters, and anything but letters, 〇, the dot, spaces, hyphens, apostrophes and full
// stops: digits, symbols, emoji, and characters that have no place in Unicode and so none in GB 18030. A name in the
// private area, as some systems write rare characters, is refused too: another system would show another character.
// The error is *InputError.
func ParseName(raw string) (string, error) {
	refuse := func(r Reason) (string, error) { return "", &InputError{FieldName, r} }
	if len(raw) > maxInput {
		return refuse(ReasonLength)
	}
	if !utf8.ValidString(raw) {
		return refuse(ReasonCharacters)
	}
	name := []rune(norm.NFKC.String(strings.Map(func(r rune) rune {
		switch {
		case invisible(r):
			return -1
		case strings.ContainsRune("•・･‧∙⋅·", r):
			return middleDot
		case unicode.IsSpace(r) && !unicode.IsControl(r), r == '\t', r == '\n', r == '\r':
			return ' '
		}
		return r
	}, raw)))
	for i, r := range name {
		if r == '.' && i > 0 && i < len(name)-1 && ideograph(name[i-1]) && ideograph(name[i+1]) {
			name[i] = middleDot
		}
	}
	name = spaced(name)
	letters := 0
	for i, r := range name {
		switch {
		case letter(r):
			letters++
		case unicode.IsMark(r) && i > 0, strings.ContainsRune(" -.'’", r), r == middleDot && i > 0 && i < len(name)-1:
		default:
			return refuse(ReasonCharacters)
		}
	}
	switch {
	case len(name) == 0:
		return refuse(ReasonEmpty)
	case letters == 0:
		return refuse(ReasonCharacters)
	case len(name) > maxName:
		return refuse(ReasonLength)
	}
	return string(name), nil
}

// spaced keeps one space where letters of other scripts need it and none elsewhere.
func spaced(name []rune) []rune {
	var out []rune
	gap := false
	for _, r := range name {
		if r == ' ' {
			gap = len(out) > 0
			continue
		}
		if gap {
			last := out[len(out)-1]
			if r != middleDot && last != middleDot && !(ideograph(last) && ideograph(r)) {
				out = append(out, ' ')
			}
			gap = false
		}
		out = append(out, r)
	}
	return out
}

func letter(r rune) bool { return unicode.IsLetter(r) || ideograph(r) }

// ideograph says that a character is a Han character. Two blocks are newer than the tables of the Go release: extensions I
// (Unicode 15.1, added for GB 18030) and J (Unicode 17).
func ideograph(r rune) bool {
	return unicode.Is(unicode.Han, r) && (unicode.IsLetter(r) || r == '〇') ||
		(0x2EBF0 <= r && r <= 0x2EE5D) || (0x323B0 <= r && r <= 0x33479)
}

// UnusualLength says that a name, as ParseName gives it, has an unusual number of characters and deserves a second look: other than
// two to four in Han, or than four to twenty with the dot of a transcribed name; other than three to forty in letters.
func UnusualLength(name string) bool {
	han, n := false, 0
	for _, r := range name {
		han = han || ideograph(r)
		n++
	}
	switch {
	case han && strings.ContainsRune(name, middleDot):
		return n < 4 || n > 20
	case han:
		return n < 2 || n > 4
	}
	return n < 3 || n > 40
}
