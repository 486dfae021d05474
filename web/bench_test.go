package web_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// BenchmarkPages measures the worklist and the case page in a register of ten thousand and of a million donors with twenty thousand open
// cases, while fifty people work: each opens a page, reads it for about a second and opens the next. Beside it, in turn, the same fifty
// ask a bare handler that runs one indexed query. p50 and p95 are what a browser on the same machine waits for the last byte of the answer.
func BenchmarkPages(b *testing.B) {
	front.CollectRarely()
	var slowest [2]map[string]time.Duration
	for i, donors := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("%d-donors", donors), func(b *testing.B) {
			p := newPages(b, nil)
			users, cases := p.filled(b, donors)
			bare := p.bare(b)
			for b.Loop() {
				slowest[i] = map[string]time.Duration{}
				for _, kind := range []struct {
					name string
					path func(int) string
				}{
					{"worklist", func(int) string { return "/work" }},
					{"case", func(n int) string { return "/cases/" + cases[n%len(cases)].String() }},
				} {
					pages := p.crowd(b, users, func(n int) string { return p.base + kind.path(n) })
					floor := p.crowd(b, users, func(n int) string { return bare + kind.path(n) })
					b.ReportMetric(ms(at(pages, .5)), kind.name+"-p50-ms")
					b.ReportMetric(ms(at(pages, .95)), kind.name+"-p95-ms")
					b.ReportMetric(ms(at(floor, .5)), kind.name+"-bare-p50-ms")
					b.ReportMetric(ms(at(floor, .95)), kind.name+"-bare-p95-ms")
					b.ReportMetric(ms(at(pages, .95))/ms(at(floor, .95)), kind.name+"-times-bare")
					slowest[i][kind.name] = at(pages, .95)
					if before := slowest[0][kind.name]; i == 1 && before > 0 {
						b.ReportMetric(ms(slowest[1][kind.name])/ms(before), kind.name+"-times-smaller")
					}
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkFirstLoad measures what a browser fetches that has nothing yet: the first page with what it needs, compressed.
func BenchmarkFirstLoad(b *testing.B) {
	p := newPages(b, nil)
	for b.Loop() {
		total := 0
		first := p.get(nobody, "/signin")
		addresses := []string{"/signin"}
		for _, found := range []struct{ selector, attribute string }{{"link[href]", "href"}, {"script[src]", "src"}, {"img[src]", "src"}} {
			for _, e := range first.Find(found.selector).EachIter() {
				if address := e.AttrOr(found.attribute, ""); !slices.Contains(addresses, address) {
					addresses = append(addresses, address)
				}
			}
		}
		for _, address := range addresses {
			r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.base+address, nil)
			require.NoError(b, err)
			r.Header.Set("Accept-Encoding", "gzip")
			a, err := http.DefaultTransport.RoundTrip(r)
			require.NoError(b, err)
			data, err := io.ReadAll(a.Body)
			require.NoError(b, err)
			require.NoError(b, a.Body.Close())
			require.Equal(b, 200, a.StatusCode, address)
			total += len(data)
		}
		b.ReportMetric(float64(total)/1000, "kB")
	}
	b.ReportMetric(0, "ns/op")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// at is a percentile.
func at(took []time.Duration, p float64) time.Duration {
	slices.Sort(took)
	return took[int(p*float64(len(took)-1))]
}

const crowdSize = 50

// filled puts donors and twenty thousand open cases into the register, spread over the counties of Jiangsu, and returns sessions of fifty
// coordinators of Gulou and the cases there whose donors are whole records. The other donors are rows as long as real ones, and nobody opens them.
func (p *pages) filled(b *testing.B, donors int) (users []string, cases []uuid.UUID) {
	const all, whole = 20_000, 200
	ctx := context.Background()
	var list []forms.Registration
	for n := range whole {
		list = append(list, p.volunteer(n+1))
	}
	entries, err := p.Store.Register(ctx, p.Registrar, "bench", registry.EntryForm{Forms: list, AcceptWarnings: true})
	require.NoError(b, err)
	p.exec(`
		WITH people AS (SELECT uuid_v7() AS id, n FROM generate_series(1, $1) n),
			entered AS (INSERT INTO persons (id, region, key_wrapped, name_sealed, phone_sealed, profile_sealed, index_version, birth_date, sex)
				SELECT id, '320106', sha256(uuid_send(id)), sha256(uuid_send(id)), sha256(uuid_send(id)), sha512(uuid_send(id)), 1, '2000-01-01', 'male' FROM people)
		INSERT INTO registrations (id, number, person_id, programme, intent, status, region, organisation_id, channel, registered_on)
		SELECT id, 'B' || lpad(n::text, 12, '0'), id, 'stemcell', 'wish', 'listed', (ARRAY['320102', '320104', '320105', '320106', '320111', '320113', '320114', '320115', '320205', '320303'])[n % 10 + 1], $2, 'sheet', '2026-01-01' FROM people`,
		donors-whole, p.County.ID)
	counties := `(ARRAY['320102', '320104', '320105', '320111', '320113', '320114', '320115', '320205', '320303', '320402', '320505', '320602', '320703', '320803', '320902', '321002', '321102', '321202', '321302'])[n % 19 + 1]`
	p.exec(`
		CREATE TEMPORARY TABLE new_cases AS
		SELECT uuid_v7() AS id, uuid_v7() AS task, n, g.id AS donor, `+counties+` AS region FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM registrations WHERE number LIKE 'B%' LIMIT $1) g`, all-whole)
	for _, e := range entries {
		require.Equal(b, "created", e.Status)
		id := uuid.Must(uuid.NewV7())
		p.exec(`INSERT INTO new_cases VALUES ($1, $2, $3, $4, '320106')`, id, uuid.Must(uuid.NewV7()), all+len(cases), e.Donors[0].ID)
		cases = append(cases, id)
	}
	p.exec(`INSERT INTO cases (id, number, protocol, subject_id, region, organisation_id, status, step, state, opened_at)
		SELECT id, 'SC-2026-' || lpad(n::text, 6, '0'), 'stemcell', donor, region, $1, 'open', 'stemcell.remobilisation', '{}', now() - n % 60 * interval '1 day' FROM new_cases`, p.County.ID)
	for seat, party := range map[string]struct {
		side string
		at   uuid.UUID
	}{"coordinator": {"donor", p.County.ID}, "collection_hospital": {"donor", p.Collection.ID}, "transplant_hospital": {"patient", p.Transplant.ID}} {
		p.exec(`INSERT INTO case_parties (case_id, seat, side, organisation_id) SELECT id, $1, $2, $3 FROM new_cases`, seat, party.side, party.at)
	}
	p.exec(`INSERT INTO tasks (id, case_id, step, round, seat, role, region, status, opened_at, due_at, args)
		SELECT task, id, 'stemcell.remobilisation', 1, 'coordinator', 'coordinator', region, 'open', now() - interval '3 days', now() + (n % 40 - 10) * interval '6 hours', '{}' FROM new_cases`)
	p.exec(`INSERT INTO events (id, at, code, case_id, actor, args) SELECT uuid_v7(), now() - k * interval '1 day', 'case.opened', c.id, 'system', '{}' FROM new_cases c, generate_series(1, 5) k`)
	for n := range crowdSize {
		who := p.staff(fmt.Sprintf("bench%d", n), p.County, policy.Coordinator, "320106")
		users = append(users, p.session(who))
		p.exec(`INSERT INTO case_looks (case_id, staff_id, looked_at) SELECT id, $1, now() - n % 7 * interval '1 day' FROM new_cases WHERE n >= $2 AND n % 2 = $3`, who.Staff(), all, n%2)
	}
	p.exec(`VACUUM ANALYZE`) // a register that has stood for a while, and not one whose rows are still being tidied up
	return users, cases
}

// bare is a handler that runs one indexed query and answers with what it found, without asking who is there: of the worklist its rows in their order, of
// a case its row with its timeline.
func (p *pages) bare(b *testing.B) string {
	pool, err := pgxpool.New(context.Background(), registrytest.Past(b, p.database))
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	const work = `SELECT t.id, t.step, t.rank_at, t.due_at, t.version FROM tasks t WHERE t.status = 'open' AND t.county = '320106' AND t.any_office AND t.role = 'coordinator' ORDER BY t.rank_at, t.id LIMIT 51`
	const timeline = `SELECT c.number, e.at, e.code, e.actor, e.args FROM cases c LEFT JOIN events e ON e.case_id = c.id WHERE c.id = $1 ORDER BY e.at`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, args := work, []any{}
		if id, is := strings.CutPrefix(r.URL.Path, "/cases/"); is {
			query, args = timeline, []any{id}
		}
		rows, err := pool.Query(r.Context(), query, args...)
		if err == nil {
			for rows.Next() {
				values, _ := rows.Values()
				_, _ = fmt.Fprintln(w, values...)
			}
			err = rows.Err()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	b.Cleanup(server.Close)
	return server.URL
}

// crowd lets the users open pages, each about one a second, and tells how long each waited.
func (p *pages) crowd(b *testing.B, users []string, path func(int) string) (took []time.Duration) {
	const each = 20
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crowdSize, DisableCompression: true}}
	defer client.CloseIdleConnections()
	var lock sync.Mutex
	var all sync.WaitGroup
	for n, session := range users {
		all.Go(func() {
			var answer bytes.Buffer // what measures leaves little behind that is collected while others wait
			whole := new(gzip.Reader)
			time.Sleep(rand.N(time.Second))
			for k := range each {
				r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, path(n*each+k), nil)
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Cookie", `liferelay_session="`+session+`"`)
				r.Header.Set("Accept-Encoding", "gzip")
				began := time.Now()
				a, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				answer.Reset()
				_, err = answer.ReadFrom(a.Body)
				passed := time.Since(began)
				_ = a.Body.Close()
				if a.Header.Get("Content-Encoding") == "gzip" && err == nil { // what came is a whole page
					if err = whole.Reset(&answer); err == nil {
						_, err = io.Copy(io.Discard, whole)
					}
				}
				if err != nil || a.StatusCode != http.StatusOK {
					b.Error(path(n), a.StatusCode, err)
					return
				}
				if k > 0 { // the first opens connections and fills caches
					lock.Lock()
					took = append(took, passed)
					lock.Unlock()
				}
				time.Sleep(time.Second/2 + rand.N(time.Second))
			}
		})
	}
	all.Wait()
	return took
}
