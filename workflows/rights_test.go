package workflows

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// requesting is a play of a request of a kind, filed at an instant.
func requesting(t *testing.T, kind, filed string) *play {
	t.Helper()
	m := newMemory(clock(filed), rightsIdentity, struct{}{})
	m.rights = registry.RightsFacts{Kind: kind, Decides: policy.CountyOffice}
	return newPlay(t, Rights, m)
}

func TestACopyIsProvenDecidedHandedOverAndTold(t *testing.T) {
	p := requesting(t, "copy", "2026-03-02 10:00")
	p.answersAt("2026-03-03 09:00", rightsIdentity, "", said("confirmed"))
	p.answersAt("2026-03-05 09:00", rightsDecision, "", said("grant"))
	p.answersAt("2026-03-06 09:00", rightsCarrying, "", said("done"))
	p.answersAt("2026-03-09 09:00", rightsTelling, "", said("told"))
	p.until("2026-05-01 00:00")
	require.Equal(t, []string{
		"2026-03-02 10:00 asks office rights.identity by 2026-03-05 17:00",
		"2026-03-03 09:00 office answers rights.identity: confirmed",
		"2026-03-03 09:00 goes to rights.decision",
		"2026-03-03 09:00 asks office rights.decision by 2026-03-23 17:00",
		"2026-03-05 09:00 office answers rights.decision: grant",
		"2026-03-05 09:00 goes to rights.carrying_out",
		"2026-03-05 09:00 asks office rights.carrying_out by 2026-03-12 17:00",
		"2026-03-06 09:00 office answers rights.carrying_out: done",
		"2026-03-06 09:00 goes to rights.telling",
		"2026-03-06 09:00 asks office rights.telling by 2026-03-11 17:00",
		"2026-03-09 09:00 office answers rights.telling: told",
		"2026-03-09 09:00 ends: granted",
	}, p.story)
	require.Equal(t, []policy.Role{policy.Registrar, policy.CountyOffice, policy.CountyOffice, policy.Registrar}, []policy.Role{p.tasks[0].q.Role, p.tasks[1].q.Role, p.tasks[2].q.Role, p.tasks[3].q.Role})
}

// Where each decision leads, and how the request ends.
func TestADecisionLeadsToWhatIsDoneAndSaid(t *testing.T) {
	for name, c := range map[string]struct {
		kind, decision, reason string
		done                   bool
		ends                   string
	}{
		"access granted":                {"access", "grant", "", true, "granted"},
		"access refused":                {"access", "refuse", "unfounded", false, "refused unfounded"},
		"correction in part":            {"correction", "in_part", "unfounded", true, "in_part unfounded"},
		"withdrawal granted":            {"withdrawal", "grant", "", true, "granted"},
		"deletion granted":              {"deletion", "grant", "", true, "erased"},
		"deletion in part":              {"deletion", "in_part", "law_keeps", true, "in_part law_keeps"},
		"deletion that a law forbids":   {"deletion", "refuse", "law_keeps", true, "blocked law_keeps"},
		"deletion while a case is open": {"kin_deletion", "refuse", "case_open", true, "blocked case_open"},
		"deletion of somebody else":     {"deletion", "refuse", "not_the_person", false, "refused not_the_person"},
		"kin deletion granted":          {"kin_deletion", "grant", "", true, "erased"},
	} {
		t.Run(name, func(t *testing.T) {
			p := requesting(t, c.kind, "2026-03-02 10:00")
			p.answersAt("2026-03-03 09:00", rightsIdentity, "", said("confirmed"))
			p.answersAt("2026-03-04 09:00", rightsDecision, "", forms.Outcome{Code: c.decision, Reason: c.reason})
			if c.done {
				p.answersAt("2026-03-05 09:00", rightsCarrying, "", said("done"))
			}
			p.answersAt("2026-03-06 09:00", rightsTelling, "", said("told"))
			p.until("2026-05-01 00:00")
			require.Equal(t, []string{"2026-03-06 09:00 ends: " + c.ends}, p.says("ends"))
			require.Equal(t, c.done, len(p.says("asks office rights.carrying_out")) == 1)
		})
	}
}

// Who is not who they say gets a reason and no data, and somebody else still decides it.
func TestWhoIsNotProvenIsOnlyRefused(t *testing.T) {
	for _, proven := range []string{"not_proven", "prearranged"} {
		t.Run(proven, func(t *testing.T) {
			p := requesting(t, "kin_copy", "2026-03-02 10:00")
			p.answersAt("2026-03-03 09:00", rightsIdentity, "", said(proven))
			grant := p.answersAt("2026-03-04 09:00", rightsDecision, "", said("grant"))
			p.answersAt("2026-03-04 10:00", rightsDecision, "", forms.Outcome{Code: "refuse", Reason: "not_the_person"})
			p.answersAt("2026-03-05 09:00", rightsTelling, "", said("told"))
			p.until("2026-05-01 00:00")
			require.Equal(t, "rights_not_proven", grant.code())
			require.Equal(t, []string{"2026-03-05 09:00 ends: refused not_the_person"}, p.says("ends"))
		})
	}
}

// The law's thirty days are the last word: every step that would be due later is due then.
func TestNoStepIsDueAfterTheThirtiethDay(t *testing.T) {
	p := requesting(t, "copy", "2026-03-02 10:00") // thirty days are over with 1 April
	p.answersAt("2026-03-30 09:00", rightsIdentity, "", said("confirmed"))
	p.answersAt("2026-03-30 10:00", rightsDecision, "", said("grant"))
	p.answersAt("2026-03-31 09:00", rightsCarrying, "", said("done"))
	p.answersAt("2026-04-03 09:00", rightsTelling, "", said("told"))
	p.until("2026-05-01 00:00")
	require.Equal(t, []string{
		"2026-03-02 10:00 asks office rights.identity by 2026-03-05 17:00",
		"2026-03-30 09:00 asks office rights.decision by 2026-03-23 17:00",
		"2026-03-30 10:00 asks office rights.carrying_out by 2026-04-02 00:00",
		"2026-03-31 09:00 asks office rights.telling by 2026-04-02 00:00",
	}, p.says("asks"))
}

// The office's own clock is counted in working days, over the long holidays too, and lies inside the law's.
func TestTheOfficesClockLiesInsideTheLaws(t *testing.T) {
	for filed, due := range map[string]string{
		"2026-03-02 10:00": "2026-03-23 17:00", // fifteen working days
		"2026-09-24 10:00": "2026-10-22 17:00", // over the Mid-Autumn days and the National Day week
		"2026-02-02 10:00": "2026-02-28 17:00", // over the Spring Festival
	} {
		t.Run(filed, func(t *testing.T) {
			p := requesting(t, "copy", filed)
			p.at(filed+":30", func() { p.answers(rightsIdentity, "", said("confirmed")) })
			p.until(p.opened.AddDate(0, 0, 1).In(registry.Zone).Format("2006-01-02 15:04"))
			require.Contains(t, p.says("rights.decision by")[0], "by "+due)
			require.False(t, p.tasks[1].Due.After(p.opened.AddDate(0, 0, 31)))
		})
	}
}

// Whoever does not answer is reminded, and then the office above hears of it.
func TestARequestThatNobodyAnswersGoesUp(t *testing.T) {
	p := requesting(t, "copy", "2026-03-02 10:00").until("2026-03-20 00:00")
	require.Equal(t, []string{
		"2026-03-04 17:00 reminds office rights.identity",
		"2026-03-06 17:00 escalates office rights.identity to rung 1",
		"2026-03-10 17:00 escalates office rights.identity to rung 2",
		"2026-03-13 17:00 escalates office rights.identity to rung 3",
	}, p.says("reminds", "escalates"))
}
