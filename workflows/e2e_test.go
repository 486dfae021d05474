package workflows_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

const gl = "HLA-A*02:01+HLA-A*11:01^HLA-C*01:02+HLA-C*08:01^HLA-B*15:02+HLA-B*46:01^HLA-DRB1*09:01+HLA-DRB1*12:02^HLA-DQB1*03:01+HLA-DQB1*03:03"

// volunteer is a valid consent form; n makes it another person's.
func volunteer(n int, signed calendar.Date, barcode string) forms.Registration {
	return forms.Registration{
		Name: seal.NameOf("张小明"), DocumentNumber: seal.NumberOf(residentNumber(n)), Phone: seal.PhoneOf("13800000001"),
		Contacts:   []forms.Contact{{Name: seal.NameOf("张大明"), Relation: "父", Phone: seal.PhoneOf("13800000002")}, {Name: seal.NameOf("李小红"), Relation: "母", Phone: seal.PhoneOf("13800000003")}},
		Programmes: []rules.Programme{rules.StemCell}, HealthAnswered: true, Signed: true, SignedOn: signed, OnPaper: true, Barcode: barcode,
	}
}

// residentNumber makes a valid identity number of somebody born in 2000.
func residentNumber(n int) string {
	body := "32010620000101" + string([]byte{byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)})
	weights, sum := []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}, 0
	for i, w := range weights {
		sum += int(body[i]-'0') * w
	}
	return body + string("10X98765432"[sum%11])
}

func today() calendar.Date { return calendar.Of(time.Now(), registry.Zone) }

// listed registers volunteers, has their samples typed, and waits until they are listed.
func listed(t testing.TB, d *workflowstest.Desk, n int, typing string) []uuid.UUID {
	t.Helper()
	ctx := context.Background()
	first := today().AddDays(-12)
	drive, err := d.Store.PlanDrive(ctx, d.Registrar, forms.Drive{Name: "秋季采样", Place: "体育馆", Region: "320106", Laboratory: d.Laboratory.ID, FirstDay: first, LastDay: first, Target: n, BarcodeFrom: "TB000001", BarcodeTo: "TB009999"})
	require.NoError(t, err)
	var list []forms.Registration
	var reports []forms.TypingReport
	for i := range n {
		barcode := fmt.Sprintf("TB%06d", i+1)
		list = append(list, volunteer(i+1, first, barcode))
		reports = append(reports, forms.TypingReport{Barcode: barcode, GL: typing, Nomenclature: "3.57.0", Method: "NGS", TypedOn: today()})
	}
	entries, err := d.Store.Register(ctx, d.Registrar, uuid.NewString(), registry.EntryForm{Drive: drive.ID, AcceptWarnings: true, Forms: list})
	require.NoError(t, err)
	var donors []uuid.UUID
	for _, e := range entries {
		require.Equal(t, "created", e.Status, "%+v", e.Problems)
		donors = append(donors, e.Donors[0].ID)
	}
	box, err := d.Store.SendTubes(ctx, d.Registrar, drive.ID, registry.SendForm{To: d.Laboratory.ID})
	require.NoError(t, err)
	_, err = d.Store.ReceiveTubes(ctx, d.Technician, box.ID, 0, registry.ReceiveForm{})
	require.NoError(t, err)
	results, err := d.Store.ReportTypings(ctx, d.Technician, reports)
	require.NoError(t, err)
	for _, r := range results {
		require.Equal(t, "accepted", r.Status, r.Code)
	}
	for _, id := range donors {
		d.Eventually(func() bool {
			v, err := d.Store.ShowDonor(ctx, d.Coordinator, id)
			require.NoError(t, err)
			return v.Status == "listed"
		}, "the donor is listed")
	}
	return donors
}

// opened opens a search for a patient whom the listed donors fit.
func opened(t testing.TB, d *workflowstest.Desk, by registry.Actor) uuid.UUID {
	t.Helper()
	ctx := context.Background()
	patient, err := d.Store.AddPatient(ctx, by, forms.Patient{BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: gl, Nomenclature: "3.57.0", ConsentOn: today()})
	require.NoError(t, err)
	s, err := d.Store.OpenSearch(ctx, by, registry.SearchForm{Patient: patient.ID})
	require.NoError(t, err)
	return s.ID
}

// requested opens a search for a patient who fits, and asks for candidates in order.
func requested(t testing.TB, d *workflowstest.Desk, by registry.Actor, donors ...uuid.UUID) (search uuid.UUID, cases []uuid.UUID) {
	t.Helper()
	search = opened(t, d, by)
	d.Answer(by, "search.choice", map[string]any{"outcome": "request", "donors": donors}, search)
	open, err := d.Store.ShowSearch(context.Background(), by, search)
	require.NoError(t, err)
	for _, r := range open.Requests {
		cases = append(cases, r.Case)
	}
	require.Len(t, cases, len(donors))
	return search, cases
}

// turn is one answer on the way of a case.
type turn struct {
	by   registry.Actor
	step string
	form map[string]any
	pass time.Duration // what passes before it
}

const aDay = 24 * time.Hour

// theWay is how a case goes that goes well: fourteen steps, twenty-eight answers. Its first fourteen turns can be taken in
// one day.
func theWay(d *workflowstest.Desk, n int) []turn {
	day := func(n int) string { return today().AddDays(n).String() }
	window := map[string]any{"conditioning": day(6), "mobilisation": day(10), "collection": day(14)}
	confirm := map[string]any{"outcome": "confirm", "window": window}
	way := []turn{
		{by: d.Coordinator, step: "stemcell.remobilisation", form: map[string]any{"outcome": "willing"}},
		{by: d.Coordinator, step: "stemcell.sample_booking", form: map[string]any{"outcome": "booked", "hospital": d.Collection.ID, "laboratory": d.Laboratory.ID, "on": day(1)}},
		{by: d.CollectionDoctor, step: "stemcell.confirmatory_sample", form: map[string]any{"outcome": "drawn", "barcode": fmt.Sprintf("CF%06d", n), "millilitres": 8, "drawn_on": day(0)}},
		{by: d.Technician, step: "stemcell.confirmatory_typing", form: map[string]any{"outcome": "typed", "gl": gl, "nomenclature": "3.57.0", "method": "NGS", "typed_on": day(0)}},
		{by: d.TransplantDoctor, step: "stemcell.hospital_decision", form: map[string]any{"outcome": "use"}},
		{by: d.CollectionDoctor, step: "stemcell.physical_examination", form: map[string]any{"outcome": "fit", "examined_on": day(0), "weight_kg": 65}},
		{by: d.Coordinator, step: "stemcell.donation_consent", form: map[string]any{"outcome": "signed", "version": "HSD-2024", "signed_on": day(0), "family_informed": true, "witness": d.Registrar.Staff()}},
		{by: d.CollectionDoctor, step: "stemcell.clearance", form: map[string]any{"outcome": "cleared", "on": day(0)}},
		{by: d.Second, step: "stemcell.clearance", form: map[string]any{"outcome": "cleared", "on": day(0)}},
		{by: d.TransplantDoctor, step: "stemcell.schedule", form: map[string]any{"outcome": "propose", "window": window}},
		{by: d.Coordinator, step: "stemcell.schedule", form: confirm},
		{by: d.CollectionDoctor, step: "stemcell.schedule", form: confirm},
		{by: d.TransplantDoctor, step: "stemcell.schedule", form: confirm},
		{by: d.Coordinator, step: "stemcell.schedule", form: confirm},

		{by: d.TransplantDoctor, step: "stemcell.conditioning", form: map[string]any{"outcome": "started", "started_on": day(6)}, pass: 6 * aDay},
	}
	for n := 1; n <= 4; n++ {
		pass := aDay
		if n == 1 {
			pass = 4 * aDay
		}
		way = append(way, turn{by: d.CollectionDoctor, step: "stemcell.mobilisation", form: map[string]any{"outcome": "given", "day": n, "given_on": day(9 + n), "micrograms": 600}, pass: pass})
	}
	return append(way,
		turn{by: d.CollectionDoctor, step: "stemcell.collection", form: map[string]any{"outcome": "collected", "day": 1, "collected_on": day(14), "volume_ml": 180, "cd34": 240, "mnc": 300}, pass: aDay},
		turn{by: d.CollectionDoctor, step: "stemcell.dispatch", form: map[string]any{"outcome": "handed_over", "on": day(14), "courier": "王师傅", "box": "B-1", "temperature": 4}},
		turn{by: d.TransplantDoctor, step: "stemcell.receipt", form: map[string]any{"outcome": "received", "on": day(14), "temperature_min": 3, "temperature_max": 6, "intact": true}},
		turn{by: d.TransplantDoctor, step: "stemcell.infusion", form: map[string]any{"outcome": "infused", "on": day(14)}},
		turn{by: d.Coordinator, step: "stemcell.thanks", form: map[string]any{"outcome": "thanked", "on": day(14), "leave_letter": true}},
	)
}

// inOneDay is how many turns of the way can be taken in one day.
const inOneDay = 14

// walk takes a case along its way, up to the first turn of a step (the end when empty), and returns the last move.
func walk(d *workflowstest.Desk, id uuid.UUID, way []turn, upTo string) registry.Moved {
	d.T.Helper()
	var moved registry.Moved
	for _, t := range way {
		if t.step == upTo {
			break
		}
		if t.pass > 0 {
			d.Pass(registry.StemCellProtocol, id, t.pass)
		}
		moved = d.Answer(t.by, t.step, t.form, id)
	}
	return moved
}

func TestACaseGoesFromTheFirstCallToTenYearsOfFollowUp(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	moved := walk(d, cases[0], theWay(d, 1), "")
	require.True(t, moved.Ended)
	require.Equal(t, "infused", moved.Ending)
	dueAsTheRulesSay(d, cases[0])

	plan := careOf(t, d)
	collected := today().AddDays(14)
	for i, on := range []calendar.Date{
		collected.AddDays(1), collected.AddDays(7), collected.AddMonths(1), collected.AddMonths(3), collected.AddMonths(6), collected.AddYears(1), collected.AddYears(2), collected.AddYears(3),
		collected.AddYears(4), collected.AddYears(5), collected.AddYears(6), collected.AddYears(7), collected.AddYears(8), collected.AddYears(9), collected.AddYears(10),
	} {
		now, err := d.Client.Now(context.Background(), registry.CareProtocol, plan)
		require.NoError(t, err)
		d.Pass(registry.CareProtocol, plan, on.Start(registry.Zone).Add(9*time.Hour).Sub(now))
		form := map[string]any{"outcome": "answered", "on": on.String(), "health": "as_before"}
		switch i {
		case 3:
			form = map[string]any{"outcome": "answered", "on": on.String(), "health": "worse", "flags": []string{"pain"}}
		case 5: // nobody answers, and its window passes
			d.Task(d.Coordinator, "care.follow_up", plan)
			continue
		case 6:
			d.Case(d.Coordinator, plan, func(v registry.CaseView) bool { return times(v, "care.missed") == 1 })
		}
		d.Answer(d.Coordinator, "care.follow_up", form, plan)
	}
	v := d.Case(d.Coordinator, plan, func(v registry.CaseView) bool { return v.Ending == "completed" })
	require.Equal(t, 1, times(v, "care.missed"))
	require.Len(t, v.Tasks, 15)
	require.Equal(t, 1, told(d, d.Coordinator, "care.alert", true))
}

// dueAsTheRulesSay compares the deadlines that the register gave with what the rule packs and the calendar say.
func dueAsTheRulesSay(d *workflowstest.Desk, id uuid.UUID) {
	d.T.Helper()
	cal, err := calendar.Embedded("CN")
	require.NoError(d.T, err)
	counted := map[string]rules.Key{
		"stemcell.remobilisation": rules.StemCellRemobilisation, "stemcell.sample_booking": rules.StemCellSample, "stemcell.confirmatory_sample": rules.StemCellSample,
		"stemcell.confirmatory_typing": rules.StemCellTyping, "stemcell.physical_examination": rules.StemCellExamination, "stemcell.donation_consent": rules.StemCellConsent,
		"stemcell.clearance": rules.StemCellClearance, "stemcell.schedule": rules.StemCellSchedule, "stemcell.dispatch": rules.StemCellTransport,
		"stemcell.receipt": rules.StemCellTransport, "stemcell.infusion": rules.StemCellInfusion, "stemcell.thanks": rules.StemCellThanks,
	}
	seen := map[string]bool{}
	for _, task := range stands(d, id, "stemcell.thanks").Tasks {
		key, ok := counted[task.Step]
		if !ok {
			continue
		}
		seen[task.Step] = true
		in := rules.Embedded().For("320106", calendar.Of(task.OpenedAt, registry.Zone))
		require.WithinDuration(d.T, in.Deadline(key, task.OpenedAt, cal, registry.Zone).Due, task.DueAt, time.Millisecond, task.Step)
	}
	require.Len(d.T, seen, len(counted))
}

// careOf finds the care plan that followed a case.
func careOf(t testing.TB, d *workflowstest.Desk) uuid.UUID {
	t.Helper()
	var id uuid.UUID
	d.Eventually(func() bool {
		list, err := d.Store.ListCases(context.Background(), d.Coordinator, registry.CaseFilter{Protocol: registry.CareProtocol, Status: "open"})
		require.NoError(t, err)
		if len(list) == 1 {
			id = list[0].ID
		}
		return len(list) == 1
	}, "the care plan is open")
	return id
}
