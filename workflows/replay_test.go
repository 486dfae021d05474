package workflows_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows"
)

// histories is where recorded histories lie (see TestRecordHistories), beside test-key.json, which opens them. The key is
// a test key: it seals nothing but these recordings, and that it lies here in clear harms nobody.
const histories = "testdata/histories"

// recorded is how many runs of each protocol are recorded. A recording that is lost, or not looked at, is missed.
var recorded = map[string]int{"Care": 6, "Drive": 1, "Enrolment": 3, "Import": 3, "Rights": 3, "Rotation": 1, "Safety": 1, "Search": 3, "StemCell": 11}

// recordedKeys is the test key of the recordings.
func recordedKeys(t testing.TB) *seal.Keyring {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(histories, "test-key.json"))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "key.json") // a checkout is readable by others, which a key file must not be
	require.NoError(t, os.WriteFile(path, data, 0o600))
	keys, err := seal.ReadFile(path)
	require.NoError(t, err)
	return keys
}

type recording struct {
	name     string
	text     []byte // as it is stored
	history  *historypb.History
	protocol string
	workflow string
}

// recordings reads every recorded history.
var recordings = sync.OnceValues(func() ([]recording, error) {
	names, err := filepath.Glob(filepath.Join(histories, "*.json.gz"))
	if err != nil {
		return nil, err
	}
	var out []recording
	for _, name := range names {
		packed, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(z)
		if err != nil {
			return nil, err
		}
		h, err := client.HistoryFromJSON(bytes.NewReader(text), client.HistoryJSONOptions{})
		if err != nil {
			return nil, err
		}
		started := h.Events[0].GetWorkflowExecutionStartedEventAttributes()
		out = append(out, recording{filepath.Base(name), text, h, started.GetWorkflowType().GetName(), started.GetWorkflowId()})
	}
	return out, nil
})

func allRecordings(t *testing.T) []recording {
	t.Helper()
	all, err := recordings()
	require.NoError(t, err)
	return all
}

// nameOf is the name under which a workflow is registered.
func nameOf(protocol any) string {
	name := runtime.FuncForPC(reflect.ValueOf(protocol).Pointer()).Name()
	return name[strings.LastIndex(name, ".")+1:]
}

// replay plays a recording again, under the protocols as change makes them.
func replay(t testing.TB, r recording, change func(name string, protocol any) any) error {
	t.Helper()
	data := workflows.DataConverter(recordedKeys(t))
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: data, FailureConverter: workflows.FailureConverter(data)})
	require.NoError(t, err)
	workflows.Registered(func(protocol any) {
		name := nameOf(protocol)
		replayer.RegisterWorkflowWithOptions(change(name, protocol), workflow.RegisterOptions{Name: name})
	})
	// Payloads are bound to their workflow: the replay has to bear its name.
	return replayer.ReplayWorkflowHistoryWithOptions(quiet{}, r.history, worker.ReplayWorkflowHistoryOptions{OriginalExecution: workflow.Execution{ID: r.workflow}})
}

func asItIs(_ string, protocol any) any { return protocol }

// Cases that began under an older version of the protocols are carried on by this one: what was recorded on real servers
// is decided again, act for act. A protocol without a recording, or a recording that nobody looks at, is a failure.
func TestRecordedHistoriesReplay(t *testing.T) {
	t.Parallel()
	replayed := map[string]int{}
	for _, r := range allRecordings(t) {
		t.Run(r.name, func(t *testing.T) { require.NoError(t, replay(t, r, asItIs)) })
		replayed[r.protocol]++
	}
	require.Equal(t, recorded, replayed)
	workflows.Registered(func(protocol any) {
		require.Positive(t, replayed[nameOf(protocol)], "%s has no recorded history: run TestRecordHistories", nameOf(protocol))
	})
}

// The replay tells when a protocol decides otherwise: here it waits before it begins.
func TestAReplayTellsThatAProtocolHasChanged(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	for _, r := range allRecordings(t) {
		if told[r.protocol] {
			continue
		}
		told[r.protocol] = true
		err := replay(t, r, func(name string, protocol any) any {
			run := reflect.ValueOf(protocol)
			return func(ctx workflow.Context, in workflows.CaseInput) error {
				if err := workflow.Sleep(ctx, time.Minute); err != nil {
					return err
				}
				err, _ := run.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(in)})[0].Interface().(error)
				return err
			}
		})
		require.ErrorContains(t, err, "TMPRL1100", r.name)
	}
	require.Len(t, told, len(recorded))
}

// Whom the recorded scenes were about: their names, their families', the courier's; numbers and phones have a form that
// tells them, and a typing too.
var (
	personal = regexp.MustCompile(`\p{Han}|\b\d{17}[\dXx]\b|\b1[3-9]\d{9}\b|HLA-|DRB1`)
	people   = []string{"张小明", "张大明", "李小红", "王师傅", "13800000001", "138000000"}
)

// No personal data enters Temporal: not in clear, where everything but names of things is sealed, and not below the seal.
func TestRecordedHistoriesHoldNoPersonalData(t *testing.T) {
	t.Parallel()
	require.Regexp(t, personal, "张小明")
	require.Regexp(t, personal, residentNumber(1))
	keys, opened := recordedKeys(t), 0
	for _, r := range allRecordings(t) {
		require.NotRegexp(t, personal, string(r.text), r.name)
		payloads(r.history.ProtoReflect(), func(p *commonpb.Payload) {
			require.Equal(t, workflows.Encrypted, string(p.GetMetadata()[converter.MetadataEncoding]), "%s: %s", r.name, p)
			text := workflows.Opened(t, keys, p)
			require.NotRegexp(t, personal, text, r.name)
			for _, who := range people {
				require.NotContains(t, text, who, r.name)
			}
			opened++
		})
	}
	require.Greater(t, opened, 90*len(recorded))
}

// payloads finds every payload of a message.
func payloads(m protoreflect.Message, found func(*commonpb.Payload)) {
	if p, ok := m.Interface().(*commonpb.Payload); ok {
		found(p)
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Kind() == protoreflect.MessageKind:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { payloads(v.Message(), found); return true })
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			for i := range v.List().Len() {
				payloads(v.List().Get(i).Message(), found)
			}
		case f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap():
			payloads(v.Message(), found)
		}
		return true
	})
}
