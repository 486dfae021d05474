package demo

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Haplotypes of the kind that are common in eastern China, A~C~B~DRB1~DQB1 with a weight each, for typings that look like
// a drive's. They are an illustration and no frequency set.
var haplotypes = []struct {
	name   string
	weight int
}{
	{"30:01~06:02~13:02~07:01~02:02", 43}, {"02:07~01:02~46:01~09:01~03:03", 38}, {"33:03~03:02~58:01~03:01~02:01", 31}, {"11:01~08:01~15:02~12:02~03:01", 24},
	{"33:03~14:03~44:03~13:02~06:04", 14}, {"01:01~06:02~37:01~10:01~05:01", 13}, {"24:02~01:02~46:01~09:01~03:03", 12}, {"11:01~03:04~13:01~12:02~03:01", 12},
	{"02:01~03:04~13:01~12:02~03:01", 10}, {"11:01~07:02~38:02~15:02~05:02", 10}, {"02:06~08:01~40:06~09:01~03:03", 9}, {"24:02~07:02~40:01~04:05~04:01", 9},
	{"11:01~03:04~40:01~04:05~04:01", 9}, {"02:01~07:02~40:01~11:01~03:01", 8}, {"24:02~03:03~15:01~04:06~03:02", 8}, {"31:01~14:02~51:01~08:03~06:01", 8},
	{"11:01~14:02~51:01~09:01~03:03", 8}, {"02:01~01:02~54:01~04:05~04:01", 7}, {"24:02~08:01~48:01~14:05~05:03", 7}, {"32:01~12:02~52:01~15:02~06:01", 7},
	{"11:01~12:02~27:04~12:02~03:01", 7}, {"03:01~07:02~07:02~15:01~06:02", 6}, {"26:01~03:04~40:02~09:01~03:03", 6}, {"02:03~07:02~38:02~16:02~05:02", 6},
}

// typings draws the genotypes of n donors. The first few share one, so that the demo's patient is sure to find somebody.
func typings(seed uint64, n, alike int) []string {
	r := rand.New(rand.NewPCG(seed, 0x686c61))
	total := 0
	for _, h := range haplotypes {
		total += h.weight
	}
	draw := func() string {
		at := r.IntN(total)
		for _, h := range haplotypes {
			if at -= h.weight; at < 0 {
				return h.name
			}
		}
		return haplotypes[0].name
	}
	out := make([]string, n)
	for i := range out {
		a, b := draw(), draw()
		if i < alike {
			a, b = haplotypes[1].name, haplotypes[3].name
		}
		out[i] = genotype(a, b)
	}
	return out
}

// genotype is the GL String of two haplotypes.
func genotype(a, b string) string {
	loci := []string{"A", "C", "B", "DRB1", "DQB1"}
	one, other := strings.Split(a, "~"), strings.Split(b, "~")
	parts := make([]string, len(loci))
	for i, locus := range loci {
		parts[i] = fmt.Sprintf("HLA-%s*%s+HLA-%s*%s", locus, one[i], locus, other[i])
	}
	return strings.Join(parts, "^")
}
