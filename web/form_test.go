package web_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/lang"
	"github.com/liferelay/liferelay/web"
)

// Whatever a step asks has a label and, where it offers words, a word for each, in both languages.
func TestEveryFieldOfEveryStepIsSaidInBothLanguages(t *testing.T) {
	t.Parallel()
	for _, l := range lang.Locales() {
		v := web.VisitOf(l, url.Values{})
		for _, step := range registry.Steps() {
			var check func([]web.Field)
			check = func(fields []web.Field) {
				for _, f := range fields {
					require.NotContains(t, f.Label, "_", "%s %s in %s", step, f.Path, l)
					require.NotEqual(t, f.Path, f.Label, "%s %s in %s", step, f.Path, l)
					for _, o := range f.Options {
						require.False(t, o.Value == o.Label && strings.ToUpper(o.Value) != o.Value, "%s: %s.%s has no word in %s", step, f.Path, o.Value, l)
					}
					check(f.Parts)
				}
			}
			check(web.BlankOf(v, registry.StepForm(step)).Fields())
		}
	}
}

// What a form begins with comes back as it was when it is sent unchanged.
func TestAFormThatIsSentUnchangedIsTheFormThatItBeganWith(t *testing.T) {
	t.Parallel()
	day := rapid.Custom(func(t *rapid.T) calendar.Date {
		return calendar.Must(2026, time.January, 1).AddDays(rapid.IntRange(0, 700).Draw(t, "day"))
	})
	rapid.Check(t, func(t *rapid.T) {
		in := forms.Schedule{Outcome: rapid.SampledFrom([]string{"confirm", "propose"}).Draw(t, "outcome"), Window: &forms.Window{}}
		in.Window.Conditioning = day.Draw(t, "conditioning")
		in.Window.Mobilisation, in.Window.Collection = in.Window.Conditioning.AddDays(3), in.Window.Conditioning.AddDays(7)
		sent := web.Blank(web.VisitOf(lang.Chinese, nil), in).Values()
		out, filled := web.Read[forms.Schedule](web.VisitOf(lang.Chinese, sent))
		require.True(t, filled.Good(), "%v %v", sent, filled.Problems())
		require.Equal(t, in, out)

		booked := forms.SampleBooking{Outcome: "booked", Hospital: uuid.New(), Laboratory: uuid.New(), On: day.Draw(t, "on")}
		sent = web.Blank(web.VisitOf(lang.Chinese, nil), booked).Values()
		again, filled := web.Read[forms.SampleBooking](web.VisitOf(lang.Chinese, sent))
		require.True(t, filled.Good(), "%v", filled.Problems())
		require.Equal(t, booked, again)
	})
}

func TestAFormSaysWhatIsWrongBesideTheFieldAndKeepsWhatWasTyped(t *testing.T) {
	t.Parallel()
	v := web.VisitOf(lang.English, url.Values{"outcome": {"drawn"}, "barcode": {"?"}, "millilitres": {"a little"}, "drawn_on": {"2026-02-30"}})
	_, filled := web.Read[forms.ConfirmatorySample](v)
	require.False(t, filled.Good())
	require.Len(t, filled.One("millilitres").Problems, 1, "what cannot be read is told first")
	require.Equal(t, "a little", filled.One("millilitres").Value())
	v = web.VisitOf(lang.English, url.Values{"outcome": {"drawn"}, "barcode": {"?"}, "millilitres": {"12"}, "drawn_on": {"2026-02-28"}})
	_, filled = web.Read[forms.ConfirmatorySample](v)
	require.Len(t, filled.One("barcode").Problems, 1)
	require.Empty(t, filled.One("millilitres").Problems)
}

func TestAFieldIsAskedForTheAnswersThatNeedIt(t *testing.T) {
	t.Parallel()
	v := web.VisitOf(lang.Chinese, nil)
	f := web.Blank[forms.Schedule](v)
	require.Equal(t, "outcome", f.One("window").When)
	require.Equal(t, []string{"confirm", "propose"}, strings.Fields(f.One("window").Is))
	require.Equal(t, "cannot", f.One("reason").Is)
	r := web.Blank[forms.Remobilisation](v)
	require.Equal(t, []string{"declines", "deferred"}, strings.Fields(r.One("reason").Is))
	require.Equal(t, "moved", r.One("region").Is)
	require.Empty(t, r.One("outcome").When)
	require.True(t, r.One("outcome").Required)
}

func TestAListOfPartsIsReadRowByRow(t *testing.T) {
	t.Parallel()
	v := web.VisitOf(lang.Chinese, url.Values{"name": {"张样安"}, "contacts[0].name": {"张样宁"}, "contacts[0].phone": {"13900000001"}, "contacts[1].name": {"李例晴"}, "contacts[1].phone": {"1"}, "programmes": {"stemcell", "blood"}})
	f, filled := web.Read[forms.Registration](v)
	require.Len(t, f.Contacts, 2)
	require.Len(t, f.Programmes, 2)
	require.NotEmpty(t, filled.One("contacts[1].phone").Problems)
	require.NotContains(t, string(must(json.Marshal(filled.Problems()))), "张样")
}

func must[T any](out T, err error) T {
	if err != nil {
		panic(err)
	}
	return out
}
