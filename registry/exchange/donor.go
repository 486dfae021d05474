// Package exchange reads and writes what donor registries send each other: inventories of donors, and the results of a search.
//
// It guarantees that an error at one donor loses no other, that a file of any size is read in one go with one donor in memory (and a number
// of 64 bits for the id and for the GRID of each that was seen, so that one who comes twice is noticed; two of 40 million donors have the same by
// chance in one file of some thousands), that no field and no record is taken that is longer than the limits below,
// and that what it writes it reads back unchanged as far as the format has the field:
//
//	                      wmda-xml   atlas-json   mv4-csv   gl
//	ID                       x           x           x       x
//	Pool, Type               x           x         Type      -
//	GRID                     x           -           -       -
//	Change                 DIFF          x           -       -
//	Status and its reason    x           -           -       -
//	Birth, sex, blood, CMV   x           -           -       -
//	Weight, height, counts   x           -           -       -
//	Ethnicity                x           x           -       -
//	Contact, checkup         x           -           -       -
//	FrequencySet             -           -           x       -
//	Typing: loci            all     A B C DRB1     A B C    all
//	                                DQB1 DPB1    DRB1 DQB1
//	Typing: antigens         x     not at DPB1       x       x
//	Typing: lists of pairs   -           -           -       x
//
// What a format has no field for is counted by its Writer (Lost); a typing that a format cannot hold without changing what it says is refused.
//
// Sources: the WMDA's page on its XML (share.wmda.info, page 210665521) and dictionary (datadictionary.wmda.info), the schema of Atlas's donor
// file (Anthony-Nolan/Atlas, Schemas/DonorUpdateFileSchema.json), the scripts of the WMDA's fourth exercise (nmdp-bioinformatics/wmda_mv4), and
// the WMDA's third validation set.
package exchange

import (
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Format is the name of a format.
type Format string

const (
	WMDA  Format = "wmda-xml"   // the WMDA's inventory, XSD 2.2; read: 2.1 to 2.3
	Atlas Format = "atlas-json" // the donor file of Atlas
	MV4   Format = "mv4-csv"    // the people of the WMDA's fourth exercise (MV4)
	GL    Format = "gl"         // an id, % and a GL string a line, as the WMDA's third set has them
)

// Formats lists them all.
func Formats() []Format { return []Format{WMDA, Atlas, MV4, GL} }

// What a file may have. A record is a donor with all that is written of them.
const (
	maxRecord  = 1 << 20 // bytes
	maxField   = 1 << 16 // bytes
	maxDepth   = 24      // elements or objects within each other
	maxIgnored = 200     // names that are counted apart
)

// Donor is what registries exchange about a donor. A field that is empty or nil is not known.
type Donor struct {
	ID           string // as the sender has it
	Pool         string // the ION of the registry where the donor is, four digits
	GRID         string // the global registration identifier, 19 characters; its check digits are not checked
	Type         Type
	Change       Change
	Status       Status
	StatusReason string // EMDIS: DO too old, DD died, MR medical, PR personal, TX after a transplantation, MO moved, UC unable to contact, TQ typing questionable, NS no sample, OT, UK
	StatusEnd    string // until when the status holds; this and every day below is written 2006-01-02
	Birth        string
	Sex          string // F, M
	ABO          string // A, B, AB, O
	Rhesus       string // P, N
	CMV          string // EMDIS: N, G, M, B, P, H, O
	CMVDate      string
	Ethnicity    string // EMDIS: CAEU, ASOC and the like
	Weight       *int   // in kg
	Height       *int   // in cm
	Transfusions *int   // 9 stands for nine and more
	Pregnancies  *int   // as well
	Contact      string // the last day on which the donor did something that shows they can be reached
	Checkup      string // the last questionnaire about their health
	Typing       string // a GL String; antigens only at loci without a name by DNA
	FrequencySet string // which population's frequencies the sender counts with (HF_SET)
}

// Type is what is listed.
type Type string

const (
	Adult  Type = "D"
	Cord   Type = "C"
	Banked Type = "B" // an adult donor's cells that are kept frozen; Atlas alone has it
)

// Status says whether a donor can be asked (EMDIS field D_STATUS).
type Status string

const (
	Available         Status = "AV"
	Unavailable       Status = "TU" // for a time
	Reserved          Status = "RS" // for the patient they were reported for
	ReservedElsewhere Status = "OP" // for another patient
	Deleted           Status = "DE"
)

// Change says what a file that is not full does with a donor.
type Change string

const (
	New    Change = "N"
	Update Change = "U"
	Delete Change = "D"
	Upsert Change = "NU" // new or updated
)

// Mode is what a file is.
type Mode string

const (
	Full  Mode = "full"  // all donors; who is not in it is listed no more
	Diff  Mode = "diff"  // those who changed
	Check Mode = "check" // to be compared only
)

// Header is what a file says of all its donors.
type Header struct {
	Mode     Mode
	Listing  string    // the ION of who sends it
	Pool     string    // the ION of the registry where they are
	Type     Type      // what the inventory lists
	Snapshot time.Time // when its content was true, in UTC
	Version  string    // of the schema
}

// Rule is the stable code of what is wrong with a record.
type Rule string

const (
	RuleMissing   Rule = "missing"   // the field must be there
	RuleForm      Rule = "form"      // not one of the values or not of the form that the field has
	RuleLong      Rule = "long"      // longer than a field may be
	RuleDuplicate Rule = "duplicate" // the donor stands in the file before
	RuleTyping    Rule = "typing"    // the format cannot hold such a typing
	RuleRecord    Rule = "record"    // not a record of the format
)

// RecordError says which donor of a file is left out, and why. What was read is for who sent it, never for a log.
type RecordError struct {
	Record int    `json:"record"` // which donor of the file, from 1
	ID     string `json:"id,omitempty"`
	Field  string `json:"field,omitempty"` // as the format calls it
	Rule   Rule   `json:"rule"`
	Text   string `json:"text"` // what the field has to be
	Read   string `json:"-"`    // what stands there
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("exchange: donor %d, %s: %s", e.Record, e.Field, e.Text)
}

// GoString keeps Read out of %#v.
func (e *RecordError) GoString() string { return e.Error() }

// FileError says that a file cannot be read on.
type FileError struct {
	Line  int    // from 1
	Text  string // what is wrong
	Cause error
}

func (e *FileError) Error() string { return fmt.Sprintf("exchange: line %d: %s", e.Line, e.Text) }

// Unwrap gives the cause, whose text may have parts of the file.
func (e *FileError) Unwrap() error { return e.Cause }

// Reader reads a file.
type Reader struct {
	from    *budget
	header  Header
	format  Format
	ignored map[string]int
	seen    map[uint64]struct{}
	seed    maphash.Seed
	records int
}

// NewReader makes a reader of a file in a format. Nothing is read yet.
func NewReader(format Format, from io.Reader) *Reader {
	return &Reader{from: &budget{from: from, line: 1, left: maxRecord}, format: format, ignored: map[string]int{},
		seen: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
}

// Donors reads the donors one after another, once. A donor who cannot be taken is a *RecordError, and reading goes on; a *FileError ends it.
func (r *Reader) Donors() iter.Seq2[Donor, error] {
	return func(yield func(Donor, error) bool) {
		read := map[Format]func(func(Donor, error) bool) error{WMDA: r.readWMDA, Atlas: r.readAtlas, MV4: r.readMV4, GL: r.readGL}[r.format]
		if read == nil {
			yield(Donor{}, &FileError{1, "there is no format of this name", nil})
			return
		}
		if err := read(yield); err != nil {
			yield(Donor{}, err)
		}
	}
}

// Header is what the file has said of its donors so far: with the first of them all, unless it says it after them.
func (r *Reader) Header() Header { return r.header }

// Ignored counts the elements, keys and columns that were left out, by their names.
func (r *Reader) Ignored() map[string]int { return r.ignored }

func (r *Reader) ignore(name string) {
	if _, known := r.ignored[name]; !known && (len(r.ignored) >= maxIgnored || len(name) > 100) {
		name = "…"
	}
	r.ignored[name]++
}

// give hands on the donor that was read, or what is wrong with them.
func (r *Reader) give(d Donor, err *RecordError, yield func(Donor, error) bool) bool {
	if err == nil {
		err = r.finish(&d)
	}
	if err == nil {
		return yield(d, nil)
	}
	err.Record = r.records
	if idForm.MatchString(d.ID) {
		err.ID = d.ID
	}
	return yield(Donor{}, err)
}

// finish checks what concerns the donor as a whole.
func (r *Reader) finish(d *Donor) *RecordError {
	if d.ID == "" {
		d.ID = d.GRID
	}
	if d.ID == "" {
		return &RecordError{Field: "ID", Rule: RuleMissing, Text: "a donor must have an id"}
	}
	for _, key := range [][2]string{{"ID", d.Pool + "\x00" + string(d.Type) + "\x00" + d.ID}, {"GRID", d.GRID}} {
		if key[1] == "" {
			continue
		}
		sum := maphash.String(r.seed, key[0]+key[1])
		if _, again := r.seen[sum]; again {
			return &RecordError{Field: key[0], Rule: RuleDuplicate, Text: "stands in the file before; the first counts"}
		}
		r.seen[sum] = struct{}{}
	}
	return nil
}

// budget lets through so much of a file, until it is renewed: a decoder that collects one token or one record cannot collect more.
type budget struct {
	from io.Reader
	left int
	line int
}

type tooLong struct{}

func (tooLong) Error() string { return "a record is longer than a record may be" }

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, tooLong{}
	}
	n, err := b.from.Read(p[:min(len(p), b.left)])
	b.left -= n
	for _, c := range p[:n] {
		if c == '\n' {
			b.line++
		}
	}
	return n, err
}

func (b *budget) renew() { b.left = maxRecord }

// attribute is a plain field of a donor: where the formats have it, what it may be, and where it is kept.
type attribute struct {
	path   string // below DONOR or CBU in the WMDA's XML
	form   *regexp.Regexp
	rule   string
	text   func(*Donor) *string
	number func(*Donor) **int
}

var (
	idForm   = regexp.MustCompile(`^[!-~]{1,64}$`)
	poolForm = regexp.MustCompile(`^[1-9]\d{3}$`)
	dayForm  = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)
)

const (
	idRule  = "must be 1 to 64 letters, digits and signs without a space"
	dayRule = "must be a day such as 1987-06-28"
)

// attributes are in the order of the WMDA's XSD 2.2, HLA apart, which stands before IDM.
var attributes = []attribute{
	{path: "ID", form: idForm, rule: idRule, text: func(d *Donor) *string { return &d.ID }},
	{path: "GRID", form: regexp.MustCompile(`^[1-9]\d{3}[0-9A-Z]{13}\d{2}$`), rule: "must be an ION of four digits, 13 letters and digits, and two check digits", text: func(d *Donor) *string { return &d.GRID }},
	{path: "BIRTH_DATE", form: dayForm, rule: dayRule, text: func(d *Donor) *string { return &d.Birth }},
	{path: "SEX", form: regexp.MustCompile(`^[FM]$`), rule: "must be F or M", text: func(d *Donor) *string { return &d.Sex }},
	{path: "ABO", form: regexp.MustCompile(`^(A|B|AB|O)$`), rule: "must be A, B, AB or O", text: func(d *Donor) *string { return &d.ABO }},
	{path: "RHESUS", form: regexp.MustCompile(`^[PN]$`), rule: "must be P or N", text: func(d *Donor) *string { return &d.Rhesus }},
	{path: "ETHN", form: regexp.MustCompile(`^[A-Z]{2,4}$`), rule: "must be a code of two to four capitals", text: func(d *Donor) *string { return &d.Ethnicity }},
	{path: "IDM/CMV", form: regexp.MustCompile(`^[NGMBPHO]$`), rule: "must be one of N, G, M, B, P, H, O", text: func(d *Donor) *string { return &d.CMV }},
	{path: "IDM/CMV_DATE", form: dayForm, rule: dayRule, text: func(d *Donor) *string { return &d.CMVDate }},
	{path: "STATUS", form: regexp.MustCompile(`^(AV|TU|RS|OP|DE)$`), rule: "must be AV, TU, RS, OP or DE", text: func(d *Donor) *string { return (*string)(&d.Status) }},
	{path: "STAT_END_DATE", form: dayForm, rule: dayRule, text: func(d *Donor) *string { return &d.StatusEnd }},
	{path: "STAT_REASON", form: regexp.MustCompile(`^(DO|DD|MR|PR|TX|MO|UC|TQ|NS|CD|QR|XP|OT|UK)$`), rule: "must be a reason of EMDIS, such as MR", text: func(d *Donor) *string { return &d.StatusReason }},
	{path: "CONTACT_DATE", form: dayForm, rule: dayRule, text: func(d *Donor) *string { return &d.Contact }},
	{path: "CHECKUP_DATE", form: dayForm, rule: dayRule, text: func(d *Donor) *string { return &d.Checkup }},
	{path: "WEIGHT", form: regexp.MustCompile(`^\d{1,3}$`), rule: "must be a whole number of kg", number: func(d *Donor) **int { return &d.Weight }},
	{path: "HEIGHT", form: regexp.MustCompile(`^\d{1,3}$`), rule: "must be a whole number of cm", number: func(d *Donor) **int { return &d.Height }},
	{path: "NMBR_TRANS", form: regexp.MustCompile(`^\d$`), rule: "must be one digit", number: func(d *Donor) **int { return &d.Transfusions }},
	{path: "NMBR_PREG", form: regexp.MustCompile(`^\d$`), rule: "must be one digit", number: func(d *Donor) **int { return &d.Pregnancies }},
}

// byPath finds the fields. CMV stands beside the donor's own in the files of some senders.
var byPath = func() map[string]attribute {
	m := map[string]attribute{}
	for _, a := range attributes {
		m[a.path] = a
		m[strings.TrimPrefix(a.path, "IDM/")] = a
	}
	return m
}()

// set checks a value and keeps it. An empty one is not known.
func (a attribute) set(d *Donor, value string) *RecordError {
	if value == "" {
		return nil
	}
	if !a.form.MatchString(value) || a.form == dayForm && !realDay(value) {
		return &RecordError{Field: a.path, Rule: RuleForm, Text: a.rule, Read: value}
	}
	if a.number != nil {
		n, _ := strconv.Atoi(value) // the form is digits only
		*a.number(d) = &n
		return nil
	}
	*a.text(d) = value
	return nil
}

// get gives a field as it is written, empty where it is not known.
func (a attribute) get(d *Donor) string {
	if a.number == nil {
		return *a.text(d)
	}
	if n := *a.number(d); n != nil {
		return strconv.Itoa(*n)
	}
	return ""
}

func realDay(text string) bool {
	_, err := time.Parse(time.DateOnly, text)
	return err == nil
}

// Detect tells the format of a file by its beginning, of which the first line is enough.
func Detect(beginning []byte) Format {
	text := strings.TrimSpace(strings.TrimPrefix(string(beginning), "\ufeff"))
	line, _, _ := strings.Cut(text, "\n")
	switch {
	case strings.HasPrefix(text, "<"):
		return WMDA
	case strings.HasPrefix(text, "{"):
		return Atlas
	case !strings.Contains(line, "%") && (strings.Contains(line, "DONOR_ID") || strings.Contains(line, "PATIENT_ID")):
		return MV4
	}
	return GL
}
