package web

import (
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// listed is how many lines a page of a list has.
const listed = 50

func newKey() string { return uuid.NewString() }

func (f *Filled) fieldID(path string) string { return "f-" + f.apart + inID.Replace(path) }

// inID makes the path of a field a part of an id.
var inID = strings.NewReplacer("[", "-", "]", "", ".", "-")

// conditions tell the script when a field is asked. Without it every field is there, and what does not apply stays empty.
func conditions(f Field) templ.Attributes {
	if f.When == "" {
		return nil
	}
	return templ.Attributes{"data-when": f.When, "data-is": f.Is}
}

func inputAttributes(f Field) templ.Attributes {
	out := templ.Attributes{}
	if f.Required {
		out["required"] = true
	}
	if f.Max > 0 && f.Input != "number" && f.Input != "select" {
		out["maxlength"] = strconv.Itoa(f.Max)
	}
	if f.Mode != "" {
		out["inputmode"] = f.Mode
	}
	if describes := f.Describes(); describes != "" {
		out["aria-describedby"] = describes
	}
	if len(f.Problems) > 0 {
		out["aria-invalid"] = "true"
	}
	return out
}

// signs stand for tones where colours are not seen.
var signs = map[string]string{"good": "✓", "fair": "◷", "bad": "!", "grave": "‼", "plain": "•", "faint": "○"}

func signOf(tone string) string { return signs[tone] }

// Day writes a day with its weekday: 2026-11-21（周六）, Sat 21 Nov 2026.
func (v *Visit) Day(d calendar.Date) string {
	if d.IsZero() {
		return "—"
	}
	weekday := v.Say("web.weekday_" + strconv.Itoa(int(d.Weekday())))
	if v.Locale == lang.Chinese {
		return d.String() + "（" + weekday + "）"
	}
	return weekday + " " + strconv.Itoa(d.Day()) + " " + d.Month().String()[:3] + " " + strconv.Itoa(d.Year())
}

// Time writes an instant in the office's time, to the minute.
func (v *Visit) Time(t time.Time) string {
	if t.IsZero() {
		return "—"
	}
	return v.Day(calendar.Of(t, registry.Zone)) + " " + t.In(registry.Zone).Format("15:04")
}

// Since tells how long ago an instant was, or how far it is.
func (v *Visit) Since(t time.Time) string {
	away := time.Until(t)
	side := "web.in_"
	if away < 0 {
		side, away = "web.ago_", -away
	}
	switch {
	case away < time.Minute:
		return v.Say("web.now")
	case away < time.Hour:
		return v.Say(side+"minutes", "N", int(away/time.Minute))
	case away < 36*time.Hour:
		return v.Say(side+"hours", "N", int(away/time.Hour))
	default:
		return v.Say(side+"days", "N", int((away+12*time.Hour)/(24*time.Hour)))
	}
}

// Away tells how far a day is from today.
func (v *Visit) Away(d calendar.Date) string {
	n := d.Sub(calendar.Of(time.Now(), registry.Zone))
	switch {
	case n == 0:
		return v.Say("web.today")
	case n > 0:
		return v.Say("web.in_days", "N", n)
	default:
		return v.Say("web.ago_days", "N", -n)
	}
}

// Number writes a number with its thousands apart.
func (v *Visit) Number(n int) string {
	text := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// Region is a region's name, with its province's before it.
func (v *Visit) Region(r identity.Region) string { return regionName(string(r)) }

func regionName(code string) string {
	r := identity.Region(code)
	if code == "" {
		return "—"
	}
	if name := r.FullName(); name != "" {
		return name
	}
	return code
}

func purposeOf(v *Visit) string {
	if v.Actor.Purpose == "" {
		return v.Say("web.purpose_usual")
	}
	return v.Word("Purposes", v.Actor.Purpose)
}

func pressed(is bool) string { return strconv.FormatBool(is) }

// languageName is what its own readers call a language.
func languageName(l lang.Locale) string {
	if l == lang.Chinese {
		return "中文"
	}
	return "English"
}

// entriesOf are the entries of a group of the menu that are for the reader.
func entriesOf(v *Visit, entries []entry) (out []entry) {
	for _, e := range entries {
		if _, there := v.site.known["GET "+e.path]; there && v.MayFor(e.action, e.class, e.purpose) {
			out = append(out, e)
		}
	}
	return out
}

func within(v *Visit, path string) bool {
	return v.r.URL.Path == path || strings.HasPrefix(v.r.URL.Path, path+"/")
}
