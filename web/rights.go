package web

import (
	"io"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
)

// rightsPages are what people ask about their own data, from the filing to the answer.
func (s *Site) rightsPages() {
	s.page("GET /rights", s.rightsList)
	s.page("GET /rights/new", s.newRights)
	s.act("POST /rights", s.fileRights)
	s.page("GET /rights/{id}", s.rights)
	s.act("POST /rights/{id}/copy", s.fetchCopy)
}

// What the list of requests is narrowed by.
var (
	rightsKinds    = []string{"access", "copy", "correction", "withdrawal", "deletion", "explanation", "arrangement", "kin_access", "kin_copy", "kin_correction", "kin_deletion"}
	rightsStatuses = []string{"open", "ended"}
	rightsSteps    = []string{"rights.identity", "rights.decision", "rights.carrying_out", "rights.telling"}
)

func (s *Site) rightsList(v *Visit) (Answer, error) {
	list, err := s.store.ListRights(v, v.Actor, registry.RightsFilter{
		Kind: v.Query("kind"), Status: v.Query("status"), Step: v.Query("step"), Donor: v.QueryID("donor"), After: v.QueryID("after"), Limit: listed,
	})
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == listed {
		next = list[listed-1].ID.String()
	}
	return v.Page("page.rights", rightsListPage(v, list, next)), nil
}

// rightsForm is the form of a request as a page shows it.
func rightsForm(v *Visit, f *Filled) *Filled {
	return f.Without("donor").Call("kind", v.Say("rights.kind")).Call("via", v.Say("rights.via")).Call("note", v.Say("rights.note")).Hint("note", v.Say("rights.note_hint")).
		Hint("asker", v.Say("rights.asker_hint")).Hint("correction", v.Say("rights.correction_hint"))
}

func (s *Site) newRights(v *Visit) (Answer, error) {
	return s.rightsAgain(v, v.QueryID("donor"), Blank[forms.RightsRequest](v))
}

// rightsAgain shows the form of a request, with what is under way about the same donor.
func (s *Site) rightsAgain(v *Visit, donor uuid.UUID, f *Filled) (Answer, error) {
	if donor == uuid.Nil {
		return nil, &registry.Error{Kind: registry.NotFound, Code: "donor_not_found"}
	}
	under, err := s.store.ListRights(v, v.Actor, registry.RightsFilter{Donor: donor, Status: "open", Limit: listed})
	if err != nil {
		return nil, err
	}
	return v.Page("page.rights_new", rightsNewPage(v, donor, under, rightsForm(v, f))), nil
}

func (s *Site) fileRights(v *Visit) (Answer, error) {
	f, filled := Read[forms.RightsRequest](v)
	if filled.Good() {
		q, err := s.store.FileRights(v, v.Actor, f)
		if err == nil {
			return v.To("/rights/"+q.ID.String(), "said.rights_filed"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.rightsAgain(v, v.FieldID("donor"), filled)
}

// rightsShown is the page of one request.
type rightsShown struct {
	registry.RightsView
	tasks  []registry.TaskView // that are open
	office string
	wrong  string
}

func (s *Site) readRights(v *Visit) (*rightsShown, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	q := &rightsShown{}
	if q.RightsView, err = s.store.ShowRights(v, v.Actor, id); err != nil {
		return nil, err
	}
	if q.Status == "open" {
		if q.tasks, err = s.store.ListTasks(v, v.Actor, registry.TaskFilter{CaseID: id}); err != nil && !isClosed(err) {
			return nil, err
		}
	}
	offices, err := s.offices(v)
	if err != nil && !isClosed(err) {
		return nil, err
	}
	q.office = called(offices, q.Office.String())
	return q, nil
}

func (s *Site) rights(v *Visit) (Answer, error) {
	q, err := s.readRights(v)
	if err != nil {
		return nil, err
	}
	return v.Page("page.rights_one", rightsPage(v, q), "Number", q.Number), nil
}

// fetchCopy hands the copy out that was granted, as a page to print. It is remembered for no key of a form.
func (s *Site) fetchCopy(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	copied, err := s.store.FetchCopy(v, v.Actor, id)
	if says, mended := v.refusal(err); mended {
		q, err := s.readRights(v)
		if err != nil {
			return nil, err
		}
		q.wrong, v.refused = says, true
		return v.Page("page.rights_one", rightsPage(v, q), "Number", q.Number), nil
	}
	if err != nil {
		return nil, err
	}
	printed, err := copied.Printed()
	if err != nil {
		return nil, err
	}
	v.SetHeader("Cache-Control", "no-store")
	return v.File(copied.Request+".html", "text/html; charset=utf-8", func(w io.Writer) error {
		_, err := w.Write(printed)
		return err
	}), nil
}

// copied tells that a request that is granted is carried out by a copy.
func (q *rightsShown) copied() bool {
	return q.Step == "rights.carrying_out" && q.Decision == "grant" && slices.Contains([]string{"access", "copy", "explanation", "kin_access", "kin_copy"}, q.Kind)
}

// at is how far a request is among its four steps.
func (q *rightsShown) at() int {
	if q.Status != "open" {
		return len(rightsSteps)
	}
	return slices.Index(rightsSteps, q.Step)
}

// rightsClock is how long there is until the last day, and how it looks.
func rightsClock(v *Visit, q registry.RightsView) (tone, says string) {
	left := q.LastDay.Sub(calendar.Of(time.Now(), registry.Zone))
	switch {
	case q.Status != "open":
		return "faint", v.Word("CaseStatus", q.Status)
	case left < 0:
		return "bad", v.Say("reviews.is_overdue")
	case left <= 5:
		return "fair", v.Say("rights.days_left", "N", left)
	default:
		return "plain", v.Say("rights.days_left", "N", left)
	}
}

// mayFile tells whether the reader may file a request.
func mayFile(v *Visit) bool { return v.May(policy.Write, policy.Rights) }
