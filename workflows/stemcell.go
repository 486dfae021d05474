package workflows

import (
	"errors"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// The steps of a stem-cell case, in the order of the protocol on the wall. Two of its fourteen steps are two questions
// each: the sample is booked and drawn, the product handed over and received. Standing by, quarantine and the emergency
// are side rooms.
const (
	standby             = "stemcell.standby"
	remobilisation      = "stemcell.remobilisation"
	sampleBooking       = "stemcell.sample_booking"
	confirmatorySample  = "stemcell.confirmatory_sample"
	confirmatoryTyping  = "stemcell.confirmatory_typing"
	hospitalDecision    = "stemcell.hospital_decision"
	physicalExamination = "stemcell.physical_examination"
	donationConsent     = "stemcell.donation_consent"
	clearance           = "stemcell.clearance"
	schedule            = "stemcell.schedule"
	conditioning        = "stemcell.conditioning"
	mobilisation        = "stemcell.mobilisation"
	collection          = "stemcell.collection"
	dispatch            = "stemcell.dispatch"
	receipt             = "stemcell.receipt"
	quarantine          = "stemcell.quarantine"
	infusion            = "stemcell.infusion"
	thanks              = "stemcell.thanks"
	emergency           = "stemcell.emergency"
)

// stemCellOrder is the order in which steps can be opened again, up to the point of no return.
var stemCellOrder = []string{
	remobilisation, sampleBooking, confirmatorySample, confirmatoryTyping, hospitalDecision, physicalExamination, donationConsent, clearance, schedule, conditioning,
}

// stemCellPhases are the steps at which a run goes on as a new one: short histories, and a natural place to upgrade.
var stemCellPhases = []string{sampleBooking, physicalExamination, mobilisation, thanks}

// stemCellState is what a stem-cell case remembers beside its records. It is stored with the case and only ever gains
// fields.
type stemCellState struct {
	place
	Day          int           `json:"day,omitempty"` // of mobilisation, then of collection
	ClearedUntil calendar.Date `json:"cleared_until,omitzero"`
	Window       *forms.Window `json:"window,omitempty"`      // the one that is asked about or agreed
	Agreed       bool          `json:"agreed,omitempty"`      // by all four parties
	Conditioned  bool          `json:"conditioned,omitempty"` // the point of no return is passed
	Infused      bool          `json:"infused,omitempty"`
	NeedsTime    bool          `json:"needs_time,omitempty"` // the donor thinks it over
	NotBefore    time.Time     `json:"not_before,omitzero"`  // when the donor is examined again
	Held         bool          `json:"held,omitempty"`       // the hospital holds the donor who was the one worked on
	Emergency    string        `json:"emergency,omitempty"`  // why the case is in the emergency path
}

type stemCell struct {
	*desk
	state stemCellState
	facts registry.StemCellFacts
	rules registry.ProtocolRules
}

// StemCell carries one requested donor from the first call to the thanks.
func StemCell(ctx workflow.Context, in CaseInput) error {
	c := &stemCell{}
	var err error
	if c.desk, err = newDesk(ctx, in, func() place { return c.state.place }); err != nil {
		return err
	}
	c.desk.reopen = c.mayReopen
	if err := c.load(ctx); err != nil {
		return err
	}
	return c.carry(ctx, StemCell, c.next)
}

// load reads the case from its rows: everything that a run needs, whether it is the first or the hundredth.
func (c *stemCell) load(ctx workflow.Context) error {
	var err error
	if c.facts, err = do(ctx, records.LoadStemCell, c.caseID); err != nil {
		return err
	}
	if c.rules, err = do(ctx, records.LoadRules, activities.RulesFor{CaseID: c.caseID, At: workflow.Now(ctx)}); err != nil {
		return err
	}
	c.state = stemCellState{}
	if err := c.loaded(c.facts.Snapshot, &c.state); err != nil {
		return err
	}
	if c.state.Step == "" {
		c.state.place = c.state.in(c.facts.Step)
	}
	return nil
}

// asking is what a step asks, of whom, and how it waits.
type asking struct {
	questions []question
	wait      wait
}

// The protocol: what each step asks. Where its answers lead is in the questions. The table is filled in init because the
// steps read it to say what is asked where they lead.
var stemCellSteps map[string]func(*stemCell, workflow.Context) asking

func init() {
	stemCellSteps = map[string]func(*stemCell, workflow.Context) asking{
		standby:             (*stemCell).standBy,
		remobilisation:      (*stemCell).remobilise,
		sampleBooking:       (*stemCell).bookSample,
		confirmatorySample:  (*stemCell).drawSample,
		confirmatoryTyping:  (*stemCell).typeSample,
		hospitalDecision:    (*stemCell).decide,
		physicalExamination: (*stemCell).examine,
		donationConsent:     (*stemCell).consent,
		clearance:           (*stemCell).clear,
		schedule:            (*stemCell).scheduleWindow,
		conditioning:        (*stemCell).condition,
		mobilisation:        (*stemCell).mobilise,
		collection:          (*stemCell).collect,
		dispatch:            (*stemCell).handOver,
		receipt:             (*stemCell).receive,
		quarantine:          (*stemCell).judgeProduct,
		infusion:            (*stemCell).infuse,
		thanks:              (*stemCell).thank,
		emergency:           (*stemCell).rescue,
	}
}

// stemCellEntries are what some steps do before they ask.
var stemCellEntries = map[string]func(*stemCell, workflow.Context) error{
	confirmatoryTyping: (*stemCell).readReservation,
	hospitalDecision:   (*stemCell).readReservation,
	emergency:          (*stemCell).alarm,
}

// next asks what the case's step asks. An answer has moved the case by the time that it returns.
func (c *stemCell) next(ctx workflow.Context) error {
	if leave, err := c.interruption(ctx); err != nil || leave {
		return err
	}
	step := c.state.Step
	if enter, ok := stemCellEntries[step]; ok {
		if err := enter(c, ctx); err != nil {
			return err
		}
	}
	asks := stemCellSteps[step](c, ctx)
	_, err := c.askAll(ctx, asks.questions, asks.wait)
	if errors.Is(err, errExpired) {
		err = c.advance(ctx, cause{event: "stemcell.reservation_expired", expired: true}, func() move { return c.end("reservation_expired", "") })
	}
	if c.state.Step != step && slices.Contains(stemCellPhases, c.state.Step) {
		c.rollOver(ctx)
	}
	return err
}

// look reads the records after a fact and tells whether the step that waits has to be left.
func (c *stemCell) look(ctx workflow.Context) (bool, error) {
	facts, err := do(ctx, records.LoadStemCell, c.caseID)
	if err != nil {
		return false, err
	}
	c.facts = facts
	return c.mustLeave(), nil
}

// mustLeave tells whether the records ask for something else than the step at hand. After collection a withdrawal
// cannot undo what was given, and the case goes on.
func (c *stemCell) mustLeave() bool {
	step := c.state.Step
	switch {
	case c.facts.Withdrawn && !c.state.Conditioned:
		return true
	case c.facts.Withdrawn && (step == mobilisation || step == collection):
		return true
	case c.facts.Released && !c.state.Conditioned:
		return true
	case step == standby && c.facts.Promoted && !c.state.Held:
		return true
	default:
		return false
	}
}

// interruption acts on what the records say, before a step is entered again.
func (c *stemCell) interruption(ctx workflow.Context) (bool, error) {
	switch {
	case !c.mustLeave():
		return false, nil
	case c.facts.Withdrawn && !c.state.Conditioned:
		return true, c.advance(ctx, cause{event: "stemcell.withdrawn"}, func() move { return c.end("withdrawn", "") })
	case c.facts.Withdrawn:
		return true, c.goToEmergency(ctx, "donor_withdrew")
	case c.facts.Released:
		return true, c.advance(ctx, cause{event: "stemcell.released"}, func() move { return c.end("released", "search_closed") })
	default: // a backup was promoted
		return true, c.advance(ctx, cause{event: "stemcell.standby.left"}, func() move { return c.to(ctx, c.resumeAt()) })
	}
}

// resumeAt is where a promoted backup goes on: at the examination when it was typed and held before, else at the call.
func (c *stemCell) resumeAt() string {
	if c.state.Rounds[hospitalDecision] > 0 {
		return physicalExamination
	}
	return remobilisation
}

// to is the move to a step, with whatever change sets. What was set for the step before ends with it.
func (c *stemCell) to(ctx workflow.Context, step string, change ...func(*stemCellState)) move {
	s := c.state
	s.place = s.in(step)
	s.NeedsTime, s.NotBefore, s.Held = false, time.Time{}, false
	for _, set := range change {
		set(&s)
	}
	m := move{Move: registry.Move{Step: step, State: encode(s)}, closeAll: true, at: s.place, adopt: func() { c.state = s }}
	m.would = func() []question {
		there := *c
		there.state = s
		return stemCellSteps[step](&there, ctx).questions
	}
	if stemCellEntries[step] == nil { // nothing has to be done before it asks
		m.asks = m.would
	}
	return m
}

// stay is the move of an answer that leaves the case where it is, because others are still asked.
func (c *stemCell) stay() move {
	return move{Move: registry.Move{Step: c.state.Step, State: encode(c.state)}}
}

// end is the move to an ending.
func (c *stemCell) end(ending, reason string) move {
	return move{Move: registry.Move{Step: c.state.Step, End: true, Ending: ending, Reason: reason, State: encode(c.state)}, closeAll: true}
}

// waits is how most steps wait: listening for a withdrawal. Until the hospital has decided, the reservation's end is the
// hard limit.
func (c *stemCell) waits() wait { return wait{look: c.look} }

func (c *stemCell) waitsReserved() wait {
	return wait{look: c.look, limit: c.facts.ReservedUntil}
}

// on is a step's questions with its way of waiting.
func (w wait) on(questions ...question) asking { return asking{questions, w} }

// standBy: a backup waits until it is promoted, released, or its reservation ends.
func (c *stemCell) standBy(ctx workflow.Context) asking {
	return c.waitsReserved().on(question{
		seat: registry.SeatTransplant, role: policy.TransplantHospital, due: c.facts.ReservedUntil,
		next: func(o forms.Outcome) (move, error) {
			switch o.Code {
			case "use":
				return c.to(ctx, c.resumeAt()), nil
			case "hold":
				return c.hold(ctx), nil
			default:
				return c.end("released", o.Reason), nil
			}
		},
	})
}

// hold is the move of a donor whom the hospital keeps as a backup. One who was promoted before stays until the hospital
// says otherwise.
func (c *stemCell) hold(ctx workflow.Context) move {
	return c.to(ctx, standby, func(s *stemCellState) { s.Held = c.facts.Promoted })
}

// remobilise (1): the coordinator finds the donor again and asks whether they are still willing.
func (c *stemCell) remobilise(ctx workflow.Context) asking {
	q := question{
		seat: registry.SeatCoordinator, role: policy.Coordinator, rule: rules.StemCellRemobilisation,
		next: func(o forms.Outcome) (move, error) {
			switch o.Code {
			case "willing":
				return c.to(ctx, sampleBooking), nil
			case "needs_time":
				return c.to(ctx, remobilisation, func(s *stemCellState) { s.NeedsTime = true }), nil
			case "moved":
				return c.to(ctx, remobilisation), nil
			case "declines":
				return c.end("declined", o.Reason), nil
			case "deferred":
				return c.end("deferred", o.Reason), nil
			default:
				return c.end("unreachable", ""), nil
			}
		},
	}
	if c.state.NeedsTime {
		q.rule = rules.StemCellNeedsTime
	}
	return c.waitsReserved().on(q)
}

// bookSample (2, first half): the coordinator books where the sample is drawn and who types it.
func (c *stemCell) bookSample(ctx workflow.Context) asking {
	return c.waitsReserved().on(question{
		seat: registry.SeatCoordinator, role: policy.Coordinator, rule: rules.StemCellSample,
		next: func(o forms.Outcome) (move, error) {
			if o.Code == "declines" {
				return c.end("declined", o.Reason), nil
			}
			return c.to(ctx, confirmatorySample), nil
		},
	})
}

// drawSample (2, second half): the hospital or station draws. A failed attempt is booked anew.
func (c *stemCell) drawSample(ctx workflow.Context) asking {
	return c.waitsReserved().on(question{
		seat: registry.SeatCollection, role: policy.CollectionHospital, rule: rules.StemCellSample,
		next: func(o forms.Outcome) (move, error) {
			if o.Code == "failed" {
				return c.to(ctx, sampleBooking), nil
			}
			return c.to(ctx, confirmatoryTyping), nil
		},
	})
}

// typeSample (3): the laboratory types, and the register compares the result with the patient's, locus by locus.
func (c *stemCell) typeSample(ctx workflow.Context) asking {
	return c.waitsReserved().on(question{
		seat: registry.SeatLaboratory, role: policy.Laboratory, rule: rules.StemCellTyping,
		next: func(o forms.Outcome) (move, error) {
			if o.Code == "failed" {
				return c.to(ctx, sampleBooking), nil
			}
			return c.to(ctx, hospitalDecision), nil
		},
	})
}

// readReservation finds the reservation's end, which the sample has moved.
func (c *stemCell) readReservation(ctx workflow.Context) error {
	_, err := c.look(ctx)
	return err
}

// decide (4): the hospital uses the donor, holds them as a backup, or releases them. When the reservation ends without
// a word, the donor is released.
func (c *stemCell) decide(ctx workflow.Context) asking {
	return c.waitsReserved().on(question{
		seat: registry.SeatTransplant, role: policy.TransplantHospital, due: c.facts.ReservedUntil,
		next: func(o forms.Outcome) (move, error) {
			switch o.Code {
			case "use":
				return c.to(ctx, physicalExamination), nil
			case "hold":
				return c.hold(ctx), nil
			default:
				return c.end("released", o.Reason), nil
			}
		},
	})
}

// examine (5): the collection hospital examines the donor.
func (c *stemCell) examine(ctx workflow.Context) asking {
	q := question{
		seat: registry.SeatCollection, role: policy.CollectionHospital, rule: rules.StemCellExamination,
		next: func(o forms.Outcome) (move, error) {
			switch o.Code {
			case "fit":
				return c.to(ctx, donationConsent), nil
			case "recheck":
				return c.to(ctx, physicalExamination, func(s *stemCellState) { s.NotBefore = o.Until.AddDays(1).Start(registry.Zone) }), nil
			default:
				return c.end("unfit", o.Reason), nil
			}
		},
	}
	if c.state.NotBefore.After(workflow.Now(ctx)) {
		q.due = c.state.NotBefore
	}
	return c.waits().on(q)
}

// consent (6): the donor signs the second, full consent; the family knows.
func (c *stemCell) consent(ctx workflow.Context) asking {
	return c.waits().on(question{
		seat: registry.SeatCoordinator, role: policy.Coordinator, rule: rules.StemCellConsent,
		next: func(o forms.Outcome) (move, error) {
			if o.Code == "declines" {
				return c.end("declined", o.Reason), nil
			}
			return c.to(ctx, clearance), nil
		},
	})
}

// clear (7): the collection hospital clears the donor; a second person countersigns.
func (c *stemCell) clear(ctx workflow.Context) asking {
	var questions []question
	for n := range c.rules.ClearanceSigners {
		questions = append(questions, question{
			seat: registry.SeatCollection + "#" + string(rune('1'+n)), role: policy.CollectionHospital, rule: rules.StemCellClearance,
			next: func(o forms.Outcome) (move, error) {
				if o.Code == "not_cleared" {
					return c.end("not_cleared", o.Reason), nil
				}
				if c.answered()+1 < c.rules.ClearanceSigners {
					return c.stay(), nil
				}
				return c.to(ctx, schedule, func(s *stemCellState) { s.ClearedUntil = o.Until }), nil
			},
		})
	}
	return c.waits().on(questions...)
}

// The four parties to a window: the donor through the coordinator, the two hospitals, and the Red Cross.
var fourParties = []struct {
	seat string
	role policy.Role
}{
	{registry.SeatCoordinator + "#donor", policy.Coordinator},
	{registry.SeatCollection, policy.CollectionHospital},
	{registry.SeatTransplant, policy.TransplantHospital},
	{registry.SeatCoordinator + "#red_cross", policy.Coordinator},
}

// scheduleWindow (8): all four parties confirm the same window. Whoever proposes another one has all four asked again.
func (c *stemCell) scheduleWindow(ctx workflow.Context) asking {
	var questions []question
	for _, party := range fourParties {
		questions = append(questions, question{
			seat: party.seat, role: party.role, rule: rules.StemCellSchedule, args: windowArgs(c.state.Window),
			next: func(o forms.Outcome) (move, error) {
				switch {
				case o.Code == "cannot":
					return c.end("cannot_schedule", o.Reason), nil
				case c.state.Window == nil || *o.Window != *c.state.Window:
					if o.Code == "confirm" && c.state.Window != nil {
						return move{}, refusal(registry.Refused, "window_differs")
					}
					// The first window, or another one: everybody is asked about it.
					return c.to(ctx, schedule, func(s *stemCellState) { s.Window, s.Agreed = o.Window, false }), nil
				case c.answered()+1 < len(fourParties):
					return c.stay(), nil
				default:
					return c.to(ctx, conditioning, func(s *stemCellState) { s.Agreed = true }), nil
				}
			},
		})
	}
	return c.waits().on(questions...)
}

func windowArgs(w *forms.Window) map[string]any {
	if w == nil {
		return nil
	}
	return map[string]any{"Conditioning": w.Conditioning.String(), "Mobilisation": w.Mobilisation.String(), "Collection": w.Collection.String()}
}

// condition (9): the transplant hospital starts the patient's conditioning. The gate opens only while the clearance and
// the schedule are current; behind it there is no way back.
func (c *stemCell) condition(ctx workflow.Context) asking {
	return c.waits().on(question{
		seat: registry.SeatTransplant, role: policy.TransplantHospital, due: c.state.Window.Conditioning.AddDays(1).Start(registry.Zone), args: windowArgs(c.state.Window),
		next: func(o forms.Outcome) (move, error) {
			switch o.Code {
			case "postponed":
				return c.to(ctx, schedule, func(s *stemCellState) { s.Window, s.Agreed = nil, false }), nil
			case "cancelled":
				return c.end("cancelled_by_hospital", o.Reason), nil
			}
			today := calendar.Of(workflow.Now(ctx), registry.Zone)
			switch {
			case !c.state.Agreed:
				return move{}, refusal(registry.Refused, "schedule_not_agreed")
			case c.state.ClearedUntil.Before(c.state.Window.Collection), c.state.ClearedUntil.Before(today):
				return move{}, refusal(registry.Refused, "clearance_not_current")
			case o.On != c.state.Window.Conditioning:
				return move{}, refusal(registry.Refused, "not_the_agreed_day")
			}
			return c.to(ctx, mobilisation, func(s *stemCellState) { s.Conditioned, s.Day = true, 1 }), nil
		},
	})
}

// mobilise (10): one dose a day. After the last the collection begins; a donor who cannot go on opens the emergency path.
func (c *stemCell) mobilise(ctx workflow.Context) asking {
	day := c.state.Day
	on := c.state.Window.Mobilisation.AddDays(day - 1)
	doses := min(max(c.state.Window.Collection.Sub(c.state.Window.Mobilisation), c.rules.MobilisationMin), c.rules.MobilisationMax)
	return c.waits().on(question{
		seat: registry.SeatCollection, role: policy.CollectionHospital, due: on.AddDays(1).Start(registry.Zone), args: map[string]any{"Day": day, "On": on.String()},
		next: func(o forms.Outcome) (move, error) {
			switch {
			case o.Day != day:
				return move{}, refusal(registry.Refused, "wrong_day")
			case o.Code == "stopped":
				return c.to(ctx, emergency, func(s *stemCellState) { s.Emergency = "donor_unwell" }), nil
			case day < doses:
				return c.to(ctx, mobilisation, func(s *stemCellState) { s.Day = day + 1 }), nil
			default:
				return c.to(ctx, collection, func(s *stemCellState) { s.Day = 1 }), nil
			}
		},
	})
}

// collect (11): a second day when the first was short; what there is then travels.
func (c *stemCell) collect(ctx workflow.Context) asking {
	day := c.state.Day
	on := c.state.Window.Collection.AddDays(day - 1)
	return c.waits().on(question{
		seat: registry.SeatCollection, role: policy.CollectionHospital, due: on.AddDays(1).Start(registry.Zone), args: map[string]any{"Day": day, "On": on.String()},
		next: func(o forms.Outcome) (move, error) {
			switch {
			case o.Day != day:
				return move{}, refusal(registry.Refused, "wrong_day")
			case o.Code == "stopped" && day == 1:
				return c.to(ctx, emergency, func(s *stemCellState) { s.Emergency = "donor_unwell" }), nil
			case o.Code == "collected" && !o.Sufficient && day < c.rules.CollectionDays:
				return c.to(ctx, collection, func(s *stemCellState) { s.Day = day + 1 }), nil
			default:
				return c.to(ctx, dispatch), nil
			}
		},
	})
}

// handOver (12, first half): the product leaves with its courier.
func (c *stemCell) handOver(ctx workflow.Context) asking {
	return c.waits().on(question{
		seat: registry.SeatCollection, role: policy.CollectionHospital, rule: rules.StemCellTransport,
		next: func(forms.Outcome) (move, error) { return c.to(ctx, receipt), nil },
	})
}

// receive (12, second half): the transplant hospital takes it in. Outside its temperatures it waits in quarantine for a
// decision.
func (c *stemCell) receive(ctx workflow.Context) asking {
	return c.waits().on(question{
		seat: registry.SeatTransplant, role: policy.TransplantHospital, rule: rules.StemCellTransport,
		next: func(o forms.Outcome) (move, error) {
			switch {
			case o.Code == "lost":
				return c.to(ctx, emergency, func(s *stemCellState) { s.Emergency = "product_lost" }), nil
			case o.OutOfRange:
				return c.to(ctx, quarantine), nil
			default:
				return c.to(ctx, infusion), nil
			}
		},
	})
}

func (c *stemCell) judgeProduct(ctx workflow.Context) asking {
	return c.waits().on(question{
		seat: registry.SeatTransplant, role: policy.TransplantHospital, rule: rules.StemCellEmergency,
		next: func(o forms.Outcome) (move, error) {
			if o.Code == "discard" {
				return c.to(ctx, emergency, func(s *stemCellState) { s.Emergency = "product_unfit" }), nil
			}
			return c.to(ctx, infusion), nil
		},
	})
}

// infuse (13): the patient receives the cells, or the hospital says why not. Either way the donor gave, and is thanked.
func (c *stemCell) infuse(ctx workflow.Context) asking {
	return c.waits().on(question{
		seat: registry.SeatTransplant, role: policy.TransplantHospital, rule: rules.StemCellInfusion,
		next: func(o forms.Outcome) (move, error) {
			return c.to(ctx, thanks, func(s *stemCellState) { s.Infused = o.Code == "infused" }), nil
		},
	})
}

// thank (14): the Red Cross thanks the donor, and the follow-up of ten years begins.
func (c *stemCell) thank(ctx workflow.Context) asking {
	return c.waits().on(question{
		seat: registry.SeatCoordinator, role: policy.Coordinator, rule: rules.StemCellThanks,
		next: func(forms.Outcome) (move, error) {
			if c.state.Infused {
				return c.end("infused", ""), nil
			}
			return c.end("not_used", ""), nil
		},
	})
}

// goToEmergency leaves the protocol for the emergency path: the patient has no marrow any more, and the donor is never
// forced.
func (c *stemCell) goToEmergency(ctx workflow.Context, reason string) error {
	return c.advance(ctx, cause{event: "stemcell.emergency.entered", args: map[string]any{"Reason": reason}}, func() move {
		return c.to(ctx, emergency, func(s *stemCellState) { s.Emergency = reason })
	})
}

// alarm tells everybody within minutes and opens the search again.
func (c *stemCell) alarm(ctx workflow.Context) error {
	_, err := do(ctx, records.OpenEmergency, registry.Emergency{CaseID: c.caseID, Round: c.state.Rounds[emergency], Reason: c.state.Emergency, At: workflow.Now(ctx)})
	return err
}

// rescue asks the transplant hospital what saves the patient.
func (c *stemCell) rescue(ctx workflow.Context) asking {
	return c.waits().on(question{
		seat: registry.SeatTransplant, role: policy.TransplantHospital, rule: rules.StemCellEmergency, args: map[string]any{"Reason": c.state.Emergency},
		next: func(o forms.Outcome) (move, error) {
			if o.Code != "donor_returns" {
				return c.end("failed_after_conditioning", o.Code), nil
			}
			if c.facts.Withdrawn || c.state.Emergency == "product_lost" || c.state.Emergency == "product_unfit" {
				return move{}, refusal(registry.Refused, "donor_not_available")
			}
			return c.to(ctx, mobilisation, func(s *stemCellState) { s.Day, s.Emergency = max(s.Day, 1), "" }), nil
		},
	})
}

// mayReopen opens an earlier step again, until the patient's conditioning has begun. A step that is asked under a
// reservation stays closed when that is over: the case would end at once.
func (c *stemCell) mayReopen(ctx workflow.Context, step string) (move, []string, error) {
	now, then := slices.Index(stemCellOrder, c.state.Step), slices.Index(stemCellOrder, step)
	switch {
	case c.state.Conditioned:
		return move{}, nil, refusal(registry.Refused, "point_of_no_return")
	case then < 0 || now < 0 || then >= now || c.state.Rounds[step] == 0:
		return move{}, nil, refusal(registry.Refused, "step_not_done")
	case then <= slices.Index(stemCellOrder, hospitalDecision) && !workflow.Now(ctx).Before(c.facts.ReservedUntil):
		return move{}, nil, refusal(registry.Refused, "step_closed_for_good")
	}
	struck := stemCellOrder[then : now+1]
	m := c.to(ctx, step, func(s *stemCellState) {
		if slices.Contains(struck, clearance) {
			s.ClearedUntil = calendar.Date{}
		}
		if slices.Contains(struck, schedule) {
			s.Window, s.Agreed = nil, false
		}
	})
	return m, struck, nil
}
