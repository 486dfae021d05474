package registry_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// because is a reason in somebody's own words.
const because = "患者病情突变，须立即联系捐献者"

// far is a coordinator of another province, whom no place and no case leads to the donors of the house.
func (h *house) far() registry.Actor {
	h.t.Helper()
	return h.Staff(h.t, "far", h.OtherTransplant, policy.Coordinator, "110108")
}

func (h *house) numberOf(donor uuid.UUID) string {
	return value[string](h, `SELECT number FROM registrations WHERE id = $1`, donor)
}

func (h *house) emergency(donor uuid.UUID, classes ...policy.Class) registry.EmergencyForm {
	return registry.EmergencyForm{Number: h.numberOf(donor), Classes: classes, Category: "patient_in_danger", Reason: seal.NoteOf(because)}
}

func (h *house) breakGlass(by registry.Actor, donor uuid.UUID, classes ...policy.Class) registry.EmergencyView {
	h.t.Helper()
	v, err := h.Store.BreakGlass(context.Background(), by, h.emergency(donor, classes...))
	require.NoError(h.t, err)
	return v
}

func TestEmergencyAccessOpensWhatWasAskedForOfThatDonorAndNothingElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	far, other := h.far(), h.Staff(t, "beside", h.OtherTransplant, policy.Coordinator, "110108")
	donor, second := h.donor(1), h.donor(2)
	_, err := h.Store.ShowDonor(ctx, far, donor)
	requireCode(t, err, registry.NotFound, "donor_not_found")

	lease := h.breakGlass(far, donor, policy.Identity)
	require.Equal(t, 3*time.Hour, lease.Until.Sub(lease.OpenedAt))
	require.InDelta(t, 3*3600, lease.Seconds, 5)
	require.NotEmpty(t, lease.Told)
	require.Equal(t, donor, lease.Donor)

	v := h.show(far, donor)
	require.Equal(t, "张*明", v.Identity.Name.Display)
	require.NotEmpty(t, v.Identity.Name.Reveal)
	require.Nil(t, v.Contact)
	require.Nil(t, v.Demographics)
	require.Nil(t, v.Health)
	require.Nil(t, v.HLA)
	require.Empty(t, v.Consents)
	require.Empty(t, v.Specimens)
	clear, err := h.Store.RevealDonor(ctx, far, donor, registry.RevealForm{Field: "name", Reason: "verify_identity"})
	require.NoError(t, err)
	require.Equal(t, "张小明", clear.Name)
	for who, ask := range map[string]func() error{
		"a class that was not opened": func() error {
			_, err := h.Store.RevealDonor(ctx, far, donor, registry.RevealForm{Field: "phone", Reason: "call_donor"})
			return err
		},
		"another donor": func() error { _, err := h.Store.ShowDonor(ctx, far, second); return err },
		"a colleague":   func() error { _, err := h.Store.ShowDonor(ctx, other, donor); return err },
		"a change": func() error {
			_, err := h.Store.Withdraw(ctx, far, donor, 0, registry.WithdrawForm{Via: "phone"})
			return err
		},
	} {
		requireCode(t, ask(), registry.NotFound, "donor_not_found", who)
	}
	list, err := h.Store.ListDonors(ctx, far, registry.DonorFilter{})
	require.NoError(t, err)
	require.Empty(t, list)

	// The audit has the lease as the rule, and nobody's words are anywhere in clear.
	require.Equal(t, 3, value[int](h, `SELECT count(*)::int FROM audit WHERE rule = $1 AND purpose = 'emergency' AND relation = 'none' AND allowed AND target = $2`,
		"emergency_access:"+lease.ID.String(), "donor:"+donor.String()))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'BreakGlass' AND action = 'breakglass' AND class = 'identity' AND target = $1 AND reason = 'patient_in_danger'`, "donor:"+donor.String()))
	leaks, _ := h.found([]string{because})
	require.Empty(t, leaks)

	// Who reviews it reads who it was and what they looked at; so do they themselves, and nobody else.
	reviewer := h.Staff(t, "reviewer", h.City, policy.CityOffice, "320100")
	for _, by := range []registry.Actor{reviewer, far} {
		detail, err := h.Store.ShowEmergency(ctx, by, lease.ID)
		require.NoError(t, err)
		require.Equal(t, lease.ID, detail.ID)
		require.Equal(t, "北京移植医院", detail.Office)
		require.NotEmpty(t, detail.Staff)
		var seen []policy.Action
		refused := map[policy.Action]policy.Class{}
		for _, l := range detail.Looks {
			if l.Refused {
				refused[l.Action] = l.Class
			} else {
				seen = append(seen, l.Action)
			}
		}
		require.Equal(t, []policy.Action{policy.Read, policy.Read, policy.Reveal}, seen, "the page twice, and a name in clear")
		require.Equal(t, map[policy.Action]policy.Class{policy.Reveal: policy.Contact, policy.Write: policy.Consent}, refused)
	}
	_, err = h.Store.ShowEmergency(ctx, other, lease.ID)
	requireCode(t, err, registry.NotFound, "emergency_not_found")

	// Those who answer for it hear at once.
	for dedupe, where := range map[string]string{"/supervisor": `role = 'provincial_office' AND region = '110108'`, "/office": `organisation_id = '` + h.County.ID.String() + `'`} {
		require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'emergency.opened' AND urgent AND dedupe = $1 AND `+where, "emergency.opened/"+lease.ID.String()+dedupe), where)
	}
}

func TestEmergencyAccessIsForWhoMayAndTellsNobodyElseWhetherADonorIsThere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.donor(1)
	form := h.emergency(donor, policy.Identity)
	nobody := form
	nobody.Number = "no such number"
	for who, actor := range h.everybody() {
		if actor == h.Coordinator || actor == h.CityCoordinator {
			continue
		}
		_, there := h.Store.BreakGlass(ctx, actor, form)
		requireCode(t, there, registry.Denied, "denied", who)
		_, absent := h.Store.BreakGlass(ctx, actor, nobody)
		require.Equal(t, there, absent, who)
	}
	_, err := h.Store.BreakGlass(ctx, h.Coordinator, nobody)
	requireCode(t, err, registry.NotFound, "donor_not_found")
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM audit WHERE target LIKE '%no such%'`), "what was typed may be anything")
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM emergency_access`))
	organs := h.Staff(t, "organs", h.OtherTransplant, policy.OrganCoordinator, "110108")
	_, err = h.Store.BreakGlass(ctx, organs, h.emergency(donor, policy.Identity, policy.Health))
	requireCode(t, err, registry.Denied, "denied")
	for field, spoil := range map[string]func(*registry.EmergencyForm){
		"classes[0]": func(f *registry.EmergencyForm) { f.Classes = []policy.Class{policy.Link} },
		"classes":    func(f *registry.EmergencyForm) { f.Classes = nil },
		"category":   func(f *registry.EmergencyForm) { f.Category = "curious" },
		"number":     func(f *registry.EmergencyForm) { f.Number = "" },
		"reason":     func(f *registry.EmergencyForm) { f.Reason = seal.NoteOf("因为          ") },
	} {
		bad := h.emergency(donor, policy.Identity)
		spoil(&bad)
		_, err := h.Store.BreakGlass(ctx, h.Coordinator, bad)
		var own *registry.Error
		require.ErrorAs(t, err, &own)
		require.Equal(t, registry.Invalid, own.Kind, field)
		require.Equal(t, field, own.Problems[0].Field)
	}
}

func TestEmergencyAccessEndsAtItsInstantByTheProgramAndByTheDatabase(t *testing.T) {
	t.Parallel()
	at := newClock()
	h := newHouse(t, registry.Options{Now: at.now})
	ctx := context.Background()
	far, donor := h.far(), h.donor(1)
	sees := func() bool {
		_, err := h.Store.ShowDonor(ctx, far, donor)
		_, revealed := h.Store.RevealDonor(ctx, far, donor, registry.RevealForm{Field: "phone", Reason: "call_donor"})
		require.Equal(t, err == nil, revealed == nil)
		if err != nil {
			requireCode(t, err, registry.NotFound, "donor_not_found")
			requireCode(t, revealed, registry.NotFound, "donor_not_found")
		}
		return err == nil
	}
	h.breakGlass(far, donor, policy.Contact, policy.Health)
	require.True(t, sees())
	at.pass(3*time.Hour - time.Second)
	require.True(t, sees(), "the last second")
	at.pass(2 * time.Second)
	require.False(t, sees(), "the row policies would still let the row through: the program's clock has it ended")

	// The other way round: by the program's clock it runs, and the database's has it ended.
	at.pass(-3 * time.Hour)
	require.True(t, sees())
	h.sql(`UPDATE emergency_access SET until = now() - interval '1 second'`)
	at.pass(-time.Hour)
	require.False(t, sees())
	open := h.open(registry.Options{Now: at.now})
	open.WithoutPolicy()
	_, err := open.ShowDonor(ctx, far, donor)
	requireCode(t, err, registry.NotFound, "donor_not_found")
}

func TestEmergencyAccessIsGivenBackAndGoesWithTheRoleAndBeforeADenyingLine(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	operator := registry.Operator("test")
	far, donor := h.far(), h.donor(1)
	until := time.Now().AddDate(1, 0, 0)
	sees := func() error { _, err := h.Store.ShowDonor(ctx, far, donor); return err }
	name := func() error {
		_, err := h.Store.RevealDonor(ctx, far, donor, registry.RevealForm{Field: "name", Reason: "verify_identity"})
		return err
	}
	first, second := h.breakGlass(far, donor, policy.Identity), h.breakGlass(far, donor, policy.Identity)
	_, err := h.Store.ReturnEmergency(ctx, h.Coordinator, first.ID)
	requireCode(t, err, registry.NotFound, "emergency_not_found")
	running, err := h.Store.ReturnEmergency(ctx, far, first.ID)
	require.NoError(t, err)
	require.WithinDuration(t, second.Until, running, time.Millisecond)
	require.NoError(t, sees(), "the other still runs")

	_, err = h.Store.GrantRole(ctx, operator, registry.GrantForm{Login: "far", Role: policy.MemorialEditor, Region: identity.Nation, Until: until})
	require.NoError(t, err)
	require.NoError(t, sees())
	requireCode(t, name(), registry.Denied, "denied", "a line that denies is final")
	require.NoError(t, h.Store.RevokeRole(ctx, operator, "far", policy.MemorialEditor, identity.Nation))
	require.NoError(t, name())

	require.NoError(t, h.Store.RevokeRole(ctx, operator, "far", policy.Coordinator, "110108"))
	requireCode(t, sees(), registry.NotFound, "donor_not_found", "who may not break the glass any more has nothing open")
	_, err = h.Store.GrantRole(ctx, operator, registry.GrantForm{Login: "far", Role: policy.Coordinator, Region: "110108", Until: until})
	require.NoError(t, err)
	require.NoError(t, sees())
	for range 2 {
		running, err = h.Store.ReturnEmergency(ctx, far, second.ID)
		require.NoError(t, err)
		require.Zero(t, running)
		requireCode(t, sees(), registry.NotFound, "donor_not_found")
	}
}

func TestEmergencyAccessIsReviewedBySomebodyElseOfEitherRegion(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	far, donor := h.far(), h.donor(1)
	operator := registry.Operator("test")
	// Beijing's office supervises the person, Nanjing's answers for the donor, Shanghai's has nothing to do with it.
	beijing := h.Staff(t, "beijing", h.OtherTransplant, policy.ProvincialOffice, "110000")
	nanjing := h.Staff(t, "nanjing", h.City, policy.CityOffice, "320100")
	shanghai := h.Staff(t, "shanghai", h.Transplant, policy.ProvincialOffice, "310000")
	lease, other := h.breakGlass(far, donor, policy.Identity), h.breakGlass(far, donor, policy.Contact)
	listed := func(by registry.Actor, f registry.EmergencyFilter) (out []uuid.UUID) {
		t.Helper()
		list, err := h.Store.ListEmergencies(ctx, by, f)
		require.NoError(t, err)
		for _, e := range list {
			out = append(out, e.ID)
		}
		return out
	}
	both := []uuid.UUID{other.ID, lease.ID}
	for who, actor := range map[string]registry.Actor{"themselves": far, "beijing": beijing, "nanjing": nanjing} {
		require.Equal(t, both, listed(actor, registry.EmergencyFilter{}), who)
		words, err := h.Store.RevealEmergency(ctx, actor, lease.ID)
		require.NoError(t, err, who)
		require.Equal(t, because, words.Reason)
	}
	require.Equal(t, both[1:], listed(beijing, registry.EmergencyFilter{After: other.ID, Limit: 1}))
	require.Empty(t, listed(beijing, registry.EmergencyFilter{Mine: true}))
	require.Empty(t, listed(beijing, registry.EmergencyFilter{Status: "closed"}))
	require.Empty(t, listed(shanghai, registry.EmergencyFilter{}))
	require.Empty(t, listed(h.Coordinator, registry.EmergencyFilter{}))
	for who, actor := range map[string]registry.Actor{"shanghai": shanghai, "a coordinator": h.Coordinator} {
		_, err := h.Store.RevealEmergency(ctx, actor, lease.ID)
		requireCode(t, err, registry.NotFound, "emergency_not_found", who)
		_, err = h.Store.ReviewEmergency(ctx, actor, lease.ID, registry.ReviewForm{Verdict: "justified"})
		requireCode(t, err, registry.NotFound, "emergency_not_found", who)
	}
	// Who broke the glass does not review it, whatever they are besides.
	_, err := h.Store.ReviewEmergency(ctx, far, lease.ID, registry.ReviewForm{Verdict: "justified"})
	requireCode(t, err, registry.NotFound, "emergency_not_found")
	_, err = h.Store.GrantRole(ctx, operator, registry.GrantForm{Login: "far", Role: policy.ProvincialOffice, Region: "110000", Until: time.Now().AddDate(1, 0, 0)})
	require.NoError(t, err)
	_, err = h.Store.ReviewEmergency(ctx, far, lease.ID, registry.ReviewForm{Verdict: "justified"})
	requireCode(t, err, registry.Denied, "review_own")
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'ReviewEmergency' AND rule = 'review_own' AND NOT allowed`))

	_, err = h.Store.ReviewEmergency(ctx, nanjing, lease.ID, registry.ReviewForm{Verdict: "not_justified"})
	requireProblem(t, err, "R101", "note")
	v, err := h.Store.ReviewEmergency(ctx, nanjing, lease.ID, registry.ReviewForm{Verdict: "not_justified", Note: seal.NoteOf("没有联系所在地办公室")})
	require.NoError(t, err)
	require.Equal(t, "not_justified", v.Verdict)
	_, err = h.Store.RevealDonor(ctx, far, donor, registry.RevealForm{Field: "name", Reason: "verify_identity"})
	requireCode(t, err, registry.NotFound, "donor_not_found", "what was not justified ends")
	_, err = h.Store.ReviewEmergency(ctx, beijing, lease.ID, registry.ReviewForm{Verdict: "justified"})
	requireCode(t, err, registry.Refused, "emergency_reviewed")
	_, err = h.Store.ReviewEmergency(ctx, beijing, other.ID, registry.ReviewForm{Verdict: "justified"})
	require.NoError(t, err)
	require.Empty(t, listed(nanjing, registry.EmergencyFilter{Status: "to_review"}))
	words, err := h.Store.RevealEmergency(ctx, far, lease.ID)
	require.NoError(t, err)
	require.Equal(t, "没有联系所在地办公室", words.Note)
}

func TestWhatWasWrittenAboutADonorInAnEmergencyGoesWhenTheDonorIsErased(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	far, donor := h.far(), h.donor(1)
	lease := h.breakGlass(far, donor, policy.Identity)
	_, err := h.Store.Withdraw(ctx, h.Coordinator, donor, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	h.sql(`UPDATE cases SET status = 'ended'`)
	require.NoError(t, h.Store.ErasePerson(ctx, registry.Operator("test"), value[uuid.UUID](h, `SELECT person_id FROM registrations WHERE id = $1`, donor)))
	words, err := h.Store.RevealEmergency(ctx, far, lease.ID)
	require.NoError(t, err)
	require.Zero(t, words)
	_, err = h.Store.BreakGlass(ctx, far, h.emergency(donor, policy.Identity))
	requireCode(t, err, registry.Refused, "person_erased")
}

func TestAReviewIsRemindedOfTheDayBeforeAndGoesUpTheRegionsOnceOverdue(t *testing.T) {
	t.Parallel()
	at := newClock()
	h := newHouse(t, registry.Options{Now: at.now})
	ctx := context.Background()
	h.Staff(t, "nanjing", h.City, policy.CityOffice, "320100")
	lease, reviewed := h.breakGlass(h.Coordinator, h.donor(1), policy.Identity), h.breakGlass(h.Coordinator, h.donor(2), policy.Identity)
	h.sql(`UPDATE emergency_access SET verdict = 'justified', reviewed_at = now() WHERE id = $1`, reviewed.ID)
	told := func(to time.Time) []string {
		t.Helper()
		at.pass(to.Sub(at.now()))
		for range 2 {
			require.NoError(t, h.Store.RemindReviews(ctx))
		}
		return values[string](h, `SELECT code || ' ' || role || ' ' || region FROM notices WHERE code LIKE 'emergency.review%' ORDER BY created_at, id`)
	}
	require.Equal(t, registry.Zone, lease.ReviewDue.In(registry.Zone).Location())
	require.Empty(t, told(lease.OpenedAt.Add(time.Hour)))
	due := "emergency.review_due city_office 320106"
	require.Equal(t, []string{due}, told(lease.ReviewDue.Add(-time.Minute)))
	city, province, nation := "emergency.review_overdue city_office 320100", "emergency.review_overdue provincial_office 320000", "emergency.review_overdue provincial_office 000000"
	require.Equal(t, []string{due, city}, told(lease.ReviewDue.Add(time.Minute)))
	require.ElementsMatch(t, []string{due, city, province, nation}, told(lease.ReviewDue.AddDate(0, 0, 40)))
}

func TestARevealOfOneFieldShowsThatFieldAndSaysWhich(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.donor(1)
	out, err := h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Field: "contacts", Reason: "other", Note: seal.NoteOf(because)})
	require.NoError(t, err)
	require.Len(t, out.Contacts, 2)
	out.Contacts, out.Until = nil, time.Time{}
	require.Equal(t, registry.Revealed{Fields: []string{"contacts"}}, out)
	_, err = h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Class: policy.Identity, Reason: "verify_identity"})
	require.NoError(t, err)
	require.Equal(t, []string{"contact contacts other", "identity name,documents verify_identity"},
		values[string](h, `SELECT class || ' ' || fields || ' ' || reason FROM audit WHERE act = 'RevealDonor' AND allowed ORDER BY recorded_at, id`))
	leaks, _ := h.found([]string{because})
	require.Empty(t, leaks)
	_, err = h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Field: "phone"})
	requireProblem(t, err, "R101", "reason")
	_, err = h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Field: "phone", Reason: "other"})
	requireProblem(t, err, "R101", "note")
	_, err = h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Field: "phone", Reason: "other", Note: seal.NoteOf("          短")})
	requireProblem(t, err, "R120", "note")
	_, err = h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Field: "hla", Reason: "call_donor"})
	requireProblem(t, err, "R114", "field")
}

func TestMoreThanThirtyRevealsInAnHourAreToldOnceToTheSecurityAdministratorsAndTheOffice(t *testing.T) {
	t.Parallel()
	at := newClock()
	at.at = at.at.Truncate(time.Hour)
	h := newHouse(t, registry.Options{Now: at.now})
	ctx := context.Background()
	donor := h.donor(1)
	told := func() int { return value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'access.reveals'`) }
	reveal := func(n int) {
		for range n {
			_, err := h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Field: "phone", Reason: "call_donor"})
			require.NoError(t, err)
		}
	}
	reveal(30)
	require.Zero(t, told())
	reveal(3)
	require.Equal(t, 2, told())
	list, err := h.Store.ListNotices(ctx, h.Security, false, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "access.reveals", list[0].Code)
	list, err = h.Store.ListNotices(ctx, h.Registrar, false, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Equal(t, "access.reveals", list[0].Code, "the office")
	at.pass(61 * time.Minute)
	reveal(1)
	require.Equal(t, 2, told())
}

func TestWhoOpensManyDonorsAtOnceIsStoppedAtTheSameOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const left, asks = 3, 8
	var donors []uuid.UUID
	for n := range asks {
		donors = append(donors, h.donor(n))
	}
	h.sql(`INSERT INTO openings (staff_id, day, registration_id) SELECT $1, $2, gen_random_uuid() FROM generate_series(1, $3)`, h.Coordinator.Staff(), today(), 200-left)
	var calls []func() error
	for _, donor := range donors {
		calls = append(calls, func() error {
			_, err := h.Store.ShowDonor(context.Background(), h.Coordinator, donor)
			return err
		})
	}
	opened := 0
	for _, err := range atOnce(calls...) {
		if err == nil {
			opened++
		} else {
			requireCode(t, err, registry.Locked, "donors_a_day")
		}
	}
	require.Equal(t, left, opened)
}

func TestOnePersonOpensOnlySoManyDonorsADay(t *testing.T) {
	t.Parallel()
	at := newClock()
	h := newHouse(t, registry.Options{Now: at.now})
	ctx := context.Background()
	before, next, third := h.donor(1), h.donor(2), h.donor(3)
	h.show(h.Coordinator, before)
	h.show(h.Coordinator, before)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM openings WHERE staff_id = $1`, h.Coordinator.Staff()))
	h.sql(`INSERT INTO openings (staff_id, day, registration_id) SELECT staff_id, day, gen_random_uuid() FROM openings, generate_series(1, 198) WHERE staff_id = $1`, h.Coordinator.Staff())
	_, err := h.Store.RevealDonor(ctx, h.Coordinator, next, registry.RevealForm{Field: "phone", Reason: "call_donor"})
	require.NoError(t, err, "the two hundredth")
	for range 2 {
		_, err = h.Store.ShowDonor(ctx, h.Coordinator, third)
		requireCode(t, err, registry.Locked, "donors_a_day")
		_, err = h.Store.RevealDonor(ctx, h.Coordinator, third, registry.RevealForm{Field: "phone", Reason: "call_donor"})
		requireCode(t, err, registry.Locked, "donors_a_day")
	}
	var own *registry.Error
	require.ErrorAs(t, err, &own)
	midnight := today().AddDays(1).Start(registry.Zone)
	require.InDelta(t, midnight.Sub(at.now()).Seconds(), own.RetryAfter.Seconds(), 1)
	require.Equal(t, 4, value[int](h, `SELECT count(*)::int FROM audit WHERE rule = 'donors_a_day' AND NOT allowed AND target = $1`, "donor:"+third.String()))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'access.braked' AND staff_id IS NULL AND organisation_id = $1`, h.County.ID))
	h.show(h.Coordinator, before)
	h.show(h.CityCoordinator, third) // another person's day is another's
	// What is changed is answered: it is done.
	_, err = h.Store.Withdraw(ctx, h.Coordinator, third, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	at.pass(midnight.Sub(at.now()))
	fourth := h.donor(4)
	h.show(h.Coordinator, fourth)
	require.Equal(t, fmt.Sprint(today().AddDays(1)), value[string](h, `SELECT max(day)::text FROM openings`))
}
