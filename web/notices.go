package web

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
)

// noticePages are what somebody should know, and where they are told.
func (s *Site) noticePages() {
	s.page("GET /notices", s.notices)
	s.page("GET /notices/count", s.noticeCount, inAct)
	s.act("POST /notices/{id}/read", s.readNotice)
	s.page("GET /notices/settings", s.noticeSettings)
	s.act("POST /notices/settings", s.setNoticePreferences)
	s.act("POST /notices/contact", s.setContact)
	s.act("POST /notices/contact/{channel}/verify", s.verifyContact, guarded)
	s.act("POST /notices/contact/{channel}/remove", s.removeContact)
}

// What goes by mail and by short message: what a form sends, and the names of the sentences.
var (
	mailChoices = [][2]string{{"digest", "notices.mail_digest"}, {"urgent", "notices.mail_urgent"}, {"off", "notices.mail_off"}}
	smsChoices  = [][2]string{{"urgent", "notices.sms_urgent"}, {"off", "notices.sms_off"}}
)

// newestFirst reads the cursor of a list that goes from an instant back.
func newestFirst(v *Visit) (before time.Time, id uuid.UUID) {
	raw, err := base64.RawURLEncoding.DecodeString(v.Query("after"))
	if err != nil {
		return before, id
	}
	at, of, _ := strings.Cut(string(raw), " ")
	before, err = time.Parse(time.RFC3339Nano, at)
	if err == nil {
		id, err = uuid.Parse(of)
	}
	if err != nil {
		return time.Time{}, uuid.Nil
	}
	return before, id
}

func cursorOf(at time.Time, id uuid.UUID) string {
	return base64.RawURLEncoding.EncodeToString([]byte(at.Format(time.RFC3339Nano) + " " + id.String()))
}

func (s *Site) notices(v *Visit) (Answer, error) {
	before, id := newestFirst(v)
	list, err := s.store.ListNotices(v, v.Actor, v.Query("tab") != "all", before, id, listed)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(list) == listed {
		next = cursorOf(list[listed-1].At, list[listed-1].ID)
	}
	return v.Page("page.notices", noticesPage(v, list, next)), nil
}

// noticeCount is the number on the bell; nothing when there is nothing.
func (s *Site) noticeCount(v *Visit) (Answer, error) {
	n, err := s.store.UnreadNotices(v, v.Actor)
	if err != nil {
		return nil, err
	}
	text := ""
	switch {
	case n >= 100:
		text = "99+"
	case n > 0:
		text = strconv.Itoa(n)
	}
	return v.Part(templ.Raw(text)), nil
}

func (s *Site) readNotice(v *Visit) (Answer, error) {
	id, err := v.ID("id")
	if err != nil {
		return nil, err
	}
	if err := s.store.ReadNotice(v, v.Actor, id); err != nil {
		return nil, err
	}
	return v.To("/notices", "said.notice_read"), nil
}

// aboutNotice is the page that a notice is about, nothing where there is none.
func aboutNotice(v *Visit, n registry.NoticeView) string {
	if _, there := v.site.known["GET /cases/{id}"]; there && n.CaseID != nil {
		return "/cases/" + n.CaseID.String()
	}
	return ""
}

func (s *Site) noticeSettings(v *Visit) (Answer, error) {
	settings, err := s.store.ShowNoticeSettings(v, v.Actor)
	if err != nil {
		return nil, err
	}
	return v.Page("page.notice_settings", noticeSettingsPage(v, settings, Blank[registry.NoticePreferences](v))), nil
}

// settingsAgain shows the settings with a form that was not taken.
func (s *Site) settingsAgain(v *Visit, f *Filled) (Answer, error) {
	settings, err := s.store.ShowNoticeSettings(v, v.Actor)
	if err != nil {
		return nil, err
	}
	return v.Page("page.notice_settings", noticeSettingsPage(v, settings, f)), nil
}

func (s *Site) setNoticePreferences(v *Visit) (Answer, error) {
	f, filled := Read[registry.NoticePreferences](v)
	if filled.Good() {
		_, err := s.store.SetNoticePreferences(v, v.Actor, f)
		if err == nil {
			return v.To("/notices/settings", "said.notice_settings"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.settingsAgain(v, filled)
}

func (s *Site) setContact(v *Visit) (Answer, error) {
	f, filled := Read[registry.ContactForm](v)
	if filled.Good() {
		_, err := s.store.SetContactPoint(v, v.Actor, f)
		if err == nil {
			return v.To("/notices/settings", "said.code_sent"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.settingsAgain(v, filled)
}

func (s *Site) verifyContact(v *Visit) (Answer, error) {
	f, filled := Read[registry.ContactCode](v)
	if filled.Good() {
		_, err := s.store.VerifyContactPoint(v, v.Actor, registry.Channel(v.Path("channel")), f)
		if err == nil {
			return v.To("/notices/settings", "said.contact_verified"), nil
		}
		if !filled.Takes(err) {
			return nil, err
		}
	}
	return s.settingsAgain(v, filled)
}

func (s *Site) removeContact(v *Visit) (Answer, error) {
	if _, err := s.store.RemoveContactPoint(v, v.Actor, registry.Channel(v.Path("channel"))); err != nil {
		return nil, err
	}
	return v.To("/notices/settings", "said.contact_removed"), nil
}
