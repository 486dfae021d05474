// Package intaketest makes sheets of consent forms that never were: a drive at a college, with as many faults of each kind
// as asked for, and what must be said about every row. Tests use it, and the demo.
//
// It guarantees that the same seed gives the same sheet, that every number in it holds unless a fault says otherwise, and
// that nobody in it exists: the second character of every name is one of 拟, 样, 演 and 例, which people do not have there.
package intaketest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/rules"
)

// Fault is one way in which rows of a sheet go wrong.
type Fault string

// The faults. Each concerns one row unless it says otherwise.
const (
	DamagedByExcel      Fault = "damaged_by_excel" // the identity number became an amount: R102
	Checksum            Fault = "checksum"         // a wrong check character: R104
	Length              Fault = "length"           // a digit lost: R103
	Underage            Fault = "underage"         // seventeen: R106
	Overage             Fault = "overage"          // past the last year: R106
	BadPhone            Fault = "bad_phone"        // a digit lost: R111
	NotSigned           Fault = "not_signed"       // R112
	FutureSigning       Fault = "future_signing"   // R113
	BarcodeTwice        Fault = "barcode_twice"    // two rows, both R108
	BarcodeOutOfRange   Fault = "barcode_out_of_range"
	SamePersonIdentical Fault = "same_person_identical" // two rows, the later R110
	SamePersonDiffering Fault = "same_person_differing" // two rows, both R110
	SexMismatch         Fault = "sex_mismatch"          // a warning: W201
	SharedPhone         Fault = "shared_phone"          // three rows, each a warning: W203
	RelativesPhone      Fault = "relatives_phone"       // the relative's is the person's own, a warning: W204
	NameWithDigits      Fault = "name_with_digits"      // R115
	UnknownFormVersion  Fault = "unknown_form_version"  // R112
	MissingContacts     Fault = "missing_contacts"      // R121
	MissingPhone        Fault = "missing_phone"         // R101
	UnmappedBloodGroup  Fault = "unmapped_blood_group"  // R114
)

// kind is what a fault does: how many rows it takes, how it spoils them, and what each must be told.
type kind struct {
	rows    int
	spoil   func(g *generator, rows []person)
	verdict []intake.Verdict
	codes   []string // of each row with another verdict than ready
}

var (
	wrong  = []intake.Verdict{intake.Error}
	unsure = []intake.Verdict{intake.Warning}
)

var kinds = map[Fault]kind{
	DamagedByExcel: {1, func(_ *generator, p []person) {
		// Fifteen digits are kept, and shown as an amount.
		n := p[0]["证件号码"]
		p[0]["证件号码"] = n[:1] + "." + strings.TrimRight(n[1:15], "0") + "E+17"
	}, wrong, []string{"R102"}},
	Checksum: {1, func(_ *generator, p []person) {
		n := p[0]["证件号码"]
		p[0]["证件号码"] = n[:17] + string(map[bool]byte{true: '1', false: '0'}[n[17] == '0'])
	}, wrong, []string{"R104"}},
	Length: {1, func(_ *generator, p []person) { p[0]["证件号码"] = p[0]["证件号码"][:17] }, wrong, []string{"R103"}},
	Underage: {1, func(g *generator, p []person) {
		g.born(p[0], g.sheet.Day.AddYears(-18).AddDays(1+g.IntN(360)))
	}, wrong, []string{"R106"}},
	Overage: {1, func(g *generator, p []person) {
		g.born(p[0], g.sheet.Day.AddYears(-46).AddDays(-1-g.IntN(3000)))
	}, wrong, []string{"R106"}},
	BadPhone:      {1, func(_ *generator, p []person) { p[0]["手机号码"] = p[0]["手机号码"][:10] }, wrong, []string{"R111"}},
	NotSigned:     {1, func(_ *generator, p []person) { p[0]["本人签名"] = "否" }, wrong, []string{"R112"}},
	FutureSigning: {1, func(g *generator, p []person) { p[0]["签署日期"] = g.sheet.Today.AddDays(1 + g.IntN(30)).String() }, wrong, []string{"R113"}},
	BarcodeTwice:  {2, func(_ *generator, p []person) { p[1]["采样管条码"] = p[0]["采样管条码"] }, []intake.Verdict{intake.Error, intake.Error}, []string{"R108"}},
	BarcodeOutOfRange: {1, func(g *generator, p []person) {
		g.strays++
		p[0]["采样管条码"] = fmt.Sprintf("%s%06d", prefix, 900_000+g.strays)
	}, wrong, []string{"R107"}},
	SamePersonIdentical: {2, func(_ *generator, p []person) {
		for heading, text := range p[0] {
			p[1][heading] = text
		}
	}, []intake.Verdict{intake.Ready, intake.Duplicate}, []string{"R110"}},
	SamePersonDiffering: {2, func(_ *generator, p []person) {
		for _, heading := range []string{"姓名", "证件号码", "性别", "出生日期"} {
			p[1][heading] = p[0][heading]
		}
	}, []intake.Verdict{intake.Duplicate, intake.Duplicate}, []string{"R110"}},
	SexMismatch: {1, func(_ *generator, p []person) {
		p[0]["性别"] = map[string]string{"男": "女", "女": "男"}[p[0]["性别"]]
	}, unsure, []string{"W201"}},
	SharedPhone: {3, func(_ *generator, p []person) {
		p[1]["手机号码"], p[2]["手机号码"] = p[0]["手机号码"], p[0]["手机号码"]
	}, []intake.Verdict{intake.Warning, intake.Warning, intake.Warning}, []string{"W203"}},
	RelativesPhone:     {1, func(_ *generator, p []person) { p[0]["联系人1电话"] = p[0]["手机号码"] }, unsure, []string{"W204"}},
	NameWithDigits:     {1, func(g *generator, p []person) { p[0]["姓名"] += fmt.Sprint(1 + g.IntN(9)) }, wrong, []string{"R115"}},
	UnknownFormVersion: {1, func(_ *generator, p []person) { p[0]["版本"] = "HSC-1998" }, wrong, []string{"R112"}},
	MissingContacts: {1, func(_ *generator, p []person) {
		for _, heading := range []string{"联系人2姓名", "联系人2关系", "联系人2电话"} {
			delete(p[0], heading)
		}
	}, wrong, []string{"R121"}},
	MissingPhone:       {1, func(_ *generator, p []person) { delete(p[0], "手机号码") }, wrong, []string{"R101"}},
	UnmappedBloodGroup: {1, func(_ *generator, p []person) { p[0]["血型"] = "C型" }, wrong, []string{"R114"}},
}

// Faults lists the faults.
func Faults() []Fault {
	out := make([]Fault, 0, len(kinds))
	for f := range kinds {
		out = append(out, f)
	}
	slices.Sort(out)
	return out
}

// Headings are the columns of a generated sheet, in their order.
var Headings = []string{
	"姓名", "证件号码", "性别", "出生日期", "民族", "手机号码", "居住地", "学院", "身高(cm)", "体重(kg)", "血型", "Rh", "联系人1姓名", "联系人1关系", "联系人1电话",
	"联系人2姓名", "联系人2关系", "联系人2电话", "登记项目", "健康征询", "本人签名", "签署日期", "版本", "采样管条码",
}

// prefix is what the drive's barcodes begin with.
const prefix = "NJ26"

// Sheet is a drive's list of forms.
type Sheet struct {
	Day, Today             calendar.Date // of the drive, and of whoever checks the sheet
	Region                 identity.Region
	BarcodeFrom, BarcodeTo string
	Headings               []string
	Rows                   [][]string // by Headings
	Clean                  [][]string // the same rows before they were spoiled: what mending them gives
	Expect                 []Expectation
}

// Plan is what a sheet is made from. The zero day is the one of the drive that the tests know, 2026-11-21; a zero Today is
// the drive's day.
type Plan struct {
	Seed       uint64
	Rows       int
	Faults     map[Fault]int
	Day, Today calendar.Date
}

// Expectation is what must be said about a row: the verdict, and the codes of its problems without repetition.
type Expectation struct {
	Row     int // as the spreadsheet shows it: the header is row 1
	Verdict intake.Verdict
	Codes   []string
	Fault   Fault // "" for a row without
}

type person map[string]string

type generator struct {
	*rand.Rand
	sheet  *Sheet
	people []person
	used   map[string]bool
	strays int
}

// Generate makes a sheet of n rows, of which as many as asked for have each fault. It fails when there are fewer rows
// than the faults take.
func Generate(seed uint64, n int, faults map[Fault]int) (*Sheet, error) {
	return Plan{Seed: seed, Rows: n, Faults: faults}.Sheet()
}

// Sheet makes the sheet of a plan.
func (plan Plan) Sheet() (*Sheet, error) {
	n, seed, faults := plan.Rows, plan.Seed, plan.Faults
	if plan.Day.IsZero() {
		plan.Day = calendar.Must(2026, time.November, 21)
	}
	if plan.Today.IsZero() {
		plan.Today = plan.Day
	}
	s := &Sheet{
		Day: plan.Day, Today: plan.Today, Region: "320106", Headings: Headings,
		BarcodeFrom: fmt.Sprintf("%s%06d", prefix, 1), BarcodeTo: fmt.Sprintf("%s%06d", prefix, max(n, 1)),
	}
	if n > 800_000 {
		return nil, fmt.Errorf("intaketest: %d rows are more than there are barcodes", n)
	}
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x6c696665)), sheet: s, used: map[string]bool{}}
	for i := range n {
		g.people = append(g.people, g.person(i))
	}
	s.Clean = g.rows()
	s.Expect = make([]Expectation, n)
	for i := range n {
		s.Expect[i] = Expectation{Row: i + 2, Verdict: intake.Ready}
	}
	free := g.Perm(n)
	for _, fault := range Faults() {
		k := kinds[fault]
		for range faults[fault] {
			if len(free) < k.rows {
				return nil, fmt.Errorf("intaketest: %d rows are too few for the faults asked for", n)
			}
			at := slices.Clone(free[:k.rows])
			free = free[k.rows:]
			slices.Sort(at)
			var rows []person
			for i, row := range at {
				rows = append(rows, g.people[row])
				s.Expect[row].Fault, s.Expect[row].Verdict = fault, k.verdict[i]
				if k.verdict[i] != intake.Ready {
					s.Expect[row].Codes = k.codes
				}
			}
			k.spoil(g, rows)
		}
	}
	s.Rows = g.rows()
	return s, nil
}

// rows writes the people down by Headings.
func (g *generator) rows() [][]string {
	out := make([][]string, len(g.people))
	for i, p := range g.people {
		out[i] = make([]string, len(Headings))
		for c, heading := range Headings {
			out[i][c] = p[heading]
		}
	}
	return out
}

var (
	surnames = strings.Fields("王 李 张 刘 陈 杨 赵 黄 周 吴 徐 孙 胡 朱 高 林 何 郭 马 罗 梁 宋 郑 谢 韩 唐 冯 于 董 萧 程 曹 袁 邓 许 傅 沈 曾 彭 吕")
	middles  = strings.Fields("拟 样 演 例")
	givens   = strings.Fields("安 宁 晴 川 禾 远 舟 岚 知 予 然 星 和 清 柏 言 乐 桐 溪 宜")
	counties = strings.Fields("320102 320104 320105 320106 320111 320113 320114 320115 320205 320303 320402 320505 320602 320703 320803 320902 321002 321102 321202 321302 340102 370102 410102 330102")
	homes    = strings.Fields("江苏省南京市鼓楼区 江苏省南京市玄武区 江苏省南京市秦淮区 江苏省南京市栖霞区 江苏省南京市江宁区")
	colleges = strings.Fields("文学院 历史学院 法学院 商学院 外国语学院 物理学院 化学化工学院 生命科学学院 医学院 计算机学院 电子科学与工程学院 环境学院 建筑与城市规划学院 政府管理学院")
	groups   = strings.Fields("汉族 汉族 汉族 汉族 汉族 汉族 汉族 汉族 回族 苗族 土家族 蒙古族 壮族")
	parents  = strings.Fields("父亲 母亲")
	friends  = strings.Fields("同学 朋友 老师 姐妹 兄弟")
	mobiles  = strings.Fields("133 135 136 137 138 139 150 151 152 158 159 180 181 182 186 187 188 189 191 199")
)

func pick(g *generator, from []string) string { return from[g.IntN(len(from))] }

func (g *generator) name(surname string) string {
	name := surname + pick(g, middles)
	if g.IntN(4) > 0 {
		name += pick(g, givens)
	}
	return name
}

// fresh draws until it has something that nobody in the sheet has.
func (g *generator) fresh(draw func() string) string {
	for {
		if s := draw(); !g.used[s] {
			g.used[s] = true
			return s
		}
	}
}

func (g *generator) mobile() string {
	return g.fresh(func() string { return pick(g, mobiles) + fmt.Sprintf("%08d", g.IntN(100_000_000)) })
}

func (g *generator) person(i int) person {
	surname := pick(g, surnames)
	p := person{
		"姓名": g.name(surname), "民族": pick(g, groups), "手机号码": g.mobile(), "居住地": pick(g, homes), "学院": pick(g, colleges),
		"血型": pick(g, []string{"A", "B", "O", "AB", "A型", "B型", "O型"}), "Rh": pick(g, []string{"阳性", "阳性", "阳性", "+"}),
		"联系人1姓名": g.name(surname), "联系人1关系": pick(g, parents), "联系人1电话": g.mobile(),
		"联系人2姓名": g.name(pick(g, surnames)), "联系人2关系": pick(g, friends), "联系人2电话": g.mobile(),
		"登记项目": "造血干细胞", "健康征询": "是", "本人签名": "是", "签署日期": g.sheet.Day.String(), "版本": "HSC-2024",
		"采样管条码": fmt.Sprintf("%s%06d", prefix, i+1),
	}
	if g.IntN(5) == 0 {
		p["登记项目"] = "造血干细胞、献血"
	}
	male := g.IntN(2) == 0
	p["性别"] = map[bool]string{true: "男", false: "女"}[male]
	height, weight := 162, 56
	if male {
		height, weight = 174, 68
	}
	p["身高(cm)"], p["体重(kg)"] = fmt.Sprint(height+g.IntN(19)-9), fmt.Sprint(weight+g.IntN(25)-8)
	// Most are students; some are past forty.
	years := 18 + g.IntN(6)
	if g.IntN(5) == 0 {
		years = 18 + g.IntN(27)
	}
	g.born(p, g.sheet.Day.AddYears(-years).AddDays(-g.IntN(360)))
	return p
}

// born gives a person a birthday and a number with it.
func (g *generator) born(p person, on calendar.Date) {
	p["出生日期"] = on.String()
	p["证件号码"] = g.fresh(func() string {
		serial := 2 * g.IntN(500)
		if p["性别"] == "男" {
			serial++
		}
		body := pick(g, counties) + strings.ReplaceAll(on.String(), "-", "") + fmt.Sprintf("%03d", serial)
		return body + string(checkCharacter(body))
	})
}

// checkCharacter is GB 11643-1999's, by its table of weights.
func checkCharacter(body string) byte {
	weights := [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}
	sum := 0
	for i, w := range weights {
		sum += w * int(body[i]-'0')
	}
	return "10X98765432"[sum%11]
}

// Circumstances are those of the drive, on its day.
func (s *Sheet) Circumstances() forms.Circumstances {
	return forms.Circumstances{
		Today: s.Today, Region: s.Region, Rules: rules.Embedded().For,
		Drive: &forms.DriveFacts{FirstDay: s.Day, LastDay: s.Day, BarcodeFrom: s.BarcodeFrom, BarcodeTo: s.BarcodeTo},
	}
}

// XLSX is the sheet as a workbook: days are days, amounts are numbers, and everything else is text.
func (s *Sheet) XLSX() ([]byte, error) {
	f := excelize.NewFile()
	defer f.Close()
	date, err := f.NewStyle(&excelize.Style{NumFmt: 14})
	if err != nil {
		return nil, err
	}
	w, err := f.NewStreamWriter("Sheet1")
	if err != nil {
		return nil, err
	}
	for i, row := range append([][]string{s.Headings}, s.Rows...) {
		values := make([]any, len(row))
		for c, text := range row {
			if text == "" {
				continue
			}
			values[c] = text
			if i == 0 {
				continue
			}
			day, err := calendar.Parse(text)
			var amount float64
			switch heading := s.Headings[c]; {
			case err == nil:
				values[c] = excelize.Cell{StyleID: date, Value: day.Sub(calendar.Must(1899, time.December, 30))}
			case strings.HasSuffix(heading, ")"), strings.Contains(text, "E+17"):
				if _, err := fmt.Sscan(text, &amount); err == nil {
					values[c] = amount
				}
			}
		}
		if err := w.SetRow(fmt.Sprintf("A%d", i+1), values); err != nil {
			return nil, err
		}
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	buf, err := f.WriteToBuffer()
	if err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// CSV is the sheet as a text file in UTF-8 or GB18030.
func (s *Sheet) CSV(e intake.Encoding) ([]byte, error) {
	var b bytes.Buffer
	for _, row := range append([][]string{s.Headings}, s.Rows...) {
		for c, text := range row {
			if c > 0 {
				b.WriteByte(',')
			}
			text = intake.CSVCell(text)
			if strings.ContainsAny(text, ",\"\r\n") {
				text = `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
			}
			b.WriteString(text)
		}
		b.WriteString("\r\n")
	}
	if e == intake.GB18030 {
		return simplifiedchinese.GB18030.NewEncoder().Bytes(b.Bytes())
	}
	return b.Bytes(), nil
}
