package registry

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"go.uber.org/zap"
	"golang.org/x/text/secure/precis"

	"github.com/liferelay/liferelay/migrations"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Migration is what Migrate did.
type Migration struct {
	From    int64 `json:"from"`
	To      int64 `json:"to"`
	Regions int   `json:"regions"` // rows of the region table that were added
	Fresh   bool  `json:"fresh"`   // the database was empty
}

// Migrate brings the database to this program's schema and loads what ships with it: regions, rule-pack versions, the
// wordings of consents. It may be run again at any time, and by several processes at once: one works, the others wait.
func Migrate(ctx context.Context, o Options) (Migration, error) {
	o.owner = true
	s, err := connect(ctx, o)
	if err != nil {
		return Migration{}, err
	}
	defer s.Close()
	db := stdlib.OpenDBFromPool(s.pool)
	defer func() { _ = db.Close() }()
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return Migration{}, err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Files, goose.WithSessionLocker(locker))
	if err != nil {
		return Migration{}, err
	}
	var m Migration
	if m.From, err = provider.GetDBVersion(ctx); err != nil {
		return m, translate(err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return m, fmt.Errorf("registry: migrating: %w", err)
	}
	if m.To, err = provider.GetDBVersion(ctx); err != nil {
		return m, translate(err)
	}
	m.Fresh = m.From == 0
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.loadReference(ctx, tx, &m) })
	return m, translate(err)
}

// MakeLogin makes the role that services sign in with, or gives it a new password: it may become each of the acts' roles and has
// nothing of its own. Migrate has to have run. The password does not go to the server, which writes statements that fail into its
// log: what goes is what the server would make of it.
func MakeLogin(ctx context.Context, o Options, name, password string) error {
	o.owner = true
	s, err := connect(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	verifier, err := verifierOf(password)
	if err != nil {
		return err
	}
	// Roles are the whole server's: another register on it may be making its own at this moment, and PostgreSQL lets neither wait.
	for attempt := 0; ; attempt++ {
		err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			// A statement that makes a role takes no parameters, so the server quotes them itself.
			var made, changed, granted string
			err := tx.QueryRow(ctx, `
			SELECT format('CREATE ROLE %I LOGIN NOINHERIT PASSWORD %L', $1::text, $2::text), format('ALTER ROLE %I LOGIN NOINHERIT PASSWORD %L', $1::text, $2::text),
				format('GRANT liferelay_service, liferelay_register, liferelay_intake, liferelay_link, liferelay_audit, liferelay_system TO %1$I; GRANT %1$I TO %2$I', $1::text, current_user)`, name, verifier).Scan(&made, &changed, &granted)
			if err != nil {
				return err
			}
			var exists bool
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, name).Scan(&exists); err != nil {
				return err
			}
			if exists {
				made = changed
			}
			if _, err := tx.Exec(ctx, made); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, granted) // the owner may be the login, too: it may end its connections
			return err
		})
		var pg *pgconn.PgError
		if attempt == 50 || !errors.As(err, &pg) || pg.Code != "XX000" && pg.Code != "23505" && pg.Code != "42710" {
			return translate(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// verifierOf is what a PostgreSQL server keeps of a password: SCRAM-SHA-256, RFC 5803 and RFC 7677.
func verifierOf(password string) (string, error) {
	// Prepared as pgx prepares it when it signs in.
	if prepared, err := precis.OpaqueString.String(password); err == nil {
		password = prepared
	}
	const rounds = 4096
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // it does not fail
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(says string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(says))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	in := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, in(salt), in(stored[:]), in(mac("Server Key"))), nil
}

// OwnsNothing tells whether the connections sign in as a role that owns no table and is not held by row policies: the second
// wall stands only then.
func (r *Reader) OwnsNothing(ctx context.Context) (bool, error) {
	var owns bool
	err := r.pool.QueryRow(ctx, `
		SELECT rolsuper OR rolbypassrls OR EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname IN ('public', 'link') AND pg_has_role(session_user, c.relowner, 'MEMBER'))
		FROM pg_roles WHERE rolname = session_user`).Scan(&owns)
	return !owns, translate(err)
}

// loadReference brings the tables of regions, rule packs and wordings to what this program carries.
func (s *Store) loadReference(ctx context.Context, tx pgx.Tx, m *Migration) error {
	if _, err := tx.Exec(ctx, `CREATE TEMP TABLE fresh_regions (LIKE regions) ON COMMIT DROP`); err != nil {
		return err
	}
	var rows [][]any
	for e := range identity.Entries() {
		rows = append(rows, []any{string(e.Code), e.Name, year(e.From), year(e.Until)})
	}
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{"fresh_regions"}, []string{"code", "name", "valid_from", "valid_until"}, pgx.CopyFromRows(rows)); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO regions (code, name, valid_from, valid_until) SELECT code, name, valid_from, valid_until FROM fresh_regions
		ON CONFLICT (code) DO UPDATE SET name = excluded.name, valid_from = excluded.valid_from, valid_until = excluded.valid_until
		WHERE (regions.name, regions.valid_from, regions.valid_until) IS DISTINCT FROM (excluded.name, excluded.valid_from, excluded.valid_until)`)
	if err != nil {
		return err
	}
	m.Regions = int(tag.RowsAffected())
	var b pgx.Batch
	for _, p := range s.book.Packs() {
		b.Queue(`INSERT INTO rule_pack_versions (pack, region, version, valid_from, sha256) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			p.Name, string(p.Region), p.Version, p.From, p.SHA256)
	}
	for _, w := range rules.Wordings() {
		b.Queue(`INSERT INTO consent_texts (version, kind, valid_from, text_zh, text_en, sha256) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (version) DO NOTHING`,
			w.Version, w.Kind, w.From, w.Chinese, w.English, w.SHA256())
	}
	if s.keys != nil {
		b.Queue(`INSERT INTO installation (keyring_fingerprint, suite, key_generation) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
			s.keys.Fingerprint(), string(s.keys.Suite()), s.keys.Generation())
	}
	b.Queue(`SELECT ensure_partitions(current_date, 14)`)
	return tx.SendBatch(ctx, &b).Close()
}

func year(y int) *int16 {
	if y == 0 {
		return nil
	}
	out := int16(y)
	return &out
}

// newestMigration is the number of the newest migration that this program carries.
func newestMigration() (int64, error) {
	names, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil || len(names) == 0 {
		return 0, fmt.Errorf("registry: no migrations are embedded: %w", err)
	}
	return goose.NumericComponent(slices.Max(names))
}

func notMigrated() *Error {
	return &Error{Kind: Incompatible, Code: "not_migrated", cause: errors.New("the database has no register in it: run liferelay migrate")}
}

// checkInstallation refuses a database whose schema is older or newer than this program works with, or that was sealed
// with other keys. The fingerprint tells the suite too: another one's hash gives another.
func (s *Store) checkInstallation(ctx context.Context) error {
	wanted, err := newestMigration()
	if err != nil {
		return err
	}
	var have, generation int64
	var fingerprint string
	err = s.pool.QueryRow(ctx, `
		SELECT (SELECT max(version_id) FROM goose_db_version WHERE is_applied), keyring_fingerprint, key_generation FROM installation`).Scan(&have, &fingerprint, &generation)
	switch {
	case err != nil && KindOf(translate(err)) == Unavailable:
		return translate(err)
	case err != nil:
		return notMigrated()
	case have < wanted:
		return &Error{Kind: Incompatible, Code: "schema_old", cause: fmt.Errorf("the database's schema is %d and this program needs %d: run liferelay migrate", have, wanted)}
	case have > wanted:
		// Migrations only add, so an older program goes on working while a newer one is rolled out.
		s.log.Warn("the database's schema is newer than this program", zap.Int64("schema", have), zap.Int64("program", wanted))
	}
	if s.keys == nil {
		return &Error{Kind: Incompatible, Code: "keys_missing", cause: errors.New("no key file was given")}
	}
	if fingerprint != s.keys.Fingerprint() {
		return &Error{Kind: Incompatible, Code: "keys_foreign", cause: fmt.Errorf("the register was sealed with keyring %s and the key file holds keyring %s: give the key file of this register", fingerprint, s.keys.Fingerprint())}
	}
	if err := s.keys.Refresh(generation); err != nil {
		return &Error{Kind: Incompatible, Code: "keys_old", cause: err}
	}
	if !s.keys.CanSign() {
		return &Error{Kind: Incompatible, Code: "keys_unsigned", cause: seal.ErrCannotSign}
	}
	// Whoever changed the file may have died before this.
	_, err = s.pool.Exec(ctx, publishKeys, s.keys.Generation())
	return translate(err)
}

// publishKeys lets every process know that the key file has changed: each reads it again before its next act.
const publishKeys = `UPDATE installation SET key_generation = $1 WHERE key_generation < $1`

// Tidy does what an installation needs once a day: partitions are made ahead, and idempotency keys, commands that nobody
// will send again, ended sessions and failures long forgotten are dropped, and copies that nobody may fetch any more are emptied.
func (s *Store) Tidy(ctx context.Context) error {
	var b pgx.Batch
	b.Queue(`SELECT ensure_partitions(current_date, 14)`)
	b.Queue(`DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'`)
	b.Queue(`DELETE FROM outbox WHERE delivered_at < now() - interval '7 days'`)
	b.Queue(`DELETE FROM sessions WHERE expires_at < now() - interval '30 days'`)
	b.Queue(`DELETE FROM signins_half_done WHERE expires_at < now() - interval '1 day'`)
	b.Queue(`DELETE FROM signons_under_way WHERE expires_at < now() - interval '1 day'`)
	b.Queue(`DELETE FROM signin_locks WHERE last_failed_at < now() - interval '7 days'`)
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return translate(err)
	}
	// Copies are people's, whom a connection outside of an act does not see.
	return s.internally(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE rights_copies SET data_sealed = NULL WHERE data_sealed IS NOT NULL AND expires_at < now()`)
		return err
	})
}

// Sealed names the keyring that a database's register was sealed with, empty when there is no register in it yet.
func Sealed(ctx context.Context, url string) (string, error) {
	s, err := connect(ctx, Options{URL: url, owner: true})
	if err != nil {
		return "", err
	}
	defer s.Close()
	var fingerprint string
	err = s.pool.QueryRow(ctx, `SELECT keyring_fingerprint FROM installation`).Scan(&fingerprint)
	var pg *pgconn.PgError
	if errors.Is(err, pgx.ErrNoRows) || errors.As(err, &pg) && pg.Code == "42P01" { // no row, or no table
		return "", nil
	}
	return fingerprint, translate(err)
}
