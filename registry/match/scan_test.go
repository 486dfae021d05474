package match

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhoHasSearchedForLongLetsThoseGoFirstWhoHaveNot(t *testing.T) {
	t.Parallel()
	var of turns
	heavy := of.enter()
	heavy.began = time.Now().Add(time.Hour)
	require.False(t, heavy.step(), "it has not searched for long")
	heavy.began = time.Now().Add(-lightWork)
	require.False(t, heavy.step(), "there is nobody else")

	light := of.enter()
	light.began = time.Now().Add(time.Hour) // however slow the machine is
	require.True(t, heavy.step(), "it waits for the light one, and goes on after a while")
	require.False(t, light.step())
	light.leave()
	require.False(t, heavy.step(), "the light one has gone")

	// Two that have both searched for long do not wait for each other.
	other := of.enter()
	other.began = time.Now().Add(-lightWork)
	require.False(t, other.step())
	require.False(t, heavy.step())
	heavy.leave()
	other.leave()
	require.Zero(t, of.light)
}

func TestPairsOfManyClassesAreKeptAsThoseOfFew(t *testing.T) {
	t.Parallel()
	few, many := newClassPairs(tableOf), newClassPairs(tableOf+1)
	require.Nil(t, many.table, "a table of so many would not fit")
	for i, pair := range [][2]uint32{{0, 0}, {0, 1}, {1, 0}, {tableOf - 1, tableOf - 1}, {7, tableOf - 1}} {
		for _, p := range []*classPairs{&few, &many} {
			require.Zero(t, p.at(pair[0], pair[1]))
			p.set(pair[0], pair[1], newFit(uint8(i%3), 0))
			require.Equal(t, newFit(uint8(i%3), 0), p.at(pair[0], pair[1]))
		}
	}
}
