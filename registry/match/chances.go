package match

import (
	"math"
	"slices"
)

// Phenotype is what a typing says at the loci of a set of frequencies: which pairs of the set's alleles it can be. It is made by
// Frequencies.Phenotype.
type Phenotype struct {
	set *Frequencies
	at  []partners // beside the set's loci; nil where the locus is not typed
}

// partners says of each allele at a locus which others it can stand beside: a row of bits for each allele, nil for one that cannot be there.
type partners [][]uint64

func (p partners) join(a, b uint16) {
	for range 2 {
		if p[a] == nil {
			p[a] = make([]uint64, (len(p)+63)/64)
		}
		p[a][b/64] |= 1 << (b % 64)
		a, b = b, a
	}
}

func (p partners) fits(a, b uint16) bool { return p[a] != nil && p[a][b/64]>>(b%64)&1 == 1 }

// Genotypes is what a person can be under a set of frequencies: which pairs of proteins at every locus, and how likely each is.
// It adds up to 1, unless the set explains nothing.
type Genotypes struct {
	set      *Frequencies
	keys     []genotypeKey // sorted
	chances  []float64     // beside keys
	marginal [maxLoci]marginal
}

type genotypeKey [maxLoci]uint16 // the number of a pair at each locus of the set, in its order

// marginal is how likely each pair is at one locus.
type marginal struct {
	pairs   []uint16 // sorted
	chances []float64
}

// Explained tells whether any pair of the set's haplotypes gives the typing.
func (g *Genotypes) Explained() bool { return len(g.keys) > 0 }

// Len is how many genotypes the person can be.
func (g *Genotypes) Len() int { return len(g.keys) }

// Explain finds every pair of haplotypes that gives the phenotype, in Hardy-Weinberg proportions, and what the person can be. Pairs that
// differ only in phase, or by what makes no protein, are one genotype (Bochtler 2016, HLA 87:439-48).
func (f *Frequencies) Explain(p Phenotype) *Genotypes {
	out := &Genotypes{set: f}
	fits := f.candidates(p)
	// Of the loci the one with the most alleles divides best: only haplotypes whose allele there can stand beside are tried.
	by := f.widest()
	groups := make([][]int32, len(f.places[by].names))
	for _, n := range fits {
		a := f.haplotypes[n].alleles[by]
		groups[a] = append(groups[a], n)
	}
	sums := map[genotypeKey]float64{}
	total := 0.0
	for _, n := range fits {
		one := &f.haplotypes[n]
		for a, group := range groups {
			if len(group) == 0 || p.at[by] != nil && !p.at[by].fits(one.alleles[by], uint16(a)) {
				continue
			}
			from, _ := slices.BinarySearch(group, n) // each pair once
		others:
			for _, m := range group[from:] {
				other := &f.haplotypes[m]
				for l, partners := range p.at {
					if partners != nil && l != by && !partners.fits(one.alleles[l], other.alleles[l]) {
						continue others
					}
				}
				chance := one.frequency * other.frequency
				if m != n {
					chance *= 2
				}
				var key genotypeKey
				for l := range f.places {
					key[l] = f.places[l].genotype[one.alleles[l]][other.alleles[l]]
				}
				sums[key] += chance
				total += chance
			}
		}
	}
	if total == 0 {
		return out
	}
	out.keys = make([]genotypeKey, 0, len(sums))
	for key := range sums {
		out.keys = append(out.keys, key)
	}
	slices.SortFunc(out.keys, func(a, b genotypeKey) int { return slices.Compare(a[:], b[:]) })
	out.chances = make([]float64, len(out.keys))
	for i, key := range out.keys {
		out.chances[i] = sums[key] / total
	}
	for l := range f.places {
		out.marginal[l] = out.at(l)
	}
	return out
}

func (f *Frequencies) widest() int {
	by := 0
	for l := range f.places {
		if len(f.places[l].names) > len(f.places[by].names) {
			by = l
		}
	}
	return by
}

// candidates are the haplotypes each of whose alleles can be there.
func (f *Frequencies) candidates(p Phenotype) []int32 {
	var out []int32
next:
	for n := range f.haplotypes {
		for l, partners := range p.at {
			if partners != nil && partners[f.haplotypes[n].alleles[l]] == nil {
				continue next
			}
		}
		out = append(out, int32(n))
	}
	return out
}

func (g *Genotypes) at(l int) marginal {
	sums := map[uint16]float64{}
	for i, key := range g.keys {
		sums[key[l]] += g.chances[i]
	}
	var m marginal
	for pair := range sums {
		m.pairs = append(m.pairs, pair)
	}
	slices.Sort(m.pairs)
	for _, pair := range m.pairs {
		m.chances = append(m.chances, sums[pair])
	}
	return m
}

// Chances is how likely a donor fits a patient.
type Chances struct {
	Locus []float64 // that both copies match, at each locus of the set
	// Over all loci of the set: that all copies match, and that all but one do. Of five loci these are 10/10 and 9/10.
	Ten, Nine float64
}

// certain is from where on a chance counts as certainty: sums of doubles miss 1 by less.
const certain = 1 - 1e-12

// Comparison compares one patient with many donors.
type Comparison struct {
	patient *Genotypes
	set     *Frequencies
	dense   [maxLoci][]float64 // the patient's chance of each pair
	near    [maxLoci][]uint8   // how many copies a pair can match at most: 0, 1, 2
	whole   map[genotypeKey]float64
	without [maxLoci]map[genotypeKey][]rest
}

// rest is the pair at the locus that a key leaves out, and its chance.
type rest struct {
	pair   uint16
	chance float64
}

// Against prepares the comparison of a patient with many donors.
func (g *Genotypes) Against() *Comparison {
	c := &Comparison{patient: g, set: g.set, whole: make(map[genotypeKey]float64, len(g.keys))}
	for l := range g.set.places {
		p := g.set.places[l]
		c.dense[l] = make([]float64, len(p.pairs))
		c.near[l] = make([]uint8, len(p.pairs))
		for i, pair := range g.marginal[l].pairs {
			c.dense[l][pair] = g.marginal[l].chances[i]
		}
		for other := range p.pairs {
			for _, pair := range g.marginal[l].pairs {
				c.near[l][other] = max(c.near[l][other], p.shared(pair, uint16(other)))
			}
		}
		c.without[l] = make(map[genotypeKey][]rest, len(g.keys))
	}
	for i, key := range g.keys {
		c.whole[key] = g.chances[i]
		for l := range g.set.places {
			pair := key[l]
			key[l] = 0
			c.without[l][key] = append(c.without[l][key], rest{pair, g.chances[i]})
			key[l] = pair
		}
	}
	return c
}

// shared is how many copies of two pairs match: 0, 1 or 2.
func (p *place) shared(a, b uint16) uint8 {
	x, y := p.pairs[a], p.pairs[b]
	return shared(x[0], x[1], y[0], y[1])
}

// With gives the chances of a donor. Both have to be explained by the same set.
func (c *Comparison) With(donor *Genotypes, into *Chances) {
	into.Locus = into.Locus[:0]
	into.Ten, into.Nine = 0, 0
	lacking := 0
	for l := range c.set.places {
		sum, best := 0.0, uint8(0)
		m := &donor.marginal[l]
		for i, pair := range m.pairs {
			sum += m.chances[i] * c.dense[l][pair]
			best = max(best, c.near[l][pair])
		}
		into.Locus = append(into.Locus, sum)
		lacking += 2 - int(best)
	}
	if lacking > 1 {
		return
	}
	for i, key := range donor.keys {
		lacking, where := 0, 0
		for l := range c.set.places {
			if near := c.near[l][key[l]]; near < 2 {
				lacking += 2 - int(near)
				where = l
			}
		}
		switch lacking {
		case 0:
			into.Ten += donor.chances[i] * c.whole[key]
			for l := range c.set.places {
				into.Nine += donor.chances[i] * c.oneOff(key, l)
			}
		case 1:
			into.Nine += donor.chances[i] * c.oneOff(key, where)
		}
	}
}

// oneOff is the patient's chance of a genotype that matches all copies but one, which is at a locus.
func (c *Comparison) oneOff(key genotypeKey, l int) float64 {
	pair := key[l]
	key[l] = 0
	sum := 0.0
	for _, r := range c.without[l][key] {
		if c.set.places[l].shared(r.pair, pair) == 1 {
			sum += r.chance
		}
	}
	return sum
}

// percent rounds a chance to whole percents, half up as the validation set does.
func percent(chance float64) int { return int(math.Floor(100*chance + 0.5 + 1e-9)) }

// grade is the validation set's letter of a chance: A certain, P possible, M impossible.
func grade(chance float64) byte {
	switch {
	case chance >= certain:
		return 'A'
	case chance > 0:
		return 'P'
	default:
		return 'M'
	}
}
