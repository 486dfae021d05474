package intake

import (
	"embed"
	"encoding/csv"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Field is what a column holds. Its text is the machine key that a template's hidden row carries.
type Field string

// The fields. Stemcell to Body are columns of yes and no, one a programme; a sheet has those or Programmes.
const (
	Name             Field = "name"
	DocumentKind     Field = "document_kind"
	DocumentNumber   Field = "document_number"
	Sex              Field = "sex"
	BirthDate        Field = "birth_date"
	Ethnicity        Field = "ethnicity"
	Phone            Field = "phone"
	Email            Field = "email"
	Region           Field = "region"
	Address          Field = "address"
	Workplace        Field = "workplace"
	HeightCM         Field = "height_cm"
	WeightKG         Field = "weight_kg"
	ABO              Field = "abo"
	Rh               Field = "rh"
	Contact1Name     Field = "contact1_name"
	Contact1Relation Field = "contact1_relation"
	Contact1Phone    Field = "contact1_phone"
	Contact1Address  Field = "contact1_address"
	Contact2Name     Field = "contact2_name"
	Contact2Relation Field = "contact2_relation"
	Contact2Phone    Field = "contact2_phone"
	Contact2Address  Field = "contact2_address"
	Programmes       Field = "programmes"
	StemCell         Field = "stemcell"
	Blood            Field = "blood"
	Organ            Field = "organ"
	Cornea           Field = "cornea"
	Body             Field = "body"
	Intent           Field = "intent"
	Organs           Field = "organs"
	HealthAnswered   Field = "health_answered"
	Signed           Field = "signed"
	SignedOn         Field = "signed_on"
	FormVersion      Field = "form_version"
	ScanRef          Field = "scan_ref"
	Barcode          Field = "barcode"
	DrawnOn          Field = "drawn_on"
	Tubes            Field = "tubes"
	Millilitres      Field = "millilitres"
	Ignore           Field = "ignore" // the column is left out
)

var fields = []Field{
	Name, DocumentKind, DocumentNumber, Sex, BirthDate, Ethnicity, Phone, Email, Region, Address, Workplace, HeightCM, WeightKG, ABO, Rh,
	Contact1Name, Contact1Relation, Contact1Phone, Contact1Address, Contact2Name, Contact2Relation, Contact2Phone, Contact2Address,
	Programmes, StemCell, Blood, Organ, Cornea, Body, Intent, Organs, HealthAnswered, Signed, SignedOn, FormVersion, ScanRef,
	Barcode, DrawnOn, Tubes, Millilitres, Ignore,
}

// Fields lists them in the order of a template's columns, Ignore last.
func Fields() []Field { return slices.Clone(fields) }

// Valid says that f is one of the constants.
func (f Field) Valid() bool { return slices.Contains(fields, f) }

// programmeFields are the columns of yes and no; their keys are the programmes' codes.
var programmeFields = []Field{StemCell, Blood, Organ, Cornea, Body}

var contactField = regexp.MustCompile(`^contact([12])_(.+)$`)

// Path is the field's path in forms.Registration, as a problem names it: contacts[0].phone for contact1_phone.
func (f Field) Path() string {
	if m := contactField.FindStringSubmatch(string(f)); m != nil {
		return fmt.Sprintf("contacts[%d].%s", m[1][0]-'1', m[2])
	}
	if slices.Contains(programmeFields, f) {
		return string(Programmes)
	}
	return string(f)
}

// label is what forms.FieldName knows the field by: the path, but each programme by itself.
func (f Field) label() string {
	if slices.Contains(programmeFields, f) {
		return string(f)
	}
	return f.Path()
}

//go:embed data
var data embed.FS

// words are the tables of headings and of the words of the enumerations.
type words struct {
	headings map[string]Field             // folded heading
	longest  []string                     // folded headings that may stand inside another, the longest first
	others   []string                     // folded words that say that a column is about somebody else
	values   map[string]map[string]string // set, folded word: value
	allowed  map[string][]string          // set: values but the empty one, in the order of the table
}

var vocabulary = sync.OnceValue(func() *words {
	v := &words{headings: map[string]Field{}, values: map[string]map[string]string{}, allowed: map[string][]string{}}
	for _, f := range fields {
		v.heading(string(f), f)
	}
	for _, row := range table("data/headings.csv") {
		for _, heading := range strings.Split(row[1], "|") {
			if !strings.Contains(row[0], "{n}") {
				v.heading(heading, Field(row[0]))
				continue
			}
			for n, written := range [][]string{{"1", "一"}, {"2", "二"}} {
				for _, w := range written {
					v.heading(strings.ReplaceAll(heading, "{n}", w), Field(strings.ReplaceAll(row[0], "{n}", fmt.Sprint(n+1))))
				}
			}
		}
	}
	for heading := range v.headings {
		// One Chinese character, or two letters, stand inside too many other words.
		if n := utf8.RuneCountInString(heading); n >= 2 && (n < len(heading) || n >= 4) {
			v.longest = append(v.longest, heading)
		}
	}
	slices.SortFunc(v.longest, func(a, b string) int {
		if n := utf8.RuneCountInString(b) - utf8.RuneCountInString(a); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	others, err := data.ReadFile("data/others.txt")
	if err != nil {
		panic(err)
	}
	for _, word := range strings.Fields(string(others)) {
		v.others = append(v.others, fold(word))
	}
	for _, row := range table("data/words.csv") {
		set, value := row[0], row[1]
		if v.values[set] == nil {
			v.values[set] = map[string]string{}
		}
		if value != "" && !slices.Contains(v.allowed[set], value) {
			v.allowed[set] = append(v.allowed[set], value)
		}
		for _, word := range append(strings.Split(row[2], "|"), value) {
			if word != "" {
				v.values[set][foldWord(word)] = value
			}
		}
	}
	return v
})

// table reads one of the embedded tables, without its head.
func table(name string) [][]string {
	text, err := data.ReadFile(name)
	if err != nil {
		panic(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil {
		panic(fmt.Errorf("intake: %s: %w", name, err)) // a test reads the embedded tables
	}
	return rows[1:]
}

func (v *words) heading(text string, f Field) { v.headings[fold(text)] = f }

// exact finds the field of a heading that the table has.
func (v *words) exact(heading string) (Field, bool) {
	if len(heading) > 200 {
		return "", false
	}
	f, ok := v.headings[fold(heading)]
	return f, ok
}

var (
	brackets  = regexp.MustCompile(`\([^()]*\)|\[[^\[\]]*\]|（[^（）]*）|【[^【】]*】|〔[^〔〕]*〕`)
	separated = regexp.MustCompile(`[/|\n\r]|\s{2,}`)
)

// near finds the field of a heading with something written beside it: a remark in brackets, or the same in another
// language behind a stroke.
func (v *words) near(heading string) (Field, bool) {
	if len(heading) > 200 {
		return "", false
	}
	bare := brackets.ReplaceAllString(heading, "")
	if f, ok := v.exact(bare); ok {
		return f, true
	}
	for _, part := range separated.Split(bare, -1) {
		if f, ok := v.exact(part); ok {
			return f, true
		}
	}
	// 姓名 Name: Chinese, then the rest. The longest beginning counts: 联系人1 关系 Relation is no name.
	for i := strings.LastIndexByte(bare, ' '); i > 0 && bare[0] >= utf8.RuneSelf; i = strings.LastIndexByte(bare[:i], ' ') {
		first, known := v.exact(bare[:i])
		if second, also := v.exact(bare[i+1:]); known && (!also || first == second) {
			return first, true
		}
	}
	return "", false
}

// within finds the field whose name stands inside a heading, the longest name first. A heading that speaks of somebody
// else, such as 介绍人姓名, is only taken for a contact's.
func (v *words) within(heading string) (Field, bool) {
	if len(heading) > 200 {
		return "", false
	}
	text := fold(brackets.ReplaceAllString(heading, ""))
	other := slices.ContainsFunc(v.others, func(w string) bool { return strings.Contains(text, w) })
	for i, name := range v.longest {
		// A name that is less than a third of the heading is there by the way: 身份证复印件是否齐全.
		if !strings.Contains(text, name) || 3*len(name) < len(text) {
			continue
		}
		f := v.headings[name]
		if f == Ignore || other && !contactField.MatchString(string(f)) {
			continue
		}
		// Two names of one length for two fields: nobody can tell which was meant.
		for _, rival := range v.longest[i+1:] {
			if utf8.RuneCountInString(rival) < utf8.RuneCountInString(name) {
				break
			}
			if r := v.headings[rival]; r != f && r != Ignore && strings.Contains(text, rival) {
				return "", false
			}
		}
		return f, true
	}
	return "", false
}

// foldWord is fold for a cell's word, in which + and - and the ticks mean something.
func foldWord(word string) string {
	word = strings.ToLower(clean(word))
	if strings.IndexByte(word, ' ') >= 0 {
		word = strings.ReplaceAll(word, " ", "")
	}
	return strings.TrimRight(word, "。.;,")
}

// word finds the value that a word of a set means.
func (v *words) word(set, word string) (string, bool) {
	value, ok := v.values[set][word]
	if !ok {
		value, ok = v.values[set][foldWord(word)]
	}
	return value, ok
}

// list finds the values of the words in a cell that holds several, in the order of the table and each once.
func (v *words) list(set, text string) ([]string, bool) {
	if value, ok := v.word(set, text); ok {
		return []string{value}, true
	}
	var out []string
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("、,,;;/|++&和及", r) }) {
		value, ok := v.word(set, part)
		if ok {
			out = append(out, value)
			continue
		}
		for _, piece := range strings.Fields(part) {
			value, ok := v.word(set, piece)
			if !ok {
				return nil, false
			}
			out = append(out, value)
		}
	}
	order := func(value string) int { return slices.Index(v.allowed[set], value) }
	slices.SortFunc(out, func(a, b string) int { return order(a) - order(b) })
	return slices.Compact(out), len(out) > 0
}
