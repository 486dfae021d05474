package registry_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// seeks types a text into the search box.
func (h *house) seeks(by registry.Actor, text string) registry.Found {
	h.t.Helper()
	found, err := h.Store.Find(context.Background(), by, registry.LookForm{Text: seal.NoteOf(text)})
	require.NoError(h.t, err)
	return found
}

func TestWhatSomebodyTypesIsFoundByItsForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	donor := h.sampled(h.drive(), 1)[0]
	number := h.show(h.Coordinator, donor).Number
	tail := residentNumber(1)[14:]
	for text, as := range map[string]string{
		number: "donor", " " + number[:4] + " " + number[4:]: "donor", barcode(1): "barcode", strings.ToLower(barcode(1)): "barcode",
		residentNumber(1): "document", tail + " 2000-01-01": "tail", tail + "，2000年1月1日": "tail", "20000101 " + tail: "tail", "２０００－０１－０１　" + tail: "tail",
		strings.ToLower(tail) + "/20000101": "tail",
	} {
		found := h.seeks(h.Coordinator, text)
		require.Equal(t, as, found.As, text)
		require.Len(t, found.Lines, 1, text)
		require.Equal(t, donor, found.Lines[0].Donor.ID, text)
		require.Equal(t, "张*明", found.Lines[0].Donor.Name.Display, text)
	}
	found := h.seeks(h.Coordinator, "EN-"+number)
	require.Equal(t, "case", found.As)
	require.Equal(t, donor, found.Lines[0].Case.ID)
	for _, text := range []string{
		number[:11] + string('0'+(number[11]-'0'+1)%10), // a slip of the finger
		"NO-2026-000001", "9999 2000-01-01", tail + " 2000-01-02", "TB000999", "张小明", "张", "13800000001", tail, "2000-01-01",
	} {
		require.Empty(t, h.seeks(h.Coordinator, text).Lines, text)
	}
}

func TestWhatTheReaderMayNotKnowOfIsNotFound(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	donor := h.sampled(h.drive(), 1)[0]
	number := h.show(h.Coordinator, donor).Number
	tail := residentNumber(1)[14:] + " 2000-01-01"
	far := h.Staff(t, "far", h.OtherTransplant, policy.Coordinator, "110108")
	search := h.search(h.TransplantDoctor, "")
	for who, by := range map[string]registry.Actor{"far": far, "hospital": h.TransplantDoctor, "laboratory": h.Technician, "auditor": h.Auditor, "administrator": h.Administrator} {
		for _, text := range []string{number, "EN-" + number, barcode(1), tail, residentNumber(1)} {
			require.Empty(t, h.seeks(by, text).Lines, "%s %s", who, text)
		}
	}
	require.Equal(t, search.ID, h.seeks(h.TransplantDoctor, search.Number).Lines[0].Search.ID)
	require.Empty(t, h.seeks(h.OtherDoctor, search.Number).Lines)
	require.Empty(t, h.seeks(h.Coordinator, search.Number).Lines)
	// The organ coordinator finds people and reads no samples.
	organ := h.Staff(t, "organ", h.County, policy.OrganCoordinator, "320106")
	require.NotEmpty(t, h.seeks(organ, tail).Lines)
	require.Empty(t, h.seeks(organ, barcode(1)).Lines)
	// What was looked for is in the audit as a digest.
	fields := strings.Join(values[string](h, `SELECT fields FROM audit WHERE act = 'Find'`), "\n")
	require.Contains(t, fields, "tail#")
	require.NotContains(t, fields, tail[:4])
	require.NotContains(t, fields, number)
}

func TestWhoLooksInVainTooOftenIsStoppedAndSomebodyHearsOfIt(t *testing.T) {
	t.Parallel()
	clock := newClock()
	clock.at = clock.at.Truncate(time.Hour).Add(time.Minute)
	h := newHouse(t, registry.Options{Now: clock.now})
	donor := h.donor(1)
	number := h.show(h.Coordinator, donor).Number
	h.sql(`INSERT INTO probes (staff_id, hour, made) SELECT id, $1, 58 FROM staff WHERE login = 'coordinator'`, clock.at.UTC().Truncate(time.Hour))
	require.NotEmpty(t, h.seeks(h.Coordinator, number).Lines, "what is found by its whole number counts for nothing")
	require.NotEmpty(t, h.seeks(h.Coordinator, residentNumber(1)[14:]+" 2000-01-01").Lines)
	require.Empty(t, h.seeks(h.Coordinator, "nothing").Lines)
	for range 2 {
		_, err := h.Store.Find(context.Background(), h.Coordinator, registry.LookForm{Text: seal.NoteOf(number)})
		requireCode(t, err, registry.Locked, "probes_an_hour")
	}
	require.Equal(t, 60, value[int](h, `SELECT made FROM probes`))
	require.Equal(t, 2, value[int](h, `SELECT count(*)::int FROM notices WHERE code = 'access.probed'`), "the office and the security administrator, once")
	require.NotEmpty(t, h.seeks(h.CityCoordinator, number).Lines, "another one looks on")
	clock.pass(time.Hour)
	require.NotEmpty(t, h.seeks(h.Coordinator, number).Lines)
}

// Rows of a program before this one have no such index; upkeep gives it to them, and what was begun and died goes on.
func TestOldRowsAreFoundOnceUpkeepHasBeenAtThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registry.Options{ImportChunk: 2})
	for n := range 5 {
		h.donor(n + 1)
	}
	before := values[string](h, `SELECT encode(tail_index, 'hex') FROM person_documents UNION ALL SELECT encode(phone_index, 'hex') FROM persons ORDER BY 1`)
	require.Len(t, before, 10)
	h.sql(`UPDATE person_documents SET tail_index = NULL WHERE id <> (SELECT id FROM person_documents ORDER BY id LIMIT 1)`)
	h.sql(`UPDATE persons SET phone_index = NULL`)
	require.Empty(t, h.seeks(h.Coordinator, residentNumber(5)[14:]+" 2000-01-01").Lines)
	require.NoError(t, h.Store.Upkeep(context.Background()))
	require.NotEmpty(t, h.seeks(h.Coordinator, residentNumber(5)[14:]+" 2000-01-01").Lines)
	require.Equal(t, before, values[string](h, `SELECT encode(tail_index, 'hex') FROM person_documents UNION ALL SELECT encode(phone_index, 'hex') FROM persons ORDER BY 1`))
}

func TestADonorsPageTellsHowTheyStand(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, glNine)
	search := h.search(h.TransplantDoctor, "")
	caseID := h.request(h.TransplantDoctor, search.ID, donors[0])[0]
	_, err := h.Store.AddAttempt(ctx, h.Coordinator, caseID, forms.ContactAttempt{At: time.Now(), Channel: "phone", Whom: "donor", Result: "no_answer"})
	require.NoError(t, err)
	v := h.show(h.Coordinator, donors[0])
	require.Len(t, v.Flags.Cases, 1)
	require.Equal(t, caseID, v.Flags.Cases[0].ID)
	require.NotNil(t, v.Flags.ReservedUntil)
	require.Equal(t, 1, v.Attempts.Today)
	require.Equal(t, []any{"phone", "donor", "no_answer", "Test coordinator"}, []any{v.Attempts.Lines[0].Channel, v.Attempts.Lines[0].Whom, v.Attempts.Lines[0].Result, v.Attempts.Lines[0].By})
	require.Equal(t, "high", v.Typings[0].Resolution)
	require.True(t, v.Typings[0].Current)
	require.Equal(t, []string{"sent", "good"}, []string{v.Specimens[0].Custody[0].Condition, v.Specimens[0].Custody[1].Condition})
	require.Equal(t, "江苏分型实验室", v.Specimens[0].Holder)
	require.Equal(t, "stemcell", v.Consents[0].Programme)
	h.sql(`INSERT INTO deferrals (id, person_id, programme, reason, from_day, until_day, source) SELECT gen_random_uuid(), person_id, 'stemcell', 'medication', $2, $3, 'task' FROM registrations WHERE id = $1`, donors[1], today(), today().AddDays(9))
	v = h.show(h.Coordinator, donors[1])
	require.True(t, v.Flags.Deferred)
	require.Equal(t, today().AddDays(9), v.Flags.DeferredUntil)
	require.Empty(t, v.Flags.Cases)
	// A registrar who did not enter them reads neither health nor cases.
	colleague := h.Staff(t, "colleague", h.County, policy.Registrar, "320106")
	v = h.show(colleague, donors[1])
	require.False(t, v.Flags.Deferred)
	require.True(t, v.Flags.DeferredUntil.IsZero())
	require.Nil(t, v.Attempts)
	v = h.show(colleague, donors[0])
	require.Nil(t, v.Flags.Cases)
	require.Nil(t, v.Flags.ReservedUntil)
}

func TestADonorIsNotCalledAtNightNorTooOftenInADay(t *testing.T) {
	t.Parallel()
	day := today()
	at := func(hour, minute int) time.Time {
		return day.Start(registry.Zone).Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
	}
	tomorrow := day.AddDays(1).Start(registry.Zone).Add(8 * time.Hour)
	for _, c := range []struct {
		now  time.Time
		made []time.Time
		next time.Time
	}{
		{at(10, 0), nil, at(10, 0)},
		{at(7, 59), nil, at(8, 0)},
		{at(8, 0), nil, at(8, 0)},
		{at(20, 59), nil, at(20, 59)},
		{at(21, 0), nil, tomorrow},
		{at(12, 0), []time.Time{at(9, 0), at(10, 0)}, at(12, 0)},
		{at(12, 0), []time.Time{at(9, 0), at(10, 0), at(11, 0)}, tomorrow},
		{at(7, 0), []time.Time{at(5, 0), at(5, 30), at(6, 0)}, tomorrow},
		{at(12, 0), []time.Time{at(9, 0).AddDate(0, 0, -1), at(10, 0).AddDate(0, 0, -1), at(11, 0).AddDate(0, 0, -1)}, at(12, 0)},
	} {
		s := registry.NextCall(rules.Embedded().For("320106", day), c.now, c.made)
		if c.next.Equal(c.now) {
			require.True(t, s.MayNow, "%v", c.now)
			require.Nil(t, s.NextAt, "%v", c.now)
		} else {
			require.False(t, s.MayNow, "%v", c.now)
			require.Equal(t, c.next, *s.NextAt, "%v", c.now)
		}
	}
}

func TestATailIsGoneWithThePersonAndComesAnewWithTheBirthDate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	donor := h.donor(1)
	require.Len(t, h.seeks(h.Coordinator, residentNumber(1)[14:]+" 2000-01-01").Lines, 1)
	_, err := h.Store.Withdraw(context.Background(), h.Coordinator, donor, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	h.sql(`UPDATE cases SET status = 'ended', ended_at = now()`)
	require.NoError(t, h.Store.ErasePerson(context.Background(), system, value[uuid.UUID](h, `SELECT person_id FROM registrations`)))
	require.Empty(t, h.seeks(h.Coordinator, residentNumber(1)[14:]+" 2000-01-01").Lines)
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM person_documents WHERE tail_index IS NOT NULL`))
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM persons WHERE phone_index IS NOT NULL`))
}
