package workflows

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/rules"
)

// followed is the care plan of somebody who gave on Monday the 2nd of March 2026, with the touches of the rule pack.
func followed(t *testing.T) *play {
	m := newMemory(clock("2026-03-02 18:00"), followUp, struct{}{})
	for i, span := range rulesOn(m.opened).Spans(rules.StemCellFollowUp) {
		m.touches = append(m.touches, registry.TouchRow{Position: i + 1, Key: fmt.Sprintf("%d%s", span.N, span.Unit), Due: span.On(day("2026-03-02"), nil).Start(registry.Zone)})
	}
	return newPlay(t, Care, m)
}

// protocols.md, "Care plan": one day, one week, 1, 3 and 6 months, a year, then yearly to ten.
var touchDays = []string{
	"2026-03-03", "2026-03-09", "2026-04-02", "2026-06-02", "2026-09-02", "2027-03-02", "2028-03-02", "2029-03-02",
	"2030-03-02", "2031-03-02", "2032-03-02", "2033-03-02", "2034-03-02", "2035-03-02", "2036-03-02",
}

// The last day on which each touch can be answered: thirty days after its own, or the one before the next touch.
var touchCloses = []string{
	"2026-03-08", "2026-04-01", "2026-05-02", "2026-07-02", "2026-10-02", "2027-04-01", "2028-04-01", "2029-04-01",
	"2030-04-01", "2031-04-01", "2032-04-01", "2033-04-01", "2034-04-01", "2035-04-01", "2036-04-01",
}

func TestADonorIsAskedForTenYears(t *testing.T) {
	p := followed(t)
	for _, on := range touchDays {
		p.answersAt(on+" 09:30", followUp, "", said("answered"))
	}
	p.until("2036-12-31 00:00")
	var want []string
	for i, on := range touchDays {
		want = append(want, fmt.Sprintf("%s 00:00 asks coordinator care.follow_up by %s 00:00", on, day(touchCloses[i]).AddDays(1)), on+" 09:30 coordinator answers care.follow_up: answered")
	}
	require.Equal(t, append(want, "2036-03-02 09:30 ends: completed"), p.says("asks", "answers", "ends"))
	require.Greater(t, len(p.runs), len(touchDays)-1, "every touch is a phase")
	require.LessOrEqual(t, p.longest, longestSleep)
}

// Nobody answers: each touch is missed at the end of its window, the next opens on its day all the same, and the plan
// ends with the last.
func TestATouchThatNobodyAnswersIsMissedAndTheNextOpensOnItsDay(t *testing.T) {
	p := followed(t).until("2036-12-31 00:00")
	var asked, missed []string
	for i, on := range touchDays {
		asked = append(asked, fmt.Sprintf("%s 00:00 asks coordinator care.follow_up by %s 00:00", on, day(touchCloses[i]).AddDays(1)))
		missed = append(missed, fmt.Sprintf("%s 00:00 misses touch %d", day(touchCloses[i]).AddDays(1), i+1))
	}
	require.Equal(t, asked, p.says("asks"))
	require.Equal(t, missed, p.says("misses"))
	require.Len(t, p.says("ends: completed"), 1)
}

func TestATouchIsAnsweredInTheLastSecondOfItsWindow(t *testing.T) {
	p := followed(t)
	p.answersAt("2026-03-08 23:59:59", followUp, "", said("answered"))
	p.answersAt("2026-04-01 23:59:59", followUp, "", said("unreachable"))
	p.until("2026-04-02 12:00")
	require.Empty(t, p.says("misses"))
	require.Len(t, p.says("answers"), 2)
}

func TestWhoOptsOutIsNotAskedAgain(t *testing.T) {
	p := followed(t)
	p.answersAt("2026-03-03 09:30", followUp, "", said("answered"))
	p.answersAt("2026-03-09 09:30", followUp, "", said("opts_out"))
	p.until("2036-12-31 00:00")
	require.Equal(t, []string{"2026-03-09 09:30 ends: opted_out"}, p.says("ends"))
	require.Len(t, p.says("asks"), 2)
}

// After a year in which nobody carried the plan, what has closed is missed without a task that nobody could answer.
func TestATouchThatHasClosedMeanwhileIsNotAsked(t *testing.T) {
	p := followed(t)
	p.now = clock("2027-03-10 09:00")
	p.until("2027-03-11 00:00")
	require.Equal(t, []string{"2027-03-10 09:00 asks coordinator care.follow_up by 2027-04-02 00:00"}, p.says("asks"))
	require.Len(t, p.says("misses"), 5)
}

// A touch that somebody has dealt with in the records is not waited for.
func TestATouchThatIsDealtWithElsewhereIsLeft(t *testing.T) {
	p := followed(t)
	p.at("2026-03-04 09:00", func() { p.changes(func(*memory) {}) }) // nothing has changed
	p.at("2026-03-05 09:00", func() { p.changes(func(m *memory) { m.touches = m.touches[1:] }) })
	p.until("2026-03-09 10:00")
	require.Equal(t, []string{
		"2026-03-03 00:00 asks coordinator care.follow_up by 2026-03-09 00:00",
		"2026-03-09 00:00 asks coordinator care.follow_up by 2026-04-02 00:00",
	}, p.says("asks"))
	require.Empty(t, p.says("misses"))
}
