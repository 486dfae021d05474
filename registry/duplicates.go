package registry

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// Two records that may be one person. Whoever comes in is held against everybody by what people are found by, and by nothing that the
// database could read: what speaks for a pair is worked out here, over opened cells, and leaves as marks and masks. A person decides.

// How a pair was found.
const (
	byLikeness = "likeness" // name, birth date and phone
	byPhone    = "phone"    // phone and birth date
	byTail     = "tail"     // name, birth date and the end of a document's number
)

// compareBatches holds those who came in with a batch against everybody, batch by batch, and row by row within one.
func (s *Store) compareBatches(ctx context.Context) error {
	var ids []uuid.UUID
	err := s.internally(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT id FROM batches WHERE status = 'committed' AND compared_at IS DISTINCT FROM committed_at ORDER BY id`)
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
		for more := true; more; {
			err := s.act(ctx, System("upkeep"), "CompareBatch", policy.ForEnrolment, func(ctx context.Context, a *act) (err error) {
				more, err = a.compareChunk(ctx, id)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// comparedAtOnce is how many rows are held against the register in one transaction.
const comparedAtOnce = 500

func (a *act) compareChunk(ctx context.Context, batch uuid.UUID) (more bool, err error) {
	var from int
	var region identity.Region
	err = a.QueryRow(ctx, `SELECT compared_to, region FROM batches WHERE id = $1 AND status = 'committed' AND compared_at IS DISTINCT FROM committed_at FOR NO KEY UPDATE`, batch).Scan(&from, &region)
	if errors.Is(err, pgx.ErrNoRows) {
		a.decided = true // somebody else was first, or it is undone
		return false, nil
	}
	if err != nil {
		return false, err
	}
	rows, err := a.Query(ctx, `SELECT row_no, person_id, outcome FROM batch_rows WHERE batch_id = $1 AND row_no > $2 ORDER BY row_no LIMIT $3`, batch, from, comparedAtOnce)
	if err != nil {
		return false, err
	}
	var no, last, looked int
	var person *uuid.UUID
	var outcome string
	var people []uuid.UUID
	var waiting []int
	if _, err := pgx.ForEachRow(rows, []any{&no, &person, &outcome}, func() error {
		last, looked = no, looked+1
		switch {
		case person == nil:
		case outcome == "created" || outcome == "updated" || outcome == "linked":
			people = append(people, *person)
		case outcome == "parked":
			waiting = append(waiting, no)
		}
		return nil
	}); err != nil {
		return false, err
	}
	if err := a.comparePeople(ctx, people); err != nil {
		return false, err
	}
	if err := a.compareWaiting(ctx, batch, region, waiting); err != nil {
		return false, err
	}
	if err := a.permitShown(policy.Write, policy.Identity, record{kind: "upkeep", id: "duplicates", region: nation}, looked); err != nil {
		return false, err
	}
	more = looked == comparedAtOnce
	_, err = a.Exec(ctx, `
		UPDATE batches SET compared_to = CASE WHEN $2 THEN $3 ELSE -1 END, compared_at = CASE WHEN $2 THEN compared_at ELSE committed_at END WHERE id = $1`, batch, more, last)
	return more, err
}

// likePair is a pair that was found, the earlier person first.
type likePair struct{ One, Other uuid.UUID }

// comparePeople finds who may be one of some people under another record.
func (a *act) comparePeople(ctx context.Context, people []uuid.UUID) error {
	if len(people) == 0 {
		return nil
	}
	rows, err := a.Query(ctx, `
		SELECT p.id, p.key_wrapped, p.name_sealed, p.phone_sealed, p.birth_date, d.id, d.number_sealed FROM persons p LEFT JOIN person_documents d ON d.person_id = p.id AND d.number_index IS NOT NULL
		WHERE p.id = ANY($1) AND p.erased_at IS NULL AND p.status <> 'merged' AND p.likeness_index IS NOT NULL`, people)
	if err != nil {
		return err
	}
	var ids []uuid.UUID
	var hows []string
	var digests [][]byte
	names := map[uuid.UUID]string{}
	var id uuid.UUID
	var document *uuid.UUID
	var wrapped, nameSealed, phoneSealed, numberSealed []byte
	var birth calendar.Date
	if _, err := pgx.ForEachRow(rows, []any{&id, &wrapped, &nameSealed, &phoneSealed, &birth, &document, &numberSealed}, func() error {
		key, err := a.keys.Unwrap(keyCell(id), wrapped)
		if err != nil {
			return err
		}
		name, phone, err := a.namedBy(key, id, nameSealed, phoneSealed)
		if err != nil {
			return err
		}
		add := func(how string, lookups [][]byte) {
			for _, d := range lookups {
				ids, hows, digests = append(ids, id), append(hows, how), append(digests, d)
			}
		}
		if _, twice := names[id]; !twice {
			names[id] = sameName(name)
			if !phone.Empty() { // else a name and a birth date alone
				add(byLikeness, a.keys.Lookups("likeness", likenessKey(name, birth, phone)))
				add(byPhone, a.lookupsOf("phone", phoneKey(phone, birth)))
			}
		}
		if document != nil {
			number, err := key.OpenNumber(cell("person_documents", "number", *document), numberSealed)
			if err != nil {
				return err
			}
			add(byTail, a.lookupsOf("tail", tailKey(number, birth)))
		}
		return nil
	}); err != nil || len(ids) == 0 {
		return err
	}
	rows, err = a.Query(ctx, `
		WITH asked AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[]) a(id, how, digest)),
			found AS (
				SELECT a.id, p.id AS other, a.how FROM asked a JOIN persons p ON a.how = 'likeness' AND p.likeness_index = a.digest
				UNION SELECT a.id, p.id, a.how FROM asked a JOIN persons p ON a.how = 'phone' AND p.phone_index = a.digest
				UNION SELECT a.id, d.person_id, a.how FROM asked a JOIN person_documents d ON a.how = 'tail' AND d.tail_index = a.digest)
		SELECT f.id, p.id, f.how, p.key_wrapped, p.name_sealed FROM found f JOIN persons x ON x.id = f.other JOIN persons p ON p.id = coalesce(x.merged_into, x.id)
		WHERE p.id <> f.id AND p.erased_at IS NULL AND p.status <> 'merged'`, ids, hows, digests)
	if err != nil {
		return err
	}
	found := map[likePair][]string{}
	var other uuid.UUID
	var how string
	if _, err := pgx.ForEachRow(rows, []any{&id, &other, &how, &wrapped, &nameSealed}, func() error {
		if how == byTail {
			// Four characters and a day are shared by chance; with the name they are not.
			key, err := a.keys.Unwrap(keyCell(other), wrapped)
			if err != nil {
				return err
			}
			name, err := key.OpenName(cell("persons", "name", other), nameSealed)
			if err != nil || sameName(name) != names[id] {
				return err
			}
		}
		p := likePair{id, other}
		if other.String() < id.String() {
			p = likePair{other, id}
		}
		if !slices.Contains(found[p], how) {
			found[p] = append(found[p], how)
		}
		return nil
	}); err != nil {
		return err
	}
	var b pgx.Batch
	for p, hows := range found {
		slices.Sort(hows)
		b.Queue(addPair, newID(), p.One, p.Other, nil, nil, nil, hows, a.at)
	}
	return a.SendBatch(ctx, &b).Close()
}

// addPair writes a pair down, unless it is known; what it was found by since is added while nobody has decided. Where the two lie is where
// they are registered; a pair lies in the smallest region that has both.
const addPair = `
	WITH places AS (
		SELECT (SELECT region FROM registrations WHERE person_id = $2 ORDER BY status IN ('withdrawn', 'left', 'undone'), id LIMIT 1) AS one,
			coalesce($6, (SELECT region FROM registrations WHERE person_id = $3 ORDER BY status IN ('withdrawn', 'left', 'undone'), id LIMIT 1)) AS other)
	INSERT INTO duplicates (id, person_id, other_id, batch_id, row_no, region, person_region, other_region, found_by, found_at)
	SELECT $1, $2, $3, $4, $5, CASE WHEN one = other THEN one WHEN left(one, 4) = left(other, 4) THEN left(one, 4) || '00' WHEN left(one, 2) = left(other, 2) THEN left(one, 2) || '0000' ELSE '000000' END,
		one, other, $7, $8 FROM places WHERE one IS NOT NULL AND other IS NOT NULL
	ON CONFLICT (least(person_id, other_id), greatest(person_id, other_id)) DO UPDATE SET found_by = ARRAY(SELECT DISTINCT unnest(duplicates.found_by || excluded.found_by) ORDER BY 1)
		WHERE duplicates.decision = '' AND NOT duplicates.found_by @> excluded.found_by`

// compareWaiting finds whom the waiting rows of a batch may be: they wait because of them.
func (a *act) compareWaiting(ctx context.Context, batch uuid.UUID, region identity.Region, waiting []int) error {
	if len(waiting) == 0 {
		return nil
	}
	rows, err := a.Query(ctx, `
		SELECT r.row_no, r.person_id, p.id FROM batch_rows r JOIN persons x ON x.likeness_index = ANY(r.likeness_lookups) JOIN persons p ON p.id = coalesce(x.merged_into, x.id)
		WHERE r.batch_id = $1 AND r.row_no = ANY($2) AND p.erased_at IS NULL AND p.status <> 'merged' AND p.id <> r.person_id AND NOT r.known`, batch, waiting)
	if err != nil {
		return err
	}
	var no int
	var would, person uuid.UUID
	var b pgx.Batch
	if _, err := pgx.ForEachRow(rows, []any{&no, &would, &person}, func() error {
		b.Queue(addPair, newID(), person, would, batch, no, string(region), []string{byLikeness}, a.at)
		return nil
	}); err != nil {
		return err
	}
	return a.SendBatch(ctx, &b).Close()
}

// sameName is a name as two forms of it are held against each other: without blanks and points, in small letters.
func sameName(name seal.Name) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if strings.ContainsRune(" ·•.・", r) {
			return -1
		}
		return r
	}, name.Reveal()))
}

// DuplicateLine is a pair in the queue.
type DuplicateLine struct {
	ID        uuid.UUID       `json:"id" class:"identity" mask:"drop"`
	Region    identity.Region `json:"region" doc:"The smallest region that both lie in." class:"identity" mask:"drop"`
	FoundBy   []string        `json:"found_by" doc:"likeness: name, birth date and phone. phone: phone and birth date. tail: name, birth date and the end of a document's number." class:"identity" mask:"drop"`
	Decision  string          `json:"decision,omitempty" doc:"same, different or unsure; absent until somebody decided." class:"identity" mask:"drop"`
	Reason    string          `json:"reason,omitempty" class:"identity" mask:"drop"`
	FoundAt   time.Time       `json:"found_at" class:"identity" mask:"drop"`
	DecidedAt *time.Time      `json:"decided_at,omitempty" class:"identity" mask:"drop"`
	Merge     uuid.UUID       `json:"merge,omitzero" doc:"The merge that made them one, while it stands." class:"identity" mask:"drop"`
	Version   int64           `json:"version" class:"open" mask:"none"`
	One       DuplicateSide   `json:"one" class:"identity" mask:"drop"`
	Other     DuplicateSide   `json:"other" class:"identity" mask:"drop"`
	persons   [2]uuid.UUID
	batch     *uuid.UUID
	row       int
}

// DuplicateSide is one of a pair: a person, by the first of their registrations, or a row that waits.
type DuplicateSide struct {
	Donor        uuid.UUID       `json:"donor,omitzero" doc:"The registration; absent of a row." class:"registration" mask:"drop"`
	Number       string          `json:"number,omitempty" class:"registration" mask:"drop"`
	Status       string          `json:"status,omitempty" class:"registration" mask:"drop"`
	Region       identity.Region `json:"region" class:"registration" mask:"drop"`
	RegisteredOn calendar.Date   `json:"registered_on,omitzero" class:"registration" mask:"drop"`
	Batch        uuid.UUID       `json:"batch,omitzero" doc:"The sheet whose row waits." class:"registration" mask:"drop"`
	Row          int             `json:"row,omitempty" class:"registration" mask:"drop"`
	Name         *seal.Masked    `json:"name,omitempty" class:"identity" mask:"name"`
}

// DuplicateFilter narrows the queue.
type DuplicateFilter struct {
	Decision string    // open, which is also unsure; same, different, unsure; empty is all
	Donor    uuid.UUID // of this registration's person
	After    uuid.UUID
	Limit    int
}

const duplicateColumns = `d.id, d.region, d.found_by, d.decision, d.reason, d.found_at, d.decided_at, d.version, d.person_id, d.other_id, d.batch_id, coalesce(d.row_no, 0), d.person_region, d.other_region,
	coalesce((SELECT m.id FROM merges m WHERE m.duplicate_id = d.id AND m.undone_at IS NULL), '00000000-0000-0000-0000-000000000000')`

func scanDuplicate(row pgx.CollectableRow) (d DuplicateLine, err error) {
	err = row.Scan(&d.ID, &d.Region, &d.FoundBy, &d.Decision, &d.Reason, &d.FoundAt, &d.DecidedAt, &d.Version, &d.persons[0], &d.persons[1], &d.batch, &d.row, &d.One.Region, &d.Other.Region, &d.Merge)
	if d.batch != nil {
		d.Other.Batch, d.Other.Row = *d.batch, d.row
	}
	return d, err
}

// ListDuplicates returns the pairs of whom the actor may know both, in the order in which they were found. A pair across regions is for the
// office above both.
func (r *Reader) ListDuplicates(ctx context.Context, actor Actor, f DuplicateFilter) ([]DuplicateLine, error) {
	var out []DuplicateLine
	err := r.act(ctx, actor, "ListDuplicates", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		known := a.reachOf(policy.Read, policy.Identity)
		within := known.and(a.reachOf(policy.Read, policy.Registration))
		rows, err := a.Query(ctx, `
			SELECT `+duplicateColumns+` FROM duplicates d
			WHERE d.id > $1 AND CASE $2 WHEN '' THEN true WHEN 'open' THEN d.decision IN ('', 'unsure') ELSE d.decision = $2 END
				AND EXISTS (SELECT FROM unnest($3::text[], $4::text[]) s(lo, hi) WHERE d.person_region >= lo AND d.person_region < hi)
				AND EXISTS (SELECT FROM unnest($3::text[], $4::text[]) s(lo, hi) WHERE d.other_region >= lo AND d.other_region < hi)
				AND ($5::uuid IS NULL OR (SELECT person_id FROM registrations WHERE id = $5) IN (d.person_id, d.other_id))
			ORDER BY d.id LIMIT $6`, f.After, f.Decision, within.lo, within.hi, null(f.Donor), pageSize(f.Limit))
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, scanDuplicate); err != nil {
			return err
		}
		var shown []uuid.UUID
		for i := range out {
			if err := a.sidesOf(ctx, &out[i]); err != nil {
				return err
			}
			for _, side := range []DuplicateSide{out[i].One, out[i].Other} {
				if side.Donor != uuid.Nil {
					shown = append(shown, side.Donor)
				}
			}
			show(a.mask(record{region: out[i].One.Region}), &out[i])
			show(a.mask(record{region: out[i].Other.Region}), &out[i])
		}
		return a.permitList(policy.Identity, known, "donors", shown, a.narrowed("decision", f.Decision), a.narrowed("donor", textOf(f.Donor)))
	})
	return out, err
}

// knownBy tells of a registration that it is one of a person's, $1; of somebody who was merged it is the one that they were known by.
const knownBy = `(person_id = $1 OR id IN (SELECT other_donor FROM merges WHERE other_id = $1 AND undone_at IS NULL))`

// sidesOf reads who the two of a pair are, with their names masked. Of a person it names the registration that stands first.
func (a *act) sidesOf(ctx context.Context, d *DuplicateLine) error {
	for i, side := range []*DuplicateSide{&d.One, &d.Other} {
		if i == 1 && d.batch != nil {
			subject, err := a.subjectOfRow(ctx, *d.batch, d.row)
			if err == nil && subject != nil {
				masked := subject.name.Masked()
				side.Name = &masked
			}
			if err != nil {
				return err
			}
			continue
		}
		err := a.QueryRow(ctx, `SELECT id, number, status, region, registered_on FROM registrations WHERE `+knownBy+`
			ORDER BY status IN ('withdrawn', 'left', 'undone'), id LIMIT 1`, d.persons[i]).
			Scan(&side.Donor, &side.Number, &side.Status, &side.Region, &side.RegisteredOn)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		name, err := a.nameOf(ctx, d.persons[i])
		if err != nil {
			return err
		}
		masked := name.Masked()
		side.Name = &masked
	}
	return nil
}

// Evidence is what one field says for or against a pair: whether the two are equal, differ, or have no value, and what it weighs.
type Evidence struct {
	Field  string `json:"field" class:"identity" mask:"drop"`
	Is     string `json:"is" doc:"equal, different, blank, or one_blank." class:"identity" mask:"drop"`
	Points int    `json:"points" doc:"What it adds to the score." class:"identity" mask:"drop"`
}

// IdentityEvidence, ContactEvidence and DemographicsEvidence have the two values, as they may be seen.
type IdentityEvidence struct {
	Evidence
	One   seal.Masked `json:"one" class:"identity" mask:"name"`
	Other seal.Masked `json:"other" class:"identity" mask:"name"`
}

// ContactEvidence is of how people are reached.
type ContactEvidence struct {
	Evidence
	One   seal.Masked `json:"one" class:"contact" mask:"note"`
	Other seal.Masked `json:"other" class:"contact" mask:"note"`
}

// DemographicsEvidence is of what describes them. Of a birth date it shows the year; it was compared whole.
type DemographicsEvidence struct {
	Evidence
	One   string `json:"one,omitempty" class:"demographics" mask:"year"`
	Other string `json:"other,omitempty" class:"demographics" mask:"year"`
}

// DuplicateView is a pair side by side.
type DuplicateView struct {
	DuplicateLine
	Score        int                    `json:"score" doc:"The sum of the points of what the reader is shown: what is equal adds, what differs takes away." class:"identity" mask:"drop"`
	Identity     []IdentityEvidence     `json:"identity,omitempty" class:"identity" mask:"drop"`
	Contact      []ContactEvidence      `json:"contact,omitempty" class:"contact" mask:"drop"`
	Demographics []DemographicsEvidence `json:"demographics,omitempty" class:"demographics" mask:"drop"`
}

// subject is one of a pair, opened: it does not leave the register.
type subject struct {
	name      seal.Name
	documents []openedDocument
	phone     seal.Phone
	details   profile
	birth     *calendar.Date
	sex       identity.Sex
	abo, rh   string
	ethnicity string
	height    int
	weight    int
}

func (a *act) subjectOf(ctx context.Context, person uuid.UUID) (*subject, error) {
	var s subject
	var err error
	if s.name, err = a.nameOf(ctx, person); err != nil {
		return nil, err
	}
	if s.documents, err = a.documentsOf(ctx, person); err != nil {
		return nil, err
	}
	if s.phone, s.details, _, err = a.contactsOf(ctx, person); err != nil {
		return nil, err
	}
	return &s, a.QueryRow(ctx, `
		SELECT birth_date, coalesce(sex, ''), coalesce(abo, ''), coalesce(rh, ''), coalesce(ethnicity, ''), coalesce(height_cm, 0), coalesce(weight_kg, 0) FROM persons WHERE id = $1`, person).
		Scan(&s.birth, &s.sex, &s.abo, &s.rh, &s.ethnicity, &s.height, &s.weight)
}

// subjectOfRow opens a staged row; nil when it waits no more.
func (a *act) subjectOfRow(ctx context.Context, batch uuid.UUID, no int) (*subject, error) {
	var s subject
	var person, document uuid.UUID
	var wrapped, name, phone, details, number []byte
	var kind identity.DocumentKind
	gone := false
	err := a.as(ctx, dbIntake, func() error {
		err := a.QueryRow(ctx, `
			SELECT coalesce(f.sealed_for, r.person_id), r.document_id, f.key_wrapped, f.name_sealed, f.phone_sealed, f.profile_sealed, f.number_sealed, f.document_kind,
				f.birth_date, coalesce(f.sex, ''), coalesce(f.abo, ''), coalesce(f.rh, ''), coalesce(f.ethnicity, ''), coalesce(f.height_cm, 0), coalesce(f.weight_kg, 0)
			FROM staged_forms f JOIN batch_rows r USING (batch_id, row_no) WHERE batch_id = $1 AND row_no = $2 AND f.key_wrapped IS NOT NULL`, batch, no).
			Scan(&person, &document, &wrapped, &name, &phone, &details, &number, &kind, &s.birth, &s.sex, &s.abo, &s.rh, &s.ethnicity, &s.height, &s.weight)
		if gone = errors.Is(err, pgx.ErrNoRows); gone {
			return nil
		}
		return err
	})
	if err != nil || gone {
		return nil, err
	}
	key, err := a.keys.Unwrap(keyCell(person), wrapped)
	if err != nil {
		return nil, err
	}
	if s.name, s.phone, err = a.namedBy(key, person, name, phone); err != nil {
		return nil, err
	}
	if s.details, err = openProfile(key, person, details); err != nil {
		return nil, err
	}
	opened, err := key.OpenNumber(cell("person_documents", "number", document), number)
	s.documents = []openedDocument{{kind, opened}}
	return &s, err
}

// What each field weighs: what it adds when the two are equal, and takes away when they differ.
var weights = map[string][2]int{
	"name": {3, 3}, "document_number": {6, 2}, "tail": {3, 0}, "phone": {3, 1}, "email": {2, 0}, "address": {2, 0}, "workplace": {1, 0},
	"birth_date": {3, 5}, "sex": {1, 6}, "abo": {1, 5}, "rh": {0, 4}, "ethnicity": {0, 2}, "height_cm": {0, 0}, "weight_kg": {0, 0},
}

func evidenceOf(field, one, other string) Evidence {
	e := Evidence{Field: field}
	switch {
	case one == "" && other == "":
		e.Is = "blank"
	case one == "" || other == "":
		e.Is = "one_blank"
	case one == other:
		e.Is, e.Points = "equal", weights[field][0]
	default:
		e.Is, e.Points = "different", -weights[field][1]
	}
	return e
}

// compare holds two people against each other, field by field.
func (v *DuplicateView) compare(one, other *subject) {
	name := IdentityEvidence{evidenceOf("name", sameName(one.name), sameName(other.name)), one.name.Masked(), other.name.Masked()}
	v.Identity = append(v.Identity, name)
	// Of the documents those of a kind that both have are held against each other; else only their ends can be.
	first, second := firstOf(one.documents), firstOf(other.documents)
	for _, d := range one.documents {
		for _, e := range other.documents {
			if d.kind == e.kind {
				first, second = d, e
			}
		}
	}
	field := "document_number"
	whole := [2]string{first.number.Reveal(), second.number.Reveal()}
	if first.kind != second.kind {
		field, whole = "tail", [2]string{endOf(first.number), endOf(second.number)}
	}
	v.Identity = append(v.Identity, IdentityEvidence{evidenceOf(field, whole[0], whole[1]), first.number.Masked(), second.number.Masked()})
	contact := func(field, a, b string, masked, other seal.Masked) {
		v.Contact = append(v.Contact, ContactEvidence{evidenceOf(field, a, b), masked, other})
	}
	contact("phone", one.phone.Reveal(), other.phone.Reveal(), one.phone.Masked(), other.phone.Masked())
	contact("email", strings.ToLower(one.details.Email), strings.ToLower(other.details.Email), seal.EmailOf(one.details.Email).Masked(), seal.EmailOf(other.details.Email).Masked())
	contact("address", one.details.Address, other.details.Address, seal.AddressOf(one.details.Address).Masked(), seal.AddressOf(other.details.Address).Masked())
	contact("workplace", one.details.Workplace, other.details.Workplace, seal.NoteOf(one.details.Workplace).Masked(), seal.NoteOf(other.details.Workplace).Masked())
	demographics := func(field, a, b, shown, other string) {
		v.Demographics = append(v.Demographics, DemographicsEvidence{evidenceOf(field, a, b), shown, other})
	}
	day := func(d *calendar.Date) (whole, year string) {
		if d == nil {
			return "", ""
		}
		return d.String(), d.String()[:4]
	}
	wholeOne, yearOne := day(one.birth)
	wholeOther, yearOther := day(other.birth)
	demographics("birth_date", wholeOne, wholeOther, yearOne, yearOther)
	for _, f := range [][3]string{
		{"sex", string(one.sex), string(other.sex)}, {"abo", one.abo, other.abo}, {"rh", one.rh, other.rh}, {"ethnicity", one.ethnicity, other.ethnicity},
		{"height_cm", some(one.height), some(other.height)}, {"weight_kg", some(one.weight), some(other.weight)},
	} {
		demographics(f[0], f[1], f[2], f[1], f[2])
	}
}

func firstOf(documents []openedDocument) openedDocument {
	if len(documents) == 0 {
		return openedDocument{}
	}
	return documents[0]
}

func endOf(number seal.Number) string {
	text := []rune(number.Reveal())
	return strings.ToUpper(string(text[max(len(text)-4, 0):]))
}

// ShowDuplicate shows a pair side by side, with what speaks for and against its being one person.
func (r *Reader) ShowDuplicate(ctx context.Context, actor Actor, id uuid.UUID) (DuplicateView, error) {
	var v DuplicateView
	err := r.act(ctx, actor, "ShowDuplicate", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		a.repeats = true
		v = DuplicateView{}
		d, sides, err := a.readDuplicate(ctx, id, "")
		if err != nil {
			return err
		}
		for _, rec := range sides {
			if err := a.permit(policy.Read, policy.Identity, rec); err != nil {
				return err
			}
			if err := a.permit(policy.Read, policy.Registration, rec); err != nil {
				return err
			}
		}
		v.DuplicateLine = d
		if err := a.sidesOf(ctx, &v.DuplicateLine); err != nil {
			return err
		}
		one, other, err := a.subjectsOf(ctx, d)
		if err != nil {
			return err
		}
		masks := [2]policy.Mask{a.shownBy(sides[0]), a.shownBy(sides[1])}
		if one != nil && other != nil {
			v.compare(one, other)
		}
		for _, class := range []policy.Class{policy.Contact, policy.Demographics} {
			if masks[0].May(policy.Read, class) && masks[1].May(policy.Read, class) {
				for _, rec := range sides {
					if err := a.permit(policy.Read, class, rec); err != nil {
						return err
					}
				}
			}
		}
		show(masks[0], &v)
		show(masks[1], &v)
		for _, e := range v.Identity {
			v.Score += e.Points
		}
		for _, e := range v.Contact {
			v.Score += e.Points
		}
		for _, e := range v.Demographics {
			v.Score += e.Points
		}
		return nil
	})
	return v, err
}

// readDuplicate reads a pair, and its two sides as the policy is asked about them.
func (a *act) readDuplicate(ctx context.Context, id uuid.UUID, lock string) (DuplicateLine, [2]record, error) {
	rows, err := a.Query(ctx, `SELECT `+duplicateColumns+` FROM duplicates d WHERE d.id = $1 `+lock, id)
	if err != nil {
		return DuplicateLine{}, [2]record{}, err
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDuplicate)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, [2]record{}, a.absent("duplicate", id)
	}
	if err != nil {
		return d, [2]record{}, err
	}
	var sides [2]record
	for i, side := range []DuplicateSide{d.One, d.Other} {
		rec := record{kind: "duplicate", id: d.ID.String(), region: side.Region}
		if i == 0 || d.batch == nil { // so that it is among what the donor is told of who looked
			var donor uuid.UUID
			err := a.QueryRow(ctx, `SELECT id FROM registrations WHERE `+knownBy+` ORDER BY status IN ('withdrawn', 'left', 'undone'), id LIMIT 1`, d.persons[i]).Scan(&donor)
			if err == nil {
				rec.kind, rec.id = "donor", donor.String()
			} else if !errors.Is(err, pgx.ErrNoRows) {
				return d, sides, err
			}
		}
		sides[i] = rec
	}
	return d, sides, nil
}

// subjectsOf opens the two of a pair; nil for one that is gone.
func (a *act) subjectsOf(ctx context.Context, d DuplicateLine) (one, other *subject, err error) {
	if one, err = a.subjectOf(ctx, d.persons[0]); err != nil {
		return nil, nil, err
	}
	if d.batch != nil {
		other, err = a.subjectOfRow(ctx, *d.batch, d.row)
	} else {
		other, err = a.subjectOf(ctx, d.persons[1])
	}
	return one, other, err
}

// DecideForm is what somebody found out about a pair.
type DecideForm struct {
	Decision string `json:"decision" validate:"required,oneof=same different unsure" doc:"A pair that is different is not offered again. A waiting row that is the same person is entered for them; one that is not is entered as somebody new."`
	Reason   string `json:"reason" validate:"required,oneof=documents_seen person_confirmed office_confirmed relatives twins namesake shared_phone not_enough wrong_entry"`
}

// DecideDuplicate writes down whether a pair is one person, and why. Two persons who are the same are made one by MergeDonors.
//
// Errors: Stale; Refused once they were made one, or when the row waits no more.
func (s *Store) DecideDuplicate(ctx context.Context, actor Actor, id uuid.UUID, version int64, f DecideForm) (DuplicateView, error) {
	err := s.act(ctx, actor, "DecideDuplicate", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, sides, err := a.readDuplicate(ctx, id, "FOR UPDATE OF d")
		if err != nil {
			return err
		}
		for _, rec := range sides {
			if err := a.permit(policy.Write, policy.Identity, rec); err != nil {
				return err
			}
			last := &a.entries[len(a.entries)-1]
			last.Reason, last.Fields = f.Reason, "decision="+f.Decision
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		switch {
		case d.Decision == f.Decision && d.Reason == f.Reason:
			return nil // said twice
		case version != 0 && version != d.Version:
			return stale("duplicate")
		case d.Merge != uuid.Nil:
			return refused("duplicate_merged")
		}
		if d.batch != nil {
			if err := a.settleWaiting(ctx, d, f.Decision); err != nil {
				return err
			}
		}
		_, err = a.Exec(ctx, `UPDATE duplicates SET decision = $2, reason = $3, decided_by = $4, decided_at = $5, version = version + 1 WHERE id = $1`, id, f.Decision, f.Reason, a.actor.staff, a.at)
		if err != nil {
			return err
		}
		for _, rec := range sides {
			if rec.kind == "donor" {
				a.event(Event{Code: "duplicate." + f.Decision, RegistrationID: uuid.MustParse(rec.id), Args: map[string]any{"Reason": f.Reason}})
			}
		}
		return nil
	})
	if err != nil {
		return DuplicateView{}, err
	}
	return s.ShowDuplicate(ctx, actor, id)
}

// settleWaiting enters the row of a pair: for the person, whose document it is then known by, or as somebody new. It takes the way of every
// row, and meets the register on it once more.
func (a *act) settleWaiting(ctx context.Context, d DuplicateLine, decision string) error {
	if decision == "unsure" {
		return nil
	}
	b, err := a.readBatch(ctx, *d.batch, "FOR UPDATE OF b")
	if err != nil {
		return err
	}
	row, err := a.subjectOfRow(ctx, *d.batch, d.row)
	if err != nil {
		return err
	}
	var outcome string
	if err := a.QueryRow(ctx, `SELECT outcome FROM batch_rows WHERE batch_id = $1 AND row_no = $2`, *d.batch, d.row).Scan(&outcome); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if row == nil || outcome != "parked" || b.Status != "committed" {
		return refused("row_waits_no_more")
	}
	if decision == "same" {
		if err := a.addDocument(ctx, d.persons[0], firstOf(row.documents), row.birth); err != nil {
			return err
		}
	}
	_, err = a.Exec(ctx, `
		UPDATE batch_rows SET outcome = '', ticked = true,
			problems = CASE WHEN $3 THEN (SELECT coalesce(jsonb_agg(p), '[]') FROM jsonb_array_elements(problems) p WHERE p->>'code' <> 'N304') ELSE problems END
		WHERE batch_id = $1 AND row_no = $2`, *d.batch, d.row, decision == "same")
	if err != nil {
		return err
	}
	_, _, needed, err := a.nextRows(ctx, *d.batch, d.row, 1)
	if err != nil {
		return err
	}
	first, err := a.numbers(ctx, b.batchScope, needed)
	if err != nil {
		return err
	}
	outcomes, err := a.commitRows(ctx, b.batchScope, lane{d.row, d.row, first, a.today()})
	if err != nil {
		return err
	}
	var made string
	for outcome := range outcomes {
		made = outcome
	}
	_, err = a.Exec(ctx, `
		UPDATE batches SET version = version + 1, outcomes = jsonb_strip_nulls(outcomes
			|| jsonb_build_object('parked', nullif((outcomes->>'parked')::int - 1, 0)) || jsonb_build_object($2::text, coalesce(CASE WHEN $2 <> 'parked' THEN (outcomes->>$2)::int END, 0) + 1))
		WHERE id = $1`, *d.batch, made)
	if err != nil || decision == "same" {
		return err
	}
	if made == "created" { // now they are two persons
		_, err = a.Exec(ctx, `UPDATE duplicates SET batch_id = NULL, row_no = NULL WHERE id = $1`, d.ID)
	}
	return err
}

// addDocument writes down another document of a person.
func (a *act) addDocument(ctx context.Context, person uuid.UUID, d openedDocument, birth *calendar.Date) error {
	key, err := a.keyOf(ctx, person)
	if err != nil {
		return err
	}
	id := newID()
	number, err := key.Seal(cell("person_documents", "number", id), d.number.Reveal())
	if err != nil {
		return sealed(err)
	}
	var tail []byte
	if birth != nil {
		tail = a.indexOf("tail", tailKey(d.number, *birth))
	}
	index, version := a.keys.Index("document", documentKey(d.kind, d.number))
	_, err = a.Exec(ctx, `
		WITH changed AS (UPDATE persons SET version = version + 1, updated_at = now() WHERE id = $2)
		INSERT INTO person_documents (id, person_id, kind, number_sealed, number_index, tail_index, index_version) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (number_index) DO NOTHING`,
		id, person, string(d.kind), number, index[:], tail, version)
	return err
}

// some is a number as text, nothing for none.
func some(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
