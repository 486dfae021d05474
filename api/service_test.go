package api_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/google/uuid"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/workflows"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

func TestTheServiceSaysWhatIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil) // nobody answers at its desk
	require.Equal(t, "ok\n", string(w.send(nobody, http.MethodGet, "/livez", nil).is(200).body))
	// Facts are taken without the desk: it is told, and does not take the service away.
	require.JSONEq(t, `{"database": "ok", "desk": "away"}`, string(w.send(nobody, http.MethodGet, "/readyz", nil).is(200).body))
	w.drive("没有流程服务时的活动")

	desk, err := workflows.Dial(workflows.Options{Address: workflowstest.TemporalAddress(t), Keys: registrytest.Keys()})
	require.NoError(t, err)
	defer desk.Close()
	w.open(api.Config{Cases: desk}, front.Config{})
	require.JSONEq(t, `{"database": "ok", "desk": "ok"}`, string(w.send(nobody, http.MethodGet, "/readyz", nil).is(200).body))

	between := newWire(t, &w.database)
	store, err := registry.Open(context.Background(), registry.Options{URL: w.database, Keys: registrytest.Keys()})
	require.NoError(t, err)
	defer store.Close()
	w.House.Store = store
	w.open(api.Config{Cases: desk}, front.Config{})
	require.JSONEq(t, `{"database": "ok", "desk": "ok"}`, string(w.send(nobody, http.MethodGet, "/readyz", nil).is(200).body))
	between.cut()
	require.JSONEq(t, `{"database": "away", "desk": "ok"}`, string(w.send(nobody, http.MethodGet, "/readyz", nil).is(503).body))
	require.Equal(t, "ok\n", string(w.send(nobody, http.MethodGet, "/livez", nil).is(200).body))
	a := w.send(nobody, http.MethodGet, "/v1/drives", nil, "Authorization", "Bearer x")
	a.problem(503, "database_unavailable")
	require.NotEmpty(t, a.header.Get("Retry-After"))
	w.send(nobody, http.MethodPost, "/v1/session", map[string]any{"login": "registrar", "password": "x"}).problem(503, "database_unavailable")
}

// wire lies between a program and its database, and can be cut.
type wire struct {
	listener net.Listener
	lock     sync.Mutex
	open     []net.Conn
}

// newWire lays a wire to the database at an address, and changes the address to the wire's end.
func newWire(t *testing.T, address *string) *wire {
	t.Helper()
	u, err := url.Parse(*address)
	require.NoError(t, err)
	far := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	u.Host = listener.Addr().String()
	*address = u.String()
	w := &wire{listener: listener}
	t.Cleanup(w.cut)
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", far)
			if err != nil {
				_ = near.Close()
				continue
			}
			w.lock.Lock()
			w.open = append(w.open, near, there)
			w.lock.Unlock()
			go func() { _, _ = io.Copy(there, near) }()
			go func() { _, _ = io.Copy(near, there) }()
		}
	}()
	return w
}

func (w *wire) cut() {
	_ = w.listener.Close()
	w.lock.Lock()
	defer w.lock.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
}

func TestTheMetricsCountByRouteAndKnowNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	id := uuid.NewString()
	w.send(w.Coordinator, http.MethodGet, "/v1/cases/"+id, nil).problem(404, "case_not_found")
	w.send(w.Coordinator, http.MethodGet, "/v1/donors?number=322600000001", nil).is(200)
	w.send(w.Coordinator, http.MethodGet, "/v1/张样安", nil).problem(404, "route_not_found")
	w.send(w.Coordinator, "CALL13800138000", "/v1/cases", nil).problem(405, "method_not_allowed")
	drive, _ := w.drive("秋季采样")
	w.volunteers(drive.ID, 3)
	text := string(w.send(nobody, http.MethodGet, "/metrics", nil).is(200).body)
	for _, private := range []string{id, "322600000001", "张样安", "%E5%BC", "13800138000", w.Coordinator.Staff().String()} {
		require.NotContains(t, text, private)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	served := map[string]uint64{}
	for _, m := range families["liferelay_http_request_seconds"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		served[labels["route"]+" · "+labels["method"]+" · "+labels["status"]] += m.GetHistogram().GetSampleCount()
	}
	require.EqualValues(t, 1, served["GET /v1/cases/{id} · GET · 404"])
	require.EqualValues(t, 1, served["none · GET · 404"])
	require.EqualValues(t, 1, served["none · other · 405"])
	require.EqualValues(t, 1, served["POST /v1/drives · POST · 201"])
	require.InDelta(t, w.count(`SELECT count(*) FROM outbox WHERE delivered_at IS NULL`), families["liferelay_outbox_waiting"].GetMetric()[0].GetGauge().GetValue(), 0)
	require.Positive(t, families["liferelay_outbox_waiting"].GetMetric()[0].GetGauge().GetValue())
}

func TestEveryAnswerHasTheHeadersThatKeepItSafe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, c := range []struct {
		method, path string
		personal     bool
	}{
		{http.MethodGet, "/v1/donors", true}, {http.MethodGet, "/v1/session", true}, {http.MethodGet, "/v1/cases/" + uuid.NewString(), true}, {http.MethodPost, "/v1/drives", true},
		{http.MethodGet, "/v1/nothing", true}, {http.MethodPut, "/v1/drives", true}, {http.MethodGet, "/readyz", true}, {http.MethodGet, "/metrics", true},
		{http.MethodGet, "/docs", false}, {http.MethodGet, "/openapi.json", false}, {http.MethodGet, "/docs.css", false},
	} {
		a := w.raw(w.Registrar, c.method, c.path, nil)
		require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"), c.path)
		require.Equal(t, "no-referrer", a.header.Get("Referrer-Policy"), c.path)
		require.Equal(t, "same-origin", a.header.Get("Cross-Origin-Resource-Policy"), c.path)
		require.Contains(t, a.header.Get("Content-Security-Policy"), "default-src 'none'", c.path)
		require.Contains(t, a.header.Get("Content-Security-Policy"), "frame-ancestors 'none'", c.path)
		require.NotContains(t, a.header.Get("Content-Security-Policy"), "unsafe", c.path)
		require.Contains(t, a.header.Get("Vary"), "Accept-Language", c.path)
		require.Empty(t, a.header.Get("Server"), c.path)
		if c.personal {
			require.Equal(t, "no-store", a.header.Get("Cache-Control"), "%s is kept on the way", c.path)
		}
	}
}

func TestARequestHasOneIdInItsAnswerTheLogAndTheAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.send(w.Registrar, http.MethodGet, "/v1/drives?limit=7", nil, "X-Request-Id", "my own")
	id := a.header.Get("X-Request-Id")
	require.NoError(t, uuid.Validate(id), "the caller's own word is no id of ours")
	lines := w.log.FilterMessage("served").FilterField(zap.String("request", id)).All()
	require.Len(t, lines, 1)
	require.Equal(t, "GET /v1/drives", lines[0].ContextMap()["route"])
	require.Equal(t, w.Registrar.Subject(), lines[0].ContextMap()["actor"])
	require.Equal(t, 1, w.count(`SELECT count(*) FROM audit WHERE request = $1 AND act = 'ListDrives'`, id))
	require.NotContains(t, w.logged(), "limit=7", "a query may hold what somebody searched for")
}

func TestTheLanguageIsTheCallersElseTheReaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.exec(`UPDATE staff SET locale = 'en' WHERE login = 'registrar'`)
	for accept, want := range map[string]lang.Locale{"": "en", "*": "en", "fr": "en", "zh-CN,en;q=0.5": "zh-CN", "zh-TW": "zh-CN", "en-GB": "en", "de, zh;q=0.1": "zh-CN", "nonsense;;": "en"} {
		a := w.send(w.Registrar, http.MethodGet, "/v1/cases/"+uuid.NewString(), nil, "Accept-Language", accept)
		require.Equal(t, string(want), a.header.Get("Content-Language"), accept)
		require.Equal(t, want.Say("error.case_not_found", nil), a.problem(404, "case_not_found").Detail, accept)
	}
	require.Equal(t, "zh-CN", w.send(nobody, http.MethodGet, "/v1/drives", nil).header.Get("Content-Language"))
}

// element is a piece of a page.
type element struct {
	XMLName  xml.Name
	Attr     []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

func (e element) attr(name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// all gives every element below this one, itself first.
func (e element) all() []element {
	out := []element{e}
	for _, c := range e.Children {
		out = append(out, c.all()...)
	}
	return out
}

func (e element) named(name string) []element {
	return slices.DeleteFunc(e.all(), func(e element) bool { return e.XMLName.Local != name })
}

func (e element) text() string {
	out := e.Text
	for _, c := range e.Children {
		out += " " + c.text()
	}
	return out
}

func readPage(t *testing.T, body []byte) element {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(string(body)))
	decoder.Strict, decoder.AutoClose, decoder.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var page element
	require.NoError(t, decoder.Decode(&page))
	_, err := decoder.Token()
	for err == nil {
		_, err = decoder.Token()
	}
	require.ErrorIs(t, err, io.EOF)
	return page
}

func TestTheDocsPageShowsEveryOperationInBothLanguagesAndLoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, l := range lang.Locales() {
		a := w.send(nobody, http.MethodGet, "/docs?lang="+string(l), nil, "Accept-Language", "fr").is(200)
		require.Equal(t, "text/html; charset=utf-8", a.header.Get("Content-Type"))
		require.Equal(t, string(l), a.header.Get("Content-Language"))
		page := readPage(t, a.body)
		require.Equal(t, string(l), page.attr("lang"))
		require.Empty(t, page.named("script"))
		require.Empty(t, page.named("style"))
		seen := map[string]bool{}
		var targets []string
		for _, e := range page.all() {
			if id := e.attr("id"); id != "" {
				require.False(t, seen[id], "%s twice", id)
				require.NotContains(t, id, " ")
				seen[id] = true
			}
			require.Empty(t, e.attr("style"))
			require.Empty(t, e.attr("src"))
			for _, attribute := range e.Attr {
				require.False(t, strings.HasPrefix(attribute.Name.Local, "on"), "a handler %s", attribute.Name.Local)
			}
			if href := e.attr("href"); href != "" {
				targets = append(targets, href)
			}
		}
		for _, href := range targets {
			if anchor, ok := strings.CutPrefix(href, "#"); ok {
				require.True(t, seen[anchor], "%s leads nowhere", href)
				continue
			}
			require.True(t, strings.HasPrefix(href, "/") && !strings.HasPrefix(href, "//"), "%s is elsewhere", href)
			w.raw(nobody, http.MethodGet, href, nil).is(200)
		}
		details := page.named("details")
		require.Len(t, details, len(w.doc.operations()))
		for _, d := range details {
			require.NotContains(t, d.text(), "no value")
			require.NotContains(t, d.text(), "{{")
			for _, pre := range d.named("pre") {
				require.True(t, json.Valid([]byte(pre.text())), pre.text())
			}
		}
		text := page.text()
		for pattern, op := range w.doc.operations() {
			require.True(t, seen[op["operationId"].(string)], pattern)
			if l == lang.English {
				require.Contains(t, text, op["summary"], pattern)
			}
		}
		// What is not code is in the reader's language.
		said := ""
		for _, e := range page.all() {
			switch {
			case e.XMLName.Local == "code", e.XMLName.Local == "pre", e.XMLName.Local == "small", e.attr("class") == "type", e.attr("class") == "rules", e.attr("class") == "method", e.attr("lang") == string(other(l)):
			default:
				said += " " + e.Text
			}
		}
		chinese := func(r rune) bool { return unicode.Is(unicode.Han, r) }
		if l == lang.English {
			require.NotRegexp(t, `\p{Han}`, strings.ReplaceAll(said, "初配", ""))
		} else {
			sentences := regexp.MustCompile(`[A-Za-z]+( [A-Za-z]+){4,}`).FindAllString(said, -1)
			require.Empty(t, sentences, "English on the Chinese page")
			require.True(t, strings.ContainsFunc(said, chinese))
		}
	}
	require.Equal(t, "/docs", w.raw(nobody, http.MethodGet, "/", nil).is(302).header.Get("Location"))
}

func other(l lang.Locale) lang.Locale {
	if l == lang.English {
		return lang.Chinese
	}
	return lang.English
}
