package registry

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/registry/seal"
)

// owner says whose key seals a column.
type owner int

const (
	// ofPerson: the key of the person, or the patient, whose row it is or belongs to.
	ofPerson owner = iota
	// ofNewcomer: the key in the staged row itself, which becomes the person's when the row is committed.
	ofNewcomer
	// ofCase: the key of whomever the row's key_of names: the donor's for what the donor's side says, the patient's for the
	// patient's side, so that erasing one takes nothing of the other. Where a case is about nobody, the installation's.
	ofCase
	// ofInstallation: a key of the installation, because the cell holds many people's text, or nobody's. Such cells are short-lived:
	// upkeep destroys them (see Sweep), so that no person is kept by them.
	ofInstallation
)

// sealedColumns is every sealed column of the register, with whose key seals it. A column that is not here fails a test.
var sealedColumns = map[string]owner{
	"persons.name_sealed":            ofPerson,
	"persons.phone_sealed":           ofPerson,
	"persons.profile_sealed":         ofPerson,
	"person_documents.number_sealed": ofPerson,
	"patients.reference_sealed":      ofPerson,
	"reveals.note_sealed":            ofPerson,
	"merges.snapshot_sealed":         ofPerson, // what a merge changed, of both; of who stays

	"staged_forms.name_sealed":    ofNewcomer,
	"staged_forms.phone_sealed":   ofNewcomer,
	"staged_forms.profile_sealed": ofNewcomer,
	"staged_forms.number_sealed":  ofNewcomer,

	"answers.form_sealed":          ofCase,
	"contact_attempts.note_sealed": ofCase,
	"attachments.name_sealed":      ofCase,
	"attachments.body_sealed":      ofCase,
	"handovers.promises_sealed":    ofCase,

	"rights_requests.note_sealed":       ofPerson,
	"rights_requests.correction_sealed": ofPerson,
	"rights_copies.data_sealed":         ofPerson,

	"batches.file_sealed":            ofInstallation, // a whole sheet
	"batches.file_name_sealed":       ofInstallation,
	"staged_forms.raw_sealed":        ofInstallation, // read before anybody knows whose row it is, and of rows that are nobody's
	"idempotency_keys.body_sealed":   ofInstallation, // an answer of the API, for a day
	"staff.totp_sealed":              ofInstallation,
	"emergency_access.reason_sealed": ofInstallation, // about two people, one of whom it is to be shown to who reviews it; erasing the donor destroys it
	"emergency_access.note_sealed":   ofInstallation,
	"exports.reason_sealed":          ofInstallation, // why somebody asks for many people's data, and what who decided said to it; upkeep destroys them with the time of the audit's rows
	"exports.note_sealed":            ofInstallation,
	"own_forms.form_sealed":          ofInstallation, // of somebody whom the register does not have yet; destroyed when it does, or after some days
	"contact_points.address_sealed":  ofInstallation, // where a member of staff is reached; goes when they change it, or leave
	"contact_points.code_sealed":     ofInstallation, // until it comes back
	"webhooks.secret_sealed":         ofInstallation, // of another system; goes with the webhook
	"messages.text_sealed":           ofInstallation, // one side's words, which must outlast neither side's key
}

// keyCell is the place of a person's or a patient's wrapped key. It is the same wherever the key is stored: a staged row
// hands its key over to the person whom it becomes, as it is.
func keyCell(of uuid.UUID) seal.Cell { return cell("keys", "person", of) }

// sealer seals and opens cells: a person's key, or the installation's.
type sealer interface {
	Seal(cell seal.Cell, text string) ([]byte, error)
	SealBytes(cell seal.Cell, plain []byte) ([]byte, error)
	OpenBytes(cell seal.Cell, sealed []byte) ([]byte, error)
}

// freshKeys makes sure that this process has every key that rows may carry: without one it would not find somebody who is
// in the register, and enter them a second time.
func (r *Reader) freshKeys(generation int64) error {
	if err := r.keys.Refresh(generation); err != nil {
		return &Error{Kind: Unavailable, Code: "keys_behind", RetryAfter: 5 * time.Second, cause: err}
	}
	return nil
}

// keyOf unwraps the key of a person.
func (a *act) keyOf(ctx context.Context, person uuid.UUID) (*seal.Key, error) {
	var wrapped []byte
	if err := a.QueryRow(ctx, `SELECT key_wrapped FROM persons WHERE id = $1`, person).Scan(&wrapped); err != nil {
		return nil, err
	}
	return a.keys.Unwrap(keyCell(person), wrapped)
}

// ownersKey is the key of whom a case's text is about: nobody's is the installation's.
func (a *act) ownersKey(of *uuid.UUID, wrapped []byte) (sealer, error) {
	if of == nil {
		return a.keys, nil
	}
	return a.keys.Unwrap(keyCell(*of), wrapped)
}

// wrappedOf reads the wrapped key of whomever a column names.
const wrappedOf = `(SELECT key_wrapped FROM persons WHERE id = key_of UNION ALL SELECT key_wrapped FROM patients WHERE id = key_of)`

// ownerOfCase finds whose key seals what is said at a seat of a case.
func (a *act) ownerOfCase(ctx context.Context, id uuid.UUID, seat string) (of *uuid.UUID, key sealer, err error) {
	var wrapped []byte
	err = a.QueryRow(ctx, `
		SELECT key_of, `+wrappedOf+` FROM (
			SELECT CASE
				WHEN c.protocol = 'drive' THEN NULL
				WHEN c.protocol = 'rights' THEN c.subject_id
				WHEN c.protocol = 'search' THEN (SELECT patient_id FROM searches WHERE id = c.subject_id)
				WHEN EXISTS (SELECT FROM case_parties p WHERE p.case_id = c.id AND p.seat = split_part($2, '#', 1) AND p.side = 'patient')
					THEN (SELECT patient_id FROM link.requests WHERE case_id = coalesce(about.id, c.id))
				ELSE (SELECT person_id FROM registrations WHERE id = coalesce(about.subject_id, c.subject_id)) END AS key_of
			FROM cases c LEFT JOIN cases about ON c.protocol = 'safety' AND about.id = c.subject_id
			WHERE c.id = $1) whose`, id, seat).Scan(&of, &wrapped)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, missing("case")
	}
	if err != nil {
		return nil, nil, err
	}
	key, err = a.ownersKey(of, wrapped)
	return of, key, err
}

// sealed turns the error of sealing something for a person who was erased into what people read.
func sealed(err error) error {
	if errors.Is(err, seal.ErrErased) {
		return refused("person_erased")
	}
	return err
}
