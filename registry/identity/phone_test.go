package identity

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTelephoneNumbersAreReadAsE164(t *testing.T) {
	for raw, want := range map[string]string{
		"13800138000":              "+8613800138000",
		" 138 0013-8000 ":          "+8613800138000",
		"１３８００１３８０００":              "+8613800138000",
		"+86 138 0013 8000":        "+8613800138000",
		"+86-13800138000":          "+8613800138000",
		"(+86)13800138000":         "+8613800138000",
		"008613800138000":          "+8613800138000",
		"8613800138000":            "+8613800138000",
		"'13800138000":             "+8613800138000",
		"\u200b138\u00a00013‑8000": "+8613800138000",
		"19912345678":              "+8619912345678",
		"010-62781234":             "+861062781234",
		"(010)62781234":            "+861062781234",
		"01062781234":              "+861062781234",
		"025 8323 1234":            "+862583231234",
		"0512-65221234":            "+8651265221234",
		"0710-3512345":             "+867103512345",
		"+86 10 6278 1234":         "+861062781234",
		"+86 (0)10 6278 1234":      "+861062781234",
		"0086 512 65221234":        "+8651265221234",
		"+852 9123 4567":           "+85291234567",
		"00852-91234567":           "+85291234567",
		"+853 6612 3456":           "+85366123456",
		"+886 912 345 678":         "+886912345678",
		"+886 2 2345 6789":         "+886223456789",
		"+1 (415) 555-2671":        "+14155552671",
		"+44 20 7946 0958":         "+442079460958",
		"+12345":                   "+12345",
		"+123456789012345":         "+123456789012345",
	} {
		got, err := ParsePhone(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
	}
}

func TestAFaultyTelephoneNumberIsRefusedWithItsReason(t *testing.T) {
	for raw, want := range map[string]Reason{
		"":                       ReasonEmpty,
		" \u3000":                ReasonEmpty,
		"1380013800":             ReasonPrefix,
		"138001380000":           ReasonPrefix,
		"12800138000":            ReasonLength,
		"1380013800O":            ReasonCharacters,
		"138/0013/8000":          ReasonCharacters,
		"张三":                     ReasonCharacters,
		"+":                      ReasonCharacters,
		"1.38E+10":               ReasonCharacters,
		"62781234":               ReasonPrefix, // whose area?
		"91234567":               ReasonPrefix,
		"85291234567":            ReasonPrefix, // country code without +
		"4008123456":             ReasonPrefix,
		"123":                    ReasonLength,
		"010-62781234转8001":      ReasonExtension,
		"010-62781234-8001":      ReasonExtension,
		"(010) 62781234 ext. 8":  ReasonExtension,
		"62781234#801":           ReasonExtension,
		"0512-65221234 分机 12":    ReasonExtension,
		"010-92781234":           ReasonPrefix,
		"0138-0013800":           ReasonPrefix,
		"010-6278123":            ReasonPrefix,
		"010123":                 ReasonLength,
		"+86 138":                ReasonLength,
		"+86 12800138000":        ReasonPrefix,
		"+852 123":               ReasonLength,
		"+852 01234567":          ReasonPrefix,
		"+886 0912 345 678":      ReasonPrefix,
		"+1234":                  ReasonLength,
		"+1234567890123456":      ReasonLength,
		"+0123456":               ReasonPrefix,
		"00":                     ReasonLength,
		strings.Repeat("1", 600): ReasonLength,
	} {
		_, err := ParsePhone(raw)
		var bad *InputError
		require.ErrorAs(t, err, &bad, raw)
		require.Equal(t, InputError{FieldPhone, want}, *bad, raw)
		if len(raw) > 4 {
			require.NotContains(t, err.Error(), raw)
		}
	}
}

func TestEveryMobileNumberIsReadInEveryWayOfWritingIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.StringMatching(`1[3-9][0-9]{9}`).Draw(t, "number")
		for _, written := range []string{number, "+86" + number, "0086" + number, "86" + number, number[:3] + " " + number[3:7] + "-" + number[7:]} {
			got, err := ParsePhone(written)
			require.NoError(t, err)
			require.Equal(t, "+86"+number, got)
		}
	})
}

func FuzzParsePhone(f *testing.F) {
	for _, seed := range []string{"13800138000", "+86 (0)10 6278 1234", "0512-65221234-8", "00", "+", "٠١٢٣", "+852", "⑴38"} {
		f.Add(seed)
	}
	e164 := regexp.MustCompile(`^\+[1-9][0-9]{4,14}$`)
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := ParsePhone(raw)
		if err != nil {
			require.Empty(t, got)
			return
		}
		require.Regexp(t, e164, got)
		again, err := ParsePhone(got)
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}
