package web_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestANoticeIsCountedReadAndGoneFromTheBell(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	id := uuid.Must(uuid.NewV7())
	p.exec(`INSERT INTO notices (id, code, args, role, region, urgent, dedupe, at) VALUES ($1, 'drive.team', '{"Number": "DR-2026-000001", "First": "2026-12-01", "Last": "2026-12-02"}', 'coordinator', '320106', true, 'x', now())`, id)
	require.Equal(t, "1", strings.TrimSpace(p.get(p.Coordinator, "/notices/count", "HX-Request", "true").body))
	require.Empty(t, strings.TrimSpace(p.get(p.Registrar, "/notices/count", "HX-Request", "true").body), "it is for coordinators")
	page := p.get(p.Coordinator, "/notices")
	require.Contains(t, page.words(), "DR-2026-000001")
	require.Contains(t, page.words(), "紧急")
	after := p.post(p.Coordinator, page, "/notices/"+id.String()+"/read")
	require.Contains(t, after.words(), "已标为已读")
	require.NotContains(t, after.words(), "DR-2026-000001")
	require.Contains(t, p.get(p.Coordinator, "/notices?tab=all").words(), "DR-2026-000001")
	require.Empty(t, strings.TrimSpace(p.get(p.Coordinator, "/notices/count", "HX-Request", "true").body))

	// Preferences are kept; quiet hours that are none are told beside the form.
	settings := p.get(p.Coordinator, "/notices/settings")
	require.Contains(t, settings.words(), "尚未开通")
	saved := p.post(p.Coordinator, settings, "/notices/settings", "mail", "urgent", "quiet", "21:30-06:30")
	require.Contains(t, saved.words(), "通知设置已保存")
	wrong := p.post(p.Coordinator, saved, "/notices/settings", "quiet", "21:30+06:30")
	require.Equal(t, http.StatusUnprocessableEntity, wrong.status)
	var quiet int
	require.NoError(t, p.db.QueryRow(context.Background(), `SELECT quiet_from FROM notice_preferences WHERE staff_id = $1 AND mail = 'urgent'`, p.Coordinator.Staff()).Scan(&quiet))
	require.Equal(t, 21*60+30, quiet)
}

func TestAWebhookIsEnteredTestedAndTakenOut(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	page := p.get(p.Administrator, "/admin/webhooks")
	made := p.post(p.Administrator, page, "/admin/webhooks", "organisation", p.County.ID.String(), "name", "短信平台", "url", "https://hooks.example/x", "codes", "task.opened\ncare.alert")
	require.Contains(t, made.words(), "whsec_")
	require.Equal(t, "no-store", made.header.Get("Cache-Control"))
	list := p.get(p.Administrator, "/admin/webhooks")
	require.NotContains(t, list.body, "whsec_", "the secret is shown once")
	private := p.post(p.Administrator, list, "/admin/webhooks", "organisation", p.County.ID.String(), "name", "内网", "url", "https://10.0.0.1/x", "codes", "*")
	require.Contains(t, private.words(), "公网的 https 地址")
	var id uuid.UUID
	require.NoError(t, p.db.QueryRow(context.Background(), `SELECT id FROM webhooks`).Scan(&id))
	at := "/admin/webhooks/" + id.String()
	one := p.post(p.Administrator, p.get(p.Administrator, at), at+"/ping")
	require.Contains(t, one.words(), "测试推送已排队")
	require.Contains(t, one.words(), "等待发送")
	require.Contains(t, p.get(p.Administrator, "/admin/deliveries?state=waiting").words(), "短信平台")
	gone := p.post(p.Administrator, one, at+"/remove")
	require.Contains(t, gone.words(), "推送地址已删除")
	require.Equal(t, http.StatusForbidden, p.get(p.Coordinator, "/admin/webhooks").status)
}

func TestPapersAreShownAndACertificateIsCheckedByAStranger(t *testing.T) {
	t.Parallel()
	w := newWalked(t)
	labels := w.get(w.Registrar, "/drives/"+w.drive.String()+"/labels")
	require.Contains(t, labels.words(), "A4 每张 65 枚")
	pdf := w.get(w.Registrar, "/drives/"+w.drive.String()+"/labels.pdf?format=a4-65&to="+w.firstBarcode)
	require.Equal(t, "application/pdf", pdf.header.Get("Content-Type"))
	require.True(t, strings.HasPrefix(pdf.body, "%PDF-"))
	page := w.get(w.Coordinator, "/donors/"+w.donor.String()+"/certificates")
	require.Contains(t, page.words(), "CT-2026-000001")
	action := "/donors/" + w.donor.String() + "/certificates/" + w.certificate.String()
	require.Equal(t, http.StatusUnprocessableEntity, w.post(w.Coordinator, page, action, "note", "短").status)
	pdf = w.post(w.Coordinator, page, action, "note", "为捐献者颁发证书时使用")
	require.Equal(t, "application/pdf", pdf.header.Get("Content-Type"))
	require.Equal(t, "no-store", pdf.header.Get("Cache-Control"))
	var proof string
	require.NoError(t, w.db.QueryRow(context.Background(), `SELECT upper(right(replace(proof::text, '-', ''), 12)) FROM certificates WHERE id = $1`, w.certificate).Scan(&proof))
	genuine := w.get(nobody, "/verify/CT-2026-000001-"+proof)
	require.Contains(t, genuine.words(), "证书真实有效")
	require.Contains(t, genuine.words(), "造血干细胞捐献证书")
	require.Equal(t, http.StatusNotFound, w.get(nobody, "/verify/CT-2026-000001-000000000000").status)
}
