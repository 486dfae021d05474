package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

func TestAVolunteerIsRegisteredWithWhatTheySigned(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.donor(1)
	v := h.show(h.Coordinator, id)
	require.Equal(t, rules.StemCell, v.Programme)
	require.Equal(t, rules.Wish, v.Intent)
	require.Equal(t, "enrolling", v.Status)
	require.Equal(t, identity.Region("320106"), v.Region)
	require.Equal(t, signed(), v.RegisteredOn)
	require.Equal(t, signed().AddDays(7), v.CoolingOff, "the cooling-off counts from the signature")
	require.Len(t, v.Number, 12)
	n, err := strconv.Atoi(v.Number)
	require.NoError(t, err)
	require.Equal(t, 1, n%97, "ISO 7064 MOD 97-10")
	require.Equal(t, "32", v.Number[:2])

	wording, _ := rules.Worded("HSC-2024")
	require.Equal(t, []registry.ConsentLine{{Kind: wording.Kind, Donor: id, Programme: "stemcell", Version: wording.Version, SHA256: wording.SHA256(), SignedOn: signed(), OnPaper: true}}, v.Consents)
	require.Equal(t, identity.Male, v.Demographics.Sex, "told by the identity number")
	require.Equal(t, 2000, v.Demographics.BirthYear)

	c, err := h.Store.ShowCase(context.Background(), h.Coordinator, id)
	require.NoError(t, err)
	require.Equal(t, registry.EnrolmentProtocol, c.Protocol)
	require.Equal(t, "open", c.Status)
	require.Equal(t, []string{"registration.wish"}, eventCodes(c))
	tellings, err := h.Store.TakeTellings(context.Background(), 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, tellings, 1)
	require.Equal(t, []any{"enrolment", []uuid.UUID{id}, "registered"}, []any{tellings[0].Protocol, tellings[0].Targets, tellings[0].Fact})
}

func eventCodes(c registry.CaseView) []string {
	var out []string
	for _, e := range c.Timeline {
		out = append(out, e.Code)
	}
	return out
}

func TestTheSameCommandRegistersOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	f := registry.EntryForm{Forms: []forms.Registration{volunteer(1), volunteer(2)}}
	first, err := h.Store.Register(context.Background(), h.Registrar, "command", f)
	require.NoError(t, err)
	again, err := h.Store.Register(context.Background(), h.Registrar, "command", f)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Equal(t, 2, value[int](h, `SELECT count(*)::int FROM persons`))
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM batches`))
	// Another person's command of the same name is another command.
	colleague := h.Staff(t, "colleague", h.County, policy.Registrar, "320106")
	entries, err := h.Store.Register(context.Background(), colleague, "command", registry.EntryForm{Forms: []forms.Registration{volunteer(3)}})
	require.NoError(t, err)
	require.Equal(t, "created", entries[0].Status)
}

func TestTheSameCommandSentManyTimesAtOnceRegistersOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	f := registry.EntryForm{Forms: []forms.Registration{volunteer(1)}}
	var all sync.WaitGroup
	results := make([][]registry.Entry, 6)
	errs := make([]error, len(results))
	for i := range results {
		all.Go(func() { results[i], errs[i] = h.Store.Register(context.Background(), h.Registrar, "command", f) })
	}
	all.Wait()
	for i := range results {
		require.NoError(t, errs[i])
		require.Equal(t, results[0], results[i])
	}
	require.Equal(t, "created", results[0][0].Status)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM registrations`))
}

func TestAPersonIsRegisteredOnceHoweverOftenTheyComeAndNothingKnownIsOverwritten(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.donor(1)
	// The same form again.
	entry := h.register(h.Registrar, volunteer(1))
	require.Equal(t, "unchanged", entry.Status)
	require.Equal(t, id, entry.Donors[0].ID)
	require.Contains(t, codesOf(entry.Problems), "N301")
	// The same person under another name and phone, with a blood group, and for corneas too.
	f := volunteer(1)
	f.Name, f.Phone, f.ABO = seal.NameOf("张小鸣"), seal.PhoneOf("13700000009"), identity.GroupA
	f.Programmes = []rules.Programme{rules.StemCell, rules.Cornea}
	entry = h.register(h.Registrar, f)
	require.Equal(t, "updated", entry.Status, "%+v", entry.Problems)
	require.Len(t, entry.Donors, 2)
	v := h.show(h.Registrar, id)
	require.Equal(t, "A", v.Demographics.ABO, "a blank is filled")
	require.Len(t, v.Registrations, 1)
	require.Equal(t, rules.Cornea, v.Registrations[0].Programme)
	// Another blood group does not replace the one that is known.
	f.ABO = identity.GroupB
	require.Equal(t, "unchanged", h.register(h.Registrar, f).Status)
	require.Equal(t, "A", h.show(h.Registrar, id).Demographics.ABO)
	clear, err := h.Store.RevealDonor(context.Background(), h.Coordinator, id, registry.RevealForm{Class: policy.Identity, Reason: "verify_identity"})
	require.NoError(t, err)
	require.Equal(t, "张小明", clear.Name)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM persons`))
	require.Equal(t, 2, value[int](h, `SELECT count(*)::int FROM registrations`))
}

func TestSomebodyRegisteredElsewhereIsNotTakenAgainAndNotShown(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.donor(1)
	far := h.Staff(t, "far", h.OtherTransplant, policy.Registrar, "110108")
	f := volunteer(1)
	f.Phone = seal.PhoneOf("13600000001")
	entry := h.register(far, f)
	require.Equal(t, "skipped", entry.Status)
	require.Equal(t, []string{"N303"}, codesOf(entry.Problems))
	require.Empty(t, entry.Donors, "the other office's number is not told")
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM registrations`))
	// The office that has the person hears of the claim.
	notices, err := h.Store.ListNotices(context.Background(), h.Registrar, true, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Equal(t, "registration.claimed", notices[0].Code)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM registrations WHERE id = $1`, id))
}

func TestSomebodyWhoMayBeKnownUnderAnotherDocumentIsParked(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.donor(1)
	f := volunteer(1)
	f.DocumentKind, f.DocumentNumber = identity.Passport, seal.NumberOf("E12345678")
	f.BirthDate, f.Sex = calendar.Must(2000, time.January, 1), identity.Male
	for _, acceptWarnings := range []bool{false, true} {
		entries, err := h.Store.Register(context.Background(), h.Registrar, uuid.NewString(), registry.EntryForm{AcceptWarnings: acceptWarnings, Forms: []forms.Registration{f}})
		require.NoError(t, err)
		require.Equal(t, "parked", entries[0].Status, "accepting all warnings is not looking at this one")
		require.Contains(t, codesOf(entries[0].Problems), "N304")
		require.Empty(t, entries[0].Donors)
	}
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM persons`))
	// Another phone is another person.
	f.Phone = seal.PhoneOf("13500000005")
	require.Equal(t, "created", h.register(h.Registrar, f).Status)
}

func TestEveryProgrammeCanBeChosenAndEveryOneThatMayBeRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for i, c := range []struct {
		programme rules.Programme
		intent    rules.Intent
		wording   string
		status    string
		problem   string
	}{
		{rules.StemCell, rules.Wish, "HSC-2024", "enrolling", ""},
		{rules.Blood, rules.Wish, "BLD-2024", "registered", ""},
		{rules.Organ, rules.Wish, "ORG-2024", "registered", ""},
		{rules.Cornea, rules.Wish, "COR-2024", "registered", ""},
		{rules.Body, rules.Wish, "BOD-2024", "registered", ""},
		{rules.Organ, rules.Refusal, "REF-2024", "registered", ""},
		{rules.Cornea, rules.Refusal, "REF-2024", "registered", ""},
		{rules.Body, rules.Refusal, "REF-2024", "registered", ""},
		{rules.StemCell, rules.Refusal, "", "", "R128"},
		{rules.Blood, rules.Refusal, "", "", "R128"},
	} {
		f := volunteer(i)
		f.Programmes, f.Intent = []rules.Programme{c.programme}, c.intent
		if c.programme == rules.Organ && c.intent == rules.Wish {
			f.Organs = []string{"kidney", "liver"}
		}
		entry := h.register(h.Registrar, f)
		if c.problem != "" {
			require.Equal(t, "failed", entry.Status)
			require.Contains(t, codesOf(entry.Problems), c.problem)
			continue
		}
		require.Equal(t, "created", entry.Status, "%s %s: %+v", c.programme, c.intent, entry.Problems)
		v := h.show(h.Registrar, entry.Donors[0].ID)
		require.Equal(t, []any{c.programme, c.intent, c.status, c.wording}, []any{v.Programme, v.Intent, v.Status, v.Consents[0].Version})
		require.Equal(t, c.programme == rules.StemCell, !v.CoolingOff.IsZero(), "only stem cells have a cooling-off")
		require.Equal(t, f.Organs, nilIfEmpty(value[[]string](h, `SELECT choices FROM registrations WHERE id = $1`, v.ID)))
		require.Equal(t, c.programme == rules.StemCell, value[bool](h, `SELECT EXISTS (SELECT FROM cases WHERE id = $1)`, v.ID), "only an enrolment is a case")
	}
}

func nilIfEmpty(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

func TestAFaultyFormIsRefusedWithItsReasonsAndDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		says    string
		spoil   func(*forms.Registration)
		code    string
		field   string
		inClear string // must not come back
	}{
		{"a wrong check digit", func(f *forms.Registration) { f.DocumentNumber = seal.NumberOf("320106200001010029") }, "R104", "document_number", "320106200001010029"},
		{"a birth date that does not exist", func(f *forms.Registration) { f.DocumentNumber = seal.NumberOf("320106200002300021") }, "R105", "document_number", "320106200002300021"},
		{"a short number", func(f *forms.Registration) {
			f.DocumentKind, f.DocumentNumber = identity.ResidentID, seal.NumberOf("3201062000")
		}, "R103", "document_number", "3201062000"},
		{"no name", func(f *forms.Registration) { f.Name = seal.Name{} }, "R101", "name", ""},
		{"a telephone that nobody has", func(f *forms.Registration) { f.Phone = seal.PhoneOf("12345678") }, "R111", "phone", "12345678"},
		{"no signature", func(f *forms.Registration) { f.Signed = false }, "R112", "signed", ""},
		{"signed tomorrow", func(f *forms.Registration) { f.SignedOn = today().AddDays(1) }, "R113", "signed_on", ""},
		{"a wording that is not known", func(f *forms.Registration) { f.FormVersion = "HSC-1999" }, "R112", "form_version", ""},
		{"too old", func(f *forms.Registration) { f.DocumentNumber = seal.NumberOf("11010519491231002X") }, "R106", "birth_date", "11010519491231002X"},
		{"no programme", func(f *forms.Registration) { f.Programmes = nil }, "R101", "programmes", ""},
		{"no relatives", func(f *forms.Registration) { f.Contacts = nil }, "R121", "contacts", ""},
		{"a relative without a telephone", func(f *forms.Registration) { f.Contacts[1].Phone = seal.Phone{} }, "R101", "contacts[1].phone", "李小红"},
		{"organs without a choice", func(f *forms.Registration) { f.Programmes = []rules.Programme{rules.Organ} }, "R126", "organs", ""},
		{"health not asked", func(f *forms.Registration) { f.HealthAnswered = false }, "R122", "health_answered", ""},
		{"a bad mail address", func(f *forms.Registration) { f.Email = seal.EmailOf("zhang@@example") }, "R116", "email", "zhang@@example"},
	} {
		bad := volunteer(7)
		c.spoil(&bad)
		good := volunteer(8)
		entries, err := h.Store.Register(context.Background(), h.Registrar, uuid.NewString(), registry.EntryForm{Forms: []forms.Registration{bad, good}})
		require.NoError(t, err, c.says)
		require.Equal(t, "failed", entries[0].Status, c.says)
		require.Contains(t, []string{"created", "unchanged"}, entries[1].Status, "%s: %+v", c.says, entries[1].Problems)
		found := slices.IndexFunc(entries[0].Problems, func(p registry.ProblemText) bool { return p.Code == c.code && p.Field == c.field })
		require.GreaterOrEqual(t, found, 0, "%s: %+v", c.says, entries[0].Problems)
		p := entries[0].Problems[found]
		require.NotContains(t, p.Is+p.Mend, "problem.", "the sentences are written")
		require.NotContains(t, p.Is+p.Mend, "<no value>")
		encoded, err := json.Marshal(entries)
		require.NoError(t, err)
		for _, personal := range []string{c.inClear, "张小明", residentNumber(7), "13800000007"} {
			if personal != "" {
				require.NotContains(t, string(encoded), personal, c.says)
			}
		}
	}
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM persons`), "only the good one entered the register")
}

func TestTheSamePersonTwiceInOneListIsEnteredOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	entries, err := h.Store.Register(context.Background(), h.Registrar, uuid.NewString(), registry.EntryForm{Forms: []forms.Registration{volunteer(1), volunteer(1)}})
	require.NoError(t, err)
	require.Equal(t, "created", entries[0].Status)
	require.Equal(t, "failed", entries[1].Status)
	require.Equal(t, []string{"R110"}, codesOf(entries[1].Problems))
	for _, n := range []int{0, 501} {
		_, err = h.Store.Register(context.Background(), h.Registrar, uuid.NewString(), registry.EntryForm{Forms: make([]forms.Registration, n)})
		requireProblem(t, err, "R120", "forms")
	}
}

// everybody is one member of staff of each role of the house.
func (h *house) everybody() map[string]registry.Actor {
	return map[string]registry.Actor{
		"registrar": h.Registrar, "coordinator": h.Coordinator, "the city's coordinator": h.CityCoordinator, "technician": h.Technician, "collection doctor": h.CollectionDoctor,
		"transplant doctor": h.TransplantDoctor, "another transplant doctor": h.OtherDoctor, "auditor": h.Auditor, "administrator": h.Administrator, "security": h.Security, "audit administrator": h.AuditAdministrator, "system": system,
	}
}

// personal is a form in which every personal text can be recognised.
func personal() (forms.Registration, []string) {
	f := volunteer(9)
	f.Name, f.Phone = seal.NameOf("欧阳验甲"), seal.PhoneOf("15812345678")
	f.Email, f.Address, f.Workplace = seal.EmailOf("ouyang.shiyan@example.org"), seal.AddressOf("江苏省南京市鼓楼区试验路一百零八号三栋"), seal.NoteOf("金陵试验学院物理系")
	f.Contacts = []forms.Contact{
		{Name: seal.NameOf("欧阳父乙丙"), Relation: "父", Phone: seal.PhoneOf("15987654321"), Address: seal.AddressOf("江苏省苏州市姑苏区联系人巷七号")},
		{Name: seal.NameOf("司马母丁戊"), Relation: "母", Phone: seal.PhoneOf("15911112222")},
	}
	return f, []string{
		"欧阳验甲", residentNumber(9), residentNumber(9)[:14], "15812345678", "ouyang.shiyan", "试验路一百零八号", "金陵试验学院", "欧阳父乙丙", "15987654321", "联系人巷", "司马母丁戊", "15911112222",
	}
}

func TestNoViewShowsPersonalTextInClear(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	f, secrets := personal()
	entry := h.register(h.Registrar, f)
	require.Equal(t, "created", entry.Status, "%+v", entry.Problems)
	id := entry.Donors[0].ID
	seen := 0
	for who, actor := range h.everybody() {
		var shown []any
		if v, err := h.Store.ShowDonor(context.Background(), actor, id); err == nil {
			shown = append(shown, v)
			seen++
		} else {
			shown = append(shown, err.Error())
		}
		if list, err := h.Store.ListDonors(context.Background(), actor, registry.DonorFilter{}); err == nil {
			shown = append(shown, list)
		}
		if c, err := h.Store.ShowCase(context.Background(), actor, id); err == nil {
			shown = append(shown, c)
		}
		encoded, err := json.Marshal(shown)
		require.NoError(t, err)
		text := string(encoded) + fmt.Sprintf("%+v %#v %s", shown, shown, shown)
		for _, secret := range secrets {
			require.NotContains(t, text, secret, who)
		}
	}
	require.GreaterOrEqual(t, seen, 3, "the registrar and the coordinators saw it")
	v := h.show(h.Coordinator, id)
	ask := "/v1/donors/" + id.String() + "/reveal?field="
	require.Equal(t, seal.Masked{Masked: true, Display: "欧阳*甲", Reveal: ask + "name"}, v.Identity.Name)
	require.Equal(t, ask+"documents", v.Identity.Documents[0].Number.Reveal)
	require.Equal(t, []string{ask + "phone", ask + "email", ask + "address", ask + "workplace", ask + "contacts"},
		[]string{v.Contact.Phone.Reveal, v.Contact.Email.Reveal, v.Contact.Address.Reveal, v.Contact.Workplace.Reveal, v.Contact.Contacts[0].Phone.Reveal})
	require.NotContains(t, fmt.Sprintf("%+v", h.show(h.Registrar, id)), "/reveal", "whoever may not ask is not sent anywhere")
	require.Equal(t, "**************"+residentNumber(9)[14:], v.Identity.Documents[0].Number.Display)
	require.Equal(t, "158****5678", v.Contact.Phone.Display)
	require.Equal(t, "江苏省南京市***", v.Contact.Address.Display)
	require.Len(t, v.Contact.Contacts, 2)
	list, err := h.Store.ListDonors(context.Background(), h.Coordinator, registry.DonorFilter{})
	require.NoError(t, err)
	require.Equal(t, &v.Identity.Name, list[0].Name)
	list, err = h.Store.ListDonors(context.Background(), h.Registrar, registry.DonorFilter{})
	require.NoError(t, err)
	require.Equal(t, &seal.Masked{Masked: true, Display: "欧阳*甲"}, list[0].Name)
}

func TestARevealShowsTheTextAndWritesDownWhoAskedAndWhy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	f, _ := personal()
	entry := h.register(h.Registrar, f)
	require.Equal(t, "created", entry.Status, "%+v", entry.Problems)
	id := entry.Donors[0].ID
	ctx := context.Background()
	who, err := h.Store.RevealDonor(ctx, h.Coordinator, id, registry.RevealForm{Class: policy.Identity, Reason: "verify_identity"})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Minute), who.Until, 5*time.Second)
	who.Until = time.Time{}
	require.Equal(t, registry.Revealed{Name: "欧阳验甲", Documents: []registry.RevealedDocument{{Kind: identity.ResidentID, Number: residentNumber(9)}}, Fields: []string{"name", "documents"}}, who)
	where, err := h.Store.RevealDonor(ctx, h.Coordinator, id, registry.RevealForm{Class: policy.Contact, Reason: "call_donor"})
	require.NoError(t, err)
	where.Until = time.Time{}
	require.Equal(t, registry.Revealed{
		Fields: []string{"phone", "email", "address", "workplace", "contacts"},
		Phone:  "+8615812345678", Email: "ouyang.shiyan@example.org", Address: "江苏省南京市鼓楼区试验路一百零八号三栋", Workplace: "金陵试验学院物理系",
		Contacts: []registry.RevealedContact{{Name: "欧阳父乙丙", Relation: "父", Phone: "+8615987654321"}, {Name: "司马母丁戊", Relation: "母", Phone: "+8615911112222"}},
	}, where)
	_, err = h.Store.RevealDonor(ctx, h.Registrar, id, registry.RevealForm{Class: policy.Identity, Reason: "correct_entry"})
	requireCode(t, err, registry.Denied, "denied")
	_, err = h.Store.RevealDonor(ctx, h.Coordinator, id, registry.RevealForm{Class: policy.Identity})
	requireProblem(t, err, "R101", "reason")
	_, err = h.Store.RevealDonor(ctx, h.Coordinator, id, registry.RevealForm{Class: policy.HLA, Reason: "call_donor"})
	requireProblem(t, err, "R114", "class")

	lines, err := h.Store.ListAudit(ctx, h.Auditor, registry.AuditFilter{Target: "donor:" + id.String()})
	require.NoError(t, err)
	type line struct {
		actor, action, class, reason string
		allowed                      bool
	}
	var reveals []line
	for _, l := range lines {
		if l.Act == "RevealDonor" {
			reveals = append(reveals, line{l.Actor, l.Action, l.Class, l.Reason, l.Allowed})
		}
	}
	require.Equal(t, []line{ // the newest first
		{h.Registrar.Subject(), "reveal", "identity", "correct_entry", false},
		{h.Coordinator.Subject(), "reveal", "contact", "call_donor", true},
		{h.Coordinator.Subject(), "reveal", "identity", "verify_identity", true},
	}, reveals)
}

func TestOnlyTheDonorsOwnSideMayAskWhoTheyAre(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.listed(gl)[0]
	reveal := func(by registry.Actor, class policy.Class) error {
		_, err := h.Store.RevealDonor(ctx, by, donor, registry.RevealForm{Class: class, Reason: "verify_identity"})
		return err
	}
	refusedToAll := func() {
		for who, actor := range h.everybody() {
			if actor == h.Coordinator || actor == h.CityCoordinator {
				continue
			}
			for _, class := range []policy.Class{policy.Identity, policy.Contact} {
				require.Error(t, reveal(actor, class), "%s may not reveal %s", who, class)
			}
		}
	}
	refusedToAll()
	for _, actor := range []registry.Actor{h.Coordinator, h.CityCoordinator} {
		require.NoError(t, reveal(actor, policy.Identity))
		require.NoError(t, reveal(actor, policy.Contact))
		// A reveal is for a case; somebody who looks for another purpose gets a mask.
		actor.Purpose = policy.ForSearch
		requireCode(t, reveal(actor, policy.Identity), registry.Denied, "denied")
	}

	// The hospital that will meet the donor may ask who they are, while it does; the patient's hospital never may.
	caseID := h.request(h.TransplantDoctor, h.search(h.TransplantDoctor, "").ID, donor)[0]
	refusedToAll()
	h.book(caseID)
	require.NoError(t, reveal(h.CollectionDoctor, policy.Identity))
	require.Error(t, reveal(h.CollectionDoctor, policy.Contact))
	require.Error(t, reveal(h.TransplantDoctor, policy.Identity))
	v := h.show(h.CollectionDoctor, donor)
	require.NotNil(t, v.Demographics, "who examines the donor sees their weight and blood group")
	require.NotNil(t, v.Health)
	require.Nil(t, v.Contact)
	_, err := h.Store.AdvanceCase(ctx, system, registry.Advance{CaseID: caseID, Version: h.version(caseID), At: time.Now(), Move: ends("stemcell.remobilisation", "released")})
	require.NoError(t, err)
	refusedToAll()
}

// book seats the collection hospital and the laboratory at a case's table.
func (h *house) book(caseID uuid.UUID) {
	h.t.Helper()
	task := h.ask(registry.Question{CaseID: caseID, Step: "stemcell.sample_booking", Seat: registry.SeatCoordinator, Role: policy.Coordinator})
	h.answer(h.Coordinator, task.TaskID, fields{"outcome": "booked", "hospital": h.Collection.ID, "laboratory": h.Laboratory.ID, "on": today()}, to("stemcell.confirmatory_sample"))
}

func TestAWithdrawalEndsTheConsentsAndTellsEverybodyWhoHasSomethingOfTheDonor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.listed(gl)[0]
	search := h.search(h.TransplantDoctor, "")
	candidates, err := h.Store.ListCandidates(ctx, h.TransplantDoctor, search.ID, registry.CandidateFilter{})
	require.NoError(t, err)
	require.True(t, candidates[0].Available)
	h.sql(`DELETE FROM outbox`)

	before := h.show(h.Registrar, donor)
	_, err = h.Store.Withdraw(ctx, h.Registrar, donor, before.Version+1, registry.WithdrawForm{Via: "phone"})
	requireCode(t, err, registry.Stale, "donor_changed")
	_, err = h.Store.Withdraw(ctx, h.Registrar, donor, before.Version, registry.WithdrawForm{})
	requireProblem(t, err, "R101", "via")
	require.Equal(t, before, h.show(h.Registrar, donor))

	after, err := h.Store.Withdraw(ctx, h.Registrar, donor, before.Version, registry.WithdrawForm{Via: "phone", Reason: "family"})
	require.NoError(t, err)
	require.Equal(t, []any{"withdrawn", "family", before.Version + 1}, []any{after.Status, after.StatusReason, after.Version})
	require.NotNil(t, after.Consents[0].WithdrawnAt)

	// Who holds the sample is asked to destroy it.
	notices, err := h.Store.ListNotices(ctx, h.Technician, true, time.Time{}, uuid.Nil, 0)
	require.NoError(t, err)
	require.Equal(t, "specimen.destroy", notices[0].Code)
	require.True(t, notices[0].Urgent)
	require.Contains(t, notices[0].Text, barcode(1))
	// Nobody is offered the donor any more, and the next run finds them lost.
	candidates, err = h.Store.ListCandidates(ctx, h.TransplantDoctor, search.ID, registry.CandidateFilter{})
	require.NoError(t, err)
	require.False(t, candidates[0].Available)
	task := h.choice(search.ID)
	p := h.propose(h.TransplantDoctor, task.TaskID, fields{"outcome": "request", "donors": []uuid.UUID{donor}})
	_, err = h.settle(p, to("search.requested"))
	requireCode(t, err, registry.Refused, "donor_unavailable")
	run, err := h.Store.RunSearch(ctx, system, search.ID, 2, time.Now())
	require.NoError(t, err)
	require.Equal(t, registry.SearchRun{Run: 2, Lost: 1}, run)

	// Said twice, it is one withdrawal.
	again, err := h.Store.Withdraw(ctx, h.Registrar, donor, before.Version, registry.WithdrawForm{Via: "letter"})
	require.NoError(t, err)
	require.Equal(t, after, again)
	require.Equal(t, 1, value[int](h, `SELECT count(*)::int FROM events WHERE code = 'registration.withdrawn'`))
	require.Equal(t, "phone", value[string](h, `SELECT withdrawn_via FROM consents WHERE registration_id = $1`, donor))
}

func TestAWithdrawalReachesEveryOpenCaseOfTheDonor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor := h.listed(gl)[0]
	caseID := h.request(h.TransplantDoctor, h.search(h.TransplantDoctor, "").ID, donor)[0]
	task := h.ask(registry.Question{CaseID: caseID, Step: "stemcell.remobilisation", Seat: registry.SeatCoordinator, Role: policy.Coordinator, Rule: rules.StemCellRemobilisation})
	pending := h.propose(h.Coordinator, task.TaskID, fields{"outcome": "willing"})
	h.sql(`DELETE FROM outbox`)
	_, err := h.Store.Withdraw(ctx, h.Coordinator, donor, 0, registry.WithdrawForm{Via: "phone"})
	require.NoError(t, err)
	tellings, err := h.Store.TakeTellings(ctx, 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, tellings, 1)
	require.Equal(t, []any{"stemcell", []uuid.UUID{caseID}, "withdrawn"}, []any{tellings[0].Protocol, tellings[0].Targets, tellings[0].Fact})
	facts, err := h.Store.LoadStemCell(ctx, system, caseID)
	require.NoError(t, err)
	require.True(t, facts.Withdrawn)
	// An answer that was given before and is settled after comes too late.
	_, err = h.settle(pending, to("stemcell.sample_booking"))
	requireCode(t, err, registry.Refused, "donor_withdrew")
	status, refusal, _, err := h.Store.AnswerState(ctx, h.Coordinator, pending.AnswerID)
	require.NoError(t, err)
	require.Equal(t, []string{"refused", "donor_withdrew"}, []string{status, refusal})
}

func TestAReaderOfAnotherRegionCannotTellARecordFromNone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	donor, nobody := h.donor(1), uuid.New()
	far := h.Staff(t, "far", h.OtherTransplant, policy.Coordinator, "110108")
	farRegistrar := h.Staff(t, "farregistrar", h.OtherTransplant, policy.Registrar, "110108")
	for what, try := range map[string]func(uuid.UUID) error{
		"show": func(id uuid.UUID) error { _, err := h.Store.ShowDonor(ctx, far, id); return err },
		"reveal": func(id uuid.UUID) error {
			_, err := h.Store.RevealDonor(ctx, far, id, registry.RevealForm{Class: policy.Identity, Reason: "correct_entry"})
			return err
		},
		"withdraw": func(id uuid.UUID) error {
			_, err := h.Store.Withdraw(ctx, farRegistrar, id, 1, registry.WithdrawForm{Via: "phone"})
			return err
		},
		"show case": func(id uuid.UUID) error { _, err := h.Store.ShowCase(ctx, far, id); return err },
		"log an attempt": func(id uuid.UUID) error {
			_, err := h.Store.AddAttempt(ctx, far, id, forms.ContactAttempt{At: time.Now(), Channel: "phone", Whom: "donor", Result: "reached"})
			return err
		},
	} {
		there, none := try(donor), try(nobody)
		require.Equal(t, registry.NotFound, registry.KindOf(there), "%s: %v", what, there)
		require.Equal(t, none, there, "%s: the two differ", what)
	}
	list, err := h.Store.ListDonors(ctx, far, registry.DonorFilter{})
	require.NoError(t, err)
	require.Empty(t, list)
	list, err = h.Store.ListDonors(ctx, far, registry.DonorFilter{Number: h.show(h.Registrar, donor).Number})
	require.NoError(t, err)
	require.Empty(t, list)
	// Each attempt at a record that is there was written down.
	denied, err := h.Store.ListAudit(ctx, h.Auditor, registry.AuditFilter{Actor: far.Subject(), DeniedOnly: true})
	require.NoError(t, err)
	require.Len(t, denied, 8, "and each at one that is not")
	there := 0
	for _, line := range denied {
		if strings.HasSuffix(line.Target, donor.String()) {
			there++
		}
	}
	require.Equal(t, 4, there)
}

func TestAListReadPageByPageIsTheWholeList(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	var list []forms.Registration
	for n := range 23 {
		list = append(list, volunteer(n))
	}
	_, err := h.Store.Register(ctx, h.Registrar, "many", registry.EntryForm{Forms: list})
	require.NoError(t, err)
	whole, err := h.Store.ListDonors(ctx, h.Registrar, registry.DonorFilter{})
	require.NoError(t, err)
	require.Len(t, whole, 23)
	for size := range 25 { // 0 is the usual size
		paged := []registry.DonorLine{}
		for after := uuid.Nil; ; {
			page, err := h.Store.ListDonors(ctx, h.Registrar, registry.DonorFilter{After: after, Limit: size})
			require.NoError(t, err)
			require.True(t, size == 0 || len(page) <= size)
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
			require.LessOrEqual(t, len(paged), len(whole), "pages overlap")
			after = page[len(page)-1].ID
		}
		require.Equal(t, whole, paged, "pages of %d", size)
	}
}

func TestAListShowsWhatIsAskedForAndNoMore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	drive := h.drive()
	sampled := h.sampled(drive, 1, 2)
	body := volunteer(3)
	body.Programmes = []rules.Programme{rules.Body}
	wish := h.register(h.Registrar, body).Donors[0]
	_, err := h.Store.Withdraw(ctx, h.Registrar, sampled[1], 0, registry.WithdrawForm{Via: "counter"})
	require.NoError(t, err)
	everyone := []uuid.UUID{sampled[0], sampled[1], wish.ID}
	for _, c := range []struct {
		filter registry.DonorFilter
		want   []uuid.UUID
	}{
		{registry.DonorFilter{}, everyone},
		{registry.DonorFilter{Programme: rules.Body}, []uuid.UUID{wish.ID}},
		{registry.DonorFilter{Programme: rules.Organ}, nil},
		{registry.DonorFilter{Status: "withdrawn"}, sampled[1:]},
		{registry.DonorFilter{DriveID: drive.ID}, sampled},
		{registry.DonorFilter{DriveID: drive.ID, Status: "enrolling"}, sampled[:1]},
		{registry.DonorFilter{Barcode: barcode(2)}, sampled[1:]},
		{registry.DonorFilter{Number: wish.Number}, []uuid.UUID{wish.ID}},
		{registry.DonorFilter{Number: wish.Number[:11]}, nil},
		{registry.DonorFilter{Limit: 1}, everyone[:1]},
	} {
		list, err := h.Store.ListDonors(ctx, h.Registrar, c.filter)
		require.NoError(t, err)
		var got []uuid.UUID
		for _, d := range list {
			got = append(got, d.ID)
		}
		slices.SortFunc(c.want, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
		require.Equal(t, c.want, got, "%+v", c.filter)
	}
	// The list counts in the audit, not the people in it.
	require.Equal(t, 3, value[int](h, `SELECT max(shown) FROM audit WHERE act = 'ListDonors'`))
	// A role without reach into people has no list of them.
	for _, actor := range []registry.Actor{h.Auditor, h.Administrator, h.TransplantDoctor, h.Technician} {
		_, err := h.Store.ListDonors(ctx, actor, registry.DonorFilter{})
		requireCode(t, err, registry.Denied, "denied")
	}
}
