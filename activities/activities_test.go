package activities

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// What no retry mends is not retried, and what the database's absence did is.
func TestAFailureSaysWhetherToTryAgain(t *testing.T) {
	t.Parallel()
	require.NoError(t, failure(nil))
	for kind, again := range map[registry.Kind]bool{
		registry.NotFound: false, registry.Denied: false, registry.Unsigned: false, registry.Invalid: false, registry.Refused: false, registry.Stale: false,
		registry.Conflict: false, registry.Incompatible: false, registry.Unavailable: true, registry.Locked: true,
	} {
		var app *temporal.ApplicationError
		require.ErrorAs(t, failure(registry.NewError(kind, "the_code", nil)), &app, kind)
		require.Equal(t, again, !app.NonRetryable(), kind)
		require.Equal(t, string(kind), app.Type())
		require.Equal(t, "the_code", app.Message())
	}
}

// A history is kept for years: a failure in it holds codes, and never what was read.
func TestAFailureHoldsCodesOnly(t *testing.T) {
	t.Parallel()
	secret := errors.New("张小明 13800000001")
	e := registry.NewError(registry.Invalid, "form_invalid", map[string]any{"Limit": 30})
	e.Problems = forms.Problems{{Field: "millilitres", Code: "R119"}}
	for _, err := range []error{secret, fmt.Errorf("inside: %w", secret), fmt.Errorf("%w: %v", e, secret)} {
		got := failure(err)
		require.NotContains(t, got.Error(), "张小明")
		require.NoError(t, errors.Unwrap(got))
	}
	var app *temporal.ApplicationError
	require.ErrorAs(t, failure(secret), &app)
	require.Equal(t, "internal", app.Type())
	require.False(t, app.NonRetryable(), "it may be our fault, and mended tomorrow")
	require.ErrorAs(t, failure(e), &app)
	var args, problems string
	require.NoError(t, app.Details(&args, &problems))
	require.JSONEq(t, `{"Limit": 30}`, args)
	require.JSONEq(t, `[{"field": "millilitres", "code": "R119"}]`, problems)
}
