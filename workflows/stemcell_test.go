package workflows

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// The window that the tests' patients are conditioned for: first the conditioning, then the drug, then the collection.
var window = forms.Window{Conditioning: day("2026-03-12"), Mobilisation: day("2026-03-16"), Collection: day("2026-03-20")}

func atSchedule(s *stemCellState)      { s.Window = &window }
func agreed(s *stemCellState)          { s.Window, s.Agreed, s.ClearedUntil = &window, true, day("2026-04-10") }
func conditioned(s *stemCellState)     { agreed(s); s.Conditioned, s.Day = true, 1 }
func onDay(n int) func(*stemCellState) { return func(s *stemCellState) { conditioned(s); s.Day = n } }
func because(why string) func(*stemCellState) {
	return func(s *stemCellState) { conditioned(s); s.Emergency = why }
}

// stands are the changes with which a case stands at a step as if it had gone there.
var stands = map[string]func(*stemCellState){
	schedule: atSchedule, conditioning: agreed, mobilisation: conditioned, collection: conditioned, dispatch: conditioned, receipt: conditioned,
	quarantine: conditioned, infusion: conditioned, thanks: conditioned, emergency: because("donor_unwell"),
}

// caseAt is a case that stands at a step.
func caseAt(t *testing.T, when, step string, change ...func(*stemCellState)) *play {
	if set, ok := stands[step]; ok {
		change = slices.Insert(change, 0, set)
	}
	p := donorCase(t, when, step, change...)
	p.stemcell.Promoted = step != standby
	return p
}

// protocols.md, "Stem-cell case": who is asked, and by when, counted from Monday the 2nd of March.
func TestEveryStepAsksWhomTheProtocolNamesByWhenItSays(t *testing.T) {
	const fiveWorkingDays, tenWorkingDays, fifteenWorkingDays, reserved = "2026-03-09 17:00", "2026-03-16 17:00", "2026-03-23 17:00", "2026-05-28 17:00"
	wants := map[string][]string{
		standby:             {"transplant_hospital " + standby + " by " + reserved},
		remobilisation:      {"coordinator " + remobilisation + " by " + fiveWorkingDays},
		sampleBooking:       {"coordinator " + sampleBooking + " by " + tenWorkingDays},
		confirmatorySample:  {"collection_hospital " + confirmatorySample + " by " + tenWorkingDays},
		confirmatoryTyping:  {"laboratory " + confirmatoryTyping + " by 2026-03-17 00:00"}, // fourteen days
		hospitalDecision:    {"transplant_hospital " + hospitalDecision + " by " + reserved},
		physicalExamination: {"collection_hospital " + physicalExamination + " by " + fifteenWorkingDays},
		donationConsent:     {"coordinator " + donationConsent + " by " + tenWorkingDays},
		clearance:           {"collection_hospital#1 " + clearance + " by " + fiveWorkingDays, "collection_hospital#2 " + clearance + " by " + fiveWorkingDays},
		schedule: {
			"coordinator#donor " + schedule + " by " + fiveWorkingDays, "collection_hospital " + schedule + " by " + fiveWorkingDays,
			"transplant_hospital " + schedule + " by " + fiveWorkingDays, "coordinator#red_cross " + schedule + " by " + fiveWorkingDays,
		},
		conditioning: {"transplant_hospital " + conditioning + " by 2026-03-13 00:00"}, // the agreed day
		mobilisation: {"collection_hospital " + mobilisation + " by 2026-03-17 00:00"},
		collection:   {"collection_hospital " + collection + " by 2026-03-21 00:00"},
		dispatch:     {"collection_hospital " + dispatch + " by 2026-03-03 10:00"}, // a day
		receipt:      {"transplant_hospital " + receipt + " by 2026-03-03 10:00"},
		quarantine:   {"transplant_hospital " + quarantine + " by 2026-03-02 11:00"},
		infusion:     {"transplant_hospital " + infusion + " by 2026-03-06 00:00"}, // three days
		thanks:       {"coordinator " + thanks + " by " + tenWorkingDays},
		emergency:    {"transplant_hospital " + emergency + " by 2026-03-02 11:00"},
	}
	require.Len(t, wants, len(stemCellSteps), "every step of the protocol")
	for step, want := range wants {
		t.Run(step, func(t *testing.T) {
			p := caseAt(t, "2026-03-02 10:00", step).until("2026-03-02 10:30")
			for i := range want {
				want[i] = "2026-03-02 10:00 asks " + want[i]
			}
			require.Equal(t, want, p.says("asks"))
		})
	}
}

// protocols.md, "Stem-cell case", outcomes: where each answer leads, or why it is not taken.
func TestEveryAnswerLeadsWhereTheProtocolSays(t *testing.T) {
	first, other := window, window
	other.Collection = other.Collection.AddDays(1)
	reason := func(code, why string) forms.Outcome { return forms.Outcome{Code: code, Reason: why} }
	for _, c := range []struct {
		step    string
		change  func(*stemCellState)
		outcome forms.Outcome
		leads   string
	}{
		{standby, nil, said("use"), "goes to " + remobilisation},
		{standby, func(s *stemCellState) { s.Rounds[hospitalDecision] = 1 }, said("use"), "goes to " + physicalExamination},
		{standby, nil, said("hold"), "stays"},
		{standby, nil, reason("release", "better_donor"), "ends: released better_donor"},
		{remobilisation, nil, said("willing"), "goes to " + sampleBooking},
		{remobilisation, nil, said("needs_time"), "stays"},
		{remobilisation, nil, forms.Outcome{Code: "moved", Region: "320102"}, "stays"},
		{remobilisation, nil, reason("declines", "family"), "ends: declined family"},
		{remobilisation, nil, reason("deferred", "illness"), "ends: deferred illness"},
		{remobilisation, nil, said("unreachable"), "ends: unreachable"},
		{sampleBooking, nil, said("booked"), "goes to " + confirmatorySample},
		{sampleBooking, nil, reason("declines", "work"), "ends: declined work"},
		{confirmatorySample, nil, forms.Outcome{Code: "drawn", On: day("2026-03-02")}, "goes to " + confirmatoryTyping},
		{confirmatorySample, nil, reason("failed", "did_not_come"), "goes to " + sampleBooking},
		{confirmatoryTyping, nil, said("typed"), "goes to " + hospitalDecision},
		{confirmatoryTyping, nil, reason("failed", "haemolysed"), "goes to " + sampleBooking},
		{hospitalDecision, nil, said("use"), "goes to " + physicalExamination},
		{hospitalDecision, nil, said("hold"), "goes to " + standby},
		{hospitalDecision, nil, reason("release", "mismatch"), "ends: released mismatch"},
		{physicalExamination, nil, said("fit"), "goes to " + donationConsent},
		{physicalExamination, nil, reason("unfit", "cardiovascular"), "ends: unfit cardiovascular"},
		{physicalExamination, nil, forms.Outcome{Code: "recheck", Until: day("2026-03-20")}, "stays"},
		{donationConsent, nil, said("signed"), "goes to " + clearance},
		{donationConsent, nil, reason("declines", "fear_of_procedure"), "ends: declined fear_of_procedure"},
		{clearance, nil, forms.Outcome{Code: "cleared", Until: day("2026-04-01")}, "stays"},
		{clearance, nil, reason("not_cleared", "infectious"), "ends: not_cleared infectious"},
		{schedule, func(s *stemCellState) { s.Window = nil }, forms.Outcome{Code: "propose", Window: &first}, "stays"},
		{schedule, func(s *stemCellState) { s.Window = nil }, forms.Outcome{Code: "confirm", Window: &first}, "stays"},
		{schedule, nil, forms.Outcome{Code: "confirm", Window: &first}, "stays"},
		{schedule, nil, forms.Outcome{Code: "propose", Window: &other}, "stays"},
		{schedule, nil, forms.Outcome{Code: "confirm", Window: &other}, "refused: window_differs"},
		{schedule, nil, reason("cannot", "no_bed"), "ends: cannot_schedule no_bed"},
		{conditioning, nil, reason("postponed", "patient_infection"), "goes to " + schedule},
		{conditioning, nil, reason("cancelled", "patient_died"), "ends: cancelled_by_hospital patient_died"},
		{mobilisation, nil, forms.Outcome{Code: "given", Day: 1}, "stays"},
		{mobilisation, nil, forms.Outcome{Code: "given", Day: 2}, "refused: wrong_day"},
		{mobilisation, onDay(3), forms.Outcome{Code: "given", Day: 3}, "stays"},
		{mobilisation, onDay(4), forms.Outcome{Code: "given", Day: 4}, "goes to " + collection},
		{mobilisation, nil, forms.Outcome{Code: "stopped", Day: 1, Reason: "spleen"}, "goes to " + emergency},
		{collection, nil, forms.Outcome{Code: "collected", Day: 1, Sufficient: true}, "goes to " + dispatch},
		{collection, nil, forms.Outcome{Code: "collected", Day: 1}, "stays"},
		{collection, nil, forms.Outcome{Code: "collected", Day: 2, Sufficient: true}, "refused: wrong_day"},
		{collection, nil, forms.Outcome{Code: "stopped", Day: 1}, "goes to " + emergency},
		{collection, onDay(2), forms.Outcome{Code: "collected", Day: 2}, "goes to " + dispatch},
		{collection, onDay(2), forms.Outcome{Code: "stopped", Day: 2}, "goes to " + dispatch}, // the first day's cells travel
		{dispatch, nil, said("handed_over"), "goes to " + receipt},
		{receipt, nil, said("received"), "goes to " + infusion},
		{receipt, nil, forms.Outcome{Code: "received", OutOfRange: true}, "goes to " + quarantine},
		{receipt, nil, said("lost"), "goes to " + emergency},
		{quarantine, nil, reason("release", "viability_tested"), "goes to " + infusion},
		{quarantine, nil, reason("discard", "contaminated"), "goes to " + emergency},
		{infusion, nil, said("infused"), "goes to " + thanks},
		{infusion, nil, reason("not_used", "patient_died"), "goes to " + thanks},
		{thanks, func(s *stemCellState) { s.Infused = true }, said("thanked"), "ends: infused"},
		{thanks, nil, said("thanked"), "ends: not_used"},
		{emergency, nil, said("donor_returns"), "goes to " + mobilisation},
		{emergency, because("product_lost"), said("donor_returns"), "refused: donor_not_available"},
		{emergency, because("product_unfit"), said("donor_returns"), "refused: donor_not_available"},
		{emergency, nil, said("backup"), "ends: failed_after_conditioning backup"},
		{emergency, nil, said("rescue"), "ends: failed_after_conditioning rescue"},
	} {
		t.Run(c.step+" "+c.outcome.Code, func(t *testing.T) {
			var change []func(*stemCellState)
			if c.change != nil {
				change = append(change, c.change)
			}
			p := caseAt(t, "2026-03-02 10:00", c.step, change...)
			reply := p.answersAt("2026-03-02 10:01", c.step, "", c.outcome)
			p.until("2026-03-02 10:20")
			require.True(t, reply.got)
			require.Equal(t, c.leads, led(p, reply))
		})
	}
}

// led tells in the story's words where the last answer has taken a case.
func led(p *play, r *reply) string {
	if r.err != nil {
		return "refused: " + r.code()
	}
	for _, line := range p.says("goes to", "ends:") {
		return strings.SplitN(line, " ", 3)[2]
	}
	return "stays"
}

// The gate before the point of no return, at its edges.
func TestConditioningStartsOnTheAgreedDayUnderACurrentClearance(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*stemCellState)
		on     string
		code   string
	}{
		"all is well":                         {func(*stemCellState) {}, "2026-03-12", "accepted"},
		"cleared to the day of collection":    {func(s *stemCellState) { s.ClearedUntil = window.Collection }, "2026-03-12", "accepted"},
		"cleared to the day before":           {func(s *stemCellState) { s.ClearedUntil = window.Collection.AddDays(-1) }, "2026-03-12", "clearance_not_current"},
		"cleared for good, and that was then": {func(s *stemCellState) { s.ClearedUntil = day("2026-03-11") }, "2026-03-12", "clearance_not_current"},
		"a day early":                         {func(*stemCellState) {}, "2026-03-11", "not_the_agreed_day"},
		"a day late":                          {func(*stemCellState) {}, "2026-03-13", "not_the_agreed_day"},
		"three of four have agreed":           {func(s *stemCellState) { s.Agreed = false }, "2026-03-12", "schedule_not_agreed"},
	} {
		t.Run(name, func(t *testing.T) {
			p := caseAt(t, "2026-03-12 08:00", conditioning, c.change)
			reply := p.answersAt("2026-03-12 09:00", conditioning, "", forms.Outcome{Code: "started", On: day(c.on)})
			p.until("2026-03-12 09:30")
			require.Equal(t, c.code, reply.code())
			require.Equal(t, c.code == "accepted", p.row.Step == mobilisation)
		})
	}
}

func TestTwoPeopleClearADonor(t *testing.T) {
	const one, two = registry.SeatCollection + "#1", registry.SeatCollection + "#2"
	cleared := func(until string) forms.Outcome { return forms.Outcome{Code: "cleared", Until: day(until)} }
	for name, seats := range map[string][]string{"in order": {one, two}, "the second first": {two, one}} {
		t.Run(name, func(t *testing.T) {
			p := caseAt(t, "2026-03-02 10:00", clearance)
			p.answersAt("2026-03-02 11:00", clearance, seats[0], cleared("2026-04-01"))
			p.until("2026-03-02 12:00")
			require.Equal(t, clearance, p.row.Step, "one signature is not enough")
			// A new run, which finds the first signature in the rows.
			p.answersAt("2026-03-02 13:00", clearance, seats[1], cleared("2026-04-02"))
			p.until("2026-03-02 14:00")
			require.Equal(t, schedule, p.row.Step)
			require.Equal(t, day("2026-04-02"), stateOf(t, p).ClearedUntil)
		})
	}
	t.Run("or one of them does not", func(t *testing.T) {
		p := caseAt(t, "2026-03-02 10:00", clearance)
		p.answersAt("2026-03-02 11:00", clearance, one, cleared("2026-04-01"))
		p.answersAt("2026-03-02 12:00", clearance, two, forms.Outcome{Code: "not_cleared", Reason: "veins"})
		p.until("2026-03-02 14:00")
		require.Equal(t, []string{"2026-03-02 12:00 ends: not_cleared veins"}, p.says("ends"))
	})
}

func stateOf(t *testing.T, p *play) (s stemCellState) {
	t.Helper()
	require.NoError(t, json.Unmarshal(p.row.State, &s))
	return s
}

var everyParty = []string{registry.SeatCoordinator + "#donor", registry.SeatCollection, registry.SeatTransplant, registry.SeatCoordinator + "#red_cross"}

func TestAllFourConfirmTheSameWindowAndAnyChangeAsksAllFourAgain(t *testing.T) {
	p := caseAt(t, "2026-03-02 10:00", schedule, func(s *stemCellState) { s.Window = nil })
	confirms := func(when, seat string, w forms.Window) *reply {
		return p.answersAt(when, schedule, seat, forms.Outcome{Code: "confirm", Window: &w})
	}
	later := forms.Window{Conditioning: window.Conditioning.AddDays(7), Mobilisation: window.Mobilisation.AddDays(7), Collection: window.Collection.AddDays(7)}
	p.answersAt("2026-03-02 10:30", schedule, registry.SeatTransplant, forms.Outcome{Code: "propose", Window: &window})
	for i, seat := range everyParty[:3] {
		confirms(fmt.Sprintf("2026-03-02 11:0%d", i), seat, window)
	}
	p.answersAt("2026-03-02 11:30", schedule, everyParty[3], forms.Outcome{Code: "propose", Window: &later}) // the fourth cannot then
	for i, seat := range everyParty {
		p.at(fmt.Sprintf("2026-03-02 12:0%d", i), func() { require.Equal(t, schedule, p.row.Step, "not before all four") })
		confirms(fmt.Sprintf("2026-03-02 12:0%d", i), seat, later)
	}
	p.until("2026-03-02 13:00")
	require.Equal(t, conditioning, p.row.Step)
	s := stateOf(t, p)
	require.True(t, s.Agreed)
	require.Equal(t, later, *s.Window)
	require.Len(t, p.says("asks"), 3*4+1)
}

// What was agreed is agreed no more when the conditioning is put off: a new window is proposed, and all four confirm it.
func TestAPostponedConditioningNeedsANewWindow(t *testing.T) {
	p := caseAt(t, "2026-03-12 08:00", conditioning)
	p.answersAt("2026-03-12 09:00", conditioning, "", forms.Outcome{Code: "postponed", Reason: "patient_infection"})
	var old *reply
	p.at("2026-03-12 09:01", func() {
		old = p.answers(schedule, everyParty[0], forms.Outcome{Code: "confirm", Window: &window})
	})
	p.until("2026-03-12 09:10")
	require.Equal(t, "accepted", old.code(), "the old one may be proposed again")
	require.Len(t, p.says("asks"), 1+4+4, "and is a proposal, about which all four are asked")
	require.False(t, stateOf(t, p).Agreed)
}

// The dose of each day, and as many days as the window and the pack say.
func TestTheDrugIsGivenOnAsManyDaysAsTheWindowAndThePackSay(t *testing.T) {
	for lead, doses := range map[int]int{3: 4, 4: 4, 5: 5, 6: 5, 14: 5} {
		t.Run(fmt.Sprintf("%d days before collection", lead), func(t *testing.T) {
			w := window
			w.Collection = w.Mobilisation.AddDays(lead)
			p := caseAt(t, "2026-03-16 08:00", mobilisation, func(s *stemCellState) { s.Window = &w })
			for n := 1; n <= doses; n++ {
				p.answersAt(fmt.Sprintf("2026-03-%02d 09:00", 15+n), mobilisation, "", forms.Outcome{Code: "given", Day: n})
			}
			p.until("2026-03-20 10:00")
			require.Equal(t, collection, p.row.Step)
			require.Len(t, p.says("asks collection_hospital "+mobilisation), doses)
			for n, line := range p.says("asks collection_hospital " + mobilisation) {
				require.Contains(t, line, fmt.Sprintf("by 2026-03-%02d 00:00", 17+n), "each by the end of its day")
			}
		})
	}
}

// A withdrawal, at every step: before conditioning it ends the case; while the donor gives it opens the emergency path,
// and nobody is forced; what was given travels on.
func TestADonorMayWithdrawAtAnyTime(t *testing.T) {
	for step := range stemCellSteps {
		t.Run(step, func(t *testing.T) {
			p := caseAt(t, "2026-03-02 10:00", step)
			p.at("2026-03-02 10:10", func() { p.changes(func(m *memory) { m.stemcell.Withdrawn = true }) })
			p.until("2026-03-02 10:20")
			var want []string
			switch step {
			case mobilisation, collection:
				want = []string{
					"2026-03-02 10:10 goes to " + emergency, "2026-03-02 10:10 alarms everybody: donor_withdrew",
					"2026-03-02 10:10 asks transplant_hospital stemcell.emergency by 2026-03-02 11:10",
				}
			case emergency:
				want = []string{"2026-03-02 10:00 alarms everybody: donor_unwell", "2026-03-02 10:00 asks transplant_hospital stemcell.emergency by 2026-03-02 11:00"}
			case dispatch, receipt, quarantine, infusion, thanks:
			default:
				want = []string{"2026-03-02 10:10 ends: withdrawn"}
			}
			require.Equal(t, want, p.says("goes to", "alarms", "ends", "asks transplant_hospital stemcell.emergency"))
		})
	}
	t.Run("and does not come back from the emergency", func(t *testing.T) {
		p := caseAt(t, "2026-03-02 10:00", emergency)
		p.at("2026-03-02 10:10", func() { p.changes(func(m *memory) { m.stemcell.Withdrawn = true }) })
		reply := p.answersAt("2026-03-02 10:11", emergency, "", said("donor_returns"))
		p.until("2026-03-02 10:20")
		require.Equal(t, "donor_not_available", reply.code())
	})
}

// A search that needs the donor no more frees them until conditioning has begun; then the case goes on.
func TestAClosedSearchFreesTheDonorUntilConditioning(t *testing.T) {
	for step := range stemCellSteps {
		t.Run(step, func(t *testing.T) {
			p := caseAt(t, "2026-03-02 10:00", step)
			p.at("2026-03-02 10:10", func() { p.changes(func(m *memory) { m.stemcell.Released = true }) })
			p.until("2026-03-02 10:20")
			if stateOf(t, p).Conditioned {
				require.Empty(t, p.says("ends"))
				return
			}
			require.Equal(t, []string{"2026-03-02 10:10 ends: released search_closed"}, p.says("ends"))
		})
	}
}

func TestAPromotedBackupLeavesItsStandby(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*stemCellState)
		to     string
	}{
		"for the first call":              {func(*stemCellState) {}, remobilisation},
		"for the examination, when typed": {func(s *stemCellState) { s.Rounds[hospitalDecision] = 1 }, physicalExamination},
	} {
		t.Run(name, func(t *testing.T) {
			p := caseAt(t, "2026-03-02 10:00", standby, c.change)
			held := p.answersAt("2026-03-02 10:05", standby, "", said("hold")) // which changes nothing for one who waits
			p.at("2026-03-02 10:10", func() { p.changes(func(m *memory) { m.stemcell.Promoted = true }) })
			p.until("2026-03-02 10:20")
			require.Equal(t, "accepted", held.code())
			require.Equal(t, []string{"2026-03-02 10:10 goes to " + c.to}, p.says("goes to"))
		})
	}
}

// "Hold as a backup" is not "use": the donor who was worked on waits until the hospital says so, whatever else is heard.
func TestAHeldDonorWaitsUntilTheHospitalSaysOtherwise(t *testing.T) {
	p := caseAt(t, "2026-03-02 10:00", hospitalDecision)
	p.answersAt("2026-03-02 11:00", hospitalDecision, "", said("hold"))
	p.at("2026-03-02 12:00", func() { p.changes(func(*memory) {}) })
	p.answersAt("2026-03-02 13:00", standby, "", said("hold"))
	p.until("2026-03-03 10:00").until("2026-03-04 10:00")
	require.Equal(t, standby, p.row.Step, p.story)
	p.answersAt("2026-03-04 11:00", standby, "", said("use"))
	p.until("2026-03-04 12:00")
	require.Equal(t, physicalExamination, p.row.Step)
}

// The reservation is for 53 working days from the sample, and it is the row that says until when: the wait for the typing
// keeps to it too, whether the sample came early or late.
func TestTheSampleMovesTheReservation(t *testing.T) {
	for name, c := range map[string]struct{ drawn, until string }{
		"an early sample ends it sooner": {"2026-03-03", "2026-05-20 17:00"},
		"a late sample keeps the donor":  {"2026-05-27", "2026-08-11 17:00"},
	} {
		t.Run(name, func(t *testing.T) {
			p := caseAt(t, "2026-03-02 10:00", confirmatorySample)
			p.answersAt(c.drawn+" 12:00", confirmatorySample, "", forms.Outcome{Code: "drawn", On: day(c.drawn)})
			p.until("2026-12-01 00:00")
			require.Equal(t, []string{c.until + " ends: reservation_expired"}, p.says("ends"))
		})
	}
}

// Until the hospital has decided, every step ends with the reservation; from the examination on none does.
func TestAReservationEndsOnlyWhatTheHospitalHasNotDecided(t *testing.T) {
	undecided := []string{standby, remobilisation, sampleBooking, confirmatorySample, confirmatoryTyping, hospitalDecision}
	for step := range stemCellSteps {
		t.Run(step, func(t *testing.T) {
			p := caseAt(t, "2026-03-02 10:00", step).until("2026-08-01 00:00")
			if slices.Contains(undecided, step) {
				require.Equal(t, []string{"2026-05-28 17:00 ends: reservation_expired"}, p.says("ends"))
				return
			}
			require.Empty(t, p.says("ends"))
		})
	}
}

func TestADonorWhoNeedsTimeHasAWeek(t *testing.T) {
	p := caseAt(t, "2026-03-02 00:30", remobilisation) // the run begins long before the answer
	p.answersAt("2026-03-03 15:00", remobilisation, "", said("needs_time"))
	p.until("2026-03-04 00:00").until("2026-03-12 00:00")
	require.Equal(t, []string{
		"2026-03-02 00:30 asks coordinator stemcell.remobilisation by 2026-03-09 17:00",
		"2026-03-03 15:00 coordinator answers stemcell.remobilisation: needs_time",
		"2026-03-03 15:00 asks coordinator stemcell.remobilisation by 2026-03-11 00:00",
		"2026-03-09 17:00 reminds coordinator stemcell.remobilisation",
		"2026-03-11 17:00 escalates coordinator stemcell.remobilisation to rung 1",
	}, p.story)
}

func TestARecheckIsDueOnItsDayAndOnlyThere(t *testing.T) {
	p := caseAt(t, "2026-03-02 10:00", physicalExamination)
	p.answersAt("2026-03-02 11:00", physicalExamination, "", forms.Outcome{Code: "recheck", Until: day("2026-03-27")})
	p.answersAt("2026-03-03 11:00", physicalExamination, "", said("fit"))
	p.until("2026-03-03 12:00")
	// Opened again, the examination has its own fifteen working days and not the day of a re-check that is over.
	reopened := &reply{}
	p.at("2026-03-04 09:00", func() { reopened = p.reopens(physicalExamination) })
	p.until("2026-03-04 10:00")
	require.Equal(t, "accepted", reopened.code())
	require.Equal(t, []string{
		"2026-03-02 10:00 asks collection_hospital stemcell.physical_examination by 2026-03-23 17:00",
		"2026-03-02 11:00 asks collection_hospital stemcell.physical_examination by 2026-03-28 00:00",
		"2026-03-04 09:00 asks collection_hospital stemcell.physical_examination by 2026-03-25 17:00",
	}, p.says("asks collection_hospital"))
}

func TestAStepIsOpenedAgainUntilThePointOfNoReturn(t *testing.T) {
	done := func(steps ...string) func(*stemCellState) {
		return func(s *stemCellState) {
			for _, step := range steps {
				s.Rounds[step] = 1
			}
		}
	}
	all := done(stemCellOrder...)
	for _, c := range []struct {
		from, to string
		change   func(*stemCellState)
		code     string
	}{
		{sampleBooking, remobilisation, all, "accepted"},
		{conditioning, remobilisation, all, "accepted"},
		{conditioning, clearance, all, "accepted"},
		{schedule, donationConsent, all, "accepted"},
		{schedule, schedule, all, "step_not_done"},
		{physicalExamination, schedule, all, "step_not_done"},            // it lies ahead
		{physicalExamination, remobilisation, done(), "step_not_done"},   // it never was: a held backup
		{physicalExamination, "stemcell.infusion", all, "step_not_done"}, // it cannot be
		{standby, remobilisation, all, "step_not_done"},                  // a side room
		{mobilisation, conditioning, all, "point_of_no_return"},          // the patient has no marrow any more
		{thanks, remobilisation, all, "point_of_no_return"},
	} {
		t.Run(c.from+" "+c.to, func(t *testing.T) {
			p := caseAt(t, "2026-03-02 10:00", c.from, c.change)
			var reply *reply
			p.at("2026-03-02 10:01", func() { reply = p.reopens(c.to) })
			p.until("2026-03-02 10:20")
			require.Equal(t, c.code, reply.code())
			if c.code != "accepted" {
				require.Empty(t, p.says("opened again"))
				return
			}
			require.Equal(t, c.to, p.row.Step)
			require.Equal(t, 2, stateOf(t, p).Rounds[c.to])
			require.Len(t, p.says("asks"), len(caseAsks[c.from])+len(caseAsks[c.to]), "whoever was asked is asked no more, and the step anew, once")
			require.False(t, stateOf(t, p).Agreed)
			require.Nil(t, stateOf(t, p).Window)
			require.True(t, stateOf(t, p).ClearedUntil.IsZero() || slices.Index(stemCellOrder, c.to) > slices.Index(stemCellOrder, clearance))
		})
	}
}

// The steps up to the hospital's decision are asked under the reservation: opened again when it is over, the case would end.
func TestAStepUnderAReservationThatIsOverStaysClosed(t *testing.T) {
	for when, code := range map[string]string{"2026-05-28 16:59:59": "accepted", "2026-05-28 17:00": "step_closed_for_good"} {
		t.Run(when, func(t *testing.T) {
			p := caseAt(t, "2026-03-02 10:00", donationConsent, func(s *stemCellState) { s.Rounds[hospitalDecision], s.Rounds[physicalExamination] = 1, 1 })
			var decided, examined *reply
			p.at(when, func() { examined = p.reopens(physicalExamination) })
			p.at(when, func() { decided = p.reopens(hospitalDecision) })
			p.until("2026-05-28 17:00:02")
			require.Equal(t, "accepted", examined.code())
			require.Equal(t, code, decided.code())
		})
	}
}

// caseAsks is how many are asked at the steps that the tests open again.
var caseAsks = map[string][]string{
	remobilisation: {""}, sampleBooking: {""}, physicalExamination: {""}, donationConsent: {""}, clearance: {"", ""}, schedule: everyParty, conditioning: {""},
}

// An answer to a step that is opened again does not count any more.
func TestAnAnswerThatWasStruckIsAskedForAnew(t *testing.T) {
	p := caseAt(t, "2026-03-02 10:00", donationConsent)
	p.answersAt("2026-03-02 11:00", donationConsent, "", said("signed"))
	p.answersAt("2026-03-02 11:30", clearance, registry.SeatCollection+"#1", forms.Outcome{Code: "cleared", Until: day("2026-04-01")})
	p.at("2026-03-02 12:00", func() { p.reopens(donationConsent) })
	p.answersAt("2026-03-02 13:00", donationConsent, "", said("signed"))
	p.answersAt("2026-03-02 13:30", clearance, registry.SeatCollection+"#2", forms.Outcome{Code: "cleared", Until: day("2026-04-01")})
	p.until("2026-03-02 14:00")
	require.Equal(t, clearance, p.row.Step, "the first signature was struck: one is missing")
	p.answersAt("2026-03-02 15:00", clearance, registry.SeatCollection+"#1", forms.Outcome{Code: "cleared", Until: day("2026-04-01")})
	p.until("2026-03-02 16:00")
	require.Equal(t, schedule, p.row.Step)
}

// aDonation is a whole case that goes well: each answer with its instant.
var aDonation = []struct {
	when, step, seat string
	outcome          forms.Outcome
}{
	{"2026-03-02 11:00", remobilisation, "", said("willing")},
	{"2026-03-02 12:00", sampleBooking, "", said("booked")},
	{"2026-03-03 09:00", confirmatorySample, "", forms.Outcome{Code: "drawn", On: day("2026-03-03")}},
	{"2026-03-06 09:00", confirmatoryTyping, "", said("typed")},
	{"2026-03-06 10:00", hospitalDecision, "", said("use")},
	{"2026-03-09 09:00", physicalExamination, "", said("fit")},
	{"2026-03-09 10:00", donationConsent, "", said("signed")},
	{"2026-03-09 11:00", clearance, registry.SeatCollection + "#1", forms.Outcome{Code: "cleared", Until: day("2026-04-08")}},
	{"2026-03-09 11:30", clearance, registry.SeatCollection + "#2", forms.Outcome{Code: "cleared", Until: day("2026-04-08")}},
	{"2026-03-09 14:00", schedule, registry.SeatTransplant, forms.Outcome{Code: "propose", Window: &window}},
	{"2026-03-09 14:10", schedule, everyParty[0], forms.Outcome{Code: "confirm", Window: &window}},
	{"2026-03-09 14:20", schedule, everyParty[1], forms.Outcome{Code: "confirm", Window: &window}},
	{"2026-03-09 14:30", schedule, everyParty[2], forms.Outcome{Code: "confirm", Window: &window}},
	{"2026-03-09 14:40", schedule, everyParty[3], forms.Outcome{Code: "confirm", Window: &window}},
	{"2026-03-12 09:00", conditioning, "", forms.Outcome{Code: "started", On: day("2026-03-12")}},
	{"2026-03-16 09:00", mobilisation, "", forms.Outcome{Code: "given", Day: 1}},
	{"2026-03-17 09:00", mobilisation, "", forms.Outcome{Code: "given", Day: 2}},
	{"2026-03-18 09:00", mobilisation, "", forms.Outcome{Code: "given", Day: 3}},
	{"2026-03-19 09:00", mobilisation, "", forms.Outcome{Code: "given", Day: 4}},
	{"2026-03-20 09:00", collection, "", forms.Outcome{Code: "collected", Day: 1}},
	{"2026-03-21 09:00", collection, "", forms.Outcome{Code: "collected", Day: 2, Sufficient: true}},
	{"2026-03-21 12:00", dispatch, "", said("handed_over")},
	{"2026-03-21 18:00", receipt, "", forms.Outcome{Code: "received", OutOfRange: true}},
	{"2026-03-21 18:30", quarantine, "", said("release")},
	{"2026-03-21 20:00", infusion, "", said("infused")},
	{"2026-03-23 09:00", thanks, "", said("thanked")},
}

// A case is carried by its rows: a run that begins anew after every answer asks nobody twice and forgets nothing.
func TestACaseGoesOnFromItsRowsAfterEveryAnswer(t *testing.T) {
	carried := caseAt(t, "2026-03-02 10:00", remobilisation)
	for _, a := range aDonation {
		carried.answersAt(a.when, a.step, a.seat, a.outcome)
	}
	carried.until("2026-04-01 00:00")
	require.Equal(t, []string{"2026-03-23 09:00 ends: infused"}, carried.says("ends"))
	require.Len(t, carried.runs, 1+len(stemCellPhases), "one run a phase")

	restarted := &play{memory: newMemory(clock("2026-03-02 10:00"), remobilisation, stemCellState{place: place{Schema: stateSchema, Step: remobilisation, Rounds: map[string]int{remobilisation: 1}}}), t: t, protocol: StemCell, now: clock("2026-03-02 10:00")}
	restarted.stemcell = carried.stemcell
	for _, a := range aDonation {
		restarted.answersAt(a.when, a.step, a.seat, a.outcome)
		restarted.until(local(clock(a.when).Add(time.Minute)))
	}
	require.Greater(t, len(restarted.runs), len(aDonation)-1)
	require.Equal(t, carried.says("asks", "answers", "goes", "ends"), restarted.says("asks", "answers", "goes", "ends"))
}
