package match

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/liferelay/liferelay/registry/hla"
)

// Donor is what a search needs to know of a donor, and no more.
type Donor struct {
	ID        string // no two donors share it
	Typing    hla.Typing
	BirthYear int // 0 when unknown
}

// Candidate is a donor that a policy accepts, and why.
type Candidate struct {
	Donor  Donor
	Result Result
}

// UntypedError tells that a patient's typing cannot be searched with a policy.
type UntypedError struct {
	Loci []hla.Locus // those of the policy that the patient lacks
}

func (e *UntypedError) Error() string {
	return fmt.Sprintf("match: the patient is not typed at %v; type them, or search with a policy without them", e.Loci)
}

// Search returns the donors that the policy accepts for the patient, best first:
//
//  1. more matches,
//  2. then more potential matches, so that of two donors with equal matches the one not typed somewhere comes before the
//     one known to mismatch there (the same as 1 unless the policy allows untyped loci),
//  3. then the younger, a year of birth unknown last,
//  4. then by ID.
//
// The donors are read once, one at a time, and only those accepted are kept. An error among them ends the search and is
// returned wrapped. A patient who lacks a locus that the policy needs is an *UntypedError, found before a donor is read.
func Search(patient hla.Typing, donors iter.Seq2[Donor, error], policy Policy) ([]Candidate, error) {
	missing := patient.Missing(policy.Loci)
	if len(missing) > 0 && (!policy.AllowUntyped || len(missing) == len(policy.Loci)) {
		return nil, &UntypedError{missing}
	}
	var found []Candidate
	for donor, err := range donors {
		if err != nil {
			return nil, fmt.Errorf("match: read donors: %w", err)
		}
		if result := Compare(patient, donor.Typing, policy.Loci); Accepts(policy, result) {
			found = append(found, Candidate{donor, result})
		}
	}
	slices.SortFunc(found, rank)
	return found, nil
}

func rank(a, b Candidate) int {
	return cmp.Or(
		cmp.Compare(b.Result.Matched, a.Result.Matched),
		cmp.Compare(b.Result.Potential, a.Result.Potential),
		cmp.Compare(b.Donor.BirthYear, a.Donor.BirthYear),
		cmp.Compare(a.Donor.ID, b.Donor.ID),
	)
}
