package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

type matchWhyCmd struct {
	Patient string `required:"" placeholder:"GL" help:"The patient's typing, a GL string."`
	Donor   string `required:"" placeholder:"GL" help:"The donor's."`
	Policy  string `default:"9/10" help:"What the donor has to fit, such as 10/10, 9/10 or 6/6."`
	Untyped bool   `help:"Also take a donor who is not typed at every locus."`
	nomenclature
}

// Run implements liferelay match why.
func (c *matchWhyCmd) Run(_ context.Context, g *globals) error {
	by, err := c.reader()
	if err != nil {
		return err
	}
	policy, known := match.Named(c.Policy)
	if !known {
		return configError{setting: "--policy", says: "cli.match_no_policy", args: map[string]any{"Policy": c.Policy, "Policies": strings.Join(match.Names(), ", ")}}
	}
	policy.AllowUntyped = c.Untyped
	patient, err := c.typing(g, by, "--patient", c.Patient)
	if err != nil {
		return err
	}
	donor, err := c.typing(g, by, "--donor", c.Donor)
	if err != nil {
		return err
	}
	why := match.Rules{Release: by.Release}.Why(patient, donor, policy)
	return g.print(why, func() {
		fmt.Println(g.say(why.Reason.Code, why.Reason.Args))
		for _, l := range why.Loci {
			fmt.Printf("\n%s  %s %s\n", l.Locus, l.Positions[0].Letter, l.Positions[1].Letter)
			for _, step := range l.Steps {
				fmt.Println("  " + g.say(step.Code, step.Args))
			}
		}
	})
}

// typing reads a typing from the command line.
func (c *matchWhyCmd) typing(g *globals, by hla.Reader, setting, gl string) (*hla.Reading, error) {
	reading, err := by.Read(gl)
	var refused *hla.Error
	if errors.As(err, &refused) {
		return nil, configError{setting: setting, says: g.explainTyping(refused)}
	}
	return reading, err
}
