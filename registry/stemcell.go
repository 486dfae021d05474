package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/match"
	"github.com/liferelay/liferelay/registry/rules"
)

// The seats at the table of a stem-cell case. The donor's side coordinates, draws, types, examines and collects; the
// patient's side decides, conditions and transplants.
const (
	SeatCoordinator = "coordinator"
	SeatCollection  = "collection_hospital"
	SeatLaboratory  = "laboratory"
	SeatTransplant  = "transplant_hospital"
)

// StemCellFacts are the records that a stem-cell case goes on from beside its own state.
type StemCellFacts struct {
	Snapshot
	Rank          int       `json:"rank"`           // 1 is the primary
	Promoted      bool      `json:"promoted"`       // it is the one that is worked on
	ReservedUntil time.Time `json:"reserved_until"` // when the donor is released without a decision
	Withdrawn     bool      `json:"withdrawn"`      // the donor withdrew consent
	Released      bool      `json:"released"`       // the search needs this donor no more
}

// LoadStemCell reads a stem-cell case for its protocol.
func (s *Store) LoadStemCell(ctx context.Context, actor Actor, id uuid.UUID) (StemCellFacts, error) {
	var out StemCellFacts
	err := s.act(ctx, actor, "LoadStemCell", policy.ForCase, func(ctx context.Context, a *act) (err error) {
		if out.Snapshot, err = a.snapshot(ctx, id); err != nil {
			return err
		}
		var registration, search string
		err = a.QueryRow(ctx, `
			SELECT q.rank, q.promoted_at IS NOT NULL, v.expires_at, r.status, s.status
			FROM link.requests q JOIN reservations v ON v.case_id = q.case_id JOIN registrations r ON r.id = q.registration_id JOIN searches s ON s.id = q.search_id
			WHERE q.case_id = $1`, id).Scan(&out.Rank, &out.Promoted, &out.ReservedUntil, &registration, &search)
		out.Withdrawn, out.Released = registration == "withdrawn", search == "closed"
		return err
	})
	return out, err
}

// recordRemobilisation writes down that the donor was reached, is deferred, or lives elsewhere now. "Unreachable" needs
// its attempts: enough of them, on different days, the emergency contacts among them.
func recordRemobilisation(ctx context.Context, a *act, c caseRow, t taskRow, _ forms.Form, o forms.Outcome) error {
	switch o.Code {
	case "unreachable":
		return a.enoughAttempts(ctx, c)
	case "deferred":
		if err := a.deferDonor(ctx, c, o); err != nil {
			return err
		}
	case "moved":
		return a.moveToRegion(ctx, c, o.Region)
	}
	_, err := a.Exec(ctx, `UPDATE persons p SET last_contact = $2, version = p.version + 1, updated_at = now() FROM registrations r WHERE r.id = $1 AND p.id = r.person_id`, c.Subject, a.today())
	return err
}

func (a *act) enoughAttempts(ctx context.Context, c caseRow) error {
	var attempts, days, contacts int
	err := a.QueryRow(ctx, `
		SELECT count(*), count(DISTINCT (at AT TIME ZONE 'Asia/Shanghai')::date), count(*) FILTER (WHERE whom = 'contact')
		FROM contact_attempts WHERE case_id = $1`, c.ID).Scan(&attempts, &days, &contacts)
	if err != nil {
		return err
	}
	in := a.rules(c.Region)
	if needed, onDays := in.Count(rules.StemCellAttempts), in.Count(rules.StemCellAttemptDays); attempts < needed || days < onDays || contacts == 0 {
		return refused("attempts_missing", "Needed", needed, "Days", onDays, "Made", attempts, "OnDays", days, "Contacts", contacts)
	}
	return nil
}

// deferDonor records that the donor may not give until a day, or ever.
func (a *act) deferDonor(ctx context.Context, c caseRow, o forms.Outcome) error {
	var until *calendar.Date
	if !o.Until.IsZero() {
		until = &o.Until
	}
	_, err := a.Exec(ctx, `
		INSERT INTO deferrals (id, person_id, programme, reason, from_day, until_day, source, case_id)
		SELECT $1, person_id, 'stemcell', $3, $4, $5, 'task', $6 FROM registrations WHERE id = $2`, newID(), c.Subject, o.Reason, a.today(), until, c.ID)
	return err
}

// moveToRegion hands a case, and the donor with it, to the office of another region.
func (a *act) moveToRegion(ctx context.Context, c caseRow, region identity.Region) error {
	office, err := a.officeOf(ctx, region)
	if err != nil {
		return err
	}
	return a.moveDonor(ctx, c, region, office)
}

// moveDonor hands a case, and the donor with it, to an office.
func (a *act) moveDonor(ctx context.Context, c caseRow, region identity.Region, office uuid.UUID) error {
	_, err := a.Exec(ctx, `
		WITH moved AS (UPDATE cases SET region = $2, organisation_id = $3 WHERE id = $1),
			seated AS (UPDATE case_parties SET organisation_id = $3 WHERE case_id = $1 AND seat = $5),
			tubes AS (UPDATE specimens SET region = $2 WHERE registration_id = $4),
			shared AS (UPDATE shares SET region = $2 WHERE registration_id = $4),
			registered AS (UPDATE registrations SET region = $2, organisation_id = $3, version = version + 1, updated_at = now() WHERE id = $4 RETURNING person_id)
		UPDATE persons SET region = $2, version = version + 1, updated_at = now() WHERE id IN (SELECT person_id FROM registered)`,
		c.ID, string(region), office, c.Subject, SeatCoordinator)
	return err
}

// moveCase hands a case to an office: the donor goes with it when the office answers for another region.
func (a *act) moveCase(ctx context.Context, c caseRow, region identity.Region, office uuid.UUID) error {
	if region != c.Region {
		return a.moveDonor(ctx, c, region, office)
	}
	_, err := a.Exec(ctx, `
		WITH moved AS (UPDATE cases SET organisation_id = $2 WHERE id = $1)
		UPDATE case_parties SET organisation_id = $2 WHERE case_id = $1 AND seat = $3`, c.ID, office, SeatCoordinator)
	return err
}

// recordSampleBooking seats the collection hospital and the laboratory at the table.
func recordSampleBooking(ctx context.Context, a *act, c caseRow, _ taskRow, _ forms.Form, o forms.Outcome) error {
	if o.Code != "booked" {
		return nil
	}
	seats, err := a.seats(ctx, c.ID)
	if err != nil {
		return err
	}
	for _, chosen := range []struct {
		seat, kind string
		id         uuid.UUID
	}{{SeatCollection, "hospital", o.Hospital}, {SeatLaboratory, "laboratory", o.Laboratory}} {
		var kind string
		err := a.QueryRow(ctx, `SELECT kind FROM organisations WHERE id = $1 AND active`, chosen.id).Scan(&kind)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return missing("organisation")
		case err != nil:
			return err
		case kind != chosen.kind && kind != "blood_station":
			return refused("organisation_kind", "Kind", kind, "Wanted", chosen.kind)
		case chosen.id == seats[SeatTransplant].Organisation:
			// One hospital on both sides would know both people.
			return refused("hospital_both_sides")
		}
		if err := a.takeSeat(ctx, c.ID, chosen.seat, seat{"donor", chosen.id}); err != nil {
			return err
		}
	}
	return nil
}

func recordConfirmatorySample(ctx context.Context, a *act, c caseRow, _ taskRow, form forms.Form, o forms.Outcome) error {
	if o.Code != "drawn" {
		return nil
	}
	f := form.(*forms.ConfirmatorySample)
	in := a.rules(c.Region)
	if limit := in.Amount(rules.StemCellSampleMax); f.Millilitres > limit {
		return invalid(forms.Problems{{Code: "R119", Field: "millilitres", Args: map[string]any{"Bound": "≤", "Limit": limit}}})
	}
	cal, err := a.calendar(ctx, c.Region)
	if err != nil {
		return err
	}
	until := in.Deadline(rules.StemCellReservationSample, f.DrawnOn.Start(Zone), cal, Zone).Due
	_, err = a.Exec(ctx, `
		WITH kept AS (UPDATE reservations SET expires_at = $8 WHERE case_id = $5 AND released_at IS NULL)
		INSERT INTO specimens (id, barcode, kind, person_id, registration_id, case_id, drawn_on, tubes, millilitres, status, holder_id, region)
		SELECT $1, $2, 'confirmatory', r.person_id, r.id, $5, $6, 1, $7, 'drawn', $4, r.region FROM registrations r WHERE r.id = $3`,
		newID(), f.Barcode, c.Subject, a.actor.organisation, c.ID, f.DrawnOn, f.Millilitres, until)
	return err
}

// recordConfirmatoryTyping stores the typing and compares it with the patient's, locus by locus.
func recordConfirmatoryTyping(ctx context.Context, a *act, c caseRow, _ taskRow, form forms.Form, o forms.Outcome) error {
	if o.Code != "typed" {
		return nil
	}
	f := form.(*forms.ConfirmatoryTyping)
	donor, err := hla.ParseTyping(f.GL)
	if err != nil {
		return err // Check has parsed it
	}
	var patientGL, patientVersion, policyName string
	err = a.QueryRow(ctx, `
		SELECT p.gl_string, p.nomenclature, s.policy FROM link.requests q JOIN patients p ON p.id = q.patient_id JOIN searches s ON s.id = q.search_id WHERE q.case_id = $1`, c.ID).
		Scan(&patientGL, &patientVersion, &policyName)
	if err != nil {
		return err
	}
	fit, _ := match.Named(policyName)
	library, err := a.nomenclatureIn(ctx, a.Tx)
	if err != nil {
		return err
	}
	patient, err := library.Reader(patientVersion).Read(patientGL)
	if err != nil {
		return err
	}
	typed, err := library.Reader(f.Nomenclature).Read(donor.String())
	if err != nil {
		return err
	}
	result := match.Rules{Release: library.Current(), Loci: fit.Loci}.Compare(patient, typed)
	a.event(Event{Code: "stemcell.compared", CaseID: c.ID, Args: map[string]any{"Matched": int(result.Least), "Of": int(result.Of)}})
	tag, err := a.Exec(ctx, `
		WITH specimen AS (
			UPDATE specimens SET status = 'typed', holder_id = $3, version = version + 1
			WHERE id = (SELECT id FROM specimens WHERE case_id = $2 AND kind = 'confirmatory' AND status = 'drawn' ORDER BY drawn_on DESC, id DESC LIMIT 1)
			RETURNING id, person_id, registration_id)
		INSERT INTO typings (id, person_id, registration_id, specimen_id, case_id, laboratory_id, kind, method, nomenclature, gl_string, typed_on)
		SELECT $1, person_id, registration_id, id, $2, $3, 'confirmatory', $4, $5, $6, $7 FROM specimen`,
		newID(), c.ID, a.actor.organisation, f.Method, f.Nomenclature, donor.String(), f.TypedOn)
	if err == nil && tag.RowsAffected() == 0 {
		return refused("specimen_missing")
	}
	return err
}

func recordExamination(ctx context.Context, a *act, c caseRow, _ taskRow, form forms.Form, o forms.Outcome) error {
	if o.Code == "unfit" {
		return a.deferDonor(ctx, c, o)
	}
	if f := form.(*forms.PhysicalExamination); f.WeightKG > 0 {
		_, err := a.Exec(ctx, `UPDATE persons p SET weight_kg = $2, version = p.version + 1, updated_at = now() FROM registrations r WHERE r.id = $1 AND p.id = r.person_id`, c.Subject, int(f.WeightKG))
		return err
	}
	return nil
}

func recordDonationConsent(ctx context.Context, a *act, c caseRow, _ taskRow, form forms.Form, o forms.Outcome) error {
	if o.Code != "signed" {
		return nil
	}
	f := form.(*forms.DonationConsent)
	wording, known := rules.Worded(f.Version)
	if !known || wording.Kind != "stemcell.donation" || wording.From.After(f.SignedOn) {
		return invalid(forms.Problems{{Code: "R112", Field: "version"}})
	}
	_, err := a.Exec(ctx, `
		INSERT INTO consents (id, person_id, registration_id, case_id, kind, text_version, text_sha256, signed_on, on_paper, scan_ref, witness_id)
		SELECT $1, person_id, id, $3, $4, $5, $6, $7, true, $8, $9 FROM registrations WHERE id = $2`,
		newID(), c.Subject, c.ID, wording.Kind, wording.Version, wording.SHA256(), f.SignedOn, f.ScanRef, f.Witness)
	return err
}

// enrichClearance adds until when the clearance is good.
func enrichClearance(_ context.Context, a *act, t taskRow, _ forms.Form, o *forms.Outcome) error {
	if o.Code == "cleared" {
		o.Until = a.book.For(t.Region, o.On).Span(rules.StemCellClearanceValid).On(o.On, nil)
	}
	return nil
}

func recordClearance(ctx context.Context, a *act, c caseRow, _ taskRow, _ forms.Form, o forms.Outcome) error {
	if o.Code == "not_cleared" {
		return a.deferDonor(ctx, c, o)
	}
	return nil
}

// recordConditioning is the last look before the point of no return: the donation consent is there and stands.
func recordConditioning(ctx context.Context, a *act, c caseRow, _ taskRow, _ forms.Form, o forms.Outcome) error {
	if o.Code != "started" {
		return nil
	}
	var signed bool
	err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM consents WHERE case_id = $1 AND kind = 'stemcell.donation' AND withdrawn_at IS NULL)`, c.ID).Scan(&signed)
	if err != nil {
		return err
	}
	if !signed {
		return refused("donation_consent_missing")
	}
	return a.tellTable(ctx, c, "stemcell.conditioning_started", true)
}

// tellTable tells every organisation at a case's table, once for each standing of the case.
func (a *act) tellTable(ctx context.Context, c caseRow, code string, urgent bool) error {
	seats, err := a.seats(ctx, c.ID)
	if err != nil {
		return err
	}
	for name, s := range seats {
		a.tell(notice{code: code, args: map[string]any{"Case": c.Number}, organisation: s.Organisation, region: c.Region, caseID: c.ID, urgent: urgent,
			dedupe: fmt.Sprintf("%s/%s/%s/%d", code, c.ID, name, c.Version)})
	}
	return nil
}

// recordAdverse starts the clock of a serious adverse event, beside the case.
func recordAdverse(ctx context.Context, a *act, c caseRow, _ taskRow, _ forms.Form, o forms.Outcome) error {
	if !o.Adverse {
		return nil
	}
	id := newID()
	number, err := a.number(ctx, "AE")
	if err != nil {
		return err
	}
	err = a.openCase(ctx, caseRow{ID: id, Number: number, Protocol: SafetyProtocol, Subject: c.ID, Region: c.Region, Organisation: c.Organisation, Step: "safety.report"},
		map[string]seat{SeatCoordinator: {"donor", c.Organisation}})
	if err != nil {
		return err
	}
	a.event(Event{Code: "safety.opened", CaseID: c.ID, Args: map[string]any{"Reason": o.Reason, "Number": number}})
	a.hear(string(SafetyProtocol), "opened", id)
	return nil
}

// enrichCollection adds whether the cells of all days so far suffice for the patient's weight.
func enrichCollection(ctx context.Context, a *act, t taskRow, form forms.Form, o *forms.Outcome) error {
	f := form.(*forms.Collection)
	var weight, before float64
	err := a.QueryRow(ctx, `
		SELECT p.weight_kg, coalesce((SELECT sum(cd34_e6) FROM donations d WHERE d.case_id = q.case_id AND d.day <> $2), 0)
		FROM link.requests q JOIN patients p ON p.id = q.patient_id WHERE q.case_id = $1`, t.CaseID, f.Day).Scan(&weight, &before)
	if err != nil {
		return err
	}
	o.Sufficient = (before+f.CD34)/weight >= a.rules(t.Region).Amount(rules.StemCellCD34)
	return nil
}

func recordCollection(ctx context.Context, a *act, c caseRow, t taskRow, form forms.Form, o forms.Outcome) error {
	if err := recordAdverse(ctx, a, c, t, form, o); err != nil {
		return err
	}
	if o.Code != "collected" {
		return nil
	}
	f := form.(*forms.Collection)
	_, err := a.Exec(ctx, `
		INSERT INTO donations (id, person_id, registration_id, case_id, programme, product, day, collected_on, hospital_id, volume_ml, cd34_e6, mnc_e8)
		SELECT $1, person_id, id, $3, 'stemcell', 'HPC-A', $4, $5, $6, $7, $8, nullif($9::real, 0) FROM registrations WHERE id = $2
		ON CONFLICT (case_id, day) DO UPDATE SET collected_on = excluded.collected_on, volume_ml = excluded.volume_ml, cd34_e6 = excluded.cd34_e6, mnc_e8 = excluded.mnc_e8`,
		newID(), c.Subject, c.ID, f.Day, f.CollectedOn, a.actor.organisation, f.VolumeML, f.CD34, f.MNC)
	return err
}

// enrichReceipt adds whether the product travelled outside its temperatures or is damaged.
func enrichReceipt(_ context.Context, a *act, t taskRow, form forms.Form, o *forms.Outcome) error {
	f := form.(*forms.Receipt)
	in := a.rules(t.Region)
	o.OutOfRange = !f.Intact || f.TemperatureMin < in.Amount(rules.StemCellTransportMin) || f.TemperatureMax > in.Amount(rules.StemCellTransportMax)
	return nil
}

// recordThanks issues the certificate with the county's running number, the letters asked for, and starts the donor's
// care plan.
func recordThanks(ctx context.Context, a *act, c caseRow, _ taskRow, form forms.Form, o forms.Outcome) error {
	f := form.(*forms.Thanks)
	kinds := []string{"donation"}
	if f.LeaveLetter {
		kinds = append(kinds, "leave_letter")
	}
	if f.Honour {
		kinds = append(kinds, "honour")
	}
	for _, kind := range kinds {
		var nth *int64
		if kind == "donation" {
			nth = new(int64)
			if err := a.QueryRow(ctx, `SELECT next_number($1)`, "nth-donor/"+string(c.Region)).Scan(nth); err != nil {
				return err
			}
			a.event(Event{Code: "stemcell.certificate", CaseID: c.ID, Args: map[string]any{"Nth": *nth, "Region": c.Region.Name()}})
		}
		number, err := a.number(ctx, "CT")
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `
			INSERT INTO certificates (id, number, kind, person_id, case_id, region, nth, issued_on)
			SELECT $1, $2, $3, person_id, $5, $6, $7, $8 FROM registrations WHERE id = $4`, newID(), number, kind, c.Subject, c.ID, string(c.Region), nth, o.On)
		if err != nil {
			return err
		}
	}
	return a.startCare(ctx, c)
}

// whatEnds is what each ending of a stem-cell case means for the donor's registration; the others leave it listed.
var whatEnds = map[string]struct{ status, reason string }{
	"declined":    {"unavailable", "PR"}, // WMDA D_STAT_REASON: personal
	"unreachable": {"unavailable", "UC"}, // unable to contact
	"deferred":    {"unavailable", "MR"}, // medical
	"unfit":       {"unavailable", "MR"},
	"not_cleared": {"unavailable", "MR"},
	"infused":     {"unavailable", "TX"}, // after transplantation
	"not_used":    {"unavailable", "TX"},
}

// endStemCell frees the donor, says what the end means for their registration, and lets the search know.
func endStemCell(ctx context.Context, a *act, c caseRow, m Move) error {
	var until *calendar.Date
	if m.Ending == "infused" || m.Ending == "not_used" {
		free := a.rules(c.Region).Span(rules.StemCellPBSC).On(a.today(), nil)
		until = &free
	}
	if m.Ending == "deferred" {
		if err := a.QueryRow(ctx, `SELECT max(until_day) FROM deferrals WHERE case_id = $1`, c.ID).Scan(&until); err != nil {
			return err
		}
	}
	meaning := whatEnds[m.Ending]
	var search uuid.UUID
	err := a.QueryRow(ctx, `
		WITH freed AS (UPDATE reservations SET released_at = $2, reason = $3 WHERE case_id = $1 AND released_at IS NULL),
			said AS (UPDATE registrations SET status = $4, status_reason = $5, unavailable_until = $6, version = version + 1, updated_at = now()
				WHERE id = $7 AND $4 <> '' AND status = 'listed')
		SELECT search_id FROM link.requests WHERE case_id = $1`, c.ID, a.at, m.Ending, meaning.status, meaning.reason, until, c.Subject).Scan(&search)
	if err != nil {
		return err
	}
	if err := a.tellTable(ctx, c, "stemcell.ended", false); err != nil {
		return err
	}
	a.hear(string(SearchProtocol), "request_ended", search)
	return nil
}

// AddAttempt logs one try to reach the donor of a case.
func (s *Store) AddAttempt(ctx context.Context, actor Actor, caseID uuid.UUID, f forms.ContactAttempt) (uuid.UUID, error) {
	id := newID()
	err := s.act(ctx, actor, "AddAttempt", policy.ForCase, func(ctx context.Context, a *act) error {
		c, err := a.readCase(ctx, caseID, false)
		if err != nil {
			return err
		}
		seats, err := a.seats(ctx, caseID)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Case, c.record(seats)); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if f.At.After(a.at.Add(time.Minute)) {
			return invalid(forms.Problems{{Code: "R138", Field: "at", Args: map[string]any{"Today": a.today().String()}}})
		}
		if c.Status != "open" {
			return refused("case_ended")
		}
		of, key, err := a.ownerOfCase(ctx, caseID, "")
		if err != nil {
			return err
		}
		note, err := key.Seal(cell("contact_attempts", "note", id), f.Note.Reveal())
		if err != nil {
			return sealed(err)
		}
		_, err = a.Exec(ctx, `INSERT INTO contact_attempts (id, case_id, at, channel, whom, result, note_sealed, staff_id, key_of) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			id, caseID, f.At, f.Channel, f.Whom, f.Result, note, actor.staff, of)
		if err != nil {
			return err
		}
		a.event(Event{Code: "stemcell.attempt", CaseID: caseID, Args: map[string]any{"Channel": f.Channel, "Whom": f.Whom, "Result": f.Result}})
		return nil
	})
	return id, err
}

// PromoteBackup makes a waiting backup the one that is worked on. Promoting it again changes nothing.
func (s *Store) PromoteBackup(ctx context.Context, actor Actor, caseID uuid.UUID, at time.Time) error {
	return s.act(ctx, actor, "PromoteBackup", policy.ForSearch, func(ctx context.Context, a *act) error {
		a.at = at
		c, err := a.readCase(ctx, caseID, true)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Case, c.record(nil)); err != nil {
			return err
		}
		tag, err := a.Exec(ctx, `UPDATE link.requests SET promoted_at = $2 WHERE case_id = $1 AND promoted_at IS NULL`, caseID, at)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		a.event(Event{Code: "case.promoted", CaseID: caseID})
		a.hear(string(StemCellProtocol), "promoted", caseID)
		return nil
	})
}

// Emergency is a conditioned patient's case whose donor cannot go on.
type Emergency struct {
	CaseID uuid.UUID `json:"case" class:"review" mask:"drop"`
	Round  int       `json:"round" class:"review" mask:"drop"` // the how manieth emergency of the case it is
	Reason string    `json:"reason" class:"review" mask:"drop"`
	At     time.Time `json:"at" class:"review" mask:"drop"`
}

// OpenEmergency tells everybody at the table, at once, that the donor of a conditioned patient cannot go on, and opens
// the search again. Opening the same one twice changes nothing.
func (s *Store) OpenEmergency(ctx context.Context, actor Actor, e Emergency) error {
	return s.act(ctx, actor, "OpenEmergency", policy.ForCase, func(ctx context.Context, a *act) error {
		a.at = e.At
		c, err := a.readCase(ctx, e.CaseID, true)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Case, c.record(nil)); err != nil {
			return err
		}
		_, err = remembered(ctx, a, fmt.Sprintf("emergency/%s/%d", c.ID, e.Round), func() (bool, error) {
			a.event(Event{Code: "stemcell.emergency.opened", CaseID: c.ID, Args: map[string]any{"Reason": e.Reason}})
			if err := a.tellTable(ctx, c, "stemcell.emergency", true); err != nil {
				return false, err
			}
			var search uuid.UUID
			err := a.QueryRow(ctx, `UPDATE searches SET status = 'open', version = version + 1 WHERE id = (SELECT search_id FROM link.requests WHERE case_id = $1) RETURNING id`, c.ID).Scan(&search)
			a.hear(string(SearchProtocol), "emergency", search)
			return true, err
		})
		return err
	})
}
