package registry

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
)

// step is what the register knows about one step of a protocol: the form that answers it, what the register adds to
// the form's outcome, and what an accepted answer writes. Who is asked and what follows is the protocol's to say.
type step struct {
	form   func() any
	enrich func(context.Context, *act, taskRow, forms.Form, *forms.Outcome) error
	record func(context.Context, *act, caseRow, taskRow, forms.Form, forms.Outcome) error
	// duty is what answering the step makes of somebody, beyond what the seat does (duties.go).
	duty policy.Duty
	// afterWithdrawal lets the step be answered although the donor has withdrawn.
	afterWithdrawal bool
}

func formOf[F any]() func() any { return func() any { return new(F) } }

// steps is the table of all steps. It is filled in init because the functions it names read it.
var steps map[string]step

func init() {
	steps = map[string]step{
		"enrolment.sample_chase": {form: formOf[forms.Chase]()},
		"enrolment.typing_chase": {form: formOf[forms.Chase]()},
		"enrolment.redraw":       {form: formOf[forms.Redraw](), record: recordRedraw},

		"drive.closing":      {form: formOf[forms.DriveClosing](), record: recordDriveClosing},
		"drive.sending":      {form: formOf[forms.Chase]()},
		"drive.missing_tube": {form: formOf[forms.MissingTube](), record: recordMissingTube},
		"drive.report":       {form: formOf[forms.DriveReport](), record: recordDriveReport},

		"search.choice": {form: formOf[forms.Choice](), record: recordChoice},

		"stemcell.standby":              {form: formOf[forms.HospitalDecision]()},
		"stemcell.remobilisation":       {form: formOf[forms.Remobilisation](), record: recordRemobilisation},
		"stemcell.sample_booking":       {form: formOf[forms.SampleBooking](), record: recordSampleBooking},
		"stemcell.confirmatory_sample":  {form: formOf[forms.ConfirmatorySample](), record: recordConfirmatorySample},
		"stemcell.confirmatory_typing":  {form: formOf[forms.ConfirmatoryTyping](), record: recordConfirmatoryTyping},
		"stemcell.hospital_decision":    {form: formOf[forms.HospitalDecision]()},
		"stemcell.physical_examination": {form: formOf[forms.PhysicalExamination](), record: recordExamination},
		"stemcell.donation_consent":     {form: formOf[forms.DonationConsent](), record: recordDonationConsent},
		"stemcell.clearance":            {form: formOf[forms.Clearance](), enrich: enrichClearance, record: recordClearance, duty: policy.ClearDonor},
		"stemcell.schedule":             {form: formOf[forms.Schedule]()},
		"stemcell.conditioning":         {form: formOf[forms.Conditioning](), record: recordConditioning},
		"stemcell.mobilisation":         {form: formOf[forms.Mobilisation](), record: recordAdverse, afterWithdrawal: true},
		"stemcell.collection":           {form: formOf[forms.Collection](), enrich: enrichCollection, record: recordCollection, afterWithdrawal: true},
		"stemcell.dispatch":             {form: formOf[forms.Dispatch](), afterWithdrawal: true},
		"stemcell.receipt":              {form: formOf[forms.Receipt](), enrich: enrichReceipt, afterWithdrawal: true},
		"stemcell.quarantine":           {form: formOf[forms.Quarantine](), afterWithdrawal: true},
		"stemcell.infusion":             {form: formOf[forms.Infusion](), afterWithdrawal: true},
		"stemcell.thanks":               {form: formOf[forms.Thanks](), record: recordThanks, afterWithdrawal: true},
		"stemcell.emergency":            {form: formOf[forms.Emergency](), afterWithdrawal: true},

		"safety.report": {form: formOf[forms.SafetyReport]()},

		"rights.identity":     {form: formOf[forms.RightsIdentity](), enrich: enrichIdentity, record: recordIdentity},
		"rights.decision":     {form: formOf[forms.RightsDecision](), enrich: enrichDecision, record: recordRightsDecision},
		"rights.carrying_out": {form: formOf[forms.RightsCarryingOut](), record: recordCarryingOut},
		"rights.telling":      {form: formOf[forms.RightsTelling](), record: recordTelling},

		"care.follow_up": {form: formOf[forms.FollowUp](), record: recordFollowUp},
	}
}

// Steps lists the names of all steps that are asked, for the schemas of their forms.
func Steps() []string { return slices.Sorted(maps.Keys(steps)) }

// StepForm is an empty form of a step, for its schema.
func StepForm(name string) any { return reflect.ValueOf(steps[name].form()).Elem().Interface() }
