package web

import (
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
)

// auditPages are for those who watch: who did or saw what, whether the audit is whole, and taking it out.
func (s *Site) auditPages() {
	s.page("GET /audit", s.audit)
	s.page("GET /audit/chain", s.auditChain)
	s.page("GET /audit/export", s.auditExport)
	s.page("GET /audit/{id}", s.auditRow)
	s.act("POST /audit/verifications", s.verifyAudit)
}

// recordKinds are the kinds of records that the audit is narrowed by.
var recordKinds = []string{"donor", "person", "case", "task", "drive", "batch", "patient", "search", "staff", "emergency", "export", "request", "policy"}

// auditShown is the audit's page.
type auditShown struct {
	chain   registry.AuditChain
	lines   []registry.AuditLine
	offices []Option
	next    string
	wrong   string
}

func (s *Site) audit(v *Visit) (Answer, error) {
	before, id := newestFirst(v)
	f := registry.AuditFilter{
		Actor: strings.TrimSpace(v.Query("actor")), Target: strings.TrimSpace(v.Query("target")), Role: policy.Role(v.Query("role")), Organisation: v.QueryID("organisation"), Kind: v.Query("kind"),
		Class: policy.Class(v.Query("class")), Action: policy.Action(v.Query("action")), Purpose: policy.Purpose(v.Query("purpose")), DeniedOnly: v.Query("denied") != "",
		Preset: registry.AuditPreset(v.Query("preset")), Before: before, BeforeID: id, Limit: listed,
	}
	var a auditShown
	var err error
	if a.chain, err = s.store.ShowChain(v, v.Actor); err != nil {
		return nil, err
	}
	if a.offices, err = s.offices(v); err != nil {
		return nil, err
	}
	if f.From, f.To, err = registry.DaysOf(v.Query("from"), v.Query("to")); err == nil {
		a.lines, err = s.store.ListAudit(v, v.Actor, f)
	}
	if registry.KindOf(err) == registry.Invalid { // a day that is none, or more days than a preset takes
		a.wrong, _ = v.refusal(err)
		if a.wrong == "" {
			a.wrong = v.Locale.Say("error."+registry.CodeOf(err), argsOf(err))
		}
		v.refused, err = true, nil
	}
	if err != nil {
		return nil, err
	}
	if len(a.lines) == listed {
		a.next = cursorOf(a.lines[listed-1].At, a.lines[listed-1].ID)
	}
	return v.Page("page.audit", auditPage(v, a)), nil
}

// narrowed tells whether the audit is narrowed by anything but a preset.
func narrowed(v *Visit) bool {
	for _, name := range []string{"from", "to", "actor", "target", "role", "organisation", "kind", "class", "action", "purpose", "denied"} {
		if v.Query(name) != "" {
			return true
		}
	}
	return false
}

// offices are the organisations to choose from.
func (s *Site) offices(v *Visit) ([]Option, error) {
	const most = 200
	var out []Option
	for after := uuid.Nil; ; {
		list, err := s.store.ListOrganisations(v, v.Actor, "", after, most)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			out, after = append(out, Option{Value: o.ID.String(), Label: o.Name}), o.ID
		}
		if len(list) < most {
			return out, nil
		}
	}
}

// called is the label of the option with a value, nothing where there is none.
func called(options []Option, value string) string {
	for _, o := range options {
		if o.Value == value {
			return o.Label
		}
	}
	return ""
}

// wordsOfAll are codes to choose from, in words.
func wordsOfAll[T ~string](v *Visit, set string, codes []T) []Option {
	out := make([]Option, len(codes))
	for i, c := range codes {
		out[i] = Option{Value: string(c), Label: v.Word(set, c)}
	}
	return out
}

// texts are codes as texts.
func texts[T ~string](codes []T) []string {
	out := make([]string, len(codes))
	for i, c := range codes {
		out[i] = string(c)
	}
	return out
}

// wordsTogether are several codes in words, in one text.
func wordsTogether[T ~string](v *Visit, set string, codes []T) string {
	var out []string
	for _, c := range codes {
		out = append(out, v.Word(set, c))
	}
	return strings.Join(out, " · ")
}

// actedAs is in which role, and where, somebody did what a row of the audit tells.
func actedAs(v *Visit, l registry.AuditLine, office string) string {
	who := v.Word("Role", l.Role)
	switch {
	case who != "":
	case strings.HasPrefix(l.Actor, "system:"):
		who = v.Word("Role", policy.SystemRole)
	case strings.HasPrefix(l.Actor, "operator:"):
		who = v.Say("audit.by_operator")
	default:
		who = v.Say("audit.by_staff")
	}
	if office != "" {
		who += " · " + office
	}
	return who
}

// targetOf is a record of the audit in words: what kind it is, and the beginning of its id, or which part of them all.
func targetOf(v *Visit, target string) string {
	kind, id, _ := strings.Cut(target, ":")
	if id == "" {
		return v.Word("RecordKind", kind)
	}
	short, _, _ := strings.Cut(id, "-")
	return v.Word("RecordKind", kind) + " " + v.Word("RecordPart", short)
}

// auditRowPath is where a row of the audit is shown whole: it is found by its time as well.
func auditRowPath(l registry.AuditLine) string {
	return "/audit/" + l.ID.String() + "?at=" + url.QueryEscape(l.At.UTC().Format(time.RFC3339Nano))
}

// auditOf is the audit narrowed by one thing.
func auditOf(name, value string) string { return "/audit?" + name + "=" + url.QueryEscape(value) }

func (s *Site) auditChain(v *Visit) (Answer, error) {
	chain, err := s.store.ShowChain(v, v.Actor)
	if err != nil {
		return nil, err
	}
	return v.Part(chainCard(v, chain)), nil
}

func (s *Site) verifyAudit(v *Visit) (Answer, error) {
	if _, err := s.store.StartVerification(v, v.Actor); err != nil {
		return nil, err
	}
	return v.To("/audit", "said.verification_started"), nil
}

// auditExport hands the signed audit out as lines, as it is read. Who may not is told before anything is written.
func (s *Site) auditExport(v *Visit) (Answer, error) {
	from, to := io.Pipe()
	begun := &beginning{to: to, told: make(chan error, 1)}
	go func() {
		_, err := s.store.ExportAudit(v, v.Actor, int64(v.QueryInt("since")), begun, nil)
		begun.tell(err)
		_ = to.CloseWithError(err) // nil is the end
	}()
	if err := <-begun.told; err != nil {
		return nil, err
	}
	return v.File("audit.jsonl", "application/x-ndjson", func(w io.Writer) error {
		_, err := io.Copy(w, from)
		return errors.Join(err, from.Close()) // whoever writes on is told that nobody reads
	}), nil
}

// beginning tells once that what it passes on has begun, or why it has not.
type beginning struct {
	to   io.Writer
	told chan error
	done bool
}

func (b *beginning) tell(err error) {
	if !b.done {
		b.done = true
		b.told <- err
	}
}

func (b *beginning) Write(p []byte) (int, error) {
	b.tell(nil)
	return b.to.Write(p)
}

func (s *Site) auditRow(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	at, err := time.Parse(time.RFC3339Nano, v.Query("at"))
	if err != nil {
		return nil, &registry.Error{Kind: registry.NotFound, Code: "audit_row_not_found"}
	}
	d, err := s.store.ShowAudit(v, v.Actor, at, id)
	if err != nil {
		return nil, err
	}
	return v.Page("page.audit_row", auditRowPage(v, d)), nil
}

// fieldsTouched are the fields that a row of the audit names, as readers call them.
func fieldsTouched(v *Visit, fields string) (out []string) {
	for _, name := range strings.Fields(strings.ReplaceAll(fields, ",", " ")) {
		if !strings.Contains(name, "=") {
			out = append(out, forms.FieldName(name, v.Locale))
		}
	}
	return out
}

// narrowedBy is what a list was narrowed by, or of what something was, as the audit has it.
func narrowedBy(fields string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(fields), func(name string) bool { return !strings.Contains(name, "=") }), " ")
}

// aboutRow is the page of what a row of the audit is about, where there is one for those who watch.
func aboutRow(d registry.AuditDetail) string {
	if lease, ok := strings.CutPrefix(d.Rule, "emergency_access:"); ok {
		return "/emergencies/" + lease
	}
	for kind, at := range map[string]string{"emergency:": "/emergencies/", "export:": "/exports/"} {
		if id, ok := strings.CutPrefix(d.Target, kind); ok && uuid.Validate(id) == nil {
			return at + id
		}
	}
	return ""
}

// simulated tells whether the policy can be tried on the record of a row.
func simulated(target string) bool {
	return strings.HasPrefix(target, "donor:") || strings.HasPrefix(target, "case:")
}

// presetTabs are the questions that auditors ask again and again, as links. The other filters stay.
func presetTabs(v *Visit) []Tab {
	asked := v.Query("preset")
	tabs := []Tab{{Says: v.Say("audit.everything"), Path: v.Here("preset", "", "after", ""), Here: asked == ""}}
	for _, p := range registry.AuditPresets() {
		tabs = append(tabs, Tab{Says: v.Word("Preset", p), Path: v.Here("preset", string(p), "after", ""), Here: asked == string(p)})
	}
	return tabs
}

// reasonSaid is a reason's code in words: of revealing, of an emergency, or of whatever else is told with one.
func reasonSaid(v *Visit, reason string) string {
	for _, set := range []string{"RevealReason", "Category", "Reason"} {
		if said := v.Word(set, reason); said != reason {
			return said
		}
	}
	return reason
}
