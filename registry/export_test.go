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

// SealedColumns are the columns that the register seals, with whether a person's key seals them.
func SealedColumns() map[string]bool {
	out := map[string]bool{}
	for column, by := range sealedColumns {
		out[column] = by != ofInstallation
	}
	return out
}

// KeyCell is the place of a wrapped key.
var KeyCell = keyCell
