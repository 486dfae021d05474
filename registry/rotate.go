package registry

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// A key is rotated in three movements. A new one is added to the key file, and everybody writes with it from then on and
// reads with both. A workflow takes the rows that the older keys wrote over to it, chunk by chunk. Then the older keys may
// be retired. What somebody is found by is right at every moment in between: before the first row is indexed anew, the
// workflow waits until nobody is left who may not know of the new key.

// RotationView is a rotation of keys and how far it is.
type RotationView struct {
	ID         uuid.UUID  `json:"id"`
	Kind       seal.Kind  `json:"kind"`
	Version    int        `json:"version"`
	Step       string     `json:"step"` // the table that is being walked; waiting before the first, finished after the last
	Done       int64      `json:"done"`
	Changed    int64      `json:"changed"`
	Total      int64      `json:"total"`
	StartedBy  string     `json:"started_by"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
}

// walk is one table that a rotation takes over: the next rows of it after a row, and the last of them.
type walk struct {
	table string
	count string // how many rows it will look at
	stale string // tells of a row that it still has to be taken over; $1 is the new version
	next  func(ctx context.Context, a *act, version int, after string) (last string, looked, changed int, err error)
	most  int // rows that a chunk takes; 0 is as many as a commit's
}

// The tables of each kind, in their order: staged rows go first, so that what is committed meanwhile is of the new key, or
// was in its table before that is walked.
var walks = map[seal.Kind][]walk{
	seal.KEK: {
		{"staged_forms", `SELECT count(*) FROM staged_forms`, `EXISTS (SELECT FROM staged_forms WHERE key_version(raw_sealed) <> $1 OR key_version(key_wrapped) <> $1)`, rewrapStaged, 0},
		{"persons", `SELECT count(*) FROM persons WHERE key_wrapped IS NOT NULL`, `EXISTS (SELECT FROM persons WHERE key_version(key_wrapped) <> $1)`, rewrapPersons, 0},
		{"patients", `SELECT count(*) FROM patients WHERE key_wrapped IS NOT NULL`, `EXISTS (SELECT FROM patients WHERE key_version(key_wrapped) <> $1)`, rewrapPatients, 0},
		{"batches", `SELECT count(*) FROM batches WHERE file_name_sealed IS NOT NULL OR file_sealed IS NOT NULL`,
			`EXISTS (SELECT FROM batches WHERE key_version(file_sealed) <> $1 OR key_version(file_name_sealed) <> $1)`, resealBatches, filesAtOnce},
		{"idempotency_keys", `SELECT count(*) FROM idempotency_keys WHERE body_sealed IS NOT NULL`,
			`EXISTS (SELECT FROM idempotency_keys WHERE key_version(body_sealed) <> $1)`, resealAnswers, 0},
		installationWalk("staff", "totp"), installationWalk("emergency_access", "reason", "note"), installationWalk("exports", "reason", "note"), installationWalk("link.messages", "text"), installationWalk("own_forms", "form"),
		installationWalk("contact_points", "address", "code"), installationWalk("webhooks", "secret"),
	},
	seal.IndexKey: {
		{"staged_forms", `SELECT count(*) FROM staged_forms WHERE number_index IS NOT NULL`, `EXISTS (SELECT FROM staged_forms WHERE number_index IS NOT NULL AND index_version <> $1)`, reindexStaged, 0},
		{"person_documents", `SELECT count(*) FROM person_documents WHERE number_index IS NOT NULL`,
			`EXISTS (SELECT FROM person_documents WHERE number_index IS NOT NULL AND index_version <> $1)`, reindexDocuments, 0},
		{"persons", `SELECT count(*) FROM persons WHERE likeness_index IS NOT NULL`, `EXISTS (SELECT FROM persons WHERE likeness_index IS NOT NULL AND index_version <> $1)`, reindexPersons, 0},
	},
}

const rotationColumns = `id, kind, version, phase, done, changed, total, started_by, started_at, finished_at`

func scanRotation(row pgx.CollectableRow) (v RotationView, err error) {
	var phase int
	err = row.Scan(&v.ID, &v.Kind, &v.Version, &phase, &v.Done, &v.Changed, &v.Total, &v.StartedBy, &v.StartedAt, &v.FinishedAt)
	switch {
	case v.FinishedAt != nil:
		v.Step = "finished"
	case phase == 0:
		v.Step = "waiting"
	case phase <= len(walks[v.Kind]):
		v.Step = walks[v.Kind][phase-1].table
	default:
		v.Step = "checking"
	}
	return v, err
}

func keysRecord(what string) record { return record{kind: "keys", id: what, region: nation} }

// StartRotation adds a key of a kind to the key file and begins to take the rows over to it. The file that was replaced is
// kept at backup. A rotation that is under way is woken instead, which starts it again where its workflow was lost; so is
// one whose key is in the file, because whoever added it died before they could begin.
func (s *Store) StartRotation(ctx context.Context, actor Actor, kind seal.Kind) (out RotationView, backup string, err error) {
	add := false
	err = s.act(ctx, actor, "StartRotation", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Key, keysRecord(string(kind))); err != nil {
			return err
		}
		var known, open bool
		newest := a.keys.Versions(kind)[0]
		err := a.QueryRow(ctx, `SELECT coalesce(bool_or(version = $2), false), coalesce(bool_or(finished_at IS NULL), false) FROM key_rotations WHERE kind = $1`, string(kind), newest).Scan(&known, &open)
		if err != nil {
			return err
		}
		if add = !open && (newest == 1 || known); !open {
			return nil
		}
		rows, err := a.Query(ctx, `SELECT `+rotationColumns+` FROM key_rotations WHERE kind = $1 AND finished_at IS NULL`, string(kind))
		if err != nil {
			return err
		}
		out, err = pgx.CollectExactlyOneRow(rows, scanRotation)
		a.hear(string(RotationProtocol), "begin", out.ID)
		return err
	})
	if err != nil || out.ID != uuid.Nil {
		return out, "", err
	}
	if add {
		if _, backup, err = s.keys.Add(ctx, kind); err != nil {
			return out, "", &Error{Kind: Incompatible, Code: "key_file_unchanged", cause: err}
		}
	}
	err = s.act(ctx, actor, "BeginRotation", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Key, keysRecord(string(kind))); err != nil {
			return err
		}
		if _, err := a.Exec(ctx, publishKeys, a.keys.Generation()); err != nil {
			return err
		}
		counts := make([]string, len(walks[kind]))
		for i, w := range walks[kind] {
			counts[i] = "(" + w.count + ")"
		}
		id := newID()
		rows, err := a.Query(ctx, `
			INSERT INTO key_rotations (id, kind, version, total, started_by) SELECT $1, $2, $3, `+strings.Join(counts, " + ")+`, $4
			RETURNING `+rotationColumns, id, string(kind), a.keys.Versions(kind)[0], actor.subject)
		if err != nil {
			return err
		}
		out, err = pgx.CollectExactlyOneRow(rows, scanRotation)
		a.hear(string(RotationProtocol), "begin", id)
		return err
	})
	return out, backup, err
}

// RotateChunk takes the next rows over to the new key. Where it stands is in the row, in the same transaction: a chunk
// whose answer was lost is not done twice, and done twice it would change nothing.
func (s *Store) RotateChunk(ctx context.Context, actor Actor, id uuid.UUID) (Chunk, error) {
	var phase int
	err := s.pool.QueryRow(ctx, `SELECT phase FROM key_rotations WHERE id = $1`, id).Scan(&phase)
	if errors.Is(err, pgx.ErrNoRows) {
		return Chunk{}, missing("rotation")
	}
	if err == nil && phase == 0 {
		err = s.drain(ctx)
	}
	if err != nil {
		return Chunk{}, translate(err)
	}
	var out Chunk
	err = s.act(ctx, actor, "RotateChunk", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		rows, err := a.Query(ctx, `SELECT `+rotationColumns+` FROM key_rotations WHERE id = $1 FOR UPDATE`, id)
		if err != nil {
			return err
		}
		v, err := pgx.CollectExactlyOneRow(rows, scanRotation)
		if err != nil {
			return err
		}
		looked, err := a.rotate(ctx, v)
		if err != nil {
			return err
		}
		out = Chunk{Done: int(min(v.Done+int64(looked), v.Total)), Total: int(v.Total), Finished: v.FinishedAt != nil}
		return a.permitShown(policy.Write, policy.Key, keysRecord(string(v.Kind)), looked)
	})
	return out, err
}

func (a *act) rotate(ctx context.Context, v RotationView) (looked int, err error) {
	var phase int
	var after string
	if err := a.QueryRow(ctx, `SELECT phase, after FROM key_rotations WHERE id = $1`, v.ID).Scan(&phase, &after); err != nil || v.FinishedAt != nil {
		return 0, err
	}
	changed := 0
	switch {
	case phase == 0: // the others are gone
		phase = 1
	case phase <= len(walks[v.Kind]):
		after, looked, changed, err = walks[v.Kind][phase-1].next(ctx, a, v.Version, after)
		// A table ends where fewer rows are left than a chunk takes: those that come while it is walked are of the new key.
		if most := walks[v.Kind][phase-1].most; err == nil && looked < cmp.Or(most, a.chunk) {
			phase, after = phase+1, ""
		}
	default:
		// What was committed from a staged row while that was taken over may have slipped past: then once more.
		stale, err := a.carries(ctx, v.Kind, v.Version)
		if err != nil {
			return 0, err
		}
		if !stale {
			_, err := a.Exec(ctx, `UPDATE key_rotations SET finished_at = $2 WHERE id = $1`, v.ID, a.at)
			return 0, err
		}
		phase = 1
	}
	if err != nil {
		return 0, err
	}
	_, err = a.Exec(ctx, `UPDATE key_rotations SET phase = $2, after = $3, done = done + $4, changed = changed + $5 WHERE id = $1`, v.ID, phase, after, looked, changed)
	return looked, err
}

// carries tells whether any row is of another version than the given one.
func (a *act) carries(ctx context.Context, kind seal.Kind, version int) (bool, error) {
	stale := make([]string, len(walks[kind]))
	for i, w := range walks[kind] {
		stale[i] = w.stale
	}
	var out bool
	err := a.QueryRow(ctx, `SELECT `+strings.Join(stale, " OR "), version).Scan(&out)
	return out, err
}

// drain waits for the end of every act that began before the new key was published: such an act may look somebody up
// under the older keys only. An act holds a lock on policy_revision from its beginning to its end, whatever else it does.
func (s *Store) drain(ctx context.Context) error {
	const under = `SELECT coalesce(array_agg(DISTINCT virtualtransaction), '{}') FROM pg_locks
		WHERE locktype = 'relation' AND relation = 'policy_revision'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	var before []string
	if err := s.pool.QueryRow(ctx, under).Scan(&before); err != nil {
		return err
	}
	for len(before) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		err := s.pool.QueryRow(ctx, under+` AND virtualtransaction = ANY($1)`, before).Scan(&before)
		if err != nil {
			return err
		}
	}
	return nil
}

// uuidAfter is the row that a walk by id goes on from.
func uuidAfter(after string) (uuid.UUID, error) {
	if after == "" {
		return uuid.Nil, nil
	}
	return uuid.Parse(after)
}

// rewrap takes the wrapped keys of a table over.
func (a *act) rewrap(ctx context.Context, table, after string) (last string, looked, changed int, err error) {
	from, err := uuidAfter(after)
	if err != nil {
		return "", 0, 0, err
	}
	rows, err := a.Query(ctx, `SELECT id, key_wrapped FROM `+table+` WHERE id > $1 AND key_wrapped IS NOT NULL ORDER BY id LIMIT $2 FOR NO KEY UPDATE`, from, a.chunk)
	if err != nil {
		return "", 0, 0, err
	}
	var ids []uuid.UUID
	var keys [][]byte
	var id uuid.UUID
	var wrapped []byte
	if _, err := pgx.ForEachRow(rows, []any{&id, &wrapped}, func() error {
		last = id.String()
		looked++
		fresh, isNew, err := a.keys.Rewrap(keyCell(id), wrapped)
		if isNew {
			ids, keys = append(ids, id), append(keys, fresh)
		}
		return err
	}); err != nil || len(ids) == 0 {
		return last, looked, 0, err
	}
	_, err = a.Exec(ctx, `UPDATE `+table+` t SET key_wrapped = fresh.key FROM unnest($1::uuid[], $2::bytea[]) fresh(id, key) WHERE t.id = fresh.id`, ids, keys)
	return last, looked, len(ids), err
}

func rewrapPersons(ctx context.Context, a *act, _ int, after string) (last string, looked, changed int, err error) {
	return a.rewrap(ctx, "persons", after)
}

func rewrapPatients(ctx context.Context, a *act, _ int, after string) (last string, looked, changed int, err error) {
	return a.rewrap(ctx, "patients", after)
}

// stagedAfter reads where a walk over staged rows goes on from: a batch and a row.
func stagedAfter(after string) (batch uuid.UUID, no int32, err error) {
	if after == "" {
		return uuid.Nil, -1, nil
	}
	id, row, _ := strings.Cut(after, "/")
	n, err := strconv.ParseInt(row, 10, 32)
	if err != nil {
		return uuid.Nil, 0, err
	}
	batch, err = uuid.Parse(id)
	return batch, int32(n), err
}

func rewrapStaged(ctx context.Context, a *act, _ int, after string) (last string, looked, changed int, err error) {
	batch, no, err := stagedAfter(after)
	if err != nil {
		return "", 0, 0, err
	}
	rows, err := a.Query(ctx, `
		SELECT s.batch_id, s.row_no, coalesce(s.sealed_for, r.person_id), s.key_wrapped, s.raw_sealed FROM staged_forms s JOIN batch_rows r USING (batch_id, row_no)
		WHERE (s.batch_id, s.row_no) > ($1, $2) ORDER BY s.batch_id, s.row_no LIMIT $3 FOR NO KEY UPDATE OF s`, batch, no, a.chunk)
	if err != nil {
		return "", 0, 0, err
	}
	var of *uuid.UUID
	var wrapped, raw []byte
	var b pgx.Batch
	if _, err := pgx.ForEachRow(rows, []any{&batch, &no, &of, &wrapped, &raw}, func() error {
		last = batch.String() + "/" + strconv.Itoa(int(no))
		looked++
		fresh, isNew := wrapped, false
		var err error
		if of != nil {
			if fresh, isNew, err = a.keys.Rewrap(keyCell(*of), wrapped); err != nil {
				return err
			}
		}
		cells, sealedAnew, err := a.keys.Reseal(rowCell(batch, int(no)), raw)
		if err == nil && (isNew || sealedAnew) {
			b.Queue(`UPDATE staged_forms SET key_wrapped = $3, raw_sealed = $4 WHERE batch_id = $1 AND row_no = $2`, batch, no, fresh, cells)
		}
		return err
	}); err != nil {
		return "", 0, 0, err
	}
	return last, looked, b.Len(), a.SendBatch(ctx, &b).Close()
}

// filesAtOnce is how many sheets a chunk takes: each may be many megabytes.
const filesAtOnce = 4

// resealBatches takes the sheets over.
func resealBatches(ctx context.Context, a *act, _ int, after string) (last string, looked, changed int, err error) {
	from, err := uuidAfter(after)
	if err != nil {
		return "", 0, 0, err
	}
	rows, err := a.Query(ctx, `
		SELECT id, file_name_sealed, file_sealed FROM batches WHERE id > $1 AND (file_name_sealed IS NOT NULL OR file_sealed IS NOT NULL)
		ORDER BY id LIMIT $2 FOR NO KEY UPDATE`, from, filesAtOnce)
	if err != nil {
		return "", 0, 0, err
	}
	var id uuid.UUID
	var name, file []byte
	var b pgx.Batch
	if _, err := pgx.ForEachRow(rows, []any{&id, &name, &file}, func() error {
		last = id.String()
		looked++
		freshName, newName, err := a.keys.Reseal(cell("batches", "file_name", id), name)
		if err != nil {
			return err
		}
		freshFile, newFile, err := a.keys.Reseal(cell("batches", "file", id), file)
		if err == nil && (newName || newFile) {
			b.Queue(`UPDATE batches SET file_name_sealed = $2, file_sealed = $3 WHERE id = $1`, id, freshName, freshFile)
		}
		return err
	}); err != nil {
		return "", 0, 0, err
	}
	return last, looked, b.Len(), a.SendBatch(ctx, &b).Close()
}

// installationWalk takes the cells of a table over that are sealed with the installation's own key.
func installationWalk(table string, columns ...string) walk {
	_, name, found := strings.Cut(table, ".")
	if !found {
		name = table
	}
	var some, stale, set, fields []string
	for i, c := range columns {
		some, stale = append(some, c+"_sealed IS NOT NULL"), append(stale, "key_version("+c+"_sealed) <> $1")
		set, fields = append(set, c+"_sealed = $"+strconv.Itoa(i+2)), append(fields, c+"_sealed")
	}
	filled := "(" + strings.Join(some, " OR ") + ")"
	next := func(ctx context.Context, a *act, _ int, after string) (last string, looked, changed int, err error) {
		from, err := uuidAfter(after)
		if err != nil {
			return "", 0, 0, err
		}
		rows, err := a.Query(ctx, `SELECT id, `+strings.Join(fields, ", ")+` FROM `+table+` WHERE id > $1 AND `+filled+` ORDER BY id LIMIT $2 FOR NO KEY UPDATE`, from, a.chunk)
		if err != nil {
			return "", 0, 0, err
		}
		var id uuid.UUID
		sealed := make([][]byte, len(columns))
		into := []any{&id}
		for i := range sealed {
			into = append(into, &sealed[i])
		}
		var b pgx.Batch
		if _, err := pgx.ForEachRow(rows, into, func() error {
			last = id.String()
			looked++
			isNew, values := false, []any{id}
			for i, c := range columns {
				fresh, changed, err := a.keys.Reseal(cell(name, c, id), sealed[i])
				if err != nil {
					return err
				}
				isNew, values = isNew || changed, append(values, fresh)
			}
			if isNew {
				b.Queue(`UPDATE `+table+` SET `+strings.Join(set, ", ")+` WHERE id = $1`, values...)
			}
			return nil
		}); err != nil {
			return "", 0, 0, err
		}
		return last, looked, b.Len(), a.SendBatch(ctx, &b).Close()
	}
	return walk{table, `SELECT count(*) FROM ` + table + ` WHERE ` + filled, `EXISTS (SELECT FROM ` + table + ` WHERE ` + strings.Join(stale, " OR ") + `)`, next, 0}
}

func resealAnswers(ctx context.Context, a *act, _ int, after string) (last string, looked, changed int, err error) {
	from, err := uuidAfter(after)
	if err != nil {
		return "", 0, 0, err
	}
	rows, err := a.Query(ctx, `SELECT row_id, body_sealed FROM idempotency_keys WHERE row_id > $1 AND body_sealed IS NOT NULL ORDER BY row_id LIMIT $2 FOR NO KEY UPDATE`, from, a.chunk)
	if err != nil {
		return "", 0, 0, err
	}
	var id uuid.UUID
	var body []byte
	var b pgx.Batch
	if _, err := pgx.ForEachRow(rows, []any{&id, &body}, func() error {
		last = id.String()
		looked++
		fresh, isNew, err := a.keys.Reseal(cell("idempotency_keys", "body", id), body)
		if isNew {
			b.Queue(`UPDATE idempotency_keys SET body_sealed = $2 WHERE row_id = $1`, id, fresh)
		}
		return err
	}); err != nil {
		return "", 0, 0, err
	}
	return last, looked, b.Len(), a.SendBatch(ctx, &b).Close()
}

// reindexStaged gives staged rows what the register is asked for under every key, before the first person is found by the
// new one alone.
func reindexStaged(ctx context.Context, a *act, version int, after string) (last string, looked, changed int, err error) {
	batch, no, err := stagedAfter(after)
	if err != nil {
		return "", 0, 0, err
	}
	rows, err := a.Query(ctx, `
		SELECT s.batch_id, s.row_no, coalesce(s.sealed_for, r.person_id), r.document_id, s.key_wrapped, s.name_sealed, s.phone_sealed, s.number_sealed, s.document_kind, s.birth_date, s.index_version
		FROM staged_forms s JOIN batch_rows r USING (batch_id, row_no)
		WHERE (s.batch_id, s.row_no) > ($1, $2) AND s.number_index IS NOT NULL ORDER BY s.batch_id, s.row_no LIMIT $3 FOR NO KEY UPDATE`, batch, no, a.chunk)
	if err != nil {
		return "", 0, 0, err
	}
	var of, document uuid.UUID
	var wrapped, nameSealed, phoneSealed, numberSealed []byte
	var kind identity.DocumentKind
	var birth calendar.Date
	var carried int
	var b pgx.Batch
	if _, err := pgx.ForEachRow(rows, []any{&batch, &no, &of, &document, &wrapped, &nameSealed, &phoneSealed, &numberSealed, &kind, &birth, &carried}, func() error {
		last = batch.String() + "/" + strconv.Itoa(int(no))
		looked++
		if carried == version {
			return nil
		}
		key, err := a.keys.Unwrap(keyCell(of), wrapped)
		if err != nil {
			return err
		}
		number, err := key.OpenNumber(cell("person_documents", "number", document), numberSealed)
		if err != nil {
			return err
		}
		name, phone, err := a.namedBy(key, of, nameSealed, phoneSealed)
		if err != nil {
			return err
		}
		digest, fresh := a.keys.Index("document", documentKey(kind, number))
		b.Queue(`
			WITH row AS (UPDATE batch_rows SET number_lookups = $3, likeness_lookups = $4 WHERE batch_id = $1 AND row_no = $2)
			UPDATE staged_forms SET number_index = $5, index_version = $6, tail_index = $7, phone_index = $8 WHERE batch_id = $1 AND row_no = $2`,
			batch, no, a.keys.Lookups("document", documentKey(kind, number)), a.keys.Lookups("likeness", likenessKey(name, birth, phone)), digest[:], fresh,
			a.indexOf("tail", tailKey(number, birth)), a.indexOf("phone", phoneKey(phone, birth)))
		return nil
	}); err != nil {
		return "", 0, 0, err
	}
	return last, looked, b.Len(), a.SendBatch(ctx, &b).Close()
}

// namedBy opens what a person's likeness is made of.
func (a *act) namedBy(key *seal.Key, person uuid.UUID, nameSealed, phoneSealed []byte) (seal.Name, seal.Phone, error) {
	name, err := key.OpenName(cell("persons", "name", person), nameSealed)
	if err != nil {
		return name, seal.Phone{}, err
	}
	phone, err := key.OpenPhone(cell("persons", "phone", person), phoneSealed)
	return name, phone, err
}

// anew is what a chunk indexes anew: the digest of each row's own column, and of what else its person is found by.
type anew struct {
	ids         []uuid.UUID
	digests     [][]byte
	alsoDigests [][]byte
	versions    []int16
}

func (n *anew) add(id uuid.UUID, digest seal.Digest, also []byte, version int16) {
	n.ids, n.digests, n.alsoDigests, n.versions = append(n.ids, id), append(n.digests, digest[:]), append(n.alsoDigests, also), append(n.versions, version)
}

func reindexDocuments(ctx context.Context, a *act, version int, after string) (last string, looked, changed int, err error) {
	return a.indexDocuments(ctx, `d.number_index IS NOT NULL`, version, after)
}

// indexDocuments indexes the next documents for which a condition holds; those of a version have it already, 0 is none.
func (a *act) indexDocuments(ctx context.Context, which string, version int, after string) (last string, looked, changed int, err error) {
	from, err := uuidAfter(after)
	if err != nil {
		return "", 0, 0, err
	}
	rows, err := a.Query(ctx, `
		SELECT d.id, d.person_id, p.key_wrapped, d.kind, d.number_sealed, d.index_version, p.birth_date FROM person_documents d JOIN persons p ON p.id = d.person_id
		WHERE d.id > $1 AND `+which+` ORDER BY d.id LIMIT $2 FOR NO KEY UPDATE OF d`, from, a.chunk)
	if err != nil {
		return "", 0, 0, err
	}
	var id, person uuid.UUID
	var wrapped, numberSealed []byte
	var kind identity.DocumentKind
	var carried int
	var birth *calendar.Date
	var fresh anew
	if _, err := pgx.ForEachRow(rows, []any{&id, &person, &wrapped, &kind, &numberSealed, &carried, &birth}, func() error {
		last = id.String()
		looked++
		if carried == version || wrapped == nil || birth == nil {
			return nil
		}
		key, err := a.keys.Unwrap(keyCell(person), wrapped)
		if err != nil {
			return err
		}
		number, err := key.OpenNumber(cell("person_documents", "number", id), numberSealed)
		if err != nil {
			return err
		}
		digest, newest := a.keys.Index("document", documentKey(kind, number))
		fresh.add(id, digest, a.indexOf("tail", tailKey(number, *birth)), newest)
		return nil
	}); err != nil || len(fresh.ids) == 0 {
		return last, looked, 0, err
	}
	_, err = a.Exec(ctx, `
		UPDATE person_documents d SET number_index = n.digest, tail_index = n.tail, index_version = n.version
		FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::smallint[]) n(id, digest, tail, version) WHERE d.id = n.id`,
		fresh.ids, fresh.digests, fresh.alsoDigests, fresh.versions)
	return last, looked, len(fresh.ids), err
}

func reindexPersons(ctx context.Context, a *act, version int, after string) (last string, looked, changed int, err error) {
	return a.indexPersons(ctx, `likeness_index IS NOT NULL`, version, after)
}

// indexPersons is indexDocuments for people.
func (a *act) indexPersons(ctx context.Context, which string, version int, after string) (last string, looked, changed int, err error) {
	from, err := uuidAfter(after)
	if err != nil {
		return "", 0, 0, err
	}
	rows, err := a.Query(ctx, `
		SELECT id, key_wrapped, name_sealed, phone_sealed, birth_date, index_version FROM persons
		WHERE id > $1 AND `+which+` ORDER BY id LIMIT $2 FOR NO KEY UPDATE`, from, a.chunk)
	if err != nil {
		return "", 0, 0, err
	}
	var id uuid.UUID
	var wrapped, nameSealed, phoneSealed []byte
	var birth calendar.Date
	var carried int
	var fresh anew
	if _, err := pgx.ForEachRow(rows, []any{&id, &wrapped, &nameSealed, &phoneSealed, &birth, &carried}, func() error {
		last = id.String()
		looked++
		if carried == version {
			return nil
		}
		key, err := a.keys.Unwrap(keyCell(id), wrapped)
		if err != nil {
			return err
		}
		name, phone, err := a.namedBy(key, id, nameSealed, phoneSealed)
		if err != nil {
			return err
		}
		digest, newest := a.keys.Index("likeness", likenessKey(name, birth, phone))
		fresh.add(id, digest, a.indexOf("phone", phoneKey(phone, birth)), newest)
		return nil
	}); err != nil || len(fresh.ids) == 0 {
		return last, looked, 0, err
	}
	_, err = a.Exec(ctx, `
		UPDATE persons p SET likeness_index = n.digest, phone_index = n.phone, index_version = n.version
		FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::smallint[]) n(id, digest, phone, version) WHERE p.id = n.id`,
		fresh.ids, fresh.digests, fresh.alsoDigests, fresh.versions)
	return last, looked, len(fresh.ids), err
}

// indexLate gives rows what they are found by that they came without: those of a program before this one, and phones that a later form
// brought. Where it stands is in the rows: one that died goes on where it was.
func (s *Store) indexLate(ctx context.Context) error {
	for _, of := range []func(context.Context, *act, string) (string, int, int, error){
		func(ctx context.Context, a *act, after string) (string, int, int, error) {
			return a.indexDocuments(ctx, `d.tail_index IS NULL AND d.number_index IS NOT NULL`, 0, after)
		},
		func(ctx context.Context, a *act, after string) (string, int, int, error) {
			return a.indexPersons(ctx, `phone_index IS NULL AND likeness_index IS NOT NULL AND phone_sealed IS NOT NULL`, 0, after)
		},
	} {
		after, more := "", true
		for more {
			err := s.act(ctx, System("upkeep"), "IndexLate", policy.ForAdministration, func(ctx context.Context, a *act) error {
				last, looked, changed, err := of(ctx, a, after)
				if err != nil {
					return err
				}
				after, more = last, looked == a.chunk
				if changed == 0 {
					a.decided = true // nothing is done
					return nil
				}
				return a.permitShown(policy.Write, policy.Identity, record{kind: "upkeep", id: "indexes", region: nation}, changed)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// RetireKey removes an older key from the key file. The file that was replaced, which still has the key, is kept at backup.
//
// Errors: Refused while a rotation is under way, for the newest key, and while any row carries the key: the register would
// lose what it seals.
func (s *Store) RetireKey(ctx context.Context, actor Actor, kind seal.Kind, version int) (backup string, err error) {
	err = s.act(ctx, actor, "RetireKey", policy.ForAdministration, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Write, policy.Key, keysRecord(string(kind))); err != nil {
			return err
		}
		versions := a.keys.Versions(kind)
		switch {
		case backup != "": // the file was changed, and its transaction lost against another
			_, err := a.Exec(ctx, publishKeys, a.keys.Generation())
			return err
		case versions[0] == version:
			return refused("key_newest", "Version", version)
		case !slices.Contains(versions, version):
			return missing("key")
		}
		var open bool
		if err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM key_rotations WHERE kind = $1 AND finished_at IS NULL)`, string(kind)).Scan(&open); err != nil {
			return err
		}
		if open {
			return refused("rotation_under_way", "Kind", string(kind))
		}
		// Nobody moves a staged row's key to a person while this looks.
		tables := make([]string, len(walks[kind]))
		for i, w := range walks[kind] {
			tables[i] = w.table
		}
		if _, err := a.Exec(ctx, `LOCK TABLE `+strings.Join(tables, ", ")+` IN SHARE MODE`); err != nil {
			return err
		}
		counts, err := a.countKeys(ctx, kind)
		if err != nil {
			return err
		}
		if n := counts[version]; n > 0 {
			return refused("key_in_use", "Version", version, "Rows", n)
		}
		if backup, err = a.keys.Retire(ctx, kind, version); err != nil {
			return &Error{Kind: Incompatible, Code: "key_file_unchanged", cause: err}
		}
		_, err = a.Exec(ctx, publishKeys, a.keys.Generation())
		return err
	})
	return backup, err
}

// countKeys counts the rows that carry each version of a kind. A row that carries two counts twice.
func (a *act) countKeys(ctx context.Context, kind seal.Kind) (map[int]int64, error) {
	query := `
		SELECT version, count(*) FROM (
			SELECT key_version(key_wrapped) FROM persons UNION ALL SELECT key_version(key_wrapped) FROM patients
			UNION ALL SELECT key_version(key_wrapped) FROM staged_forms UNION ALL SELECT key_version(raw_sealed) FROM staged_forms
			UNION ALL SELECT key_version(file_sealed) FROM batches UNION ALL SELECT key_version(file_name_sealed) FROM batches
			UNION ALL SELECT key_version(body_sealed) FROM idempotency_keys) each(version)
		WHERE version IS NOT NULL GROUP BY version`
	if kind == seal.IndexKey {
		query = `
			SELECT version, count(*) FROM (
				SELECT index_version::bigint FROM persons WHERE likeness_index IS NOT NULL UNION ALL SELECT index_version FROM person_documents WHERE number_index IS NOT NULL
				UNION ALL SELECT index_version FROM staged_forms WHERE number_index IS NOT NULL) each(version)
			GROUP BY version`
	}
	rows, err := a.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	out := map[int]int64{}
	var version int
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&version, &n}, func() error { out[version] = n; return nil })
	return out, err
}

// KeyView is one key of the key file.
type KeyView struct {
	Kind    seal.Kind `json:"kind"`
	Version int       `json:"version"`
	Newest  bool      `json:"newest"`
	Rows    int64     `json:"rows"` // that carry it
}

// ListKeys lists the keys that rotate, with how many rows carry each.
func (r *Reader) ListKeys(ctx context.Context, actor Actor) ([]KeyView, error) {
	var out []KeyView
	err := r.act(ctx, actor, "ListKeys", policy.ForAudit, func(ctx context.Context, a *act) error {
		out = nil
		for _, kind := range []seal.Kind{seal.KEK, seal.IndexKey} {
			counts, err := a.countKeys(ctx, kind)
			if err != nil {
				return err
			}
			for i, version := range a.keys.Versions(kind) {
				out = append(out, KeyView{kind, version, i == 0, counts[version]})
			}
		}
		return a.permitShown(policy.Read, policy.Key, keysRecord("list"), len(out))
	})
	return out, err
}

// ListRotations lists the rotations of keys, the latest first.
func (r *Reader) ListRotations(ctx context.Context, actor Actor) ([]RotationView, error) {
	var out []RotationView
	err := r.act(ctx, actor, "ListRotations", policy.ForAudit, func(ctx context.Context, a *act) error {
		rows, err := a.Query(ctx, `SELECT `+rotationColumns+` FROM key_rotations ORDER BY id DESC LIMIT 100`)
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, scanRotation); err != nil {
			return err
		}
		return a.permitShown(policy.Read, policy.Key, keysRecord("rotations"), len(out))
	})
	return out, err
}
