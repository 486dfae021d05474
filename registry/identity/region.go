package identity

import (
	"cmp"
	_ "embed"
	"encoding/csv"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Region is a code of GB/T 2260: six digits from "000000", the nation, over "320000" (province) and "320100" (city) to "320106"
// (county); nine digits for a town or street (GB/T 10114), twelve for a village or neighbourhood. A few cities, Dongguan among
// them, have towns directly below them: 441900003.
type Region string

// Nation is the whole country.
const Nation Region = "000000"

// Level is how far down a region lies.
type Level int

// The levels from the nation down. NoLevel is that of a text that is no code.
const (
	NoLevel Level = iota
	LevelNation
	LevelProvince
	LevelCity
	LevelCounty
	LevelTown
	LevelVillage
)

// String is the level's code: nation, province, city, county, town, village.
func (l Level) String() string {
	names := [...]string{"none", "nation", "province", "city", "county", "town", "village"}
	if l < 0 || int(l) >= len(names) {
		l = NoLevel
	}
	return names[l]
}

// Entry is one code of the table. Names are those of the newest source; Former holds other names that the code had.
type Entry struct {
	Code   Region
	Name   string
	Former []string
	// From is the year in which the code is first listed, 0 when it is older than 2002 or the year is not known.
	From int
	// Until is the year by which the code was gone, 0 while it is in force.
	Until int
}

// Current says that the code is in force.
func (e Entry) Current() bool { return e.Until == 0 }

// ParseRegion reads a code of 6, 9 or 12 digits, which need not be in the table. Groups of zeros at the end of a longer code
// are dropped: 320106000000 is 320106. The error is *InputError.
func ParseRegion(raw string) (Region, error) {
	refuse := func(r Reason) (Region, error) { return "", &InputError{FieldRegion, r} }
	if len(raw) > maxInput {
		return refuse(ReasonLength)
	}
	text := code(raw)
	switch {
	case text == "":
		return refuse(ReasonEmpty)
	case !digits(text):
		return refuse(ReasonCharacters)
	case len(text) != 6 && len(text) != 9 && len(text) != 12:
		return refuse(ReasonLength)
	}
	for len(text) > 6 && strings.HasSuffix(text, "000") {
		text = text[:len(text)-3]
	}
	r := Region(text)
	if r.Level() == NoLevel {
		return refuse(ReasonRegion)
	}
	return r, nil
}

// Level is how far down r lies, NoLevel when r is no code.
func (r Region) Level() Level {
	s := string(r)
	switch {
	case !digits(s) || (len(s) != 6 && len(s) != 9 && len(s) != 12):
		return NoLevel
	case r == Nation:
		return LevelNation
	case s[:2] == "00", len(s) > 6 && (s[2:6] == "0000" || s[6:9] == "000"), len(s) == 12 && s[9:] == "000":
		return NoLevel
	case len(s) == 12:
		return LevelVillage
	case len(s) == 9:
		return LevelTown
	case s[2:] == "0000":
		return LevelProvince
	case s[4:] == "00":
		return LevelCity
	}
	return LevelCounty
}

// prefix is what the codes of all regions within r begin with.
func (r Region) prefix() string {
	switch s := string(r); r.Level() {
	case LevelNation:
		return ""
	case LevelProvince:
		return s[:2]
	case LevelCity:
		return s[:4]
	default:
		return s
	}
}

// Contains says that other is r or lies within it, by its code. A text that is no code contains nothing and lies nowhere.
func (r Region) Contains(other Region) bool {
	return r.Level() != NoLevel && other.Level() != NoLevel && strings.HasPrefix(string(other), r.prefix())
}

// Range gives the bounds that hold exactly the codes within r: code >= lo AND code < hi, in SQL as in Go. Codes are digits
// only, so every collation agrees. For a text that is no code the range is empty.
func (r Region) Range() (lo, hi string) {
	if r.Level() == NoLevel {
		return "", ""
	}
	const afterDigits = "a"
	lo = r.prefix()
	next := []byte(lo)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i] < '9' {
			next[i]++
			return lo, string(next[:i+1])
		}
	}
	return lo, afterDigits
}

// Parent is the region above: that of a county is its city, or its province where no city stands between (419001, 110101); that
// of a town is what its first six digits name.
// The nation and a text that is no code have none: "".
func (r Region) Parent() Region {
	s := string(r)
	switch r.Level() {
	case LevelProvince:
		return Nation
	case LevelCity:
		return Region(s[:2] + "0000")
	case LevelCounty:
		city := Region(s[:4] + "00")
		if e, ok := table().entry(city); ok && !grouping(e.Name) {
			return city
		}
		return Region(s[:2] + "0000")
	case LevelTown:
		return Region(s[:6])
	case LevelVillage:
		return Region(s[:9])
	}
	return ""
}

// Ancestors is r and the regions above it, up to the nation: six at most. Codes that only head a list in GB/T 2260 (110100
// 市辖区, 419000 省直辖县级行政区划) have no office and are passed over.
func (r Region) Ancestors() []Region {
	var up []Region
	for r.Level() != NoLevel {
		up = append(up, r)
		r = r.Parent()
	}
	return up
}

// Known says that the code is in the table, current or gone. Towns and villages are not in the table: they are known when
// their county is.
func (r Region) Known() bool {
	_, ok := table().entry(r)
	return ok
}

// Current says that the code is in the table and in force.
func (r Region) Current() bool {
	e, ok := table().entry(r)
	return ok && e.Current()
}

// Name is the region's own name, without those above: 鼓楼区. A town or village has the name of its county. A code that
// is not known has none.
func (r Region) Name() string {
	e, _ := table().entry(r)
	return e.Name
}

// FullName is the name with those of the regions above: 江苏省南京市鼓楼区, 北京市东城区, 河南省济源市.
func (r Region) FullName() string {
	e, ok := table().entry(r)
	if !ok {
		return ""
	}
	if e.Code == Nation {
		return e.Name
	}
	var names []string
	for _, a := range e.Code.Ancestors() {
		if above, ok := table().entry(a); ok && a != Nation && !grouping(above.Name) {
			names = append(names, above.Name)
		}
	}
	slices.Reverse(names)
	return strings.Join(names, "")
}

// grouping says that a name heads a list of regions in GB/T 2260 and is no region itself.
func grouping(name string) bool {
	switch name {
	case "市辖区", "县", "市":
		return true
	}
	return strings.Contains(name, "直辖")
}

// Entries runs over the table in the order of the codes, the nation first: for loading it into SQL.
func Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, e := range table().entries {
			e.Former = slices.Clone(e.Former)
			if !yield(e) {
				return
			}
		}
	}
}

//go:embed regions.csv
var regionsCSV string

type regionTable struct {
	entries []Entry
	byCode  map[Region]int
	byName  map[string][]hit
}

// hit is a region that a text may mean.
type hit struct {
	entry  int
	short  bool // the name without 省, 市, 县 …
	former bool // a name the code no longer has
}

var table = sync.OnceValue(func() *regionTable {
	rows, err := csv.NewReader(strings.NewReader(regionsCSV)).ReadAll()
	if err != nil {
		panic("identity: regions.csv: " + err.Error()) // embedded, and read by every test
	}
	t := &regionTable{byCode: make(map[Region]int, len(rows)), byName: make(map[string][]hit, 3*len(rows))}
	for _, r := range rows[1:] {
		e := Entry{Code: Region(r[0]), Name: r[1]}
		e.From, _ = strconv.Atoi(r[2]) // blank is 0
		e.Until, _ = strconv.Atoi(r[3])
		if r[4] != "" {
			e.Former = strings.Split(r[4], "|")
		}
		t.byCode[e.Code] = len(t.entries)
		t.entries = append(t.entries, e)
	}
	for i, e := range t.entries {
		for n, name := range append([]string{e.Name}, e.Former...) {
			t.name(name, hit{i, false, n > 0})
			for _, short := range shortNames(name, e.Code.Level()) {
				t.name(short, hit{i, true, n > 0})
			}
		}
	}
	return t
})

func (t *regionTable) name(name string, h hit) { t.byName[name] = append(t.byName[name], h) }

// entry looks up a code, a town or village by its county.
func (t *regionTable) entry(r Region) (Entry, bool) {
	if len(r) > 6 {
		if r.Level() == NoLevel {
			return Entry{}, false
		}
		r = r[:6]
	}
	i, ok := t.byCode[r]
	if !ok {
		return Entry{}, false
	}
	return t.entries[i], true
}

// shortNames is what people call a region: 江苏 for 江苏省, 广西 for 广西壮族自治区, 延边州 and 延边 for 延边朝鲜族自治州.
func shortNames(name string, level Level) []string {
	if grouping(name) || level == LevelNation {
		return nil
	}
	for _, suffix := range []string{"特别行政区", "自治区", "自治州", "自治县", "自治旗", "地区", "林区", "新区", "省", "市", "盟", "县", "区", "旗"} {
		base, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		for {
			shorter := withoutEthnicGroup(base)
			if shorter == base {
				break
			}
			base = shorter
		}
		if utf8.RuneCountInString(base) < 2 {
			return nil
		}
		if suffix == "自治州" {
			return []string{base, base + "州"}
		}
		return []string{base}
	}
	return nil
}

// withoutEthnicGroup drops the ethnic group at the end of a region's name, unless the name would be lost with it.
func withoutEthnicGroup(name string) string {
	longest := name
	drop := func(suffix string) {
		if rest, ok := strings.CutSuffix(name, suffix); ok && utf8.RuneCountInString(rest) >= 2 && len(rest) < len(longest) {
			longest = rest
		}
	}
	drop("各族")
	for _, g := range ethnicGroups {
		if !strings.HasSuffix(g.zh, "族") {
			continue
		}
		drop(g.zh)
		if bare := strings.TrimSuffix(g.zh, "族"); utf8.RuneCountInString(bare) >= 2 {
			drop(bare)
		}
	}
	return longest
}

// Resolve finds the regions that a typed text means: a code, or names from the top down of which any but the last may be left
// out: 江苏省南京市鼓楼区, 南京市鼓楼区, 江苏鼓楼, 鼓楼区 (several), 320106. Names that a code no longer has are found too. Regions
// in force come first, then whole names before short ones, then higher levels, then by code. It finds nothing for a text
// with anything else in it, such as a street.
func Resolve(text string) []Region {
	if len(text) > maxInput {
		return nil
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			return r
		}
		return -1
	}, norm.NFKC.String(text))
	if digits(text) {
		if r, err := ParseRegion(text); err == nil && r.Known() {
			return []Region{r}
		}
		return nil
	}
	t := table()
	hits := t.resolve(text, 4)
	hits = slices.DeleteFunc(hits, func(h hit) bool { return grouping(t.entries[h.entry].Name) })
	order := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	slices.SortFunc(hits, func(a, b hit) int {
		x, y := t.entries[a.entry], t.entries[b.entry]
		return cmp.Or(
			cmp.Compare(order(!x.Current()), order(!y.Current())),
			cmp.Compare(order(a.short), order(b.short)),
			cmp.Compare(order(a.former), order(b.former)),
			cmp.Compare(x.Code.Level(), y.Code.Level()),
			cmp.Compare(x.Code, y.Code),
		)
	})
	var found []Region
	for _, h := range hits {
		if c := t.entries[h.entry].Code; !slices.Contains(found, c) {
			found = append(found, c)
		}
	}
	return found
}

// resolve reads text as one name, or as a name followed by a text that means a region within it, above levels deep.
func (t *regionTable) resolve(text string, above int) []hit {
	hits := slices.Clone(t.byName[text])
	if above == 0 {
		return hits
	}
	for i := range text {
		heads := t.byName[text[:i]]
		if len(heads) == 0 {
			continue
		}
		for _, tail := range t.resolve(text[i:], above-1) {
			for _, head := range heads {
				if t.entries[head.entry].Code.Contains(t.entries[tail.entry].Code) {
					hits = append(hits, hit{tail.entry, tail.short || head.short, tail.former || head.former})
				}
			}
		}
	}
	return hits
}
