package web

import (
	"errors"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
)

// organisationPages are offices, hospitals, laboratories and hosts: where they lie, what they serve, who works there.
func (s *Site) organisationPages() {
	s.page("GET /admin/organisations", s.organisations)
	s.act("POST /admin/organisations", s.addOrganisation)
	s.page("GET /admin/organisations/{id}", s.organisation)
	s.act("POST /admin/organisations/{id}/change", s.changeOrganisation)
	s.act("POST /admin/organisations/{id}/service-areas", s.setServiceAreas)
}

var organisationKinds = []string{"red_cross", "hospital", "laboratory", "blood_station", "host", "receiver"}

func organisationForm(v *Visit, f *Filled) *Filled {
	return f.Call("kind", v.Say("admin.kind")).Call("name", v.Say("admin.organisation_name")).Call("region", v.Say("admin.region")).
		Hint("region", v.Say("admin.region_hint")).Hint("name_en", v.Say("admin.name_en_hint"))
}

func (s *Site) organisations(v *Visit) (Answer, error) {
	return s.organisationsAgain(v, Blank[registry.OrganisationForm](v))
}

func (s *Site) organisationsAgain(v *Visit, f *Filled) (Answer, error) {
	list, err := s.store.FindOrganisations(v, v.Actor, registry.OrganisationFilter{
		Kind: v.Query("kind"), Name: v.Query("q"), Region: identity.Region(v.Query("region")), After: v.QueryID("after"), Limit: listed,
	})
	wrong := ""
	if registry.KindOf(err) == registry.Invalid {
		wrong, err = v.Say("admin.region_unknown"), nil
	}
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == listed {
		next = list[listed-1].ID.String()
	}
	return v.Page("page.organisations", organisationsPage(v, list, organisationForm(v, f), next, wrong)), nil
}

func (s *Site) addOrganisation(v *Visit) (Answer, error) {
	f, filled := Read[registry.OrganisationForm](v)
	if filled.Good() {
		o, err := s.store.AddOrganisation(v, v.Actor, f)
		if err == nil {
			return v.To("/admin/organisations/"+o.ID.String(), "said.organisation_added"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.organisationsAgain(v, filled)
}

// organisationShown is all that the page of an organisation shows.
type organisationShown struct {
	registry.Organisation
	staff   []registry.StaffView // none for who may not know them
	more    bool
	writes  bool
	decides bool
	change  *Filled
	areas   *Filled
	says    string
}

func (s *Site) organisation(v *Visit) (Answer, error) { return s.organisationAgain(v, nil, nil, "") }

func (s *Site) organisationAgain(v *Visit, change, areas *Filled, says string) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	o := organisationShown{change: change, areas: areas, says: says, writes: v.May(policy.Write, policy.Organisation), decides: v.May(policy.Decide, policy.Organisation)}
	if o.Organisation, err = s.store.ShowOrganisation(v, v.Actor, id); err != nil {
		return nil, err
	}
	if v.May(policy.Read, policy.Staff) {
		if o.staff, err = s.store.SearchStaff(v, v.Actor, registry.StaffFilter{Organisation: id, Limit: 20}); err != nil {
			return nil, err
		}
		o.more = len(o.staff) == 20
	}
	if o.change == nil {
		o.change = Blank(v, registry.OrganisationChange{Name: o.Name, NameEN: o.NameEN})
	}
	if o.areas == nil {
		o.areas = Blank(v, registry.ServiceAreaForm{Regions: o.Serves})
	}
	o.change.Apart("change").Call("name", v.Say("admin.organisation_name")).Hint("name_en", v.Say("admin.name_en_hint"))
	o.areas.Apart("areas").Call("regions", v.Say("admin.serves")).Hint("regions", v.Say("admin.serves_hint"))
	return v.Page("page.organisation", organisationPage(v, o), "Name", o.Name), nil
}

func (s *Site) changeOrganisation(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, filled := Read[registry.OrganisationChange](v)
	if filled.Good() {
		_, err := s.store.ChangeOrganisation(v, v.Actor, id, v.FieldInt("version"), f)
		if err == nil {
			return v.To("/admin/organisations/"+id.String(), "said.organisation_changed"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.organisationAgain(v, filled, nil, "")
}

func (s *Site) setServiceAreas(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f, filled := Read[registry.ServiceAreaForm](v)
	none := strings.TrimSpace(v.Field("regions")) == "" // nothing is served any more: that is an answer, too
	if none {
		f = registry.ServiceAreaForm{Regions: []identity.Region{}}
	}
	says := ""
	if none || filled.Good() {
		_, err := s.store.SetServiceAreas(v, v.Actor, id, v.FieldInt("version"), f)
		if err == nil {
			return v.To("/admin/organisations/"+id.String(), "said.areas_set"), nil
		}
		if known := new(registry.Error); errors.As(err, &known) && known.Code == "areas_of_patients_side" {
			v.refused, says = true, v.sentence(err)
		} else if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.organisationAgain(v, nil, filled, says)
}

// rung is how deep a region lies, for the list's looks.
func rung(r identity.Region) string { return "rung-" + strconv.Itoa(len(r.Ancestors())-1) }

// officeOptions are organisations to choose from; one that is wanted is among them however many there are.
func (s *Site) officeOptions(v *Visit, wanted uuid.UUID) ([]Option, error) {
	list, err := s.store.FindOrganisations(v, v.Actor, registry.OrganisationFilter{Limit: 200})
	if err != nil {
		return nil, err
	}
	out, there := []Option{}, wanted == uuid.Nil
	for _, o := range list {
		out = append(out, Option{Value: o.ID.String(), Label: o.Name})
		there = there || o.ID == wanted
	}
	if !there {
		o, err := s.store.ShowOrganisation(v, v.Actor, wanted)
		if err != nil {
			return nil, err
		}
		out = append(out, Option{Value: o.ID.String(), Label: o.Name})
	}
	return out, nil
}
