package registry_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// why is a reason to export, in somebody's own words.
const why = "年度回访，须逐一打电话核实联系方式"

// province is a house with two people of the provincial office, and one of the city's.
type province struct {
	*house
	asker, other, city registry.Actor
}

func newProvince(t *testing.T, options ...registry.Options) *province {
	t.Helper()
	h := newHouse(t, options...)
	return &province{h, h.Staff(t, "asker", h.City, policy.ProvincialOffice, "320000"), h.Staff(t, "approver", h.City, policy.ProvincialOffice, "320000"), h.Staff(t, "cityoffice", h.City, policy.CityOffice, "320100")}
}

func export(change ...func(*registry.ExportForm)) registry.ExportForm {
	f := registry.ExportForm{Region: "320000", Classes: []policy.Class{policy.Identity, policy.Contact}, Purpose: policy.ForFollowUp, Reason: seal.NoteOf(why)}
	for _, set := range change {
		set(&f)
	}
	return f
}

func (h *province) asks(change ...func(*registry.ExportForm)) registry.ExportView {
	h.t.Helper()
	v, err := h.Store.AskExport(context.Background(), h.asker, export(change...))
	require.NoError(h.t, err)
	return v
}

func (h *province) approves(v registry.ExportView) registry.ExportView {
	h.t.Helper()
	v, err := h.Store.DecideExport(context.Background(), h.other, v.ID, true, registry.ExportDecision{})
	require.NoError(h.t, err)
	return v
}

func (h *province) fetch(v registry.ExportView) (registry.Sheet, error) {
	return h.Store.FetchExport(context.Background(), h.asker, v.ID)
}

func (h *province) fetches(v registry.ExportView) [][]string {
	h.t.Helper()
	s, err := h.fetch(v)
	require.NoError(h.t, err)
	return linesOf(h.t, s)
}

// linesOf reads a sheet: its headings and its lines.
func linesOf(t testing.TB, s registry.Sheet) [][]string {
	t.Helper()
	text, marked := bytes.CutPrefix(s.Data, []byte("\ufeff"))
	require.True(t, marked, "a spreadsheet needs the mark to read Chinese")
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, s.Rows+1)
	return lines
}

// copies adds registrations like one, of people who have left.
func (h *house) copies(donor uuid.UUID, n int) {
	h.t.Helper()
	h.sql(`INSERT INTO registrations SELECT (jsonb_populate_record(r, jsonb_build_object('id', gen_random_uuid(), 'number', 'copy' || n, 'status', 'left'))).* FROM registrations r, generate_series(1, $2::int) n WHERE id = $1`, donor, n)
}

// mostRows is the rule book with another limit of an export.
func mostRows(t testing.TB, most string) *rules.Book { return mostRowsIn(t, "000000", most) }

// mostRowsIn is a book in which a region's exports have at most so many rows.
func mostRowsIn(t testing.TB, region, most string) *rules.Book {
	t.Helper()
	packs, names := fstest.MapFS{}, must(filepath.Glob("rules/data/packs/*.yaml"))
	require.NotEmpty(t, names)
	for _, name := range names {
		packs[filepath.Base(name)] = &fstest.MapFile{Data: must(os.ReadFile(name))}
	}
	packs["access-own.yaml"] = &fstest.MapFile{Data: fmt.Appendf(nil, "pack: access-own\nregion: %q\nversion: \"2026.1\"\nfrom: 2020-01-01\nrules:\n  access.export_rows: {is: %s, source: test}\n", region, most)}
	book, err := rules.Load(packs)
	require.NoError(t, err)
	return book
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAMaskedExportIsTheListInOneSheetAndNothingElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	f, secrets := personal()
	donor := h.register(h.Registrar, f).Donors[0]
	other := h.donor(1)
	list, err := h.Store.ListDonors(ctx, h.Registrar, registry.DonorFilter{})
	require.NoError(t, err)
	for who, actor := range map[string]registry.Actor{"registrar": h.Registrar, "coordinator": h.Coordinator, "the city's coordinator": h.CityCoordinator} {
		sheet, err := h.Store.ExportDonors(ctx, actor, registry.DonorFilter{})
		require.NoError(t, err, who)
		for _, secret := range append(secrets, "张小明", residentNumber(1), "13800000001") {
			require.NotContains(t, string(sheet.Data), secret, who)
		}
		lines := linesOf(t, sheet)
		require.Equal(t, []string{"登记编号", "姓名（已遮盖）", "登记项目", "意愿", "状态", "区划代码", "行政区划", "登记日期", "登记标识"}, lines[0])
		for i, d := range list {
			require.Equal(t, []string{d.Number, d.Name.Display, "造血干细胞", "愿意", "入库办理中", "320106", "江苏省南京市鼓楼区", d.RegisteredOn.String(), d.ID.String()}, lines[i+1], who)
		}
	}
	english := h.Registrar
	english.Locale = lang.English
	sheet, err := h.Store.ExportDonors(ctx, english, registry.DonorFilter{Number: donor.Number, Region: "320106000000"})
	require.NoError(t, err)
	lines := linesOf(t, sheet)
	require.Equal(t, []string{"Number", "Name (masked)", "Programme", "Intent", "Status"}, lines[0][:5])
	require.Len(t, lines, 2)
	require.Equal(t, []string{donor.Number, "欧阳*甲", "stem cells", "wish", "enrolling"}, lines[1][:5])

	// Who is only stored has no name, and the cell says so.
	h.sql(`UPDATE registrations SET status = 'withdrawn' WHERE id = $1`, other)
	_, err = h.Store.FileRights(ctx, h.Registrar, forms.RightsRequest{Donor: other, Kind: "copy", Asker: "person", Via: "counter"})
	require.NoError(t, err)
	h.sql(`INSERT INTO restrictions (person_id, kind, request_id, since) SELECT person_id, 'blocked', id, now() FROM rights_requests`)
	sheet, err = h.Store.ExportDonors(ctx, h.Registrar, registry.DonorFilter{Status: "withdrawn"})
	require.NoError(t, err)
	require.Equal(t, []string{"（已保护）", "已撤回"}, []string{linesOf(t, sheet)[1][1], linesOf(t, sheet)[1][4]})

	// A row of the audit says how many, of whom, and who was in it; to look so is not to open.
	last := `FROM audit WHERE act = 'ExportDonors' AND actor = $1 ORDER BY recorded_at DESC, id DESC LIMIT 1`
	require.Equal(t, "status=withdrawn rows=1", value[string](h, `SELECT fields `+last, h.Registrar.Subject()))
	require.Equal(t, []uuid.UUID{other}, value[[]uuid.UUID](h, `SELECT showed `+last, h.Registrar.Subject()))
	require.Equal(t, "export registration donors 2", value[string](h, `SELECT action || ' ' || class || ' ' || target || ' ' || shown `+last, h.Coordinator.Subject()))
	look := find(h.looks(h.Coordinator, donor.ID, registry.LookFilter{Limit: 200}), "ExportDonors")
	require.NotNil(t, look)
	require.Equal(t, []any{true, policy.Export, policy.Registration}, []any{look.List, look.Action, look.Class})
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM openings`))
	all := strings.Join(values[string](h, `SELECT to_jsonb(a)::text FROM audit a WHERE act = 'ExportDonors'`), "\n")
	require.NotContains(t, all, donor.Number, "what was looked for is a digest")

	for who, actor := range map[string]registry.Actor{"technician": h.Technician, "collection": h.CollectionDoctor, "transplant": h.TransplantDoctor, "auditor": h.Auditor, "administrator": h.Administrator, "system": system,
		"station": h.Staff(t, "station", h.County, policy.Station, "320106"), "organs": h.Staff(t, "organs", h.City, policy.OrganCoordinator, "320100")} {
		_, err := h.Store.ExportDonors(ctx, actor, registry.DonorFilter{})
		requireCode(t, err, registry.Denied, "denied", who)
	}
	sheet, err = h.Store.ExportDonors(ctx, h.far(), registry.DonorFilter{})
	require.NoError(t, err)
	require.Zero(t, sheet.Rows)
	_, err = h.Store.ExportDonors(ctx, h.Registrar, registry.DonorFilter{Region: "999999"})
	requireProblem(t, err, "R118", "region")
}

func TestAListIsNarrowedByRegionAndDays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two := h.donor(1), h.donor(2)
	h.sql(`UPDATE registrations SET registered_on = $2 WHERE id = $1`, two, signed().AddDays(5))
	h.sql(`UPDATE registrations SET region = '320102' WHERE id = $1`, two)
	for _, c := range []struct {
		f    registry.DonorFilter
		want []uuid.UUID
	}{
		{registry.DonorFilter{Region: "320100"}, []uuid.UUID{one, two}},
		{registry.DonorFilter{Region: "320106"}, []uuid.UUID{one}},
		{registry.DonorFilter{Region: "110000"}, nil},
		{registry.DonorFilter{RegisteredFrom: signed().AddDays(5)}, []uuid.UUID{two}},
		{registry.DonorFilter{RegisteredBefore: signed().AddDays(5)}, []uuid.UUID{one}},
		{registry.DonorFilter{RegisteredFrom: signed(), RegisteredBefore: signed().AddDays(6), Region: "320102"}, []uuid.UUID{two}},
	} {
		list, err := h.Store.ListDonors(context.Background(), h.CityCoordinator, c.f)
		require.NoError(t, err)
		var got []uuid.UUID
		for _, d := range list {
			got = append(got, d.ID)
		}
		require.ElementsMatch(t, c.want, got, "%+v", c.f)
	}
	require.Equal(t, "region=320102 registered_from="+signed().String()+" registered_before="+signed().AddDays(6).String(),
		value[string](h, `SELECT fields FROM audit WHERE act = 'ListDonors' ORDER BY recorded_at DESC, id DESC LIMIT 1`))
}

// A sheet of more than a page has everybody once, and the audit names them all.
func TestALargeExportHasEverybodyOnceAndIsAuditedInParts(t *testing.T) {
	t.Parallel()
	h := newProvince(t)
	ctx := context.Background()
	donor := h.donor(1)
	h.copies(donor, 2300)
	masked, err := h.Store.ExportDonors(ctx, h.Registrar, registry.DonorFilter{})
	require.NoError(t, err)
	require.Equal(t, 2301, masked.Rows)
	ids := map[string]bool{}
	for _, line := range linesOf(t, masked)[1:] {
		ids[line[len(line)-1]] = true
	}
	require.Len(t, ids, 2301)
	parts := `SELECT cardinality(showed) FROM audit WHERE act = $1 AND class = $2 AND shown = cardinality(showed) AND fields LIKE '%rows=2301' ORDER BY 1 DESC`
	require.Equal(t, []int{1000, 1000, 301}, values[int](h.house, parts, "ExportDonors", "registration"))
	v := h.asks()
	require.Len(t, h.fetches(h.approves(v)), 2302)
	for _, class := range []string{"registration", "identity", "contact"} {
		require.Equal(t, []int{1000, 1000, 301}, values[int](h.house, parts, "FetchExport", class), class)
	}
	require.Equal(t, 2301, value[int](h.house, `SELECT count(DISTINCT one)::int FROM audit, unnest(showed) one WHERE act = 'FetchExport' AND class = 'contact'`))
	// All is of one instant, and what another transaction makes be tried again is not in the sheet twice.
	h.loses("audit", "40001", 2, "")
	again, err := h.Store.ExportDonors(ctx, h.Registrar, registry.DonorFilter{})
	require.NoError(t, err)
	require.Equal(t, masked, again)
	require.Equal(t, "repeatable read", h.isolationOf("audit", func() {
		_, err := h.Store.ExportDonors(ctx, h.Registrar, registry.DonorFilter{})
		require.NoError(t, err)
	}))
}

// isolationOf is how the transaction was isolated that added to a table last.
func (h *house) isolationOf(table string, do func()) string {
	h.t.Helper()
	h.sql(`CREATE TABLE isolations (level text)`)
	h.sql(`CREATE FUNCTION isolation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO isolations VALUES (current_setting('transaction_isolation')); RETURN NEW; END $$`)
	h.sql(`CREATE TRIGGER isolation BEFORE INSERT ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION isolation()`)
	do()
	return value[string](h, `SELECT string_agg(DISTINCT level, ', ') FROM isolations`)
}

// The strictest rule of the regions that the donors lie in counts, whatever region was asked for, and the refusal is in the audit: it
// tells how many there are.
func TestWhoAsksForALargerRegionIsHeldToTheStricterRule(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registry.Options{Book: mostRowsIn(t, "320000", "1")})
	ctx := context.Background()
	h.donor(1)
	h.donor(2)
	lax := h.Staff(t, "lax", h.Transplant, policy.Registrar, "320106") // whose office lies in another province
	for _, by := range []registry.Actor{h.Registrar, lax} {
		for _, region := range []identity.Region{"", "320106", "320000", "000000"} {
			before := value[int](h, `SELECT count(*)::int FROM audit WHERE rule = 'export_too_large' AND NOT allowed`)
			_, err := h.Store.ExportDonors(ctx, by, registry.DonorFilter{Region: region})
			requireCode(t, err, registry.Refused, "export_too_large", string(region))
			require.Equal(t, before+1, value[int](h, `SELECT count(*)::int FROM audit WHERE rule = 'export_too_large' AND NOT allowed`))
		}
	}
}

func TestAnExportThatIsTooLargeIsRefusedAndSaysHowManyThereAre(t *testing.T) {
	t.Parallel()
	h := newProvince(t, registry.Options{Book: mostRows(t, "2")})
	ctx := context.Background()
	h.donor(1)
	second := h.donor(2)
	v := h.approves(h.asks())
	require.Len(t, h.fetches(v), 3)
	h.donor(3)
	_, masked := h.Store.ExportDonors(ctx, h.Registrar, registry.DonorFilter{})
	_, asked := h.Store.AskExport(ctx, h.asker, export())
	_, fetched := h.fetch(v)
	for what, err := range map[string]error{"masked": masked, "asked": asked, "more since it was asked": fetched} {
		requireCode(t, err, registry.Refused, "export_too_large", what)
		var own *registry.Error
		require.ErrorAs(t, err, &own)
		require.Equal(t, map[string]any{"Count": 3, "Most": 2}, own.Args, what)
	}
	sheet, err := h.Store.ExportDonors(ctx, h.Registrar, registry.DonorFilter{Number: h.numberOf(second)})
	require.NoError(t, err)
	require.Equal(t, 1, sheet.Rows)
	require.Equal(t, 20000, rules.Embedded().For("320106", today()).Count(rules.AccessExportRows))
}

func TestAnExportInClearNeedsTwoPeople(t *testing.T) {
	t.Parallel()
	at := newClock()
	h := newProvince(t, registry.Options{Now: at.now})
	ctx := context.Background()
	f, secrets := personal()
	donor := h.register(h.Registrar, f).Donors[0]
	v := h.asks()
	require.Equal(t, []any{"waiting", 1, h.asker.Staff(), 7 * 24 * time.Hour}, []any{v.Status, v.Rows, v.By, v.DecideBy.Sub(v.AskedAt)})

	// Until somebody else has approved it nothing leaves, whoever tries.
	_, err := h.fetch(v)
	requireCode(t, err, registry.Refused, "export_waiting")
	_, err = h.Store.DecideExport(ctx, h.asker, v.ID, true, registry.ExportDecision{})
	requireCode(t, err, registry.Denied, "export_own")
	_, err = h.Store.DecideExport(ctx, h.asker, v.ID, false, registry.ExportDecision{Note: seal.NoteOf("自己的申请自己拒绝也不行")})
	requireCode(t, err, registry.Denied, "export_own")
	require.Equal(t, 2, value[int](h.house, `SELECT count(*)::int FROM audit WHERE act = 'DecideExport' AND rule = 'export_own' AND NOT allowed AND target = $1`, "export:"+v.ID.String()))
	_, err = h.Store.FetchExport(ctx, h.other, v.ID)
	requireCode(t, err, registry.Denied, "export_of_another")
	for who, actor := range h.everybody() {
		if who == "system" {
			continue
		}
		for what, do := range map[string]func() error{
			"fetch":    func() error { _, err := h.Store.FetchExport(ctx, actor, v.ID); return err },
			"show":     func() error { _, err := h.Store.ShowExport(ctx, actor, v.ID); return err },
			"reveal":   func() error { _, err := h.Store.RevealExport(ctx, actor, v.ID); return err },
			"withdraw": func() error { return h.Store.WithdrawExport(ctx, actor, v.ID) },
			"approve": func() error {
				_, err := h.Store.DecideExport(ctx, actor, v.ID, true, registry.ExportDecision{})
				return err
			},
		} {
			if who == "security" && (what == "show" || what == "fetch" || what == "approve" || what == "reveal") {
				continue // reads reviews: below
			}
			requireCode(t, do(), registry.NotFound, "export_not_found", who, what)
		}
	}
	_, err = h.Store.FetchExport(ctx, h.Security, v.ID)
	requireCode(t, err, registry.Denied, "export_of_another")
	_, err = h.Store.DecideExport(ctx, h.Security, v.ID, true, registry.ExportDecision{})
	requireCode(t, err, registry.Denied, "denied")
	_, err = h.Store.RevealExport(ctx, h.Security, v.ID)
	requireCode(t, err, registry.Denied, "denied")

	// Whoever may approve hears of it, and reads why; the list shows it to them and to who asked.
	require.Equal(t, []uuid.UUID{h.other.Staff()}, values[uuid.UUID](h.house, `SELECT staff_id FROM notices WHERE code = 'export.asked'`))
	notices, err := h.Store.ListNotices(ctx, h.other, false, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Equal(t, "export.asked", notices[0].Code)
	for who, actor := range map[string]registry.Actor{"who asked": h.asker, "the other": h.other} {
		words, err := h.Store.RevealExport(ctx, actor, v.ID)
		require.NoError(t, err, who)
		require.Equal(t, registry.ExportWords{Reason: why}, words)
		list, err := h.Store.ListExports(ctx, actor, registry.ExportsFilter{Status: "waiting"})
		require.NoError(t, err)
		require.Len(t, list, 1, who)
		require.Equal(t, v.ID, list[0].ID)
	}
	list, err := h.Store.ListExports(ctx, h.other, registry.ExportsFilter{Mine: true})
	require.NoError(t, err)
	require.Empty(t, list)
	leaks, _ := h.found(append(slices.Clone(secrets), why))
	require.Empty(t, leaks)

	// Then the one who asked has it, as often as they like, for a day.
	v = h.approves(v)
	require.Equal(t, []any{"approved", h.other.Staff(), 24 * time.Hour}, []any{v.Status, *v.DecidedBy, v.Until.Sub(*v.DecidedAt)})
	require.Equal(t, h.asker.Staff(), value[uuid.UUID](h.house, `SELECT staff_id FROM notices WHERE code = 'export.approved'`))
	_, err = h.Store.FetchExport(ctx, h.other, v.ID)
	requireCode(t, err, registry.Denied, "export_of_another")
	for range 2 {
		lines := h.fetches(v)
		require.Equal(t, []string{"登记编号", "姓名", "证件类型", "证件号码", "电话", "登记项目", "意愿", "状态", "区划代码", "行政区划", "登记日期", "登记标识"}, lines[0])
		number := residentNumber(9)
		if strings.Trim(number, "0123456789") == "" {
			number = "'" + number // else a spreadsheet rounds it
		}
		require.Equal(t, []string{donor.Number, "欧阳验甲", "居民身份证", number, "'+8615812345678"}, lines[1][:5], "the phone is no formula")
		all := strings.Join(lines[1], "\n")
		for _, more := range []string{"ouyang.shiyan", "试验路", "金陵试验学院", "欧阳父乙丙", "15987654321"} {
			require.NotContains(t, all, more, "what was not asked for")
		}
	}
	// Each time is in the audit and among the looks at the donor, and none is an opening.
	for _, class := range []string{"registration", "identity", "contact"} {
		require.Equal(t, 2, value[int](h.house, `SELECT count(*)::int FROM audit WHERE act = 'FetchExport' AND action = 'export' AND class = $1 AND allowed AND shown = 1 AND showed = $2 AND purpose = 'follow_up' AND target = $3 AND fields = 'region=320000 rows=1'`,
			class, []uuid.UUID{donor.ID}, "export:"+v.ID.String()), class)
	}
	for _, look := range h.looks(h.Coordinator, donor.ID, registry.LookFilter{Limit: 200}) {
		if look.Act == "FetchExport" {
			require.Equal(t, []any{true, policy.Export, "provincial_office", policy.ForFollowUp}, []any{look.List, look.Action, look.Role, look.Purpose})
		}
		require.NotEqual(t, "AskExport", look.Act, "who asks has seen nobody")
	}
	require.Zero(t, value[int](h.house, `SELECT count(*)::int FROM openings`))
	shown, err := h.Store.ShowExport(ctx, h.asker, v.ID)
	require.NoError(t, err)
	require.Equal(t, 2, shown.Fetches)
	leaks, _ = h.found(secrets)
	require.Empty(t, leaks, "the sheet is kept nowhere")

	at.pass(24*time.Hour - time.Minute)
	_, err = h.fetch(v)
	require.NoError(t, err)
	at.pass(2 * time.Minute)
	_, err = h.fetch(v)
	requireCode(t, err, registry.Refused, "export_over")
	shown, err = h.Store.ShowExport(ctx, h.asker, v.ID)
	require.NoError(t, err)
	require.Equal(t, "over", shown.Status)
	at.pass(-48 * time.Hour)
	h.sql(`UPDATE exports SET until = now() - interval '1 second'`)
	_, err = h.fetch(v)
	requireCode(t, err, registry.Refused, "export_over", "by the database's clock, too")
}

func TestAnExportInClearIsAskedForByWhoMayForWhatTheyMayAndWithAReason(t *testing.T) {
	t.Parallel()
	h := newProvince(t)
	ctx := context.Background()
	h.donor(1)
	for field, c := range map[string]struct {
		code  string
		spoil func(*registry.ExportForm)
	}{
		"region":     {"R118", func(f *registry.ExportForm) { f.Region = "999999" }},
		"classes":    {"R101", func(f *registry.ExportForm) { f.Classes = nil }},
		"classes[0]": {"R114", func(f *registry.ExportForm) { f.Classes = []policy.Class{policy.Link} }},
		"classes[1]": {"R114", func(f *registry.ExportForm) { f.Classes = []policy.Class{policy.Identity, policy.Health} }},
		"purpose":    {"R114", func(f *registry.ExportForm) { f.Purpose = "curiosity" }},
		"reason":     {"R120", func(f *registry.ExportForm) { f.Reason = seal.NoteOf("回访         ") }},
		"filter.status": {"R114", func(f *registry.ExportForm) {
			f.Filter.Status = "张小明"
		}},
	} {
		_, err := h.Store.AskExport(ctx, h.asker, export(c.spoil))
		requireProblem(t, err, c.code, field)
	}
	_, err := h.Store.AskExport(ctx, h.asker, export(func(f *registry.ExportForm) { f.Reason = seal.NoteOf("太短了") }))
	requireProblem(t, err, "R120", "reason")

	// The purpose is the form's, whatever the request says.
	for _, purpose := range policy.Purposes() {
		by := h.asker
		by.Purpose = policy.ForCase
		_, err := h.Store.AskExport(ctx, by, export(func(f *registry.ExportForm) { f.Purpose = purpose }))
		if purpose == policy.ForCase || purpose == policy.ForFollowUp {
			require.NoError(t, err)
			continue
		}
		requireCode(t, err, registry.Denied, "export_purpose", string(purpose))
		var own *registry.Error
		require.ErrorAs(t, err, &own)
		require.Equal(t, "case, follow_up", own.Args["Purposes"])
	}
	everybody := h.everybody()
	everybody["city office"], everybody["county office"] = h.city, h.Staff(t, "countyoffice", h.County, policy.CountyOffice, "320106")
	everybody["bridge"] = h.Staff(t, "bridge", h.City, policy.Bridge, "000000")
	for who, actor := range everybody {
		_, err := h.Store.AskExport(ctx, actor, export(func(f *registry.ExportForm) { f.Region = "320106" }))
		requireCode(t, err, registry.Denied, "denied", who)
	}
	// Wider than one's own region, or another's.
	narrow := h.Staff(t, "narrow", h.City, policy.ProvincialOffice, "320100")
	for _, region := range []identity.Region{"320000", "000000", "320500", "110000"} {
		_, err := h.Store.AskExport(ctx, narrow, export(func(f *registry.ExportForm) { f.Region = region }))
		requireCode(t, err, registry.Denied, "denied", string(region))
	}
	_, err = h.Store.AskExport(ctx, narrow, export(func(f *registry.ExportForm) { f.Region = "320106" }))
	require.NoError(t, err)
	require.Equal(t, 3, value[int](h.house, `SELECT count(*)::int FROM exports`))

	// An export that nobody else may approve is not asked for.
	alone := h.Staff(t, "alone", h.OtherTransplant, policy.ProvincialOffice, "110000")
	h.Staff(t, "registrar2", h.OtherTransplant, policy.Registrar, "110000")
	_, err = h.Store.AskExport(ctx, alone, export(func(f *registry.ExportForm) { f.Region = "110000" }))
	requireCode(t, err, registry.Refused, "export_nobody_else")
}

func TestAnExportIsApprovedByWhoMightTakeTheSameOut(t *testing.T) {
	t.Parallel()
	h := newProvince(t)
	ctx := context.Background()
	h.donor(1)
	operator := registry.Operator("test")
	narrow := h.Staff(t, "narrow", h.City, policy.ProvincialOffice, "320100")
	wide := h.Staff(t, "wide", h.City, policy.ProvincialOffice, "000000")
	decide := func(by registry.Actor, v registry.ExportView) error {
		_, err := h.Store.DecideExport(ctx, by, v.ID, true, registry.ExportDecision{})
		return err
	}
	province, city := h.asks(), h.asks(func(f *registry.ExportForm) { f.Region = "320100" })
	require.ElementsMatch(t, []uuid.UUID{h.other.Staff(), wide.Staff()}, values[uuid.UUID](h.house, `SELECT staff_id FROM notices WHERE region = '320000'`))
	require.ElementsMatch(t, []uuid.UUID{h.other.Staff(), wide.Staff(), narrow.Staff()}, values[uuid.UUID](h.house, `SELECT staff_id FROM notices WHERE region = '320100'`))
	requireCode(t, decide(narrow, province), registry.NotFound, "export_not_found", "of a region within it")
	requireCode(t, decide(h.city, province), registry.NotFound, "export_not_found")
	// The city's office reviews what is of its region, and knows of the export; it might not take this out itself.
	shown, err := h.Store.ShowExport(ctx, h.city, city.ID)
	require.NoError(t, err)
	require.Equal(t, city.ID, shown.ID)
	requireCode(t, decide(h.city, city), registry.Denied, "denied")
	_, err = h.Store.RevealExport(ctx, h.city, city.ID)
	requireCode(t, err, registry.Denied, "denied")
	list, err := h.Store.ListExports(ctx, h.city, registry.ExportsFilter{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, decide(narrow, city))
	requireCode(t, decide(wide, city), registry.Refused, "export_settled", "somebody was first")
	// Who has lost the role decides nothing.
	require.NoError(t, h.Store.RevokeRole(ctx, operator, "approver", policy.ProvincialOffice, "320000"))
	requireCode(t, decide(h.other, province), registry.NotFound, "export_not_found")
	require.NoError(t, decide(wide, province))
}

func TestAnExportIsMadeByWhatItsAskerMayTakeOutThen(t *testing.T) {
	t.Parallel()
	h := newProvince(t)
	ctx := context.Background()
	operator := registry.Operator("test")
	h.donor(1)
	give := func(role policy.Role, region identity.Region) {
		_, err := h.Store.GrantRole(ctx, operator, registry.GrantForm{Login: "asker", Role: role, Region: region, Until: h.until()})
		require.NoError(t, err)
	}
	take := func(role policy.Role, region identity.Region) {
		require.NoError(t, h.Store.RevokeRole(ctx, operator, "asker", role, region))
	}
	v := h.approves(h.asks())
	h.fetches(v)
	take(policy.ProvincialOffice, "320000")
	_, err := h.fetch(v)
	requireCode(t, err, registry.Denied, "export_not_held", "the role is gone")
	require.Equal(t, 1, value[int](h.house, `SELECT count(*)::int FROM audit WHERE act = 'FetchExport' AND NOT allowed AND target = $1`, "export:"+v.ID.String()))
	give(policy.ProvincialOffice, "320100")
	_, err = h.fetch(v)
	requireCode(t, err, registry.Denied, "export_not_held", "the role is of a region within it")
	take(policy.ProvincialOffice, "320100")
	give(policy.CityOffice, "320000")
	_, err = h.fetch(v)
	requireCode(t, err, registry.Denied, "export_not_held", "another role")
	give(policy.ProvincialOffice, "320000")
	h.fetches(v)
	give(policy.Bridge, "320106")
	require.Equal(t, []string{"（已保护）", "（已保护）", "（已保护）", "（已保护）"}, h.fetches(v)[1][1:5], "what a line denies in a region does not leave of it")
	take(policy.Bridge, "320106")
	give(policy.Bridge, "320000")
	_, err = h.fetch(v)
	requireCode(t, err, registry.Denied, "export_not_held", "what a line denies")
	take(policy.Bridge, "320000")
	// An approval that lies with the asker is none, however it came to be.
	h.sql(`UPDATE exports SET decided_by = staff_id`)
	_, err = h.fetch(v)
	requireCode(t, err, registry.Denied, "export_own")
}

func TestAnExportIsRefusedWithdrawnOrExpiresAndThenStays(t *testing.T) {
	t.Parallel()
	at := newClock()
	h := newProvince(t, registry.Options{Now: at.now})
	ctx := context.Background()
	h.donor(1)
	refuse := func(v registry.ExportView, note string) error {
		_, err := h.Store.DecideExport(ctx, h.other, v.ID, false, registry.ExportDecision{Note: seal.NoteOf(note)})
		return err
	}
	status := func(v registry.ExportView) string {
		v, err := h.Store.ShowExport(ctx, h.asker, v.ID)
		require.NoError(t, err)
		return v.Status
	}
	settled := func(v registry.ExportView) {
		t.Helper()
		before := status(v)
		require.NoError(t, h.Store.WithdrawExport(ctx, h.asker, v.ID))
		require.Equal(t, before, status(v), "what has ended stays as it is")
		_, err := h.fetch(v)
		requireCode(t, err, registry.Refused, "export_settled")
		_, err = h.Store.DecideExport(ctx, h.other, v.ID, true, registry.ExportDecision{})
		requireCode(t, err, registry.Refused, "export_settled")
	}
	refused := h.asks()
	requireProblem(t, refuse(refused, ""), "R120", "note")
	requireProblem(t, refuse(refused, "不同意"), "R120", "note")
	require.NoError(t, refuse(refused, "请改为导出遮盖后的名单"))
	require.Equal(t, h.asker.Staff(), value[uuid.UUID](h.house, `SELECT staff_id FROM notices WHERE code = 'export.refused'`))
	words, err := h.Store.RevealExport(ctx, h.asker, refused.ID)
	require.NoError(t, err)
	require.Equal(t, registry.ExportWords{Reason: why, Note: "请改为导出遮盖后的名单"}, words)
	settled(refused)

	early, late, expired, approved := h.asks(), h.approves(h.asks()), h.asks(), h.asks()
	for _, v := range []registry.ExportView{early, late} {
		requireCode(t, h.Store.WithdrawExport(ctx, h.other, v.ID), registry.NotFound, "export_not_found")
		require.NoError(t, h.Store.WithdrawExport(ctx, h.asker, v.ID))
		require.Equal(t, "withdrawn", status(v))
		settled(v)
	}
	at.pass(7*24*time.Hour - time.Minute)
	h.approves(approved)
	require.Equal(t, "waiting", status(expired))
	at.pass(2 * time.Minute)
	require.Equal(t, "expired", status(expired))
	settled(expired)
	for want, ids := range map[string][]uuid.UUID{"expired": {expired.ID}, "withdrawn": {late.ID, early.ID}, "refused": {refused.ID}, "approved": {approved.ID}, "waiting": nil, "over": nil} {
		list, err := h.Store.ListExports(ctx, h.asker, registry.ExportsFilter{Status: want, Mine: true})
		require.NoError(t, err)
		var got []uuid.UUID
		for _, v := range list {
			got = append(got, v.ID)
		}
		require.Equal(t, ids, got, want)
	}
	page, err := h.Store.ListExports(ctx, h.asker, registry.ExportsFilter{After: approved.ID, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, expired.ID, page[0].ID)

	// The words go when the audit of it might.
	require.NoError(t, h.Store.Upkeep(ctx))
	require.Equal(t, 5, value[int](h.house, `SELECT count(reason_sealed)::int FROM exports`))
	at.pass(3 * 366 * 24 * time.Hour)
	require.NoError(t, h.Store.Upkeep(ctx))
	require.Zero(t, value[int](h.house, `SELECT count(reason_sealed)::int + count(note_sealed)::int FROM exports`))
	words, err = h.Store.RevealExport(ctx, h.asker, refused.ID)
	require.NoError(t, err)
	require.Zero(t, words)
}

// Whose consent was taken back, who is only stored and who was erased are lines as in the list, and nothing of them is in clear.
func TestAnExportHasNothingInClearOfWhoIsProtected(t *testing.T) {
	t.Parallel()
	h := newProvince(t)
	ctx := context.Background()
	var donors []uuid.UUID
	for n := range 4 {
		donors = append(donors, h.donor(n+1))
	}
	clear, withdrawn, stored, erased := donors[0], donors[1], donors[2], donors[3]
	for _, donor := range donors[1:] {
		_, err := h.Store.Withdraw(ctx, h.Coordinator, donor, 0, registry.WithdrawForm{Via: "phone"})
		require.NoError(t, err)
	}
	_, err := h.Store.FileRights(ctx, h.Registrar, forms.RightsRequest{Donor: stored, Kind: "copy", Asker: "person", Via: "counter"})
	require.NoError(t, err)
	h.sql(`INSERT INTO restrictions (person_id, kind, request_id, since) SELECT person_id, 'blocked', id, now() FROM rights_requests`)
	h.sql(`UPDATE cases SET status = 'ended'`)
	require.NoError(t, h.Store.ErasePerson(ctx, registry.Operator("test"), h.person(erased)))
	lines := map[string][]string{}
	for _, line := range h.fetches(h.approves(h.asks()))[1:] {
		lines[line[0]] = line
	}
	require.Len(t, lines, 4)
	hidden := []string{"（已保护）", "（已保护）", "（已保护）"}
	require.Equal(t, "张小明", lines[h.numberOf(clear)][1])
	require.Equal(t, "'+8613800000001", lines[h.numberOf(clear)][4])
	require.Equal(t, append([]string{"张*明"}, hidden...), lines[h.numberOf(withdrawn)][1:5], "the name as in the list")
	require.Equal(t, append([]string{"（已保护）"}, hidden...), lines[h.numberOf(stored)][1:5])
	require.NotContains(t, lines[h.numberOf(erased)], "张小明")
	require.Equal(t, hidden, lines[h.numberOf(erased)][2:5])
	for _, class := range []string{"identity", "contact"} {
		require.Equal(t, []uuid.UUID{clear}, value[[]uuid.UUID](h.house, `SELECT showed FROM audit WHERE act = 'FetchExport' AND class = $1`, class), "who was in clear is told apart")
	}
	// Who has left and asked for erasure has not taken a consent back, and is protected all the same.
	h.sql(`UPDATE registrations SET status = 'left' WHERE id = $1`, stored)
	left := h.fetches(h.approves(h.asks(func(f *registry.ExportForm) { f.Filter.Status = "left" })))
	require.Equal(t, append([]string{"（已保护）"}, hidden...), left[1][1:5])
	// Who gives again is reached again: an open case of theirs goes before.
	h.sql(`INSERT INTO cases (id, number, protocol, subject_id, region, organisation_id, status, step, state, opened_at) VALUES ($1, 'SC-1', 'stemcell', $2, '320106', $3, 'open', 'stemcell.collection', '{}', now())`, uuid.New(), withdrawn, h.County.ID)
	for _, line := range h.fetches(h.approves(h.asks()))[1:] {
		if line[0] == h.numberOf(withdrawn) {
			require.Equal(t, "张小明", line[1])
		}
	}
	// Only what was asked for is in the sheet.
	phones := h.fetches(h.approves(h.asks(func(f *registry.ExportForm) {
		f.Classes, f.Filter.Status = []policy.Class{policy.Contact}, "enrolling"
	})))
	require.Equal(t, []string{"登记编号", "姓名（已遮盖）", "电话", "登记项目"}, phones[0][:4])
	require.Equal(t, []string{h.numberOf(clear), "张*明", "'+8613800000001"}, phones[1][:3])
	require.Len(t, phones, 2)
}

// With the policy switched off the database still lets nobody see or take another region's exports.
func TestExportsOfAnotherRegionDoNotComeOutWithThePolicySwitchedOff(t *testing.T) {
	t.Parallel()
	h := newProvince(t)
	ctx := context.Background()
	donor := h.donor(1)
	v := h.approves(h.asks())
	open := h.open(registry.Options{})
	open.WithoutPolicy()
	far := h.Staff(t, "faroffice", h.OtherTransplant, policy.ProvincialOffice, "110000")
	for who, actor := range map[string]registry.Actor{"an office far away": far, "a transplant doctor": h.TransplantDoctor, "the laboratory": h.Technician} {
		_, err := open.ShowExport(ctx, actor, v.ID)
		requireCode(t, err, registry.NotFound, "export_not_found", who)
		_, err = open.FetchExport(ctx, actor, v.ID)
		requireCode(t, err, registry.NotFound, "export_not_found", who)
		list, err := open.ListExports(ctx, actor, registry.ExportsFilter{})
		require.NoError(t, err)
		require.Empty(t, list, who)
		sheet, err := open.ExportDonors(ctx, actor, registry.DonorFilter{})
		require.NoError(t, err)
		require.Zero(t, sheet.Rows, who)
		// Even one that is theirs has nobody of elsewhere in it.
		h.sql(`UPDATE exports SET staff_id = $1`, actor.Staff())
		sheet, err = open.FetchExport(ctx, actor, v.ID)
		require.NoError(t, err)
		require.Zero(t, sheet.Rows, who)
		h.sql(`UPDATE exports SET staff_id = $1`, h.asker.Staff())
	}
	sheet, err := open.FetchExport(ctx, h.asker, v.ID)
	require.NoError(t, err)
	require.Contains(t, string(sheet.Data), donor.String())
	request, err := json.Marshal(v)
	require.NoError(t, err)
	require.NotContains(t, string(request), donor.String(), "the request names nobody")
}
