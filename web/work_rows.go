package web

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/a-h/templ"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
)

// workLines are the rows of the worklist: fifty of thirty pieces each.
func workLines(v *Visit, w *workShown) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, out io.Writer) error {
		rows := lineWriter{Visit: v, chosen: len(w.Mates) > 0}
		rows.Grow(1800 * len(w.Lines))
		for name, cell := range map[string]*tag{
			"case": &rows.inCase, "next_step": &rows.inStep, "deadline": &rows.inDeadline, "owner": &rows.inOwner, "last": &rows.inLast, "action": &rows.inAction,
		} {
			*cell = tag(`<td data-label="` + templ.EscapeString(v.Say("work."+name)) + `">`)
		}
		rows.inLast = `<td class="last"` + rows.inLast[len(`<td`):]
		for i := range w.Lines {
			rows.row(&w.Lines[i])
		}
		_, err := io.WriteString(out, rows.String())
		return err
	})
}

// lineWriter is what has been written of them.
type lineWriter struct {
	markup
	*Visit
	chosen bool // tasks can be chosen and given to somebody

	inCase, inStep, inDeadline, inOwner, inLast, inAction tag // how a cell begins
}

func (r *lineWriter) row(l *registry.WorkLine) {
	id := l.ID.String()
	r.tags(`<tr data-row id="row-`).text(id).tags(`">`)
	if r.chosen {
		r.tags(`<td>`)
		if l.Mine || l.Supervised {
			r.tags(`<label><span class="unseen">`).text(r.Say("work.choose", "Case", l.CaseNumber)).tags(`</span><input type="checkbox" name="task" value="`).text(id).tags(`" form="bulk"></label>`)
		}
		r.tags(`</td>`)
	}
	r.tags(r.inCase, `<a href="/work/`).text(id).tags(`" hx-get="/work/`).text(id).tags(`" hx-target="#preview" hx-swap="innerHTML">`)
	if l.Unread {
		r.tags(`<span class="unread" title="`).text(r.Say("work.unread")).tags(`"><span aria-hidden="true">●</span><span class="unseen">`).text(r.Say("work.unread")).tags(`</span></span>`)
	}
	r.tags(`<span class="number nowrap">`).text(l.CaseNumber).tags(`</span></a><div class="row">`)
	r.badge("plain", r.Say("step."+l.Stage))
	if l.Urgency == "critical" || l.Urgency == "urgent" {
		r.badge(urgencyTone(l.Urgency), r.Say("work.urgency_"+l.Urgency))
	}
	r.tags(`</div></td>`, r.inStep).text(l.Title)
	if l.Level > 0 {
		r.badge("bad", r.Say("work.escalated", "Level", l.Level))
	}
	if l.Why.Text != "" {
		r.tags(`<details class="small faint"><summary>`).text(r.Say("work.why_ask")).tags(`</summary><p>`).text(l.Why.Text).tags(`</p></details>`)
	}
	r.tags(`</td>`, r.inDeadline)
	r.deadline(r.Visit, l)
	r.tags(`</td>`, r.inOwner)
	r.owner(r.Visit, l)
	r.tags(`</td>`, r.inLast)
	if l.Last != nil {
		r.text(l.Last.Text).tags(`<span class="faint small">`)
		r.ago(r.Visit, l.Last.At)
		r.tags(`</span>`)
	} else {
		r.tags(dash)
	}
	r.tags(`</td>`, r.inAction)
	r.quick(l, id)
	r.tags(`</td></tr>`)
}

// quick is the one thing that is most likely to be done.
func (r *lineWriter) quick(l *registry.WorkLine, id string) {
	sends := func(does string) {
		r.tags(`<form method="post" action="/work/`).text(id).tags(`/`).text(does).tags(`"><input type="hidden" name="`, keyField, `" value="`).text(newKey()).tags(`">`)
		if does == "resume" {
			r.tags(`<input type="hidden" name="version" value="`).text(strconv.FormatInt(l.Version, 10)).tags(`">`)
		}
		r.tags(`<button type="submit" class="tiny" data-act>`).text(r.Say("work." + does)).tags(`</button></form>`)
	}
	leads := func(class, to tag, says string) {
		r.tags(`<a class="`, class, `" data-act href="`, to).text(id).tags(`">`).text(r.Say(says)).tags(`</a>`)
	}
	switch l.Quick {
	case "claim", "resume":
		sends(l.Quick)
	case "answer":
		leads("button tiny", "/steps/", "work.answer")
	case "take_over":
		leads("button quiet tiny", "/work/", "work.take_over")
	default:
		leads("button quiet tiny", "/work/", "work.look")
	}
}

// deadline is when a task is due, and whether its clock runs.
func deadline(v *Visit, l *registry.WorkLine) templ.Component {
	return written(func(m *markup) { m.deadline(v, l) })
}

func (m *markup) deadline(v *Visit, l *registry.WorkLine) {
	if l.Paused != nil {
		m.badge("faint", v.Say("work.paused", "Reason", v.Word("Reason", l.Paused.Reason)))
		m.tags(`<div class="small faint">`).text(v.Say("work.resumes", "Until", v.Day(calendar.Of(l.Paused.Resumes, registry.Zone)))).tags(`</div>`)
	} else {
		m.badge(dueTone(l), daysLeft(v, l))
	}
	m.tags(`<div class="small">`)
	m.moment(v, l.DueAt)
	m.tags(`</div>`)
	if l.Extended > 0 {
		m.tags(`<div class="small faint">`).text(v.Say("work.extended", "Times", l.Extended)).tags(`</div>`)
	}
}

// owner is whose a task is, and who is at it.
func owner(v *Visit, l *registry.WorkLine) templ.Component {
	return written(func(m *markup) { m.owner(v, l) })
}

func (m *markup) owner(v *Visit, l *registry.WorkLine) {
	switch {
	case l.Owner != nil:
		m.text(coworker(v, *l.Owner))
	case l.Assigned:
		m.text(v.Say("work.assigned"))
	case !l.Mine:
		m.text(v.Word("Role", l.Role))
	case l.Lease == nil:
		m.tags(`<span class="faint">`).text(v.Say("work.nobody")).tags(`</span>`)
	}
	if l.Lease == nil {
		return
	}
	m.tags(`<div class="small">`)
	switch {
	case l.Lease.Mine:
		m.badge("good", v.Say("work.at_it_me"))
	case l.Lease.Holder != nil:
		m.badge("fair", v.Say("work.at_it", "Name", l.Lease.Holder.Name))
	default:
		m.badge("fair", v.Say("work.at_it_somebody"))
	}
	m.tags(`<span class="faint" data-countdown="`).text(l.Lease.Until.UTC().Format(time.RFC3339)).tags(`">`).text(v.Time(l.Lease.Until)).tags(`</span></div>`)
}
