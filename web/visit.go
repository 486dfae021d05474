package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/a-h/templ"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
)

// Visit is one request of somebody's browser: who it is, what language they read, what they sent. It is the request's context.
type Visit struct {
	context.Context
	Actor  registry.Actor // zero when nobody is signed in
	Caller registry.Caller
	Locale lang.Locale

	site    *Site
	route   route
	w       http.ResponseWriter
	r       *http.Request
	form    url.Values // of an act
	key     string     // of the form that was sent
	roles   registry.Abilities
	refused bool // a form that was sent is shown again
}

// What a page keeps in the browser beside the session: neither tells anything of anybody.
const (
	languageCookie front.Cookie = "liferelay_lang"
	purposeCookie  front.Cookie = "liferelay_purpose"
)

func (s *Site) visit(r route, w http.ResponseWriter, q *http.Request) *Visit {
	v := &Visit{Context: q.Context(), site: s, route: r, w: w, r: q, form: url.Values{}}
	v.Locale = lang.Pick(front.Of(q.Context()).Said)
	if kept, ok := lang.Asked(s.kept(q, languageCookie)); ok {
		v.Locale = kept
	}
	return v
}

func (s *Site) kept(r *http.Request, name front.Cookie) string {
	if c, err := r.Cookie(s.front.Name(name)); err == nil {
		return c.Value
	}
	return ""
}

// recognise finds out who is there. The error is Unsigned for somebody who is not signed in.
func (v *Visit) recognise() error {
	token := v.site.front.SessionIn(v.r)
	if token == "" {
		return registry.NewError(registry.Unsigned, "not_signed_in", nil)
	}
	caller, err := v.site.store.Authenticate(v, token)
	if err != nil {
		return err
	}
	v.is(caller)
	return nil
}

// recall takes who is there to be whom the same browser's session belonged to a moment ago, until an act has found it out. Nothing is written before.
func (v *Visit) recall() bool {
	caller, ok := v.site.store.Known(v.site.front.SessionIn(v.r))
	if !ok || caller.Next != "" {
		return false
	}
	v.is(caller)
	v.w = unwritten{v.w}
	return true
}

// unwritten is the answer to somebody who is not known for certain: nothing can be written to it.
type unwritten struct{ http.ResponseWriter }

func (unwritten) WriteHeader(int)           { panic("web: an answer to nobody knows whom") }
func (unwritten) Write([]byte) (int, error) { panic("web: an answer to nobody knows whom") }

// is sets who is there.
func (v *Visit) is(caller registry.Caller) {
	in := front.Of(v)
	in.Subject = caller.Subject()
	if caller.Locale != "" {
		v.Locale = caller.Locale
	}
	caller.Request, caller.Address, caller.Locale = in.ID, in.From.Address, v.Locale
	if purpose := policy.Purpose(v.site.kept(v.r, purposeCookie)); slices.Contains(policy.Purposes(), purpose) {
		caller.Purpose = purpose
	}
	v.Caller, v.Actor = caller, caller.Actor
}

// Signed tells whether somebody is signed in.
func (v *Visit) Signed() bool { return v.Actor.Subject() != "" }

// May tells whether the reader may do something at all, somewhere: for what a page offers. What an act allows is its own affair.
func (v *Visit) May(action policy.Action, class policy.Class) bool {
	return v.abilities().May(action, class)
}

// MayFor tells the same of one purpose, where acts for different purposes ask for the same of one class.
func (v *Visit) MayFor(action policy.Action, class policy.Class, purpose policy.Purpose) bool {
	return v.abilities().MayFor(action, class, purpose)
}

// Is tells whether the reader has one of these roles.
func (v *Visit) Is(roles ...policy.Role) bool { return v.abilities().Is(roles...) }

func (v *Visit) abilities() registry.Abilities {
	if v.Signed() && len(v.roles.Held()) == 0 {
		roles, err := v.site.store.Abilities(v, v.Actor)
		if err != nil {
			v.site.log.Warn("somebody's roles could not be read for their menu", zap.Error(err))
		}
		v.roles = roles
	}
	return v.roles
}

// Say says a sentence in the reader's language. args are pairs of a parameter's name and its value.
func (v *Visit) Say(id string, args ...any) string {
	var told map[string]any
	if len(args) > 0 {
		told = make(map[string]any, len(args)/2)
		for i := 0; i+1 < len(args); i += 2 {
			told[args[i].(string)] = args[i+1]
		}
	}
	return v.Locale.Say(id, told)
}

// Word is a code in words: Word("Status", "open"). A code without a word is itself.
func (v *Visit) Word(set string, code any) string {
	text := fmt.Sprint(code)
	if text == "" {
		return ""
	}
	for _, id := range []string{"code." + set + "." + text, "word." + strings.ToLower(set) + "." + text} {
		if lang.Has(id) {
			return v.Say(id)
		}
	}
	return text
}

// ID reads a record's id from the path. The error is that of a page that is not there.
func (v *Visit) ID(name string) (uuid.UUID, error) {
	id, err := uuid.Parse(v.r.PathValue(name))
	if err != nil {
		return uuid.Nil, &registry.Error{Kind: registry.NotFound, Code: "page_not_found"}
	}
	return id, nil
}

// Path reads a part of the path.
func (v *Visit) Path(name string) string { return v.r.PathValue(name) }

// Query reads a parameter of the address.
func (v *Visit) Query(name string) string { return v.r.URL.Query().Get(name) }

// Queries reads all values of a parameter of the address.
func (v *Visit) Queries(name string) []string { return v.r.URL.Query()[name] }

// QueryInt reads a whole number of the address, 0 when there is none.
func (v *Visit) QueryInt(name string) int {
	n, _ := strconv.Atoi(v.Query(name))
	return n
}

// QueryID reads a record's id from the address, zero when there is none.
func (v *Visit) QueryID(name string) uuid.UUID {
	id, _ := uuid.Parse(v.Query(name))
	return id
}

// Field reads what was sent in a field of the form.
func (v *Visit) Field(name string) string { return v.form.Get(name) }

// Fields reads all values of a field of the form.
func (v *Visit) Fields(name string) []string { return v.form[name] }

// FieldInt reads a whole number of the form, 0 when there is none.
func (v *Visit) FieldInt(name string) int64 {
	n, _ := strconv.ParseInt(v.Field(name), 10, 64)
	return n
}

// FieldID reads a record's id from the form, zero when there is none.
func (v *Visit) FieldID(name string) uuid.UUID {
	id, _ := uuid.Parse(v.Field(name))
	return id
}

// Key is the key of the form that was sent: what makes a command that is repeated the same command.
func (v *Visit) Key() string { return v.key }

// Upload reads a file of the form, nil when there is none. The caller closes it.
func (v *Visit) Upload(name string) (file io.ReadCloser, called string, err error) {
	f, header, err := v.r.FormFile(name)
	if errors.Is(err, http.ErrMissingFile) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", unreadable(err)
	}
	return f, header.Filename, nil
}

// Partial tells whether htmx asked for a part of a page.
func (v *Visit) Partial() bool { return v.r.Header.Get("Hx-Request") == "true" }

// Here is the address of the page, with some parameters of the query changed: pairs of name and value, an empty value takes the
// parameter away. Links that filter and sort are made of it.
func (v *Visit) Here(changes ...string) string {
	q := v.r.URL.Query()
	q.Del("said")
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i+1] == "" {
			q.Del(changes[i])
		} else {
			q.Set(changes[i], changes[i+1])
		}
	}
	if len(q) == 0 {
		return v.r.URL.Path
	}
	return v.r.URL.Path + "?" + q.Encode()
}

// URL is an address of the site as others reach it, for what leaves it.
func (v *Visit) URL(path string) string {
	if v.site.publicURL != "" {
		return v.site.publicURL + path
	}
	scheme := "https://"
	if v.r.TLS == nil && !strings.HasPrefix(v.site.front.Name(front.SessionCookie), "__Host-") {
		scheme = "http://"
	}
	return scheme + v.r.Host + path
}

// SetHeader sets a header of the answer.
func (v *Visit) SetHeader(name, value string) { v.w.Header().Set(name, value) }

// Answer is what a handler answers with: v.Page, v.Part, v.To or v.File.
type Answer interface{ send(*Visit) }

type wholePage struct {
	title  string
	args   []any
	body   templ.Component
	bare   bool
	status int
}

// Page is a whole page in the shell, under a title "page.…". An act that answers with a page has refused a form, and shows it again.
func (v *Visit) Page(title string, body templ.Component, args ...any) Answer {
	return wholePage{title: title, body: body, args: args}
}

// Bare is a page without menu and search, for people whom nobody knows and for printing.
func (v *Visit) Bare(title string, body templ.Component, args ...any) Answer {
	return wholePage{title: title, body: body, args: args, bare: true}
}

func (p wholePage) send(v *Visit) {
	if v.Partial() && !slices.Contains([]string{"", "full"}, v.r.Header.Get("Hx-Request-Type")) {
		part{p.body}.send(v)
		return
	}
	status := p.status
	if status == 0 {
		status = v.status()
	}
	v.write(status, shell(v, v.Say(p.title, p.args...), p.bare, p.body))
}

// status is that of what is shown: a form that is shown again after it was sent was refused.
func (v *Visit) status() int {
	if v.refused {
		return http.StatusUnprocessableEntity
	}
	return http.StatusOK
}

type part struct{ body templ.Component }

// Part is a part of a page, for htmx.
func (v *Visit) Part(body templ.Component) Answer { return part{body} }

func (p part) send(v *Visit) { v.write(v.status(), p.body) }

type onward struct{ path string }

// To leads on to a page of ours, which shows the sentence said ("said.…"; none when empty).
func (v *Visit) To(path, said string) Answer {
	if said != "" {
		u, err := url.Parse(path)
		if err == nil {
			q := u.Query()
			q.Set("said", strings.TrimPrefix(said, "said."))
			u.RawQuery = q.Encode()
			path = u.String()
		}
	}
	return onward{path}
}

func (o onward) send(v *Visit) { v.redirect(o.path, http.StatusSeeOther) }

func (v *Visit) redirect(path string, status int) {
	if v.Partial() {
		v.w.Header().Set("HX-Redirect", path)
		v.w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(v.w, v.r, path, status)
}

type file struct {
	name, kind string
	inline     bool
	write      func(io.Writer) error
}

// File is a download. What goes wrong while it is written ends it: whoever can fail first makes it ready before.
func (v *Visit) File(name, kind string, write func(io.Writer) error) Answer {
	return file{name: name, kind: kind, write: write}
}

// Shown is a file that a browser shows itself, such as a PDF.
func (v *Visit) Shown(name, kind string, write func(io.Writer) error) Answer {
	return file{name: name, kind: kind, write: write, inline: true}
}

func (f file) send(v *Visit) {
	how := "attachment"
	if f.inline {
		how = "inline"
	}
	v.w.Header().Set("Content-Type", f.kind)
	v.w.Header().Set("Content-Disposition", mime.FormatMediaType(how, map[string]string{"filename": f.name}))
	if err := f.write(v.w); err != nil {
		v.site.log.Warn("a file could not be sent", zap.String("route", v.route.pattern), zap.Error(err))
		panic(http.ErrAbortHandler) // a browser must not take half of it for the whole
	}
}

func (v *Visit) answer(a Answer, err error) {
	if err != nil {
		v.fail(err)
		return
	}
	a.send(v)
}

// buffers are what pages are written into: a page is whole before its first byte leaves.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (v *Visit) write(status int, body templ.Component) {
	out := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(out)
	out.Reset()
	if err := body.Render(v, out); err != nil {
		v.site.log.Error("a page could not be rendered", zap.String("route", v.route.pattern), zap.Error(err))
		http.Error(v.w, v.Say("error.internal"), http.StatusInternalServerError)
		return
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", string(v.Locale))
	h.Set("Vary", "Cookie, Accept-Language, HX-Request")
	v.w.WriteHeader(status)
	if v.r.Method != http.MethodHead {
		_, _ = out.WriteTo(v.w)
	}
}

// fail shows what went wrong: a page, or a box where htmx asked for a part. What is inside an error that nobody named is for the log.
func (v *Visit) fail(err error) {
	w := wrong{status: http.StatusInternalServerError, code: "internal"}
	var known *registry.Error
	if errors.As(err, &known) {
		if status, ok := front.Statuses[known.Kind]; ok {
			w.status, w.code, w.args, w.wait = status, known.Code, known.Args, known.RetryAfter
			w.problems = registry.ProblemTexts(known.Problems, v.Locale)
		}
	} else {
		v.site.log.Error("a page failed", zap.String("request", front.Of(v).ID), zap.String("route", v.route.pattern), zap.Error(err))
	}
	if w.status == http.StatusUnauthorized && !v.route.public {
		v.redirect("/signin?return_to="+url.QueryEscape(v.wanted()), http.StatusSeeOther)
		return
	}
	if w.wait > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(w.wait.Seconds()))))
	}
	w.says = v.Say("error.internal")
	if id := "error." + w.code; lang.Has(id) {
		w.says = v.Locale.Say(id, w.args)
	}
	w.request = front.Of(v).ID
	if v.Partial() {
		v.write(w.status, problemBox(v, w))
		return
	}
	v.write(w.status, shell(v, v.Say("status."+strconv.Itoa(w.status)), !v.Signed(), problemPage(v, w)))
}

// wrong is an error in words.
type wrong struct {
	status   int
	code     string
	args     map[string]any
	says     string
	problems []registry.ProblemText
	wait     time.Duration
	request  string
}

// wanted is the page that somebody wanted who has to sign in first.
func (v *Visit) wanted() string {
	if v.r.Method == http.MethodGet && !v.Partial() {
		return v.r.URL.RequestURI()
	}
	return "/"
}

// argsOf are the limits and codes that an error's sentence mentions.
func argsOf(err error) map[string]any {
	var known *registry.Error
	if errors.As(err, &known) {
		return known.Args
	}
	return nil
}
