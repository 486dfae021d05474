package notify

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAWebhookReachesPublicAddressesByTLSOnly(t *testing.T) {
	t.Parallel()
	for address, public := range map[string]bool{
		"8.8.8.8": true, "2400:3200::1": true, "127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "0.0.0.0": false,
		"224.0.0.1": false, "255.255.255.255": false, "::1": false, "::": false, "fe80::1": false, "fc00::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
	} {
		require.Equal(t, public, Public(netip.MustParseAddr(address)), address)
	}
	strict, open := NewHooks(false), NewHooks(true)
	for _, address := range []string{"http://hooks.test/", "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1:8443/x", "https://user:pass@hooks.test/", "ftp://hooks.test/", "https://", "hooks.test", "https://hooks.test/#f"} {
		require.Error(t, strict.Check(address), address)
	}
	require.NoError(t, strict.Check("https://hooks.test/liferelay?x=1"))
	require.NoError(t, open.Check("http://127.0.0.1:8080/"))

	// A name that leads to this machine is no way around it: the connection itself is looked at.
	var hits atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	err = strict.Post(context.Background(), "https://localhost:"+port+"/", "whsec_c2VjcmV0", "1", Event{ID: "1", Type: "x"})
	var failed *Failure
	require.ErrorAs(t, err, &failed)
	require.Equal(t, &Failure{Code: "address_private", Permanent: true}, failed)
	require.Zero(t, hits.Load())
}

func TestAnErrorRepeatsNeitherAnAddressNorWhatAServerSaid(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		http.Error(w, "nobody@secret.test is unknown", http.StatusServiceUnavailable)
	}))
	address := server.URL
	err := NewHooks(true).Post(context.Background(), address+"/token-in-the-path", "whsec_c2VjcmV0", "1", Event{})
	var failed *Failure
	require.ErrorAs(t, err, &failed)
	require.Equal(t, &Failure{Code: "http_503", After: 2 * time.Minute}, failed)
	server.Close()
	err = NewHooks(true).Post(context.Background(), address+"/token-in-the-path", "whsec_c2VjcmV0", "1", Event{})
	require.EqualError(t, err, "notify: http_away")
	_, err = NewMailer("smtp://user:hunter2@", "a@b.test")
	require.NotContains(t, err.Error(), "hunter2")
	_, err = NewMailer("smtp://user:hunter2@mail.test:25?tls=none", "a@b.test")
	require.Error(t, err, "a password in clear")
	m, err := NewMailer("smtp://127.0.0.1:1", "Liferelay <a@b.test>")
	require.NoError(t, err)
	require.EqualError(t, m.Send(context.Background(), Mail{ID: "1", To: "nobody@secret.test"}), "notify: smtp_away")
}

// The example of the Standard Webhooks specification.
func TestASignatureIsThatOfTheSpecification(t *testing.T) {
	t.Parallel()
	at := time.Unix(1614265330, 0)
	signed := Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", at, []byte(`{"test": 2432232314}`))
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", signed)
	require.NotEqual(t, signed, Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", at.Add(time.Second), []byte(`{"test": 2432232314}`)))
	require.True(t, strings.HasPrefix(SecretOf(make([]byte, 32)), "whsec_"))
}

// A server that offers no TLS is refused where it was not said that it may speak in clear.
func TestMailIsNotSentInClearToAServerThatShouldSpeakTLS(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	heard, accepted := make(chan string, 100), make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		accepted <- c
		_, _ = c.Write([]byte("220 here\r\n"))
		buffer := make([]byte, 1024)
		for {
			n, err := c.Read(buffer)
			if err != nil {
				close(heard)
				return
			}
			heard <- string(buffer[:n])
			_, _ = c.Write([]byte("250 fine\r\n"))
		}
	}()
	m, err := NewMailer("smtp://"+l.Addr().String(), "a@b.test")
	require.NoError(t, err)
	require.EqualError(t, m.Send(context.Background(), Mail{ID: "1", To: "nobody@secret.test", Subject: "x", Text: "the text"}), "notify: smtp_away")
	_ = (<-accepted).SetReadDeadline(time.Now().Add(time.Second)) // what is to be heard was said by now
	for said := range heard {
		require.NotContains(t, said, "secret.test")
		require.NotContains(t, said, "the text")
	}
}
