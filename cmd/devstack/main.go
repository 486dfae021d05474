// Command devstack runs what Liferelay stands on, for the demo, the tests and a developer's desk: a real
// PostgreSQL and a real Temporal server, in one process tree, on loopback, on free ports.
//
//	devstack run -- COMMAND…   start both, run COMMAND with their addresses in its environment, stop both
//	devstack up                start both and keep their data between runs, until Ctrl-C
//
// It is a Go module of its own because the Temporal server is heavy to build and the product never needs it:
// in production PostgreSQL and Temporal are installed the way their makers say.
//
// What it promises: it listens on loopback only; it works as root (PostgreSQL then runs as an unprivileged user)
// and as an ordinary user; a start after kill -9 recovers; whatever is missing is named, with what to do.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// The names under which the product, and anything else that devstack runs, finds the two servers.
const (
	envDatabase = "LIFERELAY_DATABASE_URL"
	envTemporal = "LIFERELAY_TEMPORAL_ADDRESS"
	envLogs     = "LIFERELAY_DEVSTACK_LOGS"
)

// exitOwn is the exit code of devstack's own failures, apart from the codes of the command it runs.
const exitOwn = 125

type cli struct {
	Run     runCmd     `cmd:"" help:"Start both servers, run a command with their addresses in its environment, stop both, exit with the command's code."`
	Up      upCmd      `cmd:"" help:"Start both servers and keep their data between runs. Ends at Ctrl-C."`
	Version versionCmd `cmd:"" help:"Print the versions of the Temporal server and of the PostgreSQL found."`
	Schema  schemaCmd  `cmd:"" hidden:"" help:"Internal: set up the Temporal schemas and exit."`
}

type stackFlags struct {
	PostgresBin  string `help:"Folder with PostgreSQL's binaries. Default: searched under PATH, /usr/lib/postgresql, Homebrew; installed when missing." placeholder:"DIR" env:"DEVSTACK_POSTGRES_BIN"`
	PostgresPort int    `help:"Port of PostgreSQL; 0 takes a free one." default:"0" env:"DEVSTACK_POSTGRES_PORT"`
	TemporalPort int    `help:"Port of Temporal; 0 takes a free one." default:"0" env:"DEVSTACK_TEMPORAL_PORT"`
	NoInstall    bool   `help:"Fail instead of installing PostgreSQL when it is missing."`
	Quiet        bool   `short:"q" help:"Say nothing but errors."`
}

type runCmd struct {
	stackFlags
	Data    string   `help:"Keep the data in DIR. Default: a temporary folder, removed at the end." placeholder:"DIR"`
	Command []string `arg:"" passthrough:"" help:"The command and its arguments, after --."`
}

type upCmd struct {
	stackFlags
	Data string `help:"Folder for data, logs and the file env." placeholder:"DIR" default:"${data}"`
}

type versionCmd struct{}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	k := kong.Parse(&c, kong.Name("devstack"),
		kong.Description("A real PostgreSQL and a real Temporal server for Liferelay's demo and tests."),
		kong.Vars{"data": defaultDataDir()}, kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)))
	err := k.Run()
	var ended commandEnded
	switch {
	case err == nil:
	case errors.As(err, &ended):
		os.Exit(exitCode(ended.ExitError))
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "devstack: stopped while starting")
		os.Exit(128 + int(syscall.SIGINT))
	default:
		fmt.Fprintln(os.Stderr, "devstack:", err)
		os.Exit(exitOwn)
	}
}

// commandEnded is the bad end of the command, apart from that of a program which devstack itself needs.
type commandEnded struct{ *exec.ExitError }

// exitCode passes on how the command ended; a command killed by a signal gives 128 plus the signal, as shells do.
func exitCode(exit *exec.ExitError) int {
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

// Run implements devstack run.
func (c *runCmd) Run(ctx context.Context) error {
	command := c.Command
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return errors.New("nothing to run: devstack run -- COMMAND [ARGUMENTS]")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("the command %q cannot be found: %w", command[0], err)
	}
	dir, temporary := c.Data, c.Data == ""
	if temporary {
		sweepTemporary()
		dir, err = os.MkdirTemp("", temporaryPrefix)
		if err != nil {
			return fmt.Errorf("no temporary folder for the data: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	s, err := start(ctx, dir, c.stackFlags)
	if err != nil {
		return err
	}
	defer s.stop()

	// The command is not bound to ctx: Ctrl-C reaches it from the terminal, or is handed on below, and it decides
	// itself how to end; the servers stay up until it has.
	cmd := exec.Command(path, command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), s.environment()...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", command[0], err)
	}
	done := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = commandEnded{exit}
		}
		done <- err
	}()
	select {
	case err = <-done:
		return err
	case <-s.postgres.died:
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		return s.postgres.why
	case <-ctx.Done():
		_ = cmd.Process.Signal(syscall.SIGTERM)
		return <-done
	}
}

// Run implements devstack up.
func (c *upCmd) Run(ctx context.Context) error {
	s, err := start(ctx, c.Data, c.stackFlags)
	if err != nil {
		return err
	}
	defer s.stop()
	var exports strings.Builder
	for _, e := range s.environment() {
		name, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&exports, "export %s='%s'\n", name, value)
	}
	file := filepath.Join(c.Data, "env")
	if err := os.WriteFile(file, []byte(exports.String()), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(file) }()
	fmt.Print(exports.String())
	s.say("up. In another terminal: . %s    Ctrl-C stops; the data stays in %s", file, c.Data)
	select {
	case <-ctx.Done():
		return nil
	case <-s.postgres.died:
		return s.postgres.why
	}
}

// Run implements devstack version.
func (versionCmd) Run(ctx context.Context) error {
	fmt.Println("temporal", temporalVersion)
	bin, err := findPostgres("")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version")
	cmd.Env = append(os.Environ(), libraries(bin)...)
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	fmt.Print(string(out))
	return nil
}

// stack is the two servers, running.
type stack struct {
	dir      string
	quiet    bool
	lock     *os.File
	postgres *postgres
	temporal *temporalServer
}

func (s *stack) say(format string, args ...any) {
	if !s.quiet {
		fmt.Fprintf(os.Stderr, "devstack: "+format+"\n", args...)
	}
}

func start(ctx context.Context, dir string, f stackFlags) (_ *stack, err error) {
	began := time.Now()
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir, quiet: f.Quiet}
	if err := os.MkdirAll(s.logs(), 0o755); err != nil {
		return nil, fmt.Errorf("the data folder %s cannot be made: %w", dir, err)
	}
	s.lock, err = lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	bin, err := findPostgres(f.PostgresBin)
	if err != nil {
		if f.NoInstall || f.PostgresBin != "" {
			return nil, err
		}
		bin, err = installPostgres(ctx, s)
		if err != nil {
			return nil, err
		}
	}
	s.postgres, err = startPostgres(ctx, s, bin, f.PostgresPort)
	if err != nil {
		return nil, err
	}
	s.temporal, err = startTemporal(ctx, s, f.TemporalPort)
	if err != nil {
		return nil, err
	}
	s.say("PostgreSQL on port %d and Temporal %s on port %d, in %.1f s", s.postgres.port, temporalVersion, s.temporal.port, time.Since(began).Seconds())
	return s, nil
}

func (s *stack) logs() string { return filepath.Join(s.dir, "log") }

// environment is what the command is told, as NAME=value.
func (s *stack) environment() []string {
	return []string{
		envDatabase + "=" + s.postgres.url(productRole, s.postgres.password, productDatabase),
		envTemporal + "=" + s.temporal.address(),
		envLogs + "=" + s.logs(),
	}
}

// stop ends Temporal before PostgreSQL, which it writes to.
func (s *stack) stop() {
	if s.temporal != nil {
		s.temporal.stop()
	}
	if s.postgres != nil {
		s.postgres.stop()
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}
