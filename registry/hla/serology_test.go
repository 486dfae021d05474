package hla_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/hla"
)

// named is an allele, or the zero Allele.
func named(t testing.TB, name string) hla.Allele {
	t.Helper()
	if name == "" {
		return hla.Allele{}
	}
	return mustAllele(t, name)
}

func TestAReleaseSaysWhichAntigenAnAlleleMakesAndInWhichLine(t *testing.T) {
	r := mustRelease(t)
	for name, want := range map[string]hla.Serum{
		"A*02:01":  {Antigens: []string{"2"}, Certain: true, Line: 3},
		"A*02:06":  {Antigens: []string{"2"}, Line: 6}, // ?, and what is assumed
		"A*24:03":  {Antigens: []string{"2403", "9"}, Line: 9},
		"A*02:15N": {Line: 5},
		"A*02:09":  {},
		"B*08:01":  {},
		"":         {},
	} {
		require.Equal(t, want, r.Serum(named(t, name)), name)
	}
	require.Equal(t, "rel_dna_ser.txt:3", r.SerumSource(named(t, "A*02:01:01:01")))
	require.Empty(t, r.SerumSource(named(t, "A*02:09")))
	require.Equal(t, "dpb_tce.csv:5", r.EpitopeSource(named(t, "DPB1*09:01")))
	require.Empty(t, r.EpitopeSource(named(t, "A*02:01")))
	require.Empty(t, r.EpitopeSource(hla.Allele{}))
	for name, want := range map[string][2]string{
		"A*02:09": {"A*02:01P", "hla_nom_p.txt:3"}, "A*02:06": {"A*02:06", "hla_nom_p.txt:4"}, "A*02:15N": {"A*02:15N", ""}, "B*08:01": {"B*08:01", ""}, "": {"", ""},
	} {
		group, source := r.GroupName(named(t, name))
		require.Equal(t, want, [2]string{group, source}, name)
	}
}

// An antigen that is unambiguous for one name of a protein is the protein's, whichever of the names comes first.
func TestTheNamesOfAProteinAgreeOnTheUnambiguousAntigen(t *testing.T) {
	for _, lines := range []string{
		"A*;24:02:01;24;;;\nA*;24:02:01:02L;;0/9;;\nA*;24:02:02;?;;;\n", "A*;24:02:02;?;;;\nA*;24:02:01:02L;;0/9;;\nA*;24:02:01;24;;;\n", "A*;24:02:01:02L;;0/9;;\nA*;24:02:01;24;;;\n",
	} {
		files := small()
		files["wmda/rel_dna_ser.txt"] = heading + lines
		r, err := hla.LoadRelease(folder(files))
		require.NoError(t, err)
		serum := r.Serum(named(t, "A*24:02"))
		require.True(t, serum.Certain)
		require.Equal(t, []string{"24"}, serum.Antigens)
	}
}

func TestAntigensAreTheSameWhereOneIsTheBroaderOrAssociated(t *testing.T) {
	r := mustRelease(t)
	all := func(names ...string) (out []hla.Allele) {
		for _, name := range names {
			out = append(out, named(t, name))
		}
		return out
	}
	for _, c := range []struct {
		one, other []hla.Allele
		want       hla.Likeness
	}{
		{all("A*02:01"), all("A*02:06"), hla.SameAntigen},
		{all("A*24:02"), all("A*24:03"), hla.SameAntigen},      // 24, and 2403 or 9
		{all("A*23:01"), all("A*24:02"), hla.DifferentAntigen}, // two splits of 9
		{all("A*23:01"), all("A*24:03"), hla.UnknownAntigen},   // 9 it would be, 2403 not
		{all("A*02:01"), all("A*02:09"), hla.SameAntigen},      // nobody knows: the family
		{all("A*03:01"), all("A*02:09"), hla.DifferentAntigen},
		{all("DRB1*03:01"), all("DRB1*03:02"), hla.DifferentAntigen}, // 17 and 18, though of one first field
		{all("A*02:15N"), all("A*02:01"), hla.DifferentAntigen},
		{all("A*02:15N"), all("A*02:99N"), hla.UnknownAntigen},
		{all(""), all("DRB4*01:01"), hla.DifferentAntigen},
		{all("DPB1*04:01"), all("DPB1*04:01"), hla.SameAntigen},
		{all("DPB1*04:01"), all("DPB1*04:02"), hla.DifferentAntigen},
		{all("A*02:01", "A*02:06"), all("A*02:09", "A*02:01"), hla.SameAntigen},
		{all("A*02:01", "A*23:01"), all("A*02:01"), hla.UnknownAntigen},
		{nil, all("A*02:01"), hla.UnknownAntigen},
	} {
		require.Equal(t, c.want, r.Alike(c.one, c.other), "%v %v", c.one, c.other)
		require.Equal(t, c.want, r.Alike(c.other, c.one), "%v %v", c.other, c.one)
	}
}

func TestEpitopeGroupsAreReadWithTheirMarks(t *testing.T) {
	files := small()
	files["tce/dpb_tce.csv"] = heading + "DPB1*04:01:01,DPB1*04:01,3$,3$,V2 Assignment based on functional distance scores\nDPB1*09:01,DPB1*09:01,3,2a,Assignment changed\n"
	r, err := hla.LoadRelease(folder(files))
	require.NoError(t, err)
	require.Equal(t, 3, r.Epitope(named(t, "DPB1*04:01")))
	require.Equal(t, 2, r.Epitope(named(t, "DPB1*09:01")))
}
