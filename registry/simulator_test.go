package registry_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
)

func said(t *testing.T, s registry.Simulation, class policy.Class, action policy.Action) registry.SimulatedLine {
	t.Helper()
	for _, l := range s.Lines {
		if l.Class == class && l.Action == action {
			return l
		}
	}
	require.Fail(t, "no line", "%s %s", class, action)
	return registry.SimulatedLine{}
}

// What the simulator says somebody may do with a donor is what they then may, whoever they are.
func TestWhatTheSimulatorSaysIsWhatHappens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.donor(1)
	h.show(h.Coordinator, donor) // so that the audit knows of them
	far := h.far()
	people := map[string]registry.Actor{"far": far}
	for login, who := range map[string]registry.Actor{
		"registrar": h.Registrar, "coordinator": h.Coordinator, "citycoordinator": h.CityCoordinator, "technician": h.Technician, "doctor": h.CollectionDoctor, "transplant": h.TransplantDoctor,
		"auditor": h.Auditor, "administrator": h.Administrator, "security": h.Security,
	} {
		people[login] = who
	}
	for _, role := range []policy.Role{policy.Station, policy.CountyOffice, policy.ProvincialOffice, policy.OrganCoordinator, policy.Bridge, policy.OPOCoordinator} {
		people["a-"+string(role)] = h.Staff(t, "a-"+string(role), h.County, role, "320106")
	}
	_, err := h.Store.ShareDonor(ctx, h.Coordinator, donor, registry.ShareForm{Organisation: h.City.ID, Reason: "moved", Until: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	h.breakGlass(far, donor, policy.Contact)
	allowed := 0
	for login, who := range people {
		s, err := h.Store.SimulatePolicy(ctx, h.Auditor, registry.SimulationForm{Login: login, Record: "donor:" + donor.String(), Purpose: policy.ForCase})
		require.NoError(t, err, login)
		require.Len(t, s.Lines, len(policy.Classes())*len(policy.Actions()))
		_, shown := h.Store.ShowDonor(ctx, who, donor)
		is := said(t, s, policy.Registration, policy.Read).Allowed || said(t, s, policy.Contact, policy.Read).Why == "emergency"
		require.Equal(t, is, shown == nil, "%s reads: %v", login, shown)
		_, revealed := h.Store.RevealDonor(ctx, who, donor, registry.RevealForm{Field: "phone", Reason: "call_donor"})
		line := said(t, s, policy.Contact, policy.Reveal)
		require.Equal(t, line.Allowed, revealed == nil, "%s reveals: %+v, %v", login, line, revealed)
		_, changed := h.Store.CheckInDonor(ctx, who, donor, 0, registry.CheckIn{Outcome: "unreachable", On: today()})
		require.Equal(t, said(t, s, policy.Consent, policy.Write).Allowed, changed == nil, "%s writes: %v", login, changed)
		for _, ok := range []bool{shown == nil, revealed == nil, changed == nil} {
			if ok {
				allowed++
			}
		}
	}
	require.Greater(t, allowed, 10)
	require.Greater(t, value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'SimulatePolicy' AND fields LIKE '%record=donor:%staff=%'`), 10, "who asks about whom is in the audit")
}

func TestTheSimulatorSaysWhatStandsAgainstIt(t *testing.T) {
	t.Parallel()
	clock := newClock()
	h := newHouse(t, registry.Options{Now: clock.now})
	ctx := context.Background()
	ask := func(f registry.SimulationForm) registry.Simulation {
		s, err := h.Store.SimulatePolicy(ctx, h.Security, f)
		require.NoError(t, err)
		return s
	}
	role := func(role policy.Role, relation policy.Relation, at string) registry.Simulation {
		return ask(registry.SimulationForm{Role: role, Region: "320100", Relation: relation, At: identity.Region(at), Purpose: policy.ForCase})
	}
	l := said(t, role(policy.Coordinator, policy.InRegion, "320106"), policy.Contact, policy.Reveal)
	require.True(t, l.Allowed)
	require.Equal(t, "line", l.Why)
	require.Equal(t, "coordinator, region, contact, reveal, case, allow", l.Rule)
	require.Equal(t, policy.LineOf(l.Rule), l.Line)
	require.Equal(t, policy.InRegion, l.Relation)
	require.Equal(t, identity.Region("320106"), l.Region)

	l = said(t, role(policy.TransplantHospital, policy.Site, ""), policy.Identity, policy.Read)
	require.False(t, l.Allowed)
	require.Equal(t, "denied", l.Why)
	require.Contains(t, l.Rule, "deny")
	require.Equal(t, "elsewhere", said(t, role(policy.Coordinator, policy.InRegion, "320200"), policy.Contact, policy.Read).Why)
	require.Equal(t, "no_line", said(t, role(policy.Registrar, policy.InRegion, "320106"), policy.Patient, policy.Read).Why)
	l = said(t, ask(registry.SimulationForm{Role: policy.Coordinator, Region: "320100", Relation: policy.InRegion, At: "320106", Purpose: policy.ForAudit}), policy.Contact, policy.Reveal)
	require.Equal(t, "purpose", l.Why)
	require.Equal(t, []policy.Purpose{policy.ForCase, policy.ForFollowUp, policy.ForRights}, l.Purposes)
	l = said(t, role(policy.OrganCoordinator, policy.InRegion, "320106"), policy.Contact, policy.Read)
	require.Equal(t, "relation", l.Why)
	require.Equal(t, []policy.Relation{policy.Assigned}, l.Relations)

	require.NoError(t, h.Store.RevokeRole(ctx, registry.Operator("test"), "coordinator", policy.Coordinator, "320106"))
	s := ask(registry.SimulationForm{Login: "coordinator", Relation: policy.InRegion, At: "320106"})
	require.Empty(t, s.Roles)
	require.Len(t, s.Ended, 1)
	require.Equal(t, "ended", said(t, s, policy.Contact, policy.Reveal).Why)
	require.NoError(t, h.Store.DeactivateStaff(ctx, h.Administrator, h.Registrar.Staff()))
	s = ask(registry.SimulationForm{Login: "registrar", Relation: policy.InRegion, At: "320106"})
	require.True(t, s.Inactive)
	require.Equal(t, "ended", said(t, s, policy.Identity, policy.Read).Why)
}

// A record that somebody has no row of the audit of is answered as one that is not there.
func TestTheSimulatorTellsNobodyWhetherThereIsARecord(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor, unseen := h.donor(1), h.donor(2)
	h.show(h.Coordinator, donor)
	far := h.Staff(t, "farauditor", h.OtherTransplant, policy.Auditor, "110108")
	h.Staff(t, "near", h.OtherTransplant, policy.Coordinator, "110108")
	nowhere := registry.SimulationForm{Login: "coordinator", Record: "donor:" + uuid.NewString()}
	_, absent := h.Store.SimulatePolicy(ctx, h.Auditor, nowhere)
	requireCode(t, absent, registry.NotFound, "record_not_found")
	for who, f := range map[string]registry.SimulationForm{
		"not looked at": {Login: "coordinator", Record: "donor:" + unseen.String()}, "by its number": {Login: "coordinator", Record: h.numberOf(unseen)}, "a patient": {Login: "coordinator", Record: "patient:" + uuid.NewString()},
		"anything": {Login: "coordinator", Record: "' OR 1=1 --"},
	} {
		_, err := h.Store.SimulatePolicy(ctx, h.Auditor, f)
		require.Equal(t, absent, err, who)
	}
	// Whoever reads no audit, or the audit of another region, is told the same of a donor whom others looked at.
	_, err := h.Store.SimulatePolicy(ctx, h.Security, registry.SimulationForm{Login: "coordinator", Record: "donor:" + donor.String()})
	require.Equal(t, absent, err)
	_, err = h.Store.SimulatePolicy(ctx, far, registry.SimulationForm{Login: "near", Record: "donor:" + donor.String()})
	require.Equal(t, absent, err)
	_, err = h.Store.SimulatePolicy(ctx, h.Auditor, registry.SimulationForm{Login: "coordinator", Record: h.numberOf(donor)})
	require.NoError(t, err)
	_, err = h.Store.SimulatePolicy(ctx, far, registry.SimulationForm{Login: "coordinator", Relation: policy.InRegion})
	requireCode(t, err, registry.NotFound, "staff_not_found", "somebody of another region")
	for who, actor := range h.everybody() {
		if actor == h.Auditor || actor == h.Security || actor == h.AuditAdministrator || actor == system {
			continue
		}
		_, err := h.Store.SimulatePolicy(ctx, actor, registry.SimulationForm{Role: policy.Coordinator, Region: "320106", Relation: policy.InRegion})
		requireCode(t, err, registry.Denied, "denied", who)
		_, err = h.Store.ShowMatrix(ctx, actor, policy.Coordinator)
		requireCode(t, err, registry.Denied, "denied", who)
		_, err = h.Store.ShowClassMatrix(ctx, actor, policy.Contact)
		requireCode(t, err, registry.Denied, "denied", who)
	}
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM audit WHERE target LIKE '%OR 1=1%' OR fields LIKE '%OR 1=1%'`), "what was typed may be anything")
}

// The matrix by class says what the matrices of the roles say.
func TestTheMatrixOfAClassHasEveryRolesLines(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	contact, err := h.Store.ShowClassMatrix(ctx, h.Auditor, policy.Contact)
	require.NoError(t, err)
	var lines []registry.MatrixLine
	for _, role := range append(policy.Roles(), policy.SystemRole) {
		m, err := h.Store.ShowMatrix(ctx, h.Auditor, role)
		require.NoError(t, err)
		require.Equal(t, role, m.Role)
		for _, l := range m.Lines {
			if l.Class == policy.Contact {
				lines = append(lines, l)
			}
		}
	}
	require.NotEmpty(t, lines)
	require.Equal(t, lines, contact.Lines)
	_, err = h.Store.ShowClassMatrix(ctx, h.Auditor, "secrets")
	require.Equal(t, registry.Invalid, registry.KindOf(err))
}
