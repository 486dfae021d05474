package rules

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatErasureLeavesIsKeptForYearsByARuleWithASource(t *testing.T) {
	t.Parallel()
	in := Embedded().For("320106", date(t, "2026-11-20"))
	require.Len(t, KeptClasses(), 11)
	named := 0
	for _, k := range KeptClasses() {
		require.NotEmpty(t, in.Source(k.Rule), k.Class)
		require.Positive(t, in.Count(k.Rule), k.Class)
		if k.Names {
			require.Equal(t, KeptDonation, k.When, "%s names somebody who gave nothing", k.Class)
			named++
		}
	}
	require.Equal(t, 5, named)
	for text, wrong := range map[string]string{
		"- {class: x, when: sometimes, rule: rights.keep.audit}":            "for no reason",
		"- {class: x, when: always, rule: rights.answer.due}":               "for no reason",
		"- {class: x, when: always, rule: rights.keep.nothing}":             "for no reason",
		"- {class: '', when: always, rule: rights.keep.audit}":              "for no reason",
		"- {class: x, when: always, rule: rights.keep.audit, until: never}": "not a table",
	} {
		_, err := parseKept([]byte(text))
		require.ErrorContains(t, err, wrong, text)
	}
}

// A region may answer sooner than the law tells, and never later.
func TestARegionMayAnswerSoonerAndNotLater(t *testing.T) {
	t.Parallel()
	for is, wrong := range map[string]bool{"20 d": false, "30 d": false, "31 d": true} {
		_, err := Load(withFloor(t, map[string]string{"js.yaml": strings.Replace(pack("320000", "2026-01-01", "x", "rights.answer.max: {is: "+is+", source: office}"), "pack: stemcell", "pack: rights", 1)}))
		require.Equal(t, wrong, err != nil, "%s: %v", is, err)
	}
}

func TestTheRulesInForceAreToldWithTheirSources(t *testing.T) {
	t.Parallel()
	all := Embedded().For("320106", date(t, "2026-11-20")).All()
	require.Len(t, all, len(catalogue))
	for i, s := range all {
		require.NotEmpty(t, s.Source, s.Key)
		require.NotEmpty(t, s.Values, s.Key)
		require.True(t, i == 0 || all[i-1].Key < s.Key)
	}
}
