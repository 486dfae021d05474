package identity

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestOnlyTheNamedValuesAreValid(t *testing.T) {
	require.True(t, Male.Valid() && Female.Valid() && !Sex("").Valid() && !Sex("Male").Valid())
	require.True(t, GroupA.Valid() && GroupB.Valid() && GroupO.Valid() && GroupAB.Valid() && !ABO("0").Valid() && !ABO("").Valid())
	require.True(t, RhPositive.Valid() && RhNegative.Valid() && !Rh("+").Valid() && !Rh("").Valid())
}

func TestEthnicGroupsAreReadHoweverTheyAreWritten(t *testing.T) {
	for raw, want := range map[string]Ethnicity{
		"汉": "01", "汉族": "01", "01": "01", "1": "01", "０１": "01", "HA": "01", "ha": "01", "Han": "01", " 汉 族 ": "01",
		"维吾尔族": "05", "维吾尔": "05", "UG": "05", "Uygur": "05", "土家": "15", "土": "30", "LS": "20", "傈僳": "20",
		"毛难族": "36", "基诺族": "56", "56": "56", "97": "97", "其他": "97", "穿青人": "97", "98": "98", "外国血统中国籍人士": "98",
	} {
		e, err := ParseEthnicity(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, e, raw)
		require.True(t, e.Valid())
	}
	for raw, want := range map[string]Reason{
		"": ReasonEmpty, "　": ReasonEmpty, "57": ReasonUnknown, "00": ReasonUnknown, "族": ReasonUnknown, "火星族": ReasonUnknown, "XX": ReasonUnknown,
		strings.Repeat("汉", 400): ReasonLength,
	} {
		_, err := ParseEthnicity(raw)
		var bad *InputError
		require.ErrorAs(t, err, &bad, raw)
		require.Equal(t, InputError{FieldEthnicity, want}, *bad, raw)
	}
	require.Equal(t, "藏族", Ethnicity("04").Name())
	require.Equal(t, "Zang", Ethnicity("04").Romanised())
	require.Equal(t, "", Ethnicity("99").Romanised())
	require.False(t, Ethnicity("99").Valid())
}

func TestTheTableOfEthnicGroupsIsWhole(t *testing.T) {
	require.Len(t, ethnicGroups, 58)
	codes, letters, names := map[Ethnicity]bool{}, map[string]bool{}, map[string]bool{}
	for i, g := range ethnicGroups {
		require.False(t, codes[g.code] || names[g.zh], g.code)
		codes[g.code], names[g.zh] = true, true
		if i < 56 {
			require.Len(t, g.letters, 2)
			require.False(t, letters[g.letters], g.letters)
			letters[g.letters] = true
			require.Equal(t, i+1, int(g.code[0]-'0')*10+int(g.code[1]-'0'))
			require.True(t, strings.HasSuffix(g.zh, "族"))
		}
		for _, written := range []string{string(g.code), g.zh, g.romanic, strings.TrimSuffix(g.zh, "族")} {
			e, err := ParseEthnicity(written)
			require.NoError(t, err)
			require.Equal(t, g.code, e, written)
		}
	}
}

func TestISBT128CheckCharactersAreThoseOfTheStandard(t *testing.T) {
	for din, want := range map[string]rune{
		"G123 498 654 321": 'H', "G123498654321": 'H', "A999921123456": '3', "ABCDE27000069": 'C', "g123498654321": 'H',
	} {
		got, err := ISBT128Check(din)
		require.NoError(t, err, din)
		require.Equal(t, string(want), string(got), din)
	}
	for din, want := range map[string]Reason{
		"": ReasonEmpty, "G12349865432": ReasonLength, "G1234986543210": ReasonLength, "=G123498654321": ReasonCharacters, "G12349865432*": ReasonCharacters,
		"献1234986543211": ReasonCharacters, strings.Repeat("1", 600): ReasonLength,
	} {
		_, err := ISBT128Check(din)
		var bad *InputError
		require.ErrorAs(t, err, &bad, din)
		require.Equal(t, InputError{FieldDonationNumber, want}, *bad, din)
	}
}

func TestISBT128CatchesEverySlipOfOneCharacterAndEverySwap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		din := []byte(rapid.StringMatching(`[A-Z0-9]{13}`).Draw(t, "din"))
		// Reference: the weighted sum of the standard, with the check character in the last place, is 1 modulo 37.
		k, err := ISBT128Check(string(din))
		require.NoError(t, err)
		value := func(c rune) int { return strings.IndexRune("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*", c) }
		sum, weight := value(k), 2
		for i := len(din) - 1; i >= 0; i-- {
			sum += value(rune(din[i])) * weight
			weight = weight * 2 % 37
		}
		require.Equal(t, 1, sum%37)
		i := rapid.IntRange(0, 12).Draw(t, "at")
		slip := []byte(string(din))
		if i < 12 && rapid.Bool().Draw(t, "swap") {
			slip[i], slip[i+1] = slip[i+1], slip[i]
		} else {
			slip[i] = rapid.StringMatching(`[A-Z0-9]`).Draw(t, "typed")[0]
		}
		other, err := ISBT128Check(string(slip))
		require.NoError(t, err)
		require.Equal(t, string(slip) == string(din), other == k)
	})
}
