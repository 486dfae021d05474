package web

import (
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
)

// templatePages are what notices say, in the program's words or in an office's own.
func (s *Site) templatePages() {
	s.page("GET /admin/templates", s.templates)
	s.page("GET /admin/templates/{code}/{channel}", s.template)
	s.act("POST /admin/templates/{code}/{channel}", s.setTemplate)
	s.act("POST /admin/templates/{code}/{channel}/preview", s.previewTemplate)
	s.act("POST /admin/templates/{code}/{channel}/remove", s.removeTemplate)
}

// templatesShown is all that the list of notices shows.
type templatesShown struct {
	list    []registry.NoticeTemplate
	channel registry.Channel
	region  identity.Region
	next    string
	wrong   string
}

// pageOfTemplates is how many notices one page lists.
const pageOfTemplates = 20

func (s *Site) templates(v *Visit) (Answer, error) {
	t := templatesShown{channel: registry.Channel(v.Query("channel")), region: identity.Region(strings.TrimSpace(v.Query("region")))}
	if !slices.Contains(registry.Channels(), t.channel) {
		t.channel = registry.OnScreen
	}
	all, err := s.store.NoticeTemplates(v, v.Actor, t.region)
	if registry.KindOf(err) == registry.Invalid {
		t.wrong, t.region = v.Say("admin.region_unknown"), ""
		all, err = s.store.NoticeTemplates(v, v.Actor, t.region)
	}
	if err != nil {
		return nil, err
	}
	sought := strings.ToLower(strings.TrimSpace(v.Query("q")))
	for _, one := range all {
		words := strings.ToLower(one.Code + "\n" + one.Chinese + "\n" + one.English)
		own := v.Query("own") == "" || one.Region != ""
		if one.Channel == t.channel && one.Code > v.Query("after") && strings.Contains(words, sought) && own {
			t.list = append(t.list, one)
		}
	}
	if len(t.list) > pageOfTemplates {
		t.list = t.list[:pageOfTemplates]
		t.next = t.list[pageOfTemplates-1].Code
	}
	return v.Page("page.templates", templatesPage(v, t)), nil
}

// templateShown is a notice on a channel, and the form for a region's own words.
type templateShown struct {
	registry.NoticeTemplate
	region  identity.Region // whose own words are written
	by      string          // who wrote them, for who may know
	form    *Filled
	preview *registry.NoticePreview
	says    string
	writes  bool
}

func templatePath(t registry.NoticeTemplate, region identity.Region) string {
	out := "/admin/templates/" + t.Code + "/" + string(t.Channel)
	if region != "" {
		out += "?region=" + string(region)
	}
	return out
}

func (s *Site) template(v *Visit) (Answer, error) { return s.templateAgain(v, templateShown{}) }

func (s *Site) templateAgain(v *Visit, t templateShown) (Answer, error) {
	t.writes = v.May(policy.Write, policy.Organisation)
	if t.region = identity.Region(v.Query("region") + v.Field("region")); t.region == "" && t.writes {
		t.region = heldRegion(v)
	}
	all, err := s.store.NoticeTemplates(v, v.Actor, t.region)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(one registry.NoticeTemplate) bool {
		return one.Code == v.Path("code") && string(one.Channel) == v.Path("channel")
	})
	if at < 0 {
		return nil, registry.NewError(registry.NotFound, "template_not_found", nil)
	}
	t.NoticeTemplate = all[at]
	if by, err := uuid.Parse(strings.TrimPrefix(t.ChangedBy, "staff:")); err == nil && v.May(policy.Read, policy.Staff) {
		if who, err := s.store.ShowStaff(v, v.Actor, by); err == nil {
			t.by = who.Name
		}
	}
	if t.form == nil {
		t.form = Blank(v, registry.NoticeWording{Chinese: t.Chinese, English: t.English})
	}
	return v.Page("page.template", templatePage(v, t)), nil
}

// unfitWording shows what is wrong with words above their form.
func (t *templateShown) unfitWording(v *Visit, err error) bool {
	known := new(registry.Error)
	if !errors.As(err, &known) || known.Kind != registry.Invalid {
		return false
	}
	if len(known.Problems) > 0 {
		return t.form.Takes(err)
	}
	v.refused, t.says = true, v.sentence(err)
	return true
}

func (s *Site) setTemplate(v *Visit) (Answer, error) {
	f, filled := Read[registry.NoticeWording](v)
	t := templateShown{form: filled}
	if filled.Good() {
		set, err := s.store.SetNoticeTemplate(v, v.Actor, identity.Region(v.Field("region")), v.Path("code"), registry.Channel(v.Path("channel")), v.FieldInt("version"), f)
		if err == nil {
			return v.To(templatePath(set, identity.Region(v.Field("region"))), "said.template_set"), nil
		}
		if !t.unfitWording(v, err) {
			return nil, err
		}
	}
	return s.templateAgain(v, t)
}

func (s *Site) previewTemplate(v *Visit) (Answer, error) {
	f, filled := Read[registry.NoticeWording](v)
	t := templateShown{form: filled}
	if filled.Good() {
		preview, err := s.store.PreviewNotice(v, v.Actor, v.Path("code"), registry.Channel(v.Path("channel")), f)
		if err == nil {
			t.preview = &preview
		} else if !t.unfitWording(v, err) {
			return nil, err
		}
	}
	return s.templateAgain(v, t)
}

func (s *Site) removeTemplate(v *Visit) (Answer, error) {
	region := identity.Region(v.Field("region"))
	back, err := s.store.RemoveNoticeTemplate(v, v.Actor, region, v.Path("code"), registry.Channel(v.Path("channel")), v.FieldInt("version"))
	if err != nil {
		return nil, err
	}
	return v.To(templatePath(back, region), "said.template_removed"), nil
}

func templateAct(t templateShown, what string) string {
	return "/admin/templates/" + t.Code + "/" + string(t.Channel) + what
}

// channelSays are the names of the sentences of channels.
var channelSays = map[registry.Channel]string{registry.OnScreen: "templates.on_screen", registry.ByEmail: "templates.by_email", registry.ByText: "templates.by_message"}
