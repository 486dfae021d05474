package match

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry/hla"
)

// Engine holds the donors of a register in memory, in columns: what each has at a locus is the number of a distinct typing (dictionary). A search
// compares its patient with each distinct typing once and then goes through the columns, looking numbers up.
//
// Any number may search while one changes it: a search goes on with the donors that there were when it began.
type Engine struct {
	writing sync.Mutex // over what only changes look at
	library *hla.Library
	dicts   [places]*dictionary
	genes   map[string]uint8     // of names without a star: the antigens
	parts   map[string]placed    // what was read at a locus, while many are loaded
	place   map[uuid.UUID]int32  // of the donors that came after the engine was loaded, or changed
	sorted  int                  // rows before this are in the order of their ids
	left    map[uuid.UUID]Unread // donors who are not in it
	shown   atomic.Pointer[view] // what a search sees
	turns   turns
	heavy   chan struct{} // who counts chances holds a place: one core is left to those who only look
}

// places is how many loci the register keeps.
const places = 12

// placed is an entry of a locus.
type placed struct {
	place int
	entry uint32
}

// mostParts is how many loci as they are written are remembered while donors are loaded.
const mostParts = 1 << 19

// view is the engine at one moment.
type view struct {
	release  *hla.Release
	segments []*segment
	gone     []*marks // beside segments: rows that are no donors any more; nil where all are
	rows     int
	dead     int // of the rows
	lexicons [places]lexicon
}

// segment holds some rows, so that growing moves nothing.
type segment struct {
	ids    []uuid.UUID
	traits []Traits
	at     [places]atomic.Pointer[column]
}

// marks are bits of a segment's rows.
type marks [segmentRows / 64]uint64

const segmentRows = 1 << 13

// column is what the rows of a segment have at a locus: numbers of entries, in 16 bits while they go into them. A locus at which
// no row is typed has none.
type column struct {
	narrow []uint16
	wide   []uint32
}

func (c *column) entry(n int) uint32 {
	switch {
	case c == nil:
		return untyped
	case c.wide != nil:
		return c.wide[n]
	default:
		return uint32(c.narrow[n])
	}
}

// Entrant is a donor on the way into the engine. The texts are not kept.
type Entrant struct {
	ID      uuid.UUID
	Typing  string // a GL String
	Version string // of the release that it was made under
	Traits  Traits
}

// Unread says why a donor is not in the engine.
type Unread struct {
	Reason hla.Reason
	Locus  hla.Locus
}

// NewEngine makes an engine without donors, which reads typings by a library; a nil library reads two fields.
func NewEngine(library *hla.Library) *Engine {
	e := &Engine{library: library, genes: map[string]uint8{}, place: map[uuid.UUID]int32{}, left: map[uuid.UUID]Unread{}, heavy: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))}
	for i, locus := range hla.Loci() {
		e.dicts[i] = newDictionary(locus)
	}
	e.show(&view{})
	return e
}

// show lets searches see what was changed.
func (e *Engine) show(v *view) {
	v.release = e.library.Current()
	for i, d := range e.dicts {
		v.lexicons[i] = d.now()
	}
	e.shown.Store(v)
}

// Put adds a donor, or changes one that is there. One whose typing cannot be read is left out and is an *hla.Error; Left tells of them.
func (e *Engine) Put(d Entrant) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	v := *e.shown.Load()
	e.remove(&v, d.ID)
	err := e.put(&v, d)
	e.show(&v) // both at once: a donor who changes is never nowhere
	return err
}

// Load adds many donors who are not there yet. Those whose typing cannot be read are left out; an error of the sequence ends it, with those
// before it loaded.
func (e *Engine) Load(donors iter.Seq2[Entrant, error]) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	v := *e.shown.Load()
	e.parts = map[string]placed{}
	defer func() {
		e.parts = nil
		for _, d := range e.dicts {
			d.index = nil // made anew, of all
		}
		e.show(&v)
	}()
	for d, err := range donors {
		if err != nil {
			return err
		}
		_ = e.put(&v, d) // kept in left
	}
	return nil
}

func (e *Engine) put(v *view, d Entrant) error {
	var at [places]uint32
	if err := e.entries(d.Typing, d.Version, &at); err != nil {
		u := Unread{Reason: hla.ReasonMalformed}
		if refused, ok := err.(*hla.Error); ok { //nolint:errorlint // the reader's own
			u = Unread{refused.Reason, refused.Locus}
		}
		e.left[d.ID] = u
		return err
	}
	n := v.rows % segmentRows
	if n == 0 && v.rows/segmentRows == len(v.segments) {
		v.segments, v.gone = append(slices.Clip(v.segments), newSegment()), append(slices.Clip(v.gone), nil)
	}
	s := v.segments[v.rows/segmentRows]
	s.ids[n], s.traits[n] = d.ID, d.Traits
	for i, entry := range at {
		s.set(i, n, entry)
	}
	if v.rows == e.sorted && (v.rows == 0 || bytes.Compare(v.id(v.rows - 1)[:], d.ID[:]) < 0) {
		e.sorted++
	} else {
		e.place[d.ID] = int32(v.rows)
	}
	v.rows++
	return nil
}

func newSegment() *segment {
	return &segment{ids: make([]uuid.UUID, segmentRows), traits: make([]Traits, segmentRows)}
}

// set writes an entry into a column, which is made, or made wider, when that is needed. A search that looks at the column goes on with the one it has.
func (s *segment) set(place, n int, entry uint32) {
	c := s.at[place].Load()
	switch {
	case c == nil && entry == untyped:
	case c == nil && entry < 1<<16:
		c = &column{narrow: make([]uint16, segmentRows)}
		c.narrow[n] = uint16(entry)
		s.at[place].Store(c)
	case c == nil:
		c = &column{wide: make([]uint32, segmentRows)}
		c.wide[n] = entry
		s.at[place].Store(c)
	case c.wide != nil:
		c.wide[n] = entry
	case entry < 1<<16:
		c.narrow[n] = uint16(entry)
	default:
		wider := &column{wide: make([]uint32, segmentRows)}
		for i, narrow := range c.narrow[:n] {
			wider.wide[i] = uint32(narrow)
		}
		wider.wide[n] = entry
		s.at[place].Store(wider)
	}
}

func (v *view) id(row int) *uuid.UUID { return &v.segments[row/segmentRows].ids[row%segmentRows] }

func (e *Engine) find(v *view, id uuid.UUID) (int, bool) {
	if n, known := e.place[id]; known {
		return int(n), true
	}
	low, high := 0, e.sorted
	for low < high {
		middle := (low + high) / 2
		if bytes.Compare(v.id(middle)[:], id[:]) < 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < e.sorted && *v.id(low) == id
}

// entries numbers what a typing has at each locus.
func (e *Engine) entries(typing, version string, at *[places]uint32) error {
	for part := range strings.SplitSeq(typing, "^") {
		if known, ok := e.parts[part]; ok {
			at[known.place] = known.entry
			continue
		}
		place := e.gene(part)
		if place < 0 {
			return e.slowly(typing, version, at)
		}
		n, err := e.entryOf(place, part, version)
		if err != nil {
			return e.slowly(typing, version, at) // for the error, and where it stands
		}
		at[place] = n
		if e.parts != nil && len(e.parts) < mostParts && e.dicts[place].plain(n) {
			e.parts[strings.Clone(part)] = placed{place, n}
		}
	}
	return nil
}

// gene is the place of the locus of a part of a typing, -1 where a look does not tell.
func (e *Engine) gene(part string) int {
	text := strings.TrimPrefix(part, "HLA-")
	for i := range min(len(text), 8) {
		switch c := text[i]; {
		case c == '*':
			for place, d := range e.dicts {
				if string(d.locus) == text[:i] {
					return place
				}
			}
			return -1
		case c == '+':
			if place, known := e.genes[part[:len(part)-len(text)+i]]; known {
				return int(place)
			}
			return -1
		case c < 'A' || c > 'Z' && c != 'w' || c > 'z':
			if c < '0' || c > '9' {
				return -1
			}
		}
	}
	return -1
}

// errAlone is told to nobody: the reader says it better.
var errAlone = errors.New("match: a copy stands alone")

func (e *Engine) entryOf(place int, part, version string) (uint32, error) {
	d := e.dicts[place]
	if strings.Contains(part, "|") {
		return d.wholeOf(part, version, e.library)
	}
	first, second, two := strings.Cut(part, "+")
	if two == (second == "") || !two && !slices.Contains([]hla.Locus{hla.DRB3, hla.DRB4, hla.DRB5}, d.locus) {
		return 0, errAlone
	}
	one, err := d.copyOf(first, version, e.library)
	if err != nil {
		return 0, err
	}
	other, err := d.copyOf(second, version, e.library)
	if err != nil {
		return 0, err
	}
	return d.entryOf(one, other), nil
}

// slowly reads a typing whole: what is written in an unusual way is put into the usual, and what cannot be read is an error.
func (e *Engine) slowly(typing, version string, at *[places]uint32) error {
	r, err := e.library.Reader(version).Read(typing)
	if err != nil {
		return err
	}
	*at = [places]uint32{}
	for place, d := range e.dicts {
		locus := r.At(d.locus)
		if locus == nil {
			continue
		}
		text := locus.Text
		if len(locus.Pairs) == 1 {
			text = locus.Pairs[0][0].Text
			if behind := locus.Pairs[0][1].Text; behind != "" {
				text += "+" + behind
			}
			if !strings.Contains(text, "*") {
				e.genes[strings.Clone(locus.Pairs[0][0].Text)] = uint8(place)
			}
		}
		if at[place], err = e.entryOf(place, text, version); err != nil {
			return err
		}
	}
	return nil
}

// Remove takes a donor out, and tells whether they were there.
func (e *Engine) Remove(id uuid.UUID) bool {
	e.writing.Lock()
	defer e.writing.Unlock()
	v := *e.shown.Load()
	removed := e.remove(&v, id)
	e.show(&v)
	return removed
}

// remove marks a donor's row. The marks that searches look at stay as they are.
func (e *Engine) remove(v *view, id uuid.UUID) bool {
	delete(e.left, id)
	n, known := e.find(v, id)
	if !known || v.isGone(n) {
		return false
	}
	gone := &marks{}
	if before := v.gone[n/segmentRows]; before != nil {
		*gone = *before
	}
	gone[n%segmentRows/64] |= 1 << (n % 64)
	v.gone = slices.Clone(v.gone)
	v.gone[n/segmentRows] = gone
	v.dead++
	delete(e.place, id)
	if v.dead > segmentRows && v.dead > v.rows/4 {
		e.compact(v)
	}
	return true
}

func (v *view) isGone(n int) bool {
	gone := v.gone[n/segmentRows]
	return gone != nil && gone[n%segmentRows/64]>>(n%64)&1 == 1
}

// compact leaves out the rows that are no donors any more, and puts the others in order.
func (e *Engine) compact(v *view) {
	rows := make([]int32, 0, v.rows-v.dead)
	for n := range v.rows {
		if !v.isGone(n) {
			rows = append(rows, int32(n))
		}
	}
	slices.SortFunc(rows, func(a, b int32) int { return bytes.Compare(v.id(int(a))[:], v.id(int(b))[:]) })
	old := v.segments
	v.segments = nil
	for to, from := range rows {
		n := to % segmentRows
		if n == 0 {
			v.segments = append(v.segments, newSegment())
		}
		s, source, m := v.segments[to/segmentRows], old[from/segmentRows], int(from)%segmentRows
		s.ids[n], s.traits[n] = source.ids[m], source.traits[m]
		for i := range places {
			s.set(i, n, source.at[i].Load().entry(m))
		}
	}
	v.gone, v.rows, v.dead = make([]*marks, len(v.segments)), len(rows), 0
	e.sorted, e.place = len(rows), map[uuid.UUID]int32{}
}

// Reread reads every distinct typing by another library, and compares by it from then on. Who could not be read has to be put again.
func (e *Engine) Reread(library *hla.Library) {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.library = library
	for i, d := range e.dicts {
		e.dicts[i] = d.reread(library)
	}
	v := *e.shown.Load()
	e.show(&v)
}

// Len is how many donors there are.
func (e *Engine) Len() int {
	v := e.shown.Load()
	return v.rows - v.dead
}

// Left tells of the donors who are not in the engine because their typing cannot be read.
func (e *Engine) Left() map[uuid.UUID]Unread {
	e.writing.Lock()
	defer e.writing.Unlock()
	out := make(map[uuid.UUID]Unread, len(e.left))
	for id, why := range e.left {
		out[id] = why
	}
	return out
}

// Size says what the engine holds: rows of donors, distinct typings of all loci, distinct copies of all loci, and bytes of its columns.
type Size struct{ Rows, Entries, Copies, Columns int }

// Size counts what the engine holds.
func (e *Engine) Size() (out Size) {
	v := e.shown.Load()
	out.Rows = v.rows
	for i := range places {
		out.Entries += len(v.lexicons[i].entries) - 1
		out.Copies += len(v.lexicons[i].copies)
	}
	for _, s := range v.segments {
		for i := range places {
			if c := s.at[i].Load(); c != nil {
				out.Columns += 2*len(c.narrow) + 4*len(c.wide)
			}
		}
	}
	return out
}

// Stream goes once through the columns of some loci, on one core, and adds up what is in them: the least that a search could cost.
func (e *Engine) Stream(loci []hla.Locus) (sum uint32) {
	v := e.shown.Load()
	for _, s := range v.segments {
		for i := range places {
			if c := s.at[i].Load(); c != nil && slices.Contains(loci, v.lexicons[i].locus) {
				for _, n := range c.narrow {
					sum += uint32(n)
				}
				for _, n := range c.wide {
					sum += n
				}
			}
		}
	}
	return sum
}

// GoString keeps what donors have out of %#v.
func (e *Engine) GoString() string { return fmt.Sprintf("match.Engine{%d rows}", e.shown.Load().rows) }
