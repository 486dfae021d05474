package registry_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/seal"
)

// audited writes an audit row past the registry.
func (h *house) audited(at time.Time, actor registry.Actor, organisation uuid.UUID, action policy.Action, class policy.Class, region, target string, shown int) uuid.UUID {
	h.t.Helper()
	id := uuid.New()
	h.sql(`INSERT INTO audit (id, recorded_at, actor, organisation, act, action, class, relation, region, target, shown, purpose, reason, allowed, rule, revision, request)
		VALUES ($1, $2, $3, $4, 'Test', $5, $6, 'region', $7, $8, $9, 'case', '', true, 'coordinator, region, ' || $6 || ', ' || $5 || ', *, allow', 1, '')`,
		id, at, actor.Subject(), organisation.String(), string(action), string(class), region, target, shown)
	return id
}

func (h *house) audit(f registry.AuditFilter) []registry.AuditLine {
	h.t.Helper()
	lines, err := h.Store.ListAudit(context.Background(), h.Auditor, f)
	require.NoError(h.t, err)
	return lines
}

func idsOfAudit(lines []registry.AuditLine) (out []uuid.UUID) {
	for _, l := range lines {
		out = append(out, l.ID)
	}
	return out
}

func TestAListOfTheAuditHasExactlyTheRowsThatItsFilterTellsOf(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	donor := h.donor(1)
	h.show(h.Coordinator, donor)
	h.reveal(donor)
	_, _ = h.Store.ListDonors(context.Background(), h.Registrar, registry.DonorFilter{})
	_, err := h.Store.ShowDonor(context.Background(), h.far(), donor)
	require.Error(t, err)
	var all []registry.AuditLine
	for f := (registry.AuditFilter{Limit: 200}); ; {
		page := h.audit(f)
		all = append(all, page...)
		if len(page) < 200 {
			break
		}
		f.Before, f.BeforeID = page[len(page)-1].At, page[len(page)-1].ID
	}
	require.Greater(t, len(all), 20)
	some := func(of func(registry.AuditLine) string) *rapid.Generator[string] {
		values := []string{""}
		for _, l := range all {
			values = append(values, of(l))
		}
		slices.Sort(values)
		return rapid.SampledFrom(slices.Compact(values))
	}
	kindOf := func(l registry.AuditLine) string { kind, _, _ := strings.Cut(l.Target, ":"); return kind }
	matched := 0
	rapid.Check(t, func(rt *rapid.T) {
		f := registry.AuditFilter{
			Actor: some(func(l registry.AuditLine) string { return l.Actor }).Draw(rt, "actor"), Act: some(func(l registry.AuditLine) string { return l.Act }).Draw(rt, "act"),
			Kind: some(kindOf).Draw(rt, "kind"), Limit: 200,
		}
		if rapid.Bool().Draw(rt, "narrow") {
			f.Role = policy.Role(some(func(l registry.AuditLine) string { return l.Role }).Draw(rt, "role"))
			f.Class = policy.Class(some(func(l registry.AuditLine) string { return l.Class }).Draw(rt, "class"))
			f.Action = policy.Action(some(func(l registry.AuditLine) string { return l.Action }).Draw(rt, "action"))
			f.Purpose = policy.Purpose(some(func(l registry.AuditLine) string { return l.Purpose }).Draw(rt, "purpose"))
			f.Organisation, _ = uuid.Parse(some(func(l registry.AuditLine) string { return l.Organisation.String() }).Draw(rt, "organisation"))
			f.DeniedOnly = rapid.Bool().Draw(rt, "denied")
		} else {
			f.Act, f.Actor = "", ""
		}
		f.From, f.To = all[len(all)-1].At, all[rapid.IntRange(0, len(all)-1).Draw(rt, "to")].At
		var want []uuid.UUID
		for _, l := range all {
			if (f.Actor == "" || f.Actor == l.Actor) && (f.Act == "" || f.Act == l.Act) && (f.Kind == "" || f.Kind == kindOf(l)) && (f.Role == "" || string(f.Role) == l.Role) &&
				(f.Class == "" || string(f.Class) == l.Class) && (f.Action == "" || string(f.Action) == l.Action) && (f.Purpose == "" || string(f.Purpose) == l.Purpose) &&
				(f.Organisation == uuid.Nil || f.Organisation == l.Organisation) && (!f.DeniedOnly || !l.Allowed) && !l.At.Before(f.From) && l.At.Before(f.To) {
				want = append(want, l.ID)
			}
		}
		got := idsOfAudit(h.audit(f))
		matched += len(got)
		require.Equal(rt, want, got, "%+v", f)
	})
	require.Positive(t, matched)
}

func TestThePresetsFindWhatTheyAreNamedAfter(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	now := time.Now().In(registry.Zone)
	noon := time.Date(now.Year(), now.Month(), now.Day(), 12, 0, 0, 0, registry.Zone).AddDate(0, 0, -2)
	night := noon.Add(11 * time.Hour)
	early := noon.Add(-7*time.Hour - time.Minute)
	donor := "donor:" + uuid.NewString()
	at := func(when time.Time, region string, action policy.Action, class policy.Class, target string, shown int) uuid.UUID {
		return h.audited(when, h.Coordinator, h.County.ID, action, class, region, target, shown)
	}
	home := at(noon, "320106", policy.Read, policy.Identity, donor, 1)
	away := at(noon, "320200", policy.Read, policy.Identity, donor, 1)
	village := at(noon, "320106001001", policy.Reveal, policy.Contact, donor, 1)
	late := at(night, "320106", policy.Reveal, policy.Contact, donor, 1)
	dawn := at(early, "320106", policy.Read, policy.Health, donor, 1)
	work := at(night, "320106", policy.Read, policy.Drive, "drive:"+uuid.NewString(), 1)
	small := at(noon, "320106", policy.Export, policy.Registration, "donors", 99)
	large := at(noon, "320106", policy.Export, policy.Registration, "donors", 100)
	old := at(noon.AddDate(0, 0, -20), "320200", policy.Read, policy.Identity, donor, 1)

	ids := func(f registry.AuditFilter) []uuid.UUID {
		var own []uuid.UUID
		for _, l := range h.audit(f) {
			if l.Act == "Test" {
				own = append(own, l.ID)
			}
		}
		return own
	}
	require.Equal(t, []uuid.UUID{away}, ids(registry.AuditFilter{Preset: registry.OutOfRegion}))
	require.ElementsMatch(t, []uuid.UUID{away, old}, ids(registry.AuditFilter{Preset: registry.OutOfRegion, From: noon.AddDate(0, 0, -25), To: noon.AddDate(0, 0, 1)}))
	require.ElementsMatch(t, []uuid.UUID{late, dawn}, ids(registry.AuditFilter{Preset: registry.AtNight}))
	require.Equal(t, []uuid.UUID{large}, ids(registry.AuditFilter{Preset: registry.BulkExports}))
	require.Subset(t, ids(registry.AuditFilter{Limit: 200}), []uuid.UUID{home, village, work, small})
	require.Equal(t, []uuid.UUID{late}, ids(registry.AuditFilter{Preset: registry.AtNight, Class: policy.Contact}), "a preset is narrowed further")

	ctx := context.Background()
	_, err := h.Store.ListAudit(ctx, h.Auditor, registry.AuditFilter{Preset: registry.AtNight, From: noon.AddDate(0, 0, -40)})
	requireCode(t, err, registry.Invalid, "audit_window")
	_, err = h.Store.ListAudit(ctx, h.Auditor, registry.AuditFilter{Preset: "anything"})
	requireCode(t, err, registry.Invalid, "audit_preset")
	// Whoever reads the audit of one region only sees no other's by asking otherwise.
	local := h.Staff(t, "localauditor", h.County, policy.Auditor, "320106")
	for _, preset := range registry.AuditPresets() {
		lines, err := h.Store.ListAudit(ctx, local, registry.AuditFilter{Preset: preset, Limit: 200})
		require.NoError(t, err)
		for _, l := range lines {
			require.True(t, strings.HasPrefix(l.Region, "320106"), "%s shows %s", preset, l.Region)
		}
		_, err = h.Store.ListAudit(ctx, h.Coordinator, registry.AuditFilter{Preset: preset})
		requireCode(t, err, registry.Denied, "denied", string(preset))
	}
}

func TestWhoLookedAtSomebodyOfTheirOwnSurnameIsFoundAndNeitherNameIsTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	named := func(n int, name string) uuid.UUID {
		f := volunteer(n)
		f.Name = seal.NameOf(name)
		return h.register(h.Registrar, f).Donors[0].ID
	}
	same, other, compound := named(1, "张小明"), named(2, "李样晴"), named(3, "欧阳小锋")
	called := func(login, name string) registry.Actor {
		a := h.Staff(t, login, h.County, policy.Coordinator, "320106")
		h.sql(`UPDATE staff SET display_name = $2 WHERE id = $1`, a.Staff(), name)
		return a
	}
	zhang, ouyang, ou := called("zhang", "张大勇"), called("ouyang", "欧阳明"), called("ouming", "欧明")
	for _, by := range []registry.Actor{zhang, ouyang, ou} {
		for _, donor := range []uuid.UUID{same, other, compound} {
			h.show(by, donor)
		}
	}
	lines := h.audit(registry.AuditFilter{Preset: registry.SameSurname})
	got := map[string]bool{}
	for _, l := range lines {
		got[l.Actor+" "+l.Target] = true
		require.NotContains(t, fmt.Sprintf("%+v", l), "张")
	}
	require.Equal(t, map[string]bool{zhang.Subject() + " donor:" + same.String(): true, ouyang.Subject() + " donor:" + compound.String(): true}, got)
	require.Len(t, h.audit(registry.AuditFilter{Preset: registry.SameSurname, Limit: 1}), 1)
	require.Equal(t, 2, value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'CompareSurnames' AND allowed AND class = 'audit' AND fields LIKE '%preset=same_surname%'`), "who compares names is in the audit")
	// Whoever was erased has no name any more, and somebody elsewhere reads no audit of here.
	h.sql(`UPDATE persons SET erased_at = now(), key_wrapped = NULL WHERE id = (SELECT person_id FROM registrations WHERE id = $1)`, same)
	gone := 0
	for _, l := range lines {
		if l.Actor == zhang.Subject() && l.Target == "donor:"+same.String() {
			gone++
		}
	}
	require.Positive(t, gone)
	require.Len(t, h.audit(registry.AuditFilter{Preset: registry.SameSurname}), len(lines)-gone)
	far := h.Staff(t, "farauditor", h.OtherTransplant, policy.Auditor, "110108")
	elsewhere, err := h.Store.ListAudit(ctx, far, registry.AuditFilter{Preset: registry.SameSurname})
	require.NoError(t, err)
	require.Empty(t, elsewhere)
}

func TestWhatWasSeenOnEmergencyAccessIsListedUntilItWasReviewed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	far := h.far()
	donor, second := h.donor(1), h.donor(2)
	lease := h.breakGlass(far, donor, policy.Identity)
	h.show(far, donor)
	h.show(h.Coordinator, donor)
	reviewed := h.breakGlass(far, second, policy.Identity)
	h.show(far, second)
	office := h.Staff(t, "office", h.City, policy.CityOffice, "320100")
	_, err := h.Store.ReviewEmergency(ctx, office, reviewed.ID, registry.ReviewForm{Verdict: "justified"})
	require.NoError(t, err)
	acts := map[string]int{}
	for _, l := range h.audit(registry.AuditFilter{Preset: registry.Unreviewed}) {
		require.Equal(t, "donor:"+donor.String(), l.Target)
		require.Equal(t, far.Subject(), l.Actor)
		acts[l.Act]++
	}
	require.Equal(t, map[string]int{"BreakGlass": 1, "ShowDonor": 2}, acts, "that there is somebody, and who")
	_, err = h.Store.ReviewEmergency(ctx, office, lease.ID, registry.ReviewForm{Verdict: "not_justified", Note: seal.NoteOf("没有说明为何不能等待")})
	require.NoError(t, err)
	require.Empty(t, h.audit(registry.AuditFilter{Preset: registry.Unreviewed}))
}

func TestARowOfTheAuditIsShownWholeToWhoReadsTheAuditOfItsRegion(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.donor(1)
	_, err := h.Store.ListDonors(ctx, h.Coordinator, registry.DonorFilter{})
	require.NoError(t, err)
	line := h.audit(registry.AuditFilter{Actor: h.Coordinator.Subject(), Act: "ListDonors"})[0]
	d, err := h.Store.ShowAudit(ctx, h.Auditor, line.At, line.ID)
	require.NoError(t, err)
	require.Equal(t, line, d.AuditLine)
	require.Equal(t, []uuid.UUID{donor}, d.Showed)
	require.Equal(t, h.County.Name, d.Office)
	require.Equal(t, "Test coordinator", d.Staff)
	require.Equal(t, "coordinator", d.Role)
	require.Positive(t, d.Line)
	require.False(t, d.Sealed)
	h.sealAll(100)
	d, err = h.Store.ShowAudit(ctx, h.Auditor, line.At, line.ID)
	require.NoError(t, err)
	require.True(t, d.Sealed)
	_, err = h.Store.ShowAudit(ctx, h.Coordinator, line.At, line.ID)
	requireCode(t, err, registry.NotFound, "audit_row_not_found")
	far := h.Staff(t, "farauditor", h.OtherTransplant, policy.Auditor, "110108")
	_, there := h.Store.ShowAudit(ctx, far, line.At, line.ID)
	_, nowhere := h.Store.ShowAudit(ctx, far, line.At, uuid.New())
	requireCode(t, there, registry.NotFound, "audit_row_not_found")
	require.Equal(t, nowhere, there)
}

func TestAWalkOverTheChainIsAskedForOnceDoneByWhoComesFirstAndKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.donor(1)
	h.sealAll(20)
	chain, err := h.Store.ShowChain(ctx, h.Auditor)
	require.NoError(t, err)
	require.Nil(t, chain.Last)
	require.Nil(t, chain.Running)
	require.Greater(t, chain.Seals, int64(1))

	ran, err := h.Store.VerifyNext(ctx)
	require.NoError(t, err)
	require.False(t, ran, "nobody has asked")
	first, err := h.Store.StartVerification(ctx, h.Auditor)
	require.NoError(t, err)
	second, err := h.Store.StartVerification(ctx, h.AuditAdministrator)
	require.NoError(t, err)
	require.Equal(t, first.ID, second.ID, "one walk at a time")
	require.Equal(t, h.Auditor.Subject(), second.AskedBy)
	_, err = h.Store.StartVerification(ctx, h.Coordinator)
	requireCode(t, err, registry.Denied, "denied")

	other := h.open(registry.Options{})
	var walked [2]bool
	errs := atOnce(func() (err error) { walked[0], err = h.Store.VerifyNext(ctx); return err }, func() (err error) { walked[1], err = other.VerifyNext(ctx); return err })
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.NotEqual(t, walked[0], walked[1], "one process walks")
	chain, err = h.Store.ShowChain(ctx, h.Auditor)
	require.NoError(t, err)
	require.Nil(t, chain.Running)
	require.Equal(t, first.ID, chain.Last.ID)
	require.True(t, chain.Last.Report.Verified)
	require.NotNil(t, chain.Last.UpTo)
	require.Equal(t, chain.Last.Report.Rows, chain.Last.Done)

	// A process that died on the way is taken over from when it has been silent for long.
	again, err := h.Store.StartVerification(ctx, h.Auditor)
	require.NoError(t, err)
	h.sql(`UPDATE audit_verifications SET beat_at = now() WHERE id = $1`, again.ID)
	ran, err = h.Store.VerifyNext(ctx)
	require.NoError(t, err)
	require.False(t, ran)
	h.sql(`UPDATE audit_verifications SET beat_at = now() - interval '3 minutes' WHERE id = $1`, again.ID)

	// What is wrong is found, and kept.
	h.sql(`ALTER TABLE audit DISABLE TRIGGER audit_append_only`)
	h.sql(`UPDATE audit SET reason = 'changed' WHERE id = (SELECT ids[1] FROM audit_seals WHERE seq = 2)`)
	ran, err = h.Store.VerifyNext(ctx)
	require.NoError(t, err)
	require.True(t, ran)
	chain, err = h.Store.ShowChain(ctx, h.Auditor)
	require.NoError(t, err)
	require.Equal(t, again.ID, chain.Last.ID)
	require.False(t, chain.Last.Report.Verified)
	require.Equal(t, int64(2), chain.Last.Report.Seal)
	require.Nil(t, chain.Last.UpTo)
	// So is what somebody walked by themselves.
	report := h.verify()
	chain, err = h.Store.ShowChain(ctx, h.Auditor)
	require.NoError(t, err)
	require.Equal(t, report, *chain.Last.Report)
	require.NotEqual(t, again.ID, chain.Last.ID)
}
