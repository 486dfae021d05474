package api

import (
	"context"
	"net/http"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
)

// whole is an answer with a list that has one page.
func whole[T any](items []T) *Page[T] {
	if items == nil {
		items = []T{}
	}
	return &Page[T]{Body: PageBody[T]{Items: items}}
}

// versionOrNew is version for a record that may not be there yet: without an If-Match it is to be made.
func (v Versioned) versionOrNew() (int64, error) {
	if v.IfMatch == "" {
		return 0, nil
	}
	return v.version()
}

func (a *API) templateRoutes() {
	const tag = "administration"
	// Template names a notice on a channel.
	type Template struct {
		Code    string `path:"code" doc:"Of the notice, such as task.opened."`
		Channel string `path:"channel" doc:"screen, email or message."`
		Region  string `query:"region" doc:"Whose words they are; one's office's region when left out."`
	}
	type Answer = One[registry.NoticeTemplate]
	route(a, operation{method: http.MethodGet, path: "/v1/notice-templates", id: "list-notice-templates", tag: tag, says: "What every notice says on every channel in a region, and whose words they are."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Region string `query:"region" doc:"One's office's region when left out."`
		}) (*Page[registry.NoticeTemplate], error) {
			list, err := a.store.NoticeTemplates(ctx, who, identity.Region(in.Region))
			return whole(list), err
		})
	route(a, operation{method: http.MethodPut, path: "/v1/notice-templates/{code}/{channel}", id: "set-notice-template", tag: tag, says: "Give a notice on a channel a region's own words, in both languages. They are told what the shipped sentence is told, and what leaves the house names no step, no reason and no sample.", body: registry.NoticeWording{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			Template
			Keyed
			Versioned
			Sent
		}) (*Answer, error) {
			version, err := in.versionOrNew()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.NoticeWording](in.RawBody)
			if err != nil {
				return nil, err
			}
			t, err := a.store.SetNoticeTemplate(ctx, who, identity.Region(in.Region), in.Code, registry.Channel(in.Channel), version, f)
			return tagged(t.Version, t), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/notice-templates/{code}/{channel}", id: "remove-notice-template", tag: tag, says: "Take a region's own words of a notice back."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Template
			Versioned
		}) (*Answer, error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			t, err := a.store.RemoveNoticeTemplate(ctx, who, identity.Region(in.Region), in.Code, registry.Channel(in.Channel), version)
			return tagged(t.Version, t), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/notice-templates/{code}/{channel}/preview", id: "preview-notice-template", tag: tag, says: "How words for a notice would read, with made-up numbers and days. Nothing is kept.", body: registry.NoticeWording{}},
		func(ctx context.Context, who registry.Actor, in *struct {
			Template
			Sent
		}) (*Plain[registry.NoticePreview], error) {
			f, err := decode[registry.NoticeWording](in.RawBody)
			if err != nil {
				return nil, err
			}
			p, err := a.store.PreviewNotice(ctx, who, in.Code, registry.Channel(in.Channel), f)
			return plain(p), err
		})
}
