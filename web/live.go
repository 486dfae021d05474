package web

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/liferelay/liferelay/registry"
)

// live tells open pages that something moved in the register. It says no more than that: a page asks again, as its reader.
type live struct {
	lock sync.Mutex
	open map[chan struct{}]bool
}

const (
	// mostLive bounds how many pages of a process follow at once. A page that cannot follow is read anew by hand.
	mostLive = 2000
	// liveFor is how long one answer lasts: browsers ask again by themselves, and a session that ended meanwhile is not let in.
	liveFor = 4 * time.Minute
	// checkedEvery is how often the session behind a page that follows is looked at.
	checkedEvery = 20 * time.Second
	// gathered is how long what moves is gathered before pages hear of it.
	gathered = time.Second
)

func newLive() *live { return &live{open: map[chan struct{}]bool{}} }

// keep hears what moves, from whichever process moved it, until ctx ends.
func (l *live) keep(ctx context.Context, store *registry.Store, log *zap.Logger) {
	wake := make(chan struct{}, 1)
	go func() {
		for ctx.Err() == nil {
			if err := store.Listen(ctx, wake); err != nil && ctx.Err() == nil {
				log.Warn("what moves is not heard", zap.Error(err))
			}
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gathered):
		}
		select {
		case <-wake:
		default:
		}
		l.tell()
	}
}

func (l *live) tell() {
	l.lock.Lock()
	defer l.lock.Unlock()
	for page := range l.open {
		select {
		case page <- struct{}{}:
		default: // it is being told
		}
	}
}

func (l *live) follow() (page chan struct{}, leave func(), ok bool) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if len(l.open) >= mostLive {
		return nil, nil, false
	}
	page = make(chan struct{}, 1)
	l.open[page] = true
	return page, func() {
		l.lock.Lock()
		defer l.lock.Unlock()
		delete(l.open, page)
	}, true
}

// following is the answer that lasts: events without content, whenever something moved.
type following struct{ page chan struct{} }

func (s *Site) follow(v *Visit) (Answer, error) {
	page, leave, ok := s.live.follow()
	if !ok {
		return nil, &registry.Error{Kind: registry.Unavailable, Code: "busy", RetryAfter: time.Minute}
	}
	defer leave()
	following{page}.send(v)
	return nothing{}, nil
}

func (f following) send(v *Visit) {
	out := http.NewResponseController(v.w)
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.Header().Set("X-Accel-Buffering", "no")
	v.w.WriteHeader(http.StatusOK)
	say := func(text string) bool {
		if _, err := fmt.Fprint(v.w, text); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	if !say("retry: 5000\n\n") {
		return
	}
	end, check := time.After(liveFor), time.NewTicker(checkedEvery)
	defer check.Stop()
	for {
		select {
		case <-v.Done():
			return
		case <-end:
			return
		case <-f.page:
			if !say("event: live\ndata:\n\n") {
				return
			}
		case <-check.C:
			if v.recognise() != nil || !say(": still here\n\n") {
				return
			}
		}
	}
}

// nothing is the answer to what was answered already.
type nothing struct{}

func (nothing) send(*Visit) {}
