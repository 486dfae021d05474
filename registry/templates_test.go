package registry_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/lang"
)

func TestAnOfficesOwnWordsOfANoticeAreReadInItsRegionAndBelowItAndNowhereElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	words := registry.NoticeWording{Chinese: "请处理：{{.Step}}，谢谢。", English: "Please see to it: {{.Step}}."}
	set, err := h.Store.SetNoticeTemplate(ctx, h.Administrator, "320100", "task.opened", registry.OnScreen, 0, words)
	require.NoError(t, err)
	require.Equal(t, int64(1), set.Version)
	say := func(region string, l lang.Locale) string {
		text, err := h.Store.NoticeText(ctx, registry.OnScreen, identity.Region(region), l, "task.opened", fields{"Step": "stemcell.remobilisation"})
		require.NoError(t, err)
		return text
	}
	step := lang.Chinese.Say("step.stemcell.remobilisation", nil)
	require.Equal(t, "请处理："+step+"，谢谢。", say("320106", lang.Chinese))
	require.Equal(t, "Please see to it: "+lang.English.Say("step.stemcell.remobilisation", nil)+".", say("320106", lang.English))
	require.Equal(t, "新待办："+step, say("320200", lang.Chinese), "another city")
	require.Equal(t, "新待办："+step, say("320000", lang.Chinese), "the province above")

	// The list of notices says it, too: to who is there, in their language.
	require.NoError(t, h.Store.ChangeOwnLocale(ctx, h.Coordinator, lang.Chinese))
	h.sql(`INSERT INTO notices (id, code, args, organisation_id, region, dedupe, at) VALUES (gen_random_uuid(), 'task.opened', '{"Step": "stemcell.remobilisation"}', $1, '320106', 'x', now())`, h.County.ID)
	list, err := h.Store.ListNotices(ctx, h.Coordinator, false, time.Time{}, [16]byte{}, 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "请处理："+step+"，谢谢。", list[0].Text)

	// A county's own go before its city's; taken back, the city's hold again.
	nearer, err := h.Store.SetNoticeTemplate(ctx, h.Administrator, "320106", "task.opened", registry.OnScreen, 0, registry.NoticeWording{Chinese: "鼓楼：{{.Step}}", English: "Gulou: {{.Step}}"})
	require.NoError(t, err)
	require.Equal(t, "鼓楼："+step, say("320106", lang.Chinese))
	_, err = h.Store.RemoveNoticeTemplate(ctx, h.Administrator, "320106", "task.opened", registry.OnScreen, nearer.Version+1)
	requireCode(t, err, registry.Stale, "template_changed")
	back, err := h.Store.RemoveNoticeTemplate(ctx, h.Administrator, "320106", "task.opened", registry.OnScreen, nearer.Version)
	require.NoError(t, err)
	require.Equal(t, identity.Region("320100"), back.Region)
	require.Zero(t, back.Version)
	require.Equal(t, "请处理："+step+"，谢谢。", say("320106", lang.Chinese))

	// Of two who change the same words the second is told.
	_, err = h.Store.SetNoticeTemplate(ctx, h.Administrator, "320100", "task.opened", registry.OnScreen, 0, words)
	requireCode(t, err, registry.Stale, "template_changed")
	again, err := h.Store.SetNoticeTemplate(ctx, h.Administrator, "320100", "task.opened", registry.OnScreen, 1, words)
	require.NoError(t, err)
	require.Equal(t, int64(2), again.Version)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM audit WHERE act = 'RemoveNoticeTemplate' AND allowed AND region = '320106' AND fields = 'notice=task_opened channel=screen'`), "what was changed is in the audit")
}

func TestOnlyAnAdministratorOfTheRegionChangesTheWordsOfItsNotices(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	local := h.Staff(t, "localadministrator", h.County, policy.SystemAdministrator, "320106")
	words := registry.NoticeWording{Chinese: "待办：{{.Step}}", English: "Task: {{.Step}}"}
	_, err := h.Store.SetNoticeTemplate(ctx, local, "320100", "task.opened", registry.OnScreen, 0, words)
	require.Error(t, err, "the city's are not the county's to change")
	_, err = h.Store.SetNoticeTemplate(ctx, local, "320106", "task.opened", registry.OnScreen, 0, words)
	require.NoError(t, err)
	for who, actor := range h.everybody() {
		if actor == h.Administrator || actor == system {
			continue
		}
		_, err := h.Store.SetNoticeTemplate(ctx, actor, "320106", "task.opened", registry.OnScreen, 1, words)
		require.Error(t, err, who)
		list, err := h.Store.NoticeTemplates(ctx, actor, "320106")
		require.NoError(t, err, who)
		require.Len(t, list, len(registry.NoticeCodes())*len(registry.Channels()), who)
	}
}

func TestOwnWordsSayWhatTheShippedSentenceIsToldAndNothingElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	for _, c := range []struct {
		code, error string
		channel     registry.Channel
		zh, en      string
	}{
		{"task.opened", "template_parameter", registry.OnScreen, "{{.Step}}：{{.Donor}}", "{{.Step}} {{.Donor}}"},
		{"task.opened", "template_lacks", registry.OnScreen, "新待办", "A new task: {{.Step}}"},
		{"task.opened", "template_parameter", registry.ByEmail, "新待办：{{.Step}}", "New task: {{.Step}}"},
		{"donor.shared", "template_parameter", registry.ByText, "{{.Number}} 至 {{.Until}}，{{.Reason}}", "{{.Number}} until {{.Until}}: {{.Reason}}"},
		{"specimen.destroy", "template_parameter", registry.ByText, "请销毁样本 {{.Barcode}}", "Destroy {{.Barcode}}"},
		{"task.opened", "template_braces", registry.OnScreen, "{{.Step}}{{if true}}{{end}}", "{{.Step}}"},
		{"message.delivered", "template_braces", registry.OnScreen, "来信 {{ printf }}", "A text"},
		{"export.asked", "template_braces", registry.OnScreen, "{{.Rows}} 至 {{.Until}}", `{{.Rows}} {{plural .Rows "donor"}} until {{.Until}}`},
		{"export.asked", "template_braces", registry.OnScreen, "{{.Rows}} 至 {{.Until}}", `{{.Rows}} {{printf .Rows "donor" "donors"}} until {{.Until}}`},
		{"export.asked", "template_lacks", registry.OnScreen, "{{.Rows}} 至 {{.Until}}", `{{plural .Rows "donor" "donors"}} until {{.Until}}`},
		{"export.asked", "template_parameter", registry.OnScreen, "{{.Rows}} 至 {{.Until}}", `{{.Rows}} {{plural .Donors "donor" "donors"}} until {{.Until}}`},
		{"message.delivered", "template_one_line", registry.OnScreen, "一\n二", "A text"},
		{"message.delivered", "template_language", registry.OnScreen, "A text", "A text"},
		{"message.delivered", "template_language", registry.OnScreen, "来信", "来信"},
		{"message.delivered", "template_long", registry.ByText, string(slices.Repeat([]rune("长"), 121)), "A text"},
		{"no.such", "template_not_found", registry.OnScreen, "来信", "A text"},
		{"message.delivered", "template_not_found", "pigeon", "来信", "A text"},
	} {
		f := registry.NoticeWording{Chinese: c.zh, English: c.en}
		_, err := h.Store.SetNoticeTemplate(ctx, h.Administrator, "320106", c.code, c.channel, 0, f)
		require.Equal(t, c.error, registry.CodeOf(err), "%s %s: %v", c.code, c.channel, err)
		_, err = h.Store.PreviewNotice(ctx, h.Administrator, c.code, c.channel, f)
		require.Equal(t, c.error, registry.CodeOf(err), "the preview says the same")
	}
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM notice_templates`))
	p, err := h.Store.PreviewNotice(ctx, h.Administrator, "donor.shared", registry.ByText, registry.NoticeWording{Chinese: "{{.Number}} 共享至 {{.Until}}", English: "{{.Number}} is shared until {{.Until}}"})
	require.NoError(t, err)
	require.NotContains(t, p.Chinese+p.English, "{{")
}

// Who changes a word of the shipped sentence starts from all of it.
func TestTheShippedSentencesCanBeAnOfficesOwnWords(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	list, err := h.Store.NoticeTemplates(ctx, h.Administrator, "320106")
	require.NoError(t, err)
	plurals := 0
	for _, shipped := range list {
		if shipped.English != lang.English.Written("notice."+shipped.Code) {
			continue // it says only that there is something
		}
		p, err := h.Store.PreviewNotice(ctx, h.Administrator, shipped.Code, shipped.Channel, registry.NoticeWording{Chinese: shipped.Chinese, English: shipped.English})
		require.NoError(t, err, "%s by %s", shipped.Code, shipped.Channel)
		require.NotContains(t, p.Chinese+p.English, "{{", shipped.Code)
		if strings.Contains(shipped.English, "{{plural") {
			plurals++
		}
	}
	require.Positive(t, plurals)

	_, err = h.Store.SetNoticeTemplate(ctx, h.Administrator, "320100", "export.asked", registry.OnScreen, 0, registry.NoticeWording{
		Chinese: "{{.Rows}} 人，至 {{.Until}}", English: `{{.Rows}} {{plural .Rows "person" "people"}}, until {{.Until}}`,
	})
	require.NoError(t, err)
	for region, said := range map[identity.Region][2]string{
		"320106": {"1 person, until noon", "2 people, until noon"},
		"320200": {"Somebody asks to export 1 donor in clear: please approve or refuse it before noon", "Somebody asks to export 2 donors in clear: please approve or refuse it before noon"},
	} {
		for i, want := range said {
			text, err := h.Store.NoticeText(ctx, registry.OnScreen, region, lang.English, "export.asked", fields{"Rows": i + 1, "Until": "noon"})
			require.NoError(t, err)
			require.Equal(t, want, text)
		}
	}
}

// What leaves the house, whatever it is told, says nothing of what a case or a sample is about.
func TestNoNoticeTellsOutsideWhichStepOrWhatReason(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	args := fields{}
	for _, code := range registry.NoticeCodes() {
		for _, p := range lang.Parameters(lang.Chinese.Written("notice." + code)) {
			args[p] = "‹" + p + "›"
		}
	}
	require.Greater(t, len(args), 10)
	rapid.Check(t, func(rt *rapid.T) {
		code := rapid.SampledFrom(registry.NoticeCodes()).Draw(rt, "code")
		channel := rapid.SampledFrom(registry.Channels()).Draw(rt, "channel")
		l := rapid.SampledFrom(lang.Locales()).Draw(rt, "locale")
		text, err := h.Store.NoticeText(ctx, channel, "320106", l, code, args)
		require.NoError(rt, err)
		require.NotEmpty(rt, text)
		require.NotContains(rt, text, "{{")
		if channel != registry.OnScreen {
			for _, p := range []string{"Step", "Reason", "Barcode", "Staff"} {
				require.NotContains(rt, text, "‹"+p+"›", "%s by %s", code, channel)
			}
		}
	})
	// Each parameter of a notice is one that may leave or one that is known not to: somebody has thought about it.
	for p := range args {
		require.Contains(t, append([]string{"Step", "Reason", "Barcode", "Staff"}, registry.MayLeave()...), p, "may it leave the house? see templates.go")
	}
}
