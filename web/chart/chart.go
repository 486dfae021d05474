// Package chart draws the few kinds of charts that the workbench has, as SVG: bars and funnels, boxes, lines, sparklines and a map of the provinces in tiles.
//
// It guarantees that a chart is pure (the same numbers give the same bytes), that it has a title and a description for those who listen, that nothing in it is told by
// colour alone (shades have patterns, and every mark its number beside it), and that it holds no style and no script, so that it stands in a page whose policy of
// contents forbids them, is printed as it is seen, and can be saved as a file of its own. A table of the same numbers belongs beside it.
package chart

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Text is what a chart says besides its numbers.
type Text struct {
	ID    string // of its elements in the page: letters and dashes
	Title string
	Desc  string
	Empty string // what stands in a chart of nothing
}

// Bar is a labelled number. What is withheld has no length, and says so.
type Bar struct {
	Label    string
	Value    int
	Mark     string // the number as people read it, or why there is none
	Withheld bool
}

const (
	width     = 640.0
	labels    = 190.0 // room for the labels at the left
	marks     = 90.0  // and for the numbers at the right
	line      = 30.0
	ink       = "currentColor"
	fill      = "#1f6f8b"
	faint     = "#8a949c"
	textSize  = 14
	ambiguous = "url(#%s-hatch)"
)

// canvas collects a drawing.
type canvas struct {
	strings.Builder
	text Text
}

// add writes a part of a drawing. What it is written to never fails.
func add(b *strings.Builder, format string, args ...any) { _, _ = fmt.Fprintf(b, format, args...) }

func (c *canvas) add(format string, args ...any) { add(&c.Builder, format, args...) }

func start(t Text, w, h float64) *canvas {
	c := &canvas{text: t}
	c.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" role="img" aria-labelledby="%s-title %s-desc" font-family="system-ui, sans-serif" font-size="%d">`,
		n(w), n(h), t.ID, t.ID, textSize)
	c.add(`<title id="%s-title">%s</title><desc id="%s-desc">%s</desc>`, t.ID, escape(t.Title), t.ID, escape(t.Desc))
	c.add(`<defs><pattern id="%s-hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0V6" stroke="%s" stroke-width="2"/></pattern></defs>`, t.ID, faint)
	return c
}

func (c *canvas) end() string {
	c.WriteString(`</svg>`)
	return c.String()
}

// empty is a chart of nothing.
func empty(t Text) string {
	c := start(t, width, line*2)
	c.label(width/2, line+5, "middle", t.Empty)
	return c.end()
}

func (c *canvas) label(x, y float64, anchor, text string) {
	c.add(`<text x="%s" y="%s" text-anchor="%s" fill="%s">%s</text>`, n(x), n(y), anchor, ink, escape(text))
}

func (c *canvas) rect(x, y, w, h float64, with string) {
	c.add(`<rect x="%s" y="%s" width="%s" height="%s" fill="%s"/>`, n(x), n(y), n(w), n(h), with)
}

func (c *canvas) stroke(path string, thick float64) {
	c.add(`<path d="%s" fill="none" stroke="%s" stroke-width="%s" stroke-linejoin="round"/>`, path, fill, n(thick))
}

// n writes a number to a tenth, without what is nothing behind the point.
func n(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;").Replace(text)
}

// clip shortens a label to the room that it has: a Han character is as wide as two letters.
func clip(text string, room int) string {
	used := 0
	for i, r := range text {
		if used += letters(r); used > room {
			return text[:i] + "…"
		}
	}
	return text
}

func letters(r rune) int {
	if r > 0x2e80 {
		return 2
	}
	return 1
}

// Bars are labelled bars, one under the other.
func Bars(t Text, bars []Bar) string { return horizontal(t, bars, false) }

// Funnel are bars about a common middle, in the order of the stages.
func Funnel(t Text, bars []Bar) string { return horizontal(t, bars, true) }

func horizontal(t Text, bars []Bar, centred bool) string {
	if len(bars) == 0 {
		return empty(t)
	}
	most := 1
	for _, b := range bars {
		if !b.Withheld {
			most = max(most, b.Value)
		}
	}
	c := start(t, width, line*float64(len(bars))+10)
	room := width - labels - marks
	for i, b := range bars {
		y := 5 + line*float64(i)
		c.label(labels-8, y+line/2+5, "end", clip(b.Label, 26))
		long := room * float64(b.Value) / float64(most)
		if b.Value > 0 {
			long = max(long, 2)
		}
		x := labels
		with := fill
		if b.Withheld { // as long as all that are, so that nothing is told
			long, with = room*0.08, fmt.Sprintf(ambiguous, t.ID)
		}
		if centred {
			x += (room - long) / 2
		}
		c.rect(x, y+4, long, line-8, with)
		c.label(width-marks+8, y+line/2+5, "start", b.Mark)
	}
	return c.end()
}

// Box is a distribution: half of it lies in the box, its middle is the line in it, nine of ten lie below the whisker.
type Box struct {
	Label                      string
	Lower, Median, Upper, Most int
	Mark                       string
}

// Boxes are distributions on one scale, whose unit is in the title.
func Boxes(t Text, boxes []Box) string {
	if len(boxes) == 0 {
		return empty(t)
	}
	most := 1
	for _, b := range boxes {
		most = max(most, b.Most, b.Upper)
	}
	top := nice(most)
	c := start(t, width, line*float64(len(boxes))+line+10)
	room := width - labels - marks
	at := func(v int) float64 { return labels + room*float64(v)/float64(top) }
	for i, b := range boxes {
		y := 5 + line*float64(i)
		c.label(labels-8, y+line/2+5, "end", clip(b.Label, 26))
		c.stroke(fmt.Sprintf("M%s %sH%s", n(at(b.Upper)), n(y+line/2), n(at(b.Most))), 2)
		c.stroke(fmt.Sprintf("M%s %sV%s", n(at(b.Most)), n(y+9), n(y+line-9)), 2)
		c.add(`<rect x="%s" y="%s" width="%s" height="%s" fill="%s" fill-opacity="0.25" stroke="%s"/>`, n(at(b.Lower)), n(y+6), n(max(at(b.Upper)-at(b.Lower), 2)), n(line-12), fill, fill)
		c.stroke(fmt.Sprintf("M%s %sV%s", n(at(b.Median)), n(y+6), n(y+line-6)), 4)
		c.label(width-marks+8, y+line/2+5, "start", b.Mark)
	}
	c.scale(labels, room, 5+line*float64(len(boxes)), top)
	return c.end()
}

// scale is the axis below boxes: its beginning, middle and end.
func (c *canvas) scale(x, room, y float64, top int) {
	c.stroke(fmt.Sprintf("M%s %sH%s", n(x), n(y+2), n(x+room)), 1)
	for i := range 3 {
		if v := top * i / 2; v*2 == top*i {
			c.label(x+room*float64(i)/2, y+20, "middle", strconv.Itoa(v))
		}
	}
}

// nice is a round number not below another: 1, 2, 4, 6, 8 or 10 times a power of ten.
func nice(most int) int {
	for power := 1; ; power *= 10 {
		for _, step := range []int{1, 2, 4, 6, 8} {
			if step*power >= most {
				return step * power
			}
		}
	}
}

// Point is a number at a labelled place of a line.
type Point struct {
	Label string
	Value int
	Mark  string // the number as people read it
}

// Line is a course: every point with its mark and its number.
func Line(t Text, points []Point) string {
	if len(points) == 0 {
		return empty(t)
	}
	const height, left, bottom, above = 220.0, 20.0, 30.0, 30.0
	most := 1
	for _, p := range points {
		most = max(most, p.Value)
	}
	top := nice(most)
	c := start(t, width, height)
	step := (width - 2*left) / float64(max(len(points)-1, 1))
	var path strings.Builder
	at := func(i int) (x, y float64) {
		return left + step*float64(i), height - bottom - (height-bottom-above)*float64(points[i].Value)/float64(top)
	}
	for i := range points {
		x, y := at(i)
		letter := "L"
		if i == 0 {
			letter = "M"
		}
		add(&path, "%s%s %s", letter, n(x), n(y))
	}
	c.add(`<path d="M%s %sH%s" stroke="%s" stroke-width="1"/>`, n(left), n(height-bottom), n(width-left), faint)
	c.stroke(path.String(), 2)
	for i, p := range points {
		x, y := at(i)
		c.add(`<circle cx="%s" cy="%s" r="3.5" fill="%s"/>`, n(x), n(y), fill)
		c.label(x, y-8, "middle", p.Mark)
		c.label(x, height-8, "middle", p.Label)
	}
	return c.end()
}

// Sparkline is a course as small as a word, for a card: its numbers stand beside it.
func Sparkline(t Text, values []int) string {
	const w, h = 120.0, 28.0
	c := start(t, w, h)
	most := 1
	for _, v := range values {
		most = max(most, v)
	}
	var path strings.Builder
	for i, v := range values {
		letter := "L"
		if i == 0 {
			letter = "M"
		}
		add(&path, "%s%s %s", letter, n(2+(w-4)*float64(i)/float64(max(len(values)-1, 1))), n(h-3-(h-6)*float64(v)/float64(most)))
	}
	if len(values) > 0 {
		c.stroke(path.String(), 2)
	}
	return c.end()
}
