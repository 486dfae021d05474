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
	heavy.step() // nobody waits
	heavy.began = time.Now().Add(-lightWork)
	began := time.Now()
	heavy.step()
	require.Less(t, time.Since(began), longest, "there is nobody else")

	light := of.enter()
	began = time.Now()
	heavy.step()
	require.GreaterOrEqual(t, time.Since(began), longest, "it waits for the light one, and goes on after a while")
	light.step()
	light.leave()
	began = time.Now()
	heavy.step()
	require.Less(t, time.Since(began), longest, "the light one has gone")

	// Two that have both searched for long do not wait for each other.
	other := of.enter()
	other.began = time.Now().Add(-lightWork)
	other.step()
	began = time.Now()
	heavy.step()
	require.Less(t, time.Since(began), longest)
	heavy.leave()
	other.leave()
	require.Zero(t, of.light)
}
