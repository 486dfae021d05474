package registry

import (
	"context"
	"slices"

	"github.com/liferelay/liferelay/policy"
)

// Abilities tell a menu what somebody may do at all, somewhere. They are the actor's own roles and say nothing about a record:
// every act decides for itself, with the grants of its own transaction.
type Abilities struct {
	policy  *policy.Policy
	subject string
}

// Abilities are the actor's, by the grants as this process read them last.
func (r *Reader) Abilities(ctx context.Context, actor Actor) (Abilities, error) {
	if p := r.policy.Load(); p != nil && p.Current(p.Revision(), r.now()) {
		return Abilities{p, actor.policySubject()}, nil
	}
	a := &act{Reader: r, actor: actor, name: "Abilities", at: r.now().UTC()}
	revision, _, err := a.begin(ctx, nil)
	defer a.end(ctx, false)
	if err == nil {
		err = a.loadPolicy(ctx, revision, nil)
	}
	return Abilities{a.policy, actor.policySubject()}, translate(err)
}

// May tells whether one of the roles allows an action with a class, in some relation and for some purpose.
func (b Abilities) May(action policy.Action, class policy.Class) bool {
	return b.MayFor(action, class, "")
}

// MayFor tells the same of one purpose.
func (b Abilities) MayFor(action policy.Action, class policy.Class, purpose policy.Purpose) bool {
	return b.policy != nil && b.policy.Ever(b.subject, action, class, purpose)
}

// Is tells whether one of the roles is among these.
func (b Abilities) Is(roles ...policy.Role) bool {
	return slices.ContainsFunc(b.Held(), func(g policy.Grant) bool { return slices.Contains(roles, g.Role) })
}

// Held lists the roles with their regions.
func (b Abilities) Held() []policy.Grant {
	if b.policy == nil {
		return nil
	}
	return b.policy.Held(b.subject)
}

// Gives lists the roles that one of the roles may give to somebody, where it holds.
func (b Abilities) Gives() []policy.Role {
	return slices.DeleteFunc(policy.Roles(), func(role policy.Role) bool {
		return !slices.ContainsFunc(b.Held(), func(g policy.Grant) bool { return policy.Gives(g.Role, role) })
	})
}
