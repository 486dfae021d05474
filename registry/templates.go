package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

// Notices in an office's own words. What is shipped says the same to everybody; an office may say it otherwise to those of its region, on a
// screen, by e-mail or by text message. It may not say more: its words are told what the shipped sentence is told, and what leaves
// the house is told less.

// Channel is how a notice reaches somebody.
type Channel string

// The channels. A screen is behind a sign-in; what goes the other ways leaves the house.
const (
	OnScreen Channel = "screen"
	ByEmail  Channel = "email"
	ByText   Channel = "message"
)

// Channels lists every channel.
func Channels() []Channel { return []Channel{OnScreen, ByEmail, ByText} }

// mayLeave are the parameters that a notice may have outside of the house: numbers, counts and days. Which step of a case it is, why something
// is and whose sample it is are not among them: they tell of somebody's health.
var mayLeave = []string{"Batch", "Before", "Case", "Day", "Donors", "Due", "First", "Last", "Lost", "Most", "New", "Number", "Other", "Row", "Rows", "Until"}

// toldOn are the parameters of a notice on a channel.
func toldOn(channel Channel, code string) []string {
	all := lang.Parameters(lang.Chinese.Written("notice." + code))
	if channel == OnScreen {
		return all
	}
	return slices.DeleteFunc(all, func(p string) bool { return !slices.Contains(mayLeave, p) })
}

// toldOutside are the notices whose shipped sentence may be read outside of the house: it speaks of work, and of nobody's health nor of
// anybody's number. For every other one the reader is told that there is something to read.
var toldOutside = []string{
	"message.held", "message.delivered", "search.changed", "stemcell.ended", "registration.checkin_due", "registration.claimed", "drive.team", "export.asked", "export.approved", "export.refused",
}

// shipped is the sentence of a notice on a channel when no office says it otherwise. One that tells more than may leave is told outside as: there
// is something.
func shipped(l lang.Locale, channel Channel, code string) string {
	id := "notice." + code
	if channel != OnScreen && (!slices.Contains(toldOutside, code) || len(toldOn(channel, code)) < len(toldOn(OnScreen, code))) {
		id = "templates.sign_in"
		if slices.Contains(toldOn(channel, code), "Case") {
			id = "templates.sign_in_case"
		}
	}
	return l.Written(id)
}

// NoticeCodes lists the notices that there are.
func NoticeCodes() []string {
	var out []string
	for _, id := range lang.IDs() {
		if code, ok := strings.CutPrefix(id, "notice."); ok {
			out = append(out, code)
		}
	}
	return out
}

// wording names the words of a region for a notice.
type wording struct {
	region identity.Region
	code   string
}

// wordings are the own words of offices, by the region and the notice.
type wordings map[wording]string

// readWordings reads the own words of some regions on a channel in a language.
func readWordings(ctx context.Context, q querier, channel Channel, l lang.Locale, regions []string) (wordings, error) {
	rows, err := q.Query(ctx, `SELECT region, code, text FROM notice_templates WHERE region = ANY($1) AND channel = $2 AND locale = $3`, regions, string(channel), string(l))
	if err != nil {
		return nil, err
	}
	out := wordings{}
	var at wording
	var text string
	_, err = pgx.ForEachRow(rows, []any{&at.region, &at.code, &text}, func() error { out[at] = text; return nil })
	return out, err
}

// say says a notice in a region.
func (w wordings) say(l lang.Locale, channel Channel, region identity.Region, code string, args map[string]any) string {
	for _, up := range region.Ancestors() {
		if text, ok := w[wording{up, code}]; ok {
			return l.Fill(text, args)
		}
	}
	if !lang.Has("notice." + code) {
		return "notice." + code // as Say does, for somebody to report
	}
	return l.Fill(shipped(l, channel, code), args)
}

// NoticeText is what a notice says on a channel to somebody who reads a language, in the words of the nearest office up the tree from a region.
// What leaves the house names no step, no reason and no sample, whatever args hold. It asks no policy: a wording is about nobody.
func (r *Reader) NoticeText(ctx context.Context, channel Channel, region identity.Region, l lang.Locale, code string, args map[string]any) (string, error) {
	own, err := readWordings(ctx, r.pool, channel, l, regionPath(region))
	if err != nil {
		return "", translate(err)
	}
	return own.say(l, channel, region, code, args), nil
}

// NoticeTemplate is what a notice says on a channel in a region, in both languages.
type NoticeTemplate struct {
	Code       string          `json:"code" class:"organisation" mask:"drop"`
	Channel    Channel         `json:"channel" doc:"screen, email or message." class:"organisation" mask:"drop"`
	Region     identity.Region `json:"region" doc:"Whose words they are. Empty for those that the program ships." class:"organisation" mask:"drop"`
	Chinese    string          `json:"zh" class:"organisation" mask:"drop"`
	English    string          `json:"en" class:"organisation" mask:"drop"`
	Parameters []string        `json:"parameters" doc:"What it is told, and must say: all of them, and no others." class:"organisation" mask:"drop"`
	ChangedAt  *time.Time      `json:"changed_at,omitempty" class:"organisation" mask:"drop"`
	ChangedBy  string          `json:"changed_by,omitempty" class:"organisation" mask:"drop"`
	Version    int64           `json:"version" doc:"0 while the region has no words of its own." class:"open" mask:"none"`
}

// NoticeTemplates returns what every notice says on every channel in a region, with whose words they are.
func (r *Reader) NoticeTemplates(ctx context.Context, actor Actor, region identity.Region) ([]NoticeTemplate, error) {
	var out []NoticeTemplate
	err := r.act(ctx, actor, "NoticeTemplates", policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if region, err = a.placeOf(region); err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Organisation, record{kind: "organisations", id: "templates", region: region}); err != nil {
			return err
		}
		own, err := a.templatesIn(ctx, region)
		if err != nil {
			return err
		}
		out = out[:0]
		for _, code := range NoticeCodes() {
			for _, channel := range Channels() {
				out = append(out, templateOf(own, region, code, channel))
			}
		}
		return nil
	})
	return out, err
}

// placeOf reads the region that somebody asks about; none is their office's.
func (a *act) placeOf(asked identity.Region) (identity.Region, error) {
	if asked == "" {
		return a.actor.region, nil
	}
	region, err := regionOf(asked)
	if err != nil {
		a.decided = true
	}
	return region, err
}

type templateKey struct {
	region  identity.Region
	code    string
	channel Channel
}

// templatesIn are the own words of a region and of those above it.
func (a *act) templatesIn(ctx context.Context, region identity.Region) (map[templateKey]NoticeTemplate, error) {
	rows, err := a.Query(ctx, `SELECT region, code, channel, locale, text, version, changed_by, changed_at FROM notice_templates WHERE region = ANY($1)`, regionPath(region))
	if err != nil {
		return nil, err
	}
	out := map[templateKey]NoticeTemplate{}
	var k templateKey
	var t NoticeTemplate
	var locale lang.Locale
	var text string
	_, err = pgx.ForEachRow(rows, []any{&k.region, &k.code, &k.channel, &locale, &text, &t.Version, &t.ChangedBy, &t.ChangedAt}, func() error {
		known := out[k]
		t.Chinese, t.English = known.Chinese, known.English
		if locale == lang.Chinese {
			t.Chinese = text
		} else {
			t.English = text
		}
		at := *t.ChangedAt
		t.ChangedAt = &at
		out[k] = t
		return nil
	})
	return out, err
}

// templateOf is what holds in a region. The version is the region's own: what a change of its words is made against.
func templateOf(own map[templateKey]NoticeTemplate, region identity.Region, code string, channel Channel) NoticeTemplate {
	out := NoticeTemplate{Chinese: shipped(lang.Chinese, channel, code), English: shipped(lang.English, channel, code)}
	for _, up := range region.Ancestors() {
		if t, ok := own[templateKey{up, code, channel}]; ok {
			out = t
			out.Region = up
			break
		}
	}
	if out.Region != region {
		out.Version = 0
	}
	out.Code, out.Channel, out.Parameters = code, channel, toldOn(channel, code)
	return out
}

// NoticeWording is what an office wants a notice to say.
type NoticeWording struct {
	Chinese string `json:"zh" validate:"required,max=500" doc:"With the parameters between double braces."`
	English string `json:"en" validate:"required,max=500"`
}

// longestText is how long a text message may be written, so that it is sent as one or two.
const longestText = 120

// unfit finds what a wording may not have: another parameter than the sentence's, or one too few.
func (f NoticeWording) unfit(code string, channel Channel) error {
	wanted := toldOn(channel, code)
	for l, text := range map[lang.Locale]string{lang.Chinese: f.Chinese, lang.English: f.English} {
		for _, p := range lang.Parameters(text) {
			if !slices.Contains(wanted, p) {
				return &Error{Kind: Invalid, Code: "template_parameter", Args: map[string]any{"Name": p, "Allowed": strings.Join(wanted, ", ")}}
			}
		}
		if !lang.Plain(text) {
			return &Error{Kind: Invalid, Code: "template_braces"}
		}
		for _, p := range wanted {
			if !lang.Says(text, p) {
				return &Error{Kind: Invalid, Code: "template_lacks", Args: map[string]any{"Name": p, "Language": string(l)}}
			}
		}
		switch {
		case strings.ContainsFunc(text, unicode.IsControl):
			return &Error{Kind: Invalid, Code: "template_one_line"}
		case channel == ByText && lang.Length(text) > longestText:
			return &Error{Kind: Invalid, Code: "template_long", Args: map[string]any{"Most": longestText}}
		case l == lang.Chinese && !strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Han, r) }),
			l == lang.English && strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Han, r) }):
			return &Error{Kind: Invalid, Code: "template_language"}
		}
	}
	return nil
}

// NoticePreview is how a wording reads, with made-up numbers and days.
type NoticePreview struct {
	Chinese string `json:"zh" class:"organisation" mask:"drop"`
	English string `json:"en" class:"organisation" mask:"drop"`
}

// example makes up what a notice is told.
func example(code string, at time.Time) map[string]any {
	day := at.In(Zone).Format(time.DateOnly)
	args := map[string]any{
		"Barcode": "NJ26000001", "Batch": "BT-2026-000012", "Before": day, "Case": "SC-2026-000123", "Day": day, "Donors": 12, "Due": clockTime(at), "First": day, "Last": day, "Lost": 1, "Most": 30,
		"New": 2, "Number": "CN-320106-000001", "Reason": "moved", "Row": 7, "Rows": 120, "Staff": "0198c0de", "Step": "stemcell.remobilisation", "Until": clockTime(at),
	}
	if code == "drive.team" {
		args["Number"] = "DR-2026-000007"
	}
	return args
}

// PreviewNotice tells how a wording would read, or what is wrong with it. Nothing is kept.
func (r *Reader) PreviewNotice(ctx context.Context, actor Actor, code string, channel Channel, f NoticeWording) (NoticePreview, error) {
	var out NoticePreview
	err := r.act(ctx, actor, "PreviewNotice", policy.ForAdministration, func(_ context.Context, a *act) error {
		if err := a.permit(policy.Read, policy.Organisation, record{kind: "organisations", id: "templates", region: a.actor.region}); err != nil {
			return err
		}
		if err := f.check(code, channel); err != nil {
			return err
		}
		args := example(code, a.at)
		out = NoticePreview{lang.Chinese.Fill(f.Chinese, args), lang.English.Fill(f.English, args)}
		return nil
	})
	return out, err
}

func (f NoticeWording) check(code string, channel Channel) error {
	if !slices.Contains(Channels(), channel) || !slices.Contains(NoticeCodes(), code) {
		return missing("template")
	}
	if problems := forms.Check(f); len(problems) > 0 {
		return invalid(problems)
	}
	return f.unfit(code, channel)
}

// SetNoticeTemplate gives a notice on a channel a region's own words, from now on. version is that of the words that are replaced, 0 where there
// were none.
//
// Errors: Invalid when the words are told something else than the shipped sentence is, or less; Stale when somebody else was first.
func (s *Store) SetNoticeTemplate(ctx context.Context, actor Actor, region identity.Region, code string, channel Channel, version int64, f NoticeWording) (NoticeTemplate, error) {
	return s.changeTemplate(ctx, actor, "SetNoticeTemplate", region, code, channel, version, &f)
}

// RemoveNoticeTemplate takes a region's own words back: the notice says again what the region above says, or what is shipped.
func (s *Store) RemoveNoticeTemplate(ctx context.Context, actor Actor, region identity.Region, code string, channel Channel, version int64) (NoticeTemplate, error) {
	return s.changeTemplate(ctx, actor, "RemoveNoticeTemplate", region, code, channel, version, nil)
}

func (s *Store) changeTemplate(ctx context.Context, actor Actor, name string, region identity.Region, code string, channel Channel, version int64, f *NoticeWording) (NoticeTemplate, error) {
	var out NoticeTemplate
	err := s.act(ctx, actor, name, policy.ForAdministration, func(ctx context.Context, a *act) (err error) {
		if region, err = a.placeOf(region); err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Organisation, record{kind: "organisations", id: "templates", region: region}); err != nil {
			return err
		}
		if f != nil {
			if err := f.check(code, channel); err != nil {
				return err
			}
		}
		a.entries[len(a.entries)-1].Fields = strings.Join([]string{a.narrowed("notice", strings.ReplaceAll(code, ".", "_")), a.narrowed("channel", string(channel))}, " ")
		var have int64
		err = a.QueryRow(ctx, `SELECT version FROM notice_templates WHERE region = $1 AND code = $2 AND channel = $3 AND locale = $4 FOR UPDATE`,
			string(region), code, string(channel), string(lang.Chinese)).Scan(&have)
		switch {
		case err != nil && !errors.Is(err, pgx.ErrNoRows):
			return err
		case have != version:
			return stale("template")
		case f == nil && have == 0:
			return missing("template")
		}
		if f == nil {
			_, err = a.Exec(ctx, `DELETE FROM notice_templates WHERE region = $1 AND code = $2 AND channel = $3`, string(region), code, string(channel))
		} else {
			_, err = a.Exec(ctx, `
				INSERT INTO notice_templates (region, code, channel, locale, text, version, changed_by, changed_at)
				SELECT $1, $2, $3, said.locale, said.text, $6, $7, $8 FROM (VALUES ('zh-CN', $4), ('en', $5)) said(locale, text)
				ON CONFLICT (region, code, channel, locale) DO UPDATE SET text = excluded.text, version = excluded.version, changed_by = excluded.changed_by, changed_at = excluded.changed_at`,
				string(region), code, string(channel), f.Chinese, f.English, have+1, a.actor.subject, a.at)
		}
		if err != nil {
			return err
		}
		own, err := a.templatesIn(ctx, region)
		out = templateOf(own, region, code, channel)
		return err
	})
	return out, err
}
