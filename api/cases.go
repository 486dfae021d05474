package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/workflows"
)

// ReopenForm opens an earlier step again.
type ReopenForm struct {
	Step   string `json:"step" validate:"required,max=60"`
	Reason string `json:"reason" validate:"required,oneof=wrong_entry new_information donor_changed_mind hospital_asked other"`
}

// Messages are texts between the sides of a case.
type Messages struct {
	Messages []registry.MessageView `json:"messages" class:"case" mask:"drop"`
}

func (a *API) caseRoutes() {
	const tag = "cases"
	route(a, operation{method: http.MethodGet, path: "/v1/cases", id: "list-cases", tag: tag, says: "Cases, in the order of their opening."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Protocol string `query:"protocol" enum:"enrolment,drive,search,stemcell,care,safety,rights"`
			Status   string `query:"status" enum:"open,ended"`
			Step     string `query:"step"`
		}) (*Page[registry.CaseLine], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListCases(ctx, who, registry.CaseFilter{Protocol: registry.Protocol(in.Protocol), Status: in.Status, Step: in.Step, After: after, Limit: in.Limit})
			return page(list, in.Limit, func(c registry.CaseLine) string { return c.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/cases/{id}", id: "show-case", tag: tag, says: "A case as the reader's side of the table sees it: where it stands, its tasks, its timeline."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*One[registry.CaseView], error) {
			c, err := a.store.ShowCase(ctx, who, in.ID)
			return tagged(c.Version, c), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/cases/{id}/attempts", id: "add-attempt", tag: tag, says: "Log one try to reach the donor.", body: forms.ContactAttempt{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Sent
		}) (*Plain[Created], error) {
			f, err := decode[forms.ContactAttempt](in.RawBody)
			if err != nil {
				return nil, err
			}
			id, err := a.store.AddAttempt(ctx, who, in.ID, f)
			return plain(Created{id}), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/cases/{id}/messages", id: "list-messages", tag: tag, says: "What the sides of a case wrote to each other: one's own side's texts, and what was delivered of the other's."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[Messages], error) {
			list, err := a.store.ListMessages(ctx, who, in.ID)
			return plain(Messages{list}), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/cases/{id}/messages", id: "write-message", tag: tag, says: "Write to the other side of a case. A text that looks as if it named somebody is held until it has been read.", body: registry.MessageForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Sent
		}) (*One[registry.MessageView], error) {
			f, err := decode[registry.MessageForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			m, err := a.store.WriteMessage(ctx, who, in.ID, f)
			return tagged(m.Version, m), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/messages", id: "held-messages", tag: tag, says: "Texts between the sides of cases that are held."},
		func(ctx context.Context, who registry.Actor, in *struct{ Paged }) (*Page[registry.MessageView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.HeldMessages(ctx, who, after, in.Limit)
			return page(list, in.Limit, func(m registry.MessageView) string { return m.ID.String() }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/messages/{id}/review", id: "review-message", tag: tag, says: "Deliver a text that was held, or refuse it.", body: registry.MessageReview{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.MessageView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.MessageReview](in.RawBody)
			if err != nil {
				return nil, err
			}
			m, err := a.store.ReviewMessage(ctx, who, in.ID, version, f)
			return tagged(m.Version, m), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/cases/{id}/reopen", id: "reopen-step", tag: tag, says: "Open an earlier step again, until the point of no return. Its old answers stay in the timeline, struck through.", body: ReopenForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.Moved], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[ReopenForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			c, err := a.store.ShowReopenable(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			if c.Version != version {
				return nil, registry.NewError(registry.Stale, "case_changed", nil)
			}
			m, err := a.cases.Reopen(ctx, c.Protocol, in.ID, in.Key, workflows.ReopenCommand{Step: f.Step, Reason: f.Reason, Staff: who.Staff()})
			return tagged(m.Version, m), err
		})
}

func (a *API) taskRoutes() {
	const tag = "tasks"
	route(a, operation{method: http.MethodGet, path: "/v1/tasks", id: "list-tasks", tag: tag, says: "The open tasks that the reader may answer, the most urgent first."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Step     string    `query:"step"`
			Protocol string    `query:"protocol" enum:"enrolment,drive,search,stemcell,care,safety,rights"`
			Case     uuid.UUID `query:"case"`
			DueTo    time.Time `query:"due_to"`
		}) (*Page[registry.TaskView], error) {
			at, id, err := in.behind()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListTasks(ctx, who, registry.TaskFilter{Step: in.Step, Protocol: registry.Protocol(in.Protocol), CaseID: in.Case, DueTo: in.DueTo, After: at, AfterID: id, Limit: in.Limit})
			return page(list, in.Limit, func(t registry.TaskView) string { return instantCursor(t.DueAt, t.ID) }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/tasks/{id}", id: "show-task", tag: tag, says: "A task."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*One[registry.TaskView], error) {
			t, err := a.store.ShowTask(ctx, who, in.ID)
			return tagged(t.Version, t), err
		})
	// Every step has a form of its own, and so an operation of its own.
	for _, step := range registry.Steps() {
		route(a, operation{
			method: http.MethodPost, path: "/v1/tasks/{id}/answers/" + step, id: "answer-" + strings.ReplaceAll(step, ".", "-"), tag: tag, says: answering(step, lang.English), body: registry.StepForm(step), keyed: true,
		}, func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.Moved], error) {
			return a.answer(ctx, who, in.ID, step, in.Key, in.Versioned, in.RawBody)
		})
	}
}

// answer stores an answer and brings it to its case. When the desk does not answer in time, the answer is kept: it is
// delivered later, or when the same request comes again.
func (a *API) answer(ctx context.Context, who registry.Actor, task uuid.UUID, step, key string, v Versioned, body []byte) (*One[registry.Moved], error) {
	version, err := v.version()
	if err != nil {
		return nil, err
	}
	p, err := a.store.ProposeAnswer(ctx, who, registry.Answer{TaskID: task, Step: step, Version: version, Command: key, Form: slices.Clone(body)})
	if err != nil {
		return nil, err
	}
	if p.Moved != nil {
		return tagged(p.Moved.Version, *p.Moved), nil
	}
	m, err := a.cases.Answer(ctx, p)
	switch registry.KindOf(err) {
	case "":
	case registry.Unavailable:
		kept := registry.NewError(registry.Unavailable, "answer_kept", nil)
		kept.RetryAfter = 5 * time.Second
		return nil, kept
	default:
		// The case refuses it: nobody needs to deliver it again.
		if marked := a.store.RefuseAnswer(context.WithoutCancel(ctx), p.AnswerID, registry.CodeOf(err)); marked != nil {
			return nil, marked
		}
	}
	return tagged(m.Version, m), err
}
