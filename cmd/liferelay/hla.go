package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/hla"
)

type hlaCmd struct {
	Explain hlaExplainCmd `cmd:"" help:"Tell every step of reading a typing: what each name stands for, and which line of which file says so. It needs no database when --hla is given."`
	Load    hlaLoadCmd    `cmd:"" help:"Load a release of the nomenclature and a table of codes into the register, and count the typings that they change."`
	List    hlaListCmd    `cmd:"" help:"List what was loaded."`
}

type hlaExplainCmd struct {
	Typing string `arg:"" help:"A GL string, or a GL String Code: 'A*02:01+A*24:XX^B7+B*15:01'. Mind the shell: put it into quotes."`
	nomenclature
}

// Run implements liferelay hla explain.
func (c *hlaExplainCmd) Run(ctx context.Context, g *globals) error {
	by, err := c.reader()
	if err != nil {
		return err
	}
	library := hla.NewLibrary(by.Codes)
	switch {
	case by.Release != nil:
		library = hla.NewLibrary(by.Codes, by.Release)
	case g.Database != "":
		store, _, err := g.open(ctx, nil)
		if err != nil {
			return err
		}
		defer store.Close()
		if library, err = store.Nomenclature(ctx, operator()); err != nil {
			return err
		}
		if by.Codes != nil {
			library = library.With(by.Codes)
		}
	}
	explained, err := library.Reader("").Explain(c.Typing)
	var refused *hla.Error
	if errors.As(err, &refused) {
		return said{id: "cli.hla_refused", args: map[string]any{"What": g.explainTyping(refused)}}
	}
	if err != nil {
		return err
	}
	return g.print(explained, func() { fmt.Print(g.told(explained)) })
}

// most is how many alleles of a name are told to people; programs are told all.
const most = 12

// told is an explanation in the reader's language.
func (g *globals) told(e *hla.Explanation) string {
	var out strings.Builder
	line := func(depth int, id string, args map[string]any) {
		fmt.Fprintf(&out, "%s%s\n", strings.Repeat("  ", depth), g.say(id, args))
	}
	if e.Release != "" {
		line(0, "cli.explain_release", map[string]any{"Release": e.Release})
	} else {
		line(0, "cli.explain_bare", nil)
	}
	if e.Version != "" {
		line(0, "cli.explain_version", map[string]any{"Version": e.Version})
	}
	for _, l := range e.Loci {
		fmt.Fprintf(&out, "\n%s  %s\n", l.Locus, l.Text)
		if l.Untyped {
			line(1, "cli.explain_untyped", nil)
		}
		for i, pair := range l.Pairs {
			if len(l.Pairs) > 1 {
				line(1, "cli.explain_pair", map[string]any{"N": i + 1, "Of": len(l.Pairs)})
			}
			for _, c := range pair {
				g.tellCopy(c, line)
			}
		}
	}
	return out.String()
}

func (g *globals) tellCopy(c hla.CopyStep, line func(int, string, map[string]any)) {
	for _, n := range c.Names {
		line(1, "cli.explain_name", map[string]any{"Text": n.Text, "Form": string(n.Form), "Whole": n.Whole, "Source": g.source(n.By), "Alleles": g.few(n.Alleles)})
		if n.Former != "" {
			line(2, "cli.explain_former", map[string]any{"Release": n.Former})
		}
		for why, id := range map[hla.DroppedCode]string{hla.DroppedNull: "cli.explain_dropped_null", hla.DroppedRelease: "cli.explain_dropped_release"} {
			var dropped []string
			for _, d := range n.Dropped {
				if d.Why == why {
					dropped = append(dropped, d.Allele)
				}
			}
			if len(dropped) > 0 {
				line(2, id, map[string]any{"Alleles": g.few(dropped)})
			}
		}
	}
	switch {
	case c.Unknown:
		line(2, "cli.explain_unknown", nil)
	case c.Absent:
		line(2, "cli.explain_absent", nil)
	}
	for i, p := range c.Proteins {
		if i == most {
			line(2, "cli.explain_more", map[string]any{"Count": len(c.Proteins) - most})
			break
		}
		line(2, "cli.explain_protein", map[string]any{"Allele": p.Allele, "What": strings.Join(g.protein(p), "; ")})
	}
	if c.Silent && (c.Text != "" || c.Absent) {
		line(2, "cli.explain_silent", nil)
	}
}

// protein is what a release says of an allele, one thing after the other.
func (g *globals) protein(p hla.Protein) []string {
	var out []string
	add := func(id string, args map[string]any) { out = append(out, g.say(id, args)) }
	switch {
	case p.First:
		add("cli.explain_first", nil)
	case p.Null:
		add("cli.explain_null", nil)
	case p.Group != "":
		add("cli.explain_group", map[string]any{"Group": p.Group, "Source": g.source(p.GroupBy)})
	case p.GroupBy.Line > 0:
		add("cli.explain_alone", map[string]any{"Source": g.source(p.GroupBy)})
	default:
		add("cli.explain_ungrouped", nil)
	}
	for _, a := range p.Antigens {
		add("cli.explain_antigen", map[string]any{"Antigen": a.Antigen, "Source": g.source(a.By)})
	}
	if p.Epitope > 0 {
		add("cli.explain_epitope", map[string]any{"Group": p.Epitope, "Source": g.source(p.EpitopeBy)})
	}
	return out
}

// source names a line of a file, empty where none decided.
func (g *globals) source(s hla.Source) string {
	if s.Line == 0 {
		return ""
	}
	return g.say("cli.explain_source", map[string]any{"File": s.File, "Line": s.Line})
}

func (g *globals) few(alleles []string) string {
	if len(alleles) <= most {
		return strings.Join(alleles, ", ")
	}
	return strings.Join(alleles[:most], ", ") + ", " + g.say("cli.explain_more", map[string]any{"Count": len(alleles) - most})
}

type hlaLoadCmd struct {
	Dir   string `type:"existingdir" placeholder:"DIR" help:"A folder with a release of IPD-IMGT/HLA, in the layout of before 2026 or since."`
	Codes string `type:"existingfile" placeholder:"FILE" help:"The table of multiple-allele codes (alpha.v3). It may be gzipped."`
}

// loaded is what was loaded, and what it changes.
type loaded struct {
	registry.Reference
	Fresh   bool                   `json:"fresh"` // it was not there before
	Typings *registry.TypingReview `json:"typings,omitempty"`
}

// Run implements liferelay hla load.
func (c *hlaLoadCmd) Run(ctx context.Context, g *globals) error {
	if c.Dir == "" && c.Codes == "" {
		return configError{setting: "--dir, --codes", says: "cli.hla_nothing"}
	}
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	if c.Dir != "" {
		folder := os.DirFS(c.Dir)
		paths, err := hla.ReleaseFiles(folder)
		if err != nil {
			return err
		}
		files := map[string][]byte{}
		for _, path := range paths {
			if files[path], err = fs.ReadFile(folder, path); err != nil {
				return err
			}
		}
		if err := g.load(ctx, store, registry.ReferenceRelease, "", files); err != nil {
			return err
		}
	}
	if c.Codes == "" {
		return nil
	}
	var content []byte
	err = readFile(c.Codes, func(r io.Reader) (err error) {
		content, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return configError{setting: "--codes", says: err.Error()}
	}
	name := strings.TrimSuffix(filepath.Base(c.Codes), ".gz")
	return g.load(ctx, store, registry.ReferenceCodes, name, map[string][]byte{name: content})
}

// load loads something and tells what it is and what it changes.
func (g *globals) load(ctx context.Context, store *registry.Store, kind registry.ReferenceKind, name string, files map[string][]byte) error {
	ref, fresh, err := store.LoadReference(ctx, operator(), kind, name, files, nil)
	if err != nil {
		return err
	}
	out := loaded{Reference: ref, Fresh: fresh}
	if fresh {
		review, err := store.ReviewTypings(ctx, operator(), ref.ID)
		if err != nil {
			return err
		}
		out.Typings = &review
	}
	return g.print(out, func() {
		if kind == registry.ReferenceRelease {
			fmt.Println(g.say("cli.hla_release", map[string]any{"Name": ref.Name, "Names": ref.Names, "Groups": ref.Metadata["p_groups"]}))
		} else {
			fmt.Println(g.say("cli.hla_codes", map[string]any{"Name": ref.Name, "Names": ref.Names}))
		}
		if out.Typings == nil {
			fmt.Println(g.say("cli.hla_again", map[string]any{"At": ref.LoadedAt.In(registry.Zone).Format(time.DateTime)}))
			return
		}
		fmt.Println(g.say("cli.hla_review", map[string]any{"Typings": out.Typings.Typings, "Otherwise": out.Typings.Otherwise, "NoMore": out.Typings.NoMore, "Unread": out.Typings.Unread}))
	})
}

type hlaListCmd struct{}

// Run implements liferelay hla list.
func (hlaListCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	after := uuid.Nil
	for {
		list, err := store.ListReferences(ctx, operator(), "", after, 200)
		if err != nil {
			return err
		}
		for _, r := range list {
			used := " "
			if r.InUse {
				used = "*"
			}
			err := g.print(r, func() {
				fmt.Printf("%s %-10s  %-16s  %8d  %s  %.12s  %s\n", used, r.Kind, r.Name, r.Names, r.LoadedAt.In(registry.Zone).Format(time.DateTime), r.SHA256, r.LoadedBy)
			})
			if err != nil {
				return err
			}
			after = r.ID
		}
		if len(list) < 200 {
			return nil
		}
	}
}
