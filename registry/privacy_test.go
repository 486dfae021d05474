package registry_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// disguises are a text as it would lie in a database: itself, encoded, or as a digest that anybody can make who guesses
// the text.
func disguises(text string) map[string][]byte {
	out := map[string][]byte{}
	add := func(name string, raw []byte) {
		out[name] = raw
		out[name+", in hexadecimal"] = []byte(hex.EncodeToString(raw))
		out[name+", in base64"] = []byte(base64.StdEncoding.EncodeToString(raw))
	}
	add("the text", []byte(text))
	escaped, _ := json.Marshal(text)
	out["the text, in JSON"] = bytes.Trim(escaped, `"`)
	m, s, l := md5.Sum([]byte(text)), sha1.Sum([]byte(text)), sha256.Sum256([]byte(text))
	add("its MD5", m[:])
	add("its SHA-1", s[:])
	add("its SHA-256", l[:])
	return out
}

// found lists the columns of the whole database that hold one of the secrets in any disguise.
func (h *house) found(secrets []string) (leaks []string, cells int) {
	h.t.Helper()
	ctx := context.Background()
	rows, err := h.conn().Query(ctx, `
		SELECT c.table_schema, c.table_name, c.column_name, c.udt_name FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE t.table_type = 'BASE TABLE' AND c.table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, 3`)
	require.NoError(h.t, err)
	looked := map[string][]byte{}
	for _, secret := range secrets {
		for how, disguise := range disguises(secret) {
			looked[fmt.Sprintf("%s of %q", how, secret)] = disguise
		}
	}
	type column struct{ Schema, Table, Name, Type string }
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	require.NoError(h.t, err)
	for _, c := range columns {
		table, name := pgx.Identifier{c.Schema, c.Table}.Sanitize(), pgx.Identifier{c.Name}.Sanitize()
		var query string
		switch c.Type {
		case "bytea":
			query = fmt.Sprintf(`SELECT %s FROM %s WHERE %s IS NOT NULL`, name, table, name)
		case "_bytea":
			query = fmt.Sprintf(`SELECT one FROM %s, unnest(%s) one WHERE one IS NOT NULL`, table, name)
		default:
			query = fmt.Sprintf(`SELECT convert_to(%s::text, 'UTF8') FROM %s WHERE %s IS NOT NULL`, name, table, name)
		}
		for _, cell := range values[[]byte](h, query) {
			cells++
			for what, disguise := range looked {
				if bytes.Contains(cell, disguise) {
					leaks = append(leaks, fmt.Sprintf("%s.%s.%s has %s", c.Schema, c.Table, c.Name, what))
				}
			}
		}
	}
	return leaks, cells
}

func TestNothingPersonalLiesInTheDatabaseOrTheLogInClear(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.AddSync(&log), zap.DebugLevel)
	h := newHouse(t, registry.Options{Log: zap.New(core)})
	ctx := context.Background()
	f, secrets := personal()
	note := "欧阳说她的室友王小二可以代接电话"
	reference := "住院号 ZY-2026-778899"
	secrets = append(secrets, "+86"+f.Phone.Reveal(), string(identity.ResidentID)+"\x00"+residentNumber(9), "王小二", "ZY-2026-778899", "E87654321", "上官验乙", "320106200001010773")

	// A volunteer, one who may be the same, one whose form is faulty, and the same form again.
	drive := h.drive()
	f.Barcode = barcode(9)
	likely, faulty := f, f
	likely.DocumentKind, likely.DocumentNumber, likely.Barcode = identity.Passport, seal.NumberOf("E87654321"), ""
	likely.BirthDate, likely.Sex = signed().AddDays(-26*365), identity.Male
	likely.Name = seal.NameOf("上官验乙")
	faulty.DocumentNumber = seal.NumberOf("320106200001010773") // of no person
	faulty.Barcode = barcode(10)
	entries, err := h.Store.Register(ctx, h.Registrar, "command", registry.EntryForm{Drive: drive.ID, Forms: []forms.Registration{f, likely, faulty}})
	require.NoError(t, err)
	require.Equal(t, []string{"created", "created", "failed"}, []string{entries[0].Status, entries[1].Status, entries[2].Status}, "%+v", entries)
	twin := f
	twin.DocumentKind, twin.DocumentNumber, twin.Barcode = identity.Passport, seal.NumberOf("E87654322"), ""
	v := h.show(h.Coordinator, entries[0].Donors[0].ID)
	twin.BirthDate, twin.Sex = calendar.Must(2000, time.January, 1), identity.Male
	require.Equal(t, "parked", h.register(h.Registrar, twin).Status)
	donor := v.ID
	h.receive(h.send(drive, barcode(9)), registry.ReceiveForm{})
	_, err = h.Store.ReportTypings(ctx, h.Technician, []forms.TypingReport{typing(barcode(9), gl)})
	require.NoError(t, err)
	_, err = h.Store.ListDonor(ctx, system, registry.Advance{CaseID: donor, Version: 1, At: time.Now(), Move: ends("enrolment.listed", "listed")})
	require.NoError(t, err)
	// A patient, a request, an attempt to call, and an answer with a note.
	p, err := h.Store.AddPatient(ctx, h.TransplantDoctor, forms.Patient{
		Reference: seal.NoteOf(reference), BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: gl, Nomenclature: "3.57.0", ConsentOn: today(),
	})
	require.NoError(t, err)
	search, err := h.Store.OpenSearch(ctx, h.TransplantDoctor, registry.SearchForm{Patient: p.ID})
	require.NoError(t, err)
	_, err = h.Store.RunSearch(ctx, system, search.ID, 1, time.Now())
	require.NoError(t, err)
	caseID := h.request(h.TransplantDoctor, search.ID, donor)[0]
	_, err = h.Store.AddAttempt(ctx, h.Coordinator, caseID, forms.ContactAttempt{At: time.Now(), Channel: "phone", Whom: "donor", Result: "reached", Note: seal.NoteOf(note)})
	require.NoError(t, err)
	task := h.ask(registry.Question{CaseID: caseID, Step: "stemcell.remobilisation", Seat: registry.SeatCoordinator, Role: policy.Coordinator, Rule: rules.StemCellRemobilisation})
	h.answer(h.Coordinator, task.TaskID, fields{"outcome": "willing", "note": note}, to("stemcell.sample_booking"))
	// What is shown is kept for the request's retry; what is revealed is not kept at all.
	request, err := json.Marshal(fields{"name": f.Name.Reveal(), "document_number": f.DocumentNumber.Reveal()})
	require.NoError(t, err)
	secrets = append(secrets, string(request))
	_, err = h.Store.Remember(ctx, h.Coordinator, "key", "POST /v1/registrations", sha256.Sum256(request))
	require.NoError(t, err)
	clear, err := h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Class: policy.Contact, Reason: "call_donor"})
	require.NoError(t, err)
	shown, err := json.Marshal(clear)
	require.NoError(t, err)
	require.NoError(t, h.Store.Answered(ctx, h.Coordinator, "key", registry.Remembered{Status: 200, Header: map[string]string{"ETag": "1"}, Body: shown}))
	_, err = h.Store.Withdraw(ctx, h.Coordinator, donor, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	_, err = h.Store.SealAudit(ctx, 5000)
	require.NoError(t, err)
	// And an act that fails inside is logged.
	h.sql(`ALTER TABLE persons ADD CONSTRAINT nobody_new CHECK (version > 1) NOT VALID`)
	_, err = h.Store.Register(ctx, h.Registrar, uuid.NewString(), registry.EntryForm{Forms: []forms.Registration{volunteer(11)}})
	require.ErrorContains(t, err, "nobody_new")
	secrets = append(secrets, residentNumber(11), "13800000011", "张小明")

	leaks, cells := h.found(secrets)
	require.Empty(t, leaks)
	require.Greater(t, cells, 1000, "the whole database was looked at")
	for _, secret := range secrets {
		for how, disguise := range disguises(secret) {
			require.NotContains(t, log.String(), string(disguise), how)
		}
		require.NotContains(t, err.Error(), secret)
	}
	require.Contains(t, log.String(), "an act failed", "the log was looked at")

	// The look finds what is there: in a text, in JSON, in bytes, in a list of bytes, and as a digest.
	sum := sha256.Sum256([]byte("E87654321"))
	h.sql(`UPDATE organisations SET name_en = $2 WHERE id = $1`, h.College.ID, "of 欧阳验甲")
	h.sql(`UPDATE events SET args = args || '{"Name": "上官验乙"}' WHERE registration_id = $1`, donor)
	h.sql(`UPDATE searches SET closed_reason = $2 WHERE id = $1`, search.ID, hex.EncodeToString([]byte(residentNumber(9))))
	h.sql(`UPDATE person_documents SET number_index = $2 WHERE person_id = (SELECT person_id FROM registrations WHERE id = $1)`, donor, sum[:])
	h.sql(`UPDATE batch_rows SET number_lookups = ARRAY[$1::bytea]`, []byte("15812345678"))
	leaks, _ = h.found(secrets)
	all := strings.Join(leaks, "\n")
	for _, column := range []string{"organisations.name_en has the text", "events_", "searches.closed_reason has the text, in hexadecimal", "person_documents.number_index has its SHA-256", "batch_rows.number_lookups has the text"} {
		require.Contains(t, all, column)
	}
}

// A cell that is copied to another row shows nobody's name there, least of all the wrong person's.
func TestASealedCellOpensOnlyInItsOwnRow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	one, two := h.donor(1), h.donor(2)
	for _, column := range []string{"name", "phone", "profile"} {
		h.sql(`UPDATE persons SET ` + column + `_sealed = (SELECT o.` + column + `_sealed FROM persons o JOIN registrations r ON r.person_id = o.id WHERE r.id = '` + one.String() + `')
			WHERE id = (SELECT person_id FROM registrations WHERE id = '` + two.String() + `')`)
		_, err := h.Store.ShowDonor(ctx, h.Coordinator, two)
		require.ErrorIs(t, err, seal.ErrCannotOpen)
		require.Empty(t, registry.KindOf(err), "nobody is told that the record is not there")
	}
	_, err := h.Store.ShowDonor(ctx, h.Coordinator, one)
	require.NoError(t, err)
	for _, class := range []policy.Class{policy.Identity, policy.Contact} {
		out, err := h.Store.RevealDonor(ctx, h.Coordinator, two, registry.RevealForm{Class: class, Reason: "correct_entry"})
		require.ErrorIs(t, err, seal.ErrCannotOpen)
		require.Zero(t, out)
	}
}
