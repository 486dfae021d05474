package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Emergency access (break-glass): who must know of a donor at once, and may not by place or case, opens a class of what the
// register knows of them, says why, and answers for it in a review. The lease ends by itself.

// lease is emergency access that runs.
type lease struct {
	ID      uuid.UUID      `json:"id"`
	Classes []policy.Class `json:"classes"`
	Until   time.Time      `json:"until"`
}

// leaseRule is what the audit gives as the rule of what a lease allowed, before the lease's id.
const leaseRule = "emergency_access:"

// leasesOf reads the actor's leases on a registration, in the statement that reads the registration. They are read in every act
// and kept in none: a lease ends at its instant, by this program's clock and by the database's.
const leasesOf = `(SELECT coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'classes', e.classes, 'until', e.until) ORDER BY e.until DESC), '[]') FROM emergency_access e
	WHERE e.registration_id = registrations.id AND e.staff_id = $2 AND e.until > now() AND e.until > $3 AND e.closed_at IS NULL)`

// leaseOn finds the lease by which the actor may see or open a class of a record. It covers what was asked for and nothing else,
// and only as long as the actor may break the glass at all: a role that is taken away takes its leases with it.
func (a *act) leaseOn(rec record, action policy.Action, class policy.Class) (lease, bool) {
	if rec.kind != "donor" || action != policy.Read && action != policy.Reveal || !slices.Contains(policy.Protected(), class) {
		return lease{}, false
	}
	for _, l := range rec.leases {
		if !slices.Contains(l.Classes, class) || !l.Until.After(a.now()) {
			continue
		}
		m := a.policy.Mask(a.actor.policySubject(), regionPath(a.actor.region), policy.None, policy.ForEmergency)
		if seen := m.Decide(class, action); m.Decide(class, policy.BreakGlass).Allowed && (seen.Allowed || seen.Rule == "") {
			return l, true
		}
	}
	return lease{}, false
}

// EmergencyForm opens classes of a donor in an emergency.
type EmergencyForm struct {
	Number   string         `json:"number" validate:"required,max=40" doc:"The donor's number."`
	Classes  []policy.Class `json:"classes" validate:"required,min=1,max=3,unique,dive,oneof=identity contact health" doc:"What must be seen: identity, contact, health."`
	Category string         `json:"category" validate:"required,oneof=donor_unwell patient_in_danger accident office_unreachable other"`
	Reason   seal.Note      `json:"reason" validate:"required,min=10,max=2000" doc:"What happened, in one's own words. It is sealed, and shown to who reviews."`
}

// EmergencyView is emergency access as the person who opened it and those who review it see it.
type EmergencyView struct {
	ID           uuid.UUID       `json:"id" class:"review" mask:"drop"`
	Donor        uuid.UUID       `json:"donor" doc:"The registration." class:"review" mask:"drop"`
	Number       string          `json:"number,omitempty" doc:"The donor's number, for a reader who reaches the donor." class:"review" mask:"drop"`
	Region       identity.Region `json:"region" doc:"Of the donor." class:"review" mask:"drop"`
	By           uuid.UUID       `json:"by" doc:"The member of staff." class:"review" mask:"drop"`
	Organisation uuid.UUID       `json:"organisation" doc:"Where they worked." class:"review" mask:"drop"`
	Classes      []policy.Class  `json:"classes" class:"review" mask:"drop"`
	Category     string          `json:"category" class:"review" mask:"drop"`
	OpenedAt     time.Time       `json:"opened_at" class:"review" mask:"drop"`
	Until        time.Time       `json:"until" class:"review" mask:"drop"`
	ClosedAt     *time.Time      `json:"closed_at,omitempty" doc:"When it was given back before its time." class:"review" mask:"drop"`
	Seconds      int             `json:"seconds_left" doc:"0 once it has ended." class:"review" mask:"drop"`
	ReviewDue    time.Time       `json:"review_due" class:"review" mask:"drop"`
	Verdict      string          `json:"verdict,omitempty" doc:"justified, not_justified; absent until it was reviewed." class:"review" mask:"drop"`
	ReviewedAt   *time.Time      `json:"reviewed_at,omitempty" class:"review" mask:"drop"`
	Version      int64           `json:"version" class:"open" mask:"none"`
	Told         string          `json:"told,omitempty" doc:"Who hears of it, to show to the person who opened it." class:"review" mask:"drop"`
}

// shortest is how many characters words of one's own must have to say anything.
const shortest = 10

// saysEnough refuses words that are only blanks.
func saysEnough(field string, note seal.Note) forms.Problems {
	if utf8.RuneCountInString(strings.TrimSpace(note.Reveal())) < shortest {
		return forms.Problems{{Code: "R120", Field: field, Args: map[string]any{"Limit": "10", "Bound": "≥"}}}
	}
	return nil
}

// BreakGlass opens protected classes of a donor to the actor for a time, wherever the donor is. The actor's supervisors and the
// office of the donor's region are told at once.
//
// Errors: Denied when the actor has no role that may, whether or not there is such a donor; Refused when the donor was erased.
func (s *Store) BreakGlass(ctx context.Context, actor Actor, f EmergencyForm) (EmergencyView, error) {
	var v EmergencyView
	actor.Purpose = "" // an emergency is a purpose of its own
	err := s.act(ctx, actor, "BreakGlass", policy.ForEmergency, func(ctx context.Context, a *act) error {
		problems := forms.Check(f)
		if len(problems) == 0 {
			problems = saysEnough("reason", f.Reason)
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		for _, class := range f.Classes {
			if err := a.permit(policy.BreakGlass, class, record{kind: "emergencies"}); err != nil {
				return err
			}
		}
		var person uuid.UUID
		var erased bool
		v = EmergencyView{
			ID: newID(), Number: strings.TrimSpace(f.Number), By: a.actor.staff, Organisation: a.actor.organisation, Classes: f.Classes, Category: f.Category,
			OpenedAt: a.at.Truncate(time.Microsecond), Version: 1, Told: a.actor.Locale.Say("emergency.told", nil),
		}
		err := a.QueryRow(ctx, `SELECT g.id, g.region, p.id, p.erased_at IS NOT NULL FROM registrations g JOIN persons p ON p.id = g.person_id WHERE g.number = $1`, v.Number).
			Scan(&v.Donor, &v.Region, &person, &erased)
		if errors.Is(err, pgx.ErrNoRows) {
			return a.absent("donor", "") // what was typed may be anything
		}
		if err != nil {
			return err
		}
		for i := range a.entries {
			a.entries[i].Target, a.entries[i].Region, a.entries[i].Reason = "donor:"+v.Donor.String(), v.Region, f.Category
		}
		if erased {
			return refused("person_erased")
		}
		region := a.actor.region
		cal, err := a.calendar(ctx, region)
		if err != nil {
			return err
		}
		r := a.rules(region)
		v.Until = v.OpenedAt.Add(time.Duration(r.Span(rules.AccessEmergency).Hours()) * time.Hour)
		v.Seconds = v.secondsLeft(a.now())
		v.ReviewDue = r.Deadline(rules.AccessReview, v.OpenedAt, cal, Zone).Due
		reason, err := a.keys.Seal(cell("emergency_access", "reason", v.ID), f.Reason.Reveal())
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `
			INSERT INTO emergency_access (id, staff_id, organisation_id, office_region, registration_id, region, classes, category, reason_sealed, opened_at, until, review_due)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			v.ID, v.By, v.Organisation, string(region), v.Donor, string(v.Region), v.Classes, v.Category, reason, v.OpenedAt, v.Until, v.ReviewDue)
		if err != nil {
			return err
		}
		args := map[string]any{"Number": v.Number, "Until": clockTime(v.Until)}
		a.event(Event{Code: "emergency.opened", PersonID: person, RegistrationID: v.Donor, Args: args})
		role, err := a.supervisors(ctx, region, v.By)
		if err != nil {
			return err
		}
		key := "emergency.opened/" + v.ID.String()
		a.tell(notice{code: "emergency.opened", args: args, role: role, region: region, urgent: true, dedupe: key + "/supervisor"})
		there := notice{code: "emergency.opened", args: args, region: v.Region, urgent: true, dedupe: key + "/office"}
		if there.organisation, err = a.officeOf(ctx, v.Region); CodeOf(err) == "no_office" {
			there.role = string(policy.ProvincialOffice) // an emergency does not wait until somebody enters an office
		} else if err != nil {
			return err
		}
		a.tell(there)
		return nil
	})
	if err != nil {
		return EmergencyView{}, err
	}
	return v, nil
}

func clockTime(at time.Time) string { return at.In(Zone).Format("2006-01-02 15:04") }

// supervisors is the role that hears of what somebody in a region does and reviews it: the city's office, or the province's where
// nobody is one but the person themselves.
func (a *act) supervisors(ctx context.Context, region identity.Region, person uuid.UUID) (string, error) {
	var some bool
	err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM role_grants g JOIN staff s ON s.id = g.staff_id
		WHERE g.role = $1 AND g.region = ANY($2) AND g.revoked_at IS NULL AND g.until > $3 AND s.active AND s.id <> $4)`,
		string(policy.CityOffice), regionPath(region), a.now(), person).Scan(&some)
	if some {
		return string(policy.CityOffice), err
	}
	return string(policy.ProvincialOffice), err
}

func (v *EmergencyView) secondsLeft(now time.Time) int {
	if v.ClosedAt != nil || !v.Until.After(now) {
		return 0
	}
	return int(v.Until.Sub(now).Seconds())
}

// emergencyColumns are read by scanEmergency. A donor whom the reader does not reach has no number.
const emergencyColumns = `e.id, e.registration_id, coalesce((SELECT number FROM registrations g WHERE g.id = e.registration_id), ''), e.region, e.staff_id, e.organisation_id, e.classes, e.category,
	e.opened_at, e.until, e.closed_at, e.review_due, coalesce(e.verdict, ''), e.reviewed_at, e.version, e.office_region`

type emergencyRow struct {
	EmergencyView
	office identity.Region
}

func (a *act) scanEmergency(row pgx.CollectableRow) (e emergencyRow, err error) {
	err = row.Scan(&e.ID, &e.Donor, &e.Number, &e.Region, &e.By, &e.Organisation, &e.Classes, &e.Category, &e.OpenedAt, &e.Until, &e.ClosedAt, &e.ReviewDue, &e.Verdict, &e.ReviewedAt, &e.Version, &e.office)
	e.Seconds = e.secondsLeft(a.now())
	return e, err
}

func (a *act) readEmergency(ctx context.Context, id uuid.UUID, lock string) (emergencyRow, error) {
	rows, err := a.Query(ctx, `SELECT `+emergencyColumns+` FROM emergency_access e WHERE e.id = $1 `+lock, id)
	if err != nil {
		return emergencyRow{}, err
	}
	e, err := pgx.CollectExactlyOneRow(rows, a.scanEmergency)
	if errors.Is(err, pgx.ErrNoRows) {
		return e, a.absent("emergency", id)
	}
	return e, err
}

// permitReview decides in the region of the person's office or, when that does not allow it, in the donor's.
func (a *act) permitReview(action policy.Action, e emergencyRow) error {
	rec := record{kind: "emergency", id: e.ID.String(), region: e.office}
	if d, _ := a.may(action, policy.Review, rec); !d.Allowed {
		rec.region = e.Region
	}
	return a.permit(action, policy.Review, rec)
}

// noteOwn notes that somebody looks at or gives back their own emergency access, which needs no role.
func (a *act) noteOwn(action policy.Action, target string, shown []uuid.UUID) {
	a.note(auditEntry{Action: action, Class: policy.Review, Relation: policy.Self, Region: a.actor.region, Target: target, Shown: len(shown), Showed: shown, Allowed: true, Rule: "own"})
}

// ReturnEmergency gives emergency access back before its time, and tells until when another of the actor's still runs. Giving back
// what has ended changes nothing.
func (s *Store) ReturnEmergency(ctx context.Context, actor Actor, id uuid.UUID) (running time.Time, err error) {
	err = s.act(ctx, actor, "ReturnEmergency", policy.ForEmergency, func(ctx context.Context, a *act) error {
		e, err := a.readEmergency(ctx, id, "FOR UPDATE OF e")
		if err != nil {
			return err
		}
		if a.actor.staff == uuid.Nil || e.By != a.actor.staff {
			return a.absent("emergency", id)
		}
		a.noteOwn(policy.Write, "emergency:"+id.String(), nil)
		if e.Seconds > 0 {
			if _, err := a.Exec(ctx, `UPDATE emergency_access SET closed_at = $2, version = version + 1 WHERE id = $1`, id, a.at); err != nil {
				return err
			}
			a.event(Event{Code: "emergency.returned", RegistrationID: e.Donor})
		}
		var last *time.Time
		err = a.QueryRow(ctx, `SELECT max(until) FROM emergency_access WHERE staff_id = $1 AND until > now() AND until > $2 AND closed_at IS NULL`, a.actor.staff, a.now()).Scan(&last)
		if last != nil {
			running = *last
		}
		return err
	})
	return running, err
}

// EmergencyFilter narrows a list of emergency access.
type EmergencyFilter struct {
	Status string // open: it runs; closed: it has ended; to_review: nobody has reviewed it; empty is all
	Mine   bool   // only the actor's own
	After  uuid.UUID
	Limit  int
}

// ListEmergencies returns the actor's own emergency access and, to who reads reviews, that of their regions, the newest first.
func (r *Reader) ListEmergencies(ctx context.Context, actor Actor, f EmergencyFilter) ([]EmergencyView, error) {
	var out []EmergencyView
	err := r.act(ctx, actor, "ListEmergencies", policy.ForEmergency, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Review)
		if f.After == uuid.Nil {
			f.After = uuid.Max
		}
		rows, err := a.Query(ctx, `
			SELECT `+emergencyColumns+` FROM emergency_access e
			WHERE e.id < $1 AND CASE $2 WHEN 'open' THEN e.until > $3 AND e.closed_at IS NULL WHEN 'closed' THEN e.until <= $3 OR e.closed_at IS NOT NULL
					WHEN 'to_review' THEN e.verdict IS NULL ELSE true END
				AND (e.staff_id = $4 OR NOT $5 AND EXISTS (SELECT FROM unnest($6::text[], $7::text[]) s(lo, hi)
					WHERE e.region >= lo AND e.region < hi OR e.office_region >= lo AND e.office_region < hi))
			ORDER BY e.id DESC LIMIT $8`,
			f.After, f.Status, a.now(), a.actor.staff, f.Mine, within.lo, within.hi, pageSize(f.Limit))
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, a.scanEmergency)
		if err != nil {
			return err
		}
		out = make([]EmergencyView, len(list))
		for i, e := range list {
			out[i] = e.EmergencyView
		}
		shown := idsOf(out, func(e EmergencyView) uuid.UUID { return e.ID })
		if f.Mine || len(within.lo) == 0 {
			a.noteOwn(policy.Find, "emergencies", shown)
			return nil
		}
		return a.permitList(policy.Review, within, "emergencies", shown)
	})
	return out, err
}

// EmergencyLook is something that was seen of a donor on emergency access, or was asked for and refused while it ran.
type EmergencyLook struct {
	At      time.Time     `json:"at" class:"review" mask:"drop"`
	Act     string        `json:"act" class:"review" mask:"drop"`
	Action  policy.Action `json:"action" class:"review" mask:"drop"`
	Class   policy.Class  `json:"class" class:"review" mask:"drop"`
	Fields  string        `json:"fields,omitempty" class:"review" mask:"drop"`
	Reason  string        `json:"reason,omitempty" doc:"Of what was shown in clear, a code." class:"review" mask:"drop"`
	Refused bool          `json:"refused,omitempty" class:"review" mask:"drop"`
}

// EmergencyDetail is emergency access with what a review needs: who it was, and what they looked at.
type EmergencyDetail struct {
	EmergencyView
	Staff  string          `json:"staff" doc:"What the member of staff is called." class:"review" mask:"drop"`
	Office string          `json:"office" doc:"What the place is called where they worked." class:"review" mask:"drop"`
	Looks  []EmergencyLook `json:"looks" doc:"The first of them first, at most mostLooks." class:"review" mask:"drop"`
}

// mostLooks is how much of what was seen is told with emergency access; the audit has the rest.
const mostLooks = 200

// ShowEmergency returns emergency access with what was looked at by it: the actor's own, or that of somebody in a region whose reviews they read.
func (r *Reader) ShowEmergency(ctx context.Context, actor Actor, id uuid.UUID) (EmergencyDetail, error) {
	var v EmergencyDetail
	err := r.act(ctx, actor, "ShowEmergency", policy.ForEmergency, func(ctx context.Context, a *act) error {
		e, err := a.readEmergency(ctx, id, "")
		if err != nil {
			return err
		}
		if a.actor.staff != uuid.Nil && e.By == a.actor.staff {
			a.noteOwn(policy.Read, "emergency:"+id.String(), nil)
		} else if err := a.permitReview(policy.Read, e); err != nil {
			return err
		}
		v = EmergencyDetail{EmergencyView: e.EmergencyView}
		if err := a.QueryRow(ctx, `SELECT s.display_name, o.name FROM staff s, organisations o WHERE s.id = $1 AND o.id = $2`, e.By, e.Organisation).Scan(&v.Staff, &v.Office); err != nil {
			return err
		}
		ended := e.Until
		if e.ClosedAt != nil {
			ended = *e.ClosedAt
		}
		return a.as(ctx, dbAudit, func() error {
			rows, err := a.Query(ctx, `
				SELECT a.recorded_at, a.act, a.action, a.class, a.fields, a.reason, NOT a.allowed FROM audit a
				WHERE a.target = 'donor:' || $1::uuid AND a.actor = 'staff:' || $2::uuid AND a.recorded_at BETWEEN $3 AND $4 AND (a.rule = $5 OR NOT a.allowed)
				ORDER BY a.recorded_at, a.id LIMIT $6`, e.Donor, e.By, e.OpenedAt, ended, leaseRule+id.String(), mostLooks)
			if err != nil {
				return err
			}
			v.Looks, err = pgx.CollectRows(rows, pgx.RowToStructByPos[EmergencyLook])
			return err
		})
	})
	if err != nil {
		return EmergencyDetail{}, err
	}
	return v, nil
}

// EmergencyWords are what was written about emergency access.
type EmergencyWords struct {
	Reason string `json:"reason" doc:"Empty once the donor was erased." class:"review" mask:"clear"`
	Note   string `json:"note,omitempty" doc:"The reviewer's." class:"review" mask:"clear"`
}

// RevealEmergency gives the words in clear with which somebody opened emergency access, to who reviews it and to themselves.
func (r *Reader) RevealEmergency(ctx context.Context, actor Actor, id uuid.UUID) (EmergencyWords, error) {
	var out EmergencyWords
	err := r.act(ctx, actor, "RevealEmergency", policy.ForEmergency, func(ctx context.Context, a *act) error {
		e, err := a.readEmergency(ctx, id, "")
		if err != nil {
			return err
		}
		if e.By == a.actor.staff {
			a.noteOwn(policy.Read, "emergency:"+id.String(), nil)
		} else if err := a.permitReview(policy.Decide, e); err != nil {
			return err
		}
		var reason, note []byte
		if err := a.QueryRow(ctx, `SELECT reason_sealed, note_sealed FROM emergency_access WHERE id = $1`, id).Scan(&reason, &note); err != nil {
			return err
		}
		out.Reason, err = a.openWords("emergency_access", "reason", id, reason)
		if err == nil {
			out.Note, err = a.openWords("emergency_access", "note", id, note)
		}
		return err
	})
	if err != nil {
		return EmergencyWords{}, err
	}
	return out, nil
}

// openWords opens what was sealed with the installation's key; what was destroyed is empty.
func (a *act) openWords(table, column string, row uuid.UUID, sealed []byte) (string, error) {
	if sealed == nil {
		return "", nil
	}
	plain, err := a.keys.OpenBytes(cell(table, column, row), sealed)
	return string(plain), err
}

// ReviewForm says whether emergency access was justified.
type ReviewForm struct {
	Verdict string    `json:"verdict" validate:"required,oneof=justified not_justified"`
	Note    seal.Note `json:"note,omitzero" validate:"required_if=Verdict not_justified,max=2000" doc:"Needed when it was not justified."`
}

// ReviewEmergency closes the review of emergency access. What was not justified ends at once, if it still runs.
//
// Errors: Denied to who opened it; Refused when it was reviewed already.
func (s *Store) ReviewEmergency(ctx context.Context, actor Actor, id uuid.UUID, f ReviewForm) (EmergencyView, error) {
	var v EmergencyView
	err := s.act(ctx, actor, "ReviewEmergency", policy.ForEmergency, func(ctx context.Context, a *act) error {
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		e, err := a.readEmergency(ctx, id, "FOR UPDATE OF e")
		if err != nil {
			return err
		}
		if err := a.permitReview(policy.Decide, e); err != nil {
			return err
		}
		if _, apart := policy.Separated(policy.BreakTheGlass, policy.ReviewGlass); apart && e.By == a.actor.staff {
			return a.deny(&Error{Kind: Denied, Code: "review_own"})
		}
		if e.Verdict != "" {
			return refused("emergency_reviewed")
		}
		var note []byte
		if !f.Note.Empty() {
			if note, err = a.keys.Seal(cell("emergency_access", "note", id), f.Note.Reveal()); err != nil {
				return err
			}
		}
		at := a.at.Truncate(time.Microsecond)
		e.Verdict, e.ReviewedAt, e.Version = f.Verdict, &at, e.Version+1
		if f.Verdict == "not_justified" && e.Seconds > 0 {
			e.ClosedAt, e.Seconds = &at, 0
		}
		_, err = a.Exec(ctx, `UPDATE emergency_access SET verdict = $2, reviewed_by = $3, reviewed_at = $4, note_sealed = $5, closed_at = $6, version = version + 1 WHERE id = $1`,
			id, f.Verdict, a.actor.staff, at, note, e.ClosedAt)
		if err != nil {
			return err
		}
		event := "emergency.justified"
		if f.Verdict == "not_justified" {
			event = "emergency.not_justified"
		}
		a.event(Event{Code: event, RegistrationID: e.Donor})
		v = e.EmergencyView
		return nil
	})
	return v, err
}

// RemindReviews tells those who review what is due, and who is above them what is overdue, a rung up the region tree at a time.
// Doing it again tells nobody twice.
func (s *Store) RemindReviews(ctx context.Context) error {
	return s.act(ctx, System("upkeep"), "RemindReviews", policy.ForEmergency, func(ctx context.Context, a *act) error {
		rows, err := a.Query(ctx, `SELECT `+emergencyColumns+` FROM emergency_access e WHERE e.verdict IS NULL ORDER BY e.review_due`)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, a.scanEmergency)
		if err != nil {
			return err
		}
		if err := a.permitShown(policy.Read, policy.Review, record{kind: "emergencies", region: nation}, len(list)); err != nil {
			return err
		}
		for _, e := range list {
			if err := a.remindReview(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *act) remindReview(ctx context.Context, e emergencyRow) error {
	cal, err := a.calendar(ctx, e.office)
	if err != nil {
		return err
	}
	d := a.rules(e.office).DeadlineAt(e.ReviewDue, e.OpenedAt, cal, Zone)
	args := map[string]any{"Number": e.Number, "Due": clockTime(e.ReviewDue)}
	if a.at.Before(d.Due) {
		if len(d.Reminders) > 0 && !a.at.Before(d.Reminders[0]) {
			role, err := a.supervisors(ctx, e.office, e.By)
			if err != nil {
				return err
			}
			a.tell(notice{code: "emergency.review_due", args: args, role: role, region: e.office, dedupe: "emergency.review_due/" + e.ID.String()})
		}
		return nil
	}
	// The first rung hears when it is overdue, each further one when the desk's ladder says so.
	rungs := append([]time.Time{d.Due}, d.Escalations...)
	region := e.office
	for _, at := range rungs {
		if region == nation || a.at.Before(at) {
			break
		}
		region = region.Parent()
		role := policy.ProvincialOffice
		if region.Level() == identity.LevelCity {
			role = policy.CityOffice
		}
		a.tell(notice{code: "emergency.review_overdue", args: args, role: string(role), region: region, urgent: true, dedupe: "emergency.review_overdue/" + e.ID.String() + "/" + string(region)})
	}
	return nil
}
