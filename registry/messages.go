package registry

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// What one side of a stem-cell case writes to the other names nobody. A text in which something looks as if it did is held until
// somebody who sits on neither chair has read it: an office above the donor's for what the donor's side wrote, the bridge for either.

// MessageForm is a text for the other side.
type MessageForm struct {
	Text seal.Note `json:"text" validate:"required,max=2000"`
}

// MessageView is a text as its reader may see it: one's own side's, and what was delivered of the other's.
type MessageView struct {
	ID        uuid.UUID  `json:"id" class:"case" mask:"drop"`
	Side      Side       `json:"side" class:"case" mask:"drop" doc:"Whose words they are."`
	Text      string     `json:"text" class:"case" mask:"clear"`
	Status    string     `json:"status" class:"case" mask:"drop" doc:"held, delivered or refused."`
	Findings  []string   `json:"findings,omitempty" class:"case" mask:"drop" doc:"Why it was held: what in it looks as if it named somebody."`
	WrittenAt time.Time  `json:"written_at" class:"case" mask:"drop"`
	DecidedAt *time.Time `json:"decided_at,omitempty" class:"case" mask:"drop"`
	Version   int64      `json:"version" class:"open" mask:"none"`
}

// WriteMessage writes to the other side of a case. Whoever sits at its table may.
func (s *Store) WriteMessage(ctx context.Context, actor Actor, caseID uuid.UUID, f MessageForm) (MessageView, error) {
	var out MessageView
	err := s.act(ctx, actor, "WriteMessage", policy.ForCase, func(ctx context.Context, a *act) error {
		c, err := a.readCase(ctx, caseID, false)
		if err != nil {
			return err
		}
		seats, err := a.seats(ctx, caseID)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Case, c.record(seats)); err != nil {
			return err
		}
		side, sits := a.sitsOn(seats)
		switch {
		case c.Protocol != StemCellProtocol || !sits:
			return a.deny(&Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(policy.Write), "Class": string(policy.Case)}})
		case c.Status != "open":
			return refused("case_ended")
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		named, err := a.whoIsNamed(ctx, c, seats)
		if err != nil {
			return err
		}
		out = MessageView{ID: newID(), Side: side, Text: f.Text.Reveal(), Status: "delivered", Findings: named.in(f.Text.Reveal()), WrittenAt: a.at, Version: 1}
		if len(out.Findings) > 0 {
			out.Status = "held"
		}
		text, err := a.keys.Seal(cell("messages", "text", out.ID), out.Text)
		if err != nil {
			return err
		}
		if _, err := a.Exec(ctx, `INSERT INTO link.messages (id, case_id, side, staff_id, text_sealed, findings, status, written_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			out.ID, caseID, string(side), actor.staff, text, out.Findings, out.Status, a.at); err != nil {
			return err
		}
		if out.Status == "held" {
			a.tell(notice{code: "message.held", role: string(policy.Bridge), region: nation, caseID: caseID, dedupe: "message/" + out.ID.String()})
			return nil
		}
		a.deliver(c, seats, out.ID, side)
		return nil
	})
	return out, err
}

// sitsOn tells on which side of the table the actor's office sits.
func (a *act) sitsOn(seats map[string]seat) (Side, bool) {
	for _, s := range seats {
		if s.Organisation == a.actor.organisation && a.actor.organisation != uuid.Nil {
			return Side(s.Side), s.Side == string(DonorSide) || s.Side == string(PatientSide)
		}
	}
	return "", false
}

// deliver tells the other side of the table that something was written to it.
func (a *act) deliver(c caseRow, seats map[string]seat, id uuid.UUID, from Side) {
	for _, name := range slices.Sorted(maps.Keys(seats)) {
		if s := seats[name]; Side(s.Side) != from {
			a.tell(notice{code: "message.delivered", organisation: s.Organisation, region: c.Region, caseID: c.ID, dedupe: "message/" + id.String() + "/" + s.Organisation.String()})
		}
	}
}

// named are the texts that would tell one side of a case who the other is, by what kind they are.
type named map[string][]string

var (
	manyDigits = regexp.MustCompile(`\d[\d\s\-./()（）]{5,}\d`)
	mailLike   = regexp.MustCompile(`[\w.+-]+@[\w-]+\.[\w.]+`)
	notText    = regexp.MustCompile(`[\s\p{P}\p{S}]+`)
)

// whoIsNamed gathers everything that either side is known by, of both people and of those who sit at the table.
func (a *act) whoIsNamed(ctx context.Context, c caseRow, seats map[string]seat) (named, error) {
	out := named{}
	add := func(kind string, texts ...string) {
		for _, t := range texts {
			if t = bare(t); len([]rune(t)) >= 2 {
				out[kind] = append(out[kind], t)
			}
		}
	}
	var person uuid.UUID
	var region identity.Region
	var patient string
	err := a.QueryRow(ctx, `
		SELECT r.person_id, r.region, coalesce(p.number, '') FROM registrations r LEFT JOIN link.requests q ON q.case_id = $2 LEFT JOIN patients p ON p.id = q.patient_id WHERE r.id = $1`, c.Subject, c.ID).
		Scan(&person, &region, &patient)
	if errors.Is(err, pgx.ErrNoRows) {
		return out, missing("donor")
	}
	if err != nil {
		return out, err
	}
	add("patient_number", patient)
	name, err := a.nameOf(ctx, person)
	if err != nil {
		return out, err
	}
	add("name", name.Reveal())
	documents, err := a.documentsOf(ctx, person)
	if err != nil {
		return out, err
	}
	for _, d := range documents {
		add("document", d.number.Reveal())
	}
	phone, p, _, err := a.contactsOf(ctx, person)
	if err != nil {
		return out, err
	}
	add("phone", strings.TrimPrefix(phone.Reveal(), "+86"))
	add("address", p.Address, p.Workplace)
	for _, contact := range p.Contacts {
		add("name", contact.Name)
		add("phone", strings.TrimPrefix(contact.Phone, "+86"))
	}
	for _, r := range region.Ancestors() {
		if r.Level() != identity.LevelProvince && r != nation {
			add("place", r.Name())
		}
	}
	for _, s := range seats {
		var institution, english string
		var lies identity.Region
		if err := a.QueryRow(ctx, `SELECT name, name_en, region FROM organisations WHERE id = $1`, s.Organisation).Scan(&institution, &english, &lies); err != nil {
			return out, err
		}
		add("organisation", institution, english)
		for _, r := range lies.Ancestors() {
			if r.Level() != identity.LevelProvince && r != nation {
				add("place", r.Name())
			}
		}
	}
	return out, nil
}

// bare is a text without what somebody puts between its letters to get it past a search.
func bare(text string) string { return strings.ToLower(notText.ReplaceAllString(text, "")) }

// in lists what kinds of names a text has in it, and what looks like a number or an address of anybody.
func (n named) in(text string) []string {
	out := []string{}
	plain := bare(text)
	for kind, texts := range n {
		if slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(plain, t) }) {
			out = append(out, kind)
		}
	}
	if manyDigits.MatchString(text) {
		out = append(out, "digits")
	}
	if mailLike.MatchString(text) {
		out = append(out, "email")
	}
	slices.Sort(out)
	return out
}

const messageColumns = `m.id, m.side, m.text_sealed, m.status, m.findings, m.written_at, m.decided_at, m.version`

func (a *act) scanMessage(row pgx.CollectableRow) (m MessageView, err error) {
	var text []byte
	if err := row.Scan(&m.ID, &m.Side, &text, &m.Status, &m.Findings, &m.WrittenAt, &m.DecidedAt, &m.Version); err != nil {
		return m, err
	}
	plain, err := a.keys.OpenBytes(cell("messages", "text", m.ID), text)
	m.Text = string(plain)
	return m, err
}

// ListMessages returns what was written between the sides of a case, the oldest first: all of one's own side, and of the other
// what was delivered.
func (r *Reader) ListMessages(ctx context.Context, actor Actor, caseID uuid.UUID) ([]MessageView, error) {
	var out []MessageView
	err := r.act(ctx, actor, "ListMessages", policy.ForCase, func(ctx context.Context, a *act) error {
		c, err := a.readCase(ctx, caseID, false)
		if err != nil {
			return err
		}
		seats, err := a.seats(ctx, caseID)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Case, c.record(seats)); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT `+messageColumns+` FROM link.messages m WHERE m.case_id = $1 AND (m.side = $2 OR m.status = 'delivered') ORDER BY m.written_at, m.id`, caseID, string(a.sideAt(seats)))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, a.scanMessage)
		for i := range out {
			if out[i].Side != a.sideAt(seats) {
				out[i].Findings = nil // what it was held for would tell what was in it
			}
		}
		return err
	})
	return out, err
}

// HeldMessages returns the texts that wait for a reader.
func (r *Reader) HeldMessages(ctx context.Context, actor Actor, after uuid.UUID, limit int) ([]MessageView, error) {
	var out []MessageView
	err := r.act(ctx, actor, "HeldMessages", policy.ForCase, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Decide, policy.Review)
		// What the patient's side wrote is the bridge's alone: an office would read of a patient.
		rows, err := a.Query(ctx, `
			SELECT `+messageColumns+` FROM link.messages m JOIN cases c ON c.id = m.case_id
			WHERE m.id > $1 AND m.status = 'held' AND m.staff_id <> $2
				AND EXISTS (SELECT FROM unnest($3::text[], $4::text[]) s(lo, hi) WHERE CASE m.side WHEN 'donor' THEN c.region ELSE '000000' END >= lo AND CASE m.side WHEN 'donor' THEN c.region ELSE '000000' END < hi)
			ORDER BY m.id LIMIT $5`, after, actor.staff, within.lo, within.hi, pageSize(limit))
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, a.scanMessage); err != nil {
			return err
		}
		return a.permitList(policy.Review, within, "messages", idsOf(out, func(m MessageView) uuid.UUID { return m.ID }))
	})
	return out, err
}

// MessageReview says what becomes of a text that was held.
type MessageReview struct {
	Verdict string `json:"verdict" validate:"required,oneof=deliver refuse"`
}

// ReviewMessage delivers a held text or refuses it. Nobody releases their own.
func (s *Store) ReviewMessage(ctx context.Context, actor Actor, id uuid.UUID, version int64, f MessageReview) (MessageView, error) {
	var out MessageView
	err := s.act(ctx, actor, "ReviewMessage", policy.ForCase, func(ctx context.Context, a *act) error {
		var caseID, writer uuid.UUID
		err := a.QueryRow(ctx, `SELECT case_id, staff_id FROM link.messages WHERE id = $1 FOR UPDATE`, id).Scan(&caseID, &writer)
		if errors.Is(err, pgx.ErrNoRows) {
			return a.absent("message", id)
		}
		if err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT `+messageColumns+` FROM link.messages m WHERE m.id = $1`, id)
		if err != nil {
			return err
		}
		if out, err = pgx.CollectExactlyOneRow(rows, a.scanMessage); err != nil {
			return err
		}
		c, err := a.readCase(ctx, caseID, false)
		if err != nil {
			return err
		}
		region := c.Region
		if out.Side == PatientSide {
			region = nation
		}
		if err := a.permit(policy.Decide, policy.Review, record{kind: "message", id: id.String(), region: region}); err != nil {
			return err
		}
		if _, apart := policy.Separated(policy.WriteMessage, policy.ReviewMessage); apart && writer == actor.staff {
			return a.deny(&Error{Kind: Denied, Code: "own_message"})
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		switch {
		case version != 0 && version != out.Version:
			return stale("message")
		case out.Status != "held":
			return refused("message_settled")
		}
		out.Status = map[string]string{"deliver": "delivered", "refuse": "refused"}[f.Verdict]
		out.DecidedAt, out.Version = &a.at, out.Version+1
		if _, err := a.Exec(ctx, `UPDATE link.messages SET status = $2, decided_by = $3, decided_at = $4, version = version + 1 WHERE id = $1`, id, out.Status, actor.staff, a.at); err != nil {
			return err
		}
		seats, err := a.seats(ctx, caseID)
		if err == nil && out.Status == "delivered" {
			a.deliver(c, seats, id, out.Side)
		}
		return err
	})
	return out, err
}
