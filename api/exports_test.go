package api_test

import (
	"encoding/csv"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
)

// sheet reads a CSV that came back.
func (a answer) sheet() [][]string {
	a.t.Helper()
	require.Equal(a.t, "text/csv; charset=utf-8", a.header.Get("Content-Type"))
	require.Equal(a.t, `attachment; filename="donors.csv"`, a.header.Get("Content-Disposition"), "the name tells nothing")
	require.Equal(a.t, "no-store", a.header.Get("Cache-Control"))
	text, marked := strings.CutPrefix(string(a.body), "\ufeff")
	require.True(a.t, marked)
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	require.NoError(a.t, err)
	return lines
}

func TestDonorsAreExportedMaskedByOneAndInClearByTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	w.volunteers(drive.ID, 3)
	asker, approver := w.staff("asker", w.City, policy.ProvincialOffice, "320000"), w.staff("approver", w.City, policy.ProvincialOffice, "320000")
	english := []string{"Accept-Language", "en"}
	clear := []string{"张样安", "13800000001", residentNumber(1), residentNumber(2), residentNumber(3)}

	masked := w.send(w.Registrar, http.MethodGet, "/v1/donors/export.csv?programme=stemcell&region=320106", nil).is(200)
	require.Len(t, masked.sheet(), 4)
	require.Equal(t, "张*安", masked.sheet()[1][1])
	require.Equal(t, "Name (masked)", w.send(w.Registrar, http.MethodGet, "/v1/donors/export.csv", nil, english...).is(200).sheet()[0][1])
	require.Len(t, w.send(w.Registrar, http.MethodGet, "/v1/donors/export.csv?barcode=NJ26000002", nil).is(200).sheet(), 2)
	require.Len(t, read[api.PageBody[registry.DonorLine]](w.send(w.Registrar, http.MethodGet, "/v1/donors?region=320106&registered_from="+w.clock().In(registry.Zone).Format(time.DateOnly), nil).is(200)).Items, 3)
	require.Contains(t, string(w.send(w.Registrar, http.MethodGet, "/v1/donors/export.csv?region=nowhere", nil).is(422).body), `"R118"`)
	require.Contains(t, string(w.send(w.Registrar, http.MethodGet, "/v1/donors/export.csv?surname=x", nil).is(422).body), `"R137"`)
	require.Equal(t, "您没有权限进行这项操作。", w.send(w.Technician, http.MethodGet, "/v1/donors/export.csv", nil).problem(403, "denied").Detail)

	form := map[string]any{"region": "320000", "filter": map[string]any{"programme": "stemcell", "drive": drive.ID}, "classes": []string{"identity", "contact"}, "purpose": "follow_up", "reason": "年度回访需要逐一打电话核实"}
	with := func(field string, value any) map[string]any {
		out := map[string]any{}
		for k, v := range form {
			out[k] = v
		}
		out[field] = value
		return out
	}
	says := func(by registry.Actor, method, path string, body any, status int, code, chinese, inEnglish string) {
		t.Helper()
		zh, en := w.send(by, method, path, body), w.send(by, method, path, body, english...)
		require.Contains(t, zh.problem(status, code).Detail, chinese)
		require.Contains(t, en.problem(status, code).Detail, inEnglish)
		for _, text := range clear {
			require.NotContains(t, string(zh.body)+string(en.body), text)
		}
	}
	says(asker, http.MethodPost, "/v1/exports", with("reason", "太短"), 422, "form_invalid", "需要修改", "to be mended")
	says(asker, http.MethodPost, "/v1/exports", with("purpose", "search"), 403, "export_purpose", "个案, 随访", "a case, follow-up")
	says(w.Coordinator, http.MethodPost, "/v1/exports", form, 403, "denied", "没有权限", "may not")
	require.Contains(t, string(w.send(asker, http.MethodPost, "/v1/exports", with("name", "张样安")).is(422).body), `"R137"`, "nobody is looked for by name")

	key := uuid.NewString()
	opened := w.send(asker, http.MethodPost, "/v1/exports", form, "Idempotency-Key", key).is(201)
	v := read[registry.ExportView](opened)
	require.Equal(t, v, read[registry.ExportView](w.send(asker, http.MethodPost, "/v1/exports", form, "Idempotency-Key", key).is(201)))
	require.Equal(t, 1, w.count(`SELECT count(*) FROM exports`))
	require.NotContains(t, string(opened.body), "年度回访")
	require.Equal(t, []any{"waiting", 3, drive.ID}, []any{v.Status, v.Rows, v.Filter.Drive})
	path := "/v1/exports/" + v.ID.String()
	says(asker, http.MethodPost, path+"/donors.csv", nil, 409, "export_waiting", "尚未获批准", "Nobody has approved")
	says(asker, http.MethodPost, path+"/approve", map[string]any{}, 403, "export_own", "不能批准自己", "Nobody approves")
	says(approver, http.MethodPost, path+"/donors.csv", nil, 403, "export_of_another", "只能由申请人", "Only who asked")
	says(approver, http.MethodPost, path+"/refuse", map[string]any{}, 422, "form_invalid", "需要修改", "to be mended")
	says(w.Coordinator, http.MethodPost, path+"/donors.csv", nil, 404, "export_not_found", "没有找到该项导出", "no such export")
	require.Len(t, read[api.PageBody[registry.ExportView]](w.send(approver, http.MethodGet, "/v1/exports?status=waiting", nil).is(200)).Items, 1)
	require.Empty(t, read[api.PageBody[registry.ExportView]](w.send(w.Coordinator, http.MethodGet, "/v1/exports", nil).is(200)).Items)
	require.Equal(t, form["reason"], read[registry.ExportWords](w.send(approver, http.MethodPost, path+"/reveal", nil).is(200)).Reason)
	notices := w.send(approver, http.MethodGet, "/v1/notices", nil, english...).is(200)
	require.Contains(t, string(notices.body), "Somebody asks to export 3 donors in clear")

	approved := read[registry.ExportView](w.send(approver, http.MethodPost, path+"/approve", map[string]any{}).is(200))
	says(approver, http.MethodPost, path+"/approve", map[string]any{}, 409, "export_settled", "已获批准", "is approved")
	require.Equal(t, approver.Staff(), *read[registry.ExportView](w.send(asker, http.MethodGet, path, nil).is(200)).DecidedBy)
	fetched := w.send(asker, http.MethodPost, path+"/donors.csv", nil, "Idempotency-Key", key).is(200)
	lines := fetched.sheet()
	require.Len(t, lines, 4)
	require.Equal(t, []string{"张样安", "居民身份证"}, lines[1][1:3])
	require.Equal(t, residentNumber(1), strings.TrimPrefix(lines[1][3], "'"))
	require.Equal(t, "'+8613800000001", lines[1][4], "what a spreadsheet would compute is covered")
	require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE staff_id = $1 AND key = $2`, asker.Staff(), key), "the sheet is kept for no key")
	require.NotContains(t, w.logged(), "张样安")
	require.NotEmpty(t, read[api.PageBody[registry.Look]](w.send(w.Coordinator, http.MethodGet, "/v1/donors/"+lines[1][len(lines[1])-1]+"/looks", nil).is(200)).Items)

	w.exec(`UPDATE exports SET until = now() - interval '1 second'`)
	says(asker, http.MethodPost, path+"/donors.csv", nil, 409, "export_over", "文件已不存在", "and is gone")
	w.exec(`UPDATE exports SET until = $1`, approved.Until)
	w.send(asker, http.MethodDelete, path, nil).is(204)
	says(asker, http.MethodPost, path+"/donors.csv", nil, 409, "export_settled", "已撤回", "is withdrawn")
	w.send(asker, http.MethodDelete, path, nil).is(204)

	second := read[registry.ExportView](w.send(asker, http.MethodPost, "/v1/exports", form).is(201))
	refused := read[registry.ExportView](w.send(approver, http.MethodPost, "/v1/exports/"+second.ID.String()+"/refuse", map[string]any{"note": "请改为导出遮盖后的名单"}).is(200))
	require.Equal(t, "refused", refused.Status)
	says(asker, http.MethodPost, "/v1/exports/"+second.ID.String()+"/donors.csv", nil, 409, "export_settled", "已被拒绝", "is refused")

	// A program's token reads the list, and takes nothing out in clear.
	token := read[registry.NewToken](w.send(asker, http.MethodPost, "/v1/account/tokens", map[string]any{"name": "x", "scopes": []string{"donors:read"}, "days": 9}).is(201)).Token
	w.send(nobody, http.MethodGet, "/v1/donors/export.csv", nil, bearer(token)...).is(200)
	w.send(nobody, http.MethodPost, path+"/donors.csv", nil, bearer(token)...).problem(403, "session_required")
	w.send(nobody, http.MethodPost, "/v1/exports", form, bearer(token)...).problem(403, "session_required")
}

func TestAnInventoryIsFetchedAsAFileInEachFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	donors := w.volunteers(drive.ID, 2)
	w.exec(`UPDATE registrations SET status = 'listed' WHERE id = $1`, donors[0])
	w.exec(`INSERT INTO typings (id, person_id, registration_id, specimen_id, laboratory_id, kind, method, nomenclature, gl_string, typed_on)
		SELECT gen_random_uuid(), person_id, registration_id, id, $2, 'enrolment', 'NGS', '3.57.0', $3, current_date FROM specimens WHERE registration_id = $1`, donors[0], w.Laboratory.ID, gl)
	asker, approver := w.staff("asker", w.City, policy.ProvincialOffice, "320000"), w.staff("approver", w.City, policy.ProvincialOffice, "320000")
	form := map[string]any{"region": "320000", "classes": []string{"hla"}, "purpose": "search", "reason": "与其他登记库交换在库名单"}
	path := "/v1/exports/" + read[registry.ExportView](w.send(asker, http.MethodPost, "/v1/exports", form).is(201)).ID.String()
	require.Contains(t, w.send(asker, http.MethodPost, path+"/inventory?format=gl", nil).problem(409, "export_waiting").Detail, "尚未获批准")
	w.send(approver, http.MethodPost, path+"/approve", map[string]any{}).is(200)
	for _, format := range registry.InventoryFormats() {
		a := w.send(asker, http.MethodPost, path+"/inventory?format="+string(format), nil).is(200)
		require.Equal(t, []string{"application/octet-stream", "1", "0", "no-store"}, []string{a.header.Get("Content-Type"), a.header.Get("X-Donors"), a.header.Get("X-Left-Out"), a.header.Get("Cache-Control")})
		require.Regexp(t, `^attachment; filename="inventory\.(xml|json|txt)"$`, a.header.Get("Content-Disposition"))
		require.Contains(t, string(a.body), "46:01")
		require.NotContains(t, string(a.body), "张")
	}
	w.send(asker, http.MethodPost, path+"/inventory?format=mv4-csv", nil).is(422)
	w.send(asker, http.MethodPost, path+"/inventory", nil).is(422)
	require.Contains(t, w.send(asker, http.MethodPost, path+"/donors.csv", nil, "Accept-Language", "en").problem(409, "export_inventory").Detail, "inventory of typings")
	w.send(w.Coordinator, http.MethodPost, path+"/inventory?format=gl", nil).problem(404, "export_not_found")
}
