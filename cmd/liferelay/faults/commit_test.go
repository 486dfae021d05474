package faults

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
)

// uploaded is a checked sheet of n rows.
func uploaded(h *house, n int, faults map[intaketest.Fault]int) registry.BatchView {
	h.t.Helper()
	sheet, err := intaketest.Plan{Seed: 7, Rows: n, Faults: faults, Day: today().AddDays(-12), Today: today()}.Sheet()
	require.NoError(h.t, err)
	data, err := sheet.XLSX()
	require.NoError(h.t, err)
	b, err := h.Store.UploadBatch(context.Background(), h.Registrar, registry.Upload{Drive: drive(h, sheet.BarcodeFrom, sheet.BarcodeTo), FileName: "sheet.xlsx", Data: data})
	require.NoError(h.t, err)
	require.Equal(h.t, "checked", b.Status)
	return b
}

// committing starts the commit of a sheet that has more rows than are taken at a time. Most are wrong, so that few
// enrolments follow.
func committing(h *house) uuid.UUID {
	h.t.Helper()
	b := uploaded(h, 2060, map[intaketest.Fault]int{intaketest.Checksum: 2000, intaketest.SharedPhone: 2, intaketest.SexMismatch: 10})
	_, err := h.Store.StartCommit(context.Background(), h.Registrar, b.ID, b.Version, registry.CommitForm{AcceptWarnings: true})
	require.NoError(h.t, err)
	return b.ID
}

func committed(h *house, batch uuid.UUID) {
	h.t.Helper()
	h.eventually(time.Minute, "the batch is committed", func() bool {
		return read[string](h, `SELECT status FROM batches WHERE id = $1`, batch) == "committed"
	})
}

func TestAWorkerKilledInTheMiddleOfACommitLeavesTheTotalsOfAnUndisturbedOne(t *testing.T) {
	t.Parallel()
	undisturbed := newHouse(t)
	undisturbed.work()
	committed(undisturbed, committing(undisturbed))
	delivered(undisturbed)

	h := newHouse(t)
	// The first rows are in the register; of the others people, registrations and samples are written when it is held.
	place := h.hold("cases", "INSERT", `NEW.protocol = 'enrolment' AND EXISTS (SELECT FROM batches WHERE outcomes <> '{}')`)
	worker := h.work()
	batch := committing(h)
	place.reached(1)
	worker.kill()
	place.release()
	require.Positive(t, read[int](h, `SELECT count(*) FROM persons`))
	require.Less(t, read[int](h, `SELECT count(*) FROM persons`), read[int](undisturbed, `SELECT count(*) FROM persons`))
	h.write(`UPDATE outbox SET next_at = now() WHERE delivered_at IS NULL`) // the dead relay's lease has run out
	worker.start()
	committed(h, batch)
	delivered(h)
	require.Equal(t, ledger(undisturbed), ledger(h))
	require.Equal(t, decisions(undisturbed), decisions(h))
	for _, same := range []string{`SELECT barcode FROM specimens ORDER BY 1`, `SELECT number FROM registrations ORDER BY 1`} {
		require.Equal(t, texts(undisturbed, same), texts(h, same))
	}
}

// texts reads a column.
func texts(h *house, query string) []string {
	h.t.Helper()
	rows, err := h.sql.Query(context.Background(), query)
	require.NoError(h.t, err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(h.t, err)
	return out
}
