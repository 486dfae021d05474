package intake_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
)

var today = calendar.Must(2026, time.November, 21)

func circumstances() forms.Circumstances {
	return forms.Circumstances{
		Today: today, Region: "320106", Rules: rules.Embedded().For,
		Drive: &forms.DriveFacts{FirstDay: today.AddDays(-1), LastDay: today, BarcodeFrom: "NJ26000001", BarcodeTo: "NJ26009999"},
	}
}

// columns of a hand-made sheet, and a person in whom nothing is wrong.
var (
	columns = []string{
		"姓名", "证件类型", "证件号码", "性别", "出生日期", "民族", "手机", "邮箱", "居住地", "地址", "学院", "身高", "体重", "血型", "Rh", "联系人1", "联系人1关系", "联系人1电话",
		"联系人2", "联系人2关系", "联系人2电话", "登记项目", "意愿", "所捐器官", "健康征询", "签名", "签署日期", "版本", "扫描件", "条码", "采样日期", "管数", "采血量",
	}
	sound = map[string]string{
		"姓名": "王例安", "证件号码": resident("11010519981231002"), "性别": "女", "手机": "13800138000", "联系人1": "王例宁", "联系人1电话": "13800138001",
		"联系人2": "李样晴", "联系人2电话": "13800138002", "登记项目": "造血干细胞", "健康征询": "是", "签名": "是", "签署日期": "2026-11-21", "条码": "NJ26000001",
	}
)

// wrongCheck has a check character that does not fit.
var wrongCheck = func() string {
	n := resident("11010519981231002")
	return n[:17] + string("0123456789X"[(strings.IndexByte("0123456789X", n[17])+1)%11])
}()

// people is a CSV file of sound people, each with changes. The nth has a phone, a number and a barcode of their own.
func people(changes ...map[string]string) []byte {
	var b strings.Builder
	b.WriteString(strings.Join(columns, ",") + "\n")
	for i, change := range changes {
		p := maps.Clone(sound)
		if i > 0 {
			p["证件号码"] = resident(fmt.Sprintf("1101051998%02d%02d%03d", 1+i/28%12, 1+i%28, 2+2*(i/336)))
			p["手机"], p["条码"] = fmt.Sprintf("137%08d", i), fmt.Sprintf("NJ26%06d", i+1)
		}
		maps.Copy(p, change)
		var row []string
		for _, c := range columns {
			row = append(row, `"`+p[c]+`"`)
		}
		b.WriteString(strings.Join(row, ",") + "\n")
	}
	return []byte(b.String())
}

// resident completes seventeen digits; the weights are those of GB 11643-1999.
func resident(body string) string {
	sum := 0
	for i, w := range []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += w * int(body[i]-'0')
	}
	return body + string("10X98765432"[sum%11])
}

func TestEveryCodeOfARowIsProvokedByASheet(t *testing.T) {
	t.Parallel()
	type change = map[string]string
	aged := func(years int) change {
		return change{"证件号码": resident("110105" + strings.ReplaceAll(today.AddYears(-years).String(), "-", "") + "002")}
	}
	with := func(c change, more change) change { maps.Copy(c, more); return c }
	for _, c := range []struct {
		change  change
		verdict intake.Verdict
		code    string
		field   string
	}{
		{change{}, intake.Ready, "", ""},
		{change{"证件类型": "护照", "证件号码": "E12345678", "出生日期": "1998-12-31"}, intake.Ready, "", ""},
		{change{"姓名": ""}, intake.Error, "R101", "name"},
		{change{"手机": ""}, intake.Error, "R101", "phone"},
		{change{"证件号码": ""}, intake.Error, "R101", "document_number"},
		{change{"证件类型": "护照", "证件号码": "E12345678"}, intake.Error, "R101", "birth_date"},
		{change{"签署日期": ""}, intake.Error, "R101", "signed_on"},
		{change{"登记项目": "", "条码": ""}, intake.Error, "R101", "programmes"},
		{change{"联系人2电话": ""}, intake.Error, "R101", "contacts[1].phone"},
		{change{"证件号码": "1.10105E+17"}, intake.Error, "R102", "document_number"},
		{change{"证件号码": "11010519981231002"}, intake.Error, "R103", "document_number"},
		{change{"证件类型": "护照"}, intake.Error, "R103", "document_number"},
		{change{"证件号码": wrongCheck}, intake.Error, "R104", "document_number"},
		{change{"证件号码": resident("11010519980231002")}, intake.Error, "R105", "document_number"},
		{aged(46), intake.Error, "R106", "birth_date"},
		{aged(17), intake.Error, "R106", "birth_date"},
		{change{"条码": "NJ27000001"}, intake.Error, "R107", "barcode"},
		{change{"条码": "条码"}, intake.Error, "R107", "barcode"},
		{change{"手机": "1380013800"}, intake.Error, "R111", "phone"},
		{change{"联系人1电话": "1380013800"}, intake.Error, "R111", "contacts[0].phone"},
		{change{"签名": "否"}, intake.Error, "R112", "signed"},
		{change{"签名": ""}, intake.Error, "R112", "signed"},
		{change{"版本": "XYZ-1"}, intake.Error, "R112", "form_version"},
		{change{"版本": "ORG-2024"}, intake.Error, "R112", "form_version"},
		{change{"签署日期": "2026-11-22"}, intake.Error, "R113", "signed_on"},
		{change{"签署日期": "2026-11-01"}, intake.Error, "R113", "signed_on"},
		{change{"血型": "C型"}, intake.Error, "R114", "abo"},
		{change{"民族": "精灵"}, intake.Error, "R114", "ethnicity"},
		{change{"姓名": "王例安2"}, intake.Error, "R115", "name"},
		{change{"联系人1": "王@"}, intake.Error, "R115", "contacts[0].name"},
		{change{"邮箱": "a.example.com"}, intake.Error, "R116", "email"},
		{change{"证件号码": resident("99999919981231002")}, intake.Error, "R117", "document_number"},
		{change{"居住地": "鼓楼某地"}, intake.Error, "R118", "region"},
		{change{"身高": "300"}, intake.Error, "R119", "height_cm"},
		{change{"体重": "十"}, intake.Error, "R119", "weight_kg"},
		{change{"采血量": "200"}, intake.Error, "R119", "millilitres"},
		{change{"地址": strings.Repeat("路", 201)}, intake.Error, "R120", "address"},
		{change{"联系人2": "", "联系人2电话": ""}, intake.Error, "R121", "contacts"},
		{change{"健康征询": ""}, intake.Error, "R122", "health_answered"},
		{change{"签署日期": "5/6/2026"}, intake.Error, "R123", "signed_on"},
		{change{"证件类型": "护照", "证件号码": "E12345678", "出生日期": "1998年"}, intake.Error, "R123", "birth_date"},
		{change{"登记项目": "器官", "条码": ""}, intake.Error, "R126", "organs"},
		{change{"采样日期": "2026-11-20"}, intake.Error, "R127", "drawn_on"},
		{change{"采样日期": "2026-11-22"}, intake.Error, "R127", "drawn_on"},
		{change{"意愿": "拒绝", "条码": ""}, intake.Error, "R128", "intent"},
		{with(aged(17), change{"登记项目": "遗体", "条码": ""}), intake.Error, "R134", "birth_date"},
		{change{"登记项目": "遗体"}, intake.Error, "R135", "barcode"},
		{change{"性别": "男"}, intake.Warning, "W201", "sex"},
		{change{"出生日期": "1998-12-30"}, intake.Warning, "W202", "birth_date"},
		{change{"联系人2电话": "138 0013 8000"}, intake.Warning, "W204", "contacts[1].phone"},
		{change{"姓名": "欧阳例安宁"}, intake.Warning, "W205", "name"},
		{change{"姓名": "王𠮷"}, intake.Warning, "W207", "name"},
		{change{"登记项目": "器官、角膜", "所捐器官": "全部", "条码": "", "健康征询": "", "联系人1": "", "联系人1电话": "", "联系人2": "", "联系人2电话": ""}, intake.Ready, "", ""},
		{change{"登记项目": "遗体", "意愿": "拒绝", "条码": ""}, intake.Ready, "", ""},
		// Only the second contact is given: the problem is in the second's column.
		{change{"登记项目": "遗体", "条码": "", "联系人1": "", "联系人1电话": "", "联系人2电话": "x"}, intake.Error, "R111", "contacts[1].phone"},
	} {
		name := fmt.Sprint(c.code, " ", c.field, " ", c.change)
		_, _, _, got := check(t, people(c.change), circumstances())
		require.Len(t, got, 1, name)
		r := got[2]
		require.Equal(t, c.verdict, r.verdict, "%s: %v", name, r.problems)
		if c.code == "" {
			require.Empty(t, r.problems, name)
			continue
		}
		require.Len(t, r.problems, 1, "%s: %v", name, r.problems)
		require.Equal(t, c.code, r.problems[0].Code, name)
		require.Equal(t, c.field, r.problems[0].Field, name)
		requireSaid(t, r.problems[0], c.change)
	}
}

// requireSaid says a problem in both languages, without a gap and without what was read.
func requireSaid(t *testing.T, p forms.Problem, change map[string]string) {
	t.Helper()
	for _, l := range lang.Locales() {
		for _, said := range []string{p.Says(l), p.Mend(l)} {
			require.NotContains(t, said, "<no value>", p.Code)
			require.NotContains(t, said, "problem.", p.Code)
			require.NotContains(t, said, "{{", p.Code)
			if strings.ContainsAny(p.Field, "_[") {
				require.NotContains(t, said, p.Field, p.Code)
			}
			for heading, text := range change {
				if len(text) > 8 && heading != "登记项目" {
					require.NotContains(t, said, text, p.Code)
				}
			}
		}
		if l == lang.English {
			require.NotRegexp(t, `\p{Han}`, p.Says(l)+p.Mend(l))
		}
	}
}

func TestRowsAreHeldAgainstEachOther(t *testing.T) {
	t.Parallel()
	type change = map[string]string
	same := change{"证件号码": sound["证件号码"]}
	for name, c := range map[string]struct {
		rows []change
		want map[int][]string // row: code and the rows it names
	}{
		"alike":                    {[]change{{}, but(same, "手机", sound["手机"], "条码", sound["条码"])}, map[int][]string{3: {"R110 2"}}},
		"alike in other spelling":  {[]change{{}, but(same, "手机", "138-0013-8000", "条码", "nj26000001", "证件类型", "身份证")}, map[int][]string{3: {"R110 2"}}},
		"three alike":              {[]change{{}, but(same, "手机", sound["手机"], "条码", sound["条码"]), but(same, "手机", sound["手机"], "条码", sound["条码"])}, map[int][]string{3: {"R110 2"}, 4: {"R110 2"}}},
		"different":                {[]change{{}, same}, map[int][]string{2: {"R110 3"}, 3: {"R110 2"}}},
		"different, one tube":      {[]change{{}, but(same, "条码", sound["条码"])}, map[int][]string{2: {"R110 3"}, 3: {"R110 2"}}},
		"two alike, one different": {[]change{{}, but(same, "手机", sound["手机"], "条码", sound["条码"]), same}, map[int][]string{2: {"R110 4"}, 3: {"R110 2"}, 4: {"R110 2"}}},
		"a duplicate with a fault": {[]change{{}, but(same, "手机", "x")}, map[int][]string{2: {"R110 3"}, 3: {"R111", "R110 2"}}},
		"one tube, two people":     {[]change{{}, {"条码": sound["条码"]}}, map[int][]string{2: {"R108 3"}, 3: {"R108 2"}}},
		"one tube, three people":   {[]change{{}, {"条码": sound["条码"]}, {"条码": sound["条码"]}}, map[int][]string{2: {"R108 3"}, 3: {"R108 2"}, 4: {"R108 2"}}},
		"two share a phone":        {[]change{{}, {"手机": sound["手机"]}}, map[int][]string{}},
		"three share a phone":      {[]change{{}, {}, {"手机": sound["手机"]}, {"手机": sound["手机"]}}, map[int][]string{2: {"W203 4, 5"}, 4: {"W203 2, 5"}, 5: {"W203 2, 4"}}},
		"a wrong number twice":     {[]change{{"证件号码": wrongCheck}, {"证件号码": wrongCheck}}, map[int][]string{2: {"R104"}, 3: {"R104"}}},
		"a wrong barcode twice":    {[]change{{"条码": "XX"}, {"条码": "XX"}}, map[int][]string{2: {"R107"}, 3: {"R107"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, _, got := check(t, people(c.rows...), circumstances())
			require.Len(t, got, len(c.rows))
			for no, r := range got {
				var said []string
				for _, p := range r.problems {
					line := p.Code
					if row, ok := p.Args["Row"]; ok {
						line += fmt.Sprint(" ", row)
					}
					if rows, ok := p.Args["Rows"]; ok {
						line += fmt.Sprint(" ", rows)
					}
					said = append(said, line)
					requireSaid(t, p, nil)
				}
				require.Equal(t, c.want[no], said, "row %d", no)
			}
		})
	}
}

func but(c map[string]string, pairs ...string) map[string]string {
	out := maps.Clone(c)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

func TestTheVerdictFollowsFromTheProblems(t *testing.T) {
	t.Parallel()
	for codes, want := range map[string]intake.Verdict{
		"": intake.Ready, "N301": intake.Ready, "W201": intake.Warning, "W201 N301": intake.Warning, "R104": intake.Error, "W201 R104": intake.Error,
		"R110": intake.Duplicate, "R110 W203": intake.Duplicate, "W203 R110": intake.Duplicate, "R110 R111": intake.Error, "R111 R110": intake.Error, "R108 R110": intake.Error,
	} {
		var problems forms.Problems
		for _, code := range strings.Fields(codes) {
			problems = append(problems, forms.Problem{Code: code})
		}
		require.Equal(t, want, intake.VerdictOf(problems), codes)
	}
	for code, stops := range map[string]bool{"F001": true, "F004": true, "F005": true, "F006": false, "F009": false, "F010": false, "F011": false, "W208": false, "R101": true, "N301": false} {
		require.Equal(t, stops, intake.Stops(forms.Problem{Code: code}), code)
	}
}

func TestADateOfBirthThatMostRowsHaveIsSuspect(t *testing.T) {
	t.Parallel()
	suspects := func(rows, same int) int {
		var changes []map[string]string
		for i := range rows {
			c := map[string]string{"证件类型": "护照", "证件号码": fmt.Sprintf("E%08d", i), "出生日期": "2000-01-01"}
			if i >= same {
				c["出生日期"] = calendar.Must(1999, 1, 1).AddDays(i).String()
			}
			changes = append(changes, c)
		}
		_, _, _, got := check(t, people(changes...), circumstances())
		n := 0
		for no, r := range got {
			if slices.Contains(r.codes(), "W206") {
				require.Equal(t, intake.Warning, r.verdict)
				require.Less(t, no-2, same)
				require.Equal(t, same*100/rows, r.problems[0].Args["Percent"])
				requireSaid(t, r.problems[0], nil)
				n++
			}
		}
		return n
	}
	require.Equal(t, 8, suspects(10, 8))
	require.Equal(t, 0, suspects(10, 7))
	require.Equal(t, 0, suspects(9, 9))
}

func TestTheKeyIsTheSameHoweverTheRowIsSpelled(t *testing.T) {
	t.Parallel()
	_, _, _, a := check(t, people(map[string]string{"民族": "汉", "签署日期": "2026/11/21"}), circumstances())
	_, _, _, b := check(t, people(map[string]string{"民族": "汉族", "签署日期": "20261121", "手机": "+86 138-0013-8000", "条码": "nj26000001", "证件类型": "身份证"}), circumstances())
	require.Equal(t, a[2].key, b[2].key)
	_, _, _, c := check(t, people(map[string]string{"手机": "13800138009"}), circumstances())
	require.NotEqual(t, a[2].key, c[2].key)
}

func TestEveryCodeThatCanBeEmittedHasSentencesInBothLanguages(t *testing.T) {
	t.Parallel()
	literal := regexp.MustCompile(`"([FRWN]\d{3})"`)
	found := map[string]bool{}
	for _, folder := range []string{".", "../forms"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		require.NoError(t, err)
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, m := range literal.FindAllStringSubmatch(string(source), -1) {
				found[m[1]] = true
			}
		}
	}
	require.Greater(t, len(found), 45)
	// Those of the catalogue that only the register gives.
	for _, code := range strings.Fields("F008 R109 N301 N302 N303 N304 N305 N306 N307") {
		found[code] = true
	}
	for code := range found {
		require.True(t, lang.Has("problem."+code+".is"), code)
		require.True(t, lang.Has("problem."+code+".mend"), code)
	}
	for _, id := range lang.IDs() {
		if code, ok := strings.CutPrefix(id, "problem."); ok {
			code, _, _ = strings.Cut(code, ".")
			require.Regexp(t, `^[FRWN]\d{3}$`, code)
		}
	}
	for _, v := range []intake.Verdict{intake.Ready, intake.Warning, intake.Error, intake.Duplicate, intake.Known} {
		require.True(t, lang.Has("verdict."+string(v)), v)
	}
	for _, o := range []intake.Outcome{intake.Created, intake.Updated, intake.Unchanged, intake.Linked, intake.Skipped, intake.Parked, intake.Failed} {
		require.True(t, lang.Has("outcome."+string(o)), o)
	}
}
