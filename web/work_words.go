package web

import (
	"net/url"
	"strconv"

	"github.com/liferelay/liferelay/registry"
)

// workProtocols are the protocols whose tasks people answer.
var workProtocols = []registry.Protocol{
	registry.StemCellProtocol, registry.SearchProtocol, registry.EnrolmentProtocol, registry.DriveProtocol, registry.CareProtocol, registry.SafetyProtocol, registry.RightsProtocol,
}

// workTabs are the tabs of the worklist with what each has.
func workTabs(v *Visit, w *workShown) []Tab {
	var out []Tab
	for _, tab := range registry.WorkTabs() {
		t := Tab{Says: v.Say("work.tab_" + string(tab)), Path: v.Here("tab", string(tab), "after", ""), Here: tab == w.filter.Tab}
		n := w.Counts.Of(tab)
		t.Count = strconv.Itoa(n)
		if n >= registry.MostCounted {
			t.Count = strconv.Itoa(registry.MostCounted-1) + "+"
		}
		if n > 0 && (tab == registry.WorkOverdue || tab == registry.WorkEscalated) {
			t.Tone = "bad"
		}
		out = append(out, t)
	}
	return out
}

// viewPath is the address of a saved view.
func viewPath(view registry.SavedView) string {
	q := url.Values{}
	for name, value := range map[string]string{
		"tab": string(view.Query.Tab), "protocol": string(view.Query.Protocol), "step": view.Query.Step, "region": string(view.Query.Region), "number": view.Query.Number,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		q.Set("tab", string(registry.WorkAll))
	}
	return "/work?" + q.Encode()
}

func urgencyTone(urgency string) string {
	return map[string]string{"critical": "grave", "urgent": "bad"}[urgency]
}

// dueTone is how a deadline looks: late, today or tomorrow, or time enough.
func dueTone(l *registry.WorkLine) string {
	switch {
	case l.Overdue:
		return "grave"
	case l.WorkingDays <= 1:
		return "fair"
	default:
		return "plain"
	}
}

// daysLeft tells how many working days are left, or since when it is late.
func daysLeft(v *Visit, l *registry.WorkLine) string {
	switch {
	case l.Overdue && l.WorkingDays < 0:
		return v.Say("work.days_over", "N", -l.WorkingDays)
	case l.Overdue:
		return v.Say("work.late_today")
	case l.WorkingDays <= 0:
		return v.Say("work.days_today")
	default:
		return v.Say("work.days_left", "N", l.WorkingDays)
	}
}

// coworker is a colleague's name, and that it is oneself.
func coworker(v *Visit, c registry.Coworker) string {
	if c.Me {
		return v.Say("work.me", "Name", c.Name)
	}
	return c.Name
}

func handoverTone(status string) string {
	return map[string]string{"offered": "fair", "accepted": "good", "declined": "bad", "expired": "bad"}[status]
}
