package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"

	"github.com/goccy/go-yaml"

	"github.com/liferelay/liferelay/registry/calendar"
)

// Wording is one version of a text that people sign, in Chinese and English. Whoever signs is bound by the Chinese.
type Wording struct {
	Kind    string        `yaml:"kind"`
	Version string        `yaml:"version"`
	From    calendar.Date `yaml:"-"`
	Begins  string        `yaml:"from"`
	Chinese string        `yaml:"zh"`
	English string        `yaml:"en"`
}

// SHA256 is the hash of both texts, in hexadecimal: what a consent pins.
func (w Wording) SHA256() string {
	sum := sha256.Sum256([]byte(w.Kind + "\x00" + w.Version + "\x00" + w.Chinese + "\x00" + w.English))
	return hex.EncodeToString(sum[:])
}

// Wordings returns every version that ships with the product.
var Wordings = sync.OnceValue(func() []Wording {
	data, err := embedded.ReadFile("data/consents/consents.yaml")
	if err != nil {
		panic(err)
	}
	out, err := parseWordings(data)
	if err != nil {
		panic(err) // a test loads the embedded file
	}
	return out
})

func parseWordings(data []byte) ([]Wording, error) {
	var out []Wording
	if err := yaml.UnmarshalWithOptions(data, &out, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("rules: not a list of wordings: %w", err)
	}
	seen := map[string]bool{}
	for i, w := range out {
		from, err := calendar.Parse(w.Begins)
		if err != nil {
			return nil, fmt.Errorf("rules: wording %s: %w", w.Version, err)
		}
		if w.Kind == "" || w.Version == "" || w.Chinese == "" || w.English == "" || seen[w.Version] {
			return nil, fmt.Errorf("rules: wording %d (%s) is incomplete or appears twice", i+1, w.Version)
		}
		seen[w.Version] = true
		out[i].From = from
	}
	return out, nil
}

// Worded finds the wording that a version names.
func Worded(version string) (Wording, bool) {
	all := Wordings()
	i := slices.IndexFunc(all, func(w Wording) bool { return w.Version == version })
	if i < 0 {
		return Wording{}, false
	}
	return all[i], true
}

// CurrentWording is the newest version of a kind that was in use on a day.
func CurrentWording(kind string, on calendar.Date) (Wording, bool) {
	var best Wording
	for _, w := range Wordings() {
		if w.Kind == kind && !w.From.After(on) && (best.Version == "" || w.From.After(best.From)) {
			best = w
		}
	}
	return best, best.Version != ""
}
