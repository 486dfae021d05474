package registry

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// Exports: many donors at once, as a sheet. Masked, it is the list as the actor would see it. In clear it needs two people: one asks
// and says why, another who might take the same out approves, and then the first fetches it for a time. A sheet is made whole, in
// one transaction with its audit, before anything of it leaves, and is kept nowhere.

// Sheet is a CSV file in UTF-8, with the mark by which spreadsheets know that it is.
type Sheet struct {
	Data []byte
	Rows int
}

// exportPage is how many registrations a sheet reads at a time, and how many a row of its audit names.
const exportPage = 1000

// ExportDonors gives the registrations that ListDonors would show one page after the other, masked as there, in one sheet.
//
// Errors: Refused when there are more than a sheet may have.
func (r *Reader) ExportDonors(ctx context.Context, actor Actor, f DonorFilter) (Sheet, error) {
	var out Sheet
	err := r.act(ctx, actor, "ExportDonors", policy.ForCase, func(ctx context.Context, a *act) (err error) {
		if f.Region, err = regionOf(f.Region); err != nil {
			return err
		}
		within := a.reachOf(policy.Export, policy.Registration)
		if err := a.permitMany(policy.Export, policy.Registration, within, "donors", nil); err != nil {
			return err
		}
		if _, err := a.countExported(ctx, f, within, rules.AccessExportRows); err != nil {
			return err
		}
		out, err = a.sheet(ctx, f, within, nil)
		return err
	})
	if err != nil {
		return Sheet{}, err
	}
	return out, nil
}

// regionOf reads a region that somebody narrowed by.
func regionOf(asked identity.Region) (identity.Region, error) {
	if asked == "" {
		return "", nil
	}
	region, err := identity.ParseRegion(string(asked))
	if err != nil || !region.Known() {
		return "", invalid(forms.Problems{{Code: "R118", Field: "region"}})
	}
	return region, nil
}

// countExported counts what an export would have, and refuses one that is too large by the strictest rule of the regions that its donors
// lie in.
func (a *act) countExported(ctx context.Context, f DonorFilter, within reach, limit rules.Key) (int, error) {
	f.After = uuid.Nil
	within, err := a.narrowedTo(within, policy.Registration, f)
	if err != nil {
		return 0, err
	}
	rows, err := a.Query(ctx, `SELECT r.region, count(*) FROM registrations r WHERE `+donorsThat+` GROUP BY r.region`, donorsArgs(f, within)...)
	if err != nil {
		return 0, err
	}
	count, most := 0, math.MaxInt
	var region identity.Region
	var n int
	_, err = pgx.ForEachRow(rows, []any{&region, &n}, func() error {
		count, most = count+n, min(most, a.rules(region).Count(limit))
		return nil
	})
	if err == nil && count > most {
		err = a.deny(&Error{Kind: Refused, Code: "export_too_large", Args: map[string]any{"Count": count, "Most": most}})
	}
	return count, err
}

// sheet writes the registrations of a filter, with some classes in clear, as far as the policy lets each leave. The decisions to
// export that the act has noted are those by which they leave: who was in the sheet is written down with each.
func (a *act) sheet(ctx context.Context, f DonorFilter, within reach, clear []policy.Class) (Sheet, error) {
	var data bytes.Buffer
	data.WriteString("\ufeff")
	lines := csv.NewWriter(&data)
	lines.UseCRLF = true
	if err := lines.Write(a.sheetHeadings(clear)); err != nil {
		return Sheet{}, err
	}
	left := map[policy.Class][]uuid.UUID{}
	for f.After = uuid.Nil; ; {
		page, err := a.donorPage(ctx, f, within, exportPage, a.scanMasked)
		if err != nil {
			return Sheet{}, err
		}
		opened, err := a.openForExport(ctx, page, clear)
		if err != nil {
			return Sheet{}, err
		}
		for _, d := range page {
			f.After = d.ID
			seen := a.mask(record{region: d.Region})
			if !seen.May(policy.Export, policy.Registration) || !seen.May(policy.Read, policy.Registration) {
				continue
			}
			show(seen, &d)
			left[policy.Registration] = append(left[policy.Registration], d.ID)
			person, some := opened[d.ID]
			person.shown = map[policy.Class]bool{}
			for _, class := range clear {
				if person.shown[class] = some && seen.May(policy.Export, class); person.shown[class] {
					left[class] = append(left[class], d.ID)
				}
			}
			if err := lines.Write(a.sheetLine(d, clear, person)); err != nil {
				return Sheet{}, err
			}
		}
		if len(page) < exportPage {
			break
		}
	}
	lines.Flush()
	count := len(left[policy.Registration])
	fields := slices.DeleteFunc(append(a.narrowedBy(f), "rows="+strconv.Itoa(count)), func(f string) bool { return f == "" })
	for i, e := range a.entries {
		if e.Action == policy.Export {
			a.noteExported(i, left[e.Class], strings.Join(fields, " "))
		}
	}
	return Sheet{Data: data.Bytes(), Rows: count}, lines.Error()
}

// noteExported adds to a decision which records left by it. Those that are too many for one row of the audit are in further rows.
func (a *act) noteExported(decision int, ids []uuid.UUID, fields string) {
	e := a.entries[decision]
	e.Shown, e.Fields = 0, fields
	a.entries[decision] = e
	for part := range slices.Chunk(ids, exportPage) {
		first := e.Shown == 0
		e.Shown, e.Showed = len(part), part
		if first {
			a.entries[decision] = e
		} else {
			a.entries = append(a.entries, e)
		}
	}
}

func (a *act) sheetHeadings(clear []policy.Class) []string {
	l := a.actor.Locale
	out := []string{l.Say("export.number", nil)}
	if slices.Contains(clear, policy.Identity) {
		out = append(out, l.Say("export.name", nil), l.Say("export.document_kind", nil), l.Say("export.document_number", nil))
	} else {
		out = append(out, l.Say("export.name_masked", nil))
	}
	if slices.Contains(clear, policy.Contact) {
		out = append(out, l.Say("export.phone", nil))
	}
	return append(out, l.Say("export.programme", nil), l.Say("export.intent", nil), l.Say("export.status", nil), l.Say("export.region", nil), l.Say("export.place", nil),
		l.Say("export.registered_on", nil), l.Say("export.registration", nil))
}

// sheetLine are the cells of a registration. What is in clear of others and not of this one says that it is protected: an empty cell
// would say that there is nothing.
func (a *act) sheetLine(d DonorLine, clear []policy.Class, person openedPerson) []string {
	protected := a.actor.Locale.Say("export.protected", nil)
	name, kinds, numbers, phone := protected, protected, protected, protected
	if d.Name != nil {
		name = d.Name.Display
	}
	if person.shown[policy.Identity] {
		var words []string
		for _, kind := range person.kinds {
			words = append(words, a.word("document_kind", string(kind)))
		}
		name, kinds, numbers = person.name.Reveal(), strings.Join(words, " / "), strings.Join(person.numbers, " / ")
	}
	if person.shown[policy.Contact] {
		phone = person.phone.Reveal()
	}
	out := []string{d.Number, name}
	if slices.Contains(clear, policy.Identity) {
		out = append(out, kinds, numbers)
	}
	if slices.Contains(clear, policy.Contact) {
		out = append(out, phone)
	}
	out = append(out, a.word("programme", string(d.Programme)), a.word("intent", string(d.Intent)), a.word("status", d.Status), string(d.Region), d.Region.FullName(), d.RegisteredOn.String(), d.ID.String())
	for i, text := range out {
		out[i] = intake.CSVCell(text)
	}
	return out
}

// word is a code as the actor reads it.
func (a *act) word(set, code string) string {
	if id := "word." + set + "." + code; lang.Has(id) {
		return a.actor.Locale.Say(id, nil)
	}
	return code
}

// openedPerson is what may leave of a person in clear, and which classes of it do.
type openedPerson struct {
	name    seal.Name
	phone   seal.Phone
	kinds   []identity.DocumentKind
	numbers []string
	shown   map[policy.Class]bool
}

// openForExport opens the registrations of a page, by their ids, but for those of which nothing is shown in clear: whose person asked for
// erasure, or whose consent was taken back (RevealDonor).
func (a *act) openForExport(ctx context.Context, page []DonorLine, clear []policy.Class) (map[uuid.UUID]openedPerson, error) {
	if len(clear) == 0 || len(page) == 0 {
		return nil, nil
	}
	rows, err := a.Query(ctx, `
		SELECT r.id, p.id, p.key_wrapped, p.name_sealed, p.phone_sealed,
			ARRAY(SELECT d.id FROM person_documents d WHERE d.person_id = p.id ORDER BY d.created_at, d.id),
			ARRAY(SELECT d.kind FROM person_documents d WHERE d.person_id = p.id ORDER BY d.created_at, d.id),
			ARRAY(SELECT d.number_sealed FROM person_documents d WHERE d.person_id = p.id ORDER BY d.created_at, d.id)
		FROM registrations r JOIN persons p ON p.id = r.person_id
		WHERE r.id = ANY($1) AND p.erased_at IS NULL AND NOT `+storedOnly+` AND NOT `+consentGone, idsOf(page, func(d DonorLine) uuid.UUID { return d.ID }))
	if err != nil {
		return nil, err
	}
	out := make(map[uuid.UUID]openedPerson, len(page))
	var id, person uuid.UUID
	var wrapped, name, phone []byte
	var documents []uuid.UUID
	var kinds []identity.DocumentKind
	var numbers [][]byte
	_, err = pgx.ForEachRow(rows, []any{&id, &person, &wrapped, &name, &phone, &documents, &kinds, &numbers}, func() error {
		key, err := a.keys.Unwrap(keyCell(person), wrapped)
		if err != nil {
			return err
		}
		p := openedPerson{kinds: slices.Clone(kinds)}
		if slices.Contains(clear, policy.Identity) {
			if p.name, err = key.OpenName(cell("persons", "name", person), name); err != nil {
				return err
			}
			for i, document := range documents {
				number, err := key.OpenNumber(cell("person_documents", "number", document), numbers[i])
				if err != nil {
					return err
				}
				p.numbers = append(p.numbers, number.Reveal())
			}
		}
		if slices.Contains(clear, policy.Contact) {
			if p.phone, err = key.OpenPhone(cell("persons", "phone", person), phone); err != nil {
				return err
			}
		}
		out[id] = p
		return nil
	})
	return out, err
}

// ExportFilter says of whom an export is. Nobody is found by it.
type ExportFilter struct {
	Programme        rules.Programme `json:"programme,omitempty" validate:"omitempty,oneof=stemcell blood organ cornea body" class:"review" mask:"drop"`
	Status           string          `json:"status,omitempty" validate:"omitempty,oneof=registered enrolling listed unavailable withdrawn left" class:"review" mask:"drop"`
	Drive            uuid.UUID       `json:"drive,omitzero" class:"review" mask:"drop"`
	RegisteredFrom   calendar.Date   `json:"registered_from,omitzero" doc:"Registered on this day or later." class:"review" mask:"drop"`
	RegisteredBefore calendar.Date   `json:"registered_before,omitzero" doc:"Registered before this day." class:"review" mask:"drop"`
	ContactedBefore  calendar.Date   `json:"contacted_before,omitzero" doc:"Whom nobody has reached since that day." class:"review" mask:"drop"`
}

func (f ExportFilter) in(region identity.Region) DonorFilter {
	return DonorFilter{
		Region: region, Programme: f.Programme, Status: f.Status, DriveID: f.Drive, RegisteredFrom: f.RegisteredFrom, RegisteredBefore: f.RegisteredBefore, ContactedBefore: f.ContactedBefore,
	}
}

// ExportForm asks for an export in clear.
type ExportForm struct {
	Region  identity.Region `json:"region" validate:"required,region" doc:"Of the donors, with all that lies in it."`
	Filter  ExportFilter    `json:"filter,omitzero" doc:"Of whom: all of the region when left out. Nobody is looked for by name or number."`
	Classes []policy.Class  `json:"classes" validate:"required,min=1,max=2,unique,dive,oneof=identity contact hla" doc:"What is in clear. identity: name and document numbers. contact: phone. hla, by itself: an inventory of listed stem-cell donors with their typings, which names nobody."`
	Purpose policy.Purpose  `json:"purpose" validate:"required,oneof=enrolment case search follow_up family rights emergency audit administration" doc:"What for. The policy says for what each class may leave."`
	Reason  seal.Note       `json:"reason" validate:"required,min=10,max=2000" doc:"Why, in one's own words. It is sealed, and shown to who decides."`
}

// ExportView is an export in clear as the person who asked for it and those who review it see it: what it is of, and nobody in it.
type ExportView struct {
	ID           uuid.UUID       `json:"id" class:"review" mask:"drop"`
	Region       identity.Region `json:"region" class:"review" mask:"drop"`
	Filter       ExportFilter    `json:"filter" class:"review" mask:"drop"`
	Classes      []policy.Class  `json:"classes" doc:"What is in clear." class:"review" mask:"drop"`
	Purpose      policy.Purpose  `json:"purpose" class:"review" mask:"drop"`
	Rows         int             `json:"rows" doc:"How many registrations it was of when it was asked for." class:"review" mask:"drop"`
	By           uuid.UUID       `json:"by" doc:"The member of staff who asked." class:"review" mask:"drop"`
	Organisation uuid.UUID       `json:"organisation" doc:"Where they worked." class:"review" mask:"drop"`
	AskedAt      time.Time       `json:"asked_at" class:"review" mask:"drop"`
	DecideBy     time.Time       `json:"decide_by" doc:"When it expires unless somebody decided." class:"review" mask:"drop"`
	Status       string          `json:"status" doc:"waiting, approved, refused, withdrawn, expired: nobody decided in time; over: it was approved, and can be fetched no more." class:"review" mask:"drop"`
	DecidedBy    *uuid.UUID      `json:"decided_by,omitempty" class:"review" mask:"drop"`
	DecidedAt    *time.Time      `json:"decided_at,omitempty" class:"review" mask:"drop"`
	Until        *time.Time      `json:"until,omitempty" doc:"Until when the one who asked can fetch it." class:"review" mask:"drop"`
	Fetches      int             `json:"fetches" doc:"How often it was fetched." class:"review" mask:"drop"`
	FetchedAt    *time.Time      `json:"fetched_at,omitempty" doc:"When last." class:"review" mask:"drop"`
	Version      int64           `json:"version" class:"open" mask:"none"`
}

func (v ExportView) record() record {
	return record{kind: "export", id: v.ID.String(), region: v.Region}
}

// leaving are the classes that an export is decided about: that somebody is registered, and what is in clear.
func (v ExportView) leaving() []policy.Class {
	if v.inventory() { // with the typings go year of birth, sex, blood group and weight
		return []policy.Class{policy.Registration, policy.Demographics, policy.HLA}
	}
	return append([]policy.Class{policy.Registration}, v.Classes...)
}

// exportColumns are read by scanExport; $1 is the time. What ends, ends by the clock that is ahead: the program's or the database's.
const exportColumns = `e.id, e.region, e.filter, e.classes, e.purpose, e.rows, e.staff_id, e.organisation_id, e.asked_at, e.decide_by, ` + exportStatus + `,
	e.decided_by, e.decided_at, e.until, e.fetches, e.fetched_at, e.version`

const exportStatus = `CASE WHEN e.withdrawn_at IS NOT NULL THEN 'withdrawn' WHEN e.verdict = 'refused' THEN 'refused'
	WHEN e.verdict = 'approved' THEN CASE WHEN e.until > greatest($1, now()) THEN 'approved' ELSE 'over' END
	WHEN e.decide_by > greatest($1, now()) THEN 'waiting' ELSE 'expired' END`

func scanExport(row pgx.CollectableRow) (v ExportView, err error) {
	var filter []byte
	err = row.Scan(&v.ID, &v.Region, &filter, &v.Classes, &v.Purpose, &v.Rows, &v.By, &v.Organisation, &v.AskedAt, &v.DecideBy, &v.Status, &v.DecidedBy, &v.DecidedAt, &v.Until, &v.Fetches, &v.FetchedAt, &v.Version)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(filter, &v.Filter)
}

// readExport reads an export; what is decided about it then is for its purpose.
func (a *act) readExport(ctx context.Context, id uuid.UUID, lock string) (ExportView, error) {
	rows, err := a.Query(ctx, `SELECT `+exportColumns+` FROM exports e WHERE e.id = $2 `+lock, a.now(), id)
	if err != nil {
		return ExportView{}, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, scanExport)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, a.absent("export", id)
	}
	a.purpose = v.Purpose
	return v, err
}

// asker tells whether the actor asked for an export.
func (a *act) asker(v ExportView) bool { return a.actor.staff != uuid.Nil && v.By == a.actor.staff }

// AskExport asks for donors in clear. Nothing leaves by it: whoever else might take the same out is told, and one of them decides.
//
// Errors: Denied when the actor may not take that out, or not for that purpose; Refused when there are more donors than an export
// may have, or nobody else who might approve it.
func (s *Store) AskExport(ctx context.Context, actor Actor, f ExportForm) (ExportView, error) {
	var v ExportView
	actor.Purpose = "" // the form says what for
	err := s.act(ctx, actor, "AskExport", policy.ForCase, func(ctx context.Context, a *act) error {
		problems := forms.Check(f)
		if len(problems) == 0 {
			problems = append(f.asInventory(), saysEnough("reason", f.Reason)...)
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		region, err := regionOf(f.Region)
		if err != nil {
			return err
		}
		a.purpose = f.Purpose
		v = ExportView{
			ID: newID(), Region: region, Filter: f.Filter, Classes: f.Classes, Purpose: f.Purpose, By: a.actor.staff, Organisation: a.actor.organisation,
			AskedAt: a.at.Truncate(time.Microsecond), Status: "waiting", Version: 1,
		}
		for _, class := range v.leaving() {
			if err := a.permit(policy.Export, class, record{kind: "exports", region: region}); err != nil {
				return a.otherwisePurposed(class, region, err)
			}
		}
		filter := f.Filter.in(region)
		if v.Rows, err = a.countExported(ctx, filter, a.reachOf(policy.Export, policy.Registration), v.most()); err != nil {
			return err
		}
		for i := range a.entries {
			a.entries[i].Target, a.entries[i].Shown = v.record().target(), 0 // nobody has seen anything yet
			a.entries[i].Fields = strings.Join(slices.DeleteFunc(append(a.narrowedBy(filter), "rows="+strconv.Itoa(v.Rows)), func(f string) bool { return f == "" }), " ")
		}
		others, err := a.approvers(ctx, v)
		if err != nil {
			return err
		}
		if len(others) == 0 {
			return refused("export_nobody_else")
		}
		v.DecideBy = v.AskedAt.Add(time.Duration(a.rules(region).Span(rules.AccessExportWaits).Hours()) * time.Hour)
		narrowed, err := json.Marshal(v.Filter)
		if err != nil {
			return err
		}
		reason, err := a.keys.Seal(cell("exports", "reason", v.ID), f.Reason.Reveal())
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `
			INSERT INTO exports (id, staff_id, organisation_id, region, filter, classes, purpose, reason_sealed, rows, asked_at, decide_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			v.ID, v.By, v.Organisation, string(region), narrowed, v.Classes, string(v.Purpose), reason, v.Rows, v.AskedAt, v.DecideBy)
		if err != nil {
			return err
		}
		for _, id := range others {
			a.tell(notice{code: "export.asked", args: map[string]any{"Rows": v.Rows, "Until": clockTime(v.DecideBy)}, staff: id, region: region, dedupe: "export.asked/" + v.ID.String() + "/" + id.String()})
		}
		return nil
	})
	if err != nil {
		return ExportView{}, err
	}
	return v, nil
}

// otherwisePurposed is the denial of an export that the actor might make for another purpose: it says for which.
func (a *act) otherwisePurposed(class policy.Class, region identity.Region, denied error) error {
	var purposes []string
	for _, purpose := range policy.Purposes() {
		if a.policy.Mask(a.actor.policySubject(), regionPath(region), policy.InRegion, purpose).May(policy.Export, class) {
			purposes = append(purposes, string(purpose))
		}
	}
	if len(purposes) == 0 {
		return denied
	}
	return &Error{Kind: Denied, Code: "export_purpose", Args: map[string]any{"Class": string(class), "Purposes": strings.Join(purposes, ", ")}}
}

// approvers are the members of staff who may approve an export, but for the one who asks.
func (a *act) approvers(ctx context.Context, v ExportView) ([]uuid.UUID, error) {
	rows, err := a.Query(ctx, `SELECT DISTINCT g.staff_id, o.region FROM role_grants g JOIN staff s ON s.id = g.staff_id JOIN organisations o ON o.id = s.organisation_id
		WHERE g.region = ANY($1) AND g.revoked_at IS NULL AND g.until > $2 AND s.active AND s.id <> $3 ORDER BY 1`, regionPath(v.Region), a.now(), v.By)
	if err != nil {
		return nil, err
	}
	var out []uuid.UUID
	var id uuid.UUID
	var office identity.Region
	_, err = pgx.ForEachRow(rows, []any{&id, &office}, func() error {
		m := a.policy.Mask(staffSubject(id), regionPath(v.Region), policy.InRegion, v.Purpose).Union(a.policy.Mask(staffSubject(id), regionPath(office), policy.None, v.Purpose))
		if m.May(policy.Decide, policy.Review) && !slices.ContainsFunc(v.leaving(), func(class policy.Class) bool { return !m.May(policy.Export, class) }) {
			out = append(out, id)
		}
		return nil
	})
	return out, err
}

// ShowExport returns an export in clear that the actor asked for or reviews.
func (r *Reader) ShowExport(ctx context.Context, actor Actor, id uuid.UUID) (ExportView, error) {
	var v ExportView
	err := r.act(ctx, actor, "ShowExport", policy.ForCase, func(ctx context.Context, a *act) (err error) {
		if v, err = a.readExport(ctx, id, ""); err != nil {
			return err
		}
		if a.asker(v) {
			a.noteOwn(policy.Read, v.record().target(), nil)
			return nil
		}
		if actor.Purpose == policy.ForAudit {
			a.purpose = policy.ForAudit // an auditor reads reviews for nothing else, and the list has it for that
		}
		return a.permit(policy.Read, policy.Review, v.record())
	})
	if err != nil {
		return ExportView{}, err
	}
	return v, nil
}

// ExportsFilter narrows a list of exports.
type ExportsFilter struct {
	Status string // as in ExportView; empty is all
	Mine   bool   // only the actor's own
	After  uuid.UUID
	Limit  int
}

// ListExports returns the exports in clear that the actor asked for and, to who reads reviews, those of their regions, the newest first.
func (r *Reader) ListExports(ctx context.Context, actor Actor, f ExportsFilter) ([]ExportView, error) {
	var out []ExportView
	err := r.act(ctx, actor, "ListExports", policy.ForCase, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Review)
		if f.After == uuid.Nil {
			f.After = uuid.Max
		}
		rows, err := a.Query(ctx, `
			SELECT `+exportColumns+` FROM exports e
			WHERE e.id < $2 AND ($3 = '' OR `+exportStatus+` = $3)
				AND (e.staff_id = $4 OR NOT $5 AND EXISTS (SELECT FROM unnest($6::text[], $7::text[]) s(lo, hi) WHERE e.region >= lo AND e.region < hi))
			ORDER BY e.id DESC LIMIT $8`,
			a.now(), f.After, f.Status, a.actor.staff, f.Mine, within.lo, within.hi, pageSize(f.Limit))
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, scanExport); err != nil {
			return err
		}
		shown := idsOf(out, func(v ExportView) uuid.UUID { return v.ID })
		if f.Mine || len(within.lo) == 0 {
			a.noteOwn(policy.Find, "exports", shown)
			return nil
		}
		return a.permitList(policy.Review, within, "exports", shown)
	})
	return out, err
}

// ExportWords are what was written about an export.
type ExportWords struct {
	Reason string `json:"reason" doc:"Why it was asked for. Empty once it was destroyed." class:"review" mask:"clear"`
	Note   string `json:"note,omitempty" doc:"What who decided wrote." class:"review" mask:"clear"`
}

// RevealExport gives the words in clear that were written about an export, to who asked for it and to who decides.
func (r *Reader) RevealExport(ctx context.Context, actor Actor, id uuid.UUID) (ExportWords, error) {
	var out ExportWords
	err := r.act(ctx, actor, "RevealExport", policy.ForCase, func(ctx context.Context, a *act) error {
		v, err := a.readExport(ctx, id, "")
		if err != nil {
			return err
		}
		if a.asker(v) {
			a.noteOwn(policy.Read, v.record().target(), nil)
		} else if err := a.permitDecision(v); err != nil {
			return err
		}
		var reason, note []byte
		if err := a.QueryRow(ctx, `SELECT reason_sealed, note_sealed FROM exports WHERE id = $1`, id).Scan(&reason, &note); err != nil {
			return err
		}
		out.Reason, err = a.openWords("exports", "reason", id, reason)
		if err == nil {
			out.Note, err = a.openWords("exports", "note", id, note)
		}
		return err
	})
	if err != nil {
		return ExportWords{}, err
	}
	return out, nil
}

// permitDecision decides whether the actor may let an export leave: they review in its region, and might take the same out.
func (a *act) permitDecision(v ExportView) error {
	if err := a.permit(policy.Decide, policy.Review, v.record()); err != nil {
		return err
	}
	for _, class := range v.leaving() {
		if err := a.permit(policy.Export, class, v.record()); err != nil {
			return err
		}
	}
	return nil
}

// ExportDecision is what who decides says to an export.
type ExportDecision struct {
	Note seal.Note `json:"note,omitzero" validate:"max=2000" doc:"In one's own words. To refuse it is needed, at least ten characters."`
}

// DecideExport approves an export, or refuses it with a reason. Who asked is told, and can fetch an approved one for a time.
//
// Errors: Denied to who asked for it; Refused when it does not wait for a decision.
func (s *Store) DecideExport(ctx context.Context, actor Actor, id uuid.UUID, approve bool, f ExportDecision) (ExportView, error) {
	var v ExportView
	err := s.act(ctx, actor, "DecideExport", policy.ForCase, func(ctx context.Context, a *act) (err error) {
		problems := forms.Check(f)
		if len(problems) == 0 && !approve {
			problems = saysEnough("note", f.Note)
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		if v, err = a.readExport(ctx, id, "FOR UPDATE OF e"); err != nil {
			return err
		}
		if err := a.permitDecision(v); err != nil {
			return err
		}
		if _, apart := policy.Separated(policy.AskExport, policy.ApproveExport); apart && a.asker(v) {
			return a.deny(&Error{Kind: Denied, Code: "export_own"})
		}
		if v.Status != "waiting" {
			return refused("export_settled", "Status", v.Status)
		}
		var note []byte
		if !f.Note.Empty() {
			if note, err = a.keys.Seal(cell("exports", "note", id), f.Note.Reveal()); err != nil {
				return err
			}
		}
		at := a.at.Truncate(time.Microsecond)
		v.Status, v.DecidedBy, v.DecidedAt, v.Version = "refused", &a.actor.staff, &at, v.Version+1
		told := notice{code: "export.refused", staff: v.By, region: v.Region, dedupe: "export.decided/" + id.String()}
		if approve {
			until := at.Add(time.Duration(a.rules(v.Region).Span(rules.AccessExportLasts).Hours()) * time.Hour)
			v.Status, v.Until = "approved", &until
			told.code, told.args = "export.approved", map[string]any{"Until": clockTime(until)}
		}
		a.tell(told)
		_, err = a.Exec(ctx, `UPDATE exports SET verdict = $2, decided_by = $3, decided_at = $4, note_sealed = $5, until = $6, version = version + 1 WHERE id = $1`, id, v.Status, v.DecidedBy, at, note, v.Until)
		return err
	})
	if err != nil {
		return ExportView{}, err
	}
	return v, nil
}

// WithdrawExport ends an export that the actor asked for, whether somebody has approved it or not. What has ended stays as it is.
func (s *Store) WithdrawExport(ctx context.Context, actor Actor, id uuid.UUID) error {
	return s.act(ctx, actor, "WithdrawExport", policy.ForCase, func(ctx context.Context, a *act) error {
		v, err := a.readExport(ctx, id, "FOR UPDATE OF e")
		if err != nil {
			return err
		}
		if !a.asker(v) {
			return a.absent("export", id)
		}
		a.noteOwn(policy.Write, v.record().target(), nil)
		if v.Status == "waiting" || v.Status == "approved" {
			_, err = a.Exec(ctx, `UPDATE exports SET withdrawn_at = $2, version = version + 1 WHERE id = $1`, id, a.at)
		}
		return err
	})
}

// FetchExport makes the sheet of an export that was approved, for the one who asked, by what the policy lets them take out now.
//
// Errors: Denied to anybody else, and when the actor might not ask for it any more; Refused when it was not approved, when its time
// is over, and when there are more donors now than an export may have.
func (s *Store) FetchExport(ctx context.Context, actor Actor, id uuid.UUID) (Sheet, error) {
	var out Sheet
	err := s.act(ctx, actor, "FetchExport", policy.ForCase, func(ctx context.Context, a *act) error {
		v, err := a.readExport(ctx, id, "")
		if err != nil {
			return err
		}
		if err := a.permitFetch(v); err != nil {
			return err
		}
		if v.inventory() {
			return refused("export_inventory")
		}
		filter, within := v.Filter.in(v.Region), a.reachOf(policy.Export, policy.Registration)
		if _, err := a.countExported(ctx, filter, within, rules.AccessExportRows); err != nil {
			return err
		}
		if out, err = a.sheet(ctx, filter, within, v.Classes); err != nil {
			return err
		}
		// Of two that change an export at once one is tried again: what is withdrawn while its sheet is made does not leave.
		a.writes.Queue(`UPDATE exports SET fetches = fetches + 1, fetched_at = $2, version = version + 1 WHERE id = $1`, id, a.at)
		return nil
	})
	if err != nil {
		return Sheet{}, err
	}
	return out, nil
}

// permitFetch decides whether the actor may fetch an export now: it is theirs, another approved it, its time is not over, and they might ask for
// it still.
func (a *act) permitFetch(v ExportView) error {
	if !a.asker(v) {
		if err := a.permit(policy.Read, policy.Review, v.record()); err != nil {
			return err
		}
		return a.deny(&Error{Kind: Denied, Code: "export_of_another"})
	}
	for _, class := range v.leaving() {
		if a.permit(policy.Export, class, v.record()) != nil {
			return &Error{Kind: Denied, Code: "export_not_held"} // that it is there is known to who asked for it
		}
	}
	if _, apart := policy.Separated(policy.ApproveExport, policy.AskExport); apart && v.DecidedBy != nil && *v.DecidedBy == a.actor.staff {
		return a.deny(&Error{Kind: Denied, Code: "export_own"})
	}
	switch v.Status {
	case "approved":
	case "waiting":
		return refused("export_waiting", "Until", clockTime(v.DecideBy))
	case "over":
		return refused("export_over", "Until", clockTime(*v.Until))
	default:
		return refused("export_settled", "Status", v.Status)
	}
	return nil
}

// sweepExports destroys the words about exports when the audit of what left by them need not be kept any more.
func (s *Store) sweepExports(ctx context.Context) error {
	return s.act(ctx, System("upkeep"), "SweepExports", policy.ForAdministration, func(ctx context.Context, a *act) error {
		before := a.at.AddDate(-a.rules(nation).Span(rules.RightsKeepAudit).N, 0, 0)
		done, err := a.Exec(ctx, `UPDATE exports SET reason_sealed = NULL, note_sealed = NULL WHERE reason_sealed IS NOT NULL AND asked_at < $1`, before)
		if err != nil {
			return err
		}
		return a.permitShown(policy.Write, policy.Review, record{kind: "upkeep", id: "exports", region: nation}, int(done.RowsAffected()))
	})
}
