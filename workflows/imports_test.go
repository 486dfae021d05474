package workflows

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A batch is done chunk by chunk, and a large one goes on in a new run before its history grows long.
func TestABatchIsDoneChunkByChunk(t *testing.T) {
	for chunks, runs := range map[int]int{1: 1, chunksPerRun: 1, chunksPerRun + 1: 2, 2*chunksPerRun + 5: 3} {
		m := newMemory(clock("2026-03-02 10:00"), "", struct{}{})
		m.chunks = chunks
		p := &play{memory: m, t: t, protocol: Import, now: m.opened}
		p.until("2026-03-03 00:00")
		require.Equal(t, chunks, p.calls["ImportChunk"])
		require.Len(t, p.runs, runs)
	}
}

// Somebody undoes a batch while its commit is told that it has come to its end: the undo is not lost with the fact.
func TestAFactThatComesWithABatchsEndIsHeard(t *testing.T) {
	m := newMemory(clock("2026-03-02 10:00"), "", struct{}{})
	m.chunks = 1
	p := &play{memory: m, t: t, protocol: Import, now: m.opened}
	m.lastChunk = func() {
		m.lastChunk = nil
		m.chunks = 2 // of the undo
		p.env.SignalWorkflow(factSignal, Fact{Kind: "undo"})
	}
	p.until("2026-03-03 00:00")
	require.Equal(t, 3, p.calls["ImportChunk"])
	require.Len(t, p.runs, 1)
}
