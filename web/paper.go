package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/seal"
)

// paperPages are the stacks of paper, which are entered with the keyboard alone.
func (s *Site) paperPages() {
	s.page("GET /drives/{id}/paper", s.stacks)
	s.act("POST /drives/{id}/paper", s.openStack)
	s.act("POST /drives/{id}/probe", s.probe, asks)
	s.page("GET /paper/{id}", s.stack)
	s.act("POST /paper/{id}", s.enterForm)
	s.act("POST /paper/{id}/second", s.chooseSecond)
	s.page("GET /paper/{id}/second/{row}", s.secondForm)
	s.act("POST /paper/{id}/second/{row}", s.enterSecond)
	s.page("GET /paper/{id}/settle/{row}", s.settleForm)
	s.act("POST /paper/{id}/settle/{row}", s.settle)
	s.act("POST /paper/{id}/close", s.closeStack)
	s.act("POST /paper/{id}/reopen", s.reopenStack)
}

func (s *Site) stacks(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	all, err := s.store.ListBatches(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	var stacks []registry.BatchView
	for _, b := range all {
		if b.Kind == "paper" {
			stacks = append(stacks, b)
		}
	}
	return v.Page("page.stacks", stacksPage(v, id, stacks)), nil
}

func (s *Site) openStack(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	p, err := s.store.OpenPaper(v, v.Actor, id, registry.PaperForm{Expected: int(v.FieldInt("expected"))})
	if err != nil {
		return nil, err
	}
	return v.To("/paper/"+p.Batch.ID.String(), "said.stack_opened"), nil
}

// probe tells, beside a form that is being typed, whether its person and its tube are known.
func (s *Site) probe(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	found, err := s.store.Probe(v, v.Actor, id, registry.ProbeForm{
		DocumentKind: identity.DocumentKind(v.Field("document_kind")), DocumentNumber: seal.NumberOf(strings.TrimSpace(v.Field("document_number"))), Barcode: strings.ToUpper(strings.TrimSpace(v.Field("barcode"))),
	})
	if problems, wrong := v.problemsOf(err); wrong {
		v.refused = false // it is said beside the fields, and stops nothing
		return v.Part(problemList(v, problems)), nil
	}
	if err != nil {
		return nil, err
	}
	return v.Part(probed(v, found)), nil
}

// sticky are what the forms of a stack mostly have in common.
var sticky = []intake.Field{intake.Workplace, intake.SignedOn, intake.Programmes, intake.HealthAnswered, intake.Signed}

func (s *Site) stack(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	p, err := s.store.ShowPaper(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	// The next form begins with what the last one had.
	texts := intake.Texts{}
	row := 0
	if v.Query("row") != "" {
		row = v.QueryInt("row") // a held form, which can be read now
	}
	if last := lastEntered(p); last > 0 || row > 0 {
		no := last
		if row > 0 {
			no = row
		}
		rows, err := s.store.ListRows(v, v.Actor, id, registry.RowFilter{AfterRow: no - 1, Limit: 1, WithCells: true})
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 && rows[0].Row == no {
			for _, c := range p.Batch.Mapping.Columns {
				if text := cellOf(rows[0], c.Column); text != "" && (row > 0 || isSticky(c.Field)) {
					texts[c.Field] = seal.NoteOf(text)
				}
			}
		}
	}
	return v.Page("page.stack", stackPage(v, p, typed(paperFields, texts, nil), nil, row), "Number", p.Batch.Number), nil
}

func isSticky(f intake.Field) bool {
	for _, one := range sticky {
		if one == f {
			return true
		}
	}
	return false
}

// lastEntered is the number of the last form that is not held, 0 when there is none.
func lastEntered(p registry.PaperView) int {
	for _, l := range p.Last {
		if !l.Held {
			return l.Row
		}
	}
	return 0
}

func (s *Site) enterForm(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	texts := v.texts(paperFields)
	entry := registry.PaperEntry{Row: int(v.FieldInt("row")), Cells: texts, Recruiter: v.FieldID("recruiter"), Held: v.Field("held") != "", Note: seal.NoteOf(v.Field("note"))}
	_, _, err = s.store.EnterPaper(v, v.Actor, id, entry)
	if problems, wrong := v.problemsOf(err); wrong {
		p, err := s.store.ShowPaper(v, v.Actor, id)
		if err != nil {
			return nil, err
		}
		return v.Page("page.stack", stackPage(v, p, typed(paperFields, texts, problems), problems, entry.Row), "Number", p.Batch.Number), nil
	}
	if err != nil {
		return nil, err
	}
	if entry.Held {
		return v.To("/paper/"+id.String(), "said.form_held"), nil
	}
	return v.To("/paper/"+id.String(), "said.form_entered"), nil
}

func (s *Site) chooseSecond(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	p, err := s.store.ChooseSecond(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	if len(p.Second) > 0 {
		return v.To("/paper/"+id.String()+"/second/"+strconv.Itoa(p.Second[0]), ""), nil
	}
	return v.To("/paper/"+id.String(), "said.nothing_second"), nil
}

func (v *Visit) row() (int, error) {
	no, err := strconv.Atoi(v.Path("row"))
	if err != nil || no < 1 {
		return 0, &registry.Error{Kind: registry.NotFound, Code: "row_not_found"}
	}
	return no, nil
}

func (s *Site) secondForm(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	no, err := v.row()
	if err != nil {
		return nil, err
	}
	p, err := s.store.ShowPaper(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	return v.Page("page.second", secondPage(v, p, no, typed(paperFields, nil, nil)), "Row", no), nil
}

func (s *Site) enterSecond(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	no, err := v.row()
	if err != nil {
		return nil, err
	}
	differences, err := s.store.EnterSecond(v, v.Actor, id, no, registry.SecondEntry{Cells: v.texts(paperFields)})
	if err != nil {
		return nil, err
	}
	if len(differences) > 0 {
		return v.To("/paper/"+id.String()+"/settle/"+strconv.Itoa(no), ""), nil
	}
	return v.To("/paper/"+id.String(), "said.second_same"), nil
}

func (s *Site) settleForm(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	no, err := v.row()
	if err != nil {
		return nil, err
	}
	differences, err := s.store.ComparePaper(v, v.Actor, id, no)
	if err != nil {
		return nil, err
	}
	return v.Page("page.settle", settlePage(v, id, no, differences, nil), "Row", no), nil
}

// textOf is what a form has in a field, in the reader's words.
func textOf(v *Visit, f intake.Field, text string) string {
	if !f.Several() && slices.Contains(f.Values(), text) {
		return f.Word(text, v.Locale)
	}
	return text
}

func (s *Site) settle(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	no, err := v.row()
	if err != nil {
		return nil, err
	}
	// Which of the two is right: what they are is asked of the register again, and does not come from the page.
	cells := intake.Texts{}
	differences, err := s.store.ComparePaper(v, v.Actor, id, no)
	if err != nil {
		return nil, err
	}
	for _, d := range differences {
		switch v.Field("right-" + string(d.Field)) {
		case "first":
			cells[d.Field] = seal.NoteOf(d.First)
		case "second":
			cells[d.Field] = seal.NoteOf(d.Second)
		}
	}
	_, err = s.store.SettlePaper(v, v.Actor, id, no, registry.SecondEntry{Cells: cells})
	if problems, wrong := v.problemsOf(err); wrong {
		return v.Page("page.settle", settlePage(v, id, no, differences, problems), "Row", no), nil
	}
	if err != nil {
		return nil, err
	}
	return v.To("/paper/"+id.String(), "said.entries_settled"), nil
}

func (s *Site) closeStack(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	if _, err := s.store.ClosePaper(v, v.Actor, id, v.FieldInt("version"), registry.PaperClosing{Counted: int(v.FieldInt("counted")), Difference: v.Field("difference")}); err != nil {
		return nil, err
	}
	return v.To("/batches/"+id.String()+"/commit", "said.stack_closed"), nil
}

func (s *Site) reopenStack(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	if _, err := s.store.ReopenPaper(v, v.Actor, id, v.FieldInt("version")); err != nil {
		return nil, err
	}
	return v.To("/paper/"+id.String(), "said.stack_opened"), nil
}

// ownFormPages are the forms that volunteers fill in on their own phones, and the table that takes them.
func (s *Site) ownFormPages() {
	s.page("GET /drives/{id}/check", s.ownForms)
	s.page("GET /own-forms/{id}", s.ownForm)
	s.act("POST /own-forms/{id}/take", s.takeOwnForm)
	s.act("POST /own-forms/{id}/return", s.returnOwnForm)
	s.page("GET /f/{token}", s.publicForm, public)
	s.act("POST /f/{token}", s.savePublicForm, public)
}

func (s *Site) ownForms(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	status := v.Query("status")
	if status == "" {
		status = "submitted"
	}
	list, err := s.store.ListOwnForms(v, v.Actor, id, status, 200)
	if err != nil {
		return nil, err
	}
	return v.Page("page.own_forms", ownFormsPage(v, id, status, list)), nil
}

func (s *Site) ownForm(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, err := s.store.ShowOwnForm(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	return v.Page("page.own_form", ownFormPage(v, f, nil), "Code", f.Code), nil
}

func (s *Site) takeOwnForm(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, err := s.store.ShowOwnForm(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	take := registry.TakeForm{Seen: v.Field("seen"), Barcode: strings.ToUpper(strings.TrimSpace(v.Field("barcode"))), Changes: intake.Texts{}}
	for field, text := range v.texts(ownFields) {
		if text.Reveal() != f.Texts[string(field)] {
			take.Changes[field] = text
		}
	}
	entry, err := s.store.TakeOwnForm(v, v.Actor, id, v.FieldInt("version"), take)
	if problems, wrong := v.problemsOf(err); wrong {
		return v.Page("page.own_form", ownFormPage(v, f, problems), "Code", f.Code), nil
	}
	if err != nil {
		return nil, err
	}
	return v.To("/drives/"+f.Drive.String()+"/check", "said.own_"+entry.Status), nil
}

func (s *Site) returnOwnForm(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, err := s.store.ShowOwnForm(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	if _, err := s.store.ReturnOwnForm(v, v.Actor, id, v.FieldInt("version"), registry.ReturnForm{Reason: v.Field("reason")}); err != nil {
		return nil, err
	}
	return v.To("/drives/"+f.Drive.String()+"/check", "said.own_returned"), nil
}

// formCookie keeps the secret of a volunteer's own form on their device.
const formCookie front.Cookie = "liferelay_form"

// volunteer recognises whoever has a public form open, with the form that their device keeps the secret of.
func (s *Site) volunteer(v *Visit) (who registry.Actor, d registry.OwnDrive, form registry.OwnForm, secret string, err error) {
	if who, d, err = s.store.Volunteer(v, v.Path("token"), v.Locale, front.Of(v).From.Address); err != nil {
		return who, d, form, "", err
	}
	who.Request = front.Of(v).ID
	secret = s.kept(v.r, formCookie)
	if secret == "" {
		return who, d, form, "", nil
	}
	form, err = s.store.ShowOwn(v, who, secret)
	if registry.KindOf(err) == registry.NotFound {
		return who, d, registry.OwnForm{}, "", nil // another drive's, or one that is gone
	}
	return who, d, form, secret, err
}

func (s *Site) publicForm(v *Visit) (Answer, error) {
	_, d, form, _, err := s.volunteer(v)
	if err != nil {
		return nil, err
	}
	return v.Bare("page.public_form", publicFormPage(v, d, form, typed(ownFields, form.Texts, nil), nil)), nil
}

func (s *Site) savePublicForm(v *Visit) (Answer, error) {
	who, d, form, secret, err := s.volunteer(v)
	if err != nil {
		return nil, err
	}
	texts := v.texts(ownFields)
	submit := v.Field("submit") != ""
	saved, err := s.store.SaveOwn(v, who, secret, texts, submit)
	if problems, wrong := v.problemsOf(err); wrong {
		return v.Bare("page.public_form", publicFormPage(v, d, form, typed(ownFields, texts, problems), problems)), nil
	}
	if err != nil {
		return nil, err
	}
	if saved.Secret != "" {
		name := s.front.Name(formCookie)
		http.SetCookie(v.w, &http.Cookie{Name: name, Value: saved.Secret, Path: "/", HttpOnly: true, Secure: strings.HasPrefix(name, "__Host-"), SameSite: http.SameSiteLaxMode, Expires: saved.ExpiresAt})
	}
	said := "said.own_saved"
	if submit {
		said = "said.own_sent"
	}
	return v.To("/f/"+v.Path("token"), said), nil
}

// notesOf are texts as the fields of a form take them.
func notesOf(texts map[string]string) intake.Texts {
	out := intake.Texts{}
	for f, text := range texts {
		out[intake.Field(f)] = seal.NoteOf(text)
	}
	return out
}

// problemsOr are the problems that an act found, else those that the form has by itself.
func problemsOr(found, own []registry.ProblemText) []registry.ProblemText {
	if len(found) > 0 {
		return found
	}
	return own
}
