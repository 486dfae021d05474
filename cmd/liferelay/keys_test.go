package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
)

// vault speaks the part of HashiCorp Vault's API that the Transit engine has for one key.
type vault struct {
	*httptest.Server
	sync.Mutex
	held    map[string]string // plaintext by ciphertext
	version int
	asked   map[string]int
	sealed  bool
}

const vaultToken = "hvs.a-token-for-tests"

func newVault(t testing.TB) *vault {
	v := &vault{held: map[string]string{}, version: 1, asked: map[string]int{}}
	v.Server = httptest.NewServer(v)
	t.Cleanup(v.Close)
	return v
}

// ServeHTTP implements http.Handler, after the API's documentation.
func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.Lock()
	defer v.Unlock()
	fail := func(status int, says string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{says}})
	}
	var in struct{ Plaintext, Ciphertext string }
	operation, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/transit/"), "/")
	v.asked[operation]++
	switch {
	case v.sealed:
		fail(http.StatusServiceUnavailable, "Vault is sealed")
	case r.Header.Get("X-Vault-Token") != vaultToken:
		fail(http.StatusForbidden, "permission denied")
	case r.Method != http.MethodPost || key != "register" || json.NewDecoder(r.Body).Decode(&in) != nil:
		fail(http.StatusBadRequest, "unsupported path")
	case operation == "encrypt":
		wrapped := fmt.Sprintf("vault:v%d:%s", v.version, uuid.NewString())
		v.held[wrapped] = in.Plaintext
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"ciphertext": wrapped, "key_version": v.version}})
	case operation == "decrypt" && v.held[in.Ciphertext] != "":
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"plaintext": v.held[in.Ciphertext]}})
	default:
		fail(http.StatusBadRequest, "invalid ciphertext: unable to decrypt")
	}
}

func TestVaultWrapsTheKeyFile(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	m := newMachine(t)
	file := filepath.Join(m.dir, "keys.json")
	m.env["LIFERELAY_DATABASE_URL"], m.env["LIFERELAY_KEY_FILE"] = emptyDatabase(t), file
	m.env["LIFERELAY_KMS_ADDRESS"], m.env["LIFERELAY_KMS_KEY"] = v.URL, "register"

	require.Contains(t, m.run("migrate").exits(3).err, "LIFERELAY_KMS_TOKEN: no token")
	require.NoFileExists(t, file)
	for _, address := range []string{"vault.example:8200", "http://vault.example:8200", "ftp://127.0.0.1"} {
		require.Contains(t, m.with("LIFERELAY_KMS_ADDRESS", address).run("migrate").exits(3).err, "LIFERELAY_KMS_ADDRESS", address)
	}
	wrong := m.with("LIFERELAY_KMS_TOKEN", "hvs.wrong").run("migrate").exits(3)
	require.Contains(t, wrong.err, "permission denied")
	require.NotContains(t, wrong.err, "hvs.wrong")
	require.NoFileExists(t, file)

	// The token is in a file, or in the environment; no flag takes it.
	token := filepath.Join(m.dir, "token")
	require.NoError(t, os.WriteFile(token, []byte(vaultToken+"\n"), 0o600))
	m.env["LIFERELAY_KMS_TOKEN_FILE"] = token
	m.run("migrate", "--kms-token", vaultToken).exits(80)
	m.run("migrate").exits(0)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(content), `"kms": "vault:transit/register"`)
	require.Contains(t, string(content), `"wrapped": "vault:v1:`)
	require.NotContains(t, string(content), `"keks"`)
	for plain := range v.held {
		require.NotContains(t, string(content), v.held[plain])
	}

	asked := v.asked["decrypt"]
	list := m.run("keys", "list").exits(0)
	require.Contains(t, list.out, "wrapped by vault:transit/register")
	require.Contains(t, list.out, "kek 1 (newest): 0 values")
	require.Equal(t, asked+1, v.asked["decrypt"], "once at the start")
	require.Contains(t, m.with("LIFERELAY_KMS_ADDRESS", "").run("keys", "list").exits(3).err, "no key service is set")
	require.Contains(t, m.with("LIFERELAY_KMS_KEY", "another").run("keys", "list").exits(3).err, "not by vault:transit/another")
	v.sealed = true
	require.Contains(t, m.run("keys", "list").exits(3).err, "Vault is sealed")
	v.sealed = false

	// The service's key was rotated; then the file leaves the service, and comes back.
	v.version = 2
	require.Contains(t, m.run("keys", "wrap").exits(0).out, "wrapped by vault:transit/register")
	content, err = os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(content), `"wrapped": "vault:v2:`)
	m.run("keys", "wrap", "--clear").exits(0)
	m.with("LIFERELAY_KMS_ADDRESS", "").run("keys", "list").exits(0)
	require.Contains(t, m.run("keys", "list").exits(3).err, "in clear")
	m.run("keys", "wrap").exits(0)
	m.run("keys", "list").exits(0)
}

func TestASuiteIsChosenOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	file := filepath.Join(m.dir, "keys.json")
	m.env["LIFERELAY_DATABASE_URL"], m.env["LIFERELAY_KEY_FILE"] = emptyDatabase(t), file
	m.run("migrate", "--suite", "rot13").exits(80)
	m.run("migrate", "--suite", "sm").exits(0)
	m.run("migrate").exits(0)
	m.run("migrate", "--suite", "sm").exits(0)
	require.Contains(t, m.run("migrate", "--suite", "aes").exits(3).err, "of the suite sm")
	keys, err := seal.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, seal.SM, keys.Suite())
	require.Contains(t, m.run("keys", "list").exits(0).out, "suite sm (SM4-GCM, HMAC-SM3)")
	store, err := registry.Open(context.Background(), registry.Options{URL: m.env["LIFERELAY_DATABASE_URL"], Keys: keys})
	require.NoError(t, err)
	store.Close()
}

func TestKeysAreRotatedFromTheCommandLine(t *testing.T) {
	t.Parallel()
	i := install(t)
	require.Contains(t, i.run("keys", "status").exits(0).out, "No keys were rotated yet.")
	require.Contains(t, i.run("keys", "retire", "kek", "1").exits(1).err, "Key 1 is the newest")
	require.Contains(t, i.run("keys", "retire", "kek", "9").exits(1).err, "no such key")
	i.run("keys", "rotate", "payloads").exits(80)
	s := i.run("keys", "rotate", "index").exits(0)
	require.Contains(t, s.err, "keys.json.1.bak")
	require.Contains(t, s.out, "index → 2: waiting, 0 of 0 looked at, 0 written anew")
	require.Contains(t, i.run("keys", "retire", "index", "1").exits(1).err, "is under way")
	keys, err := seal.ReadFile(i.env["LIFERELAY_KEY_FILE"])
	require.NoError(t, err)
	store, err := registry.Open(context.Background(), registry.Options{URL: i.database, Keys: keys})
	require.NoError(t, err)
	defer store.Close()
	rotation := result[[]registry.RotationView](i.run("keys", "status", "--json").exits(0))[0]
	for finished := false; !finished; { // as a worker does
		chunk, err := store.RotateChunk(context.Background(), registry.System("test"), rotation.ID)
		require.NoError(t, err)
		finished = chunk.Finished
	}
	require.Contains(t, i.run("keys", "status").exits(0).out, "index → 2: finished")
	require.Contains(t, i.run("keys", "retire", "index", "1").exits(0).out, "index 1 is retired")
	list := i.run("keys", "list").exits(0).out
	require.Contains(t, list, "index 2 (newest): 0 values")
	require.NotContains(t, list, "index 1")
	require.NoError(t, os.Chmod(i.env["LIFERELAY_KEY_FILE"], 0o644))
	require.Contains(t, i.run("keys", "rotate", "kek").exits(3).err, "open to others")
	require.Equal(t, registrytest.Keys().Fingerprint(), keys.Fingerprint())
}
