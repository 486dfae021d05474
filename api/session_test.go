package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
)

func (w *world) signIn(login string, more ...any) answer {
	form := map[string]any{"login": login, "password": registrytest.Password}
	for i := 0; i+1 < len(more); i += 2 {
		form[more[i].(string)] = more[i+1]
	}
	return w.send(nobody, http.MethodPost, "/v1/session", form)
}

func cookieOf(a answer) *http.Cookie {
	a.t.Helper()
	cookies := (&http.Response{Header: a.header}).Cookies()
	require.Len(a.t, cookies, 1)
	return cookies[0]
}

func TestABrowsersSessionIsACookieThatNoScriptAndNoOtherSiteGets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.signIn("registrar").is(http.StatusCreated)
	view := read[api.SessionView](a)
	require.Empty(t, view.Token, "a browser's token is in its cookie and nowhere else")
	require.Equal(t, w.Registrar.Staff(), view.Staff)
	c := cookieOf(a)
	require.Equal(t, "__Host-liferelay_session", c.Name)
	require.True(t, c.HttpOnly)
	require.True(t, c.Secure)
	require.Equal(t, http.SameSiteLaxMode, c.SameSite)
	require.Equal(t, "/", c.Path)
	require.Empty(t, c.Domain)
	require.WithinDuration(t, time.Now().Add(12*time.Hour), c.Expires, time.Minute)
	require.NotContains(t, string(a.body), c.Value)
	require.Zero(t, w.count(`SELECT count(*) FROM sessions WHERE token_hash = $1`, []byte(c.Value)), "the token itself is kept")

	cookie := c.Name + "=" + c.Value
	require.Equal(t, "Test registrar", read[api.SessionView](w.send(nobody, http.MethodGet, "/v1/session", nil, "Cookie", cookie).is(200)).Name)

	gone := w.send(nobody, http.MethodDelete, "/v1/session", nil, "Cookie", cookie).is(http.StatusNoContent)
	require.Empty(t, cookieOf(gone).Value)
	require.True(t, cookieOf(gone).Expires.Before(time.Now()))
	w.send(nobody, http.MethodGet, "/v1/session", nil, "Cookie", cookie).problem(401, "not_signed_in")
	w.send(nobody, http.MethodDelete, "/v1/session", nil, "Cookie", cookie).problem(401, "not_signed_in")
}

func TestACookieGoesOverPlainHTTPOnlyWhenToldSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.open(api.Config{}, front.Config{InsecureCookies: true})
	c := cookieOf(w.signIn("registrar").is(http.StatusCreated))
	require.False(t, c.Secure)
	require.Equal(t, "liferelay_session", c.Name, "a browser takes no __Host- cookie over plain HTTP")
}

func TestABearersTokenEndsWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.signIn("registrar", "kind", "bearer", "days", 3).is(http.StatusCreated)
	require.Empty(t, a.header.Values("Set-Cookie"))
	session := read[api.SessionView](a)
	require.WithinDuration(t, time.Now().Add(72*time.Hour), *session.Expires, time.Minute)
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER "} {
		w.send(nobody, http.MethodGet, "/v1/session", nil, "Authorization", scheme+session.Token).is(200)
	}
	later := session.Expires.Add(-time.Second)
	w.now.Store(&later)
	w.send(nobody, http.MethodGet, "/v1/session", nil, "Authorization", "Bearer "+session.Token).is(200)
	later = session.Expires.Add(time.Second)
	w.now.Store(&later)
	w.send(nobody, http.MethodGet, "/v1/session", nil, "Authorization", "Bearer "+session.Token).problem(401, "not_signed_in")
	w.signIn("registrar", "kind", "bearer", "days", 91).problem(422, "form_invalid")
}

// One who brings a token that is not good is told so, though a good cookie lies beside it.
func TestABadTokenIsNotMadeGoodByACookie(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := cookieOf(w.signIn("registrar").is(http.StatusCreated))
	w.send(nobody, http.MethodGet, "/v1/session", nil, "Authorization", "Bearer nothing", "Cookie", c.Name+"="+c.Value).problem(401, "not_signed_in")
	for _, old := range [][]string{{"Cookie", c.Name + "=nothing"}, {"Authorization", "Bearer nothing"}} {
		w.send(nobody, http.MethodPost, "/v1/session", map[string]any{"login": "registrar", "password": registrytest.Password}, old...).is(http.StatusCreated)
		w.send(nobody, http.MethodGet, "/livez", nil, old...).is(200)
	}
}

func TestARevokedRoleAndAClosedAccountCountAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	require.NotEmpty(t, read[api.PageBody[registry.AuditLine]](w.send(w.Auditor, http.MethodGet, "/v1/audit", nil).is(200)).Items)
	w.send(w.Security, http.MethodDelete, "/v1/grants?login=auditor&role=auditor&region=000000", nil).problem(403, "grant_not_held")
	w.send(w.AuditAdministrator, http.MethodDelete, "/v1/grants?login=auditor&role=auditor&region=000000", nil).is(http.StatusNoContent)
	w.send(w.Auditor, http.MethodGet, "/v1/audit", nil).problem(403, "denied")
	w.send(w.Security, http.MethodDelete, "/v1/grants?login=auditor&role=auditor&region=000000", nil).problem(403, "grant_not_held")
	w.send(w.AuditAdministrator, http.MethodDelete, "/v1/grants?login=auditor&role=auditor&region=000000", nil).problem(404, "grant_not_found")
	w.exec(`UPDATE staff SET active = false WHERE login = 'auditor'`)
	w.send(w.Auditor, http.MethodGet, "/v1/session", nil).problem(401, "not_signed_in")
}

// What can be told from outside about a login that nobody has is what can be told about one with a wrong password.
func TestAWrongLoginLooksLikeAWrongPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var answers [2]answer
	quickest := [2]time.Duration{time.Hour, time.Hour}
	for range 6 { // in turn, so that a machine that is busy is busy for both; each time another login, because a login is locked soon
		login := "honest" + uuid.NewString()[:8]
		_, err := w.Store.AddStaff(context.Background(), registry.Operator("test"), registry.StaffForm{Login: login, Name: "H", Organisation: w.County.ID, Password: registrytest.Password})
		require.NoError(t, err)
		for i, asked := range []string{login, "nobody" + login} {
			began := time.Now()
			answers[i] = w.send(nobody, http.MethodPost, "/v1/session", map[string]any{"login": asked, "password": "not the password"})
			quickest[i] = min(quickest[i], time.Since(began))
		}
	}
	answers[0].problem(401, "signin_failed")
	require.Equal(t, answers[0].status, answers[1].status)
	require.JSONEq(t, string(answers[0].body), string(answers[1].body))
	require.Greater(t, quickest[1], quickest[0]/3, "a wrong login is answered sooner")
	require.Less(t, quickest[1], quickest[0]*3, "a wrong login is answered later")
}

func TestALoginIsLockedAfterSeveralWrongPasswordsAndOpensByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	at := time.Now()
	w.now.Store(&at)
	for range 8 {
		w.signIn("registrar", "password", "wrong").problem(401, "signin_failed")
	}
	a := w.signIn("registrar")
	a.problem(429, "signin_locked")
	require.Equal(t, "900", a.header.Get("Retry-After"))
	w.signIn("coordinator").is(http.StatusCreated)
	later := at.Add(15*time.Minute + time.Second)
	w.now.Store(&later)
	w.signIn("registrar").is(http.StatusCreated)
}

func TestAnotherSiteCannotUseASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := cookieOf(w.signIn("registrar").is(http.StatusCreated))
	cookie := c.Name + "=" + c.Value
	for _, headers := range [][]string{
		{"Origin", "https://elsewhere.example"},
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "null"},
	} {
		for pattern, op := range w.doc.operations() {
			method, path, _ := strings.Cut(pattern, " ")
			if method == http.MethodGet {
				continue
			}
			target := strings.NewReplacer("{id}", uuid.NewString(), "{row}", "1").Replace(path)
			w.send(nobody, method, target, bodyFor(op), append([]string{"Cookie", cookie}, headers...)...).problem(403, "cross_origin")
		}
	}
	w.send(nobody, http.MethodPost, "/v1/drives", w.driveForm("自家的页面"), "Cookie", cookie, "Sec-Fetch-Site", "same-origin", "Origin", w.base).is(http.StatusCreated)
	a := w.send(nobody, http.MethodGet, "/v1/drives", nil, "Cookie", cookie, "Origin", "https://elsewhere.example").is(200)
	require.Empty(t, a.header.Get("Access-Control-Allow-Origin"), "another site's script may read the answer")
}

func TestNothingIsAnsweredToStrangersButWhatIsPublic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	public := map[string]bool{}
	for pattern, op := range w.doc.operations() {
		if op["security"] != nil {
			public[pattern] = true
			continue
		}
		method, path, _ := strings.Cut(pattern, " ")
		for _, target := range []string{strings.NewReplacer("{id}", uuid.NewString(), "{row}", "1").Replace(path), strings.NewReplacer("{id}", "x", "{row}", "x").Replace(path) + "?limit=x&nothing=1"} {
			for _, body := range [][]byte{[]byte("{}"), []byte("{"), nil} {
				for _, headers := range [][]string{{}, {"Cookie", "liferelay_session=nothing"}, {"Authorization", "Basic YTpi"}, {"Content-Type", "text/plain"}} {
					w.send(nobody, method, target, body, headers...).problem(401, "not_signed_in")
				}
			}
		}
	}
	require.Equal(t, map[string]bool{
		"POST /v1/session": true, "POST /v1/session/code": true, "GET /v1/sso/start": true, "GET /v1/sso/callback": true, "POST /v1/sso/logout": true,
		"GET /v1/certificates/{code}": true,
		"GET /livez":                  true, "GET /readyz": true, "GET /metrics": true, "GET /openapi.json": true, "GET /docs": true,
	}, public)
}

func TestOnlySoManyPasswordsAreCheckedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.staff("newcomer", w.County, "", "")
	// Whoever checks a password holds its row: all who may check one wait for it.
	tx, err := w.db.Begin(context.Background())
	require.NoError(t, err)
	_, err = tx.Exec(context.Background(), `LOCK TABLE staff IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	waiting := make(chan answer, 12)
	for range 12 {
		go func() {
			waiting <- w.raw(nobody, http.MethodPost, "/v1/session", []byte(`{"login":"newcomer","password":"`+registrytest.Password+`"}`))
		}()
	}
	require.Eventually(t, func() bool { return w.waiting() > 0 }, 10*time.Second, 10*time.Millisecond)
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		require.LessOrEqual(t, w.waiting(), 4, "no more than four passwords are being checked")
	}
	require.NoError(t, tx.Rollback(context.Background()))
	for range 12 {
		(<-waiting).is(http.StatusCreated)
	}
}

// waiting is how many statements wait for the test's lock.
func (w *world) waiting() int {
	return w.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
}

func TestWhoeverWorksHereWithoutARoleMayDoNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	newcomer := w.staff("newcomer", w.County, "", "")
	drive, _ := w.drive("秋季采样")
	donor := w.volunteers(drive.ID, 1)[0]
	for _, path := range []string{"/v1/drives/" + drive.ID.String(), "/v1/donors/" + donor.String()} {
		w.send(newcomer, http.MethodGet, path, nil).is(http.StatusNotFound)
	}
	for _, path := range []string{"/v1/drives", "/v1/donors", "/v1/cases", "/v1/tasks", "/v1/notices", "/v1/audit", "/v1/consignments"} {
		a := w.send(newcomer, http.MethodGet, path, nil)
		if a.status == http.StatusOK {
			require.JSONEq(t, `{"items": []}`, string(a.body), path)
		}
	}
	w.send(newcomer, http.MethodPost, "/v1/grants", map[string]any{"login": "newcomer", "role": policy.SystemAdministrator, "region": "000000", "until": time.Now().AddDate(1, 0, 0)}).is(http.StatusNotFound)
}

// Whoever enters organisations, and whoever looks after them, sees which there are.
func TestEverybodyWithARoleSeesTheOrganisations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, by := range []registry.Actor{w.Registrar, w.Coordinator, w.Technician, w.TransplantDoctor, w.Auditor, w.Administrator} {
		a := w.send(by, http.MethodGet, "/v1/organisations", nil)
		require.Equal(t, 200, a.status, "%s: %s", by.Name, a.body)
		require.Len(t, read[api.PageBody[registry.Organisation]](a).Items, 7, by.Name)
	}
}
