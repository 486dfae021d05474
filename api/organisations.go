package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
)

// Created names what was made.
type Created struct {
	ID uuid.UUID `json:"id" class:"open" mask:"none"`
}

func (a *API) organisationRoutes() {
	a.templateRoutes()
	a.administrationRoutes()
	route(a, operation{method: http.MethodGet, path: "/v1/organisations", id: "list-organisations", tag: "administration", says: "Offices, hospitals, laboratories and hosts."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Kind string `query:"kind" enum:"red_cross,laboratory,hospital,blood_station,host,receiver"`
		}) (*Page[registry.Organisation], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListOrganisations(ctx, who, in.Kind, after, in.Limit)
			return page(list, in.Limit, func(o registry.Organisation) string { return o.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/nomenclature", id: "list-nomenclature", tag: "administration", says: "The releases of the nomenclature, tables of codes, populations and their mixture that were loaded into this register. Of one name the newest counts."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Kind registry.ReferenceKind `query:"kind" enum:"release,codes,haplotypes,mixture"`
		}) (*Page[registry.Reference], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListReferences(ctx, who, in.Kind, after, in.Limit)
			return page(list, in.Limit, func(r registry.Reference) string { return r.ID.String() }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/organisations", id: "add-organisation", tag: "administration", says: "Enter an organisation.", body: registry.OrganisationForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*One[registry.Organisation], error) {
			f, err := decode[registry.OrganisationForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			o, err := a.store.AddOrganisation(ctx, who, f)
			return tagged(o.Version, o), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/organisations/{id}", id: "show-organisation", tag: "administration", says: "An organisation."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*One[registry.Organisation], error) {
			o, err := a.store.ShowOrganisation(ctx, who, in.ID)
			return tagged(o.Version, o), err
		})
	route(a, operation{method: http.MethodPut, path: "/v1/organisations/{id}", id: "change-organisation", tag: "administration", says: "Call an organisation otherwise. What it is and where it lies stay.", body: registry.OrganisationChange{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.Organisation], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.OrganisationChange](in.RawBody)
			if err != nil {
				return nil, err
			}
			o, err := a.store.ChangeOrganisation(ctx, who, in.ID, version, f)
			return tagged(o.Version, o), err
		})
	route(a, operation{method: http.MethodPut, path: "/v1/organisations/{id}/service-areas", id: "set-service-areas", tag: "administration", says: "Say which regions an organisation serves beside its own: the hospitals of an organ procurement organisation. It takes effect at once.", body: registry.ServiceAreaForm{}, keyed: true, scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.Organisation], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.ServiceAreaForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			o, err := a.store.SetServiceAreas(ctx, who, in.ID, version, f)
			return tagged(o.Version, o), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/staff", id: "add-staff", tag: "administration", says: "Enter a member of staff. They may do nothing until a role is granted.", body: registry.StaffForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Plain[Created], error) {
			f, err := decode[registry.StaffForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			id, err := a.store.AddStaff(ctx, who, f)
			return plain(Created{id}), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/grants", id: "grant-role", tag: "administration", says: "Grant a role in a region until a day. It takes effect at once.", body: registry.GrantForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Plain[Created], error) {
			f, err := decode[registry.GrantForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			id, err := a.store.GrantRole(ctx, who, f)
			return plain(Created{id}), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/grants", id: "revoke-role", tag: "administration", says: "Revoke a role. It takes effect at once.", status: http.StatusNoContent},
		func(ctx context.Context, who registry.Actor, in *struct {
			Login  string `query:"login" required:"true"`
			Role   string `query:"role" required:"true"`
			Region string `query:"region" required:"true"`
		}) (*struct{}, error) {
			return &struct{}{}, a.store.RevokeRole(ctx, who, in.Login, policy.Role(in.Role), identity.Region(in.Region))
		})
}
