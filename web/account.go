package web

import (
	"context"
	"strings"

	"github.com/liferelay/liferelay/registry"
)

// accountPages are what everybody does with their own account, whatever their roles.
func (s *Site) accountPages() {
	s.page("GET /account", s.account)
	s.act("POST /account/sessions/{id}/end", s.endOwnSession)
	s.act("POST /account/sessions/end-others", s.endOtherSessions)
	s.act("POST /account/tokens", s.addOwnToken)
	s.act("POST /account/tokens/{id}/revoke", s.revokeOwnToken)
	s.act("POST /account/recovery-codes", s.renewRecoveryCodes)
	s.act("POST /account/factor/disable", s.disableFactor)
}

// accountShown is all that the page of one's own account shows.
type accountShown struct {
	registry.OwnAccount
	sessions []registry.SessionLine
	tokens   []registry.TokenLine
	token    *Filled
	proof    *Filled
	once     string   // a token that is shown once
	codes    []string // recovery codes, shown once
	says     string
}

func (s *Site) account(v *Visit) (Answer, error) { return s.accountAgain(v, accountShown{}) }

func (s *Site) accountAgain(v *Visit, a accountShown) (Answer, error) {
	var err error
	if a.OwnAccount, err = s.store.ShowOwnAccount(v, v.Actor); err != nil {
		return nil, err
	}
	if a.sessions, err = s.store.OwnSessions(v, v.Caller); err != nil {
		return nil, err
	}
	if a.tokens, err = s.store.ListTokens(v, v.Actor, v.Actor.Staff()); err != nil {
		return nil, err
	}
	a.token = tokenForm(v, a.token)
	if a.proof == nil {
		a.proof = Blank[registry.ProofForm](v)
	}
	a.proof.Apart("proof")
	if a.once != "" || len(a.codes) > 0 {
		v.SetHeader("Cache-Control", "no-store")
	}
	return v.Page("page.account", accountPage(v, a)), nil
}

func (s *Site) endOwnSession(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		err = s.store.EndOwnSession(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	return v.To("/account", "said.session_ended"), nil
}

func (s *Site) endOtherSessions(v *Visit) (Answer, error) {
	if err := s.store.EndOtherSessions(v, v.Caller); err != nil {
		return nil, err
	}
	return v.To("/account", "said.others_ended"), nil
}

func (s *Site) addOwnToken(v *Visit) (Answer, error) {
	made, filled, err := s.makeToken(v, v.Actor.Staff())
	if err != nil {
		return nil, err
	}
	return s.accountAgain(v, accountShown{token: filled, once: made.Token})
}

func (s *Site) revokeOwnToken(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		err = s.store.RevokeToken(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	return v.To("/account", "said.token_revoked"), nil
}

// proven does something to one's own account for which a session is not enough: the password and a code are asked for.
func (s *Site) proven(v *Visit, do func(context.Context, registry.ProofForm) (Answer, error)) (Answer, error) {
	f, filled := Read[registry.ProofForm](v)
	a := accountShown{proof: filled}
	if filled.Good() {
		var answer Answer
		err := s.front.Checking(v, func(ctx context.Context) (err error) {
			answer, err = do(ctx, f)
			return err
		})
		switch kind := registry.KindOf(err); {
		case err == nil:
			return answer, nil
		case filled.Takes(err):
		case kind == registry.Locked || kind == registry.Refused || kind == registry.Unsigned:
			v.refused, a.says = true, v.sentence(err)
		default:
			return nil, err
		}
	}
	filled.values.Del("password")
	filled.values.Del("code")
	return s.accountAgain(v, a)
}

func (s *Site) renewRecoveryCodes(v *Visit) (Answer, error) {
	return s.proven(v, func(ctx context.Context, f registry.ProofForm) (Answer, error) {
		codes, err := s.store.RenewRecoveryCodes(ctx, v.Caller, f)
		if err != nil {
			return nil, err
		}
		return s.accountAgain(v, accountShown{codes: codes})
	})
}

func (s *Site) disableFactor(v *Visit) (Answer, error) {
	return s.proven(v, func(ctx context.Context, f registry.ProofForm) (Answer, error) {
		if err := s.store.DisableFactor(ctx, v.Caller, f); err != nil {
			return nil, err
		}
		return v.To("/account", "said.factor_off"), nil
	})
}

// agentOf is what a browser calls itself, as somebody knows their own again: the browser and the system, without the rest.
func agentOf(v *Visit, agent string) string {
	browser, system := "", ""
	for _, b := range [][2]string{{"MicroMessenger", "WeChat"}, {"Edg/", "Edge"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}} {
		if browser == "" && strings.Contains(agent, b[0]) {
			browser = b[1]
		}
	}
	for _, o := range [][2]string{{"HarmonyOS", "HarmonyOS"}, {"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS", "macOS"}, {"Linux", "Linux"}} {
		if system == "" && strings.Contains(agent, o[0]) {
			system = o[1]
		}
	}
	switch {
	case browser != "" && system != "":
		return browser + " · " + system
	case agent != "":
		return agent
	}
	return v.Say("account.device_unknown")
}
