package registry_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
)

// spoken is a sentence that the program can come to say, with the names of what it is said with.
type spoken struct {
	id   string
	args []string
	at   token.Position
}

// speech finds the codes that a package's source speaks with: those of its errors, events and notices. What it cannot
// read from the source it gives back as open: the test knows those, and what they stand for.
type speech struct {
	set  *token.FileSet
	said []spoken
	open map[string]bool
	kind map[string]bool // of records, for missing(rec.kind)
}

func listen(set *token.FileSet, files ...*ast.File) *speech {
	s := &speech{set: set, open: map[string]bool{}, kind: map[string]bool{}}
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && slices.Contains([]string{"missing", "absent", "refused", "stale", "NewError"}, fn.Name.Name) {
				continue // they pass on what they are given
			}
			ast.Inspect(d, s.node)
		}
	}
	return s
}

var inSQL = regexp.MustCompile(`'(registration\.[a-z_]+)'`)

func (s *speech) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BasicLit: // SQL writes events, too
		query, _ := text(n)
		for _, m := range inSQL.FindAllStringSubmatch(query, -1) {
			s.said = append(s.said, spoken{"event." + m[1], []string{computed}, s.set.Position(n.Pos())})
		}
	case *ast.CallExpr:
		name, ok := n.Fun.(*ast.Ident)
		if !ok {
			if sel, isMethod := n.Fun.(*ast.SelectorExpr); isMethod && sel.Sel.Name == "tellTable" {
				s.says("notice.", n.Args[2], []string{"Case"}, n)
			}
			return true
		}
		switch name.Name {
		case "missing", "absent":
			s.saysWith("error.", n.Args[0], "_not_found", nil, n)
		case "stale":
			s.saysWith("error.", n.Args[0], "_changed", nil, n)
		case "refused":
			var args []string
			for i := 1; i+1 < len(n.Args); i += 2 {
				key, _ := text(n.Args[i])
				args = append(args, key)
			}
			s.says("error.", n.Args[0], args, n)
		}
	case *ast.CompositeLit:
		s.literal(n)
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			if len(n.Rhs) != len(n.Lhs) {
				break
			}
			name := types.ExprString(left)
			if _, isText := text(n.Rhs[i]); !isText {
				continue
			}
			switch {
			case name == "result.Code":
				s.says("error.", n.Rhs[i], nil, n)
			case name == "tell.code":
				s.says("notice.", n.Rhs[i], []string{"Step"}, n)
			case name == "event":
				s.says("event.", n.Rhs[i], []string{"Step", "Level"}, n)
			}
		}
	}
	return true
}

// literal reads the literals that carry a code: an Error, an Event, a notice; and the kind of a record.
func (s *speech) literal(n *ast.CompositeLit) {
	fields := map[string]ast.Expr{}
	for _, e := range n.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			fields[types.ExprString(kv.Key)] = kv.Value
		}
	}
	typeName := ""
	if n.Type != nil {
		typeName = types.ExprString(n.Type)
	}
	switch {
	case typeName == "Event" && fields["Code"] != nil:
		s.says("event.", fields["Code"], keys(fields["Args"]), n)
	case typeName == "notice" && fields["code"] != nil:
		s.says("notice.", fields["code"], keys(fields["args"]), n)
	case fields["Kind"] != nil && types.ExprString(fields["Kind"]) == "Incompatible":
		// An operator reads it at the machine, and reads its cause.
		if fields["cause"] == nil {
			s.open["an Incompatible without a cause"] = true
		}
	case fields["Kind"] != nil && fields["Code"] != nil: // an Error, also where a map's type is left out
		s.says("error.", fields["Code"], keys(fields["Args"]), n)
	case typeName == "record" && fields["kind"] != nil:
		if kind, ok := text(fields["kind"]); ok {
			s.kind[kind] = true
		} else {
			s.open[types.ExprString(fields["kind"])] = true
		}
	}
}

func (s *speech) says(prefix string, code ast.Expr, args []string, n ast.Node) {
	s.saysWith(prefix, code, "", args, n)
}

func (s *speech) saysWith(prefix string, code ast.Expr, suffix string, args []string, n ast.Node) {
	if code, ok := text(code); ok {
		s.said = append(s.said, spoken{prefix + code + suffix, args, s.set.Position(n.Pos())})
		return
	}
	s.open[prefix+types.ExprString(code)+suffix] = true
}

func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	out, err := strconv.Unquote(lit.Value)
	return out, err == nil
}

// computed stands for arguments that the source does not spell out. What is said with them is for the tests that say it.
const computed = "*"

// keys are those of a map[string]any literal.
func keys(e ast.Expr) []string {
	if e == nil {
		return nil
	}
	lit, ok := e.(*ast.CompositeLit)
	if !ok {
		return []string{computed}
	}
	var out []string
	for _, entry := range lit.Elts {
		key, _ := text(entry.(*ast.KeyValueExpr).Key)
		out = append(out, key)
	}
	return out
}

// unspoken lists what would be said without a sentence, or with a hole in one.
func unspoken(said []spoken) []string {
	var out []string
	for _, one := range said {
		args := map[string]any{}
		for _, name := range one.args {
			args[name] = "‹" + name + "›"
		}
		if !lang.Has(one.id) {
			out = append(out, fmt.Sprintf("%s: %s has no sentence", one.at, one.id))
			continue
		}
		for _, l := range lang.Locales() {
			if text := l.Say(one.id, args); strings.Contains(text, "<no value>") && !slices.Contains(one.args, computed) {
				out = append(out, fmt.Sprintf("%s: %s names what is not given: %s", one.at, one.id, text))
			}
		}
	}
	return out
}

func TestEveryCodeHasASentenceInBothLanguages(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	set := token.NewFileSet()
	var files []*ast.File
	var source strings.Builder
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, 0)
		require.NoError(t, err)
		files = append(files, f)
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		source.Write(data)
	}
	s := listen(set, files...)
	require.Greater(t, len(s.said), 100, "the source was read")

	// What the source does not spell out, and what it stands for.
	known := map[string][]spoken{
		"error.rec.kind_not_found":      nil, // below, from the records' kinds
		"error.refusal":                 nil, // was said before, and stored
		"event.t.Step + \".\" + o.Code": nil, // below, from the steps' forms
		"event.event":                   nil, // found where the variable is set
		"event.in.Event":                nil, // a protocol's: its own package has a test
		"event.\"drive.\" + status":     {{id: "event.drive.open"}, {id: "event.drive.sent"}},
		`event."registration.checkin_" + f.Outcome`: {
			{id: "event.registration.checkin_confirmed", args: []string{computed}}, {id: "event.registration.checkin_unavailable", args: []string{computed}}, {id: "event.registration.checkin_unreachable", args: []string{computed}},
		},
		"event.told":                             {{id: "event.handover.accepted"}, {id: "event.handover.declined"}, {id: "event.handover.withdrawn"}},
		"event.happened":                         {{id: "event.case.reopening_approved", args: []string{"Step"}}, {id: "event.case.reopening_refused", args: []string{"Step"}}},
		"event.attachmentEvents[v.Side].added":   {{id: "event.attachment.donor.added"}, {id: "event.attachment.patient.added"}},
		"event.attachmentEvents[v.Side].removed": {{id: "event.attachment.donor.removed", args: []string{"Reason"}}, {id: "event.attachment.patient.removed", args: []string{"Reason"}}},
		"notice.told": {
			{id: "notice.handover.accepted", args: []string{"Case"}}, {id: "notice.handover.declined", args: []string{"Case"}}, {id: "notice.handover.withdrawn", args: []string{"Case"}},
			{id: "notice.reopening.approved", args: []string{"Case", "Step"}}, {id: "notice.reopening.refused", args: []string{"Case", "Step"}},
			{id: "notice.task.more_time_granted", args: []string{"Case", "Step", "Until"}}, {id: "notice.task.more_time_refused", args: []string{"Case", "Step", "Until"}},
		},
		"error.k.Refused":    nil, // was said before, and stored
		"error.plan.Refused": nil, // found where the plan is made
		"notice.code":        nil, // found where tellTable is called
		`event."duplicate." + f.Decision`: {
			{id: "event.duplicate.same", args: []string{"Reason"}}, {id: "event.duplicate.different", args: []string{"Reason"}}, {id: "event.duplicate.unsure", args: []string{"Reason"}},
		},
		"event.code":           {{id: "event.registration.merged", args: []string{"Number", "Reason"}}, {id: "event.registration.unmerged", args: []string{"Number", "Reason"}}}, // where tellMerge is called
		"notice.told[code]":    {{id: "notice.access.braked", args: []string{"Staff", "Day"}}, {id: "notice.access.probed", args: []string{"Staff", "Day"}}},
		`error.p.refusal.Code`: nil, // found where it is refused
		"error.code":           nil, // planMerge's, below it
	}
	var unknown []string
	for open := range s.open {
		if _, ok := known[open]; !ok {
			unknown = append(unknown, open)
		}
		s.said = append(s.said, known[open]...)
	}
	require.Empty(t, unknown, "codes that the test does not know how to read")
	decided := regexp.MustCompile(`var collective = \[\]string\{([^}]*)\}`).FindStringSubmatch(source.String())
	require.Len(t, decided, 2)
	for kind := range s.kind {
		if !strings.Contains(decided[1], strconv.Quote(kind)) {
			s.said = append(s.said, spoken{id: "error." + kind + "_not_found", at: token.Position{Filename: "record kind " + kind}})
		}
	}
	// SQL puts these two together.
	for _, intent := range []string{"wish", "refusal"} {
		s.said = append(s.said, spoken{id: "event.registration." + intent, args: []string{"Programme", "On"}})
	}
	require.Contains(t, source.String(), `'registration.' ||`)
	for _, step := range registry.Steps() {
		s.said = append(s.said, spoken{id: "step." + step})
		outcomes := outcomesOf(t, step)
		require.NotEmpty(t, outcomes, step)
		for _, outcome := range outcomes {
			require.True(t, lang.Has("event."+step+"."+outcome), "event.%s.%s", step, outcome)
		}
	}
	require.Empty(t, unspoken(s.said))
}

// outcomesOf are the outcomes that a step's form allows.
func outcomesOf(t *testing.T, step string) []string {
	t.Helper()
	field, ok := reflect.TypeOf(registry.StepForm(step)).FieldByName("Outcome")
	require.True(t, ok, step)
	for rule := range strings.SplitSeq(field.Tag.Get("validate"), ",") {
		if list, found := strings.CutPrefix(rule, "oneof="); found {
			return strings.Fields(list)
		}
	}
	return nil
}

// The catalogue of who may see which event names events that there are.
func TestTheCatalogueOfEventsNamesOnlyEventsThatHaveASentence(t *testing.T) {
	t.Parallel()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "events.go", nil, 0)
	require.NoError(t, err)
	var codes []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && spec.Names[0].Name == "sideOf" {
			codes = keys(spec.Values[0])
		}
		return true
	})
	require.Greater(t, len(codes), 20)
	for _, code := range codes {
		require.True(t, lang.Has("event."+code), "%s is in the catalogue, and nothing says it", code)
	}
}

func TestACodeWithoutASentenceIsFound(t *testing.T) {
	t.Parallel()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "new.go", `package registry
		func do() error {
			a.event(Event{Code: "case.opened", Args: map[string]any{"Number": 1}})
			a.event(Event{Code: "case.vanished"})
			a.tell(notice{code: "donor.vanished"})
			a.tellTable(ctx, c, "table.vanished", true)
			a.Exec(ctx, "INSERT INTO events (code) SELECT 'registration.vanished'")
			result.Code = "typing_vanished"
			if x { return refused("no_office", "Place", 1) }
			if y { return stale("wish") }
			if w { return &Error{Kind: Denied, Code: "not_so"} }
			if v { return refused(string(v)) }
			return missing("sheet")
		}`, 0)
	require.NoError(t, err)
	s := listen(set, f)
	found := strings.Join(unspoken(s.said), "\n")
	for _, want := range []string{
		"event.case.opened names what is not given", "event.case.vanished has no", "notice.donor.vanished has no", "notice.table.vanished has no", "event.registration.vanished has no", "error.typing_vanished has no",
		"error.no_office names what is not given", "error.wish_changed has no", "error.not_so has no", "error.sheet_not_found has no",
	} {
		require.Contains(t, found, want)
	}
	require.Equal(t, map[string]bool{"error.string(v)": true}, s.open)
}
