package registry_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/registry/seal"
)

// openDrive plans a drive that is today, and gives the address of its form.
func (h *house) openDrive() (registry.DriveView, string) {
	h.t.Helper()
	today := calendar.Of(time.Now(), registry.Zone)
	d, err := h.Store.PlanDrive(context.Background(), h.Registrar, forms.Drive{
		Name: "秋季采样", Place: "体育馆", Region: "320106", Laboratory: h.Laboratory.ID, FirstDay: signed(), LastDay: today, BarcodeFrom: "TB000001", BarcodeTo: "TB009999",
	})
	require.NoError(h.t, err)
	l, err := h.Store.SwitchLink(context.Background(), h.Registrar, d.ID, registry.LinkForm{Open: true})
	require.NoError(h.t, err)
	require.Greater(h.t, len(l.Token), 30)
	return d, l.Token
}

func (h *house) volunteerAt(token string) registry.Actor {
	h.t.Helper()
	a, _, err := h.Store.Volunteer(context.Background(), token, lang.Chinese, "10.0.0.7")
	require.NoError(h.t, err)
	return a
}

// ownTexts is volunteer n's form as they fill it in.
func ownTexts(n int) intake.Texts {
	out := written(n)
	delete(out, intake.SignedOn)
	return out
}

func TestAVolunteerFillsInTheirFormAndTheTableTakesIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	d, token := h.openDrive()
	who := h.volunteerAt(token)

	// Begun, left and gone on with: by the secret that the device keeps.
	begun, err := h.Store.SaveOwn(ctx, who, "", intake.Texts{intake.Name: seal.NoteOf("张小明"), intake.Barcode: seal.NoteOf(barcode(9))}, false)
	require.NoError(t, err)
	require.Len(t, begun.Code, 6)
	shown, err := h.Store.ShowOwn(ctx, who, begun.Secret)
	require.NoError(t, err)
	require.Equal(t, "张小明", shown.Texts[intake.Name].Reveal())
	require.NotContains(t, shown.Texts, intake.Barcode, "the tube is the table's")
	_, err = h.Store.ShowOwn(ctx, who, begun.Code)
	requireCode(t, err, registry.NotFound, "own_form_not_found", "the code opens nothing")
	other, otherToken := h.openDrive()
	_, err = h.Store.ShowOwn(ctx, h.volunteerAt(otherToken), begun.Secret)
	requireCode(t, err, registry.NotFound, "own_form_not_found", "the form is another drive's")

	_, err = h.Store.SaveOwn(ctx, who, begun.Secret, intake.Texts{intake.Name: seal.NoteOf("张小明")}, true)
	requireProblem(t, err, "R101", "document_number")
	sent, err := h.Store.SaveOwn(ctx, who, begun.Secret, ownTexts(1), true)
	require.NoError(t, err)
	require.Equal(t, "submitted", sent.Status)
	_, err = h.Store.SaveOwn(ctx, who, begun.Secret, ownTexts(2), false)
	requireCode(t, err, registry.Refused, "form_sent")

	list, err := h.Store.ListOwnForms(ctx, h.Registrar, d.ID, "submitted", 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, []string{begun.Code, "张*明"}, []string{list[0].Code, list[0].Name.Display})
	elsewhere, err := h.Store.ListOwnForms(ctx, h.Registrar, other.ID, "", 0)
	require.NoError(t, err)
	require.Empty(t, elsewhere)
	full, err := h.Store.ShowOwnForm(ctx, h.Registrar, list[0].ID)
	require.NoError(t, err)
	require.Equal(t, residentNumber(1), full.Texts["document_number"])
	_, err = h.Store.ShowOwnForm(ctx, h.Coordinator, list[0].ID)
	requireCode(t, err, registry.NotFound, "own_form_not_found")

	// Sent back, mended and sent again.
	back, err := h.Store.ReturnOwnForm(ctx, h.Registrar, list[0].ID, list[0].Version, registry.ReturnForm{Reason: "differs_from_document"})
	require.NoError(t, err)
	shown, err = h.Store.ShowOwn(ctx, who, begun.Secret)
	require.NoError(t, err)
	require.Equal(t, []string{"returned", "differs_from_document"}, []string{shown.Status, shown.Reason})
	_, err = h.Store.TakeOwnForm(ctx, h.Registrar, back.ID, 0, registry.TakeForm{Seen: "resident_id"})
	requireCode(t, err, registry.Refused, "form_not_waiting")
	_, err = h.Store.SaveOwn(ctx, who, begun.Secret, ownTexts(1), true)
	require.NoError(t, err)

	h.sampled(h.drive(), 8)
	_, err = h.Store.TakeOwnForm(ctx, h.Registrar, back.ID, 0, registry.TakeForm{Seen: "resident_id", Barcode: barcode(8)})
	requireProblem(t, err, "R109", "barcode")
	_, err = h.Store.TakeOwnForm(ctx, h.Registrar, back.ID, back.Version, registry.TakeForm{Seen: "resident_id", Barcode: barcode(1)})
	requireCode(t, err, registry.Stale, "own_form_changed")
	entry, err := h.Store.TakeOwnForm(ctx, h.Registrar, back.ID, 0, registry.TakeForm{Seen: "resident_id", Barcode: barcode(1), Changes: intake.Texts{intake.Name: seal.NoteOf("章小明")}})
	require.NoError(t, err)
	require.Equal(t, "created", entry.Status, "%+v", entry.Problems)
	require.Equal(t, "章小明", h.reveal(entry.Donors[0].ID).Name, "the document is right")
	require.Equal(t, "own", value[string](h, `SELECT channel FROM registrations WHERE id = $1`, entry.Donors[0].ID))
	require.Equal(t, barcode(1), value[string](h, `SELECT barcode FROM specimens WHERE registration_id = $1`, entry.Donors[0].ID))
	require.True(t, value[bool](h, `SELECT form_sealed IS NULL AND seen = 'resident_id' FROM own_forms WHERE id = $1`, back.ID))
	_, err = h.Store.TakeOwnForm(ctx, h.Registrar, back.ID, 0, registry.TakeForm{Seen: "resident_id", Barcode: barcode(1)})
	requireCode(t, err, registry.Refused, "form_not_waiting")
	shown, err = h.Store.ShowOwn(ctx, who, begun.Secret)
	require.NoError(t, err)
	require.Equal(t, []any{"taken", 0}, []any{shown.Status, len(shown.Texts)})
	b, err := h.Store.Board(ctx, h.Registrar, d.ID)
	require.NoError(t, err)
	require.Equal(t, []registry.BoardSource{{Source: "own", Forms: 1, Registered: 1}}, b.Sources)
}

// Somebody whom the register has already sends their form like anybody else, and only the table hears of it.
func TestAPublicFormTellsNothingOfTheRegister(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	_, token := h.openDrive()
	h.donor(1)
	who := h.volunteerAt(token)
	var sent [2]registry.OwnForm
	for i, n := range []int{1, 2} {
		var err error
		sent[i], err = h.Store.SaveOwn(ctx, who, "", ownTexts(n), true)
		require.NoError(t, err)
		sent[i].Code, sent[i].Secret, sent[i].Texts = "", "", nil
		sent[i].SavedAt, sent[i].ExpiresAt, sent[i].SubmittedAt = time.Time{}, time.Time{}, nil
	}
	require.Equal(t, sent[1], sent[0])
	id := value[uuid.UUID](h, `SELECT id FROM own_forms ORDER BY id LIMIT 1`)
	entry, err := h.Store.TakeOwnForm(ctx, h.Registrar, id, 0, registry.TakeForm{Seen: "resident_id", Barcode: barcode(1)})
	require.NoError(t, err)
	require.Equal(t, "linked", entry.Status)
	require.Contains(t, codesOf(entry.Problems), "N301")
}

func TestAPublicFormIsOpenOnItsDaysWhileItIsSwitchedOn(t *testing.T) {
	t.Parallel()
	c := newClock()
	h := newHouse(t, registry.Options{Now: c.now})
	ctx := context.Background()
	d, token := h.openDrive()
	who := h.volunteerAt(token)
	knock := func(token string) error {
		_, _, err := h.Store.Volunteer(ctx, token, lang.Chinese, "")
		return err
	}
	requireCode(t, knock(strings.Repeat("a", 32)), registry.NotFound, "own_form_not_found")
	_, err := h.Store.SwitchLink(ctx, h.Registrar, d.ID, registry.LinkForm{})
	require.NoError(t, err)
	requireCode(t, knock(token), registry.Refused, "form_closed")
	_, err = h.Store.SaveOwn(ctx, who, "", ownTexts(1), false)
	requireCode(t, err, registry.Refused, "form_closed", "whoever has the page open is told, too")
	l, err := h.Store.SwitchLink(ctx, h.Registrar, d.ID, registry.LinkForm{Open: true, Renew: true})
	require.NoError(t, err)
	requireCode(t, knock(token), registry.NotFound, "own_form_not_found")
	require.NoError(t, knock(l.Token))
	c.pass(24 * time.Hour)
	requireCode(t, knock(l.Token), registry.Refused, "form_closed")
	_, err = h.Store.SwitchLink(ctx, h.TransplantDoctor, d.ID, registry.LinkForm{Open: true})
	requireCode(t, err, registry.NotFound, "drive_not_found")
}

func TestFormsThatNobodyTookAreDestroyedAndFloodsAreStopped(t *testing.T) {
	t.Parallel()
	c := newClock()
	h := newHouse(t, registry.Options{Now: c.now})
	ctx := context.Background()
	_, token := h.openDrive()
	who := h.volunteerAt(token)
	mine, err := h.Store.SaveOwn(ctx, who, "", ownTexts(1), true)
	require.NoError(t, err)
	for kind, most := range map[string]int{"own_form": 3000, "own_form_from": 1500} {
		h.sql(`UPDATE tries SET n = CASE WHEN kind = $1 THEN $2::int ELSE 1 END`, kind, most)
		_, err = h.Store.SaveOwn(ctx, who, "", ownTexts(2), false)
		requireCode(t, err, registry.Locked, "tried_too_often")
	}
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM own_forms`))
	require.NotContains(t, value[string](h, `SELECT string_agg(subject, ' ') FROM tries`), "10.0.0.7")
	c.pass(71 * time.Hour)
	require.NoError(t, h.Store.Upkeep(ctx))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM own_forms WHERE form_sealed IS NOT NULL`))
	c.pass(2 * time.Hour)
	require.NoError(t, h.Store.Upkeep(ctx))
	require.Equal(t, "expired", value[string](h, `SELECT status FROM own_forms WHERE form_sealed IS NULL AND code = $1`, mine.Code))
	require.Zero(t, value[int](h, `SELECT count(*)::int FROM tries`))
}

// Every act that takes an actor is tried with one that has only a public form: none but the form's own does anything, or shows anything.
func TestAVolunteersActorDoesNothingButTheirForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	d, token := h.openDrive()
	donor := h.sampled(d, 1)[0]
	who := h.volunteerAt(token)
	// Their own, what keeps the answers of a session, of which they have none, and what a menu offers them.
	own := []string{"SaveOwn", "ShowOwn", "Remember", "Answered", "Forget", "Abilities"}
	tried, did := 0, map[string]bool{}
	before := h.rowsOfEach()
	for _, with := range []uuid.UUID{d.ID, donor, uuid.New()} {
		store := reflect.ValueOf(h.Store)
		for i := range store.NumMethod() {
			m := store.Type().Method(i)
			if m.Type.NumIn() < 3 || m.Type.In(2) != reflect.TypeFor[registry.Actor]() || slices.Contains(own, m.Name) || m.Type.IsVariadic() {
				continue
			}
			args := []reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(who)}
			usable := true
			for j := 3; j < m.Type.NumIn(); j++ {
				in := m.Type.In(j)
				arg := reflect.New(in).Elem()
				switch {
				case in == reflect.TypeFor[uuid.UUID]():
					arg.Set(reflect.ValueOf(with))
				case in.Kind() == reflect.Func || in.Kind() == reflect.Interface || in.Kind() == reflect.Pointer:
					usable = false // they write what they read somewhere: below
				}
				args = append(args, arg)
			}
			if !usable {
				continue
			}
			results := store.Method(i).Call(args)
			last := results[len(results)-1]
			if last.Type() != reflect.TypeFor[error]() {
				continue
			}
			tried++
			if last.IsNil() {
				did[m.Name] = true
			}
		}
	}
	require.Greater(t, tried, 200)
	require.Empty(t, did)
	var sheet strings.Builder
	require.Error(t, h.Store.Template(ctx, who, d.ID, &sheet))
	require.Error(t, h.Store.ResultWorkbook(ctx, who, d.ID, &sheet))
	require.Empty(t, sheet.String())
	require.Equal(t, before, h.rowsOfEach())

	// And if an act of theirs began, the database would show it no row of the register.
	conn := connect(t, h.url)
	_, err := conn.Exec(ctx, `SELECT set_config('liferelay.everywhere', '', false), set_config('liferelay.drive', $1, false), set_config('role', 'liferelay_register', false)`, d.ID.String())
	require.NoError(t, err)
	for table, rows := range map[string]int{"drives": 0, "drive_links": 1, "own_forms": 0, "persons": 0, "registrations": 0, "specimens": 0, "consents": 0, "cases": 0, "tasks": 0, "batches": 0, "events": 0, "notices": 0, "drive_team": 0, "paper_forms": 0} {
		var n int
		require.NoError(t, conn.QueryRow(ctx, `SELECT count(*) FROM `+table).Scan(&n))
		require.Equal(t, rows, n, table)
	}
}

// rowsOfEach is how many rows each table of the register has.
func (h *house) rowsOfEach() map[string]int {
	out := map[string]int{}
	for _, table := range []string{"persons", "registrations", "consents", "specimens", "cases", "batches", "own_forms", "events", "notices", "drive_team", "staff", "role_grants", "organisations"} {
		out[table] = value[int](h, `SELECT count(*)::int FROM `+table)
	}
	return out
}
