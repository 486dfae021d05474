package lang

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"github.com/stretchr/testify/require"
)

// parameter finds what a sentence is told, also inside of conditions.
var (
	action    = regexp.MustCompile(`{{[^}]*}}`)
	parameter = regexp.MustCompile(`\.([A-Z]\w*)`)
)

func parameters(text string) []string {
	var out []string
	for _, a := range action.FindAllString(text, -1) {
		for _, m := range parameter.FindAllStringSubmatch(a, -1) {
			out = append(out, m[1])
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestBothLanguagesSayTheSame(t *testing.T) {
	t.Parallel()
	zh, en := sentences()[Chinese], sentences()[English]
	require.NotEmpty(t, zh)
	for id, text := range zh {
		require.Contains(t, en, id, "missing in English")
		require.NotEmpty(t, text, id)
		require.Equal(t, parameters(text), parameters(en[id]), "the parameters of %s differ", id)
	}
	for id, text := range zh {
		require.NotRegexp(t, `\p{Han}[,;:]\s*\p{Han}`, text, "Chinese sentence %s has Western punctuation", id)
	}
	for id, text := range en {
		require.Contains(t, zh, id, "missing in Chinese")
		require.NotEmpty(t, text, id)
		require.NotRegexp(t, `\p{Han}`, text, "English sentence %s has Chinese in it", id)
	}
}

func TestEverySentenceCanBeSaid(t *testing.T) {
	t.Parallel()
	for _, id := range IDs() {
		args := map[string]any{}
		for _, p := range parameters(sentences()[Chinese][id]) {
			args[p] = "‹" + p + "›"
		}
		for _, l := range Locales() {
			said := l.Say(id, args)
			require.NotEqual(t, id, said)
			require.NotContains(t, said, "{{")
			require.NotContains(t, said, "<no value>")
			for p := range args {
				if strings.Contains(sentences()[l][id], "{{."+p+"}}") && !strings.Contains(sentences()[l][id], "{{if eq") {
					require.Contains(t, said, "‹"+p+"›", id)
				}
			}
		}
		require.True(t, Has(id))
	}
	require.Equal(t, "no.such.sentence", English.Say("no.such.sentence", nil))
	require.False(t, Has("no.such.sentence"))
}

// What is put together by hand is what the template says.
func TestASentenceIsFilledAsItsTemplateIs(t *testing.T) {
	t.Parallel()
	type kind string
	filled := 0
	for l, known := range plain() {
		for id := range known {
			for _, value := range []any{"", "willing, other", "open", "a<b>", 7, int64(-3), 2.5, true, kind("open"), nil, []string{"x", "y"}} {
				args := map[string]any{}
				for _, p := range parameters(sentences()[l][id]) {
					args[p] = value
				}
				want, err := bundle()[l].Localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: l.worded(args)})
				require.NoError(t, err)
				require.Equal(t, want, l.Say(id, args), "%s of %v", id, value)
				if len(args) == 0 {
					break
				}
				filled++
			}
			if parameters(sentences()[l][id]) != nil {
				want, err := bundle()[l].Localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: map[string]any{}})
				require.NoError(t, err)
				require.Equal(t, want, l.Say(id, nil), "%s without its parameters", id)
			}
		}
	}
	require.Greater(t, filled, 1000)
	require.Less(t, len(plain()[Chinese]), len(sentences()[Chinese]), "those that choose among words stay templates")
}

func TestTheReadersLanguageIsPicked(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]Locale{
		"": Chinese, "zh-CN,zh;q=0.9": Chinese, "zh-TW": Chinese, "en-GB,en;q=0.8": English, "fr": Chinese, "fr, en;q=0.5": English, "@@": Chinese,
		"zh-CN": Chinese, "en": English, "*": Chinese, "en;q=0, zh;q=0.1": Chinese, "zh-Hant-HK": Chinese, "de, en-US": English,
	} {
		require.Equal(t, want, Pick(accept), "%q", accept)
	}
	for accept, asked := range map[string]bool{"": false, "*": false, "fr": false, "en;q=0": false, "@@": false, "und": false, "zh": true, "fr, *, en;q=0.1": true} {
		_, ok := Asked(accept)
		require.Equal(t, asked, ok, "%q", accept)
	}
}
