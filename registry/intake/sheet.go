package intake

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// book writes a workbook of ours. excelize makes everything but the rows of the first sheet, which are written straight
// into the file as they come: they may be a million, and the library would put them on disk in plain text.
type book struct {
	*excelize.File
	sheet  string
	styles map[look]int
}

// look is how a cell looks.
type look struct {
	kind cellKind
	tint tint
}

type cellKind int

const (
	asText   cellKind = iota
	asNumber          // as it is
	asDate            // 2026-11-21
	asHeading
	asAdvice // wrapped
)

type tint string

const (
	plain  tint = ""
	faulty tint = "FFC7CE" // pink
	doubt  tint = "FFEB9C" // yellow
	done   tint = "EDEDED" // grey
	ours   tint = "DDEBF7" // a heading of ours
)

func newBook(sheet string) (*book, error) {
	b := &book{File: excelize.NewFile(), sheet: sheetName(sheet), styles: map[look]int{}}
	if strings.EqualFold(b.sheet, originSheet) {
		b.sheet += " 1"
	}
	if err := b.SetSheetName("Sheet1", b.sheet); err != nil {
		return nil, fmt.Errorf("intake: cannot write a sheet of this name: %w", err)
	}
	// All of them now: the rows are written when the file has its styles already.
	for kind := asText; kind <= asAdvice; kind++ {
		for _, t := range []tint{plain, faulty, doubt, done, ours} {
			id, err := b.NewStyle(look{kind, t}.style())
			if err != nil {
				return nil, fmt.Errorf("intake: cannot build the workbook: %w", err)
			}
			b.styles[look{kind, t}] = id
		}
	}
	return b, nil
}

// sheetName is a text as a sheet may be called.
func sheetName(text string) string {
	name := strings.Trim(strings.Map(func(r rune) rune {
		if strings.ContainsRune(`:\/?*[]`, r) || r < ' ' || r == utf8.RuneError {
			return -1
		}
		return r
	}, text), "' ")
	if name = strings.Trim(cut(name, 31), "' "); name == "" {
		return "Sheet1"
	}
	return name
}

func (l look) style() *excelize.Style {
	s := &excelize.Style{Alignment: &excelize.Alignment{Vertical: "top", WrapText: l.kind == asHeading || l.kind == asAdvice}}
	switch l.kind {
	case asDate:
		s.CustomNumFmt = new("yyyy-mm-dd")
	case asNumber:
	case asHeading:
		s.Font = &excelize.Font{Bold: true}
		s.NumFmt = textFormat
	default:
		s.NumFmt = textFormat
	}
	if l.tint == done {
		s.Font = &excelize.Font{Color: "7F7F7F"}
	}
	if l.tint != plain {
		s.Fill = excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{string(l.tint)}}
	}
	return s
}

// textFormat is @: what is typed into such a cell stays text.
const textFormat = 49

// hide puts a sheet that no spreadsheet offers to show behind the others: what the file says about itself, and the lists of
// the drop-downs.
func (b *book) hide(o origin) error {
	if _, err := b.NewSheet(originSheet); err != nil {
		return err
	}
	for i, pair := range o.keys() {
		if err := b.SetSheetRow(originSheet, fmt.Sprintf("A%d", i+1), &[]any{pair[0], pair[1]}); err != nil {
			return err
		}
	}
	return b.SetSheetVisible(originSheet, false, true)
}

// The rows of a sheet that drop-downs and hints reach to.
const lastValidated = 5000

// sets are the fields with a list of words.
var sets = map[Field]string{
	Sex: "sex", DocumentKind: "document_kind", ABO: "abo", Rh: "rh", Intent: "intent", HealthAnswered: "yes", Signed: "yes",
	StemCell: "yes", Blood: "yes", Organ: "yes", Cornea: "yes", Body: "yes",
}

// several are the fields with a list of words of which a cell may hold more than one, so that a drop-down only helps.
var several = map[Field]string{Programmes: "programme", Organs: "organ"}

// wordsOf are the words of a set in a language.
func wordsOf(set string, l lang.Locale) []string {
	var out []string
	for _, value := range vocabulary().allowed[set] {
		out = append(out, l.Say("word."+set+"."+value, nil))
	}
	return out
}

// guide lays drop-downs and hints over the columns of a mapping, from a row on.
func (b *book) guide(m Mapping, from int, l lang.Locale) error {
	lists := 0
	for _, c := range m.Columns {
		if c.Field == "" || c.Field == Ignore || c.Column < 0 || c.Column >= maxColumns {
			continue
		}
		dv := excelize.NewDataValidation(true)
		name := ColumnName(c.Column)
		dv.Sqref = fmt.Sprintf("%s%d:%s%d", name, from, name, from+lastValidated)
		var words []string
		switch {
		case sets[c.Field] != "":
			words = wordsOf(sets[c.Field], l)
		case several[c.Field] != "":
			words = wordsOf(several[c.Field], l)
		case c.Field == Ethnicity:
			words = ethnicities(l)
		}
		if words != nil {
			lists++
			column := ColumnName(3 + lists) // behind the keys
			for i, w := range words {
				if err := b.SetCellStr(originSheet, fmt.Sprintf("%s%d", column, i+1), w); err != nil {
					return err
				}
			}
			dv.SetSqrefDropList(fmt.Sprintf("%s!$%s$1:$%s$%d", originSheet, column, column, len(words)))
			dv.SetError(excelize.DataValidationErrorStyleWarning, fieldName(c.Field, l), l.Say("intake.template.choose", nil))
			dv.ShowErrorMessage = several[c.Field] == ""
		}
		dv.SetInput(cut(fieldName(c.Field, l), 32), cut(hint(c.Field, l), 250))
		if err := b.AddDataValidation(b.sheet, dv); err != nil {
			return err
		}
	}
	return nil
}

func ethnicities(l lang.Locale) []string {
	var out []string
	for code := 1; code <= 98; code++ {
		e := identity.Ethnicity(fmt.Sprintf("%02d", code))
		switch {
		case !e.Valid():
		case l == lang.English:
			out = append(out, e.Romanised())
		default:
			out = append(out, e.Name())
		}
	}
	return out
}

// hint says how a field is filled in.
func hint(f Field, l lang.Locale) string {
	id := "text"
	switch f {
	case DocumentNumber:
		id = "document_number"
	case Phone, Contact1Phone, Contact2Phone:
		id = "phone"
	case BirthDate, SignedOn, DrawnOn:
		id = "date"
	case HeightCM, WeightKG, Tubes, Millilitres:
		id = "number"
	case Barcode:
		id = "barcode"
	case Region:
		id = "region"
	case Programmes, Organs:
		separator := ", "
		if l == lang.Chinese {
			separator = "、"
		}
		return l.Say("intake.hint.several", map[string]any{"Allowed": strings.Join(wordsOf(several[f], l), separator)})
	case Ethnicity:
		id = "choice"
	}
	if sets[f] != "" {
		id = "choice"
	}
	return l.Say("intake.hint."+id, nil)
}

// cut shortens a text to so many UTF-16 units, as spreadsheets count.
func cut(s string, units int) string {
	n := 0
	for i, r := range s {
		if n += utf16.RuneLen(r); n > units {
			return s[:i]
		}
	}
	return s
}

var (
	emptyRows = regexp.MustCompile(`<sheetData\s*/>|<sheetData>\s*</sheetData>`)
	dimension = regexp.MustCompile(`<dimension [^>]*?(/>|></dimension>)`)
)

// writeRows writes the workbook with rows in its first sheet, and merged areas.
func (b *book) writeRows(w io.Writer, merged []area, rows func(*rowWriter) error) error {
	buf, err := b.WriteToBuffer()
	if err != nil {
		return fmt.Errorf("intake: cannot build the workbook: %w", err)
	}
	skeleton, err := zip.NewReader(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	if err != nil {
		return fmt.Errorf("intake: cannot build the workbook: %w", err)
	}
	out := zip.NewWriter(w)
	for _, f := range skeleton.File {
		if f.Name != "xl/worksheets/sheet1.xml" {
			if err := out.Copy(f); err != nil {
				return fmt.Errorf("intake: cannot write the workbook: %w", err)
			}
			continue
		}
		if err := spliceRows(out, f, merged, rows); err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("intake: cannot write the workbook: %w", err)
	}
	return nil
}

func spliceRows(out *zip.Writer, f *zip.File, merged []area, rows func(*rowWriter) error) error {
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("intake: cannot build the workbook: %w", err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("intake: cannot build the workbook: %w", err)
	}
	text = dimension.ReplaceAll(text, nil)
	at := emptyRows.FindIndex(text)
	if at == nil {
		panic("intake: the first sheet of a new workbook has rows")
	}
	part, err := out.Create(f.Name)
	if err != nil {
		return fmt.Errorf("intake: cannot write the workbook: %w", err)
	}
	rw := &rowWriter{w: bufio.NewWriterSize(part, 1<<16)}
	rw.raw(string(text[:at[0]]))
	rw.raw("<sheetData>")
	if err := rows(rw); err != nil {
		return err
	}
	rw.raw("</sheetData>")
	if len(merged) > 0 {
		rw.raw("<mergeCells>")
		for _, a := range merged {
			rw.raw(fmt.Sprintf(`<mergeCell ref="%s%d:%s%d"/>`, ColumnName(a.firstColumn), a.firstRow, ColumnName(a.lastColumn), a.lastRow))
		}
		rw.raw("</mergeCells>")
	}
	rw.raw(string(text[at[1]:]))
	if err := rw.w.Flush(); err != nil {
		return fmt.Errorf("intake: cannot write the workbook: %w", err)
	}
	return nil
}

// rowWriter writes rows, in ascending order, and their cells from the left. An error of the writer below shows at the
// end.
type rowWriter struct {
	w  *bufio.Writer
	no int
}

func (r *rowWriter) raw(s string) { _, _ = r.w.WriteString(s) }

func (r *rowWriter) begin(no int, hidden bool) {
	r.no = no
	r.raw(`<row r="` + strconv.Itoa(no) + `"`)
	if hidden {
		r.raw(` hidden="1"`)
	}
	r.raw(">")
}

func (r *rowWriter) end() { r.raw("</row>") }

func (r *rowWriter) open(column, style int) {
	r.raw(`<c r="` + ColumnName(column) + strconv.Itoa(r.no) + `" s="` + strconv.Itoa(style) + `"`)
}

// The longest text of a cell, in UTF-16 units.
const longestText = 32767

// text writes a text. It is data whatever it begins with: a spreadsheet computes only what is marked as a formula.
func (r *rowWriter) text(column, style int, s string) {
	s = cut(s, longestText)
	r.open(column, style)
	r.raw(` t="inlineStr"><is><t xml:space="preserve">`)
	_ = xml.EscapeText(r.w, []byte(s))
	r.raw("</t></is></c>")
}

func (r *rowWriter) number(column, style int, digits string) {
	r.open(column, style)
	r.raw("><v>" + digits + "</v></c>")
}

// blank writes an empty cell, for its look.
func (r *rowWriter) blank(column, style int) {
	r.open(column, style)
	r.raw("/>")
}

func (r *rowWriter) broken(column, style int) {
	r.open(column, style)
	r.raw(` t="e"><v>#N/A</v></c>`)
}

// serialFrom is the first day whose number all spreadsheets agree on.
var serialFrom = calendar.Must(1900, 3, 1)

// kindOf is how a cell is written: numbers in a column of digits become text, so that nothing is lost when they are typed
// over; one that lost its digits already stays what it is, or it could pass for a number.
func kindOf(c Cell, digits bool) cellKind {
	switch {
	case !c.Numeric:
		return asText
	case !c.Date.IsZero() && c.Text == c.Date.String() && !c.Date.Before(serialFrom):
		return asDate
	case digits && !identity.LooksDamagedBySpreadsheet(c.Text, true):
		return asText
	case c.Text == "0" || !strings.HasPrefix(strings.TrimPrefix(c.Text, "-"), "0") || strings.Contains(c.Text, "."):
		return asNumber
	}
	return asText // a number that is shown with zeros before it
}

var digitFields = []Field{DocumentNumber, Phone, Contact1Phone, Contact2Phone, Barcode}

func isDigits(f Field) bool { return slices.Contains(digitFields, f) }
