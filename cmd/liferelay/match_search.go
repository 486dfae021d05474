package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/liferelay/liferelay/registry/exchange"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

type matchSearchCmd struct {
	Patients    string `required:"" type:"existingfile" help:"Patients: the WMDA's XML, Atlas's JSON, MV4's CSV, or an id, % and a GL string a line. It may be gzipped."`
	Donors      string `required:"" type:"existingfile" help:"Donors, as the patients."`
	Frequencies string `type:"existingfile" placeholder:"FILE" help:"Haplotypes of A, B, C, DRB1 and DQB1 and their frequencies. Without them no chances are given."`
	Policy      string `enum:"10/10,9/10,8/10,6/6,5/6" default:"8/10" help:"What a donor must be able to fit: 10/10, 9/10, 8/10, 6/6 or 5/6."`
	nomenclature
}

// tenLoci are those of MV4's columns.
var tenLoci = []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1}

// judge compares the people of two files by what their typings are read by.
type judge struct {
	rules  match.Rules
	policy match.Policy
	quick  *match.Letters // which keeps what it has found: most donors are of no use, and need no grades
}

func newJudge(by hla.Reader, policy match.Policy) *judge {
	policy.AllowUntyped = true
	return &judge{match.Rules{Release: by.Release, Loci: tenLoci}, policy, match.NewLetters(nil, by.Release)}
}

// of gives the grades of MV4's columns, in the order of the patient's copies, and how many copies are mismatched for certain. fits is false where the
// policy does not accept the donor.
func (j *judge) of(patient, donor *hla.Reading) (grades [10]byte, mismatches int, fits bool) {
	for _, locus := range j.policy.Loci {
		for _, letter := range j.quick.Of(locus, patient, donor) {
			if letter == 'M' {
				mismatches++
			}
		}
	}
	if mismatches > j.policy.Mismatches {
		return grades, mismatches, false
	}
	result := j.rules.Compare(patient, donor)
	for i, l := range result.Loci {
		for k, position := range l.Positions {
			grades[2*i+k] = position.Letter[0]
		}
	}
	return grades, result.Mismatches(), match.Accepts(j.policy, result)
}

// searched is somebody of a file.
type searched struct {
	match.Person
	set string // whose frequencies the sender counts with
}

// Run implements liferelay match search.
func (c *matchSearchCmd) Run(ctx context.Context, g *globals) error {
	by, err := c.reader()
	if err != nil {
		return err
	}
	var set *match.Frequencies
	if c.Frequencies != "" {
		err := readFile(c.Frequencies, func(r io.Reader) (err error) {
			set, err = match.ReadFrequencies(r)
			return err
		})
		if err != nil {
			return configError{setting: "--frequencies", says: err.Error()}
		}
		if loci := set.Loci(); len(loci) != len(tenLoci) || slices.ContainsFunc(tenLoci, func(l hla.Locus) bool { return !slices.Contains(loci, l) }) {
			return configError{setting: "--frequencies", says: "cli.match_five_loci"}
		}
	}
	policy, _ := match.Named(c.Policy) // the flag takes no other
	patients, left, err := c.people(g, c.Patients, by)
	if err != nil {
		return err
	}
	donors, out, err := c.people(g, c.Donors, by)
	if err != nil {
		return err
	}
	unexplained := 0
	if set != nil {
		for _, people := range [][]searched{patients, donors} {
			for i := range people {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				people[i].Genotypes = set.Explain(set.Phenotype(people[i].Typing, by.Release))
				people[i].set = strings.TrimSuffix(filepath.Base(c.Frequencies), filepath.Ext(c.Frequencies))
				if !people[i].Genotypes.Explained() {
					unexplained++
				}
			}
		}
	}
	w, err := exchange.NewResultWriter(os.Stdout)
	if err != nil {
		return err
	}
	judge := newJudge(by, policy)
	for i := range patients {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := search(w, judge, &patients[i], donors); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if unexplained > 0 {
		g.tell("cli.match_unexplained", map[string]any{"Count": unexplained})
	}
	if left+out > 0 {
		return exitSome
	}
	return nil
}

// search writes a patient's line for every donor who can fit.
func search(w *exchange.ResultWriter, by *judge, patient *searched, donors []searched) error {
	var against *match.Comparison
	if explained(patient) {
		against = patient.Genotypes.Against()
	}
	var chances match.Chances
	for i := range donors {
		donor := &donors[i]
		grades, mismatches, fits := by.of(patient.Typing, donor.Typing)
		if !fits {
			continue
		}
		line := exchange.Result{Patient: patient.ID, Donor: donor.ID, Grades: grades, Mismatches: mismatches,
			PatientSet: patient.set, PatientExplained: explained(patient), DonorSet: donor.set, DonorExplained: explained(donor)}
		if against != nil && line.DonorExplained {
			against.With(donor.Genotypes, &chances)
			nine, ten := match.Percent(chances.Nine), match.Percent(chances.Ten)
			line.Nine, line.Ten = &nine, &ten
		}
		if err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

func explained(p *searched) bool { return p.Genotypes != nil && p.Genotypes.Explained() }

// people reads a file of people in any of the formats, but for those who are listed no more.
func (c *matchSearchCmd) people(g *globals, name string, by hla.Reader) (people []searched, left int, err error) {
	out := leftOut{globals: g, file: name}
	err = readDonors(name, "", func(r *exchange.Reader) error {
		defer out.tellIgnored(r.Ignored())
		n := 0
		for d, err := range r.Donors() {
			n++
			if err != nil {
				if err = out.count(n, err); err != nil {
					return err
				}
				continue
			}
			if d.Change == exchange.Delete || d.Status == exchange.Deleted {
				continue
			}
			reading := &hla.Reading{}
			if d.Typing != "" {
				var typing *hla.Error
				if reading, err = by.Read(d.Typing); errors.As(err, &typing) {
					out.tellOf(n, d.ID, g.explainTyping(typing))
					continue
				} else if err != nil {
					return err
				}
			}
			people = append(people, searched{Person: match.Person{ID: d.ID, Typing: reading}, set: d.FrequencySet})
		}
		return nil
	})
	if errors.Is(out.end(err), exitSome) {
		err = nil
	}
	return people, out.left, err
}
