package faults

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/liferelay/liferelay/registry"
)

// asked is a house whose coordinator is asked whether a donor is still willing.
type asked struct {
	*house
	service, worker *process
	coordinator     *person
	question        registry.TaskView
}

func ask(t *testing.T) *asked {
	t.Helper()
	h := newHouse(t)
	a := &asked{house: h, service: h.serve(), worker: h.work()}
	donors := typed(h, 1, 1)
	listed(h, 1)
	id := requested(h, h.signIn(a.service, "transplant"), searching(h, h.TransplantDoctor), donors[0])
	a.coordinator = h.signIn(a.service, "coordinator")
	a.question = a.coordinator.task("stemcell.remobilisation", id)
	return a
}

func (a *asked) willing() request {
	return answering(a.question, map[string]any{"outcome": "willing"})
}

// answers counts the answers to the question that have a status.
func (a *asked) answers(status string) int {
	a.t.Helper()
	return read[int](a.house, `SELECT count(*) FROM answers WHERE task_id = $1 AND status = $2`, a.question.ID, status)
}

// accepted waits until the answer is.
func (a *asked) accepted() {
	a.t.Helper()
	a.eventually(time.Minute, "the answer is accepted", func() bool { return a.answers("accepted") == 1 })
}

// movedOnce requires that the answer has moved the case, and once; and that whoever sends it again is told where to.
func (a *asked) movedOnce(again request) {
	a.t.Helper()
	for range 2 {
		require.Equal(a.t, 1, read[int](a.house, `SELECT count(*) FROM answers WHERE task_id = $1`, a.question.ID), "answers")
		require.Equal(a.t, 1, a.answers("accepted"))
		require.Equal(a.t, 1, read[int](a.house, `SELECT count(*) FROM events WHERE case_id = $1 AND code = 'stemcell.remobilisation.willing'`, a.question.CaseID), "events")
		require.Equal(a.t, 1, read[int](a.house, `SELECT count(*) FROM tasks WHERE case_id = $1 AND status = 'open'`, a.question.CaseID), "open tasks")
		var told registry.Moved
		a.coordinator.insist(again).good(a.t, &told)
		require.Equal(a.t, "stemcell.sample_booking", told.Step)
	}
	a.coordinator.task("stemcell.sample_booking", a.question.CaseID)
}

// requireKept requires the answer that is given while the desk does not answer.
func requireKept(t *testing.T, got answer) {
	t.Helper()
	require.NoError(t, got.err)
	require.Equal(t, http.StatusServiceUnavailable, got.status, "%s", got.body)
	require.Equal(t, "answer_kept", got.code())
	require.NotEmpty(t, got.header.Get("Retry-After"))
}

// health is what the service says of itself.
func (a *asked) health() (status int, state map[string]string) {
	a.t.Helper()
	resp, err := http.Get(a.service.base + "/readyz")
	require.NoError(a.t, err)
	defer func() { _ = resp.Body.Close() }()
	require.NoError(a.t, json.NewDecoder(resp.Body).Decode(&state))
	return resp.StatusCode, state
}

// runs counts the runs of a workflow.
func (h *house) runs(workflow string) int64 {
	h.t.Helper()
	n, err := h.temporal.CountWorkflow(context.Background(), &workflowservice.CountWorkflowExecutionsRequest{Query: `WorkflowId = '` + workflow + `'`})
	require.NoError(h.t, err)
	return n.GetCount()
}

func TestAWorkerKilledWhileItSettlesAnAnswerSettlesItOnceWhenItIsBack(t *testing.T) {
	t.Parallel()
	a := ask(t)
	place := a.hold("answers", "UPDATE", `NEW.status = 'accepted'`)
	willing := a.willing()
	first := a.coordinator.sendLater(willing)
	place.reached(1)
	a.worker.kill()
	place.release()
	require.Equal(t, 1, a.answers("pending"))
	a.worker.start()
	a.accepted()
	if got := <-first; got.status != http.StatusOK { // it may have waited long enough
		requireKept(t, got)
	}
	a.movedOnce(willing)
}

func TestAnswersAndFactsArriveOnceWhenTemporalWasAway(t *testing.T) {
	t.Parallel()
	a := ask(t)
	registrar := a.signIn(a.service, "registrar")
	a.service.temporal.cut()
	a.worker.temporal.cut()

	willing := a.willing()
	requireKept(t, a.coordinator.send(willing))
	a.write(`UPDATE answers SET next_at = now() WHERE status = 'pending'`) // a while later
	const again = "an answer could not be delivered yet"
	a.eventually(30*time.Second, "somebody has tried in vain to deliver the answer", func() bool { return a.service.said(again) || a.worker.said(again) })
	require.Equal(t, 1, a.answers("pending"))
	// A form needs no desk.
	var out struct{ Entries []registry.Entry }
	registrar.send(post("/v1/registrations", map[string]any{"forms": []any{volunteer(2, "")}})).good(t, &out)
	require.Equal(t, "created", out.Entries[0].Status, "%+v", out.Entries[0].Problems)
	enrolment := "enrolment/" + out.Entries[0].Donors[0].ID.String()
	// The service says which of the two is away, and is ready all the same: it takes forms.
	status, state := a.health()
	require.Equal(t, map[string]string{"database": "ok", "desk": "away"}, state)
	require.Equal(t, http.StatusOK, status)
	require.Zero(t, a.runs(enrolment))
	require.Positive(t, read[int](a.house, `SELECT count(*) FROM outbox WHERE delivered_at IS NULL`))

	a.service.temporal.mend()
	a.worker.temporal.mend()
	a.accepted() // though nobody has sent it again
	delivered(a.house)
	a.eventually(30*time.Second, "the enrolment has begun", func() bool { return a.runs(enrolment) > 0 })
	quiet(a.house)
	require.EqualValues(t, 1, a.runs(enrolment))
	a.movedOnce(willing)
	a.eventually(30*time.Second, "the service finds the desk again", func() bool {
		_, state := a.health()
		return state["desk"] == "ok"
	})
}

func TestAFactThatWasRefusedByTemporalIsDeliveredOnceItIsTaken(t *testing.T) {
	t.Parallel()
	h := newHouseWithoutDesk(t)
	service := h.serve()
	var out struct{ Entries []registry.Entry }
	h.signIn(service, "registrar").send(post("/v1/registrations", map[string]any{"forms": []any{volunteer(1, "")}})).good(t, &out)
	require.Equal(t, "created", out.Entries[0].Status, "%+v", out.Entries[0].Problems)
	h.eventually(30*time.Second, "the fact has been refused twice", func() bool {
		return read[int](h, `SELECT count(*) FROM outbox WHERE attempts > 1 AND last_error <> '' AND delivered_at IS NULL`) == 1
	})
	h.setUpDesk()
	h.work()
	delivered(h)
	quiet(h)
	require.EqualValues(t, 1, h.runs("enrolment/"+out.Entries[0].Donors[0].ID.String()))
}

func TestNothingIsLostWhenPostgreSQLWasAwayFromTheWorker(t *testing.T) {
	t.Parallel()
	a := ask(t)
	a.worker.database.cut()
	willing := a.willing()
	first := a.coordinator.sendLater(willing)
	// The local activity gives up soon, and hands over to an ordinary one, whose retries are the server's.
	a.eventually(30*time.Second, "an ordinary activity tries to settle the answer", func() bool {
		d, err := a.temporal.DescribeWorkflowExecution(context.Background(), "stemcell/"+a.question.CaseID.String(), "")
		require.NoError(t, err)
		for _, activity := range d.GetPendingActivities() {
			if activity.GetActivityType().GetName() == "SettleAnswer" && activity.GetAttempt() > 1 {
				return true
			}
		}
		return false
	})
	more := typed(a.house, 2, 3)
	require.Equal(t, 1, a.answers("pending"))
	a.worker.database.mend()
	a.accepted()
	listed(a.house, 1+len(more))
	if got := <-first; got.status != http.StatusOK { // it may have waited long enough
		requireKept(t, got)
	}
	a.movedOnce(willing)
}
