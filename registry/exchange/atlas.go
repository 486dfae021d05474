package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/liferelay/liferelay/registry/hla"
)

// The donor file of Atlas: {"updateMode": …, "donors": [{"recordId": …, "changeType": …, "donorType": …, "donPool": …, "ethn": …, "hla": {…}}]}.

// atlasLoci are those of today's schema, A, B and DRB1 of which must be there; older files have all.
var atlasLoci = []hla.Locus{hla.A, hla.B, hla.DRB1, hla.C, hla.DQB1, hla.DPB1}

const atlasNeeds = 3

// readAtlas reads the donors one at a time; what else the file says may stand before or behind them.
func (r *Reader) readAtlas(yield func(Donor, error) bool) error {
	tokens := json.NewDecoder(r.from)
	tokens.UseNumber() // an older schema has ids that are numbers
	if err := r.expect(tokens, json.Delim('{')); err != nil {
		return err
	}
	r.header = Header{}
	for tokens.More() {
		r.from.renew()
		key, err := tokens.Token()
		if err != nil {
			return r.failJSON(err)
		}
		switch key {
		case "updateMode":
			var mode string
			if err := tokens.Decode(&mode); err != nil {
				return r.failJSON(err)
			}
			if r.header.Mode = Mode(mode); !slices.Contains([]Mode{Full, Diff, Check}, r.header.Mode) {
				return &FileError{r.from.line, "updateMode must be full, diff or check", nil}
			}
		case "donors":
			if err := r.expect(tokens, json.Delim('[')); err != nil {
				return err
			}
			for tokens.More() {
				r.from.renew()
				var raw json.RawMessage
				if err := tokens.Decode(&raw); err != nil {
					return r.failJSON(err)
				}
				r.records++
				d, wrong := r.atlasDonor(raw)
				if !r.give(d, wrong, yield) {
					return nil
				}
			}
			r.from.renew()
			if err := r.expect(tokens, json.Delim(']')); err != nil {
				return err
			}
		default:
			name, _ := key.(string)
			r.ignore(name)
			var raw json.RawMessage
			if err := tokens.Decode(&raw); err != nil {
				return r.failJSON(err)
			}
		}
	}
	r.from.renew()
	return r.expect(tokens, json.Delim('}'))
}

func (r *Reader) expect(tokens *json.Decoder, want json.Delim) error {
	got, err := tokens.Token()
	if err != nil {
		return r.failJSON(err)
	}
	if got != want {
		return &FileError{r.from.line, "is not a donor file of Atlas: an object with updateMode and donors", nil}
	}
	return nil
}

func (r *Reader) failJSON(err error) error {
	var syntax *json.SyntaxError
	text := "cannot be read"
	switch {
	case errors.As(err, new(tooLong)):
		text = "is longer than a record may be"
	case errors.As(err, &syntax), errors.As(err, new(*json.UnmarshalTypeError)), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		text = "is not well-formed JSON"
	}
	return &FileError{r.from.line, text, err}
}

// keys are the fields of a donor. Each keeps its value, and tells whether it may be there.
var keys = map[string]func(*Donor, string) bool{
	"recordId":   func(d *Donor, v string) bool { d.ID = v; return idForm.MatchString(v) },
	"changeType": func(d *Donor, v string) bool { d.Change = Change(v); return slices.Contains(changes, d.Change) },
	"donorType":  func(d *Donor, v string) bool { d.Type = Type(v); return slices.Contains(types, d.Type) },
	"donPool":    func(d *Donor, v string) bool { d.Pool = v; return v == "" || idForm.MatchString(v) },
	"ethn": func(d *Donor, v string) bool {
		return byPath["ETHN"].set(d, v) == nil
	},
}

var (
	changes  = []Change{New, Update, Delete, Upsert}
	types    = []Type{Adult, Cord, Banked}
	keyRules = map[string]string{
		"recordId": idRule, "changeType": "must be N, U, D or NU", "donorType": "must be D, C or B", "donPool": "must be the code of a registry, or null",
		"ethn": "must be a code of two to four capitals, or null",
	}
)

func (r *Reader) atlasDonor(raw json.RawMessage) (Donor, *RecordError) {
	d := Donor{}
	var record map[string]json.RawMessage
	if json.Unmarshal(raw, &record) != nil || record == nil {
		return d, &RecordError{Field: "donors", Rule: RuleRecord, Text: "must be an object"}
	}
	var wrong *RecordError
	for _, key := range sorted(record) {
		set, known := keys[key]
		switch {
		case known:
			value, plain := plainText(record[key])
			if !plain || !set(&d, value) {
				wrong = first(wrong, &RecordError{Field: key, Rule: RuleForm, Text: keyRules[key], Read: value})
			}
		case key != "hla":
			r.ignore(key)
		}
	}
	for _, key := range []string{"recordId", "changeType", "donorType"} {
		if record[key] == nil && (key != "changeType" || r.header.Mode == Diff) {
			wrong = first(wrong, &RecordError{Field: key, Rule: RuleMissing, Text: "must be there"})
		}
	}
	var loci map[string]json.RawMessage
	if record["hla"] != nil && json.Unmarshal(record["hla"], &loci) != nil {
		wrong = first(wrong, &RecordError{Field: "hla", Rule: RuleRecord, Text: "must be an object"})
	}
	at := map[hla.Locus]*locusFields{}
	for _, key := range sorted(loci) {
		locus := hla.Locus(strings.ToUpper(key))
		if !locus.Valid() {
			r.ignore("hla/" + key)
			continue
		}
		var kinds map[string]json.RawMessage
		if json.Unmarshal(loci[key], &kinds) != nil {
			wrong = first(wrong, &RecordError{Field: "hla/" + strings.ToLower(string(locus)), Rule: RuleRecord, Text: "must be an object"})
			continue
		}
		at[locus] = &locusFields{}
		for _, kind := range sorted(kinds) {
			into := map[string]*pair{"dna": &at[locus].dna, "ser": &at[locus].serology}[kind]
			if into == nil {
				r.ignore("hla/" + key + "/" + kind)
				continue
			}
			var fields struct{ Field1, Field2 *string }
			if json.Unmarshal(kinds[kind], &fields) != nil {
				wrong = first(wrong, &RecordError{Field: "hla/" + strings.ToLower(string(locus)) + "/" + kind, Rule: RuleForm, Text: "must be an object with field1 and field2"})
				continue
			}
			for i, f := range []*string{fields.Field1, fields.Field2} {
				if f != nil && len(*f) > maxField {
					wrong = first(wrong, &RecordError{Field: "hla/" + strings.ToLower(string(locus)) + "/" + kind, Rule: RuleLong, Text: "is longer than a field may be"})
				} else if f != nil {
					into[i] = strings.TrimSpace(*f)
				}
			}
		}
	}
	typing, refused := typingOf(at)
	d.Typing = typing
	return d, first(wrong, refused)
}

func first(wrong, then *RecordError) *RecordError {
	if wrong == nil {
		return then
	}
	return wrong
}

func sorted(m map[string]json.RawMessage) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// plainText reads a string, a whole number or null.
func plainText(raw json.RawMessage) (string, bool) {
	var text *string
	if json.Unmarshal(raw, &text) == nil {
		if text == nil {
			return "", true
		}
		return *text, true
	}
	number := string(bytes.TrimSpace(raw))
	return number, strings.Trim(number, "0123456789") == ""
}

// atlasWriter writes one donor a line.
type atlasWriter struct {
	out
	header Header
	begun  bool
	comma  bool // before the next donor
}

type atlasFields struct {
	Field1 *string `json:"field1"`
	Field2 *string `json:"field2"`
}

type atlasLocus struct {
	DNA      atlasFields  `json:"dna"`
	Serology *atlasFields `json:"ser,omitempty"`
}

type atlasDonor struct {
	ID        string                `json:"recordId"`
	Change    Change                `json:"changeType"`
	Type      Type                  `json:"donorType"`
	Pool      *string               `json:"donPool"`
	Ethnicity *string               `json:"ethn"`
	HLA       map[string]atlasLocus `json:"hla"`
}

func (w *atlasWriter) begin() {
	if !w.begun {
		w.begun = true
		w.text(`{"updateMode":"`, string(w.header.Mode), `","donors":[`)
	}
}

func (w *atlasWriter) Write(d Donor) error {
	at, refused := fieldsOf(d.Typing)
	if d.Change == "" {
		d.Change = Upsert
	}
	if d.Type == "" {
		d.Type = Adult
	}
	for _, key := range []string{"changeType", "donorType", "donPool"} {
		value := map[string]string{"changeType": string(d.Change), "donorType": string(d.Type), "donPool": d.Pool}[key]
		if refused == nil && !keys[key](&Donor{}, value) {
			refused = &RecordError{Field: key, Rule: RuleForm, Text: keyRules[key], Read: value}
		}
	}
	if refused = w.check(d, refused); refused != nil {
		return refused
	}
	w.loseAll(&d, "ID", "ETHN")
	if d.FrequencySet != "" {
		w.lose("HF_SET")
	}
	line := atlasDonor{ID: d.ID, Change: d.Change, Type: d.Type, Pool: known(d.Pool), Ethnicity: known(d.Ethnicity), HLA: map[string]atlasLocus{}}
	for i, locus := range atlasLoci {
		fields := at[locus]
		if fields == nil && i >= atlasNeeds {
			continue
		}
		if fields == nil {
			fields = &locusFields{}
		}
		l := atlasLocus{DNA: atlasFields{known(fields.dna[0]), known(fields.dna[1])}}
		if locus != hla.DPB1 {
			l.Serology = &atlasFields{known(fields.serology[0]), known(fields.serology[1])}
		} else if fields.serology != (pair{}) {
			w.lose("HLA/" + string(locus))
		}
		line.HLA[strings.ToLower(string(locus))] = l
	}
	for locus := range at {
		if !slices.Contains(atlasLoci, locus) {
			w.lose("HLA/" + string(locus))
		}
	}
	w.begin()
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if w.comma {
		w.text(",")
	}
	w.comma = true
	w.text("\n", string(text))
	return w.err
}

func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func (w *atlasWriter) Close() error {
	w.begin()
	w.text("\n]}\n")
	return w.flush()
}
