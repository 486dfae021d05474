package api_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
)

// about is what a route is about, as far as who may is concerned.
type about struct {
	region identity.Region
	sites  []uuid.UUID // organisations that have it
	office uuid.UUID   // whose it is to answer
	shared bool        // with the guests' office
	team   bool        // of its drive are the guests
}

// walker is somebody with one role.
type walker struct {
	registry.Actor
	role   policy.Role
	region identity.Region // of the grant
	at     identity.Region // of the organisation
	far    bool
	guest  bool // far, at an office that serves Nanjing and that the donor is shared with, and in the drive's team
}

func (p walker) as() registrytest.Walker {
	return registrytest.Walker{Actor: p.Actor, Role: p.role, Region: p.region, At: p.at, Far: p.far, Guest: p.guest}
}

// allows asks the policy, and nothing of the registry, whether somebody may.
func (p walker) allows(t *testing.T, rec about, class policy.Class, action policy.Action, purpose policy.Purpose) bool {
	return p.as().Allows(t, registrytest.About{Region: rec.region, Sites: rec.sites, Office: rec.office, Shared: rec.shared, Team: rec.team}, class, action, purpose)
}

// reaches tells whether a list of a class can have anything in it for somebody.
func (p walker) reaches(t *testing.T, class policy.Class, action policy.Action, purpose policy.Purpose) bool {
	return p.as().Reaches(t, class, action, purpose)
}

// step is one route of the walk: which class of which record it touches, and how.
type step struct {
	class   policy.Class
	action  policy.Action
	purpose policy.Purpose
	rec     about
	list    bool   // a list, which is empty or denied as a whole
	path    string // with the record's id
	body    any
	known   bool // that there are such records is no secret: 403, not 404
	own     bool // everybody's who is signed in
	public  bool
	among   []policy.Role  // who may, of those whom the policy lets
	only    policy.Role    // who alone may, of those whom the policy lets
	or      policy.Class   // that will do as well …
	orFor   policy.Purpose // … for this
	sits    bool           // only who sits at the record's table …
	writes  bool           // … or may write it
	not     []policy.Role  // who may not, although the policy lets them read: it is the other side's, or it names people
	media   string         // of a body that is no JSON; text/csv when empty
	away    bool           // asks the case itself, which nobody carries here
	also    policy.Class   // what must be allowed besides, with …
	doing   policy.Action  // … this
}

// Every route is walked as every role, near the records and far from them, and answers as the matrix says.
func TestEveryRouteAnswersEveryRoleAsTheMatrixSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := context.Background()

	// The records: one of each kind, in Gulou; the patient's in Shanghai.
	drive, _ := w.drive("采样日")
	donors := w.volunteers(drive.ID, 3)
	donor := donors[0]
	batch := read[registry.BatchView](w.upload(drive.ID, csvOf(w.volunteer(8))))
	box := read[registry.ConsignmentView](w.send(w.Registrar, http.MethodPost, "/v1/drives/"+drive.ID.String()+"/consignments", map[string]any{"to": w.Laboratory.ID, "barcodes": []string{"NJ26000001"}}).is(http.StatusCreated))
	patient, err := w.Store.AddPatient(ctx, w.TransplantDoctor, forms.Patient{
		BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: gl, Nomenclature: "3.57.0", ConsentOn: calendar.Of(w.clock(), registry.Zone),
	})
	require.NoError(t, err)
	search, err := w.Store.OpenSearch(ctx, w.TransplantDoctor, registry.SearchForm{Patient: patient.ID})
	require.NoError(t, err)
	caseID, tasks := w.caseWith("stemcell.remobilisation")
	w.exec(`UPDATE cases SET subject_id = $2 WHERE id = $1`, caseID, donor)
	for seat, party := range map[string]struct {
		side string
		at   uuid.UUID
	}{"coordinator": {"donor", w.County.ID}, "collection_hospital": {"donor", w.Collection.ID}, "transplant_hospital": {"patient", w.Transplant.ID}} {
		w.exec(`INSERT INTO case_parties (case_id, seat, side, organisation_id) VALUES ($1, $2, $3, $4)`, caseID, seat, party.side, party.at)
	}
	request, err := w.Store.FileRights(ctx, w.Registrar, forms.RightsRequest{Donor: donor, Kind: "copy", Asker: "person", Via: "counter"})
	require.NoError(t, err)
	var number string
	require.NoError(t, w.db.QueryRow(ctx, `SELECT number FROM registrations WHERE id = $1`, donors[2]).Scan(&number))
	broken, err := w.Store.BreakGlass(ctx, w.Coordinator, registry.EmergencyForm{Number: number, Classes: []policy.Class{policy.Identity}, Category: "accident", Reason: seal.NoteOf("在外地旅行时出了交通事故")})
	require.NoError(t, err)
	asker := w.staff("asker", w.City, policy.ProvincialOffice, "320106")
	w.staff("approver", w.City, policy.ProvincialOffice, "320106")
	export, err := w.Store.AskExport(ctx, asker, registry.ExportForm{Region: "320106", Classes: []policy.Class{policy.Identity}, Purpose: policy.ForFollowUp, Reason: seal.NoteOf("年度回访需要逐一打电话联系")})
	require.NoError(t, err)
	notice := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO notices (id, code, organisation_id, region, dedupe, at) VALUES ($1, 'task.opened', $2, '320106', $3, now())`, notice, w.County.ID, notice.String())
	hook, err := w.Store.AddWebhook(ctx, w.Administrator, registry.WebhookForm{Organisation: w.County.ID, Name: "平台", URL: "https://hooks.example/", Codes: []string{"*"}})
	require.NoError(t, err)
	delivery := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO deliveries (id, kind, channel, code, webhook_id, urgent, state, next_at, created_at) VALUES ($1, 'ping', 'webhook', 'ping', $2, false, 'delivered', now(), now())`, delivery, hook.ID)
	// An office far away that has to do with them: its people are the guests.
	operator := registry.Operator("test")
	var offices []registry.Organisation
	for _, name := range []string{"海淀区红十字会", "朝阳区红十字会"} {
		o, err := w.Store.AddOrganisation(ctx, operator, registry.OrganisationForm{Kind: "red_cross", Name: name, Region: "110108"})
		require.NoError(t, err)
		offices = append(offices, o)
	}
	guests, beside := offices[0], offices[1]
	_, err = w.Store.SetServiceAreas(ctx, operator, guests.ID, 0, registry.ServiceAreaForm{Regions: []identity.Region{"320100"}})
	require.NoError(t, err)
	var share registry.ShareView
	for _, o := range offices {
		share, err = w.Store.ShareDonor(ctx, w.Coordinator, donor, registry.ShareForm{Organisation: o.ID, Reason: "moved", Until: w.clock().Add(time.Hour)})
		require.NoError(t, err)
	}
	subject := w.staff("subject", w.County, policy.Registrar, "320106")
	today := w.clock().In(registry.Zone).Format(time.DateOnly)

	here := about{region: "320106", sites: nil}
	atCase := about{region: "320106", sites: []uuid.UUID{w.County.ID, w.Collection.ID, w.Transplant.ID}}
	shownCase := about{region: "320106", sites: atCase.sites, shared: true}
	atDonor := about{region: "320106", sites: []uuid.UUID{w.County.ID, w.Collection.ID}, shared: true, team: true}
	atDrive := about{region: "320106", team: true}
	atSearch := about{region: "310104", sites: []uuid.UUID{w.Transplant.ID}}
	id := func(path string, v uuid.UUID) string { return path + "/" + v.String() }
	steps := map[string]step{
		"GET /v1/donors":                     {class: policy.Registration, action: policy.Read, purpose: policy.ForCase, list: true, path: "/v1/donors"},
		"GET /v1/donors/counts":              {class: policy.Registration, action: policy.Read, purpose: policy.ForCase, list: true, path: "/v1/donors/counts?by=status"},
		"POST /v1/donors/find":               {class: policy.Identity, action: policy.Find, purpose: policy.ForCase, list: true, path: "/v1/donors/find", body: map[string]any{"document_number": residentNumber(1)}},
		"GET /v1/donors/{id}":                {class: policy.Registration, action: policy.Read, purpose: policy.ForCase, rec: atDonor, path: id("/v1/donors", donor)},
		"POST /v1/donors/{id}/reveal":        {class: policy.Identity, action: policy.Reveal, purpose: policy.ForCase, rec: atDonor, path: id("/v1/donors", donor) + "/reveal", body: map[string]any{"class": "identity", "reason": "call_donor"}},
		"POST /v1/donors/{id}/check-in":      {class: policy.Consent, action: policy.Write, purpose: policy.ForEnrolment, rec: here, path: id("/v1/donors", donor) + "/check-in", body: map[string]any{"outcome": "unreachable", "on": today}},
		"POST /v1/donors/{id}/withdraw":      {class: policy.Consent, action: policy.Write, purpose: policy.ForEnrolment, rec: here, path: id("/v1/donors", donor) + "/withdraw", body: map[string]any{"via": "phone"}},
		"POST /v1/registrations":             {class: policy.Identity, action: policy.Write, purpose: policy.ForEnrolment, rec: atDrive, known: true, path: "/v1/registrations", body: map[string]any{"drive": drive.ID, "forms": []any{w.volunteer(20)}}},
		"GET /v1/drives":                     {class: policy.Drive, action: policy.Read, purpose: policy.ForEnrolment, list: true, path: "/v1/drives"},
		"POST /v1/drives":                    {class: policy.Drive, action: policy.Write, purpose: policy.ForEnrolment, rec: here, path: "/v1/drives", body: w.driveForm("再一次")},
		"GET /v1/drives/{id}":                {class: policy.Drive, action: policy.Read, purpose: policy.ForEnrolment, rec: atDrive, path: id("/v1/drives", drive.ID)},
		"POST /v1/drives/{id}/consignments":  {class: policy.Specimen, action: policy.Write, purpose: policy.ForEnrolment, rec: atDrive, path: id("/v1/drives", drive.ID) + "/consignments", body: map[string]any{"to": w.Laboratory.ID, "barcodes": []string{"NJ26000002"}}},
		"GET /v1/drives/{id}/import-batches": {class: policy.Intake, action: policy.Read, purpose: policy.ForEnrolment, rec: atDrive, path: id("/v1/drives", drive.ID) + "/import-batches"},
		"GET /v1/drives/{id}/template.xlsx":  {class: policy.Drive, action: policy.Read, purpose: policy.ForEnrolment, rec: atDrive, path: id("/v1/drives", drive.ID) + "/template.xlsx"},
		"POST /v1/import-batches":            {class: policy.Intake, action: policy.Write, purpose: policy.ForEnrolment, rec: atDrive, path: "/v1/import-batches?file_name=x.csv&drive=" + drive.ID.String(), body: csvOf(w.volunteer(30))},
		"GET /v1/cases":                      {class: policy.Case, action: policy.Read, purpose: policy.ForCase, list: true, path: "/v1/cases"},
		"GET /v1/cases/{id}":                 {class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: shownCase, path: id("/v1/cases", caseID)},
		"POST /v1/cases/{id}/attempts":       {class: policy.Case, action: policy.Write, purpose: policy.ForCase, rec: atCase, path: id("/v1/cases", caseID) + "/attempts", body: map[string]any{"at": w.clock().Add(-time.Hour), "channel": "phone", "whom": "donor", "result": "no_answer"}},
		"POST /v1/cases/{id}/reopen":         {class: policy.Case, action: policy.Decide, purpose: policy.ForCase, rec: shownCase, path: id("/v1/cases", caseID) + "/reopen", body: map[string]any{"step": "stemcell.remobilisation", "reason": "wrong_entry"}},
		"GET /v1/tasks":                      {class: policy.Case, action: policy.Decide, purpose: policy.ForCase, list: true, path: "/v1/tasks"},
		"GET /v1/tasks/{id}":                 {class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: here, path: id("/v1/tasks", tasks[0])},
		"GET /v1/notices":                    {class: policy.Notice, action: policy.Read, purpose: policy.ForCase, list: true, path: "/v1/notices"},
		"POST /v1/notices/{id}/read":         {class: policy.Notice, action: policy.Read, purpose: policy.ForCase, rec: about{region: "320106", sites: []uuid.UUID{w.County.ID}}, path: id("/v1/notices", notice) + "/read", body: map[string]any{}},
		"GET /v1/webhooks":                   {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, list: true, path: "/v1/webhooks"},
		"POST /v1/webhooks":                  {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: "/v1/webhooks", body: map[string]any{"organisation": w.County.ID, "name": "平台", "url": "https://hooks.example/liferelay", "codes": []string{"task.opened"}}},
		"GET /v1/deliveries":                 {class: policy.Staff, action: policy.Write, purpose: policy.ForAdministration, list: true, path: "/v1/deliveries"},
		"GET /v1/consignments":               {class: policy.Specimen, action: policy.Read, purpose: policy.ForEnrolment, list: true, path: "/v1/consignments"},
		"POST /v1/consignments/{id}/receive": {class: policy.Specimen, action: policy.Write, purpose: policy.ForEnrolment, rec: about{region: "320106", sites: []uuid.UUID{w.Laboratory.ID, w.County.ID}}, path: id("/v1/consignments", box.ID) + "/receive", body: map[string]any{}},
		"POST /v1/patients":                  {class: policy.Patient, action: policy.Write, purpose: policy.ForSearch, known: true, path: "/v1/patients", body: map[string]any{"birth_year": 2015, "sex": "male", "diagnosis": "C91.0", "weight_kg": 30, "urgency": "urgent", "gl": gl, "nomenclature": "3.57.0", "consent_on": today}},
		"GET /v1/patients/{id}":              {class: policy.Patient, action: policy.Read, purpose: policy.ForSearch, rec: about{sites: []uuid.UUID{w.Transplant.ID}}, path: id("/v1/patients", patient.ID)},
		"GET /v1/patients":                   {class: policy.Patient, action: policy.Read, purpose: policy.ForSearch, list: true, path: "/v1/patients"},
		"GET /v1/searches":                   {class: policy.Search, action: policy.Read, purpose: policy.ForSearch, list: true, path: "/v1/searches"},
		"GET /v1/statistics":                 {class: policy.Statistics, action: policy.Read, purpose: policy.ForAdministration, rec: here, known: true, path: "/v1/statistics?region=320106"},
		"GET /v1/statistics/statistics.csv":  {class: policy.Statistics, action: policy.Export, purpose: policy.ForAdministration, rec: here, known: true, path: "/v1/statistics/statistics.csv?region=320106"},
		"GET /v1/statistics/drives":          {class: policy.Statistics, action: policy.Read, purpose: policy.ForAdministration, list: true, path: "/v1/statistics/drives"},
		"POST /v1/searches":                  {class: policy.Search, action: policy.Write, purpose: policy.ForSearch, rec: atSearch, known: true, path: "/v1/searches", body: map[string]any{"patient": patient.ID}},
		"GET /v1/searches/{id}":              {class: policy.Search, action: policy.Read, purpose: policy.ForSearch, rec: atSearch, path: id("/v1/searches", search.ID)},
		"GET /v1/searches/{id}/candidates":   {class: policy.Search, action: policy.Read, purpose: policy.ForSearch, rec: atSearch, path: id("/v1/searches", search.ID) + "/candidates"},
		"POST /v1/searches/{id}/close":       {class: policy.Search, action: policy.Decide, purpose: policy.ForSearch, rec: atSearch, path: id("/v1/searches", search.ID) + "/close", body: map[string]any{"reason": "related_donor"}},
		"POST /v1/typings":                   {class: policy.HLA, action: policy.Write, purpose: policy.ForEnrolment, known: true, path: "/v1/typings", body: map[string]any{"typings": []any{map[string]any{"barcode": "NJ26000001"}}}},
		"GET /v1/organisations":              {class: policy.Organisation, action: policy.Read, purpose: policy.ForAdministration, known: true, path: "/v1/organisations"},
		"GET /v1/nomenclature":               {class: policy.Organisation, action: policy.Read, purpose: policy.ForAdministration, known: true, path: "/v1/nomenclature"},
		"POST /v1/organisations":             {class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: "/v1/organisations", body: map[string]any{"kind": "hospital", "name": "医院", "region": "320106"}},
		"GET /v1/staff":                      {class: policy.Staff, action: policy.Read, purpose: policy.ForAdministration, list: true, path: "/v1/staff"},
		"POST /v1/staff":                     {class: policy.Staff, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: "/v1/staff", body: map[string]any{"login": "somebodynew", "name": "新人", "organisation": w.County.ID, "password": "a long enough sentence", "one_time": true}},
		"POST /v1/machines":                  {class: policy.Staff, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: "/v1/machines", body: map[string]any{"login": "machinenew", "name": "机器", "organisation": w.County.ID}},
		"GET /v1/staff/{id}":                 {class: policy.Staff, action: policy.Read, purpose: policy.ForAdministration, rec: here, path: id("/v1/staff", subject.Staff())},
		"PATCH /v1/staff/{id}":               {class: policy.Staff, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: id("/v1/staff", subject.Staff()), body: map[string]any{}},
		"POST /v1/grants":                    {class: policy.Granting, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: "/v1/grants", only: policy.SecurityAdministrator, body: map[string]any{"login": "subject", "role": "registrar", "region": "320106", "until": w.clock().Add(time.Hour)}},
		"DELETE /v1/grants":                  {class: policy.Granting, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: "/v1/grants?login=subject&role=coordinator&region=320106", only: policy.SecurityAdministrator},
		"GET /v1/audit":                      {class: policy.Audit, action: policy.Read, purpose: policy.ForAudit, list: true, path: "/v1/audit"},
		"POST /v1/audit/verify":              {class: policy.Audit, action: policy.Read, purpose: policy.ForAudit, rec: about{region: identity.Nation}, known: true, path: "/v1/audit/verify", body: map[string]any{}},
	}
	steps["GET /v1/audit/{id}"] = step{own: true} // found by its time as well: its own test
	steps["GET /v1/audit/chain"] = step{class: policy.Audit, action: policy.Read, purpose: policy.ForAudit, list: true, path: "/v1/audit/chain"}
	steps["POST /v1/audit/verifications"] = step{class: policy.Audit, action: policy.Read, purpose: policy.ForAudit, rec: about{region: identity.Nation}, known: true, path: "/v1/audit/verifications", body: map[string]any{}}
	administered := step{class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: here, known: true}
	with := func(s step, path string, body any) step { s.path, s.body = path, body; return s }
	aDay := w.clock().AddDate(0, 1, 0).In(registry.Zone).Format(time.DateOnly)
	day := map[string]any{"region": "320106", "day": aDay, "name": "停电", "source": "通知"}
	steps["PUT /v1/calendar-days"] = with(administered, "/v1/calendar-days", day)
	steps["POST /v1/calendar-days/preview"] = with(administered, "/v1/calendar-days/preview", day)
	steps["DELETE /v1/calendar-days"] = with(administered, "/v1/calendar-days?region=320106&day="+aDay, nil)
	steps["POST /v1/rules/dry-run"] = with(administered, "/v1/rules/dry-run", map[string]any{"region": "320106", "key": "stemcell.candidates.due", "value": "3 wd"})
	everybodys := step{class: policy.Organisation, action: policy.Read, purpose: policy.ForAdministration, known: true}
	steps["GET /v1/calendar-days"] = with(everybodys, "/v1/calendar-days?year=2026", nil)
	steps["GET /v1/rules"] = with(everybodys, "/v1/rules", nil)
	for _, pattern := range []string{"GET /v1/health", "GET /v1/policy/{role}", "POST /v1/policy/simulate", "GET /v1/reviews"} { // each has its own test
		steps[pattern] = step{own: true}
	}
	own := map[string]any{"zh": "待办：{{.Step}}", "en": "Task: {{.Step}}"}
	setting := step{class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: here, known: true, path: "/v1/notice-templates/task.opened/screen?region=320106"}
	steps["DELETE /v1/notice-templates/{code}/{channel}"] = setting
	setting.body = own
	steps["PUT /v1/notice-templates/{code}/{channel}"] = setting
	steps["GET /v1/notice-templates"] = step{class: policy.Organisation, action: policy.Read, purpose: policy.ForAdministration, rec: here, known: true, path: "/v1/notice-templates?region=320106"}
	steps["POST /v1/notice-templates/{code}/{channel}/preview"] = step{class: policy.Organisation, action: policy.Read, purpose: policy.ForAdministration, known: true, path: "/v1/notice-templates/task.opened/screen/preview", body: own}
	var held []uuid.UUID
	for _, by := range []registry.Actor{w.Coordinator, w.TransplantDoctor} {
		m, err := w.Store.WriteMessage(ctx, by, caseID, registry.MessageForm{Text: seal.NoteOf("电话 138-1234 5678")})
		require.NoError(t, err)
		require.Equal(t, "held", m.Status)
		held = append(held, m.ID)
	}
	w.exec(`INSERT INTO link.candidates (search_id, registration_id, run, rank, matched, possible, of, grades, change) VALUES ($1, $2, 1, 1, 10, 10, 10, '[]', 'new')`, search.ID, donor)
	steps["GET /v1/searches/{id}/candidates/{donor}/why"] = step{class: policy.Search, action: policy.Read, purpose: policy.ForSearch, rec: atSearch, path: id("/v1/searches", search.ID) + "/candidates/" + donor.String() + "/why"}
	steps["GET /v1/donors/{id}/shares"] = step{class: policy.Registration, action: policy.Read, purpose: policy.ForCase, rec: atDonor, path: id("/v1/donors", donor) + "/shares"}
	steps["POST /v1/donors/{id}/shares"] = step{class: policy.Registration, action: policy.Decide, purpose: policy.ForCase, rec: atDonor, path: id("/v1/donors", donor) + "/shares",
		body: map[string]any{"organisation": beside.ID, "reason": "follow_up", "until": w.clock().Add(time.Hour)}}
	steps["DELETE /v1/donors/{id}/shares/{share}"] = step{class: policy.Registration, action: policy.Decide, purpose: policy.ForCase, rec: atDonor, path: id("/v1/donors", donor) + "/shares/" + share.ID.String()}
	steps["PUT /v1/drives/{id}/team"] = step{class: policy.Drive, action: policy.Write, purpose: policy.ForEnrolment, rec: atDrive, path: id("/v1/drives", drive.ID) + "/team", body: map[string]any{"team": []any{}}}
	steps["GET /v1/organisations/{id}"] = step{class: policy.Organisation, action: policy.Read, purpose: policy.ForAdministration, known: true, path: id("/v1/organisations", w.County.ID)}
	steps["PUT /v1/organisations/{id}"] = step{class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: id("/v1/organisations", w.County.ID), body: map[string]any{"name": "鼓楼区红十字会"}}
	steps["PUT /v1/organisations/{id}/service-areas"] = step{class: policy.Organisation, action: policy.Decide, purpose: policy.ForAdministration, rec: here, path: id("/v1/organisations", w.County.ID) + "/service-areas", body: map[string]any{"regions": []any{}}}
	// A pair of donors who are in nothing else, and one that was made one and taken apart.
	pair, merge := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO duplicates (id, person_id, other_id, region, person_region, other_region, found_by, found_at)
		SELECT $1, a.person_id, b.person_id, a.region, a.region, b.region, '{phone}', now() FROM registrations a, registrations b WHERE a.id = $2 AND b.id = $3`, pair, donors[1], donors[2])
	w.exec(`INSERT INTO merges (id, person_id, other_id, person_donor, other_donor, region, fields, reason, merged_by, merged_at, undone_at)
		SELECT $1, a.person_id, b.person_id, a.id, b.id, a.region, '{}', 'documents_seen', $4, now(), now() FROM registrations a, registrations b WHERE a.id = $2 AND b.id = $3`, merge, donors[1], donors[2], w.Registrar.Staff())
	merging := map[string]any{"stays": donors[1], "reason": "documents_seen", "number": number}
	steps["POST /v1/find"] = step{own: true} // what somebody may not know of is not found: its own tests
	steps["GET /v1/duplicates"] = step{class: policy.Identity, action: policy.Read, purpose: policy.ForEnrolment, list: true, path: "/v1/duplicates"}
	steps["GET /v1/duplicates/{id}"] = step{class: policy.Identity, action: policy.Read, purpose: policy.ForEnrolment, rec: here, path: id("/v1/duplicates", pair)}
	steps["POST /v1/duplicates/{id}/decide"] = step{class: policy.Identity, action: policy.Write, purpose: policy.ForEnrolment, rec: here, path: id("/v1/duplicates", pair) + "/decide", body: map[string]any{"decision": "same", "reason": "documents_seen"}}
	for path, body := range map[string]any{"/v1/duplicates/{id}/preview": merging, "/v1/duplicates/{id}/merge": merging, "/v1/merges/{id}/undo": map[string]any{"reason": "twins", "number": number}} {
		s := step{class: policy.Identity, action: policy.Write, also: policy.Registration, doing: policy.Decide, purpose: policy.ForEnrolment, rec: here, path: strings.Replace(path, "{id}", pair.String(), 1), body: body}
		if strings.Contains(path, "/undo") {
			s.path = strings.Replace(path, "{id}", merge.String(), 1)
		}
		steps["POST "+path] = s
	}
	steps["GET /v1/donors/{id}/merges"] = step{class: policy.Identity, action: policy.Read, purpose: policy.ForEnrolment, rec: here, path: id("/v1/donors", donors[1]) + "/merges"}
	steps["GET /v1/donors/{id}/looks"] = step{class: policy.Audit, action: policy.Read, purpose: policy.ForAudit, rec: here, or: policy.Rights, orFor: policy.ForRights, path: id("/v1/donors", donor) + "/looks"}
	steps["GET /v1/rights"] = step{class: policy.Rights, action: policy.Read, purpose: policy.ForRights, list: true, path: "/v1/rights"}
	steps["POST /v1/rights"] = step{class: policy.Rights, action: policy.Write, purpose: policy.ForRights, rec: here, path: "/v1/rights", body: map[string]any{"donor": donors[1], "kind": "access", "asker": "person", "via": "counter"}}
	steps["GET /v1/rights/{id}"] = step{class: policy.Rights, action: policy.Read, purpose: policy.ForRights, rec: here, path: id("/v1/rights", request.ID)}
	for _, page := range []string{"", ".html"} {
		steps["POST /v1/rights/{id}/copy"+page] = step{class: policy.Rights, action: policy.Export, purpose: policy.ForRights, rec: here, path: id("/v1/rights", request.ID) + "/copy" + page, body: map[string]any{}}
	}
	// A donor of their own: who breaks the glass before one sees them from then on.
	steps["POST /v1/donors/emergency"] = step{class: policy.Identity, action: policy.BreakGlass, purpose: policy.ForEmergency, known: true, path: "/v1/donors/emergency",
		body: map[string]any{"number": number, "classes": []string{"identity"}, "category": "accident", "reason": "在外地旅行时出了交通事故"}}
	steps["POST /v1/emergencies/{id}/review"] = step{class: policy.Review, action: policy.Decide, purpose: policy.ForEmergency, rec: here, path: id("/v1/emergencies", broken.ID) + "/review", body: map[string]any{"verdict": "justified"}}
	steps["POST /v1/emergencies/{id}/reveal"] = step{class: policy.Review, action: policy.Decide, purpose: policy.ForEmergency, rec: here, path: id("/v1/emergencies", broken.ID) + "/reveal", body: map[string]any{}}
	for _, pattern := range []string{"GET /v1/cards", "GET /v1/emergencies", "DELETE /v1/emergencies/{id}"} { // one's own, and whose reviews one reads: their own tests
		steps[pattern] = step{own: true}
	}
	steps["GET /v1/donors/export.csv"] = step{class: policy.Registration, action: policy.Export, purpose: policy.ForCase, list: true, path: "/v1/donors/export.csv"}
	asked := map[string]any{"region": "320106", "classes": []string{"identity", "contact"}, "purpose": "follow_up", "reason": "年度回访需要逐一打电话联系"}
	steps["POST /v1/exports"] = step{class: policy.Identity, action: policy.Export, purpose: policy.ForFollowUp, rec: here, known: true, path: "/v1/exports", body: asked}
	steps["GET /v1/exports/{id}"] = step{class: policy.Review, action: policy.Read, purpose: policy.ForFollowUp, rec: here, path: id("/v1/exports", export.ID)}
	// Whoever reviews might also take the same out themselves: of those whom the policy lets decide, one role.
	for what, body := range map[string]map[string]any{"reveal": {}, "approve": {}, "refuse": {"note": "请改用遮盖后的名单即可"}} {
		steps["POST /v1/exports/{id}/"+what] = step{class: policy.Review, action: policy.Decide, purpose: policy.ForFollowUp, rec: here, only: policy.ProvincialOffice, path: id("/v1/exports", export.ID) + "/" + what, body: body}
	}
	for _, pattern := range []string{"GET /v1/exports", "DELETE /v1/exports/{id}", "POST /v1/exports/{id}/donors.csv", "POST /v1/exports/{id}/inventory"} { // one's own: their own tests
		steps[pattern] = step{own: true}
	}
	steps["GET /v1/cases/{id}/messages"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: atCase, path: id("/v1/cases", caseID) + "/messages"}
	steps["POST /v1/cases/{id}/messages"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: atCase, sits: true, path: id("/v1/cases", caseID) + "/messages", body: map[string]any{"text": "可按期采集。"}}
	steps["GET /v1/messages"] = step{class: policy.Review, action: policy.Decide, purpose: policy.ForCase, list: true, path: "/v1/messages"}
	steps["POST /v1/messages/{id}/review"] = step{class: policy.Review, action: policy.Decide, purpose: policy.ForCase, rec: here, path: id("/v1/messages", held[0]) + "/review", body: map[string]any{"verdict": "deliver"}}
	// Two papers, one of them the task's; what the walk adds is refused for what it is, after who may was asked.
	paper, err := w.Store.AddAttachment(ctx, w.Coordinator, registry.AttachmentForm{Case: caseID, Name: "一.pdf", Body: []byte("%PDF-1.4")})
	require.NoError(t, err)
	steps["GET /v1/cases/{id}/attachments"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: shownCase, path: id("/v1/cases", caseID) + "/attachments"}
	steps["POST /v1/cases/{id}/attachments"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: atCase, sits: true, writes: true, media: "application/octet-stream", path: id("/v1/cases", caseID) + "/attachments", body: []byte("x")}
	steps["GET /v1/tasks/{id}/attachments"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: here, path: id("/v1/tasks", tasks[0]) + "/attachments"}
	steps["POST /v1/tasks/{id}/attachments"] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForCase, rec: here, only: policy.Coordinator, media: "application/octet-stream", path: id("/v1/tasks", tasks[0]) + "/attachments", body: []byte("x")}
	steps["GET /v1/tasks/{id}/answer"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: here, path: id("/v1/tasks", tasks[0]) + "/answer"}
	steps["GET /v1/attachments/{id}"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: shownCase, path: id("/v1/attachments", paper.ID), not: []policy.Role{policy.Bridge, policy.TransplantHospital}}
	steps["POST /v1/attachments/{id}/remove"] = step{class: policy.Case, action: policy.Write, purpose: policy.ForCase, rec: shownCase, path: id("/v1/attachments", paper.ID) + "/remove", not: []policy.Role{policy.TransplantHospital}, body: map[string]any{"reason": "duplicate"}}
	steps["GET /v1/cases/{id}/reopen"] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForCase, rec: shownCase, path: id("/v1/cases", caseID) + "/reopen?step=stemcell.remobilisation", away: true}
	steps["POST /v1/cases/{id}/reopenings"] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForCase, rec: atCase, path: id("/v1/cases", caseID) + "/reopenings", body: map[string]any{"step": "stemcell.remobilisation", "reason": "wrong_entry"}}
	late := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO reopenings (id, case_id, case_version, step, reason, asked_by, asked_at) SELECT $1, id, version, 'stemcell.remobilisation', 'wrong_entry', $3, now() FROM cases WHERE id = $2`, late, caseID, w.Coordinator.Staff())
	steps["GET /v1/reopenings"] = step{class: policy.Review, action: policy.Decide, purpose: policy.ForCase, list: true, path: "/v1/reopenings"}
	steps["POST /v1/reopenings/{id}/decide"] = step{class: policy.Review, action: policy.Decide, purpose: policy.ForCase, rec: here, path: id("/v1/reopenings", late) + "/decide", body: map[string]any{"verdict": "refuse"}}
	for pattern, body := range map[string]any{"GET": nil, "PATCH": map[string]any{"codes": []string{"task.opened"}}, "POST /ping": map[string]any{}} {
		method, path, _ := strings.Cut(pattern, " ")
		steps[method+" /v1/webhooks/{id}"+path] = step{class: policy.Organisation, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: id("/v1/webhooks", hook.ID) + path, body: body}
	}
	steps["DELETE /v1/webhooks/{id}"] = step{own: true} // there is nothing left to ask for: its own test
	certificate := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO certificates (id, number, kind, person_id, case_id, region, nth, issued_on) SELECT $1, 'CT-2026-000001', 'donation', person_id, $3, '320106', 1, now() FROM registrations WHERE id = $2`, certificate, donor, caseID)
	steps["GET /v1/drives/{id}/labels.pdf"] = step{class: policy.Intake, action: policy.Write, purpose: policy.ForEnrolment, rec: atDrive, path: id("/v1/drives", drive.ID) + "/labels.pdf?format=a4-40&from=NJ26000001&to=NJ26000002"}
	steps["GET /v1/drives/{id}/forms.pdf"] = step{class: policy.Intake, action: policy.Write, purpose: policy.ForEnrolment, rec: atDrive, path: id("/v1/drives", drive.ID) + "/forms.pdf"}
	steps["GET /v1/tasks/{id}/request.pdf"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: here, path: id("/v1/tasks", tasks[0]) + "/request.pdf"}
	steps["GET /v1/donors/{id}/certificates"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForFollowUp, rec: atDonor, path: id("/v1/donors", donor) + "/certificates"}
	steps["POST /v1/donors/{id}/certificates/{certificate}/print"] = step{class: policy.Identity, action: policy.Reveal, purpose: policy.ForFollowUp, rec: atDonor, path: id("/v1/donors", donor) + "/certificates/" + certificate.String() + "/print", body: map[string]any{"reason": "call_donor"}}
	steps["GET /v1/certificates/{code}"] = step{public: true}
	steps["POST /v1/deliveries/{id}/replay"] = step{class: policy.Staff, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: id("/v1/deliveries", delivery) + "/replay", body: map[string]any{}}
	for _, what := range []struct {
		path   string
		action policy.Action
	}{{"", policy.Read}, {"/rows", policy.Read}, {"/result.xlsx", policy.Write}, {"/validate", policy.Write}, {"/commit", policy.Decide}, {"/cancel", policy.Decide}, {"/retry-failed", policy.Decide}, {"/undo", policy.Decide}} {
		method := http.MethodGet
		if what.action != policy.Read && what.path != "/result.xlsx" {
			method = http.MethodPost
		}
		s := step{class: policy.Intake, action: what.action, purpose: policy.ForEnrolment, rec: atDrive, path: id("/v1/import-batches", batch.ID) + what.path}
		if method == http.MethodPost {
			s.body = map[string]any{}
		}
		steps[method+" /v1/import-batches/{id}"+what.path] = s
	}
	steps["PATCH /v1/import-batches/{id}/rows/{row}"] = step{class: policy.Intake, action: policy.Write, purpose: policy.ForEnrolment, rec: atDrive, path: id("/v1/import-batches", batch.ID) + "/rows/2", body: map[string]any{"ticked": true}}
	stack, err := w.Store.OpenPaper(ctx, w.Registrar, drive.ID, registry.PaperForm{})
	require.NoError(t, err)
	link, err := w.Store.SwitchLink(ctx, w.Registrar, drive.ID, registry.LinkForm{Open: true})
	require.NoError(t, err)
	volunteer, _, err := w.Store.Volunteer(ctx, link.Token, lang.English, "")
	require.NoError(t, err)
	// As with the cells of a sheet, whoever enters forms reads what stands on them: a name would be found below.
	_, err = w.Store.SaveOwn(ctx, volunteer, "", intake.Texts{intake.Workplace: seal.NoteOf("金陵学院")}, false)
	require.NoError(t, err)
	filled, err := w.Store.ListOwnForms(ctx, w.Registrar, drive.ID, "", 0)
	require.NoError(t, err)
	for pattern, s := range map[string]struct {
		class  policy.Class
		action policy.Action
		of     uuid.UUID
		body   map[string]any
	}{
		"GET /v1/drives/{id}/board":                 {policy.Drive, policy.Read, drive.ID, nil},
		"GET /v1/drives/{id}/own-form":              {policy.Intake, policy.Write, drive.ID, nil},
		"PUT /v1/drives/{id}/own-form":              {policy.Intake, policy.Write, drive.ID, map[string]any{"open": true}},
		"GET /v1/drives/{id}/own-forms":             {policy.Intake, policy.Read, drive.ID, nil},
		"GET /v1/own-forms/{id}":                    {policy.Intake, policy.Write, filled[0].ID, nil},
		"POST /v1/own-forms/{id}/take":              {policy.Intake, policy.Write, filled[0].ID, map[string]any{"seen": "resident_id"}},
		"POST /v1/own-forms/{id}/return":            {policy.Intake, policy.Write, filled[0].ID, map[string]any{"reason": "incomplete"}},
		"POST /v1/drives/{id}/paper":                {policy.Intake, policy.Write, drive.ID, map[string]any{}},
		"GET /v1/import-batches/{id}/paper":         {policy.Intake, policy.Read, stack.Batch.ID, nil},
		"POST /v1/import-batches/{id}/paper/forms":  {policy.Intake, policy.Write, stack.Batch.ID, map[string]any{"held": true, "note": "看不清"}},
		"POST /v1/import-batches/{id}/paper/close":  {policy.Intake, policy.Decide, stack.Batch.ID, map[string]any{"counted": 0}},
		"POST /v1/import-batches/{id}/paper/reopen": {policy.Intake, policy.Decide, stack.Batch.ID, map[string]any{}},
		"GET /v1/import-batches/{id}/groups":        {policy.Intake, policy.Read, batch.ID, nil},
		"POST /v1/import-batches/{id}/groups/mend":  {policy.Intake, policy.Write, batch.ID, map[string]any{"code": "W205", "field": "name", "ticked": true}},
		"GET /v1/import-batches/{id}/activity":      {policy.Intake, policy.Read, batch.ID, nil},
	} {
		_, path, _ := strings.Cut(pattern, " ")
		steps[pattern] = step{class: s.class, action: s.action, purpose: policy.ForEnrolment, rec: atDrive, path: strings.Replace(path, "{id}", s.of.String(), 1)}
		if s.body != nil {
			with := steps[pattern]
			with.body = s.body
			steps[pattern] = with
		}
	}
	for _, name := range registry.Steps() {
		// Only the role that is asked may answer, whatever the policy lets others decide. One step stands for them all: the others are
		// not what the task asks.
		steps["POST /v1/tasks/{id}/answers/"+name] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForCase, rec: here, only: policy.Coordinator, path: id("/v1/tasks", tasks[0]) + "/answers/" + name, body: map[string]any{}}
	}
	// The worklist: one's own work, and what a supervisor of the region may do about it.
	supervising := []policy.Role{policy.CountyOffice, policy.CityOffice, policy.ProvincialOffice}
	coordinating := append([]policy.Role{policy.Coordinator}, supervising...)
	steps["GET /v1/work"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, list: true, path: "/v1/work"}
	steps["GET /v1/work/counts"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, list: true, path: "/v1/work/counts"}
	for pattern, body := range map[string]any{"POST /claim": map[string]any{}, "DELETE /claim": nil, "POST /more-time": map[string]any{"reason": "workload", "until": "2099-01-01"}, "POST /pause": map[string]any{"reason": "waiting_donor", "until": "2099-01-01"}} {
		method, path, _ := strings.Cut(pattern, " ")
		steps[method+" /v1/tasks/{id}"+path] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForCase, rec: here, only: policy.Coordinator, path: id("/v1/tasks", tasks[0]) + path, body: body}
	}
	for pattern, body := range map[string]any{"POST /assign": map[string]any{}, "POST /resume": map[string]any{}, "GET /colleagues": nil} {
		method, path, _ := strings.Cut(pattern, " ")
		steps[method+" /v1/tasks/{id}"+path] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForCase, or: policy.Case, orFor: policy.ForAdministration, rec: here, among: coordinating, path: id("/v1/tasks", tasks[0]) + path, body: body}
	}
	steps["POST /v1/tasks/{id}/take-over"] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForAdministration, rec: here, among: supervising, path: id("/v1/tasks", tasks[0]) + "/take-over", body: map[string]any{"reason": "absent"}}
	steps["POST /v1/tasks/assign"] = step{own: true} // each of the tasks as by itself
	asking := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO clock_requests (id, task_id, case_id, kind, reason, until, asked_by, asked_at, command, status) VALUES ($1, $2, $3, 'more_time', 'workload', now() + interval '9 days', $4, now(), 'x', 'waiting')`, asking, tasks[0], caseID, w.Coordinator.Staff())
	steps["GET /v1/time-requests"] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForAdministration, list: true, path: "/v1/time-requests"}
	steps["POST /v1/time-requests/{id}/decide"] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForAdministration, rec: here, among: supervising, path: id("/v1/time-requests", asking) + "/decide", body: map[string]any{"verdict": "grant"}}
	steps["POST /v1/cases/{id}/look"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: shownCase, path: id("/v1/cases", caseID) + "/look", body: map[string]any{}}
	handover := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO handovers (id, case_id, region, from_staff, from_organisation, to_organisation, reason, status, offered_at, expires_at) VALUES ($1, $2, '320106', $3, $4, $5, 'leave', 'offered', now(), now() + interval '2 days')`,
		handover, caseID, w.CityCoordinator.Staff(), w.City.ID, w.County.ID)
	steps["POST /v1/cases/{id}/handovers"] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForCase, or: policy.Case, orFor: policy.ForAdministration, rec: atCase, among: coordinating, path: id("/v1/cases", caseID) + "/handovers", body: map[string]any{"organisation": w.City.ID, "reason": "leave"}}
	steps["GET /v1/handovers"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, list: true, path: "/v1/handovers"}
	steps["GET /v1/handovers/{id}"] = step{class: policy.Case, action: policy.Read, purpose: policy.ForCase, rec: here, among: append([]policy.Role{policy.Bridge}, coordinating...), path: id("/v1/handovers", handover)}
	for _, what := range []string{"accept", "decline"} { // it is offered to whoever coordinates at the county's office
		steps["POST /v1/handovers/{id}/"+what] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForCase, rec: about{region: "320106", office: w.County.ID}, only: policy.Coordinator, path: id("/v1/handovers", handover) + "/" + what, body: map[string]map[string]any{"accept": {}, "decline": {"reason": "workload"}}[what]}
	}
	steps["POST /v1/handovers/{id}/withdraw"] = step{class: policy.Case, action: policy.Decide, purpose: policy.ForCase, or: policy.Case, orFor: policy.ForAdministration, rec: here, among: coordinating, path: id("/v1/handovers", handover) + "/withdraw", body: map[string]any{}}
	for _, what := range []string{"deactivate", "reactivate"} {
		steps["POST /v1/staff/{id}/"+what] = step{class: policy.Staff, action: policy.Write, purpose: policy.ForAdministration, rec: here, path: id("/v1/staff", subject.Staff()) + "/" + what, body: map[string]any{}}
	}
	for pattern, body := range map[string]any{
		"POST /v1/staff/{id}/reset-factor": map[string]any{}, "POST /v1/staff/{id}/reset-password": map[string]any{}, "POST /v1/staff/{id}/unlock": map[string]any{},
		"DELETE /v1/staff/{id}/sessions": nil, "POST /v1/staff/{id}/identities": map[string]any{"issuer": "https://sso.example", "subject": "1"},
		"DELETE /v1/staff/{id}/identities": nil,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.Replace(path, "{id}", subject.Staff().String(), 1)
		if strings.HasSuffix(pattern, "DELETE /v1/staff/{id}/identities") {
			path += "?issuer=https%3A%2F%2Fsso.example&subject=1"
		}
		steps[method+" "+strings.Replace(path[:len(strings.Split(path, "?")[0])], subject.Staff().String(), "{id}", 1)] = step{class: policy.Staff, action: policy.Decide, purpose: policy.ForAdministration, rec: here, path: path, body: body, only: policy.SecurityAdministrator}
	}
	for _, pattern := range []string{
		"PATCH /v1/account", "POST /v1/account/factor", "POST /v1/account/factor/confirm", "POST /v1/account/factor/disable", "POST /v1/account/factor/recovery-codes", "POST /v1/account/password", "DELETE /v1/account/sessions",
		"GET /v1/account/sessions", "DELETE /v1/account/sessions/{id}", "GET /v1/account/tokens", "POST /v1/account/tokens", "DELETE /v1/session", "GET /v1/session",
		"GET /v1/account/notices", "PUT /v1/account/notices", "PUT /v1/account/contact-points", "POST /v1/account/contact-points/{channel}/verify", "DELETE /v1/account/contact-points/{channel}",
		"GET /v1/staff/{id}/tokens", "POST /v1/staff/{id}/tokens", "DELETE /v1/tokens/{id}", // one's own, and a machine's: their own tests
	} {
		steps[pattern] = step{own: true}
	}
	for _, pattern := range []string{"POST /v1/session", "POST /v1/session/code", "GET /v1/sso/start", "GET /v1/sso/callback", "POST /v1/sso/logout"} {
		steps[pattern] = step{public: true}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(api.Answers())), slices.Collect(maps.Keys(steps)), "a route is not listed here: say which class of what record it touches")

	// The people: each role near the records, each far from them, and each far from them as a guest.
	var people []walker
	var team []forms.TeamMember
	for _, role := range policy.Roles() {
		at := w.County
		switch role {
		case policy.CollectionHospital:
			at = w.Collection
		case policy.TransplantHospital:
			at = w.Transplant
		case policy.Laboratory:
			at = w.Laboratory
		case policy.CityOffice, policy.ProvincialOffice, policy.Auditor, policy.SystemAdministrator, policy.SecurityAdministrator, policy.AuditAdministrator, policy.Bridge:
			at = w.City
		}
		near, far := w.staff("near-"+string(role), at, role, string(at.Region)), w.staff("far-"+string(role), w.OtherTransplant, role, "110108")
		visiting := guests
		if role == policy.TransplantHospital { // with whom nobody shares an office that donors are shared with
			visiting = w.OtherTransplant
		}
		guest := w.staff("guest-"+string(role), visiting, role, "110108")
		team = append(team, forms.TeamMember{Staff: guest.Staff(), Duty: "volunteer"})
		people = append(people, walker{Actor: near, role: role, region: at.Region, at: at.Region}, walker{Actor: far, role: role, region: "110108", at: "110108", far: true},
			walker{Actor: guest, role: role, region: "110108", at: "110108", guest: true})
	}
	people = append(people, walker{Actor: w.Auditor, role: policy.Auditor, region: identity.Nation, at: w.City.Region})
	planned, err := w.Store.ShowDrive(ctx, w.Registrar, drive.ID)
	require.NoError(t, err)
	_, err = w.Store.SetTeam(ctx, w.Registrar, drive.ID, planned.Version, registry.TeamForm{Team: team})
	require.NoError(t, err)
	foreign := []string{donor.String(), drive.ID.String(), batch.ID.String(), box.ID.String(), patient.ID.String(), search.ID.String(), caseID.String(), tasks[0].String(), notice.String(), export.ID.String()}
	allowedOnce := map[string]bool{}
	for _, pattern := range slices.Sorted(maps.Keys(steps)) {
		s := steps[pattern]
		if s.own || s.public {
			continue
		}
		method, _, _ := strings.Cut(pattern, " ")
		for _, p := range people {
			// Read with the first version: whoever may act is told that it is another, and nothing changes between one person and the next.
			headers := []string{"If-Match", `"999"`}
			if b, isSheet := s.body.([]byte); isSheet {
				headers = append(headers, "Content-Type", cmp.Or(s.media, "text/csv"))
				s.body = append(slices.Clone(b), '\n')
			}
			a := w.raw(p.Actor, method, s.path, s.body, headers...)
			where := fmt.Sprintf("%s as %s (far: %v, guest: %v): %d %s", pattern, p.role, p.far, p.guest, a.status, a.body)
			require.True(t, a.status < 500 || s.away && a.status == http.StatusServiceUnavailable, where)
			require.NotEqual(t, http.StatusUnauthorized, a.status, where)
			rec := s.rec
			if pattern == "POST /v1/patients" {
				rec = about{sites: []uuid.UUID{p.Organisation()}}
			}
			if pattern == "POST /v1/typings" {
				rec = about{sites: []uuid.UUID{p.Organisation()}}
			}
			may := p.allows(t, rec, s.class, s.action, s.purpose)
			if s.list {
				may = p.reaches(t, s.class, s.action, s.purpose)
			}
			if s.or != "" {
				may = may || p.allows(t, rec, s.or, s.action, s.orFor)
			}
			if s.only != "" && p.role != s.only {
				may = false
			}
			if s.also != "" && !p.allows(t, rec, s.also, s.doing, s.purpose) {
				may = false
			}
			if s.sits && !slices.Contains(rec.sites, p.Organisation()) && !(s.writes && p.allows(t, rec, s.class, policy.Write, s.purpose)) {
				may = false
			}
			if s.among != nil && !slices.Contains(s.among, p.role) {
				may = false
			}
			if slices.Contains(s.not, p.role) {
				may = false
			}
			refused := a.status == http.StatusForbidden || a.status == http.StatusNotFound
			if may && refused { // permitted, and then there was nothing to take away
				refused = !slices.Contains([]string{"grant_not_found", "identity_not_found"}, read[api.Problem](a).Code)
			}
			require.Equal(t, may, !refused, where)
			if may {
				allowedOnce[pattern] = true
			} else if !s.list && !s.known && !s.sits && s.only == "" && s.among == nil && !slices.Contains(s.not, p.role) {
				// Who may not even read it is told that there is no such thing.
				readable := s.action != policy.Read && p.allows(t, rec, s.class, policy.Read, s.purpose)
				want := http.StatusNotFound
				if readable {
					want = http.StatusForbidden
				}
				if a.status == http.StatusNotFound && !policy.OfPlace(p.role) {
					want = http.StatusNotFound // the database lets no row about somebody through to them: stricter than the policy
				}
				require.Equal(t, want, a.status, where)
			}
			// The audit there tells what the far ones asked for, and did not get.
			if p.far && p.role != policy.TransplantHospital && pattern != "GET /v1/audit" {
				for _, id := range foreign {
					require.NotContains(t, string(a.body), id, where)
				}
			}
			if a.status == http.StatusOK && method == http.MethodGet && !s.list {
				for _, class := range shownClasses(t, api.Answers()[pattern], a.body) {
					require.True(t, p.allows(t, rec, class, policy.Read, s.purpose) || s.or != "", "%s is shown: %s", class, where)
				}
			}
		}
	}
	for pattern, s := range steps {
		if !s.own && !s.public {
			require.True(t, allowedOnce[pattern], "nobody may %s, so nothing was tested", pattern)
		}
	}
}

// shownClasses lists the classes of the fields of an answer that have something in them.
func shownClasses(t *testing.T, answer reflect.Type, body []byte) []policy.Class {
	f, ok := answer.FieldByName("Body")
	if !ok || f.Type.Kind() == reflect.Slice {
		return nil
	}
	var decoded any
	require.NoError(t, json.Unmarshal(body, &decoded))
	var out []policy.Class
	var walk func(reflect.Type, any)
	walk = func(ty reflect.Type, v any) {
		for ty.Kind() == reflect.Pointer {
			ty = ty.Elem()
		}
		switch v := v.(type) {
		case []any:
			if ty.Kind() == reflect.Slice {
				for _, item := range v {
					walk(ty.Elem(), item)
				}
			}
		case map[string]any:
			if ty.Kind() != reflect.Struct {
				return
			}
			for i := range ty.NumField() {
				field := ty.Field(i)
				if field.Anonymous {
					walk(field.Type, v)
					continue
				}
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				value, has := v[name]
				class := policy.Class(field.Tag.Get("class"))
				if !has || class == registry.OpenClass || class == "" || reflect.DeepEqual(value, "") || value == nil || reflect.DeepEqual(value, false) || reflect.DeepEqual(value, 0.0) || reflect.DeepEqual(value, []any{}) {
					continue
				}
				if !slices.Contains(out, class) {
					out = append(out, class)
				}
				walk(field.Type, value)
			}
		}
	}
	walk(f.Type, decoded)
	return out
}
