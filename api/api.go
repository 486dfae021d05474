// Package api is the JSON face of Liferelay: OpenAPI 3.1, problem details, idempotency keys, entity tags, cursors.
//
// It guarantees that a handler decodes, calls and encodes and knows neither a rule nor SQL; that no answer repeats a
// value that was refused; that every request that changes something can be sent again with its Idempotency-Key and does
// what it did the first time; and that nothing is answered to somebody who is not signed in but the pages about the API
// and about its health.
package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/liferelay/liferelay/front"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/signon"
	"github.com/liferelay/liferelay/workflows"
)

// API serves the JSON API.
type API struct {
	store   *registry.Store
	cases   *workflows.Client
	log     *zap.Logger
	huma    huma.API
	known   map[string]operation // by the pattern that the router knows it by
	bodies  []bodySchema
	answers map[string]reflect.Type // of each operation, by its pattern: what can leave
	front   *front.Front
	limits  limits
	signOn  *signon.Provider // nil without single sign-on
}

// Config is what the API is built from.
type Config struct {
	Store   *registry.Store
	Cases   *workflows.Client
	Log     *zap.Logger
	Version string       // of the program, for the description
	Front   *front.Front // nil is one of its own
	// SignOn is the provider of single sign-on, if there is one.
	SignOn *signon.Provider
}

// limits bound what a request may bring.
type limits struct{ body, upload int64 }

// New builds the handler of the whole API.
func New(c Config) http.Handler {
	a, mux := build(c)
	return a.wrap(mux)
}

func build(c Config) (*API, *http.ServeMux) {
	if c.Front == nil {
		c.Front = front.New(front.Config{Store: c.Store, Log: c.Log})
	}
	a := &API{
		store: c.Store, cases: c.Cases, log: c.Log, known: map[string]operation{}, answers: map[string]reflect.Type{},
		front: c.Front, limits: limits{body: 1 << 20, upload: 21 << 20}, signOn: c.SignOn,
	}
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Liferelay (生命接力)", c.Version)
	config.Info.Description = introduction
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", "" // served below, with our headers
	config.CreateHooks = nil                                             // no $schema links in answers
	config.RejectUnknownQueryParameters = true                           // a filter that is spelled wrongly must not give the whole list
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer":  {Type: "http", Scheme: "bearer"},
		"session": {Type: "apiKey", In: "cookie", Name: a.front.Name(front.SessionCookie)},
	}
	config.Security = []map[string][]string{{"bearer": {}}, {"session": {}}}
	aliases(config.Components.Schemas)
	a.huma = humago.New(mux, config)
	a.routes()
	a.about(mux)
	a.describe()
	return a, mux
}

const introduction = "The register of people who give blood, stem cells, organs, corneas or their body, and the coordination of every case. " +
	"Sentences come in Chinese or English, by Accept-Language or the reader's own setting. " +
	"Every answer has an X-Request-Id, and an X-Emergency-Until while emergency access of the caller's runs; what goes wrong is told as a problem (RFC 9457) that never repeats what was sent."

// routes lists what can be done, by what people do.
func (a *API) routes() {
	a.sessionRoutes()
	a.signOnRoutes()
	a.accountRoutes()
	a.staffRoutes()
	a.organisationRoutes()
	a.driveRoutes()
	a.batchRoutes()
	a.intakeRoutes()
	a.donorRoutes()
	a.duplicateRoutes()
	a.emergencyRoutes()
	a.exportRoutes()
	a.specimenRoutes()
	a.searchRoutes()
	a.statisticsRoutes()
	a.caseRoutes()
	a.attachmentRoutes()
	a.reopeningRoutes()
	a.taskRoutes()
	a.workRoutes()
	a.rightsRoutes()
	a.noticeRoutes()
	a.deliveryRoutes()
	a.printRoutes()
	a.auditRoutes()
}

// Pieces of requests that many share.
type (
	// ByID names the record in the path.
	ByID struct {
		ID uuid.UUID `path:"id"`
	}
	// Keyed is a request that changes something.
	Keyed struct {
		Key string `header:"Idempotency-Key" doc:"Chosen by the caller, new for each thing it wants done. The same key again gives the first answer."`
	}
	// Versioned is a request about a record as the caller read it.
	Versioned struct {
		IfMatch string `header:"If-Match" doc:"The ETag that the record had when it was read."`
	}
	// Paged asks for a part of a list.
	Paged struct {
		Cursor string `query:"cursor" doc:"From the answer before; the first page when left out."`
		Limit  int    `query:"limit" doc:"At most 200; 50 when left out."`
	}
	// Sent is a request with a JSON body. It is decoded by us, so that what is refused is not repeated.
	Sent struct {
		RawBody []byte `contentType:"application/json"`
	}
)

// One is an answer with one record that has versions.
type One[T any] struct {
	ETag string `header:"ETag" class:"open" mask:"none"`
	Body T      `class:"open" mask:"none"`
}

// Plain is an answer that has none.
type Plain[T any] struct {
	Body T `class:"open" mask:"none"`
}

func plain[T any](body T) *Plain[T] { return &Plain[T]{body} }

// Page is an answer with a part of a list.
type Page[T any] struct {
	Body PageBody[T] `class:"open" mask:"none"`
}

// PageBody is the part of a list.
type PageBody[T any] struct {
	Items []T    `json:"items" class:"open" mask:"none"`
	Next  string `json:"next,omitempty" doc:"The cursor of the next page; absent on the last." class:"open" mask:"none"`
}

// page makes an answer of a list. A list as long as was asked for may go on: its last item's cursor leads there.
func page[T any](items []T, limit int, cursor func(T) string) *Page[T] {
	if limit <= 0 {
		limit = 50
	}
	limit = min(limit, 200)
	out := &Page[T]{Body: PageBody[T]{Items: items}}
	if len(items) == limit {
		out.Body.Next = base64.RawURLEncoding.EncodeToString([]byte(cursor(items[limit-1])))
	}
	if out.Body.Items == nil {
		out.Body.Items = []T{}
	}
	return out
}

// parts reads a cursor back into what it was made of, nothing for the first page.
func (p Paged) parts(n int) ([]string, error) {
	if p.Cursor == "" {
		return make([]string, n), nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil {
		return nil, errCursor
	}
	parts := strings.Split(string(raw), " ")
	if len(parts) != n {
		return nil, errCursor
	}
	return parts, nil
}

// after reads a cursor that is a record's id.
func (p Paged) after() (uuid.UUID, error) {
	parts, err := p.parts(1)
	if err != nil || parts[0] == "" {
		return uuid.Nil, err
	}
	id, err := uuid.Parse(parts[0])
	if err != nil {
		return uuid.Nil, errCursor
	}
	return id, nil
}

// behind reads a cursor that is an instant and, at it, a record.
func (p Paged) behind() (time.Time, uuid.UUID, error) {
	parts, err := p.parts(2)
	if err != nil || parts[0] == "" {
		return time.Time{}, uuid.Nil, err
	}
	at, errAt := time.Parse(time.RFC3339Nano, parts[0])
	id, errID := uuid.Parse(parts[1])
	if errAt != nil || errID != nil {
		return time.Time{}, uuid.Nil, errCursor
	}
	return at, id, nil
}

func instantCursor(at time.Time, id uuid.UUID) string {
	return at.Format(time.RFC3339Nano) + " " + id.String()
}

func tagged[T any](version int64, body T) *One[T] { return &One[T]{ETag: etag(version), Body: body} }

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// version reads the If-Match header, which a request that changes a record must bring.
func (v Versioned) version() (int64, error) {
	if v.IfMatch == "" {
		return 0, errPreconditionRequired
	}
	n, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(v.IfMatch, "W/"), `"`), 10, 64)
	if err != nil || n <= 0 {
		return 0, registry.NewError(registry.Stale, "etag_unknown", nil)
	}
	return n, nil
}

// operation is one thing that can be done.
type operation struct {
	method, path, id, tag, says string
	body                        any  // the form that the body is read into, for the description
	keyed                       bool // needs an Idempotency-Key
	public                      bool // needs nobody signed in
	status                      int
	scope                       string   // which scope a program's token needs; found by the address when left out, see scopes
	during                      []string // what a session may still have to do that does this, see registry.NextPassword
	guarded                     bool     // is throttled by network address: somebody may be guessing
	braked                      bool     // counts to how many donors one person opens in a day
	signs                       bool     // may refuse because of what is guessed
	conflicts                   bool     // reads, and is refused where a rule stands against it
	lenient                     bool     // takes query parameters that nobody described
	takes                       []string // media types of the body; none takes no body
	gives                       string   // media type of the answer; JSON when empty
}

// The media types of bodies.
var (
	jsonBody  = []string{"application/json"}
	sheetBody = []string{"application/octet-stream", workbookType, "text/csv"}
	paperBody = append([]string{"application/octet-stream"}, registry.AttachmentMedia()...)
)

// pattern is what the router knows the operation by.
func (o operation) pattern() string { return o.method + " " + o.path }

type bodySchema struct {
	path, method string
	form         reflect.Type
}

// route registers an operation. do is called with the signed-in actor, whom the layer authenticate has let through; its
// errors become problem details.
func route[In, Out any](a *API, o operation, do func(context.Context, registry.Actor, *In) (*Out, error)) {
	o.scope = o.needs()
	if o.body != nil {
		o.takes = jsonBody
		a.bodies = append(a.bodies, bodySchema{o.path, o.method, reflect.TypeOf(o.body)})
	}
	a.known[o.pattern()] = o
	a.answers[o.pattern()] = reflect.TypeFor[Out]()
	op := huma.Operation{
		Method: o.method, Path: o.path, OperationID: o.id, Summary: o.says, Tags: []string{o.tag}, DefaultStatus: o.status,
		SkipValidateBody: true, SkipValidateParams: o.lenient, MaxBodyBytes: a.limits.body, Errors: errorsOf(o, reflect.TypeFor[In]()),
	}
	if o.public {
		op.Security = []map[string][]string{{}}
	}
	if o.gives != "" {
		op.Responses = map[string]*huma.Response{strconv.Itoa(http.StatusOK): {Content: map[string]*huma.MediaType{o.gives: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}}
	}
	if slices.Contains(o.takes, sheetBody[0]) { // a file
		op.MaxBodyBytes, op.BodyReadTimeout = a.limits.upload, time.Minute
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *In) (*Out, error) {
		r := requestOf(ctx)
		if o.keyed && r.key == "" {
			return nil, r.problem(errKeyRequired)
		}
		out, err := do(ctx, r.actor, in)
		if err != nil {
			return nil, r.problem(err)
		}
		return out, nil
	})
}

// aliases tells the description how our own types look in JSON.
func aliases(r huma.Registry) {
	for _, secret := range []any{seal.Name{}, seal.Number{}, seal.Phone{}, seal.Email{}, seal.Address{}, seal.Note{}} {
		r.RegisterTypeAlias(reflect.TypeOf(secret), reflect.TypeFor[string]())
	}
	r.RegisterTypeAlias(reflect.TypeFor[calendar.Date](), reflect.TypeFor[day]())
	r.RegisterTypeAlias(reflect.TypeFor[uuid.UUID](), reflect.TypeFor[identifier]())
}

// day is how a date looks in the description.
type day string

// Schema implements huma.SchemaProvider.
func (day) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date"}
}

// identifier is how an id looks in the description.
type identifier string

// Schema implements huma.SchemaProvider.
func (identifier) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "uuid"}
}
