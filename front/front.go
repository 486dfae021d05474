// Package front is what every request passes before the API or a page answers it: an id, a line in the log and a place in the
// metrics; whose browser's session it brings; and a limit to what one network address may try.
//
// It guarantees that the log and the metrics have routes and never paths, that a panic is answered and tells nobody what it
// carried, that a session's cookie is kept from scripts and other sites, and that the API and the pages count tries together.
package front

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/registry"
)

// Front is what the API and the pages of one process share.
type Front struct {
	log     *zap.Logger
	secure  bool
	proxies []netip.Prefix
	flood   *flood
	metrics *metrics
	signing chan struct{} // see Checking
}

// CollectRarely has Go collect garbage when there is four times as much of it as of what is kept, where as much is usual: a page leaves half a
// megabyte behind, little is kept beside, and one page in twenty would wait for a collection. Where GOGC is set, that holds. It is for the program that
// serves pages, and for what measures them.
func CollectRarely() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// Config is what a Front is built from.
type Config struct {
	Store *registry.Store
	Log   *zap.Logger
	// InsecureCookies lets a browser send its session over plain HTTP: for loopback only.
	InsecureCookies bool
	// TrustedProxies are the networks of proxies whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
}

// New makes a Front.
func New(c Config) *Front {
	return &Front{
		log: c.Log, secure: !c.InsecureCookies, proxies: c.TrustedProxies, flood: newFlood(), metrics: newMetrics(c.Store),
		signing: make(chan struct{}, signInsAtOnce),
	}
}

// Request is what is known of a request before anybody has looked at what it asks for. Route and Subject are for the log: the
// room that answers fills them in.
type Request struct {
	ID      string
	From    registry.From
	Said    string // Accept-Language
	Route   string // the pattern that took it, never the path: a path may hold what somebody searched for
	Subject string // who is signed in
}

type requestKey struct{}

// Of is the request that a context belongs to.
func Of(ctx context.Context) *Request {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return r
	}
	return &Request{}
}

// Observe gives every request an id, a line in the log and a place in the metrics, and has a panic answered by broken.
func (f *Front) Observe(next http.Handler, broken http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		in := &Request{ID: uuid.NewString(), Said: strings.Join(r.Header.Values("Accept-Language"), ",")}
		in.From = registry.From{Address: f.address(r), Agent: r.UserAgent(), Request: in.ID}
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, in))
		h := w.Header()
		h.Set("X-Request-Id", in.ID)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if caught := recover(); caught != nil && caught != http.ErrAbortHandler {
				// What a panic carries may be anything; its place is enough.
				f.log.Error("a request panicked", zap.String("request", in.ID), zap.String("route", in.Route), zap.ByteString("stack", debug.Stack()))
				if !seen.wrote {
					broken(seen, r)
				}
			}
			status := seen.status
			if errors.Is(r.Context().Err(), context.Canceled) {
				status = 499 // the client went away: not our error
			}
			f.metrics.served(in.Route, methodOf(r), status, time.Since(began))
			fields := []zap.Field{zap.String("request", in.ID), zap.String("method", methodOf(r)), zap.String("route", in.Route), zap.Int("status", status),
				zap.Duration("took", time.Since(began)), zap.String("actor", in.Subject)}
			switch {
			case status >= 500:
				f.log.Error("served", fields...)
			case status >= 400:
				f.log.Warn("served", fields...)
			default:
				f.log.Info("served", fields...)
			}
		}()
		next.ServeHTTP(seen, r)
	})
}

// methodOf is a request's method for logs and metrics: a method is any word that a stranger likes.
func methodOf(r *http.Request) string {
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}, r.Method) {
		return r.Method
	}
	return "other"
}

type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

// WriteHeader notes the status.
func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *statusWriter) Write(p []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(p)
}

// Flush sends what was written so far: what compresses answers looks for it here, and nowhere behind.
func (w *statusWriter) Flush() {
	w.wrote = true
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController find the writer's other powers.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Checking a password takes 64 MB for a moment, and whoever wants to may send one: only so many are checked at once, and
// the others wait their turn for a while.
const (
	signInsAtOnce  = 4
	signInPatience = 5 * time.Second
)

// Checking does what checks a password when its turn comes. When it does not come soon the error is Unavailable.
func (f *Front) Checking(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, signInPatience)
	defer cancel()
	select {
	case f.signing <- struct{}{}:
		defer func() { <-f.signing }()
		return check(ctx)
	case <-ctx.Done():
		return registry.NewError(registry.Unavailable, "busy", nil)
	}
}

// Cookie is the name of something that a browser keeps for us. All are kept from scripts and from other sites' forms. Lax
// lets the session come along when a link from elsewhere, such as the provider of single sign-on, leads here; nothing that
// changes anything is a link.
type Cookie string

// The cookies.
const (
	SessionCookie Cookie = "liferelay_session"
	HalfCookie    Cookie = "liferelay_signin" // a sign-in that waits for its code
	SignOnCookie  Cookie = "liferelay_sso"    // a browser that is away at the provider
)

// Name is what a browser knows a cookie by. With __Host- it takes the cookie over TLS only, from this host only, and gives
// it to no other.
func (f *Front) Name(name Cookie) string {
	if f.secure {
		return "__Host-" + string(name)
	}
	return string(name)
}

// Cookie makes a cookie, for a Set-Cookie header.
func (f *Front) Cookie(name Cookie, value string, expires time.Time) string {
	c := http.Cookie{Name: f.Name(name), Value: value, Path: "/", Expires: expires, HttpOnly: true, Secure: f.secure, SameSite: http.SameSiteLaxMode}
	if name == HalfCookie {
		c.SameSite = http.SameSiteStrictMode // only our own page sends a code
	}
	return c.String()
}

// Gone takes a cookie back.
func (f *Front) Gone(name Cookie) string { return f.Cookie(name, "", time.Unix(1, 0)) }

// Kept are the cookies that a browser keeps of a session, or of half of one.
func (f *Front) Kept(s registry.Session) []string {
	if s.Next == registry.NextCode {
		return []string{f.Cookie(HalfCookie, s.Token, s.Expires)}
	}
	return []string{f.Cookie(SessionCookie, s.Token, s.Expires)}
}

// In finds a cookie in a Cookie header.
func (f *Front) In(header string, name Cookie) string {
	cookies, err := http.ParseCookie(header)
	if err != nil {
		return ""
	}
	for _, c := range cookies {
		if c.Name == f.Name(name) {
			return c.Value
		}
	}
	return ""
}

// SessionIn is the session that a request's browser keeps.
func (f *Front) SessionIn(r *http.Request) string {
	if c, err := r.Cookie(f.Name(SessionCookie)); err == nil {
		return c.Value
	}
	return ""
}

// LocalPath is a page of this host. What might lead elsewhere is the first page.
func LocalPath(asked string) string {
	u, err := url.Parse(asked)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(asked, "/") || strings.HasPrefix(asked, "//") || strings.ContainsAny(asked, "\\\r\n\t") {
		return "/"
	}
	return asked
}

// Statuses are the HTTP status of each kind of error, in one place.
var Statuses = map[registry.Kind]int{
	registry.NotFound: http.StatusNotFound, registry.Denied: http.StatusForbidden, registry.Unsigned: http.StatusUnauthorized,
	registry.Invalid: http.StatusUnprocessableEntity, registry.Refused: http.StatusConflict, registry.Stale: http.StatusPreconditionFailed,
	registry.Conflict: http.StatusConflict, registry.Locked: http.StatusTooManyRequests, registry.Unavailable: http.StatusServiceUnavailable,
}
