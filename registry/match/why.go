package match

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/liferelay/liferelay/registry/hla"
)

// Sentence is something said of a comparison: the name of a sentence of registry/lang, and what it is told.
type Sentence struct {
	Code string         `json:"code"`
	Args map[string]any `json:"args,omitempty"`
}

// Fact is what a release says of alleles, and where: a file and a line of it, such as "hla_nom_p.txt:412", or nothing where no line says it.
type Fact struct {
	Name   string `json:"name"`
	Source string `json:"source,omitempty"`
}

// CopyFacts is what a copy was written as, and what it may be by that.
type CopyFacts struct {
	Text     string     `json:"text"`
	Forms    []hla.Form `json:"forms"`
	Open     bool       `json:"open,omitempty"`     // a first field, and no release to say which alleles begin with it
	Alleles  int        `json:"alleles"`            // how many it may be, at two fields
	Some     []string   `json:"some,omitempty"`     // of them the first few
	Groups   []Fact     `json:"groups,omitempty"`   // the P groups of those, of each the line of its first allele here
	Antigens []Fact     `json:"antigens,omitempty"` // and what they make
	Epitopes []Fact     `json:"epitopes,omitempty"` // and their T-cell epitope groups, at DPB1
}

// LocusWhy is why a locus counts as it does.
type LocusWhy struct {
	LocusResult
	Patients [][2]CopyFacts `json:"patients,omitempty"` // one pair, or several where the laboratory could not tell which it is
	Donors   [][2]CopyFacts `json:"donors,omitempty"`
	Steps    []Sentence     `json:"steps"` // what was found, in the order in which it is decided
}

// Explanation is why a donor fits a patient, or does not.
type Explanation struct {
	Release  string     `json:"release,omitempty"` // of the nomenclature that decided, such as "3.33.0"
	Policy   Policy     `json:"policy"`
	Accepted bool       `json:"accepted"`
	Reason   Sentence   `json:"reason"`
	Count    Count      `json:"count"` // over the policy's loci
	Loci     []LocusWhy `json:"loci"`
}

// someAlleles is how many alleles of a copy are told by name: one of a first field may be a thousand.
const someAlleles = 6

// Why says of any patient and any donor whether a policy accepts the donor, and how that came about, down to the lines of the release. The policy's
// loci are explained, whichever the rules have.
func (r Rules) Why(patient, donor *hla.Reading, policy Policy) Explanation {
	r.Loci = policy.Loci
	result := r.Compare(patient, donor)
	out := Explanation{Policy: policy, Accepted: Accepts(policy, result), Count: result.at(policy.Loci)}
	if r.Release != nil {
		out.Release = r.Release.Version()
	}
	out.Reason = reason(policy, result, out.Accepted)
	for i, locus := range policy.Loci {
		out.Loci = append(out.Loci, r.why(result.Loci[i], patient.At(locus), donor.At(locus)))
	}
	return out
}

// reason says in one sentence what decided.
func reason(policy Policy, result Result, accepted bool) Sentence {
	count, untyped := result.at(policy.Loci), result.untyped(policy.Loci)
	args := map[string]any{"Least": count.Least, "Most": count.Most, "Of": count.Of, "Mismatches": count.Mismatches(), "Limit": policy.Mismatches}
	switch {
	case accepted && len(untyped) > 0:
		args["Loci"] = join(untyped)
		return Sentence{"why.accepted_untyped", args}
	case accepted && int(count.Of-count.Least) > policy.Mismatches:
		return Sentence{"why.accepted_may", args}
	case accepted:
		return Sentence{"why.accepted", args}
	case count.Mismatches() > policy.Mismatches:
		return Sentence{"why.refused_mismatches", args}
	default:
		return Sentence{"why.refused_untyped", map[string]any{"Loci": join(untyped)}}
	}
}

func join[T ~string](parts []T) string {
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = string(p)
	}
	return strings.Join(texts, ", ")
}

// side is one of the two at a locus.
type side struct {
	person string
	at     *hla.LocusReading
	facts  [][2]CopyFacts
}

func (r Rules) why(result LocusResult, patient, donor *hla.LocusReading) LocusWhy {
	out := LocusWhy{LocusResult: result, Patients: r.facts(patient, result.Locus), Donors: r.facts(donor, result.Locus)}
	say := func(code string, args map[string]any) { out.Steps = append(out.Steps, Sentence{code, args}) }
	for _, s := range []side{{"patient", patient, out.Patients}, {"donor", donor, out.Donors}} {
		s.copies(say)
		if s.at == nil || slices.ContainsFunc(s.at.Pairs, func(pair [2]hla.Copy) bool { return pair[0].Unknown || pair[1].Unknown }) {
			say("why.untyped", map[string]any{"Person": s.person})
		} else if result.Typed {
			s.nulls(say)
		}
	}
	if !result.Typed {
		return out
	}
	if result.Crossed {
		say("why.crossed", nil)
	} else {
		say("why.direct", nil)
	}
	for _, p := range result.Positions {
		args := map[string]any{
			"Patient": cmp.Or(p.Patient, "–"), "Donor": cmp.Or(p.Donor, "–"), "Grade": string(p.Grade), "Letter": p.Letter,
			"Groups": groupsOf(out.Patients, p.Patient), "Others": groupsOf(out.Donors, p.Donor),
		}
		switch p.Grade {
		case Allele, PGroup, Potential:
			say("why.position", args)
		default:
			args["Antigen"] = string(p.Antigen)
			say("why.position_mismatch", args)
		}
	}
	say("why.directions", map[string]any{"GvH": between(result.GvH), "HvG": between(result.HvG)})
	if result.Epitopes != "" {
		say("why.epitopes", map[string]any{"Epitopes": string(result.Epitopes)})
	}
	say("why.locus", map[string]any{"Count": between(result.Range)})
	return out
}

// between writes a range: "1", or "0-2" while it is open.
func between(r Range) string {
	if r.Least == r.Most {
		return strconv.Itoa(int(r.Least))
	}
	return fmt.Sprintf("%d-%d", r.Least, r.Most)
}

// copies says what each copy may be.
func (s side) copies(say func(string, map[string]any)) {
	for _, pair := range s.facts {
		for i, c := range pair {
			if c.Alleles == 0 {
				continue
			}
			args := map[string]any{"Person": s.person, "PersonCopy": i + 1, "Text": c.Text, "Alleles": strings.Join(c.Some, ", ")}
			switch {
			case c.Open:
				say("why.copy_open", args)
			case c.Alleles == 1:
				say("why.copy_one", args)
			default:
				if c.Alleles > len(c.Some) {
					args["Alleles"] = strings.Join(append(slices.Clone(c.Some), "…"), ", ")
				}
				args["Count"] = c.Alleles
				say("why.copy", args)
			}
			if len(c.Antigens) > 0 {
				say("why.copy_antigens", map[string]any{"Person": s.person, "PersonCopy": i + 1, "Antigens": few(c.Antigens)})
			}
			if len(c.Epitopes) > 0 {
				say("why.copy_epitopes", map[string]any{"Person": s.person, "PersonCopy": i + 1, "Groups": few(c.Epitopes)})
			}
		}
	}
}

// nulls says where a copy that makes no protein counts as the one beside it.
func (s side) nulls(say func(string, map[string]any)) {
	expressed := func(c hla.Copy) bool {
		return slices.ContainsFunc(c.Alleles, func(a hla.Allele) bool { return !a.Null() })
	}
	for _, pair := range s.at.Pairs {
		if !expressed(pair[0]) && !expressed(pair[1]) {
			say("why.null_alone", map[string]any{"Person": s.person})
			continue
		}
		for i, c := range pair {
			args := map[string]any{"Person": s.person, "PersonCopy": i + 1, "Beside": pair[1-i].Text}
			null := slices.IndexFunc(c.Alleles, hla.Allele.Null)
			switch {
			case !expressed(pair[1-i]):
			case len(c.Alleles) == 0:
				say("why.absent", args)
			case null >= 0:
				args["Allele"] = c.Alleles[null].String()
				if expressed(c) {
					say("why.null_may", args)
				} else {
					say("why.null", args)
				}
			}
		}
	}
}

// groupsOf names the P groups of a copy that was written so.
func groupsOf(pairs [][2]CopyFacts, text string) string {
	for _, pair := range pairs {
		for _, c := range pair {
			if c.Text == text && len(c.Groups) > 0 {
				return few(c.Groups)
			}
		}
	}
	return "–"
}

// few writes the names of facts, with a line each and an ellipsis where there are more than a reader wants.
func few(facts []Fact) string {
	var out []string
	for i, f := range facts {
		if i == someAlleles {
			out = append(out, "…")
			break
		}
		if f.Source != "" {
			f.Name += " (" + f.Source + ")"
		}
		out = append(out, f.Name)
	}
	return strings.Join(out, ", ")
}

// groups are the P groups of alleles, each once. What makes no protein has none, and stands by its name.
func (r Rules) groups(alleles []hla.Allele) []Fact {
	return distinct(alleles, func(a hla.Allele) Fact {
		if r.Release == nil {
			return Fact{Name: a.String()}
		}
		name, source := r.Release.GroupName(a)
		return Fact{name, source}
	})
}

// distinct gives the facts of alleles, each name once, with what its first allele says.
func distinct(alleles []hla.Allele, of func(hla.Allele) Fact) []Fact {
	var out []Fact
	seen := map[string]bool{}
	for _, a := range alleles {
		if f := of(a); f.Name != "" && !seen[f.Name] {
			seen[f.Name] = true
			out = append(out, f)
		}
	}
	return out
}

// facts tells what the copies of a locus are.
func (r Rules) facts(at *hla.LocusReading, locus hla.Locus) [][2]CopyFacts {
	if at == nil {
		return nil
	}
	var out [][2]CopyFacts
	for _, pair := range at.Pairs {
		var facts [2]CopyFacts
		for i, c := range pair {
			f := CopyFacts{Text: c.Text, Forms: c.Forms, Alleles: len(c.Alleles), Groups: r.groups(c.Alleles)}
			for _, a := range c.Alleles[:min(len(c.Alleles), someAlleles)] {
				f.Some = append(f.Some, a.String())
				f.Open = f.Open || !a.Whole()
			}
			if r.Release != nil {
				f.Antigens = distinct(c.Alleles, r.antigen)
				if locus == hla.DPB1 {
					f.Epitopes = distinct(c.Alleles, r.epitope)
				}
			}
			facts[i] = f
		}
		out = append(out, facts)
	}
	return out
}

// antigen is what an allele makes, as the release writes it: "62", "9/24?" where it is not certain, nothing where it does not say.
func (r Rules) antigen(a hla.Allele) Fact {
	serum := r.Release.Serum(a)
	name := strings.Join(serum.Antigens, "/")
	if name != "" && !serum.Certain {
		name += "?"
	}
	return Fact{name, r.Release.SerumSource(a)}
}

func (r Rules) epitope(a hla.Allele) Fact {
	group := r.Release.Epitope(a)
	if group == 0 {
		return Fact{}
	}
	return Fact{strconv.Itoa(group), r.Release.EpitopeSource(a)}
}
