package demo

import "syscall"

// ownGroup puts a child into a process group of its own, and has the kernel end it when the demo is killed.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
