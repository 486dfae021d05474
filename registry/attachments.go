package registry

import (
	"bytes"
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/rules"
)

// A paper that belongs to a case is about one of its two people: it is sealed with that person's key, goes when they are erased,
// and is on that person's side of the table, over which nothing of it passes.

// The kinds of papers, and how each begins.
var attachmentKinds = []struct{ media, ending, begins string }{
	{"application/pdf", ".pdf", "%PDF-"},
	{"image/jpeg", ".jpg", "\xff\xd8\xff"},
	{"image/png", ".png", "\x89PNG\r\n\x1a\n"},
}

// AttachmentMedia lists the kinds of papers that are taken.
func AttachmentMedia() []string {
	out := make([]string, len(attachmentKinds))
	for i, k := range attachmentKinds {
		out[i] = k.media
	}
	return out
}

// AttachmentForm is a paper for a case, or for a task of it.
type AttachmentForm struct {
	Case uuid.UUID // the paper is for the whole case …
	Task uuid.UUID // … or for what a task asks
	Name string    // of the file
	Body []byte
}

// AttachmentView is a paper of a case, without what is in it.
type AttachmentView struct {
	ID         uuid.UUID  `json:"id" class:"case" mask:"drop"`
	CaseID     uuid.UUID  `json:"case" class:"case" mask:"drop"`
	TaskID     *uuid.UUID `json:"task,omitempty" class:"case" mask:"drop"`
	Step       string     `json:"step,omitempty" class:"case" mask:"drop" doc:"Of the task that it is for."`
	Side       Side       `json:"side" class:"case" mask:"drop" doc:"Whom it is about, and who may see it."`
	Name       string     `json:"name,omitempty" class:"case" mask:"clear" doc:"Of the file. Absent where the reader may not open it, and once it is removed."`
	Media      string     `json:"media" class:"case" mask:"drop"`
	Bytes      int        `json:"bytes" class:"case" mask:"drop"`
	By         string     `json:"by" class:"case" mask:"drop" doc:"The member of staff who brought it."`
	UploadedAt time.Time  `json:"uploaded_at" class:"case" mask:"drop"`
	RemovedAt  *time.Time `json:"removed_at,omitempty" class:"case" mask:"drop"`
	Removed    string     `json:"removed,omitempty" class:"case" mask:"drop" doc:"Why it was removed."`
	Mine       bool       `json:"mine" class:"case" mask:"drop" doc:"The reader may remove it."`
	Version    int64      `json:"version" class:"open" mask:"none"`
}

// AttachmentFile is a paper as it was brought.
type AttachmentFile struct {
	Name  string `class:"case" mask:"clear"`
	Media string `class:"case" mask:"drop"`
	Body  []byte `class:"case" mask:"clear"`
}

// AttachmentRemoval says why a paper is taken away again.
type AttachmentRemoval struct {
	Reason string `json:"reason" validate:"required,oneof=wrong_file wrong_case wrong_person unreadable duplicate"`
}

// desk is where somebody stands who handles the papers of a case: its table, or one task of it.
type desk struct {
	of   caseRow
	side Side
	seat string // whose key seals what is put there
	task *taskRow
	rec  record
}

// atDesk finds the place of a paper. The caller decides what is permitted there.
func (a *act) atDesk(ctx context.Context, caseID, taskID uuid.UUID, lock bool) (d desk, err error) {
	if taskID != uuid.Nil {
		t, err := a.readTask(ctx, taskID, false)
		if err != nil {
			return d, err
		}
		if caseID != uuid.Nil && t.CaseID != caseID {
			return d, a.absent("task", taskID)
		}
		d.task, caseID = &t, t.CaseID
	}
	if d.of, err = a.readCase(ctx, caseID, lock); err != nil {
		return d, err
	}
	seats, err := a.seats(ctx, caseID)
	if err != nil {
		return d, err
	}
	if d.task != nil {
		d.seat, _, _ = strings.Cut(d.task.Seat, "#")
		if d.rec, d.side = d.task.record(), d.task.side(seats); d.side != a.sideAt(seats) { // whoever is asked on the other side
			return d, a.absent("task", taskID)
		}
		return d, nil
	}
	d.rec, d.side = d.of.record(seats), a.sideAt(seats)
	if d.rec.shared, err = a.sharedWith(ctx, d.of.Subject); err != nil {
		return d, err
	}
	for name, s := range seats {
		if s.Organisation == a.actor.organisation && Side(s.Side) == d.side {
			d.seat = name
		}
	}
	return d, nil
}

// opens tells whether the actor may open papers that name somebody, where they may read the case: not who must never learn who
// anybody is, and on the patient's side only that side.
func (a *act) opens(d desk) bool {
	if d.side == PatientSide {
		return true // their own patient's, whom they know
	}
	decision, _ := a.may(policy.Read, policy.Identity, d.rec)
	return decision.Allowed || decision.Rule == "" // denied by no line: a laboratory may read no names, and reads its own papers
}

// puts tells whether the actor may bring papers and take them away again.
func (a *act) puts(d desk) error {
	if d.task != nil {
		return a.mayAnswer(*d.task)
	}
	writes, _ := a.may(policy.Write, policy.Case, d.rec)
	if writes.Allowed || slices.Contains(d.rec.sites, a.actor.organisation) && a.actor.organisation != uuid.Nil {
		return nil
	}
	return a.deny(&Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(policy.Write), "Class": string(policy.Case)}})
}

// mediaOf tells what kind of paper a file is by how it begins, whatever it says that it is.
func mediaOf(body []byte) (media, ending string, known bool) {
	for _, k := range attachmentKinds {
		if bytes.HasPrefix(body, []byte(k.begins)) {
			return k.media, k.ending, true
		}
	}
	return "", "", false
}

// attachmentName is a file's name as it is kept: no folders, nothing that is not printed, and the ending of what it is.
func attachmentName(name, ending string) string {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	name = strings.TrimSuffix(name, path.Ext(name))
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`"<>|:*?`, r) {
			return -1
		}
		return r
	}, name)
	letters := []rune(strings.Trim(name, " ./"))
	if len(letters) > 120 {
		letters = letters[:120]
	}
	if len(letters) == 0 {
		return "file" + ending
	}
	return string(letters) + ending
}

// AddAttachment keeps a paper for a case, or for what a task of it asks.
//
// Errors: Invalid when it is of another kind, empty or too large; Refused when the case has ended or is about nobody.
func (s *Store) AddAttachment(ctx context.Context, actor Actor, f AttachmentForm) (AttachmentView, error) {
	var v AttachmentView
	err := s.act(ctx, actor, "AddAttachment", policy.ForCase, func(ctx context.Context, a *act) error {
		d, err := a.atDesk(ctx, f.Case, f.Task, false)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Case, d.rec); err != nil {
			return err
		}
		if err := a.puts(d); err != nil {
			return err
		}
		if d.of.Status != "open" {
			return refused("case_ended")
		}
		most := a.rules(d.of.Region).Count(rules.AttachmentMegabytes)
		media, ending, known := mediaOf(f.Body)
		switch {
		case len(f.Body) > most<<20:
			return &Error{Kind: Invalid, Code: "attachment_too_large", Args: map[string]any{"Limit": most}}
		case !known:
			return &Error{Kind: Invalid, Code: "attachment_kind"}
		}
		of, key, err := a.ownerOfCase(ctx, d.of.ID, d.seat)
		if err != nil {
			return err
		}
		if of == nil {
			return refused("attachment_about_nobody")
		}
		v = AttachmentView{
			ID: newID(), CaseID: d.of.ID, Side: d.side, Name: attachmentName(f.Name, ending), Media: media, Bytes: len(f.Body), By: a.actor.Name, UploadedAt: a.at.Truncate(time.Microsecond), Mine: true, Version: 1,
		}
		if d.task != nil {
			v.TaskID, v.Step = &d.task.ID, d.task.Step
		}
		name, err := key.Seal(cell("attachments", "name", v.ID), v.Name)
		if err != nil {
			return sealed(err)
		}
		body, err := key.SealBytes(cell("attachments", "body", v.ID), f.Body)
		if err != nil {
			return sealed(err)
		}
		_, err = a.Exec(ctx, `
			INSERT INTO attachments (id, case_id, task_id, side, organisation_id, key_of, media, bytes, name_sealed, body_sealed, staff_id, uploaded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			v.ID, v.CaseID, v.TaskID, string(v.Side), a.actor.organisation, *of, v.Media, v.Bytes, name, body, a.actor.staff, v.UploadedAt)
		a.event(Event{Code: attachmentEvents[v.Side].added, CaseID: v.CaseID})
		return err
	})
	if err != nil {
		return AttachmentView{}, err
	}
	return v, nil
}

// attachmentEvents are the lines that a side's papers leave in its own timeline.
var attachmentEvents = map[Side]struct{ added, removed string }{
	DonorSide:   {"attachment.donor.added", "attachment.donor.removed"},
	PatientSide: {"attachment.patient.added", "attachment.patient.removed"},
}

const attachmentColumns = `f.id, f.case_id, f.task_id, coalesce((SELECT t.step FROM tasks t WHERE t.id = f.task_id), ''), f.side, f.name_sealed, f.media, f.bytes,
	coalesce((SELECT s.display_name FROM staff s WHERE s.id = f.staff_id), ''), f.staff_id, f.uploaded_at, f.removed_at, f.removed_for, f.version, f.key_of, ` + wrappedOf

type attachmentRow struct {
	AttachmentView
	name    []byte
	by      uuid.UUID
	of      uuid.UUID
	wrapped []byte
}

func scanAttachment(row pgx.CollectableRow) (v attachmentRow, err error) {
	return v, row.Scan(&v.ID, &v.CaseID, &v.TaskID, &v.Step, &v.Side, &v.name, &v.Media, &v.Bytes, &v.By, &v.by, &v.UploadedAt, &v.RemovedAt, &v.Removed, &v.Version, &v.of, &v.wrapped)
}

// shown is a paper as the actor sees it. Its name is told where the actor may open it, and its person's key is within reach.
func (v attachmentRow) shown(a *act, d desk) (AttachmentView, error) {
	v.Mine = v.RemovedAt == nil && d.of.Status == "open" && (v.by == a.actor.staff || d.task == nil && a.mayCarry(d))
	if v.name == nil || v.wrapped == nil || !a.opens(d) {
		return v.AttachmentView, nil
	}
	key, err := a.ownersKey(&v.of, v.wrapped)
	if err != nil {
		return v.AttachmentView, err
	}
	name, err := key.OpenBytes(cell("attachments", "name", v.ID), v.name)
	v.Name = string(name)
	return v.AttachmentView, err
}

func (a *act) mayCarry(d desk) bool {
	allowed, _ := a.may(policy.Write, policy.Case, d.rec)
	return allowed.Allowed
}

// attachmentsAt reads the papers of a desk, the oldest first: of a task its own, of a case those of the actor's side.
func (a *act) attachmentsAt(ctx context.Context, d desk) ([]AttachmentView, error) {
	var task *uuid.UUID
	if d.task != nil {
		task = &d.task.ID
	}
	rows, err := a.Query(ctx, `SELECT `+attachmentColumns+` FROM attachments f WHERE f.case_id = $1 AND f.side = $2 AND ($3::uuid IS NULL OR f.task_id = $3) ORDER BY f.uploaded_at, f.id`, d.of.ID, string(d.side), task)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, scanAttachment)
	if err != nil {
		return nil, err
	}
	return a.papersShown(found, d)
}

// queuePapers adds the papers of a case, those of the actor's side alone.
func (a *act) queuePapers(b *pgx.Batch, caseID uuid.UUID, out *[]attachmentRow) {
	b.Queue(`SELECT `+attachmentColumns+` FROM attachments f WHERE f.case_id = $1
			AND f.side = CASE WHEN `+onPatientSide+` THEN 'patient' ELSE 'donor' END
		ORDER BY f.uploaded_at, f.id`, caseID, a.actor.organisation).Query(func(rows pgx.Rows) (err error) {
		*out, err = pgx.CollectRows(rows, scanAttachment)
		return err
	})
}

func (a *act) papersShown(found []attachmentRow, d desk) (_ []AttachmentView, err error) {
	out := make([]AttachmentView, len(found))
	for i, v := range found {
		if out[i], err = v.shown(a, d); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ListAttachments returns the papers of the actor's side of a case, or of a task.
func (r *Reader) ListAttachments(ctx context.Context, actor Actor, caseID, taskID uuid.UUID) ([]AttachmentView, error) {
	var out []AttachmentView
	err := r.act(ctx, actor, "ListAttachments", policy.ForCase, func(ctx context.Context, a *act) error {
		d, err := a.atDesk(ctx, caseID, taskID, false)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Case, d.rec); err != nil {
			return err
		}
		out, err = a.attachmentsAt(ctx, d)
		return err
	})
	return out, err
}

// readAttachment reads a paper of the actor's side, and the desk from which the actor may read it: the case's table, or the task
// that it is for, where that is all they have of the case.
func (a *act) readAttachment(ctx context.Context, id uuid.UUID, lock string) (attachmentRow, desk, error) {
	rows, err := a.Query(ctx, `SELECT `+attachmentColumns+` FROM attachments f WHERE f.id = $1 `+lock, id)
	if err != nil {
		return attachmentRow{}, desk{}, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, scanAttachment)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, desk{}, a.absent("attachment", id)
	}
	if err != nil {
		return v, desk{}, err
	}
	d, err := a.atDesk(ctx, v.CaseID, uuid.Nil, false)
	if err != nil {
		return v, d, err
	}
	if allowed, _ := a.may(policy.Read, policy.Case, d.rec); !allowed.Allowed && v.TaskID != nil {
		if d, err = a.atDesk(ctx, v.CaseID, *v.TaskID, false); err != nil {
			return v, d, err
		}
	}
	if err := a.permit(policy.Read, policy.Case, d.rec); err != nil {
		if KindOf(err) == NotFound {
			err = missing("attachment")
		}
		return v, d, err
	}
	a.entries[len(a.entries)-1].Fields = a.narrowed("attachment", id.String())
	if d.side != v.Side {
		return v, d, a.absent("attachment", id) // the other side's: the database lets it through to the system only
	}
	return v, d, nil
}

// FetchAttachment gives a paper as it was brought, to who may read the case on its side.
//
// Errors: Refused when it was removed, its person was erased, or the actor's office has nothing to do with the person any more.
func (r *Reader) FetchAttachment(ctx context.Context, actor Actor, id uuid.UUID) (AttachmentFile, error) {
	var out AttachmentFile
	err := r.act(ctx, actor, "FetchAttachment", policy.ForCase, func(ctx context.Context, a *act) error {
		v, d, err := a.readAttachment(ctx, id, "")
		if err != nil {
			return err
		}
		if !a.opens(d) {
			return a.deny(&Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(policy.Read), "Class": string(policy.Identity)}})
		}
		var body []byte
		if err := a.QueryRow(ctx, `SELECT body_sealed FROM attachments WHERE id = $1`, id).Scan(&body); err != nil {
			return err
		}
		switch {
		case v.RemovedAt != nil:
			return refused("attachment_removed")
		case body == nil || v.wrapped == nil:
			return refused("attachment_out_of_reach")
		}
		key, err := a.ownersKey(&v.of, v.wrapped)
		if err != nil {
			return err
		}
		shown, err := v.shown(a, d)
		if err != nil {
			return err
		}
		out.Name, out.Media = shown.Name, shown.Media
		out.Body, err = key.OpenBytes(cell("attachments", "body", id), body)
		return err
	})
	if err != nil {
		return AttachmentFile{}, err
	}
	return out, nil
}

// RemoveAttachment takes a paper away again: what was in it is destroyed, and that there was one stays, with the reason. Who
// brought it may, and who carries the case on that side.
func (s *Store) RemoveAttachment(ctx context.Context, actor Actor, id uuid.UUID, version int64, f AttachmentRemoval) (AttachmentView, error) {
	var out AttachmentView
	err := s.act(ctx, actor, "RemoveAttachment", policy.ForCase, func(ctx context.Context, a *act) error {
		v, d, err := a.readAttachment(ctx, id, "FOR UPDATE OF f")
		if err != nil {
			return err
		}
		if v.by != a.actor.staff && (d.task != nil || !a.mayCarry(d)) {
			return a.deny(&Error{Kind: Denied, Code: "denied", Args: map[string]any{"Action": string(policy.Write), "Class": string(policy.Case)}})
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		switch {
		case version != 0 && version != v.Version:
			return stale("attachment")
		case v.RemovedAt != nil:
			return refused("attachment_removed")
		case d.of.Status != "open":
			return refused("case_ended") // what a case was decided on stays as it was
		}
		at := a.at.Truncate(time.Microsecond)
		out = v.AttachmentView
		out.RemovedAt, out.Removed, out.Version = &at, f.Reason, v.Version+1
		a.event(Event{Code: attachmentEvents[v.Side].removed, CaseID: v.CaseID, Args: map[string]any{"Reason": f.Reason}})
		_, err = a.Exec(ctx, `UPDATE attachments SET name_sealed = NULL, body_sealed = NULL, removed_by = $2, removed_at = $3, removed_for = $4, version = version + 1 WHERE id = $1`, id, a.actor.staff, at, f.Reason)
		return err
	})
	if err != nil {
		return AttachmentView{}, err
	}
	return out, nil
}
