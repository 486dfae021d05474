package front

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What one network address may try: an office behind one address signs in at nine o'clock, and afterwards one every other
// second is more than people do.
const (
	triesAtOnce = 30
	triesEvery  = 2 * time.Second
	// So many addresses are told apart. Who brings more has a network of addresses, and they are then treated as one.
	mostAddresses = 50_000
)

// flood counts tries by network address. It lives in the process: it keeps floods from the work that a password makes, and
// must cost no query itself. What a guess at one login runs into is the login's lock, which every process shares.
type flood struct {
	lock    sync.Mutex
	buckets map[netip.Prefix]*bucket
	swept   time.Time
}

type bucket struct {
	limit *rate.Limiter
	used  time.Time
}

func newFlood() *flood { return &flood{buckets: map[netip.Prefix]*bucket{}} }

// wait is how long an address has to wait for its next try; nothing when it need not, and then the try is counted.
func (f *flood) wait(address string, now time.Time) time.Duration {
	f.lock.Lock()
	defer f.lock.Unlock()
	const forgotten = triesAtOnce * triesEvery // a bucket is full again
	if now.Sub(f.swept) > forgotten {
		for key, b := range f.buckets {
			if now.Sub(b.used) > forgotten {
				delete(f.buckets, key)
			}
		}
		f.swept = now
	}
	key := networkOf(address)
	b := f.buckets[key]
	if b == nil && len(f.buckets) >= mostAddresses {
		key = netip.Prefix{}
		b = f.buckets[key]
	}
	if b == nil {
		b = &bucket{limit: rate.NewLimiter(rate.Every(triesEvery), triesAtOnce)}
		f.buckets[key] = b
	}
	b.used = now
	r := b.limit.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// networkOf is whom an address stands for: with IPv6 everybody has a whole /64.
func networkOf(address string) netip.Prefix {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}

// Wait is how long a network address has to wait for its next try at something that people guess; nothing when it need not,
// and then the try is counted.
func (f *Front) Wait(address string) time.Duration { return f.flood.wait(address, time.Now()) }

// address is the network address that a request comes from. A proxy's word for it counts only when the proxy is ours: then
// it is the last address before our own proxies, for what stands before that anybody can write.
func (f *Front) address(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	from := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && f.trusted(from); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		from = hop.Unmap()
	}
	return from.String()
}

func (f *Front) trusted(address netip.Addr) bool {
	return slices.ContainsFunc(f.proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}
