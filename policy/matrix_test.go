package policy

import (
	"fmt"
	"strings"
)

// matrix writes out what the policy allows: a line for each role, relation and class that anything is allowed in, with the actions
// and, where not every purpose will do, the purposes. What has no line is denied. It is asked of the policy itself, question by
// question, and read from no table.
func matrix() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# role | relation | class | actions; in brackets the only purposes. What has no line is denied. %d roles, %d relations, %d classes, %d actions, %d purposes.\n",
		len(Roles())+1, len(Relations()), len(Classes()), len(Actions()), len(Purposes()))
	for _, role := range append(Roles(), SystemRole, VolunteerRole) {
		for _, relation := range Relations() {
			for _, class := range Classes() {
				if actions := allowedActions(role, relation, class); actions != "" {
					fmt.Fprintf(&out, "%s | %s | %s | %s\n", role, relation, class, actions)
				}
			}
		}
	}
	return out.String()
}

func allowedActions(role Role, relation Relation, class Class) string {
	var out []string
	for _, action := range Actions() {
		var purposes []string
		for _, purpose := range Purposes() {
			var m Mask
			m.add(roleMask(role, relation, purpose))
			if m.May(action, class) {
				purposes = append(purposes, string(purpose))
			}
		}
		switch len(purposes) {
		case 0:
		case len(Purposes()):
			out = append(out, string(action))
		default:
			out = append(out, fmt.Sprintf("%s[%s]", action, strings.Join(purposes, " ")))
		}
	}
	return strings.Join(out, " ")
}
