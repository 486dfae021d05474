package registry_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
)

func (h *house) looks(by registry.Actor, donor uuid.UUID, f registry.LookFilter) []registry.Look {
	h.t.Helper()
	list, err := h.Store.WhoLooked(context.Background(), by, donor, f)
	require.NoError(h.t, err)
	return list
}

func find(looks []registry.Look, act string) *registry.Look {
	for i, l := range looks {
		if l.Act == act {
			return &looks[i]
		}
	}
	return nil
}

// Somebody who asks who saw their data is answered from the audit: looks at the record, at lists that it was on, and refused ones.
func TestWhoLookedAtADonorIsTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor, other := h.donor(1), h.donor(2)
	h.show(h.Coordinator, donor)
	_, err := h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Class: policy.Contact, Reason: "call_donor"})
	require.NoError(t, err)
	_, err = h.Store.RevealDonor(ctx, h.Registrar, donor, registry.RevealForm{Class: policy.Contact, Reason: "correct_entry"})
	refused := err != nil
	_, err = h.Store.ListDonors(ctx, h.Registrar, registry.DonorFilter{Status: "nothing_has_it"})
	require.NoError(t, err)
	listed, err := h.Store.ListDonors(ctx, h.Registrar, registry.DonorFilter{})
	require.NoError(t, err)
	require.Len(t, listed, 2)
	_, err = h.Store.ShowDonor(ctx, h.OtherDoctor, donor)
	require.Equal(t, registry.NotFound, registry.KindOf(err))
	h.show(h.Coordinator, other)

	for who, reader := range map[string]registry.Actor{"coordinator": h.Coordinator, "auditor": h.Auditor, "operator": system} {
		audits := who != "coordinator"
		looks := h.looks(reader, donor, registry.LookFilter{Limit: 200})
		show := find(looks, "ShowDonor")
		reveal, list := find(looks, "RevealDonor"), find(looks, "ListDonors")
		require.NotNil(t, list, who)
		require.True(t, list.List)
		require.Empty(t, list.Fields)
		require.Equal(t, []uuid.UUID{donor}, list.Donors)
		require.Equal(t, policy.Find, list.Action)
		require.NotEmpty(t, list.Role, "a list too rests on a rule")
		lists := 0
		for _, l := range looks {
			if l.Act == "ListDonors" {
				lists++
			}
			require.Equal(t, []uuid.UUID{donor}, l.Donors, "%+v", l)
		}
		require.Equal(t, 1, lists, "on the other list the donor was not")
		require.NotNil(t, show)
		require.True(t, show.Refused, "the newest of them is the doctor's, who was refused: %+v", show)
		require.Empty(t, show.Role)
		if audits {
			require.Equal(t, h.OtherTransplant.Name, show.Organisation)
			require.NotEmpty(t, show.Staff)
			require.NotEmpty(t, list.Staff)
		} else {
			require.Empty(t, show.Organisation, "a hospital of the patient's side has no name for the donor's")
			require.Empty(t, list.Staff)
		}
		require.Equal(t, policy.Contact, reveal.Class)
		require.Equal(t, refused, reveal.Refused)
		require.NotEmpty(t, reveal.Reason)
		require.NotEmpty(t, reveal.Organisation)
		require.False(t, reveal.List)
	}
	// To ask is a look as well.
	h.looks(h.Auditor, donor, registry.LookFilter{})
	own := find(h.looks(h.Auditor, donor, registry.LookFilter{}), "WhoLooked")
	require.NotNil(t, own)
	require.Equal(t, policy.Audit, own.Class)
	require.Equal(t, policy.ForAudit, own.Purpose)

	// Page by page it is the same.
	before := registry.LookFilter{Limit: 200}
	whole := h.looks(h.Coordinator, donor, before)
	first := whole[0]
	f := registry.LookFilter{Limit: 3, Before: first.At, BeforeID: first.ID}
	paged := whole[:1:1]
	for {
		page := h.looks(h.Coordinator, donor, f)
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		f.Before, f.BeforeID = page[len(page)-1].At, page[len(page)-1].ID
	}
	require.Equal(t, whole, paged)

	for who, actor := range map[string]registry.Actor{"technician": h.Technician, "transplant doctor": h.TransplantDoctor, "administrator": h.Administrator, "security": h.Security,
		"a coordinator elsewhere": h.Staff(t, "elsewhere", h.OtherTransplant, policy.Coordinator, "110000"), "an auditor elsewhere": h.Staff(t, "farauditor", h.OtherTransplant, policy.Auditor, "110000")} {
		_, err := h.Store.WhoLooked(ctx, actor, donor, registry.LookFilter{})
		require.Equal(t, registry.NotFound, registry.KindOf(err), "%s: %v", who, err)
	}
	require.Equal(t, 6, value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'WhoLooked' AND NOT allowed`))
	_, err = h.Store.WhoLooked(ctx, h.Auditor, uuid.New(), registry.LookFilter{})
	require.Equal(t, registry.NotFound, registry.KindOf(err))
}

func TestWhoLookedIsToldForAllOfAPersonsRegistrations(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	donor := h.donor(1)
	// A second registration of the same person, as another programme's form makes it.
	second := uuid.New()
	h.sql(`INSERT INTO registrations SELECT (jsonb_populate_record(r, jsonb_build_object('id', $2::uuid, 'number', 'second', 'programme', 'blood'))).* FROM registrations r WHERE id = $1`, donor, second)
	h.show(h.Coordinator, second)
	require.Nil(t, find(h.looks(h.Coordinator, donor, registry.LookFilter{}), "ShowDonor"))
	look := find(h.looks(h.Coordinator, donor, registry.LookFilter{WholePerson: true}), "ShowDonor")
	require.NotNil(t, look)
	require.Equal(t, []uuid.UUID{second}, look.Donors)
}

// The patient's side looks at donors as candidates. The donor's side learns that, and not which hospital it was.
func TestALookAtACandidateDoesNotNameTheHospital(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.listed(gl)[0]
	search := h.search(h.TransplantDoctor, "")
	candidates, err := h.Store.ListCandidates(ctx, h.TransplantDoctor, search.ID, registry.CandidateFilter{})
	require.NoError(t, err)
	require.Len(t, candidates, 1)
	look := find(h.looks(h.Coordinator, donor, registry.LookFilter{Limit: 200}), "ListCandidates")
	require.NotNil(t, look)
	require.True(t, look.List)
	require.Equal(t, "transplant_hospital", look.Role)
	require.Empty(t, look.Organisation)
	told, err := json.Marshal(h.looks(h.Coordinator, donor, registry.LookFilter{Limit: 200}))
	require.NoError(t, err)
	require.NotContains(t, string(told), h.Transplant.Name)
	require.NotContains(t, string(told), h.Transplant.ID.String())
	require.Equal(t, h.Transplant.Name, find(h.looks(h.Auditor, donor, registry.LookFilter{Limit: 200}), "ListCandidates").Organisation)
}

// What somebody looked for is in the audit as a keyed digest: the same for the same value, and never the value.
func TestWhatAListWasSearchedByIsInTheAuditAsADigest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.donor(1)
	number := h.show(h.Coordinator, donor).Number
	filtersOf := func(f registry.DonorFilter) string {
		_, err := h.Store.ListDonors(ctx, h.Registrar, f)
		require.NoError(t, err)
		return value[string](h, `SELECT fields FROM audit WHERE act = 'ListDonors' ORDER BY recorded_at DESC, id DESC LIMIT 1`)
	}
	require.Empty(t, filtersOf(registry.DonorFilter{}))
	found := filtersOf(registry.DonorFilter{Number: number, Status: "registered", Programme: "stemcell"})
	require.Regexp(t, `^programme=stemcell status=registered number#[0-9a-f]{16}$`, found)
	require.Equal(t, found, filtersOf(registry.DonorFilter{Number: number, Status: "registered", Programme: "stemcell"}))
	require.NotEqual(t, found, filtersOf(registry.DonorFilter{Number: "13800138000", Status: "registered", Programme: "stemcell"}))
	require.Regexp(t, `^status#[0-9a-f]{16} barcode#[0-9a-f]{16}$`, filtersOf(registry.DonorFilter{Barcode: "NJ-0001", Status: "张伟"}), "what is no word of ours is not written down as it is")
	all := strings.Join(values[string](h, `SELECT to_jsonb(a)::text FROM audit a`), "\n")
	for _, text := range []string{number, "13800138000", "NJ-0001", "张伟"} {
		require.NotContains(t, all, text)
	}
	lines, err := h.Store.ListAudit(ctx, h.Auditor, registry.AuditFilter{Actor: h.Registrar.Subject(), Limit: 200})
	require.NoError(t, err)
	require.Equal(t, value[string](h, `SELECT fields FROM audit WHERE act = 'ListDonors' ORDER BY recorded_at DESC, id DESC LIMIT 1`), lines[0].Fields)
	require.Equal(t, "actor="+h.Registrar.Subject(), value[string](h, `SELECT fields FROM audit WHERE act = 'ListAudit'`))
}
