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
		require.NotContains(t, text, "{{plural", "Chinese sentence %s has a plural", id)
		require.NotRegexp(t, `\p{Han}[,;:]\s*\p{Han}`, text, "Chinese sentence %s has Western punctuation", id)
	}
	for id, text := range en {
		require.Contains(t, zh, id, "missing in Chinese")
		require.NotEmpty(t, text, id)
		require.NotRegexp(t, `\p{Han}`, text, "English sentence %s has Chinese in it", id)
		for _, m := range plainAction.FindAllStringSubmatch(text, -1) {
			require.True(t, m[2] == "" || Says(text, m[2]), "%s chooses a plural by %s and does not say it", id, m[2])
		}
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
	filled, chosen := 0, 0
	for l, known := range plain() {
		for id := range known {
			for _, value := range []any{"", "willing, other", "open", "a<b>", 7, int64(-3), 2.5, true, 0, 1, 2, -1, int64(1), uint8(1), 1.0, 0.5, "1", "2", "1.0", kind("1"), kind("open"), nil, []string{"x", "y"}} {
				args := map[string]any{}
				for _, p := range parameters(sentences()[l][id]) {
					args[p] = value
				}
				want, err := bundle()[l].Localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: l.worded(args), TemplateParser: withPlural})
				require.NoError(t, err)
				require.Equal(t, want, l.Say(id, args), "%s of %v", id, value)
				if len(args) == 0 {
					break
				}
				filled++
				if value == 1 && strings.Contains(sentences()[l][id], "{{plural") {
					chosen++
				}
			}
			if parameters(sentences()[l][id]) != nil {
				want, err := bundle()[l].Localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: map[string]any{}, TemplateParser: withPlural})
				require.NoError(t, err)
				require.Equal(t, want, l.Say(id, nil), "%s without its parameters", id)
			}
		}
	}
	require.Greater(t, filled, 1000)
	require.Greater(t, chosen, 50)
	for id, text := range sentences()[English] {
		if strings.Contains(text, "{{plural") && !strings.Contains(text, "{{if") {
			require.NotNil(t, plain()[English][id], "a plural alone makes no template of %s", id)
		}
	}
	require.Less(t, len(plain()[Chinese]), len(sentences()[Chinese]), "those that choose among words stay templates")
}

func TestOneThingIsNotMany(t *testing.T) {
	t.Parallel()
	type count int
	for _, c := range []struct {
		number any
		said   string
		one    bool
	}{
		{0, "0", false}, {1, "1", true}, {2, "2", false}, {11, "11", false}, {-1, "-1", true}, {int64(1), "1", true}, {uint16(1), "1", true}, {uint16(2), "2", false}, {count(1), "1", true},
		{1.0, "1", true}, {0.5, "0.5", false}, {"1", "1", true}, {"1.0", "1.0", false}, {"1,001", "1,001", false}, {"0-1", "0-1", false}, {"", "", false}, {nil, "<no value>", false},
	} {
		days, values := "working days", "values"
		if c.one {
			days, values = "working day", "value"
		}
		require.Equal(t, c.said+" "+days+" left", English.Say("work.days_left", map[string]any{"N": c.number}), "put together, %T", c.number)
		require.Equal(t, "data 3: "+c.said+" "+values, English.Say("cli.key", map[string]any{"Kind": "data", "Version": 3, "Rows": c.number}), "a template, %T", c.number)
	}
	require.Nil(t, plain()[English]["cli.key"])
	require.NotNil(t, plain()[English]["work.days_left"])
}

// An office's own words choose plurals as ours do, and nothing else.
func TestOwnWordsChoosePlurals(t *testing.T) {
	t.Parallel()
	text := `{{.Rows}} {{plural .Rows "row is" "rows are"}} there`
	require.True(t, Plain(text))
	require.True(t, Says(text, "Rows"))
	require.Equal(t, []string{"Rows"}, Parameters(text))
	require.Equal(t, []string{"Rows"}, Parameters(`{{plural .Rows "row" "rows"}}`))
	require.False(t, Says(`{{plural .Rows "row" "rows"}}`, "Rows"))
	for number, want := range map[any]string{0: "0 rows are there", 1: "1 row is there", 2: "2 rows are there", "1": "1 row is there", 1.0: "1 row is there"} {
		require.Equal(t, want, English.Fill(text, map[string]any{"Rows": number}))
	}
	require.Equal(t, " rows are there", English.Fill(text, nil))
	require.Equal(t, len("{{.Rows}} rows are there"), Length(text))
	require.Equal(t, len("一{{.Rows}}wolves")-2, Length(`一{{.Rows}}{{plural .Rows "wolves" "wolf"}}`))
	for _, bad := range []string{
		`{{plural .Rows "row"}}`, `{{plural .Rows "row" "rows" "rows"}}`, `{{plural .Rows row rows}}`, `{{plural "1" "row" "rows"}}`, "{{plural .Rows `row` `rows`}}", `{{plural .Rows "{{.Rows}}" "rows"}}`,
		`{{plural .Rows "a\"b" "rows"}}`, `{{ plural .Rows "row" "rows" }}`, `{{plural .Rows "row" "rows"`, `{{Plural .Rows "row" "rows"}}`, `{{plural (len .Rows) "row" "rows"}}`,
	} {
		require.False(t, Plain(bad), bad)
		require.NotPanics(t, func() { English.Fill(bad, map[string]any{"Rows": 1}) }, bad)
	}
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
