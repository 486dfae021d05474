package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// table is a stem-cell case with everybody at its table.
type table struct {
	*house
	donor, search, id uuid.UUID
}

func newTable(t testing.TB) *table {
	h := newHouse(t)
	c := &table{house: h, donor: h.listed(gl)[0], search: h.search(h.TransplantDoctor, "").ID}
	c.id = h.request(h.TransplantDoctor, c.search, c.donor)[0]
	h.book(c.id)
	return c
}

// roles are who sits on each seat of a stem-cell case.
var roles = map[string]policy.Role{
	registry.SeatCoordinator: policy.Coordinator, registry.SeatCollection: policy.CollectionHospital, registry.SeatLaboratory: policy.Laboratory, registry.SeatTransplant: policy.TransplantHospital,
}

// task asks a seat a step's question.
func (c *table) task(step, seat string, round int) uuid.UUID {
	c.t.Helper()
	return c.ask(registry.Question{CaseID: c.id, Step: "stemcell." + step, Seat: seat, Role: roles[seat], Round: round}).TaskID
}

// says has somebody answer a step at once, and leaves the case where it is.
func (c *table) says(by registry.Actor, step, seat string, round int, form fields) error {
	c.t.Helper()
	p, err := c.tryPropose(by, c.task(step, seat, round), form)
	if err != nil {
		return err
	}
	_, err = c.settle(p, to("stemcell."+step))
	return err
}

func (h *house) events(code string) int {
	h.t.Helper()
	return value[int](h, `SELECT count(*)::int FROM events WHERE code = $1`, code)
}

func TestAnAnswerSentAgainIsTheSameAnswer(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.task("confirmatory_sample", registry.SeatCollection, 1)
	in := registry.Answer{TaskID: task, Step: "stemcell.confirmatory_sample", Command: "command", Form: json.RawMessage(`{"outcome": "failed", "reason": "unwell_today"}`)}
	first, err := c.Store.ProposeAnswer(ctx, c.CollectionDoctor, in)
	require.NoError(t, err)
	require.Equal(t, "failed", first.Outcome.Code)
	again, err := c.Store.ProposeAnswer(ctx, c.CollectionDoctor, in)
	require.NoError(t, err)
	require.Equal(t, first, again)
	other := in
	other.Form = json.RawMessage(`{"outcome": "failed", "reason": "did_not_come"}`)
	_, err = c.Store.ProposeAnswer(ctx, c.CollectionDoctor, other)
	requireCode(t, err, registry.Refused, "idempotency_key_reused")
	// A colleague's command of the same name is their own.
	theirs, err := c.Store.ProposeAnswer(ctx, c.Second, other)
	require.NoError(t, err)
	require.NotEqual(t, first.AnswerID, theirs.AnswerID)

	settled, err := c.settle(first, to("stemcell.sample_booking"))
	require.NoError(t, err)
	known, err := c.Store.ProposeAnswer(ctx, c.CollectionDoctor, in)
	require.NoError(t, err)
	require.Equal(t, &settled.Moved, known.Moved, "it was accepted before")
	_, err = c.Store.ProposeAnswer(ctx, c.CollectionDoctor, other)
	requireCode(t, err, registry.Refused, "idempotency_key_reused")
	status, _, moved, err := c.Store.AnswerState(ctx, c.Coordinator, first.AnswerID)
	require.NoError(t, err)
	require.Equal(t, []any{"accepted", settled.Moved}, []any{status, moved})
}

func TestALaterAnswerOfTheSamePersonReplacesTheOneThatWaits(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.task("confirmatory_sample", registry.SeatCollection, 1)
	in := registry.Answer{TaskID: task, Command: "first", Form: json.RawMessage(`{"outcome": "failed", "reason": "unwell_today"}`)}
	first, err := c.Store.ProposeAnswer(ctx, c.CollectionDoctor, in)
	require.NoError(t, err)
	second := c.propose(c.CollectionDoctor, task, fields{"outcome": "failed", "reason": "did_not_come"})
	_, err = c.settle(first, to("stemcell.sample_booking"))
	requireCode(t, err, registry.Refused, "answer_superseded")
	_, err = c.Store.ProposeAnswer(ctx, c.CollectionDoctor, in)
	requireCode(t, err, registry.Refused, "answer_superseded")
	_, err = c.settle(second, to("stemcell.sample_booking"))
	require.NoError(t, err)
	require.Equal(t, 1, c.events("stemcell.confirmatory_sample.failed"))
}

func TestOfTwoPeopleWhoAnswerAtOnceOneIsAccepted(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	for round := 1; round <= 6; round++ {
		task := c.ask(registry.Question{CaseID: c.id, Step: "stemcell.remobilisation", Round: round, Seat: registry.SeatCoordinator, Role: policy.Coordinator}).TaskID
		answers := []registry.Proposed{
			c.propose(c.Coordinator, task, fields{"outcome": "willing"}),
			c.propose(c.CityCoordinator, task, fields{"outcome": "declines", "reason": "family"}),
		}
		version := c.version(c.id)
		settle := func(i int, step string) func() error {
			return func() error {
				_, err := c.Store.SettleAnswer(ctx, registry.Settle{AnswerID: answers[i].AnswerID, Version: version, At: time.Now(), Move: to(step)})
				return err
			}
		}
		errs := atOnce(settle(0, "stemcell.sample_booking"), settle(1, "stemcell.ended"))
		lost := slices.IndexFunc(errs, func(err error) bool { return err != nil })
		require.GreaterOrEqual(t, lost, 0)
		require.NoError(t, errs[1-lost])
		requireCode(t, errs[lost], registry.Refused, "task_closed")
		status, refusal, _, err := c.Store.AnswerState(ctx, c.Coordinator, answers[lost].AnswerID)
		require.NoError(t, err)
		require.Equal(t, []string{"refused", "task_closed"}, []string{status, refusal})
		require.Equal(t, answers[1-lost].AnswerID, value[uuid.UUID](c.house, `SELECT answer_id FROM tasks WHERE id = $1 AND status = 'done'`, task))
		require.Equal(t, version+1, c.version(c.id))
		require.Equal(t, round, c.events("stemcell.remobilisation.willing")+c.events("stemcell.remobilisation.declines"))
	}
}

func TestAnAnswerIsSettledOnceHoweverOftenItIsBrought(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	p := c.propose(c.CollectionDoctor, c.task("confirmatory_sample", registry.SeatCollection, 1), fields{"outcome": "drawn", "barcode": "CF000001", "millilitres": 8, "drawn_on": today()})
	in := registry.Settle{
		AnswerID: p.AnswerID, Version: c.version(c.id), At: time.Now(), Move: to("stemcell.confirmatory_typing"),
		Asks: []registry.Question{{CaseID: c.id, Step: "stemcell.confirmatory_typing", Round: 1, Seat: registry.SeatLaboratory, Role: policy.Laboratory, Rule: rules.StemCellTyping, At: time.Now()}},
	}
	results := make([]registry.Settled, 5)
	var calls []func() error
	for i := range results {
		calls = append(calls, func() (err error) {
			results[i], err = c.Store.SettleAnswer(ctx, in)
			return err
		})
	}
	for i, err := range atOnce(calls...) {
		require.NoError(t, err)
		require.Equal(t, results[0].Moved, results[i].Moved)
		require.Equal(t, results[0].Tickets[0].TaskID, results[i].Tickets[0].TaskID)
	}
	again, err := c.Store.SettleAnswer(ctx, in)
	require.NoError(t, err)
	require.Equal(t, results[0].Moved, again.Moved)
	require.Equal(t, 1, c.events("stemcell.confirmatory_sample.drawn"))
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM specimens WHERE case_id = $1`, c.id))
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM tasks WHERE step = 'stemcell.confirmatory_typing'`))
	require.Equal(t, in.Version+1, c.version(c.id))
}

func TestNothingOfAnAnswerIsWrittenWhenTheCaseHasMovedOn(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.task("confirmatory_sample", registry.SeatCollection, 1)
	p := c.propose(c.CollectionDoctor, task, fields{"outcome": "drawn", "barcode": "CF000001", "millilitres": 8, "drawn_on": today()})
	before := value[string](c.house, `SELECT string_agg(e.code, ',' ORDER BY e.recorded_at, e.id) FROM events e`)
	_, err := c.Store.SettleAnswer(ctx, registry.Settle{AnswerID: p.AnswerID, Version: c.version(c.id) - 1, At: time.Now(), Move: to("stemcell.confirmatory_typing")})
	requireCode(t, err, registry.Stale, "case_changed")
	status, _, _, err := c.Store.AnswerState(ctx, c.CollectionDoctor, p.AnswerID)
	require.NoError(t, err)
	require.Equal(t, "pending", status, "it is not lost: its protocol looks at the case again")
	require.Equal(t, 0, value[int](c.house, `SELECT count(*)::int FROM specimens WHERE case_id = $1`, c.id))
	require.Equal(t, "open", value[string](c.house, `SELECT status FROM tasks WHERE id = $1`, task))
	require.Equal(t, before, value[string](c.house, `SELECT string_agg(e.code, ',' ORDER BY e.recorded_at, e.id) FROM events e`))
	_, err = c.settle(p, to("stemcell.confirmatory_typing"))
	require.NoError(t, err)
	_, err = c.Store.SettleAnswer(ctx, registry.Settle{AnswerID: uuid.New(), At: time.Now(), Move: to("stemcell.confirmatory_typing")})
	require.Error(t, err)
}

func TestOnlyWhoIsAskedMayAnswerWhileTheyAreAsked(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	sample := c.task("confirmatory_sample", registry.SeatCollection, 1)
	form := fields{"outcome": "failed", "reason": "unwell_today"}
	for who, actor := range c.everybody() {
		_, err := c.tryPropose(actor, sample, form)
		switch actor {
		case c.CollectionDoctor:
			require.NoError(t, err)
		case c.Coordinator, c.CityCoordinator, system:
			requireCode(t, err, registry.Denied, "task_not_yours") // they see it, and it is not theirs to say
		default:
			require.Equal(t, registry.NotFound, registry.KindOf(err), "%s: %v", who, err)
		}
	}
	// A colleague of the same house with another role, and one with the role in another house.
	colleague := c.Staff(t, "colleague", c.Collection, policy.Laboratory, "320102")
	_, err := c.tryPropose(colleague, sample, form)
	requireCode(t, err, registry.Denied, "task_not_yours")
	elsewhere := c.Staff(t, "elsewhere", c.OtherTransplant, policy.CollectionHospital, "110108")
	_, err = c.tryPropose(elsewhere, sample, form)
	requireCode(t, err, registry.NotFound, "task_not_found")
	_, err = c.tryPropose(c.CollectionDoctor, uuid.New(), form)
	requireCode(t, err, registry.NotFound, "task_not_found")

	try := func(in registry.Answer) error {
		in.TaskID, in.Command, in.Form = sample, uuid.NewString(), json.RawMessage(`{"outcome": "failed", "reason": "unwell_today"}`)
		_, err := c.Store.ProposeAnswer(ctx, c.CollectionDoctor, in)
		return err
	}
	requireCode(t, try(registry.Answer{Step: "stemcell.collection"}), registry.Refused, "another_step")
	requireCode(t, try(registry.Answer{Version: 2}), registry.Stale, "task_changed")
	require.NoError(t, try(registry.Answer{Step: "stemcell.confirmatory_sample", Version: 1}))
	_, err = c.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: c.id, Version: c.version(c.id), At: time.Now(), Move: to("stemcell.confirmatory_sample"), Expired: true})
	require.NoError(t, err)
	require.Equal(t, "expired", value[string](c.house, `SELECT status FROM tasks WHERE id = $1`, sample))
	requireCode(t, try(registry.Answer{}), registry.Refused, "task_closed")
}

func TestAFaultyAnswerIsNotStored(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	task := c.task("confirmatory_sample", registry.SeatCollection, 1)
	for _, bad := range []struct{ body, code, field string }{
		{`{"outcome": "drawn", "barcode": "CF000001", "millilitres": 8}`, "R101", "drawn_on"},
		{`{"outcome": "maybe"}`, "R114", "outcome"},
		{`{"outcome": "failed", "reason": "unwell_today", "mood": "bad"}`, "R137", "mood"},
		{`{"outcome": 7}`, "R144", "outcome"},
		{`[]`, "R144", ""},
		{`{"outcome": "failed", "reason": "unwell_today"} {}`, "R144", ""},
		{``, "R144", ""},
		{`{"outcome": "drawn", "barcode": "CF000001", "millilitres": 8, "drawn_on": "yesterday"}`, "R144", ""},
	} {
		_, err := c.Store.ProposeAnswer(context.Background(), c.CollectionDoctor, registry.Answer{TaskID: task, Command: uuid.NewString(), Form: json.RawMessage(bad.body)})
		requireProblem(t, err, bad.code, bad.field)
	}
	require.Equal(t, 0, value[int](c.house, `SELECT count(*)::int FROM answers WHERE task_id = $1`, task))
	// What only the case's own clock can judge is judged when it is settled.
	p := c.propose(c.CollectionDoctor, task, fields{"outcome": "drawn", "barcode": "CF000001", "millilitres": 8, "drawn_on": today().AddDays(1)})
	_, err := c.settle(p, to("stemcell.confirmatory_typing"))
	requireProblem(t, err, "R138", "on")
	p = c.propose(c.CollectionDoctor, task, fields{"outcome": "drawn", "barcode": "CF000001", "millilitres": 31, "drawn_on": today()})
	_, err = c.settle(p, to("stemcell.confirmatory_typing"))
	requireProblem(t, err, "R119", "millilitres")
	p = c.propose(c.CollectionDoctor, task, fields{"outcome": "drawn", "barcode": barcode(1), "millilitres": 8, "drawn_on": today()})
	_, err = c.settle(p, to("stemcell.confirmatory_typing"))
	requireCode(t, err, registry.Conflict, "barcode_taken")
	require.Equal(t, 0, value[int](c.house, `SELECT count(*)::int FROM specimens WHERE case_id = $1`, c.id))
	require.Equal(t, "open", value[string](c.house, `SELECT status FROM tasks WHERE id = $1`, task), "it can still be answered well")
}

func TestWhoLostTheRightToAnswerMeanwhileIsNotAccepted(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	operator := registry.Operator("test")
	for i, lose := range []struct {
		how  string
		do   func()
		undo func()
		kind registry.Kind
	}{
		{"the role is revoked", func() {
			require.NoError(t, c.Store.RevokeRole(ctx, operator, "doctor", policy.CollectionHospital, "320102"))
		}, func() {
			_, err := c.Store.GrantRole(ctx, operator, registry.GrantForm{Login: "doctor", Role: policy.CollectionHospital, Region: "320102", Until: time.Now().AddDate(1, 0, 0)})
			require.NoError(t, err)
		}, registry.NotFound},
		{"the person has left", func() { c.sql(`UPDATE staff SET active = false WHERE login = 'doctor'`) }, func() { c.sql(`UPDATE staff SET active = true WHERE login = 'doctor'`) }, registry.Unsigned},
		{"the hospital is closed", func() { c.sql(`UPDATE organisations SET active = false WHERE id = $1`, c.Collection.ID) }, func() { c.sql(`UPDATE organisations SET active = true WHERE id = $1`, c.Collection.ID) }, registry.Unsigned},
		{"another hospital has the seat", func() { c.sql(`UPDATE tasks SET organisation_id = $1`, c.Laboratory.ID) }, func() { c.sql(`UPDATE tasks SET organisation_id = $1`, c.Collection.ID) }, registry.NotFound},
	} {
		p := c.propose(c.CollectionDoctor, c.task("confirmatory_sample", registry.SeatCollection, i+1), fields{"outcome": "failed", "reason": "unwell_today"})
		lose.do()
		_, err := c.settle(p, to("stemcell.sample_booking"))
		require.Equal(t, lose.kind, registry.KindOf(err), "%s: %v", lose.how, err)
		lose.undo()
		status, refusal, _, err := c.Store.AnswerState(ctx, c.Coordinator, p.AnswerID)
		require.NoError(t, err)
		require.Equal(t, []string{"refused", refusal}, []string{status, refusal}, lose.how)
		require.NotEmpty(t, refusal)
		_, err = c.settle(p, to("stemcell.sample_booking"))
		requireCode(t, err, registry.Refused, "task_closed")
	}
	require.Equal(t, 0, c.events("stemcell.confirmatory_sample.failed"))
}

func TestTheTwoSignaturesOfAClearanceAreTwoPeoples(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	cleared := fields{"outcome": "cleared", "on": today()}
	ask := func(n int) uuid.UUID {
		return c.ask(registry.Question{CaseID: c.id, Step: "stemcell.clearance", Round: 1, Seat: fmt.Sprintf("%s#%d", registry.SeatCollection, n), Role: policy.CollectionHospital}).TaskID
	}
	one, two := ask(1), ask(2)
	require.NotEqual(t, one, two)
	first := c.answer(c.CollectionDoctor, one, cleared, to("stemcell.clearance"))
	require.False(t, first.Ended)
	_, err := c.settle(c.propose(c.CollectionDoctor, two, cleared), to("stemcell.schedule"))
	requireCode(t, err, registry.Refused, "second_person")
	c.answer(c.Second, two, cleared, to("stemcell.schedule"))
	require.Equal(t, 2, c.events("stemcell.clearance.cleared"))
	until := value[string](c.house, `SELECT outcome->>'until' FROM answers WHERE task_id = $1 AND status = 'accepted'`, two)
	require.Equal(t, today().AddDays(30).String(), until, "the register says until when it is good")
	// At once, too, one person is one person.
	again := []uuid.UUID{
		c.ask(registry.Question{CaseID: c.id, Step: "stemcell.clearance", Round: 2, Seat: registry.SeatCollection + "#1", Role: policy.CollectionHospital}).TaskID,
		c.ask(registry.Question{CaseID: c.id, Step: "stemcell.clearance", Round: 2, Seat: registry.SeatCollection + "#2", Role: policy.CollectionHospital}).TaskID,
	}
	var calls []func() error
	version := c.version(c.id)
	for _, task := range again {
		p := c.propose(c.Second, task, cleared)
		calls = append(calls, func() error {
			_, err := c.Store.SettleAnswer(context.Background(), registry.Settle{AnswerID: p.AnswerID, Version: version, At: time.Now(), Move: to("stemcell.clearance")})
			return err
		})
	}
	errs := atOnce(calls...)
	lost := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	require.GreaterOrEqual(t, lost, 0)
	require.NoError(t, errs[1-lost])
	requireCode(t, errs[lost], registry.Refused, "second_person")
}

func TestWhoClearedADonorDoesNotTransplant(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	cleared := fields{"outcome": "cleared", "on": today()}
	clearing := c.ask(registry.Question{CaseID: c.id, Step: "stemcell.clearance", Round: 1, Seat: registry.SeatCollection + "#1", Role: policy.CollectionHospital}).TaskID
	c.answer(c.CollectionDoctor, clearing, cleared, to("stemcell.clearance"))

	// The doctor takes a post at the patient's hospital, with the role that goes with it.
	require.NoError(t, c.Store.RevokeRole(ctx, registry.Operator("test"), "doctor", policy.CollectionHospital, "320102"))
	c.sql(`UPDATE staff SET organisation_id = $1 WHERE login = 'doctor'`, c.Transplant.ID)
	_, err := c.Store.GrantRole(ctx, registry.Operator("test"), registry.GrantForm{Login: "doctor", Role: policy.TransplantHospital, Region: "310104", Until: time.Now().AddDate(1, 0, 0)})
	require.NoError(t, err)
	moved, err := c.Store.ActorByLogin(ctx, "doctor")
	require.NoError(t, err)

	task := c.task("infusion", registry.SeatTransplant, 1)
	form := fields{"outcome": "infused", "on": today()}
	_, err = c.tryPropose(moved, task, form)
	requireCode(t, err, registry.Refused, "duties_apart")
	// Nor when it was proposed before anybody minded, or what they did was struck out since.
	waiting := c.propose(c.TransplantDoctor, task, form)
	c.sql(`UPDATE answers SET staff_id = (SELECT id FROM staff WHERE login = 'doctor') WHERE id = $1`, waiting.AnswerID)
	c.sql(`UPDATE answers SET status = 'struck' WHERE task_id = $1`, clearing)
	_, err = c.settle(waiting, to("stemcell.infusion"))
	requireCode(t, err, registry.Refused, "duties_apart")
	// A colleague, who took no part, does.
	c.answer(c.TransplantDoctor, task, form, to("stemcell.infusion"))
}

func TestAPatientIsConditionedOnlyOnADonationConsentThatStands(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	start := fields{"outcome": "started", "started_on": today()}
	round := 0
	started := func() error {
		round++
		return c.says(c.TransplantDoctor, "conditioning", registry.SeatTransplant, round, start)
	}
	requireCode(t, started(), registry.Refused, "donation_consent_missing")
	consent := func(spoil fields) error {
		round++
		form := fields{"outcome": "signed", "version": "HSD-2024", "signed_on": today(), "family_informed": true, "witness": c.Registrar.Staff()}
		for k, v := range spoil {
			form[k] = v
		}
		return c.says(c.Coordinator, "donation_consent", registry.SeatCoordinator, round, form)
	}
	requireProblem(t, consent(fields{"version": "HSC-2024"}), "R112", "version")
	requireProblem(t, consent(fields{"version": "HSD-1999"}), "R112", "version")
	requireProblem(t, consent(fields{"signed_on": "2023-12-31"}), "R112", "version")
	requireProblem(t, consent(fields{"family_informed": false}), "R101", "family_informed")
	requireCode(t, consent(fields{"witness": uuid.New()}), registry.NotFound, "witness_not_found")
	requireCode(t, started(), registry.Refused, "donation_consent_missing")
	require.NoError(t, consent(nil))
	// A consent of another case, or one that was taken back, is none.
	c.sql(`UPDATE consents SET withdrawn_at = now() WHERE kind = 'stemcell.donation'`)
	requireCode(t, started(), registry.Refused, "donation_consent_missing")
	c.sql(`UPDATE consents SET withdrawn_at = NULL, case_id = $1 WHERE kind = 'stemcell.donation'`, uuid.New())
	requireCode(t, started(), registry.Refused, "donation_consent_missing")
	c.sql(`UPDATE consents SET case_id = $1 WHERE kind = 'stemcell.donation'`, c.id)

	// A withdrawal that is being written when the answer comes is waited for, and goes first.
	p := c.propose(c.TransplantDoctor, c.task("conditioning", registry.SeatTransplant, 100), start)
	version := c.version(c.id)
	requireCode(t, c.whileWithdrawing(c.donor, func() error {
		_, err := c.Store.SettleAnswer(ctx, registry.Settle{AnswerID: p.AnswerID, Version: version, At: time.Now(), Move: to("stemcell.mobilisation")})
		return err
	}), registry.Refused, "donor_withdrew")
	require.Equal(t, 0, c.events("stemcell.conditioning.started"))
	c.sql(`UPDATE registrations SET status = 'listed' WHERE id = $1`, c.donor)
	require.NoError(t, started())
	require.Equal(t, 4, value[int](c.house, `SELECT count(*)::int FROM notices WHERE code = 'stemcell.conditioning_started' AND urgent`), "the whole table is told")

	_, err := c.Store.Withdraw(ctx, c.Coordinator, c.donor, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	requireCode(t, started(), registry.Refused, "donor_withdrew")
	// After the point of no return the patient's life goes first: what saves it is taken although the donor withdrew.
	require.NoError(t, c.says(c.CollectionDoctor, "collection", registry.SeatCollection, 1, fields{"outcome": "collected", "day": 1, "collected_on": today(), "volume_ml": 180, "cd34": 60}))
	require.NoError(t, c.says(c.TransplantDoctor, "emergency", registry.SeatTransplant, 1, fields{"outcome": "rescue", "reason": "haploidentical"}))
	requireCode(t, c.says(c.CollectionDoctor, "physical_examination", registry.SeatCollection, 1, fields{"outcome": "fit", "examined_on": today()}), registry.Refused, "donor_withdrew")
}

// whileWithdrawing does something while somebody else's withdrawal of a donor is being written, which is finished as soon
// as it is waited for.
func (h *house) whileWithdrawing(donor uuid.UUID, do func() error) error {
	h.t.Helper()
	ctx := context.Background()
	other := connect(h.t, h.url)
	tx, err := other.Begin(ctx)
	require.NoError(h.t, err)
	_, err = tx.Exec(ctx, `UPDATE registrations SET status = 'withdrawn', version = version + 1 WHERE id = $1`, donor)
	require.NoError(h.t, err)
	done := make(chan error, 1)
	go func() { done <- do() }()
	require.Eventually(h.t, func() bool {
		return value[int](h, `SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
	}, 4*time.Second, 5*time.Millisecond, "nobody waits for the withdrawal")
	require.NoError(h.t, tx.Commit(ctx))
	return <-done
}

func TestWhoeverProceedsWithADonorWaitsForAWithdrawalThatIsBeingWritten(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, gl, gl)
	search := h.search(h.TransplantDoctor, "").ID
	p := h.propose(h.TransplantDoctor, h.choice(search).TaskID, fields{"outcome": "request", "donors": donors[:1]})
	requireCode(t, h.whileWithdrawing(donors[0], func() error {
		_, err := h.Store.SettleAnswer(ctx, registry.Settle{AnswerID: p.AnswerID, Version: 1, At: time.Now(), Move: to("search.requested")})
		return err
	}), registry.Refused, "donor_unavailable")
	require.Empty(t, h.reserved())
	h.sql(`UPDATE registrations SET status = 'enrolling' WHERE id = $1`, donors[1])
	h.sql(`UPDATE cases SET status = 'open' WHERE id = $1`, donors[1])
	h.sql(`DELETE FROM command_log`)
	requireCode(t, h.whileWithdrawing(donors[1], func() error {
		_, err := h.Store.ListDonor(ctx, system, registry.Advance{CaseID: donors[1], Version: 2, At: time.Now(), Move: ends("enrolment.listed", "listed")})
		return err
	}), registry.Refused, "donor_withdrew")
	require.Equal(t, "withdrawn", h.show(h.Registrar, donors[1]).Status)
}

func TestTheRegisterCountsWhetherTheCellsSuffice(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	round := 0
	// The patient weighs 30 kg: 2 million cells for each make 60 million.
	for _, day := range []struct {
		day        int
		cd34       float64
		sufficient bool
	}{{1, 59.9, false}, {1, 60, true}, {1, 40, false}, {2, 19, false}, {2, 20, true}, {1, 39, false}, {3, 1, true}} {
		round++
		task := c.task("collection", registry.SeatCollection, round)
		p := c.propose(c.CollectionDoctor, task, fields{"outcome": "collected", "day": day.day, "collected_on": today(), "volume_ml": 180, "cd34": day.cd34})
		require.Equal(t, day.sufficient, p.Outcome.Sufficient, "%+v", day)
		_, err := c.settle(p, to("stemcell.collection"))
		require.NoError(t, err)
	}
	require.Equal(t, []float32{39, 20, 1}, values[float32](c.house, `SELECT cd34_e6 FROM donations WHERE case_id = $1 ORDER BY day`, c.id), "a day that is entered again is corrected")
	for i, arrived := range []struct {
		form       fields
		outOfRange bool
	}{
		{fields{"temperature_min": 2, "temperature_max": 8, "intact": true}, false},
		{fields{"temperature_min": 1.9, "temperature_max": 8, "intact": true}, true},
		{fields{"temperature_min": 2, "temperature_max": 8.1, "intact": true}, true},
		{fields{"temperature_min": 2, "temperature_max": 8, "intact": false}, true},
	} {
		arrived.form["outcome"], arrived.form["on"] = "received", today()
		require.Equal(t, arrived.outOfRange, c.propose(c.TransplantDoctor, c.task("receipt", registry.SeatTransplant, i+1), arrived.form).Outcome.OutOfRange)
	}
}

func TestTheConfirmatoryTypingIsComparedWithThePatients(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	typed := fields{"outcome": "typed", "gl": glNine, "nomenclature": "3.57.0", "method": "NGS", "typed_on": today()}
	requireCode(t, c.says(c.Technician, "confirmatory_typing", registry.SeatLaboratory, 1, typed), registry.Refused, "specimen_missing")
	require.NoError(t, c.says(c.CollectionDoctor, "confirmatory_sample", registry.SeatCollection, 1, fields{"outcome": "drawn", "barcode": "CF000001", "millilitres": 8, "drawn_on": today()}))
	require.NoError(t, c.says(c.Technician, "confirmatory_typing", registry.SeatLaboratory, 2, typed))
	args := value[map[string]any](c.house, `SELECT args FROM events WHERE code = 'stemcell.compared'`)
	require.Equal(t, fields{"Matched": 9.0, "Of": 10.0}, args)
	require.Equal(t, "typed  at "+c.Laboratory.Name, c.tube("CF000001"))
	// What the list was made by stays what it was.
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM typings WHERE kind = 'enrolment' AND current AND gl_string = $1`, gl))
	_, err := c.Store.ReportTypings(context.Background(), c.Technician, []forms.TypingReport{typing("CF000001", gl)})
	require.NoError(t, err)
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM typings WHERE kind = 'confirmatory'`), "a confirmatory tube is not typed by the list")
}

func TestADonorIsUnreachableOnlyAfterEnoughAttempts(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	round := 0
	unreachable := func() error {
		round++
		return c.says(c.Coordinator, "remobilisation", registry.SeatCoordinator, round, fields{"outcome": "unreachable"})
	}
	attempt := func(daysAgo int, whom string) {
		_, err := c.Store.AddAttempt(ctx, c.Coordinator, c.id, forms.ContactAttempt{At: time.Now().AddDate(0, 0, -daysAgo), Channel: "phone", Whom: whom, Result: "no_answer", Note: seal.NoteOf("占线")})
		require.NoError(t, err)
	}
	requireCode(t, unreachable(), registry.Refused, "attempts_missing")
	attempt(0, "donor")
	attempt(0, "donor")
	attempt(0, "contact")
	requireCode(t, unreachable(), registry.Refused, "attempts_missing") // all on one day
	attempt(1, "donor")
	require.NoError(t, unreachable())

	_, err := c.Store.AddAttempt(ctx, c.Coordinator, c.id, forms.ContactAttempt{At: time.Now().Add(time.Hour), Channel: "phone", Whom: "donor", Result: "no_answer"})
	requireProblem(t, err, "R138", "at")
	_, err = c.Store.AddAttempt(ctx, c.Coordinator, c.id, forms.ContactAttempt{At: time.Now(), Channel: "smoke", Whom: "donor", Result: "no_answer"})
	requireProblem(t, err, "R114", "channel")
	_, err = c.Store.AddAttempt(ctx, c.TransplantDoctor, c.id, forms.ContactAttempt{At: time.Now(), Channel: "phone", Whom: "donor", Result: "no_answer"})
	requireCode(t, err, registry.Denied, "denied")
	_, err = c.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: c.id, Version: c.version(c.id), At: time.Now(), Move: ends("stemcell.remobilisation", "unreachable")})
	require.NoError(t, err)
	_, err = c.Store.AddAttempt(ctx, c.Coordinator, c.id, forms.ContactAttempt{At: time.Now(), Channel: "phone", Whom: "donor", Result: "reached"})
	requireCode(t, err, registry.Refused, "case_ended")
}

func TestADonorWhoMovedIsHandedToTheOfficeThere(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	moved := func(round int, region string) error {
		return c.says(c.Coordinator, "remobilisation", registry.SeatCoordinator, round, fields{"outcome": "moved", "region": region})
	}
	requireCode(t, moved(1, "440106"), registry.Refused, "no_office")
	c.show(c.Coordinator, c.donor)
	c.share(c.donor, c.redCross("海淀区红十字会", "110108"), time.Now().Add(time.Hour))
	require.NoError(t, moved(2, "320102"))
	_, err := c.Store.ShowDonor(ctx, c.Coordinator, c.donor)
	requireCode(t, err, registry.NotFound, "donor_not_found")
	v := c.show(c.CityCoordinator, c.donor)
	require.Equal(t, "320102", string(v.Region))
	require.Equal(t, c.City.ID, value[uuid.UUID](c.house, `SELECT organisation_id FROM case_parties WHERE case_id = $1 AND seat = 'coordinator'`, c.id), "the nearest office up the tree")
	shares, err := c.Store.ListShares(ctx, c.CityCoordinator, c.donor, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, shares, 1, "who answers for the donor now sees with whom they are shared")
}

func TestAStepThatIsOpenedAgainKeepsWhatWasAnswered(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.task("physical_examination", registry.SeatCollection, 1)
	p := c.propose(c.CollectionDoctor, task, fields{"outcome": "fit", "examined_on": today()})
	settled, err := c.settle(p, to("stemcell.donation_consent"))
	require.NoError(t, err)
	open := c.task("donation_consent", registry.SeatCoordinator, 1)
	in := registry.ReopenInput{
		CaseID: c.id, Version: c.version(c.id), Step: "stemcell.physical_examination", Reason: "wrong_entry", At: time.Now(),
		Steps: []string{"stemcell.physical_examination", "stemcell.donation_consent"}, State: noState,
	}
	for who, actor := range c.everybody() {
		if actor == c.Coordinator || actor == c.CityCoordinator || actor == system {
			continue
		}
		_, err := c.Store.ReopenStep(ctx, actor, in)
		require.Error(t, err, "%s may not open a step again", who)
	}
	stale := in
	stale.Version--
	_, err = c.Store.ReopenStep(ctx, c.Coordinator, stale)
	requireCode(t, err, registry.Stale, "case_changed")
	require.Equal(t, "done", value[string](c.house, `SELECT status FROM tasks WHERE id = $1`, task))

	moved, err := c.Store.ReopenStep(ctx, c.Coordinator, in)
	require.NoError(t, err)
	again, err := c.Store.ReopenStep(ctx, c.Coordinator, in)
	require.NoError(t, err)
	require.Equal(t, moved, again)
	require.Equal(t, "stemcell.physical_examination", moved.Step)
	require.Equal(t, []string{"struck", "cancelled"}, []string{
		value[string](c.house, `SELECT status FROM tasks WHERE id = $1`, task), value[string](c.house, `SELECT status FROM tasks WHERE id = $1`, open),
	})
	status, _, known, err := c.Store.AnswerState(ctx, c.Coordinator, p.AnswerID)
	require.NoError(t, err)
	require.Equal(t, []any{"struck", settled.Moved}, []any{status, known})
	v, err := c.Store.ShowCase(ctx, c.Coordinator, c.id)
	require.NoError(t, err)
	require.Contains(t, eventCodes(v), "stemcell.physical_examination.fit", "nothing is deleted")
	require.Equal(t, 1, c.events("case.reopened"))
	// It is asked in a new round, and answered anew.
	require.NoError(t, c.says(c.CollectionDoctor, "physical_examination", registry.SeatCollection, 2, fields{"outcome": "unfit", "examined_on": today(), "reason": "veins"}))
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM deferrals WHERE case_id = $1 AND until_day IS NULL`, c.id))
}

func TestAQuestionIsAskedOnce(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	at := time.Now()
	q := registry.Question{CaseID: c.id, Step: "stemcell.physical_examination", Round: 1, Seat: registry.SeatCollection, Role: policy.CollectionHospital, Rule: rules.StemCellExamination, At: at}
	first := c.ask(q)
	require.True(t, first.Due.After(at))
	require.NotEmpty(t, first.Reminders)
	q.At = at.AddDate(0, 0, 3)
	later := c.ask(q)
	require.Equal(t, first.TaskID, later.TaskID)
	require.True(t, first.Due.Equal(later.Due), "the deadline is the one it was opened with")
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM notices WHERE task_id = $1`, first.TaskID))
	c.answer(c.CollectionDoctor, first.TaskID, fields{"outcome": "fit", "examined_on": today()}, to("stemcell.donation_consent"))
	answered := c.ask(q)
	require.Equal(t, "fit", answered.Outcome.Code, "who asks again meets the answer")
	open := c.task("donation_consent", registry.SeatCoordinator, 1)
	_, err := c.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: c.id, Version: c.version(c.id), At: time.Now(), Move: to("stemcell.donation_consent")})
	require.NoError(t, err)
	_, err = c.Store.AskTask(ctx, system, registry.Question{CaseID: c.id, Step: "stemcell.donation_consent", Round: 1, Seat: registry.SeatCoordinator, Role: policy.Coordinator, DueAt: time.Now(), At: time.Now()})
	requireCode(t, err, registry.Stale, "task_changed")
	require.Equal(t, "cancelled", value[string](c.house, `SELECT status FROM tasks WHERE id = $1`, open))
	_, err = c.Store.AskTask(ctx, c.CollectionDoctor, q)
	require.Error(t, err, "only protocols ask")
	_, err = c.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: c.id, Version: c.version(c.id), At: time.Now(), Move: ends("stemcell.donation_consent", "declined")})
	require.NoError(t, err)
	q.Round = 2
	_, err = c.Store.AskTask(ctx, system, q)
	requireCode(t, err, registry.Stale, "case_changed")
}

func TestAnOverdueTaskIsToldUpTheRegionTreeOnceForEachRung(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.task("donation_consent", registry.SeatCoordinator, 1)
	nudge := func(level int) {
		require.NoError(t, c.Store.NudgeTask(ctx, system, registry.Nudge{TaskID: task, Level: level, At: time.Now()}))
	}
	for _, level := range []int{0, 1, 1, 2, 3, 2, 1} {
		nudge(level)
	}
	type told struct {
		region string
		urgent bool
	}
	var got []told
	for _, region := range values[string](c.house, `SELECT region || ' ' || urgent FROM notices WHERE code = 'task.escalated' ORDER BY created_at, id`) {
		got = append(got, told{region[:6], region[7:] == "true"})
	}
	require.Equal(t, []told{{"320106", false}, {"320100", true}, {"320000", true}}, got, "county, city, province")
	require.Equal(t, []int{1, 3}, []int{c.events("task.reminded"), c.events("task.escalated")})
	requireCode(t, c.Store.NudgeTask(ctx, c.Auditor, registry.Nudge{TaskID: task, Level: 1, At: time.Now()}), registry.NotFound, "task_not_found")
	c.answer(c.Coordinator, task, fields{"outcome": "declines", "reason": "family"}, ends("stemcell.donation_consent", "declined"))
	nudge(4)
	require.Equal(t, 3, c.events("task.escalated"), "a task that is answered is nobody's worry")
}

func TestAnAnswerThatWaitsIsDeliveredByOneRelayAtATime(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	p := c.propose(c.CollectionDoctor, c.task("physical_examination", registry.SeatCollection, 1), fields{"outcome": "fit", "examined_on": today()})
	waiting, err := c.Store.PendingAnswers(ctx, 10, time.Minute)
	require.NoError(t, err)
	require.Empty(t, waiting, "its first bringer has a while")
	c.sql(`UPDATE answers SET next_at = now() WHERE status = 'pending'`)
	results := make([][]registry.Proposed, 4)
	var calls []func() error
	for i := range results {
		calls = append(calls, func() (err error) {
			results[i], err = c.Store.PendingAnswers(ctx, 10, time.Minute)
			return err
		})
	}
	for _, err := range atOnce(calls...) {
		require.NoError(t, err)
	}
	taken := slices.Concat(results...)
	require.Equal(t, []registry.Proposed{p}, taken)
	c.sql(`UPDATE answers SET next_at = now() WHERE status = 'pending'`)
	require.NoError(t, c.Store.RefuseAnswer(ctx, p.AnswerID, "step_closed_for_good"))
	waiting, err = c.Store.PendingAnswers(ctx, 10, time.Minute)
	require.NoError(t, err)
	require.Empty(t, waiting)
	_, err = c.Store.ProposeAnswer(ctx, c.CollectionDoctor, registry.Answer{TaskID: p.TaskID, Command: "new", Form: json.RawMessage(`{"outcome": "fit", "examined_on": "` + today().String() + `"}`)})
	require.NoError(t, err)
}

func TestTheWorklistIsReadPageByPageAndHoldsWhatIsAsked(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	due := time.Now().Add(time.Hour).Truncate(time.Second)
	var want []uuid.UUID
	for round := range 7 {
		// Some are due at the same instant.
		want = append(want, c.ask(registry.Question{CaseID: c.id, Step: "stemcell.donation_consent", Round: round + 1, Seat: registry.SeatCoordinator, Role: policy.Coordinator, DueAt: due.Add(time.Duration(round/3) * time.Hour)}).TaskID)
	}
	c.task("physical_examination", registry.SeatCollection, 1)
	for _, size := range []int{1, 2, 3, 50} {
		var got []uuid.UUID
		f := registry.TaskFilter{Step: "stemcell.donation_consent", Limit: size}
		for {
			page, err := c.Store.ListTasks(ctx, c.Coordinator, f)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			for _, v := range page {
				got = append(got, v.ID)
				require.True(t, v.Mine)
			}
			require.LessOrEqual(t, len(got), len(want), "pages overlap")
			f.After, f.AfterID = page[len(page)-1].DueAt, page[len(page)-1].ID
		}
		require.Equal(t, want, got)
	}
	list, err := c.Store.ListTasks(ctx, c.Coordinator, registry.TaskFilter{DueTo: due.Add(time.Hour)})
	require.NoError(t, err)
	require.Len(t, list, 3)
	list, err = c.Store.ListTasks(ctx, c.CollectionDoctor, registry.TaskFilter{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	list, err = c.Store.ListTasks(ctx, c.Technician, registry.TaskFilter{})
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestALocalHolidayMovesTheDeadlinesOfItsRegionAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	day := today().AddDays(400) // beyond any calendar that is published
	for range 7 {
		if w := day.Start(registry.Zone).Weekday(); w == time.Tuesday {
			break
		}
		day = day.AddDays(1)
	}
	h.sql(`INSERT INTO calendar_days (region, day, working, name) VALUES ('320100', $1, false, '市庆')`, day.String())
	due := func(region string) time.Time {
		office := h.Registrar
		if region != "320106" {
			o, err := h.Store.AddOrganisation(ctx, registry.Operator("test"), registry.OrganisationForm{Kind: "red_cross", Name: "另一红十字会", Region: "310104"})
			require.NoError(t, err)
			office = h.Staff(t, "shanghai", o, policy.Registrar, region)
		}
		d, err := h.Store.PlanDrive(ctx, office, forms.Drive{Name: "采样", Place: "广场", Region: identity.Region(region), FirstDay: signed(), LastDay: signed()})
		require.NoError(t, err)
		return h.ask(registry.Question{CaseID: d.ID, Step: "drive.closing", Seat: registry.SeatOffice, Role: policy.Registrar, Rule: rules.DriveClose, At: day.AddDays(-1).Start(registry.Zone).Add(9 * time.Hour)}).Due
	}
	here, there := due("320106"), due("310104")
	require.Equal(t, 24*time.Hour, here.Sub(there), "three working days end a day later where one is a holiday")
}

// A plan of follow-ups is begun with the thanks; each touch is answered, and whoever is worse is called.
func TestAFollowUpThatNeedsAPersonAlertsTheOfficeAndIsSaid(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	require.NoError(t, c.says(c.Coordinator, "thanks", registry.SeatCoordinator, 1, fields{"outcome": "thanked", "on": today(), "leave_letter": true}))
	plan := value[uuid.UUID](c.house, `SELECT id FROM care_plans WHERE case_id = $1`, c.id)
	care, err := c.Store.LoadCare(ctx, system, plan)
	require.NoError(t, err)
	require.Len(t, care.Touches, 15)
	answer := func(round int, form fields) {
		form["outcome"], form["on"] = "answered", today()
		task := c.ask(registry.Question{CaseID: plan, Step: "care.follow_up", Round: round, Seat: registry.SeatCoordinator, Role: policy.Coordinator})
		c.answer(c.Coordinator, task.TaskID, form, to("care.follow_up"))
	}
	answer(1, fields{"health": "as_before"})
	require.Equal(t, 0, c.events("care.alert"))
	answer(2, fields{"health": "as_before", "flags": []string{"fever"}})
	answer(3, fields{"health": "worse"})
	require.Equal(t, 2, c.events("care.alert"))
	notices, err := c.Store.ListNotices(ctx, c.Coordinator, true, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, slices.DeleteFunc(noticeCodes(notices), func(code string) bool { return code != "care.alert" }), 2)
	v, err := c.Store.ShowCase(ctx, c.Coordinator, plan)
	require.NoError(t, err)
	for _, e := range v.Timeline {
		require.NotContains(t, e.Text, "<no value>", e.Code)
	}
	care, err = c.Store.LoadCare(ctx, system, plan)
	require.NoError(t, err)
	require.Len(t, care.Touches, 12)
}
