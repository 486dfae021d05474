package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
)

// Problem is what went wrong (RFC 9457), in the reader's language. It names fields and rules, and never repeats what was
// sent.
type Problem struct {
	Type   string                 `json:"type" doc:"Names the kind of problem, and stays the same over versions."`
	Title  string                 `json:"title"`
	Status int                    `json:"status"`
	Detail string                 `json:"detail,omitempty"`
	Code   string                 `json:"code"`
	Args   map[string]any         `json:"args,omitempty" doc:"Limits and codes that the detail mentions."`
	Errors []registry.ProblemText `json:"errors,omitempty" doc:"What is wrong with which field, and how to mend it."`

	retryAfter time.Duration
	challenge  bool
}

// Error implements error.
func (p *Problem) Error() string { return p.Code }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	if p.challenge {
		h.Set("WWW-Authenticate", `Bearer realm="liferelay"`)
	}
	return h
}

// Errors that only HTTP knows.
var (
	errPreconditionRequired = &httpError{status: http.StatusPreconditionRequired, code: "if_match_required"}
	errKeyRequired          = &httpError{status: http.StatusBadRequest, code: "idempotency_key_required"}
	errTooLarge             = &httpError{status: http.StatusRequestEntityTooLarge, code: "too_large"}
	errCursor               = &httpError{status: http.StatusBadRequest, code: "cursor_unknown"}
	errUnreadable           = &httpError{status: http.StatusBadRequest, code: "request_invalid"}
	errPurpose              = &httpError{status: http.StatusBadRequest, code: "purpose_unknown"}
	errNoRoute              = &httpError{status: http.StatusNotFound, code: "route_not_found"}
	errMethod               = &httpError{status: http.StatusMethodNotAllowed, code: "method_not_allowed"}
	errTokenInAddress       = &httpError{status: http.StatusBadRequest, code: "token_in_address"}
	errNoSignOn             = &httpError{status: http.StatusNotFound, code: "signon_none"}
	errLogoutToken          = &httpError{status: http.StatusBadRequest, code: "logout_token"}
	errSessionRequired      = &httpError{status: http.StatusForbidden, code: "session_required"}
	errCrossOrigin          = &httpError{status: http.StatusForbidden, code: "cross_origin"}
)

type httpError struct {
	status int
	code   string
	args   map[string]any
}

func (e *httpError) Error() string { return e.code }

// problemOf puts an error into words. What is inside an error that nobody named is for the log, not for the answer.
func problemOf(err error, l lang.Locale) *Problem {
	p := &Problem{Status: http.StatusInternalServerError, Code: "internal"}
	var known *registry.Error
	var own *httpError
	switch {
	case errors.As(err, &known) && front.Statuses[known.Kind] != 0:
		p.Status, p.Code, p.Args, p.retryAfter = front.Statuses[known.Kind], known.Code, known.Args, known.RetryAfter
		if len(known.Problems) > 0 {
			p.Errors = registry.ProblemTexts(unechoed(known.Problems), l)
		}
		if known.Code == "idempotency_key_reused" {
			p.Status = http.StatusUnprocessableEntity
		}
		p.challenge = known.Kind == registry.Unsigned
		if known.Kind == registry.Unavailable && p.retryAfter == 0 {
			p.retryAfter = 5 * time.Second
		}
	case errors.As(err, &own):
		p.Status, p.Code, p.Args = own.status, own.code, own.args
	}
	p.Type = "urn:liferelay:problem:" + p.Code
	p.Title = l.Say("status."+strconv.Itoa(p.Status), nil)
	if id := "error." + p.Code; lang.Has(id) {
		p.Detail = l.Say(id, p.Args)
	}
	return p
}

// mediaType is the error of a body of another type than an operation reads.
func mediaType(o operation) error {
	return &httpError{http.StatusUnsupportedMediaType, "media_type", map[string]any{"Types": strings.Join(o.takes, ", ")}}
}

// problem is what a handler's error becomes. Errors of ours are logged once, here.
func (r *request) problem(err error) error {
	p := problemOf(err, r.locale())
	if p.Status >= http.StatusInternalServerError && p.Status != http.StatusServiceUnavailable {
		r.log.Error("a request failed inside", zap.String("request", r.ID), zap.String("route", r.Route), zap.String("error", fmt.Sprintf("%T", err)))
	}
	return p
}

func init() {
	// huma's own errors repeat the value that did not fit; ours name its place.
	huma.NewErrorWithContext = func(ctx huma.Context, status int, _ string, errs ...error) huma.StatusError {
		l := lang.Chinese
		if ctx != nil {
			l = requestOf(ctx.Context()).locale()
		}
		p := problemOf(&httpError{status: status, code: "request_invalid"}, l)
		if status == http.StatusRequestEntityTooLarge {
			p = problemOf(errTooLarge, l)
		}
		var found forms.Problems
		for _, err := range errs {
			var detail huma.ErrorDetailer
			if errors.As(err, &detail) {
				_, field, _ := strings.Cut(detail.ErrorDetail().Location, ".")
				found = append(found, forms.Problem{Code: parameterCode(detail.ErrorDetail().Message), Field: field})
			}
		}
		if len(found) > 0 {
			p.Errors = registry.ProblemTexts(unechoed(found), l)
		}
		return p
	}
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return huma.NewErrorWithContext(nil, status, msg, errs...)
	}
}

// parameterCode tells from huma's sentence what is wrong with a parameter.
func parameterCode(says string) string {
	switch {
	case strings.HasPrefix(says, "unknown"):
		return "R137"
	case strings.HasPrefix(says, "required"):
		return "R101"
	default:
		return "R144"
	}
}

// fieldName is how fields of ours are called. A field that is called otherwise is somebody's own word.
var fieldName = regexp.MustCompile(`^([a-z][a-z_]{0,40}\d{0,3}(\[\d{1,4}\])?(\.|$))+$`)

// unechoed leaves out the names of fields that we have not given: a name may be what somebody took for one.
func unechoed(problems forms.Problems) forms.Problems {
	out := slices.Clone(problems)
	for i := range out {
		if !fieldName.MatchString(out[i].Field) {
			out[i].Field = ""
		}
	}
	return out
}

// parse reads a request's body into a form, for who completes it before it is checked.
func parse[F any](body []byte) (F, error) {
	var form F
	if err := forms.Decode(body, &form); err != nil {
		var problems forms.Problems
		errors.As(err, &problems)
		return form, registry.Invalidated(problems)
	}
	return form, nil
}

// decode reads a request's body into a form and holds it against the rules of its tags. What is wrong is named by its
// field.
func decode[F any](body []byte) (F, error) {
	form, err := parse[F](body)
	if err != nil {
		return form, err
	}
	if problems := forms.Check(form); len(problems) > 0 {
		return form, registry.Invalidated(problems)
	}
	return form, nil
}

// writeProblem answers outside of huma's routes.
func writeProblem(w http.ResponseWriter, p *Problem) {
	h := w.Header()
	for name, values := range p.GetHeaders() {
		h[name] = values
	}
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}
