package registry

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
)

// Views of the worklist that members of staff keep: a tab with its filter, under a name of their own. They are nobody else's.

// SavedQuery is a tab and a filter of the worklist: codes, a region, a part of a case's number.
type SavedQuery struct {
	Tab      WorkTab         `json:"tab" validate:"omitempty,oneof=all overdue today week unassigned waiting escalated" class:"open" mask:"none"`
	Protocol Protocol        `json:"protocol,omitempty" validate:"omitempty,oneof=enrolment drive search stemcell care safety rights" class:"open" mask:"none"`
	Step     string          `json:"step,omitempty" validate:"max=60" class:"open" mask:"none"`
	Region   identity.Region `json:"region,omitempty" validate:"max=12" class:"open" mask:"none"`
	Number   string          `json:"number,omitempty" validate:"max=20" class:"open" mask:"none"`
}

// SavedViewForm keeps a view.
type SavedViewForm struct {
	Name    string     `json:"name" validate:"required,max=40"`
	Query   SavedQuery `json:"query"`
	Default bool       `json:"default,omitempty" doc:"The one that opens when none is asked for. There is one at most."`
}

// SavedView is a view that somebody keeps.
type SavedView struct {
	ID      uuid.UUID  `json:"id" class:"open" mask:"none"`
	Name    string     `json:"name" class:"open" mask:"none"`
	Query   SavedQuery `json:"query" class:"open" mask:"none"`
	Default bool       `json:"default" class:"open" mask:"none"`
	Version int64      `json:"version" class:"open" mask:"none"`
}

// mostViews is how many views one person keeps.
const mostViews = 50

// SaveView keeps a view of the actor's, or changes it under its name.
func (s *Store) SaveView(ctx context.Context, actor Actor, f SavedViewForm) (SavedView, error) {
	var out SavedView
	err := s.act(ctx, actor, "SaveView", policy.ForCase, func(ctx context.Context, a *act) error {
		if err := a.permitViews(); err != nil {
			return err
		}
		problems := append(forms.Check(f), forms.Check(f.Query)...)
		if len(problems) > 0 {
			return invalid(problems)
		}
		var kept int
		if err := a.QueryRow(ctx, `SELECT count(*)::int FROM saved_views WHERE staff_id = $1 AND lower(name) <> lower($2)`, actor.staff, f.Name).Scan(&kept); err != nil {
			return err
		}
		if kept >= mostViews {
			return refused("views_many", "Most", mostViews)
		}
		query, err := json.Marshal(f.Query)
		if err != nil {
			return err
		}
		if f.Default {
			if _, err := a.Exec(ctx, `UPDATE saved_views SET is_default = false, version = version + 1 WHERE staff_id = $1 AND is_default AND lower(name) <> lower($2)`, actor.staff, f.Name); err != nil {
				return err
			}
		}
		out = SavedView{Name: f.Name, Query: f.Query, Default: f.Default}
		return a.QueryRow(ctx, `
			INSERT INTO saved_views AS v (id, staff_id, name, query, is_default) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (staff_id, lower(name)) DO UPDATE SET name = excluded.name, query = excluded.query, is_default = excluded.is_default, version = v.version + 1
			RETURNING id, version`, newID(), actor.staff, f.Name, query, f.Default).Scan(&out.ID, &out.Version)
	})
	return out, err
}

// permitViews permits keeping views of the worklist to whoever finds anything in it.
func (a *act) permitViews() error {
	return a.permitList(policy.Case, a.reachOf(policy.Read, policy.Case), "cases", nil, "views")
}

// ListViews lists the actor's views, by name.
func (r *Reader) ListViews(ctx context.Context, actor Actor) ([]SavedView, error) {
	var out []SavedView
	err := r.actFrom(ctx, actor, "ListViews", policy.ForCase, func(a *act, b *pgx.Batch) { a.queueViews(b, &out) }, func(_ context.Context, a *act) error { return a.permitViews() })
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (a *act) queueViews(b *pgx.Batch, out *[]SavedView) {
	b.Queue(`SELECT id, name, query, is_default, version FROM saved_views WHERE staff_id = $1 ORDER BY lower(name)`, a.actor.staff).Query(func(rows pgx.Rows) (err error) {
		*out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SavedView])
		return err
	})
}

// DropView forgets a view of the actor's. Forgetting what is not there changes nothing.
func (s *Store) DropView(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.act(ctx, actor, "DropView", policy.ForCase, func(ctx context.Context, a *act) error {
		if err := a.permitViews(); err != nil {
			return err
		}
		_, err := a.Exec(ctx, `DELETE FROM saved_views WHERE id = $1 AND staff_id = $2`, id, actor.staff)
		return err
	})
}
