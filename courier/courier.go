// Package courier brings deliveries out of the house: it takes from the registry what is due, puts it into the reader's words, hands
// it to a transport of notify, and tells the registry what became of it.
//
// It guarantees that a message says no more than that there is something to read, and where; that any number of couriers share the
// work, each delivery being one's at a time; and that one that dies loses nothing. A delivery arrives once, unless a process dies (or
// the database goes away) after the other side took it and before that was written down: then it is sent again under the same name,
// by which gateways and webhooks know it (webhook-id) and readers of mail can (Message-ID).
package courier

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/liferelay/liferelay/notify"
	"github.com/liferelay/liferelay/registry"
)

// Courier carries deliveries on the channels that it has.
type Courier struct {
	Store  *registry.Store
	Mail   *notify.Mailer  // nil where the installation has none
	SMS    *notify.Gateway // as Mail
	Hooks  *notify.Hooks
	Public string // where readers find the pages: https://register.example.org
	Log    *zap.Logger
}

const (
	take  = 16
	lease = 2 * time.Minute // longer than any transport's patience
	idle  = 2 * time.Second
	hands = 4
)

var actor = registry.System("courier")

// Run carries until ctx ends.
func (c *Courier) Run(ctx context.Context) {
	for ctx.Err() == nil {
		busy, err := c.Round(ctx)
		if err != nil && ctx.Err() == nil {
			c.Log.Warn("notices could not be carried", zap.String("code", registry.CodeOf(err)), zap.Error(err))
		}
		if busy && err == nil {
			continue // there is more
		}
		select {
		case <-ctx.Done():
		case <-time.After(idle):
		}
	}
}

// Round does all that is due once, and tells whether there was anything.
func (c *Courier) Round(ctx context.Context) (busy bool, err error) {
	spread, err := c.Store.SpreadNotices(ctx, actor, 64)
	if err != nil {
		return false, err
	}
	made, err := c.Store.MakeDigests(ctx, actor)
	if err != nil {
		return false, err
	}
	parcels, err := c.Store.TakeDeliveries(ctx, actor, c.channels(), take, lease)
	if err != nil {
		return false, err
	}
	var at sync.WaitGroup
	free := make(chan struct{}, hands)
	for _, p := range parcels {
		free <- struct{}{}
		at.Go(func() {
			defer func() { <-free }()
			c.carry(ctx, p)
		})
	}
	at.Wait()
	return spread+made+len(parcels) > 0, nil
}

func (c *Courier) channels() []registry.Channel {
	out := c.Channels()
	if c.Hooks != nil {
		out = append(out, registry.ByWebhook)
	}
	return out
}

// Channels lists those on which people can be reached.
func (c *Courier) Channels() []registry.Channel {
	out := []registry.Channel{}
	if c.Mail != nil {
		out = append(out, registry.ByEmail)
	}
	if c.SMS != nil {
		out = append(out, registry.ByText)
	}
	return out
}

func (c *Courier) carry(ctx context.Context, p registry.Parcel) {
	err := c.Send(ctx, p)
	if err != nil && ctx.Err() != nil {
		return // the lease gives it to the next one
	}
	outcome := registry.Outcome{Arrived: err == nil}
	var failed *notify.Failure
	switch {
	case errors.As(err, &failed):
		outcome.Code, outcome.Permanent, outcome.Gone, outcome.After = failed.Code, failed.Permanent, failed.Gone, failed.After
	case err != nil:
		outcome.Code = "failed"
	}
	if err != nil {
		c.Log.Warn("a delivery did not arrive", zap.String("delivery", p.ID.String()), zap.String("channel", string(p.Channel)), zap.Int("attempt", p.Attempt), zap.String("code", outcome.Code))
	}
	// What was sent is written down even while the process is being stopped.
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := c.Store.SettleDelivery(settling, actor, p, outcome); err != nil {
		c.Log.Warn("what became of a delivery could not be written", zap.String("delivery", p.ID.String()), zap.Error(err))
	}
}

// Send hands a parcel to its transport, once.
func (c *Courier) Send(ctx context.Context, p registry.Parcel) error {
	switch p.Channel {
	case registry.ByEmail:
		return c.Mail.Send(ctx, c.mail(p))
	case registry.ByText:
		return c.SMS.Send(ctx, c.sms(p))
	}
	return c.Hooks.Post(ctx, p.URL, p.Secret.Reveal(), p.ID.String(), c.event(p))
}

// page is the address of a page, nothing where the installation has not said what its own is.
func (c *Courier) page(path string) string {
	if c.Public == "" {
		return ""
	}
	return strings.TrimSuffix(c.Public, "/") + path
}

// Public reads where readers find the pages.
func Public(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("courier: the public address is written https://register.example.org")
	}
	return strings.TrimSuffix(address, "/"), nil
}
