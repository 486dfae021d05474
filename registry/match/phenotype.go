package match

import (
	"strings"
	"sync"

	"github.com/liferelay/liferelay/registry/hla"
)

// Phenotype says which pairs of the set's alleles a typing can be. An allele is found in the set by its name of two fields; one that the
// set does not have, when a release is given, by its P group, because frequencies are often counted in groups and named by one allele of
// each. A locus that the typing has and the set does not is left out, and one that the set has and the typing does not may be any.
func (f *Frequencies) Phenotype(typing *hla.Reading, release *hla.Release) Phenotype {
	p := Phenotype{set: f, at: make([]partners, len(f.loci))}
	for l, locus := range f.loci {
		if at := typing.At(locus); at != nil {
			p.at[l] = f.partnersAt(l, at, release)
		}
	}
	return p
}

func (f *Frequencies) partnersAt(l int, at *hla.LocusReading, release *hla.Release) partners {
	out := make(partners, len(f.places[l].names))
	for _, pair := range at.Pairs {
		one, other := f.numbersOf(l, pair[0], release), f.numbersOf(l, pair[1], release)
		for _, a := range one {
			for _, b := range other {
				out.join(a, b)
			}
		}
	}
	return out
}

// copyNumbers keeps what was found for copies: millions of people have thousands of copies.
type copyNumbers struct {
	mu      sync.RWMutex
	release *hla.Release
	known   [maxLoci]map[string][]uint16 // by the copy's text
}

const mostCopies = 1 << 16 // that are kept for a locus: texts of strangers shall not fill the memory

// numbersOf lists the set's alleles that a copy may be. The list is not to be changed.
func (f *Frequencies) numbersOf(l int, c hla.Copy, release *hla.Release) []uint16 {
	if c.Text == "" || c.Former != "" { // a text may stand for something else under another release
		return f.findNumbers(l, c, release)
	}
	k := &f.copies
	k.mu.RLock()
	numbers, known := k.known[l][c.Text]
	known = known && k.release == release
	k.mu.RUnlock()
	if known {
		return numbers
	}
	numbers = f.findNumbers(l, c, release)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.release != release {
		k.known, k.release = [maxLoci]map[string][]uint16{}, release
	}
	if k.known[l] == nil || len(k.known[l]) >= mostCopies {
		k.known[l] = map[string][]uint16{}
	}
	k.known[l][strings.Clone(c.Text)] = numbers
	return numbers
}

func (f *Frequencies) findNumbers(l int, c hla.Copy, release *hla.Release) []uint16 {
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
		if !a.Whole() {
			add(p.byFirst[a.Fields()[0]]...)
		} else if n, known := p.byAllele[a]; known && (f.has == nil || f.has[l][n]) {
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
