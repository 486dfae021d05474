package workflows_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/workflows"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// ended waits for a case's end and returns it with the reason that the timeline tells.
func ended(d *workflowstest.Desk, id uuid.UUID) (ending, reason string) {
	d.T.Helper()
	v := d.Case(d.Coordinator, id, func(v registry.CaseView) bool { return v.Status == "ended" })
	for _, task := range v.Tasks {
		require.NotEqual(d.T, "open", task.Status, "nobody is asked about a case that has ended")
	}
	require.Equal(d.T, 1, times(v, "case.ended"))
	for _, e := range v.Timeline {
		if e.Code == "case.ended" {
			reason, _ = e.Args["Reason"].(string)
		}
	}
	return v.Ending, reason
}

// stands waits until a case stands at a step.
func stands(d *workflowstest.Desk, id uuid.UUID, step string) registry.CaseView {
	d.T.Helper()
	return d.Case(d.Coordinator, id, func(v registry.CaseView) bool { return v.Step == step })
}

// times counts an event in a case's timeline.
func times(v registry.CaseView, code string) (n int) {
	for _, e := range v.Timeline {
		if e.Code == code {
			n++
		}
	}
	return n
}

// donor is a registration's status with its reason.
func donor(d *workflowstest.Desk, id uuid.UUID) string {
	d.T.Helper()
	v, err := d.Store.ShowDonor(context.Background(), d.Coordinator, id)
	require.NoError(d.T, err)
	return v.Status + " " + v.StatusReason
}

// told counts the urgent or ordinary notices of a code that an actor has.
func told(d *workflowstest.Desk, who registry.Actor, code string, urgent bool) (n int) {
	d.T.Helper()
	list, err := d.Store.ListNotices(context.Background(), who, false, time.Time{}, uuid.Nil, 200)
	require.NoError(d.T, err)
	for _, notice := range list {
		if notice.Code == code && notice.Urgent == urgent {
			n++
		}
	}
	return n
}

// refusal is the code with which an answer is refused.
func refusal(d *workflowstest.Desk, by registry.Actor, step string, form map[string]any, in uuid.UUID) string {
	d.T.Helper()
	_, err := d.TryAnswer(by, d.Task(by, step, in), form)
	return registry.CodeOf(err)
}

func withdraws(d *workflowstest.Desk, donor uuid.UUID) {
	d.T.Helper()
	_, err := d.Store.Withdraw(context.Background(), d.Registrar, donor, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(d.T, err)
}

func TestABackupTakesOverAndWhenNobodyIsLeftTheHospitalChoosesAnew(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 3, gl)
	search, cases := requested(t, d, d.TransplantDoctor, donors[0], donors[1])
	stands(d, cases[1], "stemcell.standby")
	moved := d.Answer(d.Coordinator, "stemcell.remobilisation", map[string]any{"outcome": "declines", "reason": "family"}, cases[0])
	require.Equal(t, "declined", moved.Ending)
	require.Equal(t, "unavailable PR", donor(d, donors[0]))

	// The backup is called without anybody's doing, and the case goes on with them.
	moved = walk(d, cases[1], theWay(d, 1), "stemcell.physical_examination")
	require.Equal(t, "stemcell.physical_examination", moved.Step)
	require.Equal(t, 1, times(d.Case(d.Coordinator, cases[1], func(registry.CaseView) bool { return true }), "case.promoted"))
	moved = d.Answer(d.CollectionDoctor, "stemcell.physical_examination", map[string]any{"outcome": "unfit", "examined_on": today().String(), "reason": "haematological"}, cases[1])
	require.Equal(t, "unfit", moved.Ending)
	require.Equal(t, "unavailable MR", donor(d, donors[1]))

	// Nobody is left: the hospital chooses among those who still fit, which is the third.
	d.Answer(d.TransplantDoctor, "search.choice", map[string]any{"outcome": "request", "donors": donors[2:]}, search)
	v, err := d.Store.ShowSearch(context.Background(), d.TransplantDoctor, search)
	require.NoError(t, err)
	require.Len(t, v.Requests, 3)
	d.Answer(d.Coordinator, "stemcell.remobilisation", map[string]any{"outcome": "declines", "reason": "work"}, v.Requests[2].Case)
	// And when nobody fits any more the search goes on comparing, day by day.
	d.Eventually(func() bool {
		v, err := d.Store.ShowSearch(context.Background(), d.TransplantDoctor, search)
		require.NoError(t, err)
		return v.Candidates == 0
	}, "no candidate is left")
	s := d.Case(d.TransplantDoctor, search, func(v registry.CaseView) bool { return v.Step == "search.running" })
	require.Equal(t, "open", s.Status)
}

func TestAReservationRunsOutAndFreesTheDonor(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	stands(d, cases[0], "stemcell.remobilisation")
	d.Pass(registry.StemCellProtocol, cases[0], 75*aDay)
	require.Equal(t, "open", stands(d, cases[0], "stemcell.remobilisation").Status)
	d.Pass(registry.StemCellProtocol, cases[0], 40*aDay) // sixty working days are 84 days and the holidays
	ending, _ := ended(d, cases[0])
	require.Equal(t, "reservation_expired", ending)
	v := stands(d, cases[0], "stemcell.remobilisation")
	require.Equal(t, "expired", v.Tasks[0].Status)
	require.Equal(t, 3, v.Tasks[0].Level, "it went up to the province before")
	require.Equal(t, "listed ", donor(d, donors[0]))
	// Another hospital may ask for the donor now.
	_, others := requested(t, d, d.OtherDoctor, donors[0])
	stands(d, others[0], "stemcell.remobilisation")
}

func TestAWithdrawalBeforeConditioningEndsTheCase(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	search, cases := requested(t, d, d.TransplantDoctor, donors[0])
	walk(d, cases[0], theWay(d, 1), "stemcell.schedule")
	d.StopRelay() // the case has not heard of it
	withdraws(d, donors[0])
	propose := theWay(d, 1)[9].Form
	require.Equal(t, "donor_withdrew", refusal(d, d.TransplantDoctor, "stemcell.schedule", propose, cases[0]), "whoever would go on finds the consent gone")
	d.StartRelay()
	ending, _ := ended(d, cases[0])
	require.Equal(t, "withdrawn", ending)
	require.Equal(t, "withdrawn ", donor(d, donors[0]))
	require.Equal(t, 1, told(d, d.CollectionDoctor, "stemcell.ended", false))
	require.Equal(t, 1, told(d, d.TransplantDoctor, "stemcell.ended", false))
	d.Case(d.TransplantDoctor, search, func(v registry.CaseView) bool { return v.Step == "search.running" })
}

// From conditioning on a donor who withdraws is never forced: everybody is told at once, the backup is called, the search
// is open again.
func TestAWithdrawalAfterConditioningOpensTheEmergencyPath(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 2, gl)
	search, cases := requested(t, d, d.TransplantDoctor, donors...)
	way := theWay(d, 1)
	walk(d, cases[0], way, "stemcell.mobilisation")
	d.Pass(registry.StemCellProtocol, cases[0], way[15].Pass)
	d.Answer(d.CollectionDoctor, "stemcell.mobilisation", way[15].Form, cases[0])
	withdraws(d, donors[0])
	d.Task(d.TransplantDoctor, "stemcell.emergency", cases[0]) // who is asked once everybody is told
	v := stands(d, cases[0], "stemcell.emergency")
	require.Equal(t, 1, times(v, "stemcell.emergency.opened"))
	for _, who := range []registry.Actor{d.Coordinator, d.CollectionDoctor, d.TransplantDoctor, d.Technician} {
		require.Equal(t, 1, told(d, who, "stemcell.emergency", true), who.Name)
	}
	for _, task := range v.Tasks {
		require.True(t, task.Status != "open" || task.Step == "stemcell.emergency", "nobody is asked to go on: %s", task.Step)
	}
	s, err := d.Store.ShowSearch(context.Background(), d.TransplantDoctor, search)
	require.NoError(t, err)
	require.Equal(t, "open", s.Status)
	d.Task(d.Coordinator, "stemcell.remobilisation", cases[1]) // the backup is called
	require.Equal(t, "donor_not_available", refusal(d, d.TransplantDoctor, "stemcell.emergency", map[string]any{"outcome": "donor_returns"}, cases[0]))
	moved := d.Answer(d.TransplantDoctor, "stemcell.emergency", map[string]any{"outcome": "rescue", "reason": "haploidentical"}, cases[0])
	require.Equal(t, "failed_after_conditioning", moved.Ending)
	ended(d, cases[0])
	stands(d, cases[1], "stemcell.remobilisation")
}

// A donor who is unwell may come back of their own will, on the day on which they stopped; a serious event has its own
// clock beside the case.
func TestADonorWhoWasUnwellComesBackAndTheEventIsReportedBesideTheCase(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	way := theWay(d, 1)
	walk(d, cases[0], way, "stemcell.mobilisation")
	first := way[15]
	d.Pass(registry.StemCellProtocol, cases[0], first.Pass)
	moved := d.Answer(d.CollectionDoctor, first.Step, map[string]any{"outcome": "stopped", "day": 1, "given_on": first.Form["given_on"], "adverse": "allergy", "serious": true}, cases[0])
	require.Equal(t, "stemcell.emergency", moved.Step)
	var event uuid.UUID
	d.Eventually(func() bool {
		list, err := d.Store.ListCases(context.Background(), d.Coordinator, registry.CaseFilter{Protocol: registry.SafetyProtocol, Status: "open"})
		require.NoError(t, err)
		if len(list) == 1 {
			event = list[0].ID
		}
		return len(list) == 1
	}, "the event's case is open")
	moved = d.Answer(d.TransplantDoctor, "stemcell.emergency", map[string]any{"outcome": "donor_returns"}, cases[0])
	require.Equal(t, "stemcell.mobilisation", moved.Step)
	moved = d.Answer(d.CollectionDoctor, first.Step, first.Form, cases[0])
	require.Equal(t, "stemcell.mobilisation", moved.Step)

	report := d.Task(d.Coordinator, "safety.report", event)
	require.Equal(t, today().AddDays(1).Start(registry.Zone).UTC(), report.DueAt.UTC(), "the same day")
	moved = d.Answer(d.Coordinator, "safety.report", map[string]any{"outcome": "reported", "on": today().String(), "harm": "donor", "imputability": "likely"}, event)
	require.Equal(t, "reported", moved.Ending)
	stands(d, cases[0], "stemcell.mobilisation")
}

// Every emergency is told, also when it is not a case's first.
func TestASecondEmergencyIsToldAgain(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	way := theWay(d, 1)
	walk(d, cases[0], way, "stemcell.mobilisation")
	d.Pass(registry.StemCellProtocol, cases[0], way[15].Pass)
	stopped := map[string]any{"outcome": "stopped", "day": 1, "given_on": way[15].Form["given_on"], "adverse": "allergy"}
	for n := 1; n <= 2; n++ {
		moved := d.Answer(d.CollectionDoctor, "stemcell.mobilisation", stopped, cases[0])
		require.Equal(t, "stemcell.emergency", moved.Step)
		d.Task(d.TransplantDoctor, "stemcell.emergency", cases[0]) // who is asked once everybody is told
		require.Equal(t, n, times(stands(d, cases[0], moved.Step), "stemcell.emergency.opened"))
		require.Equal(t, n, told(d, d.TransplantDoctor, "stemcell.emergency", true))
		d.Pass(registry.StemCellProtocol, cases[0], aDay)
		d.Answer(d.TransplantDoctor, "stemcell.emergency", map[string]any{"outcome": "donor_returns"}, cases[0])
	}
}

// What a hospital or a doctor says no to frees the donor, and says why.
func TestANoEndsTheCaseWithItsReason(t *testing.T) {
	for _, c := range []struct {
		name, step string
		by         func(*workflowstest.Desk) registry.Actor
		form       map[string]any
		ending     string
		reason     string
		donor      string
	}{
		{"the hospital needs another", "stemcell.hospital_decision", func(d *workflowstest.Desk) registry.Actor { return d.TransplantDoctor },
			map[string]any{"outcome": "release", "reason": "better_donor"}, "released", "better_donor", "listed "},
		{"the donor is not cleared", "stemcell.clearance", func(d *workflowstest.Desk) registry.Actor { return d.CollectionDoctor },
			map[string]any{"outcome": "not_cleared", "on": today().String(), "reason": "infectious"}, "not_cleared", "infectious", "unavailable MR"},
		{"the donor is deferred", "stemcell.remobilisation", func(d *workflowstest.Desk) registry.Actor { return d.Coordinator },
			map[string]any{"outcome": "deferred", "reason": "pregnancy", "until": today().AddDays(300).String()}, "deferred", "pregnancy", "unavailable MR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := workflowstest.New(t)
			donors := listed(t, d, 1, gl)
			_, cases := requested(t, d, d.TransplantDoctor, donors[0])
			walk(d, cases[0], theWay(d, 1), c.step)
			d.Answer(c.by(d), c.step, c.form, cases[0])
			ending, reason := ended(d, cases[0])
			require.Equal(t, c.ending, ending)
			require.Equal(t, c.reason, reason)
			require.Equal(t, c.donor, donor(d, donors[0]))
		})
	}
}

// Nobody is given up as unreachable before three attempts on two days, the emergency contacts among them.
func TestADonorIsUnreachableOnlyAfterEnoughAttempts(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	ctx := context.Background()
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	unreachable := map[string]any{"outcome": "unreachable"}
	now := time.Now()
	for _, a := range []forms.ContactAttempt{
		{At: now.Add(-49 * time.Hour), Channel: "phone", Whom: "donor", Result: "no_answer"},
		{At: now.Add(-48 * time.Hour), Channel: "message", Whom: "donor", Result: "no_answer"},
		{At: now.Add(-time.Hour), Channel: "phone", Whom: "donor", Result: "no_answer"},
		{At: now, Channel: "visit", Whom: "contact", Result: "will_call_back"},
	} {
		require.Equal(t, "attempts_missing", refusal(d, d.Coordinator, "stemcell.remobilisation", unreachable, cases[0]))
		_, err := d.Store.AddAttempt(ctx, d.Coordinator, cases[0], a)
		require.NoError(t, err)
	}
	moved := d.Answer(d.Coordinator, "stemcell.remobilisation", unreachable, cases[0])
	require.Equal(t, "unreachable", moved.Ending)
	require.Equal(t, "unavailable UC", donor(d, donors[0]))
	_, err := d.Store.AddAttempt(ctx, d.Coordinator, cases[0], forms.ContactAttempt{At: now, Channel: "phone", Whom: "donor", Result: "no_answer"})
	require.Equal(t, "case_ended", registry.CodeOf(err))
}

// A donor who has moved away is called by the coordinators of where they live now.
func TestADonorWhoMovedIsCalledByTheirNewOffice(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	d.Answer(d.Coordinator, "stemcell.remobilisation", map[string]any{"outcome": "moved", "region": "320102"}, cases[0])
	moved := d.Answer(d.CityCoordinator, "stemcell.remobilisation", map[string]any{"outcome": "willing"}, cases[0])
	require.Equal(t, "stemcell.sample_booking", moved.Step)
	tasks, err := d.Store.ListTasks(context.Background(), d.Coordinator, registry.TaskFilter{CaseID: cases[0]})
	require.NoError(t, err)
	require.Empty(t, tasks, "the old office is asked no more")
}

// A wrong answer is struck through and given again; the old one stays in the timeline.
func TestAWrongAnswerIsStruckAndGivenAgain(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	ctx := context.Background()
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	way := theWay(d, 1)
	walk(d, cases[0], way, "stemcell.schedule")
	d.Answer(d.TransplantDoctor, "stemcell.schedule", way[9].Form, cases[0])
	again := func(step string, by registry.Actor, command string) (registry.Moved, error) {
		return d.Client.Reopen(ctx, registry.StemCellProtocol, cases[0], command, workflows.ReopenCommand{Step: step, Reason: "wrong_entry", Staff: by.Staff()})
	}
	for _, c := range []struct {
		step string
		by   registry.Actor
		kind registry.Kind
	}{
		{"stemcell.infusion", d.Coordinator, registry.Refused}, // which was not done yet
		{"stemcell.clearance", d.CollectionDoctor, registry.Denied},
		{"stemcell.clearance", d.OtherDoctor, registry.NotFound}, // who is not told that there is such a case
	} {
		_, err := again(c.step, c.by, uuid.NewString())
		require.Equal(t, c.kind, registry.KindOf(err), c.by.Name)
	}
	// What it would do is told by the protocol that will do it.
	plan, err := d.Client.WouldReopen(ctx, registry.StemCellProtocol, cases[0], "stemcell.infusion")
	require.NoError(t, err)
	require.Equal(t, "step_not_done", plan.Refused)
	plan, err = d.Client.WouldReopen(ctx, registry.StemCellProtocol, cases[0], "stemcell.clearance")
	require.NoError(t, err)
	told, err := d.Store.PreviewReopen(ctx, d.Coordinator, cases[0], plan)
	require.NoError(t, err)
	require.Equal(t, []string{"cleared_until", "window"}, told.Releases)
	require.Len(t, told.Strikes, 3, "two signatures and the first word about the days")
	require.Len(t, told.Cancels, 4)
	require.Len(t, told.Tells, 2, "both who sign are asked again")
	command := uuid.NewString()
	moved, err := again("stemcell.clearance", d.Coordinator, command)
	require.NoError(t, err)
	require.Equal(t, "stemcell.clearance", moved.Step)
	open := 0
	for _, task := range stands(d, cases[0], "stemcell.clearance").Tasks {
		if task.Status == "open" {
			open++
		}
	}
	require.Equal(t, len(told.Tells), open)
	twice, err := again("stemcell.clearance", d.Coordinator, command)
	require.NoError(t, err)
	require.Equal(t, moved, twice, "the same command once more")
	d.Answer(d.CollectionDoctor, "stemcell.clearance", way[7].Form, cases[0])
	d.Answer(d.Second, "stemcell.clearance", way[8].Form, cases[0])
	walk(d, cases[0], way[9:inOneDay], "")
	v := stands(d, cases[0], "stemcell.conditioning")
	require.Equal(t, 1, times(v, "case.reopened"))
	require.Equal(t, 4, times(v, "stemcell.clearance.cleared"), "what was struck is still told")
	struck := 0
	for _, task := range v.Tasks {
		if task.Status == "struck" {
			struck++
		}
	}
	require.Equal(t, 3, struck, "two signatures and a proposal")
}

// Two hospitals ask for one donor in the same moment: one gets the donor, the other is told why not and chooses again.
func TestTwoHospitalsAskForOneDonorAtOnce(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	ctx := context.Background()
	donors := listed(t, d, 2, gl)
	doctors := []registry.Actor{d.TransplantDoctor, d.OtherDoctor}
	var searches [2]uuid.UUID
	var proposed [2]registry.Proposed
	for i, by := range doctors {
		searches[i] = opened(t, d, by)
		var err error
		proposed[i], err = d.Propose(by, d.Task(by, "search.choice", searches[i]), map[string]any{"outcome": "request", "donors": donors[:1]})
		require.NoError(t, err)
	}
	var both sync.WaitGroup
	var errs [2]error
	for i := range proposed {
		both.Go(func() { _, errs[i] = d.Client.Answer(ctx, proposed[i]) })
	}
	both.Wait()
	loser := 0
	if errs[0] == nil {
		loser = 1
	}
	require.NoError(t, errs[1-loser])
	require.Equal(t, registry.Conflict, registry.KindOf(errs[loser]), "%v", errs[loser])
	require.Equal(t, "donor_reserved", registry.CodeOf(errs[loser]))
	list, err := d.Store.ListCases(ctx, d.Coordinator, registry.CaseFilter{Protocol: registry.StemCellProtocol})
	require.NoError(t, err)
	require.Len(t, list, 1)
	// The question is still open: there is another donor.
	d.Answer(doctors[loser], "search.choice", map[string]any{"outcome": "request", "donors": donors[1:]}, searches[loser])
}

// Whoever is asked is told, and nobody else: not another hospital of the donor's region.
func TestWhoIsAskedIsTold(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	elsewhere, err := d.Store.AddOrganisation(context.Background(), registry.Operator("test"), registry.OrganisationForm{Kind: "hospital", Name: "鼓楼医院", Region: "320106"})
	require.NoError(t, err)
	stranger := d.Staff(t, "stranger", elsewhere, policy.CollectionHospital, "320106")
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	walk(d, cases[0], theWay(d, 1), "stemcell.confirmatory_sample")
	require.Equal(t, 1, told(d, d.CollectionDoctor, "task.opened", false))
	require.Zero(t, told(d, stranger, "task.opened", false))
}

// Every ending has a coded reason, and whoever looks at the case sees it.
func TestACaseSaysWhyItHasEnded(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	d.Answer(d.Coordinator, "stemcell.remobilisation", map[string]any{"outcome": "declines", "reason": "family"}, cases[0])
	_, reason := ended(d, cases[0])
	require.Equal(t, "family", reason)
	v := d.Case(d.Coordinator, cases[0], func(registry.CaseView) bool { return true })
	require.Equal(t, "family", v.Reason)

	// Why a donor does not give is the donor's own: the patient's side reads that there is no donor.
	seen := d.Case(d.TransplantDoctor, cases[0], func(registry.CaseView) bool { return true })
	require.Equal(t, "donor_unavailable", seen.Reason)
	for _, e := range seen.Timeline {
		require.NotEqual(t, "family", e.Args["Reason"], e.Code)
	}
}
