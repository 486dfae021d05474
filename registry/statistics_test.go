package registry_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

func (h *house) statistics(by registry.Actor, q registry.StatisticsQuery) registry.StatisticsView {
	h.t.Helper()
	v, err := h.Store.Statistics(context.Background(), by, q)
	require.NoError(h.t, err)
	return v
}

// told is a figure as somebody reads it.
func told(f registry.Figure) string {
	if f.Withheld {
		return "?"
	}
	return fmt.Sprint(*f.Count)
}

func stages(v registry.StatisticsView) string {
	var out []string
	for _, s := range v.Stages {
		out = append(out, s.Stage+" "+told(s.Figure))
	}
	return strings.Join(out, ", ")
}

// counts makes rows of statistics: what a recount would have made of many people.
func (h *house) counts(region identity.Region, month calendar.Date, measure, code string, value, n int) {
	h.t.Helper()
	h.sql(`INSERT INTO statistics (region, month, measure, code, value, n) VALUES ($1, $2, $3, $4, $5, $6)`, string(region), month, measure, code, value, n)
}

// The numbers of a recount are those of the rows: every stage on the day on which it was reached, every way out with its reason.
func TestStatisticsTellWhatTheRowsTell(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	var typings []string
	for range 12 {
		typings = append(typings, gl)
	}
	donors := h.listed(typings...)
	search, other := h.search(h.TransplantDoctor, "").ID, h.search(h.OtherDoctor, "").ID
	var cases []uuid.UUID
	for i := range 10 {
		of, by := search, h.TransplantDoctor
		if i >= 5 {
			of, by = other, h.OtherDoctor
		}
		task := h.ask(registry.Question{CaseID: of, Step: "search.choice", Round: i + 1, Seat: registry.SeatTransplant, Role: policy.TransplantHospital})
		h.answer(by, task.TaskID, fields{"outcome": "request", "donors": donors[i : i+1]}, to("search.requested"))
		cases = append(cases, value[uuid.UUID](h, `SELECT case_id FROM reservations WHERE registration_id = $1 AND released_at IS NULL`, donors[i]))
	}
	for i, id := range cases {
		switch {
		case i < 7: // willing; five of them are collected from, one is not cleared, one is under way
			task := h.ask(registry.Question{CaseID: id, Step: "stemcell.remobilisation", Seat: registry.SeatCoordinator, Role: policy.Coordinator})
			h.answer(h.Coordinator, task.TaskID, fields{"outcome": "willing"}, to("stemcell.sample_booking"))
			if i < 5 {
				h.sql(`INSERT INTO donations (id, person_id, registration_id, case_id, programme, product, day, collected_on, hospital_id, volume_ml)
					SELECT uuid_v7(), person_id, id, $2, 'stemcell', 'HPC-A', 1, $3, $4, 200 FROM registrations WHERE id = $1`, donors[i], id, today(), h.Collection.ID)
			}
			if i == 5 {
				_, err := h.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: id, Version: h.version(id), At: time.Now(), Move: ends("stemcell.clearance", "not_cleared")})
				require.NoError(t, err)
			}
		case i == 7:
			_, err := h.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: id, Version: h.version(id), At: time.Now(), Move: ends("stemcell.remobilisation", "declined")})
			require.NoError(t, err)
		}
	}
	_, err := h.Store.Withdraw(ctx, h.Registrar, donors[11], 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	before := h.statistics(h.Coordinator, registry.StatisticsQuery{Region: "320106"})
	require.Nil(t, before.CountedAt)
	require.Equal(t, "registered 0, typed 0, matched 0, agreed 0, cleared 0, collected 0", stages(before))

	for range 2 { // counting again changes nothing
		require.NoError(t, h.Store.CountStatistics(ctx))
	}
	type row struct {
		measure, code string
		n             int
	}
	var got []row
	rows, err := h.conn().Query(ctx, `SELECT measure, code, sum(n)::int FROM statistics WHERE measure NOT IN ('took', 'in_time', 'late') AND region = '320106' GROUP BY 1, 2 ORDER BY 1, 2`)
	require.NoError(t, err)
	for rows.Next() {
		var r row
		require.NoError(t, rows.Scan(&r.measure, &r.code, &r.n))
		got = append(got, r)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, []row{
		{"agreed", "stemcell", 7}, {"collected", "stemcell", 5}, {"dropped", "agreed/not_cleared", 1}, {"dropped", "matched/declined", 1}, {"dropped", "typed/withdrawn", 1},
		{"matched", "stemcell", 10}, {"registered", "stemcell", 12}, {"standing", "stemcell/listed", 9}, {"standing", "stemcell/unavailable", 2}, {"standing", "stemcell/withdrawn", 1}, {"typed", "stemcell", 12},
	}, got)

	v := h.statistics(h.Coordinator, registry.StatisticsQuery{Region: "320106", Year: signed().Year()})
	require.NotNil(t, v.CountedAt)
	if signed().Year() == today().Year() {
		require.Equal(t, "registered 12, typed 12, matched 10, agreed 7, cleared 0, collected 5", stages(v))
	}
	for _, d := range v.Dropped {
		require.True(t, d.Withheld, "one person is nobody's to read off a page")
	}
	took := map[string]registry.TookFigure{}
	for _, f := range h.statistics(h.Coordinator, registry.StatisticsQuery{Region: "320106", Year: today().Year()}).Took {
		took[f.Step] = f
	}
	require.Equal(t, []int{12, 12, 12, 12}, []int{*took["typing"].Count, *took["typing"].Lower, *took["typing"].Median, *took["typing"].Most}, "drawn twelve days ago, typed today")
	require.Equal(t, 0, *took["stemcell.remobilisation"].Median)

	// What was undone, or belongs elsewhere now, is right with the next count.
	h.sql(`UPDATE registrations SET region = '320205' WHERE id = $1`, donors[10])
	require.NoError(t, h.Store.CountStatistics(ctx))
	require.Equal(t, 11, value[int](h, `SELECT sum(n)::int FROM statistics WHERE measure = 'registered' AND region = '320106'`))
}

func TestAQuantileIsTheLeastNumberOfDaysInWhichAShareWasDone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	month := calendar.Must(2025, time.March, 1)
	for days, n := range map[int]int{1: 2, 2: 3, 5: 4, 9: 1} {
		h.counts("320106", month, "took", "stemcell.clearance", days, n)
	}
	h.counts("320106", month, "in_time", "stemcell.clearance", 0, 7)
	h.counts("320106", month, "late", "stemcell.clearance", 0, 3)
	h.counts("320106", month, "in_time", "stemcell.schedule", 0, 4)
	v := h.statistics(h.Coordinator, registry.StatisticsQuery{Region: "320106", Year: 2025})
	require.Len(t, v.Took, 1)
	f := v.Took[0]
	require.Equal(t, []int{10, 2, 2, 5, 5}, []int{*f.Count, *f.Lower, *f.Median, *f.Upper, *f.Most})
	require.Len(t, v.Deadlines, 2)
	require.Equal(t, []string{"stemcell.clearance", "10", "70"}, []string{v.Deadlines[0].Step, told(v.Deadlines[0].Figure), fmt.Sprint(*v.Deadlines[0].InTime)})
	require.True(t, v.Deadlines[1].Withheld)
	require.Nil(t, v.Deadlines[1].InTime)
	require.Empty(t, h.statistics(h.Coordinator, registry.StatisticsQuery{Region: "320106", Year: 2024}).Took)
}

func TestStatisticsAreOfTheActorsRegionsAndSmallNumbersAreWithheldFromAll(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	january, may := calendar.Must(2025, time.January, 1), calendar.Must(2025, time.May, 1)
	for region, n := range map[identity.Region]int{"320102": 30, "320106": 3, "320111": 40, "320205": 50, "110108": 60} {
		h.counts(region, january, "registered", "stemcell", 0, n)
	}
	h.counts("320111", may, "registered", "stemcell", 0, 2)
	h.counts("320205", may, "registered", "stemcell", 0, 20)
	h.counts("320106", may, "registered", "organ", 0, 9)
	province := h.Staff(t, "province", h.City, policy.ProvincialOffice, "320000")
	bridge := h.Staff(t, "bridge", h.City, policy.Bridge, string(identity.Nation))
	regions := func(v registry.StatisticsView) map[identity.Region]string {
		out := map[identity.Region]string{}
		for _, r := range v.Regions {
			if told(r.Figure) != "0" {
				out[r.Region] = told(r.Figure)
			}
		}
		return out
	}
	v := h.statistics(h.CityCoordinator, registry.StatisticsQuery{Region: "320100", Year: 2025})
	require.Equal(t, "75", told(v.Total))
	require.Equal(t, map[identity.Region]string{"320102": "30", "320106": "?", "320111": "?"}, regions(v), "3 alone would be what is left")
	require.Empty(t, v.Months)
	require.True(t, v.Withheld, "two in May")
	county := h.statistics(h.Coordinator, registry.StatisticsQuery{Region: "320106", Year: 2025})
	require.Equal(t, "?", told(county.Total))
	require.Equal(t, "9", told(h.statistics(h.Coordinator, registry.StatisticsQuery{Region: "320106", Year: 2025, Programme: "organ"}).Total))
	v = h.statistics(province, registry.StatisticsQuery{Year: 2025})
	require.Equal(t, identity.Region("320000"), v.Region, "the widest that is theirs")
	require.Equal(t, map[identity.Region]string{"320100": "75", "320200": "70"}, regions(v))
	require.InDelta(t, 75.0/145, *v.Regions[0].Share, 1e-9)
	v = h.statistics(bridge, registry.StatisticsQuery{Year: 2025})
	require.Equal(t, map[identity.Region]string{"320000": "145", "110000": "60"}, regions(v))
	require.Len(t, v.Months, 12)
	require.Equal(t, []int{183, 0, 0, 0, 22}, []int{v.Months[0].Count, v.Months[1].Count, v.Months[2].Count, v.Months[3].Count, v.Months[4].Count})

	for by, region := range map[registry.Actor]identity.Region{h.Coordinator: "320100", province: "110000", h.Registrar: identity.Nation, h.TransplantDoctor: "310104", h.Technician: "320106", h.Auditor: "320106", h.CollectionDoctor: "320102"} {
		_, err := h.Store.Statistics(ctx, by, registry.StatisticsQuery{Region: region, Year: 2025})
		requireCode(t, err, registry.Denied, "denied")
		_, err = h.Store.StatisticsSheet(ctx, by, registry.StatisticsQuery{Region: region, Year: 2025})
		requireCode(t, err, registry.Denied, "denied")
	}
	_, err := h.Store.StatisticsSheet(ctx, h.Registrar, registry.StatisticsQuery{Region: "320106", Year: 2025})
	requireCode(t, err, registry.Denied, "denied") // reads a page, and takes no sheet away
	for _, q := range []registry.StatisticsQuery{{Region: "320106", Year: 1999}, {Region: "320106", Measure: "happiness"}, {Region: "nowhere"}} {
		_, err := h.Store.Statistics(ctx, h.Coordinator, q)
		requireCode(t, err, registry.Invalid, "form_invalid")
	}

	for _, l := range lang.Locales() {
		by := province
		by.Locale = l
		sheet, err := h.Store.StatisticsSheet(ctx, by, registry.StatisticsQuery{Region: "320100", Year: 2025})
		require.NoError(t, err)
		text, marked := strings.CutPrefix(string(sheet.Data), "\ufeff")
		require.True(t, marked, "a spreadsheet takes it for UTF-8")
		lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		require.NoError(t, err)
		require.Len(t, lines, sheet.Rows+1)
		found := 0
		for _, line := range lines[1:] {
			if line[4] == "江苏省南京市鼓楼区" {
				require.Equal(t, l.Say("statistics.withheld", nil), line[5])
				found++
			}
			require.NotContains(t, line[5], "3 ")
		}
		require.Equal(t, 1, found)
	}
	require.Equal(t, "320100", value[string](h, `SELECT split_part(target, ':', 2) FROM audit WHERE act = 'StatisticsSheet' AND allowed LIMIT 1`), "who takes numbers away is in the audit")
}

func TestACardHasTheNumberOfTheListThatItOpens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donors := h.listed(gl, gl, gl)
	search := h.search(h.TransplantDoctor, "").ID
	asked := h.request(h.TransplantDoctor, search, donors[0])[0]
	h.ask(registry.Question{CaseID: asked, Step: "stemcell.remobilisation", Seat: registry.SeatCoordinator, Role: policy.Coordinator, DueAt: time.Now().Add(-time.Hour), At: time.Now().Add(-2 * time.Hour)})
	require.NoError(t, h.Store.CountStatistics(ctx))
	cards := func(by registry.Actor) map[string]int {
		list, err := h.Store.Cards(ctx, by)
		require.NoError(t, err)
		out := map[string]int{}
		for _, c := range list {
			out[c.Code] = c.Count
			require.NotEmpty(t, c.Path)
		}
		return out
	}
	coordinator := cards(h.Coordinator)
	open, err := h.Store.ListCases(ctx, h.Coordinator, registry.CaseFilter{Status: "open", Limit: 200})
	require.NoError(t, err)
	require.NotEmpty(t, open)
	require.Equal(t, len(open), coordinator["cases_open"])
	overdue, err := h.Store.ListTasks(ctx, h.Coordinator, registry.TaskFilter{DueTo: time.Now()})
	require.NoError(t, err)
	require.Len(t, overdue, 1)
	require.Equal(t, 1, coordinator["tasks_overdue"])
	found, err := h.Store.ListDonors(ctx, h.Coordinator, registry.DonorFilter{Programme: "stemcell", Status: "listed"})
	require.NoError(t, err)
	require.Equal(t, len(found), coordinator["donors_listed"])
	hospital := cards(h.TransplantDoctor)
	listed, err := h.Store.ListCases(ctx, h.TransplantDoctor, registry.CaseFilter{Status: "open", Limit: 200})
	require.NoError(t, err)
	require.Equal(t, len(listed), hospital["cases_open"])
	require.NotContains(t, hospital, "donors_listed")
	require.Contains(t, hospital, "searches_open")
	require.NotContains(t, coordinator, "searches_open", "that somebody searches is the patient's side's")
	require.Empty(t, cards(h.Auditor))
}

func TestADriveIsToldByItsRowsItsErrorsAndItsTubes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.listed(gl, gl, gl, gl, gl, gl)
	small := h.drive()
	h.sampled(small, 50, 51)
	year := signed().Year()
	h.sql(`INSERT INTO batches (id, number, drive_id, region, organisation_id, kind, file_sha256, status, rows_total, verdicts, uploaded_by)
		SELECT uuid_v7(), 'B-x', id, region, organisation_id, 'csv', 'x', 'committed', 50, '{"error": 5, "duplicate": 1, "ready": 44}', leader_id FROM drives ORDER BY id LIMIT 1`)
	list, err := h.Store.DriveStatistics(ctx, h.Coordinator, registry.StatisticsQuery{Year: year})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, small.ID, list[0].ID, "the latest first")
	require.Equal(t, "?", told(list[0].Tubes))
	require.Nil(t, list[0].Typed)
	big := list[1]
	require.Equal(t, []string{"6", "100", "12"}, []string{told(big.Tubes), fmt.Sprint(*big.Typed), fmt.Sprint(*big.Days)})
	require.GreaterOrEqual(t, *big.Rows.Count, 50)
	require.Equal(t, 100*5 / *big.Rows.Count, *big.Errors)
	other, err := h.Store.DriveStatistics(ctx, h.Coordinator, registry.StatisticsQuery{Year: year - 5})
	require.NoError(t, err)
	require.Empty(t, other)
	_, err = h.Store.DriveStatistics(ctx, h.TransplantDoctor, registry.StatisticsQuery{Year: year})
	requireCode(t, err, registry.Denied, "denied")
}
