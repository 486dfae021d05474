package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

func (a *API) rightsRoutes() {
	const tag = "rights"
	type Request = One[registry.RightsView]
	route(a, operation{method: http.MethodPost, path: "/v1/rights", id: "file-rights", tag: tag, says: "File what a person, a guardian or a near relative asks about the person's data: access, a copy, correction, withdrawal, erasure, an explanation. It has thirty days.", body: forms.RightsRequest{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Request, error) {
			f, err := decode[forms.RightsRequest](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.FileRights(ctx, who, f)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/rights", id: "list-rights", tag: tag, says: "Requests about people's data, in the order of their filing."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Kind   string    `query:"kind" enum:"access,copy,correction,withdrawal,deletion,explanation,arrangement,kin_access,kin_copy,kin_correction,kin_deletion"`
			Status string    `query:"status" enum:"open,ended"`
			Step   string    `query:"step"`
			Donor  uuid.UUID `query:"donor"`
		}) (*Page[registry.RightsView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListRights(ctx, who, registry.RightsFilter{Kind: in.Kind, Status: in.Status, Step: in.Step, Donor: in.Donor, After: after, Limit: in.Limit})
			return page(list, in.Limit, func(v registry.RightsView) string { return v.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/rights/{id}", id: "show-rights", tag: tag, says: "A request: where it stands, what was decided and why, and what erasure left."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Request, error) {
			v, err := a.store.ShowRights(ctx, who, in.ID)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/rights/{id}/copy", id: "fetch-copy", tag: tag, says: "The copy that was granted, in clear, for the one who hands it over. It is made when it is first fetched, and can be fetched for seven days.", scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[registry.RightsCopy], error) {
			c, err := a.store.FetchCopy(ctx, who, in.ID)
			return plain(c), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/rights/{id}/copy.html", id: "fetch-copy-page", tag: tag, says: "The same copy as a page in Chinese and English, to print or to give on a medium.", gives: copyPage, scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *ByID) (*workbook, error) {
			c, err := a.store.FetchCopy(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			out, err := c.Printed()
			return &workbook{copyPage, `attachment; filename="` + c.Request + `.html"`, out}, err
		})
}

// copyPage is the media type of a printed copy.
const copyPage = "text/html; charset=utf-8"
