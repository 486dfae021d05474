package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/exchange"
)

// csvType is the media type of a sheet of donors.
const csvType = "text/csv; charset=utf-8"

// clearSheet is an answer that is a list of donors in clear.
type clearSheet struct {
	ContentType string `header:"Content-Type" class:"open" mask:"none"`
	Disposition string `header:"Content-Disposition" class:"open" mask:"none"`
	Body        []byte `class:"identity" mask:"clear"`
}

// inventoryFile is an answer that is a file of donors without their names.
type inventoryFile struct {
	ContentType string             `header:"Content-Type" class:"open" mask:"none"`
	Disposition string             `header:"Content-Disposition" class:"open" mask:"none"`
	Donors      int                `header:"X-Donors" doc:"How many donors the file has." class:"open" mask:"none"`
	LeftOut     int                `header:"X-Left-Out" doc:"How many were left out, because the format cannot hold their typing without saying something else." class:"open" mask:"none"`
	Body        func(huma.Context) `class:"hla" mask:"clear"`
}

// fileType is the media type of inventories, whatever their format.
const fileType = "application/octet-stream"

// inventoryNames are what the files are called.
var inventoryNames = map[exchange.Format]string{exchange.WMDA: "inventory.xml", exchange.Atlas: "inventory.json", exchange.GL: "inventory.txt"}

const asDonors = `attachment; filename="donors.csv"`

func (a *API) exportRoutes() {
	const tag = "exports"
	type Export = One[registry.ExportView]
	route(a, operation{method: http.MethodPost, path: "/v1/exports", id: "ask-export", tag: tag, says: "Ask to export donors in clear: names and document numbers, phones, or both, for a purpose and with a reason; or an inventory of typings without names. Nothing leaves until another person has approved it.", body: registry.ExportForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Export, error) {
			f, err := decode[registry.ExportForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.AskExport(ctx, who, f)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/exports", id: "list-exports", tag: tag, says: "The exports in clear that one asked for and, for who reviews them, those of one's regions, the newest first."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Status string `query:"status" enum:"waiting,approved,refused,withdrawn,expired,over"`
			Mine   bool   `query:"mine" doc:"Only one's own."`
		}) (*Page[registry.ExportView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListExports(ctx, who, registry.ExportsFilter{Status: in.Status, Mine: in.Mine, After: after, Limit: in.Limit})
			return page(list, in.Limit, func(v registry.ExportView) string { return v.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/exports/{id}", id: "show-export", tag: tag, says: "An export in clear: of whom, of what, what for, and where it stands."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Export, error) {
			v, err := a.store.ShowExport(ctx, who, in.ID)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/exports/{id}", id: "withdraw-export", tag: tag, says: "Take an export back that one asked for, whether it was approved or not.", status: http.StatusNoContent},
		func(ctx context.Context, who registry.Actor, in *ByID) (*struct{}, error) {
			return &struct{}{}, a.store.WithdrawExport(ctx, who, in.ID)
		})
	route(a, operation{method: http.MethodPost, path: "/v1/exports/{id}/reveal", id: "reveal-export", tag: tag, says: "The words with which an export was asked for and decided, for who decides and for who asked."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[registry.ExportWords], error) {
			w, err := a.store.RevealExport(ctx, who, in.ID)
			return plain(w), err
		})
	for _, act := range []struct {
		name, says string
		approve    bool
	}{
		{"approve", "Let an export leave. Who asked for it can fetch it for a day. Nobody approves their own.", true},
		{"refuse", "Refuse an export, with the reason.", false},
	} {
		route(a, operation{method: http.MethodPost, path: "/v1/exports/{id}/" + act.name, id: act.name + "-export", tag: tag, says: act.says, body: registry.ExportDecision{}, keyed: true},
			func(ctx context.Context, who registry.Actor, in *struct {
				ByID
				Keyed
				Sent
			}) (*Export, error) {
				f, err := decode[registry.ExportDecision](in.RawBody)
				if err != nil {
					return nil, err
				}
				v, err := a.store.DecideExport(ctx, who, in.ID, act.approve, f)
				return tagged(v.Version, v), err
			})
	}
	// Not remembered for an idempotency key: each time it is decided and audited anew.
	route(a, operation{method: http.MethodPost, path: "/v1/exports/{id}/donors.csv", id: "fetch-export", tag: tag, says: "The donors of an export that was approved, in clear, as a sheet for the one who asked. It is made by what one may take out at that moment, and kept nowhere.", gives: csvType},
		func(ctx context.Context, who registry.Actor, in *ByID) (*clearSheet, error) {
			s, err := a.store.FetchExport(ctx, who, in.ID)
			return &clearSheet{csvType, asDonors, s.Data}, err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/exports/{id}/inventory", id: "fetch-inventory", tag: tag, says: "The inventory of an export of typings that was approved, for the one who asked: listed stem-cell donors by number, as registries exchange them. It is made by what one may take out at that moment, and kept nowhere.", gives: fileType},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Format string `query:"format" required:"true" enum:"wmda-xml,atlas-json,gl"`
		}) (*inventoryFile, error) {
			format := exchange.Format(in.Format)
			f, err := a.store.FetchInventory(ctx, who, in.ID, format)
			if err != nil {
				return nil, err
			}
			return &inventoryFile{fileType, `attachment; filename="` + inventoryNames[format] + `"`, f.Donors, f.LeftOut, func(to huma.Context) {
				to.SetStatus(http.StatusOK)
				_, _ = f.WriteTo(to.BodyWriter()) // whoever breaks off asks again
				_ = f.Close()
			}}, nil
		})
}
