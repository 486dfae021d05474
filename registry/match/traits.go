package match

import (
	"fmt"
	"slices"
)

// Traits are what is known of a donor beside the typing and helps to choose. Ten bytes, because an engine keeps those of millions.
type Traits struct {
	BirthYear   uint16 `json:"birth_year,omitempty"`   // 0 when unknown
	LastContact uint16 `json:"last_contact,omitempty"` // in days since 1970-01-01, 0 when unknown
	Sex         Sex    `json:"sex,omitempty"`
	ABO         ABO    `json:"abo,omitempty"`
	Rh          Sign   `json:"rh,omitempty"`
	CMV         Sign   `json:"cmv,omitempty"`       // antibodies against cytomegalovirus
	WeightKG    uint8  `json:"weight_kg,omitempty"` // 0 when unknown
	Province    uint8  `json:"province,omitempty"`  // the first two digits of GB/T 2260, such as 32; 0 when unknown
}

// Sex is a donor's or a patient's. The zero Sex is unknown, and so are the other zeros here.
type Sex uint8

// ABO is a blood group.
type ABO uint8

// Sign is positive or negative.
type Sign uint8

// The codes, in the order of their words.
const (
	Male   Sex = 1
	Female Sex = 2

	GroupO  ABO = 1
	GroupA  ABO = 2
	GroupB  ABO = 3
	GroupAB ABO = 4

	Positive Sign = 1
	Negative Sign = 2
)

var (
	sexes = []string{"", "male", "female"}
	abos  = []string{"", "O", "A", "B", "AB"}
	signs = []string{"", "positive", "negative"}
)

// code finds a word's place in its list.
func code[T ~uint8](words []string, word, what string) (T, error) {
	n := slices.Index(words, word)
	if n < 0 {
		return 0, fmt.Errorf("match: %q is no %s; write one of %q", word, what, words[1:])
	}
	return T(n), nil
}

func word[T ~uint8](words []string, code T) string {
	if int(code) >= len(words) {
		return ""
	}
	return words[code]
}

// ParseSex reads male, female, or nothing where it is unknown.
func ParseSex(text string) (Sex, error) { return code[Sex](sexes, text, "sex") }

// ParseABO reads O, A, B, AB, or nothing where it is unknown.
func ParseABO(text string) (ABO, error) { return code[ABO](abos, text, "blood group") }

// ParseSign reads positive, negative, or nothing where it is unknown.
func ParseSign(text string) (Sign, error) { return code[Sign](signs, text, "sign") }

func (s Sex) String() string  { return word(sexes, s) }
func (a ABO) String() string  { return word(abos, a) }
func (s Sign) String() string { return word(signs, s) }

// MarshalText returns String.
func (s Sex) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalText returns String.
func (a ABO) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// MarshalText returns String.
func (s Sign) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSex reads.
func (s *Sex) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSex(string(text))
	return err
}

// UnmarshalText reads what ParseABO reads.
func (a *ABO) UnmarshalText(text []byte) (err error) {
	*a, err = ParseABO(string(text))
	return err
}

// UnmarshalText reads what ParseSign reads.
func (s *Sign) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSign(string(text))
	return err
}

// BloodMatch is how a donor's ABO group stands to the patient's.
type BloodMatch uint8

// From the best on.
const (
	BloodIdentical BloodMatch = iota
	BloodMinor                // the donor's plasma has antibodies against the patient's cells: O for A
	BloodMajor                // the patient's plasma has antibodies against the donor's cells: A for O
	BloodBoth                 // both: A for B
	BloodUnknown
)

// CompareABO tells how a donor's blood group stands to the patient's.
func CompareABO(patient, donor ABO) BloodMatch {
	if patient == 0 || donor == 0 {
		return BloodUnknown
	}
	// A group less one is its antigens in bits: A 1, B 2.
	p, d := patient-1, donor-1
	minor, major := p&^d != 0, d&^p != 0
	switch {
	case minor && major:
		return BloodBoth
	case major:
		return BloodMajor
	case minor:
		return BloodMinor
	}
	return BloodIdentical
}
