package api

import (
	"context"
	"net/http"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
)

// whole is an answer with a list that has one page.
func whole[T any](items []T) *Page[T] {
	if items == nil {
		items = []T{}
	}
	return &Page[T]{Body: PageBody[T]{Items: items}}
}

// versionOrNew is version for a record that may not be there yet: without an If-Match it is to be made.
func (v Versioned) versionOrNew() (int64, error) {
	if v.IfMatch == "" {
		return 0, nil
	}
	return v.version()
}

func (a *API) administrationRoutes() {
	const tag = "administration"
	route(a, operation{method: http.MethodGet, path: "/v1/health", id: "read-health", tag: tag, says: "How the installation is: what waits, since when, and when its own work was last done. For system administrators."},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Plain[registry.Health], error) {
			h, err := a.store.ReadHealth(ctx, who)
			return plain(h), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/calendar-days", id: "list-calendar-days", tag: tag, says: "The days of a year that are otherwise than their day of the week: the country's, and what a region and those above it declared."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Region string `query:"region" doc:"One's office's region when left out."`
			Year   int    `query:"year" required:"true" minimum:"2001" maximum:"2100"`
		}) (*Page[registry.CalendarDay], error) {
			list, err := a.store.CalendarDays(ctx, who, identity.Region(in.Region), in.Year)
			return whole(list), err
		})
	route(a, operation{method: http.MethodPut, path: "/v1/calendar-days", id: "set-calendar-day", tag: tag, says: "Declare a day worked or free in a region, for deadlines that are counted from then on. What was asked keeps its deadline.", body: registry.CalendarDayForm{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			Keyed
			Versioned
			Sent
		}) (*One[registry.CalendarDay], error) {
			version, err := in.versionOrNew()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.CalendarDayForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			d, err := a.store.SetCalendarDay(ctx, who, version, f)
			return tagged(d.Version, d), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/calendar-days/preview", id: "preview-calendar-day", tag: tag, says: "What a day would change of what is being counted, if it were declared. Nothing is kept.", body: registry.CalendarDayForm{}},
		func(ctx context.Context, who registry.Actor, in *struct{ Sent }) (*Plain[registry.CalendarEffect], error) {
			f, err := decode[registry.CalendarDayForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			e, err := a.store.PreviewCalendarDay(ctx, who, f, false)
			return plain(e), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/calendar-days", id: "remove-calendar-day", tag: tag, says: "Take a day back that a region declared.", status: http.StatusNoContent},
		func(ctx context.Context, who registry.Actor, in *struct {
			Versioned
			Region string `query:"region" required:"true"`
			Day    string `query:"day" required:"true" format:"date"`
		}) (*struct{}, error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			day, err := calendar.Parse(in.Day)
			if err != nil {
				return nil, registry.Invalidated(forms.Problems{{Code: "R144", Field: "day"}})
			}
			return &struct{}{}, a.store.RemoveCalendarDay(ctx, who, version, identity.Region(in.Region), day)
		})
	route(a, operation{method: http.MethodGet, path: "/v1/rules", id: "list-rules", tag: tag, says: "The rules that hold in a region on a day: ages, intervals, deadlines, limits, each with its source."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Region string `query:"region" doc:"One's office's region when left out."`
			On     string `query:"on" format:"date" doc:"Today when left out."`
		}) (*Page[registry.RuleLine], error) {
			at := registry.Place{Region: identity.Region(in.Region)}
			if in.On != "" {
				var err error
				if at.On, err = calendar.Parse(in.On); err != nil {
					return nil, registry.Invalidated(forms.Problems{{Code: "R144", Field: "on"}})
				}
			}
			list, err := a.store.ShowRules(ctx, who, at, nil)
			return whole(list), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/rules/dry-run", id: "dry-run-rule", tag: tag, says: "How many tasks or donors would be judged otherwise today if a rule had another value. Nothing is changed.", body: registry.DryRunForm{}},
		func(ctx context.Context, who registry.Actor, in *struct{ Sent }) (*Plain[registry.DryRun], error) {
			f, err := decode[registry.DryRunForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			d, err := a.store.DryRunRule(ctx, who, f)
			return plain(d), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/policy/{role}", id: "show-matrix", tag: "audit", says: "What the policy allows a role. What is not in it is denied."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Role string `path:"role"`
		}) (*Plain[registry.PolicyMatrix], error) {
			m, err := a.store.ShowMatrix(ctx, who, policy.Role(in.Role))
			return plain(m), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/policy/simulate", id: "simulate-policy", tag: "audit", says: "What somebody may do with a record or in a relation, by which line of the policy, and what stands against the rest. Only records that one knows from rows of the audit that one reads.", body: registry.SimulationForm{}},
		func(ctx context.Context, who registry.Actor, in *struct{ Sent }) (*Plain[registry.Simulation], error) {
			f, err := decode[registry.SimulationForm](in.RawBody)
			if err != nil {
				return nil, err
			}
			s, err := a.store.SimulatePolicy(ctx, who, f)
			return plain(s), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/reviews", id: "list-reviews", tag: "audit", says: "What waits for a judgement in one's regions, what is due first first: emergency access, held texts, exports, requests about data."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Kind    string `query:"kind" enum:"emergency,message,export,rights"`
			Overdue bool   `query:"overdue"`
		}) (*Page[registry.Review], error) {
			list, err := a.store.ListReviews(ctx, who, registry.ReviewFilter{Kind: in.Kind, Overdue: in.Overdue})
			return whole(list), err
		})
}

func (a *API) templateRoutes() {
	const tag = "administration"
	// Template names a notice on a channel.
	type Template struct {
		Code    string `path:"code" doc:"Of the notice, such as task.opened."`
		Channel string `path:"channel" doc:"screen, email or message."`
		Region  string `query:"region" doc:"Whose words they are; one's office's region when left out."`
	}
	type Answer = One[registry.NoticeTemplate]
	route(a, operation{method: http.MethodGet, path: "/v1/notice-templates", id: "list-notice-templates", tag: tag, says: "What every notice says on every channel in a region, and whose words they are."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Region string `query:"region" doc:"One's office's region when left out."`
		}) (*Page[registry.NoticeTemplate], error) {
			list, err := a.store.NoticeTemplates(ctx, who, identity.Region(in.Region))
			return whole(list), err
		})
	route(a, operation{method: http.MethodPut, path: "/v1/notice-templates/{code}/{channel}", id: "set-notice-template", tag: tag, says: "Give a notice on a channel a region's own words, in both languages. They are told what the shipped sentence is told, and what leaves the house names no step, no reason and no sample.", body: registry.NoticeWording{}, keyed: true},
		func(ctx context.Context, who registry.Actor, in *struct {
			Template
			Keyed
			Versioned
			Sent
		}) (*Answer, error) {
			version, err := in.versionOrNew()
			if err != nil {
				return nil, err
			}
			f, err := decode[registry.NoticeWording](in.RawBody)
			if err != nil {
				return nil, err
			}
			t, err := a.store.SetNoticeTemplate(ctx, who, identity.Region(in.Region), in.Code, registry.Channel(in.Channel), version, f)
			return tagged(t.Version, t), err
		})
	route(a, operation{method: http.MethodDelete, path: "/v1/notice-templates/{code}/{channel}", id: "remove-notice-template", tag: tag, says: "Take a region's own words of a notice back."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Template
			Versioned
		}) (*Answer, error) {
			version, err := in.version()
			if err != nil {
				return nil, err
			}
			t, err := a.store.RemoveNoticeTemplate(ctx, who, identity.Region(in.Region), in.Code, registry.Channel(in.Channel), version)
			return tagged(t.Version, t), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/notice-templates/{code}/{channel}/preview", id: "preview-notice-template", tag: tag, says: "How words for a notice would read, with made-up numbers and days. Nothing is kept.", body: registry.NoticeWording{}},
		func(ctx context.Context, who registry.Actor, in *struct {
			Template
			Sent
		}) (*Plain[registry.NoticePreview], error) {
			f, err := decode[registry.NoticeWording](in.RawBody)
			if err != nil {
				return nil, err
			}
			p, err := a.store.PreviewNotice(ctx, who, in.Code, registry.Channel(in.Channel), f)
			return plain(p), err
		})
}
