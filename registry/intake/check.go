package intake

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
)

// Checked is a row with its verdict, as far as the rows before it tell.
type Checked struct {
	Row      int
	Form     forms.Registration // in canonical form when no problem blocks it
	Problems forms.Problems
	Verdict  Verdict
	Key      [32]byte // SHA-256 of Form.Key: the same for the same form, however it was spelled
}

// Amendment is what later rows tell about a row that was given out before.
type Amendment struct {
	Row      int
	Problems forms.Problems
}

// Checker checks the rows of one sheet, each by itself and against those before it. It keeps digests and numbers of rows,
// some 300 bytes a row, and no text. It is not safe for use by several goroutines.
type Checker struct {
	circumstances forms.Circumstances
	reader        *reader
	laws          map[law]rules.Rules

	people   map[digest]*person
	barcodes map[digest]tube
	phones   map[digest]*line
	births   map[calendar.Date][]int32
	born     int // rows with a date of birth of their own
	amended  map[int32]forms.Problems
}

type law struct {
	region identity.Region
	on     calendar.Date
}

type digest [16]byte

func digestOf(text string) digest {
	sum := sha256.Sum256([]byte(text))
	return digest(sum[:16])
}

type person struct {
	row    int32
	key    digest
	differ bool // a later row differs from it, and it was told
}

type tube struct {
	row    int32
	person digest
	told   bool
}

type line struct {
	rows  [2]int32 // the first two that have the number
	count int32
}

// NewChecker begins with a sheet whose mapping has no problem that stops it.
func NewChecker(c forms.Circumstances, d Defaults, m Mapping) *Checker {
	if d.Region == "" {
		d.Region = c.Region
	}
	k := &Checker{
		reader: newReader(m, d), laws: map[law]rules.Rules{}, people: map[digest]*person{}, barcodes: map[digest]tube{},
		phones: map[digest]*line{}, births: map[calendar.Date][]int32{}, amended: map[int32]forms.Problems{},
	}
	// A sheet asks for the rules of a few places on a few days, thousands of times.
	find := c.Rules
	c.Rules = func(region identity.Region, on calendar.Date) rules.Rules {
		asked := law{region, on}
		found, ok := k.laws[asked]
		if !ok {
			found = find(region, on)
			k.laws[asked] = found
		}
		return found
	}
	k.circumstances = c
	return k
}

// Check reads a row into its form and gives its verdict.
func (k *Checker) Check(row Row) Checked {
	form, problems := k.reader.form(row)
	birth := form.BirthDate // as the sheet has it: Review believes the identity number
	unread := map[string]bool{}
	for _, p := range problems {
		if p.Blocks() {
			unread[p.Field] = true
		}
	}
	shifted := len(form.Contacts) == 1 && k.reader.shifted(row)
	for _, p := range form.Review(k.circumstances) {
		if shifted {
			p.Field = strings.Replace(p.Field, "contacts[0]", "contacts[1]", 1)
		}
		// What could not be read is missing from the form, and is wrong for that one reason.
		if !unread[p.Field] {
			problems = append(problems, p)
		}
	}
	out := Checked{Row: row.No, Form: form, Key: sha256.Sum256([]byte(form.Key()))}
	out.Problems = append(problems, k.compare(row.No, &form, birth, digest(out.Key[:16]), problems)...)
	slices.SortStableFunc(out.Problems, bySeverity)
	out.Verdict = VerdictOf(out.Problems)
	return out
}

// bySeverity puts what stops a row first, and otherwise keeps the order.
func bySeverity(a, b forms.Problem) int {
	weight := func(p forms.Problem) int {
		if Stops(p) {
			return 0
		}
		return 1
	}
	return cmp.Compare(weight(a), weight(b))
}

// compare holds a row against those before it: R110, R108 and W203.
func (k *Checker) compare(no int, form *forms.Registration, birth calendar.Date, key digest, problems forms.Problems) forms.Problems {
	var out forms.Problems
	row := int32(no)
	sound := func(field string) bool {
		return !slices.ContainsFunc(problems, func(p forms.Problem) bool { return p.Blocks() && p.Field == field })
	}
	var who digest
	if !form.DocumentNumber.Empty() && sound("document_number") && sound("document_kind") {
		who = digestOf(string(form.DocumentKind) + form.DocumentNumber.Reveal())
		first, seen := k.people[who]
		if seen {
			out = append(out, naming("R110", "document_number", first.row))
			if first.key == key {
				return out // the same row again says nothing more
			}
			if !first.differ {
				first.differ = true
				k.amend(first.row, naming("R110", "document_number", row))
			}
		} else {
			k.people[who] = &person{row: row, key: key}
		}
	}
	if form.Barcode != "" && sound("barcode") {
		code := digestOf(form.Barcode)
		first, seen := k.barcodes[code]
		switch {
		case !seen:
			k.barcodes[code] = tube{row: row, person: who}
		case first.person == who && who != (digest{}):
			// One person twice, with one tube: R110 has said so.
		default:
			out = append(out, naming("R108", "barcode", first.row))
			if !first.told {
				first.told = true
				k.barcodes[code] = first
				k.amend(first.row, naming("R108", "barcode", row))
			}
		}
	}
	if !form.Phone.Empty() && sound("phone") {
		out = append(out, k.sharedPhone(row, digestOf(form.Phone.Reveal()))...)
	}
	if !birth.IsZero() {
		k.born++
		k.births[birth] = append(k.births[birth], row)
	}
	return out
}

// sharedPhone counts the rows of a number. The third tells the first two.
func (k *Checker) sharedPhone(row int32, number digest) forms.Problems {
	l, seen := k.phones[number]
	if !seen {
		l = &line{}
		k.phones[number] = l
	}
	l.count++
	shared := func(rows ...int32) forms.Problem {
		return forms.Problem{Code: "W203", Field: "phone", Args: map[string]any{"Rows": rowList(rows)}}
	}
	switch {
	case l.count <= 2:
		l.rows[l.count-1] = row
		return nil
	case l.count == 3:
		k.amend(l.rows[0], shared(l.rows[1], row))
		k.amend(l.rows[1], shared(l.rows[0], row))
	}
	return forms.Problems{shared(l.rows[0], l.rows[1])}
}

func naming(code, field string, row int32) forms.Problem {
	return forms.Problem{Code: code, Field: field, Args: map[string]any{"Row": int(row)}}
}

func (k *Checker) amend(row int32, p forms.Problem) { k.amended[row] = append(k.amended[row], p) }

// A date of birth is suspect when so many of so many rows have it.
const (
	suspectShare = 80 // in a hundred
	suspectRows  = 10
)

// Finish returns, by row, what to add to the problems of rows that were given out before: the first of two that share a
// person or a tube, the first two that share a phone, and W206 where most rows have one date of birth. The verdict of such
// a row is VerdictOf all its problems. No row is checked afterwards.
func (k *Checker) Finish() []Amendment {
	for _, rows := range k.births {
		if k.born >= suspectRows && len(rows)*100 >= k.born*suspectShare {
			for _, row := range rows {
				k.amend(row, forms.Problem{Code: "W206", Field: "birth_date", Args: map[string]any{"Percent": len(rows) * 100 / k.born}})
			}
		}
	}
	out := make([]Amendment, 0, len(k.amended))
	for row, problems := range k.amended {
		slices.SortStableFunc(problems, bySeverity)
		out = append(out, Amendment{int(row), problems})
	}
	slices.SortFunc(out, func(a, b Amendment) int { return cmp.Compare(a.Row, b.Row) })
	k.amended = map[int32]forms.Problems{}
	return out
}
