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
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows"
)

// Desk is a house with its protocols running.
type Desk struct {
	*registrytest.House
	T        testing.TB
	Client   *workflows.Client
	Queue    string
	Database string // the register's address, for a test that lets its clock run
	worker   *workflows.Worker
	relay    context.CancelFunc
	done     sync.WaitGroup
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

// Options are what a desk is made with. The zero value is right for most tests.
type Options struct {
	Keys     *seal.Keyring    // what is handed to the server is sealed with; the register's own when nil
	Register *seal.Keyring    // the register's, of registrytest.KeyFile; registrytest.Keys when nil
	Now      func() time.Time // the register's clock; the machine's when nil
	Chunk    int              // rows of a batch that are done at once; the register's choice when zero
	NoWorker bool             // the test starts its own
}

// New gives a furnished house with a worker and a relay.
func New(t testing.TB) *Desk {
	t.Helper()
	return NewWith(t, Options{})
}

// NewWith is New with options.
func NewWith(t testing.TB, o Options) *Desk {
	t.Helper()
	address := TemporalAddress(t)
	if o.Keys == nil {
		o.Keys = registrytest.Keys()
	}
	if o.Register == nil {
		o.Register = registrytest.Keys()
	}
	database := registrytest.NewHouseDatabase(t)
	store, err := registry.Open(context.Background(), registry.Options{URL: database, Keys: o.Register, MaxConnections: 8, Now: o.Now, ImportChunk: o.Chunk, Log: registrytest.Log(t)})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	d := &Desk{House: registrytest.OpenHouse(t, store), T: t, Queue: "test-" + uuid.NewString(), Database: database}
	d.Client, err = workflows.Dial(workflows.Options{Address: address, Keys: o.Keys, TaskQueue: d.Queue, Log: registrytest.Log(t)})
	require.NoError(t, err)
	if !o.NoWorker {
		d.StartWorker()
	}
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
	d.StopWorker()
	d.worker = d.StartWorkerAs(workflows.WorkerOptions{Unversioned: true})
}

// StartWorkerAs starts one more worker, which the test stops itself.
func (d *Desk) StartWorkerAs(o workflows.WorkerOptions) *workflows.Worker {
	d.T.Helper()
	w := workflows.NewWorker(d.Client, d.Store, o)
	require.NoError(d.T, w.Start())
	return w
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
	if ok() {
		return
	}
	require.Eventually(d.T, ok, time.Minute, 25*time.Millisecond, what)
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

// Propose stores an answer to a task and does not bring it to the desk.
func (d *Desk) Propose(by registry.Actor, task registry.TaskView, form any) (registry.Proposed, error) {
	d.T.Helper()
	body, err := json.Marshal(form)
	require.NoError(d.T, err)
	return d.Store.ProposeAnswer(context.Background(), by, registry.Answer{TaskID: task.ID, Command: uuid.NewString(), Form: body})
}

// TryAnswer answers a task and returns what came of it.
func (d *Desk) TryAnswer(by registry.Actor, task registry.TaskView, form any) (registry.Moved, error) {
	d.T.Helper()
	p, err := d.Propose(by, task, form)
	if err != nil {
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
