package match

import (
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
	nulls      map[string][]string // alleles that make no protein, by locus and first field
}

// NewSynthetic makes a drawing. With a release some typings are antigens, XX codes, P groups and null alleles; without one these are lists of alleles.
func NewSynthetic(f *Frequencies, release *hla.Release, seed uint64) *Synthetic {
	s := &Synthetic{set: f, release: release, seed: seed, nulls: map[string][]string{}}
	sum := 0.0
	for _, h := range f.haplotypes {
		sum += h.frequency
		s.cumulative = append(s.cumulative, sum)
	}
	if release != nil {
		for l, place := range f.places {
			for name := range place.byAllele {
				key := string(f.loci[l]) + "*" + name.Fields()[0]
				if _, done := s.nulls[key]; done {
					continue
				}
				s.nulls[key] = nil
				for _, a := range release.Proteins(f.loci[l], name.First()) {
					if a.Null() {
						s.nulls[key] = append(s.nulls[key], a.String())
					}
				}
			}
		}
	}
	return s
}

func (s *Synthetic) draw(r *rand.Rand) *haplotype {
	at := r.Float64() * s.cumulative[len(s.cumulative)-1]
	return &s.set.haplotypes[min(sort.SearchFloat64s(s.cumulative, at), len(s.cumulative)-1)]
}

// era is how laboratories typed in some years.
type era struct {
	share  float64     // of all donors
	always []hla.Locus // typed in every donor
	others float64     // how many have the other loci of the five
	low    float64     // copies that are typed by their first field or antigen
	middle float64     // copies that are lists; the rest are alleles of two fields
}

var (
	oldLoci = []hla.Locus{hla.A, hla.B, hla.DRB1}
	newLoci = []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1}
	eras    = []era{
		{share: 0.40, always: oldLoci, others: 0, low: 0.85, middle: 0.10},   // before 2012
		{share: 0.25, always: oldLoci, others: 0.4, low: 0.20, middle: 0.60}, // to 2018
		{share: 0.35, always: newLoci, others: 1, low: 0, middle: 0.03},      // since
	}
	newest = eras[len(eras)-1]
	oldest = era{always: oldLoci, low: 1}
)

// Donor draws the donor of a number.
func (s *Synthetic) Donor(n int) Entrant {
	r := rand.New(rand.NewPCG(s.seed, uint64(n)))
	typed := newest
	for at, share := 0, r.Float64(); at < len(eras); at++ {
		if share < eras[at].share {
			typed = eras[at]
			break
		}
		share -= eras[at].share
	}
	d := Entrant{Typing: s.typing(r, typed), Traits: s.traits(r)}
	if s.release != nil {
		d.Version = s.release.Version()
	}
	// An id of version 7, as the register's: in the order of entry.
	for i := range 6 {
		d.ID[i] = byte(uint64(n) >> (8 * (5 - i)))
	}
	d.ID[6], d.ID[8] = 0x70, 0x80
	return d
}

// Patient draws a patient of a number, typed at five loci by two fields, or at three by first fields. Patients are no donors.
func (s *Synthetic) Patient(n int, low bool) string {
	r := rand.New(rand.NewPCG(^s.seed, uint64(n)))
	if low {
		return s.typing(r, oldest)
	}
	return s.typing(r, era{always: newLoci})
}

// traits are those of the volunteers of a year: 73.65 % of them 18 to 35 when they entered, up to twenty years ago, 55 men to 45 women.
func (s *Synthetic) traits(r *rand.Rand) Traits {
	const year = 2026
	entered := year - r.IntN(20)
	age := 18 + r.IntN(18)
	if r.Float64() >= 0.7365 {
		age = 36 + r.IntN(10)
	}
	t := Traits{BirthYear: uint16(entered - age), LastContact: uint16(18000 + r.IntN(2700)), Sex: Male, WeightKG: uint8(45 + r.IntN(50)), Province: uint8(11 + r.IntN(55))}
	if r.Float64() >= 0.55 {
		t.Sex = Female
	}
	switch share := r.Float64(); { // of China: O 0.30, A 0.31, B 0.28, AB 0.11
	case share < 0.30:
		t.ABO = GroupO
	case share < 0.61:
		t.ABO = GroupA
	case share < 0.89:
		t.ABO = GroupB
	default:
		t.ABO = GroupAB
	}
	t.Rh, t.CMV = Positive, Positive
	if r.Float64() < 0.004 {
		t.Rh = Negative
	}
	if r.Float64() < 0.1 {
		t.CMV = Negative
	}
	return t
}

func (s *Synthetic) typing(r *rand.Rand, e era) string {
	one, other := s.draw(r), s.draw(r)
	var gl []string
	for l, locus := range s.set.loci {
		if !slices.Contains(e.always, locus) && (!slices.Contains(newLoci, locus) || r.Float64() >= e.others) {
			continue
		}
		copies := []string{s.typed(r, e, l, one.alleles[l]), s.typed(r, e, l, other.alleles[l])}
		slices.Sort(copies)
		gl = append(gl, copies[0]+"+"+copies[1])
	}
	return strings.Join(gl, "^")
}

// typed writes an allele as a laboratory of an era would have typed it.
func (s *Synthetic) typed(r *rand.Rand, e era, l int, allele uint16) string {
	p := s.set.places[l]
	gene, name := string(p.locus)+"*", p.names[allele]
	first, _, _ := strings.Cut(name, ":")
	share, rare := r.Float64(), r.Float64()
	switch {
	case p.null[allele]: // what makes no protein is found by those who look at the whole gene
		return gene + name
	case share < e.low && s.release != nil:
		if rare < 0.3 {
			if antigen := s.antigen(gene + name); antigen != "" {
				return antigen
			}
		}
		return gene + first + ":XX"
	case share < e.low:
		return s.list(gene, p, p.byFirst[first])
	case share < e.low+e.middle:
		near := p.byFirst[first]
		at := slices.Index(near, allele)
		return s.list(gene, p, near[max(0, at-2):min(len(near), at+3)])
	case rare < 0.001 && len(s.nulls[gene+first]) > 0:
		nulls := s.nulls[gene+first]
		return nulls[r.IntN(len(nulls))]
	case rare < 0.05 && s.release != nil:
		if a, err := hla.ParseAllele(gene + name); err == nil && s.release.Knows(a) {
			return s.release.Unit(a).String() + "P"
		}
	}
	return gene + name
}

// antigen is what a serologist would have found, empty where nobody knows.
func (s *Synthetic) antigen(name string) string {
	a, err := hla.ParseAllele(name)
	if err != nil {
		return ""
	}
	if serum := s.release.Serum(a); len(serum.Antigens) == 1 {
		return letters[a.Locus()] + serum.Antigens[0]
	}
	return ""
}

var letters = map[hla.Locus]string{hla.A: "A", hla.B: "B", hla.C: "Cw", hla.DRB1: "DR", hla.DQB1: "DQ"}

func (s *Synthetic) list(gene string, p *place, alleles []uint16) string {
	names := make([]string, len(alleles))
	for i, a := range alleles {
		names[i] = gene + p.names[a]
	}
	slices.Sort(names)
	return strings.Join(names, "/")
}
