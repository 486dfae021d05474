package registry

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/identity"
)

// ErasePerson destroys a person's key, and with it everything that is sealed of them: name, numbers, phones, addresses,
// the forms that were answered about them. Rows stay, and nobody can tell any more whose they were:
//
//   - what would find or describe the person is cleared: blind indexes, birth date, sex, blood group, body, deferrals, and
//     the province is all that is left of where they live. The typing goes too, unless they gave: then it belongs to the
//     record of the transplant, which must be traceable for decades;
//   - what came in with the person goes too: staged rows, and the sheets that the rows came in, and the papers of their cases;
//   - the numbers of registrations, samples, consents and donations stay, and so do the skeletons of cases, with codes and
//     days: law and standards want donations traceable and consents proven. The audit stays, which names nobody but staff.
//
// Whoever was merged into the person goes with them. Erasing somebody again changes nothing.
//
// Whether somebody may be erased is for the caller to decide. Errors: Refused while the person has a registration in
// force, which must be withdrawn first, or a case under way.
func (s *Store) ErasePerson(ctx context.Context, actor Actor, person uuid.UUID) error {
	return s.act(ctx, actor, "ErasePerson", policy.ForAdministration, func(ctx context.Context, a *act) error {
		var region identity.Region
		var erased bool
		err := a.QueryRow(ctx, `SELECT region, erased_at IS NOT NULL FROM persons WHERE id = $1 FOR UPDATE`, person).Scan(&region, &erased)
		if errors.Is(err, pgx.ErrNoRows) {
			a.decided = true // there is nobody to decide about
			return missing("person")
		}
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Identity, record{kind: "person", id: person.String(), region: region}); err != nil || erased {
			return err
		}
		all, err := a.withMerged(ctx, person)
		if err != nil {
			return err
		}
		var registered, underWay bool
		err = a.QueryRow(ctx, `
			WITH mine AS (SELECT id, status FROM registrations WHERE person_id = ANY($1)),
				about AS (SELECT id, status FROM cases WHERE subject_id IN (SELECT id FROM mine))
			SELECT EXISTS (SELECT FROM mine WHERE status NOT IN ('withdrawn', 'left', 'undone')),
				EXISTS (SELECT FROM about WHERE status = 'open')
					OR EXISTS (SELECT FROM cases WHERE (subject_id IN (SELECT id FROM about) OR subject_id = ANY($1)) AND status = 'open')`, all).Scan(&registered, &underWay)
		switch {
		case err != nil:
			return err
		case registered:
			return refused("still_registered")
		case underWay:
			return refused("case_under_way")
		}
		return a.erase(ctx, all)
	})
}

// withMerged locks whoever was merged into a person, and names them with the person.
func (a *act) withMerged(ctx context.Context, person uuid.UUID) ([]uuid.UUID, error) {
	rows, err := a.Query(ctx, `
		WITH RECURSIVE them(id) AS (SELECT $1::uuid UNION SELECT p.id FROM persons p JOIN them t ON p.merged_into = t.id)
		SELECT id FROM persons WHERE id IN (SELECT id FROM them) AND erased_at IS NULL ORDER BY id FOR UPDATE`, person)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// erase destroys the keys of people, and what would find or describe them.
func (a *act) erase(ctx context.Context, persons []uuid.UUID) error {
	if err := a.clearSheets(ctx, persons); err != nil {
		return err
	}
	var b pgx.Batch
	for _, statement := range []string{
		// The bytes in sealed columns stay as they are: without the key they say nothing.
		`UPDATE persons SET key_wrapped = NULL, erased_at = $2, likeness_index = NULL, phone_index = NULL, birth_date = NULL, sex = NULL, abo = NULL, rh = NULL, ethnicity = NULL, height_cm = NULL,
			weight_kg = NULL, last_contact = NULL, region = left(region, 2) || '0000', version = version + 1, updated_at = $2 WHERE id = ANY($1)`,
		`UPDATE person_documents SET number_index = NULL, tail_index = NULL WHERE person_id = ANY($1) AND $2::timestamptz IS NOT NULL`,
		`UPDATE emergency_access SET reason_sealed = NULL, note_sealed = NULL WHERE registration_id IN (SELECT id FROM registrations WHERE person_id = ANY($1)) AND $2::timestamptz IS NOT NULL`,
		`UPDATE attachments SET name_sealed = NULL, body_sealed = NULL WHERE key_of = ANY($1) AND $2::timestamptz IS NOT NULL`,
		`DELETE FROM deferrals WHERE person_id = ANY($1) AND $2::timestamptz IS NOT NULL`,
		`DELETE FROM duplicates WHERE (person_id = ANY($1) OR other_id = ANY($1)) AND NOT EXISTS (SELECT FROM merges m WHERE m.duplicate_id = duplicates.id) AND $2::timestamptz IS NOT NULL`,
		`UPDATE merges SET snapshot_sealed = NULL, version = version + 1 WHERE (person_id = ANY($1) OR other_id = ANY($1)) AND $2::timestamptz IS NOT NULL`,
		`UPDATE typings t SET gl_string = '', current = false WHERE person_id = ANY($1) AND $2::timestamptz IS NOT NULL
			AND NOT EXISTS (SELECT FROM donations d WHERE d.registration_id = t.registration_id)`,
	} {
		b.Queue(statement, persons, a.at)
	}
	var registrations []uuid.UUID
	b.Queue(`SELECT id FROM registrations WHERE person_id = ANY($1)`, persons).Query(func(rows pgx.Rows) (err error) {
		registrations, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		return err
	})
	if err := a.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	for _, id := range registrations {
		a.event(Event{Code: "registration.erased", RegistrationID: id})
	}
	return nil
}

// clearSheets takes people out of the sheets that they came in and of what waits to be compared with them. A sheet goes as a
// whole: it cannot be erased in part.
func (a *act) clearSheets(ctx context.Context, persons []uuid.UUID) error {
	var b pgx.Batch
	for _, statement := range []string{
		// A staged row stays, with nothing in it, so that its batch can be committed: there it fails.
		`WITH theirs AS (UPDATE staged_forms s SET raw_sealed = NULL, key_wrapped = NULL, name_sealed = NULL, phone_sealed = NULL, profile_sealed = NULL, number_sealed = NULL, number_index = NULL, tail_index = NULL, phone_index = NULL,
				birth_date = NULL, sex = NULL, abo = NULL, rh = NULL, ethnicity = NULL, height_cm = NULL, weight_kg = NULL
			FROM batch_rows r WHERE r.person_id = ANY($1) AND s.batch_id = r.batch_id AND s.row_no = r.row_no AND (s.raw_sealed IS NOT NULL OR s.key_wrapped IS NOT NULL) RETURNING s.batch_id, s.row_no)
		UPDATE batch_rows r SET verdict = 'error', problems = r.problems || '[{"field": "", "code": "N307"}]' FROM theirs t WHERE r.batch_id = t.batch_id AND r.row_no = t.row_no`,
		`UPDATE batches b SET file_sealed = NULL, file_name_sealed = NULL, version = version + 1,
				verdicts = (SELECT coalesce(jsonb_object_agg(verdict, n), '{}') FROM (SELECT verdict, count(*) AS n FROM batch_rows WHERE batch_id = b.id GROUP BY verdict) v)
			WHERE id IN (SELECT batch_id FROM batch_rows WHERE person_id = ANY($1))`,
		`UPDATE batch_rows SET row_key = '', number_lookups = NULL, likeness_lookups = NULL WHERE person_id = ANY($1)`,
	} {
		b.Queue(statement, persons)
	}
	return a.as(ctx, dbIntake, func() error { return a.SendBatch(ctx, &b).Close() })
}

// ErasePatient destroys a patient's key and clears what describes them, as ErasePerson does for a donor. The pseudonym, the
// searches and the cases stay.
//
// Errors: Refused while a search or a case of theirs is open.
func (s *Store) ErasePatient(ctx context.Context, actor Actor, patient uuid.UUID) error {
	return s.act(ctx, actor, "ErasePatient", policy.ForAdministration, func(ctx context.Context, a *act) error {
		var erased, underWay bool
		err := a.QueryRow(ctx, `
			SELECT key_wrapped IS NULL, EXISTS (SELECT FROM searches WHERE patient_id = p.id AND status <> 'closed')
				OR EXISTS (SELECT FROM link.requests q JOIN cases c ON c.id = q.case_id WHERE q.patient_id = p.id AND c.status = 'open')
			FROM patients p WHERE id = $1 FOR UPDATE`, patient).Scan(&erased, &underWay)
		if errors.Is(err, pgx.ErrNoRows) {
			a.decided = true // there is nobody to decide about
			return missing("patient")
		}
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Identity, record{kind: "patient", id: patient.String(), region: nation}); err != nil || erased {
			return err
		}
		if underWay {
			return refused("case_under_way")
		}
		_, err = a.Exec(ctx, `
			WITH papers AS (UPDATE attachments SET name_sealed = NULL, body_sealed = NULL WHERE key_of = $1)
			UPDATE patients SET key_wrapped = NULL, birth_year = 0, diagnosis = '', weight_kg = 0, abo = NULL, rh = NULL, cmv = NULL, version = version + 1,
				gl_string = CASE WHEN EXISTS (SELECT FROM donations d JOIN link.requests q ON q.case_id = d.case_id WHERE q.patient_id = $1) THEN gl_string ELSE '' END
			WHERE id = $1`, patient)
		return err
	})
}

// abandonedAfter is when a sheet that nobody committed is given up.
const abandonedAfter = 30 * 24 * time.Hour

// sweep destroys the sheets that are done with, and what was staged of them: those committed whose undo window is over,
// those undone or cancelled as long ago, and those that nobody committed. A sheet holds many people under one key, and
// would outlast the erasure of each.
func (s *Store) sweep(ctx context.Context) error {
	var ids []uuid.UUID
	err := s.internally(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT id FROM batches WHERE swept_at IS NULL AND status NOT IN ('committing', 'undoing') ORDER BY id`)
		if err != nil {
			return err
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		err := s.act(ctx, System("upkeep"), "SweepBatch", policy.ForEnrolment, func(ctx context.Context, a *act) error {
			b, err := a.readBatch(ctx, id, "FOR UPDATE OF b")
			if err != nil {
				return err
			}
			if !a.doneWith(b) {
				a.decided = true // nothing is done
				return nil
			}
			if err := a.permitShown(policy.Write, policy.Intake, b.record(), b.Rows); err != nil {
				return err
			}
			_, err = a.Exec(ctx, `
				WITH staged AS (DELETE FROM staged_forms WHERE batch_id = $1),
					lines AS (UPDATE batch_rows SET row_key = '', number_lookups = NULL, likeness_lookups = NULL WHERE batch_id = $1 AND (row_key <> '' OR number_lookups IS NOT NULL))
				UPDATE batches SET swept_at = $2, file_sealed = NULL, file_name_sealed = NULL, status = CASE WHEN status IN ('created', 'checked') THEN 'cancelled' ELSE status END,
					version = version + 1 WHERE id = $1`, id, a.at)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// doneWith tells whether a batch's sheet has served.
func (a *act) doneWith(b batchRow) bool {
	since := b.CreatedAt
	if b.DoneAt != nil {
		since = *b.DoneAt
	}
	switch b.Status {
	case "committed", "undone", "cancelled":
		return a.at.After(a.undoUntil(b.BatchView.Region, since))
	case "created", "checked":
		return a.at.After(since.Add(abandonedAfter))
	default:
		return false
	}
}
