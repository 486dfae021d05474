package registry

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// RightsCopy is everything that is kept about a person, in clear, for the person (PIPL Art. 45). It is made of sections, each
// a list of records; what a section's records have is in its fields, in the order in which people read them.
type RightsCopy struct {
	Request  string        `json:"request" class:"rights" mask:"drop"`
	Kind     string        `json:"kind" class:"rights" mask:"drop"`
	MadeAt   time.Time     `json:"made_at" class:"rights" mask:"drop"`
	Expires  time.Time     `json:"expires_at" doc:"When it cannot be fetched any more." class:"rights" mask:"drop"`
	Sections []CopySection `json:"sections" class:"rights" mask:"drop"`
}

// CopySection is one kind of record.
type CopySection struct {
	Name   string           `json:"name" class:"rights" mask:"drop"`
	Fields []string         `json:"fields" class:"rights" mask:"drop"`
	Rows   []map[string]any `json:"rows" class:"rights" mask:"clear"`

	tables []string
}

// copied is a section as it is made: the tables that it tells of, the class that the policy is asked about, and the fields,
// each with the expression that gives it. A field that is sealed is opened, with the person's key, by what stands under its
// name in opens.
type copied struct {
	name   string
	tables []string
	class  policy.Class
	fields [][2]string
	from   string
	opens  map[string]func(key *seal.Key, row map[string]any) (any, error)
	role   string // of the database, where the section is kept behind another door than the act's
}

// What a section is asked for: the person, their registrations, and their cases; $4 is whether members of staff are named.
// A section tells nothing of the patient's side: neither its people, nor its places, nor its reasons.
const (
	ofThePerson = ` WHERE x.person_id = $1 AND $2::uuid[] IS NOT NULL AND $3::uuid[] IS NOT NULL AND $4::boolean IS NOT NULL ORDER BY x.id`
	ofTheirOwn  = ` WHERE x.registration_id = ANY($2) AND $1::uuid IS NOT NULL AND $3::uuid[] IS NOT NULL AND $4::boolean IS NOT NULL ORDER BY x.id`
	// ours are places that the person may be told: all but hospitals that do not sit on the donor's side of one of their cases.
	ours = `(o.kind <> 'hospital' OR EXISTS (SELECT FROM case_parties s WHERE s.organisation_id = o.id AND s.side <> 'patient' AND s.case_id = ANY($3)))`
	// donorsReason is a reason that the donor or the donor's own health gave; what lies with the patient is not told.
	donorsReason = `('personal', 'family', 'work', 'health', 'distrust', 'moved', 'abroad', 'emigrated', 'fear_of_procedure', 'pregnancy', 'illness', 'medication', 'too_old', 'did_not_come',
		'veins_unsuitable', 'veins', 'unwell_today', 'unreachable', 'withdrew', 'donor_withdrew', 'cardiovascular', 'haematological', 'infectious', 'autoimmune', 'malignancy', 'other')`
)

var copySections = []copied{
	{name: "identity", tables: []string{"persons"}, class: policy.Identity, from: `persons x WHERE x.id = $1` + restOfArguments,
		fields: [][2]string{{"id", "x.id::text"}, {"name", "x.name_sealed"}, {"birth_date", "x.birth_date::text"}, {"sex", "x.sex"}, {"person_status", "x.status"}, {"deceased_on", "x.deceased_on::text"}, {"created_at", "x.created_at"}},
		opens: map[string]func(*seal.Key, map[string]any) (any, error){"name": func(key *seal.Key, row map[string]any) (any, error) {
			name, err := key.OpenName(cell("persons", "name", rowID(row)), sealedIn(row, "name"))
			return name.Reveal(), err
		}}},
	{name: "documents", tables: []string{"person_documents"}, class: policy.Identity, from: `person_documents x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"document_kind", "x.kind"}, {"document_number", "x.number_sealed"}, {"created_at", "x.created_at"}},
		opens: map[string]func(*seal.Key, map[string]any) (any, error){"document_number": func(key *seal.Key, row map[string]any) (any, error) {
			number, err := key.OpenNumber(cell("person_documents", "number", rowID(row)), sealedIn(row, "document_number"))
			return number.Reveal(), err
		}}},
	{name: "contact", tables: []string{"persons"}, class: policy.Contact, from: `persons x WHERE x.id = $1` + restOfArguments,
		fields: [][2]string{{"id", "x.id::text"}, {"phone", "x.phone_sealed"}, {"profile", "x.profile_sealed"}, {"last_contact", "x.last_contact::text"}},
		opens: map[string]func(*seal.Key, map[string]any) (any, error){
			"phone": func(key *seal.Key, row map[string]any) (any, error) {
				phone, err := key.OpenPhone(cell("persons", "phone", rowID(row)), sealedIn(row, "phone"))
				return phone.Reveal(), err
			},
			"profile": func(key *seal.Key, row map[string]any) (any, error) {
				plain, err := key.OpenBytes(cell("persons", "profile", rowID(row)), sealedIn(row, "profile"))
				if err != nil || plain == nil {
					return nil, err
				}
				var details map[string]any
				return details, json.Unmarshal(plain, &details)
			},
		}},
	{name: "demographics", tables: []string{"persons"}, class: policy.Demographics, from: `persons x WHERE x.id = $1` + restOfArguments,
		fields: [][2]string{{"id", "x.id::text"}, {"region", "x.region"}, {"ethnicity", "x.ethnicity"}, {"abo", "x.abo"}, {"rh", "x.rh"}, {"height_cm", "x.height_cm"}, {"weight_kg", "x.weight_kg"}}},
	{name: "registrations", tables: []string{"registrations"}, class: policy.Registration, from: `registrations x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"number", "x.number"}, {"programme", "x.programme"}, {"intent", "x.intent"}, {"choices", "x.choices"}, {"status", "x.status"}, {"status_reason", "x.status_reason"},
			{"unavailable_until", "x.unavailable_until::text"}, {"region", "x.region"}, {"office", "(SELECT o.name FROM organisations o WHERE o.id = x.organisation_id)"}, {"channel", "x.channel"},
			{"registered_on", "x.registered_on::text"}, {"cooling_off_until", "x.cooling_off_until::text"}, {"listed_on", "x.listed_on::text"}, {"withdrawn_at", "x.withdrawn_at"}}},
	{name: "consents", tables: []string{"consents"}, class: policy.Consent, from: `consents x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"kind", "x.kind"}, {"version", "x.text_version"}, {"sha256", "x.text_sha256"}, {"signed_on", "x.signed_on::text"}, {"on_paper", "x.on_paper"}, {"scan_ref", "x.scan_ref"},
			{"withdrawn_at", "x.withdrawn_at"}, {"via", "x.withdrawn_via"}, {"reason", "x.withdrawn_reason"}}},
	{name: "deferrals", tables: []string{"deferrals"}, class: policy.Health, from: `deferrals x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"programme", "x.programme"}, {"reason", "x.reason"}, {"from", "x.from_day::text"}, {"until", "x.until_day::text"}, {"source", "x.source"}, {"lifted_at", "x.lifted_at"}}},
	{name: "samples", tables: []string{"specimens"}, class: policy.Specimen, from: `specimens x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"barcode", "x.barcode"}, {"kind", "x.kind"}, {"drawn_on", "x.drawn_on::text"}, {"tubes", "x.tubes"}, {"millilitres", "x.millilitres"}, {"status", "x.status"}, {"reason", "x.reason"},
			{"holder", "(SELECT o.name FROM organisations o WHERE o.id = x.holder_id)"}}},
	{name: "custody", tables: []string{"custody"}, class: policy.Specimen, from: `custody x JOIN specimens y ON y.id = x.specimen_id AND y.person_id = $1 WHERE true` + restOfArguments + ` ORDER BY x.at, x.id`,
		fields: [][2]string{{"id", "x.id::text"}, {"barcode", "y.barcode"}, {"at", "x.at"}, {"from", "(SELECT o.name FROM organisations o WHERE o.id = x.from_id)"}, {"to", "(SELECT o.name FROM organisations o WHERE o.id = x.to_id)"}, {"condition", "x.condition"}}},
	{name: "typings", tables: []string{"typings"}, class: policy.HLA, from: `typings x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"kind", "x.kind"}, {"gl", "x.gl_string"}, {"nomenclature", "x.nomenclature"}, {"method", "x.method"}, {"typed_on", "x.typed_on::text"}, {"current", "x.current"},
			{"laboratory", "(SELECT o.name FROM organisations o WHERE o.id = x.laboratory_id)"}}},
	{name: "cases", tables: []string{"cases"}, class: policy.Case, from: `cases x WHERE x.id = ANY($3)` + restOfArguments + ` ORDER BY x.id`,
		fields: [][2]string{{"id", "x.id::text"}, {"number", "x.number"}, {"protocol", "x.protocol"}, {"status", "x.status"}, {"opened_at", "x.opened_at"}, {"ended_at", "x.ended_at"},
			{"reason", "CASE WHEN x.reason IN " + donorsReason + " THEN x.reason ELSE '' END"}, {"office", "(SELECT o.name FROM organisations o WHERE o.id = x.organisation_id AND " + ours + ")"}}},
	{name: "places", tables: []string{"case_parties"}, class: policy.Case, from: `case_parties x JOIN cases c ON c.id = x.case_id JOIN organisations o ON o.id = x.organisation_id
		WHERE x.case_id = ANY($3) AND x.side <> 'patient'` + restOfArguments + ` ORDER BY c.id, x.seat`,
		fields: [][2]string{{"number", "c.number"}, {"seat", "x.seat"}, {"place", "o.name"}}},
	{name: "reservations", tables: []string{"reservations"}, class: policy.Case, from: `reservations x` + ofTheirOwn,
		fields: [][2]string{{"id", "x.id::text"}, {"from", "x.reserved_at"}, {"until", "coalesce(x.released_at, x.expires_at)"}}},
	// What the donor's side was asked and answered; the patient's side's answers are about the patient.
	{name: "answers", tables: []string{"answers", "tasks"}, class: policy.Case, from: `tasks x JOIN cases c ON c.id = x.case_id LEFT JOIN answers w ON w.id = x.answer_id
		WHERE x.case_id = ANY($3) AND NOT EXISTS (SELECT FROM case_parties s WHERE s.case_id = x.case_id AND s.seat = split_part(x.seat, '#', 1) AND s.side = 'patient')` + restOfArguments + ` ORDER BY x.opened_at, x.id`,
		fields: [][2]string{{"id", "coalesce(w.id, x.id)::text"}, {"number", "c.number"}, {"step", "x.step"}, {"status", "x.status"}, {"asked_at", "x.opened_at"}, {"answered_at", "w.decided_at"}, {"answer", "w.outcome->>'code'"}, {"note", "CASE WHEN w.key_of = $1 THEN w.form_sealed END"}},
		opens: map[string]func(*seal.Key, map[string]any) (any, error){"note": func(key *seal.Key, row map[string]any) (any, error) {
			plain, err := key.OpenBytes(cell("answers", "form", rowID(row)), sealedIn(row, "note"))
			if err != nil || len(plain) == 0 {
				return nil, err
			}
			var form struct {
				Note string `json:"note"`
			}
			err = json.Unmarshal(plain, &form)
			return orNothing(form.Note), err
		}}},
	{name: "attempts", tables: []string{"contact_attempts"}, class: policy.Case, from: `contact_attempts x WHERE x.case_id = ANY($3)` + restOfArguments + ` ORDER BY x.at, x.id`,
		fields: [][2]string{{"id", "x.id::text"}, {"at", "x.at"}, {"channel", "x.channel"}, {"whom", "x.whom"}, {"result", "x.result"}, {"note", "CASE WHEN x.key_of = $1 THEN x.note_sealed END"}},
		opens: map[string]func(*seal.Key, map[string]any) (any, error){"note": func(key *seal.Key, row map[string]any) (any, error) {
			note, err := key.OpenBytes(cell("contact_attempts", "note", rowID(row)), sealedIn(row, "note"))
			return orNothing(string(note)), err
		}}},
	// That there are papers; the office hands the papers themselves over.
	{name: "papers", tables: []string{"attachments"}, class: policy.Case, from: `attachments x WHERE x.case_id = ANY($3) AND x.key_of = $1` + restOfArguments + ` ORDER BY x.uploaded_at, x.id`,
		fields: [][2]string{{"id", "x.id::text"}, {"at", "x.uploaded_at"}, {"name", "x.name_sealed"}, {"media", "x.media"}, {"removed_at", "x.removed_at"}},
		opens: map[string]func(*seal.Key, map[string]any) (any, error){"name": func(key *seal.Key, row map[string]any) (any, error) {
			name, err := key.OpenBytes(cell("attachments", "name", rowID(row)), sealedIn(row, "name"))
			return orNothing(string(name)), err
		}}},
	{name: "handovers", tables: []string{"handovers"}, class: policy.Case, from: `handovers x WHERE x.case_id = ANY($3)` + restOfArguments + ` ORDER BY x.id`,
		fields: [][2]string{{"id", "x.id::text"}, {"at", "x.offered_at"}, {"reason", "x.reason"}, {"status", "x.status"}, {"note", "CASE WHEN x.key_of = $1 THEN x.promises_sealed END"}},
		opens: map[string]func(*seal.Key, map[string]any) (any, error){"note": func(key *seal.Key, row map[string]any) (any, error) {
			note, err := key.OpenBytes(cell("handovers", "promises", rowID(row)), sealedIn(row, "note"))
			return orNothing(string(note)), err
		}}},
	{name: "timeline", tables: []string{"events"}, class: policy.Case, from: `events x WHERE (x.person_id = $1 OR x.registration_id = ANY($2) OR x.case_id = ANY($3))` + restOfArguments + ` ORDER BY x.at, x.recorded_at, x.id`,
		fields: [][2]string{{"id", "x.id::text"}, {"at", "x.at"}, {"code", "x.code"}, {"fields", "x.args->>'Fields'"}, {"via", "x.args->>'Via'"}}},
	{name: "donations", tables: []string{"donations"}, class: policy.Health, from: `donations x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"programme", "x.programme"}, {"product", "x.product"}, {"day", "x.day"}, {"collected_on", "x.collected_on::text"}, {"volume_ml", "x.volume_ml"}, {"cd34", "x.cd34_e6"}, {"mnc", "x.mnc_e8"},
			{"hospital", "(SELECT o.name FROM organisations o WHERE o.id = x.hospital_id)"}}},
	{name: "certificates", tables: []string{"certificates"}, class: policy.Case, from: `certificates x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"number", "x.number"}, {"kind", "x.kind"}, {"region", "x.region"}, {"nth", "x.nth"}, {"issued_on", "x.issued_on::text"}}},
	{name: "care", tables: []string{"care_plans"}, class: policy.Health, from: `care_plans x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"template", "x.template"}, {"from", "x.starts_on::text"}, {"status", "x.status"}}},
	{name: "follow_ups", tables: []string{"touches"}, class: policy.Health, from: `touches x JOIN care_plans p ON p.id = x.plan_id AND p.person_id = $1 WHERE true` + restOfArguments + ` ORDER BY x.due_on, x.id`,
		fields: [][2]string{{"id", "x.id::text"}, {"due_on", "x.due_on::text"}, {"status", "x.status"}, {"answered_on", "x.answered_on::text"}, {"flags", "x.flags"}}},
	{name: "notices", tables: []string{"notices"}, class: policy.Notice, from: `notices x LEFT JOIN organisations o ON o.id = x.organisation_id
		WHERE x.case_id = ANY($3) AND (o.id IS NULL OR ` + ours + `) AND x.code NOT LIKE 'stemcell.%' AND x.code NOT LIKE 'search.%'` + restOfArguments + ` ORDER BY x.at, x.id`,
		fields: [][2]string{{"id", "x.id::text"}, {"at", "x.at"}, {"code", "x.code"}, {"step", "x.args->>'Step'"}, {"place", "o.name"}, {"read_at", "x.read_at"}}},
	{name: "entries", tables: []string{"batch_rows"}, class: policy.Intake, role: dbIntake, from: `batch_rows x JOIN batches b ON b.id = x.batch_id WHERE x.person_id = $1` + restOfArguments + ` ORDER BY b.id, x.row_no`,
		fields: [][2]string{{"batch", "b.number"}, {"entered_by", "(SELECT o.name FROM organisations o WHERE o.id = b.organisation_id)"}, {"kind", "b.kind"}, {"row", "x.row_no"}, {"outcome", "x.outcome"}, {"at", "b.created_at"}}},
	{name: "requests", tables: []string{"rights_requests"}, class: policy.Rights, from: `rights_requests x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"number", "x.number"}, {"kind", "x.kind"}, {"asker", "x.asker"}, {"relation", "x.relation"}, {"via", "x.via"}, {"filed_at", "x.filed_at"}, {"decision", "x.decision"}, {"reason", "x.reason"},
			{"result", "x.result"}, {"told_on", "x.told_on::text"}, {"note", "x.note_sealed"}},
		opens: map[string]func(*seal.Key, map[string]any) (any, error){"note": func(key *seal.Key, row map[string]any) (any, error) {
			if row["asker"] == "relative" {
				return nil, nil // it is about the relative
			}
			note, err := key.OpenBytes(cell("rights_requests", "note", rowID(row)), sealedIn(row, "note"))
			return orNothing(string(note)), err
		}}},
	{name: "copies", tables: []string{"rights_copies"}, class: policy.Rights, from: `rights_copies x` + ofThePerson,
		fields: [][2]string{{"id", "x.id::text"}, {"made_at", "x.made_at"}, {"expires_at", "x.expires_at"}}},
	{name: "restrictions", tables: []string{"restrictions"}, class: policy.Rights, from: `restrictions x WHERE x.person_id = $1` + restOfArguments + ` ORDER BY x.kind`,
		fields: [][2]string{{"kind", "x.kind"}, {"since", "x.since"}}},
	// Who was let look.
	{name: "shares", tables: []string{"shares"}, class: policy.Audit, from: `shares x JOIN organisations o ON o.id = x.organisation_id` + ofTheirOwn,
		fields: [][2]string{{"id", "x.id::text"}, {"place", "o.name"}, {"from", "x.shared_at"}, {"until", "coalesce(x.ended_at, x.until)"}, {"reason", "x.reason"}}},
	// Who looked: whoever asked for one of their records, and every list that showed one. Office and role, and the name where the
	// decision says so. A hospital that is not on the donor's side is not named: it may be the patient's.
	{name: "looks", tables: []string{"audit"}, class: policy.Audit, role: dbAudit, from: `(
			SELECT u.recorded_at, u.allowed, u.act, u.action, u.class, u.purpose, u.reason, u.shown,
				coalesce(CASE WHEN u.rule LIKE '%,%' THEN split_part(u.rule, ',', 1) END, (SELECT string_agg(DISTINCT g.role, ' ') FROM role_grants g WHERE 'staff:' || g.staff_id = u.actor AND g.granted_at <= u.recorded_at), split_part(u.actor, ':', 1)) AS role,
				(SELECT o.name FROM organisations o WHERE o.id::text = u.organisation AND ` + ours + `) AS place,
				CASE WHEN $4::boolean THEN (SELECT s.display_name FROM staff s JOIN organisations o ON o.id = s.organisation_id WHERE 'staff:' || s.id = u.actor AND ` + ours + `) END AS person
			FROM audit u WHERE u.actor NOT LIKE 'system:%' AND (u.target = ANY(SELECT 'donor:' || unnest($2::uuid[]) UNION ALL SELECT 'case:' || unnest($3::uuid[]) UNION ALL SELECT 'request:' || unnest($3::uuid[])
				UNION ALL SELECT 'task:' || t.id FROM tasks t WHERE t.case_id = ANY($3)) OR u.showed && ($2::uuid[] || $3::uuid[]))
		) x WHERE $1::uuid IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8`,
		fields: [][2]string{{"day", "(x.recorded_at AT TIME ZONE 'Asia/Shanghai')::date::text"}, {"place", "coalesce(x.place, '')"}, {"role", "x.role"}, {"person", "coalesce(x.person, '')"}, {"action", "x.action"}, {"class", "x.class"},
			{"purpose", "x.purpose"}, {"allowed", "x.allowed"}, {"times", "count(*)"}}},
}

// restOfArguments gives every section the same arguments: PostgreSQL wants to know the kind of each.
const restOfArguments = ` AND $1::uuid IS NOT NULL AND $2::uuid[] IS NOT NULL AND $3::uuid[] IS NOT NULL AND $4::boolean IS NOT NULL`

func rowID(row map[string]any) uuid.UUID {
	text, _ := row["id"].(string)
	id, _ := uuid.Parse(text)
	return id
}

func sealedIn(row map[string]any, field string) []byte {
	sealed, _ := row[field].([]byte)
	return sealed
}

func orNothing(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// notTold are the events of the patient's side of a donor's case, and what would tell how the patient is.
func notTold(code string) bool {
	if seenBy(code) == PatientSide {
		return true
	}
	for _, of := range []string{"stemcell.hospital_decision.", "stemcell.standby.", "stemcell.conditioning.", "stemcell.receipt.", "stemcell.quarantine.", "stemcell.infusion.", "stemcell.emergency."} {
		if strings.HasPrefix(code, of) {
			return true
		}
	}
	return false
}

// FetchCopy gives the copy that a request was granted, to the one who hands it over: whoever answers the open step, and
// fetched it first. It is made when it is first fetched, sealed, and emptied after some days; then another can be made.
//
// Errors: NotFound, Denied, Refused when no copy was granted, or another member of staff has it.
func (s *Store) FetchCopy(ctx context.Context, actor Actor, id uuid.UUID) (RightsCopy, error) {
	var out RightsCopy
	err := s.act(ctx, actor, "FetchCopy", policy.ForRights, func(ctx context.Context, a *act) error {
		out = RightsCopy{}
		q, err := a.readRights(ctx, id, true)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Rights, q.record()); err != nil {
			return err
		}
		// Of the donor, so that it is among what the donor is told of who looked.
		if err := a.permit(policy.Export, policy.Rights, q.donor()); err != nil {
			return err
		}
		if q.Status != "open" || q.Step != "rights.carrying_out" || q.Decision != "grant" || !fetched(q.Kind) {
			return refused("copy_not_granted")
		}
		var task uuid.UUID
		if err := a.QueryRow(ctx, `SELECT id FROM tasks WHERE case_id = $1 AND step = 'rights.carrying_out' AND status = 'open'`, id).Scan(&task); err != nil {
			if errors.Is(err, pgx.ErrNoRows) {
				return refused("copy_not_granted")
			}
			return err
		}
		t, err := a.readTask(ctx, task, false)
		if err != nil {
			return err
		}
		if a.mayAnswer(t) != nil {
			return a.deny(&Error{Kind: Denied, Code: "task_not_yours", Args: map[string]any{"Role": string(t.Role)}})
		}
		if known, err := a.openCopy(ctx, q, &out); err != nil || known {
			return err
		}
		return a.makeCopy(ctx, q, &out)
	})
	return out, err
}

// openCopy opens a copy that can still be fetched.
func (a *act) openCopy(ctx context.Context, q rightsRow, out *RightsCopy) (bool, error) {
	var id, by uuid.UUID
	var sealed []byte
	err := a.QueryRow(ctx, `SELECT id, made_by, data_sealed FROM rights_copies WHERE request_id = $1 AND expires_at > $2 AND data_sealed IS NOT NULL`, q.ID, a.at).Scan(&id, &by, &sealed)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if by != a.actor.staff {
		return false, refused("copy_taken")
	}
	key, err := a.keys.Unwrap(keyCell(q.Person), q.wrapped)
	if err != nil {
		return false, err
	}
	plain, err := key.OpenBytes(cell("rights_copies", "data", id), sealed)
	if err != nil {
		return false, err
	}
	return true, json.Unmarshal(plain, out)
}

func (a *act) makeCopy(ctx context.Context, q rightsRow, out *RightsCopy) error {
	days := a.rules(q.Region).Span(rules.RightsCopy)
	*out = RightsCopy{Request: q.Number, Kind: q.Kind, MadeAt: a.at, Expires: a.at.AddDate(0, 0, days.N), Sections: []CopySection{}}
	id := newID()
	// Its own row comes first: the copy tells of itself.
	_, err := a.Exec(ctx, `INSERT INTO rights_copies (id, request_id, person_id, made_by, made_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`, id, q.ID, q.Person, a.actor.staff, a.at, out.Expires)
	if err != nil {
		return err
	}
	if asked(q.Kind) != "explanation" {
		if out.Sections, err = a.copyOf(ctx, q); err != nil {
			return err
		}
	}
	explained, err := a.explain(ctx, q)
	if err != nil {
		return err
	}
	out.Sections = append(out.Sections, explained...)
	var told []string
	for _, s := range out.Sections {
		told = append(told, s.Name)
	}
	a.entries[len(a.entries)-1].Fields = strings.Join(told, " ")
	plain, err := json.Marshal(out)
	if err != nil {
		return err
	}
	key, err := a.keys.Unwrap(keyCell(q.Person), q.wrapped)
	if err != nil {
		return err
	}
	data, err := key.SealBytes(cell("rights_copies", "data", id), plain)
	if err != nil {
		return sealed(err)
	}
	_, err = a.Exec(ctx, `UPDATE rights_copies SET data_sealed = $2 WHERE id = $1`, id, data)
	a.event(Event{Code: "rights.copied", CaseID: q.ID, PersonID: q.Person, RegistrationID: q.Donor, Args: map[string]any{"Until": calendar.Of(out.Expires, Zone).String()}})
	return err
}

// copyOf reads every section that who asked may be told: the person everything, a near relative what the policy says is
// kin's.
func (a *act) copyOf(ctx context.Context, q rightsRow) ([]CopySection, error) {
	relation := policy.Self
	if q.Asker == "relative" {
		relation = policy.Kin
	}
	told := a.policy.Mask(policy.System, regionPath(q.Region), relation, policy.ForRights)
	rows, err := a.Query(ctx, `SELECT id FROM registrations WHERE person_id = $1`, q.Person)
	if err != nil {
		return nil, err
	}
	registrations, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, err
	}
	rows, err = a.Query(ctx, `
		WITH own AS (SELECT id FROM cases WHERE id = ANY($2) OR subject_id = $1 OR subject_id = ANY($2))
		SELECT id FROM own UNION SELECT id FROM cases WHERE protocol = 'safety' AND subject_id IN (SELECT id FROM own)`, q.Person, registrations)
	if err != nil {
		return nil, err
	}
	cases, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, err
	}
	key, err := a.keys.Unwrap(keyCell(q.Person), q.wrapped)
	if err != nil {
		return nil, err
	}
	merged, err := a.mergedInto(ctx, q.Person)
	if err != nil {
		return nil, err
	}
	var out []CopySection
	for _, c := range copySections {
		if !told.May(policy.Read, c.class) {
			continue
		}
		var section CopySection
		read := func() (err error) {
			if section, err = a.copySection(ctx, c, key, q.Person, registrations, cases, q.StaffNamed); err != nil {
				return err
			}
			for _, other := range merged {
				more, err := a.copySection(ctx, c, other.key, other.id, registrations, cases, q.StaffNamed)
				if err != nil {
					return err
				}
				section.add(more)
			}
			return nil
		}
		if c.role != "" {
			err = a.as(ctx, c.role, read)
		} else {
			err = read()
		}
		if err != nil {
			return nil, err
		}
		out = append(out, section)
	}
	return out, nil
}

// formerly is somebody who was merged into a person, with the key of what is still sealed of them.
type formerly struct {
	id  uuid.UUID
	key *seal.Key
}

// mergedInto names whoever was merged into a person.
func (a *act) mergedInto(ctx context.Context, person uuid.UUID) ([]formerly, error) {
	all, err := a.withMerged(ctx, person)
	if err != nil {
		return nil, err
	}
	var out []formerly
	for _, id := range all {
		if id == person {
			continue
		}
		key, err := a.keyOf(ctx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, formerly{id, key})
	}
	return out, nil
}

// add adds the rows of the same section that are about another record of the same person. A row that both have is one: what the other's key
// opens in it is filled in.
func (s *CopySection) add(more CopySection) {
	for _, row := range more.Rows {
		at := slices.IndexFunc(s.Rows, func(own map[string]any) bool { return sameRow(own, row) })
		if at < 0 {
			s.Rows = append(s.Rows, row)
			continue
		}
		for field, value := range row {
			if s.Rows[at][field] == nil {
				s.Rows[at][field] = value
			}
		}
	}
}

// sameRow tells whether two rows of a section are one: by their id, else by all that they say.
func sameRow(one, other map[string]any) bool {
	if id, has := one["id"]; has {
		return id == other["id"]
	}
	return reflect.DeepEqual(one, other)
}

func (a *act) copySection(ctx context.Context, c copied, key *seal.Key, person uuid.UUID, registrations, cases []uuid.UUID, named bool) (CopySection, error) {
	section := CopySection{Name: c.name, Fields: []string{}, Rows: []map[string]any{}, tables: c.tables}
	var columns []string
	for _, f := range c.fields {
		section.Fields, columns = append(section.Fields, f[0]), append(columns, f[1])
	}
	if registrations == nil {
		registrations = []uuid.UUID{}
	}
	if cases == nil {
		cases = []uuid.UUID{}
	}
	rows, err := a.Query(ctx, `SELECT `+strings.Join(columns, ", ")+` FROM `+c.from, person, registrations, cases, named)
	if err != nil {
		return section, err
	}
	section.Rows, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (map[string]any, error) {
		values, err := row.Values()
		out := make(map[string]any, len(values))
		for i, v := range values {
			out[c.fields[i][0]] = v
		}
		return out, err
	})
	if err != nil {
		return section, err
	}
	for _, row := range section.Rows {
		opened := map[string]any{}
		for field, open := range c.opens {
			if opened[field], err = open(key, row); err != nil {
				return section, err
			}
		}
		for field, v := range opened {
			row[field] = v
		}
	}
	if slices.Contains(c.tables, "events") {
		section.Rows = slices.DeleteFunc(section.Rows, func(row map[string]any) bool { code, _ := row["code"].(string); return notTold(code) })
	}
	return section, nil
}

// explain gives the rules by which a person's data is handled: the rule packs in force where they are registered, the texts
// that they signed, and what is kept for how long (PIPL Art. 48).
func (a *act) explain(ctx context.Context, q rightsRow) ([]CopySection, error) {
	in := a.rules(q.Region)
	stated := CopySection{Name: "rules", Fields: []string{"rule", "is", "source"}, Rows: []map[string]any{}}
	for _, s := range in.All() {
		stated.Rows = append(stated.Rows, map[string]any{"rule": string(s.Key), "is": strings.Join(s.Values, ", "), "source": s.Source})
	}
	packs := CopySection{Name: "packs", Fields: []string{"version"}, Rows: []map[string]any{}}
	for _, version := range strings.Fields(in.Version()) {
		packs.Rows = append(packs.Rows, map[string]any{"version": version})
	}
	kept := CopySection{Name: "kept", Fields: []string{"class", "zh", "en", "when", "is", "source"}, Rows: []map[string]any{}}
	for _, k := range rules.KeptClasses() {
		kept.Rows = append(kept.Rows, map[string]any{"class": k.Class, "zh": lang.Chinese.Say("kept."+k.Class, nil), "en": lang.English.Say("kept."+k.Class, nil), "when": k.When,
			"is": in.Span(k.Rule).String(), "source": in.Source(k.Rule)})
	}
	texts := CopySection{Name: "texts", Fields: []string{"kind", "version", "zh", "en"}, Rows: []map[string]any{}}
	rows, err := a.Query(ctx, `SELECT DISTINCT text_version FROM consents WHERE person_id = $1 ORDER BY 1`, q.Person)
	if err != nil {
		return nil, err
	}
	versions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, version := range versions {
		if w, known := rules.Worded(version); known {
			texts.Rows = append(texts.Rows, map[string]any{"kind": w.Kind, "version": w.Version, "zh": w.Chinese, "en": w.English})
		}
	}
	return []CopySection{packs, stated, texts, kept}, nil
}

// sectionName is what a reader calls a section of a copy.
func sectionName(name string, l lang.Locale) string { return l.Say("copy."+name, nil) }

// fieldLabel is what a reader calls a field of it.
func fieldLabel(name string, l lang.Locale) string { return forms.FieldName(name, l) }
