package intake_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
)

var info = intake.TemplateInfo{
	DriveNumber: "NJ-2026-11-21-01", DriveName: "南京大学秋季采样", Host: "南京大学", BarcodeFrom: "NJ26000001", BarcodeTo: "NJ26009999", FormVersion: "HSC-2024",
	FirstDay: today,
}

func template(t testing.TB, i intake.TemplateInfo, l lang.Locale) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, intake.Template(&out, i, l))
	return out.Bytes()
}

func TestTheTemplatesExampleImportsClean(t *testing.T) {
	t.Parallel()
	plain := info
	plain.BarcodeFrom, plain.BarcodeTo, plain.FormVersion, plain.Host = "", "", "", ""
	for _, i := range []intake.TemplateInfo{info, plain} {
		for _, l := range lang.Locales() {
			data := template(t, i, l)
			file, problems := intake.Open("template.xlsx", data)
			require.Empty(t, problems)
			require.Equal(t, i.DriveNumber, file.Drive())
			require.Empty(t, file.Parent())
			require.Len(t, file.Sheets(), 2)
			example, problems := file.Table(file.Sheets()[1])
			require.Empty(t, problems)

			require.Empty(t, intake.Guess(example.Headers, nil).Problems(intake.Defaults{}), "its headings are known without keys")

			// A template that nobody filled in has no rows.
			empty, problems := file.Table("")
			require.Empty(t, problems)
			require.Equal(t, file.Sheets()[0], empty.Sheet)
			for _, err := range empty.Rows() {
				t.Errorf("an empty template has a row (%v)", err)
			}
			filled := edit(t, data, func(f *excelize.File) {
				n := 3
				for row, err := range example.Rows() {
					require.NoError(t, err)
					for column, c := range row.Cells {
						name, err := excelize.CoordinatesToCellName(column+1, n)
						require.NoError(t, err)
						require.NoError(t, f.SetCellStr(f.GetSheetName(0), name, c.Text))
					}
					n++
				}
			})
			c := circumstances()
			_, table, mapping, got := check(t, filled, c)
			require.Equal(t, 1, table.HeaderRow)
			require.Empty(t, mapping.Problems(intake.Defaults{}))
			for _, column := range mapping.Columns {
				require.Equal(t, intake.ByKey, column.How)
			}
			require.Len(t, got, 3)
			for no, r := range got {
				require.Equal(t, intake.Ready, r.verdict, "row %d: %v", no, r.problems)
				require.Empty(t, r.problems)
			}
		}
	}
}

func TestTheTemplateHelpsWhoeverFillsItIn(t *testing.T) {
	t.Parallel()
	f, err := excelize.OpenReader(bytes.NewReader(template(t, info, lang.Chinese)))
	require.NoError(t, err)
	defer f.Close()
	sheet := f.GetSheetName(0)
	first, err := f.GetCellValue(sheet, "A1")
	require.NoError(t, err)
	require.Equal(t, "姓名 *\nName", first)
	hidden, err := f.GetRowVisible(sheet, 2)
	require.NoError(t, err)
	require.False(t, hidden)
	key, err := f.GetCellValue(sheet, "A2")
	require.NoError(t, err)
	require.Equal(t, "name", key)
	rules, err := f.GetDataValidations(sheet)
	require.NoError(t, err)
	lists, hints := 0, 0
	for _, r := range rules {
		require.LessOrEqual(t, len([]rune(*r.PromptTitle)), 32)
		require.NotEmpty(t, *r.Prompt)
		hints++
		if r.Type == "list" {
			lists++
			require.Contains(t, r.Formula1, "liferelay!")
		}
	}
	require.Equal(t, len(intake.Fields())-6, hints)
	require.Equal(t, 10, lists)
	words, err := f.GetCols("liferelay")
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(words, func(c []string) bool { return strings.TrimSpace(strings.Join(c, " ")) == "男 女" }))
	style, err := f.GetColStyle(sheet, "C")
	require.NoError(t, err)
	s, err := f.GetStyle(style)
	require.NoError(t, err)
	require.Equal(t, 49, s.NumFmt)
}

func TestAnOldTemplateIsReadWithAWarning(t *testing.T) {
	t.Parallel()
	old := edit(t, template(t, info, lang.Chinese), func(f *excelize.File) {
		rows, err := f.GetRows("liferelay")
		require.NoError(t, err)
		for i, r := range rows {
			if len(r) > 0 && r[0] == "template" {
				name, err := excelize.CoordinatesToCellName(2, i+1)
				require.NoError(t, err)
				require.NoError(t, f.SetCellStr("liferelay", name, "2025.2"))
			}
		}
	})
	file, problems := intake.Open("old.xlsx", old)
	require.Equal(t, forms.Problems{{Code: "F010", Args: map[string]any{"Version": "2025.2", "Current": intake.TemplateVersion}}}, problems)
	require.NotNil(t, file)
	requireSaid(t, problems[0], nil)
}

func TestATemplateKeepsItsDriveThroughTheAnnotation(t *testing.T) {
	t.Parallel()
	filled := edit(t, template(t, info, lang.Chinese), func(f *excelize.File) {
		require.NoError(t, f.SetSheetRow(f.GetSheetName(0), "A3", &[]any{"王例安"}))
	})
	back, results := annotate(t, filled, circumstances(), lang.Chinese)
	require.Len(t, results, 1)
	file, problems := intake.Open("back.xlsx", back)
	require.Empty(t, problems)
	require.Equal(t, []string{"B-1", "NJ-2026-11-21-01"}, []string{file.Parent(), file.Drive()})
	table, problems := file.Table("")
	require.Empty(t, problems)
	require.Equal(t, intake.Name, table.Headers[0].Key)
	f, err := excelize.OpenReader(bytes.NewReader(back))
	require.NoError(t, err)
	defer f.Close()
	visible, err := f.GetRowVisible(f.GetSheetName(0), 2)
	require.NoError(t, err)
	require.False(t, visible)
}
