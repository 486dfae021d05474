package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/match"
)

// The listed donors stand in the memory of every process that searches, in an engine of registry/match. It is loaded once, by COPY, and follows
// the table of what changed: whoever searches first takes in what was committed since, so no search goes by an old list. A notification
// makes a process take it in before anybody asks.

// matching is the engine of this process, and how far it has followed.
type matching struct {
	mu       sync.Mutex
	engine   *match.Engine
	since    uint64 // transactions before this one were over when it last looked
	looked   time.Time
	revision int64 // of the nomenclature that it reads by
}

// donorSource are the rows that the engine is made of, with the columns of CopyEntrants. What is not known is 0.
const donorSource = `
	SELECT r.id, t.gl_string, t.nomenclature, coalesce(extract(year FROM p.birth_date), 0)::int2, greatest(coalesce(p.last_contact, r.registered_on) - date '1970-01-01', 0)::int2,
		coalesce(array_position(ARRAY['male', 'female'], p.sex), 0)::int2, coalesce(array_position(ARRAY['O', 'A', 'B', 'AB'], p.abo), 0)::int2,
		coalesce(array_position(ARRAY['positive', 'negative'], p.rh), 0)::int2, 0::int2, coalesce(least(p.weight_kg, 255), 0)::int2,
		CASE WHEN r.region ~ '^[0-9]{6}$' THEN left(r.region, 2)::int2 ELSE 0::int2 END
	FROM registrations r JOIN typings t ON t.registration_id = r.id AND t.current AND t.kind = 'enrolment' JOIN persons p ON p.id = r.person_id
	WHERE r.programme = 'stemcell' AND r.status = 'listed' AND p.status = 'active'`

// changesKept is for how long the table of changes goes back. A process that has not looked for as long reads everything anew.
const changesKept = 7 * 24 * time.Hour

// donors is the engine with everything in it that is committed. The act has to reach everywhere.
func (a *act) donors(ctx context.Context) (*match.Engine, error) {
	// The revision first: a library that is newer than it is read again, one that is older would stay.
	var revision int64
	if err := a.QueryRow(ctx, `SELECT revision FROM reference_revision`).Scan(&revision); err != nil {
		return nil, err
	}
	library, err := a.nomenclatureIn(ctx, a.Tx)
	if err != nil {
		return nil, err
	}
	m := &a.matching
	m.mu.Lock()
	defer m.mu.Unlock()
	now := a.now()
	if m.engine == nil || now.Sub(m.looked) > changesKept/2 {
		return m.load(ctx, a.Tx, library, revision, now)
	}
	if m.revision != revision {
		if len(m.engine.Left()) > 0 { // who could not be read may be read now
			return m.load(ctx, a.Tx, library, revision, now)
		}
		m.engine.Reread(library)
		m.revision = revision
	}
	if err := m.follow(ctx, a.Tx); err != nil {
		return nil, err
	}
	m.looked = now
	return m.engine, nil
}

func (m *matching) load(ctx context.Context, tx pgx.Tx, library *hla.Library, revision int64, now time.Time) (*match.Engine, error) {
	var since uint64
	if err := tx.QueryRow(ctx, `SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8`).Scan(&since); err != nil {
		return nil, err
	}
	engine := match.NewEngine(library)
	if err := engine.Load(CopyEntrants(ctx, tx.Conn(), donorSource+` ORDER BY r.id`)); err != nil {
		return nil, err
	}
	m.engine, m.since, m.revision, m.looked = engine, since, revision, now
	return engine, nil
}

// follow takes in what changed. What it reads again does no harm.
func (m *matching) follow(ctx context.Context, tx pgx.Tx) error {
	var until uint64
	var people []uuid.UUID
	err := tx.QueryRow(ctx, `
		SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8, (SELECT array_agg(DISTINCT person_id) FROM donor_changes WHERE by_xid >= $1::text::xid8)`,
		fmt.Sprint(m.since)).Scan(&until, &people)
	if err != nil {
		return err
	}
	if len(people) > 0 {
		listed, err := entrantsOf(ctx, tx, people)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT id FROM registrations WHERE person_id = ANY($1) AND programme = 'stemcell'`, people)
		if err != nil {
			return err
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		for _, id := range all {
			if entrant, in := listed[id]; in {
				_ = m.engine.Put(entrant) // who cannot be read is told by Left
			} else {
				m.engine.Remove(id)
			}
		}
	}
	m.since = until
	return nil
}

// entrantsOf reads the listed donors among some people.
func entrantsOf(ctx context.Context, tx pgx.Tx, people []uuid.UUID) (map[uuid.UUID]match.Entrant, error) {
	rows, err := tx.Query(ctx, donorSource+` AND p.id = ANY($1)`, people)
	if err != nil {
		return nil, err
	}
	out := map[uuid.UUID]match.Entrant{}
	var e match.Entrant
	var year, contact, sex, abo, rh, cmv, weight, province int16
	_, err = pgx.ForEachRow(rows, []any{&e.ID, &e.Typing, &e.Version, &year, &contact, &sex, &abo, &rh, &cmv, &weight, &province}, func() error {
		e.Traits = match.Traits{
			BirthYear: uint16(year), LastContact: uint16(contact), Sex: match.Sex(sex), ABO: match.ABO(abo), Rh: match.Sign(rh), CMV: match.Sign(cmv),
			WeightKG: uint8(weight), Province: uint8(province),
		}
		out[e.ID] = e
		return nil
	})
	return out, err
}

// SearchOptions are what a hospital may ask for beside the policy, as they are kept.
type SearchOptions struct {
	Ranking []string     `json:"ranking,omitempty"`
	Filter  SearchFilter `json:"filter,omitzero"`
}

// openSearch is a search and its patient, as far as the comparison goes by them.
type openSearch struct {
	ID           uuid.UUID
	Policy       string
	Region       identity.Region
	Options      SearchOptions
	GL           string
	Nomenclature string
	BirthYear    int
	WeightKG     float64
	Sex          string
	ABO          string
	Rh           string
	CMV          string
	Found        []uuid.UUID // candidates of the last run among those who are asked about
}

// openSearches reads searches. people are those whom Found is about.
func (a *act) openSearches(ctx context.Context, people []uuid.UUID, where string, args ...any) ([]openSearch, error) {
	rows, err := a.Query(ctx, `
		SELECT s.id, s.policy, s.region, s.options, p.gl_string, p.nomenclature, p.birth_year, p.weight_kg, p.sex, coalesce(p.abo, ''), coalesce(p.rh, ''), coalesce(p.cmv, ''),
			coalesce((SELECT array_agg(c.registration_id) FROM link.candidates c JOIN registrations r ON r.id = c.registration_id
				WHERE c.search_id = s.id AND c.change <> 'lost' AND r.person_id = ANY($1)), '{}')
		FROM searches s JOIN patients p ON p.id = s.patient_id WHERE `+where, append([]any{people}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[openSearch])
}

// request is a search as the engine takes it.
func (s openSearch) request(library *hla.Library, year int) (match.Request, error) {
	if s.GL == "" { // the patient was erased
		return match.Request{}, &match.UntypedError{}
	}
	typing, err := library.Reader(s.Nomenclature).Read(s.GL)
	if err != nil {
		return match.Request{}, err
	}
	ranking, err := match.ParseRanking(s.Options.Ranking)
	if err != nil {
		return match.Request{}, err
	}
	if len(ranking) == 0 {
		ranking = match.DefaultRanking()
	}
	fit, _ := match.Named(s.Policy)
	fit.AllowUntyped = true // who is not typed at a locus may fit, and is told to
	// Words that are not known count as not known.
	t := match.Traits{BirthYear: uint16(s.BirthYear), WeightKG: uint8(min(s.WeightKG, 255)), Province: provinceCode(s.Region)}
	t.Sex, _ = match.ParseSex(s.Sex)
	t.ABO, _ = match.ParseABO(s.ABO)
	t.Rh, _ = match.ParseSign(s.Rh)
	t.CMV, _ = match.ParseSign(s.CMV)
	return match.Request{
		Query:   match.Query{Patient: typing, Policy: fit, Filter: s.Options.Filter.filter(), Year: year},
		Ranking: ranking, Limit: mostCandidates, Traits: t,
	}, nil
}

// provinceCode is the first two digits of a region, 0 where it has none.
func provinceCode(region identity.Region) uint8 {
	var code uint8
	if _, err := fmt.Sscanf(string(region), "%2d", &code); err != nil {
		return 0
	}
	return code
}

// compare finds the donors who fit the patient of a search, the best of them graded and in order.
func (a *act) compare(ctx context.Context, v SearchView) (*comparison, error) {
	library, err := a.nomenclatureIn(ctx, a.Tx)
	if err != nil {
		return nil, err
	}
	engine, err := a.donors(ctx)
	if err != nil {
		return nil, err
	}
	searches, err := a.openSearches(ctx, nil, `s.id = $2`, v.ID)
	if err != nil {
		return nil, err
	}
	if len(searches) != 1 {
		return nil, a.absent("search", v.ID)
	}
	r, err := searches[0].request(library, a.today().Year())
	if err != nil {
		return nil, err
	}
	if r.Populations, err = a.populationsIn(ctx, a.Tx); err != nil {
		return nil, err
	}
	report, err := engine.Best(ctx, r)
	if err != nil {
		return nil, err
	}
	return &comparison{Report: report, unread: len(engine.Left()), rules: match.Rules{Release: library.Current(), Loci: hla.Loci()}, counted: r.Policy.Loci, patient: r.Patient}, nil
}

// comparison is what a search found.
type comparison struct {
	*match.Report
	unread  int         // donors whose typing cannot be read
	rules   match.Rules // over every locus
	counted []hla.Locus // the policy's
	patient *hla.Reading
}

// changesAtOnce is how many changes are held against the open searches in one transaction.
const changesAtOnce = 5000

// Standing holds the open searches against the donors who changed since it was last done, and against no others: a donor who fits now, or fits no longer,
// changes the report, and the case hears of it. One process at a time does it. It says how many changes it took in, so that a caller goes on while
// there are some.
func (s *Store) Standing(ctx context.Context) (int, error) {
	taken := 0
	err := s.act(ctx, System("standing"), "Standing", policy.ForSearch, func(ctx context.Context, a *act) error {
		taken = 0
		if err := a.permit(policy.Write, policy.Search, record{kind: "search", id: "open", region: nation}); err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.HLA, record{kind: "donors", id: "changed", region: nation}); err != nil {
			return err
		}
		people, until, err := a.changedDonors(ctx)
		if err != nil || until == "" {
			return err
		}
		if len(people) > 0 {
			searches, err := a.searchesAffected(ctx, people)
			if err != nil {
				return err
			}
			for _, id := range searches {
				if err := a.refresh(ctx, id, until); err != nil {
					return err
				}
			}
		}
		taken = len(people)
		_, err = a.Exec(ctx, `UPDATE standing_position SET until = $1::text::xid8`, until)
		return err
	})
	return taken, err
}

// changedDonors are those of the transactions that are over and were not when this was last done. until is empty where another process is at it.
func (a *act) changedDonors(ctx context.Context) (people []uuid.UUID, until string, err error) {
	var from string
	err = a.QueryRow(ctx, `SELECT until::text FROM standing_position FOR UPDATE SKIP LOCKED`).Scan(&from)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	// Whole transactions, the first of them; the position goes behind the last that was taken.
	err = a.QueryRow(ctx, `
		WITH over AS (SELECT person_id, by_xid FROM donor_changes WHERE by_xid >= $1::text::xid8 AND by_xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY by_xid LIMIT $2),
			last AS (SELECT max(by_xid) AS by_xid, count(*) AS taken FROM over)
		SELECT (SELECT array_agg(DISTINCT c.person_id) FROM donor_changes c, last WHERE c.by_xid >= $1::text::xid8 AND c.by_xid <= last.by_xid),
			CASE WHEN last.taken < $2 THEN pg_snapshot_xmin(pg_current_snapshot())::text ELSE (last.by_xid::text::numeric + 1)::text END FROM last`,
		from, changesAtOnce).Scan(&people, &until)
	return people, until, err
}

// searchesAffected are the open searches for which one of some people fits and was not found, or was found and fits no longer.
func (a *act) searchesAffected(ctx context.Context, people []uuid.UUID) ([]uuid.UUID, error) {
	library, err := a.nomenclatureIn(ctx, a.Tx)
	if err != nil {
		return nil, err
	}
	listed, err := entrantsOf(ctx, a.Tx, people)
	if err != nil {
		return nil, err
	}
	few := match.NewEngine(library)
	for _, entrant := range listed {
		_ = few.Put(entrant)
	}
	searches, err := a.openSearches(ctx, people, `s.status <> 'closed' AND s.run > 0 ORDER BY s.id`)
	if err != nil {
		return nil, err
	}
	var affected []uuid.UUID
	for _, s := range searches {
		r, err := s.request(library, a.today().Year())
		var unread *hla.Error
		var untyped *match.UntypedError
		if errors.As(err, &unread) || errors.As(err, &untyped) {
			continue // its next run says so
		}
		if err != nil {
			return nil, err
		}
		before := map[uuid.UUID]bool{}
		for _, id := range s.Found {
			before[id] = true
		}
		changed := false
		_, err = few.Search(ctx, r.Query, func(hits []match.Hit) {
			for _, h := range hits {
				changed = changed || !before[h.ID]
				delete(before, h.ID)
			}
		})
		if errors.As(err, &untyped) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if changed || len(before) > 0 {
			affected = append(affected, s.ID)
		}
	}
	return affected, nil
}

// refresh writes the report of a search anew, between its runs, and lets the case hear of it.
func (a *act) refresh(ctx context.Context, id uuid.UUID, until string) error {
	v, err := a.readSearch(ctx, id)
	if err != nil {
		return err
	}
	found, err := a.compare(ctx, v)
	if err != nil {
		return err
	}
	run, err := a.writeCandidates(ctx, id, v.Run, found, true, "changes/"+until)
	if err != nil {
		return err
	}
	if run.New > 0 || run.Lost > 0 {
		a.hear(string(SearchProtocol), "candidates", id)
	}
	return nil
}

// WarmDonors loads this process's engine, so that the first search does not wait for it.
func (s *Store) WarmDonors(ctx context.Context) error {
	return s.act(ctx, System("standing"), "Standing", policy.ForSearch, func(ctx context.Context, a *act) error {
		if err := a.permit(policy.Read, policy.HLA, record{kind: "donors", id: "listed", region: nation}); err != nil {
			return err
		}
		_, err := a.donors(ctx)
		return err
	})
}

// KeepDonors keeps the reports of open searches as the donors are, and with warm this process's engine, until ctx ends: when something is notified,
// and every minute all the same.
func (s *Store) KeepDonors(ctx context.Context, warm bool, failed func(error)) {
	wake := make(chan struct{}, 1)
	go func() {
		for ctx.Err() == nil {
			if err := s.listenOn(ctx, wake, "liferelay_donors", "liferelay_reference"); err != nil && ctx.Err() == nil {
				failed(err)
				pause(ctx, time.Second)
			}
		}
	}()
	if warm {
		if err := s.WarmDonors(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
	for ctx.Err() == nil {
		waiting, later, err := s.donorsChanged(ctx)
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
		for waiting {
			taken, err := s.Standing(ctx)
			if err != nil && ctx.Err() == nil {
				failed(err)
			}
			if err != nil || taken < changesAtOnce {
				break
			}
		}
		if warm && waiting {
			if err := s.WarmDonors(ctx); err != nil && ctx.Err() == nil {
				failed(err)
			}
		}
		look := time.Minute
		if later {
			look = time.Second
		}
		select {
		case <-wake:
			pause(ctx, 200*time.Millisecond) // what comes together is taken in together
		case <-time.After(look):
		case <-ctx.Done():
		}
	}
}

// donorsChanged tells whether there is anything to take in, and whether there is something that a transaction under way holds up. Looking is no act, and
// leaves no row in the audit.
func (s *Store) donorsChanged(ctx context.Context) (changed, later bool, err error) {
	err = s.internally(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM donor_changes c, standing_position p WHERE c.by_xid >= p.until AND c.by_xid < pg_snapshot_xmin(pg_current_snapshot())),
				EXISTS (SELECT FROM donor_changes c, standing_position p WHERE c.by_xid >= p.until AND c.by_xid >= pg_snapshot_xmin(pg_current_snapshot()))`).Scan(&changed, &later)
	})
	return changed, later, err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// forgetChanges removes what every process has taken in.
func (s *Store) forgetChanges(ctx context.Context) error {
	return s.internally(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM donor_changes WHERE changed_at < $1 AND by_xid < (SELECT until FROM standing_position)`, s.now().Add(-changesKept))
		return err
	})
}
