package registry_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/seal"
)

func TestOnlyWhatShowsNobodyInClearDoesNotWaitForTheDisk(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	c.sql(`CREATE FUNCTION how_committed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.rule := current_setting(''synchronous_commit''); RETURN NEW; END'`)
	c.sql(`CREATE TRIGGER how_committed BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION how_committed()`)
	waits := func(act string, do func() error) []string {
		t.Helper()
		before := time.Now()
		_ = do()
		how := values[string](c.house, `SELECT DISTINCT rule FROM audit WHERE act = $1 AND recorded_at >= $2`, act, before)
		require.NotEmpty(t, how, act)
		return how
	}
	work := func() error {
		_, err := c.Store.ShowWorkPage(ctx, c.Coordinator, registry.WorkFilter{Tab: registry.WorkOverdue, Step: "stemcell.remobilisation"})
		return err
	}
	visit := func() error {
		_, _, err := c.Store.VisitCase(ctx, c.Coordinator, c.id)
		return err
	}
	require.Equal(t, []string{"off"}, waits("ShowWorkPage", work))
	require.Equal(t, []string{"off"}, waits("VisitCase", visit))
	require.Equal(t, []string{"on"}, waits("AddAttempt", func() error {
		_, err := c.Store.AddAttempt(ctx, c.Coordinator, c.id, forms.ContactAttempt{At: time.Now().Add(-time.Hour), Channel: "phone", Whom: "donor", Result: "no_answer", Note: seal.NoteOf("晚上再打")})
		return err
	}))
	require.Equal(t, []string{"on"}, waits("VisitCase", visit), "the words of a note are on the page")
	require.Equal(t, []string{"on"}, waits("VisitCase", func() error {
		_, _, err := c.Store.VisitCase(ctx, c.OtherDoctor, c.id)
		require.Error(t, err)
		return err
	}), "who was turned away")
}
