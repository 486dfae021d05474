package faults

import (
	"context"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// The service dies when what a request asked for is in the database, and its answer is not even kept for the request's key:
// nothing but the request itself, sent again, can tell that it was done.
func TestARequestWhoseAnswerDiedWithTheServiceHasOneEffectWhenItIsSentAgain(t *testing.T) {
	t.Parallel()
	a := ask(t)
	registrar, hospital := a.signIn(a.service, "registrar"), a.signIn(a.service, "transplant")
	administrator, security := a.signIn(a.service, "administrator"), a.signIn(a.service, "security")
	technician := a.signIn(a.service, "technician")
	donors := typed(a.house, 2, 1)
	listed(a.house, 2)
	sampled := drive(a.house, "TC000001", "TC000999")
	registrar.send(post("/v1/registrations", map[string]any{"drive": sampled, "forms": []any{volunteer(3, "TC000001")}})).good(t, nil)
	sent := drive(a.house, "TE000001", "TE000999")
	registrar.send(post("/v1/registrations", map[string]any{"drive": sent, "forms": []any{volunteer(5, "TE000001")}})).good(t, nil)
	box, err := a.Store.SendTubes(context.Background(), a.Registrar, sent, registry.SendForm{To: a.Laboratory.ID})
	require.NoError(t, err)
	patient := read[uuid.UUID](a.house, `SELECT id FROM patients`)
	now := today().Start(registry.Zone)

	withdraw := post("/v1/donors/"+donors[0].String()+"/withdraw", map[string]any{"via": "phone"})
	withdraw.version = read[int64](a.house, `SELECT version FROM registrations WHERE id = $1`, donors[0])
	receive := post("/v1/consignments/"+box.ID.String()+"/receive", map[string]any{})
	receive.version = box.Version
	sheet := uploaded(a.house, 4, nil)
	commit := post("/v1/import-batches/"+sheet.ID.String()+"/commit", map[string]any{"accept_warnings": true})
	commit.version = sheet.Version
	// These find their first result themselves; the others are told that they were done, and are not done again.
	repeats := []string{"a form", "an answer", "a withdrawal"}
	cases := []struct {
		name    string
		by      *person
		request request
		effect  string // counts what the request makes
	}{
		{"a form", registrar, post("/v1/registrations", map[string]any{"drive": sampled, "forms": []any{volunteer(4, "TC000002")}}), `SELECT count(*) FROM registrations WHERE channel = 'form'`},
		{"an answer", a.coordinator, a.willing(), `SELECT count(*) FROM events WHERE code = 'stemcell.remobilisation.willing'`},
		{"a withdrawal", registrar, withdraw, `SELECT count(*) FROM events WHERE code = 'registration.withdrawn'`},
		{"a box received", technician, receive, `SELECT count(*) FROM custody WHERE condition = 'good'`},
		{"the commit of a sheet", registrar, commit, `SELECT count(*) FROM outbox WHERE kind = 'import'`},
		{"a call to the donor", a.coordinator, post("/v1/cases/"+a.question.CaseID.String()+"/attempts", map[string]any{"at": now, "channel": "phone", "whom": "donor", "result": "reached"}),
			`SELECT count(*) FROM contact_attempts`},
		{"a drive", registrar, post("/v1/drives", map[string]any{
			"name": "冬季采样", "place": "图书馆", "region": "320106", "laboratory": a.Laboratory.ID, "first_day": today(), "last_day": today(), "target": 10, "barcode_from": "TD000001", "barcode_to": "TD000100",
		}), `SELECT count(*) FROM drives`},
		{"a box of tubes", registrar, post("/v1/drives/"+sampled.String()+"/consignments", map[string]any{"to": a.Laboratory.ID}), `SELECT count(*) FROM consignments`},
		{"a patient", hospital, post("/v1/patients", map[string]any{
			"birth_year": 2012, "sex": "male", "diagnosis": "C91.0", "weight_kg": 30, "urgency": "urgent", "gl": gl, "nomenclature": "3.57.0", "consent_on": today(),
		}), `SELECT count(*) FROM patients`},
		{"a search", hospital, post("/v1/searches", map[string]any{"patient": patient}), `SELECT count(*) FROM searches`},
		{"an organisation", administrator, post("/v1/organisations", map[string]any{"kind": "hospital", "name": "苏州医院", "region": "320500"}), `SELECT count(*) FROM organisations`},
		{"a member of staff", administrator, post("/v1/staff", map[string]any{"login": "newcomer", "name": "新人", "organisation": a.County.ID, "password": registrytest.Password}), `SELECT count(*) FROM staff`},
		{"a grant", security, post("/v1/grants", map[string]any{"login": "technician", "role": "registrar", "region": "320106", "until": now.AddDate(1, 0, 0)}), `SELECT count(*) FROM role_grants`},
	}
	before := map[string]int{}
	for _, c := range cases {
		before[c.name] = read[int](a.house, c.effect)
	}
	place := a.hold("idempotency_keys", "UPDATE", `NEW.status IS NOT NULL`)
	for _, c := range cases {
		c.by.sendLater(c.request)
	}
	place.reached(len(cases))
	a.service.kill()
	place.release()
	for _, c := range cases {
		require.Equal(t, before[c.name]+1, read[int](a.house, c.effect), "%s is in the database", c.name)
	}
	a.service.start()
	for _, c := range cases {
		// For all that anybody knows, whoever takes the first request is still at it.
		soon := c.by.send(c.request)
		require.Equal(t, "request_under_way", soon.code(), c.name)
		require.NotEmpty(t, soon.header.Get("Retry-After"), c.name)
	}
	a.write(`UPDATE idempotency_keys SET created_at = created_at - interval '2 minutes', done_at = done_at - interval '2 minutes'`) // they pass
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			again := c.by.send(c.request)
			require.Equal(t, before[c.name]+1, read[int](a.house, c.effect))
			if slices.Contains(repeats, c.name) {
				again.good(t, nil)
			} else {
				require.Equal(t, "request_was_done", again.code())
			}
		})
	}
}
