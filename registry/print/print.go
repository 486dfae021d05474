// Package print makes what is put on paper: labels for tubes, forms to be signed, certificates. It is pure: words and numbers in, a PDF
// out; it knows no record and no reader.
//
// It guarantees that every character that was asked for is on the page: a character that its font does not have is an error that
// names the field, and repeats nothing of what stood in it. Bar codes and squares have their quiet zones and are drawn as lines, so that
// every printer prints them as sharply as it can.
package print

import (
	"bytes"
	"compress/gzip"
	_ "embed" // for the font
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/boombuler/barcode/qr"
	"github.com/signintech/gopdf"
	"github.com/signintech/gopdf/fontmaker/core"
)

//go:embed font/NotoSansSC-Regular.ttf.gz
var packed []byte

// font is Noto Sans SC, unpacked once, with the characters that it has.
var font = sync.OnceValue(func() (f struct {
	data []byte
	has  map[int]uint
},
) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err == nil {
		f.data, err = io.ReadAll(r)
	}
	var parsed core.TTFParser
	if err == nil {
		err = parsed.ParseFontData(f.data)
	}
	if err != nil {
		panic(err) // a test unpacks the embedded file
	}
	f.has = parsed.Chars()
	return f
})

// Unprintable says that a field has a character that cannot be printed. It does not say which: that would repeat the text.
type Unprintable struct{ Field string }

func (u *Unprintable) Error() string {
	return "print: " + u.Field + " has a character that cannot be printed"
}

// Printable tells whether every character of a text can be printed.
func Printable(text string) bool {
	for _, r := range text {
		if glyph, ok := font().has[int(r)]; (!ok || glyph == 0) && r != '\n' {
			return false
		}
	}
	return true
}

const mm = 72 / 25.4

// page is a document that is being drawn, in millimetres from the upper left. The first error stays.
type page struct {
	pdf  gopdf.GoPdf
	err  error
	size float64 // of the letters, in points
}

func newPage(title string, width, height float64) *page {
	p := &page{}
	p.pdf.Start(gopdf.Config{PageSize: gopdf.Rect{W: width * mm, H: height * mm}})
	p.pdf.SetInfo(gopdf.PdfInfo{Title: title, Producer: "Liferelay"})
	p.err = p.pdf.AddTTFFontData("noto", font().data)
	return p
}

func (p *page) add() { p.pdf.AddPage() }

func (p *page) letters(size float64) {
	if p.err == nil {
		p.err = p.pdf.SetFont("noto", "", size)
		p.size = size
	}
}

func (p *page) width(text string) float64 {
	if p.err != nil || text == "" {
		return 0
	}
	w, err := p.pdf.MeasureTextWidth(text)
	if err != nil {
		p.err = err
	}
	return w / mm
}

// check holds a text of a field against the font.
func (p *page) check(field, text string) bool {
	if p.err == nil && !Printable(text) {
		p.err = &Unprintable{Field: field}
	}
	return p.err == nil
}

// at writes a line with its upper left corner there.
func (p *page) at(field, text string, x, y float64) {
	if !p.check(field, text) || text == "" {
		return
	}
	p.pdf.SetXY(x*mm, y*mm)
	p.err = p.pdf.Cell(nil, text)
}

// middle writes a line around the middle of a breadth, smaller where it would not fit.
func (p *page) middle(field, text string, x, y, breadth float64) {
	if !p.check(field, text) {
		return
	}
	size := p.size
	for p.err == nil && p.width(text) > breadth && p.size > 4 {
		p.letters(p.size - 0.5)
	}
	p.at(field, text, x+(breadth-p.width(text))/2, y)
	p.letters(size)
}

// text writes a text in lines of a breadth and tells where it ended. Chinese breaks between any two characters but before
// punctuation; everything else between words.
func (p *page) text(field, text string, x, y, breadth, leading float64) float64 {
	if !p.check(field, text) {
		return y
	}
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		for _, line := range p.lines(strings.TrimSpace(paragraph), breadth) {
			p.at(field, line, x, y)
			y += leading
		}
	}
	return y
}

const noStart = "，。、；：？！）》」』”’%,.;:?!)"

func (p *page) lines(text string, breadth float64) (out []string) {
	line := ""
	for _, word := range words(text) {
		if line != "" && p.width(strings.TrimRight(line+word, " ")) > breadth {
			out, line = append(out, strings.TrimRight(line, " ")), ""
		}
		line += word
		if line == " " {
			line = ""
		}
	}
	return append(out, line)
}

// words cuts a text where lines may break.
func words(text string) (out []string) {
	latin := func(r rune) bool { return r < 0x2E80 && r != ' ' }
	var last rune
	for _, r := range text {
		n := len(out)
		switch {
		case n > 0 && (strings.ContainsRune(noStart, r) || latin(r) && latin(last)):
			out[n-1] += string(r)
		case n > 0 && r == ' ' && last != ' ':
			out[n-1] += " "
		default:
			out = append(out, string(r))
		}
		last = r
	}
	return out
}

func (p *page) line(x1, y1, x2, y2, width float64) {
	p.pdf.SetLineWidth(width * mm)
	p.pdf.Line(x1*mm, y1*mm, x2*mm, y2*mm)
}

func (p *page) frame(x, y, w, h, width float64) {
	p.pdf.SetLineWidth(width * mm)
	p.pdf.RectFromUpperLeftWithStyle(x*mm, y*mm, w*mm, h*mm, "D")
}

func (p *page) black(x, y, w, h float64) {
	p.pdf.RectFromUpperLeftWithStyle(x*mm, y*mm, w*mm, h*mm, "F")
}

// square draws a text as a QR code with its quiet zone of four modules.
func (p *page) square(text string, x, y, side float64) {
	if p.err != nil {
		return
	}
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		p.err = err
		return
	}
	n := code.Bounds().Dx()
	module := side / float64(n+8)
	p.pdf.SetFillColor(0, 0, 0)
	for row := range n {
		for from := 0; from < n; {
			to := from
			for to < n && dark(code.At(to, row).RGBA()) {
				to++
			}
			if to > from {
				p.black(x+float64(from+4)*module, y+float64(row+4)*module, float64(to-from)*module, module)
			}
			from = to + 1
		}
	}
}

func dark(r, _, _, _ uint32) bool { return r == 0 }

// done gives the document.
func (p *page) done() ([]byte, error) {
	if p.err != nil {
		return nil, p.err
	}
	out, err := p.pdf.GetBytesPdfReturnErr()
	if err != nil {
		return nil, fmt.Errorf("print: %w", err)
	}
	return out, nil
}
