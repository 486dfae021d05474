package web

import (
	"context"
	"strconv"
	"time"

	"github.com/liferelay/liferelay/registry"
)

// healthPages are how the installation is, for those who look after it.
func (s *Site) healthPages() {
	s.page("GET /admin/health", s.health)
}

// A part of the installation, how it is, and what somebody does about it.
type healthLine struct {
	what string // the sentence that names it
	tone string // good, fair, bad
	says string // what was found, in words
	do   string // the sentence that says what to do; none where nothing is to be done
}

// healthAnswer is how long the page waits for the server of cases.
const healthAnswer = 3 * time.Second

func (s *Site) health(v *Visit) (Answer, error) {
	h, err := s.store.ReadHealth(v, v.Actor)
	if err != nil {
		return nil, err
	}
	lines := append(registerHealth(v, h), s.deskHealth(v)...)
	return v.Page("page.health", healthPage(v, h, lines)), nil
}

// deskHealth is how the server is that carries cases, and who works for it.
func (s *Site) deskHealth(v *Visit) []healthLine {
	ctx, cancel := context.WithTimeout(v, healthAnswer)
	defer cancel()
	if err := s.cases.Ping(ctx); err != nil {
		return []healthLine{{"health.temporal", "bad", v.Say("health.away"), "health.temporal_do"}, {"health.workers", "bad", v.Say("health.unknown"), "health.temporal_do"}}
	}
	out := []healthLine{{"health.temporal", "good", v.Say("health.answers_now"), ""}}
	n, err := s.cases.Workers(ctx)
	switch {
	case err != nil:
		return append(out, healthLine{"health.workers", "fair", v.Say("health.unknown"), "health.workers_do"})
	case n == 0:
		return append(out, healthLine{"health.workers", "bad", v.Say("health.workers_none"), "health.workers_do"})
	}
	return append(out, healthLine{"health.workers", "good", v.Say("health.workers_some", "N", n), ""})
}

// waiting is how a backlog is: what is younger than a while is simply under way.
func waiting(v *Visit, h registry.Health, what string, b registry.Backlog, fair, bad time.Duration, do string) healthLine {
	if b.Waiting == 0 || b.Oldest == nil {
		return healthLine{what, "good", v.Say("health.nothing_waits"), ""}
	}
	says := v.Say("health.waits", "N", v.Number(int(b.Waiting)), "Since", v.Since(*b.Oldest))
	switch age := h.At.Sub(*b.Oldest); {
	case age > bad:
		return healthLine{what, "bad", says, do}
	case age > fair:
		return healthLine{what, "fair", says, do}
	}
	return healthLine{what, "good", says, ""}
}

// choreSays are the names of the sentences of the installation's own work.
var choreSays = map[string]string{registry.ChoreReminders: "health.chore_reminders", registry.ChoreTidying: "health.chore_tidying", registry.ChoreUpkeep: "health.chore_upkeep"}

func registerHealth(v *Visit, h registry.Health) []healthLine {
	out := []healthLine{}
	add := func(what, tone, says, do string) {
		if tone == "good" {
			do = ""
		}
		out = append(out, healthLine{what, tone, says, do})
	}
	tone := "good"
	if h.Connections[0] >= h.Connections[1] {
		tone = "fair"
	}
	add("health.database", tone, v.Say("health.database_is", "Version", h.Database, "Size", bytesOf(h.Size), "Used", h.Connections[0], "Most", h.Connections[1]), "health.database_do")
	tone = "good"
	if h.Schema != h.Wanted {
		tone = "bad"
	}
	add("health.schema", tone, v.Say("health.schema_is", "Schema", h.Schema, "Wanted", h.Wanted), "health.schema_do")
	out = append(out,
		waiting(v, h, "health.outbox", h.Outbox, 5*time.Minute, time.Hour, "health.outbox_do"),
		waiting(v, h, "health.answers", h.Answers, 5*time.Minute, time.Hour, "health.answers_do"),
		waiting(v, h, "health.deliveries", h.Deliveries, 15*time.Minute, 2*time.Hour, "health.deliveries_do"))
	tone = "good"
	if h.Dead > 0 {
		tone = "fair"
	}
	add("health.dead", tone, v.Say("health.dead_is", "N", v.Number(int(h.Dead))), "health.dead_do")
	out = append(out, waiting(v, h, "health.seals", h.Seals, 10*time.Minute, time.Hour, "health.seals_do"))
	switch {
	case h.Stray, h.Partitions == 0:
		tone = "bad"
	case h.Partitions < 2:
		tone = "fair"
	default:
		tone = "good"
	}
	add("health.partitions", tone, v.Say("health.partitions_are", "N", h.Partitions), "health.partitions_do")
	for _, c := range h.Chores {
		says := v.Say("health.chore_never")
		if c.DoneAt != nil {
			says = v.Say("health.chore_done", "Since", v.Since(*c.DoneAt))
		}
		tone = "good"
		switch {
		case c.Failed != "":
			tone, says = "bad", says+" "+v.Say("health.chore_failed", "Code", c.Failed)
		case c.Late:
			tone = "fair"
		}
		add(choreSays[c.Name], tone, says, "health.chore_do")
	}
	for _, r := range h.Rotations {
		add("health.rotation", "fair", v.Say("health.rotation_is", "Kind", r.Kind, "Done", v.Number(int(r.Done)), "Total", v.Number(int(r.Total))), "health.rotation_do")
	}
	switch {
	case h.Unread > 0:
		add("health.donors", "fair", v.Say("health.donors_unread", "N", v.Number(h.Unread), "Donors", v.Number(h.Donors)), "health.donors_do")
	case h.Followed == nil:
		add("health.donors", "good", v.Say("health.donors_none"), "")
	default:
		add("health.donors", "good", v.Say("health.donors_are", "N", v.Number(h.Donors), "Since", v.Since(*h.Followed)), "")
	}
	return out
}

// bytesOf writes a size as people say it.
func bytesOf(n int64) string {
	size, unit := float64(n), 0
	units := []string{"B", "KB", "MB", "GB", "TB"}
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	return strconv.FormatFloat(size, 'f', min(unit, 1), 64) + " " + units[unit]
}

// healthSays are the words of the tones of health.
var healthSays = map[string]string{"good": "health.good", "fair": "health.fair", "bad": "health.bad"}

// worst is the tone of the whole.
func worst(lines []healthLine) string {
	out := "good"
	for _, l := range lines {
		if l.tone == "bad" || l.tone == "fair" && out == "good" {
			out = l.tone
		}
	}
	return out
}
