package chart

import (
	"fmt"

	"github.com/liferelay/liferelay/registry/identity"
)

// Tile is a province on the map.
type Tile struct {
	Mark     string // its number as people read it
	Level    int    // how dark it is: 0 is none, Levels the most
	Withheld bool
	Name     string // in full, for who listens or points at it
	Path     string // where a click leads; none where it is empty
}

// Levels is how many shades a map has beside that of none.
const Levels = 4

// provinces are the 34 of GB/T 2260 where they roughly lie: column, row, and the one letter by which everybody knows them (GB/T 2260 has the names, number plates the
// letters).
var provinces = []struct {
	region      identity.Region
	column, row int
	letter      string
	code        string // where no Chinese is read: GB/T 2260's own letters
}{
	{"230000", 8, 0, "黑", "HL"},
	{"650000", 0, 1, "新", "XJ"}, {"150000", 6, 1, "蒙", "NM"}, {"220000", 8, 1, "吉", "JL"},
	{"620000", 2, 2, "甘", "GS"}, {"640000", 3, 2, "宁", "NX"}, {"140000", 4, 2, "晋", "SX"}, {"130000", 5, 2, "冀", "HE"}, {"110000", 6, 2, "京", "BJ"}, {"120000", 7, 2, "津", "TJ"}, {"210000", 8, 2, "辽", "LN"},
	{"630000", 1, 3, "青", "QH"}, {"610000", 3, 3, "陕", "SN"}, {"410000", 5, 3, "豫", "HA"}, {"370000", 6, 3, "鲁", "SD"},
	{"540000", 0, 4, "藏", "XZ"}, {"510000", 2, 4, "川", "SC"}, {"500000", 3, 4, "渝", "CQ"}, {"420000", 4, 4, "鄂", "HB"}, {"340000", 5, 4, "皖", "AH"}, {"320000", 6, 4, "苏", "JS"}, {"310000", 7, 4, "沪", "SH"},
	{"530000", 2, 5, "云", "YN"}, {"520000", 3, 5, "贵", "GZ"}, {"430000", 4, 5, "湘", "HN"}, {"360000", 5, 5, "赣", "JX"}, {"330000", 6, 5, "浙", "ZJ"},
	{"450000", 3, 6, "桂", "GX"}, {"440000", 4, 6, "粤", "GD"}, {"350000", 5, 6, "闽", "FJ"}, {"710000", 7, 6, "台", "TW"},
	{"460000", 3, 7, "琼", "HI"}, {"820000", 4, 7, "澳", "MO"}, {"810000", 5, 7, "港", "HK"},
}

// Provinces lists the provinces of the map.
func Provinces() []identity.Region {
	out := make([]identity.Region, len(provinces))
	for i, p := range provinces {
		out[i] = p.region
	}
	return out
}

// Tiles are the provinces as tiles of one size: a small one with many is seen as well as a large one with few. How much there is is told by the shade, by the number of
// strokes over it, and by the number itself. chinese says which letters they have.
func Tiles(t Text, tiles map[identity.Region]Tile, chinese bool) string {
	const size, gap = 66.0, 4.0
	c := start(t, 9*(size+gap), 8*(size+gap))
	for _, p := range provinces {
		x, y := float64(p.column)*(size+gap), float64(p.row)*(size+gap)
		tile := tiles[p.region]
		letter := p.code
		if chinese {
			letter = p.letter
		}
		if tile.Path != "" {
			c.add(`<a href="%s">`, escape(tile.Path))
		}
		c.add(`<g><title>%s</title>`, escape(tile.Name+" "+tile.Mark))
		switch {
		case tile.Withheld:
			c.add(`<rect x="%s" y="%s" width="%s" height="%s" fill="%s" stroke="%s"/>`, n(x), n(y), n(size), n(size), fmt.Sprintf(ambiguous, t.ID), faint)
		default:
			c.add(`<rect x="%s" y="%s" width="%s" height="%s" fill="%s" fill-opacity="%s" stroke="%s"/>`, n(x), n(y), n(size), n(size), fill, n(0.15*float64(tile.Level)), faint)
			for i := range tile.Level {
				c.stroke(fmt.Sprintf("M%s %sh8", n(x+6+12*float64(i)), n(y+size-7)), 3)
			}
		}
		c.label(x+size/2, y+26, "middle", letter)
		c.label(x+size/2, y+46, "middle", clip(tile.Mark, 8))
		c.WriteString(`</g>`)
		if tile.Path != "" {
			c.WriteString(`</a>`)
		}
	}
	return c.end()
}

// Level is the shade of a number among others: by its share of the largest.
func Level(value, most int) int {
	if value <= 0 || most <= 0 {
		return 0
	}
	return min(1+(Levels*value-1)/most, Levels)
}
