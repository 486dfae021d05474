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

// A list, a count and a look-up decide as for a single record: what one role denies no other gives back.
func TestWhatARoleDeniesIsInNoListEither(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.donor(1)
	both := h.Staff(t, "both", h.City, policy.ProvincialOffice, "320000")
	find := func() int {
		list, err := h.Store.FindDonor(ctx, both, registry.FindForm{DocumentKind: identity.ResidentID, DocumentNumber: seal.NumberOf(residentNumber(1))})
		require.NoError(t, err)
		return len(list)
	}
	narrowed := func() int {
		list, err := h.Store.ListDonors(ctx, both, registry.DonorFilter{ContactedBefore: today().AddDays(1)})
		require.NoError(t, err)
		return len(list)
	}
	require.Equal(t, []int{1, 1}, []int{find(), narrowed()})
	_, err := h.Store.GrantRole(ctx, registry.Operator("test"), registry.GrantForm{Login: "both", Role: policy.Bridge, Region: "320106", Until: time.Now().AddDate(1, 0, 0)})
	require.NoError(t, err)
	require.Equal(t, []int{0, 0}, []int{find(), narrowed()}, "in the county that the other role closes")
	list, err := h.Store.ListDonors(ctx, both, registry.DonorFilter{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Nil(t, list[0].Name)
}

func TestWhatIsOnlyStoredIsNotRevealed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.donor(1)
	_, err := h.Store.FileRights(ctx, h.Registrar, forms.RightsRequest{Donor: donor, Kind: "copy", Asker: "person", Via: "counter"})
	require.NoError(t, err)
	h.sql(`UPDATE registrations SET status = 'left' WHERE id = $1`, donor)
	h.sql(`UPDATE cases SET status = 'ended'`)
	h.sql(`INSERT INTO restrictions (person_id, kind, request_id, since) SELECT person_id, 'blocked', id, now() FROM rights_requests`)
	require.Equal(t, "blocked", h.show(h.Coordinator, donor).HeldBack)
	for _, class := range []policy.Class{policy.Identity, policy.Contact} {
		_, err = h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Class: class, Reason: "verify_identity"})
		requireCode(t, err, registry.Refused, "consent_withdrawn")
	}
}

func TestAShareEndsWithTheLastCaseOfWhoHasWithdrawn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	office := h.redCross("海淀区红十字会", "110108")
	far := h.Staff(t, "far", office, policy.Coordinator, "110108")
	donor := h.listed(gl)[0]
	caseID := h.request(h.TransplantDoctor, h.search(h.TransplantDoctor, "").ID, donor)[0]
	h.share(donor, office, time.Now().Add(80*24*time.Hour))
	_, err := h.Store.Withdraw(ctx, h.Registrar, donor, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	_, err = h.Store.ShowDonor(ctx, far, donor)
	require.NoError(t, err, "the case goes on")
	_, err = h.Store.AdvanceCase(ctx, registry.System("test"), registry.Advance{CaseID: caseID, Version: h.version(caseID), At: time.Now(),
		Move: registry.Move{Step: "x", End: true, Ending: "cancelled", Reason: "withdrawn", State: json.RawMessage("{}")}})
	require.NoError(t, err)
	_, err = h.Store.ShowDonor(ctx, far, donor)
	requireCode(t, err, registry.NotFound, "donor_not_found")
}

// Whether an office can be shared with is the same for every donor, and when it stopped is not shown: either would tell where the
// patient is.
func TestSharingDoesNotTellWhereThePatientIs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, gl)
	caseID := h.request(h.TransplantDoctor, h.search(h.TransplantDoctor, "").ID, donors[0])[0]
	late := h.redCross("长宁区红十字会", "310105")
	reader := h.Staff(t, "reader", late, policy.Coordinator, "310105")
	h.share(donors[0], late, time.Now().Add(time.Hour))
	h.share(donors[1], late, time.Now().Add(time.Hour))
	sees := func(donor uuid.UUID) bool {
		_, err := h.Store.ShowDonor(ctx, reader, donor)
		return err == nil
	}
	require.True(t, sees(donors[0]) && sees(donors[1]))
	h.sql(`INSERT INTO case_parties (case_id, seat, side, organisation_id) VALUES ($1, 'third_opinion', 'patient', $2)`, caseID, late.ID)
	require.False(t, sees(donors[0]) || sees(donors[1]), "neither, whoever the patient's donor is")
	shares, err := h.Store.ListShares(ctx, h.Coordinator, donors[0], uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, shares, 1)
	require.Nil(t, shares[0].EndedAt)
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'donor.share_ended'`))
	again := registry.ShareForm{Organisation: late.ID, Reason: "moved", Until: time.Now().Add(time.Hour)}
	h.sql(`UPDATE cases SET status = 'ended' WHERE id = $1`, caseID)
	for _, donor := range donors {
		_, err := h.Store.ShareDonor(ctx, h.Coordinator, donor, again)
		requireCode(t, err, registry.Refused, "share_not_office")
	}
}

func TestAnOfficeThatBeginsToWorkForPatientsReachesNoDonorOfOthers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	operator := registry.Operator("test")
	donors := h.listed(gl, gl)
	for way, begin := range map[string]func(office registry.Organisation){
		"a role is given": func(office registry.Organisation) {
			h.Staff(t, "searcher", office, policy.TransplantHospital, "110108")
		},
		"somebody moves in": func(office registry.Organisation) {
			h.sql(`UPDATE staff SET organisation_id = $1 WHERE login = 'other'`, office.ID)
		},
	} {
		office := h.redCross(way, "110108")
		reader := h.Staff(t, "reader "+way[:3], office, policy.Coordinator, "110108")
		opo := h.Staff(t, "opo "+way[:3], office, policy.OPOCoordinator, "110108")
		h.share(donors[0], office, time.Now().Add(time.Hour))
		_, err := h.Store.SetServiceAreas(ctx, operator, office.ID, 0, registry.ServiceAreaForm{Regions: []identity.Region{"320100"}})
		require.NoError(t, err)
		_, err = h.Store.ShowDonor(ctx, reader, donors[0])
		require.NoError(t, err)
		_, err = h.Store.ShowDonor(ctx, opo, donors[1])
		require.NoError(t, err)
		begin(office)
		_, err = h.Store.ShowDonor(ctx, reader, donors[0])
		requireCode(t, err, registry.NotFound, "donor_not_found", way)
		_, err = h.Store.ShowDonor(ctx, opo, donors[1])
		requireCode(t, err, registry.NotFound, "donor_not_found", way)
		list, err := h.Store.ListDonors(ctx, opo, registry.DonorFilter{})
		require.True(t, err != nil || len(list) == 0, way)
	}
	_, err := h.Store.SetServiceAreas(ctx, operator, h.Transplant.ID, 0, registry.ServiceAreaForm{Regions: []identity.Region{"320100"}})
	requireCode(t, err, registry.Refused, "areas_of_patients_side")
}
