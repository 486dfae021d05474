package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
)

// withStaff opens the register and finds an account in it.
func (g *globals) withStaff(ctx context.Context, login string, do func(*registry.Store, registry.StaffView) error) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	v, err := store.FindStaff(ctx, operator(), login)
	if err != nil {
		return err
	}
	return do(store, v)
}

// printStaff writes an account on a line.
func (g *globals) printStaff(v registry.StaffView) error {
	return g.print(v, func() {
		var marks []string
		for mark, set := range map[string]bool{"cli.staff_inactive": !v.Active, "cli.staff_locked": v.LockedUntil != nil, "cli.staff_factor": v.Factor, "cli.staff_must_change": v.MustChange} {
			if set {
				marks = append(marks, g.say(mark, nil))
			}
		}
		var roles []string
		for _, r := range v.Roles {
			roles = append(roles, fmt.Sprintf("%s@%s", r.Role, r.Region))
		}
		fmt.Printf("%s  %-7s  %s  %s  %s  %s\n", v.ID, v.Kind, v.Login, v.Name, strings.Join(roles, " "), strings.Join(marks, ", "))
	})
}

type staffListCmd struct{}

// Run implements liferelay staff list.
func (staffListCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	for after := uuid.Nil; ; {
		list, err := store.ListStaff(ctx, operator(), after, 200)
		if err != nil {
			return err
		}
		for _, v := range list {
			if err := g.printStaff(v); err != nil {
				return err
			}
			after = v.ID
		}
		if len(list) < 200 {
			return nil
		}
	}
}

// staffOne is a command about one account.
type staffOne struct {
	Login string `arg:"" help:"Whose account."`
}

type staffShowCmd struct{ staffOne }

// Run implements liferelay staff show.
func (c *staffShowCmd) Run(ctx context.Context, g *globals) error {
	return g.withStaff(ctx, c.Login, func(_ *registry.Store, v registry.StaffView) error { return g.printStaff(v) })
}

type staffChangeCmd struct {
	staffOne
	Name         string    `help:"How colleagues see them."`
	Organisation uuid.UUID `help:"The id of their organisation." placeholder:"ID"`
	Locale       string    `enum:",zh-CN,en" default:"" placeholder:"LANG" help:"The language they read: zh-CN or en."`
}

// Run implements liferelay staff change.
func (c *staffChangeCmd) Run(ctx context.Context, g *globals) error {
	return g.withStaff(ctx, c.Login, func(store *registry.Store, v registry.StaffView) error {
		v, err := store.ChangeStaff(ctx, operator(), v.ID, v.Version, registry.StaffChange{Name: c.Name, Organisation: c.Organisation, Locale: lang.Locale(c.Locale)})
		if err != nil {
			return err
		}
		return g.printStaff(v)
	})
}

type (
	staffDeactivateCmd    struct{ staffOne }
	staffReactivateCmd    struct{ staffOne }
	staffUnlockCmd        struct{ staffOne }
	staffResetFactorCmd   struct{ staffOne }
	staffEndSessionsCmd   struct{ staffOne }
	staffResetPasswordCmd struct{ staffOne }
)

// change does something to an account that has nothing to tell.
func (c staffOne) change(ctx context.Context, g *globals, do func(*registry.Store) func(context.Context, registry.Actor, uuid.UUID) error) error {
	return g.withStaff(ctx, c.Login, func(store *registry.Store, v registry.StaffView) error {
		if err := do(store)(ctx, operator(), v.ID); err != nil {
			return err
		}
		return g.print(map[string]bool{"done": true}, func() { fmt.Println(g.say("cli.done", nil)) })
	})
}

// Run implements liferelay staff deactivate.
func (c *staffDeactivateCmd) Run(ctx context.Context, g *globals) error {
	return c.change(ctx, g, func(s *registry.Store) func(context.Context, registry.Actor, uuid.UUID) error {
		return s.DeactivateStaff
	})
}

// Run implements liferelay staff reactivate.
func (c *staffReactivateCmd) Run(ctx context.Context, g *globals) error {
	return c.change(ctx, g, func(s *registry.Store) func(context.Context, registry.Actor, uuid.UUID) error {
		return s.ReactivateStaff
	})
}

// Run implements liferelay staff unlock.
func (c *staffUnlockCmd) Run(ctx context.Context, g *globals) error {
	return c.change(ctx, g, func(s *registry.Store) func(context.Context, registry.Actor, uuid.UUID) error { return s.UnlockStaff })
}

// Run implements liferelay staff reset-factor.
func (c *staffResetFactorCmd) Run(ctx context.Context, g *globals) error {
	return c.change(ctx, g, func(s *registry.Store) func(context.Context, registry.Actor, uuid.UUID) error { return s.ResetFactor })
}

// Run implements liferelay staff end-sessions.
func (c *staffEndSessionsCmd) Run(ctx context.Context, g *globals) error {
	return c.change(ctx, g, func(s *registry.Store) func(context.Context, registry.Actor, uuid.UUID) error { return s.EndSessions })
}

// Run implements liferelay staff reset-password.
func (c *staffResetPasswordCmd) Run(ctx context.Context, g *globals) error {
	return g.withStaff(ctx, c.Login, func(store *registry.Store, v registry.StaffView) error {
		once, err := store.ResetPassword(ctx, operator(), v.ID)
		if err != nil {
			return err
		}
		g.tell("cli.one_time_password", nil)
		return g.print(map[string]string{"password": once}, func() { fmt.Println(once) })
	})
}

type identityFlags struct {
	Issuer  string `required:"" help:"The provider's address, as it gives it in its tokens."`
	Subject string `required:"" help:"The provider's name for the person (sub)."`
}

type (
	staffLinkCmd struct {
		staffOne
		identityFlags
	}
	staffUnlinkCmd struct {
		staffOne
		identityFlags
	}
)

// Run implements liferelay staff link.
func (c *staffLinkCmd) Run(ctx context.Context, g *globals) error {
	return c.change(ctx, g, func(s *registry.Store) func(context.Context, registry.Actor, uuid.UUID) error {
		return func(ctx context.Context, by registry.Actor, id uuid.UUID) error {
			return s.LinkIdentity(ctx, by, id, registry.IdentityForm{Issuer: c.Issuer, Subject: c.Subject})
		}
	})
}

// Run implements liferelay staff unlink.
func (c *staffUnlinkCmd) Run(ctx context.Context, g *globals) error {
	return c.change(ctx, g, func(s *registry.Store) func(context.Context, registry.Actor, uuid.UUID) error {
		return func(ctx context.Context, by registry.Actor, id uuid.UUID) error {
			return s.UnlinkIdentity(ctx, by, id, registry.IdentityForm{Issuer: c.Issuer, Subject: c.Subject})
		}
	})
}

type machineCmd struct {
	Add machineAddCmd `cmd:"" help:"Enter a machine, which works with tokens and has no password, and print its id."`
}

type machineAddCmd struct {
	Login        string    `arg:"" help:"What it is called in grants and tokens."`
	Name         string    `required:"" help:"How people see it."`
	Organisation uuid.UUID `required:"" help:"The id of its organisation."`
}

// Run implements liferelay machine add.
func (c *machineAddCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	id, err := store.AddMachine(ctx, operator(), registry.MachineForm{Login: c.Login, Name: c.Name, Organisation: c.Organisation})
	if err != nil {
		return err
	}
	return g.print(map[string]uuid.UUID{"id": id}, func() { fmt.Println(id) })
}

type tokenCmd struct {
	Add    tokenAddCmd    `cmd:"" help:"Make a token for a machine and print it, once."`
	List   tokenListCmd   `cmd:"" help:"List somebody's tokens."`
	Revoke tokenRevokeCmd `cmd:"" help:"Revoke a token."`
}

type tokenAddCmd struct {
	staffOne
	Name  string   `required:"" help:"What it is for."`
	Scope []string `required:"" help:"What it is limited to, such as donors:read."`
	Days  int      `default:"90" help:"How long it lives."`
}

// Run implements liferelay token add.
func (c *tokenAddCmd) Run(ctx context.Context, g *globals) error {
	if err := api.CheckScopes(c.Scope); err != nil {
		return err
	}
	return g.withStaff(ctx, c.Login, func(store *registry.Store, v registry.StaffView) error {
		t, err := store.AddToken(ctx, operator(), v.ID, registry.TokenForm{Name: c.Name, Scopes: c.Scope, Days: c.Days})
		if err != nil {
			return err
		}
		g.tell("cli.token_made", map[string]any{"Until": t.Expires.In(registry.Zone).Format(time.DateOnly)})
		return g.print(t, func() { fmt.Println(t.Token) })
	})
}

type tokenListCmd struct{ staffOne }

// Run implements liferelay token list.
func (c *tokenListCmd) Run(ctx context.Context, g *globals) error {
	return g.withStaff(ctx, c.Login, func(store *registry.Store, v registry.StaffView) error {
		list, err := store.ListTokens(ctx, operator(), v.ID)
		if err != nil {
			return err
		}
		for _, t := range list {
			err := g.print(t, func() {
				state := g.say("cli.token_until", map[string]any{"Until": t.Expires.In(registry.Zone).Format(time.DateOnly)})
				if t.Revoked != nil {
					state = g.say("cli.token_revoked", nil)
				}
				fmt.Printf("%s  %s  %s  %s\n", t.ID, t.Name, strings.Join(t.Scopes, " "), state)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

type tokenRevokeCmd struct {
	ID uuid.UUID `arg:"" help:"Of the token, from the list."`
}

// Run implements liferelay token revoke.
func (c *tokenRevokeCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.RevokeToken(ctx, operator(), c.ID); err != nil {
		return err
	}
	return g.print(map[string]bool{"revoked": true}, func() { fmt.Println(g.say("cli.done", nil)) })
}
