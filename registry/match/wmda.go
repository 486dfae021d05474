package match

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/liferelay/liferelay/registry/hla"
)

// The files of the WMDA's third set for the validation of matching (Bochtler 2016, HLA 87:439-48): people, one a line, and how likely every
// patient and every donor match.

// Person is somebody of a validation set: an id, a typing, and what the typing can be.
type Person struct {
	ID        string
	Typing    *hla.Reading
	Genotypes *Genotypes
}

// PersonError says which person of a file cannot be read, and why. A typing is personal data: the cause says where and what, not which.
type PersonError struct {
	Line  int // from 1
	ID    string
	Cause error
}

func (e *PersonError) Error() string { return fmt.Sprintf("line %d, %s: %v", e.Line, e.ID, e.Cause) }

func (e *PersonError) Unwrap() error { return e.Cause }

// ReadPeople reads people, one a line: an id, % and a GL string. Somebody who cannot be read is an error, after which the reading
// goes on, a *PersonError; an error of the reader ends it. Empty lines are left out.
func ReadPeople(from io.Reader, by hla.Reader) iter.Seq2[Person, error] {
	return func(yield func(Person, error) bool) {
		lines := bufio.NewScanner(from)
		lines.Buffer(make([]byte, 0, 1<<16), 1<<22)
		n := 0
		for lines.Scan() {
			n++
			text := strings.TrimSpace(lines.Text())
			if text == "" {
				continue
			}
			id, gl, found := strings.Cut(text, "%")
			p := Person{ID: strings.TrimSpace(id)}
			var err error
			if !found || p.ID == "" {
				err = &PersonError{n, p.ID, fmt.Errorf("is not an id, %% and a GL string")}
			} else if p.Typing, err = by.Read(gl); err != nil {
				err = &PersonError{n, p.ID, err}
			}
			if !yield(p, err) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Person{}, fmt.Errorf("match: line %d: %w", n+1, err))
		}
	}
}

// ExplainAll finds what everybody can be, on all cores.
func (f *Frequencies) ExplainAll(people []Person, release *hla.Release) {
	each(len(people), func(i int) { people[i].Genotypes = f.Explain(f.Phenotype(people[i].Typing, release)) })
}

// each does something for every number below n, on all cores.
func each(n int, do func(int)) {
	var workers sync.WaitGroup
	next := make(chan int)
	for range min(n, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

// wmdaLoci are the columns of the consensus file.
const wmdaColumns = 5

var wmdaLoci = [wmdaColumns]hla.Locus{hla.A, hla.C, hla.B, hla.DRB1, hla.DQB1}

// WriteConsensus writes how likely every patient and every donor match, as the validation set's consensus file has it:
//
//	patient;donor;mgA;pA;mgC;pC;mgB;pB;mgDRB1;pDRB1;mgDQB1;pDQB1;p9of10;p10of10
//
// One line for each pair, the patients and for each of them the donors in their order. mg is A where both copies match for certain, P where they can and M
// where they cannot, judged before rounding; p is how likely they do, in whole percents, half up. Where the set does not explain one of the
// two the letters are judged by the names alone, and the chances are left empty.
func (f *Frequencies) WriteConsensus(ctx context.Context, to io.Writer, patients, donors []Person) error {
	var places [wmdaColumns]int
	for i, locus := range wmdaLoci {
		if places[i] = slices.Index(f.loci, locus); places[i] < 0 {
			return fmt.Errorf("match: the frequencies lack %s", locus)
		}
	}
	parts := make([]chan []byte, len(patients))
	for i := range parts {
		parts[i] = make(chan []byte, 1)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A few patients ahead of what is written, so that what waits stays small.
	ahead := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	go func() {
		each(len(patients), func(i int) {
			select {
			case ahead <- struct{}{}:
				parts[i] <- f.consensusOf(ctx, &patients[i], donors, places)
			case <-ctx.Done():
				parts[i] <- nil
			}
		})
	}()
	for i := range parts {
		part := <-parts[i]
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := to.Write(part); err != nil {
			return err
		}
		<-ahead
	}
	return nil
}

func (f *Frequencies) consensusOf(ctx context.Context, patient *Person, donors []Person, places [wmdaColumns]int) []byte {
	var out bytes.Buffer
	out.Grow(len(donors) * 48)
	line := make([]byte, 0, 128)
	var chances Chances
	var against *Comparison
	if patient.Genotypes.Explained() {
		against = patient.Genotypes.Against()
	}
	for i := range donors {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil
		}
		donor := &donors[i]
		line = append(append(append(append(line[:0], patient.ID...), ';'), donor.ID...), ';')
		if against == nil || !donor.Genotypes.Explained() {
			for _, locus := range wmdaLoci {
				line = append(line, f.letter(patient, donor, locus), ';', ';')
			}
			line = append(line, ';', '\n')
			out.Write(line)
			continue
		}
		against.With(donor.Genotypes, &chances)
		for _, l := range places {
			line = append(append(line, grade(chances.Locus[l]), ';'), strconv.Itoa(percent(chances.Locus[l]))...)
			line = append(line, ';')
		}
		line = strconv.AppendInt(line, int64(percent(chances.Nine)), 10)
		line = strconv.AppendInt(append(line, ';'), int64(percent(chances.Ten)), 10)
		out.Write(append(line, '\n'))
	}
	return out.Bytes()
}

// letter judges a locus by the names of alleles alone.
func (f *Frequencies) letter(patient, donor *Person, locus hla.Locus) byte {
	one, other := patient.Typing.At(locus), donor.Typing.At(locus)
	u := newUnits()
	same := func(a hla.Allele) hla.Allele { return a.TwoField() }
	a, b := unitsOf(f.spelled(one), same, &u), unitsOf(f.spelled(other), same, &u)
	switch {
	case len(a) == 0 || len(b) == 0: // not typed: it may be any
		return 'P'
	case a.least(b) == 2:
		return 'A'
	case a.most(b) == 2:
		return 'P'
	default:
		return 'M'
	}
}

// spelled puts the set's alleles in the place of first fields that stand for all that begin with them.
func (f *Frequencies) spelled(at *hla.LocusReading) *hla.LocusReading {
	if at == nil {
		return nil
	}
	out := &hla.LocusReading{Text: at.Text}
	for _, pair := range at.Pairs {
		for i := range pair {
			var alleles []hla.Allele
			for _, a := range pair[i].Alleles {
				if a.Whole() {
					alleles = append(alleles, a)
					continue
				}
				l := slices.Index(f.loci, a.Locus())
				if l < 0 {
					continue
				}
				for _, n := range f.places[l].byFirst[a.Fields()[0]] {
					if known, err := hla.ParseAllele(string(a.Locus()) + "*" + f.places[l].names[n]); err == nil {
						alleles = append(alleles, known)
					}
				}
			}
			pair[i].Alleles = alleles
		}
		out.Pairs = append(out.Pairs, pair)
	}
	return out
}
