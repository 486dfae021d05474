package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// The steps of a drive.
const (
	drivePlanned  = "drive.planned"
	driveOpen     = "drive.open"
	driveClosing  = "drive.closing"
	driveSending  = "drive.sending"
	driveUnderway = "drive.underway"
	missingTube   = "drive.missing_tube"
	driveReport   = "drive.report"
)

type driveState struct {
	place
	ChaseAt time.Time `json:"chase_at,omitzero"` // when the tubes that were promised are asked for again
}

type drive struct {
	*desk
	state driveState
	facts registry.DriveFacts
}

// Drive carries one drive (登记采样活动) from its plan over its counts and its tubes to the report.
func Drive(ctx workflow.Context, in CaseInput) error {
	d := &drive{}
	var err error
	if d.desk, err = newDesk(ctx, in, func() place { return d.state.place }); err != nil {
		return err
	}
	if d.facts, err = do(ctx, records.LoadDrive, d.caseID); err != nil {
		return err
	}
	if err := d.loaded(d.facts.Snapshot, &d.state); err != nil {
		return err
	}
	if d.state.Step == "" {
		d.state.place = d.state.in(d.facts.Step)
	}
	return d.carry(ctx, Drive, d.next)
}

func (d *drive) next(ctx workflow.Context) error {
	switch d.state.Step {
	case drivePlanned:
		return d.passes(ctx, d.facts.FirstDay, "open", driveOpen)
	case driveOpen:
		return d.passes(ctx, d.facts.DayAfter, "", driveClosing)
	case driveClosing:
		return d.askOffice(ctx, rules.DriveClose, func(forms.Outcome) move { return d.to(driveSending) })
	case driveSending:
		return d.sending(ctx)
	case driveUnderway:
		return d.underway(ctx)
	case missingTube:
		return d.askOffice(ctx, rules.DriveAlarm, func(forms.Outcome) move { return d.to(driveSending) })
	default:
		return d.askOffice(ctx, rules.DriveReport, func(forms.Outcome) move { return d.end("reported") })
	}
}

func (d *drive) look(ctx workflow.Context) (bool, error) {
	facts, err := do(ctx, records.LoadDrive, d.caseID)
	if err != nil {
		return false, err
	}
	d.facts = facts
	return true, nil
}

func (d *drive) to(step string, change ...func(*driveState)) move {
	s := d.state
	s.place = s.in(step)
	for _, set := range change {
		set(&s)
	}
	return move{Move: registry.Move{Step: step, State: encode(s)}, closeAll: true, adopt: func() { d.state = s }}
}

func (d *drive) end(ending string) move {
	return move{Move: registry.Move{Step: d.state.Step, End: true, Ending: ending, State: encode(d.state)}, closeAll: true}
}

// passes waits for a day and then moves on. Forms that come earlier are taken all the same.
func (d *drive) passes(ctx workflow.Context, day time.Time, status, step string) error {
	if workflow.Now(ctx).Before(day) {
		err := d.pause(ctx, wait{limit: day})
		if err != nil && !errors.Is(err, errExpired) {
			return err
		}
	}
	if status != "" {
		if _, err := do(ctx, records.SetDriveStatus, activities.DriveStatus{DriveID: d.caseID, Status: status, At: workflow.Now(ctx)}); err != nil {
			return err
		}
	}
	return d.advance(ctx, cause{}, func() move { return d.to(step) })
}

func (d *drive) askOffice(ctx workflow.Context, rule rules.Key, then func(forms.Outcome) move) error {
	_, err := d.ask(ctx, question{
		seat: registry.SeatOffice, role: policy.Registrar, rule: rule,
		next: func(o forms.Outcome) (move, error) { return then(o), nil },
	}, wait{})
	if err != nil {
		return err
	}
	_, err = d.look(ctx)
	return err
}

// sending waits until every tube has left; when they stay too long, the office is asked about them.
func (d *drive) sending(ctx workflow.Context) error {
	if _, err := d.look(ctx); err != nil {
		return err
	}
	if d.facts.Unsent == 0 {
		if _, err := do(ctx, records.SetDriveStatus, activities.DriveStatus{DriveID: d.caseID, Status: "sent", At: workflow.Now(ctx)}); err != nil {
			return err
		}
		return d.advance(ctx, cause{}, func() move { return d.to(driveUnderway) })
	}
	q := question{
		seat: registry.SeatOffice, role: policy.Registrar, rule: rules.DriveSend, args: map[string]any{"Tubes": d.facts.Unsent},
		next: func(o forms.Outcome) (move, error) {
			if o.Code == "gives_up" {
				return d.to(driveUnderway), nil
			}
			return d.to(driveSending, func(s *driveState) { s.ChaseAt = o.Until.AddDays(1).Start(registry.Zone) }), nil
		},
	}
	if d.state.ChaseAt.After(workflow.Now(ctx)) {
		q.due = d.state.ChaseAt
	}
	_, err := d.ask(ctx, q, wait{look: d.look})
	return err
}

// underway waits until the laboratory has signed for every box. A tube that is missing raises an alarm the same day.
func (d *drive) underway(ctx workflow.Context) error {
	if _, err := d.look(ctx); err != nil {
		return err
	}
	switch {
	case d.facts.Missing > 0:
		return d.advance(ctx, cause{event: "drive.tube_missing", args: map[string]any{"Tubes": d.facts.Missing}}, func() move { return d.to(missingTube) })
	case d.facts.Underway == 0:
		return d.advance(ctx, cause{}, func() move { return d.to(driveReport) })
	default:
		return d.pause(ctx, wait{look: d.look})
	}
}
