package policy

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var now = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

func newPolicy(t *testing.T, grants ...Grant) *Policy {
	t.Helper()
	p, err := New(grants, 7, now)
	require.NoError(t, err)
	return p
}

func grant(subject string, role Role, region string) Grant {
	return Grant{subject, role, region, now.Add(time.Hour)}
}

var gulou = []string{"320106", "320100", "320000", "000000"}

func ask(p *Policy, subject string, rel Relation, class Class, action Action) Decision {
	return p.Decide(Question{Subject: subject, Region: gulou, Relation: rel, Class: class, Action: action, Purpose: ForCase})
}

// A slow, literal reading of the policy file: the reference that casbin's answers are compared with.
func reference(t *testing.T, grants []Grant, q Question) bool {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(strings.ReplaceAll(withoutComments(policyText), ", ", ","))).ReadAll()
	require.NoError(t, err)
	allowed := false
	for _, row := range rows {
		role, rel, class, action, purpose, effect := row[1], row[2], row[3], row[4], row[5], row[6]
		if class != string(q.Class) || action != string(q.Action) || (rel != "*" && rel != string(q.Relation)) || (purpose != "*" && purpose != string(q.Purpose)) {
			continue
		}
		for _, g := range grants {
			if g.Subject == q.Subject && string(g.Role) == role && g.Until.After(now) && slices.Contains(q.Region, g.Region) {
				if effect == "deny" {
					return false
				}
				allowed = true
			}
		}
	}
	return allowed
}

func TestEveryAnswerAgreesWithALiteralReadingOfTheFile(t *testing.T) {
	t.Parallel()
	var grants []Grant
	for _, role := range Roles() {
		grants = append(grants, grant("county-"+string(role), role, "320106"), grant("city-"+string(role), role, "320100"), grant("elsewhere-"+string(role), role, "330000"))
	}
	grants = append(grants, grant("both", Coordinator, "320106"), grant("both", Auditor, "320000"), Grant{"ended", Coordinator, "320106", now})
	p := newPolicy(t, grants...)
	subjects := map[string]bool{"nobody": true}
	for _, g := range grants {
		subjects[g.Subject] = true
	}
	allowed := 0
	for subject := range subjects {
		for _, rel := range Relations() {
			for _, class := range Classes() {
				for _, action := range Actions() {
					for _, purpose := range []Purpose{ForCase, ForAudit} {
						q := Question{subject, gulou, rel, class, action, purpose}
						got := p.Decide(q)
						require.Equal(t, reference(t, grants, q), got.Allowed, "%+v", q)
						if got.Allowed {
							allowed++
							require.NotEmpty(t, got.Rule)
						}
					}
				}
			}
		}
	}
	require.Positive(t, allowed)
}

func TestDenyByDefault(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, grant("a", Registrar, "320106"))
	require.False(t, ask(p, "a", None, Identity, Reveal).Allowed)
	require.False(t, ask(p, "unknown", InRegion, Identity, Read).Allowed)
	require.False(t, p.Decide(Question{Subject: "a"}).Allowed)
	require.False(t, p.Decide(Question{Subject: "a", Region: gulou, Relation: "*", Class: "*", Action: "*", Purpose: "*"}).Allowed)
}

func TestACityCoversItsCountiesAndNotItsNeighbours(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, grant("city", Coordinator, "320100"), grant("county", Coordinator, "320106"), grant("next", Coordinator, "320200"))
	require.True(t, ask(p, "city", InRegion, Contact, Reveal).Allowed)
	require.True(t, ask(p, "county", InRegion, Contact, Reveal).Allowed)
	require.False(t, ask(p, "next", InRegion, Contact, Reveal).Allowed)
	// A county's grant does not reach up to the city's own records.
	require.False(t, p.Decide(Question{"county", gulou[1:], InRegion, Contact, Reveal, ForCase}).Allowed)
}

func TestDenyWinsOverEveryOtherRole(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, grant("both", Coordinator, "320106"), grant("both", TransplantHospital, "320000"))
	d := ask(p, "both", InRegion, Identity, Reveal)
	require.False(t, d.Allowed, "a transplant hospital's person never learns who a donor is, whatever else they are")
	require.Contains(t, d.Rule, "deny")
}

func TestRevealNeedsItsPurpose(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, grant("c", Coordinator, "320106"))
	require.True(t, p.Decide(Question{"c", gulou, InRegion, Contact, Reveal, ForCase}).Allowed)
	require.False(t, p.Decide(Question{"c", gulou, InRegion, Contact, Reveal, ForAudit}).Allowed)
}

func TestNobodyCanBeGrantedTheSystemsRole(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, grant("x", SystemRole, "000000"))
	require.False(t, ask(p, "x", None, Case, Write).Allowed)
	require.True(t, ask(p, System, None, Case, Write).Allowed)
	require.False(t, ask(p, System, None, Identity, Reveal).Allowed)
}

// Lines that must never be written, whatever the file becomes.
func TestNoLineBreaksTheDoubleBlindOrTheSeparationOfDuties(t *testing.T) {
	t.Parallel()
	every := gulou
	for _, role := range Roles() {
		p := newPolicy(t, grant("x", role, "000000"))
		may := func(class Class, action Action) bool {
			for _, rel := range Relations() {
				for _, purpose := range Purposes() {
					if p.Decide(Question{"x", every, rel, class, action, purpose}).Allowed {
						return true
					}
				}
			}
			return false
		}
		require.False(t, may(Patient, Read) && may(Contact, Read), "%s sees both sides", role)
		require.False(t, may(Audit, Write), "%s writes the audit", role)
		require.False(t, may(Staff, Write) && may(Identity, Read), "%s administers and sees donors", role)
		require.False(t, may(Audit, Read) && may(Identity, Reveal), "%s audits and opens names", role)
	}
}

func TestAPolicyKnowsWhenItIsStale(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, grant("c", Coordinator, "320106"))
	require.True(t, p.Current(7, now))
	require.False(t, p.Current(8, now))
	require.False(t, p.Current(7, now.Add(time.Hour)), "a grant that has ended must not go on allowing")
}

func TestDecisionsAreSafeToAskAtOnce(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, grant("c", Coordinator, "320106"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for _, class := range Classes() {
				d := ask(p, "c", InRegion, class, Read)
				if d != ask(p, "c", InRegion, class, Read) {
					panic(fmt.Sprint(i, class))
				}
			}
		})
	}
	wg.Wait()
}

func TestTheFileIsWellFormed(t *testing.T) {
	t.Parallel()
	rows, err := csv.NewReader(strings.NewReader(strings.ReplaceAll(withoutComments(policyText), ", ", ","))).ReadAll()
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, row := range rows {
		require.Len(t, row, 7, "%v", row)
		require.Equal(t, "p", row[0])
		require.True(t, slices.Contains(Roles(), Role(row[1])) || Role(row[1]) == SystemRole, "%v", row)
		require.True(t, row[2] == "*" || slices.Contains(Relations(), Relation(row[2])), "%v", row)
		require.True(t, slices.Contains(Classes(), Class(row[3])), "%v", row)
		require.True(t, slices.Contains(Actions(), Action(row[4])), "%v", row)
		require.True(t, row[5] == "*" || slices.Contains(Purposes(), Purpose(row[5])), "%v", row)
		require.Contains(t, []string{"allow", "deny"}, row[6], "%v", row)
		line := strings.Join(row, ",")
		require.False(t, seen[line], "twice: %v", row)
		seen[line] = true
	}
	require.Len(t, Fingerprint(), 64)
}

func BenchmarkDecide(b *testing.B) {
	grants := make([]Grant, 0, 10_000)
	for i := range 10_000 {
		grants = append(grants, Grant{fmt.Sprint("s", i), Coordinator, fmt.Sprint(110000 + i), now.Add(time.Hour)})
	}
	p, err := New(append(grants, grant("c", Coordinator, "320106")), 1, now)
	require.NoError(b, err)
	b.Run("new question", func(b *testing.B) {
		for b.Loop() {
			p.cache.Clear()
			ask(p, "c", InRegion, Contact, Reveal)
		}
	})
	b.Run("known question", func(b *testing.B) {
		for b.Loop() {
			ask(p, "c", InRegion, Contact, Reveal)
		}
	})
}
