package registry

import (
	"sync"

	"github.com/liferelay/liferelay/registry/identity"
)

// Small numbers of people are kept back: in a village two who withdrew for their health are not a number but two neighbours. A number that is kept back must not
// come out as what is left of a total either, nor when somebody opens the page of one region beside that of the next. So what is kept back of a number is decided
// down the tree of regions, always from the nation, whoever asks about whichever region: two pages never disagree about it.

// fewest is the smallest number of people that is shown.
const fewest = 5

// conceal says which parts of a total are kept back. Of a total that is small, or that is kept back itself (over), every part is.
//
// Of any other total the small parts are, and with them one that is not small where they are alone, or where their sum alone would tell them: the last, not the
// smallest, for which it is must not depend on how small the small ones are. Where there is none every part is kept back, those that are none as well. What is
// none is shown otherwise: it is nobody's.
func conceal(parts []int, over bool) []bool {
	hidden := make([]bool, len(parts))
	total, together, count, last := 0, 0, 0, -1
	for i, n := range parts {
		total += n
		switch {
		case n >= fewest:
			last = i
		case n > 0:
			hidden[i] = true
			together += n
			count++
		}
	}
	all := over || total > 0 && total < fewest
	// By the sum alone somebody would know them who knows that each is one to four.
	if told := count == 1 || together-(count-1) < fewest || together == count*(fewest-1); count > 0 && told {
		if last >= 0 {
			hidden[last] = true
		} else {
			all = true
		}
	}
	for i := range hidden {
		hidden[i] = hidden[i] || all
	}
	return hidden
}

// below are the regions that stand right under each, those in force; table order.
var below = sync.OnceValue(func() map[identity.Region][]identity.Region {
	out := map[identity.Region][]identity.Region{}
	for e := range identity.Entries() {
		if parent := e.Code.Parent(); e.Current() && parent != "" && e.Code.Level() <= identity.LevelCounty && len(e.Code.Ancestors()) > 1 {
			out[parent] = append(out[parent], e.Code)
		}
	}
	return out
})

// partOf is the region right under another in which a third lies: the other itself for what lies in it and in nothing under it.
func partOf(above, region identity.Region) identity.Region {
	part := region
	for _, r := range region.Ancestors() {
		if r == above {
			return part
		}
		part = r
	}
	return ""
}

// part is the number of a region, as far as it is shown.
type part struct {
	region identity.Region
	n      int
	hidden bool
}

// spread is a number of a region and of the regions right under it. counted are its numbers by where people are registered, all over the country.
func spread(counted map[identity.Region]int, region identity.Region) (whole part, parts []part) {
	path := region.Ancestors() // up to the nation
	whole = part{region: identity.Nation}
	for _, n := range counted {
		whole.n += n
	}
	whole.hidden = whole.n > 0 && whole.n < fewest
	for i := len(path) - 1; i >= 0; i-- {
		at := path[i]
		if at != identity.Nation {
			for _, p := range parts {
				if p.region == at {
					whole = p
				}
			}
			if whole.region != at { // not in force any more, and nobody is there
				whole = part{region: at}
			}
		}
		parts = divide(counted, at, whole.hidden)
	}
	return whole, parts
}

// divide is the number of a region by the regions right under it.
func divide(counted map[identity.Region]int, region identity.Region, over bool) []part {
	found := map[identity.Region]int{}
	for r, n := range counted {
		if p := partOf(region, r); p != "" {
			found[p] += n
		}
	}
	parts := []part{}
	for _, r := range below()[region] {
		parts = append(parts, part{region: r, n: found[r]})
		delete(found, r)
	}
	for r, n := range found { // what is counted at the region itself, or under a code that is gone
		at := len(parts)
		for at > 0 && parts[at-1].region > r {
			at--
		}
		parts = append(parts[:at], append([]part{{region: r, n: n}}, parts[at:]...)...)
	}
	numbers := make([]int, len(parts))
	for i, p := range parts {
		numbers[i] = p.n
	}
	for i, hidden := range conceal(numbers, over) {
		parts[i].hidden = hidden
	}
	return parts
}
