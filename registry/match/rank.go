package match

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/liferelay/liferelay/registry/hla"
)

// Chance is how likely a donor matches all copies and all but one. Of five loci these are 10/10 and 9/10.
type Chance struct {
	Known bool    `json:"known"` // false where the frequencies do not explain one of the two
	Ten   float32 `json:"ten"`
	Nine  float32 `json:"nine"`
}

// Scored is all that donors are put in order by.
type Scored struct {
	ID     [16]byte // no two donors share it
	Count  Count
	Chance Chance
	Traits Traits
}

// Criterion is one thing by which donors are put in order. Which way is better belongs to it.
type Criterion string

// The criteria. What is unknown of a donor comes last, and where it takes something of the patient's that is unknown all donors are equal.
const (
	ByMismatches Criterion = "mismatches" // fewer mismatches for certain
	ByLeast      Criterion = "least"      // more copies that match for certain
	ByTen        Criterion = "chance10"   // likelier to match all copies
	ByNine       Criterion = "chance9"    // likelier to match all or all but one
	ByAge        Criterion = "age"        // younger
	BySex        Criterion = "sex"        // men first: no pregnancies
	BySameSex    Criterion = "same_sex"   // of the patient's sex
	ByABO        Criterion = "blood"      // ABO identical, minor, major, both (CompareABO)
	ByCMV        Criterion = "cmv"        // of the patient's sign: a seronegative donor for a seronegative patient
	ByWeight     Criterion = "weight"     // not lighter than the patient, else the heavier
	ByContact    Criterion = "contact"    // in contact more recently
)

// Ranking is an order of donors: the first criterion in which two differ decides, and in the end their ids do.
type Ranking []Criterion

// DefaultRanking is the order where nobody asks for another. The match comes first: what is certain, then what is likely, then what is
// certain to be there. Of donors who match alike the younger gives the better survival, and nothing else does so in every study (Dehn 2019, Blood
// 134:924-34); the virus, sex, blood group and weight follow because transplant centres ask for them, and contact because a donor who was
// reached lately is reached again.
func DefaultRanking() Ranking {
	return Ranking{ByMismatches, ByTen, ByNine, ByLeast, ByAge, ByCMV, BySex, ByABO, ByWeight, ByContact}
}

// ParseRanking reads an order from the names of its criteria, each at most once.
func ParseRanking(names []string) (Ranking, error) {
	var r Ranking
	for _, name := range names {
		c := Criterion(name)
		switch {
		case criteria[c] == nil:
			return nil, fmt.Errorf("match: %q is nothing that donors are ranked by; write some of %q", name, Criteria())
		case slices.Contains(r, c):
			return nil, fmt.Errorf("match: donors are ranked by %q already; name it once", name)
		}
		r = append(r, c)
	}
	return r, nil
}

// Criteria lists what donors may be ranked by, by name.
func Criteria() []Criterion {
	var all []Criterion
	for c := range criteria {
		all = append(all, c)
	}
	slices.Sort(all)
	return all
}

// criteria compare two donors for a patient: below 0 where the first is better.
var criteria = map[Criterion]func(patient Traits, a, b *Scored) int{
	ByMismatches: func(_ Traits, a, b *Scored) int { return a.Count.Mismatches() - b.Count.Mismatches() },
	ByLeast:      func(_ Traits, a, b *Scored) int { return cmp.Compare(b.Count.Least, a.Count.Least) },
	ByTen:        func(_ Traits, a, b *Scored) int { return cmp.Compare(b.Chance.ten(), a.Chance.ten()) },
	ByNine:       func(_ Traits, a, b *Scored) int { return cmp.Compare(b.Chance.nine(), a.Chance.nine()) },
	ByAge:        func(_ Traits, a, b *Scored) int { return cmp.Compare(b.Traits.BirthYear, a.Traits.BirthYear) },
	BySex:        func(_ Traits, a, b *Scored) int { return order(a, b, sexRank) },
	BySameSex: func(p Traits, a, b *Scored) int {
		return order(a, b, func(t Traits) int { return alike(uint8(p.Sex), uint8(t.Sex)) })
	},
	ByABO: func(p Traits, a, b *Scored) int {
		return order(a, b, func(t Traits) int { return int(CompareABO(p.ABO, t.ABO)) })
	},
	ByCMV: func(p Traits, a, b *Scored) int {
		return order(a, b, func(t Traits) int { return alike(uint8(p.CMV), uint8(t.CMV)) })
	},
	ByWeight: func(p Traits, a, b *Scored) int {
		return order(a, b, func(t Traits) int { return lighter(p.WeightKG, t.WeightKG) })
	},
	ByContact: func(_ Traits, a, b *Scored) int { return cmp.Compare(b.Traits.LastContact, a.Traits.LastContact) },
}

// ten is the chance of all copies; a chance that is not known is below any.
func (c Chance) ten() float32 {
	if !c.Known {
		return -1
	}
	return c.Ten
}

func (c Chance) nine() float32 {
	if !c.Known {
		return -1
	}
	return c.Ten + c.Nine
}

func order(a, b *Scored, rank func(Traits) int) int { return rank(a.Traits) - rank(b.Traits) }

func sexRank(t Traits) int {
	if t.Sex == 0 {
		return 3
	}
	return int(t.Sex)
}

// alike ranks a donor's code beside the patient's: the same, another, unknown.
func alike(patient, donor uint8) int {
	switch {
	case patient == 0, donor == patient:
		return 0
	case donor == 0:
		return 2
	}
	return 1
}

// lighter is by how many kilogrammes a donor is lighter than the patient: what is collected goes by the donor's weight, what is needed by the
// patient's.
func lighter(patient, donor uint8) int {
	switch {
	case patient == 0:
		return 0
	case donor == 0:
		return 256
	}
	return max(0, int(patient)-int(donor))
}

// For gives the comparison of donors for a patient of whom the traits are known: below 0 where the first is better, 0 for one donor only.
func (r Ranking) For(patient Traits) func(a, b *Scored) int {
	var steps []func(Traits, *Scored, *Scored) int
	for _, c := range r {
		if step := criteria[c]; step != nil {
			steps = append(steps, step)
		}
	}
	return func(a, b *Scored) int {
		for _, step := range steps {
			if n := step(patient, a, b); n != 0 {
				return n
			}
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	}
}

// Filter narrows the donors that a search shows. What is zero or empty asks for nothing; of what is unknown of a donor a filter that asks
// for it keeps none.
type Filter struct {
	AgeFrom    int               `json:"age_from,omitempty" validate:"min=0,max=150"` // in years of the calendar
	AgeTo      int               `json:"age_to,omitempty" validate:"min=0,max=150"`
	Sex        Sex               `json:"sex,omitempty"`
	ABO        []ABO             `json:"abo,omitempty" validate:"max=4"`
	Rh         Sign              `json:"rh,omitempty"`
	CMV        Sign              `json:"cmv,omitempty"`
	Provinces  []int             `json:"provinces,omitempty"` // the first two digits of GB/T 2260
	Least      int               `json:"least,omitempty" validate:"min=0,max=24"`
	Mismatches map[hla.Locus]int `json:"mismatches,omitempty" validate:"dive,min=0,max=2"` // for certain, at a locus
	Typed      []hla.Locus       `json:"typed,omitempty" validate:"unique"`                // on both sides
}

// Keeps tells whether a donor's traits pass, in a year of the calendar.
func (f Filter) Keeps(t Traits, year int) bool {
	age := year - int(t.BirthYear)
	switch {
	case (f.AgeFrom > 0 || f.AgeTo > 0) && t.BirthYear == 0,
		f.AgeFrom > 0 && age < f.AgeFrom,
		f.AgeTo > 0 && age > f.AgeTo,
		f.Sex != 0 && t.Sex != f.Sex,
		len(f.ABO) > 0 && !slices.Contains(f.ABO, t.ABO),
		f.Rh != 0 && t.Rh != f.Rh,
		f.CMV != 0 && t.CMV != f.CMV,
		len(f.Provinces) > 0 && !slices.Contains(f.Provinces, int(t.Province)):
		return false
	}
	return true
}

// KeepsResult tells whether a comparison passes: enough copies match for certain, no locus has too many mismatches, and those that are wanted are
// typed. A locus that was not compared is not typed, and mismatched at no copy.
func (f Filter) KeepsResult(r Result) bool {
	if int(r.Least) < f.Least {
		return false
	}
	for locus, limit := range f.Mismatches {
		if l := r.of(locus); l != nil && 2-int(l.Most) > limit {
			return false
		}
	}
	return len(r.untyped(f.Typed)) == 0
}
