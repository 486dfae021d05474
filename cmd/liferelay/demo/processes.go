package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// process is a child that is started again when it ends: what an installation's supervisor does.
type process struct {
	name   string
	path   string // of the program
	args   []string
	env    []string
	log    string
	mu     sync.Mutex
	cmd    *exec.Cmd
	deaths int
	say    func(string, ...any)
	done   chan struct{}
}

func startProcess(ctx context.Context, o Options, name string, env []string, say func(string, ...any), args ...string) (*process, error) {
	p := &process{name: name, path: o.Program, args: args, env: env, log: filepath.Join(o.Dir, name+".log"), say: say, done: make(chan struct{})}
	if p.path == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		p.path = self
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	go p.supervise(ctx)
	return p, nil
}

func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C reaches the demo, which ends its children in order.
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.mu.Lock()
	p.cmd = cmd
	p.mu.Unlock()
	return nil
}

func (p *process) supervise(ctx context.Context) {
	defer close(p.done)
	for {
		p.mu.Lock()
		cmd := p.cmd
		p.mu.Unlock()
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ctx.Done():
			_ = cmd.Process.Signal(os.Interrupt)
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				_ = cmd.Process.Kill()
				<-ended
			}
			return
		case err := <-ended:
			if ctx.Err() != nil {
				return
			}
			p.mu.Lock()
			p.deaths++
			deaths := p.deaths
			p.mu.Unlock()
			p.say("the %s ended (%v) and is started again; its log is %s", p.name, err, p.log)
			if deaths > 5 {
				p.say("the %s keeps ending: giving up", p.name)
				return
			}
			time.Sleep(time.Duration(deaths) * 100 * time.Millisecond)
			if err := p.start(); err != nil {
				p.say("%v", err)
				return
			}
		}
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Kill()
	return p.cmd.Process.Pid
}

// pid is the process's number now.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

func (p *process) restarts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deaths
}
