package web_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// candidate makes a donor one of a search's report.
func (p *pages) candidate(search, donor uuid.UUID, rank, matched int, grades, change string) {
	p.exec(`INSERT INTO link.candidates (search_id, registration_id, run, rank, matched, possible, of, grades, change, chance_10, before_rank, before_matched, before_possible)
		VALUES ($1, $2, 2, $3, $4, 10, 10, $5, 'same', 0.42, 1, $6, 10)`, search, donor, rank, matched, grades, map[string]any{"new": nil, "same": matched, "changed": matched - 1}[change])
}

func TestADoctorEntersAPatientAndOpensASearch(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	form := p.get(p.TransplantDoctor, "/patients").is(200)
	require.Contains(t, form.words(), "还没有登记患者")
	form = p.get(p.TransplantDoctor, "/patients/new").is(200)
	fill := []string{"birth_year", "2015", "sex", "male", "diagnosis", "C91.0", "weight_kg", "30", "urgency", "urgent", "gl", gl, "nomenclature", "3.57.0", "consent_on", p.clock().In(registry.Zone).Format("2006-01-02")}

	// The typing is read while it is written.
	sent := form.fill("/patients", fill...)
	read := p.raw(p.TransplantDoctor, http.MethodPost, "/patients/typing", sent, "HX-Request", "true").is(200)
	require.Contains(t, read.words(), "A 02:01 11:01")
	sent.Set("gl", "HLA-A*02:01+HLA-Q*1")
	require.Equal(t, 1, p.raw(p.TransplantDoctor, http.MethodPost, "/patients/typing", sent, "HX-Request", "true").is(200).Find(".notice.fair").Length())

	wrong := p.raw(p.TransplantDoctor, http.MethodPost, "/patients", form.fill("/patients", append([]string{"birth_year", "2015"}, fill[2:4]...)...)).is(http.StatusUnprocessableEntity)
	require.Contains(t, wrong.Find("[role=alert]").Text(), "诊断")
	shown := p.post(p.TransplantDoctor, form, "/patients", fill...).is(200)
	require.Contains(t, shown.words(), "02:01")
	id := regexp.MustCompile(`/patients/([0-9a-f-]{36})`).FindStringSubmatch(shown.path)[1]
	require.Contains(t, p.get(p.TransplantDoctor, "/patients").words(), "C91.0")

	ask := p.get(p.TransplantDoctor, "/searches/new?patient="+id).is(200)
	opened := p.post(p.TransplantDoctor, ask, "/searches", "policy", "10/10").is(200)
	require.Contains(t, opened.path, "/searches/")
	require.Contains(t, opened.words(), "尚未比对")
	require.Equal(t, 1, p.get(p.TransplantDoctor, "/searches?status=open").Find("[data-row]").Length())
	require.Zero(t, p.get(p.TransplantDoctor, "/searches?status=closed").Find("[data-row]").Length())
	require.Zero(t, p.get(p.OtherDoctor, "/searches").is(200).Find("[data-row]").Length(), "another hospital's")

	closed := p.post(p.TransplantDoctor, opened, strings.Split(opened.path, "?")[0]+"/close", "reason", "other_treatment").is(200)
	require.Contains(t, closed.words(), "已结束")
	for _, by := range []registry.Actor{p.Coordinator, p.Registrar, p.Auditor, p.CollectionDoctor} {
		require.GreaterOrEqual(t, p.get(by, "/patients/new").status, 400)
		require.GreaterOrEqual(t, p.raw(by, http.MethodPost, "/patients", withKey(sent)).status, 400)
		require.GreaterOrEqual(t, p.raw(by, http.MethodPost, "/searches", withKey(url.Values{"patient": {id}})).status, 400)
	}
}

func withKey(form url.Values) url.Values {
	out := url.Values{}
	for name, values := range form {
		out[name] = values
	}
	out.Set("_key", uuid.NewString())
	return out
}

// report is a search of the transplant doctor's with four candidates, who is waited for to choose.
func (p *pages) report() (search registry.SearchView, donors []uuid.UUID) {
	p.t.Helper()
	ctx := context.Background()
	drive := p.planDrive("采样日").ID
	donors = p.volunteers(drive, 4)
	patient, err := p.Store.AddPatient(ctx, p.TransplantDoctor, p.patientForm())
	require.NoError(p.t, err)
	search, err = p.Store.OpenSearch(ctx, p.TransplantDoctor, registry.SearchForm{Patient: patient.ID})
	require.NoError(p.t, err)
	p.exec(`UPDATE searches SET run = 2, compared = 4, last_run_at = now() WHERE id = $1`, search.ID)
	p.exec(`UPDATE registrations SET status = 'listed' WHERE id = ANY($1)`, donors)
	const full = `[{"locus":"A","counts":true,"matched":2,"possible":2,"positions":[{"grade":"allele","patient":"HLA-A*02:01","donor":"HLA-A*02:01"},{"grade":"potential","patient":"HLA-A*11:01","donor":"HLA-A*11:XX"}]},
		{"locus":"B","counts":true,"matched":1,"possible":1,"positions":[{"grade":"allele_mismatch","patient":"HLA-B*40:01","donor":"HLA-B*40:02"},{"grade":"mismatch","patient":"HLA-B*46:01","donor":"HLA-B*15:01"}]}]`
	p.candidate(search.ID, donors[0], 1, 10, full, "new")
	p.candidate(search.ID, donors[1], 2, 10, full, "same")
	p.candidate(search.ID, donors[2], 3, 9, full, "changed")
	p.candidate(search.ID, donors[3], 4, 8, `[]`, "same")
	_, err = p.Store.AskTask(ctx, registry.System("test"), registry.Question{CaseID: search.ID, Step: "search.choice", Round: 1, Seat: registry.SeatTransplant, Role: policy.TransplantHospital, At: p.clock(), DueAt: p.clock().AddDate(0, 0, 3)})
	require.NoError(p.t, err)
	return search, donors
}

func TestAReportShowsEveryCopyBySignAndWordAndNobodysName(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	search, donors := p.report()
	path := "/searches/" + search.ID.String()
	page := p.get(p.TransplantDoctor, path).is(200)
	rows := page.Find("table.hla tbody tr")
	require.Equal(t, 4, rows.Length())
	first := strings.Join(strings.Fields(rows.First().Text()), " ")
	for _, want := range []string{"10/10", "42%", "= 等位基因相合 02:01", "? 可能相合 11:XX", "≠ 等位基因不合 40:02", "✕ 抗原不合 15:01", "○ 未分型", "25-29", "新增", "江苏省", "同大区", "可申请"} {
		require.Contains(t, first, want)
	}
	require.Contains(t, page.Find(".sticky").Text(), "02:01", "the patient's typing stands above")
	for _, never := range []string{"张样安", "张*", "138", "320106"} {
		require.NotContains(t, page.words(), never)
	}
	require.Contains(t, rows.Eq(2).Text(), "上次 8–10/10")

	// Filters are in the address, and tell apart no finer than the page does.
	count := func(query string) int {
		return p.get(p.TransplantDoctor, path+query).is(200).Find("table.hla tbody tr").Length()
	}
	require.Equal(t, []int{1, 1, 0, 3, 4, 0}, []int{count("?change=new"), count("?change=changed"), count("?change=lost"), count("?matched=9"), count("?age_to=29"), count("?distance=province")})
	require.Contains(t, p.get(p.TransplantDoctor, path+"?sex=female&matched=12").words(), "没有符合筛选条件的候选人")
	p.get(p.TransplantDoctor, path+"?sex=neither").is(http.StatusUnprocessableEntity)

	compare := p.get(p.TransplantDoctor, path+"/compare?donor="+donors[0].String()+"&donor="+donors[2].String()).is(200)
	require.Equal(t, 2, compare.Find("table thead a").Length())
	require.Contains(t, compare.words(), "9–10/10")
	p.get(p.TransplantDoctor, path+"/compare?donor="+donors[0].String()).is(http.StatusConflict)
	p.get(p.OtherDoctor, path).is(http.StatusNotFound)
	english := p.get(p.TransplantDoctor, path, "Cookie", "liferelay_lang=en")
	require.Equal(t, 200, english.status)
}

func TestAChoiceIsMadeFromTheReportOnceAndByWhoIsAsked(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	search, donors := p.report()
	path := "/searches/" + search.ID.String()
	page := p.get(p.TransplantDoctor, path).is(200)
	require.Contains(t, page.words(), "申请所选捐献者")
	p.raw(p.TransplantDoctor, http.MethodPost, path+"/choose", page.fill(path+"/choose")).is(http.StatusConflict)
	// The desk does not answer here: the answer is kept, with the donors in the order that was wanted.
	sent := page.fill(path + "/choose")
	sent["donor"], sent["first"] = []string{donors[0].String(), donors[2].String()}, []string{donors[2].String()}
	p.raw(p.TransplantDoctor, http.MethodPost, path+"/choose", sent).is(http.StatusServiceUnavailable)
	var kept []string
	require.NoError(t, p.db.QueryRow(context.Background(), `SELECT ARRAY(SELECT jsonb_array_elements_text(outcome->'donors')) FROM answers WHERE status = 'pending'`).Scan(&kept))
	require.Equal(t, []string{donors[2].String(), donors[0].String()}, kept)
	p.raw(p.OtherDoctor, http.MethodPost, path+"/choose", withKey(sent)).is(http.StatusNotFound)
	p.exec(`UPDATE tasks SET status = 'done' WHERE case_id = $1`, search.ID)
	done := p.get(p.TransplantDoctor, path).is(200)
	require.NotContains(t, done.words(), "申请所选捐献者", "nothing is asked of them any more")
	p.raw(p.TransplantDoctor, http.MethodPost, path+"/choose", withKey(sent)).is(http.StatusConflict)
}

func TestWhyACandidateMatchesIsToldLocusByLocus(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	search, donors := p.report()
	for i, donor := range donors[:1] {
		p.exec(`INSERT INTO specimens (id, barcode, kind, person_id, registration_id, drawn_on, status, holder_id, region) SELECT $1, $2, 'enrolment', person_id, id, current_date, 'typed', $3, region FROM registrations WHERE id = $4`, uuid.New(), "WHY"+string(rune('A'+i)), p.Laboratory.ID, donor)
		p.exec(`INSERT INTO typings (id, person_id, registration_id, specimen_id, laboratory_id, kind, method, nomenclature, gl_string, typed_on)
			SELECT uuid_v7(), r.person_id, r.id, s.id, $2, 'enrolment', 'NGS', '3.57.0', $3, current_date FROM registrations r JOIN specimens s ON s.barcode = 'WHYA' WHERE r.id = $1`, donor, p.Laboratory.ID, gl)
	}
	page := p.get(p.TransplantDoctor, "/searches/"+search.ID.String()+"/candidates/"+donors[0].String()).is(200)
	require.GreaterOrEqual(t, page.Find("section.card h2").Length(), 5, "a part for each locus")
	require.Contains(t, page.words(), "候选人")
	p.get(p.OtherDoctor, "/searches/"+search.ID.String()+"/candidates/"+donors[0].String()).is(http.StatusNotFound)
}

// A day of a hospital, on the real register and the real desk: a patient is entered, donors are found, two are asked for, and a case is opened for each.
func TestADoctorFindsAndAsksForDonorsInTheBrowser(t *testing.T) {
	t.Parallel()
	p, d := newDesk(t)
	d.Listed(3, workflowstest.GL)
	b := p.tab(browser(t), "transplant", laptop)
	b.open("/patients/new")
	b.accessible()
	b.fill("#f-birth_year", "2015")
	b.press("男")
	b.fill("#f-diagnosis", "C91.0")
	b.fill("#f-weight_kg", "30")
	b.press("紧急")
	b.fill("#f-nomenclature", "3.57.0")
	b.set("#f-gl", workflowstest.GL)
	b.sees("分型读作")
	b.set("#f-consent_on", workflowstest.Today().String())
	b.click("form[action='/patients'] button[type=submit]")
	b.sees("患者已登记")
	b.press("新建检索")
	b.accessible()
	b.click("form[action='/searches'] button[type=submit]")
	b.sees("检索已建立")
	d.Eventually(func() bool {
		b.open(b.at())
		n, err := chromedp.Run(b, chromedp.Evaluate[int](`document.querySelectorAll('input[name=donor]').length + document.querySelectorAll('input[name=first]').length`))
		return err == nil && n == 6
	}, "the search is not run")
	b.accessible()
	b.script(`document.querySelectorAll('input[name=donor]')[0].click(); document.querySelectorAll('input[name=donor]')[1].click(); document.querySelectorAll('input[name=first]')[1].click()`)
	b.press("对比所选")
	b.sees("候选人对比")
	b.accessible()
	b.press("返回检索")
	b.script(`document.querySelectorAll('input[name=donor]')[0].click(); document.querySelectorAll('input[name=donor]')[1].click(); document.querySelectorAll('input[name=first]')[1].click()`)
	b.press("申请所选捐献者")
	b.sees("您的选择已提交")
	b.sees("备选 1")
	var cases int
	require.NoError(t, p.db.QueryRow(context.Background(), `SELECT count(*) FROM cases WHERE protocol = 'stemcell' AND status = 'open'`).Scan(&cases))
	require.Equal(t, 2, cases)
	b.wide(telephone)
	b.open(b.at())
	b.accessible()
	b.open("/searches")
	b.accessible()
}

func TestTheDashboardIsAccessibleOnEveryScreenInBothLanguages(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	p.counted()
	p.staff("bridge", p.City, policy.Bridge, "000000")
	ctx := browser(t)
	b := p.tab(ctx, "coordinator", laptop)
	b.open("/dashboard?year=2025")
	b.accessible()
	b.wide(telephone)
	b.open("/dashboard?year=2025")
	b.accessible()
	b.press("菜单")
	b.press(p.Coordinator.Name)
	b.press("English")
	b.sees("How many reached each stage")
	b.accessible()
}
