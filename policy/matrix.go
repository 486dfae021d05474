package policy

// Permission is what the policy allows a role to do with a class of data in a relation, and for what.
type Permission struct {
	Role     Role
	Relation Relation
	Class    Class
	Action   Action
	Purposes []Purpose // all of them where any will do
	Rule     string    // the line that allows it for the first of them
}

// Matrix is what the policy allows a role, in the order of the catalogues. What is not in it is denied. It is asked of the policy itself, question by
// question, and read from no table.
func Matrix(role Role) []Permission {
	var out []Permission
	for _, relation := range Relations() {
		for _, class := range Classes() {
			for _, action := range Actions() {
				p := Permission{Role: role, Relation: relation, Class: class, Action: action}
				for _, purpose := range Purposes() {
					var m Mask
					m.add(roleMask(role, relation, purpose))
					if d := m.Decide(class, action); d.Allowed {
						if p.Purposes = append(p.Purposes, purpose); p.Rule == "" {
							p.Rule = d.Rule
						}
					}
				}
				if len(p.Purposes) > 0 {
					out = append(out, p)
				}
			}
		}
	}
	return out
}
