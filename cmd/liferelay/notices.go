package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/courier"
	"github.com/liferelay/liferelay/notify"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/seal"
)

// outside says how notices leave the house. Without an address a channel is not there.
type outside struct {
	SMTP         string `name:"smtp-url" env:"LIFERELAY_SMTP_URL" placeholder:"URL" help:"The mail server: smtp://user:password@host:587 (STARTTLS), smtps://…:465, or smtp://127.0.0.1:25?tls=none."`
	From         string `name:"smtp-from" env:"LIFERELAY_SMTP_FROM" placeholder:"ADDRESS" help:"The sender of mail."`
	SMS          string `name:"sms-url" env:"LIFERELAY_SMS_URL" placeholder:"URL" help:"The gateway of short messages, which each is posted to."`
	SMSKeyFile   string `name:"sms-key-file" env:"LIFERELAY_SMS_KEY_FILE" type:"path" placeholder:"FILE" help:"A file with the key that requests to the gateway are signed with, readable by nobody else."`
	Public       string `name:"public-url" env:"LIFERELAY_PUBLIC_URL" placeholder:"URL" help:"Where readers find the pages: https://register.example.org. Links in messages and codes on paper lead there."`
	PrivateHooks bool   `name:"private-webhooks" env:"LIFERELAY_PRIVATE_WEBHOOKS" help:"Let webhooks be at private addresses, and without TLS."`
}

// The settings that are named.
const (
	smtpSetting   = "LIFERELAY_SMTP_URL (--smtp-url), LIFERELAY_SMTP_FROM (--smtp-from)"
	smsSetting    = "LIFERELAY_SMS_URL (--sms-url), LIFERELAY_SMS_KEY_FILE (--sms-key-file)"
	publicSetting = "LIFERELAY_PUBLIC_URL (--public-url)"
)

// courier makes who carries notices out, with the channels that there are. It has no store yet.
func (o outside) courier() (*courier.Courier, error) {
	c := &courier.Courier{Hooks: notify.NewHooks(o.PrivateHooks)}
	var err error
	if c.Public, err = courier.Public(o.Public); err != nil {
		return nil, configError{setting: publicSetting, says: err.Error()}
	}
	if o.SMTP != "" {
		if c.Mail, err = notify.NewMailer(o.SMTP, o.From); err != nil {
			return nil, configError{setting: smtpSetting, says: err.Error()}
		}
	}
	if o.SMS != "" {
		key, err := secretFile(smsSetting, o.SMSKeyFile)
		if err != nil {
			return nil, err
		}
		if c.SMS, err = notify.NewGateway(o.SMS, key); err != nil {
			return nil, configError{setting: smsSetting, says: err.Error()}
		}
	}
	return c, nil
}

// secretFile reads a file with a secret, which others may not read. No file is no secret.
func secretFile(setting, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	about, err := os.Stat(path)
	if err == nil && about.Mode().Perm()&0o077 != 0 {
		return "", configError{setting: setting, says: "cli.secret_file_open"}
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		return "", configError{setting: setting, says: err.Error()}
	}
	return strings.TrimSpace(string(secret)), nil
}

type noticesCmd struct {
	Status noticesStatusCmd `cmd:"" help:"Count deliveries by channel and state."`
	Replay noticesReplayCmd `cmd:"" help:"Have dead deliveries tried again."`
	Test   noticesTestCmd   `cmd:"" help:"Send a message to an address, to see whether the channel works. It says nothing, and is written down nowhere."`
}

type noticesStatusCmd struct{}

// Run implements liferelay notices status.
func (*noticesStatusCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, zap.NewNop())
	if err != nil {
		return err
	}
	defer store.Close()
	list, err := store.DeliveryStatus(ctx, operator())
	if err != nil {
		return err
	}
	return g.print(list, func() {
		if len(list) == 0 {
			fmt.Println(g.say("cli.no_deliveries", nil))
		}
		for _, c := range list {
			fmt.Printf("%-8s %-10s %7d\n", c.Channel, c.State, c.Count)
		}
	})
}

type noticesReplayCmd struct {
	Channel string `enum:",email,message,webhook" default:"" placeholder:"CHANNEL" help:"Only those of a channel: email, message or webhook."`
}

// Run implements liferelay notices replay.
func (c *noticesReplayCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, zap.NewNop())
	if err != nil {
		return err
	}
	defer store.Close()
	n, err := store.ReplayDead(ctx, operator(), registry.Channel(c.Channel))
	if err != nil {
		return err
	}
	return g.print(map[string]int{"replayed": n}, func() { fmt.Println(g.say("cli.deliveries_replayed", map[string]any{"Count": n})) })
}

type noticesTestCmd struct {
	Mail  string `placeholder:"ADDRESS" help:"Send a mail there."`
	Phone string `placeholder:"NUMBER" help:"Send a short message there."`
}

// Run implements liferelay notices test.
func (c *noticesTestCmd) Run(ctx context.Context, g *globals) error {
	carrier, err := g.Outside.courier()
	if err != nil {
		return err
	}
	parcel := registry.Parcel{ID: uuid.New(), Kind: "code", Locale: g.locale(), Code: seal.NumberOf("000000")}
	var tried bool
	for _, way := range []struct {
		channel registry.Channel
		to      string
		there   bool
		setting string
	}{{registry.ByEmail, c.Mail, carrier.Mail != nil, smtpSetting}, {registry.ByText, c.Phone, carrier.SMS != nil, smsSetting}} {
		if way.to == "" {
			continue
		}
		if !way.there {
			return configError{setting: way.setting, says: "cli.channel_unset"}
		}
		parcel.Channel, parcel.Mail, parcel.Phone = way.channel, seal.EmailOf(way.to), seal.PhoneOf(way.to)
		if err := carrier.Send(ctx, parcel); err != nil {
			return said{"cli.delivery_failed", map[string]any{"Code": strings.TrimPrefix(err.Error(), "notify: ")}}
		}
		tried = true
	}
	if !tried {
		return said{"cli.nowhere_to_send", nil}
	}
	return g.print(map[string]bool{"sent": true}, func() { fmt.Println(g.say("cli.delivery_sent", nil)) })
}
