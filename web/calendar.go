package web

import (
	"slices"
	"strconv"
	"time"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
)

// calendarPages are the working days of a year in a region, and what a day would move that is declared otherwise.
func (s *Site) calendarPages() {
	s.page("GET /admin/calendar", s.workingYear)
	s.page("GET /admin/calendar/day", s.calendarDay)
	s.act("POST /admin/calendar/preview", s.previewDay)
	s.act("POST /admin/calendar", s.setDay)
	s.act("POST /admin/calendar/remove", s.removeDay)
}

// shownDay is a day of the calendar as it holds.
type shownDay struct {
	Date    calendar.Date
	Working bool
	Said    *registry.CalendarDay // what is declared about it, nil for a day like its weekday
}

// yearShown is a year in a region.
type yearShown struct {
	year   int
	region identity.Region
	months [12][]shownDay
	said   []registry.CalendarDay
	today  calendar.Date
	writes bool
	free   int  // working days that are free …
	made   int  // … and free days that are worked
	bare   bool // the country's notice for the year is not known
	wrong  string
}

// nearer tells whether what a region declares counts before what another does: the country's notice counts least.
func nearer(one, other registry.CalendarDay) bool {
	if one.Region == "" || other.Region == "" {
		return one.Region != ""
	}
	return len(one.Region.Ancestors()) > len(other.Region.Ancestors())
}

func (s *Site) workingYear(v *Visit) (Answer, error) {
	y := yearShown{year: v.QueryInt("year"), region: identity.Region(v.Query("region")), today: calendar.Of(time.Now(), registry.Zone), writes: v.May(policy.Write, policy.Organisation)}
	if y.year < 2001 || y.year > 2100 {
		y.year = y.today.Year()
	}
	said, err := s.store.CalendarDays(v, v.Actor, y.region, y.year)
	if registry.KindOf(err) == registry.Invalid {
		y.region, y.wrong = "", v.Say("admin.region_unknown")
		said, err = s.store.CalendarDays(v, v.Actor, y.region, y.year)
	}
	if err != nil {
		return nil, err
	}
	y.said, y.bare = said, !slices.ContainsFunc(said, func(d registry.CalendarDay) bool { return d.Region == "" })
	holds := map[calendar.Date]registry.CalendarDay{}
	for _, d := range said {
		if known, there := holds[d.Day]; !there || nearer(d, known) {
			holds[d.Day] = d
		}
	}
	last := calendar.Must(y.year, time.December, 31)
	for d := calendar.Must(y.year, time.January, 1); !d.After(last); d = d.AddDays(1) {
		day := shownDay{Date: d, Working: d.Weekday() != time.Saturday && d.Weekday() != time.Sunday}
		if one, there := holds[d]; there {
			switch {
			case day.Working && !one.Working:
				y.free++
			case !day.Working && one.Working:
				y.made++
			}
			day.Working, day.Said = one.Working, &one
		}
		month := int(d.Month()) - 1
		y.months[month] = append(y.months[month], day)
	}
	return v.Page("page.calendar", calendarPage(v, y), "Year", y.year), nil
}

// weeks are the days of a month in rows that begin on Monday; nil where a row has no day.
func weeks(month []shownDay) (out [][]*shownDay) {
	row := make([]*shownDay, 7)
	for i := range month {
		at := (int(month[i].Date.Weekday()) + 6) % 7
		if at == 0 && i > 0 {
			out, row = append(out, row), make([]*shownDay, 7)
		}
		row[at] = &month[i]
	}
	return append(out, row)
}

func dayPath(d calendar.Date, region identity.Region) string {
	out := "/admin/calendar/day?day=" + d.String()
	if region != "" {
		out += "&region=" + string(region)
	}
	return out
}

// dayShown is a day and the form that declares it otherwise.
type dayShown struct {
	day     registry.CalendarDay // as the region itself declared it; version 0 when it did not
	form    *Filled
	effect  *registry.CalendarEffect
	removes bool // the effect is that of taking the day back
	year    int
}

func (s *Site) calendarDay(v *Visit) (Answer, error) {
	if !v.May(policy.Write, policy.Organisation) {
		return nil, registry.NewError(registry.Denied, "denied", map[string]any{"Action": string(policy.Write), "Class": string(policy.Organisation)})
	}
	day, err := calendar.Parse(v.Query("day"))
	if err != nil {
		day = calendar.Of(time.Now(), registry.Zone).AddDays(1)
	}
	region := identity.Region(v.Query("region"))
	if region == "" {
		region = heldRegion(v)
	}
	d, err := s.declared(v, region, day)
	if err != nil {
		return nil, err
	}
	start := registry.CalendarDayForm{Region: region, Day: day, Name: d.Name, Source: d.Source}
	return s.dayAgain(v, dayShown{day: d, form: Blank(v, start).Set("working", strconv.FormatBool(d.Working))})
}

// heldRegion is where the reader's first role holds: what a form about a region begins with.
func heldRegion(v *Visit) identity.Region {
	for _, g := range v.abilities().Held() {
		return identity.Region(g.Region)
	}
	return ""
}

// declared is what a region itself says about a day; version 0 when it says nothing.
func (s *Site) declared(v *Visit, region identity.Region, day calendar.Date) (registry.CalendarDay, error) {
	list, err := s.store.CalendarDays(v, v.Actor, region, day.Year())
	if err != nil {
		return registry.CalendarDay{}, err
	}
	for _, d := range list {
		if d.Day == day && d.Region == region {
			return d, nil
		}
	}
	return registry.CalendarDay{Region: region, Day: day}, nil
}

func (s *Site) dayAgain(v *Visit, d dayShown) (Answer, error) {
	d.year = d.day.Day.Year()
	d.form.Choose("working", []Option{
		{Value: "false", Label: v.Say("calendar.free"), Hint: v.Say("calendar.free_hint")}, {Value: "true", Label: v.Say("calendar.worked"), Hint: v.Say("calendar.worked_hint")},
	})
	d.form.Call("region", v.Say("admin.region")).Hint("region", v.Say("calendar.region_hint")).Call("name", v.Say("calendar.name")).Hint("name", v.Say("calendar.name_hint")).Hint("source", v.Say("calendar.source_hint")).Call("day", v.Say("calendar.day"))
	return v.Page("page.calendar_day", calendarDayPage(v, d)), nil
}

// sentDay reads the form of a day, with what its region says about it so far.
func (s *Site) sentDay(v *Visit) (registry.CalendarDayForm, dayShown, error) {
	f, filled := Read[registry.CalendarDayForm](v)
	d := dayShown{form: filled, day: registry.CalendarDay{Region: f.Region, Day: f.Day}}
	if f.Region.Known() && !f.Day.IsZero() {
		said, err := s.declared(v, f.Region, f.Day)
		if err != nil {
			return f, d, err
		}
		d.day = said
	}
	return f, d, nil
}

func (s *Site) previewDay(v *Visit) (Answer, error) {
	f, d, err := s.sentDay(v)
	if err != nil {
		return nil, err
	}
	if d.removes = v.Field("remove") != ""; d.removes || d.form.Good() {
		effect, err := s.store.PreviewCalendarDay(v, v.Actor, f, d.removes)
		if err == nil {
			v.refused, d.effect = false, &effect
			if d.removes {
				d.form = Blank(v, registry.CalendarDayForm{Region: d.day.Region, Day: d.day.Day, Name: d.day.Name, Source: d.day.Source}).Set("working", strconv.FormatBool(d.day.Working))
			}
		} else if !d.form.Takes(err) {
			return nil, err
		}
	}
	return s.dayAgain(v, d)
}

func (s *Site) setDay(v *Visit) (Answer, error) {
	f, d, err := s.sentDay(v)
	if err != nil {
		return nil, err
	}
	if d.form.Good() {
		version := d.day.Version
		if v.Field("version") != "" && v.Field("was") == f.Day.String()+string(f.Region) {
			version = v.FieldInt("version") // the day is the one that was read
		}
		_, err := s.store.SetCalendarDay(v, v.Actor, version, f)
		if err == nil {
			return v.To("/admin/calendar?year="+strconv.Itoa(f.Day.Year())+"&region="+string(f.Region), "said.day_set"), nil
		}
		if !d.form.Takes(err) {
			return nil, err
		}
	}
	return s.dayAgain(v, d)
}

func (s *Site) removeDay(v *Visit) (Answer, error) {
	day, err := calendar.Parse(v.Field("day"))
	if err != nil {
		return nil, registry.NewError(registry.Refused, "request_invalid", nil)
	}
	region := identity.Region(v.Field("region"))
	if err := s.store.RemoveCalendarDay(v, v.Actor, v.FieldInt("version"), region, day); err != nil {
		return nil, err
	}
	return v.To("/admin/calendar?year="+strconv.Itoa(day.Year())+"&region="+string(region), "said.day_removed"), nil
}

// monthSays and weekdaySays are the names of the sentences of the months, and of the days of the week from Sunday on.
var (
	monthSays = [12]string{
		"calendar.month_1", "calendar.month_2", "calendar.month_3", "calendar.month_4", "calendar.month_5", "calendar.month_6",
		"calendar.month_7", "calendar.month_8", "calendar.month_9", "calendar.month_10", "calendar.month_11", "calendar.month_12",
	}
	weekdaySays = [7]string{"calendar.weekday_0", "calendar.weekday_1", "calendar.weekday_2", "calendar.weekday_3", "calendar.weekday_4", "calendar.weekday_5", "calendar.weekday_6"}
)
