package registry_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// loses makes inserts into a table lose against others: the first times of them fail with an SQLSTATE, as if they met a
// transaction that was first.
func (h *house) loses(table, state string, times int, constraint string) {
	h.t.Helper()
	h.sql(`DROP SEQUENCE IF EXISTS counted_tries CASCADE`)
	h.sql(`CREATE SEQUENCE counted_tries`) // which a rollback does not turn back
	h.sql(`CREATE OR REPLACE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF nextval('counted_tries') <= TG_ARGV[1]::int THEN
				RAISE EXCEPTION 'lost' USING ERRCODE = TG_ARGV[0], CONSTRAINT = TG_ARGV[2];
			END IF;
			RETURN NEW;
		END $$`)
	h.sql(`DROP TRIGGER IF EXISTS lose ON ` + table)
	h.sql(`CREATE TRIGGER lose BEFORE INSERT ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION lose('` + state + `', ` + value[string](h, `SELECT $1::int::text`, times) + `, '` + constraint + `')`)
}

// More acts panic than the register has connections: those who come after them find one.
func TestAnActThatPanicsGivesItsConnectionBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx, end := context.WithTimeout(context.Background(), 20*time.Second)
	defer end()
	for range 10 {
		require.PanicsWithValue(t, "a mistake of ours", func() { _ = h.Store.ActThatPanics(ctx, h.Registrar) })
	}
	_, err := h.Store.ListDrives(ctx, h.Registrar, uuid.Nil, 10)
	require.NoError(t, err)
}

func TestAnActThatLostAgainstAnotherIsTriedAgainWhole(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	plan := forms.Drive{Name: "采样", Place: "广场", Region: "320106", FirstDay: today(), LastDay: today()}
	for i, state := range []string{"40001", "40P01"} {
		h.loses("drives", state, 5, "")
		_, err := h.Store.PlanDrive(ctx, h.Registrar, plan)
		require.NoError(t, err, state)
		require.Equal(t, 6, value[int](h, `SELECT last_value::int FROM counted_tries`), "the sixth try")
		require.Equal(t, i+1, value[int](h, `SELECT count(*)::int FROM drives`))
		require.Equal(t, i+1, h.events("drive.planned"), "what the lost tries collected is not written")
		require.Equal(t, i+1, value[int](h, `SELECT count(*)::int FROM outbox WHERE kind = 'drive'`))
		require.Equal(t, i+1, value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'PlanDrive'`))
	}
	h.loses("drives", "40001", 100, "")
	_, err := h.Store.PlanDrive(ctx, h.Registrar, plan)
	requireCode(t, err, registry.Unavailable, "busy")
	require.Equal(t, 6, value[int](h, `SELECT last_value::int FROM counted_tries`), "it is not tried for ever")
	h.sql(`DROP TRIGGER lose ON drives`)

	// A list that is taken again is answered once.
	drive := h.drive()
	h.sampled(drive, 1, 2)
	h.receive(h.send(drive), registry.ReceiveForm{})
	h.loses("typings", "40001", 2, "")
	results, err := h.Store.ReportTypings(ctx, h.Technician, []forms.TypingReport{typing(barcode(1), gl), typing(barcode(2), gl)})
	require.NoError(t, err)
	require.Len(t, results, 2)
	require.Equal(t, 2, value[int](h, `SELECT count(*)::int FROM typings`))
	require.Equal(t, 2, h.events("enrolment.typed"))
}

func TestWhatTheDatabaseSaysIsToldAsWhatItMeans(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		state, constraint string
		kind              registry.Kind
		code              string
	}{
		{"55P03", "", registry.Unavailable, "busy"},
		{"57P01", "", registry.Unavailable, "database_unavailable"},
		{"57P03", "", registry.Unavailable, "database_unavailable"},
		{"53300", "", registry.Unavailable, "database_unavailable"},
		{"08006", "", registry.Unavailable, "database_unavailable"},
		{"23505", "reservations_one_open", registry.Conflict, "donor_reserved"},
		{"23505", "person_documents_number", registry.Conflict, "person_registered"},
		{"23505", "registrations_one_each", registry.Conflict, "programme_registered"},
		{"23505", "specimens_barcode_key", registry.Conflict, "barcode_taken"},
		{"23505", "staff_login", registry.Conflict, "login_taken"},
		{"23505", "batches_file", registry.Conflict, "file_uploaded"},
		{"23505", "answers_accepted_once", registry.Conflict, "task_answered"},
		{"23503", "consents_witness_id_fkey", registry.NotFound, "witness_not_found"},
		{"23503", "staff_organisation_id_fkey", registry.NotFound, "organisation_not_found"},
		{"23505", "drives_number_key", "", ""},
		{"22P02", "", "", ""},
		{"XX000", "", "", ""},
	} {
		h.loses("drives", c.state, 100, c.constraint)
		_, err := h.Store.PlanDrive(context.Background(), h.Registrar, forms.Drive{Name: "采样", Place: "广场", Region: "320106", FirstDay: today(), LastDay: today()})
		require.Error(t, err)
		require.Equal(t, []any{c.kind, c.code}, []any{registry.KindOf(err), registry.CodeOf(err)}, "%+v: %v", c, err)
		require.Equal(t, 1, value[int](h, `SELECT last_value::int FROM counted_tries`), "%+v is not tried again", c)
		if c.kind == registry.Unavailable {
			var own *registry.Error
			require.ErrorAs(t, err, &own)
			require.Positive(t, own.RetryAfter)
		}
	}
	// The constraints that are translated are there, under these names.
	names := values[string](h, `SELECT conname::text FROM pg_constraint UNION SELECT indexrelid::regclass::text FROM pg_index`)
	for _, name := range []string{
		"reservations_one_open", "person_documents_number", "registrations_one_each", "specimens_barcode_key", "staff_login", "batches_file", "answers_accepted_once",
		"staff_organisation_id_fkey", "consents_witness_id_fkey", "command_log_pkey",
	} {
		require.Contains(t, names, name)
	}
}

func TestAnActGoesOnAfterItsConnectionsWereEnded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	list := func() error {
		_, err := h.Store.ListDrives(ctx, h.Registrar, uuid.Nil, 0)
		return err
	}
	for range 3 {
		for _, err := range atOnce(slices.Repeat([]func() error{list}, 8)...) {
			require.NoError(t, err)
		}
		require.Positive(t, value[int](h, `SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'liferelay'`))
		h.works(list)
	}
	// One that is ended in the middle of its transaction is undone whole.
	h.sql(`CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$`)
	h.sql(`CREATE TRIGGER die AFTER INSERT ON drives FOR EACH ROW EXECUTE FUNCTION die()`)
	plan := forms.Drive{Name: "采样", Place: "广场", Region: "320106", FirstDay: today(), LastDay: today()}
	_, err := h.Store.PlanDrive(ctx, h.Registrar, plan)
	requireCode(t, err, registry.Unavailable, "database_unavailable")
	h.sql(`DROP TRIGGER die ON drives`)
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM drives`))
	h.works(func() error {
		_, err := h.Store.PlanDrive(ctx, h.Registrar, plan)
		return err
	})
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM drives`))
}

// works wants an act to work again soon, and to say until then that the database is away and nothing else.
func (h *house) works(do func() error) {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		err := do()
		if err != nil {
			requireCode(h.t, err, registry.Unavailable, "database_unavailable")
		}
		return err == nil
	}, 10*time.Second, time.Millisecond)
}

// wire is the network between a program and its database, which a test can cut.
type wire struct {
	sync.Mutex
	listener net.Listener
	to       string
	cut      bool
	open     []net.Conn
}

func newWire(t testing.TB, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{listener: l, to: to}
	t.Cleanup(func() {
		_ = l.Close()
		w.set(true)
	})
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(from)
		}
	}()
	return w
}

func (w *wire) carry(from net.Conn) {
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		_ = from.Close()
		return
	}
	w.Lock()
	w.open = append(w.open, from, to)
	if w.cut {
		_, _ = from.Close(), to.Close()
	}
	w.Unlock()
	go func() { _, _ = io.Copy(to, from) }()
	_, _ = io.Copy(from, to)
}

// set cuts the wire, or mends it.
func (w *wire) set(cut bool) {
	w.Lock()
	defer w.Unlock()
	w.cut = cut
	if cut {
		for _, c := range w.open {
			_ = c.Close()
		}
		w.open = nil
	}
}

func TestAnActSaysThatTheDatabaseIsAwayAndWorksWhenItIsBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	u, err := url.Parse(h.url)
	require.NoError(t, err)
	w := newWire(t, u.Host)
	u.Host = w.listener.Addr().String()
	store, err := registry.Open(ctx, registry.Options{URL: u.String(), Keys: registrytest.Keys(), MaxConnections: 4})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	acts := map[string]func() error{
		"a list":       func() error { _, err := store.ListDrives(ctx, h.Registrar, uuid.Nil, 0); return err },
		"a session":    func() error { _, err := store.Authenticate(ctx, "token"); return err },
		"the outbox":   func() error { _, err := store.TakeTellings(ctx, 1, time.Second); return err },
		"the sealer":   func() error { _, err := store.SealAudit(ctx, 10); return err },
		"a request":    func() error { _, err := store.Remember(ctx, h.Registrar, uuid.NewString(), route, body); return err },
		"the pinger":   func() error { return store.Ping(ctx) },
		"a revocation": func() error { return store.SignOut(ctx, "token", "") },
	}
	for range 2 {
		for what, act := range acts {
			if err := act(); err != nil {
				require.Equal(t, registry.Unsigned, registry.KindOf(err), "%s: %v", what, err)
			}
		}
		w.set(true)
		for what, act := range acts {
			for range 5 { // more often than there are connections
				err := act()
				require.Error(t, err, what)
				require.Equal(t, registry.Unavailable, registry.KindOf(err), "%s: %v", what, err)
			}
		}
		w.set(false)
		h.works(acts["a list"])
	}
}

func TestAnActThatNobodyWaitsForIsGivenUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx, cancel := context.WithCancel(context.Background())
	tx, err := h.conn().Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `LOCK TABLE drives IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := h.Store.PlanDrive(ctx, h.Registrar, forms.Drive{Name: "采样", Place: "广场", Region: "320106", FirstDay: today(), LastDay: today()})
		done <- err
	}()
	watch := connect(t, h.url)
	require.Eventually(t, func() bool {
		var waiting int
		require.NoError(t, watch.QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting))
		return waiting > 0
	}, 4*time.Second, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	_ = tx.Rollback(context.Background())
	require.NoError(t, h.Store.Ping(context.Background()), "its connection is not lost to the others")
}
