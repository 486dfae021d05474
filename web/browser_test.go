package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// required tells whether what a test needs may be missing.
func required() bool { return os.Getenv("LIFERELAY_TEST_REQUIRE") != "" }

// chromium is the browser of this machine.
var chromium = sync.OnceValue(func() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
})

// browser starts a browser without a window, which reaches nothing but this machine.
func browser(t testing.TB) context.Context {
	t.Helper()
	if chromium() == "" {
		if required() {
			require.FailNow(t, "no chromium on the PATH: make test installs it")
		}
		t.Skip("no chromium on the PATH: make test installs it")
	}
	ctx, cancel := chromedp.NewContext(context.Background(), chromedp.WithAllocatorOptions(
		chromedp.Headless, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.ExecPath(chromium()), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"), chromedp.Flag("accept-lang", "zh-CN"), chromedp.Flag("hide-scrollbars", true),
	))
	t.Cleanup(cancel)
	_, err := chromedp.Run(ctx, chromedp.Title())
	require.NoError(t, err)
	return ctx
}

// tab is a browser's tab in which somebody works.
type tab struct {
	context.Context
	t     testing.TB
	pages *pages
	who   string
	close func()
}

// sizes of screens.
const (
	laptop    = 1280
	telephone = 375
)

// tab opens a tab of its own session for somebody, so wide, and signs them in as they would.
func (p *pages) tab(ctx context.Context, login string, width int64) *tab {
	p.t.Helper()
	b := p.stranger(ctx, width)
	b.who = login
	// A machine that has too much to do says so instead of checking a password, and is asked again.
	for range 3 {
		b.open("/signin")
		b.fill("#login", login)
		b.fill("#password", registrytest.Password)
		b.click("form[action='/signin'] button")
		if b.at() != "/signin" {
			return b
		}
	}
	b.fail("cannot sign in")
	return nil
}

// stranger opens a tab in which nobody is signed in.
func (p *pages) stranger(ctx context.Context, width int64) *tab {
	p.t.Helper()
	own, cancel := chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	p.t.Cleanup(cancel)
	_, err := chromedp.Run(own, chromedp.Title())
	require.NoError(p.t, err)
	limited, end := context.WithTimeout(own, 4*time.Minute)
	p.t.Cleanup(end)
	b := &tab{Context: limited, t: p.t, pages: p, who: "nobody", close: cancel}
	b.wide(width)
	return b
}

// wide makes the screen so wide.
func (b *tab) wide(width int64) {
	height := int64(900)
	if width < 600 {
		height = 720
	}
	b.do(chromedp.EmulateViewport(width, height))
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b, actions...); err != nil {
		b.fail(err.Error())
	}
}

// script runs something in the page.
func (b *tab) script(text string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](text))
}

// fail ends the test with a picture of what the browser shows.
func (b *tab) fail(why string) {
	b.t.Helper()
	picture, _ := chromedp.Run(b, chromedp.FullScreenshot(90))
	address, _ := chromedp.Run(b, chromedp.Location())
	text, _ := chromedp.Run(b, chromedp.Evaluate[string](`document.body.innerText`))
	kept := filepath.Join(os.TempDir(), "liferelay-"+strings.NewReplacer("/", "-", " ", "").Replace(b.t.Name())+".jpg")
	_ = os.WriteFile(kept, picture, 0o600)
	require.FailNow(b.t, why, "%s is at %s and sees (picture: %s):\n%s", b.who, address, kept, text)
}

// open goes to a page, as somebody who types its address.
func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.pages.base + path))
	b.settled()
}

// settled waits until the page is whole and no part of it is under way, and holds it against the rules of accessible pages.
func (b *tab) settled() {
	b.t.Helper()
	b.until(`document.readyState === 'complete' && !document.querySelector('.htmx-request')`, "the page does not come to rest")
}

// until waits for a condition in the page.
func (b *tab) until(condition, why string) {
	b.t.Helper()
	for range 400 {
		if ok, err := chromedp.Run(b, chromedp.Evaluate[bool](condition)); err == nil && ok {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	b.fail(why + ": " + condition)
}

// sees waits for a text on the page.
func (b *tab) sees(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.readyState !== 'loading' && document.body.innerText.includes(%s)`, quoted(text)), "does not see "+text)
}

// gone waits until an element is not on the page.
func (b *tab) gone(selector string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.readyState === 'complete' && !document.querySelector(%s)`, quoted(selector)), "is still there")
}

func quoted(text string) string {
	out, _ := json.Marshal(text)
	return string(out)
}

// fill types a text into a field, over what stands there.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`!!document.querySelector(%s)`, quoted(selector)), "no such field")
	b.script(fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.scrollIntoView({block: 'center'}); e.focus(); e.value = ''; })()`, quoted(selector)))
	b.do(chromedp.SendKeys(selector, text))
}

// set gives a field a value that is not typed letter by letter: a day, a choice of a list.
func (b *tab) set(selector, value string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`!!document.querySelector(%s)`, quoted(selector)), "no such field")
	b.script(fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.value = %s; e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); })()`, quoted(selector), quoted(value)))
}

// press clicks the first visible button or link whose text begins so, and waits for the page that it leads to.
func (b *tab) press(text string) {
	b.t.Helper()
	b.hit(fmt.Sprintf(`Array.from(document.querySelectorAll('button,a,summary,label')).find(e => e.innerText.trim().replace(/\s+/g, ' ').startsWith(%s) && e.getClientRects().length > 0 && !e.disabled)`, quoted(text)), text)
}

// click clicks an element, and waits for the page that it leads to.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.hit(fmt.Sprintf(`document.querySelector(%s)`, quoted(selector)), selector)
}

func (b *tab) hit(find, what string) {
	b.t.Helper()
	b.until(`document.readyState === 'complete' && !!`+find, "there is no "+what)
	// A link and a form that is sent lead to another page, which has another beginning of time.
	was, err := chromedp.Run(b, chromedp.Evaluate[string](`(() => {
		const e = `+find+`, form = e.type === 'submit' ? e.form : null;
		e.scrollIntoView({block: 'center'});
		const refuses = form && !e.formNoValidate && Array.from(form.elements).find(f => f.willValidate && !f.checkValidity());
		const leads = form ? form.method !== 'dialog' && !form.hasAttribute('hx-post') && !e.hasAttribute('hx-post') : e.tagName === 'A' && e.getAttribute('href') && !e.getAttribute('href').startsWith('#') && !e.hasAttribute('hx-get') && !e.hasAttribute('download');
		e.click();
		return refuses ? 'refuses ' + (refuses.name || refuses.id) : leads ? String(performance.timeOrigin) : '';
	})()`))
	if err != nil {
		b.fail(err.Error())
	}
	if field, refuses := strings.CutPrefix(was, "refuses "); refuses {
		b.fail("the browser does not send the form: " + field + " is not filled in")
	}
	if was != "" {
		b.until(`String(performance.timeOrigin) !== `+quoted(was), what+" leads nowhere")
	}
	b.settled()
}

// choose picks files for a field.
func (b *tab) choose(selector string, files ...string) {
	b.t.Helper()
	b.do(chromedp.SetUploadFiles(selector, files))
}

// at is the path where the tab is.
func (b *tab) at() string {
	address, err := chromedp.Run(b, chromedp.Location())
	require.NoError(b.t, err)
	u, err := url.Parse(address)
	require.NoError(b.t, err)
	return u.Path
}

// enter presses the Enter key as a keyboard does, whose character does not come when a page has dealt with the key.
var enter = chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
	for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyUp} {
		if _, err := cdp.Call(ctx, t, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13, NativeVirtualKeyCode: 13}); err != nil {
			return err
		}
	}
	return nil
})

// axe is the rules of accessible pages as a program reads them (axe-core), which make test fetches.
var axe = sync.OnceValue(func() string {
	data, err := os.ReadFile(os.Getenv("LIFERELAY_AXE"))
	if err != nil {
		return ""
	}
	return string(data)
})

// accessible holds the page against WCAG 2.2 AA as far as a program can.
func (b *tab) accessible() {
	b.t.Helper()
	if axe() == "" {
		if required() {
			require.FailNow(b.t, "LIFERELAY_AXE names no axe.min.js: make test fetches it")
		}
		return
	}
	b.script(axe() + `; 0`)
	found, err := chromedp.Run(b, chromedp.Evaluate[[]string](`axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(r => r.violations.map(v => v.id + ': ' + v.help + ' ' +
		v.nodes.map(n => n.target.join(' ') + ' ' + (n.any[0] || n.all[0] || n.none[0] || {}).message).slice(0, 3).join(' | ')))`, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err)
	if len(found) > 0 {
		b.fail("not accessible: " + strings.Join(found, "\n"))
	}
	wider, err := chromedp.Run(b, chromedp.Evaluate[string](`(() => {
		const wide = document.documentElement.clientWidth + 1;
		if (document.documentElement.scrollWidth <= wide) return '';
		return [document.documentElement.scrollWidth + ' of ' + (wide - 1)].concat(Array.from(document.querySelectorAll('main *')).filter(e => e.getBoundingClientRect().right > wide).map(e => e.tagName + '.' + e.className + '#' + e.id)).slice(0, 8).join(' ');
	})()`))
	require.NoError(b.t, err)
	if wider != "" {
		b.fail("the page is wider than the screen: " + wider)
	}
}

// newDesk makes pages over a register whose cases are carried: the real thing, whole.
func newDesk(t *testing.T) (*pages, *workflowstest.Desk) {
	t.Helper()
	d := workflowstest.New(t)
	p := &pages{House: d.House, t: t, now: &atomic.Pointer[time.Time]{}, held: map[string]string{}}
	var err error
	p.db, err = pgx.Connect(context.Background(), registrytest.Past(t, d.Database))
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.db.Close(context.Background()) })
	p.open(d.Client)
	keeping, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	go p.site.Keep(keeping)
	return p, d
}

func TestSigningInIsAccessibleOnEveryScreenInBothLanguages(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	ctx := browser(t)
	for _, width := range []int64{laptop, telephone} {
		b := p.tab(ctx, "coordinator", width)
		b.accessible()
		b.open("/account/password")
		b.sees("修改密码")
		b.accessible()
		b.open("/nowhere")
		b.sees("没有这个页面")
		b.accessible()
		if width == telephone {
			b.press("菜单")
		}
		b.press(p.Coordinator.Name)
		b.press("English")
		b.sees("There is no such page")
		b.accessible()
		b.open("/account/password")
		b.press(p.Coordinator.Name)
		b.press("中文")
		b.sees("修改密码")
		b.press(p.Coordinator.Name)
		b.press("退出登录")
		b.sees("已退出登录")
		b.accessible()
	}
}
