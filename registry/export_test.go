package registry

import (
	"context"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/match"
	"github.com/liferelay/liferelay/registry/seal"
)

// WithoutPolicy has the store allow everything: what still does not come out, the database itself keeps back.
func (s *Store) WithoutPolicy() {
	s.newPolicy = policy.WideOpen
	s.policy.Store(nil)
}

// Doors are the acts that go through the second wall otherwise than their actor's grants let them, and whether they reach everywhere.
func Doors() map[string]bool {
	out := map[string]bool{}
	for name, d := range doors {
		out[name] = d.everywhere
	}
	return out
}

// GatePage decides and masks a page of a list as ListDonors does, and nothing else: no row is read.
func (s *Store) GatePage(actor Actor, names []seal.Name, page []DonorLine) []DonorLine {
	a := &act{Reader: s.Reader, actor: actor, purpose: policy.ForCase, policy: s.policy.Load()}
	_ = a.reachOf(policy.Read, policy.Registration)
	out := make([]DonorLine, len(page))
	for i, d := range page {
		seen := a.mask(record{region: d.Region})
		if seen.May(policy.Read, policy.Identity) {
			masked := names[i].Masked()
			d.Name = &masked
		}
		show(seen, &d)
		out[i] = d
	}
	return out
}

// ActWithoutDeciding runs an act that asks the policy nothing: what a method of ours that forgot to would be.
func (s *Store) ActWithoutDeciding(ctx context.Context, actor Actor, statement string) error {
	return s.act(ctx, actor, "ActWithoutDeciding", policy.ForCase, func(ctx context.Context, a *act) error {
		_, err := a.Exec(ctx, statement)
		return err
	})
}

// ActThatPanics runs an act that has a mistake of ours in it.
func (s *Store) ActThatPanics(ctx context.Context, actor Actor) error {
	return s.act(ctx, actor, "ActThatPanics", policy.ForCase, func(context.Context, *act) error { panic("a mistake of ours") })
}

// SealedColumns are the columns that the register seals, with whether a person's key seals them.
func SealedColumns() map[string]bool {
	out := map[string]bool{}
	for column, by := range sealedColumns {
		out[column] = by != ofInstallation
	}
	return out
}

// KeyCell is the place of a wrapped key.
var KeyCell = keyCell

// Populations is who draws from which population.
func (r *Reader) Populations(ctx context.Context) (func(province uint8) *match.Frequencies, error) {
	return r.populationsIn(ctx, r.pool)
}

// MayLeave are the parameters that notices may have outside of the house.
func MayLeave() []string { return mayLeave }

// StemCellStages are the steps of all stages.
func StemCellStages() (out []string) {
	for _, s := range stemCellStages {
		out = append(out, s.steps...)
	}
	return out
}

// PageSentences are the sentences that the tables of a case's page name.
func PageSentences() (out []string) {
	for _, s := range stemCellStages {
		out = append(out, s.title)
	}
	for _, title := range seatTitles {
		out = append(out, title)
	}
	for step, list := range checklists {
		out = append(out, "step."+step)
		for _, c := range list {
			out = append(out, c.key)
		}
	}
	for step, script := range scripts {
		out = append(out, "step."+step, script)
	}
	return out
}

// HasKind tells whether somebody has said what kind of line a code is.
func HasKind(code string) bool {
	_, known := kinds[code]
	return known || kindOf(code) == Milestone
}

// Released is what an undo releases.
var Released = released

// RowRanges is how rows are told to people.
func RowRanges(rows []int, most int) string { return rowRanges(rows, most) }

// SeenBy tells which side sees an event.
func SeenBy(code string) Side { return seenBy(code) }
