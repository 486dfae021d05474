package workflows

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
)

// A rotation is done chunk by chunk, a large one goes on in a new run, and whoever asks hears how far it is.
func TestARotationIsDoneChunkByChunk(t *testing.T) {
	for chunks, runs := range map[int]int{1: 1, chunksPerRun: 1, chunksPerRun + 1: 2, 2*chunksPerRun + 5: 3} {
		m := newMemory(clock("2026-03-02 10:00"), "", struct{}{})
		m.chunks = chunks
		p := &play{memory: m, t: t, protocol: Rotation, now: m.opened}
		p.until("2026-03-03 00:00")
		require.Equal(t, chunks, p.calls["RotateChunk"])
		require.Len(t, p.runs, runs)
		value, err := p.env.QueryWorkflow(progressQuery)
		require.NoError(t, err)
		var last registry.Chunk
		require.NoError(t, value.Get(&last))
		require.True(t, last.Finished)
	}
}

// Somebody begins it again while it comes to its end: it looks once more.
func TestAFactThatComesWithARotationsEndIsHeard(t *testing.T) {
	m := newMemory(clock("2026-03-02 10:00"), "", struct{}{})
	m.chunks = 1
	p := &play{memory: m, t: t, protocol: Rotation, now: m.opened}
	m.lastChunk = func() {
		m.lastChunk = nil
		p.env.SignalWorkflow(factSignal, Fact{Kind: "begin"})
	}
	p.until("2026-03-03 00:00")
	require.Equal(t, 2, p.calls["RotateChunk"])
	require.Len(t, p.runs, 1)
}
