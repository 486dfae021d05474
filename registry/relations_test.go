package registry_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// redCross enters a Red Cross office.
func (h *house) redCross(name, region string) registry.Organisation {
	h.t.Helper()
	o, err := h.Store.AddOrganisation(context.Background(), registry.Operator("test"), registry.OrganisationForm{Kind: "red_cross", Name: name, Region: identity.Region(region)})
	require.NoError(h.t, err)
	return o
}

func (h *house) share(donor uuid.UUID, with registry.Organisation, until time.Time) registry.ShareView {
	h.t.Helper()
	v, err := h.Store.ShareDonor(context.Background(), h.Coordinator, donor, registry.ShareForm{Organisation: with.ID, Reason: "confirmatory_sample", Until: until})
	require.NoError(h.t, err)
	return v
}

func TestAnOfficeThatADonorIsSharedWithReadsThatDonorAndCallsThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	haidian := h.redCross("海淀区红十字会", "110108")
	far, clerk := h.Staff(t, "far", haidian, policy.Coordinator, "110108"), h.Staff(t, "clerk", haidian, policy.CountyOffice, "110108")
	registrar, elsewhere := h.Staff(t, "farregistrar", haidian, policy.Registrar, "110108"), h.Staff(t, "elsewhere", h.redCross("朝阳区红十字会", "110105"), policy.Coordinator, "110105")
	donors := h.listed(gl, gl)
	donor, other := donors[0], donors[1]
	search := h.search(h.TransplantDoctor, "")
	caseID := h.request(h.TransplantDoctor, search.ID, donor)[0]
	for _, by := range []registry.Actor{far, clerk, registrar, elsewhere} {
		_, err := h.Store.ShowDonor(ctx, by, donor)
		requireCode(t, err, registry.NotFound, "donor_not_found")
	}
	share := h.share(donor, haidian, time.Now().Add(time.Hour))

	// The coordinator there reads the donor and the case, masked, and may call.
	v := h.show(far, donor)
	require.Equal(t, "张*明", v.Identity.Name.Display)
	require.NotEmpty(t, v.Identity.Name.Reveal)
	require.NotNil(t, v.Contact)
	require.NotNil(t, v.Health)
	require.NotEmpty(t, v.HLA.GL)
	require.NotEmpty(t, v.Consents)
	require.Equal(t, barcode(1), v.Specimens[0].Barcode)
	r, err := h.Store.RevealDonor(ctx, far, donor, registry.RevealForm{Field: "phone", Reason: "call_donor"})
	require.NoError(t, err)
	require.Equal(t, "+8613800000001", r.Phone)
	c, err := h.Store.ShowCase(ctx, far, caseID)
	require.NoError(t, err)
	require.Equal(t, registry.DonorSide, c.Side)
	require.Equal(t, donor, *c.DonorID)
	require.Empty(t, c.PatientNumber)
	text, err := json.Marshal(c)
	require.NoError(t, err)
	for _, secret := range []string{search.Patient.String(), value[string](h, `SELECT number FROM patients`), h.Transplant.ID.String(), h.Transplant.Name} {
		require.NotContains(t, string(text), secret)
	}
	// The office there sees who it is, and no more.
	v = h.show(clerk, donor)
	require.Equal(t, "张*明", v.Identity.Name.Display)
	require.Empty(t, v.Identity.Name.Reveal)
	require.NotNil(t, v.Contact)
	require.Nil(t, v.Demographics)
	require.Nil(t, v.HLA)
	require.Nil(t, v.Health)
	require.Empty(t, v.Specimens)

	// Nobody else, no other donor, no change, and no sharing further.
	for who, ask := range map[string]func() error{
		"a registrar there":        func() error { _, err := h.Store.ShowDonor(ctx, registrar, donor); return err },
		"an office beside it":      func() error { _, err := h.Store.ShowDonor(ctx, elsewhere, donor); return err },
		"another donor":            func() error { _, err := h.Store.ShowDonor(ctx, far, other); return err },
		"the transplant hospital":  func() error { _, err := h.Store.ShowDonor(ctx, h.TransplantDoctor, donor); return err },
		"the shares, of elsewhere": func() error { _, err := h.Store.ListShares(ctx, elsewhere, donor, uuid.Nil, 0); return err },
	} {
		requireCode(t, ask(), registry.NotFound, "donor_not_found", who)
	}
	_, err = h.Store.Withdraw(ctx, far, donor, 0, registry.WithdrawForm{Via: "phone"})
	requireCode(t, err, registry.NotFound, "donor_not_found")
	_, err = h.Store.ShareDonor(ctx, far, donor, registry.ShareForm{Organisation: elsewhere.Organisation(), Reason: "moved", Until: time.Now().Add(time.Hour)})
	requireCode(t, err, registry.Denied, "denied")
	requireCode(t, h.Store.EndShare(ctx, far, donor, share.ID), registry.Denied, "denied")
	_, err = h.Store.RevealDonor(ctx, clerk, donor, registry.RevealForm{Field: "phone", Reason: "call_donor"})
	requireCode(t, err, registry.Denied, "denied")
	_, err = h.Store.AddAttempt(ctx, far, caseID, forms.ContactAttempt{At: time.Now(), Channel: "phone", Whom: "donor", Result: "reached"})
	require.Error(t, err)
	list, err := h.Store.ListDonors(ctx, far, registry.DonorFilter{})
	require.NoError(t, err)
	require.Empty(t, list, "lists are of places: the notice says which donor it is")
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'donor.shared' AND organisation_id = $1 AND args->>'Donor' = $2`, haidian.ID, donor.String()))
	notices, err := h.Store.ListNotices(ctx, far, true, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, notices, 1)
	require.NoError(t, h.Store.ReadNotice(ctx, far, notices[0].ID))

	// The audit and the donor's own people know who looked, and by what.
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'RevealDonor' AND relation = 'referred' AND rule LIKE 'coordinator, referred, contact, reveal,%' AND target = $1`, "donor:"+donor.String()))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'ShareDonor' AND allowed AND reason = 'confirmatory_sample' AND fields = $1 AND target = $2`, "organisation="+haidian.ID.String(), "donor:"+donor.String()))
	look := find(h.looks(h.Coordinator, donor, registry.LookFilter{Limit: 200}), "RevealDonor")
	require.Equal(t, haidian.Name, look.Organisation)
}

func TestAShareEndsAtItsInstantByTheProgramAndByTheDatabaseAndWhenItIsEnded(t *testing.T) {
	t.Parallel()
	at := newClock()
	h := newHouse(t, registry.Options{Now: at.now})
	ctx := context.Background()
	haidian := h.redCross("海淀区红十字会", "110108")
	far, donor := h.Staff(t, "far", haidian, policy.Coordinator, "110108"), h.donor(1)
	open := h.open(registry.Options{Now: at.now})
	open.WithoutPolicy()
	sees := func(store *registry.Store) bool {
		t.Helper()
		_, err := store.ShowDonor(ctx, far, donor)
		_, revealed := store.RevealDonor(ctx, far, donor, registry.RevealForm{Field: "phone", Reason: "call_donor"})
		_, enrolment := store.ShowCase(ctx, far, donor)
		for _, other := range []error{revealed, enrolment} {
			require.Equal(t, err == nil, other == nil, "%v %v", err, other)
		}
		if err != nil {
			requireCode(t, err, registry.NotFound, "donor_not_found")
		}
		return err == nil
	}
	require.False(t, sees(open), "the database lets nothing through before")
	h.share(donor, haidian, at.now().Add(time.Hour))
	require.True(t, sees(h.Store))
	at.pass(time.Hour - time.Second)
	require.True(t, sees(h.Store), "the last second")
	at.pass(2 * time.Second)
	require.False(t, sees(h.Store), "the row policies would still let the row through: the program's clock has it ended")
	require.True(t, sees(open))
	at.pass(-2 * time.Hour)
	h.sql(`UPDATE shares SET until = now() - interval '1 second'`)
	require.False(t, sees(h.Store), "by the program's clock it runs, and the database's has it ended")
	require.False(t, sees(open))
	at.pass(time.Hour)

	// Sharing again takes the place of what was shared, and ending one ends it at once.
	first := h.share(donor, haidian, at.now().Add(time.Hour))
	second := h.share(donor, haidian, at.now().Add(2*time.Hour))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM shares WHERE ended_at IS NULL AND until > now()`))
	require.True(t, sees(h.Store))
	require.NoError(t, h.Store.EndShare(ctx, h.Coordinator, donor, first.ID), "what has ended ends again")
	require.True(t, sees(h.Store))
	requireCode(t, h.Store.EndShare(ctx, h.Coordinator, h.donor(2), second.ID), registry.NotFound, "share_not_found")
	for range 2 {
		require.NoError(t, h.Store.EndShare(ctx, h.Coordinator, donor, second.ID))
		require.False(t, sees(h.Store))
		require.False(t, sees(open))
	}
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'donor.share_ended' AND organisation_id = $1`, haidian.ID), "told once, of what was ended early")

	// Who answers for the donor reads all of it, page by page; the other office what is its own, as long as it reads the donor at all.
	chaoyang := h.redCross("朝阳区红十字会", "110105")
	h.share(donor, chaoyang, at.now().Add(time.Hour))
	var all []registry.ShareView
	for after := uuid.Nil; ; after = all[len(all)-1].ID {
		page, err := h.Store.ListShares(ctx, h.Coordinator, donor, after, 1)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
	}
	require.Len(t, all, 4)
	require.Equal(t, second.ID, all[2].ID)
	require.NotNil(t, all[2].EndedAt)
	require.Nil(t, all[3].EndedAt)
	h.share(donor, haidian, at.now().Add(time.Hour))
	own, err := h.Store.ListShares(ctx, far, donor, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, own, 4)
	for _, s := range own {
		require.Equal(t, haidian.ID, s.Organisation)
	}
	seen, err := h.Store.ListShares(ctx, h.Registrar, donor, uuid.Nil, 0)
	require.NoError(t, err)
	require.Empty(t, seen, "a registrar shares nobody")
	// With the role goes what it was good for.
	require.NoError(t, h.Store.RevokeRole(ctx, registry.Operator("test"), "far", policy.Coordinator, "110108"))
	_, err = h.Store.ShowDonor(ctx, far, donor)
	requireCode(t, err, registry.NotFound, "donor_not_found")
}

// What stands against sharing tells nobody where the patient is.
func TestADonorIsNotSharedWithThePatientsSideNorIsItToldWhoThatIs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.listed(gl)[0]
	search := h.search(h.TransplantDoctor, "")
	caseID := h.request(h.TransplantDoctor, search.ID, donor)[0]
	try := func(with uuid.UUID) error {
		_, err := h.Store.ShareDonor(ctx, h.Coordinator, donor, registry.ShareForm{Organisation: with, Reason: "moved", Until: time.Now().Add(time.Hour)})
		return err
	}
	patients := try(h.Transplant.ID)
	requireCode(t, patients, registry.Refused, "share_not_office")
	// A Red Cross office where somebody searches for patients is on nobody's donor's side.
	both := h.redCross("徐汇区红十字会", "310104")
	h.Staff(t, "seeker", both, policy.TransplantHospital, "310104")
	seated := h.redCross("静安区红十字会", "310106")
	h.sql(`INSERT INTO case_parties (case_id, seat, side, organisation_id) VALUES ($1, 'second_opinion', 'patient', $2)`, caseID, seated.ID)
	for who, other := range map[string]uuid.UUID{"another hospital": h.OtherTransplant.ID, "the collection hospital": h.Collection.ID, "a laboratory": h.Laboratory.ID, "a college": h.College.ID,
		"an office that searches": both.ID, "an office at the patient's side of the table": seated.ID} {
		require.Equal(t, patients, try(other), "the answer is the same for all: %s", who)
	}
	h.sql(`UPDATE organisations SET active = false WHERE id = $1`, h.City.ID)
	require.Equal(t, patients, try(h.City.ID), "an office that is closed")
	requireCode(t, try(uuid.New()), registry.NotFound, "organisation_not_found")
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM shares`))

	// Whoever sits down on the patient's side afterwards has lost the donor with that.
	late := h.redCross("长宁区红十字会", "310105")
	coordinator := h.Staff(t, "late", late, policy.Coordinator, "310105")
	require.NoError(t, try(late.ID))
	h.show(coordinator, donor)
	h.sql(`INSERT INTO case_parties (case_id, seat, side, organisation_id) VALUES ($1, 'third_opinion', 'patient', $2)`, caseID, late.ID)
	for _, store := range []*registry.Store{h.Store, func() *registry.Store { s := h.open(registry.Options{}); s.WithoutPolicy(); return s }()} {
		_, err := store.ShowDonor(ctx, coordinator, donor)
		requireCode(t, err, registry.NotFound, "donor_not_found")
	}
}

func TestADonorIsSharedByWhoAnswersForThemAndNotForever(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	haidian := h.redCross("海淀区红十字会", "110108")
	donors := h.listed(gl, gl)
	donor, waited := donors[0], donors[1]
	form := registry.ShareForm{Organisation: haidian.ID, Reason: "moved", Until: time.Now().Add(time.Hour)}
	sharers := map[string]registry.Actor{"county": h.Staff(t, "county", h.County, policy.CountyOffice, "320106"), "city": h.Staff(t, "city", h.City, policy.CityOffice, "320100"),
		"province": h.Staff(t, "province", h.City, policy.ProvincialOffice, "320000"), "coordinator": h.Coordinator, "city coordinator": h.CityCoordinator}
	for who, by := range sharers {
		_, err := h.Store.ShareDonor(ctx, by, donor, form)
		require.NoError(t, err, who)
	}
	for who, by := range h.everybody() {
		if by == h.Coordinator || by == h.CityCoordinator {
			continue
		}
		_, err := h.Store.ShareDonor(ctx, by, donor, form)
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(err), "%s: %v", who, err)
	}
	today := time.Now().In(registry.Zone)
	end := time.Date(today.Year(), today.Month(), today.Day()+91, 0, 0, 0, 0, registry.Zone)
	for _, c := range []struct {
		spoil       func(*registry.ShareForm)
		code, field string
	}{
		{func(f *registry.ShareForm) { f.Until = time.Now().Add(-time.Second) }, "R139", "until"},
		{func(f *registry.ShareForm) { f.Until = time.Time{} }, "R101", "until"},
		{func(f *registry.ShareForm) { f.Reason = "curious" }, "R114", "reason"},
		{func(f *registry.ShareForm) { f.Organisation = uuid.Nil }, "R101", "organisation"},
	} {
		bad := form
		c.spoil(&bad)
		_, err := h.Store.ShareDonor(ctx, h.Coordinator, donor, bad)
		requireProblem(t, err, c.code, c.field)
	}
	form.Until = end
	_, err := h.Store.ShareDonor(ctx, h.Coordinator, donor, form)
	require.NoError(t, err, "to the end of the ninetieth day")
	form.Until = end.Add(time.Second)
	_, err = h.Store.ShareDonor(ctx, h.Coordinator, donor, form)
	requireCode(t, err, registry.Refused, "share_too_long")
	form.Until = time.Now().Add(time.Hour)
	_, err = h.Store.Withdraw(ctx, h.Registrar, donor, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	_, err = h.Store.ShareDonor(ctx, h.Coordinator, donor, form)
	requireCode(t, err, registry.Refused, "donor_gone")
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM shares WHERE ended_at IS NULL`), "what was shared ends with the consent")
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'donor.share_ended'`))
	// A donor whom a patient waits for has still to be called.
	h.request(h.TransplantDoctor, h.search(h.TransplantDoctor, "").ID, waited)
	h.share(waited, haidian, form.Until)
	_, err = h.Store.Withdraw(ctx, h.Registrar, waited, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM shares WHERE ended_at IS NULL`))
}

// Two at once share with the same office: one share is in force.
func TestOfTwoSharesAtOnceOneIsInForce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	haidian, donor := h.redCross("海淀区红十字会", "110108"), h.donor(1)
	var todo []func() error
	for range 8 {
		todo = append(todo, func() error {
			_, err := h.Store.ShareDonor(context.Background(), h.Coordinator, donor, registry.ShareForm{Organisation: haidian.ID, Reason: "moved", Until: time.Now().Add(time.Hour)})
			return err
		})
	}
	for _, err := range atOnce(todo...) {
		require.NoError(t, err)
	}
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM shares WHERE ended_at IS NULL`))
	require.Equal(t, 8, value[int](h, `SELECT count(*)::int FROM shares`))
}

func TestAnOrganisationServesItsAreasFromTheNextActOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	opo := h.Staff(t, "opo", h.Collection, policy.OPOCoordinator, "320102")
	beside := h.Staff(t, "beside", h.Transplant, policy.OPOCoordinator, "310104")
	donor := h.donor(1)
	other := h.open(registry.Options{})
	open := h.open(registry.Options{})
	open.WithoutPolicy()
	session, err := h.Store.SignIn(ctx, "opo", "correct horse battery", registry.BearerSession, time.Hour, registry.From{})
	require.NoError(t, err)
	version := int64(1)
	serve := func(regions ...identity.Region) {
		t.Helper()
		o, err := h.Store.SetServiceAreas(ctx, h.Security, h.Collection.ID, version, registry.ServiceAreaForm{Regions: append([]identity.Region{}, regions...)})
		require.NoError(t, err)
		require.Equal(t, append([]identity.Region{}, regions...), o.Serves)
		version = o.Version
	}
	sees := func(want bool, when string) {
		t.Helper()
		for _, store := range []*registry.Store{h.Store, other} {
			caller, err := store.Authenticate(ctx, session.Token) // as the API recognises them
			require.NoError(t, err)
			v, err := store.ShowDonor(ctx, caller.Actor, donor)
			list, listErr := store.ListDonors(ctx, caller.Actor, registry.DonorFilter{})
			found, findErr := store.FindDonor(ctx, caller.Actor, registry.FindForm{DocumentNumber: seal.NumberOf(residentNumber(1))})
			if !want {
				requireCode(t, err, registry.NotFound, "donor_not_found", when)
				require.Empty(t, list, when)
				require.Empty(t, found, when)
				continue
			}
			require.NoError(t, err, when)
			require.Equal(t, "张*明", v.Identity.Name.Display)
			require.NotNil(t, v.Contact)
			require.Nil(t, v.HLA)
			require.Empty(t, v.Specimens)
			for _, list := range [][]registry.DonorLine{list, found} {
				require.Len(t, list, 1, when)
				require.Equal(t, "张*明", list[0].Name.Display)
			}
			require.NoError(t, listErr)
			require.NoError(t, findErr)
		}
		_, err := open.ShowDonor(ctx, opo, donor)
		require.Equal(t, want, err == nil, "the database alone, %s: %v", when, err)
		_, err = h.Store.ShowDonor(ctx, beside, donor)
		requireCode(t, err, registry.NotFound, "donor_not_found", "another organisation", when)
	}
	sees(false, "before")
	serve("320102", "321000")
	sees(false, "of other areas")
	serve("320100", "321000")
	sees(true, "of its city")
	_, err = h.Store.Withdraw(ctx, opo, donor, 0, registry.WithdrawForm{Via: "phone"})
	requireCode(t, err, registry.Denied, "denied", "reading is all")
	serve("321000")
	sees(false, "taken away")
	serve("320106")
	sees(true, "of its county")
	// Who works elsewhere from now on serves what is served there.
	_, err = h.Store.ChangeStaff(ctx, h.Administrator, opo.Staff(), value[int64](h, `SELECT version FROM staff WHERE login = 'opo'`), registry.StaffChange{Organisation: h.City.ID})
	require.NoError(t, err)
	sees(false, "at another organisation")
	_, err = h.Store.ChangeStaff(ctx, h.Administrator, opo.Staff(), value[int64](h, `SELECT version FROM staff WHERE login = 'opo'`), registry.StaffChange{Organisation: h.Collection.ID})
	require.NoError(t, err)
	sees(true, "back again")
	// Colleagues whose role serves nobody see nobody by it, and the database lets nothing through to them.
	_, err = h.Store.ShowDonor(ctx, h.CollectionDoctor, donor)
	requireCode(t, err, registry.NotFound, "donor_not_found")
	_, err = open.ShowDonor(ctx, h.CollectionDoctor, donor)
	requireCode(t, err, registry.NotFound, "donor_not_found")
	serve()
	sees(false, "no more")

	// The audit has what was before and after; what changes nothing changes no version.
	require.Equal(t, []string{"before= after=320102,321000", "before=320102,321000 after=320100,321000", "before=320100,321000 after=321000", "before=321000 after=320106", "before=320106 after="},
		values[string](h, `SELECT fields FROM audit WHERE act = 'SetServiceAreas' AND allowed ORDER BY recorded_at, id`))
	before := version
	serve()
	require.Equal(t, before, version)
}

func TestServiceAreasAreGivenByWhoGivesThereAndReadByEverybody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	set := func(by registry.Actor, version int64, regions ...identity.Region) error {
		_, err := h.Store.SetServiceAreas(ctx, by, h.Collection.ID, version, registry.ServiceAreaForm{Regions: append([]identity.Region{}, regions...)})
		return err
	}
	for who, by := range h.everybody() {
		if by != h.Security && by != system {
			err := set(by, 0, "320106")
			require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(err), "%s: %v", who, err)
		}
	}
	local := h.Staff(t, "local", h.City, policy.SecurityAdministrator, "320100")
	require.NoError(t, set(local, 1, "320106", "320102"))
	requireCode(t, set(local, 2, "320106", "310104"), registry.Denied, "area_not_held", "an area elsewhere")
	requireCode(t, set(local, 2, "320000"), registry.Denied, "area_not_held", "more than their own region")
	require.NoError(t, set(h.Security, 2, "320106", "310104"))
	requireCode(t, set(local, 3, "320106"), registry.Denied, "area_not_held", "what is elsewhere is not theirs to take")
	require.NoError(t, set(local, 3, "310104", "320102"), "and stays where they do not touch it")
	requireCode(t, set(h.Security, 3, "320106"), registry.Stale, "organisation_changed")
	requireProblem(t, set(h.Security, 4, "320106", "320106"), "R114", "regions")
	requireProblem(t, set(h.Security, 4, "nowhere"), "R118", "regions[0]")
	_, empty := h.Store.SetServiceAreas(ctx, h.Security, h.Collection.ID, 4, registry.ServiceAreaForm{})
	requireProblem(t, empty, "R101", "regions")
	_, err := h.Store.SetServiceAreas(ctx, h.Security, uuid.New(), 1, registry.ServiceAreaForm{Regions: []identity.Region{}})
	requireCode(t, err, registry.NotFound, "organisation_not_found")
	list, err := h.Store.ListOrganisations(ctx, h.Registrar, "", uuid.Nil, 0)
	require.NoError(t, err)
	for _, o := range list {
		want := []identity.Region{}
		if o.ID == h.Collection.ID {
			want = []identity.Region{"310104", "320102"}
			require.EqualValues(t, 4, o.Version)
		}
		require.Equal(t, want, o.Serves)
	}
	// Somebody who works there hears of their own area's notices, and of no other's.
	opo := h.Staff(t, "opo", h.Collection, policy.OPOCoordinator, "320102")
	for region, n := range map[string]int{"310104": 1, "320102": 2, "110108": 4} {
		for range n {
			h.sql(`INSERT INTO notices (id, code, role, region, dedupe, at, args) VALUES ($1, 'care.alert', 'opo_coordinator', $2, $3, now(), '{}')`, uuid.Must(uuid.NewV7()), region, uuid.NewString())
		}
	}
	notices, err := h.Store.ListNotices(ctx, opo, false, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, notices, 3)
}

// team puts people into a drive's team, and nobody else.
func (h *house) team(drive uuid.UUID, members ...registry.Actor) registry.DriveView {
	h.t.Helper()
	ctx := context.Background()
	d, err := h.Store.ShowDrive(ctx, h.Registrar, drive)
	require.NoError(h.t, err)
	team := []forms.TeamMember{}
	for _, m := range members {
		team = append(team, forms.TeamMember{Staff: m.Staff(), Duty: "volunteer"})
	}
	d, err = h.Store.SetTeam(ctx, h.Registrar, drive, d.Version, registry.TeamForm{Team: team})
	require.NoError(h.t, err)
	require.Len(h.t, d.Team, len(members))
	return d
}

func TestAMemberOfADrivesTeamWorksAtThatDriveUntilItsTubesHaveLeft(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	haidian := h.redCross("海淀区红十字会", "110108")
	station, registrar := h.Staff(t, "station", haidian, policy.Station, "110108"), h.Staff(t, "farregistrar", haidian, policy.Registrar, "110108")
	colleague, doctor := h.Staff(t, "colleague", haidian, policy.Registrar, "110108"), h.OtherDoctor
	drive, second := h.drive(), h.drive()
	donor, away := h.sampled(drive, 1)[0], h.sampled(second, 2)[0]
	csv := "姓名,证件号码,手机号\n"
	batch, err := h.Store.UploadBatch(ctx, h.Registrar, registry.Upload{Drive: drive.ID, FileName: "a.csv", Data: []byte(csv + "李小红," + residentNumber(9) + ",13800000009\n")})
	require.NoError(t, err)
	open := h.open(registry.Options{})
	open.WithoutPolicy()

	works := func(by registry.Actor, want bool, when string) {
		t.Helper()
		ask := map[string]func(*registry.Store) error{
			"drive":   func(s *registry.Store) error { _, err := s.ShowDrive(ctx, by, drive.ID); return err },
			"batches": func(s *registry.Store) error { _, err := s.ListBatches(ctx, by, drive.ID); return err },
			"batch":   func(s *registry.Store) error { _, err := s.ShowBatch(ctx, by, batch.ID); return err },
			"rows": func(s *registry.Store) error {
				_, err := s.ListRows(ctx, by, batch.ID, registry.RowFilter{WithCells: true})
				return err
			},
			"donor":    func(s *registry.Store) error { _, err := s.ShowDonor(ctx, by, donor); return err },
			"upload":   func(s *registry.Store) error { return upload(ctx, s, by, drive.ID, csv) },
			"register": func(s *registry.Store) error { return register(ctx, s, by, drive.ID) },
		}
		for what, do := range ask {
			err := do(h.Store)
			if !want {
				no := registry.NotFound
				if what == "register" {
					no = registry.Denied // that forms are entered is no secret
				}
				require.Equal(t, no, registry.KindOf(err), "%s %s: %v", what, when, err)
				continue
			}
			require.NoError(t, err, "%s %s", what, when)
		}
		for _, what := range []string{"drive", "batch", "donor"} {
			err := ask[what](open)
			require.Equal(t, want, err == nil, "%s in the database alone, %s: %v", what, when, err)
		}
		listed, err := h.Store.ListDrives(ctx, by, uuid.Nil, 0)
		if by != doctor {
			require.NoError(t, err)
			require.Equal(t, want, len(listed) == 1 && listed[0].ID == drive.ID, "%s: %v", when, listed)
		}
	}
	everybody := []registry.Actor{station, registrar, colleague}
	for _, by := range everybody {
		works(by, false, "before")
	}
	h.team(drive.ID, station, registrar, doctor)
	works(station, true, "in the team")
	works(registrar, true, "in the team")
	works(colleague, false, "a colleague who is not")
	works(doctor, false, "a role that has no part in drives")

	// What they see and do, and what they do not.
	d, err := h.Store.ShowDrive(ctx, station, drive.ID)
	require.NoError(t, err)
	near, err := h.Store.ShowDrive(ctx, h.Registrar, drive.ID)
	require.NoError(t, err)
	require.Equal(t, near, d, "its counts are the same for all who work at it")
	require.Positive(t, d.Tubes)
	v := h.show(station, donor)
	require.Equal(t, 2000, v.Demographics.BirthYear)
	require.Nil(t, v.Identity)
	require.Nil(t, v.Contact)
	require.Nil(t, v.HLA)
	require.Empty(t, v.Consents)
	require.Empty(t, v.Specimens)
	for who, ask := range map[string]func() error{
		"a donor of another drive": func() error { _, err := h.Store.ShowDonor(ctx, registrar, away); return err },
		"another drive":            func() error { _, err := h.Store.ShowDrive(ctx, registrar, second.ID); return err },
	} {
		require.Equal(t, registry.NotFound, registry.KindOf(ask()), who)
	}
	for who, ask := range map[string]func() error{
		"to commit": func() error {
			_, err := h.Store.StartCommit(ctx, registrar, batch.ID, 0, registry.CommitForm{})
			return err
		},
		"to send": func() error {
			_, err := h.Store.SendTubes(ctx, registrar, drive.ID, registry.SendForm{To: h.Laboratory.ID})
			return err
		},
		"to choose the team": func() error {
			_, err := h.Store.SetTeam(ctx, registrar, drive.ID, d.Version, registry.TeamForm{Team: []forms.TeamMember{}})
			return err
		},
		"to withdraw": func() error {
			_, err := h.Store.Withdraw(ctx, registrar, donor, 0, registry.WithdrawForm{Via: "phone"})
			return err
		},
		"to see in clear": func() error {
			_, err := h.Store.RevealDonor(ctx, registrar, donor, registry.RevealForm{Field: "name", Reason: "verify_identity"})
			return err
		},
	} {
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(ask()), who)
	}
	require.Positive(t, value[int](h, `SELECT count(*)::int FROM audit WHERE relation = 'team' AND act = 'UploadBatch' AND allowed`))
	notices, err := h.Store.ListNotices(ctx, station, false, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, notices, 1)
	require.Equal(t, drive.ID.String(), notices[0].Args["Drive"])
	require.NoError(t, h.Store.ReadNotice(ctx, station, notices[0].ID))

	h.team(drive.ID, registrar)
	works(station, false, "who left the team")
	works(registrar, true, "who stayed")
	for status, at := range map[string]bool{"planned": true, "open": true, "closed": true, "sent": false, "reported": false, "cancelled": false} {
		h.sql(`UPDATE drives SET status = $2 WHERE id = $1`, drive.ID, status)
		works(registrar, at, status)
	}
	h.sql(`UPDATE drives SET status = 'sent' WHERE id = $1`, drive.ID)
	_, err = h.Store.SetTeam(ctx, h.Registrar, drive.ID, value[int64](h, `SELECT version FROM drives WHERE id = $1`, drive.ID), registry.TeamForm{Team: []forms.TeamMember{}})
	requireCode(t, err, registry.Refused, "drive_over")
}

// upload brings one sheet to a drive, another each time.
func upload(ctx context.Context, s *registry.Store, by registry.Actor, drive uuid.UUID, heading string) error {
	_, err := s.UploadBatch(ctx, by, registry.Upload{Drive: drive, FileName: "b.csv", Data: []byte(heading + uuid.NewString() + ",,\n")})
	return err
}

// register enters a form at a drive that says too little: whether somebody may is decided before that.
func register(ctx context.Context, s *registry.Store, by registry.Actor, drive uuid.UUID) error {
	_, err := s.Register(ctx, by, uuid.NewString(), registry.EntryForm{Drive: drive, Forms: []forms.Registration{{}}})
	return err
}

func TestATeamIsSetByWhoRunsTheDriveAtTheVersionTheyRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	drive := h.drive()
	member := forms.TeamMember{Staff: h.Second.Staff(), Duty: "phlebotomist"}
	set := func(by registry.Actor, version int64, team ...forms.TeamMember) error {
		_, err := h.Store.SetTeam(ctx, by, drive.ID, version, registry.TeamForm{Team: append([]forms.TeamMember{}, team...)})
		return err
	}
	for who, by := range h.everybody() {
		if by == h.Registrar || by == system {
			continue
		}
		err := set(by, drive.Version, member)
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(err), "%s: %v", who, err)
	}
	require.NoError(t, set(h.Registrar, drive.Version, member, forms.TeamMember{Staff: h.Second.Staff(), Duty: "courier"}, member))
	requireCode(t, set(h.Registrar, drive.Version), registry.Stale, "drive_changed")
	d, err := h.Store.ShowDrive(ctx, h.Registrar, drive.ID)
	require.NoError(t, err)
	require.Equal(t, []registry.TeamLine{{Staff: h.Second.Staff(), Duty: "courier"}, {Staff: h.Second.Staff(), Duty: "phlebotomist"}}, d.Team)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'drive.team'`), "told once")
	require.Equal(t, "joined="+h.Second.Staff().String()+" left=", value[string](h, `SELECT fields FROM audit WHERE act = 'SetTeam' AND allowed`))
	_, err = h.Store.SetTeam(ctx, h.Registrar, drive.ID, d.Version, registry.TeamForm{})
	requireProblem(t, err, "R101", "team")
	requireCode(t, set(h.Registrar, d.Version, forms.TeamMember{Staff: uuid.New(), Duty: "courier"}), registry.NotFound, "staff_not_found")
	requireProblem(t, set(h.Registrar, d.Version, forms.TeamMember{Staff: h.Second.Staff(), Duty: "cook"}), "R114", "team[0].duty")
	// A drive may be planned with its team, and with none of a person who is not there.
	plan := forms.Drive{Name: "春季采样", Place: "礼堂", Region: "320106", FirstDay: signed(), LastDay: signed(), Team: []forms.TeamMember{member}}
	planned, err := h.Store.PlanDrive(ctx, h.Registrar, plan)
	require.NoError(t, err)
	require.Equal(t, []registry.TeamLine{{Staff: h.Second.Staff(), Duty: "phlebotomist"}}, planned.Team)
	plan.Team[0].Staff = uuid.New()
	_, err = h.Store.PlanDrive(ctx, h.Registrar, plan)
	requireCode(t, err, registry.NotFound, "staff_not_found")
}
