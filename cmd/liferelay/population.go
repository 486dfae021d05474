package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/liferelay/liferelay/registry"
)

type populationCmd struct {
	Load    populationLoadCmd    `cmd:"" help:"Load the haplotypes of a population and their frequencies into the register, which counts chances by them."`
	Mixture populationMixtureCmd `cmd:"" help:"Say which populations the people of each province draw from."`
	List    populationListCmd    `cmd:"" help:"List the populations that are loaded, and which provinces draw from each."`
}

type populationLoadCmd struct {
	Name     string `required:"" help:"What mixtures call it: letters, digits and the signs . _ -. One of this name that is loaded is replaced."`
	File     string `arg:"" type:"existingfile" help:"Haplotypes and their frequencies: the CSV or JSON of HFX, Atlas's JSON, or A*01:01~C*07:01~…;0.06 a line. It may be gzipped."`
	Metadata string `type:"existingfile" placeholder:"FILE" help:"The metadata of HFX that belong to the CSV (JSON)."`
}

// Run implements liferelay population load.
func (c *populationLoadCmd) Run(ctx context.Context, g *globals) error {
	files := map[string][]byte{}
	name := strings.TrimSuffix(filepath.Base(c.File), ".gz")
	content, err := whole("FILE", c.File)
	if err != nil {
		return err
	}
	files[name] = content
	if c.Metadata != "" {
		// Of two files the metadata are the one whose name ends so.
		beside := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(c.Metadata), ".gz"), ".json") + ".json"
		if beside == name {
			return configError{setting: "--metadata", says: "cli.population_metadata"}
		}
		if files[beside], err = whole("--metadata", c.Metadata); err != nil {
			return err
		}
	}
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	return g.loadPopulation(ctx, store, registry.ReferenceHaplotypes, c.Name, files)
}

// whole reads all of a file, gzipped or not.
func whole(setting, path string) (content []byte, err error) {
	err = readFile(path, func(r io.Reader) (err error) {
		content, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return nil, configError{setting: setting, says: err.Error()}
	}
	return content, nil
}

// loadPopulation loads a population or a mixture and tells what it is.
func (g *globals) loadPopulation(ctx context.Context, store *registry.Store, kind registry.ReferenceKind, name string, files map[string][]byte) error {
	ref, fresh, err := store.LoadReference(ctx, operator(), kind, name, files, nil)
	if err != nil {
		return err
	}
	list, err := store.ListPopulations(ctx, operator())
	if err != nil {
		return err
	}
	return g.print(loaded{Reference: ref, Fresh: fresh}, func() {
		if kind == registry.ReferenceMixture {
			fmt.Println(g.say("cli.population_mixture", map[string]any{"Lines": ref.Names}))
		} else {
			fmt.Println(g.say("cli.population_loaded", map[string]any{"Name": ref.Name, "Haplotypes": ref.Names, "Sum": fmt.Sprintf("%.4f", ref.Metadata["sum"])}))
		}
		if !fresh {
			fmt.Println(g.say("cli.hla_again", map[string]any{"At": ref.LoadedAt.In(registry.Zone).Format(time.DateTime)}))
		}
		switch {
		case list.Undecided:
			fmt.Println(g.say("cli.population_undecided", map[string]any{"Count": len(list.Populations)}))
		case !ref.InUse:
			fmt.Println(g.say("cli.population_unused", map[string]any{"Name": ref.Name}))
		}
	})
}

type populationMixtureCmd struct {
	File string `arg:"" type:"existingfile" help:"CSV: the province's code of two digits (GB/T 2260) or * for all others, the name of a population that is loaded, its weight. It may be gzipped."`
}

// Run implements liferelay population mixture.
func (c *populationMixtureCmd) Run(ctx context.Context, g *globals) error {
	content, err := whole("FILE", c.File)
	if err != nil {
		return err
	}
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	return g.loadPopulation(ctx, store, registry.ReferenceMixture, "", map[string][]byte{strings.TrimSuffix(filepath.Base(c.File), ".gz"): content})
}

type populationListCmd struct{}

// Run implements liferelay population list.
func (populationListCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	list, err := store.ListPopulations(ctx, operator())
	if err != nil {
		return err
	}
	return g.print(list, func() {
		for _, p := range list.Populations {
			fmt.Printf("%-12s  %8d  %.4f  %s  %-24s  %s\n", p.Name, p.Haplotypes, p.Sum, p.LoadedAt.In(registry.Zone).Format(time.DateTime), provinces(p), p.Label)
		}
		switch {
		case len(list.Populations) == 0:
			fmt.Println(g.say("cli.population_none", nil))
		case list.Undecided:
			fmt.Println(g.say("cli.population_undecided", map[string]any{"Count": len(list.Populations)}))
		}
	})
}

// provinces are those that draw from a population, with its share where that is not all: "*, 65:0.1".
func provinces(p registry.PopulationUse) string {
	var out []string
	for _, province := range slices.Sorted(maps.Keys(p.Provinces)) {
		if share := p.Provinces[province]; share < 1 {
			province += fmt.Sprintf(":%.4g", share)
		}
		out = append(out, province)
	}
	if len(out) == 0 {
		return "–"
	}
	return strings.Join(out, ", ")
}
