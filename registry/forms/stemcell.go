package forms

import (
	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// Remobilisation (再动员) answers step 1: is the donor, found again after years, still willing?
type Remobilisation struct {
	Outcome string          `json:"outcome" validate:"required,oneof=willing needs_time declines unreachable deferred moved"`
	Reason  string          `json:"reason,omitempty" validate:"required_if=Outcome declines,required_if=Outcome deferred,omitempty,oneof=personal family work fear_of_procedure pregnancy illness medication too_old emigrated other" doc:"Why the donor declines, or the medical ground of a deferral."`
	Until   calendar.Date   `json:"until,omitzero" validate:"required_if=Outcome deferred" doc:"The last day of a deferral."`
	Region  identity.Region `json:"region,omitempty" validate:"required_if=Outcome moved,omitempty,region" doc:"Where the donor lives now."`
	Note    seal.Note       `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Remobilisation) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Reason, Until: f.Until, Region: f.Region}
}

// SampleBooking answers the first half of step 2: where and when the confirmatory sample is drawn, and who types it.
type SampleBooking struct {
	Outcome    string        `json:"outcome" validate:"required,oneof=booked declines"`
	Hospital   uuid.UUID     `json:"hospital,omitzero" validate:"required_if=Outcome booked" doc:"The collection hospital or station that draws."`
	Laboratory uuid.UUID     `json:"laboratory,omitzero" validate:"required_if=Outcome booked"`
	On         calendar.Date `json:"on,omitzero" validate:"required_if=Outcome booked"`
	Reason     string        `json:"reason,omitempty" validate:"required_if=Outcome declines,omitempty,oneof=personal family work fear_of_procedure illness other"`
	Note       seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f SampleBooking) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Reason, On: f.On, Hospital: f.Hospital, Laboratory: f.Laboratory}
}

// ConfirmatorySample answers step 2.
type ConfirmatorySample struct {
	Outcome     string        `json:"outcome" validate:"required,oneof=drawn failed"`
	Barcode     string        `json:"barcode,omitempty" validate:"required_if=Outcome drawn,omitempty,barcode"`
	Millilitres float64       `json:"millilitres,omitempty" validate:"required_if=Outcome drawn,omitempty,gt=0,lte=100" doc:"Blood drawn, in ml."`
	DrawnOn     calendar.Date `json:"drawn_on,omitzero" validate:"required_if=Outcome drawn"`
	Reason      string        `json:"reason,omitempty" validate:"required_if=Outcome failed,omitempty,oneof=did_not_come veins_unsuitable unwell_today other"`
	Note        seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f ConfirmatorySample) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Reason, On: f.DrawnOn}
}

// ConfirmatoryTyping (高分辨配型) answers step 3.
type ConfirmatoryTyping struct {
	Outcome      string        `json:"outcome" validate:"required,oneof=typed failed"`
	GL           string        `json:"gl,omitempty" validate:"required_if=Outcome typed,omitempty,alleles,max=2000" doc:"The typing as a GL String of two or more fields."`
	Nomenclature string        `json:"nomenclature,omitempty" validate:"required_if=Outcome typed,omitempty,nomenclature" doc:"Release of the IPD-IMGT/HLA database, such as 3.57.0."`
	Method       string        `json:"method,omitempty" validate:"required_if=Outcome typed,omitempty,oneof=NGS SBT SSO SSP"`
	TypedOn      calendar.Date `json:"typed_on,omitzero" validate:"required_if=Outcome typed"`
	Reason       string        `json:"reason,omitempty" validate:"required_if=Outcome failed,omitempty,oneof=haemolysed short label_mismatch not_arrived technical"`
	Note         seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f ConfirmatoryTyping) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Reason, On: f.TypedOn}
}

// HospitalDecision answers step 4, and a backup's waiting.
type HospitalDecision struct {
	Outcome string    `json:"outcome" validate:"required,oneof=use hold release"`
	Reason  string    `json:"reason,omitempty" validate:"required_if=Outcome release,omitempty,oneof=better_donor mismatch patient_died patient_relapsed patient_better other_treatment other"`
	Note    seal.Note `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f HospitalDecision) Summary() Outcome { return Outcome{Code: f.Outcome, Reason: f.Reason} }

// PhysicalExamination (体检) answers step 5.
type PhysicalExamination struct {
	Outcome    string        `json:"outcome" validate:"required,oneof=fit unfit recheck"`
	ExaminedOn calendar.Date `json:"examined_on" validate:"required"`
	Reason     string        `json:"reason,omitempty" validate:"required_if=Outcome unfit,omitempty,oneof=cardiovascular haematological infectious autoimmune malignancy pregnancy veins other" doc:"The coded finding; the finding's own follow-up is the hospital's."`
	RecheckOn  calendar.Date `json:"recheck_on,omitzero" validate:"required_if=Outcome recheck"`
	WeightKG   float64       `json:"weight_kg,omitempty" validate:"omitempty,gte=30,lte=250" doc:"The donor's weight, in kg: the drug is dosed by it."`
	Note       seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f PhysicalExamination) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Reason, On: f.ExaminedOn, Until: f.RecheckOn}
}

// DonationConsent answers step 6.
type DonationConsent struct {
	Outcome        string        `json:"outcome" validate:"required,oneof=signed declines"`
	Version        string        `json:"version,omitempty" validate:"required_if=Outcome signed" doc:"The wording that was signed, such as HSD-2024."`
	SignedOn       calendar.Date `json:"signed_on,omitzero" validate:"required_if=Outcome signed"`
	FamilyInformed bool          `json:"family_informed" validate:"required_if=Outcome signed" doc:"The family knows and understands."`
	Witness        uuid.UUID     `json:"witness,omitzero" validate:"required_if=Outcome signed" doc:"The member of staff who saw the signature."`
	ScanRef        string        `json:"scan_ref,omitempty" validate:"max=120"`
	Reason         string        `json:"reason,omitempty" validate:"required_if=Outcome declines,omitempty,oneof=personal family work fear_of_procedure illness other"`
	Note           seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f DonationConsent) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Reason, On: f.SignedOn}
}

// Clearance answers step 7; two people of the collection hospital sign it.
type Clearance struct {
	Outcome string        `json:"outcome" validate:"required,oneof=cleared not_cleared"`
	On      calendar.Date `json:"on" validate:"required"`
	Reason  string        `json:"reason,omitempty" validate:"required_if=Outcome not_cleared,omitempty,oneof=cardiovascular haematological infectious autoimmune malignancy pregnancy veins other"`
	Note    seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Clearance) Summary() Outcome { return Outcome{Code: f.Outcome, Reason: f.Reason, On: f.On} }

// Schedule answers step 8: a party confirms the window that is asked, or proposes another.
type Schedule struct {
	Outcome string    `json:"outcome" validate:"required,oneof=confirm propose cannot"`
	Window  *Window   `json:"window,omitempty" validate:"required_unless=Outcome cannot,omitempty" doc:"The window that is confirmed or proposed."`
	Reason  string    `json:"reason,omitempty" validate:"required_if=Outcome cannot,omitempty,oneof=donor_unavailable no_bed patient_not_ready no_courier other"`
	Note    seal.Note `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Schedule) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Reason, Window: f.Window}
}

// Conditioning (清髓) answers step 9, the point of no return.
type Conditioning struct {
	Outcome   string        `json:"outcome" validate:"required,oneof=started postponed cancelled"`
	StartedOn calendar.Date `json:"started_on,omitzero" validate:"required_if=Outcome started"`
	Reason    string        `json:"reason,omitempty" validate:"required_unless=Outcome started,omitempty,oneof=patient_infection patient_relapsed patient_died bed other"`
	Note      seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Conditioning) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Reason, On: f.StartedOn}
}

// Mobilisation (动员剂) answers one day of step 10.
type Mobilisation struct {
	Outcome    string        `json:"outcome" validate:"required,oneof=given stopped"`
	Day        int           `json:"day" validate:"required,min=1,max=6"`
	GivenOn    calendar.Date `json:"given_on" validate:"required"`
	Micrograms float64       `json:"micrograms,omitempty" validate:"required_if=Outcome given,omitempty,gt=0,lte=2000" doc:"G-CSF given, in µg."`
	WBC        float64       `json:"wbc,omitempty" validate:"omitempty,gt=0,lte=200" doc:"White cells, 10^9/l."`
	Adverse    string        `json:"adverse,omitempty" validate:"required_if=Outcome stopped,omitempty,oneof=bone_pain headache fever allergy spleen thrombosis other" doc:"An adverse event of this day."`
	Serious    bool          `json:"serious,omitempty" doc:"The event is serious (WMDA SEAR): it is reported the same day."`
	Note       seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Mobilisation) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Adverse, On: f.GivenOn, Day: f.Day, Adverse: f.Serious}
}

// Collection answers one day of step 11.
type Collection struct {
	Outcome     string        `json:"outcome" validate:"required,oneof=collected stopped"`
	Day         int           `json:"day" validate:"required,min=1,max=3"`
	CollectedOn calendar.Date `json:"collected_on" validate:"required"`
	VolumeML    float64       `json:"volume_ml,omitempty" validate:"required_if=Outcome collected,omitempty,gt=0,lte=1000"`
	CD34        float64       `json:"cd34,omitempty" validate:"required_if=Outcome collected,omitempty,gt=0,lte=5000" doc:"CD34+ cells of this day, total, in millions."`
	MNC         float64       `json:"mnc,omitempty" validate:"omitempty,gt=0,lte=5000" doc:"Mononuclear cells of this day, total, in 10^8."`
	Adverse     string        `json:"adverse,omitempty" validate:"required_if=Outcome stopped,omitempty,oneof=citrate bleeding vasovagal allergy thrombosis equipment other"`
	Serious     bool          `json:"serious,omitempty" doc:"The event is serious (WMDA SEAR): it is reported the same day."`
	Note        seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form. Whether the cells suffice depends on the patient's weight and is added by the register.
func (f Collection) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Adverse, On: f.CollectedOn, Day: f.Day, Adverse: f.Serious}
}

// Dispatch answers the first half of step 12: the product leaves with its courier.
type Dispatch struct {
	Outcome     string        `json:"outcome" validate:"required,oneof=handed_over"`
	On          calendar.Date `json:"on" validate:"required"`
	Courier     seal.Name     `json:"courier" validate:"required,max=60"`
	Box         string        `json:"box" validate:"required,max=40" doc:"The box's number."`
	Temperature float64       `json:"temperature" validate:"gte=-200,lte=60" doc:"Inside the box, °C."`
	Note        seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Dispatch) Summary() Outcome { return Outcome{Code: f.Outcome, On: f.On} }

// Receipt answers the second half of step 12.
type Receipt struct {
	Outcome        string        `json:"outcome" validate:"required,oneof=received lost"`
	On             calendar.Date `json:"on" validate:"required"`
	TemperatureMin float64       `json:"temperature_min" validate:"gte=-200,lte=60" doc:"The lowest on the way, °C."`
	TemperatureMax float64       `json:"temperature_max" validate:"gtefield=TemperatureMin,gte=-200,lte=60" doc:"The highest on the way, °C."`
	Intact         bool          `json:"intact" doc:"Bag and label are whole."`
	Note           seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form. Whether the temperatures were in range is added by the register, which knows the rules.
func (f Receipt) Summary() Outcome { return Outcome{Code: f.Outcome, On: f.On} }

// Quarantine decides about a product that arrived warm, frozen or damaged.
type Quarantine struct {
	Outcome string    `json:"outcome" validate:"required,oneof=release discard"`
	Reason  string    `json:"reason" validate:"required,oneof=viability_tested within_stability no_alternative contaminated not_viable damaged"`
	Note    seal.Note `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Quarantine) Summary() Outcome { return Outcome{Code: f.Outcome, Reason: f.Reason} }

// Infusion answers step 13.
type Infusion struct {
	Outcome string        `json:"outcome" validate:"required,oneof=infused not_used"`
	On      calendar.Date `json:"on" validate:"required"`
	Reason  string        `json:"reason,omitempty" validate:"required_if=Outcome not_used,omitempty,oneof=patient_died patient_unfit product_unfit other"`
	Note    seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Infusion) Summary() Outcome { return Outcome{Code: f.Outcome, Reason: f.Reason, On: f.On} }

// Thanks answers step 14.
type Thanks struct {
	Outcome     string        `json:"outcome" validate:"required,oneof=thanked"`
	On          calendar.Date `json:"on" validate:"required"`
	LeaveLetter bool          `json:"leave_letter" doc:"A letter for the donor's employer is issued too."`
	Honour      bool          `json:"honour" doc:"The donor is put forward for an honour."`
	Note        seal.Note     `json:"note,omitzero" validate:"max=2000"`
}

// Summary implements Form.
func (f Thanks) Summary() Outcome { return Outcome{Code: f.Outcome, On: f.On} }

// Emergency answers the path that opens when a donor withdraws, or cannot go on, after conditioning has begun.
type Emergency struct {
	Outcome string    `json:"outcome" validate:"required,oneof=donor_returns backup rescue" doc:"What saves the patient now: the donor comes back of their own will, a backup donor, or another rescue." class:"review" mask:"drop"`
	Reason  string    `json:"reason,omitempty" validate:"omitempty,oneof=cord_blood haploidentical autologous frozen_product other" class:"review" mask:"drop"`
	Note    seal.Note `json:"note,omitzero" validate:"max=2000" class:"review" mask:"drop"`
}

// Summary implements Form.
func (f Emergency) Summary() Outcome { return Outcome{Code: f.Outcome, Reason: f.Reason} }

// SafetyReport answers the clock of a serious adverse event (WMDA SEAR/SPEAR).
type SafetyReport struct {
	Outcome      string        `json:"outcome" validate:"required,oneof=reported not_serious"`
	On           calendar.Date `json:"on" validate:"required"`
	Harm         string        `json:"harm" validate:"required,oneof=donor product both none"`
	Imputability string        `json:"imputability" validate:"required,oneof=excluded unlikely possible likely certain not_assessable"`
	Reference    string        `json:"reference,omitempty" validate:"max=60" doc:"The reference of the report at WMDA or the authority."`
	Note         seal.Note     `json:"note,omitzero" validate:"max=4000"`
}

// Summary implements Form.
func (f SafetyReport) Summary() Outcome {
	return Outcome{Code: f.Outcome, Reason: f.Imputability, On: f.On}
}

// FollowUp (随访) answers one touch of a donor's care plan.
type FollowUp struct {
	Outcome string        `json:"outcome" validate:"required,oneof=answered unreachable opts_out"`
	On      calendar.Date `json:"on" validate:"required"`
	Health  string        `json:"health,omitempty" validate:"required_if=Outcome answered,omitempty,oneof=as_before minor_complaints worse"`
	Flags   []string      `json:"flags,omitempty" validate:"unique,max=8,dive,oneof=pain fever bleeding hospitalised new_malignancy autoimmune thrombosis psychological wants_call" doc:"What needs a person's attention; each alerts the office."`
	Note    seal.Note     `json:"note,omitzero" validate:"max=4000"`
}

// Summary implements Form.
func (f FollowUp) Summary() Outcome {
	return Outcome{Code: f.Outcome, On: f.On, Reason: f.Health, Flags: f.Flags}
}
