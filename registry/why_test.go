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
	"github.com/liferelay/liferelay/registry/lang"
)

// bridge is who holds both sides of a case, for the nation.
func (h *house) bridge() registry.Actor {
	h.t.Helper()
	return h.Staff(h.t, "bridge", h.City, policy.Bridge, "000000")
}

// why asks why a donor is a candidate, in both languages, and gives the English answer and all of it as text.
func (h *house) why(by registry.Actor, search, donor uuid.UUID) (registry.WhyView, string) {
	h.t.Helper()
	var texts [2][]byte
	var out registry.WhyView
	for i, l := range []lang.Locale{lang.Chinese, lang.English} {
		by.Locale = l
		v, err := h.Store.WhyCandidate(context.Background(), by, search, donor)
		require.NoError(h.t, err)
		texts[i], err = json.Marshal(v)
		require.NoError(h.t, err)
		for _, wrong := range []string{"no value", "{{", `"says":"why.`} {
			require.NotContains(h.t, string(texts[i]), wrong)
		}
		out = v
	}
	require.NotEqual(h.t, texts[0], texts[1])
	return out, string(texts[0]) + string(texts[1])
}

func groundsOf(v registry.WhyView) []string {
	out := []string{}
	for _, g := range v.Grounds {
		out = append(out, g.Code)
	}
	return out
}

func TestWhyADonorIsACandidateIsToldToTheirHospitalAndWhyTheyAreNotOnlyToTheBridge(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(glNine, glEight, gl)
	nine, eight, ten := donors[0], donors[1], donors[2]
	search, bridge := h.search(h.TransplantDoctor, "9/10").ID, h.bridge()

	v, text := h.why(h.TransplantDoctor, search, nine)
	require.Equal(t, []any{"candidate", "9/10", true, 9, 9, 10, "why.accepted"}, []any{v.Standing, v.Policy, v.Fits, v.Matched, v.Possible, v.Of, v.Reason.Code})
	require.Equal(t, "The donor fits: at least 9 of 10 copies match, and 1 mismatch is allowed.", v.Reason.Says)
	require.Empty(t, v.Grounds)
	require.Len(t, v.Loci, 5)
	require.Equal(t, []registry.WhyPosition{{Grade: "allele", Letter: "A", Antigen: "same", Patient: "HLA-A*02:01", Donor: "HLA-A*02:01"}, {Grade: "mismatch", Letter: "M", Antigen: "unknown", Patient: "HLA-A*11:01", Donor: "HLA-A*24:02"}}, v.Loci[0].Positions)
	require.Equal(t, []any{1, 1, "HLA-A*24:02"}, []any{v.Loci[0].Matched, v.Loci[0].GvH.Most, v.Loci[0].Donors[1].Text})
	require.NotContains(t, text, "320106")
	require.Equal(t, v.Number, h.show(h.Coordinator, nine).Number)

	// The bridge reads the same, and of whoever is not a candidate what the hospital never hears.
	same, _ := h.why(bridge, search, nine)
	require.Equal(t, v, same)
	v, _ = h.why(bridge, search, eight)
	require.Equal(t, []any{"not_found", false, 8, "why.refused_mismatches"}, []any{v.Standing, v.Fits, v.Matched, v.Reason.Code})
	require.Empty(t, v.Grounds)
	_, err := h.Store.WhyCandidate(ctx, h.TransplantDoctor, search, eight)
	requireCode(t, err, registry.NotFound, "donor_not_found")
	wider := h.search(h.TransplantDoctor, "8/10").ID
	v, _ = h.why(h.TransplantDoctor, wider, eight)
	require.Equal(t, "candidate", v.Standing)
	_, err = h.Store.WhyCandidate(ctx, h.TransplantDoctor, search, eight)
	requireCode(t, err, registry.NotFound, "donor_not_found", "a candidate of another of their searches is none of this one")
	_, err = h.Store.WhyCandidate(ctx, bridge, search, uuid.New())
	requireCode(t, err, registry.NotFound, "donor_not_found")
	// Whoever reads the donor's typings reads nothing of the patient, and learns by no answer whether there is such a search.
	require.NotNil(t, h.show(h.Coordinator, nine))
	everybody := h.everybody()
	everybody["a bridge of another province"] = h.Staff(t, "elsewhere", h.City, policy.Bridge, "110000")
	for who, actor := range everybody {
		if actor == h.TransplantDoctor || actor == system {
			continue
		}
		for _, of := range []uuid.UUID{search, uuid.New()} {
			_, err := h.Store.WhyCandidate(ctx, actor, of, nine)
			requireCode(t, err, registry.NotFound, "search_not_found", who)
		}
	}
	looks := h.looks(h.Coordinator, nine, registry.LookFilter{Limit: 200})
	require.NotNil(t, find(looks, "WhyCandidate"), "who asked is seen on the donor")

	// Somebody else asked for the donor; then the consent is taken back; then the search runs again.
	h.request(h.OtherDoctor, h.search(h.OtherDoctor, "").ID, ten)
	v, _ = h.why(h.TransplantDoctor, search, ten)
	require.Equal(t, []any{"candidate", []string{"why.not_available"}}, []any{v.Standing, groundsOf(v)})
	v, _ = h.why(bridge, search, ten)
	require.Equal(t, []string{"why.reserved"}, groundsOf(v))
	_, err = h.Store.Withdraw(ctx, h.Registrar, nine, 0, registry.WithdrawForm{Via: "phone", Reason: "health"})
	require.NoError(t, err)
	for run, standing := range []string{"candidate", "lost"} {
		if run > 0 {
			_, err = h.Store.RunSearch(ctx, system, search, 2, time.Now())
			require.NoError(t, err)
		}
		v, text = h.why(h.TransplantDoctor, search, nine)
		require.Equal(t, []any{standing, true, 9, []string{"why.not_available"}}, []any{v.Standing, v.Fits, v.Matched, groundsOf(v)})
		require.Equal(t, "mismatch", v.Loci[0].Positions[1].Grade)
		require.Contains(t, text, "HLA-A*11:01", "the patient's own stays")
		for _, secret := range []string{"24:02", "withdrawn", "撤回", "health", `"donors"`} {
			require.NotContains(t, text, secret, standing)
		}
		v, text = h.why(bridge, search, nine)
		require.Equal(t, []string{"why.not_listed"}, groundsOf(v))
		require.Equal(t, "The donor is not on the list: withdrawn.", v.Grounds[0].Says)
		require.Contains(t, text, "HLA-A*24:02")
	}
}

func TestWhatTheReleaseSaysOfADonorIsNotToldWithTheGradesAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.load(registry.ReferenceRelease, "", releaseFiles("3.57.0", "A*24:02", "C*07:02"))
	donor := h.listed(glNine)[0]
	search := h.search(h.TransplantDoctor, "").ID
	v, text := h.why(h.TransplantDoctor, search, donor)
	require.Equal(t, "3.57.0", v.Release)
	require.NotEmpty(t, v.Loci[0].Donors[1].Groups)
	require.Contains(t, text, "24:02")
	h.sql(`UPDATE link.candidates SET change = 'lost'`)
	v, text = h.why(h.TransplantDoctor, search, donor)
	require.NotContains(t, text, "24:02")
	require.Equal(t, []string{"why.next_run"}, groundsOf(v))
	for _, l := range v.Loci {
		require.Empty(t, l.Donors)
		require.NotEmpty(t, l.Patients)
		for _, s := range l.Steps {
			require.NotEqual(t, "donor", s.Args["Person"], s.Code)
		}
	}

	// Who fits and was not compared yet; whose typing says something else now; who has none.
	bridge := h.bridge()
	h.sql(`DELETE FROM link.candidates`)
	v, _ = h.why(bridge, search, donor)
	require.Equal(t, []any{"not_found", true, []string{"why.next_run"}}, []any{v.Standing, v.Fits, groundsOf(v)})
	h.sql(`UPDATE typings SET gl_string = $1`, "HLA-A*99:99"+rest())
	v, _ = h.why(bridge, search, donor)
	require.Equal(t, []string{"why.typing_unread"}, groundsOf(v))
	h.sql(`UPDATE typings SET gl_string = $1`, glEight)
	h.sql(`INSERT INTO link.candidates (search_id, registration_id, run, rank, matched, possible, of, grades, change) SELECT $1, id, 1, 1, 9, 9, 10, '[]', 'same' FROM registrations`, search)
	v, _ = h.why(h.TransplantDoctor, search, donor)
	require.Equal(t, []any{"candidate", false, []string{"why.fits_no_more"}}, []any{v.Standing, v.Fits, groundsOf(v)})
	h.sql(`UPDATE typings SET current = false`)
	v, _ = h.why(bridge, search, donor)
	require.Equal(t, []any{"why.refused_untyped", []string{"why.no_typing", "why.fits_no_more"}}, []any{v.Reason.Code, groundsOf(v)})
	require.Equal(t, "untyped", v.Loci[0].Positions[0].Grade)
	h.sql(`UPDATE patients SET gl_string = ''`)
	v, _ = h.why(bridge, search, donor)
	require.Equal(t, "untyped", v.Loci[0].Positions[0].Grade)
}

func TestASearchIsOpenedUnderEveryPolicyThatTheEngineKnowsAndNoOther(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	patient := h.patient(h.TransplantDoctor).ID
	for name, accepted := range map[string]bool{"6/10": true, "8/8": true, "4/8": true, "2/6": true, "5/10": false, "12/12": false, "13/12": false, "x": false} {
		_, err := h.Store.OpenSearch(context.Background(), h.TransplantDoctor, registry.SearchForm{Patient: patient, Policy: name})
		switch {
		case accepted:
			require.NoError(t, err, name)
		case name == "12/12":
			requireProblem(t, err, "R143", "patient") // no DPB1
		default:
			requireProblem(t, err, "R114", "policy")
		}
	}
}
