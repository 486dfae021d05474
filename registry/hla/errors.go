package hla

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Reason is the stable code of a refusal, the key under which a screen finds its own wording.
type Reason string

const (
	ReasonEmpty     Reason = "empty"      // nothing stands where an allele was expected
	ReasonMalformed Reason = "malformed"  // not the form of any name known here
	ReasonLocus     Reason = "locus"      // a locus the register does not keep: "F*01:01"
	ReasonOneField  Reason = "one-field"  // "A*02"
	ReasonXX        Reason = "xx"         // every allele of a first field: "A*02:XX"
	ReasonGroup     Reason = "group"      // a G, g or P group: "A*24:02:01G", "A*24:02P"
	ReasonMAC       Reason = "mac"        // a multiple-allele code: "A*02:AB"
	ReasonSerology  Reason = "serology"   // an antigen: "A2", "DR17"
	ReasonNoAllele  Reason = "no-allele"  // WMDA's UUUU, XXXX, NNNN and NEW: "A*UUUU"
	ReasonAmbiguous Reason = "ambiguous"  // one of the operators / | ~ ?
	ReasonCopies    Reason = "copies"     // a third allele at a locus
	ReasonSingle    Reason = "single"     // one allele at a locus where two are needed
	ReasonMixed     Reason = "mixed-loci" // two loci joined by +
	ReasonDuplicate Reason = "duplicate"  // a locus given twice
	ReasonCode      Reason = "code"       // not the three parts of a GL String Code
	ReasonVersion   Reason = "version"    // neither a release nor a date
	ReasonUnknown   Reason = "unknown"    // not in the release
	ReasonRelease   Reason = "release"    // cannot be read without a release or a table of codes
)

// Error is a refusal to read a text. A typing is personal data of the class hla: Error() names the place and the
// reason only, and Read and Meant are for showing to the person who typed it, never for a log.
type Error struct {
	Reason   Reason `json:"reason"`
	Locus    Locus  `json:"locus,omitempty"` // empty when none could be told
	Position int    `json:"position"`        // where Read begins, in characters from 1; one past the end when nothing follows
	Text     string `json:"text"`            // what is wrong and how to mend it; depends on the reason, never on the typing
	Read     string `json:"-"`               // the offending part, as it was typed
	// Meant is a name that the same Reader reads and that was probably meant in the place of Read; empty when nothing is probable. Like Read
	// it is for the person who typed.
	Meant string `json:"-"`

	lacking bool // the release has it not; another may
}

func (e *Error) Error() string {
	if e.Locus == "" {
		return fmt.Sprintf("hla: the text at character %d %s", e.Position, e.Text)
	}
	return fmt.Sprintf("hla: the text at character %d, locus %s, %s", e.Position, e.Locus, e.Text)
}

// GoString keeps Read out of %#v.
func (e *Error) GoString() string { return e.Error() }

type refusal struct {
	reason Reason
	text   string
}

const takes = "this register takes alleles of two or more fields"

var (
	nothing    = refusal{ReasonEmpty, "is missing; write an allele such as A*02:01"}
	malformed  = refusal{ReasonMalformed, "is not an allele name; write one such as A*02:01 or A*01:01:01:02N"}
	otherLocus = refusal{ReasonLocus, "is at a locus this register does not keep; it keeps A, C, B, DRB1, DRB3, DRB4, DRB5, DQA1, DQB1, DPA1, DPB1, E"}
	oneField   = refusal{ReasonOneField, "has one field; " + takes}
	xxCode     = refusal{ReasonXX, "is an XX code, any allele of its first field; " + takes}
	gGroup     = refusal{ReasonGroup, "is a G group; " + takes}
	pGroup     = refusal{ReasonGroup, "is a P group; " + takes}
	macCode    = refusal{ReasonMAC, "is a multiple-allele code; " + takes}
	antigen    = refusal{ReasonSerology, "is a serological antigen; " + takes}
	noAllele   = refusal{ReasonNoAllele, "is a code for a copy without a named allele; leave the locus out"}
	ambiguous  = refusal{ReasonAmbiguous, "joins alternatives or a haplotype; this register takes one allele for each copy, joined by +, and loci joined by ^"}
	thirdCopy  = refusal{ReasonCopies, "is a third copy; write at most two alleles for a locus"}
	single     = refusal{ReasonSingle, "stands alone; write both copies joined by +, the same allele twice for a homozygous locus"}
	mixedLoci  = refusal{ReasonMixed, "is at another locus than the copy before it; join loci by ^"}
	duplicate  = refusal{ReasonDuplicate, "is at a locus given before; write each locus once"}
	notCode    = refusal{ReasonCode, "is not a GL String Code; write hla, the release and the typing with # between them"}
	notVersion = refusal{ReasonVersion, "is neither a release such as 3.52.0 nor a date such as 2024-10-15"}
)

// span is a part of a text; it remembers where it stands so that a refusal can say so.
type span struct {
	whole    string
	from, to int // bytes
}

func whole(text string) span { return span{text, 0, len(text)} }

func (s span) text() string { return s.whole[s.from:s.to] }

func (s span) sub(from, to int) span { return span{s.whole, s.from + from, s.from + to} }

func (s span) trim() span {
	whole := s.text()
	rest := strings.TrimLeftFunc(whole, unicode.IsSpace)
	if rest == "" {
		return s.sub(0, 0)
	}
	begin := len(whole) - len(rest)
	return s.sub(begin, begin+len(strings.TrimRightFunc(rest, unicode.IsSpace)))
}

// cut returns what stands before the first of the operators, the operator itself, and what follows it. Without an
// operator the second and third are empty.
func (s span) cut(operators string) (before, operator, after span) {
	i := strings.IndexAny(s.text(), operators)
	if i < 0 {
		end := s.to - s.from
		return s, s.sub(end, end), s.sub(end, end)
	}
	return s.sub(0, i), s.sub(i, i+1), s.sub(i+1, s.to-s.from)
}

func (s span) refuse(r refusal, locus Locus) *Error {
	return &Error{
		Reason:   r.reason,
		Locus:    locus,
		Position: utf8.RuneCountInString(s.whole[:s.from]) + 1,
		Text:     r.text,
		Read:     s.text(),
		lacking:  r.reason == ReasonUnknown,
	}
}
