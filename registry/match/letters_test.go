package match_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

func TestEveryCopyHasALetter(t *testing.T) {
	set := mustFrequencies(t, "A*01:01~B*08:01;0.5\nA*02:01~B*07:02;0.5\n")
	for _, c := range []struct{ patient, donor, alone, bySet string }{
		{"A*01:01+A*02:01", "A*02:01+A*01:01", "AA", "AA"},
		{"A*01:01+A*02:01", "A*02:01+A*02:01", "AM", "AM"},
		{"A*01:01+A*02:01", "A*03:01+A*11:01", "MM", "MM"},
		{"A*01:01+A*02:01", "A*01:01+A*02:01/A*02:06", "AP", "AP"},
		{"A*01:01+A*02:01", "A*01:01/A*01:02+A*02:01/A*02:06", "PP", "PP"},
		{"A*01:01+A*02:01", "A*01:01+A*02:XX", "PP", "AA"}, // the set has one of that first field
		{"A*01:01+A*02:01", "A*01:01+A*03:XX", "PM", "PM"}, // the set has none of that first field
		{"A*01:XX+A*02:XX", "A*01:XX+A*02:XX", "PP", "AA"},
		{"A*01:01+A*02:01", "B*08:01+B*07:02", "\x00\x00", "\x00\x00"},
		{"A*01:01+A*02:01", "A*UUUU+A*02:01", "\x00\x00", "\x00\x00"},
		{"A*01:01+A*24:09N", "A*01:01+A*01:01", "AA", "AA"},
	} {
		patient, err := hla.Reader{}.Read(c.patient)
		require.NoError(t, err)
		donor, err := hla.Reader{}.Read(c.donor)
		require.NoError(t, err)
		for _, by := range []struct {
			set  *match.Frequencies
			want string
		}{{nil, c.alone}, {set, c.bySet}} {
			letters := match.NewLetters(by.set, nil)
			for range 2 { // the second time by what it has kept
				got, turned := letters.Of(hla.A, patient, donor), letters.Of(hla.A, donor, patient)
				require.Equal(t, by.want, string(got[:]), "%s %s", c.patient, c.donor)
				require.Equal(t, got, turned)
			}
		}
	}
}
