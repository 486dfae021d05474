// Package demo runs Liferelay's main job for people to watch: a college's sheet of consent forms goes in, samples are drawn
// and typed, a hospital finds a donor, and the case is carried to the last visit of ten years of follow-up.
//
// It guarantees that it does so the way an office would: a service and a worker run as processes of their own, and
// everything is done through the API by the people whose work it is. Only two things are the demo's: it makes up the sheet,
// and it lets time pass.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/api"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
	"github.com/liferelay/liferelay/registry/seal"
	"github.com/liferelay/liferelay/workflows"
)

// Options are what the demo is told.
type Options struct {
	Database, Temporal, Namespace, TaskQueue string
	Program                                  string // what is run as service and worker; this program when empty
	Dir                                      string // for the key file and the logs
	Seed                                     uint64
	KillWorker                               bool // end the worker with kill -9 in the middle of the commit
	Out                                      io.Writer
	// Heard is told every answer that somebody of the demo gets; nil when nobody listens.
	Heard func(Heard)
}

// Result is what the demo's last line says.
type Result struct {
	Forms, Ready, Warnings, Errors, Duplicates, Enrolled, Listed, Candidates int
	Case                                                                     string
	FollowUps                                                                int
	Audit                                                                    string
	// Beside the line.
	Restarts int      // of the worker
	Secrets  []string // what nobody but the register may have seen: names, numbers, phones of the sheet
}

// Line is the machine-readable summary.
func (r Result) Line() string {
	return fmt.Sprintf("demo: forms=%d ready=%d warnings=%d errors=%d duplicates=%d enrolled=%d listed=%d candidates=%d case=%s followups=%d audit=%s",
		r.Forms, r.Ready, r.Warnings, r.Errors, r.Duplicates, r.Enrolled, r.Listed, r.Candidates, r.Case, r.FollowUps, r.Audit)
}

// Demo is a running installation with its people.
type Demo struct {
	Result
	Base    string // where the API answers
	Options Options
	serve   *process
	worker  *process
	desk    *workflows.Client
	today   calendar.Date
	began   time.Time
	telling sync.Mutex // the processes' ends are told as they come
	stop    context.CancelFunc

	admin, registrar, coordinator, technician, collector, second, transplant, rival, auditor *person

	county, city, laboratory, collection, hospital, otherHospital uuid.UUID

	sheet    *intaketest.Sheet
	driveID  uuid.UUID
	searchID uuid.UUID
}

// Password is every demo person's.
const Password = "demo-only-password"

// say tells what is happening, with the time since the beginning.
func (d *Demo) say(format string, args ...any) {
	d.telling.Lock()
	defer d.telling.Unlock()
	_, _ = fmt.Fprintf(d.Options.Out, "%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *Demo) title(zh, en string) {
	d.telling.Lock()
	defer d.telling.Unlock()
	_, _ = fmt.Fprintf(d.Options.Out, "\n── %s · %s\n", zh, en)
}

// Start sets the installation up on an empty register and returns when the API answers. When it fails it leaves no process
// behind.
func Start(ctx context.Context, o Options) (_ *Demo, err error) {
	d := &Demo{Options: o, began: time.Now(), today: calendar.Of(time.Now(), registry.Zone)}
	defer func() {
		if err != nil {
			d.Stop()
		}
	}()
	d.title("准备", "Setting up")
	keyFile, keys, err := d.keyring()
	if err != nil {
		return nil, err
	}
	sealed, err := registry.Sealed(ctx, o.Database)
	if err != nil {
		return nil, err
	}
	if sealed != "" {
		return nil, errors.New("the database has a register in it, and the demo wants an empty one: make demo starts with one of its own")
	}
	m, err := registry.Migrate(ctx, registry.Options{URL: o.Database, Keys: keys})
	if err != nil {
		return nil, err
	}
	// The service and the worker sign in as a role that owns nothing, made for this demo.
	service, err := url.Parse(o.Database)
	if err != nil {
		return nil, err
	}
	login, password := "liferelay_demo_"+uuid.NewString()[:8], uuid.NewString()
	if err := registry.MakeLogin(ctx, registry.Options{URL: o.Database}, login, password); err != nil {
		return nil, err
	}
	service.User = url.UserPassword(login, password)
	d.say("schema %d, %d regions of GB/T 2260", m.To, m.Regions)
	if err := d.bootstrap(ctx, keys); err != nil {
		return nil, err
	}
	if d.desk, err = workflows.Dial(workflows.Options{Address: o.Temporal, Namespace: o.Namespace, TaskQueue: o.TaskQueue, Keys: keys}); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	d.Base = "http://" + listen
	env := []string{
		"LIFERELAY_DATABASE_URL=" + service.String(), "LIFERELAY_TEMPORAL_ADDRESS=" + o.Temporal, "LIFERELAY_TEMPORAL_NAMESPACE=" + o.Namespace,
		"LIFERELAY_TEMPORAL_TASK_QUEUE=" + o.TaskQueue, "LIFERELAY_KEY_FILE=" + keyFile, "LIFERELAY_LISTEN=" + listen, "LIFERELAY_INSECURE_COOKIES=true",
	}
	if d.serve, err = startProcess(running, o, "serve", env, d.say, "serve"); err != nil {
		return nil, err
	}
	if d.worker, err = startProcess(running, o, "worker", env, d.say, "worker"); err != nil {
		return nil, err
	}
	err = until(ctx, "the API", func() (bool, error) {
		select {
		case <-d.serve.done:
			return false, errors.New("the service does not start: see " + d.serve.log)
		default:
		}
		resp, err := http.Get(d.Base + "/readyz")
		if err != nil {
			return false, nil
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		return nil, err
	}
	d.say("the API answers at %s, a worker carries the protocols (process %d); their logs are in %s", d.Base, d.worker.pid(), o.Dir)
	return d, nil
}

// Stop ends the processes.
func (d *Demo) Stop() {
	if d.stop == nil {
		return
	}
	d.stop()
	for _, p := range []*process{d.worker, d.serve} {
		if p != nil {
			<-p.done
		}
	}
	if d.desk != nil {
		d.desk.Close()
	}
}

func (d *Demo) keyring() (string, *seal.Keyring, error) {
	path := filepath.Join(d.Options.Dir, "keys.json")
	keys, err := seal.Generate()
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(d.Options.Dir, 0o700); err != nil {
		return "", nil, err
	}
	return path, keys, keys.WriteFile(path)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// bootstrap enters the three administrators, as an operator does with liferelay staff add: everybody else is entered by
// them, through the API.
func (d *Demo) bootstrap(ctx context.Context, keys *seal.Keyring) error {
	store, err := registry.Open(ctx, registry.Options{URL: d.Options.Database, Keys: keys})
	if err != nil {
		return err
	}
	defer store.Close()
	operator := registry.Operator("demo")
	office, err := store.AddOrganisation(ctx, operator, registry.OrganisationForm{Kind: "red_cross", Name: "江苏省红十字会", NameEN: "Jiangsu Red Cross", Region: "320000"})
	if err != nil {
		return err
	}
	for _, first := range []struct {
		login, name string
		role        policy.Role
	}{{"admin", "系统管理员", policy.SystemAdministrator}, {"security", "安全管理员", policy.SecurityAdministrator}, {"keeper", "审计管理员", policy.AuditAdministrator}} {
		if _, err := store.AddStaff(ctx, operator, registry.StaffForm{Login: first.login, Name: first.name, Organisation: office.ID, Password: Password}); err != nil {
			return err
		}
		if _, err := store.GrantRole(ctx, operator, registry.GrantForm{Login: first.login, Role: first.role, Region: identity.Nation, Until: time.Now().AddDate(2, 0, 0)}); err != nil {
			return err
		}
	}
	return nil
}

// signIn opens a session for a member of staff.
func (d *Demo) signIn(ctx context.Context, login string) (*person, error) {
	p := &person{name: login, base: d.Base, http: &http.Client{Timeout: 5 * time.Minute}, heard: d.Options.Heard}
	var session api.SessionView
	err := p.call(ctx, http.MethodPost, "/v1/session", map[string]any{"login": login, "password": Password, "kind": "bearer", "days": 7}, &session)
	p.token = session.Token
	return p, err
}

// staffing has the administrators enter the organisations and people, each with a role in a region: one enters accounts, another
// gives roles, and a third names the auditor.
func (d *Demo) staffing(ctx context.Context) error {
	d.title("机构与人员", "Organisations and people")
	var err error
	var security, keeper *person
	for who, login := range map[**person]string{&d.admin: "admin", &security: "security", &keeper: "keeper"} {
		if *who, err = d.signIn(ctx, login); err != nil {
			return err
		}
	}
	for _, o := range []struct {
		id                          *uuid.UUID
		kind, name, english, region string
	}{
		{&d.city, "red_cross", "南京市红十字会", "Nanjing Red Cross", "320100"},
		{&d.county, "red_cross", "鼓楼区红十字会", "Gulou District Red Cross", "320106"},
		{&d.laboratory, "laboratory", "江苏组织配型实验室", "Jiangsu HLA Laboratory", "320100"},
		{&d.collection, "hospital", "南京采集医院", "Nanjing Collection Hospital", "320104"},
		{&d.hospital, "hospital", "上海移植医院", "Shanghai Transplant Hospital", "310104"},
		{&d.otherHospital, "hospital", "北京移植医院", "Beijing Transplant Hospital", "110108"},
	} {
		var made registry.Organisation
		if err := d.admin.call(ctx, http.MethodPost, "/v1/organisations", map[string]any{"kind": o.kind, "name": o.name, "name_en": o.english, "region": o.region}, &made); err != nil {
			return err
		}
		*o.id = made.ID
	}
	var names []string
	for _, s := range []struct {
		who                       **person
		login, name, role, region string
		at                        uuid.UUID
	}{
		{&d.registrar, "registrar", "登记员", "registrar", "320106", d.county},
		{&d.coordinator, "coordinator", "协调员", "coordinator", "320106", d.county},
		{&d.technician, "technician", "检验师", "laboratory", "320100", d.laboratory},
		{&d.collector, "collector", "采集医师", "collection_hospital", "320104", d.collection},
		{&d.second, "second", "采集副主任", "collection_hospital", "320104", d.collection},
		{&d.transplant, "transplant", "移植医师", "transplant_hospital", "310104", d.hospital},
		{&d.rival, "rival", "移植医师", "transplant_hospital", "110108", d.otherHospital},
		{&d.auditor, "auditor", "审计员", "auditor", "000000", d.city},
	} {
		if err := d.admin.call(ctx, http.MethodPost, "/v1/staff", map[string]any{"login": s.login, "name": s.name, "organisation": s.at, "password": Password}, nil); err != nil {
			return err
		}
		grant := map[string]any{"login": s.login, "role": s.role, "region": s.region, "until": time.Now().AddDate(1, 0, 0)}
		giver := security
		if s.role == string(policy.Auditor) {
			giver = keeper
		}
		if err := giver.call(ctx, http.MethodPost, "/v1/grants", grant, nil); err != nil {
			return err
		}
		if *s.who, err = d.signIn(ctx, s.login); err != nil {
			return err
		}
		names = append(names, s.login)
	}
	d.say("6 organisations; signed in: %s", strings.Join(names, ", "))
	return nil
}

// Run does the main job from the sheet to the last follow-up, and checks every figure against the sheet it made.
func (d *Demo) Run(ctx context.Context) error {
	for _, part := range []func(context.Context) error{d.staffing, d.drive, d.wishes, d.laboratoryWork, d.search, d.stemCell, d.followUp, d.verify} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	d.Restarts = d.worker.restarts()
	return nil
}

func (d *Demo) verify(ctx context.Context) error {
	d.title("审计", "Audit")
	var report registry.AuditReport
	if err := d.auditor.call(ctx, http.MethodPost, "/v1/audit/verify", nil, &report); err != nil {
		return err
	}
	if !report.Verified {
		return fmt.Errorf("the audit is broken: %s %s", report.Finding, report.Row)
	}
	d.Audit = "verified"
	d.say("%d audit rows in %d seals are as they were written", report.Rows, report.Seals)
	return nil
}
