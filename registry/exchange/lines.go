package exchange

import (
	"bufio"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/liferelay/liferelay/registry/hla"
)

// The formats of one person a line: MV4's CSV and GL strings.

// mv4Loci are MV4's, in the order of its columns.
var mv4Loci = []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1}

// copyColumns are A1 to DQB12.
func copyColumns() []string {
	var columns []string
	for _, locus := range mv4Loci {
		columns = append(columns, string(locus)+"1", string(locus)+"2")
	}
	return columns
}

// readMV4 reads people, donors (DONOR_ID) or patients (PATIENT_ID), with the columns in any order. A number without a colon is an antigen.
func (r *Reader) readMV4(yield func(Donor, error) bool) error {
	rows := csv.NewReader(r.from)
	rows.FieldsPerRecord, rows.ReuseRecord = -1, true
	var columns []string
	place := map[string]int{}
	for {
		r.from.renew()
		row, err := rows.Read()
		var broken *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			if columns == nil {
				return &FileError{1, "is empty; it must begin with the names of its columns", nil}
			}
			return nil
		case errors.As(err, new(tooLong)):
			return &FileError{r.from.line, "is longer than a record may be", err}
		case errors.As(err, &broken) && columns != nil:
			r.records++
			if !r.give(Donor{}, &RecordError{Field: "line " + strconv.Itoa(broken.StartLine), Rule: RuleRecord, Text: "has a quotation mark that is not closed"}, yield) {
				return nil
			}
			continue
		case err != nil:
			return &FileError{r.from.line, "cannot be read", err}
		}
		if columns == nil {
			if columns, err = r.mv4Columns(row, place); err != nil {
				return err
			}
			continue
		}
		r.records++
		d, wrong := mv4Person(row, columns, place)
		if !r.give(d, wrong, yield) {
			return nil
		}
	}
}

func (r *Reader) mv4Columns(row []string, place map[string]int) ([]string, error) {
	columns := slices.Clone(row)
	wanted := append(copyColumns(), "DONOR_TYPE", "HF_SET")
	for i, name := range columns {
		name = strings.ToUpper(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if name == "DONOR_ID" || name == "PATIENT_ID" {
			name = "ID"
		}
		if _, again := place[name]; again || !slices.Contains(append(wanted, "ID"), name) {
			r.ignore(name)
			continue
		}
		columns[i], place[name] = name, i
	}
	for _, name := range append([]string{"ID"}, wanted[:6]...) {
		if _, there := place[name]; !there {
			return nil, &FileError{1, "is not a file of people of MV4: it must have the columns DONOR_ID or PATIENT_ID and A1 to C2", nil}
		}
	}
	return columns, nil
}

var mv4Types = map[string]Type{"": Adult, "D": Adult, "C": Cord, "B": Banked}

func mv4Person(row, columns []string, place map[string]int) (Donor, *RecordError) {
	if len(row) != len(columns) {
		return Donor{}, &RecordError{Field: "line", Rule: RuleRecord, Text: "must have as many columns as the first line"}
	}
	value := func(name string) string {
		if i, there := place[name]; there {
			return strings.TrimSpace(row[i])
		}
		return ""
	}
	d := Donor{ID: value("ID"), FrequencySet: value("HF_SET")}
	kind, known := mv4Types[strings.ToUpper(value("DONOR_TYPE"))]
	d.Type = kind
	switch {
	case !known:
		return d, &RecordError{Field: "DONOR_TYPE", Rule: RuleForm, Text: "must be D, C or B", Read: value("DONOR_TYPE")}
	case !idForm.MatchString(d.ID):
		return d, &RecordError{Field: "ID", Rule: RuleForm, Text: idRule, Read: d.ID}
	case d.FrequencySet != "" && !idForm.MatchString(d.FrequencySet):
		return d, &RecordError{Field: "HF_SET", Rule: RuleForm, Text: idRule, Read: d.FrequencySet}
	}
	at := map[hla.Locus]*locusFields{}
	for _, locus := range mv4Loci {
		fields := locusFields{}
		for i := range 2 {
			name := string(locus) + strconv.Itoa(i+1)
			text := value(name)
			if len(text) > maxField {
				return d, &RecordError{Field: name, Rule: RuleLong, Text: "is longer than a field may be"}
			}
			if antigenForm.MatchString(bare(text, letters[locus], strings.TrimSuffix(letters[locus], "w"))) {
				fields.serology[i] = text
			} else {
				fields.dna[i] = text
			}
		}
		if fields.dna != (pair{}) && fields.serology != (pair{}) {
			return d, &RecordError{Field: string(locus), Rule: RuleTyping, Text: "must be two names by DNA or two antigens, not one of each", Read: value(string(locus)+"1") + ", " + value(string(locus)+"2")}
		}
		at[locus] = &fields
	}
	typing, wrong := typingOf(at)
	d.Typing = typing
	return d, wrong
}

// mv4Writer writes donors.
type mv4Writer struct {
	out
	begun bool
}

func (w *mv4Writer) begin() {
	if !w.begun {
		w.begun = true
		w.text("DONOR_ID,", strings.Join(copyColumns(), ","), ",DONOR_TYPE,HF_SET\n")
	}
}

func (w *mv4Writer) Write(d Donor) error {
	at, refused := fieldsOf(d.Typing)
	for _, text := range []string{d.ID, d.FrequencySet} {
		if refused == nil && text != "" && (!idForm.MatchString(text) || strings.ContainsAny(text, `,"`)) {
			refused = &RecordError{Field: "ID", Rule: RuleForm, Text: "must be without a comma and without a quotation mark", Read: text}
		}
	}
	if refused = w.check(d, refused); refused != nil {
		return refused
	}
	w.loseAll(&d, "ID")
	for _, f := range [][2]string{{"POOL", d.Pool}, {"UPDATE_MODE", string(d.Change)}} {
		if f[1] != "" {
			w.lose(f[0])
		}
	}
	for locus := range at {
		if !slices.Contains(mv4Loci, locus) {
			w.lose("HLA/" + string(locus))
		}
	}
	if d.Type == "" {
		d.Type = Adult
	}
	w.begin()
	w.text(d.ID)
	for _, locus := range mv4Loci {
		fields := at[locus]
		if fields == nil {
			fields = &locusFields{}
		}
		for i := range 2 {
			w.text(",", fields.dna[i]+fields.serology[i]) // one of the two is empty
		}
	}
	w.text(",", string(d.Type), ",", d.FrequencySet, "\n")
	return w.err
}

func (w *mv4Writer) Close() error {
	w.begin()
	return w.flush()
}

// readGL reads lines of an id, % and a GL string. What the string means is not looked at here, unlike in match.ReadPeople: a file of
// multiple-allele codes is read without the table of them.
func (r *Reader) readGL(yield func(Donor, error) bool) error {
	lines := bufio.NewScanner(r.from)
	lines.Buffer(make([]byte, 0, 1<<16), maxRecord)
	for n := 1; ; n++ {
		r.from.renew()
		if !lines.Scan() {
			if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) || errors.As(err, new(tooLong)) {
				return &FileError{n, "is longer than a record may be", err}
			} else if err != nil {
				return &FileError{n, "cannot be read", err}
			}
			return nil
		}
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" {
			continue
		}
		r.records++
		id, gl, found := strings.Cut(text, "%")
		d := Donor{ID: strings.TrimSpace(id), Type: Adult, Typing: strings.TrimSpace(gl)}
		var wrong *RecordError
		switch {
		case !found:
			wrong = &RecordError{Field: "line " + strconv.Itoa(n), Rule: RuleRecord, Text: "must be an id, % and a GL string"}
		case !idForm.MatchString(d.ID):
			wrong = &RecordError{Field: "ID", Rule: RuleForm, Text: idRule, Read: d.ID}
		case !glForm(d.Typing):
			wrong = &RecordError{Field: "HLA", Rule: RuleForm, Text: "must be a GL string on one line", Read: d.Typing}
		}
		if !r.give(d, wrong, yield) {
			return nil
		}
	}
}

// glForm tells whether a text is of the characters of GL strings.
func glForm(text string) bool {
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f || c == '%' || c == ',' || c == '"' || c == '<' {
			return false
		}
	}
	return true
}

type glWriter struct{ out }

func (w *glWriter) Write(d Donor) error {
	var refused *RecordError
	if strings.Contains(d.ID, "%") {
		refused = &RecordError{Field: "ID", Rule: RuleForm, Text: "must be without %", Read: d.ID}
	} else if !glForm(d.Typing) {
		refused = &RecordError{Field: "HLA", Rule: RuleForm, Text: "must be a GL string on one line", Read: d.Typing}
	}
	if refused = w.check(d, refused); refused != nil {
		return refused
	}
	w.loseAll(&d, "ID")
	for _, f := range [][2]string{{"POOL", d.Pool}, {"UPDATE_MODE", string(d.Change)}, {"HF_SET", d.FrequencySet}} {
		if f[1] != "" {
			w.lose(f[0])
		}
	}
	if d.Type == Cord || d.Type == Banked {
		w.lose("CONTENT_TYPE")
	}
	w.text(d.ID, "%", d.Typing, "\n")
	return w.err
}

func (w *glWriter) Close() error { return w.flush() }
