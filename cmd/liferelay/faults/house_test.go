package faults

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// folder is where the program is built, once for all tests.
var folder string

func TestMain(m *testing.M) {
	code := m.Run()
	if folder != "" {
		_ = os.RemoveAll(folder)
	}
	os.Exit(code)
}

var program = sync.OnceValues(func() (string, error) {
	var err error
	if folder, err = os.MkdirTemp("", "liferelay-faults-"); err != nil {
		return "", err
	}
	path := filepath.Join(folder, "liferelay")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/liferelay/liferelay/cmd/liferelay").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return path, nil
})

// house is a furnished register with the program's processes around it. The test's own ways to the register, its Store and
// SQL, go straight to the server and are never cut.
type house struct {
	*registrytest.House
	t         *testing.T
	sql       *pgxpool.Pool
	temporal  client.Client // plain: it sees histories as the server does
	namespace string        // of the house alone: its cases, and the version of the protocols that is current
	database  *url.URL
	keys      string
	dir       string
	started   int
}

// newHouse gives a furnished register that no process serves yet.
func newHouse(t *testing.T) *house {
	t.Helper()
	h := newHouseWithoutDesk(t)
	h.setUpDesk()
	return h
}

// newHouseWithoutDesk gives one whose Temporal server does not know its namespace yet.
func newHouseWithoutDesk(t *testing.T) *house {
	t.Helper()
	ctx := context.Background()
	address := registrytest.NewHouseDatabase(t)
	h := &house{t: t, dir: t.TempDir(), namespace: "test-" + uuid.NewString()}
	var err error
	h.database, err = url.Parse(address)
	require.NoError(t, err)
	h.keys = filepath.Join(h.dir, "keys.json")
	require.NoError(t, registrytest.Keys().WriteFile(h.keys))
	store, err := registry.Open(ctx, registry.Options{URL: address, Keys: registrytest.Keys(), MaxConnections: 4})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	h.House = registrytest.OpenHouse(t, store)
	h.sql, err = pgxpool.New(ctx, registrytest.Past(t, address))
	require.NoError(t, err)
	t.Cleanup(h.sql.Close)
	h.temporal, err = client.NewLazyClient(client.Options{HostPort: workflowstest.TemporalAddress(t), Namespace: h.namespace, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	require.NoError(t, err)
	t.Cleanup(h.temporal.Close)
	return h
}

// setUpDesk lets the Temporal server know the house's namespace.
func (h *house) setUpDesk() {
	h.t.Helper()
	ctx := context.Background()
	_, err := h.temporal.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{Namespace: h.namespace, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour)})
	require.NoError(h.t, err)
	h.eventually(30*time.Second, "the namespace is known", func() bool {
		_, err := h.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: 1})
		return err == nil
	})
}

// process is one process of the program. Its ways to PostgreSQL and to Temporal are its own.
type process struct {
	base               string // where its API answers; empty for a worker
	database, temporal *wire
	house              *house
	name               string
	args, env          []string
	cmd                *exec.Cmd // nil when it does not run
	log                string
	ended              chan struct{}
}

// work starts a worker.
func (h *house) work() *process {
	h.t.Helper()
	p := h.process("worker")
	p.start()
	return p
}

// serve starts a service, with flags of liferelay serve, and waits until it answers.
func (h *house) serve(flags ...string) *process {
	h.t.Helper()
	p := h.process("serve", flags...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(h.t, err)
	address := l.Addr().String()
	require.NoError(h.t, l.Close())
	p.base = "http://" + address
	p.env = append(p.env, "LIFERELAY_LISTEN="+address)
	p.start()
	return p
}

func (h *house) process(command string, flags ...string) *process {
	h.t.Helper()
	h.started++
	p := &process{
		house: h, name: fmt.Sprintf("%s-%d", command, h.started), args: append([]string{command}, flags...),
		database: newWire(h.t, h.database.Host), temporal: newWire(h.t, workflowstest.TemporalAddress(h.t)),
	}
	p.log = filepath.Join(h.dir, p.name+".log")
	database := *h.database
	database.Host = p.database.address()
	p.env = append(os.Environ(), "LIFERELAY_DATABASE_URL="+database.String(), "LIFERELAY_TEMPORAL_ADDRESS="+p.temporal.address(),
		"LIFERELAY_TEMPORAL_NAMESPACE="+h.namespace, "LIFERELAY_KEY_FILE="+h.keys)
	h.t.Cleanup(func() {
		p.kill()
		if h.t.Failed() {
			h.t.Logf("the end of the log of %s:\n%s", p.name, p.lastLines(25))
		}
	})
	return p
}

// start starts the process, also after kill: at the same address, with the same wires.
func (p *process) start() {
	t := p.house.t
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer func() { _ = out.Close() }()
	cmd, ended := exec.Command(path, p.args...), make(chan struct{})
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, out, out
	require.NoError(t, cmd.Start())
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	p.cmd, p.ended = cmd, ended
	if p.base == "" {
		return
	}
	p.house.eventually(30*time.Second, "the service answers", func() bool {
		resp, err := http.Get(p.base + "/livez")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// kill ends the process with kill -9 and waits until it is gone.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	p.cmd = nil
}

// said tells whether the process has written a text to its log.
func (p *process) said(text string) bool {
	p.house.t.Helper()
	log, err := os.ReadFile(p.log)
	require.NoError(p.house.t, err)
	return strings.Contains(string(log), text)
}

func (p *process) lastLines(n int) string {
	said, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// eventually waits for something that the processes do by themselves.
func (h *house) eventually(within time.Duration, what string, ok func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(25 * time.Millisecond) {
		require.True(h.t, time.Now().Before(deadline), "waited %s until %s", within, what)
	}
}

// read reads one value with SQL.
func read[V any](h *house, query string, args ...any) V {
	h.t.Helper()
	var v V
	require.NoError(h.t, h.sql.QueryRow(context.Background(), query, args...).Scan(&v))
	return v
}

// write changes something with SQL, as no process of the program does.
func (h *house) write(statement string, args ...any) {
	h.t.Helper()
	_, err := h.sql.Exec(context.Background(), statement, args...)
	require.NoError(h.t, err)
}

// hold is a place in a transaction at which whoever comes there waits.
type hold struct {
	house *house
	conn  *pgx.Conn
	key   int32
}

// hold makes every transaction that writes a row wait just before it does: moment is INSERT or UPDATE, and when is a
// condition on the row, NEW. The wait ends with release, or with the transaction's own lock timeout.
func (h *house) hold(table, moment, when string) *hold {
	h.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, registrytest.Past(h.t, h.database.String()))
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = conn.Close(ctx) })
	o := &hold{house: h, conn: conn, key: int32(uuid.New().ID() >> 1)}
	in := strings.NewReplacer("{key}", fmt.Sprint(o.key), "{table}", table, "{moment}", moment, "{when}", when)
	for _, statement := range []string{
		// A session's lock outlives the statement; those who wait share theirs, so that release frees them all.
		`SELECT pg_advisory_lock({key})`,
		`CREATE FUNCTION hold_{key}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {when} THEN PERFORM pg_advisory_xact_lock_shared({key}); END IF; RETURN NEW; END $$`,
		`CREATE TRIGGER hold_{key} BEFORE {moment} ON {table} FOR EACH ROW EXECUTE FUNCTION hold_{key}()`,
	} {
		_, err := conn.Exec(ctx, in.Replace(statement))
		require.NoError(h.t, err)
	}
	return o
}

// reached waits until n transactions wait at the place.
func (o *hold) reached(n int) {
	o.house.t.Helper()
	o.house.eventually(30*time.Second, "transactions reach the place where they are held", func() bool {
		return n == read[int](o.house, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1::bigint::oid
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, o.key)
	})
}

// release lets everybody go on.
func (o *hold) release() {
	o.house.t.Helper()
	_, err := o.conn.Exec(context.Background(), `SELECT pg_advisory_unlock_all()`)
	require.NoError(o.house.t, err)
}
