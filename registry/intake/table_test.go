package intake_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/intake"
)

func open(t testing.TB, data []byte) *intake.Table {
	t.Helper()
	f, problems := intake.Open("a", data)
	require.NotNil(t, f, "%v", problems)
	table, problems := f.Table("")
	require.NotNil(t, table, "%v", problems)
	return table
}

func headings(table *intake.Table) []string {
	var out []string
	for _, h := range table.Headers {
		out = append(out, h.Text)
	}
	return out
}

func TestTheHeaderIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rows      [][]any
		headerRow int
		headings  []string
		first     []string
	}{
		"in the first row": {[][]any{{"姓名", "证件号码"}, {"甲", "1"}}, 1, []string{"姓名", "证件号码"}, []string{"甲", "1"}},
		"under titles": {
			[][]any{{"南京大学造血干细胞采样登记表"}, {}, {"日期:", "2026-11-21", "地点:", "图书馆"}, {"序号", "姓名", "身份证号码", "联系电话"}, {1, "甲", "2", "3"}},
			4, []string{"序号", "姓名", "身份证号码", "联系电话"}, []string{"1", "甲", "2", "3"},
		},
		"in English": {[][]any{{"No", "Full name", "ID number", "Mobile"}, {1, "A", "2", "3"}}, 1, []string{"No", "Full name", "ID number", "Mobile"}, []string{"1", "A", "2", "3"}},
		"with marks": {[][]any{{" 姓 名 *", "证件号码(必填)", "手机/Phone"}, {"甲", "1", "2"}}, 1, []string{"姓 名 *", "证件号码(必填)", "手机/Phone"}, []string{"甲", "1", "2"}},
		"in two rows, contacts below": {
			[][]any{{"姓名", "身份证号", "紧急联系人1", nil, "紧急联系人2", nil}, {nil, nil, "姓名", "电话", "姓名", "电话"}, {"甲", "1", "乙", "2", "丙", "3"}},
			2, []string{"姓名", "身份证号", "紧急联系人1 姓名", "紧急联系人1 电话", "紧急联系人2 姓名", "紧急联系人2 电话"}, []string{"甲", "1", "乙", "2", "丙", "3"},
		},
		"in two rows, groups above": {
			[][]any{{"基本信息", nil, nil, "紧急联系人一", nil, nil}, {"姓名", "性别", "证件号码", "姓名", "关系", "电话"}, {"甲", "男", "1", "乙", "父亲", "2"}},
			2, []string{"姓名", "性别", "证件号码", "紧急联系人一 姓名", "紧急联系人一 关系", "紧急联系人一 电话"}, []string{"甲", "男", "1", "乙", "父亲", "2"},
		},
		"over data with words that are headings": {
			[][]any{{"姓名", "证件类型", "证件号码", "登记项目"}, {"甲", "身份证", "1", "造血干细胞"}, {"乙", "身份证", "2", "献血"}},
			1, []string{"姓名", "证件类型", "证件号码", "登记项目"}, []string{"甲", "身份证", "1", "造血干细胞"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table := open(t, sheetOf(t, c.rows...))
			require.Equal(t, c.headerRow, table.HeaderRow)
			require.Equal(t, c.headings, headings(table))
			require.Equal(t, c.first, cells(t, table)[c.headerRow+1])
		})
	}
}

func TestASheetWithoutAHeaderIsRefused(t *testing.T) {
	t.Parallel()
	for name, rows := range map[string][][]any{
		"no headings":    {{"甲", "1"}, {"乙", "2"}},
		"one heading":    {{"姓名"}, {"甲"}},
		"chance":         {{"献血", "器官"}, {"甲", "乙"}},
		"nothing at all": {},
	} {
		f, _ := intake.Open("a.xlsx", sheetOf(t, rows...))
		table, problems := f.Table("")
		require.Nil(t, table, name)
		require.Equal(t, []string{"F003"}, codes(problems), name)
		require.Equal(t, 50, problems[0].Args["Rows"])
	}
	f, _ := intake.Open("a.xlsx", sheetOf(t, head))
	_, problems := f.Table("不存在")
	require.Equal(t, []string{"F003"}, codes(problems))
}

func TestTheSheetWithAHeaderIsChosen(t *testing.T) {
	t.Parallel()
	data := func(second, third bool) []byte {
		return workbook(t, func(f *excelize.File) {
			fill(t, f, "Sheet1", []any{"说明"})
			for name, filled := range map[string]bool{"二": second, "三": third} {
				_, err := f.NewSheet(name)
				require.NoError(t, err)
				if filled {
					fill(t, f, name, head)
				}
			}
			require.NoError(t, f.SetSheetVisible("Sheet1", true))
		})
	}
	f, _ := intake.Open("a.xlsx", data(false, true))
	table, problems := f.Table("")
	require.Empty(t, problems)
	require.Equal(t, "三", table.Sheet)

	f, _ = intake.Open("a.xlsx", data(true, true))
	table, problems = f.Table("")
	require.Equal(t, []string{"F011"}, codes(problems))
	require.Equal(t, f.Sheets()[1], table.Sheet)
	require.Equal(t, table.Sheet, problems[0].Args["Sheet"])
	table, problems = f.Table("三")
	require.Empty(t, problems)
	require.Equal(t, "三", table.Sheet)
}

func TestSamplesArePersonalAndColumnsWithoutAHeadingAreNoticed(t *testing.T) {
	t.Parallel()
	table := open(t, sheetOf(t, []any{"姓名", "证件号码", nil, nil}, []any{nil, "1"}, []any{"甲", "2", nil, "说明"}, []any{"乙"}, []any{"丙"}))
	require.Len(t, table.Headers, 3)
	require.Equal(t, 3, table.Headers[2].Column)
	require.Equal(t, "甲", table.Headers[0].Samples[0].Reveal())
	require.Len(t, table.Headers[0].Samples, 2)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", table.Headers, table.Headers, table.Headers), "甲")
	text, err := json.Marshal(table.Headers)
	require.NoError(t, err)
	require.NotContains(t, string(text), "甲")
}

func TestARowPrintsMaskedAndMarshalsWhole(t *testing.T) {
	t.Parallel()
	row := intake.Row{No: 7, Cells: []intake.Cell{{Text: "王例安"}, {Text: "2026-11-21", Numeric: true, Date: calendar.Must(2026, 11, 21)}, {}, {Formula: true, Broken: true}}}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", row, row, row, row.Cells), "例")
	text, err := json.Marshal(row)
	require.NoError(t, err)
	var back intake.Row
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, row, back)
	require.Equal(t, intake.Cell{}, row.Cell(99))
	require.Equal(t, intake.Cell{}, row.Cell(-1))
}

func TestCellsAreReadAsPeopleSeeThem(t *testing.T) {
	t.Parallel()
	styles := `<styleSheet><numFmts><numFmt numFmtId="164" formatCode="yyyy&quot;年&quot;m&quot;月&quot;d&quot;日&quot;"/><numFmt numFmtId="165" formatCode="000000"/><numFmt numFmtId="166" formatCode="[$-804]h:mm"/></numFmts>` +
		`<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="166"/><xf numFmtId="31"/></cellXfs></styleSheet>`
	texts := `<sst><si><t>共享</t></si><si><r><rPr/><t>富</t></r><r><t xml:space="preserve"> 文本 </t></r><rPh sb="0" eb="1"><t>fu</t></rPh></si><si><t>两_x000D_
行</t></si></sst>`
	for name, c := range map[string]struct {
		cell string
		want intake.Cell
	}{
		"shared":                     {`<c r="A2" t="s"><v>0</v></c>`, intake.Cell{Text: "共享"}},
		"rich, without its guide":    {`<c r="A2" t="s"><v>1</v></c>`, intake.Cell{Text: "富 文本"}},
		"in two lines":               {`<c r="A2" t="s"><v>2</v></c>`, intake.Cell{Text: "两 行"}},
		"shared, but not there":      {`<c r="A2" t="s"><v>99</v></c>`, intake.Cell{}},
		"shared, below zero":         {`<c r="A2" t="s"><v>-1</v></c>`, intake.Cell{}},
		"inline":                     {`<c r="A2" t="inlineStr"><is><t>１３８　ＡＢ</t></is></c>`, intake.Cell{Text: "138 AB"}},
		"a formula's text":           {`<c r="A2" t="str"><f>A1</f><v>甲</v></c>`, intake.Cell{Text: "甲", Formula: true}},
		"a formula's number":         {`<c r="A2"><f t="shared" si="0"/><v>42</v></c>`, intake.Cell{Text: "42", Numeric: true, Formula: true}},
		"true":                       {`<c r="A2" t="b"><v>1</v></c>`, intake.Cell{Text: "TRUE"}},
		"false":                      {`<c r="A2" t="b"><v>0</v></c>`, intake.Cell{Text: "FALSE"}},
		"an error":                   {`<c r="A2" t="e"><v>#N/A</v></c>`, intake.Cell{Broken: true}},
		"an ISO date":                {`<c r="A2" t="d"><v>2026-11-21T00:00:00</v></c>`, intake.Cell{Text: "2026-11-21", Date: calendar.Must(2026, 11, 21)}},
		"a number":                   {`<c r="A2"><v>13800138000</v></c>`, intake.Cell{Text: "13800138000", Numeric: true}},
		"a number with an exponent":  {`<c r="A2"><v>1.3800138E10</v></c>`, intake.Cell{Text: "13800138000", Numeric: true}},
		"a damaged identity number":  {`<c r="A2"><v>4.40524188001010E+17</v></c>`, intake.Cell{Text: "440524188001010000", Numeric: true}},
		"a fraction":                 {`<c r="A2"><v>0.30000000000000004</v></c>`, intake.Cell{Text: "0.3", Numeric: true}},
		"a text in a number":         {`<c r="A2"><v>x</v></c>`, intake.Cell{Text: "x"}},
		"shown with zeros":           {`<c r="A2" s="3"><v>123</v></c>`, intake.Cell{Text: "000123", Numeric: true}},
		"a date":                     {`<c r="A2" s="1"><v>46347</v></c>`, intake.Cell{Text: "2026-11-21", Numeric: true, Date: calendar.Must(2026, 11, 21)}},
		"a date and a time":          {`<c r="A2" s="1"><v>46347.75</v></c>`, intake.Cell{Text: "2026-11-21", Numeric: true, Date: calendar.Must(2026, 11, 21)}},
		"a date in a Chinese format": {`<c r="A2" s="2"><v>46347</v></c>`, intake.Cell{Text: "2026-11-21", Numeric: true, Date: calendar.Must(2026, 11, 21)}},
		"a built-in Chinese format":  {`<c r="A2" s="5"><v>46347</v></c>`, intake.Cell{Text: "2026-11-21", Numeric: true, Date: calendar.Must(2026, 11, 21)}},
		"a time":                     {`<c r="A2" s="4"><v>0.5</v></c>`, intake.Cell{Text: "0.5", Numeric: true}},
		"a serial without a format":  {`<c r="A2"><v>46347</v></c>`, intake.Cell{Text: "46347", Numeric: true, Date: calendar.Must(2026, 11, 21)}},
		"a year":                     {`<c r="A2"><v>1998</v></c>`, intake.Cell{Text: "1998", Numeric: true}},
		"an early date":              {`<c r="A2" s="1"><v>59</v></c>`, intake.Cell{Text: "1900-02-28", Numeric: true, Date: calendar.Must(1900, 2, 28)}},
		"the day that never was":     {`<c r="A2" s="1"><v>60</v></c>`, intake.Cell{Text: "60", Numeric: true}},
		"beyond the last day":        {`<c r="A2" s="1"><v>99999999</v></c>`, intake.Cell{Text: "99999999", Numeric: true}},
		"below zero":                 {`<c r="A2" s="1"><v>-1</v></c>`, intake.Cell{Text: "-1", Numeric: true}},
		"a style that is not there":  {`<c r="A2" s="99"><v>46347</v></c>`, intake.Cell{Text: "46347", Numeric: true, Date: calendar.Must(2026, 11, 21)}},
		"without a name":             {`<c t="s"><v>0</v></c>`, intake.Cell{Text: "共享"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sheet := `<worksheet><sheetData><row><c r="A1" t="inlineStr"><is><t>姓名</t></is></c><c t="inlineStr"><is><t>证件号码</t></is></c></row><row>` +
				c.cell + `<c r="B2" t="inlineStr"><is><t>1</t></is></c></row></sheetData></worksheet>`
			table := open(t, raw(t, sheet, map[string]string{"xl/styles.xml": styles, "xl/sharedStrings.xml": texts}))
			n := 0
			for row, err := range table.Rows() {
				require.NoError(t, err)
				require.Equal(t, 2, row.No)
				require.Equal(t, c.want, row.Cell(0))
				n++
			}
			require.Equal(t, 1, n)
		})
	}
}

func TestDatesAreCountedInTheWorkbooksOwnSystem(t *testing.T) {
	t.Parallel()
	sheet := `<worksheet><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>姓名</t></is></c><c r="B1" t="inlineStr"><is><t>证件号码</t></is></c><c r="C1" t="inlineStr"><is><t>签署日期</t></is></c></row>` +
		`<row r="2"><c r="A2"><v>1</v></c><c r="C2"><v>44885</v></c></row></sheetData></worksheet>`
	book := strings.Replace(bookXML, "<workbookPr/>", `<workbookPr date1904="1"/>`, 1)
	table := open(t, raw(t, sheet, map[string]string{"xl/workbook.xml": book}))
	var dates []calendar.Date
	for row, err := range table.Rows() {
		require.NoError(t, err)
		dates = append(dates, row.Cell(2).Date)
	}
	require.Equal(t, []calendar.Date{calendar.Must(2026, 11, 21)}, dates)
}

func TestOnlyRowsWithSomethingInThemCountAndKeepTheirNumbers(t *testing.T) {
	t.Parallel()
	table := open(t, sheetOf(t, head, []any{"甲", "1"}, []any{" ", "\u00a0", "\u200b\u3000"}, nil, []any{"乙", "2"}))
	for range 2 { // a table can be read again
		require.Equal(t, map[int][]string{2: {"甲", "1"}, 5: {"乙", "2"}}, cells(t, table))
	}
}

func TestACellMergedDownwardsBelongsToEveryRow(t *testing.T) {
	t.Parallel()
	table := open(t, workbook(t, func(f *excelize.File) {
		fill(t, f, "Sheet1", []any{"采样登记表"}, []any{"姓名", "证件号码", "学院"}, []any{"甲", "1", "文学院"}, []any{"乙", "2"}, []any{"丙", "3"}, nil, []any{"丁", "4"})
		require.NoError(t, f.MergeCell("Sheet1", "A1", "C1"))
		require.NoError(t, f.MergeCell("Sheet1", "C3", "C6"))
	}))
	require.Equal(t, map[int][]string{3: {"甲", "1", "文学院"}, 4: {"乙", "2", "文学院"}, 5: {"丙", "3", "文学院"}, 7: {"丁", "4"}}, cells(t, table))
}

func TestColumnsFarOutAreLeftAlone(t *testing.T) {
	t.Parallel()
	table := open(t, workbook(t, func(f *excelize.File) {
		fill(t, f, "Sheet1", head, []any{"甲", "1", "2"})
		require.NoError(t, f.SetCellStr("Sheet1", "XFD2", "x"))
		require.NoError(t, f.SetCellStr("Sheet1", "ABC3", "x"))
	}))
	require.Equal(t, map[int][]string{2: {"甲", "1", "2"}}, cells(t, table))
	require.Len(t, table.Headers, 3)
}

func TestTheCellsOfARowMayBeKept(t *testing.T) {
	t.Parallel()
	table := open(t, sheetOf(t, head, []any{"甲", "1"}, []any{"乙", "2"}))
	var rows []intake.Row
	for row, err := range table.Rows() {
		require.NoError(t, err)
		row.Cells = slices.Clone(row.Cells)
		rows = append(rows, row)
	}
	require.Equal(t, "甲", rows[0].Cell(0).Text)
	require.Equal(t, "乙", rows[1].Cell(0).Text)
}
