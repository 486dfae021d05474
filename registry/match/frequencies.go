package match

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/liferelay/liferelay/registry/hla"
)

// Frequencies says how often each haplotype is found in a population. Alleles and their pairs are numbered by locus, so
// that people can be compared by numbers.
type Frequencies struct {
	loci       []hla.Locus // of every haplotype, in the order of hla.Loci
	places     []*place    // beside loci
	haplotypes []haplotype // by falling frequency
	indexing   sync.Once
	indexed    *frequencyIndex
	copies     copyNumbers
	has        [][]bool // beside places: their alleles that the set's haplotypes have; nil where that is all
}

// place is what a set knows of one locus.
type place struct {
	locus    hla.Locus
	names    []string
	byName   map[string]uint16
	byAllele map[hla.Allele]uint16
	byFirst  map[string][]uint16 // alleles of a first field, such as "02"
	null     []bool              // alleles that make no protein
	genotype [][]uint16          // the number of an unordered pair after the rule for nulls, by its alleles
	pairs    [][2]uint16

	mu      sync.Mutex
	release *hla.Release            // that units are of
	units   map[hla.Allele][]uint16 // alleles by their P group
}

type haplotype struct {
	alleles   [maxLoci]uint16 // by the set's loci
	frequency float64
}

// What a set may have: loci of a haplotype, and alleles of a locus, so that every pair of them has a number of 16 bits.
const (
	maxLoci    = 8
	maxAlleles = 361
)

// FrequencyError says which line of a file of frequencies cannot be read, and why.
type FrequencyError struct {
	Line int    // from 1
	Read string // the line, or what of it is wrong
	Text string // which rule it breaks and how to mend it
}

func (e *FrequencyError) Error() string {
	return fmt.Sprintf("match: frequencies: line %d: %q %s", e.Line, e.Read, e.Text)
}

// ReadFrequencies reads haplotypes and their frequencies, one a line: "A*01:01g~B*08:01g;0.06" as the WMDA validation sets have
// them, or the CSV of HFX, "Haplo,Count,Freq" with a heading. A g or G at the end of a name, which says that the allele stands for all that
// share its antigen recognition domain, is dropped. A haplotype that is given twice counts with both. Every haplotype has the
// same loci.
//
// Errors: *FrequencyError for a line; an error of the reader.
func ReadFrequencies(from io.Reader) (*Frequencies, error) {
	f := &Frequencies{}
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 1<<16), 1<<20)
	known := map[[maxLoci]uint16]int{}
	n := 0
	for lines.Scan() {
		n++
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		names, frequency, ok := splitFrequency(text)
		if !ok {
			if len(f.haplotypes) == 0 && strings.HasPrefix(strings.ToLower(text), "haplo") {
				continue // the heading
			}
			return nil, &FrequencyError{n, text, "is not a haplotype and its frequency; write A*01:01~B*08:01;0.06 or Haplo,Count,Freq"}
		}
		h, err := f.read(names, n)
		if err != nil {
			return nil, err
		}
		if frequency == 0 {
			continue
		}
		if at, again := known[h.alleles]; again {
			f.haplotypes[at].frequency += frequency
			continue
		}
		h.frequency = frequency
		known[h.alleles] = len(f.haplotypes)
		f.haplotypes = append(f.haplotypes, h)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("match: frequencies: line %d: %w", n+1, err)
	}
	if len(f.haplotypes) == 0 {
		return nil, errors.New("match: frequencies: there is no haplotype in the file")
	}
	slices.SortStableFunc(f.haplotypes, func(a, b haplotype) int {
		switch {
		case a.frequency > b.frequency:
			return -1
		case a.frequency < b.frequency:
			return 1
		}
		return 0
	})
	for i := range f.places {
		f.places[i].number()
	}
	return f, nil
}

func splitFrequency(text string) (names string, frequency float64, ok bool) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == ',' || r == '\t' })
	if len(fields) != 2 && len(fields) != 3 {
		return "", 0, false
	}
	frequency, err := strconv.ParseFloat(strings.TrimSpace(fields[len(fields)-1]), 64)
	return fields[0], frequency, err == nil && frequency >= 0 && frequency <= 1 && !math.IsNaN(frequency)
}

// read numbers the alleles of a haplotype.
func (f *Frequencies) read(names string, line int) (haplotype, error) {
	var h haplotype
	parts := slices.DeleteFunc(strings.Split(names, "~"), besideDRB1)
	if len(parts) > maxLoci {
		return h, &FrequencyError{line, names, fmt.Sprintf("has more than %d loci", maxLoci)}
	}
	first := f.loci == nil
	if !first && len(parts) != len(f.loci) {
		return h, &FrequencyError{line, names, "does not have the loci of the haplotypes before it"}
	}
	for i, name := range parts {
		name = strings.TrimPrefix(strings.TrimSpace(name), "HLA-")
		gene, number, star := strings.Cut(name, "*")
		locus := hla.Locus(gene)
		if !star || !locus.Valid() || number == "" {
			return h, &FrequencyError{line, name, "is not an allele of a locus that is kept; write A*01:01"}
		}
		if first {
			if slices.Contains(f.loci, locus) {
				return h, &FrequencyError{line, name, "is at a locus that the haplotype has already"}
			}
			f.loci = append(f.loci, locus)
			f.places = append(f.places, newPlace(locus))
		} else if f.loci[i] != locus {
			return h, &FrequencyError{line, name, "is not at the locus that the haplotypes before it have there"}
		}
		h.alleles[i] = f.places[i].allele(strings.TrimRight(number, "gG"))
		if h.alleles[i] >= maxAlleles {
			return h, &FrequencyError{line, name, fmt.Sprintf("is one allele more than the %d that a locus may have; count rare ones by their P group", maxAlleles)}
		}
	}
	return h, nil
}

// besideDRB1 tells whether a name is of the gene beside DRB1 that a haplotype has one of or none: DRB3, DRB4, DRB5, or DRBX for
// none. It goes with DRB1 so closely that it says nothing more, and is left out.
func besideDRB1(name string) bool {
	gene, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(name), "HLA-"), "*")
	return slices.Contains([]string{"DRB3", "DRB4", "DRB5", "DRBX"}, gene)
}

func newPlace(locus hla.Locus) *place {
	return &place{locus: locus, byName: map[string]uint16{}, byAllele: map[hla.Allele]uint16{}, byFirst: map[string][]uint16{}}
}

func (p *place) allele(name string) uint16 {
	n, known := p.byName[name]
	if !known {
		n = uint16(len(p.names))
		p.byName[name] = n
		p.names = append(p.names, name)
		p.null = append(p.null, strings.HasSuffix(name, "N") || name == "NNNN")
		first, _, _ := strings.Cut(name, ":")
		p.byFirst[first] = append(p.byFirst[first], n)
		if a, err := hla.ParseAllele(string(p.locus) + "*" + name); err == nil && a == a.TwoField() {
			p.byAllele[a] = n
		}
	}
	return n
}

// number gives every unordered pair of alleles a number; pairs that differ only by what makes no protein have the same.
func (p *place) number() {
	n := len(p.names)
	p.genotype = make([][]uint16, n)
	for i := range p.genotype {
		p.genotype[i] = make([]uint16, n)
	}
	numbers := map[[2]uint16]uint16{}
	for i := range n {
		for j := range i + 1 {
			a, b := uint16(i), uint16(j)
			switch {
			case p.null[a] && !p.null[b]:
				a = b
			case p.null[b] && !p.null[a]:
				b = a
			}
			pair := [2]uint16{min(a, b), max(a, b)}
			g, known := numbers[pair]
			if !known {
				g = uint16(len(p.pairs))
				numbers[pair] = g
				p.pairs = append(p.pairs, pair)
			}
			p.genotype[i][j], p.genotype[j][i] = g, g
		}
	}
}

// Loci are those that every haplotype of the set has.
func (f *Frequencies) Loci() []hla.Locus { return slices.Clone(f.loci) }

// Haplotypes is how many there are.
func (f *Frequencies) Haplotypes() int { return len(f.haplotypes) }

// Sum is what the frequencies add up to: 1, less what is too rare to be in the set.
func (f *Frequencies) Sum() float64 {
	var sum float64
	for _, h := range f.haplotypes {
		sum += h.frequency
	}
	return sum
}
