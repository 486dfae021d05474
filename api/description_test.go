package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"mime"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
)

type object = map[string]any

// description is the API's OpenAPI document, as a stranger reads it.
type description struct {
	object
	all map[string]object
}

func readDescription(t testing.TB, data []byte) *description {
	t.Helper()
	d := &description{all: map[string]object{}}
	require.NoError(t, json.Unmarshal(data, &d.object))
	for path, item := range d.object["paths"].(object) {
		for method, op := range item.(object) {
			d.all[strings.ToUpper(method)+" "+path] = op.(object)
		}
	}
	return d
}

// operations are what the document describes, by method and path.
func (d *description) operations() map[string]object { return d.all }

// find finds the operation that a request is answered by: of two that fit, the one whose path says more.
func (d *description) find(method, path string) (found object, known bool) {
	path, _, _ = strings.Cut(path, "?")
	asked := strings.Split(path, "/")
	open := len(asked)
	for pattern, op := range d.operations() {
		how, template, _ := strings.Cut(pattern, " ")
		parts := strings.Split(template, "/")
		if how == method && slices.EqualFunc(parts, asked, func(part, text string) bool { return part == text || strings.HasPrefix(part, "{") }) {
			if n := strings.Count(template, "{"); n < open {
				found, known, open = op, true, n
			}
		}
	}
	return found, known
}

// check holds an answer against what the document says about it.
func (d *description) check(t testing.TB, method, path string, a answer) {
	t.Helper()
	op, known := d.find(method, path)
	if !known {
		require.GreaterOrEqual(t, a.status, 300, "%s is not described", a.asked)
		return
	}
	said, ok := op["responses"].(object)[strconv.Itoa(a.status)].(object)
	require.True(t, ok, "%s answered %d, which is not described: %s", a.asked, a.status, a.body)
	if headers, ok := said["headers"].(object); ok && headers["ETag"] != nil {
		require.NotEmpty(t, a.header.Get("ETag"), "%s: no ETag", a.asked)
	}
	if len(a.body) == 0 {
		require.Nil(t, said["content"], "%s: no body", a.asked)
		return
	}
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	require.NoError(t, err, a.asked)
	content := object{}
	for described, media := range said["content"].(object) {
		base, _, _ := mime.ParseMediaType(described)
		content[base] = media
	}
	require.Contains(t, content, kind, a.asked)
	if strings.HasSuffix(kind, "json") {
		var value any
		require.NoError(t, json.Unmarshal(a.body, &value), "%s: %s", a.asked, a.body)
		require.Empty(t, d.violations(content[kind].(object)["schema"].(object), value, "$"), "%s: %s", a.asked, a.body)
	}
}

// keywords are all that the validator knows; a schema with another is not one of ours.
var keywords = []string{
	"$ref", "type", "format", "description", "properties", "required", "additionalProperties", "items", "enum", "pattern", "examples",
	"minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "contentMediaType",
}

func (d *description) resolve(schema object) object {
	if ref, ok := schema["$ref"].(string); ok {
		return d.object["components"].(object)["schemas"].(object)[strings.TrimPrefix(ref, "#/components/schemas/")].(object)
	}
	return schema
}

// violations lists where a value breaks a schema.
func (d *description) violations(schema object, value any, at string) (out []string) {
	schema = d.resolve(schema)
	says := func(format string, args ...any) { out = append(out, at+" "+fmt.Sprintf(format, args...)) }
	types := []any{schema["type"]}
	if list, ok := schema["type"].([]any); ok {
		types = list
	}
	if schema["type"] != nil && !slices.ContainsFunc(types, func(name any) bool { return isType(value, name.(string)) }) {
		says("is %T and not %v", value, types)
		return out
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, value) {
		says("is none of %v", enum)
	}
	number := func(keyword string) float64 {
		if n, ok := schema[keyword].(float64); ok {
			return n
		}
		return math.NaN()
	}
	switch v := value.(type) {
	case object:
		properties, _ := schema["properties"].(object)
		for _, name := range asList(schema["required"]) {
			if _, ok := v[name.(string)]; !ok {
				says("lacks %v", name)
			}
		}
		for name, inner := range v {
			switch known, more := asObject(properties[name]), schema["additionalProperties"]; {
			case known != nil:
				out = append(out, d.violations(known, inner, at+"."+name)...)
			case more == false:
				says("has %s, which nobody described", name)
			default:
				if more, ok := more.(object); ok {
					out = append(out, d.violations(more, inner, at+"."+name)...)
				}
			}
		}
	case []any:
		if n := float64(len(v)); n < number("minItems") || n > number("maxItems") {
			says("has %v items", n)
		}
		for i, inner := range v {
			if items, ok := schema["items"].(object); ok {
				out = append(out, d.violations(items, inner, fmt.Sprintf("%s[%d]", at, i))...)
			}
			if schema["uniqueItems"] == true && slices.Contains(v[:i], inner) {
				says("has an item twice")
			}
		}
	case float64:
		if v < number("minimum") || v > number("maximum") || v <= number("exclusiveMinimum") {
			says("is out of bounds")
		}
	case string:
		if n := float64(utf8.RuneCountInString(v)); n < number("minLength") || n > number("maxLength") {
			says("has %v characters", n)
		}
		if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			says("does not fit %s", pattern)
		}
		if format, ok := schema["format"].(string); ok && !hasFormat(v, format) {
			says("is no %s", format)
		}
	}
	return out
}

func asList(v any) []any { list, _ := v.([]any); return list }

func isType(v any, name string) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == math.Trunc(v)
	case []any:
		return name == "array"
	default:
		return name == "object"
	}
}

func hasFormat(text, format string) bool {
	var err error
	switch format {
	case "uuid":
		err = uuid.Validate(text)
	case "date":
		_, err = time.Parse(time.DateOnly, text)
	case "date-time":
		_, err = time.Parse(time.RFC3339Nano, text)
	}
	return err == nil
}

func TestTheDescriptionIsSoundOpenAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.doc
	require.Regexp(t, `^3\.1\.\d+$`, d.object["openapi"])
	info := d.object["info"].(object)
	require.NotEmpty(t, info["title"])
	require.Equal(t, "test", info["version"])
	var tags []string
	for _, tag := range d.object["tags"].([]any) {
		require.NotEmpty(t, tag.(object)["description"])
		tags = append(tags, tag.(object)["name"].(string))
	}
	components := d.object["components"].(object)
	schemes := components["securitySchemes"].(object)
	require.Equal(t, []string{"bearer", "session"}, slices.Sorted(maps.Keys(schemes)))
	ids := map[string]bool{}
	for pattern, op := range d.operations() {
		_, path, _ := strings.Cut(pattern, " ")
		id, _ := op["operationId"].(string)
		require.NotEmpty(t, id, pattern)
		require.False(t, ids[id], "%s twice", id)
		ids[id] = true
		require.NotEmpty(t, op["summary"], pattern)
		require.Len(t, op["tags"], 1, pattern)
		require.Contains(t, tags, op["tags"].([]any)[0], pattern)
		d.soundParameters(t, pattern, path, op)
		d.soundAnswers(t, pattern, op)
		if body, ok := op["requestBody"].(object); ok {
			require.Equal(t, true, body["required"], pattern)
			for _, media := range body["content"].(object) {
				d.soundSchema(t, media.(object)["schema"].(object), pattern)
			}
		}
	}
	for name, schema := range components["schemas"].(object) {
		d.soundSchema(t, schema.(object), name)
	}
}

func (d *description) soundParameters(t *testing.T, pattern, path string, op object) {
	inPath, seen := []string{}, map[string]bool{}
	for _, p := range asList(op["parameters"]) {
		p := p.(object)
		if ref, ok := p["$ref"].(string); ok {
			require.Equal(t, "#/components/parameters/purpose", ref)
			p = d.object["components"].(object)["parameters"].(object)["purpose"].(object)
		}
		name, in := p["name"].(string), p["in"].(string)
		require.Contains(t, []string{"path", "query", "header"}, in, pattern)
		require.False(t, seen[in+name], "%s has %s twice", pattern, name)
		seen[in+name] = true
		if in == "path" {
			require.Equal(t, true, p["required"], pattern)
			inPath = append(inPath, "{"+name+"}")
		}
		d.soundSchema(t, p["schema"].(object), pattern+" "+name)
	}
	require.ElementsMatch(t, regexp.MustCompile(`\{\w+\}`).FindAllString(path, -1), inPath, pattern)
}

// soundAnswers: an operation has one success, and says with which problems it may refuse.
func (d *description) soundAnswers(t *testing.T, pattern string, op object) {
	successes := 0
	for status, answer := range op["responses"].(object) {
		require.Regexp(t, `^[2-5]\d\d$`, status, pattern)
		a := answer.(object)
		require.NotEmpty(t, a["description"], "%s %s", pattern, status)
		if status < "400" {
			successes++
		} else if op["tags"].([]any)[0] != "service" {
			require.Equal(t, object{"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/Problem"}}}, a["content"], "%s %s", pattern, status)
		}
		for _, media := range asObject(a["content"]) {
			d.soundSchema(t, media.(object)["schema"].(object), pattern)
		}
	}
	require.Equal(t, 1, successes, pattern)
}

func asObject(v any) object { o, _ := v.(object); return o }

// soundSchema: every reference leads somewhere, and every keyword is one that the validator of these tests holds values
// against.
func (d *description) soundSchema(t *testing.T, schema object, at string) {
	if ref, ok := schema["$ref"].(string); ok {
		name, local := strings.CutPrefix(ref, "#/components/schemas/")
		require.True(t, local, at)
		require.Contains(t, d.object["components"].(object)["schemas"], name, at)
		return
	}
	for keyword := range schema {
		require.Contains(t, keywords, keyword, at)
	}
	if items, ok := schema["items"].(object); ok {
		d.soundSchema(t, items, at+"[]")
	}
	properties := asObject(schema["properties"])
	for name, p := range properties {
		d.soundSchema(t, p.(object), at+"."+name)
	}
	for _, name := range asList(schema["required"]) {
		require.Contains(t, properties, name, at)
	}
	for _, example := range asList(schema["examples"]) {
		require.Empty(t, d.violations(schema, example, at))
	}
}

func TestWhatAnOperationAsksForIsDescribed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for pattern, op := range w.doc.operations() {
		required := map[string]bool{}
		for _, p := range asList(op["parameters"]) {
			if p.(object)["required"] == true {
				required[p.(object)["name"].(string)] = true
			}
		}
		answers := op["responses"].(object)
		switch {
		case op["tags"].([]any)[0] == "service", slices.Contains([]string{"sign-in", "sign-in-with-code", "sso-start", "sso-callback", "sso-logout"}, op["operationId"].(string)):
			require.Equal(t, []any{object{}}, op["security"], "%s needs nobody signed in", pattern)
		default:
			require.Nil(t, op["security"], "%s needs what the whole document needs", pattern)
			require.Contains(t, answers, "401", pattern)
			require.Contains(t, answers, "403", pattern)
			require.Contains(t, answers, "503", pattern)
		}
		if required["Idempotency-Key"] {
			require.Contains(t, answers, "409", pattern)
		}
		if required["If-Match"] {
			require.Contains(t, answers, "412", pattern)
			require.Contains(t, answers, "428", pattern)
		}
		if op["requestBody"] != nil {
			for _, status := range []string{"400", "413", "415", "422"} {
				require.Contains(t, answers, status, pattern)
			}
		}
	}
	require.Contains(t, w.doc.operations()["POST /v1/session"]["responses"], "429")
	require.NotEmpty(t, w.doc.object["security"])
}

func TestTheDescriptionIsWrittenInBothLanguages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	zh := readDescription(t, w.send(nobody, http.MethodGet, "/openapi.json", nil, "Accept-Language", "zh-CN").body)
	var dictionary map[string]string
	file, err := os.ReadFile("docs.zh-CN.toml")
	require.NoError(t, err)
	_, err = toml.Decode(string(file), &dictionary)
	require.NoError(t, err)
	used := map[string]bool{}
	var walk func(en, zh any, at string)
	walk = func(en, zh any, at string) {
		switch en := en.(type) {
		case []any:
			require.Len(t, zh, len(en), at)
			for i := range en {
				walk(en[i], zh.([]any)[i], at)
			}
		case object:
			require.Len(t, zh, len(en), at)
			for name := range en {
				text, isText := en[name].(string)
				if !isText || name != "summary" && name != "description" {
					walk(en[name], zh.(object)[name], at+"."+name)
					continue
				}
				said := zh.(object)[name].(string)
				require.True(t, strings.ContainsFunc(said, func(r rune) bool { return unicode.Is(unicode.Han, r) }), "docs.zh-CN.toml lacks %q (%s)", text, at)
				used[text] = true
			}
		default:
			require.Equal(t, en, zh, at)
		}
	}
	walk(w.doc.object, zh.object, "$")
	for text := range dictionary {
		require.True(t, used[text], "docs.zh-CN.toml has %q, which nothing says", text)
	}
}

func TestEveryStatusHasASentenceAndNoOtherDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	answered := map[string]bool{"405": true} // of no operation
	for _, op := range w.doc.operations() {
		for status := range op["responses"].(object) {
			if status >= "400" {
				answered[status] = true
				require.True(t, lang.Has("status."+status), status)
			}
		}
	}
	for _, id := range lang.IDs() {
		if status, ok := strings.CutPrefix(id, "status."); ok {
			require.True(t, answered[status], "nothing is answered with %s", status)
		}
	}
}

func TestEveryStepHasAnOperationWithItsForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	answers := 0
	for pattern := range w.doc.operations() {
		if strings.Contains(pattern, "/answers/") {
			answers++
		}
	}
	require.Len(t, registry.Steps(), answers)
	for _, step := range registry.Steps() {
		op := w.doc.operations()["POST /v1/tasks/{id}/answers/"+step]
		require.Contains(t, op["summary"], lang.English.Say("step."+step, nil))
		schema := w.doc.resolve(op["requestBody"].(object)["content"].(object)["application/json"].(object)["schema"].(object))
		require.Contains(t, schema["required"], "outcome", step)
		require.NotEmpty(t, schema["properties"].(object)["outcome"].(object)["enum"], step)
	}
}
