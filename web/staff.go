package web

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
)

// staffPages are the accounts of those who work here and of other systems, and what they may do.
func (s *Site) staffPages() {
	s.page("GET /admin/staff", s.staff)
	s.act("POST /admin/staff", s.addStaff)
	s.act("POST /admin/machines", s.addMachine)
	s.page("GET /admin/staff/{id}", s.member)
	s.act("POST /admin/staff/{id}/change", s.changeStaff)
	s.act("POST /admin/staff/{id}/grants", s.grantRole)
	s.act("POST /admin/staff/{id}/grants/end", s.endGrant)
	s.act("POST /admin/staff/{id}/reset-password", s.resetPassword)
	s.act("POST /admin/staff/{id}/tokens", s.addToken)
	s.act("POST /admin/staff/{id}/tokens/{token}/revoke", s.revokeToken)
	for what, do := range map[string]func(context.Context, registry.Actor, uuid.UUID) error{
		"deactivate": s.store.DeactivateStaff, "reactivate": s.store.ReactivateStaff, "unlock": s.store.UnlockStaff, "reset-factor": s.store.ResetFactor, "end-sessions": s.store.EndSessions,
	} {
		s.act("POST /admin/staff/{id}/"+what, func(v *Visit) (Answer, error) {
			id, err := v.ID("id")
			if err == nil {
				err = do(v, v.Actor, id)
			}
			if err != nil {
				return nil, err
			}
			return v.To("/admin/staff/"+id.String(), staffSaid[what]), nil
		})
	}
}

// staffSaid is what is said when something was done with an account.
var staffSaid = map[string]string{
	"deactivate": "said.staff_ended", "reactivate": "said.staff_again", "unlock": "said.staff_unlocked", "reset-factor": "said.factor_taken", "end-sessions": "said.sessions_ended",
}

// staffShown is all that the list of accounts shows.
type staffShown struct {
	list    []registry.StaffView
	next    string
	office  string // whose people are shown, when the list is narrowed to one
	person  *Filled
	machine *Filled
}

func (s *Site) staff(v *Visit) (Answer, error) {
	return s.staffAgain(v, Blank(v, registry.StaffForm{Organisation: v.QueryID("organisation"), Locale: "zh-CN"}), nil)
}

func (s *Site) staffAgain(v *Visit, person, machine *Filled) (Answer, error) {
	f := registry.StaffFilter{Text: v.Query("q"), Organisation: v.QueryID("organisation"), Role: policy.Role(v.Query("role")), After: v.QueryID("after"), Limit: listed}
	list, err := s.store.SearchStaff(v, v.Actor, f)
	if err != nil {
		return nil, err
	}
	shown := staffShown{list: list, person: person, machine: machine}
	if len(list) == listed {
		shown.next = list[listed-1].ID.String()
	}
	if f.Organisation != uuid.Nil {
		o, err := s.store.ShowOrganisation(v, v.Actor, f.Organisation)
		if err != nil {
			return nil, err
		}
		shown.office = o.Name
	}
	if v.May(policy.Write, policy.Staff) {
		offices, err := s.officeOptions(v, f.Organisation)
		if err != nil {
			return nil, err
		}
		if shown.person == nil {
			shown.person = Blank(v, registry.StaffForm{Locale: "zh-CN"})
		}
		if shown.machine == nil {
			shown.machine = Blank[registry.MachineForm](v)
		}
		shown.person.Apart("person").Choose("organisation", offices).Without("one_time").Hint("login", v.Say("staff.login_hint")).Hint("password", v.Say("staff.password_hint"))
		shown.machine.Apart("machine").Choose("organisation", offices).Call("name", v.Say("staff.machine_name")).Hint("name", v.Say("staff.machine_name_hint"))
	}
	return v.Page("page.staff", staffPage(v, shown)), nil
}

func (s *Site) addStaff(v *Visit) (Answer, error) {
	f, filled := Read[registry.StaffForm](v)
	if filled.Good() {
		f.OneTime = true // whoever enters somebody knows the password
		id, err := s.newStaff(v, f)
		if err == nil {
			return v.To("/admin/staff/"+id.String(), "said.staff_added"), nil
		}
		if !filled.Takes(err) && !filled.taken(err) {
			return nil, err
		}
	}
	filled.values.Del("password")
	return s.staffAgain(v, filled, nil)
}

func (s *Site) newStaff(v *Visit, f registry.StaffForm) (id uuid.UUID, err error) {
	err = s.front.Checking(v, func(ctx context.Context) error {
		id, err = s.store.AddStaff(ctx, v.Actor, f)
		return err
	})
	return id, err
}

// taken shows beside the login that somebody has it.
func (f *Filled) taken(err error) bool {
	if registry.CodeOf(err) != "login_taken" {
		return false
	}
	f.Wrong(forms.Problem{Code: "R199", Field: "login"})
	return true
}

func (s *Site) addMachine(v *Visit) (Answer, error) {
	f, filled := Read[registry.MachineForm](v)
	if filled.Good() {
		id, err := s.store.AddMachine(v, v.Actor, f)
		if err == nil {
			return v.To("/admin/staff/"+id.String(), "said.machine_added"), nil
		}
		if !filled.Takes(err) && !filled.taken(err) {
			return nil, err
		}
	}
	return s.staffAgain(v, nil, filled)
}

// memberShown is all that the page of an account shows.
type memberShown struct {
	registry.StaffView
	grants  []registry.GrantLine // who gave each and when, for who may know
	tokens  []registry.TokenLine
	own     bool // the reader's own account: others look after it
	writes  bool // may enter and end accounts
	decides bool // may let people in
	change  *Filled
	grant   *Filled // nil for who gives no role
	token   *Filled
	once    string // a password or a token that is shown once
	says    string // what went wrong
}

func (m memberShown) machine() bool { return m.Kind == "machine" }

func (s *Site) member(v *Visit) (Answer, error) { return s.memberAgain(v, memberShown{}) }

func (s *Site) memberAgain(v *Visit, m memberShown) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	if m.StaffView, err = s.store.ShowStaff(v, v.Actor, id); err != nil {
		return nil, err
	}
	m.own, m.writes, m.decides = id == v.Actor.Staff(), v.May(policy.Write, policy.Staff), v.May(policy.Decide, policy.Staff)
	if v.May(policy.Read, policy.Granting) {
		if m.grants, err = s.store.ListGrants(v, v.Actor, m.Login, uuid.Nil, 200); err != nil {
			return nil, err
		}
	}
	if m.machine() {
		if m.tokens, err = s.store.ListTokens(v, v.Actor, id); err != nil {
			return nil, err
		}
	}
	if m.writes && !m.own {
		offices, err := s.officeOptions(v, m.Organisation)
		if err != nil {
			return nil, err
		}
		if m.change == nil {
			m.change = Blank(v, registry.StaffChange{Name: m.Name, Organisation: m.Organisation, Locale: m.Locale})
		}
		m.change.Apart("change").Choose("organisation", offices).Hint("organisation", v.Say("staff.organisation_hint"))
	}
	if gives := v.abilities().Gives(); len(gives) > 0 && v.May(policy.Write, policy.Granting) && !m.own {
		if m.grant == nil {
			m.grant = Blank(v, registry.GrantForm{Region: m.Region, Until: s.longestGrant(v, gives)})
		}
		options := []Option{}
		for _, role := range gives {
			options = append(options, Option{Value: string(role), Label: v.Word("Role", role)})
		}
		m.grant.Apart("grant").Without("login").Choose("role", options).Call("region", v.Say("admin.region")).Hint("region", v.Say("staff.grant_region_hint")).
			Call("until", v.Say("staff.until")).Hint("until", v.Say("staff.until_hint"))
	}
	if m.machine() && m.decides {
		m.token = tokenForm(v, m.token)
	}
	if m.once != "" {
		v.SetHeader("Cache-Control", "no-store")
	}
	return v.Page("page.member", memberPage(v, m), "Name", m.Name), nil
}

// longestGrant is what a form for a grant begins with: a year, or as long as the reader's own.
func (s *Site) longestGrant(v *Visit, gives []policy.Role) time.Time {
	until := time.Now().AddDate(1, 0, 0)
	for _, g := range v.abilities().Held() {
		if slices.ContainsFunc(gives, func(role policy.Role) bool { return policy.Gives(g.Role, role) }) && g.Until.Before(until) {
			until = g.Until
		}
	}
	return until.Truncate(time.Minute)
}

func (s *Site) changeStaff(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, filled := Read[registry.StaffChange](v)
	if filled.Good() {
		_, err := s.store.ChangeStaff(v, v.Actor, id, v.FieldInt("version"), f)
		if err == nil {
			return v.To("/admin/staff/"+id.String(), "said.staff_changed"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.memberAgain(v, memberShown{change: filled})
}

// notToGive are what stands against a grant besides its form: the policy's tables of who gives what, and of what goes together.
func notToGive(err error) bool {
	return slices.Contains([]string{"grant_to_oneself", "grant_not_held", "roles_apart"}, registry.CodeOf(err))
}

func (s *Site) grantRole(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	who, err := s.store.ShowStaff(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	v.form.Set("login", who.Login)
	f, filled := Read[registry.GrantForm](v)
	m := memberShown{grant: filled}
	if filled.Good() {
		_, err := s.store.GrantRole(v, v.Actor, f)
		switch {
		case err == nil:
			return v.To("/admin/staff/"+id.String(), "said.role_given"), nil
		case notToGive(err):
			v.refused, m.says = true, v.sentence(err)
		case !filled.Takes(err):
			return nil, err
		}
	}
	return s.memberAgain(v, m)
}

func (s *Site) endGrant(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	who, err := s.store.ShowStaff(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	switch err := s.store.RevokeRole(v, v.Actor, who.Login, policy.Role(v.Field("role")), identity.Region(v.Field("region"))); {
	case err == nil:
		return v.To("/admin/staff/"+id.String(), "said.role_ended"), nil
	case notToGive(err):
		v.refused = true
		return s.memberAgain(v, memberShown{says: v.sentence(err)})
	default:
		return nil, err
	}
}

func (s *Site) resetPassword(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	var once string
	err = s.front.Checking(v, func(ctx context.Context) (err error) {
		once, err = s.store.ResetPassword(ctx, v.Actor, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.memberAgain(v, memberShown{once: once})
}

func (s *Site) addToken(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	made, filled, err := s.makeToken(v, id)
	if err != nil {
		return nil, err
	}
	return s.memberAgain(v, memberShown{token: filled, once: made.Token})
}

func (s *Site) revokeToken(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	token, err := v.ID("token")
	if err == nil {
		err = s.store.RevokeToken(v, v.Actor, token)
	}
	if err != nil {
		return nil, err
	}
	return v.To("/admin/staff/"+id.String(), "said.token_revoked"), nil
}

// tokenForm is the form for a token of a program.
func tokenForm(v *Visit, f *Filled) *Filled {
	if f == nil {
		f = Blank(v, registry.TokenForm{Days: 90})
	}
	options := []Option{}
	for _, scope := range v.site.scopes {
		options = append(options, Option{Value: scope, Label: scope})
	}
	return f.Apart("token").Choose("scopes", options).Call("name", v.Say("account.token_name")).Hint("scopes", v.Say("account.scopes_hint")).Hint("days", v.Say("account.days_hint"))
}

// makeToken makes a token of somebody's form; the form comes back when something is wrong with it.
func (s *Site) makeToken(v *Visit, owner uuid.UUID) (registry.NewToken, *Filled, error) {
	f, filled := Read[registry.TokenForm](v)
	if filled.Good() && slices.ContainsFunc(f.Scopes, func(scope string) bool { return !slices.Contains(s.scopes, scope) }) {
		filled.Wrong(forms.Problem{Code: "R114", Field: "scopes"})
	}
	if !filled.Good() {
		return registry.NewToken{}, filled, nil
	}
	made, err := s.store.AddToken(v, v.Actor, owner, f)
	if err == nil {
		return made, nil, nil
	}
	if !filled.Takes(err) {
		return registry.NewToken{}, nil, err
	}
	return registry.NewToken{}, filled, nil
}

// staffState is whether somebody can work: its tone and the name of its sentence.
func staffState(m registry.StaffView) (tone, says string) {
	switch {
	case !m.Active:
		return "faint", "staff.ended"
	case m.LockedUntil != nil:
		return "bad", "staff.locked"
	case m.MustChange:
		return "fair", "staff.must_change"
	case len(m.Roles) == 0:
		return "fair", "staff.no_role"
	}
	return "good", "staff.works"
}

// grantsOf are somebody's roles: with who gave them for who may know, else as the account names them.
func grantsOf(m memberShown) []registry.GrantLine {
	if len(m.grants) > 0 {
		return m.grants
	}
	out := make([]registry.GrantLine, len(m.Roles))
	for i, r := range m.Roles {
		out[i] = registry.GrantLine{Role: r.Role, Region: r.Region, Until: r.Until}
	}
	return out
}

// givenBy names who gave a role.
func givenBy(v *Visit, g registry.GrantLine) string {
	switch {
	case g.GivenBy != "":
		return g.GivenBy
	case g.GrantedBy != "":
		return v.Say("staff.given_at_machine")
	}
	return ""
}

// soon tells whether something ends within a month.
func soon(at time.Time) bool { return time.Until(at) < 30*24*time.Hour }

func roleWords() []string {
	out := make([]string, 0, len(policy.Roles()))
	for _, role := range policy.Roles() {
		out = append(out, string(role))
	}
	return out
}
