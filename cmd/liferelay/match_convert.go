package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/liferelay/liferelay/registry/exchange"
)

type matchConvertCmd struct {
	From string `enum:"wmda-xml,atlas-json,mv4-csv,gl," default:"" placeholder:"FORMAT" help:"What the file is: wmda-xml, atlas-json, mv4-csv or gl. It is told by its beginning where this is left out."`
	To   string `required:"" enum:"wmda-xml,atlas-json,mv4-csv,gl" placeholder:"FORMAT" help:"What is printed: wmda-xml, atlas-json, mv4-csv or gl."`
	File string `arg:"" type:"existingfile" help:"The file of donors. It may be gzipped."`
}

// Run implements liferelay match convert.
func (c *matchConvertCmd) Run(g *globals) error {
	var to exchange.Writer
	open := func(h exchange.Header) (err error) {
		if to == nil {
			if to, err = exchange.NewWriter(exchange.Format(c.To), os.Stdout, h); err != nil {
				return configError{setting: "--to", says: err.Error()}
			}
		}
		return nil
	}
	out := leftOut{globals: g, file: c.File}
	err := readDonors(c.File, exchange.Format(c.From), func(r *exchange.Reader) error {
		defer out.tellIgnored(r.Ignored())
		n := 0
		for d, err := range r.Donors() {
			n++
			if err == nil {
				if err = open(r.Header()); err == nil {
					err = to.Write(d)
				}
			}
			if err = out.count(n, err); err != nil {
				return err
			}
		}
		return open(r.Header())
	})
	if to != nil {
		if closed := to.Close(); err == nil {
			err = closed
		}
		if lost := to.Lost(); len(lost) > 0 {
			g.tell("cli.match_lost", map[string]any{"Format": c.To, "Fields": counted(lost)})
		}
	}
	return out.end(err)
}

// readDonors reads a file of donors in a format, or in that which its beginning shows.
func readDonors(name string, format exchange.Format, read func(*exchange.Reader) error) error {
	return readFile(name, func(from io.Reader) error {
		buffered := bufio.NewReaderSize(from, 1<<16)
		if format == "" {
			beginning, err := buffered.Peek(4096) // fewer, at the end of the file
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("%s: %w", name, err)
			}
			format = exchange.Detect(beginning)
		}
		return read(exchange.NewReader(format, buffered))
	})
}

// leftOut counts the people of a file who are left out, and tells of the first of them.
type leftOut struct {
	*globals
	file string
	left int
}

const tellOf = 20 // people who are left out

// count looks at what became of the n-th record: nothing wrong, somebody who is left out, or an error that ends it, which it gives back.
func (o *leftOut) count(n int, err error) error {
	var record *exchange.RecordError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &record):
		return fmt.Errorf("%s: %w", o.file, err)
	}
	what := map[string]any{"Field": record.Field, "Read": shown(record.Read), "Why": o.say(recordRules[record.Rule], nil)}
	if record.Read == "" {
		o.tellOf(n, record.ID, o.say("cli.match_field_alone", what))
	} else {
		o.tellOf(n, record.ID, o.say("cli.match_field", what))
	}
	return nil
}

// tellOf tells of somebody who is left out.
func (o *leftOut) tellOf(record int, id, what string) {
	if o.left++; o.left <= tellOf {
		fmt.Fprintf(os.Stderr, "%s: %s\n", o.file, o.say("cli.match_record", map[string]any{"Record": record, "Person": id, "What": what}))
	}
}

// end is how a command ends that has left somebody out.
func (o *leftOut) end(err error) error {
	if o.left > 0 {
		o.tell("cli.match_left_out", map[string]any{"Count": o.left})
	}
	if err == nil && o.left > 0 {
		return exitSome
	}
	return err
}

func (o *leftOut) tellIgnored(names map[string]int) {
	if len(names) > 0 {
		o.tell("cli.match_ignored", map[string]any{"File": o.file, "Fields": counted(names)})
	}
}

// recordRules are the sentences of what is wrong with a record.
var recordRules = map[exchange.Rule]string{
	exchange.RuleMissing:   "cli.record_missing",
	exchange.RuleForm:      "cli.record_form",
	exchange.RuleLong:      "cli.record_long",
	exchange.RuleDuplicate: "cli.record_duplicate",
	exchange.RuleTyping:    "cli.record_typing",
	exchange.RuleRecord:    "cli.record_record",
}

// shown is what was read, as far as a line of a terminal has room for it, without what a terminal would obey.
func shown(read string) string {
	const most = 60
	read = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, read)
	if runes := []rune(read); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return read
}

// counted lists names and how often each was there.
func counted(names map[string]int) string {
	var parts []string
	for name, n := range names {
		parts = append(parts, fmt.Sprintf("%s (%d)", shown(name), n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
