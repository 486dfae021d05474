package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// Gateway sends short messages: it posts each to an adapter of the installation's own, which speaks with the carrier. The body is
//
//	{"id": "…", "to": "13800000000", "text": "…", "locale": "zh-CN", "urgent": true}
//
// signed as Standard Webhooks are (webhook-id, webhook-timestamp, webhook-signature). The adapter answers 2xx once it has taken
// the message, 409 when it had taken one of that id before, 400, 404, 413 or 422 when it never will; everything else is tried again.
type Gateway struct {
	address, secret string
	client          *http.Client
}

// NewGateway reads where short messages go. The adapter may be on a private address: it is the installation's own.
func NewGateway(address, secret string) (*Gateway, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("notify: a gateway of short messages is written https://host/path")
	}
	if secret == "" {
		return nil, errors.New("notify: a gateway of short messages needs the key that its requests are signed with")
	}
	return &Gateway{address: address, secret: secret, client: client(true)}, nil
}

// SMS is a short message.
type SMS struct {
	ID     string `json:"id"`
	To     string `json:"to"`
	Text   string `json:"text"`
	Locale string `json:"locale"`
	Urgent bool   `json:"urgent"`
}

// Send gives a message to the gateway.
func (g *Gateway) Send(ctx context.Context, m SMS) error {
	body, err := json.Marshal(m)
	if err != nil {
		return &Failure{Code: "message_unreadable", Permanent: true}
	}
	status, after, err := post(ctx, g.client, g.address, "application/json", g.secret, m.ID, body)
	switch {
	case err != nil:
		return err
	case status < 300 || status == http.StatusConflict:
		return nil
	case status == http.StatusBadRequest || status == http.StatusNotFound || status == http.StatusRequestEntityTooLarge || status == http.StatusUnprocessableEntity:
		return &Failure{Code: "http_" + strconv.Itoa(status), Permanent: true}
	}
	return &Failure{Code: "http_" + strconv.Itoa(status), After: after}
}

// Event is a CloudEvent (1.0): that something happened, by ids and codes.
type Event struct {
	SpecVersion string         `json:"specversion"`
	ID          string         `json:"id"`
	Source      string         `json:"source"`
	Type        string         `json:"type"`
	Time        time.Time      `json:"time"`
	ContentType string         `json:"datacontenttype"`
	Data        map[string]any `json:"data"`
}

// Hooks posts events to other systems.
type Hooks struct {
	private bool
	client  *http.Client
}

// NewHooks makes the sender of webhooks. private allows addresses of the installation's own network, and http.
func NewHooks(private bool) *Hooks { return &Hooks{private: private, client: client(private)} }

// Check tells whether an address may be a webhook's at all, as far as it can be told without asking where its name leads.
func (h *Hooks) Check(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !h.private) {
		return &Failure{Code: "address_unreadable", Permanent: true}
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !h.private && !Public(ip) {
		return &Failure{Code: "address_private", Permanent: true}
	}
	return nil
}

// Post sends an event. id is the name of the delivery, the same at each attempt. Only 2xx is an arrival; a redirection leads
// nowhere; 410 says that there is nobody any more.
func (h *Hooks) Post(ctx context.Context, address, secret, id string, e Event) error {
	if err := h.Check(address); err != nil {
		return err
	}
	e.SpecVersion, e.ContentType = "1.0", "application/json"
	body, err := json.Marshal(e)
	if err != nil {
		return &Failure{Code: "message_unreadable", Permanent: true}
	}
	status, after, err := post(ctx, h.client, address, "application/cloudevents+json; charset=utf-8", secret, id, body)
	switch {
	case err != nil:
		return err
	case status < 300:
		return nil
	case status == http.StatusGone:
		return &Failure{Code: "http_410", Permanent: true, Gone: true}
	}
	return &Failure{Code: "http_" + strconv.Itoa(status), After: after}
}

// special are the networks that are not private by name and yet lead to no other system on the public net.
var special = func() (out []netip.Prefix) {
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10",
	} {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}()

// Public tells whether an address is one of the public net.
func Public(ip netip.Addr) bool {
	ip = ip.Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range special {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}

var errPrivate = errors.New("notify: a private address")

// client is one that follows nobody, asks no proxy and, where it must, connects to public addresses only. The address is looked at
// when the connection is made, after the name was resolved: a name that leads elsewhere a moment later does not get around it.
func client(private bool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if !private {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || !Public(to.Addr()) {
				return errPrivate
			}
			return nil
		}
	}
	return &http.Client{
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
		},
	}
}

// longestAfter is how long a receiver may ask to be left alone.
const longestAfter = 6 * time.Hour

func post(ctx context.Context, client *http.Client, address, contentType, secret, id string, body []byte) (status int, after time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0, 0, &Failure{Code: "address_unreadable", Permanent: true}
	}
	now := time.Now()
	for name, value := range map[string]string{
		"Content-Type": contentType, "User-Agent": "liferelay", "webhook-id": id, "webhook-timestamp": strconv.FormatInt(now.Unix(), 10), "webhook-signature": Sign(secret, id, now, body),
	} {
		r.Header.Set(name, value)
	}
	answer, err := client.Do(r)
	if err != nil {
		if errors.Is(err, errPrivate) {
			return 0, 0, &Failure{Code: "address_private", Permanent: true}
		}
		return 0, 0, temporary("http_away") // the error itself names the address
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.CopyN(io.Discard, answer.Body, 4<<10)
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		after = min(time.Duration(seconds)*time.Second, longestAfter)
	}
	return answer.StatusCode, after, nil
}
