package web

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
)

// reviewPages are what waits for a judgement, and emergency access: the way in, while it lasts, and what came of it.
func (s *Site) reviewPages() {
	s.page("GET /reviews", s.reviews)
	s.page("GET /emergencies", s.emergencies)
	s.act("POST /emergencies", s.breakGlass)
	s.page("GET /emergencies/{id}", s.emergency)
	s.act("POST /emergencies/{id}/words", s.revealEmergency)
	s.act("POST /emergencies/{id}/review", s.reviewEmergency)
	s.act("POST /emergencies/{id}/return", s.returnEmergency)
}

// watching is the reader of a page of oversight. Unless they say otherwise they look for the audit's purpose: an auditor reads reviews for no other.
func watching(v *Visit) registry.Actor {
	by := v.Actor
	if by.Purpose == "" {
		by.Purpose = policy.ForAudit
	}
	return by
}

// reviewKinds are the kinds of what waits.
var reviewKinds = []string{registry.ReviewsEmergency, registry.ReviewsExport, registry.ReviewsRights, registry.ReviewsMessage}

// reviewsShown is the page of what waits.
type reviewsShown struct {
	list    []registry.Review
	counts  []registry.EmergencyCount
	counted bool // the reader may read them
	next    string
}

func (s *Site) reviews(v *Visit) (Answer, error) {
	list, err := s.store.ListReviews(v, watching(v), registry.ReviewFilter{Kind: v.Query("kind"), Overdue: v.Query("overdue") != ""})
	if err != nil {
		return nil, err
	}
	// The list comes whole, in the order of its clocks: a page is a part of it.
	r := reviewsShown{list: list[min(max(v.QueryInt("after"), 0), len(list)):]}
	if len(r.list) > listed {
		r.list, r.next = r.list[:listed], strconv.Itoa(v.QueryInt("after")+listed)
	}
	if v.May(policy.Read, policy.Review) {
		r.counts, err = s.store.CountEmergencies(v, watching(v), time.Now().AddDate(-1, 0, 0), time.Time{})
		if err != nil && !isClosed(err) {
			return nil, err
		}
		r.counted = err == nil
	}
	return v.Page("page.reviews", reviewsPage(v, r)), nil
}

func reviewTabs(v *Visit) []Tab {
	kind, overdue := v.Query("kind"), v.Query("overdue") != ""
	tabs := []Tab{
		{Says: v.Say("reviews.all"), Path: "/reviews", Here: kind == "" && !overdue},
		{Says: v.Say("reviews.overdue"), Path: "/reviews?overdue=1", Here: kind == "" && overdue},
	}
	for _, k := range reviewKinds {
		tabs = append(tabs, Tab{Says: v.Word("ReviewKind", k), Path: "/reviews?kind=" + k, Here: kind == k})
	}
	return tabs
}

// reviewPath is where something that waits is judged.
func reviewPath(r registry.Review) string {
	switch r.Kind {
	case registry.ReviewsEmergency:
		return "/emergencies/" + r.ID.String()
	case registry.ReviewsExport:
		return "/exports/" + r.ID.String()
	case registry.ReviewsRights:
		return "/rights/" + r.ID.String()
	}
	return "/messages"
}

// reviewAbout is what it is about, in words.
func reviewAbout(v *Visit, r registry.Review) string {
	switch r.Kind {
	case registry.ReviewsEmergency:
		return v.Word("Category", r.About)
	case registry.ReviewsExport:
		return v.Word("Purposes", r.About)
	case registry.ReviewsRights:
		kind, step, _ := strings.Cut(r.About, " ")
		return v.Word("Kind", kind) + " · " + v.Step(step)
	}
	return v.Say("case.side_" + r.About)
}

// reviewClock is how long there is for a review, and how it looks.
func reviewClock(v *Visit, r registry.Review) (tone, says string) {
	switch {
	case r.Overdue:
		return "bad", v.Say("reviews.is_overdue")
	case r.DaysLeft <= 1:
		return "fair", v.Say("reviews.days_left", "N", r.DaysLeft)
	default:
		return "plain", v.Say("reviews.days_left", "N", r.DaysLeft)
	}
}

// mayBreakGlass tells whether the reader has emergency access to anything, so that they are offered it.
func mayBreakGlass(v *Visit) bool {
	for _, class := range policy.Protected() {
		if v.May(policy.BreakGlass, class) {
			return true
		}
	}
	return false
}

// emergencyStatuses are what the list of emergency access is narrowed by.
var emergencyStatuses = []string{"open", "to_review", "closed"}

func (s *Site) emergencies(v *Visit) (Answer, error) {
	form := Blank(v, registry.EmergencyForm{Number: strings.TrimSpace(v.Query("number"))})
	return s.emergencyList(v, form)
}

func (s *Site) emergencyList(v *Visit, form *Filled) (Answer, error) {
	list, err := s.store.ListEmergencies(v, watching(v), registry.EmergencyFilter{Status: v.Query("status"), Mine: v.Query("mine") != "", After: v.QueryID("after"), Limit: listed})
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == listed {
		next = list[listed-1].ID.String()
	}
	form.Choose("classes", wordsOfAll(v, "Class", policy.Protected())).Call("reason", v.Say("reviews.break_reason")).Hint("reason", v.Say("reviews.break_reason_hint")).
		Call("number", v.Say("donor.number")).Hint("classes", v.Say("reviews.break_classes_hint"))
	return v.Page("page.emergencies", emergenciesPage(v, list, form, next)), nil
}

// breakGlass opens what is protected of a donor, and leads to the donor.
func (s *Site) breakGlass(v *Visit) (Answer, error) {
	f, filled := Read[registry.EmergencyForm](v)
	if filled.Good() {
		e, err := s.store.BreakGlass(v, v.Actor, f)
		if err == nil {
			return v.To("/donors/"+e.Donor.String(), "said.glass_broken"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.emergencyList(v, filled)
}

// emergencyShown is the page of one emergency.
type emergencyShown struct {
	registry.EmergencyDetail
	own   bool
	words *registry.EmergencyWords
	form  *Filled
	wrong string
}

func (s *Site) readEmergency(v *Visit) (*emergencyShown, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	e := &emergencyShown{form: Blank[registry.ReviewForm](v)}
	e.EmergencyDetail, err = s.store.ShowEmergency(v, watching(v), id)
	e.own = e.By == v.Actor.Staff()
	return e, err
}

func (v *Visit) emergencyAnswer(e *emergencyShown) Answer {
	e.form.Call("note", v.Say("reviews.note")).Hint("note", v.Say("reviews.note_hint"))
	return v.Page("page.emergency", emergencyPage(v, e))
}

func (s *Site) emergency(v *Visit) (Answer, error) {
	e, err := s.readEmergency(v)
	if err != nil {
		return nil, err
	}
	return v.emergencyAnswer(e), nil
}

// revealEmergency shows the words with which it was opened and reviewed, to who judges it and to who opened it.
func (s *Site) revealEmergency(v *Visit) (Answer, error) {
	e, err := s.readEmergency(v)
	if err != nil {
		return nil, err
	}
	words, err := s.store.RevealEmergency(v, v.Actor, e.ID)
	if err != nil {
		return nil, err
	}
	e.words = &words
	v.SetHeader("Cache-Control", "no-store")
	return v.emergencyAnswer(e), nil
}

func (s *Site) reviewEmergency(v *Visit) (Answer, error) {
	e, err := s.readEmergency(v)
	if err != nil {
		return nil, err
	}
	f, filled := Read[registry.ReviewForm](v)
	if filled.Good() {
		_, err := s.store.ReviewEmergency(v, v.Actor, e.ID, f)
		if err == nil {
			return v.To("/reviews?kind="+registry.ReviewsEmergency, "said.reviewed"), nil
		}
		says, mended := v.refusal(err)
		switch {
		case filled.Takes(err):
		case mended:
			e.wrong, v.refused = says, true
		default:
			return nil, err
		}
	}
	e.form = filled
	return v.emergencyAnswer(e), nil
}

func (s *Site) returnEmergency(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		_, err = s.store.ReturnEmergency(v, v.Actor, id)
	}
	if err != nil {
		return nil, err
	}
	return v.To("/emergencies/"+id.String(), "said.emergency_returned"), nil
}

// emergencyState is how emergency access stands, and how it looks.
func emergencyState(v *Visit, e registry.EmergencyView) (tone, says string) {
	switch {
	case e.Verdict == "justified":
		return "good", v.Word("Verdict", e.Verdict)
	case e.Verdict != "":
		return "bad", v.Word("Verdict", e.Verdict)
	case e.Seconds > 0:
		return "grave", v.Say("reviews.runs")
	case e.ReviewDue.Before(time.Now()):
		return "bad", v.Say("reviews.is_overdue")
	}
	return "fair", v.Say("reviews.to_review")
}

// donorPath is a donor's page for who may come there: who opened it while it runs, and who reaches donors by place.
func donorPath(v *Visit, donor uuid.UUID, number string) string {
	if number == "" || !v.May(policy.Read, policy.Registration) {
		return ""
	}
	return "/donors/" + donor.String()
}

// asked is a field that is there whatever else is answered: a reason may be given for either verdict.
func asked(f Field) Field {
	f.When, f.Is = "", ""
	return f
}
