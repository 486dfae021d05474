package registry

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// The chores of an installation, which some process does now and then (workflows.Housekeeping).
const (
	ChoreReminders = "reminders" // who has something to review is reminded, each hour
	ChoreTidying   = "tidying"   // partitions are made ahead, and what is over is dropped, once a day
	ChoreUpkeep    = "upkeep"    // what a day brings to listed donors, once a day
)

// NoteChore keeps when a chore was last done, or failed. It is the desk's own: no policy is asked.
func (s *Store) NoteChore(ctx context.Context, name string, failure error) error {
	done, failed, code := new(time.Time), (*time.Time)(nil), ""
	*done = s.now()
	if failure != nil {
		done, failed, code = nil, done, CodeOf(failure)
		if code == "" {
			code = "internal"
			s.log.Error("a chore failed", append([]zap.Field{zap.String("chore", name)}, describe(failure)...)...)
		}
	}
	_, err := s.pool.Exec(ctx, `
		INSERT INTO chores (name, done_at, failed_at, failed) VALUES ($1, $2, $3, $4)
		ON CONFLICT (name) DO UPDATE SET done_at = coalesce(excluded.done_at, chores.done_at), failed_at = coalesce(excluded.failed_at, chores.failed_at),
			failed = CASE WHEN excluded.done_at IS NULL THEN excluded.failed ELSE '' END`, name, done, failed, code)
	return translate(err)
}
