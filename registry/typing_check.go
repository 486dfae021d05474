package registry

import (
	"context"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/hla"
)

// TypingCheck is what a typing is read as while somebody writes it.
type TypingCheck struct {
	Problems forms.Problems
	Loci     []LocusCheck
}

// LocusCheck is what was read at a locus.
type LocusCheck struct {
	Locus string
	Pairs [][2]CopyCheck
}

// CopyCheck is what was read of a copy.
type CopyCheck struct {
	Text    string
	Alleles int // how many alleles it may be, at two fields; 0 where that is not known
}

// CheckTyping reads a typing for who enters a patient of their hospital. It is kept nowhere.
func (r *Reader) CheckTyping(ctx context.Context, actor Actor, gl, nomenclature string) (TypingCheck, error) {
	var out TypingCheck
	library, err := r.nomenclature(ctx)
	if err != nil {
		return out, err
	}
	err = r.act(ctx, actor, "CheckTyping", policy.ForSearch, func(_ context.Context, a *act) error {
		out = TypingCheck{}
		if err := a.permit(policy.Write, policy.Patient, record{kind: "typings", id: "new", region: actor.region, sites: []uuid.UUID{actor.organisation}}); err != nil {
			return err
		}
		if _, out.Problems = readTyping(library, "gl", gl, nomenclature); len(out.Problems) > 0 {
			return nil
		}
		read, err := library.Reader(nomenclature).Explain(gl)
		if err != nil {
			out.Problems = forms.Problems{forms.TypingProblem("gl", err)}
			return nil
		}
		for _, step := range read.Loci {
			line := LocusCheck{Locus: string(step.Locus)}
			for _, pair := range step.Pairs {
				line.Pairs = append(line.Pairs, [2]CopyCheck{checked(pair[0]), checked(pair[1])})
			}
			out.Loci = append(out.Loci, line)
		}
		return nil
	})
	return out, err
}

func checked(c hla.CopyStep) CopyCheck {
	out := CopyCheck{Text: c.Text}
	for _, name := range c.Names {
		out.Alleles += len(name.Alleles)
	}
	return out
}
