package match

import (
	"cmp"
	"slices"

	"github.com/liferelay/liferelay/registry/hla"
)

// Rules are what two typings are compared by.
type Rules struct {
	Release *hla.Release // may be nil: then the unit is the allele at two fields, and nothing is known of antigens and epitopes
	Loci    []hla.Locus  // that count, each once
}

// Grade says how one of a patient's copies stands to the donor's copy beside it.
type Grade string

const (
	Allele         Grade = "allele"          // for certain the same allele of two fields
	PGroup         Grade = "p_group"         // for certain of the same P group
	Potential      Grade = "potential"       // they may be of the same P group
	AlleleMismatch Grade = "allele_mismatch" // of different P groups for certain, which make the same antigen
	Mismatch       Grade = "mismatch"        // of different P groups for certain; the antigens differ, or nobody knows
	Untyped        Grade = "untyped"         // the locus is not typed on one side or on both
)

// grades has the letter of each grade in the WMDA's exercises of matching (MV4: A allele match, P potential, L allele mismatch, M mismatch), and
// which pairing of copies is better: the one whose weights add up to more.
var grades = map[Grade]struct {
	letter string
	weight int
}{
	Allele: {"A", 11}, PGroup: {"A", 9}, Potential: {"P", 4}, AlleleMismatch: {"L", 1}, Mismatch: {"M", 0}, Untyped: {"P", 0},
}

// Letter is the grade in the WMDA's exercises: A, P, L or M.
func (g Grade) Letter() string { return grades[g].letter }

// Range is a number that typings leave open: between the least and the most that it may turn out to be.
type Range struct {
	Least uint8 `json:"least"`
	Most  uint8 `json:"most"`
}

// Count is how many copies match, at the least and at the most that the typings may turn out to say, and of how many. It is the one count
// that searches, filters, orders and screens go by.
type Count struct {
	Least uint8 `json:"least"` // for certain
	Most  uint8 `json:"most"`  // a locus that is not typed may match
	Of    uint8 `json:"of"`    // two for each locus
}

// Mismatches is how many copies are mismatched for certain.
func (c Count) Mismatches() int { return int(c.Of - c.Most) }

// Position is one copy of the patient's beside one of the donor's.
type Position struct {
	Grade   Grade        `json:"grade"`
	Letter  string       `json:"letter"`
	Antigen hla.Likeness `json:"antigen"` // unknown where not typed
	Patient string       `json:"patient"` // as it was written, empty where nothing was
	Donor   string       `json:"donor"`
}

// LocusResult is the comparison at one locus.
type LocusResult struct {
	Locus hla.Locus `json:"locus"`
	Typed bool      `json:"typed"` // on both sides
	Range           // copies that match, 0 to 2
	// The patient's first copy stands beside the donor's second.
	Crossed   bool        `json:"crossed"`
	Positions [2]Position `json:"positions"` // in the order of the patient's copies
	GvH       Range       `json:"gvh"`       // copies of the patient's that the donor lacks: what the graft may attack
	HvG       Range       `json:"hvg"`       // copies of the donor's that the patient lacks: what the patient may attack
	Epitopes  Epitopes    `json:"epitopes,omitempty"`
}

// Result is the comparison of a patient with a donor.
type Result struct {
	Loci []LocusResult `json:"loci"` // in the order of the rules
	Count
}

// Compare grades a donor against a patient at the loci of the rules.
//
// Least and Most are over everything that the two typings may be: the best pairing of each pair of pairs counts. A copy that makes no
// protein (a null allele, an absent gene) counts as a second copy of the expressed one beside it (Bochtler 2016, HLA 87:439-48); with nothing
// expressed beside it, it is compared by its name. A locus with a copy of which nothing is known is not typed.
//
// The positions are those of the pairing, direct or crossed, in which most copies may match together; of two as good the one that is more
// certain, or whose mismatches are less; else the direct one. As many of them may match as Most says, and no more are certain than Least says.
func (r Rules) Compare(patient, donor *hla.Reading) Result {
	out := Result{Loci: make([]LocusResult, len(r.Loci))}
	for i, locus := range r.Loci {
		out.Loci[i] = r.face(patient.At(locus), donor.At(locus)).result(locus)
	}
	out.Count = out.at(r.Loci)
	return out
}

// at counts the loci of the result that are wanted. One that was not compared may match.
func (r Result) at(wanted []hla.Locus) Count {
	c := Count{Of: uint8(2 * len(wanted)), Most: uint8(2 * len(wanted))}
	for _, locus := range wanted {
		if l := r.of(locus); l != nil {
			c.Least += l.Least
			c.Most -= 2 - l.Most
		}
	}
	return c
}

// of finds a locus of the result.
func (r Result) of(locus hla.Locus) *LocusResult {
	for i := range r.Loci {
		if r.Loci[i].Locus == locus {
			return &r.Loci[i]
		}
	}
	return nil
}

// facing is a locus of two people side by side, by units and by alleles. The two have the same alternatives in the same order.
type facing struct {
	rules                        Rules
	patient, donor               *hla.LocusReading
	patientUnits, donorUnits     whatever
	patientAlleles, donorAlleles whatever
	alleles                      units // names what the alleles' numbers stand for
	typed                        bool
}

// open tells whether a locus has a first field that stands for all that begin with it.
func open(at *hla.LocusReading) bool {
	for _, pair := range at.Pairs {
		for _, c := range pair {
			if slices.ContainsFunc(c.Alleles, func(a hla.Allele) bool { return !a.Whole() }) {
				return true
			}
		}
	}
	return false
}

func (r Rules) face(patient, donor *hla.LocusReading) *facing {
	f := &facing{rules: r, patient: patient, donor: donor}
	if patient == nil || donor == nil {
		return f
	}
	open := open(patient) || open(donor)
	reduce := func(unit func(hla.Allele) hla.Allele) (units, whatever, whatever) {
		u := newUnits()
		if open {
			u.prime(patient, unit)
			u.prime(donor, unit)
		}
		return u, unitsOf(patient, unit, &u), unitsOf(donor, unit, &u)
	}
	f.alleles, f.patientAlleles, f.donorAlleles = reduce(hla.Allele.TwoField)
	if f.patientUnits, f.donorUnits = f.patientAlleles, f.donorAlleles; r.Release != nil {
		_, f.patientUnits, f.donorUnits = reduce(r.Release.Unit)
	}
	f.typed = len(f.patientUnits) > 0 && len(f.donorUnits) > 0
	return f
}

func (f *facing) result(locus hla.Locus) LocusResult {
	out := LocusResult{Locus: locus, Typed: f.typed, Range: Range{0, 2}, GvH: Range{0, 2}, HvG: Range{0, 2}}
	if locus == hla.DPB1 {
		out.Epitopes = EpitopesUnknown
	}
	if !f.typed {
		for i := range out.Positions {
			out.Positions[i] = Position{Grade: Untyped, Letter: Untyped.Letter(), Antigen: hla.UnknownAntigen, Patient: written(f.patient, 0, i), Donor: written(f.donor, 0, i)}
		}
		return out
	}
	out.Range = Range{f.patientUnits.least(f.donorUnits), f.patientUnits.most(f.donorUnits)}
	out.GvH, out.HvG = f.patientUnits.lackedBy(f.donorUnits), f.donorUnits.lackedBy(f.patientUnits)
	direct, crossed := f.pair(out.Range, false), f.pair(out.Range, true)
	if crossed.better(direct) {
		direct = crossed
	}
	out.Crossed, out.Positions = direct.crossed, direct.positions
	if locus == hla.DPB1 {
		out.Epitopes = f.epitopes()
	}
	return out
}

// written is a copy as it was written.
func written(at *hla.LocusReading, pair, i int) string {
	if at == nil || len(at.Pairs) <= pair {
		return ""
	}
	return at.Pairs[pair][i].Text
}

// pairing is one of the two ways in which copies stand beside each other.
type pairing struct {
	crossed   bool
	matched   int // that may match together
	weight    int
	positions [2]Position
}

func (p pairing) better(q pairing) bool {
	return cmp.Or(cmp.Compare(p.matched, q.matched), cmp.Compare(p.weight, q.weight)) > 0
}

// pair grades the positions of a pairing.
func (f *facing) pair(count Range, crossed bool) pairing {
	p := pairing{crossed: crossed}
	var matched [2]bool
	one, other := 0, 0 // the alternatives in which most copies match
	for i, a := range f.patientUnits {
		for j, b := range f.donorUnits {
			if both := a.beside(b, crossed); i+j == 0 || number(both) > number(matched) {
				matched, one, other = both, i, j
			}
		}
	}
	p.matched = number(matched)
	units, alleles := f.patientUnits.always(f.donorUnits, crossed), f.patientAlleles.always(f.donorAlleles, crossed)
	if count.Least == 2 { // however they turn out, and whichever way they have to stand for it
		units = [2]bool{true, true}
		if f.patientAlleles.least(f.donorAlleles) == 2 {
			alleles = units
		}
	}
	for i := range p.positions {
		j := i
		if crossed {
			j = 1 - i
		}
		at := Position{Antigen: hla.SameAntigen, Patient: written(f.patient, f.patientUnits[one].pair, i), Donor: written(f.donor, f.donorUnits[other].pair, j)}
		if !units[i] {
			at.Antigen = f.antigens(i, j)
		}
		switch {
		case units[i] && alleles[i]:
			at.Grade = Allele
		case units[i]:
			at.Grade = PGroup
		case matched[i]:
			at.Grade = Potential
		case at.Antigen == hla.SameAntigen:
			at.Grade = AlleleMismatch
		default:
			at.Grade = Mismatch
		}
		at.Letter = at.Grade.Letter()
		p.weight += grades[at.Grade].weight
		p.positions[i] = at
	}
	return p
}

func number(both [2]bool) int {
	n := 0
	for _, b := range both {
		if b {
			n++
		}
	}
	return n
}

// antigens compares what a copy of the patient's and one of the donor's make.
func (f *facing) antigens(i, j int) hla.Likeness {
	if f.rules.Release == nil {
		return hla.UnknownAntigen
	}
	return f.rules.Release.Alike(f.named(f.patientAlleles, i), f.named(f.donorAlleles, j))
}

// named lists the alleles that a copy may count as.
func (f *facing) named(w whatever, i int) []hla.Allele {
	var list []uint16
	for _, a := range w {
		list = append(list, a.copy(i).list...)
	}
	out := make([]hla.Allele, 0, len(list))
	for _, n := range newSet(list).list {
		out = append(out, f.alleles.names[n])
	}
	return out
}

// copy is what the first or second copy is.
func (a alternative) copy(i int) set {
	if i == 0 || a.same {
		return a.first
	}
	return a.second
}

// beside tells which of the first one's copies can match those of the other together, when they stand directly or crossed.
func (a alternative) beside(b alternative, crossed bool) (matched [2]bool) {
	first, second := b.copy(0), b.copy(1)
	if crossed {
		first, second = second, first
	}
	matched = [2]bool{a.copy(0).meets(first), a.copy(1).meets(second)}
	if number(matched) < 2 {
		return matched
	}
	together := true
	switch {
	case a.same && !b.same:
		together = a.first.meetsBoth(first, second)
	case b.same && !a.same:
		together = b.first.meetsBoth(a.first, a.second)
	}
	return [2]bool{true, together}
}

// always tells at which positions copies match whatever the two turn out to be.
func (w whatever) always(d whatever, crossed bool) [2]bool {
	always := [2]bool{true, true}
	for _, a := range w {
		for _, b := range d {
			for i := range always {
				j := i
				if crossed {
					j = 1 - i
				}
				x, y := a.copy(i).list, b.copy(j).list
				always[i] = always[i] && len(x) == 1 && len(y) == 1 && x[0] == y[0]
			}
		}
	}
	return always
}

// lackedBy is how many copies of one person the other lacks, at the least and at the most. Both copies of somebody homozygous count
// (Bochtler 2016), and what makes no protein is nothing that anybody could lack.
func (w whatever) lackedBy(d whatever) Range {
	r := Range{2, 0}
	for _, a := range w {
		for _, b := range d {
			r.Least, r.Most = min(r.Least, a.leastLacked(b)), max(r.Most, a.mostLacked(b))
		}
	}
	return r
}

func (a alternative) leastLacked(b alternative) uint8 {
	x, y, u, v := a.copy(0), a.copy(1), b.copy(0), b.copy(1)
	there := x.meets(u) || x.meets(v)
	switch {
	case a.mute:
		return 0
	case a.same:
		if there {
			return 0
		}
		return 2
	}
	also := y.meets(u) || y.meets(v)
	switch {
	case a.most(b) == 2, x.meetsBoth(y, u), x.meetsBoth(y, v):
		return 0
	case there || also:
		return 1
	}
	return 2
}

func (a alternative) mostLacked(b alternative) uint8 {
	worst := uint8(0)
	if a.mute {
		return worst
	}
	a.each(func(x, y uint16) bool {
		b.each(func(u, v uint16) bool {
			lacked := uint8(0)
			for _, n := range [2]uint16{x, y} {
				if n != u && n != v {
					lacked++
				}
			}
			worst = max(worst, lacked)
			return worst < 2
		})
		return worst < 2
	})
	return worst
}
