package registry

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/identity"
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

// opened tells whether something of a record was shown that is not shown to everybody who reads it: words, a name in clear.
func (e auditEntry) opened() bool {
	return e.Action != policy.Find && (e.Action != policy.Read || e.Fields != "")
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
	if err != nil || e.Organisation.String() != organisation {
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
		link := auditSeal{Seq: 1, At: s.now().UTC().Truncate(time.Microsecond), Previous: make([]byte, sha256.Size)}
		err = tx.QueryRow(ctx, `SELECT seq + 1, hash, total FROM audit_seals ORDER BY seq DESC LIMIT 1`).Scan(&link.Seq, &link.Previous, &link.Total)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		for _, e := range entries {
			sum := e.hash()
			link.IDs, link.Times, link.Hashes = append(link.IDs, e.ID), append(link.Times, e.At), append(link.Hashes, sum[:]...)
		}
		sealed = len(entries)
		link.Rows = sealed
		link.Total += int64(sealed)
		link.Hash = link.digest(s.keys)
		if link.Signature, err = s.keys.Sign(link.head(s.keys.Fingerprint()).text()); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO audit_seals (seq, sealed_at, rows, total, ids, times, hashes, previous, hash, signature) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			link.Seq, link.At, link.Rows, link.Total, link.IDs, link.Times, link.Hashes, link.Previous, link.Hash, link.Signature)
		return err
	})
	return sealed, translate(err)
}

// pageSize is how many records a page of a list has: 50 unless asked for, never more than 200.
func pageSize(asked int) int {
	if asked <= 0 {
		return 50
	}
	return min(asked, 200)
}
