package exchange

import (
	"bufio"
	"encoding/csv"
	"io"
	"strconv"
)

// Result is one pair of a patient and a donor, as the WMDA's fourth exercise (MV4) has it.
type Result struct {
	Patient, Donor string
	// Grades are those of A1, A2, B1 to DQB12: A, P, L, M, Q or R; 0 leaves the column empty.
	Grades     [10]byte
	Mismatches int // copies that are mismatched for certain
	// Eight, Nine and Ten are how likely so many of the ten match, in whole percents; nil where it is not known.
	Eight, Nine, Ten                 *int
	PatientSet, DonorSet             string // the population whose frequencies were used
	PatientExplained, DonorExplained bool   // whether two of its haplotypes give the typing
}

// resultColumns are around those of the grades.
var (
	resultBefore = []string{"PATIENT_ID", "DONOR_ID"}
	resultBehind = []string{"Count_MM", "P8_10", "P9_10", "P10_10", "HF_SET_PATIENT", "EXPLAINED_PATIENT", "HF_SET_DONOR", "EXPLAINED_DONOR"}
)

// ResultWriter writes results as CSV with MV4's columns.
type ResultWriter struct {
	to   *bufio.Writer
	rows *csv.Writer
	row  []string
}

// NewResultWriter writes the names of the columns.
func NewResultWriter(to io.Writer) (*ResultWriter, error) {
	w := &ResultWriter{to: bufio.NewWriterSize(to, 1<<16)}
	w.rows = csv.NewWriter(w.to)
	return w, w.rows.Write(append(append(append([]string{}, resultBefore...), copyColumns()...), resultBehind...))
}

// Write writes one line.
func (w *ResultWriter) Write(r Result) error {
	w.row = append(w.row[:0], r.Patient, r.Donor)
	for _, grade := range r.Grades {
		if grade == 0 {
			w.row = append(w.row, "")
		} else {
			w.row = append(w.row, string(rune(grade)))
		}
	}
	w.row = append(w.row, strconv.Itoa(r.Mismatches))
	for _, percent := range []*int{r.Eight, r.Nine, r.Ten} {
		if percent == nil {
			w.row = append(w.row, "")
		} else {
			w.row = append(w.row, strconv.Itoa(*percent))
		}
	}
	w.row = append(w.row, r.PatientSet, yes(r.PatientExplained), r.DonorSet, yes(r.DonorExplained))
	return w.rows.Write(w.row)
}

func yes(b bool) string {
	if b {
		return "Y"
	}
	return "N"
}

// Close ends the file.
func (w *ResultWriter) Close() error {
	w.rows.Flush()
	if err := w.rows.Error(); err != nil {
		return err
	}
	return w.to.Flush()
}
