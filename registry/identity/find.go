package identity

import "strings"

// FindRegions returns regions in force whose code begins with a text, or whose full name has it: suggestions for who types.
func FindRegions(text string, most int) []Region {
	var out []Region
	for e := range Entries() {
		if len(out) == most {
			break
		}
		if !e.Current() || e.Code == Nation || grouping(e.Name) {
			continue
		}
		if strings.HasPrefix(string(e.Code), text) || strings.Contains(e.Code.FullName(), text) {
			out = append(out, e.Code)
		}
	}
	return out
}
