package web_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// screen is one picture: somebody's page, perhaps after something was done on it.
type screen struct {
	by    string // the login; nobody when empty
	path  string // {words} in it are records of the scenery
	state string // tells several pictures of a page apart
	is    int    // the status of the answer; 200 when zero
	then  func(*tab)
}

// screens are the pictures of each page. A new page gets a line here, or one in notPictured that says why it has no picture.
var screens = map[string][]screen{
	"GET /signin": {{path: "/signin"}, {path: "/signin", state: "wrong", is: http.StatusUnprocessableEntity, then: func(b *tab) {
		b.fill("#login", "zhoumin")
		b.fill("#password", "123456")
		b.click("form[action='/signin'] button")
	}}},
	"GET /signin/code":      {{path: "/signin/code"}},
	"GET /account/password": {{by: "coordinator", path: "/account/password"}},
	"GET /account/factor":   {{by: "coordinator", path: "/account/factor"}},

	"GET /work":           {{by: "coordinator", path: "/work"}, {by: "coordinator", path: "/work", state: "preview", then: func(b *tab) { b.click("#work a[hx-get]"); b.gone("#preview .empty") }}, {by: "coordinator", path: "/work?tab=overdue", state: "overdue"}, {by: "other", path: "/work", state: "empty"}, {by: "doctor", path: "/work", state: "hospital"}},
	"GET /work/{id}":      {{by: "coordinator", path: "/work/{call}"}},
	"GET /handovers":      {{by: "colleague", path: "/handovers"}, {by: "technician", path: "/handovers", state: "empty"}},
	"GET /handovers/{id}": {{by: "colleague", path: "/handovers/{handover}"}},
	"GET /time-requests":  {{by: "cityoffice", path: "/time-requests"}},

	"GET /cases": {{by: "coordinator", path: "/cases"}, {by: "coordinator", path: "/cases?q=SC-1999-000001", state: "empty"}},
	"GET /cases/{id}": {
		{by: "coordinator", path: "/cases/{called}"}, {by: "coordinator", path: "/cases/{called}?tab=people", state: "people"}, {by: "coordinator", path: "/cases/{examined}?tab=papers", state: "papers"},
		{by: "coordinator", path: "/cases/{examined}?tab=deadlines", state: "deadlines"}, {by: "coordinator", path: "/cases/{examined}?tab=messages", state: "messages"}, {by: "coordinator", path: "/cases/{examined}?tab=looks", state: "looks"},
		{by: "coordinator", path: "/cases/{scheduled}?tab=details", state: "details"}, {by: "coordinator", path: "/cases/{scheduled}", state: "scheduled"}, {by: "transplant", path: "/cases/{scheduled}", state: "patients-side"},
	},
	"GET /cases/{id}/undo":     {{by: "coordinator", path: "/cases/{examined}/undo?step=stemcell.sample_booking"}},
	"GET /cases/{id}/handover": {{by: "coordinator", path: "/cases/{called}/handover"}},
	"GET /undos":               {{by: "cityoffice", path: "/undos"}},
	"GET /messages":            {{by: "cityoffice", path: "/messages"}},
	"GET /steps/{task}": {{by: "doctor", path: "/steps/{examination}"}, {by: "doctor", path: "/steps/{examination}", state: "wrong", is: http.StatusUnprocessableEntity, then: func(b *tab) { b.sendEmpty(`#answer form`) }},
		{by: "second", path: "/steps/{countersign}", state: "countersign"}, {by: "coordinator", path: "/steps/{call}", state: "call"}},

	"GET /find": {{by: "coordinator", path: "/find"}, {by: "coordinator", path: "/find", state: "nothing", then: func(b *tab) {
		b.fill("main input[name=q]", "1234 1999-02-03")
		b.click("main form[action='/find'] button")
	}}},
	"GET /donors": {{by: "coordinator", path: "/donors"}, {by: "coordinator", path: "/donors?programme=body", state: "empty"}},
	"GET /donors/{id}": {{by: "coordinator", path: "/donors/{donor}"}, {by: "coordinator", path: "/donors/{donor}", state: "revealed", then: func(b *tab) {
		b.script(`document.querySelector('form[action$="/reveal"]').closest('details').open = true; 0`)
	}}},
	"GET /donors/{id}/looks":        {{by: "auditor", path: "/donors/{donor}/looks"}},
	"GET /donors/{id}/certificates": {{by: "coordinator", path: "/donors/{thanked}/certificates"}, {by: "coordinator", path: "/donors/{donor}/certificates", state: "empty"}},
	"GET /duplicates":               {{by: "countyoffice", path: "/duplicates"}},
	"GET /duplicates/{id}":          {{by: "countyoffice", path: "/duplicates/{pair}"}},

	"GET /patients":                         {{by: "transplant", path: "/patients"}, {by: "other", path: "/patients", state: "empty"}},
	"GET /patients/new":                     {{by: "transplant", path: "/patients/new"}, {by: "transplant", path: "/patients/new", state: "wrong", is: http.StatusUnprocessableEntity, then: func(b *tab) { b.sendEmpty(`form[action="/patients"]`) }}},
	"GET /patients/{id}":                    {{by: "transplant", path: "/patients/{patient}"}},
	"GET /searches":                         {{by: "transplant", path: "/searches"}, {by: "other", path: "/searches", state: "empty"}},
	"GET /searches/new":                     {{by: "transplant", path: "/searches/new?patient={patient}"}},
	"GET /searches/{id}":                    {{by: "transplant", path: "/searches/{search}"}},
	"GET /searches/{id}/compare":            {{by: "transplant", path: "/searches/{search}/compare?donor={candidate}&donor={another}"}},
	"GET /searches/{id}/candidates/{donor}": {{by: "transplant", path: "/searches/{search}/candidates/{candidate}"}},

	"GET /dashboard": {{by: "coordinator", path: "/dashboard?year=2025"}, {by: "doctor", path: "/dashboard", state: "hospital"}},

	"GET /drives":                  {{by: "registrar", path: "/drives"}},
	"GET /drives/new":              {{by: "registrar", path: "/drives/new"}, {by: "registrar", path: "/drives/new", state: "wrong", is: http.StatusUnprocessableEntity, then: func(b *tab) { b.sendEmpty(`form[action="/drives"]`) }}},
	"GET /drives/{id}":             {{by: "registrar", path: "/drives/{drive}"}, {by: "registrar", path: "/drives/{planned}", state: "empty"}},
	"GET /drives/{id}/upload":      {{by: "registrar", path: "/drives/{drive}/upload"}},
	"GET /drives/{id}/paper":       {{by: "registrar", path: "/drives/{drive}/paper"}},
	"GET /drives/{id}/check":       {{by: "registrar", path: "/drives/{drive}/check"}},
	"GET /drives/{id}/labels":      {{by: "registrar", path: "/drives/{drive}/labels"}},
	"GET /batches/{id}/read":       {{by: "registrar", path: "/batches/{unmapped}/read"}},
	"GET /batches/{id}/columns":    {{by: "registrar", path: "/batches/{unmapped}/columns"}},
	"GET /batches/{id}/check":      {{by: "registrar", path: "/batches/{faulty}/check"}},
	"GET /batches/{id}/rows/{row}": {{by: "registrar", path: "/batches/{faulty}/rows/3"}},
	"GET /batches/{id}/commit":     {{by: "registrar", path: "/batches/{faulty}/commit"}},
	"GET /batches/{id}/result":     {{by: "registrar", path: "/batches/{imported}/result"}},
	"GET /paper/{id}":              {{by: "registrar", path: "/paper/{stack}"}, {by: "registrar", path: "/paper/{stack}", state: "wrong", is: http.StatusUnprocessableEntity, then: func(b *tab) { b.sendEmpty(`form[action="/paper/` + b.pages.scenery["stack"] + `"]`) }}},
	"GET /paper/{id}/second/{row}": {{by: "colleague2", path: "/paper/{stack}/second/{row}"}},
	"GET /paper/{id}/settle/{row}": {{by: "registrar", path: "/paper/{stack}/settle/{row}"}},
	"GET /own-forms/{id}":          {{by: "registrar", path: "/own-forms/{own}"}},
	"GET /f/{token}":               {{path: "/f/{token}"}},

	"GET /notices":             {{by: "coordinator", path: "/notices"}, {by: "other", path: "/notices", state: "empty"}},
	"GET /notices/settings":    {{by: "coordinator", path: "/notices/settings"}},
	"GET /admin/webhooks":      {{by: "administrator", path: "/admin/webhooks"}},
	"GET /admin/webhooks/{id}": {{by: "administrator", path: "/admin/webhooks/{webhook}"}},
	"GET /admin/deliveries":    {{by: "administrator", path: "/admin/deliveries"}},
	"GET /verify/{code}":       {{path: "/verify/{proof}"}},

	"GET /audit": {{by: "auditor", path: "/audit"}, {by: "auditor", path: "/audit?preset=unreviewed", state: "preset"}, {by: "auditor", path: "/audit?role=laboratory&action=export", state: "empty"},
		{by: "auditor", path: "/audit?from=yesterday", state: "wrong", is: http.StatusUnprocessableEntity}},
	"GET /audit/{id}":       {{by: "auditor", path: "{auditrow}"}},
	"GET /reviews":          {{by: "cityoffice", path: "/reviews"}, {by: "auditor", path: "/reviews", state: "auditor"}},
	"GET /emergencies":      {{by: "faraway", path: "/emergencies"}},
	"GET /emergencies/{id}": {{by: "faraway", path: "/emergencies/{emergency}"}, {by: "auditor", path: "/emergencies/{emergency}", state: "review"}},
	"GET /exports":          {{by: "provincial", path: "/exports"}},
	"GET /exports/{id}":     {{by: "provincial", path: "/exports/{export}"}, {by: "provincial2", path: "/exports/{export}", state: "approver"}},
	"GET /rights":           {{by: "countyoffice", path: "/rights"}},
	"GET /rights/new":       {{by: "registrar", path: "/rights/new?donor={donor}"}},
	"GET /rights/{id}":      {{by: "countyoffice", path: "/rights/{request}"}},
	"GET /policy":           {{by: "security", path: "/policy"}, {by: "security", path: "/policy?class=identity", state: "class"}},
	"GET /policy/simulator": {{by: "auditor", path: "/policy/simulator?record=donor:{donor}"}},

	"GET /admin/organisations":              {{by: "administrator", path: "/admin/organisations"}, {by: "administrator", path: "/admin/organisations?q=nowhere", state: "empty"}},
	"GET /admin/organisations/{id}":         {{by: "administrator", path: "/admin/organisations/{county}"}},
	"GET /admin/staff":                      {{by: "administrator", path: "/admin/staff"}},
	"GET /admin/staff/{id}":                 {{by: "security", path: "/admin/staff/{member}"}, {by: "administrator", path: "/admin/staff/{member}", state: "system"}},
	"GET /admin/calendar":                   {{by: "administrator", path: "/admin/calendar?region=320106"}},
	"GET /admin/calendar/day":               {{by: "administrator", path: "/admin/calendar/day?region=320106&day={someday}"}},
	"GET /admin/rules":                      {{by: "administrator", path: "/admin/rules?region=320106"}},
	"GET /admin/templates":                  {{by: "administrator", path: "/admin/templates?region=320106"}},
	"GET /admin/templates/{code}/{channel}": {{by: "administrator", path: "/admin/templates/drive.team/screen?region=320106"}},
	"GET /admin/health":                     {{by: "administrator", path: "/admin/health"}},
	"GET /account":                          {{by: "coordinator", path: "/account"}},

	// What is no page's own.
	"GET /wrong": {{by: "registrar", path: "/nowhere", state: "not-found", is: http.StatusNotFound}, {by: "registrar", path: "/patients", state: "denied", is: http.StatusForbidden}},
}

// notPictured are the patterns that show no screen.
var notPictured = map[string]string{
	"GET /{$}":                       "leads on to the first page of somebody's menu",
	"GET /batches/{id}":              "leads on to where the batch stands",
	"GET /live":                      "tells pages that something moved",
	"GET /regions":                   "a part: suggestions for a field",
	"GET /notices/count":             "a part: the number on the bell",
	"GET /attachments/{id}":          "a download",
	"GET /dashboard/statistics.csv":  "a download",
	"GET /dashboard/{chart}":         "a drawing, which the dashboard shows",
	"GET /donors/export.csv":         "a download",
	"GET /drives/{id}/template.xlsx": "a download",
	"GET /batches/{id}/result.xlsx":  "a download",
	"GET /drives/{id}/labels.pdf":    "paper",
	"GET /drives/{id}/forms.pdf":     "paper",
	"GET /tasks/{id}/request.pdf":    "paper",
	"GET /audit/export":              "a download",
	"GET /audit/chain":               "a part: how far the walk over the seals is",
}

func TestEveryPageHasAPicture(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	known := []string{"GET /wrong"}
	for _, pattern := range p.site.Patterns() {
		if strings.HasPrefix(pattern, "GET ") {
			known = append(known, pattern)
		}
	}
	require.ElementsMatch(t, known, slices.AppendSeq(slices.Collect(maps.Keys(screens)), maps.Keys(notPictured)), "a page has no line in screens or notPictured, or has one in both, or is gone")
	names := map[string]bool{}
	for pattern, list := range screens {
		for _, s := range list {
			name := s.name(pattern)
			require.False(t, names[name], "two pictures are called %s", name)
			names[name] = true
		}
	}
}

// name is what a picture's file begins with.
func (s screen) name(pattern string) string {
	name := strings.Trim(strings.NewReplacer("/", "-", "{", "", "}", "").Replace(strings.TrimPrefix(pattern, "GET ")), "-")
	if s.state != "" {
		name += "." + s.state
	}
	return name
}

// sendEmpty sends a form in which nothing is filled in, past what the browser would say.
func (b *tab) sendEmpty(form string) {
	b.t.Helper()
	b.script(fmt.Sprintf(`document.querySelector(%s).formNoValidate = true; 0`, quoted(form+" button[type=submit]")))
	b.click(form + " button[type=submit]")
}

const (
	highest = 1600 // pixels of a picture: what is further down of a long page is not in it
	colours = 64   // of a picture
)

// picture is what the tab shows, as high as the page is.
func (b *tab) picture() []byte {
	b.t.Helper()
	height, err := chromedp.Run(b, chromedp.Evaluate[float64](`(scrollTo(0, 0), document.documentElement.scrollHeight)`))
	require.NoError(b.t, err)
	width, err := chromedp.Run(b, chromedp.Evaluate[float64](`innerWidth`))
	require.NoError(b.t, err)
	height = min(height, highest)
	// As high a screen as the picture: what sticks to the top is then where the page has it.
	b.do(chromedp.EmulateViewport(int64(width), int64(height)))
	data, err := chromedp.Run(b, chromedp.Action[[]byte](func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		r, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{Clip: &page.Viewport{Width: width, Height: height, Scale: 1}})
		return r.Data, err
	}))
	require.NoError(b.t, err)
	full, err := png.Decode(bytes.NewReader(data))
	require.NoError(b.t, err)
	return small(b.t, full)
}

// small is a picture as a PNG of few colours: a page has few, and is a third as large in them.
func small(t testing.TB, full image.Image) []byte {
	t.Helper()
	plain := image.NewRGBA(full.Bounds())
	draw.Draw(plain, plain.Bounds(), full, plain.Bounds().Min, draw.Src)
	type rgb [3]byte
	count := map[rgb]int{}
	for i := 0; i < len(plain.Pix); i += 4 {
		count[rgb(plain.Pix[i:i+3])]++
	}
	// The colours that are there most often, each for those that are almost it.
	var palette color.Palette
	taken := map[rgb]bool{}
	for _, c := range slices.SortedFunc(maps.Keys(count), func(a, b rgb) int { return cmp.Or(cmp.Compare(count[b], count[a]), bytes.Compare(a[:], b[:])) }) {
		if coarse := (rgb{c[0] >> 3, c[1] >> 3, c[2] >> 3}); !taken[coarse] && len(palette) < colours {
			taken[coarse] = true
			palette = append(palette, color.RGBA{c[0], c[1], c[2], 255})
		}
	}
	nearest := map[rgb]uint8{}
	out := image.NewPaletted(plain.Bounds(), palette)
	for i := range out.Pix {
		c := rgb(plain.Pix[4*i : 4*i+3])
		index, known := nearest[c]
		if !known {
			index = uint8(palette.Index(color.RGBA{c[0], c[1], c[2], 255}))
			nearest[c] = index
		}
		out.Pix[i] = index
	}
	var data bytes.Buffer
	require.NoError(t, png.Encode(&data, out))
	return data.Bytes()
}

// TestScreens takes a picture of every screen into the folder that LIFERELAY_SCREENS names: make screenshots.
func TestScreens(t *testing.T) {
	folder := os.Getenv("LIFERELAY_SCREENS")
	if folder == "" {
		t.Skip("takes pictures: make screenshots")
	}
	only := regexp.MustCompile(os.Getenv("LIFERELAY_SCREENS_ONLY")) // of one's own page, while it is made
	require.NoError(t, os.MkdirAll(folder, 0o755))
	old, err := filepath.Glob(filepath.Join(folder, "*.png"))
	require.NoError(t, err)
	for _, file := range old {
		if only.MatchString(filepath.Base(file)) {
			require.NoError(t, os.Remove(file))
		}
	}
	ctx := browser(t)
	p := newScenery(t)
	logins := map[string][]string{} // patterns, by who looks at their pages
	for pattern, list := range screens {
		for _, s := range list {
			if only.MatchString(s.name(pattern)) && !slices.Contains(logins[s.by], pattern) {
				logins[s.by] = append(logins[s.by], pattern)
			}
		}
	}
	for _, locale := range lang.Locales() {
		p.exec(`UPDATE staff SET locale = $1`, string(locale))
		for _, login := range slices.Sorted(maps.Keys(logins)) {
			for _, width := range []int64{laptop, telephone} {
				var b *tab
				if login != "" {
					b = p.tab(ctx, login, width)
				} else {
					b = p.stranger(ctx, width)
					b.open("/signin")
					b.click(fmt.Sprintf(`.languages button[value=%s]`, quoted(string(locale))))
				}
				for _, pattern := range slices.Sorted(slices.Values(logins[login])) {
					for _, s := range screens[pattern] {
						if s.by != login || !only.MatchString(s.name(pattern)) {
							continue
						}
						b.do(chromedp.EmulateViewport(width, 600))
						b.open(p.placed(s.path))
						if s.then != nil {
							s.then(b)
							b.settled()
						}
						status, err := chromedp.Run(b, chromedp.Evaluate[int](`performance.getEntriesByType('navigation')[0].responseStatus`))
						require.NoError(t, err)
						want := s.is
						if want == 0 {
							want = http.StatusOK
						}
						if status != want {
							t.Errorf("%s as %q: %d, not %d", s.name(pattern), login, status, want) // the others are taken all the same
							continue
						}
						file := filepath.Join(folder, fmt.Sprintf("%s.%s.%d.png", s.name(pattern), locale, width))
						require.NoError(t, os.WriteFile(file, b.picture(), 0o644))
					}
				}
				b.close()
			}
		}
	}
}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

// placed is a path with the scenery's records in it.
func (p *pages) placed(path string) string {
	return placeholder.ReplaceAllStringFunc(path, func(word string) string {
		found, ok := p.scenery[word[1:len(word)-1]]
		require.True(p.t, ok, "the scenery has no %s", word)
		return found
	})
}

// actor is somebody by their login.
func (p *pages) actor(login string) registry.Actor {
	p.t.Helper()
	actor, err := p.Store.ActorByLogin(context.Background(), login)
	require.NoError(p.t, err)
	return actor
}

// newScenery is a register in the middle of its work, with names as people have them, for pictures.
func newScenery(t *testing.T) *pages {
	t.Helper()
	ctx := context.Background()
	p, d := newDesk(t)
	p.now = &atomic.Pointer[time.Time]{} // the machine's
	p.scenery = map[string]string{}
	place := func(name string, id uuid.UUID) { p.scenery[name] = id.String() }

	// People and places.
	d.Staff(t, "colleague", d.County, policy.Coordinator, "320106")
	d.Staff(t, "colleague2", d.County, policy.Registrar, "320106")
	d.Staff(t, "countyoffice", d.County, policy.CountyOffice, "320106")
	d.Staff(t, "cityoffice", d.City, policy.CityOffice, "320100")
	d.Staff(t, "provincial", d.City, policy.ProvincialOffice, "320000")
	d.Staff(t, "provincial2", d.City, policy.ProvincialOffice, "320000")
	d.Staff(t, "faraway", d.OtherTransplant, policy.Coordinator, "110108")
	for login, name := range map[string]string{
		"registrar": "周敏", "coordinator": "李雪梅", "citycoordinator": "王建军", "technician": "陈思颖", "doctor": "赵文博", "second": "孙丽华", "transplant": "吴浩然", "other": "郑凯", "auditor": "冯岚",
		"administrator": "许东明", "security": "何伟", "auditadministrator": "罗静", "colleague": "欧阳慕雪", "colleague2": "古丽米热·阿不都热合曼", "countyoffice": "曹玉兰", "cityoffice": "沈国平",
		"provincial": "潘振华", "provincial2": "蔡文静", "faraway": "姜海涛",
	} {
		p.exec(`UPDATE staff SET display_name = $2 WHERE login = $1`, login, name)
	}
	*p.House = *registrytest.OpenHouse(t, d.Store) // who is called so now
	for organisation, name := range map[uuid.UUID]string{
		d.Laboratory.ID: "江苏省造血干细胞捐献者资料库组织配型实验室", d.Collection.ID: "南京市第二人民医院血液内科", d.Transplant.ID: "上海市儿童血液病移植中心", d.OtherTransplant.ID: "北京市血液病移植中心",
	} {
		p.exec(`UPDATE organisations SET name = $2 WHERE id = $1`, organisation, name)
	}
	p.counted()

	// Donors who were registered twelve days ago, and typed since.
	people := []string{"王㛃", "李䶮", "陈思远", "赵雨桐", "刘子涵", "杨诗琪", "黄梓轩", "古丽米热·阿不都热合曼", "欧阳若兰", "徐天佑", "孙一诺", "马晓东"}
	first := workflowstest.Today().AddDays(-12)
	past, err := d.Store.PlanDrive(ctx, d.Registrar, forms.Drive{Name: "南京大学仙林校区秋季采样", Place: "大学生活动中心", Region: "320106", Laboratory: d.Laboratory.ID, FirstDay: first, LastDay: first, Target: len(people), BarcodeFrom: "TB000001", BarcodeTo: "TB009999"})
	require.NoError(t, err)
	donors := p.enrolled(d, past.ID, people, first)
	place("donor", donors[7])

	// Cases in their stages.
	opened := map[string]uuid.UUID{}
	for i, stage := range []struct{ name, upTo string }{{"called", "stemcell.remobilisation"}, {"booked", "stemcell.sample_booking"}, {"examined", "stemcell.physical_examination"}, {"scheduled", "stemcell.schedule"}, {"clearing", "stemcell.clearance"}, {"dropped", "stemcell.remobilisation"}} {
		search, cases := d.Requested(d.TransplantDoctor, donors[i])
		way := d.TheWay(i + 1)
		d.Walk(cases[0], way, stage.upTo)
		place(stage.name, cases[0])
		opened[stage.name] = cases[0]
		if i == 0 {
			asked, err := d.Store.ShowSearch(ctx, d.TransplantDoctor, search)
			require.NoError(t, err)
			place("patient", asked.Patient)
		}
	}
	call := d.Task(d.Coordinator, "stemcell.remobilisation", opened["called"])
	place("call", call.ID)
	p.exec(`UPDATE tasks SET due_at = now() - interval '3 days', rank_at = now() - interval '3 days', opened_at = now() - interval '9 days' WHERE id = $1`, call.ID)
	place("examination", d.Task(d.CollectionDoctor, "stemcell.physical_examination", opened["examined"]).ID)
	d.Answer(d.CollectionDoctor, "stemcell.clearance", map[string]any{"outcome": "cleared", "on": workflowstest.Today().String()}, opened["clearing"])
	place("countersign", d.Task(d.Second, "stemcell.clearance", opened["clearing"]).ID)
	d.Answer(d.Coordinator, "stemcell.remobilisation", map[string]any{"outcome": "declines", "reason": "family"}, opened["dropped"])
	for i, result := range []string{"no_answer", "reached"} {
		_, err = d.Store.AddAttempt(ctx, d.Coordinator, opened["called"], forms.ContactAttempt{At: time.Now().Add(time.Duration(i-30) * time.Hour), Channel: "phone", Whom: "donor", Result: result, Note: seal.NoteOf([]string{"无人接听，晚上再打。", "在上课，约好周六上午十点再联系；希望先和父母商量，母亲担心影响考研。"}[i])})
		require.NoError(t, err)
	}
	_, err = d.Store.AddAttachment(ctx, d.Coordinator, registry.AttachmentForm{Case: opened["examined"], Name: "高分辨样本采集知情同意书（已签字扫描件）.pdf", Body: []byte("%PDF-1.7")})
	require.NoError(t, err)
	for _, text := range []string{"请问患者方对采集时间有没有新的考虑？捐献者下月中旬有考试。", "捐献者想写一封信，可以打 138-1234 5678 联系我。"} {
		_, err = d.Store.WriteMessage(ctx, d.Coordinator, opened["examined"], registry.MessageForm{Text: seal.NoteOf(text)})
		require.NoError(t, err)
	}
	p.exec(`INSERT INTO reopenings (id, case_id, case_version, step, reason, asked_by, asked_at) SELECT $1, id, version, 'stemcell.remobilisation', 'wrong_entry', $3, now() FROM cases WHERE id = $2`, uuid.New(), opened["scheduled"], d.Coordinator.Staff())
	handover, err := d.Store.OfferHandover(ctx, d.Coordinator, opened["booked"], registry.HandoverForm{Staff: p.actor("colleague").Staff(), Reason: "leave", Promises: seal.NoteOf("答应周五下午五点后再打；捐献者希望由女同事联系。")})
	require.NoError(t, err)
	place("handover", handover.ID)
	booking := d.Task(d.Coordinator, "stemcell.donation_consent", p.consenting(d, donors[6], 7))
	_, err = d.Store.AskClock(ctx, d.Coordinator, registry.ClockAsk{Kind: registry.MoreTime, TaskID: booking.ID, Version: booking.Version, Command: uuid.NewString(), Reason: "waiting_family", Until: calendar.Of(booking.DueAt, registry.Zone).AddDays(30)})
	require.NoError(t, err)

	// A search that waits for a choice.
	search := d.Opened(d.TransplantDoctor)
	place("search", search)
	d.Task(d.TransplantDoctor, "search.choice", search)
	place("candidate", donors[8])
	place("another", donors[9])

	// Somebody who may be known twice, and somebody who was thanked.
	pair, certificate := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	p.exec(`INSERT INTO duplicates (id, person_id, other_id, region, person_region, other_region, found_by, found_at)
		SELECT $1, a.person_id, b.person_id, a.region, a.region, b.region, '{phone}', now() FROM registrations a, registrations b WHERE a.id = $2 AND b.id = $3`, pair, donors[9], donors[10])
	place("pair", pair)
	p.exec(`INSERT INTO certificates (id, number, kind, person_id, case_id, region, nth, issued_on) SELECT $1, 'CT-2026-000001', 'donation', person_id, $3, '320106', 128, now() FROM registrations WHERE id = $2`, certificate, donors[11], opened["dropped"])
	place("thanked", donors[11])
	var proof string
	require.NoError(t, p.db.QueryRow(ctx, `SELECT upper(right(replace(proof::text, '-', ''), 12)) FROM certificates WHERE id = $1`, certificate).Scan(&proof))
	p.scenery["proof"] = "CT-2026-000001-" + proof

	p.driveScenery(d)
	p.oversightScenery(d, donors[7])

	hook, err := d.Store.AddWebhook(ctx, d.Administrator, registry.WebhookForm{Organisation: d.County.ID, Name: "江苏省红十字会数据交换平台", URL: "https://exchange.jsredcross.example/liferelay/events", Codes: []string{"*"}})
	require.NoError(t, err)
	place("webhook", hook.ID)
	for _, state := range []string{"dead", "delivered"} {
		p.exec(`INSERT INTO deliveries (id, kind, channel, code, webhook_id, urgent, state, next_at, created_at) VALUES ($1, 'ping', 'webhook', 'ping', $2, false, $3, now(), now())`, uuid.Must(uuid.NewV7()), hook.ID, state)
	}
	return p
}

// oversightScenery is what those who watch have before them: an emergency, an export that waits, and what a donor asks.
func (p *pages) oversightScenery(d *workflowstest.Desk, donor uuid.UUID) {
	t, ctx := p.t, context.Background()
	t.Helper()
	number := p.numberOf(donor)
	far := p.actor("faraway")
	emergency, err := d.Store.BreakGlass(ctx, far, registry.EmergencyForm{Number: number, Classes: []policy.Class{policy.Identity, policy.Health}, Category: "accident", Reason: seal.NoteOf("捐献者在外地旅行时出了交通事故，急诊要知道既往用药和联系人")})
	require.NoError(t, err)
	_, err = d.Store.ShowDonor(ctx, far, donor)
	require.NoError(t, err)
	export, err := d.Store.AskExport(ctx, p.actor("provincial"), registry.ExportForm{Region: "320106", Classes: []policy.Class{policy.Identity}, Purpose: policy.ForFollowUp, Reason: seal.NoteOf("年度回访需要逐一打电话联系")})
	require.NoError(t, err)
	request, err := d.Store.FileRights(ctx, d.Registrar, forms.RightsRequest{Donor: donor, Kind: "copy", Asker: "person", Via: "counter"})
	require.NoError(t, err)
	var row string
	require.NoError(t, p.db.QueryRow(ctx, `SELECT '/audit/' || id || '?at=' || to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM audit WHERE act = 'BreakGlass' LIMIT 1`).Scan(&row))
	maps.Copy(p.scenery, map[string]string{
		"emergency": emergency.ID.String(), "export": export.ID.String(), "request": request.ID.String(), "auditrow": row, "county": d.County.ID.String(), "member": d.Coordinator.Staff().String(),
		"someday": calendar.Of(p.clock(), registry.Zone).AddDays(30).String(),
	})
}

// driveScenery is a drive of today, with forms on all their ways.
func (p *pages) driveScenery(d *workflowstest.Desk) {
	t, ctx := p.t, context.Background()
	t.Helper()
	today := calendar.Of(p.clock(), registry.Zone)
	drive, err := d.Store.PlanDrive(ctx, d.Registrar, forms.Drive{Name: "东南大学九龙湖校区“生命接力”造血干细胞志愿者登记采样活动（第三场）", Place: "焦廷标馆一楼大厅", Region: "320106", Host: d.College.ID, Laboratory: d.Laboratory.ID, FirstDay: today, LastDay: today.AddDays(1), Target: 200, BarcodeFrom: "NJ26000001", BarcodeTo: "NJ26000300"})
	require.NoError(t, err)
	planned, err := d.Store.PlanDrive(ctx, d.Registrar, forms.Drive{Name: "鼓楼区机关干部登记采样", Place: "区政务服务中心", Region: "320106", Laboratory: d.Laboratory.ID, FirstDay: today.AddDays(20), LastDay: today.AddDays(20), Target: 60, BarcodeFrom: "NJ26000401", BarcodeTo: "NJ26000480"})
	require.NoError(t, err)
	p.scenery["drive"], p.scenery["planned"] = drive.ID.String(), planned.ID.String()

	sheet := func(last string, rows ...[3]string) []byte {
		var out strings.Builder
		out.WriteString("姓名,证件号码,手机,性别,联系人1,联系人1电话,联系人2,联系人2电话,登记项目,健康征询,签名," + last + ",备注\n")
		for i, r := range rows {
			fmt.Fprintf(&out, "%s,%s,1395166%04d,,王建国,13900000001,周桂兰,13900000002,造血干细胞,是,是,%s,%s\n", r[0], r[1], 100*len(last)+i, r[2], "信息学院")
		}
		return []byte(out.String())
	}
	upload := func(as, name string, expected int, data []byte) registry.BatchView {
		b, err := d.Store.UploadBatch(ctx, d.Registrar, registry.Upload{Drive: drive.ID, FileName: name, Data: data, Expected: expected})
		require.NoError(t, err)
		p.scenery[as] = b.ID.String()
		return b
	}
	day := today.String()
	good := upload("imported", "上午场.csv", 3, sheet("签署日期", [3]string{"钱多多", bornOn("20010520", 301), day}, [3]string{"蒋雨晴", bornOn("20020817", 302), day}, [3]string{"沈嘉懿", bornOn("20001102", 303), day}))
	_, err = d.Store.StartCommit(ctx, d.Registrar, good.ID, good.Version, registry.CommitForm{Mode: "good_rows", AcceptWarnings: true})
	require.NoError(t, err)
	d.Eventually(func() bool {
		b, err := d.Store.ShowBatch(ctx, d.Registrar, good.ID)
		require.NoError(t, err)
		return b.Status == "committed"
	}, "the sheet is in the register")
	wrong := bornOn("19990704", 312)
	upload("faulty", "下午场（信息学院）.csv", 6, sheet("签署日期", [3]string{"𬱖之远", bornOn("20010311", 311), day}, [3]string{"李䶮", wrong[:17] + string("0123456789X"[(strings.IndexByte("0123456789X", wrong[17])+1)%11]), day},
		[3]string{"许诺", bornOn("20001130", 313), ""}, [3]string{"方小小", bornOn(fmt.Sprintf("%d0315", p.clock().Year()-16), 315), day}, [3]string{"慕容雪", bornOn("20010311", 311), day}, [3]string{"迪丽努尔·艾合买提江", bornOn("19980826", 316), day}))
	upload("unmapped", "医学院登记表.csv", 2, sheet("落款", [3]string{"苏晓", bornOn("20010409", 321), day}, [3]string{"何欢", bornOn("20011218", 322), day}))

	person := func(n int, name string) intake.Texts {
		out := p.typed(n)
		out[intake.Name], out[intake.DocumentNumber] = seal.NoteOf(name), seal.NoteOf(bornOn("20000606", n))
		out[intake.Contact1Name], out[intake.Contact2Name] = seal.NoteOf("王建国"), seal.NoteOf("周桂兰")
		return out
	}
	stack, err := d.Store.OpenPaper(ctx, d.Registrar, drive.ID, registry.PaperForm{Expected: 30})
	require.NoError(t, err)
	p.scenery["stack"] = stack.Batch.ID.String()
	for i, name := range []string{"邓子昂", "曾可心", "彭以安", "萧然"} {
		_, _, err = d.Store.EnterPaper(ctx, d.Registrar, stack.Batch.ID, registry.PaperEntry{Cells: person(340+i, name)})
		require.NoError(t, err)
	}
	_, _, err = d.Store.EnterPaper(ctx, d.Registrar, stack.Batch.ID, registry.PaperEntry{Held: true, Note: seal.NoteOf("证件号码末四位被水渍洇开，看不清")})
	require.NoError(t, err)
	second := p.actor("colleague2")
	chosen, err := d.Store.ChooseSecond(ctx, second, stack.Batch.ID)
	require.NoError(t, err)
	row := chosen.Second[0]
	p.scenery["row"] = strconv.Itoa(row)
	_, err = d.Store.EnterSecond(ctx, second, stack.Batch.ID, row, registry.SecondEntry{Cells: person(340+row, "萧然然")})
	require.NoError(t, err)

	link, err := d.Store.SwitchLink(ctx, d.Registrar, drive.ID, registry.LinkForm{Open: true})
	require.NoError(t, err)
	p.scenery["token"] = link.Token
	for i, name := range []string{"田甜", "袁一鸣"} {
		who, _, err := d.Store.Volunteer(ctx, link.Token, lang.Chinese, "")
		require.NoError(t, err)
		_, err = d.Store.SaveOwn(ctx, who, "", person(360+i, name), true)
		require.NoError(t, err)
	}
	own, err := d.Store.ListOwnForms(ctx, d.Registrar, drive.ID, "submitted", 10)
	require.NoError(t, err)
	p.scenery["own"] = own[0].ID.String()
}

// enrolled registers people at a drive, has their samples typed, and waits until they are listed.
func (p *pages) enrolled(d *workflowstest.Desk, drive uuid.UUID, names []string, signed calendar.Date) (donors []uuid.UUID) {
	t, ctx := p.t, context.Background()
	t.Helper()
	var list []forms.Registration
	var reports []forms.TypingReport
	for i, name := range names {
		barcode := fmt.Sprintf("TB%06d", i+1)
		list = append(list, forms.Registration{
			Name: seal.NameOf(name), DocumentNumber: seal.NumberOf(bornOn(fmt.Sprintf("%d%02d%02d", 1996+i%8, 1+i%12, 3+2*i), 100+i)), Phone: seal.PhoneOf(fmt.Sprintf("1385177%04d", 1200+i)), Programmes: []rules.Programme{rules.StemCell},
			HealthAnswered: true, Signed: true, SignedOn: signed, OnPaper: true, Barcode: barcode,
			Contacts: []forms.Contact{{Name: seal.NameOf("王建国"), Relation: "父", Phone: seal.PhoneOf("13900000001")}, {Name: seal.NameOf("周桂兰"), Relation: "母", Phone: seal.PhoneOf("13900000002")}},
		})
		reports = append(reports, forms.TypingReport{Barcode: barcode, GL: workflowstest.GL, Nomenclature: "3.57.0", Method: "NGS", TypedOn: workflowstest.Today()})
	}
	entries, err := d.Store.Register(ctx, d.Registrar, uuid.NewString(), registry.EntryForm{Drive: drive, AcceptWarnings: true, Forms: list})
	require.NoError(t, err)
	for _, e := range entries {
		require.Equal(t, "created", e.Status, "%+v", e.Problems)
		donors = append(donors, e.Donors[0].ID)
	}
	box, err := d.Store.SendTubes(ctx, d.Registrar, drive, registry.SendForm{To: d.Laboratory.ID})
	require.NoError(t, err)
	_, err = d.Store.ReceiveTubes(ctx, d.Technician, box.ID, 0, registry.ReceiveForm{})
	require.NoError(t, err)
	_, err = d.Store.ReportTypings(ctx, d.Technician, reports)
	require.NoError(t, err)
	for _, id := range donors {
		d.Eventually(func() bool {
			v, err := d.Store.ShowDonor(ctx, d.Coordinator, id)
			require.NoError(t, err)
			return v.Status == "listed"
		}, "the donor is listed")
	}
	return donors
}

// consenting is a case of a donor who is asked for consent.
func (p *pages) consenting(d *workflowstest.Desk, donor uuid.UUID, n int) uuid.UUID {
	p.t.Helper()
	_, cases := d.Requested(d.TransplantDoctor, donor)
	d.Walk(cases[0], d.TheWay(n), "stemcell.donation_consent")
	return cases[0]
}
