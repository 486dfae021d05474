package match

import "github.com/liferelay/liferelay/registry/hla"

// MostAndLeast is how many copies match at the most and at the least between two readings of a locus.
func MostAndLeast(one, other *hla.LocusReading) (most, least uint8) {
	u := newUnits()
	same := func(a hla.Allele) hla.Allele { return a.TwoField() }
	a, b := unitsOf(one, same, &u), unitsOf(other, same, &u)
	return a.most(b), a.least(b)
}

// FrequencyOf is that of a haplotype, by the names of its alleles without their loci; 0 where the set does not have it.
func (f *Frequencies) FrequencyOf(names ...string) float64 {
next:
	for _, h := range f.haplotypes {
		for l, name := range names {
			if f.places[l].names[h.alleles[l]] != name {
				continue next
			}
		}
		return h.frequency
	}
	return 0
}
