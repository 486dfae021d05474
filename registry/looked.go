package registry

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
)

// What somebody has seen of a case: when they last looked, so that a list can say that something happened since, and a timeline can draw
// the line. It is each member of staff's own, and nobody else reads it.

// LookView is a look at a case.
type LookView struct {
	CaseID   uuid.UUID  `json:"case" class:"case" mask:"drop"`
	LookedAt time.Time  `json:"looked_at" class:"case" mask:"drop"`
	Since    *time.Time `json:"since,omitempty" doc:"When they looked last on an earlier visit; looks within half an hour of one another are one visit. Absent the first time." class:"case" mask:"drop"`
}

// sameVisit is how long after a look another one still belongs to the same visit: who opens another tab of a case's page, or loads it again, still sees
// what happened while they were away.
const sameVisit = 30 * time.Minute

// LookAtCase notes that the actor looks at a case, and tells when they looked last on an earlier visit. Events that were recorded after that are new to them.
func (s *Store) LookAtCase(ctx context.Context, actor Actor, id uuid.UUID) (LookView, error) {
	var at *atTable
	var out *LookView
	first := func(a *act, b *pgx.Batch) {
		at = a.queueTable(b, id)
		out = a.queueLook(b, id)
	}
	err := s.actFrom(ctx, actor, "LookAtCase", policy.ForCase, first, func(_ context.Context, a *act) error {
		if err := a.permitTable(at); err != nil {
			return err
		}
		return a.looked(id)
	})
	if err != nil {
		return LookView{}, err
	}
	return *out, nil
}

func (a *act) queueLook(b *pgx.Batch, id uuid.UUID) *LookView {
	out := &LookView{CaseID: id}
	// The database's clock, as for the events: that two processes' clocks differ must hide nothing.
	b.Queue(`
		SELECT now(), (SELECT CASE WHEN looked_at < now() - $3::interval THEN looked_at ELSE visited_at END FROM case_looks WHERE staff_id = $1 AND case_id = $2)`,
		a.actor.staff, id, sameVisit).QueryRow(func(row pgx.Row) error { return row.Scan(&out.LookedAt, &out.Since) })
	return out
}

// looked keeps that the actor looks at a case.
func (a *act) looked(id uuid.UUID) error {
	if a.actor.staff == uuid.Nil {
		return &Error{Kind: Unsigned, Code: "not_signed_in"} // a protocol has no eyes
	}
	a.writes.Queue(`
		INSERT INTO case_looks (staff_id, case_id, looked_at) VALUES ($1, $2, now())
		ON CONFLICT (staff_id, case_id) DO UPDATE SET looked_at = greatest(case_looks.looked_at, excluded.looked_at),
			visited_at = CASE WHEN case_looks.looked_at < now() - $3::interval THEN case_looks.looked_at ELSE case_looks.visited_at END`, a.actor.staff, id, sameVisit)
	return nil
}

// LookedAt tells when the actor last looked at a case, the zero time when never.
func (r *Reader) LookedAt(ctx context.Context, actor Actor, id uuid.UUID) (time.Time, error) {
	var at time.Time
	err := r.act(ctx, actor, "LookedAt", policy.ForCase, func(ctx context.Context, a *act) error {
		if _, err := a.atTable(ctx, id); err != nil {
			return err
		}
		err := a.QueryRow(ctx, `SELECT looked_at FROM case_looks WHERE staff_id = $1 AND case_id = $2`, actor.staff, id).Scan(&at)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return at, err
}
