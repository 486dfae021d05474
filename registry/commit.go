package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Rows of forms go into the register in two movements, so that the second is nothing but SQL over whole chunks. Staging
// seals a reviewed form into staged_forms, with the ids under which it will be stored in batch_rows: nothing of the register
// changes. Committing copies rows from there into the tables of people, registrations, consents, samples and cases, and
// removes their staged forms. The single form and the sheet of twenty thousand take the same way.

// stagedRow is a judged row, ready to be staged.
type stagedRow struct {
	no       int
	key      []byte // what makes it the same row again
	verdict  string
	problems forms.Problems
	raw      keptRow
	form     *forms.Registration // nil when too little could be read
}

// The columns that staging fills, of the two tables. What batch_rows has of a form comes first in neither.
var (
	rowColumns = []string{
		"batch_id", "row_no", "row_key", "verdict", "problems", "person_id", "document_id", "programmes", "registration_ids", "specimen_id", "number_lookups", "likeness_lookups", "barcode", "signed_on",
	}
	formColumns = []string{
		"batch_id", "row_no", "raw_sealed", "region", "key_wrapped", "name_sealed", "phone_sealed", "profile_sealed", "document_kind", "number_sealed", "number_index", "tail_index", "phone_index", "index_version", "birth_date", "sex",
		"abo", "rh", "ethnicity", "height_cm", "weight_kg", "consent_texts", "intent", "choices", "on_paper", "scan_ref", "cooling_off_until", "drawn_on", "tubes", "millilitres",
	}
)

// stage seals one row into its values for batch_rows and for staged_forms. A row that cannot enter the register, because
// a problem blocks it, keeps only what was read.
func (r *Reader) stage(batch uuid.UUID, row stagedRow) (line, form []any, err error) {
	line, form = make([]any, len(rowColumns)), make([]any, len(formColumns))
	problems, err := json.Marshal(append(forms.Problems{}, row.problems...))
	if err != nil {
		return nil, nil, err
	}
	cells, err := json.Marshal(row.raw)
	if err != nil {
		return nil, nil, err
	}
	raw, err := r.keys.SealBytes(rowCell(batch, row.no), cells)
	if err != nil {
		return nil, nil, err
	}
	// Keyed, because a plain digest would let a guess at a form be tested.
	rowKey := r.keys.MAC("row", string(row.key))
	copy(line, []any{batch, row.no, rowKey[:], row.verdict, problems})
	copy(form, []any{batch, row.no, raw})
	if row.form == nil || len(row.problems.Blocking()) > 0 {
		return line, form, nil
	}
	f := row.form
	person, document := newID(), newID()
	var programmes []string
	var registrations []uuid.UUID
	for _, p := range f.Programmes {
		programmes, registrations = append(programmes, string(p)), append(registrations, newID())
	}
	var specimen any
	if f.Barcode != "" {
		specimen = newID()
	}
	values, err := r.sealForm(f, person, document)
	if err != nil {
		return nil, nil, err
	}
	numbers := r.keys.Lookups("document", documentKey(f.DocumentKind, f.DocumentNumber))
	likenesses := r.keys.Lookups("likeness", likenessKey(f.Name, f.BirthDate, f.Phone))
	copy(line[5:], []any{person, document, programmes, registrations, specimen, numbers, likenesses, orNull(f.Barcode), f.SignedOn})
	copy(form[3:], values)
	return line, form, nil
}

// staging is a chunk of rows on its way into the two tables.
type staging struct{ lines, forms [][]any }

func (s *staging) add(r *Reader, batch uuid.UUID, row stagedRow) error {
	line, form, err := r.stage(batch, row)
	s.lines, s.forms = append(s.lines, line), append(s.forms, form)
	return err
}

func (a *act) copyStaged(ctx context.Context, s staging) error {
	if _, err := a.CopyFrom(ctx, pgx.Identifier{"batch_rows"}, rowColumns, pgx.CopyFromRows(s.lines)); err != nil {
		return err
	}
	_, err := a.CopyFrom(ctx, pgx.Identifier{"staged_forms"}, formColumns, pgx.CopyFromRows(s.forms))
	return err
}

// rowCell is the place of a row's raw cells: the batch, with the number of the row in the column's name.
func rowCell(batch uuid.UUID, no int) seal.Cell {
	return cell("batch_rows", fmt.Sprintf("raw/%d", no), batch)
}

// sealForm gives a form's columns from region on, sealed for the person and the document it would make.
func (r *Reader) sealForm(f *forms.Registration, person, document uuid.UUID) ([]any, error) {
	key, wrapped, err := r.keys.NewKey(keyCell(person))
	if err != nil {
		return nil, err
	}
	name, err := key.Seal(cell("persons", "name", person), f.Name.Reveal())
	if err != nil {
		return nil, err
	}
	phone, err := key.Seal(cell("persons", "phone", person), f.Phone.Reveal())
	if err != nil {
		return nil, err
	}
	details, err := profileOf(f)
	if err != nil {
		return nil, err
	}
	var profile []byte
	if details != nil {
		if profile, err = key.SealBytes(cell("persons", "profile", person), details); err != nil {
			return nil, err
		}
	}
	number, err := key.Seal(cell("person_documents", "number", document), f.DocumentNumber.Reveal())
	if err != nil {
		return nil, err
	}
	numberIndex, version := r.keys.Index("document", documentKey(f.DocumentKind, f.DocumentNumber))
	tailIndex, phoneIndex := r.indexOf("tail", tailKey(f.DocumentNumber, f.BirthDate)), r.indexOf("phone", phoneKey(f.Phone, f.BirthDate))

	var wordings []string
	for _, p := range f.Programmes {
		wording, _ := f.Wording(p) // Review has found it
		wordings = append(wordings, wording.Version)
	}
	var coolingOff, drawnOn any
	if slices.Contains(f.Programmes, rules.StemCell) {
		coolingOff = r.book.For(f.Region, f.SignedOn).Span(rules.StemCellCoolingOff).On(f.SignedOn, nil)
	}
	if f.Barcode != "" {
		drawnOn = f.DrawnOn
	}
	organs := f.Organs
	if organs == nil {
		organs = []string{}
	}
	return []any{
		string(f.Region), wrapped, name, phone, profile, string(f.DocumentKind), number, numberIndex[:], tailIndex, phoneIndex, version, f.BirthDate, string(f.Sex), orNull(string(f.ABO)), orNull(string(f.Rh)),
		orNull(f.Ethnicity), zeroNull(f.HeightCM), zeroNull(f.WeightKG), wordings, string(f.Intent), organs, f.OnPaper, f.ScanRef, coolingOff, drawnOn, zeroNull(f.Tubes), floatNull(f.Millilitres),
	}, nil
}

// documentKey is what an identity document's blind index is made of.
func documentKey(kind identity.DocumentKind, number seal.Number) string {
	return string(kind) + "\x00" + number.Reveal()
}

// likenessKey is what the blind index of a likeness is made of.
func likenessKey(name seal.Name, birth calendar.Date, phone seal.Phone) string {
	return name.Reveal() + "\x00" + birth.String() + "\x00" + phone.Reveal()
}

// tailKey is what is made of the end of a document's number, which a mask shows, and the birth date: with both, somebody is found who has
// the document at hand and not its whole number. It is empty where there is too little.
func tailKey(number seal.Number, birth calendar.Date) string {
	text := []rune(number.Reveal())
	if len(text) < 4 || birth.IsZero() {
		return ""
	}
	return strings.ToUpper(string(text[len(text)-4:])) + "\x00" + birth.String()
}

// phoneKey is what is made of a phone and a birth date: the same person under another spelling of the name.
func phoneKey(phone seal.Phone, birth calendar.Date) string {
	if phone.Empty() || birth.IsZero() {
		return ""
	}
	return phone.Reveal() + "\x00" + birth.String()
}

// indexOf is the newest digest of what somebody is found by, nothing where there is nothing to find them by. Its version is that of the
// row's other index.
func (r *Reader) indexOf(column, value string) []byte {
	if value == "" {
		return nil
	}
	digest, _ := r.keys.Index(column, value)
	return digest[:]
}

// lookupsOf are its digests under every key.
func (r *Reader) lookupsOf(column, value string) [][]byte {
	if value == "" {
		return [][]byte{}
	}
	return r.keys.Lookups(column, value)
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
	// Somebody whose own batch was undone since is not known any more: the row brings them anew, under the id they had.
	batch.Queue(`
		UPDATE batch_rows r SET known = false, verdict = CASE WHEN own.problems @@ '$[*].code starts with "W"' THEN 'warning' ELSE 'ready' END, problems = own.problems
		FROM (SELECT row_no, (SELECT coalesce(jsonb_agg(p), '[]') FROM jsonb_array_elements(problems) p WHERE p->>'code' NOT IN ('N301', 'N303', 'N305', 'N306')) AS problems
			FROM batch_rows WHERE batch_id = $1 AND row_no BETWEEN $2 AND $3 AND verdict = 'known' AND outcome = '') own
		WHERE r.batch_id = $1 AND r.row_no = own.row_no AND NOT EXISTS (SELECT FROM persons p WHERE p.id = r.person_id)`, b.ID, from, to)
	batch.Queue(`
		WITH found AS (
			UPDATE batch_rows r SET known = true, person_id = d.person_id, verdict = 'known',
				problems = r.problems || jsonb_build_array(jsonb_build_object('field', 'document_number', 'code', CASE
					WHEN EXISTS (SELECT FROM deferrals f WHERE f.person_id = d.person_id AND f.programme = ANY(r.programmes) AND f.lifted_at IS NULL AND (f.until_day IS NULL OR f.until_day >= $6)) THEN 'N305'
					WHEN EXISTS (SELECT FROM registrations g WHERE g.person_id = d.person_id AND g.programme = ANY(r.programmes) AND g.status = 'withdrawn' AND g.withdrawn_at::date >= r.signed_on) THEN 'N306'
					WHEN NOT EXISTS (SELECT FROM registrations g WHERE g.person_id = d.person_id AND g.region >= $4 AND g.region < $5) THEN 'N303'
					ELSE 'N301' END))
			FROM person_documents d
			WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.verdict IN ('ready', 'warning') AND r.outcome = '' AND d.number_index = ANY(r.number_lookups)
			RETURNING r.row_no),
		before AS (SELECT row_no, person_id FROM batch_rows WHERE batch_id = $1 AND row_no BETWEEN $2 AND $3)
		UPDATE staged_forms s SET sealed_for = b.person_id FROM found f JOIN before b USING (row_no) WHERE s.batch_id = $1 AND s.row_no = f.row_no`,
		b.ID, from, to, lo, hi, a.today())
	// One person may come twice in a sheet, under two documents that the register knows.
	batch.Queue(`
		UPDATE batch_rows r SET verdict = 'duplicate', problems = r.problems || jsonb_build_array(jsonb_build_object('field', 'document_number', 'code', 'R110', 'args', jsonb_build_object('Row', first.row_no)))
		FROM (SELECT person_id, min(row_no) AS row_no FROM batch_rows WHERE batch_id = $1 AND known AND verdict <> 'duplicate' GROUP BY person_id HAVING count(*) > 1) first
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.verdict = 'known' AND r.outcome = '' AND r.person_id = first.person_id AND r.row_no > first.row_no`, b.ID, from, to)
	batch.Queue(`
		UPDATE batch_rows r SET verdict = 'error', problems = r.problems || '[{"field": "barcode", "code": "R109"}]'
		FROM specimens s WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.verdict IN ('ready', 'warning', 'known') AND r.outcome = '' AND s.barcode = r.barcode`, b.ID, from, to)
	// Two forms of one batch that are alike are not held against each other here: whether they meet must not depend on
	// where a chunk ends. Nor is a form held against the very person, whom another batch may have brought a moment ago.
	batch.Queue(`
		UPDATE batch_rows r SET verdict = 'warning', problems = r.problems || '[{"field": "name", "code": "N304"}]'
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.verdict IN ('ready', 'warning') AND r.outcome = '' AND NOT r.problems @> '[{"code": "N304"}]'
			AND EXISTS (SELECT FROM persons p WHERE p.likeness_index = ANY(r.likeness_lookups) AND NOT EXISTS (SELECT FROM registrations g WHERE g.person_id = p.id AND g.batch_id = $1)
				AND NOT EXISTS (SELECT FROM person_documents d WHERE d.person_id = p.id AND d.number_index = ANY(r.number_lookups)))`, b.ID, from, to)
	results := a.SendBatch(ctx, &batch)
	_, err := results.Exec()
	known, knownErr := results.Exec()
	err = errors.Join(err, knownErr)
	if closed := results.Close(); err == nil {
		err = closed
	}
	if err != nil || known.RowsAffected() == 0 {
		return err
	}
	return a.reseal(ctx, b.ID, from, to)
}

// reseal moves the sealed cells of known rows to the person they belong to: a cell opens only in its own place, with its
// person's key. The row gets that key too: should the person's own batch be undone, the row brings them anew.
func (a *act) reseal(ctx context.Context, batch uuid.UUID, from, to int) error {
	rows, err := a.Query(ctx, `
		SELECT row_no, r.person_id, s.sealed_for, r.document_id, s.key_wrapped, p.key_wrapped, s.name_sealed, s.phone_sealed, s.profile_sealed, s.number_sealed
		FROM staged_forms s JOIN batch_rows r USING (batch_id, row_no) JOIN persons p ON p.id = r.person_id
		WHERE batch_id = $1 AND row_no BETWEEN $2 AND $3 AND s.sealed_for IS NOT NULL`, batch, from, to)
	if err != nil {
		return err
	}
	type moving struct {
		No                           int
		Person, From, Document       uuid.UUID
		FromKey, Key                 []byte
		Name, Phone, Profile, Number []byte
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[moving])
	if err != nil {
		return err
	}
	var b pgx.Batch
	for _, m := range found {
		from, err := a.keys.Unwrap(keyCell(m.From), m.FromKey)
		if err != nil {
			return err
		}
		to, err := a.keys.Unwrap(keyCell(m.Person), m.Key)
		if err != nil {
			return err
		}
		for _, c := range []struct {
			from, to seal.Cell
			sealed   *[]byte
		}{
			{cell("persons", "name", m.From), cell("persons", "name", m.Person), &m.Name},
			{cell("persons", "phone", m.From), cell("persons", "phone", m.Person), &m.Phone},
			{cell("persons", "profile", m.From), cell("persons", "profile", m.Person), &m.Profile},
			{cell("person_documents", "number", m.Document), cell("person_documents", "number", m.Document), &m.Number},
		} {
			opened, err := from.OpenBytes(c.from, *c.sealed)
			if err != nil {
				return err
			}
			if opened == nil {
				continue
			}
			if *c.sealed, err = to.SealBytes(c.to, opened); err != nil {
				return err
			}
		}
		b.Queue(`UPDATE staged_forms SET sealed_for = NULL, key_wrapped = $3, name_sealed = $4, phone_sealed = $5, profile_sealed = $6, number_sealed = $7 WHERE batch_id = $1 AND row_no = $2`,
			batch, m.No, m.Key, m.Name, m.Phone, m.Profile, m.Number)
	}
	return a.SendBatch(ctx, &b).Close()
}

// What a commit does with a row, by its verdict, its ticks and the notes that meet left. Rows that are parked, skipped
// or failed stay in the batch with their reasons.
const fateOf = `CASE
	WHEN verdict IN ('error', 'duplicate') THEN 'failed'
	WHEN problems @> '[{"code": "N304"}]' AND NOT ticked THEN 'parked'
	WHEN verdict = 'warning' AND NOT ticked AND NOT $4 THEN 'skipped'
	WHEN verdict IN ('ready', 'warning') THEN 'created'
	WHEN problems @> '[{"code": "N303"}]' OR problems @> '[{"code": "N305"}]' OR problems @> '[{"code": "N306"}]' THEN 'skipped'
	WHEN known_action = 'skip' THEN 'unchanged'
	ELSE 'updated' END`

// commitRows takes the rows of a lane into the register, and returns how many had each outcome. The rows are met with the
// register again, because others may have been committed since they were checked. Rows that have an outcome already, or
// get one from somebody else meanwhile, are left as they are, and not counted.
//
// It is one statement, so that every row is read once and written once in each table. It is planned anew for each lane:
// a plan that is to fit every batch takes a lane for a handful of rows.
func (a *act) commitRows(ctx context.Context, b batchScope, l lane) (map[string]int, error) {
	from, to := l.From, l.To
	if err := a.meet(ctx, b, from, to); err != nil {
		return nil, err
	}
	outcomes := map[string]int{}
	var enrolments []uuid.UUID
	err := a.QueryRow(ctx, `
		WITH decided AS MATERIALIZED (
			SELECT *, sum(cardinality(programmes)) OVER (ORDER BY row_no) AS numbers -- set aside up to this row, whatever becomes of it
			FROM (SELECT *, `+fateOf+` AS fate FROM batch_rows JOIN (SELECT * FROM staged_forms WHERE row_no BETWEEN $2 AND $3) staged USING (batch_id, row_no)
				WHERE batch_id = $1 AND row_no BETWEEN $2 AND $3 AND outcome = '') judged),

		newcomers AS (
			INSERT INTO persons (id, region, key_wrapped, name_sealed, phone_sealed, profile_sealed, likeness_index, phone_index, index_version, birth_date, sex, abo, rh, ethnicity, height_cm, weight_kg, last_contact)
			SELECT person_id, region, key_wrapped, name_sealed, phone_sealed, profile_sealed, likeness_lookups[1], phone_index, index_version, birth_date, sex, abo, rh, ethnicity, height_cm, weight_kg, signed_on
			FROM decided WHERE fate = 'created'),
		identified AS (
			INSERT INTO person_documents (id, person_id, kind, number_sealed, number_index, tail_index, index_version)
			SELECT document_id, person_id, document_kind, number_sealed, number_index, tail_index, index_version FROM decided WHERE fate = 'created'),

		-- Of a known person only what is blank is filled: a form never overwrites what the register knows.
		filling AS MATERIALIZED (
			SELECT d.row_no, p.id, p.version, array_remove(ARRAY[
				CASE WHEN p.abo IS NULL AND d.abo IS NOT NULL THEN 'abo' END, CASE WHEN p.rh IS NULL AND d.rh IS NOT NULL THEN 'rh' END,
				CASE WHEN p.ethnicity IS NULL AND d.ethnicity IS NOT NULL THEN 'ethnicity' END, CASE WHEN p.phone_sealed IS NULL AND d.phone_sealed IS NOT NULL THEN 'phone_sealed' END,
				CASE WHEN p.profile_sealed IS NULL AND d.profile_sealed IS NOT NULL THEN 'profile_sealed' END,
				CASE WHEN p.height_cm IS NULL AND d.height_cm IS NOT NULL THEN 'height_cm' END, CASE WHEN p.weight_kg IS NULL AND d.weight_kg IS NOT NULL THEN 'weight_kg' END], NULL) AS columns
			FROM decided d JOIN persons p ON p.id = d.person_id WHERE d.fate = 'updated'),
		filled AS (
			UPDATE persons p SET abo = coalesce(p.abo, d.abo), rh = coalesce(p.rh, d.rh), ethnicity = coalesce(p.ethnicity, d.ethnicity), phone_sealed = coalesce(p.phone_sealed, d.phone_sealed),
				profile_sealed = coalesce(p.profile_sealed, d.profile_sealed), height_cm = coalesce(p.height_cm, d.height_cm), weight_kg = coalesce(p.weight_kg, d.weight_kg),
				version = p.version + 1, updated_at = now()
			FROM filling f JOIN decided d USING (row_no) WHERE p.id = f.id AND p.version = f.version AND cardinality(f.columns) > 0),

		-- The registrations: all that a newcomer wishes for, and of a known person those they do not have yet.
		wanted AS MATERIALIZED (
			SELECT d.row_no, d.person_id, d.intent, d.choices, d.signed_on, d.on_paper, d.scan_ref, d.cooling_off_until, w.programme, w.id, w.wording,
				registration_number($6, $7, ($5 + d.numbers - cardinality(d.programmes) + w.place - 1)::bigint) AS number
			FROM decided d, unnest(d.programmes, d.registration_ids, d.consent_texts) WITH ORDINALITY w(programme, id, wording, place)
			WHERE d.fate IN ('created', 'updated')
				AND (NOT d.known OR NOT EXISTS (SELECT FROM registrations g WHERE g.person_id = d.person_id AND g.programme = w.programme AND g.status NOT IN ('withdrawn', 'left', 'undone')))),

		-- What a registration begins with: itself, the consent signed for it, its case when a protocol carries it, and the
		-- first line of its timeline. All four have one id, so that nothing is looked up.
		registered AS (
			INSERT INTO registrations (id, number, person_id, programme, intent, choices, status, region, organisation_id, channel, drive_id, batch_id, registered_on, cooling_off_until)
			SELECT id, number, person_id, programme, intent, CASE WHEN programme = 'organ' THEN choices ELSE '{}' END,
				CASE WHEN programme = 'stemcell' THEN 'enrolling' ELSE 'registered' END, $6, $8, $9, $10, $1, signed_on, CASE WHEN programme = 'stemcell' THEN cooling_off_until END
			FROM wanted),
		signed AS (
			INSERT INTO consents (id, person_id, registration_id, kind, text_version, text_sha256, signed_on, on_paper, scan_ref)
			SELECT w.id, w.person_id, w.id, t.kind, t.version, t.sha256, w.signed_on, w.on_paper, w.scan_ref FROM wanted w JOIN consent_texts t ON t.version = w.wording),
		opened AS (
			INSERT INTO cases (id, number, protocol, subject_id, region, organisation_id, status, step, state, opened_at, last_donor)
			SELECT id, 'EN-' || number, 'enrolment', id, $6, $8, 'open', 'enrolment.cooling_off', '{}', $11,
				jsonb_build_object('at', $11::timestamptz, 'recorded_at', now(), 'code', 'registration.' || intent, 'actor', $12::text, 'args', jsonb_build_object('Programme', programme, 'On', signed_on))
			FROM wanted WHERE programme = 'stemcell'),
		told AS (
			INSERT INTO events (id, at, code, case_id, registration_id, actor, args)
			SELECT id, $11, 'registration.' || intent, CASE WHEN programme = 'stemcell' THEN id END, CASE WHEN programme <> 'stemcell' THEN id END, $12, jsonb_build_object('Programme', programme, 'On', signed_on)
			FROM wanted),

		-- The sample goes to the stem-cell registration, the new one or the one a known donor has.
		sampled AS (
			SELECT *, coalesce(CASE WHEN known THEN (
				SELECT g.id FROM registrations g WHERE g.person_id = d.person_id AND g.programme = 'stemcell' AND g.status NOT IN ('withdrawn', 'left', 'undone')) END,
				registration_ids[array_position(programmes, 'stemcell')]) AS registration_id
			FROM decided d WHERE fate IN ('created', 'updated') AND barcode IS NOT NULL),
		drawn AS (
			INSERT INTO specimens (id, barcode, kind, person_id, registration_id, drive_id, drawn_on, tubes, millilitres, status, holder_id, region)
			SELECT specimen_id, barcode, 'enrolment', person_id, registration_id, $10, drawn_on, coalesce(tubes, 1), millilitres, 'drawn', $8, $6 FROM sampled WHERE registration_id IS NOT NULL
			RETURNING registration_id),

		settled AS (
			DELETE FROM staged_forms s USING decided d WHERE s.batch_id = $1 AND s.row_no BETWEEN $2 AND $3 AND s.row_no = d.row_no AND d.fate IN ('created', 'updated', 'unchanged')),
		-- Looked up for known persons only, and never joined: the planner takes what comes from above for a handful of rows.
		found AS MATERIALIZED (
			SELECT row_no, fate, barcode IS NOT NULL AS sampled, fate IN ('created', 'updated', 'unchanged') AS done,
				CASE WHEN fate = 'created' THEN registration_number($6, $7, ($5 + numbers - cardinality(programmes))::bigint)
					WHEN fate = 'updated' THEN (SELECT min(number) FROM wanted w WHERE w.row_no = d.row_no) END AS number,
				CASE WHEN fate IN ('updated', 'unchanged') THEN (SELECT min(g.number) FROM registrations g WHERE g.person_id = d.person_id AND g.region = $6) END AS known_number,
				CASE WHEN fate = 'updated' THEN (SELECT columns FROM filling f WHERE f.row_no = d.row_no) END AS filled
			FROM decided d),
		concluded AS (
			UPDATE batch_rows r SET
				outcome = CASE WHEN f.fate <> 'updated' THEN f.fate WHEN f.sampled AND f.number IS NULL THEN 'linked'
					WHEN cardinality(f.filled) > 0 OR f.number IS NOT NULL THEN 'updated' ELSE 'unchanged' END,
				problems = CASE WHEN cardinality(f.filled) > 0 THEN r.problems || '[{"field": "", "code": "N302"}]' ELSE r.problems END,
				donor_number = coalesce(f.number, f.known_number), filled = f.filled,
				number_lookups = CASE WHEN NOT f.done THEN r.number_lookups END, likeness_lookups = CASE WHEN NOT f.done THEN r.likeness_lookups END
			FROM found f WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.row_no = f.row_no AND r.outcome = ''
			RETURNING r.outcome)

		SELECT coalesce((SELECT jsonb_object_agg(outcome, n) FROM (SELECT outcome, count(*) AS n FROM concluded GROUP BY outcome) counted), '{}'),
			ARRAY(SELECT id FROM wanted WHERE programme = 'stemcell' UNION SELECT registration_id FROM drawn)`,
		pgx.QueryExecModeCacheDescribe, b.ID, from, to, b.AcceptAll, l.Number, string(b.Region), l.On, b.Organisation, b.channel(), b.Drive, a.at, a.actor.subject).
		Scan(&outcomes, &enrolments)
	if err != nil {
		return nil, err
	}
	// The enrolments start when their office hears of them.
	for chunk := range slices.Chunk(enrolments, 200) {
		a.hear(string(EnrolmentProtocol), "registered", chunk...)
	}
	return outcomes, a.tellElsewhere(ctx, b, from, to)
}

// numbers sets registration numbers of the batch's province and today's year aside and returns the first. A row has its numbers by
// its place in the batch, so that they are the same however the rows are cut into lanes and wherever a commit died; those
// of a row that does not get into the register are given to nobody.
func (a *act) numbers(ctx context.Context, b batchScope, n int64) (first int64, err error) {
	if n == 0 {
		return 0, nil
	}
	err = a.QueryRow(ctx, `SELECT next_number($1, $2)`, fmt.Sprintf("registration-%s%02d", string(b.Region)[:2], a.today().Year()%100), n).Scan(&first)
	if err == nil && first+n-1 > lastSerial {
		return 0, refused("numbers_used_up", "Most", lastSerial)
	}
	return first, err
}

// lastSerial is the last registration number of a province's year: a number has six digits for it.
const lastSerial = 999_999

// tellElsewhere lets the office that a person is registered with know that another office took a form of theirs: the
// claim that the form's office cannot settle alone.
func (a *act) tellElsewhere(ctx context.Context, b batchScope, from, to int) error {
	rows, err := a.Query(ctx, `
		SELECT r.row_no, g.organisation_id, g.region FROM batch_rows r JOIN LATERAL (
			SELECT organisation_id, region FROM registrations WHERE person_id = r.person_id ORDER BY id LIMIT 1) g ON true
		WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome = 'skipped' AND r.known AND r.problems @> '[{"code": "N303"}]'`, b.ID, from, to)
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
			phone_index = CASE WHEN 'phone_sealed' = ANY(r.filled) THEN NULL ELSE p.phone_index END,
			profile_sealed = CASE WHEN 'profile_sealed' = ANY(r.filled) THEN NULL ELSE p.profile_sealed END,
			height_cm = CASE WHEN 'height_cm' = ANY(r.filled) THEN NULL ELSE p.height_cm END, weight_kg = CASE WHEN 'weight_kg' = ANY(r.filled) THEN NULL ELSE p.weight_kg END
			` + rows + ` AND r.known AND p.id = r.person_id AND cardinality(r.filled) > 0`,
		`DELETE FROM duplicates WHERE person_id IN (SELECT r.person_id ` + rows + ` AND NOT r.known) OR other_id IN (SELECT r.person_id ` + rows + ` AND NOT r.known)`,
		`DELETE FROM person_documents WHERE id IN (SELECT r.document_id ` + rows + ` AND NOT r.known)`,
		`DELETE FROM persons WHERE id IN (SELECT r.person_id ` + rows + ` AND NOT r.known)`,
	} {
		b.Queue(statement, batch, from, to)
	}
	return a.SendBatch(ctx, &b).Close()
}

// movedOn counts the rows of a batch that can no longer be undone, because something of theirs has left, was typed, was
// withdrawn, was added to, was asked about, was shared or was opened in clear.
func (a *act) movedOn(ctx context.Context, batch uuid.UUID, from, to int) (int, error) {
	var n int
	err := a.QueryRow(ctx, `
		SELECT count(*) FROM batch_rows r WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND r.outcome IN ('created', 'updated', 'linked') AND (
			EXISTS (SELECT FROM specimens s WHERE s.id = r.specimen_id AND s.status <> 'drawn')
			OR EXISTS (SELECT FROM registrations g WHERE g.id = ANY(r.registration_ids) AND (g.status NOT IN ('enrolling', 'registered') OR g.version > 1))
			OR EXISTS (SELECT FROM specimens s WHERE s.registration_id = ANY(r.registration_ids) AND s.id IS DISTINCT FROM r.specimen_id)
			OR (NOT r.known AND EXISTS (SELECT FROM registrations g WHERE g.person_id = r.person_id AND NOT g.id = ANY(r.registration_ids)))
			OR EXISTS (SELECT FROM rights_requests q WHERE q.person_id = r.person_id)
			OR EXISTS (SELECT FROM reveals v WHERE v.registration_id = ANY(r.registration_ids)) OR EXISTS (SELECT FROM shares v WHERE v.registration_id = ANY(r.registration_ids))
			OR EXISTS (SELECT FROM emergency_access v WHERE v.registration_id = ANY(r.registration_ids))
			OR (NOT r.known AND EXISTS (SELECT FROM persons p WHERE p.id = r.person_id AND p.version > 1)))`, batch, from, to).Scan(&n)
	return n, err
}

// undoUntil is the last instant at which a batch may be undone.
func (a *act) undoUntil(region identity.Region, committed time.Time) time.Time {
	return committed.Add(time.Duration(a.rules(region).Count(rules.IntakeUndo)) * time.Hour)
}
