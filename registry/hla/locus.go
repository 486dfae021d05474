// Package hla reads and writes the names of HLA alleles and the typings made of them.
//
// There are two ways to read. ParseTyping checks the form of a name only, and takes alleles of two fields or more: it guarantees that a
// Typing is unambiguous, and that two typings of the same alleles are equal with == however they were written. A Reader takes names of
// every form and says what they leave open, by a release of the nomenclature and a table of codes.
//
// Of both it is guaranteed that what is printed is read back unchanged, and that everything else is refused with an *Error saying where, why
// and how to mend it.
package hla

import "slices"

// Locus is an HLA gene as allele names write it, without the prefix HLA-.
type Locus string

// The loci this register keeps: the eleven of the EMDIS typing request (RESOLUT in TYP_REQ), and E.
const (
	A    Locus = "A"
	C    Locus = "C"
	B    Locus = "B"
	DRB1 Locus = "DRB1"
	DRB3 Locus = "DRB3"
	DRB4 Locus = "DRB4"
	DRB5 Locus = "DRB5"
	DQA1 Locus = "DQA1"
	DQB1 Locus = "DQB1"
	DPA1 Locus = "DPA1"
	DPB1 Locus = "DPB1"
	E    Locus = "E"
)

const lociKept = 12

var loci = [lociKept]Locus{A, C, B, DRB1, DRB3, DRB4, DRB5, DQA1, DQB1, DPA1, DPB1, E}

// Loci returns every locus the register keeps, in the order in which typings are written.
func Loci() []Locus { return slices.Clone(loci[:]) }

// Valid reports whether the register keeps the locus.
func (l Locus) Valid() bool { return l.place() >= 0 }

// place is the locus's index in loci, -1 for a locus not kept.
func (l Locus) place() int { return slices.Index(loci[:], l) }

// oneCopy reports whether a typing may hold a single copy: a haplotype carries at most one of DRB3, DRB4 and DRB5, so
// each of them may be absent from it.
func (l Locus) oneCopy() bool { return l == DRB3 || l == DRB4 || l == DRB5 }
