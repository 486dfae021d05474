package main

import (
	"context"
	"fmt"
	"os"

	"github.com/liferelay/liferelay/cmd/liferelay/demo"
)

type demoCmd struct {
	Once       bool   `help:"End after the job. Without it the demo goes on serving until Ctrl-C. Also with DEMO=once in the environment."`
	Dir        string `type:"path" placeholder:"DIR" help:"Where the key file and the logs go; a temporary folder when left out."`
	Seed       uint64 `default:"20261121" help:"Makes another sheet."`
	KillWorker bool   `help:"End the worker with kill -9 in the middle of the commit, to see that the totals stay the same."`
}

// Run implements liferelay demo.
func (c *demoCmd) Run(ctx context.Context, g *globals) error {
	if err := g.needDatabase(); err != nil {
		return err
	}
	if err := g.needTemporal(); err != nil {
		return err
	}
	dir := c.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "liferelay-demo-"); err != nil {
			return err
		}
	}
	d, err := demo.Start(ctx, demo.Options{
		Database: g.Database, Temporal: g.Temporal, Namespace: g.Namespace, TaskQueue: g.TaskQueue, Dir: dir, Seed: c.Seed, KillWorker: c.KillWorker, Out: os.Stdout,
	})
	if d != nil {
		defer d.Stop()
	}
	if err != nil {
		return err
	}
	if err := d.Run(ctx); err != nil {
		return fmt.Errorf("the demo stopped: %w (the logs are in %s)", err, dir)
	}
	fmt.Println()
	fmt.Println(d.Line())
	if c.Once || os.Getenv("DEMO") == "once" {
		if c.Dir == "" {
			d.Stop()
			_ = os.RemoveAll(dir)
		}
		return nil
	}
	fmt.Printf(`
The demo goes on serving until Ctrl-C:
  the pages                  %s/
  the interface, to browse   %s/docs
  signing in                 logins registrar, coordinator, technician, collector, transplant, auditor, admin; password %s
  logs and keys              %s
`, d.Base, d.Base, demo.Password, dir)
	<-ctx.Done()
	fmt.Println()
	return nil
}
