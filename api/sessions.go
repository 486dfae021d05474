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

// SessionView is who is signed in.
type SessionView struct {
	Staff        uuid.UUID  `json:"staff"`
	Name         string     `json:"name"`
	Organisation uuid.UUID  `json:"organisation"`
	Locale       string     `json:"locale"`
	Token        string     `json:"token,omitempty" doc:"Shown once, to programs."`
	Expires      *time.Time `json:"expires,omitempty"`
}

type sessionAnswer struct {
	SetCookie string `header:"Set-Cookie" doc:"For browsers."`
	Body      SessionView
}

// goodbye takes a browser's cookie back.
type goodbye struct {
	SetCookie string `header:"Set-Cookie"`
}

func (a *API) sessionRoutes() {
	route(a, operation{method: http.MethodPost, path: "/v1/session", id: "sign-in", tag: "session", says: "Sign in.", body: SignInForm{}, public: true, status: http.StatusCreated},
		func(ctx context.Context, _ registry.Actor, in *struct{ Sent }) (*sessionAnswer, error) {
			f, err := decode[SignInForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			kind, life := registry.BrowserSession, time.Duration(0)
			if f.Kind == string(registry.BearerSession) {
				kind, life = registry.BearerSession, time.Duration(max(f.Days, 1))*24*time.Hour
			}
			s, err := a.signIn(ctx, f, kind, life)
			if err != nil {
				return nil, err
			}
			out := &sessionAnswer{Body: sessionView(s.Actor)}
			out.Body.Expires = &s.Expires
			if kind == registry.BearerSession {
				out.Body.Token = s.Token
			} else {
				out.SetCookie = a.cookie(s.Token, s.Expires)
			}
			return out, nil
		})
	route(a, operation{method: http.MethodGet, path: "/v1/session", id: "who-am-i", tag: "session", says: "Who is signed in."},
		func(_ context.Context, who registry.Actor, _ *struct{}) (*Plain[SessionView], error) {
			return plain(sessionView(who)), nil
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/session", id: "sign-out", tag: "session", says: "Sign out: the token is good no more.", status: http.StatusNoContent},
		func(ctx context.Context, _ registry.Actor, _ *struct{}) (*goodbye, error) {
			err := a.store.SignOut(ctx, requestOf(ctx).token)
			return &goodbye{a.cookie("", time.Unix(1, 0))}, err
		})
}

// Checking a password takes 64 MB for a moment, and whoever wants to may send one: only so many are checked at once, and
// the others wait their turn for a while.
const (
	signInsAtOnce  = 4
	signInPatience = 5 * time.Second
)

func (a *API) signIn(ctx context.Context, f SignInForm, kind registry.SessionKind, life time.Duration) (registry.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, signInPatience)
	defer cancel()
	select {
	case a.signing <- struct{}{}:
		defer func() { <-a.signing }()
		return a.store.SignIn(ctx, f.Login, f.Password, kind, life)
	case <-ctx.Done():
		return registry.Session{}, registry.NewError(registry.Unavailable, "busy", nil)
	}
}

func (a *API) cookie(token string, expires time.Time) string {
	c := http.Cookie{Name: cookieName, Value: token, Path: "/", Expires: expires, HttpOnly: true, Secure: a.secure, SameSite: http.SameSiteLaxMode}
	return c.String()
}

func sessionView(who registry.Actor) SessionView {
	return SessionView{Staff: who.Staff(), Name: who.Name, Organisation: who.Organisation(), Locale: string(who.Locale)}
}
