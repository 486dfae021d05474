package web_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/web"
	"github.com/liferelay/liferelay/workflows"
)

// pages is a register with people who work on it, and the site before it. Every page that it reads is held against what all pages are.
type pages struct {
	*registrytest.House
	t        testing.TB
	db       *pgx.Conn
	database string
	base     string
	site     *web.Site
	now      *atomic.Pointer[time.Time]
	held     map[string]string // session cookies, by subject
	scenery  map[string]string // ids and codes that pictures are taken of, by name
}

// nobody is somebody who is not signed in.
var nobody registry.Actor

// newPages makes pages. cases is the way to the desk; nil is a desk that nobody answers at. channels are those on which notices leave.
func newPages(t testing.TB, cases *workflows.Client, channels ...registry.Channel) *pages {
	t.Helper()
	ctx := context.Background()
	p := &pages{t: t, now: &atomic.Pointer[time.Time]{}, held: map[string]string{}}
	database := registrytest.NewHouseDatabase(t)
	p.database = database
	store, err := registry.Open(ctx, registry.Options{URL: database, Keys: registrytest.Keys(), MaxConnections: 8, Log: registrytest.Log(t), Now: p.clock, Channels: channels})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	p.House = registrytest.OpenHouse(t, store)
	p.db, err = pgx.Connect(ctx, registrytest.Past(t, database))
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.db.Close(context.Background()) })
	if cases == nil {
		cases, err = workflows.Dial(workflows.Options{Address: "127.0.0.1:1", Keys: registrytest.Keys()})
		require.NoError(t, err)
		t.Cleanup(cases.Close)
	}
	p.open(cases)
	return p
}

func (p *pages) open(cases *workflows.Client) {
	log := registrytest.Log(p.t)
	if log == nil {
		log = zap.NewNop()
	}
	p.site = web.New(web.Config{Store: p.Store, Cases: cases, Front: front.New(front.Config{Store: p.Store, Log: log, InsecureCookies: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}), Log: log, Version: "0.1", Scopes: []string{"donors:read", "cases:read", "cases:write"}})
	server := httptest.NewServer(p.site.Handler())
	p.t.Cleanup(server.Close)
	p.base = server.URL
}

// clock is the machine's, unless a test has set it.
func (p *pages) clock() time.Time {
	if at := p.now.Load(); at != nil {
		return *at
	}
	return time.Now()
}

func (p *pages) exec(sql string, args ...any) {
	p.t.Helper()
	_, err := p.db.Exec(context.Background(), sql, args...)
	require.NoError(p.t, err)
}

// staff adds a member of staff with one role in one region, or with none.
func (p *pages) staff(login string, at registry.Organisation, role policy.Role, region string) registry.Actor {
	ctx := context.Background()
	p.exec(`INSERT INTO staff (id, organisation_id, login, display_name, password_hash) VALUES ($1, $2, $3, $4, '')`, uuid.New(), at.ID, login, "Test "+login)
	if role != "" {
		_, err := p.Store.GrantRole(ctx, registry.Operator("test"), registry.GrantForm{Login: login, Role: role, Region: identity.Region(region), Until: p.clock().AddDate(1, 0, 0)})
		require.NoError(p.t, err)
	}
	actor, err := p.Store.ActorByLogin(ctx, login)
	require.NoError(p.t, err)
	return actor
}

// planDrive plans a drive of today in Gulou.
func (p *pages) planDrive(name string) registry.DriveView {
	p.t.Helper()
	today := calendar.Of(p.clock(), registry.Zone)
	d, err := p.Store.PlanDrive(context.Background(), p.Registrar, forms.Drive{
		Name: name, Place: "体育馆", Region: "320106", Laboratory: p.Laboratory.ID, FirstDay: today, LastDay: today, Target: 100, BarcodeFrom: "NJ26000001", BarcodeTo: "NJ26009999",
	})
	require.NoError(p.t, err)
	return d
}

// volunteer is a good consent form of the nth person, with a sample.
func (p *pages) volunteer(n int) forms.Registration {
	return forms.Registration{
		Name: seal.NameOf("张样安"), DocumentNumber: seal.NumberOf(residentNumber(n)), Phone: seal.PhoneOf(fmt.Sprintf("138%08d", n)), Programmes: []rules.Programme{rules.StemCell},
		HealthAnswered: true, Signed: true, SignedOn: calendar.Of(p.clock(), registry.Zone), OnPaper: true, Barcode: fmt.Sprintf("NJ26%06d", n),
		Contacts: []forms.Contact{{Name: seal.NameOf("张样宁"), Phone: seal.PhoneOf("13900000001")}, {Name: seal.NameOf("李例晴"), Phone: seal.PhoneOf("13900000002")}},
	}
}

// volunteers registers the first n people at a drive and returns their registrations.
func (p *pages) volunteers(drive uuid.UUID, n int) (out []uuid.UUID) {
	p.t.Helper()
	var list []forms.Registration
	for i := range n {
		list = append(list, p.volunteer(i+1))
	}
	entries, err := p.Store.Register(context.Background(), p.Registrar, uuid.NewString(), registry.EntryForm{Drive: drive, Forms: list})
	require.NoError(p.t, err)
	for _, e := range entries {
		require.Equal(p.t, "created", e.Status, "%+v", e.Problems)
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

const gl = "HLA-A*02:01+HLA-A*11:01^HLA-B*40:01+HLA-B*46:01^HLA-C*01:02+HLA-C*07:02^HLA-DRB1*09:01+HLA-DRB1*15:01^HLA-DQB1*03:03+HLA-DQB1*06:01"

func (p *pages) patientForm() forms.Patient {
	return forms.Patient{BirthYear: 2015, Sex: identity.Male, Diagnosis: "C91.0", WeightKG: 30, Urgency: "urgent", GL: gl, Nomenclature: "3.57.0", ConsentOn: calendar.Of(p.clock(), registry.Zone)}
}

// caseWith is a stem-cell case at a step, with a task of it that the coordinators of Gulou may answer, about a donor. Nobody carries it.
func (p *pages) caseWith(step string, donor uuid.UUID) (id, task uuid.UUID) {
	p.t.Helper()
	id, task = uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	p.exec(`INSERT INTO cases (id, number, protocol, subject_id, region, organisation_id, status, step, state, opened_at) VALUES ($1, $2, 'stemcell', $3, '320106', $4, 'open', $5, '{}', now())`,
		id, "SC-"+id.String(), donor, p.County.ID, step)
	for seat, party := range map[string]struct {
		side string
		at   uuid.UUID
	}{"coordinator": {"donor", p.County.ID}, "collection_hospital": {"donor", p.Collection.ID}, "transplant_hospital": {"patient", p.Transplant.ID}} {
		p.exec(`INSERT INTO case_parties (case_id, seat, side, organisation_id) VALUES ($1, $2, $3, $4)`, id, seat, party.side, party.at)
	}
	p.exec(`INSERT INTO tasks (id, case_id, step, round, seat, role, region, status, opened_at, due_at, args) VALUES ($1, $2, $3, 1, 'coordinator', 'coordinator', '320106', 'open', now(), now() + interval '1 day', '{}')`,
		task, id, step)
	return id, task
}

// session is a browser's session of somebody, as signing in makes it.
func (p *pages) session(by registry.Actor) string {
	if by.Subject() == "" {
		return ""
	}
	if p.held[by.Subject()] == "" {
		token := "session of " + uuid.NewString()
		sum := sha256.Sum256([]byte(token))
		p.exec(`INSERT INTO sessions (token_hash, staff_id, kind, expires_at, last_seen_at) VALUES ($1, $2, 'browser', now() + interval '1 day', now())`, sum[:], by.Staff())
		p.held[by.Subject()] = token
	}
	return p.held[by.Subject()]
}

// shown is a page that came back.
type shown struct {
	*goquery.Document
	t      testing.TB
	status int
	header http.Header
	body   string
	path   string // where it came to in the end
}

// raw sends a request and does not follow where it leads.
func (p *pages) raw(by registry.Actor, method, path string, form url.Values, headers ...string) shown {
	p.t.Helper()
	if form == nil {
		return p.send(by, method, path, nil, headers...)
	}
	return p.send(by, method, path, strings.NewReader(form.Encode()), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

// rawFile sends a form with a file and does not follow where it leads.
func (p *pages) rawFile(by registry.Actor, path string, form url.Values, name string, data []byte) shown {
	p.t.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	for field, list := range form {
		for _, one := range list {
			require.NoError(p.t, m.WriteField(field, one))
		}
	}
	part, err := m.CreateFormFile("file", name)
	require.NoError(p.t, err)
	_, err = part.Write(data)
	require.NoError(p.t, err)
	require.NoError(p.t, m.Close())
	return p.send(by, http.MethodPost, path, &body, "Content-Type", m.FormDataContentType())
}

func (p *pages) send(by registry.Actor, method, path string, body io.Reader, headers ...string) shown {
	p.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, p.base+path, body)
	require.NoError(p.t, err)
	if s := p.session(by); s != "" {
		r.AddCookie(&http.Cookie{Name: "liferelay_session", Value: strings.ReplaceAll(s, " ", "%20")})
		r.Header.Set("Cookie", "liferelay_session=\""+s+"\"")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Cookie" && r.Header.Get("Cookie") != "" {
			r.Header.Set("Cookie", r.Header.Get("Cookie")+"; "+headers[i+1])
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	require.NoError(p.t, err)
	defer answer.Body.Close()
	for _, c := range answer.Cookies() {
		if c.Name == "liferelay_session" && c.Value == "" {
			delete(p.held, by.Subject())
		}
	}
	var data []byte
	if answer.Header.Get("Content-Type") != "text/event-stream" { // which goes on
		data, err = io.ReadAll(answer.Body)
		require.NoError(p.t, err)
	}
	out := shown{t: p.t, status: answer.StatusCode, header: answer.Header, body: string(data), path: path}
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") && !strings.HasPrefix(answer.Header.Get("Content-Disposition"), "attachment") { // a file is no page of ours
		out.Document, err = goquery.NewDocumentFromReader(strings.NewReader(out.body))
		require.NoError(p.t, err)
		out.sound()
	}
	return out
}

// get reads a page in Chinese, following where it leads.
func (p *pages) get(by registry.Actor, path string, headers ...string) shown {
	p.t.Helper()
	for range 5 {
		out := p.raw(by, http.MethodGet, path, nil, headers...)
		if out.status != http.StatusSeeOther {
			return out
		}
		path = out.header.Get("Location")
	}
	require.FailNow(p.t, "a page leads round in circles", path)
	return shown{}
}

// post fills in the form of a page and sends it: the first form whose action is the path, with what it has, changed by the values
// (pairs of name and value).
func (p *pages) post(by registry.Actor, page shown, action string, values ...string) shown {
	p.t.Helper()
	return p.followed(by, p.raw(by, http.MethodPost, action, page.fill(action, values...)))
}

// upload fills in the form of a page as post does, and sends it with a file.
func (p *pages) upload(by registry.Actor, page shown, action, name string, data []byte, values ...string) shown {
	p.t.Helper()
	return p.followed(by, p.rawFile(by, action, page.fill(action, values...), name, data))
}

func (p *pages) followed(by registry.Actor, out shown) shown {
	p.t.Helper()
	if out.status == http.StatusSeeOther {
		return p.get(by, out.header.Get("Location"))
	}
	return out
}

// fill is what a form of the page would send.
func (s shown) fill(action string, values ...string) url.Values {
	s.t.Helper()
	form := s.Find(`form[action="` + action + `"]`)
	if sent := form.Filter("[method=post]"); sent.Length() > 0 { // a list is narrowed at the same address
		form = sent
	}
	form = form.First()
	require.Equal(s.t, 1, form.Length(), "the page %s has no form for %s", s.path, action)
	sent := url.Values{}
	form.Find("input[name], textarea[name], select[name]").Each(func(_ int, e *goquery.Selection) {
		name, _ := e.Attr("name")
		switch kind, _ := e.Attr("type"); {
		case kind == "radio" || kind == "checkbox":
			if _, checked := e.Attr("checked"); checked {
				sent.Add(name, e.AttrOr("value", "on"))
			}
		case goquery.NodeName(e) == "textarea":
			sent.Add(name, e.Text())
		case goquery.NodeName(e) == "select":
			sent.Add(name, e.Find("option[selected]").AttrOr("value", ""))
		case kind != "submit" && kind != "file":
			sent.Add(name, e.AttrOr("value", ""))
		}
	})
	changed := url.Values{}
	for i := 0; i+1 < len(values); i += 2 {
		changed.Add(values[i], values[i+1])
	}
	maps.Copy(sent, changed)
	return sent
}

// is holds the status.
func (s shown) is(status int) shown {
	s.t.Helper()
	require.Equal(s.t, status, s.status, "%s: %s", s.path, s.words())
	return s
}

// words is what a reader reads of the page's content.
func (s shown) words() string {
	if s.Document == nil {
		return s.body
	}
	main := s.Find("main")
	if main.Length() == 0 {
		main = s.Selection
	}
	return strings.Join(strings.Fields(main.Text()), " ")
}

// sound holds a page against what all pages are: nothing of it runs or is styled in place, every control has a name, every id is there once.
func (s shown) sound() {
	s.t.Helper()
	require.Empty(s.t, s.Find("[style], style, script:not([src]), [onclick], [hx-on]").Nodes, "%s has script or style in it", s.path)
	if csp := s.header.Get("Content-Security-Policy"); csp != "" {
		require.NotContains(s.t, csp, "unsafe")
	}
	require.NotContains(s.t, s.body, "%!", s.path)
	require.NotRegexp(s.t, `\b(web|page|nav|said|code|choice|field|error|problem|step|event)\.[a-z_]+(\.[a-z_]+)*\s*<`, s.body, "%s says the name of a sentence", s.path)
	ids := map[string]bool{}
	s.Find("[id]").Each(func(_ int, e *goquery.Selection) {
		id, _ := e.Attr("id")
		require.False(s.t, ids[id], "%s has two elements called %s", s.path, id)
		ids[id] = true
	})
	s.Find("input:not([type=hidden]), select, textarea").Each(func(_ int, e *goquery.Selection) {
		id := e.AttrOr("id", "")
		named := e.AttrOr("aria-label", "")+e.AttrOr("aria-labelledby", "") != "" || e.Closest("label").Length() > 0 || id != "" && s.Find(`label[for="`+id+`"]`).Length() > 0
		require.True(s.t, named, "%s has a control without a name: %s", s.path, e.AttrOr("name", ""))
	})
	s.Find("button, a[href], summary").Each(func(_ int, e *goquery.Selection) {
		named := strings.TrimSpace(e.Text())+e.AttrOr("aria-label", "") != "" || e.Find("img[alt]").Length() > 0
		require.True(s.t, named, "%s has a button or link without a name", s.path)
	})
	s.Find(`form[method=post]`).Each(func(_ int, e *goquery.Selection) {
		require.Equal(s.t, 1, e.Find(`input[name=_key]`).Length(), "%s has a form without a key: %s", s.path, e.AttrOr("action", ""))
	})
}
