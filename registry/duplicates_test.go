package registry_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// again is volunteer n under a passport, and with another spelling of the name.
func again(n int) forms.Registration {
	f := volunteer(n)
	f.Name = seal.NameOf("张晓明")
	f.DocumentKind, f.DocumentNumber = identity.Passport, seal.NumberOf(fmt.Sprintf("E%08d", n))
	f.BirthDate, f.Sex = calendar.Must(2000, time.January, 1), identity.Male
	return f
}

// countyOffice is a county office's member of staff, who may make persons one.
func (h *house) countyOffice() registry.Actor {
	return h.Staff(h.t, "office", h.County, policy.CountyOffice, "320106")
}

// twice registers volunteer n twice, and gives both registrations and the pair that is found.
func (h *house) twice(by registry.Actor, n int, change ...func(first, second *forms.Registration)) (one, other uuid.UUID, pair registry.DuplicateLine) {
	h.t.Helper()
	first, second := volunteer(n), again(n)
	for _, c := range change {
		c(&first, &second)
	}
	entry := h.register(h.Registrar, first)
	require.Equal(h.t, "created", entry.Status, "%+v", entry.Problems)
	one = entry.Donors[0].ID
	entry = h.register(h.Registrar, second)
	require.Equal(h.t, "created", entry.Status, "%+v", entry.Problems)
	other = entry.Donors[0].ID
	require.NoError(h.t, h.Store.Upkeep(context.Background()))
	pairs := h.pairs(by, one)
	require.Len(h.t, pairs, 1)
	return one, other, pairs[0]
}

func (h *house) pairs(by registry.Actor, donor uuid.UUID) []registry.DuplicateLine {
	h.t.Helper()
	pairs, err := h.Store.ListDuplicates(context.Background(), by, registry.DuplicateFilter{Decision: "open", Donor: donor})
	require.NoError(h.t, err)
	return pairs
}

func (h *house) merges(by registry.Actor, pair registry.DuplicateLine, stays uuid.UUID, take ...string) registry.MergeView {
	h.t.Helper()
	m, err := h.Store.MergeDonors(context.Background(), by, pair.ID, 0, registry.MergeForm{Stays: stays, Take: take, Reason: "documents_seen", Number: h.show(by, stays).Number})
	require.NoError(h.t, err)
	return m
}

func TestWhoCameInTwiceIsOfferedAsAPairOnceWithWhatSpeaksForIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	office := h.countyOffice()
	one, other, pair := h.twice(office, 1)
	h.donor(2) // somebody else, of the same name and birth date
	require.NoError(t, h.Store.Upkeep(ctx))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM duplicates`))
	require.Equal(t, []string{"phone"}, pair.FoundBy)
	require.Equal(t, []uuid.UUID{one, other}, []uuid.UUID{pair.One.Donor, pair.Other.Donor})
	require.Equal(t, "张*明", pair.One.Name.Display)
	v, err := h.Store.ShowDuplicate(ctx, office, pair.ID)
	require.NoError(t, err)
	is := map[string]string{}
	for _, e := range v.Identity {
		is[e.Field] = e.Is
	}
	for _, e := range v.Contact {
		is[e.Field] = e.Is
	}
	for _, e := range v.Demographics {
		is[e.Field] = e.Is
	}
	require.Equal(t, map[string]string{"name": "different", "tail": "different", "phone": "equal", "email": "blank", "address": "blank", "workplace": "blank", "birth_date": "equal", "sex": "equal",
		"abo": "blank", "rh": "blank", "ethnicity": "blank", "height_cm": "blank", "weight_kg": "blank"}, is)
	require.Equal(t, -3+3+3+1, v.Score)
	for _, e := range v.Contact {
		require.NotContains(t, e.One.Display+e.Other.Display, "00000001")
	}
	require.Equal(t, "2000", v.Demographics[0].One, "the year of it")
	require.Equal(t, 1, h.show(office, one).Flags.Duplicates)

	// Who is decided to be somebody else is not offered again.
	decided, err := h.Store.DecideDuplicate(ctx, office, pair.ID, pair.Version, registry.DecideForm{Decision: "different", Reason: "twins"})
	require.NoError(t, err)
	require.Equal(t, "different", decided.Decision)
	h.sql(`UPDATE batches SET compared_at = NULL`)
	require.NoError(t, h.Store.Upkeep(ctx))
	require.Empty(t, h.pairs(office, one))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM duplicates`))
	require.Zero(t, h.show(office, one).Flags.Duplicates)
	_, err = h.Store.DecideDuplicate(ctx, office, pair.ID, pair.Version, registry.DecideForm{Decision: "same", Reason: "documents_seen"})
	requireCode(t, err, registry.Stale, "duplicate_changed")
}

func TestAPairIsFoundByTheEndOfADocumentAndTheNameAlso(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	f := again(1)
	f.Name, f.Phone = seal.NameOf("张 小明"), seal.PhoneOf("13700000001")
	f.DocumentKind, f.DocumentNumber = identity.Passport, seal.NumberOf("G12"+residentNumber(1)[14:])
	namesake := again(1)
	namesake.Name, namesake.Phone, namesake.DocumentNumber = seal.NameOf("李四"), seal.PhoneOf("13700000002"), seal.NumberOf("K34"+residentNumber(1)[14:])
	h.donor(1)
	for _, form := range []forms.Registration{f, namesake} {
		entry := h.register(h.Registrar, form)
		require.Equal(t, "created", entry.Status, "%+v", entry.Problems)
	}
	require.NoError(t, h.Store.Upkeep(context.Background()))
	require.Equal(t, []string{"tail"}, values[string](h, `SELECT unnest(found_by) FROM duplicates`))
}

// A pair across regions is for the office above both.
func TestAPairAcrossRegionsIsForTheOfficeAboveBoth(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	office := h.countyOffice()
	city := h.Staff(t, "cityoffice", h.City, policy.CityOffice, "320100")
	elsewhere, err := h.Store.AddOrganisation(ctx, registry.Operator("test"), registry.OrganisationForm{Kind: "red_cross", Name: "玄武区红十字会", Region: "320102"})
	require.NoError(t, err)
	other := h.Staff(t, "otheroffice", elsewhere, policy.CountyOffice, "320102")
	donor := h.donor(1)
	entry := h.register(other, again(1))
	require.Equal(t, "created", entry.Status)
	require.NoError(t, h.Store.Upkeep(ctx))
	require.Empty(t, h.pairs(office, donor))
	require.Empty(t, h.pairs(other, entry.Donors[0].ID))
	pairs := h.pairs(city, donor)
	require.Len(t, pairs, 1)
	require.Equal(t, identity.Region("320100"), pairs[0].Region)
	for _, by := range []registry.Actor{office, other, h.Auditor, h.TransplantDoctor} {
		_, err := h.Store.ShowDuplicate(ctx, by, pairs[0].ID)
		requireCode(t, err, registry.NotFound, "duplicate_not_found")
		_, err = h.Store.DecideDuplicate(ctx, by, pairs[0].ID, 0, registry.DecideForm{Decision: "different", Reason: "twins"})
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(err))
		_, err = h.Store.MergeDonors(ctx, by, pairs[0].ID, 0, registry.MergeForm{Stays: donor, Reason: "documents_seen", Number: "x"})
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(err))
	}
	// A registrar decides, and does not merge; a coordinator merges nothing.
	registrar := h.Staff(t, "cityregistrar", h.City, policy.Registrar, "320100")
	_, err = h.Store.DecideDuplicate(ctx, registrar, pairs[0].ID, 0, registry.DecideForm{Decision: "unsure", Reason: "not_enough"})
	require.NoError(t, err)
	for _, by := range []registry.Actor{registrar, h.CityCoordinator} {
		_, err = h.Store.MergeDonors(ctx, by, pairs[0].ID, 0, registry.MergeForm{Stays: donor, Reason: "documents_seen", Number: h.show(city, donor).Number})
		requireCode(t, err, registry.Denied, "denied")
	}
	h.merges(city, pairs[0], donor)
	require.Equal(t, 2, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'registration.merged'`), "both offices hear of it")
}

func TestAWaitingRowIsEnteredForThePersonOrAsSomebodyNew(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	office := h.countyOffice()
	for n, decision := range []string{"same", "different"} {
		donor := h.donor(n + 1)
		f := again(n + 1)
		f.Name, f.ABO, f.Programmes = volunteer(1).Name, identity.GroupA, []rules.Programme{rules.StemCell, rules.Cornea}
		require.Equal(t, "parked", h.register(h.Registrar, f).Status)
		require.NoError(t, h.Store.Upkeep(ctx))
		pair := h.pairs(office, donor)[0]
		require.Equal(t, 1, pair.Other.Row)
		require.Equal(t, []string{"likeness"}, pair.FoundBy)
		v, err := h.Store.ShowDuplicate(ctx, office, pair.ID)
		require.NoError(t, err)
		require.Equal(t, "equal", v.Identity[0].Is)
		require.Equal(t, "one_blank", v.Demographics[2].Is)
		_, err = h.Store.MergeDonors(ctx, office, pair.ID, 0, registry.MergeForm{Stays: donor, Reason: "documents_seen", Number: h.show(office, donor).Number})
		requireCode(t, err, registry.Refused, "row_is_not_merged")
		persons := value[int](h, `SELECT count(*)::int FROM persons`)
		_, err = h.Store.DecideDuplicate(ctx, office, pair.ID, 0, registry.DecideForm{Decision: decision, Reason: "documents_seen"})
		require.NoError(t, err)
		shown := h.show(office, donor)
		if decision == "same" {
			require.Equal(t, persons, value[int](h, `SELECT count(*)::int FROM persons`))
			require.Len(t, shown.Identity.Documents, 2)
			require.Equal(t, "A", shown.Demographics.ABO, "a blank is filled")
			require.Len(t, shown.Registrations, 1, "the programme that they did not have")
			// From now on they are known by either document.
			require.Equal(t, "unchanged", h.register(h.Registrar, f).Status)
		} else {
			require.Equal(t, persons+1, value[int](h, `SELECT count(*)::int FROM persons`))
			require.Len(t, shown.Identity.Documents, 1)
			require.Empty(t, h.pairs(office, donor))
		}
		require.Zero(t, value[int](h, `SELECT count(*)::int FROM batch_rows WHERE outcome = 'parked'`))
		require.Zero(t, value[int](h, `SELECT count(*)::int FROM batches WHERE outcomes ? 'parked'`))
		if decision == "same" {
			_, err = h.Store.DecideDuplicate(ctx, office, pair.ID, 0, registry.DecideForm{Decision: "different", Reason: "person_confirmed"})
			requireCode(t, err, registry.Refused, "row_waits_no_more")
		}
	}
}

func TestTwoWhoAreMadeOneHaveWhatBothHadAndTheOlderNumberStays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	office := h.countyOffice()
	drive := h.drive()
	one, other, pair := h.twice(office, 1, func(first, second *forms.Registration) {
		first.Programmes = []rules.Programme{rules.StemCell, rules.Blood}
		second.ABO, second.Email = identity.GroupB, seal.EmailOf("ming@example.org")
		second.Programmes = []rules.Programme{rules.StemCell, rules.Cornea}
	})
	_ = drive
	h.sql(`INSERT INTO specimens (id, barcode, kind, person_id, registration_id, drawn_on, status, holder_id, region)
		SELECT gen_random_uuid(), 'TB000077', 'enrolment', person_id, id, $2, 'typed', $3, region FROM registrations WHERE id = $1`, other, signed(), h.Laboratory.ID)
	h.sql(`INSERT INTO typings (id, person_id, registration_id, specimen_id, laboratory_id, kind, method, nomenclature, gl_string, typed_on)
		SELECT gen_random_uuid(), person_id, registration_id, id, holder_id, 'enrolment', 'NGS', '3.57.0', $1, $2 FROM specimens`, gl, today())
	preview, err := h.Store.PreviewMerge(ctx, office, pair.ID, registry.MergeForm{Stays: other, Take: []string{"name"}})
	require.NoError(t, err)
	require.Empty(t, preview.Refused)
	require.Equal(t, other, preview.Stays.Donor)
	require.Equal(t, []registry.JoinedLine{{Programme: "stemcell", Stays: h.show(office, one).Number, Leaves: h.show(office, other).Number}}, preview.Joined, "whoever stays, the older number does")
	preview, err = h.Store.PreviewMerge(ctx, office, pair.ID, registry.MergeForm{Stays: one, Take: []string{"name", "weight_kg"}})
	require.NoError(t, err)
	from := map[string]string{}
	for _, f := range preview.Fields {
		from[f.Field] = f.From
	}
	require.Equal(t, []string{"other", "filled", "filled", "same", "same"}, []string{from["name"], from["abo"], from["email"], from["phone"], from["weight_kg"]})
	require.Equal(t, 2, preview.Documents)
	require.Contains(t, preview.Moved, registry.MovedLine{Kind: "registrations", Count: 2})

	_, err = h.Store.MergeDonors(ctx, office, pair.ID, 0, registry.MergeForm{Stays: one, Reason: "documents_seen", Number: "320000000000"})
	requireCode(t, err, registry.Refused, "number_mistyped")
	m := h.merges(office, pair, one, "name")
	require.ElementsMatch(t, []string{"name", "abo", "email"}, m.Fields)
	require.Equal(t, m.ID, h.merges(office, pair, one).ID, "twice is once")
	v := h.show(office, one)
	require.Equal(t, "B", v.Demographics.ABO)
	require.Len(t, v.Identity.Documents, 2)
	require.Len(t, v.Registrations, 3)
	require.Equal(t, []string{"TB000077"}, []string{v.Specimens[0].Barcode})
	require.Equal(t, "left", h.show(office, other).Status)
	require.Equal(t, one, h.show(office, other).Flags.MergedInto)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM typings WHERE registration_id = $1 AND current`, one))
	require.Equal(t, "张晓明", h.reveal(one).Name)
	require.Equal(t, "ended merged", value[string](h, `SELECT status || ' ' || ending FROM cases WHERE id = $1`, other))
	require.Equal(t, "open", value[string](h, `SELECT status FROM cases WHERE id = $1`, one))
	// Either document and either number lead to them.
	for _, text := range []string{residentNumber(1), h.show(office, one).Number, h.show(office, other).Number, fmt.Sprintf("%04d 2000-01-01", 1)} {
		found := h.seeks(office, text)
		require.True(t, slices.ContainsFunc(found.Lines, func(l registry.FoundLine) bool { return l.Donor.ID == one }), "%s %+v", text, found)
	}
	require.Equal(t, "unchanged", h.register(h.Registrar, again(1)).Status)
	// The protocol of what left ends, and that of what stays hears of the sample.
	told := values[string](h, `SELECT payload->>'fact' FROM outbox WHERE $1 = ANY(targets) ORDER BY 1`, other)
	require.Contains(t, told, "undone")
	require.Contains(t, values[string](h, `SELECT payload->>'fact' FROM outbox WHERE $1 = ANY(targets)`, one), "sample")
	_, err = h.Store.LoadEnrolment(ctx, system, other)
	requireCode(t, err, registry.NotFound, "case_not_found")
	facts, err := h.Store.LoadEnrolment(ctx, system, one)
	require.NoError(t, err)
	require.Equal(t, "typed", facts.Sample)
	merges, err := h.Store.ListMerges(ctx, office, one)
	require.NoError(t, err)
	require.Len(t, merges, 1)
}

func TestWhoCannotBeMadeOneIsToldWhy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	office := h.countyOffice()
	tries := func(pair registry.DuplicateLine, stays uuid.UUID) error {
		_, err := h.Store.MergeDonors(ctx, office, pair.ID, 0, registry.MergeForm{Stays: stays, Reason: "documents_seen", Number: h.show(office, stays).Number})
		return err
	}
	inCase := func(donor uuid.UUID) {
		h.sql(`INSERT INTO cases (id, number, protocol, subject_id, region, organisation_id, status, step, state, opened_at) SELECT gen_random_uuid(), 'SC-' || number, 'stemcell', id, region, organisation_id, 'open', 'stemcell.remobilisation', '{}', now() FROM registrations WHERE id = $1`, donor)
	}
	one, other, pair := h.twice(office, 1)
	inCase(other)
	requireCode(t, tries(pair, one), registry.Refused, "merge_leaving_in_case")
	inCase(one)
	requireCode(t, tries(pair, one), registry.Refused, "merge_both_in_case")
	one, _, pair = h.twice(office, 2, func(first, second *forms.Registration) {
		first.Programmes, second.Programmes = []rules.Programme{rules.Cornea}, []rules.Programme{rules.Cornea}
		second.Intent = rules.Refusal
	})
	requireCode(t, tries(pair, one), registry.Refused, "merge_wish_and_refusal")
	one, other, pair = h.twice(office, 3)
	h.sql(`INSERT INTO rights_requests (id, number, person_id, registration_id, kind, asker, via, region, organisation_id, filed_by, filed_at)
		SELECT gen_random_uuid(), 'RQ-1', person_id, id, 'access', 'person', 'counter', region, organisation_id, (SELECT id FROM staff LIMIT 1), now() FROM registrations WHERE id = $1`, other)
	requireCode(t, tries(pair, one), registry.Refused, "merge_rights_open")
	one, _, pair = h.twice(office, 4)
	m := h.merges(office, pair, one)
	inCase(one)
	_, err := h.Store.UnmergeDonors(ctx, office, m.ID, 0, registry.UnmergeForm{Reason: "twins", Number: m.Number})
	requireCode(t, err, registry.Refused, "merge_in_case")
}

// registerAsItIs is every row of the register that a merge may touch, but for what only says that something changed.
func (h *house) registerAsItIs() map[string][]string {
	h.t.Helper()
	out := map[string][]string{}
	for _, table := range []string{"persons", "person_documents", "registrations", "consents", "deferrals", "specimens", "typings", "donations", "certificates", "care_plans", "cases", "tasks", "case_parties",
		"contact_attempts", "reservations", "restrictions", "rights_requests", "shares", "emergency_access", "batch_rows", "staged_forms", "reveals", "custody"} {
		out[table] = values[string](h, `SELECT (to_jsonb(x) - 'version' - 'updated_at')::text FROM `+table+` x ORDER BY 1`)
	}
	return out
}

// Whatever two persons have, taking them apart again leaves the register as it was.
func TestUnmergingAfterMergingLeavesTheRegisterAsItWas(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	office := h.countyOffice()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		all := []rules.Programme{rules.StemCell, rules.Blood, rules.Cornea, rules.Body}
		programmes := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 4, rapid.ID[rules.Programme])
		one, other, pair := h.twice(office, n, func(first, second *forms.Registration) {
			first.Programmes, second.Programmes = programmes.Draw(t, "first's programmes"), programmes.Draw(t, "second's programmes")
			for name, f := range map[string]*forms.Registration{"first": first, "second": second} {
				f.ABO = identity.ABO(rapid.SampledFrom([]string{"", "A", "B"}).Draw(t, name+"'s group"))
				f.HeightCM = rapid.SampledFrom([]int{0, 170, 180}).Draw(t, name+"'s height")
				f.Email = seal.EmailOf(rapid.SampledFrom([]string{"", "a@example.org", "b@example.org"}).Draw(t, name+"'s mail"))
				if rapid.Bool().Draw(t, name+" has no contacts") && !slices.Contains(f.Programmes, rules.StemCell) {
					f.Contacts = nil
				}
			}
		})
		for name, donor := range map[string]uuid.UUID{"first": one, "second": other} {
			switch rapid.SampledFrom([]string{"", "withdrawn", "listed", "typed", "deferred", "kin"}).Draw(t, name+" is") {
			case "withdrawn":
				_, err := h.Store.Withdraw(ctx, office, donor, 0, registry.WithdrawForm{Via: "phone"})
				require.NoError(t, err)
			case "listed":
				h.sql(`UPDATE registrations SET status = 'listed', listed_on = registered_on WHERE id = $1 AND programme = 'stemcell'`, donor)
				h.sql(`UPDATE cases SET status = 'ended', ending = 'listed', ended_at = now() WHERE id = $1`, donor)
				h.typedPast(donor)
			case "typed":
				h.typedPast(donor)
			case "deferred":
				h.sql(`INSERT INTO deferrals (id, person_id, programme, reason, from_day, source) SELECT gen_random_uuid(), person_id, programme, 'medication', registered_on, 'task' FROM registrations WHERE id = $1`, donor)
			}
		}
		stays := rapid.SampledFrom([]uuid.UUID{one, other}).Draw(t, "who stays")
		take := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"name", "phone", "email", "contacts", "abo", "height_cm"}), 0, 6, rapid.ID[string]).Draw(t, "what is taken")
		before := h.registerAsItIs()
		m := h.merges(office, pair, stays, take...)
		require.NotEqual(t, before["persons"], h.registerAsItIs()["persons"])
		live := value[int](h, `SELECT coalesce(max(n), 0)::int FROM (SELECT count(*) AS n FROM registrations WHERE status NOT IN ('withdrawn', 'left', 'undone') GROUP BY person_id, programme) x`)
		require.LessOrEqual(t, live, 1)
		require.Zero(t, value[int](h, `SELECT count(*)::int FROM (SELECT 1 FROM typings WHERE current GROUP BY registration_id, kind HAVING count(*) > 1) x`))
		_, err := h.Store.UnmergeDonors(ctx, office, m.ID, 0, registry.UnmergeForm{Reason: "twins", Number: m.Number})
		require.NoError(t, err)
		after := h.registerAsItIs()
		for table := range before {
			require.Equal(t, before[table], after[table], table)
		}
		undone, err := h.Store.UnmergeDonors(ctx, office, m.ID, 0, registry.UnmergeForm{Reason: "twins", Number: m.Number})
		require.NoError(t, err)
		require.NotNil(t, undone.UndoneAt, "twice is once")
		require.Len(t, h.pairs(office, one), 1, "somebody has to look again")
	})
}

// typedPast types a donor past the registry.
func (h *house) typedPast(donor uuid.UUID) {
	specimen := uuid.New()
	h.sql(`INSERT INTO specimens (id, barcode, kind, person_id, registration_id, drawn_on, status, holder_id, region)
		SELECT $2, $3, 'enrolment', person_id, id, registered_on, 'typed', $4, region FROM registrations WHERE id = $1`, donor, specimen, "X"+strings.ToUpper(specimen.String()[:8]), h.Laboratory.ID)
	h.sql(`INSERT INTO typings (id, person_id, registration_id, specimen_id, laboratory_id, kind, method, nomenclature, gl_string, typed_on)
		SELECT gen_random_uuid(), person_id, registration_id, id, holder_id, 'enrolment', 'NGS', '3.57.0', $2, drawn_on FROM specimens WHERE id = $1`, specimen, gl)
}

func TestErasingWhoStayedErasesWhoWasMergedIntoThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	office := h.countyOffice()
	one, _, pair := h.twice(office, 1)
	m := h.merges(office, pair, one)
	_, err := h.Store.Withdraw(ctx, office, one, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	h.sql(`UPDATE cases SET status = 'ended', ended_at = now()`)
	require.NoError(t, h.Store.ErasePerson(ctx, system, value[uuid.UUID](h, `SELECT person_id FROM registrations WHERE id = $1`, one)))
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM persons WHERE key_wrapped IS NOT NULL OR likeness_index IS NOT NULL OR phone_index IS NOT NULL`))
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM merges WHERE snapshot_sealed IS NOT NULL`))
	_, err = h.Store.UnmergeDonors(ctx, office, m.ID, 0, registry.UnmergeForm{Reason: "twins", Number: m.Number})
	requireCode(t, err, registry.Refused, "merge_erased")
}
