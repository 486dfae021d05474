package match_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

// drawnLocus draws a locus of a reading with lists, alternatives, null alleles and absent copies, and what its copies may be by name.
func drawnLocus(t *rapid.T, numbers []string) (at *hla.LocusReading, pairs [][2]string) {
	var alternatives []string
	for range rapid.IntRange(1, 2).Draw(t, "alternatives") {
		var copies [2][]string
		for i := range copies {
			if rapid.IntRange(0, 6).Draw(t, "absent") == 0 {
				copies[i] = []string{"NNNN"}
				continue
			}
			copies[i] = rapid.SliceOfNDistinct(rapid.SampledFrom(numbers), 1, len(numbers), rapid.ID[string]).Draw(t, "copy")
		}
		for _, a := range copies[0] {
			for _, b := range copies[1] {
				pairs = append(pairs, slowNullOrAbsent([2]string{a, b}))
			}
		}
		alternatives = append(alternatives, "DRB4*"+strings.Join(copies[0], "/DRB4*")+"+DRB4*"+strings.Join(copies[1], "/DRB4*"))
	}
	reading, err := hla.Reader{}.Read(strings.Join(alternatives, "|"))
	require.NoError(t, err)
	return reading.At(hla.DRB4), pairs
}

func slowNullOrAbsent(pair [2]string) [2]string {
	silent := func(name string) bool { return strings.HasSuffix(name, "N") }
	if silent(pair[0]) && !silent(pair[1]) {
		pair[0] = pair[1]
	} else if silent(pair[1]) && !silent(pair[0]) {
		pair[1] = pair[0]
	}
	return pair
}

func TestWhatCanMatchIsThatOfGoingThroughEveryPair(t *testing.T) {
	few := []string{"01:01", "01:02", "01:03N", "02:01", "02:04N"}
	lots := append(few, "03:01", "03:02", "03:03", "03:04", "03:05", "03:06", "03:07", "03:08", "03:09", "03:10", "03:11", "03:12", "03:13")
	rapid.Check(t, func(t *rapid.T) {
		draw := func() (*hla.LocusReading, [][2]string) {
			return drawnLocus(t, rapid.SampledFrom([][]string{few, few, lots}).Draw(t, "names"))
		}
		one, ones := draw()
		other, others := draw()
		most, least := 0, 2
		for _, p := range ones {
			for _, d := range others {
				matched := slowMatched(p[0]+"+"+p[1], d[0]+"+"+d[1])
				most, least = max(most, matched), min(least, matched)
			}
		}
		gotMost, gotLeast := match.MostAndLeast(one, other)
		require.Equal(t, most, int(gotMost), "%s, %s", one.Text, other.Text)
		require.Equal(t, least, int(gotLeast), "%s, %s", one.Text, other.Text)
		most2, least2 := match.MostAndLeast(other, one)
		require.Equal(t, []uint8{gotMost, gotLeast}, []uint8{most2, least2}, "whoever is called the patient")
	})
}
