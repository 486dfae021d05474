package hla

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Serum is what a release says of the antigen that an allele makes.
type Serum struct {
	Antigens []string // by their numbers, sorted; none where the release says 0 or ?
	// Certain tells that they stand in the unambiguous column. Where it has none, Antigens are those that the allele possibly has, is
	// assumed to have, or was given by experts.
	Certain bool
	Line    int // of rel_dna_ser.txt: the first that says so, 0 where there is none
}

// with takes a line of rel_dna_ser.txt into what is known of a protein. Names of one protein may differ in it, mostly where one of them is
// expressed less: an antigen that is unambiguous for any of them is the protein's.
func (s Serum) with(line int, columns []string) Serum {
	named := func(columns []string) (out []string) {
		for _, column := range columns {
			for antigen := range strings.SplitSeq(column, "/") {
				if antigen = strings.TrimSpace(antigen); antigen != "" && antigen != "0" && antigen != "?" {
					out = append(out, antigen)
				}
			}
		}
		return out
	}
	found, certain := named(columns[:1]), true
	if len(found) == 0 {
		found, certain = named(columns[1:]), false
	}
	switch {
	case s.Certain && !certain:
		return s
	case certain && !s.Certain, len(s.Antigens) == 0 && len(found) > 0, s.Line == 0:
		s = Serum{Line: line, Certain: certain}
	}
	s.Antigens = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(s.Antigens), found...))))
	return s
}

func (c *catalogue) enterSerum(a Allele, line int, columns []string) {
	if c.sera == nil {
		c.sera = map[Allele]Serum{}
	}
	c.sera[a.TwoField()] = c.sera[a.TwoField()].with(line, columns)
}

// Serum tells which antigen an allele makes. The zero Serum is of an allele that rel_dna_ser.txt does not have.
func (r *Release) Serum(a Allele) Serum {
	if a.place == 0 {
		return Serum{}
	}
	return r.at[a.place-1].sera[a.TwoField()]
}

// Likeness says whether antigens are the same.
type Likeness string

const (
	SameAntigen      Likeness = "same"
	DifferentAntigen Likeness = "different"
	UnknownAntigen   Likeness = "unknown" // nobody knows, or it depends on which alleles they turn out to be
)

// Alike tells whether what one copy may be makes the same antigen as what another may be. It is known only where every allele of the one
// agrees with every allele of the other.
//
// Antigens are the same that have one number, or of which one is the broader or the one that the other is associated with (rel_ser_ser.txt:
// A9, A24 and A2403, but not A23 and A24). Where an allele has no antigen in the release its family, the first field, stands for it on
// both sides, and so it does for C from 11 on; at DPB1 no two alleles have the same (WMDA Bioinformatics & Innovation Committee, 7
// February 2024). What makes no protein has another antigen than what makes one.
func (r *Release) Alike(one, other []Allele) Likeness {
	found := Likeness("")
	theirs := r.sera(other)
	for _, x := range r.sera(one) {
		for _, y := range theirs {
			likeness := r.likeness(x, y)
			if found = cmp.Or(found, likeness); found != likeness {
				return UnknownAntigen
			}
		}
	}
	return cmp.Or(found, UnknownAntigen)
}

// antigens are those of one allele, and its family.
type antigens struct {
	a       Allele // any that has them
	none    bool   // it makes no protein
	numbers []string
}

// sera lists the different antigens of alleles.
func (r *Release) sera(alleles []Allele) []antigens {
	var out []antigens
	for _, a := range alleles {
		s := antigens{a: a.TwoField(), none: a.place == 0 || a.Null()}
		if !s.none && !(a.Locus() == C && a.fields[0] > 10) {
			s.numbers = r.Serum(a).Antigens
		}
		if !slices.ContainsFunc(out, s.equal) {
			out = append(out, s)
		}
	}
	return out
}

func (s antigens) equal(t antigens) bool {
	if s.none || t.none {
		return s.none == t.none
	}
	if s.a.Locus() == DPB1 {
		return s.a == t.a
	}
	return s.a.fields[0] == t.a.fields[0] && slices.Equal(s.numbers, t.numbers)
}

func (r *Release) likeness(x, y antigens) Likeness {
	alike := func(yes bool) Likeness {
		if yes {
			return SameAntigen
		}
		return DifferentAntigen
	}
	switch {
	case x.none && y.none:
		return UnknownAntigen
	case x.none || y.none:
		return DifferentAntigen
	case x.a.Locus() == DPB1:
		return alike(r.Unit(x.a) == r.Unit(y.a))
	case len(x.numbers) == 0 || len(y.numbers) == 0:
		return alike(x.a.fields[0] == y.a.fields[0])
	}
	c := &r.at[x.a.place-1]
	found := Likeness("")
	for _, n := range x.numbers {
		for _, m := range y.numbers {
			likeness := alike(n == m || c.broader(n, m) || c.broader(m, n))
			if found = cmp.Or(found, likeness); found != likeness {
				return UnknownAntigen
			}
		}
	}
	return found
}

// broader tells whether an antigen is split into another, or the other is associated with it, in one step or more.
func (c *catalogue) broader(broad, narrow string) bool {
	seen := map[string]bool{}
	for down := slices.Clone(c.narrower[broad]); len(down) > 0; down = down[1:] {
		if down[0] == narrow {
			return true
		}
		if !seen[down[0]] { // a file may go round in a circle
			seen[down[0]] = true
			down = append(down, c.narrower[down[0]]...)
		}
	}
	return false
}

// GroupName names the P group of an allele as hla_nom_p.txt does, such as "A*02:01P", and says which line has it, such as
// "hla_nom_p.txt:412". A group of one allele has its name; what is not in the file has no line.
func (r *Release) GroupName(a Allele) (name, source string) {
	unit := r.Unit(a)
	if unit.place == 0 {
		return "", ""
	}
	c := &r.at[unit.place-1]
	name = unit.String()
	_, number, _ := strings.Cut(name, "*")
	if _, named := c.pGroups[number+"P"]; named {
		name += "P"
	}
	return name, sourceLine(fileP, c.proteins[a.TwoField()].unitLine)
}

// SerumSource says which line gives the antigen of an allele, such as "rel_dna_ser.txt:577"; nothing where none does.
func (r *Release) SerumSource(a Allele) string { return sourceLine(fileDNA, r.Serum(a).Line) }

// EpitopeSource says which line gives the T-cell epitope group of an allele, such as "dpb_tce.csv:7"; nothing where none does.
func (r *Release) EpitopeSource(a Allele) string {
	if a.place == 0 {
		return ""
	}
	return sourceLine(fileEpitope, r.at[a.place-1].proteins[a.TwoField()].tceLine)
}

func sourceLine[N int | int32](file string, line N) string {
	if line == 0 {
		return ""
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// First is the allele's first field, the 2 of A*02:01, 0 for the zero Allele.
func (a Allele) First() uint16 { return a.fields[0] }
