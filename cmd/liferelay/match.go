package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

type matchCmd struct {
	WMDA    matchWMDACmd    `cmd:"" name:"wmda" help:"Print how likely patients and donors match, as the consensus file of the WMDA's validation set has it. It needs no database."`
	Convert matchConvertCmd `cmd:"" help:"Print a file of donors in another format that registries exchange: the WMDA's XML, Atlas's JSON, MV4's CSV, GL strings. It needs no database."`
	Search  matchSearchCmd  `cmd:"" help:"Print which donors of a file fit the patients of another, as CSV with the columns of the WMDA's fourth exercise (MV4). It needs no database."`
	Bench   matchBenchCmd   `cmd:"" help:"Measure the engine over a synthetic registry, beside the least that it could cost and the same question in SQL."`
	Why     matchWhyCmd     `cmd:"" help:"Say why a donor fits a patient, or does not, locus by locus and down to the lines of the nomenclature. It needs no database."`
}

type matchWMDACmd struct {
	Patients    string   `required:"" type:"existingfile" help:"Patients, one a line: an id, % and a GL string. It may be gzipped."`
	Donors      string   `required:"" type:"existingfile" help:"Donors, as the patients."`
	Frequencies string   `required:"" type:"existingfile" help:"Haplotypes and their frequencies: A*01:01~C*07:01~…;0.06, or the CSV of HFX."`
	Patient     []string `placeholder:"ID" help:"Only this patient; may be given several times."`
	nomenclature
}

// nomenclature is what typings are read by.
type nomenclature struct {
	HLA   string `name:"hla" type:"existingdir" placeholder:"DIR" help:"A release of IPD-IMGT/HLA. Groups and antigens need it."`
	Codes string `type:"existingfile" placeholder:"FILE" help:"The table of multiple-allele codes (alpha.v3). Codes need it."`
}

// reader loads what typings are read by.
func (n nomenclature) reader() (by hla.Reader, err error) {
	if n.HLA != "" {
		if by.Release, err = hla.LoadRelease(os.DirFS(n.HLA)); err != nil {
			return by, configError{setting: "--hla", says: err.Error()}
		}
	}
	if n.Codes != "" {
		err = readFile(n.Codes, func(r io.Reader) (err error) {
			by.Codes, err = hla.ReadCodes(r)
			return err
		})
		if err != nil {
			return by, configError{setting: "--codes", says: err.Error()}
		}
	}
	return by, nil
}

// readFile reads a file, gzipped or not.
func readFile(name string, read func(io.Reader) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	buffered := bufio.NewReaderSize(file, 1<<16)
	if magic, err := buffered.Peek(2); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
		return read(buffered)
	}
	unzipped, err := gzip.NewReader(buffered)
	if err != nil {
		return err
	}
	return read(unzipped)
}

// Run implements liferelay match wmda.
func (c *matchWMDACmd) Run(ctx context.Context, g *globals) error {
	by, err := c.reader()
	if err != nil {
		return err
	}
	var set *match.Frequencies
	err = readFile(c.Frequencies, func(r io.Reader) (err error) {
		set, err = match.ReadFrequencies(r)
		return err
	})
	if err != nil {
		return configError{setting: "--frequencies", says: err.Error()}
	}
	wanted := map[string]bool{}
	for _, id := range c.Patient {
		wanted[id] = true
	}
	patients, left, err := c.people(g, c.Patients, by, wanted)
	if err != nil {
		return err
	}
	donors, out, err := c.people(g, c.Donors, by, nil)
	if err != nil {
		return err
	}
	left += out
	for _, id := range c.Patient {
		if wanted[id] {
			return configError{setting: "--patient", says: "cli.match_no_patient", args: map[string]any{"Patient": id}}
		}
	}
	set.ExplainAll(patients, by.Release)
	set.ExplainAll(donors, by.Release)
	to := bufio.NewWriterSize(os.Stdout, 1<<16)
	if err := set.WriteConsensus(ctx, to, patients, donors); err != nil {
		return err
	}
	if err := to.Flush(); err != nil {
		return err
	}
	unexplained := 0
	for _, p := range slices.Concat(patients, donors) {
		if !p.Genotypes.Explained() {
			unexplained++
		}
	}
	if unexplained > 0 {
		g.tell("cli.match_unexplained", map[string]any{"Count": unexplained})
	}
	if left > 0 {
		g.tell("cli.match_left_out", map[string]any{"Count": left})
		return exitSome
	}
	return nil
}

// people reads a file of people, and counts those who cannot be read. With ids in only it reads those alone, and says no to each that it finds.
func (c *matchWMDACmd) people(g *globals, name string, by hla.Reader, only map[string]bool) (people []match.Person, left int, err error) {
	const tell = 20 // of those who cannot be read
	err = readFile(name, func(r io.Reader) error {
		for p, err := range match.ReadPeople(r, by) {
			if _, one := only[p.ID]; len(only) > 0 && !one {
				continue
			}
			if len(only) > 0 {
				only[p.ID] = false
			}
			if err == nil {
				people = append(people, p)
				continue
			}
			var cause *match.PersonError
			if !errors.As(err, &cause) { // of the file itself
				return fmt.Errorf("%s: %w", name, err)
			}
			if left++; left <= tell {
				fmt.Fprintf(os.Stderr, "%s: %s\n", name, g.explainPerson(cause))
			}
		}
		return nil
	})
	return people, left, err
}

// explainPerson puts what is wrong with somebody's line into the reader's words.
func (g *globals) explainPerson(e *match.PersonError) string {
	var typing *hla.Error
	if !errors.As(e, &typing) {
		return g.say("cli.match_line", map[string]any{"Line": e.Line})
	}
	return g.say("cli.match_person", map[string]any{"Line": e.Line, "Person": e.ID, "What": g.explainTyping(typing)})
}

// explainTyping says where a typing cannot be read, what stands there, why, and what was probably meant.
func (g *globals) explainTyping(e *hla.Error) string {
	text := g.say("cli.hla_error", map[string]any{"Position": e.Position, "Read": strings.TrimSpace(e.Read), "Why": g.say("hla."+strings.ReplaceAll(string(e.Reason), "-", "_"), nil)})
	if e.Meant != "" {
		text += " " + g.say("cli.hla_meant", map[string]any{"Meant": e.Meant})
	}
	return text
}
