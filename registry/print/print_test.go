package print

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// extracted is the text of a PDF, and pictures of its pages where LIFERELAY_PICTURES says where to.
func extracted(t *testing.T, name string, pdf []byte) string {
	t.Helper()
	if dir := os.Getenv("LIFERELAY_PICTURES"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".pdf"), pdf, 0o600))
	}
	tool, err := exec.LookPath("pdftotext")
	if err != nil {
		if os.Getenv("LIFERELAY_TEST_REQUIRE") != "" {
			t.Fatal("needs pdftotext (poppler-utils): make test installs it")
		}
		t.Skip("needs pdftotext (poppler-utils): make test installs it")
	}
	c := exec.Command(tool, "-layout", "-", "-")
	c.Stdin = bytes.NewReader(pdf)
	out, err := c.Output()
	require.NoError(t, err)
	return string(out)
}

// widths are the bars and spaces of each symbol of Code 128, as ISO/IEC 15417 lists them; the last is the stop.
const widths = "212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 112232 122132 122231 113222 123122 123221 223211 221132 221231 213212 223112 312131 311222 321122 321221 312212 322112 322211 212123 212321 232121 111323 131123 131321 112313 132113 132311 211313 231113 231311 112133 112331 132131 113123 113321 133121 313121 211331 231131 213113 213311 213131 311123 311321 331121 312113 312311 332111 314111 221411 431111 111224 111422 121124 121421 141122 141221 112214 112412 122114 122411 142112 142211 241211 221114 413111 241112 134111 111242 121142 121241 114212 124112 124211 411212 421112 421211 212141 214121 412121 111143 111341 131141 114113 114311 411113 411311 113141 114131 311141 411131 211412 211214 211232 2331112"

// read is the reference decoder: bars back into text, with the check symbol held against them.
func read(modules []bool) (string, error) {
	var runs []int
	for i := 0; i < len(modules); {
		n := 1
		for i+n < len(modules) && modules[i+n] == modules[i] {
			n++
		}
		runs, i = append(runs, n), i+n
	}
	symbol := map[string]int{}
	for value, w := range strings.Fields(widths) {
		symbol[w] = value
	}
	var values []int
	for i := 0; i < len(runs); {
		n := 6
		if len(runs)-i == 7 {
			n = 7
		}
		key := ""
		for _, r := range runs[i:min(i+n, len(runs))] {
			key += fmt.Sprint(r)
		}
		v, ok := symbol[key]
		if !ok {
			return "", fmt.Errorf("no symbol %s", key)
		}
		values, i = append(values, v), i+n
	}
	if len(values) < 4 || values[len(values)-1] != 106 {
		return "", errors.New("no stop")
	}
	values = values[:len(values)-1]
	sum := values[0]
	for i, v := range values[1 : len(values)-1] {
		sum += (i + 1) * v
	}
	if sum%103 != values[len(values)-1] {
		return "", errors.New("the check symbol is wrong")
	}
	set, out := values[0]-103, ""
	for _, v := range values[1 : len(values)-1] {
		switch {
		case v >= 99 && v <= 101 && !(set == 2 && v == 99):
			if v == 99 {
				set = 2
			} else if v == 100 {
				set = 1
			} else {
				set = 0
			}
		case set == 2:
			out += fmt.Sprintf("%02d", v)
		default:
			out += string(rune(v + 32))
		}
	}
	return out, nil
}

func TestWhatABarCodeSaysIsReadBackByAnotherDecoder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[A-Z0-9][A-Z0-9-]{4,22}[A-Z0-9]`).Draw(t, "barcode")
		bars, err := modulesOf(text)
		require.NoError(t, err)
		back, err := read(bars)
		require.NoError(t, err)
		require.Equal(t, text, back)
	})
	bars, err := modulesOf("TB000001")
	require.NoError(t, err)
	bars[30] = !bars[30]
	_, err = read(bars)
	require.Error(t, err, "the decoder reads anything")
}

// The picture of a printed page is read: quiet zones, bars and all.
func TestALabelOnPaperIsReadFromItsPicture(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("pdftoppm")
	if err != nil {
		if os.Getenv("LIFERELAY_TEST_REQUIRE") != "" {
			t.Fatal("needs pdftoppm (poppler-utils): make test installs it")
		}
		t.Skip("needs pdftoppm (poppler-utils): make test installs it")
	}
	for _, format := range Formats() {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			pdf, err := Labels(format, []Label{{Above: "DR-2026-000001", Barcode: "TB000001"}, {Above: "DR-2026-000001", Barcode: "TB000002"}})
			require.NoError(t, err)
			f := formats[slices.IndexFunc(formats, func(f Format) bool { return f.Name == format })]
			c := exec.Command(tool, "-r", "600", "-singlefile", "-x", dots(f.Left), "-y", dots(f.Top), "-W", dots(f.Wide), "-H", dots(f.High), "-gray", "-png", "-")
			c.Stdin = bytes.NewReader(pdf)
			out, err := c.Output()
			require.NoError(t, err)
			picture, err := png.Decode(bytes.NewReader(out))
			require.NoError(t, err)
			require.Equal(t, "TB000001", scan(t, picture))
		})
	}
	_, err = Labels("a4-65", []Label{{Barcode: "ABCDEFGHIJKLMNOPQRSTUVWX"}})
	require.ErrorIs(t, err, ErrTooNarrow)
}

// dots is a length at 600 dots an inch.
func dots(millimetres float64) string { return strconv.Itoa(int(millimetres / 25.4 * 600)) }

// scan reads the first label of a picture along a line through its middle, as a scanner would.
func scan(t *testing.T, picture image.Image) string {
	t.Helper()
	y := picture.Bounds().Dy() / 2
	var runs []int
	var colours []bool
	for x := range picture.Bounds().Dx() {
		r, _, _, _ := picture.At(x, y).RGBA()
		black := r < 0x8000
		if n := len(runs); n > 0 && colours[n-1] == black {
			runs[n-1]++
		} else {
			runs, colours = append(runs, 1), append(colours, black)
		}
	}
	require.False(t, colours[0])
	require.False(t, colours[len(colours)-1])
	bars := runs[1 : len(runs)-1]
	total := 0
	for _, r := range bars {
		total += r
	}
	truth, err := modulesOf("TB000001")
	require.NoError(t, err)
	module := float64(total) / float64(len(truth))
	require.GreaterOrEqual(t, float64(runs[0])/module, quietModules-0.5, "quiet zone")
	require.GreaterOrEqual(t, float64(runs[len(runs)-1])/module, quietModules-0.5, "quiet zone")
	var modules []bool
	for i, r := range bars {
		for range int(float64(r)/module + 0.5) {
			modules = append(modules, i%2 == 0)
		}
	}
	text, err := read(modules)
	require.NoError(t, err)
	return text
}

func TestACharacterThatTheFontLacksIsAnErrorThatNamesTheFieldAndNotTheText(t *testing.T) {
	t.Parallel()
	require.True(t, Printable("张小明·阿卜杜拉 O'Neill 㛃"))
	for _, text := range []string{"\U0003106C", "張\U00032000", "a\x00"} {
		require.False(t, Printable(text), "%q", text)
		_, err := CertificatePaper(Certificate{Kind: "donation", Number: "CT-2026-000001", Name: "王" + text})
		var lacks *Unprintable
		require.ErrorAs(t, err, &lacks)
		require.Equal(t, "name", lacks.Field)
		require.NotContains(t, err.Error(), "王")
	}
}

func TestACertificateSaysWhoWhatAndHowToCheckItInBothLanguages(t *testing.T) {
	t.Parallel()
	for kind, says := range map[string][]string{"donation": {"造血干细胞捐献证书", "Certificate of Donation"}, "honour": {"荣誉证书", "Certificate of Honour"}, "leave_letter": {"请假", "Leave"}} {
		pdf, err := CertificatePaper(Certificate{
			Kind: kind, Number: "CT-2026-000001", Name: "欧阳娜娜", Nth: 42, Region: "江苏省南京市鼓楼区", Issuer: "鼓楼区红十字会", Day: "2026年11月22日", DayEN: "22 November 2026", Check: "https://register.test/verify/CT-2026-000001-0123456789AB",
		})
		require.NoError(t, err)
		text := extracted(t, "certificate-"+kind, pdf)
		for _, s := range append(says, "欧阳娜娜", "CT-2026-000001", "鼓楼区红十字会", "2026年11月22日", "22 November 2026") {
			require.Contains(t, text, s)
		}
	}
}

func TestAConsentFormHasTheWordingInBothLanguagesAndADriveToReturnTo(t *testing.T) {
	t.Parallel()
	zh := strings.Repeat("我自愿成为造血干细胞志愿捐献者，同意采集血样进行人类白细胞抗原分型。", 6)
	pdf, err := ConsentForms(ConsentForm{Title: "print.form_stemcell", Version: "HSC-2024", Chinese: zh, English: strings.Repeat("I volunteer as a donor of blood stem cells. ", 12), Drive: "DR-2026-000001", Place: "体育馆", Days: "2026-11-22", Square: "https://register.test/drives/1", Copies: 2})
	require.NoError(t, err)
	text := extracted(t, "form", pdf)
	require.Equal(t, 2, strings.Count(text, "\f"), "a page each")
	for _, s := range []string{"DR-2026-000001", "HSC-2024", "体育馆", "签名", "Signature", "blood stem cells"} {
		require.Contains(t, text, s)
	}
	require.Equal(t, 12, strings.Count(strings.Join(strings.Fields(text), ""), "我自愿成为"), "what is signed is whole")
}

func TestARequestSaysWhatIsAskedAndByWhen(t *testing.T) {
	t.Parallel()
	pdf, err := RequestPaper(Request{Step: "stemcell.collection", Number: "SC-2026-000001", Organisation: "南京采集医院", Due: "2026-11-30 17:00", Opened: "2026-11-22 09:00", Printed: "2026-11-22"})
	require.NoError(t, err)
	text := extracted(t, "request", pdf)
	for _, s := range []string{"SC-2026-000001", "南京采集医院", "2026-11-30 17:00"} {
		require.Contains(t, text, s)
	}
}
