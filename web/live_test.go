package web_test

import (
	"bufio"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Browsers ask for compressed answers: what compresses them must not keep back what is told a page that follows.
func TestAPageThatFollowsHearsThatSomethingMovesAsItMoves(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	ctx, end := context.WithTimeout(context.Background(), time.Minute)
	defer end()
	go p.site.Keep(ctx)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/live", nil)
	require.NoError(t, err)
	r.Header.Set("Cookie", "liferelay_session=\""+p.session(p.Registrar)+"\"")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))
	heard := bufio.NewScanner(answer.Body)
	lines := make(chan string)
	go func() {
		for heard.Scan() {
			select {
			case lines <- heard.Text():
			case <-ctx.Done():
			}
		}
	}()
	for again := time.NewTicker(200 * time.Millisecond); ; {
		select {
		case line := <-lines:
			if line == "event: live" {
				return
			}
		case <-again.C: // until the site listens
			p.exec(`SELECT pg_notify('outbox', '')`)
		case <-ctx.Done():
			require.FailNow(t, "nothing was heard")
		}
	}
}
