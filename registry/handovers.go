package registry

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// A case goes from one coordinator to the next when the next one says yes: until then it is the first one's. With it go the coordinator's
// seat, the open tasks and, where the new office lies elsewhere, the donor; the office that gave it away reads on for a while. What nobody
// answers goes back to the office that supervises. The patient's side sees nothing of it.

// HandoverForm offers a case to a colleague, or to whoever coordinates at an office.
type HandoverForm struct {
	Staff        uuid.UUID `json:"staff,omitzero" doc:"The colleague; absent for whoever coordinates at the office."`
	Organisation uuid.UUID `json:"organisation,omitzero" doc:"The office; absent for a colleague's own."`
	Reason       string    `json:"reason" validate:"required,oneof=leave workload moved distance language conflict_of_interest other"`
	Promises     seal.Note `json:"promises,omitempty" validate:"max=2000" doc:"What was promised to the donor and is still to be done."`
	NextContact  time.Time `json:"next_contact,omitzero" doc:"When the donor expects to hear from somebody."`
}

// DeclineForm declines a handover.
type DeclineForm struct {
	Reason string `json:"reason" validate:"required,oneof=workload absent not_suitable other"`
}

// HandoverView is a handover as those see it who give, take or supervise it.
type HandoverView struct {
	ID            uuid.UUID       `json:"id" class:"case" mask:"drop"`
	CaseID        uuid.UUID       `json:"case" class:"case" mask:"drop"`
	CaseNumber    string          `json:"case_number" class:"case" mask:"drop"`
	Protocol      Protocol        `json:"protocol" class:"case" mask:"drop"`
	Stage         string          `json:"stage" doc:"The step at which the case stands." class:"case" mask:"drop"`
	Region        identity.Region `json:"region" class:"case" mask:"drop"`
	From          Coworker        `json:"from" class:"case" mask:"drop"`
	FromOffice    uuid.UUID       `json:"from_organisation" class:"case" mask:"drop"`
	FromName      string          `json:"from_organisation_name" class:"case" mask:"drop"`
	To            *Coworker       `json:"to,omitempty" class:"case" mask:"drop"`
	ToOffice      uuid.UUID       `json:"to_organisation" class:"case" mask:"drop"`
	ToName        string          `json:"to_organisation_name" class:"case" mask:"drop"`
	Elsewhere     bool            `json:"elsewhere" doc:"The office lies in another region: the donor moves with the case." class:"case" mask:"drop"`
	Reason        string          `json:"reason" class:"case" mask:"drop"`
	NextContact   *time.Time      `json:"next_contact,omitempty" class:"case" mask:"drop"`
	Status        string          `json:"status" doc:"offered, accepted, declined, withdrawn or expired." class:"case" mask:"drop"`
	DeclineReason string          `json:"decline_reason,omitempty" class:"case" mask:"drop"`
	OfferedAt     time.Time       `json:"offered_at" class:"case" mask:"drop"`
	ExpiresAt     time.Time       `json:"expires_at" class:"case" mask:"drop"`
	DecidedAt     *time.Time      `json:"decided_at,omitempty" class:"case" mask:"drop"`
	Yours         bool            `json:"yours" doc:"The reader may accept or decline it." class:"case" mask:"drop"`
	Version       int64           `json:"version" class:"open" mask:"none"`
}

// HandoverNote is what whoever takes a case over has to know: what was promised, what is open, and what happened last.
type HandoverNote struct {
	HandoverView
	Promises string          `json:"promises,omitempty" class:"contact" mask:"clear"`
	Tasks    []TaskView      `json:"tasks" class:"case" mask:"drop"`
	Last     []TimelineEntry `json:"last" doc:"The last events, the newest first." class:"case" mask:"drop"`
}

// lastEvents is how many events a handover's note tells.
const lastEvents = 15

type handoverRow struct {
	HandoverView
	toStaff  *uuid.UUID
	toName   string
	toRegion identity.Region
	share    *uuid.UUID
}

const handoverColumns = `h.id, h.case_id, c.number, c.protocol, c.step, c.region, h.from_staff, f.display_name, h.from_organisation, fo.name, h.to_staff, coalesce(t.display_name, ''), h.to_organisation, tt.name, tt.region,
	h.reason, h.next_contact, h.status, h.decline_reason, h.offered_at, h.expires_at, h.decided_at, h.share_id, h.version`

const handoverTables = ` FROM handovers h JOIN cases c ON c.id = h.case_id JOIN staff f ON f.id = h.from_staff JOIN organisations fo ON fo.id = h.from_organisation
	JOIN organisations tt ON tt.id = h.to_organisation LEFT JOIN staff t ON t.id = h.to_staff `

func (a *act) scanHandover(row pgx.CollectableRow) (h handoverRow, err error) {
	err = row.Scan(&h.ID, &h.CaseID, &h.CaseNumber, &h.Protocol, &h.Stage, &h.Region, &h.From.Staff, &h.From.Name, &h.FromOffice, &h.FromName, &h.toStaff, &h.toName, &h.ToOffice, &h.ToName, &h.toRegion,
		&h.Reason, &h.NextContact, &h.Status, &h.DeclineReason, &h.OfferedAt, &h.ExpiresAt, &h.DecidedAt, &h.share, &h.Version)
	h.From.Me = h.From.Staff == a.actor.staff
	if h.toStaff != nil {
		h.To = &Coworker{*h.toStaff, h.toName, *h.toStaff == a.actor.staff}
	}
	h.Elsewhere = h.Status == "offered" && !h.toRegion.Contains(h.Region)
	h.Yours = h.Status == "offered" && a.addressed(h)
	return h, err
}

// addressed tells whether a handover is offered to the actor: by name, or as one who coordinates at the office.
func (a *act) addressed(h handoverRow) bool {
	if h.toStaff != nil {
		return *h.toStaff == a.actor.staff
	}
	return h.ToOffice == a.actor.organisation && a.policy.Holds(a.actor.policySubject(), policy.Coordinator, regionPath(a.actor.region))
}

// record is what the policy is asked about for a handover, by those to whom it is offered.
func (h handoverRow) record() record {
	rec := record{kind: "handover", id: h.ID.String(), region: h.Region}
	if h.toStaff != nil {
		rec.person = *h.toStaff
	} else {
		rec.office = h.ToOffice
	}
	return rec
}

func (a *act) readHandover(ctx context.Context, id uuid.UUID) (handoverRow, error) {
	rows, err := a.Query(ctx, `SELECT `+handoverColumns+handoverTables+`WHERE h.id = $1`, id)
	if err != nil {
		return handoverRow{}, err
	}
	h, err := pgx.CollectExactlyOneRow(rows, a.scanHandover)
	if errors.Is(err, pgx.ErrNoRows) {
		return h, a.absent("handover", id)
	}
	return h, err
}

// coordinating is the work of who carries a case, as a task: whoever may answer what the coordinator is asked, and their supervisor.
func (c caseRow) coordinating() taskRow {
	return taskRow{ID: c.ID, CaseID: c.ID, Seat: SeatCoordinator, Role: policy.Coordinator, Region: c.Region}
}

// OfferHandover offers a case. It stays with whoever carries it until the offer is accepted.
//
// Errors: Refused when the case has no coordinator, when it ends there, when nobody could take it; Conflict when it is offered already.
func (s *Store) OfferHandover(ctx context.Context, actor Actor, caseID uuid.UUID, f HandoverForm) (HandoverView, error) {
	var out HandoverView
	err := s.act(ctx, actor, "OfferHandover", policy.ForCase, func(ctx context.Context, a *act) error {
		c, err := a.readCase(ctx, caseID, true)
		if err != nil {
			return err
		}
		seats, err := a.seats(ctx, caseID)
		if err != nil {
			return err
		}
		if err := a.permitWorkOn(c.coordinating(), c.record(seats)); err != nil {
			return err
		}
		a.entries[len(a.entries)-1].Reason = f.Reason
		problems := forms.Check(f)
		if f.Staff == uuid.Nil && f.Organisation == uuid.Nil {
			problems = append(problems, forms.Problem{Code: "R101", Field: "staff"})
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		seat, coordinated := seats[SeatCoordinator]
		switch {
		case !coordinated:
			return refused("handover_no_seat")
		case c.Status != "open":
			return refused("case_ended")
		}
		if !f.NextContact.IsZero() && !f.NextContact.After(a.at) {
			return invalid(forms.Problems{{Code: "R139", Field: "next_contact"}})
		}
		office, region, err := a.takesCase(ctx, c, seat.Organisation, f)
		if err != nil {
			return err
		}
		id := newID()
		of, key, err := a.ownerOfCase(ctx, caseID, SeatCoordinator)
		if err != nil {
			return err
		}
		var promises []byte
		if f.Promises.Reveal() != "" {
			if promises, err = key.Seal(cell("handovers", "promises", id), f.Promises.Reveal()); err != nil {
				return sealed(err)
			}
		}
		expires := a.at.Add(time.Duration(a.rules(c.Region).Span(rules.DeskHandover).Hours()) * time.Hour)
		var share *uuid.UUID
		if !region.Contains(c.Region) { // who is asked must see what they are asked to take
			if share, err = a.shareFor(ctx, c, office, expires); err != nil {
				return err
			}
		}
		var next *time.Time
		if !f.NextContact.IsZero() {
			next = &f.NextContact
		}
		_, err = a.Exec(ctx, `
			INSERT INTO handovers (id, case_id, region, from_staff, from_organisation, to_staff, to_organisation, reason, promises_sealed, key_of, next_contact, share_id, status, offered_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'offered', $13, $14)`,
			id, caseID, string(c.Region), actor.staff, seat.Organisation, null(f.Staff), office, f.Reason, promises, of, next, share, a.at, expires)
		if err != nil {
			return err
		}
		a.event(Event{Code: "handover.offered", CaseID: caseID, Args: map[string]any{"Reason": f.Reason}})
		tell := notice{code: "handover.offered", args: map[string]any{"Case": c.Number, "Until": clockTime(expires)}, staff: f.Staff, region: region, caseID: caseID, dedupe: "handover/" + id.String()}
		if f.Staff == uuid.Nil {
			tell.organisation, tell.role = office, string(policy.Coordinator)
		}
		a.tell(tell)
		h, err := a.readHandover(ctx, id)
		out = h.HandoverView
		return err
	})
	return out, err
}

// HandoverChoice is to whom a case could be offered.
type HandoverChoice struct {
	Number  string       `json:"case_number" class:"case" mask:"drop"`
	Staff   []Coworker   `json:"staff" class:"case" mask:"drop"`
	Offices []OfficeName `json:"offices" class:"case" mask:"drop"`
}

// OfficeName is an office as one chooses it.
type OfficeName struct {
	ID   uuid.UUID `json:"id" class:"organisation" mask:"drop"`
	Name string    `json:"name" class:"organisation" mask:"drop"`
}

// HandoverTo lists to whom a case could be offered: the colleagues who could coordinate it, and other offices that have somebody who coordinates.
func (r *Reader) HandoverTo(ctx context.Context, actor Actor, caseID uuid.UUID) (HandoverChoice, error) {
	var out HandoverChoice
	err := r.act(ctx, actor, "HandoverTo", policy.ForCase, func(ctx context.Context, a *act) error {
		c, err := a.readCase(ctx, caseID, false)
		if err != nil {
			return err
		}
		seats, err := a.seats(ctx, caseID)
		if err != nil {
			return err
		}
		if err := a.permitWorkOn(c.coordinating(), c.record(seats)); err != nil {
			return err
		}
		out.Number = c.Number
		if out.Staff, err = a.colleaguesFor(ctx, c.coordinating()); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `
			SELECT o.id, o.name FROM organisations o WHERE o.kind = 'red_cross' AND o.active AND o.id <> $1 AND NOT works_for_patients(o.id)
				AND EXISTS (SELECT FROM role_grants g JOIN staff s ON s.id = g.staff_id WHERE s.organisation_id = o.id AND s.active AND g.role = 'coordinator' AND g.revoked_at IS NULL AND g.until > $2)
			ORDER BY o.region, o.name LIMIT 1000`, seats[SeatCoordinator].Organisation, a.now())
		if err != nil {
			return err
		}
		out.Offices, err = pgx.CollectRows(rows, pgx.RowToStructByPos[OfficeName])
		return err
	})
	return out, err
}

// takesCase finds the office to which a case would go, and where it lies: one that could carry it, and does not work for patients.
func (a *act) takesCase(ctx context.Context, c caseRow, from uuid.UUID, f HandoverForm) (office uuid.UUID, region identity.Region, err error) {
	office = f.Organisation
	if f.Staff != uuid.Nil {
		who, err := a.colleague(ctx, f.Staff)
		if err != nil {
			return office, region, err
		}
		if office != uuid.Nil && office != who.organisation || !a.policy.Holds(who.policySubject(), policy.Coordinator, regionPath(who.region)) {
			return office, region, refused("colleague_cannot")
		}
		office = who.organisation
	}
	if f.Staff == a.actor.staff || f.Staff == uuid.Nil && office == from {
		return office, region, refused("handover_to_self")
	}
	if region, err = a.takesShares(ctx, office); err != nil {
		return office, region, err
	}
	if !region.Contains(c.Region) && c.Protocol != StemCellProtocol {
		return office, region, refused("handover_not_elsewhere") // only a donor's own case takes the donor with it
	}
	var coordinates bool
	err = a.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM role_grants g JOIN staff s ON s.id = g.staff_id
			WHERE s.organisation_id = $1 AND s.active AND g.role = 'coordinator' AND g.revoked_at IS NULL AND g.until > $2 AND g.region = ANY($3))`, office, a.now(), regionPath(region)).Scan(&coordinates)
	if err == nil && !coordinates {
		err = refused("handover_no_coordinator")
	}
	return office, region, err
}

// shareFor shares a case's donor with an office, unless that is done already.
func (a *act) shareFor(ctx context.Context, c caseRow, office uuid.UUID, until time.Time) (*uuid.UUID, error) {
	id := newID()
	tag, err := a.Exec(ctx, `
		INSERT INTO shares (id, registration_id, organisation_id, reason, shared_by, shared_at, until, region)
		SELECT $1, $2, $3, 'handover', $4, $5, $6, $7
		WHERE NOT EXISTS (SELECT FROM shares WHERE registration_id = $2 AND organisation_id = $3 AND ended_at IS NULL AND severed_at IS NULL AND until >= $6)`,
		id, c.Subject, office, a.actor.staff, a.at, until, string(c.Region))
	if err != nil || tag.RowsAffected() == 0 {
		return nil, err
	}
	return &id, nil
}

// AcceptHandover takes a case over: in one transaction its coordinator's seat, its open tasks, and, where the office lies elsewhere, the
// donor. The office that gave it away goes on reading for as long as the rule desk.handover.reads says.
func (s *Store) AcceptHandover(ctx context.Context, actor Actor, id uuid.UUID, version int64) (HandoverView, error) {
	return s.decideHandover(ctx, actor, "AcceptHandover", id, version, func(ctx context.Context, a *act, h handoverRow, c caseRow) (string, error) {
		// What the new coordinator did before in a case of this donor may keep them from coordinating it.
		if err := a.oneDuty(ctx, c.coordinating()); err != nil {
			return "", err
		}
		if err := a.endShareFor(ctx, h); err != nil {
			return "", err
		}
		region := c.Region
		if h.Elsewhere {
			region = h.toRegion
		}
		if err := a.moveCase(ctx, c, region, h.ToOffice); err != nil {
			return "", err
		}
		_, err := a.Exec(ctx, `
			WITH free AS (DELETE FROM task_leases l USING tasks t WHERE t.id = l.task_id AND t.case_id = $1 AND t.status = 'open' AND t.role = 'coordinator' AND l.staff_id <> $3)
			UPDATE tasks SET region = $2, assignee_id = CASE WHEN role = 'coordinator' THEN $3 ELSE assignee_id END, version = version + 1 WHERE case_id = $1 AND status = 'open'`,
			c.ID, string(region), actor.staff)
		if err != nil {
			return "", err
		}
		if h.Elsewhere {
			until := a.rules(region).Span(rules.DeskHandoverRead).On(a.today(), nil).AddDays(1).Start(Zone)
			c.Region = region
			if _, err := a.shareFor(ctx, c, h.FromOffice, until); err != nil {
				return "", err
			}
			a.hear(string(c.Protocol), "handover", c.ID) // its rules and its calendar are another region's now
		}
		return "accepted", nil
	})
}

// DeclineHandover declines a case. It stays where it is.
func (s *Store) DeclineHandover(ctx context.Context, actor Actor, id uuid.UUID, version int64, f DeclineForm) (HandoverView, error) {
	return s.decideHandover(ctx, actor, "DeclineHandover", id, version, func(ctx context.Context, a *act, h handoverRow, _ caseRow) (string, error) {
		if problems := forms.Check(f); len(problems) > 0 {
			return "", invalid(problems)
		}
		if _, err := a.Exec(ctx, `UPDATE handovers SET decline_reason = $2 WHERE id = $1`, id, f.Reason); err != nil {
			return "", err
		}
		return "declined", a.endShareFor(ctx, h)
	})
}

// WithdrawHandover takes an offer back, for whoever made it, their colleagues and their supervisor.
func (s *Store) WithdrawHandover(ctx context.Context, actor Actor, id uuid.UUID, version int64) (HandoverView, error) {
	return s.decideHandover(ctx, actor, "WithdrawHandover", id, version, func(ctx context.Context, a *act, h handoverRow, _ caseRow) (string, error) {
		return "withdrawn", a.endShareFor(ctx, h)
	})
}

// endShareFor ends what an offer shared with the office that was asked.
func (a *act) endShareFor(ctx context.Context, h handoverRow) error {
	if h.share == nil {
		return nil
	}
	_, err := a.Exec(ctx, `UPDATE shares SET ended_at = $2, ended_by = $3 WHERE id = $1 AND ended_at IS NULL`, *h.share, a.at, null(a.actor.staff))
	return err
}

// decideHandover ends an offer. The case is locked before what belongs to it, as everywhere.
func (s *Store) decideHandover(ctx context.Context, actor Actor, name string, id uuid.UUID, version int64, decide func(context.Context, *act, handoverRow, caseRow) (string, error)) (HandoverView, error) {
	var out HandoverView
	err := s.act(ctx, actor, name, policy.ForCase, func(ctx context.Context, a *act) error {
		h, err := a.readHandover(ctx, id)
		if err != nil {
			return err
		}
		c, err := a.readCase(ctx, h.CaseID, true)
		if err != nil {
			return err
		}
		if h, err = a.readHandover(ctx, id); err != nil { // as it is now that nobody else decides it
			return err
		}
		if name == "WithdrawHandover" {
			if err := a.permitWorkOn(c.coordinating(), record{kind: "handover", id: h.ID.String(), region: c.Region}); err != nil {
				return err
			}
		} else if err := a.permit(policy.Decide, policy.Case, h.record()); err != nil {
			return err
		}
		switch {
		case h.Status != "offered":
			return refused("handover_decided", "Status", h.Status)
		case !h.ExpiresAt.After(a.at):
			return refused("handover_decided", "Status", "expired")
		case name != "WithdrawHandover" && !h.Yours:
			return &Error{Kind: Denied, Code: "handover_not_yours"}
		case version != 0 && version != h.Version:
			return stale("handover")
		case c.Status != "open":
			return refused("case_ended")
		}
		status, err := decide(ctx, a, h, c)
		if err != nil {
			return err
		}
		if _, err := a.Exec(ctx, `UPDATE handovers SET status = $2, decided_by = $3, decided_at = $4, version = version + 1 WHERE id = $1`, id, status, actor.staff, a.at); err != nil {
			return err
		}
		told := map[string]string{"accepted": "handover.accepted", "declined": "handover.declined", "withdrawn": "handover.withdrawn"}[status]
		a.event(Event{Code: told, CaseID: h.CaseID})
		tell := notice{code: told, args: map[string]any{"Case": h.CaseNumber}, region: h.Region, caseID: h.CaseID, staff: h.From.Staff, dedupe: "handover/" + id.String() + "/" + status}
		if status == "withdrawn" {
			tell.staff, tell.region = uuid.Nil, h.toRegion
			if h.toStaff != nil {
				tell.staff = *h.toStaff
			} else {
				tell.organisation, tell.role = h.ToOffice, string(policy.Coordinator)
			}
		}
		a.tell(tell)
		h, err = a.readHandover(ctx, id)
		out = h.HandoverView
		return err
	})
	return out, err
}

// ExpireHandovers gives what nobody answered in time back to the office that supervises, and ends what it shared.
func (s *Store) ExpireHandovers(ctx context.Context) error {
	return s.act(ctx, System("upkeep"), "ExpireHandovers", policy.ForCase, func(ctx context.Context, a *act) error {
		rows, err := a.Query(ctx, `
			WITH over AS (UPDATE handovers SET status = 'expired', decided_at = $1, version = version + 1 WHERE status = 'offered' AND expires_at <= $1
					RETURNING id, case_id, from_staff, share_id),
				ended AS (UPDATE shares SET ended_at = $1 WHERE id IN (SELECT share_id FROM over) AND ended_at IS NULL)
			SELECT o.id, o.case_id, c.number, c.region, o.from_staff FROM over o JOIN cases c ON c.id = o.case_id`, a.at)
		if err != nil {
			return err
		}
		var id, caseID, from uuid.UUID
		var number string
		var region identity.Region
		n := 0
		_, err = pgx.ForEachRow(rows, []any{&id, &caseID, &number, &region, &from}, func() error {
			n++
			a.event(Event{Code: "handover.expired", CaseID: caseID})
			args := map[string]any{"Case": number}
			a.tell(notice{code: "handover.expired", args: args, role: string(officeRole(region)), region: region, caseID: caseID, dedupe: "handover/" + id.String() + "/expired"})
			a.tell(notice{code: "handover.expired", args: args, staff: from, region: region, caseID: caseID, dedupe: "handover/" + id.String() + "/expired/from"})
			return nil
		})
		if err != nil {
			return err
		}
		return a.permitShown(policy.Write, policy.Case, record{kind: "upkeep", id: "handovers", region: nation}, n)
	})
}

// HandoverFilter is a page of handovers.
type HandoverFilter struct {
	Given  bool // those that the actor's office gave; else those that it was asked to take
	CaseID uuid.UUID
	Open   bool      // only those that are offered
	Before uuid.UUID // for the next page: handovers before this one
	Limit  int
}

// ListHandovers lists the handovers that the actor's office was asked to take, or gave, the newest first.
func (r *Reader) ListHandovers(ctx context.Context, actor Actor, f HandoverFilter) ([]HandoverView, error) {
	var out []HandoverView
	err := r.act(ctx, actor, "ListHandovers", policy.ForCase, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Case)
		rows, err := a.Query(ctx, `
			SELECT `+handoverColumns+handoverTables+`
			WHERE CASE WHEN $1 THEN h.from_organisation = $2 ELSE h.to_organisation = $2 AND (h.to_staff IS NULL OR h.to_staff = $3) END
				AND ($4 = '00000000-0000-0000-0000-000000000000'::uuid OR h.case_id = $4) AND (NOT $5 OR h.status = 'offered')
				AND ($6 = '00000000-0000-0000-0000-000000000000'::uuid OR h.id < $6) ORDER BY h.id DESC LIMIT $7`,
			f.Given, actor.organisation, actor.staff, f.CaseID, f.Open, f.Before, pageSize(f.Limit))
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, a.scanHandover)
		if err != nil {
			return err
		}
		for _, h := range found {
			out = append(out, h.HandoverView)
		}
		return a.permitList(policy.Case, within, "handovers", idsOf(out, func(h HandoverView) uuid.UUID { return h.ID }), a.narrowed("case", textOf(f.CaseID)))
	})
	return out, err
}

// ShowHandover returns a handover with its note. What was promised is in words, and shown to whoever may know how to reach the donor.
func (r *Reader) ShowHandover(ctx context.Context, actor Actor, id uuid.UUID) (HandoverNote, error) {
	var out HandoverNote
	err := r.act(ctx, actor, "ShowHandover", policy.ForCase, func(ctx context.Context, a *act) error {
		h, err := a.readHandover(ctx, id)
		if err != nil {
			return err
		}
		at, err := a.atTable(ctx, h.CaseID)
		if err != nil {
			return err
		}
		if at.side == PatientSide { // what the donor's offices have among themselves
			return a.deny(missing("handover"))
		}
		out.HandoverView = h.HandoverView
		if out.Tasks, err = a.tasksOf(ctx, at.caseRow, DonorSide, at.seats); err != nil {
			return err
		}
		out.Tasks = openTasks(out.Tasks)
		line, err := a.timeline(ctx, at.ID, DonorSide, actor.Locale)
		if err != nil {
			return err
		}
		for i := len(line) - 1; i >= 0 && len(out.Last) < lastEvents; i-- {
			out.Last = append(out.Last, line[i])
		}
		if d, _ := a.may(policy.Reveal, policy.Contact, at.rec); !d.Allowed {
			return nil
		}
		var text, wrapped []byte
		var of *uuid.UUID
		if err := a.QueryRow(ctx, `SELECT promises_sealed, key_of, `+wrappedOf+` FROM handovers WHERE id = $1`, id).Scan(&text, &of, &wrapped); err != nil || text == nil {
			return err
		}
		if err := a.permit(policy.Reveal, policy.Contact, at.rec); err != nil {
			return err
		}
		key, err := a.ownersKey(of, wrapped)
		if err != nil {
			return err
		}
		plain, err := key.OpenBytes(cell("handovers", "promises", id), text)
		out.Promises = string(plain)
		show(a.mask(at.rec), &out)
		return err
	})
	return out, err
}

func openTasks(all []TaskView) []TaskView {
	out := make([]TaskView, 0, len(all))
	for _, t := range all {
		if t.Status == "open" {
			out = append(out, t)
		}
	}
	return out
}
