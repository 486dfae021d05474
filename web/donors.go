package web

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// donorPages are where somebody is found and met: the search box's page, the list, and the donor's own.
func (s *Site) donorPages() {
	s.page("GET /find", s.findPage)
	s.act("POST /find", s.find)
	s.page("GET /donors", s.donors)
	s.page("GET /donors/export.csv", s.donorSheet)
	s.page("GET /donors/{id}", s.donor)
	s.act("POST /donors/{id}/reveal", s.reveal)
	s.act("POST /donors/{id}/withdraw", s.withdraw)
	s.act("POST /donors/{id}/attempts", s.attempt)
	s.act("POST /donors/{id}/shares", s.share)
	s.act("POST /donors/{id}/shares/{share}/end", s.endShare)
	s.page("GET /donors/{id}/looks", s.looks)
}

func (s *Site) findPage(v *Visit) (Answer, error) {
	return v.Page("page.find", findPage(v, nil, "")), nil
}

// find shows what a text names. What was typed is in no address and comes back in no page: it may be the end of somebody's identity number.
func (s *Site) find(v *Visit) (Answer, error) {
	found, err := s.store.Find(v, v.Actor, registry.LookForm{Text: seal.NoteOf(strings.TrimSpace(v.Field("q")))})
	if registry.KindOf(err) == registry.Invalid {
		return v.Page("page.find", findPage(v, nil, v.Say("donor.find_what"))), nil
	}
	if err != nil {
		return nil, err
	}
	if len(found.Lines) == 1 {
		if path := v.foundPath(found.Lines[0]); path != "" {
			return v.To(path, ""), nil
		}
	}
	return v.Page("page.find", findPage(v, &found, "")), nil
}

// foundPath is where a record that was found is shown, nothing where there is no page of it.
func (v *Visit) foundPath(l registry.FoundLine) string {
	switch {
	case l.Donor != nil:
		return "/donors/" + l.Donor.ID.String()
	case l.Case != nil:
		if _, there := v.site.known["GET /cases/{id}"]; there {
			return "/cases/" + l.Case.ID.String()
		}
	case l.Search != nil:
		if _, there := v.site.known["GET /searches/{id}"]; there {
			return "/searches/" + l.Search.ID.String()
		}
	}
	return ""
}

// The words that the list of donors is narrowed by.
var (
	programmes    = []string{"stemcell", "blood", "organ", "cornea", "body"}
	donorStatuses = []string{"registered", "enrolling", "listed", "unavailable", "withdrawn", "left"}
)

// donorFilter reads what a list of donors is narrowed by from the address.
func (v *Visit) donorFilter() registry.DonorFilter {
	day := func(name string) calendar.Date {
		d, _ := calendar.Parse(v.Query(name))
		return d
	}
	f := registry.DonorFilter{
		Region: identity.Region(v.Query("region")), Programme: rules.Programme(v.Query("programme")), Status: v.Query("status"), DriveID: v.QueryID("drive"),
		Number: strings.TrimSpace(v.Query("number")), Barcode: strings.TrimSpace(v.Query("barcode")), RegisteredFrom: day("from"), ContactedBefore: day("contacted"),
	}
	if until := day("until"); !until.IsZero() {
		f.RegisteredBefore = until.AddDays(1)
	}
	return f
}

func (s *Site) donors(v *Visit) (Answer, error) {
	f := v.donorFilter()
	f.After, f.Limit = v.QueryID("after"), listed
	lines, err := s.store.ListDonors(v, v.Actor, f)
	wrong := ""
	if registry.KindOf(err) == registry.Invalid {
		lines, wrong, err = nil, v.Say("donor.region_unknown"), nil
	}
	if err != nil {
		return nil, err
	}
	next := ""
	if len(lines) == listed {
		next = lines[len(lines)-1].ID.String()
	}
	return v.Page("page.donors", donorList(v, lines, next, wrong)), nil
}

func (s *Site) donorSheet(v *Visit) (Answer, error) {
	sheet, err := s.store.ExportDonors(v, v.Actor, v.donorFilter())
	if err != nil {
		return nil, err
	}
	return v.File("donors.csv", "text/csv; charset=utf-8", func(w io.Writer) error {
		_, err := w.Write(sheet.Data)
		return err
	}), nil
}

// donorSheetPath is the sheet of the list that is looked at.
func donorSheetPath(v *Visit) string {
	_, query, narrowed := strings.Cut(v.Here("after", ""), "?")
	if !narrowed {
		return "/donors/export.csv"
	}
	return "/donors/export.csv?" + query
}

// donorView is a donor's page.
type donorView struct {
	registry.DonorView
	Shares  []registry.ShareView
	Merges  []registry.MergeView
	Offices []Option // with which a donor may be shared
	Wrong   string   // why what was sent was not done
	At      string   // the section that it is about
}

// readDonor reads a donor's page with what stands beside it. What the reader may not read is left out.
func (s *Site) readDonor(v *Visit, id uuid.UUID) (donorView, error) {
	d, err := s.store.ShowDonor(v, v.Actor, id)
	if err != nil {
		return donorView{}, err
	}
	out := donorView{DonorView: d}
	if d.HeldBack != "" {
		return out, nil
	}
	if v.May(policy.Read, policy.Registration) {
		if out.Shares, err = s.store.ListShares(v, v.Actor, id, uuid.Nil, 50); err != nil && !isClosed(err) {
			return out, err
		}
	}
	if v.May(policy.Write, policy.Identity) {
		if out.Merges, err = s.store.ListMerges(v, v.Actor, id); err != nil && !isClosed(err) {
			return out, err
		}
	}
	if v.May(policy.Decide, policy.Registration) {
		offices, err := s.store.ListOrganisations(v, v.Actor, "", uuid.Nil, 200)
		if err != nil && !isClosed(err) {
			return out, err
		}
		for _, o := range offices {
			if o.Kind == "red_cross" && o.ID != v.Actor.Organisation() {
				out.Offices = append(out.Offices, Option{Value: o.ID.String(), Label: o.Name})
			}
		}
	}
	return out, nil
}

// isClosed tells that something is not for the reader: a section that is left out.
func isClosed(err error) bool {
	kind := registry.KindOf(err)
	return kind == registry.Denied || kind == registry.NotFound
}

func (s *Site) donor(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	d, err := s.readDonor(v, id)
	if err != nil {
		return nil, err
	}
	return v.Page("page.donor", donorPage(v, d), "Number", d.Number), nil
}

// donorAgain shows a donor's page with why what was sent was not done, beside what it was about.
func (s *Site) donorAgain(v *Visit, id uuid.UUID, at string, err error) (Answer, error) {
	says, ok := v.refusal(err)
	if !ok {
		return nil, err
	}
	d, err := s.readDonor(v, id)
	if err != nil {
		return nil, err
	}
	d.Wrong, d.At = says, at
	v.refused = true
	return v.Page("page.donor", donorPage(v, d), "Number", d.Number), nil
}

// refusal is an error in words, when it is one that is mended on the page: a form that breaks a rule, or a rule that stands against it now.
func (v *Visit) refusal(err error) (string, bool) {
	switch registry.KindOf(err) {
	case registry.Invalid:
		var says []string
		for _, p := range problemsOf(err, v) {
			says = append(says, p.Is+" "+p.Mend)
		}
		return strings.Join(says, " "), true
	case registry.Refused, registry.Stale, registry.Conflict:
		return v.Locale.Say("error."+registry.CodeOf(err), argsOf(err)), true
	}
	return "", false
}

// revealReasons are why somebody looks at a text in clear.
var revealReasons = []string{"call_donor", "verify_identity", "arrange_travel", "correct_entry"}

// reveal shows a field in clear, for a minute: the part takes itself away.
func (s *Site) reveal(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	r, err := s.store.RevealDonor(v, v.Actor, id, registry.RevealForm{Field: v.Field("field"), Reason: v.Field("reason"), Note: seal.NoteOf(v.Field("note"))})
	if err != nil {
		return nil, err
	}
	v.SetHeader("Cache-Control", "no-store")
	if v.Partial() {
		return v.Part(revealed(v, r)), nil
	}
	return v.Page("page.revealed", revealedPage(v, id, r)), nil
}

// revealedTexts are the values that were revealed.
func revealedTexts(v *Visit, r registry.Revealed) (out []string) {
	for _, d := range r.Documents {
		out = append(out, v.Word("Kind", string(d.Kind))+" "+d.Number)
	}
	for _, c := range r.Contacts {
		out = append(out, strings.TrimSpace(c.Name+" "+c.Relation+" "+c.Phone))
	}
	out = append(out, r.Name, r.Phone, r.Email, r.Address, r.Workplace)
	out = slices.DeleteFunc(out, func(text string) bool { return text == "" })
	if len(out) == 0 {
		out = []string{"—"}
	}
	return out
}

// withdrawVia is how somebody says that they take their registration back.
var withdrawVia = []string{"phone", "counter", "letter", "online", "relative"}

// withdraw takes a registration back. It asks for the donor's number.
func (s *Site) withdraw(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	_, err = s.store.Withdraw(v, v.Actor, id, v.FieldInt("version"), registry.WithdrawForm{Via: v.Field("via"), Reason: v.Field("reason"), Number: cmp.Or(strings.TrimSpace(v.Field("number")), "-")})
	if err != nil {
		return s.donorAgain(v, id, "consents", err)
	}
	return v.To("/donors/"+id.String(), "said.donor_withdrawn"), nil
}

// attempt logs a try to reach the donor, in one of their cases.
func (s *Site) attempt(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	at, wrong := time.ParseInLocation("2006-01-02T15:04", v.Field("at"), registry.Zone)
	if wrong != nil {
		at = time.Now()
	}
	_, err = s.store.AddAttempt(v, v.Actor, v.FieldID("case"), forms.ContactAttempt{At: at, Channel: v.Field("channel"), Whom: v.Field("whom"), Result: v.Field("result"), Note: seal.NoteOf(v.Field("note"))})
	if err != nil {
		return s.donorAgain(v, id, "attempts", err)
	}
	return v.To("/donors/"+id.String()+"#attempts", "said.attempt_logged"), nil
}

// share shares a donor with another office until the end of a day.
func (s *Site) share(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	day, _ := calendar.Parse(v.Field("until"))
	f := registry.ShareForm{Organisation: v.FieldID("organisation"), Reason: v.Field("reason")}
	if !day.IsZero() {
		f.Until = day.AddDays(1).Start(registry.Zone)
	}
	if _, err = s.store.ShareDonor(v, v.Actor, id, f); err != nil {
		return s.donorAgain(v, id, "shares", err)
	}
	return v.To("/donors/"+id.String()+"#shares", "said.donor_shared"), nil
}

func (s *Site) endShare(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	share, err := v.ID("share")
	if err != nil {
		return nil, err
	}
	if err := s.store.EndShare(v, v.Actor, id, share); err != nil {
		return nil, err
	}
	return v.To("/donors/"+id.String()+"#shares", "said.share_ended"), nil
}

// looks tells who looked at a donor.
func (s *Site) looks(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f := registry.LookFilter{WholePerson: v.Query("person") != "", Limit: listed}
	if at, last, two := strings.Cut(v.Query("after"), "/"); two {
		f.Before, _ = time.Parse(time.RFC3339Nano, at)
		f.BeforeID, _ = uuid.Parse(last)
	}
	list, err := s.store.WhoLooked(v, v.Actor, id, f)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == listed {
		last := list[len(list)-1]
		next = last.At.UTC().Format(time.RFC3339Nano) + "/" + last.ID.String()
	}
	return v.Page("page.looks", looksPage(v, id, list, next)), nil
}

// The reasons for which a donor is shared.
var shareReasons = []string{"moved", "follow_up", "confirmatory_sample", "physical_examination", "collection"}

// attemptWords are what a try to reach a donor can be.
var (
	attemptChannels = []string{"phone", "message", "mail", "visit"}
	attemptWhom     = []string{"donor", "contact"}
	attemptResults  = []string{"reached", "no_answer", "wrong_number", "will_call_back", "refused_to_talk"}
)

// statusTone is how a registration's status looks.
func statusTone(status string) string {
	switch status {
	case "listed", "registered":
		return "good"
	case "enrolling":
		return "plain"
	case "unavailable":
		return "fair"
	case "withdrawn":
		return "bad"
	}
	return "faint"
}

// inCases are the open cases of a donor in which tries to reach them are logged.
func inCases(d donorView) (out []registry.DonorCase) {
	for _, c := range d.Flags.Cases {
		if c.Protocol == registry.StemCellProtocol {
			out = append(out, c)
		}
	}
	return out
}

// live registrations can be withdrawn.
func (d donorView) live() bool {
	return !slices.Contains([]string{"withdrawn", "left", "undone"}, d.Status)
}

// closed tells that something of the donor is closed to the reader that emergency access would open.
func (d donorView) closed() bool {
	return d.HeldBack == "" && (d.Identity == nil || d.Contact == nil || d.Health == nil)
}

// offered tells whether the reader may ask for any of some texts.
func offered(texts []seal.Masked) bool {
	return slices.ContainsFunc(texts, func(m seal.Masked) bool { return m.Reveal != "" })
}

func documentMasks(documents []registry.DocumentLine) (out []seal.Masked) {
	for _, d := range documents {
		out = append(out, d.Number)
	}
	return out
}

func contactMasks(contacts []registry.ContactLine) (out []seal.Masked) {
	for _, c := range contacts {
		out = append(out, c.Name, c.Phone)
	}
	return out
}

func numberOr(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func orDash(text string) string {
	if text == "" {
		return "—"
	}
	return text
}

// officeName is the name of an office that a donor is shared with.
func officeName(d donorView, id uuid.UUID) string {
	for _, o := range d.Offices {
		if o.Value == id.String() {
			return o.Label
		}
	}
	return "—"
}

// lookedAs is what let somebody look: a role of theirs, or emergency access.
func lookedAs(v *Visit, role string) string {
	if strings.HasPrefix(role, "emergency_access:") {
		return v.Say("donor.look_emergency")
	}
	return v.Word("Role", role)
}
