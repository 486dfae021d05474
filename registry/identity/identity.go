// Package identity reads what tells one person from another: identity documents, names, telephone numbers, and the regions
// of the country.
//
// It guarantees that a value it hands out is in one normal form, so that the same document, name or number typed in two
// ways is found as one; that a Document never prints its number, whatever prints it; and that no error repeats what was
// typed. It is pure: the region table and the list of ethnic groups are inside the binary, and today's date is the
// caller's.
package identity

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Reason says why a value is refused. It is a stable code: callers map it to a message and a way to mend it.
type Reason string

// The reasons. None tells more than which rule was broken.
const (
	ReasonEmpty       Reason = "empty"        // nothing but spaces
	ReasonLength      Reason = "length"       // too many or too few characters
	ReasonCharacters  Reason = "characters"   // characters that do not belong here
	ReasonRegion      Reason = "region"       // a region code that never existed, or does not belong to this kind of document
	ReasonBirthDate   Reason = "birth_date"   // the date of birth inside the number is no date
	ReasonChecksum    Reason = "checksum"     // the check character does not fit
	ReasonUnknownKind Reason = "unknown_kind" // not a kind of document, or none that could be recognised
	ReasonExtension   Reason = "extension"    // a telephone number with an extension
	ReasonPrefix      Reason = "prefix"       // no telephone number begins like this
	ReasonUnknown     Reason = "unknown"      // not in the list
)

var advice = map[Reason]string{
	ReasonEmpty:      "it is empty",
	ReasonLength:     "it has too many or too few characters: compare it with the original",
	ReasonCharacters: "it has characters that do not belong there: type it again",
	ReasonRegion:     "its region is not one that such a document can have: compare the first six digits with the original",
	ReasonBirthDate:  "the date of birth in it does not exist: compare the digits after the first six with the original",
	// The character that would fit is not told: the slip is more likely in another digit, and telling it would make a
	// number that passes out of any that does not.
	ReasonChecksum:    "its check character does not fit the rest: compare every digit with the original",
	ReasonUnknownKind: "the kind of document is not known: choose one",
	ReasonExtension:   "an extension cannot be called directly: enter a mobile number, or put the extension in the remarks",
	ReasonPrefix:      "no number begins like this: give the area code, or + and the country code",
	ReasonUnknown:     "it is not in the list: choose one from the list",
}

// DocumentError says why a document number is refused. It never holds the number. Kind is empty when it could not be told.
type DocumentError struct {
	Kind   DocumentKind
	Reason Reason
}

func (e *DocumentError) Error() string {
	if e.Kind == "" {
		return "identity: document: " + advice[e.Reason]
	}
	return fmt.Sprintf("identity: document %s: %s", e.Kind, advice[e.Reason])
}

// Field names what an InputError is about.
type Field string

// The fields that this package reads besides documents.
const (
	FieldName           Field = "name"
	FieldPhone          Field = "phone"
	FieldRegion         Field = "region"
	FieldEthnicity      Field = "ethnicity"
	FieldDonationNumber Field = "donation_number"
)

// InputError says why a name, number or code is refused. It never holds what was typed.
type InputError struct {
	Field  Field
	Reason Reason
}

func (e *InputError) Error() string {
	return fmt.Sprintf("identity: %s: %s", e.Field, advice[e.Reason])
}

// maxInput bounds the work on a value: nothing that is read here is nearly as long.
const maxInput = 512

// code brings a typed code to its normal form: full-width to half-width (NFKC), without spaces, invisible characters
// and hyphens of any kind, in capitals, and without the apostrophe that keeps a spreadsheet from reading a number.
func code(raw string) string {
	if !ascii(raw) {
		raw = norm.NFKC.String(raw)
	}
	raw = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || invisible(r) || unicode.Is(unicode.Pd, r) || r == '−' {
			return -1
		}
		return unicode.ToUpper(r)
	}, raw)
	return strings.TrimLeft(raw, "'’‘`")
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// invisible says that a character has no width and no part in a code or a name: copied text brings them along.
func invisible(r rune) bool {
	switch {
	case r == 0xAD, r == 0xFEFF, r == 0x061C, r == 0x034F, r == 0x180E:
		return true
	case r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0: // Hangul fillers, which count as letters
		return true
	case 0x200B <= r && r <= 0x200F, 0x2060 <= r && r <= 0x2064: // zero width, joiners, direction marks
		return true
	case 0x202A <= r && r <= 0x202E, 0x2066 <= r && r <= 0x2069: // direction embeddings and isolates
		return true
	case 0xFE00 <= r && r <= 0xFE0F, 0xE0100 <= r && r <= 0xE01EF: // variation selectors
		return true
	}
	return false
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
