package registry

import (
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Known is whom a browser's token belonged to when this process asked last, less than seenEvery ago; for pages that are opened by one act. What was known
// is nobody yet: the first act of theirs asks again, in its own transaction and on its own way to the database, and is refused as Unsigned where the
// answer is not the same in every field. Proven tells whether one found it so; until then nothing may leave, and Authenticate is asked instead.
func (s *Store) Known(token string) (Caller, bool) {
	c, ok := s.known.find(token, s.now())
	if ok {
		c.proof = &proof{token: token, known: c}
	}
	return c, ok
}

// Proven tells whether it is known for certain who the caller is.
func (c Caller) Proven() bool { return c.proof == nil || c.proof.held.Load() }

// proof is what the acts of a known caller have to find out first.
type proof struct {
	token string
	known Caller
	held  atomic.Bool
}

// queue asks who holds the token, where that is not certain yet.
func (p *proof) queue(r *Reader, b *pgx.Batch, now time.Time) {
	statement, args := r.holderOf(p.token, now)
	b.Queue(statement, args...)
}

// read compares the answer with who was known.
func (p *proof) read(row pgx.Row) error {
	c, _, err := scanCaller(row)
	switch {
	case errors.Is(err, pgx.ErrNoRows), err == nil && !reflect.DeepEqual(c, p.known):
		return &Error{Kind: Unsigned, Code: "not_signed_in"}
	case err == nil:
		p.held.Store(true)
	}
	return err
}

// callers are the holders of browsers' tokens as they were found last, by the tokens' digests.
type callers struct {
	sync.Mutex
	found map[string]foundCaller
}

type foundCaller struct {
	Caller
	last time.Time // when it was last written down that the token was used
}

const mostCallers = 10_000 // more than one process serves in a minute

func (k *callers) keep(token string, c Caller, last time.Time) {
	k.Lock()
	defer k.Unlock()
	if k.found == nil || len(k.found) >= mostCallers {
		k.found = map[string]foundCaller{}
	}
	k.found[string(tokenHash(token))] = foundCaller{c, last}
}

func (k *callers) find(token string, now time.Time) (Caller, bool) {
	k.Lock()
	defer k.Unlock()
	c, ok := k.found[string(tokenHash(token))]
	return c.Caller, ok && now.Sub(c.last) < seenEvery
}
