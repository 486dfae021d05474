package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/seal"
)

type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Walk the chain of seals and name the first row that was changed, removed or slipped in."`
	Export auditExportCmd `cmd:"" help:"Write seals, rows and signed heads as lines of JSON, for somebody outside to keep and verify."`
	Heads  auditHeadsCmd  `cmd:"" help:"Print the newest signed head, one line, to be kept elsewhere."`
	Key    auditKeyCmd    `cmd:"" help:"Print the public key that heads and exports are verified with."`
}

type auditVerifyCmd struct {
	Against string         `type:"existingfile" placeholder:"FILE" help:"What was kept elsewhere, heads or exports: also show a chain whose end was cut off, or that was made anew with the keys."`
	Export  string         `placeholder:"FILE" help:"Verify this export (- is standard input) and not the register: needs no database and no key file, only --key. Several exports can follow each other in it."`
	Key     seal.PublicKey `placeholder:"KEY" help:"For --export: the register's public key, as liferelay audit key printed it."`
}

// Run implements liferelay audit verify.
func (c *auditVerifyCmd) Run(ctx context.Context, g *globals) error {
	var kept *registry.KeptHeads
	if c.Against != "" {
		var err error
		if kept, err = registry.ReadKept(func() (io.ReadCloser, error) { return os.Open(c.Against) }); err != nil {
			return err
		}
	}
	report, err := c.verify(ctx, g, kept)
	if err != nil {
		return err
	}
	err = g.print(report, func() {
		id := "cli.audit_broken"
		if report.Verified {
			id = "cli.audit_verified"
		}
		fmt.Println(g.say(id, map[string]any{"Rows": report.Rows, "Seals": report.Seals, "Waiting": report.Waiting, "Finding": report.Finding, "Row": report.Row, "Kept": report.Kept}))
	})
	if err == nil && !report.Verified {
		return exitRefused
	}
	return err
}

func (c *auditVerifyCmd) verify(ctx context.Context, g *globals, kept *registry.KeptHeads) (report registry.AuditReport, err error) {
	if c.Export != "" {
		// The key that stands in the export proves nothing: whoever made it wrote that, too.
		if c.Key == "" {
			return report, said{id: "cli.export_needs_key"}
		}
		in := os.Stdin
		if c.Export != "-" {
			if in, err = os.Open(c.Export); err != nil {
				return report, err
			}
			defer func() { _ = in.Close() }()
		}
		return registry.VerifyExport(in, c.Key, kept)
	}
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return report, err
	}
	defer store.Close()
	bar := progress(g.say("cli.verifying", nil))
	defer bar.end()
	return store.VerifyAudit(ctx, operator(), kept, func(done, total int64) { bar.at(done, total) })
}

type auditExportCmd struct {
	To    string `required:"" placeholder:"FILE" help:"A new file, or - for standard output."`
	Since int64  `placeholder:"SEAL" help:"Only what comes after this seal: the last one of the export before."`
}

// Run implements liferelay audit export. What it counted goes to standard error, because the export itself may be what is on
// standard output.
func (c *auditExportCmd) Run(ctx context.Context, g *globals) (err error) {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	out := os.Stdout
	if c.To != "-" {
		// An export that was kept is not replaced. It is nobody's to read but its owner's.
		if out, err = os.OpenFile(c.To, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return said{"cli.file_exists", map[string]any{"Path": c.To}}
			}
			return err
		}
		defer func() {
			if err = errors.Join(err, out.Close()); err != nil {
				_ = os.Remove(c.To) // half an export would stand in the way of the next try
			}
		}()
	}
	bar := progress(g.say("cli.exporting", nil))
	export, err := store.ExportAudit(ctx, operator(), c.Since, out, func(done, total int64) { bar.at(done, total) })
	bar.end()
	if err != nil {
		return err
	}
	if c.To != "-" {
		if err := out.Sync(); err != nil {
			return err
		}
		if g.JSON {
			return g.print(export, nil)
		}
	}
	g.tell("cli.exported", map[string]any{"Rows": export.Rows, "Seals": export.Seals, "Last": export.Last})
	return nil
}

type auditHeadsCmd struct{}

// Run implements liferelay audit heads. A head is a line of JSON with or without --json: it is kept to be read by programs.
func (auditHeadsCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	head, err := store.NewestHead(ctx, operator())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(head)
}

type auditKeyCmd struct{}

// Run implements liferelay audit key.
func (auditKeyCmd) Run(ctx context.Context, g *globals) error {
	keys, err := g.keys(ctx)
	if err != nil {
		return err
	}
	key := keys.PublicKey()
	if key == "" {
		return configError{setting: keyFileSetting, says: seal.ErrCannotSign.Error()}
	}
	return g.print(map[string]any{"key": key, "register": keys.Fingerprint()}, func() { fmt.Println(key) })
}
