// Package policy decides who may do what with which class of data, where and why. It is a pure decision: the caller
// reads the record, says in which relation the actor stands to it, and acts only if the answer allows it.
//
// It guarantees that what no line of the policy allows is denied, that a denying line beats every allowing one, that an
// error counts as a denial, and that a Policy never changes: when grants change, a new one is built and takes its place,
// so a decision is never made over a half-loaded table. casbin's types do not leave this package.
package policy

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"
)

//go:embed model.conf
var modelText string

//go:embed policy.csv
var policyText string

// Role is what a person may be made in a region.
type Role string

// The roles of the first release.
const (
	Registrar          Role = "registrar"
	Coordinator        Role = "coordinator"
	Laboratory         Role = "laboratory"
	CollectionHospital Role = "collection_hospital"
	TransplantHospital Role = "transplant_hospital"
	Auditor            Role = "auditor"
	Administrator      Role = "administrator"
	// SystemRole is what the protocols act as. It cannot be granted.
	SystemRole Role = "system"
)

// Roles lists the roles that can be granted to people.
func Roles() []Role {
	return []Role{Registrar, Coordinator, Laboratory, CollectionHospital, TransplantHospital, Auditor, Administrator}
}

// Class is a class of data; the policy speaks of classes, not of fields.
type Class string

// The classes.
const (
	Identity     Class = "identity" // names and numbers of documents
	Contact      Class = "contact"  // phones, addresses, relatives
	Demographics Class = "demographics"
	HLA          Class = "hla"
	Health       Class = "health"
	Consent      Class = "consent"
	Specimen     Class = "specimen"
	Case         Class = "case"
	Patient      Class = "patient"
	Search       Class = "search"
	Drive        Class = "drive"
	Intake       Class = "intake"
	Organisation Class = "organisation"
	Staff        Class = "staff"
	Notice       Class = "notice"
	Audit        Class = "audit"
)

// Classes lists every class.
func Classes() []Class {
	return []Class{Identity, Contact, Demographics, HLA, Health, Consent, Specimen, Case, Patient, Search, Drive, Intake, Organisation, Staff, Notice, Audit}
}

// Action is what is done with a class of data.
type Action string

// The actions. Read gives personal text masked; Reveal gives the text itself; Decide answers a task or starts, stops
// or undoes something.
const (
	Find   Action = "find"
	Read   Action = "read"
	Reveal Action = "reveal"
	Write  Action = "write"
	Decide Action = "decide"
)

// Actions lists every action.
func Actions() []Action { return []Action{Find, Read, Reveal, Write, Decide} }

// Relation is how the actor stands to the record.
type Relation string

// The relations, strongest first.
const (
	Assigned Relation = "assigned" // the task or case is the actor's, or the actor's office's
	Site     Relation = "site"     // the record is at the actor's organisation
	InRegion Relation = "region"   // the record lies in the region of a grant
	Self     Relation = "self"
	None     Relation = "none"
)

// Relations lists every relation.
func Relations() []Relation { return []Relation{Assigned, Site, InRegion, Self, None} }

// Purpose is why the actor looks.
type Purpose string

// The purposes.
const (
	ForEnrolment      Purpose = "enrolment"
	ForCase           Purpose = "case"
	ForSearch         Purpose = "search"
	ForFollowUp       Purpose = "follow_up"
	ForAudit          Purpose = "audit"
	ForAdministration Purpose = "administration"
)

// Purposes lists every purpose.
func Purposes() []Purpose {
	return []Purpose{ForEnrolment, ForCase, ForSearch, ForFollowUp, ForAudit, ForAdministration}
}

// Grant makes a subject a role within a region until an instant.
type Grant struct {
	Subject string
	Role    Role
	Region  string
	Until   time.Time
}

// Question is one thing that somebody wants to do.
type Question struct {
	Subject  string
	Region   []string // the region that decides, and its ancestors up to the nation
	Relation Relation
	Class    Class
	Action   Action
	Purpose  Purpose
}

// Decision is the answer, with what it rests on for the audit.
type Decision struct {
	Allowed  bool
	Rule     string // the line of the policy, empty when no line speaks of it
	Revision int64  // of the grants
}

// Policy is the reviewed policy file with the grants of one revision. It is immutable and safe for concurrent use.
type Policy struct {
	enforcer *casbin.Enforcer
	revision int64
	expires  time.Time // when the first of its grants ends
	regions  map[string][]string
	cache    sync.Map // Question's key → Decision
}

// System is the subject that the protocols act as.
const System = "system"

const nation = "000000"

// New builds a policy from the grants in force at an instant; those that have ended are left out.
func New(grants []Grant, revision int64, now time.Time) (*Policy, error) {
	m, err := model.NewModelFromString(modelText)
	if err != nil {
		return nil, fmt.Errorf("policy: the model: %w", err)
	}
	e, err := casbin.NewEnforcer(m, stringadapter.NewAdapter(withoutComments(policyText)))
	if err != nil {
		return nil, fmt.Errorf("policy: the policy file: %w", err)
	}
	e.EnableAutoSave(false)
	p := &Policy{enforcer: e, revision: revision, regions: map[string][]string{System: {nation}}}
	rows := [][]string{{System, string(SystemRole), nation}}
	for _, g := range grants {
		if g.Role == SystemRole || !g.Until.After(now) {
			continue
		}
		rows = append(rows, []string{g.Subject, string(g.Role), g.Region})
		if !slices.Contains(p.regions[g.Subject], g.Region) {
			p.regions[g.Subject] = append(p.regions[g.Subject], g.Region)
		}
		if p.expires.IsZero() || g.Until.Before(p.expires) {
			p.expires = g.Until
		}
	}
	// Two grants of one role in one region, with different ends, are one row here.
	if _, err := e.AddNamedGroupingPoliciesEx("g", rows); err != nil {
		return nil, fmt.Errorf("policy: the grants: %w", err)
	}
	return p, nil
}

// Current tells whether the policy still speaks for a revision of the grants at an instant. A policy that does not must
// be replaced before the next decision.
func (p *Policy) Current(revision int64, now time.Time) bool {
	return p.revision == revision && (p.expires.IsZero() || now.Before(p.expires))
}

// Revision is the revision of the grants that the policy was built from.
func (p *Policy) Revision() int64 { return p.revision }

// Regions lists the regions in which a subject has any role: where a list has to look.
func (p *Policy) Regions(subject string) []string { return p.regions[subject] }

// Holds tells whether a subject has a role in a region or an ancestor of it; region is as in a Question.
func (p *Policy) Holds(subject string, role Role, region []string) bool {
	for _, r := range region {
		if held, err := p.enforcer.GetRoleManager().HasLink(subject, string(role), r); err == nil && held {
			return true
		}
	}
	return false
}

type cacheKey struct {
	subject, region string
	relation        Relation
	class           Class
	action          Action
	purpose         Purpose
}

// Decide answers a question. The region and its ancestors are asked in turn: one allowing answer suffices, and one
// denying line anywhere is final.
func (p *Policy) Decide(q Question) Decision {
	key := cacheKey{q.Subject, strings.Join(q.Region, "/"), q.Relation, q.Class, q.Action, q.Purpose}
	if known, ok := p.cache.Load(key); ok {
		return known.(Decision)
	}
	d := Decision{Revision: p.revision}
	for _, region := range q.Region {
		allowed, rule, err := p.enforcer.EnforceEx(q.Subject, region, string(q.Relation), string(q.Class), string(q.Action), string(q.Purpose))
		if err != nil {
			return Decision{Rule: "error", Revision: p.revision} // not kept: the next question is asked afresh
		}
		if !allowed && len(rule) > 0 {
			d.Allowed, d.Rule = false, strings.Join(rule, ", ")
			break
		}
		if allowed && !d.Allowed {
			d.Allowed, d.Rule = true, strings.Join(rule, ", ")
		}
	}
	p.cache.Store(key, d)
	return d
}

// Fingerprint is the hash of the model and the policy file, which a service logs when it starts.
func Fingerprint() string {
	sum := sha256.Sum256([]byte(modelText + "\x00" + policyText))
	return hex.EncodeToString(sum[:])
}

func withoutComments(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}
