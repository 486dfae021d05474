package api

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// Every route is known by its operation and described, and everything described is a route.
func TestTheRoutesAreThoseOfTheDescription(t *testing.T) {
	t.Parallel()
	a, mux := build(Config{Store: registrytest.New(t), Log: zap.NewNop()})
	undescribed := []string{"GET /docs.css", "GET /{$}"} // parts of the page
	described := map[string]bool{}
	for path, item := range a.huma.OpenAPI().Paths {
		for _, method := range methods {
			if operationAt(a.huma.OpenAPI(), method, path) != nil {
				described[method+" "+path] = true
			}
		}
		require.NotNil(t, item)
	}
	for pattern := range a.known {
		if described[pattern] {
			continue
		}
		require.Contains(t, undescribed, pattern)
	}
	for pattern := range described {
		require.Contains(t, a.known, pattern)
		method, path, _ := strings.Cut(pattern, " ")
		_, found := mux.Handler(httptest.NewRequest(method, strings.NewReplacer("{id}", "x", "{row}", "1", "{share}", "y").Replace(path), nil))
		require.Equal(t, pattern, found)
	}
	// Nothing is routed but by route and about, which note what they route.
	for call, want := range map[string]int{"huma.Register(": 1, "mux.Handle(": 1, "mux.HandleFunc(": 2} {
		files, err := filepath.Glob("*.go")
		require.NoError(t, err)
		calls := 0
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				source, err := os.ReadFile(name)
				require.NoError(t, err)
				calls += strings.Count(string(source), call)
			}
		}
		require.Equal(t, want, calls, call)
	}
}

// A route that somebody forgot to describe answers nobody.
func TestAnUnknownRouteNeedsSomebodySignedIn(t *testing.T) {
	t.Parallel()
	a, mux := build(Config{Store: registrytest.New(t), Log: zap.NewNop()})
	mux.HandleFunc("GET /v1/forgotten", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("everything")) })
	answer := httptest.NewRecorder()
	a.wrap(mux).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/v1/forgotten", nil))
	require.Equal(t, http.StatusUnauthorized, answer.Code)
	require.NotContains(t, answer.Body.String(), "everything")
}

func TestAPanicIsAProblemAndOnlyItsPlaceIsLogged(t *testing.T) {
	t.Parallel()
	a, mux := build(Config{Store: registrytest.New(t), Log: zap.NewNop()})
	mux.HandleFunc("GET /v1/broken", func(http.ResponseWriter, *http.Request) { panic("13800138000") })
	a.known["GET /v1/broken"] = operation{public: true}
	answer := httptest.NewRecorder()
	a.wrap(mux).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/v1/broken", nil))
	require.Equal(t, http.StatusInternalServerError, answer.Code)
	require.Equal(t, "application/problem+json", answer.Header().Get("Content-Type"))
	require.NotContains(t, answer.Body.String(), "13800138000")
}

// A token of a program gets nowhere that nobody has thought of.
func TestEveryOperationHasAScopeOrIsForPeopleOnly(t *testing.T) {
	t.Parallel()
	a, _ := build(Config{Store: registrytest.New(t), Log: zap.NewNop()})
	for pattern, o := range a.known {
		if !o.public {
			require.NotEmpty(t, o.scope, "%s has no scope: give its address one in scopes.go", pattern)
		}
	}
	require.Empty(t, operation{method: http.MethodGet, path: "/v1/news"}.needs())
	require.Equal(t, errSessionRequired, operation{method: http.MethodGet, path: "/v1/news"}.admits(registry.Caller{Kind: registry.ProgramToken, Scopes: Scopes()}))
}
