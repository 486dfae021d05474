package workflows

import (
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/registry"
)

// Import commits a batch of forms, or undoes it, in chunks. What is done is in the rows: a chunk that runs twice does
// nothing the second time, and whoever takes over after a crash goes on where the rows end.
func Import(ctx workflow.Context, in CaseInput) error {
	// A fact (start over, undo, cancel) is heard by looking at the batch, which every chunk does.
	workflow.Go(ctx, func(ctx workflow.Context) {
		var f Fact
		for workflow.GetSignalChannel(ctx, factSignal).Receive(ctx, &f) {
		}
	})
	for n := 1; ; n++ {
		chunk, err := nextChunk(ctx, in.CaseID)
		if err != nil {
			return err
		}
		if chunk.Finished {
			return nil
		}
		if n == chunksPerRun {
			return workflow.NewContinueAsNewError(ctx, Import, in)
		}
	}
}

// chunksPerRun keeps the history of a migration of a million rows short.
const chunksPerRun = 200

const (
	chunkLimit  = 10 * time.Minute
	searchLimit = 30 * time.Minute
)

func nextChunk(ctx workflow.Context, batch uuid.UUID) (registry.Chunk, error) {
	return far(ctx, chunkLimit, records.ImportChunk, activities.Batch{BatchID: batch})
}
