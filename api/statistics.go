package api

import (
	"context"
	"net/http"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
)

// StatisticsQuery says what statistics are asked for.
type StatisticsQuery struct {
	Region    string `query:"region" doc:"The widest of one's own when left out."`
	Year      int    `query:"year" doc:"A calendar year; this one when left out."`
	Programme string `query:"programme" enum:"stemcell,blood,organ,cornea,body" doc:"Whose registrations are counted; stem cells when left out."`
	Measure   string `query:"measure" enum:"registered,typed,matched,agreed,cleared,collected" doc:"What the months and the regions are told of; registered when left out."`
}

func (q StatisticsQuery) query() registry.StatisticsQuery {
	return registry.StatisticsQuery{Region: identity.Region(q.Region), Year: q.Year, Programme: rules.Programme(q.Programme), Measure: q.Measure}
}

// DriveFigures are how drives went.
type DriveFigures struct {
	Drives []registry.DriveFigure `json:"drives" class:"statistics" mask:"drop"`
}

// Cards are the numbers of lists.
type Cards struct {
	Cards []registry.Card `json:"cards" class:"statistics" mask:"drop"`
}

// statisticsSheet is an answer that is a sheet of numbers.
type statisticsSheet struct {
	ContentType string `header:"Content-Type" class:"open" mask:"none"`
	Disposition string `header:"Content-Disposition" class:"open" mask:"none"`
	Body        []byte `class:"statistics" mask:"drop"`
}

func (a *API) statisticsRoutes() {
	const tag = "statistics"
	route(a, operation{method: http.MethodGet, path: "/v1/statistics", id: "show-statistics", tag: tag, says: "What offices report of a region and a year. Numbers below five are withheld, and those from which one could be computed."},
		func(ctx context.Context, who registry.Actor, in *struct{ StatisticsQuery }) (*Plain[registry.StatisticsView], error) {
			v, err := a.store.Statistics(ctx, who, in.query())
			return plain(v), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/statistics/statistics.csv", id: "export-statistics", tag: tag, says: "The same as one sheet, for a spreadsheet: a line for each number.", gives: csvType},
		func(ctx context.Context, who registry.Actor, in *struct{ StatisticsQuery }) (*statisticsSheet, error) {
			s, err := a.store.StatisticsSheet(ctx, who, in.query())
			return &statisticsSheet{csvType, `attachment; filename="statistics.csv"`, s.Data}, err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/statistics/drives", id: "show-drive-statistics", tag: tag, says: "How the drives of a region and a year went, the latest first, at most two hundred."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Region string `query:"region" doc:"Only this region, with all that lies in it."`
			Year   int    `query:"year" doc:"A calendar year; this one when left out."`
		}) (*Plain[DriveFigures], error) {
			list, err := a.store.DriveStatistics(ctx, who, registry.StatisticsQuery{Region: identity.Region(in.Region), Year: in.Year})
			return plain(DriveFigures{list}), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/cards", id: "list-cards", tag: tag, says: "How much there is in the lists that one may open: a number for each, and the list that it opens."},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Plain[Cards], error) {
			list, err := a.store.Cards(ctx, who)
			return plain(Cards{list}), err
		})
}
