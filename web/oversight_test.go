package web_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
)

func (p *pages) numberOf(donor uuid.UUID) (number string) {
	p.t.Helper()
	require.NoError(p.t, p.db.QueryRow(context.Background(), `SELECT number FROM registrations WHERE id = $1`, donor).Scan(&number))
	return number
}

func TestTheAuditIsNarrowedOpenedAndVerifiedByWhoMayReadIt(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	donor := p.volunteers(p.planDrive("采样日").ID, 1)[0]
	p.get(p.Coordinator, "/donors/"+donor.String()).is(http.StatusOK)
	page := p.get(p.Auditor, "/audit").is(http.StatusOK)
	require.Positive(t, page.Find("[data-row]").Length())
	count := func(query string) int {
		return p.get(p.Auditor, "/audit?"+query).is(http.StatusOK).Find("[data-row]").Length()
	}
	record := "target=" + url.QueryEscape("donor:"+donor.String())
	looked := count(record + "&role=coordinator")
	require.Positive(t, looked)
	for query, want := range map[string]int{
		record + "&role=laboratory": 0, record + "&class=patient": 0, record + "&action=export": 0, record + "&purpose=family": 0, record + "&kind=case": 0, record + "&to=2001-01-01": 0, record + "&denied=1": 0,
		record + "&role=coordinator&kind=donor&organisation=" + p.County.ID.String(): looked, record + "&organisation=" + p.City.ID.String(): 0,
		"preset=unreviewed": 0, "preset=bulk": 0,
	} {
		require.Equal(t, want, count(query), query)
	}
	for _, preset := range registry.AuditPresets() {
		p.get(p.Auditor, "/audit?preset="+string(preset)).is(http.StatusOK)
	}
	wrong := p.get(p.Auditor, "/audit?from=yesterday").is(http.StatusUnprocessableEntity)
	require.NotEmpty(t, wrong.Find("[role=alert]").Text())
	wrong = p.get(p.Auditor, "/audit?preset=night&from=2026-01-01&to=2026-06-01").is(http.StatusUnprocessableEntity)
	require.Contains(t, wrong.Find("[role=alert]").Text(), "一次最多查看 31 天")

	// A row opens to what it touched, and to no content.
	list := p.get(p.Auditor, "/audit?"+record+"&role=coordinator&class=identity").is(http.StatusOK)
	row := p.get(p.Auditor, list.Find("[data-row] a").First().AttrOr("href", "")).is(http.StatusOK)
	for _, said := range []string{"涉及的栏目", "姓名与证件", "捐献者", "待封印", "鼓楼区红十字会", p.Coordinator.Name, "策略第"} {
		require.Contains(t, row.words(), said)
	}
	require.NotContains(t, row.body, "张样安")
	p.get(p.Auditor, "/audit/"+uuid.NewString()+"?at=2026-01-01T00:00:00Z").is(http.StatusNotFound)
	p.get(p.Auditor, "/audit/"+uuid.NewString()).is(http.StatusNotFound)

	listed := p.get(p.Auditor, "/audit?kind=audit&class=audit").is(http.StatusOK)
	row = p.get(p.Auditor, listed.Find("[data-row]:contains('ListAudit') a").First().AttrOr("href", "")).is(http.StatusOK)
	require.Contains(t, row.words(), "筛选或范围")

	// The list goes on from where it stopped, the newest first.
	p.exec(`INSERT INTO audit (id, recorded_at, actor, organisation, act, action, class, relation, region, target, shown, purpose, reason, allowed, rule, revision, request, showed, fields, address)
		SELECT gen_random_uuid(), now() - n * interval '1 minute', 'staff:' || gen_random_uuid(), '', 'Many', 'read', 'drive', 'region', '320106', 'drive:many', 1, 'case', '', true, 'registrar, x', 1, '', '{}', '', '' FROM generate_series(1, 60) n`)
	first := p.get(p.Auditor, "/audit?target=drive%3Amany")
	require.Equal(t, 50, first.Find("[data-row]").Length())
	second := p.get(p.Auditor, first.Find("a[rel=next]").AttrOr("href", ""))
	require.Equal(t, 10, second.Find("[data-row]").Length())
	require.Zero(t, second.Find("a[rel=next]").Length())

	// The chain is verified when somebody asks.
	require.Contains(t, page.words(), "尚未核验")
	started := p.post(p.Auditor, page, "/audit/verifications").is(http.StatusOK)
	require.Contains(t, started.words(), "核验已开始")

	for _, by := range []registry.Actor{p.Coordinator, p.Security, p.Administrator, p.TransplantDoctor} {
		p.get(by, "/audit").is(http.StatusForbidden)
		require.NotContains(t, p.get(by, "/notices").Find("#menu").Text(), "审计日志")
	}
	require.Contains(t, page.Find("#menu").Text(), "审计日志")
}

func TestTheAuditLeavesAsSignedLinesForWhoKeepsIt(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	ctx := context.Background()
	_, err := p.Store.SealAudit(ctx, 1000)
	require.NoError(t, err)
	page := p.get(p.AuditAdministrator, "/audit").is(http.StatusOK)
	require.Equal(t, 1, page.Find(`form[action="/audit/export"]`).Length())
	file := p.get(p.AuditAdministrator, "/audit/export?since=0").is(http.StatusOK)
	require.Equal(t, "application/x-ndjson", file.header.Get("Content-Type"))
	require.Contains(t, file.header.Get("Content-Disposition"), "audit.jsonl")
	require.GreaterOrEqual(t, strings.Count(file.body, "\n"), 3, "a head, a seal with its rows, an end")
	p.get(p.AuditAdministrator, "/audit/export?since=99").is(http.StatusUnprocessableEntity)
	require.Zero(t, p.get(p.Auditor, "/audit").Find(`form[action="/audit/export"]`).Length(), "who reads it does not take it out")
	p.get(p.Auditor, "/audit/export?since=0").is(http.StatusForbidden)
}

func TestTheGlassIsBrokenOnThePagesAndGivenBack(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	donor := p.volunteers(p.planDrive("采样日").ID, 1)[0]
	number := p.numberOf(donor)
	far := p.staff("far", p.OtherTransplant, policy.Coordinator, "110108")
	p.get(far, "/donors/"+donor.String()).is(http.StatusNotFound)
	page := p.get(far, "/emergencies?number="+number).is(http.StatusOK)
	require.Contains(t, page.words(), "没有紧急访问")
	_, open := page.Find("#break").Attr("open")
	require.True(t, open, "the form is there, with the number that somebody came with")
	wrong := p.post(far, page, "/emergencies", "classes", "identity", "category", "accident", "reason", "急").is(http.StatusUnprocessableEntity)
	require.NotEmpty(t, wrong.Find(".says-wrong").Text())
	require.Equal(t, number, wrong.Find("#f-number").AttrOr("value", ""), "what was typed is still there")
	broken := p.post(far, wrong, "/emergencies", "classes", "identity", "category", "accident", "reason", "捐献者在外地旅行时受伤，须马上核对身份").is(http.StatusOK)
	require.Contains(t, broken.path, "/donors/"+donor.String())
	for _, said := range []string{"紧急访问已开启", "张*安"} {
		require.Contains(t, broken.words(), said)
	}
	require.Equal(t, 2, broken.Find("[data-countdown]").Length(), "the time left stands above every page, and here")
	list := p.get(far, "/emergencies?mine=1&status=open").is(http.StatusOK)
	path := list.Find("[data-row] a").First().AttrOr("href", "")
	own := p.get(far, path).is(http.StatusOK)
	require.Contains(t, own.words(), "查看 · 姓名与证件")
	require.Contains(t, own.words(), "须由他人复核")
	require.NotContains(t, own.body, "在外地旅行时受伤", "the words are shown when somebody asks for them")
	require.Contains(t, p.post(far, own, path+"/words").is(http.StatusOK).words(), "在外地旅行时受伤")
	require.Zero(t, own.Find(`form[action="`+path+`/review"]`).Length())
	p.raw(far, http.MethodPost, path+"/review", url.Values{"_key": {uuid.NewString()}, "verdict": {"justified"}}).is(http.StatusNotFound)

	stranger := p.staff("stranger", p.OtherTransplant, policy.Coordinator, "110108")
	p.get(stranger, path).is(http.StatusNotFound)
	p.raw(stranger, http.MethodPost, path+"/return", url.Values{"_key": {uuid.NewString()}}).is(http.StatusNotFound)
	given := p.post(far, own, path+"/return").is(http.StatusOK)
	require.Contains(t, given.words(), "紧急访问已提前结束")
	require.Zero(t, given.Find("[data-countdown]").Length())
	p.get(far, "/donors/"+donor.String()).is(http.StatusNotFound)

	// Who may not is offered nothing, and refused alike whether or not there is such a donor.
	none := p.get(p.Registrar, "/emergencies").is(http.StatusOK)
	require.Zero(t, none.Find("#break").Length())
	for _, n := range []string{number, "no such number"} {
		p.raw(p.Registrar, http.MethodPost, "/emergencies", url.Values{"_key": {uuid.NewString()}, "number": {n}, "classes": {"identity"}, "category": {"accident"}, "reason": {"捐献者在外地旅行时受伤，须马上核对身份"}}).is(http.StatusForbidden)
	}
}

func TestEmergencyAccessIsReviewedWithAReasonAndCounted(t *testing.T) {
	t.Parallel()
	w := newWalked(t)
	office := w.staff("city", w.City, policy.CityOffice, "320100")
	queue := w.get(office, "/reviews").is(http.StatusOK)
	require.Equal(t, 3, queue.Find("[data-row]").Length(), "emergency access, an export and a request: %s", queue.words())
	require.Contains(t, queue.words(), "个工作日")
	require.Equal(t, 1, w.get(office, "/reviews?kind=emergency").Find("[data-row]").Length())
	require.Contains(t, w.get(office, "/reviews?overdue=1").words(), "没有等待审查的事项")
	path := "/emergencies/" + w.emergency.String()
	page := w.get(office, path).is(http.StatusOK)
	for _, said := range []string{w.Coordinator.Name, w.donorNumber, "发生意外", "姓名与证件", "进行中"} {
		require.Contains(t, page.words(), said)
	}
	wrong := w.post(office, page, path+"/review", "verdict", "not_justified").is(http.StatusUnprocessableEntity)
	require.NotEmpty(t, wrong.Find(".says-wrong").Text(), "a reason is asked")
	done := w.post(office, wrong, path+"/review", "verdict", "not_justified", "note", "应先联系负责机构").is(http.StatusOK)
	require.Contains(t, done.words(), "复核结论已记录")
	require.NotContains(t, done.Find("[data-rows]").Text(), "发生意外")
	require.Contains(t, strings.Join(strings.Fields(done.Find("section.card tbody").Text()), " "), "鼓楼区红十字会江苏省南京市鼓楼区10100", "one was opened, and was not justified")
	again := w.raw(office, http.MethodPost, path+"/review", url.Values{"_key": {uuid.NewString()}, "verdict": {"justified"}}).is(http.StatusUnprocessableEntity)
	require.Contains(t, again.Find("[role=alert]").Text(), "已复核")

	// A long queue has pages.
	w.exec(`INSERT INTO emergency_access (id, staff_id, organisation_id, office_region, registration_id, region, classes, category, opened_at, until, review_due)
		SELECT gen_random_uuid(), staff_id, organisation_id, office_region, registration_id, region, classes, category, opened_at, until, now() - n * interval '1 hour' FROM emergency_access, generate_series(1, 60) n`)
	late := w.get(office, "/reviews?kind=emergency").is(http.StatusOK)
	require.Equal(t, 50, late.Find("[data-row]").Length())
	require.Equal(t, 10, w.get(office, late.Find("a[rel=next]").AttrOr("href", "")).is(http.StatusOK).Find("[data-row]").Length())
	require.Equal(t, 50, w.get(office, "/emergencies?status=to_review").is(http.StatusOK).Find("[data-row]").Length())

	// An auditor reads it, and what was judged stays; who has no part in it is told nothing.
	seen := w.get(w.Auditor, path).is(http.StatusOK)
	require.Contains(t, seen.words(), "理由不成立")
	require.Zero(t, seen.Find(`form[action$="/review"]`).Length())
	require.NotContains(t, seen.words(), w.donorNumber, "an auditor reaches no donor")
	w.get(w.Auditor, "/reviews").is(http.StatusOK)
	w.get(w.Technician, "/reviews").is(http.StatusForbidden)
	w.get(w.Technician, path).is(http.StatusNotFound)
}

func TestAnExportInClearTakesTwoPeopleOnThePages(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	p.volunteers(p.planDrive("采样日").ID, 2)
	asker, approver := p.staff("asker", p.City, policy.ProvincialOffice, "320000"), p.staff("approver", p.City, policy.ProvincialOffice, "320000")
	page := p.get(asker, "/exports").is(http.StatusOK)
	require.Contains(t, page.words(), "没有明文导出")
	wrong := p.post(asker, page, "/exports", "region", "320106", "classes", "identity", "purpose", "follow_up", "reason", "短").is(http.StatusUnprocessableEntity)
	require.Equal(t, "320106", wrong.Find("#f-region").AttrOr("value", ""))
	require.NotEmpty(t, wrong.Find(".says-wrong").Text())
	denied := p.raw(asker, http.MethodPost, "/exports", wrong.fill("/exports", "classes", "identity", "purpose", "family", "reason", "年度回访需要逐一打电话联系")).is(http.StatusForbidden)
	require.Contains(t, denied.words(), "随访")
	asked := p.post(asker, wrong, "/exports", "classes", "identity", "purpose", "follow_up", "reason", "年度回访需要逐一打电话联系").is(http.StatusOK)
	path := strings.Split(asked.path, "?")[0]
	require.Contains(t, asked.words(), "须由另一人批准")
	require.Zero(t, asked.Find(`form[action="`+path+`/decide"]`).Length())
	early := p.raw(asker, http.MethodPost, path+"/donors.csv", url.Values{"_key": {uuid.NewString()}}).is(http.StatusUnprocessableEntity)
	require.Contains(t, early.Find("[role=alert]").Text(), "尚未获批准")
	p.raw(asker, http.MethodPost, path+"/decide", url.Values{"_key": {uuid.NewString()}, "verdict": {"approve"}}).is(http.StatusForbidden)

	two := p.get(approver, path).is(http.StatusOK)
	require.NotContains(t, two.body, "年度回访")
	require.Contains(t, p.post(approver, two, path+"/words").is(http.StatusOK).words(), "年度回访")
	refusing := p.post(approver, two, path+"/decide", "verdict", "refuse").is(http.StatusUnprocessableEntity)
	require.NotEmpty(t, refusing.Find("[role=alert]").Text(), "to refuse needs a reason")
	decided := p.post(approver, refusing, path+"/decide", "verdict", "approve").is(http.StatusOK)
	require.Contains(t, decided.words(), "已批准")
	p.raw(approver, http.MethodPost, path+"/donors.csv", url.Values{"_key": {uuid.NewString()}}).is(http.StatusForbidden)

	mine := p.get(asker, path).is(http.StatusOK)
	sheet := p.raw(asker, http.MethodPost, path+"/donors.csv", mine.fill(path+"/donors.csv")).is(http.StatusOK)
	require.Contains(t, sheet.body, "张样安")
	require.Contains(t, sheet.body, residentNumber(1))
	require.Equal(t, "no-store", sheet.header.Get("Cache-Control"))
	require.Contains(t, p.get(asker, path).words(), "已领取 1 次")
	p.raw(asker, http.MethodPost, path+"/inventory", url.Values{"_key": {uuid.NewString()}, "format": {"gl"}}).is(http.StatusUnprocessableEntity)
	withdrawn := p.post(asker, mine, path+"/withdraw").is(http.StatusOK)
	require.Contains(t, withdrawn.words(), "已撤回")
	require.Equal(t, 1, p.get(approver, "/exports?status=withdrawn").Find("[data-row]").Length())
	require.Zero(t, p.get(approver, "/exports?mine=1").Find("[data-row]").Length())

	// An inventory of typings is fetched as registries exchange them.
	typings := p.post(asker, page, "/exports", "region", "320106", "classes", "hla", "purpose", "search", "reason", "向国家库报送本省造血干细胞库存").is(http.StatusOK)
	path = strings.Split(typings.path, "?")[0]
	p.post(approver, p.get(approver, path), path+"/decide", "verdict", "approve").is(http.StatusOK)
	file := p.raw(asker, http.MethodPost, path+"/inventory", url.Values{"_key": {uuid.NewString()}, "format": {"gl"}}).is(http.StatusOK)
	require.Contains(t, file.header.Get("Content-Disposition"), "inventory.txt")

	none := p.get(p.Registrar, "/exports").is(http.StatusOK)
	require.Zero(t, none.Find("#ask").Length())
	require.Zero(t, none.Find("[data-row]").Length())
	p.get(p.Registrar, path).is(http.StatusNotFound)
}

func TestWhatAPersonAsksGoesItsFourStepsOnThePages(t *testing.T) {
	t.Parallel()
	p, d := newDesk(t)
	decider := p.staff("office", p.County, policy.CountyOffice, "320106")
	donor := p.volunteers(p.planDrive("采样日").ID, 1)[0]
	entry := p.get(p.Registrar, "/donors/"+donor.String()).is(http.StatusOK)
	to := "/rights/new?donor=" + donor.String()
	require.Equal(t, 1, entry.Find(`a[href="`+to+`"]`).Length())
	form := p.get(p.Registrar, to).is(http.StatusOK)
	wrong := p.post(p.Registrar, form, "/rights", "kind", "kin_copy", "asker", "person", "via", "counter").is(http.StatusUnprocessableEntity)
	require.NotEmpty(t, wrong.Find(".says-wrong").Text(), "only a relative asks that")
	filed := p.post(p.Registrar, wrong, "/rights", "kind", "copy", "asker", "person", "via", "counter", "note", "本人到窗口").is(http.StatusOK)
	path := strings.Split(filed.path, "?")[0]
	id := uuid.MustParse(strings.TrimPrefix(path, "/rights/"))
	require.NotContains(t, filed.body, "本人到窗口")
	for _, said := range []string{"复制", "本人", "还剩 30 天", "核实申请人身份"} {
		require.Contains(t, filed.words(), said)
	}
	require.Contains(t, p.get(p.Registrar, to).words(), "已有申请正在办理")
	require.Equal(t, 1, p.get(decider, "/rights?kind=copy&status=open").Find("[data-row]").Length())
	require.Zero(t, p.get(decider, "/rights?kind=deletion").Find("[data-row]").Length())

	today := p.clock().In(registry.Zone).Format("2006-01-02")
	answer := func(by registry.Actor, step string, values ...string) {
		task := d.Task(by, step, id)
		link := "/steps/" + task.ID.String()
		require.Equal(t, 1, p.get(by, path).is(http.StatusOK).Find(`a[href="`+link+`"]`).Length(), step)
		p.post(by, p.get(by, link).is(http.StatusOK), link+"/answer", values...).is(http.StatusOK)
	}
	answer(p.Registrar, "rights.identity", "outcome", "confirmed", "on", today, "proof", "identity_document")
	answer(decider, "rights.decision", "outcome", "grant")
	d.Task(decider, "rights.carrying_out", id)
	granted := p.get(decider, path).is(http.StatusOK)
	require.Contains(t, granted.words(), "先领取副本")
	require.Zero(t, p.get(p.Registrar, path).Find(`form[action="`+path+`/copy"]`).Length(), "who does not carry it out fetches nothing")
	p.raw(p.Registrar, http.MethodPost, path+"/copy", url.Values{"_key": {uuid.NewString()}}).is(http.StatusForbidden)
	copied := p.raw(decider, http.MethodPost, path+"/copy", granted.fill(path+"/copy")).is(http.StatusOK)
	require.Contains(t, copied.body, "张样安")
	require.Contains(t, copied.header.Get("Content-Disposition"), "attachment")
	require.Equal(t, "no-store", copied.header.Get("Cache-Control"))
	answer(decider, "rights.carrying_out", "outcome", "done", "on", today)
	answer(p.Registrar, "rights.telling", "outcome", "told", "on", today, "channel", "counter")
	d.Eventually(func() bool { return strings.Contains(p.get(p.Registrar, path).words(), "已同意并办理") }, "the request does not end")
	late := p.raw(decider, http.MethodPost, path+"/copy", url.Values{"_key": {uuid.NewString()}}).is(http.StatusUnprocessableEntity)
	require.NotEmpty(t, late.Find("[role=alert]").Text())
	for _, by := range []registry.Actor{p.TransplantDoctor, p.Technician, p.Auditor} {
		require.GreaterOrEqual(t, p.get(by, path).status, 400)
		require.GreaterOrEqual(t, p.get(by, to).status, 400)
		require.GreaterOrEqual(t, p.get(by, "/rights").status, 400)
	}
}

func TestThePolicyIsReadByRoleAndByClassAndTriedOnSomebody(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	donor := p.volunteers(p.planDrive("采样日").ID, 1)[0]
	p.get(p.Coordinator, "/donors/"+donor.String()).is(http.StatusOK)
	p.get(p.Registrar, "/donors/"+donor.String()).is(http.StatusOK)
	// may is what a row of the matrix says of an action.
	may := func(query, row, action string) string {
		for _, line := range p.get(p.Auditor, "/policy"+query).is(http.StatusOK).Find("tbody tr").EachIter() {
			if line.Find("td").First().Text() == row {
				return strings.Join(strings.Fields(line.Find(`td[data-label="`+action+`"]`).Text()), " ")
			}
		}
		return ""
	}
	require.Contains(t, may("?role=coordinator", "联系方式", "查看原文"), "区划内 个案 · 随访 · 个人权利")
	require.Empty(t, may("?role=coordinator", "联系方式", "导出"))
	require.Contains(t, may("?class=contact", "造血干细胞协调员", "紧急访问"), "不论关系 紧急情况")
	require.Empty(t, may("?role=auditor", "联系方式", "查看"))
	require.NotEmpty(t, may("?role=coordinator&class=contact", "联系方式", "查看"))
	require.Empty(t, may("?role=coordinator&class=contact", "健康", "紧急访问"))
	p.get(p.Auditor, "/policy?role=king").is(http.StatusUnprocessableEntity)

	ask := p.get(p.Auditor, "/policy/simulator?record=donor:"+donor.String()).is(http.StatusOK)
	told := p.post(p.Auditor, ask, "/policy/simulator", "login", "coordinator").is(http.StatusOK)
	for _, said := range []string{"造血干细胞协调员 · 江苏省南京市鼓楼区", "查看原文 · 联系方式", "有准许的规定", "策略第", "只准用于其他用途"} {
		require.Contains(t, told.words(), said)
	}
	require.NotContains(t, told.body, "张样安")
	unknown := p.post(p.Auditor, ask, "/policy/simulator", "login", "coordinator", "record", "donor:"+uuid.NewString()).is(http.StatusUnprocessableEntity)
	require.Contains(t, unknown.Find("[role=alert]").Text(), "没有找到该记录")
	empty := p.post(p.Auditor, p.get(p.Auditor, "/policy/simulator"), "/policy/simulator").is(http.StatusUnprocessableEntity)
	require.NotEmpty(t, empty.Find(".says-wrong").Text())
	role := p.post(p.Security, p.get(p.Security, "/policy/simulator"), "/policy/simulator", "role", "laboratory", "region", "320106", "relation", "region").is(http.StatusOK)
	require.Contains(t, role.words(), "推演结果")
	for _, by := range []registry.Actor{p.Coordinator, p.Registrar, p.TransplantDoctor} {
		p.get(by, "/policy").is(http.StatusForbidden)
		p.get(by, "/policy/simulator").is(http.StatusForbidden)
	}
}

// signsIn gives a member of staff the password of the house, and returns their login.
func (p *pages) signsIn(login string, at registry.Organisation, role policy.Role, region string) string {
	p.t.Helper()
	p.staff(login, at, role, region)
	p.exec(`UPDATE staff SET password_hash = (SELECT password_hash FROM staff WHERE login = 'coordinator') WHERE login = $1`, login)
	return login
}

// A day of those who watch: somebody breaks the glass, the city's office reads what they looked at, and the auditor closes the review and finds it in the audit.
func TestTheGlassIsBrokenReviewedAndFoundInTheAuditInTheBrowser(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	donor := p.volunteers(p.planDrive("采样日").ID, 1)[0]
	number := p.numberOf(donor)
	p.signsIn("city", p.City, policy.CityOffice, "320100")
	ctx := browser(t)

	// A coordinator of another province looks for the donor, and finds nobody: the way in is there.
	p.signsIn("far", p.OtherTransplant, policy.Coordinator, "110108")
	b := p.tab(ctx, "far", laptop)
	b.open("/find")
	b.fill("#find-here", number)
	b.click("main form[action='/find'] button")
	b.sees("没有找到")
	b.accessible()
	b.press("紧急访问…")
	b.sees("仅限紧急情况")
	b.accessible()
	b.fill("#f-number", number)
	b.press("姓名与证件")
	b.press("健康")
	b.press("捐献者身体不适")
	b.fill("#f-reason", "捐献者采集后晕厥，急诊须知道用药史")
	b.press("开启紧急访问")
	b.sees("紧急访问已开启")
	b.sees("剩余")
	b.accessible()
	b.press("查看或提前结束")
	b.click("[data-rows] a")
	b.sees("须由他人复核")
	b.accessible()
	b.wide(telephone)
	b.open(b.at())
	b.accessible()
	b.open("/emergencies?number=" + number)
	b.accessible()

	// The city's office finds it first in its queue, on a telephone as on a laptop.
	r := p.tab(ctx, "city", laptop)
	r.open("/reviews")
	r.sees("捐献者身体不适")
	r.accessible()
	r.wide(telephone)
	r.open("/reviews")
	r.accessible()
	r.press("紧急访问 " + number)
	path := r.at()
	r.sees("Test far")
	r.sees("查看 · 健康")
	r.sees("查看 · 姓名与证件")
	r.press("查看原文")
	r.sees("急诊须知道用药史")
	r.accessible()
	r.wide(laptop)
	r.accessible()

	// The auditor sees who looked and closes the review; then nothing waits any more, in the office's queue neither.
	a := p.tab(ctx, "auditor", laptop)
	a.open("/audit?preset=unreviewed")
	a.sees("造血干细胞协调员 · 北京移植医院")
	a.until(`!document.querySelector('nav a[href="/messages"], nav a[href="/undos"]')`, "the menu offers what is not the auditor's to decide")
	a.accessible()
	a.open("/reviews")
	a.until(`!document.querySelector('main a[href="/messages"], main a[href="/undos"]')`, "the page offers what is not the auditor's to decide")
	a.click("[data-rows] a")
	require.Equal(t, path, a.at())
	a.until("!document.body.innerText.includes("+quoted(number)+")", "an auditor reads whom it was about")
	a.sees("查看 · 健康")
	a.accessible()
	a.press("理由不成立")
	a.press("提交结论")
	a.until(`!!document.querySelector('.says-wrong')`, "what is not justified is taken without a word")
	a.accessible()
	a.press("理由成立")
	a.fill("#f-note", "情况属实，处置及时")
	a.press("提交结论")
	a.sees("复核结论已记录")
	a.until(`!document.querySelector('[data-rows]')`, "it is still in the queue")
	a.accessible()
	a.open(path)
	a.sees("理由成立")
	a.accessible()
	r.open("/reviews")
	r.until(`!document.querySelector('[data-rows]')`, "it is still in the office's queue")
	a.open("/audit?preset=unreviewed")
	a.sees("没有符合条件的记录")
	a.open("/audit?kind=emergency&action=decide")
	a.sees("审计员")
	a.accessible()
	a.click("[data-rows] a")
	a.sees("决定 · 审查")
	a.accessible()
	a.press("查看所涉事项")
	require.Equal(t, path, a.at())
	a.sees("理由成立")
	a.accessible()
	a.open("/policy/simulator?record=donor:" + donor.String())
	a.fill("#f-login", "far")
	a.click("form[action='/policy/simulator'] button[type=submit]")
	a.sees("凭紧急访问")
	a.accessible()
	a.wide(telephone)
	a.accessible()
	for _, at := range []string{"/audit", "/audit?preset=night&from=yesterday", "/policy", "/policy?class=identity", path} {
		a.open(at)
		a.accessible()
	}
	a.wide(laptop)
	a.open("/policy")
	a.accessible()
	a.open("/reviews")
	a.press(p.Auditor.Name)
	a.press("English")
	a.sees("Emergency access by office")
	a.accessible()
	a.open("/audit")
	a.accessible()
}

func TestExportsAndRightsAreAccessibleOnEveryScreenInBothLanguages(t *testing.T) {
	t.Parallel()
	w := newWalked(t)
	w.signsIn("province", w.City, policy.ProvincialOffice, "320000")
	b := w.tab(browser(t), "province", laptop)
	pages := []string{"/exports", "/exports/" + w.export.String(), "/rights", "/rights/" + w.request.String(), "/rights/new?donor=" + w.donor.String(), "/donors/" + w.donor.String(), "/reviews"}
	for _, language := range []string{"中文", "English"} {
		if language == "English" {
			b.wide(laptop)
			b.press("Test province")
			b.press(language)
		}
		for _, width := range []int64{laptop, telephone} {
			b.wide(width)
			for _, path := range pages {
				b.open(path)
				b.accessible()
			}
			b.open("/exports")
			b.click("#ask summary")
			b.accessible()
		}
	}
}
