package hla

// Compose makes a reading of what is known of its loci, for whoever keeps readings locus by locus. A locus that is nil is not typed.
func Compose(at func(Locus) *LocusReading) *Reading {
	r := &Reading{}
	for place, locus := range loci {
		r.at[place] = at(locus)
	}
	return r
}
