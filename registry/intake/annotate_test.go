package intake_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
	"github.com/liferelay/liferelay/registry/lang"
)

// resultsOf are a commit's results: what was ready is created, what wanted a second look too.
func resultsOf(results map[int]result) func(int) (intake.RowResult, bool) {
	return func(row int) (intake.RowResult, bool) {
		r, ok := results[row]
		out := intake.RowResult{Verdict: r.verdict, Outcome: intake.Failed, Problems: r.problems}
		if r.verdict == intake.Ready || r.verdict == intake.Warning {
			out.Outcome, out.Donor = intake.Created, "D-000001"
		}
		return out, ok
	}
}

// annotate checks a file and gives its annotated workbook.
func annotate(t tester, data []byte, c forms.Circumstances, l lang.Locale) ([]byte, map[int]result) {
	t.Helper()
	file, table, mapping, results := check(t, data, c)
	var out bytes.Buffer
	require.NoError(t, intake.Annotate(&out, file, table, intake.RowResults{Batch: "B-1", Mapping: mapping, Of: resultsOf(results)}, l))
	return out.Bytes(), results
}

func settled(t tester, data []byte) map[int]bool {
	t.Helper()
	file, problems := intake.Open("back.xlsx", data)
	require.Empty(t, problems)
	table, problems := file.Table("")
	require.Empty(t, problems)
	out := map[int]bool{}
	for row, err := range table.Rows() {
		require.NoError(t, err)
		out[row.No] = row.Settled
	}
	return out
}

// edit changes cells of a workbook, as a person would.
func edit(t tester, data []byte, change func(f *excelize.File)) []byte {
	t.Helper()
	f, err := excelize.OpenReader(bytes.NewReader(data))
	require.NoError(t, err)
	defer f.Close()
	change(f)
	buf, err := f.WriteToBuffer()
	require.NoError(t, err)
	return buf.Bytes()
}

func TestAnAnnotatedWorkbookThatIsMendedHasNoErrorLeft(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		faults := map[intaketest.Fault]int{}
		for _, f := range rapid.SliceOfN(rapid.SampledFrom(intaketest.Faults()), 1, 6).Draw(t, "faults") {
			faults[f]++
		}
		seed := rapid.Uint64().Draw(t, "seed")
		s, err := intaketest.Generate(seed, 30, faults)
		require.NoError(t, err)
		whole, err := intaketest.Generate(seed, 30, nil)
		require.NoError(t, err)
		var data []byte
		if rapid.Bool().Draw(t, "csv") {
			data, err = s.CSV(intake.GB18030)
		} else {
			data, err = s.XLSX()
		}
		require.NoError(t, err)
		back, first := annotate(t, data, s.Circumstances(), rapid.SampledFrom(lang.Locales()).Draw(t, "locale"))
		requireExpected(t, s, first)

		file, _, _, again := check(t, back, s.Circumstances())
		require.Equal(t, "B-1", file.Parent())
		marks := settled(t, back)
		for no, r := range first {
			require.Equal(t, r.verdict, again[no].verdict, "row %d", no)
			require.Equal(t, r.codes(), again[no].codes(), "row %d", no)
			require.Equal(t, r.verdict == intake.Ready || r.verdict == intake.Warning, marks[no], "row %d", no)
		}

		// The sheet without faults says what each faulty row should be.
		mended := edit(t, back, func(f *excelize.File) {
			for i, want := range s.Expect {
				if want.Verdict != intake.Error && want.Verdict != intake.Duplicate {
					continue
				}
				for c, text := range whole.Rows[i] {
					name, err := excelize.CoordinatesToCellName(c+1, want.Row)
					require.NoError(t, err)
					require.NoError(t, f.SetCellStr(f.GetSheetName(0), name, text))
				}
			}
		})
		_, _, _, final := check(t, mended, s.Circumstances())
		require.Len(t, final, 30)
		for no, r := range final {
			require.Contains(t, []intake.Verdict{intake.Ready, intake.Warning}, r.verdict, "row %d: %v", no, r.problems)
		}
		kept := settled(t, mended)
		for no, was := range marks {
			require.Equal(t, was, kept[no], "row %d", no)
		}
	})
}

func TestARowThatWasChangedIsTriedAgain(t *testing.T) {
	t.Parallel()
	back, _ := annotate(t, people(map[string]string{}, map[string]string{}, map[string]string{"签名": "否"}), circumstances(), lang.Chinese)
	require.Equal(t, map[int]bool{2: true, 3: true, 4: false}, settled(t, back))
	changed := edit(t, back, func(f *excelize.File) { require.NoError(t, f.SetCellStr(f.GetSheetName(0), "K2", "文学院")) })
	require.Equal(t, map[int]bool{2: false, 3: true, 4: false}, settled(t, changed))
	// A row key that was copied with its row says nothing about another row.
	copied := edit(t, back, func(f *excelize.File) {
		key, err := f.GetCellValue(f.GetSheetName(0), "AK2")
		require.NoError(t, err)
		require.NotEmpty(t, key)
		require.NoError(t, f.SetCellStr(f.GetSheetName(0), "AK4", key))
	})
	require.Equal(t, map[int]bool{2: true, 3: true, 4: false}, settled(t, copied))
}

func TestTheAnnotatedWorkbookLooksLikeTheOneThatWasSent(t *testing.T) {
	t.Parallel()
	data := workbook(t, func(f *excelize.File) {
		require.NoError(t, f.SetSheetName("Sheet1", "名单"))
		rows := [][]any{{"南京大学采样登记表"}, nil, {"备注", "姓名", "身份证号", "手机", "登记项目", "健康征询", "签名", "签署日期", "联系人1", "联系人1电话", "联系人2", "联系人2电话", "身高"}}
		good := []any{"=1+1 是文字", "王例安", resident("11010519981231002"), 13800138000, "造血干细胞", "是", "是", "2026-11-21", "王例宁", "13800138001", "李样晴", "13800138002", 170}
		bad := slices.Clone(good)
		bad[2], bad[3] = resident("11010519981231004"), "1380013800"
		doubt := slices.Clone(good)
		doubt[2], doubt[3], doubt[9] = resident("11010519981231006"), "13800138003", "13800138003"
		rows = append(rows, good, nil, bad, doubt)
		fill(t, f, "名单", rows...)
		require.NoError(t, f.MergeCell("名单", "A1", "M1"))
		_, err := f.NewSheet("别的")
		require.NoError(t, err)
	})
	back, _ := annotate(t, data, circumstances(), lang.Chinese)
	f, err := excelize.OpenReader(bytes.NewReader(back))
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, []string{"名单", "liferelay", "代码表"}, f.GetSheetList())
	visible, err := f.GetSheetVisible("liferelay")
	require.NoError(t, err)
	require.False(t, visible)
	get := func(cell string) string {
		v, err := f.GetCellValue("名单", cell)
		require.NoError(t, err)
		return v
	}
	require.Equal(t, "南京大学采样登记表", get("A1"))
	merged, err := f.GetMergeCells("名单")
	require.NoError(t, err)
	require.Len(t, merged, 1)
	require.Equal(t, []string{"姓名", "结果", "问题", "怎么改"}, []string{get("B3"), get("N3"), get("O3"), get("P3")})
	require.Equal(t, "已新建\n捐献者编号:D-000001", get("N4"))
	require.Equal(t, "未导入", get("N6"))
	require.Contains(t, get("O6"), "R111")
	require.Contains(t, get("P6"), "11 位")
	require.Contains(t, get("O7"), "W204")
	require.Empty(t, get("N5"))
	shown, err := f.GetColVisible("名单", "Q")
	require.NoError(t, err)
	require.False(t, shown)
	panes, err := f.GetPanes("名单")
	require.NoError(t, err)
	require.Equal(t, 3, panes.YSplit)

	color := func(cell string) string {
		id, err := f.GetCellStyle("名单", cell)
		require.NoError(t, err)
		s, err := f.GetStyle(id)
		require.NoError(t, err)
		if len(s.Fill.Color) == 0 {
			return ""
		}
		return s.Fill.Color[0]
	}
	require.Equal(t, []string{"EDEDED", "EDEDED", "FFC7CE", "", "EDEDED"}, []string{color("B4"), color("D4"), color("D6"), color("B6"), color("J7")})
	comments, err := f.GetComments("名单")
	require.NoError(t, err)
	require.Len(t, comments, 2)
	require.Equal(t, []string{"D6", "J7"}, []string{comments[0].Cell, comments[1].Cell})
	require.Contains(t, comments[0].Text, "R111")

	// What looks like a formula is text, and a phone that was a number too.
	formula, err := f.GetCellFormula("名单", "A4")
	require.NoError(t, err)
	require.Empty(t, formula)
	require.Equal(t, "=1+1 是文字", get("A4"))
	for cell, want := range map[string]excelize.CellType{"A4": excelize.CellTypeInlineString, "D4": excelize.CellTypeInlineString, "M4": excelize.CellTypeUnset} {
		kind, err := f.GetCellType("名单", cell)
		require.NoError(t, err)
		require.Equal(t, want, kind, cell)
	}
	id, err := f.GetColStyle("名单", "C")
	require.NoError(t, err)
	style, err := f.GetStyle(id)
	require.NoError(t, err)
	require.Equal(t, 49, style.NumFmt)

	codes, err := f.GetRows("代码表")
	require.NoError(t, err)
	require.Equal(t, []string{"代码", "问题", "行", "怎么改"}, codes[0])
	require.Equal(t, []string{"R111", "W204"}, []string{codes[1][0], codes[2][0]})
	require.Equal(t, []string{"6", "7"}, []string{codes[1][2], codes[2][2]})
}

func TestBeforeTheCommitTheVerdictIsShownAndNothingIsSettled(t *testing.T) {
	t.Parallel()
	data := people(map[string]string{}, map[string]string{"性别": "男"}, map[string]string{"条码": "X"}, map[string]string{}, map[string]string{})
	file, table, mapping, results := check(t, data, circumstances())
	var out bytes.Buffer
	require.NoError(t, intake.Annotate(&out, file, table, intake.RowResults{Batch: "B", Mapping: mapping, Of: func(no int) (intake.RowResult, bool) {
		return intake.RowResult{Verdict: results[no].verdict, Problems: results[no].problems}, no != 6
	}}, lang.English))
	require.Equal(t, map[int]bool{2: false, 3: false, 4: false, 5: false, 6: false}, settled(t, out.Bytes()))
	f, err := excelize.OpenReader(&out)
	require.NoError(t, err)
	defer f.Close()
	sheet := f.GetSheetName(0)
	for cell, want := range map[string]string{"AH1": "Result", "AH2": "ready", "AH3": "please confirm", "AH4": "error", "AH5": "ready", "AH6": ""} {
		got, err := f.GetCellValue(sheet, cell)
		require.NoError(t, err)
		require.Equal(t, want, got, cell)
	}
}

func TestTheResultColumnsAreNotAddedTwice(t *testing.T) {
	t.Parallel()
	data := people(map[string]string{}, map[string]string{"条码": "X"})
	once, _ := annotate(t, data, circumstances(), lang.Chinese)
	twice, _ := annotate(t, once, circumstances(), lang.English)
	file, _ := intake.Open("a.xlsx", twice)
	table, problems := file.Table("")
	require.Empty(t, problems)
	require.Equal(t, columns, headings(table))
	f, err := excelize.OpenReader(bytes.NewReader(twice))
	require.NoError(t, err)
	defer f.Close()
	rows, err := f.GetRows(f.GetSheetName(0))
	require.NoError(t, err)
	require.Equal(t, append(slices.Clone(columns), "Result", "Problem", "How to fix", "liferelay:row"), rows[0])
}

func TestTheSameResultsGiveTheSameWorkbook(t *testing.T) {
	t.Parallel()
	data := people(map[string]string{}, map[string]string{"条码": "X"}, map[string]string{"性别": "男"})
	a, _ := annotate(t, data, circumstances(), lang.Chinese)
	b, _ := annotate(t, data, circumstances(), lang.Chinese)
	require.Equal(t, a, b)
}

func TestNothingOfMacrosAndLinksIsLeft(t *testing.T) {
	t.Parallel()
	data := withParts(t, sheetOf(t, append([]any{}, toAny(columns)...), row(sound)), "xl/vbaProject.bin", "xl/externalLinks/externalLink1.xml")
	file, problems := intake.Open("a.xlsm", data)
	require.Equal(t, []string{"F009"}, codes(problems))
	table, _ := file.Table("")
	var out bytes.Buffer
	require.NoError(t, intake.Annotate(&out, file, table, intake.RowResults{Mapping: intake.Guess(table.Headers, nil), Of: func(int) (intake.RowResult, bool) { return intake.RowResult{}, false }}, lang.Chinese))
	_, problems = intake.Open("b.xlsx", out.Bytes())
	require.Empty(t, problems)
}

func toAny(texts []string) []any {
	var out []any
	for _, s := range texts {
		out = append(out, s)
	}
	return out
}

// row is a person in the order of the columns.
func row(p map[string]string) []any {
	var out []any
	for _, c := range columns {
		out = append(out, p[c])
	}
	return out
}

func TestCellsKeepWhatTheyAre(t *testing.T) {
	t.Parallel()
	data := workbook(t, func(f *excelize.File) {
		fill(t, f, "Sheet1", append(toAny(columns), "备注", "其他"), row(sound), row(sound), row(sound))
		date, err := f.NewStyle(&excelize.Style{NumFmt: 14})
		require.NoError(t, err)
		require.NoError(t, f.SetCellFloat("Sheet1", "AA2", 46347, -1, 64))
		require.NoError(t, f.SetCellStyle("Sheet1", "AA2", "AA2", date))
		require.NoError(t, f.SetCellFloat("Sheet1", "C3", 440524188001010000, -1, 64)) // damaged
		require.NoError(t, f.SetCellFloat("Sheet1", "AH2", -0.5, -1, 64))
		zeros := "00000"
		padded, err := f.NewStyle(&excelize.Style{CustomNumFmt: &zeros})
		require.NoError(t, err)
		require.NoError(t, f.SetCellFloat("Sheet1", "AI2", 42, -1, 64))
		require.NoError(t, f.SetCellStyle("Sheet1", "AI2", "AI2", padded))
		require.NoError(t, f.SetCellStr("Sheet1", "AH3", strings.Repeat("长", 32767)))
		require.NoError(t, f.SetCellStr("Sheet1", "AH4", "<a&b>\x01"))
	})
	table := open(t, data)
	before := map[int]intake.Row{}
	for row, err := range table.Rows() {
		require.NoError(t, err)
		row.Cells = slices.Clone(row.Cells)
		before[row.No] = row
	}
	back, results := annotate(t, data, circumstances(), lang.Chinese)
	require.Contains(t, results[3].codes(), "R102")
	for row, err := range open(t, back).Rows() {
		require.NoError(t, err)
		for column, want := range before[row.No].Cells {
			got := row.Cell(column)
			require.Equal(t, want.Text, got.Text, "%d %d", row.No, column)
			if row.No == 2 && column == 26 || row.No == 3 && column == 2 {
				require.True(t, got.Numeric)
				require.Equal(t, want.Date, got.Date)
			}
		}
	}
}

func TestASheetOfAnyNameCanBeAnnotated(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Liferelay": "Liferelay 1", "代码表": "代码表", strings.Repeat("名", 40): strings.Repeat("名", 31), "a/b?*[]": "ab", "'": "Sheet1", "": "Sheet1",
	} {
		sheet := `<worksheet><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>姓名</t></is></c><c r="B1" t="inlineStr"><is><t>证件号码</t></is></c></row><row r="2"><c r="A2"><v>1</v></c></row></sheetData></worksheet>`
		data := raw(t, sheet, map[string]string{"xl/workbook.xml": strings.Replace(bookXML, "名单", name, 1)})
		file, problems := intake.Open("a.xlsx", data)
		require.Empty(t, problems)
		table, problems := file.Table(name)
		require.Empty(t, problems)
		var out bytes.Buffer
		require.NoError(t, intake.Annotate(&out, file, table, intake.RowResults{Batch: "B", Of: func(int) (intake.RowResult, bool) { return intake.RowResult{}, true }}, lang.Chinese))
		back, _ := intake.Open("b.xlsx", out.Bytes())
		require.Equal(t, want, back.Sheets()[0])
		table, problems = back.Table("")
		require.Empty(t, problems)
		require.Equal(t, want, table.Sheet)
	}
}

func TestAnErrorOfTheWriterIsReturned(t *testing.T) {
	t.Parallel()
	file, table, mapping, results := check(t, people(map[string]string{}), circumstances())
	require.Error(t, intake.Annotate(failing{}, file, table, intake.RowResults{Mapping: mapping, Of: resultsOf(results)}, lang.Chinese))
	require.Error(t, intake.Template(failing{}, intake.TemplateInfo{FirstDay: today}, lang.Chinese))
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestLiftedLimitsLetALargeFileThrough(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 100,000 rows")
	}
	const rows = 100_000
	var b strings.Builder
	b.WriteString("姓名,证件号码,手机,登记项目,签名,签署日期\n")
	for i := range rows {
		fmt.Fprintf(&b, "王例安,%s,137%08d,角膜,是,2026-11-21\n", resident(fmt.Sprintf("1101051998%02d%02d%03d", 1+i/28%12, 1+i%28, i/336)), i)
	}
	_, problems := intake.OpenWith("a.csv", []byte(b.String()), intake.Options{Limits: intake.Limits{Rows: 1 << 20, Bytes: 1 << 20, Unpacked: 1 << 30}})
	require.Equal(t, []string{"F007"}, codes(problems))
	file, problems := intake.OpenWith("a.csv", []byte(b.String()), intake.Options{Limits: intake.Limits{Rows: 1 << 20, Bytes: 1 << 30, Unpacked: 1 << 30}})
	require.Empty(t, problems)
	table, _ := file.Table("")
	checker := intake.NewChecker(circumstances(), intake.Defaults{}, intake.Guess(table.Headers, nil))
	before, n := heap(), 0
	for row, err := range table.Rows() {
		require.NoError(t, err)
		require.Equal(t, intake.Ready, checker.Check(row).Verdict)
		n++
	}
	require.Equal(t, rows, n)
	require.Less(t, (heap()-before)/rows, int64(400), "bytes that the checker keeps a row")
	require.Empty(t, checker.Finish())
}

// heap is what is in use once the garbage is gone.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
