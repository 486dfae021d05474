package intake

import (
	"slices"
	"strings"

	"github.com/liferelay/liferelay/registry/forms"
)

// Mapping says which column holds what. It marshals to JSON; a person may correct it.
type Mapping struct {
	Columns []Column `json:"columns" class:"intake" mask:"drop"`
}

// Column is one column's field; no field, or Ignore, leaves it out.
type Column struct {
	Column  int    `json:"column" class:"intake" mask:"drop"` // from 0
	Heading string `json:"heading" class:"intake" mask:"drop"`
	Field   Field  `json:"field,omitempty" class:"intake" mask:"drop"`
	How     How    `json:"how,omitempty" class:"intake" mask:"drop"`
}

// How is what a guess rests on.
type How string

// From the surest to the weakest.
const (
	ByKey      How = "key"        // the template's machine key
	Remembered How = "remembered" // what a person chose for such a heading before
	Exact      How = "exact"      // a heading of the table
	Near       How = "near"       // a heading of the table with a remark beside it
	Within     How = "within"     // a heading of the table stands inside it
)

// HeadingKey is what a heading is remembered by: its text, whatever its spaces, marks and capitals.
func HeadingKey(heading string) string { return fold(heading) }

// Guess matches columns to fields. Remembered maps HeadingKey of a heading to what a person chose for it. Of several columns
// that are surely the same field all are matched, and Problems asks which is meant; a weaker guess never competes with a
// surer one.
func Guess(headers []Header, remembered map[string]Field) Mapping {
	m := Mapping{Columns: make([]Column, len(headers))}
	taken := map[Field]bool{}
	for i, h := range headers {
		c := Column{Column: h.Column, Heading: h.Text}
		if f, ok := remembered[HeadingKey(h.Text)]; ok && f.Valid() && h.Text != "" {
			c.Field, c.How = f, Remembered
		} else if h.Key.Valid() {
			c.Field, c.How = h.Key, ByKey
		} else if f, ok := vocabulary().exact(h.Text); ok {
			c.Field, c.How = f, Exact
		}
		m.Columns[i] = c
		taken[c.Field] = true
	}
	for _, step := range []struct {
		how  How
		find func(string) (Field, bool)
	}{{Near, vocabulary().near}, {Within, vocabulary().within}} {
		found := map[Field][]int{}
		for i, c := range m.Columns {
			if f, ok := step.find(c.Heading); c.Field == "" && ok && (f == Ignore || !taken[f]) {
				found[f] = append(found[f], i)
			}
		}
		for f, columns := range found {
			// Two that merely contain a name are two guesses at most: neither is made.
			if step.how == Within && len(columns) > 1 && f != Ignore {
				continue
			}
			for _, i := range columns {
				m.Columns[i].Field, m.Columns[i].How = f, step.how
			}
			taken[f] = true
		}
	}
	return m
}

// Column is the first column of a field.
func (m Mapping) Column(f Field) (int, bool) {
	i := slices.IndexFunc(m.Columns, func(c Column) bool { return c.Field == f })
	if i < 0 {
		return 0, false
	}
	return m.Columns[i].Column, true
}

func (m Mapping) has(fields ...Field) bool {
	return slices.ContainsFunc(fields, func(f Field) bool { _, ok := m.Column(f); return ok })
}

// ColumnsOf are the columns that a problem's field is read from: none for a field that the sheet does not have.
func (m Mapping) ColumnsOf(path string) []int {
	var out []int
	for _, c := range m.Columns {
		if c.Field == "" || c.Field == Ignore {
			continue
		}
		p := c.Field.Path()
		// programmes[0] is in the column of programmes; contacts is in all columns of contacts.
		if p == path || strings.HasPrefix(path, p+"[") || strings.HasPrefix(p, path+"[") {
			out = append(out, c.Column)
		}
	}
	return out
}

// requirement is a field that a form cannot do without, and what else can give it.
type requirement struct {
	field   Field
	columns []Field
	given   func(Defaults) bool
}

var required = []requirement{
	{Name, nil, nil},
	{DocumentNumber, nil, nil},
	{Phone, nil, nil},
	{Programmes, programmeFields, func(d Defaults) bool { return len(d.Programmes) > 0 }},
	{Signed, nil, func(d Defaults) bool { return d.Signed }},
	{SignedOn, nil, func(d Defaults) bool { return !d.SignedOn.IsZero() }},
}

// Problems are what is wrong with the mapping: F004 for a required field that neither a column nor the batch's cover
// gives, F005 for two columns of one field, W208 for each column that nobody mapped.
func (m Mapping) Problems(d Defaults) forms.Problems {
	var out forms.Problems
	for _, r := range required {
		if !m.has(r.field) && !m.has(r.columns...) && (r.given == nil || !r.given(d)) {
			out = append(out, forms.Problem{Code: "F004", Field: r.field.Path()})
		}
	}
	for _, f := range fields[:len(fields)-1] {
		var headings []string
		for _, c := range m.Columns {
			if c.Field == f {
				headings = append(headings, c.Heading)
			}
		}
		if len(headings) > 1 {
			out = append(out, forms.Problem{Code: "F005", Field: f.label(), Args: map[string]any{"Columns": strings.Join(headings, ", ")}})
		}
	}
	for _, c := range m.Columns {
		if c.Field == "" {
			heading := c.Heading
			if heading == "" {
				heading = ColumnName(c.Column)
			}
			out = append(out, forms.Problem{Code: "W208", Args: map[string]any{"Heading": heading}})
		}
	}
	return out
}

// ColumnName is a column as a spreadsheet shows it: A, B, …, AA.
func ColumnName(column int) string {
	name := ""
	for n := column + 1; n > 0; n = (n - 1) / 26 {
		name = string(rune('A'+(n-1)%26)) + name
	}
	return name
}
