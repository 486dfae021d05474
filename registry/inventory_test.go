package registry_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/exchange"
)

func (h *province) inventory(v registry.ExportView, format exchange.Format) (string, *registry.Inventory) {
	h.t.Helper()
	f, err := h.Store.FetchInventory(context.Background(), h.asker, v.ID, format)
	require.NoError(h.t, err)
	var out bytes.Buffer
	_, err = f.WriteTo(&out)
	require.NoError(h.t, err)
	require.NoError(h.t, f.Close())
	return out.String(), f
}

// asInventory has an export ask for typings.
func asInventory(f *registry.ExportForm) {
	f.Classes, f.Purpose = []policy.Class{policy.HLA}, policy.ForSearch
}

func readInventory(t *testing.T, format exchange.Format, text string) map[string]exchange.Donor {
	t.Helper()
	out := map[string]exchange.Donor{}
	for d, err := range exchange.NewReader(format, strings.NewReader(text)).Donors() {
		require.NoError(t, err)
		out[d.ID] = d
	}
	return out
}

func TestAnInventoryLeavesByTwoPeopleAndNamesNobody(t *testing.T) {
	t.Parallel()
	h := newProvince(t)
	ctx := context.Background()
	donors := h.listed(gl, glNine, "HLA-A*02:01+HLA-A*11:01|HLA-A*02:05+HLA-A*11:01"+rest(), gl, gl, gl)
	h.donor(50) // not listed
	h.sql(`UPDATE persons SET abo = 'AB', rh = 'negative', weight_kg = 61, height_cm = 170, last_contact = '2025-03-04' WHERE id = (SELECT person_id FROM registrations WHERE id = $1)`, donors[0])
	h.request(h.TransplantDoctor, h.search(h.TransplantDoctor, "").ID, donors[1])
	_, err := h.Store.Withdraw(ctx, h.Registrar, donors[3], 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	h.sql(`UPDATE registrations SET region = '110108' WHERE id = $1`, donors[4])
	h.sql(`UPDATE persons SET status = 'deceased' WHERE id = (SELECT person_id FROM registrations WHERE id = $1)`, donors[5])

	v := h.asks(asInventory)
	require.Equal(t, []any{"stemcell", "listed", 4, "waiting"}, []any{string(v.Filter.Programme), v.Filter.Status, v.Rows, v.Status})
	_, err = h.Store.FetchInventory(ctx, h.asker, v.ID, exchange.GL)
	requireCode(t, err, registry.Refused, "export_waiting")
	h.approves(v)

	numbers := values[string](h.house, `SELECT number FROM registrations WHERE id = ANY($1) ORDER BY id`, donors[:3])
	number := func(i int) string { return h.show(h.Coordinator, donors[i]).Number }
	for format, lost := range map[exchange.Format]int{exchange.WMDA: 1, exchange.Atlas: 1, exchange.GL: 0} {
		text, f := h.inventory(v, format)
		list := readInventory(t, format, text)
		require.Len(t, list, 3-lost, format)
		require.Equal(t, []int{3 - lost, lost}, []int{f.Donors, f.LeftOut}, format)
		for id := range list {
			require.Contains(t, numbers, id)
		}
		for _, secret := range []string{"张", "1380000", residentNumber(1), residentNumber(1)[6:14], "3201", donors[0].String()} {
			require.NotContains(t, text, secret, format)
		}
		first := list[number(0)]
		switch format {
		case exchange.WMDA:
			require.Equal(t, []any{"2197", exchange.Available, "2000-01-01", "AB", "N", 61, 170, "2025-03-04"},
				[]any{first.Pool, first.Status, first.Birth, first.ABO, first.Rhesus, *first.Weight, *first.Height, first.Contact})
			require.Equal(t, exchange.Reserved, list[number(1)].Status)
			require.Equal(t, strings.ReplaceAll(gl, "HLA-", ""), first.Typing)
		case exchange.Atlas:
			require.Equal(t, "2197", first.Pool)
		case exchange.GL:
			require.Equal(t, "hla#3.57.0#"+gl, first.Typing)
		}
	}
	// Each fetch is in the audit: what left, how many, in which format, and of whom.
	last := ` FROM audit WHERE act = 'FetchInventory' AND class = $1 ORDER BY recorded_at DESC, id DESC LIMIT 1`
	for _, class := range []string{"registration", "demographics", "hla"} {
		require.Contains(t, value[string](h.house, `SELECT action || ' ' || purpose || ' ' || fields`+last, class), "export search region=320000 programme=stemcell status=listed format=")
		shown := value[[]uuid.UUID](h.house, `SELECT showed`+last, class)
		require.Contains(t, shown, donors[0])
		require.NotContains(t, shown, donors[3])
	}
	require.NotNil(t, find(h.looks(h.Coordinator, donors[0], registry.LookFilter{Limit: 200}), "FetchInventory"))
	require.Equal(t, 3, must(h.Store.ShowExport(ctx, h.asker, v.ID)).Fetches)

	_, err = h.fetch(v)
	requireCode(t, err, registry.Refused, "export_inventory")
	_, err = h.Store.FetchInventory(ctx, h.asker, v.ID, exchange.MV4)
	requireProblem(t, err, "R114", "format")
	_, err = h.Store.FetchInventory(ctx, h.other, v.ID, exchange.GL)
	requireCode(t, err, registry.Denied, "export_of_another")
	_, err = h.Store.FetchInventory(ctx, h.Coordinator, v.ID, exchange.GL)
	requireCode(t, err, registry.NotFound, "export_not_found")
	sheet := h.approves(h.asks())
	_, err = h.Store.FetchInventory(ctx, h.asker, sheet.ID, exchange.GL)
	requireCode(t, err, registry.Refused, "export_no_inventory")

	// It is of listed donors, by itself, for a search; whoever reads typings or works for patients takes none out.
	for field, spoil := range map[string]func(*registry.ExportForm){
		"classes":          func(f *registry.ExportForm) { f.Classes = []policy.Class{policy.HLA, policy.Identity} },
		"filter.status":    func(f *registry.ExportForm) { f.Filter.Status = "withdrawn" },
		"filter.programme": func(f *registry.ExportForm) { f.Filter.Programme = "organ" },
	} {
		_, err := h.Store.AskExport(ctx, h.asker, export(asInventory, spoil))
		requireProblem(t, err, "R114", field)
	}
	_, err = h.Store.AskExport(ctx, h.asker, export(asInventory, func(f *registry.ExportForm) { f.Purpose = policy.ForFollowUp }))
	requireCode(t, err, registry.Denied, "export_purpose")
	for who, actor := range h.everybody() {
		_, err := h.Store.AskExport(ctx, actor, export(asInventory))
		requireCode(t, err, registry.Denied, "denied", who)
	}
	_, err = h.Store.AskExport(ctx, h.asker, export(asInventory, func(f *registry.ExportForm) { f.Region = "000000" }))
	requireCode(t, err, registry.Denied, "denied", "a province does not speak for the nation")
}

func TestAnInventoryIsAsLargeAsARegisterAndNamesTheInstallationsPool(t *testing.T) {
	t.Parallel()
	h := newProvince(t)
	ctx := context.Background()
	donors := h.listed(gl, gl, gl)
	small := h.open(registry.Options{Book: mostRows(t, "1"), Pool: "9999"})
	v, err := small.AskExport(ctx, h.asker, export(asInventory))
	require.NoError(t, err, "the limit of sheets is not that of inventories")
	h.approves(v)
	f, err := small.FetchInventory(ctx, h.asker, v.ID, exchange.WMDA)
	require.NoError(t, err)
	var out bytes.Buffer
	_, err = f.WriteTo(&out)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Len(t, readInventory(t, exchange.WMDA, out.String()), len(donors))
	require.Contains(t, out.String(), `POOL="9999"`)
	h.sql(`UPDATE exports SET until = now() - interval '1 second'`)
	_, err = small.FetchInventory(ctx, h.asker, v.ID, exchange.WMDA)
	requireCode(t, err, registry.Refused, "export_over")
	_, err = registry.Open(ctx, registry.Options{URL: h.url, Pool: "China"})
	require.ErrorContains(t, err, "four digits")
}
