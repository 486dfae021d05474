package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry"
	"github.com/liferelay/liferelay/registry/calendar"
)

// wishes enters what does not come on a stem-cell sheet: wishes for organs, corneas and the body, a refusal, blood
// sign-ups.
func (d *Demo) wishes(ctx context.Context) error {
	d.title("其他项目登记", "Registrations of the other programmes")
	form := func(n int, name string, more map[string]any) map[string]any {
		f := map[string]any{"name": name, "document_number": residentNumber(n), "phone": fmt.Sprintf("1390000%04d", n), "signed": true, "signed_on": d.today.String(), "on_paper": true}
		for k, v := range more {
			f[k] = v
		}
		return f
	}
	forms := []map[string]any{
		form(11, "周拟安", map[string]any{"programmes": []string{"organ", "cornea"}, "organs": []string{"all"}}),
		form(12, "吴样宁", map[string]any{"programmes": []string{"body"}}),
		form(13, "郑演川", map[string]any{"programmes": []string{"organ", "cornea", "body"}, "intent": "refusal"}),
		form(14, "王例禾", map[string]any{"programmes": []string{"blood"}, "health_answered": true, "abo": "O"}),
		form(15, "冯拟远", map[string]any{"programmes": []string{"blood"}, "health_answered": true, "abo": "A"}),
	}
	for _, f := range forms {
		d.Secrets = append(d.Secrets, f["name"].(string), f["document_number"].(string), f["phone"].(string))
	}
	var out struct {
		Entries []registry.Entry `json:"entries"`
	}
	if err := d.registrar.call(ctx, http.MethodPost, "/v1/registrations", map[string]any{"forms": forms}, &out); err != nil {
		return err
	}
	n := 0
	for i, e := range out.Entries {
		if e.Status != "created" {
			return fmt.Errorf("form %d was %s: %+v", i+1, e.Status, e.Problems)
		}
		n += len(e.Donors)
	}
	d.say("5 forms by hand: %d registrations for organ, cornea, body and blood, one of them a refusal that nobody can override", n)
	return nil
}

// residentNumber makes a valid number that belongs to nobody: people of 1985 in a district that has no such serial.
func residentNumber(n int) string {
	body := fmt.Sprintf("32010619850101%03d", n)
	weights, sum := []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}, 0
	for i, w := range weights {
		sum += int(body[i]-'0') * w
	}
	return body + string("10X98765432"[sum%11])
}

// search: a hospital enters a patient, gets its preliminary report, and asks for a primary donor and two backups. Another
// hospital asks for the same donor at the same time.
func (d *Demo) search(ctx context.Context) error {
	d.title("检索与初配", "Search")
	patient := func(p *person) (registry.SearchView, []registry.CandidateView, error) {
		var entered registry.PatientView
		var s registry.SearchView
		err := p.call(ctx, http.MethodPost, "/v1/patients", map[string]any{
			"birth_year": d.today.Year() - 9, "sex": "female", "diagnosis": "C91.0", "weight_kg": 28, "abo": "O", "rh": "positive", "urgency": "urgent",
			"gl": genotype(haplotypes[1].name, haplotypes[3].name), "nomenclature": "3.57.0", "consent_on": d.today.String(),
		}, &entered)
		if err == nil {
			err = p.call(ctx, http.MethodPost, "/v1/searches", map[string]any{"patient": entered.ID, "policy": "9/10"}, &s)
		}
		if err != nil {
			return s, nil, err
		}
		// The report is there when the hospital is asked to choose.
		if _, err := p.task(ctx, "search.choice", s.ID); err != nil {
			return s, nil, err
		}
		found, err := list[registry.CandidateView](ctx, p, "/v1/searches/"+s.ID.String()+"/candidates")
		return s, found, err
	}
	s, found, err := patient(d.transplant)
	if err != nil {
		return err
	}
	d.Candidates = len(found)
	d.say("patient %s: %d candidates", s.Number, len(found))
	for i, c := range found[:min(3, len(found))] {
		d.say("  %d. donor %s  %d/%d  %s, %s, %s", i+1, c.Number, c.Matched, c.Of, c.Sex, c.AgeBand, c.Province)
	}
	if len(found) < 3 {
		return fmt.Errorf("%d candidates are too few for a primary and two backups", len(found))
	}
	other, _, err := patient(d.rival)
	if err != nil {
		return err
	}
	chosen := []uuid.UUID{found[0].ID, found[1].ID, found[2].ID}
	if _, err := d.transplant.answer(ctx, "search.choice", s.ID, map[string]any{"outcome": "request", "donors": chosen}); err != nil {
		return err
	}
	d.say("asked for donor %s, with %s and %s as backups", found[0].Number, found[1].Number, found[2].Number)
	_, err = d.rival.answer(ctx, "search.choice", other.ID, map[string]any{"outcome": "request", "donors": chosen[:1]})
	var refused *refusedError
	if !errors.As(err, &refused) || refused.Code != "donor_reserved" && refused.Code != "donor_unavailable" {
		return fmt.Errorf("another hospital asked for the same donor and was not refused: %v", err)
	}
	d.say("the other hospital asks for the same donor: %s", refused.Detail)
	d.searchID = s.ID
	return nil
}

// stemCell carries the primary donor's case through its fourteen steps.
func (d *Demo) stemCell(ctx context.Context) error {
	d.title("造血干细胞个案", "Stem-cell case")
	requests, err := d.requests(ctx)
	if err != nil {
		return err
	}
	primary := requests[0].Case
	d.say("case %s opened; the coordinator calls the donor", requests[0].Number)
	if err := d.call(ctx, primary); err != nil {
		return err
	}
	day := func(n int) string { return d.today.AddDays(n).String() }
	window := map[string]any{"conditioning": day(9), "mobilisation": day(13), "collection": day(17)}
	confirm := map[string]any{"outcome": "confirm", "window": window}
	var me struct {
		Staff uuid.UUID `json:"staff"`
	}
	if err := d.registrar.call(ctx, http.MethodGet, "/v1/session", nil, &me); err != nil {
		return err
	}
	type step struct {
		by   *person
		name string
		form map[string]any
		pass time.Duration // what passes before it
	}
	const days = 24 * time.Hour
	steps := []step{
		{d.coordinator, "stemcell.remobilisation", map[string]any{"outcome": "willing"}, 0},
		{d.coordinator, "stemcell.sample_booking", map[string]any{"outcome": "booked", "hospital": d.collection, "laboratory": d.laboratory, "on": day(0)}, 0},
		{d.collector, "stemcell.confirmatory_sample", map[string]any{"outcome": "drawn", "barcode": "CONF000001", "millilitres": 8, "drawn_on": day(0)}, 0},
		{d.technician, "stemcell.confirmatory_typing", map[string]any{"outcome": "typed", "gl": genotype(haplotypes[1].name, haplotypes[3].name), "nomenclature": "3.57.0", "method": "NGS", "typed_on": day(3)}, 3 * days},
		{d.transplant, "stemcell.hospital_decision", map[string]any{"outcome": "use"}, 0},
		{d.collector, "stemcell.physical_examination", map[string]any{"outcome": "fit", "examined_on": day(5), "weight_kg": 64}, 2 * days},
		{d.coordinator, "stemcell.donation_consent", map[string]any{"outcome": "signed", "version": "HSD-2024", "signed_on": day(5), "family_informed": true, "witness": me.Staff}, 0},
		{d.collector, "stemcell.clearance", map[string]any{"outcome": "cleared", "on": day(5)}, 0},
		{d.second, "stemcell.clearance", map[string]any{"outcome": "cleared", "on": day(5)}, 0},
		{d.transplant, "stemcell.schedule", map[string]any{"outcome": "propose", "window": window}, 0},
		{d.coordinator, "stemcell.schedule", confirm, 0}, {d.collector, "stemcell.schedule", confirm, 0},
		{d.transplant, "stemcell.schedule", confirm, 0}, {d.coordinator, "stemcell.schedule", confirm, 0},
		{d.transplant, "stemcell.conditioning", map[string]any{"outcome": "started", "started_on": day(9)}, 4 * days},
		{d.collector, "stemcell.mobilisation", map[string]any{"outcome": "given", "day": 1, "given_on": day(13), "micrograms": 600, "wbc": 9.1}, 4 * days},
		{d.collector, "stemcell.mobilisation", map[string]any{"outcome": "given", "day": 2, "given_on": day(14), "micrograms": 600, "wbc": 24.0}, days},
		{d.collector, "stemcell.mobilisation", map[string]any{"outcome": "given", "day": 3, "given_on": day(15), "micrograms": 600, "wbc": 38.5}, days},
		{d.collector, "stemcell.mobilisation", map[string]any{"outcome": "given", "day": 4, "given_on": day(16), "micrograms": 600, "wbc": 47.2}, days},
		{d.collector, "stemcell.collection", map[string]any{"outcome": "collected", "day": 1, "collected_on": day(17), "volume_ml": 176, "cd34": 196, "mnc": 312}, days},
		{d.collector, "stemcell.dispatch", map[string]any{"outcome": "handed_over", "on": day(17), "courier": "孙样舟", "box": "BOX-07", "temperature": 4}, 0},
		{d.transplant, "stemcell.receipt", map[string]any{"outcome": "received", "on": day(17), "temperature_min": 3, "temperature_max": 6, "intact": true}, 0},
		{d.transplant, "stemcell.infusion", map[string]any{"outcome": "infused", "on": day(17)}, 0},
		{d.coordinator, "stemcell.thanks", map[string]any{"outcome": "thanked", "on": day(22), "leave_letter": true}, 5 * days},
	}
	d.Secrets = append(d.Secrets, "孙样舟")
	for _, s := range steps {
		if s.pass > 0 {
			if err := d.desk.FastForward(ctx, registry.StemCellProtocol, primary, s.pass); err != nil {
				return err
			}
		}
		moved, err := s.by.answer(ctx, s.name, primary, s.form)
		if err != nil {
			return err
		}
		where := moved.Step
		if moved.Ended {
			where = "ended: " + moved.Ending
			d.Case = moved.Ending
		}
		d.say("  %-12s %-32s → %s", s.by.name, s.name, where)
	}
	if d.Case != "infused" {
		return fmt.Errorf("the case ended with %q", d.Case)
	}
	// The backups are free again as soon as the search hears of it.
	return until(ctx, "the backups to be released", func() (bool, error) {
		requests, err := d.requests(ctx)
		if err != nil || requests[1].Status == "open" || requests[2].Status == "open" {
			return false, err
		}
		d.say("the backups %s and %s are free again", requests[1].Donor, requests[2].Donor)
		return true, nil
	})
}

// call reveals the donor's phone, for a reason that is written down, and logs the attempt.
func (d *Demo) call(ctx context.Context, id uuid.UUID) error {
	var v registry.CaseView
	if err := d.coordinator.call(ctx, http.MethodGet, "/v1/cases/"+id.String(), nil, &v); err != nil {
		return err
	}
	var donor registry.DonorView
	if err := d.coordinator.call(ctx, http.MethodGet, "/v1/donors/"+v.DonorID.String(), nil, &donor); err != nil {
		return err
	}
	var shown registry.Revealed
	if err := d.coordinator.call(ctx, http.MethodPost, "/v1/donors/"+v.DonorID.String()+"/reveal", map[string]any{"field": "phone", "reason": "call_donor"}, &shown); err != nil {
		return err
	}
	if shown.Phone == "" {
		return errors.New("the donor's phone was not shown")
	}
	d.say("  %s, phone %s on the page and shown for the call", donor.Identity.Name.Display, donor.Contact.Phone.Display)
	attempt := map[string]any{"at": time.Now().UTC(), "channel": "phone", "whom": "donor", "result": "reached"}
	if err := d.coordinator.call(ctx, http.MethodPost, "/v1/cases/"+id.String()+"/attempts", attempt, nil); err != nil {
		return err
	}
	// The other side of the double blind learns nothing of it.
	var refused *refusedError
	err := d.transplant.call(ctx, http.MethodPost, "/v1/donors/"+v.DonorID.String()+"/reveal", map[string]any{"class": "contact", "reason": "call_donor"}, nil)
	if !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		return fmt.Errorf("the transplant hospital was not refused the donor's contact: %v", err)
	}
	return nil
}

// requests reads the donors that the hospital asked for, the primary first.
func (d *Demo) requests(ctx context.Context) ([]registry.RequestLine, error) {
	var s registry.SearchView
	err := d.transplant.call(ctx, http.MethodGet, "/v1/searches/"+d.searchID.String(), nil, &s)
	if err == nil && len(s.Requests) != 3 {
		err = fmt.Errorf("%d donors are asked for", len(s.Requests))
	}
	return s.Requests, err
}

// followUp keeps touch with the donor for ten years.
func (d *Demo) followUp(ctx context.Context) error {
	d.title("随访十年", "Ten years of follow-up")
	var plan registry.CaseLine
	err := until(ctx, "the care plan", func() (bool, error) {
		plans, err := list[registry.CaseLine](ctx, d.coordinator, "/v1/cases?protocol=care&status=open")
		if len(plans) == 1 {
			plan = plans[0]
		}
		return len(plans) == 1, err
	})
	if err != nil {
		return err
	}
	collected := d.today.AddDays(17)
	var due []calendar.Date
	for _, n := range []int{1, 7} {
		due = append(due, collected.AddDays(n))
	}
	for _, n := range []int{1, 3, 6} {
		due = append(due, collected.AddMonths(n))
	}
	for n := 1; n <= 10; n++ {
		due = append(due, collected.AddYears(n))
	}
	for i, on := range due {
		now, err := d.desk.Now(ctx, registry.CareProtocol, plan.ID)
		if err != nil {
			return err
		}
		if err := d.desk.FastForward(ctx, registry.CareProtocol, plan.ID, on.Start(registry.Zone).Add(10*time.Hour).Sub(now)); err != nil {
			return err
		}
		form := map[string]any{"outcome": "answered", "on": on.String(), "health": "as_before"}
		if i == 1 {
			form["health"], form["flags"] = "minor_complaints", []string{"pain"}
		}
		if _, err := d.coordinator.answer(ctx, "care.follow_up", plan.ID, form); err != nil {
			return err
		}
		d.FollowUps++
		if i < 5 || i == len(due)-1 {
			d.say("  %s: asked and answered", on)
		}
	}
	return until(ctx, "the end of the plan", func() (bool, error) {
		var v registry.CaseView
		err := d.coordinator.call(ctx, http.MethodGet, "/v1/cases/"+plan.ID.String(), nil, &v)
		return v.Ending == "completed", err
	})
}
