package registry_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// office is a house whose registrar takes in sheets, with a look into its tables.
type office struct {
	*registrytest.House
	address string
	db      *pgx.Conn
	drives  int
}

// newOffice commits chunk rows at a time.
func newOffice(t testing.TB, chunk int) *office {
	t.Helper()
	address := registrytest.NewHouseDatabase(t)
	store, err := registry.Open(context.Background(), registry.Options{URL: address, Keys: registrytest.Keys(), Log: registrytest.Log(t), ImportChunk: chunk})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	o := &office{House: registrytest.OpenHouse(t, store), address: address}
	o.db, err = pgx.Connect(context.Background(), registrytest.Past(t, address))
	require.NoError(t, err)
	t.Cleanup(func() { _ = o.db.Close(context.Background()) })
	return o
}

type tester interface {
	require.TestingT
	Helper()
}

// sheetOf makes a sheet of n forms with faults. mark takes the place of what its barcodes begin with, so that two sheets
// of one office have tubes of their own.
func sheetOf(t tester, mark string, seed uint64, n int, faults map[intaketest.Fault]int) *intaketest.Sheet {
	t.Helper()
	today := calendar.Of(time.Now(), registry.Zone)
	s, err := intaketest.Plan{Seed: seed, Rows: n, Faults: faults, Day: today.AddDays(-1), Today: today}.Sheet()
	require.NoError(t, err)
	mine := func(barcode string) string { return strings.Replace(barcode, "NJ26", mark, 1) }
	column := slices.Index(s.Headings, "采样管条码")
	for _, rows := range [][][]string{s.Rows, s.Clean} {
		for _, row := range rows {
			row[column] = mine(row[column])
		}
	}
	s.BarcodeFrom, s.BarcodeTo = mine(s.BarcodeFrom), mine(s.BarcodeTo)
	return s
}

func workbook(t tester, s *intaketest.Sheet) []byte {
	t.Helper()
	data, err := s.XLSX()
	require.NoError(t, err)
	return data
}

// plan plans a drive for a sheet.
func (o *office) plan(t tester, s *intaketest.Sheet) registry.DriveView {
	t.Helper()
	o.drives++
	d, err := o.Store.PlanDrive(context.Background(), o.Registrar, forms.Drive{
		Name: fmt.Sprintf("drive %d", o.drives), Place: "gate", Region: "320106", FirstDay: s.Day, LastDay: s.Day, BarcodeFrom: s.BarcodeFrom, BarcodeTo: s.BarcodeTo,
	})
	require.NoError(t, err)
	return d
}

func (o *office) upload(t tester, drive uuid.UUID, name string, data []byte) registry.BatchView {
	t.Helper()
	b, err := o.Store.UploadBatch(context.Background(), o.Registrar, registry.Upload{Drive: drive, FileName: name, Data: data})
	require.NoError(t, err)
	return b
}

func (o *office) check(t tester, s *intaketest.Sheet) registry.BatchView {
	t.Helper()
	return o.upload(t, o.plan(t, s).ID, "forms.xlsx", workbook(t, s))
}

// work does a batch's chunks until none is left, and returns the batch.
func (o *office) work(t tester, id uuid.UUID) registry.BatchView {
	t.Helper()
	for range 10_000 {
		chunk, err := o.Store.ImportChunk(context.Background(), id)
		require.NoError(t, err)
		if chunk.Finished {
			break
		}
	}
	return o.show(t, id)
}

func (o *office) show(t tester, id uuid.UUID) registry.BatchView {
	t.Helper()
	b, err := o.Store.ShowBatch(context.Background(), o.Registrar, id)
	require.NoError(t, err)
	return b
}

func (o *office) start(t tester, id uuid.UUID, f registry.CommitForm) {
	t.Helper()
	_, err := o.Store.StartCommit(context.Background(), o.Registrar, id, 0, f)
	require.NoError(t, err)
}

func (o *office) commit(t tester, id uuid.UUID, f registry.CommitForm) registry.BatchView {
	t.Helper()
	o.start(t, id, f)
	b := o.work(t, id)
	require.Equal(t, "committed", b.Status)
	return b
}

func (o *office) undo(t tester, id uuid.UUID) registry.BatchView {
	t.Helper()
	_, err := o.Store.StartUndo(context.Background(), o.Registrar, id, 0)
	require.NoError(t, err)
	return o.work(t, id)
}

// row reads one row of a batch.
func (o *office) row(t tester, id uuid.UUID, no int) registry.BatchRowView {
	t.Helper()
	rows, err := o.Store.ListRows(context.Background(), o.Registrar, id, registry.RowFilter{AfterRow: no - 1, Limit: 1, WithCells: true})
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.Equal(t, no, rows[0].Row)
	return rows[0]
}

func codes(row registry.BatchRowView) []string {
	var out []string
	for _, p := range row.Problems {
		out = append(out, p.Code)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (o *office) lines(t tester, sql string, args ...any) []string {
	t.Helper()
	rows, err := o.db.Query(context.Background(), sql, args...)
	require.NoError(t, err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return out
}

// brought is all that a batch brought into the register, without ids and times: equal sheets bring equal lines.
func (o *office) brought(t tester, batch uuid.UUID) []string {
	t.Helper()
	return o.lines(t, `
		SELECT concat_ws(' ', g.number, g.programme, g.intent, g.choices, g.status, g.registered_on, g.cooling_off_until, p.birth_date, p.sex, p.abo, p.rh, p.ethnicity, p.height_cm, p.weight_kg,
			(SELECT string_agg(d.kind || encode(d.number_index, 'hex'), ',') FROM person_documents d WHERE d.person_id = p.id),
			(SELECT string_agg(concat_ws('/', c.text_version, c.signed_on, c.on_paper), ',') FROM consents c WHERE c.registration_id = g.id),
			(SELECT string_agg(concat_ws('/', s.barcode, s.status, s.drawn_on), ',') FROM specimens s WHERE s.registration_id = g.id),
			(SELECT string_agg(concat_ws('/', c.number, c.step, c.status), ',') FROM cases c WHERE c.id = g.id),
			(SELECT string_agg(concat_ws('/', e.code, e.args), ',') FROM events e WHERE e.case_id = g.id OR e.registration_id = g.id))
		FROM registrations g JOIN persons p ON p.id = g.person_id WHERE g.batch_id = $1 ORDER BY g.number`, batch)
}

// register is every row of the tables of people and what they gave, with ids.
func (o *office) register(t tester) []string {
	t.Helper()
	var out []string
	for _, table := range []string{"persons", "person_documents", "registrations", "consents", "specimens", "cases", "events"} {
		where := ""
		if table == "cases" || table == "events" {
			where = ` WHERE protocol = 'enrolment'`
		}
		if table == "events" {
			where = ` WHERE code LIKE 'registration.%'`
		}
		out = append(out, o.lines(t, `SELECT '`+table+` ' || (to_jsonb(t) - 'version' - 'updated_at')::text FROM `+table+` t`+where+` ORDER BY 1`)...)
	}
	return out
}

// requireNothingHalf holds the register to what must be true of it at any moment.
func (o *office) requireNothingHalf(t tester) {
	t.Helper()
	for rule, broken := range map[string]string{
		"a person without a document":           `SELECT id::text FROM persons p WHERE NOT EXISTS (SELECT FROM person_documents d WHERE d.person_id = p.id)`,
		"a person who registered for nothing":   `SELECT id::text FROM persons p WHERE NOT EXISTS (SELECT FROM registrations g WHERE g.person_id = p.id)`,
		"a registration nobody signed":          `SELECT id::text FROM registrations g WHERE NOT EXISTS (SELECT FROM consents c WHERE c.registration_id = g.id AND c.person_id = g.person_id)`,
		"a registration of nobody":              `SELECT id::text FROM registrations g WHERE NOT EXISTS (SELECT FROM persons p WHERE p.id = g.person_id)`,
		"an enrolment without its case":         `SELECT id::text FROM registrations g WHERE programme = 'stemcell' AND NOT EXISTS (SELECT FROM cases c WHERE c.id = g.id AND c.organisation_id = g.organisation_id AND c.region = g.region)`,
		"a registration of an unknown region":   `SELECT id::text FROM registrations g WHERE NOT EXISTS (SELECT FROM regions r WHERE r.code = g.region) OR NOT EXISTS (SELECT FROM organisations o WHERE o.id = g.organisation_id)`,
		"a person of an unknown region":         `SELECT id::text FROM persons p WHERE NOT EXISTS (SELECT FROM regions r WHERE r.code = p.region)`,
		"a consent to an unknown wording":       `SELECT id::text FROM consents c WHERE NOT EXISTS (SELECT FROM consent_texts x WHERE x.version = c.text_version AND x.sha256 = c.text_sha256)`,
		"a specimen of another person":          `SELECT s.id::text FROM specimens s JOIN registrations g ON g.id = s.registration_id WHERE g.person_id <> s.person_id`,
		"a specimen that nobody holds":          `SELECT s.id::text FROM specimens s WHERE NOT EXISTS (SELECT FROM organisations o WHERE o.id = s.holder_id)`,
		"a form left behind by a committed row": `SELECT row_no::text FROM staged_forms JOIN batch_rows USING (batch_id, row_no) WHERE outcome IN ('created', 'updated', 'linked', 'unchanged')`,
		"a form lost before its row was done":   `SELECT row_no::text FROM batch_rows r WHERE outcome IN ('', 'parked', 'skipped', 'failed') AND NOT EXISTS (SELECT FROM staged_forms s WHERE s.batch_id = r.batch_id AND s.row_no = r.row_no) AND EXISTS (SELECT FROM batches b WHERE b.id = r.batch_id AND b.kind IN ('xlsx', 'csv'))`,
	} {
		require.Empty(t, o.lines(t, broken), rule)
	}
}

// few makes a property's checks fewer than usual, for those that cost a batch each.
func few(t *testing.T, checks string) {
	t.Helper()
	usual := flag.Lookup("rapid.checks").Value.String()
	require.NoError(t, flag.Set("rapid.checks", checks))
	t.Cleanup(func() { _ = flag.Set("rapid.checks", usual) })
}

// unused draws a seed that no other sheet of the office has had: the same one would bring the same people.
func unused(t *rapid.T, sheet int) uint64 {
	return uint64(sheet)<<32 | uint64(rapid.Uint32().Draw(t, "seed"))
}

func drawFaults(t *rapid.T) map[intaketest.Fault]int {
	faults := map[intaketest.Fault]int{}
	for _, f := range rapid.SliceOfN(rapid.SampledFrom(intaketest.Faults()), 0, 8).Draw(t, "faults") {
		faults[f]++
	}
	return faults
}

func TestACommitThatDiesAnywhereAndGoesOnGivesTheRegisterOfAnUndisturbedOne(t *testing.T) {
	few(t, "15")
	undisturbed, disturbed := newOffice(t, 2000), newOffice(t, 4)
	sheets := 0
	rapid.Check(t, func(t *rapid.T) {
		sheets++
		s := sheetOf(t, fmt.Sprintf("A%03d", sheets), unused(t, sheets), 36, drawFaults(t))
		f := registry.CommitForm{AcceptWarnings: rapid.Bool().Draw(t, "accept")}
		one := undisturbed.check(t, s)
		other := disturbed.check(t, s)
		require.Equal(t, one.Verdicts, other.Verdicts)
		one = undisturbed.commit(t, one.ID, f)

		disturbed.start(t, other.ID, f)
		for range 200 {
			ctx, cancel := context.WithCancel(context.Background())
			var workers sync.WaitGroup
			switch rapid.SampledFrom([]string{"whole", "killed", "two at once", "told twice"}).Draw(t, "chunk") {
			case "whole":
				_, err := disturbed.Store.ImportChunk(ctx, other.ID)
				require.NoError(t, err)
			case "killed":
				after := time.Duration(rapid.IntRange(0, 12_000).Draw(t, "after")) * time.Microsecond
				time.AfterFunc(after, cancel)
				_, _ = disturbed.Store.ImportChunk(ctx, other.ID) // done or not: what came of it is in the rows
			case "two at once":
				for range 2 {
					workers.Go(func() { _, _ = disturbed.Store.ImportChunk(ctx, other.ID) })
				}
				workers.Wait()
			case "told twice":
				_, _ = disturbed.Store.StartCommit(ctx, disturbed.Registrar, other.ID, 0, f)
			}
			cancel()
			disturbed.requireNothingHalf(t)
			if disturbed.show(t, other.ID).Status == "committed" {
				break
			}
		}
		other = disturbed.work(t, other.ID)
		require.Equal(t, "committed", other.Status)
		require.Equal(t, one.Outcomes, other.Outcomes)
		require.Equal(t, undisturbed.brought(t, one.ID), disturbed.brought(t, other.ID))
		total := 0
		for _, n := range other.Outcomes {
			total += n
		}
		require.Equal(t, other.Rows, total, "the outcomes add up to the rows")
		want := 0
		for _, e := range s.Expect {
			if e.Verdict == intake.Ready || e.Verdict == intake.Warning && f.AcceptWarnings {
				want++
			}
		}
		known := len(disturbed.lines(t, `SELECT row_no::text FROM batch_rows WHERE known AND batch_id = '`+other.ID.String()+`'`)) // drew a number of an earlier sheet
		require.Equal(t, want, other.Outcomes["created"]+known, "what the sheet's maker expects")

		// Committing once more changes nothing.
		before := disturbed.register(t)
		disturbed.start(t, other.ID, f)
		disturbed.work(t, other.ID)
		require.Equal(t, before, disturbed.register(t))
	})
}

func TestUndoingABatchLeavesTheRegisterAsItWas(t *testing.T) {
	few(t, "15")
	o := newOffice(t, 5)
	sheets := 0
	rapid.Check(t, func(t *rapid.T) {
		sheets++
		seed := unused(t, sheets)
		first := sheetOf(t, fmt.Sprintf("U%03d", sheets), seed, 12, nil)
		// The first sheet knows nobody's height: the second fills it.
		height := slices.Index(first.Headings, "身高(cm)")
		for _, row := range first.Rows {
			row[height] = ""
		}
		o.commit(t, o.check(t, first).ID, registry.CommitForm{})
		before := o.register(t)

		second := sheetOf(t, fmt.Sprintf("V%03d", sheets), seed, 24, drawFaults(t)) // the same twelve people, and others
		b := o.commit(t, o.check(t, second).ID, registry.CommitForm{AcceptWarnings: true})
		require.NotEqual(t, before, o.register(t))
		_, err := o.Store.StartUndo(context.Background(), o.Registrar, b.ID, 0)
		require.NoError(t, err)
		for range rapid.IntRange(0, 4).Draw(t, "kills") {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rapid.IntRange(0, 8_000).Draw(t, "after"))*time.Microsecond)
			_, _ = o.Store.ImportChunk(ctx, b.ID)
			cancel()
			o.requireNothingHalf(t)
		}
		b = o.work(t, b.ID)
		require.Equal(t, "undone", b.Status)
		require.Equal(t, before, o.register(t))
	})
}

func TestTheOrderOfColumnsAndTheEncodingDoNotChangeTheRegister(t *testing.T) {
	few(t, "15")
	one, other := newOffice(t, 2000), newOffice(t, 2000)
	sheets := 0
	rapid.Check(t, func(t *rapid.T) {
		sheets++
		s := sheetOf(t, fmt.Sprintf("C%03d", sheets), unused(t, sheets), 20, drawFaults(t))
		a := one.commit(t, one.check(t, s).ID, registry.CommitForm{AcceptWarnings: true})

		shuffled := *s
		columns := rapid.Permutation(numbers(len(s.Headings))).Draw(t, "columns")
		shuffled.Headings, shuffled.Rows = nil, make([][]string, len(s.Rows))
		for _, c := range columns {
			shuffled.Headings = append(shuffled.Headings, s.Headings[c])
			for i, row := range s.Rows {
				shuffled.Rows[i] = append(shuffled.Rows[i], row[c])
			}
		}
		data, err := shuffled.CSV(rapid.SampledFrom([]intake.Encoding{intake.UTF8, intake.GB18030}).Draw(t, "encoding"))
		require.NoError(t, err)
		b := other.upload(t, other.plan(t, s).ID, "forms.csv", data)
		b = other.commit(t, b.ID, registry.CommitForm{AcceptWarnings: true})
		require.Equal(t, a.Outcomes, b.Outcomes)
		require.Equal(t, one.brought(t, a.ID), other.brought(t, b.ID))
	})
}

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestEveryRowIsJudgedAsTheSheetsMakerExpects(t *testing.T) {
	o := newOffice(t, 2000)
	faults := map[intaketest.Fault]int{}
	for _, f := range intaketest.Faults() {
		faults[f] = 1
	}
	s := sheetOf(t, "E000", 7, 60, faults)
	b := o.check(t, s)
	verdicts := map[string]int{}
	for _, e := range s.Expect {
		verdicts[string(e.Verdict)]++
		row := o.row(t, b.ID, e.Row)
		require.Equal(t, string(e.Verdict), row.Verdict, "row %d, %s", e.Row, e.Fault)
		require.Equal(t, slices.Sorted(slices.Values(e.Codes)), codes(row), "row %d, %s", e.Row, e.Fault)
	}
	require.Equal(t, verdicts, b.Verdicts)
	require.Empty(t, o.lines(t, `SELECT id::text FROM persons`), "a check writes nothing to the register")
}

func TestTheMendedWorkbookReachesZeroFailures(t *testing.T) {
	o := newOffice(t, 2000)
	s := sheetOf(t, "M000", 11, 40, map[intaketest.Fault]int{intaketest.Checksum: 2, intaketest.BarcodeTwice: 1, intaketest.MissingPhone: 1, intaketest.SamePersonDiffering: 1, intaketest.UnknownFormVersion: 1})
	d := o.plan(t, s)
	b := o.upload(t, d.ID, "forms.xlsx", workbook(t, s))
	b = o.commit(t, b.ID, registry.CommitForm{})
	require.Equal(t, map[string]int{"created": 32, "failed": 8}, b.Outcomes)

	var result bytes.Buffer
	require.NoError(t, o.Store.ResultWorkbook(context.Background(), o.Registrar, b.ID, &result))
	f, err := excelize.OpenReader(&result)
	require.NoError(t, err)
	for i, e := range s.Expect {
		if e.Verdict == intake.Ready {
			continue
		}
		for c, text := range s.Clean[i] {
			name, err := excelize.CoordinatesToCellName(c+1, e.Row)
			require.NoError(t, err)
			require.NoError(t, f.SetCellStr(f.GetSheetName(0), name, text))
		}
	}
	mended, err := f.WriteToBuffer()
	require.NoError(t, err)

	again := o.upload(t, d.ID, "forms.xlsx", mended.Bytes())
	require.Equal(t, b.ID, *again.Parent)
	require.Equal(t, 32, again.Settled)
	require.Equal(t, map[string]int{"ready": 8}, again.Verdicts)
	again = o.commit(t, again.ID, registry.CommitForm{})
	require.Equal(t, map[string]int{"created": 8}, again.Outcomes)
	require.Len(t, o.lines(t, `SELECT id::text FROM persons`), 40)
}

func TestTheSameFileIsTheSameBatch(t *testing.T) {
	o := newOffice(t, 2000)
	s := sheetOf(t, "S000", 3, 5, nil)
	d := o.plan(t, s)
	first := o.upload(t, d.ID, "forms.xlsx", workbook(t, s))
	require.False(t, first.Again)
	o.commit(t, first.ID, registry.CommitForm{})
	again := o.upload(t, d.ID, "renamed.xlsx", workbook(t, s))
	require.True(t, again.Again)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, "committed", again.Status)
	o.undo(t, first.ID)
	anew := o.upload(t, d.ID, "forms.xlsx", workbook(t, s))
	require.False(t, anew.Again, "an undone batch does not stop its file from being sent again")
}

// column sets one column of every row.
func column(s *intaketest.Sheet, heading, text string) *intaketest.Sheet {
	c := slices.Index(s.Headings, heading)
	for _, row := range s.Rows {
		row[c] = text
	}
	return s
}

func TestAFormOfSomebodyKnownFillsOnlyWhatIsBlank(t *testing.T) {
	o := newOffice(t, 2000)
	first := column(column(sheetOf(t, "K000", 5, 3, nil), "身高(cm)", ""), "体重(kg)", "61")
	o.commit(t, o.check(t, first).ID, registry.CommitForm{})
	second := column(column(sheetOf(t, "K001", 5, 3, nil), "身高(cm)", "177"), "体重(kg)", "99")
	b := o.check(t, second)
	require.Equal(t, map[string]int{"known": 3}, b.Verdicts)
	skip := "skip"
	_, err := o.Store.PatchRow(context.Background(), o.Registrar, b.ID, 4, registry.RowPatch{KnownAction: &skip})
	require.NoError(t, err)
	b = o.commit(t, b.ID, registry.CommitForm{})
	require.Equal(t, map[string]int{"linked": 2, "unchanged": 1}, b.Outcomes)
	require.Equal(t, []string{"- 61", "177 61", "177 61"}, o.lines(t, `SELECT coalesce(height_cm::text, '-') || ' ' || weight_kg FROM persons ORDER BY 1`))
	require.Len(t, o.lines(t, `SELECT id::text FROM registrations`), len(o.lines(t, `SELECT DISTINCT person_id || programme FROM registrations`)))
	require.Len(t, o.lines(t, `SELECT id::text FROM specimens`), 5, "the second tubes of two")
}

func TestAKnownPersonsSealedCellsOpenInTheirNewPlace(t *testing.T) {
	o := newOffice(t, 2000)
	first := sheetOf(t, "P000", 6, 1, nil)
	for _, heading := range []string{"学院", "居住地", "联系人1姓名", "联系人1关系", "联系人1电话", "联系人2姓名", "联系人2关系", "联系人2电话"} {
		column(first, heading, "")
	}
	column(first, "登记项目", "献血") // for which nobody asks two contacts
	column(first, "采样管条码", "")
	column(first, "版本", "")
	o.commit(t, o.check(t, first).ID, registry.CommitForm{})
	second := sheetOf(t, "P001", 6, 1, nil)
	b := o.commit(t, o.check(t, second).ID, registry.CommitForm{})
	require.Equal(t, map[string]int{"updated": 1}, b.Outcomes)
	donors, err := o.Store.ListDonors(context.Background(), o.Registrar, registry.DonorFilter{Programme: "stemcell"})
	require.NoError(t, err)
	require.Len(t, donors, 1)
	revealed, err := o.Store.RevealDonor(context.Background(), o.Coordinator, donors[0].ID, registry.RevealForm{Class: policy.Contact, Reason: "call_donor"})
	require.NoError(t, err)
	require.Equal(t, second.Rows[0][slices.Index(second.Headings, "联系人1姓名")], revealed.Contacts[0].Name)
}

func TestAPossibleDuplicateIsParkedUntilSomebodyTicksIt(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 2)
	first := sheetOf(t, "D000", 8, 3, nil)
	o.commit(t, o.check(t, first).ID, registry.CommitForm{})
	// The same people by name, birth date and phone, with other documents, and two newcomers.
	second := sheetOf(t, "D001", 8, 5, nil)
	others := sheetOf(t, "D002", 9, 5, nil)
	number := slices.Index(second.Headings, "证件号码")
	for i := range 2 {
		second.Rows[i][number] = "E1234567" + fmt.Sprint(i) // a passport
	}
	tube := slices.Index(second.Headings, "采样管条码")
	others.Rows[0][tube] = second.Rows[2][tube]
	second.Rows[2] = others.Rows[0]
	b := o.check(t, second)
	require.Equal(t, map[string]int{"warning": 2, "ready": 3}, b.Verdicts)
	b = o.commit(t, b.ID, registry.CommitForm{AcceptWarnings: true})
	require.Equal(t, map[string]int{"parked": 2, "created": 3}, b.Outcomes, "accepting warnings does not let two become one, or one two")
	people := len(o.lines(t, `SELECT id::text FROM persons`))

	b, err := o.Store.RetryBatch(ctx, o.Registrar, b.ID, 0)
	require.NoError(t, err)
	require.Equal(t, "checked", b.Status)
	ticked := true
	_, err = o.Store.PatchRow(ctx, o.Registrar, b.ID, 2, registry.RowPatch{Ticked: &ticked})
	require.NoError(t, err)
	b = o.commit(t, b.ID, registry.CommitForm{})
	require.Equal(t, map[string]int{"parked": 1, "created": 4}, b.Outcomes, "the rows of the first try are counted once")
	require.Len(t, o.lines(t, `SELECT id::text FROM persons`), people+1)
	o.requireNothingHalf(t)

	// Once more with nothing left to do, and then all is taken back.
	_, err = o.Store.RetryBatch(ctx, o.Registrar, b.ID, 0)
	require.NoError(t, err)
	_, err = o.Store.CheckBatch(ctx, o.Registrar, b.ID, 0, registry.ReadOptions{}, intake.Limits{})
	require.Equal(t, "batch_settled", codeOf(t, err), "a batch with rows in the register is not read anew")
	b, err = o.Store.CancelBatch(ctx, o.Registrar, b.ID, 0)
	require.NoError(t, err)
	require.Equal(t, "committed", b.Status, "giving the second try up leaves what the first brought")
	o.undo(t, b.ID)
	require.Len(t, o.lines(t, `SELECT id::text FROM persons`), 3)
}

func codeOf(t tester, err error) string {
	t.Helper()
	var e *registry.Error
	require.ErrorAs(t, err, &e)
	return e.Code
}

func TestWhetherTwoFormsOfOneSheetAreAlikeDoesNotDependOnWhereAChunkEnds(t *testing.T) {
	for _, chunk := range []int{1, 2000} {
		o := newOffice(t, chunk)
		s := sheetOf(t, "L000", 8, 4, nil)
		twin := slices.Clone(s.Rows[0])
		twin[slices.Index(s.Headings, "证件号码")] = "E12345678"
		twin[slices.Index(s.Headings, "采样管条码")] = ""
		s.Rows = append(s.Rows, twin)
		b := o.commit(t, o.check(t, s).ID, registry.CommitForm{})
		require.Equal(t, map[string]int{"created": 5}, b.Outcomes, "chunks of %d", chunk)
	}
}

func TestSomebodyOfAnotherOfficeIsClaimedAndNotShown(t *testing.T) {
	o := newOffice(t, 2000)
	first := sheetOf(t, "O000", 12, 2, nil)
	o.commit(t, o.check(t, first).ID, registry.CommitForm{})
	elsewhere, err := o.Store.AddOrganisation(context.Background(), registry.Operator("test"), registry.OrganisationForm{Kind: "red_cross", Name: "西湖区红十字会", Region: "330106"})
	require.NoError(t, err)
	registrar := o.Staff(t, "hangzhou", elsewhere, policy.Registrar, "330106")
	second := sheetOf(t, "O001", 12, 2, nil)
	d, err := o.Store.PlanDrive(context.Background(), registrar, forms.Drive{Name: "there", Place: "gate", Region: "330106", FirstDay: second.Day, LastDay: second.Day, BarcodeFrom: second.BarcodeFrom, BarcodeTo: second.BarcodeTo})
	require.NoError(t, err)
	b, err := o.Store.UploadBatch(context.Background(), registrar, registry.Upload{Drive: d.ID, FileName: "forms.xlsx", Data: workbook(t, second)})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"known": 2}, b.Verdicts)
	_, err = o.Store.StartCommit(context.Background(), registrar, b.ID, 0, registry.CommitForm{AcceptWarnings: true})
	require.NoError(t, err)
	for range 3 {
		_, err = o.Store.ImportChunk(context.Background(), b.ID)
		require.NoError(t, err)
	}
	rows, err := o.Store.ListRows(context.Background(), registrar, b.ID, registry.RowFilter{})
	require.NoError(t, err)
	for _, row := range rows {
		require.Equal(t, "skipped", row.Outcome)
		require.Equal(t, []string{"N303"}, codes(row))
		require.Empty(t, row.DonorNumber)
	}
	claims := o.lines(t, `SELECT organisation_id::text FROM notices WHERE code = 'registration.claimed'`)
	require.Equal(t, []string{o.County.ID.String(), o.County.ID.String()}, claims, "one to the office that has them, for each")
}

func TestAllOrNothingTakesNothingWhenTheRegisterHasChangedSinceTheCheck(t *testing.T) {
	o := newOffice(t, 3)
	s := sheetOf(t, "N000", 13, 9, nil)
	d := o.plan(t, s)
	b := o.upload(t, d.ID, "forms.xlsx", workbook(t, s))
	// Meanwhile another sheet of the same drive brings one of the tubes.
	rival := sheetOf(t, "N000", 14, 9, nil)
	rival.Rows = rival.Rows[:1]
	o.commit(t, o.upload(t, d.ID, "rival.xlsx", workbook(t, rival)).ID, registry.CommitForm{})
	before := o.register(t)

	o.start(t, b.ID, registry.CommitForm{Mode: "all_or_nothing"})
	b = o.work(t, b.ID)
	require.Equal(t, "checked", b.Status)
	require.Equal(t, map[string]int{"ready": 8, "error": 1}, b.Verdicts)
	require.Equal(t, before, o.register(t))
	_, err := o.Store.StartCommit(context.Background(), o.Registrar, b.ID, 0, registry.CommitForm{Mode: "all_or_nothing"})
	require.Equal(t, "rows_not_good", codeOf(t, err))
	b = o.commit(t, b.ID, registry.CommitForm{})
	require.Equal(t, map[string]int{"created": 8, "failed": 1}, b.Outcomes)
}

func TestACancelledCommitCanBeTakenUpAgain(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 4)
	s := sheetOf(t, "X000", 15, 10, nil)
	b := o.check(t, s)
	o.start(t, b.ID, registry.CommitForm{})
	_, err := o.Store.ImportChunk(ctx, b.ID)
	require.NoError(t, err)
	b, err = o.Store.CancelBatch(ctx, o.Registrar, b.ID, 0)
	require.NoError(t, err)
	require.Equal(t, "committed", b.Status)
	chunk, err := o.Store.ImportChunk(ctx, b.ID)
	require.NoError(t, err)
	require.True(t, chunk.Finished, "the worker that had it stops")
	require.Len(t, o.lines(t, `SELECT id::text FROM persons`), 4)
	_, err = o.Store.RetryBatch(ctx, o.Registrar, b.ID, 0)
	require.NoError(t, err)
	b = o.commit(t, b.ID, registry.CommitForm{})
	require.Equal(t, map[string]int{"created": 10}, b.Outcomes)
	require.Len(t, o.lines(t, `SELECT id::text FROM persons`), 10)
}

// A province's year has 999,999 registration numbers. The last is given out; the first of next year's is not.
func TestRegistrationNumbersOfAYearRunOut(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 2000)
	o.commit(t, o.check(t, sheetOf(t, "N000", 31, 1, nil)).ID, registry.CommitForm{})
	fill := func(left int) {
		_, err := o.db.Exec(ctx, `UPDATE counters SET value = 999999 - $1 WHERE name LIKE 'registration-32%'`, left)
		require.NoError(t, err)
	}
	two := o.check(t, sheetOf(t, "N001", 32, 2, nil))
	wants := len(o.lines(t, `SELECT unnest(programmes) FROM batch_rows WHERE outcome = ''`))
	o.start(t, two.ID, registry.CommitForm{})
	before := o.register(t)
	fill(wants - 1)
	_, err := o.Store.ImportChunk(ctx, two.ID)
	require.Equal(t, "numbers_used_up", codeOf(t, err))
	require.Equal(t, before, o.register(t))
	fill(wants)
	require.Equal(t, map[string]int{"created": 2}, o.work(t, two.ID).Outcomes)
	require.Len(t, o.lines(t, `SELECT number FROM registrations WHERE number LIKE '____999999__'`), 1)
}

// Two who commit one batch, as when a worker is thought dead and is not, bring every row once.
func TestTwoWorkersOnOneBatchCountEachRowOnce(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 10)
	b := o.check(t, sheetOf(t, "W000", 33, 60, map[intaketest.Fault]int{intaketest.Checksum: 7}))
	o.start(t, b.ID, registry.CommitForm{})
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for range 100 {
				chunk, err := o.Store.ImportChunk(ctx, b.ID)
				if !assert.NoError(t, err) || chunk.Finished {
					return
				}
			}
		})
	}
	workers.Wait()
	b = o.show(t, b.ID)
	require.Equal(t, map[string]int{"created": 53, "failed": 7}, b.Outcomes)
	require.Len(t, o.lines(t, `SELECT id::text FROM persons`), 53)
	numbers := o.lines(t, `SELECT substr(number, 5, 6) FROM registrations ORDER BY 1`)
	for i, n := range numbers {
		require.Equal(t, fmt.Sprintf("%06d", i+1), n, "numbers follow each other: every row that has any got in")
	}
}

func TestARowIsMendedInPlaceAndWhatItStoodInTheWayOfIsMendedWithIt(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 2000)
	s := sheetOf(t, "R000", 16, 6, map[intaketest.Fault]int{intaketest.BarcodeTwice: 1})
	b := o.check(t, s)
	require.Equal(t, map[string]int{"error": 2, "ready": 4}, b.Verdicts)
	at := slices.IndexFunc(s.Expect, func(e intaketest.Expectation) bool { return e.Verdict == intake.Error })
	column := slices.Index(s.Headings, "采样管条码")
	// As somebody types with a Chinese keyboard: full-width, with a space behind.
	typed := strings.Map(func(r rune) rune { return r - '!' + '！' }, s.Clean[at][column]) + "　"
	other := s.Expect[slices.IndexFunc(s.Expect[at+1:], func(e intaketest.Expectation) bool { return e.Verdict == intake.Error })+at+1].Row
	if s.Clean[at][column] == s.Rows[at][column] {
		typed = ""
	}
	row, err := o.Store.PatchRow(ctx, o.Registrar, b.ID, s.Expect[at].Row, registry.RowPatch{Cells: map[int]string{column: typed}})
	require.NoError(t, err)
	require.Equal(t, "ready", row.Verdict)
	require.Equal(t, "ready", o.row(t, b.ID, other).Verdict)
	require.Equal(t, map[string]int{"ready": 6}, o.show(t, b.ID).Verdicts)
	_, err = o.Store.PatchRow(ctx, o.Registrar, b.ID, 99, registry.RowPatch{Cells: map[int]string{0: "x"}})
	require.Equal(t, registry.NotFound, registry.KindOf(err))
	b = o.commit(t, b.ID, registry.CommitForm{})
	require.Equal(t, map[string]int{"created": 6}, b.Outcomes)
	_, err = o.Store.PatchRow(ctx, o.Registrar, b.ID, other, registry.RowPatch{Cells: map[int]string{column: ""}})
	require.Equal(t, "batch_settled", codeOf(t, err))
}

func TestABatchWhoseTubesHaveLeftIsNotUndone(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 2000)
	s := sheetOf(t, "W000", 17, 3, nil)
	d := o.plan(t, s)
	b := o.commit(t, o.upload(t, d.ID, "forms.xlsx", workbook(t, s)).ID, registry.CommitForm{})
	require.WithinDuration(t, time.Now().Add(72*time.Hour), *b.UndoUntil, time.Minute)
	_, err := o.Store.SendTubes(ctx, o.Registrar, d.ID, registry.SendForm{To: o.Laboratory.ID, Barcodes: []string{s.BarcodeFrom}})
	require.NoError(t, err)
	_, err = o.Store.StartUndo(ctx, o.Registrar, b.ID, 0)
	require.Equal(t, "rows_moved_on", codeOf(t, err))
}

func TestABatchIsUndoneWithinItsTimeOnly(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 2000)
	b := o.commit(t, o.check(t, sheetOf(t, "Y000", 18, 3, nil)).ID, registry.CommitForm{})
	for _, edge := range []struct {
		after time.Duration
		code  string
	}{{73 * time.Hour, "undo_too_late"}, {71 * time.Hour, ""}} {
		later, err := registry.Open(ctx, registry.Options{URL: o.address, Keys: registrytest.Keys(), Now: func() time.Time { return time.Now().Add(edge.after) }})
		require.NoError(t, err)
		defer later.Close()
		_, err = later.StartUndo(ctx, o.Registrar, b.ID, 0)
		if edge.code != "" {
			require.Equal(t, edge.code, codeOf(t, err))
			continue
		}
		require.NoError(t, err)
	}
}

func TestOfTwoSheetsWithTheSamePeopleCommittedAtOnceOneBringsThemAndOneKnowsThem(t *testing.T) {
	o := newOffice(t, 2)
	a, b := o.check(t, sheetOf(t, "T000", 19, 16, nil)), o.check(t, sheetOf(t, "T001", 19, 16, nil))
	require.Equal(t, map[string]int{"ready": 16}, b.Verdicts)
	var both sync.WaitGroup
	for _, id := range []uuid.UUID{a.ID, b.ID} {
		o.start(t, id, registry.CommitForm{})
		both.Go(func() {
			for range 100 {
				if chunk, err := o.Store.ImportChunk(context.Background(), id); err == nil && chunk.Finished {
					return
				}
			}
		})
	}
	both.Wait()
	a, b = o.show(t, a.ID), o.show(t, b.ID)
	require.Equal(t, "committed", a.Status)
	require.Equal(t, "committed", b.Status)
	require.Equal(t, 16, a.Outcomes["created"]+b.Outcomes["created"])
	require.Equal(t, 16, a.Outcomes["linked"]+b.Outcomes["linked"])
	require.Len(t, o.lines(t, `SELECT id::text FROM persons`), 16)
	require.Len(t, o.lines(t, `SELECT id::text FROM specimens`), 32)
	o.requireNothingHalf(t)
}

func TestSomebodyWhoseBatchWasUndoneSinceTheCheckComesAnew(t *testing.T) {
	o := newOffice(t, 2000)
	first := o.commit(t, o.check(t, sheetOf(t, "Z000", 20, 4, nil)).ID, registry.CommitForm{})
	second := o.check(t, sheetOf(t, "Z001", 20, 4, nil))
	require.Equal(t, map[string]int{"known": 4}, second.Verdicts)
	o.undo(t, first.ID)
	second = o.commit(t, second.ID, registry.CommitForm{})
	require.Equal(t, map[string]int{"created": 4}, second.Outcomes)
	o.requireNothingHalf(t)
}

func TestAPersonWhoComesTwiceUnderTwoKnownDocumentsIsTakenOnce(t *testing.T) {
	o := newOffice(t, 1)
	s := sheetOf(t, "Q000", 21, 2, nil)
	passport := slices.Clone(s.Rows[0])
	passport[slices.Index(s.Headings, "证件号码")] = "E12345678"
	passport[slices.Index(s.Headings, "采样管条码")] = ""
	first := sheetOf(t, "Q001", 21, 2, nil)
	first.Rows = [][]string{first.Rows[0], passport}
	o.commit(t, o.check(t, first).ID, registry.CommitForm{})
	// Somebody finds that the two are one person.
	_, err := o.db.Exec(context.Background(), `
		UPDATE person_documents SET person_id = (SELECT person_id FROM person_documents WHERE kind = 'resident_id') WHERE kind <> 'resident_id'`)
	require.NoError(t, err)

	s.Rows = append(s.Rows, passport)
	b := o.check(t, s)
	require.Equal(t, map[string]int{"known": 1, "ready": 1, "duplicate": 1}, b.Verdicts)
	b = o.commit(t, b.ID, registry.CommitForm{})
	require.Equal(t, map[string]int{"linked": 1, "created": 1, "failed": 1}, b.Outcomes)
}

func TestWhatANumberOfRowsPointsAtCanBeDeletedWithoutReadingThemAll(t *testing.T) {
	o := newOffice(t, 2000)
	require.Empty(t, o.lines(t, `
		SELECT c.conrelid::regclass || '.' || a.attname || ' points at ' || c.confrelid::regclass || ' and has no index'
		FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
		WHERE c.contype = 'f' AND c.conparentid = 0 AND c.confrelid::regclass::text IN ('persons', 'registrations', 'specimens', 'cases', 'tasks', 'batches')
			AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1]
				AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = '(' || a.attname || ' IS NOT NULL)'))`))
}
