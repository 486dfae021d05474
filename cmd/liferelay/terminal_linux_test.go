package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
)

// terminal runs a command as somebody at a terminal sees it. What they type is given line by line, each after what the
// program says before it.
func (m *machine) terminal(dialogue [][2]string, args ...string) (code int, shown string) {
	m.t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(m.t, err)
	defer func() { _ = main.Close() }()
	control := func(request uintptr, value *int32) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, main.Fd(), request, uintptr(unsafe.Pointer(value)))
		require.Zero(m.t, errno)
	}
	var unlock, number int32
	control(syscall.TIOCSPTLCK, &unlock)
	control(syscall.TIOCGPTN, &number)
	far, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(m.t, err)
	cmd := m.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(m.t, cmd.Start())
	require.NoError(m.t, far.Close())
	screen := &lockedBuffer{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buffer := make([]byte, 4096)
		for {
			n, err := main.Read(buffer)
			_, _ = screen.Write(buffer[:n])
			if err != nil { // the program has gone
				return
			}
		}
	}()
	for _, turn := range dialogue {
		require.Eventually(m.t, func() bool { return strings.Contains(screen.String(), turn[0]) }, 20*time.Second, 10*time.Millisecond, "it never said %q: %s", turn[0], screen)
		_, err := main.Write([]byte(turn[1] + "\n"))
		require.NoError(m.t, err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		require.NoError(m.t, err)
	}
	<-read
	return cmd.ProcessState.ExitCode(), screen.String()
}

func TestAPasswordIsTypedTwiceAndSeenByNobody(t *testing.T) {
	t.Parallel()
	i := install(t)
	add := []string{"staff", "add", "newcomer", "--name", "N", "--organisation", i.County.ID.String()}
	code, shown := i.terminal([][2]string{{"Password: ", "a long enough password"}, {"Once more: ", "another one altogether"}}, add...)
	require.Equal(t, 1, code, shown)
	require.Contains(t, shown, "The two passwords differ.")
	code, shown = i.with("LANG", "zh_CN.UTF-8").terminal([][2]string{{"密码：", "a long enough password"}, {"再输入一次：", "a long enough password"}}, add...)
	require.Equal(t, 0, code, shown)
	require.NotContains(t, shown, "long enough")
	_, err := i.Store.SignIn(context.Background(), "newcomer", "a long enough password", registry.BrowserSession, 0, registry.From{})
	require.NoError(t, err)
}

func TestSomebodyAtATerminalSeesHowFarItIs(t *testing.T) {
	t.Parallel()
	i := install(t)
	drive, file, _ := i.sheet(3, nil)
	code, shown := i.terminal(nil, "intake", "commit", file, "--as", "registrar", "--drive", drive.Number, "--wait", "1s") // nobody is at the desk
	require.Equal(t, 1, code, shown)
	require.Regexp(t, `committing +0% .*\(0/3`, shown)
}
