package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/seal"
)

// Reconciliation adds up what came in and what became of it: Uploaded is the sum of all that follow it.
type Reconciliation struct {
	Uploaded  int  `json:"uploaded" doc:"Rows of the file, or forms of the stack." class:"intake" mask:"drop"`
	Created   int  `json:"created" class:"intake" mask:"drop"`
	Updated   int  `json:"updated" doc:"Of a person known already, something that was blank was filled." class:"intake" mask:"drop"`
	Linked    int  `json:"linked" doc:"A known donor's new sample." class:"intake" mask:"drop"`
	Unchanged int  `json:"unchanged" class:"intake" mask:"drop"`
	Parked    int  `json:"parked" doc:"Possibly somebody known already: somebody decides." class:"intake" mask:"drop"`
	Skipped   int  `json:"skipped" class:"intake" mask:"drop"`
	Failed    int  `json:"failed" class:"intake" mask:"drop"`
	Settled   int  `json:"settled" doc:"Rows of a mended workbook that were in the register already." class:"intake" mask:"drop"`
	Waiting   int  `json:"waiting" doc:"Rows that have no outcome yet." class:"intake" mask:"drop"`
	Expected  *int `json:"expected,omitempty" class:"intake" mask:"drop"`
	Agrees    bool `json:"agrees" doc:"Nothing waits, and there are as many as were expected, if a number was given." class:"intake" mask:"drop"`
}

func (b BatchView) reconcile() Reconciliation {
	o := b.Outcomes
	r := Reconciliation{
		Uploaded: b.Rows + b.Settled, Created: o["created"], Updated: o["updated"], Linked: o["linked"], Unchanged: o["unchanged"], Parked: o["parked"],
		Skipped: o["skipped"], Failed: o["failed"], Settled: b.Settled, Waiting: b.Rows, Expected: b.ExpectedForms,
	}
	for _, n := range o {
		r.Waiting -= n
	}
	if b.CountedForms != nil {
		r.Expected = b.CountedForms
	}
	r.Agrees = r.Waiting == 0 && (r.Expected == nil || *r.Expected == r.Uploaded)
	return r
}

// left is how long the rest of a commit or an undo takes at the pace of what is done.
func (b batchRow) left(now time.Time) *int {
	done := b.Done - b.startedRows
	if b.Status != "committing" && b.Status != "undoing" || b.startedAt == nil || done <= 0 {
		return nil
	}
	seconds := int(now.Sub(*b.startedAt).Seconds() * float64(max(b.Rows-b.Done, 0)) / float64(done))
	return &seconds
}

// told notes what was done with a batch, in the timeline of its drive.
func (a *act) told(b batchRow, event string) { a.toldOf(b, event, b.Rows) }

func (a *act) toldOf(b batchRow, event string, rows int) {
	if b.BatchView.Drive != nil {
		a.event(Event{Code: event, CaseID: *b.BatchView.Drive, DriveID: *b.BatchView.Drive, Args: map[string]any{"Number": b.BatchView.Number, "Rows": rows}})
	}
}

// ActivityLine is one thing that was done with a batch.
type ActivityLine struct {
	At   time.Time `json:"at" class:"intake" mask:"drop"`
	Code string    `json:"code" class:"intake" mask:"drop"`
	Text string    `json:"text" class:"intake" mask:"drop"`
	By   string    `json:"by,omitempty" doc:"The member of staff; nobody when the protocol did it." class:"intake" mask:"drop"`
}

// ListActivity tells what was done with a batch, the last first.
func (r *Reader) ListActivity(ctx context.Context, actor Actor, id uuid.UUID) ([]ActivityLine, error) {
	var out []ActivityLine
	err := r.act(ctx, actor, "ListActivity", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Intake, b.record()); err != nil || b.BatchView.Drive == nil {
			return err
		}
		rows, err := a.Query(ctx, `
			SELECT e.at, e.code, e.args, coalesce(s.display_name, '') FROM events e LEFT JOIN staff s ON e.actor = 'staff:' || s.id
			WHERE e.drive_id = $1 AND e.args->>'Number' = $2 ORDER BY e.at DESC, e.recorded_at DESC, e.id DESC LIMIT 100`, *b.BatchView.Drive, b.BatchView.Number)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l ActivityLine, err error) {
			var args map[string]any
			err = row.Scan(&l.At, &l.Code, &args, &l.By)
			l.Text = actor.Locale.Say("event."+l.Code, args)
			return l, err
		})
		return err
	})
	return out, err
}

// FileLook is a file as it reads with certain options: what somebody chooses a sheet, an encoding and columns by.
type FileLook struct {
	Sheets    []string      `json:"sheets" class:"intake" mask:"drop"`
	Sheet     string        `json:"sheet" class:"intake" mask:"drop"`
	Encoding  string        `json:"encoding" class:"intake" mask:"drop"`
	Encodings []string      `json:"encodings,omitempty" doc:"That can be chosen from, for a CSV file." class:"intake" mask:"drop"`
	Delimiter string        `json:"delimiter,omitempty" class:"intake" mask:"drop"`
	HeaderRow int           `json:"header_row,omitempty" doc:"As the spreadsheet shows it." class:"intake" mask:"drop"`
	Columns   []ColumnLook  `json:"columns" class:"intake" mask:"drop"`
	Rows      [][]string    `json:"rows" doc:"The first rows of the list, by column." class:"intake" mask:"clear"`
	Problems  []ProblemText `json:"problems" class:"intake" mask:"drop"`
}

// ColumnLook is a column with what it is taken for.
type ColumnLook struct {
	Column  int          `json:"column" class:"intake" mask:"drop"`
	Name    string       `json:"name" doc:"As a spreadsheet shows it: A, B, …" class:"intake" mask:"drop"`
	Heading string       `json:"heading" class:"intake" mask:"drop"`
	Field   intake.Field `json:"field,omitempty" class:"intake" mask:"drop"`
	How     intake.How   `json:"how,omitempty" class:"intake" mask:"drop"`
	Samples []string     `json:"samples" doc:"The first two values." class:"intake" mask:"clear"`
}

// previewRows are as many rows as one looks at to see whether an encoding is right.
const previewRows = 5

// LookIntoBatch opens a batch's file with other options, and changes nothing. It shows what the file holds, so it is for whoever may
// work on the batch.
func (r *Reader) LookIntoBatch(ctx context.Context, actor Actor, id uuid.UUID, o ReadOptions) (FileLook, error) {
	out := FileLook{Sheets: []string{}, Columns: []ColumnLook{}, Rows: [][]string{}}
	err := r.act(ctx, actor, "LookIntoBatch", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, b.record()); err != nil {
			return err
		}
		if problems := forms.Check(o); len(problems) > 0 {
			return invalid(problems)
		}
		if withoutFile(b.BatchView.Kind) {
			return refused("batch_without_file")
		}
		name, data, err := a.fileOf(ctx, id)
		if err != nil {
			return err
		}
		file, problems := intake.OpenWith(name, data, Upload{Options: o, Limits: intake.Limits{Rows: lastRow, Bytes: 1 << 40, Unpacked: 1 << 40}}.open())
		if file == nil {
			return invalid(problems)
		}
		out.Sheets, out.Encoding = file.Sheets(), string(file.Encoding)
		if file.Kind == intake.CSV {
			out.Encodings, out.Delimiter = []string{string(intake.UTF8), string(intake.GB18030), string(intake.UTF16)}, string(file.Delimiter)
		}
		table, more := file.Table(o.Sheet)
		problems = append(problems, more...)
		if table != nil {
			remembered, err := a.rememberedColumns(ctx, b.Organisation)
			if err != nil {
				return err
			}
			mapping := intake.Guess(table.Headers, remembered)
			if o.Mapping != nil {
				mapping = *o.Mapping
			} else if o.Sheet == "" || o.Sheet == b.Sheet {
				if b.Sheet == table.Sheet && len(b.Mapping.Columns) > 0 {
					mapping = b.Mapping // as it was chosen
				}
			}
			out.show(table, mapping)
			problems = append(problems, mapping.Problems(b.Defaults)...)
		}
		out.Problems = ProblemTexts(problems, actor.Locale)
		return nil
	})
	return out, err
}

func (l *FileLook) show(table *intake.Table, mapping intake.Mapping) {
	l.Sheet, l.HeaderRow = table.Sheet, table.HeaderRow
	for _, h := range table.Headers {
		c := ColumnLook{Column: h.Column, Name: intake.ColumnName(h.Column), Heading: h.Text, Samples: []string{}}
		for _, s := range h.Samples {
			c.Samples = append(c.Samples, s.Reveal())
		}
		if i := slices.IndexFunc(mapping.Columns, func(m intake.Column) bool { return m.Column == h.Column }); i >= 0 {
			c.Field, c.How = mapping.Columns[i].Field, mapping.Columns[i].How
		}
		l.Columns = append(l.Columns, c)
	}
	for row, err := range table.Rows() {
		if err != nil || len(l.Rows) == previewRows {
			break // what is wrong further down is told when the rows are checked
		}
		texts := make([]string, len(row.Cells))
		for i, c := range row.Cells {
			texts[i] = c.Text
		}
		l.Rows = append(l.Rows, texts)
	}
}

// ProblemGroup is one problem with all rows of a batch that have it.
type ProblemGroup struct {
	Code   string        `json:"code" class:"intake" mask:"drop"`
	Field  string        `json:"field" class:"intake" mask:"drop"`
	Label  string        `json:"label,omitempty" class:"intake" mask:"drop"`
	Is     string        `json:"is" class:"intake" mask:"drop"`
	Mend   string        `json:"mend" class:"intake" mask:"drop"`
	Count  int           `json:"count" class:"intake" mask:"drop"`
	Rows   string        `json:"rows" doc:"As a person writes them: 3-6, 9. Only the first ones when there are many." class:"intake" mask:"drop"`
	Stops  bool          `json:"stops" doc:"The rows cannot be taken as they are." class:"intake" mask:"drop"`
	Varies bool          `json:"varies,omitempty" doc:"The sentence is one row's: the limits or rows that it names differ." class:"intake" mask:"drop"`
	Fix    string        `json:"fix,omitempty" doc:"What can be done for all rows at once: one value for all, a value for each word, a tick; nothing when each row needs a look." class:"intake" mask:"drop"`
	Values []string      `json:"values,omitempty" doc:"What the field can be." class:"intake" mask:"drop"`
	Words  []WordOfGroup `json:"words,omitempty" doc:"What was read that means nothing, with how often." class:"intake" mask:"drop"`
}

// WordOfGroup is a text that stands in the rows of a group, and how often.
type WordOfGroup struct {
	Text  string `json:"text" class:"intake" mask:"clear"`
	Count int    `json:"count" class:"intake" mask:"drop"`
}

// The ways in which a group can be mended at once.
const (
	fixValue = "value" // one value for all rows: what is the same on every form of a drive
	fixWords = "words" // a value for each word that was read
	fixTick  = "tick"  // somebody has had a look
	fixKnown = "known" // fill what is blank of who is known, or leave them
)

// sharedFields are what one value can be right in for many people.
var sharedFields = []intake.Field{intake.SignedOn, intake.DrawnOn, intake.Programmes, intake.Intent, intake.Organs, intake.HealthAnswered, intake.Signed, intake.FormVersion, intake.Tubes, intake.Workplace, intake.Region}

// wordsOfGroup are as many words as a page can ask about.
const wordsOfGroup = 30

// fixOf tells how a group can be mended, and in which column.
func (b batchRow) fixOf(code, field string) (fix string, column int, of intake.Field) {
	switch {
	case code == "N301":
		return fixKnown, 0, ""
	case strings.HasPrefix(code, "W") || code == "N304":
		return fixTick, 0, ""
	case !strings.HasPrefix(code, "R"):
		return "", 0, ""
	}
	columns := b.Mapping.ColumnsOf(field)
	if len(columns) == 0 {
		return "", 0, ""
	}
	column = columns[0]
	if i := slices.IndexFunc(b.Mapping.Columns, func(c intake.Column) bool { return c.Column == column }); i >= 0 {
		of = b.Mapping.Columns[i].Field
	}
	switch {
	case code == "R114" && len(of.Values()) > 0:
		return fixWords, column, of
	case slices.Contains(sharedFields, of):
		return fixValue, column, of
	}
	return "", 0, ""
}

// ListGroups gathers the problems of a batch's rows that wait: what is wrong, in which rows, and what can be done for all of them at
// once. What stops comes first, the most frequent first.
func (r *Reader) ListGroups(ctx context.Context, actor Actor, id uuid.UUID) ([]ProblemGroup, error) {
	var out []ProblemGroup
	err := r.act(ctx, actor, "ListGroups", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		rows, err := a.Query(ctx, `
			SELECT p->>'code', coalesce(p->>'field', ''), (array_agg(p->'args' ORDER BY row_no))[1], count(DISTINCT p->'args') > 1, array_agg(DISTINCT row_no ORDER BY row_no)
			FROM batch_rows, jsonb_array_elements(problems) p WHERE batch_id = $1 AND outcome IN ('', 'failed', 'parked', 'skipped')
			GROUP BY 1, 2 ORDER BY p->>'code' NOT LIKE 'R%', count(*) DESC, 1, 2`, id)
		if err != nil {
			return err
		}
		words := map[int]int{} // index of the group → column
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (g ProblemGroup, err error) {
			p := forms.Problem{}
			var numbers []int
			if err := row.Scan(&p.Code, &p.Field, &p.Args, &g.Varies, &numbers); err != nil {
				return g, err
			}
			text := ProblemTexts(forms.Problems{p}, actor.Locale)[0]
			g.Code, g.Field, g.Label, g.Is, g.Mend = text.Code, text.Field, text.Label, text.Is, text.Mend
			g.Count, g.Rows, g.Stops = len(numbers), rowRanges(numbers, 12), p.Blocks()
			fix, column, of := b.fixOf(p.Code, p.Field)
			if g.Fix = fix; of != "" {
				g.Values = of.Values()
			}
			if fix == fixWords {
				words[column] = len(numbers)
			}
			return g, nil
		})
		if err != nil {
			return err
		}
		for i := range out {
			if out[i].Fix == fixWords {
				_, column, _ := b.fixOf(out[i].Code, out[i].Field)
				if out[i].Words, err = a.wordsOf(ctx, b, out[i].Code, out[i].Field, column); err != nil {
					return err
				}
			}
		}
		return a.permitShown(policy.Read, policy.Intake, b.record(), len(out))
	})
	return out, err
}

// waitingRows opens the rows that have a problem and still wait.
func (a *act) waitingRows(ctx context.Context, b batchRow, code, field string) (map[int]keptRow, error) {
	rows, err := a.Query(ctx, `
		SELECT row_no, raw_sealed FROM batch_rows JOIN staged_forms USING (batch_id, row_no)
		WHERE batch_id = $1 AND raw_sealed IS NOT NULL AND problems @> jsonb_build_array(jsonb_build_object('code', $2::text, 'field', $3::text))`, b.BatchView.ID, code, field)
	if err != nil {
		return nil, err
	}
	out := map[int]keptRow{}
	var no int
	var sealed []byte
	_, err = pgx.ForEachRow(rows, []any{&no, &sealed}, func() (err error) {
		out[no], err = a.rowOf(b.BatchView.ID, no, sealed)
		return err
	})
	return out, err
}

// wordsOf counts what stands in a column of a group's rows, the most frequent first.
func (a *act) wordsOf(ctx context.Context, b batchRow, code, field string, column int) ([]WordOfGroup, error) {
	rows, err := a.waitingRows(ctx, b, code, field)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, row := range rows {
		counts[row.Cell(column).Text]++
	}
	out := make([]WordOfGroup, 0, len(counts))
	for text, n := range counts {
		out = append(out, WordOfGroup{text, n})
	}
	slices.SortFunc(out, func(x, y WordOfGroup) int {
		if x.Count != y.Count {
			return y.Count - x.Count
		}
		return strings.Compare(x.Text, y.Text)
	})
	return out[:min(len(out), wordsOfGroup)], nil
}

// rowRanges writes numbers of rows as a person does, at most so many ranges.
func rowRanges(rows []int, most int) string {
	var out []string
	for i := 0; i < len(rows); {
		j := i
		for j+1 < len(rows) && rows[j+1] == rows[j]+1 {
			j++
		}
		if len(out) == most {
			return strings.Join(append(out, "…"), ", ")
		}
		if j == i {
			out = append(out, fmt.Sprint(rows[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", rows[i], rows[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ", ")
}

// GroupFix mends all rows that have a problem at once.
type GroupFix struct {
	Code        string            `json:"code" validate:"required,max=40"`
	Field       string            `json:"field,omitempty" validate:"max=60" doc:"As the group names it."`
	Value       seal.Note         `json:"value,omitzero" validate:"max=120" doc:"One value for all rows, where the group allows it."`
	Words       map[string]string `json:"words,omitempty" validate:"max=100" doc:"The value of each word that was read, where the group allows it."`
	Ticked      *bool             `json:"ticked,omitempty" doc:"Somebody has had a look at the warnings."`
	KnownAction *string           `json:"known_action,omitempty" validate:"omitempty,oneof=fill skip"`
}

// MendGroup mends all rows of a group and judges the sheet again.
//
// Errors: Refused where the rows need a look each.
func (s *Store) MendGroup(ctx context.Context, actor Actor, id uuid.UUID, version int64, f GroupFix) (BatchView, error) {
	var out BatchView
	err := s.act(ctx, actor, "MendGroup", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "FOR UPDATE OF b")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, b.record()); err != nil {
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
		mended, err := a.mendGroup(ctx, b, f)
		if err != nil {
			return err
		}
		a.entries[len(a.entries)-1].Shown = mended
		a.toldOf(b, "drive.batch_mended", mended)
		if _, err := a.Exec(ctx, `UPDATE batches SET version = version + 1 WHERE id = $1`, id); err != nil {
			return err
		}
		if err := a.countVerdicts(ctx, id); err != nil {
			return err
		}
		b, err = a.readBatch(ctx, id, "")
		out = b.BatchView
		return err
	})
	return out, err
}

func (a *act) mendGroup(ctx context.Context, b batchRow, f GroupFix) (int, error) {
	fix, column, of := b.fixOf(f.Code, f.Field)
	switch {
	case fix == fixTick && f.Ticked != nil, fix == fixKnown && f.KnownAction != nil:
		tag, err := a.Exec(ctx, `
			UPDATE batch_rows SET ticked = coalesce($4, ticked), known_action = coalesce($5, known_action)
			WHERE batch_id = $1 AND outcome = '' AND problems @> jsonb_build_array(jsonb_build_object('code', $2::text, 'field', $3::text))`, b.BatchView.ID, f.Code, f.Field, f.Ticked, f.KnownAction)
		return int(tag.RowsAffected()), err
	case fix == fixValue && !f.Value.Empty(), fix == fixWords && len(f.Words) > 0:
	default:
		return 0, refused("group_needs_looks")
	}
	for _, value := range f.Words {
		if value != "" && !slices.Contains(of.Values(), value) {
			return 0, invalid(forms.Problems{{Code: "R114", Field: "words", Args: map[string]any{"Allowed": strings.Join(of.Values(), ", ")}}})
		}
	}
	rows, err := a.waitingRows(ctx, b, f.Code, f.Field)
	if err != nil {
		return 0, err
	}
	for no, row := range rows {
		value := f.Value.Reveal()
		if fix == fixWords {
			said, is := f.Words[row.Cell(column).Text]
			if !is || said == "" {
				delete(rows, no)
				continue
			}
			value = said
		}
		if row.Row, err = patched(row.Row, map[int]string{column: value}); err != nil {
			return 0, err
		}
		rows[no] = row
	}
	if len(rows) == 0 {
		return 0, nil
	}
	return len(rows), a.recheck(ctx, b, rows)
}
