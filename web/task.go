package web

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
)

// A hospital, a laboratory, whoever is asked one thing of a case: their page is that thing and no more.

func (s *Site) stepPages() {
	s.page("GET /steps/{task}", s.stepPage)
	s.act("POST /steps/{task}/answer", s.answerStep)
	s.act("POST /steps/{task}/attachments", s.addStepPaper, uploads(paperBytes))
	s.act("POST /steps/{task}/reveal", s.revealAtStep)
}

// stepRead is a task as its page shows it.
type stepRead struct {
	registry.StepPage
	form     *stepForm
	own      []registry.OwnAnswer
	answered registry.AnsweredTask
	reveal   *Filled
	revealed *registry.Revealed
	says     string
}

func (s *Site) readStep(v *Visit) (*stepRead, error) {
	id, err := v.ID("task")
	if err != nil {
		return nil, err
	}
	p := &stepRead{reveal: bedsideForm(v, Blank[registry.RevealForm](v))}
	if p.StepPage, err = s.store.ShowStepPage(v, v.Actor, id); err != nil {
		return nil, err
	}
	if p.own, err = s.store.ListOwnAnswers(v, v.Actor, p.CaseID, 50); err != nil {
		return nil, err
	}
	if p.Mine {
		p.form, err = s.stepForm(v, p.NextStep)
	} else if p.Status != "open" {
		p.answered, err = s.store.ShowAnswer(v, v.Actor, id)
	}
	return p, err
}

func (s *Site) stepPage(v *Visit) (Answer, error) {
	p, err := s.readStep(v)
	if err != nil {
		return nil, err
	}
	return v.stepAnswer(p), nil
}

func (v *Visit) stepAnswer(p *stepRead) Answer {
	return v.Page("page.step", stepPage(v, p), "Step", p.Title, "Number", p.CaseNumber)
}

// answerStep brings an answer to its case. Whatever stands against it, what was typed is shown again; where somebody else was first,
// beside what they answered.
func (s *Site) answerStep(v *Visit) (Answer, error) {
	id, err := v.ID("task")
	if err != nil {
		return nil, err
	}
	task, err := s.store.ShowTask(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	body, filled := ReadOf(v, registry.StepForm(task.Step))
	if !filled.Good() {
		return s.answerAgain(v, filled, "", false)
	}
	proposed, err := s.store.ProposeAnswer(v, v.Actor, registry.Answer{TaskID: id, Step: task.Step, Version: v.FieldInt("_version"), Command: v.Key(), Form: body})
	var moved registry.Moved
	switch {
	case err != nil:
	case proposed.Moved != nil:
		moved = *proposed.Moved
	default:
		if moved, err = s.cases.Answer(v, proposed); registry.KindOf(err) == registry.Unavailable {
			return v.To(s.afterAnswer(v, task, moved), "said.answer_kept"), nil
		}
		if code := registry.CodeOf(err); code != "" { // the case refuses it: nobody needs to deliver it again
			err = errors.Join(err, s.store.RefuseAnswer(v, proposed.AnswerID, code))
		}
	}
	if err == nil {
		return v.To(s.afterAnswer(v, task, moved), "said.answered"), nil
	}
	if filled.Takes(err) {
		return s.answerAgain(v, filled, "", false)
	}
	switch registry.KindOf(err) {
	case registry.Stale, registry.Refused, registry.Conflict:
		return s.answerAgain(v, filled, v.Locale.Say("error."+registry.CodeOf(err), argsOf(err)), true)
	}
	return nil, err
}

// afterAnswer is where somebody goes who has answered: on to what they are asked next, or back to where they came from.
func (s *Site) afterAnswer(v *Visit, task registry.TaskView, moved registry.Moved) string {
	switch {
	case v.Field("_from") == "case":
		return caseAt(task.CaseID, "")
	case len(moved.Yours) > 0:
		return "/steps/" + moved.Yours[0].String()
	default:
		return "/steps/" + task.ID.String()
	}
}

// answerAgain shows a form that was not taken, with what was typed.
func (s *Site) answerAgain(v *Visit, filled *Filled, says string, compare bool) (Answer, error) {
	p, err := s.readStep(v)
	if err != nil {
		return nil, err
	}
	form := &stepForm{NextStep: p.NextStep, Filled: filled, says: says}
	if err := s.offers(v, form); err != nil {
		return nil, err
	}
	if compare {
		meanwhile, err := s.store.ShowAnswer(v, v.Actor, p.ID)
		if err != nil {
			return nil, err
		}
		if form.meanwhile = &meanwhile; meanwhile.Text != "" {
			form.says = ""
		}
	}
	v.refused = true
	if v.Field("_from") != "case" {
		p.form = form
		return v.stepAnswer(p), nil
	}
	c, err := s.readCaseOf(v, p.CaseID)
	if err != nil {
		return nil, err
	}
	if form.meanwhile != nil && form.meanwhile.Text != "" { // the task is open no more, and its card is gone
		p.form = form
		return v.stepAnswer(p), nil
	}
	c.answer = form
	return v.caseAnswer(c), nil
}

func (s *Site) readCaseOf(v *Visit, id uuid.UUID) (*caseRead, error) {
	v.r.SetPathValue("id", id.String())
	return s.readCase(v)
}

func (s *Site) addStepPaper(v *Visit) (Answer, error) {
	id, err := v.ID("task")
	if err != nil {
		return nil, err
	}
	f, err := v.paper()
	if err == nil {
		f.Task = id
		_, err = s.store.AddAttachment(v, v.Actor, f)
	}
	switch registry.KindOf(err) {
	case "":
		if err != nil {
			return nil, err
		}
		return v.To("/steps/"+id.String(), "said.attachment_added"), nil
	case registry.Invalid, registry.Refused:
		p, failed := s.readStep(v)
		if failed != nil {
			return nil, failed
		}
		p.says, v.refused = v.Locale.Say("error."+registry.CodeOf(err), argsOf(err)), true
		return v.stepAnswer(p), nil
	}
	return nil, err
}

// revealAtStep tells for a minute who the donor is, to who meets them at the bedside, with a reason.
func (s *Site) revealAtStep(v *Visit) (Answer, error) {
	p, err := s.readStep(v)
	if err != nil {
		return nil, err
	}
	if p.DonorID == nil {
		return nil, registry.NewError(registry.Denied, "denied", map[string]any{"Action": string(policy.Reveal), "Class": string(policy.Identity)})
	}
	f, filled := Read[registry.RevealForm](v)
	if filled.Good() {
		f.Class = policy.Identity
		told, err := s.store.RevealDonor(v, v.Actor, *p.DonorID, f)
		if err == nil {
			p.revealed = &told
			v.SetHeader("Cache-Control", "no-store")
		} else if !filled.Takes(err) {
			return nil, err
		}
	}
	if p.revealed == nil {
		p.reveal = bedsideForm(v, filled)
	}
	if v.Partial() {
		return v.Part(bedside(v, p)), nil
	}
	return v.stepAnswer(p), nil
}

// bedsideForm asks for what somebody at the bedside may have as a reason.
func bedsideForm(v *Visit, f *Filled) *Filled {
	return f.Only("reason", "note").Apart("bedside").Choose("reason", []Option{{Value: "verify_identity", Label: v.Say("case.reveal_verify_identity")}, {Value: "other", Label: v.Say("case.reveal_other")}})
}

// atBedside tells whether a step is done with the donor in front of somebody, who has to make sure who it is.
func atBedside(step string) bool {
	switch step {
	case "stemcell.confirmatory_sample", "stemcell.physical_examination", "stemcell.clearance", "stemcell.mobilisation", "stemcell.collection":
		return true
	}
	return false
}

// daysNamed are the days and reasons that a task names, in words.
func daysNamed(v *Visit, n registry.NextStep) (out []pairOf) {
	for _, name := range []string{"Day", "On", "Conditioning", "Mobilisation", "Collection", "Reason"} {
		value, ok := n.Args[name]
		if !ok {
			continue
		}
		label := map[string]string{
			"Day": "case.arg_day", "On": "case.arg_on", "Conditioning": "case.conditioning", "Mobilisation": "case.mobilisation", "Collection": "case.collection", "Reason": "case.reason",
		}[name]
		text := fmt.Sprint(value)
		if day, err := calendar.Parse(text); err == nil {
			text = v.Day(day)
		} else if name == "Reason" {
			text = v.Word("Reason", text)
		}
		out = append(out, pairOf{label: v.Say(label), mine: text})
	}
	return out
}

func ownTone(o registry.OwnAnswer) string {
	switch o.Status {
	case "accepted":
		return "good"
	case "pending":
		return "fair"
	case "refused":
		return "bad"
	}
	return "faint"
}
