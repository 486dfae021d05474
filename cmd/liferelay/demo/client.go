package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/registry"
)

// person is somebody who works here, as the API sees them: a bearer token, and what they do with it.
type person struct {
	name  string
	base  string
	token string
	http  *http.Client
	heard func(Heard)
}

// Heard is an answer that somebody got.
type Heard struct {
	Who, Method, Path string
	Status            int
	Body              []byte
}

// call sends a request and reads its answer into out. What changes something carries an idempotency key of its own, and
// is sent again, with the same key, when the service was away: that is what the key is for.
func (p *person) call(ctx context.Context, method, path string, body, out any, headers ...string) error {
	payload, contentType, err := encode(body)
	if err != nil {
		return err
	}
	key := uuid.NewString()
	for attempt := 0; ; attempt++ {
		err := p.once(ctx, method, path, payload, contentType, key, out, headers...)
		var away *awayError
		if !errors.As(err, &away) || attempt == 60 || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func encode(body any) (payload []byte, contentType string, err error) {
	switch b := body.(type) {
	case nil:
		return nil, "", nil
	case []byte:
		return b, "application/octet-stream", nil
	default:
		payload, err = json.Marshal(body)
		return payload, "application/json", err
	}
}

// awayError is a service that does not answer now.
type awayError struct{ cause error }

func (e *awayError) Error() string { return "the service is away: " + e.cause.Error() }

// refusedError is an answer that is not what was hoped for.
type refusedError struct{ api.Problem }

func (e *refusedError) Error() string {
	text := fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Detail)
	for _, p := range e.Errors {
		text += fmt.Sprintf(" [%s %s: %s]", p.Code, p.Field, p.Is)
	}
	return text
}

func (p *person) once(ctx context.Context, method, path string, payload []byte, contentType, key string, out any, headers ...string) error {
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Language", "en")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	if method != http.MethodGet {
		req.Header.Set("Idempotency-Key", key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return &awayError{err}
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return &awayError{err}
	}
	if p.heard != nil {
		p.heard(Heard{p.name, method, path, resp.StatusCode, data})
	}
	if resp.StatusCode >= 400 {
		problem := &refusedError{}
		if err := json.Unmarshal(data, &problem.Problem); err != nil {
			return fmt.Errorf("%s %s: %s", method, path, resp.Status)
		}
		if resp.StatusCode == http.StatusServiceUnavailable || problem.Code == "request_under_way" {
			return &awayError{problem}
		}
		return problem
	}
	switch o := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*o = data
		return nil
	default:
		return json.Unmarshal(data, out)
	}
}

func ifMatch(version int64) []string { return []string{"If-Match", fmt.Sprintf(`"%d"`, version)} }

// list reads every page of a list.
func list[T any](ctx context.Context, p *person, path string) ([]T, error) {
	var all []T
	next := ""
	for {
		u, err := url.Parse(path)
		if err != nil {
			return nil, err
		}
		q := u.Query()
		q.Set("limit", "200")
		if next != "" {
			q.Set("cursor", next)
		}
		u.RawQuery = q.Encode()
		var page api.PageBody[T]
		if err := p.call(ctx, http.MethodGet, u.String(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		next = page.Next
	}
}

// patience is how long the demo waits for what should happen by itself.
const patience = 3 * time.Minute

// until waits for something that happens by itself.
func until(ctx context.Context, what string, ok func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for {
		done, err := ok()
		if err != nil || done {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s for %s", patience, what)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// task waits for an open task of a step that the person may answer.
func (p *person) task(ctx context.Context, step string, in uuid.UUID) (registry.TaskView, error) {
	var found registry.TaskView
	query := url.Values{"step": {step}}
	if in != uuid.Nil {
		query.Set("case", in.String())
	}
	err := until(ctx, "the task "+step, func() (bool, error) {
		tasks, err := list[registry.TaskView](ctx, p, "/v1/tasks?"+query.Encode())
		if err != nil {
			return false, err
		}
		for _, t := range tasks {
			if t.Mine {
				found = t
				return true, nil
			}
		}
		return false, nil
	})
	return found, err
}

// answer waits for a step's task and answers it.
func (p *person) answer(ctx context.Context, step string, in uuid.UUID, form map[string]any) (registry.Moved, error) {
	var moved registry.Moved
	t, err := p.task(ctx, step, in)
	if err != nil {
		return moved, err
	}
	err = p.call(ctx, http.MethodPost, "/v1/tasks/"+t.ID.String()+"/answers/"+step, form, &moved, ifMatch(t.Version)...)
	if err != nil {
		return moved, fmt.Errorf("%s answers %s: %w", p.name, step, err)
	}
	return moved, nil
}
