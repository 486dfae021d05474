package match

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/liferelay/liferelay/registry/hla"
)

// dictionary numbers what the donors have at one locus. Millions of donors have thousands of copies and some ten thousands of pairs of
// them: a search compares each of those once, and a new release is read into each of those once.
//
// One writer grows it. What a search looks at (lexicon) only ever gets longer, so that a search under way goes on with what it began with.
type dictionary struct {
	locus   hla.Locus
	mu      sync.RWMutex // over the units' numbers, which a search asks for its patient's
	units   units
	copies  []copied
	entries []entry
	several []*hla.LocusReading
	byText  map[string]uint32 // copies by their text, and by text@version where only the release of a version can read it
	byPair  map[entry]uint32
	byWhole map[string]uint32 // entries that are more than two copies: genotypes with | between them
	wholes  []string          // their texts
	index   *containing
}

// copied is one copy as donors have it.
type copied struct {
	text    string
	version string // that the first donor's typing who has it was made under
	read    hla.Copy
	copyUnits
}

// entry is a pair of copies by their numbers, the smaller first. One of a genotype list has severally for the first, and its place in several.
type entry struct{ one, other uint32 }

const severally = ^uint32(0)

// untyped is the entry of a locus that is not typed.
const untyped = 0

// lexicon is a dictionary as it is at one moment.
type lexicon struct {
	*dictionary
	copies  []copied
	entries []entry
	several []*hla.LocusReading
	wholes  []string
	index   *containing
}

// containing says which copies may be of a unit; only of the copies that there were when it was made.
type containing struct {
	copies    int
	expressed map[uint16][]uint32
	silent    map[uint16][]uint32
	firsts    []uint32 // those of a first field that stands for all that begin with it
}

func newDictionary(locus hla.Locus) *dictionary {
	return &dictionary{
		locus: locus, units: newUnits(), entries: []entry{{severally, 0}}, several: []*hla.LocusReading{nil},
		byText: map[string]uint32{}, byPair: map[entry]uint32{}, byWhole: map[string]uint32{}, wholes: []string{""},
	}
}

// copyOf numbers a copy. Its error is an *hla.Error about the copy's own text.
func (d *dictionary) copyOf(text, version string, library *hla.Library) (uint32, error) {
	if n, known := d.byText[text]; known {
		return n, nil
	}
	text = strings.Clone(text)
	key := text
	c, err := readCopy(d.locus, text, library.Reader(""))
	if err != nil {
		// What the current release has no more is read by the one that the typing was made under.
		key += "@" + version
		if n, known := d.byText[key]; known {
			return n, nil
		}
		if c, err = readCopy(d.locus, text, library.Reader(version)); err != nil {
			return 0, err
		}
	}
	n := uint32(len(d.copies))
	d.copies = append(d.copies, d.reduce(copied{text: text, version: version, read: c}, library.Current()))
	d.byText[key] = n
	return n, nil
}

// reduce finds the units of a copy.
func (d *dictionary) reduce(c copied, release *hla.Release) copied {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.units.known)
	c.copyUnits = d.units.of(c.read, unitIn(release))
	return c
}

// unitIn is what matching compares: P groups, or proteins where no release tells the groups.
func unitIn(release *hla.Release) func(hla.Allele) hla.Allele {
	if release == nil {
		return hla.Allele.TwoField
	}
	return release.Unit
}

// readCopy reads one copy alone, as a locus that has it twice. An empty text is a gene that is absent.
func readCopy(locus hla.Locus, text string, by hla.Reader) (hla.Copy, error) {
	if text == "" {
		return hla.Copy{Forms: []hla.Form{hla.FormAbsent}}, nil
	}
	r, err := by.Read(text + "+" + text)
	if err != nil {
		return hla.Copy{}, err
	}
	at := r.At(locus)
	if at == nil {
		return hla.Copy{Text: text, Unknown: true}, nil
	}
	return at.Pairs[0][0], nil
}

// entryOf numbers a pair of copies.
func (d *dictionary) entryOf(one, other uint32) uint32 {
	if d.copies[one].unknown || d.copies[other].unknown {
		return untyped
	}
	e := entry{min(one, other), max(one, other)}
	n, known := d.byPair[e]
	if !known {
		n = uint32(len(d.entries))
		d.entries = append(d.entries, e)
		d.byPair[e] = n
	}
	return n
}

// wholeOf numbers a genotype list.
func (d *dictionary) wholeOf(text, version string, library *hla.Library) (uint32, error) {
	if n, known := d.byWhole[text]; known {
		return n, nil
	}
	text = strings.Clone(text)
	key := text
	r, err := library.Reader("").Read(text)
	if err != nil { // as in copyOf
		key += "@" + version
		if n, known := d.byWhole[key]; known {
			return n, nil
		}
		if r, err = library.Reader(version).Read(text); err != nil {
			return 0, err
		}
	}
	n := uint32(len(d.entries))
	d.entries = append(d.entries, entry{severally, uint32(len(d.several))})
	d.several = append(d.several, d.named(r.At(d.locus), library.Current()))
	d.wholes = append(d.wholes, text)
	d.byWhole[key] = n
	return n, nil
}

// plain tells whether an entry is what its text says under any version.
func (d *dictionary) plain(n uint32) bool {
	e := d.entries[n]
	return e.one != severally && d.copies[e.one].read.Former == "" && d.copies[e.other].read.Former == ""
}

// named numbers the units of a genotype list, so that searches know them.
func (d *dictionary) named(at *hla.LocusReading, release *hla.Release) *hla.LocusReading {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.units.known)
	if at != nil {
		d.units.prime(at, unitIn(release))
	}
	return at
}

// now is what a search may look at from now on.
func (d *dictionary) now() lexicon {
	const tail = 64 // copies that a search looks through one by one
	if d.index == nil || d.index.copies+tail < len(d.copies) {
		d.index = newContaining(d.copies)
	}
	return lexicon{d, d.copies, d.entries, d.several, d.wholes, d.index}
}

func newContaining(copies []copied) *containing {
	c := &containing{copies: len(copies), expressed: map[uint16][]uint32{}, silent: map[uint16][]uint32{}}
	for n := range copies {
		c.add(&copies[n], uint32(n))
	}
	return c
}

func (c *containing) add(of *copied, n uint32) {
	for _, u := range of.expressed.list {
		c.expressed[u] = append(c.expressed[u], n)
	}
	for _, u := range of.silent.list {
		c.silent[u] = append(c.silent[u], n)
	}
	if len(of.firsts) > 0 {
		c.firsts = append(c.firsts, n)
	}
}

// firsts lists the copies of a first field that stands for all that begin with it.
func (l *lexicon) firsts() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, n := range l.index.firsts {
			if !yield(n) {
				return
			}
		}
		for n := l.index.copies; n < len(l.copies); n++ {
			if len(l.copies[n].firsts) > 0 && !yield(uint32(n)) {
				return
			}
		}
	}
}

// reread gives the dictionary as another release reads it. The numbers stay: only what they mean is new. A copy that the release cannot read keeps what it was
// read as, in the new release's groups.
func (d *dictionary) reread(library *hla.Library) *dictionary {
	out := newDictionary(d.locus)
	out.byText, out.byPair, out.byWhole = maps.Clone(d.byText), maps.Clone(d.byPair), maps.Clone(d.byWhole)
	out.entries, out.wholes = slices.Clone(d.entries), slices.Clone(d.wholes)
	for _, c := range d.copies {
		if again, err := readCopy(d.locus, c.text, library.Reader(c.version)); err == nil {
			c.read = again
		}
		out.copies = append(out.copies, out.reduce(c, library.Current()))
	}
	for n, text := range d.wholes[1:] {
		read := d.several[n+1]
		if r, err := library.Reader("").Read(text); err == nil {
			read = r.At(d.locus)
		}
		out.several = append(out.several, out.named(read, library.Current()))
	}
	return out
}

// text is an entry as donors had it written: copies in the order of their numbers.
func (l *lexicon) text(n uint32) string {
	e := l.entries[n]
	switch {
	case n == untyped:
		return ""
	case e.one == severally:
		return l.wholes[e.other]
	}
	one, other := l.copies[e.one].text, l.copies[e.other].text
	switch {
	case one == "":
		return other
	case other == "":
		return one
	default:
		return one + "+" + other
	}
}

// reading is an entry as a reading has it.
func (l *lexicon) reading(n uint32) *hla.LocusReading {
	if e := l.entries[n]; e.one != severally {
		return &hla.LocusReading{Text: l.text(n), Pairs: [][2]hla.Copy{{l.copies[e.one].read, l.copies[e.other].read}}}
	}
	return l.several[l.entries[n].other]
}

// fit is how an entry compares with a patient: how many copies match at the most (bits 0, 1), how many for certain (bits 2, 3), and whether
// both are typed.
type fit uint8

const (
	fitMost    fit = 0x03
	fitLeast   fit = 0x0c
	fitTyped   fit = 0x10
	fitUnknown fit = 2 // nothing is typed on one side: both may match, and none does for certain
)

func newFit(most, least uint8) fit { return fit(most) | fit(least)<<2 | fitTyped }

func (f fit) least() uint8    { return uint8(f&fitLeast) >> 2 }
func (f fit) typed() bool     { return f&fitTyped != 0 }
func (f fit) mismatch() uint8 { return 2 - uint8(f&fitMost) }

// fits compares every entry with a patient's locus. Copies that have the same of the patient's units are alike to this patient, so there are few
// classes of copies, and what was found for a pair of classes is found for all that are in them.
func (l *lexicon) fits(patient *hla.LocusReading, release *hla.Release) []fit {
	out := make([]fit, len(l.entries))
	unit := unitIn(release)
	l.mu.RLock()
	defer l.mu.RUnlock() // the writer waits for a number of a copy that nobody had; it is not long
	own := newUnits()
	own.base = &l.units
	if patient != nil {
		own.prime(patient, unit)
	}
	ways := unitsOf(patient, unit, &own)
	if len(ways) == 0 {
		for n := range out {
			out[n] = fitUnknown
		}
		return out
	}
	classes, of := l.classes(ways)
	known := newClassPairs(classes)
	for n, e := range l.entries {
		if e.one == severally {
			out[n] = fitUnknown
			if several := unitsOf(l.several[e.other], unit, &own); len(several) > 0 {
				out[n] = newFit(ways.most(several), ways.least(several))
			}
			continue
		}
		f := known.at(of[e.one], of[e.other])
		if f == 0 {
			f = fitUnknown
			if donor := own.together(l.copies[e.one].copyUnits, l.copies[e.other].copyUnits); len(donor) > 0 {
				f = newFit(ways.most(donor), ways.least(donor))
			}
			known.set(of[e.one], of[e.other], f)
		}
		out[n] = f
	}
	return out
}

// classPairs holds what pairs of classes come to, 0 where nobody asked yet: a typed fit is never 0. Of few classes it is a table, which is faster; a patient of
// low resolution among donors with tens of thousands of codes makes so many that a table would not fit.
type classPairs struct {
	classes uint32
	table   []fit
	many    map[[2]uint32]fit
}

const tableOf = 2048 // classes at the most

func newClassPairs(classes int) classPairs {
	if classes <= tableOf {
		return classPairs{classes: uint32(classes), table: make([]fit, classes*classes)}
	}
	return classPairs{many: map[[2]uint32]fit{}}
}

func (p *classPairs) at(one, other uint32) fit {
	if p.table != nil {
		return p.table[one*p.classes+other]
	}
	return p.many[[2]uint32{one, other}]
}

func (p *classPairs) set(one, other uint32, f fit) {
	if p.table != nil {
		p.table[one*p.classes+other] = f
	} else {
		p.many[[2]uint32{one, other}] = f
	}
}

// classes numbers the copies by what a patient can tell of them: which of the patient's units they may be, whether they may be anything else, and
// whether they may make no protein.
func (l *lexicon) classes(ways whatever) (count int, of []uint32) {
	const (
		expresses = 1 << iota
		silences
		absent
		plain = 1 << iota // classes of copies that have none of the patient's units
	)
	of = make([]uint32, len(l.copies))
	flags := func(c *copied) (f uint32) {
		if !c.expressed.empty() {
			f |= expresses
		}
		if !c.silent.empty() {
			f |= silences
		}
		if c.absent {
			f |= absent
		}
		return f
	}
	for n := range l.copies {
		of[n] = flags(&l.copies[n])
	}
	var wanted []uint16
	for _, w := range ways {
		wanted = append(append(wanted, w.first.list...), w.second.list...)
	}
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	// touched holds, for the copies that have some of the patient's units, which: two bytes for each, expressed and silent ones apart.
	touched := map[uint32][]byte{}
	touch := func(n uint32, u uint16, mark byte) { touched[n] = append(touched[n], mark, byte(u), byte(u>>8)) }
	for _, u := range wanted {
		for _, n := range l.index.expressed[u] {
			touch(n, u, 'e')
		}
		for _, n := range l.index.silent[u] {
			touch(n, u, 's')
		}
	}
	for n := l.index.copies; n < len(l.copies); n++ {
		c := &l.copies[n]
		for _, u := range wanted {
			if c.expressed.has(u) {
				touch(uint32(n), u, 'e')
			}
			if c.silent.has(u) {
				touch(uint32(n), u, 's')
			}
		}
	}
	for n := range l.firsts() {
		touched[n] = append(touched[n], l.copies[n].text...)
	}
	numbers := map[string]uint32{}
	count = plain
	for n, units := range touched {
		c := &l.copies[n]
		// Whether it may be something else of either kind: it has more than those.
		expressed, marks := 0, len(units)
		if len(c.firsts) > 0 {
			marks -= len(c.text)
		}
		for i := 0; i < marks; i += 3 {
			if units[i] == 'e' {
				expressed++
			}
		}
		rest := byte(0)
		if expressed < len(c.expressed.list) {
			rest |= 1
		}
		if marks/3-expressed < len(c.silent.list) {
			rest |= 2
		}
		key := append(units, byte(of[n]), rest)
		class, known := numbers[string(key)]
		if !known {
			class = uint32(count)
			count++
			numbers[string(key)] = class
		}
		of[n] = class
	}
	return count, of
}
