package match

import (
	"slices"

	"github.com/liferelay/liferelay/registry/hla"
)

// Policy says what a donor must fit.
type Policy struct {
	Loci         []hla.Locus `json:"loci" validate:"min=1,unique,dive,oneof=A C B DRB1 DRB3 DRB4 DRB5 DQA1 DQB1 DPA1 DPB1 E"`
	Mismatches   int         `json:"mismatches" validate:"min=0,max=4"` // allowed over all loci together
	AllowUntyped bool        `json:"allow_untyped"`                     // also donors not typed at each of the loci
}

var (
	threeLoci = []hla.Locus{hla.A, hla.B, hla.DRB1}
	fiveLoci  = []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1}
)

// named are the policies that CMDP works with: 5/6 and 6/6 at the first match (初配), 8/10 to 10/10 at high resolution.
var named = []struct {
	name   string
	policy Policy
}{
	{"10/10", Policy{Loci: fiveLoci, Mismatches: 0}},
	{"9/10", Policy{Loci: fiveLoci, Mismatches: 1}},
	{"8/10", Policy{Loci: fiveLoci, Mismatches: 2}},
	{"6/6", Policy{Loci: threeLoci, Mismatches: 0}},
	{"5/6", Policy{Loci: threeLoci, Mismatches: 1}},
}

// Names returns the names that Named knows, the stricter of each family first.
func Names() []string {
	var names []string
	for _, n := range named {
		names = append(names, n.name)
	}
	return names
}

// Named returns the policy of a name such as "9/10": at least 9 of the 10 copies match.
func Named(name string) (Policy, bool) {
	for _, n := range named {
		if n.name == name {
			p := n.policy
			p.Loci = slices.Clone(p.Loci)
			return p, true
		}
	}
	return Policy{}, false
}

// Accepts reports whether a comparison satisfies the policy: at the policy's loci, no more mismatches than allowed and,
// unless AllowUntyped, none untyped. A locus that was not compared is untyped; with no locus typed on both sides nobody
// is accepted. Loci of the result that are not the policy's do not count.
func Accepts(policy Policy, result Result) bool {
	typed, mismatches := 0, 0
	for _, locus := range result.Loci {
		if locus.Positions[0] != Untyped && slices.Contains(policy.Loci, locus.Locus) {
			typed++
			mismatches += len(locus.Positions) - locus.Matched
		}
	}
	return typed > 0 && (typed == len(policy.Loci) || policy.AllowUntyped) && mismatches <= policy.Mismatches
}
