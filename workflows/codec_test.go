package workflows

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/liferelay/liferelay/registry/seal"
)

func newKeys(t *testing.T) *seal.Keyring {
	t.Helper()
	keys, err := seal.Generate()
	require.NoError(t, err)
	return keys
}

// of is a converter as the SDK uses it for one workflow.
func of(t *testing.T, keys *seal.Keyring, workflow string) converter.DataConverter {
	t.Helper()
	return converter.WithDataConverterSerializationContext(dataConverter(keys), converter.WorkflowSerializationContext{WorkflowID: workflow})
}

func TestAPayloadOpensInItsOwnHistoryOnly(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	sealed, err := of(t, keys, "stemcell/1").ToPayload("needs_time")
	require.NoError(t, err)
	require.NotContains(t, string(sealed.GetData()), "needs_time")
	var text string
	require.NoError(t, of(t, keys, "stemcell/1").FromPayload(sealed, &text))
	require.Equal(t, "needs_time", text)
	require.NoError(t, dataConverter(keys).FromPayload(sealed, &text), "a reader without the SDK's context opens it too")

	require.Error(t, of(t, keys, "stemcell/2").FromPayload(sealed, &text), "copied into another history")
	sealed.Metadata[boundTo] = []byte("stemcell/2")
	require.Error(t, of(t, keys, "stemcell/2").FromPayload(sealed, &text), "whatever is written on it")
	require.Error(t, dataConverter(keys).FromPayload(sealed, &text))
	sealed.Metadata[boundTo] = []byte("stemcell/1")
	require.Error(t, of(t, newKeys(t), "stemcell/1").FromPayload(sealed, &text), "another installation's keys")
	sealed.Data[len(sealed.Data)-1] ^= 1
	require.Error(t, of(t, keys, "stemcell/1").FromPayload(sealed, &text), "changed on its way")
}

// An activity's payloads are bound to the workflow that it works for.
func TestAnActivitysPayloadsBelongToItsWorkflow(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	sealed, err := converter.WithDataConverterSerializationContext(dataConverter(keys), converter.ActivitySerializationContext{WorkflowID: "stemcell/1", ActivityType: "AskTask"}).ToPayload(7)
	require.NoError(t, err)
	var n int
	require.NoError(t, of(t, keys, "stemcell/1").FromPayload(sealed, &n))
	require.Error(t, of(t, keys, "stemcell/2").FromPayload(sealed, &n))
}

func TestPayloadsOfOtherEncodingsPassThrough(t *testing.T) {
	t.Parallel()
	plain, err := converter.GetDefaultDataConverter().ToPayload("plain")
	require.NoError(t, err)
	out, err := (&codec{keys: newKeys(t), workflow: "stemcell/1"}).Decode([]*commonpb.Payload{plain})
	require.NoError(t, err)
	require.Equal(t, []*commonpb.Payload{plain}, out)
}

// Messages and stack traces of failures travel sealed.
func TestAFailureSaysNothingInClear(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	convert := failureConverter(of(t, keys, "stemcell/1"))
	failure := convert.ErrorToFailure(temporal.NewApplicationErrorWithCause("window_differs", "refused", errors.New("inside")))
	require.NotContains(t, failure.String(), "window_differs")
	require.NotContains(t, failure.String(), "inside")
	require.ErrorContains(t, convert.FailureToError(failure), "window_differs")
}
