package web

import (
	"io"
	"slices"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/exchange"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/seal"
)

// exportPages are for taking many donors out at once in clear: one asks, another decides, and the first fetches.
func (s *Site) exportPages() {
	s.page("GET /exports", s.exports)
	s.act("POST /exports", s.askExport)
	s.page("GET /exports/{id}", s.export)
	s.act("POST /exports/{id}/words", s.revealExport)
	s.act("POST /exports/{id}/decide", s.decideExport)
	s.act("POST /exports/{id}/withdraw", s.withdrawExport)
	s.act("POST /exports/{id}/donors.csv", s.fetchExport)
	s.act("POST /exports/{id}/inventory", s.fetchInventory)
}

// exportStatuses are what the list of exports is narrowed by.
var exportStatuses = []string{"waiting", "approved", "refused", "withdrawn", "expired", "over"}

// exportClasses are what can be in an export in clear.
var exportClasses = []policy.Class{policy.Identity, policy.Contact, policy.HLA}

// mayAskExport tells whether the reader may take anything out in clear, for some purpose.
func mayAskExport(v *Visit) bool {
	return slices.ContainsFunc(exportClasses, func(c policy.Class) bool { return v.May(policy.Export, c) })
}

func (s *Site) exports(v *Visit) (Answer, error) {
	form := Blank[registry.ExportForm](v)
	if held := v.abilities().Held(); len(held) > 0 {
		form.Set("region", held[0].Region)
	}
	return s.exportList(v, form)
}

func (s *Site) exportList(v *Visit, form *Filled) (Answer, error) {
	list, err := s.store.ListExports(v, watching(v), registry.ExportsFilter{Status: v.Query("status"), Mine: v.Query("mine") != "", After: v.QueryID("after"), Limit: listed})
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == listed {
		next = list[listed-1].ID.String()
	}
	form.Choose("classes", wordsOfAll(v, "Class", exportClasses)).Hint("classes", v.Say("exports.classes_hint")).Choose("purpose", wordsOfAll(v, "Purposes", policy.Purposes())).Call("purpose", v.Say("audit.purpose")).
		Hint("purpose", v.Say("exports.purpose_hint")).Call("region", v.Say("exports.region")).Call("reason", v.Say("exports.reason")).Hint("reason", v.Say("exports.reason_hint")).
		Call("filter", v.Say("exports.filter")).Without("filter.drive").Call("filter.programme", forms.FieldName("programme", v.Locale)).Choose("filter.programme", append([]Option{{Label: v.Say("donor.all")}}, wordsOfAll(v, "Programme", programmes)...)).
		Choose("filter.status", wordsOfAll(v, "Status", donorStatuses)).Call("filter.status", v.Say("reviews.state")).Call("filter.registered_from", v.Say("donor.registered_from")).
		Call("filter.registered_before", v.Say("exports.registered_before")).Call("filter.contacted_before", v.Say("donor.contacted_before"))
	return v.Page("page.exports", exportsPage(v, list, form, next)), nil
}

func (s *Site) askExport(v *Visit) (Answer, error) {
	f, filled := Read[registry.ExportForm](v)
	if filled.Good() {
		e, err := s.store.AskExport(v, v.Actor, f)
		if err == nil {
			return v.To("/exports/"+e.ID.String(), "said.export_asked"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.exportList(v, filled)
}

// exportShown is the page of one export.
type exportShown struct {
	registry.ExportView
	own    bool
	office string
	words  *registry.ExportWords
	form   *Filled
	wrong  string
}

// inventory tells that it names nobody, and is fetched in the formats that registries exchange.
func (e *exportShown) inventory() bool { return slices.Contains(e.Classes, policy.HLA) }

func (s *Site) readExport(v *Visit) (*exportShown, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	e := &exportShown{form: Blank[registry.ExportDecision](v)}
	if e.ExportView, err = s.store.ShowExport(v, watching(v), id); err != nil {
		return nil, err
	}
	e.own = e.By == v.Actor.Staff()
	offices, err := s.offices(v)
	if err != nil && !isClosed(err) {
		return nil, err
	}
	e.office = called(offices, e.Organisation.String())
	return e, nil
}

func (v *Visit) exportAnswer(e *exportShown) Answer {
	e.form.Call("note", v.Say("reviews.note")).Hint("note", v.Say("exports.note_hint"))
	return v.Page("page.export", exportPage(v, e))
}

func (s *Site) export(v *Visit) (Answer, error) {
	e, err := s.readExport(v)
	if err != nil {
		return nil, err
	}
	return v.exportAnswer(e), nil
}

// exportAgain shows an export with why what was sent was not done.
func (s *Site) exportAgain(v *Visit, err error) (Answer, error) {
	says, mended := v.refusal(err)
	if !mended {
		return nil, err
	}
	e, err := s.readExport(v)
	if err != nil {
		return nil, err
	}
	e.wrong, v.refused = says, true
	return v.exportAnswer(e), nil
}

// revealExport shows the words with which it was asked for and decided, to who decides and to who asked.
func (s *Site) revealExport(v *Visit) (Answer, error) {
	e, err := s.readExport(v)
	if err != nil {
		return nil, err
	}
	words, err := s.store.RevealExport(v, v.Actor, e.ID)
	if err != nil {
		return nil, err
	}
	e.words = &words
	v.SetHeader("Cache-Control", "no-store")
	return v.exportAnswer(e), nil
}

func (s *Site) decideExport(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	approve := v.Field("verdict") == "approve"
	if _, err := s.store.DecideExport(v, v.Actor, id, approve, registry.ExportDecision{Note: seal.NoteOf(v.Field("note"))}); err != nil {
		return s.exportAgain(v, err)
	}
	return v.To("/exports/"+id.String(), "said.export_decided"), nil
}

func (s *Site) withdrawExport(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		err = s.store.WithdrawExport(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	return v.To("/exports/"+id.String(), "said.export_withdrawn"), nil
}

// fetchExport hands the sheet out. It is made anew each time, and remembered for no key of a form.
func (s *Site) fetchExport(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	sheet, err := s.store.FetchExport(v, v.Actor, id)
	if err != nil {
		return s.exportAgain(v, err)
	}
	v.SetHeader("Cache-Control", "no-store")
	return v.File("donors.csv", "text/csv; charset=utf-8", func(w io.Writer) error {
		_, err := w.Write(sheet.Data)
		return err
	}), nil
}

// inventoryFormats are the formats in which registries exchange typings, with what the file is called.
var inventoryFormats = []struct {
	format exchange.Format
	name   string
}{{exchange.WMDA, "inventory.xml"}, {exchange.Atlas, "inventory.json"}, {exchange.GL, "inventory.txt"}}

func (s *Site) fetchInventory(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	for _, one := range inventoryFormats {
		if string(one.format) != v.Field("format") {
			continue
		}
		f, err := s.store.FetchInventory(v, v.Actor, id, one.format)
		if err != nil {
			return s.exportAgain(v, err)
		}
		v.SetHeader("Cache-Control", "no-store")
		return v.File(one.name, "application/octet-stream", func(w io.Writer) error {
			defer func() { _ = f.Close() }()
			_, err := f.WriteTo(w)
			return err
		}), nil
	}
	return nil, registry.NewError(registry.Refused, "request_invalid", nil)
}

// exportTone is how an export's status looks.
func exportTone(status string) string {
	switch status {
	case "waiting":
		return "fair"
	case "approved":
		return "good"
	case "refused":
		return "bad"
	}
	return "faint"
}

// exportOf is of whom an export is, in words: pairs of a name and what it is narrowed by.
func exportOf(v *Visit, e registry.ExportView) (out []pairOf) {
	add := func(label, text string) {
		if text != "" && text != "—" {
			out = append(out, pairOf{label: label, mine: text})
		}
	}
	add(v.Say("exports.region"), v.Region(e.Region))
	add(forms.FieldName("programme", v.Locale), v.Word("Programme", e.Filter.Programme))
	add(v.Say("reviews.state"), v.Word("Status", e.Filter.Status))
	add(v.Say("donor.registered_from"), v.Day(e.Filter.RegisteredFrom))
	add(v.Say("exports.registered_before"), v.Day(e.Filter.RegisteredBefore))
	add(v.Say("donor.contacted_before"), v.Day(e.Filter.ContactedBefore))
	if e.Filter.Drive != uuid.Nil {
		add(v.Word("RecordKind", "drive"), e.Filter.Drive.String())
	}
	return out
}

// verdictOf is what was decided, whatever became of it later.
func verdictOf(e registry.ExportView) string {
	if e.Until != nil {
		return "approved"
	}
	return "refused"
}
