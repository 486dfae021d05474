package registry_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/seal"
)

// What one side writes to the other goes there at once when it names nobody, and waits for a reader when it looks as if it did.
func TestATextBetweenTheSidesThatNamesSomebodyIsHeld(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.listed(gl)[0]
	search := h.search(h.TransplantDoctor, "")
	caseID := h.request(h.TransplantDoctor, search.ID, donor)[0]
	name := h.reveal(donor).Name
	phone := h.reveal(donor).Phone
	patient := value[string](h, `SELECT number FROM patients WHERE id = $1`, search.Patient)
	write := func(by registry.Actor, text string) registry.MessageView {
		m, err := h.Store.WriteMessage(ctx, by, caseID, registry.MessageForm{Text: seal.NoteOf(text)})
		require.NoError(t, err)
		return m
	}
	spaced := string([]rune(name)[:1]) + " . " + string([]rune(name)[1:])
	for _, c := range []struct {
		by       registry.Actor
		text     string
		findings []string
	}{
		{h.Coordinator, "志愿者状态良好，可按期采集。", nil},
		{h.TransplantDoctor, "We can take the cells on day 5, about noon.", nil},
		{h.Coordinator, "志愿者" + name + "愿意捐献", []string{"name"}},
		{h.Coordinator, "志愿者 " + spaced + " 愿意捐献", []string{"name"}},
		{h.Coordinator, "请致电 " + phone, []string{"digits", "phone"}},
		{h.Coordinator, "电话 138-1234 5678", []string{"digits"}},
		{h.Coordinator, "write to somebody@example.org", []string{"email"}},
		{h.Coordinator, "他住在鼓楼区", []string{"place"}},
		{h.Coordinator, "在" + h.County.Name + "登记", []string{"organisation", "place"}},
		{h.TransplantDoctor, "患者编号 " + patient, []string{"digits", "patient_number"}},
		{h.TransplantDoctor, "在" + h.Transplant.Name, []string{"organisation"}},
	} {
		m := write(c.by, c.text)
		require.ElementsMatch(t, c.findings, m.Findings, c.text)
		require.Equal(t, map[bool]string{true: "held", false: "delivered"}[len(c.findings) > 0], m.Status, c.text)
	}
	require.Equal(t, 0, value[int](h, `SELECT count(*)::int FROM link.messages WHERE position(convert_to($1, 'UTF8') IN text_sealed) > 0`, name))

	read := func(by registry.Actor) (texts []string) {
		list, err := h.Store.ListMessages(ctx, by, caseID)
		require.NoError(t, err)
		for _, m := range list {
			texts = append(texts, m.Text)
		}
		return texts
	}
	require.Len(t, read(h.Coordinator), 9, "its own eight and the one that was delivered")
	require.Equal(t, []string{"志愿者状态良好，可按期采集。", "We can take the cells on day 5, about noon.", "患者编号 " + patient, "在" + h.Transplant.Name}, read(h.TransplantDoctor))
	for who, actor := range h.everybody() {
		if actor == h.Coordinator || actor == h.TransplantDoctor || actor == h.CityCoordinator || actor == system {
			continue
		}
		_, err := h.Store.ListMessages(ctx, actor, caseID)
		require.Equal(t, registry.NotFound, registry.KindOf(err), "%s: %v", who, err)
		_, err = h.Store.WriteMessage(ctx, actor, caseID, registry.MessageForm{Text: seal.NoteOf("x")})
		require.Contains(t, []registry.Kind{registry.NotFound, registry.Denied}, registry.KindOf(err), "%s: %v", who, err)
	}

	// The office above reads what its side wrote, the bridge both; neither their own.
	office, bridge := h.Staff(t, "cityoffice", h.City, policy.CityOffice, "320100"), h.Staff(t, "bridge", h.City, policy.Bridge, "000000")
	held := func(by registry.Actor) []registry.MessageView {
		list, err := h.Store.HeldMessages(ctx, by, uuid.Nil, 0)
		require.NoError(t, err)
		return list
	}
	require.Len(t, held(office), 7)
	require.Len(t, held(bridge), 9)
	_, err := h.Store.HeldMessages(ctx, h.Coordinator, uuid.Nil, 0)
	requireCode(t, err, registry.Denied, "denied")
	var theirs registry.MessageView
	for _, m := range held(bridge) {
		if m.Side == registry.PatientSide {
			theirs = m
		}
	}
	_, err = h.Store.ReviewMessage(ctx, office, theirs.ID, 1, registry.MessageReview{Verdict: "deliver"})
	requireCode(t, err, registry.NotFound, "message_not_found")
	first := held(office)[0]
	_, err = h.Store.ReviewMessage(ctx, office, first.ID, 7, registry.MessageReview{Verdict: "deliver"})
	requireCode(t, err, registry.Stale, "message_changed")
	m, err := h.Store.ReviewMessage(ctx, office, first.ID, 1, registry.MessageReview{Verdict: "refuse"})
	require.NoError(t, err)
	require.Equal(t, "refused", m.Status)
	_, err = h.Store.ReviewMessage(ctx, bridge, first.ID, 0, registry.MessageReview{Verdict: "deliver"})
	requireCode(t, err, registry.Refused, "message_settled")
	require.Len(t, read(h.TransplantDoctor), 4, "what is refused goes nowhere")
	_, err = h.Store.ReviewMessage(ctx, bridge, held(bridge)[0].ID, 1, registry.MessageReview{Verdict: "deliver"})
	require.NoError(t, err)
	require.Len(t, read(h.TransplantDoctor), 5)
	// Who wrote a text does not release it, whatever else they have become.
	_, err = h.Store.GrantRole(ctx, registry.Operator("test"), registry.GrantForm{Login: "coordinator", Role: policy.CityOffice, Region: "320100", Until: h.until()})
	require.NoError(t, err)
	_, err = h.Store.ReviewMessage(ctx, h.Coordinator, held(office)[0].ID, 1, registry.MessageReview{Verdict: "deliver"})
	requireCode(t, err, registry.Denied, "own_message")
}
