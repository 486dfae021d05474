package registry_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
)

// smallNumber tells whether a number is one that must not come out.
func smallNumber(n int) bool { return n > 0 && n < 5 }

// tables visits every table of so many numbers from 0 to most.
func tables(numbers, most int, visit func([]int)) {
	table := make([]int, numbers)
	for {
		visit(table)
		i := 0
		for ; i < numbers; i++ {
			if table[i]++; table[i] <= most {
				break
			}
			table[i] = 0
		}
		if i == numbers {
			return
		}
	}
}

// Nobody computes a small number from what is shown, not even who knows the rule: for every table there is another that looks the same and has another number
// there. The tables are all there are, up to numbers of which a larger one changes nothing.
func TestNobodyComputesASmallPartOfATotal(t *testing.T) {
	t.Parallel()
	for _, over := range []bool{false, true} {
		for numbers := 1; numbers <= 4; numbers++ {
			picture := func(table []int) string {
				hidden, total, looks := registry.Conceal(table, over), 0, ""
				for i, n := range table {
					total += n
					if hidden[i] {
						looks += " ?"
					} else {
						looks += fmt.Sprint(" ", n)
					}
				}
				if over || smallNumber(total) {
					return looks + " of ?"
				}
				return looks + fmt.Sprint(" of ", total)
			}
			could := map[string][]map[int]bool{} // by picture, what each number may be
			tables(numbers, 11, func(table []int) {
				p := picture(table)
				if could[p] == nil {
					could[p] = make([]map[int]bool, numbers)
					for i := range could[p] {
						could[p][i] = map[int]bool{}
					}
				}
				for i, n := range table {
					could[p][i][n] = true
				}
			})
			small := 0
			tables(numbers, 6, func(table []int) {
				p := picture(table)
				for i, n := range table {
					if smallNumber(n) {
						small++
						require.Greater(t, len(could[p][i]), 1, "%v looks like%s, and so number %d is known", table, p, i)
					}
				}
			})
			require.Positive(t, small)
		}
	}
}

// The same over the pages of a tree of regions: who opens the page of a province, of its two cities and of their two counties each, and lays them side by side.
func TestNobodyComputesASmallNumberFromThePagesOfAllRegions(t *testing.T) {
	t.Parallel()
	picture := func(table []int) string {
		looks := ""
		page := func(over bool, parts ...int) []bool {
			hidden := registry.Conceal(parts, over)
			for i, n := range parts {
				if hidden[i] {
					looks += " ?"
				} else {
					looks += fmt.Sprint(" ", n)
				}
			}
			looks += ";"
			return hidden
		}
		province := page(false, table[0]+table[1]+table[2]+table[3])
		cities := page(province[0], table[0]+table[1], table[2]+table[3])
		page(cities[0], table[:2]...)
		page(cities[1], table[2:]...)
		return looks
	}
	of := func(table []int) []int { // whatever there is a number of
		return append(append([]int{}, table...), table[0]+table[1], table[2]+table[3], table[0]+table[1]+table[2]+table[3])
	}
	could, looks := map[string][]map[int]bool{}, map[string]string{}
	tables(4, 10, func(table []int) {
		p := picture(table)
		looks[fmt.Sprint(table)] = p
		if could[p] == nil {
			could[p] = make([]map[int]bool, 7)
			for i := range could[p] {
				could[p][i] = map[int]bool{}
			}
		}
		for i, n := range of(table) {
			could[p][i][n] = true
		}
	})
	tables(4, 5, func(table []int) {
		p := looks[fmt.Sprint(table)]
		for i, n := range of(table) {
			if smallNumber(n) {
				require.Greater(t, len(could[p][i]), 1, "%v looks like %s, and so number %d is known", table, p, i)
			}
		}
	})
}

func TestWhatIsWithheldLeavesRoomAndWhatIsNotSmallIsShownWhereNothingIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 6), rapid.IntRange(0, 500)), 1, 35).Draw(t, "parts")
		hidden := registry.Conceal(parts, false)
		total, small, kept, together := 0, 0, 0, 0
		for i, n := range parts {
			total += n
			if smallNumber(n) {
				small++
				require.True(t, hidden[i])
			}
			if hidden[i] {
				kept++
				together += n
			}
		}
		if small == 0 {
			require.Zero(t, kept, "nothing is withheld without need")
		}
		if total >= 5 && kept > 0 {
			require.GreaterOrEqual(t, kept, 2)
			require.True(t, kept == len(parts) || kept <= small+1, "no more than one is withheld for the others")
			require.True(t, kept == len(parts) || together-(kept-1) >= 5, "together they leave room for each to be no small one")
		}
	})
}

func TestAPageAgreesWithThePageAboveIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		places := []identity.Region{"320102", "320106", "320111", "320205", "320500", "110101", "110108", "310104", "419001", "441900", "710000", "630102"}
		counted := map[identity.Region]int{}
		for _, place := range places {
			if n := rapid.IntRange(0, 12).Draw(t, string(place)); n > 0 {
				counted[place] = n
			}
		}
		for _, region := range []identity.Region{identity.Nation, "320000", "320100", "110000", "410000", "440000", "630000", "630100"} {
			_, parts := registry.Spread(counted, region)
			for at, shown := range parts {
				if at != region {
					whole, _ := registry.Spread(counted, at)
					require.Equal(t, shown, whole, "%s on the page of %s and on its own", at, region)
				}
			}
		}
	})
}
