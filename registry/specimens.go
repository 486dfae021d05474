package registry

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/identity"
)

// SendForm hands tubes over to a courier: all of a drive that are still there, or the named ones.
type SendForm struct {
	To       uuid.UUID `json:"to" validate:"required" doc:"The laboratory."`
	Barcodes []string  `json:"barcodes,omitempty" validate:"max=5000,unique,dive,barcode" doc:"All tubes of the drive when left out."`
	PhotoRef string    `json:"photo_ref,omitempty" validate:"max=120" doc:"The photographed list."`
}

// ConsignmentView is a box of tubes under way.
type ConsignmentView struct {
	ID       uuid.UUID `json:"id" class:"specimen" mask:"drop"`
	Number   string    `json:"number" class:"specimen" mask:"drop"`
	From     uuid.UUID `json:"from" class:"specimen" mask:"drop"`
	To       uuid.UUID `json:"to" class:"specimen" mask:"drop"`
	Status   string    `json:"status" class:"specimen" mask:"drop"`
	Barcodes []string  `json:"barcodes" class:"specimen" mask:"drop"`
	Missing  []string  `json:"missing" class:"specimen" mask:"drop"`
	Rejected []string  `json:"rejected" class:"specimen" mask:"drop"`
	Version  int64     `json:"version" class:"open" mask:"none"`
}

// SendTubes notes that a drive's tubes left for the laboratory.
func (s *Store) SendTubes(ctx context.Context, actor Actor, driveID uuid.UUID, f SendForm) (ConsignmentView, error) {
	var out ConsignmentView
	err := s.act(ctx, actor, "SendTubes", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		d, err := a.readDrive(ctx, driveID)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Specimen, d.record()); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		var kind string
		err = a.QueryRow(ctx, `SELECT kind FROM organisations WHERE id = $1 AND active`, f.To).Scan(&kind)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && kind != "laboratory" && kind != "blood_station" {
			return missing("laboratory")
		}
		if err != nil {
			return err
		}
		number, err := a.number(ctx, "TB")
		if err != nil {
			return err
		}
		out = ConsignmentView{ID: newID(), Number: number, From: d.Organisation, To: f.To, Status: "sent", Missing: []string{}, Rejected: []string{}, Version: 1}
		_, err = a.Exec(ctx, `INSERT INTO consignments (id, number, drive_id, from_id, to_id, status, sent_at, sent_by, photo_ref) VALUES ($1, $2, $3, $4, $5, 'sent', $6, $7, $8)`,
			out.ID, number, driveID, d.Organisation, f.To, a.at, actor.staff, f.PhotoRef)
		if err != nil {
			return err
		}
		rows, err := a.Query(ctx, `
			UPDATE specimens SET status = 'sent', holder_id = $2, version = version + 1
			WHERE drive_id = $1 AND status = 'drawn' AND ($3::text[] IS NULL OR barcode = ANY($3)) RETURNING barcode`, driveID, f.To, f.Barcodes)
		if err != nil {
			return err
		}
		if out.Barcodes, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return err
		}
		slices.Sort(out.Barcodes)
		switch {
		case len(out.Barcodes) == 0:
			return refused("no_tubes")
		case f.Barcodes != nil && len(out.Barcodes) != len(f.Barcodes):
			return refused("tubes_not_here", "Asked", len(f.Barcodes), "Here", len(out.Barcodes))
		}
		_, err = a.Exec(ctx, `
			INSERT INTO custody (id, specimen_id, consignment_id, from_id, to_id, at, condition, signed_by)
			SELECT uuid_v7(), id, $2, $3, $4, $5, 'sent', $6 FROM specimens WHERE barcode = ANY($1)`, out.Barcodes, out.ID, d.Organisation, f.To, a.at, actor.staff)
		if err != nil {
			return err
		}
		a.event(Event{Code: "drive.tubes_sent", CaseID: driveID, DriveID: driveID, Args: map[string]any{"Tubes": len(out.Barcodes), "Number": number}})
		a.hear(string(DriveProtocol), "tubes_sent", driveID)
		return nil
	})
	return out, err
}

// ReceiveForm is what a laboratory finds in the box: every tube is good unless it is named.
type ReceiveForm struct {
	Missing  []string       `json:"missing,omitempty" validate:"max=5000,unique,dive,barcode"`
	Rejected []RejectedTube `json:"rejected,omitempty" validate:"max=5000,dive"`
}

// RejectedTube is a tube that cannot be typed.
type RejectedTube struct {
	Barcode string `json:"barcode" validate:"required,barcode"`
	Reason  string `json:"reason" validate:"required,oneof=haemolysed short label_mismatch expired"`
}

// ReceiveTubes notes what arrived of a consignment: the laboratory's signature under the other end of the hand-over. A
// tube that is missing raises an alarm; one that is rejected has its donor asked for another.
func (s *Store) ReceiveTubes(ctx context.Context, actor Actor, id uuid.UUID, version int64, f ReceiveForm) (ConsignmentView, error) {
	var out ConsignmentView
	err := s.act(ctx, actor, "ReceiveTubes", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		v, driveID, region, err := a.readConsignment(ctx, id, "FOR UPDATE OF c")
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Specimen, record{kind: "consignment", id: id.String(), region: region, sites: []uuid.UUID{v.To}}); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		if version != 0 && version != v.Version {
			return stale("consignment")
		}
		if v.Status == "received" {
			out = v
			return nil // signed twice
		}
		if problems := unknownTubes(v.Barcodes, f); len(problems) > 0 {
			return invalid(problems)
		}
		var badCodes, badReasons []string
		for _, r := range f.Rejected {
			badCodes, badReasons = append(badCodes, r.Barcode), append(badReasons, r.Reason)
		}
		missing := f.Missing
		if missing == nil {
			missing = []string{}
		}
		rows, err := a.Query(ctx, `
			WITH box AS (
				SELECT s.id, CASE WHEN s.barcode = ANY($2::text[]) THEN 'missing' ELSE coalesce(bad.reason, 'good') END AS condition
				FROM custody k JOIN specimens s ON s.id = k.specimen_id LEFT JOIN unnest($3::text[], $4::text[]) bad(barcode, reason) ON bad.barcode = s.barcode
				WHERE k.consignment_id = $1 AND k.condition = 'sent'),
			signed AS (
				INSERT INTO custody (id, specimen_id, consignment_id, from_id, to_id, at, condition, signed_by)
				SELECT uuid_v7(), id, $1, $5, $6, $7, condition, $8 FROM box),
			arrived AS (
				UPDATE consignments SET status = 'received', received_at = $7, received_by = $8, version = version + 1 WHERE id = $1)
			UPDATE specimens s SET status = CASE box.condition WHEN 'good' THEN 'received' WHEN 'missing' THEN 'missing' ELSE 'rejected' END,
				reason = CASE WHEN box.condition IN ('good', 'missing') THEN '' ELSE box.condition END, version = version + 1
			FROM box WHERE s.id = box.id RETURNING s.registration_id, box.condition`,
			id, missing, badCodes, badReasons, v.From, v.To, a.at, actor.staff)
		if err != nil {
			return err
		}
		var touched []uuid.UUID
		var registration uuid.UUID
		var condition string
		if _, err := pgx.ForEachRow(rows, []any{&registration, &condition}, func() error {
			touched = append(touched, registration)
			return nil
		}); err != nil {
			return err
		}
		a.hear(string(EnrolmentProtocol), "sample", touched...)
		if driveID != uuid.Nil {
			a.event(Event{Code: "drive.tubes_received", CaseID: driveID, DriveID: driveID, Args: map[string]any{"Tubes": len(v.Barcodes) - len(f.Missing), "Missing": len(f.Missing), "Rejected": len(f.Rejected)}})
			a.hear(string(DriveProtocol), "tubes_received", driveID)
		}
		out, _, _, err = a.readConsignment(ctx, id, "")
		return err
	})
	return out, err
}

func unknownTubes(box []string, f ReceiveForm) forms.Problems {
	var out forms.Problems
	for _, code := range f.Missing {
		if !slices.Contains(box, code) {
			out = append(out, forms.Problem{Code: "R142", Field: "missing"})
		}
	}
	for _, r := range f.Rejected {
		if !slices.Contains(box, r.Barcode) || slices.Contains(f.Missing, r.Barcode) {
			out = append(out, forms.Problem{Code: "R142", Field: "rejected"})
		}
	}
	return out
}

func (a *act) readConsignment(ctx context.Context, id uuid.UUID, lock string) (v ConsignmentView, drive uuid.UUID, region identity.Region, err error) {
	v = ConsignmentView{Barcodes: []string{}, Missing: []string{}, Rejected: []string{}}
	var driveID *uuid.UUID
	err = a.QueryRow(ctx, `SELECT c.id, c.number, c.from_id, c.to_id, c.status, c.version, c.drive_id, o.region FROM consignments c JOIN organisations o ON o.id = c.from_id WHERE c.id = $1 `+lock, id).
		Scan(&v.ID, &v.Number, &v.From, &v.To, &v.Status, &v.Version, &driveID, &region)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, uuid.Nil, "", a.absent("consignment", id)
	}
	if err != nil {
		return v, uuid.Nil, "", err
	}
	if driveID != nil {
		drive = *driveID
	}
	rows, err := a.Query(ctx, `SELECT s.barcode, k.condition FROM custody k JOIN specimens s ON s.id = k.specimen_id WHERE k.consignment_id = $1 ORDER BY s.barcode`, id)
	if err != nil {
		return v, uuid.Nil, "", err
	}
	var barcode, condition string
	_, err = pgx.ForEachRow(rows, []any{&barcode, &condition}, func() error {
		switch condition {
		case "sent":
			v.Barcodes = append(v.Barcodes, barcode)
		case "missing":
			v.Missing = append(v.Missing, barcode)
		case "good":
		default:
			v.Rejected = append(v.Rejected, barcode)
		}
		return nil
	})
	return v, drive, region, err
}

// ListConsignments returns the boxes that are on their way to the actor's organisation, or left it.
func (r *Reader) ListConsignments(ctx context.Context, actor Actor, status string, after uuid.UUID, limit int) ([]ConsignmentView, error) {
	var out []ConsignmentView
	err := r.act(ctx, actor, "ListConsignments", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		within := a.reachOf(policy.Read, policy.Specimen)
		rows, err := a.Query(ctx, `
			SELECT c.id FROM consignments c JOIN organisations o ON o.id = c.from_id
			WHERE c.id > $1 AND ($2 = '' OR c.status = $2) AND (($3 AND c.to_id = $4) OR EXISTS (SELECT FROM unnest($5::text[], $6::text[]) s(lo, hi) WHERE o.region >= lo AND o.region < hi))
			ORDER BY c.id LIMIT $7`, after, status, within.site, within.organisation, within.lo, within.hi, pageSize(limit))
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		out = make([]ConsignmentView, 0, len(ids))
		for _, id := range ids {
			v, _, _, err := a.readConsignment(ctx, id, "")
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		return a.permitList(policy.Specimen, within, "consignments", idsOf(out, func(c ConsignmentView) uuid.UUID { return c.ID }), a.narrowed("status", status))
	})
	return out, err
}

// TypingResult is what became of one reported typing.
type TypingResult struct {
	Barcode  string        `json:"barcode" class:"hla" mask:"drop"`
	Status   string        `json:"status" doc:"accepted, known (the same typing was reported before) or refused" class:"hla" mask:"drop"`
	Code     string        `json:"code,omitempty" class:"hla" mask:"drop"`
	Detail   string        `json:"detail,omitempty" class:"hla" mask:"drop"`
	Problems []ProblemText `json:"problems,omitempty" class:"hla" mask:"drop"`
}

// ReportTypings takes a laboratory's typings, each for itself: a refused one does not stop the others. Reporting the
// same typing again changes nothing.
func (s *Store) ReportTypings(ctx context.Context, actor Actor, reports []forms.TypingReport) ([]TypingResult, error) {
	var out []TypingResult
	library, err := s.nomenclature(ctx)
	if err != nil {
		return nil, err
	}
	err = s.act(ctx, actor, "ReportTypings", policy.ForEnrolment, func(ctx context.Context, a *act) error {
		out = make([]TypingResult, 0, len(reports))
		specimens, err := a.specimensByBarcode(ctx, reports)
		if err != nil {
			return err
		}
		var typed []uuid.UUID
		var b pgx.Batch
		// One line of the audit stands for the laboratory's list; each specimen is decided for itself.
		if err := a.permitShown(policy.Write, policy.HLA, record{kind: "typings", id: "list", region: actor.region, sites: []uuid.UUID{actor.organisation}}, len(reports)); err != nil {
			return err
		}
		seen := map[string]bool{}
		for _, report := range reports {
			result, listed := a.takeTyping(&b, library, report, specimens, seen)
			if listed != uuid.Nil {
				typed = append(typed, listed)
			}
			out = append(out, result)
		}
		if err := a.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		a.hear(string(EnrolmentProtocol), "typed", typed...)
		return nil
	})
	return out, err
}

type specimenRow struct {
	ID           uuid.UUID
	Barcode      string
	Person       uuid.UUID
	Registration uuid.UUID
	Holder       uuid.UUID
	Status       string
	DrawnOn      calendar.Date
	CoolingOff   *calendar.Date
	Registered   string
	Region       identity.Region
	GL           *string
}

func (a *act) specimensByBarcode(ctx context.Context, reports []forms.TypingReport) (map[string]specimenRow, error) {
	var codes []string
	for _, r := range reports {
		codes = append(codes, r.Barcode)
	}
	rows, err := a.Query(ctx, `
		SELECT s.id, s.barcode, s.person_id, s.registration_id, s.holder_id, s.status, s.drawn_on, r.cooling_off_until, r.status, r.region, t.gl_string
		FROM specimens s JOIN registrations r ON r.id = s.registration_id LEFT JOIN typings t ON t.specimen_id = s.id AND t.current
		WHERE s.barcode = ANY($1) AND s.kind = 'enrolment' FOR UPDATE OF s`, codes)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[specimenRow])
	out := make(map[string]specimenRow, len(found))
	for _, s := range found {
		out[s.Barcode] = s
	}
	return out, err
}

// takeTyping judges one report and queues what it writes.
func (a *act) takeTyping(b *pgx.Batch, library *hla.Library, report forms.TypingReport, specimens map[string]specimenRow, seen map[string]bool) (TypingResult, uuid.UUID) {
	result := TypingResult{Barcode: report.Barcode, Status: "refused"}
	specimen, known := specimens[report.Barcode]
	if known {
		allowed, _ := a.may(policy.Write, policy.HLA, record{kind: "specimen", id: specimen.ID.String(), region: specimen.Region, sites: []uuid.UUID{specimen.Holder}})
		known = allowed.Allowed
	}
	problems := forms.Check(report)
	gl := ""
	if len(problems) == 0 {
		var typing *hla.Reading
		if typing, problems = readTyping(library, "gl", report.GL, report.Nomenclature); typing != nil {
			gl = typing.String()
			if untyped := lacking(typing, hla.A, hla.B, hla.C, hla.DRB1, hla.DQB1); len(untyped) > 0 {
				problems = append(problems, forms.Problem{Code: "R143", Field: "gl", Args: map[string]any{"Loci": lociText(untyped)}})
			}
		}
	}
	if known && (report.TypedOn.Before(specimen.DrawnOn) || report.TypedOn.After(a.today())) {
		problems = append(problems, forms.Problem{Code: "R138", Field: "typed_on", Args: map[string]any{"Today": a.today().String()}})
	}
	switch {
	case len(problems) > 0:
		result.Code, result.Problems = "form_invalid", ProblemTexts(problems, a.actor.Locale)
	case !known:
		result.Code = "specimen_not_found"
	case seen[report.Barcode]:
		result.Code = "barcode_twice"
	case specimen.Status == "typed" && specimen.GL != nil && *specimen.GL == gl:
		result.Status = "known"
	case specimen.Status == "typed":
		result.Code = "typing_differs"
	case specimen.Registered == "withdrawn":
		result.Code = "donor_withdrew"
	case specimen.Status != "received":
		result.Code = "specimen_not_received"
	case specimen.CoolingOff != nil && a.today().Before(*specimen.CoolingOff):
		result.Code = "cooling_off"
	default:
		result.Status = "accepted"
		seen[report.Barcode] = true
		b.Queue(`
			INSERT INTO typings (id, person_id, registration_id, specimen_id, laboratory_id, kind, method, nomenclature, gl_string, typed_on)
			VALUES ($1, $2, $3, $4, $5, 'enrolment', $6, $7, $8, $9)`,
			newID(), specimen.Person, specimen.Registration, specimen.ID, a.actor.organisation, report.Method, report.Nomenclature, gl, report.TypedOn)
		b.Queue(`UPDATE specimens SET status = 'typed', version = version + 1 WHERE id = $1`, specimen.ID)
		a.event(Event{Code: "enrolment.typed", CaseID: specimen.Registration, PersonID: specimen.Person, RegistrationID: specimen.Registration, Args: map[string]any{"Method": report.Method}})
		return result, specimen.Registration
	}
	if result.Code != "" {
		result.Detail = a.actor.Locale.Say("error."+result.Code, nil)
	}
	return result, uuid.Nil
}

func lociText(loci []hla.Locus) string {
	out := ""
	for i, l := range loci {
		if i > 0 {
			out += ", "
		}
		out += string(l)
	}
	return out
}

// EnrolmentFacts are the records that an enrolment's protocol goes on from.
type EnrolmentFacts struct {
	Snapshot
	Status      string        `json:"status"`               // of the registration
	CoolingOff  calendar.Date `json:"cooling_off,omitzero"` // the first day after the cooling-off
	DriveID     uuid.UUID     `json:"drive,omitzero"`
	Sample      string        `json:"sample"` // status of the newest specimen, empty when there is none
	SampleCount int           `json:"sample_count"`
	DrawnOn     calendar.Date `json:"drawn_on,omitzero"`
	Registered  calendar.Date `json:"registered"`
}

// LoadEnrolment reads an enrolment for its protocol. The error is NotFound when its batch was undone.
func (s *Store) LoadEnrolment(ctx context.Context, actor Actor, id uuid.UUID) (EnrolmentFacts, error) {
	var out EnrolmentFacts
	err := s.act(ctx, actor, "LoadEnrolment", policy.ForEnrolment, func(ctx context.Context, a *act) (err error) {
		if out.Snapshot, err = a.snapshot(ctx, id); err != nil {
			return err
		}
		var merged bool
		var cooling, drawn *calendar.Date
		var drive *uuid.UUID
		var sample *string
		err = a.QueryRow(ctx, `
			SELECT r.merged_into IS NOT NULL, r.status, r.cooling_off_until, r.drive_id, r.registered_on, s.status, s.drawn_on,
				(SELECT count(*) FROM specimens n WHERE n.registration_id = r.id AND n.kind = 'enrolment')
			FROM registrations r LEFT JOIN LATERAL (
				SELECT status, drawn_on FROM specimens WHERE registration_id = r.id AND kind = 'enrolment' ORDER BY drawn_on DESC, id DESC LIMIT 1) s ON true
			WHERE r.id = $1`, id).Scan(&merged, &out.Status, &cooling, &drive, &out.Registered, &sample, &drawn, &out.SampleCount)
		if err != nil {
			return err
		}
		if merged { // the enrolment goes on as that of the registration which stays
			return missing("case")
		}
		if cooling != nil {
			out.CoolingOff = *cooling
		}
		if drive != nil {
			out.DriveID = *drive
		}
		if sample != nil {
			out.Sample, out.DrawnOn = *sample, *drawn
		}
		return nil
	})
	return out, err
}

// ListDonor puts a typed donor on the list (入库): from now on searches find them. Listing again changes nothing.
//
// Errors: Refused while the cooling-off lasts, when the donor is not typed, or withdrew.
func (s *Store) ListDonor(ctx context.Context, actor Actor, in Advance) (Moved, error) {
	var out Moved
	err := s.act(ctx, actor, "ListDonor", policy.ForEnrolment, func(ctx context.Context, a *act) (err error) {
		a.at = in.At
		c, err := a.readCase(ctx, in.CaseID, true)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Case, c.record(nil)); err != nil {
			return err
		}
		out, err = remembered(ctx, a, "list/"+in.CaseID.String(), func() (Moved, error) {
			row, err := a.readRegistration(ctx, c.Subject, "FOR UPDATE")
			if err != nil {
				return Moved{}, err
			}
			var typed bool
			if err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM typings WHERE registration_id = $1 AND current)`, c.Subject).Scan(&typed); err != nil {
				return Moved{}, err
			}
			switch {
			case row.Status == "withdrawn":
				return Moved{}, refused("donor_withdrew")
			case !typed:
				return Moved{}, refused("not_typed")
			case a.today().Before(row.CoolingOff):
				return Moved{}, refused("cooling_off")
			}
			_, err = a.Exec(ctx, `UPDATE registrations SET status = 'listed', listed_on = $2, version = version + 1, updated_at = now() WHERE id = $1`, c.Subject, a.today())
			if err != nil {
				return Moved{}, err
			}
			a.event(Event{Code: "enrolment.listed", CaseID: c.ID, PersonID: row.Person, RegistrationID: c.Subject})
			return a.move(ctx, &c, in.Version, in.Move)
		})
		return err
	})
	return out, err
}

func recordRedraw(ctx context.Context, a *act, c caseRow, _ taskRow, form forms.Form, o forms.Outcome) error {
	if o.Code != "redrawn" {
		return nil
	}
	f := form.(*forms.Redraw)
	_, err := a.Exec(ctx, `
		INSERT INTO specimens (id, barcode, kind, person_id, registration_id, drive_id, drawn_on, tubes, millilitres, status, holder_id, region)
		SELECT $1, $2, 'enrolment', person_id, id, drive_id, $4, 1, nullif($5::real, 0), 'drawn', $6, region FROM registrations WHERE id = $3`,
		newID(), f.Barcode, c.Subject, f.DrawnOn, f.Millilitres, a.actor.organisation)
	return err
}
