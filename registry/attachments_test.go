package registry_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
)

var (
	pdf = []byte("%PDF-1.7\n张小明 体检报告\n%%EOF")
	png = append([]byte("\x89PNG\r\n\x1a\n"), []byte("张小明")...)
)

func (c *table) paper(by registry.Actor, task uuid.UUID, name string, body []byte) registry.AttachmentView {
	c.t.Helper()
	f := registry.AttachmentForm{Case: c.id, Name: name, Body: body}
	if task != uuid.Nil {
		f.Case, f.Task = uuid.Nil, task
	}
	v, err := c.Store.AddAttachment(context.Background(), by, f)
	require.NoError(c.t, err)
	return v
}

func (c *table) papers(by registry.Actor, task uuid.UUID) []registry.AttachmentView {
	c.t.Helper()
	list, err := c.Store.ListAttachments(context.Background(), by, c.id, task)
	require.NoError(c.t, err)
	return list
}

func TestAPaperStaysOnItsSideOfTheTable(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	examination := c.task("physical_examination", registry.SeatCollection, 1)
	decision := c.task("hospital_decision", registry.SeatTransplant, 1)
	ours := c.paper(c.Coordinator, uuid.Nil, `C:\Users\me\张小明 同意书.PDF`, pdf)
	theirs := c.paper(c.TransplantDoctor, uuid.Nil, "患者.png", png)
	bedside := c.paper(c.CollectionDoctor, examination, "体检.pdf", pdf)
	wards := c.paper(c.TransplantDoctor, decision, "决定.pdf", pdf)
	require.Equal(t, []registry.Side{registry.DonorSide, registry.PatientSide, registry.DonorSide, registry.PatientSide}, []registry.Side{ours.Side, theirs.Side, bedside.Side, wards.Side})
	require.Equal(t, "张小明 同意书.pdf", ours.Name)

	ids := func(list []registry.AttachmentView) (out []uuid.UUID) {
		for _, v := range list {
			require.NotEmpty(t, v.Name)
			out = append(out, v.ID)
		}
		return out
	}
	require.Equal(t, []uuid.UUID{ours.ID, bedside.ID}, ids(c.papers(c.Coordinator, uuid.Nil)))
	require.Equal(t, []uuid.UUID{ours.ID, bedside.ID}, ids(c.papers(c.CollectionDoctor, uuid.Nil)))
	require.Equal(t, []uuid.UUID{theirs.ID, wards.ID}, ids(c.papers(c.TransplantDoctor, uuid.Nil)))
	require.Equal(t, []uuid.UUID{bedside.ID}, ids(c.papers(c.CollectionDoctor, examination)))
	for _, donors := range []registry.Actor{c.Coordinator, c.CollectionDoctor, c.Second} {
		f, err := c.Store.FetchAttachment(ctx, donors, ours.ID)
		require.NoError(t, err)
		require.Equal(t, pdf, f.Body)
		for _, foreign := range []uuid.UUID{theirs.ID, wards.ID} {
			_, err = c.Store.FetchAttachment(ctx, donors, foreign)
			requireCode(t, err, registry.NotFound, "attachment_not_found")
			_, err = c.Store.RemoveAttachment(ctx, donors, foreign, 0, registry.AttachmentRemoval{Reason: "duplicate"})
			requireCode(t, err, registry.NotFound, "attachment_not_found")
		}
	}
	for _, foreign := range []uuid.UUID{ours.ID, bedside.ID} {
		_, err := c.Store.FetchAttachment(ctx, c.TransplantDoctor, foreign)
		requireCode(t, err, registry.NotFound, "attachment_not_found")
	}
	// A task of the other side is not a way round the table, for who may read it otherwise.
	_, err := c.Store.ListAttachments(ctx, c.Coordinator, uuid.Nil, decision)
	requireCode(t, err, registry.NotFound, "task_not_found")
	_, err = c.Store.FetchAttachment(ctx, c.OtherDoctor, theirs.ID)
	requireCode(t, err, registry.NotFound, "attachment_not_found")

	// Each paper is sealed with its person's key, and each fetch is in the audit of the case.
	person := value[uuid.UUID](c.house, `SELECT person_id FROM registrations WHERE id = $1`, c.donor)
	patient := value[uuid.UUID](c.house, `SELECT patient_id FROM searches WHERE id = $1`, c.search)
	require.Equal(t, []uuid.UUID{person, patient}, []uuid.UUID{value[uuid.UUID](c.house, `SELECT key_of FROM attachments WHERE id = $1`, ours.ID), value[uuid.UUID](c.house, `SELECT key_of FROM attachments WHERE id = $1`, wards.ID)})
	require.Equal(t, 3, value[int](c.house, `SELECT count(*)::int FROM audit WHERE act = 'FetchAttachment' AND allowed AND target = $1 AND fields = $2`, "case:"+c.id.String(), "attachment="+ours.ID.String()))
	// Each side's timeline has its own papers' lines.
	v, err := c.Store.ShowCase(ctx, c.TransplantDoctor, c.id)
	require.NoError(t, err)
	require.Contains(t, eventCodes(v), "attachment.patient.added")
	require.NotContains(t, eventCodes(v), "attachment.donor.added")
	leaks, cells := c.found([]string{"张小明 同意书", "体检报告"})
	require.Empty(t, leaks)
	require.Greater(t, cells, 100)
}

// With the policy switched off the database still gives a paper to nobody of the other side.
func TestTheDatabaseItselfKeepsPapersOnTheirSide(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	ours, theirs := c.paper(c.Coordinator, uuid.Nil, "一.pdf", pdf), c.paper(c.TransplantDoctor, uuid.Nil, "二.pdf", pdf)
	open := c.open(registry.Options{})
	open.WithoutPolicy()
	for _, look := range []struct {
		by   registry.Actor
		id   uuid.UUID
		sees bool
	}{{c.Coordinator, ours.ID, true}, {c.TransplantDoctor, theirs.ID, true}, {c.Coordinator, theirs.ID, false}, {c.TransplantDoctor, ours.ID, false}, {c.OtherDoctor, ours.ID, false}, {c.OtherDoctor, theirs.ID, false}} {
		_, err := open.FetchAttachment(ctx, look.by, look.id)
		if look.sees {
			require.NoError(t, err)
			continue
		}
		requireCode(t, err, registry.NotFound, "attachment_not_found")
	}
}

func TestWhoSeesACaseWithoutItsPeopleOpensNoPapers(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	v := c.paper(c.Coordinator, uuid.Nil, "一.pdf", pdf)
	bridge := c.Staff(t, "bridge", c.City, policy.Bridge, "000000")
	list := c.papers(bridge, uuid.Nil)
	require.Len(t, list, 1)
	require.Empty(t, list[0].Name, "a file's name may name somebody")
	_, err := c.Store.FetchAttachment(context.Background(), bridge, v.ID)
	requireCode(t, err, registry.Denied, "denied")
}

func TestOnlyPapersThatAreWhatTheySayAndNotTooLargeAreTaken(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	for _, bad := range []struct {
		body []byte
		code string
	}{
		{nil, "attachment_kind"}, {[]byte("MZ\x90"), "attachment_kind"}, {[]byte("<html>"), "attachment_kind"}, {[]byte("PK\x03\x04"), "attachment_kind"},
		{append(bytes.Clone(pdf), make([]byte, 10<<20)...), "attachment_too_large"},
	} {
		_, err := c.Store.AddAttachment(context.Background(), c.Coordinator, registry.AttachmentForm{Case: c.id, Name: "一.pdf", Body: bad.body})
		requireCode(t, err, registry.Invalid, bad.code)
	}
	full := make([]byte, 10<<20)
	copy(full, pdf)
	v := c.paper(c.Coordinator, uuid.Nil, "../../etc/"+strings.Repeat("长", 200)+".exe", full)
	require.Equal(t, strings.Repeat("长", 120)+".pdf", v.Name)
	require.Equal(t, "file.png", c.paper(c.Coordinator, uuid.Nil, "..", png).Name)
	require.Len(t, c.papers(c.Coordinator, uuid.Nil), 2)
}

func TestARemovedPaperIsGoneAndThatItWasThereStays(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.task("physical_examination", registry.SeatCollection, 1)
	v := c.paper(c.CollectionDoctor, task, "体检.pdf", pdf)
	remove := func(by registry.Actor, version int64, reason string) error {
		_, err := c.Store.RemoveAttachment(ctx, by, v.ID, version, registry.AttachmentRemoval{Reason: reason})
		return err
	}
	requireCode(t, remove(c.Second, 0, "duplicate"), registry.Denied, "denied")
	requireProblem(t, remove(c.CollectionDoctor, 0, "because"), "R114", "reason")
	requireCode(t, remove(c.CollectionDoctor, 2, "duplicate"), registry.Stale, "attachment_changed")
	require.NoError(t, remove(c.CollectionDoctor, 1, "wrong_person"))
	requireCode(t, remove(c.CollectionDoctor, 0, "duplicate"), registry.Refused, "attachment_removed")
	_, err := c.Store.FetchAttachment(ctx, c.CollectionDoctor, v.ID)
	requireCode(t, err, registry.Refused, "attachment_removed")
	require.Equal(t, 1, value[int](c.house, `SELECT count(*)::int FROM attachments WHERE name_sealed IS NULL AND body_sealed IS NULL AND removed_for = 'wrong_person'`))
	list := c.papers(c.Coordinator, uuid.Nil)
	require.Len(t, list, 1)
	require.Equal(t, []any{"wrong_person", "", false}, []any{list[0].Removed, list[0].Name, list[0].Mine})
	require.Equal(t, 1, c.events("attachment.donor.removed"))
}

func TestNobodyAddsAPaperWhereTheyAreNotAsked(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	task := c.task("physical_examination", registry.SeatCollection, 1)
	add := func(by registry.Actor, f registry.AttachmentForm) error {
		f.Name, f.Body = "一.pdf", pdf
		_, err := c.Store.AddAttachment(ctx, by, f)
		return err
	}
	requireCode(t, add(c.Coordinator, registry.AttachmentForm{Task: task}), registry.Denied, "task_not_yours")
	requireCode(t, add(c.TransplantDoctor, registry.AttachmentForm{Task: task}), registry.NotFound, "task_not_found")
	requireCode(t, add(c.OtherDoctor, registry.AttachmentForm{Case: c.id}), registry.NotFound, "case_not_found")
	county := c.Staff(t, "county", c.OtherTransplant, policy.CityOffice, "320100")
	requireCode(t, add(county, registry.AttachmentForm{Case: c.id}), registry.Denied, "denied")
	require.NoError(t, add(c.CollectionDoctor, registry.AttachmentForm{Task: task}))
	_, err := c.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: c.id, Version: c.version(c.id), Move: ends("stemcell.physical_examination", "declined")})
	require.NoError(t, err)
	requireCode(t, add(c.Coordinator, registry.AttachmentForm{Case: c.id}), registry.Refused, "case_ended")
}

func TestErasingAPersonTakesTheirPapersAndNoneOfTheOtherSide(t *testing.T) {
	t.Parallel()
	c := newTable(t)
	ctx := context.Background()
	ours, theirs := c.paper(c.Coordinator, uuid.Nil, "一.pdf", pdf), c.paper(c.TransplantDoctor, uuid.Nil, "二.pdf", pdf)
	_, err := c.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: c.id, Version: c.version(c.id), Move: ends("stemcell.remobilisation", "declined")})
	require.NoError(t, err)
	c.sql(`UPDATE registrations SET status = 'withdrawn' WHERE id = $1`, c.donor)
	c.sql(`UPDATE cases SET status = 'ended' WHERE protocol = 'enrolment'`)
	require.NoError(t, c.Store.ErasePerson(ctx, system, value[uuid.UUID](c.house, `SELECT person_id FROM registrations WHERE id = $1`, c.donor)))
	_, err = c.Store.FetchAttachment(ctx, c.Coordinator, ours.ID)
	requireCode(t, err, registry.Refused, "attachment_out_of_reach")
	require.Equal(t, []int{0, 1}, []int{value[int](c.house, `SELECT count(body_sealed)::int FROM attachments WHERE id = $1`, ours.ID), value[int](c.house, `SELECT count(body_sealed)::int FROM attachments WHERE id = $1`, theirs.ID)})
	f, err := c.Store.FetchAttachment(ctx, c.TransplantDoctor, theirs.ID)
	require.NoError(t, err)
	require.Equal(t, pdf, f.Body)
	require.Empty(t, c.papers(c.Coordinator, uuid.Nil)[0].Name)
}
