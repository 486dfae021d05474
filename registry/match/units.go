package match

import (
	"slices"

	"github.com/liferelay/liferelay/registry/hla"
)

// What matching compares are units: P groups, numbered by locus so that sets of them are words of bits. A copy that makes no protein
// counts as a second copy of the expressed one beside it (Bochtler 2016, HLA 87:439-48), so what two copies may be is a number of
// alternatives, each either a pair of sets or one set that both copies are of.

// units numbers the units of one locus, and keeps the sets that copies were found to be. One with a base numbers what the base has not from the
// other end: a patient may have units that no donor has.
type units struct {
	base    *units
	numbers map[hla.Allele]uint16
	names   []hla.Allele
	known   map[string]copyUnits  // by a copy's text
	firsts  map[hla.Allele][2]set // what a first field that stands for all that begin with it may be: what makes a protein, and what does not
}

func newUnits() units {
	return units{numbers: map[hla.Allele]uint16{}, known: map[string]copyUnits{}}
}

// copyUnits is what a copy may be, in units.
type copyUnits struct {
	expressed, silent set          // what makes a protein, and what does not
	firsts            []hla.Allele // first fields that stand for all that begin with them, where no release tells which these are
	absent            bool         // the gene is not there
	unknown           bool         // nothing is known of it
}

// of reduces a copy to what it may be.
func (u *units) of(c hla.Copy, unit func(hla.Allele) hla.Allele) copyUnits {
	if known, ok := u.known[c.Text]; ok && c.Text != "" {
		return known
	}
	out := copyUnits{absent: !c.Unknown && len(c.Alleles) == 0, unknown: c.Unknown}
	var loud, mute []uint16
	for _, a := range c.Alleles {
		switch {
		case !a.Whole():
			out.firsts = append(out.firsts, a)
		case a.Null():
			mute = append(mute, u.number(a))
		default:
			loud = append(loud, u.number(unit(a)))
		}
	}
	out.expressed, out.silent = newSet(loud), newSet(mute)
	u.known[c.Text] = out
	return out
}

// whole puts what first fields may be into a copy's sets.
func (u *units) whole(c copyUnits) copyUnits {
	if len(c.firsts) == 0 {
		return c
	}
	loud, mute := slices.Clone(c.expressed.list), slices.Clone(c.silent.list)
	for _, a := range c.firsts {
		first := u.first(a)
		loud, mute = append(loud, first[0].list...), append(mute, first[1].list...)
	}
	c.expressed, c.silent = newSet(loud), newSet(mute)
	return c
}

// prime numbers the alleles that a locus names, so that a first field that stands for all that begin with it can be any of them.
func (u *units) prime(at *hla.LocusReading, unit func(hla.Allele) hla.Allele) {
	for _, pair := range at.Pairs {
		for _, c := range pair {
			u.of(c, unit)
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
	among := func(names []hla.Allele, flip uint16) {
		for n, name := range names {
			switch {
			case !name.Whole() || name.First() != a.First():
			case name.Null():
				mute = append(mute, uint16(n)^flip)
			default:
				loud = append(loud, uint16(n)^flip)
			}
		}
	}
	if u.base != nil {
		among(u.base.names, 0)
	}
	among(u.names, u.flip())
	for range others {
		loud = append(loud, u.name(a))
	}
	mute = append(mute, u.name(a))
	known = [2]set{newSet(loud), newSet(mute)}
	if u.firsts == nil {
		u.firsts = map[hla.Allele][2]set{}
	}
	u.firsts[a] = known
	return known
}

// flip turns a place in names into a number.
func (u *units) flip() uint16 {
	if u.base != nil {
		return ^uint16(0)
	}
	return 0
}

// name gives a new number.
func (u *units) name(a hla.Allele) uint16 {
	u.names = append(u.names, a)
	return uint16(len(u.names)-1) ^ u.flip()
}

func (u *units) number(a hla.Allele) uint16 {
	if u.base != nil {
		if n, known := u.base.numbers[a]; known {
			return n
		}
	}
	n, known := u.numbers[a]
	if !known {
		n = u.name(a)
		u.numbers[a] = n
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
		ways := u.together(u.of(pair[0], unit), u.of(pair[1], unit))
		if ways == nil {
			return nil
		}
		for i := range ways {
			ways[i].pair = n
		}
		out = append(out, ways...)
	}
	return out
}

// together says in which ways two copies may be. Where one is unknown it is nil: one copy says nothing of the other, and the locus is as good as not
// typed.
func (u *units) together(one, other copyUnits) whatever {
	if one.unknown || other.unknown {
		return nil
	}
	one, other = u.whole(one), u.whole(other)
	out := whatever{}
	add := func(a alternative) {
		if !a.first.empty() && (a.same || !a.second.empty()) {
			out = append(out, a)
		}
	}
	mute := func(c copyUnits) bool { return c.absent || !c.silent.empty() }
	add(alternative{first: one.expressed, second: other.expressed})
	if mute(other) {
		add(alternative{first: one.expressed, same: true})
	}
	if mute(one) {
		add(alternative{first: other.expressed, same: true})
	}
	// With nothing expressed beside it a copy is compared by its name; an absent one by its absence.
	if mute(one) && mute(other) {
		named := func(c copyUnits) set {
			if c.absent {
				return newSet([]uint16{u.number(hla.Allele{})})
			}
			return c.silent
		}
		add(alternative{first: named(one), second: named(other), mute: true})
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
