package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/workflows"
)

type casesCmd struct {
	List   casesListCmd   `cmd:"" help:"List cases that a member of staff may see."`
	Show   casesShowCmd   `cmd:"" help:"Show a case with its tasks and its timeline, as a member of staff sees it."`
	Resume casesResumeCmd `cmd:"" help:"Start the protocol of every open case again from its rows: after the Temporal cluster was lost. Those that run are left alone."`
}

// asFlag names the member of staff whose rights a command uses.
type asFlag struct {
	As string `required:"" placeholder:"LOGIN" env:"LIFERELAY_AS" help:"The member of staff who acts: what they may see and do decides."`
}

func (f asFlag) actor(ctx context.Context, g *globals, store *registry.Store) (registry.Actor, error) {
	who, err := store.ActorByLogin(ctx, f.As)
	if registry.KindOf(err) == registry.Unsigned {
		return who, configError{setting: "LIFERELAY_AS (--as)", says: "cli.nobody"}
	}
	who.Locale = g.locale()
	return who, err
}

type casesListCmd struct {
	asFlag
	Protocol string `enum:",enrolment,drive,search,stemcell,care,safety" default:"" help:"Only cases of this protocol."`
	Status   string `enum:"open,ended,all" default:"open" help:"Which cases: ${enum}."`
	Limit    int    `default:"100" help:"At most so many."`
}

// Run implements liferelay cases list.
func (c *casesListCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	who, err := c.actor(ctx, g, store)
	if err != nil {
		return err
	}
	filter := registry.CaseFilter{Protocol: registry.Protocol(c.Protocol), Status: c.Status}
	if c.Status == "all" {
		filter.Status = ""
	}
	for left := c.Limit; left > 0; {
		filter.Limit = min(left, 200)
		list, err := store.ListCases(ctx, who, filter)
		if err != nil {
			return err
		}
		for _, line := range list {
			if err := g.print(line, func() {
				fmt.Printf("%s  %-16s  %s  %s\n", line.ID, line.Number, line.Region, g.standing(line.Status, line.Step, line.Ending))
			}); err != nil {
				return err
			}
			filter.After = line.ID
		}
		left -= len(list)
		if len(list) < filter.Limit {
			return nil
		}
	}
	filter.Limit = 1
	more, err := store.ListCases(ctx, who, filter)
	if len(more) > 0 {
		g.tell("cli.more_cases", map[string]any{"Limit": c.Limit})
	}
	return err
}

// standing says where a case stands.
func (g *globals) standing(status, step, ending string) string {
	text := g.say("cli.standing", map[string]any{"CaseStatus": status, "Step": step})
	if ending != "" {
		text += " · " + g.say("cli.ending", map[string]any{"Ending": ending})
	}
	return text
}

type casesShowCmd struct {
	asFlag
	ID uuid.UUID `arg:"" help:"The case's id."`
}

// Run implements liferelay cases show.
func (c *casesShowCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	who, err := c.actor(ctx, g, store)
	if err != nil {
		return err
	}
	v, err := store.ShowCase(ctx, who, c.ID)
	if err != nil {
		return err
	}
	return g.print(v, func() {
		fmt.Printf("%s  %s\n", v.Number, g.standing(v.Status, v.Step, v.Ending))
		for _, t := range v.Tasks {
			fmt.Println(" ", g.say("cli.task", map[string]any{"Status": t.Status, "Title": t.Title, "Due": t.DueAt.In(registry.Zone).Format(time.DateTime)}))
		}
		for _, e := range v.Timeline {
			fmt.Printf("  %s  %s\n", e.At.In(registry.Zone).Format(time.DateTime), e.Text)
		}
	})
}

type casesResumeCmd struct {
	Anew bool `help:"End the runs that are there and start each case anew: after an upgrade that left no worker of the version they wait for."`
}

// Run implements liferelay cases resume.
func (c *casesResumeCmd) Run(ctx context.Context, g *globals) error {
	store, keys, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	desk, err := g.dial(keys, nil)
	if err != nil {
		return err
	}
	defer desk.Close()
	if err := reach(ctx, desk); err != nil {
		return err
	}
	open, err := store.OpenCases(ctx, operator())
	if err != nil {
		return err
	}
	total, done := int64(0), int64(0)
	for _, ids := range open {
		total += int64(len(ids))
	}
	bar := progress(g.say("cli.resuming", nil))
	defer bar.end()
	counts := map[registry.Protocol]int{}
	for protocol, ids := range open {
		for _, id := range ids {
			carry := func() error { return desk.Tell(ctx, protocol, id, "resumed") }
			if c.Anew {
				carry = func() error { return desk.Restart(ctx, protocol, id) }
			}
			if err := carry(); err != nil {
				return err
			}
			counts[protocol]++
			done++
			bar.at(done, total)
		}
	}
	return g.print(counts, func() {
		var each []string
		for _, protocol := range slices.Sorted(maps.Keys(counts)) {
			each = append(each, fmt.Sprintf("%s %d", protocol, counts[protocol]))
		}
		fmt.Println(g.say("cli.resumed", map[string]any{"Cases": done, "Each": strings.Join(each, ", ")}))
	})
}

// reach makes sure that the desk answers, before work is begun that would wait for it again and again.
func reach(ctx context.Context, desk *workflows.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return desk.Ping(ctx)
}
