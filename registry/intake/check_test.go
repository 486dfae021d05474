package intake_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
)

// result is what was said about a row, in the end.
type result struct {
	verdict  intake.Verdict
	problems forms.Problems
	key      [32]byte
}

func (r result) codes() []string {
	var out []string
	for _, p := range r.problems {
		out = append(out, p.Code)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

type tester interface {
	require.TestingT
	Helper()
}

// check runs a file through everything, as an importer does.
func check(t tester, data []byte, c forms.Circumstances) (*intake.File, *intake.Table, intake.Mapping, map[int]result) {
	t.Helper()
	file, problems := intake.Open("drive", data)
	require.NotNil(t, file, "%v", problems)
	table, problems := file.Table("")
	require.NotNil(t, table, "%v", problems)
	mapping := intake.Guess(table.Headers, nil)
	require.False(t, slices.ContainsFunc(mapping.Problems(intake.Defaults{}), intake.Stops), "%v", mapping.Problems(intake.Defaults{}))
	return file, table, mapping, checkRows(t, table, mapping, intake.Defaults{}, c)
}

func checkRows(t tester, table *intake.Table, mapping intake.Mapping, d intake.Defaults, c forms.Circumstances) map[int]result {
	t.Helper()
	checker := intake.NewChecker(c, d, mapping)
	out := map[int]result{}
	for row, err := range table.Rows() {
		require.NoError(t, err)
		checked := checker.Check(row)
		require.Equal(t, row.No, checked.Row)
		require.Equal(t, intake.VerdictOf(checked.Problems), checked.Verdict)
		_, twice := out[row.No]
		require.False(t, twice)
		out[row.No] = result{checked.Verdict, checked.Problems, checked.Key}
	}
	for _, a := range checker.Finish() {
		r, ok := out[a.Row]
		require.True(t, ok)
		r.problems = append(slices.Clone(r.problems), a.Problems...)
		r.verdict = intake.VerdictOf(r.problems)
		out[a.Row] = r
	}
	return out
}

func requireExpected(t tester, s *intaketest.Sheet, got map[int]result) {
	t.Helper()
	require.Len(t, got, len(s.Rows))
	for _, want := range s.Expect {
		r := got[want.Row]
		require.Equal(t, want.Verdict, r.verdict, "row %d, %s: %v", want.Row, want.Fault, r.problems)
		require.Equal(t, want.Codes, r.codes(), "row %d, %s", want.Row, want.Fault)
	}
}

func everyFault(n int) map[intaketest.Fault]int {
	out := map[intaketest.Fault]int{}
	for _, f := range intaketest.Faults() {
		out[f] = n
	}
	return out
}

func TestEveryFaultIsFoundAndNothingElse(t *testing.T) {
	t.Parallel()
	s, err := intaketest.Generate(7, 300, everyFault(3))
	require.NoError(t, err)
	for name, make := range map[string]func() ([]byte, error){
		"xlsx": s.XLSX, "utf-8": func() ([]byte, error) { return s.CSV(intake.UTF8) }, "gb18030": func() ([]byte, error) { return s.CSV(intake.GB18030) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := make()
			require.NoError(t, err)
			_, _, _, got := check(t, data, s.Circumstances())
			requireExpected(t, s, got)
		})
	}
}

func TestAGeneratedSheetIsTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	a, err := intaketest.Generate(1, 50, everyFault(1))
	require.NoError(t, err)
	b, err := intaketest.Generate(1, 50, everyFault(1))
	require.NoError(t, err)
	require.Equal(t, a, b)
	c, err := intaketest.Generate(2, 50, everyFault(1))
	require.NoError(t, err)
	require.NotEqual(t, a.Rows, c.Rows)
	_, err = intaketest.Generate(1, 10, everyFault(1))
	require.Error(t, err)
}

func TestTheOrderOfColumnsAndTheEncodingChangeNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		faults := map[intaketest.Fault]int{}
		for _, f := range rapid.SliceOfN(rapid.SampledFrom(intaketest.Faults()), 0, 8).Draw(t, "faults") {
			faults[f]++
		}
		s, err := intaketest.Generate(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(24, 40).Draw(t, "rows"), faults)
		require.NoError(t, err)
		data, err := s.CSV(intake.UTF8)
		require.NoError(t, err)
		_, _, _, want := check(t, data, s.Circumstances())
		requireExpected(t, s, want)

		moved := *s
		order := rapid.Permutation(slices.Collect(maps.Keys(indexes(len(s.Headings))))).Draw(t, "order")
		moved.Headings = permuted(s.Headings, order)
		moved.Rows = nil
		for _, row := range s.Rows {
			moved.Rows = append(moved.Rows, permuted(row, order))
		}
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			data, err = moved.XLSX()
		case 1:
			data, err = moved.CSV(intake.GB18030)
		default:
			data, err = moved.CSV(intake.UTF8)
		}
		require.NoError(t, err)
		_, _, _, got := check(t, data, s.Circumstances())
		require.Len(t, got, len(want))
		for row := range want {
			require.Equal(t, want[row].verdict, got[row].verdict)
			require.Equal(t, want[row].codes(), got[row].codes())
			if want[row].verdict != intake.Error {
				require.Equal(t, want[row].key, got[row].key)
			}
		}
	})
}

func indexes(n int) map[int]bool {
	out := map[int]bool{}
	for i := range n {
		out[i] = true
	}
	return out
}

func permuted(from []string, order []int) []string {
	out := make([]string, len(order))
	for i, j := range order {
		out[i] = from[j]
	}
	return out
}
