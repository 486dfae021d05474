package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/workflows"
)

// world is a register with people who work on it, and the API before it. Every answer that it gets is held against the
// API's description.
type world struct {
	*registrytest.House
	t        testing.TB
	database string // its address
	db       *pgx.Conn
	base     string // of the API
	now      *atomic.Pointer[time.Time]
	log      *observer.ObservedLogs
	doc      *description
	tokens   map[string]string // by subject
}

// nobody is somebody who is not signed in.
var nobody registry.Actor

// newWorld makes a world. cases is the way to the desk; nil is a desk that nobody answers at.
func newWorld(t testing.TB, cases *workflows.Client) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{t: t, database: registrytest.NewHouseDatabase(t), now: &atomic.Pointer[time.Time]{}, tokens: map[string]string{}}
	store, err := registry.Open(ctx, registry.Options{URL: w.database, Keys: registrytest.Keys(), MaxConnections: 8, Log: registrytest.Log(t), Now: w.clock})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	w.House = registrytest.OpenHouse(t, store)
	w.db, err = pgx.Connect(ctx, registrytest.Past(t, w.database))
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.db.Close(context.Background()) })
	w.exec(`UPDATE staff SET password_hash = $1`, quickHash())
	if cases == nil {
		cases, err = workflows.Dial(workflows.Options{Address: "127.0.0.1:1", Keys: registrytest.Keys()})
		require.NoError(t, err)
		t.Cleanup(cases.Close)
	}
	w.open(api.Config{Cases: cases}, front.Config{})
	return w
}

// clock is the machine's, unless a test has set it.
func (w *world) clock() time.Time {
	if at := w.now.Load(); at != nil {
		return *at
	}
	return time.Now()
}

// open serves the API over the register.
func (w *world) open(c api.Config, f front.Config) {
	core, log := observer.New(zap.DebugLevel)
	w.log = log
	f.Store, f.Log = w.Store, zap.New(core)
	c.Store, c.Log, c.Front, c.Version = w.Store, zap.New(core), front.New(f), "test"
	server := httptest.NewServer(api.New(c))
	w.t.Cleanup(server.Close)
	w.base = server.URL
	w.doc = readDescription(w.t, w.raw(nobody, http.MethodGet, "/openapi.json", nil, "Accept-Language", "en").is(200).body)
}

// quickHash is of registrytest.Password, made with less work than a real one: most tests sign in for something else.
var quickHash = sync.OnceValue(func() string {
	h, err := argon2id.CreateHash(registrytest.Password, &argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	if err != nil {
		panic(err)
	}
	return h
})

// staff adds a member of staff with one role in one region, or with none.
func (w *world) staff(login string, at registry.Organisation, role policy.Role, region string) registry.Actor {
	ctx := context.Background()
	w.exec(`INSERT INTO staff (id, organisation_id, login, display_name, password_hash) VALUES ($1, $2, $3, $4, $5)`, uuid.New(), at.ID, login, "Test "+login, quickHash())
	if role != "" {
		_, err := w.Store.GrantRole(ctx, registry.Operator("test"), registry.GrantForm{Login: login, Role: role, Region: identity.Region(region), Until: w.clock().AddDate(1, 0, 0)})
		require.NoError(w.t, err)
	}
	actor, err := w.Store.ActorByLogin(ctx, login)
	require.NoError(w.t, err)
	return actor
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	_, err := w.db.Exec(context.Background(), sql, args...)
	require.NoError(w.t, err)
}

func (w *world) count(sql string, args ...any) int {
	w.t.Helper()
	var n int
	require.NoError(w.t, w.db.QueryRow(context.Background(), sql, args...).Scan(&n))
	return n
}

// token is a bearer's session of somebody, as signing in makes it.
func (w *world) token(by registry.Actor) string {
	if by.Subject() == "" {
		return ""
	}
	if w.tokens[by.Subject()] == "" {
		token := "token of " + by.Name + " " + uuid.NewString()
		sum := sha256.Sum256([]byte(token))
		w.exec(`INSERT INTO sessions (token_hash, staff_id, kind, expires_at) VALUES ($1, $2, 'bearer', now() + interval '1 day')`, sum[:], by.Staff())
		w.tokens[by.Subject()] = token
	}
	return w.tokens[by.Subject()]
}

// answer is what came back.
type answer struct {
	t      testing.TB
	asked  string
	status int
	header http.Header
	body   []byte
}

// send sends a request: body is nothing, bytes, or what becomes JSON. Headers come in pairs; an empty value leaves one out
// that would be there.
func (w *world) send(by registry.Actor, method, path string, body any, headers ...string) answer {
	w.t.Helper()
	a := w.raw(by, method, path, body, headers...)
	w.doc.check(w.t, method, path, a)
	return a
}

func (w *world) raw(by registry.Actor, method, path string, body any, headers ...string) answer {
	w.t.Helper()
	var payload []byte
	switch b := body.(type) {
	case nil:
	case []byte:
		payload = b
	default:
		var err error
		payload, err = json.Marshal(b)
		require.NoError(w.t, err)
	}
	req, err := http.NewRequest(method, w.base+path, bytes.NewReader(payload))
	require.NoError(w.t, err)
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token := w.token(by); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if method != http.MethodGet {
		req.Header.Set("Idempotency-Key", uuid.NewString())
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		} else {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := direct.Do(req)
	require.NoError(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return answer{w.t, method + " " + path, resp.StatusCode, resp.Header, data}
}

// direct is a client that does not follow redirections.
var direct = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (a answer) is(status int) answer {
	a.t.Helper()
	require.Equal(a.t, status, a.status, "%s: %s", a.asked, a.body)
	return a
}

// problem reads a problem, which must have a status, a code and a sentence.
func (a answer) problem(status int, code string) api.Problem {
	a.t.Helper()
	a.is(status)
	require.Equal(a.t, "application/problem+json", a.header.Get("Content-Type"), a.asked)
	p := read[api.Problem](a)
	require.Equal(a.t, code, p.Code, "%s: %s", a.asked, a.body)
	require.Equal(a.t, status, p.Status, a.asked)
	require.Equal(a.t, "urn:liferelay:problem:"+code, p.Type, a.asked)
	require.NotEmpty(a.t, p.Title, a.asked)
	require.NotEmpty(a.t, p.Detail, "%s has no sentence", code)
	require.NotContains(a.t, p.Title+p.Detail, "no value", code)
	return p
}

func read[T any](a answer) T {
	a.t.Helper()
	var out T
	decoder := json.NewDecoder(bytes.NewReader(a.body))
	decoder.DisallowUnknownFields()
	require.NoError(a.t, decoder.Decode(&out), "%s: %s", a.asked, a.body)
	return out
}

func ifMatch(a answer) []string { return []string{"If-Match", a.header.Get("ETag")} }

// drive plans a drive.
func (w *world) drive(name string) (registry.DriveView, answer) {
	w.t.Helper()
	a := w.send(w.Registrar, http.MethodPost, "/v1/drives", w.driveForm(name)).is(http.StatusCreated)
	return read[registry.DriveView](a), a
}

func (w *world) driveForm(name string) map[string]any {
	day := w.clock().In(registry.Zone).Format(time.DateOnly)
	return map[string]any{
		"name": name, "place": "体育馆", "region": "320106", "laboratory": w.Laboratory.ID, "first_day": day, "last_day": day, "target": 100, "barcode_from": "NJ26000001", "barcode_to": "NJ26009999",
	}
}

// volunteer is a good consent form of the nth person, with a sample.
func (w *world) volunteer(n int) map[string]any {
	contact := func(name, phone string) map[string]any { return map[string]any{"name": name, "phone": phone} }
	return map[string]any{
		"name": "张样安", "document_number": residentNumber(n), "phone": fmt.Sprintf("138%08d", n), "programmes": []string{"stemcell"}, "health_answered": true, "signed": true,
		"signed_on": w.clock().In(registry.Zone).Format(time.DateOnly), "on_paper": true, "barcode": fmt.Sprintf("NJ26%06d", n),
		"contacts": []any{contact("张样宁", "13900000001"), contact("李例晴", "13900000002")},
	}
}

// volunteers registers the first n people at a drive and returns their registrations.
func (w *world) volunteers(drive uuid.UUID, n int) []uuid.UUID {
	w.t.Helper()
	var list []map[string]any
	for i := range n {
		list = append(list, w.volunteer(i+1))
	}
	a := w.send(w.Registrar, http.MethodPost, "/v1/registrations", map[string]any{"drive": drive, "forms": list}).is(http.StatusOK)
	var out []uuid.UUID
	for _, e := range read[api.Entries](a).Entries {
		require.Equal(w.t, "created", e.Status, "%+v", e.Problems)
		out = append(out, e.Donors[0].ID)
	}
	return out
}

// residentNumber makes a valid identity number of somebody born in 2000.
func residentNumber(n int) string {
	body := fmt.Sprintf("32010620000101%03d", n)
	weights, sum := []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}, 0
	for i, weight := range weights {
		sum += int(body[i]-'0') * weight
	}
	return body + string("10X98765432"[sum%11])
}

// csvOf is a sheet of consent forms.
func csvOf(forms ...map[string]any) []byte {
	out := "姓名,证件号码,手机号码,登记项目,健康征询,本人签名,签署日期,采样管条码,联系人1姓名,联系人1电话,联系人2姓名,联系人2电话\n"
	for _, f := range forms {
		out += fmt.Sprintf("%v,%v,%v,造血干细胞,是,是,%v,%v,张样宁,13900000001,李例晴,13900000002\n", f["name"], f["document_number"], f["phone"], f["signed_on"], f["barcode"])
	}
	return []byte(out)
}

// upload uploads a sheet to a drive.
func (w *world) upload(drive uuid.UUID, sheet []byte) answer {
	w.t.Helper()
	return w.send(w.Registrar, http.MethodPost, "/v1/import-batches?file_name=list.csv&drive="+drive.String(), sheet, "Content-Type", "text/csv").is(http.StatusCreated)
}

// caseWith writes an open case of the county with a task for the coordinator in each of some steps, without a protocol.
func (w *world) caseWith(steps ...string) (id uuid.UUID, tasks []uuid.UUID) {
	w.t.Helper()
	id = uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO cases (id, number, protocol, subject_id, region, organisation_id, status, step, state, opened_at) VALUES ($1, $2, 'stemcell', $3, '320106', $4, 'open', 'stemcell.remobilisation', '{}', now())`,
		id, "SC-"+id.String(), uuid.New(), w.County.ID)
	for _, step := range steps {
		task := uuid.Must(uuid.NewV7())
		w.exec(`INSERT INTO tasks (id, case_id, step, round, seat, role, region, status, opened_at, due_at, args) VALUES ($1, $2, $3, 1, $4, 'coordinator', '320106', 'open', now(), now() + interval '1 day', '{}')`,
			task, id, step, "office#"+task.String())
		tasks = append(tasks, task)
	}
	return id, tasks
}

// logged is everything that the API has written to its log.
func (w *world) logged() string {
	var out strings.Builder
	for _, e := range w.log.All() {
		fmt.Fprintln(&out, e.Message, e.ContextMap())
	}
	return out.String()
}
