package match

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/liferelay/liferelay/registry/hla"
)

func TestBestProto(t *testing.T) {
	file, _ := os.Open("/work/shared/data/haplotypes/NCHI.ARS.freqs")
	f, _ := ReadFrequencies(file)
	rel, _ := hla.LoadRelease(os.DirFS("/work/shared/data/imgt-hla-3.33.0"))
	s := NewSynthetic(f, rel, 1)
	by := hla.Reader{Release: rel}
	e := NewEngine(Readers{Current: by})
	n, _ := strconv.Atoi(os.Getenv("N"))
	_ = e.Load(func(yield func(Entrant, error) bool) {
		for i := range n {
			yield(s.Donor(i), nil)
		}
	})
	p, _ := Named("9/10")
	p.AllowUntyped = true
	f.index()
	low := os.Getenv("LOW") != ""
	times := 1
	if !low {
		times = 200
	}
	for i := range 20 {
		text := s.Patient(i, low)
		r, _ := by.Read(text)
		began := time.Now()
		e.Stream(p.Loci)
		floor := time.Since(began)
		began = time.Now()
		var found *Found
		for range times {
			found, _ = e.Search(context.Background(), Query{Patient: r, Policy: p}, func(h []Hit) {})
		}
		search := time.Since(began) / time.Duration(times)
		if !low {
			fmt.Println(found.Hits, floor, search)
			continue
		}
		began = time.Now()
		rep, _ := e.Best(context.Background(), Request{Query: Query{Patient: r, Policy: p}, Ranking: DefaultRanking(), Limit: 1000, Populations: func(uint8) *Frequencies { return f }})
		best := time.Since(began)
		fmt.Println(text, rep.Accepted, floor, search, best)
	}
}
