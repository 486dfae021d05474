package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows"
)

// globals are the settings of every command, from flags or the environment.
type globals struct {
	Database  string      `name:"database-url" env:"LIFERELAY_DATABASE_URL" placeholder:"URL" help:"The register's PostgreSQL: postgres://user:password@host:port/database."`
	Owner     string      `name:"owner-url" env:"LIFERELAY_OWNER_URL" placeholder:"URL" help:"The same database as its owner, for migrate only. Everything else signs in as a role that owns nothing."`
	Temporal  string      `name:"temporal-address" env:"LIFERELAY_TEMPORAL_ADDRESS" placeholder:"HOST:PORT" help:"The Temporal server's frontend."`
	Namespace string      `name:"temporal-namespace" env:"LIFERELAY_TEMPORAL_NAMESPACE" default:"default" help:"The Temporal namespace."`
	TaskQueue string      `name:"temporal-task-queue" env:"LIFERELAY_TEMPORAL_TASK_QUEUE" default:"liferelay" help:"The Temporal task queue."`
	KeyFile   string      `env:"LIFERELAY_KEY_FILE" default:"${keyfile}" type:"path" help:"The file with the register's keys, readable by nobody else."`
	KMS       kmsSettings `embed:""`
	Outside   outside     `embed:""`
	LogLevel  string      `env:"LIFERELAY_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"What the log tells: ${enum}."`
	LogFormat string      `env:"LIFERELAY_LOG_FORMAT" enum:"json,console" default:"json" help:"How the log looks: ${enum}."`
	// RequireFactor is serve's, see there.
	RequireFactor []string `kong:"-"`
	// Pool is serve's too.
	Pool string `kong:"-"`
	// Channels are what the service sends notices on.
	Channels []registry.Channel `kong:"-"`
	JSON     bool               `help:"Print results as JSON, for programs."`
	Lang     string             `env:"LIFERELAY_LANG" enum:",zh-CN,zh,en" default:"" placeholder:"LANG" help:"Language of sentences: zh-CN or en. From LANG when left out."`
}

// exitCode ends the program with a code when everything has been said.
type exitCode int

// The exit codes, see the command's doc comment.
const (
	exitRefused exitCode = 1
	exitSome    exitCode = 2
	exitConfig  exitCode = 3
)

func (e exitCode) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// configError names the setting that is wrong. says is the name of a sentence, or what somebody else has said.
type configError struct {
	setting, says string
	args          map[string]any
}

func (e configError) Error() string { return e.setting + ": " + e.says }

// The settings that are named.
const (
	databaseSetting = "LIFERELAY_DATABASE_URL (--database-url)"
	temporalSetting = "LIFERELAY_TEMPORAL_ADDRESS (--temporal-address)"
	keyFileSetting  = "LIFERELAY_KEY_FILE (--key-file)"
	ownerSetting    = "LIFERELAY_OWNER_URL (--owner-url)"
)

// said is an error whose sentence has a name.
type said struct {
	id   string
	args map[string]any
}

func (e said) Error() string { return e.id }

func codeOf(err error) exitCode {
	var config configError
	if errors.As(err, &config) || registry.KindOf(err) == registry.Incompatible {
		return exitConfig
	}
	return exitRefused
}

func defaultKeyFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "liferelay-keys.json"
	}
	return filepath.Join(dir, "liferelay", "keys.json")
}

func (g *globals) locale() lang.Locale {
	if g.Lang != "" {
		return lang.Pick(g.Lang)
	}
	// LANG is C or en_GB.UTF-8, neither of which is a language tag.
	name, _, _ := strings.Cut(os.Getenv("LANG"), ".")
	if name == "" || name == "C" || name == "POSIX" {
		return lang.English
	}
	return lang.Pick(strings.ReplaceAll(name, "_", "-"))
}

// say gives a sentence in the reader's language.
func (g *globals) say(id string, args map[string]any) string { return g.locale().Say(id, args) }

// tell writes a sentence to standard error, for people: what programs read goes to standard output.
func (g *globals) tell(id string, args map[string]any) {
	fmt.Fprintln(os.Stderr, g.say(id, args))
}

// complaint is an error as programs read it.
type complaint struct {
	Code   string                 `json:"code"`
	Detail string                 `json:"detail"`
	Errors []registry.ProblemText `json:"errors,omitempty"`
}

// explain puts an error into words, in the reader's language where there is a sentence for it.
func (g *globals) explain(err error) complaint {
	var known *registry.Error
	var config configError
	var own said
	switch {
	case errors.As(err, &config):
		text := config.says
		if lang.Has(text) {
			text = g.say(text, config.args)
		}
		return complaint{Code: "configuration", Detail: config.setting + ": " + text}
	case errors.As(err, &own):
		return complaint{Code: strings.TrimPrefix(own.id, "cli."), Detail: g.say(own.id, own.args)}
	case errors.Is(err, context.Canceled):
		return complaint{Code: "interrupted", Detail: g.say("cli.interrupted", nil)}
	case errors.As(err, &known):
		c := complaint{Code: known.Code, Detail: known.Error()}
		if id := "error." + known.Code; lang.Has(id) {
			c.Detail, c.Errors = g.say(id, known.Args), registry.ProblemTexts(known.Problems, g.locale())
		} else if known.Kind == registry.Incompatible && known.Unwrap() != nil {
			c.Detail = known.Unwrap().Error()
		}
		return c
	}
	return complaint{Code: "failed", Detail: err.Error()}
}

// complain tells an error on standard error, as JSON for programs.
func (g *globals) complain(err error) {
	c := g.explain(err)
	if g.JSON {
		encoder := json.NewEncoder(os.Stderr)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(c)
		return
	}
	fmt.Fprintln(os.Stderr, "liferelay:", c.Detail)
	for _, p := range c.Errors {
		fmt.Fprintf(os.Stderr, "  %s %s: %s %s\n", p.Code, p.Label, p.Is, p.Mend)
	}
}

func (g *globals) needDatabase() error {
	if g.Database == "" {
		return configError{setting: databaseSetting, says: "cli.database_unset"}
	}
	if u, err := url.Parse(g.Database); err != nil || u.Host == "" || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return configError{setting: databaseSetting, says: "cli.database_unreadable"}
	}
	return nil
}

func (g *globals) needTemporal() error {
	if g.Temporal == "" {
		return configError{setting: temporalSetting, says: "cli.temporal_unset"}
	}
	if host, port, err := net.SplitHostPort(g.Temporal); err != nil || host == "" || port == "" {
		return configError{setting: temporalSetting, says: "cli.temporal_unreadable"}
	}
	return nil
}

func (g *globals) keys(ctx context.Context) (*seal.Keyring, error) {
	kms, err := g.KMS.service()
	if err != nil {
		return nil, err
	}
	keys, err := seal.Read(ctx, g.KeyFile, kms)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, configError{setting: keyFileSetting, says: "cli.key_file_missing", args: map[string]any{"Path": g.KeyFile}}
		}
		return nil, configError{setting: keyFileSetting, says: err.Error()}
	}
	return keys, nil
}

func (g *globals) logger() (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(g.LogLevel)
	if err != nil {
		return nil, err
	}
	config := zap.NewProductionConfig()
	config.Level = zap.NewAtomicLevelAt(level)
	config.Encoding = g.LogFormat
	config.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	config.DisableStacktrace = true
	config.Sampling = nil
	return config.Build()
}

// openPatience is how long a command waits for the database to answer at all.
const openPatience = 15 * time.Second

// open connects to the register, checked: its schema and its keys are this program's.
func (g *globals) open(ctx context.Context, log *zap.Logger) (*registry.Store, *seal.Keyring, error) {
	if err := g.needDatabase(); err != nil {
		return nil, nil, err
	}
	keys, err := g.keys(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	store, err := registry.Open(ctx, registry.Options{URL: g.Database, Keys: keys, Log: log, RequireFactor: g.RequireFactor, Pool: g.Pool, Channels: g.Channels, PrivateHooks: g.Outside.PrivateHooks, Public: g.Outside.Public})
	return store, keys, g.away(err)
}

// away gives the sentences of a database that does not answer or does not let this login do what is needed, with what to mend.
func (g *globals) away(err error) error { return awayAt(databaseSetting, g.Database, err) }

func awayAt(setting, address string, err error) error {
	u, parsed := url.Parse(address)
	if parsed != nil {
		return err
	}
	args := map[string]any{"Host": u.Host, "Setting": setting, "Login": u.User.Username(), "Database": strings.TrimPrefix(u.Path, "/")}
	switch state := registry.SQLState(err); {
	case strings.HasPrefix(state, "28"): // invalid authorization
		return configError{setting: setting, says: "cli.login_barred", args: args}
	case state == "3D000":
		return configError{setting: setting, says: "cli.database_absent", args: args}
	case state == "42501": // insufficient privilege
		return configError{setting: setting, says: "cli.owner_needed", args: args}
	case registry.KindOf(err) == registry.Unavailable:
		return said{"cli.database_away", args}
	}
	return err
}

// dial prepares the way to the desk.
func (g *globals) dial(keys *seal.Keyring, log *zap.Logger) (*workflows.Client, error) {
	if err := g.needTemporal(); err != nil {
		return nil, err
	}
	return workflows.Dial(workflows.Options{Address: g.Temporal, Namespace: g.Namespace, TaskQueue: g.TaskQueue, Keys: keys, Log: log})
}

// operator is who acts in commands that hold the keys and name nobody.
func operator() registry.Actor {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return registry.Operator(name)
}

// print writes a result: as JSON for programs, else with say.
func (g *globals) print(result any, say func()) error {
	if !g.JSON {
		say()
		return nil
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(result)
}
