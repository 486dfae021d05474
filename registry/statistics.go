package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
)

// What offices report of a region and a calendar year. It is counted ahead, by county and month, and so costs the same at a thousand donors and at a million
// (docs/decisions/0022). Years are not cut otherwise: of two spans that overlap, what lies in one and not in the other could be computed.

// Stages are those of the funnel, in their order: of how many each was reached in a year. They are counted when they are reached, and so a later one may have more
// than an earlier one: those who give this year were registered years ago.
func Stages() []string {
	return []string{"registered", "typed", "matched", "agreed", "cleared", "collected"}
}

// Figure is a number of people, or of what was done for them.
type Figure struct {
	Count    *int `json:"count,omitempty" doc:"Absent where it is withheld." class:"statistics" mask:"drop"`
	Withheld bool `json:"withheld,omitempty" doc:"It is below five, or one below five could be computed from it." class:"statistics" mask:"drop"`
}

func (p part) figure() Figure {
	if p.hidden {
		return Figure{Withheld: true}
	}
	return Figure{Count: &p.n}
}

// typingStep is, among the steps that took days, that from drawing a tube to typing it.
const typingStep = "typing"

// StatisticsQuery says what statistics are asked for.
type StatisticsQuery struct {
	Region    identity.Region `json:"region"`
	Year      int             `json:"year" validate:"omitempty,min=2000,max=2200"`
	Programme rules.Programme `json:"programme" validate:"omitempty,oneof=stemcell blood organ cornea body"`
	// Measure is what the parts of the region are told apart by, and the months: a stage of the funnel. Registered when empty.
	Measure string `json:"measure" validate:"omitempty,oneof=registered typed matched agreed cleared collected"`
}

// StatisticsView is what is told of a region and a year.
type StatisticsView struct {
	Region    identity.Region `json:"region" class:"statistics" mask:"drop"`
	Year      int             `json:"year" class:"statistics" mask:"drop"`
	Programme rules.Programme `json:"programme" doc:"Whose registrations are counted; all else is about stem cells." class:"statistics" mask:"drop"`
	Measure   string          `json:"measure" class:"statistics" mask:"drop"`
	CountedAt *time.Time      `json:"counted_at,omitempty" doc:"The numbers are as of then. Absent before the first count." class:"statistics" mask:"drop"`
	Stages    []StageFigure   `json:"stages" doc:"How many reached each stage in the year." class:"statistics" mask:"drop"`
	Dropped   []DropFigure    `json:"dropped" doc:"How many left in the year, from which stage and why." class:"statistics" mask:"drop"`
	Months    []MonthFigure   `json:"months" doc:"The measure by month, all of them or none." class:"statistics" mask:"drop"`
	Withheld  bool            `json:"months_withheld,omitempty" doc:"A month has too few." class:"statistics" mask:"drop"`
	Regions   []RegionFigure  `json:"regions" doc:"The measure by the regions right under this one." class:"statistics" mask:"drop"`
	Total     Figure          `json:"total" doc:"The measure, of the whole region." class:"statistics" mask:"drop"`
	Took      []TookFigure    `json:"took" doc:"How many days the steps took that were done in the year." class:"statistics" mask:"drop"`
	Deadlines []DueFigure     `json:"deadlines" doc:"Of the tasks that were to be done in the year, how many were in time." class:"statistics" mask:"drop"`
}

// StageFigure is how many reached a stage.
type StageFigure struct {
	Stage string `json:"stage" doc:"registered, typed, matched (a hospital asked for the donor), agreed, cleared or collected." class:"statistics" mask:"drop"`
	Figure
}

// DropFigure is how many left at a stage for a reason.
type DropFigure struct {
	Stage  string `json:"stage" doc:"The last that they had reached." class:"statistics" mask:"drop"`
	Reason string `json:"reason" doc:"How the case or the registration ended." class:"statistics" mask:"drop"`
	Figure
}

// MonthFigure is the number of a month.
type MonthFigure struct {
	Month int `json:"month" class:"statistics" mask:"drop"`
	Count int `json:"count" class:"statistics" mask:"drop"`
}

// RegionFigure is the number of a region under the one that was asked about.
type RegionFigure struct {
	Region identity.Region `json:"region" class:"statistics" mask:"drop"`
	Share  *float64        `json:"share,omitempty" doc:"Of the whole, 0 to 1." class:"statistics" mask:"drop"`
	Figure
}

// TookFigure is how long a step took: the least number of days by which a share of them was done.
type TookFigure struct {
	Step   string `json:"step" doc:"A step of a protocol, or typing: from the drawing of a tube to its typing." class:"statistics" mask:"drop"`
	Lower  *int   `json:"lower,omitempty" doc:"A quarter took no longer." class:"statistics" mask:"drop"`
	Median *int   `json:"median,omitempty" class:"statistics" mask:"drop"`
	Upper  *int   `json:"upper,omitempty" doc:"Three quarters took no longer." class:"statistics" mask:"drop"`
	Most   *int   `json:"most,omitempty" doc:"Nine of ten took no longer." class:"statistics" mask:"drop"`
	Figure
}

// DueFigure is how many tasks of a step were done in time.
type DueFigure struct {
	Step   string `json:"step" class:"statistics" mask:"drop"`
	InTime *int   `json:"in_time,omitempty" doc:"Per cent." class:"statistics" mask:"drop"`
	Figure
}

// recount counts everything. Days are the office's; what was undone was never there.
const recount = `
	WITH reached AS (
		SELECT c.id, min((t.closed_at AT TIME ZONE 'Asia/Shanghai')::date) FILTER (WHERE t.step = 'stemcell.remobilisation' AND w.outcome->>'code' = 'willing') AS agreed,
			min((t.closed_at AT TIME ZONE 'Asia/Shanghai')::date) FILTER (WHERE t.step = 'stemcell.clearance' AND w.outcome->>'code' = 'cleared') AS cleared,
			(SELECT min(g.collected_on) FROM donations g WHERE g.case_id = c.id) AS collected
		FROM cases c LEFT JOIN tasks t ON t.case_id = c.id AND t.status = 'done' LEFT JOIN answers w ON w.id = t.answer_id
		WHERE c.protocol = 'stemcell' GROUP BY c.id
	), facts (region, day, measure, code, value) AS (
		SELECT r.region, r.registered_on, 'registered', r.programme, 0 FROM registrations r WHERE r.intent = 'wish' AND r.status <> 'undone'
		UNION ALL
		SELECT r.region, t.day, 'typed', 'stemcell', 0 FROM (SELECT registration_id, min(typed_on) AS day FROM typings WHERE kind = 'enrolment' GROUP BY 1) t
			JOIN registrations r ON r.id = t.registration_id WHERE r.status <> 'undone'
		UNION ALL
		SELECT s.region, t.typed_on, 'took', 'typing', greatest(t.typed_on - s.drawn_on, 0) FROM typings t JOIN specimens s ON s.id = t.specimen_id WHERE t.kind = 'enrolment' AND s.status <> 'undone'
		UNION ALL
		SELECT c.region, (c.opened_at AT TIME ZONE 'Asia/Shanghai')::date, 'matched', 'stemcell', 0 FROM cases c WHERE c.protocol = 'stemcell'
		UNION ALL
		SELECT c.region, d.agreed, 'agreed', 'stemcell', 0 FROM cases c JOIN reached d USING (id) WHERE d.agreed IS NOT NULL
		UNION ALL
		SELECT c.region, d.cleared, 'cleared', 'stemcell', 0 FROM cases c JOIN reached d USING (id) WHERE d.cleared IS NOT NULL
		UNION ALL
		SELECT c.region, d.collected, 'collected', 'stemcell', 0 FROM cases c JOIN reached d USING (id) WHERE d.collected IS NOT NULL
		UNION ALL
		SELECT c.region, (c.ended_at AT TIME ZONE 'Asia/Shanghai')::date, 'dropped',
			CASE WHEN d.cleared IS NOT NULL THEN 'cleared' WHEN d.agreed IS NOT NULL THEN 'agreed' ELSE 'matched' END || '/' || c.ending, 0
		FROM cases c LEFT JOIN reached d USING (id) WHERE c.protocol = 'stemcell' AND c.status = 'ended' AND d.collected IS NULL
		UNION ALL
		SELECT r.region, (coalesce(r.withdrawn_at, r.updated_at) AT TIME ZONE 'Asia/Shanghai')::date, 'dropped',
			CASE WHEN EXISTS (SELECT FROM typings t WHERE t.registration_id = r.id) THEN 'typed' ELSE 'registered' END || '/' || r.status, 0
		FROM registrations r WHERE r.programme = 'stemcell' AND r.intent = 'wish' AND r.status IN ('withdrawn', 'left')
			AND NOT EXISTS (SELECT FROM cases c WHERE c.subject_id = r.id AND c.protocol = 'stemcell')
		UNION ALL
		SELECT c.region, (c.ended_at AT TIME ZONE 'Asia/Shanghai')::date, 'dropped', 'registered/given_up', 0
		FROM cases c JOIN registrations r ON r.id = c.id WHERE c.protocol = 'enrolment' AND c.ending = 'given_up' AND r.status NOT IN ('withdrawn', 'left', 'undone')
		UNION ALL
		SELECT t.region, (t.closed_at AT TIME ZONE 'Asia/Shanghai')::date, 'took', t.step, floor(extract(epoch FROM t.closed_at - t.opened_at) / 86400)::int
		FROM tasks t WHERE t.status = 'done'
		UNION ALL
		SELECT t.region, (CASE WHEN t.status = 'done' THEN t.closed_at ELSE t.due_at END AT TIME ZONE 'Asia/Shanghai')::date,
			CASE WHEN t.status = 'done' AND t.closed_at <= t.due_at THEN 'in_time' ELSE 'late' END, t.step, 0
		FROM tasks t WHERE t.status IN ('done', 'expired') OR t.status = 'open' AND t.due_at < $1
		UNION ALL
		SELECT r.region, ($1 AT TIME ZONE 'Asia/Shanghai')::date, 'standing', r.programme || '/' || r.status, 0 FROM registrations r WHERE r.status <> 'undone'
	)
	SELECT left(region, 6), date_trunc('month', day)::date, measure, code, value, count(*) FROM facts GROUP BY 1, 2, 3, 4, 5`

// CountStatistics counts everything that statistics tell anew. It is done once a day, and a row that is gone since, moved or put right is right the next day.
func (s *Store) CountStatistics(ctx context.Context) error {
	return s.act(ctx, System("upkeep"), "CountStatistics", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Statistics, record{kind: "statistics", id: "all", region: nation}); err != nil {
			return err
		}
		// One process at a time; what was counted before stays readable until this is committed.
		if _, err := a.Exec(ctx, `UPDATE statistics_counted SET at = $1`, a.at); err != nil {
			return err
		}
		if _, err := a.Exec(ctx, `DELETE FROM statistics`); err != nil {
			return err
		}
		_, err := a.Exec(ctx, `INSERT INTO statistics (region, month, measure, code, value, n) `+recount, a.at)
		return err
	})
}

// counted are the numbers of a measure and a code, by region.
type counted map[string]map[identity.Region]int

func (c counted) add(key string, region identity.Region, n int) {
	if c[key] == nil {
		c[key] = map[identity.Region]int{}
	}
	c[key][region] += n
}

// Statistics tells of a region and a year what offices report. Small numbers of people are withheld, whoever asks.
//
// Errors: Invalid for a region or a year that there is not; Denied for a region outside of the actor's.
func (r *Reader) Statistics(ctx context.Context, actor Actor, q StatisticsQuery) (StatisticsView, error) {
	var out StatisticsView
	err := r.act(ctx, actor, "Statistics", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		out, err = a.statistics(ctx, policy.Read, q)
		return err
	})
	return out, err
}

func (a *act) statistics(ctx context.Context, action policy.Action, q StatisticsQuery) (StatisticsView, error) {
	var err error
	if q.Region, err = regionOf(q.Region); err != nil {
		a.decided = true
		return StatisticsView{}, err
	}
	if q.Region == "" {
		q.Region = a.widest(action)
	}
	if err := a.permit(action, policy.Statistics, record{kind: "statistics", id: string(q.Region), region: q.Region}); err != nil {
		return StatisticsView{}, err
	}
	if problems := forms.Check(q); len(problems) > 0 {
		return StatisticsView{}, invalid(problems)
	}
	q.Year, q.Programme, q.Measure = cmp.Or(q.Year, a.today().Year()), cmp.Or(q.Programme, rules.StemCell), cmp.Or(q.Measure, "registered")
	out := StatisticsView{Region: q.Region, Year: q.Year, Programme: q.Programme, Measure: q.Measure}
	err = a.QueryRow(ctx, `SELECT at FROM statistics_counted`).Scan(&out.CountedAt)
	if err != nil {
		return out, err
	}
	year, months, err := a.readCounted(ctx, q)
	if err != nil {
		return out, err
	}
	out.tellStages(year, q)
	out.tellParts(year, months, q)
	out.tellDeadlines(year, q)
	return out, a.tellTook(ctx, &out, year, q)
}

// widest is the widest region in which the actor may see statistics: where a page begins.
func (a *act) widest(action policy.Action) identity.Region {
	regions := a.policy.Regions(a.actor.policySubject())
	slices.Sort(regions) // a region before those that lie in it
	for _, region := range regions {
		if d, _ := a.may(action, policy.Statistics, record{region: identity.Region(region)}); d.Allowed {
			return identity.Region(region)
		}
	}
	return a.actor.region
}

// readCounted reads the numbers of a year by measure/code, and those of the measure by month, all over the country: what is withheld is decided over all of it.
func (a *act) readCounted(ctx context.Context, q StatisticsQuery) (year, months counted, err error) {
	from, to := calendar.Must(q.Year, time.January, 1), calendar.Must(q.Year+1, time.January, 1)
	rows, err := a.Query(ctx, `
		SELECT region, measure || '/' || code, CASE WHEN measure = $3 AND code = $4 THEN extract(month FROM month)::int ELSE 0 END, sum(n)::int
		FROM statistics WHERE month >= $1 AND month < $2 AND measure <> 'standing' GROUP BY 1, 2, 3`, from, to, q.Measure, string(q.counts()))
	if err != nil {
		return nil, nil, err
	}
	year, months = counted{}, counted{}
	var region identity.Region
	var key string
	var month, n int
	_, err = pgx.ForEachRow(rows, []any{&region, &key, &month, &n}, func() error {
		year.add(key, region, n)
		if month > 0 {
			months.add(strconv.Itoa(month), region, n)
		}
		return nil
	})
	return year, months, err
}

// counts is whose numbers the measure has: beyond the registration everything is about stem cells.
func (q StatisticsQuery) counts() rules.Programme {
	if q.Measure == "registered" {
		return q.Programme
	}
	return rules.StemCell
}

func (v *StatisticsView) tellStages(year counted, q StatisticsQuery) {
	for _, stage := range Stages() {
		whole, _ := spread(year[stage+"/stemcell"], q.Region)
		v.Stages = append(v.Stages, StageFigure{stage, whole.figure()})
	}
	v.Dropped = []DropFigure{}
	for key, numbers := range year {
		parts := strings.Split(key, "/")
		if parts[0] != "dropped" || len(parts) != 3 {
			continue
		}
		if whole, _ := spread(numbers, q.Region); whole.n > 0 || whole.hidden {
			v.Dropped = append(v.Dropped, DropFigure{parts[1], parts[2], whole.figure()})
		}
	}
	slices.SortFunc(v.Dropped, func(a, b DropFigure) int {
		return cmp.Or(slices.Index(Stages(), a.Stage)-slices.Index(Stages(), b.Stage), cmp.Compare(a.Reason, b.Reason))
	})
}

// tellParts tells the measure by region and by month. The months of a region add up to what is told of it, so they are told all together, where every one may be:
// what is withheld in a month is withheld of two regions at least, and so nobody's months come out as what is left of their neighbours'.
func (v *StatisticsView) tellParts(year, months counted, q StatisticsQuery) {
	whole, parts := spread(year[q.Measure+"/"+string(q.counts())], q.Region)
	v.Total = whole.figure()
	v.Regions = []RegionFigure{}
	for _, p := range parts {
		line := RegionFigure{Region: p.region, Figure: p.figure()}
		if v.Total.Count != nil && line.Count != nil && *v.Total.Count > 0 {
			share := float64(p.n) / float64(whole.n)
			line.Share = &share
		}
		v.Regions = append(v.Regions, line)
	}
	v.Months, v.Withheld = []MonthFigure{}, whole.hidden
	for month := 1; month <= 12; month++ {
		p, _ := spread(months[strconv.Itoa(month)], q.Region)
		v.Withheld = v.Withheld || p.hidden
		v.Months = append(v.Months, MonthFigure{month, p.n})
	}
	if v.Withheld {
		v.Months = []MonthFigure{}
	}
}

// tellDeadlines tells of each step how many tasks there were and how many per cent were in time. It is about the work that was done, and not about whom it was
// done for; all the same nothing is told of fewer than five.
func (v *StatisticsView) tellDeadlines(year counted, q StatisticsQuery) {
	v.Deadlines = []DueFigure{}
	for _, step := range Steps() {
		inTime, late := year["in_time/"+step], year["late/"+step]
		all := map[identity.Region]int{}
		for region, n := range inTime {
			all[region] += n
		}
		for region, n := range late {
			all[region] += n
		}
		whole, _ := spread(all, q.Region)
		if whole.n == 0 {
			continue
		}
		d := DueFigure{Step: step, Figure: whole.figure()}
		if !whole.hidden {
			kept := 0
			for region, n := range inTime {
				if q.Region.Contains(region) {
					kept += n
				}
			}
			percent := 100 * kept / whole.n
			d.InTime = &percent
		}
		v.Deadlines = append(v.Deadlines, d)
	}
}

// tellTook tells how long steps took, by the days of each.
func (a *act) tellTook(ctx context.Context, v *StatisticsView, year counted, q StatisticsQuery) error {
	from, to := calendar.Must(q.Year, time.January, 1), calendar.Must(q.Year+1, time.January, 1)
	lo, hi := q.Region.Range()
	rows, err := a.Query(ctx, `
		SELECT code, value, sum(n)::int FROM statistics WHERE measure = 'took' AND month >= $1 AND month < $2 AND region >= $3 AND region < $4 GROUP BY 1, 2 ORDER BY 1, 2`, from, to, lo, hi)
	if err != nil {
		return err
	}
	type days struct{ value, n int }
	spans := map[string][]days{}
	var step string
	var d days
	if _, err := pgx.ForEachRow(rows, []any{&step, &d.value, &d.n}, func() error {
		spans[step] = append(spans[step], d)
		return nil
	}); err != nil {
		return err
	}
	v.Took = []TookFigure{}
	for _, step := range append([]string{typingStep}, Steps()...) {
		whole, _ := spread(year["took/"+step], q.Region)
		if whole.n == 0 {
			continue
		}
		t := TookFigure{Step: step, Figure: whole.figure()}
		if !whole.hidden {
			quantile := func(share float64) *int {
				seen := 0
				for _, d := range spans[step] {
					if seen += d.n; float64(seen) >= share*float64(whole.n) {
						return &d.value
					}
				}
				return nil
			}
			t.Lower, t.Median, t.Upper, t.Most = quantile(0.25), quantile(0.5), quantile(0.75), quantile(0.9)
		}
		v.Took = append(v.Took, t)
	}
	return nil
}

// StatisticsSheet is what Statistics tells as one sheet, for a spreadsheet: a line for each number.
func (r *Reader) StatisticsSheet(ctx context.Context, actor Actor, q StatisticsQuery) (Sheet, error) {
	var out Sheet
	err := r.act(ctx, actor, "StatisticsSheet", policy.ForAdministration, func(ctx context.Context, a *act) error {
		v, err := a.statistics(ctx, policy.Export, q)
		if err != nil {
			return err
		}
		out, err = a.statisticsSheet(v)
		return err
	})
	return out, err
}

func (a *act) statisticsSheet(v StatisticsView) (Sheet, error) {
	l := a.actor.Locale
	var data bytes.Buffer
	data.WriteString("\ufeff")
	lines := csv.NewWriter(&data)
	lines.UseCRLF = true
	rows := 0
	write := func(cells ...string) {
		for i, text := range cells {
			cells[i] = intake.CSVCell(text)
		}
		_ = lines.Write(cells) // Error tells below
		rows++
	}
	number := func(f Figure) string {
		if f.Withheld {
			return l.Say("statistics.withheld", nil)
		}
		return strconv.Itoa(*f.Count)
	}
	whole := func(n *int) string {
		if n == nil {
			return ""
		}
		return strconv.Itoa(*n)
	}
	place, year := v.Region.FullName(), strconv.Itoa(v.Year)
	if v.Region == identity.Nation {
		place = l.Say("statistics.nation", nil)
	}
	line := func(table, what, of string, f string) {
		write(place, year, a.word("statistics_table", table), what, of, f)
	}
	write(l.Say("statistics.column.region", nil), l.Say("statistics.column.year", nil), l.Say("statistics.column.table", nil), l.Say("statistics.column.what", nil), l.Say("statistics.column.of", nil), l.Say("statistics.column.count", nil))
	for _, s := range v.Stages {
		line("stages", a.word("stage", s.Stage), "", number(s.Figure))
	}
	for _, d := range v.Dropped {
		line("dropped", a.word("stage", d.Stage), DropWord(l, d.Reason), number(d.Figure))
	}
	measure := a.word("stage", v.Measure)
	line("regions", measure, "", number(v.Total))
	for _, p := range v.Regions {
		line("regions", measure, p.Region.FullName(), number(p.Figure))
	}
	for _, m := range v.Months {
		line("months", measure, fmt.Sprintf("%d-%02d", v.Year, m.Month), strconv.Itoa(m.Count))
	}
	for _, t := range v.Took {
		what := StepWord(l, t.Step)
		line("took", what, l.Say("statistics.column.count", nil), number(t.Figure))
		line("took", what, a.word("quantile", "lower"), whole(t.Lower))
		line("took", what, a.word("quantile", "median"), whole(t.Median))
		line("took", what, a.word("quantile", "upper"), whole(t.Upper))
		line("took", what, a.word("quantile", "most"), whole(t.Most))
	}
	for _, d := range v.Deadlines {
		line("deadlines", StepWord(l, d.Step), l.Say("statistics.column.count", nil), number(d.Figure))
		line("deadlines", StepWord(l, d.Step), l.Say("statistics.column.in_time", nil), whole(d.InTime))
	}
	lines.Flush()
	return Sheet{Data: data.Bytes(), Rows: rows - 1}, lines.Error()
}

// StepWord is the step of a TookFigure or a DueFigure as people read it.
func StepWord(l lang.Locale, step string) string {
	if step == typingStep {
		return l.Say("statistics.typing", nil)
	}
	return l.Say("step."+step, nil)
}

// DropWord is the reason of a DropFigure as people read it: how a case ended, or the status of a registration.
func DropWord(l lang.Locale, reason string) string {
	for _, set := range []string{"code.Ending.", "code.Status."} {
		if lang.Has(set + reason) {
			return l.Say(set+reason, nil)
		}
	}
	return reason
}

// DriveFigure is what came of a drive.
type DriveFigure struct {
	ID         uuid.UUID     `json:"id" class:"statistics" mask:"drop"`
	Number     string        `json:"number" class:"statistics" mask:"drop"`
	Name       string        `json:"name" class:"statistics" mask:"drop"`
	FirstDay   calendar.Date `json:"first_day" class:"statistics" mask:"drop"`
	Rows       Figure        `json:"rows" doc:"Of the sheets that were uploaded; those of mended sheets are not counted again." class:"statistics" mask:"drop"`
	Errors     *int          `json:"errors,omitempty" doc:"Rows that could not be taken as they were, per cent." class:"statistics" mask:"drop"`
	Duplicates *int          `json:"duplicates,omitempty" doc:"Rows of people who were in the sheet or the register already, per cent." class:"statistics" mask:"drop"`
	Tubes      Figure        `json:"tubes" class:"statistics" mask:"drop"`
	Typed      *int          `json:"typed,omitempty" doc:"Of the tubes, per cent." class:"statistics" mask:"drop"`
	Days       *int          `json:"days,omitempty" doc:"From drawing to typing, the median." class:"statistics" mask:"drop"`
}

// DriveStatistics tells of the drives of a region and a year, the latest first, at most two hundred, how they went. What is told of fewer than five people is
// withheld.
func (r *Reader) DriveStatistics(ctx context.Context, actor Actor, q StatisticsQuery) ([]DriveFigure, error) {
	var out []DriveFigure
	err := r.act(ctx, actor, "DriveStatistics", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if q.Region, err = regionOf(q.Region); err != nil {
			a.decided = true
			return err
		}
		within := a.reachOf(policy.Read, policy.Statistics)
		lo, hi := within.in(q.Region)
		from := calendar.Must(cmp.Or(q.Year, a.today().Year()), time.January, 1)
		rows, err := a.Query(ctx, `
			SELECT d.id, d.number, d.name, d.first_day, b.all, b.errors, b.duplicates, s.tubes, s.typed, s.days
			FROM drives d,
				LATERAL (SELECT coalesce(sum(b.rows_total), 0)::int AS all, coalesce(sum((b.verdicts->>'error')::int), 0)::int AS errors, coalesce(sum((b.verdicts->>'duplicate')::int), 0)::int AS duplicates
					FROM batches b WHERE b.drive_id = d.id AND b.parent_id IS NULL AND b.status NOT IN ('cancelled', 'undone')) b,
				LATERAL (SELECT count(*)::int AS tubes, count(t.day)::int AS typed, percentile_disc(0.5) WITHIN GROUP (ORDER BY greatest(t.day - s.drawn_on, 0)) AS days
					FROM specimens s LEFT JOIN LATERAL (SELECT min(typed_on) AS day FROM typings t WHERE t.specimen_id = s.id) t ON true
					WHERE s.drive_id = d.id AND s.kind = 'enrolment' AND s.status <> 'undone') s
			WHERE d.first_day >= $1 AND d.first_day < $2 AND d.status <> 'cancelled' AND EXISTS (SELECT FROM unnest($3::text[], $4::text[]) x(lo, hi) WHERE d.region >= x.lo AND d.region < x.hi)
			ORDER BY d.first_day DESC, d.id DESC LIMIT 200`, from, from.AddYears(1), lo, hi)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (d DriveFigure, err error) {
			var all, wrong, twice, tubes, typed int
			var days *int
			err = row.Scan(&d.ID, &d.Number, &d.Name, &d.FirstDay, &all, &wrong, &twice, &tubes, &typed, &days)
			few := func(n int) bool { return n > 0 && n < fewest }
			d.Rows, d.Tubes = part{n: all, hidden: few(all)}.figure(), part{n: tubes, hidden: few(tubes)}.figure()
			percent := func(n, of int) *int {
				p := 100 * n / of
				return &p
			}
			if all >= fewest {
				d.Errors, d.Duplicates = percent(wrong, all), percent(twice, all)
			}
			if tubes >= fewest {
				d.Typed = percent(typed, tubes)
			}
			if typed >= fewest {
				d.Days = days
			}
			return d, err
		})
		if err != nil {
			return err
		}
		return a.permitMany(policy.Read, policy.Statistics, within, "drives", idsOf(out, func(d DriveFigure) uuid.UUID { return d.ID }), a.narrowed("year", strconv.Itoa(from.Year())))
	})
	return out, err
}

// Card is a number on the first page that opens a list: how many the list has.
type Card struct {
	Code  string `json:"code" doc:"cases_open, tasks_overdue, searches_open, drives_open, donors_listed or registered_this_month." class:"statistics" mask:"drop"`
	Count int    `json:"count" class:"statistics" mask:"drop"`
	Path  string `json:"path" doc:"The list, as the API has it." class:"statistics" mask:"drop"`
}

// Cards are the numbers of the lists that the actor may open: each of them is counted as its list is read.
func (r *Reader) Cards(ctx context.Context, actor Actor) ([]Card, error) {
	out := []Card{}
	err := r.act(ctx, actor, "Cards", policy.ForCase, func(ctx context.Context, a *act) error {
		out = out[:0]
		month := calendar.Must(a.today().Year(), a.today().Month(), 1)
		const placed = ` AND EXISTS (SELECT FROM unnest($1::text[], $2::text[]) s(lo, hi) WHERE x.region >= lo AND x.region < hi)`
		for _, c := range []struct {
			code   string
			action policy.Action
			class  policy.Class
			kind   string
			path   string
			count  string // over $1 and $2, the reach by place, $3, whether records at $4, the office, count too, $5, now, and $6, this month
		}{
			{"cases_open", policy.Read, policy.Case, "cases", "/v1/cases?status=open",
				`SELECT count(*) FROM cases x WHERE x.status = 'open' AND (true` + placed + ` OR $3 AND EXISTS (SELECT FROM case_parties p WHERE p.case_id = x.id AND p.organisation_id = $4))`},
			{"tasks_overdue", policy.Decide, policy.Case, "tasks", "/v1/tasks?due_to=" + a.at.Format(time.RFC3339),
				`SELECT count(*) FROM tasks x WHERE x.status = 'open' AND x.due_at < $5 AND (true` + placed + ` OR $3 AND x.organisation_id = $4)`},
			{"searches_open", policy.Read, policy.Search, "searches", "/v1/searches?status=open",
				`SELECT count(*) FROM searches x WHERE x.status = 'open' AND (true` + placed + ` OR $3 AND x.organisation_id = $4)`},
			{"drives_open", policy.Read, policy.Drive, "drives", "/v1/drives",
				`SELECT count(*) FROM drives x WHERE x.status = 'open'` + placed},
			{"donors_listed", policy.Read, policy.Registration, "donors", "/v1/donors?programme=stemcell&status=listed",
				`SELECT coalesce(sum(x.n), 0) FROM statistics x WHERE x.measure = 'standing' AND x.code = 'stemcell/listed'` + placed},
			{"registered_this_month", policy.Read, policy.Registration, "donors", "/v1/donors?programme=stemcell&registered_from=" + month.String(),
				`SELECT coalesce(sum(x.n), 0) FROM statistics x WHERE x.measure = 'registered' AND x.code = 'stemcell' AND x.month = $6` + placed},
		} {
			within := a.reachOf(c.action, c.class)
			if within.empty() || c.kind == "donors" && len(within.lo) == 0 {
				continue
			}
			at := within.site
			if c.action == policy.Decide {
				at = within.office
			}
			card := Card{Code: c.code, Path: c.path}
			// Every parameter is named, so that one list of them does for all.
			if err := a.QueryRow(ctx, `WITH named AS (SELECT $3::bool, $4::uuid, $5::timestamptz, $6::date) `+c.count, within.lo, within.hi, at, within.organisation, a.at, month).Scan(&card.Count); err != nil {
				return err
			}
			if err := a.permitMany(c.action, c.class, within, c.kind, nil); err != nil {
				return err
			}
			out = append(out, card)
		}
		a.decided = true // who may open no list has no card
		return nil
	})
	return out, err
}
