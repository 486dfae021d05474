package registry

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/rules"
)

// How much one person may look at. Whoever may see a region's donors needs some of them each day, and never all: who opens
// one after the other is stopped, and who asks for many texts in clear is noticed.

// brakeCode is the error of who has opened as many donors as a day has.
const brakeCode = "donors_a_day"

// openDonor notes that the actor opened a donor today, and refuses one too many. Who was opened before that may be opened again.
func (a *act) openDonor(ctx context.Context, registration uuid.UUID, brake bool) error {
	if a.actor.staff == uuid.Nil {
		return nil
	}
	most := a.rules(a.actor.region).Count(rules.AccessDonorsADay)
	// One after the other: of two who count at once, neither would see the other's.
	var before int
	var fresh bool
	var b pgx.Batch
	b.Queue(`SELECT pg_advisory_xact_lock(hashtextextended('openings/' || $1, 0))`, a.actor.staff.String())
	b.Queue(`
		WITH fresh AS (INSERT INTO openings (staff_id, day, registration_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1)
		SELECT (SELECT count(*) FROM openings WHERE staff_id = $1 AND day = $2), EXISTS (SELECT FROM fresh)`, a.actor.staff, a.today(), registration).QueryRow(func(row pgx.Row) error { return row.Scan(&before, &fresh) })
	if err := a.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if brake && fresh && before >= most {
		return a.deny(&Error{Kind: Locked, Code: "donors_a_day", Args: map[string]any{"Most": most}, RetryAfter: a.today().AddDays(1).Start(Zone).Sub(a.at)})
	}
	return nil
}

// braked tells the security administrators and the office, once a day, that somebody was stopped, and gives the error back. What
// the act itself would have told went with it.
func (r *Reader) braked(ctx context.Context, actor Actor, err error) error {
	code, told := CodeOf(err), map[string]string{brakeCode: "access.braked", probesCode: "access.probed"}
	if told[code] == "" {
		return err
	}
	now := r.now()
	day := now.In(Zone).Format(time.DateOnly)
	failed := r.internally(ctx, func(tx pgx.Tx) error {
		first := notice{code: told[code], args: map[string]any{"Staff": actor.staff.String(), "Day": day}, dedupe: told[code] + "/" + actor.staff.String() + "/" + day}
		notices, err := watchers(ctx, tx, actor, first, now)
		if err != nil {
			return err
		}
		var b pgx.Batch
		queueNotices(&b, notices)
		return tx.SendBatch(ctx, &b).Close()
	})
	if failed != nil {
		r.log.Error("nobody could be told of a braked reader", append([]zap.Field{zap.String("request", actor.Request)}, describe(failed)...)...)
	}
	return err
}

// keepReveal writes down what is shown in clear, and has somebody look when it is much.
func (a *act) keepReveal(ctx context.Context, row registrationRow, f RevealForm, fields []string) error {
	if a.actor.staff == uuid.Nil {
		return nil
	}
	id := newID()
	var note []byte
	if !f.Note.Empty() {
		key, err := a.keyOf(ctx, row.Person)
		if err != nil {
			return err
		}
		if note, err = key.Seal(cell("reveals", "note", id), f.Note.Reveal()); err != nil {
			return sealed(err)
		}
	}
	var before int
	err := a.QueryRow(ctx, `SELECT count(*) FROM reveals WHERE staff_id = $1 AND revealed_at > $2`, a.actor.staff, a.at.Add(-time.Hour)).Scan(&before)
	if err != nil {
		return err
	}
	a.writes.Queue(`INSERT INTO reveals (id, staff_id, registration_id, person_id, revealed_at, fields, reason, note_sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		id, a.actor.staff, row.ID, row.Person, a.at, fields, f.Reason, note)
	most := a.rules(a.actor.region).Count(rules.AccessRevealsAnHour)
	if before < most {
		return nil
	}
	hour := a.at.In(Zone).Format("2006-01-02T15")
	notices, err := watchers(ctx, a.Tx, a.actor, notice{code: "access.reveals", args: map[string]any{"Staff": a.actor.staff.String(), "Most": most},
		dedupe: "access.reveals/" + a.actor.staff.String() + "/" + hour}, a.at)
	for _, n := range notices {
		a.tell(n)
	}
	return err
}

// watchers addresses a notice to the office of somebody and to each security administrator of its region: they reach no rows by
// place, so the notice is to them in person.
func watchers(ctx context.Context, tx pgx.Tx, actor Actor, n notice, at time.Time) ([]notice, error) {
	rows, err := tx.Query(ctx, `SELECT DISTINCT g.staff_id FROM role_grants g JOIN staff s ON s.id = g.staff_id
		WHERE g.role = $1 AND g.region = ANY($2) AND g.revoked_at IS NULL AND g.until > $3 AND s.active`, string(policy.SecurityAdministrator), regionPath(actor.region), at)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, err
	}
	n.organisation, n.region, n.at = actor.organisation, actor.region, at
	out := []notice{n}
	for _, id := range ids {
		personal := n
		personal.staff, personal.dedupe = id, n.dedupe+"/"+id.String()
		out = append(out, personal)
	}
	return out, nil
}
