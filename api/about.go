package api

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/danielgtaylor/huma/v2"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
)

//go:embed docs.html
var docsPage string

//go:embed docs.css
var docsStyle []byte

//go:embed docs.zh-CN.toml
var docsChinese string

// about serves what tells of the API itself: its description, a page to browse it, its health, its metrics.
func (a *API) about(mux *http.ServeMux) {
	const text, page = "text/plain; charset=utf-8", "text/html; charset=utf-8"
	health := &huma.Schema{Type: huma.TypeObject, Required: []string{"database", "desk"}, Properties: map[string]*huma.Schema{
		"database": {Type: huma.TypeString, Enum: []any{"ok", "away"}, Description: "PostgreSQL. Without it nothing can be done."},
		"desk":     {Type: huma.TypeString, Enum: []any{"ok", "away"}, Description: "Temporal. Without it facts are taken, and answers are kept until it is back."},
	}}
	for _, s := range []struct {
		operation
		schema *huma.Schema
		serve  http.HandlerFunc
	}{
		{operation{path: "/livez", id: "live", says: "The process runs.", gives: text}, nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }},
		{operation{path: "/readyz", id: "ready", says: "Whether the service can do its work, and what is away. 503 without the database.", gives: "application/json"}, health, a.ready},
		{operation{path: "/metrics", id: "metrics", says: "Counts and times by route, for Prometheus.", gives: text}, nil, a.front.Metrics().ServeHTTP},
		{operation{path: "/openapi.json", id: "description", says: "This description (OpenAPI 3.1).", gives: "application/json"}, &huma.Schema{Type: huma.TypeObject}, a.inEachLanguage("application/json", a.described)},
		{operation{path: "/docs", id: "docs", says: "This description as a page.", gives: page}, nil, a.inEachLanguage(page, a.page)},
	} {
		s.method, s.tag, s.public = http.MethodGet, "service", true
		a.known[s.pattern()] = s.operation
		mux.HandleFunc(s.pattern(), s.serve)
		if s.schema == nil {
			s.schema = &huma.Schema{Type: huma.TypeString}
		}
		answer := func(means string) *huma.Response {
			return &huma.Response{Description: means, Content: map[string]*huma.MediaType{s.gives: {Schema: s.schema}}}
		}
		op := &huma.Operation{
			Method: s.method, Path: s.path, OperationID: s.id, Summary: s.says, Tags: []string{s.tag}, Security: []map[string][]string{{}},
			Responses: map[string]*huma.Response{"200": answer(http.StatusText(http.StatusOK))},
		}
		if s.id == "ready" {
			op.Responses["503"] = answer("")
		}
		a.huma.OpenAPI().AddOperation(op)
	}
	mux.HandleFunc("GET /docs.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(docsStyle)
	})
	mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound))
	for _, part := range []string{"GET /docs.css", "GET /{$}"} { // of the page, and not described
		a.known[part] = operation{public: true}
	}
}

// inEachLanguage makes something of the finished description once in each language, and serves the reader's.
func (a *API) inEachLanguage(contentType string, in func(lang.Locale) []byte) http.HandlerFunc {
	made := map[lang.Locale]func() []byte{}
	for _, l := range lang.Locales() {
		made[l] = sync.OnceValue(func() []byte { return in(l) })
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(made[requestOf(r.Context()).locale()]())
	}
}

// ready tells whether the service can do its work: the database answers. A desk that is away is told and does not make
// the service unready, because facts are taken without it.
func (a *API) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	state := map[string]string{"database": "ok", "desk": "ok"}
	status := http.StatusOK
	if err := a.cases.Ping(ctx); err != nil {
		state["desk"] = "away"
	}
	if err := a.store.Ping(ctx); err != nil {
		state["database"], status = "away", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(state)
}

// dictionary gives the description's texts in Chinese. They are written in English where what they describe is written,
// and the two that the description takes from the sentences of others are theirs.
var dictionary = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	if _, err := toml.Decode(docsChinese, &out); err != nil {
		panic(err) // a test reads it
	}
	for _, id := range lang.IDs() {
		if strings.HasPrefix(id, "status.") || strings.HasPrefix(id, "tag.") {
			out[lang.English.Say(id, nil)] = lang.Chinese.Say(id, nil)
		}
	}
	for _, step := range registry.Steps() {
		out[answering(step, lang.English)] = answering(step, lang.Chinese)
	}
	return out
})

// answering says what an operation does that answers a step.
func answering(step string, l lang.Locale) string {
	return l.Say("docs.answering", map[string]any{"Step": l.Say("step."+step, nil)})
}

// translated gives a text of the description in a language.
func translated(text string, l lang.Locale) string {
	if said, ok := dictionary()[text]; ok && l == lang.Chinese {
		return said
	}
	return text
}

// described is the description in a language.
func (a *API) described(l lang.Locale) []byte {
	english, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		panic(err) // a test reads it
	}
	var d any
	_ = json.Unmarshal(english, &d)
	var translate func(any)
	translate = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, inner := range v {
				translate(inner)
			}
		case map[string]any:
			for name, inner := range v {
				if text, ok := inner.(string); ok && (name == "description" || name == "summary") {
					v[name] = translated(text, l)
					continue
				}
				translate(inner)
			}
		}
	}
	translate(d)
	out, _ := json.Marshal(d)
	return out
}

// The page that shows the API without a script: groups of operations, each with its parameters, its body, an example and
// its answers.
type (
	document struct {
		Lang, Other lang.Locale
		OtherName   string
		Words       map[string]string
		Groups      []documentGroup
	}
	documentGroup struct {
		ID, Name   string
		Operations []documentOperation
	}
	documentOperation struct {
		ID, Method, Path, Summary string
		Public                    bool
		Parameters                []documentField
		Body                      []documentField
		Example                   string
		Answer                    []documentField
		Refusals                  []documentRefusal
	}
	documentField struct {
		Name, In, Type, Rules, Text string
		Required                    bool
		Depth                       int
	}
	documentRefusal struct{ Status, Text string }
)

var docs = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("docs").Funcs(template.FuncMap{"lines": func(s string) []string { return strings.Split(s, "\n") }}).Parse(docsPage))
})

// page is the description as a page in a language.
func (a *API) page(l lang.Locale) []byte {
	var out bytes.Buffer
	if err := docs().Execute(&out, a.document(l)); err != nil {
		panic(err) // a test reads it
	}
	return out.Bytes()
}

func (a *API) document(l lang.Locale) document {
	d := document{Lang: l, Words: map[string]string{}}
	for _, word := range []string{"title", "intro", "download", "contents", "parameters", "body", "example", "answer", "refusals", "public"} {
		d.Words[word] = l.Say("docs."+word, nil)
	}
	for _, other := range lang.Locales() {
		if other != l {
			d.Other, d.OtherName = other, other.Say("docs.language", nil)
		}
	}
	for _, tag := range tagOrder {
		g := documentGroup{ID: tag, Name: l.Say("tag."+tag, nil)}
		for _, path := range sortedKeys(a.huma.OpenAPI().Paths) {
			for _, method := range methods {
				if op := operationAt(a.huma.OpenAPI(), method, path); op != nil && op.Tags[0] == tag {
					g.Operations = append(g.Operations, a.documented(op, l))
				}
			}
		}
		d.Groups = append(d.Groups, g)
	}
	return d
}

func (a *API) documented(op *huma.Operation, l lang.Locale) documentOperation {
	out := documentOperation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: translated(op.Summary, l), Public: len(op.Security) > 0}
	for _, p := range op.Parameters {
		if p.Ref == "" { // what all have in common is told above
			out.Parameters = append(out.Parameters, documentField{Name: p.Name, In: p.In, Type: typeOf(p.Schema), Rules: rulesOf(p.Schema, l), Text: translated(p.Description, l), Required: p.Required})
		}
	}
	if op.RequestBody != nil {
		if media := op.RequestBody.Content["application/json"]; media != nil {
			out.Body = a.fields(media.Schema, 0, l)
			if example, err := json.MarshalIndent(a.example(media.Schema, 0), "", "  "); err == nil {
				out.Example = string(example)
			}
		} else {
			for _, contentType := range sortedKeys(op.RequestBody.Content) {
				out.Body = append(out.Body, documentField{Name: contentType, Type: "binary"})
			}
		}
	}
	for _, status := range sortedKeys(op.Responses) {
		answer := op.Responses[status]
		if status >= "400" {
			out.Refusals = append(out.Refusals, documentRefusal{status, translated(answer.Description, l)})
			continue
		}
		for _, contentType := range sortedKeys(answer.Content) {
			if contentType == "application/json" {
				out.Answer = a.fields(answer.Content[contentType].Schema, 0, l)
			} else {
				out.Answer = []documentField{{Name: contentType, Type: typeOf(answer.Content[contentType].Schema)}}
			}
		}
	}
	return out
}

// deepest is how far schemas are told and examples made: no form nests further.
const deepest = 3

// fields flattens a schema into lines, nested ones indented.
func (a *API) fields(s *huma.Schema, depth int, l lang.Locale) []documentField {
	s = a.resolve(s)
	if s == nil || depth > deepest {
		return nil
	}
	if s.Type == huma.TypeArray {
		return a.fields(s.Items, depth, l)
	}
	var out []documentField
	for _, name := range sortedKeys(s.Properties) {
		p := s.Properties[name]
		inner := a.resolve(p)
		text := p.Description
		if text == "" {
			text = inner.Description
		}
		out = append(out, documentField{Name: name, Type: typeOf(inner), Text: translated(text, l), Rules: rulesOf(p, l), Required: slices.Contains(s.Required, name), Depth: depth})
		if inner.Type == huma.TypeObject || inner.Type == huma.TypeArray {
			out = append(out, a.fields(inner, depth+1, l)...)
		}
	}
	return out
}

func (a *API) resolve(s *huma.Schema) *huma.Schema {
	if s != nil && s.Ref != "" {
		return a.huma.OpenAPI().Components.Schemas.SchemaFromRef(s.Ref)
	}
	return s
}

func typeOf(s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	case s.Type == huma.TypeArray:
		return "[" + typeOf(s.Items) + "]"
	case s.Type == huma.TypeString && s.Format != "":
		return s.Format
	default:
		return s.Type
	}
}

// example makes a body of the right shape from what is required, with the first allowed value of each list.
func (a *API) example(s *huma.Schema, depth int) any {
	s = a.resolve(s)
	switch {
	case s == nil || depth > deepest:
		return nil
	case len(s.Examples) > 0:
		return s.Examples[0]
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type == huma.TypeObject:
		out := map[string]any{}
		for name, p := range s.Properties {
			if slices.Contains(s.Required, name) {
				out[name] = a.example(p, depth+1)
			}
		}
		return out
	case s.Type == huma.TypeArray:
		return []any{a.example(s.Items, depth+1)}
	case s.Type == huma.TypeInteger, s.Type == huma.TypeNumber:
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 1
	case s.Type == huma.TypeBoolean:
		return true
	case s.Format == "date":
		return "2026-11-21"
	case s.Format == "date-time":
		return "2026-11-21T08:00:00Z"
	case s.Format == "uuid":
		return "01900000-0000-7000-8000-000000000000"
	case s.MinLength != nil:
		return strings.Repeat("…", *s.MinLength)
	default:
		return "…"
	}
}
