package match

import (
	"slices"

	"github.com/liferelay/liferelay/registry/hla"
)

// Letters judges pairs of people copy by copy, by the names of their alleles. It keeps what it has found of a typing, and is for one at a time.
type Letters struct {
	set  *Frequencies
	unit func(hla.Allele) hla.Allele
	at   map[hla.Locus]*lettered
}

type lettered struct {
	fine, coarse units
	first        map[string]hla.Allele // what stands for all alleles of a first field
	known        map[*hla.LocusReading]judged
}

// judged is what a locus may be. Where a first field stands for alleles that nobody has listed, only first fields can be compared.
type judged struct {
	fine, coarse whatever
	open         bool
}

// NewLetters makes one. With a release alleles of a P group are the same; a set says which alleles a first field stands for, where the typing
// was read without a release. Either may be nil.
func NewLetters(set *Frequencies, release *hla.Release) *Letters {
	l := &Letters{set: set, unit: hla.Allele.TwoField, at: map[hla.Locus]*lettered{}}
	if release != nil {
		l.unit = release.Unit
	}
	return l
}

// Of gives a letter for each of the two copies at a locus: A where it matches for certain, P where it can match, M where it cannot, the best
// first; 0 where one of the two is not typed.
func (l *Letters) Of(locus hla.Locus, patient, donor *hla.Reading) (letters [2]byte) {
	one, other := patient.At(locus), donor.At(locus)
	if one == nil || other == nil {
		return letters
	}
	if l.at[locus] == nil {
		l.at[locus] = &lettered{fine: newUnits(), coarse: newUnits(), first: map[string]hla.Allele{}, known: map[*hla.LocusReading]judged{}}
	}
	a, b := l.judge(locus, one), l.judge(locus, other)
	var most, least uint8
	switch {
	case len(a.coarse) == 0 || len(b.coarse) == 0:
		return letters
	case a.open || b.open:
		most = a.coarse.most(b.coarse)
	default:
		most, least = a.fine.most(b.fine), a.fine.least(b.fine)
	}
	for i := range letters {
		switch n := uint8(i); {
		case n < least:
			letters[i] = 'A'
		case n < most:
			letters[i] = 'P'
		default:
			letters[i] = 'M'
		}
	}
	return letters
}

func (l *Letters) judge(locus hla.Locus, at *hla.LocusReading) judged {
	c := l.at[locus]
	j, known := c.known[at]
	if known {
		return j
	}
	listed := at
	if l.set != nil && slices.Contains(l.set.loci, locus) {
		if spelled := l.set.spelled(at); sameCopies(at, spelled) {
			listed = spelled
		}
	}
	if j.open = anyCopy(listed, func(k hla.Copy) bool {
		return slices.ContainsFunc(k.Alleles, func(a hla.Allele) bool { return !a.Whole() })
	}); !j.open {
		j.fine = unitsOf(listed, l.unit, &c.fine)
	}
	j.coarse = unitsOf(at, func(a hla.Allele) hla.Allele {
		first := a.Fields()[0]
		if _, known := c.first[first]; !known {
			c.first[first] = a
		}
		return c.first[first]
	}, &c.coarse)
	c.known[at] = j
	return j
}

func anyCopy(at *hla.LocusReading, is func(hla.Copy) bool) bool {
	return slices.ContainsFunc(at.Pairs, func(pair [2]hla.Copy) bool { return is(pair[0]) || is(pair[1]) })
}

// sameCopies tells whether every copy that had alleles has some still: one without any would count as absent.
func sameCopies(at, spelled *hla.LocusReading) bool {
	for i, pair := range at.Pairs {
		for k, c := range pair {
			if len(c.Alleles) > 0 && len(spelled.Pairs[i][k].Alleles) == 0 {
				return false
			}
		}
	}
	return true
}

// Percent rounds a chance to whole percents, half up as the WMDA's files have it.
func Percent(chance float64) int { return percent(chance) }
