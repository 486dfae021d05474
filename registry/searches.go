package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/forms"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/match"
	"github.com/liferelay/liferelay/registry/rules"
)

// PatientView is a patient as their own hospital sees them.
type PatientView struct {
	ID           uuid.UUID `json:"id" class:"patient" mask:"drop"`
	Number       string    `json:"number" class:"patient" mask:"drop"`
	BirthYear    int       `json:"birth_year" class:"patient" mask:"year"`
	Sex          string    `json:"sex" class:"patient" mask:"drop"`
	Diagnosis    string    `json:"diagnosis" class:"patient" mask:"drop"`
	WeightKG     float64   `json:"weight_kg" class:"patient" mask:"drop"`
	ABO          string    `json:"abo,omitempty" class:"patient" mask:"drop"`
	Rh           string    `json:"rh,omitempty" class:"patient" mask:"drop"`
	CMV          string    `json:"cmv,omitempty" class:"patient" mask:"drop"`
	Urgency      string    `json:"urgency" class:"patient" mask:"drop"`
	GL           string    `json:"gl" class:"patient" mask:"drop"`
	Nomenclature string    `json:"nomenclature" class:"patient" mask:"drop"`
	Version      int64     `json:"version" class:"open" mask:"none"`
}

// AddPatient enters a patient of the actor's hospital, under a pseudonym.
func (s *Store) AddPatient(ctx context.Context, actor Actor, f forms.Patient) (PatientView, error) {
	var out PatientView
	library, err := s.nomenclature(ctx)
	if err != nil {
		return out, err
	}
	err = s.act(ctx, actor, "AddPatient", policy.ForSearch, func(ctx context.Context, a *act) error {
		id := newID()
		if err := a.permit(policy.Write, policy.Patient, record{kind: "patient", id: id.String(), region: actor.region, sites: []uuid.UUID{actor.organisation}}); err != nil {
			return err
		}
		problems := forms.Check(f)
		if len(problems) == 0 && f.ConsentOn.After(a.today()) {
			problems = forms.Problems{{Code: "R138", Field: "consent_on", Args: map[string]any{"Today": a.today().String()}}}
		}
		if len(problems) > 0 {
			return invalid(problems)
		}
		typing, problems := readTyping(library, "gl", f.GL, f.Nomenclature)
		if len(problems) > 0 {
			return invalid(problems)
		}
		number, err := a.number(ctx, "PT")
		if err != nil {
			return err
		}
		key, wrapped, err := a.keys.NewKey(keyCell(id))
		if err != nil {
			return err
		}
		reference, err := key.Seal(cell("patients", "reference", id), f.Reference.Reveal())
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `
			INSERT INTO patients (id, number, organisation_id, reference_sealed, birth_year, sex, diagnosis, weight_kg, abo, rh, cmv, urgency, gl_string, nomenclature, consent_on, key_wrapped)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, nullif($9, ''), nullif($10, ''), nullif($11, ''), $12, $13, $14, $15, $16)`,
			id, number, actor.organisation, reference, f.BirthYear, string(f.Sex), f.Diagnosis, f.WeightKG, string(f.ABO), string(f.Rh), f.CMV, f.Urgency, typing.String(), f.Nomenclature, f.ConsentOn, wrapped)
		if err != nil {
			return err
		}
		out, _, err = a.readPatient(ctx, id)
		return err
	})
	return out, err
}

func (a *act) readPatient(ctx context.Context, id uuid.UUID) (PatientView, uuid.UUID, error) {
	var v PatientView
	var hospital uuid.UUID
	err := a.QueryRow(ctx, `
		SELECT id, number, birth_year, sex, diagnosis, weight_kg, coalesce(abo, ''), coalesce(rh, ''), coalesce(cmv, ''), urgency, gl_string, nomenclature, version, organisation_id
		FROM patients WHERE id = $1`, id).
		Scan(&v.ID, &v.Number, &v.BirthYear, &v.Sex, &v.Diagnosis, &v.WeightKG, &v.ABO, &v.Rh, &v.CMV, &v.Urgency, &v.GL, &v.Nomenclature, &v.Version, &hospital)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, hospital, a.absent("patient", id)
	}
	return v, hospital, err
}

// ShowPatient returns a patient of the actor's hospital.
func (r *Reader) ShowPatient(ctx context.Context, actor Actor, id uuid.UUID) (PatientView, error) {
	var out PatientView
	err := r.act(ctx, actor, "ShowPatient", policy.ForSearch, func(ctx context.Context, a *act) error {
		v, hospital, err := a.readPatient(ctx, id)
		if err != nil {
			return err
		}
		out = v
		return a.permit(policy.Read, policy.Patient, record{kind: "patient", id: id.String(), sites: []uuid.UUID{hospital}})
	})
	return out, err
}

// SearchForm opens a search for a patient.
type SearchForm struct {
	Patient uuid.UUID `json:"patient" validate:"required"`
	Policy  string    `json:"policy,omitempty" validate:"omitempty,matchpolicy" doc:"Which mismatches are allowed, over which loci; 9/10 when left out."`
	// What helps to choose between donors who fit.
	Ranking []string     `json:"ranking,omitempty" validate:"omitempty,unique,dive,oneof=mismatches least chance10 chance9 age sex same_sex blood weight contact" doc:"The order of the candidates: the first criterion in which two differ decides. When left out: mismatches, chance10, chance9, least, age, sex, blood, weight, contact."`
	Filter  SearchFilter `json:"filter,omitzero" doc:"Narrows the candidates; what is not known of a donor does not pass a filter that asks for it."`
}

// SearchFilter narrows the candidates of a search.
type SearchFilter struct {
	AgeFrom   int      `json:"age_from,omitempty" validate:"min=0,max=100"`
	AgeTo     int      `json:"age_to,omitempty" validate:"min=0,max=100"`
	Sex       string   `json:"sex,omitempty" validate:"omitempty,oneof=male female"`
	ABO       []string `json:"abo,omitempty" validate:"omitempty,unique,dive,oneof=A B O AB"`
	Rh        string   `json:"rh,omitempty" validate:"omitempty,oneof=positive negative"`
	Provinces []string `json:"provinces,omitempty" validate:"omitempty,max=40,unique,dive,numeric,len=2" doc:"The first two digits of their codes."`
	Least     int      `json:"least,omitempty" validate:"min=0,max=12" doc:"How many copies have to match for certain."`
}

// filter is the form as the engine takes it. Check has judged the words.
func (f SearchFilter) filter() match.Filter {
	out := match.Filter{AgeFrom: f.AgeFrom, AgeTo: f.AgeTo, Least: f.Least}
	out.Sex, _ = match.ParseSex(f.Sex)
	out.Rh, _ = match.ParseSign(f.Rh)
	for _, word := range f.ABO {
		if group, err := match.ParseABO(word); err == nil {
			out.ABO = append(out.ABO, group)
		}
	}
	for _, code := range f.Provinces {
		if n, err := strconv.Atoi(code); err == nil {
			out.Provinces = append(out.Provinces, n)
		}
	}
	return out
}

// SearchView is a search as its hospital sees it.
type SearchView struct {
	ID         uuid.UUID       `json:"id" class:"search" mask:"drop"`
	Number     string          `json:"number" class:"search" mask:"drop"`
	Patient    uuid.UUID       `json:"patient" class:"search" mask:"drop"`
	Policy     string          `json:"policy" class:"search" mask:"drop"`
	Status     string          `json:"status" class:"search" mask:"drop"`
	Run        int             `json:"run" class:"search" mask:"drop"`
	Compared   int             `json:"compared" class:"search" mask:"drop"`
	Unread     int             `json:"unread" doc:"Donors whose typing the last run could not read: they were not compared." class:"search" mask:"drop"`
	LastRunAt  *time.Time      `json:"last_run_at,omitempty" class:"search" mask:"drop"`
	Candidates int             `json:"candidates" class:"search" mask:"drop"`
	New        int             `json:"new" doc:"Candidates whom the run before had not found." class:"search" mask:"drop"`
	Changed    int             `json:"changed" doc:"Candidates of whom the run before had another grade." class:"search" mask:"drop"`
	Lost       int             `json:"lost" doc:"Candidates of the run before who fit no longer." class:"search" mask:"drop"`
	Choice     *ChoiceTask     `json:"choice,omitempty" doc:"Where the hospital chooses, while it is asked to." class:"search" mask:"drop"`
	Most       int             `json:"most" doc:"How many donors may be asked for at once." class:"search" mask:"drop"`
	Requests   []RequestLine   `json:"requests" doc:"The donors that were asked for, by rank: the primary first." class:"search" mask:"drop"`
	Version    int64           `json:"version" class:"open" mask:"none"`
	Hospital   uuid.UUID       `json:"-"`
	Region     identity.Region `json:"-"`
}

// ChoiceTask is the open task by which donors of a search are asked for.
type ChoiceTask struct {
	ID    uuid.UUID `json:"id" class:"search" mask:"drop"`
	DueAt time.Time `json:"due_at" class:"search" mask:"drop"`
}

// RequestLine is a donor that a hospital asked for, and the case that carries them.
type RequestLine struct {
	Donor  string    `json:"donor" doc:"The donor's number." class:"search" mask:"drop"`
	Rank   int       `json:"rank" class:"search" mask:"drop"`
	Case   uuid.UUID `json:"case" class:"search" mask:"drop"`
	Number string    `json:"number" class:"search" mask:"drop"`
	Status string    `json:"status" class:"search" mask:"drop"`
	Step   string    `json:"step" class:"search" mask:"drop"`
	Ending string    `json:"ending,omitempty" class:"search" mask:"drop"`
}

// OpenSearch opens a search and starts its protocol.
func (s *Store) OpenSearch(ctx context.Context, actor Actor, f SearchForm) (SearchView, error) {
	var out SearchView
	library, err := s.nomenclature(ctx)
	if err != nil {
		return out, err
	}
	err = s.act(ctx, actor, "OpenSearch", policy.ForSearch, func(ctx context.Context, a *act) error {
		id := newID()
		if err := a.permit(policy.Write, policy.Search, record{kind: "search", id: id.String(), region: actor.region, sites: []uuid.UUID{actor.organisation}}); err != nil {
			return err
		}
		if problems := forms.Check(f); len(problems) > 0 {
			return invalid(problems)
		}
		patient, hospital, err := a.readPatient(ctx, f.Patient)
		if err != nil {
			return err
		}
		if hospital != actor.organisation {
			return a.absent("patient", id)
		}
		if f.Policy == "" {
			f.Policy = "9/10"
		}
		typing, err := library.Reader(patient.Nomenclature).Read(patient.GL)
		if err != nil {
			return err
		}
		fit, _ := match.Named(f.Policy)
		if untyped := lacking(typing, fit.Loci...); len(untyped) > 0 {
			return invalid(forms.Problems{{Code: "R143", Field: "patient", Args: map[string]any{"Loci": lociText(untyped)}}})
		}
		number, err := a.number(ctx, "SR")
		if err != nil {
			return err
		}
		_, err = a.Exec(ctx, `INSERT INTO searches (id, number, patient_id, organisation_id, region, policy, options, status) VALUES ($1, $2, $3, $4, $5, $6, $7, 'open')`,
			id, number, f.Patient, actor.organisation, string(actor.region), f.Policy, SearchOptions{f.Ranking, f.Filter})
		if err != nil {
			return err
		}
		err = a.openCase(ctx, caseRow{ID: id, Number: number, Protocol: SearchProtocol, Subject: id, Region: actor.region, Organisation: actor.organisation, Step: "search.running"},
			map[string]seat{SeatTransplant: {"patient", actor.organisation}})
		if err != nil {
			return err
		}
		a.event(Event{Code: "search.opened", CaseID: id, SearchID: id, Args: map[string]any{"Policy": f.Policy}})
		a.hear(string(SearchProtocol), "opened", id)
		out, err = a.readSearch(ctx, id)
		return err
	})
	return out, err
}

func (a *act) readSearch(ctx context.Context, id uuid.UUID) (SearchView, error) {
	var v SearchView
	var task *uuid.UUID
	var due *time.Time
	err := a.QueryRow(ctx, `
		SELECT s.id, s.number, s.patient_id, s.policy, s.status, s.run, s.compared, s.unread, s.last_run_at, n.candidates, n.new, n.changed, n.lost, t.id, t.due_at, s.version, s.organisation_id, s.region
		FROM searches s CROSS JOIN LATERAL (`+candidateCounts+`) n
			LEFT JOIN LATERAL (SELECT t.id, t.due_at FROM tasks t WHERE t.case_id = s.id AND t.step = 'search.choice' AND t.status = 'open' ORDER BY t.round DESC LIMIT 1) t ON true
		WHERE s.id = $1`, id).
		Scan(&v.ID, &v.Number, &v.Patient, &v.Policy, &v.Status, &v.Run, &v.Compared, &v.Unread, &v.LastRunAt, &v.Candidates, &v.New, &v.Changed, &v.Lost, &task, &due, &v.Version, &v.Hospital, &v.Region)
	if task != nil {
		v.Choice = &ChoiceTask{*task, *due}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return v, a.absent("search", id)
	}
	if err != nil {
		return v, err
	}
	v.Most = a.rules(v.Region).Count(rules.StemCellCandidates)
	rows, err := a.Query(ctx, `
		SELECT r.number, q.rank, c.id, c.number, c.status, c.step, c.ending
		FROM link.requests q JOIN registrations r ON r.id = q.registration_id JOIN cases c ON c.id = q.case_id
		WHERE q.search_id = $1 ORDER BY c.opened_at, q.rank`, id)
	if err != nil {
		return v, err
	}
	v.Requests, err = pgx.CollectRows(rows, pgx.RowToStructByPos[RequestLine])
	return v, err
}

func (v SearchView) record() record {
	return record{kind: "search", id: v.ID.String(), region: v.Region, sites: []uuid.UUID{v.Hospital}}
}

// ShowSearch returns a search of the actor's hospital.
func (r *Reader) ShowSearch(ctx context.Context, actor Actor, id uuid.UUID) (SearchView, error) {
	var out SearchView
	err := r.act(ctx, actor, "ShowSearch", policy.ForSearch, func(ctx context.Context, a *act) (err error) {
		if out, err = a.readSearch(ctx, id); err != nil {
			return err
		}
		return a.permit(policy.Read, policy.Search, out.record())
	})
	return out, err
}

// LocusGrade is how many alleles match at one locus.
type LocusGrade struct {
	Locus     string          `json:"locus" class:"search" mask:"drop"`
	Counts    bool            `json:"counts" doc:"The policy counts it; the others are shown because both are typed there." class:"search" mask:"drop"`
	Epitopes  string          `json:"epitopes,omitempty" doc:"Of DPB1, by T-cell epitope groups: permissive, non_permissive_gvh, non_permissive_hvg or unknown." class:"search" mask:"drop"`
	Matched   int             `json:"matched" doc:"For certain." class:"search" mask:"drop"`
	Possible  int             `json:"possible" doc:"At the most." class:"search" mask:"drop"`
	GvH       int             `json:"gvh" doc:"Copies of the patient's that the donor may lack." class:"search" mask:"drop"`
	HvG       int             `json:"hvg" doc:"Copies of the donor's that the patient may lack." class:"search" mask:"drop"`
	Positions []PositionGrade `json:"positions,omitempty" doc:"The patient's two copies, each beside the donor's copy that it is compared with." class:"search" mask:"drop"`
}

// PositionGrade is one copy of the patient's beside one of the donor's.
type PositionGrade struct {
	Grade   string `json:"grade" doc:"allele, p_group, potential, allele_mismatch, mismatch or untyped." class:"search" mask:"drop"`
	Patient string `json:"patient,omitempty" doc:"As it was written." class:"search" mask:"drop"`
	Donor   string `json:"donor,omitempty" class:"search" mask:"drop"`
}

// provinceOf is all that the patient's side may know of where a donor lives.
func provinceOf(region identity.Region) identity.Region {
	for _, r := range region.Ancestors() {
		if r.Level() == identity.LevelProvince {
			return r
		}
	}
	return ""
}

// SearchRun is what a run of a search found.
type SearchRun struct {
	Run      int `json:"run"`
	Compared int `json:"compared"`
	Found    int `json:"found"`
	New      int `json:"new"`
	Lost     int `json:"lost"`
}

// RunSearch compares the patient with every listed donor and writes the candidates: new ones, those found before, and
// those that fit no longer. run is the number of the run, so that a retry writes the same.
func (s *Store) RunSearch(ctx context.Context, actor Actor, id uuid.UUID, run int, at time.Time) (SearchRun, error) {
	var out SearchRun
	err := s.act(ctx, actor, "RunSearch", policy.ForSearch, func(ctx context.Context, a *act) error {
		a.at = at
		v, err := a.readSearch(ctx, id)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Write, policy.Search, v.record()); err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.HLA, record{kind: "donors", id: "listed", region: nation}); err != nil {
			return err
		}
		out, err = remembered(ctx, a, fmt.Sprintf("search/%s/%d", id, run), func() (SearchRun, error) {
			found, err := a.compare(ctx, v)
			if err != nil {
				return SearchRun{}, err
			}
			return a.writeCandidates(ctx, id, run, found, run > 1, fmt.Sprint(run))
		})
		return err
	})
	return out, err
}

// mostCandidates is how many candidates a report holds.
const mostCandidates = 1000

// writeCandidates writes the report of a search. The hospital is told of what changed where it has seen one before, once for each occasion.
func (a *act) writeCandidates(ctx context.Context, search uuid.UUID, run int, found *comparison, tell bool, occasion string) (SearchRun, error) {
	out := SearchRun{Run: run, Compared: found.Compared, Found: found.Accepted}
	ids := []uuid.UUID{} // not NULL: when nothing is found, all that was found before is lost
	var ranks, matched, possible, of []int
	var ten, nine []*float32
	var grades []string
	for i, c := range found.Candidates {
		encoded, err := json.Marshal(gradesOf(found.rules.Compare(found.patient, c.Typing), found.counted))
		if err != nil {
			return out, err
		}
		ids, ranks, matched, possible, of, grades = append(ids, c.ID), append(ranks, i+1), append(matched, int(c.Count.Least)), append(possible, int(c.Count.Most)), append(of, int(c.Count.Of)), append(grades, string(encoded))
		if c.Chance.Known {
			ten, nine = append(ten, &c.Chance.Ten), append(nine, &c.Chance.Nine)
		} else {
			ten, nine = append(ten, nil), append(nine, nil)
		}
	}
	// What the run before had stays as it is while the report of one run is written anew.
	before := func(column string) string {
		return `before_` + column + ` = CASE WHEN link.candidates.run = $2 OR link.candidates.lost_in = $2 THEN link.candidates.before_` + column +
			` WHEN link.candidates.change <> 'lost' THEN link.candidates.` + column + ` END`
	}
	// The ranks of the run before would collide with nothing, but lost candidates keep theirs out of the way.
	err := a.QueryRow(ctx, `
		WITH found AS (
			INSERT INTO link.candidates (search_id, registration_id, run, rank, matched, possible, of, grades, chance_10, chance_9, change)
			SELECT $1, f.id, $2, f.rank, f.matched, f.possible, f.of, f.grades::jsonb, f.ten, f.nine, 'new'
			FROM unnest($3::uuid[], $4::int[], $5::smallint[], $6::smallint[], $7::smallint[], $8::text[], $9::real[], $10::real[]) f(id, rank, matched, possible, of, grades, ten, nine)
			ON CONFLICT (search_id, registration_id) DO UPDATE SET run = excluded.run, rank = excluded.rank, matched = excluded.matched, possible = excluded.possible, of = excluded.of,
				grades = excluded.grades, chance_10 = excluded.chance_10, chance_9 = excluded.chance_9, change = CASE WHEN link.candidates.change = 'lost' THEN 'new' ELSE 'same' END,
				`+before("rank")+", "+before("matched")+", "+before("possible")+`,
				lost_in = NULL
			RETURNING change),
		lost AS (
			UPDATE link.candidates SET change = 'lost', rank = rank + 1000000, lost_in = $2,
				before_rank = CASE WHEN run < $2 THEN rank ELSE before_rank END, before_matched = CASE WHEN run < $2 THEN matched ELSE before_matched END,
				before_possible = CASE WHEN run < $2 THEN possible ELSE before_possible END
			WHERE search_id = $1 AND change <> 'lost' AND NOT registration_id = ANY($3) RETURNING 1),
		ran AS (UPDATE searches SET run = $2, compared = $11, unread = $12, last_run_at = $13, version = version + 1 WHERE id = $1)
		SELECT (SELECT count(*) FROM found WHERE change = 'new'), (SELECT count(*) FROM lost)`,
		search, run, ids, ranks, matched, possible, of, grades, ten, nine, found.Compared, found.unread, a.at).Scan(&out.New, &out.Lost)
	if err != nil {
		return out, err
	}
	a.event(Event{Code: "search.run", CaseID: search, SearchID: search, Args: map[string]any{"Compared": found.Compared, "Found": out.Found, "New": out.New, "Lost": out.Lost}})
	if tell && (out.New > 0 || out.Lost > 0) {
		// A standing search tells the hospital when a new donor fits, or one that fitted no longer does.
		var hospital uuid.UUID
		var region identity.Region
		if err := a.QueryRow(ctx, `SELECT organisation_id, region FROM searches WHERE id = $1`, search).Scan(&hospital, &region); err != nil {
			return out, err
		}
		a.tell(notice{code: "search.changed", args: map[string]any{"New": out.New, "Lost": out.Lost}, organisation: hospital, region: region, caseID: search,
			dedupe: fmt.Sprintf("search.changed/%s/%s", search, occasion)})
	}
	return out, nil
}

// gradesOf is a comparison as a report has it: the loci that count, in the policy's order, and behind them those that both are typed at.
func gradesOf(r match.Result, counted []hla.Locus) []LocusGrade {
	slices.SortStableFunc(r.Loci, func(a, b match.LocusResult) int {
		place := func(l hla.Locus) int {
			if n := slices.Index(counted, l); n >= 0 {
				return n
			}
			return len(counted)
		}
		return place(a.Locus) - place(b.Locus)
	})
	out := make([]LocusGrade, 0, len(r.Loci))
	for _, l := range r.Loci {
		counts := slices.Contains(counted, l.Locus)
		if !counts && !l.Typed {
			continue
		}
		g := LocusGrade{Locus: string(l.Locus), Counts: counts, Epitopes: string(l.Epitopes), Matched: int(l.Least), Possible: int(l.Most), GvH: int(l.GvH.Most), HvG: int(l.HvG.Most)}
		for _, p := range l.Positions {
			g.Positions = append(g.Positions, PositionGrade{Grade: string(p.Grade), Patient: p.Patient, Donor: p.Donor})
		}
		out = append(out, g)
	}
	return out
}

// SearchFacts are the records that a search's protocol goes on from.
type SearchFacts struct {
	Snapshot
	Status     string       `json:"status"`
	Run        int          `json:"run"`
	Candidates int          `json:"candidates"`
	Requests   []RequestRow `json:"requests"` // by rank
}

// RequestRow is one donor that the hospital asked for.
type RequestRow struct {
	CaseID   uuid.UUID `json:"case"`
	Rank     int       `json:"rank"`
	Open     bool      `json:"open"`
	Promoted bool      `json:"promoted"`
	Step     string    `json:"step"`
	Ending   string    `json:"ending,omitempty"`
}

// LoadSearch reads a search for its protocol.
func (s *Store) LoadSearch(ctx context.Context, actor Actor, id uuid.UUID) (SearchFacts, error) {
	var out SearchFacts
	err := s.act(ctx, actor, "LoadSearch", policy.ForSearch, func(ctx context.Context, a *act) (err error) {
		if out.Snapshot, err = a.snapshot(ctx, id); err != nil {
			return err
		}
		v, err := a.readSearch(ctx, id)
		if err != nil {
			return err
		}
		out.Status, out.Run, out.Candidates = v.Status, v.Run, v.Candidates
		rows, err := a.Query(ctx, `
			SELECT q.case_id, q.rank, c.status = 'open', q.promoted_at IS NOT NULL, c.step, c.ending
			FROM link.requests q JOIN cases c ON c.id = q.case_id WHERE q.search_id = $1 ORDER BY c.opened_at, q.rank`, id)
		if err != nil {
			return err
		}
		out.Requests, err = pgx.CollectRows(rows, pgx.RowToStructByPos[RequestRow])
		return err
	})
	return out, err
}

// recordChoice asks for the chosen donors: a reservation and a case for each, the first promoted at once, the others
// standing by. A donor whom somebody else has asked for meanwhile refuses the whole choice.
func recordChoice(ctx context.Context, a *act, c caseRow, _ taskRow, form forms.Form, o forms.Outcome) error {
	if o.Code != "request" {
		return nil
	}
	chosen := form.(*forms.Choice).Donors
	in := a.rules(c.Region)
	if most := in.Count(rules.StemCellCandidates); len(chosen) > most {
		return invalid(forms.Problems{{Code: "R120", Field: "donors", Args: map[string]any{"Bound": "≤", "Limit": most}}})
	}
	v, err := a.readSearch(ctx, c.Subject)
	if err != nil {
		return err
	}
	for i, donor := range chosen {
		if err := a.request(ctx, v, donor, i+1); err != nil {
			return err
		}
	}
	_, err = a.Exec(ctx, `UPDATE searches SET status = 'requested', version = version + 1 WHERE id = $1`, v.ID)
	return err
}

func (a *act) request(ctx context.Context, v SearchView, donor uuid.UUID, rank int) error {
	row, err := a.readRegistration(ctx, donor, "FOR UPDATE")
	if err != nil {
		return err
	}
	var candidate bool
	if err := a.QueryRow(ctx, `SELECT EXISTS (SELECT FROM link.candidates WHERE search_id = $1 AND registration_id = $2 AND change <> 'lost')`, v.ID, donor).Scan(&candidate); err != nil {
		return err
	}
	switch {
	case !candidate:
		return missing("donor")
	case row.Status != "listed":
		return refused("donor_unavailable", "Number", row.Number)
	}
	cal, err := a.calendar(ctx, row.Region)
	if err != nil {
		return err
	}
	id := newID()
	number, err := a.number(ctx, "SC")
	if err != nil {
		return err
	}
	until := a.rules(row.Region).Deadline(rules.StemCellReservation, a.at, cal, Zone).Due
	if _, err := a.Exec(ctx, `INSERT INTO reservations (id, registration_id, case_id, reserved_at, expires_at) VALUES ($1, $2, $3, $4, $5)`, newID(), donor, id, a.at, until); err != nil {
		return err
	}
	step, promoted := "stemcell.standby", (*time.Time)(nil)
	if rank == 1 {
		step, promoted = "stemcell.remobilisation", &a.at
	}
	err = a.openCase(ctx, caseRow{ID: id, Number: number, Protocol: StemCellProtocol, Subject: donor, Region: row.Region, Organisation: row.Organisation, Step: step},
		map[string]seat{SeatCoordinator: {"donor", row.Organisation}, SeatTransplant: {"patient", v.Hospital}})
	if err != nil {
		return err
	}
	_, err = a.Exec(ctx, `INSERT INTO link.requests (case_id, search_id, patient_id, registration_id, rank, promoted_at) VALUES ($1, $2, $3, $4, $5, $6)`, id, v.ID, v.Patient, donor, rank, promoted)
	if err != nil {
		return err
	}
	a.event(Event{Code: "case.opened", CaseID: id, RegistrationID: donor, Args: map[string]any{"Number": number, "Rank": rank}})
	a.hear(string(StemCellProtocol), "requested", id)
	return nil
}

// CloseSearch ends a search on the hospital's word: backups are released, a donor under way is told to the table.
func (s *Store) CloseSearch(ctx context.Context, actor Actor, id uuid.UUID, version int64, reason string) (SearchView, error) {
	var out SearchView
	err := s.act(ctx, actor, "CloseSearch", policy.ForSearch, func(ctx context.Context, a *act) error {
		v, err := a.readSearch(ctx, id)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Decide, policy.Search, v.record()); err != nil {
			return err
		}
		if version != 0 && version != v.Version {
			return stale("search")
		}
		if v.Status != "closed" {
			if err := a.closeSearch(ctx, id, reason); err != nil {
				return err
			}
			a.hear(string(SearchProtocol), "closed", id)
		}
		out, err = a.readSearch(ctx, id)
		return err
	})
	return out, err
}

func (a *act) closeSearch(ctx context.Context, id uuid.UUID, reason string) error {
	if _, err := a.Exec(ctx, `UPDATE searches SET status = 'closed', closed_reason = $2, version = version + 1 WHERE id = $1`, id, reason); err != nil {
		return err
	}
	a.event(Event{Code: "search.closed", CaseID: id, SearchID: id, Args: map[string]any{"Reason": reason}})
	rows, err := a.Query(ctx, `SELECT q.case_id FROM link.requests q JOIN cases c ON c.id = q.case_id WHERE q.search_id = $1 AND c.status = 'open'`, id)
	if err != nil {
		return err
	}
	open, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	a.hear(string(StemCellProtocol), "search_closed", open...)
	return err
}

// endSearch closes the search whose case has ended.
func endSearch(ctx context.Context, a *act, c caseRow, m Move) error {
	var status string
	if err := a.QueryRow(ctx, `SELECT status FROM searches WHERE id = $1`, c.Subject).Scan(&status); err != nil || status == "closed" {
		return err
	}
	return a.closeSearch(ctx, c.Subject, m.Ending)
}
