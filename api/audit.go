package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
)

func (a *API) auditRoutes() {
	const tag = "audit"
	route(a, operation{method: http.MethodGet, path: "/v1/audit", id: "list-audit", tag: tag, says: "Who did or saw what, the newest first."},
		func(ctx context.Context, who registry.Actor, in *struct {
			Paged
			Actor        string `query:"actor"`
			Target       string `query:"target" doc:"Such as donor: and its id."`
			Act          string `query:"act" doc:"What was done, as the audit calls it."`
			Role         string `query:"role" doc:"In which role it was allowed or denied."`
			Organisation string `query:"organisation" format:"uuid" doc:"Where the actor worked."`
			Kind         string `query:"kind" doc:"Of what record: donor, case, task …"`
			Class        string `query:"class"`
			Action       string `query:"action" enum:"find,read,reveal,write,decide,export,breakglass"`
			Relation     string `query:"relation"`
			Purpose      string `query:"purpose"`
			From         string `query:"from" format:"date" doc:"The first day."`
			To           string `query:"to" format:"date" doc:"The last day."`
			Denied       bool   `query:"denied" doc:"Only what was refused."`
			Preset       string `query:"preset" enum:"unreviewed,out_of_region,bulk,night,same_surname" doc:"unreviewed: seen on emergency access that nobody has reviewed. out_of_region: of people outside of the region of the actor's office. bulk: many at once. night: of people at night. same_surname: of donors who have the actor's surname; neither is told. out_of_region, night and same_surname look at a month at most, and at the last week when no days are given."`
		}) (*Page[registry.AuditLine], error) {
			before, id, err := in.behind()
			if err != nil {
				return nil, err
			}
			f := registry.AuditFilter{
				Actor: in.Actor, Target: in.Target, Act: in.Act, Role: policy.Role(in.Role), Kind: in.Kind, Class: policy.Class(in.Class), Action: policy.Action(in.Action),
				Relation: policy.Relation(in.Relation), Purpose: policy.Purpose(in.Purpose), DeniedOnly: in.Denied, Preset: registry.AuditPreset(in.Preset), Before: before, BeforeID: id, Limit: in.Limit,
			}
			if in.Organisation != "" {
				if f.Organisation, err = uuid.Parse(in.Organisation); err != nil {
					return nil, errCursor
				}
			}
			if f.From, f.To, err = registry.DaysOf(in.From, in.To); err != nil {
				return nil, err
			}
			list, err := a.store.ListAudit(ctx, who, f)
			return page(list, in.Limit, func(l registry.AuditLine) string { return instantCursor(l.At, l.ID) }), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/audit/{id}", id: "show-audit", tag: tag, says: "One row of the audit whole: who, from where, by which line of the policy, which records a list showed, and whether the chain of seals covers it."},
		func(ctx context.Context, who registry.Actor, in *struct {
			ByID
			At time.Time `query:"at" required:"true" doc:"The row's time, as the list told it."`
		}) (*Plain[registry.AuditDetail], error) {
			d, err := a.store.ShowAudit(ctx, who, in.At, in.ID)
			return plain(d), err
		})
	route(a, operation{method: http.MethodGet, path: "/v1/audit/chain", id: "show-chain", tag: tag, says: "How the chain of seals over the audit stands: up to when it was verified, and the walk over it that goes on."},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Plain[registry.AuditChain], error) {
			c, err := a.store.ShowChain(ctx, who)
			return plain(c), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/audit/verifications", id: "start-verification", tag: tag, says: "Have the whole chain of seals walked. It goes on behind this; one at a time.", status: http.StatusAccepted},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Plain[registry.Verification], error) {
			v, err := a.store.StartVerification(ctx, who)
			return plain(v), err
		})
	route(a, operation{method: http.MethodPost, path: "/v1/audit/verify", id: "verify-audit", tag: tag, says: "Walk the chain of seals over the whole audit."},
		func(ctx context.Context, who registry.Actor, _ *struct{}) (*Plain[registry.AuditReport], error) {
			r, err := a.store.VerifyAudit(ctx, who, nil, nil)
			return plain(r), err
		})
}
