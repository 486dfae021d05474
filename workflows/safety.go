package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// safetyReport is the one step of a serious adverse event's own clock.
const safetyReport = "safety.report"

// Safety runs the clock of a serious adverse event beside its case: the office reports it the same day (WMDA SEAR/SPEAR).
func Safety(ctx workflow.Context, in CaseInput) error {
	at := place{}
	d, err := newDesk(ctx, in, func() place { return at })
	if err != nil {
		return err
	}
	row, err := do(ctx, records.LoadCase, d.caseID)
	if err != nil {
		return err
	}
	if err := d.loaded(row, &at); err != nil {
		return err
	}
	if at.Step == "" {
		at = at.in(safetyReport)
	}
	return d.carry(ctx, Safety, func(ctx workflow.Context) error {
		_, err := d.ask(ctx, question{
			seat: registry.SeatCoordinator, role: policy.Coordinator, rule: rules.StemCellSafety,
			next: func(o forms.Outcome) (move, error) {
				return move{Move: registry.Move{Step: safetyReport, End: true, Ending: o.Code, Reason: o.Reason, State: encode(at)}}, nil
			},
		}, wait{})
		return err
	})
}
