package calendar

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func china(t require.TestingT) *Calendar {
	c, err := Embedded("CN")
	require.NoError(t, err)
	return c
}

func day(t require.TestingT, text string) Date {
	d, err := Parse(text)
	require.NoError(t, err)
	return d
}

// What the notices say in words, copied with the weekdays they name, so that a slip in a data file shows.
func TestThePublishedYearsAreThoseOfTheNotices(t *testing.T) {
	c := china(t)
	weekdays := map[string]time.Weekday{"周一": 1, "周二": 2, "周三": 3, "周四": 4, "周五": 5, "周六": 6, "周日": 0}
	total := map[int]int{}
	for _, h := range []struct {
		name, from, fromDay, to, toDay string
		days                           int
	}{
		{"元旦", "2025-01-01", "周三", "2025-01-01", "周三", 1},
		{"春节", "2025-01-28", "周二", "2025-02-04", "周二", 8},
		{"清明节", "2025-04-04", "周五", "2025-04-06", "周日", 3},
		{"劳动节", "2025-05-01", "周四", "2025-05-05", "周一", 5},
		{"端午节", "2025-05-31", "周六", "2025-06-02", "周一", 3},
		{"国庆节、中秋节", "2025-10-01", "周三", "2025-10-08", "周三", 8},
		{"元旦", "2026-01-01", "周四", "2026-01-03", "周六", 3},
		{"春节", "2026-02-15", "周日", "2026-02-23", "周一", 9},
		{"清明节", "2026-04-04", "周六", "2026-04-06", "周一", 3},
		{"劳动节", "2026-05-01", "周五", "2026-05-05", "周二", 5},
		{"端午节", "2026-06-19", "周五", "2026-06-21", "周日", 3},
		{"中秋节", "2026-09-25", "周五", "2026-09-27", "周日", 3},
		{"国庆节", "2026-10-01", "周四", "2026-10-07", "周三", 7},
	} {
		from, to := day(t, h.from), day(t, h.to)
		require.Equal(t, weekdays[h.fromDay], from.Weekday(), h.from)
		require.Equal(t, weekdays[h.toDay], to.Weekday(), h.to)
		require.Equal(t, h.days, to.Sub(from)+1, h.name)
		total[from.Year()] += h.days
		for d := from; !d.After(to); d = d.AddDays(1) {
			row, ok := c.Lookup(d)
			require.True(t, ok, d)
			require.Equal(t, h.name, row.Name)
			require.NotEmpty(t, row.English)
			require.False(t, c.IsWorkingDay(d))
			require.False(t, c.Provisional(d))
		}
	}
	worked := map[int]int{}
	for _, w := range []struct{ date, weekday string }{
		{"2025-01-26", "周日"}, {"2025-02-08", "周六"}, {"2025-04-27", "周日"}, {"2025-09-28", "周日"}, {"2025-10-11", "周六"},
		{"2026-01-04", "周日"}, {"2026-02-14", "周六"}, {"2026-02-28", "周六"}, {"2026-05-09", "周六"}, {"2026-09-20", "周日"}, {"2026-10-10", "周六"},
	} {
		d := day(t, w.date)
		require.Equal(t, weekdays[w.weekday], d.Weekday(), w.date)
		require.True(t, c.IsWorkingDay(d), w.date)
		worked[d.Year()]++
	}
	for year, days := range total {
		rows, makeUp := 0, 0
		for d := range c.rows {
			if d.Year() == year {
				rows++
				if c.IsWorkingDay(d) {
					makeUp++
				}
			}
		}
		require.Equal(t, worked[year], makeUp, year)
		require.Equal(t, days+worked[year], rows, "no row of %d beyond those above", year)
	}
}

func TestEveryMoveOfAWorkingDayIsPaidBack(t *testing.T) {
	// The free days of a year besides weekends are the 13 statutory days, less those whose substitute is the weekend itself.
	c := china(t)
	for year, want := range map[int]int{2025: 13, 2026: 13} {
		free := 0
		for d := Must(year, 1, 1); d.Year() == year; d = d.AddDays(1) {
			switch {
			case weekday(d) && !c.IsWorkingDay(d):
				free++
			case !weekday(d) && c.IsWorkingDay(d):
				free--
			}
		}
		require.Equal(t, want, free, year)
	}
}

func TestYearsWithoutANoticeAreProvisional(t *testing.T) {
	c := china(t)
	for _, s := range []string{"2024-06-12", "2027-01-01", "2027-02-06", "2027-06-15", "2040-10-03", "2041-01-01", "2041-10-01", "9999-12-31", "0001-01-01"} {
		require.True(t, c.Provisional(day(t, s)), s)
	}
	for _, s := range []string{"2025-01-01", "2025-12-31", "2026-01-01", "2026-07-08", "2026-12-24"} {
		require.False(t, c.Provisional(day(t, s)), s)
	}
	// New Year's bridge is announced with the year it belongs to.
	require.True(t, c.Provisional(day(t, "2026-12-28")))
	// Outside the data only the week counts.
	require.True(t, c.IsWorkingDay(day(t, "2041-10-01")))
	require.False(t, c.IsWorkingDay(day(t, "2041-10-05")))
	require.False(t, c.IsWorkingDay(Date{}))
}

func TestEveryProvisionalYearHasItsThirteenStatutoryDays(t *testing.T) {
	c := china(t)
	names := map[string]int{}
	for year := 2027; year <= 2040; year++ {
		rows := 0
		for d, r := range c.rows {
			if d.Year() == year {
				rows++
				names[r.Name]++
				require.True(t, r.provisional)
				require.False(t, r.Working)
			}
		}
		if _, merged := map[int]bool{2028: true, 2031: true, 2039: true}[year]; merged {
			require.Equal(t, 12, rows, "Mid-Autumn falls on National Day in %d", year)
		} else {
			require.Equal(t, 13, rows, year)
		}
	}
	require.Equal(t, 9, names["国庆节、中秋节"])
	require.Equal(t, 14, names["除夕"])
	require.Equal(t, 42, names["春节"])
}

func TestAPublishedYearDropsTheProvisionalRows(t *testing.T) {
	whole := span{day(t, "2027-02-05"), day(t, "2027-02-11"), "春节", "Spring Festival"}
	guess := span{day(t, "2027-05-01"), day(t, "2027-05-02"), "劳动节", "Labour Day"}
	later := span{day(t, "2028-05-01"), day(t, "2028-05-02"), "劳动节", "Labour Day"}
	c, err := assemble([]file{
		{Region: "CN", Provisional: true, Holidays: []span{guess, later}},
		{Region: "CN", Year: 2027, Notice: "n", Source: "s", Holidays: []span{whole}},
	})
	require.NoError(t, err)
	_, ok := c.Lookup(guess.From)
	require.False(t, ok)
	require.False(t, c.IsWorkingDay(later.From))
	require.True(t, c.Provisional(later.From))
	require.False(t, c.Provisional(whole.From))
}

func TestASlipInADataFileIsRefused(t *testing.T) {
	good := file{Region: "CN", Year: 2025, Notice: "n", Source: "s", Holidays: []span{{day(t, "2025-01-01"), day(t, "2025-01-01"), "元旦", "New Year's Day"}}}
	_, err := assemble([]file{good})
	require.NoError(t, err)
	for name, spoil := range map[string]func(*file){
		"no source":    func(f *file) { f.Source = "" },
		"no notice":    func(f *file) { f.Notice = "" },
		"no year":      func(f *file) { f.Year = 0 },
		"twice":        func(f *file) { f.Worked = f.Holidays },
		"no name":      func(f *file) { f.Holidays = []span{{f.Holidays[0].From, f.Holidays[0].To, " ", "x"}} },
		"backwards":    func(f *file) { f.Holidays = []span{{day(t, "2025-01-02"), day(t, "2025-01-01"), "元旦", "x"}} },
		"far too long": func(f *file) { f.Holidays = []span{{day(t, "2025-01-02"), day(t, "2026-01-01"), "元旦", "x"}} },
		"no date":      func(f *file) { f.Holidays = []span{{Date{}, day(t, "2025-01-01"), "元旦", "x"}} },
	} {
		bad := good
		spoil(&bad)
		_, err := assemble([]file{bad})
		require.Error(t, err, name)
	}
	_, err = assemble([]file{good, good})
	require.Error(t, err)
}

func TestAnUnknownRegionHasNoCalendar(t *testing.T) {
	_, err := Embedded("450000")
	var unknown *RegionError
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, "450000", unknown.Region)
}

func TestOverridesLieOverTheCalendarAndLeaveItAlone(t *testing.T) {
	c := china(t)
	sanyuesan := day(t, "2026-04-20")
	require.True(t, c.IsWorkingDay(sanyuesan))
	guangxi := c.With(
		Override{Date: sanyuesan, Working: true, Name: "误"},
		Override{Date: sanyuesan, Name: "壮族三月三"},
		Override{Date: day(t, "2027-04-09"), Name: "壮族三月三"},
		Override{Name: "no date"},
	)
	require.False(t, guangxi.IsWorkingDay(sanyuesan), "the later row wins")
	require.True(t, c.IsWorkingDay(sanyuesan), "the calendar below is untouched")
	require.False(t, guangxi.Provisional(day(t, "2027-04-09")), "a declared day is settled")
	require.True(t, guangxi.Provisional(day(t, "2027-04-08")))
	require.False(t, guangxi.IsWorkingDay(day(t, "2026-10-01")), "the rows below still count")
	row, ok := guangxi.Lookup(sanyuesan)
	require.True(t, ok)
	require.Equal(t, "壮族三月三", row.Name)
	_, ok = guangxi.Lookup(Date{})
	require.False(t, ok)

	own := FromRows(Override{Date: sanyuesan, Name: "x"})
	require.False(t, own.IsWorkingDay(sanyuesan))
	require.True(t, own.IsWorkingDay(day(t, "2026-10-01")))
	require.True(t, own.Provisional(day(t, "2026-10-01")))
}

func TestCountingLeavesOutTheFirstDay(t *testing.T) {
	c := china(t)
	for _, x := range []struct {
		from string
		n    int
		want string
	}{
		{"2026-11-20", 1, "2026-11-23"},  // Friday: Monday is day 1
		{"2026-11-21", 1, "2026-11-23"},  // Saturday: Monday is day 1 as well
		{"2026-11-20", 0, "2026-11-20"},  // a working day is its own day 0
		{"2026-11-21", 0, "2026-11-23"},  // a free day's day 0 is the next working day
		{"2026-11-23", -1, "2026-11-20"}, // back over the weekend
		{"2026-11-22", -1, "2026-11-20"},
		{"2026-09-30", 1, "2026-10-08"}, // over National Day
		{"2026-09-30", 3, "2026-10-10"}, // 8, 9 and Saturday the 10th, which is worked
		{"2026-10-01", 0, "2026-10-08"},
		{"2026-10-08", -1, "2026-09-30"},
		{"2026-02-13", 1, "2026-02-14"}, // a worked Saturday
		{"2026-02-14", 1, "2026-02-24"},
		{"2026-03-02", 53, "2026-05-19"}, // 21 days in March, 21 in April, then 6-8, 9 (Saturday), 11-15, 18, 19 May
		{"2026-03-02", 60, "2026-05-28"},
		{"2025-12-31", 1, "2026-01-04"}, // over New Year to a worked Sunday
	} {
		require.Equal(t, x.want, c.AddWorkingDays(day(t, x.from), x.n).String(), "%s %+d", x.from, x.n)
	}
	require.Equal(t, Date{}, c.AddWorkingDays(Date{}, 5))
	require.Equal(t, Date{lastDay}, c.AddWorkingDays(day(t, "2026-01-05"), math.MaxInt))
	require.Equal(t, Date{1}, c.AddWorkingDays(day(t, "2026-01-05"), math.MinInt))
	require.Equal(t, 0, c.WorkingDaysBetween(Date{}, day(t, "2026-01-05")))
	require.Equal(t, 3, c.WorkingDaysBetween(day(t, "2026-09-30"), day(t, "2026-10-11")))
	require.Equal(t, -3, c.WorkingDaysBetween(day(t, "2026-10-11"), day(t, "2026-10-01")))
}

// walk is the slow and obvious way to count.
func walk(c *Calendar, d Date, n int) Date {
	if n == 0 {
		for !c.IsWorkingDay(d) {
			d = d.AddDays(1)
		}
		return d
	}
	step := 1
	if n < 0 {
		step, n = -1, -n
	}
	for n > 0 {
		d = d.AddDays(step)
		if c.IsWorkingDay(d) {
			n--
		}
	}
	return d
}

// anyCalendar has free and worked days of every kind: months with none, runs that cross the week, worked weekends.
func anyCalendar(t *rapid.T) *Calendar {
	base := china(t)
	if rapid.Bool().Draw(t, "empty") {
		base = FromRows()
	}
	rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Override {
		return Override{
			Date:    Must(2026, 1, 1).AddDays(rapid.IntRange(-400, 800).Draw(t, "at")),
			Working: rapid.Bool().Draw(t, "working"),
		}
	}), 0, 120).Draw(t, "rows")
	return base.With(rows...)
}

func TestAddingWorkingDaysAgreesWithAWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyCalendar(t)
		d := Must(2026, 1, 1).AddDays(rapid.IntRange(-500, 900).Draw(t, "from"))
		n := rapid.IntRange(-150, 150).Draw(t, "n")
		require.Equal(t, walk(c, d, n), c.AddWorkingDays(d, n))
	})
}

func TestCountingAndAddingAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyCalendar(t)
		a := Must(2026, 1, 1).AddDays(rapid.IntRange(-500, 900).Draw(t, "a"))
		if n := rapid.IntRange(-150, 150).Draw(t, "n"); n != 0 {
			require.Equal(t, n, c.WorkingDaysBetween(a, c.AddWorkingDays(a, n)))
		}
		b := c.AddWorkingDays(Must(2026, 1, 1).AddDays(rapid.IntRange(-500, 900).Draw(t, "b")), 0)
		if a != b {
			require.Equal(t, b, c.AddWorkingDays(a, c.WorkingDaysBetween(a, b)))
		}
		count := 0
		for d := a.AddDays(1); !d.After(b); d = d.AddDays(1) {
			if c.IsWorkingDay(d) {
				count++
			}
		}
		for d := b; d.Before(a); d = d.AddDays(1) {
			if c.IsWorkingDay(d) {
				count--
			}
		}
		require.Equal(t, count, c.WorkingDaysBetween(a, b))
	})
}

func BenchmarkAddWorkingDays(b *testing.B) {
	c := china(b)
	d := Must(2026, time.November, 21)
	for b.Loop() {
		c.AddWorkingDays(d, 60)
	}
}
