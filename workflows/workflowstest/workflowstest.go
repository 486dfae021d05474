// Package workflowstest gives a test a desk of its own: a register, and a worker and a relay on a real Temporal server,
// with verbs that read like what people do.
package workflowstest

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/workflows"
)

// Desk is a house with its protocols running.
type Desk struct {
	*registrytest.House
	T      testing.TB
	Client *workflows.Client
	Queue  string
	worker *workflows.Worker
	relay  context.CancelFunc
	done   sync.WaitGroup
}

// TemporalAddress is the server that tests use; see registrytest.DatabaseURL.
func TemporalAddress(t testing.TB) string {
	t.Helper()
	address := os.Getenv("LIFERELAY_TEMPORAL_ADDRESS")
	if address == "" {
		if os.Getenv("LIFERELAY_TEST_REQUIRE") != "" {
			t.Fatal("LIFERELAY_TEMPORAL_ADDRESS is not set")
		}
		t.Skip("needs a Temporal server: run make test, or set LIFERELAY_TEMPORAL_ADDRESS (devstack up prints one)")
	}
	return address
}

// New gives a furnished house with a worker and a relay.
func New(t testing.TB) *Desk {
	t.Helper()
	d := &Desk{House: registrytest.NewHouse(t), T: t, Queue: "test-" + uuid.NewString()}
	var err error
	d.Client, err = workflows.Dial(workflows.Options{Address: TemporalAddress(t), Keys: registrytest.Keys(), TaskQueue: d.Queue, Log: registrytest.Log(t)})
	require.NoError(t, err)
	d.StartWorker()
	d.StartRelay()
	t.Cleanup(func() {
		d.StopRelay()
		d.StopWorker()
		d.Client.Close()
	})
	return d
}

// StartWorker lets the protocols' work be done.
func (d *Desk) StartWorker() {
	d.T.Helper()
	d.worker = workflows.NewWorker(d.Client, d.Store, workflows.WorkerOptions{Unversioned: true})
	require.NoError(d.T, d.worker.Start())
}

// StopWorker lets nobody do it.
func (d *Desk) StopWorker() {
	if d.worker != nil {
		d.worker.Stop()
		d.worker = nil
	}
}

// StartRelay lets facts reach their cases.
func (d *Desk) StartRelay() {
	ctx, cancel := context.WithCancel(context.Background())
	d.relay = cancel
	relay := &workflows.Relay{Store: d.Store, Client: d.Client, Log: registrytest.Log(d.T)}
	d.done.Go(func() { relay.Run(ctx) })
}

// StopRelay keeps facts in the outbox.
func (d *Desk) StopRelay() {
	if d.relay != nil {
		d.relay()
		d.done.Wait()
		d.relay = nil
	}
}

// Eventually waits until ok is true.
func (d *Desk) Eventually(ok func() bool, what string) {
	d.T.Helper()
	require.Eventually(d.T, ok, 30*time.Second, 25*time.Millisecond, what)
}

// Task waits for the open task of a step that an actor may answer.
func (d *Desk) Task(by registry.Actor, step string, in ...uuid.UUID) registry.TaskView {
	d.T.Helper()
	var found registry.TaskView
	d.Eventually(func() bool {
		f := registry.TaskFilter{Step: step}
		if len(in) > 0 {
			f.CaseID = in[0]
		}
		tasks, err := d.Store.ListTasks(context.Background(), by, f)
		require.NoError(d.T, err)
		for _, t := range tasks {
			if t.Mine {
				found = t
				return true
			}
		}
		return false
	}, "an open task "+step+" for "+by.Name)
	return found
}

// TryAnswer answers a task and returns what came of it.
func (d *Desk) TryAnswer(by registry.Actor, task registry.TaskView, form any) (registry.Moved, error) {
	d.T.Helper()
	body, err := json.Marshal(form)
	require.NoError(d.T, err)
	p, err := d.Store.ProposeAnswer(context.Background(), by, registry.Answer{TaskID: task.ID, Command: uuid.NewString(), Form: body})
	if err != nil || p.Moved != nil {
		return registry.Moved{}, err
	}
	return d.Client.Answer(context.Background(), p)
}

// Answer waits for a step's task and answers it.
func (d *Desk) Answer(by registry.Actor, step string, form map[string]any, in ...uuid.UUID) registry.Moved {
	d.T.Helper()
	moved, err := d.TryAnswer(by, d.Task(by, step, in...), form)
	require.NoError(d.T, err, step)
	return moved
}

// Case waits until a case satisfies a condition, and returns it.
func (d *Desk) Case(by registry.Actor, id uuid.UUID, is func(registry.CaseView) bool) registry.CaseView {
	d.T.Helper()
	var v registry.CaseView
	d.Eventually(func() bool {
		var err error
		v, err = d.Store.ShowCase(context.Background(), by, id)
		require.NoError(d.T, err)
		return is(v)
	}, "the case "+id.String())
	return v
}

// Pass lets time pass for one case.
func (d *Desk) Pass(protocol registry.Protocol, id uuid.UUID, length time.Duration) {
	d.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(d.T, d.Client.FastForward(ctx, protocol, id, length))
}
