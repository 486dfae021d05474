package web

import (
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/workflows"
)

// paperBytes is what a form with a paper may bring: the paper, and the form around it. How large a paper may be is a rule.
const paperBytes = 12 << 20

func (s *Site) casePages() {
	s.page("GET /cases", s.caseList)
	s.page("GET /cases/{id}", s.casePage, inAct)
	s.act("POST /cases/{id}/attempts", s.addAttempt)
	s.act("POST /cases/{id}/messages", s.writeMessage)
	s.act("POST /cases/{id}/attachments", s.addCasePaper, uploads(paperBytes))
	s.page("GET /cases/{id}/undo", s.undoPage)
	s.act("POST /cases/{id}/undo", s.undo)
	s.act("POST /cases/{id}/undo/ask", s.askUndo)
	s.page("GET /undos", s.undoList)
	s.act("POST /undos/{id}", s.decideUndo)
	s.page("GET /messages", s.heldMessages)
	s.act("POST /messages/{id}", s.reviewMessage)
	s.page("GET /attachments/{id}", s.fetchPaper)
	s.act("POST /attachments/{id}/remove", s.removePaper)
}

// caseProtocols are what cases are listed by.
var caseProtocols = []registry.Protocol{registry.StemCellProtocol, registry.SearchProtocol, registry.EnrolmentProtocol, registry.DriveProtocol, registry.CareProtocol, registry.SafetyProtocol, registry.RightsProtocol}

// caseList are the cases that the reader may read, by what the address says.
func (s *Site) caseList(v *Visit) (Answer, error) {
	f := registry.CaseFilter{Protocol: registry.Protocol(v.Query("protocol")), Status: v.Query("status"), Step: v.Query("step"), Number: strings.TrimSpace(v.Query("q")), After: v.QueryID("after"), Limit: casesAtOnce}
	list, err := s.store.ListCases(v, v.Actor, f)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == casesAtOnce {
		next = list[len(list)-1].ID.String()
	}
	return v.Page("page.cases", caseListPage(v, list, next)), nil
}

const casesAtOnce = 50

// stepsOf are the steps of a protocol, for a filter.
func stepsOf(protocol string) (out []string) {
	for _, step := range registry.Steps() {
		if protocol != "" && strings.HasPrefix(step, protocol+".") {
			out = append(out, step)
		}
	}
	return out
}

// caseTabs are the views of a case's page.
var caseTabs = []string{"timeline", "people", "papers", "deadlines", "messages", "looks", "details"}

// caseRead is a case as a page shows it, with the forms on it.
type caseRead struct {
	registry.CasePage
	tab      string
	answer   *stepForm // to the first task that the reader may answer
	attempt  *Filled
	message  *Filled
	messages []registry.MessageView
	looks    []registry.Look
	since    *time.Time // when the reader looked on an earlier visit
	says     string     // why something was not done
}

func (s *Site) readCase(v *Visit) (*caseRead, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	c := &caseRead{tab: v.Query("tab")}
	if v.route.pattern == "GET /cases/{id}" && (c.tab == "" || c.tab == caseTabs[0]) { // who sees the timeline has seen what is on it
		var look registry.LookView
		c.CasePage, look, err = s.store.VisitCase(v, v.Actor, id)
		c.since = look.Since
	} else {
		c.CasePage, err = s.store.ShowCasePage(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	if !slices.Contains(c.tabs(v), c.tab) {
		c.tab = caseTabs[0]
	}
	for _, n := range c.Next {
		if n.Mine && c.answer == nil {
			if c.answer, err = s.stepForm(v, n); err != nil {
				return nil, err
			}
		}
	}
	c.attempt = Blank(v, forms.ContactAttempt{At: time.Now()}).Apart("attempt")
	c.message = messageForm(v, Blank[registry.MessageForm](v))
	switch c.tab {
	case "messages":
		c.messages, err = s.store.ListMessages(v, v.Actor, id)
	case "looks":
		c.looks, err = s.store.WhoLookedAtCase(v, v.Actor, id, registry.LookFilter{Limit: 100})
		if registry.KindOf(err) == registry.Denied || registry.KindOf(err) == registry.NotFound {
			c.tab, err = caseTabs[0], nil
		}
	}
	return c, err
}

// tabs are those that the reader has something in.
func (c *caseRead) tabs(v *Visit) []string {
	return slices.DeleteFunc(slices.Clone(caseTabs), func(tab string) bool {
		switch tab {
		case "messages":
			return c.Protocol != registry.StemCellProtocol
		case "looks":
			return c.Side == registry.PatientSide || !v.May(policy.Read, policy.Audit) && !v.May(policy.Read, policy.Rights)
		}
		return false
	})
}

func (s *Site) casePage(v *Visit) (Answer, error) {
	c, err := s.readCase(v)
	if err != nil {
		return nil, err
	}
	return v.caseAnswer(c), nil
}

func (v *Visit) caseAnswer(c *caseRead) Answer {
	return v.Page("page.case", casePage(v, c), "Number", c.Number)
}

// again shows a case's page with what was wrong. The error is one that no form takes.
func (s *Site) again(v *Visit, tab string, change func(*caseRead), err error) (Answer, error) {
	switch registry.KindOf(err) {
	case registry.Invalid, registry.Refused, registry.Conflict, registry.Stale:
	default:
		return nil, err
	}
	c, failed := s.readCase(v)
	if failed != nil {
		return nil, failed
	}
	v.refused = true
	if c.tab = tab; tab == "messages" {
		if c.messages, failed = s.store.ListMessages(v, v.Actor, c.ID); failed != nil {
			return nil, failed
		}
	}
	if change != nil {
		change(c)
	} else {
		c.says = v.Locale.Say("error."+registry.CodeOf(err), argsOf(err))
	}
	return v.caseAnswer(c), nil
}

func caseAt(id uuid.UUID, tab string) string {
	if tab == "" {
		return "/cases/" + id.String()
	}
	return "/cases/" + id.String() + "?tab=" + tab
}

func (s *Site) addAttempt(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, filled := Read[forms.ContactAttempt](v)
	if filled.Good() {
		_, err = s.store.AddAttempt(v, v.Actor, id, f)
		if err == nil {
			return v.To(caseAt(id, "people"), "said.attempt_added"), nil
		}
		if !filled.Takes(err) {
			return s.again(v, "people", nil, err)
		}
	}
	return s.again(v, "people", func(c *caseRead) { c.attempt = filled.Apart("attempt") }, registry.NewError(registry.Invalid, "form_invalid", nil))
}

func (s *Site) writeMessage(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, filled := Read[registry.MessageForm](v)
	if filled.Good() {
		m, err := s.store.WriteMessage(v, v.Actor, id, f)
		if err == nil {
			said := "said.message_delivered"
			if m.Status == "held" {
				said = "said.message_held"
			}
			return v.To(caseAt(id, "messages"), said), nil
		}
		if !filled.Takes(err) {
			return s.again(v, "messages", nil, err)
		}
	}
	return s.again(v, "messages", func(c *caseRead) { c.message = messageForm(v, filled) }, registry.NewError(registry.Invalid, "form_invalid", nil))
}

// messageForm asks for what is said to the other side.
func messageForm(v *Visit, f *Filled) *Filled {
	return f.Apart("message").Call("text", v.Say("case.message_text"))
}

// paper reads the file that came with a form.
func (v *Visit) paper() (registry.AttachmentForm, error) {
	var f registry.AttachmentForm
	file, called, err := v.Upload("file")
	if err != nil {
		return f, err
	}
	if file == nil {
		return f, registry.NewError(registry.Invalid, "attachment_missing", nil)
	}
	defer file.Close()
	f.Name = called
	f.Body, err = io.ReadAll(file)
	return f, err
}

func (s *Site) addCasePaper(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, err := v.paper()
	if err == nil {
		f.Case = id
		_, err = s.store.AddAttachment(v, v.Actor, f)
	}
	if err != nil {
		return s.again(v, "papers", nil, err)
	}
	return v.To(caseAt(id, "papers"), "said.attachment_added"), nil
}

func (s *Site) fetchPaper(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, err := s.store.FetchAttachment(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	v.SetHeader("Cache-Control", "no-store")
	return v.File(f.Name, f.Media, func(w io.Writer) error {
		_, err := w.Write(f.Body)
		return err
	}), nil
}

func (s *Site) removePaper(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, filled := Read[registry.AttachmentRemoval](v)
	if !filled.Good() {
		return nil, registry.Invalidated(filled.problems)
	}
	paper, err := s.store.RemoveAttachment(v, v.Actor, id, v.FieldInt("_version"), f)
	if err != nil {
		return nil, err
	}
	back := caseAt(paper.CaseID, "papers")
	if paper.TaskID != nil && v.Field("_from") == "step" {
		back = "/steps/" + paper.TaskID.String()
	}
	return v.To(back, "said.attachment_removed"), nil
}

// undoable are the steps that have an answer that stands, before the one at hand.
func (c *caseRead) undoable() (out []string) {
	for _, t := range c.Tasks {
		if t.Status == "done" && t.Step != c.Step && !slices.Contains(out, t.Step) {
			out = append(out, t.Step)
		}
	}
	return out
}

// undoRead is a case with what opening a step of it again would do.
type undoRead struct {
	*caseRead
	step    string
	preview registry.ReopenPreview
	against string // why it cannot be opened
	form    *Filled
}

func (s *Site) readUndo(v *Visit, step string) (*undoRead, error) {
	c, err := s.readCase(v)
	if err != nil {
		return nil, err
	}
	if !c.Undoes {
		return nil, registry.NewError(registry.Denied, "denied", map[string]any{"Action": string(policy.Decide), "Class": string(policy.Case)})
	}
	u := &undoRead{caseRead: c, step: step, form: Blank[registry.ReopeningForm](v).Only("reason").Apart("undo")}
	if step == "" {
		return u, nil
	}
	plan, err := s.cases.WouldReopen(v, c.Protocol, c.ID, step)
	if err == nil {
		u.preview, err = s.store.PreviewReopen(v, v.Actor, c.ID, plan)
	}
	switch registry.KindOf(err) {
	case registry.Refused, registry.Unavailable, registry.Stale:
		u.against = v.Locale.Say("error."+registry.CodeOf(err), argsOf(err))
		err = nil
	}
	return u, err
}

// undoPage shows what opening a step again would do, before anybody does it.
func (s *Site) undoPage(v *Visit) (Answer, error) {
	u, err := s.readUndo(v, v.Query("step"))
	if err != nil {
		return nil, err
	}
	return v.Page("page.undo", undoPage(v, u), "Number", u.Number), nil
}

// undone carries a decision about an undo out, and shows the preview again where it was refused.
func (s *Site) undone(v *Visit, do func(c registry.CaseView, f registry.ReopeningForm) (Answer, error)) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, filled := Read[registry.ReopeningForm](v)
	if filled.Good() {
		c, err := s.store.ShowReopenable(v, v.Actor, id)
		if err == nil && c.Version != v.FieldInt("_version") {
			err = registry.NewError(registry.Stale, "case_changed", nil)
		}
		if err == nil {
			var answer Answer
			if answer, err = do(c, f); err == nil {
				return answer, nil
			}
		}
		if kind := registry.KindOf(err); kind != registry.Refused && kind != registry.Stale && !filled.Takes(err) {
			return nil, err
		}
		u, failed := s.readUndo(v, f.Step)
		if failed != nil {
			return nil, failed
		}
		v.refused = true
		u.says = v.Locale.Say("error."+registry.CodeOf(err), argsOf(err))
		return v.Page("page.undo", undoPage(v, u), "Number", u.Number), nil
	}
	u, err := s.readUndo(v, f.Step)
	if err != nil {
		return nil, err
	}
	u.form = filled.Only("reason").Apart("undo")
	v.refused = true
	return v.Page("page.undo", undoPage(v, u), "Number", u.Number), nil
}

func (s *Site) undo(v *Visit) (Answer, error) {
	return s.undone(v, func(c registry.CaseView, f registry.ReopeningForm) (Answer, error) {
		_, err := s.cases.Reopen(v, c.Protocol, c.ID, v.Key(), workflows.ReopenCommand{Step: f.Step, Reason: f.Reason, Staff: v.Actor.Staff()})
		return v.To(caseAt(c.ID, ""), "said.reopened"), err
	})
}

func (s *Site) askUndo(v *Visit) (Answer, error) {
	return s.undone(v, func(c registry.CaseView, f registry.ReopeningForm) (Answer, error) {
		_, err := s.store.AskReopening(v, v.Actor, c.ID, c.Version, f)
		return v.To("/cases/"+c.ID.String()+"/undo?step="+url.QueryEscape(f.Step), "said.reopening_asked"), err
	})
}

func (s *Site) undoList(v *Visit) (Answer, error) {
	list, err := s.store.ListReopenings(v, v.Actor, v.QueryID("after"), casesAtOnce)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == casesAtOnce {
		next = list[len(list)-1].ID.String()
	}
	return v.Page("page.undos", undoListPage(v, list, next)), nil
}

func (s *Site) decideUndo(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, filled := Read[registry.ReopeningVerdict](v)
	if !filled.Good() {
		return nil, registry.Invalidated(filled.problems)
	}
	if _, err := s.store.DecideReopening(v, v.Actor, id, v.FieldInt("_version"), f); err != nil {
		return nil, err
	}
	return v.To("/undos", "said.reopening_decided"), nil
}

func (s *Site) heldMessages(v *Visit) (Answer, error) {
	list, err := s.store.HeldMessages(v, v.Actor, v.QueryID("after"), casesAtOnce)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == casesAtOnce {
		next = list[len(list)-1].ID.String()
	}
	return v.Page("page.held_messages", heldMessagesPage(v, list, next)), nil
}

func (s *Site) reviewMessage(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, filled := Read[registry.MessageReview](v)
	if !filled.Good() {
		return nil, registry.Invalidated(filled.problems)
	}
	if _, err := s.store.ReviewMessage(v, v.Actor, id, v.FieldInt("_version"), f); err != nil {
		return nil, err
	}
	return v.To("/messages", "said.message_reviewed"), nil
}

// stepForm is the form of a task as somebody fills it in.
type stepForm struct {
	registry.NextStep
	*Filled
	says      string                 // why it was not taken
	meanwhile *registry.AnsweredTask // what somebody else answered
}

// stepForm begins the form of a task with what the task and the address say.
func (s *Site) stepForm(v *Visit, n registry.NextStep) (*stepForm, error) {
	f := &stepForm{NextStep: n, Filled: BlankOf(v, registry.StepForm(n.Step))}
	if outcome := v.Query("outcome"); outcome != "" {
		f.Set("outcome", outcome)
	}
	arg := func(name string) string { text, _ := n.Args[name].(string); return text }
	day := arg("On")
	if day == "" {
		day = calendar.Of(time.Now(), registry.Zone).String()
	}
	for _, field := range []string{"on", "drawn_on", "typed_on", "examined_on", "signed_on", "started_on", "given_on", "collected_on"} {
		if f.has(field) && n.Step != "stemcell.sample_booking" {
			f.Set(field, day)
		}
	}
	if n, ok := n.Args["Day"].(float64); ok && f.has("day") {
		f.Set("day", strconv.Itoa(int(n)))
	}
	if arg("Conditioning") != "" && f.has("window") {
		f.Set("window.conditioning", arg("Conditioning")).Set("window.mobilisation", arg("Mobilisation")).Set("window.collection", arg("Collection"))
		if n.Step == "stemcell.conditioning" {
			f.Set("started_on", arg("Conditioning"))
		}
	}
	return f, s.offers(v, f)
}

func (f *Filled) has(field string) bool {
	for one := range fieldsOf(f.kind) {
		if name, _ := nameOf(one); name == field {
			return true
		}
	}
	return false
}

// offers fills in what a form's fields can be chosen from.
func (s *Site) offers(v *Visit, f *stepForm) error {
	if f.has("hospital") {
		for field, kinds := range map[string][]string{"hospital": {"hospital", "blood_station"}, "laboratory": {"laboratory", "blood_station"}} {
			var options []Option
			for _, kind := range kinds {
				found, err := s.store.ListOrganisations(v, v.Actor, kind, uuid.Nil, 200)
				if err != nil {
					return err
				}
				for _, o := range found {
					options = append(options, Option{Value: o.ID.String(), Label: o.Name, Hint: v.Region(o.Region)})
				}
			}
			f.Choose(field, options)
		}
	}
	if f.has("witness") {
		options := []Option{}
		for _, w := range f.Witnesses {
			options = append(options, Option{Value: w.ID.String(), Label: w.Name})
		}
		f.Choose("witness", options)
		if wording, ok := rules.CurrentWording("stemcell.donation", calendar.Of(time.Now(), registry.Zone)); ok {
			f.Choose("version", []Option{{Value: wording.Version, Label: wording.Version}}).Set("version", wording.Version)
		}
	}
	return nil
}

// outcomes are what a form can say, for the buttons of the next step.
func (f *stepForm) outcomes() []Option {
	if !f.has("outcome") {
		return nil
	}
	return f.One("outcome").Options
}

// pairOf is one field of two answers side by side.
type pairOf struct {
	label, mine, theirs string
	same                bool
}

// beside sets what somebody typed beside what somebody else answered.
func (f *stepForm) beside() (out []pairOf) {
	theirs := map[string]string{}
	var flat func(prefix string, value any)
	flat = func(prefix string, value any) {
		switch value := value.(type) {
		case map[string]any:
			if shown, ok := value["display"].(string); ok {
				theirs[prefix] = shown
				return
			}
			for _, name := range slices.Sorted(maps.Keys(value)) {
				flat(strings.TrimPrefix(prefix+"."+name, "."), value[name])
			}
		case []any:
			var parts []string
			for _, one := range value {
				if text, ok := one.(string); ok {
					parts = append(parts, text)
				}
			}
			theirs[prefix] = strings.Join(parts, "\n")
		case bool:
			theirs[prefix] = strconv.FormatBool(value)
		case float64:
			theirs[prefix] = strconv.FormatFloat(value, 'f', -1, 64)
		case string:
			theirs[prefix] = value
		}
	}
	var form any
	if json.Unmarshal(f.meanwhile.Form, &form) == nil {
		flat("", form)
	}
	zero := reflect.Zero(reflect.TypeFor[uuid.UUID]()).Interface().(uuid.UUID).String()
	for _, field := range f.all(f.Fields()) {
		mine, other := field.Value(), theirs[field.Path]
		if other == zero {
			other = ""
		}
		if mine == "" && other == "" || field.Input == "part" {
			continue
		}
		word := func(text string) string {
			for _, o := range field.Options {
				if o.Value == text {
					return o.Label
				}
			}
			return text
		}
		out = append(out, pairOf{field.Label, word(mine), word(other), mine == other})
	}
	return out
}

// stageClass says how a stage looks in the bar.
func stageClass(stages []registry.CaseStage, i int) string {
	here := slices.IndexFunc(stages, func(s registry.CaseStage) bool { return s.Here })
	switch {
	case i == here:
		return "here"
	case i < here && !stages[i].On.IsZero():
		return "done"
	default:
		return ""
	}
}

// nextTone is the tone of a deadline.
func nextTone(n registry.NextStep) string {
	switch {
	case n.Overdue:
		return "bad"
	case time.Until(n.DueAt) < 24*time.Hour:
		return "fair"
	default:
		return "plain"
	}
}

// lines are a timeline's lines of a kind, the newest first.
func lines(all []registry.TimelineEntry, kind string) []registry.TimelineEntry {
	out := make([]registry.TimelineEntry, 0, len(all))
	for _, e := range slices.Backward(all) {
		if kind == "" || string(e.Kind) == kind {
			out = append(out, e)
		}
	}
	return out
}

// seenFrom is which of a timeline's lines, the newest first, is the first that the reader saw on an earlier visit: len(found) when none.
func seenFrom(found []registry.TimelineEntry, since time.Time) int {
	for i, e := range found {
		if !e.At.After(since) {
			return i
		}
	}
	return len(found)
}

// links are the views of a case's page, as links.
func (c *caseRead) links(v *Visit) (out []Tab) {
	for _, tab := range c.tabs(v) {
		t := Tab{Says: v.Say("case.tab_" + tab), Path: v.Here("tab", tab, "kind", ""), Here: tab == c.tab}
		if tab == "papers" && len(c.Attachments) > 0 {
			t.Count = strconv.Itoa(len(c.Attachments))
		}
		out = append(out, t)
	}
	return out
}

// Step is a step in words. A case also stands where nobody is asked anything: while a donor thinks it over, before a drive begins.
func (v *Visit) Step(step string) string {
	if lang.Has("step." + step) {
		return v.Say("step." + step)
	}
	return v.Say("case.under_way")
}

// orNothing stands for what nobody filled in.
func orNothing(text string) string {
	if text == "" {
		return "—"
	}
	return text
}

// shows tells whether the site has a page.
func (v *Visit) shows(pattern string) bool {
	_, there := v.site.known[pattern]
	return there
}
