package workflows_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// BenchmarkCasework measures decisions through cases beside the least that a decision could cost: a bare Temporal update
// whose handler runs one empty local activity, on the same server, with as many workflows at once.
//
// Whole cases go from the first call to the agreed schedule, as far as one day allows: for each of fourteen decisions the
// answerer looks at the worklist, the answer is stored, the case moves and the next question is asked; twice on the way
// the run goes on as a new one.
func BenchmarkCasework(b *testing.B) {
	for _, atOnce := range []int{10, 40} {
		b.Run(fmt.Sprintf("cases=%d", atOnce), func(b *testing.B) {
			d := workflowstest.New(b)
			const rounds = 3 // one after the other and again, so that a noisy neighbour does not decide the ratio
			cases := manyCases(b, d, rounds*atOnce)
			for b.Loop() {
				var ours, bare float64
				for round := range rounds {
					bare += bareRate(b, atOnce, 6)
					ours += decisionRate(d, cases[round*atOnce:(round+1)*atOnce], 1+round*atOnce)
				}
				b.ReportMetric(ours/rounds, "decisions/s")
				b.ReportMetric(bare/rounds, "bare-updates/s")
				b.ReportMetric(ours/bare, "ratio")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// manyCases opens as many stem-cell cases, each waiting for its first call.
func manyCases(b *testing.B, d *workflowstest.Desk, n int) []uuid.UUID {
	var out []uuid.UUID
	for _, donor := range listed(b, d, n, gl) {
		_, cases := requested(b, d, d.TransplantDoctor, donor)
		out = append(out, cases[0])
	}
	return out
}

// decisionRate walks all cases at once and returns the decisions taken in a second.
func decisionRate(d *workflowstest.Desk, cases []uuid.UUID, first int) float64 {
	began := time.Now()
	var all sync.WaitGroup
	for i, id := range cases {
		all.Go(func() { walk(d, id, theWay(d, first+i)[:inOneDay], "") })
	}
	all.Wait()
	return float64(len(cases)*inOneDay) / time.Since(began).Seconds()
}

func emptyActivity(context.Context) error { return nil }

func bareWorkflow(ctx workflow.Context) error {
	err := workflow.SetUpdateHandler(ctx, "touch", func(ctx workflow.Context) error {
		ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{ScheduleToCloseTimeout: 5 * time.Second})
		return workflow.ExecuteLocalActivity(ctx, emptyActivity).Get(ctx, nil)
	})
	if err != nil {
		return err
	}
	return workflow.Await(ctx, func() bool { return false })
}

func bareRate(b *testing.B, n, seconds int) float64 {
	ctx := context.Background()
	c, err := client.Dial(client.Options{HostPort: os.Getenv("LIFERELAY_TEMPORAL_ADDRESS"), Logger: quiet{}})
	require.NoError(b, err)
	defer c.Close()
	queue := "bare-" + uuid.NewString()
	w := worker.New(c, queue, worker.Options{})
	w.RegisterWorkflow(bareWorkflow)
	require.NoError(b, w.Start())
	defer w.Stop()
	var names []string
	for range n {
		run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "bare/" + uuid.NewString(), TaskQueue: queue}, bareWorkflow)
		require.NoError(b, err)
		names = append(names, run.GetID())
	}
	defer func() {
		for _, name := range names {
			_ = c.TerminateWorkflow(ctx, name, "", "done")
		}
	}()
	update := func(name string) error {
		h, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: name, UpdateName: "touch", UpdateID: uuid.NewString(), WaitForStage: client.WorkflowUpdateStageCompleted})
		if err != nil {
			return err
		}
		return h.Get(ctx, nil)
	}
	for _, name := range names {
		require.NoError(b, update(name)) // the first task is not measured
	}
	var done atomic.Int64
	until := time.Now().Add(time.Duration(seconds) * time.Second)
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			for time.Now().Before(until) {
				if err := update(name); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / float64(seconds)
}

type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}
