package workflows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/seal"
)

// Client is the only way in which the outside starts, answers or asks a case: whoever uses it sees cases and answers,
// and no task queues, workflow types or update names.
type Client struct {
	temporal  client.Client
	namespace string
	queue     string
}

// Options say which Temporal server carries the cases.
type Options struct {
	Address   string // host:port of the frontend
	Namespace string // "default" when empty
	TaskQueue string // "liferelay" when empty
	Keys      *seal.Keyring
	Log       *zap.Logger // nil keeps silent
}

// taskQueue is where every protocol's work waits.
const taskQueue = "liferelay"

// Dial prepares a client. The server need not answer yet: a call that finds it away fails with Unavailable.
func Dial(o Options) (*Client, error) {
	if o.Namespace == "" {
		o.Namespace = client.DefaultNamespace
	}
	if o.TaskQueue == "" {
		o.TaskQueue = taskQueue
	}
	data := dataConverter(o.Keys)
	c, err := client.NewLazyClient(client.Options{
		HostPort: o.Address, Namespace: o.Namespace, DataConverter: data, FailureConverter: failureConverter(data), Logger: logger(o.Log),
	})
	if err != nil {
		return nil, fmt.Errorf("workflows: the Temporal server at %s: %w", o.Address, err)
	}
	return &Client{temporal: c, namespace: o.Namespace, queue: o.TaskQueue}, nil
}

// Close ends the connection.
func (c *Client) Close() { c.temporal.Close() }

// Ping tells whether the server answers.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.temporal.CheckHealth(ctx, &client.CheckHealthRequest{})
	return translate(err)
}

// Workers tells how many processes asked for the cases' work in the last minutes; without one no case moves.
func (c *Client) Workers(ctx context.Context) (int, error) {
	found, err := c.temporal.DescribeTaskQueue(ctx, c.queue, enumspb.TASK_QUEUE_TYPE_WORKFLOW)
	if err != nil {
		return 0, translate(err)
	}
	seen := map[string]bool{}
	for _, p := range found.GetPollers() {
		seen[p.GetIdentity()] = true
	}
	return len(seen), nil
}

// protocols is the table of what carries each protocol.
var protocols = map[registry.Protocol]any{
	registry.EnrolmentProtocol: Enrolment, registry.DriveProtocol: Drive, registry.SearchProtocol: Search, registry.StemCellProtocol: StemCell,
	registry.CareProtocol: Care, registry.SafetyProtocol: Safety, registry.RightsProtocol: Rights, registry.ImportProtocol: Import, registry.RotationProtocol: Rotation,
}

// Restart carries a case on from its row in a run of its own, ending the run that had it: where one waits for a worker of a
// version that is gone. Nothing is lost, because what a case has come to is in the register.
func (c *Client) Restart(ctx context.Context, protocol registry.Protocol, id uuid.UUID) error {
	workflow, ok := protocols[protocol]
	if !ok {
		return fmt.Errorf("workflows: no protocol %q", protocol)
	}
	_, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflowID(string(protocol), id.String()), TaskQueue: c.queue,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
		WorkflowTaskTimeout:      10 * time.Second,
	}, workflow, CaseInput{CaseID: id})
	return translate(err)
}

// Tell lets a case hear a fact, and starts its protocol when none is running. Telling the same fact again, or a case that
// has ended, does no harm.
func (c *Client) Tell(ctx context.Context, protocol registry.Protocol, id uuid.UUID, fact string) error {
	workflow, ok := protocols[protocol]
	if !ok {
		return fmt.Errorf("workflows: no protocol %q", protocol)
	}
	ctx, cancel := context.WithTimeout(ctx, patience) // shorter than a relay's lease
	defer cancel()
	name := workflowID(string(protocol), id.String())
	_, err := c.temporal.SignalWithStartWorkflow(ctx, name, factSignal, Fact{Kind: fact}, client.StartWorkflowOptions{
		ID: name, TaskQueue: c.queue,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		// A protocol lasts for years: neither it nor a run of it has a deadline.
		WorkflowTaskTimeout: 10 * time.Second,
	}, workflow, CaseInput{CaseID: id})
	return translate(err)
}

// patience is how long a caller waits for the desk before an answer or a fact is left to be delivered later.
const patience = 8 * time.Second

// Answer brings a pending answer to its case and returns what it moved. When the desk does not answer in time the error
// is Unavailable: the answer is kept and will be delivered.
func (c *Client) Answer(ctx context.Context, p registry.Proposed) (registry.Moved, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return update[registry.Moved](ctx, c, p.Protocol, p.CaseID, answerUpdate, p.AnswerID.String(), AnswerCommand{AnswerID: p.AnswerID, TaskID: p.TaskID, Outcome: p.Outcome})
}

// Reopen opens an earlier step of a case again.
func (c *Client) Reopen(ctx context.Context, protocol registry.Protocol, id uuid.UUID, command string, in ReopenCommand) (registry.Moved, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return update[registry.Moved](ctx, c, protocol, id, reopenUpdate, command, in)
}

// WouldReopen asks a case where opening an earlier step again would lead. It moves nothing.
func (c *Client) WouldReopen(ctx context.Context, protocol registry.Protocol, id uuid.UUID, step string) (registry.ReopenPlan, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var plan registry.ReopenPlan
	said, err := c.temporal.QueryWorkflow(ctx, workflowID(string(protocol), id.String()), "", reopenQuery, step)
	if err == nil {
		err = said.Get(&plan)
	}
	return plan, translate(err)
}

// Clock brings a pending request about a task's clock to its case, and returns how the clock stands then. When the desk does not answer in
// time the error is Unavailable: the request is kept and will be delivered.
func (c *Client) Clock(ctx context.Context, k registry.ClockRequest) (registry.Ticket, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	in := ClockCommand{RequestID: k.ID, TaskID: k.TaskID, Staff: k.Decider}
	if k.Until != nil {
		in.Until = *k.Until
	}
	return update[registry.Ticket](ctx, c, k.Protocol, k.CaseID, clockUpdate, k.ID.String(), in)
}

// CarryOut brings a request to its case, where it does not wait for a supervisor, and returns what became of it. What the case refuses is
// marked, so that nobody brings it again; while the desk is away the error is Unavailable and the request is kept.
func (c *Client) CarryOut(ctx context.Context, store *registry.Store, k registry.ClockRequest) (registry.ClockRequest, error) {
	if k.Status != "pending" {
		return k, nil
	}
	ticket, err := c.Clock(ctx, k)
	switch registry.KindOf(err) {
	case "":
		if err == nil {
			k.Status, k.DueAt, k.Version = "done", ticket.Due, k.Version+1
		}
	case registry.Unavailable:
		return k, unavailable("clock_kept")
	default:
		if marked := store.RefuseClock(context.WithoutCancel(ctx), k.ID, registry.CodeOf(err)); marked != nil {
			return k, marked
		}
	}
	return k, err
}

func update[Out any](ctx context.Context, c *Client, protocol registry.Protocol, id uuid.UUID, name, command string, in any) (Out, error) {
	for attempt := 0; ; attempt++ {
		var moved Out
		handle, err := c.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
			// A run that is ending turns commands away; the next run has not seen this one's id.
			UpdateID: fmt.Sprintf("%s/%d", command, attempt), WorkflowID: workflowID(string(protocol), id.String()),
			UpdateName: name, Args: []any{in}, WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		if err == nil {
			err = handle.Get(ctx, &moved)
		}
		err = translate(err)
		if registry.CodeOf(err) == "case_rolling_over" && attempt < 20 {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		return moved, err
	}
}

// translate turns what Temporal says into the registry's errors, in one place.
func translate(err error) error {
	if err == nil {
		return nil
	}
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		if app.Type() == "" || app.Type() == "internal" {
			return errors.New("workflows: an act failed inside the desk")
		}
		e := registry.NewError(registry.Kind(app.Type()), app.Message(), nil)
		var args, problems string
		if app.HasDetails() && app.Details(&args, &problems) == nil {
			_ = json.Unmarshal([]byte(args), &e.Args)
			var list forms.Problems
			_ = json.Unmarshal([]byte(problems), &list)
			e.Problems = list
		}
		return e
	}
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		// The case is open in its row and its protocol is not running: it was lost, and cases resume starts it again.
		return unavailable("case_not_running")
	}
	e := unavailable("desk_unavailable")
	return fmt.Errorf("%w: %v", e, err)
}

func unavailable(code string) error {
	e := registry.NewError(registry.Unavailable, code, nil)
	e.RetryAfter = 5 * time.Second
	return e
}

// logger gives Temporal's SDK our log, without its fields: they are its own business and might hold what a payload held.
func logger(l *zap.Logger) log.Logger {
	if l == nil {
		l = zap.NewNop()
	}
	return sdkLog{l.Named("temporal").WithOptions(zap.AddCallerSkip(1))}
}

type sdkLog struct{ *zap.Logger }

// The fields of the SDK's lines that are names of things, and no payloads.
var namingFields = map[string]bool{
	"WorkflowID": true, "RunID": true, "WorkflowType": true, "ActivityType": true, "TaskQueue": true, "Namespace": true, "WorkerID": true, "Attempt": true, "EventType": true, "BuildID": true,
}

func fieldsOf(keyvals []any) []zap.Field {
	var out []zap.Field
	for i := 0; i+1 < len(keyvals); i += 2 {
		if key, ok := keyvals[i].(string); ok && namingFields[key] {
			out = append(out, zap.String(key, fmt.Sprint(keyvals[i+1])))
		}
	}
	return out
}

// Debug implements log.Logger.
func (l sdkLog) Debug(msg string, keyvals ...any) { l.Logger.Debug(msg, fieldsOf(keyvals)...) }

// Info implements log.Logger.
func (l sdkLog) Info(msg string, keyvals ...any) { l.Logger.Info(msg, fieldsOf(keyvals)...) }

// Warn implements log.Logger.
func (l sdkLog) Warn(msg string, keyvals ...any) { l.Logger.Warn(msg, fieldsOf(keyvals)...) }

// Error implements log.Logger.
func (l sdkLog) Error(msg string, keyvals ...any) { l.Logger.Error(msg, fieldsOf(keyvals)...) }
