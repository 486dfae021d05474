package registry

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
)

// What time does to the donors on the list, and what a donor says when the office asks once a year. Millions wait here for
// decades, so it is done to whole regions by statements, and not by a workflow for each.

// Upkeep does what a day brings, region by region: donors who reach the age leave the register, those who were unavailable
// until yesterday are listed again, and each office hears once a month how many of its donors it should ask whether they can
// still be reached. A donor in a case stays as they are until it ends. Before that it destroys the sheets that are done with, and words that need not be kept, and
// holds whoever came in since against everybody else. Doing it again the same day changes nothing.
func (s *Store) Upkeep(ctx context.Context) error {
	if err := errors.Join(s.sweep(ctx), s.sweepExports(ctx), s.sweepOwnForms(ctx), s.forgetChanges(ctx), s.forgetProbes(ctx), s.indexLate(ctx), s.compareBatches(ctx)); err != nil {
		return err
	}
	var regions []identity.Region
	err := s.internally(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT DISTINCT region FROM registrations WHERE programme = 'stemcell' AND status IN ('listed', 'unavailable') ORDER BY region`)
		if err != nil {
			return err
		}
		regions, err = pgx.CollectRows(rows, pgx.RowTo[identity.Region])
		return err
	})
	if err != nil {
		return err
	}
	for _, region := range regions {
		err := s.act(ctx, System("upkeep"), "Upkeep", policy.ForEnrolment, func(ctx context.Context, a *act) error {
			return a.upkeep(ctx, region)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *act) upkeep(ctx context.Context, region identity.Region) error {
	r, today := a.rules(region), a.today()
	leaves := r.Count(rules.StemCellLeavesAt)
	born := lastDay(today, func(d calendar.Date) bool { return d.AgeOn(today) >= leaves })
	asked := lastDay(today, func(d calendar.Date) bool { return !r.Span(rules.StemCellCheckIn).On(d, nil).After(today) })
	const free = `NOT EXISTS (SELECT FROM reservations v WHERE v.registration_id = g.id AND v.released_at IS NULL)`
	var left, back int
	err := a.QueryRow(ctx, `
		WITH gone AS (
			UPDATE registrations g SET status = 'left', status_reason = 'AG', unavailable_until = NULL, version = g.version + 1, updated_at = now()
			FROM persons p WHERE p.id = g.person_id AND g.region = $1 AND g.programme = 'stemcell' AND g.status IN ('listed', 'unavailable') AND p.birth_date <= $2 AND `+free+`
			RETURNING g.id, g.person_id),
		told AS (
			INSERT INTO events (id, at, code, registration_id, person_id, actor, args)
			SELECT uuid_v7(), $4, 'registration.left', id, person_id, $5, jsonb_build_object('Age', $6::int) FROM gone),
		again AS (
			UPDATE registrations g SET status = 'listed', status_reason = '', unavailable_until = NULL, version = g.version + 1, updated_at = now()
			FROM persons p WHERE p.id = g.person_id AND g.region = $1 AND g.programme = 'stemcell' AND g.status = 'unavailable' AND g.unavailable_until < $3 AND p.birth_date > $2 AND `+free+`
			RETURNING g.id, g.person_id),
		said AS (
			INSERT INTO events (id, at, code, registration_id, person_id, actor, args)
			SELECT uuid_v7(), $4, 'registration.available', id, person_id, $5, '{}' FROM again)
		SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM again)`,
		string(region), born, today, a.at, a.actor.subject, leaves).Scan(&left, &back)
	if err != nil {
		return err
	}
	if err := a.permitShown(policy.Write, policy.Consent, record{kind: "upkeep", id: string(region), region: region}, left+back); err != nil {
		return err
	}
	rows, err := a.Query(ctx, `
		SELECT g.organisation_id, count(*) FROM registrations g JOIN persons p ON p.id = g.person_id
		WHERE g.region = $1 AND g.programme = 'stemcell' AND g.status = 'listed' AND coalesce(p.last_contact, g.registered_on) <= $2 GROUP BY g.organisation_id`, string(region), asked)
	if err != nil {
		return err
	}
	var office uuid.UUID
	var n int
	_, err = pgx.ForEachRow(rows, []any{&office, &n}, func() error {
		month := today.String()[:len("2026-11")]
		a.tell(notice{code: "registration.checkin_due", args: map[string]any{"Donors": n, "Before": asked.AddDays(1)}, organisation: office, region: region, role: string(policy.Coordinator),
			dedupe: "checkin/" + office.String() + "/" + string(region) + "/" + month})
		return nil
	})
	return err
}

// lastDay is the last day before today that is ok, when every day before an ok one is ok too.
func lastDay(today calendar.Date, ok func(calendar.Date) bool) calendar.Date {
	step, d := 1<<15, today // 90 years
	for ; step > 0; step /= 2 {
		if later := d.AddDays(-step); !ok(later) {
			d = later
		}
	}
	return d.AddDays(-1)
}

// CheckIn is what came of asking a donor whether they can still be reached, and still wish to give.
type CheckIn struct {
	Outcome string        `json:"outcome" validate:"required,oneof=confirmed unavailable unreachable" doc:"confirmed: reached, and the wish stands. unavailable: reached, and not able to give until a day. unreachable: nobody was reached."`
	On      calendar.Date `json:"on" validate:"required"`
	Reason  string        `json:"reason,omitempty" validate:"required_if=Outcome unavailable,omitempty,oneof=personal abroad health pregnancy"`
	Until   calendar.Date `json:"until,omitzero" validate:"required_if=Outcome unavailable" doc:"The last day on which the donor is not available."`
}

// unavailableFor puts a check-in's reason into WMDA's terms (D_STAT_REASON): personal or medical.
var unavailableFor = map[string]string{"personal": "PR", "abroad": "PR", "health": "MR", "pregnancy": "MR"}

// CheckInDonor notes that an office asked a donor. Whoever is reached was contacted that day; a donor who was unavailable for
// a reason of their own, or because nobody reached them, and confirms, is listed again. A medical reason lasts to its day.
//
// Errors: Refused for a donor in a case, whose steps say what comes of it, and when a donor who is not on the list is said to
// be unavailable.
func (s *Store) CheckInDonor(ctx context.Context, actor Actor, id uuid.UUID, version int64, f CheckIn) (DonorView, error) {
	err := s.act(ctx, actor, "CheckInDonor", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		row, err := a.readRegistration(ctx, id, "FOR UPDATE")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Consent, row.record()); err != nil {
			return err
		}
		problems := forms.Check(f)
		if f.On.After(a.today()) {
			problems = append(problems, forms.Problem{Code: "R138", Field: "on", Args: map[string]any{"Today": a.today().String()}})
		}
		if !f.Until.IsZero() && !f.Until.After(f.On) {
			problems = append(problems, forms.Problem{Code: "R141", Field: "until"})
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		var status, reason string
		var reserved bool
		err = a.QueryRow(ctx, `
			SELECT status, status_reason, EXISTS (SELECT FROM reservations v WHERE v.registration_id = g.id AND v.released_at IS NULL) FROM registrations g WHERE id = $1`, id).
			Scan(&status, &reason, &reserved)
		if err != nil {
			return err
		}
		listed := status == "listed" || status == "unavailable"
		switch {
		case version != 0 && version != row.Version:
			return stale("donor")
		case reserved:
			return refused("donor_in_case")
		case status == "withdrawn" || status == "left" || status == "undone":
			return refused("donor_gone")
		case f.Outcome == "unavailable" && !listed:
			return refused("donor_not_listed")
		}
		var until *calendar.Date
		switch {
		case f.Outcome == "unavailable":
			status, reason, until = "unavailable", unavailableFor[f.Reason], &f.Until
		case f.Outcome == "confirmed" && status == "unavailable" && (reason == "PR" || reason == "UC"):
			status, reason = "listed", ""
		default:
			status, reason = "", "" // as it was
		}
		_, err = a.Exec(ctx, `
			WITH reached AS (UPDATE persons SET last_contact = greatest(last_contact, $2), version = version + 1, updated_at = now() WHERE id = $3 AND $4)
			UPDATE registrations SET status = coalesce(nullif($5, ''), status), status_reason = CASE WHEN $5 = '' THEN status_reason ELSE $6 END,
				unavailable_until = CASE WHEN $5 = '' THEN unavailable_until ELSE $7::date END, version = version + 1, updated_at = now() WHERE id = $1`,
			id, f.On, row.Person, f.Outcome != "unreachable", status, reason, until)
		if err != nil {
			return err
		}
		args := map[string]any{"On": f.On}
		if f.Outcome == "unavailable" {
			args["Reason"], args["Until"] = f.Reason, f.Until
		}
		a.event(Event{Code: "registration.checkin_" + f.Outcome, PersonID: row.Person, RegistrationID: id, Args: args})
		return nil
	})
	if err != nil {
		return DonorView{}, err
	}
	return s.showDonor(ctx, actor, id, false)
}
