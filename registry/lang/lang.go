// Package lang says things to people: every sentence that leaves Liferelay has a name here and is written in Chinese
// and in English, side by side, in data/*.toml.
//
// It guarantees that both languages know the same sentences with the same parameters (a test compares them), and that a
// sentence is never made of personal text: parameters are codes, numbers, dates and the names of fields.
package lang

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
	"github.com/nicksnyder/go-i18n/v2/i18n"
	"github.com/nicksnyder/go-i18n/v2/i18n/template"
	"golang.org/x/text/language"
)

//go:embed data/*.toml
var files embed.FS

// Locale is a language that people read.
type Locale string

// The locales. Chinese is the first: it is what an unknown reader gets.
const (
	Chinese Locale = "zh-CN"
	English Locale = "en"
)

// Locales lists them.
func Locales() []Locale { return []Locale{Chinese, English} }

// Pick chooses the locale for an Accept-Language header, or for the name of a locale: the first language in it that we
// speak. A reader of neither gets Chinese.
func Pick(accept string) Locale {
	if l, ok := Asked(accept); ok {
		return l
	}
	return Chinese
}

// Asked is Pick for somebody whose language is known otherwise: it tells whether the header asks for a language that we
// speak at all.
func Asked(accept string) (Locale, bool) {
	tags, _, err := language.ParseAcceptLanguage(accept)
	if err != nil {
		return "", false
	}
	for _, tag := range tags {
		switch base, certain := tag.Base(); {
		case certain < language.High: // no language, but a guess at one
		case base.String() == "zh":
			return Chinese, true
		case base.String() == "en":
			return English, true
		}
	}
	return "", false
}

var bundle = sync.OnceValue(func() map[Locale]*i18n.Localizer {
	b := i18n.NewBundle(language.SimplifiedChinese)
	b.RegisterUnmarshalFunc("toml", toml.Unmarshal)
	names, err := fs.Glob(files, "data/*.toml")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		if _, err := b.LoadMessageFileFS(files, name); err != nil {
			panic(fmt.Errorf("lang: %s: %w", name, err)) // a test loads the embedded files
		}
	}
	out := map[Locale]*i18n.Localizer{}
	for _, l := range Locales() {
		out[l] = i18n.NewLocalizer(b, string(l))
	}
	return out
})

// Say returns the sentence of a name in a locale. Arguments that are codes come out as words. A name that nobody wrote a
// sentence for comes back as itself, which a reader can at least report.
func (l Locale) Say(id string, args map[string]any) string {
	localizer, ok := bundle()[l]
	if !ok {
		l, localizer = Chinese, bundle()[Chinese]
	}
	if parts := plain()[l][id]; parts != nil {
		return l.fill(parts, args)
	}
	text, err := localizer.Localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: l.worded(args), TemplateParser: withPlural})
	if err != nil {
		return id
	}
	return text
}

// parser is go-i18n's own that knows plural besides. What it parsed may be kept, because plural never changes.
type parser struct{ template.TextParser }

// Cacheable implements template.Parser.
func (*parser) Cacheable() bool { return true }

var withPlural = &parser{template.TextParser{Funcs: map[string]any{"plural": plural}}}

// plural is the first word of one thing and the second of any other number of them. A number is one when it is written 1 or -1: one that
// comes as text, or out of JSON, is what its reader sees.
func plural(number any, one, more string) string {
	if text := written(number); text == "1" || text == "-1" {
		return one
	}
	return more
}

// written is an argument as a template writes it.
func written(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	case nil:
		return "<no value>"
	default:
		return fmt.Sprint(v)
	}
}

// part is a piece of a sentence: its words, or the parameter that stands there, or the words that the parameter chooses between.
type part struct {
	words, parameter string
	chooses          bool
	one, more        string
}

// plain are the sentences that say nothing but words, parameters as they come and plurals, which are nearly all: a page has hundreds, and putting
// them together by hand costs a twentieth of running them as templates. Those that choose among words otherwise are templates.
var plain = sync.OnceValue(func() map[Locale]map[string][]part {
	out := map[Locale]map[string][]part{}
	for l, known := range sentences() {
		out[l] = make(map[string][]part, len(known))
		for id, text := range known {
			var parts []part
			rest := 0
			for _, at := range plainAction.FindAllStringIndex(text, -1) {
				parts = append(parts, part{words: text[rest:at[0]]}, actionOf(text[at[0]:at[1]]))
				rest = at[1]
			}
			if parts = append(parts, part{words: text[rest:]}); !slices.ContainsFunc(parts, func(p part) bool { return strings.Contains(p.words, "{{") }) {
				out[l][id] = parts
			}
		}
	}
	return out
})

func (l Locale) fill(parts []part, args map[string]any) string {
	if len(parts) == 1 {
		return parts[0].words
	}
	var out strings.Builder
	for _, p := range parts {
		out.WriteString(p.words)
		if p.parameter == "" {
			continue
		}
		value := l.word(p.parameter, args[p.parameter])
		if p.chooses {
			out.WriteString(plural(value, p.one, p.more))
		} else {
			out.WriteString(written(value))
		}
	}
	return out.String()
}

// sameWords are arguments that speak of the same things as another.
var sameWords = map[string]string{"Wanted": "Kind", "Other": "Role"}

// worded puts the codes among the arguments into words.
func (l Locale) worded(args map[string]any) map[string]any {
	out := make(map[string]any, len(args))
	for name, value := range args {
		out[name] = l.word(name, value)
	}
	return out
}

// word is an argument in words, where it is a code: declined, or several with commas between them.
func (l Locale) word(name string, value any) any {
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case bool:
		text = strconv.FormatBool(v)
	default:
		return value
	}
	prefix := "code." + cmp.Or(sameWords[name], name) + "."
	if name == "Step" {
		prefix = "step."
	}
	known, changed := sentences()[l], false
	if !strings.Contains(text, ", ") {
		if word, ok := known[prefix+text]; ok {
			return word
		}
		return value
	}
	codes := strings.Split(text, ", ")
	for i, code := range codes {
		if word, ok := known[prefix+code]; ok && word != code {
			codes[i], changed = word, true
		}
	}
	if !changed {
		return value
	}
	return strings.Join(codes, ", ")
}

// Has tells whether a sentence of that name is written in both languages.
func Has(id string) bool {
	for _, l := range Locales() {
		if _, ok := sentences()[l][id]; !ok {
			return false
		}
	}
	return true
}

// IDs lists the names of all sentences.
func IDs() []string { return slices.Sorted(maps.Keys(sentences()[Chinese])) }

// sentences reads the files as plain tables: what the parity test and Has compare.
var sentences = sync.OnceValue(func() map[Locale]map[string]string {
	out := map[Locale]map[string]string{}
	for _, l := range Locales() {
		out[l] = map[string]string{}
		names, _ := fs.Glob(files, "data/*."+string(l)+".toml")
		for _, name := range names {
			var tree map[string]any
			if _, err := toml.DecodeFS(files, name, &tree); err != nil {
				panic(fmt.Errorf("lang: %s: %w", name, err))
			}
			flatten("", tree, out[l])
		}
	}
	return out
})

func flatten(prefix string, tree map[string]any, into map[string]string) {
	for key, value := range tree {
		switch v := value.(type) {
		case string:
			into[prefix+key] = v
		case map[string]any:
			flatten(prefix+key+".", v, into)
		}
	}
}
