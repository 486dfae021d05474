package intake_test

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
)

func headersOf(texts ...string) []intake.Header {
	var out []intake.Header
	for i, text := range texts {
		out = append(out, intake.Header{Column: i, Text: text})
	}
	return out
}

func TestHeadingsAreMatchedToFields(t *testing.T) {
	t.Parallel()
	for heading, want := range map[string]struct {
		field intake.Field
		how   intake.How
	}{
		"姓名": {intake.Name, intake.Exact}, "名字": {intake.Name, intake.Exact}, "Name": {intake.Name, intake.Exact}, " 姓 名：": {intake.Name, intake.Exact},
		"身份证号": {intake.DocumentNumber, intake.Exact}, "证件号码*": {intake.DocumentNumber, intake.Exact}, "ID Number": {intake.DocumentNumber, intake.Exact},
		"手机": {intake.Phone, intake.Exact}, "联系方式": {intake.Phone, intake.Exact}, "手机号(必填)": {intake.Phone, intake.Near},
		"姓名/Name": {intake.Name, intake.Near}, "姓名 Name": {intake.Name, intake.Near}, "性别 Sex (M/F)": {intake.Sex, intake.Near},
		"采样管条码": {intake.Barcode, intake.Exact}, "样本号": {intake.Barcode, intake.Exact}, "签署日期【年月日】": {intake.SignedOn, intake.Near},
		"本人常用手机号码": {intake.Phone, intake.Within}, "参加人姓名": {intake.Name, intake.Within}, "第一联系人": {intake.Contact1Name, intake.Exact},
		"联系人1电话": {intake.Contact1Phone, intake.Exact}, "紧急联系人（一）电话": {intake.Contact1Phone, intake.Exact}, "紧急联系人二 关系": {intake.Contact2Relation, intake.Exact},
		"contact2_phone": {intake.Contact2Phone, intake.Exact}, "Emergency contact 2 phone": {intake.Contact2Phone, intake.Exact},
		"造血干细胞": {intake.StemCell, intake.Exact}, "登记项目": {intake.Programmes, intake.Exact}, "序号": {intake.Ignore, intake.Exact},
		"介绍人姓名": {}, "采血护士姓名": {}, "父亲姓名": {}, "辅导员电话": {}, "备注": {}, "学号": {}, "身份证复印件是否齐全": {}, "": {}, "曾用名": {}, "姓名拼音": {},
		strings.Repeat("姓名", 200): {},
	} {
		m := intake.Guess(headersOf(heading), nil)
		require.Equal(t, want.field, m.Columns[0].Field, heading)
		require.Equal(t, want.how, m.Columns[0].How, heading)
		require.Equal(t, heading, m.Columns[0].Heading)
	}
}

func TestAMachineKeyAndWhatAPersonChoseGoFirst(t *testing.T) {
	t.Parallel()
	headers := []intake.Header{{Column: 0, Text: "姓名", Key: intake.Workplace}, {Column: 3, Text: "备 注", Key: intake.Phone}, {Column: 4, Text: "性别"}}
	m := intake.Guess(headers, map[string]intake.Field{intake.HeadingKey("备注:"): intake.Email, intake.HeadingKey("性别"): intake.Ignore, "": intake.Name, "坏": "nonsense"})
	require.Equal(t, []intake.Column{
		{Column: 0, Heading: "姓名", Field: intake.Workplace, How: intake.ByKey}, {Column: 3, Heading: "备 注", Field: intake.Email, How: intake.Remembered},
		{Column: 4, Heading: "性别", Field: intake.Ignore, How: intake.Remembered},
	}, m.Columns)
	text, err := json.Marshal(m)
	require.NoError(t, err)
	var back intake.Mapping
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, m, back)
}

func TestAWeakGuessNeverCompetesWithASurerOne(t *testing.T) {
	t.Parallel()
	m := intake.Guess(headersOf("姓名", "参加人姓名", "手机(本人)", "常用手机", "手机"), nil)
	require.Equal(t, []intake.Field{intake.Name, "", "", "", intake.Phone}, []intake.Field{
		m.Columns[0].Field, m.Columns[1].Field, m.Columns[2].Field, m.Columns[3].Field, m.Columns[4].Field,
	})
	m = intake.Guess(headersOf("参加人姓名", "参与人姓名"), nil)
	require.Empty(t, m.Columns[0].Field+m.Columns[1].Field, "of two weak guesses neither is made")
}

func TestTheMappingsProblemsNameFieldAndColumn(t *testing.T) {
	t.Parallel()
	m := intake.Guess(headersOf("姓名", "名字", "身份证号", "备注", "", "序号"), nil)
	problems := m.Problems(intake.Defaults{})
	require.Equal(t, forms.Problems{
		{Code: "F004", Field: "phone"}, {Code: "F004", Field: "programmes"}, {Code: "F004", Field: "signed"}, {Code: "F004", Field: "signed_on"},
		{Code: "F005", Field: "name", Args: map[string]any{"Columns": "姓名, 名字"}},
		{Code: "W208", Args: map[string]any{"Heading": "备注"}}, {Code: "W208", Args: map[string]any{"Heading": "E"}},
	}, problems)
	require.Contains(t, problems[4].Says(lang.Chinese), "姓名, 名字")
	covered := intake.Defaults{Programmes: []rules.Programme{rules.Blood}, Signed: true, SignedOn: calendar.Must(2026, 11, 21)}
	require.Equal(t, []string{"F004", "F005", "W208", "W208"}, codes(m.Problems(covered)))
	require.Empty(t, intake.Guess(headersOf("姓名", "身份证号", "手机", "遗体", "签名", "签署日期"), nil).Problems(intake.Defaults{}))
	require.Equal(t, "blood", intake.Guess(headersOf("献血", "无偿献血"), nil).Problems(covered)[3].Field, "a programme's column is named by itself")
}

// rowsOf reads one of the package's tables.
func rowsOf(t *testing.T, name string) [][]string {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	return rows[1:]
}

func TestEveryFieldHasHeadingsOfItsOwn(t *testing.T) {
	t.Parallel()
	known, whose := map[intake.Field]int{}, map[string]string{}
	for _, row := range rowsOf(t, "data/headings.csv") {
		for n, digit := range []string{"1", "2"} {
			f := intake.Field(strings.ReplaceAll(row[0], "{n}", digit))
			if !strings.Contains(row[0], "{n}") && n > 0 {
				break
			}
			require.True(t, f.Valid(), row[0])
			for _, heading := range strings.Split(row[1], "|") {
				heading = strings.ReplaceAll(heading, "{n}", digit)
				key := intake.HeadingKey(heading)
				require.NotEmpty(t, key)
				require.Contains(t, []string{"", string(f)}, whose[key], "%s is two fields", heading)
				if whose[key] == "" {
					known[f]++
				}
				whose[key] = string(f)
			}
		}
	}
	for _, f := range intake.Fields() {
		require.GreaterOrEqual(t, known[f], 4, f)
		require.True(t, lang.Has("field."+strings.NewReplacer("contact1_", "contacts.", "contact2_", "contacts.").Replace(string(f))), f)
	}
	require.False(t, intake.Field("nonsense").Valid())
}

func TestEveryColumnHasOneFieldWhateverTheHeadings(t *testing.T) {
	t.Parallel()
	var pool []string
	for _, row := range rowsOf(t, "data/headings.csv") {
		pool = append(pool, strings.Split(strings.ReplaceAll(row[1], "{n}", "2"), "|")...)
	}
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(pool), rapid.StringN(0, 12, 40)), 0, 30).Draw(t, "headings")
		m := intake.Guess(headersOf(texts...), nil)
		require.Len(t, m.Columns, len(texts))
		count := map[intake.Field]int{}
		for i, c := range m.Columns {
			require.Equal(t, i, c.Column)
			require.True(t, c.Field == "" || c.Field.Valid())
			require.Equal(t, c.Field == "", c.How == "")
			count[c.Field]++
		}
		f005, w208 := 0, 0
		for _, p := range m.Problems(intake.Defaults{}) {
			switch p.Code {
			case "F005":
				f005++
			case "W208":
				w208++
			}
		}
		require.Equal(t, count[""], w208)
		delete(count, "")
		delete(count, intake.Ignore)
		for _, n := range count {
			if n > 1 {
				f005--
			}
		}
		require.Zero(t, f005)
		// The order of the columns changes nothing.
		order := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := range texts {
				if !yield(i) {
					return
				}
			}
		})).Draw(t, "order")
		moved := intake.Guess(headersOf(permuted(texts, order)...), nil)
		for i, j := range order {
			require.Equal(t, m.Columns[j].Field, moved.Columns[i].Field)
		}
	})
}
