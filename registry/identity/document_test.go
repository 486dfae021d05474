package identity

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/calendar"
)

// The examples of GB 11643-1999, and that of the adaptation notes for the permanent residence card of 2023.
const (
	beijingWoman = "11010519491231002X"
	shantouMan   = "440524188001010014"
	foreigner    = "932682198501010017"
)

// reference is the rule as the standard prints it: weights and a table.
func reference(body string) string {
	weights := []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}
	sum := 0
	for i, w := range weights {
		n, _ := strconv.Atoi(body[i : i+1])
		sum += n * w
	}
	return "10X98765432"[sum%11 : sum%11+1]
}

// anyResident draws a valid citizen number, of any region that ever was.
func anyResident() *rapid.Generator[string] {
	var codes []string
	for e := range Entries() {
		switch e.Code {
		case Nation, "810000", "820000":
		default:
			codes = append(codes, string(e.Code))
		}
	}
	return rapid.Custom(func(t *rapid.T) string {
		day := calendar.Must(1900, time.January, 1).AddDays(rapid.IntRange(0, 46000).Draw(t, "birth"))
		body := rapid.SampledFrom(codes).Draw(t, "region") + strings.ReplaceAll(day.String(), "-", "") + rapid.StringMatching(`[0-9]{3}`).Draw(t, "serial")
		return body + reference(body)
	})
}

func reasonOf(t require.TestingT, err error) Reason {
	var bad *DocumentError
	require.ErrorAs(t, err, &bad, "%v", err)
	return bad.Reason
}

func TestDocumentsAreReadAndSayWhatTheyHold(t *testing.T) {
	day := func(s string) calendar.Date {
		d, err := calendar.Parse(s)
		require.NoError(t, err)
		return d
	}
	hk := "81000019900307001"
	tw := "83000019851224002"
	for _, c := range []struct {
		kind   DocumentKind
		raw    string
		shown  DocumentKind
		number string
		birth  string
		sex    Sex
		issued Region
	}{
		{ResidentID, beijingWoman, ResidentID, beijingWoman, "1949-12-31", Female, "110105"},
		{ResidentID, shantouMan, ResidentID, shantouMan, "1880-01-01", Male, "440524"},
		{ResidentID, " 110105 19491231 002x ", ResidentID, beijingWoman, "1949-12-31", Female, "110105"},
		{ResidentID, "１１０１０５１９４９１２３１００２ｘ", ResidentID, beijingWoman, "1949-12-31", Female, "110105"},
		{ResidentID, "\ufeff110105\u00a01949\u200b1231-002–X\t", ResidentID, beijingWoman, "1949-12-31", Female, "110105"},
		{ResidentID, "'11010519491231002X", ResidentID, beijingWoman, "1949-12-31", Female, "110105"},
		{ResidentID, "110105491231002", ResidentID, beijingWoman, "1949-12-31", Female, "110105"}, // fifteen digits
		{HKMacaoResidence, hk + reference(hk), HKMacaoResidence, hk + reference(hk), "1990-03-07", Male, "810000"},
		{ResidentID, hk + reference(hk), HKMacaoResidence, hk + reference(hk), "1990-03-07", Male, "810000"}, // called 身份证 too
		{TaiwanResidence, tw + reference(tw), TaiwanResidence, tw + reference(tw), "1985-12-24", Female, "710000"},
		{ResidentID, tw + reference(tw), TaiwanResidence, tw + reference(tw), "1985-12-24", Female, "710000"},
		{PermanentResidence, foreigner, PermanentResidence, foreigner, "1985-01-01", Male, "320000"},
		{ResidentID, foreigner, PermanentResidence, foreigner, "1985-01-01", Male, "320000"},
		{PermanentResidence, "kaz110090123105", PermanentResidence, "KAZ110090123105", "", "", ""},
		{HKMacaoPass, "h1234567801", HKMacaoPass, "H12345678", "", "", ""},
		{HKMacaoPass, "M12345678", HKMacaoPass, "M12345678", "", "", ""},
		{TaiwanPass, "05616820", TaiwanPass, "05616820", "", "", ""},
		{TaiwanPass, "0561682001", TaiwanPass, "05616820", "", "", ""},
		{TaiwanPass, "0561682001(D)", TaiwanPass, "05616820", "", "", ""},
		{TaiwanPass, "0561682001（D）", TaiwanPass, "05616820", "", "", ""},
		{TaiwanPass, "0561682001B", TaiwanPass, "05616820", "", "", ""},
		{MainlandPass, "C12345678", MainlandPass, "C12345678", "", "", ""},
		{MainlandPass, "ca1234567", MainlandPass, "CA1234567", "", "", ""},
		{Passport, "e 1234 5678", Passport, "E12345678", "", "", ""},
		{Passport, "C01X00T47", Passport, "C01X00T47", "", "", ""},
		{MilitaryID, "军字第 1234567 号", MilitaryID, "军字第1234567号", "", "", ""},
	} {
		d, err := ParseDocument(c.kind, c.raw)
		require.NoError(t, err, "%s %s", c.kind, c.raw)
		require.Equal(t, c.shown, d.Kind(), c.raw)
		require.Equal(t, c.number, d.Reveal())
		birth, ok := d.Birth()
		require.Equal(t, c.birth != "", ok)
		if ok {
			require.Equal(t, day(c.birth), birth)
		}
		sex, ok := d.Sex()
		require.Equal(t, c.sex, sex)
		require.Equal(t, c.sex != "", ok)
		issued, ok := d.Issued()
		require.Equal(t, c.issued, issued)
		require.Equal(t, c.issued != "", ok)
	}
}

func TestAFaultyDocumentIsRefusedWithItsReason(t *testing.T) {
	for _, c := range []struct {
		kind DocumentKind
		raw  string
		want Reason
	}{
		{ResidentID, "", ReasonEmpty},
		{ResidentID, " \u200b\u3000-", ReasonEmpty},
		{ResidentID, "11010519491231002", ReasonLength},
		{ResidentID, "110105194912310021X", ReasonLength},
		{ResidentID, "1101054912310O2", ReasonCharacters},
		{ResidentID, "1101051949123100ZX", ReasonCharacters},
		{ResidentID, "X1010519491231002X", ReasonCharacters},
		{ResidentID, "110105194912310021", ReasonChecksum},
		{ResidentID, "100105194912310021", ReasonRegion},
		{ResidentID, "000000194912310026", ReasonRegion},
		{ResidentID, "110105194913310021", ReasonBirthDate},
		{ResidentID, "110105190002290021", ReasonBirthDate}, // 1900 was no leap year
		{ResidentID, "110105179912310021", ReasonBirthDate},
		{ResidentID, "110105000000000021", ReasonBirthDate},
		{ResidentID, "110105491331002", ReasonBirthDate},
		{ResidentID, strings.Repeat("1", 600), ReasonLength},
		{HKMacaoResidence, beijingWoman, ReasonRegion},
		{HKMacaoResidence, "110105491231002", ReasonLength},
		{TaiwanResidence, foreigner, ReasonRegion},
		{PermanentResidence, beijingWoman, ReasonRegion},
		{PermanentResidence, "999682198501010017", ReasonRegion},
		{PermanentResidence, "110105491231002", ReasonCharacters},
		{HKMacaoPass, "A12345678", ReasonCharacters},
		{HKMacaoPass, "H1234567", ReasonLength},
		{HKMacaoPass, "H123456789", ReasonCharacters},
		{TaiwanPass, "1234567", ReasonLength},
		{TaiwanPass, "13800138000", ReasonCharacters}, // a mobile number in the wrong cell
		{MainlandPass, "D12345678", ReasonCharacters},
		{Passport, "1234", ReasonLength},
		{Passport, "123456789012345678", ReasonLength},
		{Passport, "NONUMBER", ReasonCharacters},
		{Passport, "E1234567号", ReasonCharacters},
		{MilitaryID, "12345", ReasonLength},
		{MilitaryID, "军字第号号号", ReasonCharacters},
		{MilitaryID, "军字第123?号", ReasonCharacters},
		{"", beijingWoman, ReasonUnknownKind},
		{"driving_licence", beijingWoman, ReasonUnknownKind},
	} {
		d, err := ParseDocument(c.kind, c.raw)
		require.Equal(t, c.want, reasonOf(t, err), "%s %q", c.kind, c.raw)
		require.True(t, d.IsZero())
		if len(c.raw) > 4 {
			require.NotContains(t, err.Error(), c.raw)
		}
		require.NotEmpty(t, advice[c.want])
	}
	require.NoError(t, CheckResident(beijingWoman))
	require.NoError(t, CheckResident(shantouMan))
	require.Equal(t, ReasonRegion, reasonOf(t, CheckResident(foreigner)))
	require.Equal(t, ReasonCharacters, reasonOf(t, CheckResident("11010519491231002x")), "normal form only")
	require.Equal(t, ReasonLength, reasonOf(t, CheckResident("110105491231002")))
}

func TestTheKindIsGuessedFromTheNumber(t *testing.T) {
	hk := "81000019900307001"
	for raw, want := range map[string]DocumentKind{
		beijingWoman: ResidentID, "110105491231002": ResidentID, hk + reference(hk): HKMacaoResidence, foreigner: PermanentResidence,
		"KAZ110090123105": PermanentResidence, "H12345678": HKMacaoPass, "m1234567801": HKMacaoPass, "C12345678": MainlandPass, "CB1234567": MainlandPass,
		"05616820": TaiwanPass, "0561682001(D)": TaiwanPass, "E12345678": Passport, "EA1234567": Passport, "123456789": Passport, "军字第1234567号": MilitaryID,
		"99999999": TaiwanPass,
	} {
		d, err := Recognise(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, d.Kind(), raw)
	}
	for raw, want := range map[string]Reason{
		"": ReasonEmpty, "19900307": ReasonUnknownKind, "13800138000": ReasonLength, "11010519491231002": ReasonLength, "1101051949123100X": ReasonLength,
		"110105194912310021": ReasonChecksum, "1101051949123100ZX": ReasonCharacters, "张三": ReasonUnknownKind, "ABCDEF": ReasonUnknownKind, "12": ReasonUnknownKind,
		"1234567": "", "XXXXXXXX": ReasonUnknownKind, strings.Repeat("9", 600): ReasonLength,
	} {
		_, err := Recognise(raw)
		if want == "" {
			require.NoError(t, err, raw)
			continue
		}
		require.Equal(t, want, reasonOf(t, err), raw)
	}
}

func TestEveryValidResidentNumberIsAccepted(t *testing.T) {
	g := anyResident()
	rapid.Check(t, func(t *rapid.T) {
		number := g.Draw(t, "number")
		require.NoError(t, CheckResident(number))
		d, err := ParseDocument(ResidentID, strings.ToLower(number))
		require.NoError(t, err)
		require.Equal(t, number, d.Reveal())
		require.Equal(t, ResidentID, d.Kind())
		if number[6:8] == "19" {
			old, err := ParseDocument(ResidentID, number[:6]+number[8:17])
			require.NoError(t, err)
			require.Equal(t, d, old, "fifteen digits and eighteen are one document")
		}
	})
}

func TestEveryChangeOfOneCharacterIsDetected(t *testing.T) {
	g := anyResident()
	rapid.Check(t, func(t *rapid.T) {
		number := g.Draw(t, "number")
		for i := range 18 {
			for _, c := range "0123456789X" {
				if byte(c) == number[i] {
					continue
				}
				require.Error(t, CheckResident(number[:i]+string(c)+number[i+1:]), "at %d", i)
			}
		}
	})
}

func TestEverySwapOfNeighboursIsDetected(t *testing.T) {
	g := anyResident()
	rapid.Check(t, func(t *rapid.T) {
		number := g.Draw(t, "number")
		for i := range 17 {
			if number[i] == number[i+1] {
				continue
			}
			require.Error(t, CheckResident(number[:i]+number[i+1:i+2]+number[i:i+1]+number[i+2:]), "at %d", i)
		}
	})
}

func TestADocumentNeverPrintsItsNumber(t *testing.T) {
	d, err := ParseDocument(ResidentID, beijingWoman)
	require.NoError(t, err)
	require.Equal(t, "**************002X", d.String())

	type inner struct{ id Document }
	type outer struct {
		hidden  inner
		Shown   Document
		pointer *Document
		list    []Document
		keys    map[Document]Document
		any     any
	}
	whole := outer{inner{d}, d, &d, []Document{d}, map[Document]Document{d: d}, d}
	seen := func(what, text string) {
		for _, part := range []string{"110105", "19491231", beijingWoman[:14]} {
			require.NotContains(t, text, part, what)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%T", "%10.3v", "% x"} {
		for _, value := range []any{d, &d, whole, &whole, []Document{d}, []any{d}, fmt.Errorf("wrapped: %v", d), inner{d}, &inner{d}} {
			seen(verb, fmt.Sprintf(verb, value))
		}
	}
	require.Equal(t, "**************002X", fmt.Sprintf("%#v", d))
	require.Equal(t, "**************002X", fmt.Sprint(d))

	for name, marshal := range map[string]func(any) ([]byte, error){"json": json.Marshal, "xml": xml.Marshal} {
		type card struct {
			ID  Document
			Ptr *Document
		}
		out, err := marshal(card{d, &d})
		require.NoError(t, err, name)
		seen(name, string(out))
		require.Contains(t, string(out), "002X", name)
	}
	out, err := json.Marshal(map[Document]int{d: 1})
	require.NoError(t, err)
	seen("json key", string(out))

	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("read", "document", d, "whole", whole, "inner", inner{d})
	}
	seen("slog", log.String())
	require.Contains(t, log.String(), "002X")
}

func TestShortNumbersShowNoMoreThanHalf(t *testing.T) {
	for raw, want := range map[string]string{"军12345": "***345", "12A45": "***45", "A12345678901": "********8901"} {
		d, err := ParseDocument(MilitaryID, raw)
		if err != nil {
			d, err = ParseDocument(Passport, raw)
		}
		require.NoError(t, err)
		require.Equal(t, want, d.String())
	}
	require.Equal(t, "", Document{}.String())
	require.Equal(t, "", Document{}.Reveal())
	require.True(t, Document{}.IsZero())
	_, ok := Document{}.Birth()
	require.False(t, ok)
}

func TestADocumentGoesIntoNoColumnAndComesFromNoText(t *testing.T) {
	d, err := ParseDocument(ResidentID, beijingWoman)
	require.NoError(t, err)
	_, err = d.Value()
	require.Error(t, err)
	for _, oid := range []uint32{pgtype.TextOID, pgtype.VarcharOID, pgtype.JSONBOID, pgtype.ByteaOID} {
		wire, err := pgtype.NewMap().Encode(oid, pgtype.TextFormatCode, d, nil)
		if oid != pgtype.JSONBOID { // jsonb takes anything, masked
			require.Error(t, err, "oid %d", oid)
		}
		require.NotContains(t, string(wire), "110105")
	}
	var form struct{ ID Document }
	require.Error(t, json.Unmarshal([]byte(`{"ID":"**************002X"}`), &form))
	require.Error(t, json.Unmarshal([]byte(`{"ID":"11010519491231002X"}`), &form))
	require.NoError(t, json.Unmarshal([]byte(`{"ID":null}`), &form))
	require.True(t, form.ID.IsZero())
}

func TestDocumentsAreEqualWhenKindAndNumberAre(t *testing.T) {
	a, err := ParseDocument(ResidentID, beijingWoman)
	require.NoError(t, err)
	b, err := Recognise("110105 491231 002")
	require.NoError(t, err)
	c, err := ParseDocument(Passport, "E12345678")
	require.NoError(t, err)
	e, err := ParseDocument(MilitaryID, "E12345678")
	require.NoError(t, err)
	require.True(t, a.Equal(b) && a == b)
	require.False(t, a.Equal(c))
	require.False(t, c.Equal(e), "the kind counts")
	require.True(t, Document{}.Equal(Document{}))
}

func TestErrorsNeverRepeatTheNumber(t *testing.T) {
	g := anyResident()
	kinds := []DocumentKind{ResidentID, HKMacaoResidence, TaiwanResidence, PermanentResidence, HKMacaoPass, TaiwanPass, MainlandPass, Passport, MilitaryID, "x"}
	rapid.Check(t, func(t *rapid.T) {
		number := g.Draw(t, "number")
		at := rapid.IntRange(0, 17).Draw(t, "at")
		spoilt := number[:at] + rapid.StringMatching(`[0-9A-Z]{0,2}`).Draw(t, "typed") + number[at+1:]
		for _, kind := range kinds {
			for _, parse := range []func() (Document, error){
				func() (Document, error) { return ParseDocument(kind, spoilt) },
				func() (Document, error) { return Recognise(spoilt) },
			} {
				if _, err := parse(); err != nil {
					for i := 0; i+6 <= len(spoilt); i++ {
						require.NotContains(t, err.Error(), spoilt[i:i+6])
					}
				}
			}
		}
	})
}

func TestNumbersDamagedBySpreadsheetsAreKnown(t *testing.T) {
	for _, c := range []struct {
		raw     string
		numeric bool
		want    bool
	}{
		{"4.40524E+17", false, true},
		{"4.40524e+17", true, true},
		{"4E17", true, true},
		{"４.40524Ｅ＋17", false, true},
		{"440524188001010000", true, true},
		{"440524188001010000.0", true, true},
		{"440524188001010000", false, false}, // typed as text it may be genuine
		{"440524188001010014", true, false},
		{beijingWoman, true, false},
		{"E12345678", false, false}, // a passport
		{"1E2345678", false, false},
		{"", true, false},
		{strings.Repeat("1", 600), true, false},
	} {
		require.Equal(t, c.want, LooksDamagedBySpreadsheet(c.raw, c.numeric), "%q %v", c.raw, c.numeric)
	}
}

func FuzzParseDocument(f *testing.F) {
	for _, kind := range []DocumentKind{ResidentID, HKMacaoResidence, TaiwanResidence, PermanentResidence, HKMacaoPass, TaiwanPass, MainlandPass, Passport, MilitaryID, ""} {
		for _, seed := range []string{beijingWoman, shantouMan, foreigner, "110105491231002", "H1234567801", "0561682001(D)", "军字第1234567号", "\xff\xfe", "1\u0301234567", "ﬀ123456", ""} {
			f.Add(string(kind), seed)
		}
	}
	f.Fuzz(func(t *testing.T, kind, raw string) {
		for _, parse := range []func(string) (Document, error){
			func(s string) (Document, error) { return ParseDocument(DocumentKind(kind), s) },
			Recognise,
		} {
			d, err := parse(raw)
			if err != nil {
				require.True(t, d.IsZero())
				require.NotEmpty(t, reasonOf(t, err))
				continue
			}
			again, err := ParseDocument(d.Kind(), d.Reveal())
			require.NoError(t, err)
			require.Equal(t, d.Reveal(), again.Reveal(), "the normal form is read as itself")
			require.True(t, d == again)
			require.True(t, d.Kind().Valid())
			_, hasBirth := d.Birth()
			_, hasSex := d.Sex()
			issued, hasRegion := d.Issued()
			require.True(t, hasBirth == hasSex && hasSex == hasRegion)
			require.True(t, !hasRegion || issued.Known())
		}
		LooksDamagedBySpreadsheet(raw, true)
	})
}

func BenchmarkParseDocument(b *testing.B) {
	for name, raw := range map[string]string{"clean": beijingWoman, "spaced": " 110105 19491231 002x", "fullwidth": "１１０１０５１９４９１２３１００２Ｘ", "wrong": "110105194912310021"} {
		b.Run(name, func(b *testing.B) {
			_, _ = ParseDocument(ResidentID, raw)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = ParseDocument(ResidentID, raw)
			}
		})
	}
}
