package rules

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
)

func cn(t require.TestingT) *calendar.Calendar {
	cal, err := calendar.Embedded("CN")
	require.NoError(t, err)
	return cal
}

func date(t require.TestingT, text string) calendar.Date {
	d, err := calendar.Parse(text)
	require.NoError(t, err)
	return d
}

func TestEveryRuleOfTheCatalogueIsStatedWithASource(t *testing.T) {
	t.Parallel()
	in := Embedded().For(Nation, calendar.Must(2026, time.November, 21))
	for key := range catalogue {
		require.NotEmpty(t, in.Source(key), key)
		require.NotEmpty(t, in.values(key), key)
	}
	require.Contains(t, in.Version(), "stemcell/000000@2026.1")
}

func TestValuesAreReadAndPrintedAlike(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"5 wd", "-1 wd", "7 d", "10 y", "3 mo", "24 h", "30 ml", "2 e6/kg", "17:00", "08:30", "3", "-4 C"} {
		v, err := ParseValue(text)
		require.NoError(t, err, text)
		require.Equal(t, text, v.String())
	}
	for _, text := range []string{"", "five wd", "5 weeks", "5wd", "25:00", "wd"} {
		_, err := ParseValue(text)
		require.Error(t, err, text)
	}
}

// Ages at both edges: the day before the birthday, the birthday, and the last day of the oldest year.
func TestAgesAtBothEdges(t *testing.T) {
	t.Parallel()
	in := Embedded().For("320106", calendar.Must(2026, time.November, 21))
	signed := date(t, "2026-11-21")
	for _, c := range []struct {
		programme Programme
		birth     string
		admitted  bool
	}{
		{StemCell, "2008-11-22", false}, // seventeen, a day short
		{StemCell, "2008-11-21", true},  // eighteen today
		{StemCell, "1980-11-22", true},  // forty-five, the last day
		{StemCell, "1980-11-21", false}, // forty-six today
		{Blood, "2008-11-22", false}, {Blood, "2008-11-21", true}, {Blood, "1965-11-22", true}, {Blood, "1965-11-21", false},
		{Organ, "2008-11-22", false}, {Organ, "2008-11-21", true}, {Organ, "1920-01-01", true},
		{Cornea, "2008-11-22", false}, {Cornea, "2008-11-21", true}, {Body, "2008-11-22", false}, {Body, "2008-11-21", true},
	} {
		require.Equal(t, c.admitted, in.Ages(c.programme).Admits(date(t, c.birth), signed), "%s born %s", c.programme, c.birth)
	}
}

func TestACoolingOffEndsOnTheSeventhDayAfterSigning(t *testing.T) {
	t.Parallel()
	in := Embedded().For("320106", date(t, "2026-11-21"))
	require.Equal(t, "2026-11-28", in.Span(StemCellCoolingOff).On(date(t, "2026-11-21"), nil).String())
}

// The deadlines of the protocol, counted by hand over real holidays.
func TestDeadlinesAreCountedInWorkingDays(t *testing.T) {
	t.Parallel()
	in := Embedded().For("320106", date(t, "2026-09-01"))
	at := func(text string) time.Time {
		v, err := time.ParseInLocation("2006-01-02 15:04", text, calendar.Shanghai)
		require.NoError(t, err)
		return v
	}
	for _, c := range []struct {
		key       Key
		from, due string
	}{
		{StemCellRemobilisation, "2026-11-20 10:00", "2026-11-27 17:00"}, // a Friday: five working days later
		{StemCellRemobilisation, "2026-09-29 10:00", "2026-10-12 17:00"}, // over the National Day week; 10 October is worked
		{StemCellTyping, "2026-11-20 10:00", "2026-12-05 00:00"},         // fourteen days, to the end of the day
		{StemCellSafety, "2026-11-20 23:30", "2026-11-21 00:00"},         // the same day
		{StemCellTransport, "2026-11-20 23:30", "2026-11-21 23:30"},      // to the hour
		{RightsMax, "2026-11-20 10:00", "2026-12-21 00:00"},              // thirty days, to the end of the last
		{RightsIdentity, "2026-11-20 10:00", "2026-11-25 17:00"},         // three working days
		{RightsAnswer, "2026-11-20 10:00", "2026-12-11 17:00"},           // fifteen
		{RightsAnswer, "2026-09-24 10:00", "2026-10-22 17:00"},           // over the holidays
		{RightsCarrying, "2026-11-20 10:00", "2026-11-27 17:00"},         // five
		{RightsTelling, "2026-11-20 10:00", "2026-11-25 17:00"},          // three
	} {
		d := in.Deadline(c.key, at(c.from), cn(t), calendar.Shanghai)
		require.Equal(t, at(c.due), d.Due.In(calendar.Shanghai), "%s from %s", c.key, c.from)
	}
}

func TestRemindersComeBeforeAndEscalationsAfterTheDeadline(t *testing.T) {
	t.Parallel()
	in := Embedded().For("320106", date(t, "2026-11-20"))
	rapid.Check(t, func(t *rapid.T) {
		from := time.Date(2026, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(1, 28).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"), 0, 0, 0, calendar.Shanghai)
		key := rapid.SampledFrom([]Key{StemCellRemobilisation, StemCellTyping, StemCellSafety, StemCellReservationSample, StemCellThanks}).Draw(t, "rule")
		d := in.Deadline(key, from, cn(t), calendar.Shanghai)
		require.False(t, d.Due.Before(from))
		for _, r := range d.Reminders {
			require.True(t, r.After(from) && r.Before(d.Due), "%s %s %s", from, r, d.Due)
		}
		last := d.Due
		for _, e := range d.Escalations {
			require.True(t, e.After(last))
			last = e
		}
		require.Len(t, d.Escalations, 3)
		// What is counted again from the deadline itself is the same.
		again := in.DeadlineAt(d.Due, from, cn(t), calendar.Shanghai)
		require.Equal(t, d, again)
	})
}

// A slow, obvious count: day by day.
func TestWorkingDaySpansAgreeWithAWalk(t *testing.T) {
	t.Parallel()
	cal := cn(t)
	rapid.Check(t, func(t *rapid.T) {
		from := date(t, "2026-01-01").AddDays(rapid.IntRange(0, 700).Draw(t, "from"))
		n := rapid.IntRange(1, 60).Draw(t, "n")
		day := from
		for left := n; left > 0; {
			day = day.AddDays(1)
			if cal.IsWorkingDay(day) {
				left--
			}
		}
		require.Equal(t, day, Span{n, WorkingDays}.On(from, cal))
	})
}

func pack(region, from, version string, rules ...string) string {
	return fmt.Sprintf("pack: stemcell\nregion: %q\nversion: %q\nfrom: %s\nrules:\n  %s\n", region, version, from, strings.Join(rules, "\n  "))
}

// withFloor adds packs to the embedded floor.
func withFloor(t *testing.T, packs map[string]string) fs.FS {
	t.Helper()
	out := fstest.MapFS{}
	names, err := fs.Glob(embedded, "data/packs/*.yaml")
	require.NoError(t, err)
	for _, name := range names {
		data, err := embedded.ReadFile(name)
		require.NoError(t, err)
		out[strings.TrimPrefix(name, "data/packs/")] = &fstest.MapFile{Data: data}
	}
	for name, text := range packs {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestARegionalPackHoldsFromItsDayInItsRegionAndBelow(t *testing.T) {
	t.Parallel()
	book, err := Load(withFloor(t, map[string]string{
		"a.yaml": pack("320000", "2026-06-01", "JS-1", `stemcell.enrolment.cooling_off: {is: 10 d, source: "a local notice"}`),
		"b.yaml": pack("320000", "2027-01-01", "JS-2", `stemcell.enrolment.cooling_off: {is: 14 d, source: "a newer one"}`),
		"c.yaml": pack("320100", "2026-07-01", "NJ-1", `stemcell.remobilisation.due: {is: 3 wd, source: "a city's promise"}`),
	}))
	require.NoError(t, err)
	for _, c := range []struct {
		region identity.Region
		on     string
		days   int
	}{
		{"320106", "2026-05-31", 7}, {"320106", "2026-06-01", 10}, {"320106", "2026-12-31", 10}, {"320106", "2027-01-01", 14},
		{"330106", "2027-01-01", 7}, {"000000", "2027-01-01", 7},
	} {
		require.Equal(t, c.days, book.For(c.region, date(t, c.on)).Span(StemCellCoolingOff).N, "%s on %s", c.region, c.on)
	}
	require.Equal(t, 3, book.For("320106", date(t, "2026-08-01")).Span(StemCellRemobilisation).N)
	require.Equal(t, 5, book.For("320506", date(t, "2026-08-01")).Span(StemCellRemobilisation).N)
	require.Equal(t, "a local notice", book.For("320106", date(t, "2026-06-01")).Source(StemCellCoolingOff))
	require.Contains(t, book.For("320106", date(t, "2026-08-01")).Version(), "stemcell/320100@NJ-1")
	require.NotContains(t, book.For("320106", date(t, "2026-08-01")).Version(), "JS-2")
}

func TestAFaultyBookIsRefusedWithWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, says string }{
		"weaker than the nation's age":  {pack("320000", "2026-06-01", "x", `stemcell.enrolment.age.min: {is: 16 y, source: s}`), "weaker than the nation's"},
		"weaker than the nation's wait": {pack("320000", "2026-06-01", "x", `stemcell.enrolment.cooling_off: {is: 3 d, source: s}`), "weaker than the nation's"},
		"a longer reservation":          {pack("320000", "2026-06-01", "x", `stemcell.reservation.sampled: {is: 90 wd, source: s}`), "weaker than the nation's"},
		"an unknown rule":               {pack("320000", "2026-06-01", "x", `stemcell.colour: {is: 3 d, source: s}`), "not a rule of the catalogue"},
		"no source":                     {pack("320000", "2026-06-01", "x", `stemcell.enrolment.cooling_off: {is: 9 d}`), "no source"},
		"another unit":                  {pack("320000", "2026-06-01", "x", `stemcell.enrolment.cooling_off: {is: 9 wd, source: s}`), "takes [d]"},
		"a row where one is wanted":     {pack("320000", "2026-06-01", "x", `stemcell.enrolment.cooling_off: {is: [9 d, 10 d], source: s}`), "takes one value"},
		"a bad region":                  {pack("32", "2026-06-01", "x", `stemcell.enrolment.cooling_off: {is: 9 d, source: s}`), "region"},
		"a bad day":                     {pack("320000", "2026-02-30", "x", `stemcell.enrolment.cooling_off: {is: 9 d, source: s}`), "first day"},
		"an unknown field":              {"pack: x\ncolour: red\n", "not a pack"},
		"no version":                    {pack("320000", "2026-06-01", "", `stemcell.enrolment.cooling_off: {is: 9 d, source: s}`), "name and a version"},
	} {
		_, err := Load(withFloor(t, map[string]string{"x.yaml": c.text}))
		require.ErrorContains(t, err, c.says, name)
		require.Regexp(t, `x\.yaml|of 320000 from 2026-06-01`, err.Error(), "%s: the pack is named", name)
	}
	_, err := Load(fstest.MapFS{})
	require.ErrorContains(t, err, "no national pack states")
}

func TestWordingsAreFoundByVersionAndByDay(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{}
	for _, w := range Wordings() {
		kinds[w.Kind] = true
		require.Len(t, w.SHA256(), 64)
		found, ok := Worded(w.Version)
		require.True(t, ok)
		require.Equal(t, w, found)
		now, ok := CurrentWording(w.Kind, calendar.Must(2026, time.November, 21))
		require.True(t, ok)
		require.Equal(t, w.Kind, now.Kind)
	}
	for _, p := range Programmes() {
		require.True(t, kinds[string(p)+".registration"], p)
	}
	require.True(t, kinds["refusal"] && kinds["stemcell.donation"])
	_, ok := CurrentWording("stemcell.registration", calendar.Must(2023, time.December, 31))
	require.False(t, ok, "the first wording begins with 2024")
	_, ok = CurrentWording("stemcell.registration", calendar.Must(2024, time.January, 1))
	require.True(t, ok)
	_, ok = Worded("no such version")
	require.False(t, ok)
	for _, bad := range []string{"- kind: x\n", "- kind: x\n  version: v\n  from: 2024-13-01\n  zh: a\n  en: b\n", "not a list"} {
		_, err := parseWordings([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestAnEditedWordingHasAnotherHash(t *testing.T) {
	t.Parallel()
	w := Wordings()[0]
	before := w.SHA256()
	w.Chinese += "。"
	require.NotEqual(t, before, w.SHA256())
}
