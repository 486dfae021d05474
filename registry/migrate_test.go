package registry_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/liferelay/liferelay/migrations"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
)

// emptyDatabase is a database with nothing in it.
func emptyDatabase(t testing.TB) string {
	t.Helper()
	ctx := context.Background()
	server := connect(t, registrytest.DatabaseURL(t))
	name := "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	_, err := server.Exec(ctx, `CREATE DATABASE `+name)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = server.Exec(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`) })
	u, err := url.Parse(registrytest.DatabaseURL(t))
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

func tryOpen(url string, keys *seal.Keyring) error {
	store, err := registry.Open(context.Background(), registry.Options{URL: url, Keys: keys, MaxConnections: 2})
	if err == nil {
		store.Close()
	}
	return err
}

func TestAnEmptyDatabaseBecomesARegisterOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := registry.Options{URL: emptyDatabase(t), Keys: registrytest.Keys(), MaxConnections: 4}
	err := tryOpen(o.URL, o.Keys)
	requireCode(t, err, registry.Incompatible, "not_migrated")
	require.ErrorContains(t, err, "run liferelay migrate")
	sealed, err := registry.Sealed(ctx, o.URL)
	require.NoError(t, err)
	require.Empty(t, sealed)

	first, err := registry.Migrate(ctx, o)
	require.NoError(t, err)
	require.True(t, first.Fresh)
	require.Equal(t, int64(0), first.From)
	require.GreaterOrEqual(t, first.To, int64(5))
	require.Greater(t, first.Regions, 3000)
	require.NoError(t, tryOpen(o.URL, o.Keys))
	again, err := registry.Migrate(ctx, o)
	require.NoError(t, err)
	require.Equal(t, registry.Migration{From: first.To, To: first.To}, again, "the second time changes nothing")
	sealed, err = registry.Sealed(ctx, o.URL)
	require.NoError(t, err)
	require.Equal(t, o.Keys.Fingerprint(), sealed)

	conn := connect(t, o.URL)
	_, err = conn.Exec(ctx, `UPDATE regions SET name = '旧名' WHERE code = '320106'`)
	require.NoError(t, err)
	mended, err := registry.Migrate(ctx, o)
	require.NoError(t, err)
	require.Equal(t, 1, mended.Regions, "what ships with the program is loaded anew")

	foreign, err := seal.Generate()
	require.NoError(t, err)
	err = tryOpen(o.URL, foreign)
	requireCode(t, err, registry.Incompatible, "keys_foreign")
	require.ErrorContains(t, err, o.Keys.Fingerprint())
	require.ErrorContains(t, err, foreign.Fingerprint())
	requireCode(t, tryOpen(o.URL, nil), registry.Incompatible, "keys_missing")
	// Migrating with other keys does not make them the register's.
	_, err = registry.Migrate(ctx, registry.Options{URL: o.URL, Keys: foreign})
	require.NoError(t, err)
	requireCode(t, tryOpen(o.URL, foreign), registry.Incompatible, "keys_foreign")

	_, err = conn.Exec(ctx, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`)
	require.NoError(t, err)
	core, log := observer.New(zapcore.WarnLevel)
	newer, err := registry.Open(ctx, registry.Options{URL: o.URL, Keys: o.Keys, Log: zap.New(core)})
	require.NoError(t, err, "an older program goes on while a newer one is rolled out")
	newer.Close()
	require.Equal(t, 1, log.FilterMessageSnippet("newer than this program").Len())
	_, err = conn.Exec(ctx, `DELETE FROM goose_db_version WHERE version_id >= $1`, first.To)
	require.NoError(t, err)
	err = tryOpen(o.URL, o.Keys)
	requireCode(t, err, registry.Incompatible, "schema_old")
	require.ErrorContains(t, err, "run liferelay migrate")
}

func TestManyProcessesMigrateAtOnceAndOneWorks(t *testing.T) {
	t.Parallel()
	o := registry.Options{URL: emptyDatabase(t), Keys: registrytest.Keys(), MaxConnections: 3}
	results := make([]registry.Migration, 3)
	var calls []func() error
	for i := range results {
		calls = append(calls, func() (err error) {
			results[i], err = registry.Migrate(context.Background(), o)
			return err
		})
	}
	for _, err := range atOnce(calls...) {
		require.NoError(t, err)
	}
	require.NoError(t, tryOpen(o.URL, o.Keys))
	loaded := 0
	for _, m := range results {
		require.Equal(t, results[0].To, m.To)
		loaded += m.Regions
	}
	require.Greater(t, loaded, 3000)
	var regions int
	require.NoError(t, connect(t, o.URL).QueryRow(context.Background(), `SELECT count(*) FROM regions`).Scan(&regions))
	require.Equal(t, regions, loaded, "each was loaded once")
}

func TestEveryMigrationCanBeTakenBackAndMadeAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := registrytest.NewDatabase(t)
	owned := registrytest.Past(t, url)
	pool, err := pgxpool.New(ctx, owned)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { _ = db.Close() })
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Files)
	require.NoError(t, err)
	_, err = provider.DownTo(ctx, 0)
	require.NoError(t, err)
	var left []string
	require.NoError(t, pool.QueryRow(ctx, `
		SELECT coalesce(array_agg(name ORDER BY name), '{}') FROM (
			SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S', 'v') AND relname NOT LIKE 'goose%'
			UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
			UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname = 'link') left_over`).Scan(&left))
	require.Empty(t, left)
	requireCode(t, tryOpen(url, registrytest.Keys()), registry.Incompatible, "not_migrated")
	m, err := registry.Migrate(ctx, registry.Options{URL: owned, Keys: registrytest.Keys()})
	require.NoError(t, err)
	require.True(t, m.Fresh)
	require.NoError(t, tryOpen(url, registrytest.Keys()))
}

func TestAnAddressThatCannotBeUsedIsSaidWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://liferelay:hunter2@%zz/liferelay", "postgres://liferelay:hunter2@127.0.0.1:notaport/liferelay", "postgres://liferelay:hunter2@127.0.0.1:1/liferelay"} {
		err := tryOpen(url, registrytest.Keys())
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
	requireCode(t, tryOpen("postgres://liferelay:hunter2@127.0.0.1:1/liferelay", registrytest.Keys()), registry.Unavailable, "database_unavailable")
}
