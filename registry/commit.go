package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Rows of forms go into the register in two movements, so that the second is nothing but SQL over whole chunks. Staging
// seals a reviewed form into a row of batch_rows, with the ids under which it will be stored: nothing of the register
// changes. Committing copies rows from there into the tables of people, registrations, consents, samples and cases. The
// single form and the sheet of twenty thousand take the same way.

// stagedRow is a form ready to be copied into batch_rows.
type stagedRow struct {
	no       int
	key      []byte
	verdict  string
	problems forms.Problems
	raw      intake.Row
	form     *forms.Registration // nil when too little could be read
}

var stagedColumns = []string{
	"batch_id", "row_no", "row_key", "verdict", "problems", "raw_sealed", "person_id", "document_id", "region", "name_sealed", "phone_sealed", "profile_sealed",
	"likeness_index", "document_kind", "number_sealed", "number_index", "number_lookups", "index_version", "birth_date", "sex", "abo", "rh", "ethnicity", "height_cm", "weight_kg",
	"programmes", "consent_texts", "registration_ids", "intent", "choices", "signed_on", "on_paper", "scan_ref", "cooling_off_until", "barcode", "specimen_id", "drawn_on", "tubes", "millilitres",
}

// stage seals one row. A row that cannot enter the register, because a problem blocks it, keeps only what was read.
func (r *Reader) stage(batch uuid.UUID, row stagedRow) ([]any, error) {
	out := make([]any, len(stagedColumns))
	problems, err := json.Marshal(append(forms.Problems{}, row.problems...))
	if err != nil {
		return nil, err
	}
	cells, err := json.Marshal(row.raw)
	if err != nil {
		return nil, err
	}
	raw, err := r.keys.SealBytes(rowCell(batch, row.no), cells)
	if err != nil {
		return nil, err
	}
	copy(out, []any{batch, row.no, row.key, row.verdict, problems, raw})
	if row.form == nil || len(row.problems.Blocking()) > 0 {
		return out, nil
	}
	values, err := r.sealForm(row.form)
	if err != nil {
		return nil, err
	}
	copy(out[6:], values)
	return out, nil
}

// rowCell is the place of a row's raw cells: the batch, with the number of the row in the column's name.
func rowCell(batch uuid.UUID, no int) seal.Cell {
	return cell("batch_rows", fmt.Sprintf("raw/%d", no), batch)
}

// sealForm gives a form's columns from person_id on.
func (r *Reader) sealForm(f *forms.Registration) ([]any, error) {
	person, document := newID(), newID()
	name, err := r.keys.Seal(cell("persons", "name", person), f.Name.Reveal())
	if err != nil {
		return nil, err
	}
	phone, err := r.keys.Seal(cell("persons", "phone", person), f.Phone.Reveal())
	if err != nil {
		return nil, err
	}
	plain, err := profileOf(f)
	if err != nil {
		return nil, err
	}
	var profile []byte
	if plain != nil {
		if profile, err = r.keys.SealBytes(cell("persons", "profile", person), plain); err != nil {
			return nil, err
		}
	}
	number, err := r.keys.Seal(cell("person_documents", "number", document), f.DocumentNumber.Reveal())
	if err != nil {
		return nil, err
	}
	documentKey := string(f.DocumentKind) + "\x00" + f.DocumentNumber.Reveal()
	numberIndex, version := r.keys.Index("document", documentKey)
	likeness, _ := r.keys.Index("likeness", f.Name.Reveal()+"\x00"+f.BirthDate.String()+"\x00"+f.Phone.Reveal())

	var programmes, wordings []string
	var registrations []uuid.UUID
	for _, p := range f.Programmes {
		wording, _ := f.Wording(p) // Review has found it
		programmes, wordings, registrations = append(programmes, string(p)), append(wordings, wording.Version), append(registrations, newID())
	}
	var coolingOff, drawnOn, specimen any
	if slices.Contains(f.Programmes, rules.StemCell) {
		coolingOff = r.book.For(f.Region, f.SignedOn).Span(rules.StemCellCoolingOff).On(f.SignedOn, nil)
	}
	if f.Barcode != "" {
		drawnOn, specimen = f.DrawnOn, newID()
	}
	organs := f.Organs
	if organs == nil {
		organs = []string{}
	}
	return []any{
		person, document, string(f.Region), name, phone, profile, likeness[:], string(f.DocumentKind), number, numberIndex[:], r.keys.Lookups("document", documentKey), version,
		f.BirthDate, string(f.Sex), orNull(string(f.ABO)), orNull(string(f.Rh)), orNull(f.Ethnicity), zeroNull(f.HeightCM), zeroNull(f.WeightKG),
		programmes, wordings, registrations, string(f.Intent), organs, f.SignedOn, f.OnPaper, f.ScanRef, coolingOff, orNull(f.Barcode), specimen, drawnOn, zeroNull(f.Tubes), floatNull(f.Millilitres),
	}, nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func zeroNull(n int) any {
	if n == 0 {
		return nil
	}
	return int16(n)
}

func floatNull(f float64) any {
	if f == 0 {
		return nil
	}
	return float32(f)
}

// batchScope is what the statements below need to know of a batch.
type batchScope struct {
	ID           uuid.UUID
	Number       string
	Drive        *uuid.UUID
	Region       identity.Region
	Organisation uuid.UUID
	Office       identity.Region // of the organisation: people registered outside it are registered elsewhere
	Kind         string
	Mode         string
	AcceptAll    bool // rows with warnings need no tick
}

func (b batchScope) channel() string {
	switch b.Kind {
	case "xlsx", "csv":
		return "sheet"
	default:
		return b.Kind
	}
}

// meet holds staged rows against the register: who is registered already, here or elsewhere, which barcodes are taken,
// who may be somebody the register knows under another document. Rows from..to of the batch; each found row gets its
// note, and its cells are sealed anew for the person they turn out to belong to.
//
// The look-up crosses the borders of what the office may see, because a person is registered once in the country. It
// tells the office no more than that.
func (a *act) meet(ctx context.Context, b batchScope, from, to int) error {
	lo, hi := b.Office.Range()
	var batch pgx.Batch
	batch.Queue(`
		UPDATE batch_rows r SET known = true, staged_for = r.person_id, person_id = p.id, verdict = 'known',
			problems = r.problems || jsonb_build_array(jsonb_build_object('field', 'document_number', 'code', CASE
				WHEN EXISTS (SELECT FROM deferrals d WHERE d.person_id = p.id AND d.programme = ANY(r.programmes) AND d.lifted_at IS NULL AND (d.until_day IS NULL OR d.until_day >= $6)) THEN 'N305'
				WHEN EXISTS (SELECT FROM registrations g WHERE g.person_id = p.id AND g.programme = ANY(r.programmes) AND g.status = 'withdrawn' AND g.withdrawn_at::date >= r.signed_on) THEN 'N306'
				WHEN NOT EXISTS (SELECT FROM registrations g WHERE g.person_id = p.id AND g.region >= $4 AND g.region < $5) THEN 'N303'
				ELSE 'N301' END))
		FROM person_documents d JOIN persons p ON p.id = d.person_id
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.verdict IN ('ready', 'warning') AND d.number_index = ANY(r.number_lookups)`,
		b.ID, from, to, lo, hi, a.today())
	batch.Queue(`
		UPDATE batch_rows r SET verdict = 'error', problems = r.problems || '[{"field": "barcode", "code": "R109"}]'
		FROM specimens s WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.verdict IN ('ready', 'warning', 'known') AND s.barcode = r.barcode`, b.ID, from, to)
	batch.Queue(`
		UPDATE batch_rows r SET verdict = 'warning', problems = r.problems || '[{"field": "name", "code": "N304"}]'
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.verdict IN ('ready', 'warning') AND NOT r.problems @> '[{"code": "N304"}]'
			AND EXISTS (SELECT FROM persons p WHERE p.likeness_index = r.likeness_index)`, b.ID, from, to)
	results := a.SendBatch(ctx, &batch)
	known, err := results.Exec()
	if closed := results.Close(); err == nil {
		err = closed
	}
	if err != nil || known.RowsAffected() == 0 {
		return err
	}
	return a.reseal(ctx, b.ID, from, to)
}

// reseal moves the sealed cells of known rows to the person they belong to: a cell opens only in its own place.
func (a *act) reseal(ctx context.Context, batch uuid.UUID, from, to int) error {
	rows, err := a.Query(ctx, `
		SELECT row_no, person_id, staged_for, name_sealed, phone_sealed, profile_sealed FROM batch_rows
		WHERE batch_id = $1 AND row_no BETWEEN $2 AND $3 AND staged_for IS NOT NULL`, batch, from, to)
	if err != nil {
		return err
	}
	type moving struct {
		No                   int
		Person, From         uuid.UUID
		Name, Phone, Profile []byte
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[moving])
	if err != nil {
		return err
	}
	var b pgx.Batch
	for _, m := range found {
		for _, c := range []struct {
			column string
			sealed *[]byte
		}{{"name", &m.Name}, {"phone", &m.Phone}, {"profile", &m.Profile}} {
			plain, err := a.keys.OpenBytes(cell("persons", c.column, m.From), *c.sealed)
			if err != nil {
				return err
			}
			if plain == nil {
				continue
			}
			if *c.sealed, err = a.keys.SealBytes(cell("persons", c.column, m.Person), plain); err != nil {
				return err
			}
		}
		b.Queue(`UPDATE batch_rows SET staged_for = NULL, name_sealed = $3, phone_sealed = $4, profile_sealed = $5 WHERE batch_id = $1 AND row_no = $2`, batch, m.No, m.Name, m.Phone, m.Profile)
	}
	return a.SendBatch(ctx, &b).Close()
}

// What a commit does with a row, by its verdict, its ticks and the notes that meet left. Rows that are parked, skipped
// or failed stay in the batch with their reasons.
const outcomeOf = `CASE
	WHEN r.verdict IN ('error', 'duplicate') THEN 'failed'
	WHEN r.problems @> '[{"code": "N304"}]' AND NOT r.ticked THEN 'parked'
	WHEN r.verdict = 'warning' AND NOT r.ticked AND NOT $4 THEN 'skipped'
	WHEN r.verdict IN ('ready', 'warning') THEN 'created'
	WHEN r.problems @> '[{"code": "N303"}]' OR r.problems @> '[{"code": "N305"}]' OR r.problems @> '[{"code": "N306"}]' THEN 'skipped'
	WHEN r.known_action = 'skip' THEN 'unchanged'
	ELSE 'updated' END`

// commitRows takes the rows from..to of a batch into the register, and returns how many had each outcome. The rows are
// met with the register again, because others may have been committed since they were checked.
func (a *act) commitRows(ctx context.Context, b batchScope, from, to int) (map[string]int, error) {
	if err := a.meet(ctx, b, from, to); err != nil {
		return nil, err
	}
	year := a.now().In(Zone).Format("06")
	var fresh int
	var programmes int64
	err := a.QueryRow(ctx, `
		WITH decided AS (
			UPDATE batch_rows r SET outcome = `+outcomeOf+`
			WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome = '' RETURNING r.outcome, r.programmes)
		SELECT count(*) FILTER (WHERE outcome = 'created'), coalesce(sum(cardinality(programmes)) FILTER (WHERE outcome IN ('created', 'updated')), 0) FROM decided`,
		b.ID, from, to, b.AcceptAll).Scan(&fresh, &programmes)
	if err != nil {
		return nil, err
	}
	var serial int64
	if programmes > 0 {
		if err := a.QueryRow(ctx, `SELECT next_number($1, $2)`, "registration-"+string(b.Region)[:2]+year, programmes).Scan(&serial); err != nil {
			return nil, err
		}
	}
	channel := b.channel()
	actor := a.actor.subject
	var batch pgx.Batch
	batch.Queue(`
		INSERT INTO persons (id, region, name_sealed, phone_sealed, profile_sealed, likeness_index, index_version, birth_date, sex, abo, rh, ethnicity, height_cm, weight_kg, last_contact)
		SELECT person_id, region, name_sealed, phone_sealed, profile_sealed, likeness_index, index_version, birth_date, sex, abo, rh, ethnicity, height_cm, weight_kg, signed_on
		FROM batch_rows r WHERE batch_id = $1 AND row_no BETWEEN $2 AND $3 AND outcome = 'created'`, b.ID, from, to)
	batch.Queue(`
		INSERT INTO person_documents (id, person_id, kind, number_sealed, number_index, index_version)
		SELECT document_id, person_id, document_kind, number_sealed, number_index, index_version
		FROM batch_rows WHERE batch_id = $1 AND row_no BETWEEN $2 AND $3 AND outcome = 'created'`, b.ID, from, to)
	// Only what is blank is filled: a form never overwrites what the register knows.
	batch.Queue(`
		WITH filling AS (
			SELECT r.row_no, p.id, array_remove(ARRAY[
				CASE WHEN p.abo IS NULL AND r.abo IS NOT NULL THEN 'abo' END, CASE WHEN p.rh IS NULL AND r.rh IS NOT NULL THEN 'rh' END,
				CASE WHEN p.ethnicity IS NULL AND r.ethnicity IS NOT NULL THEN 'ethnicity' END, CASE WHEN p.phone_sealed IS NULL AND r.phone_sealed IS NOT NULL THEN 'phone_sealed' END,
				CASE WHEN p.profile_sealed IS NULL AND r.profile_sealed IS NOT NULL THEN 'profile_sealed' END,
				CASE WHEN p.height_cm IS NULL AND r.height_cm IS NOT NULL THEN 'height_cm' END, CASE WHEN p.weight_kg IS NULL AND r.weight_kg IS NOT NULL THEN 'weight_kg' END], NULL) AS columns
			FROM batch_rows r JOIN persons p ON p.id = r.person_id
			WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome = 'updated' AND r.filled IS NULL),
		noted AS (UPDATE batch_rows r SET filled = f.columns FROM filling f WHERE r.batch_id = $1 AND r.row_no = f.row_no)
		UPDATE persons p SET abo = coalesce(p.abo, r.abo), rh = coalesce(p.rh, r.rh), ethnicity = coalesce(p.ethnicity, r.ethnicity), phone_sealed = coalesce(p.phone_sealed, r.phone_sealed),
			profile_sealed = coalesce(p.profile_sealed, r.profile_sealed), height_cm = coalesce(p.height_cm, r.height_cm), weight_kg = coalesce(p.weight_kg, r.weight_kg),
			version = p.version + 1, updated_at = now()
		FROM filling f JOIN batch_rows r ON r.batch_id = $1 AND r.row_no = f.row_no WHERE p.id = f.id AND cardinality(f.columns) > 0`, b.ID, from, to)
	// A known person's registrations are those they do not have yet.
	batch.Queue(`
		WITH wanted AS (
			SELECT r.row_no, r.person_id, r.known, r.intent, r.choices, r.signed_on, r.cooling_off_until, r.barcode, w.programme, w.id, w.place
			FROM batch_rows r, unnest(r.programmes, r.registration_ids) WITH ORDINALITY w(programme, id, place)
			WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome IN ('created', 'updated')
				AND (NOT r.known OR NOT EXISTS (SELECT FROM registrations g WHERE g.person_id = r.person_id AND g.programme = w.programme AND g.status NOT IN ('withdrawn', 'left', 'undone'))))
		INSERT INTO registrations (id, number, person_id, programme, intent, choices, status, region, organisation_id, channel, drive_id, batch_id, registered_on, cooling_off_until)
		SELECT id, registration_number($4, $5, $6 - 1 + row_number() OVER (ORDER BY row_no, place)), person_id, programme, intent, CASE WHEN programme = 'organ' THEN choices ELSE '{}' END,
			CASE WHEN programme = 'stemcell' THEN 'enrolling' ELSE 'registered' END, $4, $7, $8, $9, $1, signed_on, CASE WHEN programme = 'stemcell' THEN cooling_off_until END
		FROM wanted`, b.ID, from, to, string(b.Region), a.now().In(Zone), serial, b.Organisation, channel, b.Drive)
	batch.Queue(`
		INSERT INTO consents (id, person_id, registration_id, kind, text_version, text_sha256, signed_on, on_paper, scan_ref)
		SELECT uuid_v7(), g.person_id, g.id, t.kind, t.version, t.sha256, r.signed_on, r.on_paper, r.scan_ref
		FROM batch_rows r, unnest(r.registration_ids, r.consent_texts) w(id, wording) JOIN registrations g ON g.id = w.id JOIN consent_texts t ON t.version = w.wording
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome IN ('created', 'updated')`, b.ID, from, to)
	// The sample goes to the stem-cell registration, the new one or the one a known donor has.
	batch.Queue(`
		INSERT INTO specimens (id, barcode, kind, person_id, registration_id, drive_id, drawn_on, tubes, millilitres, status, holder_id)
		SELECT r.specimen_id, r.barcode, 'enrolment', g.person_id, g.id, $4, r.drawn_on, coalesce(r.tubes, 1), r.millilitres, 'drawn', $5
		FROM batch_rows r JOIN registrations g ON g.person_id = r.person_id AND g.programme = 'stemcell' AND g.status NOT IN ('withdrawn', 'left', 'undone')
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome IN ('created', 'updated') AND r.barcode IS NOT NULL`, b.ID, from, to, b.Drive, b.Organisation)
	batch.Queue(`
		INSERT INTO cases (id, number, protocol, subject_id, region, organisation_id, status, step, state, opened_at)
		SELECT g.id, 'EN-' || g.number, 'enrolment', g.id, g.region, g.organisation_id, 'open', 'enrolment.cooling_off', '{}', $4
		FROM batch_rows r, unnest(r.registration_ids) w(id) JOIN registrations g ON g.id = w.id
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome IN ('created', 'updated') AND g.programme = 'stemcell'`, b.ID, from, to, a.at)
	batch.Queue(`
		INSERT INTO events (id, at, code, case_id, registration_id, actor, args)
		SELECT uuid_v7(), $4, 'registration.' || g.intent, CASE WHEN g.programme = 'stemcell' THEN g.id END, CASE WHEN g.programme <> 'stemcell' THEN g.id END, $5, jsonb_build_object('Programme', g.programme, 'On', g.registered_on)
		FROM batch_rows r, unnest(r.registration_ids) w(id) JOIN registrations g ON g.id = w.id
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome IN ('created', 'updated')`, b.ID, from, to, a.at, actor)
	results := a.SendBatch(ctx, &batch)
	for range batch.Len() {
		if _, err := results.Exec(); err != nil {
			_ = results.Close()
			return nil, err
		}
	}
	if err := results.Close(); err != nil {
		return nil, err
	}
	if err := a.tellElsewhere(ctx, b, from, to); err != nil {
		return nil, err
	}
	return a.concludeRows(ctx, b, from, to)
}

// concludeRows says the final outcome of each row, empties the staged cells of those that are in the register now, and
// starts the enrolments.
func (a *act) concludeRows(ctx context.Context, b batchScope, from, to int) (map[string]int, error) {
	_, err := a.Exec(ctx, `
		UPDATE batch_rows r SET
			outcome = CASE WHEN r.outcome <> 'updated' THEN r.outcome WHEN r.barcode IS NOT NULL AND n.number IS NULL THEN 'linked'
				WHEN cardinality(r.filled) > 0 OR n.number IS NOT NULL THEN 'updated' ELSE 'unchanged' END,
			problems = CASE WHEN r.outcome = 'updated' AND cardinality(r.filled) > 0 THEN r.problems || '[{"field": "", "code": "N302"}]' ELSE r.problems END,
			donor_number = coalesce(n.number, (SELECT min(g.number) FROM registrations g WHERE r.known AND g.person_id = r.person_id AND g.region >= $4 AND g.region <= $4)),
			raw_sealed = NULL, name_sealed = NULL, phone_sealed = NULL, profile_sealed = NULL, number_sealed = NULL, number_index = NULL, number_lookups = NULL, likeness_index = NULL
		FROM batch_rows s LEFT JOIN LATERAL (SELECT min(g.number) AS number FROM registrations g WHERE g.id = ANY(s.registration_ids)) n ON true
		WHERE s.batch_id = $1 AND s.row_no BETWEEN $2 AND $3 AND s.outcome IN ('created', 'updated', 'unchanged') AND r.batch_id = s.batch_id AND r.row_no = s.row_no`,
		b.ID, from, to, string(b.Region))
	if err != nil {
		return nil, err
	}
	rows, err := a.Query(ctx, `SELECT outcome, count(*) FROM batch_rows WHERE batch_id = $1 AND row_no BETWEEN $2 AND $3 GROUP BY outcome`, b.ID, from, to)
	if err != nil {
		return nil, err
	}
	outcomes := map[string]int{}
	var outcome string
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&outcome, &n}, func() error {
		outcomes[outcome] = n
		return nil
	}); err != nil {
		return nil, err
	}
	rows, err = a.Query(ctx, `
		SELECT g.id FROM batch_rows r, unnest(r.registration_ids) w(id) JOIN registrations g ON g.id = w.id
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND g.programme = 'stemcell'
		UNION SELECT s.registration_id FROM batch_rows r JOIN specimens s ON s.id = r.specimen_id WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3`, b.ID, from, to)
	if err != nil {
		return nil, err
	}
	enrolments, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, err
	}
	for chunk := range slices.Chunk(enrolments, 200) {
		a.hear(string(EnrolmentProtocol), "registered", chunk...)
	}
	return outcomes, nil
}

// tellElsewhere lets the office that a person is registered with know that another office took a form of theirs: the
// claim that the form's office cannot settle alone.
func (a *act) tellElsewhere(ctx context.Context, b batchScope, from, to int) error {
	rows, err := a.Query(ctx, `
		SELECT r.row_no, g.organisation_id, g.region FROM batch_rows r JOIN LATERAL (
			SELECT organisation_id, region FROM registrations WHERE person_id = r.person_id ORDER BY id LIMIT 1) g ON true
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.known AND r.problems @> '[{"code": "N303"}]'`, b.ID, from, to)
	if err != nil {
		return err
	}
	var no int
	var organisation uuid.UUID
	var region identity.Region
	_, err = pgx.ForEachRow(rows, []any{&no, &organisation, &region}, func() error {
		a.tell(notice{code: "registration.claimed", args: map[string]any{"Batch": b.Number, "Row": no}, organisation: organisation, region: region,
			dedupe: fmt.Sprintf("claim/%s/%d", b.ID, no)})
		return nil
	})
	return err
}

// undoRows takes the rows from..to of a committed batch out of the register again, as if they had never come. The caller
// has made sure that none of them has moved on.
func (a *act) undoRows(ctx context.Context, batch uuid.UUID, from, to int) error {
	var b pgx.Batch
	const rows = `FROM batch_rows r WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome IN ('created', 'updated', 'linked')`
	for _, statement := range []string{
		`DELETE FROM events WHERE case_id IN (SELECT unnest(r.registration_ids) ` + rows + `) OR registration_id IN (SELECT unnest(r.registration_ids) ` + rows + `)`,
		`DELETE FROM cases WHERE id IN (SELECT unnest(r.registration_ids) ` + rows + `)`,
		`DELETE FROM specimens WHERE id IN (SELECT r.specimen_id ` + rows + `)`,
		`DELETE FROM consents WHERE registration_id IN (SELECT unnest(r.registration_ids) ` + rows + `)`,
		`DELETE FROM registrations WHERE id IN (SELECT unnest(r.registration_ids) ` + rows + `)`,
		`UPDATE persons p SET version = p.version + 1, updated_at = now(),
			abo = CASE WHEN 'abo' = ANY(r.filled) THEN NULL ELSE p.abo END, rh = CASE WHEN 'rh' = ANY(r.filled) THEN NULL ELSE p.rh END,
			ethnicity = CASE WHEN 'ethnicity' = ANY(r.filled) THEN NULL ELSE p.ethnicity END, phone_sealed = CASE WHEN 'phone_sealed' = ANY(r.filled) THEN NULL ELSE p.phone_sealed END,
			profile_sealed = CASE WHEN 'profile_sealed' = ANY(r.filled) THEN NULL ELSE p.profile_sealed END,
			height_cm = CASE WHEN 'height_cm' = ANY(r.filled) THEN NULL ELSE p.height_cm END, weight_kg = CASE WHEN 'weight_kg' = ANY(r.filled) THEN NULL ELSE p.weight_kg END
			` + rows + ` AND r.known AND p.id = r.person_id AND cardinality(r.filled) > 0`,
		`DELETE FROM person_documents WHERE id IN (SELECT r.document_id ` + rows + ` AND NOT r.known)`,
		`DELETE FROM persons WHERE id IN (SELECT r.person_id ` + rows + ` AND NOT r.known)`,
	} {
		b.Queue(statement, batch, from, to)
	}
	return a.SendBatch(ctx, &b).Close()
}

// movedOn counts the rows of a batch that can no longer be undone, because something of theirs has left, was typed, was
// withdrawn or was added to.
func (a *act) movedOn(ctx context.Context, batch uuid.UUID, from, to int) (int, error) {
	var n int
	err := a.QueryRow(ctx, `
		SELECT count(*) FROM batch_rows r WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome IN ('created', 'updated', 'linked') AND (
			EXISTS (SELECT FROM specimens s WHERE s.id = r.specimen_id AND s.status <> 'drawn')
			OR EXISTS (SELECT FROM registrations g WHERE g.id = ANY(r.registration_ids) AND (g.status NOT IN ('enrolling', 'registered') OR g.version > 1))
			OR EXISTS (SELECT FROM specimens s WHERE s.registration_id = ANY(r.registration_ids) AND s.id IS DISTINCT FROM r.specimen_id)
			OR (NOT r.known AND EXISTS (SELECT FROM registrations g WHERE g.person_id = r.person_id AND NOT g.id = ANY(r.registration_ids)))
			OR (NOT r.known AND EXISTS (SELECT FROM persons p WHERE p.id = r.person_id AND p.version > 1)))`, batch, from, to).Scan(&n)
	return n, err
}

// undoUntil is the last instant at which a batch may be undone.
func (a *act) undoUntil(region identity.Region, committed time.Time) time.Time {
	return committed.Add(time.Duration(a.rules(region).Count(rules.IntakeUndo)) * time.Hour)
}
