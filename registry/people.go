package registry

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/rules"
	"github.com/liferelay/liferelay/registry/seal"
)

// profile is the personal text of a person that nothing looks up: it is sealed as one cell.
type profile struct {
	Email     string           `json:"email,omitempty"`
	Address   string           `json:"address,omitempty"`
	Workplace string           `json:"workplace,omitempty"`
	Contacts  []profileContact `json:"contacts,omitempty"`
}

type profileContact struct {
	Name     string `json:"name"`
	Relation string `json:"relation,omitempty"`
	Phone    string `json:"phone"`
	Address  string `json:"address,omitempty"`
}

// profileOf gathers a form's personal text for sealing.
func profileOf(f *forms.Registration) ([]byte, error) {
	p := profile{Email: f.Email.Reveal(), Address: f.Address.Reveal(), Workplace: f.Workplace.Reveal()}
	for _, c := range f.Contacts {
		p.Contacts = append(p.Contacts, profileContact{c.Name.Reveal(), c.Relation, c.Phone.Reveal(), c.Address.Reveal()})
	}
	if p.Email == "" && p.Address == "" && p.Workplace == "" && len(p.Contacts) == 0 {
		return nil, nil
	}
	return json.Marshal(p)
}

// DonorView is a registered person as a reader may see them: a section for each class of data, and no section for a
// class that the reader may not read. Personal text is masked.
type DonorView struct {
	ID            uuid.UUID            `json:"id" class:"registration" mask:"drop"` // the registration
	Number        string               `json:"number" class:"registration" mask:"drop"`
	Programme     rules.Programme      `json:"programme" class:"registration" mask:"drop"`
	Intent        rules.Intent         `json:"intent" class:"registration" mask:"drop"`
	Status        string               `json:"status" class:"registration" mask:"drop"`
	StatusReason  string               `json:"status_reason,omitempty" class:"registration" mask:"drop"`
	Region        identity.Region      `json:"region" class:"registration" mask:"drop"`
	RegisteredOn  calendar.Date        `json:"registered_on" class:"registration" mask:"drop"`
	CoolingOff    calendar.Date        `json:"cooling_off_until,omitzero" class:"registration" mask:"drop"`
	ListedOn      calendar.Date        `json:"listed_on,omitzero" class:"registration" mask:"drop"`
	Version       int64                `json:"version" class:"open" mask:"none"`
	ErasedAt      *time.Time           `json:"erased_at,omitempty" doc:"When the person was erased: nothing of what was sealed of them can be read again." class:"registration" mask:"drop"`
	HeldBack      string               `json:"held_back,omitempty" doc:"erased, or blocked: the person asked for erasure, and what a law tells to keep is stored and not shown." class:"registration" mask:"drop"`
	Flags         DonorFlags           `json:"flags" doc:"What holds the donor back, and where they are in." class:"registration" mask:"drop"`
	Identity      *IdentitySection     `json:"identity,omitempty" class:"identity" mask:"drop"`
	Contact       *ContactSection      `json:"contact,omitempty" class:"contact" mask:"drop"`
	Demographics  *DemographicsSection `json:"demographics,omitempty" class:"demographics" mask:"drop"`
	HLA           *HLASection          `json:"hla,omitempty" class:"hla" mask:"drop"`
	Health        *HealthSection       `json:"health,omitempty" class:"health" mask:"drop"`
	Typings       []TypingLine         `json:"typings,omitempty" class:"hla" mask:"drop"`
	Donations     []DonationLine       `json:"donations,omitempty" class:"health" mask:"drop"`
	CarePlans     []CarePlanLine       `json:"care_plans,omitempty" class:"health" mask:"drop"`
	Attempts      *AttemptsSection     `json:"attempts,omitempty" class:"case" mask:"drop"`
	Certificates  []CertificateLine    `json:"certificates,omitempty" class:"case" mask:"drop"`
	Consents      []ConsentLine        `json:"consents,omitempty" class:"consent" mask:"drop"`
	Specimens     []SpecimenLine       `json:"specimens,omitempty" class:"specimen" mask:"drop"`
	Registrations []RegistrationLine   `json:"registrations,omitempty" class:"registration" mask:"drop"`
}

// IdentitySection is the class identity.
type IdentitySection struct {
	Name      seal.Masked    `json:"name" class:"identity" mask:"name"`
	Documents []DocumentLine `json:"documents" class:"identity" mask:"drop"`
}

// DocumentLine is one identity document, masked.
type DocumentLine struct {
	Kind   identity.DocumentKind `json:"kind" class:"identity" mask:"drop"`
	Number seal.Masked           `json:"number" class:"identity" mask:"number"`
}

// ContactSection is the class contact.
type ContactSection struct {
	Phone       seal.Masked   `json:"phone" class:"contact" mask:"phone"`
	Email       seal.Masked   `json:"email" class:"contact" mask:"email"`
	Address     seal.Masked   `json:"address" class:"contact" mask:"address"`
	Workplace   seal.Masked   `json:"workplace" class:"contact" mask:"note"`
	Contacts    []ContactLine `json:"contacts" class:"contact" mask:"drop"`
	LastContact calendar.Date `json:"last_contact,omitzero" class:"contact" mask:"drop"`
}

// ContactLine is an emergency contact, masked.
type ContactLine struct {
	Name     seal.Masked `json:"name" class:"contact" mask:"name"`
	Relation string      `json:"relation,omitempty" class:"contact" mask:"drop"`
	Phone    seal.Masked `json:"phone" class:"contact" mask:"phone"`
}

// DemographicsSection is the class demographics.
type DemographicsSection struct {
	BirthYear int             `json:"birth_year" doc:"0 once the person was erased." class:"demographics" mask:"year"`
	Sex       identity.Sex    `json:"sex" class:"demographics" mask:"drop"`
	ABO       string          `json:"abo,omitempty" class:"demographics" mask:"drop"`
	Rh        string          `json:"rh,omitempty" class:"demographics" mask:"drop"`
	Ethnicity string          `json:"ethnicity,omitempty" class:"demographics" mask:"drop"`
	HeightCM  int             `json:"height_cm,omitempty" class:"demographics" mask:"drop"`
	WeightKG  int             `json:"weight_kg,omitempty" class:"demographics" mask:"drop"`
	Lives     identity.Region `json:"lives" class:"demographics" mask:"drop"`
}

// HLASection is the class hla.
type HLASection struct {
	GL           string        `json:"gl" class:"hla" mask:"drop"`
	Nomenclature string        `json:"nomenclature" class:"hla" mask:"drop"`
	Method       string        `json:"method" class:"hla" mask:"drop"`
	TypedOn      calendar.Date `json:"typed_on" class:"hla" mask:"drop"`
}

// HealthSection is the class health: whether and until when the person is deferred, with the coded reason.
type HealthSection struct {
	Deferrals []DeferralLine `json:"deferrals" class:"health" mask:"drop"`
}

// DeferralLine is one deferral.
type DeferralLine struct {
	Programme string         `json:"programme" class:"health" mask:"drop"`
	Reason    string         `json:"reason" class:"health" mask:"drop"`
	From      calendar.Date  `json:"from" class:"health" mask:"drop"`
	Until     *calendar.Date `json:"until,omitempty" doc:"Nothing is for good." class:"health" mask:"drop"`
}

// ConsentLine is one signed consent.
type ConsentLine struct {
	Kind        string        `json:"kind" class:"consent" mask:"drop"`
	Donor       uuid.UUID     `json:"donor,omitzero" doc:"The registration that it was signed for." class:"consent" mask:"drop"`
	Programme   string        `json:"programme,omitempty" doc:"What it is for." class:"consent" mask:"drop"`
	Choices     []string      `json:"choices,omitempty" doc:"Which organs." class:"consent" mask:"drop"`
	Version     string        `json:"version" class:"consent" mask:"drop"`
	SHA256      string        `json:"sha256" class:"consent" mask:"drop"`
	SignedOn    calendar.Date `json:"signed_on" class:"consent" mask:"drop"`
	OnPaper     bool          `json:"on_paper" class:"consent" mask:"drop"`
	WithdrawnAt *time.Time    `json:"withdrawn_at,omitempty" class:"consent" mask:"drop"`
	Via         string        `json:"withdrawn_via,omitempty" class:"consent" mask:"drop"`
	Reason      string        `json:"withdrawn_reason,omitempty" class:"consent" mask:"drop"`
}

// SpecimenLine is one sample.
type SpecimenLine struct {
	Barcode string        `json:"barcode" class:"specimen" mask:"drop"`
	Kind    string        `json:"kind" class:"specimen" mask:"drop"`
	Status  string        `json:"status" class:"specimen" mask:"drop"`
	Reason  string        `json:"reason,omitempty" class:"specimen" mask:"drop"`
	DrawnOn calendar.Date `json:"drawn_on" class:"specimen" mask:"drop"`
	Tubes   int           `json:"tubes" class:"specimen" mask:"drop"`
	Holder  string        `json:"holder" doc:"Who has it now." class:"specimen" mask:"drop"`
	Custody []CustodyLine `json:"custody,omitempty" doc:"Who handed it to whom, the oldest first." class:"specimen" mask:"drop"`
}

// RegistrationLine is what the same person registered for beside this.
type RegistrationLine struct {
	ID        uuid.UUID       `json:"id" class:"registration" mask:"drop"`
	Number    string          `json:"number" class:"registration" mask:"drop"`
	Programme rules.Programme `json:"programme" class:"registration" mask:"drop"`
	Intent    rules.Intent    `json:"intent" class:"registration" mask:"drop"`
	Status    string          `json:"status" class:"registration" mask:"drop"`
	Merged    uuid.UUID       `json:"merged_into,omitzero" doc:"The registration of the same person that it was made one with." class:"registration" mask:"drop"`
}

type registrationRow struct {
	DonorView
	Person       uuid.UUID
	Organisation uuid.UUID
	leases       []lease
}

func (r registrationRow) record() record {
	return record{kind: "donor", id: r.ID.String(), region: r.Region, leases: r.leases}
}

func (a *act) readRegistration(ctx context.Context, id uuid.UUID, lock string) (registrationRow, error) {
	var r registrationRow
	var cooling, listed *calendar.Date
	err := a.QueryRow(ctx, `
		SELECT id, number, person_id, organisation_id, programme, intent, status, status_reason, region, registered_on, cooling_off_until, listed_on, version,
			(SELECT erased_at FROM persons WHERE id = person_id), `+leasesOf+`
		FROM registrations WHERE id = $1 `+lock, id, a.actor.staff, a.now()).
		Scan(&r.ID, &r.Number, &r.Person, &r.Organisation, &r.Programme, &r.Intent, &r.Status, &r.StatusReason, &r.Region, &r.RegisteredOn, &cooling, &listed, &r.Version, &r.ErasedAt, &r.leases)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, a.absent("donor", id)
	}
	if cooling != nil {
		r.CoolingOff = *cooling
	}
	if listed != nil {
		r.ListedOn = *listed
	}
	return r, err
}

// ShowDonor returns a registration and its person, in sections by class.
//
// Errors: Locked when the actor has opened as many donors today as one person may.
func (r *Reader) ShowDonor(ctx context.Context, actor Actor, id uuid.UUID) (DonorView, error) {
	v, err := r.showDonor(ctx, actor, id, true)
	return v, r.braked(ctx, actor, err)
}

// showDonor shows a donor. What was just changed is shown without the brake: the change is done, and must not be answered as if
// it were not.
func (r *Reader) showDonor(ctx context.Context, actor Actor, id uuid.UUID, brake bool) (DonorView, error) {
	var v DonorView
	err := r.act(ctx, actor, "ShowDonor", policy.ForCase, func(ctx context.Context, a *act) error {
		a.repeats = true // that the donor was opened is counted once, and is not what a command did
		v = DonorView{}
		row, err := a.readRegistration(ctx, id, "")
		if err != nil {
			return err
		}
		rec := row.record()
		if err = a.standingsOf(ctx, &rec, id); err != nil {
			return err
		}
		// Whoever may read nothing of a donor is not told that there is one.
		first := policy.Registration
		if seen, _ := a.may(policy.Read, first, rec); !seen.Allowed && len(rec.leases) > 0 {
			first = rec.leases[0].Classes[0]
		}
		if err := a.permit(policy.Read, first, rec); err != nil {
			return err
		}
		if err := a.openDonor(ctx, id, brake && len(rec.leases) == 0); err != nil {
			return err
		}
		v = row.DonorView
		if v.HeldBack, err = a.heldBack(ctx, row.Person); err != nil || v.HeldBack != "" {
			return err
		}
		if err := readStanding(ctx, a, row, &v); err != nil {
			return err
		}
		var noted policy.Class
		for _, section := range []struct {
			class policy.Class
			read  func(context.Context, *act, registrationRow, *DonorView) error
		}{
			{policy.Identity, readIdentity}, {policy.Contact, readContact}, {policy.Demographics, readDemographics}, {policy.HLA, readHLA},
			{policy.HLA, readTypings}, {policy.Health, readHealth}, {policy.Health, readOutcomes}, {policy.Consent, readConsents}, {policy.Specimen, readSpecimens}, {policy.Specimen, readCustody},
			{policy.Case, readAttempts},
		} {
			if allowed, _ := a.may(policy.Read, section.class, rec); !allowed.Allowed {
				continue
			}
			if section.class != noted { // once a class
				if err := a.permit(policy.Read, section.class, rec); err != nil {
					return err
				}
			}
			noted = section.class
			if err := section.read(ctx, a, row, &v); err != nil {
				return err
			}
		}
		show(a.shownBy(rec), &v)
		a.offerReveals(rec, &v)
		return nil
	})
	if err != nil {
		return DonorView{}, err
	}
	return v, nil
}

// offerReveals puts beside each mask where to ask for the text, for who may.
func (a *act) offerReveals(rec record, v *DonorView) {
	offer := func(field string, masked ...*seal.Masked) {
		if d, _ := a.may(policy.Reveal, revealed[field], rec); !d.Allowed {
			return
		}
		for _, m := range masked {
			m.Reveal = revealPath(v.ID, field, *m)
		}
	}
	if s := v.Identity; s != nil {
		offer("name", &s.Name)
		for i := range s.Documents {
			offer("documents", &s.Documents[i].Number)
		}
	}
	if s := v.Contact; s != nil {
		offer("phone", &s.Phone)
		offer("email", &s.Email)
		offer("address", &s.Address)
		offer("workplace", &s.Workplace)
		for i := range s.Contacts {
			offer("contacts", &s.Contacts[i].Name, &s.Contacts[i].Phone)
		}
	}
}

// revealPath is where the text behind a mask can be asked for: nowhere when there is none.
func revealPath(donor uuid.UUID, field string, m seal.Masked) string {
	if !m.Masked {
		return ""
	}
	return "/v1/donors/" + donor.String() + "/reveal?field=" + field
}

func readIdentity(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	name, err := a.nameOf(ctx, row.Person)
	if err != nil {
		return err
	}
	v.Identity = &IdentitySection{Name: name.Masked(), Documents: []DocumentLine{}}
	documents, err := a.documentsOf(ctx, row.Person)
	for _, d := range documents {
		v.Identity.Documents = append(v.Identity.Documents, DocumentLine{d.kind, d.number.Masked()})
	}
	return err
}

func (a *act) nameOf(ctx context.Context, person uuid.UUID) (seal.Name, error) {
	var wrapped, sealed []byte
	if err := a.QueryRow(ctx, `SELECT key_wrapped, name_sealed FROM persons WHERE id = $1`, person).Scan(&wrapped, &sealed); err != nil {
		return seal.Name{}, err
	}
	key, err := a.keys.Unwrap(keyCell(person), wrapped)
	if err != nil {
		return seal.Name{}, err
	}
	return key.OpenName(cell("persons", "name", person), sealed)
}

type openedDocument struct {
	kind   identity.DocumentKind
	number seal.Number
}

func (a *act) documentsOf(ctx context.Context, person uuid.UUID) ([]openedDocument, error) {
	key, err := a.keyOf(ctx, person)
	if err != nil {
		return nil, err
	}
	rows, err := a.Query(ctx, `SELECT id, kind, number_sealed FROM person_documents WHERE person_id = $1 ORDER BY created_at, id`, person)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (d openedDocument, err error) {
		var id uuid.UUID
		var sealed []byte
		if err := row.Scan(&id, &d.kind, &sealed); err != nil {
			return d, err
		}
		d.number, err = key.OpenNumber(cell("person_documents", "number", id), sealed)
		return d, err
	})
}

// contactsOf opens how a person is reached.
func (a *act) contactsOf(ctx context.Context, person uuid.UUID) (seal.Phone, profile, *calendar.Date, error) {
	var wrapped, phoneSealed, profileSealed []byte
	var last *calendar.Date
	var p profile
	err := a.QueryRow(ctx, `SELECT key_wrapped, phone_sealed, profile_sealed, last_contact FROM persons WHERE id = $1`, person).Scan(&wrapped, &phoneSealed, &profileSealed, &last)
	if err != nil {
		return seal.Phone{}, p, nil, err
	}
	key, err := a.keys.Unwrap(keyCell(person), wrapped)
	if err != nil {
		return seal.Phone{}, p, nil, err
	}
	phone, err := key.OpenPhone(cell("persons", "phone", person), phoneSealed)
	if err != nil {
		return seal.Phone{}, p, nil, err
	}
	p, err = openProfile(key, person, profileSealed)
	return phone, p, last, err
}

// openProfile opens what is sealed of a person as one cell.
func openProfile(key *seal.Key, person uuid.UUID, sealed []byte) (p profile, err error) {
	plain, err := key.OpenBytes(cell("persons", "profile", person), sealed)
	if err != nil || plain == nil {
		return p, err
	}
	return p, json.Unmarshal(plain, &p)
}

func readContact(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	phone, p, last, err := a.contactsOf(ctx, row.Person)
	if err != nil {
		return err
	}
	v.Contact = &ContactSection{
		Phone: phone.Masked(), Email: seal.EmailOf(p.Email).Masked(), Address: seal.AddressOf(p.Address).Masked(),
		Workplace: seal.NoteOf(p.Workplace).Masked(), Contacts: []ContactLine{},
	}
	if last != nil {
		v.Contact.LastContact = *last
	}
	for _, c := range p.Contacts {
		v.Contact.Contacts = append(v.Contact.Contacts, ContactLine{seal.NameOf(c.Name).Masked(), c.Relation, seal.PhoneOf(c.Phone).Masked()})
	}
	return nil
}

func readDemographics(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	d := &DemographicsSection{}
	v.Demographics = d
	var birth *calendar.Date
	err := a.QueryRow(ctx, `
		SELECT birth_date, coalesce(sex, ''), coalesce(abo, ''), coalesce(rh, ''), coalesce(ethnicity, ''), coalesce(height_cm, 0), coalesce(weight_kg, 0), region
		FROM persons WHERE id = $1`, row.Person).Scan(&birth, &d.Sex, &d.ABO, &d.Rh, &d.Ethnicity, &d.HeightCM, &d.WeightKG, &d.Lives)
	if birth != nil {
		d.BirthYear = birth.Year()
	}
	return err
}

func readHLA(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	h := HLASection{}
	err := a.QueryRow(ctx, `SELECT gl_string, nomenclature, method, typed_on FROM typings WHERE registration_id = $1 AND current ORDER BY typed_on DESC, id DESC LIMIT 1`, row.ID).
		Scan(&h.GL, &h.Nomenclature, &h.Method, &h.TypedOn)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	v.HLA = &h
	return err
}

func readHealth(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	rows, err := a.Query(ctx, `SELECT programme, reason, from_day, until_day FROM deferrals WHERE person_id = $1 AND lifted_at IS NULL ORDER BY from_day, id`, row.Person)
	if err != nil {
		return err
	}
	v.Health = &HealthSection{}
	v.Health.Deferrals, err = pgx.CollectRows(rows, pgx.RowToStructByPos[DeferralLine])
	return err
}

func readConsents(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	rows, err := a.Query(ctx, `
		SELECT c.kind, coalesce(c.registration_id, '00000000-0000-0000-0000-000000000000'), coalesce(r.programme, ''), nullif(r.choices, '{}'), c.text_version, c.text_sha256, c.signed_on, c.on_paper, c.withdrawn_at,
			coalesce(c.withdrawn_via, ''), coalesce(c.withdrawn_reason, '')
		FROM consents c LEFT JOIN registrations r ON r.id = c.registration_id WHERE c.person_id = $1 ORDER BY c.signed_on, c.id`, row.Person)
	if err != nil {
		return err
	}
	if v.Consents, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ConsentLine]); err != nil {
		return err
	}
	rows, err = a.Query(ctx, `SELECT id, number, programme, intent, status, coalesce(merged_into, '00000000-0000-0000-0000-000000000000') FROM registrations WHERE person_id = $1 AND id <> $2 ORDER BY id`, row.Person, row.ID)
	if err != nil {
		return err
	}
	v.Registrations, err = pgx.CollectRows(rows, pgx.RowToStructByPos[RegistrationLine])
	return err
}

func readSpecimens(ctx context.Context, a *act, row registrationRow, v *DonorView) error {
	rows, err := a.Query(ctx, `
		SELECT s.barcode, s.kind, s.status, s.reason, s.drawn_on, s.tubes, coalesce(o.name, '') FROM specimens s LEFT JOIN organisations o ON o.id = s.holder_id
		WHERE s.registration_id = $1 ORDER BY s.drawn_on, s.id`, row.ID)
	if err != nil {
		return err
	}
	v.Specimens, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l SpecimenLine, err error) {
		return l, row.Scan(&l.Barcode, &l.Kind, &l.Status, &l.Reason, &l.DrawnOn, &l.Tubes, &l.Holder)
	})
	return err
}

// DonorFilter narrows a list of registrations; the zero value of a field does not. What a field is about is a class like that of any field that leaves: who may not read it may
// not narrow by it either, because what is left out would tell.
type DonorFilter struct {
	Region    identity.Region `json:"region" class:"registration"`
	Programme rules.Programme `json:"programme" class:"registration"`
	Status    string          `json:"status" class:"registration"`
	DriveID   uuid.UUID       `json:"drive" class:"registration"`
	Number    string          `json:"number" class:"registration"`
	Barcode   string          `json:"barcode" class:"specimen"`
	// RegisteredFrom and RegisteredBefore keep those of certain days, the first among them and the last not.
	RegisteredFrom   calendar.Date `json:"registered_from" class:"registration"`
	RegisteredBefore calendar.Date `json:"registered_before" class:"registration"`
	// ContactedBefore keeps those whom nobody reached since.
	ContactedBefore calendar.Date `json:"contacted_before" class:"contact"`
	After           uuid.UUID     `json:"after" class:"open"`
	Limit           int           `json:"limit" class:"open"`
	// Sort is id, or left out: lists are in the order of their ids. A masked field is refused.
	Sort string `json:"sort" class:"open"`
}

// donorsThat is the condition of a filter on registrations r within a reach, over donorsArgs.
const donorsThat = `r.id > $1 AND ($2 = '' OR r.programme = $2) AND ($3 = '' OR r.status = $3) AND ($4::uuid IS NULL OR r.drive_id = $4) AND ($5 = '' OR r.number = $5)
	AND ($6 = '' OR EXISTS (SELECT FROM specimens s WHERE s.registration_id = r.id AND s.barcode = $6))
	AND EXISTS (SELECT FROM unnest($7::text[], $8::text[]) s(lo, hi) WHERE r.region >= lo AND r.region < hi)
	AND ($9::date IS NULL OR coalesce((SELECT p.last_contact FROM persons p WHERE p.id = r.person_id), r.registered_on) < $9)
	AND ($10::date IS NULL OR r.registered_on >= $10) AND ($11::date IS NULL OR r.registered_on < $11)`

func donorsArgs(f DonorFilter, within reach) []any {
	lo, hi := within.in(f.Region)
	return []any{f.After, string(f.Programme), f.Status, null(f.DriveID), f.Number, f.Barcode, lo, hi, f.ContactedBefore, f.RegisteredFrom, f.RegisteredBefore}
}

// narrowedBy tells the audit what a list of donors was narrowed by.
func (a *act) narrowedBy(f DonorFilter) []string {
	region := a.sought("region", string(f.Region))
	if f.Region.Known() {
		region = "region=" + string(f.Region)
	}
	return []string{
		region, a.narrowed("programme", string(f.Programme)), a.narrowed("status", f.Status), a.narrowed("drive", textOf(f.DriveID)), a.sought("number", f.Number), a.sought("barcode", f.Barcode),
		a.narrowed("registered_from", textOf(f.RegisteredFrom)), a.narrowed("registered_before", textOf(f.RegisteredBefore)), a.narrowed("contacted_before", textOf(f.ContactedBefore)),
	}
}

// DonorLine is a registration in a list. The name is masked, and absent for a reader who may not read names.
type DonorLine struct {
	ID           uuid.UUID       `json:"id" class:"registration" mask:"drop"`
	Number       string          `json:"number" class:"registration" mask:"drop"`
	Programme    rules.Programme `json:"programme" class:"registration" mask:"drop"`
	Intent       rules.Intent    `json:"intent" class:"registration" mask:"drop"`
	Status       string          `json:"status" class:"registration" mask:"drop"`
	Region       identity.Region `json:"region" class:"registration" mask:"drop"`
	RegisteredOn calendar.Date   `json:"registered_on" class:"registration" mask:"drop"`
	MergedInto   uuid.UUID       `json:"merged_into,omitzero" doc:"The registration of the same person that it was made one with." class:"registration" mask:"drop"`
	Name         *seal.Masked    `json:"name,omitempty" class:"identity" mask:"name"`
}

// ListDonors returns registrations that the actor may find, in the order of their ids.
func (r *Reader) ListDonors(ctx context.Context, actor Actor, f DonorFilter) ([]DonorLine, error) {
	var out []DonorLine
	err := r.act(ctx, actor, "ListDonors", policy.ForCase, func(ctx context.Context, a *act) error {
		if f.Sort != "" && masked[DonorLine](f.Sort) {
			a.decided = true
			return refused("field_masked", "Name", f.Sort)
		}
		var err error
		if f.Region, err = regionOf(f.Region); err != nil {
			return err
		}
		within := a.reachOf(policy.Read, policy.Registration)
		if out, err = a.donorPage(ctx, f, within, pageSize(f.Limit), a.scanDonorLine); err != nil {
			return err
		}
		return a.permitList(policy.Registration, within, "donors", idsOf(out, func(d DonorLine) uuid.UUID { return d.ID }), a.narrowedBy(f)...)
	})
	return out, err
}

// donorPage reads the next registrations of a filter, at most most.
func (a *act) donorPage(ctx context.Context, f DonorFilter, within reach, most int, scan pgx.RowToFunc[DonorLine]) ([]DonorLine, error) {
	within, err := a.narrowedTo(within, policy.Registration, f)
	if err != nil {
		return nil, err
	}
	rows, err := a.Query(ctx, `SELECT `+donorLineColumns+` FROM registrations r JOIN persons p ON p.id = r.person_id WHERE `+donorsThat+` ORDER BY r.id LIMIT $12`, append(donorsArgs(f, within), most)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// Revealed is personal text in clear, for the one who asked.
type Revealed struct {
	Name      string             `json:"name,omitempty" class:"identity" mask:"clear"`
	Documents []RevealedDocument `json:"documents,omitempty" class:"identity" mask:"clear"`
	Phone     string             `json:"phone,omitempty" class:"contact" mask:"clear"`
	Email     string             `json:"email,omitempty" class:"contact" mask:"clear"`
	Address   string             `json:"address,omitempty" class:"contact" mask:"clear"`
	Workplace string             `json:"workplace,omitempty" class:"contact" mask:"clear"`
	Contacts  []RevealedContact  `json:"contacts,omitempty" class:"contact" mask:"clear"`
	Fields    []string           `json:"fields" doc:"What was asked for; a field that is not beside it is empty." class:"open" mask:"none"`
	Until     time.Time          `json:"until" doc:"When a page hides it again." class:"open" mask:"none"`
}

// shownFor is how long a page shows what was revealed (the design of access, section 4.2: the value for 60 s).
const shownFor = 60 * time.Second

// RevealedDocument is an identity document in clear.
type RevealedDocument struct {
	Kind   identity.DocumentKind `json:"kind" class:"identity" mask:"clear"`
	Number string                `json:"number" class:"identity" mask:"clear"`
}

// RevealedContact is an emergency contact in clear.
type RevealedContact struct {
	Name     string `json:"name" class:"contact" mask:"clear"`
	Relation string `json:"relation,omitempty" class:"contact" mask:"clear"`
	Phone    string `json:"phone" class:"contact" mask:"clear"`
}

// RevealForm says what is to be shown in clear, and why.
type RevealForm struct {
	Field  string       `json:"field,omitempty" validate:"omitempty,oneof=name documents phone email address workplace contacts" doc:"One field. The address may name it instead."`
	Class  policy.Class `json:"class,omitempty" validate:"omitempty,oneof=identity contact" doc:"All fields of a class, when no field is named."`
	Reason string       `json:"reason" validate:"required,oneof=call_donor verify_identity arrange_travel correct_entry other"`
	Note   seal.Note    `json:"note,omitzero" validate:"required_if=Reason other,omitempty,min=10,max=2000" doc:"In one's own words, at least ten characters; needed for other. It is sealed."`
}

// revealed are the fields that can be shown in clear, with their class; revealOrder is their order.
var (
	revealed = map[string]policy.Class{
		"name": policy.Identity, "documents": policy.Identity,
		"phone": policy.Contact, "email": policy.Contact, "address": policy.Contact, "workplace": policy.Contact, "contacts": policy.Contact,
	}
	revealOrder = []string{"name", "documents", "phone", "email", "address", "workplace", "contacts"}
)

// asksFor is the class that a form is about, and its fields.
func (f RevealForm) asksFor() (policy.Class, []string) {
	if f.Field != "" {
		return revealed[f.Field], []string{f.Field}
	}
	var fields []string
	for _, field := range revealOrder {
		if revealed[field] == f.Class {
			fields = append(fields, field)
		}
	}
	return f.Class, fields
}

// consentGone tells of a registration r that nothing of it is shown in clear any more. A donor who withdrew after the patient's
// conditioning began must still be called: the case is open until the patient is safe.
const consentGone = `(r.status = 'withdrawn' AND NOT EXISTS (SELECT FROM cases c WHERE (c.subject_id = r.id AND c.protocol <> 'enrolment' OR c.id = r.id) AND c.status = 'open'))`

// RevealDonor gives a field of a donor's personal text in clear, or a class of it. The reason and the fields are audited with it.
//
// Errors: Refused when the consent was taken back and no case is open; Locked as in ShowDonor.
func (r *Reader) RevealDonor(ctx context.Context, actor Actor, id uuid.UUID, f RevealForm) (Revealed, error) {
	var out Revealed
	err := r.act(ctx, actor, "RevealDonor", policy.ForCase, func(ctx context.Context, a *act) error {
		problems := forms.Check(f)
		if f.Field == "" && f.Class == "" {
			problems = append(problems, forms.Problem{Code: "R114", Field: "field", Args: map[string]any{"Allowed": strings.Join(revealOrder, ", ")}})
		}
		if len(problems) == 0 && f.Reason == "other" {
			problems = saysEnough("note", f.Note)
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		class, fields := f.asksFor()
		row, err := a.readRegistration(ctx, id, "")
		if err != nil {
			return err
		}
		rec := row.record()
		if err = a.standingsOf(ctx, &rec, id); err != nil {
			return err
		}
		err = a.permit(policy.Reveal, class, rec)
		last := &a.entries[len(a.entries)-1]
		last.Reason, last.Fields = f.Reason, strings.Join(fields, ",")
		if err != nil {
			return err
		}
		if err := a.openDonor(ctx, id, len(rec.leases) == 0); err != nil {
			return err
		}
		var gone bool
		err = a.QueryRow(ctx, `SELECT `+consentGone+` FROM registrations r WHERE r.id = $1`, id).Scan(&gone)
		if err != nil {
			return err
		}
		if gone {
			return refused("consent_withdrawn")
		}
		if held, err := a.heldBack(ctx, row.Person); err != nil {
			return err
		} else if held != "" { // stored, and nothing else
			return a.deny(refused("consent_withdrawn"))
		}
		all := Revealed{}
		if class == policy.Identity {
			err = a.revealIdentity(ctx, row.Person, &all)
		} else {
			err = a.revealContact(ctx, row.Person, &all)
		}
		if err != nil {
			return err
		}
		if err := a.keepReveal(ctx, row, f, fields); err != nil {
			return err
		}
		out = all.only(fields)
		out.Fields, out.Until = fields, a.at.Add(shownFor)
		return nil
	})
	if err != nil {
		return Revealed{}, r.braked(ctx, actor, err)
	}
	return out, nil
}

// only is what was asked for.
func (r Revealed) only(fields []string) Revealed {
	var out Revealed
	for _, field := range fields {
		switch field {
		case "name":
			out.Name = r.Name
		case "documents":
			out.Documents = r.Documents
		case "phone":
			out.Phone = r.Phone
		case "email":
			out.Email = r.Email
		case "address":
			out.Address = r.Address
		case "workplace":
			out.Workplace = r.Workplace
		case "contacts":
			out.Contacts = r.Contacts
		}
	}
	return out
}

// ownIntake is how long who entered somebody still reaches them by it (identity-and-privacy 6.5: own intake, thirty days).
const ownIntake = 30 * 24 * time.Hour

// standingsOf reads who stands to a donor otherwise than by place: the organisations on the donor's side of the donor's open
// cases, which meet the donor; those that the donor is shared with; the team of the drive that the donor came from; and who
// entered the donor lately.
func (a *act) standingsOf(ctx context.Context, rec *record, registration uuid.UUID) error {
	var by *uuid.UUID
	err := a.QueryRow(ctx, `
		SELECT ARRAY(SELECT DISTINCT p.organisation_id FROM cases c JOIN case_parties p ON p.case_id = c.id
				WHERE c.subject_id = $1 AND c.protocol <> 'enrolment' AND c.status = 'open' AND p.side = 'donor'),
			`+sharesOf+`,
			(SELECT `+teamOf+` FROM registrations g LEFT JOIN drives d ON d.id = g.drive_id WHERE g.id = $1),
			(SELECT b.uploaded_by FROM registrations g JOIN batches b ON b.id = g.batch_id WHERE g.id = $1 AND g.created_at > $3)`, registration, a.now(), a.now().Add(-ownIntake)).
		Scan(&rec.sites, &rec.shared, &rec.team, &by)
	if by != nil {
		rec.person = *by
	}
	return err
}

func (a *act) revealIdentity(ctx context.Context, person uuid.UUID, out *Revealed) error {
	name, err := a.nameOf(ctx, person)
	if err != nil {
		return err
	}
	out.Name = name.Reveal()
	documents, err := a.documentsOf(ctx, person)
	out.Documents = nil
	for _, d := range documents {
		out.Documents = append(out.Documents, RevealedDocument{d.kind, d.number.Reveal()})
	}
	return err
}

func (a *act) revealContact(ctx context.Context, person uuid.UUID, out *Revealed) error {
	phone, p, _, err := a.contactsOf(ctx, person)
	if err != nil {
		return err
	}
	out.Phone, out.Email, out.Address, out.Workplace, out.Contacts = phone.Reveal(), p.Email, p.Address, p.Workplace, nil
	for _, c := range p.Contacts {
		out.Contacts = append(out.Contacts, RevealedContact{c.Name, c.Relation, c.Phone})
	}
	return nil
}

// WithdrawForm ends a registration on the person's word. No reason is needed; a coded one may be given.
type WithdrawForm struct {
	Via    string `json:"via" validate:"required,oneof=phone counter letter online relative" doc:"How the person said so."`
	Reason string `json:"reason,omitempty" validate:"omitempty,oneof=personal family health distrust moved other"`
	Number string `json:"number,omitempty" validate:"max=40" doc:"The registration's own number, where a page asks for it as a sign that it is meant."`
}

// Withdraw takes back a registration and its consents. It goes before everything: a case under way hears of it at once,
// and every act that would disclose or proceed finds the consent gone.
func (s *Store) Withdraw(ctx context.Context, actor Actor, id uuid.UUID, version int64, f WithdrawForm) (DonorView, error) {
	err := s.act(ctx, actor, "Withdraw", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		a.repeats = true
		row, err := a.readRegistration(ctx, id, "FOR UPDATE")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Consent, row.record()); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if row.Status == "withdrawn" {
			return nil // said twice
		}
		if version != 0 && version != row.Version {
			return stale("donor")
		}
		if f.Number != "" && f.Number != row.Number {
			return refused("number_mistyped")
		}
		return a.withdraw(ctx, row, f)
	})
	if err != nil {
		return DonorView{}, err
	}
	return s.showDonor(ctx, actor, id, false)
}

// withdraw writes that a locked registration and its consents are taken back, and lets everybody hear it. The caller has
// permitted it.
func (a *act) withdraw(ctx context.Context, row registrationRow, f WithdrawForm) error {
	_, err := a.Exec(ctx, `
			WITH ended AS (UPDATE consents SET withdrawn_at = $2, withdrawn_via = $3, withdrawn_reason = $4 WHERE registration_id = $1 AND withdrawn_at IS NULL)
			UPDATE registrations SET status = 'withdrawn', status_reason = $4, withdrawn_at = $2, version = version + 1, updated_at = now() WHERE id = $1`,
		row.ID, a.at, f.Via, f.Reason)
	if err != nil {
		return err
	}
	a.event(Event{Code: "registration.withdrawn", PersonID: row.Person, RegistrationID: row.ID, CaseID: uuid.Nil, Args: map[string]any{"Via": f.Via, "Reason": f.Reason}})
	// With the consent goes what was to be done elsewhere, unless a patient's treatment depends on it.
	var underWay bool
	err = a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM cases WHERE subject_id = $1 AND protocol <> 'enrolment' AND status = 'open')`, row.ID).Scan(&underWay)
	if err == nil && !underWay {
		err = a.endShares(ctx, row, uuid.Nil)
	}
	if err != nil {
		return err
	}
	return a.tellWithdrawal(ctx, row)
}

// tellWithdrawal lets every open case of the donor hear it, and whoever holds a sample destroy it.
func (a *act) tellWithdrawal(ctx context.Context, row registrationRow) error {
	rows, err := a.Query(ctx, `SELECT protocol, id FROM cases WHERE (subject_id = $1 AND protocol <> 'enrolment' OR id = $1) AND status = 'open'`, row.ID)
	if err != nil {
		return err
	}
	var protocol string
	var id uuid.UUID
	if _, err := pgx.ForEachRow(rows, []any{&protocol, &id}, func() error {
		a.hear(protocol, "withdrawn", id)
		return nil
	}); err != nil {
		return err
	}
	rows, err = a.Query(ctx, `SELECT id, holder_id, barcode FROM specimens WHERE registration_id = $1 AND status NOT IN ('missing', 'undone')`, row.ID)
	if err != nil {
		return err
	}
	var specimen, holder uuid.UUID
	var barcode string
	_, err = pgx.ForEachRow(rows, []any{&specimen, &holder, &barcode}, func() error {
		a.tell(notice{code: "specimen.destroy", args: map[string]any{"Barcode": barcode}, organisation: holder, region: row.Region, urgent: true, dedupe: "specimen.destroy/" + specimen.String()})
		return nil
	})
	return err
}
