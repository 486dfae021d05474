package workflows

import (
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// The steps of a request about one's own data.
const (
	rightsIdentity = "rights.identity"
	rightsDecision = "rights.decision"
	rightsCarrying = "rights.carrying_out"
	rightsTelling  = "rights.telling"
)

type rightsState struct {
	place
	Proven bool   `json:"proven"` // who asks is who they say
	Result string `json:"result"` // what came of it: how the request ends once the person is told
	Reason string `json:"reason"`
}

type rights struct {
	*desk
	state rightsState
	facts registry.RightsFacts
}

// Rights carries what somebody asks about their own data: who asks is proven, an office decides, what was granted is done,
// the person is told. Whatever happens, the request is answered: what is refused is told with its reason.
func Rights(ctx workflow.Context, in CaseInput) error {
	r := &rights{}
	var err error
	if r.desk, err = newDesk(ctx, in, func() place { return r.state.place }); err != nil {
		return err
	}
	if err := r.read(ctx); err != nil {
		return err
	}
	if err := r.loaded(r.facts.Snapshot, &r.state); err != nil {
		return err
	}
	if r.state.Step == "" {
		r.state.place = r.state.in(rightsIdentity)
	}
	return r.carry(ctx, Rights, r.next)
}

// read reads the records, and the clock as it stands now.
func (r *rights) read(ctx workflow.Context) (err error) {
	r.facts, err = do(ctx, records.LoadRights, activities.RulesFor{CaseID: r.caseID, At: workflow.Now(ctx)})
	return err
}

func (r *rights) next(ctx workflow.Context) error {
	if err := r.read(ctx); err != nil {
		return err
	}
	switch r.state.Step {
	case rightsIdentity:
		return r.office(ctx, policy.Registrar, r.facts.Identity, func(o forms.Outcome) (move, error) {
			return r.to(rightsDecision, func(s *rightsState) { s.Proven = o.Code == "confirmed" }), nil
		})
	case rightsDecision:
		return r.office(ctx, r.facts.Decides, r.facts.Decision, r.decided)
	case rightsCarrying:
		return r.office(ctx, r.facts.Decides, r.facts.Carrying, func(forms.Outcome) (move, error) {
			return r.to(rightsTelling), nil
		})
	default:
		return r.office(ctx, policy.Registrar, r.facts.Telling, func(forms.Outcome) (move, error) {
			return move{Move: registry.Move{Step: rightsTelling, End: true, Ending: r.state.Result, Reason: r.state.Reason, State: encode(r.state)}, closeAll: true}, nil
		})
	}
}

// decided says where a decision leads. Erasure that a law or a treatment stands against is not only told: what is left is
// from then on stored and nothing else.
func (r *rights) decided(o forms.Outcome) (move, error) {
	if !r.state.Proven && o.Code != "refuse" {
		return move{}, refusal(registry.Refused, "rights_not_proven")
	}
	erasure := strings.HasSuffix(r.facts.Kind, "deletion")
	step, result := rightsCarrying, map[string]string{"grant": "granted", "in_part": "in_part", "refuse": "refused"}[o.Code]
	switch {
	case o.Code == "refuse" && erasure && (o.Reason == "law_keeps" || o.Reason == "case_open"):
		result = "blocked"
	case o.Code == "refuse":
		step = rightsTelling
	case o.Code == "grant" && erasure:
		result = "erased"
	}
	return r.to(step, func(s *rightsState) { s.Result, s.Reason = result, o.Reason }), nil
}

func (r *rights) to(step string, change ...func(*rightsState)) move {
	s := r.state
	s.place = s.in(step)
	for _, set := range change {
		set(&s)
	}
	return move{Move: registry.Move{Step: step, State: encode(s)}, closeAll: true, adopt: func() { r.state = s }}
}

// office asks the office that took the request.
func (r *rights) office(ctx workflow.Context, role policy.Role, due time.Time, next func(forms.Outcome) (move, error)) error {
	_, err := r.ask(ctx, question{seat: registry.SeatOffice, role: role, due: due, args: map[string]any{"Kind": r.facts.Kind}, next: next}, wait{})
	return err
}
