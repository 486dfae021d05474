// Package notify carries what was already written to where somebody reads it: mail by SMTP, a short message by a gateway over
// HTTP, an event to another system's webhook. It is pure transport: it knows no notice, no person and no database.
//
// It guarantees that every attempt ends within a minute; that a message has the same name at each attempt, so that whoever
// receives it twice can tell; that a webhook reaches public addresses by TLS only, unless the installation allows others, and
// follows nobody elsewhere; and that its errors are codes, which repeat neither an address nor what a server said.
package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// patience is how long one attempt may take, whatever is slow about it. A lease on a delivery must be longer.
const patience = 45 * time.Second

// Failure is why something did not arrive.
type Failure struct {
	Code      string        // such as smtp_550 or http_503: what to look for, and nothing that was sent
	Permanent bool          // trying again is of no use
	Gone      bool          // the receiver says that it is there no more
	After     time.Duration // how long the receiver asks to be left alone; zero when it does not say
}

func (f *Failure) Error() string { return "notify: " + f.Code }

func temporary(code string) *Failure { return &Failure{Code: code} }

// secretMark begins a secret of the Standard Webhooks specification.
const secretMark = "whsec_"

// Sign makes the signature of a body as the Standard Webhooks specification wants it: over the message's name, the second at
// which it was sent, and the body.
func Sign(secret, id string, at time.Time, body []byte) string {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretMark))
	if err != nil || !strings.HasPrefix(secret, secretMark) {
		key = []byte(secret)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// SecretOf makes the secret of a webhook of random bytes.
func SecretOf(random []byte) string { return secretMark + base64.StdEncoding.EncodeToString(random) }
