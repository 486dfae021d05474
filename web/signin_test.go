package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/registrytest"
)

func TestSomebodySignsInAndComesToThePageTheyWanted(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	door := p.get(nobody, "/regions?field=q&q=32")
	require.Equal(t, http.StatusOK, door.status)
	require.Contains(t, door.path, "/signin?return_to=%2Fregions")
	require.Contains(t, door.words(), "登录名")
	require.Equal(t, "zh-CN", door.Find("html").AttrOr("lang", ""))
	english := p.get(nobody, "/signin", "Accept-Language", "en")
	require.Contains(t, english.words(), "Sign in")

	wrong := p.raw(nobody, http.MethodPost, "/signin", door.fill("/signin", "login", "coordinator", "password", "not this one"))
	wrong.is(http.StatusUnprocessableEntity)
	require.Contains(t, wrong.Find("[role=alert]").Text(), "密码")
	require.Equal(t, "coordinator", wrong.Find("#login").AttrOr("value", ""), "what was typed is still there")
	require.Empty(t, wrong.Find("#password").AttrOr("value", ""), "but not the password")

	in := p.raw(nobody, http.MethodPost, "/signin", wrong.fill("/signin", "login", "coordinator", "password", registrytest.Password))
	in.is(http.StatusSeeOther)
	require.Equal(t, "/regions?field=q&q=32", in.header.Get("Location"))
	cookie := strings.Split(strings.Join(in.header.Values("Set-Cookie"), "\n"), ";")[0]
	here := p.get(nobody, "/", "Cookie", cookie).is(200)
	require.Contains(t, here.Find("header").Text(), p.Coordinator.Name)
	elsewhere := p.raw(nobody, http.MethodPost, "/signin", url.Values{"_key": {"k"}, "login": {"coordinator"}, "password": {registrytest.Password}, "return_to": {"//elsewhere.example"}})
	require.Equal(t, "/", elsewhere.header.Get("Location"), "a link leads nobody away from here")

	out := p.raw(nobody, http.MethodPost, "/signout", here.fill("/signout"), "Cookie", cookie)
	out.is(http.StatusSeeOther)
	require.Contains(t, p.get(nobody, "/", "Cookie", cookie).path, "/signin", "the session has ended")
}

func TestAFormWithoutAKeyOrFromElsewhereDoesNothing(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	p.raw(p.Coordinator, http.MethodPost, "/language", url.Values{"language": {"en"}}).is(http.StatusConflict)
	p.raw(p.Coordinator, http.MethodPost, "/language", url.Values{"_key": {"a"}, "language": {"en"}}, "Sec-Fetch-Site", "cross-site").is(http.StatusForbidden)
	require.Equal(t, "zh-CN", p.get(p.Coordinator, "/nowhere").is(http.StatusNotFound).Find("html").AttrOr("lang", ""))
	p.raw(p.Coordinator, http.MethodPost, "/language", url.Values{"_key": {"a"}, "language": {"en"}}).is(http.StatusSeeOther)
	require.Equal(t, "en", p.get(p.Coordinator, "/nowhere").Find("html").AttrOr("lang", ""))
	// Sent again it is the same; with other content it is not taken for the same.
	p.raw(p.Coordinator, http.MethodPost, "/language", url.Values{"_key": {"a"}, "language": {"en"}}).is(http.StatusSeeOther)
	p.raw(p.Coordinator, http.MethodPost, "/language", url.Values{"_key": {"a"}, "language": {"zh"}}).is(http.StatusConflict)
}

func TestAPageThatIsOpenedAgainAsksAgainWhoIsThere(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	for _, path := range []string{"/work", "/notices/count"} {
		for range 3 { // the first recognises them, the others know them from it
			p.get(p.Coordinator, path).is(http.StatusOK)
		}
	}
	p.exec(`UPDATE staff SET display_name = '欧阳慕雪', locale = 'en' WHERE id = $1`, p.Coordinator.Staff())
	renamed := p.get(p.Coordinator, "/work").is(http.StatusOK)
	require.Contains(t, renamed.Find("header").Text(), "欧阳慕雪")
	require.Equal(t, "en", renamed.Find("html").AttrOr("lang", ""))
	p.exec(`UPDATE sessions SET revoked_at = now() WHERE staff_id = $1`, p.Coordinator.Staff())
	for _, path := range []string{"/work", "/notices/count", "/cases/" + uuid.NewString()} {
		require.Contains(t, p.get(p.Coordinator, path).path, "/signin", path)
	}
}
