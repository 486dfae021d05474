package workflows

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/seal"
)

// What the tests of the whole house may use of its inside.
var (
	DataConverter    = dataConverter
	FailureConverter = failureConverter
)

// Encrypted is how a payload says that it is sealed.
const Encrypted = encrypted

// Registered hands every workflow that a worker carries to each.
func Registered(each func(protocol any)) { register(only(each), nil) }

// only is a registrar that takes workflows.
type only func(any)

// RegisterWorkflow implements registrar.
func (f only) RegisterWorkflow(w any) { f(w) }

// RegisterActivity implements registrar.
func (f only) RegisterActivity(any) {}

// Opened is what a sealed payload says.
func Opened(t testing.TB, keys *seal.Keyring, p *commonpb.Payload) string {
	t.Helper()
	plain, err := (&codec{keys: keys}).Decode([]*commonpb.Payload{p})
	require.NoError(t, err)
	return string(plain[0].GetData())
}

// DeliverAnswer delivers one answer that waited, without waiting for its time to come.
func (r *Relay) DeliverAnswer(ctx context.Context, p registry.Proposed) { r.answer(ctx, p) }
