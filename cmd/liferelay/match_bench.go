package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/liferelay/liferelay/registry/match"
	"github.com/liferelay/liferelay/registry/matchbench"
)

type matchBenchCmd struct {
	Donors     []int  `required:"" placeholder:"N" help:"How many donors; several numbers are measured one after the other."`
	Haplotypes string `required:"" type:"existingfile" placeholder:"FILE" help:"Haplotypes and their frequencies, from which donors and patients are drawn."`
	Seed       uint64 `default:"1" help:"The same seed draws the same people."`
	nomenclature
}

var benchSteps = map[string]string{"draw": "cli.bench_draw", "load": "cli.bench_load", "rival": "cli.bench_rival", "search": "cli.bench_search"}

// Run implements liferelay match bench.
func (c *matchBenchCmd) Run(ctx context.Context, g *globals) error {
	by, err := c.reader()
	if err != nil {
		return err
	}
	var set *match.Frequencies
	err = readFile(c.Haplotypes, func(r io.Reader) (err error) {
		set, err = match.ReadFrequencies(r)
		return err
	})
	if err != nil {
		return configError{setting: "--haplotypes", says: err.Error()}
	}
	if g.Database != "" {
		if err := g.needDatabase(); err != nil {
			return err
		}
	} else {
		g.tell("cli.bench_no_server", nil)
	}
	for _, donors := range c.Donors {
		if donors < 1000 || donors > 50_000_000 {
			return configError{setting: "--donors", says: "cli.bench_donors"}
		}
		report, err := matchbench.Run(ctx, matchbench.Options{URL: g.Database, Donors: donors, Seed: c.Seed, Frequencies: set, Release: by.Release, Progress: func(step string) {
			g.tell(benchSteps[step], map[string]any{"Donors": donors})
		}})
		if err != nil {
			return err
		}
		c.print(g, report)
	}
	return nil
}

func (c *matchBenchCmd) print(g *globals, r *matchbench.Report) {
	fmt.Println(g.say("cli.bench_memory", map[string]any{"Donors": r.Donors, "Bytes": fmt.Sprintf("%.1f", r.BytesPerDonor), "Distinct": r.Distinct, "Copies": r.DistinctCopies}))
	if r.Copy > 0 {
		fmt.Println(g.say("cli.bench_loaded", map[string]any{"Load": fmt.Sprintf("%.2f", r.Load), "Copy": fmt.Sprintf("%.2f", r.Copy), "Times": fmt.Sprintf("%.2f", r.Load/r.Copy)}))
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, g.say("cli.bench_heading", nil)+"\t")
	for _, s := range r.Searches {
		name := "cli.bench_high"
		if s.Low {
			name = "cli.bench_low"
		}
		sql := "\t\t\t"
		if s.SQL > 0 {
			sql = fmt.Sprintf("%.0f\t%.0f\t%d\t", 1e3*s.SQL, s.SQL/s.Search, s.SQLFound)
		}
		_, _ = fmt.Fprintf(table, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.1f\t%.1f\t%s\n", g.say(name, map[string]any{"Percentile": s.Patient}), s.Accepted, 1e3*s.Floor, 1e3*s.Search, s.Search/s.Floor,
			1e3*s.Best, s.Best/s.Floor, sql)
	}
	_ = table.Flush()
}
