package workflows

import (
	"errors"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// The steps of a search.
const (
	searchRunning   = "search.running"
	searchChoice    = "search.choice"
	searchRequested = "search.requested"
)

type searchState struct {
	place
	Run int `json:"run"` // the last run of the comparison
}

type search struct {
	*desk
	state searchState
	facts registry.SearchFacts
	rules registry.ProtocolRules
}

// Search carries one patient's search: it compares, offers the candidates to the hospital, sees the primary and its
// backups through, and goes on comparing for as long as it is open.
func Search(ctx workflow.Context, in CaseInput) error {
	s := &search{}
	var err error
	if s.desk, err = newDesk(ctx, in, func() place { return s.state.place }); err != nil {
		return err
	}
	if s.facts, err = do(ctx, records.LoadSearch, s.caseID); err != nil {
		return err
	}
	if err := s.loaded(s.facts.Snapshot, &s.state); err != nil {
		return err
	}
	if s.state.Step == "" {
		s.state.place = s.state.in(s.facts.Step)
	}
	s.state.Run = max(s.state.Run, s.facts.Run)
	if s.rules, err = do(ctx, records.LoadRules, activities.RulesFor{CaseID: s.caseID, At: workflow.Now(ctx)}); err != nil {
		return err
	}
	return s.carry(ctx, Search, s.next)
}

func (s *search) next(ctx workflow.Context) error {
	if s.facts.Status == "closed" {
		return s.advance(ctx, cause{}, func() move { return s.end("closed") })
	}
	switch s.state.Step {
	case searchRunning:
		if err := s.compare(ctx); err != nil {
			return err
		}
		if s.facts.Candidates > 0 {
			return s.advance(ctx, cause{}, func() move { return s.to(searchChoice) })
		}
		err := s.pause(ctx, wait{look: s.look, limit: workflow.Now(ctx).Add(s.rules.Rerun)})
		if errors.Is(err, errExpired) {
			return nil
		}
		return err
	case searchChoice:
		return s.choose(ctx)
	default:
		return s.seeThrough(ctx)
	}
}

// look reads the records; a search that was closed, or whose donors have moved, has something else to do.
func (s *search) look(ctx workflow.Context) (bool, error) {
	facts, err := do(ctx, records.LoadSearch, s.caseID)
	if err != nil {
		return false, err
	}
	s.facts = facts
	return true, nil
}

// compare runs the comparison once more. It may take as long as the register is large, so it is an ordinary activity.
func (s *search) compare(ctx workflow.Context) error {
	s.state.Run++
	if _, err := far(ctx, searchLimit, records.RunSearch, activities.Run{SearchID: s.caseID, Number: s.state.Run, At: workflow.Now(ctx)}); err != nil {
		return err
	}
	_, err := s.look(ctx)
	return err
}

func (s *search) to(step string) move {
	next := s.state
	next.place = next.in(step)
	return move{Move: registry.Move{Step: step, State: encode(next)}, closeAll: true, adopt: func() { s.state = next }}
}

func (s *search) end(ending string) move {
	return move{Move: registry.Move{Step: s.state.Step, End: true, Ending: ending, State: encode(s.state)}, closeAll: true}
}

// choose asks the hospital which candidates it requests. The comparison goes on beside it.
func (s *search) choose(ctx workflow.Context) error {
	_, err := s.ask(ctx, question{
		seat: registry.SeatTransplant, role: policy.TransplantHospital, rule: rules.StemCellChoice, args: map[string]any{"Candidates": s.facts.Candidates},
		next: func(o forms.Outcome) (move, error) {
			if o.Code == "none" {
				return s.end("none_chosen"), nil
			}
			return s.to(searchRequested), nil
		},
	}, s.standing())
	if err != nil {
		return err
	}
	_, err = s.look(ctx)
	return err
}

// standing is how an open search waits: it listens, and compares again in its rhythm.
func (s *search) standing() wait {
	return wait{look: s.look, every: s.rules.Rerun, tick: s.compare}
}

// seeThrough runs the requested donors: the primary first, and the next backup as soon as the one before has ended
// without giving, or cannot go on. When one has given, the others are free; when none is left, the hospital chooses
// anew.
func (s *search) seeThrough(ctx workflow.Context) error {
	offered := s.offer()
	switch {
	case offered.given:
		return s.advance(ctx, cause{}, func() move { return s.end("transplanted") })
	case offered.backup != nil:
		if _, err := do(ctx, records.PromoteBackup, activities.Promotion{CaseID: offered.backup.CaseID, At: workflow.Now(ctx)}); err != nil {
			return err
		}
		_, err := s.look(ctx)
		return err
	case offered.exhausted:
		return s.advance(ctx, cause{event: "search.reopened"}, func() move { return s.to(searchRunning) })
	default:
		return s.pause(ctx, s.standing())
	}
}

// offering is what the requested donors of a search ask for next.
type offering struct {
	given     bool                 // one has given
	backup    *registry.RequestRow // the next to promote
	exhausted bool                 // nobody is left
}

// offer judges a primary and its backups by their cases.
func (s *search) offer() offering {
	open := func(r registry.RequestRow) bool { return r.Open }
	if slices.ContainsFunc(s.facts.Requests, func(r registry.RequestRow) bool { return r.Ending == "infused" || r.Ending == "not_used" }) {
		return offering{given: true}
	}
	// A donor in the emergency path is not counted on.
	if slices.ContainsFunc(s.facts.Requests, func(r registry.RequestRow) bool { return r.Open && r.Promoted && r.Step != emergency }) {
		return offering{}
	}
	for _, r := range s.facts.Requests { // by rank
		if r.Open && !r.Promoted {
			return offering{backup: &r}
		}
	}
	return offering{exhausted: !slices.ContainsFunc(s.facts.Requests, open)}
}
