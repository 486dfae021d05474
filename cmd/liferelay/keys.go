package main

import (
	"context"
	"fmt"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/seal"
)

type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"List the keys that rotate, and how many values each still seals or finds."`
	Rotate keysRotateCmd `cmd:"" help:"Add a key to the key file; a worker then takes the register over to it. Again while one is under way, it is woken."`
	Status keysStatusCmd `cmd:"" help:"Show how far each rotation is."`
	Retire keysRetireCmd `cmd:"" help:"Remove a key from the key file that nothing carries any more."`
	Wrap   keysWrapCmd   `cmd:"" help:"Write the key file anew, wrapped by the key service that is set, or by the newest version of its key."`
}

type keysListCmd struct{}

// Run implements liferelay keys list.
func (keysListCmd) Run(ctx context.Context, g *globals) error {
	store, keys, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	list, err := store.ListKeys(ctx, operator())
	if err != nil {
		return err
	}
	facts := map[string]any{"suite": keys.Suite(), "keyring": keys.Fingerprint(), "kms": keys.KMS(), "keys": list}
	return g.print(facts, func() {
		fmt.Println(g.say("cli.keyring", map[string]any{"Suite": string(keys.Suite()), "Algorithms": keys.Suite().String(), "Keyring": keys.Fingerprint(), "Path": g.KeyFile}))
		if kms := keys.KMS(); kms != "" {
			fmt.Println("  " + g.say("cli.keyring_wrapped", map[string]any{"KMS": kms}))
		}
		for _, k := range list {
			fmt.Println("  " + g.say("cli.key", map[string]any{"Kind": string(k.Kind), "Version": k.Version, "Newest": k.Newest, "Rows": k.Rows}))
		}
	})
}

type keysRotateCmd struct {
	Kind string `arg:"" enum:"kek,index" help:"Which key: ${enum}. kek wraps people's keys and seals what is nobody's; index finds people by number and likeness."`
}

// Run implements liferelay keys rotate.
func (c *keysRotateCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	rotation, backup, err := store.StartRotation(ctx, operator(), seal.Kind(c.Kind))
	if backup != "" {
		g.tell("cli.key_backup", map[string]any{"Path": backup})
	}
	if err != nil {
		return err
	}
	return g.print(rotation, func() { fmt.Println(g.rotationLine(rotation)) })
}

type keysStatusCmd struct{}

// Run implements liferelay keys status.
func (keysStatusCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	list, err := store.ListRotations(ctx, operator())
	if err != nil {
		return err
	}
	return g.print(list, func() {
		if len(list) == 0 {
			fmt.Println(g.say("cli.no_rotations", nil))
		}
		for _, r := range list {
			fmt.Println(g.rotationLine(r))
		}
	})
}

func (g *globals) rotationLine(r registry.RotationView) string {
	return g.say("cli.rotation", map[string]any{"Kind": string(r.Kind), "Version": r.Version, "Step": r.Step, "Done": r.Done, "Total": r.Total, "Changed": r.Changed})
}

type keysRetireCmd struct {
	Kind    string `arg:"" enum:"kek,index" help:"Which key: ${enum}."`
	Version int    `arg:"" help:"Its version, as keys list shows it."`
}

// Run implements liferelay keys retire.
func (c *keysRetireCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	backup, err := store.RetireKey(ctx, operator(), seal.Kind(c.Kind), c.Version)
	if backup != "" {
		g.tell("cli.key_backup", map[string]any{"Path": backup})
	}
	if err != nil {
		return err
	}
	return g.print(map[string]any{"retired": c.Version, "backup": backup}, func() {
		fmt.Println(g.say("cli.key_retired", map[string]any{"Kind": c.Kind, "Version": c.Version}))
	})
}

type keysWrapCmd struct {
	Clear bool `help:"Write it in clear, wrapped by nobody."`
}

// Run implements liferelay keys wrap. It reads the file as it is, wrapped or not, and needs no database.
func (c *keysWrapCmd) Run(ctx context.Context, g *globals) error {
	kms, err := g.KMS.service()
	if err != nil {
		return err
	}
	if kms == nil {
		return configError{setting: kmsSetting, says: "cli.kms_unset"}
	}
	keys, err := seal.Read(ctx, g.KeyFile, kms)
	if err != nil {
		plain, readErr := seal.ReadFile(g.KeyFile)
		if readErr != nil {
			return configError{setting: keyFileSetting, says: err.Error()}
		}
		keys = plain
	}
	target, id := kms, "cli.kms_wrapped"
	if c.Clear {
		target, id = nil, "cli.kms_unwrapped"
	}
	backup, err := keys.Wrap(ctx, target)
	if err != nil {
		return configError{setting: keyFileSetting, says: err.Error()}
	}
	g.tell("cli.key_backup", map[string]any{"Path": backup})
	return g.print(map[string]any{"kms": keys.KMS(), "backup": backup}, func() { fmt.Println(g.say(id, map[string]any{"KMS": keys.KMS()})) })
}
