package registry_test

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// sealAll seals until nothing waits, in links of at most most rows.
func (h *house) sealAll(most int) {
	h.t.Helper()
	for {
		n, err := h.Store.SealAudit(context.Background(), most)
		require.NoError(h.t, err)
		if n == 0 {
			return
		}
	}
}

func (h *house) verify() registry.AuditReport {
	h.t.Helper()
	report, err := h.Store.VerifyAudit(context.Background(), h.Auditor, nil, nil)
	require.NoError(h.t, err)
	return report
}

func TestTheAuditIsOnlyEverAddedTo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.sealAll(100)
	before := value[int](h, `SELECT count(*)::int FROM audit`)
	require.Positive(t, before)
	tables := append([]string{"audit", "audit_seals"}, values[string](h, `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit'::regclass`)...)
	require.Greater(t, len(tables), 10, "its months, too")
	for _, table := range tables {
		column := "actor = 'nobody'"
		if table == "audit_seals" {
			column = "sealed_at = now()"
		}
		for _, statement := range []string{`UPDATE ` + table + ` SET ` + column, `DELETE FROM ` + table, `TRUNCATE ` + table} {
			tx, err := h.conn().Begin(context.Background())
			require.NoError(t, err)
			tag, err := tx.Exec(context.Background(), statement)
			require.NoError(t, tx.Rollback(context.Background()))
			if err == nil && !strings.HasPrefix(statement, "TRUNCATE") && tag.RowsAffected() == 0 {
				continue // a month in which nothing happened
			}
			require.Error(t, err, "%s was allowed", statement)
			var pg *pgconn.PgError
			require.ErrorAs(t, err, &pg)
			require.Equal(t, "P0001", pg.Code, statement)
			require.Contains(t, pg.Message, "is refused")
		}
	}
	require.Equal(t, before, value[int](h, `SELECT count(*)::int FROM audit`))
}

func TestTheChainOfSealsCoversEveryRowOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	report := h.verify()
	require.Equal(t, int64(0), report.Rows)
	require.Positive(t, report.Waiting)
	require.True(t, report.Verified, "%+v", report)
	n, err := h.Store.SealAudit(ctx, 7)
	require.NoError(t, err)
	require.Equal(t, 7, n)
	h.sealAll(10)
	var progress [][2]int64
	report, err = h.Store.VerifyAudit(ctx, h.Auditor, nil, func(done, total int64) { progress = append(progress, [2]int64{done, total}) })
	require.NoError(t, err)
	rows := value[int64](h, `SELECT count(*) FROM audit`)
	require.Equal(t, registry.AuditReport{Rows: rows - 1, Seals: value[int64](h, `SELECT count(*) FROM audit_seals`), Waiting: 1, Verified: true}, report, "its own look waits")
	require.Greater(t, report.Seals, int64(2))
	require.Equal(t, [2]int64{7, rows}, progress[0])
	require.Equal(t, [2]int64{rows - 1, rows}, progress[len(progress)-1])

	_, err = h.Store.VerifyAudit(ctx, h.Coordinator, nil, nil)
	requireCode(t, err, registry.Denied, "denied")
}

func TestRowsThatAreWrittenWhileOthersAreSealedAreSealedOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	second := h.open(registry.Options{})
	writing := make(chan struct{})
	var written, seals atomic.Int32
	var work []func() error
	for range 4 {
		work = append(work, func() error {
			for n := 0; n < 25 || seals.Load() < 4; n++ { // some are sealed while others are written
				if _, err := h.Store.ListDrives(ctx, h.Registrar, uuid.Nil, 0); err != nil {
					return err
				}
				written.Add(1)
			}
			return nil
		})
	}
	var sealers []func() error
	for _, store := range []*registry.Store{h.Store, second, second} {
		sealers = append(sealers, func() error {
			for {
				select {
				case <-writing:
					return nil
				default:
					n, err := store.SealAudit(ctx, 9)
					if err != nil {
						return err
					}
					if n > 0 {
						seals.Add(1)
					}
				}
			}
		})
	}
	sealed := make(chan []error)
	go func() { sealed <- atOnce(sealers...) }()
	for _, err := range atOnce(work...) {
		require.NoError(t, err)
	}
	close(writing)
	for _, err := range <-sealed {
		require.NoError(t, err)
	}
	h.sealAll(1000)
	require.Equal(t, int(written.Load()), value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'ListDrives'`))
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM (SELECT id FROM audit EXCEPT ALL SELECT unnest(ids) FROM audit_seals) unsealed`))
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM (SELECT unnest(ids) FROM audit_seals EXCEPT ALL SELECT id FROM audit) twice`))
	require.True(t, h.verify().Verified)
}

// Whoever owns the database can switch its guards off. What they change then is found, and named.
func TestEveryTamperingWithTheAuditIsFound(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.sealAll(6)
	for _, name := range []string{"audit", "audit_seals", "audit_unsealed"} {
		h.sql(`CREATE TABLE kept_` + name + ` AS TABLE ` + name)
	}
	const off = `ALTER TABLE audit DISABLE TRIGGER USER; ALTER TABLE audit_seals DISABLE TRIGGER USER;`
	const on = `ALTER TABLE audit ENABLE TRIGGER USER; ALTER TABLE audit_seals ENABLE TRIGGER USER;`
	restore := off
	for _, name := range []string{"audit", "audit_seals", "audit_unsealed"} {
		restore += `DELETE FROM ` + name + `; INSERT INTO ` + name + ` SELECT * FROM kept_` + name + `;`
	}
	require.True(t, h.verify().Verified)
	h.sql(restore + on)
	require.True(t, h.verify().Verified, "what is put back is what was there")
	seals := value[int](h, `SELECT count(*)::int FROM audit_seals`)
	require.Greater(t, seals, 3)
	// The second row of the second seal is the victim, a row of the last seal the other.
	victim := value[uuid.UUID](h, `SELECT ids[2] FROM audit_seals WHERE seq = 2`)
	other := value[uuid.UUID](h, `SELECT ids[1] FROM audit_seals WHERE seq = $1`, seals)
	intruder := uuid.New()
	const insert = `INSERT INTO audit SELECT $1::uuid, recorded_at - interval '1 hour', actor, organisation, 'RevealDonor', action, class, relation, region, target, shown, purpose, reason, allowed, rule, revision, request
		FROM kept_audit WHERE id = $2`
	type tampering struct {
		how     string
		do      func()
		finding string
		row     uuid.UUID
	}
	list := []tampering{
		{"a row is deleted", func() { h.sql(`DELETE FROM audit WHERE id = $1`, victim) }, "a row is missing, or its time was changed", victim},
		{"the last sealed row is deleted", func() { h.sql(`DELETE FROM audit WHERE id = $1`, other) }, "a row is missing, or its time was changed", other},
		{"a row is slipped in in the past", func() { h.sql(insert, intruder, victim) }, "a row was added past the sealer", intruder},
		{"a row is replaced by another", func() {
			h.sql(insert, intruder, victim)
			h.sql(`DELETE FROM audit WHERE id = $1`, victim)
		}, "a row is missing, or its time was changed", victim},
		{"two rows change places", func() {
			h.sql(`UPDATE audit SET id = CASE id WHEN $1::uuid THEN $2::uuid ELSE $1::uuid END WHERE id IN ($1, $2)`, victim, other)
		}, "a row is missing, or its time was changed", victim},
		{"two rows change times", func() {
			h.sql(`UPDATE audit a SET recorded_at = (SELECT recorded_at FROM kept_audit k WHERE k.id = CASE a.id WHEN $1::uuid THEN $2::uuid ELSE $1::uuid END) WHERE id IN ($1, $2)`, victim, other)
		}, "a row is missing, or its time was changed", victim},
		{"text moves from one column to the next", func() {
			h.sql(`UPDATE audit SET actor = actor || left(organisation, 1), organisation = substr(organisation, 2) WHERE id = $1`, victim)
		}, "a row was changed", victim},
		{"a row is copied", func() { h.sql(insert, victim, victim) }, "a row was added past the sealer", uuid.Nil},
		{"a seal is deleted", func() { h.sql(`DELETE FROM audit_seals WHERE seq = 2`) }, "seal 2 is missing", uuid.Nil},
		{"the first seal is deleted", func() { h.sql(`DELETE FROM audit_seals WHERE seq = 1`) }, "seal 1 is missing", uuid.Nil},
		{"the last seal is deleted", func() { h.sql(`DELETE FROM audit_seals WHERE seq = $1`, seals) }, "a row was added past the sealer", uuid.Max},
		{"every seal is deleted", func() { h.sql(`DELETE FROM audit_seals`) }, "a row was added past the sealer", uuid.Max},
		{"seals are renumbered over a gap", func() {
			h.sql(`DELETE FROM audit_seals WHERE seq = 2`)
			h.sql(`UPDATE audit_seals SET seq = seq - 1 WHERE seq > 2`)
		}, "seal 2 was changed", uuid.Nil},
		{"two seals change places", func() {
			h.sql(`UPDATE audit_seals SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3)`)
			h.sql(`UPDATE audit_seals SET seq = -seq WHERE seq < 0`)
		}, "seal 2 was changed", uuid.Nil},
		{"a row goes out of its seal", func() {
			h.sql(`UPDATE audit_seals SET ids = array_remove(ids, $1), times = times[1:1] || times[3:], hashes = substring(hashes FROM 1 FOR 32) || substring(hashes FROM 65) WHERE seq = 2`, victim)
			h.sql(`DELETE FROM audit WHERE id = $1`, victim)
		}, "seal 2 was changed", uuid.Nil},
		{"a row is changed and its hash with it", func() {
			h.sql(`UPDATE audit SET reason = 'other' WHERE id = $1`, other)
			h.sql(`UPDATE audit_seals SET hashes = sha256('x') || substring(hashes FROM 33) WHERE seq = $1`, seals)
		}, "seal " + value[string](h, `SELECT max(seq)::text FROM audit_seals`) + " was changed", uuid.Nil},
		{"a row is removed before it is sealed", func() {
			h.sql(`INSERT INTO audit_unsealed (recorded_at, id) VALUES (now(), $1)`, intruder)
			h.sealAll(10)
		}, "a row is missing that waits for its seal", intruder},
		{"a row is removed before it is sealed and another is put in its place", func() {
			h.sql(`INSERT INTO audit_unsealed (recorded_at, id) VALUES (now(), $1)`, intruder)
			h.sql(insert, uuid.New(), victim)
		}, "a row is missing that waits for its seal", intruder},
		{"a row waits to be sealed again", func() {
			h.sql(`INSERT INTO audit_unsealed (recorded_at, id) SELECT recorded_at, id FROM audit WHERE id = $1`, victim)
		}, "a row was added past the sealer", uuid.Nil},
	}
	for column, change := range map[string]string{
		"actor": "'staff:' || gen_random_uuid()", "organisation": "gen_random_uuid()::text", "act": "'ShowDonor'", "action": "'find'", "class": "'hla'", "relation": "'site'", "region": "'110108'",
		"target": "'donor:x'", "shown": "shown + 1", "purpose": "'audit'", "reason": "'other'", "allowed": "NOT allowed", "rule": "'another'", "revision": "revision + 1", "request": "'another'",
		"showed": "ARRAY[gen_random_uuid()]", "fields": "'phone'", "address": "'192.0.2.1'",
	} {
		list = append(list, tampering{"the " + column + " of a row is changed", func() {
			h.sql(`UPDATE audit SET `+column+` = `+change+` WHERE id = $1`, victim)
		}, "a row was changed", victim})
	}
	list = append(list, tampering{"the organisation is made unreadable", func() { h.sql(`UPDATE audit SET organisation = 'nowhere' WHERE id = $1`, victim) }, "a row was changed", victim})
	list = append(list, tampering{"the time of a row is changed", func() {
		h.sql(`UPDATE audit SET recorded_at = recorded_at + interval '1 microsecond' WHERE id = $1`, victim)
	}, "a row is missing, or its time was changed", victim})
	columns := values[string](h, `SELECT column_name::text FROM information_schema.columns WHERE table_name = 'audit' AND column_name NOT IN ('id', 'recorded_at')`)
	require.Len(t, columns, 18, "every column that tells something is tried")

	for _, c := range list {
		h.sql(restore)
		c.do()
		h.sql(on)
		report := h.verify()
		require.False(t, report.Verified, "%s, and nobody notices", c.how)
		require.Equal(t, c.finding, report.Finding, c.how)
		switch c.row {
		case uuid.Nil:
		case uuid.Max:
			require.NotEmpty(t, report.Row, c.how)
		default:
			require.Equal(t, c.row.String(), report.Row, c.how)
		}
	}
}

// The seals are keyed: whoever has the database and the program, and not the key file, cannot seal what they changed.
func TestASealCannotBeMadeWithoutTheKeys(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.sealAll(1000)
	require.True(t, h.verify().Verified)
	content := func() []byte {
		return value[[]byte](h, `
			SELECT int8send(seq) || int8send((extract(epoch FROM sealed_at) * 1000000)::bigint) || int8send(rows) || int8send(total) || previous || (SELECT string_agg(uuid_send(id) || int8send((extract(epoch FROM at) * 1000000)::bigint), '' ORDER BY place) FROM unnest(ids, times) WITH ORDINALITY e(id, at, place)) || hashes
			FROM audit_seals WHERE seq = 1`)
	}
	h.sql(`ALTER TABLE audit_seals DISABLE TRIGGER USER`)
	sum := sha256.Sum256(content())
	require.NotEqual(t, sum[:], value[[]byte](h, `SELECT hash FROM audit_seals WHERE seq = 1`))
	h.sql(`UPDATE audit_seals SET hash = $1 WHERE seq = 1`, sum[:])
	report := h.verify()
	require.Equal(t, "seal 1 was changed", report.Finding)
}

func TestAnAttemptThatIsDeniedIsWrittenDownAlthoughTheActIsNot(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.Technician.Request = "request-1"
	_, err := h.Store.PlanDrive(ctx, h.Technician, forms.Drive{Name: "采样", Place: "广场", Region: "320106", FirstDay: today(), LastDay: today()})
	require.Error(t, err)
	_, err = h.Store.AddOrganisation(ctx, h.Registrar, registry.OrganisationForm{Kind: "hospital", Name: "医院", Region: "320106"})
	require.Error(t, err)
	lines, err := h.Store.ListAudit(ctx, h.Auditor, registry.AuditFilter{DeniedOnly: true})
	require.NoError(t, err)
	require.Len(t, lines, 2)
	type line struct{ actor, act, action, class, region, request string }
	require.Equal(t, []line{
		{h.Registrar.Subject(), "AddOrganisation", "write", "organisation", "320106", ""}, {h.Technician.Subject(), "PlanDrive", "write", "drive", "320106", "request-1"},
	}, []line{
		{lines[0].Actor, lines[0].Act, lines[0].Action, lines[0].Class, lines[0].Region, lines[0].Request}, {lines[1].Actor, lines[1].Act, lines[1].Action, lines[1].Class, lines[1].Region, lines[1].Request},
	})
	// An act that is allowed and then fails is neither done nor written down as done.
	before := value[int](h, `SELECT count(*)::int FROM audit`)
	_, err = h.Store.PlanDrive(ctx, h.Registrar, forms.Drive{Region: "320106"})
	requireCode(t, err, registry.Invalid, "form_invalid")
	require.Equal(t, before, value[int](h, `SELECT count(*)::int FROM audit`))
	// An act that cannot be written down does not happen.
	h.sql(`ALTER TABLE audit ADD CONSTRAINT nothing_more CHECK (act <> 'PlanDrive') NOT VALID`)
	_, err = h.Store.PlanDrive(ctx, h.Registrar, forms.Drive{Name: "采样", Place: "广场", Region: "320106", FirstDay: today(), LastDay: today()})
	require.Error(t, err)
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM drives`))
	_, err = h.Store.PlanDrive(ctx, h.Technician, forms.Drive{Name: "采样", Place: "广场", Region: "320106", FirstDay: today(), LastDay: today()})
	require.ErrorContains(t, err, "nothing_more", "an attempt that cannot be written down is not answered like one that was")
}

func TestAnActThatDecidedNothingIsUndone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	err := h.Store.ActWithoutDeciding(context.Background(), h.Administrator, `INSERT INTO counters (name, value) VALUES ('forgotten', 1)`)
	require.ErrorContains(t, err, "ActWithoutDeciding decided nothing")
	require.Empty(t, registry.KindOf(err))
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM counters WHERE name = 'forgotten'`))
	require.ErrorContains(t, h.Store.ActWithoutDeciding(context.Background(), registry.Actor{}, `SELECT 1`), "not_signed_in")
}

func TestTheAuditIsReadPageByPageByAuditorsOfTheRegion(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.donor(1)
	for range 5 {
		_, err := h.Store.ListDonors(ctx, h.Registrar, registry.DonorFilter{})
		require.NoError(t, err)
	}
	whole, err := h.Store.ListAudit(ctx, h.Auditor, registry.AuditFilter{Actor: h.Registrar.Subject()})
	require.NoError(t, err)
	require.Len(t, whole, 6)
	require.True(t, slices.IsSortedFunc(whole, func(a, b registry.AuditLine) int { return b.At.Compare(a.At) }), "the newest first")
	for size := range 8 { // 0 is the usual size
		f := registry.AuditFilter{Actor: h.Registrar.Subject(), Limit: size}
		var paged []registry.AuditLine
		for {
			page, err := h.Store.ListAudit(ctx, h.Auditor, f)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
			require.LessOrEqual(t, len(paged), len(whole), "pages overlap")
			f.Before, f.BeforeID = page[len(page)-1].At, page[len(page)-1].ID
		}
		require.Equal(t, whole, paged, "pages of %d", size)
	}
	for who, actor := range h.everybody() {
		if actor == h.Auditor || actor == h.AuditAdministrator || actor == system {
			continue
		}
		_, err := h.Store.ListAudit(ctx, actor, registry.AuditFilter{})
		require.Equal(t, registry.Denied, registry.KindOf(err), "%s: %v", who, err)
	}
	// Who looks for another purpose than auditing does not look at all.
	curious := h.Auditor
	curious.Purpose = policy.ForCase
	_, err = h.Store.ListAudit(ctx, curious, registry.AuditFilter{})
	requireCode(t, err, registry.Denied, "denied")
	local := h.Staff(t, "local", h.OtherTransplant, policy.Auditor, "110000")
	elsewhere, err := h.Store.ListAudit(ctx, local, registry.AuditFilter{Before: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	require.NotEmpty(t, elsewhere)
	for _, l := range elsewhere {
		require.Equal(t, "11", l.Region[:2])
	}
}
