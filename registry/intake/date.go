package intake

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/liferelay/liferelay/registry/calendar"
)

var (
	yearFirst = regexp.MustCompile(`^(\d{4})([-/.])(\d{1,2})([-/.])(\d{1,2})$`)
	compact   = regexp.MustCompile(`^(\d{4})(\d{2})(\d{2})$`)
	chinese   = regexp.MustCompile(`^(\d{4}) ?年 ?(\d{1,2}) ?月 ?(\d{1,2}) ?[日号]?$`)
	yearLast  = regexp.MustCompile(`^(\d{1,2})([-/.])(\d{1,2})([-/.])(\d{4})$`)
	clockTime = regexp.MustCompile(`[ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?$`)
)

// readDate reads a day as people write it: 2026-11-21, 2026/11/21, 2026.11.21, 20261121, 2026年11月21日, each also with a
// clock time behind it, and 21/11/2026 where the first number cannot be a month. It refuses what could be two days.
func readDate(text string) (calendar.Date, bool) {
	if date, err := calendar.Parse(text); err == nil { // what most cells are
		return date, date.Year() >= firstYear
	}
	if strings.ContainsRune(text, ':') {
		text = clockTime.ReplaceAllString(text, "")
	}
	if m := yearFirst.FindStringSubmatch(text); m != nil {
		return day(m[1], m[3], m[5], m[2] == m[4])
	}
	if m := compact.FindStringSubmatch(text); m != nil {
		return day(m[1], m[2], m[3], true)
	}
	if m := chinese.FindStringSubmatch(text); m != nil {
		return day(m[1], m[2], m[3], true)
	}
	if m := yearLast.FindStringSubmatch(text); m != nil {
		first, _ := strconv.Atoi(m[1])
		second, _ := strconv.Atoi(m[3])
		switch {
		case first > 12 || first == second:
			return day(m[5], m[3], m[1], m[2] == m[4])
		case second > 12:
			return day(m[5], m[1], m[3], m[2] == m[4])
		}
	}
	return calendar.Date{}, false
}

// Years before this one are slips of the pen in anything that people sign.
const firstYear = 1880

// day is a day whose parts were written alike.
func day(year, month, dayOfMonth string, alike bool) (calendar.Date, bool) {
	y, _ := strconv.Atoi(year)
	m, _ := strconv.Atoi(month)
	d, _ := strconv.Atoi(dayOfMonth)
	date, err := calendar.New(y, time.Month(m), d)
	return date, alike && err == nil && y >= firstYear
}

// Spreadsheets number the days from 1900-01-01 as 1 and believe that 1900-02-29 existed, or from 1904-01-01 as 0.
var (
	epoch1900 = calendar.Must(1899, time.December, 30)
	epoch1904 = calendar.Must(1904, time.January, 1)
)

// lastSerial is 9999-12-31 in the system of 1900.
const lastSerial = 2958465

// serialDay is the day that a serial number means.
func serialDay(serial float64, from1904 bool) (calendar.Date, bool) {
	n := int(serial)
	switch {
	case serial < 0 || serial > lastSerial:
		return calendar.Date{}, false
	case from1904:
		date := epoch1904.AddDays(n)
		return date, true
	case n < 1 || n == 60: // 0 is a bare clock time, 60 the day that never was
		return calendar.Date{}, false
	case n < 60:
		return epoch1900.AddDays(n + 1), true
	}
	return epoch1900.AddDays(n), true
}

// A number in a column of dates whose cells are not formatted as dates is taken for a serial number only from 10000 on,
// which is in 1927 or 1931: below lie years.
const plainSerial = 10000

// isDateFormat tells whether a number format shows a day: it has y, d or a month outside of quotes and brackets.
func isDateFormat(code string) bool {
	code, _, _ = strings.Cut(code, ";")
	if strings.Contains(strings.ToLower(code), "general") {
		return false
	}
	var quoted, bracket, escaped bool
	for _, r := range code {
		switch {
		case escaped:
			escaped = false
		case quoted:
			quoted = r != '"'
		case bracket:
			bracket = r != ']'
		case r == '"':
			quoted = true
		case r == '[':
			bracket = true
		case r == '\\', r == '_', r == '*':
			escaped = true
		case strings.ContainsRune("yYdDeE年月日", r):
			return true
		case strings.ContainsRune("0#?", r):
			return false
		}
	}
	return false
}

// builtInDate tells whether one of the formats that files do not spell out shows a day (ECMA-376 part 1, 18.8.30,
// with those of the Chinese editions).
func builtInDate(id int) bool {
	switch {
	case 14 <= id && id <= 17, id == 22, 27 <= id && id <= 31, id == 36, 50 <= id && id <= 54, id == 57, id == 58:
		return true
	}
	return false
}

// Day reads a day as people write it into a search box: see readDate.
func Day(text string) (calendar.Date, bool) { return readDate(text) }
