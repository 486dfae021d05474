package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/workflows"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

const gl = "HLA-A*02:01+HLA-A*11:01^HLA-C*01:02+HLA-C*08:01^HLA-B*15:02+HLA-B*46:01^HLA-DRB1*09:01+HLA-DRB1*12:02^HLA-DQB1*03:01+HLA-DQB1*03:03"

// newDesk makes a world whose protocols are carried.
func newDesk(t *testing.T) (*world, *workflowstest.Desk) {
	t.Helper()
	queue := "test-" + uuid.NewString()
	client, err := workflows.Dial(workflows.Options{Address: workflowstest.TemporalAddress(t), Keys: registrytest.Keys(), TaskQueue: queue, Log: registrytest.Log(t)})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	w := newWorld(t, client)
	d := &workflowstest.Desk{House: w.House, T: t, Client: client, Queue: queue}
	d.StartWorker()
	d.StartRelay()
	t.Cleanup(d.StopWorker)
	t.Cleanup(d.StopRelay)
	return w, d
}

// eventually reads a record until it is as it should be.
func eventually[T any](w *world, by registry.Actor, path string, is func(T) bool) T {
	w.t.Helper()
	var out T
	require.Eventually(w.t, func() bool {
		out = read[T](w.send(by, http.MethodGet, path, nil).is(200))
		return is(out)
	}, 30*time.Second, 25*time.Millisecond, "%s: %+v", path, &out)
	return out
}

// task waits for the open task of a step that somebody may answer.
func (w *world) task(by registry.Actor, step string, in uuid.UUID) registry.TaskView {
	w.t.Helper()
	list := eventually(w, by, "/v1/tasks?step="+step+"&case="+in.String(), func(p api.PageBody[registry.TaskView]) bool { return len(p.Items) == 1 && p.Items[0].Mine })
	one := w.send(by, http.MethodGet, "/v1/tasks/"+list.Items[0].ID.String(), nil).is(200)
	require.Equal(w.t, fmt.Sprintf("%q", fmt.Sprint(list.Items[0].Version)), one.header.Get("ETag"))
	return list.Items[0]
}

func (w *world) answer(by registry.Actor, t registry.TaskView, form map[string]any, headers ...string) answer {
	w.t.Helper()
	return w.send(by, http.MethodPost, "/v1/tasks/"+t.ID.String()+"/answers/"+t.Step, form, append([]string{"If-Match", fmt.Sprintf("%q", fmt.Sprint(t.Version))}, headers...)...)
}

func (w *world) day(n int) string {
	return w.clock().In(registry.Zone).AddDate(0, 0, n).Format(time.DateOnly)
}

// listed brings n volunteers from a sheet to the list of donors, all with one typing.
func (w *world) listed(n int) (drive registry.DriveView) {
	w.t.Helper()
	form := w.driveForm("秋季采样")
	form["first_day"], form["last_day"] = w.day(-12), w.day(-12) // the cooling-off has passed since
	drive = read[registry.DriveView](w.send(w.Registrar, http.MethodPost, "/v1/drives", form).is(201))
	var forms []map[string]any
	var typings []map[string]any
	for i := range n {
		f := w.volunteer(i + 1)
		f["signed_on"] = w.day(-12)
		forms = append(forms, f)
		typings = append(typings, map[string]any{"barcode": f["barcode"], "gl": gl, "nomenclature": "3.57.0", "method": "NGS", "typed_on": w.day(0)})
	}
	batch := w.upload(drive.ID, csvOf(forms...))
	path := "/v1/import-batches/" + read[registry.BatchView](batch).ID.String()
	rows := read[api.PageBody[registry.BatchRowView]](w.send(w.Registrar, http.MethodGet, path+"/rows?cells=true&verdict=ready", nil).is(200))
	require.Len(w.t, rows.Items, n)
	ticked := read[registry.BatchRowView](w.send(w.Registrar, http.MethodPatch, path+"/rows/"+fmt.Sprint(rows.Items[0].Row), map[string]any{"ticked": true}).is(200))
	require.True(w.t, ticked.Ticked)
	batch = w.send(w.Registrar, http.MethodGet, path, nil).is(200)
	w.send(w.Registrar, http.MethodPost, path+"/commit", map[string]any{}, ifMatch(batch)...).is(202)
	done := eventually(w, w.Registrar, path, func(b registry.BatchView) bool { return b.Status == "committed" })
	require.Equal(w.t, n, done.Outcomes["created"])
	for name, address := range map[string]string{"result": path + "/result.xlsx", "template": "/v1/drives/" + drive.ID.String() + "/template.xlsx"} {
		a := w.send(w.Registrar, http.MethodGet, address, nil).is(200)
		require.Equal(w.t, `attachment; filename="`+name+`.xlsx"`, a.header.Get("Content-Disposition"))
		book, err := excelize.OpenReader(bytes.NewReader(a.body))
		require.NoError(w.t, err)
		require.NoError(w.t, book.Close())
	}
	box := w.send(w.Registrar, http.MethodPost, "/v1/drives/"+drive.ID.String()+"/consignments", map[string]any{"to": w.Laboratory.ID}).is(201)
	w.send(w.Technician, http.MethodPost, "/v1/consignments/"+read[registry.ConsignmentView](box).ID.String()+"/receive", map[string]any{}, ifMatch(box)...).is(200)
	for _, r := range read[api.TypingResults](w.send(w.Technician, http.MethodPost, "/v1/typings", map[string]any{"typings": typings}).is(200)).Results {
		require.Equal(w.t, "accepted", r.Status, r.Code)
	}
	return eventually(w, w.Registrar, "/v1/drives/"+drive.ID.String(), func(d registry.DriveView) bool { return d.Listed == n })
}

// search enters a patient whom the volunteers fit, and waits for the report.
func (w *world) search() (registry.SearchView, []registry.CandidateView) {
	w.t.Helper()
	patient := read[registry.PatientView](w.send(w.TransplantDoctor, http.MethodPost, "/v1/patients", map[string]any{
		"birth_year": w.clock().Year() - 9, "sex": "female", "diagnosis": "C91.0", "weight_kg": 28, "urgency": "urgent", "gl": gl, "nomenclature": "3.57.0", "consent_on": w.day(0),
	}).is(201))
	w.send(w.TransplantDoctor, http.MethodGet, "/v1/patients/"+patient.ID.String(), nil).is(200)
	s := read[registry.SearchView](w.send(w.TransplantDoctor, http.MethodPost, "/v1/searches", map[string]any{"patient": patient.ID}).is(201))
	w.task(w.TransplantDoctor, "search.choice", s.ID)
	found := read[api.PageBody[registry.CandidateView]](w.send(w.TransplantDoctor, http.MethodGet, "/v1/searches/"+s.ID.String()+"/candidates", nil).is(200))
	return s, found.Items
}

func TestACaseIsCarriedThroughTheAPIFromTheSheetToTheHospitalsChoice(t *testing.T) {
	t.Parallel()
	w, _ := newDesk(t)
	drive := w.listed(3)
	donors := read[api.PageBody[registry.DonorLine]](w.send(w.Coordinator, http.MethodGet, "/v1/donors?status=listed&programme=stemcell&drive="+drive.ID.String(), nil).is(200))
	require.Len(t, donors.Items, 3)
	shown := read[registry.DonorView](w.send(w.Coordinator, http.MethodGet, "/v1/donors/"+donors.Items[0].ID.String(), nil).is(200))
	require.Equal(t, "张*", shown.Identity.Name.Display[:len("张*")])
	require.NotNil(t, shown.HLA)

	search, found := w.search()
	require.Len(t, found, 3)
	choice := w.task(w.TransplantDoctor, "search.choice", search.ID)
	w.answer(w.TransplantDoctor, choice, map[string]any{"outcome": "request", "donors": []uuid.UUID{found[0].ID, found[1].ID}}).is(200)
	requests := read[registry.SearchView](w.send(w.TransplantDoctor, http.MethodGet, "/v1/searches/"+search.ID.String(), nil).is(200)).Requests
	require.Len(t, requests, 2)
	id := requests[0].Case

	// The coordinator calls, and answers once.
	w.send(w.Coordinator, http.MethodPost, "/v1/cases/"+id.String()+"/attempts", map[string]any{"at": time.Now().UTC().Format(time.RFC3339), "channel": "phone", "whom": "donor", "result": "reached"}).is(201)
	call := w.task(w.Coordinator, "stemcell.remobilisation", id)
	w.send(w.Coordinator, http.MethodPost, "/v1/tasks/"+call.ID.String()+"/answers/stemcell.clearance", map[string]any{"outcome": "cleared", "on": w.day(0)}, "If-Match", `"1"`).problem(409, "another_step")
	old := call
	old.Version++
	w.answer(w.Coordinator, old, map[string]any{"outcome": "willing"}).problem(412, "task_changed")
	key := uuid.NewString()
	moved := w.answer(w.Coordinator, call, map[string]any{"outcome": "willing"}, "Idempotency-Key", key).is(200)
	require.Equal(t, "stemcell.sample_booking", read[registry.Moved](moved).Step)
	require.Equal(t, string(moved.body), string(w.answer(w.Coordinator, call, map[string]any{"outcome": "willing"}, "Idempotency-Key", key).is(200).body))
	again := w.answer(w.Coordinator, call, map[string]any{"outcome": "declines", "reason": "work"})
	require.Contains(t, []int{409, 412}, again.status, "a closed task was answered: %s", again.body)

	// The case's version is what a step is opened again with.
	now := w.send(w.Coordinator, http.MethodGet, "/v1/cases/"+id.String(), nil).is(200)
	require.Equal(t, moved.header.Get("ETag"), now.header.Get("ETag"))
	reopen := map[string]any{"step": "stemcell.remobilisation", "reason": "wrong_entry"}
	w.send(w.Coordinator, http.MethodPost, "/v1/cases/"+id.String()+"/reopen", reopen, "If-Match", `"1"`).problem(412, "case_changed")
	w.send(w.Coordinator, http.MethodPost, "/v1/cases/"+id.String()+"/reopen", map[string]any{"step": "stemcell.infusion", "reason": "wrong_entry"}, ifMatch(now)...).problem(409, "step_not_done")
	opened := w.send(w.Coordinator, http.MethodPost, "/v1/cases/"+id.String()+"/reopen", reopen, ifMatch(now)...).is(200)
	require.Equal(t, "stemcell.remobilisation", read[registry.Moved](opened).Step)

	// Each side of the table sees its own, and who the donor is stays with the donor's.
	ours := read[registry.CaseView](w.send(w.Coordinator, http.MethodGet, "/v1/cases/"+id.String(), nil).is(200))
	require.NotEmpty(t, ours.Timeline)
	for _, e := range ours.Timeline {
		require.NotContains(t, e.Text, "event.", "an event without a sentence")
	}
	w.blind(search.ID, id, donors.Items)

	notices := read[api.PageBody[registry.NoticeView]](w.send(w.Coordinator, http.MethodGet, "/v1/notices?unread=true", nil).is(200))
	require.NotEmpty(t, notices.Items)
	w.send(w.Coordinator, http.MethodPost, "/v1/notices/"+notices.Items[0].ID.String()+"/read", nil).is(204)
	require.Len(t, read[api.PageBody[registry.NoticeView]](w.send(w.Coordinator, http.MethodGet, "/v1/notices?unread=true", nil).is(200)).Items, len(notices.Items)-1)

	closing := w.send(w.TransplantDoctor, http.MethodGet, "/v1/searches/"+search.ID.String(), nil)
	w.send(w.TransplantDoctor, http.MethodPost, "/v1/searches/"+search.ID.String()+"/close", map[string]any{"reason": "related_donor"}, ifMatch(closing)...).is(200)
	eventually(w, w.Coordinator, "/v1/cases/"+id.String(), func(c registry.CaseView) bool { return c.Status == "ended" })
	require.True(t, read[registry.AuditReport](w.send(w.Auditor, http.MethodPost, "/v1/audit/verify", nil).is(200)).Verified)
}

// blind looks at everything with the patient's side's eyes: no answer tells who a donor is or where.
func (w *world) blind(search, id uuid.UUID, donors []registry.DonorLine) {
	w.t.Helper()
	paths := []string{
		"/v1/session", "/v1/searches/" + search.String(), "/v1/searches/" + search.String() + "/candidates", "/v1/cases/" + id.String(), "/v1/cases", "/v1/tasks", "/v1/notices", "/v1/donors",
		"/v1/drives", "/v1/consignments", "/v1/audit", "/v1/organisations",
	}
	for _, d := range donors {
		paths = append(paths, "/v1/donors/"+d.ID.String())
	}
	var all strings.Builder
	for _, path := range paths {
		all.Write(w.send(w.TransplantDoctor, http.MethodGet, path, nil).body)
	}
	for _, d := range donors {
		for _, class := range []string{"identity", "contact"} {
			a := w.send(w.TransplantDoctor, http.MethodPost, "/v1/donors/"+d.ID.String()+"/reveal", map[string]any{"class": class, "reason": "correct_entry"})
			require.Contains(w.t, []int{403, 404}, a.status)
			all.Write(a.body)
		}
	}
	for _, private := range []string{"张", "3201062000", "1380000000", "NJ26", "秋季采样", w.Coordinator.Name, w.Registrar.Subject()} {
		require.NotContains(w.t, all.String(), private)
	}
}

// An answer that finds nobody at the desk is kept: its sender is told so and types nothing twice.
func TestAnAnswerIsKeptWhileTheDeskIsAway(t *testing.T) {
	t.Parallel()
	w, d := newDesk(t)
	plan := w.driveForm("秋季采样")
	plan["first_day"], plan["last_day"] = w.day(-2), w.day(-2)
	drive := read[registry.DriveView](w.send(w.Registrar, http.MethodPost, "/v1/drives", plan).is(201))
	closing := w.task(w.Registrar, "drive.closing", drive.ID)
	d.StopRelay() // or it would bring the answer to the desk before its sender does
	d.StopWorker()
	key := uuid.NewString()
	form := map[string]any{"outcome": "closed", "forms": 0, "tubes": 0, "consents": 0}
	a := w.answer(w.Registrar, closing, form, "Idempotency-Key", key)
	a.problem(503, "answer_kept")
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Equal(t, 1, w.count(`SELECT count(*) FROM answers WHERE status = 'pending'`))
	d.StartWorker()
	moved := w.answer(w.Registrar, closing, form, "Idempotency-Key", key).is(200)
	require.Equal(t, drive.ID, read[registry.Moved](moved).CaseID)
	require.Equal(t, 1, w.count(`SELECT count(*) FROM answers`), "the answer was given twice")
}

func TestARowOfTheAuditIsOpenedFromItsList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.send(w.Registrar, http.MethodGet, "/v1/drives", nil).is(http.StatusOK)
	list := read[api.PageBody[registry.AuditLine]](w.send(w.Auditor, http.MethodGet, "/v1/audit?act=ListDrives&role=registrar&kind=drives&limit=1", nil))
	require.Len(t, list.Items, 1)
	line := list.Items[0]
	require.Equal(t, w.Registrar.Subject(), line.Actor)
	path := "/v1/audit/" + line.ID.String() + "?at=" + line.At.Format("2006-01-02T15:04:05.999999Z07:00")
	d := read[registry.AuditDetail](w.send(w.Auditor, http.MethodGet, path, nil))
	require.Equal(t, line.ID, d.ID)
	require.Positive(t, d.Line)
	w.send(w.Registrar, http.MethodGet, path, nil).problem(http.StatusNotFound, "audit_row_not_found")
	w.send(w.Auditor, http.MethodGet, "/v1/audit?preset=night&from=2026-01-01", nil).problem(http.StatusUnprocessableEntity, "audit_window")
}
