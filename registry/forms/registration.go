package forms

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Registration is the consent form: one person, what they register for, what they signed, and the sample if one was
// drawn with it. The row of a drive's sheet, the single entry and the API's body are all this struct.
type Registration struct {
	Name           seal.Name             `json:"name" validate:"required,personname"`
	DocumentKind   identity.DocumentKind `json:"document_kind,omitempty" validate:"omitempty,oneof=resident_id hk_macao_residence taiwan_residence permanent_residence hk_macao_pass taiwan_pass mainland_pass passport military_id" doc:"Recognised from the number when left out."`
	DocumentNumber seal.Number           `json:"document_number" validate:"required,max=40"`
	Sex            identity.Sex          `json:"sex,omitempty" validate:"omitempty,oneof=male female" doc:"Read from a resident identity number when left out."`
	BirthDate      calendar.Date         `json:"birth_date,omitzero" doc:"Read from a resident identity number when left out."`
	Ethnicity      string                `json:"ethnicity,omitempty" validate:"omitempty,ethnicity" doc:"GB/T 3304, as a name or a code."`
	Phone          seal.Phone            `json:"phone" validate:"required,phone"`
	Email          seal.Email            `json:"email,omitzero" validate:"omitempty,email,max=120"`
	Region         identity.Region       `json:"region,omitempty" validate:"omitempty,region" doc:"Where the person lives; the drive's region when left out."`
	Address        seal.Address          `json:"address,omitzero" validate:"max=200"`
	Workplace      seal.Note             `json:"workplace,omitzero" validate:"max=120" doc:"College, company or unit."`
	HeightCM       int                   `json:"height_cm,omitempty" validate:"omitempty,min=80,max=250"`
	WeightKG       int                   `json:"weight_kg,omitempty" validate:"omitempty,min=25,max=300"`
	ABO            identity.ABO          `json:"abo,omitempty" validate:"omitempty,oneof=A B O AB"`
	Rh             identity.Rh           `json:"rh,omitempty" validate:"omitempty,oneof=positive negative"`
	Contacts       []Contact             `json:"contacts,omitempty" validate:"max=2,dive"`
	Programmes     []rules.Programme     `json:"programmes" validate:"required,min=1,unique,dive,oneof=stemcell blood organ cornea body"`
	Intent         rules.Intent          `json:"intent,omitempty" validate:"omitempty,oneof=wish refusal" doc:"A wish when left out. A refusal is recorded for organ, cornea and body, and nobody can override it."`
	Organs         []string              `json:"organs,omitempty" validate:"unique,dive,oneof=all heart lung liver kidney pancreas intestine"`
	HealthAnswered bool                  `json:"health_answered,omitempty" doc:"The health questions were answered. The answers stay on the form."`
	Signed         bool                  `json:"signed" validate:"eq=true" doc:"The person signed."`
	SignedOn       calendar.Date         `json:"signed_on" validate:"required"`
	OnPaper        bool                  `json:"on_paper,omitempty"`
	FormVersion    string                `json:"form_version,omitempty" validate:"max=40" doc:"The wording that was signed; the one in use on the day when left out."`
	ScanRef        string                `json:"scan_ref,omitempty" validate:"max=120" doc:"Where the scanned form is kept."`
	Barcode        string                `json:"barcode,omitempty" validate:"omitempty,barcode" doc:"The tube's barcode, when a sample was drawn."`
	DrawnOn        calendar.Date         `json:"drawn_on,omitzero" doc:"The day of signing when left out."`
	Tubes          int                   `json:"tubes,omitempty" validate:"omitempty,min=1,max=6"`
	Millilitres    float64               `json:"millilitres,omitempty" validate:"omitempty,gt=0,lte=20"`
}

// Contact is a relative or friend who is asked when the donor cannot be reached.
type Contact struct {
	Name     seal.Name    `json:"name" validate:"required,personname"`
	Relation string       `json:"relation,omitempty" validate:"max=20"`
	Phone    seal.Phone   `json:"phone" validate:"required,phone"`
	Address  seal.Address `json:"address,omitzero" validate:"max=200"`
}

// Circumstances are what a form is judged by beside itself.
type Circumstances struct {
	Today  calendar.Date
	Rules  func(region identity.Region, on calendar.Date) rules.Rules
	Region identity.Region // of the office or drive that takes the form
	Drive  *DriveFacts     // nil for a form outside a drive
}

// DriveFacts are what a drive's forms must agree with.
type DriveFacts struct {
	FirstDay, LastDay      calendar.Date
	BarcodeFrom, BarcodeTo string
}

// Review brings the form into its canonical form and returns what is wrong with it and what wants a second look. After
// a review without blocking problems every field is normal: the document's kind known, phones in E.164, sex and birth
// date filled.
func (f *Registration) Review(c Circumstances) Problems {
	f.tidy()
	problems := Check(f)
	seen := map[string]bool{}
	for _, p := range problems {
		seen[p.Field] = true
	}
	add := func(code, field string, args map[string]any) {
		// Two programmes that ask for the same thing ask for it once.
		if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Code == code && p.Field == field }) {
			problems = append(problems, Problem{Code: code, Field: field, Args: args})
		}
	}
	if !seen["name"] {
		f.reviewName(add)
	}
	if !seen["document_number"] && !seen["document_kind"] {
		f.reviewDocument(add)
	}
	f.reviewPhones(seen, add)
	if f.Region == "" {
		f.Region = c.Region
	}
	law := f.law(c, seen)
	if !seen["signed_on"] {
		f.reviewSigning(c, law, seen, add)
	}
	f.reviewProgrammes(law, add)
	f.reviewSample(c, seen, add)
	return problems
}

type reporter func(code, field string, args map[string]any)

// law is the rules that the form is judged by: those of its region on the day of signing. A form whose region or day
// cannot be used has a problem already, and the rest of it is judged by those of the office and of today.
func (f *Registration) law(c Circumstances, seen map[string]bool) rules.Rules {
	region, day := f.Region, f.SignedOn
	if seen["region"] || !region.Known() {
		region = c.Region
	}
	if !region.Known() {
		region = rules.Nation
	}
	if seen["signed_on"] || day.Before(firstDay) {
		day = c.Today
	}
	return c.Rules(region, day)
}

// firstDay is the day from which the packs state every rule.
var firstDay = calendar.Must(2001, time.January, 1)

// tidy trims what people and spreadsheets leave around values.
func (f *Registration) tidy() {
	f.Barcode = strings.ToUpper(strings.TrimSpace(f.Barcode))
	f.FormVersion = strings.ToUpper(strings.TrimSpace(f.FormVersion))
	if f.Intent == "" {
		f.Intent = rules.Wish
	}
	if code, err := identity.ParseEthnicity(f.Ethnicity); err == nil {
		f.Ethnicity = string(code)
	}
}

func (f *Registration) reviewName(add reporter) {
	name, err := identity.ParseName(f.Name.Reveal())
	if err != nil {
		add("R115", "name", nil)
		return
	}
	f.Name = seal.NameOf(name)
	if identity.UnusualLength(name) {
		add("W205", "name", nil)
	}
	if !printable(name) {
		add("W207", "name", nil)
	}
}

// printable tells whether the usual Chinese fonts have every character: those of the basic plane. Rare characters of
// the supplementary planes print as boxes with most of them.
func printable(name string) bool {
	for _, r := range name {
		if r > 0xFFFF || unicode.Is(unicode.Co, r) {
			return false
		}
	}
	return true
}

var documentCodes = map[identity.Reason]string{
	identity.ReasonEmpty: "R101", identity.ReasonLength: "R103", identity.ReasonCharacters: "R103", identity.ReasonRegion: "R117",
	identity.ReasonBirthDate: "R105", identity.ReasonChecksum: "R104", identity.ReasonUnknownKind: "R103",
}

func (f *Registration) reviewDocument(add reporter) {
	var doc identity.Document
	var err error
	if f.DocumentKind == "" {
		doc, err = identity.Recognise(f.DocumentNumber.Reveal())
	} else {
		doc, err = identity.ParseDocument(f.DocumentKind, f.DocumentNumber.Reveal())
	}
	if err != nil {
		var bad *identity.DocumentError
		code := "R103"
		if errors.As(err, &bad) {
			code = documentCodes[bad.Reason]
		}
		add(code, "document_number", nil)
		return
	}
	f.DocumentKind, f.DocumentNumber = doc.Kind(), seal.NumberOf(doc.Reveal())
	if birth, ok := doc.Birth(); ok {
		if !f.BirthDate.IsZero() && f.BirthDate != birth {
			add("W202", "birth_date", nil)
		}
		f.BirthDate = birth
	}
	if sex, ok := doc.Sex(); ok {
		if f.Sex != "" && f.Sex != sex {
			add("W201", "sex", nil)
		}
		f.Sex = sex
	}
	if f.BirthDate.IsZero() {
		add("R101", "birth_date", nil)
	}
	if f.Sex == "" {
		add("R101", "sex", nil)
	}
}

func (f *Registration) reviewPhones(seen map[string]bool, add reporter) {
	if phone, err := identity.ParsePhone(f.Phone.Reveal()); err == nil && !seen["phone"] {
		f.Phone = seal.PhoneOf(phone)
	}
	for i := range f.Contacts {
		c := &f.Contacts[i]
		if name, err := identity.ParseName(c.Name.Reveal()); err == nil {
			c.Name = seal.NameOf(name)
		}
		phone, err := identity.ParsePhone(c.Phone.Reveal())
		if err != nil {
			continue // Check has said so
		}
		c.Phone = seal.PhoneOf(phone)
		if c.Phone.Equal(f.Phone) {
			add("W204", "contacts["+string(rune('0'+i))+"].phone", nil)
		}
	}
}

func (f *Registration) reviewSigning(c Circumstances, law rules.Rules, seen map[string]bool, add reporter) {
	switch {
	case f.SignedOn.After(c.Today):
		add("R113", "signed_on", map[string]any{"First": driveStart(c.Drive), "Last": c.Today.String()})
		return
	case c.Drive != nil && f.SignedOn.Before(c.Drive.FirstDay):
		add("R113", "signed_on", map[string]any{"First": driveStart(c.Drive), "Last": c.Today.String()})
		return
	}
	if seen["programmes"] {
		return
	}
	if f.FormVersion != "" {
		wording, known := rules.Worded(f.FormVersion)
		if !known || wording.From.After(f.SignedOn) || !slices.ContainsFunc(f.Programmes, func(p rules.Programme) bool { return wording.Kind == f.WordingKind(p) }) {
			add("R112", "form_version", nil)
			return
		}
	}
	for _, p := range f.Programmes {
		if !slices.Contains(rules.Programmes(), p) {
			continue // Check has said so
		}
		if _, ok := f.Wording(p); !ok {
			add("R112", "form_version", nil)
			break
		}
		if f.BirthDate.IsZero() {
			continue
		}
		if window := law.Ages(p); !window.Admits(f.BirthDate, f.SignedOn) {
			args := map[string]any{"Age": f.BirthDate.AgeOn(f.SignedOn), "Min": window.Min, "Max": window.Max}
			if window.Max == 0 {
				add("R134", "birth_date", args)
			} else {
				add("R106", "birth_date", args)
			}
			break
		}
	}
}

func driveStart(d *DriveFacts) string {
	if d == nil {
		return ""
	}
	return d.FirstDay.String()
}

// WordingKind is the kind of text that somebody signs for a programme.
func (f *Registration) WordingKind(p rules.Programme) string {
	if f.Intent == rules.Refusal {
		return "refusal"
	}
	return string(p) + ".registration"
}

// Wording is the text that the form was signed under for a programme: the version that the form names when it is of
// that kind, else the one in use on the day.
func (f *Registration) Wording(p rules.Programme) (rules.Wording, bool) {
	if named, ok := rules.Worded(f.FormVersion); ok && named.Kind == f.WordingKind(p) {
		return named, true
	}
	return rules.CurrentWording(f.WordingKind(p), f.SignedOn)
}

func (f *Registration) reviewProgrammes(law rules.Rules, add reporter) {
	for _, p := range f.Programmes {
		switch {
		case f.Intent == rules.Refusal && (p == rules.StemCell || p == rules.Blood):
			add("R128", "intent", nil)
		case f.Intent == rules.Refusal:
		case p == rules.Organ && len(f.Organs) == 0:
			add("R126", "organs", nil)
		case (p == rules.StemCell || p == rules.Blood) && !f.HealthAnswered:
			add("R122", "health_answered", nil)
		}
		if p == rules.StemCell && f.Intent == rules.Wish {
			if needed := law.Count(rules.StemCellContacts); len(f.Contacts) < needed {
				add("R121", "contacts", map[string]any{"Needed": needed, "Given": len(f.Contacts)})
			}
		}
	}
}

func (f *Registration) reviewSample(c Circumstances, seen map[string]bool, add reporter) {
	if f.Barcode == "" || seen["barcode"] {
		return
	}
	if !slices.Contains(f.Programmes, rules.StemCell) && len(f.Programmes) > 0 {
		add("R135", "barcode", nil)
		return
	}
	if d := c.Drive; d != nil && d.BarcodeFrom != "" && !Between(f.Barcode, d.BarcodeFrom, d.BarcodeTo) {
		add("R107", "barcode", map[string]any{"From": d.BarcodeFrom, "To": d.BarcodeTo})
	}
	if f.DrawnOn.IsZero() {
		f.DrawnOn = f.SignedOn // which has been judged
	} else if f.DrawnOn.After(c.Today) || f.DrawnOn.Before(f.SignedOn) {
		add("R127", "drawn_on", nil)
	}
	if f.Tubes == 0 {
		f.Tubes = 1
	}
}

// Between compares barcodes of one length as the labels' printer numbers them.
func Between(code, from, to string) bool {
	return len(code) == len(from) && len(code) == len(to) && from <= code && code <= to
}

// Key is a text that is the same for the same form, whatever its spelling in the sheet: what an importer recognises a
// row by. It is personal and leaves the register only as a digest.
func (f *Registration) Key() string {
	parts := []string{
		f.Name.Reveal(), string(f.DocumentKind), f.DocumentNumber.Reveal(), string(f.Sex), f.BirthDate.String(), f.Ethnicity, f.Phone.Reveal(),
		f.Email.Reveal(), string(f.Region), f.Address.Reveal(), f.Workplace.Reveal(), string(f.ABO), string(f.Rh), string(f.Intent), f.Barcode,
		f.SignedOn.String(), f.DrawnOn.String(), f.FormVersion,
	}
	for _, p := range f.Programmes {
		parts = append(parts, string(p))
	}
	parts = append(parts, f.Organs...)
	for _, c := range f.Contacts {
		parts = append(parts, c.Name.Reveal(), c.Phone.Reveal())
	}
	return strings.Join(parts, "\x1f")
}
