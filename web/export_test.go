package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/liferelay/liferelay/registry/lang"
)

// VisitOf is a visit that sends a form, for tests of forms alone.
func VisitOf(l lang.Locale, form url.Values) *Visit {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	return &Visit{Context: r.Context(), Locale: l, r: r, w: httptest.NewRecorder(), form: form, site: &Site{}}
}

// Values are what stands in a form.
func (f *Filled) Values() url.Values { return f.values }
