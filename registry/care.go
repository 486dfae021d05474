package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
)

// startCare lays a donor's follow-up on the calendar: one touch for each entry of the schedule, counted from the first
// day of collection, and starts the plan's protocol.
func (a *act) startCare(ctx context.Context, c caseRow) error {
	var start calendar.Date
	var person uuid.UUID
	err := a.QueryRow(ctx, `SELECT coalesce(min(d.collected_on), $2), r.person_id FROM registrations r LEFT JOIN donations d ON d.registration_id = r.id AND d.case_id = $3 WHERE r.id = $1 GROUP BY r.person_id`,
		c.Subject, a.today(), c.ID).Scan(&start, &person)
	if err != nil {
		return err
	}
	id := newID()
	number, err := a.number(ctx, "CP")
	if err != nil {
		return err
	}
	_, err = a.Exec(ctx, `
		INSERT INTO care_plans (id, case_id, person_id, registration_id, template, region, starts_on, status) VALUES ($1, $2, $3, $4, 'stemcell_donor', $5, $6, 'active')`,
		id, c.ID, person, c.Subject, string(c.Region), start)
	if err != nil {
		return err
	}
	for i, span := range a.rules(c.Region).Spans(rules.StemCellFollowUp) {
		_, err := a.Exec(ctx, `INSERT INTO touches (id, plan_id, position, key, due_on, status) VALUES ($1, $2, $3, $4, $5, 'planned')`,
			newID(), id, i+1, fmt.Sprintf("%d%s", span.N, span.Unit), span.On(start, nil))
		if err != nil {
			return err
		}
	}
	err = a.openCase(ctx, caseRow{ID: id, Number: number, Protocol: CareProtocol, Subject: c.Subject, Region: c.Region, Organisation: c.Organisation, Step: "care.follow_up"},
		map[string]seat{SeatCoordinator: {"donor", c.Organisation}})
	if err != nil {
		return err
	}
	a.event(Event{Code: "care.started", CaseID: c.ID, RegistrationID: c.Subject, Args: map[string]any{"Number": number}})
	a.hear(string(CareProtocol), "started", id)
	return nil
}

// CareFacts are the records that a care plan goes on from.
type CareFacts struct {
	Snapshot
	Touches []TouchRow `json:"touches"` // those that are not answered, missed or cancelled, in their order
}

// TouchRow is one planned contact with the donor.
type TouchRow struct {
	Position int       `json:"position"`
	Key      string    `json:"key"`
	Due      time.Time `json:"due"` // the beginning of its day, in the office's zone
}

// LoadCare reads a care plan for its protocol.
func (s *Store) LoadCare(ctx context.Context, actor Actor, id uuid.UUID) (CareFacts, error) {
	var out CareFacts
	err := s.act(ctx, actor, "LoadCare", policy.ForFollowUp, func(ctx context.Context, a *act) (err error) {
		if out.Snapshot, err = a.snapshot(ctx, id); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT position, key, due_on FROM touches WHERE plan_id = $1 AND status IN ('planned', 'asked') ORDER BY position`, id)
		if err != nil {
			return err
		}
		out.Touches, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t TouchRow, err error) {
			var due calendar.Date
			err = row.Scan(&t.Position, &t.Key, &due)
			t.Due = due.Start(Zone)
			return t, err
		})
		return err
	})
	return out, err
}

// recordFollowUp writes an answered touch; a flag that needs a person alerts the office, and who opts out is not asked
// again.
func recordFollowUp(ctx context.Context, a *act, c caseRow, t taskRow, form forms.Form, o forms.Outcome) error {
	f := form.(*forms.FollowUp)
	status := "answered"
	if o.Code == "unreachable" {
		status = "missed"
	}
	flags := f.Flags
	if flags == nil {
		flags = []string{}
	}
	_, err := a.Exec(ctx, `UPDATE touches SET status = $3, flags = $4, answered_on = $5 WHERE plan_id = $1 AND position = $2`, c.ID, t.Round, status, flags, o.On)
	if err != nil {
		return err
	}
	if len(flags) > 0 || o.Reason == "worse" {
		a.tell(notice{code: "care.alert", args: map[string]any{"Flags": eventArgs(o)["Flags"]}, role: string(policy.Coordinator), region: c.Region, caseID: c.ID, urgent: true,
			dedupe: fmt.Sprintf("care.alert/%s/%d", c.ID, t.Round)})
		args := eventArgs(o)
		if len(flags) == 0 {
			args["Flags"] = []string{o.Reason}
		}
		a.event(Event{Code: "care.alert", CaseID: c.ID, Args: args})
	}
	if o.Code == "answered" {
		_, err = a.Exec(ctx, `UPDATE persons p SET last_contact = $2, updated_at = now() FROM registrations r WHERE r.id = $1 AND p.id = r.person_id`, c.Subject, o.On)
	}
	return err
}

// MissTouch notes that a touch's window closed without an answer.
func (s *Store) MissTouch(ctx context.Context, actor Actor, in Advance, position int) (Moved, error) {
	var out Moved
	err := s.act(ctx, actor, "MissTouch", policy.ForFollowUp, func(ctx context.Context, a *act) (err error) {
		a.at = in.At
		c, err := a.readCase(ctx, in.CaseID, true)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Case, c.record(nil)); err != nil {
			return err
		}
		out, err = remembered(ctx, a, fmt.Sprintf("touch/%s/%d", in.CaseID, position), func() (Moved, error) {
			if _, err := a.Exec(ctx, `UPDATE touches SET status = 'missed' WHERE plan_id = $1 AND position = $2`, in.CaseID, position); err != nil {
				return Moved{}, err
			}
			if err := a.closeTasks(ctx, in.CaseID, "expired"); err != nil {
				return Moved{}, err
			}
			a.event(Event{Code: "care.missed", CaseID: in.CaseID, Args: map[string]any{"Position": position}})
			return a.move(ctx, &c, in.Version, in.Move)
		})
		return err
	})
	return out, err
}

// endCare closes the plan whose case has ended.
func endCare(ctx context.Context, a *act, c caseRow, m Move) error {
	_, err := a.Exec(ctx, `
		WITH rest AS (UPDATE touches SET status = 'cancelled' WHERE plan_id = $1 AND status IN ('planned', 'asked'))
		UPDATE care_plans SET status = $2, version = version + 1 WHERE id = $1`, c.ID, m.Ending)
	return err
}

// NoticeView is a notice as its reader sees it.
type NoticeView struct {
	ID     uuid.UUID      `json:"id" class:"notice" mask:"drop"`
	At     time.Time      `json:"at" class:"notice" mask:"drop"`
	Code   string         `json:"code" class:"notice" mask:"drop"`
	Text   string         `json:"text" class:"notice" mask:"drop"`
	Args   map[string]any `json:"args,omitempty" class:"notice" mask:"drop"`
	CaseID *uuid.UUID     `json:"case,omitempty" class:"notice" mask:"drop"`
	TaskID *uuid.UUID     `json:"task,omitempty" class:"notice" mask:"drop"`
	Urgent bool           `json:"urgent" class:"notice" mask:"drop"`
	Read   bool           `json:"read" class:"notice" mask:"drop"`
}

// heardBy tells that a notice is for the actor: $1 is who it is, $2 whether the organisation's are among what they read, $3 the
// organisation, $4 and $5 the regions.
const heardBy = `(n.staff_id = $1 OR n.staff_id IS NULL
	AND (n.role = '' OR n.role IN (SELECT g.role FROM role_grants g WHERE g.staff_id = $1 AND g.revoked_at IS NULL AND g.until > now()))
	AND ($2 AND n.organisation_id = $3
		OR n.organisation_id IS NULL AND EXISTS (SELECT FROM unnest($4::text[], $5::text[]) s(lo, hi) WHERE n.region >= lo AND n.region < hi)))`

// ListNotices returns the notices to the actor, and those to their organisation or their regions that are for everybody or
// for a role they have, the newest first.
func (r *Reader) ListNotices(ctx context.Context, actor Actor, unreadOnly bool, before time.Time, beforeID uuid.UUID, limit int) ([]NoticeView, error) {
	var out []NoticeView
	err := r.act(ctx, actor, "ListNotices", policy.ForCase, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Notice)
		if before.IsZero() {
			before, beforeID = a.now().Add(time.Hour), uuid.Max
		}
		rows, err := a.Query(ctx, `
			SELECT n.id, n.created_at, n.code, n.args, n.case_id, n.task_id, n.urgent, n.read_at IS NOT NULL, n.region FROM notices n
			WHERE (n.created_at, n.id) < ($6, $7) AND (NOT $8 OR n.read_at IS NULL) AND `+heardBy+` ORDER BY n.created_at DESC, n.id DESC LIMIT $9`,
			actor.staff, within.site || len(within.lo) > 0, within.organisation, within.lo, within.hi, before, beforeID, unreadOnly, pageSize(limit))
		if err != nil {
			return err
		}
		var regions []identity.Region
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (n NoticeView, err error) {
			var region identity.Region
			err = row.Scan(&n.ID, &n.At, &n.Code, &n.Args, &n.CaseID, &n.TaskID, &n.Urgent, &n.Read, &region)
			regions = append(regions, region)
			return n, err
		})
		if err != nil {
			return err
		}
		var paths []string
		for _, region := range regions {
			paths = append(paths, regionPath(region)...)
		}
		slices.Sort(paths)
		own, err := readWordings(ctx, a.Tx, OnScreen, actor.Locale, slices.Compact(paths))
		if err != nil {
			return err
		}
		for i, n := range out {
			out[i].Text = own.say(actor.Locale, OnScreen, regions[i], n.Code, n.Args)
		}
		return a.permitList(policy.Notice, within, "notices", idsOf(out, func(n NoticeView) uuid.UUID { return n.ID }))
	})
	return out, err
}

// ReadNotice marks a notice as read by the actor.
func (s *Store) ReadNotice(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.act(ctx, actor, "ReadNotice", policy.ForCase, func(ctx context.Context, a *act) error {
		var region string
		var organisation *uuid.UUID
		err := a.QueryRow(ctx, `SELECT region, organisation_id FROM notices WHERE id = $1`, id).Scan(&region, &organisation)
		if errors.Is(err, pgx.ErrNoRows) {
			return a.absent("notice", id)
		}
		if err != nil {
			return err
		}
		rec := record{kind: "notice", id: id.String(), region: identity.Region(region)}
		if organisation != nil {
			rec.sites = []uuid.UUID{*organisation}
		}
		if err := a.permit(policy.Read, policy.Notice, rec); err != nil {
			return err
		}
		_, err = a.Exec(ctx, `UPDATE notices SET read_at = now(), read_by = $2 WHERE id = $1 AND read_at IS NULL`, id, actor.staff)
		return err
	})
}
