// Command liferelay is the whole product in one binary: the API, the protocols' worker, the migrations, and the commands
// that an operator or a registrar types.
//
// Exit codes: 0 all is well · 1 it was refused or failed · 2 it went through, and some rows need a look · 3 the
// configuration is wrong · 80 the command line is wrong.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type cli struct {
	globals

	Serve        serveCmd        `cmd:"" help:"Serve the API; with --worker, carry the protocols too."`
	Worker       workerCmd       `cmd:"" help:"Carry the protocols: run cases, deliver facts, seal the audit."`
	Migrate      migrateCmd      `cmd:"" help:"Bring the database to this program's schema, and make the key file of a new register."`
	Demo         demoCmd         `cmd:"" help:"Run the main job on an empty register: a drive's sheet to a donor's follow-up."`
	Intake       intakeCmd       `cmd:"" help:"Sheets of consent forms: check, commit, status, undo."`
	Cases        casesCmd        `cmd:"" help:"Cases: list, show, resume."`
	Organisation organisationCmd `cmd:"" help:"Organisations: add, list."`
	Staff        staffCmd        `cmd:"" help:"Staff: accounts and roles."`
	Machine      machineCmd      `cmd:"" help:"Machines: add."`
	Token        tokenCmd        `cmd:"" help:"Tokens of machines: add, list, revoke."`
	Notices      noticesCmd      `cmd:"" help:"How notices leave the house: status, replay, test."`
	Audit        auditCmd        `cmd:"" help:"The audit: verify, export, heads, key."`
	Keys         keysCmd         `cmd:"" help:"The register's keys: list, rotate, status, retire, wrap."`
	HLA          hlaCmd          `cmd:"" name:"hla" help:"The nomenclature of HLA: explain, load, list."`
	Population   populationCmd   `cmd:"" help:"Populations, by whose haplotypes chances are counted: load, mixture, list."`
	Match        matchCmd        `cmd:"" help:"Matching: compare typings without a register."`
	Version      versionCmd      `cmd:"" help:"Print the version of the program and of its policy."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the first signal ends the work, a second one the program
	var c cli
	k := kong.Parse(&c, kong.Name("liferelay"), kong.Description("Liferelay (生命接力): the register of donors, and the coordination of every case."),
		kong.Vars{"keyfile": defaultKeyFile()}, kong.BindTo(ctx, (*context.Context)(nil)), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	err := k.Run(&c.globals)
	if err == nil {
		return
	}
	var done exitCode
	if !errors.As(err, &done) {
		c.complain(err)
		done = codeOf(err)
	}
	os.Exit(int(done))
}
