package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// matrix writes out what the policy allows: a line for each role, relation and class that anything is allowed in, with the actions
// and, where not every purpose will do, the purposes. What has no line is denied.
func matrix() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# role | relation | class | actions; in brackets the only purposes. What has no line is denied. %d roles, %d relations, %d classes, %d actions, %d purposes.\n",
		len(Roles())+1, len(Relations()), len(Classes()), len(Actions()), len(Purposes()))
	for _, role := range append(Roles(), SystemRole, VolunteerRole) {
		list := Matrix(role)
		for i, p := range list {
			if i == 0 || list[i-1].Relation != p.Relation || list[i-1].Class != p.Class {
				if i > 0 {
					out.WriteString("\n")
				}
				fmt.Fprintf(&out, "%s | %s | %s |", role, p.Relation, p.Class)
			}
			fmt.Fprintf(&out, " %s", p.Action)
			if len(p.Purposes) < len(Purposes()) {
				fmt.Fprintf(&out, "%s", strings.Replace(fmt.Sprint(p.Purposes), ",", "", -1))
			}
		}
		if len(list) > 0 {
			out.WriteString("\n")
		}
	}
	return out.String()
}

func TestARuleIsFoundInTheLineOfTheFileThatItStandsIn(t *testing.T) {
	t.Parallel()
	file := strings.Split(policyText, "\n")
	found := 0
	for _, role := range append(Roles(), SystemRole) {
		for _, p := range Matrix(role) {
			no := LineOf(p.Rule)
			require.Positive(t, no, p.Rule)
			line := file[no-1]
			for _, field := range strings.Split(p.Rule, ", ") {
				require.Contains(t, line, field)
			}
			found++
		}
	}
	require.Greater(t, found, 300)
	require.Zero(t, LineOf("emergency_access:x"))
	for _, l := range Lines() {
		require.Equal(t, strings.TrimSpace(file[l.No-1]), l.Text)
		require.True(t, strings.HasPrefix(l.Text, "p, "))
	}
}
