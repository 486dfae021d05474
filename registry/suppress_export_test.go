package registry

import "github.com/liferelay/liferelay/registry/identity"

// Conceal says which parts of a total are kept back.
var Conceal = conceal

// Spread is what is shown of a region: its number, and those of the regions right under it; -1 for one that is withheld.
func Spread(counted map[identity.Region]int, region identity.Region) (whole int, parts map[identity.Region]int) {
	shown := func(p part) int {
		if p.hidden {
			return -1
		}
		return p.n
	}
	all, split := spread(counted, region)
	parts = map[identity.Region]int{}
	for _, p := range split {
		parts[p.region] = shown(p)
	}
	return shown(all), parts
}
