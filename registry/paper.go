package registry

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// A stack of paper is a batch whose rows come one at a time, and not in a file: it is checked, mended, committed and undone as a sheet
// is. What it has beside one is in paper_forms: forms that are held because nobody can read them, and a sample of forms that somebody
// else enters a second time without seeing the first.

// PaperView is a stack of paper that is being entered.
type PaperView struct {
	Batch    BatchView   `json:"batch" class:"intake" mask:"drop"`
	Entered  int         `json:"entered" doc:"Forms that were entered, held ones not counted." class:"intake" mask:"drop"`
	Held     int         `json:"held" doc:"Forms that wait for somebody who can read them." class:"intake" mask:"drop"`
	Needed   int         `json:"needed" doc:"Forms that must be entered a second time." class:"intake" mask:"drop"`
	Compared int         `json:"compared" doc:"Of those, how many were." class:"intake" mask:"drop"`
	Differed int         `json:"differed" doc:"Of those, in how many the two entries differed." class:"intake" mask:"drop"`
	Unclear  []int       `json:"unclear" doc:"Those whose differences wait for a decision." class:"intake" mask:"drop"`
	Second   []int       `json:"second" doc:"Forms that the server chose for a second entry by somebody else, and that the reader may enter." class:"intake" mask:"drop"`
	Last     []PaperLine `json:"last" doc:"The last five." class:"intake" mask:"drop"`
}

// PaperLine is one form of a stack.
type PaperLine struct {
	Row     int          `json:"row" doc:"Its number in the stack." class:"intake" mask:"drop"`
	Verdict string       `json:"verdict" class:"intake" mask:"drop"`
	Held    bool         `json:"held" class:"intake" mask:"drop"`
	Note    string       `json:"note,omitempty" doc:"What was noted beside a held form." class:"intake" mask:"clear"`
	Name    *seal.Masked `json:"name,omitempty" class:"identity" mask:"name"`
	Barcode string       `json:"barcode,omitempty" class:"specimen" mask:"drop"`
	By      string       `json:"by" class:"intake" mask:"drop"`
	At      time.Time    `json:"at" class:"intake" mask:"drop"`
}

// PaperForm opens a stack of paper.
type PaperForm struct {
	Expected int `json:"expected,omitempty" validate:"min=0,max=100000" doc:"How many forms there should be."`
}

// OpenPaper begins to enter a stack of a drive's paper forms.
func (s *Store) OpenPaper(ctx context.Context, actor Actor, drive uuid.UUID, f PaperForm) (PaperView, error) {
	var out PaperView
	err := s.act(ctx, actor, "OpenPaper", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, drive)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, d.record()); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		id := newID()
		number, err := a.number(ctx, "BT")
		if err != nil {
			return err
		}
		mapping, err := json.Marshal(intake.ByField())
		if err != nil {
			return err
		}
		defaults, err := json.Marshal(intake.Defaults{OnPaper: true, Region: d.Region})
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `
			INSERT INTO batches (id, number, drive_id, region, organisation_id, kind, file_sha256, mapping, defaults, expected_forms, status, uploaded_by)
			VALUES ($1, $2, $3, $4, $5, 'paper', $6, $7, $8, nullif($9, 0), 'checked', $10)`,
			id, number, drive, string(d.Region), d.Organisation, id[:], mapping, defaults, f.Expected, actor.staff)
		if err != nil {
			return err
		}
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		a.told(b, "drive.paper_opened")
		out, err = a.paper(ctx, b)
		return err
	})
	return out, err
}

// readPaper reads a stack of paper for an act of somebody who enters forms, who is permitted to.
func (a *act) readPaper(ctx context.Context, id uuid.UUID, action policy.Action) (batchRow, error) {
	b, err := a.readBatch(ctx, id, "FOR UPDATE OF b")
	if err != nil {
		return b, err
	}
	if err := a.permit(action, policy.Intake, b.record()); err != nil {
		return b, err
	}
	if b.BatchView.Kind != "paper" {
		return b, refused("not_paper")
	}
	return b, nil
}

// ShowPaper shows a stack of paper: how far it is, and its last forms.
func (r *Reader) ShowPaper(ctx context.Context, actor Actor, id uuid.UUID) (PaperView, error) {
	var out PaperView
	err := r.act(ctx, actor, "ShowPaper", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Intake, b.record()); err != nil {
			return err
		}
		if b.BatchView.Kind != "paper" {
			return refused("not_paper")
		}
		out, err = a.paper(ctx, b)
		return err
	})
	return out, err
}

// lastForms are as many as somebody who enters them looks back at.
const lastForms = 5

func (a *act) paper(ctx context.Context, b batchRow) (PaperView, error) {
	v := PaperView{Batch: b.BatchView, Unclear: []int{}, Second: []int{}, Last: []PaperLine{}}
	err := a.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE NOT held), count(*) FILTER (WHERE held), count(*) FILTER (WHERE second_at IS NOT NULL), count(*) FILTER (WHERE cardinality(differing) > 0),
			coalesce(array_agg(row_no ORDER BY row_no) FILTER (WHERE second_at IS NOT NULL AND settled_at IS NULL), '{}'),
			coalesce(array_agg(row_no ORDER BY row_no) FILTER (WHERE chosen AND second_at IS NULL AND entered_by <> $2), '{}')
		FROM paper_forms WHERE batch_id = $1`, b.BatchView.ID, a.actor.staff).Scan(&v.Entered, &v.Held, &v.Compared, &v.Differed, &v.Unclear, &v.Second)
	if err != nil {
		return v, err
	}
	v.Needed = a.sampleOf(b, v.Entered)
	blind, err := a.blindForms(ctx, b)
	if err != nil {
		return v, err
	}
	rows, err := a.Query(ctx, `
		SELECT f.row_no, r.verdict, f.held, s.display_name, f.entered_at, g.raw_sealed FROM paper_forms f JOIN batch_rows r USING (batch_id, row_no) JOIN staff s ON s.id = f.entered_by
			LEFT JOIN staged_forms g USING (batch_id, row_no)
		WHERE f.batch_id = $1 ORDER BY f.entered_at DESC, f.row_no DESC LIMIT $2`, b.BatchView.ID, lastForms)
	if err != nil {
		return v, err
	}
	v.Last, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l PaperLine, err error) {
		var sealed []byte
		if err := row.Scan(&l.Row, &l.Verdict, &l.Held, &l.By, &l.At, &sealed); err != nil || blind[l.Row] {
			return l, err
		}
		kept, err := a.rowOf(b.BatchView.ID, l.Row, sealed)
		texts := b.Mapping.Texts(kept.Row)
		l.Note, l.Name, l.Barcode = kept.Note.Text, maskedName(texts[intake.Name].Reveal()), texts[intake.Barcode].Reveal()
		return l, err
	})
	mask := a.mask(b.record())
	for i := range v.Last {
		show(mask, &v.Last[i])
	}
	return v, err
}

// sampleOf is how many of so many forms must be entered a second time: the share of the rules, rounded up.
func (a *act) sampleOf(b batchRow, entered int) int {
	return (entered*a.rules(b.BatchView.Region).Count(rules.IntakeSecondEntry) + 99) / 100
}

// heldForms are the rows of a stack of paper that are held.
func (a *act) heldForms(ctx context.Context, b batchRow) (map[int]bool, error) {
	return a.paperRows(ctx, b, `SELECT row_no FROM paper_forms WHERE batch_id = $1 AND held AND $2::uuid IS NOT NULL`)
}

// blindForms are the rows that the actor may have to enter a second time: what stands in them is not shown before that is done.
func (a *act) blindForms(ctx context.Context, b batchRow) (map[int]bool, error) {
	return a.paperRows(ctx, b, `SELECT row_no FROM paper_forms WHERE batch_id = $1 AND chosen AND second_at IS NULL AND entered_by <> $2`)
}

func (a *act) paperRows(ctx context.Context, b batchRow, query string) (map[int]bool, error) {
	if b.BatchView.Kind != "paper" {
		return nil, nil
	}
	rows, err := a.Query(ctx, query, b.BatchView.ID, a.actor.staff)
	if err != nil {
		return nil, err
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int])
	out := map[int]bool{}
	for _, no := range numbers {
		out[no] = true
	}
	return out, err
}

// PaperEntry is one form of a stack as somebody read it.
type PaperEntry struct {
	Row       int          `json:"row,omitempty" validate:"min=0" doc:"The number of a form that was held and can be entered now; a new form when left out."`
	Cells     intake.Texts `json:"cells,omitempty" doc:"What is written on it, by field, in the words that a sheet would have."`
	Recruiter uuid.UUID    `json:"recruiter,omitzero" doc:"Who of the drive's team won this volunteer."`
	Held      bool         `json:"held,omitempty" doc:"It cannot be read, or must be asked about: it is counted, and does not go into the register."`
	Note      seal.Note    `json:"note,omitzero" validate:"required_if=Held true,max=200" doc:"What is to be found out."`
}

// EnterPaper enters one form of a stack. A form that breaks a rule is not kept: whoever has it before them mends it, or holds it.
func (s *Store) EnterPaper(ctx context.Context, actor Actor, id uuid.UUID, f PaperEntry) (PaperView, BatchRowView, error) {
	var out PaperView
	var entered BatchRowView
	err := s.act(ctx, actor, "EnterPaper", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readPaper(ctx, id, policy.Write)
		if err != nil {
			return err
		}
		if problems := append(forms.Check(f), f.Cells.Problems()...); len(problems) > 0 {
			return invalid(problems)
		}
		switch {
		case b.Status != "checked":
			return refused("batch_settled", "Status", b.Status)
		case b.ClosedAt != nil && f.Row == 0:
			return refused("paper_closed")
		}
		no, err := a.takePaper(ctx, b, f)
		if err != nil {
			return err
		}
		row := keptRow{Row: b.Mapping.Row(no, f.Cells), Note: intake.Typed(f.Note.Reveal())}
		if err := a.recheck(ctx, b, map[int]keptRow{no: row}); err != nil {
			return err
		}
		problems, err := a.problemsOf(ctx, id, no)
		if err != nil {
			return err
		}
		if blocking := problems.Blocking(); len(blocking) > 0 && !f.Held {
			return invalid(problems)
		}
		if err := a.countPaper(ctx, id); err != nil {
			return err
		}
		if b, err = a.readBatch(ctx, id, ""); err != nil {
			return err
		}
		if out, err = a.paper(ctx, b); err != nil {
			return err
		}
		entered = BatchRowView{Row: no, Problems: ProblemTexts(problems, actor.Locale)}
		return a.QueryRow(ctx, `SELECT verdict FROM batch_rows WHERE batch_id = $1 AND row_no = $2`, id, no).Scan(&entered.Verdict)
	})
	return out, entered, err
}

// takePaper gives a new form its number in the stack, or takes one that was held.
func (a *act) takePaper(ctx context.Context, b batchRow, f PaperEntry) (no int, err error) {
	if f.Recruiter != uuid.Nil {
		var member bool
		if err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM drive_team WHERE drive_id = $1 AND staff_id = $2)`, *b.BatchView.Drive, f.Recruiter).Scan(&member); err != nil {
			return 0, err
		}
		if !member {
			return 0, invalid(forms.Problems{{Code: "R191", Field: "recruiter"}})
		}
	}
	if f.Row == 0 {
		err = a.QueryRow(ctx, `
			INSERT INTO paper_forms (batch_id, row_no, held, recruiter, entered_by, entered_at) SELECT $1, coalesce(max(row_no), 0) + 1, $2, $3, $4, $5 FROM paper_forms WHERE batch_id = $1
			RETURNING row_no`, b.BatchView.ID, f.Held, null(f.Recruiter), a.actor.staff, a.at).Scan(&no)
		return no, err
	}
	tag, err := a.Exec(ctx, `UPDATE paper_forms SET held = $3, recruiter = coalesce($4, recruiter), entered_by = $5, entered_at = $6 WHERE batch_id = $1 AND row_no = $2 AND held`,
		b.BatchView.ID, f.Row, f.Held, null(f.Recruiter), a.actor.staff, a.at)
	if err == nil && tag.RowsAffected() == 0 {
		return 0, refused("form_not_held")
	}
	return f.Row, err
}

func (a *act) problemsOf(ctx context.Context, batch uuid.UUID, no int) (problems forms.Problems, err error) {
	err = a.QueryRow(ctx, `SELECT problems FROM batch_rows WHERE batch_id = $1 AND row_no = $2`, batch, no).Scan(&problems)
	return problems, err
}

func (a *act) countPaper(ctx context.Context, id uuid.UUID) error {
	if _, err := a.Exec(ctx, `UPDATE batches SET rows_total = (SELECT count(*) FROM batch_rows WHERE batch_id = $1), version = version + 1 WHERE id = $1`, id); err != nil {
		return err
	}
	return a.countVerdicts(ctx, id)
}

// ChooseSecond chooses the forms that somebody else must enter a second time, as many as the rules want of those that were entered, and
// shows the stack. Which they are nobody can know before. Choosing again adds what is lacking.
func (s *Store) ChooseSecond(ctx context.Context, actor Actor, id uuid.UUID) (PaperView, error) {
	var out PaperView
	err := s.act(ctx, actor, "ChooseSecond", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readPaper(ctx, id, policy.Write)
		if err != nil {
			return err
		}
		if b.Status != "checked" {
			return refused("batch_settled", "Status", b.Status)
		}
		if err := a.choose(ctx, b); err != nil {
			return err
		}
		out, err = a.paper(ctx, b)
		return err
	})
	return out, err
}

func (a *act) choose(ctx context.Context, b batchRow) error {
	var entered, chosen int
	err := a.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE chosen) FROM paper_forms WHERE batch_id = $1 AND NOT held`, b.BatchView.ID).Scan(&entered, &chosen)
	if err != nil {
		return err
	}
	_, err = a.Exec(ctx, `
		UPDATE paper_forms p SET chosen = true FROM (SELECT row_no FROM paper_forms WHERE batch_id = $1 AND NOT held AND NOT chosen ORDER BY gen_random_uuid() LIMIT $2) c
		WHERE p.batch_id = $1 AND p.row_no = c.row_no`, b.BatchView.ID, max(a.sampleOf(b, entered)-chosen, 0))
	return err
}

// PaperDifference is a field in which two entries of one form differ.
type PaperDifference struct {
	Field  intake.Field `json:"field" class:"intake" mask:"drop"`
	Label  string       `json:"label" class:"intake" mask:"drop"`
	First  string       `json:"first" class:"intake" mask:"clear"`
	Second string       `json:"second" class:"intake" mask:"clear"`
}

// SecondEntry is what somebody else reads on a form.
type SecondEntry struct {
	Cells intake.Texts `json:"cells"`
}

// EnterSecond takes the second entry of a form that was chosen for it, and tells in which fields the two differ. A form that reads the
// same both times is settled.
//
// Errors: Refused for a form that was not chosen, or that the actor entered first.
func (s *Store) EnterSecond(ctx context.Context, actor Actor, id uuid.UUID, no int, f SecondEntry) ([]PaperDifference, error) {
	var out []PaperDifference
	err := s.act(ctx, actor, "EnterSecond", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readPaper(ctx, id, policy.Write)
		if err != nil {
			return err
		}
		if problems := f.Cells.Problems(); len(problems) > 0 {
			return invalid(problems)
		}
		var by uuid.UUID
		var due bool
		err = a.QueryRow(ctx, `SELECT entered_by, chosen AND second_at IS NULL FROM paper_forms WHERE batch_id = $1 AND row_no = $2`, id, no).Scan(&by, &due)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return missing("row")
		case err != nil:
			return err
		case !due:
			return refused("second_not_due")
		case by == actor.staff:
			return refused("second_by_same")
		}
		row, err := a.openRow(ctx, b, no)
		if err != nil {
			return err
		}
		second := b.Mapping.Row(no, f.Cells)
		row.Second = second.Cells
		if out, err = a.differences(ctx, b, row); err != nil {
			return err
		}
		differing := make([]string, len(out))
		for i, d := range out {
			differing[i] = string(d.Field)
		}
		if err := a.keepRow(ctx, id, no, row); err != nil {
			return err
		}
		_, err = a.Exec(ctx, `
			UPDATE paper_forms SET second_by = $3, second_at = $4, differing = $5::text[], settled_at = CASE WHEN cardinality($5::text[]) = 0 THEN $4::timestamptz END,
				settled_by = CASE WHEN cardinality($5::text[]) = 0 THEN $3::uuid END WHERE batch_id = $1 AND row_no = $2`, id, no, actor.staff, a.at, differing)
		return err
	})
	return out, err
}

// keepRow seals a row again, and leaves its verdict.
func (a *act) keepRow(ctx context.Context, batch uuid.UUID, no int, row keptRow) error {
	encoded, err := json.Marshal(row)
	if err != nil {
		return err
	}
	sealed, err := a.keys.SealBytes(rowCell(batch, no), encoded)
	if err != nil {
		return err
	}
	_, err = a.Exec(ctx, `UPDATE staged_forms SET raw_sealed = $3 WHERE batch_id = $1 AND row_no = $2`, batch, no, sealed)
	return err
}

// differences compares the two entries of a form by what they mean: a day is the same however it is written.
func (a *act) differences(ctx context.Context, b batchRow, row keptRow) ([]PaperDifference, error) {
	d, err := a.readDrive(ctx, *b.BatchView.Drive)
	if err != nil {
		return nil, err
	}
	read := func(r intake.Row) (meant, written intake.Texts) {
		form, _ := b.Mapping.Form(r, b.Defaults)
		_ = form.Review(a.circumstances(d)) // makes the form canonical; what is wrong with it was told when it was entered
		return intake.Read(&form), b.Mapping.Texts(r)
	}
	first, firstWritten := read(row.Row)
	second, secondWritten := read(intake.Row{No: row.No, Cells: row.Second})
	text := func(meant, written intake.Texts, f intake.Field) string {
		if t := meant[f]; !t.Empty() {
			return t.Reveal()
		}
		return written[f].Reveal() // nobody can tell what is meant
	}
	out := []PaperDifference{}
	for _, f := range intake.Fields() {
		one, other := text(first, firstWritten, f), text(second, secondWritten, f)
		if one != other && f != intake.Ignore {
			out = append(out, PaperDifference{Field: f, Label: forms.FieldName(f.Path(), a.actor.Locale), First: one, Second: other})
		}
	}
	return out, nil
}

// ComparePaper shows the two entries of a form where they differ, once both are there.
func (r *Reader) ComparePaper(ctx context.Context, actor Actor, id uuid.UUID, no int) ([]PaperDifference, error) {
	var out []PaperDifference
	err := r.act(ctx, actor, "ComparePaper", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, b.record()); err != nil {
			return err
		}
		row, err := a.bothEntries(ctx, b, no)
		if err != nil {
			return err
		}
		out, err = a.differences(ctx, b, row)
		return err
	})
	return out, err
}

func (a *act) bothEntries(ctx context.Context, b batchRow, no int) (keptRow, error) {
	var both, settled bool
	err := a.QueryRow(ctx, `SELECT second_at IS NOT NULL, settled_at IS NOT NULL FROM paper_forms WHERE batch_id = $1 AND row_no = $2`, b.BatchView.ID, no).Scan(&both, &settled)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return keptRow{}, missing("row")
	case err != nil:
		return keptRow{}, err
	case !both:
		return keptRow{}, refused("second_due", "Forms", 1)
	case settled:
		return keptRow{}, refused("entries_settled")
	}
	return a.openRow(ctx, b, no)
}

// SettlePaper decides what stands on a form that two people read differently: a value for each field in which they differ.
func (s *Store) SettlePaper(ctx context.Context, actor Actor, id uuid.UUID, no int, f SecondEntry) (PaperView, error) {
	var out PaperView
	err := s.act(ctx, actor, "SettlePaper", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readPaper(ctx, id, policy.Decide)
		if err != nil {
			return err
		}
		if problems := f.Cells.Problems(); len(problems) > 0 {
			return invalid(problems)
		}
		row, err := a.bothEntries(ctx, b, no)
		if err != nil {
			return err
		}
		differences, err := a.differences(ctx, b, row)
		if err != nil {
			return err
		}
		texts := b.Mapping.Texts(row.Row)
		var undecided forms.Problems
		for _, d := range differences {
			text, decided := f.Cells[d.Field]
			if !decided {
				undecided = append(undecided, forms.Problem{Code: "R101", Field: d.Field.Path()})
			}
			texts[d.Field] = text
			if d.Field == intake.Programmes {
				for _, one := range []intake.Field{intake.StemCell, intake.Blood, intake.Organ, intake.Cornea, intake.Body} {
					delete(texts, one) // else they would add to it
				}
			}
		}
		if len(undecided) > 0 {
			return invalid(undecided)
		}
		row.Row = b.Mapping.Row(no, texts)
		if err := a.recheck(ctx, b, map[int]keptRow{no: row}); err != nil {
			return err
		}
		problems, err := a.problemsOf(ctx, id, no)
		if err != nil {
			return err
		}
		if len(problems.Blocking()) > 0 {
			return invalid(problems)
		}
		if _, err := a.Exec(ctx, `UPDATE paper_forms SET settled_by = $3, settled_at = $4 WHERE batch_id = $1 AND row_no = $2`, id, no, actor.staff, a.at); err != nil {
			return err
		}
		if err := a.countPaper(ctx, id); err != nil {
			return err
		}
		if b, err = a.readBatch(ctx, id, ""); err != nil {
			return err
		}
		out, err = a.paper(ctx, b)
		return err
	})
	return out, err
}

// PaperClosing is the control total of a stack.
type PaperClosing struct {
	Counted    int    `json:"counted" validate:"min=0,max=100000" doc:"How many forms lie in the stack, counted by hand."`
	Difference string `json:"difference,omitempty" validate:"omitempty,oneof=form_spoiled withdrew_on_site other" doc:"Why there are more or fewer than were entered and held."`
}

// ClosePaper closes a stack: what was counted and what was entered agree, or their difference has a name, and the sample that was
// entered a second time is settled. Then it can be committed.
func (s *Store) ClosePaper(ctx context.Context, actor Actor, id uuid.UUID, version int64, f PaperClosing) (PaperView, error) {
	var out PaperView
	err := s.act(ctx, actor, "ClosePaper", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readPaper(ctx, id, policy.Decide)
		if err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if version != 0 && version != b.Version {
			return stale("batch")
		}
		if b.Status != "checked" {
			return refused("batch_settled", "Status", b.Status)
		}
		v, err := a.paper(ctx, b)
		if err != nil {
			return err
		}
		switch lacking := v.Needed - v.Compared; {
		case v.Entered+v.Held != f.Counted && f.Difference == "":
			return refused("control_total", "Counted", f.Counted, "Entered", v.Entered, "Held", v.Held)
		case lacking > 0:
			return refused("second_due", "Forms", lacking)
		case len(v.Unclear) > 0:
			return refused("entries_differ", "Forms", len(v.Unclear))
		}
		if v.Entered+v.Held == f.Counted {
			f.Difference = ""
		}
		_, err = a.Exec(ctx, `UPDATE batches SET closed_at = $2, counted_forms = $3, difference = $4, version = version + 1 WHERE id = $1`, id, a.at, f.Counted, f.Difference)
		if err != nil {
			return err
		}
		a.told(b, "drive.paper_closed")
		if b, err = a.readBatch(ctx, id, ""); err != nil {
			return err
		}
		out, err = a.paper(ctx, b)
		return err
	})
	return out, err
}

// ReopenPaper opens a stack again that was closed and not committed.
func (s *Store) ReopenPaper(ctx context.Context, actor Actor, id uuid.UUID, version int64) (PaperView, error) {
	var out PaperView
	err := s.act(ctx, actor, "ReopenPaper", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readPaper(ctx, id, policy.Decide)
		if err != nil {
			return err
		}
		if version != 0 && version != b.Version {
			return stale("batch")
		}
		if b.Status != "checked" {
			return refused("batch_settled", "Status", b.Status)
		}
		if _, err := a.Exec(ctx, `UPDATE batches SET closed_at = NULL, counted_forms = NULL, difference = '', version = version + 1 WHERE id = $1`, id); err != nil {
			return err
		}
		if b, err = a.readBatch(ctx, id, ""); err != nil {
			return err
		}
		out, err = a.paper(ctx, b)
		return err
	})
	return out, err
}

// ProbeForm asks whether the register knows somebody, or a tube, that a form names.
type ProbeForm struct {
	DocumentKind   identity.DocumentKind `json:"document_kind,omitempty" validate:"omitempty,max=30"`
	DocumentNumber seal.Number           `json:"document_number,omitzero" validate:"max=40"`
	Barcode        string                `json:"barcode,omitempty" validate:"omitempty,barcode"`
}

// ProbeView answers with as little as helps who enters a form.
type ProbeView struct {
	Person string `json:"person" doc:"no, here (registered within the office's region), elsewhere, or unreadable." class:"intake" mask:"drop"`
	Tube   string `json:"tube" doc:"free, taken, or outside of the drive's range; nothing when no barcode was given." class:"intake" mask:"drop"`
	// Read from a resident identity number, so that nobody has to type them.
	BirthDate string `json:"birth_date,omitempty" class:"intake" mask:"clear"`
	Sex       string `json:"sex,omitempty" class:"intake" mask:"clear"`
}

// Probe tells, while a form is typed, whether its person is registered already and its tube is free. Whoever asks learns no more than
// that, may not ask for ever, and every question is in the audit.
func (s *Store) Probe(ctx context.Context, actor Actor, drive uuid.UUID, f ProbeForm) (ProbeView, error) {
	out := ProbeView{Person: "no"}
	err := s.act(ctx, actor, "Probe", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, drive)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, d.record()); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		a.entries[len(a.entries)-1].Fields = a.sought("number", f.DocumentNumber.Reveal())
		if err := a.try(ctx, "probe", actor.subject, a.rules(d.Region).Count(rules.IntakeProbes)); err != nil {
			return err
		}
		if !f.DocumentNumber.Empty() {
			if err := a.probePerson(ctx, d, f, &out); err != nil {
				return err
			}
		}
		if f.Barcode == "" {
			return nil
		}
		var taken bool
		if err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM specimens WHERE barcode = $1)`, f.Barcode).Scan(&taken); err != nil {
			return err
		}
		switch {
		case taken:
			out.Tube = "taken"
		case d.BarcodeFrom != "" && !forms.Between(f.Barcode, d.BarcodeFrom, d.BarcodeTo):
			out.Tube = "outside"
		default:
			out.Tube = "free"
		}
		return nil
	})
	return out, err
}

func (a *act) probePerson(ctx context.Context, d DriveView, f ProbeForm, out *ProbeView) error {
	var doc identity.Document
	var err error
	if f.DocumentKind == "" {
		doc, err = identity.Recognise(f.DocumentNumber.Reveal())
	} else {
		doc, err = identity.ParseDocument(f.DocumentKind, f.DocumentNumber.Reveal())
	}
	if err != nil {
		out.Person = "unreadable"
		return nil //nolint:nilerr // that it cannot be read is the answer
	}
	if birth, ok := doc.Birth(); ok {
		out.BirthDate = birth.String()
	}
	if sex, ok := doc.Sex(); ok {
		out.Sex = string(sex)
	}
	var office identity.Region
	if err := a.QueryRow(ctx, `SELECT region FROM organisations WHERE id = $1`, d.Organisation).Scan(&office); err != nil {
		return err
	}
	lo, hi := office.Range()
	var known, here bool
	err = a.QueryRow(ctx, `
		SELECT count(*) > 0, coalesce(bool_or(EXISTS (SELECT FROM registrations g WHERE g.person_id = d.person_id AND g.region >= $2 AND g.region < $3)), false)
		FROM person_documents d WHERE d.number_index = ANY($1)`,
		a.keys.Lookups("document", documentKey(doc.Kind(), seal.NumberOf(doc.Reveal()))), lo, hi).Scan(&known, &here)
	switch {
	case here:
		out.Person = "here"
	case known:
		out.Person = "elsewhere"
	}
	return err
}

// withoutFile tells whether a batch of a kind was not read from a file.
func withoutFile(kind string) bool { return !slices.Contains([]string{"xlsx", "csv"}, kind) }
