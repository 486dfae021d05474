package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/policy"
	"github.com/liferelay/liferelay/registry/hla"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/match"
)

// WhyView says why a donor is a candidate of a search, or is not. It is a comparison, and so of the search's class: the donor's own record of
// typings is class hla, and what of it is shown here, and to whom, is WhyCandidate's to decide.
type WhyView struct {
	Search   uuid.UUID     `json:"search" class:"search" mask:"drop"`
	Donor    uuid.UUID     `json:"donor" doc:"The registration." class:"search" mask:"drop"`
	Number   string        `json:"number" doc:"The donor's number." class:"search" mask:"drop"`
	Standing string        `json:"standing" doc:"candidate; lost: an earlier run found the donor and the last one did not; not_found." class:"search" mask:"drop"`
	Policy   string        `json:"policy" class:"search" mask:"drop"`
	Release  string        `json:"release,omitempty" doc:"Of IPD-IMGT/HLA, by which they were compared." class:"search" mask:"drop"`
	Fits     bool          `json:"fits" doc:"The policy accepts the donor's typing." class:"search" mask:"drop"`
	Matched  int           `json:"matched" doc:"Copies that match for certain." class:"search" mask:"drop"`
	Possible int           `json:"possible" doc:"Copies that may match." class:"search" mask:"drop"`
	Of       int           `json:"of" class:"search" mask:"drop"`
	Reason   WhySentence   `json:"reason" doc:"What decided about the typing." class:"search" mask:"drop"`
	Grounds  []WhySentence `json:"grounds" doc:"What else stands against the donor, or is to be known." class:"search" mask:"drop"`
	Loci     []WhyLocus    `json:"loci" class:"search" mask:"drop"`
}

// WhySentence is one thing that is said: its code, what it is told, and the sentence in the reader's language.
type WhySentence struct {
	Code string         `json:"code" class:"search" mask:"drop"`
	Args map[string]any `json:"args,omitempty" class:"search" mask:"drop"`
	Says string         `json:"says" doc:"The sentence." class:"search" mask:"drop"`
}

// WhyLocus is why a locus counts as it does.
type WhyLocus struct {
	Locus     string        `json:"locus" class:"search" mask:"drop"`
	Typed     bool          `json:"typed" doc:"On both sides." class:"search" mask:"drop"`
	Matched   int           `json:"matched" doc:"Copies that match for certain." class:"search" mask:"drop"`
	Possible  int           `json:"possible" doc:"Copies that may match." class:"search" mask:"drop"`
	Crossed   bool          `json:"crossed" doc:"The patient's first copy stands beside the donor's second." class:"search" mask:"drop"`
	Positions []WhyPosition `json:"positions" doc:"In the order of the patient's copies." class:"search" mask:"drop"`
	GvH       WhyRange      `json:"gvh" doc:"Copies of the patient's that the donor lacks." class:"search" mask:"drop"`
	HvG       WhyRange      `json:"hvg" doc:"Copies of the donor's that the patient lacks." class:"search" mask:"drop"`
	Epitopes  string        `json:"epitopes,omitempty" doc:"At DPB1: permissive, non_permissive_gvh, non_permissive_hvg or unknown." class:"search" mask:"drop"`
	Patients  []WhyCopy     `json:"patients,omitempty" doc:"What the patient's copies were written as, and may be." class:"search" mask:"drop"`
	Donors    []WhyCopy     `json:"donors,omitempty" doc:"The donor's. Absent where the reader may know the grades only." class:"search" mask:"drop"`
	Steps     []WhySentence `json:"steps" doc:"What was found, in the order in which it is decided." class:"search" mask:"drop"`
}

// WhyPosition is one copy of the patient's beside one of the donor's.
type WhyPosition struct {
	Grade   string `json:"grade" doc:"allele, p_group, potential, allele_mismatch, mismatch or untyped." class:"search" mask:"drop"`
	Letter  string `json:"letter" doc:"A, P, L or M." class:"search" mask:"drop"`
	Antigen string `json:"antigen" doc:"same, different or unknown." class:"search" mask:"drop"`
	Patient string `json:"patient,omitempty" doc:"As it was written." class:"search" mask:"drop"`
	Donor   string `json:"donor,omitempty" doc:"As it was written. Absent where the reader may know the grades only." class:"search" mask:"drop"`
}

// WhyRange is a number that typings leave open.
type WhyRange struct {
	Least int `json:"least" class:"search" mask:"drop"`
	Most  int `json:"most" class:"search" mask:"drop"`
}

// WhyCopy is what a copy was written as, and what it may be by that.
type WhyCopy struct {
	Pair     int       `json:"pair" doc:"Which pair, from 1: there are several where the laboratory could not tell which it is." class:"search" mask:"drop"`
	Copy     int       `json:"copy" doc:"1 or 2." class:"search" mask:"drop"`
	Text     string    `json:"text" doc:"As it was written." class:"search" mask:"drop"`
	Forms    []string  `json:"forms" doc:"How: allele, xx, g, p, code, antigen, absent or unknown." class:"search" mask:"drop"`
	Alleles  int       `json:"alleles" doc:"How many alleles it may be, at two fields." class:"search" mask:"drop"`
	Some     []string  `json:"some,omitempty" doc:"The first few of them." class:"search" mask:"drop"`
	Groups   []WhyFact `json:"groups,omitempty" doc:"P groups." class:"search" mask:"drop"`
	Antigens []WhyFact `json:"antigens,omitempty" class:"search" mask:"drop"`
	Epitopes []WhyFact `json:"epitopes,omitempty" doc:"T-cell epitope groups, at DPB1." class:"search" mask:"drop"`
}

// WhyFact is what a release says, and where.
type WhyFact struct {
	Name   string `json:"name" class:"search" mask:"drop"`
	Source string `json:"source,omitempty" doc:"A file of the release and its line, such as hla_nom_p.txt:412." class:"search" mask:"drop"`
}

// compared is a donor beside a search, whether the search found them or not.
type compared struct {
	Number       string
	Region       identity.Region
	Status       string
	Active       bool // the person: neither merged nor dead
	Reserved     bool
	Change       string // what the last run said of them, empty when no run found them
	GL           string // of the current typing, empty where there is none
	Nomenclature string
}

// standing is what the search says of the donor.
func (c compared) standing() string {
	switch c.Change {
	case "":
		return "not_found"
	case "lost":
		return "lost"
	}
	return "candidate"
}

// kept tells that the donor's consent, as far as the patient's side goes, stands: what was written of who left is theirs again.
func (c compared) kept() bool { return c.Active && (c.Status == "listed" || c.Status == "unavailable") }

// WhyCandidate says why a donor is a candidate of a search, or is not: what was compared and how, and what else stands against them.
//
// The hospital whose search it is gets it for the donors that the search found: with their typing while they are candidates, and the grades
// alone once they are lost or have left; of the donor's own reasons it reads that they are not available. Of any other donor there is nothing
// to it. Who may read the search and the donor's typings gets all of it, of any donor.
//
// Errors: NotFound search_not_found, donor_not_found; Locked as in ShowDonor.
func (r *Reader) WhyCandidate(ctx context.Context, actor Actor, search, donor uuid.UUID) (WhyView, error) {
	var out WhyView
	err := r.act(ctx, actor, "WhyCandidate", policy.ForSearch, func(ctx context.Context, a *act) error {
		if err := a.bothSides(ctx); err != nil {
			return err
		}
		v, err := a.readSearch(ctx, search)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Search, v.record()); err != nil {
			return err
		}
		decision := len(a.entries) - 1
		patient, hospital, err := a.readPatient(ctx, v.Patient)
		if err != nil {
			return err
		}
		if err := a.permit(policy.Read, policy.Patient, record{kind: "patient", id: v.Patient.String(), region: v.Region, sites: []uuid.UUID{hospital}}); err != nil {
			return err
		}
		c, err := a.readCompared(ctx, search, donor)
		if err != nil {
			return err
		}
		rec := record{kind: "donor", id: donor.String(), region: c.Region}
		reads, _ := a.may(policy.Read, policy.HLA, rec)
		switch {
		case reads.Allowed:
			if err := a.permit(policy.Read, policy.HLA, rec); err != nil {
				return err
			}
			a.noteShown([]uuid.UUID{donor})
			if err := a.openDonor(ctx, donor, true); err != nil {
				return err
			}
		case c.Change == "":
			return a.absent("donor", donor)
		default:
			a.entries[decision].Showed = []uuid.UUID{donor}
		}
		out, err = a.why(ctx, v, patient, donor, c, reads.Allowed)
		return err
	})
	if err != nil {
		return WhyView{}, r.braked(ctx, actor, err)
	}
	return out, nil
}

// readCompared reads a donor whom a search may or may not have found.
func (a *act) readCompared(ctx context.Context, search, donor uuid.UUID) (compared, error) {
	var c compared
	err := a.QueryRow(ctx, `
		SELECT r.number, r.region, r.status, p.status = 'active', EXISTS (SELECT FROM reservations v WHERE v.registration_id = r.id AND v.released_at IS NULL),
			coalesce(k.change, ''), coalesce(t.gl_string, ''), coalesce(t.nomenclature, '')
		FROM registrations r JOIN persons p ON p.id = r.person_id
			LEFT JOIN link.candidates k ON k.search_id = $1 AND k.registration_id = r.id
			LEFT JOIN typings t ON t.registration_id = r.id AND t.current AND t.kind = 'enrolment'
		WHERE r.id = $2 AND r.programme = 'stemcell'`, search, donor).
		Scan(&c.Number, &c.Region, &c.Status, &c.Active, &c.Reserved, &c.Change, &c.GL, &c.Nomenclature)
	if errors.Is(err, pgx.ErrNoRows) {
		return c, a.absent("donor", donor)
	}
	return c, err
}

// why compares as a run of the search does. full is for who may read the donor's typings.
func (a *act) why(ctx context.Context, v SearchView, patient PatientView, id uuid.UUID, c compared, full bool) (WhyView, error) {
	library, err := a.nomenclatureIn(ctx, a.Tx)
	if err != nil {
		return WhyView{}, err
	}
	wanted := &hla.Reading{}
	if patient.GL != "" { // nobody knows that of a patient who was erased
		if wanted, err = library.Reader(patient.Nomenclature).Read(patient.GL); err != nil {
			return WhyView{}, err
		}
	}
	fit, known := match.Named(v.Policy)
	if !known {
		return WhyView{}, fmt.Errorf("registry: a search has the policy %q, which has no name", v.Policy)
	}
	fit.AllowUntyped = true // as a run does
	has, read := &hla.Reading{}, true
	if c.GL != "" {
		reading, err := library.Reader(c.Nomenclature).Read(c.GL)
		var unread *hla.Error
		if errors.As(err, &unread) { // a release that is loaded now does not have it
			read = false
		} else if err != nil {
			return WhyView{}, err
		} else {
			has = reading
		}
	}
	x := match.Rules{Release: library.Current()}.Why(wanted, has, fit)
	if !full && (c.standing() != "candidate" || !c.kept()) {
		x = gradesAlone(x)
	}
	out := WhyView{
		Search: v.ID, Donor: id, Number: c.Number, Standing: c.standing(), Policy: v.Policy, Release: x.Release, Fits: x.Accepted, Matched: int(x.Count.Least), Possible: int(x.Count.Most), Of: int(x.Count.Of),
		Reason: a.whySays(x.Reason), Grounds: a.whySay(c.grounds(x.Accepted, read, full)),
	}
	for _, l := range x.Loci {
		out.Loci = append(out.Loci, a.whyLocus(l))
	}
	return out, nil
}

// grounds are what beside the typing decides about a donor. The patient's side reads of the donor's own reasons that there is one.
func (c compared) grounds(fits, read, full bool) []match.Sentence {
	var out []match.Sentence
	say := func(when bool, code string, args map[string]any) {
		if when {
			out = append(out, match.Sentence{Code: code, Args: args})
		}
	}
	found, available := c.standing() == "candidate", c.Active && c.Status == "listed" && !c.Reserved
	say(c.GL == "", "why.no_typing", nil)
	say(!read, "why.typing_unread", nil)
	say(!full && !available, "why.not_available", nil)
	say(full && !c.Active, "why.not_active", nil)
	say(full && c.Status != "listed", "why.not_listed", map[string]any{"Status": c.Status})
	say(full && c.Reserved, "why.reserved", nil)
	say(fits && !found && c.Active && c.Status == "listed", "why.next_run", nil)
	say(!fits && found, "why.fits_no_more", nil)
	return out
}

// gradesAlone leaves out what the donor's typing was written as, and what follows from that.
func gradesAlone(x match.Explanation) match.Explanation {
	loci := x.Loci
	x.Loci = nil
	for _, l := range loci {
		l.Donors = nil
		for i := range l.Positions {
			l.Positions[i].Donor = ""
		}
		steps := l.Steps
		l.Steps = nil
		for _, s := range steps {
			if s.Args["Person"] == "donor" && s.Code != "why.untyped" {
				continue
			}
			if s.Args["Donor"] != nil { // a new map: the engine's is not ours to change
				args := map[string]any{}
				for name, value := range s.Args {
					args[name] = value
				}
				args["Donor"], args["Others"] = "–", "–"
				s.Args = args
			}
			l.Steps = append(l.Steps, s)
		}
		x.Loci = append(x.Loci, l)
	}
	return x
}

func (a *act) whySays(s match.Sentence) WhySentence {
	return WhySentence{s.Code, s.Args, a.actor.Locale.Say(s.Code, s.Args)}
}

func (a *act) whySay(list []match.Sentence) []WhySentence {
	out := make([]WhySentence, len(list))
	for i, s := range list {
		out[i] = a.whySays(s)
	}
	return out
}

func (a *act) whyLocus(l match.LocusWhy) WhyLocus {
	out := WhyLocus{
		Locus: string(l.Locus), Typed: l.Typed, Matched: int(l.Least), Possible: int(l.Most), Crossed: l.Crossed, GvH: WhyRange{int(l.GvH.Least), int(l.GvH.Most)}, HvG: WhyRange{int(l.HvG.Least), int(l.HvG.Most)},
		Epitopes: string(l.Epitopes), Patients: whyCopies(l.Patients), Donors: whyCopies(l.Donors), Steps: a.whySay(l.Steps),
	}
	for _, p := range l.Positions {
		out.Positions = append(out.Positions, WhyPosition{string(p.Grade), p.Letter, string(p.Antigen), p.Patient, p.Donor})
	}
	return out
}

func whyCopies(pairs [][2]match.CopyFacts) []WhyCopy {
	var out []WhyCopy
	for i, pair := range pairs {
		for j, c := range pair {
			w := WhyCopy{Pair: i + 1, Copy: j + 1, Text: c.Text, Alleles: c.Alleles, Some: c.Some, Groups: whyFacts(c.Groups), Antigens: whyFacts(c.Antigens), Epitopes: whyFacts(c.Epitopes)}
			for _, form := range c.Forms {
				w.Forms = append(w.Forms, string(form))
			}
			out = append(out, w)
		}
	}
	return out
}

func whyFacts(facts []match.Fact) []WhyFact {
	var out []WhyFact
	for _, f := range facts {
		out = append(out, WhyFact{f.Name, f.Source})
	}
	return out
}
