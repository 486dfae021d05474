package web_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/google/uuid"
	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/rules"
)

// where is the path of a page without what was asked of it.
func (s shown) where() string {
	path, _, _ := strings.Cut(s.path, "?")
	return path
}

func TestAnOrganisationIsAddedFoundByRegionAndCalledOtherwise(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	list := p.get(p.Administrator, "/admin/organisations").is(200)
	require.Equal(t, 7, list.Find("[data-row]").Length())
	// The regions lie in each other, and every organisation stands under its own.
	var places []string
	list.Find("tr.place").Each(func(_ int, e *goquery.Selection) { places = append(places, strings.Fields(e.Text())[0]) })
	require.IsIncreasing(t, codesOf(list))
	require.Contains(t, places, "江苏省南京市鼓楼区")

	wrong := p.post(p.Administrator, list, "/admin/organisations", "kind", "hospital", "name", "", "region", "999999").is(http.StatusUnprocessableEntity)
	require.Contains(t, wrong.Find("[role=alert]").Text(), "机构名称没有填")
	require.Contains(t, wrong.Find("[role=alert]").Text(), "区划认不出来", "what is wrong is called as the form calls it")
	require.Equal(t, "999999", wrong.Find("#f-region").AttrOr("value", ""), "what was typed is kept")
	made := p.post(p.Administrator, list, "/admin/organisations", "kind", "hospital", "name", "鼓楼样例医院", "region", "320106").is(200)
	require.Contains(t, made.words(), "机构已新增")
	require.Contains(t, made.words(), "江苏省南京市鼓楼区")
	named := p.post(p.Administrator, made, made.where()+"/change", "name", "鼓楼示例医院", "name_en", "Gulou Sample Hospital").is(200)
	require.Contains(t, named.words(), "鼓楼示例医院")
	stale := p.raw(p.Administrator, http.MethodPost, made.where()+"/change", withKey(made.fill(made.where()+"/change", "name", "另一个")))
	require.Equal(t, http.StatusPreconditionFailed, stale.status, "it was read before it changed")

	rows := func(query string) int {
		return p.get(p.Coordinator, "/admin/organisations?"+query).is(200).Find("[data-row]").Length()
	}
	require.Equal(t, []int{1, 1, 0, 4, 1}, []int{rows("q=示例"), rows("q=GULOU"), rows("q=nothing"), rows("kind=hospital"), rows("kind=hospital&region=320106")})
	require.Contains(t, p.get(p.Coordinator, "/admin/organisations?region=12").words(), "没有这个行政区划")
	require.Contains(t, p.get(p.Coordinator, "/admin/organisations?q=nothing").words(), "没有符合条件的机构")

	// Everybody knows organisations; nobody but who may changes one.
	read := p.get(p.Coordinator, made.where()).is(200)
	require.Zero(t, read.Find("main form[method=post]").Length())
	require.NotContains(t, read.words(), "机构人员")
	p.raw(p.Coordinator, http.MethodPost, made.where()+"/change", withKey(url.Values{"name": {"我的医院"}})).is(http.StatusForbidden)
	p.raw(p.Security, http.MethodPost, "/admin/organisations", withKey(url.Values{"kind": {"hospital"}, "name": {"医院"}, "region": {"320106"}})).is(http.StatusForbidden)

	// Long lists come in parts, and the parts are all of it.
	p.exec(`INSERT INTO organisations (id, kind, name, region) SELECT uuid_v7(), 'host', '承办' || n, '320106' FROM generate_series(1, 70) n`)
	first := p.get(p.Administrator, "/admin/organisations?kind=host").is(200)
	next, there := first.Find("a[rel=next]").Attr("href")
	require.True(t, there)
	require.Equal(t, 71, first.Find("[data-row]").Length()+p.get(p.Administrator, next).is(200).Find("[data-row]").Length())
}

// codesOf are the codes of the regions of a list, from above.
func codesOf(s shown) (out []string) {
	s.Find("tr.place .number").Each(func(_ int, e *goquery.Selection) { out = append(out, e.Text()) })
	return out
}

func TestAServiceAreaIsSetByWhoHoldsItsRegions(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	at := "/admin/organisations/" + p.City.ID.String()
	page := p.get(p.Security, at).is(200)
	set := p.post(p.Security, page, at+"/service-areas", "regions", "320200\n310104").is(200)
	require.Contains(t, set.words(), "江苏省无锡市")
	require.Contains(t, p.get(p.Security, "/admin/organisations?region=320100").words(), "2 个区划")
	wrong := p.post(p.Security, set, at+"/service-areas", "regions", "32x").is(http.StatusUnprocessableEntity)
	require.Contains(t, wrong.Find("#f-areas-regions").Text(), "32x")
	none := p.post(p.Security, set, at+"/service-areas", "regions", "").is(200)
	require.Contains(t, none.words(), "只服务所在区划")
	patients := "/admin/organisations/" + p.Transplant.ID.String()
	says := p.post(p.Security, p.get(p.Security, patients), patients+"/service-areas", "regions", "320106").is(http.StatusUnprocessableEntity)
	require.Contains(t, says.words(), "为患者一方工作")
	p.raw(p.Administrator, http.MethodPost, at+"/service-areas", withKey(url.Values{"regions": {"320200"}})).is(http.StatusForbidden)
}

func TestSomebodyIsEnteredGivenARoleAndLosesItAgain(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	list := p.get(p.Administrator, "/admin/staff").is(200)
	values := []string{"login", "zhangli", "name", "张例", "organisation", p.County.ID.String(), "password", "春天的第一场雨下了很长", "locale", "zh-CN"}
	made := p.post(p.Administrator, list, "/admin/staff", values...).is(200)
	require.Contains(t, made.words(), "待改密码")
	again := p.raw(p.Administrator, http.MethodPost, "/admin/staff", withKey(list.fill("/admin/staff", values...))).is(http.StatusUnprocessableEntity)
	require.Contains(t, again.words(), "登录名已被使用")
	require.NotContains(t, again.body, "春天的第一场雨下了很长", "a password is not shown again")
	require.Zero(t, made.Find(`form[action$="/grants"]`).Length(), "who enters accounts gives no role")

	page := p.get(p.Security, made.where()).is(200)
	past := p.post(p.Security, page, made.where()+"/grants", "role", "registrar", "region", "320106", "until", "2020-01-01T00:00").is(http.StatusUnprocessableEntity)
	require.Equal(t, "2020-01-01T00:00", past.Find("#f-grant-until").AttrOr("value", ""))
	given := p.post(p.Security, page, made.where()+"/grants", "role", "registrar", "region", "320106", "until", p.clock().AddDate(0, 6, 0).Format("2006-01-02T15:04")).is(200)
	require.Contains(t, given.words(), "登记员 江苏省南京市鼓楼区")
	require.Contains(t, given.words(), p.Security.Name, "who gave it")
	apart := p.post(p.Security, given, made.where()+"/grants", "role", "transplant_hospital", "region", "320106").is(http.StatusUnprocessableEntity)
	require.Contains(t, apart.words(), "不能同时担任")
	require.NotContains(t, p.get(p.AuditAdministrator, made.where()).Find("#f-grant-role").Text(), "登记员", "only what one may give is offered")

	require.Equal(t, 1, p.get(p.Security, "/admin/staff?q=张例").is(200).Find("[data-row]").Length())
	require.Equal(t, 2, p.get(p.Security, "/admin/staff?role=registrar").is(200).Find("[data-row]").Length())
	require.Contains(t, p.get(p.Security, "/admin/staff?q=nobody").words(), "没有符合条件的账号")
	require.Contains(t, p.get(p.Security, "/admin/organisations/"+p.County.ID.String()).words(), "张例")
	require.Contains(t, p.get(p.Security, "/admin/staff?organisation="+p.County.ID.String()).words(), "机构： 鼓楼区红十字会")

	ended := p.post(p.Security, given, made.where()+"/grants/end").is(200)
	require.Contains(t, ended.words(), "角色已收回")
	require.Contains(t, ended.words(), "还没有角色")

	// One's own account is others' to look after.
	own := p.get(p.Security, "/admin/staff/"+p.Security.Staff().String()).is(200)
	require.Contains(t, own.words(), "这是您自己的账号")
	require.Zero(t, own.Find("main form[method=post]").Length())
	self := p.raw(p.Security, http.MethodPost, "/admin/staff/"+p.Security.Staff().String()+"/grants", withKey(url.Values{"role": {"registrar"}, "region": {"320106"}, "until": {"2027-01-01T00:00"}}))
	require.Equal(t, http.StatusUnprocessableEntity, self.status)
	require.Contains(t, self.words(), "任何人不能给自己授权")
	p.get(p.Coordinator, "/admin/staff").is(http.StatusForbidden)
	p.get(p.Coordinator, made.where()).is(http.StatusNotFound)
}

func TestAPasswordIsResetOnceAndAnAccountEnds(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	at := "/admin/staff/" + p.Registrar.Staff().String()
	p.get(p.Registrar, "/account").is(200)
	page := p.get(p.Security, at).is(200)
	reset := p.post(p.Security, page, at+"/reset-password").is(200)
	require.Equal(t, "no-store", reset.header.Get("Cache-Control"))
	once := reset.Find("code.revealed").Text()
	require.Regexp(t, `^[a-z2-7]{4}(-[a-z2-7]{4}){3}$`, once)
	require.NotContains(t, p.get(p.Security, at).body, once, "it is shown once")
	require.Equal(t, "/signin", p.get(p.Registrar, "/account").where(), "their sessions ended")
	p.raw(p.Administrator, http.MethodPost, at+"/reset-password", withKey(nil)).is(http.StatusForbidden)
	gone := p.post(p.Administrator, p.get(p.Administrator, at), at+"/deactivate").is(200)
	require.Contains(t, gone.words(), "已停用")
	require.Contains(t, p.post(p.Administrator, gone, at+"/reactivate").is(200).words(), "账号已恢复")
}

func TestAMachineHasATokenThatIsShownOnceAndRevoked(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	machine := p.post(p.Administrator, p.get(p.Administrator, "/admin/staff"), "/admin/machines", "login", "station", "name", "血站接口", "organisation", p.County.ID.String()).is(200)
	at := machine.where()
	require.Zero(t, machine.Find(`form[action="`+at+`/reset-password"]`).Length(), "a machine has no password")
	page := p.get(p.Security, at).is(200)
	p.post(p.Security, page, at+"/tokens", "name", "导入").is(http.StatusUnprocessableEntity)
	unknown := p.post(p.Security, page, at+"/tokens", "name", "导入", "scopes", "everything", "days", "30").is(http.StatusUnprocessableEntity)
	require.Contains(t, unknown.Find("[role=alert]").Text(), "范围")
	made := p.post(p.Security, page, at+"/tokens", "name", "导入", "scopes", "donors:read", "days", "30").is(200)
	require.Equal(t, "no-store", made.header.Get("Cache-Control"))
	token := made.Find("code.revealed").Text()
	caller, err := p.Store.Authenticate(context.Background(), token)
	require.NoError(t, err)
	require.Equal(t, []string{"donors:read"}, caller.Scopes)
	shown := p.get(p.Security, at)
	require.NotContains(t, shown.body, token)
	revoke, there := shown.Find(`form[action$="/revoke"]`).Attr("action")
	require.True(t, there)
	p.raw(p.Administrator, http.MethodPost, revoke, withKey(nil)).is(http.StatusForbidden)
	require.Contains(t, p.post(p.Security, shown, revoke).is(200).words(), "已作废")
	_, err = p.Store.Authenticate(context.Background(), token)
	require.Error(t, err)
}

func TestAYearIsSeenAndADayIsPreviewedDeclaredAndTakenBack(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, registry.Zone)
	year := p.get(p.Administrator, "/admin/calendar?year=2026").is(200)
	require.Equal(t, 12, year.Find("table.month").Length())
	require.Equal(t, 365, year.Find("table.month td").FilterFunction(func(_ int, e *goquery.Selection) bool { return strings.TrimSpace(e.Text()) != "" }).Length())
	require.Contains(t, year.Find("table.month").Eq(9).Text(), "国庆", "a holiday is named")
	require.Positive(t, year.Find(".month .dot.made").Length(), "weekends that are worked instead")
	require.Contains(t, p.get(p.Administrator, "/admin/calendar?year=2099").words(), "尚未收录")
	require.Contains(t, p.get(p.Administrator, "/admin/calendar?region=1").words(), "没有这个行政区划")

	day := p.clock().AddDate(0, 0, 40)
	for day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		day = day.AddDate(0, 0, 1)
	}
	text := day.Format(time.DateOnly)
	at := "/admin/calendar/day?day=" + text + "&region=320106"
	page := p.get(p.Administrator, at).is(200)
	fill := []string{"working", "false", "name", "地方节日", "source", "宁政办发〔2026〕1 号"}
	p.post(p.Administrator, page, "/admin/calendar", "working", "false").is(http.StatusUnprocessableEntity)
	preview := p.raw(p.Administrator, http.MethodPost, "/admin/calendar/preview", page.fill("/admin/calendar", fill...)).is(200)
	require.Contains(t, preview.words(), "没有正在等待的任务跨过这一天")
	require.Equal(t, "地方节日", preview.Find("#f-name").AttrOr("value", ""), "the form is still filled in")
	require.Contains(t, p.get(p.Administrator, at).words(), "没有单独设定", "a preview keeps nothing")
	set := p.post(p.Administrator, preview, "/admin/calendar").is(200)
	require.Contains(t, set.words(), "地方节日")
	require.Contains(t, set.words(), "宁政办发")
	p.raw(p.Administrator, http.MethodPost, "/admin/calendar", page.fill("/admin/calendar", fill...)).is(http.StatusPreconditionFailed)

	page = p.get(p.Administrator, at).is(200)
	taken := p.raw(p.Administrator, http.MethodPost, "/admin/calendar/preview", withKey(url.Values{"region": {"320106"}, "day": {text}, "remove": {"yes"}})).is(200)
	require.Contains(t, taken.words(), "撤销后的影响")
	gone := p.post(p.Administrator, page, "/admin/calendar/remove").is(200)
	require.NotContains(t, gone.words(), "地方节日")

	// A day that is over is done, and who looks changes nothing.
	p.now.Store(&now)
	past := p.raw(p.Administrator, http.MethodPost, "/admin/calendar", withKey(url.Values{"region": {"320106"}, "day": {"2026-03-01"}, "working": {"false"}, "name": {"x"}, "source": {"y"}}))
	require.Equal(t, http.StatusUnprocessableEntity, past.status)
	p.now.Store(nil)
	require.Zero(t, p.get(p.Coordinator, "/admin/calendar").is(200).Find("main form[method=post], .month a").Length())
	p.get(p.Coordinator, at).is(http.StatusForbidden)
}

func TestADayTellsWhichDeadlinesItWouldMove(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	ctx := context.Background()
	patient, err := p.Store.AddPatient(ctx, p.TransplantDoctor, p.patientForm())
	require.NoError(t, err)
	search, err := p.Store.OpenSearch(ctx, p.TransplantDoctor, registry.SearchForm{Patient: patient.ID})
	require.NoError(t, err)
	asked, err := p.Store.AskTask(ctx, registry.System("test"), registry.Question{CaseID: search.ID, Step: "search.choice", Round: 1, Seat: registry.SeatTransplant, Role: policy.TransplantHospital, Rule: rules.StemCellChoice, At: p.clock()})
	require.NoError(t, err)
	day := asked.Due.In(registry.Zone).Format(time.DateOnly) // a working day: without it, what is due on it is due later
	form := url.Values{"region": {"310000"}, "day": {day}, "working": {"false"}, "name": {"全市停电"}, "source": {"沪府发〔2027〕8 号"}}
	effect := p.raw(p.Administrator, http.MethodPost, "/admin/calendar/preview", withKey(form)).is(200)
	require.Contains(t, effect.words(), "有 1 项等待中的任务跨过这一天")
	require.Contains(t, effect.words(), "1 项会推后")

	// The same task, by the same rule with another value.
	tried := p.raw(p.Administrator, http.MethodPost, "/admin/rules/dry-run", withKey(url.Values{"region": {"310104"}, "key": {string(rules.StemCellChoice)}, "value": {"1 wd"}})).is(200)
	require.Contains(t, tried.words(), "期限会提前1")
	require.Contains(t, tried.words(), "假设为1 个工作日")
}

func TestRulesAreReadComparedAndTriedWithoutChangingAnything(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	page := p.get(p.Administrator, "/admin/rules?topic=stemcell").is(200)
	require.Contains(t, page.words(), "造血干细胞退库年龄")
	require.Contains(t, page.words(), "个工作日")
	require.Regexp(t, regexp.MustCompile(`stemcell/000000@\d{4}`), page.words(), "which pack states it")
	require.Contains(t, p.get(p.Administrator, "/admin/rules?with_region=310104").is(200).words(), "规则相同")
	require.Contains(t, p.get(p.Administrator, "/admin/rules?with_region=99").is(200).words(), "没有这个行政区划")
	require.Contains(t, p.get(p.Administrator, "/admin/rules?on=yesterday").is(200).words(), "日期应写成")

	try := func(key, value string) shown {
		return p.raw(p.Administrator, http.MethodPost, "/admin/rules/dry-run", withKey(url.Values{"region": {"320106"}, "key": {key}, "value": {value}}))
	}
	for _, c := range [][3]string{{"stemcell.remobilisation.due", "soon", "单位不适用"}, {"stemcell.remobilisation.due", "3 wd, 4 wd", "只取一个值"}, {"stemcell.enrolment.age.min", "1 y", "只能比全国更严"}, {"desk.closing", "18:00", "无法试算"}} {
		require.Contains(t, try(c[0], c[1]).is(http.StatusUnprocessableEntity).words(), c[2])
	}
	// Whatever is offered can be tried.
	lines, err := p.Store.ShowRules(context.Background(), p.Administrator, registry.Place{Region: "320106"}, nil)
	require.NoError(t, err)
	offered := page.Find("#f-try-key option[value!='']")
	require.Equal(t, len(registry.TriedRules()), offered.Length())
	for _, l := range lines {
		if offered.FilterFunction(func(_ int, e *goquery.Selection) bool { return e.AttrOr("value", "") == string(l.Key) }).Length() > 0 {
			require.Contains(t, try(string(l.Key), l.Value).is(200).words(), "试算结果", l.Key)
		}
	}
	require.Zero(t, p.get(p.Coordinator, "/admin/rules").is(200).Find("main form[method=post]").Length())
	p.raw(p.Coordinator, http.MethodPost, "/admin/rules/dry-run", withKey(url.Values{"key": {"stemcell.remobilisation.due"}, "value": {"3 wd"}})).is(http.StatusForbidden)
}

func TestANoticeIsSaidInARegionsOwnWordsAndNoMore(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	list := p.get(p.Administrator, "/admin/templates").is(200)
	require.Equal(t, 20, list.Find("[data-row]").Length())
	next, there := list.Find("a[rel=next]").Attr("href")
	require.True(t, there)
	require.NotEqual(t, list.Find("[data-row] a").First().Text(), p.get(p.Administrator, next).is(200).Find("[data-row] a").First().Text())
	require.Contains(t, p.get(p.Administrator, "/admin/templates?own=1").words(), "没有符合条件的通知")
	at := "/admin/templates/drive.team/message"
	page := p.get(p.Administrator, at+"?region=320106").is(200)
	require.Contains(t, page.words(), "系统默认")
	parameters := page.Find("dl code").Map(func(_ int, e *goquery.Selection) string { return e.Text() })
	require.NotEmpty(t, parameters)
	all := strings.Join(parameters, " ")
	preview := p.raw(p.Administrator, http.MethodPost, at+"/preview", page.fill(at, "zh", "活动通知 "+all, "en", "Drive "+all)).is(200)
	require.Contains(t, preview.Find("blockquote").Text(), "DR-2026-000007", "made-up data")
	for words, says := range map[string]string{"活动通知": "缺少参数", "活动通知 " + all + " {{.Step}}": "不可用", "Drive " + all: "中文写法须用中文", strings.Repeat("长", 130) + all: "不超过 120 个字"} {
		refused := p.post(p.Administrator, page, at, "zh", words, "en", "Drive "+all).is(http.StatusUnprocessableEntity)
		require.Contains(t, refused.words(), says)
		require.Equal(t, words, refused.Find("#f-zh").Text(), "what was typed is kept")
	}
	set := p.post(p.Administrator, page, at, "zh", "活动通知 "+all, "en", "Drive "+all).is(200)
	require.Contains(t, set.words(), "写法已保存")
	require.Contains(t, set.words(), "已保存 1 次")
	require.Contains(t, set.words(), p.Administrator.Name)
	require.Contains(t, p.get(p.Administrator, "/admin/templates?own=1&channel=message&region=320106").words(), "drive.team")
	back := p.post(p.Administrator, set, at+"/remove").is(200)
	require.Contains(t, back.words(), "系统默认")
	p.get(p.Administrator, "/admin/templates/no.such/email").is(http.StatusNotFound)
	require.Zero(t, p.get(p.Coordinator, at).is(200).Find("main form[method=post]").Length())
}

func TestHealthSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	page := p.get(p.Administrator, "/admin/health").is(200)
	require.Contains(t, page.words(), "有事项须尽快处理", "nobody carries cases here")
	require.Contains(t, page.words(), "检查 Temporal 服务和网络")
	row := func(s shown, part string) string {
		return strings.Join(strings.Fields(s.Find("tbody tr").FilterFunction(func(_ int, e *goquery.Selection) bool { return e.Find("strong").Text() == part }).Text()), " ")
	}
	require.Contains(t, row(page, "数据库"), "PostgreSQL")
	require.Contains(t, row(page, "数据库结构"), "正常")
	require.Contains(t, row(page, "待发出的通知"), "没有积压")
	p.exec(`INSERT INTO notices (id, code, region, dedupe, at) VALUES ($1, 'task.opened', '320106', 'h', now())`, uuid.Must(uuid.NewV7()))
	p.exec(`INSERT INTO deliveries (id, kind, channel, code, staff_id, urgent, state, next_at, created_at) VALUES ($1, 'code', 'email', 'code', $2, false, 'waiting', now() - interval '3 hours', now() - interval '3 hours')`, uuid.New(), p.Registrar.Staff())
	late := row(p.get(p.Administrator, "/admin/health"), "待发出的通知")
	require.Contains(t, late, "1 项等待")
	require.Contains(t, late, "须处理")
	p.get(p.Coordinator, "/admin/health").is(http.StatusForbidden)
	require.Equal(t, http.StatusOK, p.get(p.Administrator, "/admin/health", "Cookie", "liferelay_lang=en").status)
}

func TestOnesOwnAccountSessionsTokensAndCodes(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	ctx := context.Background()
	page := p.get(p.Coordinator, "/account").is(200)
	for _, want := range []string{"coordinator", "造血干细胞协调员", "江苏省南京市", "本次登录", "未启用第二因素"} {
		require.Contains(t, page.words(), want)
	}
	require.Equal(t, 1, page.Find(`header a[href="/account"]`).Length(), "the menu of one's name leads here")
	require.Zero(t, page.Find(`form[action="/account/sessions/end-others"]`).Length(), "there is no other session")

	// Another session, which is ended from here.
	other, err := p.Store.SignIn(ctx, "coordinator", registrytest.Password, registry.BrowserSession, 0, registry.From{Agent: "Mozilla/5.0 (Windows NT 10.0) Chrome/140 Safari/537"})
	require.NoError(t, err)
	page = p.get(p.Coordinator, "/account").is(200)
	require.Contains(t, page.words(), "Chrome · Windows")
	end, there := page.Find(`form[action$="/end"]`).Attr("action")
	require.True(t, there)
	p.raw(p.Registrar, http.MethodPost, end, withKey(nil)).is(http.StatusNotFound)
	require.Contains(t, p.post(p.Coordinator, page, end).is(200).words(), "该登录已结束")
	_, err = p.Store.Authenticate(ctx, other.Token)
	require.Error(t, err)

	// A token is shown once.
	made := p.post(p.Coordinator, page, "/account/tokens", "name", "报表", "scopes", "cases:read", "days", "7").is(200)
	token := made.Find("code.revealed").Text()
	_, err = p.Store.Authenticate(ctx, token)
	require.NoError(t, err)
	page = p.get(p.Coordinator, "/account")
	require.NotContains(t, page.body, token)
	revoke := page.Find(`form[action^="/account/tokens/"]`).AttrOr("action", "")
	p.raw(p.Registrar, http.MethodPost, revoke, withKey(nil)).is(http.StatusNotFound)
	require.Contains(t, p.post(p.Coordinator, page, revoke).is(200).words(), "令牌已作废")
	_, err = p.Store.Authenticate(ctx, token)
	require.Error(t, err)

	// Recovery codes are renewed for the password and a code.
	require.Zero(t, page.Find(`form[action="/account/recovery-codes"]`).Length())
	p.raw(p.Coordinator, http.MethodPost, "/account/recovery-codes", withKey(url.Values{"password": {registrytest.Password}, "code": {"123456"}})).is(http.StatusUnprocessableEntity)
	address, err := p.Store.EnrolFactor(ctx, p.Coordinator)
	require.NoError(t, err)
	u, err := url.Parse(address)
	require.NoError(t, err)
	code, err := totp.GenerateCode(u.Query().Get("secret"), p.clock())
	require.NoError(t, err)
	caller, err := p.Store.Authenticate(ctx, p.session(p.Coordinator))
	require.NoError(t, err)
	recovery, err := p.Store.ConfirmFactor(ctx, caller, code)
	require.NoError(t, err)
	page = p.get(p.Coordinator, "/account").is(200)
	require.Contains(t, page.words(), "还有 10 个恢复码可用")
	wrong := p.post(p.Coordinator, page, "/account/recovery-codes", "password", registrytest.Password, "code", "aaaa-bbbb-cccc").is(http.StatusUnprocessableEntity)
	require.NotContains(t, wrong.body, registrytest.Password)
	renewed := p.post(p.Coordinator, page, "/account/recovery-codes", "password", registrytest.Password, "code", recovery[0]).is(200)
	codes := renewed.Find("[role=status] ul.mono li").Map(func(_ int, e *goquery.Selection) string { return e.Text() })
	require.Len(t, codes, 10)
	require.NotContains(t, codes, recovery[1])
	require.Equal(t, "no-store", renewed.header.Get("Cache-Control"))
	off := p.raw(p.Coordinator, http.MethodPost, "/account/factor/disable", withKey(url.Values{"password": {registrytest.Password}, "code": {codes[0]}}))
	require.Equal(t, http.StatusSeeOther, off.status)
	require.Contains(t, p.get(p.Coordinator, "/account").words(), "未启用第二因素")
}

// A day of two administrators: an organisation is added, a role given, a day declared, a rule tried and a notice said in other words.
func TestAdministratorsLookAfterTheRegisterInTheBrowser(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	ctx := browser(t)
	b := p.tab(ctx, "administrator", laptop)
	b.open("/admin/organisations")
	b.accessible()
	b.set("#f-kind", "hospital")
	b.fill("#f-name", "鼓楼样例医院")
	b.set("#f-region", "320106")
	b.click("form[action='/admin/organisations'][method=post] button[type=submit]")
	b.sees("机构已新增")
	b.accessible()
	organisation := b.at()

	b.open("/admin/staff")
	b.fill("#f-person-login", "zhangli")
	b.fill("#f-person-name", "张例")
	b.set("#f-person-organisation", p.County.ID.String())
	b.fill("#f-person-password", "春天的第一场雨下了很长")
	b.click("form[action='/admin/staff'][method=post] button[type=submit]")
	b.sees("人员已新增")
	b.accessible()
	member := b.at()

	b.open("/admin/calendar?region=320106&year=" + p.clock().AddDate(1, 0, 0).Format("2006"))
	b.accessible()
	b.click("table.month:nth-of-type(6) tbody tr:nth-child(2) a")
	b.sees("设定这一天")
	b.press("放假")
	b.fill("#f-name", "地方节日")
	b.fill("#f-source", "宁政办发〔2027〕1 号")
	b.press("先看影响")
	b.sees("设定后的影响")
	b.accessible()
	b.click("form[action='/admin/calendar'] button:not([formaction])")
	b.sees("这一天已设定")
	b.sees("地方节日")
	b.accessible()

	b.open("/admin/rules?topic=stemcell&with_region=310104")
	b.set("#f-try-key", "stemcell.remobilisation.due")
	b.fill("#f-try-value", "3 wd")
	b.click("form[action='/admin/rules/dry-run'] button[type=submit]")
	b.sees("试算结果")
	b.accessible()

	b.open("/admin/templates")
	b.accessible()
	b.open("/admin/templates/drive.team/screen?region=320106")
	b.script(`(() => { const e = document.querySelector('#f-zh'); e.value = '鼓楼提醒：' + e.value; })()`)
	b.press("预览")
	b.sees("DR-2026-000007")
	b.accessible()
	b.press("保存写法")
	b.sees("写法已保存")
	b.open("/admin/templates?own=1&region=320106")
	b.sees("鼓楼提醒")

	s := p.tab(ctx, "security", laptop)
	s.open(member)
	s.accessible()
	s.set("#f-grant-role", "registrar")
	s.set("#f-grant-region", "320106")
	s.click("form[action$='/grants'] button[type=submit]")
	s.sees("角色已授予")
	s.sees("登记员")
	s.accessible()
	s.press("重置密码")
	s.sees("只显示这一次")
	s.accessible()

	for _, width := range []int64{laptop, telephone} {
		b.wide(width)
		s.wide(width)
		for _, path := range []string{
			"/admin/organisations", organisation, "/admin/staff", member, "/admin/calendar?region=320106&year=2026", "/admin/calendar/day?region=320106",
			"/admin/rules?topic=stemcell&with_region=310104", "/admin/templates", "/admin/templates/drive.team/message", "/admin/health", "/account",
		} {
			b.open(path)
			b.accessible()
		}
		for _, path := range []string{member, organisation, "/account"} {
			s.open(path)
			s.accessible()
		}
	}
	b.wide(laptop)
	b.open("/account")
	b.press(p.Administrator.Name)
	b.press("English")
	for _, path := range []string{"/admin/organisations", "/admin/calendar?year=2026", "/admin/rules", "/admin/health", "/account", "/admin/templates/drive.team/email"} {
		b.open(path)
		b.accessible()
	}
}
