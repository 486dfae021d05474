package lang_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
)

// source is what the program's Go files spell out: their strings by where they are, and the names and words of their
// struct tags.
type source struct {
	strings map[string][]string // text → files
	fields  map[string]bool     // JSON names
	words   map[string]bool     // allowed words of forms
	oneof   map[string][]string // the same, by the Go name of the field
	endings []string            // of cases
}

// inSQL finds the texts in a statement.
var inSQL = regexp.MustCompile(`['"]([a-zA-Z0-9_.]+)['"]`)

func readSource(t *testing.T) source {
	t.Helper()
	s := source{strings: map[string][]string{}, fields: map[string]bool{}, words: map[string]bool{}, oneof: map[string][]string{}}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	files := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files++
		name, _ := filepath.Rel(root, path)
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, _ := strconv.Unquote(literal.Value)
				s.strings[text] = append(s.strings[text], name)
				for _, quoted := range inSQL.FindAllStringSubmatch(text, -1) {
					s.strings[quoted[1]] = append(s.strings[quoted[1]], name)
				}
			}
			if call, ok := n.(*ast.CallExpr); ok && len(call.Args) > 0 {
				how, isMethod := call.Fun.(*ast.SelectorExpr)
				ending, isText := call.Args[0].(*ast.BasicLit)
				if isMethod && how.Sel.Name == "end" && isText && ending.Kind == token.STRING {
					text, _ := strconv.Unquote(ending.Value)
					s.endings = append(s.endings, text)
				}
			}
			if field, ok := n.(*ast.Field); ok && field.Tag != nil {
				text, _ := strconv.Unquote(field.Tag.Value)
				tag := reflect.StructTag(text)
				name, _, _ := strings.Cut(tag.Get("json"), ",")
				s.fields[name] = true
				for _, rule := range strings.Split(tag.Get("validate"), ",") {
					if words, ok := strings.CutPrefix(rule, "oneof="); ok {
						for _, word := range strings.Fields(words) {
							s.words[word] = true
							s.oneof[field.Names[0].Name] = append(s.oneof[field.Names[0].Name], word)
						}
					}
				}
			}
			return true
		})
		return nil
	}))
	require.Greater(t, files, 80)
	return s
}

func (s source) has(text string) bool { return len(s.strings[text]) > 0 }

// says tells whether the program has what a sentence's name is made of.
func (s source) says(id string) bool {
	family, name, _ := strings.Cut(id, ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	switch family {
	case "problem":
		code, _, _ := strings.Cut(name, ".")
		return s.has(code)
	case "error":
		for _, ending := range []string{"_not_found", "_changed"} {
			if what, ok := strings.CutSuffix(name, ending); ok && s.has(what) {
				return true
			}
		}
		return s.has(name)
	case "status":
		return true // a test of the API compares them with the answers
	case "event":
		for i, r := range name { // some are put together from what they are about and what became of it
			if (r == '.' || r == '_') && (s.words[name[i+1:]] || s.has(name[i+1:])) && (s.has(name[:i+1]) || slices.Contains(registry.Steps(), name[:i])) {
				return true
			}
		}
		return s.has(name)
	case "kept":
		return slices.ContainsFunc(rules.KeptClasses(), func(k rules.Kept) bool { return k.Class == name })
	case "step":
		return slices.Contains(registry.Steps(), name)
	case "notice", "tag", "copy", "verdict", "outcome":
		return s.has(name)
	case "hla":
		return s.has(strings.ReplaceAll(name, "_", "-"))
	case "cli", "docs":
		return s.has(id) || s.has(name)
	case "intake":
		return s.has(id) || s.has(last)
	case "field":
		for _, part := range strings.Split(name, ".") {
			if !s.fields[part] && !s.has(part) {
				return false
			}
		}
		return true
	case "code":
		argument, code, _ := strings.Cut(name, ".")
		return s.has(argument) && (s.words[code] || s.has(code) || argument == "Sufficient")
	case "choice": // of a form
		return s.words[last]
	case "case", "finding": // some are put together from a beginning and a code
		for i := range id {
			if s.has(id[:i]) && (s.has(id[i:]) || s.words[id[i:]]) {
				return true
			}
		}
		return s.has(id)
	case "said", "fieldhint":
		return s.has(id) || s.has(name) || s.fields[name] || s.composes(id)
	case "web": // some are put together from a beginning and a number or a side
		return s.has(id) || s.has("web.weekday_") && strings.HasPrefix(id, "web.weekday_") || s.has(last) || strings.HasPrefix(id, "web.in_") && s.has(strings.TrimPrefix(id, "web.in_")) || strings.HasPrefix(id, "web.ago_") && s.has(strings.TrimPrefix(id, "web.ago_"))
	case "word":
		set, _, _ := strings.Cut(name, ".")
		return s.has(set) // whose words are read as a list
	default:
		return s.has(id) || s.composes(id)
	}
}

// composes tells whether the program has a sentence's name as a beginning and a code.
func (s source) composes(id string) bool {
	for i, r := range id {
		if (r == '.' || r == '_') && s.has(id[:i+1]) && (s.has(id[i+1:]) || s.words[id[i+1:]]) {
			return true
		}
	}
	return false
}

func TestNoSentenceIsWrittenThatNobodySays(t *testing.T) {
	t.Parallel()
	s := readSource(t)
	var unused []string
	for _, id := range lang.IDs() {
		if !s.says(id) {
			unused = append(unused, id)
		}
	}
	require.Empty(t, unused)
	require.False(t, s.says("error.no_such_code"))
	require.False(t, s.says("problem.R999.is"))
	require.False(t, s.says("event.stemcell.schedule.nothing"))
}

// The codes that people read have a sentence: those of forms and sheets, those of the API's own refusals, and what the
// command line says.
func TestEveryCodeHasItsSentence(t *testing.T) {
	t.Parallel()
	s := readSource(t)
	problem := regexp.MustCompile(`^[RWNF]\d{3}$`)
	named := regexp.MustCompile(`^(cli|docs|error|status|step|event|notice|tag|verdict|outcome|field|word|problem|intake\.(?:template|result|hint))\.[a-z_.A-Z0-9]*[a-zA-Z0-9]$`)
	found := 0
	for text, files := range s.strings {
		switch {
		case problem.MatchString(text):
			require.True(t, lang.Has("problem."+text+".is") && lang.Has("problem."+text+".mend"), "%s in %v has no sentences", text, files)
			found++
		case named.MatchString(text):
			require.True(t, lang.Has(text), "%s in %v has no sentence", text, files)
			found++
		}
	}
	require.Greater(t, found, 80)
	for _, step := range registry.Steps() {
		require.True(t, lang.Has("step."+step), step)
	}
}

// What a timeline or a refusal says with a code in it, it says in words.
func TestEveryCodeThatASentenceIsToldHasItsWord(t *testing.T) {
	t.Parallel()
	s := readSource(t)
	// Which argument tells the words of a field: a form's outcome has one reason, whatever the form calls it.
	for field, argument := range map[string]string{
		"Reason": "Reason", "Difference": "Reason", "Health": "Reason", "Imputability": "Reason", "Flags": "Flags", "Channel": "Channel", "Whom": "Whom", "Result": "Result", "Via": "Via",
		"Role": "Role", "Kind": "Kind",
	} {
		require.NotEmpty(t, s.oneof[field], field)
		for _, word := range s.oneof[field] {
			if slices.Contains([]string{"call_donor", "verify_identity", "arrange_travel", "correct_entry", "browser", "bearer"}, word) {
				continue // of revealing and of sessions, which no sentence tells
			}
			require.True(t, lang.Has("code."+argument+"."+word), "%s %s", argument, word)
		}
	}
	require.Greater(t, len(s.endings), 20)
	for _, ending := range s.endings {
		require.True(t, lang.Has("code.Ending."+ending), ending)
	}
	for _, step := range registry.Steps() {
		require.Contains(t, lang.Chinese.Say("event.case.reopened", map[string]any{"Step": step, "Reason": "wrong_entry"}), lang.Chinese.Say("step."+step, nil))
	}
	require.Equal(t, "个案结束：捐献者不愿意", lang.Chinese.Say("event.case.ended", map[string]any{"Ending": "declined"}))
	require.Equal(t, "Follow-up alert: pain, wants a call", lang.English.Say("event.care.alert", map[string]any{"Flags": "pain, wants_call"}))
	require.Equal(t, "个案结束：some_new_code", lang.Chinese.Say("event.case.ended", map[string]any{"Ending": "some_new_code"}), "a code without a word is told as it is")
}
