package registry

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/policy"
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

// Health is how an installation is, for those who look after it: counts and times, and nothing of anybody.
type Health struct {
	At          time.Time       `json:"at" class:"organisation" mask:"drop"`
	Database    string          `json:"database" doc:"The version of PostgreSQL." class:"organisation" mask:"drop"`
	Size        int64           `json:"size" doc:"Of the database, in bytes." class:"organisation" mask:"drop"`
	Schema      int64           `json:"schema" doc:"The newest migration that was applied …" class:"organisation" mask:"drop"`
	Wanted      int64           `json:"wanted" doc:"… and the newest that this program carries." class:"organisation" mask:"drop"`
	Outbox      Backlog         `json:"outbox" doc:"Facts that have not reached their cases." class:"organisation" mask:"drop"`
	Answers     Backlog         `json:"answers" doc:"Answers that wait for the desk." class:"organisation" mask:"drop"`
	Deliveries  Backlog         `json:"deliveries" doc:"Notices that are due to leave the house and have not." class:"organisation" mask:"drop"`
	Dead        int64           `json:"dead" doc:"Deliveries that nobody tries any more, of the last seven days." class:"organisation" mask:"drop"`
	Seals       Backlog         `json:"seals" doc:"Rows of the audit that wait for their seal." class:"organisation" mask:"drop"`
	Sealed      *time.Time      `json:"sealed,omitempty" doc:"When the newest seal was made." class:"organisation" mask:"drop"`
	Partitions  int             `json:"partitions" doc:"For how many months to come the audit and the timeline have room made." class:"organisation" mask:"drop"`
	Stray       bool            `json:"stray,omitempty" doc:"Rows lie outside of the months: room was made too late." class:"organisation" mask:"drop"`
	Rotations   []RotationState `json:"rotations" doc:"Rotations of keys that go on." class:"organisation" mask:"drop"`
	Generation  int64           `json:"generation" doc:"Of the key file." class:"organisation" mask:"drop"`
	Donors      int             `json:"donors" doc:"Listed donors in this process's memory; 0 before its first search." class:"organisation" mask:"drop"`
	Unread      int             `json:"unread,omitempty" doc:"Listed donors whose typing cannot be read." class:"organisation" mask:"drop"`
	Followed    *time.Time      `json:"followed,omitempty" doc:"When this process last took in what changed of them." class:"organisation" mask:"drop"`
	Chores      []ChoreState    `json:"chores" class:"organisation" mask:"drop"`
	Policy      string          `json:"policy" doc:"The fingerprint of the policy's files." class:"organisation" mask:"drop"`
	Keyring     string          `json:"keyring" doc:"The fingerprint of the keyring." class:"organisation" mask:"drop"`
	Connections [2]int          `json:"connections" doc:"Of this process to the database: in use, and at most." class:"organisation" mask:"drop"`
}

// Backlog is what waits.
type Backlog struct {
	Waiting int64      `json:"waiting" class:"organisation" mask:"drop"`
	Oldest  *time.Time `json:"oldest,omitempty" class:"organisation" mask:"drop"`
}

// RotationState is a rotation of keys that goes on.
type RotationState struct {
	Kind  string `json:"kind" class:"organisation" mask:"drop"`
	Step  string `json:"step" class:"organisation" mask:"drop"`
	Done  int64  `json:"done" class:"organisation" mask:"drop"`
	Total int64  `json:"total" class:"organisation" mask:"drop"`
}

// ChoreState is when a piece of the installation's own work was last done.
type ChoreState struct {
	Name     string     `json:"name" class:"organisation" mask:"drop"`
	DoneAt   *time.Time `json:"done_at,omitempty" class:"organisation" mask:"drop"`
	FailedAt *time.Time `json:"failed_at,omitempty" class:"organisation" mask:"drop"`
	Failed   string     `json:"failed,omitempty" doc:"Why it failed the last time, a code; absent once it was done again." class:"organisation" mask:"drop"`
	Late     bool       `json:"late,omitempty" doc:"It should have been done since." class:"organisation" mask:"drop"`
}

// chores are how often each is done.
var chores = []struct {
	name  string
	every time.Duration
}{{ChoreReminders, time.Hour}, {ChoreTidying, 24 * time.Hour}, {ChoreUpkeep, 24 * time.Hour}}

// ReadHealth tells how the installation is, to a system administrator.
func (r *Reader) ReadHealth(ctx context.Context, actor Actor) (Health, error) {
	var out Health
	err := r.act(ctx, actor, "ReadHealth", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		// Whoever may enter organisations where they work looks after the installation.
		if err := a.permit(policy.Write, policy.Organisation, record{kind: "organisations", id: "health", region: a.actor.region}); err != nil {
			return err
		}
		out = Health{At: a.at, Policy: policy.Fingerprint(), Keyring: a.keys.Fingerprint(), Generation: a.keys.Generation(), Rotations: []RotationState{}}
		if out.Wanted, err = newestMigration(); err != nil {
			return err
		}
		stat := a.pool.Stat()
		out.Connections = [2]int{int(stat.AcquiredConns()), int(stat.MaxConns())}
		err = a.QueryRow(ctx, `
			SELECT current_setting('server_version'), pg_database_size(current_database()), (SELECT max(version_id) FROM goose_db_version WHERE is_applied),
				(SELECT count(*) FROM outbox WHERE delivered_at IS NULL), (SELECT min(created_at) FROM outbox WHERE delivered_at IS NULL),
				(SELECT count(*) FROM answers WHERE status = 'pending'), (SELECT min(created_at) FROM answers WHERE status = 'pending'),
				(SELECT count(*) FROM deliveries WHERE state = 'waiting' AND next_at <= now()), (SELECT min(next_at) FROM deliveries WHERE state = 'waiting' AND next_at <= now()),
				(SELECT count(*) FROM deliveries WHERE state = 'dead' AND created_at > now() - interval '7 days'),
				(SELECT count(*) FROM audit_unsealed), (SELECT min(recorded_at) FROM audit_unsealed), (SELECT sealed_at FROM audit_seals ORDER BY seq DESC LIMIT 1),
				(SELECT count(*) FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month', date_trunc('month', now() AT TIME ZONE 'UTC') + interval '36 months', interval '1 month') m
					WHERE to_regclass('audit_' || to_char(m, 'YYYY_MM')) IS NOT NULL AND to_regclass('events_' || to_char(m, 'YYYY_MM')) IS NOT NULL)`).
			Scan(&out.Database, &out.Size, &out.Schema, &out.Outbox.Waiting, &out.Outbox.Oldest, &out.Answers.Waiting, &out.Answers.Oldest,
				&out.Deliveries.Waiting, &out.Deliveries.Oldest, &out.Dead, &out.Seals.Waiting, &out.Seals.Oldest, &out.Sealed, &out.Partitions)
		if err != nil {
			return err
		}
		if err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM audit WHERE tableoid = 'audit_other'::regclass)`).Scan(&out.Stray); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT `+rotationColumns+` FROM key_rotations WHERE finished_at IS NULL ORDER BY started_at`)
		if err != nil {
			return err
		}
		open, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (RotationView, error) { return scanRotation(row) })
		if err != nil {
			return err
		}
		for _, v := range open {
			out.Rotations = append(out.Rotations, RotationState{string(v.Kind), v.Step, v.Done, v.Total})
		}
		if out.Chores, err = a.choresDone(ctx); err != nil {
			return err
		}
		a.matching.mu.Lock()
		defer a.matching.mu.Unlock()
		if a.matching.engine != nil {
			looked := a.matching.looked
			out.Donors, out.Unread, out.Followed = a.matching.engine.Len(), len(a.matching.engine.Left()), &looked
		}
		return nil
	})
	return out, err
}

func (a *act) choresDone(ctx context.Context) ([]ChoreState, error) {
	rows, err := a.Query(ctx, `SELECT name, done_at, failed_at, failed FROM chores`)
	if err != nil {
		return nil, err
	}
	known, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c ChoreState, err error) {
		return c, row.Scan(&c.Name, &c.DoneAt, &c.FailedAt, &c.Failed)
	})
	if err != nil {
		return nil, err
	}
	out := make([]ChoreState, 0, len(chores))
	for _, chore := range chores {
		state := ChoreState{Name: chore.name}
		for _, c := range known {
			if c.Name == chore.name {
				state = c
			}
		}
		state.Late = state.DoneAt == nil || a.now().Sub(*state.DoneAt) > chore.every+chore.every/2
		out = append(out, state)
	}
	return out, nil
}
