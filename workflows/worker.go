// Package workflows holds the protocols: who is asked next, how long we wait, what follows. One file a protocol, and
// desk.go, which does the waiting for all of them.
//
// It guarantees that a protocol's decisions depend on nothing but its input, what its acts returned and what it was told,
// so that it can be played again years later; that it holds no personal data, only ids, codes and days; and that what it
// remembers can be found again in the rows of its case: a protocol may be started anew at any time and goes on where the
// rows say the case stands.
package workflows

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/liferelay/liferelay/activities"
	"github.com/liferelay/liferelay/registry"
)

// deployment is the name under which Temporal knows the versions of the protocols.
const deployment = "liferelay"

// Worker does the protocols' work in this process.
type Worker struct {
	worker  worker.Worker
	client  *Client
	version worker.WorkerDeploymentVersion
}

// NewWorker prepares a worker. Every case is pinned to the version it runs under and goes over to the newest when it
// continues as new, which it does at every phase.
func NewWorker(c *Client, store *registry.Store, o WorkerOptions) *Worker {
	if o.Deployment == "" {
		o.Deployment = deployment
	}
	if o.Version == "" {
		o.Version = BuildVersion()
	}
	options := worker.Options{WorkerStopTimeout: 15 * time.Second}
	v := worker.WorkerDeploymentVersion{DeploymentName: o.Deployment, BuildID: o.Version}
	if !o.Unversioned {
		options.DeploymentOptions = worker.DeploymentOptions{UseVersioning: true, Version: v, DefaultVersioningBehavior: workflow.VersioningBehaviorPinned}
	}
	w := worker.New(c.temporal, c.queue, options)
	register(w, &activities.Records{Store: store})
	return &Worker{worker: w, client: c, version: v}
}

// WorkerOptions are what a worker is told. The zero value is right for production.
type WorkerOptions struct {
	Deployment  string // "liferelay" when empty
	Version     string // BuildVersion when empty
	Unversioned bool   // takes whatever work there is: for tests, which come and go
}

// registrar is what a worker and a test environment share.
type registrar interface {
	RegisterWorkflow(any)
	RegisterActivity(any)
}

func register(r registrar, records *activities.Records) {
	for _, protocol := range []any{Enrolment, Drive, Search, StemCell, Care, Safety, Rights, Import, Rotation} {
		r.RegisterWorkflow(protocol)
	}
	r.RegisterActivity(records)
}

// Start begins to work.
func (w *Worker) Start() error { return w.worker.Start() }

// Stop lets work under way finish, for a while.
func (w *Worker) Stop() { w.worker.Stop() }

// Version names the version of the protocols that the worker carries.
func (w *Worker) Version() string { return w.version.BuildID }

// MakeCurrent makes the worker's version the one under which cases start and to which they go over. It waits for the
// server to have seen the worker. Making it current again changes nothing.
func (w *Worker) MakeCurrent(ctx context.Context) error {
	handle := w.client.temporal.WorkerDeploymentClient().GetHandle(w.version.DeploymentName)
	var err error
	for ctx.Err() == nil {
		_, err = handle.SetCurrentVersion(ctx, client.WorkerDeploymentSetCurrentVersionOptions{BuildID: w.version.BuildID})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return fmt.Errorf("workflows: making version %s current: %w", w.version.BuildID, err)
}

// BuildVersion names the program that runs: its revision in the repository where the build knows it, else a digest of
// the program file.
func BuildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		revision, dirty := "", false
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.modified":
				dirty = s.Value == "true"
			}
		}
		if revision != "" && !dirty {
			return revision[:12]
		}
	}
	path, err := os.Executable()
	if err != nil {
		return "unknown"
	}
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "unknown"
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}
