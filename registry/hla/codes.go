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
type Codes struct{ subtypes map[string]string }

// ReadCodes reads the table of codes: CODE and SUBTYPE with a tab between them, such as "AB	01/02" or "AHY	03:01/03:03N"; lines
// before the heading are left out.
//
// Errors: *ReleaseError for a line; an error of the reader.
func ReadCodes(from io.Reader) (*Codes, error) {
	c := &Codes{map[string]string{}}
	scanner := bufio.NewScanner(from)
	scanner.Buffer(make([]byte, 0, 1<<16), 1<<22)
	for n := 1; scanner.Scan(); n++ {
		text := strings.TrimRight(scanner.Text(), "\r\n")
		fields := strings.Split(text, "\t")
		if len(fields) == 3 { // a third column before, with a star beside the codes of whole names
			fields = fields[1:]
		}
		if len(fields) != 2 || !codeForm.MatchString(fields[0]) || fields[0] == "CODE" {
			if len(c.subtypes) == 0 {
				continue
			}
			return nil, &ReleaseError{"codes", n, text, "is not a code, a tab and its subtypes"}
		}
		for subtype := range strings.SplitSeq(fields[1], "/") {
			if !subtypeForm.MatchString(subtype) {
				return nil, &ReleaseError{"codes", n, text, "has a subtype that is no field or two of a name"}
			}
		}
		c.subtypes[fields[0]] = fields[1]
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("hla: codes: %w", err)
	}
	if len(c.subtypes) == 0 {
		return nil, errors.New("hla: codes: there is no code in the file")
	}
	return c, nil
}

// Size is how many codes there are.
func (c *Codes) Size() int { return len(c.subtypes) }

// decode gives the proteins that a code stands for at a locus behind a first field, as the table has them, and whether the table has the
// code. A generic code has second fields ("01/02"); one of whole names ("02:01/03:01") may be written only with the first field that
// most of them have: another is not what a laboratory meant, and fits is false.
func (c *Codes) decode(locus Locus, first uint16, code string) (proteins []Allele, fits, known bool) {
	subtypes, known := c.subtypes[code]
	if !known {
		return nil, false, false
	}
	counts, most := map[uint16]int{}, 0
	for subtype := range strings.SplitSeq(subtypes, "/") {
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
	slices.SortFunc(proteins, Allele.compare)
	return slices.Compact(proteins), most > 0 && counts[first] == most, true
}
