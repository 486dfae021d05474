package workflows_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/workflows"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// behind looks at what runs behind the client: a test may, nobody else does.
func behind(t testing.TB) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: workflowstest.TemporalAddress(t), Logger: quiet{}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func running(t testing.TB, c client.Client, protocol registry.Protocol, id uuid.UUID) *workflowpb.WorkflowExecutionInfo {
	t.Helper()
	d, err := c.DescribeWorkflowExecution(context.Background(), string(protocol)+"/"+id.String(), "")
	require.NoError(t, err)
	return d.GetWorkflowExecutionInfo()
}

// The same answer, sent again by a client that lost the reply and by the relay as well, is one answer; a fact that is told
// again is one fact.
func TestWhatIsDeliveredTwiceHappensOnce(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	ctx := context.Background()
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	task := d.Task(d.Coordinator, "stemcell.remobilisation", cases[0])
	body := json.RawMessage(`{"outcome": "willing"}`)
	command := registry.Answer{TaskID: task.ID, Command: "the same", Form: body}
	p, err := d.Store.ProposeAnswer(ctx, d.Coordinator, command)
	require.NoError(t, err)
	again, err := d.Store.ProposeAnswer(ctx, d.Coordinator, command)
	require.NoError(t, err)
	require.Equal(t, p.AnswerID, again.AnswerID)
	var both sync.WaitGroup
	moved, errs := make([]registry.Moved, 4), make([]error, 4)
	for i := range moved {
		both.Go(func() { moved[i], errs[i] = d.Client.Answer(ctx, p) })
	}
	both.Wait()
	for i := range moved {
		require.NoError(t, errs[i])
		require.Equal(t, moved[0], moved[i])
	}
	// The command that comes once more finds what it did.
	known, err := d.Store.ProposeAnswer(ctx, d.Coordinator, command)
	require.NoError(t, err)
	require.Equal(t, moved[0], *known.Moved)
	// So does the answer that is brought to the run after.
	d.Pass(registry.StemCellProtocol, cases[0], 10*time.Second)
	later, err := d.Client.Answer(ctx, p)
	require.NoError(t, err)
	require.Equal(t, moved[0], later)

	for range 3 {
		require.NoError(t, d.Client.Tell(ctx, registry.StemCellProtocol, cases[0], "requested"))
	}
	d.Answer(d.Coordinator, "stemcell.sample_booking", theWay(d, 1)[1].Form, cases[0])
	v := stands(d, cases[0], "stemcell.confirmatory_sample")
	require.Equal(t, 1, times(v, "stemcell.remobilisation.willing"))
	require.Equal(t, 1, times(v, "case.opened"))
	require.Len(t, v.Tasks, 3, "each step is asked once")
	require.Equal(t, 2, told(d, d.Coordinator, "task.opened", false), "and told of once")
}

// A row of the outbox that a relay takes, delivers, and does not come to tick off is delivered by the next.
func TestARowOfTheOutboxThatIsDeliveredTwiceHasOneEffect(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	ctx := context.Background()
	d.StopRelay()
	search := opened(t, d, d.TransplantDoctor)
	for range 2 {
		rows, err := d.Store.TakeTellings(ctx, 10, 0)
		require.NoError(t, err)
		require.Len(t, rows, 1)
		require.Equal(t, []uuid.UUID{search}, rows[0].Targets)
		require.NoError(t, d.Client.Tell(ctx, registry.Protocol(rows[0].Protocol), rows[0].Targets[0], rows[0].Fact))
	}
	d.StartRelay() // and a third time
	d.Eventually(func() bool {
		waiting, err := d.Store.OutboxWaiting(ctx)
		require.NoError(t, err)
		return waiting == 0
	}, "the outbox is empty")
	v := d.Case(d.TransplantDoctor, search, func(v registry.CaseView) bool { return times(v, "search.run") > 0 })
	require.Equal(t, 1, times(v, "search.opened"))
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, running(t, behind(t), registry.SearchProtocol, search).GetStatus())
}

// When the desk is away the answer is kept and the caller told to come again; then it is delivered without them.
func TestAnAnswerIsKeptWhileTheDeskIsAway(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	task := d.Task(d.Coordinator, "stemcell.remobilisation", cases[0])
	d.StopWorker()
	p, err := d.Propose(d.Coordinator, task, map[string]any{"outcome": "willing"})
	require.NoError(t, err)
	soon, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err = d.Client.Answer(soon, p)
	require.Equal(t, registry.Unavailable, registry.KindOf(err))
	require.Equal(t, "pending", answerState(d, p))
	d.StartWorker()
	relay := &workflows.Relay{Store: d.Store, Client: d.Client, Log: registrytest.Log(t)}
	relay.DeliverAnswer(context.Background(), p)
	require.Equal(t, "accepted", answerState(d, p))
	stands(d, cases[0], "stemcell.sample_booking")
}

func answerState(d *workflowstest.Desk, p registry.Proposed) string {
	d.T.Helper()
	status, _, _, err := d.Store.AnswerState(context.Background(), d.Coordinator, p.AnswerID)
	require.NoError(d.T, err)
	return status
}

// An answer that waited while its case ended is refused, and not delivered for ever.
func TestAnAnswerToACaseThatHasEndedIsRefused(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	p, err := d.Propose(d.Coordinator, d.Task(d.Coordinator, "stemcell.remobilisation", cases[0]), map[string]any{"outcome": "willing"})
	require.NoError(t, err)
	withdraws(d, donors[0])
	ended(d, cases[0])
	look := behind(t)
	d.Eventually(func() bool {
		return running(t, look, registry.StemCellProtocol, cases[0]).GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	}, "its protocol is over")
	relay := &workflows.Relay{Store: d.Store, Client: d.Client, Log: registrytest.Log(t)}
	relay.DeliverAnswer(context.Background(), p)
	require.Equal(t, "refused", answerState(d, p))
}

// sees is somebody who may look at a protocol's cases.
func sees(d *workflowstest.Desk, protocol registry.Protocol) registry.Actor {
	if protocol == registry.SearchProtocol {
		return d.TransplantDoctor
	}
	return d.Coordinator
}

// A withdrawal does not wait behind answers that nobody takes.
func TestFactsDoNotWaitForAnswers(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	ctx := context.Background()
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	task := d.Task(d.Coordinator, "stemcell.remobilisation", cases[0])
	d.StopWorker()
	p, err := d.Propose(d.Coordinator, task, map[string]any{"outcome": "willing"})
	require.NoError(t, err)
	db, err := pgx.Connect(ctx, registrytest.Past(t, d.Database))
	require.NoError(t, err)
	defer func() { _ = db.Close(ctx) }()
	_, err = db.Exec(ctx, `UPDATE answers SET next_at = now() WHERE id = $1`, p.AnswerID)
	require.NoError(t, err)
	d.Eventually(func() bool { // the relay has it in hand, and nobody takes it for as long as a caller waits
		var later bool
		require.NoError(t, db.QueryRow(ctx, `SELECT next_at > now() FROM answers WHERE id = $1`, p.AnswerID).Scan(&later))
		return later
	}, "the answer is on its way")
	began := time.Now()
	withdraws(d, donors[0])
	d.Eventually(func() bool {
		waiting, err := d.Store.OutboxWaiting(ctx)
		require.NoError(t, err)
		return waiting == 0
	}, "the withdrawal is told")
	require.Less(t, time.Since(began), 7500*time.Millisecond, "before the answer's eight seconds are over")
	d.StartWorker()
	ended(d, cases[0])
}

// Housekeeping seals the audit, which can be verified then.
func TestHousekeepingSealsTheAudit(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	var kept sync.WaitGroup
	kept.Go(func() { workflows.Housekeeping(ctx, d.Store, registrytest.Log(t)) })
	_, _ = driven(d, today(), today())
	d.Eventually(func() bool {
		report, err := d.Store.VerifyAudit(context.Background(), d.Auditor, nil, nil)
		require.NoError(t, err)
		return report.Verified && report.Seals > 0
	}, "the audit is sealed")
	cancel()
	kept.Wait()
}

// The Temporal cluster is lost with everything it knew: every open case is started again from its rows, where it stood,
// and nobody is asked or told anything twice.
func TestCasesGoOnFromTheirRowsWhenTemporalIsLost(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	ctx := context.Background()
	donors := listed(t, d, 2, gl)
	search, cases := requested(t, d, d.TransplantDoctor, donors...)
	way := theWay(d, 1)
	walk(d, cases[0], way, "stemcell.clearance")
	d.Answer(d.CollectionDoctor, "stemcell.clearance", way[7].Form, cases[0]) // one of two has signed

	open, err := d.Store.OpenCases(ctx, registry.Operator("test"))
	require.NoError(t, err)
	require.ElementsMatch(t, cases, open[registry.StemCellProtocol])
	require.Equal(t, []uuid.UUID{search}, open[registry.SearchProtocol])
	require.Len(t, open[registry.DriveProtocol], 1)
	look := behind(t)
	before := map[uuid.UUID]registry.CaseView{}
	for protocol, ids := range open {
		for _, id := range ids {
			require.NoError(t, look.TerminateWorkflow(ctx, string(protocol)+"/"+id.String(), "", "lost"))
			before[id], err = d.Store.ShowCase(ctx, sees(d, protocol), id)
			require.NoError(t, err)
		}
	}
	_, err = d.TryAnswer(d.Second, d.Task(d.Second, "stemcell.clearance", cases[0]), way[8].Form)
	require.Equal(t, "case_not_running", registry.CodeOf(err))

	wake := func(ctx context.Context, protocol registry.Protocol, id uuid.UUID) error {
		return d.Client.Tell(ctx, protocol, id, "resumed")
	}
	// Whoever is not sure runs it again, and may have every case begin anew though it runs.
	for _, carry := range []func(context.Context, registry.Protocol, uuid.UUID) error{wake, wake, d.Client.Restart} {
		for protocol, ids := range open {
			for _, id := range ids {
				require.NoError(t, carry(ctx, protocol, id))
			}
		}
	}
	moved := d.Answer(d.Second, "stemcell.clearance", way[8].Form, cases[0])
	require.Equal(t, "stemcell.schedule", moved.Step, "the first signature still counts")
	for protocol, ids := range open {
		for _, id := range ids {
			require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, running(t, look, protocol, id).GetStatus(), "%s", protocol)
			after, err := d.Store.ShowCase(ctx, sees(d, protocol), id)
			require.NoError(t, err)
			if id != cases[0] {
				require.Equal(t, before[id].Tasks, after.Tasks, "%s: its tasks are as they were", protocol)
			}
			for _, code := range []string{"case.opened", "drive.open", "search.opened", "search.choice.request", "stemcell.conditioning.started"} {
				require.Equal(t, times(before[id], code), times(after, code), code)
			}
		}
	}
	walk(d, cases[0], way[9:inOneDay], "")
	v := stands(d, cases[0], "stemcell.conditioning")
	require.Len(t, v.Tasks, 18, "one task a question: ten steps, one of them asked of two, one twice of four")
}

// A case is pinned to the version of the protocols that it runs under, hears of a newer one, goes over to it at the next
// quiet moment, and goes on there when the old version's workers are gone.
func TestACaseGoesOverToANewVersionOfItsProtocol(t *testing.T) {
	t.Parallel()
	d := workflowstest.NewWith(t, workflowstest.Options{NoWorker: true})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	version := func(name string) *workflows.Worker {
		w := d.StartWorkerAs(workflows.WorkerOptions{Deployment: d.Queue, Version: name})
		t.Cleanup(w.Stop)
		require.NoError(t, w.MakeCurrent(ctx))
		require.NoError(t, w.MakeCurrent(ctx), "saying it twice changes nothing")
		return w
	}
	a := version("A")
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	look := behind(t)
	runs := func() (build, run string) {
		info := running(t, look, registry.StemCellProtocol, cases[0])
		return info.GetVersioningInfo().GetDeploymentVersion().GetBuildId(), info.GetExecution().GetRunId()
	}
	d.Task(d.Coordinator, "stemcell.remobilisation", cases[0])
	d.Eventually(func() bool { build, _ := runs(); return build == "A" }, "it runs under A")
	_, first := runs()

	version("B")
	d.Eventually(func() bool {
		// It is asleep, and when it is woken before Temporal has told all its parts of B, it falls asleep again.
		require.NoError(t, d.Client.Tell(ctx, registry.StemCellProtocol, cases[0], "look"))
		build, _ := runs()
		return build == "B"
	}, "it has gone over to B")
	_, second := runs()
	require.NotEqual(t, first, second, "in a new run")
	a.Stop()
	moved := walk(d, cases[0], theWay(d, 1), "stemcell.confirmatory_sample")
	require.Equal(t, "stemcell.confirmatory_sample", moved.Step)
	require.Len(t, stands(d, cases[0], moved.Step).Tasks, 3, "nobody was asked twice")
}

// A case goes on as a new run in a quiet moment, whatever arrives just then: while answers are brought, the case's clock
// runs past its quiet time again and again. Those that meet it on its way out are brought to the next run, and each is
// taken once.
func TestAnswersThatArriveWhileACaseRollsOverAreTakenOnce(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	donors := listed(t, d, 1, gl)
	_, cases := requested(t, d, d.TransplantDoctor, donors[0])
	look := behind(t)
	run := func() string { return running(t, look, registry.StemCellProtocol, cases[0]).GetExecution().GetRunId() }
	d.Task(d.Coordinator, "stemcell.remobilisation", cases[0])
	first := run()
	var clock sync.WaitGroup
	for _, turn := range theWay(d, 1)[:inOneDay] {
		task := d.Task(turn.By, turn.Step, cases[0])
		clock.Go(func() { d.Pass(registry.StemCellProtocol, cases[0], 6*time.Second) })
		_, err := d.TryAnswer(turn.By, task, turn.Form)
		require.NoError(t, err, turn.Step)
		clock.Wait()
	}
	d.Pass(registry.StemCellProtocol, cases[0], 6*time.Second)
	require.NotEqual(t, first, run(), "it has rolled over meanwhile")
	v := stands(d, cases[0], "stemcell.conditioning")
	require.Len(t, v.Tasks, 18)
	require.Equal(t, 1, times(v, "stemcell.schedule.propose"))
	require.Equal(t, 4, times(v, "stemcell.schedule.confirm"))
}
