package registry

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// telling is a fact that workflows must hear of, written in the transaction that made it true.
type telling struct {
	protocol string
	targets  []uuid.UUID
	fact     string
}

// hear notes that the cases of a protocol must be told a fact. A workflow that hears one looks at the record again, so
// hearing it twice, late or out of order does no harm.
func (a *act) hear(protocol, fact string, targets ...uuid.UUID) {
	if len(targets) > 0 {
		a.tellers = append(a.tellers, telling{protocol, targets, fact})
	}
}

func queueTellings(b *pgx.Batch, tellers []telling) {
	for _, t := range tellers {
		payload, _ := json.Marshal(map[string]string{"fact": t.fact}) // a map of strings marshals
		b.Queue(`INSERT INTO outbox (kind, targets, payload) VALUES ($1, $2, $3)`, t.protocol, t.targets, payload)
	}
}

// Telling is an outbox row to deliver: Protocol's workflows of the Targets must hear the Fact.
type Telling struct {
	ID       int64
	Protocol string
	Targets  []uuid.UUID
	Fact     string
	Attempts int
}

// TakeTellings leases up to most rows that wait, oldest first, to this caller alone for a while. A row that is neither
// Told nor PutOff by then is given out again, so a relay that dies loses nothing.
//
// The outbox holds ids and codes only, and is the desk's own: no policy is asked.
func (s *Store) TakeTellings(ctx context.Context, most int, lease time.Duration) ([]Telling, error) {
	rows, err := s.pool.Query(ctx, `
		UPDATE outbox SET attempts = attempts + 1, next_at = now() + make_interval(secs => $2)
		WHERE id IN (SELECT id FROM outbox WHERE delivered_at IS NULL AND next_at <= now() ORDER BY next_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
		RETURNING id, kind, targets, payload->>'fact', attempts`, most, lease.Seconds())
	if err != nil {
		return nil, translate(err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Telling, err error) {
		return t, row.Scan(&t.ID, &t.Protocol, &t.Targets, &t.Fact, &t.Attempts)
	})
	return out, translate(err)
}

// Told marks a row as delivered.
func (s *Store) Told(ctx context.Context, id int64) error {
	_, err := s.pool.Exec(ctx, `UPDATE outbox SET delivered_at = now(), last_error = NULL WHERE id = $1`, id)
	return translate(err)
}

// PutOff gives a row back to be tried again after a while. reason is a code.
func (s *Store) PutOff(ctx context.Context, id int64, after time.Duration, reason string) error {
	_, err := s.pool.Exec(ctx, `UPDATE outbox SET next_at = now() + make_interval(secs => $2), last_error = $3 WHERE id = $1`, id, after.Seconds(), reason)
	return translate(err)
}

// OutboxWaiting counts the rows that are not delivered, for the metrics.
func (r *Reader) OutboxWaiting(ctx context.Context) (int64, error) {
	var n int64
	err := r.pool.QueryRow(ctx, `SELECT count(*) FROM outbox WHERE delivered_at IS NULL`).Scan(&n)
	return n, translate(err)
}

// Listen sends on wake whenever a row enters the outbox, until ctx ends. It holds a connection of its own, and returns
// an error when that is lost: what was said meanwhile is found by looking.
func (s *Store) Listen(ctx context.Context, wake chan<- struct{}) error {
	return s.listenOn(ctx, wake, "outbox")
}

// listenOn is Listen for any channels.
func (s *Store) listenOn(ctx context.Context, wake chan<- struct{}, channels ...string) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return translate(err)
	}
	defer conn.Release()
	for _, channel := range channels {
		if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
			return translate(err)
		}
	}
	defer func() { _, _ = conn.Exec(context.WithoutCancel(ctx), `UNLISTEN *`) }()
	for {
		if _, err := conn.Conn().WaitForNotification(ctx); err != nil {
			return translate(err)
		}
		select {
		case wake <- struct{}{}:
		default: // somebody is waking already
		}
	}
}

// remembered runs do once for a key, whatever happens to the answers: a retry of the same command finds the first
// result. It belongs inside an act, so that the command and its memory are one.
func remembered[T any](ctx context.Context, a *act, key string, do func() (T, error)) (T, error) {
	var result T
	var known []byte
	err := a.QueryRow(ctx, `SELECT result FROM command_log WHERE key = $1`, key).Scan(&known)
	switch {
	case err == nil:
		return result, json.Unmarshal(known, &result)
	case !errors.Is(err, pgx.ErrNoRows):
		return result, err
	}
	if result, err = do(); err != nil {
		return result, err
	}
	return result, a.remember(key, result)
}

// remember keeps what a command did, with the act. Two at once with one key: the second breaks on it, is rolled back
// whole, and finds the first's result when it is tried again.
func (a *act) remember(key string, result any) error {
	encoded, err := json.Marshal(result)
	if err != nil {
		return err
	}
	a.writes.Queue(`INSERT INTO command_log (key, result) VALUES ($1, $2)`, key, encoded)
	return nil
}
