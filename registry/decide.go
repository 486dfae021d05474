package registry

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/identity"
)

// record is what the policy is asked about: where the record lies, which organisations have it, whose task it is.
type record struct {
	kind   string // of what it is, for the audit: donor, case, task …
	id     string
	region identity.Region
	team   []uuid.UUID // members of staff in the team of the drive that it belongs to, while there is one
	sites  []uuid.UUID // organisations at which the record is
	shared []uuid.UUID // organisations that it is shared with for a time
	office uuid.UUID   // the organisation whose task or case it is
	person uuid.UUID   // the member of staff whose task or case it is, or who entered it lately
	leases []lease     // the actor's emergency access to it, read in this act
	own    uuid.UUID   // the drive whose public form it is filled in on, by the very actor
}

func (rec record) target() string { return rec.kind + ":" + rec.id }

// standing is one way in which the actor stands to a record, and the region in which the policy decides it: the
// record's own for a relation of place, the actor's office's for a relation of work.
type standing struct {
	relation policy.Relation
	region   identity.Region
}

// standings lists every way, the strongest first.
func (a *act) standings(rec record) []standing {
	var out []standing
	add := func(relation policy.Relation, holds bool) {
		if holds {
			out = append(out, standing{relation, a.actor.region})
		}
	}
	work, person := a.actor.organisation, a.actor.staff
	works := work != uuid.Nil
	add(policy.Assigned, works && (rec.office == work || rec.person == person && person != uuid.Nil))
	add(policy.Team, works && slices.Contains(rec.team, person))
	add(policy.Site, works && slices.Contains(rec.sites, work))
	add(policy.Referred, works && slices.Contains(rec.shared, work))
	add(policy.Self, a.actor.drive != uuid.Nil && rec.own == a.actor.drive)
	add(policy.ServiceArea, works && rec.region != "" && a.serves(rec.region))
	if rec.region != "" {
		out = append(out, standing{policy.InRegion, rec.region})
	}
	return append(out, standing{policy.None, a.actor.region})
}

// serves tells whether the actor's organisation serves the region in which a record lies.
func (a *act) serves(region identity.Region) bool {
	return slices.ContainsFunc(a.policy.Serves(a.actor.policySubject()), func(served string) bool { return identity.Region(served).Contains(region) })
}

// stood is all that a mask depends on.
type stood struct {
	by      *policy.Policy
	subject string
	purpose policy.Purpose
	ways    [8]standing // as many as there are
}

// maskOf is every decision about the actor in some ways of standing to a record: what any of them allows and none denies. To most lines of a list the
// actor stands as to the one before, so an act keeps what it has asked.
func (a *act) maskOf(ways ...standing) policy.Mask {
	key := stood{by: a.policy, subject: a.actor.policySubject(), purpose: a.purpose}
	if copy(key.ways[:], ways) < len(ways) {
		panic("registry: there are more ways of standing to a record than stood has room for")
	}
	if m, known := a.masks[key]; known {
		return m
	}
	var out policy.Mask
	for i, st := range ways {
		m := a.policy.Mask(key.subject, regionPath(st.region), st.relation, a.purpose)
		if i > 0 {
			m = out.Union(m)
		}
		out = m
	}
	if a.masks == nil {
		a.masks = map[stood]policy.Mask{}
	}
	a.masks[key] = out
	return out
}

func (a *act) ask(st standing, class policy.Class, action policy.Action) policy.Decision {
	return a.maskOf(st).Decide(class, action)
}

// mask is every decision about the actor and a record.
func (a *act) mask(rec record) policy.Mask { return a.maskOf(a.standings(rec)...) }

// shownBy is the mask for a view of a record: an emergency opens its classes, and that somebody is registered.
func (a *act) shownBy(rec record) policy.Mask {
	m := a.mask(rec)
	for _, l := range rec.leases {
		m = m.Opening(policy.Registration)
		for _, class := range l.Classes {
			if d, _ := a.may(policy.Read, class, rec); d.Allowed {
				m = m.Opening(class)
			}
		}
	}
	return m
}

func regionPath(region identity.Region) []string {
	ancestors := region.Ancestors()
	out := make([]string, len(ancestors))
	for i, r := range ancestors {
		out[i] = string(r)
	}
	return out
}

// may decides without a trace: for what an act does with a record that it was permitted to touch already. The standing is the
// strongest that the decision rests on.
func (a *act) may(action policy.Action, class policy.Class, rec record) (policy.Decision, standing) {
	d := a.mask(rec).Decide(class, action)
	if !d.Allowed && d.Rule == "" { // a line that denies is final
		if l, ok := a.leaseOn(rec, action, class); ok {
			d.Allowed, d.Rule = true, leaseRule+l.ID.String()
			return d, standing{policy.None, a.actor.region}
		}
	}
	ways := a.standings(rec)
	if d.Rule == "" {
		return d, ways[0]
	}
	for _, st := range ways {
		if own := a.ask(st, class, action); own.Rule == d.Rule {
			return d, st
		}
	}
	return d, ways[0]
}

// absent is the answer to who names a record that is not there, or that the database does not let through to them. It is written
// down like any other denial: that somebody asks for what they cannot see is worth knowing.
func (a *act) absent(kind string, id any) error {
	a.note(auditEntry{Action: policy.Read, Class: classOf[kind], Relation: policy.None, Region: a.actor.region, Target: fmt.Sprint(kind, ":", id), Rule: "absent"})
	return missing(kind)
}

// classOf says which class a kind of record is, for the audit of what was not found.
var classOf = map[string]policy.Class{
	"donor": policy.Registration, "case": policy.Case, "task": policy.Case, "answer": policy.Case, "search": policy.Search, "patient": policy.Patient,
	"share": policy.Registration, "drive": policy.Drive, "batch": policy.Intake, "consignment": policy.Specimen, "notice": policy.Notice, "message": policy.Review, "emergency": policy.Review,
	"export": policy.Review, "attachment": policy.Case, "reopening": policy.Review, "own_form": policy.Intake, "audit_row": policy.Audit, "clock": policy.Case, "handover": policy.Case, "duplicate": policy.Identity, "merge": policy.Identity,
}

// collective are the kinds that are no single record. That there are such things is no secret.
var collective = []string{"audit", "cases", "clocks", "donors", "emergencies", "exports", "forms", "handovers", "keys", "organisations", "policy", "searches", "statistics", "typings", "upkeep"}

// permit decides whether the actor may do an action with a class of a record, and notes the decision for the audit.
// What the actor may not even read does not exist for them: the error is NotFound; else it is Denied.
func (a *act) permit(action policy.Action, class policy.Class, rec record) error {
	return a.permitShown(action, class, rec, 1)
}

func (a *act) permitShown(action policy.Action, class policy.Class, rec record, shown int) error {
	d, st := a.may(action, class, rec)
	a.note(auditEntry{Action: action, Class: class, Relation: st.relation, Region: rec.region, Target: rec.target(), Shown: shown, Allowed: d.Allowed, Rule: d.Rule})
	if d.Allowed {
		return nil
	}
	known := slices.Contains(collective, rec.kind)
	if action != policy.Read && !known {
		seen, _ := a.may(policy.Read, class, rec)
		known = seen.Allowed
	}
	if known {
		return &Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(action), "Class": string(class)}}
	}
	return missing(rec.kind)
}

// reach is what of a class the actor may touch, for the WHERE clause of a list: ranges of region codes, whether records at the
// actor's organisation, or assigned to it, are among them, and whether those of the drives in whose team the actor is.
type reach struct {
	lo, hi       []string
	site, office bool
	team         bool
	organisation uuid.UUID
	rule         string // the first line of the policy that gives it
}

// reachOf finds the reach for a class and action.
func (a *act) reachOf(action policy.Action, class policy.Class) reach {
	out := reach{organisation: a.actor.organisation, lo: []string{}, hi: []string{}}
	ask := func(m policy.Mask) bool {
		d := m.Decide(class, action)
		if d.Allowed && out.rule == "" {
			out.rule = d.Rule
		}
		return d.Allowed
	}
	// A list decides as for a single record: what any way of standing allows and none denies.
	nowhere := a.maskOf(standing{policy.None, a.actor.region})
	subject := a.actor.policySubject()
	places := slices.Concat(a.policy.Regions(subject), a.policy.Serves(subject))
	slices.Sort(places) // a region before those that lie in it
	for _, place := range slices.Compact(places) {
		region := identity.Region(place)
		if lo, hi := region.Range(); ask(a.mask(record{region: region})) {
			out.lo, out.hi = append(out.lo, lo), append(out.hi, hi)
		} else {
			out = out.without(lo, hi)
		}
	}
	if a.actor.organisation != uuid.Nil {
		at := func(relation policy.Relation) bool {
			return ask(a.maskOf(standing{relation, a.actor.region}).Union(nowhere))
		}
		out.site, out.office, out.team = at(policy.Site), at(policy.Assigned), at(policy.Team)
	}
	return out
}

// empty tells that a list can only be empty, because no grant speaks of the class at all.
func (r reach) empty() bool { return len(r.lo) == 0 && !r.site && !r.office && !r.team }

// in are the ranges of the reach that lie within a region; no region is all of them.
func (r reach) in(region identity.Region) (lo, hi []string) {
	from, to := cmp.Or(region, nation).Range()
	part := r.and(reach{lo: []string{from}, hi: []string{to}})
	return part.lo, part.hi
}

// without is the reach less a range of regions.
func (r reach) without(lo, hi string) reach {
	from, to := r.lo, r.hi
	r.lo, r.hi = []string{}, []string{}
	for i := range from {
		for _, part := range [][2]string{{from[i], min(to[i], lo)}, {max(from[i], hi), to[i]}} {
			if part[0] < part[1] {
				r.lo, r.hi = append(r.lo, part[0]), append(r.hi, part[1])
			}
		}
	}
	return r
}

// and is what lies in two reaches, by place.
func (r reach) and(other reach) reach {
	lo, hi := []string{}, []string{}
	for i := range r.lo {
		for j := range other.lo {
			if l, h := max(r.lo[i], other.lo[j]), min(r.hi[i], other.hi[j]); l < h {
				lo, hi = append(lo, l), append(hi, h)
			}
		}
	}
	r.lo, r.hi = lo, hi
	return r
}

// narrowedTo is the part of a list's reach in which the actor may read whatever a filter asks about: the fields of a struct, each with its
// class; those of the list's own class are read with it. A field that has no class is nobody's to ask about.
func (a *act) narrowedTo(within reach, own policy.Class, filter any) (reach, error) {
	v := reflect.ValueOf(filter)
	for i := range v.NumField() {
		field := v.Type().Field(i)
		class := policy.Class(field.Tag.Get("class"))
		if v.Field(i).IsZero() || class == own || class == "open" {
			continue
		}
		readable := a.reachOf(policy.Read, class)
		if within = within.and(readable); len(readable.lo) == 0 {
			name := field.Tag.Get("json")
			a.note(auditEntry{Action: policy.Find, Class: class, Relation: policy.InRegion, Region: a.actor.region, Target: "donors", Rule: "masked", Fields: name})
			return within, refused("field_masked", "Name", name)
		}
	}
	return within, nil
}

// permitList notes a list in the audit: what kind, which records it showed, and what it was narrowed by (narrowed, sought). A list
// that the actor has no reach in is denied.
func (a *act) permitList(class policy.Class, r reach, kind string, shown []uuid.UUID, filters ...string) error {
	return a.permitMany(policy.Find, class, r, kind, shown, filters...)
}

// permitMany is permitList for another action than finding.
func (a *act) permitMany(action policy.Action, class policy.Class, r reach, kind string, shown []uuid.UUID, filters ...string) error {
	allowed := !r.empty()
	a.note(auditEntry{Action: action, Class: class, Relation: policy.InRegion, Region: a.actor.region, Target: kind, Shown: len(shown), Showed: shown, Allowed: allowed, Rule: r.rule,
		Fields: strings.Join(slices.DeleteFunc(filters, func(f string) bool { return f == "" }), " ")})
	if !allowed {
		return &Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(action), "Class": string(class)}}
	}
	return nil
}

// plainTerm matches values of filters that tell nothing by themselves: codes, ids, days.
var plainTerm = regexp.MustCompile(`^([a-z_]{1,30}|([a-z]+:)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d)$`)

// narrowed names a filter of a list and its value, for the audit; nothing when the list is not narrowed by it.
func (a *act) narrowed(name, value string) string {
	if !plainTerm.MatchString(value) {
		return a.sought(name, value)
	}
	return name + "=" + value
}

// sought names a filter by which something is looked up whose value somebody typed: in the audit stands a keyed digest of it, which
// tells whether two acts looked for the same, and whether a known value was looked for, and not what it was.
func (a *act) sought(name, value string) string {
	if value == "" {
		return ""
	}
	d := a.keys.MAC("audit sought "+name, value)
	return name + "#" + hex.EncodeToString(d[:8])
}

// noteShown adds to the decision that was noted last which records were shown on it.
func (a *act) noteShown(ids []uuid.UUID) {
	last := &a.entries[len(a.entries)-1]
	last.Shown, last.Showed = len(ids), ids
}

// note puts a decision down for the audit, with who decided to ask and why.
func (a *act) note(e auditEntry) {
	a.decided = true
	e.Actor, e.Organisation, e.Act, e.Purpose, e.Request, e.Address = a.actor.subject, a.actor.organisation, a.name, a.purpose, a.actor.Request, a.actor.Address
	if strings.HasPrefix(e.Rule, leaseRule) {
		e.Purpose = policy.ForEmergency
	}
	e.Revision, e.At = a.policy.Revision(), a.now().UTC()
	a.entries = append(a.entries, e)
}

// textOf is a value of a filter as text, nothing for the zero value.
func textOf[T interface {
	comparable
	fmt.Stringer
}](value T) string {
	var zero T
	if value == zero {
		return ""
	}
	return value.String()
}

// idsOf are the ids of a list's records, for the audit.
func idsOf[T any](list []T, id func(T) uuid.UUID) []uuid.UUID {
	out := make([]uuid.UUID, len(list))
	for i, item := range list {
		out[i] = id(item)
	}
	return out
}

func readGrants(ctx context.Context, tx pgx.Tx) ([]policy.Grant, error) {
	rows, err := tx.Query(ctx, `
		SELECT 'staff:' || g.staff_id, g.role, g.region, g.until, ARRAY(SELECT a.region FROM service_areas a WHERE a.organisation_id = s.organisation_id
			AND NOT EXISTS (SELECT FROM role_grants t JOIN staff x ON x.id = t.staff_id WHERE x.organisation_id = s.organisation_id AND t.role = 'transplant_hospital' AND t.revoked_at IS NULL AND t.until > now())
			ORDER BY a.region)
		FROM role_grants g JOIN staff s ON s.id = g.staff_id
		WHERE g.revoked_at IS NULL AND s.active`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (g policy.Grant, err error) {
		return g, row.Scan(&g.Subject, &g.Role, &g.Region, &g.Until, &g.Serves)
	})
}
