package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/match"
)

// errorsOf lists the statuses with which an operation may refuse, for the description. in is what it reads.
func errorsOf(o operation, in reflect.Type) []int {
	reads := func(field string) bool { _, found := in.FieldByName(field); return found }
	out := []int{http.StatusInternalServerError, http.StatusServiceUnavailable}
	add := func(when bool, statuses ...int) {
		if when {
			out = append(out, statuses...)
		}
	}
	add(!o.public, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound) // 400 is an unknown purpose
	add(o.method != http.MethodGet, http.StatusForbidden)                                                     // from another site
	add(o.keyed || !o.public && o.method != http.MethodGet, http.StatusConflict)
	add(o.id == "batch-result", http.StatusConflict) // somebody in the file was erased
	add(o.conflicts, http.StatusConflict)
	add(len(o.takes) > 0, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	add(reads("IfMatch"), http.StatusPreconditionFailed, http.StatusPreconditionRequired)
	add(!o.public || len(o.takes) > 0, http.StatusUnprocessableEntity)
	add(o.signs, http.StatusUnauthorized)
	add(o.guarded || o.braked, http.StatusTooManyRequests)
	add(o.lenient || strings.Contains(o.path, "{"), http.StatusNotFound)
	slices.Sort(out)
	return slices.Compact(out)
}

// describe completes the description with what huma cannot know: the forms' schemas and the rules of their tags, and what
// the layers around the handlers ask for.
func (a *API) describe() {
	d := a.huma.OpenAPI()
	schemas := d.Components.Schemas
	d.Components.Parameters = map[string]*huma.Param{"purpose": {
		Name: "X-Purpose-Of-Use", In: "header", Description: "Why, when it is not what the operation is for; it is audited.",
		Schema: &huma.Schema{Type: huma.TypeString, Enum: texts(policy.Purposes())},
	}}
	for _, b := range a.bodies {
		media := operationAt(d, b.method, b.path).RequestBody.Content["application/json"]
		media.Schema = schemas.Schema(b.form, true, "")
	}
	decorate(schemas)
	seen := map[string]bool{}
	for pattern, o := range a.known {
		if o.id == "" {
			continue
		}
		op := operationAt(d, o.method, o.path)
		if op == nil {
			panic("api: " + pattern + " is not described") // a mistake of ours
		}
		if !seen[o.tag] {
			seen[o.tag] = true
			d.Tags = append(d.Tags, &huma.Tag{Name: o.tag, Description: lang.English.Say("tag."+o.tag, nil)})
		}
		for _, p := range op.Parameters {
			switch p.Name { // needed, though it is not huma that asks for them
			case "Idempotency-Key":
				p.Required, p.Schema.MaxLength = true, pointer(longestKey)
			case "If-Match":
				p.Required = true
			}
		}
		if !o.public {
			op.Parameters = append(op.Parameters, &huma.Param{Ref: "#/components/parameters/purpose"})
		}
		for _, kind := range o.takes[min(1, len(o.takes)):] {
			op.RequestBody.Content[kind] = op.RequestBody.Content[o.takes[0]]
		}
		for status, answer := range op.Responses {
			if code, err := strconv.Atoi(status); err == nil && code >= http.StatusBadRequest {
				answer.Description = lang.English.Say("status."+status, nil)
			}
			if status == "429" || status == "503" {
				answer.Headers = map[string]*huma.Header{"Retry-After": {Description: "Seconds to wait.", Schema: &huma.Schema{Type: huma.TypeInteger}}}
			}
		}
	}
	slices.SortFunc(d.Tags, func(a, b *huma.Tag) int {
		return cmp.Compare(slices.Index(tagOrder, a.Name), slices.Index(tagOrder, b.Name))
	})
}

// tagOrder is the order in which a reader meets the groups of operations.
var tagOrder = []string{"session", "account", "administration", "drives", "batches", "donors", "emergencies", "exports", "laboratory", "searches", "statistics", "cases", "tasks", "rights", "notices", "audit", "service"}

func operationAt(d *huma.OpenAPI, method, path string) *huma.Operation {
	item := d.Paths[path]
	if item == nil {
		return nil
	}
	return map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
	}[method]
}

func pointer[T any](v T) *T { return &v }

func texts[S ~string](list []S) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// The rules of a form are its validate tags. Here they become the description's: what is required, which values are
// allowed, how long and how large a value may be. huma's own idea of what is required, every field without omitempty, is
// replaced for forms.

// decorate gives every schema that was made from a tagged struct the rules of its tags.
func decorate(schemas huma.Registry) {
	for name, s := range schemas.Map() {
		t := schemas.TypeFromRef("#/components/schemas/" + name)
		for t != nil && t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t == nil || t.Kind() != reflect.Struct || !hasRules(t) {
			continue
		}
		s.Required = nil
		for i := range t.NumField() {
			decorateField(s, t.Field(i))
		}
		slices.Sort(s.Required)
	}
}

func hasRules(t reflect.Type) bool {
	for i := range t.NumField() {
		if _, ok := t.Field(i).Tag.Lookup("validate"); ok {
			return true
		}
	}
	return false
}

func decorateField(s *huma.Schema, f reflect.StructField) {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	p := s.Properties[name]
	if p == nil {
		return
	}
	p.Nullable = false
	target := p
	for rule := range strings.SplitSeq(f.Tag.Get("validate"), ",") {
		tag, param, _ := strings.Cut(rule, "=")
		if tag == "dive" {
			if p.Items != nil && p.Items.Ref == "" {
				target = p.Items
			}
			continue
		}
		if tag == "required" && target == p {
			s.Required = append(s.Required, name)
		}
		if apply, ok := tagRules[tag]; ok {
			apply(target, param)
		}
	}
}

// tagRules says what each tag means in a schema. Tags that compare fields have no JSON schema, and stay in the sentences.
var tagRules = map[string]func(s *huma.Schema, param string){
	"oneof": func(s *huma.Schema, param string) {
		s.Enum = nil
		for _, v := range strings.Fields(param) {
			s.Enum = append(s.Enum, v)
		}
	},
	"min": func(s *huma.Schema, param string) { bound(s, param, true) },
	"gte": func(s *huma.Schema, param string) { bound(s, param, true) },
	"max": func(s *huma.Schema, param string) { bound(s, param, false) },
	"lte": func(s *huma.Schema, param string) { bound(s, param, false) },
	"gt": func(s *huma.Schema, param string) {
		if n, err := strconv.ParseFloat(param, 64); err == nil {
			s.ExclusiveMinimum = &n
		}
	},
	"email":  func(s *huma.Schema, _ string) { s.Format = "email" },
	"unique": func(s *huma.Schema, _ string) { s.UniqueItems = true },
	"eq": func(s *huma.Schema, param string) {
		if param == "true" {
			s.Enum = []any{true}
		}
	},
	"region":       func(s *huma.Schema, _ string) { s.Pattern, s.Examples = `^(\d{6}|\d{9}|\d{12})$`, []any{"320106"} },
	"barcode":      func(s *huma.Schema, _ string) { s.Pattern, s.Examples = forms.Barcode.String(), []any{"NJ26000001"} },
	"personname":   func(s *huma.Schema, _ string) { s.Examples = []any{"王例安"} },
	"phone":        func(s *huma.Schema, _ string) { s.Examples = []any{"13800138000"} },
	"icd10":        func(s *huma.Schema, _ string) { s.Examples = []any{"C91.0"} },
	"matchpolicy":  func(s *huma.Schema, _ string) { s.Enum = texts(match.Names()) },
	"nomenclature": func(s *huma.Schema, _ string) { s.Examples = []any{"3.57.0"} },
	"alleles": func(s *huma.Schema, _ string) {
		s.Examples = []any{"HLA-A*02:01:01+HLA-A*11:01:01^HLA-B*15:02:01+HLA-B*46:01:01"}
	},
	"gl": func(s *huma.Schema, _ string) {
		s.Examples = []any{"HLA-A*02:01+HLA-A*11:01^HLA-C*01:02+HLA-C*08:01^HLA-B*15:02+HLA-B*46:01^HLA-DRB1*09:01+HLA-DRB1*12:02^HLA-DQB1*03:01+HLA-DQB1*03:03"}
	},
}

// bound sets a smallest or largest value: of a number itself, of a text's or list's length.
func bound(s *huma.Schema, param string, lower bool) {
	n, err := strconv.ParseFloat(param, 64)
	if err != nil {
		return
	}
	length := int(n)
	switch s.Type {
	case huma.TypeString:
		s.MinLength, s.MaxLength = pick(lower, &length, s.MinLength), pick(!lower, &length, s.MaxLength)
	case huma.TypeArray:
		s.MinItems, s.MaxItems = pick(lower, &length, s.MinItems), pick(!lower, &length, s.MaxItems)
	case huma.TypeInteger, huma.TypeNumber:
		s.Minimum, s.Maximum = pick(lower, &n, s.Minimum), pick(!lower, &n, s.Maximum)
	}
}

func pick[T any](fresh bool, value, old *T) *T {
	if fresh {
		return value
	}
	return old
}

// rulesOf puts a schema's rules into a line of the page.
func rulesOf(s *huma.Schema, l lang.Locale) string {
	var out []string
	if len(s.Enum) > 0 {
		words := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			words[i] = fmt.Sprint(v)
		}
		out = append(out, strings.Join(words, " · "))
	}
	between := func(lo, hi any, of string) {
		var text string
		switch {
		case !isNil(lo) && !isNil(hi):
			text = fmt.Sprintf("%v–%v", deref(lo), deref(hi))
		case !isNil(lo):
			text = fmt.Sprintf("≥ %v", deref(lo))
		case !isNil(hi):
			text = fmt.Sprintf("≤ %v", deref(hi))
		default:
			return
		}
		if of != "" {
			text = l.Say(of, map[string]any{"N": text})
		}
		out = append(out, text)
	}
	between(s.Minimum, s.Maximum, "")
	between(s.MinLength, s.MaxLength, "docs.characters")
	between(s.MinItems, s.MaxItems, "docs.items")
	if s.ExclusiveMinimum != nil {
		out = append(out, fmt.Sprintf("> %v", *s.ExclusiveMinimum))
	}
	if s.Items != nil && len(s.Items.Enum) > 0 {
		out = append(out, rulesOf(s.Items, l))
	}
	return strings.Join(out, "; ")
}

func isNil(p any) bool { return reflect.ValueOf(p).IsNil() }

func deref(p any) any { return reflect.ValueOf(p).Elem().Interface() }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
