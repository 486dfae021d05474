package registry

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"slices"
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

// At a drive volunteers may fill in the form on their own phones, under a public address that is open on the drive's days. They have no
// account: an actor stands for them that can do nothing but that, and meets no row of the register. What they send is no registration
// yet: somebody at the table compares it with their identity document, and takes it in or sends it back.

// ownActs are the acts of whoever has a public form open. No other begins for them; and if one did, no line of the policy would allow it,
// and the database would let no row of the register through.
var ownActs = []string{"SaveOwn", "ShowOwn"}

// OwnDrive is what the public form tells of its drive.
type OwnDrive struct {
	Name     string          `json:"name" class:"open" mask:"none"`
	Place    string          `json:"place" class:"open" mask:"none"`
	Region   identity.Region `json:"region" class:"open" mask:"none"`
	FirstDay calendar.Date   `json:"first_day" class:"open" mask:"none"`
	LastDay  calendar.Date   `json:"last_day" class:"open" mask:"none"`
	Wording  string          `json:"wording" doc:"The version of the text that is signed." class:"open" mask:"none"`
}

// Volunteer is the actor of whoever has the public form of a drive open: token is from its address. It is bound to that drive, and good
// for the acts below only. The locale and the network address are the request's.
//
// Errors: NotFound for a token that there is not; Refused when the form is switched off, or it is not a day of the drive.
func (r *Reader) Volunteer(ctx context.Context, token string, locale lang.Locale, address string) (Actor, OwnDrive, error) {
	var a Actor
	var d OwnDrive
	var open bool
	err := r.internally(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT d.id, d.region, d.name, d.place, d.first_day, d.last_day, l.open AND `+atWork+` FROM drive_links l JOIN drives d ON d.id = l.drive_id WHERE l.token = $1`, token).
			Scan(&a.drive, &a.region, &d.Name, &d.Place, &d.FirstDay, &d.LastDay, &open)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Actor{}, d, missing("own_form")
	}
	if err != nil {
		return Actor{}, d, err
	}
	a.subject, a.Locale, a.Address, d.Region = "volunteer:"+a.drive.String(), locale, address, a.region
	today := calendar.Of(r.now(), Zone)
	if wording, ok := rules.CurrentWording("stemcell.registration", today); ok {
		d.Wording = wording.Version
	}
	if !open || today.Before(d.FirstDay) || today.After(d.LastDay) {
		return Actor{}, d, refused("form_closed", "First", d.FirstDay.String(), "Last", d.LastDay.String())
	}
	return a, d, nil
}

// notOwn are the fields that are the table's to fill in.
var notOwn = []intake.Field{intake.Barcode, intake.DrawnOn, intake.Tubes, intake.Millilitres, intake.ScanRef, intake.FormVersion, intake.SignedOn, intake.Ignore}

// OwnFields are the fields of a volunteer's own form, in their order.
func OwnFields() []intake.Field {
	return slices.DeleteFunc(intake.Fields(), func(f intake.Field) bool { return slices.Contains(notOwn, f) })
}

// OwnForm is a volunteer's own form, as they see it on their own device.
type OwnForm struct {
	Code        string        `json:"code" doc:"What to say at the table." class:"intake" mask:"drop"`
	Status      string        `json:"status" class:"intake" mask:"drop"`
	Texts       intake.Texts  `json:"-"`
	Reason      string        `json:"reason,omitempty" doc:"Why it was sent back." class:"intake" mask:"drop"`
	SavedAt     time.Time     `json:"saved_at" class:"intake" mask:"drop"`
	ExpiresAt   time.Time     `json:"expires_at" doc:"When it is destroyed, unless it is taken before." class:"intake" mask:"drop"`
	Secret      string        `json:"-"` // for the device to keep; given once, when the form is begun
	SubmittedAt *time.Time    `json:"submitted_at,omitempty" class:"intake" mask:"drop"`
	Problems    []ProblemText `json:"problems,omitempty" class:"intake" mask:"drop"`
}

// ownRow is a form inside a transaction.
type ownRow struct {
	OwnForm
	id, drive    uuid.UUID
	region       identity.Region
	organisation uuid.UUID
	version      int64
	team         []uuid.UUID
	batch        *uuid.UUID
	outcome      string
}

func (f ownRow) record() record {
	return record{kind: "own_form", id: f.id.String(), region: f.region, office: f.organisation, team: f.team}
}

const ownColumns = `f.id, f.drive_id, f.region, f.organisation_id, f.code, f.status, f.form_sealed, f.reason, f.saved_at, f.submitted_at, f.expires_at, f.version, f.batch_id, f.outcome,
	(SELECT ` + teamOf + ` FROM drives d WHERE d.id = f.drive_id)`

func (a *act) scanOwn(row pgx.Row) (f ownRow, err error) {
	var sealed []byte
	err = row.Scan(&f.id, &f.drive, &f.region, &f.organisation, &f.Code, &f.Status, &sealed, &f.Reason, &f.SavedAt, &f.SubmittedAt, &f.ExpiresAt, &f.version, &f.batch, &f.outcome, &f.team)
	if err != nil {
		return f, err
	}
	plain, err := a.keys.OpenBytes(cell("own_forms", "form", f.id), sealed)
	if err != nil || plain == nil {
		return f, err
	}
	var texts map[intake.Field]string
	if err := json.Unmarshal(plain, &texts); err != nil {
		return f, err
	}
	f.Texts = intake.Texts{}
	for field, text := range texts {
		f.Texts[field] = seal.NoteOf(text)
	}
	return f, nil
}

func (a *act) sealOwn(id uuid.UUID, texts intake.Texts) ([]byte, error) {
	plain := map[intake.Field]string{}
	for f, text := range texts {
		if !text.Empty() && !slices.Contains(notOwn, f) {
			plain[f] = text.Reveal()
		}
	}
	encoded, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	return a.keys.SealBytes(cell("own_forms", "form", id), encoded)
}

// ownRecord is what a volunteer is asked about: a form of the drive that they have open.
func (a *act) ownRecord(id uuid.UUID) record {
	return record{kind: "own_form", id: id.String(), region: a.actor.region, own: a.actor.drive}
}

// openOwn reads the form whose secret the device has.
func (a *act) openOwn(ctx context.Context, secret string, lock string) (ownRow, error) {
	f, err := a.scanOwn(a.QueryRow(ctx, `SELECT `+ownColumns+` FROM own_forms f WHERE f.drive_id = $1 AND f.secret_hash = $2 `+lock, a.actor.drive, tokenHash(secret)))
	if errors.Is(err, pgx.ErrNoRows) {
		return f, a.absent("own_form", uuid.Nil)
	}
	return f, err
}

// ShowOwn gives a volunteer their own form back, on the device that keeps its secret.
func (r *Reader) ShowOwn(ctx context.Context, actor Actor, secret string) (OwnForm, error) {
	var out OwnForm
	err := r.act(ctx, actor, "ShowOwn", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		f, err := a.openOwn(ctx, secret, "")
		if err != nil {
			return err
		}
		out = f.OwnForm
		return a.permit(policy.Read, policy.Intake, a.ownRecord(f.id))
	})
	return out, err
}

// SaveOwn keeps what a volunteer has filled in so far; without a secret it begins a form. submit sends it to the table: then it must
// break no rule. What the register knows plays no part, and nothing of it is told.
//
// Errors: Refused once the form was sent and not sent back; Locked when there is a flood.
func (s *Store) SaveOwn(ctx context.Context, actor Actor, secret string, texts intake.Texts, submit bool) (OwnForm, error) {
	var out OwnForm
	err := s.act(ctx, actor, "SaveOwn", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		f := ownRow{id: newID(), OwnForm: OwnForm{Status: "draft"}}
		var err error
		if secret != "" {
			if f, err = a.openOwn(ctx, secret, "FOR UPDATE"); err != nil {
				return err
			}
		}
		if err := a.permit(policy.Write, policy.Intake, a.ownRecord(f.id)); err != nil {
			return err
		}
		law := a.rules(actor.region)
		if err := errors.Join(
			a.try(ctx, "own_form", actor.drive.String(), law.Count(rules.IntakeOwnDrive)),
			a.try(ctx, "own_form_from", a.sought("address", actor.Address), law.Count(rules.IntakeOwnAddress)),
		); err != nil {
			return err
		}
		d, err := a.openDay(ctx)
		if err != nil {
			return err
		}
		if problems := texts.Problems(); len(problems) > 0 {
			return invalid(problems)
		}
		if f.Status != "draft" && f.Status != "returned" {
			return refused("form_sent")
		}
		if submit {
			if problems := a.reviewOwn(d, texts); len(problems.Blocking()) > 0 {
				return invalid(problems.Blocking())
			}
		}
		out, err = a.keepOwn(ctx, f, d, secret, texts, submit)
		return err
	})
	return out, err
}

// openDay reads the drive of a volunteer's form, which is open now.
func (a *act) openDay(ctx context.Context) (DriveView, error) {
	d := DriveView{ID: a.actor.drive}
	var open bool
	err := a.QueryRow(ctx, `
		SELECT d.region, d.organisation_id, d.first_day, d.last_day, d.at_work AND l.open FROM own_drive() d, drive_links l WHERE l.drive_id = $1`, d.ID).
		Scan(&d.Region, &d.Organisation, &d.FirstDay, &d.LastDay, &open)
	if err == nil && (!open || a.today().Before(d.FirstDay) || a.today().After(d.LastDay)) {
		err = refused("form_closed", "First", d.FirstDay.String(), "Last", d.LastDay.String())
	}
	return d, err
}

// reviewOwn judges a volunteer's own form as any other, signed today.
func (a *act) reviewOwn(d DriveView, texts intake.Texts) forms.Problems {
	_, problems := a.readTexts(d, texts)
	return problems
}

// readTexts reads typed texts into the form, and reviews it. The form is signed today, unless the texts say when.
func (a *act) readTexts(d DriveView, texts intake.Texts) (forms.Registration, forms.Problems) {
	mapping := intake.ByField()
	filled := intake.Texts{intake.SignedOn: seal.NoteOf(a.today().String())}
	for f, text := range texts {
		if !text.Empty() {
			filled[f] = text
		}
	}
	form, problems := mapping.Form(mapping.Row(1, filled), intake.Defaults{Region: d.Region})
	unread := map[string]bool{}
	for _, p := range problems {
		unread[p.Field] = unread[p.Field] || p.Blocks()
	}
	for _, p := range form.Review(a.circumstances(d)) {
		if !unread[p.Field] {
			problems = append(problems, p)
		}
	}
	return form, problems
}

// codeLetters have no two that look or sound alike.
const codeLetters = "ACDEFHJKMNPRTUVWXY3479"

func shortCode() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // it never fails
	for i := range b {
		b[i] = codeLetters[int(b[i])%len(codeLetters)]
	}
	return string(b[:])
}

func longSecret() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // it never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

func (a *act) keepOwn(ctx context.Context, f ownRow, d DriveView, secret string, texts intake.Texts, submit bool) (OwnForm, error) {
	sealed, err := a.sealOwn(f.id, texts)
	if err != nil {
		return f.OwnForm, err
	}
	f.Texts, f.SavedAt = texts, a.at
	f.ExpiresAt = a.at.Add(time.Duration(a.rules(d.Region).Count(rules.IntakeOwnKept)) * time.Hour)
	if submit {
		f.Status, f.SubmittedAt, f.Reason = "submitted", &a.at, ""
	}
	if secret != "" {
		_, err = a.Exec(ctx, `
			UPDATE own_forms SET form_sealed = $2, status = $3, saved_at = $4, submitted_at = coalesce($5, submitted_at), expires_at = $6, reason = $7, version = version + 1 WHERE id = $1`,
			f.id, sealed, f.Status, f.SavedAt, f.SubmittedAt, f.ExpiresAt, f.Reason)
		return f.OwnForm, err
	}
	f.Secret = longSecret()
	for range 20 {
		f.Code = shortCode()
		tag, err := a.Exec(ctx, `
			INSERT INTO own_forms (id, drive_id, region, organisation_id, code, secret_hash, status, form_sealed, saved_at, submitted_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (drive_id, code) DO NOTHING`,
			f.id, d.ID, string(d.Region), d.Organisation, f.Code, tokenHash(f.Secret), f.Status, sealed, f.SavedAt, f.SubmittedAt, f.ExpiresAt)
		if err != nil || tag.RowsAffected() > 0 {
			return f.OwnForm, err
		}
	}
	return f.OwnForm, errors.New("registry: no code is free")
}

// LinkView is the public address of a drive's form.
type LinkView struct {
	Token    string        `json:"token,omitempty" doc:"The last part of its address. It is what the QR code holds." class:"intake" mask:"drop"`
	Open     bool          `json:"open" class:"intake" mask:"drop"`
	FirstDay calendar.Date `json:"first_day" class:"intake" mask:"drop"`
	LastDay  calendar.Date `json:"last_day" class:"intake" mask:"drop"`
}

// LinkForm switches a drive's public form.
type LinkForm struct {
	Open  bool `json:"open" doc:"It can be filled in, on the drive's days."`
	Renew bool `json:"renew,omitempty" doc:"Under a new address: the one before leads nowhere."`
}

// ShowLink gives the public address of a drive's form, to its team.
func (r *Reader) ShowLink(ctx context.Context, actor Actor, drive uuid.UUID) (LinkView, error) {
	var out LinkView
	err := r.act(ctx, actor, "ShowLink", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, drive)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, d.record()); err != nil {
			return err
		}
		out, err = a.link(ctx, d)
		return err
	})
	return out, err
}

func (a *act) link(ctx context.Context, d DriveView) (LinkView, error) {
	v := LinkView{FirstDay: d.FirstDay, LastDay: d.LastDay}
	err := a.QueryRow(ctx, `SELECT token, open FROM drive_links WHERE drive_id = $1`, d.ID).Scan(&v.Token, &v.Open)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, nil
	}
	return v, err
}

// SwitchLink switches a drive's public form on or off. Its team may.
func (s *Store) SwitchLink(ctx context.Context, actor Actor, drive uuid.UUID, f LinkForm) (LinkView, error) {
	var out LinkView
	err := s.act(ctx, actor, "SwitchLink", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, drive)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, d.record()); err != nil {
			return err
		}
		if f.Open && !d.atWork() {
			return refused("drive_over")
		}
		before, err := a.link(ctx, d)
		if err != nil {
			return err
		}
		token := before.Token
		if token == "" || f.Renew {
			token = longSecret()
		}
		_, err = a.Exec(ctx, `
			INSERT INTO drive_links (drive_id, token, open, changed_by, changed_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (drive_id) DO UPDATE SET token = excluded.token, open = excluded.open, changed_by = excluded.changed_by, changed_at = excluded.changed_at`,
			drive, token, f.Open, actor.staff, a.at)
		if err != nil {
			return err
		}
		if f.Open != before.Open {
			event := "drive.own_form_off"
			if f.Open {
				event = "drive.own_form_on"
			}
			a.event(Event{Code: event, CaseID: drive, DriveID: drive})
		}
		out, err = a.link(ctx, d)
		return err
	})
	return out, err
}

// OwnFormLine is a volunteer's own form in the list of the table.
type OwnFormLine struct {
	ID          uuid.UUID    `json:"id" class:"intake" mask:"drop"`
	Code        string       `json:"code" class:"intake" mask:"drop"`
	Status      string       `json:"status" class:"intake" mask:"drop"`
	Name        *seal.Masked `json:"name,omitempty" class:"identity" mask:"name"`
	Number      *seal.Masked `json:"document_number,omitempty" class:"identity" mask:"number"`
	SubmittedAt *time.Time   `json:"submitted_at,omitempty" class:"intake" mask:"drop"`
	Reason      string       `json:"reason,omitempty" class:"intake" mask:"drop"`
	Outcome     string       `json:"outcome,omitempty" class:"intake" mask:"drop"`
	Version     int64        `json:"version" class:"open" mask:"none"`
}

func (f ownRow) line() OwnFormLine {
	l := OwnFormLine{ID: f.id, Code: f.Code, Status: f.Status, Name: maskedName(f.Texts[intake.Name].Reveal()), SubmittedAt: f.SubmittedAt, Reason: f.Reason, Outcome: f.outcome, Version: f.version}
	if number := f.Texts[intake.DocumentNumber].Reveal(); number != "" {
		masked := seal.NumberOf(number).Masked()
		l.Number = &masked
	}
	return l
}

// maskedName is a name as its mask, nothing for none.
func maskedName(name string) *seal.Masked {
	if name == "" {
		return nil
	}
	masked := seal.NameOf(name).Masked()
	return &masked
}

// ListOwnForms lists the forms that volunteers filled in at a drive, in the order in which they were sent: those of a status, or all.
func (r *Reader) ListOwnForms(ctx context.Context, actor Actor, drive uuid.UUID, status string, limit int) ([]OwnFormLine, error) {
	out := []OwnFormLine{}
	err := r.act(ctx, actor, "ListOwnForms", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, drive)
		if err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT `+ownColumns+` FROM own_forms f WHERE f.drive_id = $1 AND ($2 = '' OR f.status = $2) ORDER BY f.submitted_at NULLS LAST, f.id LIMIT $3`, drive, status, pageSize(limit))
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ownRow, error) { return a.scanOwn(row) })
		if err != nil {
			return err
		}
		if err := a.permitShown(policy.Read, policy.Intake, d.record(), len(found)); err != nil {
			return err
		}
		mask := a.mask(d.record())
		for _, f := range found {
			l := f.line()
			show(mask, &l)
			out = append(out, l)
		}
		return nil
	})
	return out, err
}

// OwnFormFull is a volunteer's own form for who compares it with the identity document.
type OwnFormFull struct {
	OwnFormLine
	Drive    uuid.UUID         `json:"drive" class:"intake" mask:"drop"`
	Texts    map[string]string `json:"texts" doc:"What the volunteer wrote, by field. Gone once it is in the register." class:"intake" mask:"clear"`
	Problems []ProblemText     `json:"problems" class:"intake" mask:"drop"`
}

// ShowOwnForm shows a form in clear, to who may take it into the register: they have the volunteer and the document before them.
func (r *Reader) ShowOwnForm(ctx context.Context, actor Actor, id uuid.UUID) (OwnFormFull, error) {
	var out OwnFormFull
	err := r.act(ctx, actor, "ShowOwnForm", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		f, err := a.readOwn(ctx, id, "")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, f.record()); err != nil {
			return err
		}
		d, err := a.readDrive(ctx, f.drive)
		if err != nil {
			return err
		}
		out = OwnFormFull{OwnFormLine: f.line(), Drive: f.drive, Texts: map[string]string{}, Problems: []ProblemText{}}
		for field, text := range f.Texts {
			out.Texts[string(field)] = text.Reveal()
		}
		if len(f.Texts) > 0 {
			out.Problems = ProblemTexts(a.reviewOwn(d, f.Texts), actor.Locale)
		}
		show(a.mask(f.record()), &out)
		return nil
	})
	return out, err
}

func (a *act) readOwn(ctx context.Context, id uuid.UUID, lock string) (ownRow, error) {
	f, err := a.scanOwn(a.QueryRow(ctx, `SELECT `+ownColumns+` FROM own_forms f WHERE f.id = $1 `+lock, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return f, a.absent("own_form", id)
	}
	return f, err
}

// TakeForm takes a volunteer's own form into the register.
type TakeForm struct {
	Seen        string       `json:"seen" validate:"required,oneof=resident_id hk_macao_residence taiwan_residence permanent_residence hk_macao_pass taiwan_pass mainland_pass passport military_id" doc:"The document that the form was held against."`
	Barcode     string       `json:"barcode,omitempty" validate:"omitempty,barcode" doc:"The tube's, when a sample is drawn."`
	Tubes       int          `json:"tubes,omitempty" validate:"omitempty,min=1,max=6"`
	Millilitres float64      `json:"millilitres,omitempty" validate:"omitempty,gt=0,lte=20"`
	Changes     intake.Texts `json:"changes,omitempty" doc:"What the document says otherwise, by field."`
}

// TakeOwnForm takes a form into the register, as Register does with any: what comes back says what became of it. A form that breaks a
// rule, or whose tube is taken, stays where it is.
func (s *Store) TakeOwnForm(ctx context.Context, actor Actor, id uuid.UUID, version int64, t TakeForm) (Entry, error) {
	var out Entry
	err := s.act(ctx, actor, "TakeOwnForm", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		f, err := a.waitingOwn(ctx, id, version)
		if err != nil {
			return err
		}
		if problems := append(forms.Check(t), t.Changes.Problems()...); len(problems) > 0 {
			return invalid(problems)
		}
		d, err := a.readDrive(ctx, f.drive)
		if err != nil {
			return err
		}
		texts := intake.Texts{intake.SignedOn: seal.NoteOf(calendar.Of(*f.SubmittedAt, Zone).String())}
		for _, from := range []intake.Texts{f.Texts, t.Changes} {
			for field, text := range from {
				texts[field] = text
			}
		}
		form, problems := a.readTexts(d, texts)
		if len(problems.Blocking()) > 0 {
			return invalid(problems.Blocking())
		}
		form.Barcode, form.Tubes, form.Millilitres = t.Barcode, t.Tubes, t.Millilitres
		// Whoever takes it has looked at its warnings.
		scope := batchScope{ID: newID(), Region: d.Region, Organisation: d.Organisation, Office: actor.region, Kind: "own", Drive: &d.ID, AcceptAll: true}
		entries, err := a.register(ctx, scope, a.circumstances(d), []forms.Registration{form})
		if err != nil {
			return err
		}
		entry := entries[0]
		if entry.Status == "failed" {
			return invalid(entry.Problems)
		}
		out = Entry{Status: entry.Status, Donors: entry.Donors, Problems: ProblemTexts(entry.Problems, actor.Locale)}
		// What is kept of it is in the register, or waits in its batch.
		_, err = a.Exec(ctx, `
			UPDATE own_forms SET status = 'taken', form_sealed = NULL, seen = $2, outcome = $3, batch_id = $4, decided_by = $5, decided_at = $6, version = version + 1 WHERE id = $1`,
			id, t.Seen, entry.Status, scope.ID, actor.staff, a.at)
		return err
	})
	return out, err
}

// waitingOwn reads a form that was sent to the table, for who decides about it.
func (a *act) waitingOwn(ctx context.Context, id uuid.UUID, version int64) (ownRow, error) {
	f, err := a.readOwn(ctx, id, "FOR UPDATE")
	if err != nil {
		return f, err
	}
	if err := a.permit(policy.Write, policy.Intake, f.record()); err != nil {
		return f, err
	}
	switch {
	case version != 0 && version != f.version:
		return f, stale("own_form")
	case f.Status != "submitted":
		return f, refused("form_not_waiting", "Status", f.Status)
	}
	return f, nil
}

// ReturnForm sends a form back to the volunteer's phone.
type ReturnForm struct {
	Reason string `json:"reason" validate:"required,oneof=differs_from_document incomplete not_eligible changed_mind" doc:"Said to the volunteer."`
}

// ReturnOwnForm sends a form back: its volunteer may mend it and send it again.
func (s *Store) ReturnOwnForm(ctx context.Context, actor Actor, id uuid.UUID, version int64, r ReturnForm) (OwnFormLine, error) {
	var out OwnFormLine
	err := s.act(ctx, actor, "ReturnOwnForm", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		f, err := a.waitingOwn(ctx, id, version)
		if err != nil {
			return err
		}
		if problems := forms.Check(r); len(problems) > 0 {
			return invalid(problems)
		}
		if _, err := a.Exec(ctx, `UPDATE own_forms SET status = 'returned', reason = $2, decided_by = $3, decided_at = $4, version = version + 1 WHERE id = $1`, id, r.Reason, actor.staff, a.at); err != nil {
			return err
		}
		f.Status, f.Reason, f.version = "returned", r.Reason, f.version+1
		out = f.line()
		show(a.mask(f.record()), &out)
		return nil
	})
	return out, err
}
