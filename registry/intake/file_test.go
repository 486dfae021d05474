package intake_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
)

func codes(problems forms.Problems) []string {
	out := []string{}
	for _, p := range problems {
		out = append(out, p.Code)
	}
	return out
}

// workbook is an .xlsx file that a function fills in.
func workbook(t testing.TB, fill func(f *excelize.File)) []byte {
	t.Helper()
	f := excelize.NewFile()
	defer f.Close()
	fill(f)
	buf, err := f.WriteToBuffer()
	require.NoError(t, err)
	return buf.Bytes()
}

// sheetOf is an .xlsx file with rows in its first sheet.
func sheetOf(t testing.TB, rows ...[]any) []byte {
	return workbook(t, func(f *excelize.File) { fill(t, f, "Sheet1", rows...) })
}

func fill(t testing.TB, f *excelize.File, sheet string, rows ...[]any) {
	t.Helper()
	for i, row := range rows {
		require.NoError(t, f.SetSheetRow(sheet, fmt.Sprintf("A%d", i+1), &row))
	}
}

// parts is a zip archive of parts.
func parts(t testing.TB, content map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, text := range content {
		p, err := w.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(p, text)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

const (
	contentTypes = `<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>`
	bookXML      = `<?xml version="1.0" encoding="UTF-8"?><workbook xmlns:r="r"><workbookPr/><sheets><sheet name="名单" sheetId="1" r:id="rId1"/></sheets></workbook>`
	bookRels     = `<Relationships><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`
)

// raw is a workbook around the XML of a sheet, with other parts over it.
func raw(t testing.TB, sheet string, others map[string]string) []byte {
	content := map[string]string{
		"[Content_Types].xml": contentTypes, "xl/workbook.xml": bookXML, "xl/_rels/workbook.xml.rels": bookRels, "xl/worksheets/sheet1.xml": sheet,
	}
	for name, text := range others {
		content[name] = text
	}
	return parts(t, content)
}

// withParts adds parts to a workbook.
func withParts(t testing.TB, data []byte, names ...string) []byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range r.File {
		require.NoError(t, w.Copy(f))
	}
	for _, name := range names {
		p, err := w.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(p, "x")
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func gb(t testing.TB, text string) []byte {
	t.Helper()
	out, err := simplifiedchinese.GB18030.NewEncoder().String(text)
	require.NoError(t, err)
	return []byte(out)
}

func utf16(t testing.TB, order unicode.Endianness, text string) []byte {
	t.Helper()
	out, err := unicode.UTF16(order, unicode.UseBOM).NewEncoder().String(text)
	require.NoError(t, err)
	return []byte(out)
}

var head = []any{"姓名", "证件号码", "手机号码"}

func TestAFileIsRecognisedByItsContentFirst(t *testing.T) {
	t.Parallel()
	good := sheetOf(t, head)
	ole := append([]byte("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"), make([]byte, 600)...)
	encrypted := append(slices.Clone(ole), []byte("E\x00n\x00c\x00r\x00y\x00p\x00t\x00e\x00d\x00P\x00a\x00c\x00k\x00a\x00g\x00e\x00")...)
	for name, c := range map[string]struct {
		file  string
		data  []byte
		kind  intake.Kind
		codes []string
	}{
		"a workbook":                          {"a.xlsx", good, intake.XLSX, []string{}},
		"a workbook with a wrong name":        {"a.csv", good, intake.XLSX, []string{}},
		"a text":                              {"a.csv", []byte("姓名,证件号码\n"), intake.CSV, []string{}},
		"a text named as a workbook":          {"a.xlsx", []byte("name,id number\n"), intake.CSV, []string{}},
		"an empty file":                       {"a.xlsx", nil, "", []string{"F001"}},
		"only blanks":                         {"a.csv", []byte(" \r\n \t"), "", []string{"F001"}},
		"a locked workbook":                   {"a.xlsx", encrypted, "", []string{"F001"}},
		"half a workbook":                     {"a.xlsx", good[:len(good)/2], "", []string{"F001"}},
		"an old workbook":                     {"a.xls", ole, "", []string{"F002"}},
		"a page that calls itself xls":        {"a.xls", []byte("<html><table><tr><td>姓名</td></tr></table></html>"), "", []string{"F002"}},
		"mark-up behind a byte order mark":    {"a.xls", []byte("\xEF\xBB\xBF<?xml version=\"1.0\"?><Workbook/>"), "", []string{"F002"}},
		"a PDF":                               {"a.pdf", []byte("%PDF-1.7 姓名"), "", []string{"F002"}},
		"a picture":                           {"a.png", []byte("\x89PNG\r\n\x1a\n\x00\x00"), "", []string{"F002"}},
		"an archive":                          {"a.zip", parts(t, map[string]string{"a.txt": "x"}), "", []string{"F002"}},
		"an archive that says no more":        {"a.xlsx", parts(t, nil), "", []string{"F002"}},
		"a text document":                     {"a.docx", parts(t, map[string]string{"[Content_Types].xml": contentTypes, "word/document.xml": "<w/>"}), "", []string{"F002"}},
		"a workbook without sheets":           {"a.xlsx", raw(t, "", map[string]string{"xl/workbook.xml": "<workbook/>"}), "", []string{"F001"}},
		"a workbook that is no XML":           {"a.xlsx", raw(t, "", map[string]string{"xl/workbook.xml": "<workbook"}), "", []string{"F001"}},
		"a workbook in another character set": {"a.xlsx", raw(t, "", map[string]string{"xl/workbook.xml": `<?xml version="1.0" encoding="UTF-16"?><workbook/>`}), "", []string{"F001"}},
		"macros":                              {"a.xlsm", withParts(t, good, "xl/vbaProject.bin"), intake.XLSX, []string{"F009"}},
		"links":                               {"a.xlsx", withParts(t, good, "xl/externalLinks/externalLink1.xml"), intake.XLSX, []string{"F009"}},
		"embedded objects":                    {"a.xlsx", withParts(t, good, "xl/embeddings/oleObject1.bin"), intake.XLSX, []string{"F009"}},
		"too many bytes":                      {"a.csv", bytes.Repeat([]byte("a"), 20<<20+1), "", []string{"F007"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, problems := intake.Open(c.file, c.data)
			require.Equal(t, c.codes, codes(problems))
			if c.kind == "" {
				require.Nil(t, f)
				require.True(t, slices.ContainsFunc(problems, intake.Stops))
				return
			}
			require.Equal(t, c.kind, f.Kind)
			require.False(t, slices.ContainsFunc(problems, intake.Stops))
		})
	}
}

func TestTheEncodingOfATextIsFound(t *testing.T) {
	t.Parallel()
	text := "姓名,证件号码,手机号码\r\n王例安,11010519491231002X,13800138000\r\n"
	damaged := []byte(text)
	damaged[len("姓名,证件号码,手机号码\r\n王")] = 0xFF
	for name, c := range map[string]struct {
		data  []byte
		wish  intake.Encoding
		used  intake.Encoding
		codes []string
		name  string
	}{
		"UTF-8":                        {[]byte(text), "", intake.UTF8, []string{}, "王例安"},
		"UTF-8 with a mark":            {[]byte("\xEF\xBB\xBF" + text), "", intake.UTF8, []string{}, "王例安"},
		"GB18030 with known headings":  {gb(t, text), "", intake.GB18030, []string{}, "王例安"},
		"GB18030 with rare characters": {gb(t, strings.Replace(text, "安", "䶮𠮷", 1)), "", intake.GB18030, []string{}, "王例䶮𠮷"},
		"UTF-16, little end first":     {utf16(t, unicode.LittleEndian, text), "", intake.UTF16, []string{}, "王例安"},
		"UTF-16, big end first":        {utf16(t, unicode.BigEndian, text), "", intake.UTF16, []string{}, "王例安"},
		"UTF-8 with a wrong byte":      {damaged, "", intake.UTF8, []string{"F006"}, "王\uFFFD安"},
		"GB18030 that a person chose":  {gb(t, text), intake.GB18030, intake.GB18030, []string{}, "王例安"},
		"UTF-16 that a person chose":   {utf16(t, unicode.LittleEndian, text), intake.UTF16, intake.UTF16, []string{}, "王例安"},
		"UTF-16 without a mark":        {utf16(t, unicode.LittleEndian, text)[2:], intake.UTF16, intake.UTF16, []string{}, "王例安"},
		"UTF-8 that a person chose":    {damaged, intake.UTF8, intake.UTF8, []string{}, "王\uFFFD安"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, problems := intake.OpenWith("a.csv", c.data, intake.Options{Encoding: c.wish})
			require.Equal(t, c.codes, codes(problems))
			require.Equal(t, c.used, f.Encoding)
			table, problems := f.Table("")
			require.Empty(t, problems)
			for row, err := range table.Rows() {
				require.NoError(t, err)
				require.Equal(t, c.name, row.Cell(0).Text)
			}
		})
	}
	f, problems := intake.Open("a.csv", gb(t, "甲,乙\n"))
	require.Equal(t, []string{"F006"}, codes(problems))
	require.Equal(t, intake.GB18030, f.Encoding)
	require.Equal(t, "GB18030", problems[0].Args["Encoding"])
	f, _ = intake.OpenWith("a.csv", []byte(text), intake.Options{Encoding: intake.GB18030})
	_, problems = f.Table("")
	require.Equal(t, []string{"F003"}, codes(problems), "read as a person said, even when wrong")
}

// cells are the texts of a table's rows by number.
func cells(t testing.TB, table *intake.Table) map[int][]string {
	t.Helper()
	out := map[int][]string{}
	for row, err := range table.Rows() {
		require.NoError(t, err)
		var texts []string
		for _, c := range row.Cells {
			texts = append(texts, c.Text)
		}
		out[row.No] = texts
	}
	return out
}

func TestATextIsCutAsASpreadsheetCutsIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want map[int][]string
	}{
		"commas":            {"姓名,证件号码\n甲,1\n", map[int][]string{2: {"甲", "1"}}},
		"semicolons":        {"姓名;证件号码\n甲;1\n", map[int][]string{2: {"甲", "1"}}},
		"tabs":              {"姓名\t证件号码\n甲\t1\n", map[int][]string{2: {"甲", "1"}}},
		"strokes":           {"姓名|证件号码\n甲|1\n", map[int][]string{2: {"甲", "1"}}},
		"a named delimiter": {"sep=;\n姓名;证件号码\n甲;1\n", map[int][]string{3: {"甲", "1"}}},
		"old Macs":          {"姓名,证件号码\r甲,1\r乙,2\r", map[int][]string{2: {"甲", "1"}, 3: {"乙", "2"}}},
		"Windows":           {"姓名,证件号码\r\n甲,1\r\n乙,2", map[int][]string{2: {"甲", "1"}, 3: {"乙", "2"}}},
		"quotes":            {"姓名,\"证件\n号码\"\n\"甲,\"\"乙\"\"\n丙\",1\n丁,2\n", map[int][]string{2: {"甲,\"乙\" 丙", "1"}, 3: {"丁", "2"}}},
		"a stray quote":     {"姓名,证件号码\n甲\"乙,1\n", map[int][]string{2: {"甲\"乙", "1"}}},
		"an open quote":     {"姓名,证件号码\n\"甲,1\n", map[int][]string{2: {"甲,1"}}},
		"text behind quote": {"姓名,证件号码\n\"甲\"乙,1\n", map[int][]string{2: {"甲乙", "1"}}},
		"blank rows":        {"姓名,证件号码\n\n甲,1\n , \u3000\u200b\n\n乙,2\n", map[int][]string{3: {"甲", "1"}, 6: {"乙", "2"}}},
		"apostrophes":       {"姓名,证件号码\n甲,'=1\n乙,'+86\n丙,'1\n", map[int][]string{2: {"甲", "=1"}, 3: {"乙", "+86"}, 4: {"丙", "'1"}}},
		"a last delimiter":  {"姓名,证件号码,\n甲,1,", map[int][]string{2: {"甲", "1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, problems := intake.Open("a.csv", []byte(c.text))
			require.Empty(t, problems)
			table, problems := f.Table("")
			require.Empty(t, problems)
			require.Equal(t, c.want, cells(t, table))
		})
	}
	f, _ := intake.OpenWith("a.csv", []byte("姓名;证件,号码\n"), intake.Options{Delimiter: ';'})
	require.Equal(t, ';', f.Delimiter)
}

func TestWhatASpreadsheetWouldComputeIsCovered(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"=1+1": "'=1+1", "+86": "'+86", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "\rx": "'\rx", "x=1": "x=1", "": "", "王": "王",
		"320106200001010773": "'320106200001010773", "32010620000101001X": "32010620000101001X", "322600033575": "322600033575", "1234567890123456": "'1234567890123456",
	} {
		require.Equal(t, want, intake.CSVCell(text))
	}
	f, problems := intake.Open("a.csv", []byte("姓名,证件号码,手机号码,备注\n张三,'320106200001010773,'+8613800000001,'90后\n"))
	require.Empty(t, problems)
	table, problems := f.Table("")
	require.Empty(t, problems)
	require.Equal(t, []string{"张三", "320106200001010773", "+8613800000001", "'90后"}, cells(t, table)[2], "what was covered is read as it was")
}

func TestTheSheetsThatPeopleSeeAreListed(t *testing.T) {
	t.Parallel()
	data := workbook(t, func(f *excelize.File) {
		for _, name := range []string{"B", "C", "D"} {
			_, err := f.NewSheet(name)
			require.NoError(t, err)
		}
		require.NoError(t, f.SetSheetVisible("C", false))
		require.NoError(t, f.SetSheetVisible("D", false, true))
	})
	f, _ := intake.Open("a.xlsx", data)
	require.Equal(t, []string{"Sheet1", "B"}, f.Sheets())
	for name, want := range map[string]string{
		"/tmp/南京大学.csv": "南京大学", `C:\lists\a:b[1].csv`: "ab1", ".csv": "Sheet1", "": "Sheet1", strings.Repeat("长", 40) + ".csv": strings.Repeat("长", 31),
	} {
		f, _ := intake.Open(name, []byte("x"))
		require.Equal(t, []string{want}, f.Sheets())
	}
	require.Empty(t, f.Parent())
	require.Empty(t, f.Drive())
}

func TestAFileThatPromisesTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	sheet := "<worksheet><sheetData>" + strings.Repeat(`<row><c t="inlineStr"><is><t>0</t></is></c></row>`, 40_000) + "</sheetData></worksheet>"
	small := intake.Options{Limits: intake.Limits{Rows: 100, Bytes: 1 << 20, Unpacked: 1 << 20}}
	bomb := raw(t, sheet, nil)
	require.Less(t, len(bomb), 1<<16)
	f, problems := intake.OpenWith("a.xlsx", bomb, small)
	require.Empty(t, problems)
	_, problems = f.Table("")
	require.Equal(t, []string{"F007"}, codes(problems))

	texts := raw(t, "<worksheet/>", map[string]string{"xl/sharedStrings.xml": "<sst>" + strings.Repeat("<si><t>0</t></si>", 100_000) + "</sst>"})
	_, problems = intake.OpenWith("a.xlsx", texts, small)
	require.Equal(t, []string{"F007"}, codes(problems))
	require.EqualValues(t, 1, problems[0].Args["Megabytes"])

	lying := lie(t, bomb, uint32(len(sheet)), 1000)
	f, problems = intake.OpenWith("a.xlsx", lying, small)
	require.Empty(t, problems)
	_, problems = f.Table("")
	require.Equal(t, []string{"F001"}, codes(problems), "a part longer than the archive says")
}

// lie changes the size that an archive states for a part.
func lie(t testing.TB, data []byte, size, claimed uint32) []byte {
	t.Helper()
	le := func(n uint32) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)} }
	require.Contains(t, string(data), string(le(size)))
	return bytes.ReplaceAll(data, le(size), le(claimed))
}

func TestOnlySoManyRowsAreRead(t *testing.T) {
	t.Parallel()
	text := "姓名,证件号码\n" + strings.Repeat("\n甲,1\n", 5)
	for limit, complete := range map[int]bool{4: false, 5: true} {
		f, _ := intake.OpenWith("a.csv", []byte(text), intake.Options{Limits: intake.Limits{Rows: limit, Bytes: 1 << 20, Unpacked: 1 << 20}})
		table, _ := f.Table("")
		n := 0
		var last error
		for _, err := range table.Rows() {
			if last = err; err == nil {
				n++
			}
		}
		require.Equal(t, limit, n)
		if complete {
			require.NoError(t, last)
			continue
		}
		var problems forms.Problems
		require.ErrorAs(t, last, &problems)
		require.Equal(t, []string{"F007"}, codes(problems))
		require.Equal(t, limit, problems[0].Args["Rows"])
	}
}

func TestADamagedSheetIsAProblemAndNotACrash(t *testing.T) {
	t.Parallel()
	good := `<row r="1"><c r="A1" t="inlineStr"><is><t>姓名</t></is></c><c r="B1" t="inlineStr"><is><t>证件号码</t></is></c></row>`
	for name, sheet := range map[string]string{
		"cut in a tag":   `<worksheet><sheetData>` + good + `<row r="2"><c`,
		"cut in a cell":  `<worksheet><sheetData>` + good + `<row r="2"><c r="A2"><v>1`,
		"cut in a row":   `<worksheet><sheetData>` + good + `<row r="2">`,
		"rows backwards": `<worksheet><sheetData>` + good + `<row r="1"/></sheetData></worksheet>`,
		"a row too far":  `<worksheet><sheetData>` + good + `<row r="2000000"/></sheetData></worksheet>`,
		"a wrong entity": `<worksheet><sheetData>` + good + `<row r="2"><c r="A2"><v>&bomb;</v></c></row></sheetData></worksheet>`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, problems := intake.Open("a.xlsx", raw(t, sheet, nil))
			require.Empty(t, problems)
			_, problems = f.Table("")
			require.Equal(t, []string{"F001"}, codes(problems))
		})
	}
	missing := parts(t, map[string]string{"[Content_Types].xml": contentTypes, "xl/workbook.xml": bookXML, "xl/_rels/workbook.xml.rels": bookRels})
	f, _ := intake.Open("a.xlsx", missing)
	_, problems := f.Table("")
	require.Equal(t, []string{"F001"}, codes(problems))

	// Behind the rows in which the header is looked for the damage shows when the rows are read.
	late := `<worksheet><sheetData>` + good
	for i := 2; i < 100; i++ {
		late += fmt.Sprintf(`<row r="%d"><c r="A%d"><v>1</v></c></row>`, i, i)
	}
	f, _ = intake.Open("a.xlsx", raw(t, late+"<row", nil))
	table, problems := f.Table("")
	require.Empty(t, problems)
	var last error
	for _, err := range table.Rows() {
		last = err
	}
	require.ErrorAs(t, last, &problems)
	require.Equal(t, []string{"F001"}, codes(problems))
}
