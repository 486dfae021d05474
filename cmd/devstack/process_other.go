//go:build !linux

package main

import "syscall"

// processAttributes puts the server into a process group of its own, so that Ctrl-C at the terminal does not stop it
// before the command that uses it. Where the kernel cannot stop it with devstack, the next start does (stopOrphan).
func processAttributes(who *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if who != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}
	}
	return attr
}
