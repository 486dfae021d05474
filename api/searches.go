package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// CloseForm ends a search.
type CloseForm struct {
	Reason string `json:"reason" validate:"required,oneof=transplanted related_donor patient_died other_treatment other"`
}

// CandidateQuery narrows a report.
type CandidateQuery struct {
	Change    string      `query:"change" enum:"new,changed,same,lost,any,found" doc:"Since the run before; any is new, changed or lost, found is who fits now."`
	Donor     []uuid.UUID `query:"donor" doc:"Only these, to compare them."`
	Matched   int         `query:"matched" doc:"How many copies have to match for certain."`
	Chance    float64     `query:"chance" doc:"How likely all copies have to match, 0 to 1."`
	AgeFrom   int         `query:"age_from" doc:"Ages are told apart by five years, as they are shown."`
	AgeTo     int         `query:"age_to"`
	Sex       string      `query:"sex" enum:"male,female"`
	ABO       string      `query:"abo" enum:"A,B,O,AB"`
	Rh        string      `query:"rh" enum:"positive,negative"`
	Distance  string      `query:"distance" enum:"province,area,far"`
	Available bool        `query:"available" doc:"Only those whom nobody else has asked for."`
}

func (q CandidateQuery) filter() registry.CandidateFilter {
	return registry.CandidateFilter{
		Change: q.Change, Donors: q.Donor, Matched: q.Matched, Chance: q.Chance, AgeFrom: q.AgeFrom, AgeTo: q.AgeTo, Sex: q.Sex, ABO: q.ABO, Rh: q.Rh, Distance: q.Distance, Available: q.Available,
	}
}

func (a *API) searchRoutes() {
	const tag = "searches"
	type Search = One[registry.SearchView]
	route(a, operation{method: http.MethodPost, path: "/v1/patients", id: "add-patient", tag: tag, says: "Enter a patient under a pseudonym. Who it is stays with the hospital.", body: forms.Patient{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*One[registry.PatientView], error) {
			f, err := decode[forms.Patient](in.RawBody)
			if err != nil {
				return nil, err
			}
			p, err := a.store.AddPatient(ctx, who, f)
			return tagged(p.Version, p), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/patients", id: "list-patients", tag: tag, says: "The patients of one's own hospital, the newest first."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Number string `query:"number"`
		}) (*Page[registry.PatientLine], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListPatients(ctx, who, registry.SearchesFilter{Number: in.Number, After: after, Limit: in.Limit})
			return page(list, in.Limit, func(l registry.PatientLine) string { return l.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/patients/{id}", id: "show-patient", tag: tag, says: "A patient of one's own hospital."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*One[registry.PatientView], error) {
			p, err := a.store.ShowPatient(ctx, who, in.ID)
			return tagged(p.Version, p), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/searches", id: "list-searches", tag: tag, says: "The searches of one's own hospital, the newest first, with what their last runs changed."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Status  string    `query:"status" enum:"open,requested,closed"`
			Patient uuid.UUID `query:"patient"`
			Number  string    `query:"number" doc:"Of the search, or of its patient."`
		}) (*Page[registry.SearchLine], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListSearches(ctx, who, registry.SearchesFilter{Status: in.Status, Patient: in.Patient, Number: in.Number, After: after, Limit: in.Limit})
			return page(list, in.Limit, func(l registry.SearchLine) string { return l.ID.String() }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/searches", id: "open-search", tag: tag, says: "Search donors for a patient. The search stays open and is repeated.", body: registry.SearchForm{}, keyed: true, status: http.StatusCreated},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Search, error) {
			f, err := decode[registry.SearchForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			s, err := a.store.OpenSearch(ctx, who, f)
			return tagged(s.Version, s), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/searches/{id}", id: "show-search", tag: tag, says: "A search: its last run, and how many candidates it found."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Search, error) {
			s, err := a.store.ShowSearch(ctx, who, in.ID)
			return tagged(s.Version, s), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/searches/{id}/candidates", id: "list-candidates", tag: tag, says: "The preliminary report (初配): candidates by rank, with grades by locus; never who they are."},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Paged
			CandidateQuery
		}) (*Page[registry.CandidateView], error) {
			parts, err := in.parts(1)
			if err != nil {
				return nil, err
			}
			after, err := strconv.Atoi("0" + parts[0])
			if err != nil {
				return nil, errCursor
			}
			f := in.filter()
			f.AfterRank, f.Limit = after, in.Limit
			list, err := a.store.ListCandidates(ctx, who, in.ID, f)
			return page(list, in.Limit, func(c registry.CandidateView) string { return strconv.Itoa(c.Rank) }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/searches/{id}/candidates/{donor}/why", id: "why-candidate", tag: tag, braked: true, says: "Why a donor is a candidate of a search, or is not: both typings step by step, and what else stands against the donor. A hospital asks about donors whom its search found; of those who are candidates no more it reads the grades alone."},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Donor uuid.UUID `path:"donor" doc:"The registration."`
		}) (*Plain[registry.WhyView], error) {
			w, err := a.store.WhyCandidate(ctx, who, in.ID, in.Donor)
			return plain(w), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/searches/{id}/close", id: "close-search", tag: tag, says: "End a search. Donors who were asked for are released, unless the patient's conditioning has begun.", body: CloseForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*Search, error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[CloseForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			s, err := a.store.CloseSearch(ctx, who, in.ID, version, f.Reason)
			return tagged(s.Version, s), err
		})
}
