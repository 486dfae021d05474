package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
)

type intakeCmd struct {
	Check  intakeCheckCmd  `cmd:"" help:"Read a sheet and judge every row. Nothing of the register changes."`
	Commit intakeCommitCmd `cmd:"" help:"Take a sheet's good rows into the register. A worker does it; this command waits and shows how far it is."`
	Status intakeStatusCmd `cmd:"" help:"What became of a sheet."`
	Undo   intakeUndoCmd   `cmd:"" help:"Take a committed sheet out of the register again, as long as no row has moved on."`
}

// fileFlags name a sheet.
type fileFlags struct {
	asFlag
	File  string `arg:"" type:"existingfile" help:"The sheet: .xlsx, or .csv in UTF-8 or GB18030."`
	Drive string `required:"" placeholder:"NUMBER" help:"The drive that the forms were signed at, such as DR-2026-000001."`
}

// resultFlag asks for the annotated workbook.
type resultFlag struct {
	Result string `type:"path" placeholder:"FILE" help:"Write the annotated workbook to FILE: mended, it can be sent in again."`
}

// sheetFlags name a sheet and how to read it.
type sheetFlags struct {
	fileFlags
	resultFlag
	Expected  int      `help:"How many forms there should be." placeholder:"N"`
	Encoding  string   `enum:",UTF-8,GB18030,UTF-16" default:"" help:"Of a CSV file, when the guess is wrong."`
	Delimiter string   `help:"Of a CSV file, when the guess is wrong." placeholder:"C"`
	Sheet     string   `help:"Which sheet of a workbook, when the guess is wrong." placeholder:"NAME"`
	Programme []string `enum:"stemcell,blood,organ,cornea,body" help:"For a sheet without such a column: what everybody registers for." placeholder:"P"`
	Migration bool     `help:"Lift the limit of 20,000 rows and 20 MB, for taking over an older register."`
}

// session is a command's way into the register, as the member of staff it acts for.
type session struct {
	*registry.Store
	globals *globals
	who     registry.Actor
	drive   registry.DriveView
	data    []byte
}

func (f *fileFlags) open(ctx context.Context, g *globals) (*session, error) {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return nil, err
	}
	s := &session{Store: store, globals: g}
	if s.who, err = f.actor(ctx, g, store); err == nil {
		s.drive, err = store.DriveByNumber(ctx, s.who, f.Drive)
	}
	if err == nil {
		s.data, err = os.ReadFile(f.File)
	}
	if err != nil {
		store.Close()
		return nil, err
	}
	return s, nil
}

func (f *sheetFlags) limits() intake.Limits {
	if f.Migration {
		return intake.Limits{Rows: 10_000_000, Bytes: 8 << 30, Unpacked: 64 << 30}
	}
	return intake.Limits{}
}

// upload checks the sheet. One that was uploaded before is found again, and checked again when it is to be read otherwise.
func (f *sheetFlags) upload(ctx context.Context, s *session) (registry.BatchView, error) {
	options := registry.ReadOptions{Encoding: intake.Encoding(f.Encoding), Delimiter: f.Delimiter, Sheet: f.Sheet}
	if problems := forms.Check(options); len(problems) > 0 {
		return registry.BatchView{}, registry.Invalidated(problems)
	}
	u := registry.Upload{Drive: s.drive.ID, FileName: filepath.Base(f.File), Data: s.data, Expected: f.Expected, Limits: f.limits(), Options: options}
	for _, p := range f.Programme {
		u.Defaults.Programmes = append(u.Defaults.Programmes, rules.Programme(p))
	}
	b, err := s.UploadBatch(ctx, s.who, u)
	if err != nil || !b.Again {
		return b, err
	}
	if options != (registry.ReadOptions{}) && (b.Status == "created" || b.Status == "checked") {
		return s.CheckBatch(ctx, s.who, b.ID, b.Version, options, f.limits())
	}
	s.globals.tell("cli.sent_before", map[string]any{"Number": b.Number})
	return b, nil
}

func (f *resultFlag) writeResult(ctx context.Context, s *session, b registry.BatchView) error {
	if f.Result == "" {
		return nil
	}
	out, err := os.OpenFile(f.Result, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := s.ResultWorkbook(ctx, s.who, b.ID, out); err != nil {
		_ = out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	s.globals.tell("cli.result_written", map[string]any{"Path": f.Result})
	return nil
}

type intakeCheckCmd struct{ sheetFlags }

// Run implements liferelay intake check.
func (c *intakeCheckCmd) Run(ctx context.Context, g *globals) error {
	s, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := c.upload(ctx, s)
	if err != nil {
		return err
	}
	if err := s.report(ctx, b); err != nil {
		return err
	}
	if err := c.writeResult(ctx, s, b); err != nil {
		return err
	}
	return verdictCode(b)
}

// verdictCode is 1 for a sheet that could not be checked, 2 for one with rows that are not ready.
func verdictCode(b registry.BatchView) error {
	switch {
	case b.Status == "created":
		return exitRefused
	case b.Verdicts["ready"] < b.Rows:
		return exitSome
	}
	return nil
}

type intakeCommitCmd struct {
	sheetFlags
	AllOrNothing   bool          `help:"Take every row or none."`
	AcceptWarnings bool          `help:"Take rows with warnings too: somebody has looked at them."`
	Wait           time.Duration `default:"30m" help:"How long to wait for it to be done; it goes on without us."`
}

// Run implements liferelay intake commit.
func (c *intakeCommitCmd) Run(ctx context.Context, g *globals) error {
	s, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := c.upload(ctx, s)
	if err != nil {
		return err
	}
	if b.Status == "created" {
		if err := s.report(ctx, b); err != nil {
			return err
		}
		return exitRefused
	}
	form := registry.CommitForm{AcceptWarnings: c.AcceptWarnings}
	if c.AllOrNothing {
		form.Mode = "all_or_nothing"
	}
	if b, err = s.StartCommit(ctx, s.who, b.ID, b.Version, form); err != nil {
		return err
	}
	if b, err = s.follow(ctx, b, "committing", c.Wait); err != nil {
		return err
	}
	if err := s.report(ctx, b); err != nil {
		return err
	}
	if err := c.writeResult(ctx, s, b); err != nil {
		return err
	}
	if b.Outcomes["failed"]+b.Outcomes["parked"]+b.Outcomes["skipped"] > 0 {
		return exitSome
	}
	return nil
}

// follow waits until a batch is not in a state any more, and shows how far it is.
func (s *session) follow(ctx context.Context, b registry.BatchView, state string, patience time.Duration) (registry.BatchView, error) {
	bar := progress(s.globals.say("cli."+state, nil))
	defer bar.end()
	began, moved := time.Now(), time.Now()
	told := false
	for b.Status == state {
		bar.at(int64(b.Done), int64(b.Rows))
		select {
		case <-ctx.Done():
			return b, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		before := b.Version
		var err error
		if b, err = s.ShowBatch(ctx, s.who, b.ID); err != nil {
			return b, err
		}
		if b.Version != before {
			moved = time.Now()
		}
		if time.Since(moved) > 15*time.Second && !told {
			s.globals.tell("cli.nothing_moves", nil)
			told = true
		}
		if time.Since(began) > patience {
			return b, said{"cli.goes_on", map[string]any{"Wait": patience.String()}}
		}
	}
	return b, nil
}

type intakeStatusCmd struct {
	fileFlags
	resultFlag
}

// Run implements liferelay intake status.
func (c *intakeStatusCmd) Run(ctx context.Context, g *globals) error {
	s, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.BatchOfFile(ctx, s.who, s.drive.ID, s.data)
	if err != nil {
		return err
	}
	if err := s.report(ctx, b); err != nil {
		return err
	}
	return c.writeResult(ctx, s, b)
}

type intakeUndoCmd struct {
	fileFlags
	Wait time.Duration `default:"30m" help:"How long to wait for it to be done."`
}

// Run implements liferelay intake undo.
func (c *intakeUndoCmd) Run(ctx context.Context, g *globals) error {
	s, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.BatchOfFile(ctx, s.who, s.drive.ID, s.data)
	if err != nil {
		return err
	}
	if b, err = s.StartUndo(ctx, s.who, b.ID, b.Version); err != nil {
		return err
	}
	if b, err = s.follow(ctx, b, "undoing", c.Wait); err != nil {
		return err
	}
	return s.report(ctx, b)
}

// problemGroup is one problem with the rows that have it.
type problemGroup struct {
	Code  string `json:"code"`
	Field string `json:"field"`
	Is    string `json:"is"`
	Mend  string `json:"mend"`
	Rows  []int  `json:"rows"`
}

// report prints a batch: its counts, and its problems with the rows that have each.
func (s *session) report(ctx context.Context, b registry.BatchView) error {
	groups, err := s.groups(ctx, b)
	if err != nil {
		return err
	}
	l := s.globals.locale()
	return s.globals.print(map[string]any{"batch": b, "problems": groups}, func() {
		fmt.Printf("%s  %s  %s\n", b.Number, b.Kind, b.Status)
		for _, p := range b.FileProblems {
			fmt.Printf("  %s %s %s\n", p.Code, p.Is, p.Mend)
		}
		printCounts(l, "verdict", b.Rows, b.Verdicts)
		printCounts(l, "outcome", b.Rows, b.Outcomes)
		for _, g := range groups {
			fmt.Printf("  %-5s %s\n        %s\n        %s\n", g.Code, rowSpans(g.Rows), g.Is, g.Mend)
		}
	})
}

// printCounts prints counts that add up: 315 = 290 ready + 12 warning + …
func printCounts(l lang.Locale, kind string, total int, counts map[string]int) {
	if len(counts) == 0 {
		return
	}
	var parts []string
	sum := 0
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[name], l.Say(kind+"."+name, nil)))
			sum += counts[name]
		}
	}
	mark := "✔"
	if sum != total {
		mark = "…"
	}
	fmt.Printf("  %d = %s %s\n", total, strings.Join(parts, " + "), mark)
}

// groups gathers the rows that are not simply ready by what is said about them.
func (s *session) groups(ctx context.Context, b registry.BatchView) ([]problemGroup, error) {
	byText := map[string]*problemGroup{}
	after := 0
	for {
		rows, err := s.ListRows(ctx, s.who, b.ID, registry.RowFilter{AfterRow: after, Limit: 200})
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			after = r.Row
			for _, p := range r.Problems {
				key := p.Code + p.Field + p.Is
				if byText[key] == nil {
					byText[key] = &problemGroup{Code: p.Code, Field: p.Field, Is: p.Is, Mend: p.Mend}
				}
				byText[key].Rows = append(byText[key].Rows, r.Row)
			}
		}
		if len(rows) < 200 {
			break
		}
	}
	out := make([]problemGroup, 0, len(byText))
	for _, key := range slices.Sorted(maps.Keys(byText)) {
		out = append(out, *byText[key])
	}
	return out, nil
}

// rowSpans writes row numbers as people do: 3-6, 9.
func rowSpans(rows []int) string {
	var out []string
	for i := 0; i < len(rows); {
		j := i
		for j+1 < len(rows) && rows[j+1] == rows[j]+1 {
			j++
		}
		span := strconv.Itoa(rows[i])
		if j > i {
			span += "-" + strconv.Itoa(rows[j])
		}
		out = append(out, span)
		i = j + 1
	}
	return strings.Join(out, ", ")
}
