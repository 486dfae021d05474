package exchange_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/exchange"
	"github.com/liferelay/liferelay/registry/hla"
)

// all reads a file: the donors, the records that are left out, and what ended it.
func all(format exchange.Format, text string) (donors []exchange.Donor, left []*exchange.RecordError, end error) {
	for d, err := range exchange.NewReader(format, strings.NewReader(text)).Donors() {
		var wrong *exchange.RecordError
		switch {
		case err == nil:
			donors = append(donors, d)
		case errors.As(err, &wrong):
			left = append(left, wrong)
		default:
			return donors, left, err
		}
	}
	return donors, left, nil
}

func number(n int) *int { return &n }

const inventory = `<?xml version="1.0" encoding="UTF-8"?>
<INVENTORIES CREATION_TIME="2026-01-02T03:04:05Z">
 <INVENTORY LISTING_ORGANIZATION="2197" POOL="2197" CONTENT_TYPE="D" UPDATE_MODE="FULL" SNAPSHOT_TIME="2026-01-02T03:04:05Z" SCHEMA_VERSION="2.2">
  <DONOR>
   <ID>CN1</ID><GRID>219700000000000A123</GRID><ATTR>x</ATTR><BIRTH_DATE>1990-02-28</BIRTH_DATE><SEX>F</SEX><ABO>AB</ABO><RHESUS>N</RHESUS><ETHN>ASOC</ETHN>
   <HLA>
    <A><SER><FIELD1>2</FIELD1><FIELD2>11</FIELD2></SER><DNA><FIELD1>02:01</FIELD1><FIELD2>11:AB</FIELD2></DNA></A>
    <B><SER><FIELD1>46</FIELD1></SER></B>
    <DRB1><DNA><FIELD1>HLA-DRB1*09:01</FIELD1><FIELD2>*15:01/02</FIELD2></DNA></DRB1>
    <DRB3/><DRB4><DNA><FIELD1>01:03</FIELD1></DNA></DRB4>
    <DPB1><DNA><FIELD1>UUUU</FIELD1><FIELD2>UUUU</FIELD2></DNA></DPB1>
    <MICA><DNA><FIELD1>001</FIELD1></DNA></MICA>
   </HLA>
   <KIR><KIR2DL1>POS</KIR2DL1></KIR>
   <IDM><CMV>G</CMV><CMV_DATE>2020-01-01</CMV_DATE><TOXO>N</TOXO></IDM>
   <STATUS>TU</STATUS><STAT_END_DATE>2026-06-01</STAT_END_DATE><STAT_REASON>MR</STAT_REASON><CONTACT_DATE>2025-12-31</CONTACT_DATE>
   <WEIGHT>60</WEIGHT><HEIGHT>165</HEIGHT><NMBR_TRANS>0</NMBR_TRANS><NMBR_PREG>2</NMBR_PREG>
  </DONOR>
  <DONOR><ID>CN2</ID><SEX>female</SEX><HLA><A><DNA><FIELD1>01:01</FIELD1></DNA></A></HLA></DONOR>
  <DONOR><ID>CN1</ID></DONOR>
  <DONOR><SEX>F</SEX></DONOR>
  <DONOR><ID>CN3</ID><HLA><A><DNA><FIELD1>one+two</FIELD1></DNA></A></HLA></DONOR>
  <DONOR><GRID>219700000000000A456</GRID></DONOR>
 </INVENTORY>
 <INVENTORY LISTING_ORGANIZATION="2197" POOL="3333" CONTENT_TYPE="C" UPDATE_MODE="DIFF" SCHEMA_VERSION="2.2"><CBU><ID>CN1</ID><STATUS>DE</STATUS></CBU></INVENTORY>
</INVENTORIES>`

func TestAnInventoryOfTheWMDAIsRead(t *testing.T) {
	r := exchange.NewReader(exchange.WMDA, strings.NewReader(inventory))
	var donors []exchange.Donor
	var headers []exchange.Header
	var left []string
	for d, err := range r.Donors() {
		if err != nil {
			left = append(left, err.Error())
			continue
		}
		donors, headers = append(donors, d), append(headers, r.Header())
	}
	require.Equal(t, []exchange.Donor{
		{ID: "CN1", Pool: "2197", GRID: "219700000000000A123", Type: exchange.Adult, Status: exchange.Unavailable, StatusReason: "MR", StatusEnd: "2026-06-01",
			Birth: "1990-02-28", Sex: "F", ABO: "AB", Rhesus: "N", CMV: "G", CMVDate: "2020-01-01", Ethnicity: "ASOC", Weight: number(60), Height: number(165),
			Transfusions: number(0), Pregnancies: number(2), Contact: "2025-12-31",
			Typing: "A*02:01+A*11:AB^B46+B46^DRB1*09:01+DRB1*15:01/02^DRB4*01:03"},
		{ID: "219700000000000A456", GRID: "219700000000000A456", Pool: "2197", Type: exchange.Adult},
		{ID: "CN1", Pool: "3333", Type: exchange.Cord, Status: exchange.Deleted, Change: exchange.Delete},
	}, donors)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	require.Equal(t, exchange.Header{Mode: exchange.Full, Listing: "2197", Pool: "2197", Type: "D", Snapshot: at, Version: "2.2"}, headers[0])
	require.Equal(t, exchange.Header{Mode: exchange.Diff, Listing: "2197", Pool: "3333", Type: "C", Version: "2.2"}, headers[2])
	require.Equal(t, []string{
		"exchange: donor 2, SEX: must be F or M", "exchange: donor 3, ID: stands in the file before; the first counts",
		"exchange: donor 4, ID: a donor must have an id", "exchange: donor 5, A/DNA: must be a name such as 01:01, 01:XX or 01:AB, without its locus",
	}, left)
	require.Equal(t, map[string]int{"ATTR": 1, "HLA/MICA": 1, "KIR": 1, "IDM/TOXO": 1}, r.Ignored())
}

func TestADonorFileOfAtlasIsRead(t *testing.T) {
	text := `{"updateMode":"diff","sent":{"by":["x"]},"donors":[
 {"recordId":"CN1","changeType":"NU","donorType":"D","donPool":"2197","ethn":null,"hla":{"a":{"dna":{"field1":"*02:01","field2":null},"ser":{"field1":"2","field2":null}},
  "b":{"dna":{"field1":null},"ser":{"field1":"46","field2":"58"}},"drb1":{"dna":{"field1":"09:01","field2":"15:XX"},"ser":{"field1":null}},"mica":{}},"more":1},
 {"recordId":7,"changeType":"D","donorType":"C","donPool":2197,"ethn":"ASOC","hla":{}},
 {"recordId":"CN2","changeType":"Z","donorType":"D","hla":{}},
 {"recordId":"CN3","donorType":"D","hla":{}},
 17, {"recordId":"CN4","changeType":"N","donorType":"D","hla":[]}, {"recordId":"CN5","changeType":"N","donorType":"D","hla":{"a":{"dna":"01:01"}}},
 {"recordId":"CN6","changeType":"N","donorType":"B","hla":{}}
]}`
	donors, left, end := all(exchange.Atlas, text)
	require.NoError(t, end)
	require.Equal(t, []exchange.Donor{
		{ID: "CN1", Pool: "2197", Type: exchange.Adult, Change: exchange.Upsert, Typing: "A*02:01+A*02:01^B46+B58^DRB1*09:01+DRB1*15:XX"},
		{ID: "7", Pool: "2197", Type: exchange.Cord, Change: exchange.Delete, Ethnicity: "ASOC"},
		{ID: "CN6", Type: exchange.Banked, Change: exchange.New},
	}, donors)
	var what []string
	for _, l := range left {
		what = append(what, fmt.Sprintf("%d %s %s %s", l.Record, l.ID, l.Field, l.Rule))
	}
	require.Equal(t, []string{"3 CN2 changeType form", "4 CN3 changeType missing", "5  donors record", "6 CN4 hla record", "7 CN5 hla/a/dna form"}, what)
	r := exchange.NewReader(exchange.Atlas, strings.NewReader(text))
	n := 0
	r.Donors()(func(exchange.Donor, error) bool { n++; return true })
	require.Equal(t, 8, n)
	require.Equal(t, exchange.Header{Mode: exchange.Diff}, r.Header())
	require.Equal(t, map[string]int{"sent": 1, "more": 1, "hla/mica": 1}, r.Ignored())
}

func TestThePeopleOfMV4AreRead(t *testing.T) {
	donors, left, end := all(exchange.MV4, "\ufeffDONOR_ID,A1,A2,B1,B2,C1,C2,DRB11,DRB12,DQB11,DQB12,DONOR_TYPE,HF_SET,NOTE\n"+
		"D1,01:01,02:AB,7,8,,,15,17,,,D,CN,x\nD2,01:01,2,7,8,,,15,17,,,D,CN,x\nD3,01:01\nD4,\"a\"b,,,,,,,,,,D,CN,x\nD5,01:01,,,,,,,,,,X,CN,x\nD6,,,,,,,,,,,C,CN,x\n")
	require.NoError(t, end)
	require.Equal(t, []exchange.Donor{
		{ID: "D1", Type: exchange.Adult, FrequencySet: "CN", Typing: "A*01:01+A*02:AB^B7+B8^DR15+DR17"},
		{ID: "D6", Type: exchange.Cord, FrequencySet: "CN"},
	}, donors)
	require.Len(t, left, 4)
	patients, _, end := all(exchange.MV4, "PATIENT_ID,A1,A2,B1,B2,C1,C2,HF_SET\nP1,A*01:01,HLA-A*02:01,B7,B8,Cw7,7,CN\n")
	require.NoError(t, end)
	require.Equal(t, "A*01:01+A*02:01^Cw7+Cw7^B7+B8", patients[0].Typing)
}

func TestGLStringsAreReadAsTheyStand(t *testing.T) {
	donors, left, end := all(exchange.GL, "P1%A*01:01+A*02:AB\n\nnobody\nP1%A*01:01+A*01:01\nP 2%A*01:01\nP3%A*01:01+ A*01:01\nP4%A*01:01+A*02:01|A*03:01+A*11:01\n")
	require.NoError(t, end)
	require.Equal(t, []exchange.Donor{{ID: "P1", Type: "D", Typing: "A*01:01+A*02:AB"}, {ID: "P4", Type: "D", Typing: "A*01:01+A*02:01|A*03:01+A*11:01"}}, donors)
	require.Len(t, left, 4)
}

func TestATypingIsNeverInTheTextOfAnError(t *testing.T) {
	for format, text := range map[exchange.Format]string{
		exchange.WMDA:  `<INVENTORY><DONOR><ID>D1</ID><HLA><A><DNA><FIELD1>66:66+6</FIELD1></DNA></A></HLA></DONOR></INVENTORY>`,
		exchange.Atlas: `{"updateMode":"full","donors":[{"recordId":"D1","donorType":"D","hla":{"a":{"dna":{"field1":"66:66+6"}}}}]}`,
		exchange.MV4:   "DONOR_ID,A1,A2,B1,B2,C1,C2\nD1,66:66+6,,,,,\n",
		exchange.GL:    "D1%A*66:66+A*66:66+ 6\n",
	} {
		_, left, end := all(format, text)
		require.NoError(t, end)
		require.Len(t, left, 1)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", left[0], left[0], left[0], left[0].Text), "66")
		require.Contains(t, left[0].Read, "66")
	}
}

func TestABrokenFileEndsAndSaysWhere(t *testing.T) {
	good := `<DONOR><ID>D1</ID></DONOR>`
	for _, c := range []struct {
		format exchange.Format
		text   string
		donors int
		line   int
		says   string
	}{
		{exchange.WMDA, "", 0, 1, "no element"},
		{exchange.WMDA, "<HTML/>", 0, 1, "not an inventory"},
		{exchange.WMDA, "<INVENTORY>\n" + good + "\n<DONOR></CBU>", 1, 3, "well-formed"},
		{exchange.WMDA, "<INVENTORY>" + good, 1, 1, "well-formed"},
		{exchange.WMDA, `<INVENTORY POOL="x">` + good, 0, 1, "POOL"},
		{exchange.WMDA, "<INVENTORY>" + good + "<DONOR>" + strings.Repeat("<A>", 200), 1, 1, "within each other"},
		{exchange.WMDA, "<INVENTORY>" + good + strings.Repeat("<A>", 200), 1, 1, "within each other"},
		{exchange.WMDA, "<INVENTORY>" + good + "<DONOR><ID>" + strings.Repeat("x", 3<<20), 1, 1, "longer"},
		{exchange.WMDA, "<INVENTORY>" + good + "<DONOR>" + strings.Repeat("<ID>x</ID>", 300_000), 1, 1, "longer"},
		{exchange.Atlas, "", 0, 1, "well-formed"},
		{exchange.Atlas, "[]", 0, 1, "not a donor file"},
		{exchange.Atlas, `{"updateMode":"often"}`, 0, 1, "full, diff or check"},
		{exchange.Atlas, "{\"donors\":[\n{\"recordId\":\"D1\",\"donorType\":\"D\"},\nx", 1, 3, "well-formed"},
		{exchange.Atlas, `{"donors":[{"recordId":"D1","donorType":"D"},{"x":"` + strings.Repeat("x", 3<<20), 1, 1, "longer"},
		{exchange.Atlas, `{"donors":[{"recordId":"D1","donorType":"D"},` + strings.Repeat("[", 3<<20), 1, 1, "J"},
		{exchange.MV4, "", 0, 1, "empty"},
		{exchange.MV4, "ID,A1\n", 0, 1, "columns"},
		{exchange.MV4, "DONOR_ID,A1,A2,B1,B2,C1,C2\nD1,,,,,,\n\"" + strings.Repeat("x\n", 3<<19), 1, 0, "longer"},
		{exchange.GL, "D1%\n" + strings.Repeat("x", 3<<20), 1, 2, "longer"},
		{"word", "", 0, 1, "no format"},
	} {
		donors, _, end := all(c.format, c.text)
		var broken *exchange.FileError
		require.ErrorAs(t, end, &broken, "%s %.60s", c.format, c.text)
		require.Contains(t, broken.Error(), c.says)
		require.Len(t, donors, c.donors, "%.60s", c.text)
		if c.line > 0 {
			require.Equal(t, c.line, broken.Line, "%.60s", c.text)
		}
	}
	_, _, end := all(exchange.WMDA, "<INVENTORY><DONOR><ID>&secret;</ID></DONOR></INVENTORY>")
	require.NotContains(t, end.Error(), "secret")
}

func TestAFieldThatIsTooLongLosesItsDonorOnly(t *testing.T) {
	long := strings.Repeat("1", 70_000)
	for format, text := range map[exchange.Format]string{
		exchange.WMDA:  `<INVENTORY><DONOR><ID>D1</ID><HLA><A><DNA><FIELD1>` + long + `</FIELD1></DNA></A></HLA></DONOR><DONOR><ID>D2</ID></DONOR></INVENTORY>`,
		exchange.Atlas: `{"donors":[{"recordId":"D1","donorType":"D","hla":{"a":{"dna":{"field1":"` + long + `"}}}},{"recordId":"D2","donorType":"D"}]}`,
		exchange.MV4:   "DONOR_ID,A1,A2,B1,B2,C1,C2\nD1," + long + ",,,,,\nD2,,,,,,\n",
	} {
		donors, left, end := all(format, text)
		require.NoError(t, end)
		require.Len(t, donors, 1, format)
		require.Len(t, left, 1, format)
		require.Equal(t, exchange.RuleLong, left[0].Rule, format)
	}
}

// endless is an inventory of many donors that is nowhere as a whole.
type endless struct {
	donors, written int
	rest            []byte
}

func (e *endless) Read(p []byte) (int, error) {
	for len(e.rest) == 0 {
		switch {
		case e.written == 0:
			e.rest = []byte("<INVENTORIES><INVENTORY>")
		case e.written <= e.donors:
			e.rest = fmt.Appendf(nil, "<DONOR><ID>D%d</ID><HLA><A><DNA><FIELD1>01:01</FIELD1><FIELD2>02:01</FIELD2></DNA></A></HLA><KIR><X%d/></KIR><Y%d/></DONOR>", e.written, e.written, e.written)
		case e.written == e.donors+1:
			e.rest = []byte("</INVENTORY></INVENTORIES>")
		default:
			return 0, io.EOF
		}
		e.written++
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func TestAFileOfManyDonorsIsReadInLittleMemory(t *testing.T) {
	const donors = 100_000
	r := exchange.NewReader(exchange.WMDA, &endless{donors: donors})
	n := 0
	for _, err := range r.Donors() {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, donors, n)
	require.Less(t, len(r.Ignored()), 300)
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	require.Less(t, after.HeapAlloc, uint64(30<<20))
	runtime.KeepAlive(r)
}

// drawDonor makes somebody up, with what every format has a field for or not.
func drawDonor(t *rapid.T, n int) exchange.Donor {
	day := rapid.Custom(func(t *rapid.T) string {
		return time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, rapid.IntRange(0, 30_000).Draw(t, "day")).Format(time.DateOnly)
	})
	maybe := func(name string, some *rapid.Generator[string]) string {
		return rapid.OneOf(rapid.Just(""), some).Draw(t, name)
	}
	one := func(name string, of ...string) string { return rapid.SampledFrom(append(of, "")).Draw(t, name) }
	digit := func(name string, most int) *int {
		if rapid.Bool().Draw(t, name+" is known") {
			return number(rapid.IntRange(0, most).Draw(t, name))
		}
		return nil
	}
	return exchange.Donor{
		ID: fmt.Sprintf("%s-%d", rapid.StringMatching(`[!$&-+\--;=?-~]{1,20}`).Draw(t, "id"), n), Pool: maybe("pool", rapid.StringMatching(`[1-9]\d{3}`)),
		GRID: maybe("grid", rapid.Just(fmt.Sprintf("2197%013d00", n))), Type: exchange.Type(rapid.SampledFrom([]string{"D", "C"}).Draw(t, "type")),
		Status: exchange.Status(one("status", "AV", "TU", "RS", "OP", "DE")), StatusReason: one("reason", "DO", "MR", "UK"), StatusEnd: maybe("end", day),
		Birth: maybe("birth", day), Sex: one("sex", "F", "M"), ABO: one("ABO", "A", "B", "AB", "O"), Rhesus: one("rhesus", "P", "N"), CMV: one("CMV", "G", "N"), CMVDate: maybe("CMV day", day),
		Ethnicity: one("ethnicity", "ASOC", "CAEU", "UK"), Weight: digit("weight", 999), Height: digit("height", 999), Transfusions: digit("transfusions", 9), Pregnancies: digit("pregnancies", 9),
		Contact: maybe("contact", day), Checkup: maybe("checkup", day), Typing: drawTyping(t), FrequencySet: one("set", "CN-North", "1"),
		Change: exchange.Change(rapid.SampledFrom([]string{"N", "U", "NU", "D"}).Draw(t, "change")),
	}
}

func drawTyping(t *rapid.T) string {
	var parts []string
	for _, locus := range hla.Loci() {
		name := rapid.Custom(func(t *rapid.T) string {
			var list []string
			for range rapid.IntRange(1, 3).Draw(t, "alternatives") {
				list = append(list, string(locus)+"*"+rapid.StringMatching(`\d{2}:(\d{2,3}[NL]?|XX|[A-Z]{2,4}|\d\d:\d\dG)`).Draw(t, "name"))
			}
			return strings.Join(list, "/")
		})
		letters := map[hla.Locus]string{hla.A: "A", hla.B: "B", hla.C: "Cw", hla.DRB1: "DR", hla.DQB1: "DQ"}[locus]
		switch rapid.IntRange(0, 3).Draw(t, string(locus)) {
		case 0:
		case 1:
			if letters != "" {
				antigen := rapid.StringMatching(`[1-9]\d?`)
				parts = append(parts, letters+antigen.Draw(t, "antigen")+"+"+letters+antigen.Draw(t, "antigen"))
			}
		case 2:
			if locus == hla.DRB3 || locus == hla.DRB4 || locus == hla.DRB5 {
				parts = append(parts, name.Draw(t, "single"))
			}
		default:
			parts = append(parts, name.Draw(t, "first")+"+"+name.Draw(t, "second"))
		}
	}
	return strings.Join(parts, "^")
}

// shortened is a GL string as the formats of two fields give it back: a list has its locus once.
func shortened(typing string, only ...hla.Locus) string {
	var parts []string
	for part := range strings.SplitSeq(typing, "^") {
		gene, _, star := strings.Cut(part, "*")
		if star {
			part = strings.ReplaceAll(part, "/"+gene+"*", "/")
		}
		locus := hla.Locus(gene)
		if !star {
			locus = map[byte]hla.Locus{'A': hla.A, 'B': hla.B, 'C': hla.C}[(part + " ")[0]]
			if strings.HasPrefix(part, "DR") {
				locus = hla.DRB1
			} else if strings.HasPrefix(part, "DQ") {
				locus = hla.DQB1
			}
		}
		for _, l := range only {
			if l == locus {
				parts = append(parts, part)
			}
		}
	}
	return strings.Join(parts, "^")
}

// kept is what a format keeps of a donor.
var kept = map[exchange.Format]func(exchange.Donor, exchange.Mode) exchange.Donor{
	exchange.WMDA: func(d exchange.Donor, mode exchange.Mode) exchange.Donor {
		d.FrequencySet, d.Typing = "", shortened(d.Typing, hla.Loci()...)
		if mode == exchange.Full {
			d.Change = ""
		} else if d.Change == exchange.Delete || d.Status == exchange.Deleted {
			d.Change, d.Status = exchange.Delete, exchange.Deleted
		} else {
			d.Change = exchange.Upsert
		}
		return d
	},
	exchange.Atlas: func(d exchange.Donor, _ exchange.Mode) exchange.Donor {
		return exchange.Donor{ID: d.ID, Pool: d.Pool, Type: d.Type, Change: d.Change, Ethnicity: d.Ethnicity, Typing: shortened(d.Typing, hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1, hla.DPB1)}
	},
	exchange.MV4: func(d exchange.Donor, _ exchange.Mode) exchange.Donor {
		return exchange.Donor{ID: d.ID, Type: d.Type, FrequencySet: d.FrequencySet, Typing: shortened(d.Typing, hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1)}
	},
	exchange.GL: func(d exchange.Donor, _ exchange.Mode) exchange.Donor {
		return exchange.Donor{ID: d.ID, Type: exchange.Adult, Typing: d.Typing}
	},
}

func TestWhatIsWrittenIsReadBackAsFarAsTheFormatHasIt(t *testing.T) {
	for format, keep := range kept {
		t.Run(string(format), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				mode := rapid.SampledFrom([]exchange.Mode{exchange.Full, exchange.Diff}).Draw(t, "mode")
				header := exchange.Header{Mode: mode, Listing: "2197", Snapshot: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
				var file bytes.Buffer
				w, err := exchange.NewWriter(format, &file, header)
				require.NoError(t, err)
				var want []exchange.Donor
				for n := range rapid.IntRange(0, 4).Draw(t, "donors") {
					d := drawDonor(t, n)
					if mode == exchange.Full && d.Change == exchange.Delete {
						d.Change = exchange.New
					}
					require.NoError(t, w.Write(d))
					want = append(want, keep(d, mode))
				}
				require.NoError(t, w.Close())
				donors, left, end := all(format, file.String())
				require.NoError(t, end, file.String())
				require.Empty(t, left)
				require.Equal(t, want, donors, file.String())
			})
		})
	}
}

func TestWhatAFormatHasNoFieldForIsCounted(t *testing.T) {
	d := exchange.Donor{ID: "D1", Type: exchange.Cord, Pool: "2197", Sex: "F", Weight: number(50), Change: exchange.New, FrequencySet: "CN", Typing: "A*01:01+A*02:01^DPB1*04:01+DPB1*04:01^DRB4*01:01"}
	for format, want := range map[exchange.Format]map[string]int{
		exchange.WMDA:  {"HF_SET": 1},
		exchange.Atlas: {"SEX": 1, "WEIGHT": 1, "HF_SET": 1, "HLA/DRB4": 1},
		exchange.MV4:   {"SEX": 1, "WEIGHT": 1, "POOL": 1, "UPDATE_MODE": 1, "HLA/DRB4": 1, "HLA/DPB1": 1},
		exchange.GL:    {"SEX": 1, "WEIGHT": 1, "POOL": 1, "UPDATE_MODE": 1, "HF_SET": 1, "CONTENT_TYPE": 1},
	} {
		w, err := exchange.NewWriter(format, io.Discard, exchange.Header{})
		require.NoError(t, err)
		require.NoError(t, w.Write(d))
		require.NoError(t, w.Close())
		require.Equal(t, want, w.Lost(), format)
	}
}

func TestADonorWhomAFormatCannotHoldIsRefusedAndTheOthersAreWritten(t *testing.T) {
	for _, c := range []struct {
		format exchange.Format
		donor  exchange.Donor
	}{
		{exchange.WMDA, exchange.Donor{ID: "D1", Typing: "A*01:01+A*02:01|A*03:01+A*11:01"}},
		{exchange.WMDA, exchange.Donor{ID: "D1", Typing: "A*01:01+A2"}},
		{exchange.WMDA, exchange.Donor{ID: "D1", Typing: "A*01:01+B*07:02"}},
		{exchange.WMDA, exchange.Donor{ID: "D1", Typing: "A*01:01~B*07:02"}},
		{exchange.WMDA, exchange.Donor{ID: "D1", Type: exchange.Banked}},
		{exchange.WMDA, exchange.Donor{ID: "D1", Pool: "CN"}},
		{exchange.WMDA, exchange.Donor{ID: "D1", Change: exchange.Delete}},
		{exchange.WMDA, exchange.Donor{}},
		{exchange.WMDA, exchange.Donor{ID: "D1", Birth: "1990-02-30"}},
		{exchange.Atlas, exchange.Donor{ID: "D1", Change: "X"}},
		{exchange.Atlas, exchange.Donor{ID: "D1", Typing: "A*01:01+A*01:01+A*01:01"}},
		{exchange.MV4, exchange.Donor{ID: "D,1"}},
		{exchange.MV4, exchange.Donor{ID: "D1", FrequencySet: "a,b"}},
		{exchange.GL, exchange.Donor{ID: "D%1"}},
		{exchange.GL, exchange.Donor{ID: "D1", Typing: "A*01:01\nD2%A*01:01"}},
	} {
		var file bytes.Buffer
		w, err := exchange.NewWriter(c.format, &file, exchange.Header{})
		require.NoError(t, err)
		var refused *exchange.RecordError
		require.ErrorAs(t, w.Write(c.donor), &refused, "%s %+v", c.format, c.donor)
		require.Equal(t, 1, refused.Record)
		require.NoError(t, w.Write(exchange.Donor{ID: "D2"}))
		require.NoError(t, w.Close())
		donors, left, end := all(c.format, file.String())
		require.NoError(t, end)
		require.Empty(t, left)
		require.Len(t, donors, 1)
	}
	_, err := exchange.NewWriter("word", io.Discard, exchange.Header{})
	require.Error(t, err)
	_, err = exchange.NewWriter(exchange.WMDA, io.Discard, exchange.Header{Mode: exchange.Check})
	require.Error(t, err)
}

func TestResultsHaveTheColumnsOfMV4(t *testing.T) {
	var file bytes.Buffer
	w, err := exchange.NewResultWriter(&file)
	require.NoError(t, err)
	require.NoError(t, w.Write(exchange.Result{Patient: "P1", Donor: "D1", Grades: [10]byte{'A', 'P', 'A', 'M', 0, 0, 'L', 'A', 'A', 'A'}, Mismatches: 1, Nine: number(50), Ten: number(0),
		PatientSet: "CN", DonorSet: "CN", PatientExplained: true}))
	require.NoError(t, w.Close())
	require.Equal(t, "PATIENT_ID,DONOR_ID,A1,A2,B1,B2,C1,C2,DRB11,DRB12,DQB11,DQB12,Count_MM,P8_10,P9_10,P10_10,HF_SET_PATIENT,EXPLAINED_PATIENT,HF_SET_DONOR,EXPLAINED_DONOR\n"+
		"P1,D1,A,P,A,M,,,L,A,A,A,1,,50,0,CN,Y,CN,N\n", file.String())
}

// fuzz reads what a stranger sends. Whoever is taken can be written and read again.
func fuzz(f *testing.F, format exchange.Format, seeds ...string) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		donors, left, _ := all(format, text)
		var file bytes.Buffer
		w, err := exchange.NewWriter(exchange.Atlas, &file, exchange.Header{})
		require.NoError(t, err)
		var ids []string
		for _, d := range donors {
			require.NotEmpty(t, d.ID)
			if w.Write(d) == nil && d.Type == exchange.Adult && d.Pool == "" {
				ids = append(ids, d.ID)
			}
		}
		require.NoError(t, w.Close())
		again, refused, end := all(exchange.Atlas, file.String())
		require.NoError(t, end, file.String())
		require.Empty(t, refused)
		require.GreaterOrEqual(t, len(again), len(ids))
		for i, l := range left {
			require.Positive(t, l.Record, i)
			require.NotEmpty(t, l.Text)
		}
	})
}

func FuzzWMDA(f *testing.F) {
	fuzz(f, exchange.WMDA, inventory, "<INVENTORY POOL='2197'><DONOR><ID>D1</ID></DONOR></INVENTORY>", "<INVENTORIES/>", "<!DOCTYPE x [<!ENTITY a 'b'>]><INVENTORY><CBU><ID>&a;</ID></CBU></INVENTORY>")
}

func FuzzAtlas(f *testing.F) {
	fuzz(f, exchange.Atlas, `{"updateMode":"full","donors":[{"recordId":"D1","changeType":"N","donorType":"D","donPool":null,"ethn":"CAEU","hla":{"a":{"dna":{"field1":"01:01","field2":"02:AB"},"ser":{"field1":"1"}}}}]}`, `{"donors":[]}`)
}

func FuzzMV4(f *testing.F) {
	fuzz(f, exchange.MV4, "DONOR_ID,A1,A2,B1,B2,C1,C2,DRB11,DRB12,DQB11,DQB12,DONOR_TYPE,HF_SET\nD1,01:01,02:AB,7,8,,,15,17,,,D,CN\n", "PATIENT_ID,A1,A2,B1,B2,C1,C2\n\"P1\",1,,,,,\n")
}

func FuzzGL(f *testing.F) {
	fuzz(f, exchange.GL, "P1%A*01:01+A*02:01^B7+B8\n", "P1%\nP2%A*01:01/02+A*01:01/A*01:02|A*03:01+A*01:01\n")
}

func TestAFormatIsToldByItsBeginning(t *testing.T) {
	for text, want := range map[string]exchange.Format{
		"\ufeff<?xml version": exchange.WMDA, "\n {\"updateMode": exchange.Atlas, "\ufeffDONOR_ID,A1,": exchange.MV4, "A1,PATIENT_ID\nP1": exchange.MV4,
		"P1%A*01:01+A*01:01\n": exchange.GL, "DONOR_ID1%": exchange.GL, "": exchange.GL,
	} {
		require.Equal(t, want, exchange.Detect([]byte(text)), text)
	}
}

// TestTheDonorsOfTheWMDASetGoThroughEveryFormat reads what laboratories wrote, codes and all, writes it in a format and reads it again.
func TestTheDonorsOfTheWMDASetGoThroughEveryFormat(t *testing.T) {
	folder := os.Getenv("LIFERELAY_DATA")
	if folder == "" {
		folder = filepath.Join("..", "..", "..", "shared", "data")
	}
	text, err := os.ReadFile(filepath.Join(folder, "wmda-set3", "don.txt"))
	if err != nil {
		t.Skip("wmda-set3/don.txt is not there; put the data described in CONTRIBUTING.md into a folder and name it in LIFERELAY_DATA")
	}
	want := regexp.MustCompile(`\^[A-Z0-9]+\*UUUU\+[A-Z0-9]+\*UUUU`).ReplaceAllString(string(text), "")
	for _, format := range []exchange.Format{exchange.WMDA, exchange.Atlas, exchange.MV4} {
		donors, left, end := all(exchange.GL, string(text))
		require.NoError(t, end)
		require.Empty(t, left)
		for _, through := range []exchange.Format{format, exchange.GL} {
			var file bytes.Buffer
			w, err := exchange.NewWriter(through, &file, exchange.Header{})
			require.NoError(t, err)
			for _, d := range donors {
				require.NoError(t, w.Write(d))
			}
			require.NoError(t, w.Close())
			if through == exchange.GL {
				require.Equal(t, want, file.String(), format)
			} else if donors, left, end = all(format, file.String()); true {
				require.NoError(t, end)
				require.Empty(t, left)
			}
		}
	}
}
