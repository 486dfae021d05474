package workflows_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// aClock is a register's clock that a test can move on. The protocols have their own, on the server.
type aClock struct{ ahead atomic.Int64 }

func (c *aClock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// forward lets time pass in the register, and for cases.
func (c *aClock) forward(d *workflowstest.Desk, by time.Duration, protocol registry.Protocol, ids ...uuid.UUID) {
	d.T.Helper()
	c.ahead.Add(int64(by))
	for _, id := range ids {
		d.Pass(protocol, id, by)
	}
}

// driven plans a drive for some days and registers as many volunteers as there are signatures, each with a tube.
func driven(d *workflowstest.Desk, first, last calendar.Date, signed ...calendar.Date) (drive uuid.UUID, volunteers []uuid.UUID) {
	d.T.Helper()
	ctx := context.Background()
	v, err := d.Store.PlanDrive(ctx, d.Registrar, forms.Drive{Name: "秋季采样", Place: "体育馆", Region: "320106", Laboratory: d.Laboratory.ID, FirstDay: first, LastDay: last, Target: len(signed), BarcodeFrom: "TB000001", BarcodeTo: "TB009999"})
	require.NoError(d.T, err)
	var list []forms.Registration
	for i, on := range signed {
		list = append(list, volunteer(i+1, on, tube(i)))
	}
	if len(list) == 0 {
		return v.ID, nil
	}
	entries, err := d.Store.Register(ctx, d.Registrar, uuid.NewString(), registry.EntryForm{Drive: v.ID, AcceptWarnings: true, Forms: list})
	require.NoError(d.T, err)
	for _, e := range entries {
		require.Equal(d.T, "created", e.Status, "%+v", e.Problems)
		volunteers = append(volunteers, e.Donors[0].ID)
	}
	return v.ID, volunteers
}

func tube(i int) string { return fmt.Sprintf("TB%06d", i+1) }

// typed reports a typing and returns what became of it.
func typed(d *workflowstest.Desk, barcode string, on calendar.Date) string {
	d.T.Helper()
	results, err := d.Store.ReportTypings(context.Background(), d.Technician, []forms.TypingReport{{Barcode: barcode, GL: gl, Nomenclature: "3.57.0", Method: "NGS", TypedOn: on}})
	require.NoError(d.T, err)
	if results[0].Status == "accepted" {
		return "accepted"
	}
	return results[0].Code
}

func sent(d *workflowstest.Desk, drive uuid.UUID, arrives registry.ReceiveForm) {
	d.T.Helper()
	box, err := d.Store.SendTubes(context.Background(), d.Registrar, drive, registry.SendForm{To: d.Laboratory.ID})
	require.NoError(d.T, err)
	_, err = d.Store.ReceiveTubes(context.Background(), d.Technician, box.ID, 0, arrives)
	require.NoError(d.T, err)
}

// For seven days nobody types, and nobody is listed; who withdraws in them is not.
func TestTheCoolingOffIsKept(t *testing.T) {
	t.Parallel()
	c := &aClock{}
	d := workflowstest.NewWith(t, workflowstest.Options{Now: c.now})
	now := today()
	drive, people := driven(d, now, now, now, now)
	sent(d, drive, registry.ReceiveForm{})
	require.Equal(t, "cooling_off", typed(d, tube(0), now))
	withdraws(d, people[1])
	ending, _ := ended(d, people[1])
	require.Equal(t, "withdrawn", ending)
	// To the last minute of the seventh day; the seconds are looked at where no clock runs on.
	left := now.AddDays(7).Start(registry.Zone).Sub(c.now())
	c.forward(d, left-time.Minute, registry.EnrolmentProtocol, people[0])
	require.Equal(t, "cooling_off", typed(d, tube(0), now.AddDays(6)))
	c.forward(d, time.Minute, registry.EnrolmentProtocol, people[0])
	require.Equal(t, "accepted", typed(d, tube(0), now.AddDays(7)))
	ending, _ = ended(d, people[0])
	require.Equal(t, "listed", ending)
	require.Equal(t, "listed ", donor(d, people[0]))
	require.Equal(t, "donor_withdrew", typed(d, tube(1), now.AddDays(7)))
}

// A drive from its plan to its report: counts that differ need a name, a tube that is missing raises an alarm the same
// day, and one that was haemolysed is drawn again, while the good ones go their way.
func TestADriveWithALostAndAHaemolysedTube(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	signed := today().AddDays(-12)
	drive, people := driven(d, signed, signed, signed, signed, signed)
	// Three forms and consents, and four tubes.
	counts := map[string]any{"outcome": "closed", "forms": 3, "tubes": 4, "consents": 3}
	_, err := d.TryAnswer(d.Registrar, d.Task(d.Registrar, "drive.closing", drive), counts)
	require.Equal(t, registry.Invalid, registry.KindOf(err), "a difference has a name")
	counts["difference"] = "form_spoiled"
	d.Answer(d.Registrar, "drive.closing", counts, drive)
	d.Task(d.Registrar, "drive.sending", drive)
	sent(d, drive, registry.ReceiveForm{Missing: []string{tube(1)}, Rejected: []registry.RejectedTube{{Barcode: tube(2), Reason: "haemolysed"}}})

	alarm := d.Task(d.Registrar, "drive.missing_tube", drive)
	require.Equal(t, today().AddDays(1).Start(registry.Zone).UTC(), alarm.DueAt.UTC(), "the same day")
	require.Equal(t, "accepted", typed(d, tube(0), today()))
	ending, _ := ended(d, people[0])
	require.Equal(t, "listed", ending, "the good tube waits for nobody")
	require.Equal(t, "specimen_not_received", typed(d, tube(2), today()))
	d.Answer(d.Registrar, "enrolment.redraw", map[string]any{"outcome": "redrawn", "barcode": "TB000103", "drawn_on": today().String()}, people[2])

	// The lost one is lost: its donor is asked for another as well.
	d.Answer(d.Registrar, "drive.missing_tube", map[string]any{"outcome": "lost"}, drive)
	d.Answer(d.Registrar, "enrolment.redraw", map[string]any{"outcome": "redrawn", "barcode": "TB000102", "drawn_on": today().String()}, people[1])
	d.Task(d.Registrar, "drive.sending", drive) // the two new tubes
	sent(d, drive, registry.ReceiveForm{})
	for i, barcode := range []string{"TB000102", "TB000103"} {
		require.Equal(t, "accepted", typed(d, barcode, today()))
		ending, _ := ended(d, people[i+1])
		require.Equal(t, "listed", ending)
	}
	moved := d.Answer(d.Registrar, "drive.report", map[string]any{"outcome": "reported", "media": 2}, drive)
	require.Equal(t, "reported", moved.Ending)
	v, err := d.Store.ShowDrive(context.Background(), d.Registrar, drive)
	require.NoError(t, err)
	require.Equal(t, "reported", v.Status)
	require.Equal(t, 3, v.Listed)
}

// A tube that is found after its alarm goes on its way again.
func TestATubeThatIsFoundIsSentAgain(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	signed := today().AddDays(-12)
	drive, people := driven(d, signed, signed, signed)
	d.Answer(d.Registrar, "drive.closing", map[string]any{"outcome": "closed", "forms": 1, "tubes": 1, "consents": 1}, drive)
	sent(d, drive, registry.ReceiveForm{Missing: []string{tube(0)}})
	d.Answer(d.Registrar, "drive.missing_tube", map[string]any{"outcome": "found"}, drive)
	d.Task(d.Registrar, "drive.sending", drive)
	sent(d, drive, registry.ReceiveForm{})
	d.Task(d.Registrar, "drive.report", drive)
	require.Equal(t, "accepted", typed(d, tube(0), today()))
	ending, _ := ended(d, people[0])
	require.Equal(t, "listed", ending)
}

// A drive opens on its first day and asks for its counts when the last has passed.
func TestADriveOpensAndClosesWithItsDays(t *testing.T) {
	t.Parallel()
	c := &aClock{}
	d := workflowstest.NewWith(t, workflowstest.Options{Now: c.now})
	first := today().AddDays(3)
	drive, _ := driven(d, first, first.AddDays(1))
	status := func() string {
		v, err := d.Store.ShowDrive(context.Background(), d.Registrar, drive)
		require.NoError(t, err)
		return v.Status
	}
	d.Pass(registry.DriveProtocol, drive, first.Start(registry.Zone).Sub(c.now())-time.Minute)
	require.Equal(t, "planned", status())
	d.Pass(registry.DriveProtocol, drive, time.Minute)
	require.Equal(t, "open", status())
	d.Pass(registry.DriveProtocol, drive, 2*aDay-time.Minute)
	stands(d, drive, "drive.open")
	d.Pass(registry.DriveProtocol, drive, time.Minute)
	d.Task(d.Registrar, "drive.closing", drive)
}

// A sample that was promised and does not come is asked for; the volunteer who withdraws ends the asking.
func TestASampleThatDoesNotComeIsChasedUntilTheVolunteerWithdraws(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	signed := today().AddDays(-12)
	list := []forms.Registration{volunteer(1, signed, "")}
	entries, err := d.Store.Register(context.Background(), d.Registrar, uuid.NewString(), registry.EntryForm{AcceptWarnings: true, Forms: list})
	require.NoError(t, err)
	require.Equal(t, "created", entries[0].Status, "%+v", entries[0].Problems)
	person := entries[0].Donors[0].ID
	d.Pass(registry.EnrolmentProtocol, person, 30*aDay)
	require.Equal(t, "enrolment.cooling_off", stands(d, person, "enrolment.cooling_off").Step, "thirty working days have not passed")
	d.Pass(registry.EnrolmentProtocol, person, 40*aDay)
	d.Answer(d.Registrar, "enrolment.sample_chase", map[string]any{"outcome": "coming", "until": today().AddDays(100).String()}, person)
	d.Pass(registry.EnrolmentProtocol, person, 20*aDay)
	stands(d, person, "enrolment.sample")
	d.Pass(registry.EnrolmentProtocol, person, 12*aDay)
	d.Task(d.Registrar, "enrolment.sample_chase", person)
	withdraws(d, person)
	ending, _ := ended(d, person)
	require.Equal(t, "withdrawn", ending)
}

// sheet uploads a sheet of forms that never were.
func sheet(d *workflowstest.Desk, rows int) registry.BatchView {
	d.T.Helper()
	ctx := context.Background()
	day := today().AddDays(-12)
	plan, err := intaketest.Plan{Seed: 7, Rows: rows, Day: day, Today: today()}.Sheet()
	require.NoError(d.T, err)
	workbook, err := plan.XLSX()
	require.NoError(d.T, err)
	v, err := d.Store.PlanDrive(ctx, d.Registrar, forms.Drive{Name: "秋季采样", Place: "体育馆", Region: "320106", FirstDay: day, LastDay: day, BarcodeFrom: plan.BarcodeFrom, BarcodeTo: plan.BarcodeTo})
	require.NoError(d.T, err)
	b, err := d.Store.UploadBatch(ctx, d.Registrar, registry.Upload{Drive: v.ID, FileName: "forms.xlsx", Data: workbook})
	require.NoError(d.T, err)
	return b
}

// batch waits until a batch has a status.
func batch(d *workflowstest.Desk, id uuid.UUID, status string) (b registry.BatchView) {
	d.T.Helper()
	d.Eventually(func() bool {
		var err error
		b, err = d.Store.ShowBatch(context.Background(), d.Registrar, id)
		require.NoError(d.T, err)
		return b.Status == status
	}, "the batch is "+status)
	return b
}

// A batch goes in chunk by chunk, whoever works on it and however often they are told; undone, its enrolments are gone
// and their protocols with them.
func TestABatchSurvivesItsWorkerAndCanBeUndone(t *testing.T) {
	t.Parallel()
	d := workflowstest.NewWith(t, workflowstest.Options{Chunk: 4})
	ctx := context.Background()
	b := sheet(d, 18)
	d.StopWorker()
	_, err := d.Store.StartCommit(ctx, d.Registrar, b.ID, b.Version, registry.CommitForm{AcceptWarnings: true})
	require.NoError(t, err)
	require.NoError(t, d.Client.Tell(ctx, registry.ImportProtocol, b.ID, "commit"))
	chunk, err := d.Store.ImportChunk(ctx, b.ID) // a worker did this much, and died before it could say so
	require.NoError(t, err)
	require.False(t, chunk.Finished)
	d.StartWorker()
	b = batch(d, b.ID, "committed")
	require.Equal(t, map[string]int{"created": 18}, b.Outcomes)
	list, err := d.Store.ListCases(ctx, d.Coordinator, registry.CaseFilter{Protocol: registry.EnrolmentProtocol, Limit: 50})
	require.NoError(t, err)
	require.Len(t, list, 18)
	look := behind(t)
	for _, c := range list {
		d.Eventually(func() bool {
			_, err := look.DescribeWorkflowExecution(ctx, "enrolment/"+c.ID.String(), "")
			return err == nil
		}, "the enrolment is carried")
	}
	_, err = d.Store.StartUndo(ctx, d.Registrar, b.ID, b.Version)
	require.NoError(t, err)
	batch(d, b.ID, "undone")
	list, err = d.Store.ListCases(ctx, d.Coordinator, registry.CaseFilter{Protocol: registry.EnrolmentProtocol})
	require.NoError(t, err)
	require.Empty(t, list)
	d.Eventually(func() bool {
		open, err := look.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: fmt.Sprintf("TaskQueue = '%s' AND WorkflowType = 'Enrolment' AND ExecutionStatus != 'Completed'", d.Queue)})
		require.NoError(t, err)
		return open.GetCount() == 0
	}, "no protocol is left of them")
}
