package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/registry"
)

// The office answers somebody who asks who saw their data, page by page.
func TestWhoLookedIsAnsweredPageByPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("采样")
	donor := "/v1/donors/" + w.volunteers(drive.ID, 1)[0].String()
	for range 3 {
		w.send(w.Coordinator, http.MethodGet, donor, nil).is(200)
	}
	first := read[api.PageBody[registry.Look]](w.send(w.Coordinator, http.MethodGet, donor+"/looks?limit=2&person=true", nil).is(200))
	require.Len(t, first.Items, 2)
	require.NotEmpty(t, first.Next)
	second := read[api.PageBody[registry.Look]](w.send(w.Coordinator, http.MethodGet, donor+"/looks?limit=2&person=true&cursor="+first.Next, nil).is(200))
	require.NotEmpty(t, second.Items)
	require.NotContains(t, first.Items, second.Items[0])
	require.Equal(t, "coordinator", first.Items[0].Role)
	require.Empty(t, first.Items[0].Staff)
	audited := read[api.PageBody[registry.Look]](w.send(w.Auditor, http.MethodGet, donor+"/looks", nil).is(200))
	require.NotEmpty(t, audited.Items[0].Staff)
	w.send(w.Technician, http.MethodGet, donor+"/looks", nil).problem(404, "donor_not_found")
}
