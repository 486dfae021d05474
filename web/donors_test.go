package web_test

import (
	"net/http"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
)

func TestADonorIsFoundMetAndRevealedForAMinute(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	donor := p.volunteers(p.planDrive("采样日").ID, 2)[0]
	path := "/donors/" + donor.String()
	page := p.get(p.Coordinator, path).is(http.StatusOK)
	require.Contains(t, page.words(), "张*安")
	require.NotContains(t, page.body, "张样安")
	require.NotContains(t, page.body, residentNumber(1))
	list := p.get(p.Coordinator, "/donors?programme=stemcell").is(http.StatusOK)
	require.Equal(t, 2, list.Find("tbody tr").Length())
	// The end of the number and the birth date lead to the donor; nothing of it stands in an address.
	found := p.post(p.Coordinator, p.get(p.Coordinator, "/find"), "/find", "q", residentNumber(1)[14:]+" 2000-01-01").is(http.StatusOK)
	require.Contains(t, found.words(), "张*安")
	none := p.post(p.Coordinator, p.get(p.Coordinator, "/find"), "/find", "q", "9999 2000-01-01").is(http.StatusOK)
	require.Contains(t, none.words(), "没有找到")
	clear := p.post(p.Coordinator, page, path+"/reveal", "field", "name", "reason", "call_donor").is(http.StatusOK)
	require.Contains(t, clear.words(), "张样安")
	require.Equal(t, "60", clear.Find("[data-gone-after]").AttrOr("data-gone-after", ""))
	// Withdrawing asks for the number.
	office := p.staff("office", p.County, policy.CountyOffice, "320106")
	page = p.get(office, path).is(http.StatusOK)
	p.post(office, page, path+"/withdraw", "via", "phone", "number", "").is(http.StatusUnprocessableEntity)
	number := page.Find("h1").Text()
	require.NotEmpty(t, number)
	var own string
	require.NoError(t, p.db.QueryRow(t.Context(), `SELECT number FROM registrations WHERE id = $1`, donor).Scan(&own))
	done := p.post(office, page, path+"/withdraw", "via", "phone", "number", own).is(http.StatusOK)
	require.Contains(t, done.words(), "已撤回")
}

func TestAPairIsComparedPreviewedMergedAndTakenApart(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	donors := p.volunteers(p.planDrive("采样日").ID, 2)
	pair := uuid.Must(uuid.NewV7())
	p.exec(`INSERT INTO duplicates (id, person_id, other_id, region, person_region, other_region, found_by, found_at)
		SELECT $1, a.person_id, b.person_id, a.region, a.region, b.region, '{phone}', now() FROM registrations a, registrations b WHERE a.id = $2 AND b.id = $3`, pair, donors[0], donors[1])
	var own string
	require.NoError(t, p.db.QueryRow(t.Context(), `SELECT number FROM registrations WHERE id = $1`, donors[0]).Scan(&own))
	office := p.staff("office", p.County, policy.CountyOffice, "320106")
	path := "/duplicates/" + pair.String()
	require.Equal(t, 1, p.get(office, "/duplicates").is(http.StatusOK).Find("[data-row]").Length())
	page := p.get(office, path).is(http.StatusOK)
	require.Contains(t, page.words(), "= 相同")
	require.Contains(t, page.words(), "≠ 不同")
	require.Contains(t, page.words(), "∅ 均为空")
	p.get(p.Technician, path).is(http.StatusNotFound)
	preview := p.post(office, page, path+"/preview", "stays", donors[0].String()).is(http.StatusOK)
	require.Contains(t, preview.words(), "并入")
	p.post(office, preview, path+"/merge", "reason", "documents_seen", "number", "1").is(http.StatusUnprocessableEntity)
	merged := p.post(office, preview, path+"/merge", "reason", "documents_seen", "number", own).is(http.StatusOK)
	require.Contains(t, merged.words(), "合并记录")
	undo, _ := merged.Find(`form[action^="/merges/"]`).Attr("action")
	apart := p.post(office, merged, undo, "reason", "twins", "number", own).is(http.StatusOK)
	require.Contains(t, apart.words(), "已撤销")
}
