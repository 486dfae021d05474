package demo

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// program is the program that the demo runs, built once for all tests.
var program string

func TestMain(m *testing.M) {
	_ = os.Setenv("LIFERELAY_LOG_LEVEL", "debug") // of every process: leaks are looked for in logs at their most talkative
	folder, err := os.MkdirTemp("", "liferelay-demo-test-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(folder, "liferelay")
	code := 1
	if out, err := exec.Command("go", "build", "-o", program, "github.com/liferelay/liferelay/cmd/liferelay").CombinedOutput(); err != nil {
		fmt.Printf("building the program: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

const seed = 20261121

// theLine is the demo's last one. Other programs read it: its form is a promise.
const theLine = "demo: forms=315 ready=268 warnings=12 errors=28 duplicates=7 enrolled=308 listed=307 candidates=13 case=infused followups=15 audit=verified"

// prepare gives options for a demo with a database and a Temporal namespace of its own.
func prepare(t *testing.T) Options {
	t.Helper()
	ctx := context.Background()
	o := Options{Temporal: workflowstest.TemporalAddress(t), Namespace: "test-" + uuid.NewString(), TaskQueue: "demo", Program: program, Dir: t.TempDir(), Seed: seed}
	o.Database = emptyDatabase(t)
	_, err := plainClient(t, o).WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{Namespace: o.Namespace, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour)})
	require.NoError(t, err)
	return o
}

// plainClient sees the demo's cases as the Temporal server does.
func plainClient(t *testing.T, o Options) client.Client {
	t.Helper()
	c, err := client.NewLazyClient(client.Options{HostPort: o.Temporal, Namespace: o.Namespace, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// emptyDatabase makes a database with nothing in it, not even the schema. It is dropped when the test passes.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	address, err := url.Parse(registrytest.DatabaseURL(t))
	require.NoError(t, err)
	admin, err := pgx.Connect(ctx, address.String())
	require.NoError(t, err)
	name := "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	_, err = admin.Exec(ctx, `CREATE DATABASE `+name)
	require.NoError(t, err)
	address.Path = "/" + name
	t.Cleanup(func() {
		defer func() { _ = admin.Close(ctx) }()
		if t.Failed() {
			t.Logf("the test's database is kept: %s", address)
			return
		}
		_, _ = admin.Exec(ctx, `DROP DATABASE `+name+` WITH (FORCE)`)
	})
	return address.String()
}

// run runs a demo to its last line.
func run(t *testing.T, o Options) *Demo {
	t.Helper()
	var told bytes.Buffer
	o.Out = &told
	d, err := Start(context.Background(), o)
	require.NoError(t, err, "%s", &told)
	t.Cleanup(func() {
		d.Stop()
		t.Logf("%s", &told)
		if !t.Failed() {
			return
		}
		names, _ := filepath.Glob(filepath.Join(o.Dir, "*.log"))
		for _, name := range names {
			text, _ := os.ReadFile(name)
			for line := range strings.Lines(string(text)) {
				if strings.Contains(line, `"level":"error"`) {
					t.Logf("%s: %s", filepath.Base(name), line)
				}
			}
		}
	})
	require.NoError(t, d.Run(context.Background()))
	return d
}

// requirePlanned holds a demo's figures against what its sheet was made to have.
func requirePlanned(t *testing.T, d *Demo) {
	t.Helper()
	sheet, err := intaketest.Plan{Seed: seed, Rows: forms, Faults: faults, Day: d.today.AddDays(-12), Today: d.today}.Sheet()
	require.NoError(t, err)
	verdicts, spoiled := map[intake.Verdict]int{}, map[intaketest.Fault]int{}
	for _, e := range sheet.Expect {
		verdicts[e.Verdict]++
		spoiled[e.Fault]++
	}
	for fault := range faults {
		require.NotZero(t, spoiled[fault], "the sheet has rows with %s", fault)
	}
	require.Equal(t, 315, d.Forms)
	require.Equal(t, verdicts[intake.Ready]-knownBefore, d.Ready)
	require.Equal(t, verdicts[intake.Warning], d.Warnings)
	require.Equal(t, verdicts[intake.Error], d.Errors)
	require.Equal(t, verdicts[intake.Duplicate]+knownBefore, d.Duplicates)
	require.Equal(t, d.Forms, d.Ready+d.Warnings+d.Errors+d.Duplicates, "every row has one verdict")
	// Of two rows about one person one may stay when they are the same, and none when they differ.
	out := spoiled[intaketest.Underage] + spoiled[intaketest.Overage] + spoiled[intaketest.SamePersonIdentical]/2 + spoiled[intaketest.SamePersonDiffering]
	require.Equal(t, d.Forms-out, d.Enrolled)
	require.Equal(t, d.Enrolled-1, d.Listed, "one withdraws")
	fit := 0
	patient := genotype(haplotypes[1].name, haplotypes[3].name)
	for _, typing := range typings(seed, d.Listed, 4) {
		if shared(patient, typing) >= 9 {
			fit++
		}
	}
	require.Equal(t, fit, d.Candidates)
	require.Equal(t, "infused", d.Case)
	require.Equal(t, 15, d.FollowUps)
	require.Equal(t, "verified", d.Audit)
	require.Equal(t, theLine, d.Line())
}

// shared counts the alleles that two genotypes have in common, of ten, without the matching engine.
func shared(a, b string) int {
	n := 0
	others := strings.Split(b, "^")
	for i, locus := range strings.Split(a, "^") {
		left := strings.Split(others[i], "+")
		for _, allele := range strings.Split(locus, "+") {
			if at := slices.Index(left, allele); at >= 0 {
				left = slices.Delete(left, at, at+1)
				n++
			}
		}
	}
	return n
}

func TestAWorkerKilledDuringTheDemosCommitChangesNoFigure(t *testing.T) {
	t.Parallel()
	o := prepare(t)
	o.KillWorker = true
	d := run(t, o)
	require.Equal(t, 1, d.Restarts)
	requirePlanned(t, d)
}

func TestTheDemoRefusesARegisterThatIsInUse(t *testing.T) {
	t.Parallel()
	o := prepare(t)
	o.Out = &bytes.Buffer{}
	d, err := Start(context.Background(), o)
	require.NoError(t, err)
	d.Stop()
	o.Dir = t.TempDir()
	_, err = Start(context.Background(), o)
	require.ErrorContains(t, err, "the demo wants an empty one")
}
