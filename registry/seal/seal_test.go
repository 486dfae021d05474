package seal

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"
)

func TestMasksShowOnlyWhatTheyMay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{NameOf("张三").Mask(), "张*"},
		{NameOf("张小明").Mask(), "张*明"},
		{NameOf("欧阳锋").Mask(), "欧阳*"},
		{NameOf("欧阳小锋").Mask(), "欧阳*锋"},
		{NameOf("张").Mask(), "*"},
		{NameOf("买买提·艾力").Mask(), "买买提·*"},
		{NameOf("John Smith").Mask(), "J***"},
		{NumberOf("11010519491231002X").Mask(), "**************002X"},
		{NumberOf("123").Mask(), "***"},
		{PhoneOf("+8613812348000").Mask(), "138****8000"},
		{PhoneOf("+85291234567").Mask(), "+85*****4567"},
		{EmailOf("alice@q.com").Mask(), "a***@q.com"},
		{EmailOf("nonsense").Mask(), "***"},
		{AddressOf("江苏省南京市鼓楼区汉口路22号").Mask(), "江苏省南京市***"},
		{AddressOf("北京市海淀区中关村").Mask(), "北京市***"},
		{AddressOf("汉口路22号").Mask(), "***"},
		{NoteOf("三个字").Mask(), "[3]"},
		{NameOf("").Mask(), ""},
	} {
		require.Equal(t, c.want, c.got)
	}
}

// A secret must not come out by any of the ways that a value comes out by accident.
func TestASecretLeavesOnlyMasked(t *testing.T) {
	t.Parallel()
	type inner struct{ hidden Name }
	type outer struct {
		Shown  Phone
		Nested inner
		Ptr    *Number
		List   []Name
		Map    map[string]Email
	}
	number := NumberOf("11010519491231002X")
	v := outer{
		Shown: PhoneOf("+8613812348000"), Nested: inner{NameOf("张小明")}, Ptr: &number,
		List: []Name{NameOf("李大力")}, Map: map[string]Email{"k": EmailOf("secretperson@example.org")},
	}
	secrets := []string{"13812348000", "张小明", "110105194912", "李大力", "secretperson"}

	core, logs := observer.New(zapcore.DebugLevel)
	zap.New(core).Info("a person", zap.Any("value", v), zap.Stringer("phone", v.Shown), zap.Object("object", v.Shown))
	logged, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{}).EncodeEntry(zapcore.Entry{}, logs.All()[0].Context)
	require.NoError(t, err)
	encoded, err := json.Marshal(v)
	require.NoError(t, err)

	for _, out := range []string{
		fmt.Sprint(v), fmt.Sprintf("%v", v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%s", v.Shown), fmt.Sprintf("%q", v.Shown),
		fmt.Sprintf("%x", v.Shown), fmt.Sprintf("%d", v.Nested), fmt.Errorf("wrapped %v", v.Nested.hidden).Error(), string(encoded), logged.String(),
	} {
		for _, secret := range secrets {
			require.NotContains(t, out, secret)
		}
	}
	require.Contains(t, string(encoded), `"Shown":{"masked":true,"display":"138****8000"}`)
}

func TestASecretIsReadFromAStringAndNotFromItsMask(t *testing.T) {
	t.Parallel()
	var n Name
	require.NoError(t, json.Unmarshal([]byte(`"张小明"`), &n))
	require.Equal(t, "张小明", n.Reveal())
	require.NoError(t, json.Unmarshal([]byte(`null`), &n))
	require.True(t, n.Empty())
	require.ErrorIs(t, json.Unmarshal([]byte(`{"masked":true,"display":"张*明"}`), &n), ErrMaskedInput)
}

func TestACellOpensOnlyInItsPlace(t *testing.T) {
	t.Parallel()
	keys, err := Generate()
	require.NoError(t, err)
	other, err := Generate()
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(1, 60, -1).Draw(t, "text")
		cell := Cell{"persons", "name", uuid.New()}
		sealed, err := keys.Seal(cell, text)
		require.NoError(t, err)
		require.False(t, len(text) > 3 && strings.Contains(string(sealed), text))
		opened, err := keys.OpenName(cell, sealed)
		require.NoError(t, err)
		require.Equal(t, text, opened.Reveal())
		for _, wrong := range []Cell{
			{"persons", "name", uuid.New()}, {"persons", "phone", cell.Row}, {"patients", "name", cell.Row},
			// Moving the border between table and column must not give the same place.
			{"person", "sname", cell.Row},
		} {
			_, err := keys.OpenBytes(wrong, sealed)
			require.ErrorIs(t, err, ErrCannotOpen)
			require.NotContains(t, err.Error(), text+"\x00")
		}
		_, err = other.OpenBytes(cell, sealed)
		require.ErrorIs(t, err, ErrCannotOpen)
		sealed[rapid.IntRange(0, len(sealed)-1).Draw(t, "byte")] ^= 1
		_, err = keys.OpenBytes(cell, sealed)
		require.ErrorIs(t, err, ErrCannotOpen)
	})
}

func TestAnIndexIsEqualForEqualValuesOfOneColumnOnly(t *testing.T) {
	t.Parallel()
	keys, err := Generate()
	require.NoError(t, err)
	a, version := keys.Index("document", "11010519491231002X")
	b, _ := keys.Index("document", "11010519491231002X")
	require.Equal(t, a, b)
	require.Equal(t, int16(1), version)
	c, _ := keys.Index("phone", "11010519491231002X")
	require.NotEqual(t, a, c)
	require.Equal(t, [][]byte{a[:]}, keys.Lookups("document", "11010519491231002X"))
}

// A rotated keyring writes with the newest index key and still finds what older keys indexed.
func TestLookupsCoverEveryIndexKey(t *testing.T) {
	t.Parallel()
	old, err := Generate()
	require.NoError(t, err)
	fresh, err := Generate()
	require.NoError(t, err)
	file := old.file
	newest := fresh.file.Index[0]
	newest.Version = 2
	file.Index = append([]indexKeyRecord{newest}, file.Index...)
	rotated, err := fromFile(file)
	require.NoError(t, err)
	before, _ := old.Index("document", "x")
	after, version := rotated.Index("document", "x")
	require.Equal(t, int16(2), version)
	require.Equal(t, [][]byte{after[:], before[:]}, rotated.Lookups("document", "x"))
	require.Equal(t, old.Fingerprint(), rotated.Fingerprint(), "a rotation keeps the register's fingerprint")
}

func TestAKeyFileIsPrivateAndNeverReplaced(t *testing.T) {
	t.Parallel()
	keys, err := Generate()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "keys", "liferelay.json")
	require.NoError(t, keys.WriteFile(path))
	require.ErrorContains(t, keys.WriteFile(path), "not replaced")

	again, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, keys.Fingerprint(), again.Fingerprint())
	sealed, err := keys.SealPayload("case/1", []byte("x"))
	require.NoError(t, err)
	plain, err := again.OpenPayload("case/1", sealed)
	require.NoError(t, err)
	require.Equal(t, "x", string(plain))
	_, err = again.OpenPayload("case/2", sealed)
	require.ErrorIs(t, err, ErrCannotOpen)

	require.NoError(t, os.Chmod(path, 0o644))
	_, err = ReadFile(path)
	require.ErrorContains(t, err, "open to others")
	require.NoError(t, os.WriteFile(path+"2", []byte("not a key file"), 0o600))
	_, err = ReadFile(path + "2")
	require.ErrorContains(t, err, "not a key file")
	_, err = ReadFile(path + "3")
	require.Error(t, err)
}

func BenchmarkSeal(b *testing.B) {
	keys, err := Generate()
	require.NoError(b, err)
	cell := Cell{"persons", "name", uuid.New()}
	for b.Loop() {
		_, _ = keys.Seal(cell, "张小明")
	}
}

func BenchmarkIndex(b *testing.B) {
	keys, err := Generate()
	require.NoError(b, err)
	for b.Loop() {
		_, _ = keys.Index("document", "11010519491231002X")
	}
}
