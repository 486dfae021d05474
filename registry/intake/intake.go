// Package intake reads spreadsheets of consent forms: a file in, a verdict for each row and an annotated workbook out.
//
// It guarantees:
//
//   - Every row that is not blank gets exactly one verdict, under the number that the spreadsheet shows for it. One bad
//     row stops no other.
//   - The verdict of a row does not depend on the order of the columns, on the file's type or on its encoding.
//   - Nothing in a file is run or followed: formulas give their last saved value, macros and links are left alone, and
//     what is read is bounded by Limits, whatever the file claims about itself.
//   - A problem names the field and the rule and never repeats what was read. Cells print masked.
//   - The annotated workbook can be mended and sent in again: a row that was settled and not touched since is known as
//     such, every other is tried anew.
//
// The steps are Open, File.Table, Guess, NewChecker, Checker.Check for each of Table.Rows, Checker.Finish, Annotate.
// The package is pure: today comes with forms.Circumstances, nothing is kept, and nothing is written to disk.
package intake

import (
	"strings"

	"github.com/liferelay/liferelay/registry/forms"
)

// Limits bound what is read of a file.
type Limits struct {
	Rows     int   // rows that are not blank, the header not counted
	Bytes    int64 // of the file as it was sent
	Unpacked int64 // of each part of a workbook that is read, once unpacked
}

// DefaultLimits are those of an upload: a drive's sheet is far below them.
func DefaultLimits() Limits { return Limits{Rows: 20_000, Bytes: 20 << 20, Unpacked: 192 << 20} }

// tooLarge is F007.
func (l Limits) tooLarge() forms.Problem {
	return forms.Problem{Code: "F007", Args: map[string]any{"Rows": l.Rows, "Megabytes": l.Bytes >> 20}}
}

// Stops tells whether a problem of a file, a mapping or a row keeps it from being imported. The others are warnings and
// notes.
func Stops(p forms.Problem) bool {
	switch p.Code {
	case "F001", "F002", "F003", "F004", "F005", "F007", "F008":
		return true
	}
	return p.Blocks()
}

// Verdict sums up the problems of a row.
type Verdict string

// The verdicts that this package gives. The register adds Known for a person that it has already.
const (
	Ready     Verdict = "ready"
	Warning   Verdict = "warning"   // may be imported once somebody has had a second look
	Error     Verdict = "error"     // may not be imported
	Duplicate Verdict = "duplicate" // the same person is in another row of the file
	Known     Verdict = "known"
)

// VerdictOf is the verdict that a row's problems lead to. A row that is wrong beside being a duplicate is an error:
// mending it comes first.
func VerdictOf(problems forms.Problems) Verdict {
	verdict := Ready
	for _, p := range problems {
		switch {
		case p.Code == "R110":
			verdict = Duplicate
		case Stops(p):
			return Error
		case strings.HasPrefix(p.Code, "W") && verdict == Ready:
			verdict = Warning
		}
	}
	return verdict
}
