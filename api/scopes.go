package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/liferelay/liferelay/registry"
)

// scopes are what a program's token can be limited to, by the first part of an operation's address: what reads needs the
// first, what changes something the second. An operation may name another itself. What has no scope is for people who are
// signed in only: their own account, and what gives away a password or a token.
//
// A scope narrows. What its owner may not do, no token of theirs may.
var scopes = map[string][2]string{
	"session":          {forPeople, forPeople},
	"account":          {forPeople, forPeople},
	"tokens":           {forPeople, forPeople},
	"organisations":    {"organisations:read", "organisations:write"},
	"nomenclature":     {"organisations:read", forPeople},
	"notice-templates": {"organisations:read", "organisations:write"},
	"calendar-days":    {"organisations:read", "organisations:write"},
	"rules":            {"organisations:read", "organisations:read"}, // to try a value changes nothing
	"health":           {"health:read", forPeople},
	"policy":           {"audit:read", "audit:read"}, // as audit
	"reviews":          {forPeople, forPeople},
	"staff":            {"staff:read", "staff:write"},
	"machines":         {forPeople, "staff:write"},
	"grants":           {forPeople, "grants:write"},
	"drives":           {"drives:read", "drives:write"},
	"import-batches":   {"batches:read", "batches:write"},
	"own-forms":        {"batches:read", "batches:write"},
	"registrations":    {forPeople, "registrations:write"},
	"donors":           {"donors:read", "donors:write"},
	"emergencies":      {forPeople, forPeople},
	"exports":          {forPeople, forPeople},
	"consignments":     {"specimens:read", "specimens:write"},
	"typings":          {forPeople, "typings:write"},
	"patients":         {"patients:read", "patients:write"},
	"searches":         {"searches:read", "searches:write"},
	"statistics":       {"statistics:read", forPeople},
	"cards":            {forPeople, forPeople},
	"cases":            {"cases:read", "cases:write"},
	"tasks":            {"tasks:read", "tasks:write"},
	"work":             {"tasks:read", forPeople},
	"time-requests":    {forPeople, forPeople},
	"handovers":        {forPeople, forPeople},
	"messages":         {forPeople, forPeople},
	"attachments":      {forPeople, "cases:write"}, // what is in them names people
	"reopenings":       {forPeople, forPeople},
	"rights":           {"rights:read", "rights:write"},
	"notices":          {"notices:read", "notices:write"},
	"webhooks":         {forPeople, forPeople},
	"deliveries":       {forPeople, forPeople},
	"certificates":     {forPeople, forPeople},
	"audit":            {"audit:read", "audit:read"}, // to have it verified changes nothing
	"find":             {forPeople, "donors:read"},
	"duplicates":       {"donors:read", "donors:write"},
	"merges":           {forPeople, "donors:write"},
}

const (
	forPeople = "-" // no token
	anyToken  = "*" // every token
)

// ownScopes are those that single operations name.
var ownScopes = []string{"donors:reveal"}

// Scopes lists every scope.
func Scopes() []string {
	out := slices.Clone(ownScopes)
	for _, pair := range scopes {
		out = append(out, pair[:]...)
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return s == forPeople })
}

// needs finds the scope that an operation needs, nothing for one of whose address nobody has thought yet: no token gets
// there.
func (o operation) needs() string {
	if o.scope != "" || o.public {
		return o.scope
	}
	parts := strings.Split(o.path, "/")
	if len(parts) < 3 {
		return ""
	}
	pair := scopes[parts[2]]
	if o.method == http.MethodGet {
		return pair[0]
	}
	return pair[1]
}

// required is what to tell somebody whose session is not good for anything else yet.
var required = map[string]string{registry.NextPassword: "password_required", registry.NextFactor: "factor_required"}

// admits tells whether somebody may come to an operation at all with the token that they have. Whether they may do it is
// the registry's to decide.
func (o operation) admits(c registry.Caller) error {
	switch {
	case c.Next != "" && !slices.Contains(o.during, c.Next):
		return registry.NewError(registry.Denied, required[c.Next], nil)
	case c.Kind != registry.ProgramToken, o.scope == anyToken:
		return nil
	case o.scope == "", o.scope == forPeople:
		return errSessionRequired
	case !slices.Contains(c.Scopes, o.scope):
		return registry.NewError(registry.Denied, "scope_missing", map[string]any{"Scope": o.scope})
	}
	return nil
}
