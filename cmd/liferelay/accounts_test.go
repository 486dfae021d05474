package main_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
)

func TestAnOperatorLooksAfterAccounts(t *testing.T) {
	t.Parallel()
	i := install(t)
	ctx := context.Background()
	enter := func(login, password string) (registry.Session, error) {
		return i.Store.SignIn(ctx, login, password, registry.BrowserSession, 0, registry.From{})
	}
	require.Regexp(t, `(?m)^[0-9a-f-]{36}  person   registrar  .* registrar@320106  $`, i.run("staff", "list").exits(0).out)
	require.Equal(t, "registrar", result[registry.StaffView](i.run("staff", "show", "Registrar", "--json").exits(0)).Login)
	require.Contains(t, i.run("staff", "show", "stranger").exits(1).err, "no such member of staff")
	require.Contains(t, i.run("staff", "change", "registrar", "--name", "新名").exits(0).out, "新名")

	before, err := enter("registrar", registrytest.Password)
	require.NoError(t, err)
	s := i.run("staff", "reset-password", "registrar").exits(0)
	once := strings.TrimSpace(s.out)
	require.Regexp(t, `^([a-z2-7]{4}-){3}[a-z2-7]{4}$`, once)
	require.Contains(t, s.err, "good for one sign-in")
	require.NotContains(t, s.err, once)
	_, err = i.Store.Authenticate(ctx, before.Token)
	require.Equal(t, registry.Unsigned, registry.KindOf(err))
	session, err := enter("registrar", once)
	require.NoError(t, err)
	require.Equal(t, registry.NextPassword, session.Next)
	require.Contains(t, i.run("staff", "show", "registrar").exits(0).out, "has to change the password")

	for range 8 {
		_, _ = enter("coordinator", "wrong")
	}
	require.Contains(t, i.run("staff", "show", "coordinator").exits(0).out, "locked")
	require.Equal(t, "Done.\n", i.run("staff", "unlock", "coordinator").exits(0).out)
	_, err = enter("coordinator", registrytest.Password)
	require.NoError(t, err)
	require.JSONEq(t, `{"done": true}`, i.run("staff", "deactivate", "coordinator", "--json").exits(0).out)
	_, err = enter("coordinator", registrytest.Password)
	require.Equal(t, registry.Unsigned, registry.KindOf(err))
	i.run("staff", "reactivate", "coordinator").exits(0)
	i.run("staff", "link", "coordinator", "--issuer", "https://sso.example", "--subject", "7").exits(0)
	require.Contains(t, i.run("staff", "link", "registrar", "--issuer", "https://sso.example", "--subject", "7").exits(1).err, "linked with an account already")
	i.run("staff", "unlink", "coordinator", "--issuer", "https://sso.example", "--subject", "7").exits(0)
	require.Contains(t, i.run("staff", "unlink", "coordinator", "--issuer", "https://sso.example", "--subject", "7").exits(1).err, "no such link")
	i.run("staff", "reset-factor", "coordinator").exits(0)
	i.run("staff", "end-sessions", "coordinator").exits(0)

	i.run("machine", "add", "lims", "--name", "检验系统", "--organisation", i.Laboratory.ID.String()).exits(0)
	require.Contains(t, i.run("token", "add", "lims", "--name", "nightly", "--scope", "everything").exits(1).err, "typings:write")
	require.Contains(t, i.run("token", "add", "registrar", "--name", "nightly", "--scope", "typings:write").exits(1).err, "another person")
	token := strings.TrimSpace(i.run("token", "add", "lims", "--name", "nightly", "--scope", "typings:write,specimens:read", "--days", "9").exits(0).out)
	require.Regexp(t, `^llr_[\w-]{43}$`, token)
	caller, err := i.Store.Authenticate(ctx, token)
	require.NoError(t, err)
	require.Equal(t, []string{"typings:write", "specimens:read"}, caller.Scopes)
	listed := i.run("token", "list", "lims").exits(0).out
	require.NotContains(t, listed, token[4:])
	id := regexp.MustCompile(`[0-9a-f-]{36}`).FindString(listed)
	i.run("token", "revoke", id).exits(0)
	require.Contains(t, i.run("token", "list", "lims").exits(0).out, "revoked")
	require.Contains(t, i.run("token", "revoke", id).exits(1).err, "no such token")

	require.Contains(t, i.typed("the newcomer26\n", "staff", "add", "newcomer", "--name", "N", "--organisation", i.County.ID.String()).exits(1).err, "R181")
	i.typed("chosen by somebody\n", "staff", "add", "newcomer", "--name", "N", "--organisation", i.County.ID.String(), "--one-time").exits(0)
	session, err = enter("newcomer", "chosen by somebody")
	require.NoError(t, err)
	require.Equal(t, registry.NextPassword, session.Next)
}

func TestAWrongSettingForSigningInIsNamed(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.env["LIFERELAY_TEMPORAL_ADDRESS"] = "127.0.0.1:1"
	open := filepath.Join(i.dir, "secret")
	require.NoError(t, os.WriteFile(open, []byte("s"), 0o600))
	require.NoError(t, os.Chmod(open, 0o644)) // whatever the umask is
	for _, c := range []struct{ setting, value, says string }{
		{"LIFERELAY_REQUIRE_TOTP", "king", "not all, none or a role"},
		{"LIFERELAY_TRUSTED_PROXIES", "everybody", "not a network"},
		{"LIFERELAY_OIDC_ISSUER", "https://sso.example", "LIFERELAY_OIDC_CLIENT_ID"},
	} {
		require.Contains(t, i.with(c.setting, c.value).run("serve").exits(3).err, c.says)
	}
	provider := i.with("LIFERELAY_OIDC_ISSUER", "https://sso.example", "LIFERELAY_OIDC_CLIENT_ID", "x", "LIFERELAY_OIDC_REDIRECT_URL", "https://liferelay.example/v1/sso/callback")
	require.Contains(t, provider.with("LIFERELAY_OIDC_CLIENT_SECRET_FILE", open).run("serve").exits(3).err, "others may read the file")
	require.Contains(t, provider.with("LIFERELAY_OIDC_CLIENT_SECRET_FILE", filepath.Join(i.dir, "nothing")).run("serve").exits(3).err, "LIFERELAY_OIDC_CLIENT_SECRET_FILE")
}
