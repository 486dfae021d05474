package match

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/liferelay/liferelay/registry/hla"
)

// Request is a search for the best donors.
type Request struct {
	Query
	Traits  Traits // the patient's
	Ranking Ranking
	Limit   int // how many donors at the most
	// Populations gives the frequencies that a person's haplotypes are drawn from, by the province, 0 where it is not known. All that it gives
	// number their alleles alike. nil, or one that gives nil, means that no chances are counted.
	Populations func(province uint8) *Frequencies
}

// Report is what a search found.
type Report struct {
	Compared   int                     // donors that were looked at
	Accepted   int                     // that the policy and the filter accept
	Mismatched [MostMismatches + 1]int // of those, by how many copies are mismatched for certain
	Explained  bool                    // whether the patient's population explains the patient's typing: else no chances are counted
	Candidates []Candidate             // the best, in the order of the ranking
}

// Candidate is a donor of a report.
type Candidate struct {
	Scored
	Chances *Chances     // at each locus of the population's, too; nil where they are not known
	Typing  *hla.Reading // what the donor is typed as
}

// Best finds the donors whom the policy accepts and puts the best in order. Which these are is decided by the ranking; in the place of chances, which are not
// counted for everybody, stand those of each locus alone. Then they are counted, and the best are put in order by them.
//
// Errors: *UntypedError, those of the context.
func (e *Engine) Best(ctx context.Context, r Request) (*Report, error) {
	out, v := &Report{}, e.shown.Load()
	chosen := newChoice(r)
	var patient *Genotypes
	if r.Populations != nil {
		if f := r.Populations(r.Traits.Province); f != nil {
			e.alone(func() { patient = f.Explain(f.Phenotype(r.Patient, v.release)) })
			if out.Explained = patient.Explained(); out.Explained {
				chosen.guess = newGuess(patient, v)
			}
		}
	}
	found, err := e.search(ctx, v, r.Query, func(hits []Hit) {
		for i := range hits {
			out.Mismatched[min(hits[i].Count.Mismatches(), MostMismatches)]++
		}
		chosen.offer(hits)
	})
	if err != nil {
		return nil, err
	}
	out.Compared, out.Accepted = found.Donors, found.Hits
	best := chosen.best()
	out.Candidates = make([]Candidate, len(best))
	for i := range best {
		out.Candidates[i] = Candidate{Scored: best[i].Scored, Typing: found.Reading(best[i].hit)}
	}
	if out.Explained {
		if err := e.chances(ctx, patient, r.Populations, out.Candidates, v.release); err != nil {
			return nil, err
		}
		better := r.Ranking.For(r.Traits)
		slices.SortFunc(out.Candidates, func(a, b Candidate) int { return better(&a.Scored, &b.Scored) })
	}
	return out, nil
}

// chances counts the chances of candidates, on all cores.
func (e *Engine) chances(ctx context.Context, patient *Genotypes, populations func(uint8) *Frequencies, candidates []Candidate, release *hla.Release) error {
	turn := e.turns.enter()
	defer turn.leave()
	prospects := map[*Frequencies]*Prospect{}
	var of [256]*Prospect
	for i := range candidates {
		province := candidates[i].Traits.Province
		f := populations(province)
		if f == nil || of[province] != nil {
			continue
		}
		p, known := prospects[f]
		if !known {
			e.alone(func() { p = patient.Prospect(f, release) })
			prospects[f] = p
		}
		of[province] = p
	}
	const piece = 8
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 1+len(candidates)/piece) {
		workers.Go(func() {
			for ctx.Err() == nil {
				from := int(next.Add(piece)) - piece
				if from >= len(candidates) {
					return
				}
				turn.step()
				e.alone(func() {
					for i := from; i < min(from+piece, len(candidates)); i++ {
						c := &candidates[i]
						if p := of[c.Traits.Province]; p != nil {
							var chances Chances
							if p.With(c.Typing, &chances) {
								c.Chances = &chances
								c.Chance = Chance{true, float32(chances.Ten), float32(chances.Nine)}
							}
						}
					}
				})
			}
		})
	}
	workers.Wait()
	return ctx.Err()
}

// alone does something that takes a core for long. Of all searches together one core less than there are does such things.
func (e *Engine) alone(do func()) {
	e.heavy <- struct{}{}
	defer func() { <-e.heavy }()
	do()
}

// choice keeps the best of many.
type choice struct {
	limit  int
	better func(a, b *chosen) int
	kept   []chosen
	worst  *chosen // when there are enough: what is not better is not kept
	guess  *guess
}

type chosen struct {
	Scored
	hit Hit
}

func newChoice(r Request) *choice {
	better := r.Ranking.For(r.Traits)
	return &choice{
		limit:  max(r.Limit, 1),
		better: func(a, b *chosen) int { return better(&a.Scored, &b.Scored) },
		kept:   make([]chosen, 0, 2*max(r.Limit, 1)),
	}
}

func (c *choice) offer(hits []Hit) {
	for i := range hits {
		h := &hits[i]
		one := chosen{Scored{ID: h.ID, Count: h.Count, Traits: h.Traits}, *h}
		if c.guess != nil {
			one.Chance = c.guess.of(h)
		}
		if c.worst != nil && c.better(c.worst, &one) <= 0 {
			continue
		}
		if c.kept = append(c.kept, one); len(c.kept) == cap(c.kept) {
			c.cut()
		}
	}
}

func (c *choice) cut() {
	slices.SortFunc(c.kept, func(a, b chosen) int { return c.better(&a, &b) })
	if len(c.kept) >= c.limit {
		c.kept = c.kept[:c.limit]
		worst := c.kept[c.limit-1]
		c.worst = &worst
	}
}

func (c *choice) best() []chosen {
	c.cut()
	for i := range c.kept { // what was guessed is told to nobody
		c.kept[i].Chance = Chance{}
	}
	return c.kept
}

// guess is a first idea of the chance that all copies match: the product of those of each locus alone, as if loci were not linked.
type guess struct {
	set    *Frequencies
	view   *view
	places []int       // of the set's loci among the register's
	share  [][]float64 // how frequent each allele is, beside the set's loci
	weight [][]float64 // the patient's chance of a pair of alleles, by both
	known  [][]float32 // by the entry; 0 where nobody asked yet
}

func newGuess(patient *Genotypes, v *view) *guess {
	f := patient.set
	g := &guess{set: f, view: v}
	for l, place := range f.places {
		at := slices.Index(hla.Loci(), f.loci[l])
		g.places = append(g.places, at)
		n := len(place.names)
		share, weight := make([]float64, n), make([]float64, n*n)
		for i := range f.haplotypes {
			share[f.haplotypes[i].alleles[l]] += f.haplotypes[i].frequency
		}
		chances := make([]float64, len(place.pairs))
		for i, pair := range patient.marginal[l].pairs {
			chances[pair] = patient.marginal[l].chances[i]
		}
		for a := range n {
			for b := range n {
				weight[a*n+b] = chances[place.genotype[a][b]]
			}
		}
		g.share, g.weight = append(g.share, share), append(g.weight, weight)
		g.known = append(g.known, make([]float32, len(v.lexicons[at].entries)))
	}
	return g
}

// unlikely is the least that a guess is: chances of loci that the set does not explain say nothing.
const unlikely = 1e-6

func (g *guess) of(h *Hit) Chance {
	s := g.view.segments[h.row/segmentRows]
	product := float32(1)
	for l, place := range g.places {
		n := s.at[place].Load().entry(int(h.row % segmentRows))
		if g.known[l][n] == 0 {
			g.known[l][n] = g.at(l, place, n)
		}
		product *= g.known[l][n]
	}
	return Chance{Known: true, Ten: product}
}

func (g *guess) at(l, place int, n uint32) float32 {
	f, share, weight := g.set, g.share[l], g.weight[l]
	width := len(share)
	match, all := 0.0, 0.0
	add := func(one, other []uint16) {
		for _, a := range one {
			row := weight[int(a)*width : int(a+1)*width]
			for _, b := range other {
				both := share[a] * share[b]
				all += both
				match += both * row[b]
			}
		}
	}
	if typed := g.view.lexicons[place].reading(n); typed != nil {
		for _, pair := range typed.Pairs {
			add(f.numbersOf(l, pair[0], g.view.release), f.numbersOf(l, pair[1], g.view.release))
		}
	} else {
		every := f.numbersOf(l, hla.Copy{Unknown: true}, g.view.release)
		add(every, every)
	}
	if all == 0 {
		return unlikely
	}
	return max(float32(match/all), unlikely)
}
