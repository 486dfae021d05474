package intake_test

import (
	"io"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
	"github.com/liferelay/liferelay/registry/lang"
)

// limits keep a fuzzed file from taking long.
var small = intake.Limits{Rows: 200, Bytes: 1 << 20, Unpacked: 4 << 20}

// walk takes a file through everything that an importer does with it, and holds it to what every file is promised.
func walk(t *testing.T, name string, data []byte) {
	file, problems := intake.OpenWith(name, data, intake.Options{Limits: small})
	require.Equal(t, file == nil, slices.ContainsFunc(problems, intake.Stops))
	if file == nil {
		return
	}
	table, problems := file.Table("")
	require.Equal(t, table == nil, slices.ContainsFunc(problems, intake.Stops))
	if table == nil {
		return
	}
	require.NotEmpty(t, table.Headers)
	mapping := intake.Guess(table.Headers, nil)
	checker := intake.NewChecker(circumstances(), intake.Defaults{}, mapping)
	rows, last := map[int]intake.Verdict{}, table.HeaderRow
	var failed error
	for row, err := range table.Rows() {
		if failed = err; err != nil {
			break
		}
		require.Greater(t, row.No, last)
		last = row.No
		for _, c := range row.Cells {
			require.NotContains(t, c.Text, "\n")
			require.True(t, utf8.ValidString(c.Text))
		}
		checked := checker.Check(row)
		rows[row.No] = checked.Verdict
	}
	for _, a := range checker.Finish() {
		require.Contains(t, rows, a.Row)
	}
	err := intake.Annotate(io.Discard, file, table, intake.RowResults{Batch: "B", Mapping: mapping, Of: func(no int) (intake.RowResult, bool) {
		v, ok := rows[no]
		return intake.RowResult{Verdict: v}, ok
	}}, lang.Chinese)
	if failed != nil {
		require.Error(t, err)
	}
}

func FuzzCSV(f *testing.F) {
	s, err := intaketest.Generate(3, 40, everyFault(1))
	require.NoError(f, err)
	for _, e := range []intake.Encoding{intake.UTF8, intake.GB18030} {
		data, err := s.CSV(e)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("姓名;证件号码\r\"a\"\"b;\r\n"))
	f.Add([]byte("sep=\t\n姓名\t证件号码\n\t\t\t"))
	f.Add([]byte("\xFF\xFE\x0D\x59\x0D\x54"))
	f.Add([]byte("\xEF\xBB\xBFname,id number\n\"a\nb\",1\n"))
	f.Add([]byte("name|id number\n\"\"\"|x"))
	f.Fuzz(func(t *testing.T, data []byte) { walk(t, "a.csv", data) })
}

func FuzzWorkbook(f *testing.F) {
	s, err := intaketest.Generate(3, 25, nil)
	require.NoError(f, err)
	data, err := s.XLSX()
	require.NoError(f, err)
	f.Add(data)
	f.Add(sheetOf(f, head, []any{"甲", 1, 2.5}))
	f.Add(template(f, info, lang.Chinese))
	f.Fuzz(func(t *testing.T, data []byte) { walk(t, "a.xlsx", data) })
}

// FuzzSheetXML fuzzes the parts inside of a workbook that opens.
func FuzzSheetXML(f *testing.F) {
	header := `<row r="1"><c r="A1" t="inlineStr"><is><t>姓名</t></is></c><c r="B1" t="inlineStr"><is><t>证件号码</t></is></c></row>`
	f.Add(`<worksheet><sheetData>`+header+`<row r="2"><c r="A2" s="1"><v>46347</v></c><c t="s"><v>0</v></c></row></sheetData><mergeCells><mergeCell ref="A2:A9"/></mergeCells></worksheet>`,
		`<sst><si><t>x</t></si></sst>`, `<styleSheet><numFmts><numFmt numFmtId="164" formatCode="yyyy"/></numFmts><cellXfs><xf numFmtId="0"/><xf numFmtId="164"/></cellXfs></styleSheet>`)
	f.Add(`<x:worksheet><x:sheetData>`+header+`<row><c t="e"><v>#N/A</v></c><c t="b"><f>1</f><v>1</v></c><c t="d"><v>2026-11-21T</v></c></row></x:sheetData>`, `<sst><si><r><t>_x000D_</t></r><rPh><t>y</t></rPh></si>`, ``)
	f.Fuzz(func(t *testing.T, sheet, texts, styles string) {
		walk(t, "a.xlsx", raw(t, sheet, map[string]string{"xl/sharedStrings.xml": texts, "xl/styles.xml": styles}))
	})
}

func FuzzForm(f *testing.F) {
	f.Add("王例安", "2026/11/21", "O型阳性", "造血干细胞、献血", "60kg", true, false)
	f.Add("'=1", "4.40524E+17", "是", "江苏省南京市鼓楼区", "\u200b", false, true)
	f.Add("1", "21/11/2026", "心、肝", "#N/A", "1e309", true, true)
	all := intake.Mapping{}
	for i, field := range intake.Fields() {
		all.Columns = append(all.Columns, intake.Column{Column: i, Field: field})
	}
	f.Fuzz(func(t *testing.T, a, b, c, d, e string, numeric, formula bool) {
		texts := []string{a, b, c, d, e}
		for shift := range texts {
			row := intake.Row{No: 2}
			for i := range all.Columns {
				row.Cells = append(row.Cells, intake.Cell{Text: texts[(i+shift)%5], Numeric: numeric, Formula: formula})
			}
			form, problems := all.Form(row, intake.Defaults{})
			again, same := all.Form(row, intake.Defaults{})
			require.Equal(t, form, again)
			require.Equal(t, problems, same)
			require.LessOrEqual(t, len(form.Contacts), 2)
			checked := intake.NewChecker(circumstances(), intake.Defaults{}, all).Check(row)
			require.Equal(t, intake.VerdictOf(checked.Problems), checked.Verdict)
			for _, p := range checked.Problems {
				requireSaid(t, p, nil)
			}
		}
	})
}
