package api_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/storage"
	fositejwt "github.com/ory/fosite/token/jwt"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/signon"
)

// provider is a provider of single sign-on: the endpoints around fosite, which does the protocol, as it does in Hydra.
type provider struct {
	t      testing.TB
	server *httptest.Server
	key    *rsa.PrivateKey
	shown  rsa.PublicKey // which it publishes
	// Who is at the browser, as the provider sees it.
	claims atomic.Pointer[fositejwt.IDTokenClaims]
	nonce  string // which it gives in place of the one that was asked for
	codes  []string
	tokens []string
}

const (
	callback     = "https://liferelay.example/v1/sso/callback"
	clientSecret = "foobar" // of fosite's example client
)

func newProvider(t testing.TB) *provider {
	p := &provider{t: t}
	var err error
	p.key, err = rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p.shown = p.key.PublicKey
	mux := http.NewServeMux()
	p.server = httptest.NewServer(mux)
	t.Cleanup(p.server.Close)
	config := &fosite.Config{IDTokenIssuer: p.server.URL, TokenURL: p.server.URL + "/token", GlobalSecret: []byte(rand.Text() + rand.Text()), EnforcePKCE: true, ScopeStrategy: fosite.ExactScopeStrategy}
	store := storage.NewExampleStore()
	client := store.Clients["my-client"].(*fosite.DefaultClient)
	client.RedirectURIs, client.Scopes = []string{callback}, []string{"openid", "profile", "email"}
	oauth := compose.ComposeAllEnabled(config, store, p.key)
	write := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{
			"issuer": p.server.URL, "authorization_endpoint": p.server.URL + "/auth", "token_endpoint": p.server.URL + "/token", "jwks_uri": p.server.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		write(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.shown, Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /auth", func(w http.ResponseWriter, r *http.Request) {
		asked, err := oauth.NewAuthorizeRequest(r.Context(), r)
		if err != nil {
			oauth.WriteAuthorizeError(r.Context(), w, asked, err)
			return
		}
		for _, scope := range asked.GetRequestedScopes() {
			asked.GrantScope(scope)
		}
		if p.nonce != "" {
			asked.GetRequestForm().Set("nonce", p.nonce)
		}
		claims := *p.claims.Load()
		answer, err := oauth.NewAuthorizeResponse(r.Context(), asked, &openid.DefaultSession{Claims: &claims, Headers: &fositejwt.Headers{}, Subject: claims.Subject})
		if err != nil {
			oauth.WriteAuthorizeError(r.Context(), w, asked, err)
			return
		}
		p.codes = append(p.codes, answer.GetCode())
		oauth.WriteAuthorizeResponse(r.Context(), w, asked, answer)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		asked, err := oauth.NewAccessRequest(r.Context(), r, &openid.DefaultSession{Claims: &fositejwt.IDTokenClaims{}, Headers: &fositejwt.Headers{}})
		if err != nil {
			oauth.WriteAccessError(r.Context(), w, asked, err)
			return
		}
		answer, err := oauth.NewAccessResponse(r.Context(), asked)
		if err != nil {
			oauth.WriteAccessError(r.Context(), w, asked, err)
			return
		}
		p.tokens = append(p.tokens, answer.GetAccessToken(), answer.GetExtra("id_token").(string))
		oauth.WriteAccessResponse(r.Context(), w, asked, answer)
	})
	p.is("248289761001", nil)
	return p
}

// is says who sits at the browser.
func (p *provider) is(subject string, more map[string]any) {
	claims := &fositejwt.IDTokenClaims{Subject: subject, Extra: map[string]any{"sid": "sid of " + subject}}
	for k, v := range more {
		if k == "amr" {
			claims.AuthenticationMethodsReferences = v.([]string)
			continue
		}
		claims.Extra[k] = v
	}
	p.claims.Store(claims)
}

// signed signs a token with the provider's key.
func (p *provider) signed(claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: p.key}, (&jose.SignerOptions{}).WithType("logout+jwt"))
	require.NoError(p.t, err)
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(p.t, err)
	return token
}

func (p *provider) config() signon.Config {
	return signon.Config{Issuer: p.server.URL, ClientID: "my-client", ClientSecret: clientSecret, RedirectURL: callback}
}

// browser is somebody's, with the cookies that it was given.
type browser struct {
	w       *world
	cookies map[string]string
}

func (w *world) browser() *browser { return &browser{w, map[string]string{}} }

// visit goes to an address of ours.
func (b *browser) visit(method, path string, body any) answer {
	b.w.t.Helper()
	var jar []string
	for name, value := range b.cookies {
		jar = append(jar, name+"="+value)
	}
	a := b.w.send(nobody, method, path, body, "Cookie", strings.Join(jar, "; "))
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		require.True(b.w.t, c.HttpOnly && c.Secure, c.Name)
		require.True(b.w.t, strings.HasPrefix(c.Name, "__Host-") && c.Path == "/" && c.Domain == "", c.Name)
		require.Contains(b.w.t, []http.SameSite{http.SameSiteLaxMode, http.SameSiteStrictMode}, c.SameSite)
		if b.cookies[c.Name] = c.Value; c.Value == "" {
			delete(b.cookies, c.Name)
		}
	}
	return a
}

// toProvider begins to sign in, and gives the address to which the provider leads the browser back.
func (b *browser) toProvider(query string) string {
	b.w.t.Helper()
	there := b.visit(http.MethodGet, "/v1/sso/start"+query, nil).is(http.StatusSeeOther).header.Get("Location")
	u, err := url.Parse(there)
	require.NoError(b.w.t, err)
	q := u.Query()
	require.Equal(b.w.t, []string{"code", "S256", "my-client"}, []string{q.Get("response_type"), q.Get("code_challenge_method"), q.Get("client_id")})
	for _, kept := range b.cookies {
		require.NotContains(b.w.t, there, kept, "the browser's secret goes to the provider")
	}
	resp, err := direct.Get(there)
	require.NoError(b.w.t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(b.w.t, http.StatusSeeOther, resp.StatusCode)
	back, err := url.Parse(resp.Header.Get("Location"))
	require.NoError(b.w.t, err)
	return back.RequestURI()
}

// withProvider is a world with single sign-on.
func withProvider(t testing.TB, link signon.Link) (*world, *provider) {
	w, p := newWorld(t, nil), newProvider(t)
	c := p.config()
	c.LinkBy = link
	w.open(api.Config{SignOn: signon.New(c, w.clock)}, front.Config{})
	return w, p
}

func TestOneSignsInAtTheProviderOfSingleSignOn(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t, signon.LinkByAdministrator)
	link := map[string]any{"issuer": p.server.URL, "subject": "248289761001"}
	staff := "/v1/staff/" + w.Registrar.Staff().String()
	b := w.browser()
	b.visit(http.MethodGet, b.toProvider(""), nil).problem(401, "signon_unknown")
	w.send(w.Security, http.MethodPost, staff+"/identities", link).is(http.StatusNoContent)

	b = w.browser()
	back := b.toProvider("?return_to=%2Fdrives%3Fopen%3D1")
	a := b.visit(http.MethodGet, back, nil).is(http.StatusSeeOther)
	require.Equal(t, "/drives?open=1", a.header.Get("Location"))
	view := read[api.SessionView](b.visit(http.MethodGet, "/v1/session", nil).is(200))
	require.Equal(t, w.Registrar.Staff(), view.Staff)
	require.Len(t, b.cookies, 1, "the secret of the way to the provider is thrown away")
	sessions := read[api.Sessions](b.visit(http.MethodGet, "/v1/account/sessions", nil).is(200)).Items
	require.Equal(t, "oidc", sessions[0].Method)
	require.Equal(t, "127.0.0.1", sessions[0].Address)

	// The same address again, in this browser or another, opens nothing.
	b.visit(http.MethodGet, back, nil).problem(401, "signon_over")
	// Neither does an answer that was made for another browser.
	other, theirs := w.browser(), w.browser()
	stolen := other.toProvider("")
	theirs.toProvider("")
	theirs.visit(http.MethodGet, stolen, nil).problem(401, "signon_over")
	w.browser().visit(http.MethodGet, stolen, nil).problem(401, "signon_over")
	// Nor one with a state that nobody gave.
	u, err := url.Parse(stolen)
	require.NoError(t, err)
	q := u.Query()
	q.Set("state", rand.Text())
	other.visit(http.MethodGet, u.Path+"?"+q.Encode(), nil).problem(401, "signon_over")
	other.visit(http.MethodGet, stolen, nil).is(http.StatusSeeOther)
	// A code that was used already, with a state of one's own.
	b = w.browser()
	fresh, err := url.Parse(b.toProvider(""))
	require.NoError(t, err)
	q = fresh.Query()
	q.Set("code", u.Query().Get("code"))
	b.visit(http.MethodGet, fresh.Path+"?"+q.Encode(), nil).problem(401, "signon_refused")
	// What the provider refuses, and what another provider says.
	b = w.browser()
	state := stateOf(t, b.toProvider(""))
	b.visit(http.MethodGet, "/v1/sso/callback?error=access_denied&state="+state, nil).problem(401, "signon_refused")
	b = w.browser()
	b.visit(http.MethodGet, b.toProvider("")+"&iss=https%3A%2F%2Felsewhere.example", nil).problem(401, "signon_refused")
	b = w.browser()
	b.visit(http.MethodGet, b.toProvider("")+"&session_state=x&iss="+url.QueryEscape(p.server.URL), nil).is(http.StatusSeeOther)
	// Whoever may not sign in here may not by way of the provider either.
	w.send(w.Administrator, http.MethodPost, staff+"/deactivate", nil).is(http.StatusNoContent)
	b = w.browser()
	b.visit(http.MethodGet, b.toProvider(""), nil).problem(401, "signon_unknown")

	log := w.logged()
	for _, secret := range append(append(p.codes, p.tokens...), clientSecret, state) {
		require.NotContains(t, log, secret)
	}
	require.NotEmpty(t, p.tokens)
}

func stateOf(t testing.TB, address string) string {
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u.Query().Get("state")
}

func TestAnAnswerOfTheProvidersThatDoesNotHoldOpensNothing(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t, signon.LinkByAdministrator)
	require.NoError(t, w.Store.LinkIdentity(context.Background(), w.Security, w.Registrar.Staff(), registry.IdentityForm{Issuer: p.server.URL, Subject: "248289761001"}))
	p.nonce = "a nonce of somebody else's"
	b := w.browser()
	b.visit(http.MethodGet, b.toProvider(""), nil).problem(401, "signon_refused")
	p.nonce = ""
	// A token that has ended: the provider gives it for an hour, and this program's clock is two hours on.
	c := p.config()
	w.open(api.Config{SignOn: signon.New(c, func() time.Time { return time.Now().Add(2 * time.Hour) })}, front.Config{})
	b = w.browser()
	b.visit(http.MethodGet, b.toProvider(""), nil).problem(401, "signon_refused")
	// Another client's secret.
	c.ClientSecret = "not the secret"
	w.open(api.Config{SignOn: signon.New(c, nil)}, front.Config{})
	b = w.browser()
	b.visit(http.MethodGet, b.toProvider(""), nil).problem(401, "signon_refused")
	// Signed by another than the provider.
	c = p.config()
	w.open(api.Config{SignOn: signon.New(c, nil)}, front.Config{})
	b = w.browser()
	b.visit(http.MethodGet, b.toProvider(""), nil).is(http.StatusSeeOther)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	*p.key = *other
	b = w.browser()
	b.visit(http.MethodGet, b.toProvider(""), nil).problem(401, "signon_refused")
	p.shown = other.PublicKey // the provider has changed its key, and says so
	b = w.browser()
	b.visit(http.MethodGet, b.toProvider(""), nil).is(http.StatusSeeOther)
}

func TestAProviderThatIsAwayIsSaid(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t, signon.LinkByAdministrator)
	b := w.browser()
	back := b.toProvider("")
	p.server.Close()
	a := b.visit(http.MethodGet, back, nil)
	a.problem(503, "signon_away")
	require.NotEmpty(t, a.header.Get("Retry-After"))
	w.open(api.Config{SignOn: signon.New(p.config(), nil)}, front.Config{})
	w.browser().visit(http.MethodGet, "/v1/sso/start", nil).problem(503, "signon_away")
	w.signIn("registrar").is(http.StatusCreated)
	w.open(api.Config{}, front.Config{})
	w.browser().visit(http.MethodGet, "/v1/sso/start", nil).problem(404, "signon_none")
	w.browser().visit(http.MethodGet, "/v1/sso/callback?code=x&state=y", nil).problem(404, "signon_none")
}

func TestAnAccountIsLinkedAtFirstUseOnlyWhereThatWasChosen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		link   signon.Link
		claims map[string]any
		opens  bool
	}{
		{signon.LinkByAdministrator, map[string]any{"preferred_username": "registrar", "email": "registrar", "email_verified": true}, false},
		{signon.LinkByUsername, map[string]any{"preferred_username": "registrar"}, true},
		{signon.LinkByUsername, map[string]any{"preferred_username": "somebody", "email": "registrar", "email_verified": true}, false},
		{signon.LinkByEmail, map[string]any{"email": "registrar", "email_verified": true}, true},
		{signon.LinkByEmail, map[string]any{"email": "registrar", "email_verified": false}, false},
		{signon.LinkByEmail, map[string]any{"preferred_username": "registrar"}, false},
		{signon.LinkByUsername, map[string]any{}, false},
	} {
		w, p := withProvider(t, c.link)
		p.is("first", c.claims)
		b := w.browser()
		a := b.visit(http.MethodGet, b.toProvider(""), nil)
		if !c.opens {
			a.problem(401, "signon_unknown")
			continue
		}
		a.is(http.StatusSeeOther)
		p.is("second", c.claims)
		b = w.browser()
		b.visit(http.MethodGet, b.toProvider(""), nil).problem(401, "signon_unknown")
	}
}

func TestASecondFactorIsAskedForThatTheProviderDidNotAskFor(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t, signon.LinkByUsername)
	p.is("first", map[string]any{"preferred_username": "registrar"})
	b := w.browser()
	b.visit(http.MethodGet, b.toProvider(""), nil).is(http.StatusSeeOther)
	address := read[api.Enrolment](b.visit(http.MethodPost, "/v1/account/factor", nil).is(http.StatusCreated)).Address
	codes := read[api.RecoveryCodes](b.visit(http.MethodPost, "/v1/account/factor/confirm", map[string]any{"code": codeOf(t, address, w.clock())}).is(200)).Codes
	b = w.browser()
	a := b.visit(http.MethodGet, b.toProvider("?return_to=/page"), nil).is(http.StatusSeeOther)
	require.Equal(t, "/page?next=code", a.header.Get("Location"))
	b.visit(http.MethodGet, "/v1/session", nil).problem(401, "not_signed_in")
	b.visit(http.MethodPost, "/v1/session/code", map[string]any{"code": codes[0]}).is(http.StatusCreated)
	require.Equal(t, "recovery", read[api.SessionView](b.visit(http.MethodGet, "/v1/session", nil).is(200)).Factor)
	p.is("first", map[string]any{"amr": []string{"pwd", "otp"}})
	b = w.browser()
	b.visit(http.MethodGet, b.toProvider(""), nil).is(http.StatusSeeOther)
	require.Equal(t, "provider", read[api.SessionView](b.visit(http.MethodGet, "/v1/session", nil).is(200)).Factor)
}

func TestWhoeverSignsOutAtTheProviderIsSignedOutHere(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t, signon.LinkByUsername)
	p.is("first", map[string]any{"preferred_username": "registrar"})
	enter := func() *browser {
		b := w.browser()
		b.visit(http.MethodGet, b.toProvider(""), nil).is(http.StatusSeeOther)
		return b
	}
	claims := func(more map[string]any) map[string]any {
		out := map[string]any{
			"iss": p.server.URL, "aud": "my-client", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "jti": uuid.NewString(), "sub": "first",
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		}
		for k, v := range more {
			if out[k] = v; v == nil {
				delete(out, k)
			}
		}
		return out
	}
	end := func(token string) answer {
		return w.send(nobody, http.MethodPost, "/v1/sso/logout", []byte(url.Values{"logout_token": {token}}.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	}
	b := enter()
	idToken := p.tokens[len(p.tokens)-1]
	for what, token := range map[string]string{
		"none": "", "an id token": idToken, "another's": p.signed(claims(map[string]any{"iss": "https://elsewhere.example"})), "another client's": p.signed(claims(map[string]any{"aud": "x"})),
		"an old one": p.signed(claims(map[string]any{"iat": time.Now().Add(-time.Hour).Unix()})), "one that has ended": p.signed(claims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})),
		"no event": p.signed(claims(map[string]any{"events": nil})), "a nonce": p.signed(claims(map[string]any{"nonce": "x"})), "nobody": p.signed(claims(map[string]any{"sub": nil})),
		"signed by nobody": p.signed(claims(nil)) + "x",
	} {
		require.Equal(t, "logout_token", end(token).problem(400, "logout_token").Code, what)
	}
	b.visit(http.MethodGet, "/v1/session", nil).is(200)
	local := w.token(w.Registrar)
	end(p.signed(claims(map[string]any{"sub": "somebody else"}))).is(http.StatusNoContent)
	end(p.signed(claims(map[string]any{"sid": "another session"}))).is(http.StatusNoContent)
	b.visit(http.MethodGet, "/v1/session", nil).is(200)
	end(p.signed(claims(map[string]any{"sid": "sid of first"}))).is(http.StatusNoContent)
	b.visit(http.MethodGet, "/v1/session", nil).problem(401, "not_signed_in")
	w.send(nobody, http.MethodGet, "/v1/session", nil, "Authorization", "Bearer "+local).is(200)
	b = enter()
	end(p.signed(claims(nil))).is(http.StatusNoContent)
	b.visit(http.MethodGet, "/v1/session", nil).problem(401, "not_signed_in")
	w.send(nobody, http.MethodGet, "/v1/session", nil, "Authorization", "Bearer "+local).problem(401, "not_signed_in")
	require.Equal(t, 3, w.count(`SELECT count(*) FROM audit WHERE act = 'SignOutByProvider' AND request <> '' AND target = $1`, "staff:"+w.Registrar.Staff().String()))
	require.NotContains(t, w.logged(), idToken)
}

// Where a browser goes after signing in is a page of ours, whatever the link says that it followed.
func TestALinkCannotLeadElsewhereThroughSigningIn(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t, signon.LinkByUsername)
	p.is("first", map[string]any{"preferred_username": "registrar"})
	for asked, goes := range map[string]string{
		"https://elsewhere.example/": "/", "//elsewhere.example": "/", `/\elsewhere.example`: "/", "javascript:alert(1)": "/", "elsewhere": "/", "/\t/elsewhere.example": "/", "": "/", "/a?b=c": "/a?b=c",
	} {
		b := w.browser()
		a := b.visit(http.MethodGet, b.toProvider("?return_to="+url.QueryEscape(asked)), nil).is(http.StatusSeeOther)
		require.Equal(t, goes, a.header.Get("Location"), asked)
		require.Contains(t, a.header.Get("Content-Security-Policy"), "default-src 'none'")
	}
}
