package api

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

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
	"region":  func(s *huma.Schema, _ string) { s.Pattern = `^(\d{6}|\d{9}|\d{12})$` },
	"barcode": func(s *huma.Schema, _ string) { s.Pattern = `^[A-Z0-9][A-Z0-9-]{4,22}[A-Z0-9]$` },
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
func rulesOf(s *huma.Schema) string {
	var out []string
	if len(s.Enum) > 0 {
		words := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			words[i] = fmt.Sprint(v)
		}
		out = append(out, strings.Join(words, " · "))
	}
	between := func(lo, hi any, unit string) {
		switch {
		case !isNil(lo) && !isNil(hi):
			out = append(out, fmt.Sprintf("%v–%v%s", deref(lo), deref(hi), unit))
		case !isNil(lo):
			out = append(out, fmt.Sprintf("≥ %v%s", deref(lo), unit))
		case !isNil(hi):
			out = append(out, fmt.Sprintf("≤ %v%s", deref(hi), unit))
		}
	}
	between(s.Minimum, s.Maximum, "")
	between(s.MinLength, s.MaxLength, " chars")
	between(s.MinItems, s.MaxItems, " items")
	if s.ExclusiveMinimum != nil {
		out = append(out, fmt.Sprintf("> %v", *s.ExclusiveMinimum))
	}
	if s.Items != nil && len(s.Items.Enum) > 0 {
		out = append(out, rulesOf(s.Items))
	}
	return strings.Join(out, "; ")
}

func isNil(p any) bool { return reflect.ValueOf(p).IsNil() }

func deref(p any) any { return reflect.ValueOf(p).Elem().Interface() }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
