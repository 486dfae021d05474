package rules

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
)

// Text is the values as the packs write them.
func (s Stated) Text() string { return strings.Join(s.Values, ", ") }

// Pack is which pack states a rule: its name, region and version.
func (r Rules) Pack(k Key) string { return r.rules[k].pack }

// What stands against a value that somebody wants to try.
var (
	ErrUnknownRule = errors.New("rules: not a rule of the catalogue")
	ErrUnit        = errors.New("rules: the value has a unit that the rule does not take")
	ErrCount       = errors.New("rules: the rule takes one value")
	ErrWeaker      = errors.New("rules: a region may only be stricter than the nation")
)

// With is what would hold if a rule had another value, written as the packs write it, with commas between several. floor is the nation's on that
// day, beyond which a region cannot go; it is not asked for the nation itself.
func (r Rules) With(key Key, written string, floor *Rules) (Rules, error) {
	spec, known := catalogue[key]
	if !known {
		return Rules{}, ErrUnknownRule
	}
	var values []Value
	for part := range strings.SplitSeq(written, ",") {
		v, err := ParseValue(part)
		if err != nil || !slices.Contains(spec.units, v.Unit) {
			return Rules{}, ErrUnit
		}
		values = append(values, v)
	}
	if !spec.many && len(values) != 1 {
		return Rules{}, ErrCount
	}
	if floor != nil && spec.stricter != 0 {
		for i, v := range values {
			if national := floor.values(key); i < len(national) && v.Unit == national[i].Unit && cmp.Compare(v.Amount, national[i].Amount)*spec.stricter < 0 {
				return Rules{}, ErrWeaker
			}
		}
	}
	changed := maps.Clone(r.rules)
	changed[key] = rule{values: values, source: r.rules[key].source}
	return Rules{rules: changed, versions: r.versions}, nil
}
