package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/liferelay/liferelay/registry/calendar"
)

// Unit is what a rule's value counts.
type Unit string

// The units of the packs.
const (
	Minutes     Unit = "min"
	Hours       Unit = "h"
	Days        Unit = "d"
	WorkingDays Unit = "wd" // of the region's calendar
	Months      Unit = "mo"
	Years       Unit = "y"
	Count       Unit = ""
	Millilitres Unit = "ml"
	CellsPerKg  Unit = "e6/kg" // millions of CD34+ cells per kilogram of the patient
	Celsius     Unit = "C"
	ClockTime   Unit = "clock" // minutes since midnight, written 17:00
)

// Value is one number of a rule with its unit: "5 wd", "2.0 e6/kg", "17:00".
type Value struct {
	Amount float64
	Unit   Unit
}

// ParseValue reads a value as the packs write it.
func ParseValue(text string) (Value, error) {
	text = strings.TrimSpace(text)
	if at, err := time.Parse("15:04", text); err == nil {
		return Value{float64(at.Hour()*60 + at.Minute()), ClockTime}, nil
	}
	number, unit, _ := strings.Cut(text, " ")
	amount, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return Value{}, fmt.Errorf("rules: %q is not a value such as \"5 wd\"", text)
	}
	switch u := Unit(strings.TrimSpace(unit)); u {
	case Minutes, Hours, Days, WorkingDays, Months, Years, Count, Millilitres, CellsPerKg, Celsius:
		return Value{amount, u}, nil
	default:
		return Value{}, fmt.Errorf("rules: %q has an unknown unit", text)
	}
}

func (v Value) String() string {
	if v.Unit == ClockTime {
		return fmt.Sprintf("%02d:%02d", int(v.Amount)/60, int(v.Amount)%60)
	}
	return strings.TrimSpace(strconv.FormatFloat(v.Amount, 'f', -1, 64) + " " + string(v.Unit))
}

// Span is a length of time in the unit that a rule states it in; months and years have no fixed length.
type Span struct {
	N    int
	Unit Unit
}

func (s Span) String() string { return strconv.Itoa(s.N) + " " + string(s.Unit) }

// On returns the day that lies a span after a day. The day itself is not counted: "5 wd" after a Monday without
// holidays is the next Monday. A negative span counts backwards. Hours stay within the day.
func (s Span) On(day calendar.Date, cal *calendar.Calendar) calendar.Date {
	switch s.Unit {
	case Days:
		return day.AddDays(s.N)
	case WorkingDays:
		return cal.AddWorkingDays(day, s.N)
	case Months:
		return day.AddMonths(s.N)
	case Years:
		return day.AddYears(s.N)
	default:
		return day
	}
}

// After returns the instant at which a span that began at from has passed: to the hour for hours, at the office's
// closing time on a working day, and at the end of the day (local midnight) for every other unit.
func (s Span) After(from time.Time, cal *calendar.Calendar, zone *time.Location, closing Value) time.Time {
	if s.Unit == Hours {
		return from.Add(time.Duration(s.N) * time.Hour)
	}
	day := s.On(calendar.Of(from, zone), cal)
	if s.Unit == WorkingDays {
		return day.Start(zone).Add(time.Duration(closing.Amount) * time.Minute)
	}
	return day.AddDays(1).Start(zone)
}

// Hours is the length of a span in hours or days; spans of other units have no fixed length and give zero.
func (s Span) Hours() int {
	switch s.Unit {
	case Hours:
		return s.N
	case Days:
		return 24 * s.N
	default:
		return 0
	}
}
