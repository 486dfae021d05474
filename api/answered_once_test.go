package api_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/registry"
)

func TestTheSameKeyGivesTheFirstAnswerAndDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("先有的活动")
	w.volunteers(drive.ID, 1)
	for _, c := range []struct {
		what, path string
		by         registry.Actor
		body       any
		status     int
	}{
		{"a drive", "/v1/drives", w.Registrar, w.driveForm("秋季采样"), 201},
		{"an organisation", "/v1/organisations", w.Administrator, map[string]any{"kind": "hospital", "name": "某医院", "region": "320106"}, 201},
		{"a form", "/v1/registrations", w.Registrar, map[string]any{"drive": drive.ID, "forms": []any{w.volunteer(7)}}, 200},
		{"a box", "/v1/drives/" + drive.ID.String() + "/consignments", w.Registrar, map[string]any{"to": w.Laboratory.ID}, 201},
		{"what was refused", "/v1/drives", w.Registrar, map[string]any{"name": "半张表"}, 422},
		{"what stands against it", "/v1/drives/" + drive.ID.String() + "/consignments", w.Registrar, map[string]any{"to": w.Laboratory.ID}, 409},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := *w
			w.t = t
			key := uuid.NewString()
			first := w.send(c.by, http.MethodPost, c.path, c.body, "Idempotency-Key", key).is(c.status)
			require.Empty(t, first.header.Get("Idempotency-Replayed"))
			before := w.count(`SELECT count(*) FROM audit`)
			again := w.send(c.by, http.MethodPost, c.path, c.body, "Idempotency-Key", key).is(c.status)
			require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
			require.Equal(t, string(first.body), string(again.body))
			for _, name := range []string{"ETag", "Content-Type", "Content-Language", "Location", "Cache-Control"} {
				require.Equal(t, first.header.Get(name), again.header.Get(name), name)
			}
			require.NotEqual(t, first.header.Get("X-Request-Id"), again.header.Get("X-Request-Id"))
			require.Equal(t, before, w.count(`SELECT count(*) FROM audit`), "something was decided again")
		})
	}
}

func TestAKeyIsOfOneRequestOfOnePerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	colleague := w.staff("colleague", w.County, "registrar", "320106")
	drive, _ := w.drive("秋季采样")
	donor := "/v1/donors/" + w.volunteers(drive.ID, 1)[0].String() + "/withdraw"
	key := uuid.NewString()
	form := w.driveForm("春季采样")
	w.send(w.Registrar, http.MethodPost, "/v1/drives", form, "Idempotency-Key", key).is(201)
	form["target"] = 101
	w.send(w.Registrar, http.MethodPost, "/v1/drives", form, "Idempotency-Key", key).problem(422, "idempotency_key_reused")
	w.send(w.Registrar, http.MethodPost, donor, map[string]any{"via": "phone"}, "Idempotency-Key", key, "If-Match", `"1"`).problem(422, "idempotency_key_reused")
	w.send(colleague, http.MethodPost, "/v1/drives", form, "Idempotency-Key", key).is(201)
	require.Len(t, read[api.PageBody[registry.DriveView]](w.send(w.Registrar, http.MethodGet, "/v1/drives", nil)).Items, 3)
	// A key of a record at one version is not one of the record at another.
	key = uuid.NewString()
	w.send(w.Registrar, http.MethodPost, donor, map[string]any{"via": "phone"}, "Idempotency-Key", key, "If-Match", `"99"`).problem(412, "donor_changed")
	w.send(w.Registrar, http.MethodPost, donor, map[string]any{"via": "phone"}, "Idempotency-Key", key, "If-Match", `"1"`).problem(422, "idempotency_key_reused")
}

// What was shown then may not be theirs to see now.
func TestAnAnswerIsNotGivenAgainOnceTheGrantsHaveChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	donor := "/v1/donors/" + w.volunteers(drive.ID, 1)[0].String()
	key := uuid.NewString()
	withdraw := func() answer {
		return w.send(w.Registrar, http.MethodPost, donor+"/withdraw", map[string]any{"via": "phone"}, "Idempotency-Key", key, "If-Match", `"1"`)
	}
	first := withdraw()
	first.is(200)
	require.JSONEq(t, string(first.body), string(withdraw().is(200).body))
	w.exec(`UPDATE role_grants SET revoked_at = now() WHERE staff_id = (SELECT id FROM staff WHERE login = 'registrar')`)
	w.send(w.Registrar, http.MethodGet, donor, nil).problem(404, "donor_not_found")
	withdraw().problem(409, "request_was_done")
}

func TestOneRequestSentManyTimesAtOnceIsDoneOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	token := w.token(w.Registrar) // made before others ask for it
	key, form := uuid.NewString(), w.driveForm("秋季采样")
	var all sync.WaitGroup
	answers := make([]answer, 12)
	for i := range answers {
		all.Go(func() {
			for answers[i].status == 0 || answers[i].status == http.StatusConflict { // it is under way
				answers[i] = w.raw(nobody, http.MethodPost, "/v1/drives", form, "Idempotency-Key", key, "Authorization", "Bearer "+token)
			}
		})
	}
	all.Wait()
	for _, a := range answers {
		require.Equal(t, string(answers[0].is(201).body), string(a.is(201).body))
	}
	require.Len(t, read[api.PageBody[registry.DriveView]](w.send(w.Registrar, http.MethodGet, "/v1/drives", nil)).Items, 1)
}

// What failed for a reason that passes may be sent again with its key.
func TestAKeyIsFreeAgainWhenTheServiceWasAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	key := uuid.NewString()
	w.exec(`ALTER TABLE drives RENAME TO drives_away`)
	w.send(w.Registrar, http.MethodPost, "/v1/drives", w.driveForm("秋季采样"), "Idempotency-Key", key).problem(500, "internal")
	w.exec(`ALTER TABLE drives_away RENAME TO drives`)
	w.send(w.Registrar, http.MethodPost, "/v1/drives", w.driveForm("秋季采样"), "Idempotency-Key", key).is(201)
}

// Personal text in clear and fresh tokens are not kept for a repetition, and each time somebody sees them it is written
// down.
func TestWhatIsShownOnceIsNotRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	donor := w.volunteers(drive.ID, 1)[0]
	key := uuid.NewString()
	shown := func() int { return w.count(`SELECT count(*) FROM audit WHERE act = 'RevealDonor' AND allowed`) }
	for n := 1; n <= 2; n++ {
		r := read[registry.Revealed](w.send(w.Coordinator, http.MethodPost, "/v1/donors/"+donor.String()+"/reveal", map[string]any{"class": "contact", "reason": "call_donor"}, "Idempotency-Key", key).is(200))
		require.Equal(t, "+8613800000001", r.Phone)
		require.Equal(t, n, shown(), "it was shown and not written down")
	}
	token := w.token(w.Registrar)
	signIn := map[string]any{"login": "registrar", "password": "correct horse battery", "kind": "bearer"}
	first := read[api.SessionView](w.send(nobody, http.MethodPost, "/v1/session", signIn, "Idempotency-Key", key, "Authorization", "Bearer "+token).is(201))
	second := read[api.SessionView](w.send(nobody, http.MethodPost, "/v1/session", signIn, "Idempotency-Key", key, "Authorization", "Bearer "+token).is(201))
	require.NotEqual(t, first.Token, second.Token)
	require.Zero(t, w.count(`SELECT count(*) FROM idempotency_keys WHERE key = $1`, key))
}

func TestARecordIsChangedOnlyAsItWasRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	donor := "/v1/donors/" + w.volunteers(drive.ID, 2)[0].String()
	box := w.send(w.Registrar, http.MethodPost, "/v1/drives/"+drive.ID.String()+"/consignments", map[string]any{"to": w.Laboratory.ID}).is(201)
	receive := "/v1/consignments/" + read[registry.ConsignmentView](box).ID.String() + "/receive"
	sheet := w.upload(drive.ID, csvOf(w.volunteer(8)))
	batch := "/v1/import-batches/" + read[registry.BatchView](sheet).ID.String()
	for _, c := range []struct {
		what, path string
		by         registry.Actor
		body       any
		read       answer
		stale      string
		status     int
	}{
		{"a donor", donor + "/withdraw", w.Registrar, map[string]any{"via": "phone"}, w.send(w.Registrar, http.MethodGet, donor, nil), "donor_changed", 200},
		{"a box", receive, w.Technician, map[string]any{}, box, "consignment_changed", 200},
		{"a batch that is checked again", batch + "/validate", w.Registrar, map[string]any{}, sheet, "batch_changed", 200},
		{"a batch that is committed", batch + "/commit", w.Registrar, map[string]any{}, w.send(w.Registrar, http.MethodGet, batch, nil), "batch_changed", 202},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := *w
			w.t = t
			tag := c.read.header.Get("ETag")
			if c.what == "a batch that is committed" { // the row before has changed it
				tag = w.send(w.Registrar, http.MethodGet, batch, nil).header.Get("ETag")
			}
			require.Regexp(t, `^"[1-9]\d*"$`, tag)
			w.send(c.by, http.MethodPost, c.path, c.body).problem(428, "if_match_required")
			w.send(c.by, http.MethodPost, c.path, c.body, "If-Match", `"999"`).problem(412, c.stale)
			w.send(c.by, http.MethodPost, c.path, c.body, "If-Match", `"x"`).problem(412, "etag_unknown")
			w.send(c.by, http.MethodPost, c.path, c.body, "If-Match", `"-1"`).problem(412, "etag_unknown")
			done := w.send(c.by, http.MethodPost, c.path, c.body, "If-Match", tag).is(c.status)
			require.NotEqual(t, tag, done.header.Get("ETag"), "what was changed has the version it had")
			if c.what != "a donor" { // who withdraws twice has withdrawn
				w.send(c.by, http.MethodPost, c.path, c.body, "If-Match", tag).problem(412, c.stale)
			}
		})
	}
}

func TestTwoWhoReadTheSameCannotBothChangeIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	w.volunteers(drive.ID, 3)
	box := w.send(w.Registrar, http.MethodPost, "/v1/drives/"+drive.ID.String()+"/consignments", map[string]any{"to": w.Laboratory.ID}).is(201)
	token := w.token(w.Technician)
	path := "/v1/consignments/" + read[registry.ConsignmentView](box).ID.String() + "/receive"
	var all sync.WaitGroup
	statuses := make(chan int, 6)
	for range cap(statuses) {
		all.Go(func() {
			statuses <- w.raw(nobody, http.MethodPost, path, map[string]any{}, "Authorization", "Bearer "+token, "If-Match", box.header.Get("ETag")).status
		})
	}
	all.Wait()
	close(statuses)
	counts := map[int]int{}
	for s := range statuses {
		counts[s]++
	}
	require.Equal(t, map[int]int{200: 1, 412: 5}, counts)
	require.Equal(t, 1, w.count(`SELECT count(*) FROM audit WHERE act = 'ReceiveTubes' AND allowed`), "the lost ones were done too")
}
