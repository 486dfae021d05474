package api

import (
	"context"
	"net/http"

	"github.com/liferelay/liferelay/registry"
)

// What a drive's team works with beside sheets: the board, stacks of paper, and the forms that volunteers fill in themselves. Second
// entries of paper and questions whether somebody is known are for people before a screen: they have no route.

func (a *API) intakeRoutes() {
	route(a, operation{method: http.MethodGet, path: "/v1/drives/{id}/board", id: "drive-board", tag: "drives", says: "A drive in numbers: forms by source and state, tubes, hours, members of the team, and the control total."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[registry.BoardView], error) {
			b, err := a.store.Board(ctx, who, in.ID)
			return plain(b), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/import-batches/{id}/groups", id: "list-groups", tag: "batches", says: "The problems of the rows that wait, each with all its rows, and what can be done for all of them at once."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Page[registry.ProblemGroup], error) {
			list, err := a.store.ListGroups(ctx, who, in.ID)
			return page(list, len(list)+1, func(registry.ProblemGroup) string { return "" }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/import-batches/{id}/groups/mend", id: "mend-group", tag: "batches", says: "Mend all rows of a group at once: one value for all, a value for each word that was read, or a tick.", body: registry.GroupFix{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.BatchView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.GroupFix](in.RawBody)
			if err != nil {
				return nil, err
			}
			b, err := a.store.MendGroup(ctx, who, in.ID, version, f)
			return tagged(b.Version, b), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/import-batches/{id}/activity", id: "list-activity", tag: "batches", says: "What was done with a batch, the last first."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Page[registry.ActivityLine], error) {
			list, err := a.store.ListActivity(ctx, who, in.ID)
			return page(list, len(list)+1, func(registry.ActivityLine) string { return "" }), err
		})
	a.paperRoutes()
	a.ownFormRoutes()
}

func (a *API) paperRoutes() {
	const tag = "batches"
	route(a, operation{method: http.MethodPost, path: "/v1/drives/{id}/paper", id: "open-paper", tag: tag, says: "Begin to enter a stack of paper forms. It is a batch whose rows come one at a time.", body: registry.PaperForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Sent
		}) (*One[registry.PaperView], error) {
			f, err := decode[registry.PaperForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.OpenPaper(ctx, who, in.ID, f)
			return tagged(v.Batch.Version, v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/import-batches/{id}/paper", id: "show-paper", tag: tag, says: "A stack of paper: how many forms were entered and held, what must be entered a second time, the last forms."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*One[registry.PaperView], error) {
			v, err := a.store.ShowPaper(ctx, who, in.ID)
			return tagged(v.Batch.Version, v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/import-batches/{id}/paper/forms", id: "enter-paper", tag: tag, says: "Enter one form of a stack, or hold it. A form that breaks a rule is not kept.", body: registry.PaperEntry{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Sent
		}) (*Plain[registry.BatchRowView], error) {
			f, err := decode[registry.PaperEntry](in.RawBody)
			if err != nil {
				return nil, err
			}
			_, row, err := a.store.EnterPaper(ctx, who, in.ID, f)
			return plain(row), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/import-batches/{id}/paper/close", id: "close-paper", tag: tag, says: "Close a stack with its control total. Then it can be committed.", body: registry.PaperClosing{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.PaperView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.PaperClosing](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.ClosePaper(ctx, who, in.ID, version, f)
			return tagged(v.Batch.Version, v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/import-batches/{id}/paper/reopen", id: "reopen-paper", tag: tag, says: "Open a stack again that was closed and not committed.", keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
		}) (*One[registry.PaperView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			v, err := a.store.ReopenPaper(ctx, who, in.ID, version)
			return tagged(v.Batch.Version, v), err
		})
}

func (a *API) ownFormRoutes() {
	const tag = "drives"
	route(a, operation{method: http.MethodGet, path: "/v1/drives/{id}/own-form", id: "show-own-form-link", tag: tag, says: "The public address of the drive's form, which volunteers fill in on their own phones."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[registry.LinkView], error) {
			l, err := a.store.ShowLink(ctx, who, in.ID)
			return plain(l), err
		})
	route(a, operation{method: http.MethodPut, path: "/v1/drives/{id}/own-form", id: "switch-own-form-link", tag: tag, says: "Switch the drive's public form on or off, or give it a new address.", body: registry.LinkForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Sent
		}) (*Plain[registry.LinkView], error) {
			f, err := decode[registry.LinkForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			l, err := a.store.SwitchLink(ctx, who, in.ID, f)
			return plain(l), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/drives/{id}/own-forms", id: "list-own-forms", tag: tag, says: "The forms that volunteers filled in at the drive, in the order in which they were sent."},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Status string `query:"status" enum:"draft,submitted,returned,taken,expired"`
		}) (*Page[registry.OwnFormLine], error) {
			list, err := a.store.ListOwnForms(ctx, who, in.ID, in.Status, 200)
			return page(list, len(list)+1, func(registry.OwnFormLine) string { return "" }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/own-forms/{id}", id: "show-own-form", tag: tag, says: "A volunteer's own form, for who compares it with the identity document."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*One[registry.OwnFormFull], error) {
			f, err := a.store.ShowOwnForm(ctx, who, in.ID)
			return tagged(f.Version, f), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/own-forms/{id}/take", id: "take-own-form", tag: tag, says: "Take a volunteer's own form into the register, with the tube's barcode.", body: registry.TakeForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*Plain[registry.Entry], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.TakeForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			e, err := a.store.TakeOwnForm(ctx, who, in.ID, version, f)
			return plain(e), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/own-forms/{id}/return", id: "return-own-form", tag: tag, says: "Send a volunteer's own form back to their phone.", body: registry.ReturnForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*Plain[registry.OwnFormLine], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.ReturnForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			l, err := a.store.ReturnOwnForm(ctx, who, in.ID, version, f)
			return plain(l), err
		})
}
