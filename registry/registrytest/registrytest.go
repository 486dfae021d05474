// Package registrytest gives a test a register of its own, on a real PostgreSQL, in some tens of milliseconds.
//
// The server is the one that LIFERELAY_DATABASE_URL names. The first test of a run makes a template database with the
// migrations applied, named by their hash; every test clones it, and drops its clone when it passes. A failed test's
// clone stays and its address is printed.
package registrytest

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed" // for the source below
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/migrations"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Keys is the keyring of every test register, so that a template can be cloned.
var Keys = sync.OnceValue(func() *seal.Keyring {
	suite, path := keyFile()
	for range 50 {
		if k, err := seal.ReadFile(path); err == nil {
			return k
		}
		k, err := seal.GenerateFor(suite)
		if err != nil {
			panic(err)
		}
		// Written aside and linked into place, so that of two processes one wins whole.
		aside := path + "." + uuid.NewString()
		if err := k.WriteFile(aside); err != nil {
			panic(err)
		}
		_ = os.Link(aside, path)
		_ = os.Remove(aside)
	}
	panic("registrytest: no key file at " + path)
})

// keyFile is where the keys are kept, beside the template's name: the template outlives the process that made it.
// LIFERELAY_TEST_SUITE=sm runs every test with the other suite.
func keyFile() (seal.Suite, string) {
	suite := seal.Suite(cmp.Or(os.Getenv("LIFERELAY_TEST_SUITE"), string(seal.AES)))
	return suite, filepath.Join(os.TempDir(), fmt.Sprintf("liferelay-test-keys-3-%s-%d.json", string(suite), os.Getuid()))
}

// KeyFile gives a test a key file of its own, with the keys of every test register: one that it may change.
func KeyFile(t testing.TB) string {
	t.Helper()
	own := filepath.Join(t.TempDir(), "keys.json")
	require.NoError(t, Keys().WriteFile(own))
	return own
}

// DatabaseURL is the server that tests use. A test that has none is skipped, unless LIFERELAY_TEST_REQUIRE is set, as
// make test does: then it fails.
func DatabaseURL(t testing.TB) string {
	t.Helper()
	address := os.Getenv("LIFERELAY_DATABASE_URL")
	if address == "" {
		if os.Getenv("LIFERELAY_TEST_REQUIRE") != "" {
			t.Fatal("LIFERELAY_DATABASE_URL is not set")
		}
		t.Skip("needs a PostgreSQL: run make test, or set LIFERELAY_DATABASE_URL (devstack up prints one)")
	}
	return address
}

// Log shows what the program under test says when LIFERELAY_TEST_LOG is set.
func Log(t testing.TB) *zap.Logger {
	t.Helper()
	if os.Getenv("LIFERELAY_TEST_LOG") == "" {
		return zap.NewNop()
	}
	l, err := zap.NewDevelopment(zap.AddStacktrace(zap.DPanicLevel))
	require.NoError(t, err)
	return l
}

// New gives a migrated, empty register.
func New(t testing.TB) *registry.Store {
	t.Helper()
	return open(t, NewDatabase(t))
}

func open(t testing.TB, address string) *registry.Store {
	t.Helper()
	store, err := registry.Open(context.Background(), registry.Options{URL: address, Keys: Keys(), MaxConnections: 8, Log: Log(t)})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return store
}

// NewDatabase clones the empty template and returns the clone's address.
func NewDatabase(t testing.TB) string {
	t.Helper()
	return clone(t, emptyTemplate)
}

// NewHouseDatabase clones a register with the small world in it; OpenHouse finds its people.
func NewHouseDatabase(t testing.TB) string {
	t.Helper()
	return clone(t, houseTemplate)
}

func clone(t testing.TB, kind templateKind) string {
	t.Helper()
	ctx := context.Background()
	server := DatabaseURL(t)
	template := templateOf(t, ctx, server, kind)
	name := "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	admin, err := pgx.Connect(ctx, server)
	require.NoError(t, err)
	defer func() { _ = admin.Close(ctx) }()
	for attempt := 0; ; attempt++ {
		_, err = admin.Exec(ctx, `CREATE DATABASE `+name+` TEMPLATE `+template)
		// Cloning waits for nobody: while another clone is being made it is refused.
		if err == nil || attempt == 100 || !strings.Contains(err.Error(), "being accessed by other users") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.NoError(t, err)
	address := withDatabase(t, server, name)
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.User = url.UserPassword(serviceLogin, servicePassword)
	address = u.String()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the test's database is kept: %s", address)
			return
		}
		conn, err := pgx.Connect(ctx, server)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close(ctx) }()
		_, _ = conn.Exec(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`)
	})
	return address
}

// The login that test registers are opened with: like a real service's, it owns nothing.
const (
	serviceLogin    = "liferelay_test_service"
	servicePassword = "liferelay-test"
)

// Past is the address of a test's database for the test's own eyes: it goes past the second wall and sees every row.
func Past(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	owner, err := url.Parse(DatabaseURL(t))
	require.NoError(t, err)
	u.User = owner.User
	q := u.Query()
	q.Set("liferelay.everywhere", "on")
	u.RawQuery = q.Encode()
	return u.String()
}

func withDatabase(t testing.TB, server, name string) string {
	t.Helper()
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

// source is this file: a house that is furnished otherwise is another template.
//
//go:embed registrytest.go
var source []byte

// templateKind is what a template database holds.
type templateKind string

const (
	emptyTemplate templateKind = "template_"
	houseTemplate templateKind = "template_house_" // signing ten people up takes longer than most tests
)

var templates sync.Map // kind and server → name

// templateOf finds or makes the template of the migrations as they are. An advisory lock makes one process the maker.
func templateOf(t testing.TB, ctx context.Context, server string, kind templateKind) string {
	t.Helper()
	if known, ok := templates.Load(string(kind) + server); ok {
		return known.(string)
	}
	h := sha256.New()
	names, err := fs.Glob(migrations.Files, "*.sql")
	require.NoError(t, err)
	for _, name := range names {
		data, err := migrations.Files.ReadFile(name)
		require.NoError(t, err)
		_, _ = h.Write(data)
	}
	_, _ = h.Write([]byte(Keys().Fingerprint()))
	_, _ = h.Write(source)
	for _, p := range rules.Embedded().Packs() {
		_, _ = h.Write([]byte(p.SHA256))
	}
	for _, w := range rules.Wordings() {
		_, _ = h.Write([]byte(w.SHA256()))
	}
	template := string(kind) + hex.EncodeToString(h.Sum(nil)[:8])
	conn, err := pgx.Connect(ctx, server)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `SELECT pg_advisory_lock(hashtext($1))`, template)
	require.NoError(t, err)
	defer func() { _, _ = conn.Exec(ctx, `SELECT pg_advisory_unlock(hashtext($1))`, template) }()
	var exists bool
	require.NoError(t, conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, template).Scan(&exists))
	if !exists {
		making := template + "_making"
		_, err = conn.Exec(ctx, `DROP DATABASE IF EXISTS `+making+` WITH (FORCE)`)
		require.NoError(t, err)
		_, err = conn.Exec(ctx, `CREATE DATABASE `+making)
		require.NoError(t, err)
		_, err = registry.Migrate(ctx, registry.Options{URL: withDatabase(t, server, making), Keys: Keys()})
		require.NoError(t, err)
		require.NoError(t, registry.MakeLogin(ctx, registry.Options{URL: withDatabase(t, server, making)}, serviceLogin, servicePassword))
		if kind == houseTemplate {
			store, err := registry.Open(ctx, registry.Options{URL: withDatabase(t, server, making), Keys: Keys()})
			require.NoError(t, err)
			func() {
				defer store.Close() // also when it fails: the next test would wait for the connections
				(&House{Store: store}).Furnish(t)
			}()
		}
		_, err = conn.Exec(ctx, `ALTER DATABASE `+making+` RENAME TO `+template)
		require.NoError(t, err)
	}
	templates.Store(string(kind)+server, template)
	return template
}

// House is a small world: a province's offices, a laboratory and two hospitals, with a member of staff of each role.
type House struct {
	Store    *registry.Store
	Database string // its address, as a service has it
	// The organisations.
	County, City, Laboratory, Collection, Transplant, OtherTransplant, College registry.Organisation
	// A member of staff of each role. Second works beside CollectionDoctor.
	Registrar, Coordinator, CityCoordinator, Technician, CollectionDoctor, Second, TransplantDoctor, OtherDoctor, Auditor, Administrator, Security, AuditAdministrator registry.Actor
}

// Password is every test person's.
const Password = "correct horse battery"

// NewHouse gives a register with the small world in it.
func NewHouse(t testing.TB) *House {
	t.Helper()
	address := NewHouseDatabase(t)
	h := OpenHouse(t, open(t, address))
	h.Database = address
	return h
}

// OpenHouse finds the small world in the register of a store.
func OpenHouse(t testing.TB, store *registry.Store) *House {
	t.Helper()
	ctx := context.Background()
	h := &House{Store: store}
	organisations, err := store.ListOrganisations(ctx, registry.Operator("test"), "", uuid.Nil, 100)
	require.NoError(t, err)
	for into, name := range map[*registry.Organisation]string{
		&h.County: county, &h.City: city, &h.Laboratory: laboratory, &h.Collection: collection, &h.Transplant: transplant, &h.OtherTransplant: otherTransplant, &h.College: college,
	} {
		for _, o := range organisations {
			if o.Name == name {
				*into = o
			}
		}
		require.NotZero(t, into.ID, name)
	}
	for into, login := range map[*registry.Actor]string{
		&h.Registrar: "registrar", &h.Coordinator: "coordinator", &h.CityCoordinator: "citycoordinator", &h.Technician: "technician", &h.CollectionDoctor: "doctor",
		&h.Second: "second", &h.TransplantDoctor: "transplant", &h.OtherDoctor: "other", &h.Auditor: "auditor", &h.Administrator: "administrator",
		&h.Security: "security", &h.AuditAdministrator: "auditadministrator",
	} {
		*into, err = store.ActorByLogin(ctx, login)
		require.NoError(t, err)
	}
	return h
}

// The organisations of the small world.
const (
	county          = "鼓楼区红十字会"
	city            = "南京市红十字会"
	laboratory      = "江苏分型实验室"
	collection      = "南京采集医院"
	transplant      = "上海移植医院"
	otherTransplant = "北京移植医院"
	college         = "金陵学院"
)

// Furnish puts the small world into the house's register.
func (h *House) Furnish(t testing.TB) {
	t.Helper()
	operator := registry.Operator("test")
	add := func(kind, name, region string) registry.Organisation {
		o, err := h.Store.AddOrganisation(context.Background(), operator, registry.OrganisationForm{Kind: kind, Name: name, Region: identity.Region(region)})
		require.NoError(t, err)
		return o
	}
	h.County = add("red_cross", county, "320106")
	h.City = add("red_cross", city, "320100")
	h.Laboratory = add("laboratory", laboratory, "320100")
	h.Collection = add("hospital", collection, "320102")
	h.Transplant = add("hospital", transplant, "310104")
	h.OtherTransplant = add("hospital", otherTransplant, "110108")
	h.College = add("host", college, "320106")

	h.Registrar = h.Staff(t, "registrar", h.County, policy.Registrar, "320106")
	h.Coordinator = h.Staff(t, "coordinator", h.County, policy.Coordinator, "320106")
	h.CityCoordinator = h.Staff(t, "citycoordinator", h.City, policy.Coordinator, "320100")
	h.Technician = h.Staff(t, "technician", h.Laboratory, policy.Laboratory, "320100")
	h.CollectionDoctor = h.Staff(t, "doctor", h.Collection, policy.CollectionHospital, "320102")
	h.Second = h.Staff(t, "second", h.Collection, policy.CollectionHospital, "320102")
	h.TransplantDoctor = h.Staff(t, "transplant", h.Transplant, policy.TransplantHospital, "310104")
	h.OtherDoctor = h.Staff(t, "other", h.OtherTransplant, policy.TransplantHospital, "110108")
	h.Auditor = h.Staff(t, "auditor", h.City, policy.Auditor, "000000")
	h.Administrator = h.Staff(t, "administrator", h.City, policy.SystemAdministrator, "000000")
	h.Security = h.Staff(t, "security", h.City, policy.SecurityAdministrator, "000000")
	h.AuditAdministrator = h.Staff(t, "auditadministrator", h.City, policy.AuditAdministrator, "000000")
}

// Staff adds a member of staff with one role in one region.
func (h *House) Staff(t testing.TB, login string, at registry.Organisation, role policy.Role, region string) registry.Actor {
	t.Helper()
	ctx := context.Background()
	operator := registry.Operator("test")
	_, err := h.Store.AddStaff(ctx, operator, registry.StaffForm{Login: login, Name: "Test " + login, Organisation: at.ID, Password: Password})
	require.NoError(t, err)
	_, err = h.Store.GrantRole(ctx, operator, registry.GrantForm{Login: login, Role: role, Region: identity.Region(region), Until: time.Now().AddDate(1, 0, 0)})
	require.NoError(t, err)
	actor, err := h.Store.ActorByLogin(ctx, login)
	require.NoError(t, err)
	return actor
}
