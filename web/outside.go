package web

import (
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
)

// outsidePages are how notices leave the house, for administrators: other systems that hear of them, and what became of each delivery.
func (s *Site) outsidePages() {
	s.page("GET /admin/webhooks", s.webhooks)
	s.act("POST /admin/webhooks", s.addWebhook)
	s.page("GET /admin/webhooks/{id}", s.webhook)
	s.act("POST /admin/webhooks/{id}/change", s.changeWebhook)
	s.act("POST /admin/webhooks/{id}/ping", s.pingWebhook)
	s.act("POST /admin/webhooks/{id}/remove", s.removeWebhook)
	s.page("GET /admin/deliveries", s.deliveries)
	s.act("POST /admin/deliveries/{id}/replay", s.replayDelivery)
}

func has[T comparable](list []T, one T) bool { return slices.Contains(list, one) }

func (s *Site) webhooksAgain(v *Visit, f *Filled, made *registry.NewWebhook) (Answer, error) {
	list, err := s.store.ListWebhooks(v, v.Actor, v.QueryID("after"), listed)
	if err != nil {
		return nil, err
	}
	offices, err := s.store.ListOrganisations(v, v.Actor, "", uuid.Nil, 200)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == listed {
		next = list[listed-1].ID.String()
	}
	return v.Page("page.webhooks", webhooksPage(v, list, offices, f, made, next)), nil
}

func (s *Site) webhooks(v *Visit) (Answer, error) {
	return s.webhooksAgain(v, Blank[registry.WebhookForm](v), nil)
}

func (s *Site) addWebhook(v *Visit) (Answer, error) {
	f, filled := Read[registry.WebhookForm](v)
	if filled.Good() {
		made, err := s.store.AddWebhook(v, v.Actor, f)
		if err == nil {
			v.SetHeader("Cache-Control", "no-store")
			return s.webhooksAgain(v, Blank[registry.WebhookForm](v), &made)
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.webhooksAgain(v, filled, nil)
}

func (s *Site) webhook(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	w, err := s.store.ShowWebhook(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	log, err := s.store.ListDeliveries(v, v.Actor, registry.DeliveryFilter{Webhook: id, Limit: listed})
	if err != nil {
		return nil, err
	}
	return v.Page("page.webhook", webhookPage(v, w, log), "Name", w.Name), nil
}

func (s *Site) changeWebhook(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	var f registry.WebhookChange
	if v.Field("enabled") != "" {
		on := v.Field("enabled") == "true"
		f.Enabled = &on
	}
	for _, code := range v.Fields("codes") {
		f.Codes = append(f.Codes, strings.Fields(code)...)
	}
	if _, err := s.store.ChangeWebhook(v, v.Actor, id, f); err != nil {
		return nil, err
	}
	return v.To("/admin/webhooks/"+id.String(), "said.webhook_changed"), nil
}

func (s *Site) pingWebhook(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		_, err = s.store.PingWebhook(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	return v.To("/admin/webhooks/"+id.String(), "said.webhook_pinged"), nil
}

func (s *Site) removeWebhook(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		err = s.store.RemoveWebhook(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	return v.To("/admin/webhooks", "said.webhook_removed"), nil
}

func (s *Site) deliveries(v *Visit) (Answer, error) {
	before, id := newestFirst(v)
	list, err := s.store.ListDeliveries(v, v.Actor, registry.DeliveryFilter{State: v.Query("state"), Channel: v.Query("channel"), Before: before, BeforeID: id, Limit: listed})
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == listed {
		next = cursorOf(list[listed-1].Created, list[listed-1].ID)
	}
	return v.Page("page.deliveries", deliveriesPage(v, list, next)), nil
}

func (s *Site) replayDelivery(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		_, err = s.store.ReplayDelivery(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	return v.To("/admin/deliveries", "said.delivery_replayed"), nil
}

// stateWords are the names of the sentences of a delivery's states.
var stateWords = map[string]string{
	"gathered": "deliveries.gathered", "waiting": "deliveries.waiting", "delivered": "deliveries.delivered", "dead": "deliveries.dead", "dropped": "deliveries.dropped",
}

// deliveryTone is how a delivery's state looks.
func deliveryTone(state string) string {
	switch state {
	case "delivered":
		return "good"
	case "dead":
		return "bad"
	case "dropped":
		return "faint"
	}
	return "plain"
}
