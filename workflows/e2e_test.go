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

// requested opens a search for a patient who fits, and asks for candidates in order.
func requested(t testing.TB, d *workflowstest.Desk, by registry.Actor, donors ...uuid.UUID) (search uuid.UUID, cases []uuid.UUID) {
	t.Helper()
	ctx := context.Background()
	patient, err := d.Store.AddPatient(ctx, by, forms.Patient{BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: gl, Nomenclature: "3.57.0", ConsentOn: today()})
	require.NoError(t, err)
	s, err := d.Store.OpenSearch(ctx, by, registry.SearchForm{Patient: patient.ID})
	require.NoError(t, err)
	d.Answer(by, "search.choice", map[string]any{"outcome": "request", "donors": donors}, s.ID)
	for range donors {
		cases = append(cases, uuid.Nil)
	}
	d.Eventually(func() bool {
		list, err := d.Store.ListCases(ctx, by, registry.CaseFilter{Protocol: registry.StemCellProtocol, Status: "open"})
		require.NoError(t, err)
		for i, donor := range donors {
			for _, c := range list {
				v, err := d.Store.ShowDonor(ctx, d.Coordinator, donor)
				require.NoError(t, err)
				full, err := d.Store.ShowCase(ctx, by, c.ID)
				require.NoError(t, err)
				if full.DonorNumber == v.Number {
					cases[i] = c.ID
				}
			}
		}
		return cases[len(cases)-1] != uuid.Nil
	}, "the cases are open")
	return s.ID, cases
}

func TestACaseGoesFromTheFirstCallToTenYearsOfFollowUp(t *testing.T) {
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	id := cases[0]
	day := func(n int) string { return today().AddDays(n).String() }

	d.Answer(d.Coordinator, "stemcell.remobilisation", map[string]any{"outcome": "willing"})
	d.Answer(d.Coordinator, "stemcell.sample_booking", map[string]any{"outcome": "booked", "hospital": d.Collection.ID, "laboratory": d.Laboratory.ID, "on": day(1)})
	d.Answer(d.CollectionDoctor, "stemcell.confirmatory_sample", map[string]any{"outcome": "drawn", "barcode": "CF000001", "millilitres": 8, "drawn_on": day(0)})
	d.Answer(d.Technician, "stemcell.confirmatory_typing", map[string]any{"outcome": "typed", "gl": gl, "nomenclature": "3.57.0", "method": "NGS", "typed_on": day(0)})
	d.Answer(d.TransplantDoctor, "stemcell.hospital_decision", map[string]any{"outcome": "use"})
	d.Answer(d.CollectionDoctor, "stemcell.physical_examination", map[string]any{"outcome": "fit", "examined_on": day(0), "weight_kg": 65})
	d.Answer(d.Coordinator, "stemcell.donation_consent", map[string]any{"outcome": "signed", "version": "HSD-2024", "signed_on": day(0), "family_informed": true, "witness": d.Registrar.Staff()})
	d.Answer(d.CollectionDoctor, "stemcell.clearance", map[string]any{"outcome": "cleared", "on": day(0)})
	// The second signature is another person's.
	_, err := d.TryAnswer(d.CollectionDoctor, d.Task(d.CollectionDoctor, "stemcell.clearance"), map[string]any{"outcome": "cleared", "on": day(0)})
	require.Equal(t, "second_person", registry.CodeOf(err))
	d.Answer(d.Second, "stemcell.clearance", map[string]any{"outcome": "cleared", "on": day(0)})

	window := map[string]any{"conditioning": day(6), "mobilisation": day(10), "collection": day(14)}
	d.Answer(d.TransplantDoctor, "stemcell.schedule", map[string]any{"outcome": "propose", "window": window})
	for _, by := range []registry.Actor{d.Coordinator, d.CollectionDoctor, d.TransplantDoctor, d.Coordinator} {
		d.Answer(by, "stemcell.schedule", map[string]any{"outcome": "confirm", "window": window})
	}
	d.Pass(registry.StemCellProtocol, id, 6*24*time.Hour)
	d.Answer(d.TransplantDoctor, "stemcell.conditioning", map[string]any{"outcome": "started", "started_on": day(6)})
	d.Pass(registry.StemCellProtocol, id, 4*24*time.Hour)
	for n := 1; n <= 4; n++ {
		d.Answer(d.CollectionDoctor, "stemcell.mobilisation", map[string]any{"outcome": "given", "day": n, "given_on": day(9 + n), "micrograms": 600})
		d.Pass(registry.StemCellProtocol, id, 24*time.Hour)
	}
	d.Answer(d.CollectionDoctor, "stemcell.collection", map[string]any{"outcome": "collected", "day": 1, "collected_on": day(14), "volume_ml": 180, "cd34": 240, "mnc": 300})
	d.Answer(d.CollectionDoctor, "stemcell.dispatch", map[string]any{"outcome": "handed_over", "on": day(14), "courier": "王师傅", "box": "B-1", "temperature": 4})
	d.Answer(d.TransplantDoctor, "stemcell.receipt", map[string]any{"outcome": "received", "on": day(14), "temperature_min": 3, "temperature_max": 6, "intact": true})
	d.Answer(d.TransplantDoctor, "stemcell.infusion", map[string]any{"outcome": "infused", "on": day(14)})
	moved := d.Answer(d.Coordinator, "stemcell.thanks", map[string]any{"outcome": "thanked", "on": day(14), "leave_letter": true})
	require.True(t, moved.Ended)
	require.Equal(t, "infused", moved.Ending)

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
		if i == 3 {
			form = map[string]any{"outcome": "answered", "on": on.String(), "health": "worse", "flags": []string{"pain"}}
		}
		moved = d.Answer(d.Coordinator, "care.follow_up", form, plan)
	}
	d.Case(d.Coordinator, plan, func(v registry.CaseView) bool { return v.Ending == "completed" })
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
