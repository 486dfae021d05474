package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

const gl = workflowstest.GL

const (
	aDay     = 24 * time.Hour
	inOneDay = workflowstest.InOneDay
)

func volunteer(n int, signed calendar.Date, barcode string) forms.Registration {
	return workflowstest.Volunteer(n, signed, barcode)
}

func residentNumber(n int) string { return workflowstest.ResidentNumber(n) }

func today() calendar.Date { return workflowstest.Today() }

func listed(t testing.TB, d *workflowstest.Desk, n int, typing string) []uuid.UUID {
	t.Helper()
	return d.Listed(n, typing)
}

func opened(t testing.TB, d *workflowstest.Desk, by registry.Actor) uuid.UUID {
	t.Helper()
	return d.Opened(by)
}

func requested(t testing.TB, d *workflowstest.Desk, by registry.Actor, donors ...uuid.UUID) (search uuid.UUID, cases []uuid.UUID) {
	t.Helper()
	return d.Requested(by, donors...)
}

func theWay(d *workflowstest.Desk, n int) []workflowstest.Turn { return d.TheWay(n) }

func walk(d *workflowstest.Desk, id uuid.UUID, way []workflowstest.Turn, upTo string) registry.Moved {
	d.T.Helper()
	return d.Walk(id, way, upTo)
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
