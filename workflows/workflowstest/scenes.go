package workflowstest

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// GL is the typing that every volunteer and every patient of the scenes has.
const GL = "HLA-A*02:01+HLA-A*11:01^HLA-C*01:02+HLA-C*08:01^HLA-B*15:02+HLA-B*46:01^HLA-DRB1*09:01+HLA-DRB1*12:02^HLA-DQB1*03:01+HLA-DQB1*03:03"

// Volunteer is a valid consent form; n makes it another person's.
func Volunteer(n int, signed calendar.Date, barcode string) forms.Registration {
	return forms.Registration{
		Name: seal.NameOf("张小明"), DocumentNumber: seal.NumberOf(ResidentNumber(n)), Phone: seal.PhoneOf("13800000001"),
		Contacts:   []forms.Contact{{Name: seal.NameOf("张大明"), Relation: "父", Phone: seal.PhoneOf("13800000002")}, {Name: seal.NameOf("李小红"), Relation: "母", Phone: seal.PhoneOf("13800000003")}},
		Programmes: []rules.Programme{rules.StemCell}, HealthAnswered: true, Signed: true, SignedOn: signed, OnPaper: true, Barcode: barcode,
	}
}

// ResidentNumber makes a valid identity number of somebody born in 2000.
func ResidentNumber(n int) string {
	body := "32010620000101" + string([]byte{byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)})
	weights, sum := []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}, 0
	for i, w := range weights {
		sum += int(body[i]-'0') * w
	}
	return body + string("10X98765432"[sum%11])
}

// Today is the office's day.
func Today() calendar.Date { return calendar.Of(time.Now(), registry.Zone) }

// Listed registers volunteers, has their samples typed, and waits until they are listed.
func (d *Desk) Listed(n int, typing string) []uuid.UUID {
	d.T.Helper()
	ctx := context.Background()
	first := Today().AddDays(-12)
	drive, err := d.Store.PlanDrive(ctx, d.Registrar, forms.Drive{Name: "秋季采样", Place: "体育馆", Region: "320106", Laboratory: d.Laboratory.ID, FirstDay: first, LastDay: first, Target: n, BarcodeFrom: "TB000001", BarcodeTo: "TB009999"})
	require.NoError(d.T, err)
	var list []forms.Registration
	var reports []forms.TypingReport
	for i := range n {
		barcode := fmt.Sprintf("TB%06d", i+1)
		list = append(list, Volunteer(i+1, first, barcode))
		reports = append(reports, forms.TypingReport{Barcode: barcode, GL: typing, Nomenclature: "3.57.0", Method: "NGS", TypedOn: Today()})
	}
	entries, err := d.Store.Register(ctx, d.Registrar, uuid.NewString(), registry.EntryForm{Drive: drive.ID, AcceptWarnings: true, Forms: list})
	require.NoError(d.T, err)
	var donors []uuid.UUID
	for _, e := range entries {
		require.Equal(d.T, "created", e.Status, "%+v", e.Problems)
		donors = append(donors, e.Donors[0].ID)
	}
	box, err := d.Store.SendTubes(ctx, d.Registrar, drive.ID, registry.SendForm{To: d.Laboratory.ID})
	require.NoError(d.T, err)
	_, err = d.Store.ReceiveTubes(ctx, d.Technician, box.ID, 0, registry.ReceiveForm{})
	require.NoError(d.T, err)
	results, err := d.Store.ReportTypings(ctx, d.Technician, reports)
	require.NoError(d.T, err)
	for _, r := range results {
		require.Equal(d.T, "accepted", r.Status, r.Code)
	}
	for _, id := range donors {
		d.Eventually(func() bool {
			v, err := d.Store.ShowDonor(ctx, d.Coordinator, id)
			require.NoError(d.T, err)
			return v.Status == "listed"
		}, "the donor is listed")
	}
	return donors
}

// Opened opens a search for a patient whom the listed donors fit.
func (d *Desk) Opened(by registry.Actor) uuid.UUID {
	d.T.Helper()
	ctx := context.Background()
	patient, err := d.Store.AddPatient(ctx, by, forms.Patient{BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: GL, Nomenclature: "3.57.0", ConsentOn: Today()})
	require.NoError(d.T, err)
	s, err := d.Store.OpenSearch(ctx, by, registry.SearchForm{Patient: patient.ID})
	require.NoError(d.T, err)
	return s.ID
}

// Requested opens a search for a patient who fits, and asks for candidates in order.
func (d *Desk) Requested(by registry.Actor, donors ...uuid.UUID) (search uuid.UUID, cases []uuid.UUID) {
	d.T.Helper()
	search = d.Opened(by)
	d.Answer(by, "search.choice", map[string]any{"outcome": "request", "donors": donors}, search)
	open, err := d.Store.ShowSearch(context.Background(), by, search)
	require.NoError(d.T, err)
	for _, r := range open.Requests {
		cases = append(cases, r.Case)
	}
	require.Len(d.T, cases, len(donors))
	return search, cases
}

// Turn is one answer on the way of a case.
type Turn struct {
	By   registry.Actor
	Step string
	Form map[string]any
	Pass time.Duration // what passes before it
}

const aDay = 24 * time.Hour

// TheWay is how a case goes that goes well: fourteen steps, twenty-eight answers. Its first fourteen turns can be taken in
// one day.
func (d *Desk) TheWay(n int) []Turn {
	day := func(n int) string { return Today().AddDays(n).String() }
	window := map[string]any{"conditioning": day(6), "mobilisation": day(10), "collection": day(14)}
	confirm := map[string]any{"outcome": "confirm", "window": window}
	way := []Turn{
		{By: d.Coordinator, Step: "stemcell.remobilisation", Form: map[string]any{"outcome": "willing"}},
		{By: d.Coordinator, Step: "stemcell.sample_booking", Form: map[string]any{"outcome": "booked", "hospital": d.Collection.ID, "laboratory": d.Laboratory.ID, "on": day(1)}},
		{By: d.CollectionDoctor, Step: "stemcell.confirmatory_sample", Form: map[string]any{"outcome": "drawn", "barcode": fmt.Sprintf("CF%06d", n), "millilitres": 8, "drawn_on": day(0)}},
		{By: d.Technician, Step: "stemcell.confirmatory_typing", Form: map[string]any{"outcome": "typed", "gl": GL, "nomenclature": "3.57.0", "method": "NGS", "typed_on": day(0)}},
		{By: d.TransplantDoctor, Step: "stemcell.hospital_decision", Form: map[string]any{"outcome": "use"}},
		{By: d.CollectionDoctor, Step: "stemcell.physical_examination", Form: map[string]any{"outcome": "fit", "examined_on": day(0), "weight_kg": 65}},
		{By: d.Coordinator, Step: "stemcell.donation_consent", Form: map[string]any{"outcome": "signed", "version": "HSD-2024", "signed_on": day(0), "family_informed": true, "witness": d.Registrar.Staff()}},
		{By: d.CollectionDoctor, Step: "stemcell.clearance", Form: map[string]any{"outcome": "cleared", "on": day(0)}},
		{By: d.Second, Step: "stemcell.clearance", Form: map[string]any{"outcome": "cleared", "on": day(0)}},
		{By: d.TransplantDoctor, Step: "stemcell.schedule", Form: map[string]any{"outcome": "propose", "window": window}},
		{By: d.Coordinator, Step: "stemcell.schedule", Form: confirm},
		{By: d.CollectionDoctor, Step: "stemcell.schedule", Form: confirm},
		{By: d.TransplantDoctor, Step: "stemcell.schedule", Form: confirm},
		{By: d.Coordinator, Step: "stemcell.schedule", Form: confirm},

		{By: d.TransplantDoctor, Step: "stemcell.conditioning", Form: map[string]any{"outcome": "started", "started_on": day(6)}, Pass: 6 * aDay},
	}
	for n := 1; n <= 4; n++ {
		pass := aDay
		if n == 1 {
			pass = 4 * aDay
		}
		way = append(way, Turn{By: d.CollectionDoctor, Step: "stemcell.mobilisation", Form: map[string]any{"outcome": "given", "day": n, "given_on": day(9 + n), "micrograms": 600}, Pass: pass})
	}
	return append(way,
		Turn{By: d.CollectionDoctor, Step: "stemcell.collection", Form: map[string]any{"outcome": "collected", "day": 1, "collected_on": day(14), "volume_ml": 180, "cd34": 240, "mnc": 300}, Pass: aDay},
		Turn{By: d.CollectionDoctor, Step: "stemcell.dispatch", Form: map[string]any{"outcome": "handed_over", "on": day(14), "courier": "王师傅", "box": "B-1", "temperature": 4}},
		Turn{By: d.TransplantDoctor, Step: "stemcell.receipt", Form: map[string]any{"outcome": "received", "on": day(14), "temperature_min": 3, "temperature_max": 6, "intact": true}},
		Turn{By: d.TransplantDoctor, Step: "stemcell.infusion", Form: map[string]any{"outcome": "infused", "on": day(14)}},
		Turn{By: d.Coordinator, Step: "stemcell.thanks", Form: map[string]any{"outcome": "thanked", "on": day(14), "leave_letter": true}},
	)
}

// InOneDay is how many turns of the way can be taken in one day.
const InOneDay = 14

// Walk takes a case along its way, up to the first turn of a step (the end when empty), and returns the last move.
func (d *Desk) Walk(id uuid.UUID, way []Turn, upTo string) registry.Moved {
	d.T.Helper()
	var moved registry.Moved
	for _, t := range way {
		if t.Step == upTo {
			break
		}
		if t.Pass > 0 {
			d.Pass(registry.StemCellProtocol, id, t.Pass)
		}
		moved = d.Answer(t.By, t.Step, t.Form, id)
	}
	return moved
}
