package hla

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

var (
	codeForm    = regexp.MustCompile(`^[A-Z]{2,}$`)
	subtypeForm = regexp.MustCompile(`^\d{2,4}(:\d{2,4})?[NLSCAQ]?$`)
)

// Codes decodes multiple-allele codes (MAC): what NMDP publishes as alpha.v3.
type Codes struct{ of map[string]code }

// code is a line of the table.
type code struct {
	subtypes string
	line     int32
}

// fileCodes is what a table of codes is called where its lines are named.
const fileCodes = "codes"

// ReadCodes reads the table of codes: CODE and SUBTYPE with a tab between them, such as "AB	01/02" or "AHY	03:01/03:03N"; lines
// before the heading are left out.
//
// Errors: *ReleaseError for a line; an error of the reader.
func ReadCodes(from io.Reader) (*Codes, error) {
	c := &Codes{map[string]code{}}
	scanner := bufio.NewScanner(from)
	scanner.Buffer(make([]byte, 0, 1<<16), 1<<22)
	for n := 1; scanner.Scan(); n++ {
		text := strings.TrimRight(scanner.Text(), "\r\n")
		fields := strings.Split(text, "\t")
		if len(fields) == 3 { // a third column before, with a star beside the codes of whole names
			fields = fields[1:]
		}
		if len(fields) != 2 || !codeForm.MatchString(fields[0]) || fields[0] == "CODE" {
			if len(c.of) == 0 {
				continue
			}
			return nil, &ReleaseError{fileCodes, n, text, "is not a code, a tab and its subtypes"}
		}
		for subtype := range strings.SplitSeq(fields[1], "/") {
			if !subtypeForm.MatchString(subtype) {
				return nil, &ReleaseError{fileCodes, n, text, "has a subtype that is no field or two of a name"}
			}
		}
		c.of[fields[0]] = code{fields[1], int32(n)}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("hla: codes: %w", err)
	}
	if len(c.of) == 0 {
		return nil, errors.New("hla: codes: there is no code in the file")
	}
	return c, nil
}

// Size is how many codes there are.
func (c *Codes) Size() int { return len(c.of) }

// decode gives the proteins that a code stands for at a locus behind a first field, as the table has them, and whether the table has the
// code. A generic code has second fields ("01/02"); one of whole names ("02:01/03:01") may be written only with the first field that
// most of them have: another is not what a laboratory meant. firsts are those with which it may be written.
func (c *Codes) decode(locus Locus, first uint16, name string) (proteins []Allele, firsts []uint16, known bool) {
	found, known := c.of[name]
	if !known {
		return nil, nil, false
	}
	counts, most := map[uint16]int{}, 0
	for subtype := range strings.SplitSeq(found.subtypes, "/") {
		a := Allele{place: uint8(locus.place() + 1)}
		if !strings.Contains(subtype, ":") {
			subtype = string(appendField(nil, first)) + ":" + subtype
		}
		if !a.readNumber(subtype) {
			continue // 00 and the like, which no allele has
		}
		counts[a.fields[0]]++
		most = max(most, counts[a.fields[0]])
		proteins = append(proteins, a.TwoField())
	}
	for field, n := range counts {
		if n == most {
			firsts = append(firsts, field)
		}
	}
	slices.Sort(firsts)
	slices.SortFunc(proteins, Allele.compare)
	return slices.Compact(proteins), firsts, true
}
