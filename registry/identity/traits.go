package identity

import "strings"

// Sex is that of the identity document.
type Sex string

// The sexes of GB/T 2261.1 that a document can state.
const (
	Male   Sex = "male"
	Female Sex = "female"
)

// Valid says that s is one of the constants.
func (s Sex) Valid() bool { return s == Male || s == Female }

// ABO is a blood group.
type ABO string

// The groups of the ABO system.
const (
	GroupA  ABO = "A"
	GroupB  ABO = "B"
	GroupO  ABO = "O"
	GroupAB ABO = "AB"
)

// Valid says that a is one of the constants.
func (a ABO) Valid() bool { return a == GroupA || a == GroupB || a == GroupO || a == GroupAB }

// Rh is the RhD factor.
type Rh string

// The two RhD types. Weak D is for the laboratory to place.
const (
	RhPositive Rh = "positive"
	RhNegative Rh = "negative"
)

// Valid says that r is one of the constants.
func (r Rh) Valid() bool { return r == RhPositive || r == RhNegative }

// Ethnicity is a two-digit code of GB/T 3304-1991: "01" to "56" for the ethnic groups, and the two that registration offices add.
type Ethnicity string

// Codes that are used by name.
const (
	Han              Ethnicity = "01"
	EthnicityOther   Ethnicity = "97" // a group not yet identified, such as 穿青人
	EthnicityForeign Ethnicity = "98" // a citizen of foreign descent
)

// ethnicGroups is the table of GB/T 3304-1991: numeric code, letter code, name in Chinese and in romanisation.
var ethnicGroups = []struct {
	code        Ethnicity
	letters     string
	zh, romanic string
}{
	{"01", "HA", "汉族", "Han"}, {"02", "MG", "蒙古族", "Mongol"}, {"03", "HU", "回族", "Hui"}, {"04", "ZA", "藏族", "Zang"},
	{"05", "UG", "维吾尔族", "Uygur"}, {"06", "MH", "苗族", "Miao"}, {"07", "YI", "彝族", "Yi"}, {"08", "ZH", "壮族", "Zhuang"},
	{"09", "BY", "布依族", "Buyei"}, {"10", "CS", "朝鲜族", "Chosen"}, {"11", "MA", "满族", "Man"}, {"12", "DO", "侗族", "Dong"},
	{"13", "YA", "瑶族", "Yao"}, {"14", "BA", "白族", "Bai"}, {"15", "TJ", "土家族", "Tujia"}, {"16", "HN", "哈尼族", "Hani"},
	{"17", "KZ", "哈萨克族", "Kazak"}, {"18", "DA", "傣族", "Dai"}, {"19", "LI", "黎族", "Li"}, {"20", "LS", "傈僳族", "Lisu"},
	{"21", "VA", "佤族", "Va"}, {"22", "SH", "畲族", "She"}, {"23", "GS", "高山族", "Gaoshan"}, {"24", "LH", "拉祜族", "Lahu"},
	{"25", "SU", "水族", "Sui"}, {"26", "DX", "东乡族", "Dongxiang"}, {"27", "NX", "纳西族", "Naxi"}, {"28", "JP", "景颇族", "Jingpo"},
	{"29", "KG", "柯尔克孜族", "Kirgiz"}, {"30", "TU", "土族", "Tu"}, {"31", "DU", "达斡尔族", "Daur"}, {"32", "ML", "仫佬族", "Mulao"},
	{"33", "QI", "羌族", "Qiang"}, {"34", "BL", "布朗族", "Blang"}, {"35", "SL", "撒拉族", "Salar"}, {"36", "MN", "毛南族", "Maonan"},
	{"37", "GL", "仡佬族", "Gelao"}, {"38", "XB", "锡伯族", "Xibe"}, {"39", "AC", "阿昌族", "Achang"}, {"40", "PM", "普米族", "Pumi"},
	{"41", "TA", "塔吉克族", "Tajik"}, {"42", "NU", "怒族", "Nu"}, {"43", "UZ", "乌孜别克族", "Uzbek"}, {"44", "RS", "俄罗斯族", "Russ"},
	{"45", "EW", "鄂温克族", "Ewenki"}, {"46", "DE", "德昂族", "Deang"}, {"47", "BN", "保安族", "Bonan"}, {"48", "YG", "裕固族", "Yugur"},
	{"49", "GI", "京族", "Gin"}, {"50", "TT", "塔塔尔族", "Tatar"}, {"51", "DR", "独龙族", "Derung"}, {"52", "OR", "鄂伦春族", "Oroqen"},
	{"53", "HZ", "赫哲族", "Hezhen"}, {"54", "MB", "门巴族", "Monba"}, {"55", "LB", "珞巴族", "Lhoba"}, {"56", "JN", "基诺族", "Jino"},
	{"97", "", "其他", "Other"}, {"98", "", "外国血统", "Foreign descent"},
}

// ethnicNames finds a code by everything people write for it, in capitals.
var ethnicNames = func() map[string]Ethnicity {
	names := map[string]Ethnicity{
		"外国血统中国籍人士": EthnicityForeign, "入籍": EthnicityForeign, "未识别": EthnicityOther, "穿青人": EthnicityOther,
		"毛难": "36", "毛难族": "36", "崩龙": "46", "崩龙族": "46", // names until 1985 and 1986
	}
	for _, g := range ethnicGroups {
		names[string(g.code)] = g.code
		names[strings.TrimPrefix(string(g.code), "0")] = g.code
		names[g.zh] = g.code
		names[strings.TrimSuffix(g.zh, "族")] = g.code
		names[code(g.romanic)] = g.code
		if g.letters != "" {
			names[g.letters] = g.code
		}
	}
	return names
}()

// ParseEthnicity reads a group as people write it: 汉, 汉族, 01, 1, HA or Han. The error is *InputError.
func ParseEthnicity(raw string) (Ethnicity, error) {
	refuse := func(r Reason) (Ethnicity, error) { return "", &InputError{FieldEthnicity, r} }
	if len(raw) > maxInput {
		return refuse(ReasonLength)
	}
	text := code(raw)
	if text == "" {
		return refuse(ReasonEmpty)
	}
	e, ok := ethnicNames[text]
	if !ok {
		return refuse(ReasonUnknown)
	}
	return e, nil
}

// Valid says that e is in the table.
func (e Ethnicity) Valid() bool { return e.Name() != "" }

// Name is the Chinese name: 汉族. It is "" for a code that is not in the table.
func (e Ethnicity) Name() string {
	for _, g := range ethnicGroups {
		if g.code == e {
			return g.zh
		}
	}
	return ""
}

// Romanised is the name in the spelling of GB/T 3304: Han, Zang, Uygur. It is "" for a code that is not in the table.
func (e Ethnicity) Romanised() string {
	for _, g := range ethnicGroups {
		if g.code == e {
			return g.romanic
		}
	}
	return ""
}

// ISBT128Check is the check character of a 13-character ISBT 128 donation identification number: ISO/IEC 7064 MOD 37-2 over
// 0-9, A-Z and *. It is printed in a box after the number, for typing by hand, and is not part of it. Spaces, as printed
// between groups, are skipped. The error is *InputError.
func ISBT128Check(din string) (rune, error) {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*"
	refuse := func(r Reason) (rune, error) { return 0, &InputError{FieldDonationNumber, r} }
	if len(din) > maxInput {
		return refuse(ReasonLength)
	}
	text := code(din)
	if text == "" {
		return refuse(ReasonEmpty)
	}
	sum := 0
	for _, c := range text {
		v := strings.IndexRune(alphabet[:36], c)
		if v < 0 {
			return refuse(ReasonCharacters)
		}
		sum = (sum + v) * 2 % 37
	}
	if len(text) != 13 {
		return refuse(ReasonLength)
	}
	return rune(alphabet[(38-sum)%37]), nil
}
