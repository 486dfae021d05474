package intake

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// workbook reads the parts of an .xlsx that a register needs, each as a stream: sheets, shared texts, and which cells
// are dates.
//
// It reads for itself what excelize would: the library's rows tell neither a number from a text nor a formula from a
// value, and its way to the cell types keeps the whole sheet in memory, or on disk in plain text.
type workbook struct {
	parts     map[string]*zip.File // by lower-case name
	unpacked  int64                // how long a part may be
	sheets    []sheetPart
	texts     []string
	formats   []format // by the cells' style number
	from1904  bool
	dangerous bool // macros, links or embedded objects
}

type sheetPart struct {
	name, part string
	hidden     bool
}

type format struct {
	date  bool
	zeros int // shows at least so many digits
}

// A sheet is read up to this column: what people use, and far below the 16,384 that a file may claim.
const maxColumns = 512

var (
	errDamaged  = errors.New("intake: the workbook is damaged")
	errTooLarge = errors.New("intake: the workbook is too large once unpacked")
	errOther    = errors.New("intake: the archive is no .xlsx workbook")
)

func openWorkbook(data []byte, limits Limits) (*workbook, error) {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	w := &workbook{parts: map[string]*zip.File{}, unpacked: limits.Unpacked}
	for _, f := range archive.File {
		name := strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(f.Name, `\`, "/"), "/"))
		if _, twice := w.parts[name]; !twice {
			w.parts[name] = f
		}
		for _, sign := range []string{"vbaproject", "externallinks/", "macrosheets/", "activex/", "embeddings/", "connections.xml"} {
			w.dangerous = w.dangerous || strings.Contains(name, sign)
		}
	}
	if _, ok := w.parts["[content_types].xml"]; !ok {
		return nil, errOther
	}
	main, err := w.relations("_rels/.rels", "")
	if err != nil {
		return nil, err
	}
	book := "xl/workbook.xml"
	for _, r := range main {
		if strings.HasSuffix(r.kind, "/officeDocument") {
			book = r.target
		}
	}
	if _, ok := w.parts[book]; !ok || !strings.HasSuffix(book, ".xml") {
		return nil, errOther
	}
	for _, read := range []func(string) error{w.readBook, w.readStyles, w.readTexts} {
		if err := read(book); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// part opens a part, unless it is too long. A part that turns out longer than the archive says is an error of the archive.
func (w *workbook) part(name string) (io.ReadCloser, error) {
	f, ok := w.parts[strings.ToLower(name)]
	if !ok {
		return nil, fmt.Errorf("%w: a part is missing", errDamaged)
	}
	if f.UncompressedSize64 > uint64(w.unpacked) {
		return nil, errTooLarge
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return r, nil
}

// tokens runs over the XML of a part. It ends with the part, or with an error.
func tokens(r io.Reader, visit func(xml.Token) error) error {
	d := xml.NewDecoder(r)
	for {
		t, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: not XML", errDamaged)
		}
		if err := visit(t); err != nil {
			return err
		}
	}
}

// elements runs over the opening tags of a part.
func (w *workbook) elements(name string, visit func(xml.StartElement) error) error {
	r, err := w.part(name)
	if err != nil {
		return err
	}
	defer r.Close()
	return tokens(r, func(t xml.Token) error {
		if e, ok := t.(xml.StartElement); ok {
			return visit(e)
		}
		return nil
	})
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

type relation struct{ id, kind, target string }

// relations reads what a part refers to; targets are names of parts.
func (w *workbook) relations(name, folder string) ([]relation, error) {
	var out []relation
	if _, ok := w.parts[strings.ToLower(name)]; !ok {
		return nil, nil
	}
	err := w.elements(name, func(e xml.StartElement) error {
		if e.Name.Local != "Relationship" {
			return nil
		}
		target := attribute(e, "Target")
		if !strings.HasPrefix(target, "/") {
			target = path.Join(folder, target)
		}
		if strings.EqualFold(attribute(e, "TargetMode"), "External") && strings.HasSuffix(attribute(e, "Type"), "/externalLinkPath") {
			w.dangerous = true
		}
		out = append(out, relation{attribute(e, "Id"), attribute(e, "Type"), strings.ToLower(strings.TrimPrefix(target, "/"))})
		return nil
	})
	return out, err
}

const maxSheets = 1000

func (w *workbook) readBook(book string) error {
	folder := path.Dir(book)
	relations, err := w.relations(path.Join(folder, "_rels", path.Base(book)+".rels"), folder)
	if err != nil {
		return err
	}
	return w.elements(book, func(e xml.StartElement) error {
		switch e.Name.Local {
		case "workbookPr":
			w.from1904 = truth(attribute(e, "date1904"))
		case "sheet":
			var id string
			for _, a := range e.Attr {
				if a.Name.Local == "id" && a.Name.Space != "" { // r:id, not sheetId
					id = a.Value
				}
			}
			i := slices.IndexFunc(relations, func(r relation) bool { return r.id == id })
			if i < 0 || !strings.HasSuffix(relations[i].kind, "/worksheet") || len(w.sheets) == maxSheets {
				return nil // a chart, a macro sheet, or one that is not there
			}
			state := attribute(e, "state")
			w.sheets = append(w.sheets, sheetPart{attribute(e, "name"), relations[i].target, state == "hidden" || state == "veryHidden"})
		}
		return nil
	})
}

func truth(v string) bool { return v == "1" || strings.EqualFold(v, "true") }

// readStyles notes for every style of a cell whether it shows a date.
func (w *workbook) readStyles(book string) error {
	name := path.Join(path.Dir(book), "styles.xml")
	if _, ok := w.parts[strings.ToLower(name)]; !ok {
		return nil
	}
	custom, cells := map[int]string{}, false
	r, err := w.part(name)
	if err != nil {
		return err
	}
	defer r.Close()
	return tokens(r, func(t xml.Token) error {
		switch e := t.(type) {
		case xml.EndElement:
			cells = cells && e.Name.Local != "cellXfs"
		case xml.StartElement:
			switch e.Name.Local {
			case "numFmt":
				id, _ := strconv.Atoi(attribute(e, "numFmtId"))
				custom[id] = attribute(e, "formatCode")
			case "cellXfs":
				cells = true
			case "xf":
				if !cells {
					return nil
				}
				id, _ := strconv.Atoi(attribute(e, "numFmtId"))
				code, ok := custom[id]
				f := format{date: builtInDate(id)}
				if ok {
					f.date = isDateFormat(code)
					if code != "0" && strings.Trim(code, "0") == "" && len(code) <= 32 {
						f.zeros = len(code)
					}
				}
				w.formats = append(w.formats, f)
			}
		}
		return nil
	})
}

// readTexts reads the texts that cells share. Many share one allocation.
func (w *workbook) readTexts(book string) error {
	name := path.Join(path.Dir(book), "sharedstrings.xml")
	if _, ok := w.parts[name]; !ok {
		return nil
	}
	r, err := w.part(name)
	if err != nil {
		return err
	}
	defer r.Close()
	var arena strings.Builder
	var text textReader
	return tokens(r, func(t xml.Token) error {
		if done := text.token(t, "si"); done {
			s := clean(unescape(text.take()))
			if arena.Cap()-arena.Len() < len(s) {
				arena = strings.Builder{}
				arena.Grow(max(1<<16, len(s)))
			}
			start := arena.Len()
			arena.WriteString(s)
			w.texts = append(w.texts, arena.String()[start:])
		}
		return nil
	})
}

// textReader gathers the text of one rich or plain text, without its phonetic guide.
type textReader struct {
	inText, inGuide bool
	buf             []byte
}

// token takes one token and tells whether the element of that name is complete.
func (r *textReader) token(t xml.Token, element string) (done bool) {
	switch e := t.(type) {
	case xml.StartElement:
		switch e.Name.Local {
		case "t":
			r.inText = !r.inGuide
		case "rPh":
			r.inGuide = true
		}
	case xml.CharData:
		if r.inText {
			r.buf = append(r.buf, e...)
		}
	case xml.EndElement:
		switch e.Name.Local {
		case "t":
			r.inText = false
		case "rPh":
			r.inGuide = false
		case element:
			return true
		}
	}
	return false
}

func (r *textReader) take() string {
	s := string(r.buf)
	r.buf, r.inText, r.inGuide = r.buf[:0], false, false
	return s
}

var escape = regexp.MustCompile(`_x([0-9A-Fa-f]{4})_`)

// unescape reads the characters that XML cannot hold, which spreadsheets write as _x000D_.
func unescape(s string) string {
	if !strings.Contains(s, "_x") {
		return s
	}
	return escape.ReplaceAllStringFunc(s, func(m string) string {
		n, _ := strconv.ParseUint(m[2:6], 16, 16)
		return string(rune(n))
	})
}

// rows runs over the rows of a sheet as they are: also blank ones, where the file has them. The slice of cells is used
// again for the next row.
func (w *workbook) rows(part string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		r, err := w.part(part)
		if err != nil {
			yield(Row{}, err)
			return
		}
		defer r.Close()
		s := sheetReader{workbook: w, xml: xml.NewDecoder(r)}
		for {
			row, err := s.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

type sheetReader struct {
	*workbook
	xml   *xml.Decoder
	no    int
	cells []Cell
	text  textReader
	value []byte
}

func (s *sheetReader) token() (xml.Token, error) {
	t, err := s.xml.RawToken()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: not XML", errDamaged)
	}
	return t, err
}

// next reads up to the end of the next row.
func (s *sheetReader) next() (Row, error) {
	for {
		t, err := s.token()
		if err != nil {
			return Row{}, err
		}
		switch e := t.(type) {
		case xml.StartElement:
			if e.Name.Local != "row" {
				continue
			}
			no := s.no + 1
			if n, err := strconv.Atoi(attribute(e, "r")); err == nil {
				no = n
			}
			if no <= s.no || no > 1<<20 {
				return Row{}, fmt.Errorf("%w: its rows are out of order", errDamaged)
			}
			s.no = no
			return s.row()
		case xml.EndElement:
			if e.Name.Local == "sheetData" {
				return Row{}, io.EOF
			}
		}
	}
}

func (s *sheetReader) row() (Row, error) {
	s.cells = s.cells[:0]
	column := -1
	for {
		t, err := s.token()
		if errors.Is(err, io.EOF) {
			return Row{}, fmt.Errorf("%w: a row has no end", errDamaged)
		}
		if err != nil {
			return Row{}, err
		}
		switch e := t.(type) {
		case xml.StartElement:
			if e.Name.Local != "c" {
				continue
			}
			var kind string
			style := 0
			column++
			for _, a := range e.Attr {
				switch a.Name.Local {
				case "r":
					if n, ok := columnOf(a.Value); ok {
						column = n
					}
				case "t":
					kind = a.Value
				case "s":
					style, _ = strconv.Atoi(a.Value)
				}
			}
			c, err := s.cell(kind, style)
			if err != nil {
				return Row{}, err
			}
			if column < maxColumns && (c.Text != "" || c.Broken) {
				for len(s.cells) <= column {
					s.cells = append(s.cells, Cell{})
				}
				s.cells[column] = c
			}
		case xml.EndElement:
			if e.Name.Local == "row" {
				return Row{No: s.no, Cells: s.cells}, nil
			}
		}
	}
}

// cell reads up to the end of a cell.
func (s *sheetReader) cell(kind string, style int) (Cell, error) {
	var c Cell
	s.value = s.value[:0]
	inValue, inline := false, false
	for {
		t, err := s.token()
		if errors.Is(err, io.EOF) {
			return c, fmt.Errorf("%w: a cell has no end", errDamaged)
		}
		if err != nil {
			return c, err
		}
		if inline {
			inline = !s.text.token(t, "is")
			continue
		}
		switch e := t.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "v":
				inValue = true
			case "f":
				c.Formula = true
			case "is":
				inline = true
			}
		case xml.CharData:
			if inValue {
				s.value = append(s.value, e...)
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "v":
				inValue = false
			case "c":
				return s.read(c, kind, style), nil
			}
		}
	}
}

// read makes a cell of what its tags held.
func (s *sheetReader) read(c Cell, kind string, style int) Cell {
	switch kind {
	case "s":
		if n, err := strconv.Atoi(strings.TrimSpace(string(s.value))); err == nil && n >= 0 && n < len(s.texts) {
			c.Text = s.texts[n]
		}
	case "inlineStr":
		c.Text = clean(unescape(s.text.take()))
	case "str":
		c.Text = clean(unescape(string(s.value)))
	case "b":
		c.Text = "FALSE"
		if truth(string(s.value)) {
			c.Text = "TRUE"
		}
	case "e":
		c.Broken = true
	case "d":
		text, _, _ := strings.Cut(string(s.value), "T")
		c.Text = clean(text)
		if date, ok := readDate(c.Text); ok {
			c.Text, c.Date = date.String(), date
		}
	default:
		s.number(&c, style)
	}
	return c
}

// number reads a numeric cell: as a day when its format shows one, else in plain digits.
func (s *sheetReader) number(c *Cell, style int) {
	text := strings.TrimSpace(string(s.value))
	if text == "" {
		return
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		c.Text = clean(text)
		return
	}
	var f format
	if style >= 0 && style < len(s.formats) {
		f = s.formats[style]
	}
	c.Numeric = true
	date, isDay := serialDay(value, s.from1904)
	if isDay && (f.date || value >= plainSerial) {
		c.Date = date
	}
	if isDay && f.date {
		c.Text = date.String()
		return
	}
	c.Text = plainNumber(text, value)
	for n := f.zeros - len(c.Text); n > 0; n-- {
		c.Text = "0" + c.Text
	}
}

// plainNumber writes a number without an exponent, in the fifteen digits that a spreadsheet keeps.
func plainNumber(text string, value float64) string {
	if len(text) <= 15 && strings.Trim(text, "0123456789") == "" {
		return text
	}
	if rounded, err := strconv.ParseFloat(strconv.FormatFloat(value, 'g', 15, 64), 64); err == nil {
		value = rounded
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

// columnOf reads the column of a cell's name: 0 for A1.
func columnOf(name string) (int, bool) {
	n := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			n = n*26 + int(c-'A') + 1
		case 'a' <= c && c <= 'z':
			n = n*26 + int(c-'a') + 1
		default:
			return n - 1, n > 0
		}
		if n > 1<<14 {
			return 1 << 14, true
		}
	}
	return n - 1, n > 0
}

// area is a rectangle of merged cells; columns and rows count from 0 and 1 as in Row.
type area struct{ firstColumn, firstRow, lastColumn, lastRow int }

var mergedArea = regexp.MustCompile(`ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"`)

// merged reads the merged areas of a sheet, which stand behind its rows.
func (w *workbook) merged(part string) ([]area, error) {
	r, err := w.part(part)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	const mark, longest = "mergeCells", 8 << 20
	buf := make([]byte, 0, 1<<16)
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if i := bytes.Index(buf, []byte(mark)); i >= 0 {
			rest, readErr := io.ReadAll(io.MultiReader(bytes.NewReader(bytes.Clone(buf[i+len(mark):])), io.LimitReader(r, longest)))
			if readErr != nil {
				return nil, fmt.Errorf("%w: %w", errDamaged, readErr)
			}
			if end := bytes.Index(rest, []byte(mark)); end >= 0 {
				rest = rest[:end]
			}
			return areas(rest), nil
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		kept := copy(buf, buf[len(buf)-len(mark):])
		buf = buf[:kept]
	}
}

func areas(text []byte) []area {
	var out []area
	for _, m := range mergedArea.FindAllSubmatch(text, -1) {
		var a area
		a.firstColumn, _ = columnOf(string(m[1]))
		a.lastColumn, _ = columnOf(string(m[3]))
		a.firstRow, _ = strconv.Atoi(string(m[2]))
		a.lastRow, _ = strconv.Atoi(string(m[4]))
		if a.firstColumn < maxColumns {
			out = append(out, a)
		}
	}
	return out
}
