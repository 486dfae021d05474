package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
)

// SignInForm opens a session.
type SignInForm struct {
	Login    string `json:"login" validate:"required,max=60"`
	Password string `json:"password" validate:"required,max=200"`
	Kind     string `json:"kind,omitempty" validate:"omitempty,oneof=browser bearer" doc:"A browser gets a cookie; a program gets a token. A browser when left out."`
	Days     int    `json:"days,omitempty" validate:"omitempty,min=1,max=90" doc:"How long a program's token lives; one day when left out."`
}

// CodeForm is the second step of signing in.
type CodeForm struct {
	Code      string `json:"code" validate:"required,max=40" doc:"Six digits from the telephone, or one of the recovery codes."`
	Challenge string `json:"challenge,omitempty" validate:"max=200" doc:"From the first step; a browser has it as a cookie."`
}

// SessionView is who is signed in, and what their session is.
type SessionView struct {
	Staff        uuid.UUID  `json:"staff,omitzero" doc:"Absent while a code is to come." class:"staff" mask:"drop"`
	Name         string     `json:"name,omitempty" class:"staff" mask:"drop"`
	Organisation uuid.UUID  `json:"organisation,omitzero" class:"staff" mask:"drop"`
	Locale       string     `json:"locale,omitempty" class:"staff" mask:"drop"`
	Next         string     `json:"next,omitempty" doc:"What has to be done before anything else: code (send one to /v1/session/code), password (change it), factor (enrol a second one)." class:"open" mask:"none"`
	Challenge    string     `json:"challenge,omitempty" doc:"For programs, while a code is to come." class:"staff" mask:"clear"`
	Token        string     `json:"token,omitempty" doc:"Shown once, to programs." class:"staff" mask:"clear"`
	Expires      *time.Time `json:"expires,omitempty" class:"staff" mask:"drop"`
	Session      *uuid.UUID `json:"session,omitempty" doc:"Its name in the list of one's sessions." class:"staff" mask:"drop"`
	Kind         string     `json:"kind,omitempty" doc:"browser, bearer, or token for a program's own." class:"staff" mask:"drop"`
	Factor       string     `json:"factor,omitempty" doc:"The second factor: totp, recovery or provider." class:"staff" mask:"drop"`
	Scopes       []string   `json:"scopes,omitempty" doc:"What a program's token is limited to." class:"staff" mask:"drop"`
}

type sessionAnswer struct {
	SetCookie []string    `header:"Set-Cookie" doc:"For browsers." class:"open" mask:"none"`
	Body      SessionView `class:"open" mask:"none"`
}

// goodbye takes a browser's cookie back.
type goodbye struct {
	SetCookie string `header:"Set-Cookie" class:"open" mask:"none"`
}

func (a *API) sessionRoutes() {
	const tag = "session"
	route(a, operation{method: http.MethodPost, path: "/v1/session", id: "sign-in", tag: tag, says: "Sign in. With a second factor it is the first of two steps.", body: SignInForm{}, public: true, guarded: true, signs: true, status: http.StatusCreated},
		func(ctx context.Context, _ registry.Actor, in *struct{ Sent }) (*sessionAnswer, error) {
			f, err := decode[SignInForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			kind, life := registry.BrowserSession, time.Duration(0)
			if f.Kind == string(registry.BearerSession) {
				kind, life = registry.BearerSession, time.Duration(max(f.Days, 1))*24*time.Hour
			}
			var s registry.Session
			err = a.checking(ctx, func(ctx context.Context) error {
				s, err = a.store.SignIn(ctx, f.Login, f.Password, kind, life, requestOf(ctx).from)
				return err
			})
			return a.sessionAnswer(s, err)
		})
	route(a, operation{method: http.MethodPost, path: "/v1/session/code", id: "sign-in-with-code", tag: tag, says: "The second step of signing in: a code of the second factor. Each code is good once.", body: CodeForm{}, public: true, guarded: true, signs: true, status: http.StatusCreated},
		func(ctx context.Context, _ registry.Actor, in *struct {
			Sent
			Cookie string `header:"Cookie" hidden:"true"`
		}) (*sessionAnswer, error) {
			f, err := decode[CodeForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			if f.Challenge == "" {
				f.Challenge = cookieIn(in.Cookie, a.cookieName(halfCookie))
			}
			s, err := a.store.SignInWithCode(ctx, f.Challenge, f.Code, requestOf(ctx).from)
			return a.sessionAnswer(s, err)
		})
	route(a, operation{method: http.MethodGet, path: "/v1/session", id: "who-am-i", tag: tag, says: "Who is signed in.", scope: anyToken, during: []string{registry.NextPassword, registry.NextFactor}},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Plain[SessionView], error) {
			caller := callerOf(ctx)
			view := sessionView(who)
			view.Next, view.Session, view.Kind, view.Factor, view.Scopes, view.Expires = caller.Next, &caller.Session, string(caller.Kind), caller.Factor, caller.Scopes, &caller.Expires
			return plain(view), nil
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/session", id: "sign-out", tag: tag, says: "Sign out: the token is good no more.", status: http.StatusNoContent, during: []string{registry.NextPassword, registry.NextFactor}},
		func(ctx context.Context, _ registry.Actor, _ *struct{}) (*goodbye, error) {
			in := requestOf(ctx)
			return &goodbye{a.cookie(sessionCookie, "", time.Unix(1, 0))}, a.store.SignOut(ctx, in.token, in.id)
		})
}

func (a *API) sessionAnswer(s registry.Session, err error) (*sessionAnswer, error) {
	if err != nil {
		return nil, err
	}
	out := &sessionAnswer{Body: sessionView(s.Actor)}
	out.Body.Next, out.Body.Expires = s.Next, &s.Expires
	switch {
	case s.Kind == registry.BrowserSession:
		out.SetCookie = a.cookies(s)
	case s.Next == registry.NextCode:
		out.Body.Challenge = s.Token
	default:
		out.Body.Token = s.Token
	}
	return out, nil
}

// Checking a password takes 64 MB for a moment, and whoever wants to may send one: only so many are checked at once, and
// the others wait their turn for a while.
const (
	signInsAtOnce  = 4
	signInPatience = 5 * time.Second
)

func (a *API) checking(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, signInPatience)
	defer cancel()
	select {
	case a.signing <- struct{}{}:
		defer func() { <-a.signing }()
		return check(ctx)
	case <-ctx.Done():
		return registry.NewError(registry.Unavailable, "busy", nil)
	}
}

// The cookies. All are kept from scripts and from other sites' forms. Lax lets the session come along when a link from
// elsewhere, such as the provider of single sign-on, leads here; nothing that changes anything is a link.
const (
	sessionCookie = "liferelay_session"
	halfCookie    = "liferelay_signin" // a sign-in that waits for its code
	signOnCookie  = "liferelay_sso"    // a browser that is away at the provider
)

// cookieName is what a browser knows a cookie by. With __Host- it takes the cookie over TLS only, from this host only, and
// gives it to no other.
func (a *API) cookieName(name string) string {
	if a.secure {
		return "__Host-" + name
	}
	return name
}

func (a *API) cookie(name, value string, expires time.Time) string {
	c := http.Cookie{Name: a.cookieName(name), Value: value, Path: "/", Expires: expires, HttpOnly: true, Secure: a.secure, SameSite: http.SameSiteLaxMode}
	if name == halfCookie {
		c.SameSite = http.SameSiteStrictMode // only our own page sends a code
	}
	return c.String()
}

// cookies are what a browser keeps of a session, or of half of one.
func (a *API) cookies(s registry.Session) []string {
	if s.Next == registry.NextCode {
		return []string{a.cookie(halfCookie, s.Token, s.Expires)}
	}
	return []string{a.cookie(sessionCookie, s.Token, s.Expires)}
}

// cookieIn finds a cookie in a Cookie header.
func cookieIn(header, name string) string {
	cookies, err := http.ParseCookie(header)
	if err != nil {
		return ""
	}
	for _, c := range cookies {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func sessionView(who registry.Actor) SessionView {
	return SessionView{Staff: who.Staff(), Name: who.Name, Organisation: who.Organisation(), Locale: string(who.Locale)}
}
