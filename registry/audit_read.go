package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Reading the audit: page by page, newest first, narrowed by what somebody asks or by the questions that auditors ask again and again.

// AuditLine is one audit row as an auditor reads it.
type AuditLine struct {
	ID           uuid.UUID `json:"id" class:"audit" mask:"drop"`
	At           time.Time `json:"at" class:"audit" mask:"drop"`
	Actor        string    `json:"actor" class:"audit" mask:"drop"`
	Organisation uuid.UUID `json:"organisation,omitzero" doc:"Where the actor worked. Absent for the register itself." class:"audit" mask:"drop"`
	Role         string    `json:"role,omitempty" doc:"In which role it was allowed, or denied by a line. Absent where no role decided." class:"audit" mask:"drop"`
	Act          string    `json:"act" class:"audit" mask:"drop"`
	Action       string    `json:"action" class:"audit" mask:"drop"`
	Class        string    `json:"class" class:"audit" mask:"drop"`
	Relation     string    `json:"relation" class:"audit" mask:"drop"`
	Region       string    `json:"region" class:"audit" mask:"drop"`
	Target       string    `json:"target" class:"audit" mask:"drop"`
	Shown        int       `json:"shown" class:"audit" mask:"drop"`
	Fields       string    `json:"fields,omitempty" doc:"Of a list: what it was narrowed by. Behind a # stands a keyed digest of what was looked for." class:"audit" mask:"drop"`
	Purpose      string    `json:"purpose" class:"audit" mask:"drop"`
	Reason       string    `json:"reason,omitempty" class:"audit" mask:"drop"`
	Allowed      bool      `json:"allowed" class:"audit" mask:"drop"`
	Rule         string    `json:"rule,omitempty" class:"audit" mask:"drop"`
	Request      string    `json:"request,omitempty" class:"audit" mask:"drop"`
}

func auditLineOf(e auditEntry) AuditLine {
	return AuditLine{
		e.ID, e.At, e.Actor, e.Organisation, roleOfRule(e.Rule), e.Act, string(e.Action), string(e.Class), string(e.Relation), string(e.Region), e.Target, e.Shown, e.Fields, string(e.Purpose), e.Reason,
		e.Allowed, e.Rule, e.Request,
	}
}

// roleOfRule is the role of a policy's line, nothing for a rule that is none.
func roleOfRule(rule string) string {
	role, _, isLine := strings.Cut(rule, ", ")
	if !isLine {
		return ""
	}
	return role
}

// AuditPreset is a question that auditors ask again and again.
type AuditPreset string

// The presets. Those that have to look at every row of their time take a month at most, and the last week when no days are given.
const (
	Unreviewed  AuditPreset = "unreviewed"    // what was seen on emergency access that nobody has reviewed
	OutOfRegion AuditPreset = "out_of_region" // what was seen of people outside of the region of one's office
	BulkExports AuditPreset = "bulk"          // many at once
	AtNight     AuditPreset = "night"         // what was seen of people at night
	SameSurname AuditPreset = "same_surname"  // what was seen of donors who have the surname of who looked
)

// AuditPresets lists them.
func AuditPresets() []AuditPreset {
	return []AuditPreset{Unreviewed, OutOfRegion, BulkExports, AtNight, SameSurname}
}

// AuditFilter narrows a list of audit rows. The zero value of each field does not narrow.
type AuditFilter struct {
	Actor, Target, Act string
	Role               policy.Role // in which it was decided
	Organisation       uuid.UUID   // where the actor worked
	Kind               string      // of what record: donor, case …
	Class              policy.Class
	Action             policy.Action
	Relation           policy.Relation
	Purpose            policy.Purpose
	From, To           time.Time // rows at or after, and before, an instant
	DeniedOnly         bool
	Preset             AuditPreset
	Before             time.Time // for the next page: rows before this instant …
	BeforeID           uuid.UUID // … and, at it, before this row
	Limit              int
}

// aboutPeople are the classes of what is known of people. To have seen something of them is what auditors ask about.
var aboutPeople = []policy.Class{
	policy.Registration, policy.Identity, policy.Contact, policy.Demographics, policy.HLA, policy.Health, policy.Consent, policy.Specimen, policy.Patient, policy.Search, policy.Link, policy.Referral,
	policy.Family, policy.Memorial, policy.Aid,
}

// How far a preset that looks at every row of its time may look.
const (
	presetDays = 31
	presetWeek = 7
)

// auditQuery is a list of audit rows put together: what it reads from, and its conditions. Conditions are written out and not switched off by
// parameters, so that PostgreSQL plans for those that there are.
type auditQuery struct {
	from  string
	where []string
	args  []any
}

// arg adds a parameter and gives its place.
func (q *auditQuery) arg(value any) string {
	q.args = append(q.args, value)
	return fmt.Sprint("$", len(q.args))
}

// and adds a condition over parameters, for each of which a ? stands in it.
func (q *auditQuery) and(condition string, values ...any) {
	for _, v := range values {
		condition = strings.Replace(condition, "?", q.arg(v), 1)
	}
	q.where = append(q.where, condition)
}

// bounded gives a filter's preset its days.
func (f *AuditFilter) bounded(now time.Time) error {
	if !slices.Contains([]AuditPreset{OutOfRegion, AtNight, SameSurname}, f.Preset) {
		return nil
	}
	if f.To.IsZero() {
		f.To = now.Add(time.Hour)
	}
	if f.From.IsZero() {
		f.From = f.To.AddDate(0, 0, -presetWeek)
	}
	if f.To.Sub(f.From) > (presetDays+1)*24*time.Hour {
		return &Error{Kind: Invalid, Code: "audit_window", Args: map[string]any{"Most": presetDays}}
	}
	return nil
}

func (a *act) auditQuery(ctx context.Context, f AuditFilter, within reach) (*auditQuery, error) {
	q := &auditQuery{from: "audit a"}
	q.and("(a.recorded_at, a.id) < (?, ?)", f.Before, f.BeforeID)
	q.and("EXISTS (SELECT FROM unnest(?::text[], ?::text[]) s(lo, hi) WHERE a.region >= lo AND a.region < hi)", within.lo, within.hi)
	for _, is := range [][2]string{
		{"actor", f.Actor}, {"target", f.Target}, {"act", f.Act}, {"class", string(f.Class)}, {"action", string(f.Action)}, {"relation", string(f.Relation)}, {"purpose", string(f.Purpose)},
		{"organisation", textOf(f.Organisation)},
	} {
		if is[1] != "" {
			q.and("a."+is[0]+" = ?", is[1])
		}
	}
	if f.Role != "" {
		q.and("split_part(a.rule, ', ', 1) = ?", string(f.Role))
	}
	if f.Kind != "" {
		q.and("(a.target = ? OR split_part(a.target, ':', 1) = ?)", f.Kind, f.Kind)
	}
	if !f.From.IsZero() {
		q.and("a.recorded_at >= ?", f.From)
	}
	if !f.To.IsZero() {
		q.and("a.recorded_at < ?", f.To)
	}
	if f.DeniedOnly {
		q.and("NOT a.allowed")
	}
	seen := func() {
		q.and("a.allowed AND a.actor LIKE 'staff:%' AND a.action IN ('read', 'reveal', 'export') AND a.class = ANY(?)", aboutPeople)
	}
	in := a.rules(a.actor.region)
	switch f.Preset {
	case "":
	case Unreviewed:
		q.from = "emergency_access e JOIN audit a ON a.target = 'donor:' || e.registration_id AND a.actor = 'staff:' || e.staff_id"
		q.and("e.verdict IS NULL AND a.recorded_at >= e.opened_at AND (a.rule = ? || e.id OR a.act = 'BreakGlass' AND a.recorded_at < e.opened_at + interval '1 minute')", leaseRule)
	case BulkExports:
		q.and("a.action = 'export' AND a.allowed AND a.shown >= ?", in.Count(rules.AccessBulk))
	case AtNight:
		seen()
		from, to := in.Count(rules.AccessNightFrom), in.Count(rules.AccessNightTo) // minutes since midnight, in the office's zone
		const minute = "extract(hour FROM a.recorded_at AT TIME ZONE 'Asia/Shanghai') * 60 + extract(minute FROM a.recorded_at AT TIME ZONE 'Asia/Shanghai')"
		joined := " OR "
		if from < to {
			joined = " AND "
		}
		q.and("("+minute+" >= ?"+joined+minute+" < ?)", from, to)
	case OutOfRegion:
		seen()
		offices, lo, hi, err := a.officeRanges(ctx)
		if err != nil {
			return nil, err
		}
		q.from += " JOIN unnest(" + q.arg(offices) + "::text[], " + q.arg(lo) + "::text[], " + q.arg(hi) + "::text[]) o(id, lo, hi) ON o.id = a.organisation"
		q.and(`a.target LIKE '%:%' AND a.region <> '' AND NOT (a.region >= o.lo AND a.region < o.hi)`)
	case SameSurname:
		seen()
		q.and(`a.target LIKE 'donor:%'`)
	default:
		return nil, &Error{Kind: Invalid, Code: "audit_preset"}
	}
	return q, nil
}

// officeRanges are the organisations with the ranges of the regions that they lie in.
func (a *act) officeRanges(ctx context.Context) (ids, lo, hi []string, err error) {
	rows, err := a.Query(ctx, `SELECT id::text, region FROM organisations`)
	if err != nil {
		return nil, nil, nil, err
	}
	var id string
	var region identity.Region
	_, err = pgx.ForEachRow(rows, []any{&id, &region}, func() error {
		from, to := region.Range()
		ids, lo, hi = append(ids, id), append(lo, from), append(hi, to)
		return nil
	})
	return ids, lo, hi, err
}

// auditPage reads the next rows of a list.
func (a *act) auditPage(ctx context.Context, q *auditQuery, most int) ([]auditEntry, error) {
	rows, err := a.Query(ctx, `SELECT `+auditColumns+` FROM `+q.from+` WHERE `+strings.Join(q.where, " AND ")+` ORDER BY a.recorded_at DESC, a.id DESC LIMIT `+fmt.Sprint(most), q.args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanAudit)
}

// narrowedBy names what a list of audit rows was narrowed by, for the audit.
func (f AuditFilter) narrowedBy(a *act) []string {
	day := func(at time.Time) string {
		if at.IsZero() {
			return ""
		}
		return at.In(Zone).Format(time.DateOnly)
	}
	out := []string{
		a.narrowed("actor", f.Actor), a.narrowed("target", f.Target), a.sought("act", f.Act), a.narrowed("role", string(f.Role)), a.narrowed("organisation", textOf(f.Organisation)), a.narrowed("kind", f.Kind),
		a.narrowed("class", string(f.Class)), a.narrowed("action", string(f.Action)), a.narrowed("relation", string(f.Relation)), a.narrowed("purpose", string(f.Purpose)), a.narrowed("from", day(f.From)),
		a.narrowed("to", day(f.To)), a.narrowed("preset", string(f.Preset)),
	}
	if f.DeniedOnly {
		out = append(out, "denied")
	}
	return out
}

// ListAudit returns audit rows, the newest first.
//
// Errors: Invalid when a preset that looks at every row is asked about more than a month.
func (r *Reader) ListAudit(ctx context.Context, actor Actor, f AuditFilter) ([]AuditLine, error) {
	name := "ListAudit"
	if f.Preset == SameSurname {
		name = "CompareSurnames"
	}
	var out []AuditLine
	err := r.act(ctx, actor, name, policy.ForAudit, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Audit)
		if within.empty() {
			return a.permitList(policy.Audit, within, "audit", nil)
		}
		a.decided = true // an error from here on shows nothing
		if err := f.bounded(a.at); err != nil {
			return err
		}
		if f.Before.IsZero() {
			f.Before, f.BeforeID = a.at.Add(time.Hour), uuid.Max
		}
		entries, err := a.auditEntries(ctx, f, within)
		if err != nil {
			return err
		}
		out = make([]AuditLine, 0, len(entries))
		for _, e := range entries {
			out = append(out, auditLineOf(e))
		}
		return a.permitList(policy.Audit, within, "audit", idsOf(out, func(l AuditLine) uuid.UUID { return l.ID }), f.narrowedBy(a)...)
	})
	return out, err
}

func (a *act) auditEntries(ctx context.Context, f AuditFilter, within reach) ([]auditEntry, error) {
	most := pageSize(f.Limit)
	if f.Preset != SameSurname {
		q, err := a.auditQuery(ctx, f, within)
		if err != nil {
			return nil, err
		}
		return a.auditPage(ctx, q, most)
	}
	// Names are sealed: rows are read as they come, and those are kept whose two names go together.
	var out []auditEntry
	names := surnames{staff: map[string]seal.Name{}, same: map[[2]string]bool{}}
	for {
		q, err := a.auditQuery(ctx, f, within)
		if err != nil {
			return nil, err
		}
		rows, err := a.auditPage(ctx, q, surnameChunk)
		if err != nil {
			return nil, err
		}
		if err := a.compareSurnames(ctx, rows, names); err != nil {
			return nil, err
		}
		for _, e := range rows {
			if names.same[[2]string{e.Actor, e.Target}] {
				if out = append(out, e); len(out) == most {
					return out, nil
				}
			}
		}
		if len(rows) < surnameChunk {
			return out, nil
		}
		f.Before, f.BeforeID = rows[len(rows)-1].At, rows[len(rows)-1].ID
	}
}

// surnameChunk is how many rows are compared at a time.
const surnameChunk = 1000

// surnames are what is known already of who looked, and of whom.
type surnames struct {
	staff map[string]seal.Name // by the actor
	same  map[[2]string]bool   // by the actor and the target
}

// compareSurnames finds out, for each member of staff and donor in some rows, whether they have one surname. Neither name leaves this function.
func (a *act) compareSurnames(ctx context.Context, rows []auditEntry, known surnames) error {
	var staff, donors []uuid.UUID
	lookers := map[string][]string{} // by the target
	for _, e := range rows {
		if _, done := known.same[[2]string{e.Actor, e.Target}]; done || slices.Contains(lookers[e.Target], e.Actor) {
			continue
		}
		kind, who, _ := strings.Cut(e.Actor, ":")
		id, err := uuid.Parse(who)
		donor, errDonor := uuid.Parse(strings.TrimPrefix(e.Target, "donor:"))
		if kind != "staff" || err != nil || errDonor != nil {
			continue
		}
		if lookers[e.Target] == nil {
			donors = append(donors, donor)
		}
		lookers[e.Target] = append(lookers[e.Target], e.Actor)
		if _, have := known.staff[e.Actor]; !have {
			known.staff[e.Actor] = seal.Name{}
			staff = append(staff, id)
		}
	}
	people, err := a.Query(ctx, `SELECT 'staff:' || id, display_name FROM staff WHERE id = ANY($1)`, staff)
	if err != nil {
		return err
	}
	var who, name string
	if _, err := pgx.ForEachRow(people, []any{&who, &name}, func() error { known.staff[who] = seal.NameOf(name); return nil }); err != nil {
		return err
	}
	sealedNames, err := a.Query(ctx, `SELECT 'donor:' || r.id, p.id, p.key_wrapped, p.name_sealed FROM registrations r JOIN persons p ON p.id = r.person_id WHERE r.id = ANY($1) AND p.erased_at IS NULL`, donors)
	if err != nil {
		return err
	}
	var target string
	var person uuid.UUID
	var wrapped, sealedName []byte
	_, err = pgx.ForEachRow(sealedNames, []any{&target, &person, &wrapped, &sealedName}, func() error {
		key, err := a.keys.Unwrap(keyCell(person), wrapped)
		if err != nil {
			return err
		}
		donor, err := key.OpenName(cell("persons", "name", person), sealedName)
		if err != nil {
			return err
		}
		for _, by := range lookers[target] {
			known.same[[2]string{by, target}] = seal.SameSurname(known.staff[by], donor)
		}
		return nil
	})
	return err
}

// AuditDetail is an audit row with all that stands in it, and what its ids are called now.
type AuditDetail struct {
	AuditLine
	Office   string      `json:"office,omitempty" doc:"What the actor's organisation is called." class:"audit" mask:"drop"`
	Staff    string      `json:"staff,omitempty" doc:"What the member of staff is called." class:"audit" mask:"drop"`
	Showed   []uuid.UUID `json:"showed" doc:"The records that a list showed." class:"audit" mask:"drop"`
	Revision int64       `json:"revision" doc:"Of the grants." class:"audit" mask:"drop"`
	Line     int         `json:"line,omitempty" doc:"Which line of the policy decided." class:"audit" mask:"drop"`
	Address  string      `json:"address,omitempty" class:"audit" mask:"drop"`
	Sealed   bool        `json:"sealed" doc:"The chain of seals covers it." class:"audit" mask:"drop"`
}

// ShowAudit returns one audit row whole. at is its time, as a list told it: a row is found by both.
func (r *Reader) ShowAudit(ctx context.Context, actor Actor, at time.Time, id uuid.UUID) (AuditDetail, error) {
	var out AuditDetail
	err := r.act(ctx, actor, "ShowAudit", policy.ForAudit, func(ctx context.Context, a *act) error {
		rows, err := a.Query(ctx, `
			SELECT `+auditColumns+`, coalesce(o.name, ''), coalesce(o.kind, ''), coalesce(s.display_name, '') FROM audit a
			LEFT JOIN organisations o ON o.id::text = a.organisation LEFT JOIN staff s ON 'staff:' || s.id = a.actor WHERE a.recorded_at = $1 AND a.id = $2`, at.Truncate(time.Microsecond), id)
		if err != nil {
			return err
		}
		var e auditEntry
		e, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (auditEntry, error) {
			e, office, _, staff, err := scanLook(row)
			out.Office, out.Staff = office, staff
			return e, err
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return a.absent("audit_row", id)
		}
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Audit, record{kind: "audit_row", id: id.String(), region: e.Region}); err != nil {
			return err
		}
		out.AuditLine, out.Showed, out.Revision, out.Address = auditLineOf(e), e.Showed, e.Revision, e.Address
		out.Line = policy.LineOf(e.Rule)
		return a.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM audit_unsealed WHERE recorded_at = $1 AND id = $2)`, e.At, id).Scan(&out.Sealed)
	})
	if err != nil {
		return AuditDetail{}, err
	}
	return out, nil
}

// DaysOf are the instants between which the days from one to another lie, both counted; nothing for days that are not given.
func DaysOf(from, to string) (since, until time.Time, err error) {
	for i, text := range []string{from, to} {
		if text == "" {
			continue
		}
		day, err := time.ParseInLocation(time.DateOnly, text, Zone)
		if err != nil {
			return since, until, invalid(forms.Problems{{Code: "R123", Field: []string{"from", "to"}[i]}})
		}
		if i == 0 {
			since = day
		} else {
			until = day.AddDate(0, 0, 1)
		}
	}
	return since, until, nil
}
