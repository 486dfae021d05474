package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/signon"
)

// redirect leads a browser on.
type redirect struct {
	Location  string   `header:"Location" class:"open" mask:"none"`
	SetCookie []string `header:"Set-Cookie" class:"open" mask:"none"`
}

var formBody = []string{"application/x-www-form-urlencoded"}

// signOnRoutes are where browsers go to and come back from the provider of single sign-on, and where the provider says that
// somebody has signed out there.
func (a *API) signOnRoutes() {
	const tag = "session"
	route(a, operation{method: http.MethodGet, path: "/v1/sso/start", id: "sso-start", tag: tag, says: "Sign in at the provider of single sign-on: leads the browser there.", public: true, guarded: true, lenient: true, status: http.StatusSeeOther},
		func(ctx context.Context, _ registry.Actor, in *struct {
			ReturnTo string `query:"return_to" doc:"The page of this host to go to afterwards; / when left out."`
		}) (*redirect, error) {
			if a.signOn == nil {
				return nil, errNoSignOn
			}
			state, secret, expires, err := a.store.BeginSignOn(ctx, front.LocalPath(in.ReturnTo))
			if err != nil {
				return nil, err
			}
			address, err := a.signOn.Begin(ctx, state, secret)
			if err != nil {
				return nil, signOnProblem(err)
			}
			return &redirect{address, []string{a.front.Cookie(front.SignOnCookie, secret, expires)}}, nil
		})
	route(a, operation{method: http.MethodGet, path: "/v1/sso/callback", id: "sso-callback", tag: tag, says: "Where the provider of single sign-on leads the browser back to.", public: true, guarded: true, signs: true, lenient: true, status: http.StatusSeeOther},
		func(ctx context.Context, _ registry.Actor, in *struct {
			Code   string `query:"code"`
			State  string `query:"state"`
			Error  string `query:"error" doc:"Why the provider sends nobody."`
			Issuer string `query:"iss"`
			Cookie string `header:"Cookie" hidden:"true"`
		}) (*redirect, error) {
			if a.signOn == nil {
				return nil, errNoSignOn
			}
			secret := a.front.In(in.Cookie, front.SignOnCookie)
			returnTo, err := a.store.ReturnFromSignOn(ctx, in.State, secret)
			if err != nil {
				return nil, err
			}
			if in.Error != "" || in.Issuer != "" && in.Issuer != a.signOn.Issuer() {
				return nil, signOnProblem(signon.ErrRefused)
			}
			who, err := a.signOn.Finish(ctx, in.Code, secret)
			if err != nil {
				return nil, signOnProblem(err)
			}
			s, err := a.store.SignInByProvider(ctx, registry.SignedOn{
				IdentityForm: registry.IdentityForm{Issuer: a.signOn.Issuer(), Subject: who.Subject}, Login: who.Login, Factor: who.Factor, Session: who.Session,
			}, requestOf(ctx).From)
			if err != nil {
				return nil, err
			}
			if s.Next != "" { // the page asks for it
				returnTo = withNext(returnTo, s.Next)
			}
			return &redirect{returnTo, append(a.front.Kept(s), a.front.Gone(front.SignOnCookie))}, nil
		})
	route(a, operation{method: http.MethodPost, path: "/v1/sso/logout", id: "sso-logout", tag: tag, says: "Where the provider says that somebody has signed out there (back-channel logout): their sessions end.", public: true, lenient: true, takes: formBody, status: http.StatusNoContent},
		func(ctx context.Context, _ registry.Actor, in *struct {
			RawBody []byte `contentType:"application/x-www-form-urlencoded"`
		}) (*done, error) {
			if a.signOn == nil {
				return nil, errNoSignOn
			}
			sent, err := url.ParseQuery(string(in.RawBody))
			if err != nil {
				return nil, errUnreadable
			}
			ended, err := a.signOn.SignOut(ctx, sent.Get("logout_token"))
			if errors.Is(err, signon.ErrRefused) {
				return nil, errLogoutToken
			}
			if err != nil {
				return nil, signOnProblem(err)
			}
			return nil, a.store.SignOutByProvider(ctx, a.signOn.Issuer(), ended.Subject, ended.Session, requestOf(ctx).ID)
		})
}

func signOnProblem(err error) error {
	if errors.Is(err, signon.ErrAway) {
		return registry.NewError(registry.Unavailable, "signon_away", nil)
	}
	return registry.NewError(registry.Unsigned, "signon_refused", nil)
}

func withNext(path, next string) string {
	u, err := url.Parse(path)
	if err != nil {
		return "/?next=" + next
	}
	q := u.Query()
	q.Set("next", next)
	u.RawQuery = q.Encode()
	return u.String()
}
