package rules

import (
	"github.com/liferelay/liferelay/registry/calendar"
)

// Programme is what a person registers to give.
type Programme string

// The programmes of the register.
const (
	StemCell Programme = "stemcell"
	Blood    Programme = "blood"
	Organ    Programme = "organ"
	Cornea   Programme = "cornea"
	Body     Programme = "body"
)

// Programmes lists them in the order in which people read them.
func Programmes() []Programme { return []Programme{StemCell, Blood, Organ, Cornea, Body} }

// Intent is which way a person decides about a programme.
type Intent string

// A wish gives; a refusal is recorded as such and nobody may override it (decree 767 Art 9).
const (
	Wish    Intent = "wish"
	Refusal Intent = "refusal"
)

// AgeWindow is the youngest and the oldest age, in whole years, at which a person may register; a zero Max is no limit.
type AgeWindow struct {
	Min, Max int
	Source   string
}

var ageKeys = map[Programme]struct{ min, max Key }{
	StemCell: {StemCellAgeMin, StemCellAgeMax},
	Blood:    {BloodAgeMin, BloodAgeMax},
	Organ:    {OrganAgeMin, ""},
	Cornea:   {CorneaAgeMin, ""},
	Body:     {BodyAgeMin, ""},
}

// Ages returns the ages at which a person may register for a programme.
func (r Rules) Ages(p Programme) AgeWindow {
	keys := ageKeys[p]
	w := AgeWindow{Min: r.Count(keys.min), Source: r.Source(keys.min)}
	if keys.max != "" {
		w.Max = r.Count(keys.max)
	}
	return w
}

// Admits tells whether somebody born on a day may register on another. The oldest age counts through the day before
// the next birthday, as 18-45 周岁 does.
func (w AgeWindow) Admits(birth, on calendar.Date) bool {
	age := birth.AgeOn(on)
	return age >= w.Min && (w.Max == 0 || age <= w.Max)
}
