package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows"
)

// globals are the settings of every command, from flags or the environment.
type globals struct {
	Database  string `name:"database-url" env:"LIFERELAY_DATABASE_URL" placeholder:"URL" help:"The register's PostgreSQL: postgres://user:password@host:port/database."`
	Temporal  string `name:"temporal-address" env:"LIFERELAY_TEMPORAL_ADDRESS" placeholder:"HOST:PORT" help:"The Temporal server's frontend."`
	Namespace string `name:"temporal-namespace" env:"LIFERELAY_TEMPORAL_NAMESPACE" default:"default" help:"The Temporal namespace."`
	TaskQueue string `name:"temporal-task-queue" env:"LIFERELAY_TEMPORAL_TASK_QUEUE" default:"liferelay" help:"The Temporal task queue."`
	KeyFile   string `env:"LIFERELAY_KEY_FILE" default:"${keyfile}" type:"path" help:"The file with the register's keys, readable by nobody else."`
	LogLevel  string `env:"LIFERELAY_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"What the log tells: ${enum}."`
	LogFormat string `env:"LIFERELAY_LOG_FORMAT" enum:"json,console" default:"json" help:"How the log looks: ${enum}."`
	JSON      bool   `help:"Print results as JSON, for programs."`
	Lang      string `env:"LIFERELAY_LANG" placeholder:"LANG" help:"Language of sentences: zh-CN or en. From LANG when left out."`
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

// configError names the setting that is wrong.
type configError struct{ setting, says string }

func (e configError) Error() string { return e.setting + ": " + e.says }

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

// explain puts an error into words, in the reader's language where there is a sentence for it.
func (g *globals) explain(err error) string {
	var known *registry.Error
	if errors.As(err, &known) {
		if id := "error." + known.Code; lang.Has(id) {
			text := g.locale().Say(id, known.Args)
			for _, p := range registry.ProblemTexts(known.Problems, g.locale()) {
				text += fmt.Sprintf("\n  %s %s: %s %s", p.Code, p.Label, p.Is, p.Mend)
			}
			return text
		}
		if known.Kind == registry.Incompatible && known.Unwrap() != nil {
			return known.Unwrap().Error()
		}
	}
	return err.Error()
}

func (g *globals) needDatabase() error {
	if g.Database == "" {
		return configError{"LIFERELAY_DATABASE_URL (--database-url)", "not set: it names the register's PostgreSQL, such as postgres://liferelay:secret@127.0.0.1:5432/liferelay"}
	}
	return nil
}

func (g *globals) needTemporal() error {
	if g.Temporal == "" {
		return configError{"LIFERELAY_TEMPORAL_ADDRESS (--temporal-address)", "not set: it names the Temporal server, such as 127.0.0.1:7233"}
	}
	return nil
}

func (g *globals) keys() (*seal.Keyring, error) {
	keys, err := seal.ReadFile(g.KeyFile)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, configError{"LIFERELAY_KEY_FILE (--key-file)", g.KeyFile + " does not exist: liferelay migrate makes one for a new register"}
		}
		return nil, configError{"LIFERELAY_KEY_FILE (--key-file)", err.Error()}
	}
	return keys, nil
}

func (g *globals) logger() (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(g.LogLevel)
	if err != nil {
		return nil, configError{"LIFERELAY_LOG_LEVEL (--log-level)", err.Error()}
	}
	config := zap.NewProductionConfig()
	config.Level = zap.NewAtomicLevelAt(level)
	config.Encoding = g.LogFormat
	config.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	config.DisableStacktrace = true
	config.Sampling = nil
	return config.Build()
}

// open connects to the register, checked: its schema and its keys are this program's.
func (g *globals) open(ctx context.Context, log *zap.Logger) (*registry.Store, *seal.Keyring, error) {
	if err := g.needDatabase(); err != nil {
		return nil, nil, err
	}
	keys, err := g.keys()
	if err != nil {
		return nil, nil, err
	}
	store, err := registry.Open(ctx, registry.Options{URL: g.Database, Keys: keys, Log: log})
	return store, keys, err
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
