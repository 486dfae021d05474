package match

import (
	"github.com/liferelay/liferelay/registry/hla"
)

// Phenotype says which pairs of the set's alleles a typing can be. An allele is found in the set by its name of two fields; one that the
// set does not have, when a release is given, by its P group, because frequencies are often counted in groups and named by one allele of
// each. A locus that the typing has and the set does not is left out, and one that the set has and the typing does not may be any.
func (f *Frequencies) Phenotype(typing *hla.Reading, release *hla.Release) Phenotype {
	p := Phenotype{set: f, at: make([]partners, len(f.loci))}
	for l, locus := range f.loci {
		at := typing.At(locus)
		if at == nil {
			continue
		}
		p.at[l] = make(partners, len(f.places[l].names))
		for _, pair := range at.Pairs {
			one, other := f.numbersOf(l, pair[0], release), f.numbersOf(l, pair[1], release)
			for _, a := range one {
				for _, b := range other {
					p.at[l].join(a, b)
				}
			}
		}
	}
	return p
}

// numbersOf lists the set's alleles that a copy may be.
func (f *Frequencies) numbersOf(l int, c hla.Copy, release *hla.Release) []uint16 {
	p := f.places[l]
	if c.Unknown {
		all := make([]uint16, len(p.names))
		for n := range all {
			all[n] = uint16(n)
		}
		return all
	}
	if len(c.Alleles) == 0 {
		if n, known := p.byName["NNNN"]; known {
			return []uint16{n}
		}
		return nil
	}
	seen := make(map[uint16]bool, len(c.Alleles))
	var out []uint16
	add := func(numbers ...uint16) {
		for _, n := range numbers {
			if !seen[n] {
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	for _, a := range c.Alleles {
		fields := a.Fields()
		if !a.Whole() {
			add(p.byFirst[fields[0]]...)
			continue
		}
		name := fields[0] + ":" + fields[1]
		if a.Null() {
			name += "N"
		}
		if n, known := p.byName[name]; known && (f.has == nil || f.has[l][n]) {
			add(n)
		} else if release != nil && !a.Null() {
			add(p.unitsIn(release, f.loci[l])[release.Unit(a)]...)
		}
	}
	return out
}

// unitsIn gives the set's alleles of each P group.
func (p *place) unitsIn(release *hla.Release, locus hla.Locus) map[hla.Allele][]uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.units != nil && p.release == release {
		return p.units
	}
	p.units, p.release = map[hla.Allele][]uint16{}, release
	for n, name := range p.names {
		if a, err := hla.ParseAllele(string(locus) + "*" + name); err == nil && !a.Null() {
			p.units[release.Unit(a)] = append(p.units[release.Unit(a)], uint16(n))
		}
	}
	return p.units
}
