package registry_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/google/uuid"
	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// desk is a house whose passwords are cheap to check, with a clock of its own.
type desk struct {
	*house
	at *clock
}

func newDesk(t *testing.T, options ...registry.Options) desk {
	t.Helper()
	d := desk{at: newClock()}
	o := registry.Options{}
	if len(options) > 0 {
		o = options[0]
	}
	o.Now = d.at.now
	d.house = newHouse(t, o)
	cheap, err := argon2id.CreateHash(registrytest.Password, &argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	require.NoError(t, err)
	d.sql(`UPDATE staff SET password_hash = $1`, cheap)
	return d
}

// signed signs somebody in with a browser and gives who they are then, and their token.
func (d desk) signed(login, password string) (registry.Caller, string) {
	d.t.Helper()
	s, err := d.signIn(login, password)
	require.NoError(d.t, err)
	require.NotEqual(d.t, registry.NextCode, s.Next)
	c, err := d.Store.Authenticate(context.Background(), s.Token)
	require.NoError(d.t, err)
	return c, s.Token
}

func (d desk) good(token string) bool {
	d.t.Helper()
	_, err := d.Store.Authenticate(context.Background(), token)
	if err != nil {
		requireCode(d.t, err, registry.Unsigned, "not_signed_in")
	}
	return err == nil
}

// code is what the telephone shows at an instant.
func code(t testing.TB, address string, at time.Time) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	c, err := totp.GenerateCode(u.Query().Get("secret"), at)
	require.NoError(t, err)
	return c
}

// enrol gives somebody a second factor.
func (d desk) enrol(c registry.Caller) (address string, recovery []string) {
	d.t.Helper()
	ctx := context.Background()
	address, err := d.Store.EnrolFactor(ctx, c.Actor)
	require.NoError(d.t, err)
	recovery, err = d.Store.ConfirmFactor(ctx, c, code(d.t, address, d.at.now()))
	require.NoError(d.t, err)
	return address, recovery
}

func (d desk) audited(act string, allowed bool) int {
	return value[int](d.house, `SELECT count(*)::int FROM audit WHERE act = $1 AND allowed = $2`, act, allowed)
}

func TestOnesPasswordIsChangedForTheOldOneAndEndsOnesOtherSessions(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	c, token := d.signed("registrar", registrytest.Password)
	_, other := d.signed("registrar", registrytest.Password)
	const fresh = "seven green herons wait"
	for _, wrong := range []struct{ old, fresh, code, field string }{
		{registrytest.Password, "short", "R120", "new"},
		{registrytest.Password, registrytest.Password, "R182", "new"},
		{registrytest.Password, "Password123", "R180", "new"},
		{registrytest.Password, "1234567890", "R180", "new"},
		{registrytest.Password, "0987654321", "R180", "new"},
		{registrytest.Password, "qwertyuiop", "R180", "new"},
		{registrytest.Password, "aaaabbbbcccc", "R180", "new"},
		{registrytest.Password, "wo ai ni 1314520", "R180", "new"},
		{registrytest.Password, "the-Registrar-26", "R181", "new"},
		{registrytest.Password, "rartsiger long", "R181", "new"},
		{"not the old one", fresh, "R183", "old"},
	} {
		err := d.Store.ChangePassword(ctx, c, registry.PasswordForm{Old: wrong.old, New: wrong.fresh})
		requireProblem(t, err, wrong.code, wrong.field)
	}
	require.True(t, d.good(other))
	require.NoError(t, d.Store.ChangePassword(ctx, c, registry.PasswordForm{Old: registrytest.Password, New: fresh}))
	require.True(t, d.good(token), "the session that did it goes on")
	require.False(t, d.good(other))
	_, err := d.signIn("registrar", registrytest.Password)
	requireCode(t, err, registry.Unsigned, "signin_failed")
	_, err = d.signIn("registrar", fresh)
	require.NoError(t, err)
	require.Equal(t, 1, d.audited("ChangePassword", true))
	require.Equal(t, 1, d.audited("ChangePassword", false), "the wrong old one")

	// Somebody at an open screen does not get to guess the password.
	for range 8 {
		requireProblem(t, d.Store.ChangePassword(ctx, c, registry.PasswordForm{Old: "a guess at it", New: "nine grey cranes rest"}), "R183", "old")
	}
	requireCode(t, d.Store.ChangePassword(ctx, c, registry.PasswordForm{Old: fresh, New: "nine grey cranes rest"}), registry.Locked, "signin_locked")
}

func TestAOneTimePasswordIsGoodForChangingItOnly(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	_, before := d.signed("registrar", registrytest.Password)
	personal, err := d.Store.AddToken(ctx, d.Registrar, d.Registrar.Staff(), registry.TokenForm{Name: "mine", Scopes: []string{"donors:read"}, Days: 9})
	require.NoError(t, err)
	once, err := d.Store.ResetPassword(ctx, d.Security, d.Registrar.Staff())
	require.NoError(t, err)
	require.Regexp(t, `^([a-z2-7]{4}-){3}[a-z2-7]{4}$`, once)
	require.False(t, d.good(before), "a session of before")
	require.False(t, d.good(personal.Token), "a token of before")
	c, token := d.signed("registrar", once)
	require.Equal(t, registry.NextPassword, c.Next)
	requireProblem(t, d.Store.ChangePassword(ctx, c, registry.PasswordForm{Old: once, New: once}), "R182", "new")
	require.NoError(t, d.Store.ChangePassword(ctx, c, registry.PasswordForm{Old: once, New: "seven green herons wait"}))
	c, err = d.Store.Authenticate(ctx, token)
	require.NoError(t, err)
	require.Empty(t, c.Next)

	// One who is entered with a password that somebody else chose can be made to change it, too.
	_, err = d.Store.AddStaff(ctx, d.Administrator, registry.StaffForm{Login: "newcomer", Name: "N", Organisation: d.County.ID, Password: "chosen by another", OneTime: true})
	require.NoError(t, err)
	c, _ = d.signed("newcomer", "chosen by another")
	require.Equal(t, registry.NextPassword, c.Next)
	_, err = d.Store.AddStaff(ctx, d.Administrator, registry.StaffForm{Login: "newcomer2", Name: "N", Organisation: d.County.ID, Password: "admin123456"})
	requireProblem(t, err, "R180", "password")
}

func TestNobodyManagesAnAccountWithRightsBeyondTheirOwnOrTheirOwnAccount(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	local := d.Staff(t, "local", d.City, policy.SecurityAdministrator, "320106")
	acts := map[string]func(registry.Actor, uuid.UUID) error{
		"password": func(by registry.Actor, id uuid.UUID) error { _, err := d.Store.ResetPassword(ctx, by, id); return err },
		"factor":   func(by registry.Actor, id uuid.UUID) error { return d.Store.ResetFactor(ctx, by, id) },
		"unlock":   func(by registry.Actor, id uuid.UUID) error { return d.Store.UnlockStaff(ctx, by, id) },
		"sessions": func(by registry.Actor, id uuid.UUID) error { return d.Store.EndSessions(ctx, by, id) },
		"end":      func(by registry.Actor, id uuid.UUID) error { return d.Store.DeactivateStaff(ctx, by, id) },
		"begin":    func(by registry.Actor, id uuid.UUID) error { return d.Store.ReactivateStaff(ctx, by, id) },
		"change": func(by registry.Actor, id uuid.UUID) error {
			_, err := d.Store.ChangeStaff(ctx, by, id, 1, registry.StaffChange{Name: "X"})
			return err
		},
		"link": func(by registry.Actor, id uuid.UUID) error {
			return d.Store.LinkIdentity(ctx, by, id, registry.IdentityForm{Issuer: "https://sso.example", Subject: uuid.NewString()})
		},
	}
	_, err := d.Store.GrantRole(ctx, registry.Operator("test"), registry.GrantForm{Login: "coordinator", Role: policy.Registrar, Region: "310000", Until: d.at.now().Add(time.Hour)})
	require.NoError(t, err)
	for name, act := range acts {
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(act(local, d.CityCoordinator.Staff())), "%s: of an office above", name)
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(act(local, d.Coordinator.Staff())), "%s: of somebody with a role elsewhere", name)
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(act(d.Coordinator, d.Registrar.Staff())), "%s: by no administrator", name)
		requireCode(t, act(d.Administrator, d.Administrator.Staff()), registry.Refused, "own_account")
		requireCode(t, act(d.Administrator, uuid.New()), registry.NotFound, "staff_not_found")
	}
	require.NoError(t, acts["unlock"](local, d.Registrar.Staff()))
	_, err = d.Store.AddToken(ctx, d.Security, d.Registrar.Staff(), registry.TokenForm{Name: "x", Scopes: []string{"donors:read"}, Days: 1})
	requireCode(t, err, registry.Refused, "token_of_another")
}

func TestWhoeverLeavesIsNobodyAtOnceAndComesBackWithoutTheirOldSessions(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	_, token := d.signed("coordinator", registrytest.Password)
	elsewhere := d.open(registry.Options{Now: d.at.now})
	require.True(t, may(t, elsewhere, d.Coordinator))
	require.NoError(t, d.Store.DeactivateStaff(ctx, d.Administrator, d.Coordinator.Staff()))
	require.False(t, d.good(token))
	require.False(t, may(t, elsewhere, d.Coordinator), "another process knows it with the next act")
	_, err := d.signIn("coordinator", registrytest.Password)
	requireCode(t, err, registry.Unsigned, "signin_failed")
	require.NoError(t, d.Store.ReactivateStaff(ctx, d.Administrator, d.Coordinator.Staff()))
	require.False(t, d.good(token))
	_, err = d.signIn("coordinator", registrytest.Password)
	require.NoError(t, err)
	require.True(t, may(t, elsewhere, d.Coordinator))
}

func TestAnAccountIsShownListedAndChanged(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	local := d.Staff(t, "local", d.County, policy.SecurityAdministrator, "320106")
	list, err := d.Store.ListStaff(ctx, local, uuid.Nil, 0)
	require.NoError(t, err)
	require.NotEmpty(t, list)
	for _, v := range list {
		require.True(t, identity.Region("320106").Contains(v.Region), "%s is of %s", v.Login, v.Region)
	}
	_, err = d.Store.ListStaff(ctx, d.Registrar, uuid.Nil, 0)
	requireCode(t, err, registry.Denied, "denied")
	v, err := d.Store.FindStaff(ctx, registry.Operator("test"), "REGISTRAR")
	require.NoError(t, err)
	require.Equal(t, policy.Registrar, v.Roles[0].Role)
	changed, err := d.Store.ChangeStaff(ctx, d.Administrator, v.ID, v.Version, registry.StaffChange{Name: "新名", Organisation: d.City.ID, Locale: "en"})
	require.NoError(t, err)
	require.Equal(t, []any{"新名", d.City.ID, "en", v.Version + 1}, []any{changed.Name, changed.Organisation, string(changed.Locale), changed.Version})
	_, err = d.Store.ChangeStaff(ctx, d.Administrator, v.ID, v.Version, registry.StaffChange{Name: "旧"})
	requireCode(t, err, registry.Stale, "staff_changed")
	c, _ := d.signed("registrar", registrytest.Password)
	require.Equal(t, d.City.ID, c.Organisation())
	require.NoError(t, d.Store.ChangeOwnLocale(ctx, c.Actor, "zh-CN"))
	_, err = d.Store.EnrolFactor(ctx, registry.Operator("test"))
	requireCode(t, err, registry.Denied, "denied")
}

func TestASecondFactorIsASecondStep(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	c, first := d.signed("registrar", registrytest.Password)
	requireCode(t, second(d.Store.ConfirmFactor(ctx, c, "000000")), registry.Refused, "factor_not_begun")
	address, err := d.Store.EnrolFactor(ctx, c.Actor)
	require.NoError(t, err)
	require.Regexp(t, `^otpauth://totp/Liferelay:registrar\?`, address)
	u, _ := url.Parse(address)
	leaks, _ := d.found([]string{u.Query().Get("secret")})
	require.Empty(t, leaks, "the secret lies in the database in clear")
	_, token := d.signed("registrar", registrytest.Password)
	require.True(t, d.good(token), "what is not confirmed does not count")
	requireProblem(t, second(d.Store.ConfirmFactor(ctx, c, "12345")), "R184", "code")
	recovery, err := d.Store.ConfirmFactor(ctx, c, code(t, address, d.at.now()))
	require.NoError(t, err)
	require.Len(t, recovery, 10)
	leaks, _ = d.found([]string{recovery[0], strings.ReplaceAll(recovery[0], "-", "")})
	require.Empty(t, leaks)
	requireCode(t, second(d.Store.EnrolFactor(ctx, c.Actor)), registry.Refused, "factor_enrolled")
	upgraded, err := d.Store.Authenticate(ctx, first)
	require.NoError(t, err)
	require.Equal(t, "totp", upgraded.Factor)

	half := func() string {
		s, err := d.signIn("registrar", registrytest.Password)
		require.NoError(t, err)
		require.Equal(t, registry.NextCode, s.Next)
		require.Empty(t, s.Actor.Subject())
		require.False(t, d.good(s.Token), "half a sign-in is no session")
		return s.Token
	}
	with := func(half, code string) (registry.Session, error) {
		return d.Store.SignInWithCode(ctx, half, code, registry.From{Address: "192.0.2.7", Agent: "Firefox"})
	}
	h := half()
	now := code(t, address, d.at.now())
	requireCode(t, second(with(h, now)), registry.Unsigned, "code_wrong") // it confirmed the enrolment
	d.at.pass(31 * time.Second)
	now = code(t, address, d.at.now())
	s, err := with(h, now)
	require.NoError(t, err)
	require.True(t, d.good(s.Token))
	require.Equal(t, d.Registrar.Subject(), s.Actor.Subject())
	requireCode(t, second(with(h, now)), registry.Unsigned, "signin_over")
	requireCode(t, second(with(half(), now)), registry.Unsigned, "code_wrong") // a second time
	d.at.pass(2 * time.Minute)
	for offset, good := range map[time.Duration]bool{-61 * time.Second: false, 62 * time.Second: false} {
		_, err := with(half(), code(t, address, d.at.now().Add(offset)))
		require.Equal(t, good, err == nil, offset)
	}
	_, err = with(half(), code(t, address, d.at.now().Add(-30*time.Second)))
	require.NoError(t, err, "a telephone whose clock is a little behind")
	_, err = with(half(), code(t, address, d.at.now().Add(30*time.Second)))
	require.NoError(t, err, "or before")
	requireCode(t, second(with(half(), code(t, address, d.at.now()))), registry.Unsigned, "code_wrong") // an older one after a newer

	// A recovery code is good once, in any spelling.
	s, err = with(half(), strings.ToUpper(strings.ReplaceAll(recovery[3], "-", " ")))
	require.NoError(t, err)
	lost, err := d.Store.Authenticate(ctx, s.Token)
	require.NoError(t, err)
	require.Equal(t, "recovery", lost.Factor)
	requireCode(t, second(with(half(), recovery[3])), registry.Unsigned, "code_wrong")
	// Half a sign-in is over after five minutes.
	old := half()
	d.at.pass(5*time.Minute + time.Second)
	requireCode(t, second(with(old, code(t, address, d.at.now()))), registry.Unsigned, "signin_over")

	// Taking it away needs the password and a code.
	requireProblem(t, d.Store.DisableFactor(ctx, lost, registry.ProofForm{Password: "not the password", Code: recovery[4]}), "R183", "password")
	requireProblem(t, d.Store.DisableFactor(ctx, lost, registry.ProofForm{Password: registrytest.Password, Code: recovery[3]}), "R184", "code")
	require.NoError(t, d.Store.DisableFactor(ctx, lost, registry.ProofForm{Password: registrytest.Password, Code: recovery[4]}))
	d.signed("registrar", registrytest.Password)
	requireCode(t, d.Store.DisableFactor(ctx, lost, registry.ProofForm{Password: registrytest.Password, Code: recovery[5]}), registry.Refused, "factor_none")
	require.Equal(t, 0, value[int](d.house, `SELECT count(*)::int FROM recovery_codes`))
	for _, act := range []string{"EnrolFactor", "ConfirmFactor", "DisableFactor", "SignInWithCode"} {
		require.Positive(t, d.audited(act, true), act)
	}
	require.Positive(t, d.audited("SignInWithCode", false))
}

func second[T any](_ T, err error) error { return err }

func TestCodesCannotBeGuessed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	c, _ := d.signed("registrar", registrytest.Password)
	address, _ := d.enrol(c)
	d.at.pass(time.Minute)
	wrong := "000000"
	if code(t, address, d.at.now()) == wrong {
		wrong = "000001"
	}
	tries := 0
	for {
		s, err := d.signIn("registrar", registrytest.Password)
		if registry.KindOf(err) == registry.Locked {
			break
		}
		require.NoError(t, err)
		for err == nil || registry.CodeOf(err) == "code_wrong" {
			_, err = d.Store.SignInWithCode(ctx, s.Token, wrong, registry.From{})
			tries++
		}
		require.Less(t, tries, 30, "the password forgives the wrong codes, again and again")
	}
	require.LessOrEqual(t, tries, 11)
	_, err := d.signIn("registrar", registrytest.Password)
	requireCode(t, err, registry.Locked, "signin_locked")
}

func TestALostTelephoneIsTheAdministratorsToTakeAway(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	c, token := d.signed("registrar", registrytest.Password)
	d.enrol(c)
	require.NoError(t, d.Store.ResetFactor(ctx, d.Security, d.Registrar.Staff()))
	require.False(t, d.good(token))
	d.signed("registrar", registrytest.Password)
	require.Equal(t, 1, d.audited("ResetFactor", true))
}

func TestWhereASecondFactorIsNeededASessionWithoutOneGetsOneOnly(t *testing.T) {
	t.Parallel()
	for required, next := range map[string]string{"all": registry.NextFactor, "registrar": registry.NextFactor, "auditor": ""} {
		d := newDesk(t, registry.Options{RequireFactor: []string{required}})
		c, token := d.signed("registrar", registrytest.Password)
		require.Equal(t, next, c.Next, required)
		d.enrol(c)
		c, err := d.Store.Authenticate(context.Background(), token)
		require.NoError(t, err)
		require.Empty(t, c.Next, "the session that enrolled goes on")
	}
}

func TestALockIsTwiceAsLongEachTimeAndTellsNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	// A login that nobody has is locked like one that somebody has.
	for _, login := range []string{"registrar", "nobody"} {
		for _, minutes := range []int{15, 30, 60, 120, 240, 480, 960, 1440, 1440} {
			for range 8 {
				_, err := d.signIn(login, "wrong")
				requireCode(t, err, registry.Unsigned, "signin_failed")
			}
			_, err := d.signIn(strings.ToUpper(login), registrytest.Password)
			requireCode(t, err, registry.Locked, "signin_locked")
			var own *registry.Error
			require.ErrorAs(t, err, &own)
			require.InDelta(t, time.Duration(minutes)*time.Minute, own.RetryAfter, float64(time.Second), login)
			d.at.pass(time.Duration(minutes)*time.Minute + time.Second)
		}
	}
	require.Equal(t, 18, d.audited("LockLogin", true))
	d.signed("registrar", registrytest.Password)
	for range 8 {
		_, _ = d.signIn("registrar", "wrong")
	}
	v, err := d.Store.ShowStaff(ctx, d.Administrator, d.Registrar.Staff())
	require.NoError(t, err)
	require.InDelta(t, 15*time.Minute, v.LockedUntil.Sub(d.at.now()), float64(time.Second), "a success has forgiven the locks of before")
	require.NoError(t, d.Store.UnlockStaff(ctx, d.Security, d.Registrar.Staff()))
	d.signed("registrar", registrytest.Password)

	// What was typed as a login is nowhere: it may have been a password.
	_, _ = d.signIn("my secret password", "x")
	require.Equal(t, 1, value[int](d.house, `SELECT count(DISTINCT actor)::int FROM audit WHERE actor LIKE 'login:%' AND target LIKE 'login:%' AND actor = 'login:' || substr(target, 7) AND recorded_at = (SELECT max(recorded_at) FROM audit)`))
	leaks, _ := d.found([]string{"my secret password"})
	require.Empty(t, leaks)
}

func TestManyGuessesAtOnceAreCountedLikeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	results := make(chan error, 40)
	for range 40 {
		go func() { _, err := d.signIn("registrar", "wrong"); results <- err }()
	}
	for range 40 {
		require.Contains(t, []registry.Kind{registry.Unsigned, registry.Locked}, registry.KindOf(<-results))
	}
	_, err := d.signIn("registrar", registrytest.Password)
	requireCode(t, err, registry.Locked, "signin_locked")
}

func TestOnesSessionsAreListedAndEnded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	open := func(agent string) (registry.Caller, string) {
		s, err := d.Store.SignIn(ctx, "registrar", registrytest.Password, registry.BrowserSession, 0, registry.From{Address: "192.0.2.7", Agent: agent})
		require.NoError(t, err)
		c, err := d.Store.Authenticate(ctx, s.Token)
		require.NoError(t, err)
		return c, s.Token
	}
	c, mine := open("Firefox \xff\x00" + strings.Repeat("很", 300))
	_, one := open("Safari")
	_, two := open("curl")
	foreign, theirs := d.signed("coordinator", registrytest.Password)
	list, err := d.Store.OwnSessions(ctx, c)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, []string{"curl", "Safari"}, []string{list[0].Agent, list[1].Agent})
	require.Len(t, []rune(list[2].Agent), 120)
	require.Equal(t, []bool{false, false, true}, []bool{list[0].Current, list[1].Current, list[2].Current})
	require.Equal(t, "192.0.2.7", list[0].Address)
	requireCode(t, d.Store.EndOwnSession(ctx, c.Actor, foreign.Session), registry.NotFound, "session_not_found")
	require.NoError(t, d.Store.EndOwnSession(ctx, c.Actor, list[1].ID))
	require.False(t, d.good(one))
	require.True(t, d.good(two))
	require.NoError(t, d.Store.EndOtherSessions(ctx, c))
	require.False(t, d.good(two))
	require.True(t, d.good(mine))
	require.True(t, d.good(theirs))
	require.NoError(t, d.Store.EndSessions(ctx, d.Security, d.Registrar.Staff()))
	require.False(t, d.good(mine))
	require.True(t, d.good(theirs))

	// That a session was used is written down at most once a minute.
	seen := func() time.Time {
		return value[time.Time](d.house, `SELECT last_seen_at FROM sessions WHERE id = $1`, foreign.Session)
	}
	began := seen()
	d.at.pass(50 * time.Second)
	require.True(t, d.good(theirs))
	require.Equal(t, began, seen())
	d.at.pass(20 * time.Second)
	require.True(t, d.good(theirs))
	require.WithinDuration(t, d.at.now(), seen(), time.Second)
}

func TestAMachineWorksWithTokensOnly(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	machine, err := d.Store.AddMachine(ctx, d.Administrator, registry.MachineForm{Login: "lims", Name: "检验系统", Organisation: d.Laboratory.ID})
	require.NoError(t, err)
	for _, password := range []string{"", "x", registrytest.Password} {
		_, err := d.signIn("lims", password)
		requireCode(t, err, registry.Unsigned, "signin_failed")
	}
	_, err = d.Store.ResetPassword(ctx, d.Security, machine)
	requireCode(t, err, registry.Refused, "machine_account")
	requireCode(t, d.Store.LinkIdentity(ctx, d.Security, machine, registry.IdentityForm{Issuer: "https://sso.example", Subject: "x"}), registry.Refused, "machine_account")
	_, err = d.Store.AddToken(ctx, d.Coordinator, machine, registry.TokenForm{Name: "x", Scopes: []string{"typings:write"}, Days: 1})
	require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(err))
	for _, f := range []registry.TokenForm{{Name: "x", Days: 1}, {Name: "x", Scopes: []string{"a"}}, {Name: "x", Scopes: []string{"a"}, Days: 367}, {Scopes: []string{"a"}, Days: 1}} {
		_, err := d.Store.AddToken(ctx, d.Security, machine, f)
		requireCode(t, err, registry.Invalid, "form_invalid")
	}
	token, err := d.Store.AddToken(ctx, d.Security, machine, registry.TokenForm{Name: "nightly", Scopes: []string{"typings:write"}, Days: 30})
	require.NoError(t, err)
	require.Regexp(t, `^llr_[\w-]{43}$`, token.Token)
	require.True(t, registry.HasToken("?x="+token.Token))
	leaks, _ := d.found([]string{token.Token[4:]})
	for _, leak := range leaks {
		require.Contains(t, leak, "SHA-256", "the token itself is kept") // and of a random token that is no clue
	}
	c, err := d.Store.Authenticate(ctx, token.Token)
	require.NoError(t, err)
	require.Equal(t, registry.ProgramToken, c.Kind)
	require.Equal(t, []string{"typings:write"}, c.Scopes)
	require.Equal(t, machine, c.Staff())
	list, err := d.Store.ListTokens(ctx, d.Security, machine)
	require.NoError(t, err)
	require.Equal(t, "nightly", list[0].Name)
	require.NotNil(t, list[0].LastUsed)
	d.at.pass(29 * 24 * time.Hour)
	require.True(t, d.good(token.Token))
	d.at.pass(25 * time.Hour)
	require.False(t, d.good(token.Token), "after its end")
	again, err := d.Store.AddToken(ctx, d.Security, machine, registry.TokenForm{Name: "nightly", Scopes: []string{"typings:write"}, Days: 30})
	require.NoError(t, err)
	requireCode(t, d.Store.RevokeToken(ctx, d.Coordinator, again.ID), registry.NotFound, "token_not_found")
	require.NoError(t, d.Store.RevokeToken(ctx, d.Security, again.ID))
	require.False(t, d.good(again.Token))
	requireCode(t, d.Store.RevokeToken(ctx, d.Security, again.ID), registry.NotFound, "token_not_found")

	// A personal token is its owner's to make, to see and to revoke.
	own, err := d.Store.AddToken(ctx, d.Coordinator, d.Coordinator.Staff(), registry.TokenForm{Name: "mine", Scopes: []string{"donors:read"}, Days: 30})
	require.NoError(t, err)
	list, err = d.Store.ListTokens(ctx, d.Coordinator, d.Coordinator.Staff())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.True(t, d.good(own.Token))
	require.NoError(t, d.Store.RevokeToken(ctx, d.Coordinator, own.ID))
	require.False(t, d.good(own.Token))
}

func TestTheProvidersWordOpensTheAccountThatIsLinked(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	who := registry.SignedOn{IdentityForm: registry.IdentityForm{Issuer: "https://sso.example", Subject: "248289761001"}, Session: "s1"}
	enter := func(w registry.SignedOn) (registry.Session, error) {
		return d.Store.SignInByProvider(ctx, w, registry.From{})
	}
	requireCode(t, second(enter(who)), registry.Unsigned, "signon_unknown")
	require.NoError(t, d.Store.LinkIdentity(ctx, d.Security, d.Registrar.Staff(), who.IdentityForm))
	requireCode(t, d.Store.LinkIdentity(ctx, d.Security, d.Coordinator.Staff(), who.IdentityForm), registry.Conflict, "identity_taken")
	for range 9 {
		_, _ = d.signIn("registrar", "wrong")
	}
	one, err := enter(who)
	require.NoError(t, err, "what strangers do to the password does not lock the provider's people out")
	require.Equal(t, d.Registrar.Staff(), one.Actor.Staff())
	other := who
	other.Session = "s2"
	two, err := enter(other)
	require.NoError(t, err)
	require.NoError(t, d.Store.SignOutByProvider(ctx, who.Issuer, who.Subject, "s1", ""))
	require.False(t, d.good(one.Token))
	require.True(t, d.good(two.Token))
	require.NoError(t, d.Store.SignOutByProvider(ctx, "https://elsewhere.example", who.Subject, "", ""))
	require.True(t, d.good(two.Token), "another provider's word")
	require.NoError(t, d.Store.SignOutByProvider(ctx, who.Issuer, "", "s2", ""))
	require.False(t, d.good(two.Token))
	three, err := enter(who)
	require.NoError(t, err)
	require.NoError(t, d.Store.UnlockStaff(ctx, d.Security, d.Registrar.Staff()))
	_, local := d.signed("registrar", registrytest.Password)
	require.NoError(t, d.Store.SignOutByProvider(ctx, who.Issuer, who.Subject, "", ""))
	require.False(t, d.good(three.Token) || d.good(local), "all of a person's")

	// Linking at first use is for an account that is linked with nobody, and for a person who is.
	stranger := registry.SignedOn{IdentityForm: registry.IdentityForm{Issuer: "https://sso.example", Subject: "2"}, Login: "registrar"}
	requireCode(t, second(enter(stranger)), registry.Unsigned, "signon_unknown")
	stranger.Login = "Coordinator"
	s, err := enter(stranger)
	require.NoError(t, err)
	require.Equal(t, d.Coordinator.Staff(), s.Actor.Staff())
	require.Equal(t, 2, d.audited("LinkIdentity", true))

	// A second factor here is asked for, unless the provider did.
	c, _ := d.signed("coordinator", registrytest.Password)
	d.enrol(c)
	s, err = enter(stranger)
	require.NoError(t, err)
	require.Equal(t, registry.NextCode, s.Next)
	stranger.Factor = true
	s, err = enter(stranger)
	require.NoError(t, err)
	require.True(t, d.good(s.Token))
	require.NoError(t, d.Store.UnlinkIdentity(ctx, d.Security, d.Coordinator.Staff(), stranger.IdentityForm))
	require.False(t, d.good(s.Token))
	require.NoError(t, d.Store.DeactivateStaff(ctx, d.Administrator, d.Registrar.Staff()))
	requireCode(t, second(enter(who)), registry.Unsigned, "signon_unknown")
}

func TestABrowserComesBackFromTheProviderOnceAndWithItsOwnSecret(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := context.Background()
	state, secret, _, err := d.Store.BeginSignOn(ctx, "/page")
	require.NoError(t, err)
	_, others, _, err := d.Store.BeginSignOn(ctx, "/")
	require.NoError(t, err)
	back := func(state, secret string) error { return second(d.Store.ReturnFromSignOn(ctx, state, secret)) }
	requireCode(t, back(state, others), registry.Unsigned, "signon_over")
	requireCode(t, back("another", secret), registry.Unsigned, "signon_over")
	page, err := d.Store.ReturnFromSignOn(ctx, state, secret)
	require.NoError(t, err)
	require.Equal(t, "/page", page)
	requireCode(t, back(state, secret), registry.Unsigned, "signon_over")
	late, kept, _, err := d.Store.BeginSignOn(ctx, "/")
	require.NoError(t, err)
	d.at.pass(11 * time.Minute)
	requireCode(t, back(late, kept), registry.Unsigned, "signon_over")
}
