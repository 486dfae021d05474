package registry_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/seal"
)

// written is volunteer n as somebody reads them from paper; changes make something of it otherwise.
func written(n int, changes ...intake.Texts) intake.Texts {
	out := intake.Texts{
		intake.Name: seal.NoteOf("张小明"), intake.DocumentNumber: seal.NoteOf(residentNumber(n)), intake.Phone: seal.NoteOf(fmt.Sprintf("138%08d", n)),
		intake.Contact1Name: seal.NoteOf("张大明"), intake.Contact1Phone: seal.NoteOf("13900000002"), intake.Contact2Name: seal.NoteOf("李小红"), intake.Contact2Phone: seal.NoteOf("13900000003"),
		intake.Programmes: seal.NoteOf("造血干细胞"), intake.HealthAnswered: seal.NoteOf("是"), intake.Signed: seal.NoteOf("是"), intake.SignedOn: seal.NoteOf(signed().String()),
	}
	for _, c := range changes {
		maps.Copy(out, c)
	}
	return out
}

func tube(n int) intake.Texts { return intake.Texts{intake.Barcode: seal.NoteOf(barcode(n))} }

// stack opens a stack of paper, and a second registrar beside the house's.
func (h *house) stack(drive uuid.UUID, expected int) (id uuid.UUID, second registry.Actor) {
	h.t.Helper()
	v, err := h.Store.OpenPaper(context.Background(), h.Registrar, drive, registry.PaperForm{Expected: expected})
	require.NoError(h.t, err)
	return v.Batch.ID, h.Staff(h.t, "second-registrar", h.County, policy.Registrar, "320106")
}

func (h *house) enter(by registry.Actor, stack uuid.UUID, texts intake.Texts) registry.PaperView {
	h.t.Helper()
	v, _, err := h.Store.EnterPaper(context.Background(), by, stack, registry.PaperEntry{Cells: texts})
	require.NoError(h.t, err)
	return v
}

// work does a batch's chunks until none is left.
func (h *house) work(id uuid.UUID) registry.BatchView {
	h.t.Helper()
	for range 100 {
		chunk, err := h.Store.ImportChunk(context.Background(), id)
		require.NoError(h.t, err)
		if chunk.Finished {
			break
		}
	}
	b, err := h.Store.ShowBatch(context.Background(), h.Registrar, id)
	require.NoError(h.t, err)
	return b
}

func TestAStackOfPaperIsEnteredHeldComparedClosedAndCommitted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	d := h.drive()
	stack, other := h.stack(d.ID, 4)

	h.enter(h.Registrar, stack, written(1, tube(1)))
	v := h.enter(h.Registrar, stack, written(2, tube(2)))
	require.Equal(t, 2, v.Entered)
	require.Equal(t, 2, v.Last[0].Row)
	require.Equal(t, "张*明", v.Last[0].Name.Display)
	require.Equal(t, barcode(2), v.Last[0].Barcode)

	// What breaks a rule, or was entered before, is not kept, and nothing of the stack changes.
	for field, changes := range map[string]intake.Texts{"phone": {intake.Phone: seal.NoteOf("12")}, "document_number": {intake.DocumentNumber: seal.NoteOf(residentNumber(1))}, "barcode": tube(1)} {
		_, _, err := h.Store.EnterPaper(ctx, h.Registrar, stack, registry.PaperEntry{Cells: written(3, tube(3), changes)})
		code := map[string]string{"phone": "R111", "document_number": "R110", "barcode": "R108"}[field]
		requireProblem(t, err, code, field)
	}
	_, _, err := h.Store.EnterPaper(ctx, h.Registrar, stack, registry.PaperEntry{Cells: written(3), Held: true})
	requireProblem(t, err, "R101", "note")
	_, _, err = h.Store.EnterPaper(ctx, h.Registrar, stack, registry.PaperEntry{Cells: written(3), Recruiter: h.Technician.Staff()})
	requireProblem(t, err, "R191", "recruiter")

	v, row, err := h.Store.EnterPaper(ctx, h.Registrar, stack, registry.PaperEntry{Cells: intake.Texts{intake.Name: seal.NoteOf("王")}, Held: true, Note: seal.NoteOf("证件号码看不清")})
	require.NoError(t, err)
	require.Equal(t, []int{2, 1, 3}, []int{v.Entered, v.Held, row.Row})
	require.Equal(t, "error", row.Verdict)
	require.Equal(t, "证件号码看不清", v.Last[0].Note)

	// Of two forms the server chooses one for a second entry: by somebody else, who does not see the first.
	v, err = h.Store.ChooseSecond(ctx, other, stack)
	require.NoError(t, err)
	require.Len(t, v.Second, 1)
	chosen := v.Second[0]
	again, err := h.Store.ChooseSecond(ctx, other, stack)
	require.NoError(t, err)
	require.Equal(t, v.Second, again.Second, "it is chosen once")
	_, err = h.Store.EnterSecond(ctx, h.Registrar, stack, chosen, registry.SecondEntry{Cells: written(chosen)})
	requireCode(t, err, registry.Refused, "second_by_same")
	_, err = h.Store.EnterSecond(ctx, other, stack, 3-chosen, registry.SecondEntry{Cells: written(3 - chosen)})
	requireCode(t, err, registry.Refused, "second_not_due")
	_, err = h.Store.ComparePaper(ctx, other, stack, chosen)
	requireCode(t, err, registry.Refused, "second_due")
	rows, err := h.Store.ListRows(ctx, other, stack, registry.RowFilter{WithCells: true})
	require.NoError(t, err)
	require.Empty(t, rows[chosen-1].Cells, "whoever enters it the second time has not seen it")
	require.NotEmpty(t, rows[2-chosen].Cells)
	for _, l := range again.Last {
		require.Equal(t, l.Row == chosen, l.Name == nil, l)
	}

	_, err = h.Store.ClosePaper(ctx, h.Registrar, stack, 0, registry.PaperClosing{Counted: 4})
	requireCode(t, err, registry.Refused, "control_total")
	_, err = h.Store.ClosePaper(ctx, h.Registrar, stack, 0, registry.PaperClosing{Counted: 3})
	requireCode(t, err, registry.Refused, "second_due")
	_, err = h.Store.StartCommit(ctx, h.Registrar, stack, 0, registry.CommitForm{})
	requireCode(t, err, registry.Refused, "paper_open")

	// A day in other words is the same; a name is not.
	day := signed()
	differences, err := h.Store.EnterSecond(ctx, other, stack, chosen, registry.SecondEntry{Cells: written(chosen, tube(chosen), intake.Texts{
		intake.Name: seal.NoteOf("张晓明"), intake.SignedOn: seal.NoteOf(fmt.Sprintf("%d年%d月%d日", day.Year(), day.Month(), day.Day())),
	})})
	require.NoError(t, err)
	require.Equal(t, []registry.PaperDifference{{Field: intake.Name, Label: "姓名", First: "张小明", Second: "张晓明"}}, differences)
	_, err = h.Store.ClosePaper(ctx, h.Registrar, stack, 0, registry.PaperClosing{Counted: 3})
	requireCode(t, err, registry.Refused, "entries_differ")
	_, err = h.Store.SettlePaper(ctx, other, stack, chosen, registry.SecondEntry{})
	requireProblem(t, err, "R101", "name")
	v, err = h.Store.SettlePaper(ctx, other, stack, chosen, registry.SecondEntry{Cells: intake.Texts{intake.Name: seal.NoteOf("张晓明")}})
	require.NoError(t, err)
	require.Equal(t, []int{1, 1, 0}, []int{v.Compared, v.Differed, len(v.Unclear)})

	v, err = h.Store.ClosePaper(ctx, h.Registrar, stack, 0, registry.PaperClosing{Counted: 4, Difference: "form_spoiled"})
	require.NoError(t, err)
	require.Equal(t, "form_spoiled", v.Batch.Difference)
	_, _, err = h.Store.EnterPaper(ctx, h.Registrar, stack, registry.PaperEntry{Cells: written(4)})
	requireCode(t, err, registry.Refused, "paper_closed")
	_, err = h.Store.StartCommit(ctx, h.Registrar, stack, 0, registry.CommitForm{})
	require.NoError(t, err)
	b := h.work(stack)
	require.Equal(t, map[string]int{"created": 2, "failed": 1}, b.Outcomes)
	require.Equal(t, 3, b.Sum.Uploaded)
	require.False(t, b.Sum.Agrees, "four were counted")
	require.Equal(t, []string{"paper"}, values[string](h, `SELECT DISTINCT channel FROM registrations WHERE batch_id = $1`, stack))
	names := map[string]bool{}
	for _, id := range values[uuid.UUID](h, `SELECT id FROM registrations WHERE batch_id = $1`, stack) {
		names[h.reveal(id).Name] = true
	}
	require.Equal(t, map[string]bool{"张小明": true, "张晓明": true}, names, "what was decided is what is in the register")

	// The held form is entered when it can be read, and committed by itself.
	_, err = h.Store.RetryBatch(ctx, h.Registrar, stack, 0)
	require.NoError(t, err)
	_, _, err = h.Store.EnterPaper(ctx, h.Registrar, stack, registry.PaperEntry{Row: 1, Cells: written(5)})
	requireCode(t, err, registry.Refused, "form_not_held")
	_, _, err = h.Store.EnterPaper(ctx, h.Registrar, stack, registry.PaperEntry{Row: 3, Cells: written(5, tube(5))})
	require.NoError(t, err)
	_, err = h.Store.StartCommit(ctx, h.Registrar, stack, 0, registry.CommitForm{})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"created": 3}, h.work(stack).Outcomes)

	// It is undone as a sheet is: not after somebody has looked a number of it up.
	_, err = h.Store.StartUndo(ctx, h.Registrar, stack, 0)
	requireCode(t, err, registry.Refused, "rows_moved_on")
	h.sql(`DELETE FROM reveals`)
	_, err = h.Store.StartUndo(ctx, h.Registrar, stack, 0)
	require.NoError(t, err)
	require.Equal(t, "undone", h.work(stack).Status)
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM persons`))
}

// Of any number of forms at least the share of the rules is entered twice, and none that is held.
func TestTheSampleOfAStackIsAsLargeAsTheRulesWant(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.drive()
	stack, other := h.stack(d.ID, 0)
	for n := range 23 {
		h.sql(`INSERT INTO paper_forms (batch_id, row_no, held, entered_by, entered_at) VALUES ($1, $2, $3, $4, now())`, stack, n+1, n%11 == 10, h.Registrar.Staff())
		v, err := h.Store.ChooseSecond(context.Background(), other, stack)
		require.NoError(t, err)
		entered := value[int](h, `SELECT count(*)::int FROM paper_forms WHERE batch_id = $1 AND NOT held`, stack)
		require.Equal(t, (entered+19)/20, len(v.Second), "of %d", entered)
		require.Equal(t, v.Needed, len(v.Second))
	}
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM paper_forms WHERE held AND chosen`))
}

func TestWhoEntersFormsAsksWhetherSomebodyIsKnownAndNotForEver(t *testing.T) {
	t.Parallel()
	c := newClock()
	h := newHouse(t, registry.Options{Now: c.now})
	ctx := context.Background()
	d := h.drive()
	h.sampled(d, 1)
	far := h.Staff(t, "faroffice", h.OtherTransplant, policy.Registrar, "110108")
	h.register(far, volunteer(2))
	ask := func(by registry.Actor, f registry.ProbeForm) registry.ProbeView {
		v, err := h.Store.Probe(ctx, by, d.ID, f)
		require.NoError(t, err)
		return v
	}
	require.Equal(t, registry.ProbeView{Person: "here", Tube: "taken", BirthDate: "2000-01-01", Sex: "male"}, ask(h.Registrar, registry.ProbeForm{DocumentNumber: seal.NumberOf(residentNumber(1)), Barcode: barcode(1)}))
	require.Equal(t, "elsewhere", ask(h.Registrar, registry.ProbeForm{DocumentNumber: seal.NumberOf(residentNumber(2))}).Person)
	require.Equal(t, "no", ask(h.Registrar, registry.ProbeForm{DocumentNumber: seal.NumberOf(residentNumber(3))}).Person)
	require.Equal(t, "unreadable", ask(h.Registrar, registry.ProbeForm{DocumentNumber: seal.NumberOf("123")}).Person)
	require.Equal(t, "free", ask(h.Registrar, registry.ProbeForm{Barcode: barcode(7)}).Tube)
	require.Equal(t, "outside", ask(h.Registrar, registry.ProbeForm{Barcode: "XX000001"}).Tube)
	_, err := h.Store.Probe(ctx, far, d.ID, registry.ProbeForm{Barcode: barcode(7)})
	requireCode(t, err, registry.NotFound, "drive_not_found")
	require.Equal(t, 4, value[int](h, `SELECT count(DISTINCT fields)::int FROM audit WHERE act = 'Probe' AND fields LIKE 'number#%'`), "each number that was asked about is in the audit, as a digest")

	h.sql(`UPDATE tries SET n = 240 WHERE kind = 'probe'`)
	_, err = h.Store.Probe(ctx, h.Registrar, d.ID, registry.ProbeForm{Barcode: barcode(7)})
	requireCode(t, err, registry.Locked, "tried_too_often")
	c.pass(time.Hour)
	ask(h.Registrar, registry.ProbeForm{Barcode: barcode(7)})
}

func TestOneProblemOfManyRowsIsMendedAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	d := h.drive()
	var sheet strings.Builder
	sheet.WriteString("姓名,证件号码,手机,性别,联系人1,联系人1电话,联系人2,联系人2电话,登记项目,健康征询,签名,签署日期,民族,学院\n")
	for i, sex := range []string{"男同学", "男同学", "男", "男同学", "爷们"} {
		health := map[bool]string{true: "是", false: ""}[i < 2]
		fmt.Fprintf(&sheet, "张小明,%s,138%08d,%s,张大明,13900000002,李小红,13900000003,造血干细胞,%s,是,%s,汉,\n", residentNumber(2*i+1), i+1, sex, health, signed())
	}
	b, err := h.Store.UploadBatch(ctx, h.Registrar, registry.Upload{Drive: d.ID, FileName: "a.csv", Data: []byte(sheet.String()), Expected: 5})
	require.NoError(t, err)
	groups, err := h.Store.ListGroups(ctx, h.Registrar, b.ID)
	require.NoError(t, err)
	find := func(code, field string) registry.ProblemGroup {
		i := slices.IndexFunc(groups, func(g registry.ProblemGroup) bool { return g.Code == code && g.Field == field })
		require.GreaterOrEqual(t, i, 0, "%s %s in %+v", code, field, groups)
		return groups[i]
	}
	sex := find("R114", "sex")
	require.Equal(t, registry.ProblemGroup{Code: "R114", Field: "sex", Label: "性别", Is: sex.Is, Mend: sex.Mend, Count: 4, Rows: "2-3, 5-6", Stops: true, Fix: "words", Values: []string{"male", "female"},
		Words: []registry.WordOfGroup{{Text: "男同学", Count: 3}, {Text: "爷们", Count: 1}}}, sex)
	health := find("R122", "health_answered")
	require.Equal(t, []any{"4-6", "value", true}, []any{health.Rows, health.Fix, health.Stops})
	require.Equal(t, map[string]int{"error": 5}, b.Verdicts)

	mend := func(f registry.GroupFix) (registry.BatchView, error) {
		return h.Store.MendGroup(ctx, h.Registrar, b.ID, 0, f)
	}
	_, err = mend(registry.GroupFix{Code: "R114", Field: "sex", Words: map[string]string{"男同学": "dragon"}})
	requireProblem(t, err, "R114", "words")
	_, err = mend(registry.GroupFix{Code: "R111", Field: "phone", Value: seal.NoteOf("13800000001")})
	requireCode(t, err, registry.Refused, "group_needs_looks")
	b, err = mend(registry.GroupFix{Code: "R114", Field: "sex", Words: map[string]string{"男同学": "male"}})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"error": 3, "ready": 2}, b.Verdicts)
	groups, err = h.Store.ListGroups(ctx, h.Registrar, b.ID)
	require.NoError(t, err)
	require.Equal(t, []registry.WordOfGroup{{Text: "爷们", Count: 1}}, find("R114", "sex").Words)
	_, err = mend(registry.GroupFix{Code: "R114", Field: "sex", Words: map[string]string{"爷们": "male"}})
	require.NoError(t, err)
	b, err = mend(registry.GroupFix{Code: "R122", Field: "health_answered", Value: seal.NoteOf("yes")})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"ready": 5}, b.Verdicts)

	_, err = h.Store.StartCommit(ctx, h.Registrar, b.ID, 0, registry.CommitForm{Mode: "all_or_nothing"})
	require.NoError(t, err)
	b = h.work(b.ID)
	require.Equal(t, registry.Reconciliation{Uploaded: 5, Created: 5, Expected: b.ExpectedForms, Agrees: true}, b.Sum)
	lines, err := h.Store.ListActivity(ctx, h.Registrar, b.ID)
	require.NoError(t, err)
	var told []string
	for _, l := range lines {
		told = append(told, l.Code)
		require.NotEmpty(t, l.Text)
		require.Equal(t, "Test registrar", l.By)
	}
	require.Equal(t, []string{"drive.batch_committed", "drive.batch_started", "drive.batch_mended", "drive.batch_mended", "drive.batch_mended", "drive.batch_uploaded"}, told)
}

func TestAFileIsLookedIntoInAnotherEncodingAndChangesNothing(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 100)
	s := sheetOf(t, "LO26", 1, 6, nil)
	data, err := s.CSV(intake.GB18030)
	require.NoError(t, err)
	d := o.plan(t, s)
	b := o.upload(t, d.ID, "forms.csv", data)
	ctx := context.Background()
	look, err := o.Store.LookIntoBatch(ctx, o.Registrar, b.ID, registry.ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, []any{"GB18030", ",", 5, 1}, []any{look.Encoding, look.Delimiter, len(look.Rows), len(look.Sheets)})
	i := slices.IndexFunc(look.Columns, func(c registry.ColumnLook) bool { return c.Field == intake.Name })
	require.Equal(t, []string{s.Rows[0][look.Columns[i].Column], s.Rows[1][look.Columns[i].Column]}, look.Columns[i].Samples)
	wrong, err := o.Store.LookIntoBatch(ctx, o.Registrar, b.ID, registry.ReadOptions{Encoding: intake.UTF8})
	require.NoError(t, err)
	require.Equal(t, "UTF-8", wrong.Encoding)
	require.Contains(t, codesOf(wrong.Problems), "F003", "it reads as nonsense")
	require.Equal(t, b.Version, o.show(t, b.ID).Version)
	_, err = o.Store.LookIntoBatch(ctx, o.Auditor, b.ID, registry.ReadOptions{})
	requireCode(t, err, registry.NotFound, "batch_not_found")
	// A stack of paper has no file.
	v, err := o.Store.OpenPaper(ctx, o.Registrar, d.ID, registry.PaperForm{})
	require.NoError(t, err)
	_, err = o.Store.LookIntoBatch(ctx, o.Registrar, v.Batch.ID, registry.ReadOptions{})
	requireCode(t, err, registry.Refused, "batch_without_file")
}

// What a cover says can be changed when the file is there, and is then said of every row.
func TestWhatTheCoverSaysIsSaidAgainOfEveryRow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	d := h.drive()
	sheet := fmt.Sprintf("姓名,证件号码,手机,联系人1,联系人1电话,联系人2,联系人2电话,登记项目,健康征询,签署日期\n张小明,%s,13800000001,张大明,13900000002,李小红,13900000003,造血干细胞,是,%s\n", residentNumber(1), signed())
	b, err := h.Store.UploadBatch(ctx, h.Registrar, registry.Upload{Drive: d.ID, FileName: "a.csv", Data: []byte(sheet)})
	require.NoError(t, err)
	require.Equal(t, "created", b.Status, "nothing says that the forms are signed")
	expected := 7
	b, err = h.Store.CheckBatch(ctx, h.Registrar, b.ID, b.Version, registry.ReadOptions{Defaults: &intake.Defaults{Signed: true}, Expected: &expected}, intake.Limits{})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"ready": 1}, b.Verdicts)
	require.Equal(t, 7, *b.ExpectedForms)
	require.False(t, b.Sum.Agrees)
}

func TestRowsAreToldInRangesThatNameEachRowOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfDistinct(rapid.IntRange(1, 60), rapid.ID[int]).Draw(t, "rows")
		slices.Sort(rows)
		var back []int
		for part := range strings.SplitSeq(registry.RowRanges(rows, 1000), ", ") {
			var from, to int
			if n, _ := fmt.Sscanf(part, "%d-%d", &from, &to); n == 1 {
				to = from
			}
			for i := from; i <= to && i > 0; i++ {
				back = append(back, i)
			}
		}
		require.Equal(t, append([]int(nil), rows...), back)
	})
	require.Equal(t, "3-6, 9", registry.RowRanges([]int{3, 4, 5, 6, 9}, 5))
	require.Equal(t, "1, 3, …", registry.RowRanges([]int{1, 3, 5}, 2))
}

func TestABoardCountsFormsTubesAndMembers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	d := h.drive()
	_, err := h.Store.SetTeam(ctx, h.Registrar, d.ID, d.Version, registry.TeamForm{Team: []forms.TeamMember{{Staff: h.Coordinator.Staff(), Duty: "volunteer"}}})
	require.NoError(t, err)
	h.sampled(d, 1, 2)
	stack, other := h.stack(d.ID, 3)
	_, _, err = h.Store.EnterPaper(ctx, other, stack, registry.PaperEntry{Cells: written(3, tube(3)), Recruiter: h.Coordinator.Staff()})
	require.NoError(t, err)
	_, _, err = h.Store.EnterPaper(ctx, other, stack, registry.PaperEntry{Held: true, Note: seal.NoteOf("看不清")})
	require.NoError(t, err)
	_, err = h.Store.SendTubes(ctx, h.Registrar, d.ID, registry.SendForm{To: h.Laboratory.ID, Barcodes: []string{barcode(1)}})
	require.NoError(t, err)
	b, err := h.Store.Board(ctx, h.Registrar, d.ID)
	require.NoError(t, err)
	require.Equal(t, []registry.BoardSource{{Source: "api", Forms: 2, Registered: 2}, {Source: "paper", Forms: 2, Waiting: 1, Errors: 1}}, b.Sources)
	require.Equal(t, registry.BoardTubes{Drawn: 2, Here: 1, Sent: 1}, b.Tubes)
	require.Equal(t, []registry.BoardMember{{Staff: h.Registrar.Staff(), Name: "Test registrar", Forms: 2}}, b.Members)
	require.Equal(t, []registry.BoardMember{{Staff: h.Coordinator.Staff(), Name: "Test coordinator", Forms: 1}}, b.Recruits)
	require.Equal(t, registry.BoardControl{Expected: 3, Entered: 2, Difference: -1}, b.Control)
	require.Len(t, b.Hours, 1)
	require.Equal(t, calendar.Of(time.Now(), registry.Zone).String(), b.Hours[0].Hour[:10])
	_, err = h.Store.Board(ctx, h.TransplantDoctor, d.ID)
	requireCode(t, err, registry.NotFound, "drive_not_found")
}
