package registry_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
)

func TestWhoIsKnownIsNobodyUntilTheirActHasAskedAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, change := range map[string]string{
		"signed out":         `UPDATE sessions SET revoked_at = now() WHERE id = $1`,
		"expired":            `UPDATE sessions SET expires_at = last_seen_at - interval '1 second' WHERE id = $1`,
		"idle":               `UPDATE sessions SET last_seen_at = last_seen_at - interval '2 hours' WHERE id = $1`,
		"the account ended":  `UPDATE staff SET active = false FROM sessions t WHERE t.staff_id = staff.id AND t.id = $1`,
		"the office ended":   `UPDATE organisations o SET active = false FROM staff s, sessions t WHERE o.id = s.organisation_id AND t.staff_id = s.id AND t.id = $1`,
		"elsewhere now":      `UPDATE staff SET organisation_id = (SELECT id FROM organisations WHERE kind = 'laboratory' LIMIT 1) FROM sessions t WHERE t.staff_id = staff.id AND t.id = $1`,
		"called otherwise":   `UPDATE staff SET display_name = 'Somebody else' FROM sessions t WHERE t.staff_id = staff.id AND t.id = $1`,
		"another language":   `UPDATE staff SET locale = 'en' FROM sessions t WHERE t.staff_id = staff.id AND t.id = $1`,
		"a new password due": `UPDATE staff SET must_change_password = true FROM sessions t WHERE t.staff_id = staff.id AND t.id = $1`,
		"another factor":     `UPDATE sessions SET factor = 'totp' WHERE id = $1`,
		"somebody else's":    `UPDATE sessions SET staff_id = (SELECT id FROM staff WHERE login = 'registrar') WHERE id = $1`,
		"an emergency runs": `INSERT INTO emergency_access (id, staff_id, organisation_id, office_region, registration_id, region, classes, category, reason_sealed, opened_at, until, review_due)
			SELECT gen_random_uuid(), s.id, s.organisation_id, g.region, g.id, g.region, '{identity}', 'accident', '', now(), now() + interval '1 hour', now() + interval '7 days' FROM sessions t JOIN staff s ON s.id = t.staff_id, registrations g WHERE t.id = $1 LIMIT 1`,
		"nothing": `UPDATE sessions SET kind = kind WHERE id = $1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.donor(1)
			session, err := h.signIn("coordinator", registrytest.Password)
			require.NoError(t, err)
			_, ok := h.Store.Known(session.Token + "x")
			require.False(t, ok)
			known, ok := h.Store.Known(session.Token)
			require.True(t, ok)
			require.False(t, known.Proven())
			h.sql(change, known.Session)
			looked := func() int {
				return value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'ShowWorkPage'`)
			}
			page, err := h.Store.ShowWorkPage(ctx, known.Actor, registry.WorkFilter{})
			caller, again := h.Store.Authenticate(ctx, session.Token)
			if name == "nothing" {
				require.NoError(t, err)
				require.NoError(t, again)
				require.True(t, known.Proven())
				require.Equal(t, caller.Staff(), known.Staff())
				require.Equal(t, 1, looked())
				return
			}
			requireCode(t, err, registry.Unsigned, "not_signed_in")
			require.False(t, known.Proven())
			require.Equal(t, registry.WorkPage{}, page)
			require.Zero(t, looked(), "nobody has looked")
			if again == nil { // still somebody, who is known as they are now
				known, ok = h.Store.Known(session.Token)
				require.True(t, ok)
				require.Equal(t, caller.Name, known.Name)
				_, err = h.Store.ShowWorkPage(ctx, known.Actor, registry.WorkFilter{})
				require.NoError(t, err)
				require.True(t, known.Proven())
			}
		})
	}
}

func TestNobodyIsKnownForLongerThanAMinuteNorAProgramAtAll(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	at := newClock()
	h := newHouse(t, registry.Options{Now: at.now})
	session, err := h.signIn("coordinator", registrytest.Password)
	require.NoError(t, err)
	at.pass(59 * time.Second)
	_, ok := h.Store.Known(session.Token)
	require.True(t, ok)
	at.pass(time.Second)
	_, ok = h.Store.Known(session.Token)
	require.False(t, ok, "it is written down once a minute that a session is used")
	_, err = h.Store.Authenticate(ctx, session.Token)
	require.NoError(t, err)
	_, ok = h.Store.Known(session.Token)
	require.True(t, ok)
	bearer, err := h.Store.SignIn(ctx, "coordinator", registrytest.Password, registry.BearerSession, time.Hour, registry.From{})
	require.NoError(t, err)
	_, err = h.Store.Authenticate(ctx, bearer.Token)
	require.NoError(t, err)
	_, ok = h.Store.Known(bearer.Token)
	require.False(t, ok)
}
