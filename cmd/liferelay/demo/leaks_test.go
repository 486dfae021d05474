package demo

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
)

// guard looks for many texts in many bytes.
type guard struct {
	byHead map[[4]byte][]string
	found  map[string]map[string]int // text → place → how often
	bytes  map[string]int            // looked through, by place
}

func newGuard(texts []string) *guard {
	g := &guard{byHead: map[[4]byte][]string{}, found: map[string]map[string]int{}, bytes: map[string]int{}}
	for _, text := range texts {
		head := [4]byte([]byte(text))
		g.byHead[head] = append(g.byHead[head], text)
	}
	return g
}

// look notes which of the texts are in data, which was found at place.
func (g *guard) look(place string, data []byte) {
	g.bytes[place] += len(data)
	for i := 0; i+4 <= len(data); i++ {
		for _, text := range g.byHead[[4]byte(data[i:i+4])] {
			if bytes.HasPrefix(data[i:], []byte(text)) {
				if g.found[text] == nil {
					g.found[text] = map[string]int{}
				}
				g.found[text][place]++
			}
		}
	}
}

// shapes are the ways in which a secret could be written down.
func shapes(secret string) []string {
	quoted := strconv.QuoteToASCII(secret)
	out := []string{
		secret, strings.ToUpper(secret), strings.ToLower(secret), quoted[1 : len(quoted)-1], url.QueryEscape(secret), hex.EncodeToString([]byte(secret)),
	}
	if len(secret) == 18 && secret[0] >= '1' && secret[0] <= '9' {
		out = append(out, secret[:17]) // an identity number without its check character
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// The texts that the test plants, so that it is known to find what is there.
type canaries struct{ workflow, memo, payload, sealed, database, postgres, temporal string }

func (c canaries) all() []string {
	return []string{c.workflow, c.memo, c.payload, c.sealed, c.database, c.postgres, c.temporal}
}

func TestNoPersonalTextOfTheDemoIsFoundOutsideItsSealedColumns(t *testing.T) {
	t.Parallel()
	o := prepare(t)
	servers := serverLogs(t)
	var hearing sync.Mutex
	var heard []Heard
	o.Heard = func(h Heard) {
		hearing.Lock()
		defer hearing.Unlock()
		heard = append(heard, h)
	}
	d := run(t, o)
	requirePlanned(t, d)
	require.Greater(t, len(d.Secrets), 1500, "names, numbers and phones of 315 forms")
	keys, err := seal.ReadFile(filepath.Join(o.Dir, "keys.json"))
	require.NoError(t, err)

	var canary canaries
	for _, text := range []*string{&canary.workflow, &canary.memo, &canary.payload, &canary.sealed, &canary.database, &canary.postgres, &canary.temporal} {
		*text = uuid.NewString()
	}
	batch, donor := uuid.Nil, ""
	var texts []string
	for _, secret := range d.Secrets {
		texts = append(texts, shapes(secret)...)
	}
	conn, err := pgx.Connect(context.Background(), registrytest.Past(t, o.Database))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	require.NoError(t, conn.QueryRow(context.Background(), `SELECT id FROM batches ORDER BY id LIMIT 1 OFFSET 1`).Scan(&batch))
	require.NoError(t, conn.QueryRow(context.Background(), `SELECT number FROM registrations WHERE programme = 'stemcell' ORDER BY number LIMIT 1`).Scan(&donor))
	known := append(canary.all(), "import/"+batch.String(), donor, "POST /v1/import-batches/{id}/commit")
	g := newGuard(append(slices.Clone(known), texts...))

	cases := plainClient(t, o)
	canary.plantInTemporal(t, cases, keys)
	canary.plantInPostgreSQL(t, conn)
	histories, payloads := g.lookInTemporal(t, cases, o.Namespace, keys)
	values := g.lookInDatabase(t, conn)
	resp, err := http.Get(d.Base + "/metrics")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	metrics, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	g.look("metrics", metrics)
	d.Stop() // the logs are whole
	lines := 0
	for _, name := range []string{"serve.log", "worker.log"} {
		log, err := os.ReadFile(filepath.Join(o.Dir, name))
		require.NoError(t, err)
		g.look(name, log)
		lines += bytes.Count(log, []byte("\n"))
	}
	for name, log := range servers() {
		g.look(name, log)
	}

	// What was planted, and what must be there, is found where it is.
	for _, c := range []struct{ text, place string }{
		{canary.workflow, "visibility"}, {canary.workflow, "history, in JSON"}, {canary.memo, "visibility"}, {canary.payload, "payload"}, {canary.payload, "history"}, {canary.sealed, "payload, opened"},
		{canary.database, "database canary.t"}, {canary.database, "database canary.j"}, {canary.database, "database canary.a"}, {canary.database, "database canary.b"},
		{canary.postgres, "postgres.log"}, {canary.temporal, "temporal.log"}, {"import/" + batch.String(), "visibility"}, {donor, "database registrations.number"},
		{"POST /v1/import-batches/{id}/commit", "serve.log"}, {"POST /v1/import-batches/{id}/commit", "metrics"},
	} {
		require.NotZero(t, g.found[c.text][c.place], "%s is not found in %s: the search is blind there", c.text, c.place)
	}
	require.Greater(t, histories, 300)
	require.Greater(t, payloads, 3000)
	require.Greater(t, values, 50_000)
	require.Greater(t, lines, 400)
	searched := 0
	for _, n := range g.bytes {
		searched += n
	}
	t.Logf("looked for %d texts in %d histories with %d payloads, %d values of the database, %d lines of the program's logs: %d bytes", len(texts), histories, payloads, values, lines, searched)

	g.lookInAnswers(t, heard)
	leaks := map[string]map[string]int{}
	for _, text := range texts {
		if g.found[text] != nil {
			leaks[text] = g.found[text]
		}
	}
	require.Empty(t, leaks)
}

// lookInAnswers looks through what people were answered: in clear comes what was asked to be revealed, and what the registrar typed
// and has to mend, and nothing else. The donor's side, besides, never reads which patient it is for.
func (g *guard) lookInAnswers(t *testing.T, heard []Heard) {
	t.Helper()
	inClear := func(h Heard) bool {
		return h.Status < 300 && (strings.HasSuffix(h.Path, "/reveal") || h.Who == "registrar" && (strings.Contains(h.Path, "/rows") || strings.HasSuffix(h.Path, "/result.xlsx")))
	}
	others := []string{"transplant", "rival"}
	marks := map[string]bool{}
	problems, revealed, other := 0, 0, 0
	for _, h := range heard {
		var patient struct{ ID, Number string }
		if strings.HasPrefix(h.Path, "/v1/patients") && json.Unmarshal(h.Body, &patient) == nil && patient.ID != "" {
			marks[patient.ID], marks[patient.Number] = true, true
		}
	}
	require.Len(t, marks, 4, "two patients, each with an id and a number")
	for _, h := range heard {
		switch {
		case inClear(h):
			revealed++
			require.NotContains(t, others, h.Who)
			continue
		case h.Status >= 400:
			problems++
			g.look("problem details", h.Body)
		case slices.Contains(others, h.Who):
			other++
			g.look("answers to the patient's side", h.Body)
		default:
			g.look("answers", h.Body)
		}
		if !slices.Contains(others, h.Who) {
			for mark := range marks {
				require.NotContains(t, string(h.Body), mark, "%s of the donor's side reads of the patient: %s %s", h.Who, h.Method, h.Path)
			}
		}
	}
	require.Positive(t, revealed, "nothing was revealed, so nothing was left out")
	require.Greater(t, other, 10)
	t.Logf("looked through %d answers, %d of them problems and %d to the patient's side", len(heard), problems, other)
}

// serverLogs remembers where the logs of PostgreSQL and of Temporal end now, and returns what they have said since. Other
// tests use the same servers: what they said before is not the demo's.
func serverLogs(t *testing.T) func() map[string][]byte {
	t.Helper()
	folder := os.Getenv("LIFERELAY_DEVSTACK_LOGS")
	if folder == "" {
		if os.Getenv("LIFERELAY_TEST_REQUIRE") != "" {
			t.Fatal("LIFERELAY_DEVSTACK_LOGS is not set")
		}
		t.Skip("needs the logs of PostgreSQL and Temporal: run make test, or set LIFERELAY_DEVSTACK_LOGS (devstack up prints it)")
	}
	ends := map[string]int64{}
	for _, name := range []string{"postgres.log", "temporal.log"} {
		info, err := os.Stat(filepath.Join(folder, name))
		require.NoError(t, err)
		ends[name] = info.Size()
	}
	return func() map[string][]byte {
		out := map[string][]byte{}
		for name, end := range ends {
			f, err := os.Open(filepath.Join(folder, name))
			require.NoError(t, err)
			_, err = f.Seek(end, io.SeekStart)
			require.NoError(t, err)
			out[name], err = io.ReadAll(f)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		return out
	}
}

// plantInTemporal leaves canaries in a workflow that nobody carries, in its name, its memo, an open payload and a sealed
// one, and in the server's log.
func (c canaries) plantInTemporal(t *testing.T, cases client.Client, keys *seal.Keyring) {
	t.Helper()
	ctx := context.Background()
	plain, err := proto.Marshal(&commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(strconv.Quote(c.sealed))})
	require.NoError(t, err)
	sealed, err := keys.SealPayload(c.workflow, plain)
	require.NoError(t, err)
	_, err = cases.SignalWithStartWorkflow(ctx, c.workflow, "canary", c.payload, client.StartWorkflowOptions{TaskQueue: "nobody", Memo: map[string]any{"canary": c.memo}}, "Canary",
		converter.NewRawValue(&commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("binary/encrypted"), "bound-to": []byte(c.workflow)}, Data: sealed}))
	require.NoError(t, err)
	// A server that is handed as much as this says so in its log, and names the workflow.
	_, err = cases.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: c.temporal, TaskQueue: "nobody"}, "Canary", strings.Repeat("x", 600<<10))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, err := cases.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: `WorkflowId = '` + c.workflow + `'`})
		require.NoError(t, err)
		return n.GetCount() == 1
	}, patience, patience/1000, "the canary can be listed")
}

// plantInPostgreSQL leaves canaries in columns of every kind that holds text, and in the server's log.
func (c canaries) plantInPostgreSQL(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	ctx := context.Background()
	_, err := conn.Exec(ctx, `CREATE TABLE canary (t text, j jsonb, a text[], b bytea)`)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, `INSERT INTO canary SELECT c, jsonb_build_object('canary', c), ARRAY[c], convert_to(c, 'UTF8') FROM (SELECT $1::text AS c) planted`, c.database)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, `SELECT '`+c.postgres+`'::int`)
	require.Error(t, err)
}

// lookInTemporal looks through everything that the server keeps of a namespace's workflows, opened and unopened.
func (g *guard) lookInTemporal(t *testing.T, cases client.Client, namespace string, keys *seal.Keyring) (histories, payloads int) {
	t.Helper()
	ctx := context.Background()
	both := func(place string, m proto.Message) {
		binary, err := proto.Marshal(m)
		require.NoError(t, err)
		g.look(place, binary)
		text, err := protojson.Marshal(m)
		require.NoError(t, err)
		g.look(place+", in JSON", text)
		payloads += g.lookInPayloads(t, m, keys)
	}
	var next []byte
	for {
		page, err := cases.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Namespace: namespace, PageSize: 200, NextPageToken: next})
		require.NoError(t, err)
		for _, e := range page.GetExecutions() {
			both("visibility", e)
			described, err := cases.DescribeWorkflowExecution(ctx, e.GetExecution().GetWorkflowId(), e.GetExecution().GetRunId())
			require.NoError(t, err)
			both("description", described)
			histories++
			events := cases.GetWorkflowHistory(ctx, e.GetExecution().GetWorkflowId(), e.GetExecution().GetRunId(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
			for events.HasNext() {
				event, err := events.Next()
				require.NoError(t, err)
				both("history", event)
			}
		}
		if next = page.GetNextPageToken(); len(next) == 0 {
			return histories, payloads
		}
	}
}

// lookInPayloads looks through the payloads in a message, wherever they are, as they travel and opened. One that is sealed
// and does not open fails the test: nobody could say what is in it.
func (g *guard) lookInPayloads(t *testing.T, m proto.Message, keys *seal.Keyring) (n int) {
	t.Helper()
	err := protorange.Range(m.ProtoReflect(), func(v protopath.Values) error {
		inner, ok := v.Index(-1).Value.Interface().(protoreflect.Message)
		if !ok {
			return nil
		}
		p, ok := inner.Interface().(*commonpb.Payload)
		if !ok {
			return nil
		}
		n++
		g.look("payload", p.GetData())
		if string(p.GetMetadata()["encoding"]) != "binary/encrypted" {
			return nil
		}
		plain, err := keys.OpenPayload(string(p.GetMetadata()["bound-to"]), p.GetData())
		if err != nil {
			return err
		}
		opened := &commonpb.Payload{}
		if err := proto.Unmarshal(plain, opened); err != nil {
			return err
		}
		g.look("payload, opened", opened.GetData())
		// JSON may write a letter as an escape: what it means is looked through too.
		var meaning any
		if json.Unmarshal(opened.GetData(), &meaning) == nil {
			g.look("payload, opened", fmt.Append(nil, meaning))
		}
		return nil
	})
	require.NoError(t, err)
	return n
}

// lookInDatabase looks through every column of every table: bytes as they are, everything else as PostgreSQL writes it.
func (g *guard) lookInDatabase(t *testing.T, conn *pgx.Conn) (values int) {
	t.Helper()
	ctx := context.Background()
	type column struct{ Schema, Table, Name, Type string }
	list, err := conn.Query(ctx, `
		SELECT n.nspname, c.relname, a.attname, t.typname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
		WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2, a.attnum`)
	require.NoError(t, err)
	columns, err := pgx.CollectRows(list, pgx.RowToStructByPos[column])
	require.NoError(t, err)
	require.Greater(t, len(columns), 300, "columns of the register")
	for _, c := range columns {
		as := "::text"
		if c.Type == "bytea" {
			as = ""
		}
		rows, err := conn.Query(ctx, `SELECT `+pgx.Identifier{c.Name}.Sanitize()+as+` FROM `+pgx.Identifier{c.Schema, c.Table}.Sanitize())
		require.NoError(t, err)
		place := "database " + c.Table + "." + c.Name
		for rows.Next() {
			values++
			g.look(place, rows.RawValues()[0])
		}
		require.NoError(t, rows.Err())
	}
	return values
}
