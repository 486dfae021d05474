package match_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/match"
)

// said puts an explanation into English, the reason first.
func said(why match.Explanation) string {
	lines := []string{lang.English.Say(why.Reason.Code, why.Reason.Args)}
	for _, l := range why.Loci {
		for _, step := range l.Steps {
			lines = append(lines, string(l.Locus)+": "+lang.English.Say(step.Code, step.Args))
		}
	}
	return strings.Join(lines, "\n")
}

func TestEveryVerdictSaysWhatDecidedIt(t *testing.T) {
	t.Parallel()
	const rest = "^B*07:02+B*08:01^DRB1*15:01+DRB1*03:01"
	for _, c := range []struct {
		patient, donor, policy string
		untyped, accepted      bool
		says                   string
	}{
		{"A*02:01+A*24:02" + rest, "A*02:01+A*24:02" + rest, "6/6", false, true, "The donor fits: at least 6 of 6 copies match, and 0 mismatches are allowed."},
		{"A*02:01+A*24:02" + rest, "A*02:01+A*24:03" + rest, "5/6", false, true, "The donor fits: at least 5 of 6 copies match, and 1 mismatch is allowed."},
		{"A*02:01+A*24:02" + rest, "A*02:01+A*24:02/A*24:03" + rest, "6/6", false, true, "The donor may fit: 5 to 6 of 6 copies match, and 0 mismatches are allowed."},
		{"A*02:01+A*24:02" + rest, "A*01:01+A*24:03" + rest, "5/6", false, false, "The donor does not fit: 2 of 6 copies are mismatched for certain, and 1 mismatch is allowed."},
		{"A*02:01+A*24:02" + rest, "A*02:01+A*24:02", "5/6", false, false, "The donor does not fit: B, DRB1 cannot be compared, and every locus has to be."},
		{"A*02:01+A*24:02" + rest, "A*02:01+A*24:02", "5/6", true, true, "The donor may fit: 2 to 6 of 6 copies match, 1 mismatch is allowed, and B, DRB1 cannot be compared yet."},
		{"A*02:01+A*24:02", "B*07:02+B*08:01", "5/6", true, false, "The donor does not fit: A, B, DRB1 cannot be compared, and every locus has to be."},
	} {
		policy, _ := match.Named(c.policy)
		policy.AllowUntyped = c.untyped
		why := match.Rules{}.Why(mustRead(t, hla.Reader{}, c.patient), mustRead(t, hla.Reader{}, c.donor), policy)
		require.Equal(t, c.accepted, why.Accepted)
		require.Equal(t, c.says, strings.Split(said(why), "\n")[0])
	}
}

func TestAnExplanationNamesCopiesGroupsNullsAntigensAndEpitopesWithTheirLines(t *testing.T) {
	t.Parallel()
	release := example(t)
	by := hla.Reader{Release: release}
	patient := mustRead(t, by, "A*02:01+A*24:02^C*05:07N+C*07:02^DPB1*09:01+DPB1*04:01^DQA1*01:01+DQA1*05:01")
	donor := mustRead(t, by, "A*24:XX+A*02:06^C*07:02+C*07:02^DPB1*02:01+DPB1*04:01")
	why := match.Rules{Release: release}.Why(patient, donor, match.Policy{Loci: []hla.Locus{hla.A, hla.C, hla.DPB1, hla.DQA1}, Mismatches: 2, AllowUntyped: true})
	require.True(t, why.Accepted)
	require.Equal(t, "3.33.0", why.Release)
	text := said(why)
	for _, line := range []string{
		"A: Patient, copy 1, written A*02:01: the allele A*02:01.",
		"A: Patient, copy 1: antigens 2 (rel_dna_ser.txt:3).",
		"A: Donor, copy 1, written A*24:XX: 3 alleles (A*24:02, A*24:03, A*24:09N).",
		"A: Donor, copy 1: it may be A*24:09N, which makes no protein. It counts as a second copy of A*02:06 then.",
		"A: The copies stand crossed: the patient's first beside the donor's second, and the second beside the first.",
		"A: A*02:01 beside A*02:06: allele mismatch (L). P groups: A*02:01P (hla_nom_p.txt:2) beside A*02:06 (hla_nom_p.txt:3). The antigen is the same.",
		"A: A*24:02 beside A*24:XX: may match (P). P groups: A*24:02 beside A*24:02, A*24:03, A*24:09N.",
		"A: Copies of the patient's that the donor lacks (GvH): 1-2. Copies of the donor's that the patient lacks (HvG): 1-2.",
		"A: Of two copies 0-1 match.",
		"C: Patient, copy 1: C*05:07N makes no protein. It counts as a second copy of C*07:02.",
		"C: The copies stand directly: first beside first, second beside second.",
		"C: C*05:07N beside C*07:02: the same allele (A).",
		"DPB1: Patient, copy 1: T-cell epitope groups 1 (dpb_tce.csv:6).",
		"DPB1: DPB1 by T-cell epitope groups: not permissive, graft against host.",
		"DQA1: Donor: not typed here, or nothing is known of a copy. The locus may match.",
	} {
		require.Contains(t, text, line)
	}
	require.NotContains(t, text, "DQA1: Patient: not typed")
	require.Equal(t, hla.FormXX, why.Loci[0].Donors[0][0].Forms[0])
	encoded, err := json.Marshal(why.Loci[0].Patients[0][0])
	require.NoError(t, err)
	require.JSONEq(t, `{"text": "A*02:01", "forms": ["allele"], "alleles": 1, "some": ["A*02:01"], "groups": [{"name": "A*02:01P", "source": "hla_nom_p.txt:2"}], "antigens": [{"name": "2", "source": "rel_dna_ser.txt:3"}]}`, string(encoded))

	absent := match.Rules{}.Why(mustRead(t, hla.Reader{}, "DRB4*01:01+DRB4*NNNN"), mustRead(t, hla.Reader{}, "DRB4*NNNN+DRB4*NNNN"), match.Policy{Loci: []hla.Locus{hla.DRB4}})
	require.Contains(t, said(absent), "DRB4: Patient, copy 2: the gene is absent. It counts as a second copy of DRB4*01:01.")
	require.Contains(t, said(absent), "DRB4: Donor: neither copy makes a protein. They are compared by their names.")
	beside := match.Rules{}.Why(mustRead(t, hla.Reader{}, "A*01:01/A*01:11N+A*24:09N"), mustRead(t, hla.Reader{}, "A*01:01+A*01:01"), match.Policy{Loci: []hla.Locus{hla.A}})
	require.Contains(t, said(beside), "A: Patient, copy 2: A*24:09N makes no protein. It counts as a second copy of A*01:01/A*01:11N.")
	require.NotContains(t, said(beside), "it may be A*01:11N", "there is nothing expressed beside it that it could count as")
	open := match.Rules{}.Why(mustRead(t, hla.Reader{}, "A*02:XX+A*24:02"), mustRead(t, hla.Reader{}, "A*02:01+A*24:02"), match.Policy{Loci: []hla.Locus{hla.A}})
	require.Contains(t, said(open), "A: Patient, copy 1, written A*02:XX: any allele that begins with A*02.")
}

func TestAnExplanationSaysWhatTheComparisonDoesInBothLanguages(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		slow := drawnRelease(t, "3.33.0")
		release := slow.load(t)
		by := hla.Reader{Release: release, Codes: mustCodes(t)}
		patient, donor := mustRead(t, by, drawnGL(t, slow)), mustRead(t, by, drawnGL(t, slow))
		policy := match.Policy{Loci: referenceLoci, Mismatches: rapid.IntRange(0, 4).Draw(t, "mismatches"), AllowUntyped: rapid.Bool().Draw(t, "untyped")}
		rules := match.Rules{Release: release, Loci: referenceLoci}
		result, why := rules.Compare(patient, donor), rules.Why(patient, donor, policy)
		require.Equal(t, match.Accepts(policy, result), why.Accepted)
		require.Equal(t, why.Accepted, strings.HasPrefix(why.Reason.Code, "why.accepted"))
		require.Equal(t, result.Count, why.Count)
		sentences := []match.Sentence{why.Reason}
		for i, l := range why.Loci {
			require.Equal(t, result.Loci[i], l.LocusResult)
			require.NotEmpty(t, l.Steps)
			sentences = append(sentences, l.Steps...)
		}
		for _, s := range sentences {
			for _, locale := range lang.Locales() {
				text := locale.Say(s.Code, s.Args)
				require.NotEqual(t, s.Code, text)
				require.NotContains(t, text, "<no value>")
			}
		}
	})
}

func TestLinesOfARealReleaseAreWhereTheySayTheyAre(t *testing.T) {
	t.Parallel()
	folder := data(t, "imgt-hla-3.33.0")
	release, err := hla.LoadRelease(os.DirFS(folder))
	require.NoError(t, err)
	line := func(source string) string {
		name, number, found := strings.Cut(source, ":")
		require.True(t, found, source)
		content, err := os.ReadFile(folder + "/" + name)
		require.NoError(t, err)
		var n int
		require.NoError(t, json.Unmarshal([]byte(number), &n))
		return strings.Split(string(content), "\n")[n-1]
	}
	for allele, want := range map[string][3]string{
		"A*24:02":    {"A*;24:02:01:01", "A*;24:02:01:01;24;;;", ""},
		"A*24:03":    {"A*;24:03:01:01", "A*;24:03:01:01;2403;;;", ""},
		"B*40:01":    {"B*;40:01:01", "B*;40:01:01;60;;;", ""},
		"DPB1*09:01": {"DPB1*;09:01:01", "", "DPB1*09:01:01,DPB1*09:01,1,1,"},
	} {
		a, err := hla.ParseAllele(allele)
		require.NoError(t, err)
		_, group := release.GroupName(a)
		require.Contains(t, line(group), want[0])
		if want[1] != "" {
			require.Equal(t, want[1], line(release.SerumSource(a)))
		}
		if want[2] != "" {
			require.Equal(t, want[2], line(release.EpitopeSource(a)))
		}
	}
}
