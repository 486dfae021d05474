package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestMain lets the test binary stand in for devstack, so that the tests start the very commands a user types.
func TestMain(m *testing.M) {
	if os.Getenv("DEVSTACK_TEST_AS_MAIN") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

func devstack(t *testing.T, env []string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(append(os.Environ(), "DEVSTACK_TEST_AS_MAIN=1"), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// dataDir is a folder that an unprivileged PostgreSQL can reach, which t.TempDir is not when the tests run as root.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "devstack-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestRunGivesTheAddressesAndReturnsTheCommandsCode(t *testing.T) {
	cmd, out := devstack(t, nil, "run", "--", "sh", "-c", `echo "db=$LIFERELAY_DATABASE_URL"; echo "temporal=$LIFERELAY_TEMPORAL_ADDRESS"; exit 7`)
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != 7 {
		t.Fatalf("exit code %d (%v), want the command's 7\n%s", cmd.ProcessState.ExitCode(), err, out)
	}
	for _, want := range []string{"db=postgres://liferelay:", "@127.0.0.1:", "temporal=127.0.0.1:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
}

func TestUpRecoversAfterKill(t *testing.T) {
	dir := dataDir(t)
	url := up(t, dir, func(cmd *exec.Cmd) { _ = cmd.Process.Kill() }, func(ctx context.Context, conn *pgx.Conn) {
		if _, err := conn.Exec(ctx, `CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)`); err != nil {
			t.Fatal(err)
		}
	})
	again := up(t, dir, func(cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGTERM) }, func(ctx context.Context, conn *pgx.Conn) {
		var n int
		if err := conn.QueryRow(ctx, `SELECT n FROM kept`).Scan(&n); err != nil || n != 42 {
			t.Fatalf("the row is gone after kill -9: %d, %v", n, err)
		}
	})
	if url == "" || again == "" {
		t.Fatal("no address")
	}
}

// up starts devstack up on a folder, lets use work with its database, ends it, and returns the address.
func up(t *testing.T, dir string, end func(*exec.Cmd), use func(context.Context, *pgx.Conn)) string {
	t.Helper()
	cmd, out := devstack(t, nil, "up", "--data", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer end(cmd)
	_ = os.Remove(filepath.Join(dir, "env"))
	deadline := time.Now().Add(90 * time.Second)
	for time.Now().Before(deadline) {
		content, err := os.ReadFile(filepath.Join(dir, "env"))
		_, after, found := strings.Cut(string(content), "LIFERELAY_DATABASE_URL='")
		if err != nil || !found {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		url, _, _ := strings.Cut(after, "'")
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(ctx) }()
		use(ctx, conn)
		return url
	}
	t.Fatalf("devstack up did not come up:\n%s", out)
	return ""
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	held := dataDir(t)
	lock, err := lockDir(held)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()

	for _, c := range []struct {
		name string
		args []string
		says []string
	}{
		{"no command", []string{"run", "--"}, []string{"nothing to run"}},
		{"unknown command", []string{"run", "--", "no-such-command-here"}, []string{"no-such-command-here", "cannot be found"}},
		{"no binaries where named", []string{"run", "--postgres-bin", "/nonexistent", "--", "true"}, []string{"/nonexistent", "--postgres-bin"}},
		{"PostgreSQL's port taken", []string{"run", "--postgres-port", port, "--", "true"}, []string{port, "taken", "--postgres-port"}},
		{"Temporal's port taken", []string{"run", "--temporal-port", port, "--", "true"}, []string{port, "taken", "--temporal-port"}},
		{"folder in use", []string{"run", "--data", held, "--", "true"}, []string{"another devstack", held}},
		{"folder cannot be made", []string{"run", "--data", "/proc/nope", "--", "true"}, []string{"/proc/nope", "cannot be made"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd, out := devstack(t, nil, c.args...)
			_ = cmd.Run()
			if cmd.ProcessState.ExitCode() != exitOwn {
				t.Errorf("exit code %d, want %d", cmd.ProcessState.ExitCode(), exitOwn)
			}
			for _, want := range c.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out)
				}
			}
		})
	}
}
