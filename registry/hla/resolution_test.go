package hla

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestATypingIsAsPreciseAsItsLeastPreciseLocus(t *testing.T) {
	for gl, is := range map[string]string{
		"":                                      "",
		"HLA-A*02:01+HLA-A*11:01":               HighResolution,
		"A*02:01:01:01+A*11:01^B*15:02+B*46:01": HighResolution,
		"A*02:01/A*02:07+A*11:01":               IntermediateResolution,
		"A*02:AB+A*11:01":                       IntermediateResolution,
		"A*02:01+A*11:01^B*15:CDE+B*46:01":      IntermediateResolution,
		"A*02:XX+A*11:01":                       LowResolution,
		"A*02+A*11^B*15:02+B*46:01":             LowResolution,
		"A2+A11":                                LowResolution,
	} {
		require.Equal(t, is, ResolutionOf(gl), gl)
	}
}
