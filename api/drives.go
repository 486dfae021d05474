package api

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/rules"
)

func (a *API) driveRoutes() {
	route(a, operation{method: http.MethodGet, path: "/v1/drives", id: "list-drives", tag: "drives", says: "Drives with their counts."},
		func(ctx context.Context, who registry.Actor, in *struct{ Paged }) (*Page[registry.DriveView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListDrives(ctx, who, after, in.Limit)
			return page(list, in.Limit, func(d registry.DriveView) string { return d.ID.String() }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/drives", id: "plan-drive", tag: "drives", says: "Plan a drive.", body: forms.Drive{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*One[registry.DriveView], error) {
			f, err := decode[forms.Drive](in.RawBody)
			if err != nil {
				return nil, err
			}
			d, err := a.store.PlanDrive(ctx, who, f)
			return tagged(d.Version, d), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/drives/{id}", id: "show-drive", tag: "drives", says: "A drive with its counts."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*One[registry.DriveView], error) {
			d, err := a.store.ShowDrive(ctx, who, in.ID)
			return tagged(d.Version, d), err
		})
	route(a, operation{method: http.MethodPut, path: "/v1/drives/{id}/team", id: "set-team", tag: "drives", says: "Say who works at a drive, from whichever office. Until the tubes have left, a member reads the drive and its sheets and enters forms, in the roles that they have. Who is new is told.", body: registry.TeamForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.DriveView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.TeamForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			d, err := a.store.SetTeam(ctx, who, in.ID, version, f)
			return tagged(d.Version, d), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/drives/{id}/template.xlsx", id: "drive-template", tag: "drives", says: "The workbook that the drive's forms are entered into.", gives: workbookType},
		func(ctx context.Context, who registry.Actor, in *ByID) (*workbook, error) {
			var out bytes.Buffer
			err := a.store.Template(ctx, who, in.ID, &out)
			return newWorkbook("template.xlsx", out.Bytes()), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/drives/{id}/consignments", id: "send-tubes", tag: "drives", says: "Hand the drive's tubes to a courier for the laboratory.", body: registry.SendForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Sent
		}) (*One[registry.ConsignmentView], error) {
			f, err := decode[registry.SendForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.SendTubes(ctx, who, in.ID, f)
			return tagged(v.Version, v), err
		})
}

const workbookType = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// workbook is an answer that is a spreadsheet.
type workbook struct {
	ContentType string `header:"Content-Type" class:"open" mask:"none"`
	Disposition string `header:"Content-Disposition" class:"open" mask:"none"`
	Body        []byte `class:"intake" mask:"clear"`
}

func newWorkbook(name string, data []byte) *workbook {
	return &workbook{workbookType, `attachment; filename="` + name + `"`, data}
}

// Cover is what comes with a file, in the query, so that the file is the body alone.
type Cover struct {
	Drive       uuid.UUID `query:"drive" required:"true" doc:"The drive that the forms were signed at."`
	FileName    string    `query:"file_name" doc:"With its ending, which helps to tell a CSV from a workbook."`
	Expected    int       `query:"expected" doc:"How many forms there should be."`
	Programmes  string    `query:"programmes" doc:"For a sheet without such a column, separated by commas: stemcell, blood, organ, cornea, body."`
	Signed      bool      `query:"signed" doc:"For a sheet without such a column: every form is signed."`
	SignedOn    string    `query:"signed_on" doc:"For a sheet without such a column: the day on which all were signed."`
	Health      bool      `query:"health_answered" doc:"For a sheet without such a column: the health questions were answered on every form."`
	FormVersion string    `query:"form_version" doc:"For a sheet without such a column."`
	Encoding    string    `query:"encoding" enum:"UTF-8,GB18030,UTF-16" doc:"When the guess was wrong."`
	Delimiter   string    `query:"delimiter" doc:"When the guess was wrong."`
	Sheet       string    `query:"sheet"`
}

func (c Cover) upload(data []byte) (registry.Upload, error) {
	u := registry.Upload{
		Drive: c.Drive, FileName: c.FileName, Data: data, Expected: c.Expected,
		Options:  registry.ReadOptions{Encoding: intake.Encoding(c.Encoding), Delimiter: c.Delimiter, Sheet: c.Sheet},
		Defaults: intake.Defaults{Signed: c.Signed, HealthAnswered: c.Health, FormVersion: c.FormVersion},
	}
	if c.Programmes != "" {
		for p := range strings.SplitSeq(c.Programmes, ",") {
			u.Defaults.Programmes = append(u.Defaults.Programmes, rules.Programme(strings.TrimSpace(p)))
		}
	}
	if c.SignedOn != "" {
		day, err := calendar.Parse(c.SignedOn)
		if err != nil {
			return u, registry.Invalidated(forms.Problems{{Code: "R123", Field: "signed_on"}})
		}
		u.Defaults.SignedOn = day
	}
	return u, nil
}

func (a *API) batchRoutes() {
	const tag = "batches"
	type Batch = One[registry.BatchView]
	route(a, operation{method: http.MethodPost, path: "/v1/import-batches", id: "upload-batch", tag: tag, says: "Upload a sheet of consent forms. Every row is checked; nothing of the register changes yet.", keyed: true, takes: sheetBody, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Cover
			Keyed
			RawBody []byte `contentType:"application/octet-stream"`
		}) (*Batch, error) {
			u, err := in.upload(in.RawBody)
			if err != nil {
				return nil, err
			}
			b, err := a.store.UploadBatch(ctx, who, u)
			return tagged(b.Version, b), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/drives/{id}/import-batches", id: "list-batches", tag: tag, says: "The files of a drive."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Page[registry.BatchView], error) {
			list, err := a.store.ListBatches(ctx, who, in.ID)
			return page(list, len(list)+1, func(registry.BatchView) string { return "" }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/import-batches/{id}", id: "show-batch", tag: tag, says: "A file: its columns, its counts, how far its commit is."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Batch, error) {
			b, err := a.store.ShowBatch(ctx, who, in.ID)
			return tagged(b.Version, b), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/import-batches/{id}/validate", id: "check-batch", tag: tag, says: "Check the file again, with other columns, another sheet or another encoding.", body: registry.ReadOptions{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*Batch, error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.ReadOptions](in.RawBody)
			if err != nil {
				return nil, err
			}
			b, err := a.store.CheckBatch(ctx, who, in.ID, version, f, intake.Limits{})
			return tagged(b.Version, b), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/import-batches/{id}/commit", id: "commit-batch", tag: tag, says: "Take the rows into the register. It goes on by itself; look at the batch for how far it is.", body: registry.CommitForm{}, keyed: true, status: http.StatusAccepted},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*Batch, error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.CommitForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			b, err := a.store.StartCommit(ctx, who, in.ID, version, f)
			return tagged(b.Version, b), err
		})
	for _, act := range []struct {
		name, says string
		do         func(context.Context, registry.Actor, uuid.UUID, int64) (registry.BatchView, error)
	}{
		{"cancel", "Stop the commit after the rows under way, or give the file up.", a.store.CancelBatch},
		{"retry-failed", "Open the rows that were not taken for another commit.", a.store.RetryBatch},
		{"undo", "Take the batch out of the register again, as long as no row of it has moved on.", a.store.StartUndo},
	} {
		route(a, operation{method: http.MethodPost, path: "/v1/import-batches/{id}/" + act.name, id: act.name + "-batch", tag: tag, says: act.says, keyed: true, status: http.StatusAccepted},
			func(ctx context.Context, who registry.Actor, in *struct {
				ByID
				Keyed
				Versioned
			}) (*Batch, error) {
				version, err := in.version()
				if err != nil {
					return nil, err
				}
				b, err := act.do(ctx, who, in.ID, version)
				return tagged(b.Version, b), err
			})
	}
	route(a, operation{method: http.MethodGet, path: "/v1/import-batches/{id}/rows", id: "list-rows", tag: tag, says: "The rows with their verdicts, in the order of the sheet."},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Paged
			Verdict string `query:"verdict" enum:"ready,warning,error,duplicate,known"`
			Outcome string `query:"outcome" enum:"created,updated,unchanged,linked,skipped,parked,failed"`
			Code    string `query:"code" doc:"Only rows with this problem."`
			Cells   bool   `query:"cells" doc:"With what was read."`
		}) (*Page[registry.BatchRowView], error) {
			parts, err := in.parts(1)
			if err != nil {
				return nil, err
			}
			after, err := strconv.Atoi("0" + parts[0])
			if err != nil {
				return nil, errCursor
			}
			list, err := a.store.ListRows(ctx, who, in.ID, registry.RowFilter{Verdict: in.Verdict, Outcome: in.Outcome, Code: in.Code, AfterRow: after, Limit: in.Limit, WithCells: in.Cells})
			return page(list, in.Limit, func(r registry.BatchRowView) string { return strconv.Itoa(r.Row) }), err
		})
	route(a, operation{method: http.MethodPatch, path: "/v1/import-batches/{id}/rows/{row}", id: "patch-row", tag: tag, says: "Mend a row in place, tick its warnings, or say what to do with somebody registered already.", body: registry.RowPatch{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Row int `path:"row"`
			Keyed
			Sent
		}) (*Plain[registry.BatchRowView], error) {
			f, err := decode[registry.RowPatch](in.RawBody)
			if err != nil {
				return nil, err
			}
			r, err := a.store.PatchRow(ctx, who, in.ID, in.Row, f)
			return plain(r), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/import-batches/{id}/result.xlsx", id: "batch-result", tag: tag, says: "The sheet with what became of each row beside it. Mended, it can be sent in again.", gives: workbookType},
		func(ctx context.Context, who registry.Actor, in *ByID) (*workbook, error) {
			var out bytes.Buffer
			err := a.store.ResultWorkbook(ctx, who, in.ID, &out)
			return newWorkbook("result.xlsx", out.Bytes()), err
		})
}
