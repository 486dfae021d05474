package registry_test

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
)

// What is sealed is in the table that says whose key seals it, and the table has nothing else.
func TestEverySealedColumnSaysWhoseKeySealsIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var said []string
	for column := range registry.SealedColumns() {
		said = append(said, column)
	}
	require.ElementsMatch(t, said, values[string](h, `SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema IN ('public', 'link') AND column_name LIKE '%\_sealed'`))
}

func (h *house) person(donor uuid.UUID) uuid.UUID {
	h.t.Helper()
	return value[uuid.UUID](h, `SELECT person_id FROM registrations WHERE id = $1`, donor)
}

// A person's cells open with their own key only: not with somebody else's who has the same row, and not without one.
func TestAPersonsCellsOpenWithTheirOwnKeyOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	one, two := h.donor(1), h.donor(2)
	require.Equal(t, 2, value[int](h, `SELECT count(DISTINCT key_wrapped) FROM persons`))
	keys := registrytest.Keys()
	wrapped := value[[]byte](h, `SELECT key_wrapped FROM persons WHERE id = $1`, h.person(one))
	foreign, err := keys.Unwrap(registry.KeyCell(h.person(one)), wrapped)
	require.NoError(t, err)
	name := value[[]byte](h, `SELECT name_sealed FROM persons WHERE id = $1`, h.person(two))
	_, err = foreign.OpenBytes(seal.Cell{Table: "persons", Column: "name", Row: h.person(two)}, name)
	require.ErrorIs(t, err, seal.ErrCannotOpen)

	h.sql(`UPDATE persons SET key_wrapped = $2 WHERE id = $1`, h.person(two), wrapped)
	_, err = h.Store.ShowDonor(ctx, h.Coordinator, two)
	require.ErrorIs(t, err, seal.ErrCannotOpen, "a key that is copied to another row")
	_, err = h.Store.ShowDonor(ctx, h.Coordinator, one)
	require.NoError(t, err)
}

// sealedOf lists the cells of a person, with what their rows are: table, column, row and bytes.
func (h *house) sealedOf(person uuid.UUID) map[seal.Cell][]byte {
	h.t.Helper()
	out := map[seal.Cell][]byte{}
	rows, err := h.conn().Query(context.Background(), `
		SELECT 'persons', 'name', id, name_sealed FROM persons WHERE id = $1 UNION ALL SELECT 'persons', 'phone', id, phone_sealed FROM persons WHERE id = $1
		UNION ALL SELECT 'persons', 'profile', id, profile_sealed FROM persons WHERE id = $1 UNION ALL SELECT 'person_documents', 'number', id, number_sealed FROM person_documents WHERE person_id = $1
		UNION ALL SELECT 'patients', 'reference', id, reference_sealed FROM patients WHERE id = $1
		UNION ALL SELECT 'answers', 'form', id, form_sealed FROM answers WHERE key_of = $1 UNION ALL SELECT 'contact_attempts', 'note', id, note_sealed FROM contact_attempts WHERE key_of = $1`, person)
	require.NoError(h.t, err)
	defer rows.Close()
	for rows.Next() {
		var c seal.Cell
		var sealed []byte
		require.NoError(h.t, rows.Scan(&c.Table, &c.Column, &c.Row, &sealed))
		if sealed != nil {
			out[c] = sealed
		}
	}
	require.NoError(h.t, rows.Err())
	return out
}

func TestAnErasedDonorCannotBeReadAndTheRecordsStay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	keys := registrytest.Keys()
	donors := h.listed(gl, gl)
	donor, person := donors[0], h.person(donors[0])
	search := h.search(h.TransplantDoctor, "10/10")
	patient := value[uuid.UUID](h, `SELECT patient_id FROM searches WHERE id = $1`, search.ID)
	caseID := h.request(h.TransplantDoctor, search.ID, donor)[0]
	task := h.ask(registry.Question{CaseID: caseID, Step: "stemcell.remobilisation", Seat: registry.SeatCoordinator, Role: policy.Coordinator}).TaskID
	_, err := h.Store.AddAttempt(ctx, h.Coordinator, caseID, forms.ContactAttempt{At: time.Now(), Channel: "phone", Whom: "contact", Result: "reached", Note: seal.NoteOf("姐姐王小丽接的电话")})
	require.NoError(t, err)
	h.answer(h.Coordinator, task, fields{"outcome": "willing", "note": "怕针，请王护士来"}, to("stemcell.sample_booking"))

	wrapped := value[[]byte](h, `SELECT key_wrapped FROM persons WHERE id = $1`, person)
	key, err := keys.Unwrap(registry.KeyCell(person), wrapped)
	require.NoError(t, err)
	cells := h.sealedOf(person)
	require.Len(t, cells, 6, "name, phone, profile, number, an answer and a note")
	texts := ""
	for c, sealed := range cells {
		plain, err := key.OpenBytes(c, sealed)
		require.NoError(t, err, c)
		texts += string(plain)
	}
	for _, text := range []string{"张小明", residentNumber(1), "13900000002", "王小丽", "王护士"} {
		require.Contains(t, texts, text)
	}
	require.Len(t, h.sealedOf(patient), 1, "what the hospital answers is the patient's")

	// Somebody who is registered, or in a case, is not erased by accident.
	requireCode(t, h.Store.ErasePerson(ctx, system, person), registry.Refused, "still_registered")
	_, err = h.Store.Withdraw(ctx, h.Coordinator, donor, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	requireCode(t, h.Store.ErasePerson(ctx, system, person), registry.Refused, "case_under_way")
	h.sql(`UPDATE cases SET status = 'ended' WHERE subject_id = $1`, donor)
	requireCode(t, h.Store.ErasePerson(ctx, h.TransplantDoctor, person), registry.NotFound, "person_not_found")
	requireCode(t, h.Store.ErasePerson(ctx, system, uuid.New()), registry.NotFound, "person_not_found")
	before := h.show(h.Coordinator, donor)
	require.NotEmpty(t, before.Identity.Name.Display)
	require.Nil(t, before.ErasedAt)

	require.NoError(t, h.Store.ErasePerson(ctx, registry.Operator("test"), person))
	after := h.show(h.Coordinator, donor)
	require.NotNil(t, after.ErasedAt)
	require.Equal(t, before.Number, after.Number)
	require.Equal(t, "withdrawn", after.Status)
	require.Equal(t, registry.IdentitySection{Documents: []registry.DocumentLine{{Kind: before.Identity.Documents[0].Kind}}}, *after.Identity)
	require.Equal(t, registry.ContactSection{Contacts: []registry.ContactLine{}}, *after.Contact)
	require.Equal(t, registry.DemographicsSection{Lives: "320000"}, *after.Demographics)
	require.Nil(t, after.HLA)
	require.Len(t, after.Consents, len(before.Consents), "that they had consented is kept")
	require.Len(t, after.Specimens, len(before.Specimens))
	list, err := h.Store.ListDonors(ctx, h.Coordinator, registry.DonorFilter{})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Empty(t, list[0].Name.Display)
	for _, class := range []policy.Class{policy.Identity, policy.Contact} {
		_, err = h.Store.RevealDonor(ctx, h.Coordinator, donor, registry.RevealForm{Class: class, Reason: "correct_entry"})
		requireCode(t, err, registry.Refused, "consent_withdrawn")
	}
	_, err = h.Store.ShowCase(ctx, h.Coordinator, caseID)
	require.NoError(t, err)
	candidates, err := h.Store.ListCandidates(ctx, h.TransplantDoctor, search.ID, registry.CandidateFilter{})
	require.NoError(t, err)
	require.Len(t, candidates, 2)

	// Past the registry: the bytes are there, and no key that the installation has opens them.
	require.Equal(t, cells, h.sealedOf(person))
	require.True(t, value[bool](h, `SELECT key_wrapped IS NULL AND likeness_index IS NULL AND birth_date IS NULL AND sex IS NULL FROM persons WHERE id = $1`, person))
	require.Zero(t, value[int](h, `SELECT count(*) FROM person_documents WHERE person_id = $1 AND number_index IS NOT NULL`, person))
	require.Empty(t, value[string](h, `SELECT gl_string FROM typings WHERE person_id = $1`, person))
	other, err := keys.Unwrap(registry.KeyCell(h.person(donors[1])), value[[]byte](h, `SELECT key_wrapped FROM persons WHERE id = $1`, h.person(donors[1])))
	require.NoError(t, err)
	for c, sealed := range cells {
		_, err := keys.OpenBytes(c, sealed)
		require.ErrorIs(t, err, seal.ErrCannotOpen)
		_, err = other.OpenBytes(c, sealed)
		require.ErrorIs(t, err, seal.ErrCannotOpen)
	}
	for _, digest := range keys.Lookups("document", "resident_id\x00"+residentNumber(1)) {
		require.Zero(t, value[int](h, `SELECT count(*) FROM person_documents WHERE number_index = $1`, digest))
	}

	// Said twice it changes nothing; and who comes again comes as somebody new.
	require.NoError(t, h.Store.ErasePerson(ctx, system, person))
	require.Equal(t, 1, value[int](h, `SELECT count(*) FROM events WHERE code = 'registration.erased'`))
	require.NotEqual(t, person, h.person(h.donor(1)))
	_, err = h.Store.SealAudit(ctx, 5000)
	require.NoError(t, err)
	report, err := h.Store.VerifyAudit(ctx, h.Auditor, nil, nil)
	require.NoError(t, err)
	require.True(t, report.Verified)
}

func TestAnErasedPatientCannotBeReadAndTheSearchStays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.listed(gl)
	search := h.search(h.TransplantDoctor, "10/10")
	patient := value[uuid.UUID](h, `SELECT patient_id FROM searches WHERE id = $1`, search.ID)
	requireCode(t, h.Store.ErasePatient(ctx, system, patient), registry.Refused, "case_under_way")
	requireCode(t, h.Store.ErasePatient(ctx, system, uuid.New()), registry.NotFound, "patient_not_found")
	_, err := h.Store.CloseSearch(ctx, h.TransplantDoctor, search.ID, 0, "patient_died")
	require.NoError(t, err)
	require.NoError(t, h.Store.ErasePatient(ctx, system, patient))
	require.NoError(t, h.Store.ErasePatient(ctx, system, patient))
	v, err := h.Store.ShowPatient(ctx, h.TransplantDoctor, patient)
	require.NoError(t, err)
	require.Zero(t, v.BirthYear)
	require.Empty(t, v.Diagnosis)
	require.Empty(t, v.GL)
	require.NotEmpty(t, v.Number)
	require.True(t, value[bool](h, `SELECT key_wrapped IS NULL FROM patients WHERE id = $1`, patient))
	_, err = h.Store.ShowSearch(ctx, h.TransplantDoctor, search.ID)
	require.NoError(t, err)
}

// Erasing somebody takes with them the sheet that they came in and what is staged of them elsewhere.
func TestAnErasedPersonIsInNoSheet(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := newOffice(t, 2000)
	sheet := sheetOf(t, "E000", 41, 3, nil)
	b := o.commit(t, o.check(t, sheet).ID, registry.CommitForm{})
	person := uuid.MustParse(o.lines(t, `SELECT person_id::text FROM batch_rows WHERE batch_id = $1 ORDER BY row_no LIMIT 1`, b.ID)[0])
	again := sheetOf(t, "F000", 41, 3, nil) // the same people, with other tubes
	known := o.check(t, again)
	require.Equal(t, map[string]int{"known": 3}, known.Verdicts)
	_, err := o.db.Exec(ctx, `UPDATE registrations SET status = 'withdrawn' WHERE person_id = $1`, person)
	require.NoError(t, err)
	_, err = o.db.Exec(ctx, `UPDATE cases SET status = 'ended'`)
	require.NoError(t, err)
	require.NoError(t, o.Store.ErasePerson(ctx, registry.System("test"), person))
	require.Equal(t, []string{"f", "t", "t"}, o.lines(t, `SELECT (coalesce(raw_sealed, key_wrapped, name_sealed, number_index) IS NOT NULL)::text::char(1) FROM staged_forms ORDER BY 1`))
	require.Equal(t, []string{"0"}, o.lines(t, `SELECT count(*)::text FROM batches WHERE file_sealed IS NOT NULL`))
	requireCode(t, o.Store.ResultWorkbook(ctx, o.Registrar, b.ID, io.Discard), registry.Refused, "batch_swept")
	// The others are still worked on.
	require.Equal(t, map[string]int{"known": 2, "error": 1}, o.show(t, known.ID).Verdicts)
	known = o.commit(t, known.ID, registry.CommitForm{})
	require.Equal(t, 1, known.Outcomes["failed"], "%v", known.Outcomes)
	require.Equal(t, 2, known.Outcomes["linked"]+known.Outcomes["updated"]+known.Outcomes["unchanged"], "%v", known.Outcomes)
}

// A sheet is kept for as long as its batch may be undone, and then destroyed, with the rows that nobody took up again.
func TestASheetIsDestroyedWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := newOffice(t, 2000)
	sheet := sheetOf(t, "S000", 42, 4, nil)
	sheet.Rows[3][0], sheet.Rows[3][1] = "", ""
	drive := o.plan(t, sheet)
	b := o.upload(t, drive.ID, "forms.xlsx", workbook(t, sheet))
	b = o.commit(t, b.ID, registry.CommitForm{AcceptWarnings: true})
	require.Equal(t, 1, b.Outcomes["failed"], "%v", b.Outcomes)
	abandoned := o.check(t, sheetOf(t, "T000", 43, 2, nil))
	kept := func() []string {
		return o.lines(t, `SELECT concat_ws(' ', number = $1, status, file_sealed IS NOT NULL, file_name_sealed IS NOT NULL, swept_at IS NOT NULL,
			(SELECT count(*) FROM staged_forms s WHERE s.batch_id = b.id), (SELECT count(*) FROM batch_rows r WHERE r.batch_id = b.id AND (row_key <> '' OR number_lookups IS NOT NULL)))
			FROM batches b ORDER BY id`, b.Number)
	}
	before := kept()
	require.Equal(t, []string{"t committed t t f 1 4", "f checked t t f 2 2"}, before)
	require.NoError(t, o.Store.Upkeep(ctx))
	require.Equal(t, before, kept())
	require.NoError(t, o.on(t, today().AddDays(4)).Upkeep(ctx))
	require.Equal(t, []string{"t committed f f t 0 0", "f checked t t f 2 2"}, kept())
	require.NoError(t, o.on(t, today().AddDays(32)).Upkeep(ctx))
	require.Equal(t, []string{"t committed f f t 0 0", "f cancelled f f t 0 0"}, kept())

	swept := o.show(t, b.ID)
	require.NotNil(t, swept.SweptAt)
	_, err := o.Store.RetryBatch(ctx, o.Registrar, b.ID, 0)
	requireCode(t, err, registry.Refused, "batch_swept")
	requireCode(t, o.Store.ResultWorkbook(ctx, o.Registrar, b.ID, io.Discard), registry.Refused, "batch_swept")
	_, err = o.Store.CheckBatch(ctx, o.Registrar, abandoned.ID, 0, registry.ReadOptions{}, registry.Upload{}.Limits)
	requireCode(t, err, registry.Refused, "batch_settled")
	_, err = o.Store.ListRows(ctx, o.Registrar, b.ID, registry.RowFilter{WithCells: true})
	require.NoError(t, err)
	// Whoever has the sheet may send it in again.
	again := o.upload(t, drive.ID, "forms.xlsx", workbook(t, sheet))
	require.False(t, again.Again)
	require.Equal(t, 4, again.Rows)
}

// ownKeys is a register of a test's own whose keys it may change, and a second process beside it.
func ownKeys(t *testing.T, chunk int) (h *house, beside *registry.Store, file string) {
	t.Helper()
	file = registrytest.KeyFile(t)
	read := func() *seal.Keyring {
		keys, err := seal.ReadFile(file)
		require.NoError(t, err)
		return keys
	}
	h = newHouse(t, registry.Options{Keys: read(), ImportChunk: chunk})
	return h, h.open(registry.Options{Keys: read(), ImportChunk: chunk}), file
}

// rotated does a rotation's chunks until none is left.
func (h *house) rotated(id uuid.UUID, between func()) registry.Chunk {
	h.t.Helper()
	ctx := context.Background()
	for range 60 {
		chunk, err := h.Store.RotateChunk(ctx, system, id)
		require.NoError(h.t, err)
		if chunk.Finished {
			return chunk
		}
		if between != nil {
			between()
		}
	}
	require.Fail(h.t, "the rotation does not end")
	return registry.Chunk{}
}

func TestAKeyEncryptionKeyIsRotatedAndRetired(t *testing.T) {
	t.Parallel()
	h, beside, file := ownKeys(t, 3)
	ctx := context.Background()
	operator := registry.Operator("test")
	var donors []uuid.UUID
	for n := range 10 {
		donors = append(donors, h.donor(n+1))
	}
	h.patient(h.TransplantDoctor)
	b := h.office(h.Store).check(t, sheetOf(t, "K000", 44, 2, nil))
	var key [32]byte
	_, err := h.Store.Remember(ctx, h.Registrar, "k1", "POST /x", key)
	require.NoError(t, err)
	require.NoError(t, h.Store.Answered(ctx, h.Registrar, "k1", registry.Remembered{Status: 200, Body: []byte("an answer")}))
	require.Zero(t, value[int](h, `SELECT count(*) FROM key_rotations`))
	names := value[string](h, `SELECT string_agg(encode(name_sealed, 'hex'), '' ORDER BY id) FROM persons`)

	_, err = h.Store.RetireKey(ctx, operator, seal.KEK, 1)
	requireCode(t, err, registry.Refused, "key_newest")
	rotation, backup, err := h.Store.StartRotation(ctx, operator, seal.KEK)
	require.NoError(t, err)
	require.FileExists(t, backup)
	require.Equal(t, 2, rotation.Version)
	require.Equal(t, "waiting", rotation.Step)
	again, none, err := h.Store.StartRotation(ctx, operator, seal.KEK)
	require.NoError(t, err)
	require.Equal(t, rotation.ID, again.ID, "it is under way")
	require.Empty(t, none)
	_, err = h.Store.RetireKey(ctx, operator, seal.KEK, 1)
	requireCode(t, err, registry.Refused, "rotation_under_way")

	steps := map[string]bool{}
	n := 100
	h.rotated(rotation.ID, func() {
		// The other process goes on meanwhile: it meets the new key and reads the file again.
		v, err := beside.ShowDonor(ctx, h.Coordinator, donors[0])
		require.NoError(t, err)
		require.NotEmpty(t, v.Identity.Name.Display)
		n++
		entries, err := beside.Register(ctx, h.Registrar, uuid.NewString(), registry.EntryForm{Forms: []forms.Registration{volunteer(n)}})
		require.NoError(t, err)
		require.Equal(t, "created", entries[0].Status, "%+v", entries[0].Problems)
		list, err := beside.ListRotations(ctx, operator)
		require.NoError(t, err)
		steps[list[0].Step] = true
		require.LessOrEqual(t, list[0].Changed, list[0].Done)
	})
	require.Len(t, steps, 14, "%v", steps)
	list, err := h.Store.ListRotations(ctx, operator)
	require.NoError(t, err)
	require.Equal(t, "finished", list[0].Step)
	require.Equal(t, int64(10+1+2+1+1), list[0].Changed, "ten people, a patient, two staged rows, a sheet and an answer")
	require.Zero(t, value[int](h, `SELECT count(*) FROM persons WHERE key_version(key_wrapped) <> 2`))
	require.Equal(t, names, value[string](h, `SELECT string_agg(encode(name_sealed, 'hex'), '' ORDER BY id) FROM (SELECT * FROM persons ORDER BY created_at, id LIMIT 10) first`), "no cell was written")

	known, err := h.Store.ListKeys(ctx, h.Security)
	require.NoError(t, err)
	require.Equal(t, registry.KeyView{Kind: seal.KEK, Version: 1}, known[1])
	require.True(t, known[0].Newest)
	require.Positive(t, known[0].Rows)

	// One row that carries it is enough to keep it.
	kept := value[[]byte](h, `SELECT key_wrapped FROM persons WHERE id = $1`, h.person(donors[3]))
	old, err := seal.ReadFile(backup)
	require.NoError(t, err)
	_, oldWrapped, err := old.NewKey(registry.KeyCell(h.person(donors[3])))
	require.NoError(t, err)
	h.sql(`UPDATE persons SET key_wrapped = $2 WHERE id = $1`, h.person(donors[3]), oldWrapped)
	_, err = h.Store.RetireKey(ctx, operator, seal.KEK, 1)
	requireCode(t, err, registry.Refused, "key_in_use")
	h.sql(`UPDATE persons SET key_wrapped = $2 WHERE id = $1`, h.person(donors[3]), kept)
	_, err = h.Store.RetireKey(ctx, operator, seal.KEK, 7)
	requireCode(t, err, registry.NotFound, "key_not_found")
	_, err = h.Store.RetireKey(ctx, h.Registrar, seal.KEK, 1)
	require.Error(t, err)
	_, err = h.Store.RetireKey(ctx, operator, seal.KEK, 1)
	require.NoError(t, err)
	left, err := seal.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, []int{2}, left.Versions(seal.KEK))
	for _, donor := range donors {
		v, err := h.Store.ShowDonor(ctx, h.Coordinator, donor)
		require.NoError(t, err)
		require.NotEmpty(t, v.Identity.Name.Display)
	}
	rows, err := h.Store.ListRows(ctx, h.Registrar, b.ID, registry.RowFilter{WithCells: true})
	require.NoError(t, err)
	require.NotEmpty(t, rows[0].Cells)
	require.NoError(t, h.Store.ResultWorkbook(ctx, h.Registrar, b.ID, io.Discard))
	remembered, err := h.Store.Remember(ctx, h.Registrar, "k1", "POST /x", key)
	require.NoError(t, err)
	require.Equal(t, "an answer", string(remembered.Body))

	// With the old file nobody begins.
	require.NoError(t, os.Rename(file, file+".newest"))
	require.NoError(t, os.Rename(backup, file))
	old, err = seal.ReadFile(file)
	require.NoError(t, err)
	_, err = registry.Open(ctx, registry.Options{URL: h.url, Keys: old})
	requireCode(t, err, registry.Incompatible, "keys_old")
}

// office is the house's office, at a store of it.
func (h *house) office(store *registry.Store) *office {
	o := &office{House: registrytest.OpenHouse(h.t, store), address: h.url, db: h.conn()}
	o.drives = 100 * value[int](h, `SELECT count(*) FROM drives`)
	return o
}

// While the index is rotated everybody is found all the time, by whichever process is asked, and nobody comes twice.
func TestEverybodyIsFoundWhileTheIndexIsRotated(t *testing.T) {
	t.Parallel()
	h, beside, _ := ownKeys(t, 3)
	ctx := context.Background()
	operator := registry.Operator("test")
	const people = 12
	for n := range people {
		h.donor(n + 1)
	}
	// A sheet was checked before, and is committed after.
	b := h.office(h.Store).check(t, sheetOf(t, "K000", 44, 2, nil))
	require.Equal(t, map[string]int{"ready": 2}, b.Verdicts)

	rotation, _, err := h.Store.StartRotation(ctx, operator, seal.IndexKey)
	require.NoError(t, err)
	asked := 0
	h.rotated(rotation.ID, func() {
		asked++
		for _, store := range []*registry.Store{h.Store, beside} {
			entries, err := store.Register(ctx, h.Registrar, uuid.NewString(), registry.EntryForm{Forms: []forms.Registration{volunteer(asked%people + 1), volunteer((asked+5)%people + 1)}})
			require.NoError(t, err)
			for _, e := range entries {
				require.Equal(t, "unchanged", e.Status, "%+v", e.Problems)
			}
			// Somebody who has the same name, birthday and phone as one of them, and another document.
			like := volunteer(asked%people + 1)
			like.DocumentNumber = seal.NumberOf(residentNumber(900 + asked%people))
			entries, err = store.Register(ctx, h.Registrar, uuid.NewString(), registry.EntryForm{AcceptWarnings: true, Forms: []forms.Registration{like}})
			require.NoError(t, err)
			require.Equal(t, "parked", entries[0].Status, "%+v", entries[0].Problems)
		}
	})
	require.Greater(t, asked, 8)
	require.Equal(t, people, value[int](h, `SELECT count(*) FROM persons`))
	require.Zero(t, value[int](h, `SELECT count(*) FROM person_documents WHERE index_version <> 2`))
	require.Zero(t, value[int](h, `SELECT count(*) FROM persons WHERE index_version <> 2`))

	// The sheet meets people who came meanwhile, under the new key alone.
	_, err = h.Store.RetireKey(ctx, operator, seal.IndexKey, 1)
	require.NoError(t, err)
	other := h.office(beside)
	require.Equal(t, map[string]int{"created": 2}, other.commit(t, other.check(t, sheetOf(t, "L000", 44, 2, nil)).ID, registry.CommitForm{}).Outcomes)
	require.Zero(t, h.office(h.Store).commit(t, b.ID, registry.CommitForm{}).Outcomes["created"])
	require.Equal(t, people+2, value[int](h, `SELECT count(*) FROM persons`))
	_, err = h.Store.SealAudit(ctx, 5000)
	require.NoError(t, err)
	report, err := h.Store.VerifyAudit(ctx, h.Auditor, nil, nil)
	require.NoError(t, err)
	require.True(t, report.Verified, "the audit's seals have a key that stays")
}

// Before the first row is taken over, whoever may not know of the key has ended.
func TestARotationWaitsForActsThatBeganBefore(t *testing.T) {
	t.Parallel()
	h, _, _ := ownKeys(t, 100)
	ctx := context.Background()
	h.donor(1)
	h.sql(`BEGIN`)
	h.sql(`SELECT revision FROM policy_revision`) // as every act does
	rotation, _, err := h.Store.StartRotation(ctx, registry.Operator("test"), seal.IndexKey)
	require.NoError(t, err)
	hasty, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, err = h.Store.RotateChunk(hasty, system, rotation.ID)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	h.sql(`ROLLBACK`)
	h.rotated(rotation.ID, nil)
	_, err = h.Store.RotateChunk(ctx, system, uuid.New())
	requireCode(t, err, registry.NotFound, "rotation_not_found")
}

// Whoever died between the key file and the register goes on where they were.
func TestAKeyThatWasAddedAndNotBegunIsGoneOnWith(t *testing.T) {
	t.Parallel()
	h, beside, file := ownKeys(t, 100)
	ctx := context.Background()
	h.donor(1)
	dying, err := seal.ReadFile(file)
	require.NoError(t, err)
	_, _, err = dying.Add(ctx, seal.KEK)
	require.NoError(t, err)
	keys, err := seal.ReadFile(file)
	require.NoError(t, err)
	later := h.open(registry.Options{Keys: keys}) // which lets everybody know
	rotation, backup, err := later.StartRotation(ctx, registry.Operator("test"), seal.KEK)
	require.NoError(t, err)
	require.Empty(t, backup)
	require.Equal(t, 2, rotation.Version)
	h.rotated(rotation.ID, nil)
	_, err = beside.ListDonors(ctx, h.Coordinator, registry.DonorFilter{})
	require.NoError(t, err)
	next, _, err := later.StartRotation(ctx, registry.Operator("test"), seal.KEK)
	require.NoError(t, err)
	require.Equal(t, 3, next.Version)
}

// A process whose file is an old copy turns everybody away rather than miss somebody.
func TestAProcessWithAnOldKeyFileTurnsAway(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	donor := h.donor(1)
	h.sql(`UPDATE installation SET key_generation = key_generation + 1`)
	_, err := h.Store.ShowDonor(context.Background(), h.Coordinator, donor)
	requireCode(t, err, registry.Unavailable, "keys_behind")
	require.True(t, strings.HasPrefix(value[string](h, `SELECT suite FROM installation`), string(registrytest.Keys().Suite())))
}
