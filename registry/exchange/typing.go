package exchange

import (
	"regexp"
	"strings"

	"github.com/liferelay/liferelay/registry/hla"
)

// Most formats have two fields for a locus, one for each copy, and often two kinds of them: names by DNA without their locus ("01:01",
// "01:AB", "01:06/07") and antigens without their letters ("2"). Here they become a GL string, and come out of one. A typing is looked at no
// closer than its form; hla.Reader says what it means.

// pair is what the two fields of a locus say.
type pair [2]string

// locusFields is what a record says of a locus.
type locusFields struct{ dna, serology pair }

// letters are those of a locus's antigens.
var letters = map[hla.Locus]string{hla.A: "A", hla.B: "B", hla.C: "Cw", hla.DRB1: "DR", hla.DQB1: "DQ", hla.DPB1: "DP"}

var (
	dnaForm     = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z:/]*$`)
	antigenForm = regexp.MustCompile(`^[1-9]\d{0,3}(\(\d{1,2}\))?$`)
)

const (
	dnaRule     = "must be a name such as 01:01, 01:XX or 01:AB, without its locus"
	antigenRule = "must be the number of an antigen, such as 2"
	listRule    = "has a list of pairs, or another form that this format has no field for; write one name or list for each copy"
)

// unknown tells whether a field says that nothing is known.
func unknown(text string) bool { return text == "" || text == "UUUU" || text == "XXXX" }

// bare takes the locus off a name, which some senders write all the same: "HLA-A*01:01", "*01:01".
func bare(text string, before ...string) string {
	text = strings.TrimPrefix(strings.TrimSpace(text), "HLA-")
	for _, b := range before {
		if rest, found := strings.CutPrefix(text, b); found {
			text = rest
			break
		}
	}
	return strings.TrimPrefix(text, "*")
}

// typingOf puts the fields of all loci together. A locus has its names by DNA, or its antigens where it has none. A second field that is
// empty says that both copies are the same, as it does in Atlas; of DRB3, DRB4 and DRB5 it says that there is no second copy.
func typingOf(at map[hla.Locus]*locusFields) (string, *RecordError) {
	var gl strings.Builder
	for _, locus := range hla.Loci() {
		fields := at[locus]
		if fields == nil {
			continue
		}
		names, err := names(fields.dna, dnaForm, dnaRule, string(locus)+"/DNA", string(locus)+"*", string(locus)+"*")
		if err == nil && names == nil && letters[locus] != "" {
			l := letters[locus]
			names, err = namesOfAntigens(fields.serology, locus, l)
		}
		if err != nil {
			return "", err
		}
		if names == nil {
			continue
		}
		if gl.Len() > 0 {
			gl.WriteByte('^')
		}
		gl.WriteString(strings.Join(names, "+"))
	}
	return gl.String(), nil
}

func namesOfAntigens(p pair, locus hla.Locus, l string) ([]string, *RecordError) {
	return names(p, antigenForm, antigenRule, string(locus)+"/SER", l, l, strings.TrimSuffix(l, "w"))
}

// names gives the two names of a locus, nil where nothing is known of it.
func names(p pair, form *regexp.Regexp, rule, field, prefix string, strip ...string) ([]string, *RecordError) {
	for i := range p {
		if p[i] = bare(p[i], strip...); unknown(p[i]) {
			p[i] = ""
		} else if !form.MatchString(p[i]) || strings.HasSuffix(p[i], "/") || strings.Contains(p[i], "//") {
			return nil, &RecordError{Field: field, Rule: RuleForm, Text: rule, Read: p[i]}
		}
	}
	switch {
	case p[0] == "" && p[1] == "":
		return nil, nil
	case p[0] == "":
		p[0], p[1] = p[1], p[0]
	}
	out := []string{prefix + p[0]}
	if p[1] != "" {
		out = append(out, prefix+p[1])
	} else if !strings.HasPrefix(prefix, "DRB3") && !strings.HasPrefix(prefix, "DRB4") && !strings.HasPrefix(prefix, "DRB5") {
		out = append(out, out[0])
	}
	return out, nil
}

// fieldsOf takes a GL string apart. What has more to say than two fields can is refused.
func fieldsOf(gl string) (map[hla.Locus]*locusFields, *RecordError) {
	at := map[hla.Locus]*locusFields{}
	if strings.TrimSpace(gl) == "" {
		return at, nil
	}
	refuse := func(read string) *RecordError {
		return &RecordError{Field: "HLA", Rule: RuleTyping, Text: listRule, Read: read}
	}
	for part := range strings.SplitSeq(gl, "^") {
		copies := strings.Split(part, "+")
		if len(copies) > 2 {
			return nil, refuse(part)
		}
		var locus hla.Locus
		var fields locusFields
		for i, text := range copies {
			where, dna, name := nameOf(strings.TrimSpace(text))
			if where == "" || locus != "" && where != locus {
				return nil, refuse(part)
			}
			if locus = where; dna {
				fields.dna[i] = name
			} else {
				fields.serology[i] = name
			}
		}
		if at[locus] != nil || fields.dna != (pair{}) && fields.serology != (pair{}) {
			return nil, refuse(part)
		}
		at[locus] = &fields
	}
	return at, nil
}

// nameOf takes a copy's text apart: its locus, empty where it is none that two fields can hold; whether it is of DNA; and what the field has.
func nameOf(text string) (locus hla.Locus, dna bool, field string) {
	gene, number, star := strings.Cut(strings.TrimPrefix(text, "HLA-"), "*")
	if !star {
		for l, before := range letters {
			for _, b := range []string{before, strings.TrimSuffix(before, "w")} {
				if rest, found := strings.CutPrefix(gene, b); found && antigenForm.MatchString(rest) {
					return l, false, rest
				}
			}
		}
		return "", false, ""
	}
	locus = hla.Locus(gene)
	var list []string
	for name := range strings.SplitSeq(number, "/") {
		list = append(list, bare(name, gene+"*"))
	}
	field = strings.Join(list, "/")
	if !locus.Valid() || !dnaForm.MatchString(field) || strings.Contains(field, "//") || strings.HasSuffix(field, "/") {
		return "", false, ""
	}
	return locus, true, field
}
