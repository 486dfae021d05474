package main_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/match"
)

func TestWhyADonorFitsIsSaidDownToTheLinesOfTheRelease(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	release := filepath.Join(m.dir, "hla")
	require.NoError(t, os.Mkdir(release, 0o700))
	for name, content := range map[string]string{
		"Allele_status.txt": "# version: IPD-IMGT/HLA 3.99.0\nA*02:01,1,1\nA*02:06,1,1\nA*02:15N,1,1\nA*24:02,1,1\nB*07:02,1,1\nDRB1*15:01,1,1\n",
		"hla_nom_p.txt":     "# version: IPD-IMGT/HLA 3.99.0\nA*;02:01;\nA*;02:06;\nA*;24:02;\n",
		"rel_dna_ser.txt":   "# version: IPD-IMGT/HLA 3.99.0\nA*;02:01;2;;;\nA*;02:06;2;;;\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(release, name), []byte(content), 0o600))
	}
	const rest = "^B*07:02+B*07:02^DRB1*15:01+DRB1*15:01"
	line := []string{"match", "why", "--hla", release, "--policy", "5/6", "--patient", "A*02:01+A*24:02" + rest, "--donor", "A*24:02+A*02:06" + rest}
	said := m.run(line...).exits(0).out
	require.Contains(t, said, "The donor fits: at least 5 of 6 copies match, and 1 mismatch is allowed.\n\nA  L A\n")
	require.Contains(t, said, "  A*02:01 beside A*02:06: allele mismatch (L). P groups: A*02:01 (hla_nom_p.txt:2) beside A*02:06 (hla_nom_p.txt:3). The antigen is the same.\n")
	require.Contains(t, said, "Patient, copy 1: antigens 2 (rel_dna_ser.txt:2).")
	require.Contains(t, m.with("LANG", "zh_CN.UTF-8").run(line...).exits(0).out, "A*02:01 对 A*02:06：等位基因不合（L）。")
	why := result[match.Explanation](m.run(append(line, "--json")...).exits(0))
	require.True(t, why.Accepted)
	require.Equal(t, match.Count{Least: 5, Most: 5, Of: 6}, why.Count)
	require.Equal(t, "3.99.0", why.Release)

	untyped := []string{"match", "why", "--policy", "6/6", "--patient", "A*02:01+A*24:02" + rest, "--donor", "A*24:02+A*02:XX"}
	require.Contains(t, m.run(untyped...).exits(0).out, "does not fit: B, DRB1 cannot be compared")
	require.Contains(t, m.run(append(untyped, "--untyped")...).exits(0).out, "may fit: 1 to 6 of 6 copies match")
	require.Contains(t, m.run(append(untyped, "--policy", "7/7")...).exits(3).err, "there is no 7/7; write one of 10/10, 9/10")
	refused := m.run("match", "why", "--patient", "A*02:01+A*24:02", "--donor", "A*02:AB+A*24:02").exits(3).err
	require.Contains(t, refused, "--donor")
	require.Contains(t, refused, "character 1, “A*02:AB”")
}
