package match

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"

	"github.com/liferelay/liferelay/registry/hla"
)

// Synthetic draws donors from haplotype frequencies and types them as the laboratories of their years did: a registry like one that grew
// for twenty years. The same seed draws the same donors, each by its number, in any order.
type Synthetic struct {
	set        *Frequencies
	cumulative []float64
	release    *hla.Release
	seed       uint64
}

// NewSynthetic makes a drawing. With a release, some typings are antigens, XX codes and groups; without one these are lists of alleles.
func NewSynthetic(f *Frequencies, release *hla.Release, seed uint64) *Synthetic {
	s := &Synthetic{set: f, release: release, seed: seed}
	sum := 0.0
	for _, h := range f.haplotypes {
		sum += h.frequency
		s.cumulative = append(s.cumulative, sum)
	}
	return s
}

func (s *Synthetic) draw(r *rand.Rand) *haplotype {
	at := r.Float64() * s.cumulative[len(s.cumulative)-1]
	return &s.set.haplotypes[min(sort.SearchFloat64s(s.cumulative, at), len(s.cumulative)-1)]
}

// era is how a laboratory typed in some years.
type era struct {
	share  float64
	always []hla.Locus // typed in every donor; the others in a part
	others float64
	low    float64 // share of copies that are typed by their first field or antigen
	middle float64 // share that are lists; the rest are alleles of two fields
}

var eras = []era{
	{share: 0.40, always: []hla.Locus{hla.A, hla.B, hla.DRB1}, others: 0, low: 0.85, middle: 0.10},               // before 2012
	{share: 0.25, always: []hla.Locus{hla.A, hla.B, hla.DRB1}, others: 0.4, low: 0.20, middle: 0.60},             // to 2018
	{share: 0.35, always: []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1}, others: 1, low: 0, middle: 0.03}, // since
}

// Donor draws the donor of a number.
func (s *Synthetic) Donor(n int) Entrant {
	r := rand.New(rand.NewPCG(s.seed, uint64(n)))
	one, other := s.draw(r), s.draw(r)
	era := eras[len(eras)-1]
	for at, share := 0, r.Float64(); at < len(eras); at++ {
		if share < eras[at].share {
			era = eras[at]
			break
		}
		share -= eras[at].share
	}
	var gl []string
	for l, locus := range s.set.loci {
		if !slices.Contains(era.always, locus) && (r.Float64() >= era.others || !slices.Contains(eras[2].always, locus)) {
			continue
		}
		copies := []string{s.typed(r, era, l, one.alleles[l]), s.typed(r, era, l, other.alleles[l])}
		slices.Sort(copies)
		gl = append(gl, copies[0]+"+"+copies[1])
	}
	d := Entrant{Typing: strings.Join(gl, "^"), Traits: Traits{BirthYear: uint16(2026 - 18 - r.IntN(37))}}
	// An id of version 7, as the register's: in the order of entry.
	id := &d.ID
	for i := range 6 {
		id[i] = byte(uint64(n) >> (8 * (5 - i)))
	}
	id[6], id[8] = 0x70, 0x80
	return d
}

// typed writes an allele as a laboratory of an era would have typed it.
func (s *Synthetic) typed(r *rand.Rand, e era, l int, allele uint16) string {
	p := s.set.places[l]
	gene, name := string(s.set.loci[l])+"*", p.names[allele]
	first, _, _ := strings.Cut(name, ":")
	switch share := r.Float64(); {
	case p.null[allele]: // what makes no protein is found by those who look at the whole gene
		return gene + name
	case share < e.low && s.release != nil:
		return gene + first + ":XX"
	case share < e.low:
		return s.list(gene, p, p.byFirst[first])
	case share < e.low+e.middle:
		near := p.byFirst[first]
		at := slices.Index(near, allele)
		return s.list(gene, p, near[max(0, at-2):min(len(near), at+3)])
	default:
		return gene + name
	}
}

func (s *Synthetic) list(gene string, p *place, alleles []uint16) string {
	names := make([]string, len(alleles))
	for i, a := range alleles {
		names[i] = fmt.Sprint(gene, p.names[a])
	}
	slices.Sort(names)
	return strings.Join(names, "/")
}
