package intake

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/seal"
)

// Table is the part of a sheet that holds a list: a header and the rows under it.
type Table struct {
	Sheet     string
	HeaderRow int // as the spreadsheet shows it; of a header in two rows the second
	Headers   []Header

	file     *File
	first    int // number of the first row of the list
	width    int // columns that are read
	own      map[int]bool
	rowKey   int // the column of row keys in a workbook of ours, else -1
	vertical []area
	merged   []area // in the header
}

// Header is one column's heading.
type Header struct {
	Column  int         `json:"column"` // from 0
	Text    string      `json:"text"`   // of a header in two rows both texts
	Key     Field       `json:"key,omitempty"`
	Samples []seal.Note `json:"-"` // the first two values
}

// A header is looked for in the first rows that are not blank.
const headerRows = 50

// Table finds the list in a sheet. Without a name it takes the first sheet that has a header, and warns with F011 when
// others have one too. The table is nil when a problem stops it: F003, or F001 for a sheet that turns out to be damaged.
func (f *File) Table(sheet string) (*Table, forms.Problems) {
	if sheet == "" && f.origin.sheet != "" && slices.Contains(f.Sheets(), f.origin.sheet) {
		sheet = f.origin.sheet
	}
	noHeader := forms.Problems{{Code: "F003", Args: map[string]any{"Rows": headerRows}}}
	if sheet != "" {
		if !slices.Contains(f.Sheets(), sheet) {
			return nil, noHeader
		}
		t, err := f.find(sheet)
		switch {
		case err != nil:
			return nil, f.unreadable(err)
		case t == nil:
			return nil, noHeader
		}
		return t, nil
	}
	var found *Table
	for _, name := range f.Sheets() {
		t, err := f.find(name)
		switch {
		case err != nil:
			return nil, f.unreadable(err)
		case t == nil:
		case found != nil:
			return found, forms.Problems{{Code: "F011", Args: map[string]any{"Sheet": found.Sheet}}}
		default:
			found = t
		}
	}
	if found == nil {
		return nil, noHeader
	}
	return found, nil
}

// unreadable is the problem that an error of a sheet is to whoever sent it.
func (f *File) unreadable(err error) forms.Problems {
	var problems forms.Problems
	switch {
	case errors.As(err, &problems):
		return problems
	case errors.Is(err, errTooLarge):
		return forms.Problems{f.limits.tooLarge()}
	}
	return forms.Problems{{Code: "F001"}}
}

// find looks for a header in a sheet; it gives nil when there is none.
func (f *File) find(sheet string) (*Table, error) {
	var top []Row
	for row, err := range f.rows(sheet) {
		if err != nil {
			return nil, err
		}
		if row.blank() {
			continue
		}
		row.Cells = slices.Clone(row.Cells)
		if top = append(top, row); len(top) == headerRows {
			break
		}
	}
	header, keys, rest := chooseHeader(top)
	if header.score == 0 {
		return nil, nil
	}
	t := &Table{Sheet: sheet, HeaderRow: header.row, file: f, rowKey: -1, own: map[int]bool{}}
	t.first = max(t.HeaderRow, keys.No) + 1
	width := max(len(header.texts), len(keys.Cells))
	for _, row := range rest {
		width = max(width, len(row.Cells))
	}
	for column := range width {
		h := Header{Column: column, Key: Field(keys.Cell(column).Text)}
		if column < len(header.texts) {
			h.Text = header.texts[column]
		}
		if t.isOwn(h.Text) {
			t.own[column] = true
			if h.Text == rowKeyHeading {
				t.rowKey = column
			}
			continue
		}
		for _, row := range rest {
			if c := row.Cell(column); c.Text != "" && len(h.Samples) < 2 {
				h.Samples = append(h.Samples, seal.NoteOf(c.Text))
			}
		}
		if h.Text != "" || h.Key != "" || len(h.Samples) > 0 {
			t.Headers = append(t.Headers, h)
			t.width = column + 1
		}
	}
	if f.book != nil {
		areas, err := f.book.merged(f.part(sheet))
		if err != nil {
			return nil, err
		}
		for _, a := range areas {
			switch {
			case a.lastRow < t.first:
				t.merged = append(t.merged, a)
			case a.firstRow >= t.first && a.lastRow > a.firstRow && a.firstColumn < t.width && !t.own[a.firstColumn]:
				t.vertical = append(t.vertical, a)
			}
		}
		slices.SortFunc(t.vertical, func(a, b area) int { return a.firstRow - b.firstRow })
	}
	return t, nil
}

// rowKeyHeading heads the hidden column of row keys in an annotated workbook.
const rowKeyHeading = "liferelay:row"

// isOwn tells whether a column was added by Annotate.
func (t *Table) isOwn(heading string) bool {
	if t.file.Parent() == "" || heading == "" {
		return false
	}
	if heading == rowKeyHeading {
		return true
	}
	for _, l := range lang.Locales() {
		if slices.Contains(resultHeadings(l), heading) {
			return true
		}
	}
	return false
}

// isKeys tells whether a row is the template's row of machine keys.
func isKeys(row Row) bool {
	keys := 0
	for _, c := range row.Cells {
		switch {
		case c.Text == "" || c.Text == rowKeyHeading:
		case !Field(c.Text).Valid():
			return false
		default:
			keys++
		}
	}
	return keys >= 2
}

// header is a guess: where a header ends, its texts by column, and how many fields they name.
type header struct {
	row, score int
	texts      []string
}

// chooseHeader takes the row over the template's row of machine keys, else the row, or the two rows one under the other,
// that name the most fields. Two rows must name two more than one, since a row of data under a header names none. It
// returns the rows below too.
func chooseHeader(top []Row) (best header, keys Row, rest []Row) {
	if i := slices.IndexFunc(top, isKeys); i > 0 && top[i-1].No == top[i].No-1 {
		return header{top[i-1].No, 1, textsOf(top[i-1])}, top[i], top[i+1:]
	}
	for i, row := range top {
		texts := textsOf(row)
		if score := scoreHeadings(texts); score > best.score {
			best, rest = header{row.No, score, texts}, top[i+1:]
		}
	}
	for i := 0; i+1 < len(top); i++ {
		if top[i+1].No != top[i].No+1 {
			continue
		}
		texts := joinHeadings(top[i], top[i+1])
		if score := scoreHeadings(texts); score > best.score+1 {
			best, rest = header{top[i+1].No, score, texts}, top[i+2:]
		}
	}
	return best, keys, rest
}

func textsOf(row Row) []string {
	texts := make([]string, len(row.Cells))
	for c, cell := range row.Cells {
		texts[c] = cell.Text
	}
	return texts
}

// scoreHeadings counts the fields that texts name, less the times that one is named again. Fewer than two, or two without
// a name or a number among them, are taken for chance.
func scoreHeadings(texts []string) int {
	found, again := map[Field]bool{}, 0
	for _, text := range texts {
		if text == "" {
			continue
		}
		f, ok := vocabulary().exact(text)
		if !ok {
			f, ok = vocabulary().near(text)
		}
		if !ok || f == Ignore {
			continue
		}
		if found[f] {
			again++
		}
		found[f] = true
	}
	if n := len(found); n > 2 || n == 2 && (found[Name] || found[DocumentNumber]) {
		return max(n-again, 1)
	}
	return 0
}

// joinHeadings reads two rows as one header: an upper text stands over all columns up to the next, as merged cells do.
// Both together are a heading when the table knows them so, else whichever of the two it knows.
func joinHeadings(upper, lower Row) []string {
	known := func(text string) bool {
		_, ok := vocabulary().exact(text)
		if !ok && text != "" {
			_, ok = vocabulary().near(text)
		}
		return ok
	}
	texts := make([]string, max(len(upper.Cells), len(lower.Cells)))
	over := ""
	for c := range texts {
		up, low := upper.Cell(c).Text, lower.Cell(c).Text
		if up != "" {
			over = up
		}
		switch both := over + " " + low; {
		case low == "":
			texts[c] = up
		case over != "" && known(both):
			texts[c] = both
		case up != "" && known(up):
			texts[c] = up
		default:
			texts[c] = low
		}
	}
	return texts
}

// Rows runs over the rows of the list that are not blank, once more each time. An error ends it: forms.Problems with F007
// behind the last row that the limits allow, or with F001 where the file is damaged. A row is good until the next; clone
// its Cells to keep it.
func (t *Table) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		count := 0
		spread := spreader{areas: t.vertical, active: map[int]shared{}}
		for row, err := range t.file.rows(t.Sheet) {
			if err != nil {
				yield(Row{}, t.file.unreadable(err))
				return
			}
			if row.No < t.first {
				continue
			}
			key := row.Cell(t.rowKey).Text
			t.trim(&row)
			blank := row.blank()
			spread.apply(&row, blank)
			if blank {
				continue
			}
			if count++; count > t.file.limits.Rows {
				yield(Row{}, forms.Problems{t.file.limits.tooLarge()})
				return
			}
			row.Settled = key != "" && key == t.keyOf(row)
			if !yield(row, nil) {
				return
			}
		}
	}
}

// trim leaves the user's own columns.
func (t *Table) trim(row *Row) {
	row.Cells = row.Cells[:min(len(row.Cells), t.width)]
	for column := range t.own {
		if column < len(row.Cells) {
			row.Cells[column] = Cell{}
		}
	}
}

// spreader gives every row of an area that is merged downwards the value that the spreadsheet shows for it.
type spreader struct {
	areas  []area         // by first row
	active map[int]shared // by column: areas do not overlap
}

type shared struct {
	lastRow int
	cell    Cell
}

func (s *spreader) apply(row *Row, blank bool) {
	for len(s.areas) > 0 && s.areas[0].firstRow <= row.No {
		if a := s.areas[0]; a.firstRow == row.No {
			s.active[a.firstColumn] = shared{a.lastRow, row.Cell(a.firstColumn)}
		}
		s.areas = s.areas[1:]
	}
	if blank {
		return
	}
	for column, a := range s.active {
		if a.lastRow < row.No {
			delete(s.active, column)
			continue
		}
		for len(row.Cells) <= column {
			row.Cells = append(row.Cells, Cell{})
		}
		if row.Cells[column].Text == "" {
			row.Cells[column] = a.cell
		}
	}
}

// keyOf is a digest of what a row says, whatever the order of its columns.
func (t *Table) keyOf(row Row) string {
	var parts []string
	for _, h := range t.Headers {
		if text := row.Cell(h.Column).Text; text != "" {
			parts = append(parts, h.Text+"\x1f"+text)
		}
	}
	slices.Sort(parts)
	sum := sha256.Sum256([]byte(t.file.origin.batch + "\x1e" + strings.Join(parts, "\x1e")))
	return hex.EncodeToString(sum[:10])
}
