package hla

import (
	"slices"
	"strconv"
)

// Explanation is a reading with every step that led to it, for people. Like the typing it is personal data of the class hla.
type Explanation struct {
	Version string      `json:"version,omitempty"` // that the text says it was made under
	Release string      `json:"release,omitempty"` // that the names were looked up in; empty when they were not
	Loci    []LocusStep `json:"loci"`              // in the order in which they were written
}

// LocusStep is what was read at a locus. There are several pairs where a laboratory could not tell which it is (|).
type LocusStep struct {
	Locus   Locus         `json:"locus"`
	Text    string        `json:"text"`
	Untyped bool          `json:"untyped,omitempty"` // nothing is known of either copy
	Pairs   [][2]CopyStep `json:"pairs"`
}

// CopyStep is what was read of a copy.
type CopyStep struct {
	Text     string    `json:"text,omitempty"` // empty for an absent one that nobody wrote
	Names    []Name    `json:"names,omitempty"`
	Unknown  bool      `json:"unknown,omitempty"`
	Absent   bool      `json:"absent,omitempty"`
	Proteins []Protein `json:"proteins,omitempty"` // what it may be
	// Silent says that it makes no protein: it counts as a second copy of what stands beside it, if that makes one.
	Silent bool `json:"silent,omitempty"`
}

// Name is a name as it was written and what it stands for.
type Name struct {
	Text    string    `json:"text"`
	Form    Form      `json:"form"`
	Whole   string    `json:"whole,omitempty"`   // in full, where it was written otherwise
	Alleles []string  `json:"alleles,omitempty"` // at two fields
	By      Source    `json:"by,omitzero"`       // the line that decided
	Former  string    `json:"former,omitempty"`  // the release that it had to be read by, because the current one has it no more
	Dropped []Dropped `json:"dropped,omitempty"`
}

// Dropped is an allele that a name stands for and that was left out.
type Dropped struct {
	Allele string      `json:"allele"`
	Why    DroppedCode `json:"why"`
}

// DroppedCode is why an allele was left out.
type DroppedCode string

const (
	DroppedNull    DroppedCode = "null"    // it makes no protein, and who types a group says that it is expressed
	DroppedRelease DroppedCode = "release" // the release does not have it
)

// Protein is an allele of two fields and what a release says of it. Of one of a first field alone nothing is known.
type Protein struct {
	Allele    string          `json:"allele"`
	First     bool            `json:"first,omitempty"` // any allele that begins with it: no release says which those are
	Null      bool            `json:"null,omitempty"`
	Unit      string          `json:"unit"`            // its P group by its first allele: what matching compares
	Group     string          `json:"group,omitempty"` // the group's name, such as "02:01P"; empty where it is alone in it
	GroupBy   Source          `json:"group_by,omitzero"`
	Antigens  []AntigenSource `json:"antigens,omitempty"`
	Epitope   int             `json:"epitope,omitempty"` // T-cell epitope group of DPB1, 1 to 3
	EpitopeBy Source          `json:"epitope_by,omitzero"`
}

// AntigenSource is an antigen that an allele makes, and the line that says so.
type AntigenSource struct {
	Antigen string `json:"antigen"`
	By      Source `json:"by"`
}

// Explain reads a typing as Read does and tells every step. Its error is that of Read.
func (by Reader) Explain(text string) (*Explanation, error) {
	by.explaining = true
	r, refused := by.read(text)
	if refused != nil {
		return nil, refused
	}
	out := &Explanation{Version: r.version, Loci: r.steps}
	if by.Release != nil {
		out.Release = by.Release.version
	}
	return out, nil
}

func (by Reader) locusStep(locus Locus, at *LocusReading, untyped bool) LocusStep {
	out := LocusStep{Locus: locus, Text: at.Text, Untyped: untyped}
	for _, pair := range at.Pairs {
		var steps [2]CopyStep
		for i, c := range pair {
			steps[i] = by.copyStep(c)
		}
		out.Pairs = append(out.Pairs, steps)
	}
	return out
}

func (by Reader) copyStep(c Copy) CopyStep {
	out := CopyStep{Text: c.Text, Names: c.steps, Unknown: c.Unknown}
	out.Absent = len(c.Alleles) == 0 && !c.Unknown
	out.Silent = !c.Unknown && !slices.ContainsFunc(c.Alleles, func(a Allele) bool { return !a.Null() })
	for _, a := range c.Alleles {
		out.Proteins = append(out.Proteins, by.protein(a, c.Former))
	}
	return out
}

func (by Reader) protein(a Allele, former string) Protein {
	out := Protein{Allele: a.String(), First: !a.Whole(), Null: a.Null(), Unit: a.String()}
	r := by.Release
	if former != "" && !r.Knows(a) {
		r = by.Former
	}
	if r == nil || out.First {
		return out
	}
	out.Unit = r.Unit(a).String()
	out.Group, out.GroupBy = r.Group(a)
	p := r.at[a.place-1].proteins[a]
	for _, m := range p.antigens {
		out.Antigens = append(out.Antigens, AntigenSource{a.Locus().Antigen(m.antigen), r.source(fileDNA, m.line)})
	}
	out.Epitope, out.EpitopeBy = int(p.tce), r.source(fileEpitope, p.tceLine)
	return out
}

func (by Reader) nameStep(text string, c *Copy) Name {
	out := Name{Text: text, Form: c.Forms[0], By: c.by, Former: c.Former, Dropped: c.dropped}
	if c.Names[0] != text && prefix+c.Names[0] != text {
		out.Whole = c.Names[0]
	}
	for _, a := range c.Alleles {
		out.Alleles = append(out.Alleles, a.String())
	}
	return out
}

// antigenLetters are how the antigens of a locus are written.
var antigenLetters = map[Locus]string{A: "A", B: "B", C: "Cw", DRB1: "DR", DRB3: "DR", DRB4: "DR", DRB5: "DR", DQB1: "DQ", DPB1: "DPw"}

// Antigen writes an antigen of a locus, "DR17" of DRB1 and 17.
func (l Locus) Antigen(number string) string { return antigenLetters[l] + number }

// sourceOf is the line of the list that has a name, or the first that has it with more fields.
func (r *Release) sourceOf(a Allele) Source {
	c := &r.at[a.place-1]
	line, known := c.full[a]
	if !known {
		line = c.proteins[a.TwoField()].line
	}
	return r.source(r.names, line)
}

// String names the line: "hla_nom_p.txt line 123".
func (s Source) String() string {
	if s.Line == 0 {
		return ""
	}
	return s.File + " line " + strconv.Itoa(s.Line)
}
