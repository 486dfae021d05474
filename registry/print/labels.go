package print

import (
	"errors"
	"slices"

	"github.com/boombuler/barcode/code128"
)

// Format is how labels lie on a page, in millimetres.
type Format struct {
	Name                 string
	PageWide, PageHigh   float64
	Across, Down         int
	Left, Top            float64 // of the first label
	Wide, High           float64
	StepAcross, StepDown float64
	Letters              float64 // how large, in points
}

// formats are sheets that are sold everywhere, and the rolls of label printers.
var formats = []Format{
	{Name: "a4-65", PageWide: 210, PageHigh: 297, Across: 5, Down: 13, Left: 4.75, Top: 10.7, Wide: 38.1, High: 21.2, StepAcross: 40.6, StepDown: 21.2, Letters: 7},
	{Name: "a4-40", PageWide: 210, PageHigh: 297, Across: 4, Down: 10, Left: 0, Top: 0, Wide: 52.5, High: 29.7, StepAcross: 52.5, StepDown: 29.7, Letters: 8},
	{Name: "a4-24", PageWide: 210, PageHigh: 297, Across: 3, Down: 8, Left: 0, Top: 0.5, Wide: 70, High: 37, StepAcross: 70, StepDown: 37, Letters: 9},
	{Name: "roll-50x25", PageWide: 50, PageHigh: 25, Across: 1, Down: 1, Wide: 50, High: 25, Letters: 8},
	{Name: "roll-60x40", PageWide: 60, PageHigh: 40, Across: 1, Down: 1, Wide: 60, High: 40, Letters: 9},
}

// Formats lists the names of the formats of labels.
func Formats() []string {
	var out []string
	for _, f := range formats {
		out = append(out, f.Name)
	}
	return out
}

// Label is a bar code with the line that people read and a line above it.
type Label struct {
	Above   string
	Barcode string
}

// ErrTooNarrow says that a bar code does not fit a label in bars that can be read.
var ErrTooNarrow = errors.New("print: the bar code does not fit the label")

const (
	smallestModule = 0.19 // millimetres: what a printer of 300 dots an inch and a hand scanner manage
	largestModule  = 0.5
	quietModules   = 10 // on each side, as ISO/IEC 15417 asks for
	padding        = 1.2
)

// Labels prints labels, on as many pages as they need.
func Labels(format string, labels []Label) ([]byte, error) {
	i := slices.IndexFunc(formats, func(f Format) bool { return f.Name == format })
	if i < 0 {
		return nil, errors.New("print: no such format")
	}
	f := formats[i]
	p := newPage("labels", f.PageWide, f.PageHigh)
	for n, l := range labels {
		place := n % (f.Across * f.Down)
		if place == 0 {
			p.add()
		}
		x := f.Left + float64(place%f.Across)*f.StepAcross
		y := f.Top + float64(place/f.Across)*f.StepDown
		if err := p.label(f, l, x, y); err != nil {
			return nil, err
		}
	}
	return p.done()
}

func (p *page) label(f Format, l Label, x, y float64) error {
	bars, err := modulesOf(l.Barcode)
	if err != nil {
		return &Unprintable{Field: "barcode"}
	}
	module := min(f.Wide/float64(len(bars)+2*quietModules), largestModule)
	if module < smallestModule {
		return ErrTooNarrow
	}
	line := f.Letters * 0.3528 * 1.25
	p.letters(f.Letters * 0.85)
	p.middle("label", l.Above, x+padding, y+padding, f.Wide-2*padding)
	top := y + padding + line
	height := f.High - 2*padding - 2*line - 0.6
	from := x + (f.Wide-float64(len(bars))*module)/2
	p.pdf.SetFillColor(0, 0, 0)
	for i := 0; i < len(bars); {
		to := i
		for to < len(bars) && bars[to] {
			to++
		}
		if to > i {
			p.black(from+float64(i)*module, top, float64(to-i)*module, height)
		}
		i = to + 1
	}
	p.letters(f.Letters)
	p.middle("barcode", l.Barcode, x+padding, top+height+0.6, f.Wide-2*padding)
	return p.err
}

// modulesOf are the modules of a text in Code 128, true for a bar.
func modulesOf(text string) ([]bool, error) {
	code, err := code128.Encode(text)
	if err != nil {
		return nil, err
	}
	out := make([]bool, code.Bounds().Dx())
	for i := range out {
		out[i] = dark(code.At(i, 0).RGBA())
	}
	return out, nil
}
