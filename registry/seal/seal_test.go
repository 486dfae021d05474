package seal

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
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

func BenchmarkSeal(b *testing.B) {
	for _, suite := range []Suite{AES, SM} {
		b.Run(string(suite), func(b *testing.B) {
			keys, err := GenerateFor(suite)
			require.NoError(b, err)
			person := uuid.New()
			for b.Loop() { // as intake does for each row
				key, _, _ := keys.NewKey(Cell{"keys", "person", person})
				_, _ = key.Seal(Cell{"persons", "name", person}, "张小明")
			}
		})
	}
}

func BenchmarkIndex(b *testing.B) {
	keys, err := Generate()
	require.NoError(b, err)
	for b.Loop() {
		_, _ = keys.Index("document", "11010519491231002X")
	}
}
