package workflows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/liferelay/liferelay/registry"
)

// FastForward lets time pass for one case alone, for the demo and the tests: ten years of follow-up run in seconds on a
// real server. It needs a server that allows it (devstack's does; a production server does not, and refuses).
//
// Everything on the way happens as it would: timers fire, reminders go out, runs go on as new ones. It returns when the
// case's clock has moved by d, or when the case has ended on the way.
func (c *Client) FastForward(ctx context.Context, protocol registry.Protocol, id uuid.UUID, d time.Duration) error {
	now, err := c.Now(ctx, protocol, id)
	if err != nil {
		return err
	}
	// A run that goes on as a new one on the way takes the rest of the jump with it to nowhere: what is left is jumped again.
	for target := now.Add(d); now.Before(target); {
		if running, err := c.jump(ctx, workflowID(string(protocol), id.String()), target.Sub(now)); err != nil || !running {
			return err
		}
		if now, err = c.Now(ctx, protocol, id); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) jump(ctx context.Context, name string, d time.Duration) (running bool, err error) {
	target, mark := &commonpb.WorkflowExecution{WorkflowId: name}, uuid.NewString()
	_, err = c.temporal.WorkflowService().UpdateWorkflowExecutionOptions(ctx, &workflowservice.UpdateWorkflowExecutionOptionsRequest{
		Namespace: c.namespace, WorkflowExecution: target,
		WorkflowExecutionOptions: &workflowpb.WorkflowExecutionOptions{TimeSkippingConfig: &commonpb.TimeSkippingConfig{
			Enabled: true, FastForwardConfig: &commonpb.FastForwardConfig{Id: mark, Duration: durationpb.New(d)},
		}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"time_skipping_config"}},
	})
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("workflows: fast-forward: %w", err)
	}
	for ctx.Err() == nil {
		answer, err := c.temporal.WorkflowService().PollWorkflowExecutionTimeSkipping(ctx, &workflowservice.PollWorkflowExecutionTimeSkippingRequest{
			Namespace: c.namespace, WorkflowExecution: target, FastForwardId: mark,
		})
		if err != nil {
			return false, fmt.Errorf("workflows: fast-forward: %w", err)
		}
		switch answer.GetFastForwardPollingResult() {
		case enumspb.FAST_FORWARD_POLLING_RESULT_FAST_FORWARD_COMPLETED:
			return c.settledTask(ctx, name)
		case enumspb.FAST_FORWARD_POLLING_RESULT_FAST_FORWARD_FAILED:
			if running, err := c.settledTask(ctx, name); err != nil || !running {
				return false, err // the case has ended on the way
			}
			return false, errors.New("workflows: fast-forward: " + answer.GetFailedReason())
		}
	}
	return false, ctx.Err()
}

// settledTask waits until a workflow has nothing under way, and tells whether it is running: its newest run has done a
// first task and is waiting. A jump before that would be lost with the run that is ending.
func (c *Client) settledTask(ctx context.Context, name string) (running bool, err error) {
	still := 0
	for ctx.Err() == nil {
		d, err := c.temporal.DescribeWorkflowExecution(ctx, name, "")
		var notYet *serviceerror.NotFound
		if errors.As(err, &notYet) {
			// The fact that starts it is on its way.
			time.Sleep(15 * time.Millisecond)
			continue
		}
		if err != nil {
			return false, translate(err)
		}
		info := d.GetWorkflowExecutionInfo()
		busy := d.GetPendingWorkflowTask() != nil || len(d.GetPendingActivities()) > 0 || info.GetHistoryLength() < 4
		if info.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
			return false, nil
		}
		if still++; busy {
			still = 0
		}
		if still >= 3 {
			return true, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(15 * time.Millisecond):
		}
	}
	return false, ctx.Err()
}

// Now is what a case's clock shows: the machine's, unless time was let pass for the case.
func (c *Client) Now(ctx context.Context, protocol registry.Protocol, id uuid.UUID) (time.Time, error) {
	if _, err := c.settledTask(ctx, workflowID(string(protocol), id.String())); err != nil {
		return time.Time{}, err
	}
	d, err := c.temporal.DescribeWorkflowExecution(ctx, workflowID(string(protocol), id.String()), "")
	if err != nil {
		return time.Time{}, translate(err)
	}
	if info := d.GetWorkflowExtendedInfo().GetTimeSkippingInfo(); info.GetCurrentTime() != nil {
		return info.GetCurrentTime().AsTime(), nil
	}
	return time.Now(), nil
}
