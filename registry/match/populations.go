package match

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/md5" //nolint:gosec // HFX has no other checksum; it tells whether a file is whole, not who wrote it
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/identity"
)

// Population is a set of frequencies and where they come from.
type Population struct {
	Name                string // by which a mixture calls it: letters, digits, -, _ and .
	Label               string
	NomenclatureVersion string // the release of IPD-IMGT/HLA, as the source writes it
	CohortSize          int    // people who were counted; 0 where it is not said
	Resolution          map[hla.Locus]string
	Pools, Ethnicities  []string // whose donors it is meant for, where the source says it (Atlas)
	Frequencies         *Frequencies
}

// PopulationError says what is wrong with a file of a population or of a mixture.
type PopulationError struct {
	Line  int    // from 1; 0 where a line says nothing
	Field string // as the format calls it
	Text  string // what it has to be
	Read  string // what stands there, where that helps
}

func (e *PopulationError) Error() string {
	text := "match: population: "
	if e.Line > 0 {
		text += fmt.Sprintf("line %d: ", e.Line)
	}
	text += e.Field
	if e.Read != "" {
		text += fmt.Sprintf(" %q", e.Read)
	}
	return text + " " + e.Text
}

// What a population may have. Its frequencies add up to 1, less what is too rare to be in the set; one that lacks more than half is a part of
// something.
const (
	maxPopulation = 256 << 20 // bytes of a file
	leastSum      = 0.5
	mostSum       = 1.01
)

var populationName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,40}$`)

// hfx is the metadata of the Haplotype Frequency Exchange format: by its schema (nmdp-bioinformatics/hfx, hfx.schema.json), and as its examples
// have it, which call some things otherwise.
type hfx struct {
	MetaData struct {
		OutputResolution  json.RawMessage
		CohortDescription struct {
			Population json.RawMessage
			InputSize  float64
			CohortSize float64
		}
		NomenclatureUsed struct{ Version string }
		CheckSum         string
	}
	FrequencyData []struct {
		Haplotype string
		Frequency json.Number
	}
}

// ReadHFX reads a population of the Haplotype Frequency Exchange format: its metadata, and its haplotypes as ReadFrequencies reads them.
// haplotypes is nil where the metadata have them within. What the two say has to agree: the checksum (MD5), where there is one, and the loci;
// DRB3, DRB4 and DRB5 do not count.
//
// Errors: *PopulationError; *FrequencyError for a line of haplotypes, or for one of frequencyData by its number; an error of the readers.
func ReadHFX(name string, metadata, haplotypes io.Reader) (*Population, error) {
	var meta hfx
	if err := readJSON(metadata, &meta); err != nil {
		return nil, err
	}
	p := &Population{Name: name, NomenclatureVersion: meta.MetaData.NomenclatureUsed.Version, Resolution: map[hla.Locus]string{}}
	if p.NomenclatureVersion == "" {
		return nil, &PopulationError{Field: "nomenclatureUsed.version", Text: "must be there"}
	}
	size := cmp.Or(meta.MetaData.CohortDescription.InputSize, meta.MetaData.CohortDescription.CohortSize)
	if size < 0 || size > math.MaxInt32 || size != math.Trunc(size) {
		return nil, &PopulationError{Field: "cohortDescription", Text: "must have a whole number of people"}
	}
	p.CohortSize = int(size)
	p.Label = labelOf(meta.MetaData.CohortDescription.Population)
	if err := p.readResolution(meta.MetaData.OutputResolution); err != nil {
		return nil, err
	}
	var err error
	if haplotypes == nil {
		var lines bytes.Buffer
		for i, h := range meta.FrequencyData {
			if strings.ContainsAny(h.Haplotype, "\n\r;,\t") {
				return nil, &FrequencyError{i + 1, h.Haplotype, "is not a haplotype"}
			}
			fmt.Fprintf(&lines, "%s;%s\n", h.Haplotype, h.Frequency)
		}
		p.Frequencies, err = ReadFrequencies(&lines)
	} else {
		sum := md5.New() //nolint:gosec // see above
		if p.Frequencies, err = ReadFrequencies(io.TeeReader(haplotypes, sum)); err == nil {
			if want := meta.MetaData.CheckSum; want != "" && !strings.EqualFold(want, hex.EncodeToString(sum.Sum(nil))) {
				return nil, &PopulationError{Field: "checkSum", Text: "is not that of the haplotypes: one of the two files is another version, or not whole"}
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return p, p.check()
}

// ReadPopulation reads a population in whichever form it comes, gzipped or not: HFX, of which the haplotypes and the metadata may be two files or one,
// Atlas's JSON, or haplotypes with nothing beside them. metadata is nil where there is no second file.
//
// Errors: those of ReadHFX, ReadHFSet and ReadFrequencies.
func ReadPopulation(name string, haplotypes, metadata io.Reader) (*Population, error) {
	from, err := plain(haplotypes)
	if err != nil {
		return nil, err
	}
	if metadata != nil {
		beside, err := plain(metadata)
		if err != nil {
			return nil, err
		}
		return ReadHFX(name, beside, from)
	}
	if first, _ := from.Peek(1 << 10); !bytes.HasPrefix(bytes.TrimSpace(bytes.TrimPrefix(first, []byte("\ufeff"))), []byte("{")) {
		p := &Population{Name: name}
		if p.Frequencies, err = ReadFrequencies(from); err != nil {
			return nil, err
		}
		return p, p.check()
	}
	content, err := io.ReadAll(io.LimitReader(from, maxPopulation+1))
	if err != nil {
		return nil, fmt.Errorf("match: population: %w", err)
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	var of struct{ MetaData json.RawMessage }
	if json.Unmarshal(content, &of) == nil && of.MetaData != nil {
		return ReadHFX(name, bytes.NewReader(content), nil)
	}
	return ReadHFSet(name, bytes.NewReader(content))
}

// plain unzips what is gzipped.
func plain(from io.Reader) (*bufio.Reader, error) {
	buffered := bufio.NewReaderSize(from, 1<<16)
	if magic, _ := buffered.Peek(2); !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return buffered, nil
	}
	unzipped, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, fmt.Errorf("match: population: %w", err)
	}
	return bufio.NewReaderSize(unzipped, 1<<16), nil
}

// readJSON reads a document that fits into memory.
func readJSON(from io.Reader, into any) error {
	limited := &io.LimitedReader{R: from, N: maxPopulation}
	err := json.NewDecoder(limited).Decode(into)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case limited.N <= 0:
		return &PopulationError{Field: "the file", Text: "is longer than a population is"}
	case errors.As(err, &kind):
		return &PopulationError{Field: kind.Field, Text: "must be of another kind, not " + kind.Value}
	case errors.As(err, &syntax), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &PopulationError{Field: "the file", Text: "is not well-formed JSON"}
	case err != nil:
		return fmt.Errorf("match: population: %w", err)
	}
	return nil
}

// labelOf reads one population, or a list of them.
func labelOf(raw json.RawMessage) string {
	type described struct{ Name, Description, Ethnicity, GeoCode, Species string }
	var list []described
	if json.Unmarshal(raw, &list) != nil {
		list = make([]described, 1)
		if json.Unmarshal(raw, &list[0]) != nil {
			return ""
		}
	}
	var labels []string
	for _, d := range list {
		if label := cmp.Or(d.Description, d.Name, d.Ethnicity, d.GeoCode, d.Species); label != "" {
			labels = append(labels, label)
		}
	}
	return strings.Join(labels, ", ")
}

func (p *Population) readResolution(raw json.RawMessage) error {
	type resolution struct{ Locus, Resolution string }
	var list []resolution
	if raw == nil {
		return nil
	}
	if json.Unmarshal(raw, &list) != nil {
		var nested struct{ HLA []resolution }
		if json.Unmarshal(raw, &nested) != nil {
			return &PopulationError{Field: "outputResolution", Text: "must be a list of loci and their resolutions"}
		}
		list = nested.HLA
	}
	for _, r := range list {
		locus := hla.Locus(strings.TrimPrefix(r.Locus, "HLA-"))
		switch {
		case besideDRB1(string(locus)) || locus == "DRB3/4/5" || locus == "DRB345":
		case !locus.Valid():
			return &PopulationError{Field: "outputResolution", Text: "has a locus that is not kept"}
		default:
			p.Resolution[locus] = r.Resolution
		}
	}
	return nil
}

// check holds what was said of the population against its haplotypes.
func (p *Population) check() error {
	if !populationName.MatchString(p.Name) {
		return &PopulationError{Field: "the name", Text: "must be 1 to 40 letters, digits and the signs . _ -"}
	}
	if len(p.Resolution) > 0 {
		same := len(p.Resolution) == len(p.Frequencies.loci)
		for _, locus := range p.Frequencies.loci {
			_, said := p.Resolution[locus]
			same = same && said
		}
		if !same {
			return &PopulationError{Field: "outputResolution", Text: "must have the loci of the haplotypes"}
		}
	}
	if sum := p.Frequencies.Sum(); sum < leastSum || sum > mostSum {
		return &PopulationError{Field: "the frequencies", Text: fmt.Sprintf("add up to %.4f, where a whole population has 1", sum)}
	}
	return nil
}

// atlasSet is Atlas's file of a set (Anthony-Nolan/Atlas, Schemas/HFSetSchema.json).
type atlasSet struct {
	NomenclatureVersion json.RawMessage
	DonPool             []json.RawMessage
	Ethn                []string
	PopulationID        json.RawMessage
	Frequencies         []map[string]any
}

var atlasSetLoci = []hla.Locus{hla.A, hla.C, hla.B, hla.DRB1, hla.DQB1}

// ReadHFSet reads a population as Atlas has it: one JSON document. Names of three and four fields, such as 01:01:01G, are cut to two.
//
// Errors: *PopulationError; *FrequencyError for a haplotype, by its number; an error of the reader.
func ReadHFSet(name string, from io.Reader) (*Population, error) {
	var set atlasSet
	if err := readJSON(from, &set); err != nil {
		return nil, err
	}
	text := func(raw json.RawMessage) string { return strings.Trim(strings.TrimSpace(string(raw)), `"`) }
	p := &Population{Name: name, NomenclatureVersion: text(set.NomenclatureVersion), Ethnicities: set.Ethn, Label: strings.Join(set.Ethn, ", ")}
	if id := text(set.PopulationID); p.Label == "" && id != "" && id != "null" {
		p.Label = "population " + id
	}
	if p.NomenclatureVersion == "" || p.NomenclatureVersion == "null" {
		return nil, &PopulationError{Field: "nomenclatureVersion", Text: "must be there"}
	}
	for _, pool := range set.DonPool {
		p.Pools = append(p.Pools, text(pool))
	}
	var lines bytes.Buffer
	for i, h := range set.Frequencies {
		var names []string
		for _, locus := range atlasSetLoci {
			name, _ := h[strings.ToLower(string(locus))].(string)
			if name = strings.TrimPrefix(name, "*"); name != "" {
				names = append(names, string(locus)+"*"+twoFields(name))
			}
		}
		frequency, ok := h["frequency"].(float64)
		joined := strings.Join(names, "~")
		if !ok || strings.ContainsAny(joined, "\n\r;,\t") {
			return nil, &FrequencyError{i + 1, joined, "is not a haplotype with a frequency"}
		}
		fmt.Fprintf(&lines, "%s;%s\n", joined, strconv.FormatFloat(frequency, 'g', -1, 64))
	}
	var err error
	if p.Frequencies, err = ReadFrequencies(&lines); err != nil {
		return nil, err
	}
	return p, p.check()
}

// twoFields cuts the number of an allele, and keeps the N of one that makes no protein.
func twoFields(number string) string {
	null := strings.HasSuffix(number, "N")
	number = strings.TrimRight(number, "gGPNLSCAQ")
	if fields := strings.Split(number, ":"); len(fields) > 2 {
		number = fields[0] + ":" + fields[1]
	}
	if null {
		number += "N"
	}
	return number
}

// common is several sets over one numbering of alleles.
type common struct {
	loci       []hla.Locus
	places     []*place
	haplotypes [][]haplotype // of each set, as its own numbering had them merged
}

// inCommon numbers the alleles of several sets together, at those of the loci that all of them have.
func inCommon(sets []*Frequencies, loci []hla.Locus) (*common, error) {
	c := &common{}
	for _, locus := range loci {
		if !slices.ContainsFunc(sets, func(f *Frequencies) bool { return !slices.Contains(f.loci, locus) }) {
			c.loci = append(c.loci, locus)
			c.places = append(c.places, newPlace(locus))
		}
	}
	if len(c.loci) == 0 {
		return nil, errors.New("match: populations: there is no locus that all of them have")
	}
	for _, f := range sets {
		var list []haplotype
		known := map[[maxLoci]uint16]int{}
		for _, h := range f.haplotypes {
			merged := haplotype{frequency: h.frequency}
			for l, locus := range c.loci {
				from := slices.Index(f.loci, locus)
				n := c.places[l].allele(f.places[from].names[h.alleles[from]])
				if n >= maxAlleles {
					return nil, fmt.Errorf("match: populations: they have more than %d alleles at %s together; count rare ones by their P group", maxAlleles, locus)
				}
				merged.alleles[l] = n
			}
			if at, again := known[merged.alleles]; again {
				list[at].frequency += h.frequency
				continue
			}
			known[merged.alleles] = len(list)
			list = append(list, merged)
		}
		c.haplotypes = append(c.haplotypes, list)
	}
	for _, p := range c.places {
		p.number()
	}
	return c, nil
}

// mix gives the weighted sum of the sets.
func (c *common) mix(weights []float64) *Frequencies {
	f := &Frequencies{loci: c.loci, places: c.places}
	for _, p := range c.places {
		f.has = append(f.has, make([]bool, len(p.names)))
	}
	known := map[[maxLoci]uint16]int{}
	for i, list := range c.haplotypes {
		if weights[i] == 0 {
			continue
		}
		for _, h := range list {
			h.frequency *= weights[i]
			if at, again := known[h.alleles]; again {
				f.haplotypes[at].frequency += h.frequency
				continue
			}
			known[h.alleles] = len(f.haplotypes)
			f.haplotypes = append(f.haplotypes, h)
			for l := range f.has {
				f.has[l][h.alleles[l]] = true
			}
		}
	}
	slices.SortFunc(f.haplotypes, func(a, b haplotype) int {
		return cmp.Or(cmp.Compare(b.frequency, a.frequency), slices.Compare(a.alleles[:], b.alleles[:]))
	})
	return f
}

// Mix gives the weighted sum of sets: the frequency of a haplotype is what it has in each, times the set's weight. Haplotypes are cut to the
// loci that all sets have, in the order of hla.Loci. Weights are taken as they are, none below 0.
func Mix(sets []*Frequencies, weights []float64) (*Frequencies, error) {
	sum := 0.0
	for _, w := range weights {
		if !(w >= 0 && w <= 1) {
			return nil, fmt.Errorf("match: populations: the weight %v is not one of 0 to 1", w)
		}
		sum += w
	}
	if len(sets) != len(weights) || sum == 0 || sum > 1+1e-9 {
		return nil, errors.New("match: populations: every set must have a weight, and the weights must add up to 1 at the most and more than 0")
	}
	c, err := inCommon(sets, hla.Loci())
	if err != nil {
		return nil, err
	}
	return c.mix(weights), nil
}

// At gives the set at some of its loci: haplotypes that differ elsewhere only are one there.
func (f *Frequencies) At(loci []hla.Locus) (*Frequencies, error) {
	for _, locus := range loci {
		if !slices.Contains(f.loci, locus) {
			return nil, fmt.Errorf("match: populations: the haplotypes do not have %s", locus)
		}
	}
	c, err := inCommon([]*Frequencies{f}, loci)
	if err != nil {
		return nil, err
	}
	return c.mix([]float64{1}), nil
}

// Mixture says which populations the people of a province come from. All its sets of frequencies number alleles alike, so that the genotypes of
// people of different provinces can be compared. It may be asked by any number at a time.
type Mixture struct {
	common    *common
	names     []string             // of the populations that it has a line of
	provinces map[string]string    // the name of the mixture, by province; "*" for all others
	weights   map[string][]float64 // beside names

	mu    sync.Mutex
	built map[string]*Frequencies
}

// everywhere is the row for provinces without one of their own.
const everywhere = "*"

// province tells whether a text is the two digits of a province, or * for all others.
func province(text string) bool {
	return text == everywhere || len(text) == 2 && identity.Region(text+"0000").Level() == identity.LevelProvince && identity.Region(text+"0000").Known()
}

// ReadMixture reads which populations a province mixes, as CSV: the province's code of two digits (GB/T 2260, such as 32) or * for all others,
// the name of a population, and its weight. The weights of a province count by their share; a heading and lines that begin with # are left out.
// Populations that no line names do not count.
//
// Errors: *PopulationError for a line; an error of the reader; that the populations cannot be numbered together.
func ReadMixture(from io.Reader, populations []*Population) (*Mixture, error) {
	m := &Mixture{provinces: map[string]string{}, weights: map[string][]float64{}, built: map[string]*Frequencies{}}
	shares := map[string][]float64{}
	var sets []*Frequencies
	lines := bufio.NewScanner(from)
	n := 0
	for lines.Scan() {
		n++
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" || strings.HasPrefix(text, "#") || n == 1 && strings.HasPrefix(strings.ToLower(text), "province") {
			continue
		}
		fields := strings.Split(text, ",")
		if len(fields) != 3 {
			return nil, &PopulationError{n, "the line", "must be a province, a population and a weight with commas between them", shortened(text)}
		}
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		named := slices.IndexFunc(populations, func(p *Population) bool { return p.Name == fields[1] })
		weight, err := strconv.ParseFloat(fields[2], 64)
		switch {
		case !province(fields[0]):
			return nil, &PopulationError{n, "the province", "must be the two digits of its code in GB/T 2260, or *", shortened(fields[0])}
		case named < 0:
			return nil, &PopulationError{n, "the population", "must be one of those that were read", shortened(fields[1])}
		case err != nil || !(weight > 0 && weight <= 1e6):
			return nil, &PopulationError{n, "the weight", "must be a number above 0", shortened(fields[2])}
		}
		of := slices.Index(m.names, fields[1])
		if of < 0 {
			of = len(m.names)
			m.names, sets = append(m.names, fields[1]), append(sets, populations[named].Frequencies)
		}
		weights := shares[fields[0]]
		for len(weights) <= of {
			weights = append(weights, 0)
		}
		if weights[of] != 0 {
			return nil, &PopulationError{n, "the population", "has a weight for this province before", fields[1]}
		}
		weights[of] = weight
		shares[fields[0]] = weights
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("match: mixture: line %d: %w", n+1, err)
	}
	if shares[everywhere] == nil {
		return nil, &PopulationError{Field: "the file", Text: "must have a line with * in the place of the province, for all others"}
	}
	for province, weights := range shares {
		weights = append(weights, make([]float64, len(m.names)-len(weights))...)
		name := normalise(weights, m.names)
		m.provinces[province], m.weights[name] = name, weights
	}
	var err error
	m.common, err = inCommon(sets, hla.Loci())
	return m, err
}

// shortened is as much of a text as an error tells.
func shortened(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return text
}

// Shares are the populations that each province draws from, with their shares, which add up to 1; "*" is all provinces without a line.
func (m *Mixture) Shares() map[string]map[string]float64 {
	out := map[string]map[string]float64{}
	for province, name := range m.provinces {
		out[province] = map[string]float64{}
		for i, share := range m.weights[name] {
			if share > 0 {
				out[province][m.names[i]] = share
			}
		}
	}
	return out
}

// normalise makes the weights add up to 1, and names the mixture: NCHI, or HAN:0.8+HUI:0.2.
func normalise(weights []float64, names []string) string {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	var parts []string
	for i := range weights {
		if weights[i] /= sum; weights[i] == 1 {
			return names[i]
		} else if weights[i] > 0 {
			parts = append(parts, names[i]+":"+strconv.FormatFloat(weights[i], 'g', 6, 64))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "+")
}

// For gives the frequencies of a province and the name of their mixture. The province is a code of GB/T 2260, of which the first two digits
// count; one that the table has no line for gets what * has.
func (m *Mixture) For(province string) (frequencies *Frequencies, name string) {
	name, known := m.provinces[province[:min(2, len(province))]]
	if !known {
		name = m.provinces[everywhere]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.built[name] == nil {
		m.built[name] = m.common.mix(m.weights[name])
	}
	return m.built[name], name
}
