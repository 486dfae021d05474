package registry

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// CasePage is what somebody at the table of a case has in front of them: the case as their side sees it, and what to do next.
type CasePage struct {
	CaseView
	Stages      []CaseStage      `json:"stages" class:"case" mask:"drop"`
	Next        []NextStep       `json:"next" class:"case" mask:"drop" doc:"What the reader's side is asked now."`
	Waits       bool             `json:"waits" class:"case" mask:"drop" doc:"The other side of the table is asked."`
	People      []CaseParty      `json:"people" class:"case" mask:"drop"`
	Attempts    *ContactLog      `json:"attempts,omitempty" class:"case" mask:"drop" doc:"For the donor's side."`
	Attachments []AttachmentView `json:"attachments" class:"case" mask:"drop"`
	Carries     bool             `json:"carries" class:"case" mask:"drop" doc:"The reader may log calls and add papers."`
	Undoes      bool             `json:"undoes" class:"case" mask:"drop" doc:"The reader may open a step again."`
	Sits        bool             `json:"sits" class:"case" mask:"drop" doc:"The reader's office sits at the table, and may write to the other side."`
}

// CaseStage is one of the few parts that people speak of when they say how far a stem-cell case is.
type CaseStage struct {
	Name   string        `json:"name" class:"case" mask:"drop"`
	Title  string        `json:"title" class:"case" mask:"drop"`
	On     calendar.Date `json:"on,omitzero" class:"case" mask:"drop" doc:"The day on which it was reached."`
	Here   bool          `json:"here" class:"case" mask:"drop"`
	Median *float64      `json:"median,omitempty" class:"case" mask:"drop" doc:"How many days half of the register's cases need for it at the most. Absent where there are too few."`
}

// NextStep is what somebody is asked now, and what they need to answer it.
type NextStep struct {
	TaskView
	SeatTitle    string      `json:"seat_title" class:"case" mask:"drop"`
	Organisation string      `json:"organisation,omitempty" class:"case" mask:"drop" doc:"Who is asked, where it is one office."`
	Colleague    string      `json:"colleague,omitempty" class:"case" mask:"drop" doc:"The member of staff who has taken it."`
	Overdue      bool        `json:"overdue" class:"case" mask:"drop"`
	Paused       *PauseView  `json:"paused,omitempty" class:"case" mask:"drop" doc:"The clock stands still."`
	Checklist    []CheckItem `json:"checklist" class:"case" mask:"drop"`
	Blocked      []Block     `json:"blocked" class:"case" mask:"drop" doc:"What stands against it now."`
	Script       []string    `json:"script,omitempty" class:"case" mask:"drop" doc:"What to say to the donor."`
	Ladder       []Rung      `json:"ladder" class:"case" mask:"drop" doc:"Who is told when."`
	Witnesses    []Colleague `json:"witnesses,omitempty" class:"case" mask:"drop" doc:"Who may have seen a signature: the staff of the offices on the donor's side."`
	Signatures   []Signature `json:"signatures,omitempty" class:"case" mask:"drop" doc:"Where several have to answer: who has."`
}

// Colleague is a member of staff whom a form can name.
type Colleague struct {
	ID   uuid.UUID `json:"id" class:"case" mask:"drop"`
	Name string    `json:"name" class:"case" mask:"drop"`
}

// CheckItem is one thing to see to before a step is answered.
type CheckItem struct {
	Code string `json:"code" class:"case" mask:"drop"`
	Text string `json:"text" class:"case" mask:"drop"`
	Done *bool  `json:"done,omitempty" class:"case" mask:"drop" doc:"Absent where only people know."`
}

// Block is something that stands against a step.
type Block struct {
	Code string `json:"code" class:"case" mask:"drop"`
	Text string `json:"text" class:"case" mask:"drop"`
}

// Rung is one instant of a deadline's ladder: somebody is reminded, the answer is due, somebody above is told, the donor is released.
type Rung struct {
	Kind   string          `json:"kind" class:"case" mask:"drop" doc:"reminder, due, escalation or release."`
	At     time.Time       `json:"at" class:"case" mask:"drop"`
	Level  int             `json:"level,omitempty" class:"case" mask:"drop"`
	Role   string          `json:"role,omitempty" class:"case" mask:"drop" doc:"Who is told."`
	Region identity.Region `json:"region,omitempty" class:"case" mask:"drop" doc:"Where."`
	Done   bool            `json:"done" class:"case" mask:"drop"`
}

// Signature is one of several answers that a step needs.
type Signature struct {
	Seat  string     `json:"seat" class:"case" mask:"drop"`
	Title string     `json:"title" class:"case" mask:"drop"`
	Side  Side       `json:"side" class:"case" mask:"drop"`
	By    string     `json:"by,omitempty" class:"case" mask:"drop" doc:"Who signed, of the reader's side."`
	At    *time.Time `json:"at,omitempty" class:"case" mask:"drop" doc:"Absent while it is missing."`
}

// CaseParty is a seat at the table.
type CaseParty struct {
	Seat         string   `json:"seat" class:"case" mask:"drop"`
	Title        string   `json:"title" class:"case" mask:"drop"`
	Side         Side     `json:"side" class:"case" mask:"drop"`
	Organisation string   `json:"organisation,omitempty" class:"case" mask:"drop" doc:"Of the reader's own side only."`
	Colleagues   []string `json:"colleagues,omitempty" class:"case" mask:"drop" doc:"Who of it has answered in this case, of the reader's own side."`
	Mine         bool     `json:"mine" class:"case" mask:"drop"`
}

// ContactLog are the tries to reach the donor, beside how many there must be before they count as unreachable.
type ContactLog struct {
	Made     int           `json:"made" class:"case" mask:"drop"`
	OnDays   int           `json:"on_days" class:"case" mask:"drop"`
	Contacts int           `json:"contacts" class:"case" mask:"drop" doc:"Of them, how many to somebody close to the donor."`
	Needed   int           `json:"needed" class:"case" mask:"drop"`
	Days     int           `json:"days" class:"case" mask:"drop" doc:"On how many days they must lie."`
	Entries  []AttemptView `json:"entries" class:"case" mask:"drop"`
}

// AttemptView is one try.
type AttemptView struct {
	At      time.Time    `json:"at" class:"case" mask:"drop"`
	Channel string       `json:"channel" class:"case" mask:"drop"`
	Whom    string       `json:"whom" class:"case" mask:"drop"`
	Result  string       `json:"result" class:"case" mask:"drop"`
	By      string       `json:"by" class:"case" mask:"drop"`
	Note    *seal.Masked `json:"note,omitempty" class:"case" mask:"note"`
	Words   string       `json:"words,omitempty" class:"case" mask:"clear" doc:"The note itself, for who carries the case."`
}

// stage is a part of a stem-cell case with the steps that belong to it.
type stage struct {
	name, title string
	steps       []string
}

// stemCellStages are the parts in their order. A test wants every step in one of them.
var stemCellStages = []stage{
	{"requested", "stage.requested", []string{"stemcell.standby"}},
	{"remobilisation", "stage.remobilisation", []string{"stemcell.remobilisation"}},
	{"typing", "stage.typing", []string{"stemcell.sample_booking", "stemcell.confirmatory_sample", "stemcell.confirmatory_typing", "stemcell.hospital_decision"}},
	{"examination", "stage.examination", []string{"stemcell.physical_examination", "stemcell.donation_consent", "stemcell.clearance", "stemcell.schedule"}},
	{"collection", "stage.collection", []string{
		"stemcell.conditioning", "stemcell.mobilisation", "stemcell.collection", "stemcell.dispatch", "stemcell.receipt", "stemcell.quarantine", "stemcell.infusion", "stemcell.emergency",
	}},
	{"follow_up", "stage.follow_up", []string{"stemcell.thanks"}},
}

func stageOf(step string) int {
	return slices.IndexFunc(stemCellStages, func(s stage) bool { return slices.Contains(s.steps, step) })
}

// seatTitles name the seats in words.
var seatTitles = map[string]string{
	SeatCoordinator: "seat.coordinator", SeatCollection: "seat.collection_hospital", SeatLaboratory: "seat.laboratory", SeatTransplant: "seat.transplant_hospital", SeatOffice: "seat.office",
	SeatCoordinator + "#donor": "seat.coordinator.donor", SeatCoordinator + "#red_cross": "seat.coordinator.red_cross",
}

// seatTitle is a seat in words; of several people who sit on one, which of them.
func seatTitle(name string, l lang.Locale) string {
	if title, ok := seatTitles[name]; ok {
		return l.Say(title, nil)
	}
	plain, nth, _ := strings.Cut(name, "#")
	if title, ok := seatTitles[plain]; ok {
		return l.Say("seat.nth", map[string]any{"Seat": l.Say(title, nil), "Nth": nth})
	}
	return name
}

// ShowCasePage returns a case with all that its page shows.
func (r *Reader) ShowCasePage(ctx context.Context, actor Actor, id uuid.UUID) (CasePage, error) {
	return r.showCasePage(ctx, actor, "ShowCasePage", id, func(*act, *pgx.Batch) {}, func(*act) error { return nil })
}

// VisitCase returns a case with all that its page shows, and notes that the actor looks at it (see LookAtCase).
func (s *Store) VisitCase(ctx context.Context, actor Actor, id uuid.UUID) (CasePage, LookView, error) {
	var look *LookView
	v, err := s.showCasePage(ctx, actor, "VisitCase", id, func(a *act, b *pgx.Batch) { look = a.queueLook(b, id) }, func(a *act) error { return a.looked(id) })
	if err != nil {
		return v, LookView{}, err
	}
	return v, *look, nil
}

func (r *Reader) showCasePage(ctx context.Context, actor Actor, name string, id uuid.UUID, also func(*act, *pgx.Batch), then func(*act) error) (CasePage, error) {
	var v CasePage
	medians, err := r.stageMedians(ctx)
	if err != nil {
		return v, err
	}
	var read *casePageRead
	first := func(a *act, b *pgx.Batch) {
		read = a.queueCasePage(b, id)
		also(a, b)
	}
	err = r.actFrom(ctx, actor, name, policy.ForCase, first, func(ctx context.Context, a *act) (err error) {
		if err := a.permitTable(read.atTable); err != nil {
			return err
		}
		if v, err = a.casePage(ctx, read, medians); err != nil {
			return err
		}
		return then(a)
	})
	if err != nil {
		return CasePage{}, err
	}
	return v, nil
}

// casePageRead is what is read for a case's page, all of it at once.
type casePageRead struct {
	*atTable
	facts    *caseFacts
	names    map[uuid.UUID]string // of the organisations at the table
	attempts []attemptRow
	papers   []attachmentRow
}

func (a *act) queueCasePage(b *pgx.Batch, id uuid.UUID) *casePageRead {
	read := &casePageRead{atTable: a.queueTable(b, id)}
	read.queueView(b)
	read.facts = a.queueFacts(b, id)
	queueNames(b, id, &read.names)
	a.queueAttempts(b, id, &read.attempts)
	a.queuePapers(b, id, &read.papers)
	return read
}

func (a *act) casePage(ctx context.Context, at *casePageRead, medians []*float64) (CasePage, error) {
	v := CasePage{Next: []NextStep{}}
	var err error
	if v.CaseView, err = a.caseView(at.atTable); err != nil {
		return v, err
	}
	tasks := at.tasks
	d := desk{of: at.caseRow, side: at.side, rec: at.rec}
	v.Carries = a.mayCarry(d)
	decides, _ := a.may(policy.Decide, policy.Case, at.rec)
	v.Undoes = decides.Allowed && at.Status == "open" && at.Protocol == StemCellProtocol
	_, v.Sits = a.sitsOn(at.seats)
	if at.Protocol == StemCellProtocol {
		v.Stages = stagesOf(at.caseRow, tasks, medians, a.actor.Locale)
	}
	facts, err := a.factsAt(at.atTable, at.facts)
	if err != nil {
		return v, err
	}
	facts.compared = slices.ContainsFunc(at.events, func(e TimelineEntry) bool { return e.Code == comparedEvent })
	v.People = a.peopleAt(at)
	for _, t := range tasks {
		switch {
		case t.Status != "open":
		case t.side(at.seats) != at.side && at.side == PatientSide:
			v.Waits = true
		default:
			v.Waits = v.Waits || t.side(at.seats) != at.side
			next, err := a.nextStep(ctx, at.atTable, at.names, t, tasks, facts, at.signers)
			if err != nil {
				return v, err
			}
			v.Next = append(v.Next, next)
		}
	}
	// What the reader may answer comes first.
	slices.SortStableFunc(v.Next, func(x, y NextStep) int { return b2i(y.Mine) - b2i(x.Mine) })
	if at.side == DonorSide && at.Protocol == StemCellProtocol {
		if v.Attempts, err = a.contactLog(at.caseRow, at.attempts, facts, v.Carries); err != nil {
			return v, err
		}
	}
	if v.Attachments, err = a.papersShown(at.papers, d); err != nil {
		return v, err
	}
	show(a.mask(at.rec), &v)
	return v, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// stagesOf tells which stages a case has reached and when. A stage of which every answer was struck through was not reached.
func stagesOf(c caseRow, tasks []taskRow, medians []*float64, l lang.Locale) []CaseStage {
	reached := make([]time.Time, len(stemCellStages))
	reached[0] = c.OpenedAt
	here := max(stageOf(c.Step), 0)
	for _, t := range tasks {
		i := stageOf(t.Step)
		if i < 0 || t.Status == "struck" || t.Status == "cancelled" && t.Step != c.Step {
			continue
		}
		if here = max(here, i); reached[i].IsZero() {
			reached[i] = t.OpenedAt
		}
	}
	out := make([]CaseStage, len(stemCellStages))
	for i, s := range stemCellStages {
		out[i] = CaseStage{Name: s.name, Title: l.Say(s.title, nil), Here: i == here}
		if !reached[i].IsZero() {
			out[i].On = calendar.Of(reached[i], Zone)
		}
		if i < len(medians) {
			out[i].Median = medians[i]
		}
	}
	return out
}

// medians are how long the register's cases take, kept for a while: they change slowly and cost a walk over all tasks. While one request counts
// them anew the others go by the last.
type medians struct {
	sync.Mutex
	days     []*float64
	at       time.Time
	counting bool
}

const mediansKept = 10 * time.Minute

// stageMedians are the days that half of the cases of the last two years needed for each stage at the most, nil for a stage of
// which there are too few. Whose cases they are cannot be seen in them.
func (r *Reader) stageMedians(ctx context.Context) ([]*float64, error) {
	m := &r.medians
	m.Lock()
	defer m.Unlock()
	now := r.now()
	if m.days != nil && (m.counting || now.Sub(m.at) < mediansKept && !now.Before(m.at)) {
		return m.days, nil
	}
	m.counting = true
	defer func() { m.counting = false }()
	count := func() ([]*float64, error) {
		if m.days != nil { // nobody waits for newer ones; the first time all wait
			m.Unlock()
			defer m.Lock()
		}
		return r.countMedians(ctx, now)
	}
	days, err := count()
	if err == nil {
		m.days, m.at = days, now
	}
	return days, err
}

func (r *Reader) countMedians(ctx context.Context, now time.Time) ([]*float64, error) {
	days := make([]*float64, len(stemCellStages))
	var steps []string
	var of []int
	for i, s := range stemCellStages {
		for _, step := range s.steps {
			steps, of = append(steps, step), append(of, i)
		}
	}
	fewest := r.book.For(nation, calendar.Of(now, Zone)).Count(rules.DeskMedianOf)
	err := r.internally(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			WITH reached AS (
				SELECT c.id, 0 AS stage, c.opened_at AS at FROM cases c WHERE c.protocol = 'stemcell' AND c.opened_at > $3
				UNION ALL SELECT c.id, m.stage, min(t.opened_at) FROM cases c JOIN tasks t ON t.case_id = c.id JOIN unnest($1::text[], $2::int[]) m(step, stage) ON m.step = t.step
					WHERE c.protocol = 'stemcell' AND c.opened_at > $3 AND m.stage > 0 AND t.status NOT IN ('struck', 'cancelled') GROUP BY 1, 2),
			spent AS (SELECT stage, extract(epoch FROM lead(at) OVER (PARTITION BY id ORDER BY stage) - at) / 86400 AS days FROM reached)
			SELECT stage, percentile_cont(0.5) WITHIN GROUP (ORDER BY days)::float8 FROM spent WHERE days >= 0 GROUP BY stage HAVING count(*) >= $4`,
			steps, of, now.AddDate(-2, 0, 0), fewest)
		if err != nil {
			return err
		}
		var i int
		var median float64
		_, err = pgx.ForEachRow(rows, []any{&i, &median}, func() error {
			days[i] = new(median)
			return nil
		})
		return err
	})
	return days, err
}

// signer is who answered a task.
type signer struct {
	name string
	at   time.Time
}

func (a *act) signersOf(ctx context.Context, caseID uuid.UUID) (out map[uuid.UUID]signer, err error) {
	var b pgx.Batch
	queueSigners(&b, caseID, &out)
	return out, a.SendBatch(ctx, &b).Close()
}

func queueSigners(b *pgx.Batch, caseID uuid.UUID, out *map[uuid.UUID]signer) {
	*out = map[uuid.UUID]signer{}
	b.Queue(`
		SELECT t.id, coalesce(s.display_name, ''), t.closed_at FROM tasks t JOIN answers w ON w.id = t.answer_id LEFT JOIN staff s ON s.id = w.staff_id
		WHERE t.case_id = $1 AND t.status = 'done'`, caseID).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		var s signer
		_, err := pgx.ForEachRow(rows, []any{&id, &s.name, &s.at}, func() error {
			(*out)[id] = s
			return nil
		})
		return err
	})
}

// peopleAt lists the seats of a case. Who sits on the other side is not told.
func (a *act) peopleAt(at *casePageRead) []CaseParty {
	var out []CaseParty
	for _, name := range slices.Sorted(maps.Keys(at.seats)) {
		s := at.seats[name]
		p := CaseParty{Seat: name, Title: seatTitle(name, a.actor.Locale), Side: Side(s.Side)}
		if own := Side(s.Side) == at.side || Side(s.Side) != PatientSide && at.side == DonorSide; own {
			p.Organisation, p.Mine = at.names[s.Organisation], s.Organisation == a.actor.organisation && a.actor.organisation != uuid.Nil
			for _, t := range at.tasks {
				seat, _, _ := strings.Cut(t.Seat, "#")
				if by := at.signers[t.ID].name; seat == name && by != "" && !slices.Contains(p.Colleagues, by) {
					p.Colleagues = append(p.Colleagues, by)
				}
			}
		}
		out = append(out, p)
	}
	return out
}

func queueNames(b *pgx.Batch, id uuid.UUID, out *map[uuid.UUID]string) {
	*out = map[uuid.UUID]string{}
	var organisation uuid.UUID
	var name string
	b.Queue(`SELECT id, name FROM organisations WHERE id IN (SELECT organisation_id FROM case_parties WHERE case_id = $1)`, id).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&organisation, &name}, func() error {
			(*out)[organisation] = name
			return nil
		})
		return err
	})
}

// nextStep is a task with everything that helps to answer it.
func (a *act) nextStep(ctx context.Context, at *atTable, names map[uuid.UUID]string, t taskRow, all []taskRow, facts caseFacts, signers map[uuid.UUID]signer) (NextStep, error) {
	l := a.actor.Locale
	next := NextStep{TaskView: a.taskView(t, l), SeatTitle: seatTitle(t.Seat, l), Overdue: !t.Paused && t.DueAt.Before(a.now()), Checklist: []CheckItem{}, Blocked: []Block{}}
	own := t.side(at.seats) == at.side
	if own && t.Organisation != uuid.Nil {
		var seated bool
		if next.Organisation, seated = names[t.Organisation]; !seated {
			if err := a.QueryRow(ctx, `SELECT name FROM organisations WHERE id = $1`, t.Organisation).Scan(&next.Organisation); err != nil {
				return next, err
			}
		}
	}
	if own && t.Assignee != uuid.Nil {
		if err := a.QueryRow(ctx, `SELECT display_name FROM staff WHERE id = $1`, t.Assignee).Scan(&next.Colleague); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return next, err
		}
	}
	if t.Paused {
		next.Paused = &PauseView{}
		if err := a.QueryRow(ctx, `SELECT paused_at, paused_for, resumes_at FROM tasks WHERE id = $1`, t.ID).Scan(&next.Paused.Since, &next.Paused.Reason, &next.Paused.Resumes); err != nil {
			return next, err
		}
	}
	cal, err := a.calendar(ctx, t.Region)
	if err != nil {
		return next, err
	}
	next.Ladder = a.ladder(at, t, a.rules(t.Region).DeadlineAt(t.DueAt, t.OpenedAt, cal, Zone), facts)
	if own {
		next.Checklist = checklistOf(t, facts, l)
		if key, ok := scripts[t.Step]; ok && at.side == DonorSide {
			next.Script = strings.Split(strings.TrimSpace(l.Say(key, nil)), "\n")
		}
		next.Blocked = append(next.Blocked, facts.blocks(t, l)...)
	}
	if next.Mine && t.Step == "stemcell.donation_consent" {
		if next.Witnesses, err = a.witnesses(ctx, at); err != nil {
			return next, err
		}
	}
	next.Signatures = signaturesOf(at, t, all, signers, l)
	for _, s := range next.Signatures {
		if _, nth, counted := strings.Cut(s.Seat, "#"); own && counted && nth[0] <= '9' && s.At != nil && facts.signed[t.Step+s.Seat] {
			next.Blocked = append(next.Blocked, Block{"second_person", l.Say("blocked.second_person", nil)}) // the reader has signed: somebody else has to
		}
	}
	return next, nil
}

// witnesses are the staff of the offices on the donor's side, and of the actor's own.
func (a *act) witnesses(ctx context.Context, at *atTable) ([]Colleague, error) {
	offices := []uuid.UUID{a.actor.organisation}
	for _, s := range at.seats {
		if Side(s.Side) == DonorSide {
			offices = append(offices, s.Organisation)
		}
	}
	rows, err := a.Query(ctx, `SELECT id, display_name FROM staff WHERE organisation_id = ANY($1) AND active ORDER BY id <> $2, display_name, id LIMIT 200`, offices, a.actor.staff)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Colleague])
}

// ladder is who is told of a task, and when.
func (a *act) ladder(at *atTable, t taskRow, d rules.Deadline, facts caseFacts) []Rung {
	blind := t.side(at.seats) == PatientSide // the region is the donor's
	where := func(h hearer) identity.Region {
		if blind || at.side == PatientSide {
			return provinceOf(h.region)
		}
		return h.region
	}
	var out []Rung
	for _, when := range d.Reminders {
		h := t.heard(0)
		out = append(out, Rung{Kind: "reminder", At: when, Role: h.role, Region: where(h), Done: !a.now().Before(when)})
	}
	out = append(out, Rung{Kind: "due", At: d.Due, Role: string(t.Role), Done: !a.now().Before(d.Due)})
	for i, when := range d.Escalations {
		h := t.heard(i + 1)
		out = append(out, Rung{Kind: "escalation", At: when, Level: i + 1, Role: h.role, Region: where(h), Done: t.Level > i})
	}
	if facts.releasedAt != nil && stageOf(t.Step) <= stageOf("stemcell.hospital_decision") {
		out = append(out, Rung{Kind: "release", At: *facts.releasedAt})
	}
	slices.SortStableFunc(out, func(x, y Rung) int { return x.At.Compare(y.At) })
	return out
}

// signaturesOf are the answers that a step needs, where it needs several: who has given theirs, and whose is missing.
func signaturesOf(at *atTable, t taskRow, all []taskRow, signers map[uuid.UUID]signer, l lang.Locale) []Signature {
	var out []Signature
	for _, other := range all {
		if other.Step != t.Step || other.Round != t.Round || other.Status != "open" && other.Status != "done" {
			continue
		}
		s := Signature{Seat: other.Seat, Title: seatTitle(other.Seat, l), Side: other.side(at.seats)}
		if by, ok := signers[other.ID]; ok {
			s.At = &by.at
			if s.Side == at.side {
				s.By = by.name
			}
		}
		out = append(out, s)
	}
	if len(out) < 2 {
		return nil
	}
	return out
}

// attemptRow is a try to reach the donor, as it is read.
type attemptRow struct {
	AttemptView
	id, of        uuid.UUID
	note, wrapped []byte
}

// queueAttempts adds them for who is on the donor's side: what was tried and noted never leaves the database for the patient's.
func (a *act) queueAttempts(b *pgx.Batch, caseID uuid.UUID, out *[]attemptRow) {
	b.Queue(`
		SELECT x.id, x.at, x.channel, x.whom, x.result, coalesce(s.display_name, ''), x.note_sealed, x.key_of, `+wrappedOf+`
		FROM contact_attempts x LEFT JOIN staff s ON s.id = x.staff_id WHERE x.case_id = $1 AND NOT `+onPatientSide+` ORDER BY x.at DESC, x.id DESC`, caseID, a.actor.organisation).Query(func(rows pgx.Rows) (err error) {
		*out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (n attemptRow, err error) {
			return n, row.Scan(&n.id, &n.At, &n.Channel, &n.Whom, &n.Result, &n.By, &n.note, &n.of, &n.wrapped)
		})
		return err
	})
}

// contactLog are the tries to reach the donor, the newest first.
func (a *act) contactLog(c caseRow, tries []attemptRow, facts caseFacts, carries bool) (*ContactLog, error) {
	in := a.rules(c.Region)
	log := &ContactLog{
		Made: facts.attempts, OnDays: facts.attemptDays, Contacts: facts.attemptContacts, Needed: in.Count(rules.StemCellAttempts), Days: in.Count(rules.StemCellAttemptDays), Entries: []AttemptView{},
	}
	for _, n := range tries {
		log.Entries = append(log.Entries, n.AttemptView)
	}
	words := false
	for i, n := range tries {
		if n.note == nil || n.wrapped == nil {
			continue
		}
		key, err := a.ownersKey(&n.of, n.wrapped)
		if err != nil {
			return nil, err
		}
		text, err := key.OpenBytes(cell("contact_attempts", "note", n.id), n.note)
		if err != nil {
			return nil, err
		}
		if len(text) == 0 {
			continue
		}
		masked := seal.NoteOf(string(text)).Masked()
		if log.Entries[i].Note = &masked; carries {
			log.Entries[i].Words, words = string(text), true
		}
	}
	if words {
		a.entries[len(a.entries)-1].Fields = "notes"
	}
	return log, nil
}

// AnsweredTask is what was answered to a task: for whoever meant to answer it too, and was not first.
type AnsweredTask struct {
	TaskID  uuid.UUID       `json:"task" class:"case" mask:"drop"`
	CaseID  uuid.UUID       `json:"case" class:"case" mask:"drop"`
	Step    string          `json:"step" class:"case" mask:"drop"`
	Status  string          `json:"status" class:"case" mask:"drop" doc:"Of the task. Only one that is done or struck through has an answer."`
	Text    string          `json:"text,omitempty" class:"case" mask:"drop" doc:"The answer in words."`
	Form    json.RawMessage `json:"form,omitempty" class:"case" mask:"drop" doc:"The form as it was filled in, with names and notes masked, for who might have answered."`
	By      string          `json:"by,omitempty" class:"case" mask:"drop"`
	At      *time.Time      `json:"at,omitempty" class:"case" mask:"drop"`
	Version int64           `json:"version" class:"open" mask:"none"`
}

// ShowAnswer returns what was answered to a task of the actor's side.
func (r *Reader) ShowAnswer(ctx context.Context, actor Actor, task uuid.UUID) (AnsweredTask, error) {
	var v AnsweredTask
	err := r.act(ctx, actor, "ShowAnswer", policy.ForCase, func(ctx context.Context, a *act) error {
		d, err := a.atDesk(ctx, uuid.Nil, task, false)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Case, d.rec); err != nil {
			return err
		}
		t := *d.task
		v = AnsweredTask{TaskID: t.ID, CaseID: t.CaseID, Step: t.Step, Status: t.Status, Version: t.Version}
		var id uuid.UUID
		var outcome, body, wrapped []byte
		var of *uuid.UUID
		err = a.QueryRow(ctx, `SELECT w.id, w.outcome, w.form_sealed, w.key_of, `+wrappedOf+`, coalesce(s.display_name, ''), w.decided_at
			FROM tasks t JOIN answers w ON w.id = t.answer_id LEFT JOIN staff s ON s.id = w.staff_id WHERE t.id = $1`, task).Scan(&id, &outcome, &body, &of, &wrapped, &v.By, &v.At)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		w := givenAnswer{}
		if err := json.Unmarshal(outcome, &w.outcome); err != nil {
			return err
		}
		v.Text = actor.Locale.Say("event."+t.Step+"."+w.outcome.Code, eventArgs(w.outcome))
		if a.mayAnswer(t) != nil || of != nil && wrapped == nil {
			return nil //nolint:nilerr // who may not answer is told the outcome and not the words
		}
		key, err := a.ownersKey(of, wrapped)
		if err != nil {
			return err
		}
		plain, err := key.OpenBytes(cell("answers", "form", id), body)
		if err != nil || len(plain) == 0 {
			return err
		}
		form, problems := readForm(steps[t.Step], plain)
		if len(problems) > 0 {
			return nil // a form of an older program: the words tell what it said
		}
		v.Form, err = json.Marshal(form) // secrets marshal as masks
		return err
	})
	if err != nil {
		return AnsweredTask{}, err
	}
	return v, nil
}

// OwnAnswer is an answer that somebody gave.
type OwnAnswer struct {
	TaskID     uuid.UUID `json:"task" class:"case" mask:"drop"`
	CaseNumber string    `json:"case_number" class:"case" mask:"drop"`
	Step       string    `json:"step" class:"case" mask:"drop"`
	Title      string    `json:"title" class:"case" mask:"drop"`
	Text       string    `json:"text" class:"case" mask:"drop"`
	Status     string    `json:"status" class:"case" mask:"drop" doc:"pending, accepted, refused, superseded or struck."`
	At         time.Time `json:"at" class:"case" mask:"drop"`
}

// ListOwnAnswers returns what the actor answered, the newest first: of one case, or of all.
func (r *Reader) ListOwnAnswers(ctx context.Context, actor Actor, caseID uuid.UUID, limit int) ([]OwnAnswer, error) {
	out := []OwnAnswer{}
	err := r.act(ctx, actor, "ListOwnAnswers", policy.ForCase, func(ctx context.Context, a *act) error {
		rows, err := a.Query(ctx, `
			SELECT t.id, c.number, t.step, w.outcome, w.status, coalesce(w.decided_at, w.created_at) FROM answers w JOIN tasks t ON t.id = w.task_id JOIN cases c ON c.id = t.case_id
			WHERE w.staff_id = $1 AND ($2::uuid IS NULL OR t.case_id = $2) ORDER BY w.created_at DESC, w.id DESC LIMIT $3`, actor.staff, null(caseID), pageSize(limit))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o OwnAnswer, err error) {
			var outcome []byte
			var w givenAnswer
			if err := row.Scan(&o.TaskID, &o.CaseNumber, &o.Step, &outcome, &o.Status, &o.At); err != nil {
				return o, err
			}
			err = json.Unmarshal(outcome, &w.outcome)
			o.Title, o.Text = stepName(o.Step, actor.Locale), actor.Locale.Say("event."+o.Step+"."+w.outcome.Code, eventArgs(w.outcome))
			return o, err
		})
		a.note(auditEntry{Action: policy.Find, Class: policy.Case, Relation: policy.Self, Region: a.actor.region, Target: "answers", Shown: len(out), Allowed: true, Rule: "own"})
		return err
	})
	return out, err
}

// WhoLookedAtCase tells who looked at a case, the newest first, to who may know who looked at its donor (see WhoLooked).
func (r *Reader) WhoLookedAtCase(ctx context.Context, actor Actor, id uuid.UUID, f LookFilter) ([]Look, error) {
	var out []Look
	err := r.act(ctx, actor, "WhoLookedAtCase", policy.ForRights, func(ctx context.Context, a *act) error {
		c, err := a.readCase(ctx, id, false)
		if err != nil {
			return err
		}
		seats, err := a.seats(ctx, id)
		if err != nil {
			return err
		}
		rec := record{kind: "case", id: id.String(), region: c.Region}
		if a.sideAt(seats) == PatientSide {
			return a.absent("case", id) // the donor's side's people are not the patient's side's to know
		}
		a.purpose = purposeOr(actor.Purpose, policy.ForAudit)
		class := policy.Audit
		audits, _ := a.may(policy.Read, policy.Audit, rec)
		if !audits.Allowed {
			class, a.purpose = policy.Rights, purposeOr(actor.Purpose, policy.ForRights)
		}
		if err := a.permit(policy.Read, class, rec); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT 'task:' || t.id FROM tasks t WHERE t.case_id = $1`, id)
		if err != nil {
			return err
		}
		targets, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		out, err = a.looksAt(ctx, []uuid.UUID{id}, append(targets, rec.target()), f, audits.Allowed, audits.Allowed)
		a.entries[len(a.entries)-1].Shown = len(out)
		return err
	})
	return out, err
}
