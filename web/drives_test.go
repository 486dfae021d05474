package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/seal"
)

// driveSteps are the pages and acts of drives, imports, paper and volunteers' own forms.
func (w *walked) driveSteps() map[string]step {
	ctx := context.Background()
	today := calendar.Of(w.clock(), registry.Zone).String()
	batch, err := w.Store.UploadBatch(ctx, w.Registrar, registry.Upload{Drive: w.drive, FileName: "a.csv", Data: w.sheet(30)})
	require.NoError(w.t, err)
	stack, err := w.Store.OpenPaper(ctx, w.Registrar, w.drive, registry.PaperForm{})
	require.NoError(w.t, err)
	_, _, err = w.Store.EnterPaper(ctx, w.Registrar, stack.Batch.ID, registry.PaperEntry{Cells: w.typed(40)})
	require.NoError(w.t, err)
	second := w.staff("compares", w.County, policy.Registrar, "320106")
	_, err = w.Store.ChooseSecond(ctx, second, stack.Batch.ID)
	require.NoError(w.t, err)
	other := w.typed(40)
	other[intake.Name] = seal.NoteOf("张样岸")
	_, err = w.Store.EnterSecond(ctx, second, stack.Batch.ID, 1, registry.SecondEntry{Cells: other})
	require.NoError(w.t, err)
	link, err := w.Store.SwitchLink(ctx, w.Registrar, w.drive, registry.LinkForm{Open: true})
	require.NoError(w.t, err)
	who, _, err := w.Store.Volunteer(ctx, link.Token, lang.Chinese, "")
	require.NoError(w.t, err)
	_, err = w.Store.SaveOwn(ctx, who, "", intake.Texts{intake.Name: seal.NoteOf("张样安")}, false)
	require.NoError(w.t, err)
	own, err := w.Store.ListOwnForms(ctx, w.Registrar, w.drive, "", 1)
	require.NoError(w.t, err)

	form := func(pairs ...string) url.Values {
		out := url.Values{}
		for i := 0; i+1 < len(pairs); i += 2 {
			out.Set(pairs[i], pairs[i+1])
		}
		return out
	}
	of := func(id uuid.UUID, class policy.Class, action policy.Action, path string, f url.Values) step {
		return step{class: class, action: action, purpose: policy.ForEnrolment, rec: w.atDrive, path: strings.Replace(path, "{id}", id.String(), 1), form: f}
	}
	b, p := batch.ID, stack.Batch.ID
	out := map[string]step{
		"GET /drives":              {class: policy.Drive, action: policy.Read, purpose: policy.ForEnrolment, list: true, path: "/drives"},
		"GET /drives/new":          {class: policy.Drive, action: policy.Write, purpose: policy.ForEnrolment, list: true, path: "/drives/new"},
		"POST /drives":             {class: policy.Drive, action: policy.Write, purpose: policy.ForEnrolment, rec: w.here, path: "/drives", form: form("name", "再一次", "place", "操场", "region", "320106", "first_day", today, "last_day", today, "target", "10")},
		"POST /drives/{id}/upload": of(w.drive, policy.Intake, policy.Write, "/drives/{id}/upload", nil),
		"GET /f/{token}":           {public: true}, "POST /f/{token}": {public: true},
	}
	upload := out["POST /drives/{id}/upload"]
	upload.anew = func(s *step) { w.met++; s.file = w.sheet(w.met) }
	out["POST /drives/{id}/upload"] = upload
	for _, s := range []struct {
		pattern string
		of      uuid.UUID
		class   policy.Class
		action  policy.Action
		form    url.Values
	}{
		{"GET /drives/{id}", w.drive, policy.Drive, policy.Read, nil},
		{"GET /drives/{id}/template.xlsx", w.drive, policy.Drive, policy.Read, nil},
		{"POST /drives/{id}/own-form", w.drive, policy.Intake, policy.Write, form("open", "true")},
		{"GET /drives/{id}/upload", w.drive, policy.Intake, policy.Write, nil},
		{"GET /drives/{id}/paper", w.drive, policy.Intake, policy.Read, nil},
		{"POST /drives/{id}/paper", w.drive, policy.Intake, policy.Write, nil},
		{"POST /drives/{id}/probe", w.drive, policy.Intake, policy.Write, form("document_number", residentNumber(1))},
		{"GET /drives/{id}/check", w.drive, policy.Intake, policy.Read, nil},
		{"GET /batches/{id}", b, policy.Intake, policy.Read, nil},
		{"GET /batches/{id}/read", b, policy.Intake, policy.Write, nil},
		{"GET /batches/{id}/columns", b, policy.Intake, policy.Write, nil},
		{"POST /batches/{id}/columns", b, policy.Intake, policy.Write, form("version", "9999")},
		{"GET /batches/{id}/check", b, policy.Intake, policy.Read, nil},
		{"POST /batches/{id}/groups", b, policy.Intake, policy.Write, form("code", "W205", "field", "name", "tick", "true")},
		{"GET /batches/{id}/rows/2", b, policy.Intake, policy.Read, nil},
		{"POST /batches/{id}/rows/2", b, policy.Intake, policy.Write, nil},
		{"GET /batches/{id}/commit", b, policy.Intake, policy.Read, nil},
		{"POST /batches/{id}/commit", b, policy.Intake, policy.Decide, form("version", "9999")},
		{"POST /batches/{id}/cancel", b, policy.Intake, policy.Decide, form("version", "9999")},
		{"POST /batches/{id}/retry", b, policy.Intake, policy.Decide, nil},
		{"GET /batches/{id}/result", b, policy.Intake, policy.Read, nil},
		{"GET /batches/{id}/result.xlsx", b, policy.Intake, policy.Write, nil},
		{"POST /batches/{id}/undo", b, policy.Intake, policy.Decide, form("number", batch.Number)},
		{"GET /paper/{id}", p, policy.Intake, policy.Read, nil},
		{"POST /paper/{id}", p, policy.Intake, policy.Write, form("held", "true", "note", "看不清")},
		{"POST /paper/{id}/second", p, policy.Intake, policy.Write, nil},
		{"GET /paper/{id}/second/1", p, policy.Intake, policy.Read, nil},
		{"POST /paper/{id}/second/1", p, policy.Intake, policy.Write, nil},
		{"GET /paper/{id}/settle/1", p, policy.Intake, policy.Write, nil},
		{"POST /paper/{id}/settle/1", p, policy.Intake, policy.Decide, form("right-phone", "first")},
		{"POST /paper/{id}/close", p, policy.Intake, policy.Decide, form("counted", "1")},
		{"POST /paper/{id}/reopen", p, policy.Intake, policy.Decide, nil},
		{"GET /own-forms/{id}", own[0].ID, policy.Intake, policy.Write, nil},
		{"POST /own-forms/{id}/take", own[0].ID, policy.Intake, policy.Write, form("seen", "resident_id")},
		{"POST /own-forms/{id}/return", own[0].ID, policy.Intake, policy.Write, form("reason", "incomplete")},
	} {
		_, path, _ := strings.Cut(s.pattern, " ")
		pattern := s.pattern
		for _, part := range []string{"/rows/2", "/second/1", "/settle/1"} {
			if strings.HasSuffix(pattern, part) {
				pattern = strings.TrimSuffix(pattern, part[len(part)-1:]) + "{row}"
			}
		}
		out[pattern] = of(s.of, s.class, s.action, path, s.form)
	}
	return out
}

// sheet is a CSV file of people, each sound but for what faults say of them by their place.
func (p *pages) sheet(numbers ...int) []byte {
	var b strings.Builder
	b.WriteString("姓名,证件号码,手机,性别,联系人1,联系人1电话,联系人2,联系人2电话,登记项目,健康征询,签名,签署日期\n")
	for _, n := range numbers {
		sex := "男"
		if n%2 == 0 {
			sex = "女"
		}
		if n > 900 {
			sex = "男同学"
		}
		fmt.Fprintf(&b, "张样安,%s,138%08d,%s,张样宁,13900000001,李例晴,13900000002,造血干细胞,是,是,%s\n", residentNumber(n%1000), n, sex, calendar.Of(p.clock(), registry.Zone))
	}
	return []byte(b.String())
}

// typed is volunteer n as they are typed in.
func (p *pages) typed(n int) intake.Texts {
	out := intake.Texts{}
	for f, text := range map[intake.Field]string{
		intake.Name: "张样安", intake.DocumentNumber: residentNumber(n), intake.Phone: fmt.Sprintf("138%08d", n), intake.Contact1Name: "张样宁", intake.Contact1Phone: "13900000001",
		intake.Contact2Name: "李例晴", intake.Contact2Phone: "13900000002", intake.Programmes: "stemcell", intake.HealthAnswered: "yes", intake.Signed: "yes",
		intake.SignedOn: calendar.Of(p.clock(), registry.Zone).String(),
	} {
		out[f] = seal.NoteOf(text)
	}
	return out
}

// pairsOf are texts as the fields of a form, with some of them otherwise.
func pairsOf(texts intake.Texts, otherwise ...string) []string {
	var out []string
	for f, text := range texts {
		if !slices.Contains(otherwise, string(f)) {
			out = append(out, string(f), text.Reveal())
		}
	}
	return append(out, otherwise...)
}

// work does a batch's chunks, as its workflow does.
func (p *pages) work(id uuid.UUID) {
	p.t.Helper()
	for range 100 {
		chunk, err := p.Store.ImportChunk(context.Background(), id)
		require.NoError(p.t, err)
		if chunk.Finished {
			return
		}
	}
}

func TestADriveIsPlanned(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	page := p.get(p.Registrar, "/drives/new").is(http.StatusOK)
	today := calendar.Of(p.clock(), registry.Zone)
	wrong := p.post(p.Registrar, page, "/drives", "name", "秋季采样", "place", "体育馆", "region", "320106", "first_day", today.String(), "last_day", today.AddDays(-1).String())
	wrong.is(http.StatusUnprocessableEntity)
	require.Contains(t, wrong.words(), "最后一天早于第一天")
	planned := p.post(p.Registrar, page, "/drives", "name", "秋季采样", "place", "体育馆", "region", "320106", "first_day", today.String(), "last_day", today.String(), "target", "50").is(http.StatusOK)
	require.Contains(t, planned.words(), "0 / 50")
	require.Contains(t, p.get(p.Registrar, "/drives").words(), "秋季采样")
	p.get(p.Auditor, "/drives/new").is(http.StatusForbidden)
}

// The whole way: uploaded, its words given a meaning, a row mended, committed, held against the cover, undone by its number.
func TestASheetIsImportedPageByPage(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	d := p.planDrive("采样日")
	action := "/drives/" + d.ID.String() + "/upload"
	page := p.get(p.Registrar, action).is(http.StatusOK)
	check := p.upload(p.Registrar, page, action, "forms.csv", p.sheet(1, 3, 905, 907), "expected", "4").is(http.StatusOK)
	require.Contains(t, check.words(), "男同学")
	batches, err := p.Store.ListBatches(context.Background(), p.Registrar, d.ID)
	require.NoError(t, err)
	at := "/batches/" + batches[0].ID.String()

	require.Contains(t, p.get(p.Registrar, at+"/read").is(http.StatusOK).words(), "表头在第 1 行")
	columns := p.get(p.Registrar, at+"/columns").is(http.StatusOK)
	require.Equal(t, "sex", columns.Find(`select[name="field-3"] option[selected]`).AttrOr("value", ""))
	again := p.post(p.Registrar, columns, at+"/columns").is(http.StatusOK)
	require.Contains(t, again.words(), "男同学")

	sent := again.fill(at+"/groups", "means", "male")
	require.Equal(t, []string{"男同学"}, sent["word"])
	mended := p.post(p.Registrar, again, at+"/groups", "means", "male").is(http.StatusOK)
	require.NotContains(t, mended.words(), "男同学")
	require.Contains(t, mended.words(), "可以导入 4")

	// A row in place: htmx gets the row alone.
	in := p.raw(p.Registrar, http.MethodGet, at+"/rows/2", nil, "Hx-Request", "true").is(http.StatusOK)
	require.NotContains(t, in.body, "<main")
	row := p.get(p.Registrar, at+"/rows/2").is(http.StatusOK)
	faulty := p.post(p.Registrar, row, at+"/rows/2", "cell-2", "12").is(http.StatusOK)
	require.Contains(t, faulty.words(), "有误 1")
	row = p.get(p.Registrar, at+"/rows/2")
	p.post(p.Registrar, row, at+"/rows/2", "cell-2", "13800000001").is(http.StatusOK)

	commit := p.get(p.Registrar, at+"/commit").is(http.StatusOK)
	result := p.post(p.Registrar, commit, at+"/commit").is(http.StatusOK)
	require.Equal(t, 1, result.Find("progress").Length())
	p.work(batches[0].ID)
	result = p.get(p.Registrar, at+"/result").is(http.StatusOK)
	require.Contains(t, result.words(), "上传 4 = 新建 4 + 更新 0")
	require.Equal(t, 1, result.Find("#result .notice.good").Length(), "as many as were expected")
	require.Contains(t, p.get(p.Registrar, "/drives/"+d.ID.String()).words(), "4 / 100")

	p.post(p.Registrar, result, at+"/undo", "number", "BT").is(http.StatusUnprocessableEntity)
	p.post(p.Registrar, result, at+"/undo", "number", batches[0].Number).is(http.StatusOK)
	p.work(batches[0].ID)
	require.Contains(t, p.get(p.Registrar, at+"/result").words(), "已撤销")
}

func TestAStackOfPaperIsEnteredPageByPage(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	d := p.planDrive("采样日")
	list := p.get(p.Registrar, "/drives/"+d.ID.String()+"/paper").is(http.StatusOK)
	page := p.post(p.Registrar, list, "/drives/"+d.ID.String()+"/paper", "expected", "2").is(http.StatusOK)
	batches, err := p.Store.ListBatches(context.Background(), p.Registrar, d.ID)
	require.NoError(t, err)
	at := "/paper/" + batches[0].ID.String()

	first := page.Find(`form[action="` + at + `"] input[type=text]`).First()
	require.Equal(t, "barcode", first.AttrOr("name", ""), "the scanner's field is the first")
	wrong := p.post(p.Registrar, page, at, pairsOf(p.typed(1), "phone", "12")...).is(http.StatusUnprocessableEntity)
	require.Equal(t, "12", wrong.Find(`input[name=phone]`).AttrOr("value", ""), "what was typed is still there")
	page = p.post(p.Registrar, page, at, pairsOf(p.typed(1), "barcode", "NJ26000001", "workplace", "金陵学院")...).is(http.StatusOK)
	require.Contains(t, page.words(), "已录入 1 张")
	require.Equal(t, "金陵学院", page.Find(`input[name=workplace]`).AttrOr("value", ""), "the school stays")
	require.Empty(t, page.Find(`input[name=document_number]`).AttrOr("value", ""))
	probe := p.raw(p.Registrar, http.MethodPost, "/drives/"+d.ID.String()+"/probe", url.Values{"_key": {"k1"}, "document_number": {residentNumber(2)}}, "Hx-Request", "true")
	require.Contains(t, probe.is(http.StatusOK).words(), "未登记")
	// Who types fast asks about the number while the tube is still being asked about, by the same form.
	_, err = p.Store.Remember(context.Background(), p.Registrar, "k2", "web POST /drives/{id}/probe", [32]byte{1})
	require.NoError(t, err)
	probe = p.raw(p.Registrar, http.MethodPost, "/drives/"+d.ID.String()+"/probe", url.Values{"_key": {"k2"}, "document_number": {residentNumber(2)}}, "Hx-Request", "true")
	require.Contains(t, probe.is(http.StatusOK).words(), "未登记")
	probe = p.raw(p.Registrar, http.MethodPost, "/drives/"+d.ID.String()+"/probe", url.Values{"_key": {"k2"}, "barcode": {"NJ26000002"}}, "Hx-Request", "true")
	require.NotContains(t, probe.is(http.StatusOK).words(), "未登记", "a tube tells nothing of a person")
	page = p.post(p.Registrar, page, at, "held", "true", "note", "看不清").is(http.StatusOK)
	require.Contains(t, page.words(), "搁置 1 张")

	second := p.staff("compares", p.County, policy.Registrar, "320106")
	blind := p.post(second, p.get(second, at), at+"/second").is(http.StatusOK)
	require.NotContains(t, blind.body, residentNumber(1))
	settle := p.post(second, blind, at+"/second/1", pairsOf(p.typed(1), "barcode", "NJ26000001", "workplace", "金陵学园")...).is(http.StatusOK)
	require.Contains(t, settle.words(), "金陵学园")
	p.post(second, settle, at+"/settle/1", "right-workplace", "first").is(http.StatusOK)
	page = p.get(p.Registrar, at)
	p.post(p.Registrar, page, at+"/close", "counted", "3").is(http.StatusConflict)
	commit := p.post(p.Registrar, page, at+"/close", "counted", "2").is(http.StatusOK)
	require.Contains(t, commit.words(), "可以导入 · 1")
}

func TestAVolunteerFillsInThePublicFormAndTheTableTakesIt(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	d := p.planDrive("采样日")
	board := p.get(p.Registrar, "/drives/"+d.ID.String()).is(http.StatusOK)
	board = p.post(p.Registrar, board, "/drives/"+d.ID.String()+"/own-form").is(http.StatusOK)
	require.Equal(t, 1, board.Find("figure svg").Length(), "the code to be scanned")
	address := board.Find(`figcaption a`).AttrOr("href", "")
	require.Contains(t, address, "/f/")
	p.get(nobody, "/f/nobodyknowsthis").is(http.StatusNotFound)

	page := p.get(nobody, address).is(http.StatusOK)
	require.Zero(t, page.Find(`input[name=barcode]`).Length())
	begun := p.raw(nobody, http.MethodPost, address, page.fill(address, "name", "张样安"))
	require.Equal(t, http.StatusSeeOther, begun.status)
	cookie := strings.SplitN(begun.header.Get("Set-Cookie"), ";", 2)[0]
	page = p.get(nobody, address, "Cookie", cookie).is(http.StatusOK)
	require.Equal(t, "张样安", page.Find(`input[name=name]`).AttrOr("value", ""))
	require.Empty(t, p.get(nobody, address).Find(`input[name=name]`).AttrOr("value", ""), "another device sees nothing of it")
	texts := p.typed(1)
	delete(texts, intake.SignedOn)
	wrong := p.raw(nobody, http.MethodPost, address, page.fill(address, pairsOf(texts, "submit", "true", "phone", "12")...), "Cookie", cookie)
	require.Contains(t, wrong.is(http.StatusUnprocessableEntity).words(), "手机")
	sent := p.raw(nobody, http.MethodPost, address, page.fill(address, pairsOf(texts, "submit", "true")...), "Cookie", cookie)
	require.Equal(t, http.StatusSeeOther, sent.status, sent.words())
	done := p.get(nobody, address, "Cookie", cookie).is(http.StatusOK)
	require.Contains(t, done.words(), "取表码")

	list := p.get(p.Registrar, "/drives/"+d.ID.String()+"/check").is(http.StatusOK)
	require.Contains(t, list.words(), "张*安")
	require.NotContains(t, list.body, residentNumber(1))
	own := list.Find(`#own a`).First().AttrOr("href", "")
	table := p.get(p.Registrar, own).is(http.StatusOK)
	require.Equal(t, residentNumber(1), table.Find(`input[name=document_number]`).AttrOr("value", ""))
	p.post(p.Registrar, table, own+"/take").is(http.StatusUnprocessableEntity) // which document was it?
	taken := p.post(p.Registrar, table, own+"/take", "seen", "resident_id", "barcode", "NJ26000001").is(http.StatusOK)
	require.Contains(t, taken.words(), "已登记入库")
	require.Contains(t, p.get(p.Registrar, "/drives/"+d.ID.String()).words(), "1 / 100")
	require.Contains(t, p.get(nobody, address, "Cookie", cookie).words(), "已收下")
}

// A drive's day, as its registrar and a volunteer see it in a browser, with the commit carried by the real desk.
func TestADrivesDayIsActedOutAndAccessible(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	p, _ := newDesk(t)
	p.now = &atomic.Pointer[time.Time]{} // the machine's
	d := p.planDrive("采样日")
	sheet := filepath.Join(t.TempDir(), "forms.csv")
	require.NoError(t, os.WriteFile(sheet, p.sheet(1, 3, 905), 0o600))

	b := p.tab(ctx, "registrar", laptop)
	for _, path := range []string{"/drives", "/drives/new", "/drives/" + d.ID.String(), "/drives/" + d.ID.String() + "/check", "/drives/" + d.ID.String() + "/paper"} {
		b.open(path)
		b.accessible()
	}
	b.open("/drives/" + d.ID.String() + "/upload")
	b.accessible()
	b.fill("#expected", "3")
	b.choose("#file", sheet)
	b.press("上传并校验")
	b.sees("男同学")
	b.accessible()
	b.press("对应列")
	b.accessible()
	b.press("读取")
	b.accessible()
	b.press("校验")
	b.set(`select[name="means"]`, "male")
	b.press("统一修改")
	b.sees("可以导入 3")
	// A cell is mended in place.
	b.click(`#row-2 [data-act]`)
	b.sees("已核实，可以入库")
	b.accessible()
	b.fill(`#row-2 [name="cell-2"]`, "13800000009")
	b.click(`#row-2 button`)
	b.sees("13800000009")
	b.press("下一步：入库")
	b.accessible()
	b.press("确认入库")
	// Nobody asks again: the page follows.
	b.sees("上传 3 = 新建 3")
	b.sees("应有 3")
	b.accessible()

	// Paper, by the keyboard alone.
	b.open("/drives/" + d.ID.String() + "/paper")
	b.press("开始录入一叠")
	b.accessible()
	b.script(`document.querySelector('input[name=barcode]').focus(); 0`)
	b.do(chromedp.KeyEvent("NJ26000050"), enter, chromedp.KeyEvent(residentNumber(50)), enter)
	b.until(`document.activeElement.name === 'name'`, "Enter does not go to the next field")
	b.until(`document.getElementById('probe').innerText.includes('未登记')`, "nobody says whether the person is known")
	b.accessible()

	// A volunteer's telephone.
	b.open("/drives/" + d.ID.String())
	b.press("开启自助填表")
	b.accessible()
	link, err := p.Store.ShowLink(context.Background(), p.Registrar, d.ID)
	require.NoError(t, err)
	b.wide(telephone)
	b.open("/f/" + link.Token)
	b.accessible()
	b.fill("#f-name", "张样安")
	b.press("保存，稍后继续")
	b.open("/f/" + link.Token)
	b.until(`document.querySelector('#f-name').value === '张样安'`, "what was filled in is not there any more")
	b.open("/drives/" + d.ID.String())
	b.accessible()
}
