package lang

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What an office says in its own words: a text with the parameters of a sentence of ours in it, and nothing else that is computed.

var (
	plainParameter = regexp.MustCompile(`{{\.([A-Z]\w*)}}`)
	parameterName  = regexp.MustCompile(`\.([A-Z]\w*)`)
	anyAction      = regexp.MustCompile(`{{[^}]*}}`)
)

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

// Plain tells that a text has parameters alone in braces: nothing that would be computed.
func Plain(text string) bool {
	return !strings.Contains(strings.NewReplacer("{{", "\x00", "}}", "\x00").Replace(plainParameter.ReplaceAllString(text, "")), "\x00")
}

// Fill says a text of somebody's own in a locale. Arguments that are codes come out as words, as in Say; what is not given stays out.
func (l Locale) Fill(text string, args map[string]any) string {
	worded := l.worded(args)
	return plainParameter.ReplaceAllStringFunc(text, func(action string) string {
		if value, ok := worded[action[3:len(action)-2]]; ok {
			return fmt.Sprint(value)
		}
		return ""
	})
}
