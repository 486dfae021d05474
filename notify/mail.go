package notify

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strconv"

	gomail "github.com/wneessen/go-mail"
)

// Mail is a message to one person, in one language.
type Mail struct {
	ID            string // the same at each attempt: it becomes the Message-ID
	To            string
	Locale        string
	Subject       string
	Text, HTML    string
	Urgent        bool
	Unsubscribing string // where the reader changes what they get
}

// Mailer sends mail through one server.
type Mailer struct {
	host, port, user, password string
	from                       *mail.Address
	implicit, plain            bool
}

// NewMailer reads where mail goes out: smtps://user:password@host:465 speaks TLS from the beginning, smtp://…:587 turns to it
// (STARTTLS) and refuses a server that cannot, smtp://…?tls=none speaks in clear, for a server on the same machine. from is the
// sender, such as "Liferelay <noreply@example.org>".
func NewMailer(address, from string) (*Mailer, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
		return nil, errors.New("notify: a mail server is written smtp://user:password@host:587 or smtps://user:password@host:465") // not err, which repeats a password
	}
	sender, err := mail.ParseAddress(from)
	if err != nil {
		return nil, errors.New("notify: the sender of mail is no address")
	}
	m := &Mailer{host: u.Hostname(), port: u.Port(), user: u.User.Username(), from: sender, implicit: u.Scheme == "smtps", plain: u.Query().Get("tls") == "none"}
	m.password, _ = u.User.Password()
	if m.port == "" {
		m.port = map[bool]string{true: "465", false: "587"}[m.implicit]
	}
	if m.plain && m.user != "" {
		return nil, errors.New("notify: a password is not sent to a mail server in clear")
	}
	return m, nil
}

func (m *Mailer) client() (*gomail.Client, error) {
	port, err := strconv.Atoi(m.port)
	if err != nil {
		return nil, err
	}
	options := []gomail.Option{gomail.WithPort(port), gomail.WithTimeout(patience), gomail.WithoutNoop(), gomail.WithoutRset()}
	switch {
	case m.implicit:
		options = append(options, gomail.WithSSL())
	case m.plain:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if m.user != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(m.user), gomail.WithPassword(m.password))
	}
	return gomail.NewClient(m.host, options...)
}

// Send gives a message to the server. Once the server has taken it, whatever goes wrong with the farewell is no failure: to try
// again would send it twice. Between the server's word and the caller's next line a process can still die; then it is sent again,
// with the same Message-ID.
func (m *Mailer) Send(ctx context.Context, message Mail) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	msg := gomail.NewMsg(gomail.WithCharset(gomail.CharsetUTF8))
	if err := msg.To(message.To); err != nil {
		return &Failure{Code: "address_unreadable", Permanent: true}
	}
	msg.FromMailAddress(m.from)
	msg.Subject(message.Subject)
	msg.SetMessageIDWithValue(fmt.Sprintf("%s@%s", message.ID, domainOf(m.from.Address)))
	msg.SetDate()
	msg.SetGenHeader("Content-Language", message.Locale)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's absence note answers it
	if message.Urgent {
		msg.SetImportance(gomail.ImportanceHigh)
	}
	if message.Unsubscribing != "" {
		msg.SetListUnsubscribe("<" + message.Unsubscribing + ">")
	}
	msg.SetBodyString(gomail.TypeTextPlain, message.Text)
	if message.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, message.HTML)
	}
	client, err := m.client()
	if err != nil {
		return &Failure{Code: "smtp_settings"}
	}
	if err := client.DialWithContext(ctx); err != nil {
		return temporary("smtp_away") // also a password that is refused: that is not this message's fault
	}
	defer func() { _ = client.Close() }()
	err = client.Send(msg)
	if err == nil || msg.IsDelivered() {
		return nil
	}
	var refused *gomail.SendError
	if errors.As(err, &refused) && refused.ErrorCode() > 0 {
		return &Failure{Code: "smtp_" + strconv.Itoa(refused.ErrorCode()), Permanent: refused.ErrorCode() >= 500}
	}
	return temporary("smtp_broken")
}

func domainOf(address string) string {
	for i := len(address) - 1; i >= 0; i-- {
		if address[i] == '@' {
			return address[i+1:]
		}
	}
	return "localhost"
}
