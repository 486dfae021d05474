package registry

import (
	"fmt"
	"time"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/rules"
)

// In what order open tasks are to be done. What is most at risk is the match: how little time is left, weighed by how urgent the patient
// is. A product of the two changes with every minute that passes, and so would the order of every list. Instead a task for an urgent
// patient stands where one for any other would stand that is due some working days earlier: the order is as good, stays as it is, and
// is read from an index.

// rank are the instants at which a task stands in the list, by urgency; any other urgency stands at its deadline.
type rank struct{ urgent, critical time.Time }

func rankOf(in rules.Rules, due time.Time, cal *calendar.Calendar) rank {
	// A deadline at the end of a day is the next midnight; its day is the one that ends.
	day := calendar.Of(due.Add(-time.Second), Zone)
	ahead := func(k rules.Key) time.Time {
		earlier := rules.Span{N: -in.Span(k).N, Unit: in.Span(k).Unit}.On(day, cal)
		return due.AddDate(0, 0, earlier.Sub(day))
	}
	return rank{ahead(rules.DeskLeadUrgent), ahead(rules.DeskLeadCritical)}
}

// ranked is the same in SQL: its arguments are expressions.
func ranked(urgency, due, urgent, critical string) string {
	return fmt.Sprintf(`CASE %s WHEN 'urgent' THEN %s::timestamptz WHEN 'critical' THEN %s::timestamptz ELSE %s::timestamptz END`, urgency, urgent, critical, due)
}
