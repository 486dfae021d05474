package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
)

// What the policy allows, and why somebody may or may not do something: for those who watch over access. They learn what the policy says, and of
// a record nothing but that: one is only held against somebody when who asks knows it from rows of the audit that they read.

// MatrixLine is something that the policy allows.
type MatrixLine struct {
	Role     policy.Role      `json:"role" class:"grant" mask:"drop"`
	Relation policy.Relation  `json:"relation" class:"grant" mask:"drop"`
	Class    policy.Class     `json:"class" class:"grant" mask:"drop"`
	Action   policy.Action    `json:"action" class:"grant" mask:"drop"`
	Purposes []policy.Purpose `json:"purposes,omitempty" doc:"The only purposes that it is allowed for; absent where any will do." class:"grant" mask:"drop"`
	Line     int              `json:"line" doc:"Of the policy file." class:"grant" mask:"drop"`
}

// PolicyMatrix is what the policy allows a role.
type PolicyMatrix struct {
	Role        policy.Role  `json:"role" class:"grant" mask:"drop"`
	Fingerprint string       `json:"fingerprint" doc:"Of the policy's files." class:"grant" mask:"drop"`
	Lines       []MatrixLine `json:"lines" class:"grant" mask:"drop"`
}

// ShowMatrix returns what the policy allows a role: what is not in it is denied.
func (r *Reader) ShowMatrix(ctx context.Context, actor Actor, role policy.Role) (PolicyMatrix, error) {
	out, err := r.matrix(ctx, actor, "ShowMatrix", "role", role == policy.SystemRole || slices.Contains(policy.Roles(), role), func() []policy.Permission { return policy.Matrix(role) })
	out.Role = role
	return out, err
}

// ShowClassMatrix returns what the policy allows the roles, one after the other, with a class of data.
func (r *Reader) ShowClassMatrix(ctx context.Context, actor Actor, class policy.Class) (PolicyMatrix, error) {
	return r.matrix(ctx, actor, "ShowClassMatrix", "class", slices.Contains(policy.Classes(), class), func() (out []policy.Permission) {
		for _, role := range append(policy.Roles(), policy.SystemRole) {
			out = append(out, slices.DeleteFunc(policy.Matrix(role), func(p policy.Permission) bool { return p.Class != class })...)
		}
		return out
	})
}

// matrix is a part of the matrix, when there is such a field's value.
func (r *Reader) matrix(ctx context.Context, actor Actor, name, field string, known bool, part func() []policy.Permission) (PolicyMatrix, error) {
	var out PolicyMatrix
	err := r.act(ctx, actor, name, policy.ForAudit, func(_ context.Context, a *act) error {
		if err := a.permit(policy.Read, policy.Granting, record{kind: "policy", id: "matrix", region: a.actor.region}); err != nil {
			return err
		}
		if !known {
			return invalid(forms.Problems{{Code: "R114", Field: field}})
		}
		out = PolicyMatrix{Fingerprint: policy.Fingerprint(), Lines: []MatrixLine{}}
		for _, p := range part() {
			l := MatrixLine{p.Role, p.Relation, p.Class, p.Action, p.Purposes, policy.LineOf(p.Rule)}
			if len(l.Purposes) == len(policy.Purposes()) {
				l.Purposes = nil
			}
			out.Lines = append(out.Lines, l)
		}
		return nil
	})
	return out, err
}

// SimulationForm asks what somebody may do with something: a member of staff by their login, or anybody with a role in a region; with a record, or with
// whatever they stand to in a relation.
type SimulationForm struct {
	Login    string          `json:"login,omitempty" validate:"max=60" doc:"Of a member of staff; or a role."`
	Role     policy.Role     `json:"role,omitempty" validate:"required_without=Login" doc:"Anybody with this role …"`
	Region   identity.Region `json:"region,omitempty" validate:"required_with=Role,omitempty,region" doc:"… in this region."`
	Record   string          `json:"record,omitempty" validate:"max=80" doc:"donor: or case: and an id, as the audit names it, or a number. Only records that one knows from rows of the audit that one reads. Else a relation."`
	Relation policy.Relation `json:"relation,omitempty" validate:"required_without=Record" doc:"How they stand to something."`
	At       identity.Region `json:"at,omitempty" validate:"omitempty,region" doc:"Where it lies, for the relation region. The role's region when left out."`
	Purpose  policy.Purpose  `json:"purpose,omitempty" doc:"What for. case when left out."`
}

// Standing is a way in which somebody stands to something, and the region in which the policy decides it.
type Standing struct {
	Relation policy.Relation `json:"relation" class:"grant" mask:"drop"`
	Region   identity.Region `json:"region" class:"grant" mask:"drop"`
}

// SimulatedLine is what the policy says of an action on a class.
type SimulatedLine struct {
	Class     policy.Class      `json:"class" class:"grant" mask:"drop"`
	Action    policy.Action     `json:"action" class:"grant" mask:"drop"`
	Allowed   bool              `json:"allowed" class:"grant" mask:"drop"`
	Why       string            `json:"why" doc:"line: a line allows it. emergency: emergency access does. denied: a line denies it. ended: a grant that has ended or was revoked would have allowed it. purpose: only for other purposes. elsewhere: only in another region. relation: only to who stands otherwise to it. no_line: no line speaks of it." class:"grant" mask:"drop"`
	Relation  policy.Relation   `json:"relation,omitempty" doc:"By which it was decided." class:"grant" mask:"drop"`
	Region    identity.Region   `json:"region,omitempty" doc:"Where it was decided." class:"grant" mask:"drop"`
	Rule      string            `json:"rule,omitempty" doc:"The line that decided." class:"grant" mask:"drop"`
	Line      int               `json:"line,omitempty" doc:"Its number in the policy file." class:"grant" mask:"drop"`
	Purposes  []policy.Purpose  `json:"purposes,omitempty" doc:"For what it would be allowed." class:"grant" mask:"drop"`
	Relations []policy.Relation `json:"relations,omitempty" doc:"To whom it would be allowed." class:"grant" mask:"drop"`
}

// HeldRole is a role that somebody has or had.
type HeldRole struct {
	Role   policy.Role     `json:"role" class:"grant" mask:"drop"`
	Region identity.Region `json:"region" class:"grant" mask:"drop"`
	Until  time.Time       `json:"until" class:"grant" mask:"drop"`
}

// Simulation is what the policy says of somebody and something.
type Simulation struct {
	Roles     []HeldRole      `json:"roles" doc:"The roles in force that it rests on." class:"grant" mask:"drop"`
	Ended     []HeldRole      `json:"ended" doc:"Roles that have ended or were revoked." class:"grant" mask:"drop"`
	Inactive  bool            `json:"inactive,omitempty" doc:"The account was ended: nothing is allowed." class:"grant" mask:"drop"`
	Purpose   policy.Purpose  `json:"purpose" class:"grant" mask:"drop"`
	Standings []Standing      `json:"standings" doc:"How they stand to it, the strongest first." class:"grant" mask:"drop"`
	Lines     []SimulatedLine `json:"lines" class:"grant" mask:"drop"`
}

// anybody is the subject of a simulation that is about a role and no person.
const anybody = "anybody"

// simulated is whom a simulation is about.
type simulated struct {
	*act          // as they would act: nothing of it is written
	ended         *policy.Policy
	region        identity.Region // of the role, or of the office
	simulation    Simulation
	relation      policy.Relation // when it is about no record
	at            identity.Region
	of            record
	recordIsKnown bool
}

// SimulatePolicy tells what somebody may do with a record or in a relation, by which line of the policy, and what stands against the rest.
//
// Errors: NotFound for a member of staff outside of the actor's regions, and for a record that is in no row of the audit that the actor reads,
// whether or not there is one.
func (r *Reader) SimulatePolicy(ctx context.Context, actor Actor, f SimulationForm) (Simulation, error) {
	var out Simulation
	err := r.act(ctx, actor, "SimulatePolicy", policy.ForAudit, func(ctx context.Context, a *act) error {
		if err := a.permitList(policy.Granting, a.reachOf(policy.Read, policy.Granting), "policy", nil); err != nil {
			return err
		}
		problems := forms.Check(f)
		if f.Role != "" && !slices.Contains(policy.Roles(), f.Role) {
			problems = append(problems, forms.Problem{Code: "R114", Field: "role"})
		}
		if f.Relation != "" && !slices.Contains(policy.Relations(), f.Relation) {
			problems = append(problems, forms.Problem{Code: "R114", Field: "relation"})
		}
		if f.Purpose != "" && !slices.Contains(policy.Purposes(), f.Purpose) {
			problems = append(problems, forms.Problem{Code: "R114", Field: "purpose"})
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		s, err := a.simulate(ctx, f)
		if err != nil {
			return err
		}
		if f.Record != "" {
			if s.of, err = a.knownRecord(ctx, s.act, f.Record); err != nil {
				return err
			}
			s.recordIsKnown = true
		}
		out = s.explain()
		target := ""
		if s.recordIsKnown {
			target = s.of.target()
		}
		a.entries[len(a.entries)-1].Fields = strings.Join(slices.DeleteFunc([]string{
			a.narrowed("role", string(f.Role)), a.narrowed("relation", string(f.Relation)), a.narrowed("record", target), a.narrowed("staff", textOf(s.actor.staff)),
		}, func(s string) bool { return s == "" }), " ")
		return nil
	})
	if err != nil {
		return Simulation{}, err
	}
	return out, nil
}

// simulate finds whom a simulation is about.
func (a *act) simulate(ctx context.Context, f SimulationForm) (*simulated, error) {
	purpose := f.Purpose
	if purpose == "" {
		purpose = policy.ForCase
	}
	as := &act{Tx: a.Tx, Reader: a.Reader, name: a.name, purpose: purpose, at: a.at, policy: a.policy}
	s := &simulated{act: as, relation: f.Relation, at: f.At, simulation: Simulation{Purpose: purpose, Roles: []HeldRole{}, Ended: []HeldRole{}}}
	var ended []policy.Grant
	if f.Login == "" {
		if err := a.permit(policy.Read, policy.Granting, record{kind: "policy", id: "simulator", region: f.Region}); err != nil {
			return nil, err
		}
		s.region = f.Region
		as.actor = Actor{subject: anybody, staff: uuid.Max, region: f.Region}
		until := a.now().Add(24 * time.Hour)
		alone, err := policy.New([]policy.Grant{{Subject: anybody, Role: f.Role, Region: string(f.Region), Until: until}}, a.policy.Revision(), a.now())
		if err != nil {
			return nil, err
		}
		as.policy = alone
		s.simulation.Roles = []HeldRole{{f.Role, f.Region, until}}
	} else {
		v, err := a.readStaff(ctx, `WHERE lower(s.login) = lower($2)`, f.Login)
		if err != nil {
			return nil, err
		}
		if err := a.permit(policy.Read, policy.Granting, v.record()); err != nil {
			return nil, err
		}
		s.region = v.Region
		as.actor = Actor{subject: staffSubject(v.ID), staff: v.ID, organisation: v.Organisation, region: v.Region}
		s.simulation.Inactive = !v.Active
		var held []HeldRole
		for _, g := range v.Roles {
			held = append(held, HeldRole(g))
		}
		if v.Active {
			s.simulation.Roles = append(s.simulation.Roles, held...)
		}
		rows, err := a.Query(ctx, `SELECT role, region, until FROM role_grants WHERE staff_id = $1 AND (revoked_at IS NOT NULL OR until <= $2) ORDER BY until DESC LIMIT 50`, v.ID, a.now())
		if err != nil {
			return nil, err
		}
		if s.simulation.Ended, err = pgx.CollectRows(rows, pgx.RowToStructByPos[HeldRole]); err != nil {
			return nil, err
		}
		gone := s.simulation.Ended
		if !v.Active {
			gone = append(slices.Clone(gone), held...)
		}
		for _, g := range gone {
			ended = append(ended, policy.Grant{Subject: as.actor.subject, Role: g.Role, Region: string(g.Region), Until: a.now().Add(time.Hour)})
		}
	}
	var err error
	s.ended, err = policy.New(ended, 0, a.now())
	return s, err
}

// knownRecord reads what the policy is asked about for a record, as it looks to whom a simulation is about. Only what is in a row of the audit that the
// actor reads is found: whoever is not told that there is a record is not told so here.
func (a *act) knownRecord(ctx context.Context, as *act, named string) (record, error) {
	named = strings.TrimSpace(named)
	kind, id, _ := strings.Cut(named, ":")
	wanted, err := uuid.Parse(id)
	if err != nil || kind != "donor" && kind != "case" {
		err = a.QueryRow(ctx, `SELECT 'donor', id FROM registrations WHERE number = $1 UNION ALL SELECT 'case', id FROM cases WHERE number = $1 LIMIT 1`, named).Scan(&kind, &wanted)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return record{}, err
		}
		if err != nil {
			return record{}, a.absent("record", "")
		}
	}
	known := false
	within := a.reachOf(policy.Read, policy.Audit)
	err = a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM audit a WHERE a.target = $1 AND a.allowed AND EXISTS (SELECT FROM unnest($2::text[], $3::text[]) s(lo, hi) WHERE a.region >= lo AND a.region < hi))`,
		kind+":"+wanted.String(), within.lo, within.hi).Scan(&known)
	if err != nil {
		return record{}, err
	}
	if !known {
		return record{}, a.absent("record", "")
	}
	if kind == "case" {
		c, err := as.readCase(ctx, wanted, false)
		if err != nil {
			return record{}, a.gone(err)
		}
		seats, err := as.seats(ctx, wanted)
		return c.record(seats), err
	}
	row, err := as.readRegistration(ctx, wanted, "")
	if err != nil {
		return record{}, a.gone(err)
	}
	rec := row.record()
	return rec, as.standingsOf(ctx, &rec, wanted)
}

// gone is the error of a record that is in the audit and not in the register any more.
func (a *act) gone(err error) error {
	if KindOf(err) == NotFound {
		return a.absent("record", "")
	}
	return err
}

// ways are the standings that a simulation is about.
func (s *simulated) ways() []standing {
	switch {
	case s.recordIsKnown:
		return s.standings(s.of)
	case s.relation == policy.InRegion && s.at != "":
		return []standing{{s.relation, s.at}, {policy.None, s.region}}
	case s.relation == policy.None:
		return []standing{{s.relation, s.region}}
	default:
		return []standing{{s.relation, s.region}, {policy.None, s.region}}
	}
}

// maskUnder is every decision of a policy about whom a simulation is about, in some standings, for a purpose.
func (s *simulated) maskUnder(p *policy.Policy, ways []standing, purpose policy.Purpose) policy.Mask {
	var out policy.Mask
	for _, st := range ways {
		out = out.Union(p.Mask(s.actor.policySubject(), regionPath(st.region), st.relation, purpose))
	}
	return out
}

func (s *simulated) explain() Simulation {
	out := s.simulation
	ways := s.ways()
	for _, st := range ways {
		out.Standings = append(out.Standings, Standing{st.relation, st.region})
	}
	live, ended := s.maskUnder(s.policy, ways, s.purpose), s.maskUnder(s.ended, ways, s.purpose)
	for _, class := range policy.Classes() {
		for _, action := range policy.Actions() {
			out.Lines = append(out.Lines, s.line(class, action, ways, live, ended))
		}
	}
	return out
}

func (s *simulated) line(class policy.Class, action policy.Action, ways []standing, live, ended policy.Mask) SimulatedLine {
	l := SimulatedLine{Class: class, Action: action}
	d := live.Decide(class, action)
	l.Allowed, l.Rule = d.Allowed, d.Rule
	if d.Rule != "" {
		l.Line, l.Why = policy.LineOf(d.Rule), "line"
		if !d.Allowed {
			l.Why = "denied"
		}
		for _, st := range ways {
			if own := s.policy.Mask(s.actor.policySubject(), regionPath(st.region), st.relation, s.purpose).Decide(class, action); own.Rule == d.Rule {
				l.Relation, l.Region = st.relation, st.region
				break
			}
		}
		return l
	}
	if s.recordIsKnown {
		if lease, ok := s.leaseOn(s.of, action, class); ok {
			l.Allowed, l.Why, l.Rule = true, "emergency", leaseRule+lease.ID.String()
			return l
		}
	}
	if d := ended.Decide(class, action); d.Allowed {
		l.Why, l.Rule, l.Line = "ended", d.Rule, policy.LineOf(d.Rule)
		return l
	}
	for _, purpose := range policy.Purposes() {
		if s.maskUnder(s.policy, ways, purpose).May(action, class) {
			l.Purposes = append(l.Purposes, purpose)
		}
	}
	if len(l.Purposes) > 0 {
		l.Why = "purpose"
		return l
	}
	for _, g := range s.policy.Held(s.actor.policySubject()) {
		if s.policy.Mask(s.actor.policySubject(), regionPath(identity.Region(g.Region)), policy.InRegion, s.purpose).May(action, class) {
			l.Why = "elsewhere"
			return l
		}
	}
	for _, relation := range policy.Relations() {
		if s.maskUnder(s.policy, []standing{{relation, s.region}, {policy.None, s.region}}, s.purpose).May(action, class) {
			l.Relations = append(l.Relations, relation)
		}
	}
	l.Why = "no_line"
	if len(l.Relations) > 0 {
		l.Why = "relation"
	}
	return l
}
