package api

import (
	"context"
	"mime"
	"net/http"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
)

// Attachments are papers of a case or of a task.
type Attachments struct {
	Attachments []registry.AttachmentView `json:"attachments" class:"case" mask:"drop"`
}

// attachment is an answer that is a paper. It is not to be shown where it could do anything, nor kept.
type attachment struct {
	ContentType string `header:"Content-Type" class:"open" mask:"none"`
	Disposition string `header:"Content-Disposition" class:"open" mask:"none"`
	Body        []byte `class:"case" mask:"clear"`
}

func (a *API) attachmentRoutes() {
	const tag = "cases"
	list := func(ctx context.Context, who registry.Actor, caseID, task uuid.UUID) (*Plain[Attachments], error) {
		found, err := a.store.ListAttachments(ctx, who, caseID, task)
		return plain(Attachments{found}), err
	}
	type file struct {
		ByID
		Keyed
		FileName string `query:"file_name" doc:"With its ending."`
		RawBody  []byte `contentType:"application/octet-stream"`
	}
	add := func(ctx context.Context, who registry.Actor, f registry.AttachmentForm) (*One[registry.AttachmentView], error) {
		v, err := a.store.AddAttachment(ctx, who, f)
		return tagged(v.Version, v), err
	}
	route(a, operation{method: http.MethodGet, path: "/v1/cases/{id}/attachments", id: "list-attachments", tag: tag, says: "The papers of the reader's side of a case."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[Attachments], error) {
			return list(ctx, who, in.ID, uuid.Nil)
		})
	route(a, operation{method: http.MethodPost, path: "/v1/cases/{id}/attachments", id: "add-attachment", tag: tag, says: "Add a paper to a case: PDF, JPEG or PNG. It stays on the caller's side of the table.", keyed: true, takes: paperBody, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *file) (*One[registry.AttachmentView], error) {
			return add(ctx, who, registry.AttachmentForm{Case: in.ID, Name: in.FileName, Body: in.RawBody})
		})
	route(a, operation{method: http.MethodGet, path: "/v1/tasks/{id}/attachments", id: "list-task-attachments", tag: "tasks", says: "The papers of a task."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[Attachments], error) {
			return list(ctx, who, uuid.Nil, in.ID)
		})
	route(a, operation{method: http.MethodPost, path: "/v1/tasks/{id}/attachments", id: "add-task-attachment", tag: "tasks", says: "Add a paper to a task: PDF, JPEG or PNG.", keyed: true, takes: paperBody, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *file) (*One[registry.AttachmentView], error) {
			return add(ctx, who, registry.AttachmentForm{Task: in.ID, Name: in.FileName, Body: in.RawBody})
		})
	route(a, operation{method: http.MethodGet, path: "/v1/attachments/{id}", id: "fetch-attachment", tag: tag, says: "A paper as it was brought.", gives: "application/octet-stream", conflicts: true},
		func(ctx context.Context, who registry.Actor, in *ByID) (*attachment, error) {
			f, err := a.store.FetchAttachment(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			return &attachment{f.Media, mime.FormatMediaType("attachment", map[string]string{"filename": f.Name}), f.Body}, nil
		})
	route(a, operation{method: http.MethodPost, path: "/v1/attachments/{id}/remove", id: "remove-attachment", tag: tag, says: "Remove a paper: what was in it is destroyed, and that there was one stays.", body: registry.AttachmentRemoval{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.AttachmentView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.AttachmentRemoval](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.RemoveAttachment(ctx, who, in.ID, version, f)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/tasks/{id}/answer", id: "show-answer", tag: "tasks", says: "What was answered to a task: for whoever meant to answer it too, and was not first."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*One[registry.AnsweredTask], error) {
			v, err := a.store.ShowAnswer(ctx, who, in.ID)
			return tagged(v.Version, v), err
		})
}

func (a *API) reopeningRoutes() {
	const tag = "cases"
	route(a, operation{method: http.MethodGet, path: "/v1/cases/{id}/reopen", id: "preview-reopen", tag: tag, says: "What opening an earlier step again would do: which answers it strikes through, which tasks it cancels, whom it tells.", conflicts: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Step string `query:"step" required:"true"`
		}) (*One[registry.ReopenPreview], error) {
			c, err := a.store.ShowReopenable(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			plan, err := a.cases.WouldReopen(ctx, c.Protocol, in.ID, in.Step)
			if err != nil {
				return nil, err
			}
			v, err := a.store.PreviewReopen(ctx, who, in.ID, plan)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/cases/{id}/reopenings", id: "ask-reopening", tag: tag, says: "Ask the office above to agree that a step be opened again whose answer is old.", body: registry.ReopeningForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.ReopeningView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.ReopeningForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.AskReopening(ctx, who, in.ID, version, f)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/reopenings", id: "list-reopenings", tag: tag, says: "Late undos that wait for somebody's agreement."},
		func(ctx context.Context, who registry.Actor, in *struct{ Paged }) (*Page[registry.ReopeningView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			found, err := a.store.ListReopenings(ctx, who, after, in.Limit)
			return page(found, in.Limit, func(v registry.ReopeningView) string { return v.ID.String() }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/reopenings/{id}/decide", id: "decide-reopening", tag: tag, says: "Agree that a step be opened again, or do not. Nobody agrees with themselves.", body: registry.ReopeningVerdict{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.ReopeningView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.ReopeningVerdict](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.DecideReopening(ctx, who, in.ID, version, f)
			return tagged(v.Version, v), err
		})
}
