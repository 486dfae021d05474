package rules

// Key names a rule.
type Key string

// The rules that the packs state. Their meaning is in the pack, beside the value and its source.
const (
	DeskClosing      Key = "desk.closing"          // when a working day ends
	DeskRemind       Key = "desk.remind"           // reminders, counted from the due day
	DeskEscalate     Key = "desk.escalate"         // one rung up the region tree each, counted from the due day
	DeskLeadUrgent   Key = "desk.lead.urgent"      // how much earlier in the list a task is for an urgent patient
	DeskLeadCritical Key = "desk.lead.critical"    // and for one in danger
	DeskLease        Key = "desk.lease"            // how long a task is one person's before it must be renewed
	DeskMoreTime     Key = "desk.more_time.max"    // how much more time whoever answers a task may give themselves at once
	DeskMoreTimes    Key = "desk.more_time.times"  // and how often; beyond it a supervisor decides
	DeskPause        Key = "desk.pause.max"        // how long a clock may stand still
	DeskPauses       Key = "desk.pause.times"      // and how often
	DeskHandover     Key = "desk.handover.expires" // how long an offered case waits for an answer
	DeskHandoverRead Key = "desk.handover.reads"   // how long the office that gave a case away goes on reading

	DeskReopen          Key = "desk.reopen.alone"         // how long after an answer who carries the case may open its step again alone
	DeskMedianOf        Key = "desk.median.of"            // cases that a median is told of at the least
	AttachmentMegabytes Key = "desk.attachment.megabytes" // of one paper

	IntakeUndo        Key = "intake.undo"             // how long a batch can be undone
	IntakeSecondEntry Key = "intake.second_entry"     // of a hundred paper forms, how many somebody else enters again
	IntakeProbes      Key = "intake.probes_an_hour"   // questions of one person whether the register knows somebody
	IntakeOwnKept     Key = "intake.own_form.kept"    // how long a volunteer's own form waits before it is destroyed
	IntakeOwnDrive    Key = "intake.own_form.drive"   // changes to own forms of one drive in an hour
	IntakeOwnAddress  Key = "intake.own_form.address" // the same from one network address: a college may have one for all

	AccessDonorsADay    Key = "access.donors_a_day"    // different donors that one person opens in a day
	AccessRevealsAnHour Key = "access.reveals_an_hour" // reveals of one person in an hour, beyond which somebody is told
	AccessEmergency     Key = "access.emergency"       // how long emergency access lasts
	AccessReview        Key = "access.review"          // when its review is due
	AccessShare         Key = "access.share"           // how long a donor may be shared with another office
	AccessExportRows    Key = "access.export_rows"     // registrations that one export has at most
	AccessInventoryRows Key = "access.inventory_rows"  // donors that one inventory has at most
	AccessExportWaits   Key = "access.export_waits"    // how long an export in clear waits for somebody's decision
	AccessExportLasts   Key = "access.export_lasts"    // how long it can be fetched once it was approved
	AccessBulk          Key = "access.bulk_rows"       // records from which on an export is one of many at once, for who reads the audit
	AccessNightFrom     Key = "access.night.from"      // from when on looking at somebody is looking at night, for who reads the audit …
	AccessNightTo       Key = "access.night.to"        // … and until when

	AccessProbesAnHour Key = "access.probes_an_hour"  // searches of one person in an hour that find nothing, or look for somebody by a part of what is known
	ContactFrom        Key = "contact.from"           // the time of day from which a donor may be called
	ContactUntil       Key = "contact.until"          // and until which
	ContactsADay       Key = "contact.attempts_a_day" // attempts to reach a donor in a day, beyond which one waits for the next

	StemCellAgeMin            Key = "stemcell.enrolment.age.min"
	StemCellAgeMax            Key = "stemcell.enrolment.age.max"
	StemCellLeavesAt          Key = "stemcell.leaves.age"
	StemCellCoolingOff        Key = "stemcell.enrolment.cooling_off"
	StemCellContacts          Key = "stemcell.enrolment.contacts"
	StemCellSampleDue         Key = "stemcell.enrolment.sample.due"
	StemCellTypingDue         Key = "stemcell.enrolment.typing.due"
	StemCellCheckIn           Key = "stemcell.checkin"
	StemCellRemobilisation    Key = "stemcell.remobilisation.due"
	StemCellAttempts          Key = "stemcell.remobilisation.attempts"
	StemCellAttemptDays       Key = "stemcell.remobilisation.attempt_days"
	StemCellNeedsTime         Key = "stemcell.remobilisation.needs_time"
	StemCellSample            Key = "stemcell.confirmatory_sample.due"
	StemCellSampleMax         Key = "stemcell.confirmatory_sample.max"
	StemCellTyping            Key = "stemcell.confirmatory_typing.due"
	StemCellReservation       Key = "stemcell.reservation.requested"
	StemCellReservationSample Key = "stemcell.reservation.sampled"
	StemCellExamination       Key = "stemcell.physical_examination.due"
	StemCellConsent           Key = "stemcell.donation_consent.due"
	StemCellClearance         Key = "stemcell.clearance.due"
	StemCellClearanceSigners  Key = "stemcell.clearance.signers"
	StemCellClearanceValid    Key = "stemcell.clearance.valid"
	StemCellSchedule          Key = "stemcell.schedule.due"
	StemCellMobilisationMin   Key = "stemcell.mobilisation.days.min"
	StemCellMobilisationMax   Key = "stemcell.mobilisation.days.max"
	StemCellCollectionDays    Key = "stemcell.collection.days"
	StemCellCD34              Key = "stemcell.collection.cd34"
	StemCellTransport         Key = "stemcell.transport.due"
	StemCellTransportMin      Key = "stemcell.transport.temperature.min"
	StemCellTransportMax      Key = "stemcell.transport.temperature.max"
	StemCellInfusion          Key = "stemcell.infusion.due"
	StemCellThanks            Key = "stemcell.thanks.due"
	StemCellCandidates        Key = "stemcell.candidates.max"
	StemCellChoice            Key = "stemcell.candidates.due"
	StemCellRerun             Key = "stemcell.search.rerun"
	StemCellSafety            Key = "stemcell.safety.due"
	StemCellEmergency         Key = "stemcell.emergency.due"
	StemCellPBSC              Key = "stemcell.second.pbsc"
	StemCellFollowUp          Key = "stemcell.followup.schedule"
	StemCellFollowUpWindow    Key = "stemcell.followup.window"

	NoticeQuietFrom  Key = "outside.quiet.from"  // from then on nobody is disturbed …
	NoticeQuietUntil Key = "outside.quiet.until" // … until then
	NoticeDigest     Key = "outside.digest"      // when the day's digest goes out
	NoticeAttempts   Key = "outside.attempts"    // after so many a delivery is dead
	NoticeStale      Key = "outside.stale"       // what has not left by then is of no use any more

	DriveClose  Key = "drive.close.due"
	DriveSend   Key = "drive.send.due"
	DriveReport Key = "drive.report.due"
	DriveAlarm  Key = "drive.missing_tube.due"
	DriveRedraw Key = "drive.redraw.due"

	RightsMax          Key = "rights.answer.max"       // the last day on which a request about one's own data may be answered
	RightsIdentity     Key = "rights.identity.due"     // who asks is who they say
	RightsAnswer       Key = "rights.answer.due"       // the office's own clock for the decision, counted from the filing
	RightsCarrying     Key = "rights.carrying_out.due" // what was granted is done
	RightsTelling      Key = "rights.telling.due"      // the person is told
	RightsCopy         Key = "rights.copy.kept"        // how long a copy can be fetched
	RightsKeepDonation Key = "rights.keep.donation"    // records of a collection
	RightsKeepSample   Key = "rights.keep.sample"      // the trace of a sample
	RightsKeepConsent  Key = "rights.keep.consent"     // that somebody agreed, and took it back
	RightsKeepRequest  Key = "rights.keep.request"     // what was asked and answered about data
	RightsKeepAudit    Key = "rights.keep.audit"       // who looked

	OrganAgeMin  Key = "organ.registration.age.min"
	CorneaAgeMin Key = "cornea.registration.age.min"
	BodyAgeMin   Key = "body.registration.age.min"
	BloodAgeMin  Key = "blood.registration.age.min"
	BloodAgeMax  Key = "blood.registration.age.max"
)

// spec is what the catalogue demands of a rule: its units, whether it is a row of values, and in which direction a
// region may change it (1: only upwards, -1: only downwards, 0: freely, because neither is stricter).
type spec struct {
	units    []Unit
	many     bool
	stricter int
}

var (
	span     = []Unit{Hours, Days, WorkingDays}
	anySpan  = []Unit{Days, WorkingDays, Months, Years}
	age      = []Unit{Years}
	number   = []Unit{Count}
	deadline = spec{units: span}
)

var catalogue = map[Key]spec{
	DeskClosing:  {units: []Unit{ClockTime}},
	DeskRemind:   {units: span, many: true},
	DeskEscalate: {units: span, many: true},

	DeskReopen:          {units: []Unit{Hours}, stricter: -1},
	DeskMedianOf:        {units: number, stricter: 1},
	AttachmentMegabytes: {units: number, stricter: -1},
	DeskLeadUrgent:      {units: []Unit{WorkingDays}, stricter: 1},
	DeskLeadCritical:    {units: []Unit{WorkingDays}, stricter: 1},
	DeskLease:           {units: []Unit{Minutes}, stricter: -1},
	DeskMoreTime:        {units: []Unit{WorkingDays}, stricter: -1},
	DeskMoreTimes:       {units: number, stricter: -1},
	DeskPause:           {units: []Unit{WorkingDays}, stricter: -1},
	DeskPauses:          {units: number, stricter: -1},
	DeskHandover:        {units: []Unit{Hours}, stricter: -1},
	DeskHandoverRead:    {units: []Unit{Days}, stricter: -1},

	IntakeUndo:        {units: []Unit{Hours}},
	IntakeSecondEntry: {units: number, stricter: 1},
	IntakeProbes:      {units: number, stricter: -1},
	IntakeOwnKept:     {units: []Unit{Hours}, stricter: -1},
	IntakeOwnDrive:    {units: number, stricter: -1},
	IntakeOwnAddress:  {units: number, stricter: -1},

	NoticeQuietFrom:  {units: []Unit{ClockTime}, stricter: -1},
	NoticeQuietUntil: {units: []Unit{ClockTime}, stricter: 1},
	NoticeDigest:     {units: []Unit{ClockTime}},
	NoticeAttempts:   {units: number},
	NoticeStale:      {units: []Unit{Hours, Days}},

	AccessDonorsADay:    {units: number, stricter: -1},
	AccessRevealsAnHour: {units: number, stricter: -1},
	AccessEmergency:     {units: []Unit{Hours}, stricter: -1},
	AccessReview:        {units: []Unit{Days, WorkingDays}, stricter: -1},
	AccessShare:         {units: []Unit{Days}, stricter: -1},
	AccessExportRows:    {units: number, stricter: -1},
	AccessInventoryRows: {units: number, stricter: -1},
	AccessExportWaits:   {units: []Unit{Hours, Days}, stricter: -1},
	AccessExportLasts:   {units: []Unit{Hours}, stricter: -1},
	AccessBulk:          {units: number, stricter: -1},
	AccessNightFrom:     {units: []Unit{ClockTime}, stricter: -1},
	AccessNightTo:       {units: []Unit{ClockTime}, stricter: 1},

	AccessProbesAnHour: {units: number, stricter: -1},
	ContactFrom:        {units: []Unit{ClockTime}, stricter: 1},
	ContactUntil:       {units: []Unit{ClockTime}, stricter: -1},
	ContactsADay:       {units: number, stricter: -1},

	StemCellAgeMin:            {units: age, stricter: 1},
	StemCellAgeMax:            {units: age, stricter: -1},
	StemCellLeavesAt:          {units: age, stricter: -1},
	StemCellCoolingOff:        {units: []Unit{Days}, stricter: 1},
	StemCellContacts:          {units: number, stricter: 1},
	StemCellSampleDue:         deadline,
	StemCellTypingDue:         deadline,
	StemCellCheckIn:           {units: anySpan},
	StemCellRemobilisation:    deadline,
	StemCellAttempts:          {units: number, stricter: 1},
	StemCellAttemptDays:       {units: number, stricter: 1},
	StemCellNeedsTime:         deadline,
	StemCellSample:            deadline,
	StemCellSampleMax:         {units: []Unit{Millilitres}, stricter: -1},
	StemCellTyping:            deadline,
	StemCellReservation:       {units: span, stricter: -1},
	StemCellReservationSample: {units: span, stricter: -1},
	StemCellExamination:       deadline,
	StemCellConsent:           deadline,
	StemCellClearance:         deadline,
	StemCellClearanceSigners:  {units: number, stricter: 1},
	StemCellClearanceValid:    {units: span, stricter: -1},
	StemCellSchedule:          deadline,
	StemCellMobilisationMin:   {units: number},
	StemCellMobilisationMax:   {units: number, stricter: -1},
	StemCellCollectionDays:    {units: number, stricter: -1},
	StemCellCD34:              {units: []Unit{CellsPerKg}, stricter: 1},
	StemCellTransport:         deadline,
	StemCellTransportMin:      {units: []Unit{Celsius}, stricter: 1},
	StemCellTransportMax:      {units: []Unit{Celsius}, stricter: -1},
	StemCellInfusion:          deadline,
	StemCellThanks:            deadline,
	StemCellCandidates:        {units: number, stricter: -1},
	StemCellChoice:            deadline,
	StemCellRerun:             {units: []Unit{Hours, Days}},
	StemCellSafety:            deadline,
	StemCellEmergency:         deadline,
	StemCellPBSC:              {units: anySpan, stricter: 1},
	StemCellFollowUp:          {units: anySpan, many: true},
	StemCellFollowUpWindow:    {units: span},

	DriveClose:  deadline,
	DriveSend:   deadline,
	DriveReport: deadline,
	DriveAlarm:  deadline,
	DriveRedraw: deadline,

	RightsMax:          {units: []Unit{Days}, stricter: -1},
	RightsIdentity:     deadline,
	RightsAnswer:       deadline,
	RightsCarrying:     deadline,
	RightsTelling:      deadline,
	RightsCopy:         {units: []Unit{Days}, stricter: -1},
	RightsKeepDonation: {units: age},
	RightsKeepSample:   {units: age},
	RightsKeepConsent:  {units: age},
	RightsKeepRequest:  {units: age},
	RightsKeepAudit:    {units: age},

	OrganAgeMin:  {units: age, stricter: 1},
	CorneaAgeMin: {units: age, stricter: 1},
	BodyAgeMin:   {units: age, stricter: 1},
	BloodAgeMin:  {units: age, stricter: 1},
	BloodAgeMax:  {units: age, stricter: -1},
}
