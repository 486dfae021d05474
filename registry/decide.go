package registry

import (
	"context"
	"slices"

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
	sites  []uuid.UUID // organisations at which the record is
	office uuid.UUID   // the organisation whose task or case it is
	person uuid.UUID   // the member of staff whose task or case it is
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
	work := a.actor.organisation
	if work != uuid.Nil && (rec.office == work || rec.person == a.actor.staff && rec.person != uuid.Nil) {
		out = append(out, standing{policy.Assigned, a.actor.region})
	}
	for _, site := range rec.sites {
		if site == work && work != uuid.Nil {
			out = append(out, standing{policy.Site, a.actor.region})
			break
		}
	}
	if rec.region != "" {
		out = append(out, standing{policy.InRegion, rec.region})
	}
	return append(out, standing{policy.None, a.actor.region})
}

func (a *act) ask(st standing, class policy.Class, action policy.Action) policy.Decision {
	return a.policy.Decide(policy.Question{
		Subject: a.actor.policySubject(), Region: regionPath(st.region), Relation: st.relation, Class: class, Action: action, Purpose: a.purpose,
	})
}

func regionPath(region identity.Region) []string {
	ancestors := region.Ancestors()
	out := make([]string, len(ancestors))
	for i, r := range ancestors {
		out[i] = string(r)
	}
	return out
}

// may decides without a trace: for what an act does with a record that it was permitted to touch already.
func (a *act) may(action policy.Action, class policy.Class, rec record) (policy.Decision, standing) {
	var last policy.Decision
	ways := a.standings(rec)
	for _, st := range ways {
		d := a.ask(st, class, action)
		if d.Allowed {
			return d, st
		}
		last = d
		if d.Rule != "" {
			return d, st // a line denies it, and deny wins
		}
	}
	return last, ways[0]
}

// collective are the kinds that are no single record. That there are such things is no secret.
var collective = []string{"audit", "cases", "donors", "forms", "keys", "organisations", "typings", "upkeep"}

// permit decides whether the actor may do an action with a class of a record, and notes the decision for the audit.
// What the actor may not even read does not exist for them: the error is NotFound; else it is Denied.
func (a *act) permit(action policy.Action, class policy.Class, rec record) error {
	return a.permitShown(action, class, rec, 1)
}

func (a *act) permitShown(action policy.Action, class policy.Class, rec record, shown int) error {
	d, st := a.may(action, class, rec)
	a.decided = true
	a.entries = append(a.entries, auditEntry{
		Actor: a.actor.subject, Organisation: a.actor.organisation, Act: a.name, Action: action, Class: class, Relation: st.relation,
		Region: rec.region, Target: rec.target(), Shown: shown, Purpose: a.purpose, Allowed: d.Allowed, Rule: d.Rule, Revision: d.Revision,
		Request: a.actor.Request, At: a.now().UTC(),
	})
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

// reach is what of a class the actor may touch, for the WHERE clause of a list: ranges of region codes, and whether
// records at the actor's organisation, or assigned to it, are among them.
type reach struct {
	lo, hi       []string
	site, office bool
	organisation uuid.UUID
}

// reachOf finds the reach for a class and action.
func (a *act) reachOf(action policy.Action, class policy.Class) reach {
	out := reach{organisation: a.actor.organisation, lo: []string{}, hi: []string{}}
	for _, region := range a.policy.Regions(a.actor.policySubject()) {
		if a.ask(standing{policy.InRegion, identity.Region(region)}, class, action).Allowed {
			lo, hi := identity.Region(region).Range()
			out.lo, out.hi = append(out.lo, lo), append(out.hi, hi)
		}
	}
	if a.actor.organisation != uuid.Nil {
		out.site = a.ask(standing{policy.Site, a.actor.region}, class, action).Allowed
		out.office = a.ask(standing{policy.Assigned, a.actor.region}, class, action).Allowed
	}
	return out
}

// empty tells that a list can only be empty, because no grant speaks of the class at all.
func (r reach) empty() bool { return len(r.lo) == 0 && !r.site && !r.office }

// permitList notes a list in the audit: what kind, and how many records it showed. A list that the actor has no reach
// in is denied.
func (a *act) permitList(class policy.Class, r reach, kind string, shown int) error {
	a.decided = true
	allowed := !r.empty()
	a.entries = append(a.entries, auditEntry{
		Actor: a.actor.subject, Organisation: a.actor.organisation, Act: a.name, Action: policy.Find, Class: class, Relation: policy.InRegion,
		Region: a.actor.region, Target: kind, Shown: shown, Purpose: a.purpose, Allowed: allowed, Revision: a.policy.Revision(),
		Request: a.actor.Request, At: a.now().UTC(),
	})
	if !allowed {
		return &Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(policy.Find), "Class": string(class)}}
	}
	return nil
}

func readGrants(ctx context.Context, tx pgx.Tx) ([]policy.Grant, error) {
	rows, err := tx.Query(ctx, `
		SELECT 'staff:' || g.staff_id, g.role, g.region, g.until
		FROM role_grants g JOIN staff s ON s.id = g.staff_id
		WHERE g.revoked_at IS NULL AND s.active`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (g policy.Grant, err error) {
		return g, row.Scan(&g.Subject, &g.Role, &g.Region, &g.Until)
	})
}
