package registry_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/registrytest"
)

func (h *house) signIn(login, password string) (registry.Session, error) {
	return h.Store.SignIn(context.Background(), login, password, registry.BrowserSession, 0, registry.From{})
}

func TestThePasswordOpensASessionAndNothingElseDoes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	session, err := h.signIn("Registrar", registrytest.Password)
	require.NoError(t, err, "logins have no case")
	require.Equal(t, h.Registrar, session.Actor)
	caller, err := h.Store.Authenticate(ctx, session.Token)
	require.NoError(t, err)
	require.Equal(t, h.Registrar, caller.Actor)
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM sessions WHERE token_hash = $1`, []byte(session.Token)), "the token itself is kept nowhere")

	_, wrong := h.signIn("registrar", registrytest.Password+" ")
	_, nobody := h.signIn("nobody", registrytest.Password)
	requireCode(t, wrong, registry.Unsigned, "signin_failed")
	require.Equal(t, wrong, nobody, "a login that nobody has and a wrong password are alike")
	require.Contains(t, value[string](h, `SELECT password_hash FROM staff WHERE login = 'registrar'`), "$argon2id$v=19$m=65536,t=2,p=1$")
	stored := value[[]byte](h, `SELECT token_hash FROM sessions`)
	for _, token := range []string{"", "x", session.Token + "x", session.Token[1:], hex.EncodeToString(stored), string(stored), "' OR true --"} {
		_, err := h.Store.Authenticate(ctx, token)
		requireCode(t, err, registry.Unsigned, "not_signed_in")
	}
}

func TestALoginIsLockedAfterEightFailuresForAQuarterOfAnHour(t *testing.T) {
	t.Parallel()
	at := newClock()
	h := newHouse(t, registry.Options{Now: at.now})
	cheap, err := argon2id.CreateHash(registrytest.Password, &argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	require.NoError(t, err)
	h.sql(`UPDATE staff SET password_hash = $1`, cheap)
	for range 7 {
		_, err := h.signIn("registrar", "wrong")
		requireCode(t, err, registry.Unsigned, "signin_failed")
	}
	_, err = h.signIn("registrar", registrytest.Password)
	require.NoError(t, err, "a success forgives what was before")
	for range 8 {
		_, err := h.signIn("registrar", "wrong")
		requireCode(t, err, registry.Unsigned, "signin_failed")
	}
	_, err = h.signIn("registrar", registrytest.Password)
	requireCode(t, err, registry.Locked, "signin_locked")
	var own *registry.Error
	require.ErrorAs(t, err, &own)
	require.InDelta(t, 15*time.Minute, own.RetryAfter, float64(time.Second))
	_, err = h.signIn("coordinator", registrytest.Password)
	require.NoError(t, err, "one login's lock is not another's")
	at.pass(14 * time.Minute)
	_, err = h.signIn("registrar", registrytest.Password)
	requireCode(t, err, registry.Locked, "signin_locked")
	at.pass(2 * time.Minute)
	_, err = h.signIn("registrar", registrytest.Password)
	require.NoError(t, err)
}

func TestASessionEndsWithItsTimeItsRevocationAndItsPersonsLeaving(t *testing.T) {
	t.Parallel()
	at := newClock()
	h := newHouse(t, registry.Options{Now: at.now})
	ctx := context.Background()
	open := func(kind registry.SessionKind, life time.Duration) registry.Session {
		s, err := h.Store.SignIn(ctx, "registrar", registrytest.Password, kind, life, registry.From{})
		require.NoError(t, err)
		return s
	}
	good := func(s registry.Session) bool {
		_, err := h.Store.Authenticate(ctx, s.Token)
		if err != nil {
			requireCode(t, err, registry.Unsigned, "not_signed_in")
		}
		return err == nil
	}
	browser, bearer := open(registry.BrowserSession, 90*24*time.Hour), open(registry.BearerSession, 24*time.Hour)
	for range 13 {
		at.pass(55 * time.Minute)
		require.True(t, good(browser) && good(bearer))
	}
	at.pass(10 * time.Minute)
	require.False(t, good(browser), "a browser's is a working day, whatever it asks for")
	idle := open(registry.BrowserSession, 0)
	at.pass(59 * time.Minute)
	require.True(t, good(idle))
	at.pass(61 * time.Minute)
	require.False(t, good(idle), "nobody has looked at it for an hour")
	require.True(t, good(bearer))
	at.pass(12 * time.Hour)
	require.False(t, good(bearer))

	one, two := open(registry.BrowserSession, 0), open(registry.BrowserSession, 0)
	require.NoError(t, h.Store.SignOut(ctx, one.Token, ""))
	require.NoError(t, h.Store.SignOut(ctx, "unknown", ""))
	require.False(t, good(one))
	require.True(t, good(two), "signing out is one session's")
	h.sql(`UPDATE staff SET active = false WHERE login = 'registrar'`)
	require.False(t, good(two))
	_, err := h.signIn("registrar", registrytest.Password)
	requireCode(t, err, registry.Unsigned, "signin_failed")
	_, err = h.Store.ActorByLogin(ctx, "registrar")
	requireCode(t, err, registry.Unsigned, "not_signed_in")
	_, err = h.Store.ActorOf(ctx, h.Registrar.Staff())
	requireCode(t, err, registry.Unsigned, "not_signed_in")
	h.sql(`UPDATE staff SET active = true WHERE login = 'registrar'`)
	require.True(t, good(two))
	h.sql(`UPDATE organisations SET active = false WHERE id = $1`, h.County.ID)
	require.False(t, good(two))
}

// may tells whether an actor may list donors through a store.
func may(t testing.TB, store *registry.Store, actor registry.Actor) bool {
	t.Helper()
	_, err := store.ListDonors(context.Background(), actor, registry.DonorFilter{})
	if err != nil {
		requireCode(t, err, registry.Denied, "denied")
	}
	return err == nil
}

func TestAGrantTakesEffectAndEndsWithTheNextActOfEveryProcess(t *testing.T) {
	t.Parallel()
	at := newClock()
	h := newHouse(t, registry.Options{Now: at.now})
	ctx := context.Background()
	operator := registry.Operator("test")
	other := h.open(registry.Options{Now: at.now})
	both := func(want bool, when string) {
		t.Helper()
		require.Equal(t, want, may(t, h.Store, h.Technician), when)
		require.Equal(t, want, may(t, other, h.Technician), "%s, elsewhere", when)
	}
	grant := func(until time.Time) {
		t.Helper()
		_, err := h.Store.GrantRole(ctx, operator, registry.GrantForm{Login: "technician", Role: policy.Coordinator, Region: "320106", Until: until})
		require.NoError(t, err)
	}
	both(false, "before the grant")
	grant(at.now().Add(time.Hour))
	both(true, "after the grant")
	at.pass(59 * time.Minute)
	both(true, "a minute before its end")
	at.pass(time.Minute)
	both(false, "at its end, without anybody changing a row")
	grant(at.now().Add(time.Hour))
	both(true, "granted again")
	require.NoError(t, h.Store.RevokeRole(ctx, operator, "Technician", policy.Coordinator, "320106"))
	both(false, "revoked")
	requireCode(t, h.Store.RevokeRole(ctx, operator, "technician", policy.Coordinator, "320106"), registry.NotFound, "grant_not_found")
	grant(at.now().Add(time.Hour))
	both(true, "granted a third time")
	h.sql(`UPDATE staff SET active = false WHERE login = 'technician'`)
	both(false, "has left")
	// A longer grant beside a shorter one holds on.
	h.sql(`UPDATE staff SET active = true WHERE login = 'technician'`)
	grant(at.now().Add(3 * time.Hour))
	at.pass(2 * time.Hour)
	both(true, "the longer grant")
	at.pass(time.Hour)
	both(false, "after the longer grant")
}

func TestARoleRevokedWhileAnActIsUnderWayHoldsForNoLaterOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	operator := registry.Operator("test")
	stop := make(chan struct{})
	revoked := make(chan struct{})
	errs := make(chan error, 4)
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					errs <- nil
					return
				default:
				}
				after := false
				select {
				case <-revoked:
					after = true
				default:
				}
				_, err := h.Store.ListDonors(ctx, h.Coordinator, registry.DonorFilter{})
				if after && registry.KindOf(err) != registry.Denied {
					errs <- fmt.Errorf("an act that began after the revocation: %w", err)
					return
				}
			}
		}()
	}
	require.NoError(t, h.Store.RevokeRole(ctx, operator, "coordinator", policy.Coordinator, "320106"))
	close(revoked)
	before := value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'ListDonors' AND NOT allowed`)
	require.Eventually(t, func() bool {
		return value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'ListDonors' AND NOT allowed`) > before+12
	}, 20*time.Second, 10*time.Millisecond)
	close(stop)
	for range 4 {
		require.NoError(t, <-errs)
	}
}

func TestNobodyGrantsBeyondTheirOwnRegion(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	local := h.Staff(t, "local", h.City, policy.SecurityAdministrator, "320100")
	clerk := h.Staff(t, "clerk", h.City, policy.SystemAdministrator, "320100")
	grant := func(by registry.Actor, role policy.Role, region string) error {
		_, err := h.Store.GrantRole(ctx, by, registry.GrantForm{Login: "college", Role: role, Region: identity.Region(region), Until: time.Now().Add(time.Hour)})
		return err
	}
	add := func(by registry.Actor, at registry.Organisation, login string) error {
		_, err := h.Store.AddStaff(ctx, by, registry.StaffForm{Login: login, Name: "Test", Organisation: at.ID, Password: registrytest.Password})
		return err
	}
	refused := func(err error) {
		t.Helper()
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(err), "%v", err)
	}
	require.NoError(t, add(clerk, h.College, "college"))
	require.NoError(t, grant(local, policy.Registrar, "320106"))
	for _, region := range []string{"320000", "000000", "310104", "320200"} {
		refused(grant(local, policy.Registrar, region))
		refused(h.Store.RevokeRole(ctx, local, "registrar", policy.Registrar, identity.Region(region)))
	}
	refused(add(clerk, h.Transplant, "spy"))
	_, err := h.Store.AddOrganisation(ctx, clerk, registry.OrganisationForm{Kind: "hospital", Name: "医院", Region: "310104"})
	refused(err)
	// Nobody but administrators grants at all.
	for who, actor := range h.everybody() {
		if actor == h.Security || actor == system {
			continue
		}
		err := grant(actor, policy.Registrar, "320106")
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(err), "%s: %v", who, err)
	}
	refused(add(h.Coordinator, h.County, "friend"))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM role_grants g JOIN staff s ON s.id = g.staff_id WHERE s.login = 'college'`))
	// And an administrator sees no donor, whomever they administer.
	require.False(t, may(t, h.Store, h.Administrator))

	for _, c := range []struct {
		spoil       func(*registry.GrantForm)
		code, field string
	}{
		{func(f *registry.GrantForm) { f.Role = policy.SystemRole }, "R114", "role"},
		{func(f *registry.GrantForm) { f.Role = "emperor" }, "R114", "role"},
		{func(f *registry.GrantForm) { f.Until = time.Now().Add(-time.Hour) }, "R139", "until"},
		{func(f *registry.GrantForm) { f.Login = "" }, "R101", "login"},
	} {
		f := registry.GrantForm{Login: "college", Role: policy.Registrar, Region: "320106", Until: time.Now().Add(time.Hour)}
		c.spoil(&f)
		_, err := h.Store.GrantRole(ctx, h.Security, f)
		requireProblem(t, err, c.code, c.field)
	}
	_, err = h.Store.GrantRole(ctx, h.Security, registry.GrantForm{Login: "nobody", Role: policy.Registrar, Region: "320106", Until: time.Now().Add(time.Hour)})
	requireCode(t, err, registry.NotFound, "staff_not_found")
	requireCode(t, add(h.Administrator, h.County, "REGISTRAR"), registry.Conflict, "login_taken")
	requireCode(t, add(h.Administrator, registry.Organisation{ID: uuid.New()}, "somebody"), registry.NotFound, "organisation_not_found")
	_, err = h.Store.AddStaff(ctx, h.Administrator, registry.StaffForm{Login: "short", Name: "Test", Organisation: h.County.ID, Password: "short"})
	requireProblem(t, err, "R120", "password")
}

func TestARoleReachesItsRegionAndWhatLiesBelowIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.donor(1)
	operator := registry.Operator("test")
	for region, sees := range map[identity.Region]bool{"000000": true, "320000": true, "320100": true, "320106": true, "320102": false, "320200": false, "310000": false, "330106": false} {
		_, err := h.Store.GrantRole(ctx, operator, registry.GrantForm{Login: "technician", Role: policy.Coordinator, Region: region, Until: time.Now().Add(time.Hour)})
		require.NoError(t, err)
		_, err = h.Store.ShowDonor(ctx, h.Technician, donor)
		list, listErr := h.Store.ListDonors(ctx, h.Technician, registry.DonorFilter{})
		require.NoError(t, listErr)
		require.Equal(t, sees, err == nil, "%s: %v", region, err)
		require.Equal(t, sees, len(list) == 1, region)
		require.NoError(t, h.Store.RevokeRole(ctx, operator, "technician", policy.Coordinator, region))
	}
	// Organisations are everybody's to know; the list is paged by id.
	var ids []uuid.UUID
	for after := uuid.Nil; ; {
		page, err := h.Store.ListOrganisations(ctx, h.Coordinator, "", after, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, o := range page {
			ids, after = append(ids, o.ID), o.ID
		}
		require.LessOrEqual(t, len(ids), 7, "pages overlap")
	}
	require.Len(t, ids, 7)
	require.True(t, slices.IsSortedFunc(ids, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }))
	hospitals, err := h.Store.ListOrganisations(ctx, h.Coordinator, "hospital", uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, hospitals, 3)
}

// What is left out of a list tells as much as what is in it.
func TestNobodyNarrowsAListByWhatTheyMayNotRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.donor(1)
	// An organ coordinator reads of the people of a region that they are registered, and who they are masked.
	organ := h.Staff(t, "organ", h.City, policy.OrganCoordinator, "320100")
	old := today().AddDays(1)
	for filter, code := range map[registry.DonorFilter]string{
		{}:                      "",
		{Programme: "stemcell"}: "",
		{Status: "enrolling"}:   "",
		{RegisteredBefore: old}: "",
		{ContactedBefore: old}:  "field_masked",
		{Barcode: barcode(1)}:   "field_masked",
	} {
		list, err := h.Store.ListDonors(ctx, organ, filter)
		if code == "" {
			require.NoError(t, err, "%+v", filter)
			require.Len(t, list, 1, "%+v", filter)
			continue
		}
		requireCode(t, err, registry.Refused, code)
	}
	list, err := h.Store.ListDonors(ctx, h.Coordinator, registry.DonorFilter{ContactedBefore: old})
	require.NoError(t, err)
	require.Len(t, list, 1, "who reads it narrows by it")
	// Of two regions only the one counts in which they may read it.
	_, err = h.Store.GrantRole(ctx, registry.Operator("test"), registry.GrantForm{Login: "organ", Role: policy.Registrar, Region: "320102", Until: time.Now().AddDate(1, 0, 0)})
	require.NoError(t, err)
	list, err = h.Store.ListDonors(ctx, organ, registry.DonorFilter{ContactedBefore: old})
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestAFilterSaysOfEachFieldWhatItIsAbout(t *testing.T) {
	t.Parallel()
	of := reflect.TypeFor[registry.DonorFilter]()
	for i := range of.NumField() {
		class := of.Field(i).Tag.Get("class")
		require.True(t, class == "open" || slices.Contains(policy.Classes(), policy.Class(class)), of.Field(i).Name)
		require.NotEmpty(t, of.Field(i).Tag.Get("json"), of.Field(i).Name)
	}
}
