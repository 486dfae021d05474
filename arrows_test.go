package liferelay_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

const module = "github.com/liferelay/liferelay"

// floors is the plan of the house, ground first. A package imports only from floors below its own; a package that is new
// gets its place here.
var floors = [][]string{
	{"migrations", "registry/calendar", "registry/identity/internal/genregions", "registry/lang", "notify", "signon"},
	{"registry/identity", "registry/print"},
	{"policy", "registry/hla", "registry/rules", "registry/seal", "web/chart"},
	{"registry/match"},
	{"registry/forms"},
	{"registry/exchange", "registry/intake"},
	{"registry/intake/intaketest"},
	{"registry"},
	{"courier", "registry/matchbench", "registry/registrytest"},
	{"activities"},
	{"workflows"},
	{"workflows/workflowstest"},
	{"front"},
	{"api", "web"},
	{"cmd/liferelay/demo"},
	{"cmd/liferelay"},
}

// kept lists the imports that only some packages may have, by the beginning of their path; the most particular line counts.
var kept = map[string][]string{
	// The registry is the only room that touches PostgreSQL.
	"github.com/jackc/pgx":           {"registry", "registry/matchbench", "registry/registrytest"},
	"github.com/jackc/pgx/v5/pgtype": {"registry", "registry/registrytest", "registry/calendar"}, // a date says how it is stored
	"github.com/pressly/goose":       {"registry"},
	"go.temporal.io":                 {"activities", "workflows", "workflows/workflowstest"},
	"net/http":                       {"api", "front", "notify", "signon", "web", "cmd/liferelay", "cmd/liferelay/demo"},
	"github.com/wneessen/go-mail":    {"notify"},
	"github.com/signintech/gopdf":    {"registry/print"},
	// Of the provider of single sign-on only one room knows.
	"github.com/coreos/go-oidc":            {"signon"},
	"golang.org/x/oauth2":                  {"signon"},
	"testing":                              {"registry/registrytest", "workflows/workflowstest", "policy"}, // policy: a policy that allows everything is a test's only
	module + "/registry/registrytest":      {"workflows/workflowstest"},
	module + "/registry/intake/intaketest": {"cmd/liferelay/demo"}, // which makes up its sheet
}

// apart lists the folders that are modules of their own. They import nothing of this one.
var apart = []string{"cmd/devstack"}

func TestArrowsPointDown(t *testing.T) {
	found, packages := arrows(t, os.DirFS("."))
	require.Empty(t, found)
	for _, room := range slices.Concat(floors...) {
		require.Contains(t, packages, room, "the plan has a package that the tree has not")
	}
}

func TestAnArrowThatPointsUpIsSeen(t *testing.T) {
	t.Parallel()
	file := func(imports ...string) *fstest.MapFile {
		text := "package p\n"
		for _, i := range imports {
			text += fmt.Sprintf("import _ %q\n", i)
		}
		return &fstest.MapFile{Data: []byte(text)}
	}
	for _, c := range []struct {
		name, file string
		imports    string
		says       string // nothing when it is allowed
	}{
		{"down", "registry/forms/a.go", module + "/registry/hla", ""},
		{"up", "registry/hla/a.go", module + "/registry", "registry/hla/a.go imports registry, which is not below it"},
		{"from the top to the ground", "cmd/liferelay/a.go", module + "/registry/lang", ""},
		{"across a floor", "registry/seal/a.go", module + "/registry/hla", "registry/seal/a.go imports registry/hla, which is not below it"},
		{"a package without a place", "registry/news/a.go", "fmt", "registry/news has no floor: give it its place in this test"},
		{"an import without a place", "api/a.go", module + "/registry/news", "api/a.go imports registry/news, which has no floor"},
		{"a build for another system counts", "registry/hla/a_windows.go", module + "/registry", "registry/hla/a_windows.go imports registry, which is not below it"},
		{"a test is free", "registry/hla/a_test.go", module + "/registry", ""},
		{"PostgreSQL in the vault", "registry/a.go", "github.com/jackc/pgx/v5", ""},
		{"PostgreSQL elsewhere", "workflows/a.go", "github.com/jackc/pgx/v5/pgxpool", "workflows/a.go imports github.com/jackc/pgx/v5/pgxpool, which is kept for registry, registry/matchbench, registry/registrytest"},
		{"a type of PostgreSQL's", "registry/calendar/a.go", "github.com/jackc/pgx/v5/pgtype", ""},
		{"more than a type", "registry/calendar/a.go", "github.com/jackc/pgx/v5", "registry/calendar/a.go imports github.com/jackc/pgx/v5, which is kept for registry, registry/matchbench, registry/registrytest"},
		{"Temporal in a protocol", "workflows/a.go", "go.temporal.io/sdk/workflow", ""},
		{"Temporal elsewhere", "api/a.go", "go.temporal.io/sdk/client", "api/a.go imports go.temporal.io/sdk/client, which is kept for activities, workflows, workflows/workflowstest"},
		{"a test's helper in the product", "workflows/a.go", module + "/registry/registrytest", "workflows/a.go imports " + module + "/registry/registrytest, which is kept for workflows/workflowstest"},
		{"devstack stands apart", "cmd/devstack/a.go", "github.com/jackc/pgx/v5", ""},
		{"and stays apart", "cmd/devstack/a.go", module + "/registry", "cmd/devstack/a.go imports registry of another module"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			found, _ := arrows(t, fstest.MapFS{c.file: file(c.imports), "api/testdata/a.go": file(module + "/cmd/liferelay"), ".ci/a.go": file(module + "/cmd/liferelay")})
			if c.says == "" {
				require.Empty(t, found)
			} else {
				require.Equal(t, []string{c.says}, found)
			}
		})
	}
}

// arrows reads the imports of every package of a tree, tests left out, and returns what is wrong with them and the
// packages it saw.
func arrows(t *testing.T, tree fs.FS) (found, packages []string) {
	t.Helper()
	floor := map[string]int{}
	for height, rooms := range floors {
		for _, room := range rooms {
			floor[room] = height + 1
		}
	}
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		room := path.Dir(name)
		first := !slices.Contains(packages, room)
		if first {
			packages = append(packages, room)
		}
		stands := slices.Contains(apart, room)
		if floor[room] == 0 && !stands {
			if first {
				found = append(found, room+" has no floor: give it its place in this test")
			}
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if wrong := judge(floor, room, stands, imported); wrong != "" {
				found = append(found, name+" imports "+wrong)
			}
		}
		return nil
	})
	require.NoError(t, err)
	return found, packages
}

// judge says what is wrong with an import of a room's, or nothing.
func judge(floor map[string]int, room string, stands bool, imported string) string {
	within, ours := strings.CutPrefix(imported, module+"/")
	switch {
	case stands && ours:
		return within + " of another module"
	case stands:
		return ""
	case ours && floor[within] == 0:
		return within + ", which has no floor"
	case ours && floor[within] >= floor[room]:
		return within + ", which is not below it"
	}
	line := ""
	for beginning := range kept {
		if (imported == beginning || strings.HasPrefix(imported, beginning+"/")) && len(beginning) > len(line) {
			line = beginning
		}
	}
	if line != "" && !slices.Contains(kept[line], room) {
		return imported + ", which is kept for " + strings.Join(kept[line], ", ")
	}
	return ""
}
