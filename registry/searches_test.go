package registry_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// atOnce runs functions at the same time and returns their errors in order.
func atOnce(do ...func() error) []error {
	errs := make([]error, len(do))
	start := make(chan struct{})
	var all sync.WaitGroup
	for i, f := range do {
		all.Go(func() {
			<-start
			errs[i] = f()
		})
	}
	close(start)
	all.Wait()
	return errs
}

// reserved lists who has an open reservation.
func (h *house) reserved() []uuid.UUID {
	h.t.Helper()
	return values[uuid.UUID](h, `SELECT registration_id FROM reservations WHERE released_at IS NULL ORDER BY registration_id`)
}

func TestOfTwoHospitalsThatAskForADonorAtOnceExactlyOneGetsThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(slices.Repeat([]string{gl}, 12)...)
	searches := map[registry.Actor]uuid.UUID{h.TransplantDoctor: h.search(h.TransplantDoctor, "").ID, h.OtherDoctor: h.search(h.OtherDoctor, "").ID}
	for round, donor := range donors {
		var asks []func() error
		for _, doctor := range []registry.Actor{h.TransplantDoctor, h.OtherDoctor} {
			task := h.ask(registry.Question{CaseID: searches[doctor], Step: "search.choice", Round: round + 1, Seat: registry.SeatTransplant, Role: policy.TransplantHospital})
			p := h.propose(doctor, task.TaskID, fields{"outcome": "request", "donors": []uuid.UUID{donor}})
			version := h.version(p.CaseID)
			asks = append(asks, func() error {
				_, err := h.Store.SettleAnswer(ctx, registry.Settle{AnswerID: p.AnswerID, Version: version, At: time.Now(), Move: to("search.requested")})
				if err != nil {
					status, refusal, _, stateErr := h.Store.AnswerState(ctx, doctor, p.AnswerID)
					if stateErr != nil || status != "refused" || refusal != "donor_reserved" {
						return stateErr
					}
				}
				return err
			})
		}
		errs := atOnce(asks...)
		lost := slices.IndexFunc(errs, func(err error) bool { return err != nil })
		require.GreaterOrEqual(t, lost, 0, "both got the donor")
		require.NoError(t, errs[1-lost], "nobody got the donor")
		requireCode(t, errs[lost], registry.Conflict, "donor_reserved")
		require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM reservations WHERE registration_id = $1`, donor))
		require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM cases WHERE protocol = 'stemcell' AND subject_id = $1`, donor))
	}
	require.Len(t, h.reserved(), len(donors))
}

func TestTwoHospitalsThatAskForTheSameDonorsInOppositeOrderDoNotShareThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	donors := h.listed(gl, gl)
	turned := []uuid.UUID{donors[1], donors[0]}
	one, two := h.search(h.TransplantDoctor, "").ID, h.search(h.OtherDoctor, "").ID
	settle := func(by registry.Actor, search uuid.UUID, donors []uuid.UUID) func() error {
		p := h.propose(by, h.choice(search).TaskID, fields{"outcome": "request", "donors": donors})
		version := h.version(search)
		return func() error {
			_, err := h.Store.SettleAnswer(context.Background(), registry.Settle{AnswerID: p.AnswerID, Version: version, At: time.Now(), Move: to("search.requested")})
			return err
		}
	}
	errs := atOnce(settle(h.TransplantDoctor, one, donors), settle(h.OtherDoctor, two, turned))
	lost := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	require.GreaterOrEqual(t, lost, 0)
	require.NoError(t, errs[1-lost])
	requireCode(t, errs[lost], registry.Conflict, "donor_reserved")
	require.Len(t, h.reserved(), 2)
	require.Equal(t, 1, value[int](h, `SELECT count(DISTINCT search_id)::int FROM link.requests`), "both donors are with one hospital")
}

func TestTheDatabaseItselfHoldsOneOpenReservationForADonor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	donor := h.listed(gl)[0]
	caseID := h.request(h.TransplantDoctor, h.search(h.TransplantDoctor, "").ID, donor)[0]
	insert := func(of uuid.UUID) error {
		_, err := h.conn().Exec(context.Background(), `INSERT INTO reservations (id, registration_id, case_id, reserved_at, expires_at) VALUES ($1, $2, $3, now(), now())`, uuid.New(), donor, of)
		return err
	}
	broken := func(err error, constraint string) {
		var pg *pgconn.PgError
		require.ErrorAs(t, err, &pg)
		require.Equal(t, []string{"23505", constraint}, []string{pg.Code, pg.ConstraintName})
	}
	broken(insert(uuid.New()), "reservations_one_open")
	h.sql(`UPDATE reservations SET released_at = now()`)
	broken(insert(caseID), "reservations_of_case")
	require.NoError(t, insert(uuid.New()))
	broken(insert(uuid.New()), "reservations_one_open")
}

func TestWhatTheEndOfACaseMeansForTheDonor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	endings := []struct {
		ending, status, reason string
		months                 int // until the donor may be asked again
	}{
		{"released", "listed", "", 0},
		{"reservation_expired", "listed", "", 0},
		{"declined", "unavailable", "PR", 0},
		{"unreachable", "unavailable", "UC", 0},
		{"unfit", "unavailable", "MR", 0},
		{"not_cleared", "unavailable", "MR", 0},
		{"infused", "unavailable", "TX", 3},
		{"not_used", "unavailable", "TX", 3},
	}
	donors := h.listed(slices.Repeat([]string{gl}, len(endings))...)
	search, other := h.search(h.TransplantDoctor, "").ID, h.search(h.OtherDoctor, "").ID
	for i, e := range endings {
		task := h.ask(registry.Question{CaseID: search, Step: "search.choice", Round: i + 1, Seat: registry.SeatTransplant, Role: policy.TransplantHospital})
		h.answer(h.TransplantDoctor, task.TaskID, fields{"outcome": "request", "donors": donors[i : i+1]}, to("search.requested"))
		caseID := value[uuid.UUID](h, `SELECT case_id FROM reservations WHERE registration_id = $1 AND released_at IS NULL`, donors[i])
		_, err := h.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: caseID, Version: 1, At: time.Now(), Move: ends("stemcell.remobilisation", e.ending)})
		require.NoError(t, err)
		require.Equal(t, e.ending, value[string](h, `SELECT reason FROM reservations WHERE case_id = $1 AND released_at IS NOT NULL`, caseID))
		v := h.show(h.Coordinator, donors[i])
		require.Equal(t, []string{e.status, e.reason}, []string{v.Status, v.StatusReason}, e.ending)
		until := value[*time.Time](h, `SELECT unavailable_until FROM registrations WHERE id = $1`, donors[i])
		require.Equal(t, e.months > 0, until != nil, e.ending)
		if until != nil {
			require.WithinDuration(t, time.Now().AddDate(0, e.months, 0), *until, 48*time.Hour)
		}
		// A donor who is free again can be asked for by anybody; one who is not, by nobody.
		again := h.ask(registry.Question{CaseID: other, Step: "search.choice", Round: i + 1, Seat: registry.SeatTransplant, Role: policy.TransplantHospital})
		_, err = h.settle(h.propose(h.OtherDoctor, again.TaskID, fields{"outcome": "request", "donors": donors[i : i+1]}), to("search.requested"))
		if e.status == "listed" {
			require.NoError(t, err, e.ending)
		} else {
			requireCode(t, err, registry.Refused, "donor_unavailable")
		}
	}
}

func TestBackupsStandByReservedUntilTheyArePromoted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, gl, gl, gl)
	search := h.search(h.TransplantDoctor, "").ID
	task := h.choice(search).TaskID
	for _, bad := range [][]uuid.UUID{donors, nil, {donors[0], donors[0]}} {
		_, err := h.tryPropose(h.TransplantDoctor, task, fields{"outcome": "request", "donors": bad})
		requireCode(t, err, registry.Invalid, "form_invalid")
	}
	_, err := h.settle(h.propose(h.TransplantDoctor, task, fields{"outcome": "request", "donors": []uuid.UUID{donors[0], uuid.New()}}), to("search.requested"))
	requireCode(t, err, registry.NotFound, "donor_not_found")
	require.Empty(t, h.reserved(), "one that cannot be asked for refuses the whole choice")

	chosen := []uuid.UUID{donors[2], donors[0], donors[1]}
	cases := h.request(h.TransplantDoctor, search, chosen...)
	slices.SortFunc(chosen, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	require.Equal(t, chosen, h.reserved())
	for i, id := range cases {
		facts, err := h.Store.LoadStemCell(ctx, system, id)
		require.NoError(t, err)
		step := "stemcell.standby"
		if i == 0 {
			step = "stemcell.remobilisation"
		}
		require.Equal(t, []any{i + 1, i == 0, step}, []any{facts.Rank, facts.Promoted, facts.Step})
		require.WithinRange(t, facts.ReservedUntil, time.Now().AddDate(0, 0, 60), time.Now().AddDate(0, 0, 120), "sixty working days")
	}
	h.sql(`DELETE FROM outbox`)
	for range 2 { // the second time changes nothing
		require.NoError(t, h.Store.PromoteBackup(ctx, system, cases[1], time.Now()))
	}
	facts, err := h.Store.LoadStemCell(ctx, system, cases[1])
	require.NoError(t, err)
	require.True(t, facts.Promoted)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM events WHERE code = 'case.promoted'`))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM outbox`))
	requireCode(t, h.Store.PromoteBackup(ctx, h.TransplantDoctor, cases[2], time.Now()), registry.NotFound, "case_not_found")
}

// ranked is a candidate as a hospital sees them, in the order of the ranks.
type ranked struct {
	donor   uuid.UUID
	matched int
	change  string
}

func (h *house) candidates(by registry.Actor, search uuid.UUID) []ranked {
	h.t.Helper()
	list, err := h.Store.ListCandidates(context.Background(), by, search, registry.CandidateFilter{})
	require.NoError(h.t, err)
	var out []ranked
	for i, c := range list {
		require.True(h.t, i == 0 || c.Rank > list[i-1].Rank)
		out = append(out, ranked{c.ID, c.Matched, c.Change})
	}
	return out
}

func TestTheBestFitComesFirstAndEveryRunSaysWhatChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(glNine, glEight, gl, glNine)
	search := h.search(h.TransplantDoctor, "9/10").ID
	first := []ranked{{donors[2], 10, "new"}, {donors[0], 9, "new"}, {donors[3], 9, "new"}}
	require.Equal(t, first, h.candidates(h.TransplantDoctor, search), "8 of 10 do not fit, and equals come in the order of their ids")
	for policyName, want := range map[string]int{"10/10": 1, "8/10": 4, "6/6": 1, "5/6": 4} {
		require.Equal(t, want, h.search(h.TransplantDoctor, policyName).Candidates, policyName)
	}

	// The same run again writes the same.
	again, err := h.Store.RunSearch(ctx, system, search, 1, time.Now())
	require.NoError(t, err)
	require.Equal(t, registry.SearchRun{Run: 1, Compared: 4, Found: 3, New: 3}, again)
	require.Equal(t, first, h.candidates(h.TransplantDoctor, search))
	run := func(n int, want registry.SearchRun) {
		t.Helper()
		got, err := h.Store.RunSearch(ctx, system, search, n, time.Now())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	run(2, registry.SearchRun{Run: 2, Compared: 4, Found: 3})
	require.Equal(t, []ranked{{donors[2], 10, "same"}, {donors[0], 9, "same"}, {donors[3], 9, "same"}}, h.candidates(h.TransplantDoctor, search))
	notices, err := h.Store.ListNotices(ctx, h.TransplantDoctor, true, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.NotContains(t, noticeCodes(notices), "search.changed", "nothing changed")

	_, err = h.Store.Withdraw(ctx, h.Registrar, donors[2], 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	run(3, registry.SearchRun{Run: 3, Compared: 3, Found: 2, Lost: 1})
	require.Equal(t, []ranked{{donors[0], 9, "same"}, {donors[3], 9, "same"}, {donors[2], 10, "lost"}}, h.candidates(h.TransplantDoctor, search))
	run(4, registry.SearchRun{Run: 4, Compared: 3, Found: 2})
	h.sql(`UPDATE registrations SET status = 'listed' WHERE id = $1`, donors[2])
	run(5, registry.SearchRun{Run: 5, Compared: 4, Found: 3, New: 1})
	require.Equal(t, []ranked{{donors[2], 10, "new"}, {donors[0], 9, "same"}, {donors[3], 9, "same"}}, h.candidates(h.TransplantDoctor, search))
	notices, err = h.Store.ListNotices(ctx, h.TransplantDoctor, true, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, slices.DeleteFunc(noticeCodes(notices), func(code string) bool { return code != "search.changed" }), 2)

	var paged []uuid.UUID
	for rank := 0; ; {
		page, err := h.Store.ListCandidates(ctx, h.TransplantDoctor, search, registry.CandidateFilter{AfterRank: rank, Limit: 2})
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			paged, rank = append(paged, c.ID), c.Rank
		}
		require.LessOrEqual(t, len(paged), 3, "pages overlap")
	}
	require.Equal(t, []uuid.UUID{donors[2], donors[0], donors[3]}, paged)
}

func noticeCodes(notices []registry.NoticeView) []string {
	var out []string
	for _, n := range notices {
		out = append(out, n.Code)
	}
	return out
}

func TestASearchAndItsPatientAreTheirHospitalsAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	p := h.patient(h.TransplantDoctor)
	s, err := h.Store.OpenSearch(ctx, h.TransplantDoctor, registry.SearchForm{Patient: p.ID})
	require.NoError(t, err)
	for who, actor := range h.everybody() {
		if actor == h.TransplantDoctor || actor == system {
			continue
		}
		_, err := h.Store.ShowPatient(ctx, actor, p.ID)
		requireCode(t, err, registry.NotFound, "patient_not_found")
		_, err = h.Store.ShowSearch(ctx, actor, s.ID)
		requireCode(t, err, registry.NotFound, "search_not_found")
		_, err = h.Store.ListCandidates(ctx, actor, s.ID, registry.CandidateFilter{})
		requireCode(t, err, registry.NotFound, "search_not_found")
		_, err = h.Store.CloseSearch(ctx, actor, s.ID, 0, "other")
		requireCode(t, err, registry.NotFound, "search_not_found")
		_, err = h.Store.RunSearch(ctx, actor, s.ID, 9, time.Now())
		require.Error(t, err, who)
	}
	_, err = h.Store.OpenSearch(ctx, h.OtherDoctor, registry.SearchForm{Patient: p.ID})
	requireCode(t, err, registry.NotFound, "patient_not_found")
	_, err = h.Store.RunSearch(ctx, h.TransplantDoctor, s.ID, 9, time.Now())
	require.Error(t, err, "only the protocol compares with the whole register")

	for _, c := range []struct {
		spoil       func(*forms.Patient)
		code, field string
	}{
		{func(f *forms.Patient) { f.GL = "HLA-A*02:01" }, "R124", "gl"},
		{func(f *forms.Patient) { f.Diagnosis = "leukaemia" }, "R114", "diagnosis"},
		{func(f *forms.Patient) { f.ConsentOn = today().AddDays(1) }, "R138", "consent_on"},
		{func(f *forms.Patient) { f.WeightKG = 0 }, "R101", "weight_kg"},
	} {
		f := forms.Patient{BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: gl, Nomenclature: "3.57.0", ConsentOn: today()}
		c.spoil(&f)
		_, err := h.Store.AddPatient(ctx, h.TransplantDoctor, f)
		requireProblem(t, err, c.code, c.field)
	}
	half, err := h.Store.AddPatient(ctx, h.TransplantDoctor, forms.Patient{
		BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: "HLA-A*02:01+HLA-A*11:01^HLA-B*15:02+HLA-B*46:01^HLA-DRB1*09:01+HLA-DRB1*12:02", Nomenclature: "3.57.0", ConsentOn: today(),
	})
	require.NoError(t, err)
	_, err = h.Store.OpenSearch(ctx, h.TransplantDoctor, registry.SearchForm{Patient: half.ID})
	requireProblem(t, err, "R143", "patient")
	_, err = h.Store.OpenSearch(ctx, h.TransplantDoctor, registry.SearchForm{Patient: half.ID, Policy: "6/6"})
	require.NoError(t, err)
}

func TestClosingASearchTellsItsCases(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, gl)
	search := h.search(h.TransplantDoctor, "")
	cases := h.request(h.TransplantDoctor, search.ID, donors...)
	search, err := h.Store.ShowSearch(ctx, h.TransplantDoctor, search.ID)
	require.NoError(t, err)
	h.sql(`DELETE FROM outbox`)
	_, err = h.Store.CloseSearch(ctx, h.TransplantDoctor, search.ID, search.Version-1, "patient_died")
	requireCode(t, err, registry.Stale, "search_changed")
	closed, err := h.Store.CloseSearch(ctx, h.TransplantDoctor, search.ID, search.Version, "patient_died")
	require.NoError(t, err)
	require.Equal(t, "closed", closed.Status)
	again, err := h.Store.CloseSearch(ctx, h.TransplantDoctor, search.ID, 0, "other")
	require.NoError(t, err)
	require.Equal(t, closed, again)
	tellings, err := h.Store.TakeTellings(ctx, 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, tellings, 2)
	for _, told := range tellings {
		want := map[string][]uuid.UUID{"search_closed": cases, "closed": {search.ID}}[told.Fact]
		require.ElementsMatch(t, want, told.Targets, told.Fact)
	}
	for _, id := range cases {
		facts, err := h.Store.LoadStemCell(ctx, system, id)
		require.NoError(t, err)
		require.True(t, facts.Released)
	}
}

// The patient's side learns of the donor what a choice needs, and the donor's side nothing of the patient; neither learns
// where the other is.
func TestNeitherSideOfACaseLearnsWhoOrWhereTheOtherIs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.listed(gl)[0]
	p, err := h.Store.AddPatient(ctx, h.TransplantDoctor, forms.Patient{
		Reference: seal.NoteOf("ZY-1"), BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: gl, Nomenclature: "3.57.0", ConsentOn: today(),
	})
	require.NoError(t, err)
	s, err := h.Store.OpenSearch(ctx, h.TransplantDoctor, registry.SearchForm{Patient: p.ID})
	require.NoError(t, err)
	_, err = h.Store.RunSearch(ctx, system, s.ID, 1, time.Now())
	require.NoError(t, err)
	caseID := h.request(h.TransplantDoctor, s.ID, donor)[0]
	h.book(caseID)
	task := h.ask(registry.Question{CaseID: caseID, Step: "stemcell.hospital_decision", Seat: registry.SeatTransplant, Role: policy.TransplantHospital})
	number := h.show(h.Coordinator, donor).Number

	look := func(by registry.Actor) string {
		t.Helper()
		c, err := h.Store.ShowCase(ctx, by, caseID)
		require.NoError(t, err)
		cases, err := h.Store.ListCases(ctx, by, registry.CaseFilter{Protocol: registry.StemCellProtocol})
		require.NoError(t, err)
		require.Len(t, cases, 1)
		tasks, err := h.Store.ListTasks(ctx, by, registry.TaskFilter{CaseID: caseID})
		require.NoError(t, err)
		notices, err := h.Store.ListNotices(ctx, by, false, time.Time{}, uuid.Nil, 0)
		require.NoError(t, err)
		seen := []any{c, cases, tasks, notices}
		if by == h.TransplantDoctor {
			one, err := h.Store.ShowTask(ctx, by, task.TaskID)
			require.NoError(t, err)
			search, err := h.Store.ShowSearch(ctx, by, s.ID)
			require.NoError(t, err)
			candidates, err := h.Store.ListCandidates(ctx, by, s.ID, registry.CandidateFilter{})
			require.NoError(t, err)
			require.Equal(t, "江苏省", candidates[0].Province)
			require.Equal(t, "25-29", candidates[0].AgeBand)
			for i := range candidates {
				candidates[i].ID = uuid.Nil // by which the donor is asked for
			}
			seen = append(seen, one, search, candidates)
		}
		encoded, err := json.Marshal(seen)
		require.NoError(t, err)
		return string(encoded)
	}
	_, err = h.Store.AddAttempt(ctx, h.Coordinator, caseID, forms.ContactAttempt{At: time.Now(), Channel: "phone", Whom: "contact", Result: "reached"})
	require.NoError(t, err)
	told := func(by registry.Actor) []string {
		t.Helper()
		v, err := h.Store.ShowCase(ctx, by, caseID)
		require.NoError(t, err)
		for _, e := range v.Timeline {
			require.Empty(t, e.Actor)
		}
		return eventCodes(v)
	}
	require.Equal(t, []string{"case.opened", "stemcell.sample_booking.booked", "stemcell.attempt"}, told(h.Coordinator))
	require.Equal(t, []string{"case.opened"}, told(h.TransplantDoctor), "how the donor is found and where they go is their own side's")
	patients := look(h.TransplantDoctor)
	require.Contains(t, patients, number)
	require.Contains(t, patients, p.Number)
	for what, secret := range map[string]string{
		"the donor's county": "320106", "the donor's city": "320100", "the collection hospital's district": "320102", "the county's name": "鼓楼", "the city's name": "南京",
		"the donor's registration": donor.String(), "the donor's office": h.County.ID.String(), "the collection hospital": h.Collection.ID.String(),
		"the laboratory": h.Laboratory.ID.String(), "the coordinator": h.Coordinator.Staff().String(), "the coordinator's name": h.Coordinator.Name, "the tube": barcode(1),
	} {
		require.NotContains(t, patients, secret, "the patient's side reads %s", what)
	}
	for _, by := range []registry.Actor{h.Coordinator, h.CollectionDoctor} {
		donors := look(by)
		require.Contains(t, donors, number)
		for what, secret := range map[string]string{
			"the patient's number": p.Number, "the patient": p.ID.String(), "the search": s.ID.String(), "the search's number": s.Number, "the hospital": h.Transplant.ID.String(),
			"the hospital's district": "310104", "the doctor": h.TransplantDoctor.Staff().String(), "the doctor's name": h.TransplantDoctor.Name, "the diagnosis": "C91.0",
		} {
			require.NotContains(t, donors, secret, "%s reads %s", by.Name, what)
		}
	}
	// Another transplant hospital sees neither.
	_, err = h.Store.ShowCase(ctx, h.OtherDoctor, caseID)
	requireCode(t, err, registry.NotFound, "case_not_found")
}

func TestOneHospitalCannotSitOnBothSidesOfACase(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	donor := h.listed(gl)[0]
	caseID := h.request(h.TransplantDoctor, h.search(h.TransplantDoctor, "").ID, donor)[0]
	task := h.ask(registry.Question{CaseID: caseID, Step: "stemcell.sample_booking", Seat: registry.SeatCoordinator, Role: policy.Coordinator})
	for _, c := range []struct {
		hospital, laboratory uuid.UUID
		kind                 registry.Kind
		code                 string
	}{
		{h.Transplant.ID, h.Laboratory.ID, registry.Refused, "hospital_both_sides"},
		{h.Collection.ID, h.Collection.ID, registry.Refused, "organisation_kind"},
		{h.Laboratory.ID, h.Laboratory.ID, registry.Refused, "organisation_kind"},
		{h.College.ID, h.Laboratory.ID, registry.Refused, "organisation_kind"},
		{uuid.New(), h.Laboratory.ID, registry.NotFound, "organisation_not_found"},
	} {
		p := h.propose(h.Coordinator, task.TaskID, fields{"outcome": "booked", "hospital": c.hospital, "laboratory": c.laboratory, "on": today()})
		_, err := h.settle(p, to("stemcell.confirmatory_sample"))
		requireCode(t, err, c.kind, c.code)
	}
	require.Equal(t, []string{"coordinator", "transplant_hospital"}, values[string](h, `SELECT seat FROM case_parties WHERE case_id = $1 ORDER BY 1`, caseID))
	h.book(caseID)
}
