package seal_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/seal"
)

func TestWhatOneKeyFileSignsThePublicKeyVerifiesAndNoOther(t *testing.T) {
	t.Parallel()
	for _, suite := range []seal.Suite{seal.AES, seal.SM} {
		k, err := seal.GenerateFor(suite)
		require.NoError(t, err)
		other, err := seal.GenerateFor(suite)
		require.NoError(t, err)
		signature, err := k.Sign("a head")
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "keys.json")
		require.NoError(t, k.WriteFile(path))
		again, err := seal.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, k.PublicKey(), again.PublicKey())
		verify, err := again.PublicKey().Verifier()
		require.NoError(t, err)
		require.True(t, verify("a head", signature), suite)
		require.False(t, verify("another", signature))
		for i := range signature {
			changed := append([]byte{}, signature...)
			changed[i] ^= 1
			require.False(t, verify("a head", changed), "byte %d", i)
		}
		require.False(t, verify("a head", nil))
		verify, err = other.PublicKey().Verifier()
		require.NoError(t, err)
		require.False(t, verify("a head", signature))
	}
	for _, nonsense := range []seal.PublicKey{"", "x", "AAAA"} {
		_, err := nonsense.Verifier()
		require.Error(t, err, "%q", nonsense)
	}
}

// A key file from before there were signing keys is read, signs nothing, and gets a key once.
func TestAnOlderKeyFileGetsASigningKeyOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k, err := seal.Generate()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "keys.json")
	require.NoError(t, k.WriteFile(path))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var file map[string]any
	require.NoError(t, json.Unmarshal(data, &file))
	delete(file["keys"].(map[string]any), "signing")
	data, err = json.Marshal(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data, 0o600))

	old, err := seal.ReadFile(path)
	require.NoError(t, err)
	require.False(t, old.CanSign())
	require.Empty(t, old.PublicKey())
	_, err = old.Sign("a head")
	require.ErrorIs(t, err, seal.ErrCannotSign)
	backup, err := old.AddSigningKey(ctx)
	require.NoError(t, err)
	require.FileExists(t, backup)
	require.True(t, old.CanSign())
	require.Equal(t, k.Fingerprint(), old.Fingerprint())
	key := old.PublicKey()
	_, err = old.AddSigningKey(ctx)
	require.NoError(t, err)
	require.Equal(t, key, old.PublicKey(), "what it has signed stays good")

	file["keys"].(map[string]any)["signing"] = "00"
	data, err = json.Marshal(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	_, err = seal.ReadFile(path)
	require.ErrorContains(t, err, "signing key")
}
