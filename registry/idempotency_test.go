package registry_test

import (
	"context"
	"crypto/sha256"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
)

const route = "POST /v1/registrations"

var (
	body      = sha256.Sum256([]byte("body"))
	otherBody = sha256.Sum256([]byte("another body"))
	answered  = registry.Remembered{Status: 201, Header: map[string]string{"ETag": `"1"`}, Body: []byte(`{"name":{"masked":true,"display":"张*明"}}`)}
)

func TestARequestSentAgainGetsTheAnswerItGot(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	remember := func(by registry.Actor, key, route string, body [32]byte) (*registry.Remembered, error) {
		return h.Store.Remember(ctx, by, key, route, body)
	}
	known, err := remember(h.Registrar, "key", route, body)
	require.NoError(t, err)
	require.Nil(t, known, "it is new")
	_, err = remember(h.Registrar, "key", route, body)
	requireCode(t, err, registry.Conflict, "request_under_way")
	var own *registry.Error
	require.ErrorAs(t, err, &own)
	require.Positive(t, own.RetryAfter)
	_, err = remember(h.Registrar, "key", route, otherBody)
	requireCode(t, err, registry.Refused, "idempotency_key_reused")

	require.NoError(t, h.Store.Answered(ctx, h.Registrar, "key", answered))
	known, err = remember(h.Registrar, "key", route, body)
	require.NoError(t, err)
	require.Equal(t, &answered, known)
	_, err = remember(h.Registrar, "key", route, otherBody)
	requireCode(t, err, registry.Refused, "idempotency_key_reused")
	_, err = remember(h.Registrar, "key", "POST /v1/donors", body)
	requireCode(t, err, registry.Refused, "idempotency_key_reused")

	// Keys are people's own: nobody gets another's answer by guessing a key.
	known, err = remember(h.Coordinator, "key", route, body)
	require.NoError(t, err)
	require.Nil(t, known)
	require.NotContains(t, string(value[[]byte](h, `SELECT body_sealed FROM idempotency_keys WHERE status IS NOT NULL`)), "张", "the answer is sealed")
	h.sql(`UPDATE idempotency_keys SET row_id = gen_random_uuid()`)
	_, err = remember(h.Registrar, "key", route, body)
	require.ErrorContains(t, err, "cannot be opened", "in its own row")
}

func TestAForgottenKeyIsFreeAndAnAnsweredOneIsNot(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	for range 2 {
		known, err := h.Store.Remember(ctx, h.Registrar, "key", route, body)
		require.NoError(t, err)
		require.Nil(t, known)
		require.NoError(t, h.Store.Forget(ctx, h.Registrar, "key"))
	}
	_, err := h.Store.Remember(ctx, h.Registrar, "key", route, otherBody)
	require.NoError(t, err)
	require.NoError(t, h.Store.Answered(ctx, h.Registrar, "key", answered))
	require.NoError(t, h.Store.Forget(ctx, h.Registrar, "key"))
	known, err := h.Store.Remember(ctx, h.Registrar, "key", route, otherBody)
	require.NoError(t, err)
	require.Equal(t, &answered, known)
}

func TestOfManyRequestsWithOneKeyAtOnceOneIsAnswered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var fresh, underWay atomic.Int32
	var calls []func() error
	for range 8 {
		calls = append(calls, func() error {
			known, err := h.Store.Remember(context.Background(), h.Registrar, "key", route, body)
			switch {
			case err == nil && known == nil:
				fresh.Add(1)
			case registry.CodeOf(err) == "request_under_way":
				underWay.Add(1)
			default:
				return err
			}
			return nil
		})
	}
	for _, err := range atOnce(calls...) {
		require.NoError(t, err)
	}
	require.Equal(t, []int32{1, 7}, []int32{fresh.Load(), underWay.Load()})
}

func TestAKeyOutlivesTheProcessThatTookItOnlyForAMinuteAndItsAnswerForADay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	age := func(interval string) {
		h.sql(`UPDATE idempotency_keys SET created_at = created_at - interval '` + interval + `'`)
	}
	_, err := h.Store.Remember(ctx, h.Registrar, "key", route, body)
	require.NoError(t, err)
	age("50 seconds")
	_, err = h.Store.Remember(ctx, h.Registrar, "key", route, body)
	requireCode(t, err, registry.Conflict, "request_under_way")
	age("20 seconds")
	_, err = h.Store.Remember(ctx, h.Registrar, "key", route, otherBody)
	requireCode(t, err, registry.Refused, "idempotency_key_reused")
	known, err := h.Store.Remember(ctx, h.Registrar, "key", route, body)
	require.NoError(t, err)
	require.Nil(t, known, "whoever answered it is gone: it is answered anew")
	_, err = h.Store.Remember(ctx, h.Registrar, "key", route, body)
	requireCode(t, err, registry.Conflict, "request_under_way") // by one
	require.NoError(t, h.Store.Answered(ctx, h.Registrar, "key", answered))

	age("23 hours")
	require.NoError(t, h.Store.Tidy(ctx))
	known, err = h.Store.Remember(ctx, h.Registrar, "key", route, body)
	require.NoError(t, err)
	require.Equal(t, &answered, known)
	age("2 hours")
	require.NoError(t, h.Store.Tidy(ctx))
	known, err = h.Store.Remember(ctx, h.Registrar, "key", route, otherBody)
	require.NoError(t, err)
	require.Nil(t, known)
}
