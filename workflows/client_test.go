package workflows

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// Whatever the server says, a caller sees an error of the registry, with its kind and its code, and nothing of an act that
// failed for a reason of ours.
func TestWhatTheServerSaysInTheRegistrysWords(t *testing.T) {
	t.Parallel()
	require.NoError(t, translate(nil))
	problems := temporal.NewNonRetryableApplicationError("form_invalid", string(registry.Invalid), nil, `{"Limit": 30}`, `[{"field": "millilitres", "code": "R119"}]`)
	for name, c := range map[string]struct {
		err  error
		kind registry.Kind
		code string
	}{
		"a refusal":                  {refusal(registry.Refused, "window_differs"), registry.Refused, "window_differs"},
		"a form's problems":          {problems, registry.Invalid, "form_invalid"},
		"a run that is ending":       {errLeaving, registry.Unavailable, "case_rolling_over"},
		"nobody carries the case":    {serviceerror.NewNotFound("workflow not found"), registry.Unavailable, "case_not_running"},
		"the server is away":         {serviceerror.NewUnavailable("connection refused"), registry.Unavailable, "desk_unavailable"},
		"it does not answer in time": {context.DeadlineExceeded, registry.Unavailable, "desk_unavailable"},
		"an act failed inside":       {temporal.NewApplicationError("column secret does not exist", "internal"), "", ""},
		"an error without a type":    {temporal.NewApplicationError("secret", ""), "", ""},
	} {
		got := translate(c.err)
		require.Equal(t, c.kind, registry.KindOf(got), name)
		require.Equal(t, c.code, registry.CodeOf(got), name)
		require.NotContains(t, got.Error(), "secret", name)
	}
	var e *registry.Error
	require.ErrorAs(t, translate(problems), &e)
	require.Equal(t, map[string]any{"Limit": 30.0}, e.Args)
	require.Equal(t, forms.Problems{{Field: "millilitres", Code: "R119"}}, e.Problems)
	require.ErrorAs(t, translate(errors.New("gone")), &e)
	require.Positive(t, e.RetryAfter)
}

func TestNobodyTellsAProtocolThatIsNone(t *testing.T) {
	t.Parallel()
	c, err := Dial(Options{Address: "127.0.0.1:1", Keys: newKeys(t)}) // nobody is there, and nobody is asked yet
	require.NoError(t, err)
	defer c.Close()
	require.ErrorContains(t, c.Tell(t.Context(), "sewing", uuid.New(), "opened"), "no protocol")
	require.ErrorContains(t, c.Restart(t.Context(), "sewing", uuid.New()), "no protocol")
}

// What a fact may start, a worker carries, and the other way round.
func TestAWorkerCarriesWhatFactsStart(t *testing.T) {
	t.Parallel()
	carried := map[uintptr]bool{}
	Registered(func(w any) { carried[reflect.ValueOf(w).Pointer()] = true })
	for name, w := range protocols {
		require.True(t, carried[reflect.ValueOf(w).Pointer()], name)
	}
	require.Len(t, carried, len(protocols))
}

// The SDK's lines come into our log with the names of things, and without whatever else they carry.
func TestTheSDKsLinesNameThingsOnly(t *testing.T) {
	t.Parallel()
	core, seen := observer.New(zapcore.DebugLevel)
	l := logger(zap.New(core))
	for _, say := range []func(string, ...any){l.Debug, l.Info, l.Warn, l.Error} {
		say("Activity error.", "WorkflowID", "stemcell/1", "Attempt", 3, "Error", "张小明", "Input", "13800000001", "odd")
	}
	require.Equal(t, 4, seen.Len())
	for _, line := range seen.All() {
		require.Equal(t, map[string]any{"WorkflowID": "stemcell/1", "Attempt": "3"}, line.ContextMap())
		require.Equal(t, "temporal", line.LoggerName)
	}
}

func TestAProgramKnowsItsVersion(t *testing.T) {
	t.Parallel()
	require.Regexp(t, `^[0-9a-f]{12}$`, BuildVersion())
}
