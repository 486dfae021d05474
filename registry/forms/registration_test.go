package forms

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

var today = calendar.Must(2026, time.November, 21)

// resident completes seventeen digits; the weights are those of GB 11643-1999.
func resident(body string) seal.Number {
	sum := 0
	for i, w := range []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += w * int(body[i]-'0')
	}
	return seal.NumberOf(body + string("10X98765432"[sum%11]))
}

func born(on calendar.Date, serial string) seal.Number {
	return resident("110105" + strings.ReplaceAll(on.String(), "-", "") + serial)
}

// volunteer is a woman of 27 with whose form nothing is wrong.
func volunteer() *Registration {
	return &Registration{
		Name: seal.NameOf("王例安"), DocumentNumber: born(calendar.Must(1998, 12, 31), "002"), Phone: seal.PhoneOf("13800138000"),
		Contacts: []Contact{
			{Name: seal.NameOf("王例宁"), Relation: "父亲", Phone: seal.PhoneOf("13800138001")},
			{Name: seal.NameOf("李样晴"), Relation: "同学", Phone: seal.PhoneOf("010-62781234")},
		},
		Programmes: []rules.Programme{rules.StemCell}, HealthAnswered: true, Signed: true, SignedOn: today, Barcode: "NJ26000001",
	}
}

func circumstances() Circumstances {
	return Circumstances{
		Today: today, Region: "320106", Rules: rules.Embedded().For,
		Drive: &DriveFacts{FirstDay: today.AddDays(-2), LastDay: today, BarcodeFrom: "NJ26000001", BarcodeTo: "NJ26000999"},
	}
}

func said(problems Problems) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.Code+" "+p.Field)
	}
	slices.Sort(out)
	return out
}

func TestAReviewFindsWhatIsWrongAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Registration)
		in     func(*Circumstances)
		want   []string
	}{
		"nothing":                  {},
		"no name":                  {func(f *Registration) { f.Name = seal.Name{} }, nil, []string{"R101 name"}},
		"a name with a digit":      {func(f *Registration) { f.Name = seal.NameOf("王2") }, nil, []string{"R115 name"}},
		"a long name":              {func(f *Registration) { f.Name = seal.NameOf("王例安宁和") }, nil, []string{"W205 name"}},
		"a name that fonts lack":   {func(f *Registration) { f.Name = seal.NameOf("王𠮷") }, nil, []string{"W207 name"}},
		"no number":                {func(f *Registration) { f.DocumentNumber = seal.Number{} }, nil, []string{"R101 document_number"}},
		"only spaces for a number": {func(f *Registration) { f.DocumentNumber = seal.NumberOf(" ") }, nil, []string{"R101 document_number"}},
		"a short number":           {func(f *Registration) { f.DocumentNumber = seal.NumberOf("11010519981231002") }, nil, []string{"R103 document_number"}},
		"a number with letters":    {func(f *Registration) { f.DocumentNumber = seal.NumberOf("1101051998123100A1") }, nil, []string{"R103 document_number"}},
		"a number of no kind":      {func(f *Registration) { f.DocumentNumber = seal.NumberOf("?!") }, nil, []string{"R103 document_number"}},
		"a long number":            {func(f *Registration) { f.DocumentNumber = seal.NumberOf(strings.Repeat("1", 41)) }, nil, []string{"R120 document_number"}},
		"a wrong check character": {func(f *Registration) {
			n := f.DocumentNumber.Reveal()
			f.DocumentNumber = seal.NumberOf(n[:17] + map[bool]string{true: "1", false: "0"}[n[17] == '0'])
		}, nil, []string{"R104 document_number"}},
		"a day that never was":    {func(f *Registration) { f.DocumentNumber = resident("11010519980231002") }, nil, []string{"R105 document_number"}},
		"a region that never was": {func(f *Registration) { f.DocumentNumber = resident("99999919981231002") }, nil, []string{"R117 document_number"}},
		"an unknown kind":         {func(f *Registration) { f.DocumentKind = "student" }, nil, []string{"R114 document_kind"}},
		"another kind":            {func(f *Registration) { f.DocumentKind = identity.Passport }, nil, []string{"R103 document_number"}},
		"the right kind":          {func(f *Registration) { f.DocumentKind = identity.ResidentID }, nil, nil},
		"a passport alone":        {func(f *Registration) { f.DocumentNumber = seal.NumberOf("E12345678") }, nil, []string{"R101 birth_date", "R101 sex"}},
		"a passport with the rest": {func(f *Registration) {
			f.DocumentNumber = seal.NumberOf("E12345678")
			f.Sex = identity.Male
			f.BirthDate = calendar.Must(1998, 1, 1)
		}, nil, nil},
		"another sex":                     {func(f *Registration) { f.Sex = identity.Male }, nil, []string{"W201 sex"}},
		"the same sex":                    {func(f *Registration) { f.Sex = identity.Female }, nil, nil},
		"no sex there is":                 {func(f *Registration) { f.Sex = "x" }, nil, []string{"R114 sex", "W201 sex"}},
		"another birthday":                {func(f *Registration) { f.BirthDate = calendar.Must(1998, 12, 30) }, nil, []string{"W202 birth_date"}},
		"the same birthday":               {func(f *Registration) { f.BirthDate = calendar.Must(1998, 12, 31) }, nil, nil},
		"an unknown group of people":      {func(f *Registration) { f.Ethnicity = "精灵" }, nil, []string{"R114 ethnicity"}},
		"no phone":                        {func(f *Registration) { f.Phone = seal.Phone{} }, nil, []string{"R101 phone"}},
		"a short phone":                   {func(f *Registration) { f.Phone = seal.PhoneOf("1380013800") }, nil, []string{"R111 phone"}},
		"a relative without a name":       {func(f *Registration) { f.Contacts[0].Name = seal.Name{} }, nil, []string{"R101 contacts[0].name"}},
		"a relative without a phone":      {func(f *Registration) { f.Contacts[1].Phone = seal.Phone{} }, nil, []string{"R101 contacts[1].phone"}},
		"a relative with a wrong phone":   {func(f *Registration) { f.Contacts[1].Phone = seal.PhoneOf("1") }, nil, []string{"R111 contacts[1].phone"}},
		"a relative with one's own phone": {func(f *Registration) { f.Contacts[1].Phone = seal.PhoneOf("+86 138 0013 8000") }, nil, []string{"W204 contacts[1].phone"}},
		"three relatives":                 {func(f *Registration) { f.Contacts = append(f.Contacts, f.Contacts[0]) }, nil, []string{"R120 contacts"}},
		"one relative":                    {func(f *Registration) { f.Contacts = f.Contacts[:1] }, nil, []string{"R121 contacts"}},
		"no relative, and none needed":    {func(f *Registration) { f.Contacts, f.Programmes, f.Barcode = nil, []rules.Programme{rules.Body}, "" }, nil, nil},
		"a wrong mail address":            {func(f *Registration) { f.Email = seal.EmailOf("x") }, nil, []string{"R116 email"}},
		"a region that nobody knows":      {func(f *Registration) { f.Region = "999999" }, nil, []string{"R118 region"}},
		"a region that is no code":        {func(f *Registration) { f.Region = "南京" }, nil, []string{"R118 region"}},
		"no region anywhere":              {nil, func(c *Circumstances) { c.Region = "" }, nil},
		"a small person":                  {func(f *Registration) { f.HeightCM = 70 }, nil, []string{"R119 height_cm"}},
		"a heavy person":                  {func(f *Registration) { f.WeightKG = 301 }, nil, []string{"R119 weight_kg"}},
		"an unknown blood group":          {func(f *Registration) { f.ABO, f.Rh = "C", "0" }, nil, []string{"R114 abo", "R114 rh"}},
		"no programme":                    {func(f *Registration) { f.Programmes = nil }, nil, []string{"R101 programmes"}},
		"an empty list of programmes":     {func(f *Registration) { f.Programmes = []rules.Programme{} }, nil, []string{"R120 programmes"}},
		"a programme that is none":        {func(f *Registration) { f.Programmes, f.Barcode = []rules.Programme{"hair"}, "" }, nil, []string{"R114 programmes[0]"}},
		"refusing what is no programme": {func(f *Registration) {
			f.Programmes, f.Intent, f.Barcode = []rules.Programme{"hair"}, rules.Refusal, ""
		}, nil, []string{"R114 programmes[0]"}},
		"a programme twice":   {func(f *Registration) { f.Programmes = []rules.Programme{rules.StemCell, rules.StemCell} }, nil, []string{"R114 programmes"}},
		"an unknown intent":   {func(f *Registration) { f.Intent = "maybe" }, nil, []string{"R114 intent"}},
		"refusing stem cells": {func(f *Registration) { f.Intent = rules.Refusal; f.Barcode = "" }, nil, []string{"R128 intent"}},
		"refusing stem cells and blood": {func(f *Registration) {
			f.Intent = rules.Refusal
			f.Barcode = ""
			f.Programmes = append(f.Programmes, rules.Blood)
		}, nil, []string{"R128 intent"}},
		"refusing organs": {func(f *Registration) {
			f.Intent, f.Programmes, f.Barcode = rules.Refusal, []rules.Programme{rules.Organ}, ""
		}, nil, nil},
		"organs without which":         {func(f *Registration) { f.Programmes, f.Barcode = []rules.Programme{rules.Organ}, "" }, nil, []string{"R126 organs"}},
		"an organ that is none":        {func(f *Registration) { f.Organs = []string{"hair"} }, nil, []string{"R114 organs[0]"}},
		"health not asked, twice over": {func(f *Registration) { f.HealthAnswered = false; f.Programmes = append(f.Programmes, rules.Blood) }, nil, []string{"R122 health_answered"}},
		"health not asked for a wish": {func(f *Registration) {
			f.HealthAnswered, f.Programmes, f.Barcode = false, []rules.Programme{rules.Cornea}, ""
		}, nil, nil},
		"not signed":                       {func(f *Registration) { f.Signed = false }, nil, []string{"R112 signed"}},
		"no day of signing":                {func(f *Registration) { f.SignedOn = calendar.Date{} }, nil, []string{"R101 signed_on"}},
		"signed tomorrow":                  {func(f *Registration) { f.SignedOn = today.AddDays(1) }, nil, []string{"R113 signed_on"}},
		"signed before the drive":          {func(f *Registration) { f.SignedOn = today.AddDays(-3) }, nil, []string{"R113 signed_on"}},
		"signed before, without a drive":   {func(f *Registration) { f.SignedOn = today.AddDays(-3) }, func(c *Circumstances) { c.Drive = nil }, nil},
		"signed tomorrow, without a drive": {func(f *Registration) { f.SignedOn = today.AddDays(1) }, func(c *Circumstances) { c.Drive = nil }, []string{"R113 signed_on"}},
		"signed before the wording":        {func(f *Registration) { f.SignedOn = calendar.Must(2023, 12, 31) }, func(c *Circumstances) { c.Drive = nil }, []string{"R112 form_version"}},
		"signed before every rule":         {func(f *Registration) { f.SignedOn = calendar.Must(1999, 1, 1) }, func(c *Circumstances) { c.Drive = nil }, []string{"R112 form_version"}},
		"a wording not in use yet":         {func(f *Registration) { f.SignedOn = calendar.Must(1999, 1, 1); f.FormVersion = "HSC-2024" }, func(c *Circumstances) { c.Drive = nil }, []string{"R112 form_version"}},
		"an unknown wording":               {func(f *Registration) { f.FormVersion = "XYZ" }, nil, []string{"R112 form_version"}},
		"a wording of another programme":   {func(f *Registration) { f.FormVersion = "BLD-2024" }, nil, []string{"R112 form_version"}},
		"a wording in small letters":       {func(f *Registration) { f.FormVersion = " hsc-2024 " }, nil, nil},
		"a wording of one of two":          {func(f *Registration) { f.FormVersion = "HSC-2024"; f.Programmes = append(f.Programmes, rules.Blood) }, nil, nil},
		"seventeen":                        {func(f *Registration) { f.DocumentNumber = born(today.AddYears(-18).AddDays(1), "002") }, nil, []string{"R106 birth_date"}},
		"eighteen today":                   {func(f *Registration) { f.DocumentNumber = born(today.AddYears(-18), "002") }, nil, nil},
		"forty-five for a day more":        {func(f *Registration) { f.DocumentNumber = born(today.AddYears(-46).AddDays(1), "002") }, nil, nil},
		"forty-six":                        {func(f *Registration) { f.DocumentNumber = born(today.AddYears(-46), "002") }, nil, []string{"R106 birth_date"}},
		"forty-six, for both": {func(f *Registration) {
			f.DocumentNumber = born(today.AddYears(-46), "002")
			f.Programmes = append(f.Programmes, rules.Blood)
		}, nil, []string{"R106 birth_date"}},
		"ninety, for the body": {func(f *Registration) {
			f.DocumentNumber = born(today.AddYears(-90), "002")
			f.Programmes, f.Barcode = []rules.Programme{rules.Body}, ""
		}, nil, nil},
		"seventeen, for the body": {func(f *Registration) {
			f.DocumentNumber = born(today.AddYears(-17), "002")
			f.Programmes, f.Barcode = []rules.Programme{rules.Body}, ""
		}, nil, []string{"R134 birth_date"}},
		"not born yet":                  {func(f *Registration) { f.DocumentNumber = born(today.AddDays(1), "002") }, nil, []string{"R106 birth_date"}},
		"a barcode out of the range":    {func(f *Registration) { f.Barcode = "NJ26001000" }, nil, []string{"R107 barcode"}},
		"a barcode below the range":     {func(f *Registration) { f.Barcode = "NJ26000000" }, nil, []string{"R107 barcode"}},
		"a barcode of another length":   {func(f *Registration) { f.Barcode = "NJ2600001" }, nil, []string{"R107 barcode"}},
		"a barcode that is none":        {func(f *Registration) { f.Barcode = "?" }, nil, []string{"R107 barcode"}},
		"any barcode outside a drive":   {func(f *Registration) { f.Barcode = "X-000001" }, func(c *Circumstances) { c.Drive = nil }, nil},
		"any barcode without a range":   {func(f *Registration) { f.Barcode = "X-000001" }, func(c *Circumstances) { c.Drive.BarcodeFrom = "" }, nil},
		"a barcode in small letters":    {func(f *Registration) { f.Barcode = " nj26000001 " }, nil, nil},
		"a barcode for nothing":         {func(f *Registration) { f.Programmes = []rules.Programme{rules.Blood} }, nil, []string{"R135 barcode"}},
		"drawn before signing":          {func(f *Registration) { f.DrawnOn = today.AddDays(-1) }, nil, []string{"R127 drawn_on"}},
		"drawn tomorrow":                {func(f *Registration) { f.DrawnOn = today.AddDays(1) }, nil, []string{"R127 drawn_on"}},
		"drawn later than signed":       {func(f *Registration) { f.SignedOn = today.AddDays(-1); f.DrawnOn = today }, nil, nil},
		"seven tubes":                   {func(f *Registration) { f.Tubes = 7 }, nil, []string{"R119 tubes"}},
		"too much blood":                {func(f *Registration) { f.Millilitres = 20.5 }, nil, []string{"R119 millilitres"}},
		"a long address":                {func(f *Registration) { f.Address = seal.AddressOf(strings.Repeat("路", 201)) }, nil, []string{"R120 address"}},
		"an address as long as allowed": {func(f *Registration) { f.Address = seal.AddressOf(strings.Repeat("路", 200)) }, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, in := volunteer(), circumstances()
			if c.change != nil {
				c.change(f)
			}
			if c.in != nil {
				c.in(&in)
			}
			problems := f.Review(in)
			require.Equal(t, c.want, said(problems))
			require.NotContains(t, fmt.Sprint(problems), "王")
		})
	}
}

func TestAProblemNamesItsLimits(t *testing.T) {
	t.Parallel()
	of := func(change func(*Registration), drive bool) map[string]any {
		f, in := volunteer(), circumstances()
		if !drive {
			in.Drive = nil
		}
		change(f)
		problems := f.Review(in)
		require.Len(t, problems, 1)
		return problems[0].Args
	}
	require.Equal(t, map[string]any{"Age": 17, "Min": 18, "Max": 45}, of(func(f *Registration) { f.DocumentNumber = born(today.AddYears(-17), "002") }, true))
	require.Equal(t, map[string]any{"Age": 17, "Min": 18, "Max": 0}, of(func(f *Registration) {
		f.DocumentNumber, f.Programmes, f.Barcode = born(today.AddYears(-17), "002"), []rules.Programme{rules.Body}, ""
	}, true))
	require.Equal(t, map[string]any{"First": "2026-11-19", "Last": "2026-11-21"}, of(func(f *Registration) { f.SignedOn = today.AddDays(1) }, true))
	require.Equal(t, map[string]any{"First": "", "Last": "2026-11-21"}, of(func(f *Registration) { f.SignedOn = today.AddDays(1) }, false))
	require.Equal(t, map[string]any{"Needed": 2, "Given": 1}, of(func(f *Registration) { f.Contacts = f.Contacts[:1] }, true))
	require.Equal(t, map[string]any{"From": "NJ26000001", "To": "NJ26000999"}, of(func(f *Registration) { f.Barcode = "NJ26001000" }, true))
}

func TestAReviewedFormIsCanonical(t *testing.T) {
	t.Parallel()
	f := volunteer()
	f.Name, f.Ethnicity, f.Barcode = seal.NameOf(" 王 例 安 "), "汉", "nj26000001"
	require.Empty(t, f.Review(circumstances()))
	require.Equal(t, "王例安", f.Name.Reveal())
	require.Equal(t, identity.ResidentID, f.DocumentKind)
	require.Equal(t, identity.Female, f.Sex)
	require.Equal(t, calendar.Must(1998, 12, 31), f.BirthDate)
	require.Equal(t, "01", f.Ethnicity)
	require.Equal(t, "+8613800138000", f.Phone.Reveal())
	require.Equal(t, "+861062781234", f.Contacts[1].Phone.Reveal())
	require.Equal(t, identity.Region("320106"), f.Region)
	require.Equal(t, rules.Wish, f.Intent)
	require.Equal(t, "NJ26000001", f.Barcode)
	require.Equal(t, today, f.DrawnOn)
	require.Equal(t, 1, f.Tubes)
	key := f.Key()
	require.Empty(t, f.Review(circumstances()), "a canonical form stays as it is")
	require.Equal(t, key, f.Key())

	other := volunteer()
	other.Region, other.Programmes, other.Barcode = "110105", []rules.Programme{rules.Cornea}, ""
	require.Empty(t, other.Review(circumstances()))
	require.Equal(t, identity.Region("110105"), other.Region)
	require.True(t, other.DrawnOn.IsZero())
	require.Zero(t, other.Tubes)
}

func TestTheKeyTellsFormsApart(t *testing.T) {
	t.Parallel()
	key := func(change func(*Registration)) string {
		f := volunteer()
		change(f)
		_ = f.Review(circumstances())
		return f.Key()
	}
	same := key(func(*Registration) {})
	require.Equal(t, same, key(func(f *Registration) { f.Phone = seal.PhoneOf("+86 138-0013-8000") }))
	for name, change := range map[string]func(*Registration){
		"name": func(f *Registration) { f.Name = seal.NameOf("王样安") }, "phone": func(f *Registration) { f.Phone = seal.PhoneOf("13800138009") },
		"programme": func(f *Registration) { f.Programmes = append(f.Programmes, rules.Blood) }, "organs": func(f *Registration) { f.Organs = []string{"all"} },
		"contact": func(f *Registration) { f.Contacts[0].Name = seal.NameOf("王样") }, "barcode": func(f *Registration) { f.Barcode = "NJ26000002" },
		"signed on": func(f *Registration) { f.SignedOn = today.AddDays(-1) },
	} {
		require.NotEqual(t, same, key(change), name)
	}
}

func TestTheWordingIsTheOneNamedElseTheOneInUse(t *testing.T) {
	t.Parallel()
	f := volunteer()
	w, ok := f.Wording(rules.StemCell)
	require.True(t, ok)
	require.Equal(t, "HSC-2024", w.Version)
	f.FormVersion = "ORG-2024"
	w, ok = f.Wording(rules.Organ)
	require.True(t, ok)
	require.Equal(t, "ORG-2024", w.Version)
	w, ok = f.Wording(rules.StemCell)
	require.True(t, ok)
	require.Equal(t, "HSC-2024", w.Version, "a version of another kind says nothing")
	f.Intent = rules.Refusal
	w, ok = f.Wording(rules.Organ)
	require.True(t, ok)
	require.Equal(t, "REF-2024", w.Version)
	f.SignedOn = calendar.Must(2024, 4, 30)
	_, ok = f.Wording(rules.Organ)
	require.False(t, ok)
}
