package faults

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// wire is the way from a process to a server. While it is cut, what was connected is broken and what connects is refused,
// as when the server's machine has lost its power.
type wire struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	broken   bool
	open     map[net.Conn]bool
}

// newWire leads to target, a host:port, until the test ends.
func newWire(t *testing.T, target string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{listener: l, target: target, open: map[net.Conn]bool{}}
	go w.listen()
	t.Cleanup(func() {
		_ = l.Close()
		w.cut()
	})
	return w
}

// address is where the wire begins.
func (w *wire) address() string { return w.listener.Addr().String() }

// cut breaks every connection and refuses new ones.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = true
	for c := range w.open {
		_ = c.Close()
	}
	clear(w.open)
}

// mend lets connections through again.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = false
}

func (w *wire) listen() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return // closed
		}
		_ = near.(*net.TCPConn).SetLinger(0) // a close is a reset: nobody takes it for a polite end
		go w.carry(near)
	}
}

func (w *wire) carry(near net.Conn) {
	if !w.keep(near) {
		return
	}
	far, err := net.Dial("tcp", w.target)
	if err != nil || !w.keep(far) {
		w.drop(near)
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0])
			w.drop(near)
			w.drop(far)
		})
	}
	both.Wait()
}

// keep notes a connection among those that a cut breaks. It closes it, and says false, when the wire is cut already.
func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken {
		_ = c.Close()
		return false
	}
	w.open[c] = true
	return true
}

func (w *wire) drop(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = c.Close()
	delete(w.open, c)
}
