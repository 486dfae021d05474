package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// counter is a house with a member of staff who decides for the county, and one more.
type counter struct {
	*house
	decider, second registry.Actor
}

func newCounter(t *testing.T, options ...registry.Options) *counter {
	t.Helper()
	h := newHouse(t, options...)
	return &counter{h, h.Staff(t, "office", h.County, policy.CountyOffice, "320106"), h.Staff(t, "office2", h.County, policy.CountyOffice, "320106")}
}

// files files a request of the person's own.
func (h *counter) files(kind string, donor uuid.UUID, change ...func(*forms.RightsRequest)) registry.RightsView {
	h.t.Helper()
	v, err := h.tryFile(h.Registrar, kind, donor, change...)
	require.NoError(h.t, err)
	return v
}

func (h *counter) tryFile(by registry.Actor, kind string, donor uuid.UUID, change ...func(*forms.RightsRequest)) (registry.RightsView, error) {
	f := forms.RightsRequest{Donor: donor, Kind: kind, Asker: "person", Via: "counter"}
	if strings.HasPrefix(kind, "kin_") {
		f.Asker, f.Relation = "relative", "spouse"
	}
	for _, set := range change {
		set(&f)
	}
	return h.Store.FileRights(context.Background(), by, f)
}

// step opens the task of a request's step, as its protocol would.
func (h *counter) step(q registry.RightsView, step string, role policy.Role) uuid.UUID {
	h.t.Helper()
	h.sql(`UPDATE cases SET step = $2 WHERE id = $1`, q.ID, step)
	return h.ask(registry.Question{CaseID: q.ID, Step: step, Seat: registry.SeatOffice, Role: role, Rule: rules.RightsTelling}).TaskID
}

// proves answers the first step with what has to be seen.
func (h *counter) proves(q registry.RightsView) {
	h.t.Helper()
	form := fields{"outcome": "confirmed", "on": today().String(), "proof": []string{"identity_document"}}
	if q.Asker == "relative" {
		form["proof"], form["died_on"] = []string{"identity_document", "death_certificate", "marriage_certificate"}, today().AddDays(-3).String()
	}
	h.answer(h.Registrar, h.step(q, "rights.identity", policy.Registrar), form, to("rights.decision"))
}

// decides proves and decides, and opens the third step.
func (h *counter) decides(q registry.RightsView, form fields) (carrying uuid.UUID) {
	h.t.Helper()
	h.proves(q)
	h.answer(h.decider, h.step(q, "rights.decision", policy.CountyOffice), form, to("rights.carrying_out"))
	return h.step(q, "rights.carrying_out", policy.CountyOffice)
}

var done = fields{"outcome": "done", "on": today().String()}

// granted takes a request through to what is done.
func (h *counter) granted(q registry.RightsView, form fields) registry.RightsView {
	h.t.Helper()
	h.answer(h.decider, h.decides(q, form), done, to("rights.telling"))
	return h.request(q.ID)
}

// request reads a request.
func (h *counter) request(id uuid.UUID) registry.RightsView {
	h.t.Helper()
	v, err := h.Store.ShowRights(context.Background(), h.decider, id)
	require.NoError(h.t, err)
	return v
}

// tells ends a request.
func (h *counter) tells(q registry.RightsView, ending string) registry.RightsView {
	h.t.Helper()
	h.answer(h.Registrar, h.step(q, "rights.telling", policy.Registrar), fields{"outcome": "told", "on": today().String(), "channel": "phone"}, ends("rights.telling", ending))
	return h.request(q.ID)
}

var grant = fields{"outcome": "grant"}

func TestARequestIsFiledByTheOfficesOfTheRegionAndOnceAtATime(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor := h.donor(1)
	q := h.files("copy", donor, func(f *forms.RightsRequest) { f.Note = seal.NoteOf("本人到窗口") })
	require.Regexp(t, `^RQ-\d{4}-000001$`, q.Number)
	require.Equal(t, today().AddDays(30), q.LastDay)
	require.True(t, q.Note.Masked)
	require.Equal(t, "open", q.Status)
	_, err := h.tryFile(h.Coordinator, "copy", donor)
	requireCode(t, err, registry.Conflict, "rights_asked")
	h.files("access", donor)

	for name, by := range map[string]registry.Actor{"hospital": h.TransplantDoctor, "laboratory": h.Technician, "collection": h.CollectionDoctor, "auditor": h.Auditor} {
		_, err := h.tryFile(by, "copy", donor)
		require.Equal(t, registry.NotFound, registry.KindOf(err), "%s: %v", name, err)
		_, err = h.Store.ShowRights(context.Background(), by, q.ID)
		require.Equal(t, registry.NotFound, registry.KindOf(err), "%s: %v", name, err)
	}
	_, err = h.tryFile(h.Registrar, "copy", uuid.New())
	requireCode(t, err, registry.NotFound, "donor_not_found")
	_, err = h.tryFile(system, "explanation", donor)
	requireCode(t, err, registry.Denied, "denied")

	list, err := h.Store.ListRights(context.Background(), h.Registrar, registry.RightsFilter{Kind: "copy", Status: "open", Donor: donor})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, q.ID, list[0].ID)
	list, err = h.Store.ListRights(context.Background(), h.Registrar, registry.RightsFilter{After: q.ID, Limit: 1})
	require.NoError(t, err)
	require.Len(t, list, 1)
	_, err = h.Store.ListRights(context.Background(), h.TransplantDoctor, registry.RightsFilter{})
	require.Equal(t, registry.Denied, registry.KindOf(err))
}

func TestARequestIsHeldAgainstItsForm(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor := h.donor(1)
	correct := func(c forms.Correction) func(*forms.RightsRequest) {
		return func(f *forms.RightsRequest) { f.Correction = &c }
	}
	for _, c := range []struct {
		kind, code, field string
		change            func(*forms.RightsRequest)
	}{
		{"anything", "R114", "kind", func(*forms.RightsRequest) {}},
		{"copy", "R114", "asker", func(f *forms.RightsRequest) { f.Asker, f.Relation = "relative", "child" }},
		{"kin_copy", "R114", "asker", func(f *forms.RightsRequest) { f.Asker = "person" }},
		{"kin_copy", "R101", "relation", func(f *forms.RightsRequest) { f.Relation = "" }},
		{"correction", "R101", "correction", func(*forms.RightsRequest) {}},
		{"correction", "R101", "correction", correct(forms.Correction{Evidence: "statement"})},
		{"correction", "R114", "correction.evidence", correct(forms.Correction{Name: seal.NameOf("李白"), Evidence: "statement"})},
		{"correction", "R114", "correction.evidence", correct(forms.Correction{ABO: "A", Evidence: "identity_document"})},
		{"correction", "R104", "correction.document_number", correct(forms.Correction{DocumentNumber: seal.NumberOf("320106200001010773"), Evidence: "identity_document"})},
		{"correction", "R111", "correction.phone", correct(forms.Correction{Phone: seal.PhoneOf("12"), Evidence: "statement"})},
	} {
		_, err := h.tryFile(h.Registrar, c.kind, donor, c.change)
		requireProblem(t, err, c.code, c.field)
	}
}

// Whoever files a request does not decide it, and the attempt is written down.
func TestWhoFiledARequestDoesNotDecideIt(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	q, err := h.tryFile(h.decider, "copy", h.donor(1))
	require.NoError(t, err)
	h.proves(q)
	task := h.step(q, "rights.decision", policy.CountyOffice)
	_, err = h.tryPropose(h.decider, task, grant)
	requireCode(t, err, registry.Denied, "rights_own_request")
	require.Equal(t, 1, value[int](h.house, `SELECT count(*)::int FROM audit WHERE NOT allowed AND actor = $1 AND rule = 'rights_own_request'`, h.decider.Subject()))
	_, err = h.tryPropose(h.Registrar, task, grant)
	require.Equal(t, registry.Denied, registry.KindOf(err), "%v", err)
	h.answer(h.second, task, grant, to("rights.carrying_out"))
	v := h.request(q.ID)
	require.Equal(t, "grant", v.Decision)
	require.Equal(t, h.second.Staff(), *v.DecidedBy)
}

func TestWhoAsksIsProvenByWhatWasSeen(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor := h.donor(1)
	own, kin := h.files("copy", donor), h.files("kin_copy", donor)
	task := h.step(own, "rights.identity", policy.Registrar)
	_, err := h.tryPropose(h.Registrar, task, fields{"outcome": "confirmed", "on": today().String(), "proof": []string{"household_register"}})
	requireProblem(t, err, "R145", "proof")
	task = h.step(kin, "rights.identity", policy.Registrar)
	for _, seen := range [][]string{{"identity_document"}, {"identity_document", "death_certificate"}, {"identity_document", "household_register"}} {
		_, err := h.tryPropose(h.Registrar, task, fields{"outcome": "confirmed", "on": today().String(), "proof": seen, "died_on": today().String()})
		requireProblem(t, err, "R145", "proof")
	}
	seen := []string{"identity_document", "death_certificate", "household_register"}
	_, err = h.tryPropose(h.Registrar, task, fields{"outcome": "confirmed", "on": today().String(), "proof": seen})
	requireProblem(t, err, "R101", "died_on")
	h.answer(h.Registrar, task, fields{"outcome": "confirmed", "on": today().String(), "proof": seen, "died_on": today().AddDays(-1).String()}, to("rights.decision"))
	require.Equal(t, "deceased", value[string](h.house, `SELECT status FROM persons`))
	require.Equal(t, seen, h.request(kin.ID).Proof)

	// Who is not proven is refused, whatever the office thinks.
	h.answer(h.Registrar, h.step(own, "rights.identity", policy.Registrar), fields{"outcome": "not_proven", "on": today().String(), "reason": "document_mismatch"}, to("rights.decision"))
	task = h.step(own, "rights.decision", policy.CountyOffice)
	_, err = h.tryPropose(h.decider, task, grant)
	requireCode(t, err, registry.Refused, "rights_not_proven")
	h.answer(h.decider, task, fields{"outcome": "refuse", "reason": "not_the_person"}, to("rights.telling"))
	require.Equal(t, "refused", h.tells(own, "refused").Result)
}

// What the person arranged in their lifetime goes before what relatives may ask.
func TestAnArrangementOfTheLivingBarsTheirRelatives(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor := h.donor(1)
	h.tells(h.granted(h.files("arrangement", donor), grant), "granted")
	for _, kind := range []string{"kin_access", "kin_deletion"} {
		q := h.files(kind, donor)
		task := h.step(q, "rights.identity", policy.Registrar)
		_, err := h.tryPropose(h.Registrar, task, fields{"outcome": "confirmed", "on": today().String(), "proof": []string{"identity_document", "death_certificate", "birth_certificate"}, "died_on": today().String()})
		requireCode(t, err, registry.Refused, "rights_prearranged")
		h.answer(h.Registrar, task, fields{"outcome": "prearranged", "on": today().String()}, to("rights.decision"))
		task = h.step(q, "rights.decision", policy.CountyOffice)
		_, err = h.tryPropose(h.decider, task, fields{"outcome": "refuse", "reason": "unfounded"})
		requireProblem(t, err, "R114", "reason")
		h.answer(h.decider, task, fields{"outcome": "refuse", "reason": "prearranged"}, to("rights.telling"))
		v := h.tells(q, "refused")
		require.Equal(t, []string{"refused", "prearranged"}, []string{v.Result, v.Reason})
	}
	require.Equal(t, "active", value[string](h.house, `SELECT status FROM persons`))
}

// clear reads the personal text that is kept about a donor.
func (h *counter) clear(donor uuid.UUID) registry.Revealed {
	h.t.Helper()
	ctx := context.Background()
	out, err := h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Class: policy.Identity, Reason: "correct_entry"})
	require.NoError(h.t, err)
	contact, err := h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Class: policy.Contact, Reason: "correct_entry"})
	require.NoError(h.t, err)
	out.Phone, out.Email, out.Address, out.Contacts = contact.Phone, contact.Email, contact.Address, contact.Contacts
	return out
}

func TestACorrectionWritesWhatWasGrantedAndTellsOnlyWhichFields(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor := h.donor(1)
	before := value[int64](h.house, `SELECT version FROM persons`)
	q := h.files("correction", donor, func(f *forms.RightsRequest) {
		f.Correction = &forms.Correction{Name: seal.NameOf("张晓明"), DocumentNumber: seal.NumberOf(residentNumber(7)), Phone: seal.PhoneOf("139 0000 1234"), Email: seal.EmailOf("zhang@example.com"),
			HeightCM: 172, Evidence: "identity_document"}
	})
	require.Equal(t, []string{"name", "document_number", "phone", "email", "height_cm"}, q.Fields)
	h.proves(q)
	task := h.step(q, "rights.decision", policy.CountyOffice)
	_, err := h.tryPropose(h.decider, task, fields{"outcome": "in_part", "reason": "unfounded", "fields": []string{"address"}})
	requireProblem(t, err, "R114", "fields")
	h.answer(h.decider, task, fields{"outcome": "in_part", "reason": "unfounded", "fields": []string{"name", "document_number", "phone", "email"}}, to("rights.carrying_out"))
	h.answer(h.decider, h.step(q, "rights.carrying_out", policy.CountyOffice), done, to("rights.telling"))
	require.Equal(t, "in_part", h.request(q.ID).Result)

	now := h.clear(donor)
	require.Equal(t, []string{"张晓明", residentNumber(7), "+8613900001234", "zhang@example.com"}, []string{now.Name, now.Documents[0].Number, now.Phone, now.Email})
	require.Len(t, now.Contacts, 2, "what was not asked about is as it was")
	require.Zero(t, h.show(h.Coordinator, donor).Demographics.HeightCM, "what was not granted is as it was")
	require.Equal(t, before+1, value[int64](h.house, `SELECT version FROM persons`))
	args := value[map[string]any](h.house, `SELECT args FROM events WHERE code = 'rights.corrected'`)
	require.Equal(t, map[string]any{"Fields": "name, document_number, phone, email", "Evidence": "identity_document"}, args)
	// They are found by the new number, and not by the old one.
	f := volunteer(7)
	f.Name, f.Phone = seal.NameOf("张晓明"), seal.PhoneOf("13900001234")
	require.Equal(t, "unchanged", h.register(h.Registrar, f).Status)
	other := volunteer(1)
	other.Name = seal.NameOf("孙尚香")
	require.Equal(t, "created", h.register(h.Registrar, other).Status)
	h.tells(q, "in_part")
	require.True(t, value[bool](h.house, `SELECT correction_sealed IS NULL FROM rights_requests`))

	// A number that is somebody else's already is not taken.
	q = h.files("correction", donor, func(f *forms.RightsRequest) {
		f.Correction = &forms.Correction{DocumentNumber: seal.NumberOf(residentNumber(1)), Evidence: "identity_document"}
	})
	_, err = h.settle(h.propose(h.decider, h.decides(q, grant), done), to("rights.telling"))
	requireCode(t, err, registry.Conflict, "person_registered")
}

// sections are those of a copy, by name.
func sections(c registry.RightsCopy) map[string]registry.CopySection {
	out := map[string]registry.CopySection{}
	for _, s := range c.Sections {
		out[s.Name] = s
	}
	return out
}

// history is a donor to whom everything has happened: typed, listed, searched for, asked, in a case, examined, followed up.
func (h *counter) history() (donor, caseID uuid.UUID) {
	h.t.Helper()
	ctx := context.Background()
	donor = h.listed(gl)[0]
	search := h.search(h.TransplantDoctor, "")
	caseID = h.house.request(h.TransplantDoctor, search.ID, donor)[0]
	_, err := h.Store.AddAttempt(ctx, h.Coordinator, caseID, forms.ContactAttempt{At: time.Now(), Channel: "phone", Whom: "donor", Result: "reached", Note: seal.NoteOf("室友代接电话")})
	require.NoError(h.t, err)
	task := h.ask(registry.Question{CaseID: caseID, Step: "stemcell.remobilisation", Seat: registry.SeatCoordinator, Role: policy.Coordinator, Rule: rules.StemCellRemobilisation})
	h.answer(h.Coordinator, task.TaskID, fields{"outcome": "willing", "note": "愿意，下周有空"}, to("stemcell.hospital_decision"))
	task = h.ask(registry.Question{CaseID: caseID, Step: "stemcell.hospital_decision", Seat: registry.SeatTransplant, Role: policy.TransplantHospital, Rule: rules.StemCellChoice})
	h.answer(h.TransplantDoctor, task.TaskID, fields{"outcome": "release", "reason": "patient_relapsed", "note": "患者复发"}, to("stemcell.physical_examination"))
	_, err = h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Class: policy.Contact, Reason: "call_donor"})
	require.NoError(h.t, err)
	_, err = h.Store.RevealDonor(ctx, h.TransplantDoctor, donor, registry.RevealForm{Class: policy.Contact, Reason: "call_donor"})
	require.Error(h.t, err)
	_, err = h.Store.CheckInDonor(ctx, h.Coordinator, donor, 0, registry.CheckIn{Outcome: "confirmed", On: today()})
	requireCode(h.t, err, registry.Refused, "donor_in_case")
	return donor, caseID
}

// donated writes the records of a collection beside the donor's case.
func (h *counter) donated(donor, caseID uuid.UUID) {
	h.t.Helper()
	h.sql(`INSERT INTO donations (id, person_id, registration_id, case_id, programme, product, day, collected_on, hospital_id, volume_ml, cd34_e6)
		SELECT gen_random_uuid(), person_id, id, $2, 'stemcell', 'HPC-A', 1, $3, $4, 180, 300 FROM registrations WHERE id = $1`, donor, caseID, today(), h.Collection.ID)
	h.sql(`INSERT INTO certificates (id, number, kind, person_id, case_id, region, nth, issued_on) SELECT gen_random_uuid(), 'CT-1', 'donation', person_id, $2, region, 1, $3 FROM registrations WHERE id = $1`, donor, caseID, today())
	h.sql(`INSERT INTO care_plans (id, case_id, person_id, registration_id, template, region, starts_on, status) SELECT gen_random_uuid(), $2, person_id, id, 'stemcell_donor', region, $3, 'active' FROM registrations WHERE id = $1`, donor, caseID, today())
	h.sql(`INSERT INTO touches (id, plan_id, position, key, due_on, status) SELECT gen_random_uuid(), id, 1, '1d', $1, 'planned' FROM care_plans`, today())
	h.sql(`INSERT INTO deferrals (id, person_id, programme, reason, from_day, source) SELECT gen_random_uuid(), person_id, 'stemcell', 'medication', $2, 'task' FROM registrations WHERE id = $1`, donor, today())
	h.share(donor, h.City, time.Now().Add(time.Hour))
}

// Tables that hold ids of a donor and that a copy does not tell of, each with why.
var notCopied = map[string]string{
	"link.candidates":  "the patient's side",
	"donor_changes":    "that something changed, for a week; what it is stands in the rows that are copied",
	"link.requests":    "the patient's side",
	"outbox":           "what the workflows were told: ids, for a week",
	"audit_unsealed":   "ids of audit rows",
	"audit_seals":      "ids of audit rows",
	"openings":         "told with who looked, from the audit",
	"reveals":          "told with who looked, from the audit",
	"emergency_access": "told with who looked, from the audit; its words are about whoever opened it",
	"staged_forms":     "a row that waits for a commit has no person yet",
	"duplicates":       "marks of a comparison with somebody else's record, who may be another person; what came of it is in the timeline",
	"merges":           "what stood before two records of the person were made one: both are told",
	"command_log":      "ids of commands",
	"idempotency_keys": "masked answers, for a day",
	"events":           "told, but for what is about the patient",
	"reopenings":       "told in the timeline: what colleagues asked of each other",
	"notices":          "told, but for what went to the patient's side",
	"audit":            "told, added up by day",
	"tasks":            "told with the answers",
	"clock_requests":   "when a task's deadline was moved, told in the timeline",
	"case_looks":       "told with who looked, from the audit",
	"answers":          "told with the tasks, but for the patient's side's",
	"case_parties":     "told as places, but for the patient's side",
}

// A slow, literal look at every table: whatever row has an id of the person, of their registrations or of their cases in it is
// told in the copy, or its table is named above. A new table that the copy forgets fails here.
func TestACopyTellsEveryRowThatIsAboutThePerson(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	ctx := context.Background()
	donor, caseID := h.history()
	h.donated(donor, caseID)
	h.donor(5) // somebody else
	q := h.files("copy", donor, func(f *forms.RightsRequest) { f.Note = seal.NoteOf("要一份自己的信息") })
	h.decides(q, grant)
	copied, err := h.Store.FetchCopy(ctx, h.decider, q.ID)
	require.NoError(t, err)
	text, err := json.Marshal(copied)
	require.NoError(t, err)

	ids := values[uuid.UUID](h.house, `WITH p AS (SELECT person_id AS id FROM registrations WHERE id = $1), own AS (SELECT id FROM cases WHERE id = $1 OR subject_id = $1 OR subject_id IN (SELECT id FROM p))
		SELECT id FROM p UNION SELECT $1 UNION SELECT id FROM own`, donor)
	require.Len(t, ids, 4, "the person, the registration that is also the enrolment, the stem-cell case, the request")
	type column struct{ Schema, Table, Name, Type string }
	rows, err := h.conn().Query(ctx, `SELECT c.table_schema, c.table_name, c.column_name, c.udt_name FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE t.table_type = 'BASE TABLE' AND c.table_schema IN ('public', 'link') AND c.udt_name IN ('uuid', '_uuid') AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = (c.table_schema || '.' || c.table_name)::regclass) ORDER BY 1, 2, 3`)
	require.NoError(t, err)
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	require.NoError(t, err)
	told := map[string]bool{}
	looked := 0
	for _, c := range columns {
		table := c.Table
		if c.Schema != "public" {
			table = c.Schema + "." + c.Table
		}
		if notCopied[table] != "" {
			continue
		}
		where := fmt.Sprintf(`x.%s = ANY($1)`, c.Name)
		if c.Type == "_uuid" {
			where = fmt.Sprintf(`x.%s && $1`, c.Name)
		}
		for _, row := range values[string](h.house, fmt.Sprintf(`SELECT coalesce(to_jsonb(x)->>'id', to_jsonb(x)->>'kind', to_jsonb(x)->>'row_no') FROM %s x WHERE %s`, table, where), ids) {
			looked++
			cell := `"` + row + `"`
			if table == "batch_rows" {
				cell = `"row":` + row
			}
			is := strings.Contains(string(text), cell) // the whole copy is too long to be printed
			require.True(t, is, "a row of %s (%s) is not in the copy", table, c.Name)
			told[table] = true
		}
	}
	require.Greater(t, looked, 25)
	for _, table := range []string{"persons", "person_documents", "registrations", "consents", "specimens", "typings", "deferrals", "donations", "certificates", "care_plans", "reservations", "rights_requests", "contact_attempts", "cases", "shares"} {
		require.True(t, told[table], "%s has nothing of the donor: the test looked at nothing", table)
	}

	s := sections(copied)
	require.Equal(t, "张小明", s["identity"].Rows[0]["name"])
	require.Equal(t, residentNumber(1), s["documents"].Rows[0]["document_number"])
	require.Equal(t, "+8613800000001", s["contact"].Rows[0]["phone"])
	require.Contains(t, string(text), "张大明")
	require.Contains(t, string(text), "室友代接电话")
	require.Contains(t, string(text), "愿意，下周有空")
	require.Contains(t, string(text), "要一份自己的信息")
	require.Equal(t, gl, s["typings"].Rows[0]["gl"])
	require.NotEmpty(t, s["custody"].Rows)
	require.NotEmpty(t, s["follow_ups"].Rows)
	require.NotEmpty(t, s["texts"].Rows)
	require.NotEmpty(t, s["rules"].Rows)
	require.NotEmpty(t, s["kept"].Rows)
	require.NotEmpty(t, s["timeline"].Rows)
	require.NotEmpty(t, s["answers"].Rows)
	for _, section := range copied.Sections {
		for _, row := range section.Rows {
			require.Len(t, row, len(section.Fields), section.Name)
			for _, f := range section.Fields {
				require.Contains(t, row, f, section.Name)
			}
		}
	}
}

// Nothing of the patient, of the hospital that asked, or of why it let go.
func TestACopyTellsNothingOfThePatientsSide(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor, caseID := h.history()
	h.sql(`UPDATE cases SET reason = 'patient_died', ending = 'released' WHERE id = $1`, caseID)
	q := h.files("copy", donor)
	h.decides(q, fields{"outcome": "grant", "staff_named": true})
	copied, err := h.Store.FetchCopy(context.Background(), h.decider, q.ID)
	require.NoError(t, err)
	secrets := []string{"上海移植医院", "Test transplant", "患者复发", "patient_relapsed", "patient_died", "released", "stemcell.hospital_decision.", "search.", h.Transplant.ID.String()}
	for _, query := range []string{`SELECT id::text FROM patients`, `SELECT number FROM patients`, `SELECT id::text FROM searches`, `SELECT number FROM searches`, `SELECT gl_string FROM patients WHERE gl_string <> '` + gl + `'`} {
		secrets = append(secrets, values[string](h.house, query)...)
	}
	require.GreaterOrEqual(t, len(secrets), 12)
	for _, section := range copied.Sections {
		if section.Name == "rules" || section.Name == "texts" {
			continue // they are everybody's, and speak of searches
		}
		text, err := json.Marshal(section)
		require.NoError(t, err)
		for _, secret := range secrets {
			require.NotContains(t, string(text), secret, section.Name)
		}
	}
}

// Who looked: offices and roles, and the lists that showed the donor; names only where the decision says so.
func TestACopyTellsWhoLooked(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	ctx := context.Background()
	donor, _ := h.history()
	_, err := h.Store.ListDonors(ctx, h.CityCoordinator, registry.DonorFilter{})
	require.NoError(t, err)
	for _, named := range []bool{false, true} {
		q := h.files("copy", donor)
		h.decides(q, fields{"outcome": "grant", "staff_named": named})
		copied, err := h.Store.FetchCopy(ctx, h.decider, q.ID)
		require.NoError(t, err)
		var seen []string
		for _, row := range sections(copied)["looks"].Rows {
			seen = append(seen, fmt.Sprint(row["place"], "|", row["role"], "|", row["action"], "|", row["class"], "|", row["purpose"], "|", row["allowed"], "|", row["person"]))
		}
		person := func(name string) string {
			if named {
				return "Test " + name
			}
			return ""
		}
		require.Contains(t, seen, "鼓楼区红十字会|coordinator|reveal|contact|case|true|"+person("coordinator"))
		require.Contains(t, seen, "南京市红十字会|coordinator|find|registration|case|true|"+person("citycoordinator"))
		require.Contains(t, seen, "|transplant_hospital|read|registration|case|false|", "a hospital that may be the patient's is not named")
		require.Equal(t, !named, !strings.Contains(strings.Join(seen, "\n"), "Test "))
		h.answer(h.decider, value[uuid.UUID](h.house, `SELECT id FROM tasks WHERE case_id = $1 AND step = 'rights.carrying_out'`, q.ID), done, to("rights.telling"))
		h.tells(q, "granted")
	}
}

// A relative is told that somebody was registered, who it was, and what was signed: nothing of their body, and not who looked.
func TestARelativeIsToldWhatIsKins(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor, _ := h.history()
	q := h.files("kin_access", donor)
	h.decides(q, grant)
	copied, err := h.Store.FetchCopy(context.Background(), h.decider, q.ID)
	require.NoError(t, err)
	var names []string
	for _, s := range copied.Sections {
		names = append(names, s.Name)
	}
	require.Equal(t, []string{"identity", "documents", "registrations", "consents", "packs", "rules", "texts", "kept"}, names)
}

func TestAnExplanationIsTheRulesAndTheTexts(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	q := h.files("explanation", h.donor(1))
	h.decides(q, grant)
	copied, err := h.Store.FetchCopy(context.Background(), h.decider, q.ID)
	require.NoError(t, err)
	var names []string
	for _, s := range copied.Sections {
		names = append(names, s.Name)
	}
	require.Equal(t, []string{"packs", "rules", "texts", "kept"}, names)
	text := fmt.Sprint(sections(copied)["rules"].Rows)
	require.Contains(t, text, "GB/T 35273-2020 8.7")
}

// The copy is fetched in its step, by one person, for seven days; it lies sealed, and then it is gone.
func TestACopyIsFetchedByOneForSevenDays(t *testing.T) {
	t.Parallel()
	c := newClock()
	h := newCounter(t, registry.Options{Now: c.now})
	ctx := context.Background()
	donor := h.donor(1)
	q := h.files("copy", donor)
	fetch := func(by registry.Actor) error { _, err := h.Store.FetchCopy(ctx, by, q.ID); return err }
	requireCode(t, fetch(h.decider), registry.Refused, "copy_not_granted")
	h.proves(q)
	requireCode(t, fetch(h.decider), registry.Refused, "copy_not_granted")
	h.answer(h.decider, h.step(q, "rights.decision", policy.CountyOffice), grant, to("rights.carrying_out"))
	task := h.step(q, "rights.carrying_out", policy.CountyOffice)
	_, err := h.settle(h.propose(h.decider, task, done), to("rights.telling"))
	requireCode(t, err, registry.Refused, "copy_not_fetched")
	requireCode(t, fetch(h.Registrar), registry.Denied, "denied")
	requireCode(t, fetch(h.Coordinator), registry.Denied, "denied")
	require.Equal(t, registry.NotFound, registry.KindOf(fetch(h.TransplantDoctor)))

	require.NoError(t, fetch(h.decider))
	require.NoError(t, fetch(h.decider))
	requireCode(t, fetch(h.second), registry.Refused, "copy_taken")
	require.Equal(t, 1, value[int](h.house, `SELECT count(*)::int FROM rights_copies`))
	require.Equal(t, []string{"donor:" + donor.String(), "donor:" + donor.String()}, values[string](h.house, `SELECT target FROM audit WHERE action = 'export' AND allowed AND act = 'FetchCopy' AND actor = $1 AND fields LIKE '%identity%' OR action = 'export' AND allowed AND fields = '' AND actor = $1`, h.decider.Subject()))
	leaks, _ := h.found([]string{"张小明", residentNumber(1), "13800000001", "张大明"})
	require.Empty(t, leaks)

	c.pass(7*24*time.Hour - time.Minute)
	requireCode(t, fetch(h.second), registry.Refused, "copy_taken")
	c.pass(time.Minute)
	require.NoError(t, fetch(h.second), "it expired, and another can be made")
	_, err = h.settle(h.propose(h.decider, task, done), to("rights.telling"))
	requireCode(t, err, registry.Refused, "copy_not_fetched")
	h.answer(h.second, task, done, to("rights.telling"))
	h.sql(`UPDATE rights_copies SET expires_at = now() - interval '1 minute'`)
	require.NoError(t, h.Store.Tidy(ctx))
	require.Zero(t, value[int](h.house, `SELECT count(*)::int FROM rights_copies WHERE data_sealed IS NOT NULL`))
}

func TestAWithdrawalThatWasAskedForEndsTheRegistration(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor := h.donor(1)
	require.Equal(t, "granted", h.granted(h.files("withdrawal", donor, func(f *forms.RightsRequest) { f.Via = "letter" }), grant).Result)
	require.Equal(t, "withdrawn", h.show(h.Coordinator, donor).Status)
	require.Equal(t, "letter", value[string](h.house, `SELECT withdrawn_via FROM consents`))
}

// After erasure no sealed cell, no index and no personal value of the person is in the database, but for what is kept with its
// ground, and nobody finds or shows them.
func TestWhatIsErasedIsNowhereInTheDatabase(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	ctx := context.Background()
	donor, caseID := h.history()
	h.sql(`UPDATE cases SET status = 'ended', ending = 'declined', ended_at = now() WHERE id = $1`, caseID)
	h.sql(`UPDATE reservations SET released_at = now()`)
	sealed := func() (out []string) {
		columns := values[string](h.house, `SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
			WHERE t.table_type = 'BASE TABLE' AND c.table_schema = 'public' AND (c.column_name LIKE '%\_sealed' OR c.column_name LIKE '%\_index' OR c.column_name IN ('number_lookups', 'likeness_lookups', 'row_key'))`)
		for _, name := range columns {
			table, column, _ := strings.Cut(name, ".")
			filled := fmt.Sprintf(`octet_length(%s) > 0`, column)
			switch {
			case strings.HasSuffix(column, "_lookups"):
				filled = fmt.Sprintf(`cardinality(%s) > 0`, column)
			case strings.HasSuffix(column, "_sealed"):
				filled = fmt.Sprintf(`octet_length(%s) > 33`, column) // which an empty text is: a key's name, a nonce and a tag
			}
			if value[int](h.house, fmt.Sprintf(`SELECT count(*)::int FROM %s WHERE %s`, table, filled)) > 0 {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return out
	}
	require.Subset(t, sealed(), []string{"persons.name_sealed", "persons.phone_sealed", "persons.profile_sealed", "persons.likeness_index", "person_documents.number_sealed", "answers.form_sealed", "contact_attempts.note_sealed"})
	copyOf := h.files("copy", donor, func(f *forms.RightsRequest) { f.Note = seal.NoteOf("想看看") })
	h.decides(copyOf, grant)
	_, err := h.Store.FetchCopy(ctx, h.decider, copyOf.ID)
	require.NoError(t, err)

	q := h.files("deletion", donor, func(f *forms.RightsRequest) { f.Note = seal.NoteOf("请删除，回电 13912345678") })
	v := h.granted(q, grant)
	require.Equal(t, "erased", v.Result)
	require.True(t, v.Note.Masked, "who is to be told is known until then")
	require.Equal(t, "2000-01-01", value[string](h.house, `SELECT birth_date::text FROM persons`))
	requireCode(t, h.Store.ErasePerson(ctx, system, h.person(donor)), registry.Refused, "case_under_way")
	var classes []string
	for _, k := range v.Kept {
		classes = append(classes, k.Class)
		require.NotEmpty(t, k.Ground)
		require.NotEqual(t, "kept."+k.Class, k.Says)
		require.True(t, k.Until.After(today().AddYears(2)))
	}
	require.Equal(t, []string{"registration", "consent", "case", "sample", "request", "audit"}, classes)
	h.tells(v, "erased")

	// The patient's hospital's own form stays: it is about the patient.
	require.Equal(t, []string{"answers.form_sealed"}, sealed())
	require.Equal(t, 2, value[int](h.house, `SELECT count(*)::int FROM answers WHERE octet_length(form_sealed) > 33`), "the hospital's choice and its decision")
	require.Zero(t, value[int](h.house, `SELECT count(*)::int FROM typings`)+value[int](h.house, `SELECT count(*)::int FROM person_documents`))
	require.True(t, value[bool](h.house, `SELECT key_wrapped IS NULL AND erased_at IS NOT NULL AND birth_date IS NULL AND sex IS NULL AND region LIKE '__0000' FROM persons`), "and what a backup holds opens no more")
	seen := h.show(h.Coordinator, donor)
	require.Equal(t, []any{"erased", "withdrawn", (*registry.IdentitySection)(nil), (*registry.HLASection)(nil)}, []any{seen.HeldBack, seen.Status, seen.Identity, seen.HLA})
	list, err := h.Store.ListDonors(ctx, h.Coordinator, registry.DonorFilter{})
	require.NoError(t, err)
	require.Nil(t, list[0].Name)
	_, err = h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Class: policy.Identity, Reason: "correct_entry"})
	requireCode(t, err, registry.Refused, "consent_withdrawn")
	_, err = h.tryFile(h.Registrar, "access", donor)
	requireCode(t, err, registry.Refused, "person_erased")
	// The audit is as it was written, and the same person may come again, as somebody new.
	_, err = h.Store.SealAudit(ctx, 5000)
	require.NoError(t, err)
	require.Equal(t, "created", h.register(h.Registrar, volunteer(1)).Status)
}

// What a law keeps is kept with who it was, and only stored; the rest is erased.
func TestADonorsErasureLeavesWhatALawKeeps(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	ctx := context.Background()
	donor, caseID := h.history()
	h.donated(donor, caseID)
	q := h.files("deletion", donor)
	h.proves(q)
	task := h.step(q, "rights.decision", policy.CountyOffice)
	try := func(outcome, reason string) error {
		_, err := h.tryPropose(h.decider, task, fields{"outcome": outcome, "reason": reason})
		return err
	}
	requireCode(t, try("grant", ""), registry.Refused, "deletion_case_open")
	requireCode(t, try("in_part", "law_keeps"), registry.Refused, "deletion_case_open")
	h.sql(`UPDATE cases SET status = 'ended', ended_at = now() WHERE id = $1`, caseID)
	requireCode(t, try("grant", ""), registry.Refused, "deletion_law_keeps")
	requireCode(t, try("refuse", "case_open"), registry.Refused, "rights_reason_untrue")
	h.answer(h.decider, task, fields{"outcome": "in_part", "reason": "law_keeps"}, to("rights.carrying_out"))
	h.answer(h.decider, h.step(q, "rights.carrying_out", policy.CountyOffice), done, to("rights.telling"))
	v := h.request(q.ID)
	require.Equal(t, "in_part", v.Result)
	require.Len(t, v.Kept, len(rules.KeptClasses()))
	require.Equal(t, today().AddYears(30), v.Kept[0].Until)
	require.False(t, value[bool](h.house, `SELECT phone_sealed IS NOT NULL OR profile_sealed IS NOT NULL OR likeness_index IS NOT NULL FROM persons`))
	require.Equal(t, 1, value[int](h.house, `SELECT count(*)::int FROM person_documents`)*value[int](h.house, `SELECT count(*)::int FROM typings WHERE current`))
	require.Equal(t, "blocked", h.show(h.Coordinator, donor).HeldBack)
	require.Nil(t, h.show(h.Coordinator, donor).Identity)
	_, err := h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Class: policy.Identity, Reason: "correct_entry"})
	requireCode(t, err, registry.Refused, "consent_withdrawn")
	h.tells(v, "in_part")
	// Who agrees anew is a donor again.
	h.sql(`UPDATE registrations SET withdrawn_at = now() - interval '20 days'`)
	h.sql(`UPDATE deferrals SET lifted_at = now()`)
	entry := h.register(h.Registrar, volunteer(1))
	require.Contains(t, []string{"created", "updated", "linked"}, entry.Status, "%v", entry.Problems)
	require.Empty(t, h.show(h.Coordinator, donor).HeldBack)
}

// While a patient waits for the donor nothing is erased: the registration is withdrawn, the case hears it, and the data is
// only stored.
func TestAnErasureIsRefusedWhileACaseIsOpen(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor, caseID := h.history()
	q := h.files("deletion", donor)
	v := h.granted(q, fields{"outcome": "refuse", "reason": "case_open"})
	require.Equal(t, "blocked", v.Result)
	require.Equal(t, "withdrawn", h.show(h.Coordinator, donor).Status)
	require.Equal(t, 1, value[int](h.house, `SELECT count(*)::int FROM outbox WHERE kind = 'stemcell' AND payload->>'fact' = 'withdrawn' AND $1 = ANY(targets)`, caseID))
	require.Empty(t, h.show(h.Coordinator, donor).HeldBack, "the patient's safety goes first")
	h.sql(`UPDATE cases SET status = 'ended' WHERE id = $1`, caseID)
	require.Equal(t, "blocked", h.show(h.Coordinator, donor).HeldBack)
	require.True(t, value[bool](h.house, `SELECT phone_sealed IS NOT NULL FROM persons LIMIT 1`))
}

// A case that is opened between the decision and the act stops the erasure.
func TestACaseThatComesBetweenStopsTheErasure(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor, caseID := h.history()
	h.sql(`UPDATE cases SET status = 'ended' WHERE id = $1`, caseID)
	task := h.decides(h.files("deletion", donor), grant)
	h.sql(`UPDATE cases SET status = 'open' WHERE id = $1`, caseID)
	_, err := h.settle(h.propose(h.decider, task, done), to("rights.telling"))
	requireCode(t, err, registry.Refused, "deletion_case_open")
	require.Equal(t, 1, value[int](h.house, `SELECT count(*)::int FROM typings`))
}

// A batch whose people have asked something cannot be undone as if they had never come.
func TestAPersonWhoAskedIsNotUndone(t *testing.T) {
	t.Parallel()
	h := newCounter(t)
	donor := h.donor(1)
	h.files("access", donor)
	batch := value[uuid.UUID](h.house, `SELECT batch_id FROM registrations WHERE id = $1`, donor)
	_, err := h.Store.StartUndo(context.Background(), h.Registrar, batch, 0)
	requireCode(t, err, registry.Refused, "rows_moved_on")
}
