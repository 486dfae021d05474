package identity

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTheTableHoldsTheCountry(t *testing.T) {
	var provinces, cities, counties, gone int
	var last Region
	seen := map[Region]bool{}
	for e := range Entries() {
		require.False(t, seen[e.Code], "%s twice", e.Code)
		seen[e.Code] = true
		require.Greater(t, string(e.Code), string(last), "in order")
		last = e.Code
		require.NotEmpty(t, e.Name)
		require.NotContains(t, e.Former, e.Name)
		require.True(t, e.Until == 0 || (e.Until >= 2002 && e.Until <= 2026), e.Code)
		require.True(t, e.From == 0 || (e.From > 2002 && e.From <= 2026), e.Code)
		require.True(t, e.From == 0 || e.Until == 0 || e.From <= e.Until, e.Code)
		switch {
		case !e.Current():
			gone++
		case e.Code.Level() == LevelProvince:
			provinces++
		case grouping(e.Name):
		case e.Code.Level() == LevelCity:
			cities++
		case e.Code.Level() == LevelCounty:
			counties++
		}
	}
	require.Equal(t, Nation, slices.Sorted(func(yield func(Region) bool) {
		for r := range seen {
			if !yield(r) {
				return
			}
		}
	})[0])
	require.Equal(t, 34, provinces)
	require.Equal(t, 333, cities)
	require.InDelta(t, 2845, counties, 5)
	require.Greater(t, gone, 3500)
}

func TestEntriesCanBeStoppedAndNotChanged(t *testing.T) {
	n := 0
	for e := range Entries() {
		for i := range e.Former {
			e.Former[i] = "x"
		}
		if n++; n == 100 {
			break
		}
	}
	require.Equal(t, 100, n)
	for e := range Entries() {
		require.NotContains(t, e.Former, "x")
	}
}

func TestARegionCodeIsReadInItsThreeLengths(t *testing.T) {
	for raw, want := range map[string]Region{
		"320106": "320106", " 320 106 ": "320106", "３２０１０６": "320106", "320106001": "320106001", "320106001002": "320106001002",
		"320106000000": "320106", "320106001000": "320106001", "320000000000": "320000", "000000": Nation, "000000000000": Nation,
		"810000": "810000", "441900003": "441900003", "990101": "990101",
	} {
		r, err := ParseRegion(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, r, raw)
	}
	for raw, want := range map[string]Reason{
		"": ReasonEmpty, " \u200b": ReasonEmpty, "32010": ReasonLength, "3201060": ReasonLength, "32010A": ReasonCharacters, "鼓楼区": ReasonCharacters,
		"000123": ReasonRegion, "320106000001": ReasonRegion, "000000001": ReasonRegion, "320000001": ReasonRegion,
		strings.Repeat("3", 600): ReasonLength,
	} {
		_, err := ParseRegion(raw)
		var bad *InputError
		require.ErrorAs(t, err, &bad, raw)
		require.Equal(t, InputError{FieldRegion, want}, *bad, raw)
	}
}

func TestEveryRegionKnowsItsPlace(t *testing.T) {
	for _, c := range []struct {
		region Region
		level  Level
		name   string
		full   string
		up     []Region
	}{
		{"000000", LevelNation, "全国", "全国", []Region{"000000"}},
		{"320000", LevelProvince, "江苏省", "江苏省", []Region{"320000", "000000"}},
		{"320100", LevelCity, "南京市", "江苏省南京市", []Region{"320100", "320000", "000000"}},
		{"320106", LevelCounty, "鼓楼区", "江苏省南京市鼓楼区", []Region{"320106", "320100", "320000", "000000"}},
		{"320106001", LevelTown, "鼓楼区", "江苏省南京市鼓楼区", []Region{"320106001", "320106", "320100", "320000", "000000"}},
		{"320106001002", LevelVillage, "鼓楼区", "江苏省南京市鼓楼区", []Region{"320106001002", "320106001", "320106", "320100", "320000", "000000"}},
		// A municipality's 市辖区 and a province's 省直辖 are headings, not offices.
		{"110101", LevelCounty, "东城区", "北京市东城区", []Region{"110101", "110000", "000000"}},
		{"500232", LevelCounty, "武隆县", "重庆市武隆县", []Region{"500232", "500000", "000000"}},
		{"419001", LevelCounty, "济源市", "河南省济源市", []Region{"419001", "410000", "000000"}},
		{"659001", LevelCounty, "石河子市", "新疆维吾尔自治区石河子市", []Region{"659001", "650000", "000000"}},
		{"469005", LevelCounty, "文昌市", "海南省文昌市", []Region{"469005", "460000", "000000"}},
		{"110100", LevelCity, "市辖区", "北京市", []Region{"110100", "110000", "000000"}},
		{"441900003", LevelTown, "东莞市", "广东省东莞市", []Region{"441900003", "441900", "440000", "000000"}},
		{"810000", LevelProvince, "香港特别行政区", "香港特别行政区", []Region{"810000", "000000"}},
		// Gone, with what was above them then.
		{"440524", LevelCounty, "潮阳县", "广东省汕头市潮阳县", []Region{"440524", "440500", "440000", "000000"}},
		{"322726", LevelCounty, "昆山县", "江苏省苏州地区昆山县", []Region{"322726", "322700", "320000", "000000"}},
		{"130101", LevelCounty, "市辖区", "河北省石家庄市", []Region{"130101", "130100", "130000", "000000"}},
		// In no table.
		{"329999", LevelCounty, "", "", []Region{"329999", "320000", "000000"}},
		{"x", NoLevel, "", "", nil},
		{"", NoLevel, "", "", nil},
	} {
		require.Equal(t, c.level, c.region.Level(), c.region)
		require.Equal(t, c.name, c.region.Name(), c.region)
		require.Equal(t, c.full, c.region.FullName(), c.region)
		require.Equal(t, c.up, c.region.Ancestors(), c.region)
		require.Equal(t, c.name != "", c.region.Known(), c.region)
	}
	require.Equal(t, "county", LevelCounty.String())
	require.Equal(t, "none", Level(99).String())
	require.True(t, Region("320106").Current())
	require.False(t, Region("440524").Current())
	require.False(t, Region("320106000").Known(), "no code ends its town with zeros")
}

func anyRegion() *rapid.Generator[Region] {
	var codes []Region
	for e := range Entries() {
		codes = append(codes, e.Code)
	}
	return rapid.Custom(func(t *rapid.T) Region {
		r := rapid.SampledFrom(codes).Draw(t, "code")
		switch rapid.IntRange(0, 5).Draw(t, "depth") {
		case 0:
			return r + Region(rapid.StringMatching(`[0-9]{3}`).Draw(t, "town"))
		case 1:
			return r + Region(rapid.StringMatching(`[0-9]{6}`).Draw(t, "village"))
		}
		return r
	})
}

func TestContainmentAncestryAndRangeAgree(t *testing.T) {
	g := anyRegion()
	rapid.Check(t, func(t *rapid.T) {
		a, b := g.Draw(t, "a"), g.Draw(t, "b")
		if up := b.Ancestors(); rapid.Bool().Draw(t, "related") && len(up) > 0 {
			a = rapid.SampledFrom(up).Draw(t, "above")
		}
		lo, hi := a.Range()
		if a.Level() == NoLevel || b.Level() == NoLevel {
			require.False(t, a.Contains(b))
			if a.Level() == NoLevel {
				require.Equal(t, lo, hi)
			}
			return
		}
		require.Equal(t, a.Contains(b), lo <= string(b) && string(b) < hi)
		require.LessOrEqual(t, len(b.Ancestors()), 6)
		require.Equal(t, Nation, b.Ancestors()[len(b.Ancestors())-1])
		for _, above := range b.Ancestors() {
			require.True(t, above.Contains(b))
		}
		// The other way round as well, but for headings and for numbers with no city above them.
		if e, ok := table().entry(a); a.Contains(b) && ok && a.Known() && !grouping(e.Name) && len(a) == 6 {
			require.Contains(t, b.Ancestors(), a)
		}
		require.True(t, a.Contains(a))
		require.True(t, Nation.Contains(a))
	})
}

func TestRangesCarryOverNines(t *testing.T) {
	for r, want := range map[Region][2]string{
		Nation: {"", "a"}, "320000": {"32", "33"}, "320100": {"3201", "3202"}, "320900": {"3209", "321"}, "320109": {"320109", "32011"},
		"990000": {"99", "a"}, "419001": {"419001", "419002"}, "bad": {"", ""},
	} {
		lo, hi := r.Range()
		require.Equal(t, want, [2]string{lo, hi}, r)
	}
}

func TestTypedRegionsAreFound(t *testing.T) {
	for text, want := range map[string][]Region{
		"江苏省南京市鼓楼区":    {"320106"},
		"南京市鼓楼区":       {"320106"},
		"江苏 南京 鼓楼":     {"320106"},
		"江苏省-南京市/鼓楼区":  {"320106"},
		"江苏省鼓楼区":       {"320106", "320302"},
		"鼓楼区":          {"320106", "320302", "350102", "410204"},
		"320106":       {"320106"},
		"３２０１０６":       {"320106"},
		"320106001":    {"320106001"},
		"320106000000": {"320106"},
		"江苏":           {"320000"},
		"中国江苏省":        {"320000"},
		"全国":           {Nation},
		"中国":           {Nation},
		"北京市":          {"110000"},
		"北京市北京市朝阳区":    {"110105"},
		"北京市市辖区朝阳区":    {"110105"},
		"河南省济源市":       {"419001", "410881", "419003"}, // in force first
		"河南省省直辖县级行政区划济源市": {"419001", "419003"},
		"广西":      {"450000"},
		"新疆":      {"650000"},
		"内蒙古":     {"150000"},
		"香港":      {"810000"},
		"台湾省":     {"710000"},
		"延边州":     {"222400"},
		"湖北省襄樊市":  {"420600"}, // the name until 2010
		"广东省潮阳县":  {"440524", "442325"},
		"两江新区":    {"500157"},
		"玉树藏族自治州": {"632700"},
		"吉林":      {"220000", "220200"},
		"市辖区":     nil,
		"999999":  nil,
		"江苏省南京市鼓楼区中山路1号":           nil,
		"鼓楼区江苏省":                   nil,
		"":                         nil,
		" ":                        nil,
		"Nanjing":                  nil,
		strings.Repeat("江苏省", 100): nil,
		strings.Repeat("1", 40):    nil,
	} {
		require.Equal(t, want, Resolve(text), text)
	}
}

func TestEveryRegionIsFoundByItsFullName(t *testing.T) {
	for e := range Entries() {
		if grouping(e.Name) {
			continue
		}
		require.Contains(t, Resolve(e.Code.FullName()), e.Code)
		require.Contains(t, Resolve(e.Name), e.Code)
		if e.Current() && e.Code.Level() == LevelCounty {
			require.Equal(t, e.Code, Resolve(e.Code.FullName())[0], "%s means the one in force", e.Code.FullName())
		}
	}
}

func TestRegionsInForceComeFirst(t *testing.T) {
	for e := range Entries() {
		found := Resolve(e.Name)
		require.True(t, slices.IsSortedFunc(found, func(a, b Region) int {
			switch {
			case a.Current() == b.Current():
				return 0
			case a.Current():
				return -1
			}
			return 1
		}), e.Name)
	}
}

func FuzzResolve(f *testing.F) {
	for _, seed := range []string{"江苏省南京市鼓楼区", "320106", "鼓楼", "", "\xff", "省市县区", "中国中国中国中国中国", "320106001002", "北京市北京市北京市朝阳区"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found := Resolve(text)
		for i, r := range found {
			require.True(t, r.Known())
			require.NotContains(t, found[:i], r)
		}
		require.Equal(t, found, Resolve(" "+text+"\u3000"))
	})
}

func BenchmarkResolve(b *testing.B) {
	for name, text := range map[string]string{"full": "江苏省南京市鼓楼区", "county": "鼓楼区", "code": "320106", "nothing": "江苏省南京市鼓楼区中山路1号"} {
		b.Run(name, func(b *testing.B) {
			Resolve(text) // the index is built once
			b.ReportAllocs()
			for b.Loop() {
				Resolve(text)
			}
		})
	}
}
