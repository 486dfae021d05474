package courier

import (
	"fmt"
	"html"
	"strings"

	"github.com/liferelay/liferelay/notify"
	"github.com/liferelay/liferelay/registry"
)

// mail puts a parcel into a message, in text and as a page of the plainest HTML. Its subject is the same for all of a kind: it stands
// in lists and on locked screens.
func (c *Courier) mail(p registry.Parcel) notify.Mail {
	say := func(id string, args map[string]any) string { return p.Locale.Say(id, args) }
	out := notify.Mail{ID: p.ID.String(), To: p.Mail.Reveal(), Locale: string(p.Locale), Urgent: p.Urgent && p.Kind == "notice"}
	var lines []string
	switch p.Kind {
	case "code":
		out.Subject = say("notices.code_subject", nil)
		lines = []string{say("notices.code_is", map[string]any{"Code": p.Code.Reveal()}), say("notices.code_ignore", nil)}
	case "digest":
		out.Subject = say("notices.digest_subject", map[string]any{"Count": len(p.Items)})
		lines = []string{say("notices.digest_is", map[string]any{"Count": len(p.Items)})}
	default:
		out.Subject = say("notices.urgent_subject", nil)
	}
	var items []string
	for _, i := range p.Items {
		text := i.Text
		if p.Kind == "digest" {
			text = fmt.Sprintf("%s  %s", i.At.In(registry.Zone).Format("01-02 15:04"), text)
		}
		items = append(items, text)
	}
	list, settings := c.page("/notices"), c.page("/notices/settings")
	var text, page strings.Builder
	page.WriteString(`<!doctype html><html lang="` + string(p.Locale) + `"><meta charset="utf-8"><body style="font-family:sans-serif;line-height:1.6">`)
	for _, l := range lines {
		text.WriteString(l + "\n\n")
		page.WriteString("<p>" + html.EscapeString(l) + "</p>")
	}
	if len(items) > 0 {
		page.WriteString("<ul>")
		for _, i := range items {
			text.WriteString("- " + i + "\n")
			page.WriteString("<li>" + html.EscapeString(i) + "</li>")
		}
		text.WriteString("\n")
		page.WriteString("</ul>")
	}
	if p.Kind != "code" && list != "" {
		text.WriteString(say("notices.read_here", nil) + list + "\n\n")
		page.WriteString(`<p><a href="` + html.EscapeString(list) + `">` + html.EscapeString(say("notices.read_link", nil)) + "</a></p>")
	}
	foot := say("notices.foot", nil)
	if settings != "" && p.Kind != "code" {
		out.Unsubscribing = settings
		foot += " " + settings
	}
	text.WriteString("-- \n" + foot + "\n")
	page.WriteString(`<p style="color:#666">` + html.EscapeString(foot) + "</p></body></html>")
	out.Text, out.HTML = text.String(), page.String()
	return out
}

func (c *Courier) sms(p registry.Parcel) notify.SMS {
	out := notify.SMS{ID: p.ID.String(), To: p.Phone.Reveal(), Locale: string(p.Locale), Urgent: p.Urgent}
	if p.Kind == "code" {
		out.Text = p.Locale.Say("notices.code_sms", map[string]any{"Code": p.Code.Reveal()})
		return out
	}
	out.Text = p.Locale.Say("notices.sms", map[string]any{"Text": p.Items[0].Text})
	if page := c.page("/notices"); page != "" {
		out.Text += " " + page
	}
	return out
}

// event is what another system is told: ids and codes.
func (c *Courier) event(p registry.Parcel) notify.Event {
	i := p.Items[0]
	data := map[string]any{"notice": i.Notice, "code": i.Code, "urgent": i.Urgent}
	if i.CaseID != [16]byte{} {
		data["case"] = i.CaseID
	}
	if i.TaskID != [16]byte{} {
		data["task"] = i.TaskID
	}
	kind := "org.liferelay.notice." + i.Code
	if p.Kind == "ping" {
		kind, data = "org.liferelay.ping", map[string]any{}
	}
	source := c.Public
	if source == "" {
		source = "urn:liferelay"
	}
	return notify.Event{ID: i.Notice.String(), Source: source, Type: kind, Time: i.At.UTC(), Data: data}
}
