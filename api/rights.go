package api

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
)

func (a *API) rightsRoutes() {
	const tag = "rights"
	type Request = One[registry.RightsView]
	route(a, operation{method: http.MethodPost, path: "/v1/rights", id: "file-rights", tag: tag, says: "File what a person, a guardian or a near relative asks about the person's data: access, a copy, correction, withdrawal, erasure, an explanation. It has thirty days.", body: forms.RightsRequest{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Request, error) {
			f, err := decode[forms.RightsRequest](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.FileRights(ctx, who, f)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/rights", id: "list-rights", tag: tag, says: "Requests about people's data, in the order of their filing."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Kind   string    `query:"kind" enum:"access,copy,correction,withdrawal,deletion,explanation,arrangement,kin_access,kin_copy,kin_correction,kin_deletion"`
			Status string    `query:"status" enum:"open,ended"`
			Step   string    `query:"step"`
			Donor  uuid.UUID `query:"donor"`
		}) (*Page[registry.RightsView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListRights(ctx, who, registry.RightsFilter{Kind: in.Kind, Status: in.Status, Step: in.Step, Donor: in.Donor, After: after, Limit: in.Limit})
			return page(list, in.Limit, func(v registry.RightsView) string { return v.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/rights/{id}", id: "show-rights", tag: tag, says: "A request: where it stands, what was decided and why, and what erasure left."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Request, error) {
			v, err := a.store.ShowRights(ctx, who, in.ID)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/rights/{id}/copy", id: "fetch-copy", tag: tag, says: "The copy that was granted, in clear, for the one who hands it over. It is made when it is first fetched, and can be fetched for seven days.", scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[registry.RightsCopy], error) {
			c, err := a.store.FetchCopy(ctx, who, in.ID)
			return plain(c), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/rights/{id}/copy.html", id: "fetch-copy-page", tag: tag, says: "The same copy as a page in Chinese and English, to print or to give on a medium.", gives: copyPage, scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *ByID) (*workbook, error) {
			c, err := a.store.FetchCopy(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			out, err := printed(c)
			return &workbook{copyPage, `attachment; filename="` + c.Request + `.html"`, out}, err
		})
}

// copyPage is the media type of a printed copy.
const copyPage = "text/html; charset=utf-8"

//go:embed copy.html
var copyText string

var copyTemplate = template.Must(template.New("copy").Parse(copyText))

type printedSection struct {
	Chinese, English string
	Heads            []string
	Rows             [][]string
}

// printed is a copy as a page that needs nothing beside itself: no script, no picture, no address.
func printed(c registry.RightsCopy) ([]byte, error) {
	view := struct {
		Request       string
		Made, Expires string
		Sections      []printedSection
	}{c.Request, c.MadeAt.In(registry.Zone).Format("2006-01-02 15:04"), c.Expires.In(registry.Zone).Format(time.DateOnly), nil}
	for _, s := range c.Sections {
		section := printedSection{Chinese: registry.SectionName(s.Name, lang.Chinese), English: registry.SectionName(s.Name, lang.English)}
		for _, f := range s.Fields {
			if f != "id" {
				section.Heads = append(section.Heads, f)
			}
		}
		for _, row := range s.Rows {
			var cells []string
			for _, f := range section.Heads {
				cells = append(cells, shownAs(row[f]))
			}
			section.Rows = append(section.Rows, cells)
		}
		for i, f := range section.Heads {
			section.Heads[i] = headed(f)
		}
		view.Sections = append(view.Sections, section)
	}
	var out bytes.Buffer
	err := copyTemplate.Execute(&out, view)
	return out.Bytes(), err
}

// headed is what both readers call a field.
func headed(field string) string {
	zh, en := registry.FieldLabel(field, lang.Chinese), registry.FieldLabel(field, lang.English)
	if zh == en {
		return strings.ReplaceAll(field, "_", " ")
	}
	return zh + " · " + en
}

// shownAs puts a value of a copy into words: what is empty is a dash, a list has commas, a time is the office's.
func shownAs(v any) string {
	switch v := v.(type) {
	case nil:
		return "—"
	case string:
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return at.In(registry.Zone).Format("2006-01-02 15:04")
		}
		if v == "" {
			return "—"
		}
		return v
	case time.Time:
		return v.In(registry.Zone).Format("2006-01-02 15:04")
	case bool:
		if v {
			return "是 · yes"
		}
		return "否 · no"
	case []any:
		var parts []string
		for _, one := range v {
			parts = append(parts, shownAs(one))
		}
		if parts == nil {
			return "—"
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		var parts []string
		for _, key := range []string{"name", "relation", "phone", "email", "address", "workplace", "contacts"} {
			if one, ok := v[key]; ok {
				parts = append(parts, shownAs(one))
			}
		}
		return strings.Join(parts, "; ")
	default:
		return fmt.Sprint(v)
	}
}
