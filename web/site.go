package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/signon"
	"github.com/liferelay/liferelay/workflows"
)

// Site serves the pages.
type Site struct {
	store     *registry.Store
	cases     *workflows.Client
	front     *front.Front
	log       *zap.Logger
	version   string
	signOn    bool
	publicURL string
	scopes    []string
	mux       *http.ServeMux
	known     map[string]route // by the pattern that the router knows it by
	live      *live
}

// Config is what a Site is built from.
type Config struct {
	Store   *registry.Store
	Cases   *workflows.Client
	Front   *front.Front
	Log     *zap.Logger
	Version string // of the program, for the page about it
	SignOn  *signon.Provider
	// PublicURL is where people reach the site, https://host, for links that leave it: QR codes and notices.
	PublicURL string
	// Scopes are what tokens of programs can be limited to, which the API knows.
	Scopes []string
}

// New builds the pages.
func New(c Config) *Site {
	s := &Site{
		store: c.Store, cases: c.Cases, front: c.Front, log: c.Log, version: c.Version, signOn: c.SignOn != nil, publicURL: strings.TrimSuffix(c.PublicURL, "/"),
		scopes: c.Scopes,
		mux:    http.NewServeMux(), known: map[string]route{}, live: newLive(),
	}
	s.routes()
	return s
}

// routes lists what can be looked at and done, by what people do.
func (s *Site) routes() {
	s.signInPages()
	s.homePages()
	s.donorPages()
	s.duplicatePages()
	s.searchPages()
	s.dashboardPages()
	s.worklistPages()
	s.handoverPages()
	s.casePages()
	s.stepPages()
	s.drivePages()
	s.importPages()
	s.paperPages()
	s.ownFormPages()
	s.noticePages()
	s.outsidePages()
	s.organisationPages()
	s.staffPages()
	s.calendarPages()
	s.rulePages()
	s.templatePages()
	s.healthPages()
	s.accountPages()
	s.printPages()
	s.auditPages()
	s.reviewPages()
	s.exportPages()
	s.rightsPages()
	s.policyPages()
}

// Keep follows what moves in the register, for the pages that show it as it happens, until ctx ends.
func (s *Site) Keep(ctx context.Context) { s.live.keep(ctx, s.store, s.log) }

// Patterns lists the routes of the pages, for a mux that has others beside them.
func (s *Site) Patterns() []string { return slices.Sorted(maps.Keys(s.known)) }

// route is one page or act.
type route struct {
	pattern string
	do      func(*Visit) (Answer, error)
	public  bool     // needs nobody signed in
	during  []string // what a session may still have to do that does this, see registry.NextPassword
	guarded bool     // is throttled by network address: somebody may be guessing
	upload  int64    // how many bytes it may bring; a form's worth when zero
	inAct   bool     // see inAct
	asks    bool     // changes nothing, and comes from a form that is still being filled in
}

// option says what is particular about a route.
type option func(*route)

// inAct is a page that is opened by one act, which finds out on its own way to the database who is there: it saves a page that people have before them all day
// a third of its trips. It does nothing but what its acts do: where the first finds somebody else, it has done nothing, and the page is opened anew.
func inAct(r *route) { r.inAct = true }

// public is a page for people whom nobody knows.
func public(r *route) { r.public = true }

// guarded is an act by which somebody may be guessing.
func guarded(r *route) { r.guarded = true }

// during lets a session that still has something to do come here.
func during(next ...string) option { return func(r *route) { r.during = next } }

// uploads lets an act bring files, up to so many bytes.
func uploads(most int64) option { return func(r *route) { r.upload = most } }

// asks is an act that changes nothing: it is asked beside a form while somebody types, and brings that form's key. The key is left
// for the form itself, which may be sent, or may ask again, before the answer is there.
func asks(r *route) { r.asks = true }

// page registers what is looked at.
func (s *Site) page(pattern string, do func(*Visit) (Answer, error), options ...option) {
	s.register(route{pattern: pattern, do: do}, options)
}

// act registers what is done.
func (s *Site) act(pattern string, do func(*Visit) (Answer, error), options ...option) {
	s.register(route{pattern: pattern, do: do}, options)
}

func (s *Site) register(r route, options []option) {
	for _, o := range options {
		o(&r)
	}
	s.known[r.pattern] = r
	s.mux.HandleFunc(r.pattern, func(w http.ResponseWriter, q *http.Request) { s.serve(r, w, q) })
}

const (
	formBytes = 1 << 20
	// The contents of a page: our own files, and nothing that stands in the page itself.
	contents = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

// Handler puts the layers around the pages.
func (s *Site) Handler() http.Handler {
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.visit(route{public: true}, w, r)
		v.fail(registry.NewError(registry.Denied, "cross_origin", nil))
	}))
	// A page is compressed each time it is asked for: level 1 costs a third of what the usual one does, and a page is a tenth larger.
	squeeze, err := gzhttp.NewWrapper(gzhttp.MinSize(1400), gzhttp.CompressionLevel(1), gzhttp.ContentTypes([]string{"text/html", "text/css", "text/javascript", "image/svg+xml", "text/csv"}))
	if err != nil {
		panic(err) // the options are constants
	}
	s.assets()
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := s.mux.Handler(r); pattern == "" {
			v := s.visit(route{public: true}, w, r)
			_ = v.recognise() // a stranger is told the same, without the menu
			v.fail(&registry.Error{Kind: registry.NotFound, Code: "page_not_found"})
			return
		}
		s.mux.ServeHTTP(w, r)
	})
	h = origin.Handler(h)
	h = squeeze(h)
	return s.front.Observe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", contents)
		h.ServeHTTP(w, r)
	}), func(w http.ResponseWriter, r *http.Request) {
		v := s.visit(route{public: true}, w, r)
		v.fail(errors.New("panic"))
	})
}

// serve carries a request to its page or act.
func (s *Site) serve(r route, w http.ResponseWriter, q *http.Request) {
	front.Of(q.Context()).Route = r.pattern
	v := s.visit(r, w, q)
	if token := q.URL.Path + q.URL.RawQuery; registry.HasToken(token) {
		v.fail(registry.NewError(registry.Denied, "token_in_address", nil))
		return
	}
	if r.guarded {
		if wait := s.front.Wait(front.Of(q.Context()).From.Address); wait > 0 {
			v.fail(&registry.Error{Kind: registry.Locked, Code: "address_throttled", RetryAfter: wait})
			return
		}
	}
	if r.inAct && v.recall() {
		if answer, err := r.do(v); v.Caller.Proven() {
			v.w = w
			v.answer(answer, err)
			return
		}
		front.Of(q.Context()).Subject = ""
		v = s.visit(r, w, q)
	}
	if err := v.recognise(); err != nil && !r.public {
		v.fail(err)
		return
	}
	if !r.public {
		if v.Caller.Kind != registry.BrowserSession {
			v.fail(registry.NewError(registry.Unsigned, "not_signed_in", nil))
			return
		}
		if v.Caller.Next != "" && !slices.Contains(r.during, v.Caller.Next) {
			v.redirect(nextPages[v.Caller.Next], http.StatusSeeOther)
			return
		}
	}
	if q.Method == http.MethodPost {
		s.do(r, v)
		return
	}
	answer, err := r.do(v)
	v.answer(answer, err)
}

// do carries out an act once for its form's key: whoever sends the form again gets the first answer.
func (s *Site) do(r route, v *Visit) {
	most := int64(formBytes)
	if r.upload > 0 {
		most = r.upload
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, most)
	kind, _, _ := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	var sum [sha256.Size]byte
	switch {
	case kind == "multipart/form-data" && r.upload > 0:
		// A file is known by what is in it: who sends it again is led to what it became.
		if err := v.r.ParseMultipartForm(4 << 20); err != nil {
			v.fail(unreadable(err))
			return
		}
		defer func() { _ = v.r.MultipartForm.RemoveAll() }()
		v.form = v.r.MultipartForm.Value
		v.key = v.Field(keyField)
	case kind == "application/x-www-form-urlencoded":
		body, err := io.ReadAll(v.r.Body)
		if err == nil {
			v.r.Body = io.NopCloser(bytes.NewReader(body))
			err = v.r.ParseForm()
		}
		if err != nil {
			v.fail(unreadable(err))
			return
		}
		v.form = v.r.PostForm
		v.key = v.Field(keyField)
		sum = sha256.Sum256(append([]byte(v.r.URL.RequestURI()+"\x00"), body...))
	default:
		v.fail(unreadable(nil))
		return
	}
	if v.key == "" || len(v.key) > 100 {
		v.fail(registry.NewError(registry.Refused, "form_without_key", nil))
		return
	}
	if r.asks || !v.Signed() || kind != "application/x-www-form-urlencoded" { // nobody whose answers could be kept; what a stranger's form does is idempotent by itself
		v.Actor.Command = v.key
		answer, err := r.do(v)
		v.answer(answer, err)
		return
	}
	known, err := s.store.Remember(v, v.Actor, v.key, "web "+r.pattern, sum)
	if err != nil {
		if registry.CodeOf(err) == "idempotency_key_reused" {
			err = registry.NewError(registry.Conflict, "form_sent_already", nil)
		}
		v.fail(err)
		return
	}
	if known != nil {
		for name, value := range known.Header {
			v.w.Header().Set(name, value)
		}
		v.w.WriteHeader(known.Status)
		_, _ = v.w.Write(known.Body)
		return
	}
	v.Actor.Command = v.key
	finished := false
	ctx := context.WithoutCancel(v.r.Context())
	defer func() {
		if !finished {
			_ = s.store.Forget(ctx, v.Actor, v.key)
		}
	}()
	answer, err := r.do(v)
	// Only what was done is kept: a form that was refused is mended and sent again, and what an act revealed is kept nowhere.
	if next, is := answer.(onward); is && err == nil {
		header := map[string]string{"Location": next.path}
		status := http.StatusSeeOther
		if v.Partial() {
			header, status = map[string]string{"Hx-Redirect": next.path}, http.StatusNoContent
		}
		if kept := s.store.Answered(ctx, v.Actor, v.key, registry.Remembered{Status: status, Header: header}); kept == nil {
			finished = true
		}
	}
	v.answer(answer, err)
}

func unreadable(err error) error {
	var larger *http.MaxBytesError
	if errors.As(err, &larger) {
		return &registry.Error{Kind: registry.Refused, Code: "too_large"}
	}
	return &registry.Error{Kind: registry.Refused, Code: "request_invalid"}
}

//go:embed assets
var assetFiles embed.FS

// assetNames are the addresses of the files that pages need, each with a digest of the file in it: what a browser has kept under it
// never changes.
var assetNames = func() map[string]string {
	out := map[string]string{}
	err := fs.WalkDir(assetFiles, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := assetFiles.ReadFile(name)
		sum := sha256.Sum256(data)
		short := strings.TrimPrefix(name, "assets/")
		out[short] = "/assets/" + hex.EncodeToString(sum[:6]) + "/" + short
		return err
	})
	if err != nil {
		panic(err) // they are in the binary
	}
	return out
}()

// asset is the address of a file.
func asset(name string) string {
	address, ok := assetNames[name]
	if !ok {
		panic("web: no asset " + name)
	}
	return address
}

var assetTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".woff2": "font/woff2", ".webmanifest": "application/manifest+json"}

func (s *Site) assets() {
	for name, address := range assetNames {
		data, _ := assetFiles.ReadFile("assets/" + name)
		kind := assetTypes[path.Ext(name)]
		r := route{pattern: "GET " + address, public: true}
		s.mux.HandleFunc(r.pattern, func(w http.ResponseWriter, q *http.Request) {
			front.Of(q.Context()).Route = "GET /assets"
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
		})
	}
}

// entry is a line of the menu: it is there for who may do something on its page.
type entry struct {
	path, says string
	key        string // of the keyboard, after g
	action     policy.Action
	class      policy.Class
	purpose    policy.Purpose // for which the page's acts are; empty for any
}

// menu is the whole menu, in its groups.
var menu = []struct {
	says    string
	entries []entry
}{
	{"nav.work", []entry{
		{"/work", "nav.worklist", "w", policy.Decide, policy.Case, ""},
		{"/cases", "nav.cases", "c", policy.Read, policy.Case, ""},
		{"/donors", "nav.donors", "d", policy.Read, policy.Registration, ""},
		{"/duplicates", "nav.duplicates", "", policy.Write, policy.Identity, ""},
		{"/rights", "nav.rights", "", policy.Read, policy.Rights, ""},
	}},
	{"nav.intake", []entry{
		{"/drives", "nav.drives", "r", policy.Read, policy.Drive, ""},
	}},
	{"nav.matching", []entry{
		{"/patients", "nav.patients", "p", policy.Read, policy.Patient, ""},
		{"/searches", "nav.searches", "s", policy.Read, policy.Search, ""},
	}},
	{"nav.overview", []entry{
		{"/dashboard", "nav.dashboard", "b", policy.Read, policy.Case, ""},
		{"/notices", "nav.notices", "n", policy.Read, policy.Notice, ""},
	}},
	{"nav.oversight", []entry{
		{"/audit", "nav.audit", "a", policy.Read, policy.Audit, ""},
		{"/reviews", "nav.reviews", "", policy.Read, policy.Review, ""},
		{"/undos", "nav.undos", "", policy.Decide, policy.Review, policy.ForCase},
		{"/messages", "nav.held_messages", "", policy.Decide, policy.Review, policy.ForCase},
		{"/exports", "nav.exports", "", policy.Export, policy.Registration, ""},
		{"/policy", "nav.policy", "", policy.Read, policy.Granting, ""},
	}},
	{"nav.administration", []entry{
		{"/admin/organisations", "nav.organisations", "", policy.Write, policy.Organisation, ""},
		{"/admin/staff", "nav.staff", "", policy.Read, policy.Staff, ""},
		{"/admin/calendar", "nav.calendar", "", policy.Write, policy.Organisation, ""},
		{"/admin/rules", "nav.rules", "", policy.Write, policy.Organisation, ""},
		{"/admin/templates", "nav.templates", "", policy.Write, policy.Organisation, ""},
		{"/admin/webhooks", "nav.webhooks", "", policy.Write, policy.Organisation, ""},
		{"/admin/deliveries", "nav.deliveries", "", policy.Write, policy.Staff, ""},
		{"/admin/health", "nav.health", "", policy.Write, policy.Organisation, ""},
	}},
}

// locales are what a reader chooses from.
func locales() []lang.Locale { return lang.Locales() }
