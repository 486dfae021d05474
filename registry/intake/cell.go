package intake

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/liferelay/liferelay/registry/calendar"
)

// Row is one row of a sheet. It marshals to JSON and back whole, so that a row can be kept and checked again.
type Row struct {
	No      int    `json:"no"`                // as the spreadsheet shows it, the first row is 1
	Cells   []Cell `json:"cells"`             // by column, the first is 0; may be shorter than the header
	Settled bool   `json:"settled,omitempty"` // imported from this workbook's parent, and not changed since
}

// Cell is one value, as a person sees it: half-width, without spaces around it, in one line. It is personal text: in
// print it shows its length only.
type Cell struct {
	Text string `json:"text,omitempty"`
	// Numeric says that the spreadsheet holds a number, of which it keeps fifteen digits.
	Numeric bool `json:"numeric,omitempty"`
	// Formula says that the text is the last saved result of a formula.
	Formula bool `json:"formula,omitempty"`
	// Broken says that the spreadsheet holds an error value such as #N/A.
	Broken bool `json:"broken,omitempty"`
	// Date is the day that a numeric cell means, zero when it cannot be one. Text is the same day when the cell's number
	// format is a date.
	Date calendar.Date `json:"date,omitzero"`
}

// Format prints the length of the text, whatever the verb.
func (c Cell) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "[%d]", utf8.RuneCountInString(c.Text))
}

// Typed is the cell that somebody typed by hand, brought to the form of those that were read.
func Typed(text string) Cell { return Cell{Text: clean(text)} }

// Cell is the cell of a column, empty when the row ends before it.
func (r Row) Cell(column int) Cell {
	if column < 0 || column >= len(r.Cells) {
		return Cell{}
	}
	return r.Cells[column]
}

func (r Row) blank() bool {
	for _, c := range r.Cells {
		if c.Text != "" {
			return false
		}
	}
	return true
}

// clean brings a text to the form in which cells are compared and read: full-width forms become half-width, line breaks
// and wide spaces become spaces, and what has no width is dropped.
//
// Only the forms that differ in width are folded. Folding all compatibility characters would turn ① into 1 and a rare
// Han character into its common cousin.
func clean(text string) string {
	if tidy(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	gap := false
	for _, r := range text {
		switch {
		case unicode.IsSpace(r), r == '\u3164', r == '\uFFA0', unicode.IsControl(r) && r < 0x20:
			gap = b.Len() > 0
			continue
		case weightless(r):
			continue
		case 0xFF01 <= r && r <= 0xFF5E: // full-width ASCII
			r -= 0xFEE0
		case r == 0xFFE3: // the macron, which is a space and a mark in its compatible form
			r = 0xAF
		case 0xFFE0 <= r && r <= 0xFFE6:
			r = []rune(norm.NFKC.String(string(r)))[0]
		}
		if gap {
			b.WriteByte(' ')
			gap = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// tidy tells whether clean would change nothing, for the usual case without a copy.
func tidy(text string) bool {
	last := byte(' ')
	for i := range len(text) {
		c := text[i]
		switch {
		case c < 0x20 || c == 0x7F:
			return false
		case c == ' ' && last == ' ':
			return false
		case c >= utf8.RuneSelf:
			switch c {
			case 0xC2, 0xE1, 0xE2, 0xE3, 0xEF, 0xF3: // where the spaces, the weightless and the full-width forms begin
				r, _ := utf8.DecodeRuneInString(text[i:])
				if unicode.IsSpace(r) || weightless(r) || r == '\u3164' || (0xFF01 <= r && r <= 0xFFE6) || r == utf8.RuneError {
					return false
				}
			}
		}
		last = c
	}
	return text == "" || last != ' '
}

// weightless tells whether a character shows nothing: zero-width spaces, joiners, marks of direction and byte order.
func weightless(r rune) bool {
	switch {
	case 0x200B <= r && r <= 0x200F, 0x202A <= r && r <= 0x202E, 0x2060 <= r && r <= 0x2069:
		return true
	case r == 0xFEFF, r == 0x00AD, r == 0x180E, r == 0x061C:
		return true
	}
	return false
}

// fold brings a heading or a word to the form in which the tables of synonyms hold it: small letters, without spaces
// and without the marks that people decorate headings with.
func fold(text string) string {
	var b strings.Builder
	for _, r := range norm.NFKC.String(text) {
		if unicode.IsSpace(r) || weightless(r) || strings.ContainsRune("*:.,;'\"“”‘’、。,:;_-—·()[]{}<>《》【】〔〕/\\|+&?!", r) {
			continue
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
