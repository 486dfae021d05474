package identity

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
	"unique"

	"github.com/liferelay/liferelay/registry/calendar"
)

// DocumentKind is a kind of identity document.
type DocumentKind string

// The kinds, with what their numbers look like in normal form.
const (
	ResidentID         DocumentKind = "resident_id"         // 居民身份证: 17 digits and a check character, GB 11643-1999
	HKMacaoResidence   DocumentKind = "hk_macao_residence"  // 港澳居民居住证: the same, region 810000 or 820000
	TaiwanResidence    DocumentKind = "taiwan_residence"    // 台湾居民居住证: the same, region 830000
	PermanentResidence DocumentKind = "permanent_residence" // 外国人永久居留身份证: the same with 9, province and country (2023), or 3 letters and 12 digits
	HKMacaoPass        DocumentKind = "hk_macao_pass"       // 港澳居民来往内地通行证: H or M and 8 digits, for life
	TaiwanPass         DocumentKind = "taiwan_pass"         // 台湾居民来往大陆通行证: 8 digits, for life
	MainlandPass       DocumentKind = "mainland_pass"       // 往来港澳通行证: C, a digit or letter, and 7 digits
	Passport           DocumentKind = "passport"            // 5 to 17 letters and digits
	MilitaryID         DocumentKind = "military_id"         // 军官证 and others: 6 to 20 characters in no fixed form
)

// Valid says that k is one of the constants.
func (k DocumentKind) Valid() bool {
	_, free := forms[k]
	return free || k.numbered()
}

// numbered says that the numbers of k are built like citizen numbers: region, birth, serial, check character.
func (k DocumentKind) numbered() bool {
	switch k {
	case ResidentID, HKMacaoResidence, TaiwanResidence, PermanentResidence:
		return true
	}
	return false
}

// forms says what the other kinds look like. The first group is the number in normal form: what follows it counts renewals
// or names the issuing office, and changes while the holder stays the same.
var forms = map[DocumentKind]*regexp.Regexp{
	HKMacaoPass: regexp.MustCompile(`^([HM]\d{8})(\d{2})?$`),
	// Until 2008 two digits for the issue and the office's letter in brackets followed the eight (China News Service, 2008-09-12).
	TaiwanPass:   regexp.MustCompile(`^(\d{8})(\d{2}(\(?[A-Z]\)?)?)?$`),
	MainlandPass: regexp.MustCompile(`^(C[A-Z0-9]\d{7})$`),
	Passport:     regexp.MustCompile(`^([A-Z0-9]*\d[A-Z0-9]*)$`),
	MilitaryID:   regexp.MustCompile(`^([\p{Han}A-Z0-9]*\d[\p{Han}A-Z0-9]*)$`),
}

// lengths bounds the number of characters, as typed and brought to half-width.
var lengths = map[DocumentKind][2]int{
	HKMacaoPass: {9, 11}, TaiwanPass: {8, 13}, MainlandPass: {9, 9}, Passport: {5, 17}, MilitaryID: {6, 20},
}

var oldPermanentResidence = regexp.MustCompile(`^[A-Z]{3}\d{12}$`)

// Document is one identity document: its kind and its number in normal form. Two documents are equal (==) when both agree.
// The zero value is no document.
//
// It never prints its number: every fmt verb, JSON and any other text form shows the last four characters, and SQL refuses
// it. Reveal is the one way to the number.
type Document struct {
	kind DocumentKind
	// A handle and not a string: fmt calls no methods on a value inside another struct's unexported field, and would
	// print a string there. Of a handle it prints an address.
	number unique.Handle[string]
}

// ParseDocument reads the number of a document of a kind, as typed: spaces, hyphens and invisible characters are dropped,
// full-width characters become half-width, letters capital. Renewal digits of the passes are dropped, and the old
// resident number of 15 digits becomes the one of 18 (always of the 20th century).
//
// Resident identity cards, the two residence permits and the permanent residence card of 2023 share one space of numbers, and
// people call each of them 身份证. A number of any of them is accepted as ResidentID and gets the kind that it shows, so
// that one person's number is not kept under two kinds; the three other kinds accept their own numbers only.
//
// Whether the holder is already born is for the caller to say: see Birth. The error is *DocumentError.
func ParseDocument(kind DocumentKind, raw string) (Document, error) {
	if !kind.Valid() {
		return Document{}, &DocumentError{"", ReasonUnknownKind}
	}
	refuse := func(r Reason) (Document, error) { return Document{}, &DocumentError{kind, r} }
	if len(raw) > maxInput {
		return refuse(ReasonLength)
	}
	text := code(raw)
	if text == "" {
		return refuse(ReasonEmpty)
	}
	length := utf8.RuneCountInString(text)
	if kind.numbered() {
		if length == 15 && kind == PermanentResidence {
			if !oldPermanentResidence.MatchString(text) {
				return refuse(ReasonCharacters)
			}
			return newDocument(kind, text), nil
		}
		if length == 15 && kind == ResidentID {
			if !digits(text) {
				return refuse(ReasonCharacters)
			}
			text = text[:6] + "19" + text[6:]
			text += string(check(text))
		}
		shown, reason := checkNumber(text)
		switch {
		case reason != "":
			return refuse(reason)
		case kind != ResidentID && kind != shown:
			return refuse(ReasonRegion)
		}
		return newDocument(shown, text), nil
	}
	if bounds := lengths[kind]; length < bounds[0] || length > bounds[1] {
		return refuse(ReasonLength)
	}
	m := forms[kind].FindStringSubmatch(text)
	if m == nil {
		return refuse(ReasonCharacters)
	}
	return newDocument(kind, m[1]), nil
}

func newDocument(kind DocumentKind, number string) Document {
	return Document{kind, unique.Make(number)}
}

// Recognise guesses the kind of a document from its number and reads it. Where a number could be of two kinds it takes
// the commoner one; where it looks like something else, a date or a truncated number, it refuses. The error is *DocumentError.
func Recognise(raw string) (Document, error) {
	refuse := func(r Reason) (Document, error) { return Document{}, &DocumentError{"", r} }
	if len(raw) > maxInput {
		return refuse(ReasonLength)
	}
	text := code(raw)
	length := utf8.RuneCountInString(text)
	body := strings.TrimRight(text, "X")
	numeric := digits(body) && len(text)-len(body) <= 1
	switch {
	case text == "":
		return refuse(ReasonEmpty)
	case length == 18, length == 15 && digits(text):
		return ParseDocument(ResidentID, text)
	case oldPermanentResidence.MatchString(text):
		return ParseDocument(PermanentResidence, text)
	case forms[HKMacaoPass].MatchString(text):
		return ParseDocument(HKMacaoPass, text)
	case forms[MainlandPass].MatchString(text):
		return ParseDocument(MainlandPass, text)
	case numeric && length == 8:
		if _, err := time.Parse("20060102", text); err == nil && (text[:2] == "19" || text[:2] == "20") {
			return refuse(ReasonUnknownKind) // more likely a date in the wrong column
		}
		return ParseDocument(TaiwanPass, text)
	case forms[TaiwanPass].MatchString(text):
		return ParseDocument(TaiwanPass, text)
	case numeric && length > 10:
		return refuse(ReasonLength) // a resident number that lost or gained a digit
	case strings.Contains(text, "字") && forms[MilitaryID].MatchString(text):
		return ParseDocument(MilitaryID, text)
	case length >= 6 && length <= 9 && forms[Passport].MatchString(text):
		return ParseDocument(Passport, text)
	}
	return refuse(ReasonUnknownKind)
}

// CheckResident checks a citizen number of 18 characters in normal form: digits, then a digit or X (GB 11643-1999). The
// region must be one that exists or existed, the residence permits' 810000, 820000 and 830000 among them; the date of birth
// must be a day from 1800 on; and the check character must fit, ISO 7064 MOD 11-2. Whether that day is still to come is
// for the caller to say. The error is *DocumentError.
func CheckResident(number string) error {
	kind, reason := checkNumber(number)
	if reason == "" && kind == PermanentResidence {
		reason = ReasonRegion
	}
	if reason != "" {
		return &DocumentError{ResidentID, reason}
	}
	return nil
}

// checkNumber checks an 18-character number and tells which of the four kinds it is.
func checkNumber(number string) (DocumentKind, Reason) {
	if utf8.RuneCountInString(number) != 18 {
		return "", ReasonLength
	}
	if len(number) != 18 || !digits(number[:17]) || (number[17] != 'X' && !digits(number[17:])) {
		return "", ReasonCharacters
	}
	kind := ResidentID
	switch region := Region(number[:6]); {
	case region == "810000", region == "820000":
		kind = HKMacaoResidence
	case region == "830000":
		kind = TaiwanResidence
	case region[0] == '9':
		// 9, the province of application, and the holder's country in ISO 3166 digits (rules of the 2023 card).
		kind = PermanentResidence
		if !Region(number[1:3] + "0000").Known() {
			return "", ReasonRegion
		}
	case region == Nation || !region.Known():
		return "", ReasonRegion
	}
	if _, ok := birth(number); !ok {
		return "", ReasonBirthDate
	}
	if check(number[:17]) != number[17] {
		return "", ReasonChecksum
	}
	return kind, ""
}

// check is the check character of 17 digits, ISO 7064 MOD 11-2.
func check(body string) byte {
	sum := 0
	for i := range len(body) {
		sum = (sum + int(body[i]-'0')) * 2 % 11
	}
	return "0123456789X"[(12-sum)%11]
}

func birth(number string) (calendar.Date, bool) {
	n := 0
	for _, c := range []byte(number[6:14]) {
		n = n*10 + int(c-'0')
	}
	d, err := calendar.New(n/10000, time.Month(n/100%100), n%100)
	return d, err == nil && d.Year() >= 1800
}

// Kind is the kind of document.
func (d Document) Kind() DocumentKind { return d.kind }

// IsZero says that d is no document.
func (d Document) IsZero() bool { return d == Document{} }

// Equal says that both are the same document. == says the same.
func (d Document) Equal(other Document) bool { return d == other }

// Reveal is the number in normal form. Call it only to seal it, to index it, or to show it to someone who may see it.
func (d Document) Reveal() string {
	if d.number == (unique.Handle[string]{}) {
		return ""
	}
	return d.number.Value()
}

// citizen is the number, if it is built like a citizen number.
func (d Document) citizen() (string, bool) {
	if !d.kind.numbered() {
		return "", false
	}
	number := d.Reveal()
	return number, len(number) == 18
}

// Birth is the date of birth, if the number holds one.
func (d Document) Birth() (calendar.Date, bool) {
	number, ok := d.citizen()
	if !ok {
		return calendar.Date{}, false
	}
	return birth(number)
}

// Sex is the holder's sex, if the number holds it: the seventeenth digit is odd for men.
func (d Document) Sex() (Sex, bool) {
	number, ok := d.citizen()
	switch {
	case !ok:
		return "", false
	case (number[16]-'0')%2 == 1:
		return Male, true
	}
	return Female, true
}

// Issued is the region of the number: for a resident the place of first registration, which is often not where the holder
// lives and may have another name today; for a permanent residence card the province of application.
func (d Document) Issued() (Region, bool) {
	number, ok := d.citizen()
	switch {
	case !ok:
		return "", false
	case d.kind == TaiwanResidence:
		return "710000", true // GB/T 2260; 830000 is the permit's own
	case d.kind == PermanentResidence:
		return Region(number[1:3] + "0000"), true
	}
	return Region(number[:6]), true
}

// String is the number with all but the last four characters hidden, and never more than half of it shown.
func (d Document) String() string {
	number := []rune(d.Reveal())
	shown := min(4, len(number)/2)
	return strings.Repeat("*", len(number)-shown) + string(number[len(number)-shown:])
}

// Format prints the masked number whatever the verb.
func (d Document) Format(f fmt.State, _ rune) { fmt.Fprint(f, d.String()) }

// MarshalText writes the masked number, for JSON and all that asks for text.
func (d Document) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText refuses: a masked number cannot be read back, and a number as typed is read with its kind by ParseDocument.
func (d *Document) UnmarshalText([]byte) error {
	return errors.New("identity: a document is not read from text: decode the kind and the number, and call ParseDocument")
}

// Value refuses: a number goes into a column sealed, or as a blind index.
func (d Document) Value() (driver.Value, error) {
	return nil, errors.New("identity: a document is not a column: seal what Reveal gives")
}

var (
	scientific = regexp.MustCompile(`^\d(\.\d+)?E\+?\d{1,2}$`)
	rounded    = regexp.MustCompile(`^\d{15}000(\.0+)?$`)
)

// LooksDamagedBySpreadsheet says that a spreadsheet took a number for an amount and lost its last digits: scientific notation
// (4.40524E+17), or a numeric cell with 18 digits of which the last three are zeros, since spreadsheets keep fifteen. The
// digits cannot be had back: the cell must be typed again as text.
func LooksDamagedBySpreadsheet(raw string, numericCell bool) bool {
	if len(raw) > maxInput {
		return false
	}
	text := code(raw)
	return scientific.MatchString(text) || (numericCell && rounded.MatchString(text))
}
