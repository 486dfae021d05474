package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
)

func TestWhileEmergencyAccessRunsEveryAnswerSaysUntilWhen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	far := w.staff("far", w.OtherTransplant, policy.Coordinator, "110108")
	drive, _ := w.drive("秋季采样")
	donor := w.volunteers(drive.ID, 1)[0]
	var number string
	require.NoError(t, w.db.QueryRow(t.Context(), `SELECT number FROM registrations WHERE id = $1`, donor).Scan(&number))
	path := "/v1/donors/" + donor.String()
	until := func(a answer) string { return a.header.Get("X-Emergency-Until") }
	w.send(far, http.MethodGet, path, nil).is(404)
	form := map[string]any{"number": number, "classes": []string{"identity", "contact"}, "category": "patient_in_danger", "reason": "患者病情突变，须立即联系捐献者"}
	short := map[string]any{"number": number, "classes": []string{"identity"}, "category": "other", "reason": "急"}
	w.send(far, http.MethodPost, "/v1/donors/emergency", short).is(422)
	require.Empty(t, until(w.send(w.Registrar, http.MethodPost, "/v1/donors/emergency", form).is(403)))

	opened := w.send(far, http.MethodPost, "/v1/donors/emergency", form).is(201)
	lease := read[registry.EmergencyView](opened)
	require.Equal(t, "您的上级和捐献者所在地将收到通知。", lease.Told)
	require.NotContains(t, string(opened.body), "病情突变")
	want := lease.Until.UTC().Format(time.RFC3339)
	v := read[registry.DonorView](w.send(far, http.MethodGet, path, nil).is(200))
	reveal := map[string]any{"reason": "call_donor"}
	for what, a := range map[string]answer{
		"opening": opened, "showing": w.send(far, http.MethodGet, path, nil).is(200), "something else": w.send(far, http.MethodGet, "/v1/notices", nil).is(200),
		"what is not there": w.send(far, http.MethodGet, "/v1/donors/"+lease.ID.String(), nil).is(404), "revealing": w.send(far, http.MethodPost, v.Contact.Phone.Reveal, reveal).is(200),
	} {
		require.Equal(t, want, until(a), what)
	}
	require.Empty(t, until(w.send(w.Coordinator, http.MethodGet, path, nil).is(200)), "it is nobody else's")
	require.Len(t, read[api.PageBody[registry.EmergencyView]](w.send(far, http.MethodGet, "/v1/emergencies?status=open&mine=true", nil).is(200)).Items, 1)

	// It ends at its instant, though the page stays open.
	past := w.clock().Add(3*time.Hour + time.Second)
	w.now.Store(&past)
	ended := w.send(far, http.MethodGet, path, nil).is(404)
	require.Empty(t, until(ended))
	w.send(far, http.MethodPost, v.Contact.Phone.Reveal, reveal).is(404)
	w.now.Store(nil)
	w.exec(`UPDATE emergency_access SET until = now() - interval '1 second'`)
	require.Empty(t, until(w.send(far, http.MethodGet, path, nil).is(404)))

	// What is given back ends with the answer.
	again := read[registry.EmergencyView](w.send(far, http.MethodPost, "/v1/donors/emergency", form).is(201))
	require.Empty(t, until(w.send(far, http.MethodDelete, "/v1/emergencies/"+again.ID.String(), nil).is(204)))
	require.Empty(t, until(w.send(far, http.MethodGet, path, nil).is(404)))

	// And it is reviewed, by somebody else.
	office := w.staff("nanjing", w.City, policy.CityOffice, "320100")
	words := read[registry.EmergencyWords](w.send(office, http.MethodPost, "/v1/emergencies/"+lease.ID.String()+"/reveal", nil).is(200))
	require.Equal(t, form["reason"], words.Reason)
	w.send(far, http.MethodPost, "/v1/emergencies/"+lease.ID.String()+"/review", map[string]any{"verdict": "justified"}).is(404)
	w.send(office, http.MethodPost, "/v1/emergencies/"+lease.ID.String()+"/review", map[string]any{"verdict": "justified"}).is(200)
	w.send(office, http.MethodPost, "/v1/emergencies/"+lease.ID.String()+"/review", map[string]any{"verdict": "justified"}).is(409)
}

func TestARevealNeedsAReasonAndADaysBrakeSaysWhenToComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	both := w.volunteers(drive.ID, 2)
	one, other := both[0], both[1]
	path := "/v1/donors/" + one.String()
	v := read[registry.DonorView](w.send(w.Coordinator, http.MethodGet, path, nil).is(200))
	require.Equal(t, path+"/reveal?field=phone", v.Contact.Phone.Reveal)
	w.send(w.Coordinator, http.MethodPost, v.Contact.Phone.Reveal, map[string]any{}).is(422)
	w.send(w.Coordinator, http.MethodPost, v.Contact.Phone.Reveal, map[string]any{"reason": "other"}).is(422)
	w.send(w.Coordinator, http.MethodPost, path+"/reveal", map[string]any{"reason": "call_donor"}).is(422)
	out := read[registry.Revealed](w.send(w.Coordinator, http.MethodPost, v.Contact.Phone.Reveal, map[string]any{"reason": "call_donor"}).is(200))
	require.Equal(t, []string{"phone"}, out.Fields)
	require.WithinDuration(t, w.clock().Add(time.Minute), out.Until, 5*time.Second)
	require.NotEmpty(t, out.Phone)
	require.Empty(t, out.Address)

	w.exec(`INSERT INTO openings (staff_id, day, registration_id) SELECT staff_id, day, gen_random_uuid() FROM openings, generate_series(1, 199)`)
	stopped := w.send(w.Coordinator, http.MethodGet, "/v1/donors/"+other.String(), nil).is(429)
	require.NotEmpty(t, stopped.header.Get("Retry-After"))
	require.Contains(t, string(stopped.body), `"donors_a_day"`)
	require.Contains(t, string(stopped.body), "200")
	w.send(w.Coordinator, http.MethodGet, path, nil).is(200)
}
