package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
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
)

// BatchView is an uploaded file as the office that works on it sees it.
type BatchView struct {
	ID             uuid.UUID       `json:"id" class:"intake" mask:"drop"`
	Number         string          `json:"number" class:"intake" mask:"drop"`
	Drive          *uuid.UUID      `json:"drive,omitempty" class:"intake" mask:"drop"`
	Parent         *uuid.UUID      `json:"parent,omitempty" doc:"The batch whose annotated workbook this is." class:"intake" mask:"drop"`
	Kind           string          `json:"kind" class:"intake" mask:"drop"`
	Status         string          `json:"status" class:"intake" mask:"drop"`
	Encoding       string          `json:"encoding,omitempty" class:"intake" mask:"drop"`
	Sheet          string          `json:"sheet,omitempty" class:"intake" mask:"drop"`
	Mapping        intake.Mapping  `json:"mapping" class:"intake" mask:"drop"`
	ExpectedForms  *int            `json:"expected_forms,omitempty" class:"intake" mask:"drop"`
	FileProblems   []ProblemText   `json:"file_problems" class:"intake" mask:"drop"`
	Rows           int             `json:"rows" class:"intake" mask:"drop"`
	Settled        int             `json:"settled" doc:"Rows of a mended workbook that were in the register already, and untouched. They are not among rows." class:"intake" mask:"drop"`
	Verdicts       map[string]int  `json:"verdicts" doc:"How many rows are ready, warning, error, duplicate, known. They add up to rows." class:"intake" mask:"drop"`
	Outcomes       map[string]int  `json:"outcomes" doc:"How many rows were created, updated, linked, unchanged, skipped, parked, failed. When the batch is committed they add up to rows." class:"intake" mask:"drop"`
	Mode           string          `json:"mode,omitempty" class:"intake" mask:"drop"`
	AcceptWarnings bool            `json:"accept_warnings" class:"intake" mask:"drop"`
	Done           int             `json:"done" doc:"Rows that the commit has dealt with." class:"intake" mask:"drop"`
	SecondsLeft    *int            `json:"seconds_left,omitempty" doc:"Until the commit or the undo under way is done, as far as its pace tells." class:"intake" mask:"drop"`
	CountedForms   *int            `json:"counted_forms,omitempty" doc:"The forms of a stack of paper as they were counted when it was closed." class:"intake" mask:"drop"`
	Difference     string          `json:"difference,omitempty" doc:"Why a stack of paper and what was entered of it differ." class:"intake" mask:"drop"`
	ClosedAt       *time.Time      `json:"closed_at,omitempty" doc:"When a stack of paper was closed." class:"intake" mask:"drop"`
	Sum            Reconciliation  `json:"sum" doc:"What came in and what became of it, added up." class:"intake" mask:"drop"`
	UndoUntil      *time.Time      `json:"undo_until,omitempty" class:"intake" mask:"drop"`
	Region         identity.Region `json:"region" class:"intake" mask:"drop"`
	Version        int64           `json:"version" class:"open" mask:"none"`
	CreatedAt      time.Time       `json:"created_at" class:"intake" mask:"drop"`
	SweptAt        *time.Time      `json:"swept_at,omitempty" doc:"When the file and what was read of it were destroyed: what is left of the batch can be looked at only." class:"intake" mask:"drop"`
	Again          bool            `json:"again,omitempty" doc:"The same file was uploaded before: this is that batch." class:"intake" mask:"drop"`
}

// ProblemText is a problem with its sentences in the reader's language.
type ProblemText struct {
	Code  string         `json:"code" class:"open" mask:"none"`
	Field string         `json:"field,omitempty" class:"open" mask:"none"`
	Label string         `json:"label,omitempty" doc:"What a reader calls the field." class:"open" mask:"none"`
	Is    string         `json:"is" doc:"What is wrong." class:"open" mask:"none"`
	Mend  string         `json:"mend" doc:"How to mend it." class:"open" mask:"none"`
	Args  map[string]any `json:"args,omitempty" class:"open" mask:"none"`
}

// ProblemTexts puts problems into words.
func ProblemTexts(problems forms.Problems, l lang.Locale) []ProblemText {
	out := make([]ProblemText, 0, len(problems))
	for _, p := range problems {
		t := ProblemText{Code: p.Code, Field: p.Field, Is: p.Says(l), Mend: p.Mend(l), Args: p.Args}
		if p.Field != "" {
			t.Label = forms.FieldName(p.Field, l)
		}
		out = append(out, t)
	}
	return out
}

// batchRow is a batch inside a transaction.
type batchRow struct {
	batchScope
	BatchView
	File     []byte
	SHA256   []byte
	Name     []byte
	Problems forms.Problems
	Defaults intake.Defaults
	Options  ReadOptions
	By       *uuid.UUID
	NextRow  int
	Lanes    []lane
	DoneAt   *time.Time
	Team     []uuid.UUID // of its drive, while there is one

	startedAt   *time.Time
	startedRows int
}

func (b batchRow) record() record {
	return record{kind: "batch", id: b.BatchView.ID.String(), region: b.BatchView.Region, office: b.Organisation, team: b.Team}
}

// ReadOptions are what somebody set when a guess about a file was wrong.
type ReadOptions struct {
	Encoding  intake.Encoding `json:"encoding,omitempty" validate:"omitempty,oneof=UTF-8 GB18030 UTF-16" doc:"Of a CSV file."`
	Delimiter string          `json:"delimiter,omitempty" validate:"max=1" doc:"Of a CSV file."`
	Sheet     string          `json:"sheet,omitempty" validate:"max=60"`
	Mapping   *intake.Mapping `json:"mapping,omitempty" doc:"Which column holds what; guessed when left out."`
	// Kept with the batch, and not among its options.
	Defaults *intake.Defaults `json:"defaults,omitempty" doc:"For columns that the sheet does not have; as they were when left out."`
	Expected *int             `json:"expected_forms,omitempty" validate:"omitempty,min=0,max=1000000" doc:"How many forms there should be; as it was when left out."`
}

// Upload is a file with its cover.
type Upload struct {
	Drive    uuid.UUID
	FileName string
	Data     []byte
	Expected int             // how many forms there should be; 0 does not say
	Defaults intake.Defaults // for columns that the sheet does not have
	Options  ReadOptions
	Limits   intake.Limits // zero is an upload's
}

func (a *act) readBatch(ctx context.Context, id uuid.UUID, lock string) (batchRow, error) {
	var b batchRow
	var mapping, defaults, options, problems []byte
	var drive *uuid.UUID
	var undone *int
	err := a.QueryRow(ctx, `
		SELECT b.id, b.number, b.drive_id, b.parent_id, b.region, b.organisation_id, o.region, b.kind, b.status, b.encoding, b.sheet, b.mapping, b.expected_forms, b.file_problems, b.rows_total,
			b.rows_settled, b.verdicts, b.outcomes, b.mode, b.accept_warnings, b.next_row, b.lanes, b.version, b.created_at, b.file_sha256, b.defaults, b.options, b.committed_by, b.committed_at, b.swept_at,
			b.started_at, b.started_rows, b.counted_forms, b.difference, b.closed_at, CASE WHEN b.status = 'undoing' THEN (SELECT count(*) FROM batch_rows r WHERE r.batch_id = b.id AND r.row_no < b.next_row) END,
			(SELECT `+teamOf+` FROM drives d WHERE d.id = b.drive_id)
		FROM batches b JOIN organisations o ON o.id = b.organisation_id WHERE b.id = $1 `+lock, id).
		Scan(&b.BatchView.ID, &b.BatchView.Number, &drive, &b.Parent, &b.BatchView.Region, &b.Organisation, &b.Office, &b.BatchView.Kind, &b.Status, &b.Encoding, &b.Sheet, &mapping,
			&b.ExpectedForms, &problems, &b.Rows, &b.Settled, &b.Verdicts, &b.Outcomes, &b.BatchView.Mode, &b.AcceptWarnings, &b.NextRow, &b.Lanes, &b.Version, &b.CreatedAt, &b.SHA256, &defaults, &options, &b.By, &b.DoneAt, &b.SweptAt,
			&b.startedAt, &b.startedRows, &b.CountedForms, &b.Difference, &b.ClosedAt, &undone, &b.Team)
	if errors.Is(err, pgx.ErrNoRows) {
		return b, a.absent("batch", id)
	}
	if err != nil {
		return b, err
	}
	b.BatchView.Drive = drive
	b.batchScope = batchScope{ID: b.BatchView.ID, Number: b.BatchView.Number, Drive: drive, Region: b.BatchView.Region, Organisation: b.Organisation, Office: b.Office,
		Kind: b.BatchView.Kind, Mode: b.BatchView.Mode, AcceptAll: b.AcceptWarnings}
	for _, part := range []struct {
		data []byte
		into any
	}{{mapping, &b.Mapping}, {defaults, &b.Defaults}, {options, &b.Options}, {problems, &b.Problems}} {
		if err := json.Unmarshal(part.data, part.into); err != nil {
			return b, err
		}
	}
	b.FileProblems = ProblemTexts(b.Problems, a.actor.Locale)
	for _, n := range b.Outcomes {
		b.Done += n
	}
	if undone != nil {
		b.Done = *undone
	}
	b.SecondsLeft = b.left(a.at)
	b.Sum = b.reconcile()
	if b.DoneAt != nil && b.Status == "committed" {
		until := a.undoUntil(b.BatchView.Region, *b.DoneAt)
		b.UndoUntil = &until
	}
	return b, nil
}

// UploadBatch takes a file, keeps it sealed, and checks every row of it: nothing of the register changes. The same file
// for the same drive again is the same batch.
//
// Errors: Invalid when the file cannot be read at all; what is wrong with its columns or rows is in the batch.
func (s *Store) UploadBatch(ctx context.Context, actor Actor, u Upload) (BatchView, error) {
	var out BatchView
	err := s.act(ctx, actor, "UploadBatch", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, u.Drive)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, d.record()); err != nil {
			return err
		}
		sum := sha256.Sum256(u.Data)
		var known uuid.UUID
		err = a.QueryRow(ctx, `SELECT id FROM batches WHERE drive_id = $1 AND file_sha256 = $2 AND status <> 'undone' AND swept_at IS NULL`, u.Drive, sum[:]).Scan(&known)
		switch {
		case err == nil:
			b, err := a.readBatch(ctx, known, "")
			out, out.Again = b.BatchView, true
			return err
		case !errors.Is(err, pgx.ErrNoRows):
			return err
		}
		file, problems := intake.OpenWith(u.FileName, u.Data, u.open())
		if file == nil {
			return invalid(problems)
		}
		id := newID()
		number, err := a.number(ctx, "BT")
		if err != nil {
			return err
		}
		var parent *uuid.UUID
		if p := file.Parent(); p != "" {
			if err := a.QueryRow(ctx, `SELECT id FROM batches WHERE number = $1 AND drive_id = $2`, p, u.Drive).Scan(&parent); err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
		}
		content, err := a.keys.SealBytes(cell("batches", "file", id), u.Data)
		if err != nil {
			return err
		}
		name, err := a.keys.Seal(cell("batches", "file_name", id), u.FileName)
		if err != nil {
			return err
		}
		defaults, err := json.Marshal(u.Defaults)
		if err != nil {
			return err
		}
		var expected *int
		if u.Expected > 0 {
			expected = &u.Expected
		}
		_, err = a.Exec(ctx, `
			INSERT INTO batches (id, number, drive_id, region, organisation_id, parent_id, kind, file_name_sealed, file_sha256, file_sealed, expected_forms, status, defaults, uploaded_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'created', $12, $13)`,
			id, number, u.Drive, string(d.Region), d.Organisation, parent, string(file.Kind), name, sum[:], content, expected, defaults, actor.staff)
		if err != nil {
			return err
		}
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		a.told(b, "drive.batch_uploaded")
		out, err = a.check(ctx, b, d, file, problems, u.Options)
		return err
	})
	s.measureStaged(ctx, out)
	return out, err
}

// measureStaged lets the planner know how many rows have come: it takes them for a handful else, and a commit walks them
// again for each row. It is outside the transaction, because it locks the tables against its like until the end.
func (s *Store) measureStaged(ctx context.Context, b BatchView) {
	if b.Rows < stageChunk {
		return
	}
	if _, err := s.pool.Exec(ctx, `SELECT measure_staged()`); err != nil {
		s.log.Warn("the staged rows could not be measured", describe(err)...)
	}
}

func (u Upload) open() intake.Options {
	o := intake.Options{Limits: u.Limits, Encoding: u.Options.Encoding}
	if u.Options.Delimiter != "" {
		o.Delimiter = rune(u.Options.Delimiter[0])
	}
	return o
}

// CheckBatch checks a batch again, with other columns, another sheet or another encoding.
func (s *Store) CheckBatch(ctx context.Context, actor Actor, id uuid.UUID, version int64, o ReadOptions, limits intake.Limits) (BatchView, error) {
	var out BatchView
	err := s.act(ctx, actor, "CheckBatch", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "FOR UPDATE OF b")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, b.record()); err != nil {
			return err
		}
		if problems := forms.Check(o); len(problems) > 0 {
			return invalid(problems)
		}
		if version != 0 && version != b.Version {
			return stale("batch")
		}
		if b.Status != "created" && b.Status != "checked" || b.Done > 0 || b.BatchView.Drive == nil {
			return refused("batch_settled", "Status", b.Status)
		}
		if withoutFile(b.BatchView.Kind) {
			return refused("batch_without_file")
		}
		d, err := a.readDrive(ctx, *b.BatchView.Drive)
		if err != nil {
			return err
		}
		name, data, err := a.fileOf(ctx, id)
		if err != nil {
			return err
		}
		if err := a.takeCover(ctx, &b, &o); err != nil {
			return err
		}
		if o.Mapping != nil {
			if err := a.rememberColumns(ctx, b.Organisation, b.Mapping, *o.Mapping); err != nil {
				return err
			}
		}
		file, problems := intake.OpenWith(name, data, Upload{Options: o, Limits: limits}.open())
		if file == nil {
			return invalid(problems)
		}
		if _, err := a.Exec(ctx, `WITH staged AS (DELETE FROM staged_forms WHERE batch_id = $1) DELETE FROM batch_rows WHERE batch_id = $1`, id); err != nil {
			return err
		}
		a.told(b, "drive.batch_checked")
		out, err = a.check(ctx, b, d, file, problems, o)
		return err
	})
	s.measureStaged(ctx, out)
	return out, err
}

// takeCover writes down what a batch's cover says anew, and leaves in the options what are options.
func (a *act) takeCover(ctx context.Context, b *batchRow, o *ReadOptions) error {
	if o.Defaults != nil {
		encoded, err := json.Marshal(o.Defaults)
		if err != nil {
			return err
		}
		if _, err := a.Exec(ctx, `UPDATE batches SET defaults = $2 WHERE id = $1`, b.BatchView.ID, encoded); err != nil {
			return err
		}
		b.Defaults, o.Defaults = *o.Defaults, nil
	}
	if o.Expected != nil {
		if _, err := a.Exec(ctx, `UPDATE batches SET expected_forms = nullif($2, 0) WHERE id = $1`, b.BatchView.ID, *o.Expected); err != nil {
			return err
		}
		o.Expected = nil
	}
	return nil
}

func (a *act) fileOf(ctx context.Context, id uuid.UUID) (name string, data []byte, err error) {
	var sealedName, sealed []byte
	if err := a.QueryRow(ctx, `SELECT file_name_sealed, file_sealed FROM batches WHERE id = $1`, id).Scan(&sealedName, &sealed); err != nil {
		return "", nil, err
	}
	if sealed == nil {
		return "", nil, refused("batch_swept")
	}
	plain, err := a.keys.OpenBytes(cell("batches", "file_name", id), sealedName)
	if err != nil {
		return "", nil, err
	}
	if sealed == nil {
		// Somebody in it asked for erasure, and a file cannot be erased in part.
		return "", nil, refused("file_erased")
	}
	data, err = a.keys.OpenBytes(cell("batches", "file", id), sealed)
	return string(plain), data, err
}

// rememberColumns keeps what somebody corrected, for the next file of the same office.
func (a *act) rememberColumns(ctx context.Context, organisation uuid.UUID, guessed, chosen intake.Mapping) error {
	before := map[int]intake.Field{}
	for _, c := range guessed.Columns {
		before[c.Column] = c.Field
	}
	for _, c := range chosen.Columns {
		if c.Heading == "" || before[c.Column] == c.Field {
			continue
		}
		_, err := a.Exec(ctx, `
			INSERT INTO column_mappings (organisation_id, header, field) VALUES ($1, $2, $3)
			ON CONFLICT (organisation_id, header) DO UPDATE SET field = excluded.field, used_at = now()`, organisation, intake.HeadingKey(c.Heading), string(c.Field))
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *act) rememberedColumns(ctx context.Context, organisation uuid.UUID) (map[string]intake.Field, error) {
	rows, err := a.Query(ctx, `SELECT header, field FROM column_mappings WHERE organisation_id = $1`, organisation)
	if err != nil {
		return nil, err
	}
	out := map[string]intake.Field{}
	var header, field string
	_, err = pgx.ForEachRow(rows, []any{&header, &field}, func() error {
		out[header] = intake.Field(field)
		return nil
	})
	return out, err
}

// check reads a file's rows, judges each, and stages them.
func (a *act) check(ctx context.Context, b batchRow, d DriveView, file *intake.File, problems forms.Problems, o ReadOptions) (BatchView, error) {
	table, more := file.Table(o.Sheet)
	problems = append(problems, more...)
	sheet, mapping := "", intake.Mapping{Columns: []intake.Column{}}
	if table != nil {
		remembered, err := a.rememberedColumns(ctx, b.Organisation)
		if err != nil {
			return BatchView{}, err
		}
		sheet, mapping = table.Sheet, intake.Guess(table.Headers, remembered)
		if o.Mapping != nil {
			mapping = *o.Mapping
		}
		problems = append(problems, mapping.Problems(b.Defaults)...)
	}
	encodedMapping, err := json.Marshal(mapping)
	if err != nil {
		return BatchView{}, err
	}
	options, err := json.Marshal(o)
	if err != nil {
		return BatchView{}, err
	}
	total, settled := 0, 0
	status := "created"
	if table != nil && !slices.ContainsFunc(problems, intake.Stops) {
		status = "checked"
		var late forms.Problems
		if total, settled, late, err = a.stageTable(ctx, b, d, table, mapping); err != nil {
			return BatchView{}, err
		}
		problems = append(problems, late...)
		if slices.ContainsFunc(late, intake.Stops) {
			status = "created"
		}
	}
	encoded, err := json.Marshal(append(forms.Problems{}, problems...))
	if err != nil {
		return BatchView{}, err
	}
	_, err = a.Exec(ctx, `
		UPDATE batches SET status = $2, encoding = $3, sheet = $4, mapping = $5, file_problems = $6, rows_total = $7, rows_settled = $8, options = $9, version = version + 1,
			verdicts = (SELECT coalesce(jsonb_object_agg(verdict, n), '{}') FROM (SELECT verdict, count(*) AS n FROM batch_rows WHERE batch_id = $1 GROUP BY verdict) v)
		WHERE id = $1`, b.BatchView.ID, status, string(file.Encoding), sheet, encodedMapping, encoded, total, settled, options)
	if err != nil {
		return BatchView{}, err
	}
	again, err := a.readBatch(ctx, b.BatchView.ID, "")
	return again.BatchView, err
}

// stageTable streams a sheet into batch_rows and staged_forms: one goroutine reads, one judges and seals, and
// PostgreSQL's COPY takes the rows as they come.
func (a *act) stageTable(ctx context.Context, b batchRow, d DriveView, table *intake.Table, mapping intake.Mapping) (total, settled int, problems forms.Problems, err error) {
	checker := intake.NewChecker(a.circumstances(d), b.Defaults, mapping)
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	read := make(chan []intake.Row, 4)
	sealed := make(chan staging, 4)
	var readErr, sealErr error
	go func() {
		defer close(read)
		chunk := make([]intake.Row, 0, stageChunk)
		send := func() bool {
			select {
			case read <- chunk:
				chunk = make([]intake.Row, 0, stageChunk)
				return true
			case <-reading.Done():
				return false
			}
		}
		for row, err := range table.Rows() {
			if err != nil {
				readErr = err
				return
			}
			if row.Settled {
				settled++
				continue
			}
			row.Cells = slices.Clone(row.Cells) // the next row writes over them
			chunk = append(chunk, row)
			total++
			if len(chunk) == stageChunk && !send() {
				return
			}
		}
		send()
	}()
	go func() {
		defer close(sealed)
		for chunk := range read {
			var out staging
			for _, row := range chunk {
				checked := checker.Check(row)
				staged := stagedRow{no: checked.Row, key: checked.Key[:], verdict: string(checked.Verdict), problems: checked.Problems, raw: keptRow{Row: row}, form: &checked.Form}
				if sealErr = out.add(a.Reader, b.BatchView.ID, staged); sealErr != nil {
					cancel()
					return
				}
			}
			select {
			case sealed <- out:
			case <-reading.Done():
				return
			}
		}
	}()
	for chunk := range sealed {
		if err = a.copyStaged(ctx, chunk); err != nil {
			break
		}
	}
	cancel()
	for range sealed { // the goroutines have ended when their channels are closed
		continue
	}
	if sealErr != nil {
		return 0, 0, nil, sealErr
	}
	if err != nil {
		return 0, 0, nil, err
	}
	if readErr != nil {
		var unreadable forms.Problems
		if errors.As(readErr, &unreadable) {
			return 0, 0, unreadable, nil
		}
		return 0, 0, nil, readErr
	}
	if err := a.amend(ctx, b.BatchView.ID, checker.Finish()); err != nil {
		return 0, 0, nil, err
	}
	return total, settled, nil, a.meet(ctx, b.batchScope, 0, lastRow)
}

// stageChunk is how many rows go from one goroutine to the next at a time; lastRow is behind every row of a sheet.
const (
	stageChunk = 1000
	lastRow    = 1<<31 - 1
)

// circumstances are what a drive's forms are judged by.
func (a *act) circumstances(d DriveView) forms.Circumstances {
	return forms.Circumstances{
		Today: a.today(), Rules: a.book.For, Region: d.Region,
		Drive: &forms.DriveFacts{FirstDay: d.FirstDay, LastDay: d.LastDay, BarcodeFrom: d.BarcodeFrom, BarcodeTo: d.BarcodeTo},
	}
}

// amend adds to rows what later rows told about them.
func (a *act) amend(ctx context.Context, batch uuid.UUID, amendments []intake.Amendment) error {
	if len(amendments) == 0 {
		return nil
	}
	byRow := map[int]forms.Problems{}
	var numbers []int
	for _, m := range amendments {
		if byRow[m.Row] == nil {
			numbers = append(numbers, m.Row)
		}
		byRow[m.Row] = append(byRow[m.Row], m.Problems...)
	}
	rows, err := a.Query(ctx, `SELECT row_no, problems FROM batch_rows WHERE batch_id = $1 AND row_no = ANY($2)`, batch, numbers)
	if err != nil {
		return err
	}
	var b pgx.Batch
	var no int
	var before forms.Problems
	if _, err := pgx.ForEachRow(rows, []any{&no, &before}, func() error {
		all := append(slices.Clone(before), byRow[no]...)
		encoded, err := json.Marshal(all)
		b.Queue(`UPDATE batch_rows SET problems = $3, verdict = $4 WHERE batch_id = $1 AND row_no = $2`, batch, no, encoded, string(intake.VerdictOf(all)))
		before = nil
		return err
	}); err != nil {
		return err
	}
	return a.SendBatch(ctx, &b).Close()
}

// ShowBatch returns a batch.
func (r *Reader) ShowBatch(ctx context.Context, actor Actor, id uuid.UUID) (BatchView, error) {
	var out BatchView
	err := r.act(ctx, actor, "ShowBatch", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		out = b.BatchView
		return a.permit(policy.Read, policy.Intake, b.record())
	})
	return out, err
}

// BatchOfFile finds the batch of a file for a drive, as a command line names it: by what is in the file.
func (r *Reader) BatchOfFile(ctx context.Context, actor Actor, drive uuid.UUID, data []byte) (BatchView, error) {
	var out BatchView
	err := r.act(ctx, actor, "BatchOfFile", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		sum := sha256.Sum256(data)
		var id uuid.UUID
		err := a.QueryRow(ctx, `SELECT id FROM batches WHERE drive_id = $1 AND file_sha256 = $2 ORDER BY status = 'undone', id DESC LIMIT 1`, drive, sum[:]).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			a.decided = true // there is nothing to decide about
			return a.absent("batch", id)
		}
		if err != nil {
			return err
		}
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		out = b.BatchView
		return a.permit(policy.Read, policy.Intake, b.record())
	})
	return out, err
}

// BatchRowView is one row of a batch, with its verdict and, for whoever may work on it, what was read.
type BatchRowView struct {
	Row         int           `json:"row" doc:"As the spreadsheet shows it." class:"intake" mask:"drop"`
	Verdict     string        `json:"verdict" class:"intake" mask:"drop"`
	Outcome     string        `json:"outcome,omitempty" class:"intake" mask:"drop"`
	Ticked      bool          `json:"ticked" class:"intake" mask:"drop"`
	KnownAction string        `json:"known_action,omitempty" doc:"What to do with a person who is registered already: fill or skip." class:"intake" mask:"drop"`
	DonorNumber string        `json:"donor_number,omitempty" class:"intake" mask:"drop"`
	Problems    []ProblemText `json:"problems" class:"intake" mask:"drop"`
	Cells       []string      `json:"cells,omitempty" doc:"What was read, by column. Gone once the row is in the register." class:"intake" mask:"clear"`
}

// RowFilter narrows a list of rows.
type RowFilter struct {
	Verdict, Outcome, Code string
	Field                  string // of the problem, with Code
	AfterRow               int
	Limit                  int
	WithCells              bool
}

// ListRows returns rows of a batch in the order of the sheet.
func (r *Reader) ListRows(ctx context.Context, actor Actor, id uuid.UUID, f RowFilter) ([]BatchRowView, error) {
	var out []BatchRowView
	err := r.act(ctx, actor, "ListRows", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		blind, err := a.blindForms(ctx, b)
		if err != nil {
			return err
		}
		rows, err := a.Query(ctx, `
			SELECT row_no, verdict, outcome, ticked, known_action, coalesce(donor_number, ''), problems, CASE WHEN $6 THEN raw_sealed END
			FROM batch_rows LEFT JOIN staged_forms USING (batch_id, row_no)
			WHERE batch_id = $1 AND row_no > $2 AND ($3 = '' OR verdict = $3) AND ($4 = '' OR outcome = $4) AND ($5 = '' OR problems @> jsonb_build_array(jsonb_build_object('code', $5::text) || CASE WHEN $8 = '' THEN '{}' ELSE jsonb_build_object('field', $8::text) END))
			ORDER BY row_no LIMIT $7`, id, f.AfterRow, f.Verdict, f.Outcome, f.Code, f.WithCells, pageSize(f.Limit), f.Field)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (v BatchRowView, err error) {
			var problems forms.Problems
			var sealed []byte
			if err := row.Scan(&v.Row, &v.Verdict, &v.Outcome, &v.Ticked, &v.KnownAction, &v.DonorNumber, &problems, &sealed); err != nil {
				return v, err
			}
			v.Problems = ProblemTexts(problems, actor.Locale)
			if blind[v.Row] {
				return v, nil
			}
			raw, err := a.rowOf(id, v.Row, sealed)
			for _, c := range raw.Cells {
				v.Cells = append(v.Cells, c.Text)
			}
			return v, err
		})
		if err != nil {
			return err
		}
		return a.permitShown(policy.Read, policy.Intake, b.record(), len(out))
	})
	return out, err
}

// keptRow is a row as it is kept, sealed: what was read and, of a form of a stack of paper, what was noted beside it and what somebody
// else read.
type keptRow struct {
	intake.Row
	Note   intake.Cell   `json:"note,omitzero"`
	Second []intake.Cell `json:"second,omitempty"`
}

func (r *Reader) rowOf(batch uuid.UUID, no int, sealed []byte) (keptRow, error) {
	var row keptRow
	plain, err := r.keys.OpenBytes(rowCell(batch, no), sealed)
	if err != nil || plain == nil {
		return row, err
	}
	return row, json.Unmarshal(plain, &row)
}

// RowPatch mends a row in place, ticks its warnings, or says what to do with somebody registered already.
type RowPatch struct {
	Cells       map[int]string `json:"cells,omitempty" doc:"New values by column, counted from 0."`
	Ticked      *bool          `json:"ticked,omitempty"`
	KnownAction *string        `json:"known_action,omitempty" validate:"omitempty,oneof=fill skip"`
}

// PatchRow mends one row and judges it again.
func (s *Store) PatchRow(ctx context.Context, actor Actor, id uuid.UUID, no int, patch RowPatch) (BatchRowView, error) {
	err := s.act(ctx, actor, "PatchRow", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "FOR UPDATE OF b")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Intake, b.record()); err != nil {
			return err
		}
		if problems := forms.Check(patch); len(problems) > 0 {
			return invalid(problems)
		}
		row, err := a.openRow(ctx, b, no)
		if err != nil {
			return err
		}
		if len(patch.Cells) > 0 {
			if row.Row, err = patched(row.Row, patch.Cells); err != nil {
				return err
			}
			if err := a.recheck(ctx, b, map[int]keptRow{no: row}); err != nil {
				return err
			}
		}
		_, err = a.Exec(ctx, `
			WITH row AS (UPDATE batch_rows SET ticked = coalesce($3, ticked), known_action = coalesce($4, known_action) WHERE batch_id = $1 AND row_no = $2)
			UPDATE batches SET version = version + 1 WHERE id = $1`, id, no, patch.Ticked, patch.KnownAction)
		if err != nil {
			return err
		}
		return a.countVerdicts(ctx, id)
	})
	if err != nil {
		return BatchRowView{}, err
	}
	rows, err := s.ListRows(ctx, actor, id, RowFilter{AfterRow: no - 1, Limit: 1, WithCells: true})
	if err != nil || len(rows) == 0 || rows[0].Row != no {
		return BatchRowView{}, errors.Join(err, missing("row"))
	}
	return rows[0], nil
}

func (a *act) countVerdicts(ctx context.Context, id uuid.UUID) error {
	_, err := a.Exec(ctx, `
		UPDATE batches SET verdicts = (SELECT coalesce(jsonb_object_agg(verdict, n), '{}') FROM (SELECT verdict, count(*) AS n FROM batch_rows WHERE batch_id = $1 GROUP BY verdict) v)
		WHERE id = $1`, id)
	return err
}

// openRow reads a row of a batch that can still be mended.
func (a *act) openRow(ctx context.Context, b batchRow, no int) (keptRow, error) {
	var sealed []byte
	err := a.QueryRow(ctx, `SELECT raw_sealed FROM batch_rows LEFT JOIN staged_forms USING (batch_id, row_no) WHERE batch_id = $1 AND row_no = $2`, b.BatchView.ID, no).Scan(&sealed)
	if errors.Is(err, pgx.ErrNoRows) {
		return keptRow{}, missing("row")
	}
	if err != nil {
		return keptRow{}, err
	}
	if b.Status != "checked" || sealed == nil {
		return keptRow{}, refused("batch_settled", "Status", b.Status)
	}
	return a.rowOf(b.BatchView.ID, no, sealed)
}

// patched is a row with new texts in some of its columns.
func patched(row intake.Row, cells map[int]string) (intake.Row, error) {
	row.Cells = slices.Clone(row.Cells)
	for column, text := range cells {
		if column < 0 || column > 200 {
			return row, invalid(forms.Problems{{Code: "R119", Field: "cells", Args: map[string]any{"Bound": "≤", "Limit": 200}}})
		}
		for len(row.Cells) <= column {
			row.Cells = append(row.Cells, intake.Cell{})
		}
		row.Cells[column] = intake.Typed(text)
	}
	return row, nil
}

// recheck judges mended and new rows, by themselves and against the other rows of their batch.
func (a *act) recheck(ctx context.Context, b batchRow, mended map[int]keptRow) error {
	d, err := a.readDrive(ctx, *b.BatchView.Drive)
	if err != nil {
		return err
	}
	held, err := a.heldForms(ctx, b)
	if err != nil {
		return err
	}
	// The whole sheet is judged again: what is wrong with a row may lie in another, and mending this one may mend that.
	checker := intake.NewChecker(a.circumstances(d), b.Defaults, b.Mapping)
	rows, err := a.Query(ctx, `SELECT row_no, raw_sealed, problems FROM batch_rows JOIN staged_forms USING (batch_id, row_no) WHERE batch_id = $1 ORDER BY row_no`, b.BatchView.ID)
	if err != nil {
		return err
	}
	type judged struct {
		row    stagedRow
		before forms.Problems
	}
	var all []judged
	var number int
	var cellsSealed []byte
	var before forms.Problems
	judge := func(number int, row keptRow) {
		checked := checker.Check(row.Row)
		if held[number] {
			checked.Problems = append(checked.Problems, forms.Problem{Code: "R190"})
		}
		all = append(all, judged{stagedRow{no: number, key: checked.Key[:], verdict: string(checked.Verdict), problems: checked.Problems, raw: row, form: &checked.Form}, before})
	}
	there := map[int]bool{}
	if _, err := pgx.ForEachRow(rows, []any{&number, &cellsSealed, &before}, func() error {
		row, is := mended[number]
		if !is {
			var err error
			if row, err = a.rowOf(b.BatchView.ID, number, cellsSealed); err != nil {
				return err
			}
		}
		there[number] = true
		judge(number, row)
		before = nil
		return nil
	}); err != nil {
		return err
	}
	for _, number := range slices.Sorted(maps.Keys(mended)) {
		if !there[number] {
			judge(number, mended[number])
		}
	}
	late := map[int]forms.Problems{}
	for _, m := range checker.Finish() {
		late[m.Row] = append(late[m.Row], m.Problems...)
	}
	var changed staging
	var numbers []int
	for _, j := range all {
		j.row.problems = append(j.row.problems, late[j.row.no]...)
		j.row.verdict = string(intake.VerdictOf(j.row.problems))
		if _, is := mended[j.row.no]; !is && sameCodes(j.row.problems, j.before) {
			continue
		}
		if err := changed.add(a.Reader, b.BatchView.ID, j.row); err != nil {
			return err
		}
		numbers = append(numbers, j.row.no)
	}
	_, err = a.Exec(ctx, `WITH staged AS (DELETE FROM staged_forms WHERE batch_id = $1 AND row_no = ANY($2)) DELETE FROM batch_rows WHERE batch_id = $1 AND row_no = ANY($2)`, b.BatchView.ID, numbers)
	if err != nil {
		return err
	}
	if err := a.copyStaged(ctx, changed); err != nil {
		return err
	}
	return a.meet(ctx, b.batchScope, 0, lastRow)
}

// sameCodes compares what the sheet's own rules say, leaving out what the register adds.
func sameCodes(a, b forms.Problems) bool {
	own := func(ps forms.Problems) string {
		var out []string
		for _, p := range ps {
			if !strings.HasPrefix(p.Code, "N") && p.Code != "R109" {
				out = append(out, p.Code+p.Field)
			}
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	return own(a) == own(b)
}

// CommitForm says how a batch is committed.
type CommitForm struct {
	Mode           string `json:"mode,omitempty" validate:"omitempty,oneof=good_rows all_or_nothing" doc:"Only the good rows, or all rows or none; only the good ones when left out."`
	AcceptWarnings bool   `json:"accept_warnings,omitempty" doc:"Rows with warnings need no tick each."`
}

// StartCommit begins to take a checked batch into the register. A workflow does it, in chunks: the caller may go home.
func (s *Store) StartCommit(ctx context.Context, actor Actor, id uuid.UUID, version int64, f CommitForm) (BatchView, error) {
	return s.steerBatch(ctx, actor, "StartCommit", id, version, func(ctx context.Context, a *act, b batchRow) error {
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if b.Status == "committing" || b.Status == "committed" {
			return nil // said twice
		}
		if b.Status != "checked" {
			return refused("batch_settled", "Status", b.Status)
		}
		if b.BatchView.Kind == "paper" && b.ClosedAt == nil {
			return refused("paper_open")
		}
		if f.Mode == "" {
			f.Mode = "good_rows"
		}
		if f.Mode == "all_or_nothing" {
			var bad int
			err := a.QueryRow(ctx, `
				SELECT count(*) FROM batch_rows r WHERE r.batch_id = $1 AND r.outcome = '' AND (r.verdict IN ('error', 'duplicate') OR r.problems @> '[{"code": "N304"}]' AND NOT r.ticked
					OR r.verdict = 'warning' AND NOT r.ticked AND NOT $2)`, id, f.AcceptWarnings).Scan(&bad)
			if err != nil {
				return err
			}
			if bad > 0 {
				return refused("rows_not_good", "Rows", bad)
			}
		}
		_, err := a.Exec(ctx, `UPDATE batches SET status = 'committing', lanes = '[]', mode = $2, accept_warnings = $3, committed_by = $4, started_at = $5, started_rows = $6, version = version + 1 WHERE id = $1`,
			id, f.Mode, f.AcceptWarnings, actor.staff, a.at, b.Done)
		a.told(b, "drive.batch_started")
		a.hear(string(ImportProtocol), "commit", id)
		return err
	})
}

// CancelBatch stops a commit after the chunk under way, or gives up a batch that was not committed.
func (s *Store) CancelBatch(ctx context.Context, actor Actor, id uuid.UUID, version int64) (BatchView, error) {
	return s.steerBatch(ctx, actor, "CancelBatch", id, version, func(ctx context.Context, a *act, b batchRow) error {
		status := "cancelled"
		switch b.Status {
		case "cancelled":
			return nil
		case "committing":
			status = "checked" // the rest can be committed later
			if b.Done > 0 {
				status = "committed"
			}
		case "created", "checked":
			if b.Done > 0 {
				status = "committed" // a second try is given up: what the first brought stays
			}
		default:
			return refused("batch_settled", "Status", b.Status)
		}
		a.told(b, "drive.batch_stopped")
		_, err := a.Exec(ctx, `UPDATE batches SET status = $2, committed_at = CASE WHEN $2 = 'committed' THEN coalesce(committed_at, $3::timestamptz) END, version = version + 1 WHERE id = $1`, id, status, a.at)
		return err
	})
}

// RetryBatch commits the rows of a committed batch that are left: those that were parked, skipped or failed and have been
// ticked or mended since.
func (s *Store) RetryBatch(ctx context.Context, actor Actor, id uuid.UUID, version int64) (BatchView, error) {
	return s.steerBatch(ctx, actor, "RetryBatch", id, version, func(ctx context.Context, a *act, b batchRow) error {
		if b.Status != "committed" {
			return refused("batch_not_committed", "Status", b.Status)
		}
		if b.SweptAt != nil {
			return refused("batch_swept")
		}
		a.told(b, "drive.batch_reopened")
		_, err := a.Exec(ctx, `
			WITH again AS (UPDATE batch_rows SET outcome = '' WHERE batch_id = $1 AND outcome IN ('skipped', 'parked', 'failed', ''))
			UPDATE batches SET status = 'checked', next_row = 0, outcomes = outcomes - '{skipped,parked,failed}'::text[], version = version + 1 WHERE id = $1`, id)
		return err
	})
}

// StartUndo begins to take a committed batch out of the register again, as if it had never come. It is refused when the
// time is over, or when a row has moved on: then rows are corrected one by one.
func (s *Store) StartUndo(ctx context.Context, actor Actor, id uuid.UUID, version int64) (BatchView, error) {
	return s.steerBatch(ctx, actor, "StartUndo", id, version, func(ctx context.Context, a *act, b batchRow) error {
		switch {
		case b.Status == "undoing" || b.Status == "undone":
			return nil // said twice
		case b.Status != "committed":
			return refused("batch_not_committed", "Status", b.Status)
		case a.at.After(*b.UndoUntil):
			return refused("undo_too_late", "Until", b.UndoUntil.In(Zone).Format(time.RFC3339))
		}
		moved, err := a.movedOn(ctx, id, 0, lastRow)
		if err != nil {
			return err
		}
		if moved > 0 {
			return refused("rows_moved_on", "Rows", moved)
		}
		_, err = a.Exec(ctx, `UPDATE batches SET status = 'undoing', next_row = 0, started_at = $2, started_rows = 0, version = version + 1 WHERE id = $1`, id, a.at)
		a.told(b, "drive.batch_undo_started")
		a.hear(string(ImportProtocol), "undo", id)
		return err
	})
}

func (s *Store) steerBatch(ctx context.Context, actor Actor, name string, id uuid.UUID, version int64, do func(context.Context, *act, batchRow) error) (BatchView, error) {
	var out BatchView
	err := s.act(ctx, actor, name, policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "FOR UPDATE OF b")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Intake, b.record()); err != nil {
			return err
		}
		if version != 0 && version != b.Version {
			return stale("batch")
		}
		if err := do(ctx, a, b); err != nil {
			return err
		}
		b, err = a.readBatch(ctx, id, "")
		out = b.BatchView
		return err
	})
	return out, err
}

// Chunk is how far a batch's commit or undo has come.
type Chunk struct {
	Done     int  `json:"done"`
	Total    int  `json:"total"`
	Finished bool `json:"finished"`
}

// ImportChunk does the next rows of what a batch is waiting for, its commit or its undo, on behalf of whoever started it.
// Where it stands is in the rows, so a chunk whose answer was lost is not done twice.
func (s *Store) ImportChunk(ctx context.Context, id uuid.UUID) (Chunk, error) {
	var by *uuid.UUID
	err := s.internally(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT committed_by FROM batches WHERE id = $1`, id).Scan(&by)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Chunk{}, missing("batch")
	}
	if err != nil {
		return Chunk{}, translate(err)
	}
	actor := System("import/" + id.String())
	if by != nil {
		// Whoever left the house after starting the commit does not stop it.
		if person, err := s.ActorOf(ctx, *by); err == nil {
			actor = person
		}
	}
	for attempt := 0; ; attempt++ {
		var out Chunk
		var lanes []lane
		err = s.act(ctx, actor, "ImportChunk", policy.ForEnrolment, func(ctx context.Context, a *act) (err error) {
			b, err := a.readBatch(ctx, id, "FOR UPDATE OF b")
			if err != nil {
				return err
			}
			if err := a.permit(policy.Decide, policy.Intake, b.record()); err != nil {
				return err
			}
			switch {
			case b.Status == "undoing":
				out, err = a.undoChunk(ctx, b)
			case b.Status != "committing":
				out = Chunk{Done: b.Done, Total: b.Rows, Finished: true}
			case b.BatchView.Mode == "all_or_nothing":
				out, err = a.commitWhole(ctx, b)
			default:
				out, lanes, err = a.nextLanes(ctx, b)
			}
			return err
		})
		if err == nil && len(lanes) > 0 {
			var done int
			done, err = s.commitLanes(ctx, actor, id, lanes)
			out.Done += done
		}
		// Another batch brought the same person or tube while this one was looking, or somebody stopped it: look again.
		if kind := KindOf(err); kind != Conflict && kind != Stale || attempt == 5 {
			return out, err
		}
	}
}

// lane is a range of rows that is committed in one transaction, while other lanes are in theirs.
type lane struct {
	From   int           `json:"from"`
	To     int           `json:"to"`
	Number int64         `json:"number"` // the first of the registration numbers that are set aside for it
	On     calendar.Date `json:"on"`     // of whose year they are
}

// lanesAtOnce is how many transactions commit a batch's rows side by side. PostgreSQL works on each with one core; more
// than two would take the machine from those who work beside the import.
const lanesAtOnce = 2

// nextLanes is what the next chunk consists of: what was begun and not done, else the next rows that have no outcome. A
// lane that is done again has the numbers it had. When no row is left the commit is over.
func (a *act) nextLanes(ctx context.Context, b batchRow) (Chunk, []lane, error) {
	chunk := Chunk{Done: b.Done, Total: b.Rows}
	var begun []lane
	for _, l := range b.Lanes {
		var waits bool
		if err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM batch_rows WHERE batch_id = $1 AND row_no BETWEEN $2 AND $3 AND outcome = '')`, b.BatchView.ID, l.From, l.To).Scan(&waits); err != nil {
			return chunk, nil, err
		}
		if waits {
			begun = append(begun, l)
		}
	}
	if len(begun) > 0 {
		return chunk, begun, nil
	}
	var lanes []lane
	var numbers int64
	for next := b.NextRow; len(lanes) < lanesAtOnce; {
		from, to, needed, err := a.nextRows(ctx, b.BatchView.ID, next, (a.chunk+lanesAtOnce-1)/lanesAtOnce)
		if err != nil {
			return chunk, nil, err
		}
		if to < from {
			break
		}
		lanes = append(lanes, lane{from, to, numbers, a.today()})
		next, numbers = to+1, numbers+needed
	}
	if len(lanes) == 0 {
		chunk, err := a.concludeCommit(ctx, b)
		return chunk, nil, err
	}
	first, err := a.numbers(ctx, b.batchScope, numbers)
	if err != nil {
		return chunk, nil, err
	}
	for i := range lanes {
		lanes[i].Number += first
	}
	encoded, err := json.Marshal(lanes)
	if err != nil {
		return chunk, nil, err
	}
	_, err = a.Exec(ctx, `UPDATE batches SET next_row = $2, lanes = $3 WHERE id = $1`, b.BatchView.ID, lanes[0].From, encoded)
	return chunk, lanes, err
}

// nextRows is the range of the next rows without an outcome from a row on, at most so many, and how many registration
// numbers they may need. The range is empty when no such row is left.
func (a *act) nextRows(ctx context.Context, batch uuid.UUID, next, size int) (from, to int, numbers int64, err error) {
	err = a.QueryRow(ctx, `
		SELECT coalesce(min(row_no), 0), coalesce(max(row_no), -1), coalesce(sum(cardinality(programmes)), 0)
		FROM (SELECT row_no, programmes FROM batch_rows WHERE batch_id = $1 AND row_no >= $2 AND outcome = '' ORDER BY row_no LIMIT $3) next`, batch, next, size).Scan(&from, &to, &numbers)
	return from, to, numbers, err
}

// commitLanes commits lanes side by side and returns how many rows got an outcome. Each lane counts its rows on the batch
// in its own transaction, so that the counts are true whichever of them dies, and takes nothing back from a batch that was
// stopped meanwhile.
func (s *Store) commitLanes(ctx context.Context, actor Actor, id uuid.UUID, lanes []lane) (int, error) {
	var all sync.WaitGroup
	done, errs := make([]int, len(lanes)), make([]error, len(lanes))
	for i, l := range lanes {
		all.Go(func() {
			errs[i] = s.act(ctx, actor, "CommitRows", policy.ForEnrolment, func(ctx context.Context, a *act) error {
				// A worker that is thought dead may still be at it: then this one finds the rows done.
				if _, err := a.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('lane/' || $1 || '/' || $2, 0))`, id.String(), strconv.Itoa(l.From)); err != nil {
					return err
				}
				b, err := a.readBatch(ctx, id, "")
				if err != nil {
					return err
				}
				if err := a.permitShown(policy.Decide, policy.Intake, b.record(), l.To-l.From+1); err != nil {
					return err
				}
				outcomes, err := a.commitRows(ctx, b.batchScope, l)
				if err != nil {
					return err
				}
				done[i] = 0 // the act may be run again
				for _, n := range outcomes {
					done[i] += n
				}
				return a.count(ctx, b, outcomes)
			})
		})
	}
	all.Wait()
	total := 0
	for _, n := range done {
		total += n
	}
	return total, errors.Join(errs...)
}

// count adds the outcomes of rows to a batch that is being committed.
func (a *act) count(ctx context.Context, b batchRow, outcomes map[string]int) error {
	if len(outcomes) == 0 {
		return nil
	}
	encoded, err := json.Marshal(outcomes)
	if err != nil {
		return err
	}
	tag, err := a.Exec(ctx, `
		UPDATE batches SET version = version + 1, outcomes = (
			SELECT coalesce(jsonb_object_agg(key, n), '{}') FROM (
				SELECT key, sum(value::int) AS n FROM (SELECT * FROM jsonb_each_text(outcomes) UNION ALL SELECT * FROM jsonb_each_text($2)) each GROUP BY key) counted)
		WHERE id = $1 AND status = 'committing'`, b.BatchView.ID, encoded)
	if err == nil && tag.RowsAffected() == 0 {
		return stale("batch")
	}
	return err
}

func (a *act) concludeCommit(ctx context.Context, b batchRow) (Chunk, error) {
	_, err := a.Exec(ctx, `UPDATE batches SET status = 'committed', lanes = '[]', committed_at = $2, version = version + 1 WHERE id = $1`, b.BatchView.ID, a.at)
	if b.BatchView.Drive != nil {
		a.event(Event{Code: "drive.batch_committed", CaseID: *b.BatchView.Drive, DriveID: *b.BatchView.Drive, Args: map[string]any{"Number": b.BatchView.Number, "Rows": b.Rows}})
	}
	return Chunk{Done: b.Rows, Total: b.Rows, Finished: true}, err
}

// commitWhole commits all rows of a batch in one transaction, or none.
func (a *act) commitWhole(ctx context.Context, b batchRow) (Chunk, error) {
	from, to, needed, err := a.nextRows(ctx, b.BatchView.ID, 0, lastRow)
	if err != nil {
		return Chunk{}, err
	}
	if to < from {
		return a.concludeCommit(ctx, b)
	}
	first, err := a.numbers(ctx, b.batchScope, needed)
	if err != nil {
		return Chunk{}, err
	}
	if _, err := a.Exec(ctx, `SAVEPOINT before_rows`); err != nil {
		return Chunk{}, err
	}
	told := len(a.tellers)
	outcomes, err := a.commitRows(ctx, b.batchScope, lane{from, to, first, a.today()})
	if err != nil {
		return Chunk{}, err
	}
	if outcomes["failed"]+outcomes["parked"]+outcomes["skipped"] > 0 {
		a.tellers, a.notices = a.tellers[:told], nil
		return a.giveBack(ctx, b)
	}
	done := b.Done
	for _, n := range outcomes {
		done += n
	}
	return Chunk{Done: done, Total: b.Rows}, a.count(ctx, b, outcomes)
}

// giveBack takes back a commit of all or nothing, because the register has changed under some rows since they were
// checked: nothing of the batch stays, and it waits for somebody to look at them.
func (a *act) giveBack(ctx context.Context, b batchRow) (Chunk, error) {
	if _, err := a.Exec(ctx, `ROLLBACK TO SAVEPOINT before_rows`); err != nil {
		return Chunk{}, err
	}
	if err := a.meet(ctx, b.batchScope, 0, lastRow); err != nil {
		return Chunk{}, err
	}
	if err := a.countVerdicts(ctx, b.BatchView.ID); err != nil {
		return Chunk{}, err
	}
	_, err := a.Exec(ctx, `UPDATE batches SET status = 'checked', version = version + 1 WHERE id = $1`, b.BatchView.ID)
	return Chunk{Total: b.Rows, Finished: true}, err
}

func (a *act) undoChunk(ctx context.Context, b batchRow) (Chunk, error) {
	var last *int
	err := a.QueryRow(ctx, `SELECT max(row_no) FROM (SELECT row_no FROM batch_rows WHERE batch_id = $1 AND row_no >= $2 ORDER BY row_no LIMIT $3) next`, b.BatchView.ID, b.NextRow, a.chunk).Scan(&last)
	if err != nil {
		return Chunk{}, err
	}
	if last == nil {
		_, err := a.Exec(ctx, `UPDATE batches SET status = 'undone', version = version + 1 WHERE id = $1`, b.BatchView.ID)
		if b.BatchView.Drive != nil {
			a.event(Event{Code: "drive.batch_undone", CaseID: *b.BatchView.Drive, DriveID: *b.BatchView.Drive, Args: map[string]any{"Number": b.BatchView.Number, "Rows": b.Rows}})
		}
		return Chunk{Done: b.Rows, Total: b.Rows, Finished: true}, err
	}
	from, to := b.NextRow, *last
	moved, err := a.movedOn(ctx, b.BatchView.ID, from, to)
	if err != nil {
		return Chunk{}, err
	}
	if moved > 0 {
		return Chunk{}, refused("rows_moved_on", "Rows", moved)
	}
	rows, err := a.Query(ctx, `SELECT g.id FROM batch_rows r, unnest(r.registration_ids) w(id) JOIN registrations g ON g.id = w.id WHERE r.batch_id = $1 AND r.row_no BETWEEN $2 AND $3 AND g.programme = 'stemcell'`,
		b.BatchView.ID, from, to)
	if err != nil {
		return Chunk{}, err
	}
	enrolments, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return Chunk{}, err
	}
	for chunk := range slices.Chunk(enrolments, 200) {
		a.hear(string(EnrolmentProtocol), "undone", chunk...)
	}
	if err := a.undoRows(ctx, b.BatchView.ID, from, to); err != nil {
		return Chunk{}, err
	}
	_, err = a.Exec(ctx, `UPDATE batches SET next_row = $2, version = version + 1 WHERE id = $1`, b.BatchView.ID, to+1)
	return Chunk{Done: min(to, b.Rows), Total: b.Rows}, err
}

// ResultWorkbook writes the sheet back with what became of each row beside it, ready to be mended and sent in again. It
// holds what the file held, so it is for whoever may work on the batch.
func (r *Reader) ResultWorkbook(ctx context.Context, actor Actor, id uuid.UUID, w io.Writer) error {
	return r.act(ctx, actor, "ResultWorkbook", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		b, err := a.readBatch(ctx, id, "")
		if err != nil {
			return err
		}
		if err := a.permitShown(policy.Write, policy.Intake, b.record(), b.Rows); err != nil {
			return err
		}
		if b.BatchView.Drive == nil {
			return a.absent("batch", id)
		}
		if withoutFile(b.BatchView.Kind) {
			return refused("batch_without_file")
		}
		name, data, err := a.fileOf(ctx, id)
		if err != nil {
			return err
		}
		file, problems := intake.OpenWith(name, data, Upload{Options: b.Options, Limits: intake.Limits{Rows: lastRow, Bytes: 1 << 40, Unpacked: 1 << 40}}.open())
		if file == nil {
			return invalid(problems)
		}
		table, problems := file.Table(b.Sheet)
		if table == nil {
			return invalid(problems)
		}
		rows, err := a.Query(ctx, `SELECT row_no, verdict, outcome, problems, coalesce(donor_number, '') FROM batch_rows WHERE batch_id = $1`, id)
		if err != nil {
			return err
		}
		results := make(map[int]intake.RowResult, b.Rows)
		var no int
		var result intake.RowResult
		if _, err := pgx.ForEachRow(rows, []any{&no, &result.Verdict, &result.Outcome, &result.Problems, &result.Donor}, func() error {
			results[no] = result
			result = intake.RowResult{}
			return nil
		}); err != nil {
			return err
		}
		var out bytes.Buffer // nothing is sent before it is whole
		err = intake.Annotate(&out, file, table, intake.RowResults{Batch: b.BatchView.Number, Mapping: b.Mapping, Of: func(row int) (intake.RowResult, bool) {
			result, ok := results[row]
			return result, ok
		}}, actor.Locale)
		if err != nil {
			return err
		}
		_, err = out.WriteTo(w)
		return err
	})
}

// ListBatches returns the batches of a drive, in the order of their upload.
func (r *Reader) ListBatches(ctx context.Context, actor Actor, drive uuid.UUID) ([]BatchView, error) {
	var out []BatchView
	err := r.act(ctx, actor, "ListBatches", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, drive)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Intake, d.record()); err != nil {
			return err
		}
		rows, err := a.Query(ctx, `SELECT id FROM batches WHERE drive_id = $1 ORDER BY id LIMIT 200`, drive)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		out = make([]BatchView, 0, len(ids))
		for _, id := range ids {
			b, err := a.readBatch(ctx, id, "")
			if err != nil {
				return err
			}
			out = append(out, b.BatchView)
		}
		return nil
	})
	return out, err
}

// Template writes the workbook that a drive's forms are entered into.
func (r *Reader) Template(ctx context.Context, actor Actor, drive uuid.UUID, w io.Writer) error {
	return r.act(ctx, actor, "Template", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, drive)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Drive, d.record()); err != nil {
			return err
		}
		var host string
		err = a.QueryRow(ctx, `SELECT coalesce(o.name, '') FROM drives d LEFT JOIN organisations o ON o.id = d.host_id WHERE d.id = $1`, drive).Scan(&host)
		if err != nil {
			return err
		}
		wording, _ := rules.CurrentWording("stemcell.registration", d.FirstDay)
		return intake.Template(w, intake.TemplateInfo{
			DriveNumber: d.Number, DriveName: d.Name, Host: host, BarcodeFrom: d.BarcodeFrom, BarcodeTo: d.BarcodeTo, FormVersion: wording.Version, FirstDay: d.FirstDay,
		}, actor.Locale)
	})
}
