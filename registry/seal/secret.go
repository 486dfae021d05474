package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.uber.org/zap/zapcore"
)

// Secret is a piece of personal text that shows itself only masked: printed, logged, marshalled to JSON or text it
// gives its mask. Reveal, and only Reveal, gives the text; whoever reviews a change looks for that word.
//
// The text is held behind a pointer because fmt does not call the methods of a value in an unexported field: there it
// would print the text itself, and so prints an address.
//
// The kinds are distinct types, so that a phone cannot be stored as a name. The zero value is empty.
type Secret[K kind] struct{ text *string }

// The kinds of personal text.
type (
	// Name is a person's name; its mask is 张*, 张*明, 欧阳*, and the first syllable before · of a longer one.
	Name = Secret[nameKind]
	// Number is the number of an identity document; its mask shows the last four characters.
	Number = Secret[numberKind]
	// Phone is an E.164 phone number; its mask is 138****8000.
	Phone = Secret[phoneKind]
	// Email is a mail address; its mask is a***@q.com.
	Email = Secret[emailKind]
	// Address is a postal address; its mask is the province and city.
	Address = Secret[addressKind]
	// Note is free text that may hold anything about anybody; its mask is the count of its characters.
	Note = Secret[noteKind]
)

type kind interface{ mask(text string) string }

// NameOf, NumberOf and the others wrap a text as soon as it is read.
func NameOf(text string) Name       { return hide[nameKind](text) }
func NumberOf(text string) Number   { return hide[numberKind](text) }
func PhoneOf(text string) Phone     { return hide[phoneKind](text) }
func EmailOf(text string) Email     { return hide[emailKind](text) }
func AddressOf(text string) Address { return hide[addressKind](text) }
func NoteOf(text string) Note       { return hide[noteKind](text) }

func hide[K kind](text string) Secret[K] {
	if text == "" {
		return Secret[K]{}
	}
	return Secret[K]{text: &text}
}

// Reveal returns the text itself.
func (s Secret[K]) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty tells whether there is no text.
func (s Secret[K]) Empty() bool { return s.text == nil }

// Equal compares the texts.
func (s Secret[K]) Equal(other Secret[K]) bool { return s.Reveal() == other.Reveal() }

// Mask returns what may be shown of the text to whoever may see the field masked.
func (s Secret[K]) Mask() string {
	if s.text == nil {
		return ""
	}
	var k K
	return k.mask(*s.text)
}

// String returns the mask.
func (s Secret[K]) String() string { return s.Mask() }

// Format prints the mask whatever the verb, so that %#v and %+v of a struct show no more than %s does.
func (s Secret[K]) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.Mask())) }

// MarshalJSON gives the masked object of Masked.
func (s Secret[K]) MarshalJSON() ([]byte, error) { return json.Marshal(s.Masked()) }

// UnmarshalJSON reads a plain string, as a form or a request carries it, and refuses a masked object: a mask that came
// back from a page must not be stored as if it were the name.
func (s *Secret[K]) UnmarshalJSON(data []byte) error {
	var text *string
	if err := json.Unmarshal(data, &text); err != nil {
		return ErrMaskedInput
	}
	if text == nil {
		*s = Secret[K]{}
		return nil
	}
	*s = hide[K](*text)
	return nil
}

// ErrMaskedInput says that a field of personal text was neither a string nor null.
var ErrMaskedInput = errors.New("seal: personal text must be a JSON string")

// MarshalLogObject gives zap the mask.
func (s Secret[K]) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("masked", s.Mask())
	return nil
}

// Masked is how a field of personal text leaves the registry when it may not be shown: an object, never a string, so
// that no client takes 张* for a name.
type Masked struct {
	Masked  bool   `json:"masked" doc:"True when the display is a mask and not the text."`
	Display string `json:"display" doc:"What may be shown. Empty when there is no text at all."`
	Reveal  string `json:"reveal,omitempty" doc:"Where the text can be asked for, with a reason; absent for a reader who may not."`
}

// Masked returns the mask as the object that leaves the registry.
func (s Secret[K]) Masked() Masked { return Masked{Masked: s.text != nil, Display: s.Mask()} }

type (
	nameKind    struct{}
	numberKind  struct{}
	phoneKind   struct{}
	emailKind   struct{}
	addressKind struct{}
	noteKind    struct{}
)

// Surnames of two characters, which a mask keeps whole: 欧阳*.
var compoundSurnames = strings.Fields("欧阳 太史 端木 上官 司马 东方 独孤 南宫 万俟 闻人 夏侯 诸葛 尉迟 公羊 赫连 澹台 皇甫 宗政 濮阳 公冶 太叔 申屠 公孙 慕容 仲孙 钟离 长孙 宇文 司徒 鲜于 司空 闾丘 子车 亓官 司寇 巫马 公西 颛孙 壤驷 公良 漆雕 乐正 宰父 谷梁 拓跋 夹谷 轩辕 令狐 段干 百里 呼延 东郭 南门 羊舌 微生 左丘 东门 西门 第五 贺兰 完颜")

// surnameLength is how many characters of a Chinese name are the surname.
func surnameLength(name string) int {
	for _, surname := range compoundSurnames {
		if strings.HasPrefix(name, surname) {
			return 2
		}
	}
	return 1
}

// SameSurname tells whether two people with Chinese names have one surname, without saying which. Of other names it is not known what the
// surname is.
func SameSurname(one, other Name) bool {
	surname := func(n Name) string {
		runes := []rune(n.Reveal())
		if kept := surnameLength(string(runes)); len(runes) > kept && runes[0] >= 0x2E80 && !slices.Contains(runes, '·') {
			return string(runes[:kept])
		}
		return ""
	}
	s := surname(one)
	return s != "" && s == surname(other)
}

func (nameKind) mask(name string) string {
	if first, _, found := strings.Cut(name, "·"); found {
		return first + "·*"
	}
	runes := []rune(name)
	if len(runes) == 0 {
		return ""
	}
	if runes[0] < 0x2E80 { // not Chinese: the first letter of the first word
		return string(runes[0]) + "***"
	}
	kept := surnameLength(name)
	switch {
	case len(runes) <= kept:
		return strings.Repeat("*", len(runes))
	case len(runes) == kept+1:
		return string(runes[:kept]) + "*"
	default:
		return string(runes[:kept]) + strings.Repeat("*", len(runes)-kept-1) + string(runes[len(runes)-1])
	}
}

// The first fourteen characters of a resident identity number are region and birth date, so only the end is shown.
func (numberKind) mask(number string) string {
	runes := []rune(number)
	if len(runes) <= 4 {
		return strings.Repeat("*", len(runes))
	}
	return strings.Repeat("*", len(runes)-4) + string(runes[len(runes)-4:])
}

func (phoneKind) mask(phone string) string {
	phone = strings.TrimPrefix(phone, "+86")
	if len(phone) < 8 {
		return strings.Repeat("*", len(phone))
	}
	return phone[:3] + strings.Repeat("*", len(phone)-7) + phone[len(phone)-4:]
}

func (emailKind) mask(email string) string {
	user, domain, found := strings.Cut(email, "@")
	if !found || user == "" {
		return "***"
	}
	first, _ := utf8.DecodeRuneInString(user)
	return string(first) + "***@" + domain
}

// An address shows its province and city: all up to the first 市, 州 or 盟 that follows a province, else only the province.
func (addressKind) mask(address string) string {
	rest, kept := address, 0
	for _, province := range []string{"特别行政区", "自治区", "省"} {
		if i := strings.Index(rest, province); i >= 0 && i < 24 {
			kept = i + len(province)
			break
		}
	}
	for _, city := range []string{"自治州", "地区", "市", "盟"} {
		if i := strings.Index(address[kept:], city); i > 0 && i < 36 {
			return address[:kept+i+len(city)] + "***"
		}
	}
	return address[:kept] + "***"
}

func (noteKind) mask(note string) string {
	return "[" + strconv.Itoa(utf8.RuneCountInString(note)) + "]"
}
