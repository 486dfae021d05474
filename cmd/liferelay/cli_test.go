package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// program is the binary that the tests run, as a user does.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "liferelay-cli-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "liferelay")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("building the program: %v\n%s", err, out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// machine is where somebody types commands: an environment with nothing in it but what a test has set.
type machine struct {
	t   testing.TB
	env map[string]string
	dir string
}

func newMachine(t testing.TB) *machine {
	dir := t.TempDir()
	return &machine{t: t, dir: dir, env: map[string]string{"PATH": os.Getenv("PATH"), "HOME": dir, "LANG": "en_GB.UTF-8"}}
}

// with is the machine with another environment; an empty value takes a variable away.
func (m machine) with(env ...string) *machine {
	own := map[string]string{}
	for k, v := range m.env {
		own[k] = v
	}
	for i := 0; i+1 < len(env); i += 2 {
		own[env[i]] = env[i+1]
		if env[i+1] == "" {
			delete(own, env[i])
		}
	}
	m.env = own
	return &m
}

// said is what a command left behind.
type said struct {
	t        testing.TB
	asked    string
	code     int
	out, err string
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = m.dir, []string{}
	for k, v := range m.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	return cmd
}

func (m *machine) run(args ...string) said { return m.typed("", args...) }

// typed runs a command with something on its standard input.
func (m *machine) typed(input string, args ...string) said {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := m.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	require.NoError(m.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		require.Fail(m.t, "the command does not end", "%v\n%s%s", args, out.String(), errs.String())
	case err := <-ended:
		var exit *exec.ExitError
		require.True(m.t, err == nil || errors.As(err, &exit), "%v", err)
	}
	return said{m.t, strings.Join(args, " "), cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (s said) exits(code int) said {
	s.t.Helper()
	require.Equal(s.t, code, s.code, "%s\n%s%s", s.asked, s.out, s.err)
	return s
}

// result reads what a command printed with --json.
func result[T any](s said) T {
	s.t.Helper()
	var out T
	require.NoError(s.t, json.Unmarshal([]byte(s.out), &out), "%s\n%s%s", s.asked, s.out, s.err)
	return out
}

// installation is a machine with a furnished register.
type installation struct {
	*machine
	*registrytest.House
	database string
	queue    string
}

func install(t testing.TB) *installation {
	t.Helper()
	i := &installation{machine: newMachine(t), database: registrytest.NewHouseDatabase(t), queue: "cli-" + uuid.NewString()}
	store, err := registry.Open(context.Background(), registry.Options{URL: i.database, Keys: registrytest.Keys(), MaxConnections: 4})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	i.House = registrytest.OpenHouse(t, store)
	keys := filepath.Join(i.dir, "keys.json")
	require.NoError(t, registrytest.Keys().WriteFile(keys))
	i.env["LIFERELAY_DATABASE_URL"], i.env["LIFERELAY_KEY_FILE"], i.env["LIFERELAY_TEMPORAL_TASK_QUEUE"] = i.database, keys, i.queue
	return i
}

// execute changes something behind the program's back.
func execute(t testing.TB, database, sql string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), registrytest.Past(t, database))
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(context.Background(), sql, args...)
	require.NoError(t, err)
}

// emptyDatabase makes a database with nothing in it.
func emptyDatabase(t testing.TB) string {
	t.Helper()
	server := registrytest.DatabaseURL(t)
	name := "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	execute(t, server, `CREATE DATABASE `+name)
	t.Cleanup(func() {
		// Not by force: the service's own connections, which close a moment after the program, are not the owner's to end.
		require.Eventually(t, func() bool {
			conn, err := pgx.Connect(context.Background(), registrytest.Past(t, server))
			if err != nil {
				return false
			}
			defer func() { _ = conn.Close(context.Background()) }()
			_, err = conn.Exec(context.Background(), `DROP DATABASE `+name)
			return err == nil
		}, 30*time.Second, 50*time.Millisecond)
	})
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

// commands are all that the program has, each with what must be on its line.
var commands = map[string][]string{
	"serve": nil, "worker": nil, "migrate": nil, "demo": nil, "version": nil,
	"intake check": {"--as", "registrar", "--drive", "DR-1", "FILE"}, "intake commit": {"--as", "registrar", "--drive", "DR-1", "FILE"},
	"intake status": {"--as", "registrar", "--drive", "DR-1", "FILE"}, "intake undo": {"--as", "registrar", "--drive", "DR-1", "FILE"},
	"cases list": {"--as", "registrar"}, "cases show": {"--as", "registrar", "01900000-0000-7000-8000-000000000000"}, "cases resume": nil,
	"organisation add": {"--kind", "hospital", "--region", "320106", "某医院"}, "organisation list": nil,
	"organisation serve": {"01900000-0000-7000-8000-000000000000", "320106"},
	"staff add":          {"--name", "N", "--organisation", "01900000-0000-7000-8000-000000000000", "somebody"},
	"staff grant":        {"--region", "320106", "somebody", "registrar"}, "staff revoke": {"--region", "320106", "somebody", "registrar"}, "audit verify": nil,
	"audit export": {"--to", "-"}, "audit heads": nil, "audit key": nil,
	"staff list": nil, "staff show": {"registrar"}, "staff change": {"registrar"}, "staff reset-password": {"registrar"}, "staff reset-factor": {"registrar"}, "staff unlock": {"registrar"},
	"staff end-sessions": {"registrar"}, "staff deactivate": {"registrar"}, "staff reactivate": {"registrar"},
	"staff link": {"--issuer", "https://sso.example", "--subject", "x", "registrar"}, "staff unlink": {"--issuer", "https://sso.example", "--subject", "x", "registrar"},
	"machine add": {"--name", "N", "--organisation", "01900000-0000-7000-8000-000000000000", "lims"},
	"token add":   {"--name", "N", "--scope", "donors:read", "registrar"}, "token list": {"registrar"}, "token revoke": {"01900000-0000-7000-8000-000000000000"},
	"match bench":   {"--donors", "1000", "--haplotypes", "FREQUENCIES"},
	"match wmda":    {"--patients", "PEOPLE", "--donors", "PEOPLE", "--frequencies", "FREQUENCIES"},
	"match convert": {"--to", "gl", "PEOPLE"}, "match search": {"--patients", "PEOPLE", "--donors", "PEOPLE"},
	"notices status": nil, "notices replay": nil, "notices test": {"--mail", "nobody@example.org"},
	"match why":   {"--patient", "A*01:01+A*02:01", "--donor", "A*01:01+A*02:01"},
	"hla explain": {"A*02:01+A*24:02"}, "hla load": {"--codes", "CODES"}, "hla list": nil,
	"population load": {"--name", "HAN", "FREQUENCIES"}, "population mixture": {"MIXTURE"}, "population list": nil,
	"keys list": nil, "keys rotate": {"kek"}, "keys status": nil, "keys retire": {"index", "1"}, "keys wrap": nil,
}

// files are what stands for a file in commands, and what is in it.
var files = map[string]string{
	"FILE": "姓名\n", "CODES": "CODE\tSUBTYPE\nAB\t01/05\n", "PEOPLE": "P1%A*01:01+A*02:01\n", "FREQUENCIES": "A*01:01~C*07:01~B*08:01~DRB1*03:01~DQB1*02:01;0.6\n",
	"MIXTURE": "*,HAN,1\n",
}

// line is a whole line of a command, on a machine that has a file to name.
func (m *machine) line(command string) []string {
	m.t.Helper()
	args := strings.Fields(command)
	for _, arg := range commands[command] {
		if content, named := files[arg]; named {
			arg = filepath.Join(m.dir, strings.ToLower(arg)+".csv")
			require.NoError(m.t, os.WriteFile(arg, []byte(content), 0o600))
		}
		args = append(args, arg)
	}
	return args
}

func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	top := m.run("--help").exits(0)
	listed := regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z-]+)?)  `).FindAllStringSubmatch(top.out, -1)
	var names []string
	for _, l := range listed {
		names = append(names, l[1])
	}
	var all []string
	for command := range commands {
		all = append(all, command)
		help := m.run(append(strings.Fields(command), "--help")...).exits(0)
		require.Contains(t, help.out, "Usage: liferelay "+command)
		for _, flag := range regexp.MustCompile(`(?m)^ +(?:-\w, +)?(--\S+)(.*(?:\n {20,}.*)*)`).FindAllStringSubmatch(help.out, -1) {
			require.Regexp(t, `[A-Za-z]{3}`, flag[2], "%s: %s says nothing", command, flag[1])
		}
		require.Empty(t, help.err)
	}
	require.ElementsMatch(t, all, names)
	for _, group := range []string{"intake", "cases", "organisation", "staff", "machine", "token", "audit", "keys", "hla", "population"} {
		m.run(group, "--help").exits(0)
		m.run(group).exits(80)
	}
}

func TestAWrongCommandLineIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	file := filepath.Join(m.dir, "list.csv")
	require.NoError(t, os.WriteFile(file, []byte("姓名\n"), 0o600))
	for _, args := range [][]string{
		{}, {"nothing"}, {"migrate", "--nothing"}, {"migrate", "more"}, {"version", "--lang", "fr"}, {"version", "--log-level", "loud"},
		{"cases", "list"}, {"cases", "list", "--as", "registrar", "--status", "lost"}, {"cases", "list", "--as", "registrar", "--limit", "many"},
		{"cases", "show", "--as", "registrar"}, {"cases", "show", "--as", "registrar", "SC-2026-000001"},
		{"intake", "check", "--as", "registrar", "--drive", "DR-1"}, {"intake", "check", "--as", "registrar", "--drive", "DR-1", "nofile.csv"},
		{"intake", "check", "--as", "registrar", file}, {"intake", "check", "--drive", "DR-1", file}, {"intake", "check", "--as", "registrar", "--drive", "DR-1", "--programme", "kidney", file},
		{"intake", "check", "--as", "registrar", "--drive", "DR-1", "--encoding", "EBCDIC", file}, {"intake", "commit", "--as", "registrar", "--drive", "DR-1", "--wait", "long", file},
		{"intake", "undo", "--as", "registrar", "--drive", "DR-1", "--expected", "3", file}, // there is nothing to expect of an undoing
		{"organisation", "add", "某医院", "--kind", "shop", "--region", "320106"}, {"organisation", "add", "--kind", "hospital", "--region", "320106"},
		{"staff", "add", "somebody", "--name", "N", "--organisation", "none"}, {"staff", "grant", "somebody", "king", "--region", "320106"}, {"staff", "revoke", "somebody", "king", "--region", "320106"},
	} {
		s := m.run(args...)
		require.Equal(t, 80, s.code, "%v: %s%s", args, s.out, s.err)
		require.Contains(t, s.err, "liferelay: error:", "%v", args)
		require.Empty(t, s.out, "%v", args)
	}
}

func TestASettingThatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	i := install(t)
	for command := range commands {
		args := i.line(command)
		if command == "version" {
			i.with("LIFERELAY_DATABASE_URL", "", "LIFERELAY_KEY_FILE", "").run(args...).exits(0)
			continue
		}
		if strings.HasPrefix(command, "match ") || command == "hla explain" { // which need no register
			i.with("LIFERELAY_DATABASE_URL", "", "LIFERELAY_KEY_FILE", "").run(args...).exits(0)
			continue
		}
		if command == "notices test" { // which asks the mail server and no register
			require.Contains(t, i.with("LIFERELAY_DATABASE_URL", "").run(args...).exits(3).err, "LIFERELAY_SMTP_URL (--smtp-url)")
			continue
		}
		if command == "keys wrap" { // which is about the file alone
			require.Contains(t, i.with("LIFERELAY_DATABASE_URL", "").run(args...).exits(3).err, "LIFERELAY_KMS_ADDRESS (--kms-address): not set")
			continue
		}
		if command == "audit key" { // as well
			i.with("LIFERELAY_DATABASE_URL", "").run(args...).exits(0)
			require.Contains(t, i.with("LIFERELAY_KEY_FILE", filepath.Join(i.dir, "nothing.json")).run(args...).exits(3).err, "LIFERELAY_KEY_FILE (--key-file)")
			continue
		}
		s := i.with("LIFERELAY_DATABASE_URL", "").run(args...).exits(3)
		require.Contains(t, s.err, "LIFERELAY_DATABASE_URL (--database-url): not set", command)
		require.Empty(t, s.out)
		if command == "migrate" || command == "demo" {
			continue
		}
		s = i.with("LIFERELAY_KEY_FILE", filepath.Join(i.dir, "nothing.json")).run(args...).exits(3)
		require.Contains(t, s.err, "LIFERELAY_KEY_FILE (--key-file)", command)
		require.Contains(t, s.err, "nothing.json", command)
	}
	for _, command := range []string{"serve", "worker", "cases resume", "demo"} {
		s := i.run(i.line(command)...).exits(3)
		require.Contains(t, s.err, "LIFERELAY_TEMPORAL_ADDRESS (--temporal-address)", command)
		s = i.with("LIFERELAY_TEMPORAL_ADDRESS", "localhost").run(i.line(command)...).exits(3)
		require.Contains(t, s.err, "host:port", command)
	}
	s := i.run("cases", "list", "--as", "nobody at all").exits(3)
	require.Contains(t, s.err, "LIFERELAY_AS (--as): nobody")
	require.Contains(t, i.with("LANG", "zh_CN.UTF-8").run("cases", "list", "--as", "nobody at all").exits(3).err, "LIFERELAY_AS (--as): 没有")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	s = i.with("LIFERELAY_TEMPORAL_ADDRESS", "127.0.0.1:1").run("serve", "--listen", taken.Addr().String()).exits(3)
	require.Contains(t, s.err, "LIFERELAY_LISTEN (--listen)")
}

func TestADatabaseThatCannotBeUsedIsExplainedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	i := install(t)
	u, err := url.Parse(i.database)
	require.NoError(t, err)
	password, _ := u.User.Password()
	away := *u
	away.Host = "127.0.0.1:1"
	foreign := filepath.Join(i.dir, "foreign.json")
	keys, err := seal.Generate()
	require.NoError(t, err)
	require.NoError(t, keys.WriteFile(foreign))
	old := registrytest.NewDatabase(t)
	execute(t, old, `DELETE FROM goose_db_version WHERE version_id > 1`)
	for _, c := range []struct {
		what  string
		env   []string
		code  int
		en    string
		names string
	}{
		{"away", []string{"LIFERELAY_DATABASE_URL", away.String()}, 1, "does not answer", "127.0.0.1:1"},
		{"no address", []string{"LIFERELAY_DATABASE_URL", "postgres://u:" + password + "@/x"}, 3, "host:port/database", "LIFERELAY_DATABASE_URL"},
		{"another kind of address", []string{"LIFERELAY_DATABASE_URL", "mysql://u:" + password + "@127.0.0.1/x"}, 3, "postgres://", "LIFERELAY_DATABASE_URL"},
		{"not an address", []string{"LIFERELAY_DATABASE_URL", "://" + password}, 3, "postgres://", "LIFERELAY_DATABASE_URL"},
		{"empty", []string{"LIFERELAY_DATABASE_URL", emptyDatabase(t)}, 3, "run liferelay migrate", ""},
		{"older", []string{"LIFERELAY_DATABASE_URL", old}, 3, "run liferelay migrate", ""},
		{"sealed with other keys", []string{"LIFERELAY_KEY_FILE", foreign}, 3, "key file is not this register's", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			for _, locale := range []string{"en", "zh-CN"} {
				s := i.with(append(c.env, "LIFERELAY_LANG", locale)...).run("organisation", "list")
				require.Equal(t, c.code, s.code, s.err)
				require.Empty(t, s.out)
				require.NotContains(t, s.err, password)
				require.Contains(t, s.err, c.names)
				if locale == "en" {
					require.Contains(t, s.err, c.en)
					require.NotRegexp(t, `\p{Han}`, s.err)
				} else {
					require.Regexp(t, `\p{Han}`, s.err)
				}
				asJSON := i.with(append(c.env, "LIFERELAY_LANG", locale)...).run("organisation", "list", "--json").exits(c.code)
				var complaint struct{ Code, Detail string }
				require.NoError(t, json.Unmarshal([]byte(asJSON.err), &complaint), asJSON.err)
				require.NotEmpty(t, complaint.Code)
				require.Equal(t, strings.TrimSpace(s.err), "liferelay: "+complaint.Detail)
			}
		})
	}
}

// login makes a login of the database's server, and the address of a database as it.
func login(t testing.TB, database, name string) string {
	t.Helper()
	password := uuid.NewString()
	execute(t, database, `CREATE ROLE `+name+` LOGIN PASSWORD '`+password+`'`)
	return as(t, database, name, password)
}

// as is the address of a database for another login, whose role goes when the test ends.
func as(t testing.TB, database, name, password string) string {
	t.Helper()
	t.Cleanup(func() { execute(t, registrytest.DatabaseURL(t), `DROP ROLE IF EXISTS `+name) })
	u, err := url.Parse(database)
	require.NoError(t, err)
	u.User = url.UserPassword(name, password)
	return u.String()
}

func TestTheOwnerMigratesAndTheServiceOwnsNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	owner := emptyDatabase(t)
	name := "desk_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	password := "pässword " + uuid.NewString()
	service := as(t, owner, name, password)
	m.env["LIFERELAY_DATABASE_URL"] = service
	m.env["LIFERELAY_KEY_FILE"] = filepath.Join(m.dir, "keys.json")
	m.env["LIFERELAY_TEMPORAL_ADDRESS"] = "127.0.0.1:1"
	both := func(code int, says, sagt string, m *machine, args ...string) {
		t.Helper()
		s := m.run(args...).exits(code)
		require.Contains(t, s.err, says)
		require.NotContains(t, s.err, password)
		require.Contains(t, m.with("LANG", "zh_CN.UTF-8").run(args...).exits(code).err, sagt)
	}
	both(3, "does not let "+name+" in", "不允许 "+name+" 登录", m, "migrate")
	both(3, "The owner and the login that services use have to be two", "必须分开", m.with("LIFERELAY_OWNER_URL", service), "migrate")

	migrating := m.with("LIFERELAY_OWNER_URL", owner)
	migrating.run("migrate").exits(0)
	migrating.run("migrate").exits(0)
	m.run("organisation", "list").exits(0)
	both(3, "Run liferelay migrate with LIFERELAY_OWNER_URL", "请运行 liferelay migrate", m, "migrate")
	for _, command := range []string{"serve", "worker"} {
		both(3, "It names the owner of the tables", "该地址使用的是表的所有者", m.with("LIFERELAY_DATABASE_URL", owner), command)
	}

	// Another password is another password.
	execute(t, owner, `ALTER ROLE `+name+` PASSWORD 'other'`)
	m.run("organisation", "list").exits(3)
	migrating.run("migrate").exits(0)
	m.run("organisation", "list").exits(0)

	absent, err := url.Parse(service)
	require.NoError(t, err)
	absent.Path = "/nowhere"
	both(3, "There is no database nowhere", "没有数据库 nowhere", m.with("LIFERELAY_DATABASE_URL", absent.String()), "organisation", "list")
}

// A statement that fails is in the server's log, whatever is in it.
func TestThePasswordOfALoginDoesNotReachTheServersLog(t *testing.T) {
	t.Parallel()
	database := emptyDatabase(t)
	weak := login(t, database, "weak_"+strings.ReplaceAll(uuid.NewString(), "-", ""))
	wanted, secret := "wanted_"+strings.ReplaceAll(uuid.NewString(), "-", ""), "secret-"+uuid.NewString()
	err := registry.MakeLogin(context.Background(), registry.Options{URL: weak}, wanted, secret)
	require.Equal(t, "42501", registry.SQLState(err))
	logs := os.Getenv("LIFERELAY_DEVSTACK_LOGS")
	if logs == "" {
		if os.Getenv("LIFERELAY_TEST_REQUIRE") != "" {
			t.Fatal("LIFERELAY_DEVSTACK_LOGS is not set")
		}
		t.Skip("needs the log of PostgreSQL: run make test, or set LIFERELAY_DEVSTACK_LOGS (devstack up prints it)")
	}
	log, err := os.ReadFile(filepath.Join(logs, "postgres.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), wanted, "the statement that failed is there")
	require.NotContains(t, string(log), secret)
}

func TestAKeyFileThatOthersMayReadIsRefused(t *testing.T) {
	t.Parallel()
	i := install(t)
	file := i.env["LIFERELAY_KEY_FILE"]
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o644} {
		require.NoError(t, os.Chmod(file, mode))
		for _, command := range [][]string{{"organisation", "list"}, {"migrate"}} {
			s := i.run(command...).exits(3)
			require.Contains(t, s.err, "chmod 600")
			require.Contains(t, s.err, "LIFERELAY_KEY_FILE")
		}
	}
	require.NoError(t, os.Chmod(file, 0o600))
	i.run("organisation", "list").exits(0)
	require.NoError(t, os.WriteFile(file, []byte(`{"format": 9}`), 0o600))
	s := i.run("organisation", "list").exits(3)
	require.Contains(t, s.err, "LIFERELAY_KEY_FILE")
}

func TestANewRegisterGetsAKeyFileLoudlyAndOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.env["LIFERELAY_DATABASE_URL"] = emptyDatabase(t)
	file := filepath.Join(m.dir, "deep", "down", "keys.json")
	m.env["LIFERELAY_KEY_FILE"] = file

	// A key file that cannot be written makes no register: it would be sealed with keys that nobody has.
	blocked := filepath.Join(m.dir, "blocked")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	m.with("LIFERELAY_KEY_FILE", filepath.Join(blocked, "keys.json")).run("migrate").exits(3)
	require.NoFileExists(t, file)
	spare := filepath.Join(m.dir, "spare.json")
	keys, err := seal.Generate()
	require.NoError(t, err)
	require.NoError(t, keys.WriteFile(spare))
	require.Contains(t, m.with("LIFERELAY_KEY_FILE", spare).run("organisation", "list").exits(3).err, "has no register in it")

	first := m.run("migrate").exits(0)
	require.Contains(t, first.err, "A KEY FILE WAS MADE: "+file)
	require.Regexp(t, `^schema 0 → [1-9]\d*, \d{4,} regions loaded, keyring [0-9a-f]{16}\n$`, first.out)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, first.out+first.err, "keyValue")

	again := m.run("migrate", "--json").exits(0)
	require.NotContains(t, again.err, "KEY FILE")
	made := result[registry.Migration](again)
	require.Equal(t, made.From, made.To)
	require.Zero(t, made.Regions)
	same, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, content, same)

	// A register that is sealed never gets another key file.
	require.NoError(t, os.Rename(file, file+".safe"))
	lost := m.run("migrate").exits(3)
	require.Contains(t, lost.err, "sealed with keyring")
	require.NoFileExists(t, file)
	require.NoError(t, keys.WriteFile(file))
	require.Contains(t, m.run("migrate").exits(3).err, "is not this register's")

	chinese := newMachine(t)
	chinese.env["LANG"], chinese.env["LIFERELAY_DATABASE_URL"] = "zh_CN.UTF-8", emptyDatabase(t)
	s := chinese.run("migrate").exits(0)
	require.Contains(t, s.err, "已生成密钥文件："+filepath.Join(chinese.dir, ".config", "liferelay", "keys.json"))
	require.Contains(t, s.out, "数据库结构 0 →")
	chinese.run("organisation", "list").exits(0)
}

func TestAnOperatorFurnishesARegister(t *testing.T) {
	t.Parallel()
	i := install(t)
	ctx := context.Background()
	id := strings.TrimSpace(i.run("organisation", "add", "栖霞区红十字会", "--kind", "red_cross", "--region", "320113", "--name-en", "Red Cross of Qixia").exits(0).out)
	require.NoError(t, uuid.Validate(id))
	made := result[registry.Organisation](i.run("organisation", "add", "某医院", "--kind", "hospital", "--region", "320113", "--json").exits(0))
	require.Equal(t, "某医院", made.Name)
	listed := i.run("organisation", "list").exits(0).out
	require.Contains(t, listed, id+"  red_cross      320113  栖霞区红十字会\n")
	require.Len(t, strings.Split(strings.TrimSpace(listed), "\n"), 9)
	for _, line := range strings.Split(strings.TrimSpace(i.run("organisation", "list", "--json").exits(0).out), "\n") {
		var o registry.Organisation
		require.NoError(t, json.Unmarshal([]byte(line), &o))
	}
	require.Contains(t, i.run("organisation", "serve", made.ID.String(), "320100", "321000").exits(0).out, "某医院 +320100 +321000\n")
	require.Contains(t, i.run("organisation", "list").exits(0).out, "某医院 +320100 +321000\n")
	require.Contains(t, i.run("organisation", "serve", made.ID.String(), "999999").exits(1).err, "R118")
	require.Contains(t, i.run("organisation", "serve", made.ID.String()).exits(0).out, "某医院\n")
	require.Contains(t, i.run("organisation", "serve", uuid.NewString(), "320100").exits(1).err, "no such organisation")
	require.Contains(t, i.run("organisation", "add", "店", "--kind", "host", "--region", "999999").exits(1).err, "R118")

	const password = "a long enough password"
	add := []string{"staff", "add", "newcomer", "--name", "新人", "--organisation", id}
	staff := strings.TrimSpace(i.typed(password+"\n", add...).exits(0).out)
	require.NoError(t, uuid.Validate(staff))
	session, err := i.Store.SignIn(ctx, "newcomer", password, registry.BearerSession, time.Hour, registry.From{})
	require.NoError(t, err)
	require.Equal(t, staff, session.Actor.Staff().String())
	require.Contains(t, i.typed(password, add...).exits(1).err, "taken")
	for _, input := range []string{"short\n", "", "\n"} {
		s := i.typed(input, "staff", "add", "other2", "--name", "N", "--organisation", id).exits(1)
		require.Regexp(t, `R1(01|20) [Pp]assword`, s.err)
		require.NotContains(t, s.err, "short\n")
	}
	require.Contains(t, i.typed(password, "staff", "add", "other2", "--name", "N", "--organisation", uuid.NewString()).exits(1).err, "no such organisation")

	until := time.Now().In(registry.Zone).AddDate(0, 0, 30).Format(time.DateOnly)
	require.Equal(t, "newcomer is registrar in 320113 until "+until+".\n", i.run("staff", "grant", "newcomer", "registrar", "--region", "320113", "--until", until).exits(0).out)
	drives, err := i.Store.ListDrives(ctx, session.Actor, uuid.Nil, 1)
	require.NoError(t, err)
	require.Empty(t, drives)
	require.NoError(t, uuid.Validate(result[map[string]string](i.run("staff", "grant", "newcomer", "laboratory", "--region", "000000", "--json").exits(0))["id"]))
	require.Contains(t, i.run("staff", "grant", "newcomer", "registrar", "--region", "320113", "--until", "30.11.2027").exits(3).err, "--until")
	require.Contains(t, i.run("staff", "grant", "newcomer", "registrar", "--region", "320113", "--until", "2020-01-01").exits(1).err, "R139")
	require.Contains(t, i.run("staff", "grant", "stranger", "registrar", "--region", "320113").exits(1).err, "no such member of staff")
	require.Equal(t, "newcomer is registrar in 320113 no more.\n", i.run("staff", "revoke", "newcomer", "registrar", "--region", "320113").exits(0).out)
	_, err = i.Store.ListDrives(ctx, session.Actor, uuid.Nil, 1)
	require.Equal(t, registry.Denied, registry.KindOf(err))
	require.Contains(t, i.with("LANG", "zh_CN.UTF-8").run("staff", "revoke", "newcomer", "registrar", "--region", "320113").exits(1).err, "没有找到该授权")
	require.JSONEq(t, `{"revoked": true}`, i.run("staff", "revoke", "newcomer", "laboratory", "--region", "000000", "--json").exits(0).out)
}

func TestTheAuditIsVerifiedAtTheMachine(t *testing.T) {
	t.Parallel()
	i := install(t)
	sealed, err := i.Store.SealAudit(context.Background(), 1000)
	require.NoError(t, err)
	require.Positive(t, sealed)
	s := i.run("audit", "verify").exits(0)
	require.Regexp(t, `^verified: \d+ rows in (1 seal|([02-9]|\d\d+) seals) are as they were written; (1 waits for its|([02-9]|\d\d+) wait for their) seal\n$`, s.out)
	require.Empty(t, s.err, "a progress bar where nobody looks")
	require.Contains(t, i.with("LANG", "zh_CN.UTF-8").run("audit", "verify").exits(0).out, "核验通过")
	require.True(t, result[registry.AuditReport](i.run("audit", "verify", "--json").exits(0)).Verified)

	// Only who owns the database can: the register itself refuses it.
	execute(t, i.database, `ALTER TABLE audit DISABLE TRIGGER USER; UPDATE audit SET allowed = NOT allowed WHERE id = (SELECT a.id FROM audit a LEFT JOIN audit_unsealed u USING (id) WHERE u.id IS NULL LIMIT 1)`)
	require.Contains(t, i.run("audit", "verify").exits(1).out, "BROKEN")
	require.Contains(t, i.with("LIFERELAY_LANG", "zh").run("audit", "verify").exits(1).out, "已被改动")
	report := result[registry.AuditReport](i.run("audit", "verify", "--json").exits(1))
	require.False(t, report.Verified)
	require.NotEmpty(t, report.Finding)
}

// What the register says of its audit is kept outside, and verified there by somebody who has the public key and nothing else.
func TestTheAuditIsExportedAndVerifiedAtItsKeepers(t *testing.T) {
	t.Parallel()
	i := install(t)
	_, err := i.Store.SealAudit(context.Background(), 1000)
	require.NoError(t, err)
	key := strings.TrimSpace(i.run("audit", "key").exits(0).out)
	require.Equal(t, map[string]string{"key": key, "register": registrytest.Keys().Fingerprint()}, result[map[string]string](i.run("audit", "key", "--json").exits(0)))
	first, kept := filepath.Join(i.dir, "first.ndjson"), filepath.Join(i.dir, "kept.ndjson")
	require.Regexp(t, `^exported: \d+ rows in 1 seal; the next export is --since 1\n$`, i.run("audit", "export", "--to", first).exits(0).err)
	require.Contains(t, i.run("audit", "export", "--to", first).exits(1).err, "is not replaced")
	info, err := os.Stat(first)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	head := i.run("audit", "heads").exits(0).out
	require.NoError(t, os.WriteFile(kept, []byte(head), 0o600))
	require.Contains(t, i.run("audit", "verify", "--against", kept).exits(0).out, "1 kept head is in the chain")
	require.True(t, result[registry.AuditReport](i.run("audit", "verify", "--against", first, "--json").exits(0)).Verified)

	_, err = i.Store.SealAudit(context.Background(), 1000)
	require.NoError(t, err)
	second := i.run("audit", "export", "--to", "-", "--since", "1").exits(0).out
	require.Contains(t, second, `"since":1`)
	require.Contains(t, i.run("audit", "export", "--to", filepath.Join(i.dir, "never"), "--since", "9").exits(1).err, "There is no seal 9")
	require.NoFileExists(t, filepath.Join(i.dir, "never"))

	keeper := newMachine(t)
	data, err := os.ReadFile(first)
	require.NoError(t, err)
	both := filepath.Join(keeper.dir, "both.ndjson")
	require.NoError(t, os.WriteFile(both, append(data, second...), 0o600))
	require.Contains(t, keeper.run("audit", "verify", "--export", both, "--key", key, "--against", kept).exits(0).out, "verified: ")
	require.Contains(t, keeper.run("audit", "verify", "--export", both).exits(1).err, "--key")
	require.Contains(t, keeper.run("audit", "verify", "--export", both, "--key", "nonsense").exits(1).err, "not a public key")
	require.NoError(t, os.WriteFile(both, []byte(strings.Replace(string(data), `"allowed":true`, `"allowed":false`, 1)), 0o600))
	require.Contains(t, keeper.run("audit", "verify", "--export", both, "--key", key).exits(1).out, "BROKEN: a row was changed (row ")
	require.NoError(t, os.WriteFile(both, []byte("nonsense\n"), 0o600))
	require.Contains(t, keeper.run("audit", "verify", "--export", both, "--key", key).exits(1).err, "Line 1 ")
	require.Contains(t, i.run("audit", "verify", "--against", both).exits(1).err, "Line 1 ")
}

func TestTheVersionNamesProgramAndPolicy(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	v := result[map[string]string](m.run("version", "--json").exits(0))
	require.Equal(t, policy.Fingerprint(), v["policy"])
	require.Len(t, v["version"], 12)
	require.Equal(t, fmt.Sprintf("liferelay %s (%s), policy %.12s\n", v["version"], v["go"], v["policy"]), m.run("version").exits(0).out)
}

// temporal lets the machine reach the desk.
func (i *installation) temporal() *installation {
	i.env["LIFERELAY_TEMPORAL_ADDRESS"] = workflowstest.TemporalAddress(i.t)
	return i
}
