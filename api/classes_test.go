package api_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/seal"
)

// walkAnswers visits every field of every answer of the API, once.
func walkAnswers(visit func(in reflect.Type, f reflect.StructField)) {
	walkTypes(slices.Collect(maps.Values(api.Answers())), visit)
}

func walkTypes(types []reflect.Type, visit func(in reflect.Type, f reflect.StructField)) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map}, t.Kind()) {
			t = t.Elem()
		}
		// What is not ours, and the types that are one value, are as their field says.
		one := slices.Contains([]string{"calendar.Date", "seal.Masked"}, t.String())
		if t.Kind() != reflect.Struct || seen[t] || one || !strings.Contains(t.PkgPath(), "liferelay") {
			return
		}
		seen[t] = true
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				if !f.Anonymous {
					visit(t, f)
				}
				walk(f.Type)
			}
		}
	}
	for _, t := range types {
		walk(t)
	}
}

// classesOf lists the classes of data in a view, without the open one.
func classesOf(view reflect.Type) (out []string) {
	walkTypes([]reflect.Type{view}, func(_ reflect.Type, f reflect.StructField) {
		if class := f.Tag.Get("class"); class != registry.OpenClass && !slices.Contains(out, class) {
			out = append(out, class)
		}
	})
	return out
}

// A field that somebody adds and gives no class fails here, and show empties it.
func TestEveryFieldThatLeavesCarriesItsClassAndItsMask(t *testing.T) {
	t.Parallel()
	fields := 0
	walkAnswers(func(in reflect.Type, f reflect.StructField) {
		fields++
		where := fmt.Sprintf("%s.%s", in, f.Name)
		class, mask := f.Tag.Get("class"), f.Tag.Get("mask")
		require.NotEmpty(t, class, "%s has no class: say which class of data it is, or that it is open", where)
		require.True(t, class == registry.OpenClass || slices.Contains(policy.Classes(), policy.Class(class)), "%s has a class that the policy does not know: %s", where, class)
		require.Contains(t, registry.Masks(), mask, where)
		require.Equal(t, class == registry.OpenClass, mask == "none", "%s: what is open has no mask, and everything else has", where)
		kind := f.Type
		for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice}, kind.Kind()) {
			kind = kind.Elem()
		}
		text := slices.Contains([]string{"name", "number", "phone", "email", "address", "note"}, mask)
		require.Equal(t, kind == reflect.TypeFor[seal.Masked](), text, "%s: a masked text is an object, never a string that looks like data", where)
	})
	require.Greater(t, fields, 200)
}

// Text in clear leaves by the few ways that are made for it.
func TestTextInClearLeavesByTheWaysThatAreMadeForIt(t *testing.T) {
	t.Parallel()
	ways := map[string]string{
		"registry.Revealed": "reveal, with a reason", "registry.RevealedDocument": "reveal", "registry.RevealedContact": "reveal",
		"registry.AttachmentView": "the name of a file, to who may open it", "registry.HandoverNote": "what was promised to a donor, to who takes the case over", "registry.NewWebhook": "a secret, to who enters the webhook",
		"registry.PaperLine":    "what somebody noted beside a form that cannot be read",
		"registry.WordOfGroup":  "words that mean nothing, to be given a meaning",
		"registry.OwnFormFull":  "what a volunteer wrote, to be held against the document",
		"registry.BatchRowView": "the cells that somebody typed, to be mended", "api.workbook": "the annotated sheet, to be mended",
		"registry.MessageView": "what was written to be read there, once nobody is named in it", "api.SessionView": "a token, to whose it is", "registry.CopySection": "what is kept about a person, for the person", "registry.EmergencyWords": "why somebody opened a donor in an emergency, for who reviews it",
		"api.attachment": "a paper of a case, to its own side", "api.namedPaper": "a certificate, with the name of whose it is", "api.clearSheet": "an export that a second person approved", "api.inventoryFile": "the same, of typings without names", "registry.ExportWords": "why somebody asks for an export, and what who decided said to it",
		"api.Enrolment": "a secret, to whose it is", "registry.NewToken": "a token, to whose it is",
		"api.OneTimePassword": "a password, to who hands it over", "api.RecoveryCodes": "codes, to whose they are",
	}
	walkAnswers(func(in reflect.Type, f reflect.StructField) {
		if f.Tag.Get("mask") == "clear" {
			require.Contains(t, ways, in.String(), "%s leaves in clear", f.Name)
		}
	})
}

// A view of more than one class is emptied of what its reader may not see, whatever its method put into it.
func TestAViewOfSeveralClassesGoesThroughTheGate(t *testing.T) {
	t.Parallel()
	gated := []string{
		"registry.DonorView", "registry.DonorLine", "registry.CaseView", "registry.Found", "registry.DuplicateView", "registry.DuplicateLine", "registry.MergePreview", "registry.MergeView", "api.Merges",
		"registry.PaperView", "registry.OwnFormLine", "registry.OwnFormFull", "registry.HandoverNote",
	}
	for pattern, answer := range api.Answers() {
		f, ok := answer.FieldByName("Body")
		if !ok {
			continue
		}
		body := f.Type
		if items, paged := body, body.Kind() == reflect.Struct; paged {
			if list, ok := items.FieldByName("Items"); ok {
				body = list.Type.Elem()
			}
		}
		if body.Kind() != reflect.Struct || len(classesOf(body)) < 2 {
			continue
		}
		switch body.String() {
		case "registry.Revealed", "registry.Entry", "api.Entries": // permitted class by class; what the caller entered
		default:
			require.Contains(t, gated, body.String(), "%s answers with %v", pattern, classesOf(body))
		}
	}
}
