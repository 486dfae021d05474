package intake

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry/lang"
)

func TestNumberFormatsThatShowADayAreKnown(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"yyyy-mm-dd": true, "yyyy/m/d;@": true, `yyyy"年"m"月"d"日"`: true, "[$-804]yyyy年m月d日": true, "d/m/yy": true, "mmm-yy": true, `yyyy\-mm`: true, "e/m/d": true,
		"yyyy-mm-dd hh:mm:ss.000": true, "[Red]yyyy": true,
		"General": false, "GENERAL": false, "0": false, "0.00E+00": false, "#,##0": false, "@": false, "h:mm:ss": false, "[h]:mm": false, `"day" 0`: false,
		"[Red]0": false, `\d0`: false, "_d0": false, "": false, `0"d"`: false, "[Yellow]General": false, "mm:ss": false,
	} {
		require.Equal(t, want, isDateFormat(code), code)
	}
}

func TestCleaningIsWhatItSays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", " ": "", "a": "a", " a  b ": "a b", "a\r\nb": "a b", "\u3000王\u00a0例\u200b安\uFEFF": "王 例安", "ＡＢ１２": "AB12", "￥": "¥", "a\tb": "a b",
		"①": "①", "䶮𠮷": "䶮𠮷", "\u00AD-\u2060": "-", "\u3164a": "a", "ｱ": "ｱ", "a\x00b": "a b", "a\x7f": "a\x7f",
	} {
		require.Equal(t, want, clean(text), "%q", text)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		once := clean(text)
		require.Equal(t, once, clean(once))
		require.Equal(t, strings.TrimSpace(once), once)
		require.False(t, strings.ContainsFunc(once, func(r rune) bool { return unicode.IsSpace(r) && r != ' ' }))
		// The quick answer and the long way agree.
		if tidy(text) {
			require.Equal(t, text, strings.Join(strings.Fields(text), " "))
		}
	})
}

func TestColumnsAreNamedAsSpreadsheetsDo(t *testing.T) {
	t.Parallel()
	for column, name := range map[int]string{0: "A", 25: "Z", 26: "AA", 51: "AZ", 701: "ZZ", 702: "AAA", 16383: "XFD"} {
		require.Equal(t, name, ColumnName(column))
		got, ok := columnOf(name + "12")
		require.True(t, ok)
		require.Equal(t, column, got)
		got, _ = columnOf(strings.ToLower(name))
		require.Equal(t, column, got)
	}
	for _, name := range []string{"", "12", "$A$1"} {
		_, ok := columnOf(name)
		require.False(t, ok)
	}
	far, ok := columnOf("ZZZZZZZZZZZZ1")
	require.True(t, ok)
	require.GreaterOrEqual(t, far, maxColumns)
}

func TestATextIsCutByTheUnitsOfASpreadsheet(t *testing.T) {
	t.Parallel()
	require.Equal(t, "ab", cut("abc", 2))
	require.Equal(t, "a", cut("a𠮷", 2))
	require.Equal(t, "a𠮷", cut("a𠮷b", 3))
	require.Equal(t, "abc", cut("abc", 9))
	rapid.Check(t, func(t *rapid.T) {
		s, n := rapid.String().Draw(t, "s"), rapid.IntRange(0, 20).Draw(t, "n")
		require.True(t, strings.HasPrefix(s, cut(s, n)))
		require.True(t, utf8.ValidString(cut(s, n)))
	})
}

func TestRowsAreSpannedAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	require.Equal(t, "3-6, 9", spans([]int32{3, 4, 5, 6, 9}))
	require.Equal(t, "1, 3, 5-6", spans([]int32{1, 3, 5, 6}))
	require.Empty(t, spans(nil))
}

func TestTheNextBarcodeKeepsItsLength(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code string
		n    int
		want string
	}{
		{"NJ26000001", 0, "NJ26000001"}, {"NJ26000009", 1, "NJ26000010"}, {"A-099", 1, "A-100"}, {"ABCDEF", 1, "ABCDEF"}, {"000000000000000000000001", 1, "000000000000000000000002"},
	} {
		require.Equal(t, c.want, following(c.code, c.n))
	}
}

func TestPlainNumbersHaveNoExponent(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct {
		value float64
		want  string
	}{
		"42": {42, "42"}, "4.40524188001010E+17": {4.40524188001010e17, "440524188001010000"}, "1E-7": {1e-7, "0.0000001"}, "0.1": {0.1, "0.1"}, "-5": {-5, "-5"},
		"0.30000000000000004": {0.30000000000000004, "0.3"},
	} {
		require.Equal(t, c.want, plainNumber(text, c.value))
	}
}

func TestTheHiddenSheetSpeaksOnlyWhenItIsHidden(t *testing.T) {
	t.Parallel()
	b, err := newBook("x")
	require.NoError(t, err)
	require.NoError(t, b.hide(origin{batch: "B", drive: "D", template: "T", sheet: "x"}))
	buf, err := b.WriteToBuffer()
	require.NoError(t, err)
	f, _ := Open("a.xlsx", buf.Bytes())
	require.Equal(t, origin{"B", "D", "T", "x"}, f.origin)
	require.NoError(t, b.SetSheetVisible(originSheet, true))
	buf, err = b.WriteToBuffer()
	require.NoError(t, err)
	f, _ = Open("a.xlsx", buf.Bytes())
	require.Equal(t, origin{}, f.origin, "a sheet that happens to have the name is the user's")
	for _, l := range lang.Locales() {
		require.Len(t, resultHeadings(l), 3)
	}
}
