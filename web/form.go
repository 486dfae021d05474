package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/seal"
)

// keyField is the field of every form that makes sending it twice harmless.
const keyField = "_key"

// Option is one thing that a field offers.
type Option struct {
	Value, Label string
	Hint         string
}

// Filled is a form as somebody filled it in: what was typed, and what is wrong with it. Its fields, labels, choices and limits come
// from the struct and the tags on it, which also check it.
type Filled struct {
	visit    *Visit
	kind     reflect.Type
	values   url.Values
	problems forms.Problems
	sent     bool
	options  map[string][]Option
	labels   map[string]string
	hints    map[string]string
	without  []string
	only     []string
	rows     map[string]int // of a list of parts, how many are shown
	apart    string         // what the ids of its elements begin with
}

func newFilled(v *Visit, kind reflect.Type) *Filled {
	return &Filled{visit: v, kind: kind, values: url.Values{}, options: map[string][]Option{}, labels: map[string]string{}, hints: map[string]string{}, rows: map[string]int{}}
}

// Blank is a form that nobody has filled in yet; start are the values that it begins with.
func Blank[F any](v *Visit, start ...F) *Filled {
	f := newFilled(v, reflect.TypeFor[F]())
	for _, from := range start {
		f.begin(reflect.ValueOf(from), "")
	}
	return f
}

// BlankOf is Blank for a form that is known by its value: a step's.
func BlankOf(v *Visit, form any) *Filled {
	f := newFilled(v, reflect.TypeOf(form))
	f.begin(reflect.ValueOf(form), "")
	return f
}

// Read reads a form that was sent and holds it against the rules of its tags. Problems that are no mistakes of its fields come from the act
// that takes it, by Takes.
func Read[F any](v *Visit) (F, *Filled) {
	var form F
	_, filled := readInto(v, reflect.TypeFor[F](), &form)
	return form, filled
}

// ReadOf is Read for a form that is known by its value; what was read comes as the JSON of it.
func ReadOf(v *Visit, form any) (json.RawMessage, *Filled) {
	kind := reflect.TypeOf(form)
	return readInto(v, kind, reflect.New(kind).Interface())
}

func readInto(v *Visit, kind reflect.Type, into any) (json.RawMessage, *Filled) {
	f := newFilled(v, kind)
	f.sent, f.values = true, v.form
	tree, _ := f.gather(kind, "")
	body, err := json.Marshal(tree)
	if err != nil {
		panic(err) // texts, numbers and lists of them
	}
	if len(f.problems) == 0 {
		var problems forms.Problems
		switch err := forms.Decode(body, into); {
		case errors.As(err, &problems):
			f.problems = problems
		default:
			f.problems = forms.Check(into)
		}
	}
	v.refused = len(f.problems.Blocking()) > 0
	return body, f
}

// Good tells that the form breaks no rule of its fields.
func (f *Filled) Good() bool { return f.sent && len(f.problems.Blocking()) == 0 }

// Takes tells whether an error is about the form's fields, and shows it beside them.
func (f *Filled) Takes(err error) bool {
	var known *registry.Error
	if !errors.As(err, &known) || known.Kind != registry.Invalid {
		return false
	}
	f.problems = known.Problems
	f.visit.refused = true
	return true
}

// Wrong adds a problem to a field.
func (f *Filled) Wrong(p forms.Problem) {
	f.problems = append(f.problems, p)
	f.visit.refused = true
}

// Choose gives a field what to choose from.
func (f *Filled) Choose(field string, options []Option) *Filled {
	f.options[field] = options
	return f
}

// Call gives a field another label than the one that all forms give it.
func (f *Filled) Call(field, label string) *Filled {
	f.labels[field] = label
	return f
}

// Hint gives a field a line of help.
func (f *Filled) Hint(field, hint string) *Filled {
	f.hints[field] = hint
	return f
}

// Without leaves fields out: the page sets them otherwise.
func (f *Filled) Without(fields ...string) *Filled {
	f.without = append(f.without, fields...)
	return f
}

// Only shows these fields and no other.
func (f *Filled) Only(fields ...string) *Filled {
	f.only = append(f.only, fields...)
	return f
}

// Apart gives the form's elements ids of their own, for a page that has other forms with the same fields.
func (f *Filled) Apart(name string) *Filled {
	f.apart = name + "-"
	return f
}

// Rows says how many parts of a list are shown.
func (f *Filled) Rows(field string, n int) *Filled {
	f.rows[field] = n
	return f
}

// Set gives a field a value to begin with.
func (f *Filled) Set(field string, values ...string) *Filled {
	if !f.sent {
		f.values[field] = values
	}
	return f
}

// Value is what stands in a field.
func (f *Filled) Value(field string) string { return f.values.Get(field) }

// Problems are what is wrong, in the reader's words, in the order of the fields.
func (f *Filled) Problems() []registry.ProblemText {
	return f.texts(f.problems)
}

// texts are problems in words, in which a field is called what this form calls it.
func (f *Filled) texts(problems forms.Problems) []registry.ProblemText {
	out := registry.ProblemTexts(problems, f.visit.Locale)
	for i, p := range out {
		if called := f.labels[p.Field]; called != "" && p.Label != "" {
			out[i].Is = strings.Replace(p.Is, p.Label, called, 1)
		}
	}
	return out
}

// shape is what a value looks like in a form.
type shape int

const (
	shapeText   shape = iota
	shapeSecret       // personal text: never what a form begins with
	shapeNote
	shapeDay
	shapeMoment
	shapeBool
	shapeWhole
	shapeNumber
	shapeID
	shapeRegion
	shapeList // of texts
	shapePart
	shapeParts // a list of parts
	shapeNone
)

var shapes = map[reflect.Type]shape{
	reflect.TypeFor[seal.Name](): shapeSecret, reflect.TypeFor[seal.Number](): shapeSecret, reflect.TypeFor[seal.Phone](): shapeSecret, reflect.TypeFor[seal.Email](): shapeSecret,
	reflect.TypeFor[seal.Address](): shapeSecret, reflect.TypeFor[seal.Note](): shapeNote, reflect.TypeFor[calendar.Date](): shapeDay, reflect.TypeFor[time.Time](): shapeMoment,
	reflect.TypeFor[uuid.UUID](): shapeID, reflect.TypeFor[identity.Region](): shapeRegion,
}

func shapeOf(t reflect.Type) shape {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := shapes[t]; ok {
		return s
	}
	switch t.Kind() {
	case reflect.String:
		return shapeText
	case reflect.Bool:
		return shapeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return shapeWhole
	case reflect.Float32, reflect.Float64:
		return shapeNumber
	case reflect.Struct:
		return shapePart
	case reflect.Slice:
		switch s := shapeOf(t.Elem()); s {
		case shapePart:
			return shapeParts
		case shapeText, shapeID, shapeRegion:
			return shapeList
		}
	}
	return shapeNone
}

func nameOf(f reflect.StructField) (string, bool) {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name, f.IsExported() && name != "-" && (name != "" || f.Anonymous)
}

// gather makes of what was typed the JSON that the form is read from. filled tells that anything was typed at all.
func (f *Filled) gather(t reflect.Type, prefix string) (tree map[string]any, filled bool) {
	tree = map[string]any{}
	for field := range fieldsOf(t) {
		name, ok := nameOf(field)
		if !ok {
			continue
		}
		if field.Anonymous && name == "" {
			part, some := f.gather(field.Type, prefix)
			maps.Copy(tree, part)
			filled = filled || some
			continue
		}
		path := prefix + name
		text := strings.TrimSpace(f.values.Get(path))
		switch shapeOf(field.Type) {
		case shapeText, shapeSecret, shapeNote, shapeDay, shapeID, shapeRegion:
			if text != "" {
				tree[name] = text
			}
		case shapeMoment:
			if text == "" {
				continue
			}
			at, err := time.ParseInLocation("2006-01-02T15:04", text, registry.Zone)
			if err != nil {
				at, err = time.Parse(time.RFC3339, text)
			}
			if err != nil {
				f.problems = append(f.problems, forms.Problem{Code: "R151", Field: path})
				continue
			}
			tree[name] = at.Format(time.RFC3339)
		case shapeBool:
			if text != "" {
				tree[name] = text == "true" || text == "on" || text == "1"
			}
		case shapeWhole, shapeNumber:
			if text == "" {
				continue
			}
			n, err := strconv.ParseFloat(strings.ReplaceAll(text, "，", ""), 64)
			if err != nil || shapeOf(field.Type) == shapeWhole && n != float64(int64(n)) {
				f.problems = append(f.problems, forms.Problem{Code: "R150", Field: path})
				continue
			}
			tree[name] = json.Number(strconv.FormatFloat(n, 'f', -1, 64))
		case shapeList:
			var list []string
			for _, one := range f.values[path] {
				list = append(list, strings.FieldsFunc(one, func(r rune) bool { return strings.ContainsRune("\n\r,，、;； \t", r) })...)
			}
			if len(list) > 0 {
				tree[name], text = list, "some"
			}
		case shapePart:
			part, some := f.gather(indirect(field.Type), path+".")
			if some {
				tree[name], text = part, "some"
			}
		case shapeParts:
			var list []any
			for i := range f.lengthOf(path) {
				if part, some := f.gather(indirect(field.Type.Elem()), fmt.Sprintf("%s[%d].", path, i)); some {
					list = append(list, part)
				}
			}
			if len(list) > 0 {
				tree[name], text = list, "some"
			}
		}
		filled = filled || text != ""
	}
	return tree, filled
}

// lengthOf is how many parts of a list were sent.
func (f *Filled) lengthOf(path string) int {
	n := 0
	for name := range f.values {
		rest, ok := strings.CutPrefix(name, path+"[")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, "]")
		if i, err := strconv.Atoi(number); err == nil && i >= n && i < 100 {
			n = i + 1
		}
	}
	return n
}

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func fieldsOf(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

// begin writes what a form begins with. Personal text is never among it.
func (f *Filled) begin(value reflect.Value, prefix string) {
	for field := range fieldsOf(value.Type()) {
		name, ok := nameOf(field)
		if !ok {
			continue
		}
		one := value.FieldByIndex(field.Index)
		if field.Anonymous && name == "" {
			f.begin(one, prefix)
			continue
		}
		if one.Kind() == reflect.Pointer {
			if one.IsNil() {
				continue
			}
			one = one.Elem()
		}
		if one.IsZero() {
			continue
		}
		path := prefix + name
		switch shapeOf(field.Type) {
		case shapeMoment:
			f.values.Set(path, one.Interface().(time.Time).In(registry.Zone).Format("2006-01-02T15:04"))
		case shapeText, shapeDay, shapeID, shapeRegion, shapeBool, shapeWhole, shapeNumber:
			f.values.Set(path, fmt.Sprint(one.Interface()))
		case shapeList:
			for i := range one.Len() {
				f.values.Add(path, fmt.Sprint(one.Index(i).Interface()))
			}
		case shapePart:
			f.begin(one, path+".")
		case shapeParts:
			for i := range one.Len() {
				f.begin(one.Index(i), fmt.Sprintf("%s[%d].", path, i))
			}
		}
	}
}

// Field is one field as a page shows it.
type Field struct {
	Path     string
	ID       string // of its element
	Label    string
	Hint     string
	Input    string // text, secret, note, day, moment, check, number, choice, choices, select, region, list, part
	Mode     string // of the keyboard on a telephone
	Complete string // what a browser may fill in
	Required bool
	Options  []Option
	Values   []string
	Problems []registry.ProblemText
	When     string // the field that decides whether this one is asked …
	Is       string // … and the values with which it is, separated by spaces
	Max      int    // characters
	Least    string
	Most     string
	Parts    []Field
}

// Value is what stands in it.
func (f Field) Value() string {
	if len(f.Values) == 0 {
		return ""
	}
	return f.Values[0]
}

// Holds tells whether an option is chosen.
func (f Field) Holds(option string) bool { return slices.Contains(f.Values, option) }

// Describes names the elements that describe the field, for those who listen.
func (f Field) Describes() string {
	var out []string
	if f.Hint != "" {
		out = append(out, f.ID+"-hint")
	}
	if len(f.Problems) > 0 {
		out = append(out, f.ID+"-wrong")
	}
	return strings.Join(out, " ")
}

// Fields are the form's fields, in the order of the struct.
func (f *Filled) Fields() []Field { return f.fields(f.kind, "", "") }

// One is a single field of the form.
func (f *Filled) One(path string) Field {
	for _, field := range f.all(f.fields(f.kind, "", path)) {
		if field.Path == path {
			return field
		}
	}
	panic("web: " + f.kind.String() + " has no field " + path)
}

func (f *Filled) all(fields []Field) (out []Field) {
	for _, field := range fields {
		out = append(append(out, field), f.all(field.Parts)...)
	}
	return out
}

// fields are those of a type whose paths begin with prefix; only the one that leads to a path, where one is wanted.
func (f *Filled) fields(t reflect.Type, prefix, wanted string) (out []Field) {
	for field := range fieldsOf(t) {
		name, ok := nameOf(field)
		if !ok {
			continue
		}
		if field.Anonymous && name == "" {
			out = append(out, f.fields(field.Type, prefix, wanted)...)
			continue
		}
		path := prefix + name
		if wanted != "" && wanted != path && !strings.HasPrefix(wanted, path+".") && !strings.HasPrefix(wanted, path+"[") {
			continue
		}
		if slices.Contains(f.without, path) || len(f.only) > 0 && prefix == "" && !slices.Contains(f.only, path) {
			continue
		}
		out = append(out, f.field(field, name, path))
	}
	return out
}

func (f *Filled) field(field reflect.StructField, name, path string) Field {
	v := f.visit
	out := Field{Path: path, ID: f.fieldID(path), Values: f.values[path], Hint: f.hints[path], Label: f.labels[path]}
	if out.Label == "" {
		out.Label = forms.FieldName(path, v.Locale)
		if out.Label == path {
			out.Label = forms.FieldName(name, v.Locale)
		}
	}
	if id := "fieldhint." + name; out.Hint == "" && lang.Has(id) {
		out.Hint = v.Say(id)
	}
	var words []string
	dived := false
	for _, rule := range strings.Split(field.Tag.Get("validate"), ",") {
		tag, param, _ := strings.Cut(rule, "=")
		switch tag {
		case "required":
			out.Required = !dived || out.Required
		case "dive":
			dived = true
		case "oneof":
			words = strings.Fields(param)
		case "max", "lte":
			out.Max, _ = strconv.Atoi(param)
			out.Most = param
		case "min", "gte", "gt":
			out.Least = param
		case "required_if", "required_unless":
			other, value, _ := strings.Cut(param, " ")
			out.When = strings.TrimSuffix(path, name) + jsonName(f.kind, other)
			if tag == "required_unless" {
				value = strings.Join(slices.DeleteFunc(wordsOf(f.kind, other), func(w string) bool { return w == value }), " ")
			}
			out.Is = strings.TrimSpace(out.Is + " " + value)
		}
	}
	options, chosen := f.options[path]
	if !chosen {
		options, chosen = f.options[name]
	}
	if !chosen {
		for _, word := range words {
			options = append(options, Option{Value: word, Label: v.Choice(field.Name, name, word)})
		}
	}
	out.Options = options
	switch s := shapeOf(field.Type); {
	case s == shapeList && (len(words) > 0 || chosen):
		out.Input = "choices"
	case s == shapeList:
		out.Input = "list"
		out.Values = []string{strings.Join(out.Values, "\n")}
	case (len(words) > 0 || chosen) && len(options) <= 5 && s != shapeID:
		out.Input = "choice"
	case len(words) > 0 || chosen:
		out.Input = "select"
	case s == shapeSecret:
		out.Input = "secret"
		switch indirect(field.Type) {
		case reflect.TypeFor[seal.Phone]():
			out.Mode = "tel"
		case reflect.TypeFor[seal.Email]():
			out.Mode = "email"
		}
	case s == shapeNote:
		out.Input = "note"
	case s == shapeDay:
		out.Input = "day"
	case s == shapeMoment:
		out.Input = "moment"
	case s == shapeBool:
		out.Input = "check"
	case s == shapeWhole:
		out.Input, out.Mode = "number", "numeric"
	case s == shapeNumber:
		out.Input, out.Mode = "number", "decimal"
	case s == shapeRegion:
		out.Input = "region"
	case s == shapePart:
		out.Input = "part"
		out.Parts = f.fields(indirect(field.Type), path+".", "")
	case s == shapeParts:
		out.Input = "part"
		for i := range max(f.rows[path], f.lengthOf(path), 1) {
			row := fmt.Sprintf("%s[%d]", path, i)
			out.Parts = append(out.Parts, Field{Path: row, Input: "part", Label: out.Label + " " + strconv.Itoa(i+1), Parts: f.fields(indirect(field.Type.Elem()), row+".", "")})
		}
	default:
		out.Input = "text"
	}
	if out.Input == "text" && out.Max > 200 {
		out.Input = "note"
	}
	if out.Input != "number" {
		out.Least, out.Most = "", ""
	}
	for _, p := range f.problems {
		if p.Field == path {
			out.Problems = append(out.Problems, f.texts(forms.Problems{p})...)
		}
	}
	return out
}

// jsonName is what a field is called in JSON, by its name in Go.
func jsonName(t reflect.Type, name string) string {
	if field, ok := t.FieldByName(name); ok {
		said, _ := nameOf(field)
		return said
	}
	return strings.ToLower(name)
}

func wordsOf(t reflect.Type, name string) []string {
	field, ok := t.FieldByName(name)
	if !ok {
		return nil
	}
	for _, rule := range strings.Split(field.Tag.Get("validate"), ",") {
		if words, ok := strings.CutPrefix(rule, "oneof="); ok {
			return strings.Fields(words)
		}
	}
	return nil
}

// Choice is a word that a form offers, as a reader calls it. Words of one field mean the same in every form; what a timeline calls a reason
// is called so here too.
func (v *Visit) Choice(field, name, word string) string {
	for _, id := range []string{"choice." + name + "." + word, "word." + name + "." + word, "code." + field + "." + word, "code.Reason." + word, "code.Needed." + word} {
		if lang.Has(id) {
			said := v.Say(id)
			if first := said[0]; v.Locale == lang.English && 'a' <= first && first <= 'z' {
				said = string(first-'a'+'A') + said[1:]
			}
			return said
		}
	}
	return word
}
