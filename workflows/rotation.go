package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/registry"
)

// progressQuery asks a rotation how far it is.
const progressQuery = "progress"

// Rotation takes the register's rows over to a new key, in chunks. What is done is in the rows: a chunk that runs twice
// does nothing the second time, and whoever takes over after a crash goes on where the rows end.
func Rotation(ctx workflow.Context, in CaseInput) error {
	var chunk registry.Chunk
	if err := workflow.SetQueryHandler(ctx, progressQuery, func() (registry.Chunk, error) { return chunk, nil }); err != nil {
		return err
	}
	facts := workflow.GetSignalChannel(ctx, factSignal)
	for n := 1; ; n++ {
		// Whoever begins a rotation again finds it under way, so a fact says nothing.
		for facts.ReceiveAsync(new(Fact)) {
			continue
		}
		var err error
		if chunk, err = far(ctx, chunkLimit, records.RotateChunk, activities.Rotation{RotationID: in.CaseID}); err != nil {
			return err
		}
		if chunk.Finished && facts.Len() == 0 {
			return nil
		}
		if n == chunksPerRun {
			return workflow.NewContinueAsNewError(ctx, Rotation, in)
		}
	}
}
