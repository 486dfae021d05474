package registry_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// list puts every stem-cell donor of the office on the list, as if typed.
func (o *office) list(t tester) {
	t.Helper()
	_, err := o.db.Exec(context.Background(), `UPDATE registrations SET status = 'listed' WHERE programme = 'stemcell'`)
	require.NoError(t, err)
}

// on opens the office's register on another day.
func (o *office) on(t *testing.T, day calendar.Date) *registry.Store {
	t.Helper()
	store, err := registry.Open(context.Background(), registry.Options{URL: o.address, Keys: registrytest.Keys(), Now: func() time.Time { return day.Start(registry.Zone).Add(9 * time.Hour) }})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return store
}

func (o *office) donor(t tester) uuid.UUID {
	t.Helper()
	return uuid.MustParse(o.lines(t, `SELECT id::text FROM registrations WHERE programme = 'stemcell' ORDER BY id LIMIT 1`)[0])
}

func (o *office) state(t tester, id uuid.UUID) string {
	t.Helper()
	return o.lines(t, `SELECT concat_ws(' ', status, status_reason, unavailable_until) FROM registrations WHERE id = $1`, id)[0]
}

func TestADonorLeavesTheRegisterOnTheSixtiethBirthdayAndNotBefore(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 2000)
	o.commit(t, o.check(t, sheetOf(t, "H000", 30, 1, nil)).ID, registry.CommitForm{})
	o.list(t)
	id := o.donor(t)
	birth, err := calendar.Parse(o.lines(t, `SELECT birth_date::text FROM persons`)[0])
	require.NoError(t, err)
	sixty := birth.AddYears(60)

	require.NoError(t, o.on(t, sixty.AddDays(-1)).Upkeep(ctx))
	require.Equal(t, "listed ", o.state(t, id))
	// A case keeps its donor until it ends.
	_, err = o.db.Exec(ctx, `INSERT INTO reservations (id, registration_id, case_id, reserved_at, expires_at) VALUES ($1, $2, $1, now(), now())`, uuid.New(), id)
	require.NoError(t, err)
	require.NoError(t, o.on(t, sixty).Upkeep(ctx))
	require.Equal(t, "listed ", o.state(t, id))
	_, err = o.db.Exec(ctx, `UPDATE reservations SET released_at = now()`)
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, o.on(t, sixty).Upkeep(ctx))
		require.Equal(t, "left AG", o.state(t, id))
	}
	require.Equal(t, []string{`{"Age": 60}`}, o.lines(t, `SELECT args::text FROM events WHERE code = 'registration.left'`))
}

func TestADonorWhoWasUnavailableIsListedTheDayAfter(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 2000)
	o.commit(t, o.check(t, sheetOf(t, "H001", 31, 1, nil)).ID, registry.CommitForm{})
	o.list(t)
	id, today := o.donor(t), calendar.Of(time.Now(), registry.Zone)
	until := today.AddDays(20)
	_, err := o.Store.CheckInDonor(ctx, o.Coordinator, id, 0, registry.CheckIn{Outcome: "unavailable", On: today, Reason: "pregnancy", Until: until})
	require.NoError(t, err)
	require.Equal(t, "unavailable MR "+until.String(), o.state(t, id))
	require.NoError(t, o.on(t, until).Upkeep(ctx))
	require.Equal(t, "unavailable MR "+until.String(), o.state(t, id))
	require.NoError(t, o.on(t, until.AddDays(1)).Upkeep(ctx))
	require.Equal(t, "listed ", o.state(t, id))
	require.Len(t, o.lines(t, `SELECT id::text FROM events WHERE code = 'registration.available'`), 1)
}

func TestAnOfficeHearsOnceAMonthWhomToAskAgain(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 2000)
	o.commit(t, o.check(t, sheetOf(t, "H002", 32, 3, nil)).ID, registry.CommitForm{})
	o.list(t)
	id := o.donor(t)
	signed, err := calendar.Parse(o.lines(t, `SELECT min(registered_on)::text FROM registrations`)[0])
	require.NoError(t, err)
	due := signed.AddYears(1)
	notices := func() []string {
		return o.lines(t, `SELECT args->>'Donors' FROM notices WHERE code = 'registration.checkin_due' AND organisation_id = $1 ORDER BY created_at`, o.County.ID)
	}
	require.NoError(t, o.on(t, due.AddDays(-1)).Upkeep(ctx))
	require.Empty(t, notices())
	for range 2 {
		require.NoError(t, o.on(t, due).Upkeep(ctx))
		require.Equal(t, []string{"3"}, notices())
	}
	// The list behind the number.
	filter := registry.DonorFilter{Programme: "stemcell", Status: "listed", ContactedBefore: signed.AddDays(1)}
	donors, err := o.Store.ListDonors(ctx, o.Coordinator, filter)
	require.NoError(t, err)
	require.Len(t, donors, 3)
	_, err = o.on(t, due).CheckInDonor(ctx, o.Coordinator, id, 0, registry.CheckIn{Outcome: "confirmed", On: due})
	require.NoError(t, err)
	donors, err = o.Store.ListDonors(ctx, o.Coordinator, filter)
	require.NoError(t, err)
	require.Len(t, donors, 2)
	require.NoError(t, o.on(t, due.AddMonths(1)).Upkeep(ctx))
	require.Equal(t, []string{"3", "2"}, notices())
}

func TestWhatACheckInSaysOfADonor(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, 2000)
	o.commit(t, o.check(t, sheetOf(t, "H003", 33, 1, nil)).ID, registry.CommitForm{})
	id, today := o.donor(t), calendar.Of(time.Now(), registry.Zone)
	for n, c := range []struct {
		status, reason, until string // before
		form                  registry.CheckIn
		then, refusal         string
		reached               bool
	}{
		{"listed", "", "", registry.CheckIn{Outcome: "confirmed", On: today}, "listed ", "", true},
		{"listed", "", "", registry.CheckIn{Outcome: "unreachable", On: today}, "listed ", "", false},
		{"listed", "", "", registry.CheckIn{Outcome: "unavailable", On: today, Reason: "abroad", Until: today.AddDays(1)}, "unavailable PR " + today.AddDays(1).String(), "", true},
		{"unavailable", "PR", "", registry.CheckIn{Outcome: "confirmed", On: today}, "listed ", "", true},
		{"unavailable", "UC", "", registry.CheckIn{Outcome: "confirmed", On: today}, "listed ", "", true},
		{"unavailable", "UC", "", registry.CheckIn{Outcome: "unreachable", On: today}, "unavailable UC", "", false},
		{"unavailable", "MR", "2090-01-01", registry.CheckIn{Outcome: "confirmed", On: today}, "unavailable MR 2090-01-01", "", true},
		{"unavailable", "TX", "2090-01-01", registry.CheckIn{Outcome: "confirmed", On: today}, "unavailable TX 2090-01-01", "", true},
		{"enrolling", "", "", registry.CheckIn{Outcome: "confirmed", On: today}, "enrolling ", "", true},
		{"enrolling", "", "", registry.CheckIn{Outcome: "unavailable", On: today, Reason: "health", Until: today.AddDays(1)}, "enrolling ", "donor_not_listed", false},
		{"withdrawn", "", "", registry.CheckIn{Outcome: "confirmed", On: today}, "withdrawn ", "donor_gone", false},
		{"left", "AG", "", registry.CheckIn{Outcome: "confirmed", On: today}, "left AG", "donor_gone", false},
	} {
		t.Run(fmt.Sprintf("%d %s %s, %s", n, c.status, c.reason, c.form.Outcome), func(t *testing.T) {
			_, err := o.db.Exec(ctx, `UPDATE registrations SET status = $1, status_reason = $2, unavailable_until = nullif($3, '')::date`, c.status, c.reason, c.until)
			require.NoError(t, err)
			_, err = o.db.Exec(ctx, `UPDATE persons SET last_contact = '2020-02-02'`)
			require.NoError(t, err)
			_, err = o.Store.CheckInDonor(ctx, o.Coordinator, id, 0, c.form)
			if c.refusal != "" {
				require.Equal(t, c.refusal, codeOf(t, err))
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, c.then, o.state(t, id))
			require.Equal(t, c.reached, o.lines(t, `SELECT last_contact::text FROM persons`)[0] == today.String())
		})
	}
	for field, form := range map[string]registry.CheckIn{
		"on":      {Outcome: "confirmed", On: today.AddDays(1)},
		"until":   {Outcome: "unavailable", On: today, Reason: "health", Until: today},
		"reason":  {Outcome: "unavailable", On: today, Until: today.AddDays(3)},
		"outcome": {Outcome: "gone", On: today},
	} {
		_, err := o.Store.CheckInDonor(ctx, o.Coordinator, id, 0, form)
		var e *registry.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, registry.Invalid, e.Kind)
		require.Equal(t, field, e.Problems[0].Field)
	}
	_, err := o.Store.CheckInDonor(ctx, o.TransplantDoctor, id, 0, registry.CheckIn{Outcome: "confirmed", On: today})
	require.Error(t, err, "a hospital does not check in on donors")
}
