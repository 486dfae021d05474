package intake

import (
	"bytes"
	"iter"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
)

// Encoding is how a text file writes its characters.
type Encoding string

// The encodings. GB18030 reads GBK and GB2312 too. UTF-16 is what spreadsheets call "Unicode text".
const (
	UTF8    Encoding = "UTF-8"
	UTF16   Encoding = "UTF-16"
	GB18030 Encoding = "GB18030"
)

// decode reads a text file. Without a wish the byte order mark decides, then strict UTF-8, then GB18030; sure tells
// whether that leaves no doubt.
func decode(data []byte, wish Encoding) (text string, used Encoding, sure bool) {
	marked := func(e Encoding) bool { return wish == "" || wish == e }
	switch {
	case bytes.HasPrefix(data, []byte("\xEF\xBB\xBF")) && marked(UTF8):
		return strings.ToValidUTF8(string(data[3:]), "\uFFFD"), UTF8, true
	case (bytes.HasPrefix(data, []byte("\xFF\xFE")) || bytes.HasPrefix(data, []byte("\xFE\xFF"))) && marked(UTF16):
		return decodeUTF16(data), UTF16, true
	}
	switch wish {
	case UTF8:
		return strings.ToValidUTF8(string(data), "\uFFFD"), UTF8, true
	case UTF16:
		return decodeUTF16(data), UTF16, true
	case GB18030:
		return decodeGB(data), GB18030, true
	}
	if utf8.Valid(data) {
		return string(data), UTF8, true
	}
	// A byte that is wrong makes UTF-8 and GB18030 alike possible: the one in which headings can be read is the likelier.
	gb, utf := decodeGB(data), strings.ToValidUTF8(string(data), "\uFFFD")
	inGB, inUTF := headingsIn(gb), headingsIn(utf)
	if inUTF > inGB {
		return utf, UTF8, false
	}
	return gb, GB18030, inGB >= 2 && !strings.ContainsRune(gb, utf8.RuneError)
}

func decodeGB(data []byte) string {
	out, err := simplifiedchinese.GB18030.NewDecoder().Bytes(data)
	if err != nil {
		return strings.ToValidUTF8(string(data), "\uFFFD")
	}
	return string(out)
}

func decodeUTF16(data []byte) string {
	out, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Bytes(data)
	if err != nil {
		return ""
	}
	return string(out)
}

// headingsIn counts the fields whose names stand in the first lines of a text.
func headingsIn(text string) int {
	head := text[:min(len(text), 4096)]
	found := map[Field]bool{}
	for _, cell := range strings.FieldsFunc(head, func(r rune) bool { return strings.ContainsRune(",;\t\r\n\"", r) }) {
		if f, ok := vocabulary().exact(cell); ok {
			found[f] = true
		}
	}
	return len(found)
}

// delimiters are tried in this order; of two that cut the head alike the first wins.
var delimiters = []rune{',', '\t', ';', '|'}

// guessDelimiter takes the delimiter under which the head has the most known headings, then the one that cuts it into
// the most cells.
func guessDelimiter(text string) rune {
	best, bestKnown, bestCells := ',', -1, -1
	for _, d := range delimiters {
		known, cells, rows := 0, 0, 0
		for record := range records(text[:min(len(text), 16384)], d) {
			here := 0
			for _, cell := range record {
				if _, ok := vocabulary().exact(cell); ok {
					here++
				}
			}
			known, cells = max(known, here), cells+len(record)-1
			if rows++; rows == 20 {
				break
			}
		}
		if known > bestKnown || known == bestKnown && cells > bestCells {
			best, bestKnown, bestCells = d, known, cells
		}
	}
	return best
}

// records cuts a text into rows as a spreadsheet does: quoted cells may hold delimiters, line ends and doubled quotes; a
// row ends with LF, CR LF or, as on old Macs, CR; a blank line is a row. A quote inside an unquoted cell is a character,
// and a quote that is never closed ends with the text.
func records(text string, delimiter rune) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		width := utf8.RuneLen(delimiter)
		var row []string
		for i := 0; i < len(text); {
			cell, next := field(text, i, delimiter)
			row = append(row, cell)
			switch {
			case next >= len(text):
				i = next
			case strings.HasPrefix(text[next:], string(delimiter)):
				i = next + width
				if i < len(text) {
					continue
				}
				row = append(row, "")
			case strings.HasPrefix(text[next:], "\r\n"):
				i = next + 2
			default:
				i = next + 1
			}
			if !yield(row) {
				return
			}
			row = nil
		}
	}
}

// field reads one cell from i on and returns where it ended: at a delimiter, a line end or the end of the text.
func field(text string, i int, delimiter rune) (cell string, next int) {
	end := func(from int) int {
		n := strings.IndexFunc(text[from:], func(r rune) bool { return r == delimiter || r == '\n' || r == '\r' })
		if n < 0 {
			return len(text)
		}
		return from + n
	}
	if text[i] != '"' {
		next = end(i)
		return text[i:next], next
	}
	var b strings.Builder
	for i++; ; {
		n := strings.IndexByte(text[i:], '"')
		if n < 0 {
			b.WriteString(text[i:])
			return b.String(), len(text)
		}
		b.WriteString(text[i : i+n])
		i += n + 1
		if i < len(text) && text[i] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		next = end(i)
		b.WriteString(text[i:next])
		return b.String(), next
	}
}

// CSVCell is a text as it may stand in a CSV file that a spreadsheet opens: one that the spreadsheet would take for a
// formula, or for a number so long that it rounds it, gets an apostrophe before it. Reading drops it again.
func CSVCell(text string) string {
	if misread(text) {
		return "'" + text
	}
	return text
}

// formulaStarts are the characters with which a cell becomes a formula in one spreadsheet or another.
const formulaStarts = "=+-@\t\r"

// exactDigits is how many digits of a number a spreadsheet keeps: identity numbers have more.
const exactDigits = 15

func misread(text string) bool {
	return text != "" && (strings.ContainsRune(formulaStarts, rune(text[0])) || len(text) > exactDigits && strings.Trim(text, "0123456789") == "")
}

func uncover(text string) string {
	if bare, covered := strings.CutPrefix(text, "'"); covered && misread(bare) {
		return bare
	}
	return text
}
