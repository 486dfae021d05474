package workflows_test

import (
	"context"
	"encoding/json"
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

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// BenchmarkCasework measures decisions through cases beside the least that such a decision could cost: a bare Temporal
// update whose handler runs one empty local activity, on the same server, with as many workflows at once.
//
// A decision here is a coordinator's "needs time": the answer is stored, the case moves, and the next question is asked.
func BenchmarkCasework(b *testing.B) {
	for _, cases := range []int{10, 40} {
		b.Run(fmt.Sprintf("cases=%d", cases), func(b *testing.B) {
			d := workflowstest.New(b)
			ids := manyCases(b, d, cases)
			const seconds = 8
			for b.Loop() {
				// One after the other and again, so that a noisy neighbour does not decide the ratio.
				var ours, bare float64
				for range 2 {
					bare += bareRate(b, cases, seconds)
					ours += decisionRate(b, d, ids, seconds)
				}
				b.ReportMetric(ours/2, "decisions/s")
				b.ReportMetric(bare/2, "bare-updates/s")
				b.ReportMetric(ours/bare, "ratio")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// manyCases opens as many stem-cell cases, each waiting for its first call.
func manyCases(b *testing.B, d *workflowstest.Desk, n int) []uuid.UUID {
	donors := listed(b, d, n, gl)
	var ids []uuid.UUID
	for _, donor := range donors {
		_, cases := requested(b, d, d.TransplantDoctor, donor)
		ids = append(ids, cases[0])
	}
	return ids
}

func decisionRate(b *testing.B, d *workflowstest.Desk, cases []uuid.UUID, seconds int) float64 {
	ctx := context.Background()
	body, err := json.Marshal(map[string]any{"outcome": "needs_time"})
	require.NoError(b, err)
	var done atomic.Int64
	until := time.Now().Add(time.Duration(seconds) * time.Second)
	var all sync.WaitGroup
	for _, id := range cases {
		all.Go(func() {
			for time.Now().Before(until) {
				tasks, err := d.Store.ListTasks(ctx, d.Coordinator, registry.TaskFilter{CaseID: id, Limit: 1})
				if err != nil || len(tasks) == 0 {
					continue
				}
				p, err := d.Store.ProposeAnswer(ctx, d.Coordinator, registry.Answer{TaskID: tasks[0].ID, Command: uuid.NewString(), Form: body})
				if err == nil {
					_, err = d.Client.Answer(ctx, p)
				}
				if err != nil {
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
