package registry

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// auditEntry is one decision, as it is written down.
type auditEntry struct {
	ID           uuid.UUID
	At           time.Time
	Actor        string
	Organisation uuid.UUID
	Act          string
	Action       policy.Action
	Class        policy.Class
	Relation     policy.Relation
	Region       identity.Region
	Target       string
	Shown        int
	Showed       []uuid.UUID // the records of a list
	Fields       string      // of the record, when only some were shown
	Purpose      policy.Purpose
	Reason       string
	Allowed      bool
	Rule         string
	Revision     int64
	Request      string
	Address      string
}

const insertAudit = `
	INSERT INTO audit (id, recorded_at, actor, organisation, act, action, class, relation, region, target, shown, purpose, reason, allowed, rule, revision, request, showed, fields, address)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, coalesce($18::uuid[], '{}'), $19, $20)`

func queueAudit(b *pgx.Batch, entries []auditEntry) {
	for _, e := range entries {
		b.Queue(insertAudit, newID(), e.At.Truncate(time.Microsecond), e.Actor, e.Organisation.String(), e.Act, string(e.Action), string(e.Class),
			string(e.Relation), string(e.Region), e.Target, e.Shown, string(e.Purpose), e.Reason, e.Allowed, e.Rule, e.Revision, e.Request, e.Showed, e.Fields, e.Address)
	}
}

// auditDenied writes down an attempt whose own transaction was rolled back.
func (r *Reader) auditDenied(ctx context.Context, entries []auditEntry) error {
	var b pgx.Batch
	queueAudit(&b, entries)
	return translate(r.pool.SendBatch(ctx, &b).Close())
}

// hash is over every column that tells something, each with its length before it, so that no two rows share a hash by
// moving text from one column to the next.
func (e auditEntry) hash() [sha256.Size]byte {
	h := sha256.New()
	text := func(parts ...string) {
		for _, s := range parts {
			_ = binary.Write(h, binary.BigEndian, uint32(len(s)))
			_, _ = h.Write([]byte(s))
		}
	}
	text(e.ID.String(), e.At.UTC().Format(time.RFC3339Nano), e.Actor, e.Organisation.String(), e.Act, string(e.Action), string(e.Class), string(e.Relation),
		string(e.Region), e.Target, string(e.Purpose), e.Reason, e.Rule, e.Request, e.Fields, e.Address)
	for _, id := range e.Showed {
		_, _ = h.Write(id[:])
	}
	_ = binary.Write(h, binary.BigEndian, []int64{int64(e.Shown), e.Revision, int64(len(e.Showed))})
	_ = binary.Write(h, binary.BigEndian, e.Allowed)
	return [sha256.Size]byte(h.Sum(nil))
}

const auditColumns = `a.id, a.recorded_at, a.actor, a.organisation, a.act, a.action, a.class, a.relation, a.region, a.target, a.shown, a.purpose, a.reason, a.allowed, a.rule, a.revision, a.request, a.showed, a.fields, a.address`

func scanAudit(row pgx.CollectableRow) (auditEntry, error) {
	var e auditEntry
	var organisation string
	err := row.Scan(&e.ID, &e.At, &e.Actor, &organisation, &e.Act, &e.Action, &e.Class, &e.Relation, &e.Region, &e.Target, &e.Shown, &e.Purpose,
		&e.Reason, &e.Allowed, &e.Rule, &e.Revision, &e.Request, &e.Showed, &e.Fields, &e.Address)
	if err != nil {
		return e, err
	}
	e.Organisation, err = uuid.Parse(organisation)
	if err != nil {
		// Whoever changed it to this has changed the row: the hash must differ, not the reading fail.
		e.Reason, err = "unreadable organisation "+organisation, nil
	}
	return e, err
}

// sealLock is the advisory lock of the sealer: one process at a time adds to the chain.
const sealLock = 0x11feaed17

// SealAudit adds the audit rows that have become visible since the last time to the chain of seals, at most most of
// them, and returns how many it sealed. Any process may call it at any time; one at a time works, the others return 0.
func (s *Store) SealAudit(ctx context.Context, most int) (int, error) {
	sealed := 0
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, sealLock).Scan(&mine); err != nil || !mine {
			return err
		}
		rows, err := tx.Query(ctx, `
			WITH taken AS (
				DELETE FROM audit_unsealed u
				USING (SELECT recorded_at, id FROM audit_unsealed JOIN audit USING (recorded_at, id) ORDER BY recorded_at, id LIMIT $1) oldest
				WHERE u.recorded_at = oldest.recorded_at AND u.id = oldest.id
				RETURNING u.recorded_at, u.id)
			SELECT `+auditColumns+` FROM taken JOIN audit a USING (recorded_at, id) ORDER BY a.recorded_at, a.id`, most)
		if err != nil {
			return err
		}
		entries, err := pgx.CollectRows(rows, scanAudit)
		if err != nil || len(entries) == 0 {
			return err
		}
		link := auditSeal{Seq: 1, Previous: make([]byte, sha256.Size)}
		err = tx.QueryRow(ctx, `SELECT seq + 1, hash FROM audit_seals ORDER BY seq DESC LIMIT 1`).Scan(&link.Seq, &link.Previous)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		for _, e := range entries {
			sum := e.hash()
			link.IDs, link.Times, link.Hashes = append(link.IDs, e.ID), append(link.Times, e.At), append(link.Hashes, sum[:]...)
		}
		sealed = len(entries)
		_, err = tx.Exec(ctx, `INSERT INTO audit_seals (seq, sealed_at, rows, ids, times, hashes, previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			link.Seq, s.now().UTC(), len(entries), link.IDs, link.Times, link.Hashes, link.Previous, link.digest(s.keys))
		return err
	})
	return sealed, translate(err)
}

type auditSeal struct {
	Seq      int64
	IDs      []uuid.UUID
	Times    []time.Time
	Hashes   []byte
	Previous []byte
	Hash     []byte
}

func (l auditSeal) content() string {
	out := binary.BigEndian.AppendUint64(nil, uint64(l.Seq))
	out = append(out, l.Previous...)
	for i, id := range l.IDs {
		out = append(out, id[:]...)
		out = binary.BigEndian.AppendUint64(out, uint64(l.Times[i].UnixMicro()))
	}
	return string(append(out, l.Hashes...))
}

// digest is the link's hash. It is keyed, so that whoever holds the database alone cannot seal what they changed.
func (l auditSeal) digest(keys *seal.Keyring) []byte {
	d := keys.MAC("audit_seals", l.content())
	return d[:]
}

// genuine tells whether the link has the hash that the keyring gives it.
func (l auditSeal) genuine(keys *seal.Keyring) bool {
	return hmac.Equal(l.digest(keys), l.Hash)
}

// AuditReport is what VerifyAudit found.
type AuditReport struct {
	Rows     int64  `json:"rows" class:"audit" mask:"drop"`     // sealed and looked at
	Seals    int64  `json:"seals" class:"audit" mask:"drop"`    // links of the chain
	Waiting  int64  `json:"waiting" class:"audit" mask:"drop"`  // written and not sealed yet
	Verified bool   `json:"verified" class:"audit" mask:"drop"` // nothing is wrong
	Finding  string `json:"finding,omitempty" class:"audit" mask:"drop"`
	Row      string `json:"row,omitempty" class:"audit" mask:"drop"` // the first row that is wrong
}

// VerifyAudit walks the chain of seals over every audit row, in one snapshot, and reports the first row that was
// changed, removed or slipped in. progress, when not nil, is told how many rows are done of how many.
func (s *Store) VerifyAudit(ctx context.Context, actor Actor, progress func(done, total int64)) (AuditReport, error) {
	err := s.act(ctx, actor, "VerifyAudit", policy.ForAudit, func(_ context.Context, a *act) error {
		return a.permit(policy.Read, policy.Audit, record{kind: "audit", id: "chain", region: nation})
	})
	if err != nil {
		return AuditReport{}, err
	}
	var report AuditReport
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		report = AuditReport{}
		return verifyChain(ctx, tx, s.keys, &report, progress)
	})
	return report, translate(err)
}

func verifyChain(ctx context.Context, tx pgx.Tx, keys *seal.Keyring, report *AuditReport, progress func(done, total int64)) error {
	var total int64
	err := tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM audit), (SELECT count(*) FROM audit_unsealed)`).Scan(&total, &report.Waiting)
	if err != nil {
		return err
	}
	wrong := func(finding string, row uuid.UUID) {
		report.Finding = finding
		if row != uuid.Nil {
			report.Row = row.String()
		}
	}
	previous := make([]byte, sha256.Size)
	for seq := int64(1); ; seq++ {
		link := auditSeal{}
		err := tx.QueryRow(ctx, `SELECT seq, ids, times, hashes, previous, hash FROM audit_seals WHERE seq >= $1 ORDER BY seq LIMIT 1`, seq).
			Scan(&link.Seq, &link.IDs, &link.Times, &link.Hashes, &link.Previous, &link.Hash)
		if errors.Is(err, pgx.ErrNoRows) {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case link.Seq != seq:
			wrong(fmt.Sprintf("seal %d is missing", seq), uuid.Nil)
			return nil
		case !bytes.Equal(link.Previous, previous), len(link.Hashes) != sha256.Size*len(link.IDs), len(link.Times) != len(link.IDs), !link.genuine(keys):
			wrong(fmt.Sprintf("seal %d was changed", seq), uuid.Nil)
			return nil
		}
		broken, row, err := verifyRows(ctx, tx, link)
		if err != nil {
			return err
		}
		if broken != "" {
			wrong(broken, row)
			return nil
		}
		report.Seals++
		report.Rows += int64(len(link.IDs))
		previous = link.Hash
		if progress != nil {
			progress(report.Rows, total)
		}
	}
	lost, err := findLost(ctx, tx)
	if err != nil {
		return err
	}
	if lost != uuid.Nil {
		wrong("a row is missing that waits for its seal", lost)
		return nil
	}
	if report.Rows+report.Waiting != total {
		row, err := findIntruder(ctx, tx)
		if err != nil {
			return err
		}
		wrong("a row was added past the sealer", row)
		return nil
	}
	report.Verified = true
	return nil
}

func verifyRows(ctx context.Context, tx pgx.Tx, link auditSeal) (finding string, row uuid.UUID, err error) {
	rows, err := tx.Query(ctx, `
		SELECT `+auditColumns+` FROM unnest($1::timestamptz[], $2::uuid[]) sealed(recorded_at, id)
		JOIN audit a ON a.recorded_at = sealed.recorded_at AND a.id = sealed.id`, link.Times, link.IDs)
	if err != nil {
		return "", uuid.Nil, err
	}
	entries, err := pgx.CollectRows(rows, scanAudit)
	if err != nil {
		return "", uuid.Nil, err
	}
	found := make(map[uuid.UUID]auditEntry, len(entries))
	for _, e := range entries {
		found[e.ID] = e
	}
	for i, id := range link.IDs {
		e, ok := found[id]
		if !ok {
			return "a row is missing, or its time was changed", id, nil
		}
		sum := e.hash()
		if !bytes.Equal(sum[:], link.Hashes[i*sha256.Size:(i+1)*sha256.Size]) {
			return "a row was changed", id, nil
		}
	}
	return "", uuid.Nil, nil
}

// findLost finds a row that was removed before it was sealed.
func findLost(ctx context.Context, tx pgx.Tx) (uuid.UUID, error) {
	var id uuid.UUID
	err := tx.QueryRow(ctx, `
		SELECT u.id FROM audit_unsealed u WHERE NOT EXISTS (SELECT FROM audit a WHERE a.recorded_at = u.recorded_at AND a.id = u.id)
		ORDER BY u.recorded_at, u.id LIMIT 1`).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, nil
	}
	return id, err
}

func findIntruder(ctx context.Context, tx pgx.Tx) (uuid.UUID, error) {
	var id uuid.UUID
	err := tx.QueryRow(ctx, `
		SELECT a.id FROM audit a
		WHERE NOT EXISTS (SELECT FROM audit_unsealed u WHERE u.recorded_at = a.recorded_at AND u.id = a.id)
			AND NOT EXISTS (SELECT FROM audit_seals s, unnest(s.ids) sealed WHERE sealed = a.id)
		LIMIT 1`).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, nil
	}
	return id, err
}

// AuditLine is one audit row as an auditor reads it.
type AuditLine struct {
	ID       uuid.UUID `json:"id" class:"audit" mask:"drop"`
	At       time.Time `json:"at" class:"audit" mask:"drop"`
	Actor    string    `json:"actor" class:"audit" mask:"drop"`
	Act      string    `json:"act" class:"audit" mask:"drop"`
	Action   string    `json:"action" class:"audit" mask:"drop"`
	Class    string    `json:"class" class:"audit" mask:"drop"`
	Relation string    `json:"relation" class:"audit" mask:"drop"`
	Region   string    `json:"region" class:"audit" mask:"drop"`
	Target   string    `json:"target" class:"audit" mask:"drop"`
	Shown    int       `json:"shown" class:"audit" mask:"drop"`
	Purpose  string    `json:"purpose" class:"audit" mask:"drop"`
	Reason   string    `json:"reason,omitempty" class:"audit" mask:"drop"`
	Allowed  bool      `json:"allowed" class:"audit" mask:"drop"`
	Rule     string    `json:"rule,omitempty" class:"audit" mask:"drop"`
	Request  string    `json:"request,omitempty" class:"audit" mask:"drop"`
}

// AuditFilter narrows a list of audit rows. The zero value of each field does not narrow.
type AuditFilter struct {
	Actor, Target string
	DeniedOnly    bool
	Before        time.Time // for the next page: rows before this instant …
	BeforeID      uuid.UUID // … and, at it, before this row
	Limit         int
}

// ListAudit returns audit rows, the newest first.
func (r *Reader) ListAudit(ctx context.Context, actor Actor, f AuditFilter) ([]AuditLine, error) {
	var out []AuditLine
	err := r.act(ctx, actor, "ListAudit", policy.ForAudit, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Audit)
		if f.Before.IsZero() {
			f.Before, f.BeforeID = a.at.Add(time.Hour), uuid.Max
		}
		rows, err := a.Query(ctx, `
			SELECT `+auditColumns+` FROM audit a
			WHERE (a.recorded_at, a.id) < ($1, $2) AND ($3 = '' OR a.actor = $3) AND ($4 = '' OR a.target = $4) AND (NOT $5 OR NOT a.allowed)
				AND EXISTS (SELECT FROM unnest($6::text[], $7::text[]) s(lo, hi) WHERE a.region >= lo AND a.region < hi)
			ORDER BY a.recorded_at DESC, a.id DESC LIMIT $8`,
			f.Before, f.BeforeID, f.Actor, f.Target, f.DeniedOnly, within.lo, within.hi, pageSize(f.Limit))
		if err != nil {
			return err
		}
		entries, err := pgx.CollectRows(rows, scanAudit)
		if err != nil {
			return err
		}
		out = make([]AuditLine, 0, len(entries))
		for _, e := range entries {
			out = append(out, AuditLine{e.ID, e.At, e.Actor, e.Act, string(e.Action), string(e.Class), string(e.Relation), string(e.Region), e.Target, e.Shown, string(e.Purpose), e.Reason, e.Allowed, e.Rule, e.Request})
		}
		return a.permitList(policy.Audit, within, "audit", idsOf(out, func(l AuditLine) uuid.UUID { return l.ID }))
	})
	return out, err
}

// pageSize is how many records a page of a list has: 50 unless asked for, never more than 200.
func pageSize(asked int) int {
	if asked <= 0 {
		return 50
	}
	return min(asked, 200)
}
