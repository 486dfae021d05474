package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
	"github.com/liferelay/liferelay/registry/registrytest"
)

// server is liferelay serve in a process of its own.
type server struct {
	t    testing.TB
	cmd  *exec.Cmd
	base string
	log  *lockedBuffer
	done chan struct{}
}

type lockedBuffer struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.text.String()
}

// serve starts liferelay serve and waits until it answers, and until its protocols are current when it carries them.
func (i *installation) serve(args ...string) *server {
	i.t.Helper()
	s := &server{t: i.t, log: &lockedBuffer{}, done: make(chan struct{})}
	s.cmd = i.temporal().command(append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	require.NoError(i.t, s.cmd.Start())
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	i.t.Cleanup(func() { s.stop(syscall.SIGKILL) })
	address := regexp.MustCompile(`http://([0-9.:]+)`)
	ready := func() bool {
		if len(args) > 0 && args[0] == "--worker" && !strings.Contains(s.log.String(), "protocols are current") {
			return false
		}
		return address.MatchString(s.log.String())
	}
	s.until(ready, "the service to be up")
	s.base = address.FindString(s.log.String())
	return s
}

func (s *server) until(ok func() bool, what string) {
	s.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.Fail(s.t, "waited for "+what, s.log.String())
		}
		select {
		case <-s.done:
			require.Fail(s.t, "it ended while waiting for "+what, s.log.String())
		default:
		}
	}
}

// stop ends the process by its id and returns its exit code, -1 when the signal itself ended it.
func (s *server) stop(signal os.Signal) int {
	_ = s.cmd.Process.Signal(signal)
	<-s.done
	return s.cmd.ProcessState.ExitCode()
}

// sheet is a drive with a sheet of forms in a file.
func (i *installation) sheet(rows int, faults map[intaketest.Fault]int) (drive registry.DriveView, file string, sheet *intaketest.Sheet) {
	i.t.Helper()
	today := calendar.Of(time.Now(), registry.Zone)
	sheet, err := intaketest.Plan{Seed: 7, Rows: rows, Faults: faults, Day: today.AddDays(-1), Today: today}.Sheet()
	require.NoError(i.t, err)
	drive, err = i.Store.PlanDrive(context.Background(), i.Registrar, forms.Drive{
		Name: "秋季采样", Place: "体育馆", Region: "320106", Laboratory: i.Laboratory.ID, FirstDay: sheet.Day, LastDay: sheet.Day, BarcodeFrom: sheet.BarcodeFrom, BarcodeTo: sheet.BarcodeTo,
	})
	require.NoError(i.t, err)
	data, err := sheet.XLSX()
	require.NoError(i.t, err)
	file = filepath.Join(i.dir, "登记表.xlsx")
	require.NoError(i.t, os.WriteFile(file, data, 0o600))
	return drive, file, sheet
}

// private is what of a sheet may be in no output.
func private(sheet *intaketest.Sheet) []string {
	var out []string
	personal := regexp.MustCompile(`证件号码|手机|电话|姓名`)
	for _, row := range sheet.Rows {
		for c, heading := range sheet.Headings {
			if personal.MatchString(heading) && len(row[c]) > 6 { // shorter texts occur by chance
				out = append(out, row[c])
			}
		}
	}
	return out
}

type report struct {
	Batch    registry.BatchView `json:"batch"`
	Problems []struct {
		Code, Field, Is, Mend string
		Rows                  []int
	} `json:"problems"`
}

func TestASheetIsCheckedBeforeAnythingChanges(t *testing.T) {
	t.Parallel()
	i := install(t)
	drive, file, sheet := i.sheet(40, map[intaketest.Fault]int{intaketest.Checksum: 2, intaketest.BadPhone: 1, intaketest.SexMismatch: 3, intaketest.SamePersonIdentical: 1})
	check := []string{"intake", "check", file, "--as", "registrar", "--drive", drive.Number}
	s := i.run(check...).exits(2)
	require.Contains(t, s.out, "40 = 1 twice in this file + 3 error + 33 ready + 3 please confirm ✔")
	require.Contains(t, s.out, "R104")
	require.Empty(t, s.err)
	zh := i.with("LANG", "zh_CN.UTF-8").run(check...).exits(2)
	require.Regexp(t, `40 = .*✔`, zh.out)
	require.Regexp(t, `R104 .*\n +\p{Han}`, zh.out)
	r := result[report](i.run(append(check, "--json")...).exits(2))
	require.Equal(t, map[string]int{"ready": 33, "warning": 3, "error": 3, "duplicate": 1}, r.Batch.Verdicts)
	require.Zero(t, r.Batch.Outcomes["created"])
	bad := map[int]bool{}
	for _, p := range r.Problems {
		require.NotEmpty(t, p.Is)
		require.NotEmpty(t, p.Mend)
		for _, row := range p.Rows {
			bad[row] = true
		}
	}
	for _, e := range sheet.Expect {
		require.Equal(t, e.Verdict != intake.Ready, bad[e.Row], "row %d", e.Row)
	}
	workbook := filepath.Join(i.dir, "result.xlsx")
	s = i.run(append(check, "--result", workbook)...).exits(2)
	require.Contains(t, s.err, "annotated workbook: "+workbook)
	require.Contains(t, s.err, "sent in before, as "+r.Batch.Number)
	info, err := os.Stat(workbook)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "a workbook with people in it is open to others")
	book, err := excelize.OpenFile(workbook)
	require.NoError(t, err)
	require.NoError(t, book.Close())
	for _, text := range private(sheet) {
		for _, out := range []string{s.out, s.err, zh.out} {
			require.NotContains(t, out, text)
		}
	}
	donors, err := i.Store.ListDonors(context.Background(), i.Registrar, registry.DonorFilter{})
	require.NoError(t, err)
	require.Empty(t, donors, "checking registered somebody")

	for _, c := range []struct {
		what string
		args []string
		code int
		err  string
	}{
		{"a drive that there is not", []string{"intake", "check", file, "--as", "registrar", "--drive", "DR-2000-000001"}, 1, "no such drive"},
		{"somebody who may not", []string{"intake", "check", file, "--as", "auditor", "--drive", drive.Number}, 1, "no such"},
		{"what was never committed", []string{"intake", "undo", file, "--as", "registrar", "--drive", drive.Number}, 1, ""},
		{"a file that was never sent", []string{"intake", "status", i.env["LIFERELAY_KEY_FILE"], "--as", "registrar", "--drive", drive.Number}, 1, "no such batch"},
	} {
		s := i.run(c.args...).exits(c.code)
		require.Contains(t, s.err, c.err, c.what)
	}
	unreadable := filepath.Join(i.dir, "list.pdf")
	require.NoError(t, os.WriteFile(unreadable, []byte("%PDF-1.4"), 0o600))
	require.Contains(t, i.run("intake", "check", unreadable, "--as", "registrar", "--drive", drive.Number).exits(1).err, "F002")
	good, n, _ := i.goodSheet()
	check = []string{"intake", "check", good, "--as", "registrar", "--drive", drive.Number}
	i.run(check...).exits(0)
	// Read otherwise it is judged otherwise, although it was sent in before.
	require.Contains(t, i.run(append(check, "--encoding", "GB18030")...).exits(1).out, "F003")
	require.Contains(t, i.run(append(check, "--encoding", "UTF-8")...).exits(0).out, fmt.Sprintf("%d = %d ready", n, n))
	require.Contains(t, i.run(append(check, "--delimiter", ";;")...).exits(1).err, "R120")
}

// goodSheet is a sheet with nothing wrong.
func (i *installation) goodSheet() (file string, rows int, sheet *intaketest.Sheet) {
	today := calendar.Of(time.Now(), registry.Zone)
	sheet, err := intaketest.Plan{Seed: 11, Rows: 5, Day: today.AddDays(-1), Today: today}.Sheet()
	require.NoError(i.t, err)
	var text strings.Builder
	text.WriteString(strings.Join(sheet.Headings, ",") + "\n")
	for _, row := range sheet.Rows {
		text.WriteString(strings.Join(row, ",") + "\n")
	}
	file = filepath.Join(i.dir, "good.csv")
	require.NoError(i.t, os.WriteFile(file, []byte(text.String()), 0o600))
	return file, len(sheet.Rows), sheet
}

func TestASheetGoesInAndOutOfTheRegister(t *testing.T) {
	t.Parallel()
	i := install(t)
	drive, file, sheet := i.sheet(30, map[intaketest.Fault]int{intaketest.Checksum: 2, intaketest.SexMismatch: 1})
	with := []string{file, "--as", "registrar", "--drive", drive.Number}
	line := func(command string, more ...string) []string {
		return append(append([]string{"intake", command}, with...), more...)
	}

	// Nobody is at the desk: the commit waits for somebody, and says so.
	s := i.run(line("commit", "--wait", "300ms")...).exits(1)
	require.Contains(t, s.err, "It goes on by itself")
	require.Contains(t, i.run(line("status")...).exits(0).out, "committing")

	served := i.serve("--worker")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	served.until(func() bool {
		b, err := i.Store.BatchOfFile(context.Background(), i.Registrar, drive.ID, data)
		require.NoError(t, err)
		return b.Status == "committed"
	}, "the commit")
	r := result[report](i.run(line("status", "--json")...).exits(0))
	require.Equal(t, "committed", r.Batch.Status)
	require.Equal(t, 27, r.Batch.Outcomes["created"])
	require.Equal(t, 30, r.Batch.Outcomes["created"]+r.Batch.Outcomes["skipped"]+r.Batch.Outcomes["failed"])
	require.Equal(t, r.Batch.Outcomes, result[report](i.run(line("commit", "--json")...).exits(2)).Batch.Outcomes, "it was committed twice")

	undone := i.run(line("undo")...).exits(0)
	require.Contains(t, undone.out, "undone")
	require.Contains(t, i.run(line("undo")...).exits(0).out, "undone", "said twice, and done once")
	donors, err := i.Store.ListDonors(context.Background(), i.Registrar, registry.DonorFilter{Status: "enrolling"})
	require.NoError(t, err)
	require.Empty(t, donors)

	good, n, other := i.goodSheet()
	s = i.run("intake", "commit", good, "--as", "registrar", "--drive", drive.Number, "--all-or-nothing").exits(0)
	require.Contains(t, s.out, fmt.Sprintf("%d = %d created ✔", n, n))
	require.Empty(t, s.err, "a progress bar where nobody looks")

	require.Zero(t, served.stop(syscall.SIGTERM), served.log.String())
	for _, text := range append(private(sheet), private(other)...) {
		require.NotContains(t, served.log.String(), text)
	}
}

func TestCasesAreSeenAndTakenUpAgainAtTheMachine(t *testing.T) {
	t.Parallel()
	i := install(t)
	drive, _, _ := i.sheet(1, nil)
	require.Contains(t, i.temporal().with("LIFERELAY_TEMPORAL_ADDRESS", "127.0.0.1:1").run("cases", "resume").exits(1).err, "desk does not answer")
	i.serve("--worker")
	require.Eventually(t, func() bool {
		tasks, err := i.Store.ListTasks(context.Background(), i.Registrar, registry.TaskFilter{CaseID: drive.ID})
		require.NoError(t, err)
		return len(tasks) > 0
	}, 30*time.Second, 50*time.Millisecond)

	listed := i.run("cases", "list", "--as", "coordinator").exits(0)
	require.Regexp(t, `(?m)^`+drive.ID.String()+`  `+drive.Number+` +320106  open · Close the drive's counts$`, listed.out)
	require.Empty(t, listed.err)
	require.Contains(t, i.with("LIFERELAY_AS", "coordinator").run("cases", "list", "--protocol", "drive", "--limit", "1").exits(0).out, drive.Number)
	require.Empty(t, i.run("cases", "list", "--as", "coordinator", "--status", "ended").exits(0).out)
	_, err := i.Store.PlanDrive(context.Background(), i.Registrar, forms.Drive{Name: "又一场", Place: "馆", Region: "320106", FirstDay: drive.FirstDay, LastDay: drive.LastDay})
	require.NoError(t, err)
	require.Contains(t, i.run("cases", "list", "--as", "coordinator", "--limit", "1").exits(0).err, "There is more than 1 case:")
	require.Empty(t, i.run("cases", "list", "--as", "transplant").exits(0).out, "a hospital sees another's cases")
	require.Equal(t, drive.ID, result[registry.CaseLine](i.run("cases", "list", "--as", "coordinator", "--status", "all", "--limit", "1", "--json").exits(0)).ID)

	shown := i.run("cases", "show", drive.ID.String(), "--as", "coordinator").exits(0)
	require.Contains(t, shown.out, "Close the drive's counts, due ")
	zh := i.with("LANG", "zh_CN.UTF-8").run("cases", "show", drive.ID.String(), "--as", "coordinator").exits(0)
	require.Contains(t, zh.out, drive.Number+"  进行中 · 活动清点\n")
	require.Contains(t, zh.out, "活动清点，期限 ")
	require.NotEmpty(t, result[registry.CaseView](i.run("cases", "show", drive.ID.String(), "--as", "coordinator", "--json").exits(0)).Tasks)
	require.Contains(t, i.run("cases", "show", uuid.NewString(), "--as", "coordinator").exits(1).err, "no such case")
	require.Contains(t, i.run("cases", "show", drive.ID.String(), "--as", "transplant").exits(1).err, "no such case")

	require.Equal(t, "2 open cases have their protocol running (drive 2).\n", i.run("cases", "resume").exits(0).out)
	require.JSONEq(t, `{"drive": 2}`, i.run("cases", "resume", "--json").exits(0).out)
	require.Contains(t, i.with("LIFERELAY_LANG", "zh-CN").run("cases", "resume").exits(0).out, "未结个案")
}

// request is one that is sent by hand, so that it can stop on its way.
type request struct {
	t    testing.TB
	conn net.Conn
}

func (s *server) begin(method, path string, length int, headers ...string) *request {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nIdempotency-Key: %s\r\n", method, path, conn.RemoteAddr(), length, uuid.NewString())
	for i := 0; i+1 < len(headers); i += 2 {
		head += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	_, err = io.WriteString(conn, head+"\r\n")
	require.NoError(s.t, err)
	return &request{s.t, conn}
}

func (r *request) end(body []byte) (status int, answer []byte) {
	r.t.Helper()
	_, err := r.conn.Write(body)
	require.NoError(r.t, err)
	resp, err := http.ReadResponse(bufio.NewReader(r.conn), nil)
	require.NoError(r.t, err)
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, answer
}

// A service that is told to stop answers first whom it has heard, decisions too, for which it needs its own worker.
func TestAServiceThatIsToldToStopAnswersWhomItHasHeard(t *testing.T) {
	t.Parallel()
	i := install(t)
	drive, _, _ := i.sheet(1, nil)
	s := i.serve("--worker")
	session, err := i.Store.SignIn(context.Background(), "registrar", registrytest.Password, registry.BearerSession, time.Hour, registry.From{})
	require.NoError(t, err)
	var task registry.TaskView
	require.Eventually(t, func() bool {
		tasks, err := i.Store.ListTasks(context.Background(), i.Registrar, registry.TaskFilter{CaseID: drive.ID})
		require.NoError(t, err)
		if len(tasks) == 1 {
			task = tasks[0]
		}
		return len(tasks) == 1
	}, 30*time.Second, 50*time.Millisecond)
	form, err := json.Marshal(map[string]any{"outcome": "closed", "forms": 0, "tubes": 0, "consents": 0})
	require.NoError(t, err)
	heard := s.begin(http.MethodPost, "/v1/tasks/"+task.ID.String()+"/answers/drive.closing", len(form), "Authorization", "Bearer "+session.Token, "If-Match", fmt.Sprintf("%q", fmt.Sprint(task.Version)),
		"Content-Type", "application/json", "Connection", "close")
	_, err = heard.conn.Write(form[:5])
	require.NoError(t, err)
	idle, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
	require.NoError(t, err)
	defer func() { _ = idle.Close() }()
	require.Eventually(t, func() bool { // the request has been taken up
		resp, err := http.Get(s.base + "/readyz")
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode == http.StatusOK
	}, 10*time.Second, 20*time.Millisecond)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.until(func() bool { return strings.Contains(s.log.String(), `"msg":"stopping"`) }, "the service to stop")
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, 10*time.Second, 20*time.Millisecond, "it still lets others in")
	status, answer := heard.end(form[5:])
	require.Equal(t, http.StatusOK, status, "%s\n%s", answer, s.log.String())
	<-s.done
	require.Zero(t, s.cmd.ProcessState.ExitCode(), s.log.String())
}

func TestASecondSignalEndsTheProgramAtOnce(t *testing.T) {
	t.Parallel()
	i := install(t)
	s := i.serve()
	s.begin(http.MethodPost, "/v1/session", 100) // and the rest never comes
	resp, err := http.Get(s.base + "/livez")     // connections are taken up in their order
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGINT))
	s.until(func() bool { return strings.Contains(s.log.String(), `"msg":"stopping"`) }, "the service to stop")
	select {
	case <-s.done:
		require.Fail(t, "it did not wait for whom it has heard", s.log.String())
	case <-time.After(time.Second):
	}
	began := time.Now()
	s.stop(syscall.SIGINT)
	require.Less(t, time.Since(began), 10*time.Second)
}

func TestTheWorkerWaitsForADeskThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	i := install(t).temporal()
	s := &server{t: t, log: &lockedBuffer{}, done: make(chan struct{})}
	s.cmd = i.with("LIFERELAY_TEMPORAL_ADDRESS", "127.0.0.1:1").command("worker")
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	require.NoError(t, s.cmd.Start())
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(func() { s.stop(syscall.SIGKILL) })
	s.until(func() bool { return strings.Contains(s.log.String(), "does not answer yet") }, "the worker to wait")
	require.Zero(t, s.stop(syscall.SIGTERM), s.log.String())
}
