package registry

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// The worklist: what is to be done, by the reader and by others in the cases that the reader's side carries, in the order of what is most
// at risk (ranks.go). A page is read branch by branch, each from an index in its order, so that it costs what it shows and not what there
// is: see migrations/00018_worklist.sql.

// WorkTab is one of the worklist's tabs.
type WorkTab string

// The tabs.
const (
	WorkAll        WorkTab = "all"        // everything that the reader may answer and no colleague has been given
	WorkOverdue    WorkTab = "overdue"    // of it, what is late
	WorkToday      WorkTab = "today"      // what is due today
	WorkWeek       WorkTab = "week"       // what is due this week, today too
	WorkUnassigned WorkTab = "unassigned" // what is nobody's yet
	WorkWaiting    WorkTab = "waiting"    // what others have to answer, and what waits with its clock stopped
	WorkEscalated  WorkTab = "escalated"  // what has gone up the ladder, the reader's and others'
)

// WorkTabs lists the tabs in the order in which they stand.
func WorkTabs() []WorkTab {
	return []WorkTab{WorkOverdue, WorkToday, WorkWeek, WorkWaiting, WorkUnassigned, WorkEscalated, WorkAll}
}

// WorkFilter narrows the worklist.
type WorkFilter struct {
	Tab      WorkTab // all when empty
	Protocol Protocol
	Step     string
	Region   identity.Region
	Number   string    // a part of a case's number
	CaseID   uuid.UUID // of one case only
	After    time.Time // for the next page: work that stands after this instant …
	AfterID  uuid.UUID // … or at it after this task
	Limit    int
}

// Coworker is a member of staff as those see them who do the same work.
type Coworker struct {
	Staff uuid.UUID `json:"staff" class:"case" mask:"drop"`
	Name  string    `json:"name" class:"case" mask:"drop"`
	Me    bool      `json:"me,omitempty" class:"case" mask:"drop"`
}

// LeaseView is who is at a task.
type LeaseView struct {
	Mine   bool      `json:"mine" class:"case" mask:"drop"`
	Holder *Coworker `json:"holder,omitempty" doc:"Who it is, for colleagues." class:"case" mask:"drop"`
	Until  time.Time `json:"until" class:"case" mask:"drop"`
}

// PauseView is why a task's clock stands still.
type PauseView struct {
	Since   time.Time `json:"since" class:"case" mask:"drop"`
	Reason  string    `json:"reason" class:"case" mask:"drop"`
	Resumes time.Time `json:"resumes" doc:"When it runs again by itself." class:"case" mask:"drop"`
}

// WorkWhy is by what a line is on the reader's list.
type WorkWhy struct {
	Relation policy.Relation `json:"relation" class:"case" mask:"drop"`
	Role     policy.Role     `json:"role" class:"case" mask:"drop"`
	Region   identity.Region `json:"region" class:"case" mask:"drop"`
	Text     string          `json:"text" class:"case" mask:"drop"`
}

// WorkLine is one task of the worklist.
type WorkLine struct {
	TaskView
	Stage       string         `json:"stage" doc:"The step at which the case stands." class:"case" mask:"drop"`
	WorkingDays int            `json:"working_days" doc:"Until the deadline, in the region's calendar; negative when it has passed." class:"case" mask:"drop"`
	Overdue     bool           `json:"overdue" class:"case" mask:"drop"`
	Urgency     string         `json:"urgency,omitempty" doc:"Of the patient, for readers who may know it." class:"case" mask:"drop"`
	RankAt      time.Time      `json:"rank_at" doc:"Where it stands in the list: its deadline, earlier for an urgent patient." class:"case" mask:"drop"`
	Paused      *PauseView     `json:"paused,omitempty" class:"case" mask:"drop"`
	Extended    int            `json:"extended,omitempty" doc:"How often more time was given." class:"case" mask:"drop"`
	Owner       *Coworker      `json:"owner,omitempty" doc:"Whom it is assigned to, for colleagues." class:"case" mask:"drop"`
	Assigned    bool           `json:"assigned" class:"case" mask:"drop"`
	Lease       *LeaseView     `json:"lease,omitempty" class:"case" mask:"drop"`
	Last        *TimelineEntry `json:"last,omitempty" doc:"The last event of the case that the reader's side may see." class:"case" mask:"drop"`
	Unread      bool           `json:"unread" doc:"Something happened since the reader last looked at the case." class:"case" mask:"drop"`
	Supervised  bool           `json:"supervised" doc:"The reader supervises it, and may take it over." class:"case" mask:"drop"`
	Quick       string         `json:"quick" doc:"What is most likely to be done: answer, claim, resume, take_over or look." class:"case" mask:"drop"`
	Why         WorkWhy        `json:"why" class:"case" mask:"drop"`
}

// WorkCounts are how many tasks each tab has; MostCounted stands for that many or more.
type WorkCounts struct {
	Overdue    int `json:"overdue" class:"case" mask:"drop"`
	Today      int `json:"today" class:"case" mask:"drop"`
	Week       int `json:"week" class:"case" mask:"drop"`
	Waiting    int `json:"waiting" class:"case" mask:"drop"`
	Unassigned int `json:"unassigned" class:"case" mask:"drop"`
	Escalated  int `json:"escalated" class:"case" mask:"drop"`
	All        int `json:"all" class:"case" mask:"drop"`
}

// MostCounted is where counting a tab ends: 99+.
const MostCounted = 100

// Of is the count of a tab.
func (c WorkCounts) Of(tab WorkTab) int {
	return map[WorkTab]int{WorkOverdue: c.Overdue, WorkToday: c.Today, WorkWeek: c.Week, WorkWaiting: c.Waiting, WorkUnassigned: c.Unassigned, WorkEscalated: c.Escalated, WorkAll: c.All}[tab]
}

// Work returns a page of the reader's worklist, what is most at risk first.
func (r *Reader) Work(ctx context.Context, actor Actor, f WorkFilter) ([]WorkLine, error) {
	var out []WorkLine
	var read *workRead
	err := r.actFrom(ctx, actor, "Work", policy.ForCase, func(a *act, b *pgx.Batch) { read = a.queueWork(b, f) }, func(ctx context.Context, a *act) (err error) {
		out, err = read.lines(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// workRead is a page of a worklist that is read in a batch.
type workRead struct {
	*act
	filter WorkFilter
	within reach
	desk   workDesk
	rows   []workRow
	whys   map[WorkWhy]string // by the name of the sentence, the words: most lines are there for the same reason
}

func (a *act) queueWork(b *pgx.Batch, f WorkFilter) *workRead {
	read := &workRead{act: a, filter: f, whys: map[WorkWhy]string{}, within: a.reachOf(policy.Read, policy.Case)}
	read.desk = a.deskOf(read.within)
	q := &workQuery{desk: read.desk, filter: f}
	if branches := q.tab(cmp.Or(f.Tab, WorkAll), a.at); len(branches) > 0 {
		statement := q.page(branches, pageSize(f.Limit))
		b.Queue(statement, q.args...).Query(func(rows pgx.Rows) error {
			read.rows = make([]workRow, 0, pageSize(f.Limit))
			for rows.Next() {
				read.rows = append(read.rows, workRow{})
				if err := read.rows[len(read.rows)-1].scan(rows); err != nil {
					return err
				}
			}
			return rows.Err()
		})
	}
	return read
}

func (read *workRead) lines(ctx context.Context) ([]WorkLine, error) {
	a, f := read.act, read.filter
	out := make([]WorkLine, 0, len(read.rows))
	for i := range read.rows {
		line, err := a.workLine(ctx, read, &read.rows[i])
		if err != nil {
			return nil, err
		}
		out = append(out, line)
	}
	return out, a.permitList(policy.Case, read.within, "tasks", idsOf(out, func(l WorkLine) uuid.UUID { return l.ID }), a.narrowed("tab", string(f.Tab)),
		a.narrowed("step", f.Step), a.narrowed("protocol", string(f.Protocol)), a.narrowed("region", string(f.Region)), a.narrowed("number", f.Number), a.narrowed("case", textOf(f.CaseID)))
}

// CountWork counts the tabs of the reader's worklist, under the same filter whatever its tab.
func (r *Reader) CountWork(ctx context.Context, actor Actor, f WorkFilter) (WorkCounts, error) {
	var out WorkCounts
	var read *countsRead
	first := func(a *act, b *pgx.Batch) {
		read = a.queueCounts(b, a.deskOf(a.reachOf(policy.Read, policy.Case)), f)
	}
	err := r.actFrom(ctx, actor, "CountWork", policy.ForCase, first, func(ctx context.Context, a *act) error {
		err := a.permitList(policy.Case, a.reachOf(policy.Read, policy.Case), "tasks", nil, "counted", a.narrowed("step", f.Step), a.narrowed("protocol", string(f.Protocol)), a.narrowed("region", string(f.Region)), a.narrowed("number", f.Number))
		if err == nil {
			out, err = read.counts(ctx)
		}
		return err
	})
	if err != nil {
		return WorkCounts{}, err
	}
	return out, nil
}

// countsRead is what the tabs are counted by: what the reader may answer and what others have to, read once for all tabs. Who has more than
// mostTallied to look through is counted tab by tab, each no further than anybody counts.
type countsRead struct {
	*act
	desk         workDesk
	filter       WorkFilter
	mine, others int
	paused       int // of mine
	late         int // of others, those that have gone up the ladder
	WorkCounts
}

const mostTallied = 500

func (a *act) queueCounts(b *pgx.Batch, desk workDesk, f WorkFilter) *countsRead {
	f.After, f.AfterID = time.Time{}, uuid.Nil
	read := &countsRead{act: a, desk: desk, filter: f}
	if desk.staff == uuid.Nil {
		return read
	}
	q := &workQuery{desk: desk, filter: f}
	statement := q.tally(a.at)
	b.Queue(statement, q.args...).QueryRow(func(row pgx.Row) error {
		c := &read.WorkCounts
		return row.Scan(&read.mine, &c.Overdue, &c.Today, &c.Week, &read.paused, &c.Escalated, &read.others, &read.late, &c.Unassigned)
	})
	return read
}

func (read *countsRead) counts(ctx context.Context) (WorkCounts, error) {
	c := read.WorkCounts
	if read.mine >= mostTallied || read.others >= mostTallied {
		q := &workQuery{desk: read.desk, filter: read.filter}
		var counts []string
		for _, tab := range []WorkTab{WorkOverdue, WorkToday, WorkWeek, WorkWaiting, WorkUnassigned, WorkEscalated, WorkAll} {
			counts = append(counts, q.count(q.tab(tab, read.at)))
		}
		err := read.QueryRow(ctx, `SELECT `+strings.Join(counts, ", "), q.args...).Scan(&c.Overdue, &c.Today, &c.Week, &c.Waiting, &c.Unassigned, &c.Escalated, &c.All)
		return c, err
	}
	c.Waiting, c.Escalated, c.All = read.others+read.paused, c.Escalated+read.late, read.mine
	for _, n := range []*int{&c.Overdue, &c.Today, &c.Week, &c.Waiting, &c.Unassigned, &c.Escalated, &c.All} {
		*n = min(*n, MostCounted)
	}
	return c, nil
}

// WorkPage is the worklist with all that stands beside it.
type WorkPage struct {
	Lines  []WorkLine  `class:"case" mask:"drop"`
	Counts WorkCounts  `class:"case" mask:"drop"`
	Views  []SavedView `class:"case" mask:"drop"`
	Mates  []Coworker  `class:"case" mask:"drop"` // whom the reader's own tasks can be given to
}

// ShowWorkPage returns a page of the reader's worklist with the numbers on its tabs, their views, and whom tasks can be given to.
func (r *Reader) ShowWorkPage(ctx context.Context, actor Actor, f WorkFilter) (WorkPage, error) {
	var out WorkPage
	var read *workRead
	var counted *countsRead
	first := func(a *act, b *pgx.Batch) {
		read = a.queueWork(b, f)
		counted = a.queueCounts(b, read.desk, f)
		a.queueViews(b, &out.Views)
	}
	err := r.actFrom(ctx, actor, "ShowWorkPage", policy.ForCase, first, func(ctx context.Context, a *act) (err error) {
		if out.Lines, err = read.lines(ctx); err != nil {
			return err
		}
		if out.Counts, err = counted.counts(ctx); err != nil {
			return err
		}
		if i := slices.IndexFunc(out.Lines, func(l WorkLine) bool { return l.Mine }); i >= 0 {
			out.Mates, err = a.colleaguesFor(ctx, read.rows[i].taskRow)
		}
		return err
	})
	if err != nil {
		return WorkPage{}, err
	}
	return out, nil
}

// workDesk is where a reader's work lies.
type workDesk struct {
	office, staff uuid.UUID
	officeRoles   []string          // of their own office's tasks they answer those that ask for one of these
	officeReads   bool              // they read what their office is asked
	answers       []roleIn          // tasks that any office may answer, and they do
	reads         []identity.Region // where they read cases
	site          bool              // they read the cases at whose table their office sits
	urgency       bool              // they may know how urgent a patient is, and order their work by it
}

type roleIn struct {
	role   policy.Role
	region identity.Region
}

// deskOf finds where the actor's work lies, from their grants: what mayAnswer says of one task, for all of them.
func (a *act) deskOf(within reach) workDesk {
	d := workDesk{office: a.actor.organisation, staff: a.actor.staff, officeRoles: []string{}}
	if d.staff == uuid.Nil {
		return d
	}
	atOffice := a.maskOf(standing{policy.Assigned, a.actor.region})
	atSite := a.maskOf(standing{policy.Site, a.actor.region}).Union(a.maskOf(standing{policy.None, a.actor.region}))
	d.officeReads = atOffice.May(policy.Read, policy.Case)
	d.site = atSite.May(policy.Read, policy.Case)
	held := a.policy.Held(a.actor.policySubject())
	slices.SortFunc(held, func(x, y policy.Grant) int { return strings.Compare(x.Region, y.Region) }) // a region before those that lie in it
	for _, g := range held {
		region := identity.Region(g.Region)
		if region.Contains(a.actor.region) && atOffice.May(policy.Decide, policy.Case) && !slices.Contains(d.officeRoles, string(g.Role)) {
			d.officeRoles = append(d.officeRoles, string(g.Role))
		}
		place := a.mask(record{region: region})
		covered := slices.ContainsFunc(d.answers, func(r roleIn) bool { return r.role == g.Role && r.region.Contains(region) })
		if anyOffice(g.Role) && place.May(policy.Decide, policy.Case) && !covered {
			d.answers = append(d.answers, roleIn{g.Role, region})
		}
		// A range that a denial has cut is not whole any more, and is left out.
		lo, _ := region.Range()
		whole := slices.Contains(within.lo, lo)
		if place.May(policy.Read, policy.Case) && whole && !slices.ContainsFunc(d.reads, func(r identity.Region) bool { return r.Contains(region) }) {
			d.reads = append(d.reads, region)
		}
	}
	// The donor's offices and the patient's hospital know how urgent it is; whoever must know nothing of the patient orders by the deadline.
	d.urgency = len(d.reads) > 0 || atSite.May(policy.Read, policy.Patient)
	return d
}

// workQuery builds the statement of a page: branches over tasks t, with their arguments.
type workQuery struct {
	desk   workDesk
	filter WorkFilter
	args   []any
	named  map[any]string // arguments that are there already
}

func (q *workQuery) arg(v any) string {
	if name, ok := q.named[v]; ok {
		return name
	}
	q.args = append(q.args, v)
	name := "$" + strconv.Itoa(len(q.args))
	if q.named == nil {
		q.named = map[any]string{}
	}
	q.named[v] = name
	return name
}

func (q *workQuery) list(v []string) string {
	key := "list of " + strings.Join(v, ", ") // no argument is called so
	if _, known := q.named[key]; !known {
		name := q.arg(key)
		q.args[len(q.args)-1] = v
		return name + "::text[]"
	}
	return q.named[key] + "::text[]"
}

// place is a region as a condition that an index answers.
func (q *workQuery) place(region identity.Region) string {
	switch region.Level() {
	case identity.LevelNation:
		return "true"
	case identity.LevelProvince:
		return "t.province = " + q.arg(string(region)) + "::text"
	case identity.LevelCity:
		return "t.city = " + q.arg(string(region)) + "::text"
	case identity.LevelCounty:
		return "t.county = " + q.arg(string(region)) + "::text"
	default:
		lo, hi := region.Range()
		return "t.county = " + q.arg(string(region[:6])) + "::text AND t.region >= " + q.arg(lo) + "::text AND t.region < " + q.arg(hi) + "::text"
	}
}

func (q *workQuery) me() string     { return q.arg(q.desk.staff) + "::uuid" }
func (q *workQuery) office() string { return q.arg(q.desk.office) + "::uuid" }

// answerable are the conditions of what the reader may answer: their office's tasks, and those that any office may.
func (q *workQuery) answerable() []string {
	var out []string
	if len(q.desk.officeRoles) > 0 {
		out = append(out, "t.organisation_id = "+q.office()+" AND t.role = ANY("+q.list(q.desk.officeRoles)+")")
	}
	for _, at := range q.desk.answers {
		out = append(out, q.place(at.region)+" AND t.any_office AND t.role = "+q.arg(string(at.role))+"::text")
	}
	return out
}

// anyOf is the condition that holds when one of some does; it is never unknown.
func anyOf(conditions []string) string {
	if len(conditions) == 0 {
		return "false"
	}
	return "coalesce((" + strings.Join(conditions, ") OR (") + "), false)"
}

// mine are the branches of what the reader may answer and no colleague was given. No task is in two.
func (q *workQuery) mine() []string {
	answerable := q.answerable()
	var out []string
	for _, c := range answerable {
		out = append(out, c+" AND (t.assignee_id IS NULL OR t.assignee_id = "+q.me()+")")
	}
	if len(q.desk.officeRoles) > 0 { // given to them by name, where they would not find it by place
		out = append(out, "t.assignee_id = "+q.me()+" AND t.role = ANY("+q.list(q.desk.officeRoles)+") AND NOT "+anyOf(answerable))
	}
	return out
}

// others are the branches of what others have to answer, where the reader's side carries the case. No task is in two.
func (q *workQuery) others() []string {
	if !q.desk.officeReads && len(q.desk.reads) == 0 && !q.desk.site {
		return nil
	}
	mine := anyOf(q.mine())
	elsewhere := "t.organisation_id IS DISTINCT FROM " + q.office()
	var out []string
	if q.desk.officeReads {
		out = append(out, "t.organisation_id = "+q.office()+" AND NOT "+mine)
	}
	var places []string
	for _, region := range q.desk.reads {
		place := q.place(region)
		places = append(places, place)
		answers := slices.ContainsFunc(q.desk.answers, func(at roleIn) bool { return at.region.Contains(region) })
		if answers { // of what any office may answer, only what a colleague was given
			out = append(out, place+" AND t.any_office AND t.assignee_id IS NOT NULL AND NOT "+mine)
		} else {
			out = append(out, place+" AND t.any_office AND NOT "+mine)
		}
		out = append(out, place+" AND NOT t.any_office AND "+elsewhere+" AND NOT "+mine)
	}
	if q.desk.site { // the donor's side sees what both sides are asked, the patient's side its own
		out = append(out, "t.case_id IN (SELECT c.id FROM cases c WHERE c.protocol <> 'enrolment' AND c.status = 'open' AND c.donor_sites @> ARRAY["+q.office()+"]) AND "+elsewhere+
			" AND NOT "+mine+" AND NOT "+anyOf(places))
	}
	return out
}

// condition is what a tab asks of a task t beside whose it is; of WorkWaiting, what it asks of the reader's own. The rank is never after the deadline:
// a condition about the deadline bounds what of the index is read by the rank, too.
func (q *workQuery) condition(tab WorkTab, now time.Time) string {
	instant := func(at time.Time) string { return q.arg(at) + "::timestamptz" }
	until := func(days int) string {
		at := calendar.Of(now, Zone).AddDays(days).Start(Zone)
		return "t.paused_at IS NULL AND t.due_at >= " + instant(now) + " AND t.due_at <= " + instant(at) + " AND t.rank_at <= " + instant(at)
	}
	switch tab {
	case WorkOverdue:
		return "t.paused_at IS NULL AND t.due_at < " + instant(now) + " AND t.rank_at < " + instant(now)
	case WorkToday:
		return until(1)
	case WorkWeek:
		return until(1 + (7-int(calendar.Of(now, Zone).Weekday()))%7)
	case WorkWaiting:
		return "t.paused_at IS NOT NULL"
	case WorkUnassigned:
		return "t.assignee_id IS NULL AND NOT EXISTS (SELECT FROM task_leases l WHERE l.task_id = t.id AND l.until > " + instant(now) + " AND l.staff_id <> " + q.me() + ")"
	case WorkEscalated:
		return "t.level > 0 AND t.rank_at < " + instant(now)
	default:
		return "true"
	}
}

// tab are the branches of a tab, with its own condition.
func (q *workQuery) tab(tab WorkTab, now time.Time) []string {
	branches := q.mine()
	if q.desk.staff == uuid.Nil {
		return nil
	}
	switch tab {
	case WorkAll:
		return branches
	case WorkEscalated:
		branches = append(branches, q.others()...)
	case WorkWaiting:
		return slices.Concat(q.others(), and(branches, q.condition(tab, now)))
	}
	return and(branches, q.condition(tab, now))
}

// tally counts all tabs at once, over no more than mostTallied of the reader's own tasks and of others': how many there are of each tells whether
// that was all.
func (q *workQuery) tally(now time.Time) string {
	narrows := q.narrows()
	some := func(branches []string) string {
		var parts []string
		if len(branches) == 0 {
			branches = []string{"false"}
		}
		for _, b := range branches {
			parts = append(parts, "SELECT t.id, t.rank_at, t.due_at, t.paused_at, t.assignee_id, t.level FROM tasks t WHERE "+narrows+" AND "+b)
		}
		return "(SELECT * FROM (" + strings.Join(parts, " UNION ALL ") + ") b LIMIT " + strconv.Itoa(mostTallied) + ")"
	}
	of := func(tab WorkTab) string { return "count(*) FILTER (WHERE " + q.condition(tab, now) + ")::int" }
	return "WITH mine AS MATERIALIZED " + some(q.mine()) + ", others AS MATERIALIZED " + some(q.others()) + " SELECT m.*, o.*, (SELECT count(*)::int FROM mine t WHERE " + q.condition(WorkUnassigned, now) + `)
		FROM (SELECT count(*)::int, ` + of(WorkOverdue) + ", " + of(WorkToday) + ", " + of(WorkWeek) + ", " + of(WorkWaiting) + ", " + of(WorkEscalated) + ` FROM mine t) m,
			(SELECT count(*)::int, ` + of(WorkEscalated) + ` FROM others t) o`
}

func and(branches []string, condition string) []string {
	out := make([]string, len(branches))
	for i, b := range branches {
		out[i] = b + " AND " + condition
	}
	return out
}

// wholeNumber matches a case's number that is whole.
var wholeNumber = regexp.MustCompile(`^[A-Z]{1,4}-\d{4}-\d{6}$`)

// narrows are the filter's own conditions.
func (q *workQuery) narrows() string {
	out := "t.status = 'open'"
	f := q.filter
	if f.Step != "" {
		out += " AND t.step = " + q.arg(f.Step) + "::text"
	}
	if f.Protocol != "" { // a step's name begins with its protocol's
		var of []string
		for name := range steps {
			if strings.HasPrefix(name, string(f.Protocol)+".") {
				of = append(of, name)
			}
		}
		out += " AND t.step = ANY(" + q.list(of) + ")"
	}
	if f.Region != "" {
		out += " AND " + q.place(f.Region)
	}
	if f.CaseID != uuid.Nil {
		out += " AND t.case_id = " + q.arg(f.CaseID) + "::uuid"
	}
	switch number := strings.ToUpper(strings.TrimSpace(f.Number)); {
	case number == "":
	case wholeNumber.MatchString(number):
		out += " AND t.case_id = (SELECT c.id FROM cases c WHERE c.number = " + q.arg(number) + "::text)"
	default:
		out += " AND EXISTS (SELECT FROM cases c WHERE c.id = t.case_id AND strpos(c.number, " + q.arg(number) + "::text) > 0)"
	}
	return out
}

func (q *workQuery) orderedBy() string {
	if q.desk.urgency {
		return "t.rank_at"
	}
	return "t.due_at"
}

// page is the statement of a page: the tasks first, branch by branch in their order, and then what is shown beside them.
func (q *workQuery) page(branches []string, limit int) string {
	narrows, order := q.narrows(), q.orderedBy()
	if !q.filter.After.IsZero() {
		narrows += " AND (" + order + ", t.id) > (" + q.arg(q.filter.After) + "::timestamptz, " + q.arg(q.filter.AfterID) + "::uuid)"
	}
	most := q.arg(limit) + "::int"
	var parts []string
	for _, b := range branches {
		parts = append(parts, "(SELECT t.*, "+order+" AS at FROM tasks t WHERE "+narrows+" AND "+b+" ORDER BY "+order+", t.id LIMIT "+most+")")
	}
	return `WITH page AS MATERIALIZED (SELECT * FROM (` + strings.Join(parts, " UNION ALL ") + `) b ORDER BY at, id LIMIT ` + most + `)
		SELECT ` + taskColumns + `, t.urgency, t.at, t.paused_at, t.paused_for, t.resumes_at, c.step, coalesce(o.display_name, ''),
			l.staff_id, coalesce(h.display_name, ''), l.until, s.patient, e.last,
			coalesce(e.last->>'actor' <> ` + q.arg(staffSubject(q.desk.staff)) + `::text AND (k.looked_at IS NULL OR (e.last->>'recorded_at')::timestamptz > k.looked_at), false)
		FROM page t JOIN cases c ON c.id = t.case_id
			CROSS JOIN LATERAL (SELECT ` + q.office() + ` = ANY(c.sites) AND NOT ` + q.office() + ` = ANY(c.donor_sites) AS patient) s
			CROSS JOIN LATERAL (SELECT CASE WHEN s.patient THEN c.last_patient ELSE c.last_donor END AS last) e
			LEFT JOIN staff o ON o.id = t.assignee_id
			LEFT JOIN task_leases l ON l.task_id = t.id LEFT JOIN staff h ON h.id = l.staff_id
			LEFT JOIN case_looks k ON k.case_id = t.case_id AND k.staff_id = ` + q.me() + `
		ORDER BY t.at, t.id`
}

// count is the number of tasks in some branches, as far as anybody counts.
func (q *workQuery) count(branches []string) string {
	if len(branches) == 0 {
		return "0"
	}
	narrows := q.narrows()
	var parts []string
	for _, b := range branches {
		parts = append(parts, "(SELECT FROM tasks t WHERE "+narrows+" AND "+b+" LIMIT "+strconv.Itoa(MostCounted)+")")
	}
	return "(SELECT count(*)::int FROM (SELECT FROM (" + strings.Join(parts, " UNION ALL ") + ") b LIMIT " + strconv.Itoa(MostCounted) + ") n)"
}

// workRow is a line as it is read.
type workRow struct {
	taskRow
	urgency    string
	rankAt     time.Time
	pausedAt   *time.Time
	pausedFor  string
	resumesAt  *time.Time
	stage      string
	owner      string
	leasedBy   *uuid.UUID
	holder     string
	leaseUntil *time.Time
	patient    bool
	last       *lastTold
	unread     bool
}

func (w *workRow) scan(rows pgx.Rows) error {
	t := &w.taskRow
	return rows.Scan(&t.ID, &t.CaseID, &t.CaseNumber, &t.Protocol, &t.Step, &t.Round, &t.Seat, &t.Role, &t.Organisation, &t.Region, &t.Assignee,
		&t.Status, &t.Level, &t.OpenedAt, &t.DueAt, &t.Provisional, &t.Args, &t.Version, &t.Paused, &t.Extended, &t.Pauses, &w.urgency, &w.rankAt, &w.pausedAt, &w.pausedFor, &w.resumesAt, &w.stage, &w.owner,
		&w.leasedBy, &w.holder, &w.leaseUntil, &w.patient, &w.last, &w.unread)
}

func (a *act) workLine(ctx context.Context, read *workRead, w *workRow) (WorkLine, error) {
	l, desk := a.actor.Locale, read.desk
	line := WorkLine{TaskView: a.taskView(w.taskRow, l), Stage: w.stage, RankAt: w.rankAt, Extended: w.Extended, Assigned: w.Assignee != uuid.Nil, Unread: w.unread}
	cal, err := a.calendar(ctx, w.Region)
	if err != nil {
		return line, err
	}
	line.WorkingDays = cal.WorkingDaysBetween(a.today(), calendar.Of(w.DueAt.Add(-time.Second), Zone))
	line.Overdue = w.pausedAt == nil && w.DueAt.Before(a.at)
	if desk.urgency {
		line.Urgency = w.urgency
	}
	if w.pausedAt != nil {
		line.Paused = &PauseView{*w.pausedAt, w.pausedFor, *w.resumesAt}
	}
	supervises := a.supervises(w.taskRow)
	line.Supervised = supervises
	colleague := line.Mine || supervises || w.Organisation == desk.office
	if w.Assignee != uuid.Nil && colleague {
		line.Owner = &Coworker{w.Assignee, w.owner, w.Assignee == desk.staff}
	}
	if w.leasedBy != nil && w.leaseUntil.After(a.at) {
		line.Lease = &LeaseView{Mine: *w.leasedBy == desk.staff, Until: *w.leaseUntil}
		if colleague {
			line.Lease.Holder = &Coworker{*w.leasedBy, w.holder, line.Lease.Mine}
		}
	}
	if e := w.last; e != nil {
		side := DonorSide
		if w.patient {
			side = PatientSide
		}
		if reason, ok := e.Args["Reason"].(string); ok {
			e.Args["Reason"] = toldTo(side, reason)
		}
		line.Last = &TimelineEntry{At: e.At, Code: e.Code, Text: l.Say("event."+e.Code, e.Args), Args: e.Args}
	}
	switch {
	case line.Lease != nil && !line.Lease.Mine && supervises:
		line.Quick = "take_over"
	case !line.Mine || line.Lease != nil && !line.Lease.Mine || line.Assigned && w.Assignee != desk.staff:
		line.Quick = "look"
	case line.Paused != nil:
		line.Quick = "resume"
	case line.Assigned || line.Lease != nil:
		line.Quick = "answer"
	default:
		line.Quick = "claim"
	}
	line.Why = read.whyListed(w, line.Mine, line.Region)
	return line, nil
}

// whyListed says by what a task is on the actor's list: the way in which they stand to it that the decision rests on, and the role of theirs that
// the policy's line speaks of.
func (read *workRead) whyListed(w *workRow, mine bool, region identity.Region) WorkWhy {
	a := read.act
	action, rec := policy.Decide, w.record()
	if !mine {
		action, rec.sites = policy.Read, []uuid.UUID{a.actor.organisation}
	}
	d, st := a.may(action, policy.Case, rec)
	role, _, _ := strings.Cut(d.Rule, ",")
	v := WorkWhy{Relation: st.relation, Role: policy.Role(role), Region: region}
	sentence := "work.why.region"
	switch {
	case mine && w.Assignee == a.actor.staff:
		v.Relation, sentence = policy.Assigned, "work.why.given"
	case st.relation == policy.Assigned:
		sentence = "work.why.office"
	case st.relation == policy.Site:
		sentence = "work.why.site"
	}
	if mine {
		v.Role = w.Role
	}
	if v.Relation != policy.InRegion {
		v.Region = a.actor.region
	}
	v.Text = sentence // which becomes its words
	words, known := read.whys[v]
	if !known {
		words = a.actor.Locale.Say(sentence, map[string]any{"Role": string(v.Role), "Place": placeName(v.Region, a.actor.Locale)})
		read.whys[v] = words
	}
	v.Text = words
	return v
}

// placeName is a region as people call it; its code where the table has no name for it, and for who does not read Chinese.
func placeName(region identity.Region, l lang.Locale) string {
	if name := region.FullName(); name != "" && l == lang.Chinese {
		return name
	}
	return fmt.Sprint(region.Name(), " ", string(region))
}
