package match

import "github.com/liferelay/liferelay/registry/hla"

// MostAndLeast is how many copies match at the most and at the least between two readings of a locus.
func MostAndLeast(one, other *hla.LocusReading) (most, least uint8) {
	u := newUnits()
	same := func(a hla.Allele) hla.Allele { return a.TwoField() }
	a, b := unitsOf(one, same, &u), unitsOf(other, same, &u)
	return a.most(b), a.least(b)
}
