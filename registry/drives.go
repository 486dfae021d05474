package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
)

// SeatOffice is the Red Cross office that runs a drive.
const SeatOffice = "office"

// DriveView is a drive with its counts.
type DriveView struct {
	ID           uuid.UUID       `json:"id" class:"drive" mask:"drop"`
	Number       string          `json:"number" class:"drive" mask:"drop"`
	Name         string          `json:"name" class:"drive" mask:"drop"`
	Place        string          `json:"place" class:"drive" mask:"drop"`
	Region       identity.Region `json:"region" class:"drive" mask:"drop"`
	Organisation uuid.UUID       `json:"organisation" class:"drive" mask:"drop"`
	Laboratory   *uuid.UUID      `json:"laboratory,omitempty" class:"drive" mask:"drop"`
	FirstDay     calendar.Date   `json:"first_day" class:"drive" mask:"drop"`
	LastDay      calendar.Date   `json:"last_day" class:"drive" mask:"drop"`
	Target       int             `json:"target" class:"drive" mask:"drop"`
	BarcodeFrom  string          `json:"barcode_from,omitempty" class:"drive" mask:"drop"`
	BarcodeTo    string          `json:"barcode_to,omitempty" class:"drive" mask:"drop"`
	Status       string          `json:"status" class:"drive" mask:"drop"`
	Forms        int             `json:"forms" doc:"Registrations taken at the drive, people counted once." class:"drive" mask:"drop"`
	Tubes        int             `json:"tubes" doc:"Samples drawn at the drive." class:"drive" mask:"drop"`
	Consents     int             `json:"consents" doc:"Consents signed at the drive, people counted once." class:"drive" mask:"drop"`
	Typed        int             `json:"typed" class:"drive" mask:"drop"`
	Listed       int             `json:"listed" class:"drive" mask:"drop"`
	Team         []TeamLine      `json:"team" doc:"Who works at the drive. It gives them what a team may do until the drive's tubes have left." class:"drive" mask:"drop"`
	Version      int64           `json:"version" class:"open" mask:"none"`
}

// TeamLine is somebody's duty at a drive.
type TeamLine struct {
	Staff uuid.UUID `json:"staff" class:"drive" mask:"drop"`
	Duty  string    `json:"duty" class:"drive" mask:"drop"`
}

// A drive d is at work until its tubes have left; teamOf is its team then, and nobody afterwards.
const (
	atWork = `d.status IN ('planned', 'open', 'closed')`
	teamOf = `ARRAY(SELECT t.staff_id FROM drive_team t WHERE t.drive_id = d.id AND ` + atWork + `)`
)

const driveColumns = `d.id, d.number, d.name, d.place, d.region, d.organisation_id, d.laboratory_id, d.first_day, d.last_day, d.target, d.barcode_from, d.barcode_to, d.status,
	(SELECT count(DISTINCT r.person_id) FROM registrations r WHERE r.drive_id = d.id AND r.status <> 'undone')::int,
	(SELECT count(*) FROM specimens s WHERE s.drive_id = d.id AND s.status <> 'undone')::int,
	(SELECT count(DISTINCT k.person_id) FROM consents k JOIN registrations r ON r.id = k.registration_id WHERE r.drive_id = d.id)::int,
	(SELECT count(*) FROM specimens s WHERE s.drive_id = d.id AND s.status = 'typed')::int,
	(SELECT count(*) FROM registrations r WHERE r.drive_id = d.id AND r.programme = 'stemcell' AND r.status = 'listed')::int,
	(SELECT coalesce(jsonb_agg(jsonb_build_object('staff', t.staff_id, 'duty', t.duty) ORDER BY t.staff_id, t.duty), '[]') FROM drive_team t WHERE t.drive_id = d.id), d.version`

func (d DriveView) atWork() bool {
	return d.Status == "planned" || d.Status == "open" || d.Status == "closed"
}

func (d DriveView) record() record {
	rec := record{kind: "drive", id: d.ID.String(), region: d.Region, office: d.Organisation}
	if d.atWork() {
		rec.team = idsOf(d.Team, func(m TeamLine) uuid.UUID { return m.Staff })
	}
	return rec
}

func (a *act) readDrive(ctx context.Context, id uuid.UUID) (DriveView, error) {
	rows, err := a.Query(ctx, `SELECT `+driveColumns+` FROM drives d WHERE d.id = $1`, id)
	if err != nil {
		return DriveView{}, err
	}
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[DriveView])
	if errors.Is(err, pgx.ErrNoRows) {
		return d, a.absent("drive", id)
	}
	return d, err
}

// PlanDrive enters a drive and starts its protocol. Its office is the actor's organisation.
func (s *Store) PlanDrive(ctx context.Context, actor Actor, f forms.Drive) (DriveView, error) {
	var out DriveView
	err := s.act(ctx, actor, "PlanDrive", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		id := newID()
		if err := a.permit(policy.Write, policy.Drive, record{kind: "drive", id: id.String(), region: f.Region}); err != nil {
			return err
		}
		problems := forms.Check(f)
		if len(problems) == 0 && f.LastDay.Before(f.FirstDay) {
			problems = forms.Problems{{Code: "R140", Field: "last_day"}}
		}
		if len(problems) == 0 && (len(f.BarcodeFrom) != len(f.BarcodeTo) || f.BarcodeTo < f.BarcodeFrom) {
			problems = forms.Problems{{Code: "R141", Field: "barcode_to"}}
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		number, err := a.number(ctx, "DR")
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `
			INSERT INTO drives (id, number, name, place, region, organisation_id, host_id, laboratory_id, leader_id, first_day, last_day, target, barcode_from, barcode_to, status)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 'planned')`,
			id, number, f.Name, f.Place, string(f.Region), actor.organisation, null(f.Host), null(f.Laboratory), actor.staff, f.FirstDay, f.LastDay, f.Target, f.BarcodeFrom, f.BarcodeTo)
		if err != nil {
			return err
		}
		err = a.openCase(ctx, caseRow{ID: id, Number: number, Protocol: DriveProtocol, Subject: id, Region: f.Region, Organisation: actor.organisation, Step: "drive.planned"},
			map[string]seat{SeatOffice: {"office", actor.organisation}})
		if err != nil {
			return err
		}
		if err := a.setTeam(ctx, DriveView{ID: id, Number: number, Region: f.Region, FirstDay: f.FirstDay, LastDay: f.LastDay}, f.Team); err != nil {
			return err
		}
		a.event(Event{Code: "drive.planned", CaseID: id, DriveID: id, Args: map[string]any{"First": f.FirstDay.String(), "Last": f.LastDay.String()}})
		a.hear(string(DriveProtocol), "planned", id)
		out, err = a.readDrive(ctx, id)
		return err
	})
	return out, err
}

// TeamForm is a drive's whole team.
type TeamForm struct {
	Team []forms.TeamMember `json:"team" validate:"required,max=200,dive" doc:"Members of staff of any office, each with a duty. Whoever is not among them leaves the team."`
}

// SetTeam says who works at a drive. It takes effect with the next act: a member reads the drive and its sheets and enters forms,
// in the roles that they have, and who left the team does not any more.
//
// Errors: Refused once the drive's tubes have left.
func (s *Store) SetTeam(ctx context.Context, actor Actor, id uuid.UUID, version int64, f TeamForm) (DriveView, error) {
	var out DriveView
	err := s.act(ctx, actor, "SetTeam", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, id)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Drive, d.record()); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		// The version is taken in the statement, so that of two who read the same one waits and is told.
		tag, err := a.Exec(ctx, `UPDATE drives SET version = version + 1 WHERE id = $1 AND version = $2`, id, version)
		switch {
		case err != nil:
			return err
		case tag.RowsAffected() == 0:
			return stale("drive")
		case !d.atWork():
			return refused("drive_over")
		}
		before, after := idsOf(d.Team, func(m TeamLine) uuid.UUID { return m.Staff }), idsOf(f.Team, func(m forms.TeamMember) uuid.UUID { return m.Staff })
		a.entries[len(a.entries)-1].Fields = "joined=" + others(after, before) + " left=" + others(before, after)
		if err := a.setTeam(ctx, d, f.Team); err != nil {
			return err
		}
		out, err = a.readDrive(ctx, id)
		return err
	})
	return out, err
}

// others names those of a list who are not on another.
func others(list, without []uuid.UUID) string {
	var out []string
	for _, id := range list {
		if !slices.Contains(without, id) && !slices.Contains(out, id.String()) {
			out = append(out, id.String())
		}
	}
	return strings.Join(out, ",")
}

// setTeam writes a drive's team down, and tells whoever is new in it.
func (a *act) setTeam(ctx context.Context, d DriveView, team []forms.TeamMember) error {
	staff, duties := make([]uuid.UUID, len(team)), make([]string, len(team))
	for i, m := range team {
		staff[i], duties[i] = m.Staff, m.Duty
	}
	if _, err := a.Exec(ctx, `DELETE FROM drive_team WHERE drive_id = $1`, d.ID); err != nil {
		return err
	}
	rows, err := a.Query(ctx, `
		INSERT INTO drive_team (drive_id, staff_id, duty) SELECT $1, m.staff, m.duty FROM unnest($2::uuid[], $3::text[]) m(staff, duty) ON CONFLICT DO NOTHING
		RETURNING staff_id, (SELECT o.region FROM staff s JOIN organisations o ON o.id = s.organisation_id WHERE s.id = staff_id)`, d.ID, staff, duties)
	if err != nil {
		return err
	}
	var member uuid.UUID
	var region identity.Region // where they work: the notice is theirs to read there
	_, err = pgx.ForEachRow(rows, []any{&member, &region}, func() error {
		a.tell(notice{code: "drive.team", args: map[string]any{"Number": d.Number, "Drive": d.ID.String(), "First": d.FirstDay.String(), "Last": d.LastDay.String()},
			staff: member, region: region, dedupe: "drive.team/" + d.ID.String() + "/" + member.String()})
		return nil
	})
	return err
}

// ShowDrive returns a drive with its counts.
func (r *Reader) ShowDrive(ctx context.Context, actor Actor, id uuid.UUID) (DriveView, error) {
	var out DriveView
	err := r.act(ctx, actor, "ShowDrive", policy.ForEnrolment, func(ctx context.Context, a *act) (err error) {
		if out, err = a.readDrive(ctx, id); err != nil {
			return err
		}
		return a.permit(policy.Read, policy.Drive, out.record())
	})
	return out, err
}

// DriveByNumber finds a drive by the number that people know it by.
func (r *Reader) DriveByNumber(ctx context.Context, actor Actor, number string) (DriveView, error) {
	var out DriveView
	err := r.act(ctx, actor, "DriveByNumber", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		var id uuid.UUID
		err := a.QueryRow(ctx, `SELECT id FROM drives WHERE number = $1`, number).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			a.decided = true // there is nothing to decide about
			return a.absent("drive", id)
		}
		if err != nil {
			return err
		}
		if out, err = a.readDrive(ctx, id); err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Drive, out.record()); err != nil {
			return err
		}
		a.entries[len(a.entries)-1].Fields = a.sought("number", number)
		return nil
	})
	return out, err
}

// ListDrives returns the drives that the actor may read, in the order of their ids.
func (r *Reader) ListDrives(ctx context.Context, actor Actor, after uuid.UUID, limit int) ([]DriveView, error) {
	var out []DriveView
	err := r.act(ctx, actor, "ListDrives", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Drive)
		rows, err := a.Query(ctx, `
			SELECT `+driveColumns+` FROM drives d
			WHERE d.id > $1 AND (EXISTS (SELECT FROM unnest($2::text[], $3::text[]) s(lo, hi) WHERE d.region >= lo AND d.region < hi)
				OR $4 AND `+atWork+` AND EXISTS (SELECT FROM drive_team t WHERE t.drive_id = d.id AND t.staff_id = $5))
			ORDER BY d.id LIMIT $6`, after, within.lo, within.hi, within.team, a.actor.staff, pageSize(limit))
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[DriveView]); err != nil {
			return err
		}
		return a.permitList(policy.Drive, within, "drives", idsOf(out, func(d DriveView) uuid.UUID { return d.ID }))
	})
	return out, err
}

// DriveFacts are the records that a drive's protocol goes on from.
type DriveFacts struct {
	Snapshot
	FirstDay time.Time `json:"first_day"` // its beginning, in the office's zone
	DayAfter time.Time `json:"day_after"` // the end of its last day
	Status   string    `json:"status"`
	Tubes    int       `json:"tubes"`
	Unsent   int       `json:"unsent"`   // tubes that have not left
	Underway int       `json:"underway"` // tubes that left and were not received
	Missing  int       `json:"missing"`  // tubes that left and did not arrive
}

// LoadDrive reads a drive for its protocol.
func (s *Store) LoadDrive(ctx context.Context, actor Actor, id uuid.UUID) (DriveFacts, error) {
	var out DriveFacts
	err := s.act(ctx, actor, "LoadDrive", policy.ForEnrolment, func(ctx context.Context, a *act) (err error) {
		if out.Snapshot, err = a.snapshot(ctx, id); err != nil {
			return err
		}
		var first, last calendar.Date
		err = a.QueryRow(ctx, `
			SELECT d.first_day, d.last_day, d.status, count(s.id), count(s.id) FILTER (WHERE s.status = 'drawn'),
				count(s.id) FILTER (WHERE s.status = 'sent'), count(s.id) FILTER (WHERE s.status = 'missing')
			FROM drives d LEFT JOIN specimens s ON s.drive_id = d.id AND s.status <> 'undone'
			WHERE d.id = $1 GROUP BY d.id`, id).Scan(&first, &last, &out.Status, &out.Tubes, &out.Unsent, &out.Underway, &out.Missing)
		out.FirstDay, out.DayAfter = first.Start(Zone), last.AddDays(1).Start(Zone)
		return err
	})
	return out, err
}

// SetDriveStatus moves a drive along: planned, open, closed, sent, reported. Setting it again changes nothing.
func (s *Store) SetDriveStatus(ctx context.Context, actor Actor, id uuid.UUID, status string, at time.Time) error {
	return s.act(ctx, actor, "SetDriveStatus", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		a.at = at
		d, err := a.readDrive(ctx, id)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Drive, d.record()); err != nil {
			return err
		}
		if d.Status == status {
			return nil
		}
		a.event(Event{Code: "drive." + status, CaseID: id, DriveID: id})
		_, err = a.Exec(ctx, `UPDATE drives SET status = $2, version = version + 1 WHERE id = $1`, id, status)
		return err
	})
}

func recordDriveClosing(ctx context.Context, a *act, c caseRow, _ taskRow, form forms.Form, _ forms.Outcome) error {
	f := form.(*forms.DriveClosing)
	_, err := a.Exec(ctx, `UPDATE drives SET status = 'closed', counted_forms = $2, counted_tubes = $3, counted_consents = $4, difference = $5, version = version + 1 WHERE id = $1`,
		c.Subject, f.Forms, f.Tubes, f.Consents, f.Difference)
	return err
}

// recordMissingTube gives the tubes that did not arrive up as lost, or back to the office that sends them when they were
// found.
func recordMissingTube(ctx context.Context, a *act, c caseRow, _ taskRow, _ forms.Form, o forms.Outcome) error {
	status, reason := "drawn", ""
	if o.Code == "lost" {
		status, reason = "rejected", "lost"
	}
	rows, err := a.Query(ctx, `UPDATE specimens SET status = $2, reason = $3, holder_id = (SELECT organisation_id FROM drives WHERE id = $1), version = version + 1 WHERE drive_id = $1 AND status = 'missing' RETURNING registration_id`, c.Subject, status, reason)
	if err != nil {
		return err
	}
	registrations, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	a.hear(string(EnrolmentProtocol), "sample", registrations...)
	return err
}

func recordDriveReport(ctx context.Context, a *act, c caseRow, _ taskRow, _ forms.Form, _ forms.Outcome) error {
	_, err := a.Exec(ctx, `UPDATE drives SET status = 'reported', version = version + 1 WHERE id = $1`, c.Subject)
	return err
}
