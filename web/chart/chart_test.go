package chart_test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/web/chart"
)

func text(id, title, desc string) chart.Text {
	return chart.Text{ID: id, Title: title, Desc: desc, Empty: "没有数据"}
}

var (
	bars = []chart.Bar{{Label: "登记", Value: 1200, Mark: "1,200"}, {Label: "完成分型", Value: 900, Mark: "900"}, {Label: "初配相合并申请", Value: 12, Mark: "12"}, {Label: "Agreed", Mark: "不足 5", Withheld: true}, {Label: "Nobody", Mark: "0"}}
	// drawn are the charts that are kept as files.
	drawn = map[string]string{
		"funnel":    chart.Funnel(text("funnel", "各环节人数", "登记 1,200，完成分型 900"), bars),
		"bars":      chart.Bars(text("bars", "By city", `a "quoted" <city> & another`), bars),
		"boxes":     chart.Boxes(text("boxes", "环节用时（天）", "再动员中位数 3 天"), []chart.Box{{Label: "再动员", Lower: 1, Median: 3, Upper: 7, Most: 21, Mark: "3"}, {Label: "Clearance", Median: 0, Most: 0, Mark: "0"}}),
		"line":      chart.Line(text("line", "按月", "一月 5，二月 0"), []chart.Point{{"1", 5, "5"}, {"2", 0, "0"}, {"3", 37, "37"}}),
		"sparkline": chart.Sparkline(text("spark", "最近", ""), []int{1, 5, 0, 9}),
		"tiles": chart.Tiles(text("tiles", "各省", "江苏 100"), map[identity.Region]chart.Tile{
			"320000": {Mark: "100", Level: 4, Name: "江苏省", Path: "/dashboard?region=320000&year=2026"}, "110000": {Mark: "30", Level: 2, Name: "北京市"}, "540000": {Mark: "不足 5", Withheld: true, Name: "西藏自治区"},
		}, true),
		"tiles-en": chart.Tiles(text("tiles", "Provinces", "Jiangsu 100"), map[identity.Region]chart.Tile{"320000": {Mark: "100", Level: 1, Name: "Jiangsu"}}, false),
		"empty":    chart.Line(text("empty", "按月", ""), nil),
	}
)

func TestChartsAreDrawnAsTheyWereLookedAt(t *testing.T) {
	t.Parallel()
	for name, svg := range drawn {
		path := filepath.Join("testdata", name+".svg")
		if os.Getenv("LIFERELAY_GOLDEN") == "write" {
			require.NoError(t, os.WriteFile(path, []byte(svg+"\n"), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), svg+"\n", name)
	}
}

// texts reads a drawing as who listens to it hears it.
func texts(t require.TestingT, svg string) (said []string, elements map[string]int) {
	elements = map[string]int{}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return said, elements
		}
		require.NoError(t, err, "it is no XML: %s", svg)
		switch token := token.(type) {
		case xml.StartElement:
			elements[token.Name.Local]++
			for _, a := range token.Attr {
				require.NotEqual(t, "style", a.Name.Local, "the policy of contents forbids it")
				require.False(t, strings.HasPrefix(a.Name.Local, "on"), "no script stands in a chart")
			}
		case xml.CharData:
			said = append(said, string(token))
		}
	}
}

func TestAChartSaysInWordsWhatItShows(t *testing.T) {
	t.Parallel()
	for name, svg := range drawn {
		said, elements := texts(t, svg)
		require.Positive(t, elements["title"], name)
		require.Equal(t, 1, elements["desc"], name)
		require.Zero(t, elements["script"]+elements["style"], name)
		require.NotEmpty(t, said[0], name)
	}
	said, _ := texts(t, drawn["bars"])
	for _, b := range bars {
		require.Contains(t, said, b.Label)
		require.Contains(t, said, b.Mark, "a number is never told by the length alone")
	}
	said, elements := texts(t, drawn["tiles"])
	require.Equal(t, 34+1, elements["title"], "every province says what it has")
	require.Contains(t, said, "100")
}

func TestWhatIsWithheldLooksTheSameWhateverItIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := func(label string) int { return rapid.IntRange(0, 4).Draw(t, label) }
		with := func(value int) string {
			return chart.Bars(text("b", "", ""), []chart.Bar{{Label: "a", Value: 10, Mark: "10"}, {Label: "b", Value: value, Mark: "?", Withheld: true}})
		}
		require.Equal(t, with(secret("one")), with(secret("other")))
	})
}

func TestAnyTextAndAnyNumbersMakeADrawing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.StringMatching(`[ -~一-龥]{0,40}`).Draw(t, "label")
		values := rapid.SliceOfN(rapid.IntRange(0, 5_000_000), 0, 40).Draw(t, "values")
		var bars []chart.Bar
		var points []chart.Point
		var boxes []chart.Box
		for _, v := range values {
			bars, points = append(bars, chart.Bar{Label: label, Value: v, Mark: label}), append(points, chart.Point{Label: label, Value: v, Mark: label})
			boxes = append(boxes, chart.Box{Label: label, Lower: v / 4, Median: v / 3, Upper: v / 2, Most: v, Mark: label})
		}
		of := text("x", label, label)
		for _, svg := range []string{chart.Bars(of, bars), chart.Funnel(of, bars), chart.Line(of, points), chart.Boxes(of, boxes), chart.Sparkline(of, values)} {
			texts(t, svg)
			require.NotContains(t, svg, "NaN")
			require.NotContains(t, svg, "Inf")
		}
	})
}

func TestTheMapHasEveryProvinceOnceInAPlaceOfItsOwn(t *testing.T) {
	t.Parallel()
	var want []identity.Region
	for e := range identity.Entries() {
		if e.Code.Level() == identity.LevelProvince && e.Current() {
			want = append(want, e.Code)
		}
	}
	require.Len(t, want, 34)
	require.ElementsMatch(t, want, chart.Provinces())
	_, elements := texts(t, drawn["tiles"])
	require.Equal(t, 34, elements["rect"])
	places := map[string]bool{}
	for _, part := range strings.Split(drawn["tiles"], "<rect ")[1:] {
		places[strings.Join(strings.SplitN(part, " ", 3)[:2], " ")] = true
	}
	require.Len(t, places, 34, "two provinces lie on each other")
}

func TestShadesGoByTheShareOfTheLargest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ value, most, level int }{{0, 10, 0}, {1, 100, 1}, {25, 100, 1}, {26, 100, 2}, {50, 100, 2}, {51, 100, 3}, {100, 100, 4}, {5, 0, 0}} {
		require.Equal(t, c.level, chart.Level(c.value, c.most), "%+v", c)
	}
}
