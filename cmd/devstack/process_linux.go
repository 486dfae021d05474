package main

import "syscall"

// processAttributes puts the server into a process group of its own, so that Ctrl-C at the terminal does not stop it
// before the command that uses it, and has the kernel stop it when devstack is killed.
func processAttributes(who *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	if who != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}
	}
	return attr
}
