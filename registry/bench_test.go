package registry_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
)

// BenchmarkIntake measures how fast a sheet of 20,000 forms goes into the register, every row read, judged, sealed and
// committed, beside the least that moving it could cost: reading the file's cells, and PostgreSQL's COPY of the same cells
// into a bare table, in the same run.
func BenchmarkIntake(b *testing.B) {
	const rows = 20_000
	day := calendar.Of(time.Now(), registry.Zone).AddDays(-12)
	for b.Loop() {
		var ours, reading, copying time.Duration
		const rounds = 3 // one after the other, so that a noisy neighbour does not decide the ratio
		for round := range rounds {
			b.StopTimer()
			h := registrytest.NewHouse(b)
			sheet, err := intaketest.Plan{Seed: uint64(round + 1), Rows: rows, Day: day, Today: day.AddDays(12)}.Sheet()
			require.NoError(b, err)
			workbook, err := sheet.XLSX()
			require.NoError(b, err)
			drive, err := h.Store.PlanDrive(context.Background(), h.Registrar, forms.Drive{
				Name: "bench", Place: "bench", Region: "320106", FirstDay: day, LastDay: day, BarcodeFrom: sheet.BarcodeFrom, BarcodeTo: sheet.BarcodeTo,
			})
			require.NoError(b, err)
			b.StartTimer()
			read := timed(func() { readCells(b, workbook) })
			copied := timed(func() { copyCells(b, sheet.Rows) })
			var batch registry.BatchView
			checked := timed(func() {
				batch, err = h.Store.UploadBatch(context.Background(), h.Registrar, registry.Upload{Drive: drive.ID, FileName: "forms.xlsx", Data: workbook})
				require.NoError(b, err)
			})
			committed := timed(func() { commit(b, h, batch) })
			ours, reading, copying = ours+checked+committed, reading+read, copying+copied
			if os.Getenv("BENCH_PARTS") != "" {
				fmt.Println("reading", read, "copying", copied, "checking", checked, "committing", committed)
			}
		}
		floor := reading + copying
		b.ReportMetric(rounds*rows/ours.Seconds(), "rows/s")
		b.ReportMetric(rounds*rows/floor.Seconds(), "floor-rows/s")
		b.ReportMetric(rounds*rows/copying.Seconds(), "copy-rows/s")
		b.ReportMetric(ours.Seconds()/floor.Seconds(), "times-floor")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPage measures what deciding and masking a page of fifty donors costs, beside the whole page and beside the same page
// with a policy that allows everything.
func BenchmarkPage(b *testing.B) {
	h := registrytest.NewHouse(b)
	ctx := context.Background()
	var entries []forms.Registration
	for n := range 60 {
		entries = append(entries, volunteer(n))
	}
	_, err := h.Store.Register(ctx, h.Registrar, uuid.NewString(), registry.EntryForm{Forms: entries})
	require.NoError(b, err)
	open, err := registry.Open(ctx, registry.Options{URL: h.Database, Keys: registrytest.Keys(), MaxConnections: 4})
	require.NoError(b, err)
	b.Cleanup(open.Close)
	open.WithoutPolicy()
	list := func(s *registry.Store) []registry.DonorLine {
		page, err := s.ListDonors(ctx, h.Coordinator, registry.DonorFilter{Limit: 50})
		require.NoError(b, err)
		require.Len(b, page, 50)
		return page
	}
	page := list(h.Store)
	list(open)
	names := make([]seal.Name, len(page))
	for i := range names {
		names[i] = seal.NameOf("欧阳小明")
	}
	const rounds = 20
	for b.Loop() {
		var with, without, gate time.Duration
		for range rounds { // in turn, so that a noisy neighbour meets all three
			with += timed(func() { list(h.Store) })
			without += timed(func() { list(open) })
			gate += timed(func() { h.Store.GatePage(h.Coordinator, names, page) })
		}
		b.ReportMetric(float64(with.Microseconds())/rounds, "page-µs")
		b.ReportMetric(float64(without.Microseconds())/rounds, "without-policy-µs")
		b.ReportMetric(float64(gate.Nanoseconds())/1000/rounds, "deciding-and-masking-µs")
		b.ReportMetric(100*gate.Seconds()/with.Seconds(), "percent-of-page")
	}
	b.ReportMetric(0, "ns/op")
}

func timed(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

func commit(b *testing.B, h *registrytest.House, batch registry.BatchView) {
	ctx := context.Background()
	require.Equal(b, map[string]int{"ready": batch.Rows}, batch.Verdicts)
	_, err := h.Store.StartCommit(ctx, h.Registrar, batch.ID, batch.Version, registry.CommitForm{})
	require.NoError(b, err)
	for {
		chunk, err := h.Store.ImportChunk(ctx, batch.ID)
		require.NoError(b, err)
		if chunk.Finished {
			break
		}
	}
	batch, err = h.Store.ShowBatch(ctx, h.Registrar, batch.ID)
	require.NoError(b, err)
	require.Equal(b, map[string]int{"created": batch.Rows}, batch.Outcomes)
}

func readCells(b *testing.B, workbook []byte) {
	file, problems := intake.Open("forms.xlsx", workbook)
	require.Empty(b, problems)
	table, problems := file.Table("")
	require.Empty(b, problems)
	n := 0
	for row, err := range table.Rows() {
		require.NoError(b, err)
		n += len(row.Cells)
	}
	require.Positive(b, n)
}

func copyCells(b *testing.B, rows [][]string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, registrytest.DatabaseURL(b))
	require.NoError(b, err)
	defer func() { _ = conn.Close(ctx) }()
	name := "bare_" + uuid.NewString()[:8]
	columns, definition := []string{}, ""
	for i := range rows[0] {
		columns = append(columns, fmt.Sprintf("c%d", i))
		definition += fmt.Sprintf(", c%d text", i)
	}
	_, err = conn.Exec(ctx, `CREATE TABLE `+name+` (`+definition[2:]+`)`)
	require.NoError(b, err)
	defer func() { _, _ = conn.Exec(ctx, `DROP TABLE `+name) }()
	n, err := conn.CopyFrom(ctx, pgx.Identifier{name}, columns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		out := make([]any, len(rows[i]))
		for j, text := range rows[i] {
			out[j] = text
		}
		return out, nil
	}))
	require.NoError(b, err)
	require.EqualValues(b, len(rows), n)
	require.True(b, slices.IsSorted(columns[:10]))
}

// BenchmarkLookup measures how long it takes to find somebody by an identity number, in a register of ten thousand people
// and of a million: it should not matter. While an index key rotates, two digests are looked for and not one.
func BenchmarkLookup(b *testing.B) {
	for _, people := range []int{10_000, 1_000_000} {
		h := newHouse(b)
		h.sql(`
			WITH people AS (SELECT uuid_v7() AS id FROM generate_series(1, $1)),
				entered AS (INSERT INTO persons (id, region, key_wrapped, name_sealed, index_version, birth_date, sex) SELECT id, '320106', '\x01', '\x01', 1, '2000-01-01', 'male' FROM people)
			INSERT INTO person_documents (id, person_id, kind, number_sealed, number_index, index_version)
			SELECT id, id, 'resident_id', '\x01', sha256(uuid_send(id)), 1 FROM people`, people)
		h.sql(`ANALYZE person_documents`)
		keys := registrytest.Keys()
		rotating, err := seal.ReadFile(registrytest.KeyFile(b))
		require.NoError(b, err)
		_, _, err = rotating.Add(context.Background(), seal.IndexKey)
		require.NoError(b, err)
		for i, keys := range []*seal.Keyring{keys, rotating} {
			b.Run(fmt.Sprintf("%d-people-%d-keys", people, i+1), func(b *testing.B) {
				conn := connect(b, h.url)
				for n := 0; b.Loop(); n++ {
					var found int
					err := conn.QueryRow(context.Background(), `SELECT count(*) FROM person_documents WHERE number_index = ANY($1)`, keys.Lookups("document", residentNumber(n%1000))).Scan(&found)
					require.NoError(b, err)
					require.Zero(b, found)
				}
			})
		}
	}
}
