package calendar

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed data/*.yaml
var data embed.FS

// file is one year's published notice, or the statutory days of years that have none yet.
type file struct {
	Region      string `yaml:"region"`
	Year        int    `yaml:"year"`
	Notice      string `yaml:"notice"`
	Published   Date   `yaml:"published"`
	Source      string `yaml:"source"`
	Provisional bool   `yaml:"provisional"`
	Holidays    []span `yaml:"holidays"`
	Worked      []span `yaml:"worked"`
}

type span struct {
	From Date   `yaml:"from"`
	To   Date   `yaml:"to"`
	ZH   string `yaml:"zh"`
	EN   string `yaml:"en"`
}

var embedded = sync.OnceValues(func() (map[string]*Calendar, error) {
	names, err := data.ReadDir("data")
	if err != nil {
		return nil, err
	}
	files := map[string][]file{}
	for _, n := range names {
		text, err := data.ReadFile(path.Join("data", n.Name()))
		if err != nil {
			return nil, err
		}
		var f file
		if err := yaml.UnmarshalWithOptions(text, &f, yaml.Strict()); err != nil {
			return nil, fmt.Errorf("calendar: %s: %w", n.Name(), err)
		}
		files[f.Region] = append(files[f.Region], f)
	}
	calendars := map[string]*Calendar{}
	for region, fs := range files {
		if calendars[region], err = assemble(fs); err != nil {
			return nil, fmt.Errorf("calendar: region %s: %w", region, err)
		}
	}
	return calendars, nil
})

// assemble lays the published years over the provisional days: a provisional day of a published year is dropped, since
// the notice may have moved or merged it.
func assemble(files []file) (*Calendar, error) {
	slices.SortStableFunc(files, func(a, b file) int {
		switch {
		case a.Provisional == b.Provisional:
			return 0
		case a.Provisional:
			return 1
		}
		return -1
	})
	rows, settled := map[Date]row{}, map[int]bool{}
	for _, f := range files {
		if !f.Provisional {
			if f.Year == 0 || f.Notice == "" || f.Source == "" || settled[f.Year] {
				return nil, fmt.Errorf("year %d: a published year needs its notice and source, once", f.Year)
			}
			settled[f.Year] = true
		}
		for _, kind := range []struct {
			spans   []span
			working bool
		}{{f.Holidays, false}, {f.Worked, true}} {
			for _, s := range kind.spans {
				if s.From.IsZero() || s.To.Before(s.From) || s.To.Sub(s.From) > 30 || strings.TrimSpace(s.ZH) == "" || s.EN == "" {
					return nil, fmt.Errorf("%s to %s: needs two dates in order and both names", s.From, s.To)
				}
				for d := s.From; !d.After(s.To); d = d.AddDays(1) {
					if f.Provisional && settled[d.Year()] {
						continue
					}
					if _, twice := rows[d]; twice {
						return nil, fmt.Errorf("%s appears twice", d)
					}
					rows[d] = row{Override{d, kind.working, s.ZH, s.EN}, f.Provisional}
				}
			}
		}
	}
	return build(rows, settled), nil
}

// Embedded is the calendar built in for a region. "CN" has the General Office of the State Council's notices from 2025 on, and
// the statutory days of the years up to 2040 that have no notice yet. The error is *RegionError for any other region.
func Embedded(region string) (*Calendar, error) {
	all, err := embedded()
	if err != nil {
		return nil, err
	}
	c, ok := all[region]
	if !ok {
		return nil, &RegionError{region}
	}
	return c, nil
}
