// Package registry is the vault: the records of people, wishes, consents, samples, typings and cases, and the only room
// that touches PostgreSQL.
//
// It guarantees that every method names its actor, asks the policy before it shows or changes anything, and writes its
// audit rows in the same transaction: an act that cannot be audited does not happen, and an act in which nothing was
// decided is an error of ours that no caller gets past. Personal text is sealed before it is written and comes out as
// masks; methods with Reveal in their name are the only ones that give it in clear. Reading and writing are different
// types: whoever holds a Reader cannot write.
//
// It is cut by families of records, one file each, over the one helper that begins a transaction for an actor (act).
package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Reader reads the register. Its methods audit what they show, so it needs a database that takes audit rows.
type Reader struct {
	pool         *pgxpool.Pool
	keys         *seal.Keyring
	book         *rules.Book
	log          *zap.Logger
	now          func() time.Time
	chunk        int
	factorFor    []string
	ion          string
	channels     []Channel
	privateHooks bool
	public       string // see Options
	policy       atomic.Pointer[policy.Policy]
	loading      sync.Mutex
	newPolicy    func([]policy.Grant, int64, time.Time) (*policy.Policy, error) // policy.New, but in the second wall's own test
	calendars    sync.Map                                                       // identity.Region → calendarEntry

	references references
	matching   matching
	medians    medians
	colleagues colleagues
	known      callers
}

// Store reads and writes the register.
type Store struct{ *Reader }

// Options are what a Store is opened with. The zero value of each has a meaning.
type Options struct {
	URL            string // of the PostgreSQL database
	Keys           *seal.Keyring
	Log            *zap.Logger      // nil keeps silent
	Now            func() time.Time // nil is the machine's clock
	Book           *rules.Book      // nil is the embedded one
	MaxConnections int              // 0 is 16
	owner          bool             // the connections stay who they sign in as: migrations, and looking whether there is a register at all
	ImportChunk    int              // rows that are committed, undone or taken over to a key at a time; 0 is 2000, see docs/benchmarks.md
	// RequireFactor lists the roles whose holders need a second factor; "all" is everybody, none nobody. Until they have
	// one their sessions are good for getting one only.
	RequireFactor []string
	Channels      []Channel // on which notices leave this installation; without them nobody enters where they are reached
	PrivateHooks  bool      // webhooks may be at private addresses, and by http
	Public        string    // where people find the pages, for squares on paper
	Pool          string    // the ION under which registries know this one's donors; empty is 2197, China's
}

// Zone is the office's zone: days of forms, deadlines and calendars are days of this zone.
var Zone = calendar.Shanghai

// Open connects to the register and checks that its schema and its keys are those this program can work with. The
// error says what is wrong and what to run.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := s.checkInstallation(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func connect(ctx context.Context, o Options) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		// pgx's own message may repeat the password.
		return nil, errors.New("registry: the database URL cannot be read: it has the form postgres://user:password@host:port/database")
	}
	cfg.MaxConns = int32(max(o.MaxConnections, 0))
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 16
	}
	cfg.MaxConnLifetimeJitter = 5 * time.Minute
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap()) // else every id is put into words and read again
		if o.owner {
			return nil
		}
		_, err := conn.Exec(ctx, `SET ROLE `+dbService)
		if SQLState(err) == "22023" { // there is no such role: no register was ever made on this server
			return notMigrated()
		}
		return err
	}
	params := cfg.ConnConfig.RuntimeParams
	params["application_name"] = "liferelay"
	params["timezone"] = "UTC"
	params["jit"] = "off" // compiling takes longer than any of our statements
	params["lock_timeout"] = "5s"
	params["idle_in_transaction_session_timeout"] = "60s"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, translate(err)
	}
	r := &Reader{pool: pool, keys: o.Keys, book: o.Book, log: o.Log, now: o.Now, chunk: o.ImportChunk, factorFor: o.RequireFactor, newPolicy: policy.New, channels: o.Channels, privateHooks: o.PrivateHooks, public: o.Public}
	if r.ion = cmp.Or(o.Pool, ownPool); !ionForm.MatchString(r.ion) {
		pool.Close()
		return nil, errors.New("registry: the pool must be an ION, four digits")
	}
	if r.factorFor == nil {
		r.factorFor = []string{}
	}
	if r.chunk == 0 {
		r.chunk = 2000
	}
	if r.book == nil {
		r.book = rules.Embedded()
	}
	if r.log == nil {
		r.log = zap.NewNop()
	}
	if r.now == nil {
		r.now = time.Now
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		var own *Error
		if errors.As(err, &own) {
			return nil, own
		}
		var pg *pgconn.PgError
		if errors.As(err, &pg) { // it answers, and does not let us in
			return nil, translate(pg)
		}
		return nil, &Error{Kind: Unavailable, Code: "database_unavailable", cause: errors.New("the database does not answer")}
	}
	return &Store{r}, nil
}

// Close waits for transactions under way and ends the connections.
func (r *Reader) Close() { r.pool.Close() }

// Ping tells whether the database answers.
func (r *Reader) Ping(ctx context.Context) error { return translate(r.pool.Ping(ctx)) }

// Reading returns the part of the store that cannot write.
func (s *Store) Reading() *Reader { return s.Reader }

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// act is one transaction of one actor. What it reads, decides, changes and tells stands or falls together.
type act struct {
	pgx.Tx
	*Reader
	conn    *pgxpool.Conn
	actor   Actor
	name    string
	purpose policy.Purpose
	at      time.Time // now, or the case's clock when a protocol acts
	policy  *policy.Policy
	decided bool
	repeats bool // doing it again for the same command gives the first result: the command's key needs no mark
	entries []auditEntry
	masks   map[stood]policy.Mask // that were asked already
	events  []Event
	notices []notice
	tellers []telling
	writes  pgx.Batch // what else is written when the act ends well
}

// act runs do in one transaction for an actor: policy and grants are current in it, and its audit, events, notices and
// outbox rows are written with it. do may be run again when another transaction was first.
func (r *Reader) act(ctx context.Context, actor Actor, name string, purpose policy.Purpose, do func(context.Context, *act) error) error {
	return r.actFrom(ctx, actor, name, purpose, nil, do)
}

// actFrom is an act whose first reads are known before anything is: they travel with what begins it, which for what people have before them all
// day is the time that counts. first decides nothing, and what it finds is nobody's until do has permitted it: it is asked again, for everything
// anew, when the grants were not those that it was asked with.
func (r *Reader) actFrom(ctx context.Context, actor Actor, name string, purpose policy.Purpose, first func(*act, *pgx.Batch), do func(context.Context, *act) error) error {
	if actor.subject == "" || actor.drive != uuid.Nil && !slices.Contains(ownActs, name) {
		return &Error{Kind: Unsigned, Code: "not_signed_in"}
	}
	if actor.Purpose != "" && actor.Purpose != policy.ForEmergency { // which nobody chooses: it is the purpose of the acts about it
		purpose = actor.Purpose
	}
	var err error
	for attempt := range 6 {
		if attempt > 0 {
			time.Sleep(time.Duration(rand.IntN(10*attempt)+1) * time.Millisecond)
		}
		a := &act{Reader: r, actor: actor, name: name, purpose: purpose, at: r.now().UTC()}
		err = a.run(ctx, first, do)
		if err != nil && len(a.entries) > 0 && !a.entries[len(a.entries)-1].Allowed {
			// The attempt is kept although the act is not.
			if logged := r.auditDenied(ctx, a.entries[len(a.entries)-1:]); logged != nil {
				return logged
			}
		}
		if !retryable(err) {
			break
		}
	}
	err = translate(err)
	if err != nil && KindOf(err) == "" && ctx.Err() == nil {
		r.log.Error("an act failed", append([]zap.Field{zap.String("act", name), zap.String("request", actor.Request)}, describe(err)...)...)
	}
	return err
}

func (a *act) run(ctx context.Context, first func(*act, *pgx.Batch), do func(context.Context, *act) error) error {
	revision, generation, err := a.begin(ctx, first)
	committed := false
	defer func() { a.end(ctx, committed) }() // also after a panic: nobody else gives the connection back, nor the rows that it has locked
	if err != nil {
		return err
	}
	if err := a.freshKeys(generation); err != nil {
		return err
	}
	if err := a.loadPolicy(ctx, revision, first); err != nil {
		return err
	}
	if err := do(ctx, a); err != nil {
		return err
	}
	if !a.decided {
		return fmt.Errorf("registry: %s decided nothing", a.name)
	}
	err = a.flush(ctx)
	committed = err == nil
	return err
}

// end gives the connection back. What was not committed is taken back first.
func (a *act) end(ctx context.Context, committed bool) {
	if !committed && a.Tx != nil {
		_ = a.Rollback(context.WithoutCancel(ctx))
	}
	if a.conn != nil {
		a.conn.Release()
	}
}

// ofOneInstant are the acts that read page by page what must be as it was at one instant.
var ofOneInstant = []string{"ExportDonors", "FetchExport", "FetchInventory"}

// glances are the acts that people have before them all day. Nobody is shown in clear in them, and all they write is that somebody looked: their
// audit rows stand in the act's own transaction as everybody's, and the answer does not wait until a disk has them. Where the database server dies, the
// last half second of such looks is lost with it, and nothing else (decision 0025).
var glances = []string{"ShowWorkPage", "Work", "CountWork", "VisitCase", "ShowCasePage", "LookAtCase", "ListCases", "UnreadNotices", "ListNotices"}

// plannedOnce are the acts that have setPlans.
var plannedOnce = []string{"ShowWorkPage", "Work", "CountWork", "VisitCase", "ShowCasePage"}

// begin begins the transaction, says in it how far it reaches, and reads the revision of the grants and the generation of the keys
// in it, in one round trip, and what is read first with them. Reading them also marks the transaction as one that may not know of a later key (see drain).
func (a *act) begin(ctx context.Context, first func(*act, *pgx.Batch)) (revision, generation int64, err error) {
	var b pgx.Batch
	var options pgx.TxOptions
	if slices.Contains(ofOneInstant, a.name) {
		options.IsoLevel = pgx.RepeatableRead
	}
	b.BeginTx(options)
	unproven := a.actor.proof != nil && !a.actor.proof.held.Load()
	if unproven { // asked before the reach is set, as Authenticate asks
		a.actor.proof.queue(a.Reader, &b, a.at)
	}
	a.policy = a.Reader.policy.Load() // most likely the one that is current
	set := setReach
	if slices.Contains(plannedOnce, a.name) {
		set += setPlans
	}
	b.Queue(set, a.reachSettings(a.policy)...)
	b.Queue(`SELECT p.revision, i.key_generation FROM policy_revision p, installation i`)
	if first != nil && a.policy != nil { // else they wait for the policy
		first(a, &b)
	}
	if a.conn, err = a.pool.Acquire(ctx); err != nil {
		return 0, 0, err
	}
	results := a.conn.SendBatch(ctx, &b)
	a.Tx = results.Tx()
	_, err = results.Exec() // begin
	if err == nil && unproven {
		err = a.actor.proof.read(results.QueryRow())
	}
	if err == nil {
		_, err = results.Exec() // the reach
	}
	if err == nil {
		err = results.QueryRow().Scan(&revision, &generation)
	}
	return revision, generation, errors.Join(err, results.Close())
}

// flush writes what the act collected and commits, in one round trip.
func (a *act) flush(ctx context.Context) error {
	var b pgx.Batch
	if a.actor.Command != "" && !a.repeats {
		// Whoever sends the request again, because its answer died with the process, must not have it done twice.
		wrote := a.writes.Len()+len(a.events)+len(a.notices)+len(a.tellers) > 0
		b.Queue(`UPDATE idempotency_keys SET done_at = now() WHERE staff_id = $1 AND key = $2 AND status IS NULL AND ($3 OR pg_current_xact_id_if_assigned() IS NOT NULL)`, a.actor.staff, a.actor.Command, wrote)
	}
	b.QueuedQueries = append(b.QueuedQueries, a.writes.QueuedQueries...)
	if slices.Contains(glances, a.name) && !slices.ContainsFunc(a.entries, auditEntry.opened) {
		b.Queue(`SET LOCAL synchronous_commit = off`)
	}
	queueAudit(&b, a.entries)
	queueEvents(&b, a.events)
	if len(a.notices) > 0 || slices.ContainsFunc(a.events, func(e Event) bool { return e.CaseID != uuid.Nil }) {
		// Those who are told may be elsewhere, and PostgreSQL adds no row by ON CONFLICT that the act does not reach. Nothing is read
		// after this.
		b.Queue(`SELECT set_config('liferelay.everywhere', 'on', true)`)
		queueNews(&b, a.events)
		queueNotices(&b, a.notices)
	}
	queueTellings(&b, a.tellers)
	b.Queue(`commit`).Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return pgx.ErrTxCommitRollback
		}
		return nil
	})
	return a.SendBatch(ctx, &b).Close()
}

// loadPolicy makes sure that the act is decided with the grants as they are in its own transaction, and that what was read first was read by them.
func (a *act) loadPolicy(ctx context.Context, revision int64, first func(*act, *pgx.Batch)) error {
	if a.policy != nil && a.policy.Current(revision, a.now()) {
		return nil
	}
	p, err := a.currentPolicy(ctx, revision)
	if err != nil {
		return err
	}
	a.policy = p
	// The transaction began with the reach of grants that have changed since.
	var b pgx.Batch
	b.Queue(setReach, a.reachSettings(p)...)
	if first != nil {
		first(a, &b)
	}
	return a.SendBatch(ctx, &b).Close()
}

func (a *act) currentPolicy(ctx context.Context, revision int64) (*policy.Policy, error) {
	a.loading.Lock()
	defer a.loading.Unlock()
	if p := a.Reader.policy.Load(); p != nil && p.Current(revision, a.now()) {
		return p, nil
	}
	grants, err := readGrants(ctx, a.Tx)
	if err != nil {
		return nil, err
	}
	p, err := a.newPolicy(grants, revision, a.now())
	if err != nil {
		return nil, err
	}
	a.Reader.policy.Store(p)
	return p, nil
}

// today is the day of the act in the office's zone.
func (a *act) today() calendar.Date { return calendar.Of(a.at, Zone) }

// rules are the rules in force for a region on the act's day.
func (a *act) rules(region identity.Region) rules.Rules { return a.book.For(region, a.today()) }

// cell names the place of a sealed value.
func cell(table, column string, row uuid.UUID) seal.Cell {
	return seal.Cell{Table: table, Column: column, Row: row}
}
