package exchange

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/liferelay/liferelay/registry/hla"
)

// The WMDA's inventory: INVENTORIES of INVENTORY of DONOR or CBU.

var errDeep = errors.New("too deep")

// elements are those below a donor that only hold others.
var elements = map[string]bool{"HLA": true, "IDM": true}

// headings are the attributes of an inventory.
var headings = map[string]struct {
	set  func(*Header, string) bool
	rule string
}{
	"LISTING_ORGANIZATION": {func(h *Header, v string) bool { h.Listing = v; return poolForm.MatchString(v) }, "must be an ION of four digits"},
	"POOL":                 {func(h *Header, v string) bool { h.Pool = v; return poolForm.MatchString(v) }, "must be an ION of four digits"},
	"CONTENT_TYPE":         {func(h *Header, v string) bool { h.Type = Type(v); return h.Type == Adult || h.Type == Cord }, "must be D or C"},
	"UPDATE_MODE": {func(h *Header, v string) bool {
		h.Mode = map[string]Mode{"FULL": Full, "DIFF": Diff}[v]
		return h.Mode != ""
	}, "must be FULL or DIFF"},
	"SNAPSHOT_TIME": {func(h *Header, v string) bool {
		at, err := time.Parse(time.RFC3339, v)
		h.Snapshot = at.UTC()
		return err == nil
	}, "must be a time such as 2016-08-23T13:16:48Z"},
	"SCHEMA_VERSION": {func(h *Header, v string) bool { h.Version = v; return len(v) <= 10 }, "must be a version such as 2.2"},
}

// readWMDA reads token by token: of a file nothing is kept but the path to where it stands and the donor that is read.
func (r *Reader) readWMDA(yield func(Donor, error) bool) error {
	tokens := xml.NewDecoder(r.from)
	var path []string // of elements that are open
	begun := false
	for {
		r.from.renew()
		token, err := tokens.Token()
		switch {
		case errors.Is(err, io.EOF):
			if !begun {
				return r.failed(tokens, "is not an inventory of the WMDA: it has no element", nil)
			}
			return nil // the decoder has seen to it that all is closed
		case err != nil:
			return r.fail(tokens, err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			begun = true
			name := t.Name.Local
			switch {
			case len(path) == 0 && name != "INVENTORIES" && name != "INVENTORY":
				return r.failed(tokens, "is not an inventory of the WMDA: it begins with another element", nil)
			case name == "INVENTORY" && (len(path) == 0 || len(path) == 1 && path[0] == "INVENTORIES"):
				if err := r.readHeader(tokens, t.Attr); err != nil {
					return err
				}
			case (name == "DONOR" || name == "CBU") && len(path) > 0 && path[len(path)-1] == "INVENTORY":
				more, err := r.readItem(tokens, name, yield)
				if err != nil || !more {
					return err
				}
				continue // its end was read
			case len(path) > 0:
				r.ignore(name)
				if err := r.skip(tokens, len(path)); err != nil {
					return err
				}
				continue
			}
			path = append(path, name)
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
}

func (r *Reader) readHeader(tokens *xml.Decoder, attributes []xml.Attr) error {
	r.header = Header{Mode: Full}
	for _, a := range attributes {
		heading, known := headings[a.Name.Local]
		if !known {
			r.ignore("@" + a.Name.Local)
		} else if !heading.set(&r.header, a.Value) {
			return r.failed(tokens, "the attribute "+a.Name.Local+" of the inventory "+heading.rule, nil)
		}
	}
	return nil
}

// readItem reads a donor up to the end of the element, whatever is wrong with them.
func (r *Reader) readItem(tokens *xml.Decoder, element string, yield func(Donor, error) bool) (more bool, err error) {
	r.records++
	d := Donor{Pool: r.header.Pool, Type: Adult}
	if element == "CBU" {
		d.Type = Cord
	}
	at := map[hla.Locus]*locusFields{}
	var wrong *RecordError
	var path []string
	var text strings.Builder
	size := 0
	for {
		r.from.renew()
		before := tokens.InputOffset()
		token, err := tokens.Token()
		if err != nil {
			return false, r.fail(tokens, err)
		}
		if size += int(tokens.InputOffset() - before); size > maxRecord {
			return false, r.fail(tokens, tooLong{})
		}
		switch t := token.(type) {
		case xml.StartElement:
			if len(path) >= maxDepth {
				return false, r.fail(tokens, errDeep)
			}
			path = append(path, t.Name.Local)
			text.Reset()
			where := strings.Join(path, "/")
			_, plain := byPath[where]
			if !plain && !elements[where] && !ofLocus(path) {
				r.ignore(where)
				if err := r.skip(tokens, len(path)); err != nil {
					return false, err
				}
				path = path[:len(path)-1]
			}
		case xml.CharData:
			if text.Len()+len(t) > maxField {
				if wrong == nil {
					wrong = &RecordError{Field: strings.Join(path, "/"), Rule: RuleLong, Text: "is longer than a field may be"}
				}
				continue
			}
			text.Write(t)
		case xml.EndElement:
			if len(path) == 0 {
				if typing, refused := typingOf(at); wrong == nil {
					d.Typing, wrong = typing, refused
				}
				if r.header.Mode == Diff {
					d.Change = Upsert
					if d.Status == Deleted {
						d.Change = Delete
					}
				}
				return r.give(d, wrong, yield), nil
			}
			value := strings.TrimSpace(text.String())
			text.Reset()
			if a, plain := byPath[strings.Join(path, "/")]; plain {
				if refused := a.set(&d, value); refused != nil && wrong == nil {
					wrong = refused
				}
			} else if len(path) == 4 {
				locusField(at, path, value)
			}
			path = path[:len(path)-1]
		}
	}
}

// ofLocus tells whether a path leads to a field of a typing, HLA/A/DNA/FIELD1, or part of the way.
func ofLocus(path []string) bool {
	return path[0] == "HLA" && len(path) <= 4 &&
		(len(path) < 2 || hla.Locus(path[1]).Valid()) &&
		(len(path) < 3 || path[2] == "DNA" || path[2] == "SER" && letters[hla.Locus(path[1])] != "") &&
		(len(path) < 4 || path[3] == "FIELD1" || path[3] == "FIELD2")
}

func locusField(at map[hla.Locus]*locusFields, path []string, value string) {
	locus := hla.Locus(path[1])
	if at[locus] == nil {
		at[locus] = &locusFields{}
	}
	fields := &at[locus].dna
	if path[2] == "SER" {
		fields = &at[locus].serology
	}
	if path[3] == "FIELD1" {
		fields[0] = value
	} else {
		fields[1] = value
	}
}

// skip reads to the end of an element, as decoder.Skip does, within the limits.
func (r *Reader) skip(tokens *xml.Decoder, depth int) error {
	for open := 1; open > 0; {
		r.from.renew()
		token, err := tokens.Token()
		if err != nil {
			return r.fail(tokens, err)
		}
		switch token.(type) {
		case xml.StartElement:
			if open++; depth+open > maxDepth {
				return r.fail(tokens, errDeep)
			}
		case xml.EndElement:
			open--
		}
	}
	return nil
}

func (r *Reader) fail(tokens *xml.Decoder, err error) error {
	var syntax *xml.SyntaxError
	switch {
	case errors.As(err, new(tooLong)):
		return r.failed(tokens, "is longer than a record may be", err)
	case errors.As(err, &syntax):
		return r.failed(tokens, "is not well-formed XML", err)
	case errors.Is(err, errDeep):
		return r.failed(tokens, "has more elements within each other than an inventory has", err)
	}
	return r.failed(tokens, "cannot be read", err)
}

func (r *Reader) failed(tokens *xml.Decoder, text string, err error) error {
	line, _ := tokens.InputPos()
	return &FileError{line, text, err}
}

// wmdaWriter writes an inventory. Donors of another pool or type begin an inventory of their own.
type wmdaWriter struct {
	out
	header Header
	pool   string
	kind   Type
	open   bool
	begun  bool
}

const wmdaVersion = "2.2"

func (w *wmdaWriter) begin() {
	if !w.begun {
		w.begun = true
		w.text("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<INVENTORIES")
		if !w.header.Snapshot.IsZero() {
			w.attribute("CREATION_TIME", w.header.Snapshot.UTC().Format(time.RFC3339))
		}
		w.text(">\n")
	}
}

func (w *wmdaWriter) inventory(pool string, kind Type) {
	if w.open && w.pool == pool && w.kind == kind {
		return
	}
	w.end()
	w.pool, w.kind, w.open = pool, kind, true
	w.text("<INVENTORY")
	listing := w.header.Listing
	if listing == "" {
		listing = pool
	}
	for _, a := range [][2]string{{"LISTING_ORGANIZATION", listing}, {"POOL", pool}, {"CONTENT_TYPE", string(kind)}, {"UPDATE_MODE", strings.ToUpper(string(w.header.Mode))}} {
		if a[1] != "" {
			w.attribute(a[0], a[1])
		}
	}
	if !w.header.Snapshot.IsZero() {
		w.attribute("SNAPSHOT_TIME", w.header.Snapshot.UTC().Format(time.RFC3339))
	}
	w.attribute("SCHEMA_VERSION", wmdaVersion)
	w.text(">\n")
}

func (w *wmdaWriter) end() {
	if w.open {
		w.text("</INVENTORY>\n")
		w.open = false
	}
}

func (w *wmdaWriter) attribute(name, value string) {
	w.text(" ", name, `="`)
	w.escaped(value)
	w.text(`"`)
}

func (w *wmdaWriter) element(name, value string) {
	if value == "" {
		return
	}
	w.text("<", name, ">")
	w.escaped(value)
	w.text("</", name, ">")
}

func (w *wmdaWriter) escaped(value string) {
	if w.err == nil {
		w.err = xml.EscapeText(w.to, []byte(value))
	}
}

func (w *wmdaWriter) Write(d Donor) error {
	at, refused := fieldsOf(d.Typing)
	if d.Type == "" {
		d.Type = Adult
	}
	switch {
	case refused != nil:
	case d.Type != Adult && d.Type != Cord:
		refused = &RecordError{Field: "CONTENT_TYPE", Rule: RuleForm, Text: "must be D or C", Read: string(d.Type)}
	case d.Pool != "" && !poolForm.MatchString(d.Pool):
		refused = &RecordError{Field: "POOL", Rule: RuleForm, Text: "must be an ION of four digits", Read: d.Pool}
	case d.Change == Delete && w.header.Mode == Diff:
		d.Status = Deleted
	case d.Change == Delete:
		refused = &RecordError{Field: "UPDATE_MODE", Rule: RuleForm, Text: "a full inventory has no deleted donors; write a DIFF"}
	}
	if refused = w.check(d, refused); refused != nil {
		return refused
	}
	if d.FrequencySet != "" {
		w.lose("HF_SET")
	}
	w.begin()
	w.inventory(d.Pool, d.Type)
	element := map[Type]string{Adult: "DONOR", Cord: "CBU"}[d.Type]
	w.text("<", element, ">")
	within := ""
	for _, a := range attributes {
		if a.path == "IDM/CMV" {
			w.typing(at)
		}
		group, name, nested := strings.Cut(a.path, "/")
		if !nested {
			group, name = "", a.path
		}
		value := a.get(&d)
		if value == "" {
			continue
		}
		if within != group && within != "" {
			w.text("</", within, ">")
			within = ""
		}
		if group != within {
			w.text("<", group, ">")
			within = group
		}
		w.element(name, value)
	}
	if within != "" {
		w.text("</", within, ">")
	}
	w.text("</", element, ">\n")
	return w.err
}

func (w *wmdaWriter) typing(at map[hla.Locus]*locusFields) {
	if len(at) == 0 {
		return
	}
	w.text("<HLA>")
	for _, locus := range wmdaLoci {
		fields := at[locus]
		if fields == nil {
			continue
		}
		w.text("<", string(locus), ">")
		for _, kind := range []struct {
			name string
			pair pair
		}{{"SER", fields.serology}, {"DNA", fields.dna}} {
			if kind.pair != (pair{}) {
				w.text("<", kind.name, ">")
				w.element("FIELD1", kind.pair[0])
				w.element("FIELD2", kind.pair[1])
				w.text("</", kind.name, ">")
			}
		}
		w.text("</", string(locus), ">")
	}
	w.text("</HLA>")
}

// wmdaLoci is the order of the XSD, E after C since 2.3.
var wmdaLoci = []hla.Locus{hla.A, hla.B, hla.C, hla.E, hla.DRB1, hla.DRB3, hla.DRB4, hla.DRB5, hla.DQA1, hla.DQB1, hla.DPA1, hla.DPB1}

func (w *wmdaWriter) Close() error {
	w.begin()
	w.end()
	w.text("</INVENTORIES>\n")
	return w.flush()
}
