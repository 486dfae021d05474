package policy

import (
	"fmt"
	"os"
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
	return Grant{Subject: subject, Role: role, Region: region, Until: now.Add(time.Hour)}
}

var gulou = []string{"320106", "320100", "320000", "000000"}

func ask(p *Policy, subject string, rel Relation, class Class, action Action) Decision {
	return p.Decide(Question{Subject: subject, Region: gulou, Relation: rel, Class: class, Action: action, Purpose: ForCase})
}

// A slow, literal reading of the policy file: the reference that the answers are compared with.
var literal = sync.OnceValue(func() (rows [][][]string) {
	for line := range strings.Lines(policyText) {
		if strings.HasPrefix(line, "p,") {
			var row [][]string
			for _, field := range strings.Split(strings.ReplaceAll(strings.TrimSpace(line), " ", ""), ",") {
				row = append(row, strings.Split(field, "|"))
			}
			rows = append(rows, row)
		}
	}
	return rows
})

func reference(grants []Grant, q Question) bool {
	speaks := func(field []string, of string) bool { return field[0] == "*" || slices.Contains(field, of) }
	allowed := false
	for _, row := range literal() {
		if !speaks(row[3], string(q.Class)) || !speaks(row[4], string(q.Action)) || !speaks(row[2], string(q.Relation)) || !speaks(row[5], string(q.Purpose)) {
			continue
		}
		for _, g := range grants {
			if g.Subject == q.Subject && slices.Contains(row[1], string(g.Role)) && g.Until.After(now) && slices.Contains(q.Region, g.Region) {
				if row[6][0] == "deny" {
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
	for i, role := range Roles() {
		grants = append(grants, grant("here-"+string(role), role, gulou[i%len(gulou)]))
	}
	grants = append(grants, grant("elsewhere", Coordinator, "330000"))
	grants = append(grants, grant("both", Coordinator, "320106"), grant("both", Auditor, "320000"), Grant{Subject: "ended", Role: Coordinator, Region: "320106", Until: now})
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
					for _, purpose := range Purposes() {
						q := Question{subject, gulou, rel, class, action, purpose}
						got := p.Decide(q)
						if want := reference(grants, q); want != got.Allowed || got.Allowed == (got.Rule == "") && got.Allowed {
							require.Equal(t, want, got.Allowed, "%+v", q)
							require.NotEmpty(t, got.Rule, "%+v", q)
						}
						if got.Allowed {
							allowed++
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
	p := newPolicy(t, grant("x", SystemRole, "000000"), grant("x", VolunteerRole, "000000"))
	require.False(t, ask(p, "x", Self, Intake, Write).Allowed)
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
		require.False(t, may(Patient, Read) && (may(Contact, Read) || may(Identity, Read) || may(Identity, Reveal)), "%s sees both sides", role)
		require.False(t, may(Audit, Write), "%s writes the audit", role)
		require.False(t, (may(Staff, Write) || may(Granting, Write)) && (may(Identity, Read) || may(Case, Read)), "%s administers and sees donors", role)
		require.False(t, may(Audit, Read) && may(Identity, Reveal), "%s audits and opens names", role)
		require.False(t, may(Staff, Write) && may(Granting, Write) && may(Audit, Read), "%s is two administrators", role)
		require.Equal(t, role == Bridge, may(Link, Read), "%s and the link", role)
		for _, class := range Classes() {
			if !slices.Contains(Protected(), class) {
				require.False(t, may(class, BreakGlass), "%s breaks the glass before %s, which is not protected", role, class)
			}
		}
	}
}

// Whoever has a drive's public form open can do one thing, and that with their own form only.
func TestAVolunteerMayFillInTheirOwnFormAndNothingElse(t *testing.T) {
	t.Parallel()
	p := newPolicy(t)
	for _, rel := range Relations() {
		for _, class := range Classes() {
			for _, action := range Actions() {
				for _, purpose := range Purposes() {
					may := rel == Self && class == Intake && (action == Read || action == Write) && purpose == ForEnrolment
					require.Equal(t, may, p.Decide(Question{Volunteer, gulou, rel, class, action, purpose}).Allowed, "%s %s %s %s", rel, class, action, purpose)
				}
			}
		}
	}
	require.Empty(t, p.Places(Volunteer))
	require.Empty(t, p.Watches(Volunteer))
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
	rows := expand(policyText)
	seen := map[string]bool{}
	for _, row := range rows {
		require.Len(t, row, 7, "%v", row)
		require.Equal(t, "p", row[0])
		require.True(t, slices.Contains(append(Roles(), SystemRole, VolunteerRole), Role(row[1])), "%v", row)
		require.True(t, row[2] == "*" || slices.Contains(Relations(), Relation(row[2])), "%v", row)
		require.True(t, row[3] == "*" || slices.Contains(Classes(), Class(row[3])), "%v", row)
		require.True(t, row[4] == "*" || slices.Contains(Actions(), Action(row[4])), "%v", row)
		require.False(t, row[6] == "allow" && (row[3] == "*" || row[4] == "*"), "only a denial is about everything: %v", row)
		require.True(t, row[5] == "*" || slices.Contains(Purposes(), Purpose(row[5])), "%v", row)
		require.Contains(t, []string{"allow", "deny"}, row[6], "%v", row)
		line := strings.Join(row, ",")
		require.False(t, seen[line], "twice: %v", row)
		seen[line] = true
	}
	require.Len(t, Fingerprint(), 64)
}

// The golden matrix is what a change of the policy is reviewed by. LIFERELAY_GOLDEN=write writes it anew.
func TestTheMatrixIsTheOneThatWasReviewed(t *testing.T) {
	t.Parallel()
	const file = "testdata/matrix.golden"
	if os.Getenv("LIFERELAY_GOLDEN") == "write" {
		require.NoError(t, os.WriteFile(file, []byte(matrix()), 0o644))
	}
	golden, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(golden), matrix(), "if the change is meant, LIFERELAY_GOLDEN=write go test ./policy writes the matrix anew: review its difference")
}

func TestTheCataloguesHaveTheirSizes(t *testing.T) {
	t.Parallel()
	require.Len(t, Classes(), classCount)
	require.Len(t, Actions(), actionCount)
	for _, list := range [][]string{texts(Roles()), texts(Classes()), texts(Actions()), texts(Relations()), texts(Purposes()), texts(Duties())} {
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(list))), len(list))
	}
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

func TestWhoeverGivesARoleHoldsTheGivingOfItThereAndForThatLong(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, grant("security", SecurityAdministrator, "320000"), grant("audit", AuditAdministrator, "320000"), grant("officer", ProvincialOffice, "320000"))
	soon, late := now.Add(time.Minute), now.Add(2*time.Hour)
	for _, c := range []struct {
		who    string
		role   Role
		region []string
		until  time.Time
		may    bool
	}{
		{"security", Coordinator, gulou, soon, true},
		{"security", Coordinator, gulou, now.Add(time.Hour), true},
		{"security", Coordinator, gulou, late, false},
		{"security", Coordinator, gulou[2:], soon, true},
		{"security", Coordinator, gulou[3:], soon, false},
		{"security", Coordinator, []string{"310104", "310100", "310000", "000000"}, soon, false},
		{"security", Auditor, gulou, soon, false},
		{"security", AuditAdministrator, gulou, soon, false},
		{"audit", Auditor, gulou, soon, true},
		{"audit", Coordinator, gulou, soon, false},
		{"officer", Station, gulou, soon, false},
		{"nobody", Station, gulou, soon, false},
		{System, SecurityAdministrator, gulou[3:], late, true},
	} {
		require.Equal(t, c.may, p.MayGrant(c.who, c.role, c.region, c.until), "%+v", c)
	}
	// Every role can be given by somebody, and each giver is a role.
	given := map[Role]bool{}
	for giver, roles := range givers() {
		require.Contains(t, Roles(), giver)
		for _, role := range roles {
			given[role] = true
		}
	}
	for _, role := range Roles() {
		require.True(t, given[role], role)
	}
	require.Len(t, given, len(Roles()))
}

func TestRolesAndDutiesThatDoNotGoTogether(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]Role{
		{TransplantHospital, Coordinator}, {TransplantHospital, CollectionHospital}, {Auditor, Coordinator}, {SystemAdministrator, SecurityAdministrator},
		{SecurityAdministrator, AuditAdministrator}, {SystemAdministrator, Registrar}, {EthicsMember, OPOCoordinator}, {AidReviewer, FamilyLiaison},
	} {
		for _, p := range [][2]Role{pair, {pair[1], pair[0]}} {
			why, apart := Incompatible(p[0], p[1])
			require.True(t, apart, "%v", p)
			require.NotEmpty(t, why)
		}
	}
	for _, pair := range [][2]Duty{{Coordinate, ApproveAid}, {DetermineDeath, Procure}, {DetermineDeath, Transplant}, {BreakTheGlass, ReviewGlass}, {AskExport, ApproveExport}} {
		for _, p := range [][2]Duty{pair, {pair[1], pair[0]}} {
			_, apart := Separated(p[0], p[1])
			require.True(t, apart, "%v", p)
		}
	}
	_, apart := Incompatible(Registrar, Coordinator)
	require.False(t, apart)
	_, apart = Separated(Coordinate, Coordinate)
	require.False(t, apart)
	// No two roles that one may hold together see both sides of a case, or act and watch.
	for row := range separated() {
		if row[0] == "role" {
			require.Contains(t, Roles(), Role(row[1]))
		} else {
			require.Equal(t, "duty", row[0])
			require.Contains(t, Duties(), Duty(row[1]))
		}
	}
}

// Whatever a person may be at once, they do not see both sides of a case.
func TestNoTwoRolesThatGoTogetherBreakTheDoubleBlind(t *testing.T) {
	t.Parallel()
	for _, one := range Roles() {
		for _, other := range Roles() {
			if _, apart := Incompatible(one, other); apart {
				continue
			}
			p := newPolicy(t, grant("x", one, "000000"), grant("x", other, "000000"))
			may := func(class Class, action Action) bool {
				return slices.ContainsFunc(Relations(), func(rel Relation) bool {
					return slices.ContainsFunc(Purposes(), func(purpose Purpose) bool {
						return p.Decide(Question{"x", gulou, rel, class, action, purpose}).Allowed
					})
				})
			}
			require.False(t, may(Patient, Read) && (may(Identity, Reveal) || may(Contact, Read)), "%s with %s", one, other)
			require.False(t, may(Granting, Write) && may(Identity, Read), "%s with %s", one, other)
		}
	}
}

func TestAMaskOfTwoWaysAllowsWhatEitherAllowsAndDeniesWhatEitherDenies(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, grant("c", Coordinator, "320106"), grant("watch", Auditor, "320106"))
	place, work := p.Mask("c", gulou, InRegion, ForCase), p.Mask("c", gulou, None, ForCase)
	both := place.Union(work)
	require.True(t, place.May(Reveal, Contact))
	require.False(t, work.May(Reveal, Contact))
	require.True(t, both.May(Reveal, Contact))
	require.True(t, both.May(Read, Organisation))
	require.False(t, place.May(Read, Organisation))
	require.False(t, both.Union(p.Mask("watch", gulou, None, ForCase)).May(Reveal, Contact), "a denial of one way is final")
	require.Contains(t, both.Decide(Contact, Reveal).Rule, "coordinator, region, contact, reveal, case, allow")
	require.False(t, Mask{}.May(Read, Organisation))
}

func TestWhichRolesReachPeopleByPlace(t *testing.T) {
	t.Parallel()
	for role, by := range map[Role]bool{
		Station: true, Registrar: true, CountyOffice: true, Coordinator: true, OrganCoordinator: true, TransplantHospital: false, CollectionHospital: false, Laboratory: false,
		Auditor: false, SystemAdministrator: false, SecurityAdministrator: false, SystemRole: true,
	} {
		require.Equal(t, by, OfPlace(role), role)
	}
}

// Whom an organisation serves reaches only as far as a role that is for it.
func TestWhichRolesReachPeopleByWhomTheirOrganisationServes(t *testing.T) {
	t.Parallel()
	at := func(role Role) Grant {
		g := grant(string(role), role, "320106")
		g.Serves = []string{"320000", "310000"}
		return g
	}
	p := newPolicy(t, at(OPOCoordinator), at(Coordinator), at(TransplantHospital), at(SecurityAdministrator))
	for _, c := range []struct {
		role            Role
		places, watches []string
	}{
		{OPOCoordinator, []string{"310000", "320000"}, []string{"310000", "320000"}},
		{Coordinator, []string{"320106"}, []string{"320106"}},
		{TransplantHospital, nil, nil},
		{SecurityAdministrator, nil, []string{"320106"}},
	} {
		require.Equal(t, c.places, p.Places(string(c.role)), c.role)
		require.Equal(t, c.watches, p.Watches(string(c.role)), c.role)
		require.Equal(t, []string{"320000", "310000"}, p.Serves(string(c.role)))
		require.Equal(t, c.role == Coordinator, p.Reaches(string(c.role), Referred), c.role)
		require.False(t, p.Reaches(string(c.role), Team), c.role)
	}
	require.Empty(t, p.Serves("nobody"))
}

// However somebody of the patient's side comes to a donor, nothing of the donor is theirs to read.
func TestNoWayToADonorOpensForThePatientsSide(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, grant("both", Coordinator, "320106"), grant("both", Registrar, "320106"), grant("both", OPOCoordinator, "320106"), grant("both", TransplantHospital, "320000"))
	for _, rel := range Relations() {
		for _, class := range []Class{Registration, Identity, Contact, Demographics, Health, HLA, Consent, Specimen, Family, Link} {
			for _, action := range Actions() {
				require.False(t, ask(p, "both", rel, class, action).Allowed, "%s %s %s", rel, class, action)
			}
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	grants := make([]Grant, 0, 10_000)
	for i := range 10_000 {
		grants = append(grants, Grant{Subject: fmt.Sprint("s", i), Role: Coordinator, Region: fmt.Sprint(110000 + i), Until: now.Add(time.Hour)})
	}
	p, err := New(append(grants, grant("c", Coordinator, "320106")), 1, now)
	require.NoError(b, err)
	b.Run("new question", func(b *testing.B) {
		for b.Loop() {
			masks.Clear()
			ask(p, "c", InRegion, Contact, Reveal)
		}
	})
	b.Run("known question", func(b *testing.B) {
		for b.Loop() {
			ask(p, "c", InRegion, Contact, Reveal)
		}
	})
}
