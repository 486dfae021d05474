package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
)

// OneTimePassword is good for one sign-in.
type OneTimePassword struct {
	Password string `json:"password" doc:"Shown once. It has to be changed at the first sign-in." class:"staff" mask:"clear"`
}

// staffRoutes are what administrators do with other people's accounts.
func (a *API) staffRoutes() {
	const tag = "administration"
	route(a, operation{method: http.MethodGet, path: "/v1/staff", id: "list-staff", tag: tag, says: "Accounts in one's regions, with their roles."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Organisation string `query:"organisation" format:"uuid" doc:"Only those who work there."`
		}) (*Page[registry.StaffView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			organisation, _ := uuid.Parse(in.Organisation) // huma has checked it
			list, err := a.store.SearchStaff(ctx, who, registry.StaffFilter{Organisation: organisation, After: after, Limit: in.Limit})
			return page(list, in.Limit, func(v registry.StaffView) string { return v.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/staff/{id}", id: "show-staff", tag: tag, says: "An account."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*One[registry.StaffView], error) {
			v, err := a.store.ShowStaff(ctx, who, in.ID)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodPatch, path: "/v1/staff/{id}", id: "change-staff", tag: tag, says: "Change somebody's name, organisation or language.", body: registry.StaffChange{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.StaffView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.StaffChange](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.ChangeStaff(ctx, who, in.ID, version, f)
			return tagged(v.Version, v), err
		})
	for _, o := range []struct {
		path, id, says string
		do             func(context.Context, registry.Actor, uuid.UUID) error
	}{
		{"deactivate", "deactivate-staff", "End an account. Its sessions, tokens and roles count no more, at once.", a.store.DeactivateStaff},
		{"reactivate", "reactivate-staff", "Let somebody work here again, with the roles that are still in force.", a.store.ReactivateStaff},
		{"unlock", "unlock-staff", "Let somebody sign in again after too many failures.", a.store.UnlockStaff},
		{"reset-factor", "reset-factor", "Take away a second factor that was lost. The person's sessions end.", a.store.ResetFactor},
	} {
		route(a, operation{method: http.MethodPost, path: "/v1/staff/{id}/" + o.path, id: o.id, tag: tag, says: o.says, status: http.StatusNoContent, scope: forPeople},
			func(ctx context.Context, who registry.Actor, in *ByID) (*done, error) {
				return nil, o.do(ctx, who, in.ID)
			})
	}
	route(a, operation{method: http.MethodPost, path: "/v1/staff/{id}/reset-password", id: "reset-password", tag: tag, says: "Give somebody a password for one sign-in. Their sessions and tokens end.", scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[OneTimePassword], error) {
			var once string
			err := a.front.Checking(ctx, func(ctx context.Context) (err error) {
				once, err = a.store.ResetPassword(ctx, who, in.ID)
				return err
			})
			return plain(OneTimePassword{once}), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/staff/{id}/sessions", id: "end-sessions", tag: tag, says: "End all of somebody's sessions.", status: http.StatusNoContent, scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *ByID) (*done, error) {
			return nil, a.store.EndSessions(ctx, who, in.ID)
		})
	route(a, operation{method: http.MethodPost, path: "/v1/staff/{id}/identities", id: "link-identity", tag: tag, says: "Say who somebody is at the provider of single sign-on.", body: registry.IdentityForm{}, status: http.StatusNoContent, scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Sent
		}) (*done, error) {
			f, err := decode[registry.IdentityForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			return nil, a.store.LinkIdentity(ctx, who, in.ID, f)
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/staff/{id}/identities", id: "unlink-identity", tag: tag, says: "Take that back. The person's sessions end.", status: http.StatusNoContent, scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Issuer  string `query:"issuer" required:"true"`
			Subject string `query:"subject" required:"true"`
		}) (*done, error) {
			return nil, a.store.UnlinkIdentity(ctx, who, in.ID, registry.IdentityForm{Issuer: in.Issuer, Subject: in.Subject})
		})
	route(a, operation{method: http.MethodPost, path: "/v1/machines", id: "add-machine", tag: tag, says: "Enter a machine: another system, which works with tokens and has no password.", body: registry.MachineForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Plain[Created], error) {
			f, err := decode[registry.MachineForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			id, err := a.store.AddMachine(ctx, who, f)
			return plain(Created{id}), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/staff/{id}/tokens", id: "list-tokens", tag: tag, says: "The tokens of a machine, or of somebody."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[Tokens], error) {
			list, err := a.store.ListTokens(ctx, who, in.ID)
			return plain(Tokens{list}), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/staff/{id}/tokens", id: "add-token", tag: tag, says: "Make a token for a machine.", body: registry.TokenForm{}, status: http.StatusCreated, scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Sent
		}) (*Plain[registry.NewToken], error) {
			return a.addToken(ctx, who, in.ID, in.RawBody)
		})
}
