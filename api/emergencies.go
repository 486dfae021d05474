package api

import (
	"context"
	"net/http"

	"github.com/liferelay/liferelay/registry"
)

func (a *API) emergencyRoutes() {
	const tag = "emergencies"
	type Emergency = One[registry.EmergencyView]
	route(a, operation{method: http.MethodPost, path: "/v1/donors/emergency", id: "break-glass", tag: tag, says: "Open what is protected of a donor in an emergency, wherever the donor is: for three hours, with a reason, and under review. One's supervisor and the donor's region are told.", body: registry.EmergencyForm{}, keyed: true, status: http.StatusCreated, scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Emergency, error) {
			f, err := decode[registry.EmergencyForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.BreakGlass(ctx, who, f)
			if r := requestOf(ctx); err == nil && v.Until.After(r.call.Emergency) {
				r.emergency(v.Until)
			}
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/emergencies", id: "list-emergencies", tag: tag, says: "One's own emergency access and, for who reviews it, that of one's regions, the newest first."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Status string `query:"status" enum:"open,closed,to_review"`
			Mine   bool   `query:"mine" doc:"Only one's own."`
		}) (*Page[registry.EmergencyView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListEmergencies(ctx, who, registry.EmergencyFilter{Status: in.Status, Mine: in.Mine, After: after, Limit: in.Limit})
			return page(list, in.Limit, func(e registry.EmergencyView) string { return e.ID.String() }), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/emergencies/{id}", id: "return-emergency", tag: tag, says: "Give emergency access back before its time.", status: http.StatusNoContent},
		func(ctx context.Context, who registry.Actor, in *ByID) (*struct{}, error) {
			running, err := a.store.ReturnEmergency(ctx, who, in.ID)
			if err == nil {
				requestOf(ctx).emergency(running)
			}
			return &struct{}{}, err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/emergencies/{id}/reveal", id: "reveal-emergency", tag: tag, says: "The words with which emergency access was opened and reviewed, for who reviews it and for who opened it."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[registry.EmergencyWords], error) {
			w, err := a.store.RevealEmergency(ctx, who, in.ID)
			return plain(w), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/emergencies/{id}/review", id: "review-emergency", tag: tag, says: "Say whether emergency access was justified. Nobody reviews their own.", body: registry.ReviewForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Sent
		}) (*Emergency, error) {
			f, err := decode[registry.ReviewForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.ReviewEmergency(ctx, who, in.ID, f)
			return tagged(v.Version, v), err
		})
}
