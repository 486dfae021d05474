package registry

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
)

// A walk over the whole chain takes minutes. Whoever reads the audit asks for one, some process does it, and what it found is kept.

// Verification is a walk over the chain of seals: one that goes on, or one that was done.
type Verification struct {
	ID      uuid.UUID    `json:"id" class:"audit" mask:"drop"`
	AskedBy string       `json:"asked_by" class:"audit" mask:"drop"`
	AskedAt time.Time    `json:"asked_at" class:"audit" mask:"drop"`
	EndedAt *time.Time   `json:"ended_at,omitempty" doc:"Absent while it goes on." class:"audit" mask:"drop"`
	Done    int64        `json:"done" doc:"Rows that were looked at …" class:"audit" mask:"drop"`
	Total   int64        `json:"total" doc:"… of so many." class:"audit" mask:"drop"`
	Report  *AuditReport `json:"report,omitempty" doc:"What it found." class:"audit" mask:"drop"`
	Failed  string       `json:"failed,omitempty" doc:"Why it could not be done to its end, a code. It says nothing about the chain." class:"audit" mask:"drop"`
	UpTo    *time.Time   `json:"up_to,omitempty" doc:"Of a chain that is sound: when its last seal was made that was looked at." class:"audit" mask:"drop"`
}

// AuditChain is how the chain of seals stands.
type AuditChain struct {
	Seals   int64         `json:"seals" class:"audit" mask:"drop"`
	Rows    int64         `json:"rows" doc:"That the seals cover." class:"audit" mask:"drop"`
	Newest  *time.Time    `json:"newest,omitempty" doc:"When the newest seal was made." class:"audit" mask:"drop"`
	Waiting int64         `json:"waiting" doc:"Rows that are not sealed yet." class:"audit" mask:"drop"`
	Last    *Verification `json:"last,omitempty" doc:"The last walk that was done to its end." class:"audit" mask:"drop"`
	Running *Verification `json:"running,omitempty" doc:"The walk that goes on." class:"audit" mask:"drop"`
}

const verificationColumns = `v.id, v.asked_by, v.asked_at, v.ended_at, v.done, v.total, v.report, v.failed,
	(SELECT s.sealed_at FROM audit_seals s WHERE v.report->>'verified' = 'true' AND s.seq = (v.report->>'seals')::bigint)`

func scanVerification(row pgx.CollectableRow) (*Verification, error) {
	var v Verification
	return &v, row.Scan(&v.ID, &v.AskedBy, &v.AskedAt, &v.EndedAt, &v.Done, &v.Total, &v.Report, &v.Failed, &v.UpTo)
}

// verification reads the newest walk of which something holds; nil when there is none.
func (a *act) verification(ctx context.Context, where string) (*Verification, error) {
	rows, err := a.Query(ctx, `SELECT `+verificationColumns+` FROM audit_verifications v WHERE `+where+` ORDER BY v.asked_at DESC, v.id DESC LIMIT 1`)
	if err != nil {
		return nil, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, scanVerification)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // there is none
	}
	return v, err
}

// ShowChain tells how the chain of seals stands: how far it was verified, and the walk that goes on.
func (r *Reader) ShowChain(ctx context.Context, actor Actor) (AuditChain, error) {
	var out AuditChain
	err := r.act(ctx, actor, "ShowChain", policy.ForAudit, func(ctx context.Context, a *act) (err error) {
		if err := a.permitList(policy.Audit, a.reachOf(policy.Read, policy.Audit), "audit", nil); err != nil {
			return err
		}
		err = a.QueryRow(ctx, `
			SELECT coalesce(max(s.seq), 0), coalesce(max(s.total), 0), max(s.sealed_at), (SELECT count(*) FROM audit_unsealed)
			FROM (SELECT seq, total, sealed_at FROM audit_seals ORDER BY seq DESC LIMIT 1) s`).Scan(&out.Seals, &out.Rows, &out.Newest, &out.Waiting)
		if err != nil {
			return err
		}
		if out.Running, err = a.verification(ctx, `v.ended_at IS NULL`); err != nil {
			return err
		}
		out.Last, err = a.verification(ctx, `v.report IS NOT NULL`)
		return err
	})
	return out, err
}

// StartVerification asks for a walk over the chain of seals. One that goes on is given instead of a second.
func (s *Store) StartVerification(ctx context.Context, actor Actor) (Verification, error) {
	var out Verification
	err := s.act(ctx, actor, "StartVerification", policy.ForAudit, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Read, policy.Audit, record{kind: "audit", id: "chain", region: nation}); err != nil {
			return err
		}
		_, err := a.Exec(ctx, `INSERT INTO audit_verifications (id, asked_by, asked_at, total) VALUES ($1, $2, $3, (SELECT count(*) FROM audit_unsealed) + coalesce((SELECT total FROM audit_seals ORDER BY seq DESC LIMIT 1), 0))
			ON CONFLICT DO NOTHING`, newID(), a.actor.subject, a.at)
		if err != nil {
			return err
		}
		v, err := a.verification(ctx, `v.ended_at IS NULL`)
		if err == nil && v != nil {
			out = *v
		}
		return err
	})
	return out, err
}

// verificationSilence is after how long a walk whose process is not heard of is begun again by another.
const verificationSilence = 2 * time.Minute

// VerifyNext does the walk that somebody asked for and nobody does, and tells whether there was one. Who asked was permitted and audited then.
func (s *Store) VerifyNext(ctx context.Context) (bool, error) {
	var id uuid.UUID
	err := s.internally(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `UPDATE audit_verifications SET beat_at = now(), done = 0 WHERE ended_at IS NULL AND (beat_at IS NULL OR beat_at < now() - make_interval(secs => $1)) RETURNING id`,
			verificationSilence.Seconds()).Scan(&id)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	told := time.Now()
	report, err := s.verify(ctx, nil, func(done, total int64) {
		if time.Since(told) < time.Second {
			return
		}
		told = time.Now()
		// A beat that is lost is made up for by the next.
		_ = s.internally(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE audit_verifications SET beat_at = now(), done = $2, total = $3 WHERE id = $1 AND ended_at IS NULL`, id, done, total)
			return err
		})
	})
	if ctx.Err() != nil {
		return true, ctx.Err() // another process begins it again
	}
	failed := ""
	var found []byte
	if err != nil {
		if failed = CodeOf(err); failed == "" {
			failed = "internal"
		}
	} else if found, err = json.Marshal(report); err != nil {
		return true, err
	}
	return true, s.internally(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE audit_verifications SET ended_at = now(), beat_at = now(), done = $2, total = greatest(total, $2), report = $3, failed = $4 WHERE id = $1 AND ended_at IS NULL`,
			id, report.Rows, found, failed)
		return err
	})
}

// verify walks the chain in one snapshot.
func (s *Store) verify(ctx context.Context, kept *KeptHeads, progress func(done, total int64)) (AuditReport, error) {
	var report AuditReport
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		report = AuditReport{}
		return verifyChain(ctx, tx, s.keys, kept, &report, progress)
	})
	return report, translate(err)
}

// keepVerification keeps what a walk found that somebody did themselves.
func (s *Store) keepVerification(ctx context.Context, actor Actor, began time.Time, report AuditReport) error {
	found, err := json.Marshal(report)
	if err != nil {
		return err
	}
	return s.internally(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO audit_verifications (id, asked_by, asked_at, beat_at, ended_at, done, total, report) VALUES ($1, $2, $3, now(), now(), $4, $4, $5)`,
			newID(), actor.subject, began, report.Rows, found)
		return err
	})
}
