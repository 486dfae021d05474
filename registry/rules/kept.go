package rules

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/goccy/go-yaml"
)

// Kept is a class of records that is not erased when its person asks for erasure.
type Kept struct {
	Class string `yaml:"class"`
	When  string `yaml:"when"`
	Rule  Key    `yaml:"rule"`
	Names bool   `yaml:"names"` // who it was stays readable with it
}

// When a class is kept.
const (
	KeptAlways   = "always"
	KeptDonation = "donation" // of a person from whom cells were collected
)

// KeptClasses is the table of what erasure leaves.
var KeptClasses = sync.OnceValue(func() []Kept {
	data, err := embedded.ReadFile("data/kept.yaml")
	if err != nil {
		panic(err)
	}
	out, err := parseKept(data)
	if err != nil {
		panic(err) // a test loads the embedded file
	}
	return out
})

func parseKept(data []byte) ([]Kept, error) {
	var out []Kept
	if err := yaml.UnmarshalWithOptions(data, &out, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("rules: not a table of what is kept: %w", err)
	}
	for _, k := range out {
		spec, known := catalogue[k.Rule]
		if !known || spec.units[0] != Years || k.Class == "" || k.When != KeptAlways && k.When != KeptDonation {
			return nil, fmt.Errorf("rules: %q is kept for no reason that the catalogue knows", k.Class)
		}
	}
	return out, nil
}

// Stated is a rule as it is told to somebody who asks by what rules they are treated.
type Stated struct {
	Key    Key      `json:"key"`
	Values []string `json:"values"`
	Source string   `json:"source"`
}

// All lists the rules that hold, by their names.
func (r Rules) All() []Stated {
	var out []Stated
	for _, key := range slices.Sorted(maps.Keys(r.rules)) {
		s := Stated{Key: key, Source: r.rules[key].source}
		for _, v := range r.rules[key].values {
			s.Values = append(s.Values, v.String())
		}
		out = append(out, s)
	}
	return out
}
