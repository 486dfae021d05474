package registry

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// keeping is what stands against erasing a person.
type keeping struct {
	donated  bool // cells were collected: the record of it is kept by law, with who it was
	caseOpen bool // somebody's treatment depends on the person now, or an adverse event is being looked into
	last     calendar.Date
}

func (a *act) keeps(ctx context.Context, person uuid.UUID) (keeping, error) {
	var k keeping
	var last *calendar.Date
	err := a.QueryRow(ctx, `
		SELECT (SELECT max(collected_on) FROM donations WHERE person_id = $1),
			EXISTS (SELECT FROM cases c JOIN registrations g ON g.id = c.subject_id WHERE g.person_id = $1 AND c.protocol = 'stemcell' AND c.status = 'open')
			OR EXISTS (SELECT FROM cases s JOIN cases c ON c.id = s.subject_id JOIN registrations g ON g.id = c.subject_id WHERE g.person_id = $1 AND s.protocol = 'safety' AND s.status = 'open')`, person).
		Scan(&last, &k.caseOpen)
	if last != nil {
		k.donated, k.last = true, *last
	}
	return k, err
}

// delete carries a request for erasure out as far as the law lets it. What is kept is told, class by class, with the ground
// and the last day. Where the law tells to keep who it was, or a treatment is under way, the data is stored and nothing else
// (PIPL Art. 47).
func (a *act) delete(ctx context.Context, q rightsRow) (result string, kept []KeptLine, err error) {
	for _, class := range []policy.Class{policy.Identity, policy.Contact, policy.Demographics} {
		if err := a.permitRights(policy.Write, class, q.donor()); err != nil {
			return "", nil, err
		}
	}
	k, err := a.keeps(ctx, q.Person)
	if err != nil {
		return "", nil, err
	}
	// What has come between the decision and now: a donor is not erased while a patient waits.
	if q.Decision != "refuse" && k.caseOpen {
		return "", nil, refused("deletion_case_open")
	}
	if q.Decision == "grant" && k.donated {
		return "", nil, refused("deletion_law_keeps")
	}
	all, err := a.withMerged(ctx, q.Person)
	if err != nil {
		return "", nil, err
	}
	rows, err := a.Query(ctx, `SELECT id FROM registrations WHERE person_id = ANY($1) ORDER BY id`, all)
	if err != nil {
		return "", nil, err
	}
	registrations, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return "", nil, err
	}
	if err := a.withdrawAll(ctx, q, registrations); err != nil {
		return "", nil, err
	}
	kept = a.keptOf(q, k)
	switch q.Decision {
	case "refuse":
		a.event(Event{Code: "rights.blocked", CaseID: q.ID, PersonID: q.Person, RegistrationID: q.Donor})
		return "blocked", kept, a.restrict(ctx, q, "blocked")
	case "in_part":
		if err := a.empty(ctx, all, q.ID, true); err != nil {
			return "", nil, err
		}
		a.event(Event{Code: "rights.in_part", CaseID: q.ID, PersonID: q.Person, RegistrationID: q.Donor})
		return "in_part", kept, a.restrict(ctx, q, "blocked")
	default:
		if err := a.empty(ctx, all, q.ID, false); err != nil {
			return "", nil, err
		}
		a.event(Event{Code: "rights.erased", CaseID: q.ID, PersonID: q.Person, RegistrationID: q.Donor})
		return "erased", kept, a.restrict(ctx, q, "erased")
	}
}

// keptOf is the table of what erasure leaves, for one person.
func (a *act) keptOf(q rightsRow, k keeping) []KeptLine {
	in := a.rules(q.Region)
	out := []KeptLine{}
	for _, class := range rules.KeptClasses() {
		if class.When == rules.KeptDonation && !k.donated {
			continue
		}
		from := a.today()
		if class.When == rules.KeptDonation {
			from = k.last
		}
		out = append(out, KeptLine{Class: class.Class, Rule: class.Rule, Until: in.Span(class.Rule).On(from, nil)})
	}
	return out
}

// empty takes people's data out of the register: every personal text, every index that finds them by it, and what was found
// out about their body. Ids, codes and days stay, so that what happened can be shown and nobody can be named. but is the
// request that asks for it, whose own words are needed until the person is told. who keeps what names the person, where a law
// tells to keep who it was.
//
// Their keys are still there, because what is said until the person is told is sealed with them: erase destroys them when
// the request ends (see endRights).
func (a *act) empty(ctx context.Context, persons []uuid.UUID, but uuid.UUID, who bool) error {
	var b pgx.Batch
	for _, person := range persons {
		b.Queue(`UPDATE persons SET phone_sealed = NULL, profile_sealed = NULL, likeness_index = NULL, phone_index = NULL, ethnicity = NULL, height_cm = NULL, weight_kg = NULL, last_contact = NULL,
			version = version + 1, updated_at = now() WHERE id = $1`, person)
		if who {
			continue
		}
		key, err := a.keyOf(ctx, person)
		if err != nil {
			return err
		}
		nobody, err := key.SealBytes(cell("persons", "name", person), nil)
		if err != nil {
			return sealed(err)
		}
		b.Queue(`UPDATE persons SET name_sealed = $2, birth_date = date_trunc('year', birth_date)::date, abo = NULL, rh = NULL WHERE id = $1`, person, nobody)
		b.Queue(`DELETE FROM person_documents WHERE person_id = $1`, person)
		b.Queue(`DELETE FROM typings WHERE person_id = $1`, person)
		b.Queue(`DELETE FROM deferrals WHERE person_id = $1`, person)
		b.Queue(`UPDATE consents SET scan_ref = '' WHERE person_id = $1`, person)
	}
	if err := a.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if err := a.clearSheets(ctx, persons); err != nil {
		return err
	}
	return a.eraseWords(ctx, persons, but)
}

// eraseWords empties the free text that people wrote about a person: forms, notes, what the person asked for and the copies
// that were made. What the patient's side wrote is about the patient, is sealed with the patient's key, and stays.
func (a *act) eraseWords(ctx context.Context, persons []uuid.UUID, but uuid.UUID) error {
	const theirs = `SELECT c.id FROM cases c WHERE c.id <> $2 AND (c.subject_id = ANY($1) OR c.subject_id IN (SELECT id FROM registrations WHERE person_id = ANY($1))
		OR c.subject_id IN (SELECT s.id FROM cases s JOIN registrations g ON g.id = s.subject_id WHERE g.person_id = ANY($1)))`
	rows, err := a.Query(ctx, `SELECT id, key_of FROM answers WHERE key_of = ANY($1) AND case_id IN (`+theirs+`)`, persons, but)
	if err != nil {
		return err
	}
	type answer struct{ ID, Of uuid.UUID }
	answers, err := pgx.CollectRows(rows, pgx.RowToStructByPos[answer])
	if err != nil {
		return err
	}
	keys := map[uuid.UUID]*seal.Key{}
	for _, person := range persons {
		if keys[person], err = a.keyOf(ctx, person); err != nil {
			return err
		}
	}
	var b pgx.Batch
	for _, w := range answers {
		nothing, err := keys[w.Of].SealBytes(cell("answers", "form", w.ID), nil)
		if err != nil {
			return sealed(err)
		}
		b.Queue(`UPDATE answers SET form_sealed = $2 WHERE id = $1`, w.ID, nothing)
	}
	b.Queue(`UPDATE contact_attempts SET note_sealed = NULL WHERE key_of = ANY($1) AND case_id IN (`+theirs+`)`, persons, but)
	b.Queue(`UPDATE attachments SET name_sealed = NULL, body_sealed = NULL WHERE key_of = ANY($1) AND case_id IN (`+theirs+`)`, persons, but)
	b.Queue(`UPDATE handovers SET promises_sealed = NULL WHERE key_of = ANY($1) AND case_id IN (`+theirs+`)`, persons, but)
	b.Queue(`UPDATE rights_requests SET note_sealed = NULL, correction_sealed = NULL WHERE person_id = ANY($1) AND id <> $2`, persons, but)
	b.Queue(`UPDATE rights_copies SET data_sealed = NULL WHERE person_id = ANY($1)`, persons)
	b.Queue(`UPDATE merges SET snapshot_sealed = NULL, version = version + 1 WHERE person_id = ANY($1) AND snapshot_sealed IS NOT NULL`, persons)
	return a.SendBatch(ctx, &b).Close()
}
