package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	temporaryPrefix = "liferelay-devstack-"
	lockName        = "lock"
)

// defaultDataDir is where devstack up keeps its data: a place that an unprivileged PostgreSQL can reach even when
// devstack itself runs as root, which a folder under /root is not.
func defaultDataDir() string {
	if runtimeDir := os.Getenv("DEVSTACK_DATA"); runtimeDir != "" {
		return runtimeDir
	}
	return filepath.Join("/var/tmp", fmt.Sprintf("liferelay-devstack-up-%d", os.Getuid()))
}

// lockDir makes sure that one data folder has one devstack. The lock goes with the process, so a kill -9 frees it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the data folder %s cannot be written: %w", dir, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		_ = f.Close()
		return nil, fmt.Errorf("another devstack is using %s: stop it, or name another folder with --data", dir)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return f, nil
}

// sweepTemporary removes the temporary folders of earlier runs that were killed before they could.
func sweepTemporary() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), temporaryPrefix+"*"))
	for _, dir := range dirs {
		if strings.HasPrefix(filepath.Base(dir), temporaryPrefix+"up-") {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, lockName)); err != nil {
			continue // another run is just making it
		}
		lock, err := lockDir(dir)
		if err != nil {
			continue // in use, or not ours
		}
		stopOrphan(filepath.Join(dir, "postgres"))
		_ = os.RemoveAll(dir)
		_ = lock.Close()
	}
}

// checkSpace refuses to start on a disk that is nearly full: PostgreSQL would stop in the middle of the work.
func checkSpace(dir string) error {
	const needed = 1 << 30
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("reading the free space of %s: %w", dir, err)
	}
	free := st.Bavail * uint64(st.Bsize)
	if free < needed {
		return fmt.Errorf("%s has %d MB free, and the servers need %d MB: free some space or name another disk with --data", dir, free>>20, needed>>20)
	}
	return nil
}
