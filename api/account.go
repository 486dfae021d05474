package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
)

// OwnForm changes one's own settings.
type OwnForm struct {
	Locale string `json:"locale" validate:"required,oneof=zh-CN en"`
}

// Enrolment is the secret of a second factor, for the telephone.
type Enrolment struct {
	Address string `json:"address" doc:"otpauth://… for the telephone's program, as a code to photograph or to type. Shown once." class:"staff" mask:"clear"`
}

// ConfirmForm ends an enrolment.
type ConfirmForm struct {
	Code string `json:"code" validate:"required,max=40" doc:"What the telephone shows."`
}

// RecoveryCodes are what to keep on paper.
type RecoveryCodes struct {
	Codes []string `json:"codes" doc:"Each is good once, in place of a code from the telephone. Shown once." class:"staff" mask:"clear"`
}

// Sessions are one's own.
type Sessions struct {
	Items []registry.SessionLine `json:"items" class:"staff" mask:"drop"`
}

// Tokens are somebody's.
type Tokens struct {
	Items []registry.TokenLine `json:"items" class:"staff" mask:"drop"`
}

// done is an answer that has nothing to say.
type done struct{}

// accountRoutes are what everybody does with their own account, whatever their roles.
func (a *API) accountRoutes() {
	const tag = "account"
	route(a, operation{method: http.MethodPatch, path: "/v1/account", id: "change-own", tag: tag, says: "Change the language that one reads.", body: OwnForm{}, status: http.StatusNoContent},
		func(ctx context.Context, who registry.Actor, in *struct{ Sent }) (*done, error) {
			f, err := decode[OwnForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			return nil, a.store.ChangeOwnLocale(ctx, who, lang.Locale(f.Locale))
		})
	route(a, operation{method: http.MethodPost, path: "/v1/account/password", id: "change-password", tag: tag, says: "Change one's password. All one's other sessions end.", body: registry.PasswordForm{}, guarded: true, status: http.StatusNoContent, during: []string{registry.NextPassword}},
		func(ctx context.Context, _ registry.Actor, in *struct{ Sent }) (*done, error) {
			f, err := decode[registry.PasswordForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			return nil, a.front.Checking(ctx, func(ctx context.Context) error { return a.store.ChangePassword(ctx, callerOf(ctx), f) })
		})
	route(a, operation{method: http.MethodPost, path: "/v1/account/factor", id: "enrol-factor", tag: tag, says: "Begin to use a second factor: a secret for the telephone.", status: http.StatusCreated, during: []string{registry.NextFactor}},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Plain[Enrolment], error) {
			address, err := a.store.EnrolFactor(ctx, who)
			return plain(Enrolment{address}), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/account/factor/confirm", id: "confirm-factor", tag: tag, says: "End it with a first code from the telephone. The recovery codes are shown.", body: ConfirmForm{}, guarded: true, during: []string{registry.NextFactor}},
		func(ctx context.Context, _ registry.Actor, in *struct{ Sent }) (*Plain[RecoveryCodes], error) {
			f, err := decode[ConfirmForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			codes, err := a.store.ConfirmFactor(ctx, callerOf(ctx), strings.ReplaceAll(f.Code, " ", ""))
			return plain(RecoveryCodes{codes}), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/account/factor/disable", id: "disable-factor", tag: tag, says: "Use no second factor any more.", body: registry.ProofForm{}, guarded: true, status: http.StatusNoContent},
		func(ctx context.Context, _ registry.Actor, in *struct{ Sent }) (*done, error) {
			f, err := decode[registry.ProofForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			return nil, a.front.Checking(ctx, func(ctx context.Context) error { return a.store.DisableFactor(ctx, callerOf(ctx), f) })
		})
	route(a, operation{method: http.MethodPost, path: "/v1/account/factor/recovery-codes", id: "renew-recovery-codes", tag: tag, says: "Have new recovery codes. The old ones are good no more.", body: registry.ProofForm{}, guarded: true},
		func(ctx context.Context, _ registry.Actor, in *struct{ Sent }) (*Plain[RecoveryCodes], error) {
			f, err := decode[registry.ProofForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			var codes []string
			err = a.front.Checking(ctx, func(ctx context.Context) (err error) {
				codes, err = a.store.RenewRecoveryCodes(ctx, callerOf(ctx), f)
				return err
			})
			return plain(RecoveryCodes{codes}), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/account/sessions", id: "list-sessions", tag: tag, says: "One's sessions: when and where each was opened, and when it was last used."},
		func(ctx context.Context, _ registry.Actor, _ *struct{}) (*Plain[Sessions], error) {
			list, err := a.store.OwnSessions(ctx, callerOf(ctx))
			return plain(Sessions{list}), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/account/sessions/{id}", id: "end-session", tag: tag, says: "End one of one's sessions.", status: http.StatusNoContent},
		func(ctx context.Context, who registry.Actor, in *ByID) (*done, error) {
			return nil, a.store.EndOwnSession(ctx, who, in.ID)
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/account/sessions", id: "end-other-sessions", tag: tag, says: "End all one's sessions but this.", status: http.StatusNoContent},
		func(ctx context.Context, _ registry.Actor, _ *struct{}) (*done, error) {
			return nil, a.store.EndOtherSessions(ctx, callerOf(ctx))
		})
	route(a, operation{method: http.MethodGet, path: "/v1/account/tokens", id: "list-own-tokens", tag: tag, says: "The tokens that one made for programs."},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Plain[Tokens], error) {
			list, err := a.store.ListTokens(ctx, who, who.Staff())
			return plain(Tokens{list}), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/account/tokens", id: "add-own-token", tag: tag, says: "Make a token for a program of one's own. It may do what its scopes name and its owner may.", body: registry.TokenForm{}, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct{ Sent }) (*Plain[registry.NewToken], error) {
			return a.addToken(ctx, who, who.Staff(), in.RawBody)
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/tokens/{id}", id: "revoke-token", tag: tag, says: "Revoke a token: one's own or, as an administrator, anybody's. It is good no more, at once.", status: http.StatusNoContent},
		func(ctx context.Context, who registry.Actor, in *ByID) (*done, error) {
			return nil, a.store.RevokeToken(ctx, who, in.ID)
		})
}

func (a *API) addToken(ctx context.Context, who registry.Actor, owner uuid.UUID, body []byte) (*Plain[registry.NewToken], error) {
	f, err := decode[registry.TokenForm](body)
	if err != nil {
		return nil, err
	}
	if err := CheckScopes(f.Scopes); err != nil {
		return nil, err
	}
	t, err := a.store.AddToken(ctx, who, owner, f)
	return plain(t), err
}

// CheckScopes refuses scopes that there are not.
func CheckScopes(asked []string) error {
	known := Scopes()
	if slices.ContainsFunc(asked, func(s string) bool { return !slices.Contains(known, s) }) {
		return registry.Invalidated(forms.Problems{{Code: "R114", Field: "scopes", Args: map[string]any{"Allowed": strings.Join(known, ", ")}}})
	}
	return nil
}
