package workflows

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/forms"
)

// A serious adverse event is reported the day it happens, whatever the hour; then it goes up the ladder.
func TestASeriousEventIsReportedTheSameDay(t *testing.T) {
	for when, due := range map[string]string{"2026-03-06 00:00": "2026-03-07 00:00", "2026-03-06 23:59": "2026-03-07 00:00", "2026-03-07 00:00": "2026-03-08 00:00"} {
		t.Run(when, func(t *testing.T) {
			p := newPlay(t, Safety, newMemory(clock(when), safetyReport, struct{}{})).until("2026-03-09 17:00:01")
			require.Equal(t, []string{when + " asks coordinator safety.report by " + due}, p.says("asks"))
			require.Contains(t, p.says("rung 1"), "2026-03-09 17:00 escalates coordinator safety.report to rung 1", "a Friday's or Saturday's event goes up on Monday")
		})
	}
}

func TestASeriousEventEndsWithItsReport(t *testing.T) {
	for outcome, ending := range map[string]string{"reported": "reported likely", "not_serious": "not_serious likely"} {
		t.Run(outcome, func(t *testing.T) {
			p := newPlay(t, Safety, newMemory(clock("2026-03-06 10:00"), safetyReport, struct{}{}))
			p.answersAt("2026-03-06 11:00", safetyReport, "", forms.Outcome{Code: outcome, Reason: "likely"})
			p.until("2026-03-10 00:00")
			require.Equal(t, []string{"2026-03-06 11:00 ends: " + ending}, p.says("ends"))
			require.Empty(t, p.says("escalates"))
		})
	}
}
