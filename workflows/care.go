package workflows

import (
	"errors"

	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// followUp is the one step of a care plan; its rounds are the plan's touches.
const followUp = "care.follow_up"

type care struct {
	*desk
	place place
	facts registry.CareFacts
}

// Care keeps touch with a donor for ten years: each touch opens on its day, is asked of the office that knows the donor,
// and closes when its window has passed or the next one's day has come.
func Care(ctx workflow.Context, in CaseInput) error {
	c := &care{}
	var err error
	if c.desk, err = newDesk(ctx, in, func() place { return c.place }); err != nil {
		return err
	}
	if c.facts, err = do(ctx, records.LoadCare, c.caseID); err != nil {
		return err
	}
	if err := c.loaded(c.facts.Snapshot, &c.place); err != nil {
		return err
	}
	return c.carry(ctx, Care, c.next)
}

// next sees one touch through. Every touch is a phase: months or a year lie between two.
func (c *care) next(ctx workflow.Context) error {
	if len(c.facts.Touches) == 0 {
		return c.advance(ctx, cause{}, func() move { return c.end("completed") })
	}
	if err := c.touch(ctx); err != nil || c.ended {
		return err
	}
	c.rollOver(ctx)
	_, err := c.look(ctx)
	return err
}

// look reads the records; a touch that is not the next one any more has been dealt with.
func (c *care) look(ctx workflow.Context) (bool, error) {
	before := c.facts.Touches
	facts, err := do(ctx, records.LoadCare, c.caseID)
	if err != nil {
		return false, err
	}
	c.facts = facts
	return len(facts.Touches) == 0 || facts.Touches[0].Position != before[0].Position, nil
}

// touch waits for the next touch's day, asks, and waits until it closes. One that has closed already, while nobody carried
// the plan, is not asked any more.
func (c *care) touch(ctx workflow.Context) error {
	t := c.facts.Touches[0]
	if workflow.Now(ctx).Before(t.Due) {
		if err := c.pause(ctx, wait{look: c.look, limit: t.Due}); !errors.Is(err, errExpired) {
			return err
		}
	}
	c.place = place{Schema: stateSchema, Step: followUp, Rounds: map[string]int{followUp: t.Position}}
	// The window's last day is counted from the touch's, whenever the run began.
	rules, err := do(ctx, records.LoadRules, activities.RulesFor{CaseID: c.caseID, At: t.Due})
	if err != nil {
		return err
	}
	closes := t.Due.Add(rules.FollowUpWindow)
	if len(c.facts.Touches) > 1 {
		closes = sooner(closes, c.facts.Touches[1].Due)
	}
	if workflow.Now(ctx).Before(closes) {
		_, err := c.ask(ctx, question{
			seat: registry.SeatCoordinator, role: policy.Coordinator, due: closes, args: map[string]any{"Touch": t.Key},
			next: func(o forms.Outcome) (move, error) {
				if o.Code == "opts_out" {
					return c.end("opted_out"), nil
				}
				return c.after(t), nil
			},
		}, wait{look: c.look, limit: closes})
		if !errors.Is(err, errExpired) {
			return err
		}
	}
	return c.moveBy(ctx, func() move { return c.after(t) }, func(m move) (registry.Moved, error) {
		return do(ctx, records.MissTouch, activities.Miss{Advance: c.advanceTo(ctx, m, cause{}), Position: t.Position})
	})
}

// after is the place behind a touch: the next one's round.
func (c *care) after(t registry.TouchRow) move {
	next := place{Schema: stateSchema, Step: followUp, Rounds: map[string]int{followUp: t.Position + 1}}
	return move{Move: registry.Move{Step: followUp, State: encode(next)}, closeAll: true, adopt: func() { c.place = next }}
}

func (c *care) end(ending string) move {
	return move{Move: registry.Move{Step: followUp, End: true, Ending: ending, State: encode(c.place)}, closeAll: true}
}
