package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
)

func TestWhatAPersonAsksIsFiledDecidedAndHandedOverThroughTheAPI(t *testing.T) {
	t.Parallel()
	w, _ := newDesk(t)
	decider := w.staff("office", w.County, policy.CountyOffice, "320106")
	drive, _ := w.drive("秋季采样")
	donor := w.volunteers(drive.ID, 1)[0]
	key := uuid.NewString()
	form := map[string]any{"donor": donor, "kind": "copy", "asker": "person", "via": "counter", "note": "本人到窗口"}
	filed := w.send(w.Registrar, http.MethodPost, "/v1/rights", form, "Idempotency-Key", key).is(201)
	q := read[registry.RightsView](filed)
	require.NotContains(t, string(filed.body), "本人到窗口")
	require.Equal(t, string(filed.body), string(w.send(w.Registrar, http.MethodPost, "/v1/rights", form, "Idempotency-Key", key).is(201).body), "sent again")
	w.send(w.Coordinator, http.MethodPost, "/v1/rights", form).problem(http.StatusConflict, "rights_asked")
	w.send(w.TransplantDoctor, http.MethodPost, "/v1/rights", form).problem(http.StatusNotFound, "donor_not_found")
	path := "/v1/rights/" + q.ID.String()
	w.send(w.TransplantDoctor, http.MethodGet, path, nil).problem(http.StatusNotFound, "request_not_found")
	w.send(decider, http.MethodPost, path+"/copy", nil).problem(http.StatusConflict, "copy_not_granted")

	w.answer(w.Registrar, w.task(w.Registrar, "rights.identity", q.ID), map[string]any{"outcome": "confirmed", "on": w.day(0), "proof": []string{"household_register"}}).problem(http.StatusUnprocessableEntity, "form_invalid")
	w.answer(w.Registrar, w.task(w.Registrar, "rights.identity", q.ID), map[string]any{"outcome": "confirmed", "on": w.day(0), "proof": []string{"identity_document"}}).is(200)
	w.answer(decider, w.task(decider, "rights.decision", q.ID), map[string]any{"outcome": "grant"}).is(200)
	task := w.task(decider, "rights.carrying_out", q.ID)
	w.answer(decider, task, map[string]any{"outcome": "done", "on": w.day(0)}).problem(http.StatusConflict, "copy_not_fetched")
	w.send(w.Registrar, http.MethodPost, path+"/copy", nil).problem(http.StatusForbidden, "denied")

	made := w.send(decider, http.MethodPost, path+"/copy", nil).is(200)
	c := read[registry.RightsCopy](made)
	require.Equal(t, q.Number, c.Request)
	require.Contains(t, string(made.body), "张样安")
	page := w.send(decider, http.MethodPost, path+"/copy.html", nil).is(200)
	require.Equal(t, `attachment; filename="`+q.Number+`.html"`, page.header.Get("Content-Disposition"))
	text := string(page.body)
	for _, has := range []string{"张样安", residentNumber(1), "138000", "张样宁", "谁看过 · Who looked", "Registrations", "GB/T 35273-2020", "鼓楼区红十字会"} {
		require.Contains(t, text, has)
	}
	for _, not := range []string{"<script", "http://", "https://", "no value", "map["} {
		require.NotContains(t, text, not)
	}
	require.Zero(t, w.count(`SELECT count(*) FROM idempotency_keys WHERE route LIKE '%copy%'`), "a copy is kept nowhere but where it expires")
	require.NotEmpty(t, made.header.Get("Cache-Control"))

	w.answer(decider, w.task(decider, "rights.carrying_out", q.ID), map[string]any{"outcome": "done", "on": w.day(0)}).is(200)
	w.answer(w.Registrar, w.task(w.Registrar, "rights.telling", q.ID), map[string]any{"outcome": "told", "on": w.day(0), "channel": "counter"}).is(200)
	v := eventually(w, w.Registrar, path, func(v registry.RightsView) bool { return v.Status == "ended" })
	require.Equal(t, "granted", v.Result)
	w.send(decider, http.MethodPost, path+"/copy", nil).problem(http.StatusConflict, "copy_not_granted")
	list := read[api.PageBody[registry.RightsView]](w.send(w.Registrar, http.MethodGet, "/v1/rights?kind=copy&status=ended&donor="+donor.String(), nil).is(200))
	require.Len(t, list.Items, 1)
	v2 := read[registry.CaseView](w.send(decider, http.MethodGet, "/v1/cases/"+q.ID.String(), nil, "Accept-Language", "en").is(200))
	var told []string
	for _, e := range v2.Timeline {
		told = append(told, e.Text)
	}
	require.Contains(t, strings.Join(told, "\n"), "about personal data: a copy (at the counter)")
	require.Contains(t, strings.Join(told, "\n"), "The case ended: granted")
}

func TestARequestAboutDataIsCheckedLikeAForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	donor := w.volunteers(drive.ID, 1)[0]
	for field, form := range map[string]map[string]any{
		"kind":                       {"donor": donor, "kind": "everything", "asker": "person", "via": "counter"},
		"relation":                   {"donor": donor, "kind": "kin_access", "asker": "relative", "via": "counter"},
		"asker":                      {"donor": donor, "kind": "kin_access", "asker": "person", "via": "counter"},
		"correction":                 {"donor": donor, "kind": "correction", "asker": "person", "via": "counter"},
		"donor":                      {"kind": "copy", "asker": "person", "via": "counter"},
		"correction.evidence":        {"donor": donor, "kind": "correction", "asker": "person", "via": "counter", "correction": map[string]any{"name": "李四光", "evidence": "statement"}},
		"correction.document_number": {"donor": donor, "kind": "correction", "asker": "person", "via": "counter", "correction": map[string]any{"document_number": "320106200001010773", "evidence": "identity_document"}},
	} {
		p := w.send(w.Registrar, http.MethodPost, "/v1/rights", form).problem(http.StatusUnprocessableEntity, "form_invalid")
		require.Equal(t, field, p.Errors[0].Field)
		require.NotContains(t, p.Errors[0].Is+p.Errors[0].Mend, "no value")
	}
	require.Zero(t, w.count(`SELECT count(*) FROM rights_requests`))
}
