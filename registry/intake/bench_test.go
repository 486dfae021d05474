package intake_test

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
)

// large is a sheet of 20,000 rows and 24 columns, a hundredth of them faulty.
var large = sync.OnceValues(func() (*intaketest.Sheet, []byte) {
	s, err := intaketest.Generate(1, 20_000, everyFault(10))
	if err != nil {
		panic(err)
	}
	data, err := s.XLSX()
	if err != nil {
		panic(err)
	}
	return s, data
})

// BenchmarkBareWalk reads the sheet with excelize alone: what the others are compared with.
func BenchmarkBareWalk(b *testing.B) {
	_, data := large()
	b.ReportAllocs()
	for b.Loop() {
		f, err := excelize.OpenReader(bytes.NewReader(data))
		require.NoError(b, err)
		rows, err := f.Rows("Sheet1")
		require.NoError(b, err)
		n := 0
		for rows.Next() {
			_, err := rows.Columns()
			require.NoError(b, err)
			n++
		}
		require.Equal(b, 20_001, n)
		require.NoError(b, f.Close())
	}
}

func BenchmarkTableRows(b *testing.B) {
	_, data := large()
	b.ReportAllocs()
	for b.Loop() {
		f, _ := intake.Open("drive.xlsx", data)
		table, _ := f.Table("")
		n := 0
		for _, err := range table.Rows() {
			require.NoError(b, err)
			n++
		}
		require.Equal(b, 20_000, n)
	}
}

func BenchmarkFormAndCheck(b *testing.B) {
	s, data := large()
	f, _ := intake.Open("drive.xlsx", data)
	table, _ := f.Table("")
	mapping := intake.Guess(table.Headers, nil)
	var rows []intake.Row
	for row, err := range table.Rows() {
		require.NoError(b, err)
		row.Cells = slices.Clone(row.Cells)
		rows = append(rows, row)
	}
	checker := intake.NewChecker(s.Circumstances(), intake.Defaults{}, mapping)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i == len(rows) {
			i, checker = 0, intake.NewChecker(s.Circumstances(), intake.Defaults{}, mapping)
		}
		checker.Check(rows[i])
		i++
	}
}

func BenchmarkAnnotate(b *testing.B) {
	s, data := large()
	file, table, mapping, results := check(b, data, s.Circumstances())
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, intake.Annotate(io.Discard, file, table, intake.RowResults{Batch: "B1", Mapping: mapping, Of: resultsOf(results)}, "zh-CN"))
	}
}
