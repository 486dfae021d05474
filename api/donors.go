package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
)

// Entries is what became of a list of forms, in its order.
type Entries struct {
	Entries []registry.Entry `json:"entries" class:"intake" mask:"drop"`
}

// DonorCounts are counts of registrations.
type DonorCounts struct {
	Counts []registry.DonorCount `json:"counts" class:"registration" mask:"drop"`
}

// DonorQuery narrows a list of registrations.
type DonorQuery struct {
	Region     string        `query:"region" doc:"Only this region, with all that lies in it."`
	Programme  string        `query:"programme" enum:"stemcell,blood,organ,cornea,body"`
	Status     string        `query:"status" enum:"registered,enrolling,listed,unavailable,withdrawn,left"`
	Drive      uuid.UUID     `query:"drive"`
	Number     string        `query:"number"`
	Barcode    string        `query:"barcode"`
	Registered calendar.Date `query:"registered_from" doc:"Registered on this day or later."`
	Before     calendar.Date `query:"registered_before" doc:"Registered before this day."`
	Contacted  calendar.Date `query:"contacted_before" doc:"Those whom nobody has reached since that day: whom to ask whether they can still be reached."`
}

func (q DonorQuery) filter() registry.DonorFilter {
	return registry.DonorFilter{
		Region: identity.Region(q.Region), Programme: rules.Programme(q.Programme), Status: q.Status, DriveID: q.Drive, Number: q.Number, Barcode: q.Barcode,
		RegisteredFrom: q.Registered, RegisteredBefore: q.Before, ContactedBefore: q.Contacted,
	}
}

// maskedSheet is an answer that is a list of donors as they may be seen in a list.
type maskedSheet struct {
	ContentType string `header:"Content-Type" class:"open" mask:"none"`
	Disposition string `header:"Content-Disposition" class:"open" mask:"none"`
	Body        []byte `class:"registration" mask:"drop"`
}

func (a *API) donorRoutes() {
	const tag = "donors"
	type Donor = One[registry.DonorView]
	route(a, operation{method: http.MethodPost, path: "/v1/registrations", id: "register", tag: tag, says: "Enter consent forms, one or a list of up to 500, for every programme; a refusal is entered the same way. Each is taken or refused for itself.", body: registry.EntryForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Plain[Entries], error) {
			f, err := decode[registry.EntryForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			list, err := a.store.Register(ctx, who, in.Key, f)
			return plain(Entries{list}), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/donors", id: "list-donors", tag: tag, says: "Registrations. Names are masked."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			DonorQuery
			Sort string `query:"sort" enum:"id,name" doc:"Lists are in the order of their ids. Nobody sorts by what is masked: name is refused."`
		}) (*Page[registry.DonorLine], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			f := in.filter()
			f.Sort, f.After, f.Limit = in.Sort, after, in.Limit
			list, err := a.store.ListDonors(ctx, who, f)
			return page(list, in.Limit, func(d registry.DonorLine) string { return d.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/donors/export.csv", id: "export-donors", tag: tag, says: "The list of registrations as one sheet, for a spreadsheet. Names are masked, as in the list.", gives: csvType},
		func(ctx context.Context, who registry.Actor, in *struct{ DonorQuery }) (*maskedSheet, error) {
			s, err := a.store.ExportDonors(ctx, who, in.filter())
			return &maskedSheet{csvType, asDonors, s.Data}, err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/donors/find", id: "find-donor", tag: tag, says: "The registrations of who has an identity document. The number is whole, and in the body: an address is kept in many places.", body: registry.FindForm{}, scope: "donors:read"},
		func(ctx context.Context, who registry.Actor, in *struct{ Sent }) (*Page[registry.DonorLine], error) {
			f, err := decode[registry.FindForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			list, err := a.store.FindDonor(ctx, who, f)
			return page(list, 200, func(d registry.DonorLine) string { return d.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/donors/counts", id: "count-donors", tag: tag, says: "How many registrations there are, of those that the list would show."},
		func(ctx context.Context, who registry.Actor, in *struct {
			By        string `query:"by" enum:"programme,status,region" required:"true"`
			Programme string `query:"programme" enum:"stemcell,blood,organ,cornea,body"`
		}) (*Plain[DonorCounts], error) {
			list, err := a.store.CountDonors(ctx, who, rules.Programme(in.Programme), in.By)
			return plain(DonorCounts{list}), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/donors/{id}", id: "show-donor", tag: tag, says: "A registration and its person, in sections by class of data. A section that the reader may not see is absent; personal text is masked.", braked: true},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Donor, error) {
			d, err := a.store.ShowDonor(ctx, who, in.ID)
			return tagged(d.Version, d), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/donors/{id}/reveal", id: "reveal-donor", tag: tag, says: "A field of a donor's personal text in clear, or all of a class, for a reason that is written down.", body: registry.RevealForm{}, scope: "donors:reveal", braked: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Sent
			Field string `query:"field" enum:"name,documents,phone,email,address,workplace,contacts" doc:"As the body's field: a mask's address names it."`
		}) (*Plain[registry.Revealed], error) {
			f, err := parse[registry.RevealForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			if f.Field == "" && f.Class == "" {
				f.Field = in.Field
			}
			r, err := a.store.RevealDonor(ctx, who, in.ID, f)
			return plain(r), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/donors/{id}/looks", id: "list-looks", tag: tag, says: "Who looked at a donor, did something with the registration, or was refused it, the newest first: the answer to somebody who asks who saw their data.", scope: "audit:read"},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Paged
			Person bool `query:"person" doc:"Also at the person's other registrations."`
		}) (*Page[registry.Look], error) {
			before, id, err := in.behind()
			if err != nil {
				return nil, err
			}
			list, err := a.store.WhoLooked(ctx, who, in.ID, registry.LookFilter{WholePerson: in.Person, Before: before, BeforeID: id, Limit: in.Limit})
			return page(list, in.Limit, func(l registry.Look) string { return instantCursor(l.At, l.ID) }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/donors/{id}/shares", id: "share-donor", tag: tag, says: "Share a donor with another Red Cross office for a time, for what is to be done there. The office is told. It takes the place of what is shared with that office already.", body: registry.ShareForm{}, keyed: true, status: http.StatusCreated, scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Sent
		}) (*Plain[registry.ShareView], error) {
			f, err := decode[registry.ShareForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.ShareDonor(ctx, who, in.ID, f)
			return plain(v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/donors/{id}/shares", id: "list-shares", tag: tag, says: "With which offices a donor is and was shared, what for and until when, the oldest first. Who does not share donors sees what is shared with their own office."},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Paged
		}) (*Page[registry.ShareView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListShares(ctx, who, in.ID, after, in.Limit)
			return page(list, in.Limit, func(v registry.ShareView) string { return v.ID.String() }), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/donors/{id}/shares/{share}", id: "end-share", tag: tag, says: "End a share before its time. The office is told.", status: http.StatusNoContent, scope: forPeople},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Share uuid.UUID `path:"share"`
		}) (*struct{}, error) {
			return &struct{}{}, a.store.EndShare(ctx, who, in.ID, in.Share)
		})
	route(a, operation{method: http.MethodPost, path: "/v1/donors/{id}/check-in", id: "check-in", tag: tag, says: "Note what came of asking a donor whether they can still be reached and still wish to give.", body: registry.CheckIn{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*Donor, error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.CheckIn](in.RawBody)
			if err != nil {
				return nil, err
			}
			d, err := a.store.CheckInDonor(ctx, who, in.ID, version, f)
			return tagged(d.Version, d), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/donors/{id}/withdraw", id: "withdraw", tag: tag, says: "Take a registration and its consents back, on the person's word.", body: registry.WithdrawForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*Donor, error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.WithdrawForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			d, err := a.store.Withdraw(ctx, who, in.ID, version, f)
			return tagged(d.Version, d), err
		})
}

// TypingReports is a laboratory's list.
type TypingReports struct {
	Typings []forms.TypingReport `json:"typings" validate:"required,min=1,max=1000"`
}

// TypingResults is what became of it, in its order.
type TypingResults struct {
	Results []registry.TypingResult `json:"results" class:"hla" mask:"drop"`
}

func (a *API) specimenRoutes() {
	const tag = "laboratory"
	route(a, operation{method: http.MethodGet, path: "/v1/consignments", id: "list-consignments", tag: tag, says: "Boxes of tubes that are on their way here, or left here."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Status string `query:"status" enum:"sent,received"`
		}) (*Page[registry.ConsignmentView], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListConsignments(ctx, who, in.Status, after, in.Limit)
			return page(list, in.Limit, func(c registry.ConsignmentView) string { return c.ID.String() }), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/consignments/{id}/receive", id: "receive-tubes", tag: tag, says: "Sign for a box: every tube is good unless it is named as missing or rejected.", body: registry.ReceiveForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.ConsignmentView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.ReceiveForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.ReceiveTubes(ctx, who, in.ID, version, f)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/typings", id: "report-typings", tag: tag, says: "Report typings. Each is taken or refused for itself; the same one again changes nothing.", body: TypingReports{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Sent
		}) (*Plain[TypingResults], error) {
			f, err := decode[TypingReports](in.RawBody)
			if err != nil {
				return nil, err
			}
			results, err := a.store.ReportTypings(ctx, who, f.Typings)
			return plain(TypingResults{results}), err
		})
}
