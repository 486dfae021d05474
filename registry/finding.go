package registry

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// The one box that everything is looked for in. What is typed is whole, and is one of a few things: nobody browses here.

// LookForm is what somebody typed.
type LookForm struct {
	Text seal.Note `json:"text" validate:"required,max=80" doc:"A donor's, a case's or a search's number, a barcode, a resident identity number, or the last four characters of a document's number and the birth date: 002X 1949-12-31."`
}

// Found is what was looked for, and what of it the reader may know of.
type Found struct {
	As    string      `json:"as" doc:"What the text was taken for: donor, case, search, barcode, document, tail." class:"open" mask:"none"`
	Lines []FoundLine `json:"lines" class:"open" mask:"none"`
}

// FoundLine is a record that was found: one of a donor, a case, a search.
type FoundLine struct {
	Donor  *DonorLine   `json:"donor,omitempty" class:"registration" mask:"drop"`
	Case   *CaseLine    `json:"case,omitempty" class:"case" mask:"drop"`
	Search *FoundSearch `json:"search,omitempty" class:"search" mask:"drop"`
}

// FoundSearch is a search in what was found.
type FoundSearch struct {
	ID     uuid.UUID `json:"id" class:"search" mask:"drop"`
	Number string    `json:"number" class:"search" mask:"drop"`
	Status string    `json:"status" class:"search" mask:"drop"`
}

// What a text was taken for.
const (
	asDonor    = "donor"
	asCase     = "case"
	asSearch   = "search"
	asBarcode  = "barcode"
	asDocument = "document"
	asTail     = "tail"
)

// sought is a text as it was taken.
type sought struct {
	as    string
	text  string // in normal form
	birth calendar.Date
}

var (
	donorNumber = regexp.MustCompile(`^\d{12}$`)
	caseNumber  = regexp.MustCompile(`^(EN-\d{12}|[A-Z]{2}-\d{4}-\d{6,})$`)
	tailForm    = regexp.MustCompile(`^[0-9A-Z]{4}$`)
	between     = regexp.MustCompile(`[\s,，、;；/]+`)
)

// take tells what a text is, by its form alone: whether there is such a record decides nothing.
func take(text string) sought {
	text = strings.TrimSpace(strings.ToUpper(norm.NFKC.String(text)))
	if first, second, two := cutTwo(text); two {
		if birth, ok := intake.Day(second); ok && tailForm.MatchString(first) {
			return sought{asTail, first, birth}
		}
		if birth, ok := intake.Day(first); ok && tailForm.MatchString(second) {
			return sought{asTail, second, birth}
		}
	}
	one := strings.Join(strings.Fields(text), "")
	switch {
	case donorNumber.MatchString(one) && checks(one):
		return sought{as: asDonor, text: one}
	case strings.HasPrefix(one, "SR-"):
		return sought{as: asSearch, text: one}
	case caseNumber.MatchString(one):
		return sought{as: asCase, text: one}
	case identity.CheckResident(one) == nil:
		return sought{as: asDocument, text: one}
	default:
		return sought{as: asBarcode, text: one}
	}
}

// cutTwo cuts a text into the two words that it has; of a date with blanks between its parts the blanks stay.
func cutTwo(text string) (first, second string, ok bool) {
	at := between.FindStringIndex(text)
	if at == nil {
		return "", "", false
	}
	if first, second = text[:at[0]], text[at[1]:]; len(first) > 4 {
		all := between.FindAllStringIndex(text, -1)
		last := all[len(all)-1]
		first, second = text[:last[0]], text[last[1]:]
	}
	return first, second, first != "" && second != ""
}

// checks tells whether a donor number's check digits are right (registration_number, ISO 7064 MOD 97-10).
func checks(number string) bool {
	n, err := strconv.ParseInt(number, 10, 64)
	return err == nil && n%97 == 1
}

// Find looks for the one thing that a text names, and shows of it what the reader may see; what they may not know of is not found. What was
// looked for is in the audit as a keyed digest.
//
// Errors: Locked when the reader has looked in vain, or by a part of what is known, as often as one person may in an hour.
func (r *Reader) Find(ctx context.Context, actor Actor, f LookForm) (Found, error) {
	var out Found
	err := r.act(ctx, actor, "Find", policy.ForCase, func(ctx context.Context, a *act) error {
		a.repeats = true
		out = Found{Lines: []FoundLine{}}
		if problems := forms.Check(f); len(problems) > 0 {
			a.decided = true
			return invalid(problems)
		}
		s := take(f.Text.Reveal())
		out.As = s.as
		made, err := a.probed(ctx)
		if err != nil {
			return err
		}
		switch s.as {
		case asCase:
			out.Lines, err = a.findCases(ctx, s)
		case asSearch:
			if out.Lines, err = a.findSearches(ctx, s); err == nil && len(out.Lines) == 0 {
				out.Lines, err = a.findCases(ctx, s)
			}
		default:
			out.Lines, err = a.findDonors(ctx, s)
		}
		if err != nil {
			return err
		}
		if s.as == asTail || len(out.Lines) == 0 {
			return a.countProbe(ctx, made)
		}
		return nil
	})
	if err != nil {
		return Found{}, r.braked(ctx, actor, err)
	}
	return out, nil
}

// probesCode is the error of who has looked in vain as often as an hour has.
const probesCode = "probes_an_hour"

// probed counts how often the actor probed in this hour, and refuses one too many before anything is looked for.
func (a *act) probed(ctx context.Context) (int, error) {
	if a.actor.staff == uuid.Nil {
		return 0, nil
	}
	hour := a.at.Truncate(time.Hour)
	var made int
	var b pgx.Batch
	b.Queue(`SELECT pg_advisory_xact_lock(hashtextextended('probes/' || $1, 0))`, a.actor.staff.String())
	b.Queue(`SELECT coalesce(sum(made), 0) FROM probes WHERE staff_id = $1 AND hour = $2`, a.actor.staff, hour).QueryRow(func(row pgx.Row) error { return row.Scan(&made) })
	if err := a.SendBatch(ctx, &b).Close(); err != nil {
		return 0, err
	}
	if most := a.rules(a.actor.region).Count(rules.AccessProbesAnHour); made >= most {
		a.note(auditEntry{Action: policy.Find, Class: policy.Identity, Relation: policy.None, Region: a.actor.region, Target: "donors", Rule: "probes"})
		return 0, &Error{Kind: Locked, Code: "probes_an_hour", Args: map[string]any{"Most": most}, RetryAfter: hour.Add(time.Hour).Sub(a.at)}
	}
	return made, nil
}

func (a *act) countProbe(ctx context.Context, before int) error {
	if a.actor.staff == uuid.Nil {
		return nil
	}
	_, err := a.Exec(ctx, `INSERT INTO probes (staff_id, hour, made) VALUES ($1, $2, $3) ON CONFLICT (staff_id, hour) DO UPDATE SET made = excluded.made`,
		a.actor.staff, a.at.Truncate(time.Hour), before+1)
	return err
}

// forgetProbes destroys counts that are of no use any more.
func (s *Store) forgetProbes(ctx context.Context) error {
	return s.internally(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM probes WHERE hour < $1`, s.now().Add(-48*time.Hour))
		return err
	})
}

// findDonors finds registrations by a number, a barcode, or a document.
func (a *act) findDonors(ctx context.Context, s sought) ([]FoundLine, error) {
	class, action := policy.Registration, policy.Read
	// A number that was made one with another leads to both.
	condition, arg := `(r.number = $3 OR r.id = (SELECT merged_into FROM registrations m WHERE m.number = $3))`, any(s.text)
	switch s.as {
	case asBarcode:
		condition = `EXISTS (SELECT FROM specimens x WHERE x.registration_id = r.id AND x.barcode = $3)`
	case asDocument:
		class, action = policy.Identity, policy.Find
		condition, arg = `EXISTS (SELECT FROM person_documents d WHERE d.person_id = p.id AND d.number_index = ANY($3))`, a.keys.Lookups("document", documentKey(identity.ResidentID, seal.NumberOf(s.text)))
	case asTail:
		class, action = policy.Identity, policy.Find
		condition, arg = `EXISTS (SELECT FROM person_documents d WHERE d.person_id = p.id AND d.tail_index = ANY($3))`, a.lookupsOf("tail", tailKey(seal.NumberOf(s.text), s.birth))
	}
	within := a.reachOf(action, class)
	if s.as == asBarcode {
		within = within.and(a.reachOf(policy.Read, policy.Specimen))
	}
	donors, err := a.donorLines(ctx, condition, within, arg)
	if err != nil {
		return nil, err
	}
	_ = a.permitList(class, within, "donors", idsOf(donors, func(d DonorLine) uuid.UUID { return d.ID }), a.sought(s.as, s.text+s.birth.String()))
	out := []FoundLine{}
	for i := range donors {
		line := FoundLine{Donor: &donors[i]}
		show(a.mask(record{region: donors[i].Region}), &line)
		if line.Donor != nil { // else nothing of it may be read
			out = append(out, line)
		}
	}
	return out, nil
}

func (a *act) findCases(ctx context.Context, s sought) ([]FoundLine, error) {
	within := a.reachOf(policy.Read, policy.Case)
	rows, err := a.Query(ctx, `
		SELECT `+caseColumns+` FROM cases c WHERE c.number = $1
			AND (EXISTS (SELECT FROM unnest($2::text[], $3::text[]) s(lo, hi) WHERE c.region >= lo AND c.region < hi)
				OR ($4 AND EXISTS (SELECT FROM case_parties p WHERE p.case_id = c.id AND p.organisation_id = $5)))`,
		s.text, within.lo, within.hi, within.site, within.organisation)
	if err != nil {
		return nil, err
	}
	cases, err := pgx.CollectRows(rows, scanCase)
	if err != nil {
		return nil, err
	}
	patients, err := a.onPatientsSide(ctx, cases)
	if err != nil {
		return nil, err
	}
	out := []FoundLine{}
	var ids []uuid.UUID
	for _, c := range cases {
		side := DonorSide
		if len(patients) > 0 {
			side = PatientSide
		}
		line := c.line(side)
		out, ids = append(out, FoundLine{Case: &line}), append(ids, c.ID)
	}
	_ = a.permitList(policy.Case, within, "cases", ids, a.sought(s.as, s.text))
	return out, nil
}

func (a *act) findSearches(ctx context.Context, s sought) ([]FoundLine, error) {
	within := a.reachOf(policy.Read, policy.Search)
	if err := a.bothSides(ctx); err != nil {
		return nil, err
	}
	rows, err := a.Query(ctx, `
		SELECT id, number, status FROM searches c WHERE number = $1
			AND (EXISTS (SELECT FROM unnest($2::text[], $3::text[]) s(lo, hi) WHERE c.region >= lo AND c.region < hi) OR $4 AND c.organisation_id = $5)`,
		s.text, within.lo, within.hi, within.site, within.organisation)
	if err != nil {
		return nil, err
	}
	searches, err := pgx.CollectRows(rows, pgx.RowToStructByPos[FoundSearch])
	if err != nil {
		return nil, err
	}
	out := []FoundLine{}
	for i := range searches {
		out = append(out, FoundLine{Search: &searches[i]})
	}
	_ = a.permitList(policy.Search, within, "searches", idsOf(searches, func(s FoundSearch) uuid.UUID { return s.ID }), a.sought(s.as, s.text))
	return out, nil
}
