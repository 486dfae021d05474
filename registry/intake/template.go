package intake

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// TemplateVersion is the version of the templates that Template writes. An older one is read with the warning F010.
// Versions compare as text.
const TemplateVersion = "2026.1"

// TemplateInfo is what a template says about its drive.
type TemplateInfo struct {
	DriveNumber, DriveName string
	Host                   string        // the college, company or unit
	BarcodeFrom, BarcodeTo string        // "" when the drive draws no samples
	FormVersion            string        // of the consent that the drive uses for stem cells
	FirstDay               calendar.Date // the day of the example rows
}

// templateFields are a template's columns.
var templateFields = slices.DeleteFunc(Fields(), func(f Field) bool { return f == Ignore || slices.Contains(programmeFields, f) })

// Template writes a drive's workbook: a sheet with its headings in Chinese and English, machine keys in a hidden row under
// them, drop-downs, hints, and text columns for what must not be taken for an amount; and a sheet with three example rows.
// The reader's language chooses the words of lists, hints and the example.
func Template(w io.Writer, info TemplateInfo, l lang.Locale) error {
	b, err := newBook(l.Say("intake.template.sheet", nil))
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.hide(origin{drive: info.DriveNumber, template: TemplateVersion, sheet: b.sheet}); err != nil {
		return err
	}
	var m Mapping
	for column, f := range templateFields {
		m.Columns = append(m.Columns, Column{Column: column, Field: f})
	}
	if err := b.guide(m, 3, l); err != nil {
		return err
	}
	if err := b.shape(b.sheet, 2); err != nil {
		return err
	}
	if err := b.example(info, l); err != nil {
		return err
	}
	heading := b.styles[look{asHeading, ours}]
	return b.writeRows(w, nil, func(rw *rowWriter) error {
		rw.begin(1, false)
		for column, f := range templateFields {
			rw.text(column, heading, templateHeading(f))
		}
		rw.end()
		rw.begin(2, true)
		for column, f := range templateFields {
			rw.text(column, heading, string(f))
		}
		rw.end()
		return nil
	})
}

// templateHeading is a heading in both languages, with a star where the field must be filled.
func templateHeading(f Field) string {
	star := ""
	if slices.ContainsFunc(required, func(r requirement) bool { return r.field == f }) {
		star = " *"
	}
	return fieldName(f, lang.Chinese) + star + "\n" + fieldName(f, lang.English)
}

// shape gives the columns of a sheet of ours their width and format.
func (b *book) shape(sheet string, frozen int) error {
	text := b.styles[look{kind: asText}]
	date := b.styles[look{kind: asDate}]
	for column, f := range templateFields {
		name, width, style := ColumnName(column), 14.0, 0
		switch {
		case f == DocumentNumber, f == Address, f == Region:
			width = 24
		case isDigits(f), f == Workplace, f == Email, f == Programmes:
			width = 18
		}
		switch {
		case isDigits(f):
			style = text
		case f == BirthDate, f == SignedOn, f == DrawnOn:
			style = date
		}
		if err := b.SetColWidth(sheet, name, name, width); err != nil {
			return err
		}
		if style != 0 {
			if err := b.SetColStyle(sheet, name, style); err != nil {
				return err
			}
		}
	}
	return b.SetPanes(sheet, &excelize.Panes{
		Freeze: true, YSplit: frozen, TopLeftCell: fmt.Sprintf("A%d", frozen+1), ActivePane: "bottomLeft",
	})
}

// example writes the sheet that shows how it is done, in the columns of the sheet to fill in.
func (b *book) example(info TemplateInfo, l lang.Locale) error {
	sheet := l.Say("intake.template.example", nil)
	if _, err := b.NewSheet(sheet); err != nil {
		return err
	}
	lines := []string{l.Say("intake.template.guide", nil)}
	if info.DriveNumber != "" {
		lines = append(lines, l.Say("intake.template.drive", map[string]any{"Number": info.DriveNumber, "Name": info.DriveName}))
	}
	if info.Host != "" {
		lines = append(lines, l.Say("intake.template.host", map[string]any{"Host": info.Host}))
	}
	if info.BarcodeFrom != "" {
		lines = append(lines, l.Say("intake.template.barcodes", map[string]any{"From": info.BarcodeFrom, "To": info.BarcodeTo}))
	}
	if info.FormVersion != "" {
		lines = append(lines, l.Say("intake.template.form_version", map[string]any{"Version": info.FormVersion}))
	}
	lines = append(lines, l.Say("intake.template.version", map[string]any{"Version": TemplateVersion}), l.Say("intake.template.example_note", nil))
	for i, line := range lines {
		if err := b.SetCellStr(sheet, fmt.Sprintf("A%d", i+1), line); err != nil {
			return err
		}
	}
	if err := b.shape(sheet, len(lines)+1); err != nil {
		return err
	}
	heading := b.styles[look{asHeading, ours}]
	top := len(lines) + 1
	for column, f := range templateFields {
		cell := fmt.Sprintf("%s%d", ColumnName(column), top)
		if err := b.SetCellStr(sheet, cell, templateHeading(f)); err != nil {
			return err
		}
		if err := b.SetCellStyle(sheet, cell, cell, heading); err != nil {
			return err
		}
	}
	for i, row := range examples(info, l) {
		for column, f := range templateFields {
			if row[f] == "" {
				continue
			}
			if err := b.SetCellStr(sheet, fmt.Sprintf("%s%d", ColumnName(column), top+1+i), row[f]); err != nil {
				return err
			}
		}
	}
	return nil
}

// examples are three people whom nobody can take for real ones; their numbers hold.
func examples(info TemplateInfo, l lang.Locale) []map[Field]string {
	word := func(set string, values ...string) string {
		var out []string
		for _, v := range values {
			out = append(out, l.Say("word."+set+"."+v, nil))
		}
		if l == lang.Chinese {
			return strings.Join(out, "、")
		}
		return strings.Join(out, ", ")
	}
	day := info.FirstDay
	names := []string{"示例甲", "示例乙", "示例丙", "示例丁"}
	var out []map[Field]string
	for i := range 3 {
		birth := day.AddYears(-20 - 5*i)
		male := i%2 == 0
		row := map[Field]string{
			Name: names[i], DocumentKind: word("document_kind", "resident_id"), DocumentNumber: exampleNumber(birth, i, male),
			Sex: word("sex", map[bool]string{true: "male", false: "female"}[male]), BirthDate: birth.String(), Ethnicity: ethnicities(l)[0],
			Phone: fmt.Sprintf("1380000000%d", i+1), Workplace: info.Host, ABO: "O", Rh: word("rh", "positive"),
			Contact1Name: names[(i+1)%4], Contact1Relation: "父亲", Contact1Phone: fmt.Sprintf("1390000000%d", 2*i+1),
			Contact2Name: names[(i+2)%4], Contact2Relation: "同学", Contact2Phone: fmt.Sprintf("1390000000%d", 2*i+2),
			Programmes: word("programme", "stemcell"), Intent: word("intent", "wish"), HealthAnswered: word("yes", "yes"), Signed: word("yes", "yes"),
			SignedOn: day.String(), FormVersion: info.FormVersion,
		}
		if i == 1 {
			row[Programmes], row[Organs], row[FormVersion] = word("programme", "organ", "cornea"), word("organ", "all"), ""
		} else if info.BarcodeFrom != "" {
			row[Barcode], row[Tubes] = following(info.BarcodeFrom, i/2), "1"
		}
		out = append(out, row)
	}
	return out
}

// exampleNumber is a resident number of the first county of the table, with the check character that fits.
func exampleNumber(birth calendar.Date, serial int, male bool) string {
	n := 2*serial + 2
	if male {
		n--
	}
	body := "110101" + strings.ReplaceAll(birth.String(), "-", "") + fmt.Sprintf("%03d", n)
	for _, c := range "0123456789X" {
		if identity.CheckResident(body+string(c)) == nil {
			return body + string(c)
		}
	}
	panic("intake: no check character fits") // one of eleven always does
}

// following is the barcode n further on: its last digits, counted up.
func following(code string, n int) string {
	head := strings.TrimRight(code, "0123456789")
	digits := code[len(head):]
	if len(digits) > 18 {
		head, digits = code[:len(code)-18], code[len(code)-18:]
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return code
	}
	return fmt.Sprintf("%s%0*d", head, len(digits), number+uint64(n))
}
