package registry_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
)

func TestALookTellsWhenOneLookedBeforeAndIsNobodyElses(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	at, err := c.Store.LookedAt(ctx, c.Coordinator, c.id)
	require.NoError(t, err)
	require.True(t, at.IsZero())
	first, err := c.Store.LookAtCase(ctx, c.Coordinator, c.id)
	require.NoError(t, err)
	require.Nil(t, first.Since)
	second, err := c.Store.LookAtCase(ctx, c.Coordinator, c.id)
	require.NoError(t, err)
	require.Nil(t, second.Since, "the same visit")
	require.True(t, second.LookedAt.After(first.LookedAt))
	c.sql(`UPDATE case_looks SET looked_at = looked_at - interval '31 minutes'`)
	for range 2 { // and who loads the page again still sees what is new
		third, err := c.Store.LookAtCase(ctx, c.Coordinator, c.id)
		require.NoError(t, err)
		require.Equal(t, second.LookedAt.Add(-31*time.Minute), *third.Since)
	}
	second, err = c.Store.LookAtCase(ctx, c.Coordinator, c.id)
	require.NoError(t, err)
	at, err = c.Store.LookedAt(ctx, c.Coordinator, c.id)
	require.NoError(t, err)
	require.Equal(t, second.LookedAt, at)
	at, err = c.Store.LookedAt(ctx, c.CityCoordinator, c.id)
	require.NoError(t, err)
	require.True(t, at.IsZero(), "a colleague's look is their own")
	// Both sides look; who has nothing to do with the case does not.
	_, err = c.Store.LookAtCase(ctx, c.TransplantDoctor, c.id)
	require.NoError(t, err)
	_, err = c.Store.LookAtCase(ctx, c.OtherDoctor, c.id)
	requireCode(t, err, registry.NotFound, "case_not_found")
	_, err = c.Store.LookAtCase(ctx, system, c.id)
	requireCode(t, err, registry.Unsigned, "not_signed_in")
}
