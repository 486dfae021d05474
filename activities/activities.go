// Package activities is what a protocol does to the world: one idempotent act a method, one file a counterpart. It
// decides nothing about what comes next.
//
// Every act is a transaction of the registry, keyed by what it is about, so that running it twice does what running it
// once does. Errors that no retry mends come back as failures that are not retried, of the registry's kind and code.
package activities

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/liferelay/liferelay/registry"
)

// Records are the acts on the register.
type Records struct{ Store *registry.Store }

// Done is the result of an act that has nothing to tell.
type Done struct{}

// final are the kinds of error that trying again does not mend.
var final = map[registry.Kind]bool{
	registry.NotFound: true, registry.Denied: true, registry.Unsigned: true, registry.Invalid: true, registry.Refused: true,
	registry.Stale: true, registry.Conflict: true, registry.Incompatible: true,
}

// failure turns an error into what a workflow should do about it. Its text is a code: whatever is in a workflow's
// history is there for years.
func failure(err error) error {
	if err == nil {
		return nil
	}
	var e *registry.Error
	if !errors.As(err, &e) {
		return temporal.NewApplicationErrorWithCause("the act failed", "internal", nil)
	}
	if final[e.Kind] {
		// The problems of a form name fields and rules, never what was read.
		problems, _ := json.Marshal(e.Problems)
		args, _ := json.Marshal(e.Args)
		return temporal.NewNonRetryableApplicationError(e.Code, string(e.Kind), nil, string(args), string(problems))
	}
	return temporal.NewApplicationError(e.Code, string(e.Kind))
}

// actor names the workflow that acts.
func actor(ctx context.Context) registry.Actor {
	return registry.System(activity.GetInfo(ctx).WorkflowExecution.ID)
}

// LoadStemCell reads a stem-cell case.
func (r *Records) LoadStemCell(ctx context.Context, id uuid.UUID) (registry.StemCellFacts, error) {
	out, err := r.Store.LoadStemCell(ctx, actor(ctx), id)
	return out, failure(err)
}

// LoadEnrolment reads an enrolment.
func (r *Records) LoadEnrolment(ctx context.Context, id uuid.UUID) (registry.EnrolmentFacts, error) {
	out, err := r.Store.LoadEnrolment(ctx, actor(ctx), id)
	return out, failure(err)
}

// LoadDrive reads a drive.
func (r *Records) LoadDrive(ctx context.Context, id uuid.UUID) (registry.DriveFacts, error) {
	out, err := r.Store.LoadDrive(ctx, actor(ctx), id)
	return out, failure(err)
}

// LoadSearch reads a search.
func (r *Records) LoadSearch(ctx context.Context, id uuid.UUID) (registry.SearchFacts, error) {
	out, err := r.Store.LoadSearch(ctx, actor(ctx), id)
	return out, failure(err)
}

// LoadCare reads a care plan.
func (r *Records) LoadCare(ctx context.Context, id uuid.UUID) (registry.CareFacts, error) {
	out, err := r.Store.LoadCare(ctx, actor(ctx), id)
	return out, failure(err)
}

// LoadCase reads a case of which nothing but its own state is needed.
func (r *Records) LoadCase(ctx context.Context, id uuid.UUID) (registry.Snapshot, error) {
	out, err := r.Store.LoadCase(ctx, actor(ctx), id)
	return out, failure(err)
}

// AskTask opens a task.
func (r *Records) AskTask(ctx context.Context, q registry.Question) (registry.Ticket, error) {
	out, err := r.Store.AskTask(ctx, actor(ctx), q)
	return out, failure(err)
}

// NudgeTask writes a reminder or an escalation.
func (r *Records) NudgeTask(ctx context.Context, n registry.Nudge) (Done, error) {
	return Done{}, failure(r.Store.NudgeTask(ctx, actor(ctx), n))
}

// SetClock gives a task more time, or lets its clock stop or run, on behalf of the member of staff who asked or allowed it.
func (r *Records) SetClock(ctx context.Context, in registry.ClockChange) (registry.Ticket, error) {
	by, err := r.Store.ActorOf(ctx, in.Staff)
	if err != nil {
		return registry.Ticket{}, failure(err)
	}
	out, err := r.Store.SetClock(ctx, by, in)
	return out, failure(err)
}

// ResumeTask lets a clock run whose pause is over.
func (r *Records) ResumeTask(ctx context.Context, in registry.TaskAt) (registry.Ticket, error) {
	out, err := r.Store.ResumeTask(ctx, actor(ctx), in)
	return out, failure(err)
}

// SettleAnswer accepts an answer, moves its case and asks what follows.
func (r *Records) SettleAnswer(ctx context.Context, in registry.Settle) (registry.Settled, error) {
	out, err := r.Store.SettleAnswer(ctx, in)
	return out, failure(err)
}

// AdvanceCase makes a move that no answer causes.
func (r *Records) AdvanceCase(ctx context.Context, in registry.Advance) (registry.Moved, error) {
	out, err := r.Store.AdvanceCase(ctx, actor(ctx), in)
	return out, failure(err)
}

// ReopenStep takes a case back to a step, on behalf of the member of staff who asked for it.
func (r *Records) ReopenStep(ctx context.Context, in registry.ReopenInput) (registry.Moved, error) {
	by, err := r.Store.ActorOf(ctx, in.Staff)
	if err != nil {
		return registry.Moved{}, failure(err)
	}
	out, err := r.Store.ReopenStep(ctx, by, in)
	return out, failure(err)
}

// ListDonor puts a typed donor on the list and ends the enrolment.
func (r *Records) ListDonor(ctx context.Context, in registry.Advance) (registry.Moved, error) {
	out, err := r.Store.ListDonor(ctx, actor(ctx), in)
	return out, failure(err)
}

// DriveStatus is where a drive stands.
type DriveStatus struct {
	DriveID uuid.UUID `json:"drive"`
	Status  string    `json:"status"`
	At      time.Time `json:"at"`
}

// SetDriveStatus moves a drive along.
func (r *Records) SetDriveStatus(ctx context.Context, in DriveStatus) (Done, error) {
	return Done{}, failure(r.Store.SetDriveStatus(ctx, actor(ctx), in.DriveID, in.Status, in.At))
}

// Run is one run of a search.
type Run struct {
	SearchID uuid.UUID `json:"search"`
	Number   int       `json:"number"`
	At       time.Time `json:"at"`
}

// RunSearch compares a patient with every listed donor.
func (r *Records) RunSearch(ctx context.Context, in Run) (registry.SearchRun, error) {
	defer beat(ctx)()
	out, err := r.Store.RunSearch(ctx, actor(ctx), in.SearchID, in.Number, in.At)
	return out, failure(err)
}

// Promotion makes a backup the one that is worked on.
type Promotion struct {
	CaseID uuid.UUID `json:"case"`
	At     time.Time `json:"at"`
}

// PromoteBackup promotes a backup.
func (r *Records) PromoteBackup(ctx context.Context, in Promotion) (Done, error) {
	return Done{}, failure(r.Store.PromoteBackup(ctx, actor(ctx), in.CaseID, in.At))
}

// OpenEmergency tells everybody at once.
func (r *Records) OpenEmergency(ctx context.Context, in registry.Emergency) (Done, error) {
	return Done{}, failure(r.Store.OpenEmergency(ctx, actor(ctx), in))
}

// Miss is a touch that nobody answered in time.
type Miss struct {
	Advance  registry.Advance `json:"advance"`
	Position int              `json:"position"`
}

// MissTouch notes a touch that nobody answered in time.
func (r *Records) MissTouch(ctx context.Context, in Miss) (registry.Moved, error) {
	out, err := r.Store.MissTouch(ctx, actor(ctx), in.Advance, in.Position)
	return out, failure(err)
}

// LoadRights reads a request about somebody's own data, with its clock.
func (r *Records) LoadRights(ctx context.Context, in RulesFor) (registry.RightsFacts, error) {
	out, err := r.Store.LoadRights(ctx, actor(ctx), in.CaseID, in.At)
	return out, failure(err)
}

// RulesFor is a region's rules on a day, asked by name.
type RulesFor struct {
	CaseID uuid.UUID `json:"case"`
	At     time.Time `json:"at"`
}

// LoadRules reads the numbers that a protocol counts with itself.
func (r *Records) LoadRules(ctx context.Context, in RulesFor) (registry.ProtocolRules, error) {
	out, err := r.Store.LoadRules(ctx, actor(ctx), in.CaseID, in.At)
	return out, failure(err)
}

// HeartbeatTimeout is how long a long act may be silent before its worker is taken for dead.
const HeartbeatTimeout = 10 * time.Second

// beat tells the desk that a long act goes on, until stop.
func beat(ctx context.Context) (stop func()) {
	beating, stop := context.WithCancel(ctx)
	go func() {
		for {
			select {
			case <-beating.Done():
				return
			case <-time.After(HeartbeatTimeout / 3):
				activity.RecordHeartbeat(ctx)
			}
		}
	}()
	return stop
}

// Batch names a batch of forms.
type Batch struct {
	BatchID uuid.UUID `json:"batch"`
}

// ImportChunk commits or undoes the next rows of a batch, whichever the batch is waiting for.
func (r *Records) ImportChunk(ctx context.Context, in Batch) (registry.Chunk, error) {
	defer beat(ctx)()
	out, err := r.Store.ImportChunk(ctx, in.BatchID)
	return out, failure(err)
}

// Rotation names a rotation of keys.
type Rotation struct {
	RotationID uuid.UUID `json:"rotation"`
}

// RotateChunk takes the next rows over to a new key.
func (r *Records) RotateChunk(ctx context.Context, in Rotation) (registry.Chunk, error) {
	defer beat(ctx)()
	out, err := r.Store.RotateChunk(ctx, actor(ctx), in.RotationID)
	return out, failure(err)
}
