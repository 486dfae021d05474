package intake

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"

	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
)

// RowResults are what an annotated workbook says about the rows of a sheet.
type RowResults struct {
	Batch   string  // File.Parent of the workbook when it comes back
	Mapping Mapping // under which the rows were checked
	// Of is the result of the row of that number. It is asked twice for each row, in order; a row without one is left as
	// it is.
	Of func(row int) (RowResult, bool)
}

// RowResult is what became of a row.
type RowResult struct {
	Verdict  Verdict
	Outcome  Outcome // "" before the batch is committed
	Problems forms.Problems
	Donor    string // the donor's number, when there is one
}

// Outcome is what committing a row did.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated" // only blank fields were filled
	Unchanged Outcome = "unchanged"
	Linked    Outcome = "linked" // a new sample of a known donor
	Skipped   Outcome = "skipped"
	Parked    Outcome = "parked" // waits for somebody to compare it with another person
	Failed    Outcome = "failed"
)

// settled tells whether the row need not be tried again as long as nobody changes it.
func (r RowResult) settled() bool {
	return slices.Contains([]Outcome{Created, Updated, Unchanged, Linked, Parked}, r.Outcome)
}

// fine tells whether there is nothing left to do about the row.
func (r RowResult) fine() bool { return r.settled() || r.Outcome == "" && r.Verdict == Ready }

// A workbook with more comments than this opens slowly. The columns at the end have every problem all the same.
const maxComments = 5000

// resultHeadings are the headings of the columns that Annotate adds.
func resultHeadings(l lang.Locale) []string {
	return []string{l.Say("intake.result.result", nil), l.Say("intake.result.problem", nil), l.Say("intake.result.mend", nil)}
}

// Annotate writes an .xlsx workbook with the sheet as it was sent in: the same rows under the same numbers, the same
// columns, the user's headings and what stood above them. At the end come three columns with the result, the problem and how
// to mend it. Cells with a fault are pink, with a doubt yellow, and carry a comment; rows with nothing left to do are grey.
// A second sheet lists the codes. Formulas have become their values, and nothing of the original's macros and links
// is left.
//
// A hidden column holds a digest of each row that was imported. When the workbook is sent in again, File.Parent is the
// batch, and Row.Settled tells such a row unless it was changed.
func Annotate(w io.Writer, original *File, t *Table, results RowResults, l lang.Locale) error {
	b, err := newBook(t.Sheet)
	if err != nil {
		return err
	}
	defer b.Close()
	a := &annotator{book: b, table: t, results: results, locale: l, sayings: map[string][2]string{}, fields: map[int]Field{}}
	for _, c := range results.Mapping.Columns {
		a.fields[c.Column] = c.Field
	}
	o := original.origin
	o.batch, o.sheet = results.Batch, b.sheet
	if err := b.hide(o); err != nil {
		return err
	}
	if err := a.prepare(); err != nil {
		return err
	}
	// The rows' keys are those of the new file.
	keys := *t
	keys.file = &File{origin: o}
	return b.writeRows(w, t.merged, func(rw *rowWriter) error { return a.write(rw, &keys) })
}

type annotator struct {
	*book
	table   *Table
	results RowResults
	locale  lang.Locale
	fields  map[int]Field
	sayings map[string][2]string
}

// say says what is wrong and how to mend it; most problems of a sheet are a few, said again and again.
func (a *annotator) say(p forms.Problem) (is, mend string) {
	key := p.Code + "\x1f" + p.Field + "\x1f" + fmt.Sprint(p.Args)
	said, ok := a.sayings[key]
	if !ok {
		said = [2]string{p.Says(a.locale), p.Mend(a.locale)}
		if len(a.sayings) < 10_000 {
			a.sayings[key] = said
		}
	}
	return said[0], said[1]
}

// prepare writes everything that is not a row: widths, drop-downs, comments, the list of codes.
func (a *annotator) prepare() error {
	t := a.table
	for _, h := range t.Headers {
		name := ColumnName(h.Column)
		width := 10.0
		switch f := a.fields[h.Column]; {
		case f == DocumentNumber, f == Address:
			width = 22
		case isDigits(f), f == Workplace, f == Region, f == Email:
			width = 16
		}
		if err := a.SetColWidth(a.sheet, name, name, width); err != nil {
			return err
		}
		if isDigits(a.fields[h.Column]) {
			style := a.styles[look{kind: asText}]
			if err := a.SetColStyle(a.sheet, name, style); err != nil {
				return err
			}
		}
	}
	for i, width := range []float64{16, 48, 48} {
		name := ColumnName(t.width + i)
		if err := a.SetColWidth(a.sheet, name, name, width); err != nil {
			return err
		}
	}
	if err := a.SetColVisible(a.sheet, ColumnName(t.width+3), false); err != nil {
		return err
	}
	frozen := t.first - 1
	if err := a.SetPanes(a.sheet, &excelize.Panes{
		Freeze: true, YSplit: frozen, TopLeftCell: fmt.Sprintf("A%d", frozen+1), ActivePane: "bottomLeft",
	}); err != nil {
		return err
	}
	if err := a.guide(a.results.Mapping, t.first, a.locale); err != nil {
		return err
	}
	groups, err := a.comment()
	if err != nil {
		return err
	}
	return a.listCodes(groups)
}

// group is one kind of problem and the rows that have it.
type group struct {
	problem forms.Problem
	rows    []int32
}

// comment puts comments on the cells with problems, and gathers the problems by kind.
func (a *annotator) comment() ([]group, error) {
	groups := map[[2]string]*group{}
	comments := 0
	for row, err := range a.table.Rows() {
		if err != nil {
			return nil, err
		}
		result, ok := a.results.Of(row.No)
		if !ok {
			continue
		}
		cells := map[int][]string{}
		for _, p := range result.Problems {
			id := [2]string{p.Code, p.Field}
			if groups[id] == nil {
				groups[id] = &group{problem: p}
			}
			groups[id].rows = append(groups[id].rows, int32(row.No))
			if columns := a.results.Mapping.ColumnsOf(p.Field); len(columns) > 0 {
				is, mend := a.say(p)
				column := slices.Min(columns)
				cells[column] = append(cells[column], p.Code+" "+is+"\n"+mend)
			}
		}
		for _, column := range slices.Sorted(maps.Keys(cells)) {
			if comments++; comments > maxComments {
				break
			}
			if err := a.AddComment(a.sheet, excelize.Comment{
				Cell: ColumnName(column) + strconv.Itoa(row.No), Author: a.locale.Say("intake.result.author", nil),
				Text: strings.Join(cells[column], "\n"), Width: 260, Height: 140,
			}); err != nil {
				return nil, err
			}
		}
	}
	var out []group
	for _, id := range slices.SortedFunc(maps.Keys(groups), func(x, y [2]string) int { return slices.Compare(x[:], y[:]) }) {
		out = append(out, *groups[id])
	}
	return out, nil
}

// listCodes writes the second sheet: each kind of problem, its rows, and how to mend it.
func (a *annotator) listCodes(groups []group) error {
	l := a.locale
	name := l.Say("intake.result.codes", nil)
	if strings.EqualFold(name, a.sheet) {
		name += " 2"
	}
	if _, err := a.NewSheet(name); err != nil {
		return err
	}
	heading := a.styles[look{asHeading, ours}]
	advice := a.styles[look{kind: asAdvice}]
	headings := []any{
		l.Say("intake.result.code", nil), l.Say("intake.result.problem", nil), l.Say("intake.result.rows", nil), l.Say("intake.result.mend", nil),
	}
	for i, width := range []float64{8, 60, 30, 60} {
		if err := a.SetColWidth(name, ColumnName(i), ColumnName(i), width); err != nil {
			return err
		}
	}
	if err := a.SetSheetRow(name, "A1", &headings); err != nil {
		return err
	}
	if err := a.SetCellStyle(name, "A1", "D1", heading); err != nil {
		return err
	}
	for i, g := range groups {
		is, mend := a.say(general(g.problem))
		cell := fmt.Sprintf("A%d", i+2)
		if err := a.SetSheetRow(name, cell, &[]any{g.problem.Code, is, cut(spans(g.rows), longestText), mend}); err != nil {
			return err
		}
		if err := a.SetCellStyle(name, cell, fmt.Sprintf("D%d", i+2), advice); err != nil {
			return err
		}
	}
	return a.SetPanes(name, &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"})
}

// general is a problem as the list of codes says it, for all its rows at once.
func general(p forms.Problem) forms.Problem {
	args := maps.Clone(p.Args)
	for _, one := range []string{"Row", "Rows", "Age", "Given"} {
		if _, ok := args[one]; ok {
			args[one] = "…"
		}
	}
	p.Args = args
	return p
}

// spans writes rows as people do: 3-6, 9.
func spans(rows []int32) string {
	var out []string
	for i := 0; i < len(rows); {
		j := i
		for j+1 < len(rows) && rows[j+1] == rows[j]+1 {
			j++
		}
		if span := strconv.Itoa(int(rows[i])); j == i {
			out = append(out, span)
		} else {
			out = append(out, span+"-"+strconv.Itoa(int(rows[j])))
		}
		i = j + 1
	}
	return strings.Join(out, ", ")
}

// write writes what stands above the list as it is, then the list with its results.
func (a *annotator) write(rw *rowWriter, keys *Table) error {
	for row, err := range a.table.file.rows(a.table.Sheet) {
		if err != nil {
			return err
		}
		if row.No >= a.table.first {
			break
		}
		a.writeTop(rw, row)
	}
	for row, err := range a.table.Rows() {
		if err != nil {
			return err
		}
		if err := a.writeRow(rw, row, keys); err != nil {
			return err
		}
	}
	return nil
}

func (a *annotator) writeTop(rw *rowWriter, row Row) {
	t := a.table
	t.trim(&row)
	if row.blank() {
		return
	}
	rw.begin(row.No, row.No > t.HeaderRow)
	heading := a.styles[look{kind: asHeading}]
	for column, c := range row.Cells {
		if c.Text != "" {
			rw.text(column, heading, c.Text)
		}
	}
	if row.No == t.HeaderRow {
		added := a.styles[look{asHeading, ours}]
		for i, text := range append(resultHeadings(a.locale), rowKeyHeading) {
			rw.text(t.width+i, added, text)
		}
	}
	rw.end()
}

func (a *annotator) writeRow(rw *rowWriter, row Row, keys *Table) error {
	t := a.table
	result, known := a.results.Of(row.No)
	base := plain
	if known && result.fine() {
		base = done
	}
	tints := map[int]tint{}
	var is, mend []string
	for _, p := range result.Problems {
		says, how := a.say(p)
		is, mend = append(is, p.Code+" "+says), append(mend, how)
		for _, column := range a.results.Mapping.ColumnsOf(p.Field) {
			switch {
			case result.settled() || strings.HasPrefix(p.Code, "N"):
			case Stops(p):
				tints[column] = faulty
			case tints[column] == "":
				tints[column] = doubt
			}
		}
	}
	rw.begin(row.No, false)
	for column := range t.width {
		c := row.Cell(column)
		kind := kindOf(c, isDigits(a.fields[column]))
		tint, marked := tints[column]
		if !marked {
			tint = base
		}
		style := a.styles[look{kind, tint}]
		switch {
		case t.own[column]:
		case c.Broken:
			rw.broken(column, style)
		case c.Text == "":
			if tint != plain {
				rw.blank(column, style)
			}
		case kind == asDate:
			rw.number(column, style, strconv.Itoa(c.Date.Sub(epoch1900)))
		case kind == asNumber:
			rw.number(column, style, c.Text)
		default:
			rw.text(column, style, c.Text)
		}
	}
	if known {
		if err := a.writeResult(rw, result, base, is, mend); err != nil {
			return err
		}
		if result.settled() {
			style := a.styles[look{kind: asText}]
			rw.text(t.width+3, style, keys.keyOf(row))
		}
	}
	rw.end()
	return nil
}

func (a *annotator) writeResult(rw *rowWriter, result RowResult, base tint, is, mend []string) error {
	said := a.locale.Say("verdict."+string(result.Verdict), nil)
	if result.Outcome != "" {
		said = a.locale.Say("outcome."+string(result.Outcome), nil)
	}
	if result.Donor != "" {
		said += "\n" + a.locale.Say("intake.result.donor", map[string]any{"Number": result.Donor})
	}
	style := a.styles[look{asAdvice, base}]
	for i, text := range []string{said, strings.Join(is, "\n"), strings.Join(mend, "\n")} {
		if text != "" {
			rw.text(a.table.width+i, style, text)
		}
	}
	return nil
}

func fieldName(f Field, l lang.Locale) string { return forms.FieldName(f.label(), l) }
