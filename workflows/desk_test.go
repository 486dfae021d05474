package workflows

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// donorCase is a stem-cell case of a primary donor that stands at a step.
func donorCase(t *testing.T, when, step string, change ...func(*stemCellState)) *play {
	state := stemCellState{place: place{Schema: stateSchema, Step: step, Rounds: map[string]int{step: 1}}}
	for _, set := range change {
		set(&state)
	}
	m := newMemory(clock(when), step, state)
	m.stemcell = registry.StemCellFacts{
		Rank: 1, Promoted: true, ReservedUntil: rulesOn(m.opened).Deadline(rules.StemCellReservation, m.opened, nationalCalendar(), registry.Zone).Due,
	}
	return newPlay(t, StemCell, m)
}

func TestWhoDoesNotAnswerIsRemindedAndThenItGoesUpTheLadder(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation).until("2026-05-01 00:00")
	require.Equal(t, []string{
		"2026-03-02 10:00 asks coordinator stemcell.remobilisation by 2026-03-09 17:00",
		"2026-03-06 17:00 reminds coordinator stemcell.remobilisation",
		"2026-03-10 17:00 escalates coordinator stemcell.remobilisation to rung 1",
		"2026-03-12 17:00 escalates coordinator stemcell.remobilisation to rung 2",
		"2026-03-17 17:00 escalates coordinator stemcell.remobilisation to rung 3",
	}, p.story)
}

// Spring Festival 2026 is off from the 15th to the 23rd of February; Saturdays the 14th and the 28th are worked for it.
func TestHolidaysStopTheClockAndWorkedSaturdaysDoNot(t *testing.T) {
	p := donorCase(t, "2026-02-11 10:00", remobilisation).until("2026-04-01 00:00")
	require.Equal(t, []string{
		"2026-02-11 10:00 asks coordinator stemcell.remobilisation by 2026-02-25 17:00",
		"2026-02-24 17:00 reminds coordinator stemcell.remobilisation",
		"2026-02-26 17:00 escalates coordinator stemcell.remobilisation to rung 1",
		"2026-02-28 17:00 escalates coordinator stemcell.remobilisation to rung 2",
		"2026-03-04 17:00 escalates coordinator stemcell.remobilisation to rung 3",
	}, p.story)
}

func TestTheDayOfTheQuestionIsTheOfficesAndDoesNotCount(t *testing.T) {
	for when, due := range map[string]string{
		"2026-03-02 00:00": "2026-03-09 17:00", // Sunday afternoon in Greenwich
		"2026-03-02 23:59": "2026-03-09 17:00",
		"2026-03-03 00:00": "2026-03-10 17:00",
		"2026-02-28 12:00": "2026-03-06 17:00", // a worked Saturday
		"2026-03-01 12:00": "2026-03-06 17:00", // a Sunday
	} {
		t.Run(when, func(t *testing.T) {
			p := donorCase(t, when, remobilisation).until("2026-03-03 00:01")
			require.Equal(t, []string{when + " asks coordinator stemcell.remobilisation by " + due}, p.says("asks"))
		})
	}
}

func TestNobodyIsRemindedOfWhatWasAnswered(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	reply := p.answersAt("2026-03-06 16:59:59", remobilisation, "", said("willing"))
	p.until("2026-03-15 00:00")
	require.Equal(t, "accepted", reply.code())
	require.Equal(t, []string{
		"2026-03-02 10:00 asks coordinator stemcell.remobilisation by 2026-03-09 17:00",
		"2026-03-06 16:59:59 coordinator answers stemcell.remobilisation: willing",
		"2026-03-06 16:59:59 goes to stemcell.sample_booking",
		"2026-03-06 16:59:59 asks coordinator stemcell.sample_booking by 2026-03-20 17:00",
	}, p.story)
}

// A run that begins late, after a restart, finds what was sent already and sends the rest.
func TestANewRunSendsNothingTwice(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation).until("2026-03-11 09:00")
	told := len(p.story)
	p.until("2026-03-11 10:00").until("2026-03-12 17:00:01")
	require.Equal(t, []string{"2026-03-12 17:00 escalates coordinator stemcell.remobilisation to rung 2"}, p.story[told:])
}

func TestAnAnswerIsTakenOnceHoweverOftenItComes(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	var c AnswerCommand
	var replies []*reply
	p.at("2026-03-03 09:00", func() {
		c = p.propose(remobilisation, "", said("willing"))
		replies = append(replies, p.brings(c), p.brings(c)) // both at once
	})
	again := func() { replies = append(replies, p.brings(c)) }
	p.at("2026-03-03 09:00:01", again) // while its run goes on
	p.at("2026-03-03 09:01", again)    // to the run after
	p.at("2026-03-04 09:00", again)
	p.until("2026-03-05 00:00")
	require.Len(t, p.runs, 2, "booking a sample is a new phase")
	require.Len(t, replies, 5)
	for _, r := range replies {
		require.Equal(t, "accepted", r.code())
		require.Equal(t, registry.Moved{CaseID: p.row.ID, Step: sampleBooking, Version: 2}, r.moved)
	}
	require.Equal(t, 1, p.calls["SettleAnswer"])
}

func TestAnAnswerToATaskThatIsNotOpenIsRefusedAtTheDoor(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	var late, stranger *reply
	var first AnswerCommand
	p.at("2026-03-03 09:00", func() {
		first = p.propose(remobilisation, "", said("willing"))
		p.brings(p.propose(remobilisation, "", said("willing")))
	})
	p.at("2026-03-03 10:00", func() {
		late = p.brings(first)
		stranger = p.brings(AnswerCommand{AnswerID: uuid.New(), TaskID: uuid.New(), Outcome: said("willing")})
	})
	p.until("2026-03-05 00:00")
	for _, r := range []*reply{late, stranger} {
		require.Equal(t, "task_closed", r.code())
		require.True(t, r.rejected, "it does not enter the history")
	}
	require.Equal(t, 1, p.calls["SettleAnswer"], "the register is not even asked")
}

// A case that has ended stays as it is, and a protocol that knows no way back says so.
func TestNothingIsOpenedAgainWhereThereIsNoWayBack(t *testing.T) {
	t.Run("the case ends meanwhile", func(t *testing.T) {
		p := donorCase(t, "2026-03-02 10:00", sampleBooking, func(s *stemCellState) { s.Rounds[remobilisation] = 1 })
		p.slow["SettleAnswer"] = 2 * time.Second
		p.answersAt("2026-03-02 11:00", sampleBooking, "", said("declines"))
		var reply *reply
		p.at("2026-03-02 11:00:01", func() { reply = p.reopens(remobilisation) })
		p.until("2026-03-02 12:00")
		require.Equal(t, "step_closed_for_good", reply.code())
	})
	t.Run("a drive goes one way", func(t *testing.T) {
		p := aDrive(t, driveReport, registry.DriveFacts{})
		var reply *reply
		p.at("2026-03-02 11:00", func() { reply = p.reopens(driveClosing) })
		p.until("2026-03-02 12:00")
		require.Equal(t, "step_closed_for_good", reply.code())
	})
}

// What a protocol says no to leaves the question open.
func TestARefusedAnswerLeavesTheQuestionOpen(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", mobilisation, inMobilisation)
	wrong := p.answersAt("2026-03-02 11:00", mobilisation, "", forms.Outcome{Code: "given", Day: 3})
	right := p.answersAt("2026-03-02 11:01", mobilisation, "", forms.Outcome{Code: "given", Day: 1})
	p.until("2026-03-02 12:00")
	require.Equal(t, "wrong_day", wrong.code())
	require.Equal(t, registry.Refused, registry.KindOf(wrong.err))
	require.Equal(t, "accepted", right.code())
}

func inMobilisation(s *stemCellState) {
	s.Window = &forms.Window{Conditioning: day("2026-02-26"), Mobilisation: day("2026-03-02"), Collection: day("2026-03-06")}
	s.Agreed, s.Conditioned, s.Day, s.ClearedUntil = true, true, 1, day("2026-03-30")
}

// The reservation is for sixty working days, to the 28th of May from Monday the 2nd of March, over Qingming, Labour Day and its
// worked Saturday.
func TestAnAnswerAtTheEdgeOfTheReservation(t *testing.T) {
	t.Run("counts until it ends", func(t *testing.T) {
		p := donorCase(t, "2026-03-02 10:00", hospitalDecision)
		reply := p.answersAt("2026-05-28 16:59:59", hospitalDecision, "", said("use"))
		p.until("2026-05-28 17:00:01")
		require.Equal(t, "accepted", reply.code())
		require.Empty(t, p.says("ends"))
	})
	t.Run("and not when it has ended", func(t *testing.T) {
		p := donorCase(t, "2026-03-02 10:00", hospitalDecision)
		var c AnswerCommand
		p.at("2026-05-28 16:59", func() { c = p.propose(hospitalDecision, "", said("use")) })
		var reply *reply
		p.at("2026-05-28 17:00", func() { reply = p.brings(c) })
		p.until("2026-06-10 00:00")
		require.Equal(t, []string{
			"2026-03-02 10:00 asks transplant_hospital stemcell.hospital_decision by 2026-05-28 17:00",
			"2026-05-27 17:00 reminds transplant_hospital stemcell.hospital_decision",
			"2026-05-28 17:00 ends: reservation_expired",
		}, p.story)
		require.NotEqual(t, "accepted", reply.code())
	})
}

// An answer that is being written when its deadline passes has come in time.
func TestAnAnswerOnItsWayWhenTheDeadlinePassesIsGood(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", hospitalDecision)
	p.slow["SettleAnswer"] = 2 * time.Second
	reply := p.answersAt("2026-05-28 16:59:59", hospitalDecision, "", said("use"))
	p.until("2026-06-10 00:00")
	require.Equal(t, "accepted", reply.code())
	require.Empty(t, p.says("ends"), p.story)
	require.Equal(t, physicalExamination, p.row.Step)
}

// The register has written the answer and asked the next question before the desk hears of it: who looks at the worklist in
// that moment answers the next question already. A reminder that falls due just then makes nobody lose their turn.
func TestAnAnswerToTheNextQuestionMayComeWhileTheLastIsBeingWritten(t *testing.T) {
	for name, when := range map[string]string{"alone": "2026-03-02 11:00:58", "with a reminder": "2026-03-06 16:59:58"} {
		t.Run(name, func(t *testing.T) {
			p := donorCase(t, "2026-03-02 10:00", remobilisation)
			p.slow["SettleAnswer"], p.slow["NudgeTask"] = 3*time.Second, 2*time.Second
			var written registry.Settle
			p.stage = func(env *testsuite.TestWorkflowEnvironment) {
				env.SetOnLocalActivityStartedListener(func(_ *activity.Info, _ context.Context, args []any) {
					if in, ok := args[0].(registry.Settle); ok && written.AnswerID == uuid.Nil {
						written = in
					}
				})
			}
			first := p.answersAt(when, remobilisation, "", said("willing"))
			var second *reply
			p.at(local(clock(when).Add(time.Second)), func() {
				_, err := p.SettleAnswer(t.Context(), written)
				require.NoError(t, err)
				second = p.answers(sampleBooking, "", said("booked"))
			})
			p.until("2026-03-06 17:10")
			require.Equal(t, "accepted", first.code())
			require.Equal(t, "accepted", second.code())
			require.Equal(t, confirmatorySample, p.row.Step)
		})
	}
}

// The register says that the case stands elsewhere: somebody else has moved it, such as a second cluster after a restore.
func TestACaseThatSomebodyElseMovedGoesOnFromItsRows(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", clearance)
	stale := p.answersAt("2026-03-03 09:00", clearance, registry.SeatCollection+"#2", forms.Outcome{Code: "cleared", Until: day("2026-04-02")})
	p.at("2026-03-03 08:59", func() {
		// The other cluster has taken the first signature.
		c := p.propose(clearance, registry.SeatCollection+"#1", forms.Outcome{Code: "cleared", Until: day("2026-04-02")})
		_, err := p.SettleAnswer(t.Context(), registry.Settle{AnswerID: c.AnswerID, Version: 1, At: clock("2026-03-03 08:59"), Move: registry.Move{Step: clearance, State: p.row.State}})
		require.NoError(t, err)
	})
	second := p.answersAt("2026-03-03 09:10", clearance, registry.SeatCollection+"#2", forms.Outcome{Code: "cleared", Until: day("2026-04-02")})
	p.until("2026-03-04 00:00")
	require.Equal(t, registry.Stale, registry.KindOf(stale.err))
	require.Equal(t, "accepted", second.code())
	require.Equal(t, schedule, p.row.Step, "both have signed")
	require.Len(t, p.runs, 2)
}

func TestARunHandsOnNothingButTheLastAnswers(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", schedule)
	days := 0
	propose := func() {
		days++
		p.answers(schedule, registry.SeatTransplant, forms.Outcome{Code: "propose", Window: windowFrom(days)})
	}
	for n := range rememberedAnswers + 4 {
		p.at(fmt.Sprintf("2026-03-02 10:%02d", n+1), propose)
	}
	var moved int64
	p.at("2026-03-02 11:00", func() { moved = p.row.Version; p.env.SetContinueAsNewSuggested(true) })
	p.at("2026-03-02 11:01", func() { p.changes(func(*memory) {}) }) // something must wake it
	p.stage = func(env *testsuite.TestWorkflowEnvironment) { env.SetContinueAsNewSuggested(false) }
	p.until("2026-03-02 12:00")
	require.Len(t, p.runs, 2)
	handed := p.runs[1]
	require.Equal(t, p.row.ID, handed.CaseID)
	require.Len(t, handed.Settled, rememberedAnswers)
	require.Equal(t, moved, handed.Settled[rememberedAnswers-1].Moved.Version, "the newest comes last")
	require.Equal(t, moved-rememberedAnswers+1, handed.Settled[0].Moved.Version)
	require.Len(t, p.says("asks"), 4*(1+rememberedAnswers+4), "the new run asks nobody again")
}

func windowFrom(n int) *forms.Window {
	first := day("2026-03-20").AddDays(n)
	return &forms.Window{Conditioning: first, Mobilisation: first.AddDays(4), Collection: first.AddDays(8)}
}

// A run goes on as a new one for one of these reasons, and only once nobody has brought anything for a while.
func TestARunGoesOnAsANewOneInAQuietMoment(t *testing.T) {
	for reason, set := range map[string]func(*testsuite.TestWorkflowEnvironment, bool){
		"its history has grown long":     (*testsuite.TestWorkflowEnvironment).SetContinueAsNewSuggested,
		"its protocol has a new version": (*testsuite.TestWorkflowEnvironment).SetTargetWorkerDeploymentVersionChanged,
	} {
		t.Run(reason, func(t *testing.T) {
			p := donorCase(t, "2026-03-02 10:00", schedule)
			p.stage = func(env *testsuite.TestWorkflowEnvironment) { set(env, len(p.runs) == 1) }
			var replies []*reply
			for n := range 6 { // every four seconds: less than it waits for
				p.at(fmt.Sprintf("2026-03-02 10:00:%02d", 4*(n+1)), func() {
					replies = append(replies, p.answers(schedule, registry.SeatTransplant, forms.Outcome{Code: "propose", Window: windowFrom(n)}))
				})
			}
			p.until("2026-03-02 10:00:25")
			require.Len(t, p.runs, 1, "somebody is at work")
			for _, r := range replies {
				require.Equal(t, "accepted", r.code())
			}
			// The curtain ended the first run; the next one sees the reason, and waits five seconds.
			p.stage = func(env *testsuite.TestWorkflowEnvironment) { set(env, len(p.runs) == 2) }
			p.until("2026-03-02 10:00:29")
			require.Len(t, p.runs, 2)
			p.stage = func(env *testsuite.TestWorkflowEnvironment) { set(env, len(p.runs) == 3) }
			p.until("2026-03-02 10:10")
			require.Len(t, p.runs, 4)
		})
	}
}

// Between the decision to go and the going, what comes is sent to the next run, and taken there once.
func TestAnAnswerThatMeetsARunOnItsWayOutIsTakenByTheNext(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", clearance)
	p.stage = func(env *testsuite.TestWorkflowEnvironment) { env.SetContinueAsNewSuggested(len(p.runs) == 1) }
	p.slow["SettleAnswer"] = 3 * time.Second
	cleared := forms.Outcome{Code: "cleared", Until: day("2026-04-02")}
	first := p.answersAt("2026-03-02 10:00:04", clearance, registry.SeatCollection+"#1", cleared)
	// The quiet time is over at :05, while the first answer is being written.
	var c AnswerCommand
	var turnedAway, reopened, taken *reply
	p.at("2026-03-02 10:00:06", func() {
		c = p.propose(clearance, registry.SeatCollection+"#2", cleared)
		turnedAway, reopened = p.brings(c), p.reopens(donationConsent)
	})
	p.at("2026-03-02 10:00:10", func() { taken = p.brings(c) })
	p.until("2026-03-02 10:01")
	require.Equal(t, "accepted", first.code())
	require.Equal(t, "case_rolling_over", turnedAway.code())
	require.Equal(t, "case_rolling_over", reopened.code())
	require.Equal(t, "accepted", taken.code())
	require.Len(t, p.runs, 2)
	require.Len(t, p.runs[1].Settled, 1)
	require.Len(t, p.says("answers"), 2)
	require.Equal(t, schedule, p.row.Step)
}

func TestNoCaseSleepsPastANewVersion(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", hospitalDecision).until("2026-05-20 00:00")
	require.Equal(t, longestSleep, p.longest)
}

func TestAFactThatIsHeardTwiceDoesNothingTwice(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	for _, when := range []string{"2026-03-03 10:00", "2026-03-03 10:00", "2026-03-04 10:00"} {
		p.at(when, func() { p.changes(func(*memory) {}) })
	}
	p.at("2026-03-05 10:00", func() {
		for range 3 {
			p.changes(func(m *memory) { m.stemcell.Withdrawn = true })
		}
	})
	p.until("2026-03-06 00:00")
	require.Equal(t, []string{
		"2026-03-02 10:00 asks coordinator stemcell.remobilisation by 2026-03-09 17:00",
		"2026-03-05 10:00 ends: withdrawn",
	}, p.story)
}

// A database that stays away costs time, and nothing else.
func TestADatabaseThatIsAwayIsWaitedFor(t *testing.T) {
	p := donorCase(t, "2026-03-02 10:00", remobilisation)
	left := 5 // three tries beside the desk, and two of the server's
	p.at("2026-03-03 09:59", func() {
		p.trouble = func(act string) error {
			if act == "SettleAnswer" && left > 0 {
				left--
				return errAway
			}
			return nil
		}
	})
	reply := p.answersAt("2026-03-03 10:00", remobilisation, "", said("willing"))
	p.until("2026-03-05 00:00")
	require.Zero(t, left)
	require.Equal(t, "accepted", reply.code())
	require.Len(t, p.says("answers"), 1)
	require.Equal(t, sampleBooking, p.row.Step)
}
