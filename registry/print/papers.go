package print

import (
	"github.com/liferelay/liferelay/registry/lang"
)

// Paper sizes, in millimetres.
const (
	a4Wide, a4High = 210, 297
	margin         = 20
)

// both says a sentence in both languages, the Chinese first.
func both(id string, args map[string]any) (zh, en string) {
	return lang.Chinese.Say(id, args), lang.English.Say(id, args)
}

// ConsentForm is a form to be signed on paper.
type ConsentForm struct {
	Title            string // of the consent, a sentence's name
	Version          string
	Chinese, English string // what is signed
	Drive, Place     string
	Days             string
	Square           string // what the square says, so that whoever scans the paper finds the drive
	Copies           int
}

// ConsentForms prints a form as often as it is wanted, each on a page of its own.
func ConsentForms(f ConsentForm) ([]byte, error) {
	p := newPage(lang.Chinese.Say(f.Title, nil), a4Wide, a4High)
	const wide = a4Wide - 2*margin
	for range max(f.Copies, 1) {
		p.add()
		zh, en := both(f.Title, nil)
		p.letters(18)
		p.text("title", zh, margin, 18, wide-36, 9)
		p.letters(10)
		p.text("title", en, margin, 28, wide-36, 5)
		p.square(f.Square, a4Wide-margin-32, 12, 32)
		p.letters(9)
		p.at("drive", lang.Chinese.Say("print.drive", map[string]any{"Number": f.Drive, "Version": f.Version}), margin, 37)
		p.at("place", f.Place+"  "+f.Days, margin, 42)
		y := p.blanks(52, wide)
		p.letters(11)
		y = p.text("consent", f.Chinese, margin, y+4, wide, 6.2)
		p.letters(9)
		y = p.text("consent", f.English, margin, y+3, wide, 4.8)
		y = max(y+10, 232)
		zh, en = both("print.signature", nil)
		p.letters(10)
		p.at("form", zh, margin, y)
		p.line(margin+28, y+5, margin+85, y+5, 0.2)
		zhDay, enDay := both("print.date", nil)
		p.at("form", zhDay, margin+95, y)
		p.line(margin+112, y+5, a4Wide-margin, y+5, 0.2)
		p.letters(8)
		p.at("form", en, margin, y+5.5)
		p.at("form", enDay, margin+95, y+5.5)
		// Room for the label of the tube.
		zh, en = both("print.label_here", nil)
		p.frame(margin, 262, 60, 24, 0.2)
		p.letters(8)
		p.at("form", zh, margin+2, 264)
		p.at("form", en, margin+2, 268)
		p.text("form", lang.Chinese.Say("print.bound_by_chinese", nil), margin+66, 264, wide-66, 4)
		p.text("form", lang.English.Say("print.bound_by_chinese", nil), margin+66, 272, wide-66, 4)
	}
	return p.done()
}

// blanks are the lines that whoever signs fills in.
func (p *page) blanks(y, wide float64) float64 {
	for _, row := range [][]string{{"print.name", "print.sex"}, {"print.document", "print.birth"}, {"print.phone", "print.ethnicity"}, {"print.address"}, {"print.contact", "print.contact_phone"}, {"print.contact", "print.contact_phone"}} {
		each := wide / float64(len(row))
		for i, id := range row {
			x := margin + float64(i)*each
			zh, en := both(id, nil)
			p.letters(10)
			p.at("form", zh, x, y)
			p.letters(7)
			p.at("form", en, x, y+4.6)
			p.line(x+26, y+6, x+each-4, y+6, 0.2)
		}
		y += 10.5
	}
	return y
}

// Request is what a step asks of an organisation, on paper.
type Request struct {
	Step                   string // its code
	Number                 string // of the case
	Organisation, Due      string
	Opened, Printed, Count string
}

// Requests prints one.
func RequestPaper(r Request) ([]byte, error) {
	p := newPage(r.Number, a4Wide, a4High)
	p.add()
	const wide = a4Wide - 2*margin
	zh, en := both("step."+r.Step, nil)
	p.letters(18)
	p.text("title", lang.Chinese.Say("print.request", map[string]any{"Step": zh}), margin, 20, wide, 9)
	p.letters(11)
	p.text("title", lang.English.Say("print.request", map[string]any{"Step": en}), margin, 31, wide, 6)
	y := 48.0
	for _, row := range []struct{ id, value string }{{"print.case", r.Number}, {"print.to", r.Organisation}, {"print.opened", r.Opened}, {"print.due", r.Due}} {
		zh, en := both(row.id, nil)
		p.letters(11)
		p.at("form", zh, margin, y)
		p.at("value", row.value, margin+50, y)
		p.letters(8)
		p.at("form", en, margin, y+5)
		p.line(margin, y+11, margin+wide, y+11, 0.1)
		y += 14
	}
	zh, en = both("print.request_how", nil)
	p.letters(11)
	y = p.text("form", zh, margin, y+6, wide, 6.5)
	p.letters(9)
	y = p.text("form", en, margin, y+2, wide, 5)
	for _, id := range []string{"print.signature", "print.date", "print.stamp"} {
		y += 18
		zh, en := both(id, nil)
		p.letters(11)
		p.at("form", zh, margin, y)
		p.letters(8)
		p.at("form", en, margin, y+5)
		p.line(margin+40, y+6, margin+110, y+6, 0.2)
	}
	p.letters(8)
	p.at("form", r.Printed, margin, 282)
	return p.done()
}

// Certificate is one that somebody is given.
type Certificate struct {
	Kind    string // donation, honour, leave_letter
	Number  string
	Name    string // in clear: the caller has been permitted
	Nth     int    // the region's how-manieth donor; 0 is not told
	Region  string
	Issuer  string
	Day     string // in Chinese
	DayEN   string
	Check   string // where the square leads: a page that says whether this is genuine
	Comment string
}

// certificateWords are the names of the sentences of each kind.
var certificateWords = map[string][2]string{
	"donation":     {"print.donation_title", "print.donation"},
	"honour":       {"print.honour_title", "print.honour"},
	"leave_letter": {"print.leave_letter_title", "print.leave_letter"},
}

// CertificatePaper prints a certificate, on a page that lies.
func CertificatePaper(c Certificate) ([]byte, error) {
	const wide, high = a4High, a4Wide
	w, ok := certificateWords[c.Kind]
	if !ok {
		return nil, &Unprintable{Field: "kind"}
	}
	p := newPage(c.Number, wide, high)
	p.add()
	p.pdf.SetStrokeColor(176, 32, 36)
	p.frame(10, 10, wide-20, high-20, 1)
	p.frame(12.5, 12.5, wide-25, high-25, 0.3)
	p.pdf.SetStrokeColor(0, 0, 0)
	zh, en := both(w[0], nil)
	p.pdf.SetTextColor(176, 32, 36)
	p.letters(36)
	p.middle("title", zh, 20, 27, wide-40)
	p.pdf.SetTextColor(0, 0, 0)
	p.letters(14)
	p.middle("title", en, 20, 44, wide-40)
	p.letters(28)
	p.middle("name", c.Name, 40, 62, wide-80)
	p.line(wide/2-45, 75, wide/2+45, 75, 0.3)
	args := map[string]any{"Region": c.Region, "Nth": c.Nth}
	zh, en = both(w[1], args)
	p.letters(16)
	y := p.text("text", zh, 45, 86, wide-90, 10)
	p.letters(11)
	y = p.text("text", en, 45, y+3, wide-90, 6.5)
	if c.Nth > 0 {
		zh, en = both("print.nth", args)
		p.letters(13)
		y = p.text("text", zh, 45, y+5, wide-90, 8)
		p.letters(10)
		p.text("text", en, 45, y, wide-90, 6)
	}
	p.letters(11)
	p.at("number", lang.Chinese.Say("print.number", map[string]any{"Number": c.Number}), 30, high-44)
	p.letters(8)
	p.text("form", lang.Chinese.Say("print.check", nil), 30, high-36, 75, 4.2)
	p.text("form", lang.English.Say("print.check", nil), 30, high-30, 75, 4.2)
	if c.Check != "" {
		p.square(c.Check, 108, high-52, 32)
	}
	p.letters(14)
	p.middle("issuer", c.Issuer, 165, high-48, 100)
	p.letters(12)
	p.middle("day", c.Day, 165, high-38, 100)
	p.letters(9)
	p.middle("day", c.DayEN, 165, high-31, 100)
	return p.done()
}
