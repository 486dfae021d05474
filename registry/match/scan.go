package match

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry/hla"
)

// Query is what is searched for.
type Query struct {
	Patient *hla.Reading
	Policy  Policy
	Filter  Filter // narrows what is found
	Year    int    // of the calendar, for ages
}

// Hit is a donor whom the policy accepts.
type Hit struct {
	ID     uuid.UUID
	Traits Traits
	Count  Count // over the policy's loci
	row    int32
}

// UntypedError tells that a patient's typing cannot be searched with a policy.
type UntypedError struct {
	Loci []hla.Locus // those of the policy that the patient lacks
}

func (e *UntypedError) Error() string {
	return fmt.Sprintf("match: the patient is not typed at %v; type them, or search with a policy without them", e.Loci)
}

// Found is what a search looked at.
type Found struct {
	Donors int // that were compared
	Hits   int
	view   *view
	mu     sync.Mutex
	loci   map[[2]uint32]*hla.LocusReading // by place and entry
}

// Search finds every donor whom the policy accepts. emit is called with some at a time, by one at a time, in no order; what it is given is its own
// only until it returns.
//
// Errors: *UntypedError, those of the context.
func (e *Engine) Search(ctx context.Context, q Query, emit func([]Hit)) (*Found, error) {
	return e.search(ctx, e.shown.Load(), q, emit)
}

func (e *Engine) search(ctx context.Context, v *view, q Query, emit func([]Hit)) (*Found, error) {
	if missing := untypedAt(q.Patient, q.Policy.Loci); len(missing) > 0 && (!q.Policy.AllowUntyped || len(missing) == len(q.Policy.Loci)) {
		return nil, &UntypedError{missing}
	}
	s := &scan{view: v, Query: q}
	turn := e.turns.enter()
	defer turn.leave()
	s.look()
	var out sync.Mutex
	var next, hits atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(v.segments)) {
		workers.Go(func() {
			room := s.room()
			for ctx.Err() == nil {
				n := int(next.Add(1) - 1)
				if n >= len(v.segments) {
					return
				}
				turn.step()
				if found := s.segment(n, room); len(found) > 0 {
					hits.Add(int64(len(found)))
					out.Lock()
					emit(found)
					out.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return &Found{Donors: v.rows - v.dead, Hits: int(hits.Load()), view: v}, ctx.Err()
}

func untypedAt(r *hla.Reading, loci []hla.Locus) []hla.Locus {
	var missing []hla.Locus
	for _, locus := range loci {
		if r.At(locus) == nil {
			missing = append(missing, locus)
		}
	}
	return missing
}

// scan is one search through the columns of a view.
type scan struct {
	Query
	view   *view
	tables []table // by how few rows they let through
}

// table is how every entry of a locus fits the patient.
type table struct {
	place  int
	fits   []fit
	passes []uint8 // beside fits: mismatches, or more than any limit where an entry is out
	counts bool    // for the policy
}

const out = 0x40

// look makes the tables of the policy's loci, and of those at which the filter asks for something.
func (s *scan) look() {
	loci := slices.Clone(s.Policy.Loci)
	for _, locus := range slices.Concat(s.Filter.Typed, slices.Sorted(maps.Keys(s.Filter.Mismatches))) {
		if locus.Valid() && !slices.Contains(loci, locus) {
			loci = append(loci, locus)
		}
	}
	s.tables = make([]table, len(loci))
	each(len(loci), func(i int) {
		locus := loci[i]
		place := slices.Index(hla.Loci(), locus)
		l := &s.view.lexicons[place]
		t := table{place: place, fits: l.fits(s.Patient.At(locus), s.view.release), counts: i < len(s.Policy.Loci)}
		most, limited := s.Filter.Mismatches[locus]
		typed := slices.Contains(s.Filter.Typed, locus) || t.counts && !s.Policy.AllowUntyped
		t.passes = make([]uint8, len(t.fits))
		for n, f := range t.fits {
			switch {
			case typed && !f.typed(), limited && int(f.mismatch()) > most:
				t.passes[n] = out
			case t.counts:
				t.passes[n] = f.mismatch()
			}
		}
		s.tables[i] = t
	})
	// What lets the fewest through comes first: an early part of the donors tells.
	through := make([]int, places)
	if len(s.view.segments) > 0 {
		first := s.view.segments[0]
		n := min(s.view.rows, 2048)
		for _, t := range s.tables {
			c := first.at[t.place].Load()
			for row := range n {
				if int(t.passes[c.entry(row)]) <= s.Policy.Mismatches {
					through[t.place]++
				}
			}
		}
	}
	slices.SortStableFunc(s.tables, func(a, b table) int { return cmp.Compare(through[a.place], through[b.place]) })
}

// room is what one worker writes into.
type room struct {
	rows []uint16
	sums []uint8
	hits []Hit
}

func (s *scan) room() *room {
	return &room{rows: make([]uint16, segmentRows+1), sums: make([]uint8, segmentRows+1)}
}

// segment goes through the columns of a segment one after the other, each time only through the rows that are left.
func (s *scan) segment(n int, r *room) []Hit {
	seg := s.view.segments[n]
	rows := min(s.view.rows-n*segmentRows, segmentRows)
	limit, of := uint8(s.Policy.Mismatches), uint8(2*len(s.Policy.Loci))
	left := 0
	for i := range s.tables {
		t := &s.tables[i]
		c := seg.at[t.place].Load()
		switch {
		case i == 0 && c == nil:
			left = firstUntyped(rows, t.passes[untyped], limit, r)
		case i == 0 && c.wide != nil:
			left = first(c.wide[:rows], t.passes, limit, r)
		case i == 0:
			left = first(c.narrow[:rows], t.passes, limit, r)
		case c == nil:
			left = nextUntyped(t.passes[untyped], limit, r, left)
		case c.wide != nil:
			left = following(c.wide, t.passes, limit, r, left)
		default:
			left = following(c.narrow, t.passes, limit, r, left)
		}
	}
	r.hits = r.hits[:0]
	for k := range left {
		row := int(r.rows[k])
		if s.view.isGone(n*segmentRows+row) || !s.Filter.Keeps(seg.traits[row], s.Year) {
			continue
		}
		h := Hit{ID: seg.ids[row], Traits: seg.traits[row], Count: Count{Most: of - r.sums[k], Of: of}, row: int32(n*segmentRows + row)}
		typed := false
		for i := range s.tables {
			if !s.tables[i].counts {
				continue
			}
			f := s.tables[i].fits[seg.at[s.tables[i].place].Load().entry(row)]
			h.Count.Least += f.least()
			typed = typed || f.typed()
		}
		if typed && int(h.Count.Least) >= s.Filter.Least {
			r.hits = append(r.hits, h)
		}
	}
	return r.hits
}

// below is 1 where a number is not over the limit, without a branch that would be guessed wrong half of the time.
func below(sum, limit uint8) int { return int((sum-limit-1)>>7) & 1 }

func first[T uint16 | uint32](column []T, passes []uint8, limit uint8, r *room) int {
	k := 0
	rows, sums := r.rows[:segmentRows+1], r.sums[:segmentRows+1]
	for n, entry := range column {
		sum := passes[entry]
		rows[k], sums[k] = uint16(n), sum
		k += below(sum, limit)
	}
	return k
}

func following[T uint16 | uint32](column []T, passes []uint8, limit uint8, r *room, left int) int {
	k := 0
	rows, sums := r.rows[:segmentRows+1], r.sums[:segmentRows+1]
	for i := range left {
		n := rows[i]
		sum := sums[i] + passes[column[n]]
		rows[k], sums[k] = n, sum
		k += below(sum, limit)
	}
	return k
}

func firstUntyped(rows int, pass, limit uint8, r *room) int {
	if below(pass, limit) == 0 {
		return 0
	}
	for n := range rows {
		r.rows[n], r.sums[n] = uint16(n), pass
	}
	return rows
}

func nextUntyped(pass, limit uint8, r *room, left int) int {
	k := 0
	for i := range left {
		sum := r.sums[i] + pass
		r.rows[k], r.sums[k] = r.rows[i], sum
		k += below(sum, limit)
	}
	return k
}

// Reading is what a hit is typed as. Readings of one search share what they have in common.
func (f *Found) Reading(h Hit) *hla.Reading {
	s := f.view.segments[h.row/segmentRows]
	place := -1
	return hla.Compose(func(hla.Locus) *hla.LocusReading {
		place++
		n := s.at[place].Load().entry(int(h.row % segmentRows))
		if n == untyped {
			return nil
		}
		return f.locus(place, n)
	})
}

// locus is an entry as a reading has it.
func (f *Found) locus(place int, n uint32) *hla.LocusReading {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := [2]uint32{uint32(place), n}
	at, known := f.loci[key]
	if !known {
		at = f.view.lexicons[place].reading(n)
		if f.loci == nil {
			f.loci = map[[2]uint32]*hla.LocusReading{}
		}
		f.loci[key] = at
	}
	return at
}

// turns sees to it that a heavy search does not slow a light one: whoever has worked for some time lets those go first who have not.
type turns struct {
	mu    sync.Mutex
	light int
	none  chan struct{} // closed when no light search is under way
}

// light is how long a search may work before it waits for others; wait is how long it waits at the most each time, so that it goes on under any load.
const (
	lightWork = 25 * time.Millisecond
	longest   = 50 * time.Millisecond
)

type turn struct {
	of    *turns
	began time.Time
	once  sync.Once
}

func (t *turns) enter() *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.light == 0 {
		t.none = make(chan struct{})
	}
	t.light++
	return &turn{of: t, began: time.Now()}
}

// leave ends the part of a search in which others wait for it.
func (t *turn) leave() {
	t.once.Do(func() {
		t.of.mu.Lock()
		defer t.of.mu.Unlock()
		if t.of.light--; t.of.light == 0 {
			close(t.of.none)
		}
	})
}

// step is called between pieces of work, each of about a millisecond. It tells whether it waited.
func (t *turn) step() (waited bool) {
	if time.Since(t.began) < lightWork {
		return false
	}
	t.leave()
	t.of.mu.Lock()
	light, none := t.of.light, t.of.none
	t.of.mu.Unlock()
	if light == 0 {
		return false
	}
	select {
	case <-none:
	case <-time.After(longest):
	}
	return true
}
