package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/seal"
)

// With the policy switched off everything is allowed, and the database still gives each actor only what their office reaches.
func TestWithThePolicySwitchedOffForeignRowsStillDoNotComeOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, glNine)
	donor, shared := donors[0], donors[1]
	search := h.search(h.TransplantDoctor, "")
	cases := h.request(h.TransplantDoctor, search.ID, donor)
	drive := h.drive()
	// People of another province, who have a drive, a patient and a search of their own.
	far := h.Staff(t, "far", h.OtherTransplant, policy.Coordinator, "110108")
	farOffice := h.Staff(t, "faroffice", h.OtherTransplant, policy.ProvincialOffice, "110000")
	other := h.search(h.OtherDoctor, "")
	// What they have to do with here is another donor, another drive and another region.
	second := h.drive()
	h.sql(`INSERT INTO shares (id, registration_id, organisation_id, reason, shared_by, shared_at, until, region) VALUES ($1, $2, $3, 'moved', $4, now(), now() + interval '1 hour', '320106')`,
		uuid.New(), shared, h.OtherTransplant.ID, h.Coordinator.Staff())
	h.sql(`INSERT INTO service_areas (organisation_id, region) VALUES ($1, '320102')`, h.OtherTransplant.ID)
	member, serves := h.Staff(t, "member", h.OtherTransplant, policy.Registrar, "110108"), h.Staff(t, "serves", h.OtherTransplant, policy.OPOCoordinator, "110108")
	for _, by := range []registry.Actor{far, farOffice, member, serves, h.OtherDoctor} {
		h.sql(`INSERT INTO drive_team (drive_id, staff_id, duty) VALUES ($1, $2, 'volunteer')`, second.ID, by.Staff())
	}

	open := h.open(registry.Options{})
	open.WithoutPolicy()
	own := []string{donor.String(), search.ID.String(), search.Patient.String(), cases[0].String(), drive.ID.String()}
	look := func(by registry.Actor) (seen []string, shown string) {
		var texts []string
		note := func(id uuid.UUID, v any, err error) {
			text, _ := json.Marshal(v)
			if err == nil && len(text) > 4 {
				texts = append(texts, string(text))
				seen = append(seen, id.String())
			} else if err != nil {
				require.Contains(t, []registry.Kind{registry.NotFound, registry.Refused}, registry.KindOf(err), "%v", err)
			}
		}
		v, err := open.ShowDonor(ctx, by, donor)
		note(donor, v, err)
		r, err := open.RevealDonor(ctx, by, donor, registry.RevealForm{Class: policy.Contact, Reason: "call_donor"})
		note(donor, r, err)
		c, err := open.ShowCase(ctx, by, cases[0])
		note(cases[0], c, err)
		s, err := open.ShowSearch(ctx, by, search.ID)
		note(search.ID, s, err)
		p, err := open.ShowPatient(ctx, by, search.Patient)
		note(search.Patient, p, err)
		k, err := open.ListCandidates(ctx, by, search.ID, registry.CandidateFilter{})
		note(search.ID, k, err)
		y, err := open.WhyCandidate(ctx, by, search.ID, donor)
		note(search.ID, y, err)
		d, err := open.ShowDrive(ctx, by, drive.ID)
		note(drive.ID, d, err)
		lists := map[string]any{}
		lists["donors"], err = open.ListDonors(ctx, by, registry.DonorFilter{})
		require.NoError(t, err)
		lists["cases"], err = open.ListCases(ctx, by, registry.CaseFilter{})
		require.NoError(t, err)
		lists["tasks"], err = open.ListTasks(ctx, by, registry.TaskFilter{})
		require.NoError(t, err)
		lists["drives"], err = open.ListDrives(ctx, by, uuid.Nil, 0)
		require.NoError(t, err)
		lists["notices"], err = open.ListNotices(ctx, by, false, time.Time{}, uuid.Nil, 0)
		require.NoError(t, err)
		text, _ := json.Marshal(lists)
		return seen, strings.Join(append(texts, string(text)), "\n")
	}
	for who, actor := range map[string]registry.Actor{"a coordinator far away": far, "an office far away": farOffice, "the other transplant doctor": h.OtherDoctor, "the laboratory of nobody": h.otherLaboratory(),
		"a registrar in another drive's team": member, "one who serves another region": serves} {
		seen, shown := look(actor)
		require.Empty(t, seen, who)
		for _, id := range own {
			require.NotContains(t, shown, id, who)
		}
	}
	// Each side of the case has its own: the hospital the patient and the number of the donor, the office the donor, and neither the other's.
	seen, shown := look(h.TransplantDoctor)
	require.Contains(t, seen, search.Patient.String())
	require.NotContains(t, shown, "欧阳")
	_, shown = look(h.Coordinator)
	require.NotContains(t, shown, search.Patient.String())
	require.NotContains(t, shown, value[string](h, `SELECT number FROM patients WHERE id = $1`, search.Patient))
	require.NotContains(t, shown, other.ID.String())
	// The hospital that is in the team and the office of the share reaches neither: only the roles that are for it do.
	for by, reaches := range map[registry.Actor][2]bool{far: {true, false}, member: {false, true}, serves: {false, false}, h.OtherDoctor: {false, false}} {
		_, err := open.ShowDonor(ctx, by, shared)
		require.Equal(t, reaches[0], err == nil, "%s: %v", by.Name, err)
		_, err = open.ShowDrive(ctx, by, second.ID)
		require.Equal(t, reaches[1], err == nil, "%s: %v", by.Name, err)
	}
	// And it is not that nothing came out for anybody.
	seen, _ = look(h.Coordinator)
	require.Subset(t, seen, []string{donor.String(), cases[0].String(), drive.ID.String()})
}

// Without its settings an act's role sees no row, and the service sees no table of people at all.
func TestAConnectionThatIsNotAnActSeesNobody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.listed(gl)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, h.url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	count := func(table string) (n int, err error) {
		return n, conn.QueryRow(ctx, `SELECT count(*) FROM `+table).Scan(&n)
	}
	people := []string{"persons", "registrations", "person_documents", "consents", "specimens", "typings", "cases", "tasks", "events", "drives", "drive_team", "shares", "notices", "exports"}
	for _, role := range []string{"", "liferelay_service"} {
		if role != "" {
			_, err := conn.Exec(ctx, `SET ROLE `+role)
			require.NoError(t, err)
		}
		for _, table := range append(people, "link.candidates", "link.requests", "patients", "batch_rows", "staged_forms") {
			_, err := count(table)
			require.ErrorContains(t, err, "permission denied", "%s as %q", table, role)
		}
	}
	for _, role := range []string{"liferelay_register", "liferelay_intake", "liferelay_link", "liferelay_audit"} {
		_, err := conn.Exec(ctx, `SET ROLE `+role)
		require.NoError(t, err)
		for _, table := range people {
			n, err := count(table)
			require.NoError(t, err)
			require.Zero(t, n, "%s as %s", table, role)
		}
		for table, keeper := range map[string]string{"link.candidates": "liferelay_link", "link.requests": "liferelay_link", "audit": "liferelay_audit", "staged_forms": "liferelay_intake"} {
			_, err := count(table)
			if role == keeper {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "permission denied", "%s as %s", table, role)
			}
		}
		for _, statement := range []string{`UPDATE audit SET actor = ''`, `DELETE FROM audit`, `TRUNCATE audit`, `UPDATE audit_seals SET rows = 0`, `DELETE FROM audit_unsealed`, `DROP TABLE persons`, `ALTER TABLE persons DISABLE ROW LEVEL SECURITY`} {
			_, err := conn.Exec(ctx, statement)
			require.Error(t, err, "%s as %s", statement, role)
		}
	}
	owns, err := h.Store.OwnsNothing(ctx)
	require.NoError(t, err)
	require.True(t, owns)
}

// A table that somebody adds and forgets to guard fails here.
func TestEveryTableAboutSomebodyHasARowPolicy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	// What is about nobody, or is kept by a role of its own.
	exempt := []string{
		"regions", "organisations", "service_areas", "staff", "role_grants", "calendar_days", "notice_templates", "rule_pack_versions", "column_mappings", // the house itself
		"batch_rows", "staged_forms", // liferelay_intake's: rows are copied in, and PostgreSQL copies into no table with row policies
		"audit", // liferelay_audit's
	}
	open := values[string](h, `
		SELECT DISTINCT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
		WHERE n.nspname IN ('public', 'link') AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
			AND (a.attname IN ('person_id', 'registration_id', 'patient_id', 'case_id', 'subject_id', 'region', 'organisation_id') OR a.attname LIKE '%\_sealed' OR a.attname LIKE '%\_index')`)
	for _, table := range open {
		require.Contains(t, append(exempt, "idempotency_keys"), table, "it has no row policy: see migrations/00006_second_wall.sql")
	}
	require.Empty(t, values[string](h, `SELECT c.relname::text FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname LIKE 'liferelay\_%' AND c.relkind IN ('r', 'p')`))
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM pg_roles WHERE rolname LIKE 'liferelay\_%' AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)`))
	// Partitions are reached through what they are parts of, or not at all.
	require.Empty(t, values[string](h, `SELECT relname::text FROM pg_class WHERE relispartition AND relkind = 'r' AND has_table_privilege('liferelay_register', oid, 'SELECT, INSERT, UPDATE, DELETE')`))
}

// An act that reaches everywhere shows nothing of other regions: those that show records must not be among them.
func TestActsThatShowRecordsDoNotReachEverywhere(t *testing.T) {
	t.Parallel()
	for name, everywhere := range registry.Doors() {
		if everywhere {
			for _, shows := range []string{"Show", "List", "Reveal", "Find"} {
				require.False(t, strings.HasPrefix(name, shows) && name != "ListKeys", name) // which counts rows, for an operator
			}
		}
	}
}

// Of many acts of several people over the same few connections, none is answered with what another reaches.
func TestTheReachOfAnActDoesNotStayInItsConnection(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registry.Options{MaxConnections: 2})
	ctx := context.Background()
	f := volunteer(1)
	f.Name = seal.NameOf("验证人")
	donor := h.register(h.Registrar, f).Donors[0].ID
	far := h.Staff(t, "far", h.OtherTransplant, policy.Coordinator, "110108")
	var todo []func() error
	for i := range 60 {
		todo = append(todo, func() error {
			by, found := h.Coordinator, true
			if i%2 == 0 {
				by, found = far, false
			}
			_, err := h.Store.ShowDonor(ctx, by, donor)
			if (err == nil) != found {
				return fmt.Errorf("the donor was found: %v: %w", !found, err)
			}
			return nil
		})
	}
	for _, err := range atOnce(todo...) {
		require.NoError(t, err)
	}
}

// A grant that ends is refused at once, under load, by every process.
func TestARevokedGrantIsRefusedWithinASecondUnderLoadInEveryProcess(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.donor(1)
	processes := []*registry.Store{h.Store, h.open(registry.Options{}), h.open(registry.Options{})}
	for _, p := range processes {
		_, err := p.ShowDonor(ctx, h.Coordinator, donor)
		require.NoError(t, err)
	}
	stop := make(chan struct{})
	type seen struct {
		at  time.Time
		err error
	}
	answers := make(chan []seen, len(processes))
	for _, p := range processes {
		go func() {
			var all []seen
			for {
				select {
				case <-stop:
					answers <- all
					return
				default:
					began := time.Now()
					_, err := p.ShowDonor(ctx, h.Coordinator, donor)
					all = append(all, seen{began, err})
				}
			}
		}()
	}
	require.NoError(t, h.Store.RevokeRole(ctx, registry.Operator("test"), "coordinator", policy.Coordinator, "320106"))
	revoked := time.Now()
	require.Eventually(t, func() bool { return time.Since(revoked) > 300*time.Millisecond }, 5*time.Second, 10*time.Millisecond)
	close(stop)
	for range processes {
		all := <-answers
		late := slices.DeleteFunc(all, func(s seen) bool { return s.at.Before(revoked) })
		require.NotEmpty(t, late)
		for _, s := range late {
			require.Equal(t, registry.NotFound, registry.KindOf(s.err), "an act that began after the revocation: %v", s.err)
		}
	}
}
