package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// decider is a member of the county's office who decides.
func decider(t testing.TB, d *workflowstest.Desk) registry.Actor {
	t.Helper()
	return d.Staff(t, "office", d.County, policy.CountyOffice, "320106")
}

// asks files a request of a volunteer.
func asks(d *workflowstest.Desk, kind string, donor uuid.UUID) uuid.UUID {
	d.T.Helper()
	f := forms.RightsRequest{Donor: donor, Kind: kind, Asker: "person", Via: "letter"}
	if kind == "correction" {
		f.Correction = &forms.Correction{HeightCM: 172, Evidence: "statement"}
	}
	v, err := d.Store.FileRights(context.Background(), d.Registrar, f)
	require.NoError(d.T, err)
	return v.ID
}

// enrolled registers a volunteer.
func enrolled(d *workflowstest.Desk, n int) uuid.UUID {
	d.T.Helper()
	entries, err := d.Store.Register(context.Background(), d.Registrar, uuid.NewString(), registry.EntryForm{AcceptWarnings: true, Forms: []forms.Registration{volunteer(n, today(), "")}})
	require.NoError(d.T, err)
	return entries[0].Donors[0].ID
}

var (
	proven  = map[string]any{"outcome": "confirmed", "on": today().String(), "proof": []string{"identity_document"}}
	carried = map[string]any{"outcome": "done", "on": today().String()}
	hears   = map[string]any{"outcome": "told", "on": today().String(), "channel": "phone"}
)

func TestAVolunteerIsErasedOnTheirWord(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	office, donor := decider(t, d), enrolled(d, 1)
	id := asks(d, "deletion", donor)
	d.Answer(d.Registrar, "rights.identity", proven, id)
	d.Answer(office, "rights.decision", map[string]any{"outcome": "grant"}, id)
	d.Answer(office, "rights.carrying_out", carried, id)
	d.Answer(d.Registrar, "rights.telling", hears, id)
	v := d.Case(office, id, func(v registry.CaseView) bool { return v.Status == "ended" })
	require.Equal(t, "erased", v.Ending)
	seen, err := d.Store.ShowDonor(context.Background(), d.Registrar, donor)
	require.NoError(t, err)
	require.Equal(t, []string{"erased", "withdrawn"}, []string{seen.HeldBack, seen.Status})
	// The enrolment heard that the donor withdrew.
	d.Case(office, donor, func(v registry.CaseView) bool { return v.Ending == "withdrawn" })
}

// Nobody answers: the office above hears of it, and the request is still there, after the law's days too.
func TestARequestThatWaitsGoesUpTheOffices(t *testing.T) {
	t.Parallel()
	d := workflowstest.New(t)
	office := decider(t, d)
	city := d.Staff(t, "cityoffice", d.City, policy.CityOffice, "320100")
	id := asks(d, "copy", enrolled(d, 1))
	d.Answer(d.Registrar, "rights.identity", proven, id)
	task := d.Task(office, "rights.decision", id)
	require.False(t, task.DueAt.After(time.Now().AddDate(0, 0, 31)))
	d.Pass(registry.RightsProtocol, id, 45*aDay)
	require.Equal(t, 1, told(d, city, "task.escalated", true))
	require.Equal(t, 3, d.Task(office, "rights.decision", id).Level)
	d.Answer(office, "rights.decision", map[string]any{"outcome": "refuse", "reason": "unfounded"}, id)
	d.Answer(d.Registrar, "rights.telling", hears, id)
	d.Case(office, id, func(v registry.CaseView) bool { return v.Ending == "refused" })
}
