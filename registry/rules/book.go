// Package rules holds what law, standards and offices fix in numbers: ages, intervals, deadlines, doses, quorums, and
// the wording that people sign.
//
// Every rule is data: a row of a pack with its value and its source. A pack is dated and belongs to a region. The
// nation's pack is the floor: it states every rule, and a region's pack may change a rule only in the direction that
// the catalogue calls stricter. What holds for a case is asked by region and day, so an old case is judged by the
// rules of its day. The package is pure: it reads embedded data once and no clock.
package rules

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
)

//go:embed data
var embedded embed.FS

// Nation is the region whose packs are the floor under every other.
const Nation identity.Region = "000000"

// Book is every pack of an installation.
type Book struct {
	packs  []Pack
	merged sync.Map // the places of the packs that hold together → Rules
}

// Pack is one dated set of rules for a region.
type Pack struct {
	Name    string
	Region  identity.Region
	Version string
	From    calendar.Date // the first day on which it holds
	SHA256  string        // of the file, in hexadecimal
	rules   map[Key]rule
}

type rule struct {
	values []Value
	source string
	pack   string // the pack's name, region and version
}

// title names a pack for the record of a decision.
func (p Pack) title() string { return fmt.Sprintf("%s/%s@%s", p.Name, p.Region, p.Version) }

// Len is how many rules a pack states.
func (p Pack) Len() int { return len(p.rules) }

type packFile struct {
	Pack    string `yaml:"pack"`
	Region  string `yaml:"region"`
	Version string `yaml:"version"`
	From    string `yaml:"from"`
	Rules   map[string]struct {
		Is     any    `yaml:"is"`
		Source string `yaml:"source"`
	} `yaml:"rules"`
}

// Embedded returns the book that ships with the product.
var Embedded = sync.OnceValue(func() *Book {
	sub, err := fs.Sub(embedded, "data/packs")
	if err != nil {
		panic(err)
	}
	book, err := Load(sub)
	if err != nil {
		panic(err) // a test loads the embedded packs
	}
	return book
})

// Load reads every .yaml file of a folder as a pack and checks them together: known keys, right units, sources given,
// a complete national floor from the first day on, and no regional rule weaker than it.
func Load(fsys fs.FS) (*Book, error) {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, err
	}
	var book Book
	var problems []error
	for _, name := range names {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		pack, err := parsePack(data)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
			continue
		}
		book.packs = append(book.packs, pack)
	}
	slices.SortStableFunc(book.packs, func(a, b Pack) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), a.From.Compare(b.From), cmp.Compare(a.Name, b.Name))
	})
	problems = append(problems, book.check()...)
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return &book, nil
}

func parsePack(data []byte) (Pack, error) {
	var f packFile
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		return Pack{}, fmt.Errorf("rules: not a pack: %w", err)
	}
	from, err := calendar.Parse(f.From)
	if err != nil {
		return Pack{}, fmt.Errorf("rules: the pack's first day: %w", err)
	}
	region, err := identity.ParseRegion(f.Region)
	if err != nil {
		return Pack{}, fmt.Errorf("rules: the pack's region: %w", err)
	}
	if f.Pack == "" || f.Version == "" {
		return Pack{}, errors.New("rules: a pack needs a name and a version")
	}
	sum := sha256.Sum256(data)
	pack := Pack{Name: f.Pack, Region: region, Version: f.Version, From: from, SHA256: hex.EncodeToString(sum[:]), rules: map[Key]rule{}}
	for name, entry := range f.Rules {
		spec, known := catalogue[Key(name)]
		switch {
		case !known:
			return Pack{}, fmt.Errorf("rules: %s is not a rule of the catalogue", name)
		case entry.Source == "":
			return Pack{}, fmt.Errorf("rules: %s has no source", name)
		}
		values, err := readValues(entry.Is)
		if err != nil {
			return Pack{}, fmt.Errorf("rules: %s: %w", name, err)
		}
		if len(values) == 0 || !spec.many && len(values) != 1 {
			return Pack{}, fmt.Errorf("rules: %s takes one value", name)
		}
		for _, v := range values {
			if !slices.Contains(spec.units, v.Unit) {
				return Pack{}, fmt.Errorf("rules: %s is %q, and takes %v", name, v, spec.units)
			}
		}
		pack.rules[Key(name)] = rule{values, entry.Source, pack.title()}
	}
	return pack, nil
}

func readValues(is any) ([]Value, error) {
	items, many := is.([]any)
	if !many {
		items = []any{is}
	}
	var out []Value
	for _, item := range items {
		v, err := ParseValue(fmt.Sprint(item))
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// check looks at the packs together, on each day that any of them begins.
func (b *Book) check() (problems []error) {
	for _, pack := range b.packs {
		if pack.Region == Nation {
			continue
		}
		floor := b.For(Nation, pack.From)
		for key, r := range pack.rules {
			spec := catalogue[key]
			if spec.stricter == 0 {
				continue
			}
			for i, v := range r.values {
				national := floor.rules[key].values
				if i < len(national) && v.Unit == national[i].Unit && cmp.Compare(v.Amount, national[i].Amount)*spec.stricter < 0 {
					problems = append(problems, fmt.Errorf("rules: %s of %s from %s is %s, weaker than the nation's %s", key, pack.Region, pack.From, v, national[i]))
				}
			}
		}
	}
	for key := range catalogue {
		if _, ok := b.For(Nation, firstDay).rules[key]; !ok {
			problems = append(problems, fmt.Errorf("rules: no national pack states %s from %s on", key, firstDay))
		}
	}
	return problems
}

// firstDay is the day from which the floor must be complete, early enough for every consent still in a drawer.
var firstDay = calendar.Must(2001, time.January, 1)

// Packs lists the packs by region and first day.
func (b *Book) Packs() []Pack { return slices.Clone(b.packs) }

// For returns the rules that hold in a region on a day: the nation's, then the province's, the city's and the
// county's over them, of each the newest that has begun.
func (b *Book) For(region identity.Region, on calendar.Date) Rules {
	// Sheets ask for every row, and the answers are few: they are kept by the packs that they are made of.
	var chosen [16]rune // places in b.packs
	places := chosen[:0]
	ancestors := region.Ancestors()
	for _, place := range slices.Backward(ancestors) {
		from := len(places)
		for i, pack := range b.packs { // sorted by first day
			if pack.Region != place || pack.From.After(on) {
				continue
			}
			same := func(at rune) bool { return b.packs[at].Name == pack.Name }
			if at := slices.IndexFunc(places[from:], same); at >= 0 {
				places = slices.Delete(places, from+at, from+at+1)
			}
			places = append(places, rune(i))
		}
		slices.SortFunc(places[from:], func(x, y rune) int { return strings.Compare(b.packs[x].Name, b.packs[y].Name) })
	}
	if known, ok := b.merged.Load(string(places)); ok {
		return known.(Rules)
	}
	r := Rules{rules: map[Key]rule{}}
	for _, at := range places {
		pack := b.packs[at]
		maps.Copy(r.rules, pack.rules)
		r.versions = append(r.versions, pack.title())
	}
	b.merged.Store(string(places), r)
	return r
}

// Rules is what holds in one region on one day.
type Rules struct {
	rules    map[Key]rule
	versions []string
}

// Version names the packs that the rules come from, for the record of a decision.
func (r Rules) Version() string { return strings.Join(r.versions, " ") }

// Source is where a rule comes from: a law's article, a standard's clause, an office's notice.
func (r Rules) Source(k Key) string { return r.rules[k].source }

func (r Rules) values(k Key) []Value {
	rule, ok := r.rules[k]
	if !ok {
		panic("rules: nobody states " + string(k)) // Load refuses a book in which this can happen
	}
	return rule.values
}

// Value returns a rule's value as the packs write it.
func (r Rules) Value(k Key) string { return r.values(k)[0].String() }

// Amount returns a rule's number in the catalogue's unit.
func (r Rules) Amount(k Key) float64 { return r.values(k)[0].Amount }

// Count returns a rule's whole number.
func (r Rules) Count(k Key) int { return int(r.values(k)[0].Amount) }

// Span returns a rule that is a length of time.
func (r Rules) Span(k Key) Span { return spanOf(r.values(k)[0]) }

// Spans returns a rule that is a row of lengths of time.
func (r Rules) Spans(k Key) []Span {
	var out []Span
	for _, v := range r.values(k) {
		out = append(out, spanOf(v))
	}
	return out
}

func spanOf(v Value) Span { return Span{N: int(v.Amount), Unit: v.Unit} }

// Deadline is when an answer is due, when the person asked is reminded, and when it goes up the region tree.
type Deadline struct {
	Due         time.Time
	Reminders   []time.Time
	Escalations []time.Time
	Provisional bool // counted over days whose calendar is not published yet
}

// Deadline counts a rule from an instant in a region's calendar.
func (r Rules) Deadline(k Key, from time.Time, cal *calendar.Calendar, zone *time.Location) Deadline {
	return r.DeadlineAt(r.Span(k).After(from, cal, zone, r.values(DeskClosing)[0]), from, cal, zone)
}

// Closing is the end of office hours of a day, or of the next working day when it is none.
func (r Rules) Closing(day calendar.Date, cal *calendar.Calendar, zone *time.Location) time.Time {
	return Span{0, WorkingDays}.After(day.Start(zone), cal, zone, r.values(DeskClosing)[0])
}

// DeadlineAt surrounds a known deadline with its reminders and escalations, counted from its day. A reminder that would
// lie before from is left out.
func (r Rules) DeadlineAt(due, from time.Time, cal *calendar.Calendar, zone *time.Location) Deadline {
	closing := r.values(DeskClosing)[0]
	// A deadline at the end of a day is the next midnight; its day is the one that ends.
	day := due.Add(-time.Second)
	d := Deadline{Due: due, Provisional: cal.Provisional(calendar.Of(day, zone))}
	for _, s := range r.Spans(DeskRemind) {
		if at := s.After(day, cal, zone, closing); at.After(from) && at.Before(due) {
			d.Reminders = append(d.Reminders, at)
		}
	}
	for _, s := range r.Spans(DeskEscalate) {
		d.Escalations = append(d.Escalations, s.After(day, cal, zone, closing))
	}
	return d
}
