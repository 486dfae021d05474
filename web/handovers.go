package web

import (
	"net/http"

	"github.com/liferelay/liferelay/registry"
)

func (s *Site) handoverPages() {
	s.page("GET /handovers", s.handovers)
	s.page("GET /handovers/{id}", s.handover)
	s.act("POST /handovers/{id}/accept", s.acceptHandover)
	s.act("POST /handovers/{id}/decline", s.declineHandover)
	s.act("POST /handovers/{id}/withdraw", s.withdrawHandover)
	s.page("GET /cases/{id}/handover", s.offerHandover)
	s.act("POST /cases/{id}/handover", s.offerHandover)
}

// handoversShown are both directions of an office's handovers.
type handoversShown struct{ asked, given []registry.HandoverView }

func (s *Site) handovers(v *Visit) (Answer, error) {
	var shown handoversShown
	var err error
	if shown.asked, err = s.store.ListHandovers(v, v.Actor, registry.HandoverFilter{Limit: 50}); err != nil {
		return nil, err
	}
	if shown.given, err = s.store.ListHandovers(v, v.Actor, registry.HandoverFilter{Given: true, Limit: 50}); err != nil {
		return nil, err
	}
	return v.Page("page.handovers", handoversPage(v, shown)), nil
}

func (s *Site) handover(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	note, err := s.store.ShowHandover(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	return v.Page("page.handover", handoverPage(v, note), "Case", note.CaseNumber), nil
}

func (s *Site) acceptHandover(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		_, err = s.store.AcceptHandover(v, v.Actor, id, v.FieldInt("version"))
	}
	if err != nil {
		return nil, err
	}
	return v.To("/handovers/"+id.String(), "said.handover_accepted"), nil
}

func (s *Site) declineHandover(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		_, err = s.store.DeclineHandover(v, v.Actor, id, v.FieldInt("version"), registry.DeclineForm{Reason: v.Field("reason")})
	}
	if err != nil {
		return nil, err
	}
	return v.To("/handovers", "said.handover_declined"), nil
}

func (s *Site) withdrawHandover(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err == nil {
		_, err = s.store.WithdrawHandover(v, v.Actor, id, v.FieldInt("version"))
	}
	if err != nil {
		return nil, err
	}
	return v.To("/handovers", "said.handover_withdrawn"), nil
}

func (s *Site) offerHandover(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	form := Blank[registry.HandoverForm](v)
	if v.r.Method == http.MethodPost {
		var f registry.HandoverForm
		if f, form = Read[registry.HandoverForm](v); form.Good() {
			h, err := s.store.OfferHandover(v, v.Actor, id, f)
			if err == nil {
				return v.To("/handovers/"+h.ID.String(), "said.handover_offered"), nil
			}
			if !form.Takes(err) {
				return nil, err
			}
		}
	}
	to, err := s.store.HandoverTo(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	var mates, offices []Option
	for _, m := range to.Staff {
		if !m.Me {
			mates = append(mates, Option{Value: m.Staff.String(), Label: m.Name})
		}
	}
	for _, o := range to.Offices {
		offices = append(offices, Option{Value: o.ID.String(), Label: o.Name})
	}
	form.Choose("staff", mates).Choose("organisation", offices).
		Call("staff", v.Say("handover.staff")).Call("organisation", v.Say("handover.organisation")).Call("promises", v.Say("handover.promises")).Call("next_contact", v.Say("handover.next_contact"))
	return v.Page("page.handover_offer", offerPage(v, id, to.Number, form), "Case", to.Number), nil
}
