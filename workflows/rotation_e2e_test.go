package workflows_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// ownKeys is a desk whose register has keys that the test may change.
func ownKeys(t testing.TB, o workflowstest.Options) *workflowstest.Desk {
	t.Helper()
	var err error
	o.Register, err = seal.ReadFile(registrytest.KeyFile(t))
	require.NoError(t, err)
	return workflowstest.NewWith(t, o)
}

// registered enters volunteers and returns their registrations.
func registered(d *workflowstest.Desk, n int) []uuid.UUID {
	d.T.Helper()
	var list []forms.Registration
	for i := range n {
		list = append(list, volunteer(i+1, today(), ""))
	}
	entries, err := d.Store.Register(context.Background(), d.Registrar, uuid.NewString(), registry.EntryForm{AcceptWarnings: true, Forms: list})
	require.NoError(d.T, err)
	var out []uuid.UUID
	for _, e := range entries {
		require.Equal(d.T, "created", e.Status, "%v", e.Problems)
		out = append(out, e.Donors[0].ID)
	}
	return out
}

func rotation(d *workflowstest.Desk, id uuid.UUID) registry.RotationView {
	d.T.Helper()
	list, err := d.Store.ListRotations(context.Background(), registry.Operator("test"))
	require.NoError(d.T, err)
	for _, r := range list {
		if r.ID == id {
			return r
		}
	}
	require.Fail(d.T, "there is no such rotation")
	return registry.RotationView{}
}

// Both keys are rotated at once, while people are looked up and entered, and while workers come and go.
func TestKeysAreRotatedWhileTheRegisterIsAtWork(t *testing.T) {
	t.Parallel()
	d := ownKeys(t, workflowstest.Options{Chunk: 3})
	ctx, operator := context.Background(), registry.Operator("test")
	const people = 40
	donors := registered(d, people)

	d.StopWorker()
	working, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	looks := 0
	beside.Go(func() {
		for n := 0; working.Err() == nil; n++ {
			v, err := d.Store.ShowDonor(ctx, d.Coordinator, donors[n%people])
			if assert.NoError(t, err) {
				assert.NotEmpty(t, v.Identity.Name.Display)
			}
			entries, err := d.Store.Register(ctx, d.Registrar, uuid.NewString(), registry.EntryForm{AcceptWarnings: true, Forms: []forms.Registration{volunteer(n%people+1, today(), "")}})
			if assert.NoError(t, err) {
				assert.Equal(t, "unchanged", entries[0].Status)
			}
			looks++
		}
	})
	var rotations []registry.RotationView
	for _, kind := range []seal.Kind{seal.KEK, seal.IndexKey} {
		r, _, err := d.Store.StartRotation(ctx, operator, kind)
		require.NoError(t, err)
		rotations = append(rotations, r)
	}
	for range 3 { // a worker did this much, and died before it could say so
		_, err := d.Store.RotateChunk(ctx, registry.System("test"), rotations[0].ID)
		require.NoError(t, err)
	}
	d.StartWorker()
	d.Eventually(func() bool { return rotation(d, rotations[1].ID).Changed > 0 }, "the index is being rotated")
	d.StartWorker() // another in its place
	for _, r := range rotations {
		d.Eventually(func() bool { return rotation(d, r.ID).FinishedAt != nil }, "the rotation is finished")
	}
	stop()
	beside.Wait()
	require.Positive(t, looks)
	for _, kind := range []seal.Kind{seal.KEK, seal.IndexKey} {
		_, err := d.Store.RetireKey(ctx, operator, kind, 1)
		require.NoError(t, err)
	}
	keys, err := d.Store.ListKeys(ctx, operator)
	require.NoError(t, err)
	require.Len(t, keys, 2)
	for n, donor := range donors {
		v, err := d.Store.ShowDonor(ctx, d.Coordinator, donor)
		require.NoError(t, err)
		require.NotEmpty(t, v.Identity.Documents[0].Number.Display, n)
	}
	// Whoever asks the workflow hears the same.
	value, err := behind(t).QueryWorkflow(ctx, "rotation/"+rotations[0].ID.String(), "", "progress")
	require.NoError(t, err)
	require.NotNil(t, value)
}

// A rotation whose workflow is lost with its server is begun again by the same command.
func TestARotationThatIsLostIsBegunAgain(t *testing.T) {
	t.Parallel()
	d := ownKeys(t, workflowstest.Options{NoWorker: true})
	ctx := context.Background()
	registered(d, 2)
	r, _, err := d.Store.StartRotation(ctx, registry.Operator("test"), seal.KEK)
	require.NoError(t, err)
	name := "rotation/" + r.ID.String()
	look := behind(t)
	d.Eventually(func() bool { _, err := look.DescribeWorkflowExecution(ctx, name, ""); return err == nil }, "it runs")
	require.NoError(t, look.TerminateWorkflow(ctx, name, "", "lost"))
	again, _, err := d.Store.StartRotation(ctx, registry.Operator("test"), seal.KEK)
	require.NoError(t, err)
	require.Equal(t, r.ID, again.ID)
	d.StartWorker()
	d.Eventually(func() bool { return rotation(d, r.ID).FinishedAt != nil }, "the rotation is finished")
	require.WithinDuration(t, time.Now(), *rotation(d, r.ID).FinishedAt, time.Minute)
	d.Eventually(func() bool {
		return running(t, look, registry.RotationProtocol, r.ID).GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	}, "its workflow is over")
}
