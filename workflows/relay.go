package workflows

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/registry"
)

// Relay brings to the desk what the register says it must hear: the outbox's facts, and answers that waited because the
// desk was away. Any number of processes may run one; each row is one process's at a time.
type Relay struct {
	Store  *registry.Store
	Client *Client
	Log    *zap.Logger
}

const (
	relayTake  = 64
	relayLease = 30 * time.Second
	relayIdle  = time.Second // how long it sleeps when nobody wakes it
	relayHands = 8           // facts, or answers, delivered at once
)

// Run delivers until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	wake := make(chan struct{}, 1)
	var beside sync.WaitGroup
	beside.Go(func() { r.listen(ctx, wake) })
	beside.Go(func() { r.answers(ctx) })
	beside.Go(func() { r.clocks(ctx) })
	defer beside.Wait()
	for ctx.Err() == nil {
		delivered, err := r.deliver(ctx)
		if err != nil && ctx.Err() == nil {
			r.Log.Warn("the relay could not read the outbox", zap.Error(err))
		}
		if delivered == relayTake {
			continue // there is more
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-time.After(relayIdle):
		}
	}
}

// listen wakes the relay as soon as something is written. While the database is away it is the idle look that finds it.
func (r *Relay) listen(ctx context.Context, wake chan<- struct{}) {
	for ctx.Err() == nil {
		_ = r.Store.Listen(ctx, wake)
		select {
		case <-ctx.Done():
		case <-time.After(relayIdle):
		}
	}
}

func (r *Relay) deliver(ctx context.Context) (int, error) {
	tellings, err := r.Store.TakeTellings(ctx, relayTake, relayLease)
	if err != nil {
		return 0, err
	}
	hands := make(chan struct{}, relayHands)
	var at sync.WaitGroup
	for _, t := range tellings {
		hands <- struct{}{}
		at.Go(func() {
			defer func() { <-hands }()
			r.tell(ctx, t)
		})
	}
	at.Wait()
	return len(tellings), nil
}

// answers delivers what waited for a desk that was away, beside the facts: an answer that nobody takes costs a caller's
// patience, and a withdrawal does not wait for it.
func (r *Relay) answers(ctx context.Context) {
	for ctx.Err() == nil {
		waiting, err := r.Store.PendingAnswers(ctx, relayHands, relayLease)
		if err != nil && ctx.Err() == nil {
			r.Log.Warn("the relay could not read the answers", zap.Error(err))
		}
		var at sync.WaitGroup
		for _, p := range waiting {
			at.Go(func() { r.answer(ctx, p) })
		}
		at.Wait()
		if len(waiting) == relayHands {
			continue // there is more
		}
		select {
		case <-ctx.Done():
		case <-time.After(relayIdle):
		}
	}
}

// clocks delivers requests about clocks that waited for a desk that was away.
func (r *Relay) clocks(ctx context.Context) {
	for ctx.Err() == nil {
		waiting, err := r.Store.PendingClocks(ctx, relayHands, relayLease)
		if err != nil && ctx.Err() == nil {
			r.Log.Warn("the relay could not read the clocks", zap.Error(err))
		}
		for _, k := range waiting {
			r.clock(ctx, k)
		}
		if len(waiting) == relayHands {
			continue // there is more
		}
		select {
		case <-ctx.Done():
		case <-time.After(relayIdle):
		}
	}
}

// clock delivers a request about a clock, as answer does an answer.
func (r *Relay) clock(ctx context.Context, k registry.ClockRequest) {
	_, err := r.Client.Clock(ctx, k)
	code := registry.CodeOf(err)
	switch kind := registry.KindOf(err); {
	case err == nil:
		return
	case code == "case_not_running" && r.hasEnded(ctx, k.CaseID):
		code = "task_closed"
	case kind == "", kind == registry.Unavailable:
		r.Log.Warn("a clock could not be set yet", zap.String("step", k.Step), zap.String("request", k.ID.String()))
		return
	}
	if err := r.Store.RefuseClock(ctx, k.ID, code); err != nil {
		r.Log.Warn("a request about a clock could not be marked as refused", zap.Error(err))
	}
}

func (r *Relay) tell(ctx context.Context, t registry.Telling) {
	for _, target := range t.Targets {
		if err := r.Client.Tell(ctx, registry.Protocol(t.Protocol), target, t.Fact); err != nil {
			if ctx.Err() != nil {
				return // the lease gives it to the next relay
			}
			after := min(time.Duration(t.Attempts)*time.Second, time.Minute)
			r.Log.Warn("a fact could not be told yet", zap.String("protocol", t.Protocol), zap.String("fact", t.Fact), zap.Int("attempt", t.Attempts), zap.Duration("again_in", after))
			if err := r.Store.PutOff(ctx, t.ID, after, registry.CodeOf(err)); err != nil {
				r.Log.Warn("the outbox could not be written", zap.Error(err))
			}
			return
		}
	}
	if err := r.Store.Told(ctx, t.ID); err != nil {
		r.Log.Warn("the outbox could not be written", zap.Error(err))
	}
}

// answer delivers an answer that waited. What the case refuses is refused for good; what finds nobody waits on, unless the
// case has ended: then nobody will ever take it.
func (r *Relay) answer(ctx context.Context, p registry.Proposed) {
	_, err := r.Client.Answer(ctx, p)
	code := registry.CodeOf(err)
	switch kind := registry.KindOf(err); {
	case err == nil:
		return
	case code == "case_not_running" && r.hasEnded(ctx, p.CaseID):
		code = "task_closed"
	case kind == "", kind == registry.Unavailable:
		r.Log.Warn("an answer could not be delivered yet", zap.String("step", p.Step), zap.String("answer", p.AnswerID.String()))
		return
	}
	if err := r.Store.RefuseAnswer(ctx, p.AnswerID, code); err != nil {
		r.Log.Warn("an answer could not be marked as refused", zap.Error(err))
	}
}

func (r *Relay) hasEnded(ctx context.Context, id uuid.UUID) bool {
	row, err := r.Store.LoadCase(ctx, registry.System("relay"), id)
	return err == nil && row.Ended
}

// Housekeeping is what every installation needs done now and then, by whichever process comes first: audit rows sealed
// each second; each hour whoever has emergency access to review is reminded, and cases that nobody took over go back; once a day partitions made ahead, old idempotency keys dropped, and what a day brings to listed donors.
func Housekeeping(ctx context.Context, store *registry.Store, log *zap.Logger) {
	var beside sync.WaitGroup
	beside.Go(func() { verifications(ctx, store, log) })
	defer beside.Wait()
	daily, hourly := time.Time{}, time.Time{}
	// done notes for who looks after the installation that a chore was done, or was not.
	done := func(chore string, err error) error {
		if ctx.Err() != nil {
			return err
		}
		if noted := store.NoteChore(ctx, chore, err); noted != nil {
			log.Warn("a chore could not be noted", zap.String("chore", chore), zap.Error(noted))
		}
		return err
	}
	for ctx.Err() == nil {
		sealed, err := store.SealAudit(ctx, 5000)
		if err != nil && ctx.Err() == nil {
			log.Warn("the audit could not be sealed", zap.Error(err))
		}
		if time.Since(hourly) > time.Hour {
			if err := done(registry.ChoreReminders, store.RemindReviews(ctx)); err != nil && ctx.Err() == nil {
				log.Warn("reviews of emergency access could not be reminded of", zap.Error(err))
			}
			if err := store.CountStatistics(ctx); err != nil && ctx.Err() == nil {
				log.Warn("statistics could not be counted", zap.Error(err))
			}
			if err := store.ExpireHandovers(ctx); err != nil && ctx.Err() == nil {
				log.Warn("handovers could not be ended", zap.Error(err))
			}
			hourly = time.Now()
		}
		if time.Since(daily) > 24*time.Hour {
			if err := errors.Join(done(registry.ChoreTidying, store.Tidy(ctx)), done(registry.ChoreUpkeep, store.Upkeep(ctx))); err != nil && ctx.Err() == nil {
				log.Warn("the day's upkeep failed", zap.Error(err))
			} else {
				daily = time.Now()
			}
		}
		if sealed == 5000 {
			continue // there is more
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// verifications walks the chain of seals when somebody asks for it.
func verifications(ctx context.Context, store *registry.Store, log *zap.Logger) {
	for ctx.Err() == nil {
		if _, err := store.VerifyNext(ctx); err != nil && ctx.Err() == nil {
			log.Warn("the audit could not be verified", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
	}
}
