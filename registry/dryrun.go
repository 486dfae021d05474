package registry

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
)

// What holds where and since when, and what would be otherwise under another value or another calendar. Nothing here changes a task: what was asked keeps
// the deadline that it was asked with, and the protocols wait for that one.

// PackView is a rule pack.
type PackView struct {
	Name    string          `json:"name" class:"organisation" mask:"drop"`
	Region  identity.Region `json:"region" class:"organisation" mask:"drop"`
	Version string          `json:"version" class:"organisation" mask:"drop"`
	From    calendar.Date   `json:"from" doc:"The first day on which it holds." class:"organisation" mask:"drop"`
	Rules   int             `json:"rules" doc:"How many it states." class:"organisation" mask:"drop"`
	SHA256  string          `json:"sha256" class:"organisation" mask:"drop"`
}

// ListPacks returns the rule packs that this program carries.
func (r *Reader) ListPacks(ctx context.Context, actor Actor) ([]PackView, error) {
	var out []PackView
	err := r.act(ctx, actor, "ListPacks", policy.ForAdministration, func(_ context.Context, a *act) error {
		if err := a.permit(policy.Read, policy.Organisation, record{kind: "organisations", id: "rules"}); err != nil {
			return err
		}
		out = []PackView{}
		for _, p := range a.book.Packs() {
			out = append(out, PackView{p.Name, p.Region, p.Version, p.From, p.Len(), p.SHA256})
		}
		return nil
	})
	return out, err
}

// RuleLine is a rule as it holds in a region on a day.
type RuleLine struct {
	Key    rules.Key `json:"key" class:"organisation" mask:"drop"`
	Value  string    `json:"value" doc:"As the packs write it." class:"organisation" mask:"drop"`
	Source string    `json:"source" class:"organisation" mask:"drop"`
	Pack   string    `json:"pack" doc:"Which states it: name, region and version." class:"organisation" mask:"drop"`
	Other  string    `json:"other,omitempty" doc:"Its value in what it is compared with." class:"organisation" mask:"drop"`
	By     string    `json:"by,omitempty" doc:"The pack that states the other value." class:"organisation" mask:"drop"`
}

// Place is a region on a day; the office's and today when left out.
type Place struct {
	Region identity.Region
	On     calendar.Date
}

func (a *act) rulesAt(p Place) (rules.Rules, error) {
	region, err := a.placeOf(p.Region)
	if err != nil {
		return rules.Rules{}, err
	}
	if p.On.IsZero() {
		p.On = a.today()
	}
	return a.book.For(region, p.On), nil
}

// ShowRules returns the rules that hold in a region on a day. With another place it returns those that differ there.
func (r *Reader) ShowRules(ctx context.Context, actor Actor, at Place, other *Place) ([]RuleLine, error) {
	var out []RuleLine
	err := r.act(ctx, actor, "ShowRules", policy.ForAdministration, func(_ context.Context, a *act) error {
		if err := a.permit(policy.Read, policy.Organisation, record{kind: "organisations", id: "rules"}); err != nil {
			return err
		}
		here, err := a.rulesAt(at)
		if err != nil {
			return err
		}
		var elsewhere rules.Rules
		if other != nil {
			if elsewhere, err = a.rulesAt(*other); err != nil {
				return err
			}
		}
		out = []RuleLine{}
		for _, s := range here.All() {
			l := RuleLine{Key: s.Key, Value: s.Text(), Source: s.Source, Pack: here.Pack(s.Key)}
			if other != nil {
				if l.Other, l.By = stated(elsewhere, s.Key), elsewhere.Pack(s.Key); l.Other == l.Value {
					continue
				}
			}
			out = append(out, l)
		}
		return nil
	})
	return out, err
}

// countedBy says which rule counts the deadline of a step from the day on which it is asked, as the protocols ask it. A task whose deadline was counted
// otherwise (from another day, or by the law's last day) is found out by counting it again, and left out.
var countedBy = map[string]rules.Key{
	"drive.closing": rules.DriveClose, "drive.sending": rules.DriveSend, "drive.missing_tube": rules.DriveAlarm, "drive.report": rules.DriveReport, "enrolment.redraw": rules.DriveRedraw,
	"search.choice": rules.StemCellChoice, "safety.report": rules.StemCellSafety,
	"stemcell.remobilisation": rules.StemCellRemobilisation, "stemcell.sample_booking": rules.StemCellSample, "stemcell.confirmatory_sample": rules.StemCellSample,
	"stemcell.confirmatory_typing": rules.StemCellTyping, "stemcell.physical_examination": rules.StemCellExamination, "stemcell.donation_consent": rules.StemCellConsent,
	"stemcell.clearance": rules.StemCellClearance, "stemcell.schedule": rules.StemCellSchedule, "stemcell.dispatch": rules.StemCellTransport, "stemcell.receipt": rules.StemCellTransport,
	"stemcell.emergency": rules.StemCellEmergency, "stemcell.infusion": rules.StemCellInfusion, "stemcell.thanks": rules.StemCellThanks,
	"rights.identity": rules.RightsIdentity, "rights.decision": rules.RightsAnswer, "rights.carrying_out": rules.RightsCarrying, "rights.telling": rules.RightsTelling,
}

// openDeadline is a task that waits.
type openDeadline struct {
	ID     uuid.UUID
	Step   string
	Region identity.Region
	Opened time.Time
	Due    time.Time
}

// openDeadlines reads the tasks that wait in a region. The act has to reach everywhere: it counts them.
func (a *act) openDeadlines(ctx context.Context, region identity.Region, steps []string) ([]openDeadline, error) {
	lo, hi := region.Range()
	rows, err := a.Query(ctx, `SELECT id, step, region, opened_at, due_at FROM tasks WHERE status = 'open' AND region >= $1 AND region < $2 AND step = ANY($3) ORDER BY due_at, id`, lo, hi, steps)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[openDeadline])
}

// counted tells when a task is due by its rule, and whether it was counted so.
func (t openDeadline) counted(in rules.Rules, cal *calendar.Calendar) bool {
	return in.Deadline(countedBy[t.Step], t.Opened, cal, Zone).Due.Equal(t.Due)
}

// DryRunForm asks what another value of a rule would change.
type DryRunForm struct {
	Region identity.Region `json:"region,omitempty" validate:"omitempty,region" doc:"In which region, with all that lies in it; one's office's when left out."`
	Key    rules.Key       `json:"key" validate:"required" doc:"The rule."`
	Value  string          `json:"value" validate:"required,max=60" doc:"As the packs write it, such as 5 wd; with commas between several."`
}

// DryRun is what another value of a rule would change now. Nothing is changed.
type DryRun struct {
	Key     rules.Key `json:"key" class:"organisation" mask:"drop"`
	Is      string    `json:"is" class:"organisation" mask:"drop"`
	Tried   string    `json:"tried" class:"organisation" mask:"drop"`
	Of      string    `json:"of" doc:"What was counted: tasks or donors." class:"organisation" mask:"drop"`
	Counted int       `json:"counted" doc:"How many are judged by the rule now." class:"organisation" mask:"drop"`
	Others  int       `json:"others,omitempty" doc:"Tasks of the same steps whose deadline was counted otherwise." class:"organisation" mask:"drop"`
	Earlier int       `json:"earlier" doc:"Tasks that would be due earlier." class:"organisation" mask:"drop"`
	Later   int       `json:"later" doc:"Tasks that would be due later." class:"organisation" mask:"drop"`
	Overdue int       `json:"overdue" doc:"Tasks that are not overdue and would be." class:"organisation" mask:"drop"`
	Saved   int       `json:"saved" doc:"Tasks that are overdue and would not be." class:"organisation" mask:"drop"`
	Newly   int       `json:"newly" doc:"Donors whom the rule would take in or ask about, and does not now." class:"organisation" mask:"drop"`
	Not     int       `json:"no_more" doc:"Donors whom it takes in or asks about now, and would not." class:"organisation" mask:"drop"`
	Few     bool      `json:"few,omitempty" doc:"Some count of donors lies between 1 and 4, and is told as 0: it might tell of somebody." class:"organisation" mask:"drop"`
}

// TriedRules lists the rules that can be tried: those by which tasks or donors are judged that wait.
func TriedRules() []rules.Key {
	out := slices.Collect(maps.Values(countedBy))
	out = append(out, rules.StemCellLeavesAt, rules.StemCellCheckIn, rules.StemCellAgeMin, rules.OrganAgeMin, rules.CorneaAgeMin, rules.BodyAgeMin, rules.BloodAgeMin)
	slices.Sort(out)
	return slices.Compact(out)
}

// DryRunRule counts how many tasks or donors would be judged otherwise if a rule had another value today.
//
// Errors: Invalid for a value that the rule cannot have there; Refused for a rule by which nothing that waits is judged.
func (r *Reader) DryRunRule(ctx context.Context, actor Actor, f DryRunForm) (DryRun, error) {
	var out DryRun
	err := r.act(ctx, actor, "DryRunRule", policy.ForAdministration, func(ctx context.Context, a *act) error {
		region, err := a.placeOf(f.Region)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Organisation, record{kind: "organisations", id: "rules", region: region}); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		var floor *rules.Rules
		if region != nation {
			national := a.rules(nation)
			floor = &national
		}
		is := a.rules(region)
		tried, err := is.With(f.Key, f.Value, floor)
		if err != nil {
			return ruleProblem(err)
		}
		out = DryRun{Key: f.Key, Is: stated(is, f.Key), Tried: stated(tried, f.Key)}
		if steps := stepsCountedBy(f.Key); len(steps) > 0 {
			return a.dryRunTasks(ctx, region, steps, f, &out)
		}
		return a.dryRunDonors(ctx, region, is, tried, &out)
	})
	return out, err
}

func stated(in rules.Rules, key rules.Key) string {
	for _, s := range in.All() {
		if s.Key == key {
			return s.Text()
		}
	}
	return ""
}

func ruleProblem(err error) error {
	code := "rule_unit"
	switch {
	case errors.Is(err, rules.ErrUnknownRule):
		return missing("rule")
	case errors.Is(err, rules.ErrWeaker):
		code = "rule_weaker"
	case errors.Is(err, rules.ErrCount):
		code = "rule_one_value"
	}
	return &Error{Kind: Invalid, Code: code, cause: err}
}

func stepsCountedBy(key rules.Key) []string {
	var out []string
	for step, by := range countedBy {
		if by == key {
			out = append(out, step)
		}
	}
	slices.Sort(out)
	return out
}

func (a *act) dryRunTasks(ctx context.Context, region identity.Region, steps []string, f DryRunForm, out *DryRun) error {
	out.Of = "tasks"
	tasks, err := a.openDeadlines(ctx, region, steps)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		cal, err := a.calendar(ctx, t.Region)
		if err != nil {
			return err
		}
		in := a.book.For(t.Region, calendar.Of(t.Opened, Zone))
		if !t.counted(in, cal) {
			out.Others++
			continue
		}
		out.Counted++
		changed, err := in.With(f.Key, f.Value, nil)
		if err != nil {
			return ruleProblem(err)
		}
		due, now := changed.Deadline(f.Key, t.Opened, cal, Zone).Due, a.now()
		switch {
		case due.Before(t.Due):
			out.Earlier++
		case due.After(t.Due):
			out.Later++
		}
		switch {
		case !t.Due.Before(now) && due.Before(now):
			out.Overdue++
		case t.Due.Before(now) && !due.Before(now):
			out.Saved++
		}
	}
	return nil
}

// dryRunDonors counts donors by a rule about their age, or about when they were last reached.
func (a *act) dryRunDonors(ctx context.Context, region identity.Region, is, tried rules.Rules, out *DryRun) error {
	out.Of = "donors"
	today := a.today()
	// A rule takes in those who were born, or reached, on a day of a range: the first and the last one.
	programme, column, statuses := rules.StemCell, "p.birth_date", []string{"listed", "unavailable"}
	var last func(in rules.Rules) calendar.Date
	older := func(key rules.Key) func(rules.Rules) calendar.Date { // born on or before: at least so old
		return func(in rules.Rules) calendar.Date {
			age := in.Count(key)
			return lastDay(today, func(d calendar.Date) bool { return d.AgeOn(today) >= age })
		}
	}
	switch out.Key {
	case rules.StemCellLeavesAt:
		last = older(out.Key)
	case rules.StemCellAgeMin, rules.OrganAgeMin, rules.CorneaAgeMin, rules.BodyAgeMin, rules.BloodAgeMin:
		last, statuses = older(out.Key), []string{"registered", "enrolling"}
		programme = map[rules.Key]rules.Programme{
			rules.StemCellAgeMin: rules.StemCell, rules.OrganAgeMin: rules.Organ, rules.CorneaAgeMin: rules.Cornea, rules.BodyAgeMin: rules.Body, rules.BloodAgeMin: rules.Blood,
		}[out.Key]
	case rules.StemCellCheckIn:
		column, statuses = "coalesce(p.last_contact, g.registered_on)", []string{"listed"}
		last = func(in rules.Rules) calendar.Date {
			return lastDay(today, func(d calendar.Date) bool { return !in.Span(rules.StemCellCheckIn).On(d, nil).After(today) })
		}
	default:
		return refused("rule_not_tried")
	}
	lo, hi := region.Range()
	before, after := last(is), last(tried)
	err := a.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE `+column+` <= $5), count(*) FILTER (WHERE `+column+` <= $6 AND `+column+` > $5), count(*) FILTER (WHERE `+column+` <= $5 AND `+column+` > $6)
		FROM registrations g JOIN persons p ON p.id = g.person_id
		WHERE g.region >= $1 AND g.region < $2 AND g.programme = $3 AND g.status = ANY($4) AND p.erased_at IS NULL`, lo, hi, string(programme), statuses, before, after).Scan(&out.Counted, &out.Newly, &out.Not)
	if err != nil {
		return err
	}
	for _, n := range []*int{&out.Counted, &out.Newly, &out.Not} {
		if *n > 0 && *n < 5 {
			*n, out.Few = 0, true
		}
	}
	return nil
}
