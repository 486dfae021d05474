package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
)

// request is what the layers around a handler know of a request.
type request struct {
	*front.Request
	op    operation
	actor registry.Actor  // zero when nobody is signed in
	call  registry.Caller // the actor, with what their token is good for
	key   string          // Idempotency-Key
	token string
	log   *zap.Logger
	// header is that of the answer, see emergency.
	header http.Header
}

// emergency says with an answer until when emergency access of the caller's runs, for the banner on every page.
func (r *request) emergency(until time.Time) {
	switch {
	case r.header == nil:
	case until.IsZero():
		r.header.Del(emergencyHeader)
	default:
		r.header.Set(emergencyHeader, until.UTC().Format(time.RFC3339))
	}
}

const emergencyHeader = "X-Emergency-Until"

type requestKey struct{}

func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{Request: &front.Request{}, log: zap.NewNop()}
}

// locale is the language of the answer: the one that the caller's program asks for, else the one that the person reads. A
// program that asks for anything, or for a language that nobody here speaks, has not asked.
func (r *request) locale() lang.Locale {
	if l, ok := lang.Asked(r.Said); ok {
		return l
	}
	if r.actor.Locale != "" {
		return r.actor.Locale
	}
	return lang.Chinese
}

const longestKey = 200 // of an Idempotency-Key, in bytes

// callerOf is who calls, with the token they call with.
func callerOf(ctx context.Context) registry.Caller {
	in := requestOf(ctx)
	out := in.call
	out.Actor = in.actor
	return out
}

// wrap puts the layers around the routes, the outermost first.
func (a *API) wrap(mux *http.ServeMux) http.Handler {
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, problemOf(errCrossOrigin, requestOf(r.Context()).locale()))
	}))
	var h http.Handler = mux
	h = a.idempotent(h)
	h = a.typed(h)
	h = a.throttle(h)
	h = a.authenticate(h)
	h = a.tokenless(h)
	h = origin.Handler(h)
	h = a.unmatched(mux, h)
	return a.front.Observe(a.enter(h), a.broken)
}

// enter begins the API's own view of a request.
func (a *API) enter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := &request{Request: front.Of(r.Context()), key: r.Header.Get("Idempotency-Key"), log: a.log}
		if asked := r.URL.Query().Get("lang"); asked != "" && !strings.HasPrefix(r.URL.Path, "/v1/") {
			in.Said = asked // a link between the languages of a page
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("Vary", "Accept-Language")
		h.Set("Content-Language", string(in.locale()))
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, in)))
	})
}

// broken answers a request whose handler panicked.
func (a *API) broken(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, problemOf(errors.New("panic"), lang.Pick(front.Of(r.Context()).Said)))
}

// methods are those that an address may take, in the order in which Allow tells them.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// unmatched answers what no route takes with a problem, and notes the route of what one does.
func (a *API) unmatched(mux *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := requestOf(r.Context())
		_, pattern := mux.Handler(r)
		if pattern == "" {
			err := errNoRoute
			for _, method := range methods {
				other := r.Clone(r.Context())
				other.Method = method
				if _, found := mux.Handler(other); found != "" {
					err = errMethod
					w.Header().Add("Allow", method)
				}
			}
			writeProblem(w, problemOf(err, in.locale()))
			return
		}
		in.Route, in.op = pattern, a.known[pattern]
		next.ServeHTTP(w, r)
	})
}

// tokenless refuses a token in an address: addresses are kept by browsers, proxies and logs.
func (a *API) tokenless(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := requestOf(r.Context())
		if !in.op.lenient { // what a provider puts there is its own
			if query, err := url.QueryUnescape(r.URL.RawQuery); registry.HasToken(r.URL.Path) || registry.HasToken(query) || err != nil && registry.HasToken(r.URL.RawQuery) {
				writeProblem(w, problemOf(errTokenInAddress, in.locale()))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// throttle holds back a network address that guesses.
func (a *API) throttle(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := requestOf(r.Context())
		if in.op.guarded {
			if wait := a.front.Wait(in.From.Address); wait > 0 {
				writeProblem(w, problemOf(&registry.Error{Kind: registry.Locked, Code: "address_throttled", RetryAfter: wait}, in.locale()))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// authenticate recognises the caller by a bearer token or a browser's session, and lets nobody by whom it does not
// recognise. Who brings a token that is not good is told so, and not taken for a stranger. What is public is the same for
// everybody, and there nobody is asked: a probe lives without the database, and an old token hinders nobody from signing
// in.
func (a *API) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := requestOf(r.Context())
		if in.op.public {
			next.ServeHTTP(w, r)
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		bearer := strings.EqualFold(scheme, "Bearer")
		if !bearer {
			token = a.front.SessionIn(r)
		}
		if token != "" {
			caller, err := a.store.Authenticate(r.Context(), token)
			switch {
			case err == nil:
				in.actor, in.call, in.token, in.header = caller.Actor, caller, token, w.Header()
				in.emergency(caller.Emergency)
				in.Subject, in.actor.Request = caller.Subject(), in.ID
				if in.op.keyed {
					in.actor.Command = in.key
				}
				in.actor.Locale = in.locale()
				w.Header().Set("Content-Language", string(in.actor.Locale))
				if purpose := policy.Purpose(r.Header.Get("X-Purpose-Of-Use")); purpose != "" {
					if !slices.Contains(policy.Purposes(), purpose) {
						writeProblem(w, problemOf(errPurpose, in.locale()))
						return
					}
					in.actor.Purpose = purpose
				}
			case registry.KindOf(err) != registry.Unsigned, bearer:
				writeProblem(w, problemOf(err, in.locale()))
				return
			}
		}
		if in.actor.Subject() == "" {
			writeProblem(w, problemOf(registry.NewError(registry.Unsigned, "not_signed_in", nil), in.locale()))
			return
		}
		if err := in.op.admits(in.call); err != nil {
			writeProblem(w, problemOf(err, in.locale()))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// typed refuses a body of another kind than the operation reads. A body that does not say what it is counts as the
// operation's own.
func (a *API) typed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := requestOf(r.Context())
		if said := r.Header.Get("Content-Type"); said != "" && len(in.op.takes) > 0 && r.ContentLength != 0 {
			kind, _, err := mime.ParseMediaType(said)
			if err != nil || !slices.Contains(in.op.takes, kind) {
				w.Header().Set("Accept", strings.Join(in.op.takes, ", "))
				writeProblem(w, problemOf(mediaType(in.op), in.locale()))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// idempotent gives a request that was sent before the answer that it got then. Only operations that ask for a key are
// remembered: what reveals personal text is decided and audited each time, and a fresh session's token is kept nowhere.
func (a *API) idempotent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := requestOf(r.Context())
		if in.key == "" || !in.op.keyed {
			next.ServeHTTP(w, r)
			return
		}
		if len(in.key) > longestKey {
			writeProblem(w, problemOf(errKeyRequired, in.locale()))
			return
		}
		most := a.limits.body
		if !slices.Equal(in.op.takes, jsonBody) {
			most = a.limits.upload
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
		var larger *http.MaxBytesError
		switch {
		case errors.As(err, &larger):
			writeProblem(w, problemOf(errTooLarge, in.locale()))
			return
		case err != nil: // it broke off on the way
			writeProblem(w, problemOf(errUnreadable, in.locale()))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		// The path and the entity tag are part of what was asked.
		sum := sha256.Sum256(slices.Concat([]byte(r.URL.RequestURI()+"\x00"+r.Header.Get("If-Match")+"\x00"), body))
		known, err := a.store.Remember(r.Context(), in.actor, in.key, in.Route, sum)
		if err != nil {
			writeProblem(w, problemOf(err, in.locale()))
			return
		}
		if known != nil {
			for name, value := range known.Header {
				w.Header().Set(name, value)
			}
			w.Header().Set("Idempotency-Replayed", "true")
			w.WriteHeader(known.Status)
			_, _ = w.Write(known.Body)
			return
		}
		a.answerOnce(w, r, next)
	})
}

// The headers of an answer that a repeated one has too.
var rememberedHeaders = []string{"Content-Type", "Etag", "Location", "Retry-After", "Content-Language"}

func (a *API) answerOnce(w http.ResponseWriter, r *http.Request, next http.Handler) {
	in := requestOf(r.Context())
	// What becomes of the request is kept even when the caller has gone.
	ctx := context.WithoutCancel(r.Context())
	held := &heldWriter{header: w.Header(), status: http.StatusOK}
	finished := false
	defer func() {
		if !finished { // a panic: the layer outside answers it
			_ = a.store.Forget(ctx, in.actor, in.key)
		}
	}()
	next.ServeHTTP(held, r)
	finished = true
	var err error
	if held.status >= 500 || held.status == http.StatusTooManyRequests || held.status == http.StatusUnauthorized {
		err = a.store.Forget(ctx, in.actor, in.key)
	} else {
		answer := registry.Remembered{Status: held.status, Header: map[string]string{}, Body: held.body.Bytes()}
		for _, name := range rememberedHeaders {
			if v := w.Header().Get(name); v != "" {
				answer.Header[name] = v
			}
		}
		err = a.store.Answered(ctx, in.actor, in.key, answer)
	}
	if err != nil {
		a.log.Warn("an answer could not be kept for its idempotency key", zap.String("request", in.ID), zap.Error(err))
	}
	w.WriteHeader(held.status)
	_, _ = held.body.WriteTo(w)
}

// heldWriter holds an answer until it is kept.
type heldWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *heldWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *heldWriter) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *heldWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
