package api

import (
	"context"
	"net/http"

	"github.com/liferelay/liferelay/registry"
)

func (a *API) noticeRoutes() {
	route(a, operation{method: http.MethodGet, path: "/v1/notices", id: "list-notices", tag: "notices", says: "Notices to the reader, their office and their roles, the newest first."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Unread bool `query:"unread"`
		}) (*Page[registry.NoticeView], error) {
			before, id, err := in.behind()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListNotices(ctx, who, in.Unread, before, id, in.Limit)
			return page(list, in.Limit, func(n registry.NoticeView) string { return instantCursor(n.At, n.ID) }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/notices/{id}/read", id: "read-notice", tag: "notices", says: "Mark a notice as read.", status: http.StatusNoContent},
		func(ctx context.Context, who registry.Actor, in *ByID) (*struct{}, error) {
			return &struct{}{}, a.store.ReadNotice(ctx, who, in.ID)
		})
}

func (a *API) auditRoutes() {
	route(a, operation{method: http.MethodGet, path: "/v1/audit", id: "list-audit", tag: "audit", says: "Who did or saw what, the newest first."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Actor  string `query:"actor"`
			Target string `query:"target" doc:"Such as donor: and its id."`
			Denied bool   `query:"denied" doc:"Only what was refused."`
		}) (*Page[registry.AuditLine], error) {
			before, id, err := in.behind()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListAudit(ctx, who, registry.AuditFilter{Actor: in.Actor, Target: in.Target, DeniedOnly: in.Denied, Before: before, BeforeID: id, Limit: in.Limit})
			return page(list, in.Limit, func(l registry.AuditLine) string { return instantCursor(l.At, l.ID) }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/audit/verify", id: "verify-audit", tag: "audit", says: "Walk the chain of seals over the whole audit."},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Plain[registry.AuditReport], error) {
			r, err := a.store.VerifyAudit(ctx, who, nil, nil)
			return plain(r), err
		})
}
