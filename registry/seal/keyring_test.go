package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// inEverySuite runs a test with a keyring of each suite.
func inEverySuite(t *testing.T, test func(t *testing.T, keys *Keyring)) {
	t.Parallel()
	for _, suite := range []Suite{AES, SM} {
		t.Run(string(suite), func(t *testing.T) {
			t.Parallel()
			test(t, generated(t, suite))
		})
	}
}

func generated(t testing.TB, suite Suite) *Keyring {
	t.Helper()
	keys, err := GenerateFor(suite)
	require.NoError(t, err)
	return keys
}

// filed writes a keyring to a file and gives the one that is read from it.
func filed(t testing.TB, keys *Keyring, path string) *Keyring {
	t.Helper()
	require.NoError(t, keys.WriteFile(path))
	read, err := ReadFile(path)
	require.NoError(t, err)
	return read
}

func newPerson(t require.TestingT, keys *Keyring) (cell Cell, key *Key, wrapped []byte) {
	cell = Cell{"keys", "person", uuid.New()}
	key, wrapped, err := keys.NewKey(cell)
	require.NoError(t, err)
	return cell, key, wrapped
}

// Either of the keys that seal cells.
type sealing interface {
	Seal(cell Cell, text string) ([]byte, error)
	OpenBytes(cell Cell, sealed []byte) ([]byte, error)
}

func TestACellOpensOnlyInItsPlaceAndWithItsKey(t *testing.T) {
	inEverySuite(t, func(t *testing.T, keys *Keyring) {
		foreign := generated(t, keys.Suite())
		_, person, _ := newPerson(t, keys)
		_, neighbour, _ := newPerson(t, keys)
		otherSuite := generated(t, map[Suite]Suite{AES: SM, SM: AES}[keys.Suite()])
		_, inOtherSuite, _ := newPerson(t, otherSuite)
		for name, c := range map[string]struct {
			key    sealing
			others []sealing
		}{
			"a person's":         {person, []sealing{neighbour, keys, foreign, inOtherSuite}},
			"the installation's": {keys, []sealing{foreign, person, otherSuite}},
		} {
			t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
				text := rapid.StringN(1, 60, -1).Draw(t, "text")
				cell := Cell{"persons", "name", uuid.New()}
				sealed, err := c.key.Seal(cell, text)
				require.NoError(t, err)
				require.False(t, len(text) > 3 && strings.Contains(string(sealed), text))
				opened, err := c.key.OpenBytes(cell, sealed)
				require.NoError(t, err)
				require.Equal(t, text, string(opened))
				again, err := c.key.Seal(cell, text)
				require.NoError(t, err)
				require.NotEqual(t, sealed, again, "no two are alike")
				for _, wrong := range []Cell{
					{"persons", "name", uuid.New()}, {"persons", "phone", cell.Row}, {"patients", "name", cell.Row},
					// Moving the border between table and column must not give the same place.
					{"person", "sname", cell.Row},
				} {
					_, err := c.key.OpenBytes(wrong, sealed)
					require.ErrorIs(t, err, ErrCannotOpen)
					require.NotContains(t, err.Error(), text+"\x00")
				}
				for _, other := range c.others {
					_, err = other.OpenBytes(cell, sealed)
					require.ErrorIs(t, err, ErrCannotOpen)
				}
				_, err = c.key.OpenBytes(cell, sealed[:rapid.IntRange(0, len(sealed)-1).Draw(t, "length")])
				require.ErrorIs(t, err, ErrCannotOpen)
				sealed[rapid.IntRange(0, len(sealed)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
				_, err = c.key.OpenBytes(cell, sealed)
				require.ErrorIs(t, err, ErrCannotOpen)
			}))
		}
	})
}

// A value tells by its first byte with what it was sealed, and whose key it was.
func TestASealedValueTellsHowItWasSealed(t *testing.T) {
	t.Parallel()
	for suite, formats := range map[Suite][2]byte{AES: {0x01, 0x11}, SM: {0x02, 0x12}} {
		keys := generated(t, suite)
		_, key, wrapped := newPerson(t, keys)
		cell := Cell{"persons", "name", uuid.New()}
		ours, err := keys.Seal(cell, "x")
		require.NoError(t, err)
		theirs, err := key.Seal(cell, "x")
		require.NoError(t, err)
		payload, err := keys.SealPayload("case/1", []byte("x"))
		require.NoError(t, err)
		for _, value := range [][]byte{ours, wrapped, payload} {
			require.Equal(t, []byte{formats[0], 0, 0, 0, 1}, value[:5])
		}
		require.Equal(t, formats[1], theirs[0])
		empty, err := key.Seal(cell, "")
		require.NoError(t, err)
		require.Nil(t, empty, "no text is NULL")
	}
	_, err := GenerateFor("rot13")
	require.ErrorContains(t, err, "no suite")
}

func TestAWrappedKeyOpensOnlyInItsPlace(t *testing.T) {
	inEverySuite(t, func(t *testing.T, keys *Keyring) {
		cell, key, wrapped := newPerson(t, keys)
		name := Cell{"persons", "name", cell.Row}
		sealed, err := key.Seal(name, "张小明")
		require.NoError(t, err)
		same, err := keys.Unwrap(cell, wrapped)
		require.NoError(t, err)
		opened, err := same.OpenName(name, sealed)
		require.NoError(t, err)
		require.Equal(t, "张小明", opened.Reveal())

		elsewhere, _, othersWrapped := newPerson(t, keys)
		_, err = keys.Unwrap(elsewhere, wrapped)
		require.ErrorIs(t, err, ErrCannotOpen, "a key that is copied to somebody else")
		_, err = keys.Unwrap(cell, othersWrapped)
		require.ErrorIs(t, err, ErrCannotOpen)
		_, err = generated(t, keys.Suite()).Unwrap(cell, wrapped)
		require.ErrorIs(t, err, ErrCannotOpen, "another installation")
		_, err = keys.OpenBytes(cell, wrapped)
		require.ErrorIs(t, err, ErrCannotOpen, "what wraps keys seals no cells")
	})
}

// Without its key everything of a person is as if it had never been, and nothing more can be written.
func TestAnErasedPersonsCellsAreEmpty(t *testing.T) {
	inEverySuite(t, func(t *testing.T, keys *Keyring) {
		cell, key, _ := newPerson(t, keys)
		name := Cell{"persons", "name", cell.Row}
		sealed, err := key.Seal(name, "张小明")
		require.NoError(t, err)
		erased, err := keys.Unwrap(cell, nil)
		require.NoError(t, err)
		require.True(t, erased.Erased())
		require.False(t, key.Erased())
		opened, err := erased.OpenName(name, sealed)
		require.NoError(t, err)
		require.True(t, opened.Empty())
		_, err = erased.Seal(name, "张小明")
		require.ErrorIs(t, err, ErrErased)
	})
}

func TestAnIndexIsEqualForEqualValuesOfOneColumnOnly(t *testing.T) {
	inEverySuite(t, func(t *testing.T, keys *Keyring) {
		a, version := keys.Index("document", "11010519491231002X")
		b, _ := keys.Index("document", "11010519491231002X")
		require.Equal(t, a, b)
		require.Equal(t, int16(1), version)
		c, _ := keys.Index("phone", "11010519491231002X")
		require.NotEqual(t, a, c)
		require.Equal(t, [][]byte{a[:]}, keys.Lookups("document", "11010519491231002X"))
		require.NotEqual(t, a, keys.MAC("document", "11010519491231002X"), "what is compared has a key of its own")
	})
}

// A rotated keyring writes with the newest keys and reads what older ones wrote, until they are retired.
func TestKeysAreAddedAndRetired(t *testing.T) {
	inEverySuite(t, func(t *testing.T, keys *Keyring) {
		ctx := context.Background()
		fingerprint, seal := keys.Fingerprint(), keys.MAC("audit", "x")
		before, _ := keys.Index("document", "x")
		cell, key, wrapped := newPerson(t, keys)
		name := Cell{"persons", "name", cell.Row}
		sealed, err := key.Seal(name, "张小明")
		require.NoError(t, err)
		file := Cell{"batches", "file", cell.Row}
		sheet, err := keys.Seal(file, "a sheet")
		require.NoError(t, err)
		same, changed, err := keys.Rewrap(cell, wrapped)
		require.NoError(t, err)
		require.False(t, changed)
		require.Equal(t, wrapped, same)

		version, _, err := keys.Add(ctx, KEK)
		require.NoError(t, err)
		require.Equal(t, 2, version)
		version, _, err = keys.Add(ctx, IndexKey)
		require.NoError(t, err)
		require.Equal(t, 2, version)
		_, _, err = keys.Add(ctx, "payload")
		require.Error(t, err)
		require.Equal(t, []int{2, 1}, keys.Versions(KEK))
		require.Equal(t, []int{2, 1}, keys.Versions(IndexKey))
		require.Equal(t, int64(3), keys.Generation())

		after, indexed := keys.Index("document", "x")
		require.Equal(t, int16(2), indexed)
		require.Equal(t, [][]byte{after[:], before[:]}, keys.Lookups("document", "x"))
		fresh, changed, err := keys.Rewrap(cell, wrapped)
		require.NoError(t, err)
		require.True(t, changed)
		freshSheet, changed, err := keys.Reseal(file, sheet)
		require.NoError(t, err)
		require.True(t, changed)
		for _, w := range [][]byte{wrapped, fresh} {
			key, err := keys.Unwrap(cell, w)
			require.NoError(t, err)
			opened, err := key.OpenName(name, sealed)
			require.NoError(t, err)
			require.Equal(t, "张小明", opened.Reveal(), "the cells are as they were")
		}

		_, err = keys.Retire(ctx, KEK, 2)
		require.ErrorContains(t, err, "not an older key")
		_, err = keys.Retire(ctx, IndexKey, 7)
		require.ErrorContains(t, err, "not an older key")
		for _, kind := range []Kind{KEK, IndexKey} {
			_, err = keys.Retire(ctx, kind, 1)
			require.NoError(t, err)
			require.Equal(t, []int{2}, keys.Versions(kind))
		}
		_, err = keys.Unwrap(cell, wrapped)
		require.ErrorIs(t, err, ErrCannotOpen)
		_, err = keys.OpenBytes(file, sheet)
		require.ErrorIs(t, err, ErrCannotOpen)
		_, err = keys.Unwrap(cell, fresh)
		require.NoError(t, err)
		opened, err := keys.OpenBytes(file, freshSheet)
		require.NoError(t, err)
		require.Equal(t, "a sheet", string(opened))
		require.Equal(t, [][]byte{after[:]}, keys.Lookups("document", "x"))

		require.Equal(t, fingerprint, keys.Fingerprint(), "a rotation keeps the register's fingerprint")
		require.Equal(t, seal, keys.MAC("audit", "x"), "and the audit's seals")
		require.NotEqual(t, fingerprint, generated(t, keys.Suite()).Fingerprint())
		version, _, err = keys.Add(ctx, KEK)
		require.NoError(t, err)
		require.Equal(t, 3, version, "no version comes twice")
	})
}

func TestAKeyFileIsPrivateAndNeverReplaced(t *testing.T) {
	inEverySuite(t, func(t *testing.T, keys *Keyring) {
		path := filepath.Join(t.TempDir(), "keys", "liferelay.json")
		require.NoError(t, keys.WriteFile(path))
		require.ErrorContains(t, keys.WriteFile(path), "not replaced")

		again, err := ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, keys.Fingerprint(), again.Fingerprint())
		require.Equal(t, keys.Suite(), again.Suite())
		sealed, err := keys.SealPayload("case/1", []byte("x"))
		require.NoError(t, err)
		plain, err := again.OpenPayload("case/1", sealed)
		require.NoError(t, err)
		require.Equal(t, "x", string(plain))
		_, err = again.OpenPayload("case/2", sealed)
		require.ErrorIs(t, err, ErrCannotOpen)
		_, err = generated(t, keys.Suite()).OpenPayload("case/1", sealed)
		require.ErrorIs(t, err, ErrCannotOpen)

		require.NoError(t, os.Chmod(path, 0o644))
		_, err = ReadFile(path)
		require.ErrorContains(t, err, "open to others")
		_, _, err = again.Add(context.Background(), KEK)
		require.ErrorContains(t, err, "open to others")
		require.Equal(t, []int{1}, again.Versions(KEK))
		require.NoFileExists(t, path+".new")
		require.NoError(t, os.WriteFile(path+"2", []byte("not a key file"), 0o600))
		_, err = ReadFile(path + "2")
		require.ErrorContains(t, err, "not a key file")
		_, err = ReadFile(path + "3")
		require.Error(t, err)
	})
}

func TestAKeyFileIsReplacedWholeAndItsBackupIsKept(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "keys.json")
	keys := filed(t, generated(t, AES), path)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	other, err := ReadFile(path) // another process
	require.NoError(t, err)

	_, backup, err := keys.Add(ctx, KEK)
	require.NoError(t, err)
	kept, err := os.ReadFile(backup)
	require.NoError(t, err)
	require.Equal(t, before, kept)
	for _, file := range []string{path, backup} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	// The other adds to what is in the file now, not to what it has read.
	version, _, err := other.Add(ctx, IndexKey)
	require.NoError(t, err)
	require.Equal(t, 2, version)
	require.Equal(t, []int{2, 1}, other.Versions(KEK))

	// Somebody who is at it is not disturbed.
	require.NoError(t, os.WriteFile(path+".new", nil, 0o600))
	_, _, err = keys.Add(ctx, KEK)
	require.ErrorContains(t, err, "somebody else is changing the key file")
	require.FileExists(t, path+".new")
	require.NoError(t, os.Remove(path+".new"))
	_, _, err = keys.Add(ctx, KEK)
	require.NoError(t, err)
	require.Equal(t, []int{3, 2, 1}, keys.Versions(KEK))
}

// A process that runs reads the file again when it meets a key that it does not know.
func TestAKeyringThatMeetsANewKeyReadsItsFileAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "keys.json")
	keys := filed(t, generated(t, AES), path)
	other, err := ReadFile(path)
	require.NoError(t, err)
	_, _, err = keys.Add(ctx, KEK)
	require.NoError(t, err)
	cell, _, wrapped := newPerson(t, keys)
	_, err = other.Unwrap(cell, wrapped)
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, other.Versions(KEK))

	require.NoError(t, other.Refresh(2), "it is there already")
	require.ErrorIs(t, other.Refresh(3), ErrBehind)
	_, _, err = keys.Add(ctx, IndexKey)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return other.Refresh(3) == nil }, 5*time.Second, 50*time.Millisecond, "the file is left alone for a second when it had nothing new")
	_, _, err = keys.Add(ctx, IndexKey)
	require.NoError(t, err)
	require.NoError(t, other.Refresh(4), "one change after the other")
	require.Equal(t, []int{3, 2, 1}, other.Versions(IndexKey))

	// Another register's file in its place is not taken up.
	require.NoError(t, os.Remove(path))
	require.NoError(t, generated(t, AES).WriteFile(path))
	time.Sleep(1100 * time.Millisecond)
	require.ErrorIs(t, other.Refresh(9), ErrBehind)
	require.Equal(t, keys.Fingerprint(), other.Fingerprint())
}

// safe is a key service that turns bytes round.
type safe struct {
	name  string
	down  error
	asked int
}

func (s *safe) Name() string { return s.name }

func (s *safe) Wrap(_ context.Context, plain []byte) (string, error) {
	return "v1:" + string(turned(plain)), s.down
}

func (s *safe) Unwrap(_ context.Context, wrapped string) ([]byte, error) {
	s.asked++
	return turned([]byte(strings.TrimPrefix(wrapped, "v1:"))), s.down
}

func turned(b []byte) []byte {
	out := bytes.Clone(b)
	for i, c := range b {
		if c > ' ' && c < 0x7f && c != '"' && c != '\\' {
			out[i] = '!' + (c-'!'+47)%94
		}
	}
	return out
}

func TestAKeyServiceWrapsTheFile(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	keys := generated(t, SM)
	path := filepath.Join(t.TempDir(), "keys.json")
	kms := &safe{name: "safe/liferelay"}
	require.NoError(t, keys.Write(ctx, path, kms))
	var f map[string]any
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &f))
	require.Equal(t, "safe/liferelay", f["kms"])
	require.NotContains(t, f, "keys")
	require.NotContains(t, string(data), keys.ring.Load().material.MAC)

	again, err := Read(ctx, path, kms)
	require.NoError(t, err)
	require.Equal(t, keys.Fingerprint(), again.Fingerprint())
	require.Equal(t, "safe/liferelay", again.KMS())
	cell, _, wrapped := newPerson(t, keys)
	for range 100 {
		_, err := again.Unwrap(cell, wrapped)
		require.NoError(t, err)
	}
	require.Equal(t, 1, kms.asked, "once at the start, and never for a person")
	_, _, err = again.Add(ctx, KEK)
	require.NoError(t, err)
	again, err = Read(ctx, path, kms)
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, again.Versions(KEK))

	_, err = ReadFile(path)
	require.ErrorContains(t, err, "no key service is set")
	_, err = Read(ctx, path, &safe{name: "safe/other"})
	require.ErrorContains(t, err, "wrapped by safe/liferelay")
	kms.down = errors.New("sealed")
	_, err = Read(ctx, path, kms)
	require.ErrorContains(t, err, "the key service: sealed")
	_, _, err = again.Add(ctx, KEK)
	require.Error(t, err)
	require.Equal(t, []int{2, 1}, again.Versions(KEK), "nothing is added that could not be kept")
	kms.down = nil

	// Out of the service's hands, and back.
	_, err = again.Wrap(ctx, nil)
	require.NoError(t, err)
	clear, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, keys.Fingerprint(), clear.Fingerprint())
	_, err = Read(ctx, path, kms)
	require.ErrorContains(t, err, "in clear")
	_, err = clear.Wrap(ctx, kms)
	require.NoError(t, err)
	_, err = Read(ctx, path, kms)
	require.NoError(t, err)
}
