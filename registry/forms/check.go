// Package forms is what people fill in: one Go struct for each form, from which the API's body, the page, the sheet's
// columns, the validation and the OpenAPI schema all come.
//
// It guarantees that a form that passes Check breaks no field rule, that a problem names the field and the rule and
// never what was read, and that the same mistake has the same code wherever the form was filled in.
package forms

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"sync"

	"github.com/go-playground/validator/v10"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/match"
	"github.com/liferelay/liferelay/registry/seal"
)

// Problem is one rule that one field breaks. Codes that begin with R stop a form, with W want a second look, with N
// only say what happened.
type Problem struct {
	Code  string         `json:"code"`
	Field string         `json:"field" doc:"The field's path in the form, such as contacts[0].phone."`
	Args  map[string]any `json:"args,omitempty" doc:"Limits and names that the sentence mentions."`
}

// Blocks tells whether the problem stops the form.
func (p Problem) Blocks() bool { return strings.HasPrefix(p.Code, "R") }

// Says is the sentence that tells what is wrong.
func (p Problem) Says(l lang.Locale) string { return l.Say("problem."+p.Code+".is", p.args(l)) }

// Mend is the sentence that tells how to mend it.
func (p Problem) Mend(l lang.Locale) string { return l.Say("problem."+p.Code+".mend", p.args(l)) }

func (p Problem) args(l lang.Locale) map[string]any {
	out := map[string]any{"Field": FieldName(p.Field, l)}
	for k, v := range p.Args {
		out[k] = v
	}
	if reason, is := p.Args["Reason"].(string); is && (p.Code == "R124" || p.Code == "R146") {
		out["Why"] = l.Say("hla."+strings.ReplaceAll(reason, "-", "_"), nil)
	}
	return out
}

var index = regexp.MustCompile(`\[(\d+)\]`)

// FieldName is what a reader calls a field: "紧急联系人1 电话" for contacts[0].phone.
func FieldName(path string, l lang.Locale) string {
	number := ""
	if m := index.FindStringSubmatch(path); m != nil {
		n := int(m[1][0]-'0') + 1
		number = string(rune('0' + n))
	}
	id := "field." + index.ReplaceAllString(path, "")
	if !lang.Has(id) {
		return path
	}
	return l.Say(id, map[string]any{"N": number})
}

// Problems is a list of problems that stops a form when one of them blocks.
type Problems []Problem

func (p Problems) Error() string {
	var codes []string
	for _, one := range p {
		codes = append(codes, one.Field+" "+one.Code)
	}
	return "forms: " + strings.Join(codes, ", ")
}

// Blocking returns the problems that stop the form, nil when none does.
func (p Problems) Blocking() Problems {
	var out Problems
	for _, one := range p {
		if one.Blocks() {
			out = append(out, one)
		}
	}
	return out
}

// Check holds a form against the rules of its validate tags.
func Check(form any) Problems {
	err := validate().Struct(form)
	if err == nil {
		return nil
	}
	var fields validator.ValidationErrors
	if !errors.As(err, &fields) {
		panic(err) // not a struct: a mistake of ours
	}
	var out Problems
	for _, f := range fields {
		_, path, _ := strings.Cut(f.Namespace(), ".") // the first part is the struct's name
		p := Problem{Code: codeOf(f), Field: path}
		if text, is := f.Value().(string); is {
			switch f.Tag() {
			case "gl":
				p = TypingProblem(path, hla.CheckForm(text))
			case "alleles":
				_, err := hla.ParseTyping(text)
				p = TypingProblem(path, err)
			}
		}
		if f.Param() != "" {
			switch p.Code {
			case "R119", "R120":
				p.Args = map[string]any{"Limit": f.Param(), "Bound": boundOf(f.Tag())}
			case "R114":
				p.Args = map[string]any{"Allowed": strings.Join(strings.Fields(f.Param()), ", ")}
			}
		}
		out = append(out, p)
	}
	return out
}

// TypingProblem is the problem of a typing that was refused: where, at which locus and why, and never what was read. R146 is of names that are
// in order and that the nomenclature does not have.
func TypingProblem(field string, err error) Problem {
	p := Problem{Code: "R124", Field: field}
	var refused *hla.Error
	if !errors.As(err, &refused) {
		return p
	}
	p.Args = map[string]any{"Position": refused.Position, "Reason": string(refused.Reason)}
	if refused.Locus != "" {
		p.Args["Locus"] = string(refused.Locus)
	}
	switch refused.Reason {
	case hla.ReasonUnknown, hla.ReasonMAC, hla.ReasonRelease:
		p.Code = "R146"
	}
	return p
}

// The code of each tag. A tag with a rule of its own has a code of its own; the lengths and bounds share two.
var codes = map[string]string{
	"required": "R101", "required_if": "R101", "required_unless": "R101", "required_with": "R101",
	"oneof": "R114", "personname": "R115", "phone": "R111", "email": "R116", "region": "R118", "ethnicity": "R114",
	"barcode": "R107", "gl": "R124", "alleles": "R124", "nomenclature": "R124", "numeric": "R119", "icd10": "R114", "matchpolicy": "R114", "eq": "R112", "unique": "R114",
}

func codeOf(f validator.FieldError) string {
	if code, ok := codes[f.Tag()]; ok {
		return code
	}
	if f.Kind() == reflect.String || f.Kind() == reflect.Slice {
		return "R120"
	}
	return "R119"
}

func boundOf(tag string) string {
	switch tag {
	case "min", "gte":
		return "≥"
	case "max", "lte":
		return "≤"
	case "gt":
		return ">"
	case "lt":
		return "<"
	default:
		return "="
	}
}

// Validator returns the shared validator, for reading its tags.
var validate = sync.OnceValue(func() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return name
	})
	// Personal text is checked by its text; a day by its ISO form, so that the zero day counts as missing.
	v.RegisterCustomTypeFunc(reveal, seal.Name{}, seal.Number{}, seal.Phone{}, seal.Email{}, seal.Address{}, seal.Note{})
	v.RegisterCustomTypeFunc(func(f reflect.Value) any { return f.Interface().(calendar.Date).String() }, calendar.Date{})
	for tag, ok := range map[string]func(string) bool{
		"personname":   func(s string) bool { _, err := identity.ParseName(s); return err == nil },
		"phone":        func(s string) bool { _, err := identity.ParsePhone(s); return err == nil },
		"region":       func(s string) bool { r, err := identity.ParseRegion(s); return err == nil && r.Known() },
		"ethnicity":    func(s string) bool { _, err := identity.ParseEthnicity(s); return err == nil },
		"barcode":      Barcode.MatchString,
		"icd10":        icd10.MatchString,
		"gl":           func(s string) bool { return hla.CheckForm(s) == nil },
		"alleles":      func(s string) bool { _, err := hla.ParseTyping(s); return err == nil },
		"nomenclature": hla.ValidVersion,
	} {
		if err := v.RegisterValidation(tag, func(f validator.FieldLevel) bool { return ok(f.Field().String()) }); err != nil {
			panic(err)
		}
	}
	v.RegisterAlias("matchpolicy", "oneof="+strings.Join(match.Names(), " ")) // the names are the engine's
	return v
})

// Barcode is the form of a tube's barcode: letters, digits and hyphens, 6 to 24 of them.
var Barcode = regexp.MustCompile(`^[A-Z0-9][A-Z0-9-]{4,22}[A-Z0-9]$`)

var icd10 = regexp.MustCompile(`^[A-Z]\d{2}(\.\d{1,4}[A-Z]?)?$`)

func reveal(f reflect.Value) any {
	return f.Interface().(interface{ Reveal() string }).Reveal()
}

// Decode reads a form from JSON. It is strict: a field that no form has is a mistake that somebody should hear of. The
// error is Problems with R144 (not the JSON of this form) or R137 (a field it does not have), which name the field and
// never what it held.
func Decode(body []byte, form any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(form)
	if err == nil {
		if decoder.More() {
			return Problems{{Code: "R144"}}
		}
		return nil
	}
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return Problems{{Code: "R144", Field: wrongType.Field}}
	}
	if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return Problems{{Code: "R137", Field: strings.Trim(name, `"`)}}
	}
	return Problems{{Code: "R144"}}
}
