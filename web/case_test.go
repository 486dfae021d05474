package web_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/seal"
)

// aCase is a stem-cell case that waits for its coordinator's call.
func aCase(t *testing.T) (p *pages, donor, id, task uuid.UUID) {
	p = newPages(t, nil)
	donor = p.volunteers(p.planDrive("采样日").ID, 1)[0]
	id, task = p.caseWith("stemcell.remobilisation", donor)
	return p, donor, id, task
}

// asked opens a task of the case for a seat.
func (p *pages) asked(id uuid.UUID, step, seat string, role policy.Role, at uuid.UUID) uuid.UUID {
	p.t.Helper()
	task := uuid.Must(uuid.NewV7())
	p.exec(`INSERT INTO tasks (id, case_id, step, round, seat, role, organisation_id, region, status, opened_at, due_at, args) VALUES ($1, $2, $3, 1, $4, $5, $6, '320106', 'open', now(), now() + interval '1 day', '{}')`, task, id, step, seat, string(role), at)
	return task
}

func TestACasesPageTellsWhatIsNextAndEachTabShowsItsOwn(t *testing.T) {
	t.Parallel()
	p, _, id, task := aCase(t)
	path := "/cases/" + id.String()
	page := p.get(p.Coordinator, path).is(200)
	for _, said := range []string{"再动员", "由谁协调员", "核对事项", "和捐献者怎么说", "提交反馈", "初配"} {
		require.Contains(t, page.words(), said)
	}
	require.Equal(t, 1, page.Find(`.steps [aria-current=step]`).Length())
	require.Equal(t, 1, page.Find(`form[action="/steps/`+task.String()+`/answer"]`).Length())
	for tab, says := range map[string]string{"people": "参与各方", "papers": "还没有附件", "deadlines": "到期", "messages": "双方还没有往来", "looks": "谁看过这个个案", "details": "技术信息"} {
		require.Contains(t, p.get(p.Coordinator, path+"?tab="+tab).is(200).words(), says, tab)
	}
	p.exec(`UPDATE staff SET locale = 'en' WHERE id = $1`, p.CityCoordinator.Staff())
	require.Contains(t, p.get(p.CityCoordinator, path).is(200).words(), "See to it that")
	// A button for an outcome fills it in.
	chosen := p.get(p.Coordinator, path+"?outcome=declines").is(200)
	require.Equal(t, "declines", chosen.Find(`select[name=outcome] option[selected]`).AttrOr("value", ""))
	// The patient's side reads neither calls nor papers of the donor's, and nothing of where the donor lives.
	theirs := p.get(p.TransplantDoctor, path).is(200)
	require.Contains(t, theirs.words(), "正在等待另一方反馈")
	for _, tab := range []string{"", "?tab=people", "?tab=papers", "?tab=looks", "?tab=deadlines"} {
		body := p.get(p.TransplantDoctor, path+tab).is(200).body
		for _, secret := range []string{"鼓楼", p.County.Name, p.Collection.Name, "协调员怎么说"} {
			require.NotContains(t, body, secret, tab)
		}
	}
	p.get(p.OtherDoctor, path).is(404)
	p.get(p.Registrar, path).is(404)
}

func TestTheTimelineHasALineWhereTheReaderStoppedReading(t *testing.T) {
	t.Parallel()
	p, _, id, _ := aCase(t)
	path := "/cases/" + id.String()
	_, err := p.Store.AddAttempt(context.Background(), p.CityCoordinator, id, forms.ContactAttempt{At: time.Now().Add(-2 * time.Minute), Channel: "phone", Whom: "donor", Result: "no_answer"})
	require.NoError(t, err)
	require.Zero(t, p.get(p.Coordinator, path).is(200).Find(".timeline .since").Length(), "the first visit")
	p.exec(`UPDATE case_looks SET looked_at = now() - interval '1 hour'`)
	p.get(p.Coordinator, path+"?tab=people").is(200) // is no look at the timeline
	p.get(p.Coordinator, path+"/undo").is(200)
	for range 2 { // loading it again is the same visit
		page := p.get(p.Coordinator, path).is(200)
		require.Contains(t, page.Find(".timeline .since").Text(), "之后的新记录")
		require.Positive(t, page.Find(".timeline .since").PrevAll().Length())
	}
	p.exec(`UPDATE case_looks SET visited_at = now() + interval '1 minute'`)
	nothing := p.get(p.Coordinator, path).is(200).Find(".timeline .since")
	require.Contains(t, nothing.Text(), "没有新记录")
	require.Zero(t, nothing.PrevAll().Length())
}

func TestWhoCannotAnswerFindsOnThePageWhatElseThereIs(t *testing.T) {
	t.Parallel()
	p, _, id, task := aCase(t)
	path := "/cases/" + id.String()
	page := p.get(p.Coordinator, path).is(200)
	for _, says := range []string{"申请延期", "暂停计时", "移交", "打印申请单", "办不了", "联系不上捐献者"} {
		require.Contains(t, page.words(), says)
	}
	require.Equal(t, 1, page.Find(`a[href="`+path+`/handover"]`).Length())
	wrong := p.post(p.Coordinator, page, "/work/"+task.String()+"/pause", "reason", "waiting_donor", "until", "2020-01-01")
	wrong.is(422)
	require.NotEmpty(t, wrong.Find(".says-wrong").Text())
	p.exec(`UPDATE tasks SET paused_at = now(), paused_for = 'waiting_donor', resumes_at = now() + interval '1 day' WHERE id = $1`, task)
	page = p.get(p.Coordinator, path).is(200)
	require.Contains(t, page.words(), "暂停计时（等待捐献者）")
	require.Equal(t, 1, page.Find(`form[action="/work/`+task.String()+`/resume"]`).Length())
	require.Contains(t, p.get(p.Coordinator, "/work/"+task.String()).is(200).words(), "等待捐献者")
	require.NotContains(t, p.get(p.TransplantDoctor, path).is(200).words(), "办不了", "who is not asked")
}

func TestCasesAreListedFilteredAndFoundByNumber(t *testing.T) {
	t.Parallel()
	p, _, id, _ := aCase(t)
	list := p.get(p.Coordinator, "/cases?protocol=stemcell&status=open").is(200)
	require.Equal(t, 1, list.Find(`a[href="/cases/`+id.String()+`"]`).Length())
	require.Equal(t, 1, p.get(p.Coordinator, "/cases?q="+id.String()[24:]).Find(`a[href="/cases/`+id.String()+`"]`).Length())
	require.Contains(t, p.get(p.Coordinator, "/cases?q=nothing").is(200).words(), "没有符合条件的个案")
	require.Contains(t, p.get(p.Coordinator, "/cases?status=ended&protocol=stemcell").is(200).words(), "没有符合条件的个案")
	require.Equal(t, 0, p.get(p.OtherDoctor, "/cases").is(200).Find(`tbody tr`).Length())
}

func TestACallIsLoggedOnThePageAndAFaultyOneKeepsWhatWasTyped(t *testing.T) {
	t.Parallel()
	p, _, id, _ := aCase(t)
	path := "/cases/" + id.String()
	page := p.get(p.Coordinator, path+"?tab=people").is(200)
	wrong := p.post(p.Coordinator, page, path+"/attempts", "at", "2999-01-01T10:00", "channel", "phone", "whom", "donor", "result", "no_answer", "note", "晚上再打")
	wrong.is(422)
	require.Equal(t, "晚上再打", wrong.Find(`textarea[name=note]`).Text())
	require.Contains(t, wrong.words(), "请修改以下内容")
	done := p.post(p.Coordinator, wrong, path+"/attempts", "at", time.Now().Add(-time.Hour).In(registry.Zone).Format("2006-01-02T15:04"), "channel", "phone", "whom", "donor", "result", "no_answer", "note", "晚上再打").is(200)
	require.Contains(t, done.words(), "联系记录已保存")
	require.Contains(t, done.words(), "晚上再打")
	require.Contains(t, done.words(), "已联系 1 次")
}

func TestAnAnswerThatTheDeskDoesNotTakeAtOnceIsKept(t *testing.T) {
	t.Parallel()
	p, _, id, task := aCase(t)
	page := p.get(p.Coordinator, "/cases/"+id.String()).is(200)
	action := "/steps/" + task.String() + "/answer"
	wrong := p.post(p.Coordinator, page, action, "outcome", "declines", "note", "母亲不同意").is(422)
	require.Equal(t, "母亲不同意", wrong.Find(`textarea[name=note]`).First().Text())
	require.NotEmpty(t, wrong.Find(".says-wrong").Text())
	kept := p.post(p.Coordinator, wrong, action, "outcome", "declines", "reason", "family").is(200)
	require.Contains(t, kept.words(), "反馈已保存")
}

// Whoever was not first sees what they typed beside what was answered, and loses nothing of it.
func TestWhoWasNotFirstSeesBothAnswersSideBySide(t *testing.T) {
	t.Parallel()
	p, _, id, task := aCase(t)
	page := p.get(p.CityCoordinator, "/cases/"+id.String()).is(200)
	proposed, err := p.Store.ProposeAnswer(context.Background(), p.Coordinator, registry.Answer{TaskID: task, Command: "first", Form: []byte(`{"outcome":"willing"}`)})
	require.NoError(t, err)
	_, err = p.Store.SettleAnswer(context.Background(), registry.Settle{AnswerID: proposed.AnswerID, Version: 1, At: time.Now(), Move: registry.Move{Step: "stemcell.sample_booking", State: []byte("{}")}})
	require.NoError(t, err)
	both := p.post(p.CityCoordinator, page, "/steps/"+task.String()+"/answer", "outcome", "declines", "reason", "family", "note", "下周再问一次").is(422)
	for _, said := range []string{"别人已先一步反馈", p.Coordinator.Name, "捐献者愿意", "下周再问一次", "不同"} {
		require.Contains(t, both.words(), said)
	}
}

// A task that was only reminded meanwhile is answered all the same, with what was typed.
func TestAFormThatIsOnlyOldIsShownAgainWithWhatWasTyped(t *testing.T) {
	t.Parallel()
	p, _, id, task := aCase(t)
	page := p.get(p.Coordinator, "/cases/"+id.String()).is(200)
	p.exec(`UPDATE tasks SET version = version + 1 WHERE id = $1`, task)
	action := "/steps/" + task.String() + "/answer"
	again := p.post(p.Coordinator, page, action, "outcome", "declines", "reason", "family", "note", "下周再问一次").is(422)
	require.Equal(t, "下周再问一次", again.Find(`form[action="`+action+`"] textarea[name=note]`).Text())
	require.Equal(t, "2", again.Find(`form[action="`+action+`"] input[name=_version]`).AttrOr("value", ""))
	p.post(p.Coordinator, again, action).is(200)
}

func TestPapersAreAddedFetchedAndRemovedOnTheirSide(t *testing.T) {
	t.Parallel()
	p, _, id, _ := aCase(t)
	path := "/cases/" + id.String()
	page := p.get(p.Coordinator, path+"?tab=papers").is(200)
	added := p.upload(p.Coordinator, page, path+"/attachments", "同意书.pdf", []byte("%PDF-1.7 secret")).is(200)
	require.Contains(t, added.words(), "附件已添加")
	link := added.Find(`main a[href^="/attachments/"]`).First()
	require.Equal(t, "同意书.pdf", link.Text())
	file := p.raw(p.Coordinator, http.MethodGet, link.AttrOr("href", ""), nil)
	require.Equal(t, []any{200, "%PDF-1.7 secret", "application/pdf"}, []any{file.status, file.body, file.header.Get("Content-Type")})
	require.True(t, strings.HasPrefix(file.header.Get("Content-Disposition"), "attachment;"))
	p.get(p.TransplantDoctor, link.AttrOr("href", "")).is(404)
	require.Contains(t, p.get(p.TransplantDoctor, path+"?tab=papers").words(), "还没有附件")
	require.Equal(t, 422, p.upload(p.Coordinator, page, path+"/attachments", "x.exe", []byte("MZ")).status)
	action := link.AttrOr("href", "") + "/remove"
	gone := p.post(p.Coordinator, added, action, "reason", "wrong_file").is(200)
	require.Contains(t, gone.words(), "附件已移除")
	p.get(p.Coordinator, link.AttrOr("href", "")).is(409)
}

func TestAMessageThatNamesSomebodyIsHeldAndSomebodyElsePassesItOn(t *testing.T) {
	t.Parallel()
	p, _, id, _ := aCase(t)
	path := "/cases/" + id.String()
	page := p.get(p.Coordinator, path+"?tab=messages").is(200)
	sent := p.post(p.Coordinator, page, path+"/messages", "text", "请打 138-1234 5678 找我。").is(200)
	require.Contains(t, sent.words(), "待审阅")
	require.Contains(t, sent.words(), "一串数字")
	require.NotContains(t, p.get(p.TransplantDoctor, path+"?tab=messages").is(200).words(), "138-1234")
	office := p.staff("office", p.City, policy.CityOffice, "320100")
	held := p.get(office, "/messages").is(200)
	form := held.Find(`form[action^="/messages/"]`).First().AttrOr("action", "")
	p.post(office, held, form, "verdict", "deliver").is(200)
	require.Contains(t, p.get(p.TransplantDoctor, path+"?tab=messages").words(), "138-1234")
	p.get(p.Registrar, "/messages").is(403)
}

func TestALateUndoIsAskedForAndDecidedOnPages(t *testing.T) {
	t.Parallel()
	p, _, id, _ := aCase(t)
	office := p.staff("office", p.City, policy.CityOffice, "320100")
	asked := uuid.New()
	p.exec(`INSERT INTO reopenings (id, case_id, case_version, step, reason, asked_by, asked_at) VALUES ($1, $2, 1, 'stemcell.remobilisation', 'wrong_entry', $3, now())`, asked, id, p.Coordinator.Staff())
	list := p.get(office, "/undos").is(200)
	require.Contains(t, list.words(), "填写有误")
	done := p.post(office, list, "/undos/"+asked.String(), "verdict", "approve").is(200)
	require.Contains(t, done.words(), "没有等待审核的重开申请")
	// Nobody carries the case here: the page says so and does nothing.
	undo := p.get(p.Coordinator, "/cases/"+id.String()+"/undo?step=stemcell.remobilisation").is(200)
	require.Equal(t, 1, undo.Find(`main .notice.bad[role=alert]`).Length())
	p.get(p.CollectionDoctor, "/cases/"+id.String()+"/undo").is(403)
}

func TestAHospitalsPageIsItsStepWithoutANameUntilTheBedside(t *testing.T) {
	t.Parallel()
	p, _, id, _ := aCase(t)
	task := p.asked(id, "stemcell.physical_examination", "collection_hospital", policy.CollectionHospital, p.Collection.ID)
	path := "/steps/" + task.String()
	page := p.get(p.CollectionDoctor, path).is(200)
	for _, said := range []string{"体检", "当面核对身份", "核对事项", "提交反馈", "附件", "本人在该个案的反馈"} {
		require.Contains(t, page.words(), said)
	}
	require.NotContains(t, page.body, "张样安")
	told := p.post(p.CollectionDoctor, page, path+"/reveal", "reason", "verify_identity").is(200)
	require.Contains(t, told.Find("#bedside").Text(), "张样安")
	require.Equal(t, "60", told.Find("[data-gone-after]").AttrOr("data-gone-after", ""))
	require.Equal(t, "no-store", told.header.Get("Cache-Control"))
	require.NotContains(t, p.get(p.CollectionDoctor, path).body, "张样安", "it is shown once")
	p.post(p.CollectionDoctor, p.get(p.CollectionDoctor, path), path+"/reveal").is(422)
	added := p.upload(p.CollectionDoctor, page, path+"/attachments", "体检.png", []byte("\x89PNG\r\n\x1a\n")).is(200)
	require.Contains(t, added.words(), "体检.png")
	p.get(p.TransplantDoctor, path).is(404)
	p.get(p.OtherDoctor, path).is(404)
	// The laboratory has its own, and no bedside.
	p.exec(`INSERT INTO case_parties (case_id, seat, side, organisation_id) VALUES ($1, 'laboratory', 'donor', $2)`, id, p.Laboratory.ID)
	typing := p.asked(id, "stemcell.confirmatory_typing", "laboratory", policy.Laboratory, p.Laboratory.ID)
	lab := p.get(p.Technician, "/steps/"+typing.String()).is(200)
	require.Equal(t, 0, lab.Find("#bedside").Length())
	require.NotContains(t, lab.body, "/donors/")
}

func TestACountersignaturesPageSaysWhoseIsMissing(t *testing.T) {
	t.Parallel()
	p, _, id, _ := aCase(t)
	one := p.asked(id, "stemcell.clearance", "collection_hospital#1", policy.CollectionHospital, p.Collection.ID)
	two := p.asked(id, "stemcell.clearance", "collection_hospital#2", policy.CollectionHospital, p.Collection.ID)
	proposed, err := p.Store.ProposeAnswer(context.Background(), p.CollectionDoctor, registry.Answer{TaskID: one, Command: "first", Form: []byte(`{"outcome":"cleared","on":"` + p.clock().In(registry.Zone).Format(time.DateOnly) + `"}`)})
	require.NoError(t, err)
	_, err = p.Store.SettleAnswer(context.Background(), registry.Settle{AnswerID: proposed.AnswerID, Version: 1, At: time.Now(), Move: registry.Move{Step: "stemcell.clearance", State: []byte("{}")}})
	require.NoError(t, err)
	page := p.get(p.CollectionDoctor, "/steps/"+two.String()).is(200)
	require.Contains(t, page.words(), "您已签字")
	require.Contains(t, page.words(), "待反馈 采集医院，第 2 人")
	require.Contains(t, page.words(), "已采纳")
}

// What the calls' notes say is for who carries the case.
func TestNotesOfCallsAreMaskedForWhoDoesNotCarryTheCase(t *testing.T) {
	t.Parallel()
	p, _, id, _ := aCase(t)
	_, err := p.Store.AddAttempt(context.Background(), p.Coordinator, id, forms.ContactAttempt{At: time.Now().Add(-time.Hour), Channel: "phone", Whom: "donor", Result: "reached", Note: seal.NoteOf("母亲李例晴接的电话")})
	require.NoError(t, err)
	path := "/cases/" + id.String() + "?tab=people"
	require.Contains(t, p.get(p.Coordinator, path).words(), "李例晴")
	office := p.staff("office", p.City, policy.CityOffice, "320100")
	require.NotContains(t, p.get(office, path).is(200).body, "李例晴")
}
