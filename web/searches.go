package web

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/match"
	"github.com/liferelay/liferelay/web/chart"
)

// pageOf is how many lines a list of these pages has.
const pageOf = 50

func (s *Site) searchPages() {
	s.page("GET /patients", s.patients)
	s.page("GET /patients/new", s.enterPatient)
	s.act("POST /patients", s.addPatient)
	s.act("POST /patients/typing", s.checkTyping, asks)
	s.page("GET /patients/{id}", s.patient)
	s.page("GET /searches", s.searches)
	s.page("GET /searches/new", s.planSearch)
	s.act("POST /searches", s.openSearch)
	s.page("GET /searches/{id}", s.search)
	s.page("GET /searches/{id}/compare", s.compare)
	s.page("GET /searches/{id}/candidates/{donor}", s.why)
	s.act("POST /searches/{id}/choose", s.choose)
	s.act("POST /searches/{id}/close", s.closeSearch)
}

func (s *Site) patients(v *Visit) (Answer, error) {
	list, err := s.store.ListPatients(v, v.Actor, registry.SearchesFilter{Number: strings.TrimSpace(v.Query("number")), After: v.QueryID("after"), Limit: pageOf})
	if err != nil {
		return nil, err
	}
	return v.Page("page.patients", patientsPage(v, list, nextOf(list, func(l registry.PatientLine) uuid.UUID { return l.ID }))), nil
}

// nextOf is the cursor of the next page of a list.
func nextOf[T any](list []T, id func(T) uuid.UUID) string {
	if len(list) < pageOf {
		return ""
	}
	return id(list[len(list)-1]).String()
}

func (s *Site) enterPatient(v *Visit) (Answer, error) {
	// Who may not enter one is told so before they fill it in.
	if _, err := s.store.CheckTyping(v, v.Actor, "", ""); err != nil {
		return nil, err
	}
	return v.Page("page.patient_new", patientForm(v, Blank[forms.Patient](v))), nil
}

func (s *Site) addPatient(v *Visit) (Answer, error) {
	f, filled := Read[forms.Patient](v)
	if filled.Good() {
		p, err := s.store.AddPatient(v, v.Actor, f)
		if err == nil {
			return v.To("/patients/"+p.ID.String(), "said.patient_added"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return v.Page("page.patient_new", patientForm(v, filled)), nil
}

// checkTyping tells what a typing is read as, while it is being written.
func (s *Site) checkTyping(v *Visit) (Answer, error) {
	gl := strings.TrimSpace(v.Field("gl"))
	if gl == "" {
		return v.Part(typingRead(v, registry.TypingCheck{})), nil
	}
	check, err := s.store.CheckTyping(v, v.Actor, gl, strings.TrimSpace(v.Field("nomenclature")))
	if err != nil {
		return nil, err
	}
	return v.Part(typingRead(v, check)), nil
}

func (s *Site) patient(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	p, err := s.store.ShowPatient(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	searches, err := s.store.ListSearches(v, v.Actor, registry.SearchesFilter{Patient: id, Limit: pageOf})
	if err != nil {
		return nil, err
	}
	return v.Page("page.patient", patientPage(v, p, searches), "Number", p.Number), nil
}

func (s *Site) searches(v *Visit) (Answer, error) {
	f := registry.SearchesFilter{Status: v.Query("status"), Number: strings.TrimSpace(v.Query("number")), After: v.QueryID("after"), Limit: pageOf}
	list, err := s.store.ListSearches(v, v.Actor, f)
	if err != nil {
		return nil, err
	}
	return v.Page("page.searches", searchesPage(v, list, nextOf(list, func(l registry.SearchLine) uuid.UUID { return l.ID }))), nil
}

func (s *Site) planSearch(v *Visit) (Answer, error) {
	p, err := s.store.ShowPatient(v, v.Actor, v.QueryID("patient"))
	if err != nil {
		return nil, err
	}
	return v.Page("page.search_new", searchForm(v, p, searchOptions(Blank(v, registry.SearchForm{Patient: p.ID, Policy: "9/10"})))), nil
}

func (s *Site) openSearch(v *Visit) (Answer, error) {
	f, filled := Read[registry.SearchForm](v)
	if filled.Good() {
		opened, err := s.store.OpenSearch(v, v.Actor, f)
		if err == nil {
			return v.To("/searches/"+opened.ID.String(), "said.search_opened"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	p, err := s.store.ShowPatient(v, v.Actor, v.FieldID("patient"))
	if err != nil {
		return nil, err
	}
	return v.Page("page.search_new", searchForm(v, p, searchOptions(filled))), nil
}

// searchOptions are what the form of a search offers. The order of the candidates is the usual one: an order is nothing that boxes can tell.
func searchOptions(f *Filled) *Filled {
	var policies, provinces []Option
	for _, name := range match.Names() {
		policies = append(policies, Option{Value: name, Label: name})
	}
	for _, region := range slices.Sorted(slices.Values(chart.Provinces())) {
		provinces = append(provinces, Option{Value: string(region)[:2], Label: region.Name()})
	}
	return f.Without("patient", "ranking").Choose("policy", policies).Choose("filter.provinces", provinces)
}

// results is a search with what is shown of its report.
type results struct {
	search     registry.SearchView
	patient    registry.PatientView
	typing     map[string][]string
	candidates []registry.CandidateView
	filter     registry.CandidateFilter
	next       string
}

// candidateFilter reads the filter of a report from the address. What is no filter of it is refused by the register.
func candidateFilter(v *Visit) registry.CandidateFilter {
	chance, _ := strconv.ParseFloat(v.Query("chance"), 64)
	return registry.CandidateFilter{
		Change: v.Query("change"), Matched: v.QueryInt("matched"), Chance: chance, AgeFrom: v.QueryInt("age_from"), AgeTo: v.QueryInt("age_to"), Sex: v.Query("sex"), ABO: v.Query("abo"), Rh: v.Query("rh"),
		Distance: v.Query("distance"), Available: v.Query("available") != "", AfterRank: v.QueryInt("after"), Limit: pageOf,
	}
}

func (s *Site) readResults(v *Visit, f registry.CandidateFilter) (results, error) {
	out := results{filter: f}
	id, err := v.ID("id")
	if err != nil {
		return out, err
	}
	if out.search, err = s.store.ShowSearch(v, v.Actor, id); err != nil {
		return out, err
	}
	if out.patient, err = s.store.ShowPatient(v, v.Actor, out.search.Patient); err != nil {
		return out, err
	}
	out.typing = typingOf(out.patient.GL)
	if out.candidates, err = s.store.ListCandidates(v, v.Actor, id, f); err != nil {
		return out, err
	}
	if n := len(out.candidates); n == pageOf {
		out.next = strconv.Itoa(out.candidates[n-1].Rank)
	}
	return out, nil
}

func (s *Site) search(v *Visit) (Answer, error) {
	r, err := s.readResults(v, candidateFilter(v))
	if err != nil {
		return nil, err
	}
	return v.Page("page.search", searchPage(v, r), "Number", r.search.Number), nil
}

func (s *Site) compare(v *Visit) (Answer, error) {
	var donors []uuid.UUID
	for _, text := range v.Queries("donor") {
		if id, err := uuid.Parse(text); err == nil && !slices.Contains(donors, id) {
			donors = append(donors, id)
		}
	}
	if len(donors) < 2 || len(donors) > 4 {
		return nil, registry.NewError(registry.Refused, "compare_two_to_four", nil)
	}
	r, err := s.readResults(v, registry.CandidateFilter{Donors: donors, Limit: pageOf})
	if err != nil {
		return nil, err
	}
	return v.Page("page.compare", comparePage(v, r), "Number", r.search.Number), nil
}

func (s *Site) why(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	donor, err := v.ID("donor")
	if err != nil {
		return nil, err
	}
	w, err := s.store.WhyCandidate(v, v.Actor, id, donor)
	if err != nil {
		return nil, err
	}
	return v.Page("page.why", whyPage(v, w), "Number", w.Number), nil
}

// choose asks for the donors that were ticked, the one that was made the first before the others, or for none of them.
func (s *Site) choose(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	search, err := s.store.ShowSearch(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	if search.Choice == nil {
		return nil, registry.NewError(registry.Refused, "search_not_asked", nil)
	}
	answer := map[string]any{"outcome": "request", "donors": v.Fields("donor")}
	if reason := v.Field("reason"); reason != "" {
		answer = map[string]any{"outcome": "none", "reason": reason}
	} else if donors := v.Fields("donor"); len(donors) == 0 {
		return nil, registry.NewError(registry.Refused, "choose_somebody", nil)
	} else if first := v.Field("first"); slices.Contains(donors, first) {
		answer["donors"] = append([]string{first}, slices.DeleteFunc(slices.Clone(donors), func(d string) bool { return d == first })...)
	}
	form, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	if err := s.answerChoice(v, search.Choice.ID, form); err != nil {
		return nil, err
	}
	return v.To("/searches/"+id.String(), "said.search_answered"), nil
}

// answerChoice stores the answer and brings it to the search. When the desk does not answer in time it is kept, and delivered later.
func (s *Site) answerChoice(v *Visit, task uuid.UUID, form []byte) error {
	p, err := s.store.ProposeAnswer(v, v.Actor, registry.Answer{TaskID: task, Step: "search.choice", Command: v.Key(), Form: form})
	if err != nil || p.Moved != nil {
		return err
	}
	_, err = s.cases.Answer(v, p)
	switch registry.KindOf(err) {
	case "":
	case registry.Unavailable:
		return registry.NewError(registry.Unavailable, "answer_kept", nil)
	default: // the search refuses it: nobody needs to deliver it again
		if marked := s.store.RefuseAnswer(context.WithoutCancel(v), p.AnswerID, registry.CodeOf(err)); marked != nil {
			return marked
		}
	}
	return err
}

func (s *Site) closeSearch(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	reason := v.Field("reason")
	if !slices.Contains(closeReasons, reason) {
		return nil, registry.Invalidated(forms.Problems{{Code: "R101", Field: "reason"}})
	}
	if _, err := s.store.CloseSearch(v, v.Actor, id, v.FieldInt("version"), reason); err != nil {
		return nil, err
	}
	return v.To("/searches/"+id.String(), "said.search_closed"), nil
}

// closeReasons are why a hospital ends a search, and noneReasons why it asks for nobody.
var (
	closeReasons = []string{"transplanted", "related_donor", "patient_died", "other_treatment", "other"}
	noneReasons  = []string{"no_match", "related_donor", "patient_died", "other_treatment", "other"}
)

// gridLoci are the loci of the grid, in the order in which they are read.
var gridLoci = []string{"A", "B", "C", "DRB1", "DQB1", "DPB1"}

// typingOf is a patient's typing by locus, each copy as it was written.
func typingOf(gl string) map[string][]string {
	out := map[string][]string{}
	for _, part := range strings.Split(gl, "^") {
		locus, _, ok := strings.Cut(strings.TrimPrefix(part, "HLA-"), "*")
		if !ok {
			continue
		}
		for _, copied := range strings.Split(part, "+") {
			out[locus] = append(out[locus], withoutLocus(copied))
		}
	}
	return out
}

// withoutLocus is a name without its locus: HLA-A*02:01 is 02:01.
func withoutLocus(name string) string {
	if _, rest, ok := strings.Cut(name, "*"); ok {
		return rest
	}
	return name
}

// cell is one copy of a donor's at a locus.
type cell struct {
	grade, sign, tone, text string
}

// gradeLooks are how a grade looks: a sign and a tone.
var gradeLooks = map[string][2]string{
	"allele": {"=", "good"}, "p_group": {"≈", "good"}, "potential": {"?", "fair"}, "allele_mismatch": {"≠", "bad"}, "mismatch": {"✕", "grave"}, "untyped": {"○", "faint"},
}

// cellsOf are the two cells of a candidate at a locus; two that are not typed where the report has nothing of it.
func cellsOf(c registry.CandidateView, locus string) [2]cell {
	untyped := cell{grade: "untyped", sign: gradeLooks["untyped"][0], tone: gradeLooks["untyped"][1]}
	out := [2]cell{untyped, untyped}
	for _, g := range c.Grades {
		if g.Locus != locus {
			continue
		}
		for i, p := range g.Positions {
			if looks, known := gradeLooks[p.Grade]; known && i < 2 {
				out[i] = cell{p.Grade, looks[0], looks[1], withoutLocus(p.Donor)}
			}
		}
	}
	return out
}

// changeTones are how what became of a candidate looks.
var changeTones = map[string]string{"new": "good", "changed": "fair", "lost": "bad", "same": "plain"}

func percent(chance *float32) string {
	if chance == nil {
		return "—"
	}
	return strconv.Itoa(int(*chance*100+0.5)) + "%"
}

// copies is how many copies match, of how many: 9–10/10 where typings leave it open.
func copies(least, most, of int) string {
	if least == most {
		return fmt.Sprintf("%d/%d", least, of)
	}
	return fmt.Sprintf("%d–%d/%d", least, most, of)
}

// filtered tells whether a report is narrowed.
func filtered(f registry.CandidateFilter) bool {
	f.AfterRank, f.Limit = 0, 0
	return f.Change+f.Sex+f.ABO+f.Rh+f.Distance != "" || f.Matched+f.AgeFrom+f.AgeTo > 0 || f.Chance > 0 || f.Available
}
