package web_test

import (
	"encoding/csv"
	"net/http"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
)

// counted are numbers of 2025 as a count would have made them.
func (p *pages) counted() {
	p.exec(`INSERT INTO statistics (region, month, measure, code, value, n) VALUES
		('320106', '2025-01-01', 'registered', 'stemcell', 0, 300), ('320102', '2025-01-01', 'registered', 'stemcell', 0, 3), ('320111', '2025-01-01', 'registered', 'stemcell', 0, 40), ('110108', '2025-02-01', 'registered', 'stemcell', 0, 1200),
		('320106', '2025-03-01', 'typed', 'stemcell', 0, 280), ('320106', '2025-05-01', 'dropped', 'matched/declined', 0, 7),
		('320106', '2025-03-01', 'took', 'stemcell.clearance', 3, 5), ('320106', '2025-03-01', 'took', 'stemcell.clearance', 9, 5), ('320106', '2025-03-01', 'in_time', 'stemcell.clearance', 0, 8), ('320106', '2025-03-01', 'late', 'stemcell.clearance', 0, 2)`)
	p.exec(`UPDATE statistics_counted SET at = now()`)
}

func TestACoordinatorReadsTheNumbersOfTheirRegionAsChartsAndTables(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	p.counted()
	page := p.get(p.Coordinator, "/dashboard?year=2025").is(200)
	words := page.words()
	for _, want := range []string{"江苏省南京市鼓楼区", "数据截至", "登记 300", "完成分型 280", "初配相合并申请捐献者不愿意7", "80%"} {
		require.Contains(t, words, want)
	}
	require.Equal(t, 4, page.Find("figure svg[role=img]").Length(), "a chart for the stages, the days, the parts and the months")
	page.Find("figure svg").Each(func(_ int, e *goquery.Selection) {
		require.NotEmpty(t, e.Find("title").First().Text())
		require.NotEmpty(t, e.Find("desc").Text())
	})
	require.Positive(t, page.Find("a.card").Length())
	require.Contains(t, page.Find("a.card").First().AttrOr("href", ""), "/cases?status=open", "a card opens its list")

	p.get(p.Coordinator, "/dashboard?year=2025&region=320100").is(http.StatusForbidden)
	city := p.get(p.CityCoordinator, "/dashboard?year=2025").is(200)
	require.Contains(t, city.words(), "不足 5")
	require.NotContains(t, strings.ReplaceAll(city.words(), "2025-3", ""), " 40 ", "by which the small one could be computed")
	bridge := p.staff("bridge", p.City, policy.Bridge, string(identity.Nation))
	nation := p.get(bridge, "/dashboard?year=2025&as=share").is(200)
	require.Equal(t, 34, nation.Find("figure svg g").Length(), "the map of the provinces")
	require.Contains(t, nation.words(), "77.8%")
	require.Contains(t, nation.words(), "全国")
}

func TestTheDashboardOfAHospitalHasItsListsAndNoStatistics(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	p.counted()
	for _, by := range []registry.Actor{p.TransplantDoctor, p.Technician} {
		page := p.get(by, "/dashboard?year=2025").is(200)
		require.Zero(t, page.Find("figure").Length())
		require.NotContains(t, page.words(), "300")
		p.get(by, "/dashboard/statistics.csv?year=2025&region=320106").is(http.StatusForbidden)
		p.get(by, "/dashboard/funnel.svg?year=2025&region=320106").is(http.StatusForbidden)
	}
	require.Contains(t, p.get(p.TransplantDoctor, "/dashboard").words(), "进行中的检索")
}

func TestTheNumbersAreTakenAwayAsASheetAndAsDrawings(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	p.counted()
	page := p.get(p.Coordinator, "/dashboard?year=2025").is(200)
	link, _ := page.Find(`a[href^="/dashboard/statistics.csv"]`).Attr("href")
	sheet := p.get(p.Coordinator, link).is(200)
	require.Equal(t, "text/csv; charset=utf-8", sheet.header.Get("Content-Type"))
	text, marked := strings.CutPrefix(sheet.body, "\ufeff")
	require.True(t, marked)
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	require.NoError(t, err)
	require.Contains(t, lines, []string{"江苏省南京市鼓楼区", "2025", "各环节人数", "登记", "", "300"})
	for _, name := range []string{"funnel.svg", "months.svg", "took.svg", "regions.svg"} {
		link, there := page.Find(`a[href^="/dashboard/` + name + `"]`).Attr("href")
		require.True(t, there, name)
		drawing := p.get(p.Coordinator, link).is(200)
		require.Equal(t, "image/svg+xml", drawing.header.Get("Content-Type"))
		require.True(t, strings.HasPrefix(drawing.body, "<svg "))
	}
	p.get(p.Coordinator, "/dashboard/other.svg").is(http.StatusNotFound)
	require.Contains(t, p.get(p.Registrar, "/dashboard?year=2025").is(200).words(), "登记 300")
	p.get(p.Registrar, link).is(http.StatusForbidden)

}
