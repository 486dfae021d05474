package identity

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func TestNamesAreBroughtToOneForm(t *testing.T) {
	for raw, want := range map[string]string{
		"张三":                    "张三",
		" 张 三 ":                 "张三",
		"张\u3000三":              "张三",
		"张\u200b三\ufeff":        "张三",
		"欧阳\t明\n":               "欧阳明",
		"阿卜杜拉•买买提":              "阿卜杜拉·买买提",
		"阿卜杜拉・买买提":              "阿卜杜拉·买买提",
		"阿卜杜拉･买买提":              "阿卜杜拉·买买提",
		"阿卜杜拉‧买买提":              "阿卜杜拉·买买提",
		"阿卜杜拉∙买买提":              "阿卜杜拉·买买提",
		"阿卜杜拉.买买提":              "阿卜杜拉·买买提",
		"阿卜杜拉．买买提":              "阿卜杜拉·买买提",
		"阿卜杜拉 · 买买提":            "阿卜杜拉·买买提",
		"John  Smith":           "John Smith",
		"Ｊｏｈｎ　Ｓｍｉｔｈ":            "John Smith",
		"Mary-Jane O'Neill":     "Mary-Jane O'Neill",
		"J. R. Smith":           "J. R. Smith",
		"Jose\u0301":            "José",
		"李 Anna":                "李 Anna",
		"武〇":                    "武〇",
		"⼭本":                    "山本",          // a Kangxi radical, as copied from some PDF files
		"𠮷田":                    "𠮷田",          // extension B
		"王\U00030EDE":           "王\U00030EDE", // extension G
		"王\U0002EBF5":           "王\U0002EBF5", // extension I
		"葛\U000E0100城":          "葛城",
		"Ангела Иванова":        "Ангела Иванова",
		strings.Repeat("长", 50): strings.Repeat("长", 50),
	} {
		got, err := ParseName(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
	}
}

func TestAFaultyNameIsRefusedWithItsReason(t *testing.T) {
	for raw, want := range map[string]Reason{
		"":                       ReasonEmpty,
		" \u3000\u200b":          ReasonEmpty,
		"张3":                     ReasonCharacters,
		"张③":                     ReasonCharacters,
		"张²":                     ReasonCharacters,
		"张三😀":                    ReasonCharacters,
		"张\x00三":                 ReasonCharacters,
		"张\x1b[31m三":             ReasonCharacters,
		"张?":                     ReasonCharacters,
		"=张三":                    ReasonCharacters,
		"张\ue816":                ReasonCharacters, // private area
		"张\ufffd":                ReasonCharacters,
		"张\U0002FFFF":            ReasonCharacters, // unassigned
		"张\u0378":                ReasonCharacters, // unassigned
		"\xff张":                  ReasonCharacters,
		"·":                      ReasonCharacters,
		"·张三":                    ReasonCharacters,
		"张三·":                    ReasonCharacters,
		"\u0301":                 ReasonCharacters,
		"- -":                    ReasonCharacters,
		"\u3164\u1160":           ReasonEmpty, // invisible letters
		"（张三）":                   ReasonCharacters,
		"张三,李四":                  ReasonCharacters,
		strings.Repeat("长", 51):  ReasonLength,
		strings.Repeat("x", 600): ReasonLength,
	} {
		_, err := ParseName(raw)
		var bad *InputError
		require.ErrorAs(t, err, &bad, "%q", raw)
		require.Equal(t, InputError{FieldName, want}, *bad, "%q", raw)
		if utf8.RuneCountInString(raw) > 1 {
			require.NotContains(t, err.Error(), raw)
		}
	}
}

func TestUnusualLengthsAreKnown(t *testing.T) {
	for name, want := range map[string]bool{
		"张三": false, "张三丰": false, "欧阳明月": false, "张": true, "张三李四王": true, "阿卜杜拉·买买提": false, "甲·乙": true,
		strings.Repeat("阿", 10) + "·" + strings.Repeat("买", 10): true, "Li": true, "Ann": false, "John Smith": false, strings.Repeat("x", 41): true, "": true,
	} {
		require.Equal(t, want, UnusualLength(name), name)
	}
}

func TestSpacesAndDotsDoNotMakeAnotherPerson(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringMatching(`[张王李阿卜杜拉买提]{1,5}`), 1, 4).Draw(t, "parts")
		spaces := rapid.SampledFrom([]string{"", " ", "\u3000", "\u00a0 ", "\u200b"})
		dot := rapid.SampledFrom([]string{"·", "•", "・", "･", "‧", "∙"})
		var written strings.Builder
		for i, p := range parts {
			if i > 0 {
				written.WriteString(spaces.Draw(t, "before") + dot.Draw(t, "dot") + spaces.Draw(t, "after"))
			}
			for _, r := range p {
				written.WriteString(string(r) + spaces.Draw(t, "space"))
			}
		}
		got, err := ParseName(written.String())
		require.NoError(t, err)
		require.Equal(t, strings.Join(parts, "·"), got)
	})
}

func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"张三", "阿卜杜拉 . 买买提", "John O'Neill", "a \u0301", "\u1100\u200b\u1161", "ﷺ", "ﬁ", "〇", "·.·", "가\u11a8", "x\u0327 \u0301"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := ParseName(raw)
		if err != nil {
			require.Empty(t, name)
			return
		}
		require.True(t, utf8.ValidString(name))
		require.LessOrEqual(t, utf8.RuneCountInString(name), 50)
		require.True(t, norm.NFC.IsNormalString(name))
		require.Equal(t, strings.TrimSpace(name), name)
		again, err := ParseName(name)
		require.NoError(t, err)
		require.Equal(t, name, again)
		UnusualLength(name)
	})
}
