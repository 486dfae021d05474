package registry

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/match"
)

// Populations are reference data as the nomenclature is: sets of haplotypes, and one table that says which of them the people of a province draw
// from. With one population and no table everybody draws from it. With several and no table nobody does: chances that somebody did not decide on
// would look as good as others.

// tenOfTen are the loci that the register counts chances over: two copies at each are ten.
var tenOfTen = []hla.Locus{hla.A, hla.C, hla.B, hla.DRB1, hla.DQB1}

// MixtureName is what the table of provinces is called: there is one.
const MixtureName = "mixture"

// PopulationUse is a population that is loaded, and who draws from it.
type PopulationUse struct {
	Name       string             `json:"name" class:"organisation" mask:"drop"`
	Label      string             `json:"label,omitempty" class:"organisation" mask:"drop"`
	Version    string             `json:"nomenclature,omitempty" class:"organisation" mask:"drop"` // of its alleles, as its source writes it
	People     int                `json:"people,omitempty" class:"organisation" mask:"drop"`       // who were counted, where the source says it
	Haplotypes int                `json:"haplotypes" class:"organisation" mask:"drop"`
	Sum        float64            `json:"sum" class:"organisation" mask:"drop"` // of the frequencies
	LoadedAt   time.Time          `json:"loaded_at" class:"organisation" mask:"drop"`
	LoadedBy   string             `json:"loaded_by" class:"organisation" mask:"drop"`
	Provinces  map[string]float64 `json:"provinces" class:"organisation" mask:"drop"` // its share in each that draws from it, "*" for all that the table has no line of
}

// PopulationList is what is loaded of populations.
type PopulationList struct {
	Populations []PopulationUse `json:"populations" class:"organisation" mask:"drop"` // by their names
	MixedAt     *time.Time      `json:"mixed_at" class:"organisation" mask:"drop"`    // when the table of provinces was loaded; nil without one
	Undecided   bool            `json:"undecided" class:"organisation" mask:"drop"`   // several and no table: no chances are counted
}

// ListPopulations tells which populations are loaded, and which provinces draw from each.
func (r *Reader) ListPopulations(ctx context.Context, actor Actor) (PopulationList, error) {
	var out PopulationList
	err := r.act(ctx, actor, "ListPopulations", policy.ForAdministration, func(ctx context.Context, a *act) error {
		out = PopulationList{Populations: []PopulationUse{}}
		if err := a.permit(policy.Read, policy.Organisation, referenceRecord("populations")); err != nil {
			return err
		}
		var shares map[string]map[string]float64
		err := a.QueryRow(ctx, `SELECT loaded_at, metadata->'provinces' FROM reference_data WHERE kind = 'mixture' ORDER BY id DESC LIMIT 1`).Scan(&out.MixedAt, &shares)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		rows, err := a.Query(ctx, `
			SELECT DISTINCT ON (name) name, coalesce(metadata->>'label', ''), coalesce(metadata->>'nomenclature', ''), coalesce((metadata->>'people')::int, 0), names,
				coalesce((metadata->>'sum')::float8, 0), loaded_at, loaded_by
			FROM reference_data WHERE kind = 'haplotypes' ORDER BY name, id DESC`)
		if err != nil {
			return err
		}
		out.Populations, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p PopulationUse, err error) {
			err = row.Scan(&p.Name, &p.Label, &p.Version, &p.People, &p.Haplotypes, &p.Sum, &p.LoadedAt, &p.LoadedBy)
			p.Provinces = map[string]float64{}
			for province, names := range shares {
				if share := names[p.Name]; share > 0 {
					p.Provinces[province] = share
				}
			}
			return p, err
		})
		switch {
		case err != nil || out.MixedAt != nil:
		case len(out.Populations) == 1:
			out.Populations[0].Provinces["*"] = 1
		default:
			out.Undecided = len(out.Populations) > 1
		}
		return err
	})
	return out, err
}

// examinePopulation reads a population to see that the register can count with it.
func examinePopulation(name string, folder *zip.Reader) (names int, counts map[string]any, err error) {
	if err := needName(name); err != nil {
		return 0, nil, err
	}
	p, err := readPopulation(name, folder)
	if err != nil {
		return 0, nil, err
	}
	var without []string
	for _, locus := range tenOfTen {
		if !slices.Contains(p.Frequencies.Loci(), locus) {
			without = append(without, string(locus))
		}
	}
	if len(without) > 0 {
		return 0, nil, &Error{Kind: Invalid, Code: "population_loci", Args: map[string]any{"Loci": strings.Join(without, ", ")}}
	}
	var loci []string
	for _, locus := range p.Frequencies.Loci() {
		loci = append(loci, string(locus))
	}
	counts = map[string]any{"loci": loci, "sum": p.Frequencies.Sum()}
	for key, value := range map[string]string{"label": p.Label, "nomenclature": p.NomenclatureVersion} {
		if value != "" {
			counts[key] = value
		}
	}
	if p.CohortSize > 0 {
		counts["people"] = p.CohortSize
	}
	return p.Frequencies.Haplotypes(), counts, nil
}

// readPopulation reads the one or two files of a population. Of two the metadata are the one that is called so: .json, or .json.gz.
func readPopulation(name string, folder *zip.Reader) (*match.Population, error) {
	var haplotypes, metadata []*zip.File
	for _, file := range folder.File {
		if len(folder.File) > 1 && strings.HasSuffix(strings.TrimSuffix(file.Name, ".gz"), ".json") {
			metadata = append(metadata, file)
		} else {
			haplotypes = append(haplotypes, file)
		}
	}
	if len(haplotypes) != 1 || len(metadata) > 1 {
		return nil, spoiled(errors.New("a population is one file of haplotypes, and beside it one of metadata at the most, whose name ends in .json"))
	}
	from, err := haplotypes[0].Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = from.Close() }()
	if len(metadata) == 0 {
		p, err := match.ReadPopulation(name, from, nil)
		return p, spoiledLine(haplotypes[0].Name, err)
	}
	beside, err := metadata[0].Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = beside.Close() }()
	p, err := match.ReadPopulation(name, from, beside)
	if line := (*match.FrequencyError)(nil); errors.As(err, &line) {
		return nil, spoiledLine(haplotypes[0].Name, err)
	}
	return p, spoiledLine(metadata[0].Name, err)
}

// spoiledLine tells in which file, and where it is known in which line of it, a population or a mixture cannot be read.
func spoiledLine(file string, err error) error {
	if err == nil {
		return nil
	}
	args := map[string]any{"File": file}
	what := strings.TrimPrefix(err.Error(), "match: ")
	frequency, population := (*match.FrequencyError)(nil), (*match.PopulationError)(nil)
	switch {
	case errors.As(err, &frequency):
		args["Line"] = frequency.Line
		what = fmt.Sprintf("line %d: %q %s", frequency.Line, shortened(frequency.Read), frequency.Text)
	case errors.As(err, &population):
		what = strings.TrimPrefix(what, "population: ")
		if population.Line > 0 {
			args["Line"] = population.Line
		}
	}
	args["What"] = file + ", " + what
	return &Error{Kind: Invalid, Code: "reference_unreadable", Args: args, cause: errors.New(file + ", " + what)}
}

// shortened is as much of a line as an error tells.
func shortened(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return text
}

// readMixture reads a table of provinces, which is the only file of its archive.
func readMixture(folder *zip.Reader, populations []*match.Population) (*match.Mixture, error) {
	if len(folder.File) != 1 {
		return nil, spoiled(errors.New("a mixture is one file"))
	}
	file, err := folder.File[0].Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	m, err := match.ReadMixture(file, populations)
	return m, spoiledLine(folder.File[0].Name, err)
}

// examineMixture reads a table of provinces to see that it names populations that are loaded, which can be counted together.
func (a *act) examineMixture(ctx context.Context, p packed) (names int, counts map[string]any, err error) {
	folder, err := p.open()
	if err != nil {
		return 0, nil, err
	}
	loaded, err := populationRows(ctx, a.Tx)
	if err != nil {
		return 0, nil, err
	}
	files, err := fetchFiles(ctx, a.Tx, slices.Collect(maps.Values(loaded.newest)), nil)
	if err != nil {
		return 0, nil, err
	}
	populations, err := files.populations(loaded.newest, nil)
	if err != nil {
		return 0, nil, err
	}
	m, err := readMixture(folder, slices.Collect(maps.Values(populations)))
	if err != nil {
		return 0, nil, err
	}
	shares := m.Shares()
	named := map[string]bool{}
	for _, of := range shares {
		names += len(of)
		for name := range of {
			named[name] = true
		}
	}
	return names, map[string]any{"provinces": shares, "populations": slices.Sorted(maps.Keys(named))}, nil
}

// stillMixes sees that the provinces can draw from a population in its new form.
func (a *act) stillMixes(ctx context.Context, name string, p packed) error {
	loaded, err := populationRows(ctx, a.Tx)
	if err != nil || !slices.Contains(loaded.mixed, name) {
		return err
	}
	folder, err := p.open()
	if err != nil {
		return err
	}
	fresh, err := cutPopulation(name, folder)
	if err != nil {
		return err
	}
	wanted := loaded.drawnFrom()
	delete(wanted, name)
	files, err := fetchFiles(ctx, a.Tx, append(slices.Collect(maps.Values(wanted)), loaded.mixture), nil)
	if err != nil {
		return err
	}
	populations, err := files.populations(wanted, nil)
	if err != nil {
		return err
	}
	_, err = readMixture(files[loaded.mixture], append(slices.Collect(maps.Values(populations)), fresh))
	return err
}

// cutPopulation reads a population at the loci that the register counts over.
func cutPopulation(name string, folder *zip.Reader) (*match.Population, error) {
	p, err := readPopulation(name, folder)
	if err == nil {
		p.Frequencies, err = p.Frequencies.At(tenOfTen)
	}
	return p, err
}

// loadedPopulations are the rows that count.
type loadedPopulations struct {
	newest  map[string]uuid.UUID // populations by their names
	mixture uuid.UUID            // the table of provinces, nil where there is none
	mixed   []string             // the populations that it names
}

func populationRows(ctx context.Context, q querier) (loadedPopulations, error) {
	out := loadedPopulations{newest: map[string]uuid.UUID{}}
	rows, err := q.Query(ctx, `
		SELECT DISTINCT ON (kind, name) id, kind, name, ARRAY(SELECT jsonb_array_elements_text(metadata->'populations') WHERE kind = 'mixture')
		FROM reference_data WHERE kind IN ('haplotypes', 'mixture') ORDER BY kind, name, id DESC`)
	if err != nil {
		return out, err
	}
	var id uuid.UUID
	var kind ReferenceKind
	var name string
	var named []string
	_, err = pgx.ForEachRow(rows, []any{&id, &kind, &name, &named}, func() error {
		if kind == ReferenceMixture {
			out.mixture, out.mixed = id, slices.Clone(named)
		} else {
			out.newest[name] = id
		}
		return nil
	})
	return out, err
}

// drawnFrom are the populations that somebody draws from; none where nobody has said who draws from which.
func (l loadedPopulations) drawnFrom() map[string]uuid.UUID {
	switch {
	case l.mixture != uuid.Nil:
		out := map[string]uuid.UUID{}
		for _, name := range l.mixed {
			out[name] = l.newest[name]
		}
		return out
	case len(l.newest) == 1:
		return l.newest
	}
	return nil
}

// rowFiles are the files of rows.
type rowFiles map[uuid.UUID]*zip.Reader

// fetchFiles fetches the files of rows, but for those that were read before.
func fetchFiles(ctx context.Context, q querier, rows []uuid.UUID, known map[uuid.UUID]*match.Population) (rowFiles, error) {
	out := rowFiles{}
	for _, id := range rows {
		if known[id] != nil {
			continue
		}
		var p packed
		err := q.QueryRow(ctx, `SELECT archive FROM reference_data WHERE id = $1`, id).Scan(&p.archive)
		if err == nil {
			out[id], err = p.open()
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// populations reads populations by their names; known are those that were read before.
func (f rowFiles) populations(wanted map[string]uuid.UUID, known map[uuid.UUID]*match.Population) (map[uuid.UUID]*match.Population, error) {
	out := map[uuid.UUID]*match.Population{}
	for name, id := range wanted {
		p := known[id]
		if p == nil {
			var err error
			if p, err = cutPopulation(name, f[id]); err != nil {
				return nil, err
			}
		}
		out[id] = p
	}
	return out, nil
}

// drawn is who draws from which population, as this process has read it.
type drawn struct {
	now    atomic.Pointer[drawnBy]
	making sync.Mutex // whoever holds it asks nobody for a connection
}

// drawnBy is drawn at one revision.
type drawnBy struct {
	revision int64
	rows     []uuid.UUID // that it was made of
	parts    map[uuid.UUID]*match.Population
	from     func(province uint8) *match.Frequencies
}

// populationsIn says which frequencies the people of a province have: by the first two digits of its code, 0 where it is not known. All sets that it
// gives number their alleles alike and have the five loci of 10/10. It is nil where no chances can be counted: nothing is loaded, or several populations
// and nobody has said who draws from which.
func (r *Reader) populationsIn(ctx context.Context, q querier) (func(province uint8) *match.Frequencies, error) {
	d := &r.references.drawn
	var revision int64
	if err := q.QueryRow(ctx, `SELECT revision FROM reference_revision`).Scan(&revision); err != nil {
		return nil, err
	}
	before := d.now.Load()
	if before != nil && before.revision >= revision {
		return before.from, nil
	}
	loaded, err := populationRows(ctx, q)
	if err != nil {
		return nil, err
	}
	wanted := loaded.drawnFrom()
	rows := slices.SortedFunc(maps.Values(wanted), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	if loaded.mixture != uuid.Nil {
		rows = append(rows, loaded.mixture)
	}
	known := map[uuid.UUID]*match.Population{}
	if before != nil {
		known = before.parts
	}
	same := before != nil && slices.Equal(before.rows, rows) // something else is new
	var files rowFiles
	if !same {
		if files, err = fetchFiles(ctx, q, rows, known); err != nil {
			return nil, err
		}
	}
	d.making.Lock() // only those who need the new ones wait
	defer d.making.Unlock()
	now := d.now.Load()
	if now != nil && now.revision >= revision {
		return now.from, nil
	}
	by := &drawnBy{revision: revision, rows: rows}
	switch {
	case same:
		by.parts, by.from = before.parts, before.from
	case now != nil && slices.Equal(now.rows, rows):
		by.parts, by.from = now.parts, now.from
	default:
		if by.parts, err = files.populations(wanted, known); err != nil {
			return nil, err
		}
		if by.from, err = drawFrom(by.parts, files[loaded.mixture]); err != nil {
			return nil, err
		}
	}
	d.now.Store(by)
	return by.from, nil
}

// drawFrom makes what populationsIn gives; without a table everybody draws from the only population.
func drawFrom(populations map[uuid.UUID]*match.Population, table *zip.Reader) (func(province uint8) *match.Frequencies, error) {
	if table == nil {
		for _, p := range populations {
			return func(uint8) *match.Frequencies { return p.Frequencies }, nil
		}
		return nil, nil
	}
	m, err := readMixture(table, slices.Collect(maps.Values(populations)))
	if err != nil {
		return nil, err
	}
	return func(province uint8) *match.Frequencies {
		code := ""
		if province < 100 {
			code = fmt.Sprintf("%02d", province)
		}
		f, _ := m.For(code)
		return f
	}, nil
}
