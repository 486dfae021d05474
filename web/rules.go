package web

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
)

// rulePages are the rules that hold: by region and day, against another region or day, and against a value that somebody thinks of.
func (s *Site) rulePages() {
	s.page("GET /admin/rules", s.rules)
	s.act("POST /admin/rules/dry-run", s.dryRun)
}

// rulesShown is all that the page of rules shows.
type rulesShown struct {
	packs   []registry.PackView
	topics  []string // what rules are about: the beginnings of their names
	topic   string
	lines   []registry.RuleLine
	at      registry.Place
	other   *registry.Place // what they are compared with
	compare []registry.RuleLine
	form    *Filled
	found   *registry.DryRun
	says    string
	wrong   string
}

func (s *Site) rules(v *Visit) (Answer, error) {
	return s.rulesAgain(v, rulesShown{form: Blank(v, registry.DryRunForm{Region: identity.Region(v.Query("region")), Key: rules.Key(v.Query("try"))})})
}

// place reads a region and a day of the address; the office's and today where none is named.
func place(v *Visit, region, day string) (registry.Place, bool) {
	p := registry.Place{Region: identity.Region(strings.TrimSpace(v.Query(region))), On: calendar.Of(time.Now(), registry.Zone)}
	if text := v.Query(day); text != "" {
		d, err := calendar.Parse(text)
		if err != nil {
			return p, false
		}
		p.On = d
	}
	return p, true
}

func (s *Site) rulesAgain(v *Visit, r rulesShown) (Answer, error) {
	var err error
	if r.packs, err = s.store.ListPacks(v, v.Actor); err != nil {
		return nil, err
	}
	var good bool
	if r.at, good = place(v, "region", "on"); !good {
		r.wrong = v.Say("rules.day_wrong")
	}
	all, err := s.store.ShowRules(v, v.Actor, r.at, nil)
	if registry.KindOf(err) == registry.Invalid {
		r.wrong, r.at.Region = v.Say("admin.region_unknown"), ""
		all, err = s.store.ShowRules(v, v.Actor, r.at, nil)
	}
	if err != nil {
		return nil, err
	}
	topics := map[string]bool{}
	for _, l := range all {
		topics[topicOf(l.Key)] = true
	}
	r.topics = slices.Sorted(maps.Keys(topics))
	if r.topic = v.Query("topic"); !topics[r.topic] {
		r.topic = r.topics[0]
	}
	for _, l := range all {
		if topicOf(l.Key) == r.topic {
			r.lines = append(r.lines, l)
		}
	}
	if v.Query("with_region")+v.Query("with_on") != "" {
		other, good := place(v, "with_region", "with_on")
		if !good {
			r.wrong = v.Say("rules.day_wrong")
		}
		if r.compare, err = s.store.ShowRules(v, v.Actor, r.at, &other); err != nil {
			if registry.KindOf(err) != registry.Invalid {
				return nil, err
			}
			r.wrong = v.Say("admin.region_unknown")
		} else {
			r.other = &other
		}
	}
	options := []Option{}
	for _, key := range registry.TriedRules() {
		options = append(options, Option{Value: string(key), Label: v.rule(key)})
	}
	r.form.Apart("try").Choose("key", options).Hint("value", v.Say("rules.value_hint")).Call("region", v.Say("admin.region")).Hint("region", v.Say("rules.region_hint"))
	return v.Page("page.rules", rulesPage(v, r)), nil
}

// badValue are what a rule refuses of a value that is tried.
func badValue(err error) bool {
	return slices.Contains([]string{"rule_unit", "rule_one_value", "rule_weaker", "rule_not_tried", "rule_not_found"}, registry.CodeOf(err))
}

func (s *Site) dryRun(v *Visit) (Answer, error) {
	f, filled := Read[registry.DryRunForm](v)
	r := rulesShown{form: filled}
	if filled.Good() {
		found, err := s.store.DryRunRule(v, v.Actor, f)
		known := new(registry.Error)
		switch {
		case err == nil:
			r.found = &found
		case badValue(err):
			v.refused, r.says = true, v.sentence(err)
		case errors.As(err, &known) && len(known.Problems) > 0 && filled.Takes(err):
		default:
			return nil, err
		}
	}
	return s.rulesAgain(v, r)
}

// topicOf is what a rule is about: the beginning of its name.
func topicOf(key rules.Key) string {
	topic, _, _ := strings.Cut(string(key), ".")
	return topic
}

// rule is what a rule is called.
func (v *Visit) rule(key rules.Key) string {
	if id := "rule." + string(key); lang.Has(id) {
		return v.Say(id)
	}
	return string(key)
}

// unitSays are the names of the sentences of units.
var unitSays = map[rules.Unit]string{
	rules.Minutes: "rules.minutes", rules.Hours: "rules.hours", rules.Days: "rules.days", rules.WorkingDays: "rules.working_days", rules.Months: "rules.months", rules.Years: "rules.years",
	rules.Millilitres: "rules.millilitres", rules.CellsPerKg: "rules.cells", rules.Celsius: "rules.celsius",
}

// ruleValue is a value in words: "5 wd" is five working days.
func (v *Visit) ruleValue(written string) string {
	var out []string
	for part := range strings.SplitSeq(written, ",") {
		value, err := rules.ParseValue(part)
		if err != nil {
			return written
		}
		id, ok := unitSays[value.Unit]
		if !ok {
			out = append(out, value.String())
			continue
		}
		out = append(out, v.Say(id, "N", strconv.FormatFloat(value.Amount, 'f', -1, 64)))
	}
	return strings.Join(out, v.Say("rules.and"))
}

// placeName names a region on a day.
func placeName(v *Visit, p registry.Place) string {
	if p.Region == "" {
		return v.Say("rules.here") + " " + v.Day(p.On)
	}
	return v.Region(p.Region) + " " + v.Day(p.On)
}

func mayTry(v *Visit) bool { return v.May(policy.Write, policy.Organisation) }

// topicSays are the names of the sentences of what rules are about.
var topicSays = map[string]string{
	"access": "rules.topic_access", "blood": "rules.topic_blood", "body": "rules.topic_body", "contact": "rules.topic_contact", "cornea": "rules.topic_cornea", "desk": "rules.topic_desk",
	"drive": "rules.topic_drive", "intake": "rules.topic_intake", "organ": "rules.topic_organ", "outside": "rules.topic_outside", "rights": "rules.topic_rights", "stemcell": "rules.topic_stemcell",
}

func topicName(v *Visit, topic string) string {
	if id, ok := topicSays[topic]; ok {
		return v.Say(id)
	}
	return v.Say("rules.topic_other")
}
