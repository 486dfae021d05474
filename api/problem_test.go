package api_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/registrytest"
)

func TestWhatIsWrongWithARequestIsToldInTheReadersLanguage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, planned := w.drive("秋季采样")
	donor := "/v1/donors/" + w.volunteers(drive.ID, 1)[0].String()
	somewhere := "/v1/cases/" + uuid.NewString()
	session := map[string]any{"login": "registrar", "password": "not the password"}
	for range 8 {
		w.send(nobody, http.MethodPost, "/v1/session", map[string]any{"login": "coordinator", "password": "x"}).problem(401, "signin_failed")
	}
	_, tasks := w.caseWith("stemcell.remobilisation")
	task := "/v1/tasks/" + tasks[0].String() + "/answers/stemcell.remobilisation"
	used := uuid.NewString()
	w.send(w.Registrar, http.MethodPost, "/v1/drives", w.driveForm("春季采样"), "Idempotency-Key", used).is(http.StatusCreated)
	for _, c := range []struct {
		what         string
		by           registry.Actor
		method, path string
		body         any
		headers      []string
		status       int
		code         string
		fields       string // code:field of each thing that is wrong with the form
	}{
		{"an address that there is not", w.Registrar, "GET", "/v1/nothing", nil, nil, 404, "route_not_found", ""},
		{"a method that an address does not take", w.Registrar, "PUT", "/v1/drives", nil, nil, 405, "method_not_allowed", ""},
		{"nobody signed in", nobody, "GET", "/v1/drives", nil, nil, 401, "not_signed_in", ""},
		{"a token of nobody", nobody, "GET", "/v1/drives", nil, []string{"Authorization", "Bearer nothing"}, 401, "not_signed_in", ""},
		{"a wrong password", nobody, "POST", "/v1/session", session, nil, 401, "signin_failed", ""},
		{"too many wrong passwords", nobody, "POST", "/v1/session", map[string]any{"login": "coordinator", "password": registrytest.Password}, nil, 429, "signin_locked", ""},
		{"another site's request", w.Registrar, "POST", "/v1/drives", nil, []string{"Origin", "https://elsewhere.example"}, 403, "cross_origin", ""},
		{"what the reader may not do", w.Auditor, "POST", "/v1/organisations", map[string]any{"kind": "hospital", "name": "某医院", "region": "320106"}, nil, 403, "denied", ""},
		{"a task of another role", w.Registrar, "POST", task, map[string]any{"outcome": "willing"}, []string{"If-Match", `"1"`}, 404, "task_not_found", ""},
		{"a record that there is not", w.Coordinator, "GET", somewhere, nil, nil, 404, "case_not_found", ""},
		{"a purpose that there is not", w.Registrar, "GET", "/v1/drives", nil, []string{"X-Purpose-Of-Use", "curiosity"}, 400, "purpose_unknown", ""},
		{"no body", w.Registrar, "POST", "/v1/drives", []byte{}, nil, 400, "request_invalid", ""},
		{"broken JSON", w.Registrar, "POST", "/v1/drives", []byte(`{"name": "秋`), nil, 422, "form_invalid", "R144:"},
		{"two bodies", w.Registrar, "POST", "/v1/drives", []byte(`{} {}`), nil, 422, "form_invalid", "R144:"},
		{"a list for a form", w.Registrar, "POST", "/v1/drives", []byte(`[]`), nil, 422, "form_invalid", "R144:"},
		{"an unknown field", w.Registrar, "POST", "/v1/drives", map[string]any{"title": "秋"}, nil, 422, "form_invalid", "R137:title"},
		{"a wrong type", w.Registrar, "POST", "/v1/drives", map[string]any{"target": "many"}, nil, 422, "form_invalid", "R144:target"},
		{"missing fields", w.Registrar, "POST", "/v1/drives", map[string]any{"place": "馆", "region": "320106", "target": 1}, nil, 422, "form_invalid", "R101:first_day R101:last_day R101:name"},
		{"fields out of bounds", w.Administrator, "POST", "/v1/staff", map[string]any{"login": "x", "name": strings.Repeat("长", 61), "password": "short", "organisation": w.County.ID}, nil, 422, "form_invalid", "R120:login R120:name R120:password"},
		{"a word that is not in the list", w.Administrator, "POST", "/v1/organisations", map[string]any{"kind": "shop", "name": "店", "region": "999999"}, nil, 422, "form_invalid", "R114:kind R118:region"},
		{"a step's form with a fault", w.Coordinator, "POST", task, map[string]any{"outcome": "declines"}, []string{"If-Match", `"1"`}, 422, "form_invalid", "R101:reason"},
		{"another kind of body", w.Registrar, "POST", "/v1/drives", []byte(`name=x`), []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "media_type", ""},
		{"a kind of body that cannot be read", w.Registrar, "POST", "/v1/drives", []byte(`{}`), []string{"Content-Type", "application/json; ="}, 415, "media_type", ""},
		{"a form for a sheet", w.Registrar, "POST", "/v1/import-batches?drive=" + drive.ID.String(), []byte(`--x`), []string{"Content-Type", "multipart/form-data; boundary=x"}, 415, "media_type", ""},
		{"a body that is too large", w.Registrar, "POST", "/v1/drives", []byte(`{"name":"` + strings.Repeat("长", 1<<19) + `"}`), nil, 413, "too_large", ""},
		{"a body that is too large, without a key", w.Coordinator, "POST", donor + "/reveal", []byte(`{"reason":"` + strings.Repeat("长", 1<<19) + `"}`), []string{"Idempotency-Key", ""}, 413, "too_large", ""},
		{"a sheet that is too large", w.Registrar, "POST", "/v1/import-batches?drive=" + drive.ID.String(), make([]byte, 22<<20), []string{"Content-Type", "text/csv"}, 413, "too_large", ""},
		{"no key", w.Registrar, "POST", "/v1/drives", w.driveForm("x"), []string{"Idempotency-Key", ""}, 400, "idempotency_key_required", ""},
		{"an endless key", w.Registrar, "POST", "/v1/drives", w.driveForm("x"), []string{"Idempotency-Key", strings.Repeat("k", 201)}, 400, "idempotency_key_required", ""},
		{"a key of another request", w.Registrar, "POST", "/v1/drives", w.driveForm("x"), []string{"Idempotency-Key", used}, 422, "idempotency_key_reused", ""},
		{"no version", w.Registrar, "POST", donor + "/withdraw", map[string]any{"via": "phone"}, nil, 428, "if_match_required", ""},
		{"a version of nothing", w.Registrar, "POST", donor + "/withdraw", map[string]any{"via": "phone"}, []string{"If-Match", "*"}, 412, "etag_unknown", ""},
		{"an old version", w.Registrar, "POST", donor + "/withdraw", map[string]any{"via": "phone"}, []string{"If-Match", `"77"`}, 412, "donor_changed", ""},
		{"what stands against it", w.Administrator, "POST", "/v1/staff", map[string]any{"login": "registrar", "name": "又一个", "password": "long enough it is", "organisation": w.County.ID}, nil, 409, "login_taken", ""},
		{"a torn cursor", w.Registrar, "GET", "/v1/drives?cursor=@@", nil, nil, 400, "cursor_unknown", ""},
		{"a cursor of another list", w.Registrar, "GET", "/v1/drives?cursor=MQ", nil, nil, 400, "cursor_unknown", ""},
		{"an id that is none", w.Coordinator, "GET", "/v1/cases/SC-2026-000001", nil, nil, 422, "request_invalid", "R144:id"},
		{"a number that is none", w.Registrar, "GET", "/v1/drives?limit=all", nil, nil, 422, "request_invalid", "R144:limit"},
		{"a filter that there is not", w.Registrar, "GET", "/v1/donors?programm=organ", nil, nil, 422, "request_invalid", "R137:programm"},
		{"a filter with a word that is not in the list", w.Registrar, "GET", "/v1/donors?programme=organs", nil, nil, 422, "request_invalid", "R144:programme"},
		{"a filter left out that must be there", w.Administrator, "DELETE", "/v1/grants?login=registrar&role=registrar", nil, nil, 422, "request_invalid", "R101:region"},
		{"a desk that is away", w.Coordinator, "POST", "/v1/cases/" + must(w.caseWith()) + "/reopen", map[string]any{"step": "stemcell.schedule", "reason": "other"}, []string{"If-Match", `"1"`}, 503, "desk_unavailable", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := *w
			w.t = t
			for _, l := range lang.Locales() {
				a := w.send(c.by, c.method, c.path, c.body, append([]string{"Accept-Language", string(l)}, c.headers...)...)
				p := a.problem(c.status, c.code)
				require.Equal(t, string(l), a.header.Get("Content-Language"))
				texts := p.Title + p.Detail
				var fields []string
				for _, e := range p.Errors {
					fields = append(fields, e.Code+":"+e.Field)
					require.NotEmpty(t, e.Is)
					require.NotEmpty(t, e.Mend)
					require.NotContains(t, e.Is+e.Mend, "no value")
					texts += e.Is + e.Mend
				}
				slices.Sort(fields)
				require.Equal(t, c.fields, strings.Join(fields, " "), "%s", a.body)
				chinese := strings.ContainsFunc(texts, func(r rune) bool { return unicode.Is(unicode.Han, r) })
				require.Equal(t, l == lang.Chinese, chinese, texts)
				switch c.status {
				case 401:
					require.NotEmpty(t, a.header.Get("WWW-Authenticate"))
				case 405:
					require.Equal(t, []string{"GET", "HEAD", "POST"}, a.header.Values("Allow"))
				case 415:
					require.NotEmpty(t, a.header.Get("Accept"))
					require.Contains(t, p.Detail, a.header.Get("Accept"))
				case 429, 503:
					require.NotEmpty(t, a.header.Get("Retry-After"))
				}
			}
		})
	}
	require.Len(t, read[api.PageBody[registry.DriveView]](w.send(w.Registrar, "GET", "/v1/drives", nil)).Items, 2, "what was refused was done")
	require.Equal(t, planned.header.Get("ETag"), w.send(w.Registrar, "GET", "/v1/drives/"+drive.ID.String(), nil).header.Get("ETag"))
}

func must(id uuid.UUID, _ []uuid.UUID) string { return id.String() }

// What somebody might send, in any field, and must not get back: a name, an identity number and a phone.
var secrets = []string{"张样安", "320106198501010117", "13800138000"}

var secret = strings.Join(secrets, " ")

// keepsSecrets fails when a problem says what was sent.
func (a answer) keepsSecrets(what string) {
	a.t.Helper()
	if a.status < 400 {
		return
	}
	require.Equal(a.t, "application/problem+json", a.header.Get("Content-Type"), "%s %s: %s", a.asked, what, a.body)
	for name, values := range a.header {
		for _, s := range secrets {
			require.NotContains(a.t, strings.Join(values, " "), s, "%s %s: %s", a.asked, what, name)
		}
	}
	for _, s := range secrets {
		require.NotContains(a.t, string(a.body), s, "%s %s", a.asked, what)
	}
}

func TestNoProblemRepeatsWhatWasSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	_, tasks := w.caseWith(registry.Steps()...)
	open := map[string]string{}
	for i, step := range registry.Steps() {
		open[step] = tasks[i].String()
	}
	drive, _ := w.drive("秋季采样")
	ids := map[string]string{
		"drives": drive.ID.String(), "donors": w.volunteers(drive.ID, 1)[0].String(), "cases": must(w.caseWith()), "import-batches": uuid.NewString(), "searches": uuid.NewString(),
		"patients": uuid.NewString(), "staff": w.Technician.Staff().String(), "account": uuid.NewString(), "tokens": uuid.NewString(), "consignments": uuid.NewString(), "notices": uuid.NewString(),
	}
	actors := map[string]registry.Actor{
		"session": w.Registrar, "account": w.Registrar, "administration": w.Administrator, "drives": w.Registrar, "batches": w.Registrar, "donors": w.Registrar, "emergencies": w.Coordinator, "exports": w.staff("office", w.City, policy.ProvincialOffice, "320000"), "laboratory": w.Technician,
		"searches": w.TransplantDoctor, "statistics": w.Coordinator, "cases": w.Coordinator, "tasks": w.Coordinator, "rights": w.Registrar, "notices": w.Registrar, "audit": w.Auditor, "service": nobody,
	}
	for _, by := range actors {
		w.token(by) // made before several ask for it
	}
	var sent atomic.Int64
	var all sync.WaitGroup
	operations := make(chan string, len(w.doc.operations()))
	for pattern := range w.doc.operations() {
		operations <- pattern
	}
	close(operations)
	for range 8 {
		all.Go(func() {
			for pattern := range operations {
				id, path := "", strings.Split(pattern, "/")
				if len(path) > 2 {
					id = ids[path[2]]
				}
				if step, ok := strings.CutPrefix(pattern, "POST /v1/tasks/{id}/answers/"); ok {
					id = open[step]
				}
				op := w.doc.operations()[pattern]
				sent.Add(int64(w.sendSecrets(actors[op["tags"].([]any)[0].(string)], pattern, op, cmp.Or(id, uuid.NewString()))))
			}
		})
	}
	all.Wait()
	require.Greater(t, sent.Load(), int64(600))
	metrics := string(w.send(nobody, http.MethodGet, "/metrics", nil).body)
	log := w.logged()
	require.NotEmpty(t, log)
	for _, s := range append(secrets, url.QueryEscape(secrets[0]), url.PathEscape(secrets[0])) {
		require.NotContains(t, log, s, "the log tells what was sent")
		require.NotContains(t, metrics, s, "the metrics tell what was sent")
	}
}

// sendSecrets sends an operation what nobody should read again, in every place that it has, and returns in how many.
func (w *world) sendSecrets(by registry.Actor, pattern string, op object, id string) (sent int) {
	method, path, _ := strings.Cut(pattern, " ")
	target := strings.NewReplacer("{id}", id, "{row}", "1").Replace(path)
	try := func(what, target string, body any, headers ...string) {
		w.send(by, method, target, body, append([]string{"If-Match", `"1"`}, headers...)...).keepsSecrets(what)
		sent++
	}
	var empty any
	body, hasBody := op["requestBody"].(object)
	if hasBody {
		empty = []byte("{}")
	}
	if strings.Contains(path, "{") {
		try("in the path", strings.NewReplacer("{id}", url.PathEscape(secret), "{row}", url.PathEscape(secret)).Replace(path), empty)
	}
	for _, p := range asList(op["parameters"]) {
		if p := p.(object); p["in"] == "query" {
			try("parameter "+p["name"].(string), target+"?"+url.Values{p["name"].(string): {secret}}.Encode(), empty)
		}
	}
	try("as a parameter", target+"?"+url.Values{secret: {secret}}.Encode(), empty)
	for header, value := range map[string]string{
		"X-Purpose-Of-Use": secrets[2], "If-Match": secrets[2], "Accept-Language": secrets[2], "Idempotency-Key": secrets[1] + secrets[2], "Authorization": "Bearer " + secrets[2],
		"Cookie": "liferelay_session=" + secrets[2], "Accept": secrets[2] + "/" + secrets[1],
	} {
		try(header, target, empty, header, value)
	}
	if !hasBody {
		return sent
	}
	try("Content-Type", target, empty, "Content-Type", secrets[1]+"/"+secrets[2])
	try("as the body", target, []byte(secret))
	try("as text", target, []byte(`"`+secret+`"`))
	try("as a field", target, object{secret: secret})
	media, ok := body["content"].(object)["application/json"].(object)
	if !ok {
		return sent
	}
	schema := media["schema"].(object)
	everywhere, beside := object{}, map[string]bool{}
	for _, place := range w.doc.places(schema, nil) {
		name, parent := strings.Join(place, "."), place[:len(place)-1]
		// The form is good but for the place, and never good enough to be sent to a desk that is away.
		form := func() object {
			one := w.doc.sample(schema).(object)
			switch {
			case strings.Contains(path, "/answers/"):
				one["outcome"] = "nonsense"
			case (op["operationId"] == "add-staff" || op["operationId"] == "sign-in") && name != "login":
				one["locale"] = "nonsense" // a good password takes long to hash
			}
			return one
		}
		one := form()
		put(one, place, secret)
		try(name, target, one)
		put(everywhere, place, secret)
		one = form()
		put(one, place, object{secret: secret})
		try(name+" as an object", target, one)
		if above := strings.Join(parent, "."); !beside[above] {
			beside[above] = true
			one = form()
			put(one, append(slices.Clone(parent), secret), secret)
			try(name+" beside", target, one)
		}
	}
	try("in every field", target, everywhere)
	return sent
}

// places lists the paths of the text fields of a schema; an element of a list is "0".
func (d *description) places(schema object, at []string) (out [][]string) {
	schema = d.resolve(schema)
	switch {
	case schema["type"] == "string":
		return [][]string{at}
	case schema["items"] != nil:
		return d.places(schema["items"].(object), append(slices.Clone(at), "0"))
	}
	properties := asObject(schema["properties"])
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		out = append(out, d.places(properties[name].(object), append(slices.Clone(at), name))...)
	}
	return out
}

// put sets a value in a tree, and makes what is missing on the way.
func put(tree object, place []string, value any) {
	name := place[0]
	if len(place) == 1 {
		tree[name] = value
		return
	}
	if place[1] != "0" {
		inner, ok := tree[name].(object)
		if !ok {
			inner = object{}
			tree[name] = inner
		}
		put(inner, place[1:], value)
		return
	}
	if len(place) == 2 {
		tree[name] = []any{value}
		return
	}
	inner := object{}
	if list, ok := tree[name].([]any); ok && len(list) > 0 {
		inner, _ = list[0].(object)
	}
	put(inner, place[2:], value)
	tree[name] = []any{inner}
}

// sample makes a value that fits a schema, from what is required.
func (d *description) sample(schema object) any {
	schema = d.resolve(schema)
	if examples := asList(schema["examples"]); len(examples) > 0 {
		return examples[0]
	}
	if enum := asList(schema["enum"]); len(enum) > 0 {
		return enum[0]
	}
	switch schema["type"] {
	case "object":
		out := object{}
		for _, name := range asList(schema["required"]) {
			out[name.(string)] = d.sample(asObject(schema["properties"])[name.(string)].(object))
		}
		return out
	case "array":
		return []any{d.sample(schema["items"].(object))}
	case "integer", "number":
		if n, ok := schema["minimum"].(float64); ok {
			return n
		}
		return 1
	case "boolean":
		return true
	}
	switch schema["format"] {
	case "uuid":
		return uuid.NewString()
	case "date":
		return "2026-11-21"
	case "date-time":
		return "2026-11-21T08:00:00Z"
	case "email":
		return "someone@example.com"
	default:
		return "some text that is long enough"
	}
}

// bodyFor is a body for an operation that reads one.
func bodyFor(op object) any {
	if _, ok := op["requestBody"]; ok {
		return []byte("{}")
	}
	return nil
}

func TestEveryExampleOfTheDescriptionIsReadAsItsForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for pattern, op := range w.doc.operations() {
		body, ok := op["requestBody"].(object)
		if !ok {
			continue
		}
		media, ok := body["content"].(object)["application/json"].(object)
		if !ok {
			continue
		}
		example := w.doc.sample(media["schema"].(object))
		require.Empty(t, w.doc.violations(media["schema"].(object), example, "$"), pattern)
		method, path, _ := strings.Cut(pattern, " ")
		a := w.send(w.Coordinator, method, strings.NewReplacer("{id}", uuid.NewString(), "{row}", "1", "{channel}", "email", "{certificate}", uuid.NewString(), "{share}", uuid.NewString()).Replace(path), example, "If-Match", `"1"`)
		var p api.Problem
		_ = json.Unmarshal(a.body, &p)
		for _, e := range p.Errors {
			require.NotContains(t, []string{"R144", "R137", "R101"}, e.Code, "%s: the example %v breaks %+v", pattern, example, e)
		}
	}
}

func TestAnErrorThatNobodyNamedTellsNothingButThatItHappened(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	w.exec(`ALTER TABLE drives RENAME COLUMN place TO gone`)
	p := w.send(w.Registrar, http.MethodGet, "/v1/drives/"+drive.ID.String(), nil).problem(500, "internal")
	require.Empty(t, p.Args)
	require.NotContains(t, fmt.Sprintf("%+v", p), "gone")
	require.Contains(t, w.logged(), "a request failed inside")
}
