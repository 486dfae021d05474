package registry

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
)

// seatDuties is what answering from a seat makes of somebody in a case, whatever the step. A step may make more of them
// (steps, duty). What does not go together with what is in policy/separation.csv.
var seatDuties = map[string]policy.Duty{
	SeatCoordinator: policy.Coordinate,
	SeatTransplant:  policy.Transplant,
}

// dutiesOf is what answering a step from a seat makes of somebody.
func dutiesOf(stepName, seat string) []policy.Duty {
	seat, _, _ = strings.Cut(seat, "#")
	return slices.DeleteFunc([]policy.Duty{steps[stepName].duty, seatDuties[seat]}, func(d policy.Duty) bool { return d == "" })
}

// opposed lists the duties of steps and seats that do not go together with any of these.
func opposed(to []policy.Duty) []policy.Duty {
	var out []policy.Duty
	add := func(other policy.Duty) {
		for _, duty := range to {
			if _, apart := policy.Separated(other, duty); apart && other != "" {
				out = append(out, other)
			}
		}
	}
	for _, s := range steps {
		add(s.duty)
	}
	for _, duty := range seatDuties {
		add(duty)
	}
	return out
}

// oneDuty keeps somebody from judging in their own cause: who did one thing for a donor, in this case or in another about the
// same donor, does not do what must be apart from it. What was struck since was done all the same. What somebody did is read
// across the regions, by acts that show none of it.
func (a *act) oneDuty(ctx context.Context, t taskRow) error {
	against := opposed(dutiesOf(t.Step, t.Seat))
	if len(against) == 0 || a.actor.staff == uuid.Nil {
		return nil
	}
	rows, err := a.Query(ctx, `
		SELECT DISTINCT o.step, o.seat FROM cases mine JOIN cases c ON c.subject_id = mine.subject_id JOIN tasks o ON o.case_id = c.id
			JOIN answers w ON w.task_id = o.id AND w.staff_id = $2 AND w.status IN ('accepted', 'struck')
		WHERE mine.id = $1 ORDER BY o.step, o.seat`, t.CaseID, a.actor.staff)
	if err != nil {
		return err
	}
	did, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Step, Seat string }])
	if err != nil {
		return err
	}
	for _, d := range did {
		if slices.ContainsFunc(dutiesOf(d.Step, d.Seat), func(duty policy.Duty) bool { return slices.Contains(against, duty) }) {
			return refused("duties_apart", "Step", d.Step)
		}
	}
	return nil
}
