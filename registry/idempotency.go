package registry

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Remembered is the answer that a request with an idempotency key got.
type Remembered struct {
	Status int
	Header map[string]string
	Body   []byte
}

// stuckAfter is when a request that never got its answer is taken for lost with the process that answered it.
const stuckAfter = time.Minute

// Remember begins a request with an idempotency key, or finds the answer that it got. It returns nil for a request that is
// new: then Answered or Forget must follow.
//
// Errors: Conflict while the first request is still being answered, and when it was done and its answer died with the
// process that had it, or the grants have changed since; Refused when the key was used for another request.
func (s *Store) Remember(ctx context.Context, actor Actor, key, route string, body [32]byte) (*Remembered, error) {
	var out *Remembered
	// The digest that is stored is keyed: a body is mostly known, and a plain one would let a guess at the rest be tested.
	digest := s.keys.MAC("request", string(body[:]))
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			INSERT INTO idempotency_keys (staff_id, key, route, body_sha256, row_id) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (staff_id, key) DO UPDATE SET created_at = now()
				WHERE idempotency_keys.status IS NULL AND idempotency_keys.done_at IS NULL AND idempotency_keys.created_at < now() - make_interval(secs => $6)
					AND idempotency_keys.route = excluded.route AND idempotency_keys.body_sha256 = excluded.body_sha256`,
			actor.staff, key, route, digest[:], newID(), stuckAfter.Seconds())
		if err != nil || tag.RowsAffected() == 1 {
			return err
		}
		var id uuid.UUID
		var knownRoute string
		var knownBody, sealed []byte
		var status *int
		var lost, otherwise bool
		r := &Remembered{}
		err = tx.QueryRow(ctx, `
			SELECT row_id, route, body_sha256, status, header, body_sealed, coalesce(done_at < now() - make_interval(secs => $3), false),
				revision <> (SELECT p.revision FROM policy_revision p) FROM idempotency_keys WHERE staff_id = $1 AND key = $2`,
			actor.staff, key, stuckAfter.Seconds()).Scan(&id, &knownRoute, &knownBody, &status, &r.Header, &sealed, &lost, &otherwise)
		if err != nil {
			return err
		}
		switch {
		case knownRoute != route || !bytes.Equal(digest[:], knownBody):
			return refused("idempotency_key_reused")
		case status == nil && lost:
			return &Error{Kind: Conflict, Code: "request_was_done"}
		case status == nil:
			return &Error{Kind: Conflict, Code: "request_under_way", RetryAfter: time.Second}
		case otherwise: // a grant came or went since: what was shown then may not be theirs to see now
			return &Error{Kind: Conflict, Code: "request_was_done"}
		}
		r.Status = *status
		r.Body, err = s.keys.OpenBytes(cell("idempotency_keys", "body", id), sealed)
		out = r
		return err
	})
	var known *Error
	if errors.As(err, &known) {
		return nil, known
	}
	return out, translate(err)
}

// Answered keeps the answer that a request got, for a day.
func (s *Store) Answered(ctx context.Context, actor Actor, key string, r Remembered) error {
	return translate(pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var id uuid.UUID
		if err := tx.QueryRow(ctx, `SELECT row_id FROM idempotency_keys WHERE staff_id = $1 AND key = $2 FOR UPDATE`, actor.staff, key).Scan(&id); err != nil {
			return err
		}
		sealed, err := s.keys.SealBytes(cell("idempotency_keys", "body", id), r.Body)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE idempotency_keys SET status = $3, header = $4, body_sealed = $5, revision = (SELECT p.revision FROM policy_revision p) WHERE staff_id = $1 AND key = $2`, actor.staff, key, r.Status, r.Header, sealed)
		return err
	}))
}

// Forget gives a key free again whose request failed for a reason that a retry may mend, and did nothing.
func (s *Store) Forget(ctx context.Context, actor Actor, key string) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM idempotency_keys WHERE staff_id = $1 AND key = $2 AND status IS NULL AND done_at IS NULL`, actor.staff, key)
	return translate(err)
}
