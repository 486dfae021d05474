package match

import (
	"slices"

	"github.com/liferelay/liferelay/registry/hla"
)

// What matching compares are units: P groups, numbered by locus so that sets of them are words of bits. A copy that makes no protein
// counts as a second copy of the expressed one beside it (Bochtler 2016, HLA 87:439-48), so what two copies may be is a number of
// alternatives, each either a pair of sets or one set that both copies are of.

// units numbers the units of one locus, and keeps the sets that copies were found to be.
type units struct {
	numbers map[hla.Allele]uint16
	names   []hla.Allele
	known   map[string][2]set     // by a copy's text: what is expressed, and what makes no protein
	firsts  map[hla.Allele][2]set // what a first field that stands for all that begin with it may be, the same
}

func newUnits() units {
	return units{numbers: map[hla.Allele]uint16{}, known: map[string][2]set{}}
}

// sets reduces a copy to what it may be.
func (u *units) sets(c hla.Copy, unit func(hla.Allele) hla.Allele) (expressed, silent set) {
	if known, ok := u.known[c.Text]; ok && c.Text != "" {
		return known[0], known[1]
	}
	var loud, mute []uint16
	for _, a := range c.Alleles {
		if !a.Whole() {
			first := u.first(a)
			loud, mute = append(loud, first[0].list...), append(mute, first[1].list...)
		} else if a.Null() {
			mute = append(mute, u.number(a))
		} else {
			loud = append(loud, u.number(unit(a)))
		}
	}
	expressed, silent = newSet(loud), newSet(mute)
	u.known[c.Text] = [2]set{expressed, silent}
	return expressed, silent
}

// prime numbers the alleles that a locus names, so that a first field that stands for all that begin with it can be any of them.
func (u *units) prime(at *hla.LocusReading, unit func(hla.Allele) hla.Allele) {
	for _, pair := range at.Pairs {
		for _, c := range pair {
			for _, a := range c.Alleles {
				if a.Null() {
					u.number(a)
				} else if a.Whole() {
					u.number(unit(a))
				}
			}
		}
	}
}

// others is how many alleles a first field may stand for that nobody has named: enough for one that differs from any two.
const others = 3

// first is what a first field alone may be: any of the alleles named so far that begin with it, or one that nobody named, which may make no protein.
func (u *units) first(a hla.Allele) [2]set {
	known, ok := u.firsts[a]
	if ok {
		return known
	}
	var loud, mute []uint16
	for n, name := range u.names {
		switch {
		case !name.Whole() || name.First() != a.First():
		case name.Null():
			mute = append(mute, uint16(n))
		default:
			loud = append(loud, uint16(n))
		}
	}
	for range others {
		loud = append(loud, uint16(len(u.names)))
		u.names = append(u.names, a)
	}
	mute = append(mute, uint16(len(u.names)))
	u.names = append(u.names, a)
	known = [2]set{newSet(loud), newSet(mute)}
	if u.firsts == nil {
		u.firsts = map[hla.Allele][2]set{}
	}
	u.firsts[a] = known
	return known
}

func (u *units) number(a hla.Allele) uint16 {
	n, known := u.numbers[a]
	if !known {
		n = uint16(len(u.names))
		u.numbers[a] = n
		u.names = append(u.names, a)
	}
	return n
}

// set is a set of units. The zero set is empty.
type set struct {
	list []uint16 // sorted, without repetition
	bits []uint64 // the same, where there are many
}

// many is from how many units on a set has its bits, too: asking for one is then no search.
const many = 12

func newSet(list []uint16) set {
	slices.Sort(list)
	s := set{list: slices.Compact(list)}
	if len(s.list) >= many {
		s.bits = make([]uint64, s.list[len(s.list)-1]/64+1)
		for _, n := range s.list {
			s.bits[n/64] |= 1 << (n % 64)
		}
	}
	return s
}

func (s set) has(n uint16) bool {
	if s.bits != nil {
		return int(n/64) < len(s.bits) && s.bits[n/64]>>(n%64)&1 == 1
	}
	return slices.Contains(s.list, n)
}

func (s set) empty() bool { return len(s.list) == 0 }

// meets tells whether two sets have a unit in common.
func (s set) meets(t set) bool {
	if s.bits != nil && t.bits != nil {
		for i := range min(len(s.bits), len(t.bits)) {
			if s.bits[i]&t.bits[i] != 0 {
				return true
			}
		}
		return false
	}
	if len(t.list) < len(s.list) {
		s, t = t, s
	}
	return slices.ContainsFunc(s.list, t.has)
}

// meetsBoth tells whether a unit of the set is in two others.
func (s set) meetsBoth(t, v set) bool {
	if s.bits != nil && t.bits != nil && v.bits != nil {
		for i := range min(len(s.bits), len(t.bits), len(v.bits)) {
			if s.bits[i]&t.bits[i]&v.bits[i] != 0 {
				return true
			}
		}
		return false
	}
	if len(t.list) < len(s.list) {
		s, t = t, s
	}
	if len(v.list) < len(s.list) {
		s, v = v, s
	}
	return slices.ContainsFunc(s.list, func(n uint16) bool { return t.has(n) && v.has(n) })
}

// alternative is one way in which a locus may be: any of first beside any of second or, when same, one of first twice.
type alternative struct {
	first, second set
	same          bool
	mute          bool // neither makes a protein
	pair          int  // of the reading's pairs, from 0
}

// whatever is what one locus may be. It is empty where the locus is not typed.
type whatever []alternative

// unitsOf reduces a locus of a reading.
func unitsOf(at *hla.LocusReading, unit func(hla.Allele) hla.Allele, u *units) whatever {
	if at == nil {
		return nil
	}
	var out whatever
	for n, pair := range at.Pairs {
		var expressed, silent [2]set
		var absent, unknown [2]bool
		for i, c := range pair {
			unknown[i] = c.Unknown
			absent[i] = !c.Unknown && len(c.Alleles) == 0
			expressed[i], silent[i] = u.sets(c, unit)
		}
		if unknown[0] || unknown[1] { // one copy says nothing of the other: the locus is as good as not typed
			return nil
		}
		mute := func(i int) bool { return absent[i] || !silent[i].empty() }
		add := func(a alternative) {
			if !a.first.empty() && (a.same || !a.second.empty()) {
				a.pair = n
				out = append(out, a)
			}
		}
		add(alternative{first: expressed[0], second: expressed[1]})
		if mute(1) {
			add(alternative{first: expressed[0], same: true})
		}
		if mute(0) {
			add(alternative{first: expressed[1], same: true})
		}
		// With nothing expressed beside it a copy is compared by its name; an absent one by its absence.
		if mute(0) && mute(1) {
			for i := range silent {
				if absent[i] {
					silent[i] = newSet([]uint16{u.number(hla.Allele{})})
				}
			}
			add(alternative{first: silent[0], second: silent[1], mute: true})
		}
	}
	return out
}

// most is how many copies match at the most: whether some way of the one and some way of the other agree in two, one or none.
func (w whatever) most(d whatever) uint8 {
	best := uint8(0)
	for _, a := range w {
		for _, b := range d {
			best = max(best, a.most(b))
			if best == 2 {
				return 2
			}
		}
	}
	return best
}

func (a alternative) most(b alternative) uint8 {
	switch {
	case a.same && b.same:
		if a.first.meets(b.first) {
			return 2
		}
		return 0
	case a.same:
		return b.most(a)
	case b.same:
		if b.first.meetsBoth(a.first, a.second) {
			return 2
		}
		if b.first.meets(a.first) || b.first.meets(a.second) {
			return 1
		}
		return 0
	case a.first.meets(b.first) && a.second.meets(b.second), a.first.meets(b.second) && a.second.meets(b.first):
		return 2
	case a.first.meets(b.first), a.second.meets(b.second), a.first.meets(b.second), a.second.meets(b.first):
		return 1
	default:
		return 0
	}
}

// least is how many copies match whatever the two turn out to be.
func (w whatever) least(d whatever) uint8 {
	worst := uint8(2)
	for _, a := range w {
		for _, b := range d {
			worst = min(worst, a.least(b))
			if worst == 0 {
				return 0
			}
		}
	}
	return worst
}

// few is enough of a set to find whether a pair can differ: of three units one is neither of any two.
func (s set) few() []uint16 { return s.list[:min(len(s.list), 3)] }

func (a alternative) least(b alternative) uint8 {
	worst := uint8(2)
	a.each(func(x, y uint16) bool {
		b.each(func(u, v uint16) bool {
			worst = min(worst, shared(x, y, u, v))
			return worst > 0
		})
		return worst > 0
	})
	return worst
}

func (a alternative) each(do func(x, y uint16) bool) {
	for _, x := range a.first.few() {
		if a.same {
			if !do(x, x) {
				return
			}
			continue
		}
		for _, y := range a.second.few() {
			if !do(x, y) {
				return
			}
		}
	}
}

// shared is how many copies of two pairs match, paired as they match best.
func shared(x, y, u, v uint16) uint8 {
	count := func(b bool) uint8 {
		if b {
			return 1
		}
		return 0
	}
	return max(count(x == u)+count(y == v), count(x == v)+count(y == u))
}
