package intake

import (
	"bytes"
	"errors"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/liferelay/liferelay/registry/forms"
)

// Kind is a kind of file.
type Kind string

// The kinds that can be read.
const (
	XLSX Kind = "xlsx"
	CSV  Kind = "csv"
)

// Options are what a person may set when a guess was wrong. The zero value guesses, within DefaultLimits.
type Options struct {
	Limits    Limits   // a zero Limits is DefaultLimits
	Encoding  Encoding // of a CSV file
	Delimiter rune     // of a CSV file
}

// File is a spreadsheet that was opened. It is not changed by reading, but reads one sheet at a time.
type File struct {
	Kind      Kind
	Encoding  Encoding // UTF-8 for a workbook
	Delimiter rune     // of a CSV file

	name   string
	limits Limits
	book   *workbook
	text   string
	origin origin
}

// Open recognises a file by its content, and only then by its name. The file is nil when a problem stops it: F001, F002
// or F007. F006, F009 and F010 are warnings.
func Open(name string, data []byte) (*File, forms.Problems) { return OpenWith(name, data, Options{}) }

// OpenWith is Open with what a person set.
func OpenWith(name string, data []byte, o Options) (*File, forms.Problems) {
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	f := &File{name: name, limits: o.Limits}
	stop := func(code string) (*File, forms.Problems) { return nil, forms.Problems{{Code: code}} }
	switch {
	case int64(len(data)) > o.Limits.Bytes:
		return nil, forms.Problems{o.Limits.tooLarge()}
	case len(bytes.TrimSpace(data)) == 0:
		return stop("F001")
	case bytes.HasPrefix(data, []byte("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")):
		// A compound file is an old workbook or an encrypted new one: then it has a stream of this name, in UTF-16.
		if bytes.Contains(data, utf16Bytes("EncryptedPackage")) {
			return stop("F001")
		}
		return stop("F002")
	case bytes.HasPrefix(data, []byte("PK\x03\x04")), bytes.HasPrefix(data, []byte("PK\x05\x06")):
		book, err := openWorkbook(data, o.Limits)
		switch {
		case errors.Is(err, errOther):
			return stop("F002")
		case errors.Is(err, errTooLarge):
			return nil, forms.Problems{o.Limits.tooLarge()}
		case err != nil || len(book.sheets) == 0:
			return stop("F001")
		}
		f.Kind, f.Encoding, f.book = XLSX, UTF8, book
		f.origin = f.readOrigin()
		return f, f.warnings()
	case !textual(data, o.Encoding):
		return stop("F002")
	}
	f.Kind, f.Delimiter = CSV, o.Delimiter
	var sure bool
	f.text, f.Encoding, sure = decode(data, o.Encoding)
	if !strings.Contains(f.text, "\n") {
		f.text = strings.ReplaceAll(f.text, "\r", "\n")
	}
	// Spreadsheets of some regions name the delimiter in a first line of its own.
	if first, rest, ok := strings.Cut(f.text, "\n"); ok && len(strings.TrimSpace(first)) == 5 && strings.HasPrefix(first, "sep=") {
		if f.Delimiter == 0 {
			f.Delimiter = rune(first[4])
		}
		f.text = "\n" + rest
	}
	if f.Delimiter == 0 {
		f.Delimiter = guessDelimiter(f.text)
	}
	if !sure {
		return f, forms.Problems{{Code: "F006", Args: map[string]any{"Encoding": string(f.Encoding)}}}
	}
	return f, nil
}

func (f *File) warnings() forms.Problems {
	var out forms.Problems
	if f.book.dangerous {
		out = append(out, forms.Problem{Code: "F009"})
	}
	if v := f.origin.template; v != "" && v < TemplateVersion {
		out = append(out, forms.Problem{Code: "F010", Args: map[string]any{"Version": v, "Current": TemplateVersion}})
	}
	return out
}

// textual tells whether a file may be a table of text: no zero bytes but those of UTF-16, and no mark-up or document
// that some programs save under the name of a workbook.
func textual(data []byte, wish Encoding) bool {
	if wish == UTF16 || bytes.HasPrefix(data, []byte("\xFF\xFE")) || bytes.HasPrefix(data, []byte("\xFE\xFF")) {
		return len(data)%2 == 0
	}
	if bytes.IndexByte(data, 0) >= 0 {
		return false
	}
	head := bytes.ToLower(bytes.TrimLeft(data[:min(len(data), 512)], "\xEF\xBB\xBF \t\r\n"))
	return !slices.ContainsFunc([]string{"<html", "<!doctype", "<?xml", "<table", "%pdf", "{\\rtf", "mime-version"}, func(mark string) bool {
		return bytes.HasPrefix(head, []byte(mark))
	})
}

func utf16Bytes(s string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(s)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return out
}

// Sheets lists the sheets that people see, in their order. A CSV file has one.
func (f *File) Sheets() []string {
	if f.book == nil {
		return []string{f.csvSheet()}
	}
	var out []string
	for _, s := range f.book.sheets {
		if !s.hidden {
			out = append(out, s.name)
		}
	}
	return out
}

// csvSheet is the file's name as a sheet may have it.
func (f *File) csvSheet() string {
	name := strings.TrimSuffix(filepath.Base(strings.ReplaceAll(f.name, `\`, "/")), filepath.Ext(f.name))
	if name == "." {
		name = ""
	}
	return sheetName(name)
}

// rows runs over the rows of a sheet, blank ones too. The cells of a row are good until the next.
func (f *File) rows(sheet string) iter.Seq2[Row, error] {
	if f.book == nil {
		return func(yield func(Row, error) bool) {
			no := 0
			for record := range records(f.text, f.Delimiter) {
				no++
				row := Row{No: no, Cells: make([]Cell, 0, min(len(record), maxColumns))}
				for _, text := range record[:min(len(record), maxColumns)] {
					row.Cells = append(row.Cells, Cell{Text: clean(uncover(text))})
				}
				if !yield(row, nil) {
					return
				}
			}
		}
	}
	return f.book.rows(f.part(sheet))
}

func (f *File) part(sheet string) string {
	i := slices.IndexFunc(f.book.sheets, func(s sheetPart) bool { return s.name == sheet })
	if i < 0 {
		return ""
	}
	return f.book.sheets[i].part
}

// Parent is the batch whose annotated workbook this file is, "" for any other file.
func (f *File) Parent() string { return f.origin.batch }

// Drive is the number of the drive whose template this file was made from, "" for any other file.
func (f *File) Drive() string { return f.origin.drive }

// origin is what a workbook of ours says about itself in a sheet that nobody sees.
type origin struct{ batch, drive, template, sheet string }

// originSheet is that sheet: a key and a value a row.
const originSheet = "liferelay"

func (f *File) readOrigin() origin {
	var o origin
	i := slices.IndexFunc(f.book.sheets, func(s sheetPart) bool { return s.name == originSheet && s.hidden })
	if i < 0 {
		return o
	}
	for row, err := range f.book.rows(f.book.sheets[i].part) {
		if err != nil || row.No > 20 {
			break
		}
		value := row.Cell(1).Text
		switch row.Cell(0).Text {
		case "batch":
			o.batch = value
		case "drive":
			o.drive = value
		case "template":
			o.template = value
		case "sheet":
			o.sheet = value
		}
	}
	return o
}

// keys are the rows that readOrigin reads.
func (o origin) keys() [][2]string {
	return [][2]string{{"batch", o.batch}, {"drive", o.drive}, {"template", o.template}, {"sheet", o.sheet}}
}
