package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
)

// duplicateRoutes are what is found in one box, and what is done about records that may be one person.
func (a *API) duplicateRoutes() {
	const tag = "donors"
	type Duplicate = One[registry.DuplicateView]
	route(a, operation{method: http.MethodPost, path: "/v1/find", id: "find", tag: tag, says: "Look for the one thing that a text names: a donor's, a case's or a search's number, a barcode, an identity number, or the end of one with the birth date. What the reader may not know of is not found.", body: registry.LookForm{}, scope: "donors:read", braked: true},
		func(ctx context.Context, who registry.Actor, in *struct{ Sent }) (*Plain[registry.Found], error) {
			f, err := decode[registry.LookForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			found, err := a.store.Find(ctx, who, f)
			return plain(found), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/duplicates", id: "list-duplicates", tag: tag, says: "Pairs of records that may be one person, of whom the reader may know both."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Decision string    `query:"decision" enum:"open,same,different,unsure" doc:"open is what nobody decided for certain."`
			Donor    uuid.UUID `query:"donor" doc:"Only those of this registration's person."`
		}) (*Page[registry.DuplicateLine], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			list, err := a.store.ListDuplicates(ctx, who, registry.DuplicateFilter{Decision: in.Decision, Donor: in.Donor, After: after, Limit: in.Limit})
			return page(list, in.Limit, func(d registry.DuplicateLine) string { return d.ID.String() }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/duplicates/{id}", id: "show-duplicate", tag: tag, says: "A pair side by side, with what speaks for and against its being one person. Personal text is masked."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Duplicate, error) {
			v, err := a.store.ShowDuplicate(ctx, who, in.ID)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/duplicates/{id}/decide", id: "decide-duplicate", tag: tag, says: "Say whether a pair is one person, and why.", body: registry.DecideForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*Duplicate, error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.DecideForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.DecideDuplicate(ctx, who, in.ID, version, f)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/duplicates/{id}/preview", id: "preview-merge", tag: tag, says: "What making the two persons of a pair one would do, and why it cannot be done.", body: registry.MergeForm{}},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Sent
		}) (*Plain[registry.MergePreview], error) {
			f, err := parse[registry.MergeForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.PreviewMerge(ctx, who, in.ID, f)
			return plain(v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/duplicates/{id}/merge", id: "merge-donors", tag: tag, says: "Make the two persons of a pair one. The older number of a programme stays; it can be taken apart again.", body: registry.MergeForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.MergeView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.MergeForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.MergeDonors(ctx, who, in.ID, version, f)
			return tagged(v.Version, v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/donors/{id}/merges", id: "list-merges", tag: tag, says: "Whom a donor was made one with, the newest first."},
		func(ctx context.Context, who registry.Actor, in *ByID) (*Plain[Merges], error) {
			list, err := a.store.ListMerges(ctx, who, in.ID)
			return plain(Merges{list}), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/merges/{id}/undo", id: "unmerge-donors", tag: tag, says: "Make two persons of one again, each with what they had.", body: registry.UnmergeForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			Keyed
			Versioned
			Sent
		}) (*One[registry.MergeView], error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.UnmergeForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			v, err := a.store.UnmergeDonors(ctx, who, in.ID, version, f)
			return tagged(v.Version, v), err
		})
}

// Merges is the history of a donor's merges.
type Merges struct {
	Merges []registry.MergeView `json:"merges" class:"identity" mask:"drop"`
}
