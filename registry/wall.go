package registry

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/identity"
)

// The second wall. A connection owns nothing: outside of an act it is dbService, which sees no person, and each act becomes
// another role for its transaction. Row policies (migrations/00006_second_wall.sql) let through only what lies in the regions and
// at the office that the act says it is for. What the act says comes from the actor and the grants, never from a request, so a
// method of ours that forgets to ask the policy, or asks it wrongly, still gives nobody another region's rows.

// The roles of the database, see the migration.
const (
	dbService  = "liferelay_service"
	dbRegister = "liferelay_register"
	dbIntake   = "liferelay_intake"
	dbLink     = "liferelay_link"
	dbAudit    = "liferelay_audit"
	dbSystem   = "liferelay_system"
)

// door is how an act goes through the wall when it needs more than a staff member's own rows.
type door struct {
	role string
	// everywhere: the act meets rows of other regions. It is for acts that show none of them.
	everywhere bool
	why        string
}

// doors lists the acts that need one. An act that is not here is dbRegister and reaches what its actor's grants and office do.
var doors = map[string]door{
	"UploadBatch":    {dbIntake, true, "a person is registered once in the country: a row is held against everybody"},
	"CheckBatch":     {dbIntake, true, "as UploadBatch"},
	"PatchRow":       {dbIntake, true, "as UploadBatch"},
	"CommitRows":     {dbIntake, true, "as UploadBatch"},
	"ImportChunk":    {dbIntake, true, "as UploadBatch; undoing removes what the batch made, wherever it went since"},
	"StartCommit":    {dbIntake, true, "as UploadBatch"},
	"CancelBatch":    {dbIntake, true, "as UploadBatch"},
	"RetryBatch":     {dbIntake, true, "as UploadBatch"},
	"StartUndo":      {dbIntake, true, "as ImportChunk"},
	"Register":       {dbIntake, true, "as UploadBatch"},
	"MendGroup":      {dbIntake, true, "as UploadBatch"},
	"EnterPaper":     {dbIntake, true, "as UploadBatch"},
	"SettlePaper":    {dbIntake, true, "as UploadBatch"},
	"TakeOwnForm":    {dbIntake, true, "as UploadBatch"},
	"Probe":          {dbIntake, true, "as UploadBatch; says whether somebody is registered, and nothing else of them"},
	"SweepBatch":     {dbSystem, true, "the system's own"},
	"ErasePerson":    {dbSystem, true, "what is destroyed is destroyed wherever it lies"},
	"ErasePatient":   {dbSystem, true, "as ErasePerson"},
	"StartRotation":  {dbSystem, true, "keys are everybody's"},
	"BeginRotation":  {dbSystem, true, "as StartRotation"},
	"RotateChunk":    {dbSystem, true, "as StartRotation"},
	"ListKeys":       {dbSystem, true, "as StartRotation; counts rows"},
	"RetireKey":      {dbSystem, true, "as StartRotation"},
	"ListRows":       {dbIntake, false, "reads the staged rows of a batch"},
	"ShowBatch":      {dbIntake, false, "as ListRows"},
	"ListBatches":    {dbIntake, false, "as ListRows"},
	"LookIntoBatch":  {dbIntake, false, "as ListRows"},
	"ListGroups":     {dbIntake, false, "as ListRows"},
	"ListActivity":   {dbIntake, false, "as ListRows"},
	"OpenPaper":      {dbIntake, false, "as ListRows"},
	"ShowPaper":      {dbIntake, false, "as ListRows"},
	"ChooseSecond":   {dbIntake, false, "as ListRows"},
	"EnterSecond":    {dbIntake, false, "as ListRows"},
	"ComparePaper":   {dbIntake, false, "as ListRows"},
	"ClosePaper":     {dbIntake, false, "as ListRows"},
	"ReopenPaper":    {dbIntake, false, "as ListRows"},
	"DriveBoard":     {dbIntake, false, "counts the rows of a drive's batches"},
	"BatchOfFile":    {dbIntake, false, "as ListRows"},
	"ResultWorkbook": {dbIntake, false, "as ListRows"},
	"Template":       {dbIntake, false, "as ListRows"},

	"DecideDuplicate": {dbIntake, true, "as UploadBatch, for a row that waited; who may not know of both is refused by the policy, and nothing is shown"},
	"CompareBatch":    {dbSystem, true, "the system's own: whoever came in is held against everybody"},

	"ProposeAnswer":  {dbLink, true, "an answer is held against both sides of its case; it shows what was answered"},
	"SettleAnswer":   {dbLink, true, "moves a case whose two sides lie in two regions; shows where it went"},
	"AdvanceCase":    {dbLink, true, "as SettleAnswer"},
	"ReopenStep":     {dbLink, true, "as SettleAnswer"},
	"PreviewReopen":  {dbLink, true, "does what ReopenStep does, and takes it back"},
	"CloseSearch":    {dbLink, true, "lets every case of the search hear of it"},
	"AddAttempt":     {dbLink, false, "a note is sealed with the key of its side's person"},
	"AddAttachment":  {dbLink, false, "as AddAttempt"},
	"WriteMessage":   {dbLink, true, "a text is held against everything that either side is known by; shows the writer's own words"},
	"ListMessages":   {dbLink, false, "what the sides wrote to each other"},
	"HeldMessages":   {dbLink, false, "as ListMessages"},
	"ListReviews":    {dbLink, false, "as ListMessages"},
	"ReviewMessage":  {dbLink, false, "as ListMessages"},
	"PromoteBackup":  {dbLink, true, "as SettleAnswer"},
	"RunSearch":      {dbLink, true, "compares with every listed donor"},
	"Standing":       {dbLink, true, "as RunSearch, for every open search"},
	"LoadSearch":     {dbLink, true, "the protocol's own"},
	"LoadStemCell":   {dbLink, true, "the protocol's own"},
	"OpenEmergency":  {dbLink, true, "the protocol's own"},
	"OpenSearch":     {dbLink, false, "counts the candidates that there are"},
	"ShowSearch":     {dbLink, false, "the hospital's requests and candidates"},
	"ListSearches":   {dbLink, false, "counts the candidates of each; the nation's bridge reaches every hospital's (bothSides)"},
	"ListPatients":   {dbLink, false, "as ListSearches"},
	"ListCandidates": {dbLink, false, "the hospital's candidates"},
	"WhyCandidate":   {dbLink, false, "the hospital's candidates beside its patient; the nation's bridge reaches both sides (bothSides)"},
	"ShowCase":       {dbLink, false, "the number by which each side knows the other"},
	"ShowCasePage":   {dbLink, false, "as ShowCase"},
	"ShowReopenable": {dbLink, false, "as ShowCase"},
	"VisitCase":      {dbLink, false, "as ShowCase"},
	"ShowStepPage":   {dbLink, false, "whose key seals what, as AddAttempt"},

	"OfferHandover":    {dbLink, false, "what was promised is sealed with the key of the donor's side"},
	"ShowHandover":     {dbLink, false, "as OfferHandover"},
	"AcceptHandover":   {dbLink, true, "moves a case, and its donor, to an office that did not reach it; shows the handover that was offered to it"},
	"DeclineHandover":  {dbLink, true, "as AcceptHandover"},
	"WithdrawHandover": {dbLink, false, "as OfferHandover"},

	"ReportTypings":   {dbRegister, true, "a barcode is known or not wherever the tube came from; shows what became of each report"},
	"ReviewTypings":   {dbRegister, true, "reads every typing there is, by two nomenclatures; shows counts"},
	"ReceiveTubes":    {dbRegister, true, "the tubes are the drive's; shows the box"},
	"Withdraw":        {dbRegister, true, "the samples of who withdraws are destroyed, wherever they are"},
	"BreakGlass":      {dbRegister, true, "finds one registration by its number, once the policy has decided, and tells offices of other regions; shows the lease"},
	"Statistics":      {dbRegister, true, "small numbers are held against those of every other region; it shows numbers of the actor's regions, no record"},
	"StatisticsSheet": {dbRegister, true, "as Statistics"},
	"MergeDonors":     {dbRegister, true, "the office above both may lie above neither's samples and cases; shows what it was told to do"},
	"UnmergeDonors":   {dbRegister, true, "as MergeDonors"},

	"ListAudit":          {dbAudit, false, "the audit is read by itself"},
	"VerifyAudit":        {dbAudit, false, "as ListAudit"},
	"ExportAudit":        {dbAudit, false, "as ListAudit"},
	"NewestHead":         {dbAudit, false, "as ListAudit"},
	"WhoLookedAtCase":    {dbAudit, false, "the audit is read by itself; of a case that the actor reaches"},
	"WhoLooked":          {dbAudit, true, "auditors reach no donor by place; it shows rows of the audit, and only of donors in whose region the policy allows it"},
	"DryRunRule":         {dbRegister, true, "counts tasks and donors of a region; shows counts"},
	"PreviewCalendarDay": {dbRegister, true, "as DryRunRule"},
	"ReadHealth":         {dbAudit, true, "counts what waits in the whole installation; shows counts"},

	"ShowAudit":         {dbAudit, false, "as ListAudit"},
	"ShowChain":         {dbAudit, false, "as ListAudit"},
	"StartVerification": {dbAudit, false, "as ListAudit"},
	"CompareSurnames":   {dbAudit, true, "auditors reach no donor by place; it holds a donor's surname against that of who looked, and shows rows of the audit"},
	"SimulatePolicy":    {dbAudit, true, "holds a member of staff against a record that the actor knows from the audit; shows what the policy says, and no record"},
}

// doorOf is how an act of an actor goes through the wall. Protocols and operators are the system: they meet every row, and the
// policy says what they may do with it.
func doorOf(actor Actor, name string) door {
	d, ok := doors[name]
	if !ok {
		d = door{role: dbRegister}
	}
	d.everywhere = d.everywhere || actor.policySubject() == policy.System
	return d
}

// setReach are the settings that the row policies read, for one transaction.
const setReach = `SELECT set_config('liferelay.reach', $1, true), set_config('liferelay.office', $2, true), set_config('liferelay.staff', $3, true),
	set_config('liferelay.everywhere', $4, true), set_config('role', $5, true), set_config('liferelay.watch', $6, true),
	set_config('liferelay.shared', $7, true), set_config('liferelay.team', $8, true), set_config('liferelay.drive', $9, true)`

// setPlans is for acts whose statements take longer to plan than to run, and run alike whatever their parameters.
const setPlans = `, set_config('plan_cache_mode', 'force_generic_plan', true)`

// reachSettings are setReach's parameters for an act.
func (a *act) reachSettings(p *policy.Policy) []any {
	d := doorOf(a.actor, a.name)
	everywhere, office, staff := "", "", ""
	if d.everywhere {
		everywhere = "on"
	}
	if a.actor.staff != [16]byte{} {
		office, staff = a.actor.organisation.String(), a.actor.staff.String()
	}
	drive := ""
	if a.actor.drive != [16]byte{} {
		drive = a.actor.drive.String()
	}
	if p == nil {
		return []any{"{}", office, staff, everywhere, d.role, "{}", "", "", drive}
	}
	subject := a.actor.policySubject()
	shared, team := "", ""
	if p.Reaches(subject, policy.Referred) {
		shared = office
	}
	if p.Reaches(subject, policy.Team) {
		team = staff
	}
	return []any{rangesOf(p.Places(subject)), office, staff, everywhere, d.role, rangesOf(p.Watches(subject)), shared, team, drive}
}

// rangesOf are regions as PostgreSQL reads a multirange of their codes.
func rangesOf(regions []string) string {
	var out []string
	for _, region := range regions {
		lo, hi := identity.Region(region).Range()
		out = append(out, fmt.Sprintf(`["%s","%s")`, lo, hi))
	}
	return "{" + strings.Join(out, ",") + "}"
}

// as does a part of an act as another role than the act's own, where only that part needs it. An error ends the act.
func (a *act) as(ctx context.Context, role string, do func() error) error {
	const become = `SELECT set_config('role', $1, true)`
	if _, err := a.Exec(ctx, become, role); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	_, err := a.Exec(ctx, become, doorOf(a.actor, a.name).role)
	return err
}

// bothSides lets an act of the nation's bridge reach every row from then on: a search lies with its hospital, and a bridge is of none. The
// grants say who that is, as for everything that the wall lets through, and the policy decides about each record all the same.
func (a *act) bothSides(ctx context.Context) error {
	if !a.policy.Holds(a.actor.policySubject(), policy.Bridge, []string{string(nation)}) {
		return nil
	}
	_, err := a.Exec(ctx, `SELECT set_config('liferelay.everywhere', 'on', true)`)
	return err
}

// internally runs do in a transaction of the system's own, for what the desk does with codes and ids and shows to nobody.
func (r *Reader) internally(ctx context.Context, do func(pgx.Tx) error) error {
	return translate(pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, setReach, "{}", "", "", "on", dbRegister, "{}", "", "", ""); err != nil {
			return err
		}
		return do(tx)
	}))
}
