package identity

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

var (
	extension = regexp.MustCompile(`(?i)(ext|x|#|转|轉|分机|分機|,|;)|^\+?[0-9 ()]+-[0-9]{7,8}-[0-9]{1,6}$`)
	// Without the leading zero: two-digit area codes have numbers of eight digits, the others of seven or eight.
	landline = regexp.MustCompile(`^(10|2\d)[2-8]\d{7}$|^[3-9]\d{2}[2-8]\d{6,7}$`)
	mobile   = regexp.MustCompile(`^1[3-9]\d{9}$`)
)

// abroad says how long the numbers of the neighbours are, without the country code. Others have 5 to 15 digits with it (ITU-T
// E.164).
var abroad = []struct {
	prefix   string
	min, max int
}{
	{"852", 8, 8}, {"853", 8, 8}, {"886", 8, 9},
}

// ParsePhone reads a telephone number and gives it in E.164 form: +8613800138000.
//
// Read as numbers of the mainland are mobile numbers of eleven digits and landlines with their area code, 010-62781234, both
// also after +86 or 0086, and a mobile number also after 86. Any other number needs + or 00 and its country code: without, it could be anyone's. An
// extension is refused and not dropped: behind a switchboard sits a stranger. The error is *InputError.
func ParsePhone(raw string) (string, error) {
	refuse := func(r Reason) (string, error) { return "", &InputError{FieldPhone, r} }
	if len(raw) > maxInput {
		return refuse(ReasonLength)
	}
	// Nearly every number of a sheet is a bare mobile number; the general way costs fifty times as much.
	if bare := strings.TrimPrefix(raw, "+86"); len(bare) == 11 && digits(bare) && bare[0] == '1' && bare[1] >= '3' {
		return "+86" + bare, nil
	}
	text := strings.Map(func(r rune) rune {
		switch {
		case invisible(r):
			return -1
		case unicode.IsSpace(r):
			return ' '
		case unicode.Is(unicode.Pd, r), r == '−':
			return '-'
		}
		return r
	}, norm.NFKC.String(raw))
	text = strings.TrimLeft(strings.TrimSpace(text), "'’‘`")
	if text == "" {
		return refuse(ReasonEmpty)
	}
	if extension.MatchString(text) {
		return refuse(ReasonExtension)
	}
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -().", r) {
			return -1
		}
		return r
	}, text)
	number, international := strings.CutPrefix(text, "+")
	if !digits(number) {
		return refuse(ReasonCharacters)
	}
	if !international {
		number, international = strings.CutPrefix(number, "00")
	}
	switch {
	case international && strings.HasPrefix(number, "86"):
		return mainland(number[2:])
	case international:
		return foreign(number)
	case len(number) == 13 && strings.HasPrefix(number, "861"):
		return mainland(number[2:])
	}
	if !mobile.MatchString(number) && !strings.HasPrefix(number, "0") {
		if len(number) == 11 && number[0] == '1' || len(number) < 5 {
			return refuse(ReasonLength)
		}
		return refuse(ReasonPrefix)
	}
	return mainland(number)
}

// mainland reads a number without the country code.
func mainland(number string) (string, error) {
	national := strings.TrimPrefix(number, "0")
	switch {
	case mobile.MatchString(number):
		return "+86" + number, nil
	case landline.MatchString(national):
		return "+86" + national, nil
	case len(number) < 9 || len(number) > 12:
		return "", &InputError{FieldPhone, ReasonLength}
	}
	return "", &InputError{FieldPhone, ReasonPrefix}
}

func foreign(number string) (string, error) {
	for _, a := range abroad {
		if national, ok := strings.CutPrefix(number, a.prefix); ok {
			switch {
			case strings.HasPrefix(national, "0"):
				return "", &InputError{FieldPhone, ReasonPrefix}
			case len(national) < a.min || len(national) > a.max:
				return "", &InputError{FieldPhone, ReasonLength}
			}
		}
	}
	switch {
	case len(number) < 5 || len(number) > 15:
		return "", &InputError{FieldPhone, ReasonLength}
	case number[0] == '0':
		return "", &InputError{FieldPhone, ReasonPrefix}
	}
	return "+" + number, nil
}
