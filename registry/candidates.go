package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/identity"
)

// CandidateView is a donor in a preliminary report (初配): how well they fit and what helps to choose, never who they are.
type CandidateView struct {
	ID          uuid.UUID      `json:"id" doc:"The registration, by which the donor is asked for." class:"search" mask:"drop"`
	Number      string         `json:"number" class:"search" mask:"drop"`
	Rank        int            `json:"rank" class:"search" mask:"drop"`
	Matched     int            `json:"matched" doc:"Copies that match for certain." class:"search" mask:"drop"`
	Possible    int            `json:"possible" doc:"Copies that match at the most." class:"search" mask:"drop"`
	Of          int            `json:"of" class:"search" mask:"drop"`
	Chance10    *float32       `json:"chance_10,omitempty" doc:"How likely all copies match, 0 to 1, under the loaded haplotype frequencies." class:"search" mask:"drop"`
	Chance9     *float32       `json:"chance_9,omitempty" doc:"How likely all copies but one match." class:"search" mask:"drop"`
	Grades      []LocusGrade   `json:"grades" class:"search" mask:"drop"`
	Change      string         `json:"change" doc:"Since the run before: new, changed (another grade), same, or lost." class:"search" mask:"drop"`
	Before      *CandidateThen `json:"before,omitempty" doc:"What the run before had of the donor." class:"search" mask:"drop"`
	AgeBand     string         `json:"age_band" doc:"Five years, such as 20-24." class:"search" mask:"band"`
	Sex         string         `json:"sex" class:"search" mask:"drop"`
	ABO         string         `json:"abo,omitempty" class:"search" mask:"drop"`
	Rh          string         `json:"rh,omitempty" class:"search" mask:"drop"`
	WeightBand  string         `json:"weight_band,omitempty" doc:"Ten kilograms, such as 60-69." class:"search" mask:"band"`
	Province    string         `json:"province" class:"search" mask:"province"`
	Distance    string         `json:"distance" doc:"From the hospital: province (the same), area (the same of the nation's six, by the codes' first digit) or far." class:"search" mask:"province"`
	LastContact calendar.Date  `json:"last_contact,omitzero" class:"search" mask:"drop"`
	Available   bool           `json:"available" doc:"Nobody else has asked for the donor." class:"search" mask:"drop"`
}

// CandidateThen is what an earlier run had of a candidate.
type CandidateThen struct {
	Rank     int `json:"rank" class:"search" mask:"drop"`
	Matched  int `json:"matched" class:"search" mask:"drop"`
	Possible int `json:"possible" class:"search" mask:"drop"`
}

// CandidateFilter narrows a report; the zero value of a field does not. It is no finer than what the report shows: ages are bands.
type CandidateFilter struct {
	Change    string      `json:"change,omitempty" validate:"omitempty,oneof=new changed same lost any found"`
	Donors    []uuid.UUID `json:"donors,omitempty" validate:"max=200,unique"`
	Matched   int         `json:"matched,omitempty" validate:"min=0,max=12"`
	Chance    float64     `json:"chance,omitempty" validate:"min=0,max=1"`
	AgeFrom   int         `json:"age_from,omitempty" validate:"min=0,max=100"`
	AgeTo     int         `json:"age_to,omitempty" validate:"min=0,max=100"`
	Sex       string      `json:"sex,omitempty" validate:"omitempty,oneof=male female"`
	ABO       string      `json:"abo,omitempty" validate:"omitempty,oneof=A B O AB"`
	Rh        string      `json:"rh,omitempty" validate:"omitempty,oneof=positive negative"`
	Distance  string      `json:"distance,omitempty" validate:"omitempty,oneof=province area far"`
	Available bool        `json:"available,omitempty"`
	AfterRank int         `json:"-"`
	Limit     int         `json:"-"`
}

const (
	// candidateChange is what became of a candidate c since the run before. lost is so for good; whether it was lost by the last run is lostNow's.
	candidateChange = `CASE WHEN c.change = 'lost' THEN 'lost' WHEN c.before_matched IS NULL THEN 'new'
		WHEN (c.before_matched, c.before_possible) IS DISTINCT FROM (c.matched, c.possible) THEN 'changed' ELSE 'same' END`
	lostNow = `(c.change = 'lost' AND c.lost_in = s.run AND c.before_matched IS NOT NULL)`
	// candidateCounts counts the candidates of a search s.
	candidateCounts = `SELECT count(*) FILTER (WHERE c.change <> 'lost') AS candidates, count(*) FILTER (WHERE ` + candidateChange + ` = 'new') AS new,
		count(*) FILTER (WHERE ` + candidateChange + ` = 'changed') AS changed, count(*) FILTER (WHERE ` + lostNow + `) AS lost FROM link.candidates c WHERE c.search_id = s.id`
	candidateDistance = `CASE WHEN left(r.region, 2) = left(s.region, 2) THEN 'province' WHEN left(r.region, 1) = left(s.region, 1) THEN 'area' ELSE 'far' END`
	candidateFree     = `r.status = 'listed' AND NOT EXISTS (SELECT FROM reservations v WHERE v.registration_id = r.id AND v.released_at IS NULL)`
	// ageBandOf is ageBand's lower end over five, for a person p.
	ageBandOf = `extract(year FROM age($4::date, p.birth_date))::int / 5`
)

// ListCandidates returns the candidates of a search that a filter leaves, by rank; those that were lost come last.
func (r *Reader) ListCandidates(ctx context.Context, actor Actor, search uuid.UUID, f CandidateFilter) ([]CandidateView, error) {
	var out []CandidateView
	err := r.act(ctx, actor, "ListCandidates", policy.ForSearch, func(ctx context.Context, a *act) error {
		v, err := a.readSearch(ctx, search)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Search, v.record()); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		rows, err := a.Query(ctx, `
			SELECT c.registration_id, r.number, c.rank, c.matched, c.possible, c.of, c.chance_10, c.chance_9, c.grades, `+candidateChange+`, c.before_rank, c.before_matched, c.before_possible,
				p.birth_date, coalesce(p.sex, ''), coalesce(p.abo, ''), coalesce(p.rh, ''), coalesce(p.weight_kg, 0), r.region, `+candidateDistance+`, coalesce(p.last_contact, r.registered_on), `+candidateFree+`
			FROM searches s JOIN link.candidates c ON c.search_id = s.id JOIN registrations r ON r.id = c.registration_id JOIN persons p ON p.id = r.person_id
			WHERE s.id = $1 AND c.rank > $2
				AND CASE $5 WHEN '' THEN true WHEN 'found' THEN c.change <> 'lost' WHEN 'lost' THEN `+lostNow+` WHEN 'any' THEN `+candidateChange+` IN ('new', 'changed') OR `+lostNow+` ELSE `+candidateChange+` = $5 END
				AND ($6::uuid[] IS NULL OR c.registration_id = ANY($6)) AND c.matched >= $7 AND ($8::real = 0 OR c.chance_10 >= $8)
				AND ($9 = 0 OR `+ageBandOf+` >= $9::int / 5) AND ($10 = 0 OR `+ageBandOf+` <= $10::int / 5)
				AND ($11 = '' OR p.sex = $11) AND ($12 = '' OR p.abo = $12) AND ($13 = '' OR p.rh = $13) AND ($14 = '' OR `+candidateDistance+` = $14)
				AND (NOT $15 OR c.change <> 'lost' AND `+candidateFree+`)
			ORDER BY c.rank LIMIT $3`,
			search, f.AfterRank, pageSize(f.Limit), a.today(), f.Change, f.Donors, f.Matched, f.Chance, f.AgeFrom, f.AgeTo, f.Sex, f.ABO, f.Rh, f.Distance, f.Available)
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, a.scanCandidate); err != nil {
			return err
		}
		a.noteShown(idsOf(out, func(c CandidateView) uuid.UUID { return c.ID }))
		return nil
	})
	return out, err
}

func (a *act) scanCandidate(row pgx.CollectableRow) (c CandidateView, err error) {
	var birth *calendar.Date // nobody knows it of somebody erased
	var region identity.Region
	var weight int
	var rank, matched, possible *int
	err = row.Scan(&c.ID, &c.Number, &c.Rank, &c.Matched, &c.Possible, &c.Of, &c.Chance10, &c.Chance9, &c.Grades, &c.Change, &rank, &matched, &possible,
		&birth, &c.Sex, &c.ABO, &c.Rh, &weight, &region, &c.Distance, &c.LastContact, &c.Available)
	c.Province = provinceOf(region).Name()
	if matched != nil && possible != nil && rank != nil {
		c.Before = &CandidateThen{*rank, *matched, *possible}
	}
	if c.Change == "lost" { // what was written of somebody who is no candidate any more is theirs again
		for i := range c.Grades {
			for j := range c.Grades[i].Positions {
				c.Grades[i].Positions[j].Donor = ""
			}
		}
	}
	if birth != nil {
		c.AgeBand = ageBand(birth.AgeOn(a.today()))
	}
	if weight > 0 {
		c.WeightBand = fmt.Sprintf("%d-%d", weight/10*10, weight/10*10+9)
	}
	return c, err
}

func ageBand(age int) string {
	low := age / 5 * 5
	return fmt.Sprintf("%d-%d", low, low+4)
}

// SearchesFilter narrows a list of searches, and one of patients.
type SearchesFilter struct {
	Status  string // open, requested, closed, or empty for all
	Patient uuid.UUID
	Number  string    // of the search, or of its patient
	After   uuid.UUID // for the next page: those before this one, for the newest come first
	Limit   int
}

// SearchLine is a search in a list.
type SearchLine struct {
	ID            uuid.UUID   `json:"id" class:"search" mask:"drop"`
	Number        string      `json:"number" class:"search" mask:"drop"`
	Patient       uuid.UUID   `json:"patient" class:"search" mask:"drop"`
	PatientNumber string      `json:"patient_number" class:"search" mask:"drop"`
	Urgency       string      `json:"urgency" class:"search" mask:"drop"`
	Policy        string      `json:"policy" class:"search" mask:"drop"`
	Status        string      `json:"status" class:"search" mask:"drop"`
	OpenedAt      time.Time   `json:"opened_at" class:"search" mask:"drop"`
	LastRunAt     *time.Time  `json:"last_run_at,omitempty" class:"search" mask:"drop"`
	Candidates    int         `json:"candidates" class:"search" mask:"drop"`
	New           int         `json:"new" doc:"Candidates whom the run before had not found." class:"search" mask:"drop"`
	Lost          int         `json:"lost" doc:"Candidates of the run before who fit no longer." class:"search" mask:"drop"`
	Choice        *ChoiceTask `json:"choice,omitempty" doc:"Where the hospital chooses, while it is asked to." class:"search" mask:"drop"`
}

// hospitals are the lists of what belongs to a hospital: its own, and all of them for the nation's bridge.
const hospitals = `(EXISTS (SELECT FROM unnest($3::text[], $4::text[]) x(lo, hi) WHERE o.region >= x.lo AND o.region < x.hi) OR $5 AND o.id = $6)`

// ListSearches returns the searches that the actor may read, the newest first.
func (r *Reader) ListSearches(ctx context.Context, actor Actor, f SearchesFilter) ([]SearchLine, error) {
	var out []SearchLine
	err := r.act(ctx, actor, "ListSearches", policy.ForSearch, func(ctx context.Context, a *act) error {
		if err := a.bothSides(ctx); err != nil {
			return err
		}
		within := a.reachOf(policy.Read, policy.Search)
		rows, err := a.Query(ctx, `
			SELECT s.id, s.number, p.id, p.number, p.urgency, s.policy, s.status, s.created_at, s.last_run_at, n.candidates, n.new, n.lost, t.id, t.due_at
			FROM searches s JOIN patients p ON p.id = s.patient_id JOIN organisations o ON o.id = s.organisation_id CROSS JOIN LATERAL (`+candidateCounts+`) n
				LEFT JOIN LATERAL (SELECT t.id, t.due_at FROM tasks t WHERE t.case_id = s.id AND t.step = 'search.choice' AND t.status = 'open' ORDER BY t.round DESC LIMIT 1) t ON true
			WHERE ($1::uuid IS NULL OR s.id < $1) AND `+hospitals+` AND ($7 = '' OR s.status = $7) AND ($8::uuid IS NULL OR s.patient_id = $8) AND ($9 = '' OR $9 IN (s.number, p.number))
			ORDER BY s.id DESC LIMIT $2`,
			null(f.After), pageSize(f.Limit), within.lo, within.hi, within.site, within.organisation, f.Status, null(f.Patient), f.Number)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l SearchLine, err error) {
			var task *uuid.UUID
			var due *time.Time
			err = row.Scan(&l.ID, &l.Number, &l.Patient, &l.PatientNumber, &l.Urgency, &l.Policy, &l.Status, &l.OpenedAt, &l.LastRunAt, &l.Candidates, &l.New, &l.Lost, &task, &due)
			if task != nil {
				l.Choice = &ChoiceTask{*task, *due}
			}
			return l, err
		})
		if err != nil {
			return err
		}
		return a.permitList(policy.Search, within, "searches", idsOf(out, func(l SearchLine) uuid.UUID { return l.ID }),
			a.narrowed("status", f.Status), a.narrowed("patient", textOf(f.Patient)), a.sought("number", f.Number))
	})
	return out, err
}

// PatientLine is a patient in a list.
type PatientLine struct {
	ID        uuid.UUID `json:"id" class:"patient" mask:"drop"`
	Number    string    `json:"number" class:"patient" mask:"drop"`
	BirthYear int       `json:"birth_year" class:"patient" mask:"year"`
	Sex       string    `json:"sex" class:"patient" mask:"drop"`
	Diagnosis string    `json:"diagnosis" class:"patient" mask:"drop"`
	Urgency   string    `json:"urgency" class:"patient" mask:"drop"`
	EnteredAt time.Time `json:"entered_at" class:"patient" mask:"drop"`
	Searches  int       `json:"searches" doc:"Searches for the patient that are not closed." class:"patient" mask:"drop"`
}

// ListPatients returns the patients that the actor may read, the newest first.
func (r *Reader) ListPatients(ctx context.Context, actor Actor, f SearchesFilter) ([]PatientLine, error) {
	var out []PatientLine
	err := r.act(ctx, actor, "ListPatients", policy.ForSearch, func(ctx context.Context, a *act) error {
		if err := a.bothSides(ctx); err != nil {
			return err
		}
		within := a.reachOf(policy.Read, policy.Patient)
		rows, err := a.Query(ctx, `
			SELECT p.id, p.number, p.birth_year, p.sex, p.diagnosis, p.urgency, p.created_at, (SELECT count(*) FROM searches s WHERE s.patient_id = p.id AND s.status <> 'closed')
			FROM patients p JOIN organisations o ON o.id = p.organisation_id
			WHERE ($1::uuid IS NULL OR p.id < $1) AND `+hospitals+` AND ($7 = '' OR p.number = $7)
			ORDER BY p.id DESC LIMIT $2`,
			null(f.After), pageSize(f.Limit), within.lo, within.hi, within.site, within.organisation, f.Number)
		if err != nil {
			return err
		}
		if out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[PatientLine]); err != nil {
			return err
		}
		return a.permitList(policy.Patient, within, "patients", idsOf(out, func(l PatientLine) uuid.UUID { return l.ID }), a.sought("number", f.Number))
	})
	return out, err
}
