package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
)

// Colleagues are who could answer a task.
type Colleagues struct {
	Colleagues []registry.Coworker `json:"colleagues" class:"case" mask:"drop"`
}

// AssignedMany are what became of tasks that were assigned at once.
type AssignedMany struct {
	Tasks []registry.Assigned `json:"tasks" class:"case" mask:"drop"`
}

// clock asks something of a task's clock and brings it to the desk.
func (a *API) clock(ctx context.Context, who registry.Actor, ask registry.ClockAsk, v Versioned) (*One[registry.ClockRequest], error) {
	var err error
	if ask.Version, err = v.version(); err != nil {
		return nil, err
	}
	k, err := a.store.AskClock(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	k, err = a.cases.CarryOut(ctx, a.store, k)
	return tagged(k.Version, k), err
}

func (a *API) workRoutes() {
	const tag = "tasks"
	route(a, operation{method: http.MethodGet, path: "/v1/work", id: "list-work", tag: tag, says: "The reader's worklist, what is most at risk first: what they may answer, and what others have to answer in the cases that their side carries."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Tab      string    `query:"tab" enum:"all,overdue,today,week,unassigned,waiting,escalated"`
			Protocol string    `query:"protocol" enum:"enrolment,drive,search,stemcell,care,safety,rights"`
			Step     string    `query:"step"`
			Region   string    `query:"region" doc:"Cases of this region and of those in it."`
			Number   string    `query:"number" doc:"A part of the case's number."`
			Case     uuid.UUID `query:"case"`
		}) (*Page[registry.WorkLine], error) {
			at, id, err := in.behind()
			if err != nil {
				return nil, err
			}
			list, err := a.store.Work(ctx, who, registry.WorkFilter{Tab: registry.WorkTab(in.Tab), Protocol: registry.Protocol(in.Protocol), Step: in.Step, Region: identity.Region(in.Region), Number: in.Number, CaseID: in.Case, After: at, AfterID: id, Limit: in.Limit})
			return page(list, in.Limit, func(l registry.WorkLine) string { return instantCursor(l.RankAt, l.ID) }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/work/counts", id: "count-work", tag: tag, says: "How many tasks each tab of the reader's worklist has; 100 stands for that many or more."},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Plain[registry.WorkCounts], error) {
			c, err := a.store.CountWork(ctx, who, registry.WorkFilter{})
			return plain(c), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/tasks/{id}/claim", id: "claim-task", tag: tag, says: "Say that one is at a task, for half an hour; again, to renew it. Nobody else's answer is taken meanwhile.", keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
		}) (*Plain[registry.LeaseView], error) {
			l, err := a.store.ClaimTask(ctx, who, in.ID)
			return plain(l), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/tasks/{id}/claim", id: "release-task", tag: tag, says: "Say that one is not at a task any more.", status: http.StatusNoContent},
		func(ctx context.Context, who registry.Actor, in *ByID) (*struct{}, error) {
			return &struct{}{}, a.store.ReleaseTask(ctx, who, in.ID)
		})
	route(a, operation{method: http.MethodPost, path: "/v1/tasks/{id}/take-over", id: "take-over-task", tag: tag, says: "Take a task from whoever is at it, as a supervisor of the region: for a colleague, or for nobody yet.", body: registry.LeaseForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Sent
		}) (*One[registry.TaskView], error) {
			f, err := decode[registry.LeaseForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			t, err := a.store.TakeOverTask(ctx, who, in.ID, f)
			return tagged(t.Version, t), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/tasks/{id}/colleagues", id: "list-colleagues", tag: tag, says: "Who could answer a task, for whoever assigns it."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[Colleagues], error) {
			list, err := a.store.Colleagues(ctx, who, in.ID)
			return plain(Colleagues{list}), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/tasks/{id}/assign", id: "assign-task", tag: tag, says: "Give a task to a colleague who could answer it, or take it back.", body: registry.AssignForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.TaskView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.AssignForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			t, err := a.store.AssignTask(ctx, who, in.ID, version, f)
			return tagged(t.Version, t), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/tasks/assign", id: "assign-tasks", tag: tag, says: "Give up to a hundred tasks to a colleague. What became of each is told.", body: registry.AssignManyForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Plain[AssignedMany], error) {
			f, err := decode[registry.AssignManyForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			done, err := a.store.AssignTasks(ctx, who, f)
			return plain(AssignedMany{done}), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/tasks/{id}/more-time", id: "more-time", tag: tag, says: "Ask for a later deadline: one's own to give as often and as much as the rules say, beyond that a supervisor's.", body: registry.MoreTimeForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.ClockRequest], error) {
			f, err := decode[registry.MoreTimeForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			return a.clock(ctx, who, registry.ClockAsk{TaskID: in.ID, Command: in.Key, Kind: registry.MoreTime, Reason: f.Reason, Until: f.Until}, in.Versioned)
		})
	route(a, operation{method: http.MethodPost, path: "/v1/tasks/{id}/pause", id: "pause-task", tag: tag, says: "Stop a task's clock while somebody else is waited for. Nobody is reminded meanwhile, and the deadline moves by the working days that it stood.", body: registry.PauseForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.ClockRequest], error) {
			f, err := decode[registry.PauseForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			return a.clock(ctx, who, registry.ClockAsk{TaskID: in.ID, Command: in.Key, Kind: registry.Pause, Reason: f.Reason, Until: f.Until}, in.Versioned)
		})
	route(a, operation{method: http.MethodPost, path: "/v1/tasks/{id}/resume", id: "resume-task", tag: tag, says: "Let a task's clock run again.", keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
		}) (*One[registry.ClockRequest], error) {
			return a.clock(ctx, who, registry.ClockAsk{TaskID: in.ID, Command: in.Key, Kind: registry.Resume, Until: calendar.Date{}}, in.Versioned)
		})
	route(a, operation{method: http.MethodGet, path: "/v1/time-requests", id: "list-time-requests", tag: tag, says: "Requests for more time that wait for a supervisor, in the reader's regions."},
		func(ctx context.Context, who registry.Actor, in *struct{ Paged }) (*Page[registry.ClockRequest], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListClocks(ctx, who, after, in.Limit)
			return page(list, in.Limit, func(k registry.ClockRequest) string { return k.ID.String() }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/time-requests/{id}/decide", id: "decide-time-request", tag: tag, says: "Give more time, or refuse it, as a supervisor of the region.", body: registry.ClockVerdict{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.ClockRequest], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.ClockVerdict](in.RawBody)
			if err != nil {
				return nil, err
			}
			k, err := a.store.DecideClock(ctx, who, in.ID, version, f)
			if err != nil {
				return nil, err
			}
			k, err = a.cases.CarryOut(ctx, a.store, k)
			return tagged(k.Version, k), err
		})
	a.handoverRoutes()
}

func (a *API) handoverRoutes() {
	const tag = "cases"
	route(a, operation{method: http.MethodPost, path: "/v1/cases/{id}/look", id: "look-at-case", tag: tag, says: "Note that one looks at a case, and learn when one looked before: what happened since is new."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[registry.LookView], error) {
			l, err := a.store.LookAtCase(ctx, who, in.ID)
			return plain(l), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/cases/{id}/handovers", id: "offer-handover", tag: tag, says: "Offer a case to a colleague, or to whoever coordinates at another office. It stays until they accept.", body: registry.HandoverForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Sent
		}) (*One[registry.HandoverView], error) {
			f, err := decode[registry.HandoverForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			h, err := a.store.OfferHandover(ctx, who, in.ID, f)
			return tagged(h.Version, h), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/handovers", id: "list-handovers", tag: tag, says: "Cases that the reader's office is asked to take over, or gave away, the newest first."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Given bool      `query:"given" doc:"Those that the reader's office gave."`
			Open  bool      `query:"open" doc:"Only those that nobody has answered yet."`
			Case  uuid.UUID `query:"case"`
		}) (*Page[registry.HandoverView], error) {
			before, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListHandovers(ctx, who, registry.HandoverFilter{Given: in.Given, Open: in.Open, CaseID: in.Case, Before: before, Limit: in.Limit})
			return page(list, in.Limit, func(h registry.HandoverView) string { return h.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/handovers/{id}", id: "show-handover", tag: tag, says: "A handover with its note: what was promised, what is open, what happened last."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*One[registry.HandoverNote], error) {
			h, err := a.store.ShowHandover(ctx, who, in.ID)
			return tagged(h.Version, h), err
		})
	type decided struct {
		ByID
		Keyed
		Versioned
	}
	route(a, operation{method: http.MethodPost, path: "/v1/handovers/{id}/accept", id: "accept-handover", tag: tag, says: "Take a case over: its coordinator's seat, its open tasks, and the donor where the office lies elsewhere.", keyed: true},
		func(ctx context.Context, who registry.Actor, in *decided) (*One[registry.HandoverView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			h, err := a.store.AcceptHandover(ctx, who, in.ID, version)
			return tagged(h.Version, h), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/handovers/{id}/decline", id: "decline-handover", tag: tag, says: "Decline to take a case over.", body: registry.DeclineForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.HandoverView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.DeclineForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			h, err := a.store.DeclineHandover(ctx, who, in.ID, version, f)
			return tagged(h.Version, h), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/handovers/{id}/withdraw", id: "withdraw-handover", tag: tag, says: "Take the offer of a case back.", keyed: true},
		func(ctx context.Context, who registry.Actor, in *decided) (*One[registry.HandoverView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			h, err := a.store.WithdrawHandover(ctx, who, in.ID, version)
			return tagged(h.Version, h), err
		})
}
