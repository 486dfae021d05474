package forms

import (
	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// Drive plans a drive (登记采样活动).
type Drive struct {
	Name        string          `json:"name" validate:"required,max=120"`
	Place       string          `json:"place" validate:"required,max=200"`
	Region      identity.Region `json:"region" validate:"required,region"`
	Host        uuid.UUID       `json:"host,omitzero" doc:"The college, company or unit that hosts it."`
	Laboratory  uuid.UUID       `json:"laboratory,omitzero" doc:"Where its tubes go."`
	FirstDay    calendar.Date   `json:"first_day" validate:"required"`
	LastDay     calendar.Date   `json:"last_day" validate:"required"`
	Target      int             `json:"target" validate:"min=0,max=100000" doc:"How many forms are hoped for."`
	BarcodeFrom string          `json:"barcode_from,omitempty" validate:"omitempty,barcode" doc:"The first tube barcode handed out for this drive."`
	BarcodeTo   string          `json:"barcode_to,omitempty" validate:"required_with=BarcodeFrom,omitempty,barcode"`
	Team        []TeamMember    `json:"team,omitempty" validate:"max=200,dive"`
}

// TeamMember is one person of a drive's team, with a duty.
type TeamMember struct {
	Staff uuid.UUID `json:"staff" validate:"required"`
	Duty  string    `json:"duty" validate:"required,oneof=leader registrar phlebotomist courier volunteer"`
}

// DriveClosing answers the closing of a drive: the three counts agree, or their difference has a name.
type DriveClosing struct {
	Outcome    string    `json:"outcome" validate:"required,oneof=closed"`
	Forms      int       `json:"forms" validate:"min=0,max=100000"`
	Tubes      int       `json:"tubes" validate:"min=0,max=100000"`
	Consents   int       `json:"consents" validate:"min=0,max=100000"`
	Difference string    `json:"difference,omitempty" validate:"omitempty,oneof=tube_broken left_before_sampling form_without_sample form_spoiled withdrew_on_site other" doc:"Why the counts differ, when they do."`
	Note       seal.Note `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f DriveClosing) Summary() Outcome { return Outcome{Code: f.Outcome, Reason: f.Difference} }

// Problems asks for the name of a difference.
func (f DriveClosing) Problems() Problems {
	if (f.Forms != f.Tubes || f.Tubes != f.Consents) && f.Difference == "" {
		return Problems{{Code: "R133", Field: "difference"}}
	}
	return nil
}

// MissingTube answers the alarm about a tube that left and did not arrive.
type MissingTube struct {
	Outcome string    `json:"outcome" validate:"required,oneof=found lost"`
	Note    seal.Note `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f MissingTube) Summary() Outcome { return Outcome{Code: f.Outcome} }

// DriveReport answers the last step of a drive.
type DriveReport struct {
	Outcome string    `json:"outcome" validate:"required,oneof=reported"`
	Media   int       `json:"media" validate:"min=0,max=10000" doc:"Press items about the drive."`
	Note    seal.Note `json:"note,omitzero" validate:"max=4000"`
}

// Summary implements Form.
func (f DriveReport) Summary() Outcome { return Outcome{Code: f.Outcome} }

// Chase answers a question about something overdue: a sample or a typing that has not come.
type Chase struct {
	Outcome string        `json:"outcome" validate:"required,oneof=coming gives_up"`
	Until   calendar.Date `json:"until,omitzero" validate:"required_if=Outcome coming" doc:"By when it will be there."`
	Reason  string        `json:"reason,omitempty" validate:"required_if=Outcome gives_up,omitempty,oneof=withdrew unreachable lost other"`
	Note    seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Chase) Summary() Outcome { return Outcome{Code: f.Outcome, Until: f.Until, Reason: f.Reason} }

// Redraw answers a rejected sample: another is drawn, or the volunteer does not want to.
type Redraw struct {
	Outcome     string        `json:"outcome" validate:"required,oneof=redrawn gives_up"`
	Barcode     string        `json:"barcode,omitempty" validate:"required_if=Outcome redrawn,omitempty,barcode"`
	DrawnOn     calendar.Date `json:"drawn_on,omitzero" validate:"required_if=Outcome redrawn"`
	Millilitres float64       `json:"millilitres,omitempty" validate:"omitempty,gt=0,lte=100"`
	Reason      string        `json:"reason,omitempty" validate:"required_if=Outcome gives_up,omitempty,oneof=withdrew unreachable other"`
	Note        seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Redraw) Summary() Outcome { return Outcome{Code: f.Outcome, On: f.DrawnOn, Reason: f.Reason} }

// Patient enters a patient for a search; who the patient is stays with the hospital.
type Patient struct {
	Reference    seal.Note     `json:"reference,omitzero" validate:"max=60" doc:"The hospital's own reference; nobody else sees it."`
	BirthYear    int           `json:"birth_year" validate:"required,min=1900,max=2100"`
	Sex          identity.Sex  `json:"sex" validate:"required,oneof=male female"`
	Diagnosis    string        `json:"diagnosis" validate:"required,icd10" doc:"ICD-10 code, such as C91.0."`
	WeightKG     float64       `json:"weight_kg" validate:"required,gte=1,lte=300"`
	ABO          identity.ABO  `json:"abo,omitempty" validate:"omitempty,oneof=A B O AB"`
	Rh           identity.Rh   `json:"rh,omitempty" validate:"omitempty,oneof=positive negative"`
	CMV          string        `json:"cmv,omitempty" validate:"omitempty,oneof=positive negative"`
	Urgency      string        `json:"urgency" validate:"required,oneof=routine urgent critical"`
	GL           string        `json:"gl" validate:"required,gl,max=2000" doc:"The typing as a GL String or GL String Code: alleles, XX and multiple-allele codes, groups and antigens."`
	Nomenclature string        `json:"nomenclature" validate:"required,nomenclature"`
	ConsentOn    calendar.Date `json:"consent_on" validate:"required" doc:"When the patient agreed to the search."`
}

// Choice answers a search: which candidates are asked for, the primary first.
type Choice struct {
	Outcome string      `json:"outcome" validate:"required,oneof=request none"`
	Donors  []uuid.UUID `json:"donors,omitempty" validate:"required_if=Outcome request,omitempty,unique,min=1,max=3" doc:"The candidates' registrations, the primary first, then the backups."`
	Reason  string      `json:"reason,omitempty" validate:"required_if=Outcome none,omitempty,oneof=no_match related_donor patient_died other_treatment other"`
	Note    seal.Note   `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Choice) Summary() Outcome {
	return Outcome{Code: f.Outcome, Donors: f.Donors, Reason: f.Reason}
}

// TypingReport is one donor's typing as a laboratory reports it, alone or in a list.
type TypingReport struct {
	Barcode      string        `json:"barcode" validate:"required,barcode"`
	GL           string        `json:"gl" validate:"required,gl,max=2000" doc:"The typing as a GL String or GL String Code: alleles, XX and multiple-allele codes, groups and antigens."`
	Nomenclature string        `json:"nomenclature" validate:"required,nomenclature"`
	Method       string        `json:"method" validate:"required,oneof=NGS SBT SSO SSP"`
	TypedOn      calendar.Date `json:"typed_on" validate:"required"`
}
