package calendar

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"
)

// Override says that one day is worked or free, whatever the day of the week.
type Override struct {
	Date    Date
	Working bool
	Name    string // Chinese, for people: 春节, 春节调休上班
	English string
}

// Calendar knows which days are worked. Where no row says otherwise Monday to Friday are worked. It never changes: With
// gives a new one. It is safe for use by many goroutines.
type Calendar struct {
	rows    map[Date]row
	settled map[int]bool // years whose holidays were published
	// The rows that differ from the plain week, in order, and how much they change the count of worked days up to each.
	days   []int32
	change []int
}

type row struct {
	Override
	provisional bool
}

// FromRows builds a calendar from rows alone, over a plain week. Of two rows for one day the later wins; rows without a
// date are ignored. Every other day is provisional.
func FromRows(rows ...Override) *Calendar {
	return (&Calendar{}).With(rows...)
}

// With is c with rows laid over it, as the registry does with the days an office declared. A day so declared is no longer
// provisional.
func (c *Calendar) With(rows ...Override) *Calendar {
	layered := maps.Clone(c.rows)
	if layered == nil {
		layered = make(map[Date]row, len(rows))
	}
	for _, o := range rows {
		if !o.Date.IsZero() {
			layered[o.Date] = row{Override: o}
		}
	}
	return build(layered, c.settled)
}

func build(rows map[Date]row, settled map[int]bool) *Calendar {
	c := &Calendar{rows: rows, settled: settled}
	for d, r := range rows {
		if r.Working != weekday(d) {
			c.days = append(c.days, d.n)
		}
	}
	slices.Sort(c.days)
	sum := 0
	for _, n := range c.days {
		if rows[Date{n}].Working {
			sum++
		} else {
			sum--
		}
		c.change = append(c.change, sum)
	}
	return c
}

func weekday(d Date) bool {
	w := d.Weekday()
	return w != time.Saturday && w != time.Sunday
}

// Lookup is the row that decides about d, if one does.
func (c *Calendar) Lookup(d Date) (Override, bool) {
	r, ok := c.rows[d]
	return r.Override, ok
}

// IsWorkingDay says that d is worked. No date is not.
func (c *Calendar) IsWorkingDay(d Date) bool {
	if r, ok := c.rows[d]; ok {
		return r.Working
	}
	return !d.IsZero() && weekday(d)
}

// Provisional says that d may still change: no published notice and no override has settled it. The last week of December
// waits for the notice of the next year as well, which may take days from it for New Year (that of 2019 made Saturday
// 2018-12-29 a working day).
func (c *Calendar) Provisional(d Date) bool {
	if r, ok := c.rows[d]; ok && !r.provisional {
		return false
	}
	return !c.settled[d.Year()] || !c.settled[d.AddDays(7).Year()]
}

// AddWorkingDays is the nth working day after d. The day d itself is not counted, worked or free: the first working
// day after it is day 1 (Civil Code, article 201). A negative n counts working days before d in the same way. With n = 0
// it is d itself when d is worked, and otherwise the next working day. Counting stops at the first and last Date; no
// date stays no date.
func (c *Calendar) AddWorkingDays(d Date, n int) Date {
	if d.IsZero() || (n == 0 && c.IsWorkingDay(d)) {
		return d
	}
	n = min(max(n, -lastDay), lastDay)
	rank := c.worked(d.n) + n // the place of the wanted day among all working days
	switch {
	case n == 0:
		rank++
	case n < 0:
		rank = c.worked(d.n-1) + n + 1
	}
	if rank < 1 {
		return Date{1}
	}
	i := sort.Search(lastDay, func(i int) bool { return c.worked(int32(i)) >= rank })
	return Date{int32(min(i, lastDay))}
}

// WorkingDaysBetween is the number of working days after a, up to and with b. When b lies before a it is negative: the
// working days from b on, before a. So AddWorkingDays(a, WorkingDaysBetween(a, b)) is b for every working day b. It is
// 0 when either is no date.
func (c *Calendar) WorkingDaysBetween(a, b Date) int {
	switch {
	case a.IsZero() || b.IsZero():
		return 0
	case b.Before(a):
		return c.worked(b.n-1) - c.worked(a.n-1)
	}
	return c.worked(b.n) - c.worked(a.n)
}

// worked counts the working days from day 1 up to and with day n.
func (c *Calendar) worked(n int32) int {
	count := int(n)/7*5 + min(int(n)%7, 5)
	if i := sort.Search(len(c.days), func(i int) bool { return c.days[i] > n }); i > 0 {
		count += c.change[i-1]
	}
	return count
}

// RegionError says that no calendar is built in for a region. Build one with FromRows.
type RegionError struct{ Region string }

func (e *RegionError) Error() string {
	return fmt.Sprintf("calendar: no calendar is built in for region %q; build one with FromRows", e.Region)
}
