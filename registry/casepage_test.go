package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

func (c *table) page(by registry.Actor) registry.CasePage {
	c.t.Helper()
	v, err := c.Store.ShowCasePage(context.Background(), by, c.id)
	require.NoError(c.t, err)
	return v
}

func (c *table) attempt(f forms.ContactAttempt) {
	c.t.Helper()
	_, err := c.Store.AddAttempt(context.Background(), c.Coordinator, c.id, f)
	require.NoError(c.t, err)
}

func checked(list []registry.CheckItem, code string) *registry.CheckItem {
	i := slices.IndexFunc(list, func(c registry.CheckItem) bool { return c.Code == code })
	if i < 0 {
		return nil
	}
	return &list[i]
}

func TestAPageTellsWhoIsAskedWhatByWhenAndWhatToSay(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	at := time.Now().Add(-30 * time.Hour)
	c.ask(registry.Question{CaseID: c.id, Step: "stemcell.remobilisation", Seat: registry.SeatCoordinator, Role: policy.Coordinator, Rule: rules.StemCellRemobilisation, At: at})
	c.attempt(forms.ContactAttempt{At: time.Now().Add(-25 * time.Hour), Channel: "phone", Whom: "donor", Result: "no_answer", Note: seal.NoteOf("晚上八点后再打")})
	v := c.page(c.Coordinator)
	require.Len(t, v.Next, 1)
	n := v.Next[0]
	require.True(t, n.Mine)
	require.Equal(t, "协调员", n.SeatTitle)
	require.Empty(t, n.Blocked)
	require.GreaterOrEqual(t, len(n.Script), 4)
	require.Contains(t, n.Script[0], "您好")
	calls := checked(n.Checklist, "check.attempts")
	require.NotNil(t, calls)
	require.False(t, *calls.Done)
	require.Contains(t, calls.Text, "联系 1 次")
	require.Nil(t, checked(n.Checklist, "check.family_told").Done, "only people know")
	// The ladder is the one that the desk climbs.
	var rungs []string
	for _, r := range n.Ladder {
		rungs = append(rungs, fmt.Sprint(r.Kind, r.Level, " ", r.Role, " ", r.Region))
	}
	require.Equal(t, []string{"reminder0 coordinator 320106", "due0 coordinator ", "escalation1 coordinator 320106", "escalation2 coordinator 320100", "escalation3 coordinator 320000", "release0  "}, rungs)
	require.NoError(t, c.Store.NudgeTask(context.Background(), system, registry.Nudge{TaskID: n.ID, Level: 2, At: time.Now()}))
	require.Equal(t, "320100", value[string](c.house, `SELECT region FROM notices WHERE code = 'task.escalated'`), "as the ladder said")
	v = c.page(c.Coordinator)
	require.Equal(t, []bool{false, false, true, true, false, false}, func() (out []bool) {
		for _, r := range v.Next[0].Ladder {
			out = append(out, r.Done)
		}
		return
	}())

	require.Equal(t, []int{1, 1, 0}, []int{v.Attempts.Made, v.Attempts.OnDays, v.Attempts.Contacts})
	require.Equal(t, "晚上八点后再打", v.Attempts.Entries[0].Words)
	require.True(t, v.Attempts.Entries[0].Note.Masked)
	require.True(t, v.Carries && v.Undoes && v.Sits)
	hospital := c.page(c.CollectionDoctor)
	require.Empty(t, hospital.Attempts.Entries[0].Words, "who does not carry the case reads no notes")
	require.False(t, hospital.Carries || hospital.Undoes)
	require.False(t, hospital.Next[0].Mine)
}

// The patient's side sees its own, and of the donor's side nothing that says who or where.
func TestEachSideHasItsOwnPage(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	c.attempt(forms.ContactAttempt{At: time.Now().Add(-25 * time.Hour), Channel: "phone", Whom: "donor", Result: "reached", Note: seal.NoteOf("晚上八点后再打")})
	c.paper(c.Coordinator, uuid.Nil, "一.pdf", pdf)
	c.task("remobilisation", registry.SeatCoordinator, 1)
	theirs := c.page(c.TransplantDoctor)
	require.Empty(t, theirs.Next)
	require.True(t, theirs.Waits)
	require.Nil(t, theirs.Attempts)
	require.Empty(t, theirs.Attachments)
	text, err := json.Marshal(theirs)
	require.NoError(t, err)
	for _, secret := range []string{c.donor.String(), "320106", c.County.ID.String(), c.Collection.ID.String(), c.County.Name, c.Collection.Name, c.Laboratory.Name, "晚上八点"} {
		require.NotContains(t, string(text), secret)
	}
	ours, err := json.Marshal(c.page(c.Coordinator))
	require.NoError(t, err)
	for _, secret := range []string{c.Transplant.Name, c.Transplant.ID.String(), c.search.String(), "310104"} {
		require.NotContains(t, string(ours), secret)
	}
	require.Contains(t, string(ours), c.Collection.Name)
	// Both are asked: each reads of the other's task that it is, and no more.
	for _, seat := range []string{registry.SeatCoordinator + "#donor", registry.SeatCollection, registry.SeatTransplant} {
		plain, _, _ := strings.Cut(seat, "#")
		c.ask(registry.Question{CaseID: c.id, Step: "stemcell.schedule", Seat: seat, Role: roles[plain]})
	}
	theirs = c.page(c.TransplantDoctor)
	require.Len(t, theirs.Next, 1)
	require.Len(t, theirs.Next[0].Signatures, 3)
	require.Empty(t, theirs.Next[0].Script, "nobody of the patient's side speaks with the donor")
	for _, r := range theirs.Next[0].Ladder {
		require.Contains(t, []string{"", "320000"}, string(r.Region), "of where the donor lives the patient's side sees the province")
	}
	text, err = json.Marshal(theirs)
	require.NoError(t, err)
	require.NotContains(t, string(text), "320106")
}

func TestAPageSaysWhoseSignatureIsMissing(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	ask := func(n int) uuid.UUID {
		return c.ask(registry.Question{CaseID: c.id, Step: "stemcell.clearance", Seat: fmt.Sprintf("%s#%d", registry.SeatCollection, n), Role: policy.CollectionHospital}).TaskID
	}
	one, two := ask(1), ask(2)
	c.answer(c.CollectionDoctor, one, fields{"outcome": "cleared", "on": today()}, to("stemcell.clearance"))
	for _, look := range []struct {
		by      registry.Actor
		blocked bool
	}{{c.CollectionDoctor, true}, {c.Second, false}, {c.Coordinator, false}} {
		v := c.page(look.by)
		require.Len(t, v.Next, 1)
		s := v.Next[0].Signatures
		require.Len(t, s, 2)
		require.Equal(t, []string{c.CollectionDoctor.Name, ""}, []string{s[0].By, s[1].By})
		require.NotNil(t, s[0].At)
		require.Nil(t, s[1].At)
		require.Equal(t, look.blocked, slices.ContainsFunc(v.Next[0].Blocked, func(b registry.Block) bool { return b.Code == "second_person" }))
	}
	step, err := c.Store.ShowStepPage(ctx, c.Second, two)
	require.NoError(t, err)
	require.True(t, step.Mine)
	require.Len(t, step.Signatures, 2)
	require.Equal(t, &c.donor, step.DonorID, "who meets the donor may ask who it is")
}

func TestTheGateSaysWhatStandsAgainstIt(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	codes := func() (out []string) {
		for _, b := range c.page(c.TransplantDoctor).Next[0].Blocked {
			out = append(out, b.Code)
		}
		return out
	}
	c.ask(registry.Question{CaseID: c.id, Step: "stemcell.conditioning", Seat: registry.SeatTransplant, Role: policy.TransplantHospital})
	require.Equal(t, []string{"blocked.schedule_not_agreed", "blocked.clearance_not_current", "blocked.consent_missing"}, codes())
	c.sql(`UPDATE cases SET state = jsonb_build_object('agreed', true, 'cleared_until', $2::text, 'window', jsonb_build_object('collection', $3::text, 'conditioning', $3::text, 'mobilisation', $3::text)) WHERE id = $1`,
		c.id, today().AddDays(10).String(), today().AddDays(9).String())
	require.Equal(t, []string{"blocked.consent_missing"}, codes())
	c.sql(`INSERT INTO consents (id, person_id, registration_id, case_id, kind, text_version, text_sha256, signed_on, on_paper) SELECT gen_random_uuid(), person_id, id, $2, 'stemcell.donation', 'x', 'x', now(), true FROM registrations WHERE id = $1`, c.donor, c.id)
	require.Empty(t, codes())
	c.sql(`UPDATE cases SET state = jsonb_set(state, '{cleared_until}', to_jsonb($2::text)) WHERE id = $1`, c.id, today().AddDays(8).String())
	require.Equal(t, []string{"blocked.clearance_not_current"}, codes(), "it has to last until the collection")
}

func TestAWithdrawalStandsAgainstEveryStepOfTheDonors(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	c.task("remobilisation", registry.SeatCoordinator, 1)
	c.sql(`UPDATE registrations SET status = 'withdrawn' WHERE id = $1`, c.donor)
	v := c.page(c.Coordinator)
	require.Equal(t, "blocked.withdrawn", v.Next[0].Blocked[0].Code)
	require.Contains(t, v.Next[0].Blocked[0].Text, "撤回")
}

func TestStagesAreReachedInTheirOrderAndAnUndoTakesThemBack(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	reached := func() (out []string) {
		for _, s := range c.page(c.Coordinator).Stages {
			switch {
			case s.Here:
				out = append(out, s.Name+" here")
			case !s.On.IsZero():
				out = append(out, s.Name)
			}
		}
		return out
	}
	c.answer(c.Coordinator, c.task("remobilisation", registry.SeatCoordinator, 1), fields{"outcome": "willing"}, to("stemcell.sample_booking"))
	require.Equal(t, []string{"requested", "remobilisation", "typing here"}, reached())
	c.answer(c.CollectionDoctor, c.task("physical_examination", registry.SeatCollection, 1), fields{"outcome": "fit", "examined_on": today()}, to("stemcell.donation_consent"))
	require.Equal(t, []string{"requested", "remobilisation", "typing", "examination here"}, reached())
	_, err := c.Store.ReopenStep(ctx, c.Coordinator, registry.ReopenInput{
		CaseID: c.id, Version: c.version(c.id), Step: "stemcell.remobilisation", Reason: "other", At: time.Now(), State: noState, Steps: []string{"stemcell.remobilisation", "stemcell.sample_booking", "stemcell.physical_examination"},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"requested", "remobilisation here"}, reached())
}

func TestAMedianIsToldOfEnoughCasesOnly(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	add := func(days int) {
		id := uuid.New()
		c.sql(`INSERT INTO cases (id, number, protocol, subject_id, region, organisation_id, status, step, state, opened_at) SELECT $1::uuid, gen_random_uuid()::text, 'stemcell', $2::uuid, region, organisation_id, 'ended', step, '{}', now() - interval '100 days' FROM cases WHERE id = $3`, id, uuid.New(), c.id)
		c.sql(`INSERT INTO tasks (id, case_id, step, round, seat, role, region, status, opened_at, due_at) VALUES (gen_random_uuid(), $1, 'stemcell.remobilisation', 1, 'coordinator', 'coordinator', '320106', 'done', now() - interval '100 days' + $2 * interval '1 day', now())`, id, days)
	}
	median := func() *float64 {
		v, err := c.open(registry.Options{}).ShowCasePage(context.Background(), c.Coordinator, c.id)
		require.NoError(t, err)
		for _, s := range v.Stages[1:] {
			require.Nil(t, s.Median)
		}
		return v.Stages[0].Median
	}
	for _, days := range []int{2, 40, 6} {
		add(days)
	}
	require.Nil(t, median(), "with the case at hand there are four: somebody might be known")
	add(9)
	require.InDelta(t, 6, *median(), 0.01)
}

// Whoever was not first reads what was answered meanwhile, as far as they may.
func TestWhoWasNotFirstReadsWhatWasAnswered(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.task("remobilisation", registry.SeatCoordinator, 1)
	open, err := c.Store.ShowAnswer(ctx, c.CityCoordinator, task)
	require.NoError(t, err)
	require.Equal(t, []any{"open", ""}, []any{open.Status, open.Text})
	c.answer(c.Coordinator, task, fields{"outcome": "declines", "reason": "family", "note": "母亲李小红不同意"}, to("stemcell.remobilisation"))
	_, err = c.tryPropose(c.CityCoordinator, task, fields{"outcome": "willing"})
	requireCode(t, err, registry.Refused, "task_closed")
	v, err := c.Store.ShowAnswer(ctx, c.CityCoordinator, task)
	require.NoError(t, err)
	require.Equal(t, []any{"done", c.Coordinator.Name}, []any{v.Status, v.By})
	require.Contains(t, v.Text, "捐献者不愿意")
	var form map[string]any
	require.NoError(t, json.Unmarshal(v.Form, &form))
	require.Equal(t, "declines", form["outcome"])
	require.Equal(t, true, form["note"].(map[string]any)["masked"])
	require.NotContains(t, string(v.Form), "李小红")
	// Who may read the case and could not have answered reads the words only.
	office := c.Staff(t, "cityoffice", c.City, policy.CityOffice, "320100")
	v, err = c.Store.ShowAnswer(ctx, office, task)
	require.NoError(t, err)
	require.NotEmpty(t, v.Text)
	require.Empty(t, v.Form)
	_, err = c.Store.ShowAnswer(ctx, c.TransplantDoctor, task)
	requireCode(t, err, registry.NotFound, "task_not_found")
	theirs := c.task("hospital_decision", registry.SeatTransplant, 1)
	_, err = c.Store.ShowAnswer(ctx, c.Coordinator, theirs)
	requireCode(t, err, registry.NotFound, "task_not_found")
}

func TestAStepsPageIsItsTaskAndNothingElse(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	typing := c.task("confirmatory_typing", registry.SeatLaboratory, 1)
	c.paper(c.Coordinator, uuid.Nil, "同意书.pdf", pdf)
	v, err := c.Store.ShowStepPage(ctx, c.Technician, typing)
	require.NoError(t, err)
	require.True(t, v.Mine)
	require.Nil(t, v.DonorID, "a laboratory learns of no donor")
	require.Empty(t, v.Attachments)
	require.NotEmpty(t, v.Checklist)
	_, err = c.Store.ShowStepPage(ctx, c.OtherDoctor, typing)
	requireCode(t, err, registry.NotFound, "task_not_found")
	_, err = c.Store.ShowStepPage(ctx, c.TransplantDoctor, typing)
	requireCode(t, err, registry.NotFound, "task_not_found")

	sample := c.task("confirmatory_sample", registry.SeatCollection, 1)
	c.answer(c.CollectionDoctor, sample, fields{"outcome": "failed", "reason": "did_not_come"}, to("stemcell.sample_booking"))
	own, err := c.Store.ListOwnAnswers(ctx, c.CollectionDoctor, uuid.Nil, 0)
	require.NoError(t, err)
	require.Len(t, own, 1)
	require.Equal(t, []any{sample, "accepted"}, []any{own[0].TaskID, own[0].Status})
	require.Contains(t, own[0].Text, "采样未成")
	own, err = c.Store.ListOwnAnswers(ctx, c.Second, uuid.Nil, 0)
	require.NoError(t, err)
	require.Empty(t, own)
}

func TestWhoLookedAtACaseIsToldToWhoMayKnow(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	c.page(c.Coordinator)
	c.page(c.TransplantDoctor)
	looks, err := c.Store.WhoLookedAtCase(ctx, c.Coordinator, c.id, registry.LookFilter{})
	require.NoError(t, err)
	i := slices.IndexFunc(looks, func(l registry.Look) bool { return l.Act == "ShowCasePage" && l.Role == "coordinator" })
	require.GreaterOrEqual(t, i, 0)
	require.Equal(t, c.County.Name, looks[i].Organisation)
	for _, l := range looks {
		require.NotEqual(t, c.Transplant.Name, l.Organisation, "which hospital it is, the donor's side does not learn")
	}
	_, err = c.Store.WhoLookedAtCase(ctx, c.TransplantDoctor, c.id, registry.LookFilter{})
	requireCode(t, err, registry.NotFound, "case_not_found")
}

func TestCasesAreFoundByAPartOfTheirNumber(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	number := value[string](c.house, `SELECT number FROM cases WHERE id = $1`, c.id)
	found := func(n string) int {
		list, err := c.Store.ListCases(ctx, c.Coordinator, registry.CaseFilter{Protocol: registry.StemCellProtocol, Number: n})
		require.NoError(t, err)
		return len(list)
	}
	require.Equal(t, []int{1, 1, 0, 0}, []int{found(strings.ToLower(number)), found(number[len(number)-4:]), found("999999"), found("%")})
}

// Every step of a stem-cell case belongs to one stage, every event that the program tells has a kind, and what helps with a step is
// said in both languages.
func TestTheTablesOfAPageAreWhole(t *testing.T) {
	t.Parallel()
	stages := map[string]int{}
	for _, s := range registry.StemCellStages() {
		stages[s]++
	}
	for _, step := range registry.Steps() {
		if strings.HasPrefix(step, "stemcell.") {
			require.Equal(t, 1, stages[step], step)
			delete(stages, step)
		}
	}
	require.Empty(t, stages)
	for _, key := range registry.PageSentences() {
		require.True(t, lang.Has(key), key)
	}
	for _, id := range lang.IDs() {
		if code, ok := strings.CutPrefix(id, "event."); ok && (strings.HasPrefix(code, "stemcell.") || strings.HasPrefix(code, "case.") || strings.HasPrefix(code, "attachment.") || strings.HasPrefix(code, "task.")) {
			require.True(t, registry.HasKind(code), "%s is of no kind", code)
		}
	}
}

// Whatever a state says, what an undo releases are known facts that were there and are not.
func TestWhatAnUndoReleasesWasHeldBefore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		facts := rapid.MapOf(rapid.SampledFrom([]string{"agreed", "window", "cleared_until", "day", "held", "rounds"}), rapid.IntRange(1, 3))
		before, after := facts.Draw(t, "before"), facts.Draw(t, "after")
		b, _ := json.Marshal(before)
		a, _ := json.Marshal(after)
		got := registry.Released(b, a)
		for _, fact := range []string{"agreed", "window", "cleared_until"} {
			_, was := before[fact]
			_, is := after[fact]
			if slices.Contains(got, fact) != (was && !is) {
				t.Fatalf("%s: %v before, %v after, released %v", fact, was, is, got)
			}
		}
		if slices.ContainsFunc(got, func(f string) bool { return !slices.Contains([]string{"agreed", "cleared_until", "window"}, f) }) || !slices.IsSorted(got) {
			t.Fatal(got)
		}
	})
	require.Equal(t, []string{}, registry.Released(nil, nil))
}

// Every field of the views that pages read carries its class and its mask, as those of the API do.
func TestEveryFieldOfAPageCarriesItsClassAndItsMask(t *testing.T) {
	t.Parallel()
	seen := 0
	var walk func(reflect.Type)
	walk = func(ty reflect.Type) {
		for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice}, ty.Kind()) {
			ty = ty.Elem()
		}
		if ty.Kind() != reflect.Struct || !strings.HasSuffix(ty.PkgPath(), "/registry") {
			return
		}
		for i := range ty.NumField() {
			f := ty.Field(i)
			if f.IsExported() && !f.Anonymous {
				seen++
				require.NotEmpty(t, f.Tag.Get("class"), "%s.%s", ty, f.Name)
				require.Contains(t, registry.Masks(), f.Tag.Get("mask"), "%s.%s", ty, f.Name)
			}
			walk(f.Type)
		}
	}
	for _, view := range []any{registry.CasePage{}, registry.StepPage{}, registry.OwnAnswer{}, registry.AttachmentFile{}, registry.AnsweredTask{}, registry.ReopenPreview{}, registry.ReopeningView{}} {
		walk(reflect.TypeOf(view))
	}
	require.Greater(t, seen, 100)
}
