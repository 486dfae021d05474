package forms

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/seal"
)

func TestEveryTagHasItsCode(t *testing.T) {
	t.Parallel()
	type form struct {
		Required     seal.Name     `json:"required" validate:"required"`
		Day          calendar.Date `json:"day" validate:"required"`
		If           string        `json:"if" validate:"required_if=One b"`
		One          string        `json:"one" validate:"omitempty,oneof=a b"`
		Name         seal.Name     `json:"name" validate:"omitempty,personname"`
		Phone        seal.Phone    `json:"phone" validate:"omitempty,phone"`
		Email        seal.Email    `json:"email" validate:"omitempty,email"`
		Region       string        `json:"region" validate:"omitempty,region"`
		Ethnicity    string        `json:"ethnicity" validate:"omitempty,ethnicity"`
		Barcode      string        `json:"barcode" validate:"omitempty,barcode"`
		GL           string        `json:"gl" validate:"omitempty,gl"`
		Nomenclature string        `json:"nomenclature" validate:"omitempty,nomenclature"`
		ICD          string        `json:"icd" validate:"omitempty,icd10"`
		Signed       bool          `json:"signed" validate:"eq=true"`
		Long         seal.Note     `json:"long" validate:"max=3"`
		Short        string        `json:"short" validate:"omitempty,min=3"`
		Low          int           `json:"low" validate:"omitempty,min=3"`
		High         float64       `json:"high" validate:"omitempty,lte=3"`
		Above        float64       `json:"above" validate:"omitempty,gt=3"`
		Below        float64       `json:"below" validate:"omitempty,lt=3"`
		Exact        int           `json:"exact" validate:"omitempty,len=3"`
		Many         []string      `json:"many" validate:"max=2,unique,dive,oneof=a b"`
	}
	good := form{Required: seal.NameOf("王"), Day: today, Signed: true}
	require.Empty(t, Check(&good))
	for field, c := range map[string]struct {
		change func(*form)
		code   string
		args   map[string]any
	}{
		"required": {func(f *form) { f.Required = seal.Name{} }, "R101", nil}, "day": {func(f *form) { f.Day = calendar.Date{} }, "R101", nil},
		"if": {func(f *form) { f.One = "b" }, "R101", nil}, "one": {func(f *form) { f.One = "c" }, "R114", map[string]any{"Allowed": "a, b"}},
		"name": {func(f *form) { f.Name = seal.NameOf("1") }, "R115", nil}, "phone": {func(f *form) { f.Phone = seal.PhoneOf("1") }, "R111", nil},
		"email": {func(f *form) { f.Email = seal.EmailOf("1") }, "R116", nil}, "region": {func(f *form) { f.Region = "1" }, "R118", nil},
		"ethnicity": {func(f *form) { f.Ethnicity = "x" }, "R114", nil}, "barcode": {func(f *form) { f.Barcode = "x" }, "R107", nil},
		"gl": {func(f *form) { f.GL = "A*02:01+A*2:01" }, "R124", map[string]any{"Position": 9, "Locus": "A", "Reason": "malformed"}}, "nomenclature": {func(f *form) { f.Nomenclature = "x" }, "R124", nil},
		"icd": {func(f *form) { f.ICD = "x" }, "R114", nil}, "signed": {func(f *form) { f.Signed = false }, "R112", nil},
		"long":  {func(f *form) { f.Long = seal.NoteOf("四个汉字") }, "R120", map[string]any{"Limit": "3", "Bound": "≤"}},
		"short": {func(f *form) { f.Short = "x" }, "R120", map[string]any{"Limit": "3", "Bound": "≥"}},
		"low":   {func(f *form) { f.Low = 2 }, "R119", map[string]any{"Limit": "3", "Bound": "≥"}},
		"high":  {func(f *form) { f.High = 4 }, "R119", map[string]any{"Limit": "3", "Bound": "≤"}},
		"above": {func(f *form) { f.Above = 3 }, "R119", map[string]any{"Limit": "3", "Bound": ">"}},
		"below": {func(f *form) { f.Below = 3 }, "R119", map[string]any{"Limit": "3", "Bound": "<"}},
		"exact": {func(f *form) { f.Exact = 4 }, "R119", map[string]any{"Limit": "3", "Bound": "="}},
		"many":  {func(f *form) { f.Many = []string{"a", "a"} }, "R114", nil},
	} {
		f := good
		c.change(&f)
		require.Equal(t, Problems{{Code: c.code, Field: field, Args: c.args}}, Check(&f), field)
	}
	f := good
	f.Many = []string{"a", "c"}
	require.Equal(t, Problems{{Code: "R114", Field: "many[1]", Args: map[string]any{"Allowed": "a, b"}}}, Check(f))
	f.Many = []string{"a", "b", "a"}
	require.Equal(t, "R120", Check(f)[0].Code)
	require.Panics(t, func() { _ = Check("no form") })
}

func TestTheFormOfABarcode(t *testing.T) {
	t.Parallel()
	for code, ok := range map[string]bool{
		"NJ2600": true, "123456": true, "A-1-2-3": true, "NJ260": false, "-NJ2600": false, "NJ2600-": false, "nj2600": false, "NJ 2600": false,
		"ABCDEFGHIJKLMNOPQRSTUVWX": true, "ABCDEFGHIJKLMNOPQRSTUVWXY": false, "": false, "条码条码条码": false, "NJ2600\n": false,
	} {
		require.Equal(t, ok, Barcode.MatchString(code), "%q", code)
	}
}

func TestAProblemIsSaidInTheReadersLanguage(t *testing.T) {
	t.Parallel()
	p := Problem{Code: "R111", Field: "contacts[1].phone"}
	require.Equal(t, "紧急联系人2 电话不是能拨通的号码。", p.Says(lang.Chinese))
	require.Equal(t, "Phone of emergency contact 2 is not a number that can be called.", p.Says(lang.English))
	require.Contains(t, p.Mend(lang.Chinese), "11 位")
	require.Contains(t, p.Mend(lang.English), "11 digits")
	require.Equal(t, "证件号码", FieldName("document_number", lang.Chinese))
	require.Equal(t, "no.such[0].field", FieldName("no.such[0].field", lang.English))
	bound := Problem{Code: "R119", Field: "height_cm", Args: map[string]any{"Bound": "≥", "Limit": "80"}}
	require.Equal(t, "身高(厘米)应为数字，且 ≥ 80。", bound.Says(lang.Chinese))
	require.Equal(t, "Height (cm) must be a number.", Problem{Code: "R119", Field: "height_cm"}.Says(lang.English))
}

func TestOnlyErrorsBlock(t *testing.T) {
	t.Parallel()
	all := Problems{{Code: "W201", Field: "sex"}, {Code: "R104", Field: "document_number"}, {Code: "N301"}}
	require.Equal(t, Problems{{Code: "R104", Field: "document_number"}}, all.Blocking())
	require.Nil(t, Problems{{Code: "W201"}}.Blocking())
	require.Equal(t, "forms: sex W201, document_number R104,  N301", all.Error())
	var problems Problems
	require.ErrorAs(t, error(all), &problems)
}

func TestEveryFieldOfEveryFormHasAName(t *testing.T) {
	t.Parallel()
	var walk func(of reflect.Type, path string)
	named := 0
	walk = func(of reflect.Type, path string) {
		for f := range of.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			inner := f.Type
			for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			require.True(t, lang.Has("field."+path+name), "%s: field.%s%s", of, path, name)
			named++
			if inner.PkgPath() == of.PkgPath() && inner.Kind() == reflect.Struct {
				walk(inner, path+name+".")
			}
		}
	}
	for _, form := range []any{
		Registration{}, Drive{}, DriveClosing{}, MissingTube{}, DriveReport{}, Chase{}, Redraw{}, Patient{}, Choice{}, TypingReport{}, Remobilisation{}, SampleBooking{},
		ConfirmatorySample{}, ConfirmatoryTyping{}, HospitalDecision{}, PhysicalExamination{}, DonationConsent{}, Clearance{}, Schedule{}, Conditioning{},
		Mobilisation{}, Collection{}, Dispatch{}, Receipt{}, Quarantine{}, Infusion{}, Thanks{}, Emergency{}, SafetyReport{}, FollowUp{}, ContactAttempt{},
	} {
		walk(reflect.TypeOf(form), "")
	}
	require.Greater(t, named, 150)
}
