package hla

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Release is one release of the IPD-IMGT/HLA nomenclature: which alleles there are, which groups they are in, which antigens they
// make. It is read once and then only asked, by any number at a time.
type Release struct {
	version string
	names   string // the file that lists the names
	at      [lociKept]catalogue
}

// catalogue is what a release says of one locus.
type catalogue struct {
	full     map[Allele]int32           // every name, as the release has it, and its line
	proteins map[Allele]protein         // by the name of two fields, null alleles apart
	byFirst  map[uint16][]Allele        // proteins of a first field, sorted
	gGroups  map[string]group           // by their names: "01:01:01G"
	pGroups  map[string]group           // "01:01P"
	gOf      map[Allele]string          // the named G group of a protein, and of a name of three fields
	antigens map[string][]Allele        // proteins that somebody with an antigen may have
	narrower map[string][]string        // an antigen's splits, and what is associated with it
	serology map[string]Source          // the line that speaks of an antigen first, of rel_ser_ser.txt where it tells its splits
	prefixes map[[maxFields]uint16]bool // of full names, for names that are cut
	sera     map[Allele]Serum           // by the name of two fields
}

// group is what a named group stands for: proteins, sorted.
type group struct {
	alleles []Allele
	line    int32
}

// Source is the line of a file that decided something. The zero Source says that no file did.
type Source struct {
	Release string `json:"release,omitempty"` // its version; of the table of codes empty
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1
}

// protein is an allele of two fields.
type protein struct {
	unit     Allele // names its P group; the protein itself where it is the only one of its group
	line     int32  // of the list of names: the first name that makes it
	unitLine int32  // of hla_nom_p.txt, 0 where the file says nothing
	tceLine  int32
	tce      uint8  // T-cell epitope group of DPB1 (1 to 3), 0 where none is known
	antigens []mark // as rel_dna_ser.txt has them
}

// mark is an antigen that a protein makes.
type mark struct {
	antigen string
	line    int32
}

// ReleaseError says which line of a file of a release cannot be read, and why.
type ReleaseError struct {
	File string
	Line int // from 1
	Read string
	Text string
}

func (e *ReleaseError) Error() string {
	return fmt.Sprintf("hla: %s, line %d: %q %s", e.File, e.Line, e.Read, e.Text)
}

// The files of a release, by the names that it gives them. A release has them in one folder, or those of wmda/ and tce/ apart.
const (
	fileStatus  = "Allele_status.txt"
	fileList    = "Allelelist.txt"
	fileG       = "hla_nom_g.txt"
	fileP       = "hla_nom_p.txt"
	fileDNA     = "rel_dna_ser.txt"
	fileSerum   = "rel_ser_ser.txt"
	fileEpitope = "dpb_tce.csv"
)

var subfolders = []string{"", "wmda", "tce"}

// LoadRelease reads a release from a folder with the files of IPD-IMGT/HLA (hla.alleles.org/wmda): the list of alleles (Allele_status.txt or
// Allelelist.txt) and hla_nom_p.txt must be there; hla_nom_g.txt, rel_dna_ser.txt, rel_ser_ser.txt and dpb_tce.csv are read where they are.
// The layout of before 2026 and that of since are told apart by their columns. Alleles of genes that are not kept are left out.
//
// Errors: *ReleaseError for a line; an error of the folder.
func LoadRelease(folder fs.FS) (*Release, error) {
	r := &Release{}
	for i := range r.at {
		r.at[i] = catalogue{
			full: map[Allele]int32{}, proteins: map[Allele]protein{}, byFirst: map[uint16][]Allele{}, gGroups: map[string]group{}, pGroups: map[string]group{}, gOf: map[Allele]string{},
			antigens: map[string][]Allele{}, narrower: map[string][]string{}, serology: map[string]Source{}, prefixes: map[[maxFields]uint16]bool{},
		}
	}
	listed, err := r.readLines(folder, fileStatus, r.status)
	if err == nil && !listed {
		listed, err = r.readLines(folder, fileList, r.list)
	}
	if err != nil {
		return nil, err
	}
	if !listed {
		return nil, fmt.Errorf("hla: there is neither %s nor %s in the folder: %w", fileStatus, fileList, fs.ErrNotExist)
	}
	for _, file := range []struct {
		name string
		read func(line) error
		must bool
	}{{fileP, r.pGroup, true}, {fileG, r.gGroup, false}, {fileDNA, r.serology, false}, {fileEpitope, r.epitope, false}} {
		found, err := r.readLines(folder, file.name, file.read)
		if err != nil {
			return nil, err
		}
		if !found && file.must {
			return nil, fmt.Errorf("hla: there is no %s in the folder: %w", file.name, fs.ErrNotExist)
		}
	}
	if _, err := r.readLines(folder, fileSerum, r.relation); err != nil {
		return nil, err
	}
	if r.version == "" {
		return nil, errors.New("hla: no file says which release it is of; there should be a line \"# version: IPD-IMGT/HLA 3.33.0\"")
	}
	for i := range r.at {
		c := &r.at[i]
		for a := range c.proteins {
			c.byFirst[a.fields[0]] = append(c.byFirst[a.fields[0]], a)
		}
		for first := range c.byFirst {
			slices.SortFunc(c.byFirst[first], Allele.compare)
		}
		c.relate()
	}
	return r, nil
}

// line is a line of a file, cut into its fields.
type line struct {
	file   string
	no     int
	text   string
	fields []string
}

func (l line) refuse(text string) error { return &ReleaseError{l.file, l.no, l.text, text} }

// readLines reads a file line by line, and tells whether it is there.
func (r *Release) readLines(folder fs.FS, name string, read func(line) error) (bool, error) {
	var file fs.File
	err := fs.ErrNotExist
	for _, in := range subfolders {
		if file, err = folder.Open(path.Join(in, name)); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }()
	separator := ";"
	if strings.HasSuffix(name, ".csv") || name == fileStatus || name == fileList {
		separator = ","
	}
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 0, 1<<16), 1<<20)
	l := line{file: name}
	for scanner.Scan() {
		l.no++
		l.text = strings.TrimRight(scanner.Text(), "\r\n ")
		if comment, is := strings.CutPrefix(l.text, "#"); is {
			if err := r.comment(l, comment); err != nil {
				return true, err
			}
			continue
		}
		if l.text == "" {
			continue
		}
		l.fields = strings.Split(l.text, separator)
		if err := read(l); err != nil {
			return true, err
		}
	}
	if err := scanner.Err(); err != nil {
		return true, fmt.Errorf("hla: %s, line %d: %w", name, l.no+1, err)
	}
	return true, nil
}

// comment looks for the release's version, which every file has to agree on.
func (r *Release) comment(l line, text string) error {
	_, version, found := strings.Cut(text, "IPD-IMGT/HLA ")
	if version = strings.TrimSpace(version); !found || !releaseForm.MatchString(version) {
		return nil
	}
	if r.version != "" && r.version != version {
		return l.refuse("is of another release than the files before it (" + r.version + ")")
	}
	r.version = version
	return nil
}

// Version is the release's number, such as "3.33.0".
func (r *Release) Version() string { return r.version }

func (r *Release) status(l line) error {
	if l.fields[0] == "Allele" {
		return nil // the heading
	}
	return r.enter(l, l.fields[0])
}

func (r *Release) list(l line) error {
	if l.fields[0] == "AlleleID" {
		return nil
	}
	if len(l.fields) < 2 {
		return l.refuse("has no name behind the id of an allele")
	}
	return r.enter(l, l.fields[1])
}

// enter puts a name of the release into its catalogue.
func (r *Release) enter(l line, name string) error {
	locus, number, star := strings.Cut(name, "*")
	place := Locus(locus).place()
	if !star {
		return l.refuse("is no allele")
	}
	if place < 0 {
		return nil
	}
	a := Allele{place: uint8(place + 1)}
	if !a.readNumber(number) {
		return l.refuse("is no allele of two fields or more")
	}
	c := &r.at[place]
	if _, twice := c.full[a]; !twice {
		c.full[a] = int32(l.no)
	}
	r.names = l.file
	for n := 2; n <= maxFields; n++ {
		if n < maxFields && a.fields[n] == 0 {
			break
		}
		var cut [maxFields]uint16
		copy(cut[:n], a.fields[:n])
		c.prefixes[cut] = true
	}
	two := a.TwoField()
	if _, known := c.proteins[two]; !known {
		c.proteins[two] = protein{unit: two, line: int32(l.no)}
	}
	return nil
}

// groupLine reads "A*;01:01:01:01/01:01:01:02N;01:01:01G".
func (r *Release) groupLine(l line) (c *catalogue, members []Allele, name string, err error) {
	if len(l.fields) != 3 {
		return nil, nil, "", l.refuse("does not have three columns")
	}
	place := Locus(strings.TrimSuffix(l.fields[0], "*")).place()
	if place < 0 {
		return nil, nil, "", nil
	}
	c = &r.at[place]
	for number := range strings.SplitSeq(l.fields[1], "/") {
		a := Allele{place: uint8(place + 1)}
		if !a.readNumber(number) {
			return nil, nil, "", l.refuse("names a member that is no allele")
		}
		members = append(members, a)
	}
	return c, members, l.fields[2], nil
}

func proteinsOf(alleles []Allele) []Allele {
	out := make([]Allele, len(alleles))
	for i, a := range alleles {
		out[i] = a.TwoField()
	}
	slices.SortFunc(out, Allele.compare)
	return slices.Compact(out)
}

func (r *Release) pGroup(l line) error {
	c, members, name, err := r.groupLine(l)
	if err != nil || c == nil {
		return err
	}
	proteins := proteinsOf(members)
	unit := proteins[0]
	if name != "" {
		if !strings.HasSuffix(name, "P") || !unit.readNumber(strings.TrimSuffix(name, "P")) {
			return l.refuse("has a group whose name is not that of a P group")
		}
		c.pGroups[name] = group{proteins, int32(l.no)}
	}
	for _, a := range proteins {
		p, known := c.proteins[a]
		if !known {
			continue // the list of names is what counts
		}
		if p.unitLine != 0 && p.unit != unit {
			return l.refuse("has " + a.String() + ", which another P group has too")
		}
		p.unit, p.unitLine = unit, int32(l.no)
		c.proteins[a] = p
	}
	return nil
}

func (r *Release) gGroup(l line) error {
	c, members, name, err := r.groupLine(l)
	if err != nil || c == nil || name == "" {
		return err
	}
	c.gGroups[name] = group{proteinsOf(members), int32(l.no)}
	for _, a := range members {
		for _, n := range []int{2, 3} {
			cut := a.cut(n)
			if _, known := c.gOf[cut]; !known {
				c.gOf[cut] = name
			}
		}
	}
	return nil
}

// serology reads "A*;01:01:01:01;1;;;": unambiguous, possible, assumed and expert antigens, and since 2026 those of the HATS column.
func (r *Release) serology(l line) error {
	if len(l.fields) < 3 {
		return l.refuse("has fewer than three columns")
	}
	place := Locus(strings.TrimSuffix(l.fields[0], "*")).place()
	if place < 0 {
		return nil
	}
	a := Allele{place: uint8(place + 1)}
	if !a.readNumber(l.fields[1]) {
		return l.refuse("is about no allele")
	}
	r.at[place].enterSerum(a, l.no, l.fields[2:])
	for _, column := range l.fields[2:] {
		for antigen := range strings.SplitSeq(column, "/") {
			if antigen = strings.TrimSpace(antigen); antigen != "" && antigen != "0" && antigen != "?" {
				r.at[place].mark(a.TwoField(), antigen, l)
			}
		}
	}
	return nil
}

// mark notes that a protein makes an antigen.
func (c *catalogue) mark(a Allele, antigen string, l line) {
	if _, known := c.serology[antigen]; !known {
		c.serology[strings.Clone(antigen)] = Source{File: l.file, Line: l.no} // the clone lets go of the line
	}
	c.antigens[antigen] = append(c.antigens[antigen], a)
	p, known := c.proteins[a]
	if known && !slices.ContainsFunc(p.antigens, func(m mark) bool { return m.antigen == antigen }) {
		p.antigens = append(p.antigens, mark{antigen, int32(l.no)})
		c.proteins[a] = p
	}
}

// epitope reads "DPB1*01:01:01:01,DPB1*01:01,3,3,": the groups of the first and the second version, of which the second counts.
func (r *Release) epitope(l line) error {
	if len(l.fields) < 4 {
		return l.refuse("has fewer than four columns")
	}
	a, refused := readAllele(span{l.fields[1], 0, len(l.fields[1])})
	if refused != nil {
		if strings.HasPrefix(l.fields[1], "DPB1*") {
			return l.refuse("is about no allele of two fields")
		}
		return nil // the heading
	}
	c := &r.at[DPB1.place()]
	p, known := c.proteins[a.TwoField()]
	var tce uint8
	// $ marks a group found by functional distance, a a group that the second version changed.
	if digit := strings.TrimRight(strings.TrimSpace(l.fields[3]), "a$"); len(digit) == 1 && digit[0] >= '1' && digit[0] <= '3' {
		tce = digit[0] - '0'
	}
	if known && p.tceLine == 0 {
		p.tce, p.tceLine = tce, int32(l.no)
		c.proteins[a.TwoField()] = p
	}
	return nil
}

// relation reads "A;9;23/24;" and "A;2;;203/210": a broad antigen's splits, and the antigens associated with one.
func (r *Release) relation(l line) error {
	if len(l.fields) < 4 {
		return l.refuse("has fewer than four columns")
	}
	locus, known := serologyLoci[l.fields[0]]
	if !known {
		return nil
	}
	c := &r.at[locus.place()]
	c.serology[l.fields[1]] = Source{File: l.file, Line: l.no}
	for _, column := range l.fields[2:4] {
		for narrow := range strings.SplitSeq(column, "/") {
			if narrow = strings.TrimSpace(narrow); narrow != "" {
				c.narrower[l.fields[1]] = append(c.narrower[l.fields[1]], narrow)
			}
		}
	}
	return nil
}

// relate gives every antigen the alleles that somebody found to have it may have: its own, those of its splits and of what is
// associated with it, and those of which only the broader antigen is known.
func (c *catalogue) relate() {
	all := map[string][]Allele{}
	names := slices.Collect(maps.Keys(c.antigens))
	for broad, narrow := range c.narrower {
		names = append(append(names, broad), narrow...)
	}
	for _, name := range names {
		if _, done := all[name]; done {
			continue
		}
		alleles := slices.Clone(c.antigens[name])
		seen := map[string]bool{name: true}
		for down := slices.Clone(c.narrower[name]); len(down) > 0; down = down[1:] {
			if !seen[down[0]] { // a file may go round in a circle
				seen[down[0]] = true
				alleles = append(alleles, c.antigens[down[0]]...)
				down = append(down, c.narrower[down[0]]...)
			}
		}
		for broad, narrow := range c.narrower {
			if slices.Contains(narrow, name) {
				alleles = append(alleles, c.antigens[broad]...)
			}
		}
		slices.SortFunc(alleles, Allele.compare)
		all[name] = slices.Compact(alleles)
	}
	c.antigens = all
}

// serologyLoci are the genes of the antigens' letters in rel_ser_ser.txt.
var serologyLoci = map[string]Locus{"A": A, "B": B, "Cw": C, "DR": DRB1, "DQ": DQB1, "DP": DPB1}

// Knows tells whether a name is one of the release's, or one of them cut after its second or third field.
func (r *Release) Knows(a Allele) bool {
	if a.place == 0 {
		return false
	}
	c := &r.at[a.place-1]
	if _, known := c.full[a]; known {
		return true
	}
	if a.suffix != 0 && a.suffix != 'N' {
		return false
	}
	// A null allele is one of its own: A*02:15 is none where the release has A*02:15N only.
	_, known := c.proteins[a.TwoField()]
	return known && a.fields[2] == 0 || (known || a.suffix == 0) && c.prefixes[a.fields]
}

// Unit names the P group of an allele: alleles of one unit make the same antigen recognition domain, which is what matching
// compares (WMDA framework, AI3). An allele that makes no protein is its own.
func (r *Release) Unit(a Allele) Allele {
	two := a.TwoField()
	if two.place == 0 || two.Null() {
		return two
	}
	if p, known := r.at[two.place-1].proteins[two]; known {
		return p.unit
	}
	return two
}

// Epitope is the T-cell epitope group of a DPB1 allele, 1 (most immunogenic) to 3, or 0 where none is known.
func (r *Release) Epitope(a Allele) int {
	two := a.TwoField()
	if two.place == 0 {
		return 0
	}
	return int(r.at[two.place-1].proteins[two].tce)
}

// Proteins lists the alleles of a first field, "02" of A*02:XX, at two fields and those that make no protein apart.
func (r *Release) Proteins(locus Locus, first uint16) []Allele {
	if !locus.Valid() {
		return nil
	}
	return slices.Clone(r.at[locus.place()].byFirst[first])
}

// Size is how many names of alleles the release has at the loci that are kept.
func (r *Release) Size() int {
	n := 0
	for i := range r.at {
		n += len(r.at[i].full)
	}
	return n
}

// Groups is how many named P groups the release has at the loci that are kept.
func (r *Release) Groups() int {
	n := 0
	for i := range r.at {
		n += len(r.at[i].pGroups)
	}
	return n
}

// ReleaseFiles are the files of a folder that LoadRelease reads, by their paths.
func ReleaseFiles(folder fs.FS) ([]string, error) {
	var out []string
	for _, name := range []string{fileStatus, fileList, fileG, fileP, fileDNA, fileSerum, fileEpitope} {
		for _, in := range subfolders {
			file := path.Join(in, name)
			_, err := fs.Stat(folder, file)
			if err == nil {
				out = append(out, file)
				break
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	return out, nil
}

// Antigens lists the antigens that the release knows at a locus, by their numbers.
func (r *Release) Antigens(locus Locus) []string {
	if !locus.Valid() {
		return nil
	}
	return slices.Sorted(maps.Keys(r.at[locus.place()].antigens))
}

// Group names the P group of an allele as the release writes it, "02:01P", and the line that says so. Where an allele is alone in its group
// there is no name; of a null allele there is no line either.
func (r *Release) Group(a Allele) (name string, by Source) {
	two := a.TwoField()
	if two.place == 0 {
		return "", Source{}
	}
	c := &r.at[two.place-1]
	p := c.proteins[two]
	if p.unitLine == 0 {
		return "", Source{}
	}
	if named := p.unit.number() + "P"; c.pGroups[named].line != 0 {
		name = named
	}
	return name, r.source(fileP, p.unitLine)
}

func (r *Release) source(file string, line int32) Source {
	if line == 0 {
		return Source{}
	}
	return Source{r.version, file, int(line)}
}

// compareVersions orders versions of releases by their numbers: 3.9.0 before 3.10.0.
func compareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		if c := cmp.Or(cmp.Compare(len(x[i]), len(y[i])), cmp.Compare(x[i], y[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}
