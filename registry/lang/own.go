package lang

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// What an office says in its own words: a text with the parameters of a sentence of ours in it, and plurals of them, and nothing else that is
// computed.

var (
	plainAction   = regexp.MustCompile(`{{(?:\.([A-Z]\w*)|plural \.([A-Z]\w*) "([^"{}\\]*)" "([^"{}\\]*)")}}`)
	parameterName = regexp.MustCompile(`\.([A-Z]\w*)`)
	anyAction     = regexp.MustCompile(`{{[^}]*}}`)
)

// actionOf reads what plainAction found.
func actionOf(action string) part {
	m := plainAction.FindStringSubmatch(action)
	if m[1] != "" {
		return part{parameter: m[1]}
	}
	return part{parameter: m[2], chooses: true, one: m[3], more: m[4]}
}

// Written is a sentence as it is written in a locale, with its parameters unfilled; nothing when there is none of that name.
func (l Locale) Written(id string) string { return sentences()[l][id] }

// Parameters lists what a text is told, in the order of the alphabet.
func Parameters(text string) []string {
	var out []string
	for _, action := range anyAction.FindAllString(text, -1) {
		for _, m := range parameterName.FindAllStringSubmatch(action, -1) {
			out = append(out, m[1])
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Says tells whether a parameter stands in a text by itself, not only where it chooses a plural.
func Says(text, parameter string) bool { return strings.Contains(text, "{{."+parameter+"}}") }

// Length is how many characters a text has: of a plural its longer word, because one of the two is read.
func Length(text string) int {
	return utf8.RuneCountInString(plainAction.ReplaceAllStringFunc(text, func(action string) string {
		p := actionOf(action)
		switch {
		case !p.chooses:
			return action
		case utf8.RuneCountInString(p.one) > utf8.RuneCountInString(p.more):
			return p.one
		default:
			return p.more
		}
	}))
}

// Plain tells that a text has parameters and plurals alone in braces: nothing else that would be computed.
func Plain(text string) bool {
	return !strings.Contains(strings.NewReplacer("{{", "\x00", "}}", "\x00").Replace(plainAction.ReplaceAllString(text, "")), "\x00")
}

// Fill says a text of somebody's own in a locale. Arguments that are codes come out as words, as in Say; what is not given stays out.
func (l Locale) Fill(text string, args map[string]any) string {
	worded := l.worded(args)
	return plainAction.ReplaceAllStringFunc(text, func(action string) string {
		p := actionOf(action)
		value, ok := worded[p.parameter]
		switch {
		case p.chooses:
			return plural(value, p.one, p.more)
		case ok:
			return fmt.Sprint(value)
		default:
			return ""
		}
	})
}
