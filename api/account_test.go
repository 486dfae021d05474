package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/signon"
)

// codeOf is what the telephone shows at an instant.
func codeOf(t testing.TB, address string, at time.Time) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	c, err := totp.GenerateCode(u.Query().Get("secret"), at)
	require.NoError(t, err)
	return c
}

// requiring opens the register anew, with roles that need a second factor.
func (w *world) requiring(roles ...string) {
	w.t.Helper()
	store, err := registry.Open(context.Background(), registry.Options{URL: w.database, Keys: registrytest.Keys(), MaxConnections: 4, Now: w.clock, RequireFactor: roles})
	require.NoError(w.t, err)
	w.t.Cleanup(store.Close)
	w.Store = store
	w.open(api.Config{}, front.Config{})
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func TestASessionThatHasToDoSomethingFirstMayDoNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.requiring("all")
	once := read[api.OneTimePassword](w.elevated(w.Security, http.MethodPost, "/v1/staff/"+w.Registrar.Staff().String()+"/reset-password", nil).is(200)).Password
	a := w.signIn("registrar", "password", once, "kind", "bearer").is(http.StatusCreated)
	view := read[api.SessionView](a)
	require.Equal(t, registry.NextPassword, view.Next)
	allowed := func(next string) (out []string) {
		for pattern, op := range w.doc.operations() {
			method, path, _ := strings.Cut(pattern, " ")
			if op["security"] != nil || op["operationId"] == "sign-out" {
				continue
			}
			a := w.send(nobody, method, strings.NewReplacer("{id}", uuid.NewString(), "{row}", "1").Replace(path), bodyFor(op), bearer(view.Token)...)
			if a.status == 403 && strings.Contains(string(a.body), next+"_required") {
				continue
			}
			out = append(out, op["operationId"].(string))
		}
		slices.Sort(out)
		return out
	}
	require.Equal(t, []string{"change-password", "who-am-i"}, allowed("password"))
	w.send(nobody, http.MethodPost, "/v1/account/password", map[string]any{"old": once, "new": "seven green herons"}, bearer(view.Token)...).is(http.StatusNoContent)
	require.Equal(t, []string{"confirm-factor", "enrol-factor", "who-am-i"}, allowed("factor"))
	address := read[api.Enrolment](w.send(nobody, http.MethodPost, "/v1/account/factor", nil, bearer(view.Token)...).is(http.StatusCreated)).Address
	w.send(nobody, http.MethodPost, "/v1/account/factor/confirm", map[string]any{"code": codeOf(t, address, w.clock())}, bearer(view.Token)...).is(200)
	w.send(nobody, http.MethodGet, "/v1/drives", nil, bearer(view.Token)...).is(200)
}

// elevated sends a request from a session that has its second factor.
func (w *world) elevated(by registry.Actor, method, path string, body any) answer {
	w.t.Helper()
	w.token(by)
	w.exec(`UPDATE sessions SET factor = 'totp' WHERE staff_id = $1`, by.Staff())
	return w.send(by, method, path, body)
}

func TestSigningInWithASecondFactorTakesTwoSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	b.visit(http.MethodPost, "/v1/session", map[string]any{"login": "registrar", "password": registrytest.Password}).is(http.StatusCreated)
	address := read[api.Enrolment](b.visit(http.MethodPost, "/v1/account/factor", nil).is(http.StatusCreated)).Address
	b.visit(http.MethodPost, "/v1/account/factor", nil).is(http.StatusCreated) // once more, for a telephone that did not take it
	b.visit(http.MethodPost, "/v1/account/factor/confirm", map[string]any{"code": codeOf(t, address, w.clock())}).problem(422, "form_invalid")
	address = read[api.Enrolment](b.visit(http.MethodPost, "/v1/account/factor", nil).is(http.StatusCreated)).Address
	codes := read[api.RecoveryCodes](b.visit(http.MethodPost, "/v1/account/factor/confirm", map[string]any{"code": codeOf(t, address, w.clock())}).is(200)).Codes

	b = w.browser()
	view := read[api.SessionView](b.visit(http.MethodPost, "/v1/session", map[string]any{"login": "registrar", "password": registrytest.Password}).is(http.StatusCreated))
	require.Equal(t, api.SessionView{Next: registry.NextCode, Expires: view.Expires}, view, "who it is is told afterwards")
	b.visit(http.MethodGet, "/v1/session", nil).problem(401, "not_signed_in")
	b.visit(http.MethodPost, "/v1/session/code", map[string]any{"code": "000000"}).problem(401, "code_wrong")
	view = read[api.SessionView](b.visit(http.MethodPost, "/v1/session/code", map[string]any{"code": codes[0]}).is(http.StatusCreated))
	require.Equal(t, w.Registrar.Staff(), view.Staff)
	b.visit(http.MethodGet, "/v1/session", nil).is(200)
	w.browser().visit(http.MethodPost, "/v1/session/code", map[string]any{"code": codes[1]}).problem(401, "signin_over")

	// A program has the half in its hand.
	half := read[api.SessionView](w.signIn("registrar", "kind", "bearer", "days", 3).is(http.StatusCreated))
	require.Empty(t, half.Token)
	w.send(nobody, http.MethodGet, "/v1/session", nil, bearer(half.Challenge)...).problem(401, "not_signed_in")
	whole := read[api.SessionView](w.send(nobody, http.MethodPost, "/v1/session/code", map[string]any{"code": codes[1], "challenge": half.Challenge}).is(http.StatusCreated))
	require.WithinDuration(t, time.Now().Add(72*time.Hour), *whole.Expires, time.Minute)
	w.send(nobody, http.MethodGet, "/v1/drives", nil, bearer(whole.Token)...).is(200)
	renew := func(password, code string) answer {
		return w.send(nobody, http.MethodPost, "/v1/account/factor/recovery-codes", map[string]any{"password": password, "code": code}, bearer(whole.Token)...)
	}
	renew("not the password", codes[2]).is(http.StatusUnprocessableEntity)
	renew(registrytest.Password, codes[0]).is(http.StatusUnprocessableEntity) // it was used
	fresh := read[api.RecoveryCodes](renew(registrytest.Password, codes[2]).is(200)).Codes
	require.Len(t, fresh, 10)
	require.Empty(t, slices.DeleteFunc(slices.Clone(fresh), func(code string) bool { return !slices.Contains(codes, code) }))
	renew(registrytest.Password, codes[3]).is(http.StatusUnprocessableEntity) // the old ones are good no more
	w.send(nobody, http.MethodPost, "/v1/account/factor/disable", map[string]any{"password": registrytest.Password, "code": fresh[0]}, bearer(whole.Token)...).is(http.StatusNoContent)
	renew(registrytest.Password, fresh[1]).problem(409, "factor_none")
	w.signIn("registrar").is(http.StatusCreated)
}

// What a token may do with each scope is told by the scope's name alone.
func TestAProgramsTokenDoesWhatItsScopesNameAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	token := func(by registry.Actor, scopes ...string) string {
		return read[registry.NewToken](w.send(by, http.MethodPost, "/v1/account/tokens", map[string]any{"name": "x", "scopes": scopes, "days": 9}).is(http.StatusCreated)).Token
	}
	none := token(w.Administrator, "searches:read") // which the administrator may not do
	all := token(w.Administrator, api.Scopes()...)
	needed := map[string]bool{}
	for pattern, op := range w.doc.operations() {
		if op["security"] != nil || op["operationId"] == "who-am-i" {
			continue
		}
		method, path, _ := strings.Cut(pattern, " ")
		target := strings.NewReplacer("{id}", uuid.NewString(), "{row}", "1").Replace(path)
		a := w.send(nobody, method, target, bodyFor(op), bearer(none)...)
		if strings.Contains(string(a.body), "session_required") {
			require.Equal(t, 403, a.status, pattern)
			w.send(nobody, method, target, bodyFor(op), bearer(all)...).problem(403, "session_required")
			continue
		}
		if strings.HasPrefix(path, "/v1/searches") && method == http.MethodGet {
			require.NotContains(t, string(a.body), "scope_missing", pattern)
			needed["searches:read"] = true
			continue
		}
		p := a.problem(403, "scope_missing")
		scope := p.Args["Scope"].(string)
		needed[scope] = true
		require.Contains(t, api.Scopes(), scope, pattern)
		if scope == "audit:read" || path == "/v1/donors/find" || path == "/v1/find" || strings.HasPrefix(path, "/v1/rules") { // which look, with what they look for in the body
			continue
		}
		require.Equal(t, method == http.MethodGet, strings.HasSuffix(scope, ":read"), pattern)
		require.NotContains(t, string(w.send(nobody, method, target, bodyFor(op), bearer(all)...).body), "scope_missing", pattern)
	}
	for _, scope := range api.Scopes() {
		require.True(t, needed[scope], "no operation needs %s", scope)
	}
	// A scope gives nothing that the owner has not.
	w.send(nobody, http.MethodGet, "/v1/donors", nil, bearer(all)...).problem(403, "denied")
	own := token(w.Registrar, "drives:write", "drives:read")
	w.send(nobody, http.MethodPost, "/v1/drives", w.driveForm("由程序建立"), bearer(own)...).is(http.StatusCreated)
	w.send(nobody, http.MethodGet, "/v1/donors", nil, bearer(own)...).problem(403, "scope_missing")
	view := read[api.SessionView](w.send(nobody, http.MethodGet, "/v1/session", nil, bearer(own)...).is(200))
	require.Equal(t, []string{"drives:write", "drives:read"}, view.Scopes)
	w.send(w.Registrar, http.MethodPost, "/v1/account/tokens", map[string]any{"name": "x", "scopes": []string{"everything"}, "days": 9}).problem(422, "form_invalid")
	// It is no cookie's.
	w.send(nobody, http.MethodGet, "/v1/account/sessions", nil, "Cookie", "__Host-liferelay_session="+own).problem(403, "session_required")
	list := read[api.Tokens](w.send(w.Registrar, http.MethodGet, "/v1/account/tokens", nil).is(200)).Items
	w.send(w.Registrar, http.MethodDelete, "/v1/tokens/"+list[0].ID.String(), nil).is(http.StatusNoContent)
	w.send(nobody, http.MethodGet, "/v1/session", nil, bearer(own)...).problem(401, "not_signed_in")
}

func TestAMachineIsEnteredAndGetsItsTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	id := read[api.Created](w.send(w.Administrator, http.MethodPost, "/v1/machines", map[string]any{"login": "lims", "name": "检验系统", "organisation": w.Laboratory.ID}).is(http.StatusCreated)).ID.String()
	w.send(w.Security, http.MethodPost, "/v1/grants", map[string]any{"login": "lims", "role": "laboratory", "region": "000000", "until": time.Now().AddDate(0, 6, 0)}).is(http.StatusCreated)
	token := read[registry.NewToken](w.send(w.Security, http.MethodPost, "/v1/staff/"+id+"/tokens", map[string]any{"name": "nightly", "scopes": []string{"specimens:read"}, "days": 30}).is(http.StatusCreated)).Token
	w.send(nobody, http.MethodGet, "/v1/consignments", nil, bearer(token)...).is(200)
	require.Len(t, read[api.Tokens](w.send(w.Security, http.MethodGet, "/v1/staff/"+id+"/tokens", nil).is(200)).Items, 1)
	w.send(w.Security, http.MethodPost, "/v1/staff/"+w.Registrar.Staff().String()+"/tokens", map[string]any{"name": "x", "scopes": []string{"donors:read"}, "days": 30}).problem(409, "token_of_another")
	shown := w.send(w.Administrator, http.MethodGet, "/v1/staff/"+id, nil).is(200)
	require.Equal(t, "machine", read[registry.StaffView](shown).Kind)
	changed := w.send(w.Administrator, http.MethodPatch, "/v1/staff/"+id, map[string]any{"name": "新检验系统"}, ifMatch(shown)...).is(200)
	require.Equal(t, "新检验系统", read[registry.StaffView](changed).Name)
	w.send(w.Administrator, http.MethodPatch, "/v1/staff/"+id, map[string]any{"name": "x"}, ifMatch(shown)...).problem(412, "staff_changed")
	require.NotEmpty(t, read[api.PageBody[registry.StaffView]](w.send(w.Administrator, http.MethodGet, "/v1/staff?limit=2", nil).is(200)).Next)
	w.send(w.Administrator, http.MethodPost, "/v1/staff/"+id+"/deactivate", nil).is(http.StatusNoContent)
	w.send(nobody, http.MethodGet, "/v1/consignments", nil, bearer(token)...).problem(401, "not_signed_in")
}

func TestATokenInAnAddressIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	token := read[registry.NewToken](w.send(w.Registrar, http.MethodPost, "/v1/account/tokens", map[string]any{"name": "x", "scopes": []string{"drives:read"}, "days": 9}).is(http.StatusCreated)).Token
	session := read[api.SessionView](w.signIn("registrar", "kind", "bearer").is(http.StatusCreated)).Token
	for _, secret := range []string{token, session, "x%3D" + token, strings.Replace(token, "_", "%5F", 1)} {
		for _, path := range []string{"/v1/drives?access_token=" + secret, "/v1/drives?" + secret} {
			w.send(w.Registrar, http.MethodGet, path, nil).problem(400, "token_in_address")
			w.raw(nobody, http.MethodGet, path, nil).problem(400, "token_in_address")
		}
		w.raw(nobody, http.MethodGet, "/livez?t="+secret, nil).problem(400, "token_in_address")
	}
	require.NotContains(t, w.logged(), token)
}

func TestANetworkAddressThatTriesTooOftenWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.open(api.Config{}, front.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}})
	try := func(forwarded string) answer {
		return w.send(nobody, http.MethodPost, "/v1/session/code", map[string]any{"code": "000000", "challenge": "none"}, "X-Forwarded-For", forwarded)
	}
	for range 30 {
		try("192.0.2.7").problem(401, "signin_over")
	}
	a := try("192.0.2.7")
	a.problem(429, "address_throttled")
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	require.NoError(t, err)
	require.LessOrEqual(t, seconds, 2)
	// What stands before the last address that is not a proxy's anybody can write.
	try("203.0.113.9, 192.0.2.7").problem(429, "address_throttled")
	try("203.0.113.9, 192.0.2.7, 10.1.2.3").problem(429, "address_throttled")
	try("203.0.113.9").problem(401, "signin_over")
	for range 29 {
		try("2001:db8::"+strconv.Itoa(len(uuid.NewString()))).problem(401, "signin_over")
	}
	try("2001:db8::77").problem(401, "signin_over")
	try("2001:db8::99").problem(429, "address_throttled") // of the same network
	w.send(nobody, http.MethodGet, "/livez", nil, "X-Forwarded-For", "192.0.2.7").is(200)
	// Without a proxy of ours the header is nobody's word.
	w.open(api.Config{}, front.Config{})
	for i := range 30 {
		try("198.51.100."+strconv.Itoa(i)).problem(401, "signin_over")
	}
	try("198.51.100.99").problem(429, "address_throttled")
}

func TestNoPasswordCodeOrTokenIsWrittenDownAnywhere(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t, signon.LinkByUsername)
	var secrets []string
	secret := func(texts ...string) { secrets = append(secrets, texts...) }
	const fresh, wrong = "seven green herons", "a wrong password of mine"
	secret(fresh, wrong, clientSecret)
	w.send(nobody, http.MethodPost, "/v1/session", map[string]any{"login": wrong, "password": wrong}).problem(401, "signin_failed")
	b := w.browser()
	b.visit(http.MethodPost, "/v1/session", map[string]any{"login": "registrar", "password": registrytest.Password}).is(http.StatusCreated)
	b.visit(http.MethodPost, "/v1/account/password", map[string]any{"old": wrong, "new": fresh}).problem(422, "form_invalid")
	b.visit(http.MethodPost, "/v1/account/password", map[string]any{"old": registrytest.Password, "new": fresh}).is(http.StatusNoContent)
	address := read[api.Enrolment](b.visit(http.MethodPost, "/v1/account/factor", nil).is(http.StatusCreated)).Address
	u, err := url.Parse(address)
	require.NoError(t, err)
	secret(u.Query().Get("secret"))
	first := codeOf(t, address, w.clock())
	codes := read[api.RecoveryCodes](b.visit(http.MethodPost, "/v1/account/factor/confirm", map[string]any{"code": first}).is(200)).Codes
	secret(codes...)
	half := read[api.SessionView](w.signIn("registrar", "password", fresh, "kind", "bearer").is(http.StatusCreated)).Challenge
	secret(half)
	w.send(nobody, http.MethodPost, "/v1/session/code", map[string]any{"code": codes[0] + "x", "challenge": half}).problem(401, "code_wrong")
	session := read[api.SessionView](w.send(nobody, http.MethodPost, "/v1/session/code", map[string]any{"code": codes[0], "challenge": half}).is(http.StatusCreated)).Token
	token := read[registry.NewToken](w.send(nobody, http.MethodPost, "/v1/account/tokens", map[string]any{"name": "x", "scopes": []string{"drives:read"}, "days": 9}, bearer(session)...).is(http.StatusCreated)).Token
	secret(session, token)
	w.send(nobody, http.MethodGet, "/v1/drives", nil, bearer(token)...).is(200)
	w.raw(nobody, http.MethodGet, "/v1/drives?token="+token, nil).problem(400, "token_in_address")
	secret(read[api.OneTimePassword](w.send(w.Security, http.MethodPost, "/v1/staff/"+w.Coordinator.Staff().String()+"/reset-password", nil).is(200)).Password)
	p.is("first", map[string]any{"preferred_username": "auditor"})
	at := w.browser()
	back := at.toProvider("")
	for _, cookie := range at.cookies {
		secret(cookie)
	}
	at.visit(http.MethodGet, back, nil).is(http.StatusSeeOther)
	at.visit(http.MethodGet, back, nil).problem(401, "signon_over")
	secret(stateOf(t, back))
	secret(append(p.codes, p.tokens...)...)
	for _, jar := range []*browser{b, at} {
		for _, cookie := range jar.cookies {
			secret(cookie)
		}
	}
	require.Greater(t, len(secrets), 20)

	log := w.logged()
	require.Contains(t, log, "POST /v1/session/code")
	var everything strings.Builder
	for _, table := range []string{"audit", "sessions", "signins_half_done", "staff", "api_tokens", "recovery_codes", "signin_locks", "signons_under_way", "staff_identities", "idempotency_keys", "notices", "events"} {
		var rows json.RawMessage
		require.NoError(t, w.db.QueryRow(context.Background(), `SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM `+table+` t`).Scan(&rows))
		everything.Write(rows)
	}
	for _, s := range secrets {
		require.NotEmpty(t, s)
		require.NotContains(t, log, s, "the log")
		require.NotContains(t, everything.String(), s, "the database")
		require.NotContains(t, everything.String(), strings.ReplaceAll(s, "-", ""), "the database")
	}
	require.NotRegexp(t, regexp.MustCompile(`llr[sc]?_[\w-]{43}`), log)
}

func TestOnesSessionsAreOnesOwnToEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	enter := func() *browser {
		b := w.browser()
		b.visit(http.MethodPost, "/v1/session", map[string]any{"login": "registrar", "password": registrytest.Password}).is(http.StatusCreated)
		return b
	}
	one, two, three := enter(), enter(), enter()
	list := read[api.Sessions](one.visit(http.MethodGet, "/v1/account/sessions", nil).is(200)).Items
	require.Len(t, list, 3)
	require.Equal(t, "Go-http-client/1.1", list[0].Agent)
	one.visit(http.MethodDelete, "/v1/account/sessions/"+list[0].ID.String(), nil).is(http.StatusNoContent)
	three.visit(http.MethodGet, "/v1/session", nil).problem(401, "not_signed_in")
	one.visit(http.MethodDelete, "/v1/account/sessions", nil).is(http.StatusNoContent)
	two.visit(http.MethodGet, "/v1/session", nil).problem(401, "not_signed_in")
	one.visit(http.MethodGet, "/v1/session", nil).is(200)
	w.send(w.Coordinator, http.MethodDelete, "/v1/account/sessions/"+list[2].ID.String(), nil).problem(404, "session_not_found")
	w.send(w.Security, http.MethodDelete, "/v1/staff/"+w.Registrar.Staff().String()+"/sessions", nil).is(http.StatusNoContent)
	one.visit(http.MethodGet, "/v1/session", nil).problem(401, "not_signed_in")
	one = enter()
	one.visit(http.MethodPatch, "/v1/account", map[string]any{"locale": "en"}).is(http.StatusNoContent)
	require.Equal(t, "en", one.visit(http.MethodGet, "/v1/account/sessions", nil).is(200).header.Get("Content-Language"))
	// An hour without anybody at it ends a browser's.
	later := time.Now().Add(61 * time.Minute)
	w.now.Store(&later)
	one.visit(http.MethodGet, "/v1/session", nil).problem(401, "not_signed_in")
}
