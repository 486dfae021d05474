package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows"
)

type migrateCmd struct {
	Suite string `env:"LIFERELAY_SUITE" enum:",aes,sm" default:"" placeholder:"SUITE" help:"What a new register is sealed with: aes (AES-256-GCM and HMAC-SHA-256; when left out) or sm (SM4-GCM and HMAC-SM3). It is chosen once."`
}

// Run implements liferelay migrate. A new register gets a new key file, loudly; a register that has people in it never
// does, because what they are sealed with is gone when the file is. The file is written first: a register must not be
// sealed with keys that nobody has.
func (c *migrateCmd) Run(ctx context.Context, g *globals) error {
	if err := g.needDatabase(); err != nil {
		return err
	}
	owner, away := g.Database, g.away
	if g.Owner != "" {
		owner, away = g.Owner, func(err error) error { return awayAt(ownerSetting, g.Owner, err) }
	}
	if err := g.apart(); err != nil {
		return err
	}
	kms, err := g.KMS.service()
	if err != nil {
		return err
	}
	keys, err := seal.Read(ctx, g.KeyFile, kms)
	fresh := errors.Is(err, os.ErrNotExist)
	if err != nil && !fresh {
		return configError{setting: keyFileSetting, says: err.Error()}
	}
	if !fresh && c.Suite != "" && c.Suite != string(keys.Suite()) {
		return configError{setting: "LIFERELAY_SUITE (--suite)", says: "cli.suite_settled", args: map[string]any{"Suite": string(keys.Suite())}}
	}
	sealed, err := registry.Sealed(ctx, owner)
	if err != nil {
		return away(err)
	}
	if fresh {
		if sealed != "" {
			return configError{setting: keyFileSetting, says: "cli.key_file_lost", args: map[string]any{"Path": g.KeyFile, "Keyring": sealed}}
		}
		if keys, err = seal.GenerateFor(cmp.Or(seal.Suite(c.Suite), seal.AES)); err != nil {
			return err
		}
		if err := keys.Write(ctx, g.KeyFile, kms); err != nil {
			return configError{setting: keyFileSetting, says: err.Error()}
		}
		g.tell("cli.key_file_made", map[string]any{"Path": g.KeyFile})
	}
	m, err := registry.Migrate(ctx, registry.Options{URL: owner, Keys: keys})
	if err != nil {
		return away(err)
	}
	// Asked afterwards: of two who begin a register at once, one has the keys that it is sealed with.
	if sealed, err = registry.Sealed(ctx, owner); err != nil {
		return away(err)
	}
	if sealed != keys.Fingerprint() {
		return configError{setting: keyFileSetting, says: "cli.key_file_foreign", args: map[string]any{"Path": g.KeyFile, "Keyring": sealed}}
	}
	if !keys.CanSign() { // a file from before the audit's heads were signed
		backup, err := keys.AddSigningKey(ctx)
		if err != nil {
			return configError{setting: keyFileSetting, says: err.Error()}
		}
		g.tell("cli.key_backup", map[string]any{"Path": backup})
	}
	// The service signs in as somebody else than the owner: with the owner's address given, that login is made, or gets its password.
	if service, err := url.Parse(g.Database); err == nil && g.Owner != "" && service.User != nil {
		password, _ := service.User.Password()
		if err := registry.MakeLogin(ctx, registry.Options{URL: owner}, service.User.Username(), password); err != nil {
			return away(err)
		}
	}
	return g.print(m, func() {
		fmt.Println(g.say("cli.migrated", map[string]any{"From": m.From, "To": m.To, "Regions": m.Regions, "Keyring": keys.Fingerprint()}))
	})
}

// apart refuses an owner who is the service's login, too: making that login would take from the owner what the owner needs.
func (g *globals) apart() error {
	owner, err := url.Parse(g.Owner)
	if err != nil || owner.Scheme == "" && g.Owner != "" {
		return configError{setting: ownerSetting, says: "cli.database_unreadable"}
	}
	service, err := url.Parse(g.Database)
	if err == nil && g.Owner != "" && owner.User.Username() == service.User.Username() {
		return configError{setting: ownerSetting, says: "cli.owner_is_service", args: map[string]any{"Login": owner.User.Username()}}
	}
	return nil
}

type versionCmd struct{}

// Run implements liferelay version.
func (versionCmd) Run(_ context.Context, g *globals) error {
	v := map[string]string{"version": workflows.BuildVersion(), "go": runtime.Version(), "policy": policy.Fingerprint()}
	return g.print(v, func() { fmt.Printf("liferelay %s (%s), policy %.12s\n", v["version"], v["go"], v["policy"]) })
}

type organisationCmd struct {
	Add   organisationAddCmd   `cmd:"" help:"Enter an organisation and print its id."`
	List  organisationListCmd  `cmd:"" help:"List the organisations."`
	Serve organisationServeCmd `cmd:"" help:"Say which regions an organisation serves beside its own."`
}

type organisationAddCmd struct {
	Name   string `arg:"" help:"Its name."`
	Kind   string `required:"" enum:"red_cross,laboratory,hospital,blood_station,host,receiver" help:"What it is: ${enum}."`
	Region string `required:"" help:"GB/T 2260 code, such as 320106."`
	NameEN string `name:"name-en" help:"Its name in English."`
}

// Run implements liferelay organisation add.
func (c *organisationAddCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	o, err := store.AddOrganisation(ctx, operator(), registry.OrganisationForm{Kind: c.Kind, Name: c.Name, NameEN: c.NameEN, Region: identity.Region(c.Region)})
	if err != nil {
		return err
	}
	return g.print(o, func() { fmt.Println(o.ID) })
}

type organisationServeCmd struct {
	Organisation uuid.UUID         `arg:"" help:"The id of the organisation."`
	Regions      []identity.Region `arg:"" optional:"" help:"GB/T 2260 codes of all that it serves from now on; none when left out."`
}

// Run implements liferelay organisation serve.
func (c *organisationServeCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	o, err := store.SetServiceAreas(ctx, operator(), c.Organisation, 0, registry.ServiceAreaForm{Regions: append([]identity.Region{}, c.Regions...)})
	if err != nil {
		return err
	}
	return g.print(o, func() { printOrganisation(o) })
}

// printOrganisation prints a line; behind the name stands what it serves.
func printOrganisation(o registry.Organisation) {
	fmt.Printf("%s  %-13s  %s  %s", o.ID, o.Kind, o.Region, o.Name)
	for _, region := range o.Serves {
		fmt.Printf(" +%s", region)
	}
	fmt.Println()
}

type organisationListCmd struct{}

// Run implements liferelay organisation list.
func (organisationListCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	after := uuid.Nil
	for {
		list, err := store.ListOrganisations(ctx, operator(), "", after, 200)
		if err != nil {
			return err
		}
		for _, o := range list {
			if err := g.print(o, func() { printOrganisation(o) }); err != nil {
				return err
			}
			after = o.ID
		}
		if len(list) < 200 {
			return nil
		}
	}
}

type staffCmd struct {
	Add    staffAddCmd    `cmd:"" help:"Enter a member of staff. The password is read from the terminal, or the first line of standard input."`
	Grant  staffGrantCmd  `cmd:"" help:"Grant a role in a region until a day."`
	Revoke staffRevokeCmd `cmd:"" help:"Revoke a role in a region."`

	List          staffListCmd          `cmd:"" help:"List the accounts."`
	Show          staffShowCmd          `cmd:"" help:"Show an account."`
	Change        staffChangeCmd        `cmd:"" help:"Change a name, an organisation or a language."`
	ResetPassword staffResetPasswordCmd `cmd:"" help:"Give somebody a password for one sign-in, and print it. Their sessions and tokens end."`
	ResetFactor   staffResetFactorCmd   `cmd:"" help:"Take away a second factor that was lost. The person's sessions end."`
	Unlock        staffUnlockCmd        `cmd:"" help:"Let somebody sign in again after too many failures."`
	EndSessions   staffEndSessionsCmd   `cmd:"" help:"End all of somebody's sessions."`
	Deactivate    staffDeactivateCmd    `cmd:"" help:"End an account, with its sessions and tokens."`
	Reactivate    staffReactivateCmd    `cmd:"" help:"Let somebody work here again."`
	Link          staffLinkCmd          `cmd:"" help:"Say who somebody is at the provider of single sign-on."`
	Unlink        staffUnlinkCmd        `cmd:"" help:"Take that back. The person's sessions end."`
}

type staffAddCmd struct {
	Login        string    `arg:"" help:"What they sign in with."`
	Name         string    `required:"" help:"How colleagues see them."`
	Organisation uuid.UUID `required:"" help:"The id of their organisation."`
	Locale       string    `enum:"zh-CN,en" default:"zh-CN" help:"The language they read: ${enum}."`
	OneTime      bool      `help:"The password has to be changed at the first sign-in."`
}

// Run implements liferelay staff add.
func (c *staffAddCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	password, err := g.readPassword()
	if err != nil {
		return err
	}
	id, err := store.AddStaff(ctx, operator(), registry.StaffForm{Login: c.Login, Name: c.Name, Organisation: c.Organisation, Password: password, Locale: lang.Locale(c.Locale), OneTime: c.OneTime})
	if err != nil {
		return err
	}
	return g.print(map[string]uuid.UUID{"id": id}, func() { fmt.Println(id) })
}

// readPassword never takes it from the command line, where everybody on the machine could read it.
// On a terminal, where nobody sees what is typed, it is typed twice.
func (g *globals) readPassword() (string, error) {
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		var typed [2]string
		for i, id := range []string{"cli.password", "cli.password_again"} {
			fmt.Fprint(os.Stderr, g.say(id, nil))
			raw, err := term.ReadPassword(fd)
			fmt.Fprintln(os.Stderr)
			if err != nil {
				return "", err
			}
			typed[i] = string(raw)
		}
		if typed[0] != typed[1] {
			return "", said{id: "cli.passwords_differ"}
		}
		return typed[0], nil
	}
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

type staffGrantCmd struct {
	Login  string `arg:"" help:"Whose role."`
	Role   string `arg:"" enum:"station,registrar,county_office,city_office,provincial_office,coordinator,organ_coordinator,opo_coordinator,hospital_reporter,collection_hospital,transplant_hospital,laboratory,ethics_member,receiver,blood_importer,family_liaison,memorial_editor,aid_reviewer,bridge,auditor,system_administrator,security_administrator,audit_administrator" help:"${enum}."`
	Region string `required:"" help:"GB/T 2260 code; the role holds in it and all below it. 000000 is the nation."`
	Until  string `help:"The last day, such as 2027-12-31; a year from now when left out." placeholder:"DAY"`
}

// Run implements liferelay staff grant.
func (c *staffGrantCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	until := time.Now().AddDate(1, 0, 0)
	if c.Until != "" {
		day, err := calendar.Parse(c.Until)
		if err != nil {
			return configError{setting: "--until", says: "cli.not_a_day"}
		}
		until = day.AddDays(1).Start(registry.Zone)
	}
	id, err := store.GrantRole(ctx, operator(), registry.GrantForm{Login: c.Login, Role: policy.Role(c.Role), Region: identity.Region(c.Region), Until: until})
	if err != nil {
		return err
	}
	return g.print(map[string]uuid.UUID{"id": id}, func() {
		fmt.Println(g.say("cli.granted", map[string]any{"Login": c.Login, "Role": c.Role, "Region": c.Region, "Until": until.Add(-time.Second).In(registry.Zone).Format(time.DateOnly)}))
	})
}

type staffRevokeCmd struct {
	Login  string `arg:"" help:"Whose role."`
	Role   string `arg:"" enum:"station,registrar,county_office,city_office,provincial_office,coordinator,organ_coordinator,opo_coordinator,hospital_reporter,collection_hospital,transplant_hospital,laboratory,ethics_member,receiver,blood_importer,family_liaison,memorial_editor,aid_reviewer,bridge,auditor,system_administrator,security_administrator,audit_administrator" help:"${enum}."`
	Region string `required:"" help:"In which region it was granted."`
}

// Run implements liferelay staff revoke.
func (c *staffRevokeCmd) Run(ctx context.Context, g *globals) error {
	store, _, err := g.open(ctx, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.RevokeRole(ctx, operator(), c.Login, policy.Role(c.Role), identity.Region(c.Region)); err != nil {
		return err
	}
	return g.print(map[string]bool{"revoked": true}, func() {
		fmt.Println(g.say("cli.revoked", map[string]any{"Login": c.Login, "Role": c.Role, "Region": c.Region}))
	})
}

// bar is a progress bar on standard error, shown on a terminal only.
type bar struct{ *progressbar.ProgressBar }

func progress(what string) *bar {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return &bar{}
	}
	return &bar{progressbar.NewOptions64(1, progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(os.Stderr), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())}
}

func (b *bar) at(done, total int64) {
	if b.ProgressBar != nil {
		b.ChangeMax64(max(total, 1))
		_ = b.Set64(done)
	}
}

func (b *bar) end() {
	if b.ProgressBar != nil {
		_ = b.Finish()
	}
}
