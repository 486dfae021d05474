package workflows

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// aDrive takes place on the 10th and 11th of March.
func aDrive(t *testing.T, step string, facts registry.DriveFacts) *play {
	m := newMemory(clock("2026-03-02 10:00"), step, struct{}{})
	facts.FirstDay, facts.DayAfter = clock("2026-03-10 00:00"), clock("2026-03-12 00:00")
	m.drive = facts
	return newPlay(t, Drive, m)
}

func TestADriveGoesFromItsPlanToItsReport(t *testing.T) {
	p := aDrive(t, drivePlanned, registry.DriveFacts{Status: "planned", Tubes: 40, Unsent: 40})
	p.answersAt("2026-03-12 09:00", driveClosing, "", forms.Outcome{Code: "closed", Reason: "tube_broken"})
	p.at("2026-03-13 09:00", func() { p.changes(func(m *memory) { m.drive.Unsent, m.drive.Underway = 15, 25 }) })
	p.at("2026-03-13 16:00", func() { p.changes(func(m *memory) { m.drive.Unsent, m.drive.Underway = 0, 40 }) })
	p.at("2026-03-16 09:00", func() { p.changes(func(m *memory) { m.drive.Underway = 0 }) })
	p.answersAt("2026-03-17 09:00", driveReport, "", said("reported"))
	p.until("2026-05-01 00:00")
	require.Equal(t, []string{
		"2026-03-10 00:00 is open",
		"2026-03-10 00:00 goes to drive.open",
		"2026-03-12 00:00 goes to drive.closing",
		"2026-03-12 00:00 asks office drive.closing by 2026-03-17 17:00",
		"2026-03-12 09:00 office answers drive.closing: closed",
		"2026-03-12 09:00 goes to drive.sending",
		"2026-03-12 09:00 asks office drive.sending by 2026-03-16 17:00",
		"2026-03-13 16:00 is sent",
		"2026-03-13 16:00 goes to drive.underway",
		"2026-03-16 09:00 goes to drive.report",
		"2026-03-16 09:00 asks office drive.report by 2026-03-30 17:00",
		"2026-03-17 09:00 office answers drive.report: reported",
		"2026-03-17 09:00 ends: reported",
	}, p.story)
}

// A tube that is missing on arrival is asked about the same day, whenever the box arrived.
func TestAMissingTubeRaisesAnAlarmTheSameDay(t *testing.T) {
	for _, c := range []struct{ outcome, leads string }{{"found", "asks office drive.sending by 2026-03-19 17:00"}, {"lost", "asks office drive.report by 2026-03-31 17:00"}} {
		t.Run(c.outcome, func(t *testing.T) {
			p := aDrive(t, driveUnderway, registry.DriveFacts{Status: "sent", Tubes: 40, Underway: 40})
			p.at("2026-03-16 23:30", func() { p.changes(func(m *memory) { m.drive.Underway, m.drive.Missing = 0, 1 }) })
			p.answersAt("2026-03-17 15:00", missingTube, "", said(c.outcome))
			p.until("2026-03-18 09:00")
			require.Equal(t, []string{
				"2026-03-16 23:30 goes to drive.missing_tube",
				"2026-03-16 23:30 asks office drive.missing_tube by 2026-03-17 00:00",
			}, p.story[:2])
			require.Equal(t, "2026-03-17 15:00 "+c.leads, p.story[len(p.story)-1])
		})
	}
}

func TestTubesThatStayAreAskedAbout(t *testing.T) {
	p := aDrive(t, driveSending, registry.DriveFacts{Status: "closed", Tubes: 40, Unsent: 3})
	p.answersAt("2026-03-06 09:00", driveSending, "", forms.Outcome{Code: "coming", Until: day("2026-03-10")})
	p.answersAt("2026-03-13 09:00", driveSending, "", forms.Outcome{Code: "gives_up", Reason: "lost"})
	p.until("2026-03-14 00:00")
	require.Equal(t, []string{
		"2026-03-02 10:00 asks office drive.sending by 2026-03-04 17:00",
		"2026-03-03 17:00 reminds office drive.sending",
		"2026-03-05 17:00 escalates office drive.sending to rung 1",
		"2026-03-06 09:00 office answers drive.sending: coming",
		"2026-03-06 09:00 asks office drive.sending by 2026-03-11 00:00",
		"2026-03-09 17:00 reminds office drive.sending",
		"2026-03-11 17:00 escalates office drive.sending to rung 1",
		"2026-03-13 09:00 office answers drive.sending: gives_up",
		"2026-03-13 09:00 goes to drive.underway",
		"2026-03-13 09:00 goes to drive.report",
		"2026-03-13 09:00 asks office drive.report by 2026-03-27 17:00",
	}, p.story)
}

// A drive without a single tube has nothing to send and nothing to wait for.
func TestADriveWithoutTubesIsReportedAtOnce(t *testing.T) {
	p := aDrive(t, driveClosing, registry.DriveFacts{Status: "open"})
	p.answersAt("2026-03-12 09:00", driveClosing, "", said("closed"))
	p.until("2026-03-13 00:00")
	require.Equal(t, driveReport, p.row.Step)
}
