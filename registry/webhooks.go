package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/notify"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// Webhooks: other systems that hear of notices by themselves. What they are told is an event of ids and codes: whoever wants to know
// more asks the API, with rights of their own. An administrator of an organisation's accounts enters them.

// WebhookForm enters another system.
type WebhookForm struct {
	Organisation uuid.UUID `json:"organisation" validate:"required" doc:"Whose notices it hears of: those that are addressed to it and, for a Red Cross office, those of its region."`
	Name         string    `json:"name" validate:"required,max=60" doc:"What it is called here."`
	URL          string    `json:"url" validate:"required,max=500,url" doc:"Where events are posted: https, at a public address."`
	Codes        []string  `json:"codes" validate:"required,min=1,max=60,unique,dive,required,max=60" doc:"The notices that it wants to hear of, such as task.opened; * is every one."`
}

// WebhookView is a webhook as administrators see it.
type WebhookView struct {
	ID           uuid.UUID       `json:"id" class:"organisation" mask:"drop"`
	Organisation uuid.UUID       `json:"organisation" class:"organisation" mask:"drop"`
	Region       identity.Region `json:"region" class:"organisation" mask:"drop"`
	Name         string          `json:"name" class:"organisation" mask:"drop"`
	URL          string          `json:"url" class:"organisation" mask:"drop"`
	Codes        []string        `json:"codes" class:"organisation" mask:"drop"`
	Disabled     *time.Time      `json:"disabled,omitempty" class:"organisation" mask:"drop"`
	DisabledFor  string          `json:"disabled_for,omitempty" doc:"administrator, or gone: it answered 410." class:"organisation" mask:"drop"`
	By           string          `json:"by" class:"organisation" mask:"drop"`
	Created      time.Time       `json:"created" class:"organisation" mask:"drop"`
	Waiting      int             `json:"waiting" doc:"Deliveries on their way." class:"organisation" mask:"drop"`
	Dead         int             `json:"dead" doc:"Deliveries that were given up." class:"organisation" mask:"drop"`
	Version      int64           `json:"version" class:"open" mask:"none"`
}

// NewWebhook is a webhook that was just entered. Secret is shown once.
type NewWebhook struct {
	WebhookView
	Secret string `json:"secret" doc:"What its events are signed with (Standard Webhooks). Shown once." class:"organisation" mask:"clear"`
}

const webhookColumns = `
	SELECT w.id, w.organisation_id, w.region, w.name, w.url, w.codes, w.disabled_at, w.disabled_for, w.created_by, w.created_at,
		(SELECT count(*)::int FROM deliveries d WHERE d.webhook_id = w.id AND d.state = 'waiting'), (SELECT count(*)::int FROM deliveries d WHERE d.webhook_id = w.id AND d.state = 'dead'), w.version
	FROM webhooks w `

func (v WebhookView) record() record {
	return record{kind: "webhook", id: v.ID.String(), region: v.Region}
}

// AddWebhook enters another system, with a secret that is shown this once.
//
// Errors: Refused for an address that no event may go to.
func (s *Store) AddWebhook(ctx context.Context, actor Actor, f WebhookForm) (NewWebhook, error) {
	var out NewWebhook
	err := s.act(ctx, actor, "AddWebhook", policy.ForAdministration, func(ctx context.Context, a *act) error {
		problems := forms.Check(f)
		known := NoticeCodes()
		for _, code := range f.Codes {
			if code != "*" && !slices.Contains(known, code) && len(problems) == 0 {
				problems = append(problems, forms.Problem{Code: "R114", Field: "codes"})
			}
		}
		if len(problems) > 0 {
			a.decided = true
			return invalid(problems)
		}
		region, err := a.regionOfOrganisation(ctx, f.Organisation)
		if err != nil {
			a.decided = true
			return err
		}
		id := newID()
		if err := a.permit(policy.Write, policy.Organisation, record{kind: "webhook", id: id.String(), region: region}); err != nil {
			return err
		}
		if notify.NewHooks(a.privateHooks).Check(f.URL) != nil {
			return refused("webhook_address")
		}
		random := make([]byte, 32)
		if _, err := rand.Read(random); err != nil {
			return err
		}
		out.Secret = notify.SecretOf(random)
		sealed, err := a.keys.Seal(cell("webhooks", "secret", id), out.Secret)
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `INSERT INTO webhooks (id, organisation_id, region, name, url, codes, secret_sealed, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			id, f.Organisation, string(region), f.Name, f.URL, f.Codes, sealed, actor.subject, a.at)
		if err != nil {
			return err
		}
		out.WebhookView, err = a.readWebhook(ctx, id)
		return err
	})
	if err != nil {
		return NewWebhook{}, err
	}
	return out, nil
}

func (a *act) readWebhook(ctx context.Context, id uuid.UUID) (WebhookView, error) {
	rows, err := a.Query(ctx, webhookColumns+`WHERE w.id = $1`, id)
	if err != nil {
		return WebhookView{}, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[WebhookView])
	if errors.Is(err, pgx.ErrNoRows) {
		return v, a.absent("webhook", id)
	}
	return v, err
}

// ListWebhooks returns the webhooks of the organisations that the actor administers, in the order of their ids.
func (r *Reader) ListWebhooks(ctx context.Context, actor Actor, after uuid.UUID, limit int) ([]WebhookView, error) {
	var out []WebhookView
	err := r.act(ctx, actor, "ListWebhooks", policy.ForAdministration, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Write, policy.Organisation)
		rows, err := a.Query(ctx, webhookColumns+`WHERE w.id > $1 AND EXISTS (SELECT FROM unnest($2::text[], $3::text[]) r(lo, hi) WHERE w.region >= lo AND w.region < hi) ORDER BY w.id LIMIT $4`,
			after, within.lo, within.hi, pageSize(limit))
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[WebhookView]); err != nil {
			return err
		}
		return a.permitMany(policy.Write, policy.Organisation, within, "webhooks", idsOf(out, func(v WebhookView) uuid.UUID { return v.ID }))
	})
	return out, err
}

// ShowWebhook returns a webhook.
func (r *Reader) ShowWebhook(ctx context.Context, actor Actor, id uuid.UUID) (WebhookView, error) {
	var out WebhookView
	err := r.act(ctx, actor, "ShowWebhook", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if out, err = a.readWebhook(ctx, id); err != nil {
			return err
		}
		return a.permit(policy.Write, policy.Organisation, out.record())
	})
	if err != nil {
		return WebhookView{}, err
	}
	return out, nil
}

// WebhookChange is what changes of a webhook; what is left out stays.
type WebhookChange struct {
	Codes   []string `json:"codes,omitempty" validate:"omitempty,max=60,unique,dive,required,max=60" doc:"The notices that it wants to hear of."`
	Enabled *bool    `json:"enabled,omitempty" doc:"Whether events go there. What waits while they do not is given up when it is too old."`
}

// ChangeWebhook changes what a webhook hears of, or ends and begins that it hears anything.
func (s *Store) ChangeWebhook(ctx context.Context, actor Actor, id uuid.UUID, f WebhookChange) (WebhookView, error) {
	return s.ofWebhook(ctx, actor, "ChangeWebhook", id, func(ctx context.Context, a *act, _ WebhookView) error {
		problems := forms.Check(f)
		known := NoticeCodes()
		for _, code := range f.Codes {
			if code != "*" && !slices.Contains(known, code) && len(problems) == 0 {
				problems = append(problems, forms.Problem{Code: "R114", Field: "codes"})
			}
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		_, err := a.Exec(ctx, `
			UPDATE webhooks SET codes = coalesce($2, codes), version = version + 1,
				disabled_at = CASE WHEN $3::boolean IS NULL THEN disabled_at WHEN $3 THEN NULL ELSE coalesce(disabled_at, $4) END,
				disabled_for = CASE WHEN $3::boolean IS NULL THEN disabled_for WHEN $3 THEN '' WHEN disabled_at IS NULL THEN 'administrator' ELSE disabled_for END
			WHERE id = $1`, id, f.Codes, f.Enabled, a.at)
		return err
	})
}

// PingWebhook has an event sent that says nothing, to see whether it arrives.
//
// Errors: Refused while the webhook is disabled.
func (s *Store) PingWebhook(ctx context.Context, actor Actor, id uuid.UUID) (WebhookView, error) {
	return s.ofWebhook(ctx, actor, "PingWebhook", id, func(ctx context.Context, a *act, v WebhookView) error {
		if v.Disabled != nil {
			return refused("webhook_disabled")
		}
		_, err := a.Exec(ctx, `INSERT INTO deliveries (id, kind, channel, code, webhook_id, urgent, state, next_at, created_at) VALUES ($1, 'ping', 'webhook', 'ping', $2, false, 'waiting', $3, $3)`, newID(), id, a.at)
		return err
	})
}

// RemoveWebhook takes a webhook out, with its secret and the log of its deliveries. That it was there is in the audit.
func (s *Store) RemoveWebhook(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.act(ctx, actor, "RemoveWebhook", policy.ForAdministration, func(ctx context.Context, a *act) error {
		v, err := a.readWebhook(ctx, id)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Organisation, v.record()); err != nil {
			return err
		}
		_, err = a.Exec(ctx, `DELETE FROM webhooks WHERE id = $1`, id)
		return err
	})
}

func (s *Store) ofWebhook(ctx context.Context, actor Actor, name string, id uuid.UUID, do func(context.Context, *act, WebhookView) error) (WebhookView, error) {
	var out WebhookView
	err := s.act(ctx, actor, name, policy.ForAdministration, func(ctx context.Context, a *act) error {
		v, err := a.readWebhook(ctx, id)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Organisation, v.record()); err != nil {
			return err
		}
		if err := do(ctx, a, v); err != nil {
			return err
		}
		out, err = a.readWebhook(ctx, id)
		return err
	})
	return out, err
}

// hookParcel is an event for another system: that something happened, by ids and codes.
func (a *act) hookParcel(ctx context.Context, p Parcel, t taken) (Parcel, bool, error) {
	var sealed []byte
	if err := a.QueryRow(ctx, `SELECT url, secret_sealed FROM webhooks WHERE id = $1`, *t.Webhook).Scan(&p.URL, &sealed); err != nil {
		return p, false, err
	}
	secret, err := a.keys.OpenBytes(cell("webhooks", "secret", *t.Webhook), sealed)
	if err != nil {
		return p, false, err
	}
	p.Secret = seal.NumberOf(string(secret))
	if t.Notice == nil {
		p.Items = []ParcelItem{{Notice: t.ID, Code: t.Code, At: t.Created}}
		return p, true, nil
	}
	_, item, _, err := a.noticeItem(ctx, *t.Notice)
	p.Items = []ParcelItem{item.ParcelItem}
	return p, true, err
}
