package intake

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/seal"
)

// A form that is typed in, and not read from a sheet, is a row all the same: what one reads, corrects, checks and keeps is then
// the same for both. Its columns are the fields, in their order.

// ByField is the mapping of typed forms.
func ByField() Mapping {
	m := Mapping{Columns: make([]Column, len(fields)-1)}
	for i, f := range fields[:len(fields)-1] {
		m.Columns[i] = Column{Column: i, Field: f, How: ByKey}
	}
	return m
}

// Texts are what is typed, by field. They are personal, and print masked.
type Texts map[Field]seal.Note

// Problems are R137 for each field that there is not, and R120 for texts that no form has room for.
func (t Texts) Problems() forms.Problems {
	const longest = 300
	var out forms.Problems
	for f, text := range t {
		switch {
		case !f.Valid() || f == Ignore:
			out = append(out, forms.Problem{Code: "R137", Field: "cells"})
		case len(text.Reveal()) > longest:
			out = append(out, forms.Problem{Code: "R120", Field: f.Path(), Args: map[string]any{"Bound": "≤", "Limit": longest}})
		}
	}
	return out
}

// Row lays texts out as a row of a mapping; fields that have no column in it are left out.
func (m Mapping) Row(no int, texts Texts) Row {
	row := Row{No: no, Cells: []Cell{}}
	for f, text := range texts {
		column, ok := m.Column(f)
		if !ok {
			continue
		}
		for len(row.Cells) <= column {
			row.Cells = append(row.Cells, Cell{})
		}
		row.Cells[column] = Typed(text.Reveal())
	}
	return row
}

// Texts are what stands in a row, by field.
func (m Mapping) Texts(row Row) Texts {
	out := Texts{}
	for _, c := range m.Columns {
		if text := row.Cell(c.Column).Text; c.Field != "" && c.Field != Ignore && text != "" {
			out[c.Field] = seal.NoteOf(text)
		}
	}
	return out
}

// Values are what an enumerated field can be, nothing for one that holds a text, a day or a number.
func (f Field) Values() []string {
	return slices.Clone(vocabulary().allowed[cmp.Or(sets[f], several[f])])
}

// Several tells whether a field may hold more than one of its values.
func (f Field) Several() bool { return several[f] != "" }

// Word is a value of an enumerated field in a language.
func (f Field) Word(value string, l lang.Locale) string {
	return l.Say("word."+cmp.Or(sets[f], several[f])+"."+value, nil)
}

// Read are the values of a form that was reviewed, by field and in one spelling: two forms that say the same have the same. What
// is not there is left out.
func Read(f *forms.Registration) Texts {
	out := Texts{}
	put := func(field Field, text string) {
		if text != "" {
			out[field] = seal.NoteOf(text)
		}
	}
	number := func(n float64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	flag := func(on bool) string {
		if on {
			return "yes"
		}
		return ""
	}
	put(Name, f.Name.Reveal())
	put(DocumentKind, string(f.DocumentKind))
	put(DocumentNumber, f.DocumentNumber.Reveal())
	put(Sex, string(f.Sex))
	if !f.BirthDate.IsZero() {
		put(BirthDate, f.BirthDate.String())
	}
	put(Ethnicity, f.Ethnicity)
	put(Phone, f.Phone.Reveal())
	put(Email, f.Email.Reveal())
	put(Region, string(f.Region))
	put(Address, f.Address.Reveal())
	put(Workplace, f.Workplace.Reveal())
	put(HeightCM, number(float64(f.HeightCM)))
	put(WeightKG, number(float64(f.WeightKG)))
	put(ABO, string(f.ABO))
	put(Rh, string(f.Rh))
	for i, at := range [][4]Field{{Contact1Name, Contact1Relation, Contact1Phone, Contact1Address}, {Contact2Name, Contact2Relation, Contact2Phone, Contact2Address}} {
		if i < len(f.Contacts) {
			c := f.Contacts[i]
			put(at[0], c.Name.Reveal())
			put(at[1], c.Relation)
			put(at[2], c.Phone.Reveal())
			put(at[3], c.Address.Reveal())
		}
	}
	var programmes []string
	for _, p := range f.Programmes {
		programmes = append(programmes, string(p))
	}
	put(Programmes, strings.Join(programmes, ", "))
	put(Intent, string(f.Intent))
	put(Organs, strings.Join(f.Organs, ", "))
	put(HealthAnswered, flag(f.HealthAnswered))
	put(Signed, flag(f.Signed))
	if !f.SignedOn.IsZero() {
		put(SignedOn, f.SignedOn.String())
	}
	put(FormVersion, f.FormVersion)
	put(ScanRef, f.ScanRef)
	put(Barcode, f.Barcode)
	if !f.DrawnOn.IsZero() {
		put(DrawnOn, f.DrawnOn.String())
	}
	put(Tubes, number(float64(f.Tubes)))
	put(Millilitres, number(f.Millilitres))
	return out
}
