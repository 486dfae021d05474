package web

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// importPages are the steps of an import. Where it stands is in the register: a page is a view of it, and can be closed and opened again.
func (s *Site) importPages() {
	s.page("GET /drives/{id}/upload", s.uploadPage)
	s.act("POST /drives/{id}/upload", s.upload, uploads(intake.DefaultLimits().Bytes+formBytes))
	s.page("GET /batches/{id}", s.batch)
	s.page("GET /batches/{id}/read", s.readBatch)
	s.page("GET /batches/{id}/columns", s.columns)
	s.act("POST /batches/{id}/columns", s.chooseColumns)
	s.page("GET /batches/{id}/check", s.checkBatch)
	s.act("POST /batches/{id}/groups", s.mendGroup)
	s.page("GET /batches/{id}/rows/{row}", s.batchRow)
	s.act("POST /batches/{id}/rows/{row}", s.mendRow)
	s.page("GET /batches/{id}/commit", s.commitPage)
	s.act("POST /batches/{id}/commit", s.commitBatch)
	s.act("POST /batches/{id}/cancel", s.steerBatch(s.store.CancelBatch, "said.batch_stopped"))
	s.act("POST /batches/{id}/retry", s.steerBatch(s.store.RetryBatch, "said.batch_reopened"))
	s.page("GET /batches/{id}/result", s.result)
	s.page("GET /batches/{id}/result.xlsx", s.resultWorkbook)
	s.act("POST /batches/{id}/undo", s.undoBatch)
}

// batchPath is where a batch stands.
func batchPath(b registry.BatchView) string {
	at := "/batches/" + b.ID.String()
	switch {
	case b.Kind == "paper" && b.Status == "checked" && b.ClosedAt == nil:
		return "/paper/" + b.ID.String()
	case b.Status == "created":
		return at + "/columns"
	case b.Status == "checked":
		return at + "/check"
	default:
		return at + "/result"
	}
}

func (s *Site) showBatch(v *Visit) (registry.BatchView, error) {
	id, err := v.ID("id")
	if err != nil {
		return registry.BatchView{}, err
	}
	return s.store.ShowBatch(v, v.Actor, id)
}

func (s *Site) batch(v *Visit) (Answer, error) {
	b, err := s.showBatch(v)
	if err != nil {
		return nil, err
	}
	return v.To(batchPath(b), v.Query("said")), nil
}

func (s *Site) uploadPage(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	if _, err := s.store.ShowLink(v, v.Actor, id); err != nil { // who may bring forms in
		return nil, err
	}
	d, err := s.store.ShowDrive(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	return v.Page("page.upload", uploadPage(v, d, nil)), nil
}

// mostUploaded is a byte more than a file may have, so that the register says what is wrong.
const mostUploaded = 20<<20 + 1

func (s *Site) upload(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	d, err := s.store.ShowDrive(v, v.Actor, id)
	if err != nil {
		return nil, err
	}
	u := registry.Upload{Drive: id, Expected: int(v.FieldInt("expected")), Defaults: v.cover()}
	file, name, err := v.Upload("file")
	if err != nil {
		return nil, err
	}
	if file != nil {
		defer file.Close()
		u.FileName = name
		if u.Data, err = io.ReadAll(io.LimitReader(file, mostUploaded)); err != nil {
			return nil, err
		}
	}
	b, err := s.store.UploadBatch(v, v.Actor, u)
	if problems, wrong := v.problemsOf(err); wrong {
		return v.Page("page.upload", uploadPage(v, d, problems)), nil
	}
	if err != nil {
		return nil, err
	}
	if b.Again {
		return v.To(batchPath(b), "said.batch_again"), nil
	}
	if b.Status == "checked" && len(b.FileProblems) == 0 {
		return v.To("/batches/"+b.ID.String()+"/check", "said.batch_uploaded"), nil
	}
	return v.To("/batches/"+b.ID.String()+"/columns", "said.batch_uploaded"), nil
}

// cover reads what the cover says of all rows.
func (v *Visit) cover() intake.Defaults {
	d := intake.Defaults{Signed: v.Field("signed") != "", HealthAnswered: v.Field("health_answered") != ""}
	for _, p := range v.Fields("programmes") {
		d.Programmes = append(d.Programmes, rules.Programme(p))
	}
	if day, err := calendar.Parse(v.Field("signed_on")); err == nil {
		d.SignedOn = day
	}
	return d
}

// readOptions are what the address or the form says about how a file is read.
func readOptions(get func(string) string) registry.ReadOptions {
	return registry.ReadOptions{Encoding: intake.Encoding(get("encoding")), Delimiter: get("delimiter"), Sheet: get("sheet")}
}

func (s *Site) look(v *Visit) (registry.BatchView, registry.FileLook, error) {
	b, err := s.showBatch(v)
	if err != nil {
		return b, registry.FileLook{}, err
	}
	look, err := s.store.LookIntoBatch(v, v.Actor, b.ID, readOptions(v.Query))
	return b, look, err
}

func (s *Site) readBatch(v *Visit) (Answer, error) {
	b, look, err := s.look(v)
	if err != nil {
		return nil, err
	}
	return v.Page("page.read", readPage(v, b, look)), nil
}

func (s *Site) columns(v *Visit) (Answer, error) {
	b, look, err := s.look(v)
	if err != nil {
		return nil, err
	}
	return v.Page("page.columns", columnsPage(v, b, look)), nil
}

func (s *Site) chooseColumns(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	o := readOptions(v.Field)
	o.Mapping = &intake.Mapping{Columns: []intake.Column{}}
	for _, column := range v.Fields("column") {
		n, err := strconv.Atoi(column)
		if err != nil || n < 0 || n > 1000 {
			return nil, &registry.Error{Kind: registry.Refused, Code: "request_invalid"}
		}
		o.Mapping.Columns = append(o.Mapping.Columns, intake.Column{Column: n, Heading: v.Field("heading-" + column), Field: intake.Field(v.Field("field-" + column))})
	}
	if v.Field("cover") != "" {
		d := v.cover()
		o.Defaults = &d
	}
	b, err := s.store.CheckBatch(v, v.Actor, id, v.FieldInt("version"), o, intake.Limits{})
	if err != nil {
		return nil, err
	}
	if b.Status == "checked" {
		return v.To("/batches/"+id.String()+"/check", "said.batch_checked"), nil
	}
	return v.To("/batches/"+id.String()+"/columns", ""), nil
}

// batchCheck is what the page of the check shows.
type batchCheck struct {
	registry.BatchView
	groups  []registry.ProblemGroup
	rows    []registry.BatchRowView
	columns []intake.Column // that are shown
	next    string
}

const rowsAPage = 50

func (s *Site) checkBatch(v *Visit) (Answer, error) {
	b, err := s.showBatch(v)
	if err != nil {
		return nil, err
	}
	c := batchCheck{BatchView: b}
	if c.groups, err = s.store.ListGroups(v, v.Actor, b.ID); err != nil {
		return nil, err
	}
	c.rows, err = s.store.ListRows(v, v.Actor, b.ID, registry.RowFilter{
		Verdict: v.Query("verdict"), Outcome: v.Query("outcome"), Code: v.Query("code"), Field: v.Query("field"), AfterRow: v.QueryInt("after"), Limit: rowsAPage, WithCells: true,
	})
	if err != nil {
		return nil, err
	}
	if len(c.rows) == rowsAPage {
		c.next = strconv.Itoa(c.rows[rowsAPage-1].Row)
	}
	c.columns = shownColumns(b)
	return v.Page("page.check", checkPage(v, c)), nil
}

// shownColumns are the columns that hold something for the register.
func shownColumns(b registry.BatchView) (out []intake.Column) {
	for _, c := range b.Mapping.Columns {
		if c.Field != "" && c.Field != intake.Ignore {
			out = append(out, c)
		}
	}
	return out
}

// cellOf is what a row has in a column.
func cellOf(r registry.BatchRowView, column int) string {
	if column >= 0 && column < len(r.Cells) {
		return r.Cells[column]
	}
	return ""
}

// wrongIn tells whether a problem of a row is about a column's field.
func wrongIn(r registry.BatchRowView, f intake.Field) bool {
	for _, p := range r.Problems {
		if p.Field == f.Path() && p.Code[0] != 'N' {
			return true
		}
	}
	return false
}

func (s *Site) mendGroup(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	f := registry.GroupFix{Code: v.Field("code"), Field: v.Field("field"), Value: seal.NoteOf(v.Field("value")), Words: map[string]string{}}
	values := v.Fields("means")
	for i, word := range v.Fields("word") {
		if i < len(values) {
			f.Words[word] = values[i]
		}
	}
	if v.Field("tick") != "" {
		ticked := v.Field("tick") == "true"
		f.Ticked = &ticked
	}
	if known := v.Field("known_action"); known != "" {
		f.KnownAction = &known
	}
	if _, err := s.store.MendGroup(v, v.Actor, id, v.FieldInt("version"), f); err != nil {
		return nil, err
	}
	return v.To("/batches/"+id.String()+"/check", "said.group_mended"), nil
}

// rowOf reads one row of a batch.
func (s *Site) rowOf(v *Visit) (registry.BatchView, registry.BatchRowView, error) {
	b, err := s.showBatch(v)
	if err != nil {
		return b, registry.BatchRowView{}, err
	}
	no, err := strconv.Atoi(v.Path("row"))
	if err != nil {
		return b, registry.BatchRowView{}, &registry.Error{Kind: registry.NotFound, Code: "row_not_found"}
	}
	rows, err := s.store.ListRows(v, v.Actor, b.ID, registry.RowFilter{AfterRow: no - 1, Limit: 1, WithCells: true})
	if err != nil {
		return b, registry.BatchRowView{}, err
	}
	if len(rows) == 0 || rows[0].Row != no {
		return b, registry.BatchRowView{}, &registry.Error{Kind: registry.NotFound, Code: "row_not_found"}
	}
	return b, rows[0], nil
}

func (s *Site) batchRow(v *Visit) (Answer, error) {
	b, row, err := s.rowOf(v)
	if err != nil {
		return nil, err
	}
	if v.Partial() {
		return v.Part(rowInPlace(v, b, row)), nil
	}
	return v.Page("page.row", rowPage(v, b, row), "Row", row.Row), nil
}

func (s *Site) mendRow(v *Visit) (Answer, error) {
	b, row, err := s.rowOf(v)
	if err != nil {
		return nil, err
	}
	patch := registry.RowPatch{Cells: map[int]string{}}
	for _, c := range shownColumns(b) {
		name := "cell-" + strconv.Itoa(c.Column)
		if _, sent := v.form[name]; sent && v.Field(name) != cellOf(row, c.Column) {
			patch.Cells[c.Column] = v.Field(name)
		}
	}
	ticked := v.Field("ticked") != ""
	patch.Ticked = &ticked
	row, err = s.store.PatchRow(v, v.Actor, b.ID, row.Row, patch)
	if err != nil {
		return nil, err
	}
	if v.Partial() {
		return v.Part(rowLine(v, b, shownColumns(b), row)), nil
	}
	return v.To("/batches/"+b.ID.String()+"/check", "said.row_mended"), nil
}

func (s *Site) commitPage(v *Visit) (Answer, error) {
	b, err := s.showBatch(v)
	if err != nil {
		return nil, err
	}
	return v.Page("page.commit", commitPage(v, b)), nil
}

func (s *Site) commitBatch(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	if _, err := s.store.StartCommit(v, v.Actor, id, v.FieldInt("version"), registry.CommitForm{Mode: v.Field("mode"), AcceptWarnings: v.Field("accept_warnings") != ""}); err != nil {
		return nil, err
	}
	return v.To("/batches/"+id.String()+"/result", "said.batch_started"), nil
}

func (s *Site) steerBatch(do func(c context.Context, actor registry.Actor, id uuid.UUID, version int64) (registry.BatchView, error), said string) func(*Visit) (Answer, error) {
	return func(v *Visit) (Answer, error) {
		id, err := v.ID("id")
		if err != nil {
			return nil, err
		}
		b, err := do(v, v.Actor, id, v.FieldInt("version"))
		if err != nil {
			return nil, err
		}
		return v.To(batchPath(b), said), nil
	}
}

func (s *Site) result(v *Visit) (Answer, error) {
	b, err := s.showBatch(v)
	if err != nil {
		return nil, err
	}
	lines, err := s.store.ListActivity(v, v.Actor, b.ID)
	if err != nil {
		return nil, err
	}
	return v.Page("page.result", resultPage(v, b, lines)), nil
}

func (s *Site) resultWorkbook(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := s.store.ResultWorkbook(v, v.Actor, id, &out); err != nil {
		return nil, err
	}
	return v.File("result.xlsx", workbookType, func(w io.Writer) error { _, err := out.WriteTo(w); return err }), nil
}

// undoBatch takes a batch out again. Whoever does it types its number: a wrong click must not do it.
func (s *Site) undoBatch(v *Visit) (Answer, error) {
	b, err := s.showBatch(v)
	if err != nil {
		return nil, err
	}
	if v.Field("number") != b.Number {
		// Who may not do it is told that, and not how it is done.
		lines, err := s.store.ListActivity(v, v.Actor, b.ID)
		if err != nil {
			return nil, err
		}
		v.refused = true
		return v.Page("page.result", resultPage(v, b, lines)), nil
	}
	if _, err := s.store.StartUndo(v, v.Actor, b.ID, v.FieldInt("version")); err != nil {
		return nil, err
	}
	return v.To("/batches/"+b.ID.String()+"/result", "said.undo_started"), nil
}

// importStep is one of the seven steps, with whether it is done, here, or to come.
type importStep struct{ says, path, state string }

// importStepsOf are the steps of a batch; here is the one that is shown.
func importStepsOf(v *Visit, b registry.BatchView, here string) []importStep {
	at := "/batches/" + b.ID.String()
	all := []importStep{{says: "cover"}, {says: "file"}, {says: "read", path: at + "/read"}, {says: "columns", path: at + "/columns"}, {says: "check", path: at + "/check"}, {says: "commit", path: at + "/commit"}, {says: "result", path: at + "/result"}}
	if b.Kind == "paper" {
		all = all[4:]
	}
	state := "done"
	for i := range all {
		if all[i].says == here {
			state = "here"
		}
		all[i].state = state
		if state == "here" {
			state = ""
		}
		switch { // what cannot be gone to now is no link
		case b.ID == uuid.Nil:
			all[i].path = ""
		case b.Status != "created" && b.Status != "checked" && all[i].says != "result" && all[i].says != "check":
			all[i].path = ""
		case b.Status == "created" && (all[i].says == "check" || all[i].says == "commit" || all[i].says == "result"):
			all[i].path = ""
		}
		all[i].says = v.Say("import.step_" + all[i].says)
	}
	return all
}

// verdictsOf are the verdicts in the order in which somebody works on them.
var verdictsOf = []string{"error", "duplicate", "warning", "known", "ready"}

func problemTone(p registry.ProblemGroup) string {
	switch {
	case p.Stops:
		return "bad"
	case len(p.Code) > 0 && p.Code[0] == 'W':
		return "fair"
	}
	return "plain"
}

func minutesLeft(b registry.BatchView) int {
	if b.SecondsLeft == nil {
		return 0
	}
	return (*b.SecondsLeft + 59) / 60
}

// optionsOf keeps what was chosen about a file in the address of the next step.
func optionsOf(look registry.FileLook) string {
	q := url.Values{}
	if len(look.Sheets) > 1 {
		q.Set("sheet", look.Sheet)
	}
	if len(look.Encodings) > 0 {
		q.Set("encoding", look.Encoding)
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// followed is when a batch's result is asked for anew: while it is worked on, and whenever something moved.
func followed(b registry.BatchView) string {
	if b.Status == "committing" || b.Status == "undoing" {
		return "every 2s, live from:body"
	}
	return "live from:body"
}

// wordOf is a value of an enumerated field in words.
func wordOf(v *Visit, path, value string) string {
	for _, f := range intake.Fields() {
		if f.Path() == path && slices.Contains(f.Values(), value) {
			return f.Word(value, v.Locale)
		}
	}
	return value
}
