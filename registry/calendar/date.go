// Package calendar counts days: dates without a clock time, and the working days on which an office answers.
//
// It guarantees that a Date is always a real day of the Gregorian calendar or no date at all, that a Calendar never
// changes once built, and that counting working days forth and back agrees: every date that rests on a year whose
// holidays are not yet published is known as provisional. It reads no clock and no file outside the binary.
package calendar

import (
	"cmp"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// ErrDate says that a text or a triple of numbers is no day. It never repeats what was given: a date of birth is
// personal data.
var ErrDate = errors.New("calendar: not a day: write it as 2006-01-02, from year 0001 to 9999")

// Shanghai is the time of the office: UTC+8, the legal time of the whole country.
//
// It is a fixed offset and not the zone Asia/Shanghai: the offset has not moved since summer time ended in 1991, every
// instant that the register keeps is later, and a deadline must not depend on which zone database a machine carries.
var Shanghai = time.FixedZone("UTC+8", 8*60*60)

// Date is a day of the Gregorian calendar from 0001-01-01 to 9999-12-31, without time or zone. The zero value is no date.
// Dates compare with ==. Arithmetic that would leave the range stops at its first or last day.
type Date struct {
	// n numbers the days: 1 is 0001-01-01, a Monday.
	n int32
}

const (
	lastDay  = 3652059 // 9999-12-31
	unixZero = 719163  // 1970-01-01
)

// New is the day d of month m of year y. The error is ErrDate when there is no such day.
func New(y int, m time.Month, d int) (Date, error) {
	if y < 1 || y > 9999 || m < time.January || m > time.December || d < 1 || d > daysIn(y, m) {
		return Date{}, ErrDate
	}
	return civil(y, m, d), nil
}

// Must is New for days known when the program is written. It panics when there is no such day.
func Must(y int, m time.Month, d int) Date {
	date, err := New(y, m, d)
	if err != nil {
		panic(err)
	}
	return date
}

// Parse reads "2006-01-02". The error is ErrDate.
func Parse(text string) (Date, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return Date{}, ErrDate
	}
	return New(t.Year(), t.Month(), t.Day())
}

// Of is the day that clocks in loc show at t.
func Of(t time.Time, loc *time.Location) Date {
	y, m, d := t.In(loc).Date()
	return clamp(int64(y), int64(m), d)
}

func civil(y int, m time.Month, d int) Date {
	return Date{int32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix()/86400 + unixZero)}
}

// clamp keeps a year outside the range at the range's first or last day.
func clamp(y, m int64, d int) Date {
	switch {
	case y < 1:
		return Date{1}
	case y > 9999:
		return Date{lastDay}
	}
	return civil(int(y), time.Month(m), d)
}

func daysIn(y int, m time.Month) int {
	return time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func (d Date) civil() (int, time.Month, int) {
	if d.n == 0 {
		return 0, 0, 0
	}
	return time.Unix((int64(d.n)-unixZero)*86400, 0).UTC().Date()
}

// IsZero says that d is no date.
func (d Date) IsZero() bool { return d.n == 0 }

// Year is the year, 0 for no date.
func (d Date) Year() int { y, _, _ := d.civil(); return y }

// Month is the month, 0 for no date.
func (d Date) Month() time.Month { _, m, _ := d.civil(); return m }

// Day is the day of the month, 0 for no date.
func (d Date) Day() int { _, _, day := d.civil(); return day }

// Weekday is the day of the week. No date counts as a Sunday.
func (d Date) Weekday() time.Weekday { return time.Weekday(d.n % 7) }

// String is "2006-01-02", or "" for no date.
func (d Date) String() string {
	if d.n == 0 {
		return ""
	}
	y, m, day := d.civil()
	// By hand: a sheet's rows are checked and sealed by their dates' texts, and fmt was a tenth of that.
	return string([]byte{
		byte('0' + y/1000), byte('0' + y/100%10), byte('0' + y/10%10), byte('0' + y%10), '-',
		byte('0' + m/10), byte('0' + m%10), '-', byte('0' + day/10), byte('0' + day%10),
	})
}

// Compare is -1, 0 or +1 as d lies before, on or after other. No date lies before every date.
func (d Date) Compare(other Date) int { return cmp.Compare(d.n, other.n) }

// Before says that d lies before other.
func (d Date) Before(other Date) bool { return d.n < other.n }

// After says that d lies after other.
func (d Date) After(other Date) bool { return d.n > other.n }

// AddDays is n days later, or earlier when n is negative. No date stays no date.
func (d Date) AddDays(n int) Date {
	if d.n == 0 {
		return d
	}
	n = min(max(n, -lastDay), lastDay)
	return Date{int32(min(max(int64(d.n)+int64(n), 1), lastDay))}
}

// AddMonths is the same day n months later. A month without that day gives its last day (Civil Code, article 202).
func (d Date) AddMonths(n int) Date {
	if d.n == 0 {
		return d
	}
	const all = 12 * 10000
	y, m, day := d.civil()
	months := int64(y)*12 + int64(m) - 1 + int64(min(max(n, -all), all))
	if months < 12 {
		return Date{1}
	}
	year, month := months/12, months%12+1
	if year <= 9999 {
		day = min(day, daysIn(int(year), time.Month(month)))
	}
	return clamp(year, month, day)
}

// AddYears is AddMonths by twelve: from 29 February it gives 28 February in a common year. Ask AgeOn, not AddYears,
// whether someone has reached an age.
func (d Date) AddYears(n int) Date { return d.AddMonths(min(max(n, -10000), 10000) * 12) }

// Sub is the number of days from other to d: negative when d lies before. It is 0 when either is no date.
func (d Date) Sub(other Date) int {
	if d.n == 0 || other.n == 0 {
		return 0
	}
	return int(d.n) - int(other.n)
}

// AgeOn is the whole years that someone born on d has completed on day: a birthday counts from its first minute. It is
// -1 when day lies before d, or when either is no date.
//
// Someone born on 29 February completes a year on 1 March of a common year. A term of years that has no matching day
// ends with the last day of the month (Civil Code, article 202), here 28 February, so it is complete on the day after. No
// rule says whether 28 February itself would do; the later day is the careful one where an age opens a door.
func (d Date) AgeOn(day Date) int {
	if d.n == 0 || day.Before(d) {
		return -1
	}
	by, bm, bd := d.civil()
	y, m, dd := day.civil()
	age := y - by
	if m < bm || (m == bm && dd < bd) {
		age--
	}
	return age
}

// Start is the first instant of the day in loc: what a deadline "by the end of the day before" compares with. No date
// gives the zero time.
func (d Date) Start(loc *time.Location) time.Time {
	if d.n == 0 {
		return time.Time{}
	}
	y, m, day := d.civil()
	return time.Date(y, m, day, 0, 0, 0, 0, loc)
}

// MarshalText writes "2006-01-02", and "" for no date.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes. The error is ErrDate.
func (d *Date) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = Date{}
		return nil
	}
	date, err := Parse(string(text))
	if err != nil {
		return err
	}
	*d = date
	return nil
}

// Value gives database/sql the text "2006-01-02", NULL for no date: a text holds no instant that a driver could move
// into another zone.
func (d Date) Value() (driver.Value, error) {
	if d.n == 0 {
		return nil, nil
	}
	return d.String(), nil
}

// Scan reads a date column through database/sql: NULL is no date.
func (d *Date) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*d = Date{}
		return nil
	case time.Time:
		// Drivers give a date as midnight in a zone of their own choice: the day is what that zone shows.
		*d = Of(v, v.Location())
		return nil
	case string:
		return d.UnmarshalText([]byte(v))
	case []byte:
		return d.UnmarshalText(v)
	}
	return fmt.Errorf("%w: cannot read a %T", ErrDate, src)
}

// DateValue lets pgx write the date in PostgreSQL's binary form, COPY included.
func (d Date) DateValue() (pgtype.Date, error) {
	if d.n == 0 {
		return pgtype.Date{}, nil
	}
	return pgtype.Date{Time: d.Start(time.UTC), Valid: true}, nil
}

// ScanDate lets pgx read a date column. PostgreSQL's infinite dates are refused.
func (d *Date) ScanDate(v pgtype.Date) error {
	switch {
	case !v.Valid:
		*d = Date{}
	case v.InfinityModifier != pgtype.Finite:
		return fmt.Errorf("%w: cannot read an infinite date", ErrDate)
	default:
		date, err := New(v.Time.Year(), v.Time.Month(), v.Time.Day())
		if err != nil {
			return err
		}
		*d = date
	}
	return nil
}
