package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
)

const (
	guardsOff = `ALTER TABLE audit DISABLE TRIGGER USER; ALTER TABLE audit_seals DISABLE TRIGGER USER;`
	guardsOn  = `ALTER TABLE audit ENABLE TRIGGER USER; ALTER TABLE audit_seals ENABLE TRIGGER USER;`
)

// flips are values that differ from one in one byte, for each of its bytes.
func flips(t *testing.T, value any) []any {
	t.Helper()
	var out []any
	switch v := value.(type) {
	case string:
		for i := range len(v) {
			for _, bit := range []byte{0x01, 0x20} { // the second makes another letter's case of it
				b := []byte(v)
				if b[i] ^= bit; b[i] >= ' ' && b[i] < 0x7f {
					out = append(out, string(b))
				}
			}
		}
		if v == "" {
			out = append(out, "x")
		}
	case bool:
		out = append(out, !v)
	case int32:
		for i := range 4 {
			out = append(out, v^1<<(8*i))
		}
	case int64:
		for i := range 8 {
			out = append(out, v^1<<(8*i))
		}
	case time.Time:
		for i := range 6 {
			out = append(out, time.UnixMicro(v.UnixMicro()^1<<(8*i)))
		}
	case [16]byte:
		for i := range v {
			b := v
			b[i] ^= 1
			out = append(out, uuid.UUID(b))
		}
	case []byte:
		for i := range v {
			b := bytes.Clone(v)
			b[i] ^= 1
			out = append(out, b)
		}
	case []any:
		for i, element := range v {
			for _, other := range flips(t, element) {
				list := append([]any{}, v...)
				list[i] = other
				out = append(out, list)
			}
		}
		if len(v) == 0 {
			out = append(out, []any{uuid.New()})
		}
	default:
		t.Fatalf("%T", value)
	}
	return out
}

// One byte of a row or of a seal that is changed, whichever, is found, and the row or the seal is named.
func TestAByteThatIsFlippedAnywhereInTheAuditIsFound(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.donor(1)
	curious := h.Registrar
	curious.Request, curious.Address = "r-1", "192.0.2.7"
	_, err := h.Store.ListDonors(ctx, curious, registry.DonorFilter{Status: "registered"})
	require.NoError(t, err)
	h.sealAll(1000)
	_, err = h.Store.ListDrives(ctx, curious, uuid.Nil, 0)
	require.NoError(t, err)
	h.sealAll(1000)
	victim := value[uuid.UUID](h, `SELECT id FROM audit WHERE act = 'ListDonors' AND request = 'r-1'`)
	own := value[int64](h, `SELECT seq FROM audit_seals WHERE $1 = ANY (ids)`, victim)
	last := value[int64](h, `SELECT max(seq) FROM audit_seals`)
	// Only the guards: what is written meanwhile, such as that the audit was looked at, still queues for its seal.
	h.sql(`ALTER TABLE audit DISABLE TRIGGER audit_append_only; ALTER TABLE audit_seals DISABLE TRIGGER audit_seals_append_only`)
	require.True(t, h.verify().Verified)
	tried := 0
	try := func(table, key string, is any, column string, was, other any, finding string, row uuid.UUID) {
		t.Helper()
		where := fmt.Sprintf(` WHERE %s = $2`, key)
		now := is
		if column == key {
			now = other
		}
		h.sql(`UPDATE `+table+` SET `+column+` = $1`+where, other, is)
		report := h.verify()
		h.sql(`UPDATE `+table+` SET `+column+` = $1`+where, was, now)
		require.False(t, report.Verified, "%s.%s: %v instead of %v, and nobody notices", table, column, other, was)
		require.Contains(t, report.Finding, finding, "%s.%s: %v instead of %v", table, column, other, was)
		if row != uuid.Nil {
			require.Equal(t, row.String(), report.Row, "%s.%s", table, column)
		}
		tried++
	}
	read := func(table, column, key string, is any) any {
		rows, err := h.conn().Query(ctx, `SELECT `+column+` FROM `+table+` WHERE `+key+` = $1`, is)
		require.NoError(t, err)
		defer rows.Close()
		require.True(t, rows.Next())
		values, err := rows.Values()
		require.NoError(t, err)
		return values[0]
	}
	for _, column := range values[string](h, `SELECT column_name::text FROM information_schema.columns WHERE table_name = 'audit' ORDER BY ordinal_position`) {
		was := read("audit", column, "id", victim)
		for _, other := range flips(t, was) {
			try("audit", "id", victim, column, was, other, "a row", victim)
		}
	}
	// Of the seal over that row, and of the last one, behind which nothing stands.
	for seq, columns := range map[int64][]string{
		own:  {"ids", "times"},
		last: values[string](h, `SELECT column_name::text FROM information_schema.columns WHERE table_name = 'audit_seals' AND column_name <> 'seq'`),
	} {
		for _, column := range columns {
			was := read("audit_seals", column, "seq", seq)
			all := flips(t, was)
			if seq == own {
				all = all[:min(len(all), 32)]
			}
			for _, other := range all {
				try("audit_seals", "seq", seq, column, was, other, fmt.Sprintf("seal %d", seq), uuid.Nil)
			}
		}
	}
	for _, other := range flips(t, last)[:7] { // not the sign
		try("audit_seals", "seq", last, "seq", last, other, "", uuid.Nil) // which is missing, was changed, or left its rows without one
	}
	h.sealAll(1000)
	require.True(t, h.verify().Verified, "each is put back")
	require.Greater(t, tried, 400)
}

func (h *house) export(since int64) string {
	h.t.Helper()
	var out bytes.Buffer
	counted, err := h.Store.ExportAudit(context.Background(), h.AuditAdministrator, since, &out, nil)
	require.NoError(h.t, err)
	require.Equal(h.t, int(counted.Seals), strings.Count(out.String(), `"kind":"seal"`))
	require.Equal(h.t, int(counted.Rows), strings.Count(out.String(), `"kind":"row"`))
	return out.String()
}

func (h *house) against(kept string) registry.AuditReport {
	h.t.Helper()
	report, err := h.Store.VerifyAudit(context.Background(), h.Auditor, keep(h.t, kept), nil)
	require.NoError(h.t, err)
	return report
}

func keep(t testing.TB, text string) *registry.KeptHeads {
	t.Helper()
	kept, err := registry.ReadKept(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil })
	require.NoError(t, err)
	return kept
}

func headOf(t *testing.T, h *house) string {
	t.Helper()
	head, err := h.Store.NewestHead(context.Background(), h.Auditor)
	require.NoError(t, err)
	line, err := json.Marshal(head)
	require.NoError(t, err)
	return string(line) + "\n"
}

func offline(t *testing.T, export string, kept *registry.KeptHeads) registry.AuditReport {
	t.Helper()
	report, err := registry.VerifyExport(strings.NewReader(export), registrytest.Keys().PublicKey(), kept)
	require.NoError(t, err)
	return report
}

func TestAnExportIsVerifiedWithThePublicKeyAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	_, err := h.Store.NewestHead(ctx, h.Auditor)
	requireCode(t, err, registry.NotFound, "nothing_sealed")
	h.donor(1)
	_, err = h.Store.ListDonors(ctx, h.Registrar, registry.DonorFilter{})
	require.NoError(t, err)
	h.sealAll(9)
	first := h.export(0)
	seals, rows := value[int64](h, `SELECT max(seq) FROM audit_seals`), value[int64](h, `SELECT sum(rows) FROM audit_seals`)
	require.Greater(t, seals, int64(2))
	require.Equal(t, registry.AuditReport{Rows: rows, Seals: seals, Verified: true}, offline(t, first, nil))
	require.Contains(t, first, registrytest.Keys().PublicKey())

	// The export is an act like others, and the next one has it.
	require.Equal(t, []string{"since=0"}, values[string](h, `SELECT fields FROM audit WHERE act = 'ExportAudit' AND action = 'export' AND allowed AND shown = $1`, rows))
	h.sealAll(9)
	second := h.export(seals)
	require.True(t, offline(t, second, nil).Verified, "by itself")
	report := offline(t, first+second, keep(t, headOf(t, h)))
	require.Equal(t, 1, report.Kept)
	require.True(t, report.Verified, "%+v", report)
	require.Equal(t, value[int64](h, `SELECT max(seq) FROM audit_seals`), report.Seals)
	require.Contains(t, offline(t, second+first, nil).Finding, "the exports do not follow each other")
	require.Contains(t, offline(t, first, keep(t, headOf(t, h))).Finding, "the end was cut off")

	// Whoever keeps it need not trust who brought it: nothing in it can be changed.
	lines := strings.SplitAfter(first, "\n")
	lines = lines[:len(lines)-1]
	for i, line := range lines {
		require.False(t, offline(t, strings.Join(lines[:i], ""), nil).Verified, "cut off before line %d", i+1)
		if i > 0 {
			require.False(t, offline(t, strings.Join(lines[:i], "")+strings.Join(lines[i+1:], ""), nil).Verified, "without line %d", i+1)
			require.False(t, offline(t, strings.Join(lines[:i+1], "")+line+strings.Join(lines[i+1:], ""), nil).Verified, "line %d twice", i+1)
		}
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		for name, was := range fields {
			if fields["kind"] == "end" && name != "last" || name == "format" || name == "missing" {
				continue // only counts
			}
			switch v := was.(type) {
			case string:
				switch {
				case name == "at":
					fields[name] = strings.Replace(v, "20", "21", 1)
				case name == "key" || v == "":
					fields[name] = "other"
				case name == "signature":
					fields[name] = "AAAA" + v[4:]
				default:
					fields[name] = strings.Map(func(r rune) rune {
						if r == 'a' || r == '1' {
							return '0'
						}
						return '1'
					}, v[:1]) + v[1:]
				}
			case bool:
				fields[name] = !v
			case float64:
				fields[name] = v + 1
			case []any:
				fields[name] = append(v, uuid.NewString())
			case nil:
				fields[name] = []any{uuid.NewString()}
			}
			changed, err := json.Marshal(fields)
			require.NoError(t, err)
			report, err := registry.VerifyExport(strings.NewReader(strings.Join(lines[:i], "")+string(changed)+"\n"+strings.Join(lines[i+1:], "")), registrytest.Keys().PublicKey(), nil)
			require.False(t, err == nil && report.Verified, "%s of line %d: %s", name, i+1, changed)
			if err == nil && fields["kind"] == "row" && name != "id" {
				require.Equal(t, fields["id"], report.Row, "%s of line %d", name, i+1)
			}
			fields[name] = was
		}
	}
	other, err := seal.Generate()
	require.NoError(t, err)
	report, err = registry.VerifyExport(strings.NewReader(first), other.PublicKey(), nil)
	require.NoError(t, err)
	require.Contains(t, report.Finding, "another key")
	report, err = registry.VerifyExport(strings.NewReader(strings.Replace(first, string(registrytest.Keys().PublicKey()), string(other.PublicKey()), 1)), other.PublicKey(), nil)
	require.NoError(t, err)
	require.Equal(t, "the signature of seal 1 is not good", report.Finding)
	_, err = registry.VerifyExport(strings.NewReader(first), "nonsense", nil)
	requireCode(t, err, registry.Invalid, "key_unreadable")
	_, err = registry.VerifyExport(strings.NewReader("nonsense"), other.PublicKey(), nil)
	requireCode(t, err, registry.Invalid, "export_unreadable")

	_, err = h.Store.ExportAudit(ctx, h.AuditAdministrator, seals+1000, io.Discard, nil)
	requireCode(t, err, registry.Invalid, "seal_unknown")
	for who, actor := range h.everybody() {
		if actor == h.AuditAdministrator || actor == system {
			continue
		}
		_, err := h.Store.ExportAudit(ctx, actor, 0, io.Discard, nil)
		require.Equal(t, registry.Denied, registry.KindOf(err), "%s: %v", who, err)
	}
}

// Whoever owns the database and holds the key file can make a chain that is sound by itself. What was kept elsewhere shows it.
func TestAChainThatWasCutOrMadeAnewWithTheKeysIsShownByWhatWasKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.donor(1)
	h.sealAll(6)
	head, export := headOf(t, h), h.export(0)
	h.sealAll(6)
	for _, kept := range []string{head, export, head + export} {
		report := h.against(kept)
		require.True(t, report.Verified, "%+v", report)
		require.Positive(t, report.Kept)
	}
	_, err := registry.ReadKept(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("\n")), nil })
	requireCode(t, err, registry.Invalid, "no_heads")

	// A head that somebody else signed, and one that says something else, are no witnesses.
	require.Contains(t, h.against(strings.Replace(head, `"rows":`, `"rows":1`, 1)).Finding, "is not signed with this register's key")
	require.Contains(t, h.against(head+strings.Replace(head, `"rows":`, `"rows":1`, 1)).Finding, "they differ")

	for _, name := range []string{"audit", "audit_seals", "audit_unsealed"} {
		h.sql(`CREATE TABLE kept_` + name + ` AS TABLE ` + name)
	}
	restore := guardsOff
	for _, name := range []string{"audit", "audit_seals", "audit_unsealed"} {
		restore += `DELETE FROM ` + name + `; INSERT INTO ` + name + ` SELECT * FROM kept_` + name + `;`
	}
	restore += guardsOn

	// The end goes, with its rows.
	h.sql(guardsOff + `DELETE FROM audit_unsealed; DELETE FROM audit a WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE seq < 3 AND a.id = ANY (s.ids)); DELETE FROM audit_seals WHERE seq >= 3;` + guardsOn)
	require.True(t, h.verify().Verified, "by itself the chain is sound")
	for _, kept := range []string{head, export} {
		report := h.against(kept)
		require.Contains(t, report.Finding, "the end was cut off")
		require.Equal(t, int64(3), report.Seal)
	}

	// The chain is made anew from the second seal on, without a row, and with one changed.
	h.sql(restore)
	victim, changed := value[uuid.UUID](h, `SELECT ids[2] FROM audit_seals WHERE seq = 2`), value[uuid.UUID](h, `SELECT ids[3] FROM audit_seals WHERE seq = 2`)
	remake := func(how, row string) {
		h.sql(restore)
		h.sql(guardsOff + how + `; DELETE FROM audit_unsealed; INSERT INTO audit_unsealed SELECT recorded_at, id FROM audit a WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE seq < 2 AND a.id = ANY (s.ids)); DELETE FROM audit_seals WHERE seq >= 2;` + guardsOn)
		h.sealAll(6)
		require.True(t, h.verify().Verified, "by itself the chain is sound")
		report := h.against(export)
		require.Equal(t, "seal 2 is not the one that was kept: the chain was made anew", report.Finding)
		require.Equal(t, row, report.Row)
		require.Equal(t, int64(2), report.Seal)
		report = h.against(head)
		require.False(t, report.Verified, "one head is enough to show it")
		require.Contains(t, report.Finding, "is not the one that was kept")
	}
	remake(fmt.Sprintf(`DELETE FROM audit WHERE id = '%s'`, victim), victim.String())
	remake(fmt.Sprintf(`UPDATE audit SET reason = 'other' WHERE id = '%s'`, changed), changed.String())
	remake(`SELECT 1`, "") // only the times of the seals are others
}
