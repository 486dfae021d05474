package lang

import (
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var parameter = regexp.MustCompile(`{{\s*\.(\w+)\s*}}`)

func parameters(text string) []string {
	var out []string
	for _, m := range parameter.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
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
		}
		require.True(t, Has(id))
	}
	require.Equal(t, "no.such.sentence", English.Say("no.such.sentence", nil))
	require.False(t, Has("no.such.sentence"))
}

func TestTheReadersLanguageIsPicked(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]Locale{
		"": Chinese, "zh-CN,zh;q=0.9": Chinese, "zh-TW": Chinese, "en-GB,en;q=0.8": English, "fr": Chinese, "fr, en;q=0.5": English, "@@": Chinese,
		"zh-CN": Chinese, "en": English,
	} {
		require.Equal(t, want, Pick(accept), "%q", accept)
	}
}
