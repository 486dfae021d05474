package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Two persons are made one. One stays; the other's registrations, documents, samples, typings, consents and what was done for them become
// theirs, and the other's own row stays, with its key, as merged into them. Of two registrations of one programme in force the older number
// stays. Whatever is changed is kept as it was, sealed, so that it can be taken apart again.

// MergeForm says who stays, and what of the other is taken.
type MergeForm struct {
	Stays  uuid.UUID `json:"stays" validate:"required" doc:"A registration of the person who stays."`
	Take   []string  `json:"take,omitempty" validate:"max=20,unique,dive,oneof=name phone email address workplace contacts birth_date sex abo rh ethnicity height_cm weight_kg" doc:"The fields that become the other's. A blank field is filled by the other's in any case."`
	Reason string    `json:"reason" validate:"required,oneof=documents_seen person_confirmed office_confirmed wrong_entry"`
	Number string    `json:"number" validate:"required,max=40" doc:"The number of the registration that stays, as a sign that it is meant."`
}

// MergePreview is what a merge would do.
type MergePreview struct {
	Stays     DuplicateSide `json:"stays" class:"identity" mask:"drop"`
	Goes      DuplicateSide `json:"goes" class:"identity" mask:"drop"`
	Fields    []MergedField `json:"fields" class:"identity" mask:"drop"`
	Joined    []JoinedLine  `json:"joined" doc:"Registrations of one programme that become one." class:"registration" mask:"drop"`
	Moved     []MovedLine   `json:"moved" doc:"How many records become those of the person who stays." class:"registration" mask:"drop"`
	Refused   string        `json:"refused,omitempty" doc:"Why it cannot be done now." class:"identity" mask:"drop"`
	Says      string        `json:"says,omitempty" doc:"The same in words." class:"identity" mask:"drop"`
	Documents int           `json:"documents" doc:"Identity documents that the person has then." class:"identity" mask:"drop"`
}

// MergedField is a field, and whose it will be.
type MergedField struct {
	Field string `json:"field" class:"identity" mask:"drop"`
	From  string `json:"from" doc:"stays, other, filled: it was blank; same: both have it." class:"identity" mask:"drop"`
}

// JoinedLine is a registration that stays, and the one that leaves for it.
type JoinedLine struct {
	Programme rules.Programme `json:"programme" class:"registration" mask:"drop"`
	Stays     string          `json:"stays" class:"registration" mask:"drop"`
	Leaves    string          `json:"leaves" class:"registration" mask:"drop"`
}

// MovedLine counts the records of a kind that move.
type MovedLine struct {
	Kind  string `json:"kind" class:"registration" mask:"drop"`
	Count int    `json:"count" class:"registration" mask:"drop"`
}

// MergeView is a merge in the history of a donor.
type MergeView struct {
	ID        uuid.UUID       `json:"id" class:"identity" mask:"drop"`
	Donor     uuid.UUID       `json:"donor" doc:"A registration of the person who stays." class:"registration" mask:"drop"`
	Number    string          `json:"number" class:"registration" mask:"drop"`
	Other     uuid.UUID       `json:"other" doc:"The registration by which the other was known." class:"registration" mask:"drop"`
	OtherNo   string          `json:"other_number" class:"registration" mask:"drop"`
	Duplicate uuid.UUID       `json:"duplicate,omitzero" class:"identity" mask:"drop"`
	Region    identity.Region `json:"region" class:"registration" mask:"drop"`
	Fields    []string        `json:"fields" doc:"What was taken from the other." class:"identity" mask:"drop"`
	Reason    string          `json:"reason" class:"identity" mask:"drop"`
	MergedAt  time.Time       `json:"merged_at" class:"identity" mask:"drop"`
	UndoneAt  *time.Time      `json:"undone_at,omitempty" class:"identity" mask:"drop"`
	Version   int64           `json:"version" class:"open" mask:"none"`
}

// mergeRegistration is a registration of one of the two.
type mergeRegistration struct {
	ID           uuid.UUID
	Number       string
	Programme    rules.Programme
	Intent       rules.Intent
	Status       string
	Region       identity.Region
	Organisation uuid.UUID
	Enrolling    bool // its enrolment is under way
	InCase       bool // in a case otherwise
}

func (r mergeRegistration) over() bool {
	return slices.Contains([]string{"withdrawn", "left", "undone"}, r.Status)
}

// mergePlan is what a merge does.
type mergePlan struct {
	stays, goes uuid.UUID
	mine, their []mergeRegistration
	leaves      map[uuid.UUID]mergeRegistration // those that leave → those that stay for them
	refusal     *Error
}

// planMerge reads two persons, locked, and works out what making them one means.
func (a *act) planMerge(ctx context.Context, stays, goes uuid.UUID, lock string) (mergePlan, error) {
	p := mergePlan{stays: stays, goes: goes, leaves: map[uuid.UUID]mergeRegistration{}}
	refuse := func(code string, args ...any) {
		if p.refusal == nil {
			p.refusal = refused(code, args...)
		}
	}
	rows, err := a.Query(ctx, `
		SELECT id, status, erased_at IS NOT NULL, EXISTS (SELECT FROM restrictions WHERE person_id = p.id AND kind IN ('blocked', 'erased')),
			EXISTS (SELECT FROM rights_requests WHERE person_id = p.id AND closed_at IS NULL)
		FROM persons p WHERE id = ANY($1) ORDER BY id `+lock, []uuid.UUID{stays, goes})
	if err != nil {
		return p, err
	}
	var id uuid.UUID
	var status string
	var statuses []string
	var erased, held, asks bool
	if _, err := pgx.ForEachRow(rows, []any{&id, &status, &erased, &held, &asks}, func() error {
		statuses = append(statuses, status)
		switch {
		case erased || held:
			refuse("merge_held_back")
		case asks:
			refuse("merge_rights_open")
		}
		return nil
	}); err != nil {
		return p, err
	}
	if len(statuses) != 2 || statuses[0] != statuses[1] || statuses[0] == "merged" {
		refuse("merge_not_active")
	}
	for person, into := range map[uuid.UUID]*[]mergeRegistration{stays: &p.mine, goes: &p.their} {
		rows, err := a.Query(ctx, `
			SELECT id, number, programme, intent, status, region, organisation_id, EXISTS (SELECT FROM cases c WHERE c.id = g.id AND c.protocol = 'enrolment' AND c.status = 'open'),
				EXISTS (SELECT FROM cases c WHERE c.subject_id = g.id AND c.protocol NOT IN ('enrolment', 'care') AND c.status = 'open')
					OR EXISTS (SELECT FROM reservations v WHERE v.registration_id = g.id AND v.released_at IS NULL)
			FROM registrations g WHERE person_id = $1 ORDER BY number `+lock, person)
		if err != nil {
			return p, err
		}
		if *into, err = pgx.CollectRows(rows, pgx.RowToStructByPos[mergeRegistration]); err != nil {
			return p, err
		}
	}
	inCase := func(list []mergeRegistration) bool {
		return slices.ContainsFunc(list, func(r mergeRegistration) bool { return r.InCase })
	}
	if inCase(p.mine) && inCase(p.their) {
		refuse("merge_both_in_case")
	}
	for _, r := range p.their {
		for _, own := range p.mine {
			if r.Programme != own.Programme || r.over() || own.over() {
				continue
			}
			if r.Intent != own.Intent {
				refuse("merge_wish_and_refusal", "Programme", string(r.Programme))
			}
			older, younger := own, r
			if registeredBefore(r, own) {
				older, younger = r, own
			}
			if younger.InCase {
				refuse("merge_leaving_in_case", "Number", younger.Number)
			}
			p.leaves[younger.ID] = older
		}
	}
	return p, nil
}

// registeredBefore tells which of two is the older number: their ids are in the order in which they were made.
func registeredBefore(one, other mergeRegistration) bool {
	return one.ID.String() < other.ID.String()
}

// mergeSnapshot is what a merge changed: each row's columns before and after.
type mergeSnapshot struct {
	Rows  []changedRow `json:"rows"`
	NoKin bool         `json:"no_kin,omitempty"` // the other's arrangement was added to who stays
	Woken []uuid.UUID  `json:"woken,omitempty"`  // enrolments that ended with the merge
}

type changedRow struct {
	Table  string                     `json:"table"`
	ID     uuid.UUID                  `json:"id"`
	Before map[string]json.RawMessage `json:"before"`
	After  map[string]json.RawMessage `json:"after"`
}

// followed are the tables whose rows a merge may change, and the columns that it changes.
var followed = []struct {
	table   string
	where   string // $1 are both persons, $2 the registrations that leave
	columns []string
}{
	{"persons", `id = ANY($1)`, []string{"name_sealed", "phone_sealed", "profile_sealed", "likeness_index", "phone_index", "index_version", "birth_date", "sex", "abo", "rh", "ethnicity", "height_cm", "weight_kg", "last_contact", "status", "merged_into"}},
	{"person_documents", `person_id = ANY($1)`, []string{"person_id", "number_sealed", "number_index", "tail_index", "index_version"}},
	{"registrations", `person_id = ANY($1)`, []string{"person_id", "status", "status_reason", "unavailable_until", "merged_into"}},
	{"consents", `person_id = ANY($1)`, []string{"person_id"}},
	{"deferrals", `person_id = ANY($1)`, []string{"person_id"}},
	{"specimens", `person_id = ANY($1)`, []string{"person_id", "registration_id", "region"}},
	{"typings", `person_id = ANY($1)`, []string{"person_id", "registration_id", "current"}},
	{"donations", `person_id = ANY($1)`, []string{"person_id"}},
	{"certificates", `person_id = ANY($1)`, []string{"person_id"}},
	{"care_plans", `person_id = ANY($1)`, []string{"person_id"}},
	{"cases", `id = ANY($2)`, []string{"status", "ending", "ended_at"}},
	{"tasks", `case_id = ANY($2)`, []string{"status", "closed_at"}},
}

// readFollowed reads the columns of every row that a merge of two may change.
func (a *act) readFollowed(ctx context.Context, persons, leaving []uuid.UUID) (map[string]map[string]json.RawMessage, []changedRow, error) {
	at := map[string]map[string]json.RawMessage{}
	var order []changedRow
	for _, f := range followed {
		var pairs []string
		for _, c := range f.columns {
			pairs = append(pairs, "'"+c+"', "+c)
		}
		rows, err := a.Query(ctx, `SELECT id, jsonb_build_object(`+strings.Join(pairs, ", ")+`) FROM `+f.table+` WHERE `+f.where+` AND $1::uuid[] IS NOT NULL AND $2::uuid[] IS NOT NULL ORDER BY id`, persons, leaving)
		if err != nil {
			return nil, nil, err
		}
		var id uuid.UUID
		var columns map[string]json.RawMessage
		if _, err := pgx.ForEachRow(rows, []any{&id, &columns}, func() error {
			at[f.table+"/"+id.String()] = columns
			order = append(order, changedRow{Table: f.table, ID: id})
			columns = nil
			return nil
		}); err != nil {
			return nil, nil, err
		}
	}
	return at, order, nil
}

// permitMerge permits making one of the two sides of a pair.
func (a *act) permitMerge(sides [2]record, reason, fields string) error {
	for _, rec := range sides {
		for _, ask := range []struct {
			action policy.Action
			class  policy.Class
		}{{policy.Write, policy.Identity}, {policy.Decide, policy.Registration}} {
			err := a.permit(ask.action, ask.class, rec)
			last := &a.entries[len(a.entries)-1]
			last.Reason, last.Fields = reason, fields
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// whoStays finds which of a pair's persons has a registration.
func (a *act) whoStays(ctx context.Context, d DuplicateLine, stays uuid.UUID) (keep, goes uuid.UUID, err error) {
	if d.batch != nil {
		return uuid.Nil, uuid.Nil, refused("row_is_not_merged")
	}
	err = a.QueryRow(ctx, `SELECT person_id FROM registrations WHERE id = $1`, stays).Scan(&keep)
	switch {
	case errors.Is(err, pgx.ErrNoRows), err == nil && keep != d.persons[0] && keep != d.persons[1]:
		return keep, goes, missing("donor")
	case keep == d.persons[0]:
		goes = d.persons[1]
	default:
		goes = d.persons[0]
	}
	return keep, goes, err
}

// PreviewMerge tells what MergeDonors would do with a pair, and whether it can.
func (r *Reader) PreviewMerge(ctx context.Context, actor Actor, id uuid.UUID, f MergeForm) (MergePreview, error) {
	var v MergePreview
	err := r.act(ctx, actor, "PreviewMerge", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		a.repeats = true
		v = MergePreview{Fields: []MergedField{}, Joined: []JoinedLine{}, Moved: []MovedLine{}}
		d, sides, err := a.readDuplicate(ctx, id, "")
		if err != nil {
			return err
		}
		if err := a.permitMerge(sides, "", ""); err != nil {
			return err
		}
		keep, goes, err := a.whoStays(ctx, d, f.Stays)
		if err != nil {
			return err
		}
		if err := a.sidesOf(ctx, &d); err != nil {
			return err
		}
		if v.Stays, v.Goes = d.One, d.Other; keep == d.persons[1] {
			v.Stays, v.Goes = d.Other, d.One
		}
		p, err := a.planMerge(ctx, keep, goes, "")
		if err != nil {
			return err
		}
		if p.refusal != nil {
			v.Refused, v.Says = p.refusal.Code, a.actor.Locale.Say("error."+p.refusal.Code, p.refusal.Args)
		}
		for _, own := range slices.Concat(p.mine, p.their) {
			if older, leaves := p.leaves[own.ID]; leaves {
				v.Joined = append(v.Joined, JoinedLine{own.Programme, older.Number, own.Number})
			}
		}
		mine, err := a.subjectOf(ctx, keep)
		if err != nil {
			return err
		}
		their, err := a.subjectOf(ctx, goes)
		if err != nil {
			return err
		}
		for _, field := range mergeFields {
			own, other := field.of(mine), field.of(their)
			line := MergedField{field.name, "stays"}
			switch {
			case own == other:
				line.From = "same"
			case own == "":
				line.From = "filled"
			case other != "" && slices.Contains(f.Take, field.name):
				line.From = "other"
			}
			v.Fields = append(v.Fields, line)
		}
		v.Documents = len(mine.documents) + len(their.documents)
		for _, table := range []string{"registrations", "consents", "specimens", "typings", "deferrals", "donations", "certificates", "care_plans"} {
			line := MovedLine{Kind: table}
			if err := a.QueryRow(ctx, `SELECT count(*) FROM `+table+` WHERE person_id = $1`, goes).Scan(&line.Count); err != nil {
				return err
			}
			if line.Count > 0 {
				v.Moved = append(v.Moved, line)
			}
		}
		for _, rec := range sides {
			show(a.shownBy(rec), &v)
		}
		return nil
	})
	return v, err
}

// mergeFields are the fields of a person that a merge decides about, as text to compare.
var mergeFields = []struct {
	name string
	of   func(*subject) string
}{
	{"name", func(s *subject) string { return s.name.Reveal() }},
	{"phone", func(s *subject) string { return s.phone.Reveal() }},
	{"email", func(s *subject) string { return s.details.Email }},
	{"address", func(s *subject) string { return s.details.Address }},
	{"workplace", func(s *subject) string { return s.details.Workplace }},
	{"contacts", func(s *subject) string {
		if len(s.details.Contacts) == 0 {
			return ""
		}
		return fmt.Sprint(s.details.Contacts)
	}},
	{"birth_date", func(s *subject) string {
		if s.birth == nil {
			return ""
		}
		return s.birth.String()
	}},
	{"sex", func(s *subject) string { return string(s.sex) }},
	{"abo", func(s *subject) string { return s.abo }},
	{"rh", func(s *subject) string { return s.rh }},
	{"ethnicity", func(s *subject) string { return s.ethnicity }},
	{"height_cm", func(s *subject) string { return some(s.height) }},
	{"weight_kg", func(s *subject) string { return some(s.weight) }},
}

// MergeDonors makes the two persons of a pair one. Doing it again changes nothing.
//
// Errors: Stale; Refused when both are in a case, when the registration that would leave is in one, when one asks something about their
// data, was erased, or wishes what the other refuses.
func (s *Store) MergeDonors(ctx context.Context, actor Actor, id uuid.UUID, version int64, f MergeForm) (MergeView, error) {
	var v MergeView
	err := s.act(ctx, actor, "MergeDonors", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		a.repeats = true
		d, sides, err := a.readDuplicate(ctx, id, "FOR UPDATE OF d")
		if err != nil {
			return err
		}
		if err := a.permitMerge(sides, f.Reason, strings.Join(f.Take, ",")); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if d.Merge != uuid.Nil {
			v, err = a.readShownMerge(ctx, d.Merge, sides)
			return err // said twice
		}
		if version != 0 && version != d.Version {
			return stale("duplicate")
		}
		keep, goes, err := a.whoStays(ctx, d, f.Stays)
		if err != nil {
			return err
		}
		p, err := a.planMerge(ctx, keep, goes, "FOR UPDATE")
		if err != nil {
			return err
		}
		if p.refusal != nil {
			return p.refusal
		}
		if !slices.ContainsFunc(p.mine, func(r mergeRegistration) bool { return r.Number == strings.TrimSpace(f.Number) }) {
			return refused("number_mistyped")
		}
		merge, err := a.merge(ctx, d, p, f)
		if err != nil {
			return err
		}
		v, err = a.readShownMerge(ctx, merge, sides)
		return err
	})
	return v, err
}

func (a *act) merge(ctx context.Context, d DuplicateLine, p mergePlan, f MergeForm) (uuid.UUID, error) {
	persons := []uuid.UUID{p.stays, p.goes}
	leaving := []uuid.UUID{}
	for id := range p.leaves {
		leaving = append(leaving, id)
	}
	slices.SortFunc(leaving, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
	before, order, err := a.readFollowed(ctx, persons, leaving)
	if err != nil {
		return uuid.Nil, err
	}
	snapshot := mergeSnapshot{}
	key, err := a.keyOf(ctx, p.stays)
	if err != nil {
		return uuid.Nil, err
	}
	mine, err := a.subjectOf(ctx, p.stays)
	if err != nil {
		return uuid.Nil, err
	}
	their, err := a.subjectOf(ctx, p.goes)
	if err != nil {
		return uuid.Nil, err
	}
	taken, err := a.takeFields(ctx, key, p.stays, p.goes, mine, their, f.Take)
	if err != nil {
		return uuid.Nil, err
	}
	if err := a.takeDocuments(ctx, key, p, mine); err != nil {
		return uuid.Nil, err
	}
	var b pgx.Batch
	for _, id := range leaving {
		older := p.leaves[id]
		b.Queue(`UPDATE registrations SET status = 'left', status_reason = 'merged', unavailable_until = NULL, merged_into = $2 WHERE id = $1`, id, older.ID)
		// The older number has its own typing of a kind, or takes the other's.
		b.Queue(`UPDATE typings t SET current = current AND NOT EXISTS (SELECT FROM typings o WHERE o.registration_id = $2 AND o.kind = t.kind AND o.current), registration_id = $2 WHERE registration_id = $1`, id, older.ID)
		b.Queue(`UPDATE specimens SET registration_id = $2, region = (SELECT region FROM registrations WHERE id = $2), version = version + 1 WHERE registration_id = $1`, id, older.ID)
		b.Queue(`UPDATE tasks SET status = 'cancelled', closed_at = $2, version = version + 1 WHERE case_id = $1 AND status = 'open'`, id, a.at)
		b.Queue(`UPDATE cases SET status = 'ended', ending = 'merged', ended_at = $2, version = version + 1 WHERE id = $1 AND protocol = 'enrolment' AND status = 'open'`, id, a.at)
	}
	b.Queue(`UPDATE registrations SET person_id = $2, version = version + 1, updated_at = now() WHERE person_id = $1`, p.goes, p.stays)
	for _, table := range []string{"consents", "deferrals", "specimens", "typings", "donations", "certificates", "care_plans"} {
		b.Queue(`UPDATE `+table+` SET person_id = $2 WHERE person_id = $1`, p.goes, p.stays)
	}
	b.Queue(`UPDATE registrations SET version = version + 1, updated_at = now() WHERE id = ANY($1) AND person_id = $2 AND merged_into IS NOT NULL`, leaving, p.stays)
	b.Queue(`UPDATE persons SET status = 'merged', merged_into = $2, version = version + 1, updated_at = now() WHERE id = $1`, p.goes, p.stays)
	b.Queue(`
		INSERT INTO restrictions (person_id, kind, request_id, since) SELECT $2, kind, request_id, since FROM restrictions WHERE person_id = $1 AND kind = 'no_kin'
		ON CONFLICT DO NOTHING RETURNING true`, p.goes, p.stays).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			snapshot.NoKin = true
		}
		return rows.Err()
	})
	if err := a.SendBatch(ctx, &b).Close(); err != nil {
		return uuid.Nil, err
	}
	after, _, err := a.readFollowed(ctx, persons, leaving)
	if err != nil {
		return uuid.Nil, err
	}
	for _, row := range order {
		was, is := before[row.Table+"/"+row.ID.String()], after[row.Table+"/"+row.ID.String()]
		row.Before, row.After = map[string]json.RawMessage{}, map[string]json.RawMessage{}
		for column, value := range was {
			if string(value) != string(is[column]) {
				row.Before[column], row.After[column] = value, is[column]
			}
		}
		if len(row.Before) > 0 {
			snapshot.Rows = append(snapshot.Rows, row)
		}
	}
	for _, r := range slices.Concat(p.mine, p.their) {
		if _, leaves := p.leaves[r.ID]; leaves && r.Enrolling {
			snapshot.Woken = append(snapshot.Woken, r.ID)
		}
	}
	plain, err := json.Marshal(snapshot)
	if err != nil {
		return uuid.Nil, err
	}
	merge := newID()
	kept, err := key.SealBytes(cell("merges", "snapshot", merge), plain)
	if err != nil {
		return uuid.Nil, sealed(err)
	}
	own, other := leads(p.mine), leads(p.their)
	_, err = a.Exec(ctx, `
		WITH decided AS (UPDATE duplicates SET decision = 'same', reason = $9, decided_by = $10, decided_at = $11, version = version + 1 WHERE id = $4)
		INSERT INTO merges (id, person_id, other_id, duplicate_id, person_donor, other_donor, region, fields, reason, snapshot_sealed, merged_by, merged_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $12, $10, $11)`,
		merge, p.stays, p.goes, d.ID, own.ID, other.ID, string(d.Region), taken, f.Reason, a.actor.staff, a.at, kept)
	if err != nil {
		return uuid.Nil, err
	}
	a.tellMerge(p, "registration.merged", f.Reason)
	a.hear(string(EnrolmentProtocol), "undone", snapshot.Woken...)
	var stay []uuid.UUID
	for _, older := range p.leaves {
		if older.Enrolling {
			stay = append(stay, older.ID)
		}
	}
	a.hear(string(EnrolmentProtocol), "sample", stay...)
	return merge, nil
}

// leads is the registration that a person is known by: the first that is in force.
func leads(list []mergeRegistration) mergeRegistration {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b mergeRegistration) int {
		if a.over() != b.over() {
			if a.over() {
				return 1
			}
			return -1
		}
		return strings.Compare(a.ID.String(), b.ID.String())
	})
	if len(list) == 0 {
		return mergeRegistration{}
	}
	return list[0]
}

// tellMerge puts what became of the two into the timelines of their registrations, and tells their offices.
func (a *act) tellMerge(p mergePlan, code, reason string) {
	own, other := leads(p.mine), leads(p.their)
	for _, list := range [][]mergeRegistration{p.mine, p.their} {
		for _, r := range list {
			beside := other
			if slices.ContainsFunc(p.their, func(t mergeRegistration) bool { return t.ID == r.ID }) {
				beside = own
			}
			if older, leaves := p.leaves[r.ID]; leaves {
				beside = older
			}
			a.event(Event{Code: code, RegistrationID: r.ID, Args: map[string]any{"Number": beside.Number, "Reason": reason}})
		}
	}
	if own.Organisation != other.Organisation {
		for _, r := range []mergeRegistration{own, other} {
			a.tell(notice{code: code, args: map[string]any{"Number": own.Number, "Other": other.Number}, organisation: r.Organisation, region: r.Region,
				dedupe: fmt.Sprintf("%s/%s/%s/%s", code, p.stays, r.ID, a.at.Format(time.RFC3339Nano))})
		}
	}
}

// takeFields gives who stays the fields that are taken from the other, and those that were blank.
func (a *act) takeFields(ctx context.Context, key *seal.Key, stays, goes uuid.UUID, mine, their *subject, take []string) ([]string, error) {
	taken := []string{}
	merged := *mine
	for _, field := range mergeFields {
		own, other := field.of(mine), field.of(their)
		if other == "" || own == other || own != "" && !slices.Contains(take, field.name) {
			continue
		}
		taken = append(taken, field.name)
		switch field.name {
		case "name":
			merged.name = their.name
		case "phone":
			merged.phone = their.phone
		case "email":
			merged.details.Email = their.details.Email
		case "address":
			merged.details.Address = their.details.Address
		case "workplace":
			merged.details.Workplace = their.details.Workplace
		case "contacts":
			merged.details.Contacts = their.details.Contacts
		case "birth_date":
			merged.birth = their.birth
		case "sex":
			merged.sex = their.sex
		case "abo":
			merged.abo = their.abo
		case "rh":
			merged.rh = their.rh
		case "ethnicity":
			merged.ethnicity = their.ethnicity
		case "height_cm":
			merged.height = their.height
		case "weight_kg":
			merged.weight = their.weight
		}
	}
	var b pgx.Batch
	b.Queue(`UPDATE persons p SET last_contact = greatest(p.last_contact, o.last_contact), version = p.version + 1, updated_at = now() FROM persons o WHERE p.id = $1 AND o.id = $2`, stays, goes)
	if !merged.name.Equal(mine.name) {
		name, err := key.Seal(cell("persons", "name", stays), merged.name.Reveal())
		if err != nil {
			return nil, sealed(err)
		}
		b.Queue(`UPDATE persons SET name_sealed = $2 WHERE id = $1`, stays, name)
	}
	if !merged.phone.Equal(mine.phone) {
		phone, err := key.Seal(cell("persons", "phone", stays), merged.phone.Reveal())
		if err != nil {
			return nil, sealed(err)
		}
		b.Queue(`UPDATE persons SET phone_sealed = $2 WHERE id = $1`, stays, phone)
	}
	if !reflect.DeepEqual(merged.details, mine.details) {
		text, err := json.Marshal(merged.details)
		if err != nil {
			return nil, err
		}
		details, err := key.SealBytes(cell("persons", "profile", stays), text)
		if err != nil {
			return nil, sealed(err)
		}
		b.Queue(`UPDATE persons SET profile_sealed = $2 WHERE id = $1`, stays, details)
	}
	b.Queue(`UPDATE persons SET birth_date = $2, sex = nullif($3, ''), abo = nullif($4, ''), rh = nullif($5, ''), ethnicity = nullif($6, ''), height_cm = nullif($7::int, 0), weight_kg = nullif($8::int, 0) WHERE id = $1`,
		stays, merged.birth, string(merged.sex), merged.abo, merged.rh, merged.ethnicity, merged.height, merged.weight)
	if err := a.SendBatch(ctx, &b).Close(); err != nil {
		return nil, err
	}
	*mine = merged
	return taken, a.indexPerson(ctx, stays, merged.name, merged.phone, merged.birth)
}

// indexPerson gives a person anew what they are found by.
func (a *act) indexPerson(ctx context.Context, person uuid.UUID, name seal.Name, phone seal.Phone, birth *calendar.Date) error {
	if birth == nil {
		return nil
	}
	likeness, version := a.keys.Index("likeness", likenessKey(name, *birth, phone))
	_, err := a.Exec(ctx, `UPDATE persons SET likeness_index = $2, phone_index = $3, index_version = $4 WHERE id = $1`, person, likeness[:], a.indexOf("phone", phoneKey(phone, *birth)), version)
	return err
}

// takeDocuments seals the other's documents for who stays.
func (a *act) takeDocuments(ctx context.Context, key *seal.Key, p mergePlan, stays *subject) error {
	from, err := a.keyOf(ctx, p.goes)
	if err != nil {
		return err
	}
	rows, err := a.Query(ctx, `SELECT id, number_sealed FROM person_documents WHERE person_id = $1`, p.goes)
	if err != nil {
		return err
	}
	var id uuid.UUID
	var number []byte
	var b pgx.Batch
	if _, err := pgx.ForEachRow(rows, []any{&id, &number}, func() error {
		opened, err := from.OpenBytes(cell("person_documents", "number", id), number)
		if err != nil {
			return err
		}
		fresh, err := key.SealBytes(cell("person_documents", "number", id), opened)
		if err != nil {
			return sealed(err)
		}
		b.Queue(`UPDATE person_documents SET person_id = $2, number_sealed = $3 WHERE id = $1`, id, p.stays, fresh)
		return nil
	}); err != nil {
		return err
	}
	if err := a.SendBatch(ctx, &b).Close(); err != nil || stays.birth == nil {
		return err
	}
	return a.indexTails(ctx, key, p.stays, *stays.birth)
}

const mergeColumns = `m.id, m.person_donor, (SELECT number FROM registrations WHERE id = m.person_donor), m.other_donor, (SELECT number FROM registrations WHERE id = m.other_donor),
	coalesce(m.duplicate_id, '00000000-0000-0000-0000-000000000000'), m.region, m.fields, m.reason, m.merged_at, m.undone_at, m.version`

func (a *act) readMerge(ctx context.Context, id uuid.UUID) (MergeView, error) {
	rows, err := a.Query(ctx, `SELECT `+mergeColumns+` FROM merges m WHERE id = $1`, id)
	if err != nil {
		return MergeView{}, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[MergeView])
	if errors.Is(err, pgx.ErrNoRows) {
		return v, a.absent("merge", id)
	}
	return v, err
}

// readShownMerge is readMerge for who may do something about both sides.
func (a *act) readShownMerge(ctx context.Context, id uuid.UUID, sides [2]record) (MergeView, error) {
	v, err := a.readMerge(ctx, id)
	for _, rec := range sides {
		show(a.shownBy(rec), &v)
	}
	return v, err
}

// ListMerges tells the history of whom a donor was made one with, the newest first.
func (r *Reader) ListMerges(ctx context.Context, actor Actor, donor uuid.UUID) ([]MergeView, error) {
	var out []MergeView
	err := r.act(ctx, actor, "ListMerges", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		row, err := a.readRegistration(ctx, donor, "")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Identity, row.record()); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `
			SELECT `+mergeColumns+` FROM merges m JOIN registrations g ON g.id = m.person_donor JOIN registrations o ON o.id = m.other_donor WHERE m.person_id = $1 OR m.other_id = $1 ORDER BY m.id DESC`, row.Person)
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[MergeView]); err != nil {
			return err
		}
		a.entries[len(a.entries)-1].Shown = len(out)
		for i := range out {
			show(a.shownBy(row.record()), &out[i])
		}
		return nil
	})
	return out, err
}

// UnmergeForm takes a merge apart.
type UnmergeForm struct {
	Reason string `json:"reason" validate:"required,oneof=person_confirmed office_confirmed wrong_entry twins relatives namesake"`
	Number string `json:"number" validate:"required,max=40" doc:"The number of the registration that stayed, as a sign that it is meant."`
}

// UnmergeDonors makes two persons of one again, each with what they had. What has changed since is left as it is; what came since stays
// with who stayed. Doing it again changes nothing.
//
// Errors: Stale; Refused while the person is in a case, once they were merged into somebody else, and once somebody was erased.
func (s *Store) UnmergeDonors(ctx context.Context, actor Actor, id uuid.UUID, version int64, f UnmergeForm) (MergeView, error) {
	var v MergeView
	err := s.act(ctx, actor, "UnmergeDonors", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		a.repeats = true
		m, err := a.readMerge(ctx, id)
		if err != nil {
			return err
		}
		var sides [2]record
		for i, donor := range []uuid.UUID{m.Donor, m.Other} {
			row, err := a.readRegistration(ctx, donor, "")
			if err != nil {
				return err
			}
			sides[i] = row.record()
		}
		if err := a.permitMerge(sides, f.Reason, "unmerge"); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if m.UndoneAt != nil {
			v, err = a.readShownMerge(ctx, id, sides)
			return err // said twice
		}
		if version != 0 && version != m.Version {
			return stale("merge")
		}
		if strings.TrimSpace(f.Number) != m.Number {
			return refused("number_mistyped")
		}
		if err := a.unmerge(ctx, m, f.Reason); err != nil {
			return err
		}
		v, err = a.readShownMerge(ctx, id, sides)
		return err
	})
	return v, err
}

func (a *act) unmerge(ctx context.Context, m MergeView, reason string) error {
	var stays, goes uuid.UUID
	var kept []byte
	if err := a.QueryRow(ctx, `SELECT person_id, other_id, snapshot_sealed FROM merges WHERE id = $1 FOR UPDATE`, m.ID).Scan(&stays, &goes, &kept); err != nil {
		return err
	}
	var status string
	var gone, later bool
	if _, err := a.Exec(ctx, `SELECT FROM persons WHERE id IN ($1, $2) ORDER BY id FOR UPDATE`, stays, goes); err != nil {
		return err
	}
	err := a.QueryRow(ctx, `
		SELECT status, erased_at IS NOT NULL, EXISTS (SELECT FROM merges n WHERE n.undone_at IS NULL AND n.id > $3 AND (n.person_id IN ($1, $2) OR n.other_id IN ($1, $2)))
		FROM persons WHERE id = $1`, stays, goes, m.ID).Scan(&status, &gone, &later)
	switch {
	case err != nil:
		return err
	case gone || kept == nil:
		return refused("merge_erased")
	case later || status == "merged":
		return refused("merge_not_last")
	}
	key, err := a.keyOf(ctx, stays)
	if err != nil {
		return err
	}
	plain, err := key.OpenBytes(cell("merges", "snapshot", m.ID), kept)
	if err != nil {
		return err
	}
	var snapshot mergeSnapshot
	if err := json.Unmarshal(plain, &snapshot); err != nil {
		return err
	}
	p, err := a.planOf(ctx, stays, snapshot)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(slices.Concat(p.mine, p.their), func(r mergeRegistration) bool { return r.InCase }) {
		return refused("merge_in_case")
	}
	if err := a.restore(ctx, snapshot); err != nil {
		return err
	}
	if snapshot.NoKin {
		if _, err := a.Exec(ctx, `DELETE FROM restrictions WHERE person_id = $1 AND kind = 'no_kin'`, stays); err != nil {
			return err
		}
	}
	// Keys may have been rotated since.
	for _, person := range []uuid.UUID{stays, goes} {
		own, err := a.keyOf(ctx, person)
		if err != nil {
			return err
		}
		subject, err := a.subjectOf(ctx, person)
		if err != nil {
			return err
		}
		if err := a.indexPerson(ctx, person, subject.name, subject.phone, subject.birth); err != nil {
			return err
		}
		if subject.birth != nil {
			if err := a.indexTails(ctx, own, person, *subject.birth); err != nil {
				return err
			}
		}
	}
	_, err = a.Exec(ctx, `
		WITH pair AS (UPDATE duplicates SET decision = 'unsure', reason = $4, decided_by = $2, decided_at = $3, version = version + 1 WHERE id = (SELECT duplicate_id FROM merges WHERE id = $1)),
			people AS (UPDATE persons SET version = version + 1, updated_at = now() WHERE id IN ($5, $6)),
			theirs AS (UPDATE registrations SET version = version + 1, updated_at = now() WHERE person_id IN ($5, $6))
		UPDATE merges SET undone_by = $2, undone_at = $3, undone_reason = $4, snapshot_sealed = NULL, version = version + 1 WHERE id = $1`, m.ID, a.actor.staff, a.at, reason, stays, goes)
	if err != nil {
		return err
	}
	a.tellMerge(p, "registration.unmerged", reason)
	a.hear(string(EnrolmentProtocol), "registered", snapshot.Woken...)
	return nil
}

// planOf reads the registrations of a person who stayed, told apart by whose they were.
func (a *act) planOf(ctx context.Context, stays uuid.UUID, snapshot mergeSnapshot) (mergePlan, error) {
	p, err := a.planMerge(ctx, stays, uuid.Nil, "FOR UPDATE")
	if err != nil {
		return p, err
	}
	var theirs []uuid.UUID
	for _, row := range snapshot.Rows {
		if row.Table == "registrations" && row.Before["person_id"] != nil {
			theirs = append(theirs, row.ID)
		}
	}
	all := p.mine
	p.mine, p.their, p.leaves = nil, nil, map[uuid.UUID]mergeRegistration{}
	for _, r := range all {
		if slices.Contains(theirs, r.ID) {
			p.their = append(p.their, r)
		} else {
			p.mine = append(p.mine, r)
		}
	}
	return p, nil
}

// restore puts back what a merge changed, column by column, where it is still as the merge left it.
func (a *act) restore(ctx context.Context, snapshot mergeSnapshot) error {
	rows := slices.Clone(snapshot.Rows)
	// What goes back to its owner goes first: else a person has two registrations of a programme in force for a moment.
	slices.SortStableFunc(rows, func(x, y changedRow) int {
		switch one, other := x.Before["person_id"] != nil, y.Before["person_id"] != nil; {
		case one == other:
			return 0
		case one:
			return -1
		default:
			return 1
		}
	})
	for _, row := range rows {
		var columns, pairs []string
		for column := range row.Before {
			columns = append(columns, column)
		}
		slices.Sort(columns)
		for _, column := range columns {
			pairs = append(pairs, "'"+column+"', "+column)
		}
		var is map[string]json.RawMessage
		err := a.QueryRow(ctx, `SELECT jsonb_build_object(`+strings.Join(pairs, ", ")+`) FROM `+row.Table+` WHERE id = $1 FOR UPDATE`, row.ID).Scan(&is)
		if errors.Is(err, pgx.ErrNoRows) {
			continue // it is gone
		}
		if err != nil {
			return err
		}
		back := map[string]json.RawMessage{}
		for _, column := range columns {
			// What is found by is worked out anew; whose a row is goes back in any case.
			owns := column == "person_id" || column == "number_sealed"
			if owns || string(is[column]) == string(row.After[column]) {
				back[column] = row.Before[column]
			}
		}
		columns = slices.DeleteFunc(columns, func(c string) bool { return back[c] == nil })
		if len(columns) == 0 {
			continue
		}
		encoded, err := json.Marshal(back)
		if err != nil {
			return err
		}
		list := strings.Join(columns, ", ")
		var from []string
		for _, c := range columns {
			from = append(from, c+" = was."+c)
		}
		_, err = a.Exec(ctx, `UPDATE `+row.Table+` t SET `+strings.Join(from, ", ")+` FROM (SELECT `+list+` FROM jsonb_populate_record(NULL::`+row.Table+`, $2)) was WHERE t.id = $1`, row.ID, encoded)
		if err != nil {
			return err
		}
	}
	return nil
}
