package registry

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/liferelay/liferelay/policy"
)

// Whatever leaves the registry carries, on every field, the class of data that it is and how it looks to who may not see it whole:
//
//	Name *seal.Masked `json:"name,omitempty" class:"identity" mask:"name"`
//
// A field without a class is closed: show empties it, and a test over every answer of the API fails on it.

// OpenClass is the class of fields that say nothing about anybody: versions, cursors, counts of a page.
const OpenClass = "open"

// Masks are the words for how a field looks: none is shown to everybody (class open only), drop is left out for who may not read
// its class, clear is text itself, for who may reveal it or entered it; year, band and province are coarser than what is kept;
// the others are a mask's kind, in a seal.Masked.
func Masks() []string {
	return []string{"none", "drop", "clear", "year", "band", "province", "name", "number", "phone", "email", "address", "note"}
}

// show empties every field of a view whose class the mask does not let the reader read. It is the last thing that happens to a
// view that holds more than one class, after whatever else decided what goes into it.
func show[T any](m policy.Mask, view *T) {
	showValue(m, reflect.ValueOf(view).Elem())
}

func showValue(m policy.Mask, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			showValue(m, v.Elem())
		}
	case reflect.Slice:
		if planOf(v.Type().Elem()) != nil {
			for i := range v.Len() {
				showValue(m, v.Index(i))
			}
		}
	case reflect.Struct:
		for _, f := range planOf(v.Type()) {
			field := v.Field(f.index)
			if !f.open && !m.May(policy.Read, f.class) {
				field.SetZero()
				continue
			}
			if f.inner {
				showValue(m, field)
			}
		}
	}
}

type shownField struct {
	index int
	class policy.Class
	open  bool
	inner bool // has classes of its own
}

var plans sync.Map // reflect.Type → []shownField

// planOf lists a type's exported fields; nil for a type that has none with a class, such as a time: it is as open as the field
// that holds it.
func planOf(t reflect.Type) []shownField {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	if known, ok := plans.Load(t); ok {
		return known.([]shownField)
	}
	var plan []shownField
	classed := false
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		class := f.Tag.Get("class")
		if f.Anonymous && class == "" {
			class = OpenClass // its own fields say what they are
		}
		classed = classed || f.Tag.Get("class") != "" || f.Anonymous && planOf(f.Type) != nil
		plan = append(plan, shownField{index: i, class: policy.Class(class), open: class == OpenClass || f.Tag.Get("json") == "-", inner: planOf(f.Type) != nil})
	}
	if !classed {
		plan = nil
	}
	plans.Store(t, plan)
	return plan
}

// masked tells whether a field is one that lists show as a mask: nobody sorts or filters by it, because the order would tell what
// the mask hides.
func masked[T any](field string) bool {
	t := reflect.TypeFor[T]()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == field {
			return !slices.Contains([]string{"none", "drop"}, t.Field(i).Tag.Get("mask"))
		}
	}
	return false
}
