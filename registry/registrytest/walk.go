package registrytest

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
)

// About is what a route or page is about, as far as who may is concerned.
type About struct {
	Region identity.Region
	Sites  []uuid.UUID // organisations that have it
	Office uuid.UUID   // whose it is to answer
	Shared bool        // with the guests' office
	Team   bool        // of its drive are the guests
}

// Walker is somebody with one role, who tries every route and page.
type Walker struct {
	registry.Actor
	Role   policy.Role
	Region identity.Region // of the grant
	At     identity.Region // of the organisation
	Far    bool
	Guest  bool // far, at an office that serves Nanjing and that the donor is shared with, and in the drive's team
}

// Allows asks the policy, and nothing of the registry, whether somebody may: in any relation that they stand in, and denied in none.
func (p Walker) Allows(t testing.TB, rec About, class policy.Class, action policy.Action, purpose policy.Purpose) bool {
	pol, err := policy.New([]policy.Grant{{Subject: "x", Role: p.Role, Region: string(p.Region), Until: time.Now().Add(time.Hour)}}, 1, time.Now())
	require.NoError(t, err)
	path := func(r identity.Region) (out []string) {
		for _, up := range r.Ancestors() {
			out = append(out, string(up))
		}
		return out
	}
	ask := func(rel policy.Relation, region identity.Region) (allowed, denied bool) {
		d := pol.Decide(policy.Question{Subject: "x", Region: path(region), Relation: rel, Class: class, Action: action, Purpose: purpose})
		return d.Allowed, !d.Allowed && d.Rule != ""
	}
	type way struct {
		rel    policy.Relation
		region identity.Region
	}
	ways := []way{{policy.None, p.At}}
	if rec.Region != "" {
		ways = append(ways, way{policy.InRegion, rec.Region})
	}
	if slices.Contains(rec.Sites, p.Organisation()) {
		ways = append(ways, way{policy.Site, p.At})
	}
	if rec.Office == p.Organisation() {
		ways = append(ways, way{policy.Assigned, p.At})
	}
	if p.Guest && rec.Shared {
		ways = append(ways, way{policy.Referred, p.At})
	}
	if p.Guest && rec.Team {
		ways = append(ways, way{policy.Team, p.At})
	}
	if p.Guest && identity.Region("320100").Contains(rec.Region) {
		ways = append(ways, way{policy.ServiceArea, p.At})
	}
	any := false
	for _, w := range ways {
		allowed, denied := ask(w.rel, w.region)
		if denied {
			return false
		}
		any = any || allowed
	}
	return any
}

// Reaches tells whether a list of a class can have anything in it for somebody.
func (p Walker) Reaches(t testing.TB, class policy.Class, action policy.Action, purpose policy.Purpose) bool {
	return p.Allows(t, About{Region: p.Region}, class, action, purpose) ||
		p.Allows(t, About{Sites: []uuid.UUID{p.Organisation()}}, class, action, purpose) ||
		p.Allows(t, About{Office: p.Organisation()}, class, action, purpose) ||
		p.Guest && (p.Allows(t, About{Team: true}, class, action, purpose) || p.Allows(t, About{Region: "320106"}, class, action, purpose))
}
