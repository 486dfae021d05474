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
