package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

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

// deliveryRoutes are how notices leave the house: where one is reached oneself, and what administrators look after.
func (a *API) deliveryRoutes() {
	type Settings = Plain[registry.NoticeSettings]
	route(a, operation{method: http.MethodGet, path: "/v1/account/notices", id: "show-notice-settings", tag: "account", says: "Where one is reached by notices, and what one hears of there."},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Settings, error) {
			v, err := a.store.ShowNoticeSettings(ctx, who)
			return plain(v), err
		})
	route(a, operation{method: http.MethodPut, path: "/v1/account/notices", id: "set-notice-preferences", tag: "account", says: "Say what goes by mail and by short message, and when not.", body: registry.NoticePreferences{}},
		func(ctx context.Context, who registry.Actor, in *struct{ Sent }) (*Settings, error) {
			f, err := decode[registry.NoticePreferences](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.SetNoticePreferences(ctx, who, f)
			return plain(v), err
		})
	route(a, operation{method: http.MethodPut, path: "/v1/account/contact-points", id: "set-contact-point", tag: "account", says: "Enter where one is reached by mail or by short message. A code is sent there.", body: registry.ContactForm{}},
		func(ctx context.Context, who registry.Actor, in *struct{ Sent }) (*Settings, error) {
			f, err := decode[registry.ContactForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.SetContactPoint(ctx, who, f)
			return plain(v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/account/contact-points/{channel}/verify", id: "verify-contact-point", tag: "account", says: "Bring back the code that was sent there. From then on notices go there.", body: registry.ContactCode{}, guarded: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			Channel string `path:"channel" enum:"email,message"`
			Sent
		}) (*Settings, error) {
			f, err := decode[registry.ContactCode](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.VerifyContactPoint(ctx, who, registry.Channel(in.Channel), f)
			return plain(v), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/account/contact-points/{channel}", id: "remove-contact-point", tag: "account", says: "Be reached there no more."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Channel string `path:"channel" enum:"email,message"`
		}) (*Settings, error) {
			v, err := a.store.RemoveContactPoint(ctx, who, registry.Channel(in.Channel))
			return plain(v), err
		})

	type Webhook = One[registry.WebhookView]
	hook := func(v registry.WebhookView, err error) (*Webhook, error) { return tagged(v.Version, v), err }
	route(a, operation{method: http.MethodGet, path: "/v1/webhooks", id: "list-webhooks", tag: "notices", says: "The other systems that hear of notices, in the regions that one administers."},
		func(ctx context.Context, who registry.Actor, in *Paged) (*Page[registry.WebhookView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListWebhooks(ctx, who, after, in.Limit)
			return page(list, in.Limit, func(v registry.WebhookView) string { return v.ID.String() }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/webhooks", id: "add-webhook", tag: "notices", says: "Enter another system that hears of notices. The secret that its events are signed with is shown once.", body: registry.WebhookForm{}, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct{ Sent }) (*One[registry.NewWebhook], error) {
			f, err := decode[registry.WebhookForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.AddWebhook(ctx, who, f)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/webhooks/{id}", id: "show-webhook", tag: "notices", says: "A webhook, and how many of its deliveries wait or were given up."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Webhook, error) {
			return hook(a.store.ShowWebhook(ctx, who, in.ID))
		})
	route(a, operation{method: http.MethodPatch, path: "/v1/webhooks/{id}", id: "change-webhook", tag: "notices", says: "Change which notices a webhook hears of, disable it or enable it.", body: registry.WebhookChange{}},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Sent
		}) (*Webhook, error) {
			f, err := decode[registry.WebhookChange](in.RawBody)
			if err != nil {
				return nil, err
			}
			return hook(a.store.ChangeWebhook(ctx, who, in.ID, f))
		})
	route(a, operation{method: http.MethodPost, path: "/v1/webhooks/{id}/ping", id: "ping-webhook", tag: "notices", says: "Send an event that says nothing, to see whether it arrives.", keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
		}) (*Webhook, error) {
			return hook(a.store.PingWebhook(ctx, who, in.ID))
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/webhooks/{id}", id: "remove-webhook", tag: "notices", says: "Take a webhook out, with its secret and the log of its deliveries.", status: http.StatusNoContent},
		func(ctx context.Context, who registry.Actor, in *ByID) (*done, error) {
			return nil, a.store.RemoveWebhook(ctx, who, in.ID)
		})
	route(a, operation{method: http.MethodGet, path: "/v1/deliveries", id: "list-deliveries", tag: "notices", says: "What left the house to staff and webhooks of the regions that one administers, and what became of it, the newest first."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			State   string    `query:"state" enum:"gathered,waiting,delivered,dead,dropped"`
			Channel string    `query:"channel" enum:"email,message,webhook"`
			Webhook uuid.UUID `query:"webhook"`
		}) (*Page[registry.DeliveryView], error) {
			before, id, err := in.behind()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListDeliveries(ctx, who, registry.DeliveryFilter{State: in.State, Channel: in.Channel, Webhook: in.Webhook, Before: before, BeforeID: id, Limit: in.Limit})
			return page(list, in.Limit, func(v registry.DeliveryView) string { return instantCursor(v.Created, v.ID) }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/deliveries/{id}/replay", id: "replay-delivery", tag: "notices", says: "Have a delivery tried again that was given up or, of a webhook, that arrived. Its name stays the same.", keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
		}) (*Plain[registry.DeliveryView], error) {
			v, err := a.store.ReplayDelivery(ctx, who, in.ID)
			return plain(v), err
		})
}
