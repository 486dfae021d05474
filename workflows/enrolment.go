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

// The steps of an enrolment. Its sample and typing come as facts, hundreds at a time; only what does not come is asked
// for.
const (
	awaitSample  = "enrolment.sample"
	awaitTyping  = "enrolment.typing"
	sampleChase  = "enrolment.sample_chase"
	typingChase  = "enrolment.typing_chase"
	redraw       = "enrolment.redraw"
	enrolmentEnd = "enrolment.listed"
)

type enrolmentState struct {
	place
	ChaseAt time.Time `json:"chase_at,omitzero"` // when the sample or typing that was promised is asked for again
}

type enrolment struct {
	*desk
	state enrolmentState
	facts registry.EnrolmentFacts
	rules registry.ProtocolRules
}

// Enrolment carries one volunteer from the consent form to the list. Samples and typings are facts: they may come
// before the cooling-off has passed, in any order, twice.
func Enrolment(ctx workflow.Context, in CaseInput) error {
	e := &enrolment{}
	var err error
	if e.desk, err = newDesk(ctx, in, func() place { return e.state.place }); err != nil {
		return err
	}
	if e.facts, err = do(ctx, records.LoadEnrolment, e.caseID); kindOf(err) == registry.NotFound {
		return nil // the batch that brought it was undone
	} else if err != nil {
		return err
	}
	if err := e.loaded(e.facts.Snapshot, &e.state); err != nil {
		return err
	}
	if e.state.Step == "" {
		e.state.place = e.state.in(e.facts.Step)
	}
	if e.rules, err = do(ctx, records.LoadRules, activities.RulesFor{CaseID: e.caseID, At: e.facts.CoolingOff.Start(registry.Zone)}); err != nil {
		return err
	}
	return e.carry(ctx, Enrolment, e.next)
}

// next does the one thing that the records ask for.
func (e *enrolment) next(ctx workflow.Context) error {
	f := e.facts
	over := f.CoolingOff.Start(registry.Zone)
	cooling := workflow.Now(ctx).Before(over)
	wants := awaitTyping
	switch {
	case f.Sample == "rejected":
		wants = redraw
	case f.Sample == "" || f.Sample == "missing":
		wants = awaitSample
	}
	switch {
	case f.Status == "withdrawn":
		return e.advance(ctx, cause{event: "enrolment.withdrawn"}, func() move { return e.end("withdrawn", "") })
	case f.Sample == "typed" && !cooling:
		return e.list(ctx)
	case cooling:
		return e.pauseUntil(ctx, over)
	case e.state.asks() != "" && e.state.asks() != wants:
		// What was asked for has come by itself.
		return e.advance(ctx, cause{}, func() move { return e.to(wants) })
	case wants == redraw:
		return e.askForAnother(ctx)
	case wants == awaitSample:
		return e.await(ctx, awaitSample, sampleChase, e.rules.SampleDue)
	default:
		return e.await(ctx, awaitTyping, typingChase, e.rules.TypingDue)
	}
}

// asks is what the open question of the state is about, empty when nobody is asked.
func (s enrolmentState) asks() string {
	return map[string]string{sampleChase: awaitSample, typingChase: awaitTyping, redraw: redraw}[s.Step]
}

// look reads the records again. Anything may have changed what is next.
func (e *enrolment) look(ctx workflow.Context) (bool, error) {
	before := e.facts
	facts, err := do(ctx, records.LoadEnrolment, e.caseID)
	if err != nil {
		return false, err
	}
	e.facts = facts
	return facts.Status != before.Status || facts.Sample != before.Sample || facts.SampleCount != before.SampleCount, nil
}

func (e *enrolment) to(step string, change ...func(*enrolmentState)) move {
	s := e.state
	s.place = s.in(step)
	for _, set := range change {
		set(&s)
	}
	return move{Move: registry.Move{Step: step, State: encode(s)}, closeAll: true, adopt: func() { e.state = s }}
}

func (e *enrolment) end(ending, reason string) move {
	return move{Move: registry.Move{Step: e.state.Step, End: true, Ending: ending, Reason: reason, State: encode(e.state)}, closeAll: true}
}

// pauseUntil waits without asking anybody. The step is only written down when something has to be asked: four million
// volunteers would be four million writes that nobody reads.
func (e *enrolment) pauseUntil(ctx workflow.Context, limit time.Time) error {
	err := e.pause(ctx, wait{look: e.look, limit: limit})
	if errors.Is(err, errExpired) {
		return nil
	}
	return err
}

// await waits for a fact until it is due, and then asks the office what became of it.
func (e *enrolment) await(ctx workflow.Context, step, chase string, due time.Time) error {
	if e.state.ChaseAt.After(due) {
		due = e.state.ChaseAt
	}
	if e.state.Step != chase {
		if err := e.pauseUntil(ctx, due); err != nil || workflow.Now(ctx).Before(due) {
			return err
		}
		return e.advance(ctx, cause{event: step + ".overdue", expired: true}, func() move { return e.to(chase) })
	}
	_, err := e.ask(ctx, question{
		seat: registry.SeatOffice, role: policy.Registrar, rule: rules.DriveRedraw,
		next: func(o forms.Outcome) (move, error) {
			if o.Code == "gives_up" {
				return e.end("given_up", o.Reason), nil
			}
			return e.to(step, func(s *enrolmentState) { s.ChaseAt = o.Until.AddDays(1).Start(registry.Zone) }), nil
		},
	}, wait{look: e.look})
	return err
}

// askForAnother asks the office to draw a rejected sample again.
func (e *enrolment) askForAnother(ctx workflow.Context) error {
	if e.state.Step != redraw {
		return e.advance(ctx, cause{event: "enrolment.sample_rejected"}, func() move { return e.to(redraw) })
	}
	_, err := e.ask(ctx, question{
		seat: registry.SeatOffice, role: policy.Registrar, rule: rules.DriveRedraw,
		next: func(o forms.Outcome) (move, error) {
			if o.Code == "gives_up" {
				return e.end("given_up", o.Reason), nil
			}
			return e.to(awaitTyping), nil
		},
	}, wait{look: e.look})
	if err != nil {
		return err
	}
	_, err = e.look(ctx)
	return err
}

// list puts the donor on the list (入库). Who withdraws in that very moment is not listed: the fact says what is next.
func (e *enrolment) list(ctx workflow.Context) error {
	err := e.moveBy(ctx, func() move {
		m := e.end("listed", "")
		m.Step = enrolmentEnd
		return m
	}, func(m move) (registry.Moved, error) {
		return do(ctx, records.ListDonor, e.advanceTo(ctx, m, cause{}))
	})
	if kindOf(err) == registry.Refused {
		return e.pauseUntil(ctx, workflow.Now(ctx).Add(longestSleep))
	}
	return err
}
