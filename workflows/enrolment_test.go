package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// volunteer is an enrolment of somebody who signed on Monday the 2nd of March: the cooling-off is over on the 9th, a
// sample is due within thirty working days and a typing within sixty of the cooling-off's end.
func volunteer(t *testing.T, sample string) *play {
	m := newMemory(clock("2026-03-02 10:00"), "enrolment.cooling_off", struct{}{})
	m.enrolment = registry.EnrolmentFacts{Status: "enrolling", CoolingOff: day("2026-03-09"), Sample: sample}
	if sample != "" {
		m.enrolment.SampleCount = 1
	}
	return newPlay(t, Enrolment, m)
}

// becomes is the sample's next status.
func becomes(status string) func(*memory) {
	return func(m *memory) { m.enrolment.Sample = status }
}

func TestNobodyIsListedBeforeTheCoolingOffHasPassed(t *testing.T) {
	p := volunteer(t, "drawn")
	p.at("2026-03-03 09:00", func() { p.changes(becomes("received")) })
	p.at("2026-03-04 09:00", func() { p.changes(becomes("typed")) })
	p.until("2026-03-08 23:59:59")
	require.Empty(t, p.story)
	p.until("2026-03-10 00:00")
	require.Equal(t, []string{"2026-03-09 00:00 ends: listed"}, p.story)
}

func TestATypedVolunteerIsListedAtOnce(t *testing.T) {
	p := volunteer(t, "drawn")
	p.at("2026-04-20 09:00", func() { p.changes(becomes("received")) })
	p.at("2026-04-27 15:00", func() { p.changes(becomes("typed")) })
	p.until("2026-05-01 00:00")
	require.Equal(t, []string{"2026-04-27 15:00 ends: listed"}, p.story)
}

func TestASampleThatDoesNotComeIsAskedFor(t *testing.T) {
	p := volunteer(t, "")
	p.answersAt("2026-04-20 09:00", sampleChase, "", forms.Outcome{Code: "coming", Until: day("2026-05-19")})
	p.answersAt("2026-05-21 09:00", sampleChase, "", forms.Outcome{Code: "gives_up", Reason: "unreachable"})
	p.until("2026-06-01 00:00")
	require.Equal(t, []string{
		"2026-04-14 17:00 goes to enrolment.sample_chase",
		"2026-04-14 17:00 asks office enrolment.sample_chase by 2026-05-14 17:00",
		"2026-04-20 09:00 office answers enrolment.sample_chase: coming",
		"2026-04-20 09:00 goes to enrolment.sample",
		"2026-05-20 00:00 goes to enrolment.sample_chase", // the day after it was promised
		"2026-05-20 00:00 asks office enrolment.sample_chase by 2026-06-17 17:00",
		"2026-05-21 09:00 office answers enrolment.sample_chase: gives_up",
		"2026-05-21 09:00 ends: given_up unreachable",
	}, p.story)
}

func TestATypingThatDoesNotComeIsAskedFor(t *testing.T) {
	p := volunteer(t, "received").until("2026-06-04 16:59:59")
	require.Empty(t, p.story)
	p.until("2026-07-10 00:00")
	require.Equal(t, []string{
		"2026-06-04 17:00 goes to enrolment.typing_chase",
		"2026-06-04 17:00 asks office enrolment.typing_chase by 2026-07-03 17:00",
		"2026-07-02 17:00 reminds office enrolment.typing_chase",
		"2026-07-06 17:00 escalates office enrolment.typing_chase to rung 1",
		"2026-07-08 17:00 escalates office enrolment.typing_chase to rung 2",
	}, p.story)
}

// Who is asked about something that then comes by itself is asked no more.
func TestWhatComesByItselfEndsTheChase(t *testing.T) {
	for name, c := range map[string]struct{ sample, comes, then string }{
		"a sample":               {"", "drawn", "goes to enrolment.typing"},
		"a sample, rejected":     {"", "rejected", "goes to enrolment.redraw"},
		"a typing":               {"received", "typed", "ends: listed"},
		"a tube that was missed": {"missing", "received", "goes to enrolment.typing"},
	} {
		t.Run(name, func(t *testing.T) {
			p := volunteer(t, c.sample)
			p.at("2026-06-10 09:00", func() {
				p.changes(func(m *memory) { m.enrolment.Sample, m.enrolment.SampleCount = c.comes, 1 })
			})
			p.until("2026-06-10 09:30")
			require.Contains(t, p.says("2026-06-10 09:00"), "2026-06-10 09:00 "+c.then, p.story)
			chased := p.says("asks office")
			require.Len(t, p.tasks, len(chased))
			require.Equal(t, "cancelled", p.tasks[0].status)
		})
	}
}

func TestARejectedSampleIsDrawnAgainUntilOneIsGood(t *testing.T) {
	p := volunteer(t, "received")
	p.at("2026-03-10 09:00", func() { p.changes(becomes("rejected")) })
	p.answersAt("2026-03-12 09:00", redraw, "", said("redrawn"))
	p.at("2026-03-13 09:00", func() { p.changes(becomes("rejected")) })
	p.answersAt("2026-03-16 09:00", redraw, "", said("redrawn"))
	p.at("2026-03-18 09:00", func() { p.changes(becomes("typed")) })
	p.until("2026-04-01 00:00")
	require.Equal(t, []string{
		"2026-03-10 09:00 goes to enrolment.redraw",
		"2026-03-10 09:00 asks office enrolment.redraw by 2026-04-08 17:00", // twenty working days, over Qingming
		"2026-03-12 09:00 office answers enrolment.redraw: redrawn",
		"2026-03-12 09:00 goes to enrolment.typing",
		"2026-03-13 09:00 goes to enrolment.redraw",
		"2026-03-13 09:00 asks office enrolment.redraw by 2026-04-13 17:00",
		"2026-03-16 09:00 office answers enrolment.redraw: redrawn",
		"2026-03-16 09:00 goes to enrolment.typing",
		"2026-03-18 09:00 ends: listed",
	}, p.says("asks", "answers", "ends", "goes to enrolment.redraw", "goes to enrolment.typing"))
}

func TestAVolunteerWhoDoesNotWantToGiveAgainIsGivenUp(t *testing.T) {
	p := volunteer(t, "rejected")
	p.answersAt("2026-03-12 09:00", redraw, "", forms.Outcome{Code: "gives_up", Reason: "withdrew"})
	p.until("2026-04-01 00:00")
	require.Equal(t, []string{"2026-03-12 09:00 ends: given_up withdrew"}, p.says("ends"))
}

// A volunteer withdraws without a reason at any time: in the cooling-off, while a sample or typing is waited for or asked
// for, and while another is to be drawn.
func TestAVolunteerMayWithdrawAtAnyTime(t *testing.T) {
	for name, c := range map[string]struct{ sample, when string }{
		"in the cooling-off":                  {"drawn", "2026-03-04 09:00"},
		"in the last second of it":            {"typed", "2026-03-08 23:59:59"},
		"while a sample is waited for":        {"", "2026-03-20 09:00"},
		"while it is asked for":               {"", "2026-04-20 09:00"},
		"while a typing is waited for":        {"received", "2026-03-20 09:00"},
		"while it is asked for, much later":   {"received", "2026-07-20 09:00"},
		"while another sample is to be taken": {"rejected", "2026-03-20 09:00"},
	} {
		t.Run(name, func(t *testing.T) {
			p := volunteer(t, c.sample)
			p.at(c.when, func() { p.changes(func(m *memory) { m.enrolment.Status = "withdrawn" }) })
			p.until("2026-08-01 00:00")
			require.Equal(t, []string{c.when + " ends: withdrawn"}, p.says("ends"))
			for _, task := range p.tasks {
				require.Equal(t, "cancelled", task.status)
			}
		})
	}
}

// The withdrawal is in the register, and the fact on its way, in the moment in which the volunteer would be listed.
func TestAWithdrawalInTheMomentOfListingWins(t *testing.T) {
	p := volunteer(t, "drawn")
	p.slow["ListDonor"] = 2 * time.Second
	p.at("2026-03-20 09:00", func() { p.changes(becomes("typed")) })
	p.at("2026-03-20 09:00:01", func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.enrolment.Status = "withdrawn"
	})
	p.at("2026-03-20 09:00:03", func() { p.changes(func(*memory) {}) })
	p.until("2026-03-21 00:00")
	require.Equal(t, []string{"2026-03-20 09:00:03 ends: withdrawn"}, p.story)
}

// An enrolment whose batch was undone is gone, and its protocol with it.
func TestAnEnrolmentThatWasUndoneIsNotCarriedOn(t *testing.T) {
	p := volunteer(t, "")
	undo := func() {
		p.trouble = func(act string) error { return refusal(registry.NotFound, "case") }
	}
	p.at("2026-03-04 09:00", func() { p.changes(func(*memory) { undo() }) })
	p.until("2026-03-05 00:00")
	require.Empty(t, p.story)
	require.True(t, p.now.Equal(clock("2026-03-04 09:00")), "the run is over")
	p.until("2026-03-05 00:00")
	require.True(t, p.now.Equal(clock("2026-03-04 09:00")), "and so is the next")
}
