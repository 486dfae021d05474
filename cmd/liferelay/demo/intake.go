package demo

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/xuri/excelize/v2"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/intake"
	"github.com/liferelay/liferelay/registry/intake/intaketest"
)

// The sheet of the demo: 315 forms, as a real drive brought in, with this many of each fault.
const forms = 315

var faults = map[intaketest.Fault]int{
	intaketest.DamagedByExcel: 4, intaketest.Checksum: 3, intaketest.Length: 2, intaketest.Underage: 2, intaketest.Overage: 1, intaketest.BadPhone: 3,
	intaketest.NotSigned: 2, intaketest.FutureSigning: 1, intaketest.BarcodeTwice: 1, intaketest.BarcodeOutOfRange: 1, intaketest.SamePersonIdentical: 2,
	intaketest.SamePersonDiffering: 1, intaketest.SexMismatch: 4, intaketest.SharedPhone: 1, intaketest.RelativesPhone: 5, intaketest.NameWithDigits: 1,
	intaketest.UnknownFormVersion: 1, intaketest.MissingContacts: 2, intaketest.MissingPhone: 1, intaketest.UnmappedBloodGroup: 2,
}

// knownBefore is how many of the sheet's people had registered at the counter before the sheet came.
const knownBefore = 3

// What no mending helps: the person is too young or too old, or is in the sheet twice.
var hopeless = []intaketest.Fault{intaketest.Underage, intaketest.Overage, intaketest.SamePersonIdentical, intaketest.SamePersonDiffering}

// drive plans a drive, enters its sheet, mends what can be mended and enters that, and closes the drive.
func (d *Demo) drive(ctx context.Context) error {
	d.title("登记采样活动", "The drive")
	day := d.today.AddDays(-12) // the cooling-off has passed since
	sheet, err := intaketest.Plan{Seed: d.Options.Seed, Rows: forms, Faults: faults, Day: day, Today: d.today}.Sheet()
	if err != nil {
		return err
	}
	d.sheet = sheet
	d.remember(sheet)
	var drive registry.DriveView
	err = d.registrar.call(ctx, http.MethodPost, "/v1/drives", map[string]any{
		"name": "金陵学院秋季登记采样", "place": "金陵学院体育馆", "region": "320106", "laboratory": d.laboratory, "first_day": day, "last_day": day,
		"target": 300, "barcode_from": sheet.BarcodeFrom, "barcode_to": sheet.BarcodeTo,
	}, &drive)
	if err != nil {
		return err
	}
	d.driveID = drive.ID
	d.say("drive %s on %s, %d forms expected", drive.Number, day, forms)
	if err := d.atTheCounter(ctx); err != nil {
		return err
	}
	workbook, err := sheet.XLSX()
	if err != nil {
		return err
	}
	batch, err := d.upload(ctx, "登记表.xlsx", workbook)
	if err != nil {
		return err
	}
	d.Forms, d.Ready, d.Warnings, d.Errors = batch.Rows, batch.Verdicts["ready"], batch.Verdicts["warning"], batch.Verdicts["error"]
	d.Duplicates = batch.Verdicts["duplicate"] + batch.Verdicts["known"]
	d.say("checked: %d = %d ready + %d to confirm + %d wrong + %d twice + %d known already", batch.Rows, d.Ready, d.Warnings, d.Errors, batch.Verdicts["duplicate"], batch.Verdicts["known"])
	if err := d.compareVerdicts(batch); err != nil {
		return err
	}
	if err := d.showProblems(ctx, batch.ID); err != nil {
		return err
	}
	if batch, err = d.commit(ctx, batch, d.Options.KillWorker); err != nil {
		return err
	}
	d.say("committed: %s", counts(batch.Outcomes))
	if err := d.mend(ctx, batch); err != nil {
		return err
	}
	var after registry.DriveView
	if err := d.registrar.call(ctx, http.MethodGet, "/v1/drives/"+drive.ID.String(), nil, &after); err != nil {
		return err
	}
	d.Enrolled = after.Forms
	want := forms
	for _, f := range hopeless {
		want -= faults[f]
	}
	want -= faults[intaketest.SamePersonDiffering] // two rows each
	if d.Enrolled != want {
		return fmt.Errorf("%d volunteers are enrolled, and the sheet has %d who can be", d.Enrolled, want)
	}
	d.say("enrolled: %d of %d forms; %d stay out (too young, too old, in the sheet twice)", d.Enrolled, forms, forms-d.Enrolled)
	_, err = d.registrar.answer(ctx, "drive.closing", drive.ID, map[string]any{"outcome": "closed", "forms": after.Forms, "tubes": after.Tubes, "consents": after.Consents})
	return err
}

// remember notes the sheet's secrets: what may be found nowhere but in the register.
func (d *Demo) remember(sheet *intaketest.Sheet) {
	for _, rows := range [][][]string{sheet.Rows, sheet.Clean} {
		for _, row := range rows {
			for i, heading := range sheet.Headings {
				switch {
				case len(row[i]) < 6: // shorter texts occur by chance
				case strings.Contains(heading, "姓名"), strings.Contains(heading, "证件号码"), strings.Contains(heading, "电话"), strings.Contains(heading, "手机"):
					d.Secrets = append(d.Secrets, row[i])
				}
			}
		}
	}
	slices.Sort(d.Secrets)
	d.Secrets = slices.Compact(d.Secrets)
}

// atTheCounter registers some of the sheet's people before the sheet comes, without a sample.
func (d *Demo) atTheCounter(ctx context.Context) error {
	at := map[string]int{}
	for i, heading := range d.sheet.Headings {
		at[heading] = i
	}
	var list []map[string]any
	for i, row := range d.sheet.Rows {
		if d.sheet.Expect[i].Fault != "" || len(list) == knownBefore {
			continue
		}
		cell := func(heading string) string { return row[at[heading]] }
		list = append(list, map[string]any{
			"name": cell("姓名"), "document_number": cell("证件号码"), "phone": cell("手机号码"), "programmes": []string{"stemcell"}, "health_answered": true, "signed": true,
			"signed_on": cell("签署日期"), "on_paper": true,
			"contacts": []map[string]any{{"name": cell("联系人1姓名"), "phone": cell("联系人1电话")}, {"name": cell("联系人2姓名"), "phone": cell("联系人2电话")}},
		})
	}
	var out struct {
		Entries []registry.Entry `json:"entries"`
	}
	if err := d.registrar.call(ctx, http.MethodPost, "/v1/registrations", map[string]any{"drive": d.driveID, "forms": list}, &out); err != nil {
		return err
	}
	for _, e := range out.Entries {
		if e.Status != "created" {
			return fmt.Errorf("a form at the counter was %s: %+v", e.Status, e.Problems)
		}
	}
	d.say("%d forms entered at the counter before the sheet came", len(out.Entries))
	return nil
}

func (d *Demo) upload(ctx context.Context, name string, data []byte) (registry.BatchView, error) {
	var batch registry.BatchView
	q := url.Values{"drive": {d.driveID.String()}, "file_name": {name}, "expected": {fmt.Sprint(forms)}}
	err := d.registrar.call(ctx, http.MethodPost, "/v1/import-batches?"+q.Encode(), data, &batch)
	if err == nil && batch.Status != "checked" {
		err = fmt.Errorf("the sheet could not be checked: %+v", batch.FileProblems)
	}
	return batch, err
}

// compareVerdicts holds the verdicts against what the sheet was made to have.
func (d *Demo) compareVerdicts(b registry.BatchView) error {
	want := map[string]int{}
	for _, e := range d.sheet.Expect {
		want[string(e.Verdict)]++
	}
	want[string(intake.Ready)] -= knownBefore
	want[string(intake.Known)] = knownBefore
	for _, v := range []string{"ready", "warning", "error", "duplicate", "known"} {
		if b.Verdicts[v] != want[v] {
			return fmt.Errorf("%d rows are %s, and the sheet was made with %d", b.Verdicts[v], v, want[v])
		}
	}
	return nil
}

// showProblems prints a few of the problems as the registrar reads them.
func (d *Demo) showProblems(ctx context.Context, batch uuid.UUID) error {
	rows, err := list[registry.BatchRowView](ctx, d.registrar, "/v1/import-batches/"+batch.String()+"/rows?verdict=error")
	if err != nil {
		return err
	}
	shown := map[string]bool{}
	for _, r := range rows {
		if len(r.Problems) == 0 || shown[r.Problems[0].Code] || len(shown) == 4 {
			continue
		}
		p := r.Problems[0]
		shown[p.Code] = true
		d.say("  row %d, %s: %s %s", r.Row, p.Code, p.Is, p.Mend)
	}
	return nil
}

// midway is when the commit of the demo's sheet is under way: it takes several times as long.
const midway = 100 * time.Millisecond

// commit takes a batch's good rows into the register and waits; with kill, the worker dies in the middle of it.
func (d *Demo) commit(ctx context.Context, b registry.BatchView, kill bool) (registry.BatchView, error) {
	path := "/v1/import-batches/" + b.ID.String()
	if err := d.registrar.call(ctx, http.MethodPost, path+"/commit", map[string]any{"accept_warnings": true}, &b, ifMatch(b.Version)...); err != nil {
		return b, err
	}
	if kill {
		time.Sleep(midway)
		pid := d.worker.kill()
		if err := d.registrar.call(ctx, http.MethodGet, path, nil, &b); err != nil {
			return b, err
		}
		when := "in the middle of the commit"
		if b.Status == "committed" {
			when = "after the commit, which was quicker than the hand that kills"
		}
		d.say("kill -9 of the worker (process %d) %s", pid, when)
	}
	err := until(ctx, "the commit", func() (bool, error) {
		err := d.registrar.call(ctx, http.MethodGet, path, nil, &b)
		return b.Status == "committed", err
	})
	if err != nil {
		return b, err
	}
	sum := 0
	for _, n := range b.Outcomes {
		sum += n
	}
	if sum != b.Rows {
		return b, fmt.Errorf("%d outcomes for %d rows", sum, b.Rows)
	}
	return b, nil
}

// mend takes the annotated workbook, puts right what can be, and sends it in again.
func (d *Demo) mend(ctx context.Context, b registry.BatchView) error {
	var annotated []byte
	if err := d.registrar.call(ctx, http.MethodGet, "/v1/import-batches/"+b.ID.String()+"/result.xlsx", nil, &annotated); err != nil {
		return err
	}
	f, err := excelize.OpenReader(bytes.NewReader(annotated))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	mended := 0
	for i, e := range d.sheet.Expect {
		if e.Verdict != intake.Error || slices.Contains(hopeless, e.Fault) {
			continue
		}
		mended++
		for c, text := range d.sheet.Clean[i] {
			if d.sheet.Rows[i][c] == text {
				continue
			}
			name, err := excelize.CoordinatesToCellName(c+1, e.Row)
			if err != nil {
				return err
			}
			if err := f.SetCellStr(b.Sheet, name, text); err != nil {
				return err
			}
		}
	}
	var out bytes.Buffer
	if err := f.Write(&out); err != nil {
		return err
	}
	again, err := d.upload(ctx, "登记表-结果.xlsx", out.Bytes())
	if err != nil {
		return err
	}
	d.say("annotated workbook mended in %d rows and sent in again: %d rows left to try, %d untouched; %d of them ready now", mended, again.Rows, again.Settled, again.Verdicts["ready"])
	again, err = d.commit(ctx, again, false)
	if err != nil {
		return err
	}
	d.say("committed: %s", counts(again.Outcomes))
	return nil
}

func counts(m map[string]int) string {
	var out []string
	for _, name := range []string{"created", "updated", "linked", "unchanged", "skipped", "parked", "failed"} {
		if m[name] > 0 {
			out = append(out, fmt.Sprintf("%d %s", m[name], name))
		}
	}
	return strings.Join(out, ", ")
}

// laboratoryWork sends the tubes, signs for them, looks for the missing one, draws the rejected one again, and types. One
// volunteer withdraws before.
func (d *Demo) laboratoryWork(ctx context.Context) error {
	d.title("样本与分型", "Samples and typing")
	var box registry.ConsignmentView
	send := func() error {
		return d.registrar.call(ctx, http.MethodPost, "/v1/drives/"+d.driveID.String()+"/consignments", map[string]any{"to": d.laboratory}, &box)
	}
	if err := send(); err != nil {
		return err
	}
	tubes := slices.Clone(box.Barcodes) // box is read into again
	missing, rejected, withdrawn := tubes[4], tubes[9], tubes[len(tubes)-1]
	d.say("%s: %d tubes sent; one will be missing and one haemolysed", box.Number, len(tubes))
	receive := func(form map[string]any) error {
		return d.technician.call(ctx, http.MethodPost, "/v1/consignments/"+box.ID.String()+"/receive", form, &box, ifMatch(box.Version)...)
	}
	err := receive(map[string]any{"missing": []string{missing}, "rejected": []map[string]any{{"barcode": rejected, "reason": "haemolysed"}}})
	if err != nil {
		return err
	}
	if err := d.withdraw(ctx, withdrawn); err != nil {
		return err
	}
	if _, err := d.registrar.answer(ctx, "drive.missing_tube", d.driveID, map[string]any{"outcome": "found"}); err != nil {
		return err
	}
	d.say("alarm about tube %s: found in the other box", missing)
	const fresh = "NJ26R00001"
	if _, err := d.registrar.answer(ctx, "enrolment.redraw", uuid.Nil, map[string]any{"outcome": "redrawn", "barcode": fresh, "drawn_on": d.today.String()}); err != nil {
		return err
	}
	d.say("the haemolysed sample is drawn again as %s", fresh)
	if err := send(); err != nil {
		return err
	}
	if err := receive(map[string]any{}); err != nil {
		return err
	}
	typed := append(slices.DeleteFunc(slices.Clone(tubes), func(code string) bool { return code == rejected || code == withdrawn }), fresh)
	if err := d.typeTubes(ctx, typed); err != nil {
		return err
	}
	err = until(ctx, "the donors to be listed", func() (bool, error) {
		var drive registry.DriveView
		err := d.registrar.call(ctx, http.MethodGet, "/v1/drives/"+d.driveID.String(), nil, &drive)
		d.Listed = drive.Listed
		return drive.Listed == len(typed), err
	})
	if err != nil {
		return err
	}
	if d.Listed != d.Enrolled-1 {
		return fmt.Errorf("%d donors are listed of %d enrolled, of whom one withdrew", d.Listed, d.Enrolled)
	}
	d.say("listed (入库): %d donors", d.Listed)
	_, err = d.registrar.answer(ctx, "drive.report", d.driveID, map[string]any{"outcome": "reported", "media": 2})
	return err
}

// withdraw takes a volunteer's word back before the typing.
func (d *Demo) withdraw(ctx context.Context, barcode string) error {
	donors, err := list[registry.DonorLine](ctx, d.registrar, "/v1/donors?barcode="+barcode)
	if err != nil || len(donors) != 1 {
		return fmt.Errorf("the donor of tube %s: %d found, %w", barcode, len(donors), err)
	}
	var donor registry.DonorView
	path := "/v1/donors/" + donors[0].ID.String()
	if err := d.registrar.call(ctx, http.MethodGet, path, nil, &donor); err != nil {
		return err
	}
	if err := d.registrar.call(ctx, http.MethodPost, path+"/withdraw", map[string]any{"via": "phone"}, &donor, ifMatch(donor.Version)...); err != nil {
		return err
	}
	d.say("volunteer %s withdraws; the laboratory is told to destroy the sample", donor.Number)
	return nil
}

func (d *Demo) typeTubes(ctx context.Context, tubes []string) error {
	genotypes := typings(d.Options.Seed, len(tubes), 4)
	for start := 0; start < len(tubes); start += 100 {
		var reports []map[string]any
		for i, barcode := range tubes[start:min(start+100, len(tubes))] {
			reports = append(reports, map[string]any{"barcode": barcode, "gl": genotypes[start+i], "nomenclature": "3.57.0", "method": "NGS", "typed_on": d.today.String()})
		}
		var out struct {
			Results []registry.TypingResult `json:"results"`
		}
		if err := d.technician.call(ctx, http.MethodPost, "/v1/typings", map[string]any{"typings": reports}, &out); err != nil {
			return err
		}
		for _, r := range out.Results {
			if r.Status != "accepted" {
				return fmt.Errorf("the typing of %s was %s: %s", r.Barcode, r.Status, r.Code)
			}
		}
	}
	d.say("%d typings reported, five loci at two fields each", len(tubes))
	return nil
}
