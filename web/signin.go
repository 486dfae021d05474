package web

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// nextPages are where a session goes that still has something to do.
var nextPages = map[string]string{registry.NextCode: "/signin/code", registry.NextPassword: "/account/password", registry.NextFactor: "/account/factor"}

func (s *Site) signInPages() {
	s.page("GET /signin", s.signInPage, public)
	s.act("POST /signin", s.signIn, public, guarded)
	s.page("GET /signin/code", s.codePage, public)
	s.act("POST /signin/code", s.signInWithCode, public, guarded)
	s.act("POST /signout", s.signOut, during(registry.NextPassword, registry.NextFactor))
	s.page("GET /account/password", s.passwordPage, during(registry.NextPassword))
	s.act("POST /account/password", s.changePassword, during(registry.NextPassword))
	s.page("GET /account/factor", s.factorPage, during(registry.NextFactor))
	s.act("POST /account/factor", s.enrolFactor, during(registry.NextFactor))
	s.act("POST /account/factor/confirm", s.confirmFactor, during(registry.NextFactor))
	s.act("POST /language", s.changeLanguage, public)
	s.act("POST /purpose", s.changePurpose)
}

// signInForm opens a session.
type signInForm struct {
	Login    string `json:"login" validate:"required,max=60"`
	Password string `json:"password" validate:"required,max=200"`
	ReturnTo string `json:"return_to,omitempty" validate:"max=2000"`
}

func (s *Site) signInPage(v *Visit) (Answer, error) {
	back := front.LocalPath(v.Query("return_to"))
	if v.Query("next") == registry.NextCode || v.Query("sso") != "" {
		return v.To(nextPages[registry.NextCode], ""), nil
	}
	if v.Signed() {
		return v.To(back, ""), nil
	}
	return v.Bare("page.sign_in", signInPage(v, Blank(v, signInForm{ReturnTo: back}), "")), nil
}

func (s *Site) signIn(v *Visit) (Answer, error) {
	f, filled := Read[signInForm](v)
	says := ""
	if filled.Good() {
		var session registry.Session
		err := s.front.Checking(v, func(ctx context.Context) (err error) {
			session, err = s.store.SignIn(ctx, strings.TrimSpace(f.Login), f.Password, registry.BrowserSession, 0, front.Of(v).From)
			return err
		})
		if err == nil {
			return s.signedIn(v, session, f.ReturnTo), nil
		}
		if kind := registry.KindOf(err); kind != registry.Unsigned && kind != registry.Locked {
			return nil, err
		}
		v.refused = true
		says = v.sentence(err)
	}
	filled.values.Del("password")
	return v.Bare("page.sign_in", signInPage(v, filled, says)), nil
}

// sentence is an error in words, where a page shows it itself.
func (v *Visit) sentence(err error) string {
	if id := "error." + registry.CodeOf(err); lang.Has(id) {
		return v.Locale.Say(id, argsOf(err))
	}
	return v.Say("error.internal")
}

func (s *Site) signedIn(v *Visit, session registry.Session, returnTo string) Answer {
	for _, cookie := range s.front.Kept(session) {
		v.w.Header().Add("Set-Cookie", cookie)
	}
	if session.Next == registry.NextCode {
		return v.To("/signin/code?return_to="+url.QueryEscape(front.LocalPath(returnTo)), "")
	}
	v.w.Header().Add("Set-Cookie", s.front.Gone(front.HalfCookie))
	if next := nextPages[session.Next]; next != "" {
		return v.To(next, "")
	}
	return v.To(front.LocalPath(returnTo), "")
}

// codeForm is the second step.
type codeForm struct {
	Code     string `json:"code" validate:"required,max=40"`
	ReturnTo string `json:"return_to,omitempty" validate:"max=2000"`
}

func (s *Site) codePage(v *Visit) (Answer, error) {
	return v.Bare("page.sign_in_code", codePage(v, Blank(v, codeForm{ReturnTo: front.LocalPath(v.Query("return_to"))}), "")), nil
}

func (s *Site) signInWithCode(v *Visit) (Answer, error) {
	f, filled := Read[codeForm](v)
	says := ""
	if filled.Good() {
		session, err := s.store.SignInWithCode(v, s.front.In(v.r.Header.Get("Cookie"), front.HalfCookie), strings.TrimSpace(f.Code), front.Of(v).From)
		if err == nil {
			return s.signedIn(v, session, f.ReturnTo), nil
		}
		if kind := registry.KindOf(err); kind != registry.Unsigned && kind != registry.Locked && kind != registry.Invalid {
			return nil, err
		}
		v.refused = true
		says = v.sentence(err)
	}
	filled.values.Del("code")
	return v.Bare("page.sign_in_code", codePage(v, filled, says)), nil
}

func (s *Site) signOut(v *Visit) (Answer, error) {
	if err := s.store.SignOut(v, s.front.SessionIn(v.r), front.Of(v).ID); err != nil {
		return nil, err
	}
	v.w.Header().Add("Set-Cookie", s.front.Gone(front.SessionCookie))
	v.w.Header().Add("Set-Cookie", s.front.Gone(purposeCookie))
	return v.To("/signin", "said.signed_out"), nil
}

func (s *Site) passwordPage(v *Visit) (Answer, error) {
	return v.Page("page.password", passwordPage(v, Blank[registry.PasswordForm](v))), nil
}

func (s *Site) changePassword(v *Visit) (Answer, error) {
	f, filled := Read[registry.PasswordForm](v)
	if filled.Good() {
		err := s.front.Checking(v, func(ctx context.Context) error { return s.store.ChangePassword(ctx, v.Caller, f) })
		if err == nil {
			return v.To("/", "said.password_changed"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	filled.values = url.Values{}
	return v.Page("page.password", passwordPage(v, filled)), nil
}

func (s *Site) factorPage(v *Visit) (Answer, error) {
	return v.Page("page.factor", factorPage(v, "", "", nil, "")), nil
}

func (s *Site) enrolFactor(v *Visit) (Answer, error) {
	address, err := s.store.EnrolFactor(v, v.Actor)
	if err != nil {
		return nil, err
	}
	return s.factorAsked(v, address, "")
}

// factorAsked shows the secret for the telephone, as a square and as text.
func (s *Site) factorAsked(v *Visit, address, says string) (Answer, error) {
	code, err := qrCode(address)
	if err != nil {
		return nil, err
	}
	return v.Page("page.factor", factorPage(v, address, code, nil, says)), nil
}

func (s *Site) confirmFactor(v *Visit) (Answer, error) {
	codes, err := s.store.ConfirmFactor(v, v.Caller, strings.TrimSpace(v.Field("code")))
	if kind := registry.KindOf(err); kind == registry.Unsigned || kind == registry.Invalid || kind == registry.Refused {
		v.refused = true
		if address := v.Field("address"); strings.HasPrefix(address, "otpauth://totp/") {
			return s.factorAsked(v, address, v.sentence(err))
		}
	}
	if err != nil {
		return nil, err
	}
	return v.Page("page.factor", factorPage(v, "", "", codes, "")), nil
}

// changeLanguage keeps a stranger's language in the browser, and a member of staff's with the account.
func (s *Site) changeLanguage(v *Visit) (Answer, error) {
	l, ok := lang.Asked(v.Field("language"))
	if !ok {
		return nil, &registry.Error{Kind: registry.Refused, Code: "request_invalid"}
	}
	v.w.Header().Add("Set-Cookie", s.front.Cookie(languageCookie, string(l), time.Now().AddDate(1, 0, 0)))
	if v.Signed() {
		if err := s.store.ChangeOwnLocale(v, v.Actor, l); err != nil {
			return nil, err
		}
	}
	return v.To(front.LocalPath(v.Field("return_to")), ""), nil
}

// changePurpose says why somebody looks, until they say otherwise or sign out. It stands in the audit with everything they see.
func (s *Site) changePurpose(v *Visit) (Answer, error) {
	purpose := policy.Purpose(v.Field("purpose"))
	cookie := s.front.Gone(purposeCookie)
	if purpose != "" {
		cookie = s.front.Cookie(purposeCookie, string(purpose), v.Caller.Expires)
	}
	v.w.Header().Add("Set-Cookie", cookie)
	return v.To(front.LocalPath(v.Field("return_to")), ""), nil
}

func (s *Site) homePages() {
	s.page("GET /{$}", s.home)
	s.page("GET /live", s.follow)
	s.page("GET /regions", s.regions)
}

// home is the first page that is for the reader: the first entry of their menu.
func (s *Site) home(v *Visit) (Answer, error) {
	for _, group := range menu {
		for _, e := range entriesOf(v, group.entries) {
			return v.To(e.path, ""), nil
		}
	}
	return v.Page("page.home", homePage(v)), nil
}

// regions are suggestions for a field that asks for a region.
func (s *Site) regions(v *Visit) (Answer, error) {
	text := strings.TrimSpace(v.Query(v.Query("field")))
	var out []Option
	if len([]rune(text)) >= 2 {
		for _, r := range identity.FindRegions(text, 20) {
			out = append(out, Option{Value: string(r), Label: r.FullName()})
		}
	}
	return v.Part(suggestions(out)), nil
}
