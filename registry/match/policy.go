package match

import (
	"fmt"
	"slices"

	"github.com/liferelay/liferelay/registry/hla"
)

// Policy says what a donor must fit.
type Policy struct {
	Loci         []hla.Locus `json:"loci" validate:"min=1,unique,dive,oneof=A C B DRB1 DRB3 DRB4 DRB5 DQA1 DQB1 DPA1 DPB1 E"`
	Mismatches   int         `json:"mismatches" validate:"min=0,max=4"` // allowed over all loci together
	AllowUntyped bool        `json:"allow_untyped"`                     // also donors not typed at each of the loci, who may fit
}

// MostMismatches is how many mismatched copies a policy may allow.
const MostMismatches = 4

// families are the counts that people speak of: of two copies at each locus. CMDP works with 5/6 and 6/6 at the first match (初配) and
// with 8/10 to 10/10 at high resolution; 8/8 is what American centres ask for, 12/12 has DPB1 in it.
var families = []struct {
	of   int
	loci []hla.Locus
}{
	{10, []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1}},
	{6, []hla.Locus{hla.A, hla.B, hla.DRB1}},
	{8, []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1}},
	{12, []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1, hla.DPB1}},
}

// Names returns the names that Named knows, the stricter of each family first.
func Names() []string {
	var names []string
	for _, f := range families {
		for mismatches := range MostMismatches + 1 {
			names = append(names, fmt.Sprintf("%d/%d", f.of-mismatches, f.of))
		}
	}
	return names
}

// Named returns the policy of a name such as "9/10": at least 9 of the 10 copies match.
func Named(name string) (Policy, bool) {
	n := slices.Index(Names(), name)
	if n < 0 {
		return Policy{}, false
	}
	return Policy{Loci: slices.Clone(families[n/(MostMismatches+1)].loci), Mismatches: n % (MostMismatches + 1)}, true
}

// Accepts reports whether a comparison satisfies the policy: at the policy's loci, no more mismatches for certain than allowed (who may
// fit is accepted) and, unless AllowUntyped, no locus untyped. A locus that was not compared is untyped; with no locus typed on both sides
// nobody is accepted. Loci of the result that are not the policy's do not count.
func Accepts(policy Policy, result Result) bool {
	untyped := result.untyped(policy.Loci)
	return len(untyped) < len(policy.Loci) && (len(untyped) == 0 || policy.AllowUntyped) && result.at(policy.Loci).Mismatches() <= policy.Mismatches
}

// untyped lists the wanted loci at which nothing was compared.
func (r Result) untyped(wanted []hla.Locus) []hla.Locus {
	var out []hla.Locus
	for _, locus := range wanted {
		if l := r.of(locus); l == nil || !l.Typed {
			out = append(out, locus)
		}
	}
	return out
}
