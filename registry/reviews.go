package registry

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
)

// What waits for somebody's judgement, in one list with its clock: emergency access that nobody has reviewed, texts that were held, exports that
// somebody asks for, and requests about data.

// The kinds of what waits.
const (
	ReviewsEmergency = "emergency"
	ReviewsMessage   = "message"
	ReviewsExport    = "export"
	ReviewsRights    = "rights"
)

// Review is one thing that waits for a judgement.
type Review struct {
	Kind         string          `json:"kind" doc:"emergency, message, export or rights." class:"review" mask:"drop"`
	ID           uuid.UUID       `json:"id" class:"review" mask:"drop"`
	Number       string          `json:"number,omitempty" doc:"Of the donor, the case or the request, for a reader who reaches it." class:"review" mask:"drop"`
	About        string          `json:"about" doc:"What kind of it: an emergency's category, a request's kind and step, an export's purpose, the side that wrote." class:"review" mask:"drop"`
	Region       identity.Region `json:"region" class:"review" mask:"drop"`
	Organisation uuid.UUID       `json:"organisation,omitzero" doc:"Whose it is." class:"review" mask:"drop"`
	Office       string          `json:"office,omitempty" doc:"What that is called." class:"review" mask:"drop"`
	Own          bool            `json:"own,omitempty" doc:"The reader's own: somebody else judges it." class:"review" mask:"drop"`
	Since        time.Time       `json:"since" class:"review" mask:"drop"`
	Due          *time.Time      `json:"due,omitempty" doc:"Absent where no rule counts." class:"review" mask:"drop"`
	DaysLeft     int             `json:"days_left" doc:"Working days until it is due, less than 0 once it is overdue." class:"review" mask:"drop"`
	Overdue      bool            `json:"overdue,omitempty" class:"review" mask:"drop"`
}

// ReviewFilter narrows the list of what waits.
type ReviewFilter struct {
	Kind    string // empty is all
	Overdue bool
}

// mostReviews is how many of each kind the list has: what is more is worked off from its front.
const mostReviews = 200

// ListReviews returns what waits for a judgement in the actor's regions, what is due first first.
func (r *Reader) ListReviews(ctx context.Context, actor Actor, f ReviewFilter) ([]Review, error) {
	var out []Review
	err := r.act(ctx, actor, "ListReviews", policy.ForCase, func(ctx context.Context, a *act) error {
		out = []Review{}
		judged, asked := a.reachOf(policy.Read, policy.Review), a.rightsReach()
		decided := a.reachOf(policy.Decide, policy.Review)
		for _, list := range []struct {
			kind   string
			within reach
			query  string
			args   []any
		}{
			{ReviewsEmergency, judged, `
				SELECT e.id, coalesce((SELECT number FROM registrations g WHERE g.id = e.registration_id), ''), e.category, e.office_region, e.organisation_id, e.staff_id = $4, e.opened_at, e.review_due
				FROM emergency_access e WHERE e.verdict IS NULL
					AND EXISTS (SELECT FROM unnest($1::text[], $2::text[]) s(lo, hi) WHERE e.region >= lo AND e.region < hi OR e.office_region >= lo AND e.office_region < hi)
				ORDER BY e.review_due LIMIT $3`, []any{a.actor.staff}},
			// What the patient's side wrote is the bridge's alone, as in HeldMessages.
			{ReviewsMessage, decided, `
				SELECT m.id, c.number, m.side, CASE m.side WHEN 'donor' THEN c.region ELSE '000000' END, NULL::uuid, m.staff_id = $4, m.written_at, NULL::timestamptz
				FROM link.messages m JOIN cases c ON c.id = m.case_id
				WHERE m.status = 'held' AND EXISTS (SELECT FROM unnest($1::text[], $2::text[]) s(lo, hi) WHERE CASE m.side WHEN 'donor' THEN c.region ELSE '000000' END >= lo AND CASE m.side WHEN 'donor' THEN c.region ELSE '000000' END < hi)
				ORDER BY m.written_at LIMIT $3`, []any{a.actor.staff}},
			{ReviewsExport, judged, `
				SELECT e.id, '', e.purpose, e.region, e.organisation_id, e.staff_id = $4, e.asked_at, e.decide_by
				FROM exports e WHERE e.withdrawn_at IS NULL AND e.verdict IS NULL AND e.decide_by > $5
					AND EXISTS (SELECT FROM unnest($1::text[], $2::text[]) s(lo, hi) WHERE e.region >= lo AND e.region < hi)
				ORDER BY e.decide_by LIMIT $3`, []any{a.actor.staff, a.now()}},
			{ReviewsRights, asked, `
				SELECT q.id, q.number, q.kind || ' ' || c.step, q.region, q.organisation_id, q.filed_by = $4, q.filed_at, NULL::timestamptz
				FROM rights_requests q JOIN cases c ON c.id = q.id WHERE c.status = 'open'
					AND EXISTS (SELECT FROM unnest($1::text[], $2::text[]) s(lo, hi) WHERE q.region >= lo AND q.region < hi)
				ORDER BY q.filed_at LIMIT $3`, []any{a.actor.staff}},
		} {
			if f.Kind != "" && f.Kind != list.kind || len(list.within.lo) == 0 {
				continue
			}
			rows, err := a.Query(ctx, list.query, append([]any{list.within.lo, list.within.hi, mostReviews}, list.args...)...)
			if err != nil {
				return err
			}
			found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (v Review, err error) {
				var organisation *uuid.UUID
				v.Kind = list.kind
				err = row.Scan(&v.ID, &v.Number, &v.About, &v.Region, &organisation, &v.Own, &v.Since, &v.Due)
				if organisation != nil {
					v.Organisation = *organisation
				}
				return v, err
			})
			if err != nil {
				return err
			}
			out = append(out, found...)
		}
		if err := a.clockReviews(ctx, out); err != nil {
			return err
		}
		out = slices.DeleteFunc(out, func(v Review) bool { return f.Overdue && !v.Overdue })
		slices.SortStableFunc(out, func(x, y Review) int {
			if x.Due == nil || y.Due == nil {
				return cmp.Or(cmp.Compare(boolOf(x.Due == nil), boolOf(y.Due == nil)), x.Since.Compare(y.Since))
			}
			return cmp.Or(x.Due.Compare(*y.Due), x.Since.Compare(y.Since))
		})
		class, within := policy.Review, judged
		if judged.empty() {
			class, within = policy.Rights, asked
		}
		return a.permitList(class, within, "reviews", idsOf(out, func(v Review) uuid.UUID { return v.ID }), a.narrowed("kind", f.Kind))
	})
	return out, err
}

func boolOf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rightsReach is where the actor reads requests about data, which is for their own purpose.
func (a *act) rightsReach() reach {
	purpose := a.purpose
	a.purpose = policy.ForRights
	defer func() { a.purpose = purpose }()
	return a.reachOf(policy.Read, policy.Rights)
}

// clockReviews counts how long there is for each, and says whose it is.
func (a *act) clockReviews(ctx context.Context, list []Review) error {
	var offices []uuid.UUID
	for i := range list {
		v := &list[i]
		offices = append(offices, v.Organisation)
		if v.Kind == ReviewsRights {
			in := a.book.For(v.Region, calendar.Of(v.Since, Zone))
			due := in.Span(rules.RightsMax).On(calendar.Of(v.Since, Zone), nil).AddDays(1).Start(Zone)
			v.Due = &due
		}
		if v.Due == nil {
			continue
		}
		cal, err := a.calendar(ctx, v.Region)
		if err != nil {
			return err
		}
		v.Overdue = v.Due.Before(a.now())
		v.DaysLeft = cal.WorkingDaysBetween(a.today(), calendar.Of(v.Due.Add(-time.Second), Zone))
	}
	rows, err := a.Query(ctx, `SELECT id, name FROM organisations WHERE id = ANY($1)`, offices)
	if err != nil {
		return err
	}
	names := map[uuid.UUID]string{}
	var id uuid.UUID
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { names[id] = name; return nil }); err != nil {
		return err
	}
	for i := range list {
		list[i].Office = names[list[i].Organisation]
	}
	return nil
}

// EmergencyCount is what emergency access an office's people opened, and what came of the reviews.
type EmergencyCount struct {
	Organisation uuid.UUID       `json:"organisation" class:"review" mask:"drop"`
	Office       string          `json:"office" class:"review" mask:"drop"`
	Region       identity.Region `json:"region" class:"review" mask:"drop"`
	Opened       int             `json:"opened" class:"review" mask:"drop"`
	Justified    int             `json:"justified" class:"review" mask:"drop"`
	NotJustified int             `json:"not_justified" class:"review" mask:"drop"`
	Waiting      int             `json:"waiting" doc:"Not reviewed yet, and not overdue." class:"review" mask:"drop"`
	Overdue      int             `json:"overdue" class:"review" mask:"drop"`
}

// CountEmergencies counts the emergency access that was opened from one instant to another, by office, for who reads reviews there.
func (r *Reader) CountEmergencies(ctx context.Context, actor Actor, from, to time.Time) ([]EmergencyCount, error) {
	var out []EmergencyCount
	err := r.act(ctx, actor, "CountEmergencies", policy.ForEmergency, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Review)
		if to.IsZero() {
			to = a.now().Add(time.Hour)
		}
		rows, err := a.Query(ctx, `
			SELECT o.id, o.name, o.region, count(*), count(*) FILTER (WHERE e.verdict = 'justified'), count(*) FILTER (WHERE e.verdict = 'not_justified'),
				count(*) FILTER (WHERE e.verdict IS NULL AND e.review_due >= $3), count(*) FILTER (WHERE e.verdict IS NULL AND e.review_due < $3)
			FROM emergency_access e JOIN organisations o ON o.id = e.organisation_id
			WHERE e.opened_at >= $1 AND e.opened_at < $2
				AND EXISTS (SELECT FROM unnest($4::text[], $5::text[]) s(lo, hi) WHERE e.region >= lo AND e.region < hi OR e.office_region >= lo AND e.office_region < hi)
			GROUP BY o.id ORDER BY o.region, o.id`, from, to, a.now(), within.lo, within.hi)
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[EmergencyCount]); err != nil {
			return err
		}
		return a.permitList(policy.Review, within, "emergencies", idsOf(out, func(c EmergencyCount) uuid.UUID { return c.Organisation }))
	})
	return out, err
}
