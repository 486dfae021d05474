package courier_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/courier"
	"github.com/liferelay/liferelay/notify"
	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/registrytest"
	"github.com/liferelay/liferelay/registry/seal"
)

// post is a mail server on loopback that keeps what it takes.
type post struct {
	sync.Mutex
	taken  []letter
	refuse func(to string) error
	after  func() // once it has taken a letter, before it says so
}

type letter struct {
	to, id, subject, body string
}

type postSession struct {
	p  *post
	to string
}

func (s *postSession) Reset()                               {}
func (s *postSession) Logout() error                        { return nil }
func (s *postSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *postSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	s.p.Lock()
	defer s.p.Unlock()
	if s.p.refuse != nil {
		return s.p.refuse(to)
	}
	return nil
}

func (s *postSession) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		return err
	}
	s.p.Lock()
	s.p.taken = append(s.p.taken, letter{s.to, m.Header.Get("Message-ID"), subject, decoded(string(body))})
	after := s.p.after
	s.p.Unlock()
	if after != nil {
		after()
	}
	return nil
}

// decoded undoes quoted-printable and base64 of parts, near enough to look for words.
func decoded(body string) string {
	var out strings.Builder
	for part := range strings.SplitSeq(body, "\r\n\r\n") {
		flat := strings.ReplaceAll(strings.ReplaceAll(part, "=\r\n", ""), "\r\n", "")
		if raw, err := base64.StdEncoding.DecodeString(flat); err == nil && len(flat) > 8 {
			out.Write(raw)
		}
		out.WriteString(quoted.ReplaceAllStringFunc(strings.ReplaceAll(part, "=\r\n", ""), func(s string) string {
			var b byte
			_, _ = fmt.Sscanf(s[1:], "%02X", &b)
			return string([]byte{b})
		}))
	}
	return out.String()
}

var quoted = regexp.MustCompile(`=[0-9A-F]{2}`)

func (p *post) letters() []letter {
	p.Lock()
	defer p.Unlock()
	return append([]letter(nil), p.taken...)
}

// serve starts the mail server and gives who sends through it.
func (p *post) serve(t testing.TB) *notify.Mailer {
	t.Helper()
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &postSession{p: p}, nil }))
	server.Domain = "localhost"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	m, err := notify.NewMailer("smtp://"+l.Addr().String()+"?tls=none", "Liferelay <noreply@liferelay.test>")
	require.NoError(t, err)
	return m
}

// office is a furnished register with a clock, a mail server and a gateway.
type office struct {
	*registrytest.House
	t     testing.TB
	url   string
	post  *post
	mail  *notify.Mailer
	sms   *notify.Gateway
	short chan notify.SMS
	lock  sync.Mutex
	at    time.Time
}

// noon is a Monday's, in the office's zone.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, registry.Zone)

const smsKey = "key of the gateway"

func newOffice(t testing.TB) *office {
	t.Helper()
	o := &office{t: t, url: registrytest.NewHouseDatabase(t), post: &post{}, short: make(chan notify.SMS, 100), at: noon}
	o.House = registrytest.OpenHouse(t, o.open())
	o.mail = o.post.serve(t)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var sec int64
		_, _ = fmt.Sscan(r.Header.Get("webhook-timestamp"), &sec)
		if r.Header.Get("webhook-signature") != notify.Sign(smsKey, r.Header.Get("webhook-id"), time.Unix(sec, 0), body) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var m notify.SMS
		_ = json.Unmarshal(body, &m)
		o.short <- m
	}))
	t.Cleanup(gateway.Close)
	var err error
	o.sms, err = notify.NewGateway(gateway.URL, smsKey)
	require.NoError(t, err)
	return o
}

func (o *office) now() time.Time {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.at
}

func (o *office) set(at time.Time) {
	o.lock.Lock()
	defer o.lock.Unlock()
	o.at = at
}

// open opens another store on the register, as another process would.
func (o *office) open() *registry.Store {
	o.t.Helper()
	s, err := registry.Open(context.Background(), registry.Options{
		URL: o.url, Keys: registrytest.Keys(), Log: registrytest.Log(o.t), Now: o.now, MaxConnections: 6, Channels: []registry.Channel{registry.ByEmail, registry.ByText}, PrivateHooks: true,
	})
	require.NoError(o.t, err)
	o.t.Cleanup(s.Close)
	return s
}

func (o *office) courier(store *registry.Store) *courier.Courier {
	return &courier.Courier{Store: store, Mail: o.mail, SMS: o.sms, Hooks: notify.NewHooks(true), Public: "https://register.test", Log: registrytest.Log(o.t)}
}

// carry does rounds until nothing is due.
func (o *office) carry(c *courier.Courier) {
	o.t.Helper()
	for range 50 {
		busy, err := c.Round(context.Background())
		require.NoError(o.t, err)
		if !busy {
			return
		}
	}
	o.t.Fatal("there is always more")
}

func (o *office) sql(statement string, args ...any) {
	o.t.Helper()
	conn, err := pgx.Connect(context.Background(), registrytest.Past(o.t, o.url))
	require.NoError(o.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(context.Background(), statement, args...)
	require.NoError(o.t, err)
}

func (o *office) strings(query string, args ...any) []string {
	o.t.Helper()
	conn, err := pgx.Connect(context.Background(), registrytest.Past(o.t, o.url))
	require.NoError(o.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(context.Background(), query, args...)
	require.NoError(o.t, err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(o.t, err)
	return out
}

// notice writes one as an act would.
func (o *office) notice(code string, urgent bool, role policy.Role, args string) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	o.sql(`INSERT INTO notices (id, code, args, role, region, urgent, dedupe, at, created_at) VALUES ($1, $2, $3, $4, '320106', $5, $6, $7, $7)`, id, code, args, string(role), urgent, id.String(), o.now())
	return id
}

// reach enters where somebody is reached and brings the code back.
func (o *office) reach(who registry.Actor, f registry.ContactForm) {
	o.t.Helper()
	ctx := context.Background()
	_, err := o.Store.SetContactPoint(ctx, who, f)
	require.NoError(o.t, err)
	before := len(o.post.letters())
	o.carry(o.courier(o.Store))
	var text string
	channel := registry.ByEmail
	if f.Mail.Empty() {
		channel = registry.ByText
		text = (<-o.short).Text
	} else {
		all := o.post.letters()
		require.Len(o.t, all, before+1)
		require.Equal(o.t, f.Mail.Reveal(), all[before].to)
		text = all[before].body
	}
	code := codeIn(text)
	require.NotEmpty(o.t, code, text)
	settings, err := o.Store.VerifyContactPoint(ctx, who, channel, registry.ContactCode{Code: code})
	require.NoError(o.t, err)
	for _, p := range settings.Points {
		if p.Channel == channel {
			require.True(o.t, p.Verified)
		}
	}
	o.set(o.now().Add(2 * time.Minute)) // another code may be asked for
}

// codeIn finds the code that a message brings.
func codeIn(text string) string {
	found := regexp.MustCompile(`验证码(?:是)? (\d{6})`).FindStringSubmatch(text)
	if found == nil {
		return ""
	}
	return found[1]
}

func mailbox(name string) registry.ContactForm {
	return registry.ContactForm{Mail: seal.EmailOf(name + "@staff.test")}
}

func TestAnUrgentNoticeGoesToWhoeverHasTheRoleThereAndSaysNothingOfAnybodysHealth(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.reach(o.Coordinator, mailbox("coordinator"))
	o.reach(o.Coordinator, registry.ContactForm{Phone: seal.PhoneOf("13812345678")})
	o.reach(o.Registrar, mailbox("registrar"))
	far := o.Staff(t, "far", o.OtherTransplant, policy.Coordinator, "110108")
	o.reach(far, mailbox("far"))
	before := len(o.post.letters())
	o.notice("care.alert", true, policy.Coordinator, `{"Flags": ["pain"]}`)
	o.notice("stemcell.emergency", true, policy.Coordinator, `{"Case": "SC-2026-000001"}`)
	o.carry(o.courier(o.Store))
	letters := o.post.letters()[before:]
	require.Len(t, letters, 2)
	for i, says := range []string{"您有一条新通知，请登录查看。", "个案 SC-2026-000001 有一条需要查看的通知"} {
		found := false
		for _, l := range letters {
			require.Equal(t, "coordinator@staff.test", l.to)
			require.Equal(t, "【生命接力】您有一条紧急通知", l.subject)
			require.Contains(t, l.body, "https://register.test/notices")
			require.NotContains(t, l.body, "随访")
			require.NotContains(t, l.body, "捐献无法")
			found = found || strings.Contains(l.body, says)
		}
		require.True(t, found, "%d %s", i, says)
	}
	for range 2 {
		m := <-o.short
		require.Equal(t, "+8613812345678", m.To)
		require.True(t, m.Urgent)
		require.Contains(t, m.Text, "通知，请登录")
	}
	require.Empty(t, o.short)
}

func TestADeliveryIsMadeOncePerPersonAndChannelHoweverManyProcessesCarry(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.reach(o.Coordinator, mailbox("coordinator"))
	before := len(o.post.letters())
	for range 40 {
		o.notice("drive.team", true, policy.Coordinator, `{"Number": "DR-2026-000001", "First": "2026-12-01", "Last": "2026-12-02"}`)
	}
	var all sync.WaitGroup
	for range 3 {
		c := o.courier(o.open())
		all.Go(func() {
			for range 40 {
				_, err := c.Round(context.Background())
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	ids := map[string]int{}
	for _, l := range o.post.letters()[before:] {
		ids[l.id]++
	}
	require.Len(t, ids, 40)
	for id, n := range ids {
		require.Equal(t, 1, n, id)
	}
}

func TestWhoDiesAfterTheServerTookAMessageHasItSentAgainUnderTheSameNameAndNotMore(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.reach(o.Coordinator, mailbox("coordinator"))
	before := len(o.post.letters())
	o.notice("drive.team", true, policy.Coordinator, `{"Number": "DR-2026-000001", "First": "2026-12-01", "Last": "2026-12-02"}`)
	first := o.open()
	dying, die := context.WithCancel(context.Background())
	o.post.after = func() {
		first.Close() // the process is gone: what became of it is written nowhere
		die()
		time.Sleep(0)
	}
	_, _ = o.courier(first).Round(dying)
	o.post.Lock()
	o.post.after = nil
	o.post.Unlock()
	require.Len(t, o.post.letters()[before:], 1)

	second := o.courier(o.Store)
	o.carry(second)
	require.Len(t, o.post.letters()[before:], 1, "its lease has not ended")
	o.set(o.now().Add(3 * time.Minute))
	o.carry(second)
	sent := o.post.letters()[before:]
	require.Len(t, sent, 2)
	require.Equal(t, sent[0].id, sent[1].id)
	o.set(o.now().Add(time.Hour))
	o.carry(second)
	require.Len(t, o.post.letters()[before:], 2)
}

func TestWhoHasLeftOrLostTheRoleGetsNothingOfWhatWasOnItsWay(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ctx := context.Background()
	leaver, stays := o.Staff(t, "leaver", o.County, policy.Coordinator, "320106"), o.Staff(t, "stays", o.County, policy.Coordinator, "320106")
	demoted := o.Staff(t, "demoted", o.County, policy.Coordinator, "320106")
	for login, who := range map[string]registry.Actor{"leaver": leaver, "stays": stays, "demoted": demoted} {
		o.reach(who, mailbox(login))
	}
	before := len(o.post.letters())
	o.notice("drive.team", true, policy.Coordinator, `{"Number": "DR-2026-000001", "First": "2026-12-01", "Last": "2026-12-02"}`)
	n, err := o.Store.SpreadNotices(ctx, registry.System("test"), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Len(t, o.strings(`SELECT id::text FROM deliveries WHERE state = 'waiting'`), 3)
	require.NoError(t, o.Store.DeactivateStaff(ctx, o.Administrator, leaver.Staff()))
	o.sql(`UPDATE role_grants SET revoked_at = now() WHERE staff_id = $1`, demoted.Staff())
	o.carry(o.courier(o.Store))
	sent := o.post.letters()[before:]
	require.Len(t, sent, 1)
	require.Equal(t, "stays@staff.test", sent[0].to)
	require.Equal(t, []string{"left", "left"}, o.strings(`SELECT outcome FROM deliveries WHERE state = 'dropped'`))
	require.Empty(t, o.strings(`SELECT id::text FROM contact_points WHERE staff_id = $1`, leaver.Staff()), "where a leaver was reached is kept")
}

func TestQuietHoursHoldMailAtBothTheirEdgesAndLetUrgentShortMessagesPass(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.reach(o.Coordinator, mailbox("coordinator"))
	o.reach(o.Coordinator, registry.ContactForm{Phone: seal.PhoneOf("13812345678")})
	c := o.courier(o.Store)
	day := func(hour, minute, second int) time.Time {
		return time.Date(2026, 12, 1, hour, minute, second, 0, registry.Zone)
	}
	sent := func() int { return len(o.post.letters()) }
	for i, edge := range []struct {
		at    time.Time
		quiet bool
	}{{day(6, 59, 59), true}, {day(7, 0, 0), false}, {day(21, 59, 59), false}, {day(22, 0, 0), true}, {day(23, 59, 59), true}, {day(24, 0, 0), true}} {
		before := sent()
		o.set(edge.at)
		o.notice("drive.team", true, policy.Coordinator, fmt.Sprintf(`{"Number": "DR-2026-%06d", "First": "2026-12-01", "Last": "2026-12-02"}`, i))
		o.carry(c)
		require.Contains(t, (<-o.short).Text, fmt.Sprintf("DR-2026-%06d", i), "an urgent short message passes")
		if edge.quiet {
			require.Equal(t, before, sent(), edge.at)
			morning := day(7, 0, 0)
			if edge.at.Hour() >= 22 || edge.at.Equal(day(24, 0, 0)) {
				morning = morning.AddDate(0, 0, 1)
			}
			o.set(morning.Add(-time.Second))
			o.carry(c)
			require.Equal(t, before, sent(), "a second before the quiet hours end")
			o.set(morning)
			o.carry(c)
		}
		require.Equal(t, before+1, sent(), edge.at)
		// Those of the day before were sent: the next edge begins anew.
		o.sql(`DELETE FROM deliveries WHERE kind = 'notice'`)
	}
	_, err := o.Store.SetNoticePreferences(context.Background(), o.Coordinator, registry.NoticePreferences{Mail: "urgent", SMS: "off", Quiet: "12:00-13:00"})
	require.NoError(t, err)
	o.set(day(12, 30, 0))
	before := sent()
	o.notice("drive.team", true, policy.Coordinator, `{"Number": "DR-2026-000009", "First": "2026-12-01", "Last": "2026-12-02"}`)
	o.carry(c)
	require.Equal(t, before, sent(), "one's own quiet hours")
	require.Empty(t, o.short)
	o.set(day(13, 0, 0))
	o.carry(c)
	require.Equal(t, before+1, sent())
}

// Whatever happens in whatever order, over two processes: nobody gets two digests on a day, and nothing that was gathered is said twice.
func TestNobodyGetsTwoDigestsOnADay(t *testing.T) {
	o := newOffice(t)
	o.reach(o.Coordinator, mailbox("coordinator"))
	couriers := []*courier.Courier{o.courier(o.Store), o.courier(o.open())}
	at := noon
	rapid.Check(t, func(rt *rapid.T) {
		at = at.Add(72 * time.Hour)
		o.set(at)
		o.sql(`DELETE FROM deliveries`)
		o.sql(`DELETE FROM notices`)
		o.post.Lock()
		o.post.taken, o.post.refuse = nil, nil
		o.post.Unlock()
		days := map[string]int{}
		noted := 0
		for range rapid.IntRange(4, 14).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0, 1:
				o.notice("drive.team", false, policy.Coordinator, fmt.Sprintf(`{"Number": "DR-%06d.", "First": "1", "Last": "2"}`, noted))
				noted++
			case 2:
				at = at.Add(time.Duration(rapid.IntRange(1, 14*60).Draw(rt, "minutes")) * time.Minute)
				o.set(at)
			case 3:
				failing := rapid.Bool().Draw(rt, "failing")
				o.post.Lock()
				o.post.refuse = nil
				if failing {
					o.post.refuse = func(string) error { return &smtp.SMTPError{Code: 451, Message: "later"} }
				}
				o.post.Unlock()
			default:
				before := len(o.post.letters())
				var both sync.WaitGroup
				errs := make([]error, 2)
				for i, c := range couriers {
					both.Go(func() { _, errs[i] = c.Round(context.Background()) })
				}
				both.Wait()
				require.NoError(rt, errors.Join(errs...))
				days[at.In(registry.Zone).Format(time.DateOnly)] += len(o.post.letters()) - before
			}
		}
		for day, n := range days {
			require.LessOrEqual(rt, n, 1, day)
		}
		said := map[string]bool{}
		for _, l := range o.post.letters() {
			inText, _, _ := strings.Cut(l.body, "text/html")
			for _, number := range regexp.MustCompile(`DR-\d{6}\.`).FindAllString(inText, -1) {
				require.False(rt, said[number], "%s is said twice", number)
				said[number] = true
			}
		}
	})
}

func TestTheDigestOfADayLeavesAtItsTimeAndHasWhatWasNotReadMeanwhile(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ctx := context.Background()
	o.reach(o.Coordinator, mailbox("coordinator"))
	before := len(o.post.letters())
	c := o.courier(o.Store)
	o.notice("drive.team", false, policy.Coordinator, `{"Number": "DR-2026-000001", "First": "2026-12-01", "Last": "2026-12-02"}`)
	read := o.notice("drive.team", false, policy.Coordinator, `{"Number": "DR-2026-000002", "First": "2026-12-01", "Last": "2026-12-02"}`)
	o.notice("specimen.destroy", false, policy.Coordinator, `{"Barcode": "NJ26000001"}`)
	o.set(time.Date(2026, 12, 1, 8, 29, 59, 0, registry.Zone))
	_, err := c.Store.SpreadNotices(ctx, registry.System("test"), 100)
	require.NoError(t, err)
	require.NoError(t, o.Store.ReadNotice(ctx, o.Coordinator, read))
	o.carry(c)
	require.Len(t, o.post.letters(), before, "it is not time")
	o.set(time.Date(2026, 12, 1, 8, 30, 0, 0, registry.Zone))
	o.carry(c)
	sent := o.post.letters()[before:]
	require.Len(t, sent, 1)
	require.Equal(t, "【生命接力】您有 2 条通知", sent[0].subject)
	require.Contains(t, sent[0].body, "DR-2026-000001")
	require.NotContains(t, sent[0].body, "DR-2026-000002")
	require.NotContains(t, sent[0].body, "NJ26000001", "a tube is a donor's")
	o.set(time.Date(2026, 12, 1, 18, 0, 0, 0, registry.Zone))
	o.notice("drive.team", false, policy.Coordinator, `{"Number": "DR-2026-000003", "First": "2026-12-01", "Last": "2026-12-02"}`)
	o.carry(c)
	require.Len(t, o.post.letters(), before+1, "there was one today")
	o.set(time.Date(2026, 12, 2, 9, 0, 0, 0, registry.Zone))
	o.carry(c)
	require.Len(t, o.post.letters(), before+2)
}

func TestWhatIsRefusedForGoodIsDeadAtOnceAndWhatIsRefusedForNowIsTriedAgainEverLater(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ctx := context.Background()
	o.reach(o.Coordinator, mailbox("coordinator"))
	c := o.courier(o.Store)
	args := `{"Number": "DR-2026-000001", "First": "2026-12-01", "Last": "2026-12-02"}`
	o.post.refuse = func(string) error { return &smtp.SMTPError{Code: 550, Message: "no such user coordinator@staff.test"} }
	o.notice("drive.team", true, policy.Coordinator, args)
	o.carry(c)
	require.Equal(t, []string{"dead smtp_550 1"}, o.strings(`SELECT concat_ws(' ', state, outcome, attempts) FROM deliveries WHERE kind = 'notice'`))
	// An administrator has it tried again.
	o.post.Lock()
	o.post.refuse = nil
	o.post.Unlock()
	dead, err := o.Store.ListDeliveries(ctx, o.Administrator, registry.DeliveryFilter{State: "dead"})
	require.NoError(t, err)
	require.Len(t, dead, 1)
	require.Equal(t, "coordinator", dead[0].Login)
	_, err = o.Store.ReplayDelivery(ctx, o.Administrator, dead[0].ID)
	require.NoError(t, err)
	before := len(o.post.letters())
	o.carry(c)
	require.Len(t, o.post.letters(), before+1)
	_, err = o.Store.ReplayDelivery(ctx, o.Administrator, dead[0].ID)
	require.Equal(t, registry.Refused, registry.KindOf(err))
	_, err = o.Store.ReplayDelivery(ctx, o.Coordinator, dead[0].ID)
	require.Equal(t, registry.NotFound, registry.KindOf(err))

	o.sql(`DELETE FROM deliveries`)
	o.sql(`INSERT INTO notice_preferences (staff_id, mail, sms, quiet_from, quiet_until) VALUES ($1, 'digest', 'urgent', 0, 0)`, o.Coordinator.Staff()) // never quiet
	o.post.Lock()
	o.post.refuse = func(string) error { return &smtp.SMTPError{Code: 451, Message: "later"} }
	o.post.Unlock()
	o.notice("drive.team", true, policy.Coordinator, args)
	pauses := []time.Duration{time.Minute, 4 * time.Minute, 16 * time.Minute, 64 * time.Minute, 256 * time.Minute, 6 * time.Hour, 6 * time.Hour}
	for i, pause := range pauses {
		o.carry(c)
		require.Equal(t, []string{fmt.Sprint("waiting smtp_451 ", i+1)}, o.strings(`SELECT concat_ws(' ', state, outcome, attempts) FROM deliveries WHERE kind = 'notice'`))
		o.set(o.now().Add(pause - time.Second))
		o.carry(c)
		require.Equal(t, []string{fmt.Sprint(i + 1)}, o.strings(`SELECT attempts::text FROM deliveries WHERE kind = 'notice'`), "it is not time yet")
		o.set(o.now().Add(time.Second))
	}
	o.carry(c)
	require.Equal(t, []string{"dead smtp_451 8"}, o.strings(`SELECT concat_ws(' ', state, outcome, attempts) FROM deliveries WHERE kind = 'notice'`))
}

func TestAWebhookHearsInSignedEventsOfIDsAndIsDisabledWhenItIsGone(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ctx := context.Background()
	type heard struct {
		header http.Header
		body   []byte
	}
	got := make(chan heard, 10)
	answer := http.StatusOK
	var lock sync.Mutex
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- heard{r.Header, body}
		lock.Lock()
		defer lock.Unlock()
		if answer == http.StatusFound {
			w.Header().Set("Location", "https://elsewhere.test/")
		}
		w.WriteHeader(answer)
	}))
	t.Cleanup(other.Close)
	answers := func(status int) {
		lock.Lock()
		defer lock.Unlock()
		answer = status
	}
	hook, err := o.Store.AddWebhook(ctx, o.Administrator, registry.WebhookForm{Organisation: o.County.ID, Name: "短信平台", URL: other.URL, Codes: []string{"task.opened", "care.alert"}})
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(hook.Secret, "whsec_"))
	_, err = o.Store.ShowWebhook(ctx, o.Coordinator, hook.ID)
	require.Equal(t, registry.Denied, registry.KindOf(err))
	require.Equal(t, registry.Denied, registry.KindOf(o.Store.RemoveWebhook(ctx, o.Coordinator, hook.ID)))
	c := o.courier(o.Store)

	_, err = o.Store.PingWebhook(ctx, o.Administrator, hook.ID)
	require.NoError(t, err)
	o.carry(c)
	ping := <-got
	require.Contains(t, string(ping.body), `"org.liferelay.ping"`)

	o.notice("drive.team", true, policy.Coordinator, `{"Number": "DR-2026-000001"}`) // not wanted
	id := o.notice("care.alert", true, policy.Coordinator, `{"Flags": ["pain"], "Number": "322600033575"}`)
	o.carry(c)
	event := <-got
	require.Empty(t, got)
	var sec int64
	_, err = fmt.Sscan(event.header.Get("webhook-timestamp"), &sec)
	require.NoError(t, err)
	require.Equal(t, notify.Sign(hook.Secret, event.header.Get("webhook-id"), time.Unix(sec, 0), event.body), event.header.Get("webhook-signature"))
	require.Equal(t, "application/cloudevents+json; charset=utf-8", event.header.Get("Content-Type"))
	var decoded map[string]any
	require.NoError(t, json.Unmarshal(event.body, &decoded))
	require.Equal(t, "1.0", decoded["specversion"])
	require.Equal(t, id.String(), decoded["id"])
	require.Equal(t, "org.liferelay.notice.care.alert", decoded["type"])
	require.Equal(t, map[string]any{"notice": id.String(), "code": "care.alert", "urgent": true}, decoded["data"])

	// A redirection is no arrival, and nobody follows it.
	answers(http.StatusFound)
	o.notice("care.alert", true, policy.Coordinator, `{}`)
	o.carry(c)
	<-got
	require.Equal(t, []string{"waiting http_302"}, o.strings(`SELECT concat_ws(' ', state, outcome) FROM deliveries WHERE channel = 'webhook' AND state <> 'delivered'`))
	answers(http.StatusGone)
	o.set(o.now().Add(2 * time.Minute))
	o.carry(c)
	<-got
	v, err := o.Store.ShowWebhook(ctx, o.Administrator, hook.ID)
	require.NoError(t, err)
	require.Equal(t, "gone", v.DisabledFor)
	require.Equal(t, 1, v.Dead)
	_, err = o.Store.PingWebhook(ctx, o.Administrator, hook.ID)
	require.Equal(t, "webhook_disabled", registry.CodeOf(err))
	o.notice("care.alert", true, policy.Coordinator, `{}`)
	o.carry(c)
	require.Empty(t, got)
	// Enabled again, and what was given up is sent again under its old name.
	yes := true
	_, err = o.Store.ChangeWebhook(ctx, o.Administrator, hook.ID, registry.WebhookChange{Enabled: &yes})
	require.NoError(t, err)
	answers(http.StatusNoContent)
	dead, err := o.Store.ListDeliveries(ctx, o.Administrator, registry.DeliveryFilter{State: "dead", Webhook: hook.ID})
	require.NoError(t, err)
	require.Len(t, dead, 1)
	_, err = o.Store.ReplayDelivery(ctx, o.Administrator, dead[0].ID)
	require.NoError(t, err)
	o.carry(c)
	require.Equal(t, dead[0].ID.String(), (<-got).header.Get("webhook-id"))
	require.NoError(t, o.Store.RemoveWebhook(ctx, o.Administrator, hook.ID))
	require.Empty(t, o.strings(`SELECT id::text FROM deliveries WHERE webhook_id IS NOT NULL`))
	require.Equal(t, registry.NotFound, registry.KindOf(o.Store.RemoveWebhook(ctx, o.Administrator, hook.ID)))
}

func TestNothingButItsCodeGoesToAnAddressThatIsNotVerified(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ctx := context.Background()
	settings, err := o.Store.SetContactPoint(ctx, o.Coordinator, mailbox("coordinator"))
	require.NoError(t, err)
	require.Equal(t, "c***@staff.test", settings.Points[0].Address.Display)
	require.False(t, settings.Points[0].Verified)
	_, err = o.Store.SetContactPoint(ctx, o.Coordinator, mailbox("another"))
	require.Equal(t, "code_sent_just_now", registry.CodeOf(err))
	o.notice("drive.team", true, policy.Coordinator, `{"Number": "DR-2026-000001", "First": "2026-12-01", "Last": "2026-12-02"}`)
	o.carry(o.courier(o.Store))
	require.Len(t, o.post.letters(), 1)
	require.Equal(t, "【生命接力】验证码", o.post.letters()[0].subject)
	code := codeIn(o.post.letters()[0].body)
	wrong := "000000"
	if code == wrong {
		wrong = "000001"
	}
	for range 5 {
		_, err = o.Store.VerifyContactPoint(ctx, o.Coordinator, registry.ByEmail, registry.ContactCode{Code: wrong})
		require.Equal(t, "contact_code_wrong", registry.CodeOf(err))
	}
	_, err = o.Store.VerifyContactPoint(ctx, o.Coordinator, registry.ByEmail, registry.ContactCode{Code: code})
	require.Equal(t, "code_over", registry.CodeOf(err), "after five wrong ones the right one is of no use")
	_, err = o.Store.VerifyContactPoint(ctx, o.Coordinator, registry.ByText, registry.ContactCode{Code: code})
	require.Equal(t, "contact_point_not_found", registry.CodeOf(err))
	o.set(o.now().Add(2 * time.Minute))
	o.reach(o.Coordinator, mailbox("coordinator"))
}
