package registry_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// trail is the chain of custody of a tube: each hand-over with what was found.
func (h *house) trail(barcode string) []string {
	h.t.Helper()
	return values[string](h, `SELECT k.condition FROM custody k JOIN specimens s ON s.id = k.specimen_id WHERE s.barcode = $1 ORDER BY k.at, k.id`, barcode)
}

func (h *house) tube(barcode string) string {
	h.t.Helper()
	return value[string](h, `SELECT s.status || ' ' || s.reason || ' at ' || o.name FROM specimens s JOIN organisations o ON o.id = s.holder_id WHERE s.barcode = $1`, barcode)
}

func TestEveryTubeIsSignedForAtBothEndsOfItsJourney(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	drive := h.drive()
	donors := h.sampled(drive, 1, 2, 3)
	other := h.drive()
	h.sampled(other, 4)
	box := h.send(drive)
	require.Equal(t, []string{barcode(1), barcode(2), barcode(3)}, box.Barcodes, "the drive's own tubes")
	require.Equal(t, "sent  at "+h.Laboratory.Name, h.tube(barcode(1)))
	require.Equal(t, "drawn  at "+h.County.Name, h.tube(barcode(4)))
	h.sql(`DELETE FROM outbox`)

	// A list that is not the box's is refused, and nothing is signed.
	for _, bad := range []registry.ReceiveForm{
		{Missing: []string{barcode(4)}},
		{Rejected: []registry.RejectedTube{{Barcode: barcode(4), Reason: "short"}}},
		{Missing: []string{barcode(1)}, Rejected: []registry.RejectedTube{{Barcode: barcode(1), Reason: "short"}}},
		{Rejected: []registry.RejectedTube{{Barcode: barcode(1), Reason: "ugly"}}},
	} {
		_, err := h.Store.ReceiveTubes(ctx, h.Technician, box.ID, 0, bad)
		requireCode(t, err, registry.Invalid, "form_invalid")
	}
	_, err := h.Store.ReceiveTubes(ctx, h.Technician, box.ID, box.Version+1, registry.ReceiveForm{})
	requireCode(t, err, registry.Stale, "consignment_changed")
	require.Equal(t, []string{"sent"}, h.trail(barcode(1)))

	received := registry.ReceiveForm{Missing: []string{barcode(2)}, Rejected: []registry.RejectedTube{{Barcode: barcode(3), Reason: "haemolysed"}}}
	signed, err := h.Store.ReceiveTubes(ctx, h.Technician, box.ID, box.Version, received)
	require.NoError(t, err)
	require.Equal(t, []any{"received", []string{barcode(2)}, []string{barcode(3)}}, []any{signed.Status, signed.Missing, signed.Rejected})
	for n, want := range map[int]string{1: "received  at ", 2: "missing  at ", 3: "rejected haemolysed at "} {
		require.Equal(t, want+h.Laboratory.Name, h.tube(barcode(n)))
	}
	require.Equal(t, [][]string{{"sent", "good"}, {"sent", "missing"}, {"sent", "haemolysed"}}, [][]string{h.trail(barcode(1)), h.trail(barcode(2)), h.trail(barcode(3))})
	// Every enrolment hears of its sample, and the drive of its box.
	tellings, err := h.Store.TakeTellings(ctx, 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, tellings, 2)
	slices.SortFunc(tellings, func(a, b registry.Telling) int { return strings.Compare(a.Fact, b.Fact) })
	require.Equal(t, "sample", tellings[0].Fact)
	require.ElementsMatch(t, donors, tellings[0].Targets)
	require.Equal(t, []any{"tubes_received", []uuid.UUID{drive.ID}}, []any{tellings[1].Fact, tellings[1].Targets})
	facts, err := h.Store.LoadDrive(ctx, system, drive.ID)
	require.NoError(t, err)
	require.Equal(t, []int{3, 0, 0, 1}, []int{facts.Tubes, facts.Unsent, facts.Underway, facts.Missing})

	// Signed twice is signed once.
	again, err := h.Store.ReceiveTubes(ctx, h.Technician, box.ID, 0, registry.ReceiveForm{Missing: []string{barcode(1)}})
	require.NoError(t, err)
	require.Equal(t, signed, again)
	require.Equal(t, []string{"sent", "good"}, h.trail(barcode(1)))
}

func TestATubeThatWasFoundTravelsAgainAndOneThatIsLostIsDrawnAnew(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	drive := h.drive()
	donor := h.sampled(drive, 1)[0]
	missing := h.receive(h.send(drive), registry.ReceiveForm{Missing: []string{barcode(1)}})
	require.Equal(t, []string{barcode(1)}, missing.Missing)
	ask := func(round int, outcome string) {
		task := h.ask(registry.Question{CaseID: drive.ID, Step: "drive.missing_tube", Round: round, Seat: registry.SeatOffice, Role: policy.Registrar, Rule: rules.DriveAlarm})
		h.answer(h.Registrar, task.TaskID, fields{"outcome": outcome}, to("drive.sending"))
	}
	ask(1, "found")
	require.Equal(t, "drawn  at "+h.County.Name, h.tube(barcode(1)), "it is back where it came from")
	h.receive(h.send(drive), registry.ReceiveForm{Missing: []string{barcode(1)}})
	require.Equal(t, []string{"sent", "missing", "sent", "missing"}, h.trail(barcode(1)))
	ask(2, "lost")
	require.Equal(t, "rejected lost at "+h.County.Name, h.tube(barcode(1)))
	facts, err := h.Store.LoadEnrolment(context.Background(), system, donor)
	require.NoError(t, err)
	require.Equal(t, []any{"rejected", 1}, []any{facts.Sample, facts.SampleCount})

	// The second tube is the donor's sample from now on.
	task := h.ask(registry.Question{CaseID: donor, Step: "enrolment.redraw", Seat: registry.SeatOffice, Role: policy.Registrar, Rule: rules.DriveRedraw})
	h.answer(h.Registrar, task.TaskID, fields{"outcome": "redrawn", "barcode": barcode(2), "drawn_on": today()}, to("enrolment.sample"))
	facts, err = h.Store.LoadEnrolment(context.Background(), system, donor)
	require.NoError(t, err)
	require.Equal(t, []any{"drawn", 2, today()}, []any{facts.Sample, facts.SampleCount, facts.DrawnOn})
	require.Equal(t, []string{barcode(2)}, h.send(drive).Barcodes)
}

func TestOnlyTubesThatAreThereCanBeSentAndOnlyToALaboratory(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	drive := h.drive()
	h.sampled(drive, 1, 2)
	send := func(by registry.Actor, f registry.SendForm) error {
		_, err := h.Store.SendTubes(ctx, by, drive.ID, f)
		return err
	}
	requireCode(t, send(h.Registrar, registry.SendForm{To: h.Transplant.ID}), registry.NotFound, "laboratory_not_found")
	requireCode(t, send(h.Registrar, registry.SendForm{To: uuid.New()}), registry.NotFound, "laboratory_not_found")
	requireProblem(t, send(h.Registrar, registry.SendForm{}), "R101", "to")
	requireProblem(t, send(h.Registrar, registry.SendForm{To: h.Laboratory.ID, Barcodes: []string{"1"}}), "R107", "barcodes[0]")
	requireCode(t, send(h.Registrar, registry.SendForm{To: h.Laboratory.ID, Barcodes: []string{barcode(1), barcode(3)}}), registry.Refused, "tubes_not_here")
	requireCode(t, send(h.Coordinator, registry.SendForm{To: h.Laboratory.ID}), registry.Denied, "denied")
	requireCode(t, send(h.Technician, registry.SendForm{To: h.Laboratory.ID}), registry.NotFound, "drive_not_found")
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM custody`), "nothing of this left")
	require.NoError(t, send(h.Registrar, registry.SendForm{To: h.Laboratory.ID, Barcodes: []string{barcode(2)}}))
	require.Equal(t, []string{barcode(1)}, h.send(drive).Barcodes)
	requireCode(t, send(h.Registrar, registry.SendForm{To: h.Laboratory.ID}), registry.Refused, "no_tubes")
	h.sql(`UPDATE organisations SET active = false WHERE id = $1`, h.Laboratory.ID)
	requireCode(t, send(h.Registrar, registry.SendForm{To: h.Laboratory.ID}), registry.NotFound, "laboratory_not_found")
}

// otherLaboratory is a second laboratory in the same city, with somebody who works there.
func (h *house) otherLaboratory() registry.Actor {
	h.t.Helper()
	o, err := h.Store.AddOrganisation(context.Background(), registry.Operator("test"), registry.OrganisationForm{Kind: "laboratory", Name: "另一分型实验室", Region: "320100"})
	require.NoError(h.t, err)
	return h.Staff(h.t, "othertechnician", o, policy.Laboratory, "320100")
}

func TestAnotherLaboratoryLearnsNothingOfABox(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	drive := h.drive()
	h.sampled(drive, 1)
	box := h.send(drive)
	other := h.otherLaboratory()
	_, there := h.Store.ReceiveTubes(ctx, other, box.ID, 0, registry.ReceiveForm{})
	_, none := h.Store.ReceiveTubes(ctx, other, uuid.New(), 0, registry.ReceiveForm{})
	requireCode(t, there, registry.NotFound, "consignment_not_found")
	require.Equal(t, none, there)
	list, err := h.Store.ListConsignments(ctx, other, "", uuid.Nil, 0)
	require.NoError(t, err)
	require.Empty(t, list)
	for _, actor := range []registry.Actor{h.Technician, h.Registrar} {
		list, err = h.Store.ListConsignments(ctx, actor, "sent", uuid.Nil, 0)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, box, list[0])
	}
	list, err = h.Store.ListConsignments(ctx, h.Technician, "received", uuid.Nil, 0)
	require.NoError(t, err)
	require.Empty(t, list)

	h.receive(box, registry.ReceiveForm{})
	results, err := h.Store.ReportTypings(ctx, other, []forms.TypingReport{typing(barcode(1), gl), typing(barcode(2), gl)})
	require.NoError(t, err)
	require.Equal(t, []string{"specimen_not_found", "specimen_not_found"}, []string{results[0].Code, results[1].Code}, "a tube elsewhere and no tube are alike")
	require.Equal(t, results[0].Detail, results[1].Detail)
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM typings`))
}

func TestAFaultyTypingIsRefusedForItselfAndTheOthersAreTaken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	drive := h.drive()
	h.sampled(drive, 1, 2)
	h.receive(h.send(drive), registry.ReceiveForm{})
	var reports []forms.TypingReport
	var want []string
	for code, list := range map[string][]string{
		"R101": {""},
		"R124": {
			"A*02:01", "HLA-A*02:01+", "HLA-A*99999:01+HLA-A*02:01", "HLA-Z*01:01+HLA-Z*01:01", "HLA-A*02:01+HLA-A*11:01+HLA-A*24:02", gl + "^" + gl, gl + "|" + gl,
			"HLA-A*02:01+HLA-B*15:02", "鼓楼", gl + "^HLA-A*02:01+HLA-A*02:01", "HLA-A*2+HLA-A*11",
		},
		"R143": {"HLA-A*02:01+HLA-A*11:01", "HLA-A*02:01+HLA-A*11:01^HLA-C*01:02+HLA-C*08:01^HLA-B*15:02+HLA-B*46:01^HLA-DRB1*09:01+HLA-DRB1*12:02"},
	} {
		for _, bad := range list {
			reports, want = append(reports, typing(barcode(1), bad)), append(want, code)
		}
	}
	for code, report := range map[string]forms.TypingReport{
		"R138": {Barcode: barcode(1), GL: gl, Nomenclature: "3.57.0", Method: "NGS", TypedOn: today().AddDays(1)},
		"R107": {Barcode: "?", GL: gl, Nomenclature: "3.57.0", Method: "NGS", TypedOn: today()},
		"R114": {Barcode: barcode(1), GL: gl, Nomenclature: "3.57.0", Method: "guess", TypedOn: today()},
	} {
		reports, want = append(reports, report), append(want, code)
	}
	before := typing(barcode(1), gl)
	before.TypedOn = signed().AddDays(-1)
	release := typing(barcode(1), gl)
	release.Nomenclature = "newest"
	reports, want = append(reports, before, release), append(want, "R138", "R124")
	results, err := h.Store.ReportTypings(context.Background(), h.Technician, append(reports, typing(barcode(2), gl)))
	require.NoError(t, err)
	for i, code := range want {
		require.Equal(t, "refused", results[i].Status, "%+v", reports[i])
		require.Equal(t, "form_invalid", results[i].Code, "%+v", reports[i])
		require.Contains(t, codesOf(results[i].Problems), code, "%+v", reports[i])
	}
	require.Equal(t, "accepted", results[len(want)].Status, "%+v", results[len(want)])
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM typings`))
	require.Equal(t, "received  at "+h.Laboratory.Name, h.tube(barcode(1)))
}

func TestATypingIsTakenOnceAndADifferentOneIsNotTakenOverIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	drive := h.drive()
	donors := h.sampled(drive, 1, 2, 3, 4)
	report := func(list ...forms.TypingReport) []string {
		t.Helper()
		results, err := h.Store.ReportTypings(ctx, h.Technician, list)
		require.NoError(t, err)
		var out []string
		for i, r := range results {
			require.Equal(t, list[i].Barcode, r.Barcode)
			out = append(out, r.Status+" "+r.Code)
		}
		return out
	}
	require.Equal(t, []string{"refused specimen_not_found"}, report(typing(barcode(1), gl)), "it is not at the laboratory")
	box := h.send(drive, barcode(1), barcode(2), barcode(3))
	require.Equal(t, []string{"refused specimen_not_received"}, report(typing(barcode(1), gl)), "it is under way")
	h.receive(box, registry.ReceiveForm{Rejected: []registry.RejectedTube{{Barcode: barcode(3), Reason: "haemolysed"}}})
	_, err := h.Store.Withdraw(ctx, h.Registrar, donors[1], 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	require.Equal(t, []string{
		"accepted ", "refused barcode_twice", "refused donor_withdrew", "refused specimen_not_received", "refused specimen_not_found", "refused specimen_not_found",
	}, report(typing(barcode(1), gl), typing(barcode(1), gl), typing(barcode(2), gl), typing(barcode(3), gl), typing(barcode(4), gl), typing(barcode(99), gl)))
	require.Equal(t, "typed  at "+h.Laboratory.Name, h.tube(barcode(1)))
	// The same alleles, the other way round, are the same typing.
	turned := "HLA-DQB1*03:03+HLA-DQB1*03:01^HLA-DRB1*12:02+HLA-DRB1*09:01^HLA-B*46:01+HLA-B*15:02^HLA-C*08:01+HLA-C*01:02^HLA-A*11:01+HLA-A*02:01"
	require.Equal(t, []string{"known ", "known "}, report(typing(barcode(1), gl), typing(barcode(1), turned)))
	require.Equal(t, []string{"refused typing_differs"}, report(typing(barcode(1), glNine)))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM typings`))
	require.Equal(t, gl, h.show(h.Coordinator, donors[0]).HLA.GL)
	require.Nil(t, h.show(h.Registrar, donors[0]).HLA, "a registrar has no business with it")
}

func TestNobodyIsTypedOrListedBeforeTheCoolingOffHasPassed(t *testing.T) {
	t.Parallel()
	at := newClock()
	h := newHouse(t, registry.Options{Now: at.now})
	ctx := context.Background()
	d, err := h.Store.PlanDrive(ctx, h.Registrar, forms.Drive{Name: "今日采样", Place: "体育馆", Region: "320106", FirstDay: today(), LastDay: today()})
	require.NoError(t, err)
	f := volunteer(1)
	f.SignedOn, f.Barcode = today(), barcode(1)
	entries, err := h.Store.Register(ctx, h.Registrar, "one", registry.EntryForm{Drive: d.ID, Forms: []forms.Registration{f}})
	require.NoError(t, err)
	donor := entries[0].Donors[0].ID
	h.receive(h.send(d), registry.ReceiveForm{})
	report := func() string {
		r := typing(barcode(1), gl)
		results, err := h.Store.ReportTypings(ctx, h.Technician, []forms.TypingReport{r})
		require.NoError(t, err)
		return results[0].Status + " " + results[0].Code
	}
	list := func(on time.Time) error {
		_, err := h.Store.ListDonor(ctx, system, registry.Advance{CaseID: donor, Version: h.version(donor), At: on, Move: ends("enrolment.listed", "listed")})
		return err
	}
	for day := range 7 {
		require.Equal(t, "refused cooling_off", report(), "day %d", day)
		at.pass(24 * time.Hour)
	}
	requireCode(t, list(at.now()), registry.Refused, "not_typed")
	require.Equal(t, "accepted ", report(), "the day after")
	// The rule is the register's own, whatever clock a protocol has.
	requireCode(t, list(at.now().Add(-48*time.Hour)), registry.Refused, "cooling_off")
	require.Equal(t, "enrolling", h.show(h.Coordinator, donor).Status)
	require.NoError(t, list(at.now()))
	v := h.show(h.Coordinator, donor)
	require.Equal(t, []any{"listed", calendar.Of(at.now(), registry.Zone)}, []any{v.Status, v.ListedOn})
	// Listing again finds the first result.
	moved, err := h.Store.ListDonor(ctx, system, registry.Advance{CaseID: donor, Version: 1, At: at.now(), Move: ends("enrolment.listed", "listed")})
	require.NoError(t, err)
	require.Equal(t, registry.Moved{CaseID: donor, Step: "enrolment.listed", Ended: true, Ending: "listed", Version: 2}, moved)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM events WHERE code = 'enrolment.listed'`))
}

func TestADonorWhoWithdrewIsNeverListed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	drive := h.drive()
	donor := h.sampled(drive, 1)[0]
	h.receive(h.send(drive), registry.ReceiveForm{})
	_, err := h.Store.ReportTypings(ctx, h.Technician, []forms.TypingReport{typing(barcode(1), gl)})
	require.NoError(t, err)
	_, err = h.Store.Withdraw(ctx, h.Registrar, donor, 0, registry.WithdrawForm{Via: "letter"})
	require.NoError(t, err)
	_, err = h.Store.ListDonor(ctx, system, registry.Advance{CaseID: donor, Version: 1, At: time.Now(), Move: ends("enrolment.listed", "listed")})
	requireCode(t, err, registry.Refused, "donor_withdrew")
	require.Equal(t, "withdrawn", h.show(h.Registrar, donor).Status)
}

func TestADriveIsPlannedWithinOnesRegionAndCountsItsPeople(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	plan := forms.Drive{Name: "春季采样", Place: "礼堂", Region: "320106", FirstDay: signed(), LastDay: signed(), BarcodeFrom: "TB000001", BarcodeTo: "TB000010"}
	for _, c := range []struct {
		spoil       func(*forms.Drive)
		code, field string
	}{
		{func(f *forms.Drive) { f.LastDay = f.FirstDay.AddDays(-1) }, "R140", "last_day"},
		{func(f *forms.Drive) { f.BarcodeTo = "TB000000" }, "R141", "barcode_to"},
		{func(f *forms.Drive) { f.BarcodeTo = "TB0000100" }, "R141", "barcode_to"},
		{func(f *forms.Drive) { f.BarcodeTo = "" }, "R101", "barcode_to"},
		{func(f *forms.Drive) { f.Name = "" }, "R101", "name"},
	} {
		bad := plan
		c.spoil(&bad)
		_, err := h.Store.PlanDrive(ctx, h.Registrar, bad)
		requireProblem(t, err, c.code, c.field)
	}
	far := plan
	far.Region = "310104"
	_, err := h.Store.PlanDrive(ctx, h.Registrar, far)
	require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(err))
	_, err = h.Store.PlanDrive(ctx, h.Coordinator, plan)
	requireCode(t, err, registry.Denied, "denied")
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM drives`))

	drive, err := h.Store.PlanDrive(ctx, h.Registrar, plan)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("DR-%d-000001", time.Now().In(registry.Zone).Year()), drive.Number)
	out := volunteer(3)
	out.Barcode = barcode(11)
	entries, err := h.Store.Register(ctx, h.Registrar, "outside", registry.EntryForm{Drive: drive.ID, Forms: []forms.Registration{out}})
	require.NoError(t, err)
	require.Equal(t, []string{"R107"}, codesOf(entries[0].Problems), "a barcode that was not handed out for the drive")
	h.sampled(drive, 1, 2)
	box := h.send(drive)
	h.receive(box, registry.ReceiveForm{})
	_, err = h.Store.ReportTypings(ctx, h.Technician, []forms.TypingReport{typing(barcode(1), gl)})
	require.NoError(t, err)
	seen, err := h.Store.DriveByNumber(ctx, h.Registrar, drive.Number)
	require.NoError(t, err)
	require.Equal(t, []int{2, 2, 2, 1, 0}, []int{seen.Forms, seen.Tubes, seen.Consents, seen.Typed, seen.Listed})
	_, err = h.Store.DriveByNumber(ctx, h.Registrar, "DR-1999-000001")
	requireCode(t, err, registry.NotFound, "drive_not_found")
	stranger := h.Staff(t, "stranger", h.OtherTransplant, policy.Registrar, "110108")
	_, err = h.Store.DriveByNumber(ctx, stranger, drive.Number)
	requireCode(t, err, registry.NotFound, "drive_not_found")
	_, err = h.Store.ShowDrive(ctx, stranger, drive.ID)
	requireCode(t, err, registry.NotFound, "drive_not_found")
	list, err := h.Store.ListDrives(ctx, stranger, uuid.Nil, 0)
	require.NoError(t, err)
	require.Empty(t, list)
	list, err = h.Store.ListDrives(ctx, h.CityCoordinator, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
}
