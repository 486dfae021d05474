// Package faults breaks the program while it works: processes end with kill -9, PostgreSQL and Temporal go away and come
// back, facts are delivered twice, two ask for the same at once. What every test asks for is the same: no effect is lost,
// and none happens twice.
package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
)

const gl = "HLA-A*02:01+HLA-A*11:01^HLA-C*01:02+HLA-C*08:01^HLA-B*15:02+HLA-B*46:01^HLA-DRB1*09:01+HLA-DRB1*12:02^HLA-DQB1*03:01+HLA-DQB1*03:03"

func today() calendar.Date { return calendar.Of(time.Now(), registry.Zone) }

// drive plans a drive whose volunteers' cooling-off has passed.
func drive(h *house, barcodeFrom, barcodeTo string) uuid.UUID {
	h.t.Helper()
	day := today().AddDays(-12)
	d, err := h.Store.PlanDrive(context.Background(), h.Registrar, forms.Drive{
		Name: "秋季采样", Place: "体育馆", Region: "320106", Laboratory: h.Laboratory.ID, FirstDay: day, LastDay: day, Target: 100, BarcodeFrom: barcodeFrom, BarcodeTo: barcodeTo,
	})
	require.NoError(h.t, err)
	return d.ID
}

// volunteer is a consent form as the API takes it; n makes it another person's.
func volunteer(n int, barcode string) map[string]any {
	return map[string]any{
		"name": "张拟明", "document_number": residentNumber(n), "phone": fmt.Sprintf("1380000%04d", n), "programmes": []string{"stemcell"}, "health_answered": true,
		"signed": true, "signed_on": today().AddDays(-12), "on_paper": true, "barcode": barcode,
		"contacts": []map[string]any{{"name": "张拟大", "phone": "13900000002"}, {"name": "李拟红", "phone": "13900000003"}},
	}
}

// residentNumber makes a valid identity number of somebody born in 2000.
func residentNumber(n int) string {
	body := fmt.Sprintf("32010620000101%03d", n)
	weights, sum := []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}, 0
	for i, w := range weights {
		sum += int(body[i]-'0') * w
	}
	return body + string("10X98765432"[sum%11])
}

// typed registers n volunteers, those from a number on, and has their samples typed: to list them is the protocols' work.
func typed(h *house, from, n int) (donors []uuid.UUID) {
	h.t.Helper()
	ctx := context.Background()
	d := drive(h, "TB000001", "TB009999")
	var list []any
	var reports []forms.TypingReport
	for i := from; i < from+n; i++ {
		barcode := fmt.Sprintf("TB%06d", i)
		list = append(list, volunteer(i, barcode))
		reports = append(reports, forms.TypingReport{Barcode: barcode, GL: gl, Nomenclature: "3.57.0", Method: "NGS", TypedOn: today()})
	}
	body, err := json.Marshal(map[string]any{"drive": d, "accept_warnings": true, "forms": list})
	require.NoError(h.t, err)
	var form registry.EntryForm
	require.NoError(h.t, json.Unmarshal(body, &form))
	entries, err := h.Store.Register(ctx, h.Registrar, uuid.NewString(), form)
	require.NoError(h.t, err)
	for _, e := range entries {
		require.Equal(h.t, "created", e.Status, "%+v", e.Problems)
		donors = append(donors, e.Donors[0].ID)
	}
	box, err := h.Store.SendTubes(ctx, h.Registrar, d, registry.SendForm{To: h.Laboratory.ID})
	require.NoError(h.t, err)
	_, err = h.Store.ReceiveTubes(ctx, h.Technician, box.ID, 0, registry.ReceiveForm{})
	require.NoError(h.t, err)
	results, err := h.Store.ReportTypings(ctx, h.Technician, reports)
	require.NoError(h.t, err)
	for _, r := range results {
		require.Equal(h.t, "accepted", r.Status, r.Code)
	}
	return donors
}

// listed waits until n volunteers are on the list.
func listed(h *house, n int) {
	h.t.Helper()
	h.eventually(time.Minute, "the donors are listed", func() bool {
		return read[int](h, `SELECT count(*) FROM registrations WHERE status = 'listed'`) == n
	})
}

// searching opens a search for a patient whom the donors fit.
func searching(h *house, by registry.Actor) uuid.UUID {
	h.t.Helper()
	ctx := context.Background()
	patient, err := h.Store.AddPatient(ctx, by, forms.Patient{BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: gl, Nomenclature: "3.57.0", ConsentOn: today()})
	require.NoError(h.t, err)
	s, err := h.Store.OpenSearch(ctx, by, registry.SearchForm{Patient: patient.ID})
	require.NoError(h.t, err)
	return s.ID
}

// requested lets a hospital ask for a donor, and returns the donor's case.
func requested(h *house, hospital *person, search, donor uuid.UUID) uuid.UUID {
	h.t.Helper()
	hospital.insist(answering(hospital.task("search.choice", search), map[string]any{"outcome": "request", "donors": []uuid.UUID{donor}})).good(h.t, nil)
	return read[uuid.UUID](h, `SELECT case_id FROM link.requests WHERE search_id = $1`, search)
}

// story is what happens to a register in an ordinary week: volunteers come on the list, a hospital asks for one, and the
// case takes its first steps.
func story(h *house, at *process) {
	h.t.Helper()
	donors := typed(h, 1, 12)
	listed(h, len(donors))
	id := requested(h, h.signIn(at, "transplant"), searching(h, h.TransplantDoctor), donors[0])
	coordinator := h.signIn(at, "coordinator")
	for _, turn := range []struct {
		step string
		form map[string]any
	}{
		{"stemcell.remobilisation", map[string]any{"outcome": "willing"}},
		{"stemcell.sample_booking", map[string]any{"outcome": "booked", "hospital": h.Collection.ID, "laboratory": h.Laboratory.ID, "on": today().AddDays(1)}},
	} {
		coordinator.insist(answering(coordinator.task(turn.step, id), turn.form)).good(h.t, nil)
	}
	h.signIn(at, "doctor").task("stemcell.confirmatory_sample", id)
	delivered(h)
	quiet(h)
}

// delivered waits until no fact waits in the outbox.
func delivered(h *house) {
	h.t.Helper()
	h.eventually(time.Minute, "every fact is delivered", func() bool {
		return read[int](h, `SELECT count(*) FROM outbox WHERE delivered_at IS NULL`) == 0
	})
}

// quiet waits until no protocol has anything under way.
func quiet(h *house) {
	h.t.Helper()
	ctx := context.Background()
	still := 0
	h.eventually(time.Minute, "the protocols rest", func() bool {
		still++
		list, err := h.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: 1000, Query: `ExecutionStatus = 'Running'`})
		require.NoError(h.t, err)
		for _, e := range list.GetExecutions() {
			d, err := h.temporal.DescribeWorkflowExecution(ctx, e.GetExecution().GetWorkflowId(), e.GetExecution().GetRunId())
			require.NoError(h.t, err)
			if d.GetPendingWorkflowTask() != nil || len(d.GetPendingActivities()) > 0 || d.GetWorkflowExecutionInfo().GetHistoryLength() < 4 {
				still = 0
			}
		}
		return still == 4
	})
}

// ledger counts what a register holds, by what it is and where it stands. Two registers to which the same happened have
// the same ledger.
func ledger(h *house) map[string]int {
	h.t.Helper()
	return counts(h, `
		SELECT 'persons', count(*) FROM persons
		UNION ALL SELECT 'documents', count(*) FROM person_documents
		UNION ALL SELECT concat_ws(' ', 'registrations', programme, status, 'version', version), count(*) FROM registrations GROUP BY programme, status, version
		UNION ALL SELECT concat_ws(' ', 'consents', kind, text_version), count(*) FROM consents GROUP BY kind, text_version
		UNION ALL SELECT concat_ws(' ', 'specimens', kind, status, 'version', version), count(*) FROM specimens GROUP BY kind, status, version
		UNION ALL SELECT 'typings', count(*) FROM typings
		UNION ALL SELECT concat_ws(' ', 'cases', protocol, status, step, ending, 'version', version), count(*) FROM cases GROUP BY protocol, status, step, ending, version
		UNION ALL SELECT concat_ws(' ', 'tasks', step, status), count(*) FROM tasks GROUP BY step, status
		UNION ALL SELECT concat_ws(' ', 'answers', status), count(*) FROM answers GROUP BY status
		UNION ALL SELECT concat_ws(' ', 'events', code), count(*) FROM events GROUP BY code
		UNION ALL SELECT concat_ws(' ', 'notices', code), count(*) FROM notices GROUP BY code
		UNION ALL SELECT concat_ws(' ', 'reservations', CASE WHEN released_at IS NULL THEN 'open' ELSE 'released' END), count(*) FROM reservations GROUP BY released_at IS NULL
		UNION ALL SELECT concat_ws(' ', 'facts', kind, payload->>'fact'), sum(cardinality(targets)) FROM outbox GROUP BY kind, payload->>'fact'
		UNION ALL SELECT concat_ws(' ', 'rows', outcome), count(*) FROM batch_rows GROUP BY outcome
		UNION ALL SELECT concat_ws(' ', 'batches', status, outcomes), count(*) FROM batches GROUP BY status, outcomes`)
}

// decisions counts the audited decisions about what people do. What a protocol does is audited too, and a protocol may
// look, or ask, as often as it likes: the ledger tells what came of it. So may the import, which looks for the next rows
// (ImportChunk) before it takes them (CommitRows).
func decisions(h *house) map[string]int {
	h.t.Helper()
	return counts(h, `SELECT concat_ws(' ', act, action, class, allowed), count(*) FROM audit WHERE actor LIKE 'staff:%' AND act !~ '^(Show|List|ImportChunk)' GROUP BY 1`)
}

func counts(h *house, query string) map[string]int {
	h.t.Helper()
	rows, err := h.sql.Query(context.Background(), query)
	require.NoError(h.t, err)
	out := map[string]int{}
	var name string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		out[name] += n
		return nil
	})
	require.NoError(h.t, err)
	return out
}
