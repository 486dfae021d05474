package web

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
)

// duplicatePages are where somebody decides whether two records are one person, and makes them one.
func (s *Site) duplicatePages() {
	s.page("GET /duplicates", s.duplicates)
	s.page("GET /duplicates/{id}", s.duplicate)
	s.act("POST /duplicates/{id}/decide", s.decideDuplicate)
	s.act("POST /duplicates/{id}/preview", s.previewMerge)
	s.act("POST /duplicates/{id}/merge", s.merge)
	s.act("POST /merges/{id}/undo", s.unmerge)
}

// pairDecisions are what can be said of a pair; pairTabs are the parts of the queue.
var (
	pairDecisions = []string{"same", "different", "unsure"}
	pairTabs      = []string{"open", "same", "different"}
	pairReasons   = []string{"documents_seen", "person_confirmed", "office_confirmed", "relatives", "twins", "namesake", "shared_phone", "not_enough", "wrong_entry"}
	mergeReasons  = []string{"documents_seen", "person_confirmed", "office_confirmed", "wrong_entry"}
	undoReasons   = []string{"person_confirmed", "office_confirmed", "wrong_entry", "twins", "relatives", "namesake"}
)

func (s *Site) duplicates(v *Visit) (Answer, error) {
	tab := v.Query("tab")
	if !slices.Contains(pairTabs, tab) {
		tab = pairTabs[0]
	}
	lines, err := s.store.ListDuplicates(v, v.Actor, registry.DuplicateFilter{Decision: tab, Donor: v.QueryID("donor"), After: v.QueryID("after"), Limit: listed})
	if err != nil {
		return nil, err
	}
	next := ""
	if len(lines) == listed {
		next = lines[len(lines)-1].ID.String()
	}
	return v.Page("page.duplicates", duplicateList(v, tab, lines, next)), nil
}

// pairView is a pair's page.
type pairView struct {
	registry.DuplicateView
	Wrong   string
	Form    registry.MergeForm // as it was sent
	Preview *registry.MergePreview
	MayJoin bool // make the two one
	Undone  *registry.MergeView
}

func (s *Site) duplicate(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	p, err := s.readPair(v, id)
	if err != nil {
		return nil, err
	}
	return v.Page("page.duplicate", pairPage(v, p)), nil
}

func (s *Site) readPair(v *Visit, id uuid.UUID) (pairView, error) {
	d, err := s.store.ShowDuplicate(v, v.Actor, id)
	if err != nil {
		return pairView{}, err
	}
	p := pairView{DuplicateView: d, MayJoin: v.May(policy.Decide, policy.Registration) && v.May(policy.Write, policy.Identity) && d.Other.Donor != uuid.Nil}
	p.Form.Stays = d.One.Donor
	if d.Merge != uuid.Nil {
		list, err := s.store.ListMerges(v, v.Actor, d.One.Donor)
		if err != nil && !isClosed(err) {
			return p, err
		}
		for i := range list {
			if list[i].ID == d.Merge {
				p.Undone = &list[i]
			}
		}
	}
	return p, nil
}

// pairAgain shows a pair's page with why what was sent was not done.
func (s *Site) pairAgain(v *Visit, id uuid.UUID, f registry.MergeForm, err error) (Answer, error) {
	says, ok := v.refusal(err)
	if !ok {
		return nil, err
	}
	p, err := s.readPair(v, id)
	if err != nil {
		return nil, err
	}
	p.Wrong = says
	if f.Stays != uuid.Nil {
		p.Form = f
	}
	v.refused = true
	return v.Page("page.duplicate", pairPage(v, p)), nil
}

func (s *Site) decideDuplicate(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	d, err := s.store.DecideDuplicate(v, v.Actor, id, v.FieldInt("version"), registry.DecideForm{Decision: v.Field("decision"), Reason: v.Field("reason")})
	if err != nil {
		return s.pairAgain(v, id, registry.MergeForm{}, err)
	}
	if d.Decision == "same" && d.Other.Batch == uuid.Nil {
		return v.To("/duplicates/"+id.String()+"#merge", "said.pair_decided"), nil
	}
	return v.To("/duplicates", "said.pair_decided"), nil
}

func (v *Visit) mergeForm() registry.MergeForm {
	return registry.MergeForm{Stays: v.FieldID("stays"), Take: v.Fields("take"), Reason: v.Field("reason"), Number: strings.TrimSpace(v.Field("number"))}
}

// previewMerge shows what a merge would do, before it is asked for.
func (s *Site) previewMerge(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f := v.mergeForm()
	preview, err := s.store.PreviewMerge(v, v.Actor, id, f)
	if err != nil {
		return s.pairAgain(v, id, f, err)
	}
	p, err := s.readPair(v, id)
	if err != nil {
		return nil, err
	}
	p.Form, p.Preview = f, &preview
	return v.Page("page.duplicate", pairPage(v, p)), nil
}

func (s *Site) merge(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f := v.mergeForm()
	m, err := s.store.MergeDonors(v, v.Actor, id, v.FieldInt("version"), f)
	if err != nil {
		return s.pairAgain(v, id, f, err)
	}
	return v.To("/donors/"+m.Donor.String(), "said.donors_merged"), nil
}

func (s *Site) unmerge(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	m, err := s.store.UnmergeDonors(v, v.Actor, id, v.FieldInt("version"), registry.UnmergeForm{Reason: v.Field("reason"), Number: strings.TrimSpace(v.Field("number"))})
	if err != nil {
		if donor := v.FieldID("donor"); donor != uuid.Nil {
			return s.donorAgain(v, donor, "merges", err)
		}
		return nil, err
	}
	return v.To("/donors/"+m.Donor.String(), "said.donors_unmerged"), nil
}

// evidenceMarks are how a field of a pair looks.
var evidenceMarks = map[string]string{"equal": "=", "different": "≠", "blank": "∅", "one_blank": "∅"}

// toneOfEvidence is its colour.
func toneOfEvidence(is string) string {
	switch is {
	case "equal":
		return "good"
	case "different":
		return "bad"
	}
	return "faint"
}

// signed is a number with its sign.
func signed(n int) string {
	if n > 0 {
		return "+" + strconv.Itoa(n)
	}
	return strconv.Itoa(n)
}

// problemsOf are what is wrong with a form, in words.
func problemsOf(err error, v *Visit) []registry.ProblemText {
	var known *registry.Error
	if !errors.As(err, &known) {
		return nil
	}
	return registry.ProblemTexts(known.Problems, v.Locale)
}

// pairTabsOf are the parts of the queue, as links.
func pairTabsOf(v *Visit, here string) (out []Tab) {
	for _, tab := range pairTabs {
		out = append(out, Tab{Says: v.Word("PairTab", tab), Path: v.Here("tab", tab, "after", ""), Here: tab == here})
	}
	return out
}

// takeable are the fields of a pair that differ: of the others nothing is to be chosen.
func takeable(p pairView) (out []string) {
	for _, e := range p.Identity {
		if e.Is == "different" && e.Field == "name" {
			out = append(out, e.Field)
		}
	}
	for _, e := range p.Contact {
		if e.Is == "different" {
			out = append(out, e.Field)
		}
	}
	for _, e := range p.Demographics {
		if e.Is == "different" {
			out = append(out, e.Field)
		}
	}
	return append(out, "contacts")
}

// pairWord is a value of a pair in words.
func pairWord(v *Visit, field, value string) string {
	switch field {
	case "sex":
		return v.Word("Sex", value)
	case "rh":
		return v.Word("Rh", value)
	}
	return value
}
