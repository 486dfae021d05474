package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/liferelay/liferelay/registry/lang"
)

//go:embed docs.html
var docsPage string

//go:embed docs.css
var docsStyle []byte

// about serves what tells of the API itself: its description, a page to browse it, its health, its metrics.
func (a *API) about(mux *http.ServeMux) {
	description, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		panic(err) // a test reads it
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(description)
	})
	page := template.Must(template.New("docs").Funcs(template.FuncMap{"lines": func(s string) []string { return strings.Split(s, "\n") }}).Parse(docsPage))
	mux.HandleFunc("GET /docs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(w, a.document(requestOf(r.Context()).locale()))
	})
	mux.HandleFunc("GET /docs.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(docsStyle)
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", a.ready)
	mux.Handle("GET /metrics", a.metrics.handler())
	mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound))
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

// The page that shows the API without a script: groups of operations, each with its parameters, its body and an example.
type (
	document struct {
		Lang   string
		Title  string
		Intro  string
		Words  map[string]string
		Groups []documentGroup
	}
	documentGroup struct {
		Name       string
		Operations []documentOperation
	}
	documentOperation struct {
		ID, Method, Path, Summary string
		Parameters                []documentField
		Body                      []documentField
		Example                   string
		Answer                    []documentField
	}
	documentField struct {
		Name, Type, Rules, Text string
		Required                bool
		Depth                   int
	}
)

func (a *API) document(l lang.Locale) document {
	words := map[string]string{}
	for _, w := range []string{"title", "intro", "parameters", "body", "answer", "required", "example", "download"} {
		words[w] = l.Say("docs."+w, nil)
	}
	d := document{Lang: string(l), Title: words["title"], Intro: words["intro"], Words: words}
	groups := map[string]*documentGroup{}
	var order []string
	for _, path := range sortedKeys(a.huma.OpenAPI().Paths) {
		item := a.huma.OpenAPI().Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			tag := op.Tags[0]
			if groups[tag] == nil {
				groups[tag] = &documentGroup{Name: l.Say("tag."+tag, nil)}
				order = append(order, tag)
			}
			groups[tag].Operations = append(groups[tag].Operations, a.documented(op))
		}
	}
	slices.Sort(order)
	for _, tag := range order {
		d.Groups = append(d.Groups, *groups[tag])
	}
	return d
}

func (a *API) documented(op *huma.Operation) documentOperation {
	out := documentOperation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary}
	for _, p := range op.Parameters {
		out.Parameters = append(out.Parameters, documentField{Name: p.Name + " (" + p.In + ")", Type: typeOf(p.Schema), Text: p.Description, Required: p.Required})
	}
	if op.RequestBody != nil {
		if media := op.RequestBody.Content["application/json"]; media != nil {
			out.Body = a.fields(media.Schema, 0)
			if example, err := json.MarshalIndent(a.example(media.Schema, 0), "", "  "); err == nil {
				out.Example = string(example)
			}
		} else {
			for _, contentType := range sortedKeys(op.RequestBody.Content) {
				out.Body = append(out.Body, documentField{Name: contentType, Type: "binary"})
			}
		}
	}
	for _, status := range []string{"200", "201", "202"} {
		if answer := op.Responses[status]; answer != nil && answer.Content["application/json"] != nil {
			out.Answer = a.fields(answer.Content["application/json"].Schema, 0)
		}
	}
	return out
}

const deepest = 3

// fields flattens a schema into lines, nested ones indented.
func (a *API) fields(s *huma.Schema, depth int) []documentField {
	s = a.resolve(s)
	if s == nil || depth > deepest {
		return nil
	}
	if s.Type == huma.TypeArray {
		return a.fields(s.Items, depth)
	}
	var out []documentField
	for _, name := range sortedKeys(s.Properties) {
		p := s.Properties[name]
		f := documentField{Name: name, Type: typeOf(a.resolve(p)), Text: p.Description, Rules: rulesOf(p), Required: slices.Contains(s.Required, name), Depth: depth}
		if text := a.resolve(p); text != nil && f.Text == "" {
			f.Text = text.Description
		}
		out = append(out, f)
		inner := a.resolve(p)
		if inner != nil && (inner.Type == huma.TypeObject || inner.Type == huma.TypeArray) {
			out = append(out, a.fields(inner, depth+1)...)
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
	case s.Format != "":
		return s.Type + " " + s.Format
	default:
		return s.Type
	}
}

// example makes a body of the right shape, with the first allowed value of each list.
func (a *API) example(s *huma.Schema, depth int) any {
	s = a.resolve(s)
	switch {
	case s == nil || depth > deepest:
		return nil
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
	default:
		return "…"
	}
}
