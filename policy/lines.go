package policy

import (
	"strings"
	"sync"
)

// Line is a line of the policy file as it stands there.
type Line struct {
	No   int
	Text string
}

// placed are the file's lines, and the number of the line that each of its rules stands in.
var placed = sync.OnceValues(func() ([]Line, map[string]int) {
	var all []Line
	at := map[string]int{}
	no := 0
	for text := range strings.Lines(policyText) {
		no++
		text = strings.TrimSpace(text)
		rows := expand(text)
		if len(rows) == 0 {
			continue
		}
		all = append(all, Line{no, text})
		for _, row := range rows {
			if rule := strings.Join(row[1:], ", "); at[rule] == 0 {
				at[rule] = no
			}
		}
	}
	return all, at
})

// Lines lists the lines of the policy file.
func Lines() []Line {
	all, _ := placed()
	return all
}

// LineOf is the number of the line that a rule stands in, as a Decision or the audit names it; 0 when none does, such as one of an older file.
func LineOf(rule string) int {
	_, at := placed()
	return at[rule]
}
