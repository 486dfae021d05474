package web

import (
	"cmp"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
)

// policyPages tell what the policy allows, and try it on somebody and something.
func (s *Site) policyPages() {
	s.page("GET /policy", s.matrix)
	s.page("GET /policy/simulator", s.simulator)
	s.act("POST /policy/simulator", s.simulate)
}

// matrixRow is what the policy allows a role with a class: by the action, the lines of it.
type matrixRow struct {
	head  string
	lines map[policy.Action][]registry.MatrixLine
}

// matrix is who may do what with which class: of a role every class, or of a class every role.
func (s *Site) matrix(v *Visit) (Answer, error) {
	role, class := policy.Role(v.Query("role")), policy.Class(v.Query("class"))
	var m registry.PolicyMatrix
	var err error
	if class != "" && role == "" {
		m, err = s.store.ShowClassMatrix(v, v.Actor, class)
	} else {
		role = cmp.Or(role, policy.Coordinator)
		m, err = s.store.ShowMatrix(v, v.Actor, role)
	}
	if err != nil {
		return nil, err
	}
	return v.Page("page.policy", matrixPage(v, m, role, class, matrixRows(v, m, role, class))), nil
}

func matrixRows(v *Visit, m registry.PolicyMatrix, role policy.Role, class policy.Class) []matrixRow {
	byClass := role != "" // the rows of a role are classes
	at := map[string]*matrixRow{}
	for _, l := range m.Lines {
		if byClass && class != "" && l.Class != class {
			continue
		}
		key := string(l.Role)
		if byClass {
			key = string(l.Class)
		}
		if at[key] == nil {
			at[key] = &matrixRow{lines: map[policy.Action][]registry.MatrixLine{}}
		}
		at[key].lines[l.Action] = append(at[key].lines[l.Action], l)
	}
	set, keys := "Role", texts(append(policy.Roles(), policy.SystemRole))
	if byClass {
		set, keys = "Class", texts(policy.Classes())
	}
	var out []matrixRow
	for _, key := range keys {
		if r := at[key]; r != nil {
			r.head = v.Word(set, key)
			out = append(out, *r)
		}
	}
	return out
}

// forPurposes are the purposes of a line in words.
func forPurposes(v *Visit, purposes []policy.Purpose) string {
	if len(purposes) == 0 {
		return v.Say("policy.any_purpose")
	}
	return wordsTogether(v, "Purposes", purposes)
}

func simulationForm(v *Visit, f *Filled) *Filled {
	return f.Hint("login", v.Say("policy.login_hint")).Call("role", v.Say("policy.or_role")).Choose("role", wordsOfAll(v, "Role", policy.Roles())).Call("region", v.Say("policy.role_region")).
		Hint("record", v.Say("policy.record_hint")).Call("relation", v.Say("policy.or_relation")).Choose("relation", wordsOfAll(v, "Relation", policy.Relations())).
		Call("at", v.Say("policy.lies_in")).Call("purpose", v.Say("audit.purpose")).Choose("purpose", wordsOfAll(v, "Purposes", policy.Purposes()))
}

// simulationShown is the simulator with what it told.
type simulationShown struct {
	form    *Filled
	told    *registry.Simulation
	allowed []registry.SimulatedLine
	denied  []registry.SimulatedLine // for which a line, a role or a purpose is near
	wrong   string
}

func (s *Site) simulator(v *Visit) (Answer, error) {
	// Who may not read the policy is not asked for anything either.
	if _, err := s.store.ShowMatrix(v, v.Actor, policy.Coordinator); err != nil {
		return nil, err
	}
	form := Blank(v, registry.SimulationForm{Login: v.Query("login"), Record: v.Query("record")})
	return v.Page("page.simulator", simulatorPage(v, simulationShown{form: simulationForm(v, form)})), nil
}

func (s *Site) simulate(v *Visit) (Answer, error) {
	f, filled := Read[registry.SimulationForm](v)
	out := simulationShown{form: simulationForm(v, filled)}
	if !filled.Good() {
		return v.Page("page.simulator", simulatorPage(v, out)), nil
	}
	told, err := s.store.SimulatePolicy(v, v.Actor, f)
	switch registry.CodeOf(err) {
	case "":
		if err != nil {
			return nil, err
		}
	case "record_not_found", "staff_not_found": // said beside the form: somebody mistyped
		out.wrong, v.refused = v.Locale.Say("error."+registry.CodeOf(err), argsOf(err)), true
		return v.Page("page.simulator", simulatorPage(v, out)), nil
	default:
		if filled.Takes(err) {
			return v.Page("page.simulator", simulatorPage(v, out)), nil
		}
		return nil, err
	}
	out.told = &told
	for _, l := range told.Lines {
		switch {
		case l.Allowed:
			out.allowed = append(out.allowed, l)
		case l.Why != "no_line": // what no line speaks of is not said a hundred times over
			out.denied = append(out.denied, l)
		}
	}
	return v.Page("page.simulator", simulatorPage(v, out)), nil
}

// whyLine is why the policy says what it says, in words.
func whyLine(v *Visit, l registry.SimulatedLine) string {
	says := v.Word("Why", l.Why)
	switch {
	case len(l.Purposes) > 0:
		says += v.Say("policy.namely", "What", wordsTogether(v, "Purposes", l.Purposes))
	case len(l.Relations) > 0:
		says += v.Say("policy.namely", "What", wordsTogether(v, "Relation", l.Relations))
	case l.Relation != "":
		says += v.Say("policy.namely", "What", v.Word("Relation", l.Relation)+" · "+v.Region(l.Region))
	}
	return says
}
