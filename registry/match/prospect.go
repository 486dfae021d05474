package match

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"

	"github.com/liferelay/liferelay/registry/hla"
)

// Prospect compares one patient with many donors whose typings leave much open. It gives what Comparison gives, to within Tolerance, without listing what
// each donor can be:
//
//   - What a patient's chance of a genotype is multiplied with is the genotype's frequency, which is the same for every donor that can have it. So the
//     genotypes that match the patient in all copies or in all but one are found once, as a tree, and a donor's chance is the sum over those that
//     their typing allows.
//   - What that is divided by, how frequent a typing is at all, is a sum of products of sums over boxes of haplotypes: those whose allele is, at
//     each locus, in one of the sets that the typing names.
//
// Any number may ask at a time.
type Prospect struct {
	set     *Frequencies // the donors'
	release *hla.Release
	order   []int // loci of the set in the order of the tree
	tree    []level
	weights [maxLoci][]float64 // the patient's chance of a pair of alleles, by both

	mu    sync.RWMutex
	sides [maxLoci]map[string]*sides // by what is typed
	sets  [maxLoci]map[string]*haplotypesWith
	boxes map[boxKey]*box
	sums  sync.Pool
}

// Tolerance is how far a Prospect's chances over all loci may be below those of a Comparison: genotypes of the patient and weights of theirs so small that they
// come to less than this together are left out.
const Tolerance = 1e-4

// level is one level of a tree of genotypes, of which those that agree in the loci before stand together.
type level struct {
	pairs     [][2]uint16 // alleles, the smaller first
	child     []int32     // where a node's children begin on the level below; one more than there are nodes
	ten, nine []float64   // sums over all that is below
}

// sides says what a locus of a typing allows, as sets: an ordered pair of alleles is allowed if it is in one of these products. They do not overlap.
type sides struct {
	typed    bool
	products [][2]*haplotypesWith
	allowed  partners // where the locus may be one of several pairs of copies; else products are as good
}

func (s *sides) fits(a, b uint16) bool {
	if s.allowed != nil {
		return s.allowed.fits(a, b)
	}
	for _, p := range s.products {
		if p[0].has(a) && p[1].has(b) {
			return true
		}
	}
	return false
}

func (s *haplotypesWith) has(a uint16) bool { return s.alleles[a/64]>>(a%64)&1 == 1 }

// haplotypesWith are the set's haplotypes whose allele at a locus is one of some.
type haplotypesWith struct {
	number  int32
	alleles []uint64 // a bit each; nil where they are all
	count   int      // of haplotypes
	making  sync.Once
	bits    []uint64 // of haplotypes
}

type boxKey [maxLoci]int32

// box is a set of haplotypes: the sum of their frequencies, and the same by the allele at each locus.
type box struct {
	sum float64
	at  [maxLoci][]share
}

type share struct {
	allele    uint16
	frequency float64
}

// Prospect prepares the comparison of a patient with donors of a population, which may be another than the patient's if both sets number their alleles
// alike. A patient whom no two haplotypes explain has none, and it is nil.
func (g *Genotypes) Prospect(donors *Frequencies, release *hla.Release) *Prospect {
	if !g.Explained() {
		return nil
	}
	p := &Prospect{set: donors, release: release, boxes: map[boxKey]*box{}}
	p.sums.New = func() any { return newBoxSums(donors) }
	for l := range donors.places {
		p.order = append(p.order, l)
		p.sides[l], p.sets[l] = map[string]*sides{}, map[string]*haplotypesWith{}
	}
	// The locus with the most alleles divides best; those that are least typed come last, where sums are ready.
	slices.SortStableFunc(p.order, func(a, b int) int {
		return cmp.Or(cmp.Compare(seldom(donors, a), seldom(donors, b)), cmp.Compare(len(donors.places[b].names), len(donors.places[a].names)))
	})
	for l, place := range donors.places {
		n := len(place.names)
		chances := make([]float64, len(place.pairs))
		for i, pair := range g.marginal[l].pairs {
			chances[pair] = g.marginal[l].chances[i]
		}
		p.weights[l] = make([]float64, n*n)
		for a := range n {
			for b := range n {
				p.weights[l][a*n+b] = chances[place.genotype[a][b]]
			}
		}
	}
	p.grow(g)
	return p
}

// seldom tells how seldom a locus is typed: A, B and DRB1 have been for longest.
func seldom(f *Frequencies, l int) int {
	switch f.loci[l] {
	case hla.A, hla.B, hla.DRB1:
		return 0
	default:
		return 1
	}
}

// leaf is a genotype of the tree.
type leaf struct {
	key       leafKey
	ten, nine float64
}

type leafKey [maxLoci]uint32 // both alleles of a locus, the smaller in the upper half, in the order of the tree

func bothOf(a, b uint16) uint32 { return uint32(min(a, b))<<16 | uint32(max(a, b)) }

// grow finds the genotypes that match the patient in all copies, or in all but one.
func (p *Prospect) grow(g *Genotypes) {
	// The patient's genotypes without the least likely.
	likely := make([]int32, len(g.keys))
	for i := range likely {
		likely[i] = int32(i)
	}
	slices.SortFunc(likely, func(a, b int32) int {
		return cmp.Or(cmp.Compare(g.chances[b], g.chances[a]), cmp.Compare(a, b))
	})
	for left := 0.0; len(likely) > 1; likely = likely[:len(likely)-1] {
		if left += g.chances[likely[len(likely)-1]]; left > Tolerance/2 {
			break
		}
	}
	loci := len(p.set.places)
	found := make([][]leaf, loci)
	for l := range found {
		found[l] = p.around(g, likely, l)
	}
	leaves := slices.Concat(found...)
	slices.SortFunc(leaves, func(a, b leaf) int { return slices.Compare(a.key[:loci], b.key[:loci]) })
	p.plant(leaves)
}

// around finds the genotypes that are as one of the patient's at all loci but one, where they match in one copy or, at the set's first locus,
// in both: each genotype that matches in all copies is counted there once.
func (p *Prospect) around(g *Genotypes, likely []int32, l int) []leaf {
	f := p.set
	index := f.index()
	// The patient's genotypes that differ at this locus only stand together.
	same := slices.Clone(likely)
	without := func(n int32) genotypeKey {
		key := g.keys[n]
		key[l] = 0
		return key
	}
	slices.SortFunc(same, func(a, b int32) int {
		x, y := without(a), without(b)
		return slices.Compare(x[:], y[:])
	})
	place := f.places[l]
	n := len(place.names)
	var (
		leaves     []leaf
		of         = make([]float64, n)                // the chance of all pairs with an allele
		pairs      = make([]float64, len(place.pairs)) // the chance of a pair
		sums       = make([]float64, n*n)              // how frequent each pair of alleles is here
		touched    []int                               // of sums
		one        leafKey                             // the alleles of one haplotype and the other, at each locus
		other      leafKey
		negligible = Tolerance / 2 / float64(len(f.places)+1)
	)
	for from := 0; from < len(same); {
		to := from + 1
		for to < len(same) && without(same[to]) == without(same[from]) {
			to++
		}
		key := g.keys[same[from]]
		for _, m := range same[from:to] {
			pair := g.keys[m][l]
			a, b := place.pairs[pair][0], place.pairs[pair][1]
			pairs[pair] += g.chances[m]
			of[a] += g.chances[m]
			if a != b {
				of[b] += g.chances[m]
			}
		}
		// Every way in which two haplotypes come to those other loci.
		var choose func(at int)
		emit := func() {
			for _, t := range touched {
				a, b := uint16(t/n), uint16(t%n)
				chance := sums[t]
				sums[t] = 0
				pair := place.genotype[a][b]
				x, y := place.pairs[pair][0], place.pairs[pair][1]
				nine := of[x] - pairs[pair]
				if x != y {
					nine += of[y] - pairs[pair]
				}
				ten := 0.0
				if l == 0 {
					ten = pairs[pair]
				}
				if nine <= negligible {
					nine = 0
				}
				if ten <= negligible {
					ten = 0
				}
				if nine == 0 && ten == 0 {
					continue
				}
				out := leaf{ten: chance * ten, nine: chance * nine}
				for d, at := range p.order {
					if at == l {
						out.key[d] = bothOf(a, b)
					} else {
						out.key[d] = bothOf(uint16(one[at]), uint16(other[at]))
					}
				}
				leaves = append(leaves, out)
			}
			touched = touched[:0]
		}
		// Alleles at the other loci that come to the same pair after the rule for nulls are genotypes of their own: typings tell them apart.
		var raw [][2]uint16
		choose = func(at int) {
			if at == len(f.places) {
				p.phases(index, l, raw, sums, &touched)
				for i, k := 0, 0; i < len(f.places); i++ {
					if i != l {
						one[i], other[i] = uint32(raw[k][0]), uint32(raw[k][1])
						k++
					}
				}
				emit()
				return
			}
			if at == l {
				choose(at + 1)
				return
			}
			for _, pair := range index.raw[at][key[at]] {
				raw = append(raw, pair)
				choose(at + 1)
				raw = raw[:len(raw)-1]
			}
		}
		choose(0)
		for _, m := range same[from:to] {
			pair := g.keys[m][l]
			pairs[pair], of[place.pairs[pair][0]], of[place.pairs[pair][1]] = 0, 0, 0
		}
		from = to
	}
	return leaves
}

// phases adds up how frequent each pair of alleles at a locus is beside given pairs at all others, over every way in which two haplotypes can carry them.
func (p *Prospect) phases(index *frequencyIndex, l int, raw [][2]uint16, sums []float64, touched *[]int) {
	n := len(p.set.places[l].names)
	het := 0 // loci at which it matters which haplotype carries which
	for _, pair := range raw {
		if pair[0] != pair[1] {
			het++
		}
	}
	ways, times := 1, 1.0
	if het > 0 {
		ways, times = 1<<(het-1), 2
	}
	for way := range ways {
		var x, y uint64
		bit := 0
		for _, pair := range raw {
			a, b := pair[0], pair[1]
			if a != b {
				if bit > 0 && way>>(bit-1)&1 == 1 {
					a, b = b, a
				}
				bit++
			}
			x, y = x<<alleleBits|uint64(a), y<<alleleBits|uint64(b)
		}
		one := index.but[l][x]
		if len(one) == 0 {
			continue
		}
		for _, k := range index.but[l][y] {
			second := &p.set.haplotypes[k]
			for _, h := range one {
				first := &p.set.haplotypes[h]
				a, b := first.alleles[l], second.alleles[l]
				t := int(min(a, b))*n + int(max(a, b))
				if sums[t] == 0 {
					*touched = append(*touched, t)
				}
				sums[t] += times * first.frequency * second.frequency
			}
		}
	}
}

// plant makes the tree of sorted leaves. Those of the same genotype are one.
func (p *Prospect) plant(leaves []leaf) {
	loci := len(p.order)
	p.tree = make([]level, loci)
	for i := range leaves {
		differs := i == 0
		for d := range loci {
			differs = differs || leaves[i].key[d] != leaves[i-1].key[d]
			at := &p.tree[d]
			if differs {
				at.pairs = append(at.pairs, [2]uint16{uint16(leaves[i].key[d] >> 16), uint16(leaves[i].key[d])})
				at.ten, at.nine = append(at.ten, 0), append(at.nine, 0)
				if d+1 < loci {
					at.child = append(at.child, int32(len(p.tree[d+1].pairs)))
				}
			}
			last := len(at.pairs) - 1
			at.ten[last] += leaves[i].ten
			at.nine[last] += leaves[i].nine
		}
	}
	for d := range loci - 1 {
		p.tree[d].child = append(p.tree[d].child, int32(len(p.tree[d+1].pairs)))
	}
}

// With gives the chances of a donor, and whether the population explains their typing.
func (p *Prospect) With(donor *hla.Reading, into *Chances) bool {
	into.Locus = slices.Grow(into.Locus[:0], len(p.set.places))[:len(p.set.places)]
	clear(into.Locus)
	into.Ten, into.Nine = 0, 0
	var at [maxLoci]*sides
	for l, locus := range p.set.loci {
		at[l] = p.sidesOf(l, donor.At(locus))
	}
	total := p.frequency(&at, into.Locus)
	if total == 0 {
		return false
	}
	deepest := 0
	for d, l := range p.order {
		if at[l].typed {
			deepest = d
		}
	}
	p.sum(&at, 0, deepest, 0, len(p.tree[0].pairs), into)
	into.Ten /= total
	into.Nine /= total
	for l := range into.Locus {
		into.Locus[l] /= total
	}
	return true
}

// sum adds up what a typing allows of some nodes of a level.
func (p *Prospect) sum(at *[maxLoci]*sides, depth, deepest, from, to int, into *Chances) {
	nodes, allowed := &p.tree[depth], at[p.order[depth]]
	for n := from; n < to; n++ {
		pair := nodes.pairs[n]
		switch {
		case allowed.typed && !allowed.fits(pair[0], pair[1]):
		case depth == deepest:
			into.Ten += nodes.ten[n]
			into.Nine += nodes.nine[n]
		default:
			p.sum(at, depth+1, deepest, int(nodes.child[n]), int(nodes.child[n+1]), into)
		}
	}
}

// frequency is how frequent a typing is in the population. It adds to the loci how frequent it is that both copies match the patient there.
func (p *Prospect) frequency(at *[maxLoci]*sides, loci []float64) float64 {
	// Where a locus has two different sets, what begins with the one and what begins with the other come to the same.
	half, times := -1, 1.0
	for l := range loci {
		if products := at[l].products; len(products) == 2 && products[0][0] == products[1][1] && products[0][1] == products[1][0] {
			half, times = l, 2
			break
		}
	}
	total := 0.0
	var one, other [maxLoci]*haplotypesWith
	var choose func(l int)
	choose = func(l int) {
		if l == len(loci) {
			a := p.boxOf(&one)
			if a.sum == 0 {
				return
			}
			b := p.boxOf(&other)
			if b.sum == 0 {
				return
			}
			total += times * a.sum * b.sum
			for l := range loci {
				weights, n := p.weights[l], len(p.set.places[l].names)
				for _, x := range a.at[l] {
					row, sum := weights[int(x.allele)*n:int(x.allele+1)*n], 0.0
					for _, y := range b.at[l] {
						sum += row[y.allele] * y.frequency
					}
					loci[l] += times * x.frequency * sum
				}
			}
			return
		}
		products := at[l].products
		if l == half {
			products = products[:1]
		}
		for _, product := range products {
			one[l], other[l] = product[0], product[1]
			choose(l + 1)
		}
	}
	choose(0)
	return total
}

// sidesOf finds the sets of a locus of a typing.
func (p *Prospect) sidesOf(l int, typed *hla.LocusReading) *sides {
	text := ""
	if typed != nil {
		text = typed.Text
		for _, pair := range typed.Pairs { // under another release it may stand for something else
			for _, c := range pair {
				if c.Former != "" {
					text += "@" + c.Former
				}
			}
		}
	}
	p.mu.RLock()
	s, known := p.sides[l][text]
	p.mu.RUnlock()
	if known {
		return s
	}
	s = &sides{typed: typed != nil}
	switch {
	case typed == nil:
		all := p.setOf(l, nil)
		s.products = [][2]*haplotypesWith{{all, all}}
	case len(typed.Pairs) == 1:
		one, other := p.bitsOf(l, typed.Pairs[0][0]), p.bitsOf(l, typed.Pairs[0][1])
		product := func(a, b []uint64) { s.products = append(s.products, [2]*haplotypesWith{p.setOf(l, a), p.setOf(l, b)}) }
		both, onlyOne, onlyOther := make([]uint64, len(one)), make([]uint64, len(one)), make([]uint64, len(one))
		for n := range one {
			both[n], onlyOne[n], onlyOther[n] = one[n]&other[n], one[n]&^other[n], other[n]&^one[n]
		}
		switch {
		case slices.Equal(one, other):
			product(one, one)
		case !slices.ContainsFunc(both, func(w uint64) bool { return w != 0 }):
			product(one, other)
			product(other, one)
		default: // what is in both may stand on either side, and is not to be counted twice
			product(one, other)
			product(onlyOther, one)
			product(both, onlyOne)
		}
	default:
		s.allowed = p.set.partnersAt(l, typed, p.release)
		// Alleles with the same partners go together.
		var left, right [][]uint64
		for a, row := range s.allowed {
			if row == nil {
				continue
			}
			n := slices.IndexFunc(right, func(r []uint64) bool { return slices.Equal(r, row) })
			if n < 0 {
				n = len(right)
				left, right = append(left, make([]uint64, len(row))), append(right, row)
			}
			left[n][a/64] |= 1 << (a % 64)
		}
		for n := range left {
			s.products = append(s.products, [2]*haplotypesWith{p.setOf(l, left[n]), p.setOf(l, right[n])})
		}
	}
	p.mu.Lock()
	p.sides[l][text] = s
	p.mu.Unlock()
	return s
}

// bitsOf are the alleles that a copy may be.
func (p *Prospect) bitsOf(l int, c hla.Copy) []uint64 {
	out := make([]uint64, (len(p.set.places[l].names)+63)/64)
	for _, n := range p.set.numbersOf(l, c, p.release) {
		out[n/64] |= 1 << (n % 64)
	}
	return out
}

// setOf finds the haplotypes whose allele at a locus is one of some; all where it is nil.
func (p *Prospect) setOf(l int, alleles []uint64) *haplotypesWith {
	text := make([]byte, 0, 8*len(alleles))
	for _, word := range alleles {
		for i := range 8 {
			text = append(text, byte(word>>(8*i)))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, known := p.sets[l][string(text)]; known {
		return s
	}
	s := &haplotypesWith{number: int32(len(p.sets[l])), alleles: slices.Clone(alleles), count: len(p.set.haplotypes)}
	if alleles != nil {
		s.count = 0
		each1(alleles, func(a int) { s.count += len(p.set.index().with[l][a]) })
	}
	p.sets[l][string(text)] = s
	return s
}

// each1 does something for each bit that is set.
func each1(words []uint64, do func(int)) {
	for w, word := range words {
		for ; word != 0; word &= word - 1 {
			do(w*64 + bits.TrailingZeros64(word))
		}
	}
}

// all is the set's haplotypes as bits.
func (s *haplotypesWith) all(f *Frequencies, l int) []uint64 {
	s.making.Do(func() {
		out := make([]uint64, (len(f.haplotypes)+63)/64)
		each1(s.alleles, func(a int) {
			for _, n := range f.index().with[l][a] {
				out[n/64] |= 1 << (n % 64)
			}
		})
		s.bits = out
	})
	return s.bits
}

// boxOf finds the haplotypes that are in a set of each locus.
func (p *Prospect) boxOf(in *[maxLoci]*haplotypesWith) *box {
	var key boxKey
	for l := range p.set.places {
		key[l] = in[l].number
	}
	p.mu.RLock()
	b, known := p.boxes[key]
	p.mu.RUnlock()
	if known {
		return b
	}
	b = p.newBox(in)
	p.mu.Lock()
	p.boxes[key] = b
	p.mu.Unlock()
	return b
}

func (p *Prospect) newBox(in *[maxLoci]*haplotypesWith) *box {
	loci := len(p.set.places)
	least := 0
	for l := range loci {
		if in[l].count < in[least].count {
			least = l
		}
	}
	sums := p.sums.Get().(*boxSums)
	defer p.sums.Put(sums)
	b := &box{}
	add := func(h *haplotype) {
		b.sum += h.frequency
		for l := range loci {
			allele := h.alleles[l]
			if sums.at[l][allele] == 0 {
				sums.touched[l] = append(sums.touched[l], allele)
			}
			sums.at[l][allele] += h.frequency
		}
	}
	words := (len(p.set.haplotypes) + 63) / 64
	if in[least].alleles != nil && in[least].count < 2*words { // few enough to look at one by one
		each1(in[least].alleles, func(a int) {
		haplotypes:
			for _, n := range p.set.index().with[least][a] {
				h := &p.set.haplotypes[n]
				for l := range loci {
					if alleles := in[l].alleles; alleles != nil && alleles[h.alleles[l]/64]>>(h.alleles[l]%64)&1 == 0 {
						continue haplotypes
					}
				}
				add(h)
			}
		})
	} else {
		inside := sums.inside[:words]
		for n := range inside {
			inside[n] = ^uint64(0)
		}
		if rest := len(p.set.haplotypes) % 64; rest > 0 {
			inside[words-1] = 1<<rest - 1
		}
		for l := range loci {
			if in[l].alleles != nil {
				for n, word := range in[l].all(p.set, l) {
					inside[n] &= word
				}
			}
		}
		each1(inside, func(n int) { add(&p.set.haplotypes[n]) })
	}
	for l := range loci {
		b.at[l] = make([]share, len(sums.touched[l]))
		for i, allele := range sums.touched[l] {
			b.at[l][i] = share{allele, sums.at[l][allele]}
			sums.at[l][allele] = 0
		}
		sums.touched[l] = sums.touched[l][:0]
	}
	return b
}

// boxSums is what one box is added up in.
type boxSums struct {
	at      [maxLoci][]float64
	touched [maxLoci][]uint16
	inside  []uint64
}

func newBoxSums(f *Frequencies) *boxSums {
	s := &boxSums{inside: make([]uint64, (len(f.haplotypes)+63)/64)}
	for l, place := range f.places {
		s.at[l] = make([]float64, len(place.names))
	}
	return s
}

// frequencyIndex finds haplotypes by their alleles. It is made when it is first asked for.
type frequencyIndex struct {
	with [maxLoci][][]int32              // by the allele at a locus
	but  [maxLoci]map[uint64][]int32     // by the alleles at all loci but one, in their order
	raw  [maxLoci]map[uint16][][2]uint16 // pairs of alleles by their number, which is that after the rule for nulls
}

const alleleBits = 9 // maxAlleles go into them, and seven times that into 64

func (f *Frequencies) index() *frequencyIndex {
	f.indexing.Do(func() {
		out := &frequencyIndex{}
		each(len(f.places), func(l int) {
			place := f.places[l]
			out.with[l] = make([][]int32, len(place.names))
			out.but[l] = make(map[uint64][]int32, len(f.haplotypes))
			out.raw[l] = make(map[uint16][][2]uint16, len(place.pairs))
			for n := range f.haplotypes {
				h := &f.haplotypes[n]
				out.with[l][h.alleles[l]] = append(out.with[l][h.alleles[l]], int32(n))
				key := uint64(0)
				for i := range f.places {
					if i != l {
						key = key<<alleleBits | uint64(h.alleles[i])
					}
				}
				out.but[l][key] = append(out.but[l][key], int32(n))
			}
			for a := range place.names {
				for b := a; b < len(place.names); b++ {
					pair := place.genotype[a][b]
					out.raw[l][pair] = append(out.raw[l][pair], [2]uint16{uint16(a), uint16(b)})
				}
			}
		})
		f.indexed = out
	})
	return f.indexed
}
