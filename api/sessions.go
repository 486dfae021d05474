package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
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
	SetCookie *http.Cookie `header:"Set-Cookie"`
	Body      SessionView
}

func (a *API) sessionRoutes() {
	route(a, operation{method: http.MethodPost, path: "/v1/session", id: "sign-in", tag: "session", says: "Sign in.", body: SignInForm{}, public: true, status: http.StatusCreated},
		func(ctx context.Context, _ registry.Actor, in *struct{ Sent }) (*sessionAnswer, error) {
			f, err := decode[SignInForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			if problems := forms.Check(f); len(problems) > 0 {
				return nil, registry.Invalidated(problems)
			}
			kind, life := registry.BrowserSession, time.Duration(0)
			if f.Kind == string(registry.BearerSession) {
				kind, life = registry.BearerSession, time.Duration(max(f.Days, 1))*24*time.Hour
			}
			s, err := a.store.SignIn(ctx, f.Login, f.Password, kind, life)
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
		func(_ context.Context, who registry.Actor, _ *struct{}) (*One[SessionView], error) {
			return &One[SessionView]{Body: sessionView(who)}, nil
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/session", id: "sign-out", tag: "session", says: "Sign out: the token is good no more.", status: http.StatusNoContent},
		func(ctx context.Context, _ registry.Actor, _ *struct{}) (*struct {
			SetCookie *http.Cookie `header:"Set-Cookie"`
		}, error) {
			err := a.store.SignOut(ctx, requestOf(ctx).token)
			return &struct {
				SetCookie *http.Cookie `header:"Set-Cookie"`
			}{a.cookie("", time.Unix(1, 0))}, err
		})
}

func (a *API) cookie(token string, expires time.Time) *http.Cookie {
	return &http.Cookie{Name: cookieName, Value: token, Path: "/", Expires: expires, HttpOnly: true, Secure: a.secure, SameSite: http.SameSiteLaxMode}
}

func sessionView(who registry.Actor) SessionView {
	return SessionView{Staff: who.Staff(), Name: who.Name, Organisation: who.Organisation(), Locale: string(who.Locale)}
}
