package registry

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
)

// BoardView is a drive in numbers, as those who stand at it need them.
type BoardView struct {
	Drive    DriveView     `json:"drive" class:"drive" mask:"drop"`
	Sources  []BoardSource `json:"sources" doc:"Forms by where they came from." class:"drive" mask:"drop"`
	Tubes    BoardTubes    `json:"tubes" class:"drive" mask:"drop"`
	Hours    []BoardHour   `json:"hours" doc:"People registered by hour." class:"drive" mask:"drop"`
	Members  []BoardMember `json:"members" doc:"People registered by who entered them." class:"drive" mask:"drop"`
	Recruits []BoardMember `json:"recruits" doc:"Paper forms by who won the volunteer." class:"drive" mask:"drop"`
	Control  BoardControl  `json:"control" class:"drive" mask:"drop"`
}

// BoardSource is what came in one way: sheet, paper, own (volunteers' phones), form (entered at a screen), api.
type BoardSource struct {
	Source     string `json:"source" class:"drive" mask:"drop"`
	Forms      int    `json:"forms" doc:"All of them: the sum of the others." class:"drive" mask:"drop"`
	Registered int    `json:"registered" doc:"In the register: new, filled in, linked or as they were." class:"drive" mask:"drop"`
	Waiting    int    `json:"waiting" doc:"Sound, and not committed yet; or sent by a volunteer, and not taken yet." class:"drive" mask:"drop"`
	Warnings   int    `json:"warnings" doc:"Want a second look." class:"drive" mask:"drop"`
	Errors     int    `json:"errors" doc:"Break a rule, or are held." class:"drive" mask:"drop"`
	Duplicates int    `json:"duplicates" doc:"The same person twice in one batch, or possibly somebody known." class:"drive" mask:"drop"`
	Returned   int    `json:"returned" doc:"Sent back to a volunteer, or not sent yet." class:"drive" mask:"drop"`
}

// BoardTubes are the drive's samples by where they are.
type BoardTubes struct {
	Drawn    int `json:"drawn" doc:"All that were drawn." class:"drive" mask:"drop"`
	Here     int `json:"here" doc:"Of those, still at the drive." class:"drive" mask:"drop"`
	Sent     int `json:"sent" doc:"Under way." class:"drive" mask:"drop"`
	Received int `json:"received" doc:"At the laboratory, typed or not." class:"drive" mask:"drop"`
	Rejected int `json:"rejected" class:"drive" mask:"drop"`
	Missing  int `json:"missing" class:"drive" mask:"drop"`
}

// BoardHour is an hour of the drive, in the office's zone.
type BoardHour struct {
	Hour  string `json:"hour" doc:"As 2026-11-22 09." class:"drive" mask:"drop"`
	Forms int    `json:"forms" class:"drive" mask:"drop"`
}

// BoardMember is somebody who enters forms.
type BoardMember struct {
	Staff uuid.UUID `json:"staff" class:"drive" mask:"drop"`
	Name  string    `json:"name" class:"drive" mask:"drop"`
	Forms int       `json:"forms" class:"drive" mask:"drop"`
}

// BoardControl adds the batches of the drive up against what was expected of them.
type BoardControl struct {
	Expected   int  `json:"expected" doc:"The numbers on the covers, or counted by hand." class:"drive" mask:"drop"`
	Entered    int  `json:"entered" doc:"The forms of those batches." class:"drive" mask:"drop"`
	Difference int  `json:"difference" doc:"Entered less expected." class:"drive" mask:"drop"`
	Named      bool `json:"named" doc:"A difference of a stack of paper was explained." class:"drive" mask:"drop"`
}

// Board shows a drive in numbers. It counts, and names no volunteer.
func (r *Reader) Board(ctx context.Context, actor Actor, drive uuid.UUID) (BoardView, error) {
	var out BoardView
	err := r.act(ctx, actor, "DriveBoard", policy.ForEnrolment, func(ctx context.Context, a *act) (err error) {
		if out.Drive, err = a.readDrive(ctx, drive); err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Drive, out.Drive.record()); err != nil {
			return err
		}
		var b pgx.Batch
		collect := func(sql string, into func(pgx.Rows) error) { b.Queue(sql, drive).Query(into) }
		collect(boardSources, intoRows(&out.Sources))
		collect(`SELECT count(*), count(*) FILTER (WHERE status = 'drawn'), count(*) FILTER (WHERE status = 'sent'), count(*) FILTER (WHERE status IN ('received', 'typed')),
				count(*) FILTER (WHERE status = 'rejected'), count(*) FILTER (WHERE status = 'missing') FROM specimens WHERE drive_id = $1 AND status <> 'undone'`,
			func(rows pgx.Rows) (err error) {
				out.Tubes, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[BoardTubes])
				return err
			})
		collect(`SELECT to_char(created_at AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24'), count(DISTINCT person_id) FROM registrations WHERE drive_id = $1 AND status <> 'undone' GROUP BY 1 ORDER BY 1`, intoRows(&out.Hours))
		collect(`
			SELECT s.id, s.display_name, count(DISTINCT g.person_id) FROM registrations g JOIN batches k ON k.id = g.batch_id
				LEFT JOIN batch_rows r ON r.batch_id = k.id AND k.kind = 'paper' AND g.id = ANY(r.registration_ids) LEFT JOIN paper_forms f ON f.batch_id = r.batch_id AND f.row_no = r.row_no
				JOIN staff s ON s.id = coalesce(f.entered_by, k.uploaded_by)
			WHERE g.drive_id = $1 AND g.status <> 'undone' GROUP BY s.id, s.display_name ORDER BY 3 DESC, 2`, intoRows(&out.Members))
		collect(`
			SELECT s.id, s.display_name, count(*) FROM paper_forms f JOIN batches k ON k.id = f.batch_id JOIN staff s ON s.id = f.recruiter
			WHERE k.drive_id = $1 AND k.status NOT IN ('cancelled', 'undone') GROUP BY s.id, s.display_name ORDER BY 3 DESC, 2`, intoRows(&out.Recruits))
		collect(`
			SELECT coalesce(sum(expected), 0)::int, coalesce(sum(entered), 0)::int, coalesce(sum(entered - expected), 0)::int, coalesce(bool_or(difference <> ''), false)
			FROM (SELECT coalesce(counted_forms, expected_forms) AS expected, rows_total + rows_settled AS entered, difference FROM batches
				WHERE drive_id = $1 AND status NOT IN ('cancelled', 'undone') AND coalesce(counted_forms, expected_forms) IS NOT NULL) k`,
			func(rows pgx.Rows) (err error) {
				out.Control, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[BoardControl])
				return err
			})
		return a.SendBatch(ctx, &b).Close()
	})
	return out, err
}

// boardSources counts the rows of the drive's batches, and what volunteers sent and nobody took.
const boardSources = `
	SELECT source, sum(forms)::int, sum(registered)::int, sum(waiting)::int, sum(warnings)::int, sum(errors)::int, sum(duplicates)::int, sum(returned)::int FROM (
		SELECT CASE WHEN k.kind IN ('xlsx', 'csv') THEN 'sheet' ELSE k.kind END AS source, count(*) AS forms,
			count(*) FILTER (WHERE r.outcome IN ('created', 'updated', 'linked', 'unchanged')) AS registered,
			count(*) FILTER (WHERE r.outcome = '' AND r.verdict IN ('ready', 'known')) AS waiting,
			count(*) FILTER (WHERE r.outcome = 'skipped' OR r.outcome = '' AND r.verdict = 'warning') AS warnings,
			count(*) FILTER (WHERE r.outcome IN ('', 'failed') AND r.verdict = 'error') AS errors,
			count(*) FILTER (WHERE r.outcome = 'parked' OR r.outcome IN ('', 'failed') AND r.verdict = 'duplicate') AS duplicates, 0 AS returned
		FROM batches k JOIN batch_rows r ON r.batch_id = k.id WHERE k.drive_id = $1 AND k.status NOT IN ('cancelled', 'undone') GROUP BY 1
		UNION ALL
		SELECT 'own', count(*), 0, count(*) FILTER (WHERE status = 'submitted'), 0, 0, 0, count(*) FILTER (WHERE status IN ('draft', 'returned'))
		FROM own_forms WHERE drive_id = $1 AND status IN ('submitted', 'draft', 'returned') HAVING count(*) > 0) each
	GROUP BY source ORDER BY source`

// intoRows collects rows into a list of views, which is empty and not null when there are none.
func intoRows[T any](into *[]T) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T])
		if *into == nil {
			*into = []T{}
		}
		return err
	}
}
