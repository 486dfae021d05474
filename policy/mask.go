package policy

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"
)

//go:embed model.conf
var modelText string

//go:embed policy.csv
var policyText string

// part is a role's lines about a class.
type part struct {
	role  Role
	class Class
}

// parts are the lines of the policy file, in their parts. A line for every class stands in each.
var parts = sync.OnceValue(func() map[part][]string {
	out := map[part][]string{}
	for _, row := range expand(policyText) {
		classes := []Class{Class(row[3])}
		if row[3] == "*" {
			classes = Classes()
		}
		for _, class := range classes {
			at := part{Role(row[1]), class}
			out[at] = append(out[at], strings.Join(row, ", "))
		}
	}
	return out
})

var enforcers sync.Map // part → *casbin.Enforcer

// enforcerOf is casbin over a part of the policy file: a question costs in proportion to the lines that it is held against. Nil where no line
// speaks of it. It holds no grants, so it never changes while the program runs.
func enforcerOf(of part) (*casbin.Enforcer, error) {
	if known, ok := enforcers.Load(of); ok {
		return known.(*casbin.Enforcer), nil
	}
	rows := parts()[of]
	if len(rows) == 0 {
		return nil, nil
	}
	m, err := model.NewModelFromString(modelText)
	if err != nil {
		return nil, fmt.Errorf("policy: the model: %w", err)
	}
	e, err := casbin.NewEnforcer(m, stringadapter.NewAdapter(strings.Join(rows, "\n")))
	if err != nil {
		return nil, fmt.Errorf("policy: the lines of %s about %s: %w", of.role, of.class, err)
	}
	e.EnableAutoSave(false)
	kept, _ := enforcers.LoadOrStore(of, e)
	return kept.(*casbin.Enforcer), nil
}

// expand reads a table of ours: fields between commas, lines that begin with # left out, and a field a|b standing for a line
// with a and a line with b.
func expand(table string) [][]string {
	var out [][]string
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		rows := [][]string{nil}
		for field := range strings.SplitSeq(line, ",") {
			var longer [][]string
			for _, row := range rows {
				for choice := range strings.SplitSeq(field, "|") {
					longer = append(longer, append(slices.Clone(row), strings.TrimSpace(choice)))
				}
			}
			rows = longer
		}
		out = append(out, rows...)
	}
	return out
}

// verdicts are what the lines say of a role, a relation and a purpose, for every class and action: a bit each.
type verdicts struct {
	allowed, denied bits
	rules           *[size]string
}

type bits [(size + 63) / 64]uint64

func (b *bits) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b *bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// The catalogues' sizes, as constants so that a mask is an array; TestTheCataloguesHaveTheirSizes counts them.
const (
	classCount  = 27
	actionCount = 7
	size        = classCount * actionCount
)

var (
	classIndex  = indexOf(Classes())
	actionIndex = indexOf(Actions())
)

func indexOf[T comparable](list []T) map[T]int {
	out := make(map[T]int, len(list))
	for i, v := range list {
		out[v] = i
	}
	return out
}

func place(class Class, action Action) (int, bool) {
	c, known := classIndex[class]
	a, knownToo := actionIndex[action]
	return c*actionCount + a, known && knownToo
}

type maskKey struct {
	role     Role
	relation Relation
	purpose  Purpose
}

// masks are the verdicts that somebody has asked for. They depend on the policy file alone: a change of grants changes whose
// they are and not what they say, so nothing here can be stale.
var masks sync.Map // maskKey → *verdicts

// roleMask asks casbin about every class and action once. An error counts as a denial.
func roleMask(role Role, relation Relation, purpose Purpose) *verdicts {
	key := maskKey{role, relation, purpose}
	if known, ok := masks.Load(key); ok {
		return known.(*verdicts)
	}
	v := &verdicts{rules: new([size]string)}
	for _, class := range Classes() {
		e, err := enforcerOf(part{role, class})
		for _, action := range Actions() {
			i, _ := place(class, action)
			if err != nil {
				v.denied.set(i)
			}
			if e == nil {
				continue // no line speaks of it
			}
			allowed, rule, err := e.EnforceEx(string(role), string(relation), string(class), string(action), string(purpose))
			v.rules[i] = strings.Join(rule, ", ")
			switch {
			case err != nil:
				v.denied.set(i)
				v.rules[i] = "error"
			case allowed:
				v.allowed.set(i)
			case len(rule) > 0:
				v.denied.set(i)
			}
		}
	}
	kept, _ := masks.LoadOrStore(key, v)
	return kept.(*verdicts)
}

// Mask is every decision about one actor and one record. The zero Mask denies everything.
type Mask struct {
	allowed, denied bits
	from            []*verdicts
	revision        int64
	open            bool
}

func (m *Mask) add(v *verdicts) {
	for i := range m.allowed {
		m.allowed[i] |= v.allowed[i]
		m.denied[i] |= v.denied[i]
	}
	if !slices.Contains(m.from, v) {
		m.from = append(m.from, v)
	}
}

// Union is the mask of somebody who stands to a record in both ways: what either allows, without what either denies.
func (m Mask) Union(other Mask) Mask {
	out := Mask{revision: m.revision, open: m.open || other.open, from: slices.Clone(m.from)}
	out.allowed, out.denied = m.allowed, m.denied
	for _, v := range other.from {
		out.add(v)
	}
	return out
}

// Opening is the mask with a class that may be read besides, because somebody broke the glass before it. What a line denies stays
// denied.
func (m Mask) Opening(class Class) Mask {
	if i, known := place(class, Read); known {
		m.allowed.set(i)
	}
	return m
}

// May tells whether an action on a class is allowed.
func (m Mask) May(action Action, class Class) bool {
	i, known := place(class, action)
	return known && (m.open || m.allowed.has(i) && !m.denied.has(i))
}

// Decide tells the same with the line that decides.
func (m Mask) Decide(class Class, action Action) Decision {
	d := Decision{Allowed: m.May(action, class), Revision: m.revision}
	i, known := place(class, action)
	if !known {
		return d
	}
	for _, v := range m.from {
		speaks := v.allowed.has(i)
		if m.denied.has(i) {
			speaks = v.denied.has(i)
		}
		if speaks {
			d.Rule = v.rules[i]
			break
		}
	}
	return d
}
