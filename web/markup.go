package web

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
)

// markup is a part of a page that is written by hand, because a list has hundreds of it: a template puts it together at many times the cost.
type markup struct{ strings.Builder }

// tag is what stands in the program as it is. Whatever is not a constant of the program is text, and does not compile as a tag.
type tag string

func (m *markup) tags(pieces ...tag) *markup {
	for _, piece := range pieces {
		m.WriteString(string(piece))
	}
	return m
}

func (m *markup) text(text string) *markup {
	m.WriteString(templ.EscapeString(text))
	return m
}

// written is what is written by hand as a part of a template.
func written(write func(*markup)) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		var m markup
		write(&m)
		_, err := io.WriteString(w, m.String())
		return err
	})
}

// dash is what stands where there is nothing, which is not what is protected.
const dash = `<span class="faint">—</span>`

// The parts have a space on either side, which keeps them apart from the words they stand among: a template has none between its parts. Where they stand alone
// nobody sees it.

// Badge is a state: colour, sign and word. tone is good, fair, bad, grave, plain or faint.
func Badge(tone, says string) templ.Component {
	return written(func(m *markup) { m.badge(tone, says) })
}

func (m *markup) badge(tone, says string) {
	m.tags(` <span class="badge `).text(tone).tags(`"><span aria-hidden="true">`).text(signOf(tone)).tags(`</span>`).text(says).tags(`</span> `)
}

// Day is a day with its weekday, and how far it is from today.
func Day(v *Visit, d calendar.Date) templ.Component {
	return written(func(m *markup) {
		if d.IsZero() {
			m.tags(dash)
			return
		}
		m.tags(` <time class="whole" datetime="`).text(d.String()).tags(`" title="`).text(v.Away(d)).tags(`">`).text(v.Day(d)).tags(`</time> `)
	})
}

// Moment is an instant in the office's time, and how long ago it was or how far it is.
func Moment(v *Visit, t time.Time) templ.Component {
	return written(func(m *markup) { m.moment(v, t) })
}

func (m *markup) moment(v *Visit, t time.Time) {
	if t.IsZero() {
		m.tags(dash)
		return
	}
	m.tags(` <time datetime="`).text(t.UTC().Format(time.RFC3339)).tags(`" title="`).text(v.Since(t)).tags(`"><span class="whole">`).text(v.Day(calendar.Of(t, registry.Zone)))
	m.tags(`</span> <span class="whole">`).text(t.In(registry.Zone).Format("15:04")).tags(`</span></time> `)
}

// Ago is an instant told by its distance, with the instant itself beside it for who points at it.
func Ago(v *Visit, t time.Time) templ.Component {
	return written(func(m *markup) { m.ago(v, t) })
}

func (m *markup) ago(v *Visit, t time.Time) {
	m.tags(` <time datetime="`).text(t.UTC().Format(time.RFC3339)).tags(`" title="`).text(v.Time(t)).tags(`">`).text(v.Since(t)).tags(`</time> `)
}
