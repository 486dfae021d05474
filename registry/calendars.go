package registry

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
)

// calendarLife is how long a region's calendar is kept before its rows are read again.
const calendarLife = time.Minute

type calendarEntry struct {
	cal  *calendar.Calendar
	read time.Time
}

// calendar is the working calendar of a region: the embedded one with the rows of the region and its ancestors over it.
func (a *act) calendar(ctx context.Context, region identity.Region) (*calendar.Calendar, error) {
	if known, ok := a.calendars.Load(region); ok && a.now().Sub(known.(calendarEntry).read) < calendarLife {
		return known.(calendarEntry).cal, nil
	}
	base, err := calendar.Embedded("CN")
	if err != nil {
		return nil, err
	}
	rows, err := a.Query(ctx, `SELECT day, working, name FROM calendar_days WHERE region = ANY($1) ORDER BY length(rtrim(region, '0')), region`, regionPath(region))
	if err != nil {
		return nil, err
	}
	days, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o calendar.Override, err error) {
		return o, row.Scan(&o.Date, &o.Working, &o.Name)
	})
	if err != nil {
		return nil, err
	}
	cal := base.With(days...)
	a.calendars.Store(region, calendarEntry{cal, a.now()})
	return cal, nil
}
