package match

// Epitopes says whether a mismatch at DPB1 can be borne, by the T-cell epitope groups of the alleles.
type Epitopes string

// The outcomes. Group 1 provokes most, group 3 least.
const (
	Permissive       Epitopes = "permissive"         // the lowest group of the patient's and that of the donor's are one
	NonPermissiveGvH Epitopes = "non_permissive_gvh" // the patient's is lower: the graft may attack
	NonPermissiveHvG Epitopes = "non_permissive_hvg" // the donor's is lower: the patient may attack
	EpitopesUnknown  Epitopes = "unknown"            // an allele has no group, or it depends on which alleles they turn out to be
)

// epitopes compares the lowest groups of two pairs (Fleischhauer 2012, Lancet Oncol 13:366-74; the groups of dpb_tce.csv). A null allele has
// the group of the expressed allele beside it.
func (f *facing) epitopes() Epitopes {
	found := Epitopes("")
	if f.rules.Release == nil {
		return EpitopesUnknown
	}
	for patient, may := range f.lowest(f.patientAlleles) {
		for donor, also := range f.lowest(f.donorAlleles) {
			if !may || !also {
				continue
			}
			outcome := outcomeOf(patient, donor)
			if found != "" && found != outcome {
				return EpitopesUnknown
			}
			found = outcome
		}
	}
	return found
}

func outcomeOf(patient, donor int) Epitopes {
	switch {
	case patient == 0 || donor == 0:
		return EpitopesUnknown
	case patient < donor:
		return NonPermissiveGvH
	case donor < patient:
		return NonPermissiveHvG
	}
	return Permissive
}

// lowest tells which lowest group a person's pair may have, 0 where the group of either copy is not known.
func (f *facing) lowest(w whatever) (may [4]bool) {
	for _, a := range w {
		first, second := f.groups(a.copy(0)), f.groups(a.copy(1))
		for x := range first {
			for y := range second {
				may[min(x, y)] = may[min(x, y)] || first[x] && second[y]
			}
		}
	}
	return may
}

// groups tells which groups the alleles of a set have.
func (f *facing) groups(s set) (has [4]bool) {
	for _, n := range s.list {
		has[f.rules.Release.Epitope(f.alleles.names[n])] = true
	}
	return has
}
