package workflows_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/temporalproto"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// TestRecordHistories records what the real servers wrote down of every protocol, for the replay test. It is run by hand
// when a protocol is added, or when cases that began under an older one need not be carried on any more:
//
//	LIFERELAY_RECORD=1 go test ./workflows -run TestRecordHistories
//
// A scene that is new is recorded alone, by its protocol's name, and what was recorded before stays:
//
//	LIFERELAY_RECORD=rights go test ./workflows -run TestRecordHistories
func TestRecordHistories(t *testing.T) {
	if os.Getenv("LIFERELAY_RECORD") == "" {
		t.Skip("records the histories that are replayed: set LIFERELAY_RECORD=1")
	}
	if only := os.Getenv("LIFERELAY_RECORD"); only != "1" {
		scenes := map[string]func(*recorder){"rights": (*recorder).requestsAboutData}
		require.Contains(t, scenes, only)
		scenes[only](&recorder{T: t, keys: recordedKeys(t), temporal: behind(t)})
		return
	}
	old, err := filepath.Glob(filepath.Join(histories, "*.json.gz"))
	require.NoError(t, err)
	for _, name := range old {
		require.NoError(t, os.Remove(name))
	}
	r := &recorder{T: t, keys: recordedKeys(t), temporal: behind(t)}
	r.aDonationWithItsDetours()
	r.aBackupThatIsNotFit()
	r.aWithdrawalAfterConditioning()
	r.aReservationThatRunsOut()
	r.aDriveWithALostTube()
	r.aChasedVolunteer()
	r.aBatchThatIsUndone()
	r.aRotation()
	r.requestsAboutData()
}

// recorder plays the scenes, each at a desk of its own.
type recorder struct {
	*testing.T
	keys     *seal.Keyring
	temporal client.Client
}

func (r *recorder) desk() *workflowstest.Desk {
	return workflowstest.NewWith(r, workflowstest.Options{Keys: r.keys, Chunk: 4})
}

// record writes the runs of a case down in their order: what carried it, and what a fact started again that came after
// its end. Of many, the first and the last ones do.
func (r *recorder) record(name string, protocol registry.Protocol, id uuid.UUID) {
	r.Helper()
	ctx, workflow := context.Background(), string(protocol)+"/"+id.String()
	var ids []string
	last := running(r, r.temporal, protocol, id).GetExecution().GetRunId()
	require.Eventually(r, func() bool {
		found, err := r.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: "WorkflowId = '" + workflow + "'"})
		require.NoError(r, err)
		slices.SortFunc(found.GetExecutions(), func(a, b *workflowpb.WorkflowExecutionInfo) int {
			return a.GetStartTime().AsTime().Compare(b.GetStartTime().AsTime())
		})
		ids = nil
		for _, run := range found.GetExecutions() {
			ids = append(ids, run.GetExecution().GetRunId())
		}
		return slices.Contains(ids, last)
	}, time.Minute, 50*time.Millisecond, "its runs can be listed")
	var runs []*historypb.History
	for _, run := range ids {
		h := &historypb.History{}
		all := r.temporal.GetWorkflowHistory(ctx, workflow, run, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for all.HasNext() {
			event, err := all.Next()
			require.NoError(r, err)
			h.Events = append(h.Events, event)
		}
		runs = append(runs, h)
	}
	for n, h := range runs {
		if n >= 4 && n < len(runs)-2 {
			continue
		}
		forget(h.ProtoReflect())
		text, err := temporalproto.CustomJSONMarshalOptions{}.Marshal(h)
		require.NoError(r, err)
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		require.NoError(r, err)
		_, err = z.Write(text)
		require.NoError(r, err)
		require.NoError(r, z.Close())
		require.NoError(r, os.WriteFile(filepath.Join(histories, fmt.Sprintf("%s-%s-%02d.json.gz", protocol, name, n+1)), packed.Bytes(), 0o644))
	}
}

// forget takes out of a history which process on which machine did the work.
func forget(m protoreflect.Message) {
	if q, ok := m.Interface().(*taskqueuepb.TaskQueue); ok && q.GetKind() == enumspb.TASK_QUEUE_KIND_STICKY {
		q.Name = "recorded" // which names the machine
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Name() == "identity" && f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString("recorded"))
		case f.IsMap():
			if f.MapValue().Kind() == protoreflect.MessageKind {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { forget(v.Message()); return true })
			}
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			for i := range v.List().Len() {
				forget(v.List().Get(i).Message())
			}
		case f.Kind() == protoreflect.MessageKind && !f.IsList():
			forget(v.Message())
		}
		return true
	})
}

func (r *recorder) aDonationWithItsDetours() {
	d := r.desk()
	donors := listed(r, d, 2, gl)
	r.finished(registry.EnrolmentProtocol, donors[0])
	r.record("listed", registry.EnrolmentProtocol, donors[0])
	search, cases := requested(r, d, d.TransplantDoctor, donors[0], donors[1])
	id, way := cases[0], theWay(d, 1)
	d.Answer(d.Coordinator, "stemcell.remobilisation", map[string]any{"outcome": "needs_time"}, id)
	walk(d, id, way, "stemcell.schedule")
	_, err := d.Client.Reopen(context.Background(), registry.StemCellProtocol, id, uuid.NewString(), workflows.ReopenCommand{Step: "stemcell.clearance", Reason: "wrong_entry", Staff: d.Coordinator.Staff()})
	require.NoError(r, err)
	way = way[7:]
	walk(d, id, way, "stemcell.mobilisation")
	way = way[8:]
	way[1].Form["adverse"], way[1].Form["serious"] = "spleen", true
	walk(d, id, way[:4], "")
	d.Pass(registry.StemCellProtocol, id, way[4].Pass)
	on := today().AddDays(14)
	for n, cells := range []int{30, 40} {
		d.Answer(d.CollectionDoctor, "stemcell.collection", map[string]any{"outcome": "collected", "day": n + 1, "collected_on": on.AddDays(n).String(), "volume_ml": 180, "cd34": cells}, id)
		if n == 0 {
			d.Pass(registry.StemCellProtocol, id, aDay)
		}
	}
	d.Answer(d.CollectionDoctor, "stemcell.dispatch", way[5].Form, id)
	d.Answer(d.TransplantDoctor, "stemcell.receipt", map[string]any{"outcome": "received", "on": on.String(), "temperature_min": 3, "temperature_max": 11, "intact": true}, id)
	d.Answer(d.TransplantDoctor, "stemcell.quarantine", map[string]any{"outcome": "release", "reason": "within_stability"}, id)
	d.Answer(d.TransplantDoctor, "stemcell.infusion", way[7].Form, id)
	d.Answer(d.Coordinator, "stemcell.thanks", way[8].Form, id)
	ended(d, id)
	ended(d, cases[1])
	d.Case(d.TransplantDoctor, search, func(v registry.CaseView) bool { return v.Ending == "transplanted" })
	r.finished(registry.StemCellProtocol, id)
	r.finished(registry.SearchProtocol, search)
	r.record("donation", registry.StemCellProtocol, id)
	r.record("released-backup", registry.StemCellProtocol, cases[1])
	r.record("transplanted", registry.SearchProtocol, search)

	events, err := d.Store.ListCases(context.Background(), d.Coordinator, registry.CaseFilter{Protocol: registry.SafetyProtocol, Status: "open"})
	require.NoError(r, err)
	d.Pass(registry.SafetyProtocol, events[0].ID, 5*aDay) // it goes up the ladder
	d.Answer(d.Coordinator, "safety.report", map[string]any{"outcome": "reported", "on": today().String(), "harm": "donor", "imputability": "likely"}, events[0].ID)
	r.finished(registry.SafetyProtocol, events[0].ID)
	r.record("event", registry.SafetyProtocol, events[0].ID)

	plan := careOf(r, d)
	now, err := d.Client.Now(context.Background(), registry.CareProtocol, plan)
	require.NoError(r, err)
	d.Pass(registry.CareProtocol, plan, on.AddDays(1).Start(registry.Zone).Add(9*time.Hour).Sub(now))
	d.Answer(d.Coordinator, "care.follow_up", map[string]any{"outcome": "answered", "on": on.AddDays(1).String(), "health": "worse", "flags": []string{"pain"}}, plan)
	d.Pass(registry.CareProtocol, plan, 300*aDay) // which nobody answers
	at, err := d.Client.Now(context.Background(), registry.CareProtocol, plan)
	require.NoError(r, err)
	d.Pass(registry.CareProtocol, plan, on.AddYears(1).Start(registry.Zone).Add(time.Hour).Sub(at))
	d.Answer(d.Coordinator, "care.follow_up", map[string]any{"outcome": "opts_out", "on": on.AddYears(1).String()}, plan)
	r.finished(registry.CareProtocol, plan)
	r.record("opted-out", registry.CareProtocol, plan)
}

func (r *recorder) aBackupThatIsNotFit() {
	d := r.desk()
	donors := listed(r, d, 3, gl)
	search, cases := requested(r, d, d.TransplantDoctor, donors[:2]...)
	stands(d, cases[1], "stemcell.standby")
	d.Answer(d.Coordinator, "stemcell.remobilisation", map[string]any{"outcome": "declines", "reason": "family"}, cases[0])
	walk(d, cases[1], theWay(d, 2), "stemcell.physical_examination")
	d.Answer(d.CollectionDoctor, "stemcell.physical_examination", map[string]any{"outcome": "recheck", "examined_on": today().String(), "recheck_on": today().AddDays(3).String()}, cases[1])
	d.Answer(d.CollectionDoctor, "stemcell.physical_examination", map[string]any{"outcome": "unfit", "examined_on": today().String(), "reason": "veins"}, cases[1])
	d.Task(d.TransplantDoctor, "search.choice", search)
	d.Answer(d.TransplantDoctor, "search.choice", map[string]any{"outcome": "none", "reason": "other_treatment"}, search)
	r.finished(registry.SearchProtocol, search)
	r.finished(registry.StemCellProtocol, cases[1])
	r.record("declined", registry.StemCellProtocol, cases[0])
	r.record("backup", registry.StemCellProtocol, cases[1])
	r.record("exhausted", registry.SearchProtocol, search)
}

func (r *recorder) aWithdrawalAfterConditioning() {
	d := r.desk()
	donors := listed(r, d, 1, gl)
	_, cases := requested(r, d, d.TransplantDoctor, donors[0])
	way := theWay(d, 3)
	walk(d, cases[0], way, "stemcell.mobilisation")
	d.Pass(registry.StemCellProtocol, cases[0], way[15].Pass)
	d.Answer(d.CollectionDoctor, "stemcell.mobilisation", way[15].Form, cases[0])
	withdraws(d, donors[0])
	stands(d, cases[0], "stemcell.emergency")
	d.Answer(d.TransplantDoctor, "stemcell.emergency", map[string]any{"outcome": "rescue", "reason": "cord_blood"}, cases[0])
	r.finished(registry.StemCellProtocol, cases[0])
	r.record("emergency", registry.StemCellProtocol, cases[0])
}

func (r *recorder) aReservationThatRunsOut() {
	d := r.desk()
	donors := listed(r, d, 1, gl)
	_, cases := requested(r, d, d.OtherDoctor, donors[0])
	stands(d, cases[0], "stemcell.remobilisation")
	d.Pass(registry.StemCellProtocol, cases[0], 115*aDay)
	ended(d, cases[0])
	r.finished(registry.StemCellProtocol, cases[0])
	r.record("expired", registry.StemCellProtocol, cases[0])
	_, cases = requested(r, d, d.OtherDoctor, donors[0])
	d.Task(d.Coordinator, "stemcell.remobilisation", cases[0])
	withdraws(d, donors[0])
	r.finished(registry.StemCellProtocol, cases[0])
	r.record("withdrawn", registry.StemCellProtocol, cases[0])
}

func (r *recorder) aDriveWithALostTube() {
	d := r.desk()
	signed := today().AddDays(-12)
	drive, people := driven(d, signed, signed, signed)
	d.Answer(d.Registrar, "drive.closing", map[string]any{"outcome": "closed", "forms": 1, "tubes": 1, "consents": 1}, drive)
	d.Answer(d.Registrar, "drive.sending", map[string]any{"outcome": "coming", "until": today().AddDays(1).String()}, drive)
	sent(d, drive, registry.ReceiveForm{Missing: []string{tube(0)}})
	d.Answer(d.Registrar, "drive.missing_tube", map[string]any{"outcome": "lost"}, drive)
	d.Answer(d.Registrar, "enrolment.redraw", map[string]any{"outcome": "redrawn", "barcode": "TB000102", "drawn_on": today().String()}, people[0])
	sent(d, drive, registry.ReceiveForm{})
	require.Equal(r, "accepted", typed(d, "TB000102", today()))
	ended(d, people[0])
	d.Answer(d.Registrar, "drive.report", map[string]any{"outcome": "reported"}, drive)
	r.finished(registry.DriveProtocol, drive)
	r.finished(registry.EnrolmentProtocol, people[0])
	r.record("lost-tube", registry.DriveProtocol, drive)
	r.record("redrawn", registry.EnrolmentProtocol, people[0])
}

func (r *recorder) aChasedVolunteer() {
	d := r.desk()
	entries, err := d.Store.Register(context.Background(), d.Registrar, uuid.NewString(), registry.EntryForm{AcceptWarnings: true, Forms: []forms.Registration{volunteer(1, today(), "")}})
	require.NoError(r, err)
	id := entries[0].Donors[0].ID
	d.Pass(registry.EnrolmentProtocol, id, 70*aDay)
	d.Answer(d.Registrar, "enrolment.sample_chase", map[string]any{"outcome": "coming", "until": today().AddDays(100).String()}, id)
	d.Pass(registry.EnrolmentProtocol, id, 32*aDay)
	d.Task(d.Registrar, "enrolment.sample_chase", id)
	withdraws(d, id)
	r.finished(registry.EnrolmentProtocol, id)
	r.record("chased", registry.EnrolmentProtocol, id)
}

func (r *recorder) aBatchThatIsUndone() {
	d := r.desk()
	b := sheet(d, 10)
	_, err := d.Store.StartCommit(context.Background(), d.Registrar, b.ID, b.Version, registry.CommitForm{AcceptWarnings: true})
	require.NoError(r, err)
	b = batch(d, b.ID, "committed")
	r.finished(registry.ImportProtocol, b.ID)
	r.record("committed", registry.ImportProtocol, b.ID)
	_, err = d.Store.StartUndo(context.Background(), d.Registrar, b.ID, b.Version)
	require.NoError(r, err)
	batch(d, b.ID, "undone")
	r.finished(registry.ImportProtocol, b.ID)
	r.record("undone", registry.ImportProtocol, b.ID)
}

func (r *recorder) aRotation() {
	d := ownKeys(r, workflowstest.Options{Keys: r.keys, Chunk: 4})
	registered(d, 6)
	rotated, _, err := d.Store.StartRotation(context.Background(), registry.Operator("test"), seal.IndexKey)
	require.NoError(r, err)
	d.Eventually(func() bool { return rotation(d, rotated.ID).FinishedAt != nil }, "the rotation is finished")
	r.finished(registry.RotationProtocol, rotated.ID)
	r.record("index", registry.RotationProtocol, rotated.ID)
}

// requestsAboutData are one that is granted after it went up, one that is only stored, and one that is refused.
func (r *recorder) requestsAboutData() {
	d := r.desk()
	office, donors := decider(r, d), listed(r, d, 2, gl)
	donor := donors[1]
	id := asks(d, "correction", donor)
	d.Answer(d.Registrar, "rights.identity", proven, id)
	d.Task(office, "rights.decision", id)
	d.Pass(registry.RightsProtocol, id, 40*aDay)
	d.Answer(office, "rights.decision", map[string]any{"outcome": "grant"}, id)
	d.Answer(office, "rights.carrying_out", carried, id)
	d.Answer(d.Registrar, "rights.telling", hears, id)
	r.finished(registry.RightsProtocol, id)
	r.record("corrected", registry.RightsProtocol, id)

	id = asks(d, "access", donor)
	d.Answer(d.Registrar, "rights.identity", map[string]any{"outcome": "not_proven", "on": today().String(), "reason": "document_mismatch"}, id)
	d.Answer(office, "rights.decision", map[string]any{"outcome": "refuse", "reason": "not_the_person"}, id)
	d.Answer(d.Registrar, "rights.telling", hears, id)
	r.finished(registry.RightsProtocol, id)
	r.record("refused", registry.RightsProtocol, id)

	_, cases := requested(r, d, d.TransplantDoctor, donors[0])
	stands(d, cases[0], "stemcell.remobilisation")
	id = asks(d, "deletion", donors[0])
	d.Answer(d.Registrar, "rights.identity", proven, id)
	d.Answer(office, "rights.decision", map[string]any{"outcome": "refuse", "reason": "case_open"}, id)
	d.Answer(office, "rights.carrying_out", carried, id)
	d.Answer(d.Registrar, "rights.telling", hears, id)
	ended(d, cases[0])
	r.finished(registry.RightsProtocol, id)
	r.record("blocked", registry.RightsProtocol, id)
}

// finished waits until a protocol is over.
func (r *recorder) finished(protocol registry.Protocol, id uuid.UUID) {
	r.Helper()
	require.Eventually(r, func() bool {
		return running(r, r.temporal, protocol, id).GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	}, time.Minute, 25*time.Millisecond, "%s is over", protocol)
}
