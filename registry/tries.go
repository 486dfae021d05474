package registry

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
)

// try counts one more try of something that nobody may try without end, and refuses it once an hour has seen as many as it may. It
// counts with the act: what is refused, or fails, is not counted. Every process counts in the same rows.
func (a *act) try(ctx context.Context, kind, subject string, most int) error {
	hour := a.at.Truncate(time.Hour)
	var n int
	err := a.QueryRow(ctx, `INSERT INTO tries AS t (kind, subject, hour, n) VALUES ($1, $2, $3, 1) ON CONFLICT (kind, subject, hour) DO UPDATE SET n = t.n + 1 RETURNING n`, kind, subject, hour).Scan(&n)
	if err == nil && n > most {
		return &Error{Kind: Locked, Code: "tried_too_often", Args: map[string]any{"Most": most}, RetryAfter: hour.Add(time.Hour).Sub(a.at)}
	}
	return err
}

// sweepOwnForms destroys what volunteers began and nobody took in time, and forgets who tried what.
func (s *Store) sweepOwnForms(ctx context.Context) error {
	return s.act(ctx, System("upkeep"), "SweepOwnForms", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		var b pgx.Batch
		gone := 0
		b.Queue(`DELETE FROM tries WHERE hour < $1`, a.at.Add(-48*time.Hour))
		b.Queue(`WITH gone AS (UPDATE own_forms SET form_sealed = NULL, status = 'expired', version = version + 1 WHERE form_sealed IS NOT NULL AND expires_at < $1 RETURNING 1) SELECT count(*) FROM gone`, a.at).
			QueryRow(func(row pgx.Row) error { return row.Scan(&gone) })
		if err := a.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		return a.permitShown(policy.Write, policy.Intake, record{kind: "upkeep", id: "own_forms", region: nation}, gone)
	})
}
