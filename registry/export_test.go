package registry

import (
	"context"

	"github.com/liferelay/liferelay/policy"
)

// ActWithoutDeciding runs an act that asks the policy nothing: what a method of ours that forgot to would be.
func (s *Store) ActWithoutDeciding(ctx context.Context, actor Actor, statement string) error {
	return s.act(ctx, actor, "ActWithoutDeciding", policy.ForCase, func(ctx context.Context, a *act) error {
		_, err := a.Exec(ctx, statement)
		return err
	})
}
