package calendar

import (
	"database/sql/driver"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func anyDate() *rapid.Generator[Date] {
	return rapid.Custom(func(t *rapid.T) Date { return Date{rapid.Int32Range(1, lastDay).Draw(t, "day")} })
}

func TestADateIsARealDayOrNone(t *testing.T) {
	for _, c := range []struct {
		y  int
		m  time.Month
		d  int
		ok bool
	}{
		{2026, time.November, 21, true},
		{2024, time.February, 29, true},
		{2000, time.February, 29, true},
		{1, time.January, 1, true},
		{9999, time.December, 31, true},
		{2025, time.February, 29, false},
		{1900, time.February, 29, false},
		{2026, time.November, 31, false},
		{2026, time.November, 0, false},
		{2026, 13, 1, false},
		{2026, 0, 1, false},
		{0, time.January, 1, false},
		{10000, time.January, 1, false},
		{-1, time.January, 1, false},
	} {
		d, err := New(c.y, c.m, c.d)
		if !c.ok {
			require.ErrorIs(t, err, ErrDate, "%d-%d-%d", c.y, c.m, c.d)
			require.True(t, d.IsZero())
			continue
		}
		require.NoError(t, err)
		require.Equal(t, []int{c.y, int(c.m), c.d}, []int{d.Year(), int(d.Month()), d.Day()})
	}
	require.Panics(t, func() { Must(2025, time.February, 29) })
}

func TestDayNumbersRunFromTheFirstDayToTheLast(t *testing.T) {
	require.Equal(t, Date{1}, Must(1, time.January, 1))
	require.Equal(t, Date{unixZero}, Must(1970, time.January, 1))
	require.Equal(t, Date{lastDay}, Must(9999, time.December, 31))
}

func TestADateAgreesWithTheStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := anyDate().Draw(t, "d")
		std := time.Date(d.Year(), d.Month(), d.Day(), 0, 0, 0, 0, time.UTC)
		require.Equal(t, std.Weekday(), d.Weekday())
		require.Equal(t, std.Format(time.DateOnly), d.String())
		require.Equal(t, std, d.Start(time.UTC))
		parsed, err := Parse(d.String())
		require.NoError(t, err)
		require.Equal(t, d, parsed)
		n := rapid.IntRange(-100000, 100000).Draw(t, "n")
		if later := std.AddDate(0, 0, n); later.Year() >= 1 && later.Year() <= 9999 {
			require.Equal(t, later.Format(time.DateOnly), d.AddDays(n).String())
			require.Equal(t, n, d.AddDays(n).Sub(d))
			require.Equal(t, d, d.AddDays(n).AddDays(-n))
			require.Equal(t, n > 0, d.AddDays(n).After(d))
			require.Equal(t, n < 0, d.AddDays(n).Before(d))
		}
	})
}

func TestADateThatIsNotWrittenAsISOIsRefusedWithoutBeingRepeated(t *testing.T) {
	for _, text := range []string{"2026-1-2", "20260102", "2026-02-30", "0000-01-01", "2026/01/02", "2026-01-02T00:00:00Z", " 2026-01-02", "", "一九八〇"} {
		_, err := Parse(text)
		require.ErrorIs(t, err, ErrDate, text)
		require.Equal(t, ErrDate.Error(), err.Error())
	}
}

func TestTheDayDependsOnTheZone(t *testing.T) {
	late := time.Date(2026, time.November, 21, 16, 30, 0, 0, time.UTC)
	require.Equal(t, "2026-11-22", Of(late, Shanghai).String())
	require.Equal(t, "2026-11-21", Of(late, time.UTC).String())
	require.Equal(t, "2026-11-21T16:00:00Z", Must(2026, time.November, 22).Start(Shanghai).UTC().Format(time.RFC3339))
	require.Equal(t, Date{1}, Of(time.Date(-50, 1, 1, 0, 0, 0, 0, time.UTC), time.UTC))
	require.Equal(t, Date{lastDay}, Of(time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), time.UTC))
}

func TestADayStartsWhenTheZoneSaysSo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := anyDate().Draw(t, "d")
		start := d.Start(Shanghai)
		require.Equal(t, d, Of(start, Shanghai))
		if d != (Date{1}) {
			require.Equal(t, d.AddDays(-1), Of(start.Add(-time.Nanosecond), Shanghai))
		}
	})
}

func TestAddingMonthsStopsAtTheMonthsEnd(t *testing.T) {
	for _, c := range []struct {
		from string
		n    int
		want string
	}{
		{"2026-01-31", 1, "2026-02-28"},
		{"2024-01-31", 1, "2024-02-29"},
		{"2026-03-31", -1, "2026-02-28"},
		{"2026-11-30", 3, "2027-02-28"},
		{"2026-11-21", 6, "2027-05-21"},
		{"2026-01-15", -1, "2025-12-15"},
		{"2024-02-29", 12, "2025-02-28"},
		{"2024-02-29", 48, "2028-02-29"},
		{"9999-12-31", 1, "9999-12-31"},
		{"0001-01-15", -1, "0001-01-01"},
		{"0001-01-15", math.MinInt, "0001-01-01"},
		{"2026-01-15", math.MaxInt, "9999-12-31"},
	} {
		d, err := Parse(c.from)
		require.NoError(t, err)
		require.Equal(t, c.want, d.AddMonths(c.n).String(), "%s%+d", c.from, c.n)
	}
	require.Equal(t, "2027-02-28", Must(2024, time.February, 29).AddYears(3).String())
	require.Equal(t, "9999-12-31", Must(2024, time.February, 29).AddYears(math.MaxInt).String())
}

func TestAddingMonthsMovesTheMonthByExactlyThatMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Date{rapid.Int32Range(500000, 1000000).Draw(t, "day")}
		n := rapid.IntRange(-1200, 1200).Draw(t, "n")
		got := d.AddMonths(n)
		require.Equal(t, n, got.Year()*12+int(got.Month())-d.Year()*12-int(d.Month()))
		require.True(t, got.Day() == d.Day() || (got.Day() < d.Day() && got.AddDays(1).Day() == 1))
	})
}

func TestArithmeticStopsAtTheEndsOfTheRange(t *testing.T) {
	require.Equal(t, Date{lastDay}, Must(2026, time.January, 1).AddDays(math.MaxInt))
	require.Equal(t, Date{1}, Must(2026, time.January, 1).AddDays(math.MinInt))
}

func TestAgeCountsCompletedYears(t *testing.T) {
	for _, c := range []struct {
		born, on string
		want     int
	}{
		{"2008-11-21", "2026-11-20", 17},
		{"2008-11-21", "2026-11-21", 18},
		{"2008-11-21", "2008-11-21", 0},
		{"2008-11-21", "2008-11-20", -1},
		// Born on a leap day: 28 February of a common year is a day short.
		{"2008-02-29", "2026-02-28", 17},
		{"2008-02-29", "2026-03-01", 18},
		{"2008-02-29", "2028-02-28", 19},
		{"2008-02-29", "2028-02-29", 20},
		{"1880-01-01", "2026-11-21", 146},
	} {
		born, err := Parse(c.born)
		require.NoError(t, err)
		on, err := Parse(c.on)
		require.NoError(t, err)
		require.Equal(t, c.want, born.AgeOn(on), "%s on %s", c.born, c.on)
	}
	require.Equal(t, -1, Date{}.AgeOn(Must(2026, 1, 1)))
	require.Equal(t, -1, Must(2026, 1, 1).AgeOn(Date{}))
}

func TestAgeGrowsByOneAYear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		born := Date{rapid.Int32Range(600000, 800000).Draw(t, "born")}
		on := born.AddDays(rapid.IntRange(0, 40000).Draw(t, "days"))
		age := born.AgeOn(on)
		step := born.AgeOn(on.AddDays(1)) - age
		require.Contains(t, []int{0, 1}, step)
		// Reached by walking: as many birthdays as there are first days not before them.
		walked := 0
		for y := born.Year() + 1; y <= on.Year(); y++ {
			birthday, err := New(y, born.Month(), born.Day())
			if err != nil {
				birthday = Must(y, time.March, 1)
			}
			if !birthday.After(on) {
				walked++
			}
		}
		require.Equal(t, walked, age)
	})
}

func TestNoDateStaysNoDate(t *testing.T) {
	var none Date
	require.True(t, none.IsZero())
	require.Equal(t, "", none.String())
	require.Equal(t, none, none.AddDays(3))
	require.Equal(t, none, none.AddMonths(3))
	require.Equal(t, 0, none.Sub(Must(2026, 1, 1)))
	require.Equal(t, -1, none.Compare(Must(1, 1, 1)))
	require.True(t, none.Start(Shanghai).IsZero())
	require.Equal(t, []int{0, 0, 0}, []int{none.Year(), int(none.Month()), none.Day()})
}

func TestADateTravelsThroughJSONAndSQL(t *testing.T) {
	type form struct {
		Born   Date  `json:"born"`
		Signed Date  `json:"signed,omitzero"`
		Seen   *Date `json:"seen"`
	}
	out, err := json.Marshal(form{Born: Must(1990, time.May, 1)})
	require.NoError(t, err)
	require.JSONEq(t, `{"born":"1990-05-01","seen":null}`, string(out))
	var in form
	require.NoError(t, json.Unmarshal([]byte(`{"born":"2026-11-21","signed":"","seen":"2026-11-22"}`), &in))
	require.Equal(t, "2026-11-21", in.Born.String())
	require.True(t, in.Signed.IsZero())
	require.Equal(t, "2026-11-22", in.Seen.String())
	err = json.Unmarshal([]byte(`{"born":"1990-13-01"}`), &in)
	require.ErrorIs(t, err, ErrDate)
	require.NotContains(t, err.Error(), "1990")

	for _, c := range []struct {
		src  any
		want string
	}{
		{nil, ""},
		{"2026-11-21", "2026-11-21"},
		{[]byte("2026-11-21"), "2026-11-21"},
		{time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), "2026-11-21"},
		{time.Date(2026, 11, 21, 0, 0, 0, 0, Shanghai), "2026-11-21"},
	} {
		d := Must(1, 1, 1)
		require.NoError(t, d.Scan(c.src))
		require.Equal(t, c.want, d.String())
	}
	var d Date
	require.ErrorIs(t, d.Scan(20261121), ErrDate)

	v, err := Must(2026, time.November, 21).Value()
	require.NoError(t, err)
	require.Equal(t, driver.Value("2026-11-21"), v)
	v, err = Date{}.Value()
	require.NoError(t, err)
	require.Nil(t, v)
}

func TestPGXCarriesADateInBinary(t *testing.T) {
	m := pgtype.NewMap()
	for _, format := range []int16{pgtype.BinaryFormatCode, pgtype.TextFormatCode} {
		for _, d := range []Date{{}, Must(2026, time.November, 21), Must(1, time.January, 1), Must(9999, time.December, 31), Must(1880, 1, 1)} {
			wire, err := m.Encode(pgtype.DateOID, format, d, nil)
			require.NoError(t, err)
			if format == pgtype.BinaryFormatCode && !d.IsZero() {
				require.Len(t, wire, 4)
			}
			require.Equal(t, d.IsZero(), wire == nil)
			got := Must(2000, 1, 1)
			require.NoError(t, m.Scan(pgtype.DateOID, format, wire, &got))
			require.Equal(t, d, got)
		}
	}
	var d Date
	require.ErrorIs(t, d.ScanDate(pgtype.Date{Valid: true, InfinityModifier: pgtype.Infinity}), ErrDate)
	require.ErrorIs(t, d.ScanDate(pgtype.Date{Valid: true, Time: time.Date(-44, 3, 15, 0, 0, 0, 0, time.UTC)}), ErrDate)
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"2026-11-21", "", "0000-00-00", "9999-12-31", "2024-02-29", "2026-02-29", "２０２６-11-21"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		if err != nil {
			require.True(t, d.IsZero())
			return
		}
		require.Equal(t, strings.TrimSpace(text), d.String())
	})
}
