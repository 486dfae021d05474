package web_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// pick chooses in a field of a form, be it a list or buttons.
func (b *tab) pick(form, name, value string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`(() => {
		const form = document.querySelector(%s), e = form && Array.from(form.elements).find(e => e.name === %s && (e.tagName === 'SELECT' || e.value === %[3]s));
		if (!e) return false;
		if (e.tagName === 'SELECT') { e.value = %[3]s; e.dispatchEvent(new Event('change', {bubbles: true})); return e.value === %[3]s; }
		e.click();
		return e.checked;
	})()`, quoted(form), quoted(name), quoted(value)), name+" cannot be "+value)
}

// phone makes the tab a telephone that is touched.
func (b *tab) phone() {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(375, 812, chromedp.EmulateMobile, chromedp.EmulateTouch))
}

// bornOn is a resident's number of somebody of Gulou who was born on a day, as YYYYMMDD.
func bornOn(day string, n int) string {
	body := fmt.Sprintf("320106%s%03d", day, n)
	weights, sum := []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}, 0
	for i, weight := range weights {
		sum += int(body[i]-'0') * weight
	}
	return body + string("10X98765432"[sum%11])
}

// A registrar is handed a sheet as Chinese Excel saves it, with what is wrong with such sheets: it is mended in place and comes in whole.
func TestARegistrarMendsAFaultySheetInPlace(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	p, d := newDesk(t)
	p.now = &atomic.Pointer[time.Time]{} // the machine's
	drive := p.planDrive("东南大学九龙湖校区秋季造血干细胞志愿者登记采样活动")
	day := calendar.Of(p.clock(), registry.Zone).String()
	young := fmt.Sprintf("%d0315", p.clock().Year()-16)
	last := "0123456789X"[(strings.IndexByte("0123456789X", bornOn("19990704", 12)[17])+1)%11]
	var sheet strings.Builder
	sheet.WriteString("姓名,证件号码,手机,性别,联系人1,联系人1电话,联系人2,联系人2电话,登记项目,健康征询,签名,落款\r\n")
	for i, one := range [][3]string{
		{"王㛃", bornOn("20010520", 11), day},
		{"李䶮", bornOn("19990704", 12)[:17] + string(last), day}, // the check digit is another
		{"陈𬱖", bornOn("20001130", 13), ""},                      // no day of consent
		{"赵思远", bornOn(young, 15), day},                         // not of age
		{"欧阳慕雪", bornOn("20010520", 11), day},                   // the number was filled down from the first row
		{"古丽米热·阿不都热合曼", bornOn("19980826", 16), day},
	} {
		sex := "男"
		if strings.ContainsRune("02468", rune(one[1][16])) {
			sex = "女"
		}
		fmt.Fprintf(&sheet, "%s,%s,1381234%04d,%s,王建国,13900000001,周桂兰,13900000002,造血干细胞,是,是,%s\r\n", one[0], one[1], i, sex, one[2])
	}
	data, err := simplifiedchinese.GB18030.NewEncoder().Bytes([]byte(sheet.String()))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "九龙湖登记表.csv")
	require.NoError(t, os.WriteFile(file, data, 0o600))

	b := p.tab(ctx, "registrar", laptop)
	b.open("/drives")
	b.press(drive.Name)
	b.press("导入表格")
	b.fill("#expected", "6")
	b.choose("#file", file)
	b.press("上传并校验")
	// The heading says nothing that anybody knows: the wizard asks, and does not guess.
	b.sees("落款")
	b.accessible()
	at := strings.TrimSuffix(b.at(), "/columns")
	b.open(at + "/read")
	b.until(`document.querySelector('select[name=encoding]').value === 'GB18030'`, "the encoding is not recognised")
	for _, name := range []string{"王㛃", "李䶮", "陈𬱖"} {
		b.sees(name)
	}
	b.press("下一步：对应列")
	b.set(`select[name="field-11"]`, "signed_on")
	b.press("按此校验")
	b.sees("有误 3")
	b.sees("表内重复 2") // both rows: which of them is right is on the form
	b.accessible()

	mend := func(row, column int, text string) {
		t.Helper()
		b.click(fmt.Sprintf(`#row-%d [data-act]`, row))
		b.fill(fmt.Sprintf(`#row-%d [name="cell-%d"]`, row, column), text)
		b.click(fmt.Sprintf(`#row-%d button`, row))
		b.until(fmt.Sprintf(`(() => { const row = document.getElementById('row-%d'); return !!row && !row.querySelector('form') && !/有误|表内重复/.test(row.innerText); })()`, row), "the row is not mended")
	}
	mend(3, 1, bornOn("19990704", 12))
	mend(4, 11, day)
	mend(5, 1, bornOn("20000315", 15))
	mend(6, 1, bornOn("20020911", 19))
	b.accessible()
	b.open(at + "/check")
	b.until(`!/有误|表内重复/.test(document.querySelector('main').innerText)`, "something is wrong still")
	b.sees("可以导入 5")
	b.press("全部确认") // a character that a printer may not have
	b.until(`document.getElementById('row-4').innerText.includes('已核实')`, "it is not seen that it was looked at")
	b.accessible()
	b.press("下一步：入库")
	b.press("确认入库")
	b.sees("上传 6 = 新建 6")
	b.sees("应有 6")
	b.until(`!!document.querySelector('#result .notice.good')`, "the sum does not agree with the cover")
	b.accessible()

	// What came in is what stood on the forms, to the last character.
	rows, err := p.db.Query(context.Background(), `SELECT id FROM registrations`)
	require.NoError(t, err)
	var ids []uuid.UUID
	for rows.Next() {
		var id uuid.UUID
		require.NoError(t, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NoError(t, rows.Err())
	var names []string
	for _, id := range ids {
		told, err := d.Store.RevealDonor(context.Background(), d.Coordinator, id, registry.RevealForm{Class: policy.Identity, Reason: "call_donor"})
		require.NoError(t, err)
		names = append(names, told.Name)
	}
	require.ElementsMatch(t, []string{"王㛃", "李䶮", "陈𬱖", "赵思远", "欧阳慕雪", "古丽米热·阿不都热合曼"}, names)
}

// A coordinator's day: a donor is called and is willing, another case goes to a colleague, and an answer is taken back.
func TestACoordinatorsDayIsActedOutAndAccessible(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	p, d := newDesk(t)
	d.Staff(t, "colleague", d.County, policy.Coordinator, "320106")
	donors := d.Listed(2, workflowstest.GL)
	_, cases := d.Requested(d.TransplantDoctor, donors[0])
	_, more := d.Requested(d.TransplantDoctor, donors[1])
	cases = append(cases, more...)
	mine, theirs := d.Task(d.Coordinator, "stemcell.remobilisation", cases[0]), d.Task(d.Coordinator, "stemcell.remobilisation", cases[1])

	b := p.tab(ctx, "coordinator", laptop)
	b.open("/work")
	b.sees(mine.CaseNumber)
	b.accessible()
	b.click("#row-" + mine.ID.String() + " a[hx-get]")
	b.sees("打开个案")
	b.accessible()
	b.click(`#preview form[action$="/claim"] button`)
	b.sees("已认领")
	b.accessible()
	b.open("/work")
	b.until(fmt.Sprintf(`document.getElementById('row-%s').innerText.includes('您正在办理')`, mine.ID), "nobody sees who has it")
	b.click("#row-" + mine.ID.String() + " a[hx-get]")
	b.press("打开个案")
	card := "#task-" + mine.ID.String()
	b.sees("再动员")
	b.accessible()
	b.click(card + " details summary")
	b.until(`document.querySelector(`+quoted(card+" details")+`).open`, "what to say is not shown")
	b.accessible()

	// The call is noted, and then what came of it.
	b.press("人员与联系")
	call := `form[action$="/attempts"]`
	b.pick(call, "channel", "phone")
	b.pick(call, "whom", "donor")
	b.pick(call, "result", "reached")
	b.fill(call+" textarea[name=note]", "愿意捐献，周末方便。")
	b.accessible()
	b.click(call + " button[type=submit]")
	b.sees("联系记录已保存")
	answer := `form[action="/steps/` + mine.ID.String() + `/answer"]`
	b.pick(answer, "outcome", "willing")
	b.click(answer + " button[type=submit]")
	b.sees("反馈已提交")
	b.sees("预约高分辨采样")
	b.accessible()
	require.Equal(t, "stemcell.sample_booking", d.Case(d.Coordinator, cases[0], func(c registry.CaseView) bool { return true }).Step)

	// It was the other donor: the answer is taken back, after a look at what that does.
	b.press("重开环节")
	b.accessible()
	b.press("再动员")
	b.sees("将划去的反馈")
	b.sees("捐献者愿意")
	b.sees("新待办：再动员")
	b.accessible()
	b.pick(`main form[action$="/undo"]`, "reason", "wrong_entry")
	b.press("确认重开")
	b.sees("环节已重开")
	b.accessible()
	require.Equal(t, "stemcell.remobilisation", d.Case(d.Coordinator, cases[0], func(c registry.CaseView) bool { return true }).Step)

	// The other case goes to a colleague, who sits at another machine.
	b.open("/work")
	b.click("#row-" + theirs.ID.String() + " a[hx-get]")
	b.press("移交个案")
	b.accessible()
	offer := `form[action$="/handover"]`
	colleague, err := d.Store.ActorByLogin(context.Background(), "colleague")
	require.NoError(t, err)
	b.pick(offer, "staff", colleague.Staff().String())
	b.pick(offer, "reason", "leave")
	b.fill(offer+" textarea[name=promises]", "答应周五下午五点后再打。")
	b.click(offer + " button[type=submit]")
	b.sees("已提出移交")
	b.accessible()
	c := p.tab(ctx, "colleague", laptop)
	c.open("/handovers")
	c.accessible()
	c.press(theirs.CaseNumber)
	c.sees("答应周五下午五点后再打。")
	c.accessible()
	c.click(`form[action$="/accept"] button`)
	c.sees("已接手")
	c.accessible()
	c.open("/work")
	c.until(fmt.Sprintf(`document.getElementById('row-%s').innerText.includes('Test colleague')`, theirs.ID), "the case is not the colleague's")
	b.open("/handovers")
	b.sees("已接手")
	b.accessible()
}

// A hospital's day, on a telephone at the bedside: the examination is confirmed with its report, and the clearance is signed by two.
func TestAHospitalsDayOnATelephoneIsActedOutAndAccessible(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	p, d := newDesk(t)
	_, cases := d.Requested(d.TransplantDoctor, d.Listed(1, workflowstest.GL)...)
	way := d.TheWay(1)
	d.Walk(cases[0], way, "stemcell.physical_examination")
	examination := d.Task(d.CollectionDoctor, "stemcell.physical_examination", cases[0])
	report := filepath.Join(t.TempDir(), "体检报告.png")
	require.NoError(t, os.WriteFile(report, []byte("\x89PNG\r\n\x1a\n"), 0o600))

	b := p.tab(ctx, "doctor", telephone)
	b.phone()
	b.open("/work")
	b.until(`matchMedia('(pointer: coarse)').matches && innerWidth === 375`, "it is no telephone")
	b.sees(examination.CaseNumber)
	b.accessible()
	b.press("认领")
	b.sees("已认领")
	b.open("/work")
	b.press("办理")
	b.sees("体检")
	b.accessible()
	b.until(`Array.from(document.querySelectorAll('.card.large button, .card.large .button, .card.large input:not([type=hidden]):not([type=radio]):not([type=checkbox])')).filter(e => e.getClientRects().length).every(e => e.getBoundingClientRect().height >= 44)`, "something is too small for a finger")
	paper, err := chromedp.Run(b, chromedp.Evaluate[string](`fetch(document.querySelector('a[href$="/request.pdf"]').href).then(r => r.status + ' ' + r.headers.get('Content-Type'))`, chromedp.EvalAwaitPromise))
	require.NoError(t, err)
	require.Equal(t, "200 application/pdf", paper)
	b.choose("#file", report)
	b.press("上传附件")
	b.sees("附件已添加")
	b.sees("体检报告.png")
	b.accessible()
	answer := `form[action="/steps/` + examination.ID.String() + `/answer"]`
	b.pick(answer, "outcome", "fit")
	b.set(answer+" [name=examined_on]", workflowstest.Today().String())
	b.fill(answer+" [name=weight_kg]", "65")
	b.fill(answer+" [name=note]", "心电图、B 超未见异常；血管条件好。")
	b.accessible()
	b.click(answer + " button[type=submit]")
	b.sees("反馈已提交")
	b.sees("已完成")
	b.accessible()

	d.Answer(d.Coordinator, "stemcell.donation_consent", way[6].Form, cases[0])
	sign := func(b *tab, by registry.Actor) {
		t.Helper()
		task := d.Task(by, "stemcell.clearance", cases[0])
		b.open("/work")
		b.click("#row-" + task.ID.String() + " [data-act]")
		b.open("/steps/" + task.ID.String())
		b.sees("需要多方反馈")
		b.accessible()
		form := `form[action="/steps/` + task.ID.String() + `/answer"]`
		b.pick(form, "outcome", "cleared")
		b.set(form+" [name=on]", workflowstest.Today().String())
		b.click(form + " button[type=submit]")
		b.sees("反馈已提交")
		b.accessible()
	}
	sign(b, d.CollectionDoctor)
	require.Equal(t, "stemcell.clearance", d.Case(d.Coordinator, cases[0], func(registry.CaseView) bool { return true }).Step, "one signature is not enough")
	s := p.tab(ctx, "second", telephone)
	s.phone()
	sign(s, d.Second)
	d.Case(d.Coordinator, cases[0], func(c registry.CaseView) bool { return c.Step == "stemcell.schedule" })
}
