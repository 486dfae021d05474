package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// house is a furnished register of a test's own, with a way past the registry to its rows.
type house struct {
	*registrytest.House
	t   testing.TB
	url string
	raw *pgx.Conn
}

// newHouse gives a furnished register. options are those of its store; its address and its keys are filled in.
func newHouse(t testing.TB, options ...registry.Options) *house {
	t.Helper()
	h := &house{t: t, url: registrytest.NewHouseDatabase(t)}
	var o registry.Options
	if len(options) > 0 {
		o = options[0]
	}
	h.House = registrytest.OpenHouse(t, h.open(o))
	t.Cleanup(h.requireSentences)
	t.Cleanup(h.requireNews)
	return h
}

// requireNews wants every case's row to say what its timeline says is the newest that each side sees.
func (h *house) requireNews() {
	if h.t.Failed() {
		return
	}
	conn, err := pgx.Connect(context.Background(), registrytest.Past(h.t, h.url))
	require.NoError(h.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	newest := func(but registry.Side) map[string]string {
		hidden := []string{}
		rows, err := conn.Query(context.Background(), `SELECT DISTINCT code FROM events`)
		require.NoError(h.t, err)
		codes, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(h.t, err)
		for _, code := range codes {
			if registry.SeenBy(code) == but {
				hidden = append(hidden, code)
			}
		}
		column := map[registry.Side]string{registry.PatientSide: "last_donor", registry.DonorSide: "last_patient"}[but]
		rows, err = conn.Query(context.Background(), `
			SELECT c.number, coalesce((SELECT e.code || ' ' || e.actor || ' ' || e.args || ' ' || date_trunc('milliseconds', e.recorded_at) FROM events e WHERE e.case_id = c.id AND e.code <> ALL ($1) ORDER BY e.at DESC, e.recorded_at DESC, e.id DESC LIMIT 1), 'nothing'),
				coalesce((c.`+column+`->>'code') || ' ' || (c.`+column+`->>'actor') || ' ' || (c.`+column+`->'args') || ' ' || date_trunc('milliseconds', (c.`+column+`->>'recorded_at')::timestamptz), 'nothing')
			FROM cases c`, hidden)
		require.NoError(h.t, err)
		out := map[string]string{}
		var number, told, kept string
		_, err = pgx.ForEachRow(rows, []any{&number, &told, &kept}, func() error {
			if told != kept {
				out[number] = "told: " + told + "; kept: " + kept
			}
			return nil
		})
		require.NoError(h.t, err)
		return out
	}
	require.Empty(h.t, newest(registry.PatientSide), "the donor's side")
	require.Empty(h.t, newest(registry.DonorSide), "the patient's side")
}

// requireSentences wants every event and every notice that the test caused to be said in both languages, with all that
// their sentences name.
func (h *house) requireSentences() {
	if h.t.Failed() {
		return
	}
	conn, err := pgx.Connect(context.Background(), registrytest.Past(h.t, h.url))
	require.NoError(h.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(context.Background(), `SELECT DISTINCT 'event.' || code, args FROM events UNION SELECT DISTINCT 'notice.' || code, args FROM notices`)
	require.NoError(h.t, err)
	var id string
	var args map[string]any
	_, err = pgx.ForEachRow(rows, []any{&id, &args}, func() error {
		for _, l := range lang.Locales() {
			said := l.Say(id, args)
			require.NotEqual(h.t, id, said, "no sentence is written for it")
			require.NotContains(h.t, said, "<no value>", "%s with %v", id, args)
		}
		return nil
	})
	require.NoError(h.t, err)
}

// open opens another store on the house's database, as another process would.
func (h *house) open(o registry.Options) *registry.Store {
	h.t.Helper()
	o.URL = h.url
	if o.Keys == nil {
		o.Keys = registrytest.Keys()
	}
	if o.Log == nil {
		o.Log = registrytest.Log(h.t)
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = 8
	}
	store, err := registry.Open(context.Background(), o)
	require.NoError(h.t, err)
	h.t.Cleanup(store.Close)
	return store
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), registrytest.Past(t, url))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// conn is the test's own connection to the house's database, for the test's own goroutine.
func (h *house) conn() *pgx.Conn {
	h.t.Helper()
	if h.raw == nil {
		h.raw = connect(h.t, h.url)
	}
	return h.raw
}

// sql runs a statement past the registry.
func (h *house) sql(statement string, args ...any) {
	h.t.Helper()
	_, err := h.conn().Exec(context.Background(), statement, args...)
	require.NoError(h.t, err)
}

// value reads one value past the registry.
func value[T any](h *house, query string, args ...any) T {
	h.t.Helper()
	var out T
	require.NoError(h.t, h.conn().QueryRow(context.Background(), query, args...).Scan(&out))
	return out
}

// values reads one column past the registry.
func values[T any](h *house, query string, args ...any) []T {
	h.t.Helper()
	rows, err := h.conn().Query(context.Background(), query, args...)
	require.NoError(h.t, err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(h.t, err)
	return out
}

// clock is a clock that a test turns.
type clock struct {
	sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.Lock()
	defer c.Unlock()
	return c.at
}

func (c *clock) pass(length time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.at = c.at.Add(length)
}

func today() calendar.Date { return calendar.Of(time.Now(), registry.Zone) }

// signed is the day on which the forms of these tests were signed: long enough ago that the cooling-off has passed.
func signed() calendar.Date { return today().AddDays(-12) }

// system is what the protocols act as.
var system = registry.System("test")

const (
	gl      = "HLA-A*02:01+HLA-A*11:01^HLA-C*01:02+HLA-C*08:01^HLA-B*15:02+HLA-B*46:01^HLA-DRB1*09:01+HLA-DRB1*12:02^HLA-DQB1*03:01+HLA-DQB1*03:03"
	glNine  = "HLA-A*02:01+HLA-A*24:02^HLA-C*01:02+HLA-C*08:01^HLA-B*15:02+HLA-B*46:01^HLA-DRB1*09:01+HLA-DRB1*12:02^HLA-DQB1*03:01+HLA-DQB1*03:03"
	glEight = "HLA-A*02:01+HLA-A*24:02^HLA-C*01:02+HLA-C*07:02^HLA-B*15:02+HLA-B*46:01^HLA-DRB1*09:01+HLA-DRB1*12:02^HLA-DQB1*03:01+HLA-DQB1*03:03"
)

// residentNumber makes a valid identity number of somebody born in Nanjing in 2000; n makes it another person's.
func residentNumber(n int) string {
	body := fmt.Sprintf("32010620000101%03d", n)
	weights, sum := []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}, 0
	for i, w := range weights {
		sum += int(body[i]-'0') * w
	}
	return body + string("10X98765432"[sum%11])
}

// volunteer is a valid consent form for stem cells; n makes it another person's.
func volunteer(n int) forms.Registration {
	return forms.Registration{
		Name: seal.NameOf("张小明"), DocumentNumber: seal.NumberOf(residentNumber(n)), Phone: seal.PhoneOf(fmt.Sprintf("138%08d", n)),
		Contacts:   []forms.Contact{{Name: seal.NameOf("张大明"), Relation: "父", Phone: seal.PhoneOf("13900000002")}, {Name: seal.NameOf("李小红"), Relation: "母", Phone: seal.PhoneOf("13900000003")}},
		Programmes: []rules.Programme{rules.StemCell}, HealthAnswered: true, Signed: true, SignedOn: signed(), OnPaper: true,
	}
}

// register enters one form and returns what became of it.
func (h *house) register(by registry.Actor, f forms.Registration) registry.Entry {
	h.t.Helper()
	entries, err := h.Store.Register(context.Background(), by, uuid.NewString(), registry.EntryForm{Forms: []forms.Registration{f}})
	require.NoError(h.t, err)
	require.Len(h.t, entries, 1)
	return entries[0]
}

// donor registers volunteer n and returns the registration.
func (h *house) donor(n int) uuid.UUID {
	h.t.Helper()
	entry := h.register(h.Registrar, volunteer(n))
	require.Equal(h.t, "created", entry.Status, "%+v", entry.Problems)
	return entry.Donors[0].ID
}

func (h *house) show(by registry.Actor, donor uuid.UUID) registry.DonorView {
	h.t.Helper()
	v, err := h.Store.ShowDonor(context.Background(), by, donor)
	require.NoError(h.t, err)
	return v
}

// drive plans a drive whose tubes go to the laboratory.
func (h *house) drive() registry.DriveView {
	h.t.Helper()
	d, err := h.Store.PlanDrive(context.Background(), h.Registrar, forms.Drive{
		Name: "秋季采样", Place: "体育馆", Region: "320106", Laboratory: h.Laboratory.ID, FirstDay: signed(), LastDay: signed(), BarcodeFrom: "TB000001", BarcodeTo: "TB009999",
	})
	require.NoError(h.t, err)
	return d
}

func barcode(n int) string { return fmt.Sprintf("TB%06d", n) }

// sampled registers volunteers with a tube each at a drive; numbers make them the people and the barcodes they are.
func (h *house) sampled(drive registry.DriveView, numbers ...int) []uuid.UUID {
	h.t.Helper()
	var list []forms.Registration
	for _, n := range numbers {
		f := volunteer(n)
		f.Barcode = barcode(n)
		list = append(list, f)
	}
	entries, err := h.Store.Register(context.Background(), h.Registrar, uuid.NewString(), registry.EntryForm{Drive: drive.ID, Forms: list})
	require.NoError(h.t, err)
	var out []uuid.UUID
	for _, e := range entries {
		require.Equal(h.t, "created", e.Status, "%+v", e.Problems)
		out = append(out, e.Donors[0].ID)
	}
	return out
}

func (h *house) send(drive registry.DriveView, barcodes ...string) registry.ConsignmentView {
	h.t.Helper()
	box, err := h.Store.SendTubes(context.Background(), h.Registrar, drive.ID, registry.SendForm{To: h.Laboratory.ID, Barcodes: barcodes})
	require.NoError(h.t, err)
	return box
}

func (h *house) receive(box registry.ConsignmentView, f registry.ReceiveForm) registry.ConsignmentView {
	h.t.Helper()
	box, err := h.Store.ReceiveTubes(context.Background(), h.Technician, box.ID, 0, f)
	require.NoError(h.t, err)
	return box
}

func typing(barcode, gl string) forms.TypingReport {
	return forms.TypingReport{Barcode: barcode, GL: gl, Nomenclature: "3.57.0", Method: "NGS", TypedOn: today()}
}

// listed brings volunteers onto the list, one for each typing.
func (h *house) listed(typings ...string) []uuid.UUID { return h.listedFrom(1, typings...) }

// listedFrom is listed for people of numbers from one on: of a later drive.
func (h *house) listedFrom(first int, typings ...string) []uuid.UUID {
	h.t.Helper()
	ctx := context.Background()
	drive := h.drive()
	var numbers []int
	var reports []forms.TypingReport
	for i, gl := range typings {
		numbers = append(numbers, first+i)
		reports = append(reports, typing(barcode(first+i), gl))
	}
	donors := h.sampled(drive, numbers...)
	h.receive(h.send(drive), registry.ReceiveForm{})
	results, err := h.Store.ReportTypings(ctx, h.Technician, reports)
	require.NoError(h.t, err)
	for i, r := range results {
		require.Equal(h.t, "accepted", r.Status, r.Code)
		_, err := h.Store.ListDonor(ctx, system, registry.Advance{CaseID: donors[i], Version: 1, At: time.Now(), Move: ends("enrolment.listed", "listed")})
		require.NoError(h.t, err)
	}
	return donors
}

var noState = json.RawMessage("{}")

func to(step string) registry.Move { return registry.Move{Step: step, State: noState} }

func ends(step, ending string) registry.Move {
	return registry.Move{Step: step, End: true, Ending: ending, State: noState}
}

// patient enters a patient whom the typing gl fits.
func (h *house) patient(by registry.Actor) registry.PatientView {
	h.t.Helper()
	p, err := h.Store.AddPatient(context.Background(), by, forms.Patient{
		BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: gl, Nomenclature: "3.57.0", ConsentOn: today(),
	})
	require.NoError(h.t, err)
	return p
}

// search opens a search and runs it once.
func (h *house) search(by registry.Actor, policy string) registry.SearchView {
	h.t.Helper()
	ctx := context.Background()
	s, err := h.Store.OpenSearch(ctx, by, registry.SearchForm{Patient: h.patient(by).ID, Policy: policy})
	require.NoError(h.t, err)
	_, err = h.Store.RunSearch(ctx, system, s.ID, 1, time.Now())
	require.NoError(h.t, err)
	s, err = h.Store.ShowSearch(ctx, by, s.ID)
	require.NoError(h.t, err)
	return s
}

// ask opens a task as a protocol would.
func (h *house) ask(q registry.Question) registry.Ticket {
	h.t.Helper()
	if q.Round == 0 {
		q.Round = 1
	}
	if q.At.IsZero() {
		q.At = time.Now()
	}
	if q.DueAt.IsZero() && q.Rule == "" {
		q.DueAt = q.At.Add(72 * time.Hour)
	}
	ticket, err := h.Store.AskTask(context.Background(), system, q)
	require.NoError(h.t, err)
	return ticket
}

// choice asks a search's hospital which donors it wants.
func (h *house) choice(search uuid.UUID) registry.Ticket {
	h.t.Helper()
	return h.ask(registry.Question{CaseID: search, Step: "search.choice", Seat: registry.SeatTransplant, Role: policy.TransplantHospital, Rule: rules.StemCellChoice})
}

func (h *house) tryPropose(by registry.Actor, task uuid.UUID, form any) (registry.Proposed, error) {
	h.t.Helper()
	body, err := json.Marshal(form)
	require.NoError(h.t, err)
	return h.Store.ProposeAnswer(context.Background(), by, registry.Answer{TaskID: task, Command: uuid.NewString(), Form: body})
}

func (h *house) propose(by registry.Actor, task uuid.UUID, form any) registry.Proposed {
	h.t.Helper()
	p, err := h.tryPropose(by, task, form)
	require.NoError(h.t, err)
	return p
}

// version is a case's.
func (h *house) version(caseID uuid.UUID) int64 {
	h.t.Helper()
	c, err := h.Store.LoadCase(context.Background(), system, caseID)
	require.NoError(h.t, err)
	return c.Version
}

// settle accepts an answer and takes its case where it leads.
func (h *house) settle(p registry.Proposed, m registry.Move) (registry.Settled, error) {
	h.t.Helper()
	return h.Store.SettleAnswer(context.Background(), registry.Settle{AnswerID: p.AnswerID, Version: h.version(p.CaseID), At: time.Now(), Move: m})
}

// answer answers a task and settles it.
func (h *house) answer(by registry.Actor, task uuid.UUID, form any, m registry.Move) registry.Settled {
	h.t.Helper()
	moved, err := h.settle(h.propose(by, task, form), m)
	require.NoError(h.t, err)
	return moved
}

type fields = map[string]any

// request has a hospital ask for donors, the primary first, and returns their cases.
func (h *house) request(by registry.Actor, search uuid.UUID, donors ...uuid.UUID) []uuid.UUID {
	h.t.Helper()
	h.answer(by, h.choice(search).TaskID, fields{"outcome": "request", "donors": donors}, to("search.requested"))
	s, err := h.Store.ShowSearch(context.Background(), by, search)
	require.NoError(h.t, err)
	var cases []uuid.UUID
	for _, r := range s.Requests {
		cases = append(cases, r.Case)
	}
	require.Len(h.t, cases, len(donors))
	return cases
}

// requireCode wants an error of the registry's of a kind and code.
func requireCode(t testing.TB, err error, kind registry.Kind, code string, why ...string) {
	t.Helper()
	require.Error(t, err, why)
	require.Equal(t, code, registry.CodeOf(err), "%v %v", err, why)
	require.Equal(t, kind, registry.KindOf(err), "%v %v", err, why)
}

// requireProblem wants an error about a form, with a problem of a code at a field.
func requireProblem(t testing.TB, err error, code, field string) {
	t.Helper()
	requireCode(t, err, registry.Invalid, "form_invalid")
	var own *registry.Error
	require.ErrorAs(t, err, &own)
	for _, p := range own.Problems {
		if p.Code == code && p.Field == field {
			return
		}
	}
	require.Failf(t, "the problem is missing", "%s at %s, in %v", code, field, own.Problems)
}

// codesOf lists the codes of problems.
func codesOf(problems []registry.ProblemText) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.Code)
	}
	return out
}

// reveal is a donor's personal text, as their coordinator asks for it.
func (h *house) reveal(donor uuid.UUID) (out registry.Revealed) {
	h.t.Helper()
	for _, class := range []policy.Class{policy.Identity, policy.Contact} {
		r, err := h.Store.RevealDonor(context.Background(), h.Coordinator, donor, registry.RevealForm{Class: class, Reason: "call_donor"})
		require.NoError(h.t, err)
		if class == policy.Identity {
			out = r
		} else {
			out.Phone = r.Phone
		}
	}
	return out
}

// until is an end for a grant.
func (h *house) until() time.Time { return time.Now().Add(time.Hour) }
