package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
)

// walk reads a list page by page and returns its items and how long each page was.
func (w *world) walk(by registry.Actor, path string, limit int) (items []string, pages []int) {
	w.t.Helper()
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	next := ""
	for {
		a := w.send(by, http.MethodGet, fmt.Sprintf("%s%slimit=%d&cursor=%s", path, separator, limit, url.QueryEscape(next)), nil).is(200)
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next"`
		}
		require.NoError(w.t, json.Unmarshal(a.body, &page))
		for _, item := range page.Items {
			items = append(items, string(item))
		}
		pages = append(pages, len(page.Items))
		if page.Next == "" {
			return items, pages
		}
		require.NotEqual(w.t, next, page.Next, "the cursor stands still")
		next = page.Next
		require.Less(w.t, len(pages), 1000, "the list does not end")
	}
}

func TestThePagesOfAListAreTheList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	drive, _ := w.drive("秋季采样")
	w.volunteers(drive.ID, 7)
	for i := range 4 {
		w.drive(fmt.Sprintf("第%d场", i))
	}
	sheet := read[registry.BatchView](w.upload(drive.ID, csvOf(w.volunteer(21), w.volunteer(22), w.volunteer(23), w.volunteer(24), w.volunteer(25))))
	for i := range 4 {
		w.send(w.Registrar, http.MethodPost, "/v1/drives/"+drive.ID.String()+"/consignments", map[string]any{"to": w.Laboratory.ID, "barcodes": []string{fmt.Sprintf("NJ26%06d", i+1)}}).is(201)
	}
	w.send(w.Registrar, http.MethodPost, "/v1/drives/"+drive.ID.String()+"/consignments", map[string]any{"to": w.Laboratory.ID}).is(201)
	id, _ := w.caseWith(registry.Steps()[:6]...)
	// Some are due, or came, at the very same instant, and the instants are finer than a second.
	w.exec(`UPDATE tasks SET due_at = timestamptz '2027-01-01 00:00:00.123456Z' + (CASE WHEN step < 'drive.sending' THEN 0 ELSE 1 END) * interval '1 microsecond' WHERE case_id = $1`, id)
	for i := range 7 {
		w.exec(`INSERT INTO notices (id, code, args, region, case_id, dedupe, at, created_at) VALUES ($1, 'task.opened', '{"Step": "stemcell.schedule"}', '320106', $2, $3, now(), timestamptz '2026-11-21 08:00:00.654321Z' + $4 * interval '1 microsecond')`,
			uuid.New(), id, fmt.Sprint("test", i), i/3)
	}
	donors, _ := w.walk(w.Registrar, "/v1/donors", 200)
	for i, kind := range []string{"access", "copy", "withdrawal", "deletion", "explanation"} {
		one := struct {
			ID uuid.UUID `json:"id"`
		}{}
		require.NoError(t, json.Unmarshal([]byte(donors[i]), &one))
		w.send(w.Registrar, http.MethodPost, "/v1/rights", map[string]any{"donor": one.ID, "kind": kind, "asker": "person", "via": "letter"}).is(201)
	}
	for _, l := range []struct {
		path string
		by   registry.Actor
		n    int
	}{
		{"/v1/donors", w.Registrar, 7},
		{"/v1/donors?status=enrolling", w.Registrar, 7},
		{"/v1/cases", w.Coordinator, 0},
		{"/v1/tasks", w.Coordinator, 6},
		{"/v1/notices", w.Coordinator, 7},
		{"/v1/notices?unread=true", w.Coordinator, 7},
		{"/v1/organisations", w.Registrar, 7},
		{"/v1/rights", w.Registrar, 5},
		{"/v1/rights?status=open", w.Coordinator, 5},
		{"/v1/drives", w.Registrar, 5},
		{"/v1/consignments", w.Technician, 5},
		{"/v1/import-batches/" + sheet.ID.String() + "/rows", w.Registrar, 5},
		{"/v1/audit", w.Auditor, 0},
		{"/v1/audit?actor=" + w.Registrar.Subject(), w.Auditor, 0},
	} {
		t.Run(l.path, func(t *testing.T) {
			w := *w
			w.t = t
			whole, _ := w.walk(l.by, l.path, 200)
			if l.n > 0 {
				require.Len(t, whole, l.n)
			}
			require.Greater(t, len(whole), 4)
			limits := []int{1, 2, 3, len(whole) - 1, len(whole), len(whole) + 1}
			audit := strings.HasPrefix(l.path, "/v1/audit")
			if audit {
				limits = []int{7, 50, 200}
			}
			for _, limit := range limits {
				items, pages := w.walk(l.by, l.path, limit)
				if audit {
					items = items[len(items)-len(whole):] // looking is audited too, and the newest come first
				} else if len(whole)%limit != 0 {
					require.Len(t, pages, len(whole)/limit+1)
				}
				require.Equal(t, whole, items, "pages of %d", limit)
				for _, n := range pages[:len(pages)-1] {
					require.Equal(t, limit, n)
				}
			}
		})
	}
}

func TestAPageIsNeverLongerThanTheLongest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.exec(`INSERT INTO organisations (id, kind, name, region) SELECT gen_random_uuid(), 'host', 'Host ' || n, '320106' FROM generate_series(1, 250) n`)
	for limit, want := range map[string]int{"": 50, "?limit=0": 50, "?limit=-3": 50, "?limit=200": 200, "?limit=100000": 200} {
		a := w.send(w.Registrar, http.MethodGet, "/v1/organisations"+limit, nil).is(200)
		var page struct {
			Items []any
			Next  string
		}
		require.NoError(t, json.Unmarshal(a.body, &page))
		require.Len(t, page.Items, want, limit)
		require.NotEmpty(t, page.Next)
	}
	items, _ := w.walk(w.Registrar, "/v1/organisations", 100000)
	require.Len(t, items, 257)
}

func TestACursorThatCannotBeReadSaysToBeginAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, path := range []string{"/v1/donors", "/v1/cases", "/v1/tasks", "/v1/notices", "/v1/organisations", "/v1/drives", "/v1/consignments", "/v1/audit",
		"/v1/import-batches/" + uuid.NewString() + "/rows", "/v1/searches/" + uuid.NewString() + "/candidates"} {
		for _, cursor := range []string{"@", "AAAA", "MSAy", "bm8gZGF0ZSAwMTkwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDA", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ", "4pi6"} {
			w.send(w.Administrator, http.MethodGet, path+"?cursor="+cursor, nil).problem(400, "cursor_unknown")
		}
	}
}
