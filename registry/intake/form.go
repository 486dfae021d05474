package intake

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Defaults are what the batch's cover says for all its rows. Each holds for a column that the sheet does not have; a
// cell left empty stays empty.
type Defaults struct {
	Programmes     []rules.Programme `json:"programmes,omitempty"`
	Intent         rules.Intent      `json:"intent,omitempty"`
	Organs         []string          `json:"organs,omitempty"`
	Signed         bool              `json:"signed,omitempty"`
	SignedOn       calendar.Date     `json:"signed_on,omitzero"`
	HealthAnswered bool              `json:"health_answered,omitempty"`
	OnPaper        bool              `json:"on_paper,omitempty"`
	FormVersion    string            `json:"form_version,omitempty"`
	DrawnOn        calendar.Date     `json:"drawn_on,omitzero"`
	// Region decides between places of one name: that of the drive. It is not where the person lives.
	Region identity.Region `json:"region,omitempty"`
}

// Form reads a row into the form. The problems are those of reading: words, days and numbers that cannot be read (R114,
// R123, R119), regions (R118), what a spreadsheet spoiled (R102, R136), and W209 for a formula. Whether the form is right
// is for Registration.Review, or for a Checker, which does both.
func (m Mapping) Form(row Row, d Defaults) (forms.Registration, forms.Problems) {
	return newReader(m, d).form(row)
}

// source is where a field is read from, and how.
type source struct {
	column int
	field  Field
	read   func(*reading, Field, Cell)
}

// reader reads the rows of one sheet. It keeps the regions that it looked up.
type reader struct {
	columns  []source
	defaults Defaults
	missing  map[Field]bool
	regions  map[string]identity.Region
}

func newReader(m Mapping, d Defaults) *reader {
	r := &reader{defaults: d, missing: map[Field]bool{}, regions: map[string]identity.Region{}}
	for _, f := range fields[:len(fields)-1] {
		if column, ok := m.Column(f); ok {
			r.columns = append(r.columns, source{column, f, readers[f]})
		}
	}
	r.missing[Programmes] = !m.has(Programmes) && !m.has(programmeFields...)
	for _, f := range []Field{Intent, Organs, Signed, SignedOn, HealthAnswered, FormVersion, DrawnOn} {
		r.missing[f] = !m.has(f)
	}
	return r
}

// reading is one row on its way into a form.
type reading struct {
	*reader
	form     forms.Registration
	contacts [2]forms.Contact
	problems forms.Problems
}

func (r *reading) add(code string, f Field, args map[string]any) {
	r.problems = append(r.problems, forms.Problem{Code: code, Field: f.Path(), Args: args})
}

func (r *reader) form(row Row) (forms.Registration, forms.Problems) {
	read := reading{reader: r}
	read.defaulted()
	formula := false
	for _, c := range r.columns {
		cell, f := row.Cell(c.column), c.field
		if cell.Formula && !formula {
			formula = true
			read.add("W209", f, nil)
		}
		if cell.Broken {
			read.add("R136", f, nil)
			continue
		}
		if cell.Text = clean(cell.Text); cell.Text != "" {
			c.read(&read, f, cell)
		}
	}
	for i, c := range read.contacts {
		if !c.Name.Empty() || !c.Phone.Empty() {
			read.form.Contacts = append(read.form.Contacts, read.contacts[i])
		}
	}
	slices.SortFunc(read.form.Programmes, func(a, b rules.Programme) int {
		return slices.Index(rules.Programmes(), a) - slices.Index(rules.Programmes(), b)
	})
	read.form.Programmes = slices.Compact(read.form.Programmes)
	return read.form, read.problems
}

// defaulted fills in what the cover says for columns that the sheet does not have.
func (r *reading) defaulted() {
	d, f := r.defaults, &r.form
	f.OnPaper = d.OnPaper
	if r.missing[Programmes] {
		f.Programmes = slices.Clone(d.Programmes)
	}
	if r.missing[Intent] {
		f.Intent = d.Intent
	}
	if r.missing[Organs] {
		f.Organs = slices.Clone(d.Organs)
	}
	if r.missing[Signed] {
		f.Signed = d.Signed
	}
	if r.missing[SignedOn] {
		f.SignedOn = d.SignedOn
	}
	if r.missing[HealthAnswered] {
		f.HealthAnswered = d.HealthAnswered
	}
	if r.missing[FormVersion] {
		f.FormVersion = d.FormVersion
	}
	if r.missing[DrawnOn] {
		f.DrawnOn = d.DrawnOn
	}
}

// readers say how the cell of each field is read.
var readers = map[Field]func(*reading, Field, Cell){
	Name:             func(r *reading, _ Field, c Cell) { r.form.Name = seal.NameOf(c.Text) },
	DocumentKind:     enumerated("document_kind", func(r *reading, v string) { r.form.DocumentKind = identity.DocumentKind(v) }),
	DocumentNumber:   digital(func(r *reading, v string) { r.form.DocumentNumber = seal.NumberOf(v) }),
	Sex:              enumerated("sex", func(r *reading, v string) { r.form.Sex = identity.Sex(v) }),
	BirthDate:        dated(func(r *reading, v calendar.Date) { r.form.BirthDate = v }),
	Ethnicity:        (*reading).ethnicity,
	Phone:            digital(func(r *reading, v string) { r.form.Phone = seal.PhoneOf(v) }),
	Email:            func(r *reading, _ Field, c Cell) { r.form.Email = seal.EmailOf(c.Text) },
	Region:           (*reading).region,
	Address:          func(r *reading, _ Field, c Cell) { r.form.Address = seal.AddressOf(c.Text) },
	Workplace:        func(r *reading, _ Field, c Cell) { r.form.Workplace = seal.NoteOf(c.Text) },
	HeightCM:         numbered("≥", "80", func(r *reading, v float64) { r.form.HeightCM = int(math.Round(v)) }),
	WeightKG:         numbered("≥", "25", func(r *reading, v float64) { r.form.WeightKG = int(math.Round(v)) }),
	ABO:              (*reading).bloodGroup,
	Rh:               enumerated("rh", func(r *reading, v string) { r.form.Rh = identity.Rh(v) }),
	Contact1Name:     func(r *reading, _ Field, c Cell) { r.contacts[0].Name = seal.NameOf(c.Text) },
	Contact1Relation: func(r *reading, _ Field, c Cell) { r.contacts[0].Relation = kinship(c.Text) },
	Contact1Phone:    digital(func(r *reading, v string) { r.contacts[0].Phone = seal.PhoneOf(v) }),
	Contact1Address:  func(r *reading, _ Field, c Cell) { r.contacts[0].Address = seal.AddressOf(c.Text) },
	Contact2Name:     func(r *reading, _ Field, c Cell) { r.contacts[1].Name = seal.NameOf(c.Text) },
	Contact2Relation: func(r *reading, _ Field, c Cell) { r.contacts[1].Relation = kinship(c.Text) },
	Contact2Phone:    digital(func(r *reading, v string) { r.contacts[1].Phone = seal.PhoneOf(v) }),
	Contact2Address:  func(r *reading, _ Field, c Cell) { r.contacts[1].Address = seal.AddressOf(c.Text) },
	Programmes:       listed("programme", func(r *reading, v string) { r.programme(rules.Programme(v)) }),
	StemCell:         yesNo(func(r *reading) { r.programme(rules.StemCell) }),
	Blood:            yesNo(func(r *reading) { r.programme(rules.Blood) }),
	Organ:            yesNo(func(r *reading) { r.programme(rules.Organ) }),
	Cornea:           yesNo(func(r *reading) { r.programme(rules.Cornea) }),
	Body:             yesNo(func(r *reading) { r.programme(rules.Body) }),
	Intent:           enumerated("intent", func(r *reading, v string) { r.form.Intent = rules.Intent(v) }),
	Organs:           listed("organ", func(r *reading, v string) { r.form.Organs = append(r.form.Organs, v) }),
	HealthAnswered:   yesNo(func(r *reading) { r.form.HealthAnswered = true }),
	Signed:           yesNo(func(r *reading) { r.form.Signed = true }),
	SignedOn:         dated(func(r *reading, v calendar.Date) { r.form.SignedOn = v }),
	FormVersion:      func(r *reading, _ Field, c Cell) { r.form.FormVersion = c.Text },
	ScanRef:          func(r *reading, _ Field, c Cell) { r.form.ScanRef = c.Text },
	Barcode:          digital(func(r *reading, v string) { r.form.Barcode = v }),
	DrawnOn:          dated(func(r *reading, v calendar.Date) { r.form.DrawnOn = v }),
	Tubes:            numbered("≥", "1", func(r *reading, v float64) { r.form.Tubes = int(math.Round(v)) }),
	Millilitres:      numbered(">", "0", func(r *reading, v float64) { r.form.Millilitres = v }),
}

func (r *reading) programme(p rules.Programme) { r.form.Programmes = append(r.form.Programmes, p) }

// digital reads a number that is no amount, such as a phone: the text, unless a spreadsheet took it for an amount.
func digital(set func(*reading, string)) func(*reading, Field, Cell) {
	return func(r *reading, f Field, c Cell) {
		// Only a number or an exponent can be damaged; most cells are neither. What is left of one is not kept: it could
		// pass for another person's number.
		if (c.Numeric || strings.ContainsAny(c.Text, "Ee")) && identity.LooksDamagedBySpreadsheet(c.Text, c.Numeric) {
			r.add("R102", f, nil)
			return
		}
		set(r, c.Text)
	}
}

func enumerated(set string, put func(*reading, string)) func(*reading, Field, Cell) {
	return func(r *reading, f Field, c Cell) {
		value, ok := vocabulary().word(set, c.Text)
		if !ok {
			r.unmapped(f, set)
			return
		}
		put(r, value)
	}
}

func listed(set string, put func(*reading, string)) func(*reading, Field, Cell) {
	return func(r *reading, f Field, c Cell) {
		values, ok := vocabulary().list(set, c.Text)
		if !ok {
			r.unmapped(f, set)
			return
		}
		for _, v := range values {
			put(r, v)
		}
	}
}

func yesNo(put func(*reading)) func(*reading, Field, Cell) {
	return enumerated("yes", func(r *reading, v string) {
		if v == "yes" {
			put(r)
		}
	})
}

// unmapped names the values that the field takes, in code: the sentence says them in the reader's language.
func (r *reading) unmapped(f Field, set string) {
	r.add("R114", f, map[string]any{"Allowed": strings.Join(vocabulary().allowed[set], ", ")})
}

// dated reads a day: a cell that the spreadsheet holds as one, or a text.
func dated(put func(*reading, calendar.Date)) func(*reading, Field, Cell) {
	return func(r *reading, f Field, c Cell) {
		date, ok := readDate(c.Text)
		if !ok && c.Numeric && !c.Date.IsZero() {
			date, ok = c.Date, true
		}
		if !ok {
			r.add("R123", f, nil)
			return
		}
		put(r, date)
	}
}

var units = strings.NewReplacer("kg", "", "公斤", "", "千克", "", "cm", "", "厘米", "", "ml", "", "毫升", "", "支", "", "管", "", " ", "")

// numbered reads an amount, with or without its unit. The bound is told to whoever wrote something else.
func numbered(bound, limit string, put func(*reading, float64)) func(*reading, Field, Cell) {
	return func(r *reading, f Field, c Cell) {
		value, err := strconv.ParseFloat(units.Replace(strings.ToLower(c.Text)), 64)
		if err == nil && value == 0 && (f == Tubes || f == Millilitres) {
			return // nothing was drawn
		}
		// Nothing that people are measured in comes near a million; zero is out of range.
		if err != nil || math.IsNaN(value) || value <= 0 || value > 1e6 || math.Round(value) == 0 && bound == "≥" {
			r.add("R119", f, map[string]any{"Bound": bound, "Limit": limit})
			return
		}
		put(r, value)
	}
}

func (r *reading) ethnicity(f Field, c Cell) {
	code, err := identity.ParseEthnicity(c.Text)
	if err != nil {
		r.add("R114", f, nil)
		return
	}
	r.form.Ethnicity = string(code)
}

// longestGroup is longer than both groups as anybody writes them.
const longestGroup = 40

// bloodGroup reads a column in which people often write both systems: O型阳性, A+.
func (r *reading) bloodGroup(f Field, c Cell) {
	v := vocabulary()
	if value, ok := v.word("abo", c.Text); ok {
		r.form.ABO = identity.ABO(value)
		return
	}
	text := foldWord(c.Text)
	for i := 1; i < len(text) && len(text) <= longestGroup; i++ {
		abo, group := v.word("abo", text[:i])
		rh, factor := v.word("rh", strings.Trim(text[i:], "(),/"))
		if group && factor {
			r.form.ABO = identity.ABO(abo)
			if r.form.Rh == "" {
				r.form.Rh = identity.Rh(rh)
			}
			return
		}
	}
	r.unmapped(f, "abo")
}

// region reads a place. Of several places of one name it takes the one in force, then the one within the drive's city
// or province; where that leaves more than one, nobody can tell.
func (r *reading) region(f Field, c Cell) {
	region, known := r.regions[c.Text]
	if !known {
		region = resolve(c.Text, r.defaults.Region)
		if len(r.regions) < 10_000 {
			r.regions[strings.Clone(c.Text)] = region
		}
	}
	if region == "" {
		r.add("R118", f, nil)
		return
	}
	r.form.Region = region
}

func resolve(text string, near identity.Region) identity.Region {
	found := identity.Resolve(text)
	if current := slices.DeleteFunc(slices.Clone(found), func(x identity.Region) bool { return !x.Current() }); len(current) > 0 {
		found = current
	}
	for _, around := range near.Ancestors() {
		if around == identity.Nation {
			break
		}
		if within := slices.DeleteFunc(slices.Clone(found), func(x identity.Region) bool { return !around.Contains(x) }); len(within) == 1 {
			return within[0]
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// kinship brings the usual words to one form and leaves others as they are.
func kinship(text string) string {
	if value, ok := vocabulary().word("relation", text); ok {
		return value
	}
	return text
}

// shifted tells whether only the second contact's columns are filled, so that the form's first contact is the sheet's
// second.
func (r *reader) shifted(row Row) bool {
	filled := func(names ...Field) bool {
		return slices.ContainsFunc(r.columns, func(c source) bool {
			return slices.Contains(names, c.field) && row.Cell(c.column).Text != ""
		})
	}
	return !filled(Contact1Name, Contact1Phone) && filled(Contact2Name, Contact2Phone)
}

// rowList writes numbers of rows as a sentence shows them.
func rowList(rows []int32) string {
	var out []string
	for _, n := range rows {
		out = append(out, fmt.Sprint(n))
	}
	return strings.Join(out, ", ")
}
