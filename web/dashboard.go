package web

import (
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/web/chart"
)

func (s *Site) dashboardPages() {
	s.page("GET /dashboard", s.dashboard)
	s.page("GET /dashboard/statistics.csv", s.statisticsSheet)
	s.page("GET /dashboard/{chart}", s.statisticsChart)
}

// overview is what the dashboard shows: the numbers of the reader's lists and, for who may see them, statistics.
type overview struct {
	cards  []registry.Card
	told   *registry.StatisticsView
	drives []registry.DriveFigure
	share  bool // the map tells shares and not numbers
}

func statisticsQuery(v *Visit) registry.StatisticsQuery {
	return registry.StatisticsQuery{Region: identity.Region(v.Query("region")), Year: v.QueryInt("year"), Programme: rules.Programme(v.Query("programme")), Measure: v.Query("measure")}
}

func (s *Site) dashboard(v *Visit) (Answer, error) {
	cards, err := s.store.Cards(v, v.Actor)
	if err != nil {
		return nil, err
	}
	out := overview{cards: cards, share: v.Query("as") == "share"}
	if v.May(policy.Read, policy.Statistics) {
		told, err := s.store.Statistics(v, v.Actor, statisticsQuery(v))
		if err != nil {
			return nil, err
		}
		out.told = &told
		if out.drives, err = s.store.DriveStatistics(v, v.Actor, registry.StatisticsQuery{Region: told.Region, Year: told.Year}); err != nil {
			return nil, err
		}
	}
	return v.Page("page.dashboard", dashboardPage(v, out)), nil
}

func (s *Site) statisticsSheet(v *Visit) (Answer, error) {
	sheet, err := s.store.StatisticsSheet(v, v.Actor, statisticsQuery(v))
	if err != nil {
		return nil, err
	}
	return v.File("statistics.csv", "text/csv; charset=utf-8", func(w io.Writer) error {
		_, err := w.Write(sheet.Data)
		return err
	}), nil
}

// statisticsChart is a chart of the dashboard as a file of its own.
func (s *Site) statisticsChart(v *Visit) (Answer, error) {
	told, err := s.store.Statistics(v, v.Actor, statisticsQuery(v))
	if err != nil {
		return nil, err
	}
	draw, known := map[string]func(*Visit, registry.StatisticsView, bool) string{
		"funnel.svg":  func(v *Visit, t registry.StatisticsView, _ bool) string { return funnelChart(v, t) },
		"months.svg":  func(v *Visit, t registry.StatisticsView, _ bool) string { return monthsChart(v, t) },
		"took.svg":    func(v *Visit, t registry.StatisticsView, _ bool) string { return tookChart(v, t) },
		"regions.svg": func(v *Visit, t registry.StatisticsView, share bool) string { return regionsChart(v, t, share) },
	}[v.Path("chart")]
	if !known {
		return nil, &registry.Error{Kind: registry.NotFound, Code: "page_not_found"}
	}
	svg := draw(v, told, v.Query("as") == "share")
	return v.File(v.Path("chart"), "image/svg+xml", func(w io.Writer) error {
		_, err := io.WriteString(w, svg)
		return err
	}), nil
}

// chartText is what a chart says; its description reads its numbers out.
func chartText(v *Visit, id, title string, numbers []string) chart.Text {
	return chart.Text{ID: id, Title: title, Desc: strings.Join(numbers, v.Say("results.comma")), Empty: v.Say("results.nothing")}
}

// figure is a number as people read it, or that it is withheld.
func (v *Visit) figure(f registry.Figure) string {
	if f.Count == nil {
		return v.Say("statistics.withheld")
	}
	return v.Number(*f.Count)
}

func valueOf(f registry.Figure) int {
	if f.Count == nil {
		return 0
	}
	return *f.Count
}

func funnelChart(v *Visit, t registry.StatisticsView) string {
	var bars []chart.Bar
	var said []string
	for _, s := range t.Stages {
		b := chart.Bar{Label: v.Word("stage", s.Stage), Value: valueOf(s.Figure), Mark: v.figure(s.Figure), Withheld: s.Withheld}
		bars, said = append(bars, b), append(said, b.Label+" "+b.Mark)
	}
	return chart.Funnel(chartText(v, "funnel", v.Say("results.funnel"), said), bars)
}

func monthsChart(v *Visit, t registry.StatisticsView) string {
	var points []chart.Point
	var said []string
	for _, m := range t.Months {
		p := chart.Point{Label: strconv.Itoa(m.Month), Value: m.Count, Mark: v.Number(m.Count)}
		points, said = append(points, p), append(said, p.Label+" "+p.Mark)
	}
	return chart.Line(chartText(v, "months", v.Say("results.by_month"), said), points)
}

func tookChart(v *Visit, t registry.StatisticsView) string {
	var boxes []chart.Box
	var said []string
	for _, f := range t.Took {
		if f.Median == nil {
			continue
		}
		b := chart.Box{Label: registry.StepWord(v.Locale, f.Step), Lower: *f.Lower, Median: *f.Median, Upper: *f.Upper, Most: *f.Most, Mark: strconv.Itoa(*f.Median)}
		boxes, said = append(boxes, b), append(said, b.Label+" "+b.Mark)
	}
	return chart.Boxes(chartText(v, "took", v.Say("results.took"), said), boxes)
}

// regionMark is the number of a region, or its share of the whole.
func regionMark(v *Visit, r registry.RegionFigure, share bool) string {
	switch {
	case r.Withheld:
		return v.Say("statistics.withheld")
	case share && r.Share != nil:
		return strconv.FormatFloat(100**r.Share, 'f', 1, 64) + "%"
	case share:
		return "—"
	}
	return v.figure(r.Figure)
}

// regionsChart is the map of the provinces for the whole country, and bars for a part of it.
func regionsChart(v *Visit, t registry.StatisticsView, share bool) string {
	var said []string
	most := 0
	for _, r := range t.Regions {
		most = max(most, valueOf(r.Figure))
		if valueOf(r.Figure) > 0 || r.Withheld {
			said = append(said, regionName(string(r.Region))+" "+regionMark(v, r, share))
		}
	}
	text := chartText(v, "regions", v.Say("results.by_region"), said)
	if t.Region == identity.Nation {
		tiles := map[identity.Region]chart.Tile{}
		for _, r := range t.Regions {
			tiles[r.Region] = chart.Tile{Mark: regionMark(v, r, share), Level: chart.Level(valueOf(r.Figure), most), Withheld: r.Withheld, Name: regionName(string(r.Region))}
		}
		return chart.Tiles(text, tiles, v.Locale == lang.Chinese)
	}
	var bars []chart.Bar
	for _, r := range t.Regions {
		if valueOf(r.Figure) > 0 || r.Withheld {
			bars = append(bars, chart.Bar{Label: r.Region.Name(), Value: valueOf(r.Figure), Mark: regionMark(v, r, share), Withheld: r.Withheld})
		}
	}
	return chart.Bars(text, bars)
}

// cardPath is the page with the list that a card counts: the site's lists have the names and the filters of the API's.
func cardPath(c registry.Card) string {
	path := strings.TrimPrefix(c.Path, "/v1")
	if c.Code == "tasks_overdue" {
		return "/work?tab=overdue"
	}
	return path
}

// cardTone is how a card looks that asks for something.
func cardTone(c registry.Card) string {
	if c.Code == "tasks_overdue" && c.Count > 0 {
		return "bad"
	}
	return "plain"
}

// years are those that statistics can be asked of: this one and the nine before it.
func years() (out []string) {
	this := calendar.Of(time.Now(), registry.Zone).Year()
	for y := this; y > this-10; y-- {
		out = append(out, strconv.Itoa(y))
	}
	return out
}

// up is the region above the one that is shown, empty where the reader may not see it.
func up(v *Visit, region identity.Region) identity.Region {
	above := region.Parent()
	held := v.abilities().Held()
	if above == "" || !slices.ContainsFunc(held, func(g policy.Grant) bool { return identity.Region(g.Region).Contains(above) }) {
		return ""
	}
	return above
}

func percentOf(n *int) string {
	if n == nil {
		return "—"
	}
	return strconv.Itoa(*n) + "%"
}

func daysOf(n *int) string {
	if n == nil {
		return "—"
	}
	return strconv.Itoa(*n)
}

// queryOf asks for the same statistics again.
func queryOf(v *Visit, t registry.StatisticsView) string {
	q := url.Values{"region": {string(t.Region)}, "year": {strconv.Itoa(t.Year)}, "programme": {string(t.Programme)}, "measure": {t.Measure}}
	if as := v.Query("as"); as != "" {
		q.Set("as", as)
	}
	return q.Encode()
}
