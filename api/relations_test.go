package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
)

// A donor is shared with an office far away, which finds them by its notice, and ended again; a retry shares once.
func TestADonorIsSharedOverTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	donor := "/v1/donors/" + w.volunteers(drive.ID, 1)[0].String()
	haidian := read[registry.Organisation](w.send(w.Administrator, http.MethodPost, "/v1/organisations", map[string]any{"kind": "red_cross", "name": "海淀区红十字会", "region": "110108"}).is(201))
	far := w.staff("far", haidian, policy.Coordinator, "110108")
	w.send(far, http.MethodGet, donor, nil).problem(404, "donor_not_found")

	form := map[string]any{"organisation": haidian.ID, "reason": "confirmatory_sample", "until": w.clock().Add(time.Hour)}
	w.send(far, http.MethodPost, donor+"/shares", form).problem(404, "donor_not_found")
	key := uuid.NewString()
	share := read[registry.ShareView](w.send(w.Coordinator, http.MethodPost, donor+"/shares", form, "Idempotency-Key", key).is(201))
	again := w.send(w.Coordinator, http.MethodPost, donor+"/shares", form, "Idempotency-Key", key).is(201)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, share, read[registry.ShareView](again))
	require.Equal(t, 1, w.count(`SELECT count(*) FROM shares`))

	notices := read[api.PageBody[registry.NoticeView]](w.send(far, http.MethodGet, "/v1/notices", nil).is(200)).Items
	require.Len(t, notices, 1)
	require.Equal(t, "donor.shared", notices[0].Code)
	v := read[registry.DonorView](w.send(far, http.MethodGet, "/v1/donors/"+notices[0].Args["Donor"].(string), nil).is(200))
	require.NotEmpty(t, v.Identity.Name.Reveal)
	require.Equal(t, 1, len(read[api.PageBody[registry.ShareView]](w.send(far, http.MethodGet, donor+"/shares", nil).is(200)).Items))
	w.send(w.Coordinator, http.MethodPost, donor+"/shares", map[string]any{"organisation": w.Transplant.ID, "reason": "moved", "until": w.clock().Add(time.Hour)}).problem(409, "share_not_office")
	form["until"] = w.clock().AddDate(1, 0, 0)
	require.Contains(t, w.send(w.Coordinator, http.MethodPost, donor+"/shares", form, "Accept-Language", "en").problem(409, "share_too_long").Detail, "at most 90 days")

	w.send(far, http.MethodDelete, donor+"/shares/"+share.ID.String(), nil).problem(403, "denied")
	for range 2 {
		w.send(w.Coordinator, http.MethodDelete, donor+"/shares/"+share.ID.String(), nil).is(204)
		w.send(far, http.MethodGet, donor, nil).problem(404, "donor_not_found")
	}
	require.Len(t, read[api.PageBody[registry.NoticeView]](w.send(far, http.MethodGet, "/v1/notices", nil).is(200)).Items, 2)
}

// What an organisation serves is changed at the version that was read, and holds for the next request of a session that is open.
func TestServiceAreasAreChangedOverTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	donor := "/v1/donors/" + w.volunteers(drive.ID, 1)[0].String()
	opo := w.staff("opo", w.Collection, policy.OPOCoordinator, "320102")
	areas := "/v1/organisations/" + w.Collection.ID.String() + "/service-areas"
	set := func(version string, regions ...identity.Region) answer {
		return w.send(w.Security, http.MethodPut, areas, map[string]any{"regions": append([]identity.Region{}, regions...)}, "If-Match", version)
	}
	w.send(opo, http.MethodGet, donor, nil).problem(404, "donor_not_found")
	w.send(w.Security, http.MethodPut, areas, map[string]any{"regions": []string{}}).problem(428, "if_match_required")
	first := set(`"1"`, "320100").is(200)
	require.Equal(t, `"2"`, first.header.Get("ETag"))
	require.Equal(t, []identity.Region{"320100"}, read[registry.Organisation](first).Serves)
	require.True(t, read[registry.DonorView](w.send(opo, http.MethodGet, donor, nil).is(200)).Identity.Name.Masked)
	set(`"1"`).problem(412, "organisation_changed")
	set(`"2"`).is(200)
	w.send(opo, http.MethodGet, donor, nil).problem(404, "donor_not_found")
}

// Somebody of another office joins a drive's team, sends a sheet in and leaves.
func TestADrivesTeamIsSetOverTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.drive("秋季采样")
	drive, _ := w.drive("冬季采样")
	member := w.staff("member", w.OtherTransplant, policy.Station, "110108")
	path := "/v1/drives/" + drive.ID.String()
	set := func(version string, team ...any) answer {
		return w.send(w.Registrar, http.MethodPut, path+"/team", map[string]any{"team": append([]any{}, team...)}, "If-Match", version)
	}
	w.send(member, http.MethodGet, path, nil).problem(404, "drive_not_found")
	d := read[registry.DriveView](set(`"1"`, map[string]any{"staff": member.Staff(), "duty": "volunteer"}).is(200))
	require.Len(t, d.Team, 1)
	require.Len(t, read[api.PageBody[registry.DriveView]](w.send(member, http.MethodGet, "/v1/drives", nil).is(200)).Items, 1)
	w.send(member, http.MethodPost, "/v1/import-batches?file_name=x.csv&drive="+drive.ID.String(), csvOf(w.volunteer(5)), "Content-Type", "text/csv").is(201)
	set(`"1"`).problem(412, "drive_changed")
	set(`"2"`).is(200)
	w.send(member, http.MethodGet, path, nil).problem(404, "drive_not_found")
}
