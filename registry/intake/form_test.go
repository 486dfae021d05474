package intake_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
)

// read reads one cell of a field.
func read(f intake.Field, c intake.Cell, d intake.Defaults) (forms.Registration, forms.Problems) {
	m := intake.Mapping{Columns: []intake.Column{{Column: 0, Field: f}}}
	return m.Form(intake.Row{No: 2, Cells: []intake.Cell{c}}, d)
}

func text(s string) intake.Cell { return intake.Cell{Text: s} }

func TestTheWordsOfTheTablesAreRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field intake.Field
		words string
		got   func(forms.Registration) any
		want  any
	}{
		{intake.Sex, "男|M|male|1|男性", func(f forms.Registration) any { return f.Sex }, identity.Male},
		{intake.Sex, "女|F|2|女性|Female", func(f forms.Registration) any { return f.Sex }, identity.Female},
		{intake.DocumentKind, "身份证|居民身份证|二代身份证|identity card", func(f forms.Registration) any { return f.DocumentKind }, identity.ResidentID},
		{intake.DocumentKind, "护照|Passport", func(f forms.Registration) any { return f.DocumentKind }, identity.Passport},
		{intake.ABO, "O|o型|O型血|Ｏ型", func(f forms.Registration) any { return f.ABO }, identity.GroupO},
		{intake.ABO, "AB|AB型", func(f forms.Registration) any { return f.ABO }, identity.GroupAB},
		{intake.ABO, "不详|unknown", func(f forms.Registration) any { return f.ABO }, identity.ABO("")},
		{intake.Rh, "阳性|+|RH+|Rh(+)|positive", func(f forms.Registration) any { return f.Rh }, identity.RhPositive},
		{intake.Rh, "阴性|-|Rh阴性|−", func(f forms.Registration) any { return f.Rh }, identity.RhNegative},
		{intake.ABO, "A型阳性|A+|a rh+|A型Rh阳性|A(Rh+)", func(f forms.Registration) any { return [2]string{string(f.ABO), string(f.Rh)} }, [2]string{"A", "positive"}},
		{intake.Signed, "是|有|√|Y|1|true|已签|TRUE", func(f forms.Registration) any { return f.Signed }, true},
		{intake.Signed, "否|无|×|N|0|false|未签", func(f forms.Registration) any { return f.Signed }, false},
		{intake.HealthAnswered, "是|已填写", func(f forms.Registration) any { return f.HealthAnswered }, true},
		{intake.Ethnicity, "汉|汉族|01|1|HA|Han", func(f forms.Registration) any { return f.Ethnicity }, "01"},
		{intake.Intent, "愿意|同意|wish", func(f forms.Registration) any { return f.Intent }, rules.Wish},
		{intake.Intent, "拒绝|refusal", func(f forms.Registration) any { return f.Intent }, rules.Refusal},
		{intake.Programmes, "造血干细胞|造血|干细胞|HSC|stem cell", func(f forms.Registration) any { return f.Programmes }, []rules.Programme{rules.StemCell}},
		{intake.Programmes, "遗体、角膜,器官/无偿献血;HSC", func(f forms.Registration) any { return f.Programmes }, rules.Programmes()},
		{intake.Programmes, "眼角膜 遗体|body cornea|角膜和遗体", func(f forms.Registration) any { return f.Programmes }, []rules.Programme{rules.Cornea, rules.Body}},
		{intake.Programmes, "献血、献血", func(f forms.Registration) any { return f.Programmes }, []rules.Programme{rules.Blood}},
		{intake.Organs, "心、肝|肝脏、心脏|heart, liver", func(f forms.Registration) any { return f.Organs }, []string{"heart", "liver"}},
		{intake.Organs, "全部|all", func(f forms.Registration) any { return f.Organs }, []string{"all"}},
		{intake.Cornea, "是|愿意", func(f forms.Registration) any { return f.Programmes }, []rules.Programme{rules.Cornea}},
		{intake.Cornea, "否", func(f forms.Registration) any { return len(f.Programmes) }, 0},
		{intake.HeightCM, "175|175cm|175 厘米|174.6", func(f forms.Registration) any { return f.HeightCM }, 175},
		{intake.WeightKG, "60|60kg|60公斤|60 KG|60.4", func(f forms.Registration) any { return f.WeightKG }, 60},
		{intake.Tubes, "2|2支", func(f forms.Registration) any { return f.Tubes }, 2},
		{intake.Tubes, "0", func(f forms.Registration) any { return f.Tubes }, 0},
		{intake.Millilitres, "6.5|6.5ml|6.5毫升", func(f forms.Registration) any { return f.Millilitres }, 6.5},
		{intake.Name, "王例安|\u200b王例安 ", func(f forms.Registration) any { return f.Name.Reveal() }, "王例安"},
		{intake.DocumentNumber, "11010519491231002X|１１０１０５１９４９１２３１００２Ｘ", func(f forms.Registration) any { return f.DocumentNumber.Reveal() }, "11010519491231002X"},
		{intake.Email, "a@example.com", func(f forms.Registration) any { return f.Email.Reveal() }, "a@example.com"},
		{intake.Address, "中山路1号", func(f forms.Registration) any { return f.Address.Reveal() }, "中山路1号"},
		{intake.Workplace, "文学院", func(f forms.Registration) any { return f.Workplace.Reveal() }, "文学院"},
		{intake.FormVersion, "HSC-2024", func(f forms.Registration) any { return f.FormVersion }, "HSC-2024"},
		{intake.ScanRef, "S-1", func(f forms.Registration) any { return f.ScanRef }, "S-1"},
		{intake.Barcode, "NJ26000001", func(f forms.Registration) any { return f.Barcode }, "NJ26000001"},
		{intake.Region, "江苏省南京市鼓楼区|南京鼓楼|320106", func(f forms.Registration) any { return f.Region }, identity.Region("320106")},
		{intake.Region, "西城区", func(f forms.Registration) any { return f.Region }, identity.Region("110102")},
	} {
		for _, word := range strings.Split(c.words, "|") {
			form, problems := read(c.field, text(word), intake.Defaults{})
			require.Empty(t, problems, "%s %s", c.field, word)
			require.Equal(t, c.want, c.got(form), "%s %s", c.field, word)
		}
	}
	for _, programme := range rules.Programmes() {
		form, _ := read(intake.Field(programme), text("是"), intake.Defaults{})
		require.Equal(t, []rules.Programme{programme}, form.Programmes)
	}
}

func TestWhatCannotBeReadIsAProblemOfItsField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field intake.Field
		cell  intake.Cell
		code  string
		path  string
		args  map[string]any
	}{
		{intake.Sex, text("不详"), "R114", "sex", map[string]any{"Allowed": "male, female"}},
		{intake.Sex, text("0"), "R114", "sex", map[string]any{"Allowed": "male, female"}},
		{intake.ABO, text("C型"), "R114", "abo", map[string]any{"Allowed": "A, B, O, AB"}},
		{intake.Rh, text("中性"), "R114", "rh", map[string]any{"Allowed": "positive, negative"}},
		{intake.Signed, text("大概"), "R114", "signed", map[string]any{"Allowed": "yes, no"}},
		{intake.StemCell, text("大概"), "R114", "programmes", map[string]any{"Allowed": "yes, no"}},
		{intake.Intent, text("否"), "R114", "intent", map[string]any{"Allowed": "wish, refusal"}},
		{intake.Programmes, text("造血干细胞、头发"), "R114", "programmes", map[string]any{"Allowed": "stemcell, blood, organ, cornea, body"}},
		{intake.Programmes, text("、"), "R114", "programmes", map[string]any{"Allowed": "stemcell, blood, organ, cornea, body"}},
		{intake.Organs, text("心、脑"), "R114", "organs", map[string]any{"Allowed": "all, heart, lung, liver, kidney, pancreas, intestine"}},
		{intake.DocumentKind, text("学生证"), "R114", "document_kind", map[string]any{
			"Allowed": "resident_id, hk_macao_residence, taiwan_residence, permanent_residence, hk_macao_pass, taiwan_pass, mainland_pass, passport, military_id",
		}},
		{intake.Ethnicity, text("精灵"), "R114", "ethnicity", nil},
		{intake.DocumentNumber, text("4.40524E+17"), "R102", "document_number", nil},
		{intake.DocumentNumber, intake.Cell{Text: "440524188001010000", Numeric: true}, "R102", "document_number", nil},
		{intake.Phone, text("1.38E+10"), "R102", "phone", nil},
		{intake.Contact2Phone, text("1.38E+10"), "R102", "contacts[1].phone", nil},
		{intake.Barcode, text("1.23E+11"), "R102", "barcode", nil},
		{intake.BirthDate, text("昨天"), "R123", "birth_date", nil},
		{intake.SignedOn, text("05/06/2026"), "R123", "signed_on", nil},
		{intake.SignedOn, text("2026-02-30"), "R123", "signed_on", nil},
		{intake.SignedOn, intake.Cell{Text: "1998", Numeric: true}, "R123", "signed_on", nil},
		{intake.DrawnOn, text("2026/11-21"), "R123", "drawn_on", nil},
		{intake.HeightCM, text("高"), "R119", "height_cm", map[string]any{"Bound": "≥", "Limit": "80"}},
		{intake.HeightCM, text("0"), "R119", "height_cm", map[string]any{"Bound": "≥", "Limit": "80"}},
		{intake.WeightKG, text("-60"), "R119", "weight_kg", map[string]any{"Bound": "≥", "Limit": "25"}},
		{intake.WeightKG, text("NaN"), "R119", "weight_kg", map[string]any{"Bound": "≥", "Limit": "25"}},
		{intake.WeightKG, text("1e99"), "R119", "weight_kg", map[string]any{"Bound": "≥", "Limit": "25"}},
		{intake.Tubes, text("若干"), "R119", "tubes", map[string]any{"Bound": "≥", "Limit": "1"}},
		{intake.Millilitres, text("Inf"), "R119", "millilitres", map[string]any{"Bound": ">", "Limit": "0"}},
		{intake.Region, text("鼓楼区"), "R118", "region", nil},
		{intake.Region, text("亚特兰蒂斯"), "R118", "region", nil},
		{intake.Region, text("南京市鼓楼区中山路1号"), "R118", "region", nil},
		{intake.Name, intake.Cell{Broken: true}, "R136", "name", nil},
	} {
		_, problems := read(c.field, c.cell, intake.Defaults{})
		require.Equal(t, forms.Problems{{Code: c.code, Field: c.path, Args: c.args}}, problems, "%s %s", c.field, c.cell.Text)
	}
	_, problems := read(intake.Name, intake.Cell{Text: "甲", Formula: true}, intake.Defaults{})
	require.Equal(t, forms.Problems{{Code: "W209", Field: "name"}}, problems)
}

func TestDatesAreReadHoweverTheyAreWrittenUnlessTheyCouldBeTwo(t *testing.T) {
	t.Parallel()
	want := calendar.Must(2026, 11, 21)
	for _, s := range []string{
		"2026/11/21", "2026-11-21", "20261121", "2026年11月21日", "2026.11.21", "21/11/2026", "11/21/2026", "21-11-2026", "21.11.2026", "２０２６／１１／２１",
		"2026-11-21 08:30", "2026-11-21T08:30:00Z", "2026/11/21 8:30:00", "2026年11月21号", "2026 年 11 月 21 日", "2026-11-21T00:00:00.000+08:00",
	} {
		form, problems := read(intake.SignedOn, text(s), intake.Defaults{})
		require.Empty(t, problems, s)
		require.Equal(t, want, form.SignedOn, s)
	}
	form, problems := read(intake.SignedOn, text("2026/1/5"), intake.Defaults{})
	require.Empty(t, problems)
	require.Equal(t, calendar.Must(2026, 1, 5), form.SignedOn)
	form, problems = read(intake.SignedOn, text("7/7/2026"), intake.Defaults{})
	require.Empty(t, problems)
	require.Equal(t, calendar.Must(2026, 7, 7), form.SignedOn)
	form, problems = read(intake.SignedOn, intake.Cell{Text: "46347", Numeric: true, Date: want}, intake.Defaults{})
	require.Empty(t, problems)
	require.Equal(t, want, form.SignedOn)
	for _, s := range []string{
		"5/6/2026", "26-11-21", "2026-13-01", "2026-11", "11-21", "0026-11-21", "1779-11-21", "20261131", "2026年", "21/13/2026", "31/31/2026", "46347",
		"2026/11-21", "21/11-2026", "2026-11-21 25", "明天",
	} {
		_, problems := read(intake.SignedOn, text(s), intake.Defaults{})
		require.Equal(t, []string{"R123"}, codes(problems), s)
	}
}

func TestAPlaceOfSeveralIsTheOneNearTheDrive(t *testing.T) {
	t.Parallel()
	for near, want := range map[identity.Region]identity.Region{
		"320105": "320106", "320100": "320106", "320311": "320302", "350000": "350102", "320000": "", "110000": "", "": "",
	} {
		form, problems := read(intake.Region, text("鼓楼区"), intake.Defaults{Region: near})
		require.Equal(t, want, form.Region, near)
		require.Equal(t, want == "", len(problems) == 1)
	}
}

func TestTheCoverSpeaksForMissingColumnsOnly(t *testing.T) {
	t.Parallel()
	day := calendar.Must(2026, 11, 20)
	cover := intake.Defaults{
		Programmes: []rules.Programme{rules.Blood, rules.StemCell}, Intent: rules.Wish, Organs: []string{"all"}, Signed: true, SignedOn: day, HealthAnswered: true,
		OnPaper: true, FormVersion: "HSC-2024", DrawnOn: day, Region: "320106",
	}
	form, problems := read(intake.Name, text("甲"), cover)
	require.Empty(t, problems)
	require.Equal(t, []rules.Programme{rules.StemCell, rules.Blood}, form.Programmes)
	require.Equal(t, []any{rules.Wish, []string{"all"}, true, day, true, true, "HSC-2024", day}, []any{
		form.Intent, form.Organs, form.Signed, form.SignedOn, form.HealthAnswered, form.OnPaper, form.FormVersion, form.DrawnOn,
	})
	require.Empty(t, form.Region, "where the drive is is not where a person lives")
	all := intake.Mapping{}
	for i, f := range intake.Fields() {
		all.Columns = append(all.Columns, intake.Column{Column: i, Field: f})
	}
	form, problems = all.Form(intake.Row{No: 2}, cover)
	require.Empty(t, problems)
	require.Equal(t, forms.Registration{OnPaper: true}, form)
	form, _ = read(intake.Cornea, text(""), cover)
	require.Empty(t, form.Programmes, "one column of yes and no speaks for all programmes")
	require.Equal(t, []rules.Programme{rules.Blood, rules.StemCell}, cover.Programmes, "the cover is not changed")
}

func TestContactsAreReadFromTheirColumns(t *testing.T) {
	t.Parallel()
	m := intake.Guess(headersOf("联系人1姓名", "联系人1关系", "联系人1电话", "联系人1住址", "联系人2姓名", "联系人2关系", "联系人2电话", "联系人2住址"), nil)
	form, problems := m.Form(intake.Row{Cells: []intake.Cell{text("乙"), text("爸爸"), text("13800138001"), text("甲路"), text("丙"), text("表姑"), text("13800138002"), text("乙路")}}, intake.Defaults{})
	require.Empty(t, problems)
	require.Len(t, form.Contacts, 2)
	first, second := form.Contacts[0], form.Contacts[1]
	require.Equal(t, []string{"乙", "父亲", "13800138001", "甲路"}, []string{first.Name.Reveal(), first.Relation, first.Phone.Reveal(), first.Address.Reveal()})
	require.Equal(t, []string{"丙", "表姑", "13800138002", "乙路"}, []string{second.Name.Reveal(), second.Relation, second.Phone.Reveal(), second.Address.Reveal()})
	form, _ = m.Form(intake.Row{Cells: []intake.Cell{{}, text("父亲"), {}, {}, {}, {}, text("13800138002")}}, intake.Defaults{})
	require.Len(t, form.Contacts, 1, "a relation alone is nobody")
}

func TestTheWordsThatAreOfferedAreUnderstood(t *testing.T) {
	t.Parallel()
	sets := map[string]intake.Field{
		"sex": intake.Sex, "yes": intake.Signed, "abo": intake.ABO, "rh": intake.Rh, "intent": intake.Intent, "programme": intake.Programmes,
		"organ": intake.Organs, "document_kind": intake.DocumentKind,
	}
	seen := 0
	for _, row := range rowsOf(t, "data/words.csv") {
		f, ok := sets[row[0]]
		if !ok || row[1] == "" {
			continue
		}
		seen++
		want, problems := read(f, text(row[1]), intake.Defaults{})
		require.Empty(t, problems, row)
		for _, l := range lang.Locales() {
			word := l.Say("word."+row[0]+"."+row[1], nil)
			got, problems := read(f, text(word), intake.Defaults{})
			require.Empty(t, problems, word)
			require.Equal(t, want, got, word)
		}
		// What is allowed is said in the reader's words.
		_, problems = read(f, text("☃"), intake.Defaults{})
		require.Len(t, problems, 1)
		require.Contains(t, problems[0].Mend(lang.Chinese), lang.Chinese.Say("word."+row[0]+"."+row[1], nil))
		require.Contains(t, problems[0].Mend(lang.English), lang.English.Say("word."+row[0]+"."+row[1], nil))
	}
	require.Equal(t, 33, seen)
}
