package exchange

import (
	"bufio"
	"fmt"
	"io"
)

// Writer writes a file. A donor whom the format cannot hold is a *RecordError, and writing goes on; Close ends the file.
type Writer interface {
	Write(Donor) error
	// Lost counts the fields that donors had and the format has not, by their names in the WMDA's XML, or "HLA/" and a locus.
	Lost() map[string]int
	Close() error
}

// NewWriter makes a writer of a file in a format. Of the header it writes what the format has a field for; a mode that is empty is full.
// Its error is about the header.
func NewWriter(format Format, to io.Writer, header Header) (Writer, error) {
	if header.Mode == "" {
		header.Mode = Full
	}
	o := out{to: bufio.NewWriterSize(to, 1<<16), lost: map[string]int{}}
	switch format {
	case WMDA:
		if header.Mode == Check {
			return nil, fmt.Errorf("exchange: an inventory is full or a difference")
		}
		return &wmdaWriter{out: o, header: header}, nil
	case Atlas:
		return &atlasWriter{out: o, header: header}, nil
	case MV4:
		return &mv4Writer{out: o}, nil
	case GL:
		return &glWriter{out: o}, nil
	}
	return nil, fmt.Errorf("exchange: there is no format %q", format)
}

// out is what writers write to. The first error stays.
type out struct {
	to      *bufio.Writer
	err     error
	lost    map[string]int
	records int
}

func (o *out) text(parts ...string) {
	for _, p := range parts {
		if o.err == nil {
			_, o.err = o.to.WriteString(p)
		}
	}
}

func (o *out) Lost() map[string]int { return o.lost }

func (o *out) lose(field string) { o.lost[field]++ }

func (o *out) flush() error {
	if o.err != nil {
		return o.err
	}
	return o.to.Flush()
}

// check looks at the plain fields as reading does, so that what is written can be read back, and completes what is wrong.
func (o *out) check(d Donor, refused *RecordError) *RecordError {
	o.records++
	copied := Donor{}
	for _, a := range attributes {
		if refused == nil {
			refused = a.set(&copied, a.get(&d))
		}
	}
	if refused == nil && d.ID == "" {
		refused = &RecordError{Field: "ID", Rule: RuleMissing, Text: "a donor must have an id"}
	}
	if refused != nil {
		refused.Record = o.records
		if idForm.MatchString(d.ID) {
			refused.ID = d.ID
		}
	}
	return refused
}

// loseAll counts the plain fields that a format has not.
func (o *out) loseAll(d *Donor, has ...string) {
next:
	for _, a := range attributes {
		for _, h := range has {
			if h == a.path {
				continue next
			}
		}
		if a.get(d) != "" {
			o.lose(a.path)
		}
	}
}
