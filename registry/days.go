package registry

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
)

// The days that a region declares worked or free, over the calendar of the country that is shipped. They count for deadlines that are counted from then
// on. A task that was asked keeps its deadline, for its reminders are under way and its case waits for it: the preview says of how many that is so.

// CalendarDay is a day that is otherwise than its day of the week.
type CalendarDay struct {
	Region    identity.Region `json:"region" doc:"Which declared it. Empty for the country's own, from the notice of its year." class:"organisation" mask:"drop"`
	Day       calendar.Date   `json:"day" class:"organisation" mask:"drop"`
	Working   bool            `json:"working" class:"organisation" mask:"drop"`
	Name      string          `json:"name" class:"organisation" mask:"drop"`
	Source    string          `json:"source,omitempty" doc:"The notice that says so." class:"organisation" mask:"drop"`
	ChangedBy string          `json:"changed_by,omitempty" class:"organisation" mask:"drop"`
	ChangedAt *time.Time      `json:"changed_at,omitempty" class:"organisation" mask:"drop"`
	Version   int64           `json:"version" class:"open" mask:"none"`
}

const calendarDayColumns = `region, day, working, name, source, changed_by, changed_at, version`

// CalendarDays returns the days of a year that are otherwise than their day of the week in a region, in their order: the country's, and what the
// region and those above it declared.
func (r *Reader) CalendarDays(ctx context.Context, actor Actor, region identity.Region, year int) ([]CalendarDay, error) {
	var out []CalendarDay
	err := r.act(ctx, actor, "CalendarDays", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if region, err = a.placeOf(region); err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Organisation, record{kind: "organisations", id: "calendar", region: region}); err != nil {
			return err
		}
		first, last := calendar.Must(year, time.January, 1), calendar.Must(year, time.December, 31)
		base, err := calendar.Embedded("CN")
		if err != nil {
			return err
		}
		out = []CalendarDay{}
		for d := first; !d.After(last); d = d.AddDays(1) {
			if o, is := base.Lookup(d); is {
				name := o.Name
				if a.actor.Locale != "zh-CN" && o.English != "" {
					name = o.English
				}
				out = append(out, CalendarDay{Day: d, Working: o.Working, Name: name})
			}
		}
		rows, err := a.Query(ctx, `SELECT `+calendarDayColumns+` FROM calendar_days WHERE region = ANY($1) AND day BETWEEN $2 AND $3`, regionPath(region), first, last)
		if err != nil {
			return err
		}
		own, err := pgx.CollectRows(rows, pgx.RowToStructByPos[CalendarDay])
		if err != nil {
			return err
		}
		out = append(out, own...)
		slices.SortStableFunc(out, func(x, y CalendarDay) int { return x.Day.Compare(y.Day) })
		return nil
	})
	return out, err
}

// CalendarDayForm declares a day worked or free in a region.
type CalendarDayForm struct {
	Region  identity.Region `json:"region" validate:"required,region"`
	Day     calendar.Date   `json:"day" validate:"required"`
	Working bool            `json:"working,omitempty" doc:"Worked; free when left out."`
	Name    string          `json:"name" validate:"required,max=60" doc:"Such as the festival."`
	Source  string          `json:"source" validate:"required,max=200" doc:"The notice that says so."`
}

// CalendarEffect is what a day that is declared, or taken back, would change of what is being counted.
type CalendarEffect struct {
	Tasks   int          `json:"tasks" doc:"Tasks that wait, whose working days lie over the day. They keep the deadline that they were asked with." class:"organisation" mask:"drop"`
	Earlier int          `json:"earlier" doc:"How many of them would be due earlier if they were asked anew." class:"organisation" mask:"drop"`
	Later   int          `json:"later" class:"organisation" mask:"drop"`
	Steps   []StepEffect `json:"steps" class:"organisation" mask:"drop"`
}

// StepEffect is CalendarEffect for one step.
type StepEffect struct {
	Step  string        `json:"step" class:"organisation" mask:"drop"`
	Title string        `json:"title" class:"organisation" mask:"drop"`
	Tasks int           `json:"tasks" class:"organisation" mask:"drop"`
	Due   calendar.Date `json:"due" doc:"The first day on which one of them is due …" class:"organisation" mask:"drop"`
	Would calendar.Date `json:"would" doc:"… and on which it would be." class:"organisation" mask:"drop"`
}

func (f CalendarDayForm) check(today calendar.Date) error {
	problems := forms.Check(f)
	if len(problems) == 0 && f.Day.Before(today) {
		problems = append(problems, forms.Problem{Code: "R139", Field: "day"})
	}
	if len(problems) > 0 {
		return invalid(problems)
	}
	return nil
}

// PreviewCalendarDay tells what a day would change of what is being counted. Nothing is kept. remove previews that a declared day is taken back.
func (r *Reader) PreviewCalendarDay(ctx context.Context, actor Actor, f CalendarDayForm, remove bool) (CalendarEffect, error) {
	var out CalendarEffect
	err := r.act(ctx, actor, "PreviewCalendarDay", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Organisation, record{kind: "organisations", id: "calendar", region: f.Region}); err != nil {
			return err
		}
		if remove && f.Name == "" {
			f.Name, f.Source = "-", "-"
		}
		if err := f.check(a.today()); err != nil {
			return err
		}
		var err error
		out, err = a.calendarEffect(ctx, f, remove)
		return err
	})
	return out, err
}

// localDays are the days that regions declared.
type localDays map[identity.Region][]calendar.Override

func (a *act) localDays(ctx context.Context) (localDays, error) {
	rows, err := a.Query(ctx, `SELECT region, day, working, name FROM calendar_days`)
	if err != nil {
		return nil, err
	}
	out := localDays{}
	var region identity.Region
	var o calendar.Override
	_, err = pgx.ForEachRow(rows, []any{&region, &o.Date, &o.Working, &o.Name}, func() error { out[region] = append(out[region], o); return nil })
	return out, err
}

// changed are the days with one more in a region, or one less.
func (d localDays) changed(f CalendarDayForm, remove bool) localDays {
	out := localDays{}
	for region, days := range d {
		out[region] = slices.DeleteFunc(slices.Clone(days), func(o calendar.Override) bool { return region == f.Region && o.Date == f.Day })
	}
	if !remove {
		out[f.Region] = append(out[f.Region], calendar.Override{Date: f.Day, Working: f.Working, Name: f.Name})
	}
	return out
}

// in is the calendar of a region: what is nearer counts before what is further up.
func (d localDays) in(region identity.Region) (*calendar.Calendar, error) {
	base, err := calendar.Embedded("CN")
	if err != nil {
		return nil, err
	}
	var days []calendar.Override
	for _, up := range slices.Backward(region.Ancestors()) {
		days = append(days, d[up]...)
	}
	return base.With(days...), nil
}

func (a *act) calendarEffect(ctx context.Context, f CalendarDayForm, remove bool) (CalendarEffect, error) {
	out := CalendarEffect{Steps: []StepEffect{}}
	var steps []string
	for step := range countedBy {
		steps = append(steps, step)
	}
	tasks, err := a.openDeadlines(ctx, f.Region, steps)
	if err != nil {
		return out, err
	}
	before, err := a.localDays(ctx)
	if err != nil {
		return out, err
	}
	after := before.changed(f, remove)
	type pair struct{ before, after *calendar.Calendar }
	calendars := map[identity.Region]pair{}
	for _, t := range tasks {
		cal, known := calendars[t.Region]
		if !known {
			if cal.before, err = before.in(t.Region); err != nil {
				return out, err
			}
			if cal.after, err = after.in(t.Region); err != nil {
				return out, err
			}
			calendars[t.Region] = cal
		}
		in := a.book.For(t.Region, calendar.Of(t.Opened, Zone))
		if !t.counted(in, cal.before) {
			continue
		}
		would := in.Deadline(countedBy[t.Step], t.Opened, cal.after, Zone).Due
		if would.Equal(t.Due) {
			continue
		}
		out.Tasks++
		if would.Before(t.Due) {
			out.Earlier++
		} else {
			out.Later++
		}
		i := slices.IndexFunc(out.Steps, func(e StepEffect) bool { return e.Step == t.Step })
		if i < 0 {
			i = len(out.Steps)
			out.Steps = append(out.Steps, StepEffect{Step: t.Step, Title: a.actor.Locale.Say("step."+t.Step, nil), Due: calendar.Of(t.Due, Zone), Would: calendar.Of(would, Zone)})
		}
		out.Steps[i].Tasks++
	}
	return out, nil
}

// SetCalendarDay declares a day worked or free in a region, for deadlines that are counted from then on. version is that of the declaration that is
// replaced, 0 where there was none.
//
// Errors: Invalid for a day that is over: what was counted over it is done; Stale when somebody else was first.
func (s *Store) SetCalendarDay(ctx context.Context, actor Actor, version int64, f CalendarDayForm) (CalendarDay, error) {
	var out CalendarDay
	err := s.changeDay(ctx, actor, "SetCalendarDay", version, f, func(ctx context.Context, a *act, have int64) error {
		rows, err := a.Query(ctx, `
			INSERT INTO calendar_days (region, day, working, name, source, changed_by, changed_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (region, day) DO UPDATE SET working = excluded.working, name = excluded.name, source = excluded.source, changed_by = excluded.changed_by, changed_at = excluded.changed_at, version = excluded.version
			RETURNING `+calendarDayColumns, string(f.Region), f.Day, f.Working, f.Name, f.Source, a.actor.subject, a.at, have+1)
		if err != nil {
			return err
		}
		out, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[CalendarDay])
		return err
	})
	return out, err
}

// RemoveCalendarDay takes a declared day back.
func (s *Store) RemoveCalendarDay(ctx context.Context, actor Actor, version int64, region identity.Region, day calendar.Date) error {
	f := CalendarDayForm{Region: region, Day: day, Name: "-", Source: "-"}
	return s.changeDay(ctx, actor, "RemoveCalendarDay", version, f, func(ctx context.Context, a *act, have int64) error {
		if have == 0 {
			return missing("calendar_day")
		}
		_, err := a.Exec(ctx, `DELETE FROM calendar_days WHERE region = $1 AND day = $2`, string(region), day)
		return err
	})
}

func (s *Store) changeDay(ctx context.Context, actor Actor, name string, version int64, f CalendarDayForm, change func(context.Context, *act, int64) error) error {
	err := s.act(ctx, actor, name, policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Organisation, record{kind: "organisations", id: "calendar", region: f.Region}); err != nil {
			return err
		}
		if err := f.check(a.today()); err != nil {
			return err
		}
		a.entries[len(a.entries)-1].Fields = a.narrowed("day", f.Day.String())
		var have int64
		err := a.QueryRow(ctx, `SELECT version FROM calendar_days WHERE region = $1 AND day = $2 FOR UPDATE`, string(f.Region), f.Day).Scan(&have)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if have != version {
			return stale("calendar_day")
		}
		return change(ctx, a, have)
	})
	if err == nil {
		s.calendars.Clear() // other processes read the rows again within calendarLife
	}
	return err
}
