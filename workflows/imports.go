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
	facts := workflow.GetSignalChannel(ctx, factSignal)
	for n := 1; ; n++ {
		// Every chunk looks at the batch, so a fact (undo, take up again) says nothing but: look once more.
		for facts.ReceiveAsync(new(Fact)) {
			continue
		}
		chunk, err := nextChunk(ctx, in.CaseID)
		if err != nil {
			return err
		}
		if chunk.Finished && facts.Len() == 0 {
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
