// Package policy decides who may do what with which class of data, where and why. It is a pure decision: the caller
// reads the record, says in which relation the actor stands to it, and acts only if the answer allows it.
//
// It guarantees that what no line of the policy allows is denied, that a denying line beats every allowing one, that an
// error counts as a denial, and that a Policy never changes: when grants change, a new one is built and takes its place,
// so a decision is never made over a half-loaded table. casbin's types do not leave this package.
package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Role is what a person may be made in a region.
type Role string

// The roles that can be granted. What each may do is in policy.csv; docs/access.md tells it in words.
const (
	Station               Role = "station"                // 村（社区）工作站: enters forms, sees what it entered
	Registrar             Role = "registrar"              // 登记员: runs drives, enters forms, ends wishes
	CountyOffice          Role = "county_office"          // 县级红十字会
	CityOffice            Role = "city_office"            // 市级红十字会
	ProvincialOffice      Role = "provincial_office"      // 省级红十字会（器官捐献办公室）
	Coordinator           Role = "coordinator"            // 造血干细胞协调员: carries stem-cell cases on the donor's side
	OrganCoordinator      Role = "organ_coordinator"      // 人体器官捐献协调员, of the Red Cross
	OPOCoordinator        Role = "opo_coordinator"        // 器官获取组织协调员
	HospitalReporter      Role = "hospital_reporter"      // 医院信息员: reports a potential donor
	CollectionHospital    Role = "collection_hospital"    // 采集医院
	TransplantHospital    Role = "transplant_hospital"    // 移植医院
	Laboratory            Role = "laboratory"             // 分型实验室
	EthicsMember          Role = "ethics_member"          // 伦理委员会委员
	Receiver              Role = "receiver"               // 遗体、角膜接收单位
	BloodImporter         Role = "blood_importer"         // 血站数据导入员
	FamilyLiaison         Role = "family_liaison"         // 家属关怀专员
	MemorialEditor        Role = "memorial_editor"        // 缅怀纪念编辑
	AidReviewer           Role = "aid_reviewer"           // 人道救助审核员
	Bridge                Role = "bridge"                 // 资料库管理中心: the only one that holds both sides of a case
	Auditor               Role = "auditor"                // 审计员: reads who did what, never what it was about
	SystemAdministrator   Role = "system_administrator"   // 系统管理员: organisations and accounts
	SecurityAdministrator Role = "security_administrator" // 安全管理员: grants, keys, sessions
	AuditAdministrator    Role = "audit_administrator"    // 审计管理员: keeps, verifies and hands out the audit
	// SystemRole is what the protocols act as. It cannot be granted.
	SystemRole Role = "system"
	// VolunteerRole is what whoever has the public form of a drive open acts as. It cannot be granted.
	VolunteerRole Role = "volunteer"
)

// Roles lists the roles that can be granted to people.
func Roles() []Role {
	return []Role{
		Station, Registrar, CountyOffice, CityOffice, ProvincialOffice, Coordinator, OrganCoordinator, OPOCoordinator, HospitalReporter, CollectionHospital,
		TransplantHospital, Laboratory, EthicsMember, Receiver, BloodImporter, FamilyLiaison, MemorialEditor, AidReviewer, Bridge, Auditor, SystemAdministrator,
		SecurityAdministrator, AuditAdministrator,
	}
}

// Class is a class of data; the policy speaks of classes, not of fields. Every field that can leave the registry names
// its class.
type Class string

// The classes.
const (
	Registration Class = "registration" // that somebody is registered: number, programme, status, office
	Identity     Class = "identity"     // names and numbers of documents
	Contact      Class = "contact"      // phones, addresses, relatives
	Demographics Class = "demographics" // year of birth, sex, blood group, where somebody lives
	HLA          Class = "hla"
	Health       Class = "health"
	Consent      Class = "consent"
	Specimen     Class = "specimen"
	Case         Class = "case"
	Patient      Class = "patient"
	Search       Class = "search"
	Link         Class = "link"     // which donor belongs to which patient
	Referral     Class = "referral" // a potential organ donor, before the case is closed
	Family       Class = "family"
	Memorial     Class = "memorial"
	Aid          Class = "aid"
	Rights       Class = "rights" // what people ask about their own data
	Drive        Class = "drive"
	Intake       Class = "intake"
	Organisation Class = "organisation"
	Staff        Class = "staff" // accounts
	Granting     Class = "grant" // who holds which role
	Key          Class = "key"
	Notice       Class = "notice"
	Review       Class = "review" // of emergency access, of texts that were held, of exports
	Audit        Class = "audit"
	Statistics   Class = "statistics" // numbers of many, of whom nobody can be told apart
)

// Classes lists every class.
func Classes() []Class {
	return []Class{
		Registration, Identity, Contact, Demographics, HLA, Health, Consent, Specimen, Case, Patient, Search, Link, Referral, Family, Memorial, Aid, Rights,
		Drive, Intake, Organisation, Staff, Granting, Key, Notice, Review, Audit, Statistics,
	}
}

// Protected lists the classes that may be opened in an emergency (break-glass) by who may not read them otherwise. The
// link between donor and patient is not among them and never will be.
func Protected() []Class { return []Class{Identity, Contact, Health} }

// Action is what is done with a class of data.
type Action string

// The actions. Read gives personal text masked; Reveal gives the text itself; Decide answers a task or starts, stops
// or undoes something; Export takes many records out at once; BreakGlass opens a protected class in an emergency.
const (
	Find       Action = "find"
	Read       Action = "read"
	Reveal     Action = "reveal"
	Write      Action = "write"
	Decide     Action = "decide"
	Export     Action = "export"
	BreakGlass Action = "breakglass"
)

// Actions lists every action.
func Actions() []Action { return []Action{Find, Read, Reveal, Write, Decide, Export, BreakGlass} }

// Relation is how the actor stands to the record.
type Relation string

// The relations, strongest first.
const (
	Assigned    Relation = "assigned"     // the task or case is the actor's, or the actor's office's; what the actor entered lately
	Team        Relation = "team"         // the record belongs to a drive in whose team the actor is, until its tubes have left
	Site        Relation = "site"         // the record is at the actor's organisation
	Referred    Relation = "referred"     // shared with the actor's office for a time
	ServiceArea Relation = "service_area" // the record lies in the area that the actor's organisation serves
	InRegion    Relation = "region"       // the record lies in the region of a grant
	Self        Relation = "self"
	Kin         Relation = "kin"
	None        Relation = "none"
)

// Relations lists every relation.
func Relations() []Relation {
	return []Relation{Assigned, Team, Site, Referred, ServiceArea, InRegion, Self, Kin, None}
}

// Purpose is why the actor looks.
type Purpose string

// The purposes.
const (
	ForEnrolment      Purpose = "enrolment"
	ForCase           Purpose = "case"
	ForSearch         Purpose = "search"
	ForFollowUp       Purpose = "follow_up"
	ForFamily         Purpose = "family"
	ForRights         Purpose = "rights"
	ForEmergency      Purpose = "emergency"
	ForAudit          Purpose = "audit"
	ForAdministration Purpose = "administration"
)

// Purposes lists every purpose.
func Purposes() []Purpose {
	return []Purpose{ForEnrolment, ForCase, ForSearch, ForFollowUp, ForFamily, ForRights, ForEmergency, ForAudit, ForAdministration}
}

// Grant makes a subject a role within a region until an instant. Serves are the regions that the subject's organisation serves
// beside its own: they are the subject's, and come with each of the grants.
type Grant struct {
	Subject string
	Role    Role
	Region  string
	Until   time.Time
	Serves  []string
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
	revision int64
	expires  time.Time // when the first of its grants ends
	holdings map[string][]Grant
	open     bool // see WideOpen
}

// System is the subject that the protocols act as.
const System = "system"

// Volunteer is the subject that whoever has a drive's public form open acts as: one for all of them, because it is nobody yet.
const Volunteer = "volunteer"

const nation = "000000"

// New builds a policy from the grants in force at an instant; those that have ended are left out.
func New(grants []Grant, revision int64, now time.Time) (*Policy, error) {
	if _, err := enforcerOf(part{SystemRole, Audit}); err != nil { // of the files in the program, which tests read whole
		return nil, err
	}
	p := &Policy{revision: revision, holdings: map[string][]Grant{
		System:    {{Subject: System, Role: SystemRole, Region: nation}},
		Volunteer: {{Subject: Volunteer, Role: VolunteerRole, Region: nation}},
	}}
	for _, g := range grants {
		if g.Role == SystemRole || g.Role == VolunteerRole || !g.Until.After(now) {
			continue
		}
		p.holdings[g.Subject] = append(p.holdings[g.Subject], g)
		if p.expires.IsZero() || g.Until.Before(p.expires) {
			p.expires = g.Until
		}
	}
	return p, nil
}

// WideOpen is a policy that allows everything, for the test that what the database refuses does not depend on this package. In a
// program that is no test there is none.
func WideOpen(grants []Grant, revision int64, now time.Time) (*Policy, error) {
	if !testing.Testing() {
		return nil, errors.New("policy: wide open outside of a test")
	}
	p, err := New(grants, revision, now)
	if err == nil {
		p.open = true
	}
	return p, err
}

// Current tells whether the policy still speaks for a revision of the grants at an instant. A policy that does not must
// be replaced before the next decision.
func (p *Policy) Current(revision int64, now time.Time) bool {
	return p.revision == revision && (p.expires.IsZero() || now.Before(p.expires))
}

// Revision is the revision of the grants that the policy was built from.
func (p *Policy) Revision() int64 { return p.revision }

// Regions lists the regions in which a subject has any role: where a list has to look.
func (p *Policy) Regions(subject string) []string {
	if p.open {
		return []string{nation}
	}
	var out []string
	for _, g := range p.holdings[subject] {
		if !slices.Contains(out, g.Region) {
			out = append(out, g.Region)
		}
	}
	return out
}

// Serves lists the regions that a subject's organisation serves, while the subject has any role.
func (p *Policy) Serves(subject string) []string {
	if held := p.holdings[subject]; len(held) > 0 {
		return held[0].Serves
	}
	return nil
}

// Places lists the regions in which a subject has a role that reaches donors by place, or by whom the organisation serves: what
// the database lets through.
func (p *Policy) Places(subject string) []string { return p.places(subject, personal) }

// Watches lists the regions in which a subject has a role that hears of things without reaching people: an administrator who is
// told, or reads reviews.
func (p *Policy) Watches(subject string) []string { return p.places(subject, heard) }

// Reaches tells whether a subject has a role that may do anything with what is about people in a relation, wherever.
func (p *Policy) Reaches(subject string, relation Relation) bool {
	return slices.ContainsFunc(p.holdings[subject], func(g Grant) bool { return allowsAny(g.Role, relation, personal) })
}

func (p *Policy) places(subject string, classes []Class) []string {
	var out []string
	for _, g := range p.holdings[subject] {
		if allowsAny(g.Role, InRegion, classes) {
			out = append(out, g.Region)
		}
		if allowsAny(g.Role, ServiceArea, classes) {
			out = append(out, g.Serves...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Held lists the grants of a subject that are in force.
func (p *Policy) Held(subject string) []Grant { return slices.Clone(p.holdings[subject]) }

// Holds tells whether a subject has a role in a region or an ancestor of it; region is as in a Question.
func (p *Policy) Holds(subject string, role Role, region []string) bool {
	return slices.ContainsFunc(p.holdings[subject], func(g Grant) bool { return g.Role == role && slices.Contains(region, g.Region) })
}

// Decide answers a question.
func (p *Policy) Decide(q Question) Decision {
	return p.Mask(q.Subject, q.Region, q.Relation, q.Purpose).Decide(q.Class, q.Action)
}

// Mask is every decision about a subject that stands in a relation to a record of a region and has a purpose. The region and its
// ancestors count alike: a role anywhere on the way up allows, and one denying line is final.
func (p *Policy) Mask(subject string, region []string, relation Relation, purpose Purpose) Mask {
	m := Mask{revision: p.revision, open: p.open}
	for _, g := range p.holdings[subject] {
		if slices.Contains(region, g.Region) {
			m.add(roleMask(g.Role, relation, purpose))
		}
	}
	return m
}

// OfPlace tells whether a role reaches people by the place they live in: whether any line allows it something of a person
// in the relation region.
func OfPlace(role Role) bool { return allowsAny(role, InRegion, personal) }

type reachKey struct {
	role     Role
	relation Relation
	first    Class // of the classes
}

// reaching are the answers of allowsAny, which every act begins with. Like masks they depend on the policy file alone.
var reaching sync.Map // reachKey → bool

// allowsAny tells whether any line allows a role anything of the classes in a relation, for whatever purpose.
func allowsAny(role Role, relation Relation, classes []Class) bool {
	key := reachKey{role, relation, classes[0]}
	if known, ok := reaching.Load(key); ok {
		return known.(bool)
	}
	allows := slices.ContainsFunc(Purposes(), func(purpose Purpose) bool {
		m := Mask{}
		m.add(roleMask(role, relation, purpose))
		return slices.ContainsFunc(classes, func(class Class) bool {
			return slices.ContainsFunc(Actions(), func(action Action) bool { return m.May(action, class) })
		})
	})
	reaching.Store(key, allows)
	return allows
}

// personal are the classes of rows about a person, or about what was done for one; heard are those of what somebody is told.
var (
	personal = []Class{Registration, Identity, Contact, Demographics, HLA, Health, Consent, Specimen, Case, Referral, Family, Aid, Rights, Drive, Intake}
	heard    = []Class{Notice, Review}
)

// Fingerprint is the hash of the model and the policy's tables, which a service logs when it starts.
func Fingerprint() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{modelText, policyText, grantingText, separationText}, "\x00")))
	return hex.EncodeToString(sum[:])
}

// everKey asks what a role allows at all: for a purpose, or for whatever purpose where it is empty.
type everKey struct {
	role    Role
	purpose Purpose
}

var evers sync.Map // everKey → *bits

func ever(key everKey) *bits {
	if known, ok := evers.Load(key); ok {
		return known.(*bits)
	}
	purposes := []Purpose{key.purpose}
	if key.purpose == "" {
		purposes = Purposes()
	}
	var out bits
	for _, relation := range Relations() {
		for _, purpose := range purposes {
			v := roleMask(key.role, relation, purpose)
			for i := range out {
				out[i] |= v.allowed[i] &^ v.denied[i]
			}
		}
	}
	kept, _ := evers.LoadOrStore(key, &out)
	return kept.(*bits)
}

// Ever tells whether one of a subject's roles may do an action with a class at all, in some relation, for a purpose or (where it is empty) for
// any. It is what a menu asks; whoever acts asks Decide.
func (p *Policy) Ever(subject string, action Action, class Class, purpose Purpose) bool {
	if p.open {
		return true
	}
	i, known := place(class, action)
	for _, g := range p.holdings[subject] {
		if known && ever(everKey{g.Role, purpose}).has(i) {
			return true
		}
	}
	return false
}
