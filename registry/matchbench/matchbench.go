// Package matchbench measures the matching engine over a synthetic registry, each figure beside the least that it could cost and beside what
// somebody without the engine would do: the same question put to PostgreSQL, over tables of P groups with indexes as Atlas has them
// (github.com/Anthony-Nolan/Atlas).
//
// It works in a database of its own, which it makes and drops.
package matchbench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

// Options say what is measured.
type Options struct {
	URL         string // of a PostgreSQL server on which databases may be made; empty leaves out what needs one
	Donors      int
	Seed        uint64
	Frequencies *match.Frequencies
	Release     *hla.Release // may be nil: then low resolution is lists of alleles
	Progress    func(step string)
}

// Report is what was measured, in seconds and bytes.
type Report struct {
	Donors         int
	BytesPerDonor  float64
	DistinctCopies int
	Distinct       int     // typings of a locus, over all loci
	Copy           float64 // PostgreSQL's COPY of the donors' rows, thrown away; 0 without a server
	Load           float64 // the engine's loading of the same rows
	Searches       []Search
}

// Search is one search of a report.
type Search struct {
	Patient  string  // at which percentile of the size of results
	Low      bool    // of low resolution
	Accepted int     // donors that 10/10 and 9/10 accept
	Floor    float64 // to stream the engine's own columns once, by one core
	Search   float64 // finding all of them
	Best     float64 // finding them, and the best thousand in order with their chances
	SQL      float64 // the same question in PostgreSQL; 0 where it was not asked: for patients of low resolution
	SQLFound int
}

var loci = []hla.Locus{hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1}

// Run measures.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	out := &Report{Donors: o.Donors}
	library := hla.NewLibrary(nil)
	if o.Release != nil {
		library = hla.NewLibrary(nil, o.Release)
	}
	synthetic := match.NewSynthetic(o.Frequencies, o.Release, o.Seed)
	engine := match.NewEngine(library)
	var rival *rival
	before := heap()
	if o.URL == "" {
		o.Progress("draw")
		if err := engine.Load(func(yield func(match.Entrant, error) bool) {
			for n := range o.Donors {
				if ctx.Err() != nil || !yield(synthetic.Donor(n), nil) {
					return
				}
			}
		}); err != nil {
			return nil, err
		}
	} else {
		conn, drop, err := scratch(ctx, o.URL)
		if err != nil {
			return nil, err
		}
		defer drop()
		if rival, err = newRival(ctx, conn, o, synthetic); err != nil {
			return nil, err
		}
		o.Progress("load")
		before = heap()
		// Once to warm both, then measured.
		for range 2 {
			began := time.Now()
			if _, err := conn.PgConn().CopyTo(ctx, io.Discard, `COPY (`+donorRows+`) TO STDOUT (FORMAT binary)`); err != nil {
				return nil, err
			}
			out.Copy = time.Since(began).Seconds()
		}
		began := time.Now()
		if err := engine.Load(registry.CopyEntrants(ctx, conn, donorRows)); err != nil {
			return nil, err
		}
		out.Load = time.Since(began).Seconds()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if left := len(engine.Left()); left > 0 {
		return nil, fmt.Errorf("matchbench: the typings of %d donors cannot be read", left)
	}
	out.BytesPerDonor = float64(heap()-before) / float64(o.Donors)
	size := engine.Size()
	out.DistinctCopies, out.Distinct = size.Copies, size.Entries
	if rival != nil {
		o.Progress("rival")
		if err := rival.fill(ctx); err != nil {
			return nil, err
		}
	}
	o.Progress("search")
	for _, low := range []bool{false, true} {
		searches, err := measure(ctx, o, engine, synthetic, rival, low)
		if err != nil {
			return nil, err
		}
		out.Searches = append(out.Searches, searches...)
	}
	return out, nil
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

type drawn struct {
	typing string
	read   *hla.Reading
	hits   int
}

// measure draws patients, and measures those at three percentiles of the size of their results.
func measure(ctx context.Context, o Options, engine *match.Engine, synthetic *match.Synthetic, rival *rival, low bool) ([]Search, error) {
	policy, _ := match.Named("9/10")
	policy.AllowUntyped = true
	reader := hla.Reader{Release: o.Release}
	patients := make([]drawn, 400)
	for n := range patients {
		p := &patients[n]
		p.typing = synthetic.Patient(n, low)
		var err error
		if p.read, err = reader.Read(p.typing); err != nil {
			return nil, err
		}
		found, err := engine.Search(ctx, match.Query{Patient: p.read, Policy: policy}, func([]match.Hit) {})
		if err != nil {
			return nil, err
		}
		p.hits = found.Hits
	}
	slices.SortStableFunc(patients, func(a, b drawn) int { return a.hits - b.hits })
	var out []Search
	for _, percent := range []int{50, 90, 99} {
		// Nine patients around the percentile, each searched for once: what is remembered of one does not make the next faster than it would be.
		const around = 4
		at := min(len(patients)*percent/100, len(patients)-1-around)
		p := patients[at]
		s := Search{Patient: fmt.Sprint(percent), Low: low, Accepted: p.hits}
		var floors, searches, bests []float64
		for _, one := range patients[at-around : at+around+1] {
			floors = append(floors, clock(func() { engine.Stream(loci) }))
			searches = append(searches, clock(func() {
				_, _ = engine.Search(ctx, match.Query{Patient: one.read, Policy: policy}, func([]match.Hit) {})
			}))
			bests = append(bests, clock(func() {
				_, _ = engine.Best(ctx, match.Request{
					Query: match.Query{Patient: one.read, Policy: policy}, Ranking: match.DefaultRanking(), Limit: 1000,
					Populations: func(uint8) *match.Frequencies { return o.Frequencies },
				})
			}))
		}
		s.Floor, s.Search, s.Best = median(floors), median(searches), median(bests)
		if rival != nil && !low {
			var err error
			if s.SQL, s.SQLFound, err = rival.ask(ctx, p.read); err != nil {
				return nil, err
			}
		}
		out = append(out, s)
	}
	return out, ctx.Err()
}

func clock(do func()) float64 {
	began := time.Now()
	do()
	return time.Since(began).Seconds()
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// scratch makes a database that lives as long as the measuring.
func scratch(ctx context.Context, address string) (*pgx.Conn, func(), error) {
	server, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, nil, errors.New("matchbench: the database server does not let us in")
	}
	name := "match_bench_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	if _, err := server.Exec(ctx, `CREATE DATABASE `+name); err != nil {
		_ = server.Close(ctx)
		return nil, nil, fmt.Errorf("matchbench: a database of its own cannot be made (SQLSTATE %s)", registry.SQLState(err))
	}
	drop := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, _ = server.Exec(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`)
		_ = server.Close(ctx)
	}
	config := server.Config().Copy()
	config.Database = name
	config.RuntimeParams["jit"] = "off"
	config.RuntimeParams["work_mem"] = "512MB"
	config.RuntimeParams["maintenance_work_mem"] = "1GB"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		drop()
		return nil, nil, errors.New("matchbench: the database server does not let us in")
	}
	return conn, func() { _ = conn.Close(context.WithoutCancel(ctx)); drop() }, nil
}

// donorRows are the donors as an engine is loaded with them.
const donorRows = `SELECT id, typing, release, birth_year, last_contact, sex, abo, rh, cmv, weight_kg, province FROM donors ORDER BY id`

// rival is the same question put to PostgreSQL.
type rival struct {
	conn    *pgx.Conn
	release *hla.Release
	names   map[hla.Locus]map[string]int32
	units   map[hla.Locus]map[hla.Allele]int32
	rows    map[hla.Locus][][2]int32 // names, by donor; 0 where not typed
}

// newRival draws the donors into a table, and keeps what their copies are called.
func newRival(ctx context.Context, conn *pgx.Conn, o Options, synthetic *match.Synthetic) (*rival, error) {
	o.Progress("draw")
	r := &rival{conn: conn, release: o.Release, names: map[hla.Locus]map[string]int32{}, units: map[hla.Locus]map[hla.Allele]int32{}, rows: map[hla.Locus][][2]int32{}}
	for _, locus := range loci {
		r.names[locus], r.units[locus], r.rows[locus] = map[string]int32{}, map[hla.Allele]int32{}, make([][2]int32, o.Donors)
	}
	if _, err := conn.Exec(ctx, `CREATE UNLOGGED TABLE donors (id uuid PRIMARY KEY, typing text NOT NULL, release text NOT NULL, birth_year smallint NOT NULL, last_contact smallint NOT NULL,
		sex smallint NOT NULL, abo smallint NOT NULL, rh smallint NOT NULL, cmv smallint NOT NULL, weight_kg smallint NOT NULL, province smallint NOT NULL)`); err != nil {
		return nil, err
	}
	// Two draw while one copies.
	const piece = 4096
	pieces := make([]chan []match.Entrant, (o.Donors+piece-1)/piece)
	for n := range pieces {
		pieces[n] = make(chan []match.Entrant, 1)
	}
	ahead := make(chan struct{}, 8)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		var workers sync.WaitGroup
		next := make(chan int)
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				for n := range next {
					out := make([]match.Entrant, 0, piece)
					for i := n * piece; i < min((n+1)*piece, o.Donors); i++ {
						out = append(out, synthetic.Donor(i))
					}
					pieces[n] <- out
				}
			})
		}
		for n := range pieces {
			select {
			case ahead <- struct{}{}:
				next <- n
			case <-ctx.Done():
			}
		}
		close(next)
		workers.Wait()
	}()
	at, n, donor := []match.Entrant(nil), 0, 0
	_, err := conn.CopyFrom(ctx, pgx.Identifier{"donors"}, []string{"id", "typing", "release", "birth_year", "last_contact", "sex", "abo", "rh", "cmv", "weight_kg", "province"},
		pgx.CopyFromFunc(func() ([]any, error) {
			if len(at) == 0 {
				if n*piece >= o.Donors {
					return nil, nil
				}
				select {
				case at = <-pieces[n]:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				<-ahead
				n++
			}
			d := &at[0]
			at = at[1:]
			r.note(donor, d.Typing)
			donor++
			t := d.Traits
			return []any{[16]byte(d.ID), d.Typing, d.Version, int16(t.BirthYear), int16(t.LastContact), int16(t.Sex), int16(t.ABO), int16(t.Rh), int16(t.CMV), int16(t.WeightKG), int16(t.Province)}, nil
		}))
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, `VACUUM ANALYZE donors`)
	return r, err
}

// note keeps what a donor's copies are called.
func (r *rival) note(donor int, typing string) {
	for part := range strings.SplitSeq(typing, "^") {
		one, other, _ := strings.Cut(part, "+")
		locus := locusOf(one)
		names := r.names[locus]
		if names == nil {
			continue
		}
		for i, name := range []string{one, other} {
			number, known := names[name]
			if !known {
				number = int32(len(names) + 1)
				names[name] = number
			}
			r.rows[locus][donor][i] = number
		}
	}
}

func locusOf(name string) hla.Locus {
	if gene, _, star := strings.Cut(name, "*"); star {
		return hla.Locus(gene)
	}
	switch {
	case strings.HasPrefix(name, "DR"):
		return hla.DRB1
	case strings.HasPrefix(name, "DQ"):
		return hla.DQB1
	default:
		return hla.Locus(name[:1])
	}
}

// fill makes the rival's tables: which name a donor has at a position of a locus, and which P groups a name may be.
func (r *rival) fill(ctx context.Context) error {
	reader := hla.Reader{Release: r.release}
	for _, locus := range loci {
		groups := make([][]int32, len(r.names[locus])+1)
		for name, number := range r.names[locus] {
			read, err := reader.Read(name + "+" + name)
			if err != nil {
				return err
			}
			groups[number] = r.groups(locus, read.At(locus).Pairs[0][0])
		}
		l := strings.ToLower(string(locus))
		if _, err := r.conn.Exec(ctx, `CREATE UNLOGGED TABLE names_`+l+` (name int, pgroup int); CREATE UNLOGGED TABLE at_`+l+` (donor int, position smallint, name int)`); err != nil {
			return err
		}
		var rows [][]any
		for number, pgroups := range groups {
			for _, pgroup := range pgroups {
				rows = append(rows, []any{int32(number), pgroup})
			}
		}
		if _, err := r.conn.CopyFrom(ctx, pgx.Identifier{"names_" + l}, []string{"name", "pgroup"}, pgx.CopyFromRows(rows)); err != nil {
			return err
		}
		donor, position := -1, 1
		_, err := r.conn.CopyFrom(ctx, pgx.Identifier{"at_" + l}, []string{"donor", "position", "name"}, pgx.CopyFromFunc(func() ([]any, error) {
			if position++; position > 1 {
				position = 0
				donor++
				for donor < len(r.rows[locus]) && r.rows[locus][donor][0] == 0 {
					donor++
				}
			}
			if donor >= len(r.rows[locus]) {
				return nil, nil
			}
			names := r.rows[locus][donor]
			name := names[position]
			if len(groups[name]) == 0 { // it makes no protein: the copy beside it counts twice
				name = names[1-position]
			}
			return []any{int32(donor), int16(position + 1), name}, nil
		}))
		if err != nil {
			return err
		}
		if _, err := r.conn.Exec(ctx, `CREATE INDEX ON at_`+l+` (name) INCLUDE (donor, position); CREATE INDEX ON at_`+l+` (donor) INCLUDE (position, name);
			CREATE INDEX ON names_`+l+` (pgroup) INCLUDE (name)`); err != nil {
			return err
		}
		if _, err := r.conn.Exec(ctx, `VACUUM ANALYZE at_`+l); err != nil {
			return err
		}
		if _, err := r.conn.Exec(ctx, `ANALYZE names_`+l); err != nil {
			return err
		}
		r.rows[locus] = nil
	}
	return nil
}

// groups numbers the P groups that a copy may be of.
func (r *rival) groups(locus hla.Locus, c hla.Copy) (out []int32) {
	for _, a := range c.Alleles {
		if a.Null() {
			continue
		}
		unit := a.TwoField()
		if r.release != nil {
			unit = r.release.Unit(a)
		}
		number, known := r.units[locus][unit]
		if !known {
			number = int32(len(r.units[locus]) + 1)
			r.units[locus][unit] = number
		}
		out = append(out, number)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// question is the search for 10/10 and 9/10: how many copies match at each locus, paired directly or crossed, and no more than one
// mismatch over those that are typed. Every donor it accepts shares a name with the patient at A, B and DRB1, at which everybody is typed.
var question = func() string {
	var with []string
	for n, locus := range loci {
		l := strings.ToLower(string(locus))
		with = append(with, fmt.Sprintf(`
			n_%[1]s AS MATERIALIZED (SELECT name, bool_or(pgroup = ANY($%[2]d)) AS one, bool_or(pgroup = ANY($%[3]d)) AS two FROM names_%[1]s
				WHERE pgroup = ANY($%[2]d::int[] || $%[3]d::int[]) GROUP BY name),
			l_%[1]s AS (SELECT donor, greatest(max((position = 1 AND one)::int) + max((position = 2 AND two)::int), max((position = 1 AND two)::int) + max((position = 2 AND one)::int)) AS n
				FROM at_%[1]s JOIN n_%[1]s USING (name) GROUP BY donor)`, l, 2*n+1, 2*n+2))
	}
	return `WITH ` + strings.Join(with, ",") + `,
		three AS MATERIALIZED (SELECT donor, l_b.n + l_a.n + l_drb1.n AS n FROM l_b JOIN l_a USING (donor) JOIN l_drb1 USING (donor) WHERE l_b.n + l_a.n + l_drb1.n >= 5),
		lacking AS (SELECT donor, 6 - three.n
			+ CASE WHEN EXISTS (SELECT FROM at_c c WHERE c.donor = three.donor) THEN 2 - coalesce((SELECT greatest(max((position = 1 AND one)::int) + max((position = 2 AND two)::int), max((position = 1 AND two)::int) + max((position = 2 AND one)::int)) FROM at_c c JOIN n_c USING (name) WHERE c.donor = three.donor), 0) ELSE 0 END
			+ CASE WHEN EXISTS (SELECT FROM at_dqb1 c WHERE c.donor = three.donor) THEN 2 - coalesce((SELECT greatest(max((position = 1 AND one)::int) + max((position = 2 AND two)::int), max((position = 1 AND two)::int) + max((position = 2 AND one)::int)) FROM at_dqb1 c JOIN n_dqb1 USING (name) WHERE c.donor = three.donor), 0) ELSE 0 END AS mismatches
			FROM three)
		SELECT donor, mismatches FROM lacking WHERE mismatches <= 1`
}()

// ask puts the question, twice, and takes the faster.
func (r *rival) ask(ctx context.Context, patient *hla.Reading) (seconds float64, found int, err error) {
	args := []any{pgx.QueryExecModeExec}
	for _, locus := range loci {
		pair := patient.At(locus).Pairs[0]
		one, two := r.groups(locus, pair[0]), r.groups(locus, pair[1])
		if len(one) == 0 {
			one = two
		}
		if len(two) == 0 {
			two = one
		}
		args = append(args, one, two)
	}
	for range 2 {
		began := time.Now()
		rows, err := r.conn.Query(ctx, question, args...)
		if err != nil {
			return 0, 0, err
		}
		found = 0
		for rows.Next() {
			found++
		}
		if err := rows.Err(); err != nil {
			return 0, 0, err
		}
		if took := time.Since(began).Seconds(); seconds == 0 || took < seconds {
			seconds = took
		}
	}
	return seconds, found, nil
}
