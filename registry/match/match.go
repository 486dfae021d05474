// Package match says which donors fit a patient.
//
// It guarantees that a comparison is the same whichever person is called the patient and in whatever order the copies
// were written, that a locus without a typing counts neither for nor against a donor, and that a search gives the same
// list for the same donors in any order.
//
// The unit of comparison is the allele at two fields (hla.Allele.TwoField).
package match

import "github.com/liferelay/liferelay/registry/hla"

// Grade says how one of a patient's two copies at a locus compares with the donor's.
type Grade string

const (
	Match    Grade = "match"
	Mismatch Grade = "mismatch"
	Untyped  Grade = "untyped" // the locus is not typed on one side or on both
)

// LocusResult is the comparison at one locus.
type LocusResult struct {
	Locus     hla.Locus `json:"locus"`
	Matched   int       `json:"matched"`   // 0 to 2
	Possible  int       `json:"possible"`  // the most that Matched can become: Matched where typed, 2 where untyped
	Positions [2]Grade  `json:"positions"` // of the patient's copies, in the order of hla.Typing.At
}

// Result is the comparison of a patient with a donor.
type Result struct {
	Loci      []LocusResult `json:"loci"`      // in the order asked for
	Matched   int           `json:"matched"`   // copies that match
	Of        int           `json:"of"`        // copies compared: two for each locus typed on both sides
	Potential int           `json:"potential"` // Matched, and two more for each untyped locus
}

// Compare grades a donor against a patient at the given loci, each named once.
//
// Each of the patient's copies is paired with one of the donor's, directly (first with first) or crossed (first with
// second), whichever matches more; directly when both match the same.
//
// A copy that makes no protein counts as a second copy of the expressed allele beside it (Bochtler 2016, HLA 87:439-48:
// a person with C*05:07N and C*07:02 is compared as C*07:02 twice). Such a copy is a null allele or an absent DRB3, DRB4
// or DRB5. With no expressed allele beside it, it is compared by its name.
func Compare(patient, donor hla.Typing, loci []hla.Locus) Result {
	r := Result{Loci: make([]LocusResult, len(loci))}
	for i, locus := range loci {
		at := compareLocus(locus, patient, donor)
		r.Loci[i] = at
		r.Matched += at.Matched
		r.Potential += at.Possible
		if at.Positions[0] != Untyped {
			r.Of += len(at.Positions)
		}
	}
	return r
}

func compareLocus(locus hla.Locus, patient, donor hla.Typing) LocusResult {
	r := LocusResult{Locus: locus, Possible: 2, Positions: [2]Grade{Untyped, Untyped}}
	p, ok := patient.At(locus)
	if !ok {
		return r
	}
	d, ok := donor.At(locus)
	if !ok {
		return r
	}
	p, d = expressed(p), expressed(d)
	r.Positions, r.Matched = pairing(p, d)
	if crossed, matched := pairing(p, [2]hla.Allele{d[1], d[0]}); matched > r.Matched {
		r.Positions, r.Matched = crossed, matched
	}
	r.Possible = r.Matched
	return r
}

func pairing(patient, donor [2]hla.Allele) (grades [2]Grade, matched int) {
	for i := range grades {
		grades[i] = Mismatch
		if patient[i] == donor[i] {
			grades[i] = Match
			matched++
		}
	}
	return grades, matched
}

// expressed returns the pair at two fields, after the rule for copies that make no protein.
func expressed(pair [2]hla.Allele) [2]hla.Allele {
	first, second := pair[0].TwoField(), pair[1].TwoField()
	switch {
	case silent(first) && !silent(second):
		first = second
	case silent(second) && !silent(first):
		second = first
	}
	return [2]hla.Allele{first, second}
}

func silent(a hla.Allele) bool { return a.Null() || a == hla.Allele{} }
