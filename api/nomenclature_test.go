package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
)

func TestPopulationsAndTheirMixtureAreListedBesideTheNomenclature(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const haplotypes = "A*02:01~C*01:02~B*46:01~DRB1*09:01~DQB1*03:03;0.6\nA*11:01~C*08:01~B*15:02~DRB1*12:02~DQB1*03:01;0.4\n"
	load := func(kind registry.ReferenceKind, name, content string) {
		t.Helper()
		_, _, err := w.Store.LoadReference(context.Background(), registry.Operator("test"), kind, name, map[string][]byte{"file": []byte(content)}, nil)
		require.NoError(t, err)
	}
	load(registry.ReferenceHaplotypes, "HAN", haplotypes)
	load(registry.ReferenceHaplotypes, "HUI", haplotypes)
	list := func(query string) []registry.Reference {
		t.Helper()
		var out struct{ Items []registry.Reference }
		require.NoError(t, json.Unmarshal(w.send(w.Registrar, http.MethodGet, "/v1/nomenclature"+query, nil).is(200).body, &out))
		return out.Items
	}
	both := list("?kind=haplotypes")
	require.Len(t, both, 2)
	require.True(t, both[0].Newest)
	require.False(t, both[0].InUse, "nobody has said who draws from which")
	load(registry.ReferenceMixture, "", "*,HAN,1\n")
	all := list("")
	require.Len(t, all, 3)
	require.Equal(t, []bool{true, false, true}, []bool{all[0].InUse, all[1].InUse, all[2].InUse})
	mixture := list("?kind=mixture")
	require.Equal(t, all[2:], mixture)
	require.Equal(t, map[string]any{"*": map[string]any{"HAN": 1.0}}, mixture[0].Metadata["provinces"])
	require.InDelta(t, 1, all[0].Metadata["sum"], 1e-9)
}
