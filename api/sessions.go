package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/front"
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
			err = a.front.Checking(ctx, func(ctx context.Context) error {
				s, err = a.store.SignIn(ctx, f.Login, f.Password, kind, life, requestOf(ctx).From)
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
				f.Challenge = a.front.In(in.Cookie, front.HalfCookie)
			}
			s, err := a.store.SignInWithCode(ctx, f.Challenge, f.Code, requestOf(ctx).From)
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
			return &goodbye{a.front.Gone(front.SessionCookie)}, a.store.SignOut(ctx, in.token, in.ID)
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
		out.SetCookie = a.front.Kept(s)
	case s.Next == registry.NextCode:
		out.Body.Challenge = s.Token
	default:
		out.Body.Token = s.Token
	}
	return out, nil
}

func sessionView(who registry.Actor) SessionView {
	return SessionView{Staff: who.Staff(), Name: who.Name, Organisation: who.Organisation(), Locale: string(who.Locale)}
}
