package registry

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/liferelay/liferelay/registry/lang"
)

//go:embed copy.html
var copyText string

var copyTemplate = template.Must(template.New("copy").Parse(copyText))

type printedSection struct {
	Chinese, English string
	Heads            []string
	Rows             [][]string
}

// Printed is the copy as a page in both languages that needs nothing beside itself: no script, no picture, no address.
func (c RightsCopy) Printed() ([]byte, error) {
	view := struct {
		Request       string
		Made, Expires string
		Sections      []printedSection
	}{c.Request, c.MadeAt.In(Zone).Format("2006-01-02 15:04"), c.Expires.In(Zone).Format(time.DateOnly), nil}
	for _, s := range c.Sections {
		section := printedSection{Chinese: sectionName(s.Name, lang.Chinese), English: sectionName(s.Name, lang.English)}
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
	zh, en := fieldLabel(field, lang.Chinese), fieldLabel(field, lang.English)
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
			return at.In(Zone).Format("2006-01-02 15:04")
		}
		if v == "" {
			return "—"
		}
		return v
	case time.Time:
		return v.In(Zone).Format("2006-01-02 15:04")
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
