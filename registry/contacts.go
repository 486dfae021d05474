package registry

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// Where a member of staff is reached outside of the house, and what they want to hear of there. It is theirs to say: nobody else
// enters it, and nobody else sees it.

// NoticeSettings are the actor's own.
type NoticeSettings struct {
	Channels []Channel      `json:"channels" doc:"Those that this installation has." class:"open" mask:"none"`
	Points   []ContactPoint `json:"points" class:"staff" mask:"drop"`
	NoticePreferences
}

// ContactPoint is where somebody is reached on a channel.
type ContactPoint struct {
	Channel  Channel     `json:"channel" doc:"email or message" class:"staff" mask:"drop"`
	Address  seal.Masked `json:"address" class:"staff" mask:"email"`
	Verified bool        `json:"verified" doc:"The code that was sent there came back. Until then nothing else goes there." class:"staff" mask:"drop"`
	Added    time.Time   `json:"added" class:"staff" mask:"drop"`
}

// NoticePreferences say what goes by which channel, and when.
type NoticePreferences struct {
	Mail  string `json:"mail" validate:"required,oneof=digest urgent off" doc:"digest: what is urgent at once, the rest once a day. urgent: only what is urgent." class:"staff" mask:"drop"`
	SMS   string `json:"sms" validate:"required,oneof=urgent off" class:"staff" mask:"drop"`
	Quiet string `json:"quiet,omitempty" validate:"omitempty,len=11" doc:"One's own quiet hours, such as 21:30-07:30; the office's when left out. What is urgent passes them as a short message." class:"staff" mask:"drop"`
}

// ContactForm enters where the actor is reached: one of the two.
type ContactForm struct {
	Mail  seal.Email `json:"mail,omitzero" validate:"omitempty,email,max=120"`
	Phone seal.Phone `json:"phone,omitzero" validate:"omitempty,phone"`
}

// ContactCode brings back a code that was sent.
type ContactCode struct {
	Code string `json:"code" validate:"required,len=6,numeric"`
}

const (
	verifyingLasts = 15 * time.Minute
	verifyingAgain = time.Minute // how long before another code goes to the same person
	verifyingTries = 5
)

// quietOf reads quiet hours as somebody writes them: 22:00-07:00.
func quietOf(text string) (from, until *int16, err error) {
	if text == "" {
		return nil, nil, nil
	}
	var times [2]int16
	if len(text) != 11 || text[5] != '-' {
		return nil, nil, errors.New("registry: no quiet hours")
	}
	for i, part := range []string{text[:5], text[6:]} {
		at, err := time.Parse("15:04", part)
		if err != nil {
			return nil, nil, err
		}
		times[i] = int16(at.Hour()*60 + at.Minute())
	}
	return &times[0], &times[1], nil
}

// Channels lists the channels that this installation sends on, apart from webhooks.
func (r *Reader) Channels() []Channel { return slices.Clone(r.channels) }

// ShowNoticeSettings returns the actor's own settings; where they are reached is masked even for them.
func (r *Reader) ShowNoticeSettings(ctx context.Context, actor Actor) (NoticeSettings, error) {
	var out NoticeSettings
	err := r.act(ctx, actor, "ShowNoticeSettings", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if err := a.own(policy.Read); err != nil {
			return err
		}
		out, err = a.noticeSettings(ctx)
		return err
	})
	return out, err
}

func (a *act) noticeSettings(ctx context.Context) (NoticeSettings, error) {
	out := NoticeSettings{Channels: a.Channels(), Points: []ContactPoint{}, NoticePreferences: NoticePreferences{Mail: "digest", SMS: "urgent"}}
	var from, until *int16
	err := a.QueryRow(ctx, `SELECT mail, sms, quiet_from, quiet_until FROM notice_preferences WHERE staff_id = $1`, a.actor.staff).Scan(&out.Mail, &out.SMS, &from, &until)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return out, err
	}
	if from != nil && until != nil {
		out.Quiet = fmt.Sprintf("%02d:%02d-%02d:%02d", *from/60, *from%60, *until/60, *until%60)
	}
	rows, err := a.Query(ctx, `SELECT id, channel, address_sealed, verified_at IS NOT NULL, created_at FROM contact_points WHERE staff_id = $1 ORDER BY channel`, a.actor.staff)
	if err != nil {
		return out, err
	}
	var id uuid.UUID
	var sealed []byte
	var p ContactPoint
	_, err = pgx.ForEachRow(rows, []any{&id, &p.Channel, &sealed, &p.Verified, &p.Added}, func() error {
		text, err := a.keys.OpenBytes(cell("contact_points", "address", id), sealed)
		if err != nil {
			return err
		}
		p.Address = seal.EmailOf(string(text)).Masked()
		if p.Channel == ByText {
			p.Address = seal.PhoneOf(string(text)).Masked()
		}
		out.Points = append(out.Points, p)
		return nil
	})
	return out, err
}

// SetNoticePreferences changes what the actor hears of by which channel. What was gathered for a digest that they do not want any
// more is dropped when its time comes.
func (s *Store) SetNoticePreferences(ctx context.Context, actor Actor, f NoticePreferences) (NoticeSettings, error) {
	return s.ofSettings(ctx, actor, "SetNoticePreferences", func(ctx context.Context, a *act) error {
		problems := forms.Check(f)
		from, until, err := quietOf(f.Quiet)
		if err != nil && len(problems) == 0 {
			problems = append(problems, forms.Problem{Code: "R114", Field: "quiet"})
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		_, err = a.Exec(ctx, `
			INSERT INTO notice_preferences (staff_id, mail, sms, quiet_from, quiet_until) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (staff_id) DO UPDATE SET mail = $2, sms = $3, quiet_from = $4, quiet_until = $5`, a.actor.staff, f.Mail, f.SMS, from, until)
		return err
	})
}

func (s *Store) ofSettings(ctx context.Context, actor Actor, name string, do func(context.Context, *act) error) (NoticeSettings, error) {
	var out NoticeSettings
	err := s.act(ctx, actor, name, policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if err := a.own(policy.Write); err != nil {
			return err
		}
		if err := do(ctx, a); err != nil {
			return err
		}
		out, err = a.noticeSettings(ctx)
		return err
	})
	return out, err
}

// SetContactPoint enters where the actor is reached, in the place of what was there, and has a code sent to it. Nothing else goes
// there before the code has come back.
//
// Errors: Refused when the installation does not send on that channel, and when a code was sent a moment ago.
func (s *Store) SetContactPoint(ctx context.Context, actor Actor, f ContactForm) (NoticeSettings, error) {
	return s.ofSettings(ctx, actor, "SetContactPoint", func(ctx context.Context, a *act) error {
		problems := forms.Check(f)
		if len(problems) > 0 {
			return invalid(problems)
		}
		if f.Mail.Empty() == f.Phone.Empty() {
			return refused("contact_one")
		}
		channel, text := ByEmail, f.Mail.Reveal()
		if !f.Phone.Empty() {
			phone, err := identity.ParsePhone(f.Phone.Reveal())
			if err != nil {
				return invalid(forms.Problems{{Code: "R111", Field: "phone"}})
			}
			channel, text = ByText, phone
		}
		if !slices.Contains(a.channels, channel) {
			return refused("channel_missing")
		}
		var kind string
		var last *time.Time
		if err := a.QueryRow(ctx, `SELECT kind, (SELECT max(code_at) FROM contact_points WHERE staff_id = $1) FROM staff WHERE id = $1 FOR UPDATE`, a.actor.staff).Scan(&kind, &last); err != nil {
			return err
		}
		if kind != personStaff {
			return refused("machine_account")
		}
		if last != nil && a.at.Before(last.Add(verifyingAgain)) {
			return refused("code_sent_just_now")
		}
		id := newID()
		address, err := a.keys.Seal(cell("contact_points", "address", id), text)
		if err != nil {
			return err
		}
		n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
		if err != nil {
			return err
		}
		code, err := a.keys.Seal(cell("contact_points", "code", id), fmt.Sprintf("%06d", n))
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `
			WITH unsent AS (UPDATE deliveries SET state = 'dropped', outcome = 'replaced', done_at = $3 WHERE staff_id = $1 AND channel = $2 AND kind = 'code' AND state = 'waiting')
			DELETE FROM contact_points WHERE staff_id = $1 AND channel = $2`, a.actor.staff, string(channel), a.at)
		if err != nil {
			return err
		}
		a.writes.Queue(`INSERT INTO deliveries (id, kind, channel, code, staff_id, urgent, state, next_at, created_at) VALUES ($1, 'code', $2, 'code', $3, true, 'waiting', $4, $4)`,
			newID(), string(channel), a.actor.staff, a.at)
		_, err = a.Exec(ctx, `INSERT INTO contact_points (id, staff_id, channel, address_sealed, code_sealed, code_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $6)`,
			id, a.actor.staff, string(channel), address, code, a.at)
		return err
	})
}

// codeParcel is a code on its way to where somebody says that they are reached.
func (a *act) codeParcel(ctx context.Context, p Parcel, t taken) (Parcel, bool, error) {
	var h addressee
	var code []byte
	var good bool
	h.Channel = t.Channel
	err := a.QueryRow(ctx, `
		SELECT c.id, c.address_sealed, c.code_sealed, s.locale, s.active AND o.active AND c.code_at > $3 AND c.verified_at IS NULL AND c.code_sealed IS NOT NULL
		FROM contact_points c JOIN staff s ON s.id = c.staff_id JOIN organisations o ON o.id = s.organisation_id WHERE c.staff_id = $1 AND c.channel = $2`,
		*t.Staff, string(t.Channel), a.at.Add(-verifyingLasts)).Scan(&h.ContactPoint, &h.Address, &code, &h.Locale, &good)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return p, false, err
	}
	if err != nil || !good {
		a.drop(t.ID, "stale")
		return p, false, nil //nolint:nilerr // there is nobody to send to any more
	}
	text, err := a.keys.OpenBytes(cell("contact_points", "code", h.ContactPoint), code)
	if err != nil {
		return p, false, err
	}
	p.Code = seal.NumberOf(string(text))
	return p, true, a.address(&p, h)
}

// VerifyContactPoint takes back a code that was sent.
//
// Errors: Refused when it is not the code, when it is too old, and after five wrong ones: then another must be sent.
func (s *Store) VerifyContactPoint(ctx context.Context, actor Actor, channel Channel, f ContactCode) (NoticeSettings, error) {
	wrong := false
	out, err := s.ofSettings(ctx, actor, "VerifyContactPoint", func(ctx context.Context, a *act) error {
		wrong = false
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		var id uuid.UUID
		var sealed []byte
		var at *time.Time
		var tries int
		err := a.QueryRow(ctx, `SELECT id, code_sealed, code_at, tries FROM contact_points WHERE staff_id = $1 AND channel = $2 FOR UPDATE`, a.actor.staff, string(channel)).Scan(&id, &sealed, &at, &tries)
		if errors.Is(err, pgx.ErrNoRows) {
			return missing("contact_point")
		}
		if err != nil {
			return err
		}
		if sealed == nil || at == nil || a.at.After(at.Add(verifyingLasts)) || tries >= verifyingTries {
			return refused("code_over")
		}
		code, err := a.keys.OpenBytes(cell("contact_points", "code", id), sealed)
		if err != nil {
			return err
		}
		if wrong = subtle.ConstantTimeCompare(code, []byte(f.Code)) != 1; wrong {
			_, err = a.Exec(ctx, `UPDATE contact_points SET tries = tries + 1 WHERE id = $1`, id)
			return err
		}
		_, err = a.Exec(ctx, `UPDATE contact_points SET verified_at = $2, code_sealed = NULL WHERE id = $1`, id, a.at)
		return err
	})
	if err == nil && wrong { // the try counts, so the act stands
		return NoticeSettings{}, refused("contact_code_wrong")
	}
	return out, err
}

// RemoveContactPoint takes back where the actor is reached: nothing goes there any more.
func (s *Store) RemoveContactPoint(ctx context.Context, actor Actor, channel Channel) (NoticeSettings, error) {
	return s.ofSettings(ctx, actor, "RemoveContactPoint", func(ctx context.Context, a *act) error {
		tag, err := a.Exec(ctx, `DELETE FROM contact_points WHERE staff_id = $1 AND channel = $2`, a.actor.staff, string(channel))
		if err == nil && tag.RowsAffected() == 0 {
			return missing("contact_point")
		}
		return err
	})
}

// forgetContacts destroys where somebody who does not work here any more was reached. They are nobody's rows but theirs, so it is
// done at the end of the act, when nothing is read any more.
func (a *act) forgetContacts(staff uuid.UUID) {
	a.writes.Queue(`SELECT set_config('liferelay.everywhere', 'on', true)`)
	a.writes.Queue(`DELETE FROM contact_points WHERE staff_id = $1`, staff)
}
