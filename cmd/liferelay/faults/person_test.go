package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// person is a member of staff at the API of one process.
type person struct {
	house *house
	base  string
	token string
}

// signIn opens a session for one of the house's people.
func (h *house) signIn(at *process, login string) *person {
	h.t.Helper()
	p := &person{house: h, base: at.base}
	var session struct{ Token string }
	p.send(post("/v1/session", map[string]any{"login": login, "password": registrytest.Password, "kind": "bearer"})).good(h.t, &session)
	p.token = session.Token
	return p
}

// request is something that a person wants of the API.
type request struct {
	method, path string
	body         any
	key          string // Idempotency-Key
	version      int64  // If-Match; 0 sends none
}

// post is a request that changes something.
func post(path string, body any) request {
	return request{method: http.MethodPost, path: path, body: body, key: uuid.NewString()}
}

// answering is the request that answers a task.
func answering(task registry.TaskView, form map[string]any) request {
	r := post("/v1/tasks/"+task.ID.String()+"/answers/"+task.Step, form)
	r.version = task.Version
	return r
}

// answer is what the API said; err is set when it said nothing.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// send sends a request once.
func (p *person) send(r request) answer {
	var body io.Reader
	if r.body != nil {
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return answer{err: err}
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequest(r.method, p.base+r.path, body)
	if err != nil {
		return answer{err: err}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	if r.version > 0 {
		req.Header.Set("If-Match", fmt.Sprintf(`"%d"`, r.version))
	}
	// A connection of its own: on a kept one that has died Go's client sends a request again by itself.
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: data, err: err}
}

// sendLater sends a request while the test goes on.
func (p *person) sendLater(r request) <-chan answer {
	a := make(chan answer, 1)
	go func() { a <- p.send(r) }()
	return a
}

// insist sends a request again, with its key, until the answer is another than "try again": what a client does.
func (p *person) insist(r request) answer {
	p.house.t.Helper()
	var a answer
	p.house.eventually(2*time.Minute, "an answer to "+r.path, func() bool {
		a = p.send(r)
		return a.err == nil && a.status != http.StatusServiceUnavailable && a.code() != "request_under_way"
	})
	return a
}

// good requires a good answer, and reads it.
func (a answer) good(t require.TestingT, out any) {
	require.NoError(t, a.err)
	require.Less(t, a.status, 300, "%s", a.body)
	if out != nil {
		require.NoError(t, json.Unmarshal(a.body, out))
	}
}

// code is the code of a problem, and empty in any other answer.
func (a answer) code() string {
	var problem struct{ Code string }
	if json.Unmarshal(a.body, &problem) != nil {
		return ""
	}
	return problem.Code
}

// task waits for the open task of a step that the person may answer.
func (p *person) task(step string, in uuid.UUID) registry.TaskView {
	p.house.t.Helper()
	var found registry.TaskView
	p.house.eventually(time.Minute, "there is an open task "+step, func() bool {
		var page struct{ Items []registry.TaskView }
		p.send(request{method: http.MethodGet, path: "/v1/tasks?" + url.Values{"step": {step}, "case": {in.String()}}.Encode()}).good(p.house.t, &page)
		for _, task := range page.Items {
			if task.Mine {
				found = task
				return true
			}
		}
		return false
	})
	return found
}
