package hla

import "strings"

// How well a typing as it was reported says who somebody is: by each allele to two fields and more; by several alleles, or a code for
// several, that share the first; or by first fields alone.
const (
	HighResolution         = "high"
	IntermediateResolution = "intermediate"
	LowResolution          = "low"
)

// ResolutionOf is the resolution of a typing's least precise locus, empty for no typing. It reads the writing alone: no release.
func ResolutionOf(gl string) string {
	out := ""
	for _, locus := range strings.FieldsFunc(gl, func(r rune) bool { return r == '^' }) {
		switch is := resolutionOfLocus(locus); {
		case is == LowResolution:
			return LowResolution
		case is == IntermediateResolution, out == "":
			out = is
		}
	}
	return out
}

func resolutionOfLocus(locus string) string {
	out := HighResolution
	if strings.ContainsAny(locus, "/|") {
		out = IntermediateResolution
	}
	for _, allele := range strings.FieldsFunc(locus, func(r rune) bool { return strings.ContainsRune("+/|~? ", r) }) {
		_, number, found := strings.Cut(allele, "*")
		_, second, fields := strings.Cut(number, ":")
		switch second, _, _ = strings.Cut(second, ":"); {
		case !found || !fields || second == "XX":
			return LowResolution
		case second[:1] >= "A": // a code for several
			out = IntermediateResolution
		}
	}
	return out
}
